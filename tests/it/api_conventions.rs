//! The rules that hold for every call: done once with an `Idempotency-Key`, null and missing, rate limits, cursors.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Reply, Request, send};
use crate::harness::{Endpoint, TestApp, Vendor, documented, route, text, until};
use crate::receiver::Receiver;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn keyed(app: &TestApp, key: &str, (token, path, body): (&str, &str, &Value)) -> Reply {
    let headers = [("idempotency-key", key)];
    let body = Some(body.to_string().into_bytes());
    send(app.address, Request { method: "POST", path, token: Some(token), headers: &headers, body }).await
}

fn is_replayed(reply: &Reply) -> bool {
    reply.header("idempotent-replayed") == Some("true")
}

/// The same with the fields of each object in another order.
fn turned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().rev().map(|(name, value)| (name.clone(), turned(value))).collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

async fn ids(app: &TestApp, path: &str, token: &str) -> Vec<String> {
    let list = app.get(path, token).await.expect(200);
    list["data"].as_array().expect("a list").iter().map(|item| text(&item["id"])).collect()
}

// --- Done once ---------------------------------------------------------------------------------------------------------

/// A vendor with a connected endpoint, a delivery, a conflict and a queued recharge.
struct World {
    vendor: Vendor,
    endpoint: Endpoint,
    delivery: String,
    conflict: String,
    queued: String,
}

async fn world(app: &TestApp, hook: &Receiver) -> World {
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, hook).await;
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = text(&app.until_state(&endpoint, &event, "succeeded").await["id"]);
    let report = |reference: &str, status: &str| json!({"vendor_id": vendor.id, "reference_no": reference, "status": status, "connection_no": "9801234567"});
    let reports = json!({"reports": [report("R-1", "failed"), report("Q", "queued")]});
    let results = app.post("/v1/reports", &app.operator, reports).await.expect(200);
    let conflict = ids(app, "/v1/conflicts", &app.operator).await.remove(0);
    World { vendor, endpoint, delivery, conflict, queued: text(&results["results"][1]["recharge_id"]) }
}

/// Every call that makes something: token, path, body, status.
fn calls(app: &TestApp, of: &World, hook: &Receiver) -> Vec<(String, String, Value, u16)> {
    let (vendor, endpoint) = (&of.vendor, &of.endpoint.id);
    let (operator, live) = (&app.operator, &vendor.live);
    let since = "2026-11-23T00:00:00Z";
    let on_vendor = |part: &str| format!("/v1/vendors/{}/{part}", vendor.id);
    [
        (operator, "/v1/vendors".to_owned(), json!({"name": "Second", "email": "second@example.com"}), 201),
        (operator, on_vendor("tokens"), json!({"mode": "live", "name": "more", "allowed_ips": ["10.0.0.0/8"]}), 201),
        (operator, on_vendor("users"), json!({"email": "ann@example.com", "password": "correct horse"}), 201),
        (operator, on_vendor("panel-link"), json!({"role": "developer"}), 201),
        (operator, "/v1/tokens".to_owned(), json!({"vendor_id": vendor.id, "mode": "live"}), 201),
        (live, "/v1/tokens".to_owned(), json!({"mode": "live", "name": "own"}), 201),
        (
            operator,
            "/v1/events".to_owned(),
            json!({"vendor_id": vendor.id, "type": "a.b", "data": {"b": 1.10, "a": {"d": 1, "c": [2]}}}),
            202,
        ),
        (
            &vendor.test,
            "/v1/recharges".to_owned(),
            json!({"reference_no": "R-9", "operator_id": 1, "connection_no": "9801234504", "amount": "50"}),
            201,
        ),
        (live, "/v1/endpoints".to_owned(), json!({"url": hook.url(), "description": "second"}), 201),
        (live, format!("/v1/endpoints/{endpoint}/rotate-secret"), json!({"overlap_seconds": 60}), 200),
        (live, format!("/v1/endpoints/{endpoint}/replay"), json!({"since": since, "only": "all"}), 202),
        (live, format!("/v1/deliveries/{}/resend", of.delivery), json!({}), 202),
        (operator, format!("/v1/conflicts/{}/resolve", of.conflict), json!({"as": "reversed", "reason": "seen"}), 200),
        (operator, format!("/v1/recharges/{}/resolve", of.queued), json!({"status": "success", "reason": "seen"}), 200),
    ]
    .map(|(token, path, body, status)| (token.clone(), path, body, status))
    .into()
}

#[tokio::test]
async fn every_call_that_takes_an_idempotency_key_is_tried_here() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let world = world(&app, &hook).await;
    let tried: BTreeSet<String> = calls(&app, &world, &hook).iter().map(|(_, path, ..)| route("POST", path)).collect();
    let takes_one = |call: &Value| {
        let parameters = call["parameters"].as_array().cloned().unwrap_or_default();
        parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key")
    };
    let told: BTreeSet<String> = documented().into_iter().filter(|(_, call)| takes_one(call)).map(|(route, _)| route).collect();
    assert_eq!(tried, told, "the calls of this file, and those of the document");
    app.finish().await;
}

/// A call with more than one status: a recharge that is there already is 200.
#[tokio::test]
async fn a_repeated_key_is_answered_with_the_status_of_the_first_answer() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let order = json!({"reference_no": "R-9", "operator_id": 1, "connection_no": "9801234504", "amount": "50"});
    let ask = async |key: &str| keyed(&app, key, (&vendor.test, "/v1/recharges", &order)).await;
    for (key, status) in [("K-1", 201), ("K-2", 200)] {
        let (first, again) = (ask(key).await, ask(key).await);
        assert_eq!((first.status, is_replayed(&first)), (status, false), "{key}: {}", first.text);
        assert_eq!((again.status, is_replayed(&again), &again.text), (status, true, &first.text), "{key}");
    }
    app.finish().await;
}

#[tokio::test]
async fn every_call_that_creates_is_done_once_and_answered_the_same() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let world = world(&app, &hook).await;
    let calls = calls(&app, &world, &hook);
    let mut answers = Vec::new();
    for (token, path, body, status) in &calls {
        // One key for all: it is per token and path.
        let first = keyed(&app, "K-1", (token, path, body)).await;
        first.expect(*status);
        assert!(!is_replayed(&first), "{path}");
        answers.push(first.text);
    }
    app.quiet(|| hook.count()).await;
    let before = app.rows();
    for restarted in [false, true] {
        for ((token, path, body, status), answer) in calls.iter().zip(&answers) {
            let again = keyed(&app, "K-1", (token, path, &turned(body))).await;
            assert_eq!((again.status, &again.text, is_replayed(&again)), (*status, answer, true), "{path} {restarted}");
            let mut other = body.clone();
            other["reason"] = json!("another");
            assert_eq!(keyed(&app, "K-1", (token, path, &other)).await.code(409), "idempotency_conflict", "{path}");
        }
        assert_eq!(app.rows(), before, "nothing was made twice");
        if !restarted {
            app.restart().await;
        }
    }
    app.quiet(|| hook.count()).await;
    app.finish().await;
}

#[tokio::test]
async fn secrets_in_kept_answers_are_sealed() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let world = world(&app, &hook).await;
    let (mut secrets, mut link) = (vec!["correct horse".to_owned()], None);
    for (token, path, body, status) in &calls(&app, &world, &hook) {
        let answer = keyed(&app, "K-1", (token, path, body)).await.expect(*status);
        link = link.or_else(|| Some(answer["url"].as_str()?.split_once("/panel/link/")?.1.to_owned()));
        secrets.extend(["secret", "token", "live_token", "test_token"].iter().filter_map(|name| answer[name].as_str().map(str::to_owned)));
    }
    secrets.extend(link);
    assert_eq!(secrets.len(), 9);
    app.quiet(|| hook.count()).await;
    let (file, mut log) = (app.file(), app.file().into_os_string());
    log.push("-wal");
    let bytes = [std::fs::read(file).expect("the file"), std::fs::read(log).expect("the log")].concat();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("K-1") && holds("ann@example.com"), "what is not secret can be found");
    for secret in &secrets {
        let bare = secret.trim_start_matches("whsec_");
        assert!(!holds(bare), "{secret}");
    }
    // With a plain digest of its request, a password could be guessed as fast as a machine can hash.
    let digest = Sha256::digest(r#"{"email":"ann@example.com","password":"correct horse"}"#);
    assert!(!bytes.windows(digest.len()).any(|window| window == digest.as_slice()));
    app.finish().await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let app = TestApp::start().await;
    let body = json!({"name": "Shop", "email": "shop@example.com"});
    let call = (app.operator.as_str(), "/v1/vendors", &body);
    let first = keyed(&app, "K-1", call).await.expect(201);
    app.advance(DAY - Duration::from_millis(1));
    assert_eq!(keyed(&app, "K-1", call).await.expect(201), first);
    app.advance(Duration::from_millis(1));
    let second = keyed(&app, "K-1", call).await.expect(201);
    assert_ne!(second["id"], first["id"]);
    assert_eq!(keyed(&app, "K-1", call).await.expect(201), second);
    app.finish().await;
}

#[tokio::test]
async fn a_refused_request_keeps_nothing() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let users = format!("/v1/vendors/{}/users", vendor.id);
    let login = |email: &str| json!({"email": email, "password": "correct horse"});
    app.post(&users, &app.operator, login("ann@example.com")).await.expect(201);
    for (path, refused, good) in [
        ("/v1/vendors", json!({"name": "Shop"}), json!({"name": "Shop", "email": "shop@example.com"})),
        (users.as_str(), login("ann@example.com"), login("bob@example.com")),
    ] {
        keyed(&app, "K-1", (&app.operator, path, &refused)).await.code(422);
        let reply = keyed(&app, "K-1", (&app.operator, path, &good)).await;
        reply.expect(201);
        assert!(!is_replayed(&reply));
    }
    app.finish().await;
}

#[tokio::test]
async fn of_the_same_requests_at_once_one_is_done() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let users = format!("/v1/vendors/{}/users", vendor.id);
    for (path, body) in [
        ("/v1/vendors", json!({"name": "Shop", "email": "shop@example.com"})),
        (users.as_str(), json!({"email": "ann@example.com", "password": "correct horse"})),
    ] {
        let before = ids(&app, path, &app.operator).await.len();
        let one = || keyed(&app, "K-1", (&app.operator, path, &body));
        let replies: [Reply; 4] = tokio::join!(one(), one(), one(), one()).into();
        let done = keyed(&app, "K-1", (&app.operator, path, &body)).await.expect(201);
        for reply in replies {
            match reply.status {
                201 => assert_eq!(reply.json(), done),
                _ => assert_eq!(reply.code(409), "in_progress"),
            }
        }
        assert_eq!(ids(&app, path, &app.operator).await.len(), before + 1);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_key_of_another_token_or_vendor_is_another() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let endpoint = json!({"url": hook.url()});
    let mut made = Vec::new();
    for token in [&vendor.live, &vendor.test, &other.live] {
        let reply = keyed(&app, "K-1", (token, "/v1/endpoints", &endpoint)).await;
        made.push(text(&reply.expect(201)["secret"]));
        assert!(!is_replayed(&reply));
    }
    assert!(made[0] != made[1] && made[1] != made[2] && made[0] != made[2]);
    let token_of = |vendor: &Vendor| json!({"vendor_id": vendor.id, "mode": "live"});
    keyed(&app, "K-1", (&app.operator, "/v1/tokens", &token_of(&vendor))).await.expect(201);
    let stranger = keyed(&app, "K-1", (&app.operator, "/v1/tokens", &token_of(&other))).await;
    assert_eq!(stranger.code(409), "idempotency_conflict", "the vendor that is named is part of the body");
    app.finish().await;
}

#[tokio::test]
async fn a_key_is_1_to_255_visible_characters_and_sent_once() {
    let app = TestApp::start().await;
    let body = json!({"name": "Shop", "email": "shop@example.com"});
    let long = "k".repeat(256);
    for key in ["", "a b", "é", long.as_str()] {
        let reply = keyed(&app, key, (&app.operator, "/v1/vendors", &body)).await;
        assert_eq!((reply.code(422).as_str(), reply.problems()[0].0.as_str()), ("invalid", "Idempotency-Key"), "{key}");
    }
    let headers = [("idempotency-key", "a"), ("idempotency-key", "a")];
    let (token, sent) = (Some(app.operator.as_str()), Some(body.to_string().into_bytes()));
    let twice = Request { method: "POST", path: "/v1/vendors", token, headers: &headers, body: sent };
    send(app.address, twice).await.code(422);
    keyed(&app, &long[1..], (&app.operator, "/v1/vendors", &body)).await.expect(201);
    assert_eq!(ids(&app, "/v1/vendors", &app.operator).await.len(), 1);
    app.finish().await;
}

// --- What else holds everywhere ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_required_field_that_is_null_is_missing() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let world = world(&app, &hook).await;
    let (vendor, endpoint) = (&world.vendor, &world.endpoint.id);
    let path = |part: &str| format!("/v1/vendors/{}/{part}", vendor.id);
    for (token, path, body, field) in [
        (&app.operator, "/v1/vendors".to_owned(), json!({"name": "Shop", "email": null}), "email"),
        (&app.operator, path("tokens"), json!({"mode": null}), "mode"),
        (&app.operator, path("users"), json!({"email": null, "password": "correct horse"}), "email"),
        (&app.operator, "/v1/events".to_owned(), json!({"vendor_id": null, "type": "a.b", "data": {}}), "vendor_id"),
        (&app.operator, format!("/v1/conflicts/{}/resolve", world.conflict), json!({"as": null, "reason": "x"}), "as"),
        (&vendor.live, format!("/v1/endpoints/{endpoint}/replay"), json!({"since": null}), "since"),
        (&vendor.live, "/v1/endpoints".to_owned(), json!({"url": null}), "url"),
    ] {
        let reply = app.post(&path, token, body).await;
        assert_eq!((reply.code(422).as_str(), reply.problems()), ("invalid", vec![(field.to_owned(), "invalid".to_owned())]), "{path}");
    }
    let wrong = app.post(&path("tokens"), &app.operator, json!({"mode": "both"})).await;
    assert_eq!(wrong.problems().len(), 1, "a problem is told once");
    let report = json!({"vendor_id": vendor.id, "reference_no": "N", "status": "success", "amount": "5", "currency": null});
    let results = app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
    assert_eq!(results["results"][0]["errors"][0]["field"], "currency", "money is never dropped silently");
    let event = json!({"vendor_id": vendor.id, "mode": null, "type": "a.b", "data": {}});
    app.post("/v1/events", &app.operator, event).await.expect(202);
    app.quiet(|| hook.count()).await;
    app.finish().await;
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_back() {
    let app = TestApp::with(&[("token_rate_limit", "3")]).await;
    let vendor = app.vendor().await;
    let mut refused = None;
    for _ in 0..50 {
        let reply = app.get("/v1/recharges", &vendor.live).await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("50 calls in a row are too many");
    assert_eq!(refused.code(429), "rate_limited");
    let seconds: u64 = refused.header("retry-after").expect("when").parse().expect("seconds");
    assert!((1..=2).contains(&seconds), "{seconds}");
    app.get("/v1/recharges", &vendor.test).await.expect(200);
    until("the next turn", || async { (app.get("/v1/recharges", &vendor.live).await.status == 200).then_some(()) }).await;
    app.finish().await;
}

#[tokio::test]
async fn a_cursor_is_good_whatever_comes_meanwhile() {
    let (app, hook) = (TestApp::with(&[("endpoints_per_vendor", "190")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let grow = async |name: &str| {
        app.succeed(&vendor, (0..5).map(|number| format!("{name}-{number}"))).await;
        app.endpoint(&vendor, json!({"url": hook.url()})).await;
        app.endpoint(&vendor, json!({"url": hook.url()})).await;
    };
    grow("first").await;
    for (path, token) in [
        ("/v1/endpoints?limit=2".to_owned(), &vendor.live),
        ("/v1/recharges?limit=2".to_owned(), &vendor.live),
        (format!("/v1/deliveries?limit=2&endpoint_id={}", endpoint.id), &vendor.live),
        ("/v1/audit?limit=2".to_owned(), &app.operator),
    ] {
        let whole = ids(&app, &path.replace("limit=2", "limit=200"), token).await;
        let mut page = app.get(&path, token).await.expect(200);
        let mut seen = Vec::new();
        loop {
            seen.extend(page["data"].as_array().expect("a list").iter().map(|item| text(&item["id"])));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            grow(&format!("{path}{}", seen.len())).await;
            page = app.get(&format!("{path}&cursor={cursor}"), token).await.expect(200);
        }
        assert_eq!(seen, whole, "{path}");
        app.get(&format!("{path}&cursor=nonsense"), token).await.code(422);
    }
    app.quiet(|| hook.count()).await;
    app.finish().await;
}
