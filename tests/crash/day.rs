//! examples/day.py, small: a day of recharges that reconciles with the provider's books.

use std::process::Command;

#[test]
fn a_day_of_recharges_reconciles() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/day.py");
    let mut command = Command::new("python3");
    command.args([script, "--recharges", "1500", "--seed", "3", "--binary", env!("CARGO_BIN_EXE_ringback")]);
    let output = command.output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("every difference is explained") && said.contains("handed over twice: 0"), "{said}");
}
