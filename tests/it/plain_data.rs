//! What others wrote is data, and stays as they wrote it: JSON of events, references, amounts and cells.

use serde_json::{Value, json};

use crate::client::{Request, send};
use crate::harness::{TestApp, Vendor, text};
use crate::receiver::Receiver;

async fn post_raw(app: &TestApp, path: &str, body: String) -> crate::client::Reply {
    let request = Request { method: "POST", path, token: Some(&app.operator), body: Some(body.into_bytes()), ..Request::default() };
    send(app.address, request).await
}

fn event(vendor: &Vendor, data: &str) -> String {
    format!(r#"{{"vendor_id": "{}", "type": "case.event", "data": {data}}}"#, vendor.id)
}

#[tokio::test]
async fn the_data_of_an_event_is_delivered_in_every_number_and_name_as_it_was_given() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.connected_with(&vendor, &hook, json!({"event_types": ["*"]})).await;
    let all = [
        r#"{"n":[1e2,1E2,1e+2,1e-2,1.10,-0,-0.0,0.1e1,12345678901234567890123,1e400]}"#,
        r#"{"a":{"$serde_json::private::Number":"12"}}"#,
        r#"{"a":{"$serde_json::private::RawValue":"[1]"}}"#,
        r#"{"$serde_json::private::RawValue":"]","$serde_json::private::Number":1}"#,
    ];
    for data in all {
        post_raw(&app, "/v1/events", event(&vendor, data)).await.expect(202);
    }
    let received = hook.wait(all.len()).await;
    let feed =
        send(app.address, Request { method: "GET", path: "/v1/events?after=0", token: Some(&vendor.live), ..Request::default() }).await;
    for data in all {
        let within = format!(r#""data":{data}"#);
        let sent = received.iter().any(|request| String::from_utf8_lossy(&request.body).contains(&within));
        assert!(sent && feed.text.contains(&within), "{data}: {}", feed.text);
    }
    app.finish().await;
}

#[tokio::test]
async fn no_name_passes_the_bound_on_nesting() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deep = post_raw(&app, "/v1/events", event(&vendor, &format!(r#"{{"a":{}}}"#, nested(500)))).await;
    assert_eq!((deep.code(400).as_str(), deep.text.contains("nested")), ("malformed", true), "{}", deep.text);
    let hidden = format!(r#"{{"a":{{"$serde_json::private::RawValue":"{}"}}}}"#, nested(500));
    post_raw(&app, "/v1/events", event(&vendor, &hidden)).await.expect(202);
    let feed =
        send(app.address, Request { method: "GET", path: "/v1/events?after=0", token: Some(&vendor.live), ..Request::default() }).await;
    assert!(feed.text.contains(&format!(r#"{{"$serde_json::private::RawValue":"{}"}}"#, nested(500))), "it is a text: {}", feed.text);
    app.finish().await;
}

#[tokio::test]
async fn a_reference_that_cannot_be_seen_is_refused_and_named() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let report = async |reference: &str| {
        let item = json!({"vendor_id": vendor.id, "reference_no": reference, "status": "queued"});
        app.post("/v1/reports", &app.operator, json!({"reports": [item]})).await.expect(200)["results"][0].clone()
    };
    let order = async |reference: &str| {
        let body = json!({"reference_no": reference, "operator_id": 1, "connection_no": "9801234567", "amount": "50"});
        app.post("/v1/recharges", &vendor.test, body).await
    };
    assert_eq!((report("INV 1").await["verdict"].clone(), order("INV 1").await.status), (json!("created"), 201));
    for (reference, named) in [
        ("INV-1 ", "U+0020 (space)"),
        (" INV-1", "U+0020 (space)"),
        ("INV-1\u{a0}", "U+00A0 (no-break space)"),
        ("INV\u{200b}-1", "U+200B (zero width space)"),
        ("\u{200f}INV-1", "U+200F (right-to-left mark)"),
        ("Cafe\u{301}", "normalization form C"),
    ] {
        let reported = report(reference).await;
        assert_eq!((&reported["verdict"], &reported["errors"][0]["field"]), (&json!("invalid"), &json!("reference_no")), "{reported}");
        assert!(text(&reported["errors"][0]["message"]).contains(named), "{reported}");
        let ordered = order(reference).await;
        assert_eq!(ordered.problems(), [("reference_no".to_owned(), "invalid".to_owned())], "{reference:?}");
        assert!(ordered.text.contains(named), "{}", ordered.text);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_statement_adds_up_and_no_cell_of_it_is_executed() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let item = |number: usize, provider_ref: &str| -> Value {
        json!({
            "vendor_id": vendor.id, "reference_no": format!("INV-{number}"), "status": "success", "amount": "9999999999999.9999",
            "currency": "CLF", "provider_ref": provider_ref,
        })
    };
    let odd = ["=1+1", ";=1+1", "x;=1+1", " =1+1", "\"=1+1", "x|@SUM(A1)"];
    let reports: Vec<Value> = (0..100).map(|number| item(number, odd.get(number).unwrap_or(&"plain"))).collect();
    app.post("/v1/reports", &app.operator, json!({"reports": reports})).await.expect(200);
    let csv = app.get("/v1/recharges.csv", &vendor.live).await;
    assert!(csv.text.contains("# sum of success,CLF,999999999999999.9900\n"), "{}", csv.text);
    let mut lines = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(csv.text.as_bytes());
    let cells: Vec<String> = lines.records().map(|line| line.expect("a line")[10].to_owned()).take(odd.len()).collect();
    assert_eq!(cells, ["'=1+1", "';'=1+1", "x;'=1+1", "' '=1+1", "'\"'=1+1", "x|'@SUM(A1)"]);
    app.finish().await;
}
