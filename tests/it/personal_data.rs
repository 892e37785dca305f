//! A person's data, gone everywhere, while numbers stay gapless.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{TestApp, Vendor, text, until};
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
    // What providers and operators say of a person may name the number too.
    let said = json!({"vendor_id": vendor.id, "mode": "test", "reference_no": "S-1", "status": "queued", "connection_no": NUMBER, "provider_ref": format!("P{NUMBER}")});
    let said = app.post("/v1/reports", &app.operator, json!({"reports": [said]})).await.expect(200)["results"][0].clone();
    let resolve = format!("/v1/recharges/{}/resolve", text(&said["recharge_id"]));
    let reason = json!({"status": "failed", "reason": format!("{NUMBER} called")});
    app.post(&resolve, &app.operator, reason).await.expect(200);
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
    let resolved = app.get("/v1/audit?action=recharge.resolved&since=2026-11-23T00:00:00Z", &app.operator).await.expect(200);
    assert_eq!(resolved["data"][0]["details"]["reason"], "••• called");
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
async fn what_is_under_way_is_tried_again_without_it_and_its_answer_is_not_kept() {
    for (ordering, again) in [("none", 500), ("none", 200), ("strict", 500), ("strict", 200)] {
        let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
        let vendor = app.vendor().await;
        let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": ordering})).await;
        let gate = Arc::new(Semaphore::new(0));
        hook.next([Answer::GateThen(Arc::clone(&gate), again, format!("got {NUMBER}"))]);
        let mine = report(&app, &vendor, "live", "R-1", NUMBER).await;
        hook.wait(1).await;
        erase(&app, &vendor).await;
        gate.add_permits(1);
        let event = text(&mine["event_id"]);
        let delivery = app.until_attempts(&endpoint, &event, 1).await;
        assert_eq!(delivery["attempts"][0]["answer_body"], Value::Null, "what a receiver says may repeat it");
        assert_eq!(delivery["attempts"][0]["status"], again, "what it came to is kept");
        if again == 500 {
            hook.forget();
            app.advance_to(&delivery["next_attempt_at"]);
            let arrived = hook.wait(1).await.remove(0);
            assert_eq!((&arrived.json()["data"]["erased"], &arrived.json()["data"]["connection_no"]), (&json!(true), &Value::Null));
        }
        app.until_state(&endpoint, &event, "succeeded").await;
        app.stop().await;
        assert!(!raw(&app).contains(NUMBER));
        app.finish().await;
    }
}

#[tokio::test]
async fn it_is_found_however_it_is_written() {
    // As a key, within a text, as a number, deep down, and with characters that JSON has another spelling for.
    let odd = "+977 \"98\\01\"";
    for number in [NUMBER, odd] {
        let mut app = TestApp::start().await;
        let vendor = app.vendor().await;
        let gone = [
            json!({"by_number": {number: 5}}),
            json!({"text": format!("Thank you: {number}, paid.")}),
            json!({"list": [{"deep": [number]}]}),
            if number == NUMBER { json!({"number": 9801234567_u64}) } else { json!({"number": number}) },
        ];
        let stays = [json!({"longer": format!("1{NUMBER}")}), json!({"longer": format!("{NUMBER}0")}), json!({"other": OTHER})];
        for data in gone.iter().chain(&stays) {
            let event = json!({"vendor_id": vendor.id, "type": "invoice.paid", "data": data});
            app.post("/v1/events", &app.operator, event).await.expect(202);
        }
        let mine = report(&app, &vendor, "live", "R-1", number).await;
        let encoded: String = url::form_urlencoded::byte_serialize(number.as_bytes()).collect();
        let path = format!("/v1/vendors/{}/personal-data?connection_no={encoded}", vendor.id);
        app.call("DELETE", &path, &app.operator, None).await.expect_text(204);
        let feed = app.get("/v1/events?after=0", &vendor.live).await.expect(200);
        let data: Vec<&Value> = feed["data"].as_array().expect("events").iter().map(|event| &event["data"]).collect();
        for (at, given) in gone.iter().enumerate() {
            assert_eq!(*data[at], json!({"erased": true}), "{given}");
        }
        assert_eq!(data[4..7], stays.iter().collect::<Vec<_>>(), "another number that has it in it is another person's");
        assert_eq!((&data[7]["erased"], &data[7]["connection_no"]), (&json!(true), &Value::Null));
        let recharge = app.get(&format!("/v1/recharges/{}", text(&mine["recharge_id"])), &vendor.live).await.expect(200);
        assert_eq!(recharge["connection_no"], Value::Null);
        app.stop().await;
        app.finish().await;
    }
}

#[tokio::test]
async fn an_answer_that_was_kept_has_it_no_more() {
    let app = TestApp::start().await;
    let (vendor, stranger) = (app.vendor().await, app.vendor().await);
    let queued = async |vendor: &Vendor, number: &str| {
        let item = json!({"vendor_id": vendor.id, "reference_no": "R-1", "status": "queued", "connection_no": number});
        let result = app.post("/v1/reports", &app.operator, json!({"reports": [item]})).await.expect(200)["results"][0].clone();
        format!("/v1/recharges/{}/resolve", text(&result["recharge_id"]))
    };
    let once = async |path: &str, body: &Value| {
        let headers = [("idempotency-key", "key-1")];
        let (token, body) = (Some(app.operator.as_str()), Some(body.to_string().into_bytes()));
        crate::client::send(app.address, crate::client::Request { method: "POST", path, token, headers: &headers, body }).await
    };
    let settle = json!({"status": "success", "reason": "so"});
    let (mine, others) = (queued(&vendor, NUMBER).await, queued(&stranger, NUMBER).await);
    for path in [&mine, &others] {
        assert_eq!(once(path, &settle).await.expect(200)["connection_no"], NUMBER);
    }
    let contradiction = json!({"vendor_id": vendor.id, "reference_no": "R-1", "status": "failed"});
    app.post("/v1/reports", &app.operator, json!({"reports": [contradiction]})).await.expect(200);
    let conflict = app.get("/v1/conflicts", &app.operator).await.expect(200)["data"][0].clone();
    let resolve = (format!("/v1/conflicts/{}/resolve", text(&conflict["id"])), json!({"as": "reversed", "reason": "so"}));
    assert_eq!(once(&resolve.0, &resolve.1).await.expect(200)["connection_no"], NUMBER);
    erase(&app, &vendor).await;
    assert_eq!(once(&mine, &settle).await.code(409), "illegal_state", "it is a new request");
    assert_eq!(once(&resolve.0, &resolve.1).await.code(409), "illegal_state");
    assert_eq!(once(&others, &settle).await.expect(200)["connection_no"], NUMBER, "another vendor's stays");
    app.finish().await;
}

/// A recharge that a vendor asked for with an `Idempotency-Key`, and events whose names a JSON library uses for itself.
#[tokio::test]
async fn no_copy_of_it_is_left_of_orders_and_odd_events() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let once = async |token: &str, path: &str, body: Value| {
        let headers = [("idempotency-key", "key-1")];
        let body = Some(body.to_string().into_bytes());
        crate::client::send(app.address, crate::client::Request { method: "POST", path, token: Some(token), headers: &headers, body }).await
    };
    let order = json!({"reference_no": "INV-1", "operator_id": 1, "connection_no": NUMBER, "amount": "50"});
    assert!(once(&vendor.test, "/v1/recharges", order.clone()).await.expect(201).to_string().contains(NUMBER));
    app.connected_with(&vendor, &hook, json!({"event_types": ["*"]})).await;
    for data in [
        json!({"a": {"$serde_json::private::RawValue": NUMBER}}),
        json!({"a": {"$serde_json::private::Number": NUMBER}}),
        json!({"a": {"$serde_json::private::RawValue": "[", "number": NUMBER}}),
    ] {
        let own = json!({"vendor_id": vendor.id, "type": "invoice.paid", "data": data});
        app.post("/v1/events", &app.operator, own).await.expect(202);
    }
    hook.wait(3).await;
    erase(&app, &vendor).await;
    let again = once(&vendor.test, "/v1/recharges", order).await;
    assert!(!again.text.contains(NUMBER), "{}", again.text);
    app.quiet(|| hook.count()).await;
    app.stop().await;
    assert!(!raw(&app).contains(NUMBER));
    app.finish().await;
}

#[tokio::test]
async fn of_a_contradiction_between_two_people_the_others_side_stays() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    for (reference, number) in [("R-1", NUMBER), ("R-1", OTHER), ("R-2", OTHER), ("R-2", NUMBER)] {
        report(&app, &vendor, "live", reference, number).await;
    }
    erase(&app, &vendor).await;
    let conflicts = app.get("/v1/conflicts", &app.operator).await.expect(200);
    let sides: Vec<_> = conflicts["data"].as_array().expect("a list").iter().map(|one| (&one["ours"], &one["theirs"])).collect();
    assert_eq!(sides, [(&json!(OTHER), &Value::Null), (&Value::Null, &json!(OTHER))]);
    app.finish().await;
}

/// Rows grow and move to other pages; what is let go of is overwritten. (docs/security.md says where that has its end.)
#[tokio::test]
async fn the_file_keeps_no_copy_of_it_however_often_its_rows_were_moved() {
    let (mut app, hook) = (TestApp::with(&[("retention", "30d")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.connected_with(&vendor, &hook, json!({"event_types": ["*"], "max_in_flight": 1})).await;
    hook.script(|request| Answer::status(200).with_body(request.body.clone()));
    let item = |number: usize, status: &str, more: Value| {
        let connection = if number % 7 == 3 { NUMBER.to_owned() } else { format!("97{number:08}") };
        let mut item =
            json!({"vendor_id": vendor.id, "reference_no": format!("R-{number}"), "status": status, "connection_no": connection});
        item.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        item
    };
    // Queued first, and then with more to say, so that rows do not stay where they were.
    for (status, more) in [
        ("queued", json!({})),
        ("queued", json!({"operator": "A network with a long name", "provider": "north"})),
        ("success", json!({"amount": "50.00", "currency": "NPR", "provider_ref": "P-".repeat(30)})),
    ] {
        for half in [0..300, 300..600] {
            let reports: Vec<Value> = half.map(|number| item(number, status, more.clone())).collect();
            app.post("/v1/reports", &app.operator, json!({"reports": reports})).await.expect(200);
        }
    }
    for number in 0..40 {
        let data = json!({"number": if number % 3 == 0 { NUMBER } else { OTHER }, "fill": "x".repeat(number * 100)});
        let event = json!({"vendor_id": vendor.id, "type": "invoice.paid", "data": data});
        app.post("/v1/events", &app.operator, event).await.expect(202);
    }
    hook.wait(640).await;
    until("all is delivered", || async { (app.open_runs() == 0).then_some(()) }).await;
    erase(&app, &vendor).await;
    app.stop().await;
    let left = raw(&app).matches(NUMBER).count();
    assert_eq!(left, 0, "copies of the number are left in the file");
    assert!(raw(&app).contains(OTHER) && raw(&app).contains("9700000001"), "other people's stay");
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
