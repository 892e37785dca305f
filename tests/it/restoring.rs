//! A database that is put back from a backup, as docs/operating.md says.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{TestApp, text, until};
use crate::receiver::Receiver;

fn numbers(feed: &Value) -> Vec<i64> {
    feed["data"].as_array().expect("events").iter().filter_map(|event| event["sequence"].as_i64()).collect()
}

#[tokio::test]
async fn no_number_is_given_twice() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let backup = app.file().with_file_name("backup.db");
    app.succeed_one(&vendor, "R-1").await;
    app.until_count(&endpoint, "succeeded", 1).await;
    app.database().execute("VACUUM INTO ?1", [backup.to_str()]).expect("a backup beside the running server");
    app.succeed_one(&vendor, "R-2").await;
    app.succeed_one(&vendor, "R-3").await;
    app.until_count(&endpoint, "succeeded", 3).await;

    app.stop().await;
    std::fs::rename(&backup, app.file()).expect("it is put back");
    for log in ["it.db-wal", "it.db-shm"] {
        drop(std::fs::remove_file(app.file().with_file_name(log)));
    }
    app.database().execute("UPDATE stream SET next_sequence = next_sequence + 1000000", []).expect("numbers are skipped");
    app.start_again().await;

    let nothing_new = app.get("/v1/events?after=1", &vendor.live).await.expect(200);
    assert_eq!(nothing_new["next_after"], 1_000_001, "an empty page leads beyond what was skipped");
    app.advance(Duration::from_secs(1));
    let before = app.now();
    app.succeed_one(&vendor, "R-4").await;
    app.until_count(&endpoint, "succeeded", 2).await;
    let ids: HashSet<String> = hook.received().iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(ids.len(), 4, "a receiver that keeps ids takes all four");
    let feed = app.get("/v1/events", &vendor.live).await.expect(200);
    assert_eq!((numbers(&feed), &feed["next_after"]), (vec![1, 1_000_002], &json!(1_000_002)));
    assert_eq!(numbers(&app.get("/v1/events?after=3", &vendor.live).await.expect(200)), [1_000_002]);
    let beyond = app.get("/v1/events?after=1000003", &vendor.live).await;
    assert_eq!(beyond.code(410), "events_expired", "and what was never given is no silence");
    assert_eq!(beyond.json()["latest_sequence"], 1_000_002);

    let listed = app.get(&format!("/v1/deliveries?endpoint_id={}&since={before}", endpoint.id), &vendor.live).await.expect(200);
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "times find their numbers");
    app.advance(Duration::from_secs(1));
    hook.forget();
    let replay = json!({"since": "2000-01-01T00:00:00Z", "only": "all"});
    let replay = app.post(&format!("/v1/endpoints/{}/replay", endpoint.id), &vendor.live, replay).await.expect(202);
    assert_eq!(replay["matched"], 2);
    hook.wait(2).await;
    let read = async || app.get(&format!("/v1/replays/{}", text(&replay["id"])), &vendor.live).await.expect(200);
    until("the replay is done", || async { (read().await["done"] == 2).then_some(()) }).await;
    app.finish().await;
}
