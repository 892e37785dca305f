//! The command line: completions, help, and what is said to those who got it wrong.

use std::process::Command;

use tempfile::TempDir;

use crate::bad_days::{one_line, run};

/// Every command, as it is typed.
const COMMANDS: [&[&str]; 10] = [
    &["demo"],
    &["serve"],
    &["backup"],
    &["restore"],
    &["token"],
    &["token", "create"],
    &["config"],
    &["config", "check"],
    &["openapi"],
    &["completions"],
];

// --- Completions -------------------------------------------------------------------------------------------------------

fn completions(shell: &str) -> String {
    let output = run(&[], &["completions", shell]);
    assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(0), true), "{shell}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = completions(shell);
        for word in COMMANDS.concat() {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn bash_reads_its_completions_and_completes_with_them() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("ringback");
    std::fs::write(&file, completions("bash")).expect("it is written");
    let checked = Command::new("bash").arg("-n").arg(&file).output().expect("bash runs");
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", String::from_utf8_lossy(&checked.stderr));
    let ask = "source \"$1\"; COMP_WORDS=(ringback to); COMP_CWORD=1; _ringback ringback to ringback; echo \"${COMPREPLY[@]}\"";
    let asked = Command::new("bash").args(["-c", ask, "bash"]).arg(&file).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "token", "{}", String::from_utf8_lossy(&asked.stderr));
}

#[test]
fn another_shell_is_wrong_use() {
    let said = one_line(&run(&[], &["completions", "tcsh"]), 64);
    assert!(said.contains("tcsh") && said.contains("powershell"), "{said}");
}

// --- Help --------------------------------------------------------------------------------------------------------------

#[test]
fn every_command_explains_itself() {
    for command in [&[][..]].into_iter().chain(COMMANDS) {
        let output = run(&[], &[command, &["--help"]].concat());
        assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(0), true), "{command:?}");
        let help = String::from_utf8(output.stdout).expect("text");
        let usage = [&["Usage:", "ringback"], command].concat().join(" ");
        assert!(help.starts_with(char::is_uppercase) && help.contains(&usage) && help.ends_with('\n'), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        // A flag or command without a word about it stands alone on its line.
        let listed = help.lines().filter(|line| line.starts_with("  ") && !line.starts_with("          "));
        assert!(listed.clone().all(|line| line.split_whitespace().count() > 1), "{help}");
        assert!(listed.count() > 0, "{help}");
    }
}

#[test]
fn wrong_use_is_told_in_one_line_that_says_where_to_look() {
    let cases: [(&[&str], &str); 8] = [
        (&["fly"], "unrecognized subcommand 'fly'; see ringback --help"),
        (&["serv"], "unrecognized subcommand 'serv'; some similar subcommands exist: 'user', 'serve'; see ringback --help"),
        (&["serve", "--colour"], "unexpected argument '--colour' found; see ringback serve --help"),
        (&["serve", "twice"], "unexpected argument 'twice' found; see ringback serve --help"),
        (
            &["token", "create", "--operator", "--name"],
            "a value is required for '--name <NAME>' but none was supplied; see ringback token create --help",
        ),
        (&["demo", "--for", "soon"], "invalid value 'soon' for '--for <DURATION>': expected number at 0; see ringback demo --help"),
        (&["completions"], "the following required arguments were not provided: <SHELL>; see ringback completions --help"),
        (&["token", "create"], "say --operator; vendors' tokens are made with POST /v1/vendors/{id}/tokens"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(one_line(&run(&[], arguments), 64).trim_end(), format!("ringback: {expected}"), "{arguments:?}");
    }
}

#[test]
fn a_missing_command_is_answered_with_those_there_are() {
    for (arguments, known) in [(&[][..], "serve"), (&["token"], "create"), (&["config"], "check")] {
        let output = run(&[], arguments);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(64), true), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(known), "{arguments:?}");
    }
}
