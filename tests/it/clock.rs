//! A clock that jumps: nothing stalls for as long as the jump was, and nothing ends for it.

use std::time::Duration;

use serde_json::json;

use crate::harness::{TestApp, attempts, references};
use crate::receiver::{Answer, Receiver};

const TWO_HOURS: Duration = Duration::from_secs(7200);
/// How often the engine looks at everything, whatever the hints said.
const SWEEP: Duration = Duration::from_secs(15);

#[tokio::test]
async fn deliveries_go_on_after_the_clock_was_set_back() {
    let (app, limited, retrying) = (TestApp::start().await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let slow = app.connected_with(&vendor, &limited, json!({"rate_limit_per_second": 1})).await;
    let poor = app.connected(&vendor, &retrying).await;
    let strict = app.connected_with(&vendor, &retrying, json!({"ordering": "strict"})).await;
    retrying.always(Answer::status(500));
    let events = app.succeed(&vendor, references(6)).await;
    app.until_attempts(&strict, &events[0], 1).await;
    for event in &events {
        app.until_attempts(&poor, event, 1).await;
    }
    limited.wait(1).await;
    app.clock.set_back(TWO_HOURS);
    retrying.always(Answer::status(200));
    app.advance(SWEEP);
    app.until_count(&poor, "succeeded", 6).await;
    app.until_count(&strict, "succeeded", 6).await;
    for count in 2..=6 {
        limited.wait(count).await;
        assert_eq!(app.quiet(|| limited.count()).await, count, "the limit is kept on the new time");
        app.advance(Duration::from_secs(1));
    }
    app.until_count(&slow, "succeeded", 6).await;
    app.finish().await;
}

#[tokio::test]
async fn a_lane_that_holds_goes_on_probing_after_the_clock_was_set_back() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"max_in_flight": 1})).await;
    hook.always(Answer::status(500));
    app.succeed(&vendor, references(15)).await;
    assert_eq!(app.quiet(|| hook.count()).await, 10, "ten failures in a row hold the lane");
    app.clock.set_back(TWO_HOURS);
    app.advance(SWEEP);
    hook.wait(11).await;
    assert_eq!(app.quiet(|| hook.count()).await, 11);
    hook.always(Answer::status(200));
    app.advance(Duration::from_secs(60));
    app.until_count(&endpoint, "succeeded", 15).await;
    app.finish().await;
}

#[tokio::test]
async fn what_passed_its_deadline_while_the_machine_slept_gets_its_attempt() {
    let (app, hook) = (TestApp::with(&[("delivery_deadline", "1h")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"rate_limit_per_second": 1})).await;
    let events = app.succeed(&vendor, references(40)).await;
    hook.wait(1).await;
    app.advance(TWO_HOURS);
    while app.count(&endpoint, "pending").await > 0 {
        app.advance(Duration::from_secs(1));
        app.quiet(|| hook.count()).await;
    }
    for event in &events {
        let delivery = app.delivery(&endpoint, event).await;
        assert_eq!((&delivery["state"], attempts(&delivery).len()), (&json!("succeeded"), 1), "{delivery:#}");
    }
    app.finish().await;
}
