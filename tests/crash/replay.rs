//! A hundred thousand events replayed by the real binary, which is killed twice on its way: each arrives, none is missing,
//! and the events that are reported meanwhile do not wait for them.
//!
//! The receiver does as little as it can: what is measured is the server, and in a debug build, so that only the bound
//! counts and not the speed.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use ringback::clock::Stopwatch;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::api::{Client, text};
use super::server::{self, Server};
use super::wait;

const EVENTS: u64 = 100_000;
const BATCH: u64 = 1000;
/// The replay is killed when the receiver has so many of its events.
const KILLED_AT: [u64; 2] = [EVENTS / 3, EVENTS * 2 / 3];
/// Fresh events that are measured before the replay.
const BEFORE: usize = 300;
/// Between two fresh events.
const PACE: Duration = Duration::from_millis(10);
/// A fresh event never waits for a replay. What it waits for beside that, on a busy machine and in a debug build, is far
/// below this.
const WAITS_AT_MOST: Duration = Duration::from_secs(1);
const MOVES_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_replay_survives_kills_and_delays_no_fresh_event() {
    let total = Stopwatch::start();
    let mut server = Server::start(&[("RETRY_SCHEDULE", "1s,5s")]);
    let mut client = server.operator();
    let receiver = Receiver::start().await;
    let vendor = server::new_vendor(&mut client, "replay").await;
    let endpoint = json!({"vendor_id": vendor, "url": receiver.url()});
    let endpoint = text(&client.post("/v1/endpoints", &endpoint).await, "id").to_owned();
    report_all(&client, &vendor).await;
    let connected = client.post(&format!("/v1/endpoints/{endpoint}/connect"), &json!({})).await;
    assert_eq!(connected["missed"], EVENTS);
    println!("replay: {EVENTS} events missed after {:.1?}", total.elapsed());

    let fresh = Fresh { client: client.clone(), vendor: vendor.clone(), seen: Arc::clone(&receiver.seen), stop: Arc::default() };
    for _ in 0..BEFORE {
        fresh.report().await;
    }
    wait::until("fresh events arrive", MOVES_WITHIN, async || receiver.seen.took().len() == BEFORE).await;
    let before = Latency::of(receiver.seen.took());
    receiver.seen.measure_anew();

    let body = json!({"since": "2020-01-01T00:00:00Z", "only": "missed"});
    let replay = client.post(&format!("/v1/endpoints/{endpoint}/replay"), &body).await;
    assert_eq!(replay["matched"], EVENTS);
    let (watch, stop) = (Stopwatch::start(), Arc::clone(&fresh.stop));
    let reporting = tokio::spawn(fresh.go_on());
    for part in KILLED_AT {
        let came = || receiver.seen.replayed();
        wait::while_progressing("the replay gets on", MOVES_WITHIN, came, async || came() >= part).await;
        receiver.seen.lives.fetch_add(1, Ordering::SeqCst);
        server.kill();
        server.restart();
        receiver.seen.lives.fetch_add(1, Ordering::SeqCst);
    }
    let path = format!("/v1/replays/{}", text(&replay, "id"));
    let came = || receiver.seen.replayed();
    wait::while_progressing("the replay ends", MOVES_WITHIN, came, async || client.get(&path).await["state"] == "done").await;
    let took = watch.elapsed();
    stop.store(true, Ordering::SeqCst);
    reporting.await.expect("the reporter goes on to the end");
    wait::until("nothing is pending", MOVES_WITHIN, async || !client.has_pending(&vendor, &endpoint).await).await;

    let done = client.get(&path).await;
    assert_eq!((&done["matched"], &done["done"]), (&json!(EVENTS), &json!(EVENTS)), "each run is counted once");
    let repeated = nothing_is_missing(&client.feed(&vendor).await, &receiver.seen);
    let during = Latency::of(receiver.seen.took());
    let rate = EVENTS as f64 / took.as_secs_f64();
    println!("replay: {took:.1?} with two kills, {rate:.0}/s; {repeated} requests repeated; {:.1?} in all", total.elapsed());
    println!("replay: a fresh event from its report to the receiver: {before} before, {during} during the replay");
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "the server logged an error:\n{log}");
    assert!(during.count > 100, "too few events were reported meanwhile: {during}");
    assert!(during.p99 < WAITS_AT_MOST, "fresh events wait for the replay: {during}");
}

fn item(vendor: &str, reference: &str) -> Value {
    json!({"vendor_id": vendor, "reference_no": reference, "status": "success", "amount": "50.00", "currency": "NPR",
           "operator": "Ncell", "connection_no": "9801234567"})
}

/// Reports all that is replayed later, in batches, while nobody listens.
async fn report_all(client: &Client, vendor: &str) {
    let mut reporters = JoinSet::new();
    for half in 0..2 {
        let (mut client, vendor) = (client.clone(), vendor.to_owned());
        reporters.spawn(async move {
            for batch in (half..EVENTS / BATCH).step_by(2) {
                let items: Vec<Value> = (0..BATCH).map(|at| item(&vendor, &format!("old-{}", batch * BATCH + at))).collect();
                let answer = client.post("/v1/reports", &json!({"reports": items})).await;
                assert_eq!(answer["results"].as_array().map(Vec::len), Some(BATCH as usize));
            }
        });
    }
    reporters.join_all().await;
}

/// Every number of the feed has come; answers how many requests came beyond the first of each.
fn nothing_is_missing(feed: &[Value], seen: &Seen) -> u64 {
    let came = seen.came.lock();
    for event in feed {
        let sequence = event["sequence"].as_u64().expect("a number");
        assert!(came.contains_key(&sequence), "the receiver never got number {sequence}");
    }
    assert_eq!(came.len(), feed.len(), "and it got nothing else");
    came.values().map(|count| u64::from(count - 1)).sum()
}

// --- Fresh events --------------------------------------------------------------------------------------------------------

/// Reports one event after the other.
struct Fresh {
    client: Client,
    vendor: String,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
}

impl Fresh {
    async fn go_on(self) {
        while !self.stop.load(Ordering::SeqCst) {
            self.report().await;
        }
    }

    /// Reports one until there is an answer, and goes on after a pause.
    async fn report(&self) {
        let mut client = self.client.clone();
        let reference = self.seen.next_reference();
        let body = json!({"reports": [item(&self.vendor, &reference)]});
        loop {
            self.seen.reported(&reference);
            match client.call(Method::POST, "/v1/reports", Some(&body)).await {
                Ok((status, answer)) if status != StatusCode::SERVICE_UNAVAILABLE => {
                    assert_eq!(status, StatusCode::OK, "{answer}");
                    break;
                }
                _ => client.restarted().await,
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

/// How long fresh events took.
struct Latency {
    count: usize,
    p50: Duration,
    p99: Duration,
}

impl Latency {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let part = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default();
        Self { count: took.len(), p50: part(50), p99: part(99) }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.1?} p99 {:.1?} ({} events)", self.p50, self.p99, self.count)
    }
}

/// A fresh event on its way.
struct Reported {
    at: Stopwatch,
    /// In which of the server's lives.
    life: u32,
    took: Option<Duration>,
}

/// What the receiver saw.
#[derive(Default)]
struct Seen {
    /// How often each number came.
    came: Mutex<HashMap<u64, u32>>,
    replayed: AtomicU64,
    fresh: Mutex<HashMap<String, Reported>>,
    references: AtomicU32,
    /// Counts the server's ends and beginnings. An event that saw one was not delayed by the replay.
    lives: AtomicU32,
}

impl Seen {
    fn next_reference(&self) -> String {
        format!("new-{}", self.references.fetch_add(1, Ordering::SeqCst))
    }

    fn reported(&self, reference: &str) {
        let reported = Reported { at: Stopwatch::start(), life: self.lives.load(Ordering::SeqCst), took: None };
        self.fresh.lock().insert(reference.to_owned(), reported);
    }

    fn measure_anew(&self) {
        self.fresh.lock().clear();
    }

    /// Of the fresh events that arrived in the life of the server in which they were reported.
    fn took(&self) -> Vec<Duration> {
        self.fresh.lock().values().filter_map(|reported| reported.took).collect()
    }

    /// Different numbers of those that are replayed.
    fn replayed(&self) -> u64 {
        self.replayed.load(Ordering::SeqCst)
    }

    fn note(&self, request: &Request) {
        let Some(sequence) = request.sequence else { return };
        let times = *self.came.lock().entry(sequence).and_modify(|times| *times += 1).or_insert(1);
        self.replayed.fetch_add(u64::from(times == 1 && sequence <= EVENTS), Ordering::SeqCst);
        let Some(reference) = &request.reference else { return };
        if let Some(reported) = self.fresh.lock().get_mut(reference) {
            reported.arrived(self.lives.load(Ordering::SeqCst));
        }
    }
}

impl Reported {
    fn arrived(&mut self, life: u32) {
        if self.life == life && self.took.is_none() {
            self.took = Some(self.at.elapsed());
        }
    }
}

// --- The receiver --------------------------------------------------------------------------------------------------------

/// Answers 204 to everything.
struct Receiver {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What it reads of a request.
struct Request {
    sequence: Option<u64>,
    reference: Option<String>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, seen) = (listener.local_addr().expect("it is bound"), Arc::new(Seen::default()));
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that the server lost with its life ends here too.
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        while let Some((request, length)) = Request::read(&buffer) {
            seen.note(&request);
            buffer.drain(..length);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

impl Request {
    /// The first whole request in the buffer, and its length.
    fn read(buffer: &[u8]) -> Option<(Self, usize)> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(begin) = head.parse(buffer).expect("the request is HTTP") else { return None };
        let number = |name: &str| -> Option<u64> {
            let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()?.parse().ok()
        };
        let end = begin + number("content-length").unwrap_or(0) as usize;
        let body = std::str::from_utf8(buffer.get(begin..end)?).expect("the body is text");
        let reference = body.split_once("\"reference_no\":\"new-").and_then(|(_, rest)| Some(format!("new-{}", rest.split_once('"')?.0)));
        Some((Self { sequence: number("ringback-sequence"), reference }, end))
    }
}
