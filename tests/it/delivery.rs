//! Single deliveries on a clock that stands still until it is moved: retries, resends, and every way to end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{TestApp, attempts, references, text, time, until};
use crate::receiver::{Answer, Receiver};

/// The steps of the default schedule, in seconds.
const SCHEDULE: [u64; 8] = [5, 30, 120, 600, 1800, 3600, 7200, 14_400];

#[tokio::test]
async fn retries_keep_the_schedule_with_its_jitter_until_the_deadline() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.script(|request| Answer::status(if request.reference() == "poison" { 500 } else { 200 }));
    let event = app.succeed_one(&vendor, "poison").await;
    let (mut waits, mut delivery) = (Vec::new(), app.until_attempts(&endpoint, &event, 1).await);
    let deadline = time(&delivery["deadline"]);
    assert_eq!(deadline, app.now().plus(Duration::from_secs(86_400)));
    while delivery["state"] == "pending" {
        // What succeeds in between keeps the lane from holding.
        let other = app.succeed_one(&vendor, &format!("good-{}", waits.len())).await;
        app.until_state(&endpoint, &other, "succeeded").await;
        waits.push(app.advance_to(&delivery["next_attempt_at"]));
        delivery = app.until_attempts(&endpoint, &event, waits.len() + 1).await;
    }
    assert_eq!((&delivery["state"], &delivery["end_reason"]), (&json!("exhausted"), &Value::Null));
    assert_eq!(app.now(), deadline, "the last attempt is made at the deadline");
    check_waits(&waits);
    app.finish().await;
}

fn check_waits(waits: &[Duration]) {
    let (last, others) = waits.split_last().expect("there are waits");
    assert!(*last <= Duration::from_secs(14_400 * 12 / 10), "{last:?}");
    assert!(others.len() >= 10, "{others:?}");
    let mut parts = HashSet::new();
    for (at, wait) in others.iter().enumerate() {
        let step = SCHEDULE[at.min(7)] as f64;
        let bounds = step * 0.8 - 0.002..=step * 1.2 + 0.002;
        assert!(bounds.contains(&wait.as_secs_f64()), "wait {at} is {wait:?}");
        parts.insert((wait.as_secs_f64() / step * 100.0) as u64);
    }
    assert!(parts.len() > 3, "there is no jitter: {waits:?}");
}

#[tokio::test]
async fn every_attempt_carries_the_same_id_and_the_same_bytes() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([500, 301, 404, 200, 500, 200].map(Answer::status));
    let event = app.succeed_one(&vendor, "R-1").await;
    for count in 1..4 {
        let delivery = app.until_attempts(&endpoint, &event, count).await;
        if count == 2 {
            app.restart().await;
        }
        app.advance_to(&delivery["next_attempt_at"]);
    }
    let delivery = app.until_state(&endpoint, &event, "succeeded").await;
    app.call("POST", &format!("/v1/deliveries/{}/resend", text(&delivery["id"])), &vendor.live, None).await.expect(202);
    let delivery = app.until_attempts(&endpoint, &event, 5).await;
    app.advance_to(&delivery["next_attempt_at"]);
    app.until_state(&endpoint, &event, "succeeded").await;
    let received = hook.received();
    let bodies: HashSet<_> = received.iter().map(|request| request.body.clone()).collect();
    assert_eq!((received.len(), bodies.len()), (6, 1));
    assert!(received.iter().all(|request| request.id() == event && request.header("ringback-sequence") == "1"));
    let numbers: Vec<_> = received.iter().map(|request| request.header("ringback-attempt")).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "1", "2"], "attempts of a run are counted");
    let stamps: HashSet<_> = received.iter().map(|request| request.header("webhook-timestamp").to_owned()).collect();
    assert_eq!(stamps.len(), 5, "the timestamp is the attempt's: {stamps:?}");
    app.finish().await;
}

#[tokio::test]
async fn an_attempt_is_kept_with_what_was_sent_and_seen() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"headers": {"X-Key": "very secret"}})).await;
    hook.next([Answer::status(418).with_header("x-why", "tea").with_body("x".repeat(10_000))]);
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = app.until_attempts(&endpoint, &event, 1).await;
    let attempt = &attempts(&delivery)[0];
    assert_eq!((&attempt["number"], &attempt["run"], &attempt["outcome"]), (&json!(1), &json!(1), &json!("rejected")));
    assert_eq!((&attempt["status"], &attempt["answer_headers"]["x-why"]), (&json!(418), &json!("tea")));
    assert_eq!(attempt["answer_body"].as_str().map(str::len), Some(4096));
    let sent = &hook.received()[0];
    assert_eq!(sent.header("x-key"), "very secret");
    let shown = attempt["request_headers"].as_object().expect("headers");
    assert_eq!((&shown["x-key"], &shown["webhook-id"]), (&json!("•••"), &json!(event)));
    assert!(!attempt.to_string().contains(sent.header("webhook-signature")), "the signature is masked");
    assert_eq!(shown["webhook-timestamp"], sent.header("webhook-timestamp"));
    app.advance_to(&delivery["next_attempt_at"]);
    app.until_state(&endpoint, &event, "succeeded").await;
    app.finish().await;
}

#[tokio::test]
async fn retry_after_is_honoured_on_429_and_503_up_to_the_deadline() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let date = "Tue, 24 Nov 2026 02:00:00 GMT";
    let long = 90_000..=90_000;
    let cases = [
        (429, "900", 900..=900),
        (503, "1234", 1234..=1234),
        (503, "1", 3..=6),
        (503, "soon", 3..=6),
        (500, "900", 3..=6),
        (429, date, 7200..=7200),
        (503, "90000", long),
    ];
    for (number, (status, value, expected)) in cases.into_iter().enumerate() {
        hook.next([Answer::status(status).with_header("retry-after", value)]);
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        let delivery = app.until_attempts(&endpoint, &event, 1).await;
        let (at, deadline) = (time(&delivery["next_attempt_at"]), time(&delivery["deadline"]));
        if *expected.start() > 86_400 {
            assert_eq!(at, deadline, "{status} {value}");
        } else {
            let wait = at.since(app.now()).as_secs();
            assert!(expected.contains(&wait), "{status} {value}: {wait} s");
        }
    }
    app.advance(Duration::from_secs(7200));
    app.until_count(&endpoint, "succeeded", 6).await;
    app.advance(Duration::from_secs(86_400 - 7200));
    app.until_count(&endpoint, "succeeded", 7).await;
    app.finish().await;
}

#[tokio::test]
async fn a_410_disables_the_endpoint_at_once() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(410)]);
    let event = app.succeed_one(&vendor, "R-1").await;
    let seen = until("the endpoint is disabled", || async {
        let seen = app.read_endpoint(&endpoint).await;
        (seen["status"] == "disabled").then_some(seen)
    });
    assert!(text(&seen.await["status_reason"]).contains("410"));
    app.succeed(&vendor, ["R-2".to_owned()]).await;
    app.quiet(|| hook.count()).await;
    app.advance(Duration::from_secs(3600));
    assert_eq!(app.quiet(|| hook.count()).await, 1, "nothing is sent to a disabled endpoint");
    assert_eq!(app.delivery(&endpoint, &event).await["state"], "pending");
    hook.forget();
    let enabled = app.on(&endpoint, "enable").await.expect(200);
    assert_eq!((&enabled["status"], &enabled["missed"]), (&json!("connected"), &json!(1)), "R-2 made no delivery");
    app.until_state(&endpoint, &event, "succeeded").await;
    app.finish().await;
}

#[tokio::test]
async fn a_resend_is_a_new_run_to_one_endpoint() {
    let app = TestApp::start().await;
    let (one, other) = (Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let (endpoint, _) = (app.connected(&vendor, &one).await, app.connected(&vendor, &other).await);
    let event = app.succeed_one(&vendor, "R-1").await;
    let first = app.until_state(&endpoint, &event, "succeeded").await;
    other.wait(1).await;
    app.advance(Duration::from_secs(7200));
    one.next([Answer::status(500), Answer::status(500)]);
    let resend = format!("/v1/deliveries/{}/resend", text(&first["id"]));
    let again = app.call("POST", &resend, &vendor.live, None).await.expect(202);
    assert_eq!((&again["id"], &again["run"], &again["state"]), (&first["id"], &json!(2), &json!("pending")));
    assert_eq!(time(&again["deadline"]), app.now().plus(Duration::from_secs(86_400)), "it has 24 hours of its own");
    let seen = app.until_attempts(&endpoint, &event, 2).await;
    assert_eq!(seen["first_succeeded_at"], first["first_succeeded_at"], "that it once succeeded is not forgotten");
    assert_eq!(app.call("POST", &resend, &vendor.live, None).await.code(409), "illegal_state");
    for count in 2..4 {
        let seen = app.until_attempts(&endpoint, &event, count).await;
        app.advance_to(&seen["next_attempt_at"]);
    }
    let seen = app.until_state(&endpoint, &event, "succeeded").await;
    let runs: Vec<_> = attempts(&seen).iter().map(|attempt| (attempt["run"].as_u64(), attempt["number"].as_u64())).collect();
    assert_eq!(runs, [(1, 1), (2, 1), (2, 2), (2, 3)].map(|(run, number)| (Some(run), Some(number))));
    assert_eq!((app.quiet(|| one.count()).await, other.count()), (4, 1));
    app.finish().await;
}

#[tokio::test]
async fn a_resend_that_cannot_be_is_refused() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, stranger) = (app.vendor().await, app.vendor().await);
    let endpoint = app.connected(&vendor, &hook).await;
    let event = app.succeed_one(&vendor, "R-1").await;
    let id = text(&app.until_state(&endpoint, &event, "succeeded").await["id"]);
    let path = format!("/v1/deliveries/{id}/resend");
    assert_eq!(app.call("POST", &path, &stranger.live, None).await.code(404), "not_found");
    assert_eq!(app.call("POST", &path, &vendor.test, None).await.code(404), "not_found");
    assert_eq!(app.post(&path, &vendor.live, json!({"to": "all"})).await.code(422), "unknown_field");
    app.on(&endpoint, "disable").await.expect(200);
    assert_eq!(app.call("POST", &path, &vendor.live, None).await.code(409), "illegal_state");
    app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
    assert!([404, 409].contains(&app.call("POST", &path, &vendor.live, None).await.status), "a deleted endpoint gets nothing");
    assert_eq!(app.quiet(|| hook.count()).await, 1);
    app.finish().await;
}

#[tokio::test]
async fn deleting_an_endpoint_cancels_what_is_pending() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(500));
    let events = app.succeed(&vendor, references(5)).await;
    app.until_attempts(&endpoint, &events[4], 1).await;
    let ids: Vec<String> = app.get(&format!("/v1/deliveries?endpoint_id={}", endpoint.id), &vendor.live).await.expect(200)["data"]
        .as_array()
        .map(|list| list.iter().map(|delivery| text(&delivery["id"])).collect())
        .expect("a list");
    app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
    assert_eq!(app.get(&format!("/v1/endpoints/{}", endpoint.id), &vendor.live).await.code(404), "not_found");
    for id in ids {
        let ended = until("it is cancelled", || async {
            let delivery = app.get(&format!("/v1/deliveries/{id}"), &vendor.live).await.expect(200);
            (delivery["state"] == "cancelled").then_some(delivery)
        });
        assert_eq!(ended.await["end_reason"], "deleted");
    }
    app.advance(Duration::from_secs(600));
    assert_eq!(app.quiet(|| hook.count()).await, 5);
    app.finish().await;
}

#[tokio::test]
async fn an_attempt_under_way_counts_though_its_endpoint_is_deleted() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    let event = app.succeed_one(&vendor, "R-1").await;
    hook.wait(1).await;
    let id = text(&app.delivery(&endpoint, &event).await["id"]);
    app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
    gate.add_permits(1);
    until("it is succeeded", || async {
        let delivery = app.get(&format!("/v1/deliveries/{id}"), &vendor.live).await.expect(200);
        (delivery["state"] == "succeeded").then_some(())
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn what_a_disabled_endpoint_has_pending_waits_and_expires_with_the_reason() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = app.until_attempts(&endpoint, &event, 1).await;
    app.on(&endpoint, "disable").await.expect(200);
    for _ in 0..3 {
        // A change is in effect within a second, which this clock would leap over.
        app.quiet(|| hook.count()).await;
        app.advance(Duration::from_secs(3600));
    }
    app.quiet(|| hook.count()).await;
    assert_eq!((hook.count(), &app.delivery(&endpoint, &event).await["state"]), (1, &json!("pending")));
    app.advance_to(&delivery["deadline"]);
    // The sweep ends it, or the next one where the endpoint has to be read again first.
    for _ in 0..3 {
        app.quiet(|| hook.count()).await;
        app.advance(Duration::from_secs(16));
    }
    let ended = app.until_state(&endpoint, &event, "exhausted").await;
    assert_eq!((&ended["end_reason"], attempts(&ended).len()), (&json!("disabled"), 1));
    app.finish().await;
}

#[tokio::test]
async fn enabling_makes_what_is_still_in_time_due() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"max_in_flight": 1})).await;
    hook.always(Answer::status(500));
    let events = app.succeed(&vendor, references(3)).await;
    app.until_attempts(&endpoint, &events[2], 1).await;
    app.on(&endpoint, "disable").await.expect(200);
    hook.always(Answer::status(200));
    hook.forget();
    assert_eq!(app.on(&endpoint, "enable").await.expect(200)["missed"], 0);
    app.until_count(&endpoint, "succeeded", 3).await;
    let order: Vec<_> = hook.received()[1..].iter().map(|request| request.reference()).collect();
    assert_eq!(order, ["R-1", "R-2", "R-3"], "in order, and without waiting for their times");
    app.finish().await;
}

#[tokio::test]
async fn a_disabled_vendors_deliveries_are_made_and_wait() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.connected(&vendor, &hook).await;
    let path = format!("/v1/vendors/{}", vendor.id);
    app.call("PATCH", &path, &app.operator, Some(json!({"disabled": true}))).await.expect(200);
    app.quiet(|| hook.count()).await;
    app.succeed(&vendor, references(3)).await;
    assert_eq!(app.quiet(|| hook.count()).await, 0);
    app.restart().await;
    assert_eq!(app.quiet(|| hook.count()).await, 0, "a restart changes nothing");
    app.call("PATCH", &path, &app.operator, Some(json!({"disabled": false}))).await.expect(200);
    hook.wait(3).await;
    app.quiet(|| hook.count()).await;
    app.finish().await;
}

#[tokio::test]
async fn a_restart_picks_up_what_was_open() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.script(|request| Answer::status(if request.reference() == "R-2" { 200 } else { 503 }));
    let events = app.succeed(&vendor, references(4)).await;
    for event in &events {
        app.until_attempts(&endpoint, event, 1).await;
    }
    let before = app.delivery(&endpoint, &events[0]).await;
    app.restart().await;
    assert_eq!(app.quiet(|| hook.count()).await, 4, "what waits for a time waits for it after the restart");
    let after = app.delivery(&endpoint, &events[0]).await;
    assert_eq!(before["next_attempt_at"], after["next_attempt_at"]);
    hook.always(Answer::status(200));
    app.advance(Duration::from_secs(7));
    app.until_count(&endpoint, "succeeded", 4).await;
    assert_eq!(app.quiet(|| hook.count()).await, 7, "what had succeeded is not sent again");
    app.finish().await;
}

#[tokio::test]
async fn a_stop_waits_for_attempts_under_way_and_writes_them_down() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.connected(&vendor, &hook).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    app.succeed_one(&vendor, "R-1").await;
    hook.wait(1).await;
    let address = app.address;
    let release = async {
        until("the server takes no more calls", || async { tokio::net::TcpStream::connect(address).await.err() }).await;
        gate.add_permits(1);
    };
    tokio::join!(app.stop(), release);
    app.finish().await;
}
