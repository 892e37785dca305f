//! The program itself on bad days: what it is given is wrong, or it is asked to stop in the middle of its work.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Reply, Request, send, try_send};
use crate::harness::{text, until};
use crate::receiver::Receiver;

pub const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// The program with nothing but these settings in its environment.
pub fn program(settings: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    for (name, value) in settings {
        command.env(format!("RINGBACK_{}", name.to_uppercase()), value);
    }
    command
}

/// Runs it to its end.
pub fn run(settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    program(settings, arguments).output().expect("it runs")
}

/// What it said when it failed: one line, on stderr.
#[track_caller]
pub fn one_line(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// A database in a folder of its own.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder") }
    }

    /// One with a database that was made with [`KEY`].
    pub fn with_database() -> Self {
        let place = Self::new();
        place.token();
        place
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("it.db")
    }

    pub fn database(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }

    pub fn token(&self) -> String {
        let output = run(&[("master_key", KEY)], &["token", "create", "--operator", "--json", "--database", &self.database()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        text(&serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["token"])
    }

    pub fn serve_with(&self, key: &str) -> Output {
        run(&[("master_key", key)], &["serve", "--listen", "127.0.0.1:0", "--database", &self.database()])
    }
}

/// A server in a process of its own; it is killed if a test ends before it does.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// What else it says.
    pub says: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    pub fn start(place: &Place) -> Self {
        Self::with(place, &[])
    }

    /// One with more settings.
    pub fn with(place: &Place, more: &[(&str, &str)]) -> Self {
        let settings = [("master_key", KEY), ("allow_networks", "127.0.0.1/32"), ("require_https", "false"), ("retry_schedule", "1s")];
        let settings = [&settings, more].concat();
        let mut command = program(&settings, &["serve", "--listen", "127.0.0.1:0", "--database", &place.database()]);
        let log = fs::File::create(place.folder.path().join("log")).expect("a file");
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
        let mut line = String::new();
        let mut says = BufReader::new(child.stdout.take().expect("a pipe"));
        says.read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://").expect("its address").parse().expect("an address");
        Self { child, address, says }
    }

    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// The exit code, once it has ended.
    pub async fn ended(&mut self) -> Option<i32> {
        let child = Mutex::new(&mut self.child);
        until("its end", || async { child.lock().try_wait().expect("a child") }).await.code()
    }

    pub async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> Reply {
        let body = (!body.is_null()).then(|| body.to_string().into_bytes());
        send(self.address, Request { method, path, token: Some(token), body, ..Request::default() }).await
    }
}

// --- What is wrong before it starts -----------------------------------------------------------------------------------

#[test]
fn an_unknown_command_is_wrong_use() {
    for arguments in [&["fly"][..], &[], &["serve", "--colour"], &["token", "create", "--json", "--name"], &["token", "create"]] {
        let output = run(&[], arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [["--help"], ["--version"]] {
        let output = run(&[], &arguments);
        assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(0), true), "{arguments:?}");
    }
}

#[test]
fn config_check_tells_all_problems_at_once() {
    let place = Place::new();
    let file = place.folder.path().join("ringback.toml");
    fs::write(&file, "listen = \"nowhere\"\ncolour = \"red\"\nattempt_timeout = \"0s\"\nlane_window = 0\n").expect("it is written");
    let settings = [("retry_schedule", "soon"), ("master_key", "short"), ("database", "mysql:x"), ("allow_networks", "10.0.0.0/33")];
    let output = run(&settings, &["config", "check", "--config", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).expect("text");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines.len()), ("ringback: 9 problems:", 10), "a line for each: {said}");
    let name = file.display();
    for (line, begins) in [(1, "listen"), (2, "colour"), (3, "attempt_timeout"), (4, "lane_window")] {
        assert!(lines[line].starts_with(&format!("  {name}:{line}: {begins} ")), "{said}");
    }
    for name in ["retry_schedule", "master_key", "database", "allow_networks"] {
        let variable = format!("  RINGBACK_{}: {name}", name.to_uppercase());
        assert!(lines.iter().any(|line| line.starts_with(&variable)), "{name} is not named: {said}");
    }
    assert!(!said.contains("short"), "a key is not repeated: {said}");
    for arguments in [&["serve"][..], &["token", "create", "--operator"]] {
        let output = run(&settings, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("retry_schedule") && said.contains("database"), "{said}");
    }
    let good = run(&[("retry_schedule", "1s,2s")], &["config", "check"]);
    assert_eq!((good.status.code(), good.stderr.is_empty()), (Some(0), true));
}

#[test]
fn a_configuration_file_that_cannot_be_read_is_named() {
    let place = Place::new();
    let file = place.folder.path().join("ringback.toml");
    fs::write(&file, "listen = \"127.0.0.1:0\"\nlog = = \"info\"\n").expect("it is written");
    let said = one_line(&run(&[], &["config", "check", "--config", &file.display().to_string()]), 64);
    assert!(said.contains("ringback.toml:2: is not TOML"), "{said}");
    let said = one_line(&run(&[], &["serve", "--config", "/nowhere/ringback.toml"]), 64);
    assert!(said.contains("/nowhere/ringback.toml"), "{said}");
}

#[test]
fn a_file_that_is_no_database_is_left_as_it_is() {
    let place = Place::new();
    for content in [b"this is not a database, and it is long enough to be looked at\n".repeat(200), b"SQLite format 3\0".repeat(512)] {
        fs::write(place.file(), &content).expect("it is written");
        let said = one_line(&place.serve_with(KEY), 1);
        assert!(said.contains("it.db") && said.contains("not a readable SQLite database"), "{said}");
        assert_eq!(fs::read(place.file()).expect("it is there"), content, "it is unchanged");
    }
}

#[test]
fn another_databases_tables_are_left_as_they_are() {
    let place = Place::new();
    let conn = rusqlite::Connection::open(place.file()).expect("it opens");
    conn.execute_batch("CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB); CREATE TABLE vendor (id INTEGER)").expect("tables");
    drop(conn);
    let output = place.serve_with(KEY);
    one_line(&output, 1);
    let conn = rusqlite::Connection::open(place.file()).expect("it opens");
    let tables: u32 =
        conn.query_row("SELECT count(*) FROM sqlite_master WHERE name IN ('meta', 'vendor')", [], |row| row.get(0)).expect("rows");
    let others: u32 =
        conn.query_row("SELECT count(*) FROM sqlite_master WHERE name IN ('recharge', 'event')", [], |row| row.get(0)).expect("rows");
    assert_eq!((tables, others), (2, 0), "half of our tables were made in somebody else's database");
}

#[test]
fn a_wrong_master_key_is_told_and_nothing_is_changed() {
    let place = Place::with_database();
    let before = fs::read(place.file()).expect("it is there");
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["token", "create", "--operator"]] {
        let database = place.database();
        let output = run(&[("master_key", OTHER_KEY), ("database", &database)], arguments);
        let said = one_line(&output, 1);
        assert!(said.contains("master key"), "{said}");
        assert_eq!(fs::read(place.file()).expect("it is there"), before);
    }
    let without = run(&[], &["serve", "--listen", "127.0.0.1:0", "--database", &place.database()]);
    let said = one_line(&without, 1);
    assert!(said.contains("ringback.key") && !place.folder.path().join("ringback.key").exists(), "no new key for an old database: {said}");
}

#[test]
fn a_locked_database_is_told() {
    let place = Place::with_database();
    let conn = rusqlite::Connection::open(place.file()).expect("it opens");
    conn.execute_batch("BEGIN EXCLUSIVE").expect("it is locked");
    let before = fs::read(place.file()).expect("it is there");
    let said = one_line(&place.serve_with(KEY), 1);
    assert!(said.contains("it.db") && said.contains("locked"), "{said}");
    assert_eq!(fs::read(place.file()).expect("it is there"), before);
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let output = run(&[("master_key", KEY)], &["serve", "--listen", "127.0.0.1:0", "--database", "sqlite:/nowhere/at/all.db"]);
    assert!(one_line(&output, 1).contains("/nowhere/at/all.db"));
}

#[tokio::test]
async fn a_second_server_on_the_same_database_is_refused() {
    let place = Place::with_database();
    let mut server = Server::start(&place);
    let said = one_line(&place.serve_with(KEY), 1);
    assert!(said.contains("another ringback serves") && said.contains("it.db"), "{said}");
    let token = place.token();
    until("the first one knows the new token", || async {
        (server.call("GET", "/v1/vendors", &token, Value::Null).await.status == 200).then_some(())
    })
    .await;
    server.terminate();
    assert_eq!(server.ended().await, Some(0));
    let mut second = Server::start(&place);
    second.terminate();
    assert_eq!(second.ended().await, Some(0), "the lock goes with its holder");
}

#[tokio::test]
async fn an_address_that_is_taken_is_told() {
    let place = Place::with_database();
    let taken = Receiver::start().await;
    let address = taken.address.to_string();
    let output = run(&[("master_key", KEY)], &["serve", "--listen", &address, "--database", &place.database()]);
    assert!(String::from_utf8_lossy(&output.stderr).lines().last().is_some_and(|line| line.contains(&address)));
    assert_eq!(output.status.code(), Some(1));
}

// --- SIGTERM ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_stop_right_after_the_start_is_orderly() {
    let place = Place::with_database();
    for round in 0..20 {
        let mut server = Server::start(&place);
        server.terminate();
        assert_eq!(server.ended().await, Some(0), "round {round}: who is told the address may stop the server at once");
    }
}

/// Reports until the server takes no more; remembers each event that was answered for.
async fn load(
    address: SocketAddr,
    token: String,
    vendor: String,
    worker: usize,
    acknowledged: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
) {
    for round in 0.. {
        let report = |item| json!({"vendor_id": vendor, "reference_no": format!("{worker}-{round}-{item}"), "status": "success"});
        let body = json!({"reports": (0..5).map(report).collect::<Vec<_>>()}).to_string().into_bytes();
        let request = Request { method: "POST", path: "/v1/reports", token: Some(&token), body: Some(body), ..Request::default() };
        match try_send(address, request).await {
            Some(reply) if reply.status == 200 => {
                let results = reply.json()["results"].clone();
                acknowledged.lock().extend(results.as_array().expect("results").iter().map(|result| text(&result["event_id"])));
            }
            _ => return,
        }
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

pub async fn connected(server: &Server, token: &str, hook: &Receiver) -> (String, String) {
    let vendor = server.call("POST", "/v1/vendors", token, json!({"name": "Shop", "email": "shop@example.com"})).await.expect(201);
    let (id, live) = (text(&vendor["id"]), text(&vendor["live_token"]));
    let endpoint = server.call("POST", "/v1/endpoints", &live, json!({"url": hook.url()})).await.expect(201);
    server.call("POST", &format!("/v1/endpoints/{}/connect", text(&endpoint["id"])), &live, Value::Null).await.expect(200);
    hook.forget();
    (id, live)
}

#[tokio::test]
async fn a_stop_under_load_loses_nothing() {
    let (place, hook) = (Place::new(), Receiver::start().await);
    let token = place.token();
    let mut server = Server::start(&place);
    let (vendor, live) = connected(&server, &token, &hook).await;
    let (acknowledged, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..8)
        .map(|worker| tokio::spawn(load(server.address, token.clone(), vendor.clone(), worker, acknowledged.clone(), stop.clone())))
        .collect();
    until("enough reports", || async { (acknowledged.lock().len() >= 500).then_some(()) }).await;
    server.terminate();
    assert_eq!(server.ended().await, Some(0), "{}", log_of(place.folder.path()));
    for worker in workers {
        worker.await.expect("the load ends");
    }
    let acknowledged = acknowledged.lock().clone();
    let mut server = Server::start(&place);
    let (seen, all) = (|| hook.received().iter().map(|request| request.id().to_owned()).collect::<HashSet<_>>(), acknowledged.len());
    until("all that was answered for", || async { acknowledged.iter().all(|id| seen().contains(id)).then_some(()) }).await;
    until("no open delivery", || async {
        let pending = "/v1/deliveries?state=pending&since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z";
        server.call("GET", pending, &live, Value::Null).await.expect(200);
        (open(&place.file()) == 0).then_some(())
    })
    .await;
    let feed = server.call("GET", "/v1/events?limit=1", &live, Value::Null).await.expect(200);
    let latest = feed["latest_sequence"].as_u64().expect("a number") as usize;
    assert!(latest >= all && latest <= all + 8 * 5, "{latest} events, {all} answered for");
    server.terminate();
    assert_eq!(server.ended().await, Some(0));
    println!("{all} reports answered for before the stop, {} requests for them at the receiver", hook.count());
}

fn open(file: &Path) -> u64 {
    let conn = rusqlite::Connection::open(file).expect("it opens");
    conn.query_row("SELECT count(*) FROM open_delivery", [], |row| row.get(0)).expect("a count")
}

pub fn log_of(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

// --- Documents ------------------------------------------------------------------------------------------------------------

#[test]
fn the_openapi_document_is_the_one_in_docs() {
    let output = run(&[], &["openapi"]);
    assert!(output.status.success());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    if !path.exists() {
        fs::write(&path, &output.stdout).expect("it is written");
    }
    let kept = fs::read(&path).expect("it is there");
    assert!(kept == output.stdout, "docs/openapi.json is not what the code says; make it again with `make openapi`");
    let document: Value = serde_json::from_slice(&kept).expect("JSON");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
}
