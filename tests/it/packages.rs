//! The packages of `make dist`, made of the program under test and used: unpacked, installed, upgraded, purged, run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn done(command: &mut Command) -> Output {
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

fn script(path: &str, argument: &Path) {
    let output = done(Command::new(path).arg(argument));
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

/// The file in target/packages whose name ends so.
fn package(ending: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages");
    let files = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    assert_eq!(found.len(), 1, "{ending}: {found:?}");
    found.remove(0)
}

/// Whether this user may mount and change root, as the tests of packages do.
fn is_root() -> bool {
    let (folder, command) = (TempDir::new().expect("a folder"), "mount -t proc proc \"$1\" && umount \"$1\" && chroot / true");
    Command::new("sh").args(["-c", command, "sh"]).arg(folder.path()).output().is_ok_and(|output| output.status.success())
}

#[test]
fn packages_are_complete_and_work() {
    script("scripts/dist", Path::new(env!("CARGO_BIN_EXE_ringback")));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages");
    let checked = Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&folder).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&checked.stdout).lines().filter(|line| line.ends_with(": OK")).count(), 4, "{checked:?}");

    let unpacked = TempDir::new().expect("a folder");
    done(Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(package(".tar.gz")).arg("-C").arg(unpacked.path()));
    for file in [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "completions/_ringback",
        "completions/ringback.bash",
        "completions/ringback.fish",
        "man/ringback-serve.1",
        "man/ringback.1",
        "ringback.service",
        "ringback.toml",
    ] {
        assert!(unpacked.path().join(file).metadata().is_ok_and(|file| file.len() > 100), "{file}");
    }
    let program = unpacked.path().join("ringback");
    let version = done(Command::new(&program).arg("--version"));
    assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), concat!("ringback ", env!("CARGO_PKG_VERSION")));
    done(Command::new(&program).args(["config", "check", "--config"]).arg(unpacked.path().join("ringback.toml")));
    let licences = std::fs::read_to_string(unpacked.path().join("THIRD-PARTY-LICENSES.txt")).expect("text");
    let sbom: Value = serde_json::from_slice(&std::fs::read(package(".cdx.json")).expect("a file")).expect("JSON");
    let components = sbom["components"].as_array().expect("a list");
    for name in ["tokio", "rusqlite", "rustls"] {
        assert!(components.iter().any(|component| component["name"] == name), "{name} is in the SBOM");
        assert!(licences.contains(&format!("\n{name} ")), "{name} is in the licences");
    }

    if is_root() {
        script("tests/packages/debian", &package(".deb"));
        script("tests/packages/image", &package("-oci.tar"));
    } else {
        println!("SKIP: installing the package and running the image need root");
    }
}
