//! Secrets that are rotated: what is signed and encrypted with which, and for how long.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ringback::domain::secret::Secret;
use ringback::wire::{globaltopup, standard};
use serde_json::{Value, json};

use crate::client::{Reply, Request, send};
use crate::harness::{Endpoint, TestApp, references, text, time};
use crate::receiver::{Answer, Received, Receiver};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);

async fn try_rotate(app: &TestApp, endpoint: &Endpoint, body: Value) -> Reply {
    app.post(&format!("/v1/endpoints/{}/rotate-secret", endpoint.id), &endpoint.token, body).await
}

/// Rotates; answers the new secret. It is in force once the lane has read it.
async fn rotate(app: &TestApp, endpoint: &Endpoint, body: Value) -> String {
    let rotated = try_rotate(app, endpoint, body).await.expect(200);
    app.quiet(|| 0).await;
    text(&rotated["secret"])
}

/// What an endpoint gets now.
async fn next(app: &TestApp, hook: &Receiver, endpoint: &Endpoint, reference: &str) -> Received {
    let vendor = text(&app.get("/v1/vendors", &app.operator).await.expect(200)["data"][0]["id"]);
    let report = json!({"reports": [{"vendor_id": vendor, "reference_no": reference, "status": "success"}]});
    let event = text(&app.post("/v1/reports", &app.operator, report).await.expect(200)["results"][0]["event_id"]);
    app.until_state(endpoint, &event, "succeeded").await;
    hook.received().pop().expect("it came")
}

fn verifies(request: &Received, secret: &Secret) -> bool {
    let (id, timestamp, signature) = (request.id(), request.header("webhook-timestamp"), request.header("webhook-signature"));
    standard::verify(secret, id, timestamp, signature, &request.body)
}

fn whsec(secret: &str) -> Secret {
    standard::parse_secret(secret).expect("it is a secret")
}

fn schemes(request: &Received) -> Vec<&str> {
    request.header("webhook-signature").split(' ').map(|one| one.split(',').next().unwrap_or_default()).collect()
}

// --- Profile standard ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn both_secrets_sign_until_the_overlap_ends_and_then_the_new_one_alone() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"ed25519": true})).await;
    let old = endpoint.secret.clone();
    let answer = try_rotate(&app, &endpoint, json!({})).await.expect(200);
    let new = text(&answer["secret"]);
    assert_eq!(time(&answer["overlap_until"]), app.now().plus(DAY), "a day if it is not said");
    assert_eq!(app.read_endpoint(&endpoint).await["overlap_until"], answer["overlap_until"]);
    app.quiet(|| 0).await;
    for (at, wait) in [Duration::ZERO, DAY - MILLISECOND].into_iter().enumerate() {
        app.advance(wait);
        let during = next(&app, &hook, &endpoint, &format!("during-{at}")).await;
        assert_eq!(schemes(&during), ["v1", "v1", "v1a"]);
        assert!(verifies(&during, &whsec(&old)) && verifies(&during, &whsec(&new)));
        app.restart().await;
    }
    app.advance(MILLISECOND);
    let after = next(&app, &hook, &endpoint, "after").await;
    assert_eq!(schemes(&after), ["v1", "v1a"]);
    assert!(!verifies(&after, &whsec(&old)) && verifies(&after, &whsec(&new)));
    assert_eq!(app.read_endpoint(&endpoint).await["overlap_until"], Value::Null, "there is no overlap any more");
    app.finish().await;
}

#[tokio::test]
async fn handshakes_and_tests_carry_both_signatures_too() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let new = rotate(&app, &endpoint, json!({"overlap_seconds": 60})).await;
    for verb in ["connect", "test"] {
        app.on(&endpoint, verb).await.expect(200);
        let request = hook.received().pop().expect("it came");
        assert!(verifies(&request, &whsec(&endpoint.secret)) && verifies(&request, &whsec(&new)), "{verb}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_retry_is_signed_with_what_is_in_force_when_it_is_made() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(500)]);
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    let new = rotate(&app, &endpoint, json!({"overlap_seconds": 0})).await;
    app.advance(Duration::from_secs(7));
    app.until_state(&endpoint, &event, "succeeded").await;
    let [first, second] = &hook.received()[..] else { panic!("two requests") };
    assert!(verifies(first, &whsec(&endpoint.secret)) && verifies(second, &whsec(&new)));
    assert!(!verifies(second, &whsec(&endpoint.secret)), "without an overlap the old one ends at once");
    assert_eq!(first.body, second.body);
    app.finish().await;
}

#[tokio::test]
async fn overlap_seconds_0_ends_all_former_secrets() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let second = rotate(&app, &endpoint, json!({})).await;
    let third = rotate(&app, &endpoint, json!({})).await;
    let request = next(&app, &hook, &endpoint, "R-1").await;
    assert!([&endpoint.secret, &second, &third].into_iter().all(|secret| verifies(&request, &whsec(secret))));
    let last = try_rotate(&app, &endpoint, json!({"overlap_seconds": 0})).await.expect(200);
    assert_eq!(last["overlap_until"], Value::Null);
    app.quiet(|| 0).await;
    let request = next(&app, &hook, &endpoint, "R-2").await;
    assert!(verifies(&request, &whsec(&text(&last["secret"]))) && schemes(&request) == ["v1"]);
    app.finish().await;
}

#[tokio::test]
async fn so_many_overlaps_may_be_at_once() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let mut secrets = vec![endpoint.secret.clone()];
    for hours in 1..=3 {
        secrets.push(rotate(&app, &endpoint, json!({"overlap_seconds": hours * 3600})).await);
    }
    assert_eq!(try_rotate(&app, &endpoint, json!({})).await.code(409), "illegal_state");
    let request = next(&app, &hook, &endpoint, "R-1").await;
    assert!(secrets.iter().all(|secret| verifies(&request, &whsec(secret))), "what was refused changed nothing");
    app.advance(HOUR);
    secrets.push(rotate(&app, &endpoint, json!({})).await);
    let request = next(&app, &hook, &endpoint, "R-2").await;
    assert_eq!(schemes(&request).len(), 4);
    assert!(!verifies(&request, &whsec(&secrets[0])) && secrets[1..].iter().all(|secret| verifies(&request, &whsec(secret))));
    app.finish().await;
}

#[tokio::test]
async fn a_secret_of_ones_own_is_taken_and_a_wrong_one_refused() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let own = format!("whsec_{}", BASE64.encode([5; 40]));
    for (wrong, field) in [
        (json!({"secret": "whsec_c2hvcnQ="}), "secret"),
        (json!({"secret": BASE64.encode([5; 40])}), "secret"),
        (json!({"secret": 5}), "secret"),
        (json!({"secret": endpoint.secret}), "secret"),
        (json!({"secret": own, "legacy_secret": true}), "legacy_secret"),
        (json!({"overlap_seconds": -1}), "overlap_seconds"),
        (json!({"overlap_seconds": 30 * 86_400 + 1}), "overlap_seconds"),
        (json!({"overlap_seconds": "long"}), "overlap_seconds"),
        (json!({"overlap": 5}), "overlap"),
    ] {
        let refused = try_rotate(&app, &endpoint, wrong.clone()).await;
        assert_eq!(refused.status, 422, "{wrong}");
        let fields: Vec<_> = refused.problems().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, [field], "{wrong}");
    }
    assert!(verifies(&next(&app, &hook, &endpoint, "R-1").await, &whsec(&endpoint.secret)));
    assert_eq!(rotate(&app, &endpoint, json!({"secret": own})).await, own);
    assert!(verifies(&next(&app, &hook, &endpoint, "R-2").await, &whsec(&own)));
    app.finish().await;
}

// --- Profile globaltopup -------------------------------------------------------------------------------------------

#[tokio::test]
async fn for_globaltopup_the_old_secret_encrypts_until_the_overlap_ends() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    hook.always(Answer::status(200).with_header("content-type", "application/json"));
    let endpoint = app.connected_with(&vendor, &hook, json!({"profile": "globaltopup"})).await;
    let old = Secret::new(endpoint.secret.clone());
    let new = rotate(&app, &endpoint, json!({"overlap_seconds": 7200})).await;
    assert_eq!(new.len(), 32);
    let new = Secret::new(new);
    for (name, wait, in_force, other) in [
        ("at once", Duration::ZERO, &old, &new),
        ("just before the end", 2 * HOUR - MILLISECOND, &old, &new),
        ("at the end", MILLISECOND, &new, &old),
    ] {
        app.advance(wait);
        let request = next(&app, &hook, &endpoint, name).await;
        assert_eq!(request.header("x-signature"), globaltopup::x_signature(in_force), "{name}");
        let data = text(&request.json()["data"]);
        let opened = globaltopup::open(in_force, &data).expect("it opens");
        assert_eq!(serde_json::from_slice::<Value>(&opened).expect("JSON")["reference_no"], name);
        assert_ne!(globaltopup::open(other, &data).as_deref(), Some(&opened[..]), "{name}");
        assert_eq!((verifies(&request, &old), verifies(&request, &new)), (name != "at the end", true), "{name}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_globaltopup_handshake_during_the_overlap_is_the_old_secrets() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    hook.always(Answer::status(200).with_header("content-type", "application/json"));
    let endpoint = app.connected_with(&vendor, &hook, json!({"profile": "globaltopup"})).await;
    let own = "0123456789abcdef0123456789abcdef";
    for wrong in ["0123456789abcdef0123456789abcde", "0123456789abcdef0123456789abcdeé"] {
        let refused = try_rotate(&app, &endpoint, json!({"secret": wrong})).await;
        assert_eq!(refused.problems(), [("secret".to_owned(), "invalid".to_owned())], "{wrong}");
    }
    assert_eq!(rotate(&app, &endpoint, json!({"secret": own, "overlap_seconds": 60})).await, own);
    app.on(&endpoint, "connect").await.expect(200);
    let request = hook.received().pop().expect("it came");
    assert_eq!(request.header("x-signature"), globaltopup::x_signature(&Secret::new(endpoint.secret.clone())));
    assert!(verifies(&request, &Secret::new(own)));
    let imported = rotate(&app, &endpoint, json!({"secret": "short", "legacy_secret": true, "overlap_seconds": 0})).await;
    assert_eq!(imported, "short");
    let request = next(&app, &hook, &endpoint, "R-1").await;
    assert_eq!(request.header("x-signature"), globaltopup::x_signature(&Secret::new("short")));
    app.finish().await;
}

// --- What people see -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_secret_is_in_no_answer_but_the_one_that_made_it() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let own = format!("whsec_{}", BASE64.encode([5; 40]));
    let new = rotate(&app, &endpoint, json!({})).await;
    rotate(&app, &endpoint, json!({"secret": own})).await;
    app.succeed(&vendor, references(2)).await;
    app.until_count(&endpoint, "succeeded", 2).await;
    let path = format!("/v1/endpoints/{}", endpoint.id);
    let deliveries = format!("/v1/deliveries?endpoint_id={}", endpoint.id);
    let mut seen = String::new();
    for path in [path.as_str(), "/v1/endpoints", deliveries.as_str(), "/v1/events"] {
        seen.push_str(&app.get(path, &vendor.live).await.expect(200).to_string());
    }
    seen.push_str(&app.get("/v1/audit", &app.operator).await.expect(200).to_string());
    seen.push_str(&app.on(&endpoint, "test").await.expect(200).to_string());
    let file = std::fs::read(app.file()).expect("the file");
    let log = std::fs::read(app.file().with_extension("db-wal")).unwrap_or_default();
    let kept = String::from_utf8_lossy(&[file, log].concat()).into_owned();
    for secret in [&endpoint.secret, &new, &own] {
        let plain = secret.strip_prefix("whsec_").expect("whsec_");
        assert!(!seen.contains(plain) && !kept.contains(plain));
    }
    let shown = app.read_endpoint(&endpoint).await;
    assert_eq!(shown["secret_hint"], format!("…{}", &own[own.len() - 4..]));
    let noted = app.get("/v1/audit?action=endpoint.secret_rotated&since=2026-11-24T00:00:00Z", &app.operator).await.expect(200);
    assert_eq!(noted["data"].as_array().map(Vec::len), Some(2));
    app.finish().await;
}

#[tokio::test]
async fn a_repeated_request_rotates_once() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let path = format!("/v1/endpoints/{}/rotate-secret", endpoint.id);
    let mut answers = Vec::new();
    for _ in 0..2 {
        let headers = [("idempotency-key", "rotate-1")];
        let request = Request { method: "POST", path: &path, token: Some(&vendor.live), headers: &headers, body: Some(b"{}".to_vec()) };
        answers.push(send(app.address, request).await.expect(200));
    }
    assert_eq!(answers[0], answers[1]);
    app.quiet(|| 0).await;
    assert_eq!(schemes(&next(&app, &hook, &endpoint, "R-1").await).len(), 2);
    app.finish().await;
}

// --- Two at once -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_change_with_a_slow_handshake_does_not_undo_a_rotation() {
    let (app, hook, new_place) = (TestApp::start().await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    new_place.always(Answer::status(200).after(Duration::from_millis(500)));
    let path = format!("/v1/endpoints/{}", endpoint.id);
    let change = app.call("PATCH", &path, &vendor.live, Some(json!({"url": new_place.url()})));
    let rotation = async {
        new_place.wait(1).await;
        rotate(&app, &endpoint, json!({})).await
    };
    let (changed, new) = tokio::join!(change, rotation);
    assert_eq!(changed.code(409), "illegal_state", "it was decided on settings that are no longer those");
    let request = next(&app, &hook, &endpoint, "R-1").await;
    assert!(verifies(&request, &whsec(&new)), "the secret that was shown is in force");
    app.call("PATCH", &path, &vendor.live, Some(json!({"url": new_place.url()}))).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn every_secret_that_was_shown_signs_though_two_rotate_at_once() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let (one, other) = tokio::join!(try_rotate(&app, &endpoint, json!({})), try_rotate(&app, &endpoint, json!({})));
    app.quiet(|| 0).await;
    let request = next(&app, &hook, &endpoint, "R-1").await;
    let mut shown = 0;
    for reply in [one, other] {
        if reply.status == 200 {
            assert!(verifies(&request, &whsec(&text(&reply.json()["secret"]))));
            shown += 1;
        } else {
            assert_eq!(reply.code(409), "illegal_state");
        }
    }
    assert!(shown > 0);
    app.finish().await;
}
