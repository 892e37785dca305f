//! The command line: completions, help, and what is said to those who got it wrong.

use std::process::Command;

use tempfile::TempDir;

use crate::bad_days::run;

/// Every command, as it is typed.
const COMMANDS: [&[&str]; 8] =
    [&["demo"], &["serve"], &["token"], &["token", "create"], &["config"], &["config", "check"], &["openapi"], &["completions"]];

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
    for arguments in [&["completions", "tcsh"][..], &["completions"]] {
        let output = run(&[], arguments);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(64), true), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("powershell") || arguments.len() == 1);
    }
}
