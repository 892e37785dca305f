//! Endpoints through the API: made, read, changed, connected, tested, disabled, deleted; and what they are sent.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{Endpoint, TestApp, references, text};
use crate::receiver::{Answer, Received, Receiver};

async fn patch(app: &TestApp, endpoint: &Endpoint, change: Value) -> crate::client::Reply {
    app.call("PATCH", &format!("/v1/endpoints/{}", endpoint.id), &endpoint.token, Some(change)).await
}

#[tokio::test]
async fn an_endpoint_is_made_and_read_with_its_secret_shown_once() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let settings = json!({
        "url": "https://example.com/hook?x=1", "description": "Shop", "event_types": ["recharge.*", "invoice.paid"],
        "alert_email": "ops@example.com", "headers": {"X-Key": "hidden value"}, "rate_limit_per_second": 50, "max_in_flight": 4,
        "ordering": "strict", "strict_hold": "30m",
    });
    let made = app.post("/v1/endpoints", &vendor.live, settings.clone()).await.expect(201);
    let secret = text(&made["secret"]);
    let raw = BASE64.decode(secret.strip_prefix("whsec_").expect("whsec_")).expect("base64");
    assert_eq!(raw.len(), 32);
    for (name, value) in settings.as_object().expect("an object").iter().filter(|(name, _)| *name != "headers") {
        assert_eq!(&made[name], value, "{name}");
    }
    assert_eq!((&made["headers"], &made["mode"], &made["profile"]), (&json!({"x-key": "•••"}), &json!("live"), &json!("standard")));
    assert_eq!((&made["status"], &made["connected_at"]), (&json!("not_connected"), &Value::Null));
    assert_eq!(made["secret_hint"], format!("…{}", &secret[secret.len() - 4..]));
    let mut shown = made.clone();
    shown.as_object_mut().expect("an object").remove("secret");
    let read = app.get(&format!("/v1/endpoints/{}", text(&made["id"])), &vendor.live).await.expect(200);
    let listed = app.get("/v1/endpoints", &vendor.live).await.expect(200);
    assert_eq!((&read, &listed["data"]), (&shown, &json!([shown])));
    for seen in [read, listed] {
        assert!(!seen.to_string().contains(&secret) && !seen.to_string().contains("hidden value"), "{seen}");
    }
    app.finish().await;
}

#[tokio::test]
async fn all_problems_of_an_endpoint_are_told_at_once() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let wrong = json!({
        "url": "ftp://example.com", "event_types": ["recharge.*", "Nope"], "profile": "soap", "secret": "short", "alert_email": "x",
        "headers": {"Webhook-Id": "1", "bad name": "2", "x-ok": 5}, "rate_limit_per_second": 0, "max_in_flight": 33, "ordering": "fast",
        "strict_hold": "soon", "cipher_text": "raw", "colour": "red", "ed25519": "yes",
    });
    let answer = app.post("/v1/endpoints", &vendor.live, wrong).await;
    assert_eq!(answer.code(422), "invalid");
    let mut fields: Vec<_> = answer.problems().into_iter().map(|(field, _)| field).collect();
    fields.sort();
    let expected = [
        "alert_email",
        "cipher_text",
        "colour",
        "ed25519",
        "event_types[1]",
        "headers.Webhook-Id",
        "headers.bad name",
        "headers.x-ok",
        "max_in_flight",
        "ordering",
        "profile",
        "rate_limit_per_second",
        "secret",
        "strict_hold",
        "url",
    ];
    assert_eq!(fields, expected);
    let missing = app.post("/v1/endpoints", &vendor.live, json!({"event_types": []})).await;
    let fields: Vec<_> = missing.problems().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["url", "event_types"]);
    app.finish().await;
}

#[tokio::test]
async fn a_vendor_has_so_many_endpoints_in_each_mode() {
    let app = TestApp::with(&[("endpoints_per_vendor", "2")]).await;
    let vendor = app.vendor().await;
    let settings = json!({"url": "https://example.com/hook"});
    let first = app.endpoint(&vendor, settings.clone()).await;
    app.endpoint(&vendor, settings.clone()).await;
    assert_eq!(app.post("/v1/endpoints", &vendor.live, settings.clone()).await.code(422), "endpoint_limit");
    app.post("/v1/endpoints", &vendor.test, settings.clone()).await.expect(201);
    app.call("DELETE", &format!("/v1/endpoints/{}", first.id), &vendor.live, None).await.expect(204);
    app.endpoint(&vendor, settings).await;
    app.finish().await;
}

// --- Handshakes ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn any_2xx_to_a_signed_test_event_connects() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    for status in [200, 201, 202, 204, 299] {
        hook.always(Answer::status(status));
        let endpoint = app.endpoint(&vendor, json!({"url": hook.url()})).await;
        assert_eq!(app.connect(&endpoint).await, json!({"status": "connected", "missed": 0}));
        let seen = app.read_endpoint(&endpoint).await;
        assert_eq!((&seen["status"], seen["connected_at"].is_string()), (&json!("connected"), true));
        let request = hook.received().pop().expect("a request");
        assert_eq!((request.method.as_str(), request.path.as_str(), &request.json()["type"]), ("POST", "/hook", &json!("webhook.test")));
        assert!(request.json().get("sequence").is_none() && !request.headers.iter().any(|(name, _)| name == "ringback-sequence"));
        check_signature(&request, &endpoint.secret);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_handshake_that_fails_tells_what_was_seen() {
    let (app, hook) = (TestApp::with(&[("attempt_timeout", "300ms"), ("connect_timeout", "200ms")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.endpoint(&vendor, json!({"url": hook.url()})).await;
    hook.always(Answer::status(404).with_header("Content-Type", "text/html; charset=utf-8").with_body("<h1>Not here</h1>"));
    let failed = app.on(&endpoint, "connect").await;
    assert_eq!(failed.code(422), "connect_failed");
    let seen = failed.json()["seen"].clone();
    assert_eq!((&seen["address"], &seen["status"], &seen["outcome"]), (&json!("127.0.0.1"), &json!(404), &json!("rejected")));
    assert_eq!((&seen["content_type"], &seen["answer_body"]), (&json!("text/html"), &json!("<h1>Not here</h1>")));
    assert!(seen["duration_ms"].is_number() && seen["phases"]["connect_ms"].is_number(), "{seen:#}");
    assert!(text(&failed.json()["detail"]).contains("404"));
    for (answer, outcome) in [(Answer::Stall, "timed_out"), (Answer::Hangup, "unreachable"), (Answer::status(302), "rejected")] {
        hook.always(answer);
        let failed = app.on(&endpoint, "connect").await;
        assert_eq!((failed.code(422).as_str(), &failed.json()["seen"]["outcome"]), ("connect_failed", &json!(outcome)));
        assert_eq!(failed.json()["seen"]["address"], "127.0.0.1");
    }
    assert_eq!(app.read_endpoint(&endpoint).await["status"], "not_connected");
    app.succeed_one(&vendor, "R-1").await;
    hook.always(Answer::status(200));
    assert_eq!(app.connect(&endpoint).await["missed"], 1);
    app.finish().await;
}

#[tokio::test]
async fn globaltopup_connects_with_exactly_200_and_json() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.endpoint(&vendor, json!({"url": hook.url(), "profile": "globaltopup"})).await;
    assert_eq!(endpoint.secret.len(), 32);
    let answer = |status: u16, media: &str| {
        let plain = Answer::status(status);
        if media.is_empty() { plain } else { plain.with_header("content-type", media) }
    };
    for (status, media, connects) in [
        (200, "", false),
        (200, "text/html", false),
        (200, "application/problem+json", false),
        (200, "text/plain; note=application/json", false),
        (201, "application/json", false),
        (204, "application/json", false),
        (302, "application/json", false),
        (500, "application/json", false),
        (200, "application/json", true),
        (200, "application/json; charset=utf-8", true),
        (200, "Application/JSON;charset=UTF-8", true),
    ] {
        hook.always(answer(status, media));
        let reply = app.on(&endpoint, "connect").await;
        assert_eq!(reply.status, if connects { 200 } else { 422 }, "{status} {media}: {}", reply.text);
    }
    let request = hook.received().pop().expect("a request");
    assert_eq!((request.method.as_str(), request.body.len(), request.header("accept")), ("GET", 0, "application/json"));
    assert_eq!(request.header("x-signature"), x_signature(&endpoint.secret));
    app.finish().await;
}

#[tokio::test]
async fn a_new_url_of_a_connected_endpoint_is_tried_first() {
    let app = TestApp::start().await;
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &old).await;
    new.always(Answer::status(503));
    let failed = patch(&app, &endpoint, json!({"url": new.url(), "description": "moved"})).await;
    assert_eq!(failed.code(422), "connect_failed");
    let seen = app.read_endpoint(&endpoint).await;
    assert_eq!((&seen["url"], &seen["description"], &seen["status"]), (&json!(old.url()), &Value::Null, &json!("connected")));
    old.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    assert_eq!((old.count(), new.count()), (1, 1), "the old one is in force");
    new.always(Answer::status(200));
    let moved = patch(&app, &endpoint, json!({"url": new.url(), "description": "moved"})).await.expect(200);
    assert_eq!((&moved["url"], &moved["description"]), (&json!(new.url()), &json!("moved")));
    app.quiet(|| new.count()).await;
    app.advance(Duration::from_secs(6));
    app.until_state(&endpoint, &event, "succeeded").await;
    assert_eq!((old.count(), new.count()), (1, 3), "what is pending goes to the new one");
    app.finish().await;
}

#[tokio::test]
async fn the_profile_is_changed_with_its_secret_and_a_handshake() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let missing = patch(&app, &endpoint, json!({"profile": "globaltopup"})).await;
    assert_eq!(missing.problems(), [("secret".to_owned(), "invalid".to_owned())]);
    let secret = "0123456789abcdef0123456789abcdef";
    let change = json!({"profile": "globaltopup", "secret": secret});
    assert_eq!(patch(&app, &endpoint, change.clone()).await.code(422), "connect_failed", "no JSON in the answer");
    assert_eq!(app.read_endpoint(&endpoint).await["profile"], "standard");
    hook.always(Answer::status(200).with_header("content-type", "application/json"));
    let changed = patch(&app, &endpoint, change).await.expect(200);
    assert_eq!((&changed["profile"], &changed["cipher_text"]), (&json!("globaltopup"), &json!("raw")));
    app.quiet(|| hook.count()).await;
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_state(&endpoint, &event, "succeeded").await;
    let request = hook.received().pop().expect("a request");
    assert_eq!(request.header("x-signature"), "2d54b5f0ef13eddd9d5809488bdb9be29f4a36ec16a914371bab8a6157d49350");
    assert!(request.json()["data"].is_string() && request.id() == event);
    app.finish().await;
}

// --- Changes -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn settings_are_changed_one_by_one_and_act() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"description": "one", "headers": {"x-a": "1"}})).await;
    let changed = patch(&app, &endpoint, json!({"event_types": ["recharge.failed"], "headers": {"x-b": "2"}})).await.expect(200);
    assert_eq!((&changed["description"], &changed["headers"]), (&json!("one"), &json!({"x-b": "•••"})));
    assert_eq!(hook.count(), 0, "no handshake is needed for it");
    app.quiet(|| hook.count()).await;
    app.succeed_one(&vendor, "R-1").await;
    let failed = json!({"reports": [{"vendor_id": vendor.id, "reference_no": "R-2", "status": "failed", "reason": "no such number"}]});
    let event = text(&app.post("/v1/reports", &app.operator, failed).await.expect(200)["results"][0]["event_id"]);
    app.until_state(&endpoint, &event, "succeeded").await;
    let received = hook.received();
    assert_eq!((received.len(), received[0].header("x-b"), received[0].reference().as_str()), (1, "2", "R-2"));
    assert!(!received[0].headers.iter().any(|(name, _)| name == "x-a"));
    assert_eq!(received[0].json()["data"]["reason"], "no such number");
    let cleared = patch(&app, &endpoint, json!({"description": null, "headers": null})).await.expect(200);
    assert_eq!((&cleared["description"], &cleared["headers"]), (&Value::Null, &json!({})));
    let wrong = patch(&app, &endpoint, json!({"status": "connected", "ed25519": true})).await;
    assert_eq!(wrong.problems().len(), 2);
    app.finish().await;
}

#[tokio::test]
async fn a_test_event_is_answered_with_its_attempt() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.endpoint(&vendor, json!({"url": hook.url(), "headers": {"x-key": "hidden"}})).await;
    hook.next([Answer::status(500).with_body("oops")]);
    let failed = app.on(&endpoint, "test").await.expect(200);
    assert_eq!((&failed["outcome"], &failed["status"], &failed["answer_body"]), (&json!("rejected"), &json!(500), &json!("oops")));
    let good = app.on(&endpoint, "test").await.expect(200);
    assert_eq!((&good["outcome"], &good["request_headers"]["x-key"]), (&json!("succeeded"), &json!("•••")));
    let ids: Vec<_> = hook.received().iter().map(|request| request.id().to_owned()).collect();
    assert_ne!(ids[0], ids[1], "each test is an event of its own");
    assert_eq!(good["request_headers"]["webhook-id"], json!(ids[1]));
    assert_eq!(app.get("/v1/events", &vendor.live).await.expect(200)["data"], json!([]), "it takes no number");
    assert_eq!(app.read_endpoint(&endpoint).await["status"], "not_connected", "a test connects nothing");
    assert_eq!(app.count(&endpoint, "pending").await + app.count(&endpoint, "exhausted").await, 0);
    app.finish().await;
}

#[tokio::test]
async fn a_disabled_endpoint_misses_what_comes_and_enable_says_how_much() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let disabled = app.on(&endpoint, "disable").await.expect(200);
    assert_eq!((&disabled["status"], disabled["status_reason"].is_string()), (&json!("disabled"), true));
    app.succeed(&vendor, references(3)).await;
    let other = json!({"vendor_id": vendor.id, "type": "invoice.paid", "data": {}});
    app.post("/v1/events", &app.operator, other).await.expect(202);
    assert_eq!(app.quiet(|| hook.count()).await, 0);
    hook.always(Answer::status(500));
    assert_eq!(app.on(&endpoint, "enable").await.code(422), "connect_failed");
    assert_eq!(app.read_endpoint(&endpoint).await["status"], "disabled", "a handshake that fails enables nothing");
    hook.always(Answer::status(200));
    assert_eq!(app.on(&endpoint, "enable").await.expect(200), json!({"status": "connected", "missed": 3}));
    let seen = app.read_endpoint(&endpoint).await;
    assert_eq!((&seen["status"], &seen["status_reason"]), (&json!("connected"), &Value::Null));
    let event = app.succeed_one(&vendor, "R-4").await;
    app.until_state(&endpoint, &event, "succeeded").await;
    assert_eq!(app.quiet(|| hook.count()).await, 3, "two handshakes and R-4");
    app.finish().await;
}

#[tokio::test]
async fn a_deleted_endpoint_is_gone_and_gets_nothing() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let path = format!("/v1/endpoints/{}", endpoint.id);
    app.call("DELETE", &path, &vendor.live, None).await.expect(204);
    app.succeed_one(&vendor, "R-1").await;
    for (method, path) in [("GET", path.clone()), ("PATCH", path.clone()), ("DELETE", path.clone()), ("POST", format!("{path}/connect"))] {
        assert_eq!(app.call(method, &path, &vendor.live, None).await.code(404), "not_found");
    }
    assert_eq!(app.get("/v1/endpoints", &vendor.live).await.expect(200)["data"], json!([]));
    assert_eq!(app.quiet(|| hook.count()).await, 0);
    app.finish().await;
}

// --- What is sent ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_standard_request_is_signed_over_the_bytes_that_are_sent() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let own = format!("whsec_{}", BASE64.encode([9; 24]));
    let endpoint = app.connected_with(&vendor, &hook, json!({"secret": own, "ed25519": true})).await;
    assert_eq!(endpoint.secret, own);
    let facts = json!({"reports": [{"vendor_id": vendor.id, "reference_no": "INV-1", "status": "success", "amount": 50, "currency": "NPR",
        "operator": "Ncell", "connection_no": "9801234567", "provider": "acme"}]});
    let result = app.post("/v1/reports", &app.operator, facts).await.expect(200)["results"][0].clone();
    let request = hook.wait(1).await.remove(0);
    check_signature(&request, &own);
    check_ed25519(&request, &text(&app.read_endpoint(&endpoint).await["public_key"]));
    let expected = json!({"type": "recharge.success", "timestamp": "2026-11-24T00:00:00.000Z", "data": {"id": result["recharge_id"],
        "reference_no": "INV-1", "status": "success", "amount": "50.00", "currency": "NPR", "operator": "Ncell", "connection_no": "9801234567",
        "provider_ref": null, "reason": null, "mode": "live", "sequence": 1}});
    assert_eq!(String::from_utf8_lossy(&request.body), expected.to_string(), "to the byte");
    assert_eq!((request.header("content-type"), request.id()), ("application/json", result["event_id"].as_str().expect("an id")));
    assert!(request.header("user-agent").starts_with("ringback/"));
    app.until_count(&endpoint, "succeeded", 1).await;
    app.finish().await;
}

fn signed_content(request: &Received) -> Vec<u8> {
    [format!("{}.{}.", request.id(), request.header("webhook-timestamp")).as_bytes(), &request.body].concat()
}

fn signature<'a>(request: &'a Received, scheme: &str) -> &'a str {
    request.header("webhook-signature").split(' ').find_map(|one| one.strip_prefix(scheme)).expect("a signature")
}

pub fn check_signature(request: &Received, secret: &str) {
    let key = BASE64.decode(secret.strip_prefix("whsec_").expect("whsec_")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key");
    mac.update(&signed_content(request));
    let signature = BASE64.decode(signature(request, "v1,")).expect("base64");
    mac.verify_slice(&signature).expect("the signature is right");
}

fn check_ed25519(request: &Received, public_key: &str) {
    let key = BASE64.decode(public_key.strip_prefix("whpk_").expect("whpk_")).expect("base64");
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.as_slice().try_into().expect("32 bytes")).expect("a key");
    let signature = BASE64.decode(signature(request, "v1a,")).expect("base64");
    let signature = ed25519_dalek::Signature::from_slice(&signature).expect("64 bytes");
    key.verify_strict(&signed_content(request), &signature).expect("the signature is right");
}

/// `hash_hmac('sha256', hash('sha256', $secret), $secret)`.
fn x_signature(secret: &str) -> String {
    use sha2::Digest;
    let inner = data_encoding::HEXLOWER.encode(&Sha256::digest(secret));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(inner.as_bytes());
    data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
}
