//! Deliveries that a person cancels: one, or all that are pending.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{Endpoint, TestApp, Vendor, attempts, references, text, until};
use crate::receiver::{Answer, Received, Receiver};

const HOUR: Duration = Duration::from_secs(3600);

fn named(range: std::ops::RangeInclusive<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!("R-{number}"))
}

async fn cancel(app: &TestApp, endpoint: &Endpoint, event: &str) -> crate::client::Reply {
    let id = text(&app.delivery(endpoint, event).await["id"]);
    app.call("POST", &format!("/v1/deliveries/{id}/cancel"), &endpoint.token, None).await
}

/// How many deliveries of an endpoint ended in a state, by the file itself.
fn ended(app: &TestApp, state: i64) -> u64 {
    let conn = rusqlite::Connection::open(app.file()).expect("the file opens");
    conn.query_row("SELECT count(*) FROM ended_delivery WHERE state = ?1", [state], |row| row.get(0)).expect("it can be counted")
}

const SUCCEEDED: i64 = 1;
const CANCELLED: i64 = 3;

// --- One ---------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_pending_delivery_is_cancelled_and_not_sent_again() {
    for ordering in ["none", "strict"] {
        let (app, hook) = (TestApp::start().await, Receiver::start().await);
        let vendor = app.vendor().await;
        let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": ordering})).await;
        hook.next([Answer::status(500)]);
        let event = app.succeed_one(&vendor, "R-1").await;
        app.until_attempts(&endpoint, &event, 1).await;
        let cancelled = cancel(&app, &endpoint, &event).await.expect(202);
        assert_eq!((&cancelled["state"], &cancelled["end_reason"]), (&json!("cancelled"), &json!("requested")));
        assert_eq!((&cancelled["next_attempt_at"], attempts(&cancelled).len()), (&Value::Null, 1), "what was attempted is kept");
        app.pass(&hook, 3, 9 * HOUR).await;
        assert_eq!((hook.count(), &app.delivery(&endpoint, &event).await["state"]), (1, &json!("cancelled")));
        let other = app.succeed_one(&vendor, "R-2").await;
        app.until_state(&endpoint, &other, "succeeded").await;
        app.finish().await;
    }
}

#[tokio::test]
async fn an_attempt_under_way_is_recorded_and_is_the_last() {
    for ordering in ["none", "strict"] {
        for (status, state) in [(500, "cancelled"), (200, "succeeded")] {
            let (app, hook) = (TestApp::start().await, Receiver::start().await);
            let vendor = app.vendor().await;
            let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": ordering})).await;
            hook.next([Answer::status(status).after(Duration::from_millis(300))]);
            let event = app.succeed_one(&vendor, "R-1").await;
            hook.wait(1).await;
            let cancelled = cancel(&app, &endpoint, &event).await.expect(202);
            assert_eq!((&cancelled["state"], attempts(&cancelled).len()), (&json!("cancelled"), 0));
            let seen = app.until_attempts(&endpoint, &event, 1).await;
            assert_eq!((&seen["state"], &attempts(&seen)[0]["status"]), (&json!(state), &json!(status)));
            app.pass(&hook, 6, Duration::from_secs(40)).await;
            assert_eq!(hook.count(), 1, "{ordering}, {status}: it is not tried again");
            let other = app.succeed_one(&vendor, "R-2").await;
            app.until_state(&endpoint, &other, "succeeded").await;
            app.finish().await;
        }
    }
}

#[tokio::test]
async fn what_is_not_pending_or_not_ones_own_cannot_be_cancelled() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, stranger) = (app.vendor().await, app.vendor().await);
    let endpoint = app.connected(&vendor, &hook).await;
    let event = app.succeed_one(&vendor, "R-1").await;
    let id = text(&app.until_state(&endpoint, &event, "succeeded").await["id"]);
    let path = format!("/v1/deliveries/{id}/cancel");
    assert_eq!(app.call("POST", &path, &vendor.live, None).await.code(409), "illegal_state");
    for token in [&stranger.live, &vendor.test] {
        assert_eq!(app.call("POST", &path, token, None).await.code(404), "not_found");
    }
    assert_eq!(app.delivery(&endpoint, &event).await["state"], "succeeded");
    app.finish().await;
}

#[tokio::test]
async fn what_was_cancelled_can_be_sent_again() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(500)]);
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    let id = text(&cancel(&app, &endpoint, &event).await.expect(202)["id"]);
    app.advance(2 * HOUR);
    let again = app.call("POST", &format!("/v1/deliveries/{id}/resend"), &vendor.live, None).await.expect(202);
    assert_eq!((&again["state"], &again["run"], &again["end_reason"]), (&json!("pending"), &json!(2), &Value::Null));
    let seen = app.until_state(&endpoint, &event, "succeeded").await;
    let runs: Vec<_> = attempts(&seen).iter().map(|attempt| attempt["run"].clone()).collect();
    assert_eq!(runs, [1, 2]);
    app.finish().await;
}

#[tokio::test]
async fn a_cancelled_delivery_is_neither_missed_nor_replayed_as_such() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(500)]);
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    cancel(&app, &endpoint, &event).await.expect(202);
    assert_eq!(app.connect(&endpoint).await["missed"], 0);
    app.finish().await;
}

// --- All -------------------------------------------------------------------------------------------------------------------

async fn cancel_pending(app: &TestApp, endpoint: &Endpoint) -> u64 {
    app.on(endpoint, "cancel-pending").await.expect(202)["cancelled"].as_u64().expect("a count")
}

async fn thousands(app: &TestApp, vendor: &Vendor, count: usize) {
    for from in (1..=count).step_by(1000) {
        app.succeed(vendor, named(from..=(from + 999).min(count))).await;
    }
}

#[tokio::test]
async fn all_that_is_pending_is_cancelled_while_the_lane_works() {
    for ordering in ["none", "strict"] {
        let (app, hook) = (TestApp::start().await, Receiver::start().await);
        let vendor = app.vendor().await;
        let endpoint = app.connected_with(&vendor, &hook, json!({"max_in_flight": 2, "ordering": ordering})).await;
        hook.always(Answer::status(200).after(Duration::from_millis(3)));
        thousands(&app, &vendor, 4500).await;
        let fresh = async {
            hook.wait(hook.count() + 1).await;
            app.succeed(&vendor, (1..=5).map(|number| format!("fresh-{number}"))).await
        };
        let (cancelled, fresh) = tokio::join!(cancel_pending(&app, &endpoint), fresh);
        let sent_by_then = hook.count();
        app.until_count(&endpoint, "pending", 0).await;
        let sent = app.quiet(|| hook.count()).await;
        assert!(cancelled > 2000, "{cancelled} were cancelled");
        assert!(sent <= sent_by_then + 2 + fresh.len(), "{ordering}: {sent_by_then} sent at the answer, {sent} at the end");
        assert_eq!(ended(&app, SUCCEEDED) + ended(&app, CANCELLED), 4505, "{ordering}: each ended once");
        // What went out while a step was being written is recorded as what it came to.
        assert!(cancelled - ended(&app, CANCELLED) <= 100, "{ordering}: {cancelled} told, {} cancelled", ended(&app, CANCELLED));
        assert_eq!(sent as u64, ended(&app, SUCCEEDED), "{ordering}: nothing is sent twice");
        app.finish().await;
    }
}

#[tokio::test]
async fn what_comes_after_the_call_is_not_cancelled() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(500));
    app.succeed(&vendor, references(30)).await;
    app.quiet(|| hook.count()).await;
    assert_eq!(cancel_pending(&app, &endpoint).await, 30);
    assert_eq!(cancel_pending(&app, &endpoint).await, 0);
    let before = app.quiet(|| hook.count()).await;
    hook.always(Answer::status(200));
    let event = app.succeed_one(&vendor, "R-31").await;
    // The lane was holding: its next probe takes the new one.
    app.advance(Duration::from_secs(60));
    app.until_state(&endpoint, &event, "succeeded").await;
    app.pass(&hook, 2, 5 * HOUR).await;
    assert_eq!((hook.count(), ended(&app, CANCELLED)), (before + 1, 30));
    let noted = app.get("/v1/audit?action=endpoint.pending_cancelled&since=2026-11-24T00:00:00Z", &app.operator).await.expect(200);
    assert_eq!(noted["data"][1]["details"], json!({"cancelled": 30}));
    app.finish().await;
}

#[tokio::test]
async fn a_disabled_endpoints_backlog_can_be_cancelled() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(410));
    let gone = app.succeed(&vendor, references(5)).await;
    until("it is disabled", || async { (app.read_endpoint(&endpoint).await["status"] == "disabled").then_some(()) }).await;
    app.quiet(|| hook.count()).await;
    assert_eq!(cancel_pending(&app, &endpoint).await, 5);
    hook.always(Answer::status(200));
    hook.forget();
    assert_eq!(app.on(&endpoint, "enable").await.expect(200)["missed"], 0);
    app.quiet(|| hook.count()).await;
    assert_eq!((hook.count(), &app.delivery(&endpoint, &gone[0]).await["state"]), (1, &json!("cancelled")), "only the handshake is sent");
    app.finish().await;
}

#[tokio::test]
async fn cancelling_one_leaves_the_others_due_that_enabling_made_due() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"max_in_flight": 1})).await;
    hook.always(Answer::status(500));
    let events = app.succeed(&vendor, references(5)).await;
    app.quiet(|| hook.count()).await;
    app.on(&endpoint, "disable").await.expect(200);
    app.quiet(|| hook.count()).await;
    let gate = Arc::new(Semaphore::new(1));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    hook.forget();
    app.on(&endpoint, "enable").await.expect(200);
    hook.wait(2).await;
    cancel(&app, &endpoint, &events[2]).await.expect(202);
    gate.add_permits(10);
    app.until_count(&endpoint, "succeeded", 4).await;
    let order: Vec<_> = hook.received()[1..].iter().map(Received::reference).collect();
    assert_eq!(order, ["R-1", "R-2", "R-4", "R-5"]);
    app.finish().await;
}
