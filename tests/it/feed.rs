//! The feed: polled, waited for, and followed as a stream; in order, without gaps, and never silently cut.

use std::time::Duration;

use ringback::clock::Stopwatch;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Reply, Request, send};
use crate::harness::{TestApp, Vendor, references, text, until};

/// A feed looks by itself this often, so that what it waits for takes no longer.
const SOON: Duration = Duration::from_secs(3);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn numbers(feed: &Value) -> Vec<i64> {
    feed["data"].as_array().expect("events").iter().map(|event| event["sequence"].as_i64().expect("a number")).collect()
}

/// Events of these types, in order.
async fn publish(app: &TestApp, vendor: &Vendor, types: &[&str]) {
    for event_type in types {
        let event = json!({"vendor_id": vendor.id, "type": event_type, "data": {}});
        app.post("/v1/events", &app.operator, event).await.expect(202);
    }
}

/// A request that is answered some time.
fn ask(app: &TestApp, path: &str, token: &str) -> tokio::task::JoinHandle<(Reply, Duration)> {
    let (address, path, token, watch) = (app.address, path.to_owned(), token.to_owned(), Stopwatch::start());
    tokio::spawn(async move {
        let request = Request { method: "GET", path: &path, token: Some(&token), ..Request::default() };
        (send(address, request).await, watch.elapsed())
    })
}

// --- Polling -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn with_types_next_after_is_the_highest_number_examined() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    publish(&app, &vendor, &["a.one", "b.one", "a.two", "b.two", "c.one"]).await;
    app.succeed(&vendor, references(300)).await;
    for (query, found, next) in [
        ("types=b.*", vec![2, 4], 200),
        ("types=b.*,c.one", vec![2, 4, 5], 200),
        ("types=b.*&limit=1", vec![2], 2),
        ("types=b.*&limit=2", vec![2, 4], 200),
        ("types=b.*&after=2", vec![4], 202),
        ("types=a.two,b.two&after=2&limit=1", vec![3], 3),
        ("types=none.such", vec![], 200),
        ("types=none.such&after=200", vec![], 305),
        ("types=none.such&after=305", vec![], 305),
        ("types=*&after=303", vec![304, 305], 305),
        ("after=303&limit=1", vec![304], 304),
        ("after=305", vec![], 305),
    ] {
        let feed = app.get(&format!("/v1/events?{query}"), &vendor.live).await.expect(200);
        assert_eq!((numbers(&feed), &feed["next_after"]), (found, &json!(next)), "{query}");
        assert_eq!((&feed["oldest_sequence"], &feed["latest_sequence"]), (&json!(1), &json!(305)));
    }
    app.finish().await;
}

#[tokio::test]
async fn what_a_feed_is_asked_for_is_bounded() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    for (query, field) in [
        ("wait=31", "wait"),
        ("wait=-1", "wait"),
        ("wait=soon", "wait"),
        ("after=-1", "after"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("types=Nope", "types"),
        ("since=2026-01-01T00:00:00Z", "since"),
    ] {
        let answer = app.get(&format!("/v1/events?{query}"), &vendor.live).await;
        answer.code(422);
        assert_eq!(answer.problems()[0].0, field, "{query}");
    }
    for query in ["wait=0", "wait=30&after=0"] {
        // With an event there is nothing to wait for.
        app.succeed_one(&vendor, query).await;
        app.get(&format!("/v1/events?{query}"), &vendor.live).await.expect(200);
    }
    app.finish().await;
}

// --- Waiting -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_poll_that_waits_is_answered_when_its_event_comes() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let (own, chosen) = (ask(&app, "/v1/events?wait=30", &vendor.live), ask(&app, "/v1/events?wait=30&types=c.*", &vendor.live));
    let elsewhere = ask(&app, "/v1/events?wait=30", &vendor.test);
    app.succeed_one(&other, "R-1").await;
    publish(&app, &vendor, &["a.one"]).await;
    let (reply, took) = own.await.expect("an answer");
    assert_eq!(numbers(&reply.expect(200)), [1]);
    assert!(took < SOON, "{took:?}");
    publish(&app, &vendor, &["b.one", "c.one"]).await;
    let (reply, took) = chosen.await.expect("an answer");
    let feed = reply.expect(200);
    assert_eq!((numbers(&feed), &feed["next_after"]), (vec![3], &json!(3)), "it went on waiting for its own types");
    assert!(took < SOON * 2, "{took:?}");
    assert!(!elsewhere.is_finished(), "another mode's events are none of its own");
    app.advance(Duration::from_secs(30));
    let (reply, _) = elsewhere.await.expect("an answer");
    assert_eq!(numbers(&reply.expect(200)), [0; 0]);
    app.finish().await;
}

#[tokio::test]
async fn a_poll_that_waited_in_vain_is_answered_with_nothing() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    publish(&app, &vendor, &["a.one"]).await;
    for query in ["after=1&wait=5", "after=0&wait=5&types=b.*"] {
        let waiting = ask(&app, &format!("/v1/events?{query}"), &vendor.live);
        app.quiet(|| 0).await;
        app.advance(Duration::from_millis(4999));
        app.quiet(|| usize::from(waiting.is_finished())).await;
        assert!(!waiting.is_finished(), "{query}: not yet");
        app.advance(Duration::from_millis(1));
        let feed = waiting.await.expect("an answer").0.expect(200);
        assert_eq!((numbers(&feed), &feed["next_after"]), (vec![], &json!(1)), "{query}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_poll_that_waits_ends_with_its_token() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let made = app.post("/v1/tokens", &vendor.live, json!({"mode": "live"})).await.expect(201);
    let waiting = ask(&app, "/v1/events?wait=30", &text(&made["token"]));
    app.quiet(|| usize::from(waiting.is_finished())).await;
    app.call("DELETE", &format!("/v1/tokens/{}", text(&made["id"])), &vendor.live, None).await.expect(204);
    publish(&app, &vendor, &["a.one"]).await;
    assert_eq!(waiting.await.expect("an answer").0.code(401), "unauthorized", "what came after it was revoked is not for it");
    app.finish().await;
}

// --- The stream --------------------------------------------------------------------------------------------------------

/// A message of a stream.
#[derive(Debug, Clone, PartialEq)]
enum Message {
    Event { id: i64, event_type: String, data: Value },
    Comment,
}

/// An open stream of server-sent events.
struct Stream {
    connection: TcpStream,
    raw: Vec<u8>,
    text: String,
    ended: bool,
}

impl Stream {
    /// Opens one; the answer's head has been read.
    async fn open(app: &TestApp, query: &str, token: &str, last: Option<&str>) -> Self {
        let mut connection = TcpStream::connect(app.address).await.expect("the server listens");
        let last = last.map_or(String::new(), |last| format!("last-event-id: {last}\r\n"));
        let head = format!("GET /v1/events/stream?{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{last}\r\n");
        connection.write_all(head.as_bytes()).await.expect("it is sent");
        let mut stream = Self { connection, raw: Vec::new(), text: String::new(), ended: false };
        let head = loop {
            if let Some(end) = stream.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = stream.raw.drain(..end + 4).collect();
                break String::from_utf8(head).expect("text").to_lowercase();
            }
            assert!(stream.read().await, "an answer");
        };
        assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
        assert!(head.contains("x-accel-buffering: no"), "a proxy passes events on at once: {head}");
        stream
    }

    async fn read(&mut self) -> bool {
        let read = tokio::time::timeout(Duration::from_secs(25), self.connection.read_buf(&mut self.raw)).await;
        read.expect("it says something in time").is_ok_and(|count| count > 0)
    }

    /// Takes chunks that are whole.
    fn unchunk(&mut self) {
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let length = usize::from_str_radix(std::str::from_utf8(&self.raw[..line]).expect("text"), 16).expect("a length");
            if self.raw.len() < line + 2 + length + 2 {
                return;
            }
            self.text.push_str(std::str::from_utf8(&self.raw[line + 2..line + 2 + length]).expect("UTF-8"));
            self.raw.drain(..line + 2 + length + 2);
            self.ended |= length == 0;
        }
    }

    /// The next message; none at the end.
    async fn next(&mut self) -> Option<Message> {
        loop {
            self.unchunk();
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let message = parse(message);
                self.text = rest.to_owned();
                return Some(message);
            }
            if self.ended || !self.read().await {
                return None;
            }
        }
    }

    /// The numbers of the next events.
    async fn numbers(&mut self, count: usize) -> Vec<i64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            match self.next().await.expect("it goes on") {
                Message::Event { id, .. } => numbers.push(id),
                Message::Comment => {}
            }
        }
        numbers
    }

    /// It ends, with nothing before that.
    async fn ends(&mut self) {
        assert_eq!(self.next().await, None);
    }
}

fn parse(message: &str) -> Message {
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
    if message.lines().all(|line| line.starts_with(':')) {
        return Message::Comment;
    }
    let id = field("id").expect("an id").parse().expect("a number");
    let data = serde_json::from_str(&field("data").expect("data")).expect("JSON");
    Message::Event { id, event_type: field("event").expect("a type"), data }
}

#[tokio::test]
async fn a_stream_tells_the_same_events_with_their_numbers_as_ids() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    publish(&app, &vendor, &["a.one", "b.one"]).await;
    let mut stream = Stream::open(&app, "after=0", &vendor.live, None).await;
    assert_eq!(stream.numbers(2).await, [1, 2]);
    app.succeed_one(&vendor, "R-1").await;
    let Some(Message::Event { id, event_type, data }) = stream.next().await else { panic!("an event") };
    let feed = app.get("/v1/events?after=2", &vendor.live).await.expect(200);
    assert_eq!((id, event_type.as_str(), &data), (3, "recharge.success", &feed["data"][0]));
    app.finish().await;
}

#[tokio::test]
async fn a_stream_begins_where_it_is_told_to() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    publish(&app, &vendor, &["a.one", "b.one", "a.two"]).await;
    let mut streams = Vec::new();
    for (query, last, expected) in [
        ("after=0", None, vec![1, 2, 3, 4, 5]),
        ("after=2", None, vec![3, 4, 5]),
        ("", Some("1"), vec![2, 3, 4, 5]),
        ("after=0", Some("2"), vec![3, 4, 5]),
        ("", None, vec![4, 5]),
        ("after=3", None, vec![4, 5]),
        ("after=0&types=a.*", None, vec![1, 3, 5]),
        ("types=b.*", None, vec![4]),
    ] {
        streams.push((Stream::open(&app, query, &vendor.live, last).await, expected));
    }
    publish(&app, &vendor, &["b.two", "a.three"]).await;
    for (mut stream, expected) in streams {
        assert_eq!(stream.numbers(expected.len()).await, expected);
    }
    for (query, last) in [("after=x", None), ("", Some("x")), ("", Some("-1")), ("types=Nope", None), ("limit=5", None)] {
        let headers: Vec<_> = last.iter().map(|last| ("last-event-id", *last)).collect();
        let path = format!("/v1/events/stream?{query}");
        let request = Request { method: "GET", path: &path, token: Some(&vendor.live), headers: &headers, ..Request::default() };
        send(app.address, request).await.code(422);
    }
    app.finish().await;
}

#[tokio::test]
async fn an_operator_follows_the_vendor_that_it_names() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    assert_eq!(app.get("/v1/events/stream", &app.operator).await.problems()[0].0, "vendor_id");
    let mut stream = Stream::open(&app, &format!("after=0&vendor_id={}", vendor.id), &app.operator, None).await;
    let mut test = Stream::open(&app, &format!("after=0&mode=test&vendor_id={}", vendor.id), &app.operator, None).await;
    publish(&app, &vendor, &["a.one"]).await;
    assert_eq!(stream.numbers(1).await, [1]);
    let event = json!({"vendor_id": vendor.id, "mode": "test", "type": "b.one", "data": {}});
    app.post("/v1/events", &app.operator, event).await.expect(202);
    let Some(Message::Event { event_type, .. }) = test.next().await else { panic!("an event") };
    assert_eq!(event_type, "b.one");
    app.finish().await;
}

#[tokio::test]
async fn a_stream_resumes_without_gap_or_repetition() {
    let mut app = TestApp::start().await;
    let vendor = app.vendor().await;
    let (mut seen, mut last) = (Vec::new(), "0".to_owned());
    for round in 0..4 {
        app.succeed(&vendor, (0..150).map(|number| format!("R-{round}-{number}"))).await;
        let mut stream = Stream::open(&app, "", &vendor.live, Some(&last)).await;
        // It is broken off somewhere in the middle, by the client or by the server's end.
        seen.extend(stream.numbers(100).await);
        last = seen.last().expect("some").to_string();
        if round == 2 {
            app.restart().await;
        }
    }
    let mut stream = Stream::open(&app, "", &vendor.live, Some(&last)).await;
    seen.extend(stream.numbers(200).await);
    assert_eq!(seen, (1..=600).collect::<Vec<_>>());
    app.finish().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let made = app.post("/v1/tokens", &vendor.live, json!({"mode": "live"})).await.expect(201);
    let mut stream = Stream::open(&app, "", &text(&made["token"]), None).await;
    publish(&app, &vendor, &["a.one"]).await;
    assert_eq!(stream.numbers(1).await, [1]);
    let watch = Stopwatch::start();
    app.call("DELETE", &format!("/v1/tokens/{}", text(&made["id"])), &vendor.live, None).await.expect(204);
    publish(&app, &vendor, &["a.two"]).await;
    stream.ends().await;
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    // So it does when its vendor is disabled.
    let mut stream = Stream::open(&app, "", &vendor.live, None).await;
    let path = format!("/v1/vendors/{}", vendor.id);
    app.call("PATCH", &path, &app.operator, Some(json!({"disabled": true}))).await.expect(200);
    stream.ends().await;
    app.finish().await;
}

#[tokio::test]
async fn an_idle_stream_is_kept_alive() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let mut stream = Stream::open(&app, "", &vendor.live, None).await;
    // Every fifteen seconds, on the machine's own clock: proxies do not look at another one.
    assert_eq!(stream.next().await, Some(Message::Comment));
    publish(&app, &vendor, &["a.one"]).await;
    assert_eq!(stream.numbers(1).await, [1]);
    app.finish().await;
}

// --- The end of the server -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_stop_is_held_up_neither_by_a_stream_nor_by_a_poll() {
    let mut app = TestApp::start().await;
    let vendor = app.vendor().await;
    let mut streams = Vec::new();
    for query in ["", "after=0", "types=b.*"] {
        streams.push(Stream::open(&app, query, &vendor.live, None).await);
    }
    let polls = [ask(&app, "/v1/events?wait=30", &vendor.live), ask(&app, "/v1/events?wait=30&types=b.*", &vendor.live)];
    app.quiet(|| 0).await;
    let watch = Stopwatch::start();
    app.stop().await;
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    for mut stream in streams {
        stream.ends().await;
    }
    for poll in polls {
        let feed = poll.await.expect("an answer").0.expect(200);
        assert_eq!((numbers(&feed), &feed["next_after"]), (vec![], &json!(0)));
    }
    app.finish().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_a_stop_up_to_the_drain_timeout_at_most() {
    let mut app = TestApp::with(&[("drain_timeout", "1s")]).await;
    let vendor = app.vendor().await;
    for number in 0..60 {
        let event = json!({"vendor_id": vendor.id, "type": "big.one", "data": {"number": number, "fill": "x".repeat(250_000)}});
        app.post("/v1/events", &app.operator, event).await.expect(202);
    }
    // More than all buffers between the two take.
    let stream = Stream::open(&app, "after=0", &vendor.live, None).await;
    app.quiet(|| 0).await;
    let watch = Stopwatch::start();
    app.stop().await;
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    drop(stream);
    app.finish().await;
}

// --- Many at once --------------------------------------------------------------------------------------------------------

const WRITERS: i64 = 8;
const ROUNDS: i64 = 25;
/// Events of a round: three reports and one of the platform's own.
const EACH: i64 = 4;

async fn write(app: &TestApp, vendor: &Vendor, writer: i64) {
    for round in 0..ROUNDS {
        app.succeed(vendor, (0..EACH - 1).map(|at| format!("R-{writer}-{round}-{at}"))).await;
        publish(app, vendor, &["a.one"]).await;
    }
}

async fn poll(app: &TestApp, vendor: &Vendor, limit: i64) -> Vec<i64> {
    let (mut seen, mut after) = (Vec::new(), 0);
    while seen.len() < (WRITERS * ROUNDS * EACH) as usize {
        let feed = app.get(&format!("/v1/events?after={after}&wait=30&limit={limit}"), &vendor.live).await.expect(200);
        after = feed["next_after"].as_i64().expect("a number");
        seen.extend(numbers(&feed));
    }
    seen
}

#[tokio::test]
async fn under_eight_writers_pollers_and_followers_see_every_number_in_order() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let all = WRITERS * ROUNDS * EACH;
    let (mut followed, mut chosen) =
        (Stream::open(&app, "", &vendor.live, None).await, Stream::open(&app, "types=a.*", &vendor.live, None).await);
    let writing = async {
        let writer = |number| write(&app, &vendor, number);
        tokio::join!(writer(0), writer(1), writer(2), writer(3), writer(4), writer(5), writer(6), writer(7))
    };
    let ((..), polled, slowly, followed, chosen) = tokio::join!(
        writing,
        poll(&app, &vendor, 200),
        poll(&app, &vendor, 3),
        followed.numbers(all as usize),
        chosen.numbers((WRITERS * ROUNDS) as usize)
    );
    let expected: Vec<i64> = (1..=all).collect();
    assert_eq!((&polled, &slowly, &followed), (&expected, &expected, &expected));
    let feed = app.get("/v1/events?types=a.*&limit=200", &vendor.live).await.expect(200);
    let own = numbers(&feed);
    assert_eq!(chosen[..own.len()], own);
    assert!(chosen.is_sorted(), "{chosen:?}");
    app.finish().await;
}

// --- What is no longer kept ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_gap_is_never_silent() {
    let app = TestApp::with(&[("retention", "30d")]).await;
    let vendor = app.vendor().await;
    publish(&app, &vendor, &["a.one", "a.two", "a.three"]).await;
    let mut stream = Stream::open(&app, "after=0", &vendor.live, None).await;
    assert_eq!(stream.numbers(3).await, [1, 2, 3]);
    app.advance(DAY * 20);
    publish(&app, &vendor, &["a.four", "a.five"]).await;
    app.advance(DAY * 11);
    let oldest = async || app.get("/v1/events", &vendor.live).await.expect(200)["oldest_sequence"].clone();
    let gone = async |next: i64| {
        let looked = || async {
            // The janitor begins anew every minute.
            app.advance(Duration::from_secs(60));
            (oldest().await == next).then_some(())
        };
        until("what is old is gone", looked).await;
    };
    gone(4).await;
    for path in ["/v1/events?after=0", "/v1/events?after=2", "/v1/events/stream?after=1", "/v1/events?after=2&wait=30&types=b.*"] {
        let expired = app.get(path, &vendor.live).await;
        assert_eq!(expired.code(410), "events_expired", "{path}");
        assert_eq!((&expired.json()["oldest_sequence"], &expired.json()["latest_sequence"]), (&json!(4), &json!(5)));
    }
    let headers = [("last-event-id", "2")];
    let request = Request { method: "GET", path: "/v1/events/stream", token: Some(&vendor.live), headers: &headers, ..Request::default() };
    assert_eq!(send(app.address, request).await.code(410), "events_expired");
    for (query, expected) in [("", vec![4, 5]), ("after=3", vec![4, 5]), ("after=4", vec![5])] {
        assert_eq!(numbers(&app.get(&format!("/v1/events?{query}"), &vendor.live).await.expect(200)), expected, "{query}");
    }
    assert_eq!(stream.numbers(2).await, [4, 5], "who was there all the time has missed nothing");
    app.advance(DAY * 31);
    gone(6).await;
    assert_eq!(app.get("/v1/events?after=4", &vendor.live).await.code(410), "events_expired");
    let empty = app.get("/v1/events?after=5", &vendor.live).await.expect(200);
    assert_eq!((numbers(&empty), &empty["next_after"], &empty["latest_sequence"]), (vec![], &json!(5), &json!(5)));
    assert_eq!(app.get("/v1/events", &vendor.live).await.expect(200)["next_after"], 5);
    publish(&app, &vendor, &["a.six"]).await;
    assert_eq!(stream.numbers(1).await, [6], "numbers go on");
    app.finish().await;
}

#[tokio::test]
async fn a_feed_has_a_bounded_number_of_followers() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(Stream::open(&app, "", &vendor.live, None).await);
    }
    for path in ["/v1/events/stream", "/v1/events?wait=5"] {
        let refused = app.get(path, &vendor.live).await;
        assert_eq!((refused.code(429).as_str(), refused.header("retry-after")), ("rate_limited", Some("1")), "{path}");
    }
    app.get("/v1/events", &vendor.live).await.expect(200);
    let path = format!("vendor_id={}&mode=live", vendor.id);
    let _elsewhere = [
        Stream::open(&app, "", &vendor.test, None).await,
        Stream::open(&app, "", &other.live, None).await,
        Stream::open(&app, &path, &app.operator, None).await,
    ];
    drop(streams.pop());
    publish(&app, &vendor, &["order.made"]).await;
    until("its place is free", || async {
        let request = Request { method: "GET", path: "/v1/events?wait=1&after=0", token: Some(&vendor.live), ..Request::default() };
        (send(app.address, request).await.status == 200).then_some(())
    })
    .await;
    app.finish().await;
}
