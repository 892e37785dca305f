//! Half-open recovery: what a rule disabled is tried now and then, and drains gently when it is back.

use std::sync::Arc;
use std::time::Duration;

use ringback::clock::Stopwatch;
use ringback::limits;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{Endpoint, TestApp, Vendor, references, text};
use crate::receiver::{Answer, Receiver};

const MINUTE: Duration = Duration::from_secs(60);

/// An endpoint that answered `410` to the last of so many, with all of them pending.
async fn gone(settings: &[(&'static str, &str)], pending: usize) -> (TestApp, Receiver, Vendor, Endpoint) {
    let (app, hook) = (TestApp::with(settings).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(410));
    app.succeed(&vendor, references(pending)).await;
    app.until_status(&endpoint, "disabled").await;
    app.quiet(|| hook.count()).await;
    hook.forget();
    hook.always(Answer::status(503));
    (app, hook, vendor, endpoint)
}

fn handshakes(hook: &Receiver) -> usize {
    hook.received().iter().filter(|request| request.json()["type"] == "webhook.test").count()
}

const EVERY_TEN_MINUTES: (&str, &str) = ("probe_disabled", "10m");

#[tokio::test]
async fn what_a_rule_disabled_is_tried_now_and_then_and_comes_back_by_itself() {
    let (mut app, hook, vendor, endpoint) = gone(&[EVERY_TEN_MINUTES], 3).await;
    app.pass(&hook, 9, MINUTE).await;
    assert_eq!(hook.count(), 0, "it is not tried before ten minutes have passed");
    for round in 1..=3 {
        app.pass(&hook, 1, 70 * Duration::from_secs(1)).await;
        assert_eq!((hook.count(), handshakes(&hook)), (round, round), "one handshake, and nothing else");
        app.restart().await;
        app.pass(&hook, 9, MINUTE).await;
        assert_eq!(hook.count(), round, "a restart does not make it sooner");
    }
    app.succeed_one(&vendor, "missed").await;
    hook.always(Answer::status(200));
    app.pass(&hook, 1, 70 * Duration::from_secs(1)).await;
    let seen = app.until_status(&endpoint, "connected").await;
    assert_eq!((&seen["status_reason"], &seen["failing_since"]), (&Value::Null, &Value::Null));
    app.until_count(&endpoint, "succeeded", 3).await;
    assert_eq!(app.connect(&endpoint).await["missed"], 1, "what came meanwhile was missed");
    let noted = app.get("/v1/audit?action=endpoint.enabled&since=2026-11-24T00:00:00Z", &app.operator).await.expect(200);
    assert_eq!((&noted["data"][0]["actor"], &noted["data"][0]["object"]), (&json!("rule"), &json!(endpoint.id)));
    app.finish().await;
}

#[tokio::test]
async fn it_drains_gently_until_its_backlog_is_gone_and_then_goes_at_full_speed() {
    let (app, hook, vendor, endpoint) = gone(&[EVERY_TEN_MINUTES], 60).await;
    hook.always(Answer::status(200).after(Duration::from_millis(3)));
    app.pass(&hook, 1, 11 * MINUTE).await;
    app.until_status(&endpoint, "connected").await;
    app.until_count(&endpoint, "succeeded", 60).await;
    assert_eq!(hook.most_under_way(), limits::HALF_OPEN_IN_FLIGHT as usize);
    app.quiet(|| hook.count()).await;
    hook.forget();
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    app.succeed(&vendor, (61..=160).map(|number| format!("R-{number}"))).await;
    app.quiet(|| hook.under_way()).await;
    assert!(hook.under_way() > limits::HALF_OPEN_IN_FLIGHT as usize, "{} under way", hook.under_way());
    gate.add_permits(1000);
    app.until_count(&endpoint, "succeeded", 160).await;
    app.finish().await;
}

#[tokio::test]
async fn it_drains_gently_over_a_restart_too() {
    let (mut app, hook, _, endpoint) = gone(&[EVERY_TEN_MINUTES], 60).await;
    let gate = Arc::new(Semaphore::new(1));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    app.advance(11 * MINUTE);
    app.until_status(&endpoint, "connected").await;
    hook.wait(2).await;
    gate.add_permits(3);
    app.quiet(|| hook.count()).await;
    hook.always(Answer::status(200).after(Duration::from_millis(3)));
    gate.add_permits(10);
    app.restart().await;
    hook.forget();
    app.until_count(&endpoint, "succeeded", 60).await;
    assert!(hook.most_under_way() <= limits::HALF_OPEN_IN_FLIGHT as usize, "{} under way", hook.most_under_way());
    app.finish().await;
}

#[tokio::test]
async fn without_the_setting_nothing_is_tried() {
    let (app, hook, _, endpoint) = gone(&[], 1).await;
    hook.always(Answer::status(200));
    app.pass(&hook, 20, 30 * MINUTE).await;
    assert_eq!((hook.count(), app.status(&endpoint).await), (0, json!("disabled")));
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn what_a_person_disabled_is_never_tried() {
    let (app, hook, vendor, by_rule_first) = gone(&[EVERY_TEN_MINUTES], 1).await;
    let other = app.endpoint(&vendor, json!({"url": hook.url()})).await;
    hook.always(Answer::status(200));
    app.connect(&other).await;
    app.on(&other, "disable").await.expect(200);
    let taken_over = app.on(&by_rule_first, "disable").await.expect(200);
    assert!(!text(&taken_over["status_reason"]).contains("410"), "a person has the last word: {taken_over}");
    app.quiet(|| hook.count()).await;
    hook.forget();
    app.pass(&hook, 6, 15 * MINUTE).await;
    for endpoint in [&other, &by_rule_first] {
        assert_eq!(app.status(endpoint).await, "disabled");
    }
    assert_eq!(hook.count(), 0);
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn a_person_who_disables_while_it_is_tried_has_the_last_word() {
    let (app, hook, _, endpoint) = gone(&[EVERY_TEN_MINUTES], 1).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    app.advance(11 * MINUTE);
    hook.wait(1).await;
    app.on(&endpoint, "disable").await.expect(200);
    gate.add_permits(10);
    app.quiet(|| hook.count()).await;
    assert_eq!((hook.count(), app.status(&endpoint).await), (1, json!("disabled")));
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn endpoints_of_a_disabled_vendor_are_not_tried() {
    let (app, hook, vendor, endpoint) = gone(&[EVERY_TEN_MINUTES], 1).await;
    hook.always(Answer::status(200));
    let path = format!("/v1/vendors/{}", vendor.id);
    app.call("PATCH", &path, &app.operator, Some(json!({"disabled": true}))).await.expect(200);
    app.pass(&hook, 3, 15 * MINUTE).await;
    assert_eq!(hook.count(), 0);
    app.call("PATCH", &path, &app.operator, Some(json!({"disabled": false}))).await.expect(200);
    app.pass(&hook, 1, 15 * MINUTE).await;
    app.until_count(&endpoint, "succeeded", 1).await;
    app.finish().await;
}

#[tokio::test]
async fn those_that_hang_when_they_are_tried_hold_up_no_other_rule() {
    let settings = [EVERY_TEN_MINUTES, ("attempt_timeout", "12s")];
    let (app, hook, vendor, _) = gone(&settings, 1).await;
    let healthy = Receiver::start().await;
    let paused = app.connected(&vendor, &healthy).await;
    let path = format!("/v1/endpoints/{}/pause", paused.id);
    app.post(&path, &vendor.live, json!({"until": app.now().plus(12 * MINUTE)})).await.expect(200);
    hook.always(Answer::Stall);
    app.advance(11 * MINUTE);
    hook.wait(1).await;
    let watch = Stopwatch::start();
    app.advance(2 * MINUTE);
    app.until_status(&paused, "connected").await;
    assert!(watch.elapsed() < Duration::from_secs(8), "it took {:?}", watch.elapsed());
    app.finish_leaving(1).await;
}
