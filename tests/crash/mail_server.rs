//! A mail server built on other people's code (tests/receivers/mail_server.py), with the mails it has got.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Its address stays the same, whether it is open or closed. It is killed when this is dropped.
#[derive(Debug)]
pub struct MailServer {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl MailServer {
    /// One at whose address nobody listens yet.
    pub fn closed() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        Self { folder: tempfile::tempdir().expect("a folder"), port, child: None }
    }

    /// One that takes mails.
    pub fn open() -> Self {
        let mut server = Self::closed();
        server.start();
        server
    }

    /// Begins to take mails.
    pub fn start(&mut self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/tests/venv/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/setup-tests first", python.display());
        let mut command = Command::new(python);
        command.arg(root.join("tests/receivers/mail_server.py")).env("OUT", self.out()).env("PORT", self.port.to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let said = BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line);
        self.child = Some(child);
        assert!(said.is_ok() && line.trim() == "ready", "it did not start: {line:?}");
    }

    /// Takes no more mails.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop((child.kill(), child.wait()));
        }
    }

    /// As the setting `smtp_url` has it.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// How mails are answered from now on: `451`, `550`, `hold`, or nothing of these.
    pub fn answer(&self, how: &str) {
        std::fs::write(self.folder.path().join("mails.jsonl.answer"), how).expect("it is written");
    }

    /// The mails that came so far.
    pub fn all(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.out()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("mails.jsonl")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.stop();
    }
}
