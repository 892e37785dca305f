//! More work than fits in memory, and changes in the middle of it: everything arrives, and arrives once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::harness::{TestApp, references, until};
use crate::receiver::{Answer, Receiver};

/// Waits until `count` different events have come and nothing is under way, and sees that each came once.
async fn each_once(app: &TestApp, hook: &Receiver, count: usize) {
    let ids = || hook.received().iter().map(|request| request.id().to_owned()).collect::<HashSet<_>>().len();
    until(&format!("{count} events"), || async { (ids() >= count).then_some(()) }).await;
    assert_eq!((app.quiet(|| hook.count()).await, ids()), (count, count), "each once");
}

#[tokio::test]
async fn small_windows_deliver_all() {
    let settings = [
        ("event_payload_max", "1000"),
        ("lane_window", "5"),
        ("lane_window_bytes", "2000"),
        ("window_bytes", "4000"),
        ("max_in_flight", "4"),
        ("max_in_flight_per_endpoint", "2"),
        ("unsettled_max", "2"),
    ];
    let app = TestApp::with(&settings).await;
    let mut hooks = Vec::new();
    for _ in 0..5 {
        let (vendor, hook) = (app.vendor().await, Receiver::start().await);
        app.connected(&vendor, &hook).await;
        hooks.push((vendor, hook));
    }
    for (vendor, _) in &hooks {
        app.succeed(vendor, references(200)).await;
    }
    for (_, hook) in &hooks {
        each_once(&app, hook, 200).await;
    }
    app.finish().await;
}

#[tokio::test]
async fn large_events_pass_through_a_window_one_by_one() {
    let settings = [("event_payload_max", "100KiB"), ("lane_window_bytes", "110KiB"), ("window_bytes", "120KiB")];
    let (app, hook) = (TestApp::with(&settings).await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.connected_with(&vendor, &hook, json!({"event_types": ["big.*"]})).await;
    for number in 0..20 {
        let event = json!({"vendor_id": vendor.id, "type": "big.one", "data": {"number": number, "fill": "x".repeat(99_000)}});
        app.post("/v1/events", &app.operator, event).await.expect(202);
    }
    each_once(&app, &hook, 20).await;
    app.finish().await;
}

#[tokio::test]
async fn a_backlog_beyond_the_window_keeps_its_order() {
    let (app, hook) = (TestApp::with(&[("lane_window", "20")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.connected_with(&vendor, &hook, json!({"max_in_flight": 1})).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.next([Answer::Gate(Arc::clone(&gate))]);
    app.succeed(&vendor, references(1000)).await;
    hook.wait(1).await;
    for number in 1001..=1100 {
        app.succeed_one(&vendor, &format!("R-{number}")).await;
    }
    gate.add_permits(1);
    each_once(&app, &hook, 1100).await;
    let order: Vec<_> = hook.received().iter().map(|request| request.reference()).collect();
    assert_eq!(order, references(1100).collect::<Vec<_>>());
    app.finish().await;
}

#[tokio::test]
async fn what_fails_at_full_speed_is_held_and_then_arrives_once() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    app.succeed(&vendor, (0..100).map(|number| format!("warm-{number}"))).await;
    app.until_count(&endpoint, "succeeded", 100).await;
    hook.forget();
    hook.always(Answer::status(503));
    app.succeed(&vendor, references(300)).await;
    let failed = app.quiet(|| hook.count()).await;
    assert!((10..10 + 32).contains(&failed), "a lane at full speed has at most its cap under way when it begins to hold: {failed}");
    hook.forget();
    hook.always(Answer::status(200));
    app.advance(Duration::from_secs(5));
    each_once(&app, &hook, 300).await;
    app.finish().await;
}

#[tokio::test]
async fn the_order_is_changed_in_the_middle() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    app.succeed(&vendor, references(200)).await;
    gate.add_permits(5);
    hook.wait(6).await;
    let path = format!("/v1/endpoints/{}", endpoint.id);
    for (ordering, permits) in [("strict", 50), ("none", 50), ("strict", 1000)] {
        app.call("PATCH", &path, &vendor.live, Some(json!({"ordering": ordering}))).await.expect(200);
        app.quiet(|| hook.count()).await;
        gate.add_permits(permits);
        app.quiet(|| hook.count()).await;
    }
    each_once(&app, &hook, 200).await;
    app.finish().await;
}

#[tokio::test]
async fn an_endpoint_is_disabled_and_enabled_in_the_middle() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    app.succeed(&vendor, references(200)).await;
    gate.add_permits(10);
    hook.wait(11).await;
    app.on(&endpoint, "disable").await.expect(200);
    app.quiet(|| hook.count()).await;
    gate.add_permits(1000);
    let before = app.quiet(|| hook.count()).await;
    assert!(before < 100, "{before}: what was under way ends, and no more begins");
    app.on(&endpoint, "enable").await.expect(200);
    // One handshake.
    each_once(&app, &hook, 201).await;
    app.finish().await;
}

#[tokio::test]
async fn restarts_in_the_middle_lose_and_repeat_nothing() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    for ordering in ["none", "strict"] {
        let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": ordering})).await;
        for round in 0..5 {
            app.succeed(&vendor, (0..200).map(|number| format!("{ordering}-{round}-{number}"))).await;
            app.restart().await;
        }
        each_once(&app, &hook, 1000).await;
        app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
    }
    app.finish().await;
}
