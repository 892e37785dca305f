//! The command line: completions, help, and what is said to those who got it wrong.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process_errors::{one_line, program, run};

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

/// The configuration that is meant: the file named, the one of the environment, or the one of the working directory.
#[test]
fn the_configuration_is_found_where_it_is_documented() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for (name, level) in [("ringback.toml", "debug"), ("other.toml", "warn"), ("third.toml", "trace")] {
        fs::write(path(name), format!("log = \"{level}\"\n")).expect("it is written");
    }
    let show = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
        command.env_clear().args(["config", "show"]).args(arguments).current_dir(folder.path()).envs(environment.iter().copied());
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").lines().find(|line| line.starts_with("log ")).expect("it is shown").to_owned()
    };
    assert!(show(&[], &[]).ends_with("# ringback.toml:1"), "{}", show(&[], &[]));
    assert!(show(&[], &[("RINGBACK_CONFIG", "other.toml")]).ends_with("# other.toml:1"));
    assert!(show(&["--config", "third.toml"], &[("RINGBACK_CONFIG", "other.toml")]).contains("\"trace\""));
    assert!(show(&[], &[("RINGBACK_LOG", "error")]).ends_with("# RINGBACK_LOG"));
}

/// What is written is read back, is not written over, and shows no secret.
#[test]
fn an_example_configuration_is_written_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
        command.args(arguments).current_dir(folder.path()).env("RINGBACK_DATABASE", "postgres://u:s3cret@h/d");
        command.env("RINGBACK_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").output().expect("it runs")
    };
    let made = run(&["config", "init"]);
    assert!(made.status.success() && run(&["config", "check"]).status.success(), "{made:?}");
    let again = run(&["config", "init"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("ringback.toml exists already"), "{again:?}");
    let printed = run(&["config", "init", "-"]);
    assert_eq!(fs::read(folder.path().join("ringback.toml")).expect("it is there"), printed.stdout);
    for arguments in [&["config", "show"][..], &["config", "show", "--json"]] {
        let shown = run(arguments);
        let text = String::from_utf8(shown.stdout).expect("text");
        assert!(shown.status.success() && text.contains("u:•••@h/d") && !text.contains("s3cret") && !text.contains("AAEC"), "{text}");
    }
}

/// A full disk behind stdout: one line on stderr, exit code 1, and no token that nobody has.
#[test]
fn a_stdout_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}/it.db", folder.path().display());
    let run = |arguments: &[&str], out: Stdio| {
        let mut command = program(&[("database", &database)], arguments);
        command.stdout(out).stderr(Stdio::piped()).spawn().expect("it starts").wait_with_output().expect("it ends")
    };
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").expect("Linux has it"));
    for arguments in [
        &["config", "check"][..],
        &["config", "show"],
        &["config", "init", "-"],
        &["openapi"],
        &["catalogue", "show"],
        &["completions", "bash"],
        &["token", "create", "--operator"],
        &["token", "create", "--operator", "--json"],
        &["token", "list", "--json"],
        &["demo"],
        &["--help"],
    ] {
        let output = run(arguments, full());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.starts_with("ringback: ") && said.lines().count() == 1 && said.contains("No space left"), "{arguments:?}: {said}");
    }
    let listed = run(&["token", "list", "--json"], Stdio::piped());
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "[]", "what nobody has is revoked");
}

/// `ringback openapi | head -1` is no error.
#[test]
fn a_reader_that_has_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringback"));
    let mut child = child.arg("openapi").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

/// A script that pipes a verdict through `head` still gets it, and no token is lost without a word.
#[test]
fn a_reader_that_has_gone_does_not_change_the_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}/it.db", folder.path().display());
    let run = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = program(&[("database", &database)], arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped()).spawn().expect("it starts");
        drop(child.stdin.take().expect("a pipe").write_all(b"POST / HTTP/1.1\n\n{}"));
        one_line(&child.wait_with_output().expect("it ends"), 1)
    };
    let said = run(&["token", "create", "--operator"]);
    assert!(said.contains("was revoked"), "{said}");
    for (arguments, verdict) in [
        (&["doctor"][..], "wrong"),
        (&["doctor", "--json"], "wrong"),
        (&["check", "http://127.0.0.1:1/", "--secret", "s"], "1 required check failed"),
        (&["verify", "--secret", "s"], "does not verify"),
    ] {
        let said = run(arguments);
        assert!(said.contains(verdict), "{arguments:?}: {said}");
    }
}
