//! A person's data, gone everywhere, while numbers stay gapless.

use serde_json::{Value, json};

use crate::harness::{TestApp, Vendor, text};
use crate::receiver::{Answer, Receiver};

const NUMBER: &str = "9801234567";
const OTHER: &str = "9847654321";

async fn report(app: &TestApp, vendor: &Vendor, mode: &str, reference: &str, number: &str) -> Value {
    let item = json!({"vendor_id": vendor.id, "mode": mode, "reference_no": reference, "status": "success", "connection_no": number});
    app.post("/v1/reports", &app.operator, json!({"reports": [item]})).await.expect(200)["results"][0].clone()
}

async fn erase(app: &TestApp, vendor: &Vendor) {
    let path = format!("/v1/vendors/{}/personal-data?connection_no={NUMBER}", vendor.id);
    app.call("DELETE", &path, &app.operator, None).await.expect_text(204);
}

/// The database as it lies on the disk, the write-ahead log included.
fn raw(app: &TestApp) -> String {
    let read = |suffix: &str| std::fs::read(format!("{}{suffix}", app.file().display())).unwrap_or_default();
    String::from_utf8_lossy(&[read(""), read("-wal")].concat()).into_owned()
}

#[tokio::test]
async fn a_persons_number_is_gone_everywhere_and_numbers_have_no_gap() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"event_types": ["*"]})).await;
    hook.always(Answer::status(200).with_body(format!("{{\"thanks\": \"{NUMBER}\"}}")).with_header("x-number", NUMBER));
    let mine = report(&app, &vendor, "live", "R-1", NUMBER).await;
    report(&app, &vendor, "test", "T-1", NUMBER).await;
    let own = json!({"vendor_id": vendor.id, "type": "invoice.paid", "data": {"lines": [{"number": NUMBER}], "total": 5}});
    app.post("/v1/events", &app.operator, own).await.expect(202);
    app.until_count(&endpoint, "succeeded", 2).await;
    hook.always(Answer::status(200));
    let others = report(&app, &vendor, "live", "R-2", OTHER).await;
    let contradiction = json!({"vendor_id": vendor.id, "reference_no": "R-2", "status": "success", "connection_no": NUMBER});
    app.post("/v1/reports", &app.operator, json!({"reports": [contradiction]})).await.expect(200);
    app.until_count(&endpoint, "succeeded", 3).await;
    assert!(raw(&app).contains(NUMBER), "it is there before");

    erase(&app, &vendor).await;

    let recharge = app.get(&format!("/v1/recharges/{}", text(&mine["recharge_id"])), &vendor.live).await.expect(200);
    assert_eq!((&recharge["connection_no"], &recharge["status"]), (&Value::Null, &json!("success")));
    let kept = app.get(&format!("/v1/recharges/{}", text(&others["recharge_id"])), &vendor.live).await.expect(200);
    assert_eq!(kept["connection_no"], OTHER, "another person's stays");
    let feed = app.get("/v1/events?after=0", &vendor.live).await.expect(200);
    let numbers: Vec<i64> = feed["data"].as_array().expect("events").iter().filter_map(|event| event["sequence"].as_i64()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!((&feed["data"][0]["data"]["erased"], &feed["data"][0]["data"]["connection_no"]), (&json!(true), &Value::Null));
    assert_eq!(feed["data"][0]["data"]["reference_no"], "R-1");
    assert_eq!(feed["data"][2]["data"]["erased"], Value::Null);
    assert_eq!(feed["data"][1]["data"], json!({"erased": true}));
    for path in ["/v1/deliveries", "/v1/recharges"] {
        for token in [&vendor.live, &vendor.test] {
            assert!(!app.get(path, token).await.expect(200).to_string().contains(NUMBER), "{path}");
        }
    }
    for path in ["/v1/conflicts", "/v1/audit"] {
        assert!(!app.get(path, &app.operator).await.expect(200).to_string().contains(NUMBER), "{path}");
    }
    let audit = app.get("/v1/audit", &app.operator).await.expect(200)["data"][0].clone();
    assert_eq!((&audit["action"], &audit["object"]), (&json!("personal_data.erased"), &json!(vendor.id)));
    app.stop().await;
    assert!(!raw(&app).contains(NUMBER), "nor is it in the file");
    assert!(raw(&app).contains(OTHER));
    app.finish().await;
}

#[tokio::test]
async fn what_is_still_on_its_way_goes_without_it() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::status(500));
    let mine = report(&app, &vendor, "live", "R-1", NUMBER).await;
    let waiting = app.until_attempts(&endpoint, &text(&mine["event_id"]), 1).await;
    erase(&app, &vendor).await;
    hook.forget();
    hook.always(Answer::status(200));
    app.advance_to(&waiting["next_attempt_at"]);
    let arrived = hook.wait(1).await.remove(0);
    assert_eq!(arrived.id(), text(&mine["event_id"]), "the same event");
    assert_eq!((&arrived.json()["data"]["erased"], &arrived.json()["data"]["connection_no"]), (&json!(true), &Value::Null));
    app.until_state(&endpoint, &text(&mine["event_id"]), "succeeded").await;
    app.finish().await;
}

#[tokio::test]
async fn a_number_has_to_be_named() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let path = format!("/v1/vendors/{}/personal-data", vendor.id);
    assert_eq!(app.call("DELETE", &path, &app.operator, None).await.problems()[0].0, "connection_no");
    assert_eq!(
        app.call("DELETE", "/v1/vendors/ven_0000000000000/personal-data?connection_no=1", &app.operator, None).await.code(404),
        "not_found"
    );
    app.finish().await;
}
