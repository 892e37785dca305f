//! Maintenance windows: what is pending waits, and its deadlines move by the time paused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Endpoint, TestApp, Vendor, attempts, references, text, time, until};
use crate::receiver::{Answer, Received, Receiver};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Pauses for so long, and waits until nothing is sent any more.
async fn pause(app: &TestApp, hook: &Receiver, endpoint: &Endpoint, span: Duration) -> Value {
    let path = format!("/v1/endpoints/{}/pause", endpoint.id);
    let paused = app.post(&path, &endpoint.token, json!({"until": app.now().plus(span)})).await.expect(200);
    app.quiet(|| hook.count()).await;
    paused
}

/// An endpoint to which `R-1` has failed once.
async fn failed_once(settings: &[(&'static str, &str)]) -> (TestApp, Receiver, Vendor, Endpoint, String) {
    let (app, hook) = (TestApp::with(settings).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"max_in_flight": 1})).await;
    hook.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    hook.forget();
    (app, hook, vendor, endpoint, event)
}

fn names(hook: &Receiver) -> Vec<String> {
    hook.received().iter().map(Received::reference).collect()
}

#[tokio::test]
async fn what_waits_goes_out_in_order_after_the_pause() {
    let (app, hook, vendor, endpoint, first) = failed_once(&[]).await;
    let paused = pause(&app, &hook, &endpoint, 3 * HOUR).await;
    assert_eq!((&paused["status"], time(&paused["paused_until"])), (&json!("paused"), app.now().plus(3 * HOUR)));
    hook.always(Answer::status(200));
    app.succeed(&vendor, (2..=5).map(|number| format!("R-{number}"))).await;
    app.pass(&hook, 2, HOUR).await;
    assert_eq!((hook.count(), app.count(&endpoint, "pending").await), (0, 5), "deliveries are made, and wait");
    let resumed = app.on(&endpoint, "resume").await.expect(200);
    assert_eq!((&resumed["status"], &resumed["paused_until"]), (&json!("connected"), &Value::Null));
    app.until_count(&endpoint, "succeeded", 5).await;
    assert_eq!(names(&hook), references(5).collect::<Vec<_>>(), "in order, the one that had failed too");
    assert_eq!(attempts(&app.delivery(&endpoint, &first).await).len(), 2, "its retries go on where they were");
    assert_eq!(app.connect(&endpoint).await["missed"], 0, "nothing was missed");
    app.finish().await;
}

#[tokio::test]
async fn deadlines_move_by_the_time_paused() {
    let (app, hook, vendor, endpoint, early) = failed_once(&[("delivery_deadline", "1h"), ("retry_schedule", "10m")]).await;
    let begun = app.now();
    app.pass(&hook, 3, 10 * MINUTE).await;
    pause(&app, &hook, &endpoint, 5 * HOUR).await;
    let seen = app.delivery(&endpoint, &early).await;
    assert_eq!(time(&seen["deadline"]), begun.plus(6 * HOUR), "as if the pause went on to its end");
    app.pass(&hook, 1, HOUR).await;
    let made_meanwhile = app.succeed_one(&vendor, "R-2").await;
    app.pass(&hook, 1, HOUR).await;
    app.on(&endpoint, "resume").await.expect(200);
    let resumed = app.now();
    assert_eq!(resumed, begun.plus(2 * HOUR + 30 * MINUTE));
    for (event, deadline) in [(&early, resumed.plus(30 * MINUTE)), (&made_meanwhile, resumed.plus(HOUR))] {
        assert_eq!(time(&app.delivery(&endpoint, event).await["deadline"]), deadline);
    }
    app.quiet(|| hook.count()).await;
    app.pass(&hook, 5, 5 * MINUTE).await;
    assert_eq!(app.count(&endpoint, "exhausted").await, 0, "both are in time");
    app.pass(&hook, 1, 5 * MINUTE).await;
    app.until_state(&endpoint, &early, "exhausted").await;
    assert_eq!(app.delivery(&endpoint, &made_meanwhile).await["state"], "pending", "it has its whole deadline");
    app.pass(&hook, 6, 5 * MINUTE).await;
    app.until_state(&endpoint, &made_meanwhile, "exhausted").await;
    app.finish().await;
}

#[tokio::test]
async fn pauses_add_up() {
    let (app, hook, vendor, endpoint, event) = failed_once(&[]).await;
    let deadline = time(&app.delivery(&endpoint, &event).await["deadline"]);
    for count in 1..=3 {
        pause(&app, &hook, &endpoint, 6 * HOUR).await;
        app.pass(&hook, 1, 2 * HOUR).await;
        app.on(&endpoint, "resume").await.expect(200);
        app.quiet(|| hook.count()).await;
        assert_eq!(time(&app.delivery(&endpoint, &event).await["deadline"]), deadline.plus(count * 2 * HOUR));
    }
    let later = app.succeed_one(&vendor, "R-2").await;
    assert_eq!(time(&app.delivery(&endpoint, &later).await["deadline"]), app.now().plus(24 * HOUR), "pauses of before count for nothing");
    hook.always(Answer::status(200));
    app.pass(&hook, 1, HOUR).await;
    app.until_count(&endpoint, "succeeded", 2).await;
    app.finish().await;
}

#[tokio::test]
async fn what_would_have_expired_during_the_pause_is_delivered_after_it() {
    let (app, hook, vendor, endpoint, early) = failed_once(&[("delivery_deadline", "1h")]).await;
    pause(&app, &hook, &endpoint, 48 * HOUR).await;
    let made_meanwhile = app.succeed_one(&vendor, "R-2").await;
    app.pass(&hook, 30, HOUR).await;
    assert_eq!(app.count(&endpoint, "pending").await, 2);
    hook.always(Answer::status(200));
    app.on(&endpoint, "resume").await.expect(200);
    for event in [&early, &made_meanwhile] {
        app.until_state(&endpoint, event, "succeeded").await;
    }
    app.finish().await;
}

#[tokio::test]
async fn a_pause_ends_by_itself() {
    let (app, hook, _, endpoint, event) = failed_once(&[("delivery_deadline", "1h")]).await;
    pause(&app, &hook, &endpoint, 5 * HOUR).await;
    app.pass(&hook, 5, HOUR - Duration::from_secs(1)).await;
    assert_eq!((app.read_endpoint(&endpoint).await["status"].clone(), hook.count()), (json!("paused"), 0));
    hook.always(Answer::status(200));
    app.pass(&hook, 2, Duration::from_secs(10)).await;
    app.until_state(&endpoint, &event, "succeeded").await;
    let seen = app.read_endpoint(&endpoint).await;
    assert_eq!((&seen["status"], &seen["paused_until"]), (&json!("connected"), &Value::Null));
    let noted = app.get("/v1/audit?action=endpoint.resumed&since=2026-11-24T00:00:00Z", &app.operator).await.expect(200);
    assert_eq!((&noted["data"][0]["actor"], &noted["data"][0]["object"]), (&json!("rule"), &json!(endpoint.id)));
    app.finish().await;
}

#[tokio::test]
async fn a_pause_survives_restarts() {
    let (mut app, hook, vendor, endpoint, early) = failed_once(&[("delivery_deadline", "1h")]).await;
    let until_then = pause(&app, &hook, &endpoint, 10 * HOUR).await["paused_until"].clone();
    hook.always(Answer::status(200));
    for _ in 0..3 {
        app.restart().await;
        let event = app.succeed_one(&vendor, &format!("R-{}", app.now())).await;
        app.pass(&hook, 3, HOUR).await;
        assert_eq!((hook.count(), &app.read_endpoint(&endpoint).await["paused_until"]), (0, &until_then));
        assert_eq!(time(&app.delivery(&endpoint, &event).await["deadline"]), time(&until_then).plus(HOUR));
    }
    assert_eq!(time(&app.delivery(&endpoint, &early).await["deadline"]), time(&until_then).plus(HOUR));
    app.pass(&hook, 1, HOUR).await;
    app.pass(&hook, 2, Duration::from_secs(10)).await;
    app.until_count(&endpoint, "succeeded", 4).await;
    app.finish().await;
}

#[tokio::test]
async fn a_pause_that_ended_while_the_server_was_down_costs_no_delivery() {
    let (mut app, hook, _, endpoint, event) = failed_once(&[("delivery_deadline", "1h")]).await;
    pause(&app, &hook, &endpoint, 2 * HOUR).await;
    hook.always(Answer::status(200));
    app.stop().await;
    // Past the end of the pause, and past the deadline as it has moved.
    app.advance(5 * HOUR);
    app.start_again().await;
    let ended = app.until_delivery(&endpoint, &event, |delivery| delivery["state"] != "pending").await;
    assert_eq!(ended["state"], "succeeded", "it had no time in which it could be sent: {ended:#}");
    until("the pause is over", || async { (app.read_endpoint(&endpoint).await["status"] == "connected").then_some(()) }).await;
    app.finish().await;
}

#[tokio::test]
async fn a_run_whose_deadline_comes_just_after_the_pause_gets_its_attempt() {
    let (app, hook, _, endpoint, event) = failed_once(&[("delivery_deadline", "11s"), ("retry_schedule", "1m")]).await;
    app.pass(&hook, 1, Duration::from_secs(10)).await;
    pause(&app, &hook, &endpoint, Duration::from_secs(2)).await;
    hook.always(Answer::status(200));
    // A sweep finds it past its deadline before the rule has seen that the pause is over.
    app.pass(&hook, 1, Duration::from_secs(5)).await;
    assert_eq!(app.delivery(&endpoint, &event).await["state"], "pending");
    app.pass(&hook, 1, Duration::from_secs(5)).await;
    app.until_state(&endpoint, &event, "succeeded").await;
    app.finish().await;
}

#[tokio::test]
async fn a_pause_that_cannot_be_is_refused() {
    let app = TestApp::start().await;
    let hook = Receiver::start().await;
    let vendor = app.vendor().await;
    let endpoint = app.endpoint(&vendor, json!({"url": hook.url()})).await;
    let path = format!("/v1/endpoints/{}/pause", endpoint.id);
    assert_eq!(app.on(&endpoint, "pause").await.code(409), "illegal_state", "it is not connected");
    app.connect(&endpoint).await;
    assert_eq!(app.on(&endpoint, "resume").await.code(409), "illegal_state", "it is not paused");
    let week = 7 * 24 * HOUR;
    for wrong in [app.now(), app.now().plus(week + Duration::from_millis(1))] {
        assert_eq!(app.post(&path, &vendor.live, json!({"until": wrong})).await.problems(), [("until".to_owned(), "invalid".to_owned())]);
    }
    assert_eq!(app.post(&path, &vendor.live, json!({"until": "tomorrow"})).await.code(422), "invalid");
    assert_eq!(app.post(&path, &vendor.live, json!({"hours": 2})).await.code(422), "unknown_field");
    let paused = app.post(&path, &vendor.live, json!({"until": app.now().plus(week)})).await.expect(200);
    assert_eq!(time(&paused["paused_until"]), app.now().plus(week));
    assert_eq!(app.on(&endpoint, "pause").await.code(409), "illegal_state", "it is paused already");
    assert_eq!(app.on(&endpoint, "connect").await.code(409), "illegal_state", "a handshake does not end a pause");
    app.on(&endpoint, "resume").await.expect(200);
    let unsaid = app.on(&endpoint, "pause").await.expect(200);
    assert_eq!(time(&unsaid["paused_until"]), app.now().plus(week), "seven days if it is not said");
    app.on(&endpoint, "disable").await.expect(200);
    for verb in ["pause", "resume"] {
        assert_eq!(app.on(&endpoint, verb).await.code(409), "illegal_state", "it is disabled");
    }
    app.finish().await;
}

#[tokio::test]
async fn resends_and_replays_to_a_paused_endpoint_wait_too() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let events = app.succeed(&vendor, references(3)).await;
    app.until_count(&endpoint, "succeeded", 3).await;
    pause(&app, &hook, &endpoint, 30 * HOUR).await;
    let id = text(&app.delivery(&endpoint, &events[0]).await["id"]);
    app.call("POST", &format!("/v1/deliveries/{id}/resend"), &vendor.live, None).await.expect(202);
    let replay = json!({"since": "2026-11-24T00:00:00Z", "until": app.now().plus(MINUTE)});
    app.post(&format!("/v1/endpoints/{}/replay", endpoint.id), &vendor.live, replay).await.expect(202);
    app.pass(&hook, 26, HOUR).await;
    assert_eq!((hook.count(), &app.delivery(&endpoint, &events[0]).await["state"]), (3, &json!("pending")));
    app.on(&endpoint, "resume").await.expect(200);
    app.pass(&hook, 2, Duration::from_secs(2)).await;
    hook.wait(6).await;
    app.until_count(&endpoint, "succeeded", 3).await;
    app.finish().await;
}

#[tokio::test]
async fn disabling_ends_a_pause_and_lets_deadlines_run() {
    let (app, hook, _, endpoint, event) = failed_once(&[]).await;
    let deadline = time(&app.delivery(&endpoint, &event).await["deadline"]);
    pause(&app, &hook, &endpoint, 10 * HOUR).await;
    app.pass(&hook, 1, 4 * HOUR).await;
    app.on(&endpoint, "disable").await.expect(200);
    assert_eq!(time(&app.delivery(&endpoint, &event).await["deadline"]), deadline.plus(4 * HOUR), "it moves by what was paused");
    app.pass(&hook, 24, HOUR).await;
    app.pass(&hook, 2, Duration::from_secs(16)).await;
    let ended = app.until_state(&endpoint, &event, "exhausted").await;
    assert_eq!((&ended["end_reason"], time(&ended["deadline"])), (&json!("disabled"), deadline.plus(4 * HOUR)));
    app.finish().await;
}
