//! Live recharges at a provider over real HTTP, which misbehaves as it is told. A timeout is not a failure: nothing is handed over
//! twice, and nothing settles before somebody knows.

use std::sync::Arc;
use std::time::Duration;

use ringback::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::client::{Reply, Request, send};
use crate::harness::{Setup, TestApp, Vendor, text, until};
use crate::mail_server::MailServer;
use crate::process_errors::run;
use crate::receiver::{Answer, Receiver};

/// A provider as WIRE.md has one: its own paths for handing over and asking, states in words.
fn configuration(url: &str, callback: &str) -> String {
    format!(
        r#"
[[provider]]
name = "topup"
enquire_after = "30s"
submit = {{ url = "{url}/use/{{operator_id}}/", failed_status = [404], body = {{ token = "t0ken", reference = "{{reference}}", amount = "{{amount}}", number = "{{connection_no}}" }} }}
enquire = {{ url = "{url}/status/", format = "json", body = {{ reference = "{{reference}}" }}, unknown = ["unknown reference"] }}
answer = {{ state = "state", provider_ref = "id", reason = "message", success = ["Success"], queued = ["Queued", "Processing"], failed = ["Expired", "Error", "Failed", "Status Error"] }}
callback = {{ reference = "reference", state = "status", provider_ref = "response_id", reason = "detail", amount = "amount", {callback} }}
"#
    )
}

struct Scene {
    app: TestApp,
    vendor: Vendor,
    provider: Receiver,
}

impl Scene {
    async fn set() -> Self {
        Self::with(r#"path_secret = "s3cret""#).await
    }

    async fn with(callback: &str) -> Self {
        Self::by(Setup::default(), callback).await
    }

    async fn by(setup: Setup, callback: &str) -> Self {
        let provider = Receiver::start().await;
        let url = provider.url();
        let base = url.trim_end_matches("/hook");
        let setup = setup.set("attempt_timeout", "1s").set("connect_timeout", "1s").file(&configuration(base, callback));
        let app = setup.start().await;
        let vendor = app.vendor().await;
        Self { app, vendor, provider }
    }

    async fn order(&self, reference: &str) -> Value {
        let body = json!({"reference_no": reference, "operator_id": 1, "connection_no": "9801234567", "amount": "100"});
        self.app.post("/v1/recharges", &self.vendor.live, body).await.expect(201)
    }

    async fn read(&self, recharge: &Value) -> Value {
        self.app.get(&format!("/v1/recharges/{}", text(&recharge["id"])), &self.vendor.live).await.expect(200)
    }

    async fn until_status(&self, recharge: &Value, status: &str) -> Value {
        until(&format!("it is {status}"), || async { Some(self.read(recharge).await).filter(|seen| seen["status"] == status) }).await
    }

    /// Waits until the provider was called so often.
    async fn until_calls(&self, count: usize) {
        until(&format!("{count} calls"), || async { (self.provider.count() >= count).then_some(()) }).await;
        self.app.quiet(|| self.provider.count()).await;
        assert_eq!(self.provider.count(), count);
    }

    /// Lets time pass in steps, so that what is due in between is done.
    async fn pass(&self, steps: u32, step: u64) {
        self.app.pass(&self.provider, steps, Duration::from_secs(step)).await;
    }

    /// How often recharges were handed over, and how often they were asked about.
    fn calls(&self) -> (usize, usize) {
        let all = self.provider.received();
        let submits = all.iter().filter(|call| call.path.starts_with("/use/")).count();
        (submits, all.len() - submits)
    }
}

fn says(body: Value) -> Answer {
    Answer::status(200).with_body(body.to_string())
}

#[tokio::test]
async fn what_is_handed_over_is_what_was_asked_for() {
    let scene = Scene::set().await;
    scene.provider.always(says(json!({"status": true, "state": "Success", "id": 77, "message": "done"})));
    let made = scene.order("R-1").await;
    let settled = scene.until_status(&made, "success").await;
    assert_eq!((&settled["provider"], &settled["provider_ref"]), (&json!("topup"), &json!("77")));
    let call = scene.provider.received().remove(0);
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/use/1/"));
    assert_eq!(call.header("content-type"), "application/x-www-form-urlencoded");
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&call.body).into_owned().collect();
    let expected = [("amount", "100.00"), ("number", "9801234567"), ("reference", made["id"].as_str().unwrap()), ("token", "t0ken")];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    scene.app.finish().await;
}

/// Whatever a submit comes to that is no outcome, the recharge is held, asked about later, and never handed over again.
#[tokio::test]
async fn an_answer_that_says_nothing_holds_the_recharge() {
    for unclear in [
        Answer::Hangup,
        Answer::Reset,
        Answer::Stall,
        Answer::status(500),
        Answer::status(400),
        Answer::status(200).with_body("<html>"),
        says(json!({"state": "Teleported"})),
        says(json!({"status": true})),
    ] {
        let scene = Scene::set().await;
        let told = format!("{unclear:?}");
        scene.provider.always(unclear);
        let made = scene.order("R-1").await;
        scene.until_calls(1).await;
        until("the submit is over", || async { (scene.provider.under_way() == 0).then_some(()) }).await;
        scene.app.quiet(|| scene.provider.count()).await;
        scene.provider.always(says(json!({"state": "Error", "message": "Unknown reference"})));
        scene.pass(9, 30).await;
        assert_eq!(scene.calls(), (1, 0), "{told}: not before five minutes");
        scene.pass(2, 30).await;
        assert_eq!(scene.calls(), (1, 1), "{told}");
        assert_eq!(scene.read(&made).await["status"], "queued", "{told}: an unknown reference is no failure");
        scene.provider.always(says(json!({"state": "Success", "id": "P-9"})));
        scene.pass(4, 30).await;
        let settled = scene.until_status(&made, "success").await;
        assert_eq!(scene.calls().0, 1, "{told}");
        let sources: Vec<&str> = settled["reports"].as_array().unwrap().iter().filter_map(|report| report["source"].as_str()).collect();
        assert_eq!(sources, ["vendor", "enquiry"], "{told}");
        scene.app.finish().await;
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_fails_the_recharge() {
    let scene = Scene::set().await;
    scene.provider.always(Answer::status(404));
    let made = scene.order("R-1").await;
    let failed = scene.until_status(&made, "failed").await;
    assert_eq!(failed["reason"], "the provider answered 404");
    scene.app.finish().await;
}

#[tokio::test]
async fn what_did_not_reach_the_provider_is_handed_over_later() {
    let mut scene = Scene::set().await;
    let address = scene.provider.address;
    drop(std::mem::replace(&mut scene.provider, Receiver::start().await));
    until("nobody is there", || async { tokio::net::TcpStream::connect(address).await.is_err().then_some(()) }).await;
    let made = scene.order("R-1").await;
    let now = scene.app.now().as_millis();
    let went_back = || async {
        let sent_at = "SELECT sent_at IS NULL AND next_at > ?1 FROM submission";
        scene.app.database().query_row(sent_at, [now], |row| row.get::<_, bool>(0)).expect("it is there").then_some(())
    };
    until("it is back", went_back).await;
    assert_eq!(scene.read(&made).await["status"], "queued");
    scene.provider = Receiver::at(address).await;
    scene.provider.always(says(json!({"state": "Success"})));
    scene.pass(4, 10).await;
    scene.until_status(&made, "success").await;
    assert_eq!(scene.calls(), (1, 0));
    scene.app.finish().await;
}

#[tokio::test]
async fn a_crash_after_the_submit_began_is_followed_by_an_enquiry_only() {
    let mut scene = Scene::set().await;
    scene.provider.always(Answer::Stall);
    let made = scene.order("R-1").await;
    scene.until_calls(1).await;
    scene.app.restart().await;
    scene.provider.always(says(json!({"state": "Success"})));
    scene.pass(9, 30).await;
    assert_eq!(scene.calls().0, 1);
    scene.pass(4, 30).await;
    scene.until_status(&made, "success").await;
    assert_eq!(scene.calls(), (1, 1));
    scene.app.finish().await;
}

#[tokio::test]
async fn after_three_days_a_person_has_to_find_out() {
    let mails = MailServer::open();
    let setup = Setup::default().set("smtp_url", &mails.url()).set("mail_from", "ringback@example.net");
    let setup = setup.set("public_url", "https://ringback.example.net");
    let scene = Scene::by(setup, r#"path_secret = "s3cret""#).await;
    let database = format!("sqlite:{}", scene.app.file().display());
    let arguments = ["user", "create", "--operator", "--email", "ops@example.org", "--database", database.as_str()];
    assert!(run(&[("password", "a long password")], &arguments).status.success());
    scene.provider.always(says(json!({"state": "Processing"})));
    let made = scene.order("R-1").await;
    scene.until_calls(1).await;
    assert_eq!(scene.app.get("/v1/stuck", &scene.app.operator).await.expect(200)["data"], json!([]));
    scene.pass(74 * 6, 601).await;
    let stuck = scene.app.get("/v1/stuck", &scene.app.operator).await.expect(200);
    assert_eq!((&stuck["data"][0]["recharge"]["id"], stuck["data"].as_array().unwrap().len()), (&made["id"], 1));
    let asked = scene.calls();
    assert!(asked.0 == 1 && asked.1 > 400, "{asked:?}");
    scene.pass(5, 3600).await;
    assert_eq!(scene.calls(), asked, "it is asked no more");
    let mail = until("the mail arrives", || async { mails.all().first().cloned() }).await;
    assert_eq!(mail["subject"], "Shop: recharge R-1 is stuck at its provider");
    let said = text(&mail["text"]).replace('\r', "");
    for part in [
        "Vendor:     Shop\n",
        "Reference:  R-1\n",
        &format!("Recharge:   {} (transaction ", text(&made["id"])),
        "Amount:     100.00 NPR\n",
        "Number:     980•••••67\n",
        "Submitted:  2026-11-24 00:00:",
        "has not reported a final status for 72 hours",
        &format!("POST /v1/recharges/{}/resolve", text(&made["id"])),
        "Panel:      https://ringback.example.net/panel/operator/stuck\n",
    ] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    let path = format!("/v1/recharges/{}/resolve", text(&made["id"]));
    scene.app.post(&path, &scene.app.operator, json!({"status": "failed", "reason": "the provider's books say so"})).await.expect(200);
    assert_eq!(scene.app.get("/v1/stuck", &scene.app.operator).await.expect(200)["data"], json!([]));
    scene.app.finish().await;
}

async fn call_back(scene: &Scene, path: &str, content_type: &str, body: &str) -> Reply {
    let headers = [("content-type", content_type)];
    let request = Request { method: "POST", path, headers: &headers, body: Some(body.as_bytes().to_vec()), ..Request::default() };
    send(scene.app.address, request).await
}

#[tokio::test]
async fn callbacks_come_in_all_forms_and_settle_once() {
    let scene = Scene::set().await;
    let form = |id: &str| format!("reference={id}&amount=100.0&status=Success&response_id=P-1&detail=ok");
    let multipart = |id: &str| {
        let part = |name: &str, value: &str| format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        format!("{}{}{}--x--\r\n", part("reference", id), part("status", "Success"), part("amount", "100"))
    };
    let json = |id: &str| json!({"reference": id, "status": "Success", "amount": 100}).to_string();
    for (at, (kind, body)) in [
        ("application/x-www-form-urlencoded", &form as &dyn Fn(&str) -> String),
        ("multipart/form-data; boundary=x", &multipart),
        ("application/json", &json),
    ]
    .into_iter()
    .enumerate()
    {
        scene.provider.always(says(json!({"state": "Queued"})));
        let made = scene.order(&format!("R-{at}")).await;
        scene.until_calls(at + 1).await;
        let id = text(&made["id"]);
        assert_eq!(call_back(&scene, "/callbacks/topup/s3cret", kind, &body(&id)).await.expect(200)["verdict"], "accepted", "{kind}");
        assert_eq!(call_back(&scene, "/callbacks/topup/s3cret", kind, &body(&id)).await.expect(200)["verdict"], "duplicate", "{kind}");
        assert_eq!(scene.read(&made).await["status"], "success", "{kind}");
        let query = format!("/callbacks/topup/s3cret?reference={id}&status=Failed");
        assert_eq!(scene.app.get(&query, "").await.expect(200)["verdict"], "conflict", "{kind}");
    }
    let kept: Vec<String> = {
        let database = scene.app.database();
        let mut rows = database.prepare("SELECT body FROM callback").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(kept.len(), 9);
    scene.app.finish().await;
}

#[tokio::test]
async fn callbacks_that_prove_nothing_move_nothing() {
    let scene = Scene::set().await;
    scene.provider.always(says(json!({"state": "Queued"})));
    let made = scene.order("R-1").await;
    scene.until_calls(1).await;
    let body = json!({"reference": made["id"], "status": "Success"}).to_string();
    for path in ["/callbacks/topup", "/callbacks/topup/wrong", "/callbacks/nobody/s3cret", "/callbacks/simulated"] {
        assert_eq!(call_back(&scene, path, "application/json", &body).await.code(401), "unauthorized", "{path}");
    }
    for (body, verdict) in [
        (json!({"reference": "rch_0000000000001", "status": "Success"}), "unknown"),
        (json!({"reference": "nonsense", "status": "Success"}), "unknown"),
        (json!({"status": "Success"}), "unreadable"),
        (json!({"reference": made["id"], "status": "Success", "amount": "5000"}), "conflict"),
        (json!({"reference": made["id"], "status": "Teleported"}), "asked"),
    ] {
        let answer = call_back(&scene, "/callbacks/topup/s3cret", "application/json", &body.to_string()).await.expect(200);
        assert_eq!(answer["verdict"], verdict, "{body}");
    }
    assert_eq!(scene.read(&made).await["status"], "queued");
    scene.app.finish().await;
}

#[tokio::test]
async fn an_amount_that_differs_or_cannot_be_read_settles_nothing() {
    let scene = Scene::set().await;
    scene.provider.always(says(json!({"state": "Queued"})));
    let made = scene.order("R-1").await;
    scene.until_calls(1).await;
    let call = async |amount: Value| {
        let body = json!({"reference": made["id"], "status": "Success", "amount": amount}).to_string();
        call_back(&scene, "/callbacks/topup/s3cret", "application/json", &body).await.expect(200)["verdict"].clone()
    };
    for (amount, verdict) in [
        (json!("5,000.00"), "conflict"),
        (json!("NPR 5000"), "conflict"),
        (json!("1,00,000"), "conflict"),
        (json!(99.99), "conflict"),
        (json!(-100), "asked"),
        (json!("1e2"), "asked"),
        (json!("5.000,00"), "asked"),
        (json!("INR 100"), "asked"),
        (json!(""), "asked"),
        (json!(true), "asked"),
        (json!({"value": "100"}), "asked"),
        (json!(["100"]), "asked"),
    ] {
        assert_eq!(call(amount.clone()).await, verdict, "{amount}");
    }
    // A field that is given twice in two ways is neither.
    let id = text(&made["id"]);
    for (kind, body) in [
        ("application/json", format!(r#"{{"reference": "{id}", "status": "Success", "amount": "5000", "amount": "100"}}"#)),
        ("application/json", format!(r#"{{"reference": "{id}", "status": "Failed", "status": "Success"}}"#)),
        ("application/x-www-form-urlencoded", format!("reference={id}&status=Success&amount=5000&amount=100")),
        ("application/x-www-form-urlencoded", format!("reference={id}&status=Failed&status=Success")),
    ] {
        assert_eq!(call_back(&scene, "/callbacks/topup/s3cret", kind, &body).await.expect(200)["verdict"], "asked", "{body}");
    }
    assert_eq!(scene.read(&made).await["status"], "queued");
    assert_eq!(call(json!("NPR 100.00")).await, "accepted");
    assert_eq!(call(Value::Null).await, "duplicate", "no amount");
    scene.app.finish().await;
}

fn mac(key: &[u8], content: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("a key");
    mac.update(content);
    mac.finalize().into_bytes().to_vec()
}

async fn signed(scene: &Scene, (method, path): (&str, &str), headers: &[(&str, &str)], body: &str) -> Reply {
    let request = Request { method, path, headers, body: Some(body.as_bytes().to_vec()), ..Request::default() };
    send(scene.app.address, request).await
}

#[tokio::test]
async fn a_signature_covers_the_body_and_nothing_else_counts() {
    let scene = Scene::with(r#"hmac_header = "x-sig", hmac_secret = "key""#).await;
    scene.provider.always(says(json!({"state": "Queued"})));
    let (own, victim) = (scene.order("R-1").await, scene.order("R-2").await);
    scene.until_calls(2).await;
    let body = json!({"reference": own["id"], "status": "Success"}).to_string();
    let signature = data_encoding::HEXUPPER.encode(&mac(b"key", body.as_bytes()));
    let (signature, json) = (format!("SHA256={signature}"), ("content-type", "application/json"));
    let headers = [("x-sig", signature.as_str()), json];
    let forged = format!("?reference={}&status=Success", text(&victim["id"]));
    let with_query = format!("/callbacks/topup{forged}");
    for (method, path) in [("GET", with_query.as_str()), ("GET", "/callbacks/topup")] {
        assert_eq!(signed(&scene, (method, path), &headers, &body).await.status, 401, "{method} {path}");
    }
    assert_eq!(signed(&scene, ("POST", "/callbacks/topup"), &headers, &format!("{body} ")).await.status, 401);
    // Another content type is no other reading of the same bytes.
    for kind in ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"] {
        let headers = [("x-sig", signature.as_str()), ("content-type", kind)];
        let answer = signed(&scene, ("POST", &with_query), &headers, &body).await.expect(200);
        assert!(answer["verdict"] == "accepted" || answer["verdict"] == "duplicate", "{kind}: {answer}");
    }
    let nameless = r#"{"note": "no state"}"#;
    for (body, verdict) in [(nameless, "unreadable"), ("{\"cut", "unreadable"), ("", "unreadable")] {
        let signature = data_encoding::BASE64URL_NOPAD.encode(&mac(b"key", body.as_bytes()));
        let answer = signed(&scene, ("POST", &with_query), &[("x-sig", &signature), json], body).await.expect(200);
        assert_eq!(answer["verdict"], verdict, "{body}");
    }
    assert_eq!((&scene.read(&own).await["status"], &scene.read(&victim).await["status"]), (&json!("success"), &json!("queued")));
    scene.app.finish().await;
}

#[tokio::test]
async fn old_callbacks_of_standard_webhooks_are_refused() {
    let secret = format!("whsec_{}", data_encoding::BASE64.encode(&[7; 24]));
    let scene = Scene::with(&format!("webhook_secret = \"{secret}\", tolerance = \"1m\"")).await;
    scene.provider.always(says(json!({"state": "Queued"})));
    let made = scene.order("R-1").await;
    scene.until_calls(1).await;
    let body = json!({"reference": made["id"], "status": "Success"}).to_string();
    let now = scene.app.clock.now().as_secs();
    let call = async |at: i64| {
        let at = at.to_string();
        let signature = format!("v1,{}", data_encoding::BASE64.encode(&mac(&[7; 24], format!("msg_1.{at}.{body}").as_bytes())));
        let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", at.as_str()), ("webhook-signature", signature.as_str())];
        signed(&scene, ("POST", "/callbacks/topup"), &headers, &body).await
    };
    assert_eq!(call(now - 120).await.status, 401);
    assert_eq!(call(now + 120).await.status, 401);
    assert_eq!(call(now).await.expect(200)["verdict"], "accepted");
    scene.app.finish().await;
}

#[tokio::test]
async fn a_body_is_not_read_for_those_who_cannot_prove_anything() {
    let scene = Scene::set().await;
    let head = |path: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n");
    for path in ["/callbacks/nobody", "/callbacks/topup", "/callbacks/topup/wrong"] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(scene.app.address).await.expect("it listens");
        stream.write_all(head(path).as_bytes()).await.expect("it is sent");
        let mut answer = [0; 12];
        // Before any of its body was sent.
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 401", "{path}");
    }
    scene.app.finish().await;
}

#[tokio::test]
async fn a_callback_can_be_but_a_reason_to_ask() {
    let scene = Scene::with(r#"addresses = ["127.0.0.1"], trust = "enquire""#).await;
    scene.provider.always(says(json!({"state": "Queued"})));
    let made = scene.order("R-1").await;
    scene.until_calls(1).await;
    scene.provider.always(says(json!({"state": "Failed", "message": "no balance"})));
    let body = json!({"reference": made["id"], "status": "Success"}).to_string();
    assert_eq!(call_back(&scene, "/callbacks/topup", "application/json", &body).await.expect(200)["verdict"], "asked");
    let failed = scene.until_status(&made, "failed").await;
    assert_eq!((&failed["reason"], scene.calls()), (&json!("no balance"), (1, 1)));
    scene.app.finish().await;
}

#[tokio::test]
async fn callbacks_of_any_form_are_read_or_refused() {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let scene = Scene::set().await;
    let kind = prop_oneof![
        Just("application/json".to_owned()),
        Just("application/x-www-form-urlencoded".to_owned()),
        Just("multipart/form-data; boundary=x".to_owned()),
        Just("application/json; charset=utf-16".to_owned()),
        "[a-z/;= -]{0,24}",
    ];
    let word = prop_oneof![any::<String>(), Just("Success".to_owned()), Just("rch_0".to_owned()), "[%+&=0-9a-f]{0,16}"];
    let field = (prop_oneof![Just("reference"), Just("status"), Just("amount"), Just("data")], word.clone());
    let body = prop_oneof![
        any::<String>(),
        field.clone().prop_map(|(name, value)| json!({name: value}).to_string()),
        field.clone().prop_map(|(name, value)| json!({name: {name: [value]}}).to_string()),
        field.clone().prop_map(|(name, value)| format!("{name}={value}&{name}")),
        field.prop_map(|(name, value)| format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--x--\r\n")),
        (0..400_usize).prop_map(|depth| "[".repeat(depth)),
    ];
    let (mut runner, rows) = (TestRunner::deterministic(), scene.app.get("/v1/recharges", &scene.vendor.live).await.text);
    for _ in 0..300 {
        let (kind, body) = (&kind, &body).new_tree(&mut runner).expect("a case").current();
        let reply = call_back(&scene, "/callbacks/topup/s3cret", &kind, &body).await;
        assert!(reply.status < 500, "{kind:?} {body:?}: {} {}", reply.status, reply.text);
    }
    assert_eq!(scene.app.get("/v1/recharges", &scene.vendor.live).await.text, rows, "nothing was moved");
    scene.app.finish().await;
}

/// Some programs write a byte order mark in front of what they say. A signature covers it all the same.
#[tokio::test]
async fn a_byte_order_mark_is_skipped_in_answers_and_callbacks() {
    let marked = |body: Value| format!("\u{feff}{body}");
    let marked_answer = |body: Value| Answer::status(200).with_body(marked(body));
    let scene = Scene::with(r#"hmac_header = "x-sig", hmac_secret = "key""#).await;
    scene.provider.always(marked_answer(json!({"state": "Success", "id": "P-1"})));
    let made = scene.order("R-1").await;
    assert_eq!(scene.until_status(&made, "success").await["provider_ref"], "P-1", "an answer");
    scene.provider.always(marked_answer(json!({"state": "Queued"})));
    let made = scene.order("R-2").await;
    scene.until_calls(2).await;
    let body = marked(json!({"reference": made["id"], "status": "Success"}));
    let call = async |signed_part: &str| {
        let signature = data_encoding::HEXLOWER.encode(&mac(b"key", signed_part.as_bytes()));
        signed(&scene, ("POST", "/callbacks/topup"), &[("x-sig", &signature), ("content-type", "application/json")], &body).await
    };
    assert_eq!(call(body.trim_start_matches('\u{feff}')).await.code(401), "unauthorized", "the mark is signed, too");
    assert_eq!(call(&body).await.expect(200)["verdict"], "accepted");
    scene.provider.always(says(json!({"state": "Queued"})));
    let made = scene.order("R-3").await;
    scene.until_calls(3).await;
    scene.provider.always(marked_answer(json!({"state": "Success"})));
    scene.pass(4, 10).await;
    scene.until_status(&made, "success").await;
    let body = marked(json!({"name": "Shop", "email": "shop@example.com"}));
    let headers = [("content-type", "application/json"), ("authorization", &format!("Bearer {}", scene.app.operator))];
    signed(&scene, ("POST", "/v1/vendors"), &headers, &body).await.expect(201);
    scene.app.finish().await;
}

/// The answer is parsed whole; only what is kept of it is shortened.
#[tokio::test]
async fn a_long_answer_is_parsed_whole() {
    let scene = Scene::set().await;
    scene.provider.always(says(json!({"details": "x".repeat(900 << 10), "state": "Success", "id": "P-1"})));
    let made = scene.order("R-1").await;
    assert_eq!(scene.until_status(&made, "success").await["provider_ref"], "P-1");
    scene.app.finish().await;
}

#[tokio::test]
async fn a_stop_waits_for_calls_under_way() {
    let mut scene = Scene::set().await;
    let gate = Arc::new(Semaphore::new(0));
    let answer = json!({"state": "Success", "id": "P-1"}).to_string();
    scene.provider.always(Answer::GateThen(Arc::clone(&gate), 200, answer));
    let made = scene.order("R-1").await;
    until("the provider is asked", || async { (scene.provider.under_way() == 1).then_some(()) }).await;
    let stopping = async {
        tokio::task::yield_now().await;
        gate.add_permits(1);
    };
    tokio::join!(scene.app.stop(), stopping);
    scene.app.start_again().await;
    assert_eq!(scene.read(&made).await["status"], "success", "it was written down before the stop");
    assert_eq!(scene.calls(), (1, 0));
    scene.app.finish().await;
}

/// What waits for the provider's rate was not handed over: a stop leaves it for the next start.
#[tokio::test]
async fn what_waits_for_the_rate_is_not_sent() {
    let provider = Receiver::start().await;
    let url = provider.url();
    let file = configuration(url.trim_end_matches("/hook"), r#"path_secret = "s3cret""#)
        .replace("enquire_after", "rate_per_second = 1\nenquire_after");
    let app = Setup::default().file(&file).start().await;
    let vendor = app.vendor().await;
    let mut scene = Scene { app, vendor, provider };
    scene.provider.always(says(json!({"state": "Queued"})));
    for number in 0..6 {
        scene.order(&format!("R-{number}")).await;
    }
    until("the first is handed over", || async { (scene.provider.count() >= 1).then_some(()) }).await;
    scene.app.stop().await;
    let sent = "SELECT count(*) FROM submission WHERE sent_at IS NOT NULL";
    let sent: usize = scene.app.database().query_row(sent, [], |row| row.get(0)).expect("a count");
    assert_eq!((sent, sent < 6), (scene.provider.count(), true), "sent is what was sent");
    scene.app.finish().await;
}
