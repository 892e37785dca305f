//! A server that may have only so much memory, under everything that could need more; and one whose environment names proxies
//! that it was not told of.

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use ringback::domain::secret::Secret;
use ringback::wire::standard;
use serde_json::{Value, json};

use super::api::{Client, text};
use super::receiver::{Moods, Receiver};
use super::server::{self, Server};
use super::wait;

/// Beyond what it has when nothing happens, in KiB: half of what waits below.
const ROOM: u64 = 192 << 10;
/// Bytes of an event, of 200 kB that may have at most.
const EVENT: usize = 190_000;
const EVENTS: usize = 2_000;
/// Requests of a mebibyte each, at a time.
const CLIENTS: usize = 48;
const MAILBOX: &str = "large";
const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_memory_is_enough_for_much_work() {
    let settings = [("RETRY_SCHEDULE", "1s"), ("EVENT_PAYLOAD_MAX", "200000")];
    let idle = Server::start(&settings);
    let most = memory(idle.process(), "VmSize:") + ROOM;
    drop(idle);
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().to_owned();
    let server = Server::start_on(&settings, folder, disk, Some(format!("ulimit -v {most}")));
    let (mut client, receiver) = (server.operator(), Receiver::start().await);
    let vendor = server::new_vendor(&mut client, "shop").await;
    let secret = Secret::new(vec![7; 32]);
    let url = receiver.open(MAILBOX, secret.clone(), Moods::default(), 1);
    let settings = json!({"url": url, "secret": standard::secret_text(&secret), "event_types": ["*"]});
    let endpoint = server::new_endpoint(&mut client, &vendor, settings).await;
    let endpoint = text(&endpoint, "id").to_owned();

    // Twice as much waits as there is room for, and comes in many large requests at a time.
    client.post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({})).await;
    let publishing: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(publish(client.clone(), vendor.clone(), number))).collect();
    for one in publishing {
        one.await.expect("all are accepted");
    }
    client.post(&format!("/v1/endpoints/{endpoint}/resume"), &json!({})).await;
    wait::while_progressing("all have arrived", WITHIN, || receiver.requests(), async || !client.has_pending(&vendor, &endpoint).await)
        .await;
    let differing = receiver.look(MAILBOX, |mailbox| mailbox.got.values().map(|got| got.differing).sum::<u64>());
    assert_eq!((receiver.accepted(MAILBOX), differing), (EVENTS + 1, 0), "each, and the handshake");
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("memory"), "the server's log:\n{log}");
}

async fn publish(mut client: Client, vendor: String, from: usize) {
    let too_much = json!({"vendor_id": vendor, "type": "archive.made", "data": {"text": "x".repeat(1 << 20)}});
    for number in (from..EVENTS).step_by(CLIENTS) {
        let event = json!({"vendor_id": vendor, "type": "archive.made", "data": {"number": number, "text": "x".repeat(EVENT)}});
        client.post("/v1/events", &event).await;
        if number.is_multiple_of(16) {
            let refused = client.call(Method::POST, "/v1/events", Some(&too_much)).await;
            // A connection whose request is too large may be closed before it was read.
            assert!(refused.is_err() || refused.is_ok_and(|(status, _)| status == StatusCode::PAYLOAD_TOO_LARGE));
        }
    }
}

/// KiB that a process has, as the system calls it.
fn memory(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the system tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_of_the_environment_are_not_asked() {
    let nowhere = "http://127.0.0.1:9";
    let names = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let first = names.map(|name| format!("export {name}={nowhere}")).join(" && ");
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().to_owned();
    let server = Server::start_on(&[], folder, disk, Some(first));
    let (mut client, receiver) = (server.operator(), Receiver::start().await);
    let vendor = server::new_vendor(&mut client, "shop").await;
    let secret = Secret::new(vec![7; 32]);
    let url = receiver.open(MAILBOX, secret.clone(), Moods::default(), 1);
    let endpoint = server::new_endpoint(&mut client, &vendor, json!({"url": url, "secret": standard::secret_text(&secret)})).await;
    let report: Value = json!({"vendor_id": vendor, "reference_no": "R-1", "status": "success"});
    client.post("/v1/reports", &json!({"reports": [report]})).await;
    let endpoint = text(&endpoint, "id");
    wait::until("it has arrived", WITHIN, async || !client.has_pending(&vendor, endpoint).await).await;
    assert_eq!(receiver.accepted(MAILBOX), 2, "the handshake, and the event");
}
