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

#[tokio::test]
async fn a_jump_of_a_day_disables_nothing_and_ends_nothing() {
    const DAY: Duration = Duration::from_secs(86_400);
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let strict = app.connected_with(&vendor, &hook, json!({"ordering": "strict", "strict_hold": "1h"})).await;
    hook.always(Answer::status(500));
    let events = app.succeed(&vendor, references(3)).await;
    for event in &events {
        app.until_attempts(&endpoint, event, 1).await;
    }
    app.until_attempts(&strict, &events[0], 1).await;
    hook.forget();
    app.clock.set_forward(DAY);
    app.advance(SWEEP);
    app.quiet(|| hook.count()).await;
    let tried: Vec<_> = hook.received().iter().map(crate::receiver::Received::reference).collect();
    assert!(tried.iter().filter(|reference| *reference != "R-1").count() <= 2, "strict order holds: {tried:?}");
    for on in [&endpoint, &strict] {
        assert_eq!((app.status(on).await, app.count(on, "pending").await), (json!("connected"), 3));
    }
    // The head has held the others for a quarter of a minute, not for a day.
    for event in &events[1..] {
        assert_eq!(attempts(&app.delivery(&strict, event).await).len(), 0);
    }
    hook.always(Answer::status(200));
    app.advance(Duration::from_secs(60));
    app.until_count(&endpoint, "succeeded", 3).await;
    app.until_count(&strict, "succeeded", 3).await;
    app.finish().await;
}

#[tokio::test]
async fn a_jump_of_a_hundred_days_empties_no_feed() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    app.succeed(&vendor, references(5)).await;
    app.until_count(&endpoint, "succeeded", 5).await;
    app.advance(SWEEP);
    app.quiet(|| hook.count()).await;
    let feed = async |app: &TestApp| app.get("/v1/events", &vendor.live).await.expect(200)["data"].as_array().map(Vec::len);
    app.clock.set_forward(Duration::from_secs(100 * 86_400));
    for _ in 0..10 {
        app.advance(Duration::from_secs(60));
        app.quiet(|| hook.count()).await;
    }
    assert_eq!(feed(&app).await, Some(5), "ten minutes later");
    app.restart().await;
    for _ in 0..10 {
        app.advance(Duration::from_secs(60));
        app.quiet(|| hook.count()).await;
    }
    assert_eq!(feed(&app).await, Some(5), "nor does a restart remove it");
    for _ in 0..26 {
        app.advance(Duration::from_secs(3600));
        app.quiet(|| hook.count()).await;
    }
    assert_eq!(feed(&app).await, Some(0), "a time that stays so is believed");
    app.finish().await;
}
