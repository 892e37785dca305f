//! The disk is full: what is reported is refused and told so, what is on its way arrives, and with room all goes on by
//! itself.
//!
//! The disk is a small one in memory where the system lets a test mount it; else, and in a test of its own, it is a quota
//! that the process may not go beyond.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::api::{Client, text};
use super::server::{self, Server};
use super::wait;

/// Events that are on their way when the disk becomes full.
const UNDER_WAY: usize = 40;
const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_gone_through() {
    let (folder, disk) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    match Mounted::on(disk.path()) {
        Some(mounted) => go_through(folder, Room::Disk(mounted)).await,
        None => go_through(folder, Room::Quota(disk)).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_reached_is_a_full_disk() {
    let (folder, disk) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    go_through(folder, Room::Quota(disk)).await;
}

async fn go_through(folder: TempDir, room: Room) {
    let server = Server::start_on(&[("RETRY_SCHEDULE", "1s")], folder, room.path(), None);
    let (mut client, receiver) = (server.operator(), Receiver::start().await);
    let vendor = server::new_vendor(&mut client, "shop").await;
    let endpoint = server::new_endpoint(&mut client, &vendor, json!({"url": receiver.url})).await;
    let endpoint = text(&endpoint, "id").to_owned();
    receiver.shared.gate.forget_permits(usize::MAX);
    report(&mut client, &vendor, (0..UNDER_WAY).map(|number| format!("R-{number}"))).await;
    wait::until("the first is on its way", WITHIN, async || receiver.arrived() > 0).await;

    room.take(&server);
    everything_is_refused(&server, &mut client, &vendor).await;
    receiver.shared.gate.add_permits(10_000);
    wait::until("what was accepted arrives", WITHIN, async || receiver.different() == UNDER_WAY).await;
    assert!(client.has_pending(&vendor, &endpoint).await, "that it arrived cannot be written down");
    everything_is_refused(&server, &mut client, &vendor).await;

    room.give(&server);
    wait::until("reports are taken again", WITHIN, async || try_report(&mut client, &vendor, "again").await.0.is_success()).await;
    wait::until("it is ready", WITHIN, async || client.status("/readyz").await == StatusCode::OK).await;
    wait::until("nothing is pending", WITHIN, async || !client.has_pending(&vendor, &endpoint).await).await;
    assert_eq!((receiver.different(), receiver.arrived()), (UNDER_WAY + 1, UNDER_WAY + 1), "each came once");
    let refused = client.get(&format!("/v1/recharges?vendor_id={vendor}&reference_no=refused")).await;
    assert_eq!(refused["data"], json!([]), "what was refused is not there");
    let (status, answer) = try_report(&mut client, &vendor, "refused").await;
    assert_eq!((status, &answer["results"][0]["verdict"]), (StatusCode::OK, &json!("created")));
    assert_eq!(client.feed(&vendor).await.len(), UNDER_WAY + 2, "and took no number");
    the_end(server, client, &room).await;
}

/// Whatever would be written is refused with a word that says why; what is only read is answered.
async fn everything_is_refused(server: &Server, client: &mut Client, vendor: &str) {
    for _ in 0..3 {
        let (status, problem) = try_report(client, vendor, "refused").await;
        assert_full(status, &problem);
    }
    let (status, problem) = post(client, "/v1/vendors", json!({"name": "another", "email": "a@example.com"})).await;
    assert_full(status, &problem);
    let event = json!({"vendor_id": vendor, "type": "invoice.paid", "data": {}});
    let (status, problem) = post(client, "/v1/events", event).await;
    assert_full(status, &problem);
    let many = (0..8).map(|number| {
        let (mut client, vendor) = (client.clone(), vendor.to_owned());
        tokio::spawn(async move { try_report(&mut client, &vendor, &format!("refused-{number}")).await })
    });
    for one in many.collect::<Vec<_>>() {
        let (status, problem) = one.await.expect("it is answered");
        assert_full(status, &problem);
    }
    for path in ["/healthz", "/metrics"] {
        client.text(path).await;
    }
    assert_eq!(client.status("/readyz").await, StatusCode::SERVICE_UNAVAILABLE, "a load balancer sends its requests elsewhere");
    let feed = client.get(&format!("/v1/events?vendor_id={vendor}")).await;
    assert_eq!(feed["latest_sequence"], UNDER_WAY);
    let output = server.beside(&["token", "create", "--operator"]);
    let said = String::from_utf8_lossy(&output.stderr);
    // A quota is the server's own.
    if !output.status.success() {
        assert!(output.status.code() == Some(1) && said.contains("full") && said.trim().lines().count() == 1, "{said}");
    }
}

fn assert_full(status: StatusCode, problem: &Value) {
    assert_eq!((status, &problem["code"]), (StatusCode::INSUFFICIENT_STORAGE, &json!("storage_full")), "{problem}");
    let detail = text(problem, "detail");
    assert!(detail.contains("disk") && detail.contains("full") && detail.contains("nothing was taken"), "{detail}");
}

async fn the_end(mut server: Server, client: Client, room: &Room) {
    drop(client);
    assert!(server.terminate().await.success());
    if let Room::Disk(mounted) = room {
        nothing_starts_without_room(&server, &mounted.0.join("ballast"));
    }
    let conn = rusqlite::Connection::open(server.database()).expect("it opens");
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be checked");
    assert_eq!(check, "ok");
    let log = server.log();
    assert!(log.contains("disk is full") && !log.contains("panicked"), "{log}");
    let lines = log.lines().filter(|line| line.contains("the store is unavailable")).count();
    assert!((1..=6).contains(&lines), "an outage is logged where it begins, not for each request: {lines}\n{log}");
}

fn nothing_starts_without_room(server: &Server, ballast: &Path) {
    fill(ballast);
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["token", "list"]] {
        let output = server.beside(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.trim().lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains("ringback.db") && said.contains("disk"), "{said}");
    }
    std::fs::remove_file(ballast).expect("it is removed");
}

async fn post(client: &mut Client, path: &str, body: Value) -> (StatusCode, Value) {
    client.call(Method::POST, path, Some(&body)).await.expect("an answer")
}

async fn try_report(client: &mut Client, vendor: &str, reference: &str) -> (StatusCode, Value) {
    let report = json!({"vendor_id": vendor, "reference_no": reference, "status": "success"});
    post(client, "/v1/reports", json!({"reports": [report]})).await
}

async fn report(client: &mut Client, vendor: &str, references: impl Iterator<Item = String>) {
    let report = |reference| json!({"vendor_id": vendor, "reference_no": reference, "status": "success"});
    client.post("/v1/reports", &json!({"reports": references.map(report).collect::<Vec<_>>()})).await;
}

// --- Room ------------------------------------------------------------------------------------------------------------

/// Where the database is, and how its room is taken away.
enum Room {
    Disk(Mounted),
    Quota(TempDir),
}

impl Room {
    fn path(&self) -> PathBuf {
        match self {
            Self::Disk(mounted) => mounted.0.clone(),
            Self::Quota(folder) => folder.path().to_owned(),
        }
    }

    /// From now on there is none.
    fn take(&self, server: &Server) {
        match self {
            Self::Disk(mounted) => fill(&mounted.0.join("ballast")),
            Self::Quota(_) => {
                // No file may become longer than the log is now.
                let wal = server.database().with_extension("db-wal");
                let length = std::fs::metadata(wal).expect("there is a log").len();
                set_quota(server, &length.to_string());
            }
        }
    }

    /// There is some again.
    fn give(&self, server: &Server) {
        match self {
            Self::Disk(mounted) => std::fs::remove_file(mounted.0.join("ballast")).expect("it is removed"),
            Self::Quota(_) => set_quota(server, "unlimited"),
        }
    }
}

fn set_quota(server: &Server, bytes: &str) {
    let process = server.process().to_string();
    let done = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(done.expect("prlimit runs").success());
}

fn fill(path: &Path) {
    let mut ballast = File::create(path).expect("a file");
    for size in [1 << 16, 1 << 12, 1] {
        while ballast.write_all(&vec![0; size]).is_ok() {}
    }
}

/// A small disk in memory.
struct Mounted(PathBuf);

impl Mounted {
    /// None where the system does not let us.
    fn on(folder: &Path) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(folder).output();
        mount.is_ok_and(|mount| mount.status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is still open on it goes with its process.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

// --- The receiver ----------------------------------------------------------------------------------------------------

/// Counts what comes, and answers when the gate lets it.
struct Receiver {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    gate: Semaphore,
    ids: Mutex<Vec<String>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        // One for the handshake.
        let shared = Arc::new(Shared { gate: Semaphore::new(1), ids: Mutex::default() });
        let router = Router::new().route("/", axum::routing::post(receive)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    fn arrived(&self) -> usize {
        self.shared.ids.lock().len()
    }

    fn different(&self) -> usize {
        self.shared.ids.lock().iter().collect::<std::collections::HashSet<_>>().len()
    }
}

async fn receive(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let event: Value = serde_json::from_slice(&body).expect("JSON");
    if let Some(reference) = event["data"]["reference_no"].as_str() {
        shared.ids.lock().push(reference.to_owned());
    }
    shared.gate.acquire().await.expect("it stays open").forget();
    StatusCode::NO_CONTENT
}
