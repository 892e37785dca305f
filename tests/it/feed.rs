//! The feed: polled, waited for, and followed as server-sent events.

use std::net::SocketAddr;
use std::time::Duration;

use ringback::clock::Stopwatch;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

use crate::client::{Reply, Request, send};
use crate::harness::{TestApp, Vendor, references, text};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads a stream of server-sent events, message by message.
struct Follower {
    stream: TcpStream,
    text: String,
}

impl Follower {
    async fn open(app: &TestApp, path: &str, token: &str, headers: &str) -> Self {
        let stream = TcpStream::connect(app.address).await.expect("the server listens");
        let mut follower = Self { stream, text: String::new() };
        // To HTTP/1.0 the body comes as it is, up to the end of the connection.
        let head = format!("GET {path} HTTP/1.0\r\nauthorization: Bearer {token}\r\n{headers}\r\n");
        follower.stream.write_all(head.as_bytes()).await.expect("it can be sent");
        let head = follower.part("\r\n\r\n").await.expect("the server answers").to_ascii_lowercase();
        assert!(head.contains(" 200 ") && head.contains("content-type: text/event-stream"), "{head}");
        follower
    }

    /// What comes before the next `end`; `None` if the stream has ended.
    async fn part(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.text.find(end) {
                let rest = self.text.split_off(at + end.len());
                let mut part = std::mem::replace(&mut self.text, rest);
                part.truncate(at);
                return Some(part);
            }
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("something comes, or the end");
            match read.unwrap_or(0) {
                0 => return None,
                count => self.text.push_str(std::str::from_utf8(&bytes[..count]).expect("these events are ASCII")),
            }
        }
    }

    /// The next event as (id, name, data).
    async fn next(&mut self) -> Option<(i64, String, Value)> {
        loop {
            let message = self.part("\n\n").await?;
            let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start().to_owned());
            // A message without data is a comment that keeps the connection open.
            let Some(data) = field("data:") else { continue };
            let id = field("id:").expect("an id").parse().expect("a number");
            return Some((id, field("event:").expect("a name"), serde_json::from_str(&data).expect("JSON")));
        }
    }

    async fn numbers(&mut self, count: usize) -> Vec<i64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            numbers.push(self.next().await.expect("the stream goes on").0);
        }
        numbers
    }
}

async fn publish(app: &TestApp, vendor: &Vendor, event_type: &str) -> i64 {
    let event = json!({"vendor_id": vendor.id, "type": event_type, "data": {}});
    app.post("/v1/events", &app.operator, event).await.expect(202)["sequence"].as_i64().expect("a number")
}

fn numbers(page: &Value) -> Vec<i64> {
    page["data"].as_array().expect("a list").iter().map(|event| event["sequence"].as_i64().expect("a number")).collect()
}

async fn read(app: &TestApp, token: &str, query: &str) -> (Vec<i64>, i64) {
    let page = app.get(&format!("/v1/events?{query}"), token).await.expect(200);
    (numbers(&page), page["next_after"].as_i64().expect("a number"))
}

/// A poll that goes on beside the test.
fn poll(app: &TestApp, token: &str, query: &str) -> JoinHandle<Reply> {
    let (address, token, path) = (app.address, token.to_owned(), format!("/v1/events?{query}"));
    tokio::spawn(async move { send(address, Request { method: "GET", path: &path, token: Some(&token), ..Request::default() }).await })
}

async fn answer(poll: JoinHandle<Reply>) -> Reply {
    tokio::time::timeout(PATIENCE, poll).await.expect("it is answered in time").expect("it is answered")
}

// --- To poll -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn with_types_the_next_after_is_the_highest_number_examined() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    for event_type in ["invoice.paid", "order.sent", "note.made", "order.lost", "invoice.paid"] {
        publish(&app, &vendor, event_type).await;
    }
    for (query, expected) in [
        ("types=order.*", (vec![2, 4], 5)),
        ("types=order.*&limit=1", (vec![2], 2)),
        ("types=order.*&after=2", (vec![4], 5)),
        ("types=order.*&after=4", (vec![], 5)),
        ("types=order.sent,invoice.*", (vec![1, 2, 5], 5)),
        ("types=nothing.here", (vec![], 5)),
        ("types=order.*&after=5", (vec![], 5)),
        ("types=order.*&after=9", (vec![], 9)),
        ("after=9", (vec![], 9)),
    ] {
        assert_eq!(read(&app, &vendor.live, query).await, expected, "{query}");
    }
    app.get("/v1/events?types=Order", &vendor.live).await.code(422);
    app.succeed(&vendor, references(300)).await;
    assert_eq!(publish(&app, &vendor, "order.sent").await, 306);
    let (mut after, mut seen) = (5, Vec::new());
    while seen.is_empty() {
        let (found, next) = read(&app, &vendor.live, &format!("types=order.*&after={after}")).await;
        assert!(next > after, "each page goes on");
        (after, seen) = (next, found);
    }
    assert_eq!((seen, after), (vec![306], 306));
    app.finish().await;
}

#[tokio::test]
async fn a_poll_that_waits_is_answered_as_soon_as_an_event_comes() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let watch = Stopwatch::start();
    for number in 1..=6 {
        let waiting = poll(&app, &vendor.live, &format!("after={}&wait=30", number - 1));
        app.quiet(|| usize::from(waiting.is_finished())).await;
        assert!(!waiting.is_finished(), "there is nothing new yet");
        publish(&app, &vendor, "order.sent").await;
        let page = answer(waiting).await.expect(200);
        assert_eq!((numbers(&page), &page["next_after"]), (vec![number], &json!(number)));
    }
    assert!(watch.elapsed() < Duration::from_secs(4), "it is woken, not found at the next look: {:?}", watch.elapsed());
    let there = poll(&app, &vendor.live, "after=0&wait=30");
    assert_eq!(numbers(&answer(there).await.expect(200)).len(), 6, "what is there already is not waited for");
    app.finish().await;
}

#[tokio::test]
async fn a_poll_that_waited_in_vain_is_answered_with_nothing() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let (all, orders) = (poll(&app, &vendor.live, "after=0&wait=30"), poll(&app, &vendor.test, "types=order.*&wait=10"));
    app.quiet(|| usize::from(all.is_finished())).await;
    publish(&app, &other, "order.sent").await;
    let elsewhere = json!({"vendor_id": vendor.id, "mode": "test", "type": "note.made", "data": {}});
    app.post("/v1/events", &app.operator, elsewhere).await.expect(202);
    app.advance(Duration::from_secs(10));
    let page = answer(orders).await.expect(200);
    assert_eq!((numbers(&page), &page["next_after"]), (vec![], &json!(1)), "what it looked at need not be looked at again");
    assert!(!all.is_finished(), "it has 20 s left, and what came was another stream's");
    app.advance(Duration::from_secs(20));
    let page = answer(all).await.expect(200);
    assert_eq!((numbers(&page), &page["next_after"]), (vec![], &json!(0)));
    for wait in ["31", "-1", "x", "1.5"] {
        app.get(&format!("/v1/events?wait={wait}"), &vendor.live).await.code(422);
    }
    app.finish().await;
}

#[tokio::test]
async fn what_comes_after_a_token_was_revoked_is_not_for_it() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let made = app.post("/v1/tokens", &vendor.live, json!({"mode": "live"})).await.expect(201);
    let (id, token) = (text(&made["id"]), text(&made["token"]));
    let waiting = poll(&app, &token, "wait=30");
    let mut follower = Follower::open(&app, "/v1/events/stream", &token, "").await;
    app.quiet(|| usize::from(waiting.is_finished())).await;
    app.call("DELETE", &format!("/v1/tokens/{id}"), &vendor.live, None).await.expect(204);
    publish(&app, &vendor, "order.sent").await;
    assert_eq!(answer(waiting).await.code(401), "unauthorized");
    assert_eq!(follower.next().await, None);
    app.finish().await;
}

// --- To follow ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_stream_tells_each_event_with_its_number_and_type() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    app.succeed_one(&vendor, "before").await;
    let mut follower = Follower::open(&app, "/v1/events/stream", &vendor.live, "").await;
    let event = app.succeed_one(&vendor, "R-1").await;
    publish(&app, &vendor, "order.sent").await;
    let (number, name, data) = follower.next().await.expect("an event");
    assert_eq!((number, name.as_str()), (2, "recharge.success"), "it begins with what comes next");
    assert_eq!(data, app.get(&format!("/v1/events/{event}"), &vendor.live).await.expect(200));
    let (number, name, _) = follower.next().await.expect("an event");
    assert_eq!((number, name.as_str()), (3, "order.sent"));
    app.finish().await;
}

#[tokio::test]
async fn a_stream_goes_on_where_it_is_told_to() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    app.succeed(&vendor, references(450)).await;
    for (query, header, first) in
        [("?after=0", "", 1), ("?after=7", "", 8), ("", "Last-Event-ID: 449\r\n", 450), ("?after=7", "last-event-id: 20\r\n", 21)]
    {
        let path = format!("/v1/events/stream{query}");
        let mut follower = Follower::open(&app, &path, &vendor.live, header).await;
        let count = 451 - first as usize;
        assert_eq!(follower.numbers(count).await, (first..=450).collect::<Vec<_>>(), "{query} {header}");
    }
    let (mut seen, mut last) = (Vec::new(), 0);
    // A reader that loses its connection in the midst of things comes back with the last number it saw.
    while last < 450 {
        let header = format!("Last-Event-ID: {last}\r\n");
        let mut follower = Follower::open(&app, "/v1/events/stream", &vendor.live, &header).await;
        seen.extend(follower.numbers(150.min(450 - seen.len())).await);
        last = *seen.last().expect("a number");
    }
    assert_eq!(seen, (1..=450).collect::<Vec<_>>());
    for (query, header) in [("", "x"), ("", "-1"), ("?after=x", "1"), ("?limit=5", "1"), ("?types=Order", "1")] {
        let path = format!("/v1/events/stream{query}");
        let headers = [("last-event-id", header)];
        let request = Request { method: "GET", path: &path, token: Some(&vendor.live), headers: &headers, ..Request::default() };
        send(app.address, request).await.code(422);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_stream_of_some_types_passes_over_the_others() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    app.succeed(&vendor, references(250)).await;
    publish(&app, &vendor, "order.sent").await;
    let mut follower = Follower::open(&app, "/v1/events/stream?types=order.*&after=0", &vendor.live, "").await;
    assert_eq!(follower.numbers(1).await, [251]);
    for of in [&other, &vendor, &other, &vendor] {
        publish(&app, of, "note.made").await;
        publish(&app, of, "order.sent").await;
    }
    assert_eq!(follower.numbers(2).await, [253, 255]);
    app.finish().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked_or_its_vendor_disabled() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let made = app.post("/v1/tokens", &vendor.live, json!({"mode": "live"})).await.expect(201);
    let path = "/v1/events/stream";
    let mut revoked = Follower::open(&app, path, &text(&made["token"]), "").await;
    let (mut disabled, mut kept) = (Follower::open(&app, path, &vendor.live, "").await, Follower::open(&app, path, &other.live, "").await);
    let watch = Stopwatch::start();
    app.call("DELETE", &format!("/v1/tokens/{}", text(&made["id"])), &vendor.live, None).await.expect(204);
    assert_eq!(revoked.next().await, None);
    assert!(watch.elapsed() < Duration::from_secs(3), "{:?}", watch.elapsed());
    app.succeed_one(&vendor, "R-1").await;
    assert_eq!(disabled.numbers(1).await, [1], "the vendor's other tokens are as good as before");
    let watch = Stopwatch::start();
    app.call("PATCH", &format!("/v1/vendors/{}", vendor.id), &app.operator, Some(json!({"disabled": true}))).await.expect(200);
    assert_eq!(disabled.next().await, None);
    assert!(watch.elapsed() < Duration::from_secs(3), "{:?}", watch.elapsed());
    app.succeed_one(&other, "R-1").await;
    assert_eq!(kept.numbers(1).await, [1]);
    app.finish().await;
}

#[tokio::test]
async fn a_stop_is_not_held_up_by_those_who_wait_for_events() {
    let mut app = TestApp::start().await;
    let vendor = app.vendor().await;
    app.succeed(&vendor, references(3)).await;
    let mut follower = Follower::open(&app, "/v1/events/stream?after=0", &vendor.live, "").await;
    assert_eq!(follower.numbers(3).await, [1, 2, 3]);
    let waiting = poll(&app, &vendor.live, "after=3&wait=30");
    app.quiet(|| usize::from(waiting.is_finished())).await;
    let watch = Stopwatch::start();
    app.stop().await;
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    assert!(numbers(&answer(waiting).await.expect(200)).is_empty());
    assert_eq!(follower.next().await, None);
    app.finish().await;
}

// --- Many writers ------------------------------------------------------------------------------------------------------

const WRITERS: i64 = 8;
const ROUNDS: i64 = 12;
/// Each round of a writer makes a batch of three and one event of the platform's own.
const ALL: i64 = WRITERS * ROUNDS * 4;

async fn write(address: SocketAddr, operator: String, vendors: [String; 2], writer: i64) {
    for round in 0..ROUNDS {
        // The other vendor's come in between, in the same transactions.
        for vendor in &vendors {
            let report = |item: i64| json!({"vendor_id": vendor, "reference_no": format!("{writer}-{round}-{item}"), "status": "success"});
            let event = json!({"vendor_id": vendor, "type": "order.sent", "data": {"of": vendor}});
            for (path, body) in [("/v1/reports", json!({"reports": [report(1), report(2), report(3)]})), ("/v1/events", event)] {
                let body = Some(body.to_string().into_bytes());
                let reply = send(address, Request { method: "POST", path, token: Some(&operator), body, ..Request::default() }).await;
                assert!(matches!(reply.status, 200 | 202), "{}", reply.text);
            }
        }
    }
}

async fn poll_all(app: &TestApp, token: &str) -> Vec<(i64, String)> {
    let (mut seen, mut after) = (Vec::new(), 0);
    while after < ALL {
        let page = app.get(&format!("/v1/events?after={after}&limit=7&wait=30"), token).await.expect(200);
        let data = page["data"].as_array().expect("a list");
        seen.extend(data.iter().map(|event| (event["sequence"].as_i64().expect("a number"), text(&event["id"]))));
        after = page["next_after"].as_i64().expect("a number");
    }
    seen
}

async fn follow_all(follower: &mut Follower) -> Vec<(i64, String)> {
    let mut seen = Vec::new();
    while seen.len() < ALL as usize {
        let (number, _, data) = follower.next().await.expect("the stream goes on");
        seen.push((number, text(&data["id"])));
    }
    seen
}

#[tokio::test]
async fn under_many_writers_every_number_is_seen_once_and_in_order() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let mut follower = Follower::open(&app, "/v1/events/stream", &vendor.live, "").await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(app.address, app.operator.clone(), [other.id.clone(), vendor.id.clone()], writer));
    }
    let (polled, followed) = tokio::join!(poll_all(&app, &vendor.live), follow_all(&mut follower));
    while let Some(ended) = writers.join_next().await {
        ended.expect("all was taken");
    }
    let numbers: Vec<i64> = polled.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=ALL).collect::<Vec<_>>());
    assert_eq!(polled, followed);
    for (_, id) in polled.iter().step_by(17) {
        app.get(&format!("/v1/events/{id}"), &vendor.live).await.expect(200);
        app.get(&format!("/v1/events/{id}"), &other.live).await.code(404);
    }
    app.finish().await;
}
