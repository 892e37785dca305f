//! Receivers that mean harm: none holds more than its own share, and each attempt ends in time with what was seen.

use std::time::Duration;

use ringback::clock::Stopwatch;
use ringback::domain::time::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Endpoint, NAME_THAT_HANGS, Setup, TestApp, Vendor, attempts, text, time};
use crate::receiver::{Answer, Receiver};
use crate::transport::Authority;

const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(400);
/// An attempt ends at its timeout; a machine that is busy may be late with saying so.
const IN_TIME: Duration = Duration::from_secs(8);

const NO_WAIT: Duration = Duration::ZERO;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";
/// Four thousand times the letter a.
const GZIPPED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc1\x31\x01\x00\x00\x00\xc2\xa0\xac\xeb\x5f\xc2\x18\x3e\x40\x01\x00\x00\x00\x6f\x03\xeb\xbe\x85\x78\xa0\x0f\x00\x00";

async fn app() -> TestApp {
    TestApp::with(&[("attempt_timeout", "400ms"), ("connect_timeout", "300ms"), ("answer_read_max", "65536")]).await
}

/// What an attempt at a receiver that answers like this came to.
async fn attempt(app: &TestApp, answer: Answer) -> Value {
    let hook = Receiver::start().await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(answer);
    let watch = Stopwatch::start();
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = app.until_attempts(&endpoint, &event, 1).await;
    assert!(watch.elapsed() < IN_TIME, "it took {:?}", watch.elapsed());
    attempts(&delivery)[0].clone()
}

#[tokio::test]
async fn a_head_that_never_ends_is_timed_out() {
    let app = app().await;
    let every = Duration::from_millis(20);
    let seen = attempt(&app, Answer::Endless { head: HEAD, piece: b"x-pad: 1\r\n", every }).await;
    assert_eq!((&seen["outcome"], &seen["error"]), (&json!("timed_out"), &json!("no answer within 0.4 s")));
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn a_head_that_floods_is_cut_and_is_no_answer() {
    let app = app().await;
    let line = b"x-pad: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567\r\n";
    let seen = attempt(&app, Answer::Endless { head: HEAD, piece: line, every: NO_WAIT }).await;
    assert_eq!(seen["outcome"], "unreachable", "{seen:#}");
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn a_flood_of_provisional_answers_is_cut_and_is_no_answer() {
    let app = app().await;
    let piece = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let seen = attempt(&app, Answer::Endless { head: b"", piece, every: NO_WAIT }).await;
    let expected = json!("invalid HTTP: the heads of the answer are longer than 65536 bytes");
    assert_eq!((&seen["outcome"], &seen["error"]), (&json!("unreachable"), &expected), "{seen:#}");
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn an_answer_behind_provisional_ones_counts_and_its_connection_is_kept() {
    let app = app().await;
    let (hook, vendor) = (Receiver::start().await, app.vendor().await);
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::RawKept(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    let before = hook.connections();
    for reference in ["R-1", "R-2", "R-3"] {
        let event = app.succeed_one(&vendor, reference).await;
        app.until_state(&endpoint, &event, "succeeded").await;
    }
    assert!(hook.connections() <= before + 1, "{} connections", hook.connections() - before);
    app.finish().await;
}

#[tokio::test]
async fn a_body_that_floods_is_cut_and_judged_by_its_status() {
    let app = app().await;
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let seen = attempt(&app, Answer::Endless { head, piece: b"20\r\n01234567890123456789012345678901\r\n", every: NO_WAIT }).await;
    assert_eq!((&seen["outcome"], seen["answer_body"].as_str().map(str::len)), (&json!("succeeded"), Some(4096)), "{seen:#}");
    app.finish().await;
}

#[tokio::test]
async fn a_compressed_bomb_is_not_asked_for_and_not_inflated() {
    let app = app().await;
    let hook = Receiver::start().await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(200).with_header("content-encoding", "gzip").with_body(GZIPPED));
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = app.until_state(&endpoint, &event, "succeeded").await;
    let kept = text(&attempts(&delivery)[0]["answer_body"]);
    assert!(kept.len() < GZIPPED.len() * 4 && !kept.contains("aaaaaaaa"), "what was kept is not what it inflates to");
    assert!(hook.received().iter().all(|request| crate::client::find(&request.headers, "accept-encoding").is_none()));
    app.finish().await;
}

#[tokio::test]
async fn an_absurd_retry_after_does_not_outlast_the_deadline() {
    for value in ["3155760000", "99999999999999999999999", "-5", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "soon"] {
        let app = app().await;
        let hook = Receiver::start().await;
        let vendor = app.vendor().await;
        let endpoint = app.connected(&vendor, &hook).await;
        hook.next([Answer::status(503).with_header("retry-after", value)]);
        let event = app.succeed_one(&vendor, "R-1").await;
        let delivery = app.until_attempts(&endpoint, &event, 1).await;
        let next: Timestamp = time(&delivery["next_attempt_at"]);
        assert!(app.now() < next && next <= time(&delivery["deadline"]), "{value}: {delivery:#}");
        app.advance_to(&delivery["next_attempt_at"]);
        app.until_state(&endpoint, &event, "succeeded").await;
        app.finish().await;
    }
}

#[tokio::test]
async fn a_handshake_that_stalls_is_timed_out() {
    let app = app().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/hook", listener.local_addr().expect("an address"));
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.expect("a connection"));
        }
    });
    let vendor = app.vendor().await;
    let endpoint = app.endpoint(&vendor, json!({"url": url})).await;
    let watch = Stopwatch::start();
    let failed = app.on(&endpoint, "connect").await;
    assert_eq!(failed.code(422), "connect_failed");
    let seen = &failed.json()["seen"];
    assert_eq!((&seen["outcome"], &seen["error"]), (&json!("timed_out"), &json!("no connection within 0.3 s")));
    assert!(watch.elapsed() < IN_TIME);
    silent.abort();
    app.finish().await;
}

/// With very many names, and in a chain of many such: what does not fit into a message of a handshake is not read to its end.
#[tokio::test]
async fn a_large_certificate_is_taken_and_a_huge_one_refused() {
    let authority = Authority::new();
    let app = Setup::default().trust(authority.der()).start().await;
    app.names.tell("hook.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    for (times, status) in [(1, 200), (200, 422)] {
        let names: Vec<String> = (0..1500).map(|number| format!("n{number:05}.hook.example")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["hook.example"]).collect();
        let hook = Receiver::start_tls(authority.server_showing(&names, 2100, times)).await;
        let endpoint = app.endpoint(&vendor, json!({"url": hook.url_as("hook.example")})).await;
        let watch = Stopwatch::start();
        let answer = app.on(&endpoint, "connect").await;
        assert!(watch.elapsed() < IN_TIME, "it took {:?}", watch.elapsed());
        if status == 200 {
            answer.expect(200);
        } else {
            assert_eq!(answer.code(status), "connect_failed");
            let seen = &answer.json()["seen"];
            assert!(seen["outcome"] == "unreachable" && text(&seen["error"]).starts_with("TLS:"), "{seen:#}");
            assert_eq!(hook.count(), 0);
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn a_name_server_that_hangs_is_timed_out_and_holds_up_nobody() {
    let app = app().await;
    let hook = Receiver::start().await;
    app.names.tell("shop.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"url": hook.url_as("shop.example")})).await;
    let hanging = app.endpoint(&vendor, json!({"url": hook.url_as(NAME_THAT_HANGS)})).await;
    let (failed, event) = tokio::join!(app.on(&hanging, "connect"), app.succeed_one(&vendor, "R-1"));
    app.until_state(&endpoint, &event, "succeeded").await;
    let seen = &failed.json()["seen"];
    assert_eq!((&seen["outcome"], &seen["error"]), (&json!("timed_out"), &json!("no connection within 0.3 s")));
    app.finish().await;
}

#[tokio::test]
async fn an_answer_before_the_request_is_read_ends_the_attempt() {
    let app = app().await;
    for (answer, outcome) in [
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nno length, and then the end".as_slice(), "succeeded"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nwhich", "unreachable"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "unreachable"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n", "succeeded"),
        (b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n", "rejected"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "succeeded"),
        (b"HTTP/1.1 200 OK\r\nbad: header\0\r\n\r\n", "unreachable"),
        (b"\x16\x03\x01\x00\x05hello", "unreachable"),
    ] {
        let seen = attempt(&app, Answer::Raw(answer)).await;
        assert_eq!(seen["outcome"], outcome, "{}: {seen:#}", String::from_utf8_lossy(answer));
    }
    app.finish_leaving(5).await;
}

/// All of them at once, and one that is well beside them.
#[tokio::test]
async fn a_healthy_endpoint_does_not_feel_them() {
    let app = app().await;
    let every = Duration::from_millis(5);
    let answers = [
        Answer::Endless { head: HEAD, piece: b"x-pad: 1\r\n", every },
        Answer::Endless { head: b"", piece: b"HTTP/1.1 103 Early Hints\r\n\r\n", every: NO_WAIT },
        Answer::Endless { head: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", piece: b"5\r\nabcde\r\n", every: NO_WAIT },
        Answer::DRIP,
        Answer::Stall,
        Answer::Reset,
        Answer::Raw(b"\r\n\r\n\r\n"),
    ];
    let mut hostile: Vec<(Receiver, Vendor, Endpoint)> = Vec::new();
    for answer in answers {
        let (hook, vendor) = (Receiver::start().await, app.vendor().await);
        let endpoint = app.connected(&vendor, &hook).await;
        hook.always(answer);
        hostile.push((hook, vendor, endpoint));
    }
    let (hook, vendor) = (Receiver::start().await, app.vendor().await);
    let endpoint = app.connected(&vendor, &hook).await;
    for (_, vendor, _) in &hostile {
        app.succeed(vendor, (0..40).map(|number| format!("R-{number}"))).await;
    }
    for number in 0..10 {
        let watch = Stopwatch::start();
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        app.until_state(&endpoint, &event, "succeeded").await;
        assert!(watch.elapsed() < IN_TIME, "it took {:?}", watch.elapsed());
    }
    // What each is sent is bounded by what an endpoint that never succeeded may have under way.
    for (hook, _, endpoint) in hostile {
        assert!(hook.most_under_way() <= 32, "{} requests under way", hook.most_under_way());
        app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &endpoint.token, None).await.expect(204);
    }
    tokio::time::sleep(ATTEMPT_TIMEOUT).await;
    app.finish().await;
}
