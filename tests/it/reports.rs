//! Reports through the API, and the ledger as it is read back.

use serde_json::{Value, json};

use crate::client::{Request, problems, send};
use crate::harness::{TestApp, Vendor, references, text};
use crate::receiver::Receiver;

async fn report(app: &TestApp, reports: Value) -> Vec<Value> {
    let answer = app.post("/v1/reports", &app.operator, json!({"reports": reports})).await.expect(200);
    answer["results"].as_array().expect("results").clone()
}

/// A report about a vendor's recharge, with more fields.
fn about(vendor: &Vendor, reference: &str, status: &str, more: Value) -> Value {
    let mut report = json!({"vendor_id": vendor.id, "reference_no": reference, "status": status});
    report.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    report
}

fn verdicts(results: &[Value]) -> Vec<(&str, &str)> {
    results.iter().map(|result| (result["verdict"].as_str().unwrap_or("-"), result["status"].as_str().unwrap_or("-"))).collect()
}

#[tokio::test]
async fn the_five_verdicts_in_one_request_in_their_order() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let claim = |reference: &str, status: &str| about(&vendor, reference, status, json!({}));
    let results = report(
        &app,
        json!([
            claim("A", "queued"),
            claim("A", "queued"),
            claim("A", "success"),
            claim("A", "success"),
            claim("A", "queued"),
            claim("A", "failed"),
            claim("B", "failed"),
            claim("B", "reversed"),
            claim("C", "success"),
        ]),
    )
    .await;
    let expected = [
        ("created", "queued"),
        ("duplicate", "queued"),
        ("accepted", "success"),
        ("duplicate", "success"),
        ("duplicate", "success"),
        ("conflict", "success"),
        ("created", "failed"),
        ("invalid", "-"),
        ("created", "success"),
    ];
    assert_eq!(verdicts(&results), expected);
    assert!(results[0].get("event_id").is_none() && results[1].get("event_id").is_none(), "nothing settled yet");
    assert_eq!(results[2]["event_id"], results[3]["event_id"], "a duplicate names the event there is");
    assert!(results[6]["event_id"].is_string() && results[8]["event_id"].is_string());
    assert!(results[..6].iter().all(|result| result["recharge_id"] == results[0]["recharge_id"]));
    app.finish().await;
}

#[tokio::test]
async fn good_and_bad_items_are_told_apart_with_all_problems_of_each() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let bad = json!({"vendor_id": vendor.id, "status": "done", "amount": "5.123", "currency": "NPR", "colour": "red", "reason": 5, "occurred_at": "now"});
    let results = report(
        &app,
        json!([
            about(&vendor, "A", "success", json!({})),
            bad,
            "text",
            {"vendor_id": "ven_0000000000000", "reference_no": "X", "status": "success"},
            {"reference_no": 7},
            about(&vendor, "B", "success", json!({"amount": "5"})),
            about(&vendor, &"r".repeat(129), "success", json!({"mode": "production"})),
            about(&vendor, "C", "success", json!({})),
        ]),
    )
    .await;
    let verdict: Vec<_> = verdicts(&results).into_iter().map(|(verdict, _)| verdict).collect();
    assert_eq!(verdict, ["created", "invalid", "invalid", "invalid", "invalid", "invalid", "invalid", "created"]);
    let fields = |at: usize| {
        let mut fields: Vec<_> = problems(&results[at]).into_iter().map(|(field, _)| field).collect();
        fields.sort();
        fields
    };
    assert_eq!(fields(1), ["amount", "colour", "occurred_at", "reason", "reference_no", "status"]);
    assert!(problems(&results[1]).contains(&("colour".to_owned(), "unknown_field".to_owned())));
    assert_eq!((fields(3), fields(5)), (vec!["vendor_id".to_owned()], vec!["currency".to_owned()]));
    assert_eq!(
        (fields(4), fields(6)),
        (vec!["reference_no".into(), "status".into(), "vendor_id".into()], vec!["mode".into(), "reference_no".into()])
    );
    assert_eq!(
        (&results[1]["reference_no"], &results[3]["reference_no"], &results[4]["reference_no"]),
        (&Value::Null, &json!("X"), &Value::Null)
    );
    assert!(results[1]["recharge_id"].is_null() && results[1]["status"].is_null());
    app.finish().await;
}

#[tokio::test]
async fn a_request_has_1_to_1000_reports() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let many = |count: usize| (0..count).map(|number| about(&vendor, &format!("R-{number}"), "queued", json!({}))).collect::<Vec<_>>();
    for body in [json!({}), json!({"reports": []}), json!({"reports": null}), json!({"reports": {}}), json!({"reports": many(1001)})] {
        let answer = app.post("/v1/reports", &app.operator, body).await;
        assert_eq!(answer.code(422), "invalid");
        assert_eq!(answer.problems(), [("reports".to_owned(), "invalid".to_owned())]);
    }
    let both = app.post("/v1/reports", &app.operator, json!({"reports": [], "more": 1})).await;
    assert_eq!((both.code(422).as_str(), both.problems().len()), ("invalid", 2), "all problems at once");
    assert_eq!(report(&app, json!(many(1000))).await.len(), 1000);
    assert_eq!(report(&app, json!(many(1))).await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn amounts_are_read_as_they_are_written_and_compared_by_value() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let raw = |amount: &str, currency: &str, reference: &str| {
        format!(
            r#"{{"reports":[{{"vendor_id":"{}","reference_no":"{reference}","status":"success","amount":{amount},"currency":"{currency}"}}]}}"#,
            vendor.id
        )
    };
    for (number, (amount, currency, shown)) in [
        ("50", "NPR", Some("50.00")),
        ("50.5", "NPR", Some("50.50")),
        ("\"50.500\"", "NPR", Some("50.50")),
        ("9999999999999.99", "NPR", Some("9999999999999.99")),
        ("0.07", "NPR", Some("0.07")),
        ("\"500\"", "JPY", Some("500")),
        ("1.234", "KWD", Some("1.234")),
        ("50.001", "NPR", None),
        ("1.5", "JPY", None),
        ("-5", "NPR", None),
        ("99999999999999", "NPR", None),
        ("\"\"", "NPR", None),
        ("\"5,00\"", "NPR", None),
        ("true", "NPR", None),
        ("5", "npr", None),
        ("5", "XYZ", None),
    ]
    .into_iter()
    .enumerate()
    {
        let body = Some(raw(amount, currency, &format!("R-{number}")).into_bytes());
        let request = Request { method: "POST", path: "/v1/reports", token: Some(&app.operator), body, ..Request::default() };
        let result = send(app.address, request).await.expect(200)["results"][0].clone();
        assert_eq!(result["verdict"], if shown.is_some() { "created" } else { "invalid" }, "{amount} {currency}: {result}");
        if let Some(shown) = shown {
            let recharge = app.get(&format!("/v1/recharges/{}", text(&result["recharge_id"])), &vendor.live).await.expect(200);
            assert_eq!((&recharge["amount"], &recharge["currency"]), (&json!(shown), &json!(currency)));
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn other_money_or_another_number_is_a_conflict_and_moves_nothing() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let first = json!({"amount": "50", "currency": "NPR", "connection_no": "9801234567"});
    report(&app, json!([about(&vendor, "A", "queued", first)])).await;
    for (more, verdict, status) in [
        (json!({"amount": "51", "currency": "NPR"}), "conflict", "queued"),
        (json!({"connection_no": "9800000000"}), "conflict", "queued"),
        (json!({"currency": "INR"}), "conflict", "queued"),
        (json!({"amount": 50.00, "currency": "NPR", "provider_ref": "P-1", "reason": "ok"}), "accepted", "success"),
        (json!({"amount": "50.0", "currency": "NPR", "connection_no": "9801234567"}), "duplicate", "success"),
        (json!({"amount": "49", "currency": "NPR"}), "conflict", "success"),
    ] {
        let results = report(&app, json!([about(&vendor, "A", "success", more.clone())])).await;
        assert_eq!(verdicts(&results), [(verdict, status)], "{more}");
    }
    let listed = app.get("/v1/recharges?reference_no=A", &vendor.live).await.expect(200);
    let path = format!("/v1/recharges/{}", text(&listed["data"][0]["id"]));
    let recharge = app.get(&path, &vendor.live).await.expect(200);
    let history: Vec<_> = recharge["reports"].as_array().expect("reports").iter().map(|report| text(&report["verdict"])).collect();
    assert_eq!(history, ["created", "conflict", "conflict", "conflict", "accepted", "duplicate", "conflict"]);
    assert_eq!((&recharge["provider_ref"], &recharge["amount"]), (&json!("P-1"), &json!("50.00")));
    app.finish().await;
}

#[tokio::test]
async fn of_many_at_once_one_settles_a_recharge() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let one = |status: &'static str| {
        let (app, report_of) = (&app, json!({"reports": [about(&vendor, "A", status, json!({}))]}));
        async move { text(&app.post("/v1/reports", &app.operator, report_of).await.expect(200)["results"][0]["verdict"]) }
    };
    let verdicts = tokio::join!(
        one("success"),
        one("failed"),
        one("success"),
        one("failed"),
        one("queued"),
        one("success"),
        one("queued"),
        one("failed")
    );
    let verdicts: [String; 8] = verdicts.into();
    let count = |verdict: &str| verdicts.iter().filter(|one| *one == verdict).count();
    assert_eq!(count("created") + count("accepted") + count("duplicate") + count("conflict"), 8, "{verdicts:?}");
    assert!(count("created") == 1 && count("accepted") <= 1, "{verdicts:?}");
    let feed = app.get("/v1/events", &vendor.live).await.expect(200);
    assert_eq!(feed["data"].as_array().map(Vec::len), Some(1), "one settled, one event");
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let raw = |body: Vec<u8>| {
        let request = Request { method: "POST", path: "/v1/reports", token: Some(&app.operator), body: Some(body), ..Request::default() };
        send(app.address, request)
    };
    for body in ["{", "[]", "5", "{\"reports\": [}", "nonsense", "{} {}"] {
        assert_eq!(raw(body.into()).await.code(400), "malformed", "{body}");
    }
    assert_eq!(raw(vec![0xff, 0xfe, b'{']).await.code(400), "malformed");
    let padded = |size: usize| format!("{{\"reports\":[]{}}}", " ".repeat(size - 14)).into_bytes();
    assert_eq!(raw(padded(1 << 20)).await.code(422), "invalid", "1 MiB is taken");
    assert_eq!(raw(padded((1 << 20) + 1)).await.code(413), "too_large");
    let coded = |coding: &'static str, body: &[u8]| {
        let (headers, body) = (&[("content-encoding", coding)], Some(body.to_vec()));
        let headers = Box::leak(Box::new(*headers));
        send(app.address, Request { method: "POST", path: "/v1/reports", token: Some(&app.operator), headers, body })
    };
    assert_eq!(coded("gzip", &[0x1f, 0x8b, 8, 0]).await.code(415), "compressed");
    assert_eq!(coded("identity, BR", b"{}").await.code(415), "compressed");
    assert_eq!(coded("utf-8", b"{\"reports\":[]}").await.code(422), "invalid", "no coding, but a mistake that harms nobody");
    for (path, method, token, status, code) in [
        ("/v1/reports", "POST", "", 401, "unauthorized"),
        ("/v1/reports", "POST", "rb_operator_wrong", 401, "unauthorized"),
        ("/v1/reports", "POST", vendor.live.as_str(), 403, "forbidden"),
        ("/v1/nothing", "GET", app.operator.as_str(), 404, "not_found"),
        ("/v1/recharges/rch_0000000000000", "GET", app.operator.as_str(), 404, "not_found"),
        ("/v1/recharges/evt_0000000000000", "GET", app.operator.as_str(), 404, "not_found"),
        ("/v1/reports", "DELETE", app.operator.as_str(), 405, "method_not_allowed"),
    ] {
        assert_eq!(app.call(method, path, token, None).await.code(status), code, "{method} {path}");
    }
    app.finish().await;
}

// --- Events ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_event_of_the_platforms_own_is_published_once() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"event_types": ["invoice.*"]})).await;
    let publish = json!({"vendor_id": vendor.id, "type": "invoice.paid", "data": {"b": 1.10, "a": "x"}, "dedupe_key": "I-1"});
    let first = app.post("/v1/events", &app.operator, publish.clone()).await.expect(202);
    assert_eq!((&first["sequence"], &first["deliveries"]), (&json!(1), &json!(1)));
    app.until_state(&endpoint, &text(&first["id"]), "succeeded").await;
    assert_eq!(app.post("/v1/events", &app.operator, publish.clone()).await.expect(202), first);
    let body = hook.received()[0].json();
    assert_eq!((&body["type"], &body["sequence"], &body["data"]), (&json!("invoice.paid"), &json!(1), &publish["data"]));
    let other = json!({"vendor_id": vendor.id, "type": "order.sent", "data": {}});
    let unheard = app.post("/v1/events", &app.operator, other).await.expect(202);
    assert_eq!((&unheard["sequence"], &unheard["deliveries"]), (&json!(2), &json!(0)), "its filter does not name it");
    assert_eq!(app.quiet(|| hook.count()).await, 1);
    app.finish().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_published_is_refused() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    for (event_type, code) in [
        ("recharge.success", "reserved_type"),
        ("endpoint.disabled", "reserved_type"),
        ("webhook.test", "reserved_type"),
        ("Invoice.Paid", "invalid"),
        ("invoice", "invalid"),
        ("invoice..paid", "invalid"),
        ("", "invalid"),
    ] {
        let event = json!({"vendor_id": vendor.id, "type": event_type, "data": {}});
        assert_eq!(app.post("/v1/events", &app.operator, event).await.code(422), code, "{event_type}");
    }
    let wrong = json!({"vendor_id": vendor.id, "type": "a.b", "data": [], "mode": "both", "x": 1});
    let answer = app.post("/v1/events", &app.operator, wrong).await;
    assert_eq!((answer.code(422).as_str(), answer.problems().len()), ("invalid", 3));
    let large = json!({"vendor_id": vendor.id, "type": "a.b", "data": {"x": "y".repeat(300_000)}});
    assert_eq!(app.post("/v1/events", &app.operator, large).await.code(413), "too_large");
    assert_eq!(app.post("/v1/events", &vendor.live, json!({})).await.code(403), "forbidden");
    app.finish().await;
}

#[tokio::test]
async fn the_feed_is_in_order_and_without_gaps() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let empty = app.get("/v1/events", &vendor.live).await.expect(200);
    assert_eq!((&empty["data"], &empty["next_after"], &empty["latest_sequence"]), (&json!([]), &json!(0), &json!(0)));
    let ids = app.succeed(&vendor, references(250)).await;
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = app.get(&format!("/v1/events?after={after}&limit=100"), &vendor.live).await.expect(200);
        assert_eq!((&page["oldest_sequence"], &page["latest_sequence"]), (&json!(1), &json!(250)));
        let data = page["data"].as_array().expect("a list").clone();
        if data.is_empty() {
            assert_eq!(page["next_after"], 250);
            break;
        }
        after = page["next_after"].as_i64().expect("a number");
        seen.extend(data);
    }
    let sequences: Vec<_> = seen.iter().map(|event| event["sequence"].as_i64().expect("a number")).collect();
    assert_eq!(sequences, (1..=250).collect::<Vec<_>>());
    assert_eq!(seen.iter().map(|event| text(&event["id"])).collect::<Vec<_>>(), ids);
    let one = app.get(&format!("/v1/events/{}", ids[7]), &vendor.live).await.expect(200);
    assert_eq!((&one, &one["type"], &one["data"]["reference_no"]), (&seen[7], &json!("recharge.success"), &json!("R-8")));
    for query in ["limit=0", "limit=201", "after=-1", "after=x", "page=2", "after=1&after=2"] {
        app.get(&format!("/v1/events?{query}"), &vendor.live).await.code(422);
    }
    app.finish().await;
}

#[tokio::test]
async fn recharges_are_listed_newest_first_and_by_their_filters() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    app.succeed(&vendor, references(60)).await;
    report(&app, json!([about(&vendor, "Q", "queued", json!({"connection_no": "98"}))])).await;
    let page = app.get("/v1/recharges?limit=25", &vendor.live).await.expect(200);
    assert_eq!(page["data"][0]["reference_no"], "Q");
    assert!(page["data"][0].get("reports").is_none(), "the history is in the single read only");
    let next = app.get(&format!("/v1/recharges?limit=200&cursor={}", text(&page["next_cursor"])), &vendor.live).await.expect(200);
    assert_eq!((next["data"].as_array().map(Vec::len), &next["next_cursor"]), (Some(36), &Value::Null));
    let count =
        async |query: &str| app.get(&format!("/v1/recharges?{query}"), &vendor.live).await.expect(200)["data"].as_array().map(Vec::len);
    assert_eq!((count("status=queued").await, count("reference_no=R-7").await), (Some(1), Some(1)));
    for query in ["status=success", "connection_no=98"] {
        assert_eq!(app.get(&format!("/v1/recharges?{query}"), &vendor.live).await.code(422), "range_required", "{query}");
        let wide = format!("/v1/recharges?{query}&since=2026-01-01T00:00:00Z");
        assert_eq!(app.get(&wide, &vendor.live).await.code(422), "range_required", "{query}");
    }
    assert_eq!(count("connection_no=98&since=2026-11-20T00:00:00Z").await, Some(1));
    assert_eq!(count("status=success&since=2026-11-20T00:00:00Z&until=2026-11-24T00:00:00.001Z").await, Some(50));
    assert_eq!(count("since=2026-11-24T00:00:00.001Z").await, Some(0), "since is inclusive, until exclusive");
    assert_eq!(count("until=2026-11-24T00:00:00Z").await, Some(0));
    app.finish().await;
}
