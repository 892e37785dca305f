//! The real binary on one SQLite file, killed and started again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::api::{Client, text};
use super::wait;

const STARTED_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// A server that is running. It is killed when this is dropped.
#[derive(Debug)]
struct Running {
    child: Child,
    /// Held open, so that nothing the server prints fails.
    _stdout: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and there is nobody to tell about anything else.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A folder with a database, and the server on it. It is running but for the time inside [`Server::kill`] and
/// [`Server::terminate`].
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    settings: Vec<(&'static str, &'static str)>,
    /// What a shell does before it becomes the server, if anything.
    first: Option<String>,
    /// Where the database is.
    disk: PathBuf,
    /// Its address, where that is no file on the disk.
    postgres: Option<String>,
    /// Its master key, where that is in no file.
    key: Option<String>,
    running: Option<Running>,
    address: watch::Sender<SocketAddr>,
}

impl Server {
    /// Starts on a fresh database, with settings beside those that every test needs.
    pub fn start(settings: &[(&'static str, &'static str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = folder.path().to_owned();
        Self::start_on(settings, folder, disk, None)
    }

    /// The same, with a configuration file.
    pub fn start_with_config(settings: &[(&'static str, &'static str)], text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("ringback.toml"), text).expect("the file is written");
        let disk = folder.path().to_owned();
        Self::start_on(settings, folder, disk, None)
    }

    /// The same, with at most so many files and sockets open at once.
    pub fn start_with_files(settings: &[(&'static str, &'static str)], most: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = folder.path().to_owned();
        Self::start_on(settings, folder, disk, Some(format!("ulimit -n {most}")))
    }

    /// Starts on a PostgreSQL database.
    pub fn start_on_postgres(settings: &[(&'static str, &'static str)], address: String) -> Self {
        Self::start_on_postgres_with_key(settings, address, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    }

    /// The same, with this master key.
    pub fn start_on_postgres_with_key(settings: &[(&'static str, &'static str)], address: String, key: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = folder.path().to_owned();
        let mut server = Self::new(settings, folder, disk, None);
        server.key = Some(key.to_owned());
        server.postgres = Some(address);
        server.run();
        server
    }

    /// The same, with its log in `folder` and its database on `disk`, and after a shell has done something first.
    pub fn start_on(settings: &[(&'static str, &'static str)], folder: TempDir, disk: PathBuf, first: Option<String>) -> Self {
        let mut server = Self::new(settings, folder, disk, first);
        server.run();
        server
    }

    fn new(settings: &[(&'static str, &'static str)], folder: TempDir, disk: PathBuf, first: Option<String>) -> Self {
        let mut all = vec![("ALLOW_NETWORKS", "127.0.0.0/8"), ("REQUIRE_HTTPS", "false"), ("LOG", "warn")];
        all.extend_from_slice(settings);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        Self { folder, settings: all, first, disk, postgres: None, key: None, running: None, address: watch::Sender::new(nowhere) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
        let file = || format!("sqlite:{}", self.database().display());
        command.args(arguments).args(["--database", &self.postgres.clone().unwrap_or_else(file)]);
        let config = self.folder.path().join("ringback.toml");
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command.env_clear().envs(self.settings.iter().map(|(name, value)| (format!("RINGBACK_{name}"), value)));
        command.envs(self.key.iter().map(|key| ("RINGBACK_MASTER_KEY", key)));
        command
    }

    fn run(&mut self) {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        if let Some(first) = &self.first {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &format!("{first} && exec \"$@\""), "sh"]).arg(command.get_program()).args(command.get_args());
            shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command = shell;
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(self.log_file()).spawn().expect("the server starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            // Nobody hears it if the test has given up.
            drop(said.send(read.map(|_| (line, stdout))));
        });
        let heard = heard.recv_timeout(STARTED_WITHIN).ok().and_then(Result::ok);
        let address = heard.as_ref().and_then(|(line, _)| line.trim().strip_prefix("listening on http://")?.parse().ok());
        let (Some((_, stdout)), Some(address)) = (heard, address) else {
            drop((child.kill(), child.wait()));
            panic!("the server did not say where it listens; its log:\n{}", self.log());
        };
        self.running = Some(Running { child, _stdout: stdout });
        self.address.send_replace(address);
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn log_file(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the log file opens")
    }

    /// What all its processes have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Kills it as a power cut would: it gets to do nothing more.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("it is running");
        assert_eq!(running.child.try_wait().expect("its state is known"), None, "it ended by itself:\n{}", self.log());
        running.child.kill().expect("it is killed");
        running.child.wait().expect("it ends");
    }

    /// Waits until it has died by itself, at the place that `FAILPOINT` names.
    pub async fn dies(&mut self) {
        let mut running = self.running.take().expect("it is running");
        let mut ended = None;
        wait::until("the server dies at its failpoint", STOPPED_WITHIN, async || {
            ended = running.child.try_wait().expect("its state is known");
            ended.is_some()
        })
        .await;
        assert_eq!(ended.and_then(|status| status.signal()), Some(9), "it was killed:\n{}", self.log());
    }

    /// Asks it to stop, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.stops_after("-TERM").await
    }

    /// Sends a signal that asks it to stop, and waits until it has.
    pub async fn stops_after(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        let mut running = self.running.take().expect("it is running");
        let mut ended = None;
        wait::until("the server stops after the signal", STOPPED_WITHIN, async || {
            ended = running.child.try_wait().expect("its state is known");
            ended.is_some()
        })
        .await;
        ended.expect("it was waited for")
    }

    /// Stops it as a virtual machine is stopped: it notices nothing, and nobody else does.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Sends a signal, as `kill` names it.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "the signal is sent");
    }

    /// Nodes that share its database, as `ringback nodes` tells them.
    pub fn nodes(&self) -> Vec<Value> {
        let output = self.beside(&["nodes", "--json"]);
        assert!(output.status.success(), "nodes: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }

    /// Another setting from the next start on.
    pub fn set(&mut self, name: &'static str, value: &'static str) {
        self.unset(name);
        self.settings.push((name, value));
    }

    /// A setting less from the next start on.
    pub fn unset(&mut self, name: &'static str) {
        self.settings.retain(|(known, _)| *known != name);
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.disk.join("ringback.db")
    }

    /// The master key in the file beside the database.
    pub fn key(&self) -> String {
        std::fs::read_to_string(self.disk.join("ringback.key")).expect("the key file is there").trim().to_owned()
    }

    /// Starts it again on the same file, on another port.
    pub fn restart(&mut self) {
        assert!(self.running.is_none(), "it was stopped");
        self.run();
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.running.as_ref().expect("it is running").child.id()
    }

    /// Runs another command on its database.
    pub fn beside(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command runs")
    }

    /// Files and sockets that it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process())).expect("the system lists them").count()
    }

    /// Where it listens, also after it was started again.
    pub fn subscribe(&self) -> watch::Receiver<SocketAddr> {
        self.address.subscribe()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        *self.address.borrow()
    }

    /// Where it listens, as the beginning of a URL.
    pub fn url(&self) -> String {
        format!("http://{}", *self.address.borrow())
    }

    /// A client with a new operator's token.
    pub fn operator(&self) -> Client {
        Client::new(self.subscribe(), self.operator_token())
    }

    /// A new operator's token, made beside the running server.
    pub fn operator_token(&self) -> String {
        let output = self.command(&["token", "create", "--operator", "--json"]).output().expect("the command runs");
        assert!(output.status.success(), "token create: {}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
        text(&answer, "token").to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let end = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("the end of the server's log:\n{}", &log[end..]);
        }
    }
}

/// Makes a vendor; answers its id.
pub async fn new_vendor(client: &mut Client, name: &str) -> String {
    let vendor = client.post("/v1/vendors", &json!({"name": name, "email": format!("{name}@example.com")})).await;
    text(&vendor, "id").to_owned()
}

/// Makes an endpoint of a vendor and connects it; answers its id.
pub async fn new_endpoint(client: &mut Client, vendor: &str, mut settings: Value) -> Value {
    settings["vendor_id"] = vendor.into();
    let endpoint = client.post("/v1/endpoints", &settings).await;
    assert_eq!(endpoint["status"], "not_connected");
    let connected = client.post(&format!("/v1/endpoints/{}/connect", text(&endpoint, "id")), &json!({})).await;
    assert_eq!(connected["status"], "connected", "{connected}");
    endpoint
}
