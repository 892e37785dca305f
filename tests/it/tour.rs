//! The commands of README.md and docs/tour.md, with the output that the pages show.

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_commands_of_the_tour_print_what_it_shows() {
    run("docs/tour.md");
}

#[test]
fn the_commands_of_the_readme_print_what_it_shows() {
    run("README.md");
}

fn run(page: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tour = Command::new(root.join("scripts/tour"));
    tour.arg(env!("CARGO_BIN_EXE_ringback")).arg(root.join(page)).arg(root.join("target/tests/venv"));
    let output = tour.stdin(Stdio::null()).output().expect("Python runs");
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains(&format!("{page}: done")), "{said}{failed}");
}
