//! `ringback check` of receivers with one flaw each: it names that flaw, and no other.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use ringback::clock::{Clock, SystemClock};
use ringback::domain::secret::Secret;
use ringback::wire::{globaltopup, standard};
use serde_json::Value;
use sha2::Sha256;

use crate::client::find;
use crate::developer::{LEGACY, SECRET, is_signed, run};
use crate::harness::text;
use crate::receiver::{Answer, Received, Receiver};
use crate::transport::Authority;

const ALL: usize = 11;

/// Runs it; answers its exit code, and what it found as JSON.
async fn check(url: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(&[&["check", url, "--json"], arguments].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// The checks in this state.
fn in_state(found: &Value, state: &str) -> Vec<String> {
    let all = found["checks"].as_array().expect("checks").iter();
    all.filter(|one| one["state"] == state).map(|one| text(&one["check"])).collect()
}

fn of<'a>(found: &'a Value, check: &str) -> &'a Value {
    found["checks"].as_array().expect("checks").iter().find(|one| one["check"] == check).expect("the check is there")
}

// --- Receivers that accept events ------------------------------------------------------------------------------------

/// What a receiver gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    NoSignature,
    NoTimestamp,
    Reencodes,
    RefusesDuplicates,
    RefusesUnknownTypes,
    RefusesUnknownFields,
    OneAtATime,
    NeverConnects,
    LimitsRequests,
}

/// A receiver with one flaw.
async fn receiver(flaw: Flaw) -> Receiver {
    let hook = Receiver::start().await;
    let (secret, seen) = (standard::parse_secret(SECRET).expect("a secret"), Mutex::new(HashSet::new()));
    let (busy, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
    hook.script(move |request| {
        let now = SystemClock.now().as_millis() / 1000;
        let at: i64 = find(&request.headers, "webhook-timestamp").and_then(|at| at.parse().ok()).unwrap_or_default();
        let body = request.json();
        let known = ["recharge.success", "recharge.failed", "webhook.test"].iter().any(|known| body["type"] == *known);
        let is_new = seen.lock().insert(request.id().to_owned());
        let signed = if flaw == Flaw::Reencodes {
            is_signed(&Received { body: body.to_string().into_bytes(), ..request.clone() }, &secret)
        } else {
            is_signed(request, &secret)
        };
        let refused = (flaw != Flaw::NoSignature && !signed)
            || (flaw != Flaw::NoTimestamp && flaw != Flaw::NoSignature && (now - at).abs() > 300)
            || (flaw == Flaw::RefusesDuplicates && !is_new)
            || (flaw == Flaw::RefusesUnknownTypes && !known)
            || (flaw == Flaw::RefusesUnknownFields && !body["data"]["of_a_later_version"].is_null())
            || (flaw == Flaw::NeverConnects && body["type"] == "webhook.test");
        // The last two come at once: the second of them finds it busy.
        let is_last =
            body["data"]["reference_no"].as_str().is_some_and(|reference| reference.ends_with("-9") || reference.ends_with("-10"));
        let is_busy = flaw == Flaw::OneAtATime && is_last && busy.fetch_add(1, Ordering::SeqCst) > 0;
        let is_limited = flaw == Flaw::LimitsRequests && count.fetch_add(1, Ordering::SeqCst) >= 3;
        match (refused, is_busy, is_limited) {
            (_, _, true) => Answer::status(429),
            (true, ..) => Answer::status(401),
            (_, true, _) => Answer::status(503),
            _ => Answer::status(200).after(Duration::from_millis(5)),
        }
    });
    hook
}

#[tokio::test]
async fn check_takes_from_each_flaw_the_marks_that_it_costs() {
    for (flaw, failed, untested, advice) in [
        (Flaw::None, vec![], 0, ""),
        (Flaw::NoSignature, vec!["a wrong signature"], 2, "Compare the signature"),
        (Flaw::NoTimestamp, vec!["an old timestamp"], 0, "five minutes"),
        (Flaw::Reencodes, vec!["unusual but valid JSON"], 0, "re-encoded body"),
        (Flaw::RefusesDuplicates, vec!["the same event twice"], 0, "already known"),
        (Flaw::RefusesUnknownTypes, vec!["a type that it has never heard of"], 0, "types that you do not know"),
        (Flaw::RefusesUnknownFields, vec!["unknown fields"], 0, "ignore the others"),
        (Flaw::OneAtATime, vec!["two at once"], 0, "concurrently"),
        (Flaw::NeverConnects, vec!["the handshake"], 0, "webhook.test"),
        (Flaw::LimitsRequests, vec!["a wrong signature"], 7, "rate limit"),
    ] {
        let (hook, folder) = (receiver(flaw).await, tempfile::tempdir().expect("a folder"));
        let badge = folder.path().join("badge.svg");
        let (code, found) = check(&hook.url(), &["--secret", SECRET, "--badge", badge.to_str().expect("text")]).await;
        assert_eq!(code, Some(i32::from(!failed.is_empty())), "{flaw:?}: {found:#}");
        assert_eq!(in_state(&found, "failed"), failed, "{flaw:?}: {found:#}");
        assert_eq!(in_state(&found, "not_tested").len(), untested, "{flaw:?}: {found:#}");
        assert_eq!(found["passed"], failed.is_empty());
        for check in found["checks"].as_array().expect("checks") {
            let passed = match check["state"].as_str() {
                Some("not_tested") => Value::Null,
                state => (state == Some("passed")).into(),
            };
            assert_eq!((&check["passed"], check["to_mend"].is_string()), (&passed, check["state"] == "failed"), "{check:#}");
        }
        if let Some(name) = failed.first() {
            assert!(text(&of(&found, name)["to_mend"]).contains(advice), "{flaw:?}: {found:#}");
        }
        let badge = std::fs::read_to_string(badge).expect("the badge");
        assert!(badge.contains(&format!("{} of {ALL}", ALL - failed.len() - untested)), "{badge}");
    }
}

/// Nothing shows from outside whether an event that came twice was processed twice.
#[tokio::test]
async fn check_says_what_it_cannot_see() {
    let hook = receiver(Flaw::None).await;
    let output = run(&["check", &hook.url(), "--secret", SECRET]).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let twice = hook.received().into_iter().filter(|request| request.json()["data"]["reference_no"].is_string()).collect::<Vec<_>>();
    let reference = twice[0].reference();
    assert_eq!((twice[0].body == twice[1].body, twice[0].id()), (true, twice[1].id()));
    for part in
        ["Cannot be seen from outside", "deduplication", "ordering", "durability", &reference, "11 of 11 passed, 0 failed, 0 not tested"]
    {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

#[tokio::test]
async fn check_tests_receivers_of_the_older_profile() {
    let (hook, secret) = (Receiver::start().await, Secret::new(LEGACY.as_bytes()));
    let is_ours = {
        let secret = secret.clone();
        move |request: &Received| request.header("x-signature") == globaltopup::x_signature(&secret)
    };
    let script = move |opens_json: bool| {
        let (secret, is_ours) = (secret.clone(), is_ours.clone());
        move |request: &Received| {
            let json = Answer::status(200).with_header("content-type", "application/json").with_body("{}");
            match (is_ours(request), request.method.as_str()) {
                (false, _) => Answer::status(401),
                (true, "GET") if opens_json => json,
                (true, "GET") => Answer::status(405),
                _ => {
                    let plain = globaltopup::open(&secret, request.json()["data"].as_str().expect("data"));
                    plain.map_or(Answer::status(422), |_| Answer::status(200))
                }
            }
        }
    };
    hook.script(script(true));
    let (code, found) = check(&hook.url(), &["--secret", LEGACY]).await;
    assert_eq!((code, &found["passed"], &found["profile"]), (Some(0), &Value::Bool(true), &"globaltopup".into()), "{found:#}");
    assert_eq!(in_state(&found, "not_tested").len(), 0, "{found:#}");

    hook.script(script(false));
    let (code, found) = check(&hook.url(), &["--secret", LEGACY]).await;
    assert!(code == Some(1) && text(&of(&found, "the handshake")["this_one"]).contains("POST but not GET"), "{found:#}");
    assert_eq!(of(&found, "a valid event")["state"], "passed");

    hook.script(script(true));
    let (code, found) = check(&hook.url(), &["--secret", "another secret than the receiver's"]).await;
    assert!(code == Some(1) && text(&of(&found, "the handshake")["to_mend"]).contains("another secret"), "{found:#}");
    assert_eq!(in_state(&found, "not_tested").len(), ALL - 1);
}

// --- Receivers that accept nothing -----------------------------------------------------------------------------------

/// One check fails, for this cause and with this advice, and nothing else is tested.
#[track_caller]
fn only(found: &Value, check: &str, (what, advice): (&str, &str)) {
    assert_eq!(in_state(found, "failed"), [check], "{what}: {found:#}");
    let one = of(found, check);
    assert!(text(&one["this_one"]).contains(what), "{what} is missing: {one:#}");
    assert!(text(&one["to_mend"]).contains(advice), "{advice} is missing: {one:#}");
    let passed = usize::from(check != "the handshake");
    assert_eq!((in_state(found, "not_tested").len(), in_state(found, "passed").len()), (ALL - 1 - passed, passed), "{found:#}");
}

#[tokio::test]
async fn check_of_a_closed_port_names_one_cause() {
    let gone = Receiver::start().await;
    let url = gone.url();
    drop(gone);
    for secret in [SECRET, LEGACY] {
        let (code, found) = check(&url, &["--secret", secret]).await;
        assert_eq!((code, &found["passed"]), (Some(1), &Value::Bool(false)));
        only(&found, "the handshake", ("Connection refused", "Start the receiver"));
    }
    let output = run(&["check", &url, "--secret", SECRET]).await;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((said.matches('✗').count(), said.matches("not tested").count()), (1, ALL), "{said}");
    for unrelated in ["signature", "whole body", "types that you do not know", "outside"] {
        assert!(!said.contains(unrelated), "{unrelated}: {said}");
    }
    assert_eq!(error.trim(), "ringback: 1 required check failed");
    let output = run(&["check", &url, "--secret", "whsec_short"]).await;
    assert_eq!(output.status.code(), Some(64), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn check_names_what_an_answer_or_a_connection_says() {
    let hook = Receiver::start().await;
    let moved = Answer::status(308).with_header("location", "https://other.example/hook");
    for (answer, what, advice) in [
        (Answer::status(404), "no receiver at the path /hook", "Correct the path"),
        (Answer::status(405), "does not accept POST", "accept POST"),
        (moved, "redirects to https://other.example/hook", "final URL"),
        (Answer::status(429), "limits requests", "rate limit"),
        (Answer::status(502), "gateway", "behind the gateway"),
        (Answer::status(500).with_body("no such table: seen"), "(no such table: seen)", "log says why"),
        (Answer::Hangup, "closed", "without an answer"),
        (Answer::Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "invalid HTTP", "https://"),
        (Answer::status(200).after(Duration::from_millis(5100)), "took 5.", "process it afterwards"),
    ] {
        hook.always(answer);
        let (code, found) = check(&hook.url(), &["--secret", SECRET]).await;
        assert_eq!(code, Some(1));
        only(&found, "the handshake", (what, advice));
    }
    let (_, found) = check(&hook.url().replace("http:", "https:"), &["--secret", SECRET]).await;
    only(&found, "the handshake", ("does not answer the TLS handshake", "does not speak TLS"));
    let strange = Receiver::start_tls(Authority::new().server(&["127.0.0.1"], 2100)).await;
    let (_, found) = check(&strange.url(), &["--secret", SECRET]).await;
    only(&found, "the handshake", ("TLS", "public certificate authority"));
}

/// Whether a receiver that makes a mistake accepts the request.
type Accepts = fn(&Received) -> bool;

fn signed_with(request: &Received, key: &[u8], content: &[u8]) -> bool {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("a key").chain_update(content);
    let ours = BASE64.encode(mac.finalize().into_bytes());
    request.header("webhook-signature").split(' ').any(|part| part == format!("v1,{ours}"))
}

fn content(request: &Received) -> Vec<u8> {
    [format!("{}.{}.", request.id(), request.header("webhook-timestamp")).as_bytes(), request.body.as_slice()].concat()
}

fn is_right(request: &Received) -> bool {
    is_signed(request, &standard::parse_secret(SECRET).expect("a secret"))
}

/// The body as `json.dumps` of Python would write it.
fn as_python(request: &Received) -> bool {
    let body = text(&request.json().to_string().replace("\":", "\": ").replace(",\"", ", \"").into());
    is_right(&Received { body: body.into_bytes(), ..request.clone() })
}

fn an_hour_behind(request: &Received) -> bool {
    let at: i64 = request.header("webhook-timestamp").parse().expect("seconds");
    is_right(request) && (SystemClock.now().as_millis() / 1000 - 3600 - at).abs() <= 300
}

fn in_milliseconds(request: &Received) -> bool {
    let at: i64 = request.header("webhook-timestamp").parse().expect("a number");
    is_right(request) && (SystemClock.now().as_millis() - at).abs() <= 300_000
}

#[tokio::test]
async fn check_finds_the_mistake_for_which_a_signed_event_is_refused() {
    let key = BASE64.decode(SECRET.trim_start_matches("whsec_")).expect("base64");
    assert_eq!(standard::parse_secret(SECRET).expect("a secret").expose(), key);
    let mistakes: [(Accepts, &str, &str); 8] = [
        (|request| signed_with(request, SECRET.as_bytes(), &content(request)), "whsec_ included", "decode the rest as base64"),
        (|request| signed_with(request, &SECRET.as_bytes()[6..], &content(request)), "base64 text of the secret", "decode the rest"),
        (as_python, "a parsed and re-encoded body", "bytes as received"),
        (
            |request| signed_with(request, standard::parse_secret(SECRET).expect("a secret").expose(), &request.body),
            "the body alone",
            "joined",
        ),
        (
            |request| {
                let whole = format!("v1,{}", request.header("webhook-signature"));
                let headers = vec![("webhook-signature".to_owned(), whole)];
                let ours = Received { headers, ..request.clone() };
                signed_with(&ours, standard::parse_secret(SECRET).expect("a secret").expose(), &content(request))
            },
            "the whole webhook-signature header",
            "behind v1,",
        ),
        (in_milliseconds, "milliseconds", "in seconds"),
        (an_hour_behind, "about 1 hour behind", "NTP"),
        (|_| false, "none of the usual mistakes", "another secret"),
    ];
    let hook = Receiver::start().await;
    for (accepts, what, advice) in mistakes {
        hook.script(move |request| Answer::status(if accepts(request) { 204 } else { 400 }));
        let (code, found) = check(&hook.url(), &["--secret", SECRET]).await;
        assert_eq!(code, Some(1));
        only(&found, "the handshake", (what, advice));
    }
    // It connects, and then cannot process what it has verified.
    hook.script(|request| match (is_right(request), request.json()["type"].as_str()) {
        (false, _) => Answer::status(401),
        (true, Some("webhook.test")) => Answer::status(200),
        _ => Answer::status(422),
    });
    let (_, found) = check(&hook.url(), &["--secret", SECRET]).await;
    only(&found, "a valid event", ("then refuses or fails to process it", "documented fields"));
}
