//! Replays: which events are sent again, how far they got, and what they never do to events that come meanwhile.

use std::sync::Arc;
use std::time::Duration;

use ringback::limits;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{Endpoint, TestApp, Vendor, attempts, references, text, time, until};
use crate::receiver::{Answer, Receiver};

const MINUTE: Duration = Duration::from_secs(60);
const LONG_AGO: &str = "2020-01-01T00:00:00Z";

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Sequence numbers in the order in which they came.
fn numbers(hook: &Receiver) -> Vec<i64> {
    hook.received().iter().map(|request| request.header("ringback-sequence").parse().expect("a number")).collect()
}

fn sorted(mut numbers: Vec<i64>) -> Vec<i64> {
    numbers.sort_unstable();
    numbers
}

impl TestApp {
    async fn ask_replay(&self, endpoint: &Endpoint, body: Value) -> crate::client::Reply {
        self.post(&format!("/v1/endpoints/{}/replay", endpoint.id), &endpoint.token, body).await
    }

    /// Starts a replay of everything so far, with more to say about it; answers its id.
    async fn replay(&self, endpoint: &Endpoint, mut body: Value) -> String {
        // What happens at the very time of the request is not part of it.
        self.advance(Duration::from_millis(1));
        if body["since"].is_null() {
            body["since"] = json!(LONG_AGO);
        }
        let started = self.ask_replay(endpoint, body).await.expect(202);
        assert_eq!((&started["state"], &started["done"], &started["endpoint_id"]), (&json!("running"), &json!(0), &json!(endpoint.id)));
        text(&started["id"])
    }

    async fn dry_run(&self, endpoint: &Endpoint, mut body: Value) -> u64 {
        body["dry_run"] = json!(true);
        self.ask_replay(endpoint, body).await.expect(200)["matched"].as_u64().expect("a count")
    }

    async fn read_replay(&self, endpoint: &Endpoint, id: &str) -> Value {
        self.get(&format!("/v1/replays/{id}"), &endpoint.token).await.expect(200)
    }

    async fn until_replay(&self, endpoint: &Endpoint, id: &str, is: impl Fn(&Value) -> bool) -> Value {
        until("the replay", || async { Some(self.read_replay(endpoint, id).await).filter(&is) }).await
    }

    async fn until_done(&self, endpoint: &Endpoint, id: &str) -> Value {
        self.until_replay(endpoint, id, |replay| replay["state"] == "done").await
    }

    /// The numbers that a replay sends, in their order.
    async fn replayed(&self, endpoint: &Endpoint, hook: &Receiver, body: Value) -> Vec<i64> {
        hook.forget();
        let id = self.replay(endpoint, body).await;
        let done = self.until_done(endpoint, &id).await;
        let sent = sorted(numbers(hook));
        assert_eq!((&done["matched"], &done["done"]), (&json!(sent.len()), &json!(sent.len())), "{done:#}");
        sent
    }

    /// A connected endpoint that has missed `count` events.
    async fn with_missed(&self, hook: &Receiver, mut settings: Value, count: usize) -> (Vendor, Endpoint) {
        let vendor = self.vendor().await;
        settings["url"] = json!(hook.url());
        let endpoint = self.endpoint(&vendor, settings).await;
        for first in (1..=count).step_by(1000) {
            self.succeed(&vendor, (first..=count.min(first + 999)).map(|number| format!("old-{number}"))).await;
        }
        self.connect(&endpoint).await;
        hook.forget();
        (vendor, endpoint)
    }

    /// Moves the clock step by step until the endpoint has nothing open.
    async fn drain(&self, endpoint: &Endpoint, step: Duration) {
        while self.count(endpoint, "pending").await > 0 {
            self.advance(step);
            self.get("/readyz", "").await.expect_text(200);
            tokio::task::yield_now().await;
        }
    }
}

// --- Which events ------------------------------------------------------------------------------------------------------

/// Ten events, a minute apart, and what became of them at one endpoint for `recharge.*`:
/// 1 success and 2 failed while it was not connected; 3 delivered; 4 cancelled; 5 pending; 6 success and 7 failed while
/// it was disabled; 8 `invoice.paid`, not for it; 9 delivered; 10 still on its way.
async fn ten_events(app: &TestApp, hook: &Receiver) -> (Vendor, Endpoint) {
    let vendor = app.vendor().await;
    let endpoint = app.endpoint(&vendor, json!({"url": hook.url()})).await;
    let report = async |reference: &str, status: &str| {
        app.advance(MINUTE);
        let report = json!({"vendor_id": vendor.id, "reference_no": reference, "status": status});
        let answer = app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
        text(&answer["results"][0]["event_id"])
    };
    hook.script(|request| match request.json()["data"]["reference_no"].as_str() {
        Some("R-4" | "R-5" | "R-10") => Answer::status(500).with_header("retry-after", "1"),
        _ => Answer::status(200),
    });
    report("R-1", "success").await;
    report("R-2", "failed").await;
    app.connect(&endpoint).await;
    let delivered = report("R-3", "success").await;
    app.until_state(&endpoint, &delivered, "succeeded").await;
    let failed = report("R-4", "success").await;
    let delivery = app.until_attempts(&endpoint, &failed, 1).await;
    app.call("POST", &format!("/v1/deliveries/{}/cancel", text(&delivery["id"])), &vendor.live, None).await.expect(202);
    let pending = report("R-5", "success").await;
    app.until_attempts(&endpoint, &pending, 1).await;
    app.on(&endpoint, "disable").await.expect(200);
    report("R-6", "success").await;
    report("R-7", "failed").await;
    app.advance(MINUTE);
    let own = json!({"vendor_id": vendor.id, "type": "invoice.paid", "data": {"reference_no": "R-8"}});
    app.post("/v1/events", &app.operator, own).await.expect(202);
    app.on(&endpoint, "enable").await.expect(200);
    let delivered = report("R-9", "failed").await;
    app.until_state(&endpoint, &delivered, "succeeded").await;
    let pending = report("R-10", "success").await;
    app.until_attempts(&endpoint, &pending, 1).await;
    app.advance(MINUTE);
    (vendor, endpoint)
}

#[tokio::test]
async fn a_dry_run_counts_what_a_replay_sends() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, endpoint) = ten_events(&app, &hook).await;
    let feed = app.get("/v1/events?limit=200", &vendor.live).await.expect(200);
    let at = |number: usize| feed["data"][number - 1]["timestamp"].clone();
    let all = json!(LONG_AGO);
    for (body, expected) in [
        (json!({"since": all, "only": "missed"}), vec![1, 2, 6, 7]),
        (json!({"since": all, "only": "failed"}), vec![4]),
        (json!({"since": all, "only": "all"}), vec![1, 2, 3, 4, 6, 7, 9]),
        (json!({"since": all}), vec![1, 2, 3, 4, 6, 7, 9]),
        (json!({"since": all, "event_types": ["recharge.failed"]}), vec![2, 7, 9]),
        (json!({"since": all, "event_types": ["recharge.failed"], "only": "missed"}), vec![2, 7]),
        (json!({"since": all, "event_types": ["recharge.failed"], "only": "failed"}), vec![]),
        (json!({"since": all, "event_types": ["invoice.*"]}), vec![]),
        (json!({"since": at(2), "until": at(6)}), vec![2, 3, 4]),
        (json!({"since": at(2), "until": at(6), "only": "missed"}), vec![2]),
        (json!({"since": at(4), "until": at(5), "only": "failed"}), vec![4]),
        (json!({"since": at(7), "until": at(8)}), vec![7]),
        (json!({"since": at(8), "until": at(9)}), vec![]),
    ] {
        assert_eq!(app.dry_run(&endpoint, body.clone()).await, expected.len() as u64, "{body}");
    }
    assert_eq!(app.get("/v1/replays", &vendor.live).await.expect(200)["data"], json!([]), "a dry run starts nothing");
    assert_eq!(app.replayed(&endpoint, &hook, json!({"since": at(2), "until": at(6), "only": "missed"})).await, [2]);
    assert_eq!(app.replayed(&endpoint, &hook, json!({"only": "missed"})).await, [1, 6, 7], "what was replayed is missed no more");
    hook.always(Answer::status(200));
    assert_eq!(app.replayed(&endpoint, &hook, json!({"only": "failed"})).await, [4]);
    assert_eq!(app.replayed(&endpoint, &hook, json!({"event_types": ["recharge.failed"]})).await, [2, 7, 9]);
    for only in ["missed", "failed"] {
        assert_eq!(app.dry_run(&endpoint, json!({"since": LONG_AGO, "only": only})).await, 0, "{only}");
    }
    app.drain(&endpoint, MINUTE).await;
    app.finish().await;
}

#[tokio::test]
async fn what_another_filter_kept_away_is_missed_under_the_present_one() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, endpoint) = ten_events(&app, &hook).await;
    let path = format!("/v1/endpoints/{}", endpoint.id);
    let patch = async |types: Value| app.call("PATCH", &path, &vendor.live, Some(json!({"event_types": types}))).await.expect(200);
    let missed = json!({"since": LONG_AGO, "only": "missed"});
    patch(json!(["invoice.*"])).await;
    assert_eq!(app.dry_run(&endpoint, missed.clone()).await, 1);
    patch(json!(["*"])).await;
    assert_eq!(app.dry_run(&endpoint, missed).await, 5);
    hook.always(Answer::status(200));
    assert_eq!(app.replayed(&endpoint, &hook, json!({"only": "missed"})).await, [1, 2, 6, 7, 8]);
    app.drain(&endpoint, MINUTE).await;
    app.finish().await;
}

#[tokio::test]
async fn a_replayed_event_has_the_same_id_and_the_same_bytes() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_state(&endpoint, &event, "succeeded").await;
    let id = app.replay(&endpoint, json!({})).await;
    app.until_done(&endpoint, &id).await;
    let received = hook.received();
    assert_eq!((received.len(), received[0].id(), &received[0].body), (2, received[1].id(), &received[1].body));
    let delivery = app.delivery(&endpoint, &event).await;
    assert_eq!((&delivery["run"], attempts(&delivery).len(), &delivery["state"]), (&json!(2), 2, &json!("succeeded")));
    app.finish().await;
}

// --- What is refused ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn only_a_connected_or_paused_endpoint_can_be_replayed_to() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.endpoint(&vendor, json!({"url": hook.url()})).await;
    let (body, dry) = (json!({"since": LONG_AGO}), json!({"since": LONG_AGO, "dry_run": true}));
    assert_eq!(app.ask_replay(&endpoint, body.clone()).await.code(409), "illegal_state", "not connected");
    app.ask_replay(&endpoint, dry.clone()).await.expect(200);
    app.connect(&endpoint).await;
    app.ask_replay(&endpoint, body.clone()).await.expect(202);
    app.on(&endpoint, "pause").await.expect(200);
    app.ask_replay(&endpoint, body.clone()).await.expect(202);
    app.on(&endpoint, "disable").await.expect(200);
    assert_eq!(app.ask_replay(&endpoint, body.clone()).await.code(409), "illegal_state", "disabled");
    app.ask_replay(&endpoint, dry).await.expect(200);
    app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
    assert_eq!(app.ask_replay(&endpoint, body).await.code(404), "not_found");
    app.finish().await;
}

#[tokio::test]
async fn so_many_replays_to_one_endpoint_run_at_once_and_cost_nothing_while_they_wait() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (_, endpoint) = app.with_missed(&hook, json!({}), 3).await;
    app.on(&endpoint, "pause").await.expect(200);
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(app.replay(&endpoint, json!({"only": "missed"})).await);
    }
    assert_eq!(app.ask_replay(&endpoint, json!({"since": LONG_AGO})).await.code(409), "illegal_state");
    app.quiet(|| hook.count()).await;
    let commits = async || {
        let metrics = app.get("/metrics", &app.operator).await;
        let line = metrics.text.lines().find_map(|line| line.strip_prefix("ringback_commit_batch_size_count "));
        line.expect("commits are counted").to_owned()
    };
    let before = commits().await;
    for _ in 0..8 {
        app.advance(seconds(1));
        app.quiet(|| hook.count()).await;
    }
    assert_eq!(commits().await, before, "nothing is written for a replay that waits");
    app.on(&endpoint, "resume").await.expect(200);
    app.advance(seconds(1));
    for id in &ids {
        app.until_done(&endpoint, id).await;
    }
    assert_eq!(sorted(numbers(&hook)), [1, 2, 3], "what one of them sent is missed no more");
    let id = app.replay(&endpoint, json!({})).await;
    app.until_done(&endpoint, &id).await;
    app.finish().await;
}

#[tokio::test]
async fn all_problems_of_a_replay_are_told_at_once() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let now = json!(app.now());
    for (body, fields) in [
        (json!({}), vec!["since"]),
        (json!({"since": "yesterday"}), vec!["since"]),
        (json!({"since": now}), vec!["since"]),
        (json!({"since": "2026-11-24T00:00:00Z", "until": "2026-11-23T00:00:00Z"}), vec!["since"]),
        (
            json!({"since": LONG_AGO, "until": 5, "only": "some", "event_types": ["Nope"], "dry_run": "perhaps", "x": 1}),
            vec!["until", "only", "event_types[0]", "dry_run", "x"],
        ),
    ] {
        let answer = app.ask_replay(&endpoint, body.clone()).await;
        answer.code(422);
        let told: Vec<_> = answer.problems().into_iter().map(|(field, _)| field).collect();
        assert_eq!(told, fields, "{body}");
    }
    app.finish().await;
}

// --- Progress ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_replay_tells_how_far_it_got() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, endpoint) = app.with_missed(&hook, json!({}), 7).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    let id = app.replay(&endpoint, json!({"only": "missed"})).await;
    for done in 0..7 {
        let replay = app.until_replay(&endpoint, &id, |replay| replay["done"] == done).await;
        assert_eq!((&replay["matched"], &replay["state"], &replay["only"]), (&json!(7), &json!("running"), &json!("missed")));
        gate.add_permits(1);
    }
    let done = app.until_done(&endpoint, &id).await;
    assert_eq!((&done["matched"], &done["done"]), (&json!(7), &json!(7)));
    let other = app.replay(&endpoint, json!({"only": "missed"})).await;
    let listed = app.get("/v1/replays?limit=1", &vendor.live).await.expect(200);
    assert_eq!(listed["data"][0]["id"], json!(other), "newest first");
    let rest = app.get(&format!("/v1/replays?limit=1&cursor={}", text(&listed["next_cursor"])), &vendor.live).await.expect(200);
    assert_eq!(rest["data"][0], done);
    assert_eq!(app.until_done(&endpoint, &other).await["matched"], 0, "one that is about nothing is done at once");
    app.finish().await;
}

#[tokio::test]
async fn a_replay_goes_on_after_a_restart() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, endpoint) = app.with_missed(&hook, json!({}), 2500).await;
    let id = app.replay(&endpoint, json!({"only": "missed"})).await;
    for part in [300, 1200, 2200] {
        hook.wait(part).await;
        app.restart().await;
    }
    let done = app.until_done(&endpoint, &id).await;
    assert_eq!((&done["matched"], &done["done"]), (&json!(2500), &json!(2500)));
    assert_eq!(sorted(numbers(&hook)), (1..=2500).collect::<Vec<_>>(), "an orderly stop repeats nothing");
    assert_eq!(app.count(&endpoint, "pending").await, 0);
    app.succeed_one(&vendor, "new").await;
    hook.wait(2501).await;
    app.until_count(&endpoint, "pending", 0).await;
    app.finish().await;
}

// --- Ends --------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_cancelled_replay_sends_nothing_more() {
    let window = limits::REPLAY_OPEN_MAX;
    for (late, state) in [(500, "cancelled"), (200, "succeeded")] {
        let (app, hook) = (TestApp::start().await, Receiver::start().await);
        let (vendor, endpoint) = app.with_missed(&hook, json!({}), 1500).await;
        let gate = Arc::new(Semaphore::new(0));
        let behind = Arc::clone(&gate);
        hook.script(move |_| Answer::GateThen(Arc::clone(&behind), late, String::new()));
        let id = app.replay(&endpoint, json!({"only": "missed"})).await;
        hook.wait(1).await;
        let held = app.quiet(|| hook.count()).await;
        app.call("DELETE", &format!("/v1/replays/{id}"), &vendor.live, None).await.expect(204);
        assert_eq!(app.count(&endpoint, "pending").await, 0, "what was open is cancelled");
        gate.add_permits(10_000);
        until("what was under way comes back", || async { (hook.under_way() == 0).then_some(()) }).await;
        for _ in 0..40 {
            app.advance(seconds(5));
            app.get("/readyz", "").await.expect_text(200);
        }
        assert_eq!(app.quiet(|| hook.count()).await, held, "nothing more is sent");
        let replay = app.read_replay(&endpoint, &id).await;
        assert_eq!((&replay["state"], &replay["matched"]), (&json!("cancelled"), &json!(1500)), "{replay:#}");
        let first = app.get("/v1/events?limit=1", &vendor.live).await.expect(200);
        let delivery = app.until_state(&endpoint, &text(&first["data"][0]["id"]), state).await;
        assert_eq!(attempts(&delivery).len(), 1, "its attempt is kept: {delivery:#}");
        app.call("DELETE", &format!("/v1/replays/{id}"), &vendor.live, None).await.expect(204);
        let again = app.replay(&endpoint, json!({"only": "failed"})).await;
        hook.always(Answer::status(200));
        let done = app.until_done(&endpoint, &again).await;
        assert_eq!(done["matched"], if late == 200 { window - held } else { window }, "what was cancelled can be replayed");
        assert_eq!(app.call("DELETE", &format!("/v1/replays/{again}"), &vendor.live, None).await.code(409), "illegal_state");
        app.finish().await;
    }
}

#[tokio::test]
async fn replays_of_a_deleted_endpoint_end() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, endpoint) = app.with_missed(&hook, json!({}), 1500).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    let ids = [app.replay(&endpoint, json!({"only": "missed"})).await, app.replay(&endpoint, json!({"only": "all"})).await];
    hook.wait(1).await;
    app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
    gate.add_permits(100);
    for id in ids {
        let ended = app.until_replay(&endpoint, &id, |replay| replay["state"] != "running").await;
        assert_eq!(ended["state"], "cancelled");
        app.advance(seconds(1));
    }
    app.finish().await;
}

#[tokio::test]
async fn runs_of_a_replay_are_retried_with_a_deadline_of_their_own() {
    let (app, hook) = (TestApp::with(&[("delivery_deadline", "10m")]).await, Receiver::start().await);
    let (vendor, endpoint) = app.with_missed(&hook, json!({}), 2).await;
    app.advance(Duration::from_secs(3600));
    hook.script(|request| Answer::status(if request.reference() == "old-1" { 500 } else { 200 }));
    hook.next([Answer::status(503), Answer::status(503)]);
    let id = app.replay(&endpoint, json!({"only": "missed"})).await;
    hook.wait(2).await;
    let feed = app.get("/v1/events", &vendor.live).await.expect(200);
    let event = |at: usize| text(&feed["data"][at]["id"]);
    let first = app.until_attempts(&endpoint, &event(0), 1).await;
    assert_eq!(time(&first["deadline"]), app.now().plus(seconds(600)), "ten minutes from when it was asked for");
    let second = app.until_attempts(&endpoint, &event(1), 1).await;
    app.advance(seconds(6));
    let second = app.until_state(&endpoint, &text(&second["event_id"]), "succeeded").await;
    assert_eq!(attempts(&second).len(), 2);
    assert_eq!(app.until_replay(&endpoint, &id, |replay| replay["done"] == 1).await["state"], "running");
    app.drain(&endpoint, seconds(10)).await;
    let first = app.until_state(&endpoint, &event(0), "exhausted").await;
    assert!(attempts(&first).len() > 3, "{first:#}");
    let done = app.until_done(&endpoint, &id).await;
    assert_eq!((&done["matched"], &done["done"]), (&json!(2), &json!(2)), "however its runs ended");
    app.finish().await;
}

// --- Waiting -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_paused_endpoints_replay_waits() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (_, endpoint) = app.with_missed(&hook, json!({}), 50).await;
    app.on(&endpoint, "pause").await.expect(200);
    let id = app.replay(&endpoint, json!({"only": "missed"})).await;
    app.advance(MINUTE);
    assert_eq!(app.quiet(|| hook.count()).await, 0);
    let gate = Arc::new(Semaphore::new(10));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    app.on(&endpoint, "resume").await.expect(200);
    app.advance(seconds(1));
    app.until_replay(&endpoint, &id, |replay| replay["done"] == 10).await;
    app.on(&endpoint, "pause").await.expect(200);
    app.quiet(|| hook.count()).await;
    gate.add_permits(1000);
    let sent = app.quiet(|| hook.count()).await;
    assert!(sent < 50, "what is under way ends, and no more begins: {sent}");
    app.advance(Duration::from_secs(48 * 3600));
    assert_eq!(app.quiet(|| hook.count()).await, sent);
    app.on(&endpoint, "resume").await.expect(200);
    app.advance(seconds(1));
    app.until_done(&endpoint, &id).await;
    assert_eq!(app.count(&endpoint, "succeeded").await, 50, "deadlines have moved by the time paused");
    app.finish().await;
}

#[tokio::test]
async fn a_replay_keeps_the_endpoints_rate_limit() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (_, endpoint) = app.with_missed(&hook, json!({"rate_limit_per_second": 4}), 12).await;
    let id = app.replay(&endpoint, json!({"only": "missed"})).await;
    for count in 1..=12 {
        hook.wait(count).await;
        assert_eq!(app.quiet(|| hook.count()).await, count);
        app.advance(Duration::from_millis(250));
    }
    app.until_done(&endpoint, &id).await;
    app.finish().await;
}

#[tokio::test]
async fn a_replay_takes_half_of_the_requests_that_may_be_under_way() {
    for (most, share) in [(1, 1), (2, 1), (6, 3)] {
        let (app, hook) = (TestApp::start().await, Receiver::start().await);
        let (_, endpoint) = app.with_missed(&hook, json!({"max_in_flight": most}), 200).await;
        let id = app.replay(&endpoint, json!({"only": "missed"})).await;
        app.until_done(&endpoint, &id).await;
        hook.forget();
        let gate = Arc::new(Semaphore::new(0));
        hook.always(Answer::Gate(Arc::clone(&gate)));
        let id = app.replay(&endpoint, json!({})).await;
        hook.wait(share).await;
        assert_eq!(app.quiet(|| hook.under_way()).await, share, "of {most}");
        gate.add_permits(200);
        app.until_done(&endpoint, &id).await;
        assert_eq!(hook.most_under_way(), share);
        app.finish().await;
    }
}

// --- Fresh events --------------------------------------------------------------------------------------------------------

/// Reports events one by one and sees each of them arrive, while nothing of the replay's does.
async fn overtake(app: &TestApp, vendor: &Vendor, endpoint: &Endpoint, count: usize) {
    for reference in references(count) {
        let event = app.succeed_one(vendor, &reference).await;
        app.until_state(endpoint, &event, "succeeded").await;
    }
}

#[tokio::test]
async fn fresh_events_overtake_a_replay_to_a_slow_receiver() {
    // A strict endpoint takes one at a time.
    for (ordering, count) in [("none", 3000), ("strict", 600)] {
        let (app, hook) = (TestApp::start().await, Receiver::start().await);
        let (vendor, endpoint) = app.with_missed(&hook, json!({"ordering": ordering}), count).await;
        let gate = Arc::new(Semaphore::new(0));
        let behind = Arc::clone(&gate);
        hook.script(move |request| match request.reference().starts_with("old-") {
            true => Answer::Gate(Arc::clone(&behind)),
            false => Answer::status(200),
        });
        let id = app.replay(&endpoint, json!({"only": "missed"})).await;
        hook.wait(1).await;
        app.quiet(|| hook.count()).await;
        // As it is at the start of a lane, and again after it has got faster.
        for (fresh, permits) in [(20, 100), (40, count - 100)] {
            overtake(&app, &vendor, &endpoint, fresh).await;
            let before = hook.count();
            gate.add_permits(permits);
            hook.wait(before + permits / 2).await;
        }
        assert_eq!(app.until_done(&endpoint, &id).await["done"], count);
        app.finish().await;
    }
}

#[tokio::test]
async fn fresh_events_do_not_wait_for_a_replay_that_the_receiver_rejects() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, endpoint) = app.with_missed(&hook, json!({}), 100).await;
    hook.script(|request| Answer::status(if request.reference().starts_with("old-") { 400 } else { 200 }));
    app.replay(&endpoint, json!({"only": "missed"})).await;
    app.quiet(|| hook.count()).await;
    overtake(&app, &vendor, &endpoint, 5).await;
    app.quiet(|| hook.count()).await;
    app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
    app.advance(seconds(15));
    until("what was open is cancelled", || async { (app.open_runs() == 0).then_some(()) }).await;
    app.finish().await;
}

#[tokio::test]
async fn a_strict_endpoints_replay_keeps_its_order() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, endpoint) = app.with_missed(&hook, json!({"ordering": "strict"}), 300).await;
    let failures = Arc::new(Semaphore::new(4));
    hook.script(move |request| match (request.reference().as_str(), failures.try_acquire()) {
        ("old-150", Ok(permit)) => {
            permit.forget();
            Answer::status(500)
        }
        _ => Answer::status(200),
    });
    let id = app.replay(&endpoint, json!({"only": "missed"})).await;
    for wait in [5, 30, 120, 600] {
        app.until_replay(&endpoint, &id, |replay| replay["done"] == 149).await;
        app.quiet(|| hook.count()).await;
        // Others go on meanwhile.
        let event = app.succeed_one(&vendor, &format!("new-{wait}")).await;
        app.until_state(&endpoint, &event, "succeeded").await;
        app.advance(seconds(wait * 12 / 10 + 1));
    }
    app.until_done(&endpoint, &id).await;
    let order: Vec<i64> = numbers(&hook).into_iter().filter(|number| *number <= 300).collect();
    let expected: Vec<i64> = (1..150).chain([150; 4]).chain(150..=300).collect();
    assert_eq!(order, expected);
    app.finish().await;
}

// --- Rare days ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_largest_events_are_replayed_too() {
    let settings = [("event_payload_max", "100KiB"), ("lane_window_bytes", "110KiB"), ("window_bytes", "120KiB")];
    let (app, hook) = (TestApp::with(&settings).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"event_types": ["big.*"]})).await;
    for number in 0..10 {
        let event = json!({"vendor_id": vendor.id, "type": "big.one", "data": {"number": number, "fill": "x".repeat(99_000)}});
        app.post("/v1/events", &app.operator, event).await.expect(202);
    }
    hook.wait(10).await;
    app.until_count(&endpoint, "succeeded", 10).await;
    assert_eq!(app.replayed(&endpoint, &hook, json!({})).await, (1..=10).collect::<Vec<_>>());
    app.finish().await;
}

#[tokio::test]
async fn a_replay_goes_on_after_the_clock_was_set_back() {
    for ordering in ["none", "strict"] {
        let (app, hook) = (TestApp::start().await, Receiver::start().await);
        let (_, endpoint) = app.with_missed(&hook, json!({"ordering": ordering}), 400).await;
        let gate = Arc::new(Semaphore::new(0));
        hook.always(Answer::Gate(Arc::clone(&gate)));
        let id = app.replay(&endpoint, json!({"only": "missed"})).await;
        hook.wait(1).await;
        app.quiet(|| hook.count()).await;
        app.clock.set_back(seconds(7200));
        gate.add_permits(1000);
        app.advance(seconds(15));
        app.until_done(&endpoint, &id).await;
        app.finish().await;
    }
}

#[tokio::test]
async fn a_lane_that_is_released_sends_the_rest_of_a_replay() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (_, endpoint) = app.with_missed(&hook, json!({"max_in_flight": 1}), 30).await;
    hook.always(Answer::status(500));
    let id = app.replay(&endpoint, json!({"only": "missed"})).await;
    assert_eq!(app.quiet(|| hook.count()).await, 10, "ten failures in a row hold the lane");
    for wait in [5, 30, 60, 60, 60] {
        app.advance(seconds(wait));
        app.quiet(|| hook.count()).await;
    }
    hook.always(Answer::status(200));
    app.advance(seconds(60));
    let done = app.until_done(&endpoint, &id).await;
    assert_eq!(done["done"], 30, "none waits for a time of its own");
    app.finish().await;
}

#[tokio::test]
async fn a_replay_hides_no_deadline_that_has_passed() {
    let (app, hook) = (TestApp::with(&[("delivery_deadline", "1h")]).await, Receiver::start().await);
    let (vendor, endpoint) = app.with_missed(&hook, json!({}), 5).await;
    hook.always(Answer::status(500));
    let events = app.succeed(&vendor, references(3)).await;
    for event in &events {
        app.until_attempts(&endpoint, event, 1).await;
    }
    app.advance(seconds(1800));
    app.replay(&endpoint, json!({"only": "missed"})).await;
    app.quiet(|| hook.count()).await;
    app.on(&endpoint, "disable").await.expect(200);
    app.quiet(|| hook.count()).await;
    app.advance(seconds(1815));
    // Its lane was forgotten meanwhile: the first sweep reads it again, the second one acts.
    app.quiet(|| hook.count()).await;
    app.advance(seconds(15));
    for event in &events {
        let delivery = app.until_state(&endpoint, event, "exhausted").await;
        assert_eq!(delivery["end_reason"], "disabled");
    }
    assert_eq!(app.count(&endpoint, "pending").await, 5);
    for wait in [1815, 15] {
        app.advance(seconds(wait));
        app.quiet(|| hook.count()).await;
    }
    app.until_count(&endpoint, "pending", 0).await;
    app.finish().await;
}

// --- Resends -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_resend_goes_to_its_endpoint_alone_and_is_retried() {
    let (app, hook, other) = (TestApp::start().await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let (endpoint, second) = (app.connected(&vendor, &hook).await, app.connected(&vendor, &other).await);
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = app.until_state(&endpoint, &event, "succeeded").await;
    app.until_state(&second, &event, "succeeded").await;
    hook.next([500, 503].map(Answer::status));
    let path = format!("/v1/deliveries/{}/resend", text(&delivery["id"]));
    let resent = app.call("POST", &path, &vendor.live, None).await.expect(202);
    assert_eq!((&resent["state"], &resent["run"]), (&json!("pending"), &json!(2)));
    assert_eq!(resent["first_succeeded_at"], delivery["first_succeeded_at"], "that it once succeeded is not forgotten");
    for (count, wait) in [(2, 6), (3, 36)] {
        app.until_attempts(&endpoint, &event, count).await;
        assert_eq!(app.call("POST", &path, &vendor.live, None).await.code(409), "illegal_state", "it is pending");
        app.advance(seconds(wait));
    }
    let resent = app.until_state(&endpoint, &event, "succeeded").await;
    assert_eq!((attempts(&resent).len(), hook.count(), app.quiet(|| other.count()).await), (4, 4, 1));
    app.on(&endpoint, "disable").await.expect(200);
    assert_eq!(app.call("POST", &path, &vendor.live, None).await.code(409), "illegal_state", "it is disabled");
    app.finish().await;
}
