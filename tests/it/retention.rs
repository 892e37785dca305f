//! What is old goes, and what is still needed stays: the settings of retention, through the whole server.

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Request, send};
use crate::harness::{TestApp, Vendor, references, text, until};
use crate::receiver::{Answer, Receiver};

const HOUR: Duration = Duration::from_secs(3600);

/// Events are kept for two hours, recharges for four, the audit log for three.
async fn forgetful() -> TestApp {
    let settings = [
        ("delivery_deadline", "1h"),
        ("disable_after", "1h"),
        ("retention", "2h"),
        ("recharge_retention", "4h"),
        ("audit_retention", "3h"),
    ];
    TestApp::with(&settings).await
}

/// Lets time pass, a second at a time, until this is so: the janitor begins anew every minute.
async fn in_time<F: Future<Output = bool>>(app: &TestApp, what: &str, is: impl Fn() -> F) {
    until(what, || async {
        app.advance(Duration::from_secs(1));
        is().await.then_some(())
    })
    .await
}

/// Lets two minutes pass, in which the janitor has turned.
async fn two_minutes(app: &TestApp) {
    let end = app.now().plus(Duration::from_secs(120));
    in_time(app, "two minutes", || async {
        // A round through the server lets it take its turn.
        app.get("/v1/overview", &app.operator).await.expect(200);
        app.now() >= end
    })
    .await
}

async fn oldest(app: &TestApp, vendor: &Vendor) -> Value {
    app.get("/v1/events", &vendor.live).await.expect(200)["oldest_sequence"].clone()
}

async fn exists(app: &TestApp, vendor: &Vendor, path: &str) -> bool {
    match app.get(path, &vendor.live).await.status {
        200 => true,
        404 => false,
        other => panic!("{path} was answered {other}"),
    }
}

async fn recharge(app: &TestApp, vendor: &Vendor, reference: &str) -> Option<Value> {
    let mut list = app.get(&format!("/v1/recharges?reference_no={reference}"), &vendor.live).await.expect(200);
    list["data"].as_array_mut().and_then(Vec::pop)
}

async fn report(app: &TestApp, vendor: &Vendor, reference: &str, status: &str) -> String {
    let report = json!({"vendor_id": vendor.id, "reference_no": reference, "status": status});
    let answer = app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
    text(&answer["results"][0]["verdict"])
}

// --- Events ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn old_events_go_with_their_deliveries_and_the_feed_says_so() {
    let (app, hook) = (forgetful().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(500)]);
    let old = app.succeed(&vendor, references(3)).await;
    in_time(&app, "three deliveries", || async { app.count(&endpoint, "succeeded").await == 3 }).await;
    let delivery = text(&app.delivery(&endpoint, &old[0]).await["id"]);
    app.advance(HOUR);
    let young = app.succeed_one(&vendor, "R-4").await;
    app.until_state(&endpoint, &young, "succeeded").await;
    two_minutes(&app).await;
    assert_eq!(oldest(&app, &vendor).await, 1, "nothing is two hours old");

    app.advance(HOUR);
    in_time(&app, "the feed begins later", || async { oldest(&app, &vendor).await == 4 }).await;
    for path in [format!("/v1/events/{}", old[0]), format!("/v1/deliveries/{delivery}")] {
        assert!(!exists(&app, &vendor, &path).await, "{path}");
    }
    assert!(exists(&app, &vendor, &format!("/v1/events/{young}")).await);
    let expired = app.get("/v1/events?after=1", &vendor.live).await;
    assert_eq!(expired.code(410), "events_expired");
    assert_eq!((&expired.json()["oldest_sequence"], &expired.json()["latest_sequence"]), (&json!(4), &json!(4)));
    let next = app.get("/v1/events?after=3", &vendor.live).await.expect(200);
    assert_eq!((next["data"].as_array().map(Vec::len), &next["data"][0]["id"]), (Some(1), &json!(young)), "nothing is missing after 3");
    let stream =
        send(app.address, Request { method: "GET", path: "/v1/events/stream?after=1", token: Some(&vendor.live), ..Request::default() });
    assert_eq!(stream.await.code(410), "events_expired");
    assert_eq!(app.get("/v1/recharges", &vendor.live).await.expect(200)["data"].as_array().map(Vec::len), Some(4), "recharges stay longer");
    app.finish().await;
}

#[tokio::test]
async fn an_empty_feed_goes_on_with_its_numbers() {
    let (app, hook) = (forgetful().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    app.succeed(&vendor, references(3)).await;
    app.until_count(&endpoint, "succeeded", 3).await;
    app.advance(3 * HOUR);
    in_time(&app, "the feed is empty", || async { oldest(&app, &vendor).await == 4 }).await;
    let feed = app.get("/v1/events", &vendor.live).await.expect(200);
    assert_eq!((&feed["data"], &feed["latest_sequence"], &feed["next_after"]), (&json!([]), &json!(3), &json!(3)));
    for (after, status) in [(0, 410), (2, 410), (3, 200), (9, 410)] {
        assert_eq!(app.get(&format!("/v1/events?after={after}"), &vendor.live).await.status, status, "after {after}");
    }
    let event = app.succeed_one(&vendor, "R-4").await;
    app.until_state(&endpoint, &event, "succeeded").await;
    assert_eq!(app.get("/v1/events?after=3", &vendor.live).await.expect(200)["data"][0]["sequence"], 4);
    app.finish().await;
}

#[tokio::test]
async fn an_event_on_its_way_stays_however_old() {
    let (app, hook) = (forgetful().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let first = app.succeed_one(&vendor, "R-1").await;
    app.until_state(&endpoint, &first, "succeeded").await;
    app.on(&endpoint, "pause").await.expect(200);
    let waits = app.succeed_one(&vendor, "R-2").await;
    app.advance(5 * HOUR);
    in_time(&app, "what was delivered is gone", || async { oldest(&app, &vendor).await == 2 }).await;
    two_minutes(&app).await;
    assert_eq!(app.delivery(&endpoint, &waits).await["state"], "pending");
    hook.forget();
    app.on(&endpoint, "resume").await.expect(200);
    assert_eq!(hook.wait(1).await[0].id(), waits, "it arrives, five hours late");
    in_time(&app, "then it goes too", || async { oldest(&app, &vendor).await == 3 }).await;
    app.finish().await;
}

// --- Recharges and reports -------------------------------------------------------------------------------------------

#[tokio::test]
async fn settled_recharges_go_and_queued_ones_stay() {
    let app = forgetful().await;
    let vendor = app.vendor().await;
    for (reference, status) in [("settled", "success"), ("queued", "queued"), ("contradicted", "success")] {
        report(&app, &vendor, reference, status).await;
    }
    assert_eq!(report(&app, &vendor, "contradicted", "failed").await, "conflict");
    let counts = async || app.get("/v1/overview", &app.operator).await.expect(200)["recharges"].clone();
    assert_eq!(counts().await, json!({"queued": 1, "success": 2, "failed": 0, "reversed": 0}));
    app.advance(3 * HOUR);
    two_minutes(&app).await;
    assert!(recharge(&app, &vendor, "settled").await.is_some(), "it is not four hours old");
    app.advance(HOUR);
    in_time(&app, "it is gone", || async { recharge(&app, &vendor, "settled").await.is_none() }).await;
    assert!(recharge(&app, &vendor, "queued").await.is_some() && recharge(&app, &vendor, "contradicted").await.is_some());
    assert_eq!(counts().await, json!({"queued": 1, "success": 1, "failed": 0, "reversed": 0}));
    let case = app.get("/v1/conflicts?state=open", &app.operator).await.expect(200)["data"][0]["id"].clone();
    let resolution = json!({"as": "dismissed", "reason": "the statement says success"});
    app.post(&format!("/v1/conflicts/{}/resolve", text(&case)), &app.operator, resolution).await.expect(200);
    in_time(&app, "nothing keeps it any more", || async { recharge(&app, &vendor, "contradicted").await.is_none() }).await;
    assert_eq!(report(&app, &vendor, "settled", "success").await, "created", "a reference that was removed counts as new");
    assert_eq!(report(&app, &vendor, "queued", "success").await, "accepted");
    app.finish().await;
}

#[tokio::test]
async fn old_reports_of_a_kept_recharge_go() {
    let app = forgetful().await;
    let vendor = app.vendor().await;
    for status in ["queued", "success", "success"] {
        report(&app, &vendor, "R-1", status).await;
    }
    let id = text(&recharge(&app, &vendor, "R-1").await.expect("it is there")["id"]);
    let reports = async || app.get(&format!("/v1/recharges/{id}"), &vendor.live).await.expect(200)["reports"].as_array().map(Vec::len);
    assert_eq!(reports().await, Some(3));
    app.advance(HOUR);
    report(&app, &vendor, "R-1", "queued").await;
    app.advance(HOUR);
    in_time(&app, "the old ones are gone", || async { reports().await == Some(1) }).await;
    assert_eq!(recharge(&app, &vendor, "R-1").await.expect("it stays")["status"], "success");
    assert_eq!(report(&app, &vendor, "R-1", "failed").await, "conflict", "and is judged as before");
    app.finish().await;
}

// --- The audit log and kept answers ----------------------------------------------------------------------------------

#[tokio::test]
async fn old_entries_of_the_audit_log_go() {
    let app = forgetful().await;
    let vendor = app.vendor().await;
    app.advance(2 * HOUR);
    app.post("/v1/tokens", &vendor.live, json!({"mode": "live", "name": "till"})).await.expect(201);
    let actions = async || {
        let list = app.get("/v1/audit", &app.operator).await.expect(200)["data"].clone();
        list.as_array().expect("a list").iter().map(|entry| text(&entry["action"])).collect::<Vec<_>>()
    };
    two_minutes(&app).await;
    assert_eq!(actions().await, ["token.created", "vendor.created"]);
    app.advance(HOUR);
    in_time(&app, "the first entry is gone", || async { actions().await == ["token.created"] }).await;
    app.finish().await;
}

#[tokio::test]
async fn a_kept_answer_is_good_for_a_day() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let post = async |key: &str| {
        let body = json!({"vendor_id": vendor.id, "type": "invoice.paid", "data": {"number": 1}}).to_string().into_bytes();
        let headers = [("idempotency-key", key)];
        let (method, path, token) = ("POST", "/v1/events", Some(app.operator.as_str()));
        let reply = send(app.address, Request { method, path, token, headers: &headers, body: Some(body) }).await;
        (reply.expect(202)["sequence"].clone(), reply.header("idempotent-replayed").is_some())
    };
    assert_eq!(post("a").await, (json!(1), false));
    app.advance(24 * HOUR - Duration::from_secs(300));
    two_minutes(&app).await;
    assert_eq!(post("a").await, (json!(1), true));
    assert_eq!(post("b").await, (json!(2), false));
    app.advance(Duration::from_secs(180));
    two_minutes(&app).await;
    assert_eq!(post("a").await, (json!(3), false), "a day later it is another request");
    assert_eq!(post("b").await, (json!(2), true));
    let conn = rusqlite::Connection::open(app.file()).expect("it opens");
    let kept: u32 = conn.query_row("SELECT count(*) FROM kept_answer", [], |row| row.get(0)).expect("a count");
    assert_eq!(kept, 2);
    drop(conn);
    app.finish().await;
}

// --- The file --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_file_shrinks_when_much_was_removed() {
    let mut app = forgetful().await;
    let vendor = app.vendor().await;
    for number in 0..200 {
        let event = json!({"vendor_id": vendor.id, "type": "invoice.paid", "data": {"number": number, "fill": "x".repeat(250_000)}});
        app.post("/v1/events", &app.operator, event).await.expect(202);
    }
    app.restart().await;
    let before = std::fs::metadata(app.file()).expect("it is there").len();
    assert!(before > 200 * 250_000, "{before} bytes");
    app.advance(3 * HOUR);
    in_time(&app, "the feed is empty", || async { oldest(&app, &vendor).await == 201 }).await;
    let free = || {
        let conn = rusqlite::Connection::open(app.file()).expect("it opens");
        conn.query_row("PRAGMA freelist_count", [], |row| row.get::<_, u64>(0)).expect("a number")
    };
    in_time(&app, "what is free was given back", || async { free() <= 4096 }).await;
    app.stop().await;
    let after = std::fs::metadata(app.file()).expect("it is there").len();
    assert!(after < before / 2 && after < 4096 * 4096 + 1_000_000, "{before} bytes became {after}");
    app.finish().await;
}
