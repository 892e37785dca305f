//! The panel in a real browser (tests/panel): each page, and the journeys that people make.

use std::process::Command;

fn run(file: &str) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec"]).arg(root.join("tests/panel").join(file));
    let output = command.env("RINGBACK", env!("CARGO_BIN_EXE_ringback")).output().expect("node starts: run scripts/setup-tests first");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("pass ") && !said.contains("pass 0"), "no test was run: {said}");
}

#[test]
fn every_page_is_for_everybody() {
    run("pages.test.mjs");
}

#[test]
fn people_find_their_way() {
    run("journeys.test.mjs");
}

#[test]
fn the_panel_stays_below_its_path() {
    run("below.test.mjs");
}
