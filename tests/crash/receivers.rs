//! Ten thousand events to each receiver that somebody else's code verifies: every one arrives, and says what the feed
//! says.

use std::collections::HashMap;
use std::time::Duration;

use ringback::clock::Stopwatch;
use ringback::domain::secret::Secret;
use ringback::wire::standard;
use serde_json::{Value, json};

use super::api::{Client, text};
use super::programs::{Needs, Program};
use super::receiver::{Moods, Receiver};
use super::server::{self, Server};
use super::wait;

const EVENTS: usize = 10_000;
const BATCH: usize = 500;
const STALLED: Duration = Duration::from_secs(60);
const LEGACY_SECRET: &str = "k3Y+with/odd=chars&32 bytes!long";
const IN_PROCESS: &str = "ed25519";

/// What one line of a receiver's log, or one event of the feed, says.
type Said = (u64, String, String, String);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_receivers_get_ten_thousand_events_each() {
    let total = Stopwatch::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&[]);
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "stock").await;
    let secret = standard::secret_text(&Secret::new(vec![42; 32]));
    let (modern, legacy) = (Needs { folder: folder.path(), secret: &secret }, Needs { folder: folder.path(), secret: LEGACY_SECRET });
    let programs = [
        Program::python(modern),
        Program::node(modern),
        Program::php("php-raw", "raw", legacy),
        Program::php("php-base64", "base64", legacy),
    ];
    let mut endpoints = Vec::new();
    for program in &programs {
        let settings = endpoint_of(program, &secret);
        endpoints.push((program.name, server::new_endpoint(&mut client, &vendor, settings).await));
    }
    let receiver = Receiver::start().await;
    endpoints.push((IN_PROCESS, connect_in_process(&mut client, &vendor, &receiver).await));

    let watch = Stopwatch::start();
    report(&mut client, &vendor).await;
    println!("receivers: {EVENTS} reports answered in {:.1?}", watch.elapsed());
    let progress = || programs.iter().map(Program::logged_bytes).sum::<u64>() + receiver.requests();
    let mut waiting = endpoints.iter().map(|(name, endpoint)| (*name, text(endpoint, "id"))).collect::<Vec<_>>();
    wait::while_progressing("everything is delivered", STALLED, progress, async || {
        let mut still = Vec::new();
        for (name, endpoint) in waiting.drain(..) {
            if client.has_pending(&vendor, endpoint).await {
                still.push((name, endpoint));
            } else {
                println!("receivers: {name} has everything after {:.1?}", watch.elapsed());
            }
        }
        waiting = still;
        waiting.is_empty()
    })
    .await;

    let feed = client.feed(&vendor).await;
    assert_eq!(feed.len(), EVENTS, "an event for each report");
    programs.iter().for_each(|program| compare(program, &feed));
    compare_in_process(&receiver, &feed);
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "the server logged an error:\n{log}");
    println!("receivers: {:.1?} in all", total.elapsed());
}

fn is_legacy(program: &Program) -> bool {
    program.name.starts_with("php")
}

fn endpoint_of(program: &Program, secret: &str) -> Value {
    if is_legacy(program) {
        let cipher_text = program.name.strip_prefix("php-");
        json!({"url": program.url, "profile": "globaltopup", "cipher_text": cipher_text, "secret": LEGACY_SECRET})
    } else {
        json!({"url": program.url, "profile": "standard", "secret": secret})
    }
}

/// An endpoint with a key pair; from its connection on, both signatures must be right.
async fn connect_in_process(client: &mut Client, vendor: &str, receiver: &Receiver) -> Value {
    let secret = Secret::new(vec![43; 24]);
    let told = standard::secret_text(&secret);
    let url = receiver.open(IN_PROCESS, secret, Moods::default(), 0);
    let endpoint = server::new_endpoint(client, vendor, json!({"url": url, "secret": told, "ed25519": true})).await;
    receiver.require_ed25519(IN_PROCESS, text(&endpoint, "public_key"));
    endpoint
}

/// Every tenth recharge has failed.
async fn report(client: &mut Client, vendor: &str) {
    for batch in (0..EVENTS).collect::<Vec<_>>().chunks(BATCH) {
        let report = |number: &usize| {
            let status = if number % 10 == 9 { "failed" } else { "success" };
            json!({"vendor_id": vendor, "reference_no": format!("INV-{number}"), "status": status, "amount": "50.00", "currency": "NPR",
                "operator": "Ncell", "connection_no": "9801234567", "reason": "पैसा — \"quoted\" \\ / <&>"})
        };
        let answer = client.post("/v1/reports", &json!({"reports": batch.iter().map(report).collect::<Vec<_>>()})).await;
        let results = answer["results"].as_array().expect("results");
        assert!(results.len() == batch.len() && results.iter().all(|result| result["verdict"] == "created"), "{answer}");
    }
}

fn said(value: &Value, status: &str) -> Said {
    let sequence = value["sequence"].as_u64().unwrap_or_else(|| panic!("no sequence in {value}"));
    (sequence, text(value, "type").to_owned(), text(value, "reference_no").to_owned(), status.to_owned())
}

/// The feed as a receiver's log would have it, by `webhook-id`.
fn expected(program: &Program, feed: &[Value]) -> HashMap<String, Said> {
    let word = |status: &str| match (is_legacy(program), status) {
        (true, "success") => "Success".to_owned(),
        (true, "failed") => "Failed".to_owned(),
        (_, other) => other.to_owned(),
    };
    let line = |event: &Value| {
        let data = &event["data"];
        let line = json!({"sequence": event["sequence"], "type": event["type"], "reference_no": data["reference_no"]});
        (text(event, "id").to_owned(), said(&line, &word(text(data, "status"))))
    };
    feed.iter().map(line).collect()
}

/// The log has the feed's events, each as the feed has it, and nothing else but one handshake.
fn compare(program: &Program, feed: &[Value]) {
    let name = program.name;
    let mut missing = expected(program, feed);
    let (mut got, mut handshakes, mut duplicates): (HashMap<String, Said>, usize, usize) = Default::default();
    for line in program.lines() {
        assert_eq!(line["verified"], true, "{name}: {line}");
        if line["type"] == "webhook.test" || line["type"] == "connect" {
            handshakes += 1;
            continue;
        }
        let (id, said) = (text(&line, "webhook_id").to_owned(), said(&line, text(&line, "status")));
        match (missing.remove(&id), got.get(&id)) {
            (Some(event), _) => {
                assert_eq!(said, event, "{name}: {id} is not what the feed says");
                got.insert(id, said);
            }
            (None, Some(first)) => {
                assert_eq!(said, *first, "{name}: {id} came again as something else");
                duplicates += 1;
            }
            (None, None) => panic!("{name}: no such event in the feed: {line}"),
        }
    }
    assert!(missing.is_empty(), "{name} never got {} events: {missing:?}", missing.len());
    assert_eq!(handshakes, 1, "{name}: handshakes");
    println!("receivers: {name}: {} events, {duplicates} duplicates", got.len());
}

fn compare_in_process(receiver: &Receiver, feed: &[Value]) {
    receiver.look(IN_PROCESS, |mailbox| {
        assert!(mailbox.wrong.is_empty(), "{IN_PROCESS}: not verified: {:#?}", mailbox.wrong);
        assert_eq!(mailbox.got.values().filter(|got| !got.is_test()).count(), feed.len(), "{IN_PROCESS}: the feed's events");
        let mut duplicates = 0;
        for event in feed {
            let got = mailbox.got.get(text(event, "id")).unwrap_or_else(|| panic!("{IN_PROCESS} never got {event}"));
            let body: Value = serde_json::from_slice(&got.body).expect("it was read before");
            assert_eq!((&body["type"], &body["data"]), (&event["type"], &event["data"]), "{IN_PROCESS}");
            duplicates += got.requests - 1;
        }
        println!("receivers: {IN_PROCESS}: {} events, {duplicates} duplicates", feed.len());
    });
}
