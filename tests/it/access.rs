//! Who may call, from where, and what that opens.

use std::process::Command;
use std::time::Duration;

use ringback::clock::Stopwatch;
use serde_json::{Value, json};

use crate::client::{Request, send};
use crate::harness::{TestApp, Vendor, text};
use crate::receiver::Receiver;

#[tokio::test]
async fn both_headers_carry_a_token_and_nothing_else_does() {
    let app = TestApp::start().await;
    let (bearer, basic) = (format!("Bearer {}", app.operator), format!("Basic {}", app.operator));
    let (query, token) = (format!("/v1/vendors?token={}", app.operator), app.operator.as_str());
    for (path, headers, status) in [
        ("/v1/vendors", vec![("authorization", bearer.as_str())], 200),
        ("/v1/vendors", vec![("x-auth-token", token)], 200),
        ("/v1/vendors", vec![("authorization", basic.as_str())], 401),
        ("/v1/vendors", vec![("authorization", token)], 401),
        ("/v1/vendors", vec![("cookie", token)], 401),
        (query.as_str(), vec![], 401),
        ("/v1/vendors", vec![], 401),
        ("/healthz", vec![], 200),
        ("/readyz", vec![], 200),
        ("/metrics", vec![], 401),
        ("/metrics", vec![("authorization", bearer.as_str())], 200),
        ("/openapi.json", vec![], 200),
    ] {
        let answer = send(app.address, Request { method: "GET", path, headers: &headers, ..Request::default() }).await;
        assert_eq!(answer.status, status, "{path} {headers:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
    app.finish().await;
}

/// Every call of a vendor that names an object: method, path.
async fn calls_by_id(app: &TestApp, vendor: &Vendor, hook: &Receiver) -> Vec<(&'static str, String)> {
    let endpoint = app.connected(vendor, hook).await;
    let event = app.succeed_one(vendor, "R-1").await;
    let delivery = app.until_state(&endpoint, &event, "succeeded").await;
    let endpoint_path = format!("/v1/endpoints/{}", endpoint.id);
    let (delivery_path, recharge) = (format!("/v1/deliveries/{}", text(&delivery["id"])), text(&delivery["recharge_id"]));
    let mut calls = vec![
        ("GET", format!("/v1/recharges/{recharge}")),
        ("GET", format!("/v1/events/{event}")),
        ("GET", delivery_path.clone()),
        ("POST", format!("{delivery_path}/resend")),
        ("GET", endpoint_path.clone()),
        ("PATCH", endpoint_path.clone()),
    ];
    calls.extend(["connect", "enable", "test", "disable"].map(|verb| ("POST", format!("{endpoint_path}/{verb}"))));
    calls.push(("DELETE", endpoint_path));
    calls
}

#[tokio::test]
async fn another_vendors_objects_and_the_other_modes_are_not_there() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, stranger) = (app.vendor().await, app.vendor().await);
    let calls = calls_by_id(&app, &vendor, &hook).await;
    hook.forget();
    for token in [&stranger.live, &stranger.test, &vendor.test] {
        for (method, path) in &calls {
            assert_eq!(app.call(method, path, token, None).await.code(404), "not_found", "{method} {path}");
        }
        for list in ["/v1/endpoints", "/v1/deliveries", "/v1/recharges", "/v1/events"] {
            assert_eq!(app.get(list, token).await.expect(200)["data"], json!([]), "{list}");
        }
    }
    assert_eq!(app.quiet(|| hook.count()).await, 0, "nothing was sent for a stranger");
    for (method, path) in &calls {
        let status = app.call(method, path, &vendor.live, None).await.status;
        assert!((200..300).contains(&status), "{method} {path}: {status}");
    }
    app.quiet(|| hook.count()).await;
    app.finish().await;
}

#[tokio::test]
async fn test_mode_never_reaches_live_endpoints_nor_live_mode_test_ones() {
    let app = TestApp::start().await;
    let (live, test) = (Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.connected(&vendor, &live).await;
    let as_test = Vendor { live: vendor.test.clone(), ..vendor.clone() };
    let test_endpoint = app.connected(&as_test, &test).await;
    let report =
        |mode: &str, reference: &str| json!({"vendor_id": vendor.id, "mode": mode, "reference_no": reference, "status": "success"});
    let body = json!({"reports": [report("test", "same"), report("live", "same"), report("test", "T-2")]});
    let results = app.post("/v1/reports", &app.operator, body).await.expect(200)["results"].clone();
    assert!(results.as_array().expect("results").iter().all(|result| result["verdict"] == "created"), "modes have recharges of their own");
    app.until_state(&test_endpoint, &text(&results[2]["event_id"]), "succeeded").await;
    live.wait(1).await;
    app.quiet(|| live.count() + test.count()).await;
    let modes = |hook: &Receiver| hook.received().iter().map(|request| request.header("ringback-mode").to_owned()).collect::<Vec<_>>();
    assert_eq!((modes(&live), modes(&test)), (vec!["live".to_owned()], vec!["test".to_owned(); 2]));
    assert_eq!(test.received()[0].json()["data"]["mode"], "test");
    assert_eq!(app.get("/v1/recharges", &vendor.test).await.expect(200)["data"].as_array().map(Vec::len), Some(2));
    app.finish().await;
}

#[tokio::test]
async fn an_operator_names_vendor_and_mode() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    app.succeed_one(&vendor, "R-1").await;
    for path in ["/v1/recharges", "/v1/events", "/v1/deliveries", "/v1/endpoints"] {
        let missing = app.get(path, &app.operator).await;
        assert_eq!((missing.code(422), missing.problems()[0].0.as_str()), ("invalid".to_owned(), "vendor_id"), "{path}");
        app.get(&format!("{path}?vendor_id={}&mode=both", vendor.id), &app.operator).await.code(422);
    }
    let count = async |query: String| app.get(&query, &app.operator).await.expect(200)["data"].as_array().map(Vec::len);
    assert_eq!(count(format!("/v1/recharges?vendor_id={}", vendor.id)).await, Some(1), "live if not said");
    assert_eq!(count(format!("/v1/recharges?vendor_id={}&mode=test", vendor.id)).await, Some(0));
    let own = app.get(&format!("/v1/recharges?vendor_id={}", vendor.id), &vendor.live).await;
    assert_eq!(own.code(422), "unknown_field", "a vendor's token has said it");
    app.finish().await;
}

async fn bound_token(app: &TestApp, vendor: &Vendor, allowed: Value) -> Value {
    let body = json!({"mode": "live", "name": "bound", "allowed_ips": allowed});
    app.post(&format!("/v1/vendors/{}/tokens", vendor.id), &app.operator, body).await.expect(201)
}

async fn status_from(app: &TestApp, token: &str, forwarded: &str) -> u16 {
    let headers = [("x-forwarded-for", forwarded)];
    let headers = if forwarded.is_empty() { &headers[..0] } else { &headers[..] };
    send(app.address, Request { method: "GET", path: "/v1/recharges", token: Some(token), headers, ..Request::default() }).await.status
}

#[tokio::test]
async fn a_bound_token_is_good_only_from_its_addresses() {
    let app = TestApp::with(&[("trusted_proxies", "127.0.0.1/32,10.0.0.0/8")]).await;
    let vendor = app.vendor().await;
    let token = text(&bound_token(&app, &vendor, json!(["203.0.113.0/24", "2001:db8::1"])).await["token"]);
    for (forwarded, status) in [
        ("203.0.113.9", 200),
        ("2001:db8::1", 200),
        ("1.2.3.4, 203.0.113.9", 200),
        ("203.0.113.9, 10.1.1.1", 200),
        ("203.0.113.9, 1.2.3.4", 401),
        ("203.0.114.9", 401),
        ("nonsense", 401),
        ("", 401),
    ] {
        assert_eq!(status_from(&app, &token, forwarded).await, status, "{forwarded}");
    }
    app.finish().await;
}

#[tokio::test]
async fn forwarded_for_is_not_believed_from_strangers() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let far = text(&bound_token(&app, &vendor, json!(["203.0.113.0/24"])).await["token"]);
    let near = text(&bound_token(&app, &vendor, json!(["127.0.0.1"])).await["token"]);
    assert_eq!((status_from(&app, &far, "203.0.113.9").await, status_from(&app, &near, "203.0.113.9").await), (401, 200));
    let wrong = json!({"mode": "live", "allowed_ips": ["203.0.113.0/33", "here"]});
    let answer = app.post(&format!("/v1/vendors/{}/tokens", vendor.id), &app.operator, wrong).await;
    let fields: Vec<_> = answer.problems().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["allowed_ips[0]", "allowed_ips[1]"]);
    app.finish().await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once() {
    let app = TestApp::start().await;
    let (vendor, stranger) = (app.vendor().await, app.vendor().await);
    let made = bound_token(&app, &vendor, json!([])).await;
    let (id, token) = (text(&made["id"]), text(&made["token"]));
    app.get("/v1/recharges", &token).await.expect(200);
    let path = format!("/v1/vendors/{}/tokens", vendor.id);
    let listed = app.get(&path, &app.operator).await.expect(200);
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(3));
    assert!(!listed.to_string().contains(&token) && !listed.to_string().contains(&vendor.live), "a token is shown once");
    let elsewhere = format!("/v1/vendors/{}/tokens/{id}", stranger.id);
    assert_eq!(app.call("DELETE", &elsewhere, &app.operator, None).await.code(404), "not_found");
    app.get("/v1/recharges", &token).await.expect(200);
    app.call("DELETE", &format!("{path}/{id}"), &app.operator, None).await.expect(204);
    assert_eq!(app.get("/v1/recharges", &token).await.code(401), "unauthorized");
    assert_eq!(app.call("DELETE", &format!("{path}/{id}"), &app.operator, None).await.code(404), "not_found");
    app.get("/v1/recharges", &vendor.live).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn a_disabled_vendors_tokens_are_refused_and_its_recharges_recorded() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    app.get("/v1/recharges", &vendor.live).await.expect(200);
    let path = format!("/v1/vendors/{}", vendor.id);
    let patch = async |disabled: bool| app.call("PATCH", &path, &app.operator, Some(json!({"disabled": disabled}))).await.expect(200);
    assert_eq!(patch(true).await["disabled"], true);
    for token in [&vendor.live, &vendor.test] {
        assert_eq!(app.get("/v1/recharges", token).await.code(401), "unauthorized");
    }
    app.get("/v1/recharges", &other.live).await.expect(200);
    app.succeed_one(&vendor, "R-1").await;
    assert_eq!(patch(false).await["disabled"], false);
    assert_eq!(app.get("/v1/recharges", &vendor.live).await.expect(200)["data"].as_array().map(Vec::len), Some(1));
    app.finish().await;
}

#[tokio::test]
async fn vendors_are_made_read_and_changed() {
    let app = TestApp::start().await;
    let wrong = app.post("/v1/vendors", &app.operator, json!({"email": "nobody", "colour": 1})).await;
    let fields: Vec<_> = wrong.problems().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["name", "email", "colour"]);
    let (first, second) = (app.vendor().await, app.vendor().await);
    let path = format!("/v1/vendors/{}", first.id);
    let changed = app.call("PATCH", &path, &app.operator, Some(json!({"name": "New"}))).await.expect(200);
    assert_eq!((&changed["name"], &changed["email"]), (&json!("New"), &json!("shop@example.com")));
    assert_eq!(app.get(&path, &app.operator).await.expect(200), changed);
    let page = app.get("/v1/vendors?limit=1", &app.operator).await.expect(200);
    assert_eq!(page["data"][0]["id"], json!(second.id), "newest first");
    let next = app.get(&format!("/v1/vendors?limit=1&cursor={}", text(&page["next_cursor"])), &app.operator).await.expect(200);
    assert_eq!(next["data"][0]["id"], json!(first.id));
    assert!(!next.to_string().contains(&first.live));
    app.finish().await;
}

#[tokio::test]
async fn a_token_made_beside_the_running_server_works_within_a_second() {
    let app = TestApp::start().await;
    let database = format!("sqlite:{}", app.file().display());
    let made = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
        command.args(["token", "create", "--operator", "--json", "--database", &database]).env_clear().output().expect("it runs")
    });
    let output = made.await.expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = text(&serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["token"]);
    let watch = Stopwatch::start();
    while app.get("/v1/vendors", &token).await.status != 200 {
        assert!(watch.elapsed() < Duration::from_secs(1));
    }
    app.finish().await;
}
