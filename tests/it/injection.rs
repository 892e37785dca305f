//! Words of strangers and vendors that mean harm: in every page of the panel they are words, and a request that could be read in two
//! ways is read in none.

use std::time::Duration;

use ringback::clock::Stopwatch;
use serde_json::json;

use crate::client::{Request, find, send};
use crate::harness::{TestApp, text, until};
use crate::panel::{Browser, PASSWORD};
use crate::receiver::{Answer, Receiver};

/// Ends an attribute, a tag, a text in a script, and begins a script.
const HARM: &str = "x\"'></textarea></title><script>alert(1)</script><img src=x onerror=alert(1)>";
/// What stands in a page where something of it was not escaped.
const SIGNS: [&str; 3] = ["<script>alert", "<img src=x", "</textarea></title>"];

async fn harmless(browser: &mut Browser<'_>, paths: &[String]) {
    for path in paths {
        let page = browser.get(path).await;
        assert!(page.status == 200 || page.status == 404, "{path}: {}", page.status);
        for sign in SIGNS {
            let around = page.text.find(sign).map(|at| page.text[at.saturating_sub(80)..at + 80].to_owned());
            assert_eq!(around, None, "{path} has {sign}");
        }
        let policy = page.header("content-security-policy").expect("every page has a policy");
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn no_field_that_the_panel_shows_becomes_a_part_of_its_pages() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let made = app.post("/v1/vendors", &app.operator, json!({"name": HARM, "email": "shop@example.com"})).await.expect(201);
    let (id, live) = (text(&made["id"]), text(&made["live_token"]));
    app.post(
        &format!("/v1/vendors/{id}/users"),
        &app.operator,
        json!({"email": "ann@shop.example", "password": PASSWORD, "role": "owner"}),
    )
    .await
    .expect(201);
    app.post("/v1/tokens", &live, json!({"name": HARM})).await;
    let settings =
        json!({"url": format!("{}?q={HARM}", hook.url()), "description": HARM, "event_types": ["*"], "headers": {"x-own": "plain"}});
    let endpoint = app.post("/v1/endpoints", &live, settings).await.expect(201);
    let endpoint = text(&endpoint["id"]);
    app.call("POST", &format!("/v1/endpoints/{endpoint}/connect"), &live, None).await.expect(200);
    hook.always(Answer::status(500).with_header("x-harm", HARM).with_body(HARM));
    let report = |status: &str, more: &str| {
        json!({"vendor_id": id, "reference_no": HARM, "status": status, "operator": HARM, "connection_no": more, "reason": HARM,
            "provider_ref": HARM, "provider": HARM, "amount": "10.00", "currency": "NPR"})
    };
    let reports = json!({"reports": [report("failed", "9801234567"), report("success", "9801234567")]});
    let results = app.post("/v1/reports", &app.operator, reports).await.expect(200);
    let event = text(&results["results"][0]["event_id"]);
    app.post("/v1/events", &app.operator, json!({"vendor_id": id, "type": "order.made", "data": {HARM: HARM}})).await.expect(202);
    until("a failed attempt", || async {
        let list = app.get(&format!("/v1/deliveries?endpoint_id={endpoint}"), &live).await.expect(200);
        list["data"].as_array().expect("a list").iter().any(|one| one["attempts"][0]["status"] == 500).then_some(())
    })
    .await;
    let recharge = text(&app.get("/v1/recharges", &live).await.expect(200)["data"][0]["id"]);
    let delivery = text(&app.get(&format!("/v1/deliveries?event_id={event}"), &live).await.expect(200)["data"][0]["id"]);
    let conflict = text(&app.get("/v1/conflicts", &app.operator).await.expect(200)["data"][0]["id"]);

    let mut ann = Browser::new(&app);
    ann.log_in("ann@shop.example", PASSWORD).await;
    let asked = "%22%27%3E%3C%2Ftextarea%3E%3C%2Ftitle%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let vendors = ["", "/recharges", "/webhooks", "/webhooks/new", "/deliveries", "/events", "/tokens", "/developers", "/team"];
    let mut paths: Vec<String> = vendors.iter().map(|rest| format!("/panel/live{rest}")).collect();
    paths.extend([
        format!("/panel/live/recharges?reference_no={asked}&operator={asked}&status={asked}"),
        format!("/panel/live/deliveries?state={asked}&endpoint_id={asked}"),
        format!("/panel/live/recharges/{recharge}"),
        format!("/panel/live/webhooks/{endpoint}"),
        format!("/panel/live/webhooks/{endpoint}/edit"),
        format!("/panel/live/webhooks/{endpoint}?told={asked}"),
        format!("/panel/live/deliveries/{delivery}"),
        format!("/panel/live/events/{event}"),
        format!("/panel/live/{asked}"),
    ]);
    harmless(&mut ann, &paths).await;
    app.operator_login("ops@platform.example", PASSWORD).await;
    let mut operator = Browser::new(&app);
    operator.log_in("ops@platform.example", PASSWORD).await;
    let operators = ["", "/issues", "/stuck", "/conflicts", "/vendors", "/providers", "/mails", "/audit", "/team"];
    let mut paths: Vec<String> = operators.iter().map(|rest| format!("/panel/operator{rest}")).collect();
    paths.extend([
        format!("/panel/operator/conflicts/{conflict}"),
        format!("/panel/operator/vendors/{id}"),
        format!("/panel/operator/audit?action={asked}"),
    ]);
    harmless(&mut operator, &paths).await;
    app.call("DELETE", &format!("/v1/endpoints/{endpoint}"), &live, None).await.expect(204);
    until("nothing is open", || async { (app.open_runs() == 0).then_some(()) }).await;
    app.finish().await;
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_read_in_none() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let (before, token) = (app.rows(), &app.operator);
    let body = format!("{{\"reports\":[{{\"vendor_id\":\"{}\",\"reference_no\":\"S-1\",\"status\":\"success\"}}]}}", vendor.id);
    let smuggled = format!(
        "POST /v1/reports HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for head in [
        "content-length: 4\r\ncontent-length: 5\r\n".to_owned(),
        "content-length: +4\r\n".to_owned(),
        "content-length: 4, 4\r\n".to_owned(),
        "content-length: 4 4\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "transfer-encoding : chunked\r\n".to_owned(),
        " folded: yes\r\ncontent-length: 4\r\n".to_owned(),
        "x-one: a\r\n\tfolded\r\ncontent-length: 4\r\n".to_owned(),
        "x-nul: a\0b\r\ncontent-length: 4\r\n".to_owned(),
    ] {
        let request = format!(
            "POST /v1/reports HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{head}\r\n{{}}\r\n{smuggled}"
        );
        let answer =
            tokio::time::timeout(Duration::from_secs(10), app.raw(&request)).await.expect("it is answered, and the connection closed");
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(status.starts_with('4') || status.starts_with('5'), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head:?}: what stood behind it was answered too: {answer}");
    }
    assert_eq!(app.rows(), before, "nothing of it was taken");
    app.finish().await;
}

#[tokio::test]
async fn what_a_vendor_names_cannot_begin_a_header() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    for headers in [
        json!({"x-own": "a\r\nx-other: b"}),
        json!({"x-own\r\nx-other": "b"}),
        json!({"x-own": "a\u{0}"}),
        json!({"host": "elsewhere"}),
        json!({"webhook-id": "mine"}),
        json!({"content-length": "0"}),
    ] {
        let refused = app.post("/v1/endpoints", &vendor.live, json!({"url": hook.url(), "headers": headers})).await;
        assert_eq!(refused.code(422), "invalid", "{headers}");
    }
    let url = format!("{}?a=%0d%0ax-other:%20b", hook.url());
    let endpoint = app.connected_with(&vendor, &hook, json!({"url": url})).await;
    let report = json!({"vendor_id": vendor.id, "reference_no": "R-1\r\nx-other: b", "status": "success"});
    let refused = app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
    assert_eq!(refused["results"][0]["verdict"], "invalid", "{refused}");
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_state(&endpoint, &event, "succeeded").await;
    assert!(hook.received().iter().all(|request| find(&request.headers, "x-other").is_none()));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_logins_of_made_up_addresses_do_not_delay_a_right_one() {
    let app = TestApp::with(&[("trusted_proxies", "127.0.0.1")]).await;
    let vendor = app.vendor().await;
    let user = json!({"email": "ann@shop.example", "password": PASSWORD, "role": "owner"});
    app.post(&format!("/v1/vendors/{}/users", vendor.id), &app.operator, user).await.expect(201);
    let server = app.address;
    let wrong = (0..300).map(|number| {
        tokio::spawn(async move {
            let from = format!("203.0.{}.{}", number / 200, number % 200);
            let headers = [("x-forwarded-for", from.as_str()), ("sec-fetch-site", "same-origin")];
            let body = format!("email=nobody{number}%40shop.example&password=a-wrong-password").into_bytes();
            send(server, Request { method: "POST", path: "/panel/login", headers: &headers, body: Some(body), ..Request::default() })
                .await
                .status
        })
    });
    let wrong: Vec<_> = wrong.collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let watch = Stopwatch::start();
    assert_eq!(Browser::new(&app).log_in("ann@shop.example", PASSWORD).await.status, 303);
    assert!(watch.elapsed() < Duration::from_secs(4), "it took {:?}", watch.elapsed());
    for one in wrong {
        assert_eq!(one.await.expect("it is answered"), 401);
    }
    app.finish().await;
}
