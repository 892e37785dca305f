//! Endpoints do not disturb each other (guarantee G5): a healthy one's latency, alone and beside hundreds that hang.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use ringback::clock::Stopwatch;
use serde_json::json;

use crate::harness::{Endpoint, Setup, TestApp, Vendor, until};
use crate::receiver::{Answer, Receiver};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const DELIVERIES: usize = 300;
const SILENT: usize = 200;

/// Reports one recharge after the other; answers with the time from each report to its request at the receiver.
async fn latencies(app: &TestApp, vendor: &Vendor, healthy: &Receiver, round: &str) -> Vec<Duration> {
    let started = Mutex::new(HashMap::new());
    for number in 0..DELIVERIES {
        let reference = format!("{round}-{number}");
        started.lock().insert(reference.clone(), Stopwatch::start());
        app.succeed_one(vendor, &reference).await;
        // Not one after the other, and not all at once.
        if number % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let is_ours = |reference: &str| reference.starts_with(&format!("{round}-"));
    let ours = || healthy.received().into_iter().filter(|request| is_ours(&request.reference())).collect::<Vec<_>>();
    let received = until("all healthy deliveries", || async { Some(ours()).filter(|ours| ours.len() >= DELIVERIES) }).await;
    let started = started.into_inner();
    let mut took: Vec<_> =
        received.iter().map(|request| started[&request.reference()].elapsed().saturating_sub(request.at.elapsed())).collect();
    took.sort();
    took
}

async fn hang(app: &TestApp, hook: &Receiver, count: usize) -> Vec<(Vendor, Endpoint)> {
    let mut made = Vec::new();
    for _ in 0..count {
        let vendor = app.vendor().await;
        let endpoint = app.connected_with(&vendor, hook, json!({})).await;
        made.push((vendor, endpoint));
    }
    made
}

fn percentile(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() * part / 100).min(sorted.len() - 1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_endpoint_does_not_feel_those_that_hang() {
    let timeout = format!("{}s", ATTEMPT_TIMEOUT.as_secs());
    let app = Setup::default().real_time().set("attempt_timeout", &timeout).set("connect_timeout", "1s").start().await;
    let (healthy, silent, dripping) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &healthy).await;
    let others = hang(&app, &silent, SILENT).await;
    let drips = hang(&app, &dripping, 1).await;
    latencies(&app, &vendor, &healthy, "warm").await;
    let before = latencies(&app, &vendor, &healthy, "before").await;
    silent.always(Answer::Stall);
    dripping.always(Answer::DRIP);
    for (other, _) in others.iter().chain(&drips) {
        app.succeed(other, (0..20).map(|number| format!("H-{number}"))).await;
    }
    until("the others hang", || async { (silent.under_way() >= SILENT && dripping.under_way() == 1).then_some(()) }).await;
    let with = latencies(&app, &vendor, &healthy, "with").await;
    let (still, dripped) = (silent.under_way(), dripping.under_way());
    println!(
        "healthy endpoint, {DELIVERIES} deliveries each, report to receiver   alone         beside {still} silent and {dripped} dripping"
    );
    for part in [50, 99, 100] {
        println!("  p{part:<60} {:>10.2?}    {:>10.2?}", percentile(&before, part), percentile(&with, part));
    }
    assert!(percentile(&with, 99) < ATTEMPT_TIMEOUT);
    assert!(silent.count() > 0 && dripping.count() > 0, "the others were tried");
    app.until_healthy(&endpoint, DELIVERIES * 3).await;
    for (_, other) in others.iter().chain(&drips) {
        app.call("DELETE", &format!("/v1/endpoints/{}", other.id), &other.token, None).await.expect(204);
    }
    until("what the others had is cancelled", || async { (app.open_runs() == 0).then_some(()) }).await;
    app.finish().await;
}

/// An endpoint that is new, or had nothing to get for a while, has no recent success; it is healthy all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_endpoint_that_was_quiet_does_not_wait_behind_those_that_hang() {
    let settings = [("attempt_timeout", "2s"), ("connect_timeout", "1s"), ("max_in_flight", "32"), ("endpoints_per_vendor", "1000")];
    let setup = settings.iter().fold(Setup::default().real_time(), |setup, (name, value)| setup.set(name, value));
    let app = setup.start().await;
    let (healthy, silent) = (Receiver::start().await, Receiver::start().await);
    let others = hang(&app, &silent, 40).await;
    silent.always(Answer::Stall);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &healthy).await;
    for (other, _) in &others {
        app.succeed(other, (0..20).map(|number| format!("H-{number}"))).await;
    }
    // That an endpoint hangs is known from its first timeout on.
    until("each of the others has been tried, after its handshake", || async { (silent.count() >= 2 * 40).then_some(()) }).await;
    let watch = Stopwatch::start();
    app.succeed_one(&vendor, "R-1").await;
    let request = healthy.wait(1).await.remove(0);
    let took = watch.elapsed().saturating_sub(request.at.elapsed());
    println!("a quiet healthy endpoint beside 40 that hang, 32 in flight at most: report to receiver {took:.2?}");
    app.until_count(&endpoint, "succeeded", 1).await;
    for (_, other) in &others {
        app.call("DELETE", &format!("/v1/endpoints/{}", other.id), &other.token, None).await.expect(204);
    }
    until("what the others had is cancelled", || async { (app.open_runs() == 0).then_some(()) }).await;
    app.finish().await;
    assert!(took < Duration::from_secs(1), "it waited {took:?} for endpoints that do not answer (G5)");
}

impl TestApp {
    /// All of an endpoint's deliveries have succeeded, at the first attempt.
    async fn until_healthy(&self, endpoint: &Endpoint, count: usize) {
        // What has arrived is written down a little later.
        self.until_count(endpoint, "pending", 0).await;
        let (mut seen, mut cursor) = (0, String::new());
        loop {
            let path = format!("/v1/deliveries?endpoint_id={}&limit=200{cursor}", endpoint.id);
            let page = self.get(&path, &endpoint.token).await.expect(200);
            for delivery in page["data"].as_array().expect("a list") {
                assert_eq!((&delivery["state"], delivery["attempts"].as_array().map(Vec::len)), (&json!("succeeded"), Some(1)));
                seen += 1;
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, count);
    }
}
