//! Recharges that vendors ask for, in test mode, where a simulated provider does what the number says.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::Reply;
use crate::harness::{TestApp, Vendor, text, until};

fn order(reference: &str, connection_no: &str) -> Value {
    json!({"reference_no": reference, "operator_id": 1, "connection_no": connection_no, "amount": "100"})
}

async fn ask(app: &TestApp, vendor: &Vendor, body: Value) -> Reply {
    app.post("/v1/recharges", &vendor.test, body).await
}

/// Waits for a status, and lets time pass meanwhile.
async fn until_status(app: &TestApp, vendor: &Vendor, recharge: &Value, status: &str) -> Value {
    let path = format!("/v1/recharges/{}", text(&recharge["id"]));
    until(&format!("{} is {status}", recharge["connection_no"]), || async {
        app.advance(Duration::from_millis(200));
        let seen = app.get(&path, &vendor.test).await.expect(200);
        Some(seen).filter(|seen| seen["status"] == status)
    })
    .await
}

#[tokio::test]
async fn a_recharge_is_queued_handed_over_and_settled() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let made = ask(&app, &vendor, order("R-1", "9801234500")).await.expect(201);
    for (field, value) in [
        ("reference_no", json!("R-1")),
        ("status", json!("queued")),
        ("amount", json!("100.00")),
        ("currency", json!("NPR")),
        ("operator", json!("Ncell")),
        ("mode", json!("test")),
        ("provider", json!("simulated")),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    let settled = until_status(&app, &vendor, &made, "success").await;
    assert!(text(&settled["provider_ref"]).starts_with("SIM-"), "{settled}");
    let sources: Vec<&str> = settled["reports"].as_array().unwrap().iter().filter_map(|report| report["source"].as_str()).collect();
    assert_eq!(sources, ["vendor", "answer"]);
    let events = app.get("/v1/events", &vendor.test).await.expect(200);
    assert_eq!((events["data"].as_array().unwrap().len(), &events["data"][0]["type"]), (1, &json!("recharge.success")));
    app.finish().await;
}

/// docs/recharges.md tells vendors what each ending comes to.
#[tokio::test]
async fn the_number_says_what_becomes_of_it() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    for (ending, status) in [
        ("01", "failed"),
        ("02", "success"),
        ("03", "failed"),
        ("05", "success"),
        ("06", "success"),
        ("07", "failed"),
        ("08", "success"),
        ("09", "success"),
        ("10", "success"),
        ("99", "success"),
    ] {
        let made = ask(&app, &vendor, order(&format!("R-{ending}"), &format!("98012345{ending}"))).await.expect(201);
        let settled = until_status(&app, &vendor, &made, status).await;
        let contradicts = matches!(ending, "07" | "08");
        let conflicts = || async {
            app.advance(Duration::from_secs(1));
            let found = app.get(&format!("/v1/conflicts?recharge_id={}", text(&settled["id"])), &app.operator).await.expect(200);
            (found["data"].as_array().map(Vec::len) == Some(1)).then_some(found)
        };
        if contradicts {
            until("the contradiction is shown", conflicts).await;
        }
        assert_eq!(until_status(&app, &vendor, &made, status).await["status"], status, "a contradiction moves nothing");
    }
    let never = ask(&app, &vendor, order("R-04", "9801234504")).await.expect(201);
    for _ in 0..20 {
        app.advance(Duration::from_secs(600));
        app.quiet(|| 0).await;
    }
    assert_eq!(until_status(&app, &vendor, &never, "queued").await["status"], "queued");
    app.finish().await;
}

#[tokio::test]
async fn a_reference_is_one_recharge_for_ever() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let made = ask(&app, &vendor, order("R-1", "9801234501")).await.expect(201);
    until_status(&app, &vendor, &made, "failed").await;
    let mut again = order("R-1", "9801234501");
    again["amount"] = json!(100.0);
    again["operator_type_id"] = json!("1");
    let before = ask(&app, &vendor, again).await.expect(200);
    assert_eq!((&before["id"], &before["status"]), (&made["id"], &json!("failed")), "as it is, however the same is written");
    let other = order("R-1", "9801234502");
    assert_eq!(ask(&app, &vendor, other).await.code(409), "reference_conflict");
    let reported = json!({"reports": [{"vendor_id": vendor.id, "mode": "test", "reference_no": "R-2", "status": "queued"}]});
    app.post("/v1/reports", &app.operator, reported).await.expect(200);
    assert_eq!(ask(&app, &vendor, order("R-2", "9801234501")).await.code(409), "reference_conflict");
    app.finish().await;
}

#[tokio::test]
async fn all_that_the_catalogue_has_against_an_order_is_told_at_once() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let fields = |reply: Reply| -> Vec<String> {
        let body = reply.expect(422);
        body["errors"].as_array().unwrap().iter().map(|error| text(&error["field"])).collect()
    };
    let bad = json!({"reference_no": "", "operator_id": 201, "connection_no": "123", "amount": "5", "currency": "NPR", "circle_id": 99, "package_id": 1, "x": 1});
    assert_eq!(
        fields(ask(&app, &vendor, bad).await),
        ["reference_no", "connection_no", "currency", "amount", "package_id", "circle_id", "x"]
    );
    assert_eq!(fields(ask(&app, &vendor, json!({})).await), ["reference_no", "operator_id", "connection_no", "amount"]);
    let unknown = json!({"reference_no": "R", "operator_id": 999, "connection_no": "9801234567", "amount": "50"});
    assert_eq!(fields(ask(&app, &vendor, unknown).await), ["operator_id"]);
    let live = app.post("/v1/recharges", &vendor.live, order("R-1", "9801234500")).await;
    assert_eq!(fields(live), ["operator_id"], "without a provider nothing is taken");
    assert_eq!(app.get("/v1/recharges", &vendor.live).await.expect(200)["data"], json!([]));
    app.finish().await;
}

#[tokio::test]
async fn many_are_looked_up_at_once() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let stranger = app.vendor().await;
    let one = ask(&app, &vendor, order("R-1", "9801234500")).await.expect(201);
    let other = app.post("/v1/recharges", &stranger.test, order("R-9", "9801234500")).await.expect(201);
    let sought = json!({"ids": [one["id"], other["id"]], "reference_nos": ["R-1", "R-9"]});
    let found = app.post("/v1/recharges/lookup", &vendor.test, sought).await.expect(200);
    let found: Vec<bool> = found["data"].as_array().unwrap().iter().map(|item| !item["recharge"].is_null()).collect();
    assert_eq!(found, [true, false, true, false]);
    app.post("/v1/recharges/lookup", &vendor.test, json!({})).await.expect(422);
    let many: Vec<String> = (0..501).map(|number| format!("R-{number}")).collect();
    app.post("/v1/recharges/lookup", &vendor.test, json!({"reference_nos": many})).await.expect(422);
    app.finish().await;
}

#[tokio::test]
async fn a_statement_is_checked_by_its_trailer() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let empty = app.get("/v1/recharges.csv", &vendor.test).await.expect_text(200).to_owned();
    assert!(empty.starts_with("id,transaction_id,reference_no,status") && empty.contains("\n# count,0\n# sha256,"), "{empty}");
    for (reference, number) in [("R-1", "9801234500"), ("=R,2", "9801234501"), ("R-3", "9801234500")] {
        let made = ask(&app, &vendor, order(reference, number)).await.expect(201);
        until_status(&app, &vendor, &made, if number.ends_with("01") { "failed" } else { "success" }).await;
        app.advance(Duration::from_secs(60));
    }
    let whole = app.get("/v1/recharges.csv?since=2026-11-24T00:00:00Z", &vendor.test).await.expect_text(200).to_owned();
    let (lines, trailer) = whole.split_at(whole.find("# count").expect("a trailer"));
    assert_eq!(lines.lines().count(), 4);
    assert!(lines.contains("\"'=R,2\""), "no spreadsheet takes it for a formula: {lines}");
    let digest: String = Sha256::digest(lines).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(trailer, format!("# count,3\n# sum of success,NPR,200.00\n# sha256,{digest}\n"));
    let none = app.get("/v1/recharges.csv?until=2026-11-24T00:00:00Z", &vendor.test).await.expect_text(200).to_owned();
    assert!(none.contains("# count,0"));
    assert!(app.get("/v1/recharges.csv", &vendor.live).await.expect_text(200).contains("# count,0"), "the other mode's");
    app.get("/v1/recharges.csv?since=x", &vendor.test).await.expect(422);
    app.finish().await;
}

#[tokio::test]
async fn the_catalogue_is_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("catalogue.toml");
    let text = r#"
[[network]]
id = 5
name = "Sagarmatha"
country = "np"
currency = "NPR"
service = [{ id = 1, name = "Packs", digits = "6-8", package = [{ id = 9, name = "Day", amount = "35" }, { id = 10, name = "Week", amount = "99.50" }] }]
"#;
    std::fs::write(&file, text).expect("the file is written");
    let app = TestApp::with(&[("catalogue", file.to_str().expect("a path"))]).await;
    let vendor = app.vendor().await;
    let order = |package: Value, amount: &str| json!({"reference_no": format!("R-{package}-{amount}"), "operator_id": 5, "connection_no": "123456", "amount": amount, "package_id": package});
    let made = ask(&app, &vendor, order(json!(10), "99.50")).await.expect(201);
    assert_eq!((&made["operator"], &made["amount"]), (&json!("Sagarmatha"), &json!("99.50")));
    until_status(&app, &vendor, &made, "success").await;
    for (package, amount, field) in
        [(json!(9), "99.50", "amount"), (json!(11), "35", "package_id"), (Value::Null, "35", "package_id"), (json!(9), "36", "amount")]
    {
        let refused = ask(&app, &vendor, order(package.clone(), amount)).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{package} {amount}");
    }
    let packs = app.post("/np/recharge/package", &vendor.test, json!({"operator_id": 5, "operator_type_id": 1})).await.expect(200);
    assert_eq!(packs["data"], json!([{"id": 9, "name": "Day", "amount": "35.00"}, {"id": 10, "name": "Week", "amount": "99.50"}]));
    app.finish().await;
}

/// What vendors of an existing platform call, with and without its base path.
#[tokio::test]
async fn the_platforms_api_is_served_in_its_words() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let call = |path: &'static str, body: Value| app.post(path, &vendor.test, body);
    let body = json!({"operator_id": "1", "operator_type_id": 1, "connection_no": "9801234502", "reference_no": "A-1", "amount": 100, "package_name": "Day"});
    let made = call("/api/v1/np/recharge/execute", body).await.expect(200);
    assert_eq!((&made["error"], &made["data"]["status"], &made["data"]["order_id"]), (&json!(false), &json!("Queued"), &json!("A-1")));
    assert_eq!(made["data"]["amount"], "100.00");
    let number = made["data"]["transaction_id"].clone();
    assert!(number.is_i64(), "{number}");
    let settled = until("it is settled", || async {
        app.advance(Duration::from_secs(1));
        let seen = call("/np/service/status", json!({"transaction_id": number})).await.expect(200);
        Some(seen).filter(|seen| seen["data"]["status"] == "Success")
    })
    .await;
    assert_eq!(settled["data"]["details"], json!({"connection_no": "9801234502", "operator": "Ncell"}));
    assert_eq!(settled["data"]["package_name"], "Day");
    let by_reference = call("/api/v1/np/service/status", json!({"reference_no": "A-1"})).await.expect(200);
    assert_eq!(by_reference["data"], settled["data"]);
    let bad =
        call("/in/recharge/execute", json!({"operator_id": 1, "connection_no": "9801234502", "reference_no": "A-2", "amount": 100})).await;
    let bad = bad.expect(422);
    assert_eq!((&bad["error"], bad["message"].as_str().unwrap().contains("operator_id")), (&json!(true), true), "Ncell is not in India");
    assert_eq!(app.post("/np/recharge/execute", "wrong", json!({})).await.expect(401)["error"], true);
    let circles = app.get("/api/v1/in/circle", &vendor.test).await.expect(200);
    assert!(circles["data"].as_array().unwrap().iter().all(|circle| circle["value"].is_i64() && circle["label"].is_string()));
    let operators = app.get("/np/operator", &vendor.test).await.expect(200);
    assert!(operators["data"].as_array().unwrap().iter().any(|operator| operator["label"] == "Ncell"));
    assert_eq!(
        call("/np/recharge/package", json!({"operator_id": 1, "operator_type_id": 2, "connection_no": "9801234502", "reference_no": "x"}))
            .await
            .expect(200)["data"],
        json!([])
    );
    app.finish().await;
}
