//! Lanes on a clock that stands still until it is moved: holding, strict order, and their limits.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::harness::{TestApp, attempts, references};
use crate::receiver::{Answer, Received, Receiver};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn names(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::reference).collect()
}

fn numbered(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|number| format!("R-{number}")).collect()
}

/// A lane that holds: 15 events, of which ten have failed once.
async fn holding(settings: &[(&'static str, &str)]) -> (TestApp, Receiver, crate::harness::Endpoint, Vec<String>) {
    let (app, hook) = (TestApp::with(settings).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"max_in_flight": 1})).await;
    hook.always(Answer::status(500));
    let events = app.succeed(&vendor, references(15)).await;
    assert_eq!(app.quiet(|| hook.count()).await, 10, "ten failures in a row hold the lane");
    assert_eq!(names(&hook.received()), numbered(1..=10));
    hook.forget();
    (app, hook, endpoint, events)
}

#[tokio::test]
async fn a_lane_that_holds_probes_with_the_oldest_and_the_newest_and_releases_all_in_order() {
    let (app, hook, endpoint, events) = holding(&[]).await;
    for (count, wait) in [5, 30, 60, 60, 60].into_iter().enumerate() {
        app.advance(seconds(wait) - Duration::from_millis(1));
        assert_eq!(app.quiet(|| hook.count()).await, count, "no probe before {wait} s");
        app.advance(Duration::from_millis(1));
        hook.wait(count + 1).await;
        assert_eq!(app.quiet(|| hook.count()).await, count + 1, "one probe after {wait} s");
    }
    assert_eq!(names(&hook.received()), ["R-1", "R-15", "R-2", "R-14", "R-3"], "no probe tries what the one before has tried");
    let last = app.delivery(&endpoint, &events[10]).await;
    assert_eq!(attempts(&last).len(), 0, "the others spend no attempt");
    hook.forget();
    hook.always(Answer::status(200));
    app.advance(seconds(60));
    app.until_count(&endpoint, "succeeded", 15).await;
    let mut delivered = names(&hook.received());
    let probe = delivered.remove(0);
    assert_eq!(delivered, numbered(1..=15).into_iter().filter(|name| *name != probe).collect::<Vec<_>>(), "in order, whatever their times");
    app.finish().await;
}

#[tokio::test]
async fn a_probe_under_way_is_the_only_one() {
    let (app, hook, endpoint, _) = holding(&[]).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    app.advance(seconds(5));
    hook.wait(1).await;
    for _ in 0..4 {
        app.advance(seconds(60));
        assert_eq!(app.quiet(|| hook.count()).await, 1);
    }
    gate.add_permits(100);
    app.until_count(&endpoint, "succeeded", 15).await;
    assert_eq!(hook.most_under_way(), 1);
    app.finish().await;
}

#[tokio::test]
async fn new_events_wait_behind_a_lane_that_holds() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"max_in_flight": 1})).await;
    hook.always(Answer::status(500));
    app.succeed(&vendor, references(12)).await;
    assert_eq!(app.quiet(|| hook.count()).await, 10);
    app.succeed(&vendor, (13..=300).map(|number| format!("R-{number}"))).await;
    assert_eq!(app.quiet(|| hook.count()).await, 10);
    hook.forget();
    hook.always(Answer::status(200));
    app.advance(seconds(5));
    hook.wait(300).await;
    assert_eq!(names(&hook.received()), numbered(1..=300));
    assert_eq!(app.quiet(|| hook.count()).await, 300);
    assert_eq!(app.count(&endpoint, "pending").await, 0);
    app.finish().await;
}

#[tokio::test]
async fn what_a_lane_held_to_the_end_says_so() {
    let (app, hook, endpoint, events) = holding(&[("delivery_deadline", "2m")]).await;
    for _ in 0..14 {
        app.advance(seconds(10));
        app.quiet(|| hook.count()).await;
    }
    app.until_count(&endpoint, "exhausted", 15).await;
    for event in &events[1..] {
        assert_eq!(app.delivery(&endpoint, event).await["end_reason"], "held");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_held_lane_goes_on_holding_after_a_restart_or_finds_out_again() {
    let (mut app, hook, endpoint, _) = holding(&[]).await;
    app.restart().await;
    let sent = app.quiet(|| hook.count()).await;
    assert!(sent <= 10, "a restart spends at most the failures that it takes to hold: {sent}");
    hook.always(Answer::status(200));
    app.advance(seconds(60));
    app.until_count(&endpoint, "succeeded", 15).await;
    app.finish().await;
}

// --- Strict order ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn strict_order_is_one_at_a_time_by_sequence_number() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": "strict"})).await;
    app.succeed(&vendor, (1..=100).map(|number| format!("R-{number}"))).await;
    for number in 101..=120 {
        app.succeed_one(&vendor, &format!("R-{number}")).await;
    }
    app.until_count(&endpoint, "succeeded", 120).await;
    assert_eq!(names(&hook.received()), numbered(1..=120));
    assert_eq!(hook.most_under_way(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_strict_head_that_fails_holds_the_others_until_it_is_through() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": "strict"})).await;
    hook.next([500; 4].map(Answer::status));
    let events = app.succeed(&vendor, references(5)).await;
    for count in 1..5 {
        let head = app.until_attempts(&endpoint, &events[0], count).await;
        assert_eq!(app.quiet(|| hook.count()).await, count, "only the head is tried");
        app.advance_to(&head["next_attempt_at"]);
    }
    app.until_count(&endpoint, "succeeded", 5).await;
    assert_eq!(names(&hook.received())[3..], ["R-1", "R-1", "R-2", "R-3", "R-4", "R-5"]);
    app.finish().await;
}

#[tokio::test]
async fn a_strict_head_steps_aside_after_strict_hold() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": "strict", "strict_hold": "1m"})).await;
    assert_eq!(app.read_endpoint(&endpoint).await["strict_hold"], "1m");
    hook.script(|request| Answer::status(if request.reference() == "R-1" { 500 } else { 200 }));
    let events = app.succeed(&vendor, references(4)).await;
    app.until_attempts(&endpoint, &events[0], 1).await;
    for (count, wait) in [(2, 6), (3, 36)] {
        app.advance(seconds(wait));
        app.until_attempts(&endpoint, &events[0], count).await;
    }
    app.advance(seconds(17));
    assert_eq!(app.quiet(|| hook.count()).await, 3, "59 s after its first failure it still holds the others");
    app.advance(seconds(1));
    app.until_count(&endpoint, "succeeded", 3).await;
    assert_eq!(names(&hook.received())[3..], ["R-2", "R-3", "R-4"]);
    app.succeed_one(&vendor, "R-5").await;
    app.until_count(&endpoint, "succeeded", 4).await;
    hook.always(Answer::status(200));
    app.advance(seconds(145));
    app.until_count(&endpoint, "succeeded", 5).await;
    app.finish().await;
}

#[tokio::test]
async fn what_a_strict_head_blocked_to_the_end_says_so_or_was_tried() {
    let (app, hook) = (TestApp::with(&[("delivery_deadline", "1m")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": "strict"})).await;
    hook.always(Answer::status(500));
    let events = app.succeed(&vendor, references(3)).await;
    for _ in 0..18 {
        app.advance(seconds(5));
        app.quiet(|| hook.count()).await;
    }
    app.until_count(&endpoint, "exhausted", 3).await;
    for event in &events {
        let ended = app.delivery(&endpoint, event).await;
        assert!(ended["end_reason"] == "blocked" || !attempts(&ended).is_empty(), "{ended:#}");
    }
    app.finish().await;
}

// --- Limits ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn rate_limit_per_second_is_kept() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"rate_limit_per_second": 5})).await;
    app.succeed(&vendor, references(12)).await;
    let mut sent = vec![app.quiet(|| hook.count()).await];
    while sent.len() < 40 && sent.last() != Some(&12) {
        app.advance(Duration::from_millis(100));
        sent.push(app.quiet(|| hook.count()).await);
    }
    let in_a_second = sent.windows(11).map(|second| second[10] - second[0]).max();
    assert!(sent[0] <= 1 && in_a_second <= Some(5), "{sent:?}");
    assert!((22..=26).contains(&sent.len()), "the limit is used: {sent:?}");
    app.until_count(&endpoint, "succeeded", 12).await;
    app.finish().await;
}

#[tokio::test]
async fn max_in_flight_is_kept_and_reached() {
    let (app, hook) = (TestApp::with(&[("max_in_flight_per_endpoint", "4")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let too_many = app.post("/v1/endpoints", &vendor.live, json!({"url": hook.url(), "max_in_flight": 5})).await;
    assert_eq!(too_many.problems(), [("max_in_flight".to_owned(), "invalid".to_owned())]);
    for (settings, most) in [(json!({"max_in_flight": 3}), 3), (json!({}), 4)] {
        let endpoint = app.connected_with(&vendor, &hook, settings).await;
        app.succeed(&vendor, (0..10).map(|number| format!("warm-{most}-{number}"))).await;
        app.until_count(&endpoint, "succeeded", 10).await;
        let gate = Arc::new(Semaphore::new(0));
        hook.always(Answer::Gate(Arc::clone(&gate)));
        app.succeed(&vendor, (0..20).map(|number| format!("gated-{most}-{number}"))).await;
        assert_eq!(app.quiet(|| hook.under_way()).await, most);
        gate.add_permits(1000);
        app.until_count(&endpoint, "succeeded", 30).await;
        assert_eq!(hook.most_under_way(), most);
        app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
        hook.always(Answer::status(200));
    }
    app.finish().await;
}

#[tokio::test]
async fn an_endpoint_starts_slowly() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let gate = Arc::new(Semaphore::new(0));
    hook.always(Answer::Gate(Arc::clone(&gate)));
    app.succeed(&vendor, references(60)).await;
    for under_way in [1, 2, 4, 8, 16, 32] {
        assert_eq!(app.quiet(|| hook.under_way()).await, under_way, "each success doubles what may be under way");
        gate.add_permits(1);
    }
    gate.add_permits(100);
    app.until_count(&endpoint, "succeeded", 60).await;
    app.finish().await;
}
