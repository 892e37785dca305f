//! The first steps of docs/operating.md, as they stand there.

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_first_steps_of_the_operating_page_work() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/operator-path");
    let output = Command::new(script).arg(env!("CARGO_BIN_EXE_ringback")).stdin(Stdio::null()).output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("ok   Restore"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // What was left out without root is seen with --no-capture.
    said.lines().filter(|line| line.starts_with("SKIP")).for_each(|line| println!("{line}"));
}
