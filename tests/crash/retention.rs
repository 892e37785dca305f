//! Very many old attempts are removed while traffic goes on: how long that takes, what becomes of the file, and what the
//! traffic notices. How fast that is for millions of them is what `ringback bench retention` measures.
//!
//! A report's latency counts from the moment it was to be posted, whether or not the one before it had been answered by
//! then, to its event's arrival at the receiver.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use ringback::clock::{Clock, Stopwatch, SystemClock};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::api::{Client, text};
use super::server::{self, Server};
use super::wait;

const OLD_ATTEMPTS: u64 = 200_000;
/// Reports a second.
const RATE: u32 = 300;
const REPORTERS: u32 = 8;
/// What is posted this soon after a start finds everything cold, and is not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// Longer than anything is old.
const FOR_EVER: &str = "36500d";
const RETENTION: &str = "90d";
const DAY: i64 = 24 * 3600 * 1000;
const STALLED: Duration = Duration::from_secs(60);
const PAGE: u64 = 4096;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_attempts_are_removed_while_traffic_goes_on() {
    let total = Stopwatch::start();
    let mut server = Server::start(&[("RETENTION", FOR_EVER)]);
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "shop").await;
    let arrivals = Arc::new(Arrivals::default());
    let endpoint = server::new_endpoint(&mut client, &vendor, json!({"url": receive(Arc::clone(&arrivals)).await})).await;
    assert!(server.terminate().await.success());
    let events = insert(&server.database(), OLD_ATTEMPTS);
    let size_before = size(&server.database());
    println!("retention: {OLD_ATTEMPTS} old attempts of {events} events made in {:.1?}, {size_before:.0} MB", total.elapsed());

    server.restart();
    let traffic = Traffic::start(&client, &vendor, "before", &arrivals);
    tokio::time::sleep(WARM_UP + Duration::from_secs(3)).await;
    let before = traffic.stop().await.figures(Duration::MAX);
    assert!(server.terminate().await.success());
    server.set("RETENTION", RETENTION);
    server.restart();
    let (watch, traffic) = (Stopwatch::start(), Traffic::start(&client, &vendor, "meanwhile", &arrivals));
    let rows = 3 * events;
    until_swept(&mut client, rows).await;
    let removed = watch.elapsed();
    until_given_back(&server.database()).await;
    let (given_back, samples) = (watch.elapsed(), traffic.stop().await);
    let (removing, meanwhile) = (samples.figures(removed), samples.figures(Duration::MAX));
    wait::until("nothing is pending", STALLED, async || !client.has_pending(&vendor, text(&endpoint, "id")).await).await;
    assert!(server.terminate().await.success());
    let size_after = size(&server.database());

    println!("retention: {rows} rows removed in {removed:.1?}, their room given back after {given_back:.1?}; {size_after:.0} MB are left");
    println!("retention: at {RATE}/s, from report to delivery, before:    {before}");
    println!("retention: at {RATE}/s, from report to delivery, removing:  {removing}");
    println!("retention: at {RATE}/s, from report to delivery, meanwhile: {meanwhile}");
    assert_eq!(left(&server.database()), 0, "old rows that are left");
    let kept = (ringback::limits::FREE_PAGES_KEPT as u64 * PAGE) as f64 / 1e6;
    assert!(size_after < kept + 5.0 + f64::from(before.count + meanwhile.count) / 200.0, "{size_after} MB are left");
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "the server logged an error:\n{log}");
}

// --- What is old -----------------------------------------------------------------------------------------------------

/// Makes so many attempts in the database of a server that is stopped: events from a month's days, four months ago, each
/// delivered at its second attempt. Answers how many events that were.
fn insert(database: &Path, attempts: u64) -> u64 {
    let mut conn = Connection::open(database).expect("it opens");
    conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000").expect("it can be hurried");
    let endpoint: i64 = conn.query_row("SELECT id FROM endpoint", [], |row| row.get(0)).expect("an endpoint");
    let stream: i64 = conn.query_row("SELECT stream FROM endpoint", [], |row| row.get(0)).expect("its stream");
    let (events, start) = (attempts / 2, SystemClock.now().as_millis() - 121 * DAY);
    let at = |sequence: u64| start + (sequence as i64 * 30 * DAY) / events as i64;
    for part in (1..=events).collect::<Vec<_>>().chunks(100_000) {
        let tx = conn.transaction().expect("a transaction");
        for sequence in part {
            insert_one(&tx, (stream, endpoint), *sequence, at(*sequence));
        }
        tx.commit().expect("it is written");
    }
    const RAISE: &str = "UPDATE stream SET next_sequence = ?2, last_event_at = ?3 WHERE id = ?1";
    conn.execute(RAISE, params![stream, events + 1, at(events)]).expect("the counter is raised");
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("the log is moved");
    // What the system has not written yet would slow down whoever syncs next.
    std::fs::File::open(database).and_then(|file| file.sync_all()).expect("it is on the disk");
    events
}

fn insert_one(conn: &Connection, (stream, endpoint): (i64, i64), sequence: u64, at: i64) {
    const EVENT: &str = "INSERT INTO event VALUES (?1, ?2, 'recharge.success', ?3, ?4)";
    const ATTEMPT: &str = "INSERT INTO attempt VALUES (?1, ?2, 1, 1, ?3, 1, 503, NULL, 210, 840, 0, 2600, 2700, \
        'content-type: text/html\nserver: nginx', x'3c68313e536572766963652054656d706f726172696c7920556e617661696c61626c653c2f68313e')";
    const ENDED: &str = "INSERT INTO ended_delivery VALUES (?1, ?2, 1, 1, NULL, 2, ?4, ?3, ?3, 0, 204, NULL, 0, 0, 0, 1900, 2000, \
        'server: nginx', NULL)";
    let facts = format!(
        r#"{{"id":"rch_0000000000000","transaction_id":{},"reference_no":"OLD-{sequence}","status":"success","amount":"50.00","currency":"NPR","operator":"Ncell","connection_no":"98{:08}","provider_ref":"P-{sequence}","reason":null,"settled_at":"2026-01-01T00:00:00.000Z"}}"#,
        100_000 + sequence,
        sequence % 100_000_000
    );
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        conn.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).expect("a row");
    };
    run(EVENT, &[&stream, &sequence, &at, &facts]);
    run(ATTEMPT, &[&endpoint, &sequence, &(at + 100)]);
    run(ENDED, &[&endpoint, &sequence, &(at + 5100), &(at + DAY)]);
}

/// Old rows that were not removed.
fn left(database: &Path) -> u64 {
    let line = SystemClock.now().as_millis() - 90 * DAY;
    let conn = Connection::open(database).expect("it opens");
    let count = |sql: &str| conn.query_row(sql, [line], |row| row.get::<_, u64>(0)).expect("a count");
    count("SELECT count(*) FROM event WHERE created_at < ?1")
        + count("SELECT count(*) FROM ended_delivery WHERE ended_at < ?1")
        + count("SELECT count(*) FROM attempt WHERE started_at < ?1")
}

/// Megabytes of the file.
fn size(database: &Path) -> f64 {
    std::fs::metadata(database).expect("it is there").len() as f64 / 1e6
}

async fn until_swept(client: &mut Client, rows: u64) {
    let swept = AtomicU64::new(0);
    wait::while_progressing(
        "everything old is removed",
        STALLED,
        || swept.load(Ordering::SeqCst),
        async || {
            let metrics = client.text("/metrics").await;
            let line = metrics.lines().find_map(|line| line.strip_prefix("ringback_swept_rows_total "));
            swept.store(line.map_or(0, |number| number.parse().expect("a number")), Ordering::SeqCst);
            swept.load(Ordering::SeqCst) >= rows
        },
    )
    .await;
}

async fn until_given_back(database: &Path) {
    let conn = Connection::open(database).expect("it opens");
    let free = || conn.query_row("PRAGMA freelist_count", [], |row| row.get::<_, u64>(0)).expect("a number");
    let enough = ringback::limits::FREE_PAGES_KEPT as u64;
    wait::while_progressing("the room is given back", STALLED, free, async || free() <= enough).await;
}

// --- Traffic ---------------------------------------------------------------------------------------------------------

/// What reporters and receiver share: when each report was to be posted, and how long it took from then.
struct Arrivals {
    clock: Stopwatch,
    due: Mutex<HashMap<String, Duration>>,
    took: Mutex<Vec<(Duration, Duration)>>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { clock: Stopwatch::start(), due: Mutex::default(), took: Mutex::default() }
    }
}

/// Listens on a free port; answers its URL.
async fn receive(arrivals: Arc<Arrivals>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let router = Router::new().route("/", axum::routing::post(arrived)).with_state(arrivals);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/")
}

async fn arrived(State(arrivals): State<Arc<Arrivals>>, body: Bytes) -> StatusCode {
    let now = arrivals.clock.elapsed();
    let event: Value = serde_json::from_slice(&body).expect("JSON");
    // A handshake is about no recharge.
    if let Some(reference) = event["data"]["reference_no"].as_str() {
        let due = arrivals.due.lock().remove(reference);
        arrivals.took.lock().extend(due.map(|due| (due, now.saturating_sub(due))));
    }
    StatusCode::NO_CONTENT
}

/// Reporters at work.
struct Traffic {
    arrivals: Arc<Arrivals>,
    start: Duration,
    stop: Arc<AtomicBool>,
    reporters: JoinSet<u32>,
}

impl Traffic {
    fn start(client: &Client, vendor: &str, name: &'static str, arrivals: &Arc<Arrivals>) -> Self {
        let (arrivals, stop, mut reporters) = (Arc::clone(arrivals), Arc::new(AtomicBool::new(false)), JoinSet::new());
        let start = arrivals.clock.elapsed();
        for number in 0..REPORTERS {
            let due = move |round: u32| start + Duration::from_secs(1) * (round * REPORTERS + number) / RATE;
            let (client, vendor) = (client.clone(), vendor.to_owned());
            let (arrivals, stop) = (Arc::clone(&arrivals), Arc::clone(&stop));
            reporters.spawn(async move { report(client, &vendor, (&arrivals, &stop), &format!("{name}-{number}"), due).await });
        }
        Self { arrivals, start, stop, reporters }
    }

    /// Posts no more, waits until all has arrived, and answers how long each took.
    async fn stop(self) -> Samples {
        self.stop.store(true, Ordering::SeqCst);
        let (count, arrivals): (u32, _) = (self.reporters.join_all().await.into_iter().sum(), self.arrivals);
        let waiting = || arrivals.due.lock().len() as u64;
        wait::while_progressing("all reports have arrived", STALLED, waiting, async || waiting() == 0).await;
        let all = std::mem::take(&mut *arrivals.took.lock());
        assert_eq!(all.len(), count as usize, "each arrives once");
        Samples(all.into_iter().map(|(due, took)| (due.saturating_sub(self.start), took)).collect())
    }
}

/// When each report was due, from the traffic's start, and how long it took.
struct Samples(Vec<(Duration, Duration)>);

impl Samples {
    /// Of those that were due before `end`, without the cold ones.
    fn figures(&self, end: Duration) -> Figures {
        let counted = self.0.iter().filter(|(due, _)| (WARM_UP..end).contains(due));
        let mut took: Vec<Duration> = counted.map(|(_, took)| *took).collect();
        took.sort_unstable();
        let part = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
        Figures { count: took.len() as u32, p50: part(50), p99: part(99), most: part(100) }
    }
}

/// Posts a report each time that one is due, and at once if that is past; answers how many.
async fn report(
    mut client: Client,
    vendor: &str,
    (arrivals, stop): (&Arrivals, &AtomicBool),
    name: &str,
    due: impl Fn(u32) -> Duration,
) -> u32 {
    for round in 0.. {
        if stop.load(Ordering::SeqCst) {
            return round;
        }
        let (at, reference) = (due(round), format!("{name}-{round}"));
        tokio::time::sleep(at.saturating_sub(arrivals.clock.elapsed())).await;
        arrivals.due.lock().insert(reference.clone(), at);
        let report = json!({"vendor_id": vendor, "reference_no": reference, "status": "success", "amount": "50.00", "currency": "NPR"});
        client.post("/v1/reports", &json!({"reports": [report]})).await;
    }
    unreachable!("it goes on until it is told to stop")
}

struct Figures {
    count: u32,
    p50: Duration,
    p99: Duration,
    most: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, p50, p99, most } = self;
        write!(f, "p50 {p50:.1?}, p99 {p99:.1?}, at most {most:.1?}, of {count}")
    }
}
