//! Receivers built on other people's code, each a process group of its own (tests/receivers).

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

const STARTED_WITHIN: Duration = Duration::from_secs(30);
const MISSING: &str = "run scripts/setup-tests first";

/// A receiver that is running; it and its workers are killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    pub name: &'static str,
    pub url: String,
    out: PathBuf,
    child: Child,
}

/// Any other process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Beside(Child);

impl Beside {
    /// Starts it, without anything to read or to say.
    pub fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts"))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

/// What a receiver has to know.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    /// Where its log goes.
    pub folder: &'a Path,
    pub secret: &'a str,
}

impl Program {
    /// Python and the `standardwebhooks` library from PyPI.
    pub fn python(needs: Needs<'_>) -> Self {
        let mut command = Command::new(installed("python"));
        command.arg(receiver("python_receiver.py"));
        Self::start("python", command, needs)
    }

    /// Node.js and the `standardwebhooks` library from npm.
    pub fn node(needs: Needs<'_>) -> Self {
        assert!(node_modules().join("standardwebhooks").exists(), "standardwebhooks is missing: {MISSING}");
        let mut command = Command::new("node");
        command.arg(receiver("node_receiver.mjs"));
        Self::start("node", command, needs)
    }

    /// PHP's own functions, with what stands behind the IV as it should be `raw` or `base64`.
    pub fn php(name: &'static str, cipher_text: &str, needs: Needs<'_>) -> Self {
        let mut command = Command::new("php");
        command.args(["-q", "-S", "127.0.0.1:0"]).arg(receiver("php_receiver.php"));
        command.env("CIPHER_TEXT", cipher_text).env("PHP_CLI_SERVER_WORKERS", "4");
        Self::start(name, command, needs)
    }

    /// Any other that says on a line of its own where it listens.
    pub fn start(name: &'static str, mut command: Command, needs: Needs<'_>) -> Self {
        let out = needs.folder.join(format!("{name}.jsonl"));
        command.env("SECRET", needs.secret).env("OUT", &out).env("PORT", "0").process_group(0);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{name} does not start ({error}): {MISSING}"));
        let (told, heard) = mpsc::channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for output in outputs {
            let told = told.clone();
            std::thread::spawn(move || listen(name, output, &told));
        }
        let mut program = Self { name, url: String::new(), out, child };
        let heard = heard.recv_timeout(STARTED_WITHIN);
        program.url = heard.unwrap_or_else(|_| panic!("{name} does not say where it listens: {MISSING}"));
        program
    }

    /// What it has logged, a line for each request.
    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name))).collect()
    }

    /// Grows with every request.
    pub fn logged_bytes(&self) -> u64 {
        std::fs::metadata(&self.out).map_or(0, |file| file.len())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its id is its group's, and it was not waited for yet, so that the id is nobody else's.
        drop(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).status());
        drop(self.child.wait());
    }
}

/// Tells the address that a program prints; whatever else it prints is shown.
fn listen(name: &str, output: impl Read, told: &mpsc::Sender<String>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        match line.find("http://127.0.0.1:") {
            Some(at) => {
                let address = line[at..].trim_end_matches(|last: char| !last.is_ascii_digit());
                // Each of PHP's workers says it again.
                drop(told.send(address.to_owned()));
            }
            None => eprintln!("{name}: {line}"),
        }
    }
}

/// A program of the Python environment that scripts/setup-tests makes.
pub fn installed(program: &str) -> PathBuf {
    let path = root().join("target/tests/venv/bin").join(program);
    assert!(path.exists(), "{} is missing: {MISSING}", path.display());
    path
}

/// An example that is compiled, which cargo puts beside the program that is tested.
pub fn example(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_ringback")).with_file_name("examples").join(name);
    assert!(path.exists(), "{} is missing: run cargo build --example {name}, or all tests, which build it", path.display());
    path
}

/// Where scripts/setup-tests installs npm's packages.
pub fn node_modules() -> PathBuf {
    receiver("node_modules")
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn receiver(file: &str) -> PathBuf {
    root().join("tests/receivers").join(file)
}
