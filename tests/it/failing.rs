//! Endpoints that fail: their vendor is warned, a rule disables them, and what they missed is sent when they are back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ringback::domain::secret::Secret;
use ringback::wire::globaltopup;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{Endpoint, TestApp, Vendor, attempts, references, text, time};
use crate::receiver::{Answer, Received, Receiver};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// A minute of failing warns, ten disable, and a run takes five.
const QUICK: [(&str, &str); 4] = [("retry_schedule", "10s"), ("delivery_deadline", "5m"), ("warn_after", "1m"), ("disable_after", "10m")];

/// The reference of a recharge's event; none of a handshake.
fn reference(request: &Received) -> Option<String> {
    request.json()["data"]["reference_no"].as_str().map(str::to_owned)
}

/// What came of recharges, in order.
fn delivered(hook: &Receiver) -> Vec<String> {
    hook.received().iter().filter_map(reference).collect()
}

async fn alerts(app: &TestApp) -> u64 {
    app.get("/v1/overview", &app.operator).await.expect(200)["alerts_waiting"].as_u64().expect("a count")
}

async fn enable(app: &TestApp, endpoint: &Endpoint, body: Value) -> Value {
    app.post(&format!("/v1/endpoints/{}/enable", endpoint.id), &endpoint.token, body).await.expect(200)
}

/// The events of an endpoint's disabling in a feed.
async fn told(app: &TestApp, token: &str) -> Vec<Value> {
    let feed = app.get("/v1/events?types=endpoint.*", token).await.expect(200);
    feed["data"].as_array().expect("events").clone()
}

// --- Warned and disabled -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn failing_for_an_hour_warns_once_and_for_a_day_disables() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(503));
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    let seen = app.read_endpoint(&endpoint).await;
    assert_eq!((time(&seen["failing_since"]), time(&seen["disables_at"])), (app.now(), app.now().plus(24 * HOUR)));
    app.pass(&hook, 1, HOUR - Duration::from_secs(1)).await;
    assert_eq!(alerts(&app).await, 0, "no warning before the hour is over");
    app.pass(&hook, 1, Duration::from_secs(11)).await;
    assert_eq!(alerts(&app).await, 1, "one warning");
    app.pass(&hook, 22, HOUR).await;
    assert_eq!((alerts(&app).await, app.status(&endpoint).await), (1, json!("connected")), "no second warning");
    app.pass(&hook, 1, HOUR).await;
    app.until_state(&endpoint, &event, "exhausted").await;
    app.pass(&hook, 2, Duration::from_secs(10)).await;
    let disabled = app.until_status(&endpoint, "disabled").await;
    let reason = text(&disabled["status_reason"]);
    assert!(reason.contains(&text(&seen["failing_since"])), "{reason}");
    assert_eq!((alerts(&app).await, &disabled["disables_at"]), (2, &Value::Null));
    app.finish().await;
}

#[tokio::test]
async fn nothing_is_disabled_before_a_delivery_is_exhausted() {
    let (app, hook) = (TestApp::with(&[("delivery_deadline", "48h")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "R-1").await;
    app.pass(&hook, 47, HOUR).await;
    assert_eq!(app.status(&endpoint).await, "connected", "every delivery is still in time");
    app.pass(&hook, 1, HOUR).await;
    app.until_state(&endpoint, &event, "exhausted").await;
    app.pass(&hook, 2, Duration::from_secs(10)).await;
    app.until_status(&endpoint, "disabled").await;
    app.finish().await;
}

#[tokio::test]
async fn one_poisonous_event_beside_others_that_succeed_never_disables() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.script(|request| Answer::status(if reference(request).as_deref() == Some("poison") { 500 } else { 200 }));
    let poison = app.succeed_one(&vendor, "poison").await;
    for hour in 0..24 {
        app.succeed_one(&vendor, &format!("R-{hour}")).await;
        app.pass(&hook, 1, HOUR).await;
    }
    app.until_state(&endpoint, &poison, "exhausted").await;
    // A holiday, in which nothing comes that could succeed.
    app.pass(&hook, 50, HOUR).await;
    assert_eq!(app.status(&endpoint).await, "connected");
    assert!(told(&app, &vendor.live).await.is_empty());
    app.finish().await;
}

#[tokio::test]
async fn a_success_just_before_the_end_begins_the_count_anew() {
    let (app, hook) = (TestApp::with(&QUICK).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(500));
    app.succeed_one(&vendor, "R-1").await;
    app.pass(&hook, 11, Duration::from_secs(30)).await;
    let first = app.read_endpoint(&endpoint).await;
    assert_eq!((alerts(&app).await, app.count(&endpoint, "exhausted").await), (1, 1));
    app.pass(&hook, 8, Duration::from_secs(30)).await;
    hook.next([Answer::status(200)]);
    let good = app.succeed_one(&vendor, "R-2").await;
    app.until_state(&endpoint, &good, "succeeded").await;
    let seen = app.read_endpoint(&endpoint).await;
    assert_eq!((&seen["failing_since"], &seen["disables_at"]), (&Value::Null, &Value::Null));
    assert_eq!(alerts(&app).await, 2, "who was warned is told that it works again");
    app.succeed_one(&vendor, "R-3").await;
    app.pass(&hook, 19, Duration::from_secs(30)).await;
    let second = app.read_endpoint(&endpoint).await;
    assert_eq!((&second["status"], alerts(&app).await), (&json!("connected"), 3), "it is warned of anew");
    assert!(time(&second["failing_since"]) > time(&first["disables_at"]).min(time(&first["failing_since"])));
    app.pass(&hook, 2, Duration::from_secs(30)).await;
    app.until_status(&endpoint, "disabled").await;
    app.finish().await;
}

#[tokio::test]
async fn how_long_it_has_been_failing_survives_restarts() {
    let (mut app, hook) = (TestApp::with(&QUICK).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    let since = app.read_endpoint(&endpoint).await["failing_since"].clone();
    for _ in 0..9 {
        app.pass(&hook, 2, Duration::from_secs(30)).await;
        app.restart().await;
        assert_eq!(app.read_endpoint(&endpoint).await["failing_since"], since);
    }
    assert_eq!((alerts(&app).await, app.status(&endpoint).await), (1, json!("connected")), "warned once, over all restarts");
    app.pass(&hook, 3, Duration::from_secs(30)).await;
    app.until_status(&endpoint, "disabled").await;
    app.restart().await;
    let seen = app.read_endpoint(&endpoint).await;
    assert_eq!((&seen["status"], text(&seen["status_reason"]).contains(&text(&since))), (&json!("disabled"), true));
    app.finish().await;
}

#[tokio::test]
async fn warn_after_and_disable_after_are_obeyed() {
    let settings = [("retry_schedule", "5s"), ("delivery_deadline", "1m"), ("warn_after", "2m"), ("disable_after", "4m")];
    let (app, hook) = (TestApp::with(&settings).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(500));
    app.succeed_one(&vendor, "R-1").await;
    app.quiet(|| hook.count()).await;
    for (seconds, expected) in [(110, (0, "connected")), (20, (1, "connected")), (100, (1, "connected")), (20, (2, "disabled"))] {
        app.pass(&hook, seconds / 10, Duration::from_secs(10)).await;
        let seen = (alerts(&app).await, text(&app.status(&endpoint).await));
        assert_eq!((seen.0, seen.1.as_str()), expected, "after {seconds} s more");
    }
    app.finish().await;
}

#[tokio::test]
async fn paused_endpoints_and_those_of_disabled_vendors_are_not_judged() {
    let (app, hook) = (TestApp::with(&QUICK).await, Receiver::start().await);
    let (vendor, stopped) = (app.vendor().await, app.vendor().await);
    let (paused, other) = (app.connected(&vendor, &hook).await, app.connected(&stopped, &hook).await);
    hook.always(Answer::status(500));
    for vendor in [&vendor, &stopped] {
        app.succeed_one(vendor, "R-1").await;
    }
    app.pass(&hook, 11, Duration::from_secs(30)).await;
    assert_eq!(alerts(&app).await, 2);
    app.on(&paused, "pause").await.expect(200);
    let path = format!("/v1/vendors/{}", stopped.id);
    app.call("PATCH", &path, &app.operator, Some(json!({"disabled": true}))).await.expect(200);
    app.pass(&hook, 10, 2 * MINUTE).await;
    assert_eq!(alerts(&app).await, 2, "nobody is warned again");
    assert_eq!(app.status(&paused).await, "paused");
    app.on(&paused, "resume").await.expect(200);
    app.call("PATCH", &path, &app.operator, Some(json!({"disabled": false}))).await.expect(200);
    app.pass(&hook, 2, Duration::from_secs(10)).await;
    for endpoint in [&paused, &other] {
        let seen = app.read_endpoint(endpoint).await;
        assert_eq!((&seen["status"], &seen["failing_since"]), (&json!("connected"), &Value::Null), "the count begins anew");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_change_of_a_vendors_name_does_not_begin_the_count_anew() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(500)]);
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    let path = format!("/v1/vendors/{}", vendor.id);
    app.call("PATCH", &path, &app.operator, Some(json!({"name": "Corner shop", "disabled": false}))).await.expect(200);
    assert_eq!(time(&app.read_endpoint(&endpoint).await["failing_since"]), app.now());
    app.advance(Duration::from_secs(7));
    app.until_state(&endpoint, &event, "succeeded").await;
    app.finish().await;
}

// --- 410 -----------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn several_410s_at_once_disable_once() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    app.succeed(&vendor, references(10)).await;
    app.until_count(&endpoint, "succeeded", 10).await;
    hook.always(Answer::status(410).after(Duration::from_millis(100)));
    app.succeed(&vendor, (11..=18).map(|number| format!("R-{number}"))).await;
    let seen = app.until_status(&endpoint, "disabled").await;
    assert!(text(&seen["status_reason"]).contains("410"));
    app.quiet(|| hook.count()).await;
    assert!(hook.most_under_way() > 1, "they were under way at once");
    assert_eq!((told(&app, &vendor.live).await.len(), alerts(&app).await), (1, 1));
    app.finish_leaving(8).await;
}

#[tokio::test]
async fn a_410_of_an_address_that_was_left_disables_nothing() {
    let app = TestApp::start().await;
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &old).await;
    old.always(Answer::status(410).after(Duration::from_millis(400)));
    let event = app.succeed_one(&vendor, "R-1").await;
    old.wait(1).await;
    let path = format!("/v1/endpoints/{}", endpoint.id);
    app.call("PATCH", &path, &vendor.live, Some(json!({"url": new.url()}))).await.expect(200);
    app.until_attempts(&endpoint, &event, 1).await;
    app.quiet(|| new.count()).await;
    assert_eq!(app.status(&endpoint).await, "connected");
    app.advance(Duration::from_secs(7));
    app.until_state(&endpoint, &event, "succeeded").await;
    app.finish().await;
}

// --- endpoint.disabled -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_vendors_other_endpoints_of_the_mode_are_told_whatever_their_filter() {
    let app = TestApp::start().await;
    let hooks = [Receiver::start().await, Receiver::start().await, Receiver::start().await, Receiver::start().await];
    let [gone, standard, old, stranger] = &hooks;
    old.always(Answer::status(200).with_header("content-type", "application/json"));
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let failing = app.connected_with(&vendor, gone, json!({"url": format!("{}?token=hidden", gone.url())})).await;
    let told_too = app.connected_with(&vendor, standard, json!({"event_types": ["invoice.paid"]})).await;
    let encrypted = app.connected_with(&vendor, old, json!({"profile": "globaltopup", "event_types": ["recharge.failed"]})).await;
    let in_test = Vendor { live: vendor.test.clone(), ..vendor.clone() };
    app.connected_with(&in_test, stranger, json!({"event_types": ["*"]})).await;
    app.connected_with(&other, stranger, json!({"event_types": ["*"]})).await;
    gone.always(Answer::status(410));
    app.succeed_one(&vendor, "R-1").await;
    let (standard, old) = (standard.wait(1).await.remove(0), old.wait(1).await.remove(0));

    let event = told(&app, &vendor.live).await.remove(0);
    assert_eq!((&event["type"], &event["sequence"]), (&json!("endpoint.disabled"), &json!(2)), "it takes a number");
    let data = &event["data"];
    assert_eq!((&data["endpoint_id"], &data["url"], time(&data["disabled_at"])), (&json!(failing.id), &json!(gone.url()), app.now()));
    assert!(text(&data["reason"]).contains("410"));
    let body = standard.json();
    assert_eq!((&body["type"], &body["sequence"], &body["data"]), (&event["type"], &event["sequence"], data));
    let sealed = text(&old.json()["data"]);
    let opened = globaltopup::open(&Secret::new(encrypted.secret.clone()), &sealed).expect("it opens");
    let opened: Value = serde_json::from_slice(&opened).expect("JSON");
    assert_eq!((&opened["event"], &opened["data"]), (&event["type"], data));
    app.until_count(&told_too, "succeeded", 1).await;
    app.until_count(&encrypted, "succeeded", 1).await;
    app.quiet(|| stranger.count()).await;
    assert_eq!((stranger.count(), gone.count()), (0, 1), "neither others' endpoints nor the disabled one are told");
    assert!(told(&app, &vendor.test).await.is_empty() && told(&app, &other.live).await.is_empty());
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn a_person_who_disables_needs_not_be_told() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let (endpoint, other) = (app.connected(&vendor, &hook).await, app.connected(&vendor, &hook).await);
    app.on(&endpoint, "disable").await.expect(200);
    app.quiet(|| hook.count()).await;
    assert_eq!((told(&app, &vendor.live).await.len(), alerts(&app).await, app.count(&other, "succeeded").await), (0, 0, 0));
    app.finish().await;
}

// --- Enabled again -------------------------------------------------------------------------------------------------------

/// An endpoint that a rule has disabled with `R-1` to `R-3` pending, and that has missed `R-4` to `R-6`.
async fn disabled_by_rule(settings: Value) -> (TestApp, Receiver, Vendor, Endpoint) {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, settings).await;
    hook.always(Answer::status(500));
    app.succeed(&vendor, references(3)).await;
    app.quiet(|| hook.count()).await;
    hook.always(Answer::status(410));
    app.advance(10 * MINUTE);
    app.until_status(&endpoint, "disabled").await;
    app.succeed(&vendor, (4..=6).map(|number| format!("R-{number}"))).await;
    app.quiet(|| hook.count()).await;
    hook.forget();
    hook.always(Answer::status(200));
    (app, hook, vendor, endpoint)
}

#[tokio::test]
async fn enabling_sends_what_is_pending_in_order_however_long_ago_it_was() {
    for restarts in [false, true] {
        let (mut app, hook, _, endpoint) = disabled_by_rule(json!({"max_in_flight": 1})).await;
        // Long enough for a lane without work to be forgotten.
        app.pass(&hook, 1, 11 * MINUTE).await;
        if restarts {
            app.restart().await;
        }
        assert_eq!(enable(&app, &endpoint, json!({})).await, json!({"status": "connected", "missed": 3}));
        app.until_count(&endpoint, "succeeded", 3).await;
        assert_eq!(delivered(&hook), ["R-1", "R-2", "R-3"], "in order, and without waiting for their own times");
        assert_eq!(hook.received()[0].json()["type"], "webhook.test", "the handshake comes first");
        let seen = app.read_endpoint(&endpoint).await;
        assert_eq!((&seen["status_reason"], &seen["failing_since"]), (&Value::Null, &Value::Null));
        app.finish().await;
    }
}

#[tokio::test]
async fn a_failed_handshake_leaves_it_disabled_and_opens_nothing() {
    let (app, hook, _, endpoint) = disabled_by_rule(json!({})).await;
    hook.always(Answer::status(500));
    let path = format!("/v1/endpoints/{}/enable", endpoint.id);
    assert_eq!(app.post(&path, &endpoint.token, json!({"replay_missed": true})).await.code(422), "connect_failed");
    let seen = app.read_endpoint(&endpoint).await;
    assert_eq!((&seen["status"], &seen["backlog"]["open"]), (&json!("disabled"), &json!(3)));
    assert!(text(&seen["status_reason"]).contains("410"));
    hook.always(Answer::status(200));
    assert_eq!(enable(&app, &endpoint, json!({})).await["missed"], 3);
    app.until_count(&endpoint, "succeeded", 3).await;
    app.finish().await;
}

#[tokio::test]
async fn replay_missed_sends_what_was_missed_first_and_in_order() {
    for ordering in ["none", "strict"] {
        let (app, hook, vendor, endpoint) = disabled_by_rule(json!({"max_in_flight": 1, "ordering": ordering})).await;
        let answer = enable(&app, &endpoint, json!({"replay_missed": true})).await;
        assert_eq!(answer, json!({"status": "connected", "missed": 3}));
        app.succeed(&vendor, (7..=9).map(|number| format!("R-{number}"))).await;
        app.until_count(&endpoint, "succeeded", 9).await;
        let expected: Vec<_> = references(9).collect();
        assert_eq!(delivered(&hook), expected, "{ordering}: pending, then missed, then fresh");
        assert_eq!(enable(&app, &endpoint, json!({})).await["missed"], 0, "nothing is missed any more");
        app.finish().await;
    }
}

#[tokio::test]
async fn replay_missed_on_the_first_connect_sends_what_came_before_it() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.succeed_one(&vendor, "before it was made").await;
    let endpoint = app.endpoint(&vendor, json!({"url": hook.url(), "max_in_flight": 1})).await;
    app.succeed(&vendor, references(5)).await;
    let path = format!("/v1/endpoints/{}/connect", endpoint.id);
    let answer = app.post(&path, &vendor.live, json!({"replay_missed": true})).await.expect(200);
    assert_eq!(answer["missed"], 5);
    app.succeed_one(&vendor, "R-6").await;
    app.until_count(&endpoint, "succeeded", 6).await;
    assert_eq!(delivered(&hook), references(6).collect::<Vec<_>>());
    assert_eq!(app.connect(&endpoint).await["missed"], 0);
    app.finish().await;
}

/// Reports recharges one by one until it is told to stop; answers how many.
async fn report_on(app: &TestApp, vendor: &Vendor, from: usize, stop: &Semaphore) -> usize {
    let mut number = from;
    while stop.try_acquire().is_err() {
        app.succeed_one(vendor, &format!("R-{number}")).await;
        number += 1;
    }
    number - 1
}

#[tokio::test]
async fn events_that_come_while_it_is_enabled_are_not_missed() {
    for ordering in ["none", "strict"] {
        let (app, hook, vendor, endpoint) = disabled_by_rule(json!({"max_in_flight": 1, "ordering": ordering})).await;
        for thousand in 0..2 {
            app.succeed(&vendor, (0..1000).map(|number| format!("M-{}", thousand * 1000 + number))).await;
        }
        let stop = Semaphore::new(0);
        let enabling = async {
            let answer = enable(&app, &endpoint, json!({"replay_missed": true})).await;
            stop.add_permits(1);
            answer
        };
        let (last, answer) = tokio::join!(report_on(&app, &vendor, 7, &stop), enabling);
        assert!(answer["missed"].as_u64() >= Some(2003), "{answer}");
        let missed = (0..2000).map(|number| format!("M-{number}"));
        let expected: Vec<String> = references(6).chain(missed).chain((7..=last).map(|number| format!("R-{number}"))).collect();
        hook.wait(expected.len() + 1).await;
        assert!(delivered(&hook) == expected, "{ordering}: in order, without gaps");
        assert_eq!(enable(&app, &endpoint, json!({})).await["missed"], 0, "{ordering}");
        app.finish().await;
    }
}

#[tokio::test]
async fn enabling_a_strict_endpoint_begins_its_order_anew() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": "strict", "strict_hold": "1m"})).await;
    hook.always(Answer::status(500));
    let events = app.succeed(&vendor, references(4)).await;
    app.pass(&hook, 40, Duration::from_secs(10)).await;
    let first = app.delivery(&endpoint, &events[0]).await;
    assert!(attempts(&first).len() > 2 && !attempts(&app.delivery(&endpoint, &events[1]).await).is_empty(), "R-1 has stepped aside");
    app.on(&endpoint, "disable").await.expect(200);
    app.quiet(|| hook.count()).await;
    hook.always(Answer::status(200));
    hook.forget();
    enable(&app, &endpoint, json!({})).await;
    app.until_count(&endpoint, "succeeded", 4).await;
    assert_eq!((delivered(&hook), hook.most_under_way()), (references(4).collect(), 1));
    app.finish().await;
}

#[tokio::test]
async fn another_address_that_answers_its_handshake_begins_anew() {
    let (app, hook, new) = (TestApp::with(&[("retry_schedule", "1s,1s,1s,4h")]).await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "R-1").await;
    app.pass(&hook, 5, Duration::from_secs(2)).await;
    app.until_attempts(&endpoint, &event, 4).await;
    let path = format!("/v1/endpoints/{}", endpoint.id);
    let seen = app.call("PATCH", &path, &vendor.live, Some(json!({"url": new.url()}))).await.expect(200);
    assert_eq!((time(&seen["connected_at"]), &seen["failing_since"]), (app.now(), &Value::Null));
    app.until_state(&endpoint, &event, "succeeded").await;
    assert_eq!(delivered(&new), ["R-1"], "what is pending is due there");
    app.finish().await;
}

// --- Races -----------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_success_under_way_when_a_rule_acts_is_recorded_and_enables_nothing() {
    let (app, hook) = (TestApp::with(&QUICK).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let gate = Arc::new(Semaphore::new(0));
    let slow: Mutex<Option<Arc<Semaphore>>> = Mutex::new(Some(Arc::clone(&gate)));
    app.succeed(&vendor, references(2)).await;
    app.until_count(&endpoint, "succeeded", 2).await;
    hook.script(move |request| match reference(request).as_deref() {
        Some("slow") => slow.lock().take().map_or(Answer::status(500), Answer::Gate),
        Some("gone") => Answer::status(410),
        _ => Answer::status(500),
    });
    app.succeed_one(&vendor, "bad").await;
    app.pass(&hook, 8, Duration::from_secs(10)).await;
    assert_eq!(alerts(&app).await, 1, "its vendor is warned");
    let events = app.succeed(&vendor, ["slow".to_owned(), "gone".to_owned()]).await;
    app.until_status(&endpoint, "disabled").await;
    gate.add_permits(1);
    app.until_state(&endpoint, &events[0], "succeeded").await;
    assert_eq!((app.status(&endpoint).await, alerts(&app).await), (json!("disabled"), 2), "nobody is told that it works again");
    app.finish_leaving(2).await;
}

#[tokio::test]
async fn an_event_that_is_never_accepted_is_the_events_failure_and_not_the_endpoints() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.script(|request| Answer::status(if reference(request).as_deref() == Some("poison") { 500 } else { 200 }));
    let poison = app.succeed_one(&vendor, "poison").await;
    app.until_attempts(&endpoint, &poison, 1).await;
    let first = app.read_endpoint(&endpoint).await;
    assert!(!first["failing_since"].is_null(), "nothing else is known yet");
    for number in 0..30 {
        let good = app.succeed_one(&vendor, &format!("R-{number}")).await;
        app.until_state(&endpoint, &good, "succeeded").await;
        app.pass(&hook, 3, MINUTE).await;
        let seen = app.read_endpoint(&endpoint).await;
        assert_eq!((&seen["failing_since"], &seen["disables_at"]), (&Value::Null, &Value::Null), "after {number}");
    }
    assert!(attempts(&app.delivery(&endpoint, &poison).await).len() >= 4, "it keeps its own schedule");
    app.pass(&hook, 26, HOUR).await;
    app.until_state(&endpoint, &poison, "exhausted").await;
    assert_eq!((alerts(&app).await, app.status(&endpoint).await), (0, json!("connected")));
    app.finish().await;
}
