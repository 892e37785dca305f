//! What one vendor does is its own affair: tests of endpoints and long reads leave the others their share.

use std::time::Duration;

use ringback::limits;
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Request, send};
use crate::harness::{TestApp, references};
use crate::receiver::{Answer, Receiver};

async fn tests_at_once(app: &TestApp, token: &str, paths: impl Iterator<Item = String>) -> JoinSet<u16> {
    let mut calls = JoinSet::new();
    for path in paths {
        let (address, token) = (app.address, token.to_owned());
        calls.spawn(async move {
            let request = Request { method: "POST", path: &path, token: Some(&token), body: Some(b"{}".to_vec()), ..Request::default() };
            send(address, request).await.status
        });
    }
    calls
}

#[tokio::test]
async fn a_few_tests_of_a_vendor_run_at_once() {
    let (app, silent, good) = (TestApp::start().await, Receiver::start().await, Receiver::start().await);
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let mut paths = Vec::new();
    for _ in 0..20 {
        let endpoint = app.endpoint(&vendor, json!({"url": silent.url()})).await;
        paths.extend([format!("/v1/endpoints/{}/test", endpoint.id), format!("/v1/endpoints/{}/connect", endpoint.id)]);
    }
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    silent.always(Answer::GateThen(std::sync::Arc::clone(&gate), 200, String::new()));
    let mut calls = tests_at_once(&app, &vendor.live, paths.into_iter()).await;
    let mut refused = 0;
    while refused < 40 - limits::TESTS_AT_ONCE {
        assert_eq!(calls.join_next().await.expect("one").expect("it ends"), 429);
        refused += 1;
    }
    assert_eq!(silent.connections(), limits::TESTS_AT_ONCE);
    app.connected(&other, &good).await;
    let told = app
        .post(&format!("/v1/endpoints/{}/test", app.endpoint(&vendor, json!({"url": silent.url()})).await.id), &vendor.live, json!({}))
        .await;
    assert_eq!(told.code(429), "rate_limited");
    assert!(told.text.contains("at once") && told.header("retry-after").is_some(), "{}", told.text);
    gate.add_permits(100);
    while let Some(ended) = calls.join_next().await {
        assert_ne!(ended.expect("it ends"), 429);
    }
    app.finish().await;
}

#[tokio::test]
async fn an_endpoint_is_tested_at_a_pace_whether_or_not_it_connected() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let (one, other) = (app.endpoint(&vendor, json!({"url": hook.url()})).await, app.endpoint(&vendor, json!({"url": hook.url()})).await);
    let mut sent = 0;
    let refused = loop {
        let reply = app.on(&one, "test").await;
        if reply.status != 200 {
            break reply;
        }
        sent += 1;
        assert!(sent <= limits::TESTS_TO_ENDPOINT.most);
    };
    assert_eq!((refused.code(429).as_str(), sent), ("rate_limited", limits::TESTS_TO_ENDPOINT.most));
    assert_eq!(hook.count() as u32, sent, "what is refused is not sent");
    assert_eq!(app.on(&one, "connect").await.status, 429);
    app.on(&other, "test").await.expect(200);
    app.advance(Duration::from_secs(2));
    app.on(&one, "connect").await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn tests_count_in_what_a_node_may_have_under_way() {
    let (app, hook) = (TestApp::with(&[("max_in_flight", "1"), ("max_in_flight_per_endpoint", "1")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    hook.next([Answer::GateThen(std::sync::Arc::clone(&gate), 200, String::new())]);
    app.succeed(&vendor, references(1)).await;
    hook.wait(1).await;
    assert_eq!(app.on(&endpoint, "test").await.code(429), "rate_limited");
    gate.add_permits(1);
    app.until_count(&endpoint, "succeeded", 1).await;
    app.on(&endpoint, "test").await.expect(200);
    app.finish().await;
}

/// Many long reads of one vendor are asked for, and then a short one of another: that one does not wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_reads_of_a_vendor_wait_for_each_other_and_nobody_waits_for_them() {
    let app = TestApp::start().await;
    let (big, small) = (app.vendor().await, app.vendor().await);
    for batch in 0..10 {
        let item = |number: usize| json!({"vendor_id": big.id, "reference_no": format!("{batch}-{number}"), "status": "queued", "connection_no": "9801234567"});
        let reports: Vec<_> = (0..limits::REPORTS_MAX).map(item).collect();
        app.post("/v1/reports", &app.operator, json!({"reports": reports})).await.expect(200);
    }
    let scan = format!("/v1/recharges?connection_no=9999999999&since={}", app.now());
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut scans = JoinSet::new();
    for _ in 0..32 {
        let (address, token, path, ended) = (app.address, big.live.clone(), scan.clone(), std::sync::Arc::clone(&ended));
        scans.spawn(async move {
            let request = Request { method: "GET", path: &path, token: Some(&token), ..Request::default() };
            assert_eq!(send(address, request).await.status, 200);
            ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
    }
    crate::harness::until("the first scan", || async { (ended.load(std::sync::atomic::Ordering::Relaxed) > 0).then_some(()) }).await;
    let before = ended.load(std::sync::atomic::Ordering::Relaxed);
    app.get("/v1/recharges?limit=1", &small.live).await.expect(200);
    let meanwhile = ended.load(std::sync::atomic::Ordering::Relaxed) - before;
    assert!(meanwhile <= 8, "{meanwhile} of the scans that were asked for before it have ended");
    while let Some(scan) = scans.join_next().await {
        scan.expect("it ends");
    }
    app.finish().await;
}
