//! What a person decides: contradictions resolved, recharges settled, and what is told of it.

use serde_json::{Value, json};

use crate::client::Reply;
use crate::harness::{TestApp, Vendor, text, time};
use crate::receiver::Receiver;

/// Reports one status of a recharge with more fields; answers the item's result.
async fn report(app: &TestApp, vendor: &Vendor, reference: &str, status: &str, more: Value) -> Value {
    let mut item = json!({"vendor_id": vendor.id, "reference_no": reference, "status": status});
    item.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    app.post("/v1/reports", &app.operator, json!({"reports": [item]})).await.expect(200)["results"][0].clone()
}

/// A recharge that came to `first`, and was then claimed to have come to `then`: its conflict.
async fn contradicted(app: &TestApp, vendor: &Vendor, reference: &str, [first, then]: [&str; 2]) -> Value {
    let settled = report(app, vendor, reference, first, json!({"connection_no": "9801234567"})).await;
    assert_eq!(report(app, vendor, reference, then, json!({})).await["verdict"], "conflict");
    let path = format!("/v1/conflicts?recharge_id={}", text(&settled["recharge_id"]));
    app.get(&path, &app.operator).await.expect(200)["data"][0].clone()
}

async fn resolve(app: &TestApp, conflict: &Value, to: &str) -> Reply {
    let path = format!("/v1/conflicts/{}/resolve", text(&conflict["id"]));
    app.post(&path, &app.operator, json!({"as": to, "reason": "the provider said so"})).await
}

async fn recharge(app: &TestApp, vendor: &Vendor, of: &Value) -> Value {
    app.get(&format!("/v1/recharges/{}", text(of)), &vendor.live).await.expect(200)
}

async fn actions(app: &TestApp) -> Vec<String> {
    let entries = app.get("/v1/audit", &app.operator).await.expect(200)["data"].clone();
    entries.as_array().expect("entries").iter().map(|entry| text(&entry["action"])).collect()
}

#[tokio::test]
async fn a_conflict_is_shown_with_both_sides() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let conflict = contradicted(&app, &vendor, "R-1", ["success", "failed"]).await;
    for (field, value) in [
        ("field", json!("status")),
        ("status", json!("success")),
        ("claimed", json!("failed")),
        ("ours", json!("success")),
        ("theirs", json!("failed")),
        ("state", json!("open")),
        ("reason", Value::Null),
        ("resolved_by", Value::Null),
        ("resolved_at", Value::Null),
    ] {
        assert_eq!(conflict[field], value, "{field}");
    }
    assert_eq!(time(&conflict["received_at"]), app.now());
    let alone = app.get(&format!("/v1/conflicts/{}", text(&conflict["id"])), &app.operator).await.expect(200);
    assert_eq!(alone, conflict);
    report(&app, &vendor, "R-1", "failed", json!({})).await;
    assert_eq!(app.get("/v1/conflicts", &app.operator).await.expect(200)["data"].as_array().map(Vec::len), Some(1), "one case");
    app.finish().await;
}

#[tokio::test]
async fn a_reversal_moves_the_recharge_and_is_told() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let conflict = contradicted(&app, &vendor, "R-1", ["success", "failed"]).await;
    hook.wait(1).await;
    app.advance(std::time::Duration::from_secs(60));
    let resolved = resolve(&app, &conflict, "reversed").await.expect(200);
    assert_eq!((&resolved["status"], &resolved["reason"]), (&json!("reversed"), &json!("the provider said so")));
    let told = hook.wait(2).await[1].json();
    assert_eq!((&told["type"], &told["data"]["status"]), (&json!("recharge.reversed"), &json!("reversed")));
    assert_eq!((&told["data"]["sequence"], &told["data"]["reason"]), (&json!(2), &json!("the provider said so")));
    let after = app.get(&format!("/v1/conflicts/{}", text(&conflict["id"])), &app.operator).await.expect(200);
    assert_eq!((&after["state"], &after["status"], &after["reason"]), (&json!("reversed"), &json!("reversed"), &resolved["reason"]));
    assert!(text(&after["resolved_by"]).starts_with("operator tok_"));
    assert_eq!(time(&after["resolved_at"]), app.now());
    let history = recharge(&app, &vendor, &conflict["recharge_id"]).await["reports"].clone();
    let verdicts: Vec<_> = history.as_array().expect("reports").iter().map(|one| (text(&one["source"]), text(&one["verdict"]))).collect();
    let expected = [("report", "created"), ("report", "conflict"), ("operator", "accepted")];
    assert_eq!(verdicts, expected.map(|(source, verdict)| (source.to_owned(), verdict.to_owned())));
    assert_eq!(actions(&app).await[0], "conflict.resolved");
    app.until_count(&endpoint, "succeeded", 2).await;
    app.finish().await;
}

#[tokio::test]
async fn a_late_success_says_so() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let conflict = contradicted(&app, &vendor, "R-1", ["failed", "success"]).await;
    let resolved = resolve(&app, &conflict, "late_success").await.expect(200);
    assert_eq!((&resolved["status"], &resolved["late"], &resolved["reason"]), (&json!("success"), &json!(true), &Value::Null));
    let told = hook.wait(2).await[1].json();
    assert_eq!((&told["type"], &told["data"]["late"]), (&json!("recharge.success"), &json!(true)));
    assert_eq!(recharge(&app, &vendor, &conflict["recharge_id"]).await["late"], json!(true));
    app.until_count(&endpoint, "succeeded", 2).await;
    app.finish().await;
}

#[tokio::test]
async fn a_dismissed_case_moves_nothing_and_is_not_opened_again() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let conflict = contradicted(&app, &vendor, "R-1", ["success", "failed"]).await;
    assert_eq!(resolve(&app, &conflict, "dismissed").await.expect(200)["status"], "success");
    assert_eq!(report(&app, &vendor, "R-1", "failed", json!({})).await["verdict"], "conflict");
    let open = app.get("/v1/conflicts?state=open", &app.operator).await.expect(200);
    assert_eq!(open["data"], json!([]), "at most one case, dismissed ones included");
    app.until_count(&endpoint, "succeeded", 1).await;
    assert_eq!(app.quiet(|| hook.count()).await, 1);
    app.finish().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let taken_back = contradicted(&app, &vendor, "R-1", ["success", "failed"]).await;
    assert_eq!(resolve(&app, &taken_back, "late_success").await.code(409), "illegal_state");
    let late = contradicted(&app, &vendor, "R-2", ["failed", "success"]).await;
    assert_eq!(resolve(&app, &late, "reversed").await.code(409), "illegal_state");
    report(&app, &vendor, "R-3", "success", json!({"amount": "50.00", "currency": "NPR"})).await;
    report(&app, &vendor, "R-3", "success", json!({"amount": "60.00", "currency": "NPR"})).await;
    let amount = app.get("/v1/conflicts?state=open", &app.operator).await.expect(200)["data"][0].clone();
    assert_eq!((&amount["field"], &amount["ours"], &amount["theirs"]), (&json!("amount"), &json!("50.00"), &json!("60.00")));
    for to in ["reversed", "late_success"] {
        assert_eq!(resolve(&app, &amount, to).await.code(409), "illegal_state");
    }
    resolve(&app, &amount, "dismissed").await.expect(200);
    assert_eq!(resolve(&app, &amount, "dismissed").await.code(409), "illegal_state", "it is resolved already");
    let path = format!("/v1/conflicts/{}/resolve", text(&late["id"]));
    for (body, fields) in
        [(json!({}), vec!["as", "reason"]), (json!({"as": "open", "reason": "x"}), vec!["as"]), (json!({"as": "no"}), vec!["as", "reason"])]
    {
        let answer = app.post(&path, &app.operator, body).await;
        answer.code(422);
        let mut named: Vec<String> = answer.problems().into_iter().map(|(field, _)| field).collect();
        named.dedup();
        assert_eq!(named, fields);
    }
    assert_eq!(actions(&app).await.iter().filter(|action| *action == "conflict.resolved").count(), 1, "a refusal is no deed");
    assert_eq!(app.get(&format!("/v1/events?vendor_id={}", vendor.id), &app.operator).await.expect(200)["latest_sequence"], 3);
    app.finish().await;
}

#[tokio::test]
async fn conflicts_are_listed_newest_first_and_chosen() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let mut ids = Vec::new();
    for number in 1..=5 {
        app.advance(std::time::Duration::from_secs(1));
        ids.push(text(&contradicted(&app, &vendor, &format!("R-{number}"), ["success", "failed"]).await["id"]));
    }
    let first = app.get("/v1/conflicts?limit=2", &app.operator).await.expect(200);
    let second = app.get(&format!("/v1/conflicts?limit=3&cursor={}", text(&first["next_cursor"])), &app.operator).await.expect(200);
    let listed = |page: &Value| page["data"].as_array().expect("a list").iter().map(|one| text(&one["id"])).collect::<Vec<_>>();
    ids.reverse();
    assert_eq!([listed(&first), listed(&second)].concat(), ids);
    let newest = json!({"id": ids[0]});
    resolve(&app, &newest, "dismissed").await.expect(200);
    let open = app.get("/v1/conflicts?state=open", &app.operator).await.expect(200);
    assert_eq!(listed(&open), ids[1..]);
    assert_eq!(app.get("/v1/conflicts?state=dismissed", &app.operator).await.code(422), "range_required");
    let dismissed = app.get("/v1/conflicts?state=dismissed&since=2026-11-24T00:00:00Z", &app.operator).await.expect(200);
    assert_eq!(listed(&dismissed), ids[..1]);
    app.finish().await;
}

#[tokio::test]
async fn reports_after_a_reversal_are_old_news() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let conflict = contradicted(&app, &vendor, "R-1", ["success", "failed"]).await;
    resolve(&app, &conflict, "reversed").await.expect(200);
    for status in ["queued", "success", "failed"] {
        assert_eq!(report(&app, &vendor, "R-1", status, json!({})).await["verdict"], "duplicate", "{status}");
    }
    assert_eq!(report(&app, &vendor, "R-1", "failed", json!({"connection_no": "1"})).await["verdict"], "conflict");
    let late = contradicted(&app, &vendor, "R-2", ["failed", "success"]).await;
    resolve(&app, &late, "late_success").await.expect(200);
    for status in ["queued", "success", "failed"] {
        assert_eq!(report(&app, &vendor, "R-2", status, json!({})).await["verdict"], "duplicate", "{status}: it has been both");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_reversal_goes_to_an_older_receiver_only_if_it_names_it() {
    let app = TestApp::start().await;
    let (all, named) = (Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let secret = "0123456789abcdef0123456789abcdef";
    for (hook, event_types) in [(&all, json!(["recharge.*"])), (&named, json!(["recharge.reversed"]))] {
        hook.next([crate::receiver::Answer::status(200).with_header("content-type", "application/json")]);
        let settings = json!({"profile": "globaltopup", "secret": secret, "event_types": event_types});
        app.connected_with(&vendor, hook, settings).await;
    }
    let conflict = contradicted(&app, &vendor, "R-1", ["success", "failed"]).await;
    resolve(&app, &conflict, "reversed").await.expect(200);
    let told = named.wait(1).await.remove(0).json();
    let opened = ringback::wire::globaltopup::open(&ringback::domain::secret::Secret::new(secret), &text(&told["data"])).expect("it opens");
    assert_eq!(serde_json::from_slice::<Value>(&opened).expect("JSON")["status"], "Reversed");
    all.wait(1).await;
    assert_eq!(app.quiet(|| all.count() + named.count()).await, 2);
    app.finish().await;
}

#[tokio::test]
async fn a_person_settles_a_recharge_that_nobody_else_will() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let queued = report(&app, &vendor, "R-1", "queued", json!({})).await;
    let path = format!("/v1/recharges/{}/resolve", text(&queued["recharge_id"]));
    let wrong = app.post(&path, &app.operator, json!({"status": "reversed", "colour": 1})).await;
    wrong.code(422);
    let named: Vec<String> = wrong.problems().into_iter().map(|(field, _)| field).collect();
    assert_eq!(named, ["status", "reason", "colour"]);
    let settle = json!({"status": "failed", "reason": "the provider lost it", "provider_ref": "P-7"});
    let settled = app.post(&path, &app.operator, settle.clone()).await.expect(200);
    assert_eq!(
        (&settled["status"], &settled["reason"], &settled["provider_ref"]),
        (&json!("failed"), &json!("the provider lost it"), &json!("P-7"))
    );
    let told = hook.wait(1).await.remove(0).json();
    assert_eq!((&told["type"], &told["data"]["reason"]), (&json!("recharge.failed"), &json!("the provider lost it")));
    assert_eq!(app.post(&path, &app.operator, settle).await.code(409), "illegal_state");
    let history = recharge(&app, &vendor, &queued["recharge_id"]).await["reports"].clone();
    assert_eq!((&history[1]["source"], &history[1]["verdict"]), (&json!("operator"), &json!("accepted")));
    assert_eq!(actions(&app).await[0], "recharge.resolved");
    app.until_count(&endpoint, "succeeded", 1).await;
    app.finish().await;
}

#[tokio::test]
async fn of_two_decisions_at_once_one_counts() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let conflict = contradicted(&app, &vendor, "R-1", ["success", "failed"]).await;
    let (one, other, third) =
        tokio::join!(resolve(&app, &conflict, "reversed"), resolve(&app, &conflict, "reversed"), resolve(&app, &conflict, "dismissed"));
    let mut statuses = [one.status, other.status, third.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409]);
    let feed = app.get("/v1/events", &vendor.live).await.expect(200);
    let decided = app.get(&format!("/v1/conflicts/{}", text(&conflict["id"])), &app.operator).await.expect(200);
    assert_eq!(feed["latest_sequence"], if decided["state"] == "reversed" { 2 } else { 1 });
    assert_eq!(actions(&app).await.iter().filter(|action| *action == "conflict.resolved").count(), 1);
    let count = feed["data"].as_array().map_or(0, Vec::len);
    app.until_count(&endpoint, "succeeded", count).await;
    app.finish().await;
}

#[tokio::test]
async fn a_report_opens_a_case_for_each_thing_that_it_contradicts() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let money = |amount: &str| json!({"amount": amount, "currency": "NPR", "connection_no": "9801234567"});
    let settled = report(&app, &vendor, "R-1", "success", money("50.00")).await;
    for _ in 0..2 {
        let other = json!({"amount": "60.00", "currency": "NPR", "connection_no": "9847654321"});
        assert_eq!(report(&app, &vendor, "R-1", "failed", other).await["verdict"], "conflict");
    }
    let path = format!("/v1/conflicts?recharge_id={}", text(&settled["recharge_id"]));
    let cases =
        async |query: &str| app.get(&format!("{path}{query}"), &app.operator).await.expect(200)["data"].as_array().expect("a list").clone();
    let all = cases("").await;
    let mut fields: Vec<String> = all.iter().map(|case| text(&case["field"])).collect();
    fields.sort();
    assert_eq!(fields, ["amount", "connection_no", "status"], "once each");
    let of = |field: &str| all.iter().find(|case| case["field"] == field).expect("a case");
    resolve(&app, of("status"), "reversed").await.expect(200);
    assert_eq!(cases("&state=open").await.len(), 2, "each is decided by itself");
    assert_eq!(resolve(&app, of("amount"), "reversed").await.code(409), "illegal_state");
    for field in ["amount", "connection_no"] {
        assert_eq!(resolve(&app, of(field), "dismissed").await.expect(200)["status"], "reversed");
    }
    assert_eq!((cases("&state=open").await.len(), cases("&state=dismissed").await.len()), (0, 2));
    app.finish().await;
}

#[tokio::test]
async fn a_decision_stays_in_its_mode() {
    let (app, live, test) = (TestApp::start().await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.connected(&vendor, &live).await;
    let as_test = Vendor { live: vendor.test.clone(), ..vendor.clone() };
    let endpoint = app.connected(&as_test, &test).await;
    for status in ["failed", "success"] {
        report(&app, &vendor, "T-1", status, json!({"mode": "test"})).await;
    }
    let conflict = app.get("/v1/conflicts", &app.operator).await.expect(200)["data"][0].clone();
    resolve(&app, &conflict, "late_success").await.expect(200);
    app.until_count(&endpoint, "succeeded", 2).await;
    let told = test.received()[1].json();
    assert_eq!((&told["data"]["mode"], &told["data"]["late"], &told["data"]["sequence"]), (&json!("test"), &json!(true), &json!(2)));
    assert_eq!(
        (app.quiet(|| live.count()).await, app.get("/v1/events", &vendor.live).await.expect(200)["latest_sequence"].clone()),
        (0, json!(0))
    );
    let entry = app.get("/v1/audit?limit=1", &app.operator).await.expect(200)["data"][0].clone();
    assert_eq!((&entry["mode"], &entry["vendor_id"]), (&json!("test"), &json!(vendor.id)));
    app.finish().await;
}

#[tokio::test]
async fn what_is_reported_after_a_person_settled_is_judged_like_any_other() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let queued = report(&app, &vendor, "R-1", "queued", json!({"reason": "waiting for the network"})).await;
    let path = format!("/v1/recharges/{}/resolve", text(&queued["recharge_id"]));
    let settled = app.post(&path, &app.operator, json!({"status": "success", "reason": "seen on the bill"})).await.expect(200);
    assert_eq!((&settled["status"], &settled["late"]), (&json!("success"), &json!(false)));
    let same = report(&app, &vendor, "R-1", "success", json!({"provider_ref": "P-1"})).await;
    assert_eq!(same["verdict"], "duplicate");
    assert!(same["event_id"].is_string(), "{same}");
    assert_eq!(report(&app, &vendor, "R-1", "failed", json!({})).await["verdict"], "conflict");
    assert_eq!(recharge(&app, &vendor, &queued["recharge_id"]).await["provider_ref"], "P-1", "null is filled");
    assert_eq!(
        app.post("/v1/recharges/rch_0000000000000/resolve", &app.operator, json!({"status": "failed", "reason": "x"})).await.code(404),
        "not_found"
    );
    app.finish().await;
}
