//! Tokens and logins that are made and removed, the audit log of everything, and the overview's figures.

use std::collections::BTreeSet;
use std::time::Duration;

use ringback::limits;
use serde_json::{Value, json};

use crate::client::{Request, send};
use crate::harness::{TestApp, Vendor, documented, route, text, time, until};
use crate::receiver::{Answer, Receiver};

async fn list(app: &TestApp, path: &str, token: &str) -> Vec<Value> {
    app.get(path, token).await.expect(200)["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_vendor_makes_lists_and_revokes_its_own_tokens() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let live = app.post("/v1/tokens", &vendor.live, json!({"mode": "live", "name": "a"})).await.expect(201);
    let test = app.post("/v1/tokens", &vendor.test, json!({"mode": "test", "name": "b"})).await.expect(201);
    app.succeed_one(&vendor, "R-1").await;
    assert_eq!(list(&app, "/v1/recharges", &text(&live["token"])).await.len(), 1);
    assert_eq!(list(&app, "/v1/recharges", &text(&test["token"])).await.len(), 0);
    let listed = list(&app, "/v1/tokens", &vendor.live).await;
    let shown: Vec<_> = listed.iter().map(|token| (token["mode"].as_str(), token["name"].as_str())).collect();
    assert_eq!(shown[..2], [(Some("test"), Some("b")), (Some("live"), Some("a"))], "newest first, of both modes");
    assert_eq!(shown.len(), 4);
    let shown = json!(listed).to_string();
    assert!([&live["token"], &test["token"]].iter().all(|token| !shown.contains(&text(token))), "a token is shown once");
    let own = format!("/v1/tokens/{}", text(&live["id"]));
    assert_eq!(app.call("DELETE", &own, &other.live, None).await.code(404), "not_found");
    assert_eq!(app.call("DELETE", &format!("{own}?now=1"), &vendor.live, None).await.code(422), "unknown_field");
    app.call("DELETE", &own, &text(&live["token"]), None).await.expect(204);
    assert_eq!(app.get("/v1/tokens", &text(&live["token"])).await.code(401), "unauthorized", "it revoked itself");
    assert_eq!(app.call("DELETE", &own, &vendor.live, None).await.code(404), "not_found");
    app.finish().await;
}

#[tokio::test]
async fn a_token_makes_and_revokes_only_what_opens_no_more_than_itself() {
    let app = TestApp::with(&[("trusted_proxies", "127.0.0.1")]).await;
    let vendor = app.vendor().await;
    for (token, mode) in [(&vendor.test, "live"), (&vendor.live, "test")] {
        let refused = app.post("/v1/tokens", token, json!({"mode": mode})).await;
        assert_eq!(refused.problems(), [("mode".to_owned(), "invalid".to_owned())], "{mode}");
    }
    let listed = list(&app, "/v1/tokens", &vendor.test).await;
    let id_of = |mode: &str| text(&listed.iter().find(|token| token["mode"] == mode).expect("one")["id"]);
    for (token, mode) in [(&vendor.test, "live"), (&vendor.live, "test")] {
        let refused = app.call("DELETE", &format!("/v1/tokens/{}", id_of(mode)), token, None).await;
        assert_eq!(refused.code(403), "forbidden", "{mode}");
    }
    let bound = json!({"mode": "live", "allowed_ips": ["203.0.113.0/24"]});
    let bound = text(&app.post("/v1/tokens", &vendor.live, bound).await.expect(201)["token"]);
    let make = async |allowed: Option<Value>| {
        let mut body = json!({"mode": "live"});
        allowed.into_iter().for_each(|allowed| body["allowed_ips"] = allowed);
        let (token, headers) = (Some(bound.as_str()), [("x-forwarded-for", "203.0.113.7")]);
        let request = Request { method: "POST", path: "/v1/tokens", token, headers: &headers, body: Some(body.to_string().into_bytes()) };
        send(app.address, request).await
    };
    for wider in
        [None, Some(json!([])), Some(json!(["0.0.0.0/0"])), Some(json!(["203.0.113.7", "198.51.100.1"])), Some(json!(["203.0.112.0/23"]))]
    {
        let refused = make(wider.clone()).await;
        assert_eq!(refused.problems(), [("allowed_ips".to_owned(), "invalid".to_owned())], "{wider:?}");
        assert!(refused.text.contains("203.0.113.0/24"), "{}", refused.text);
    }
    let mut made = Vec::new();
    for narrower in [json!(["203.0.113.0/24"]), json!(["203.0.113.7", "203.0.113.128/25"])] {
        made.push(text(&make(Some(narrower)).await.expect(201)["id"]));
    }
    let wider = json!({"mode": "live", "allowed_ips": ["203.0.113.0/24", "198.51.100.1"]});
    let wider = text(&app.post("/v1/tokens", &vendor.live, wider).await.expect(201)["id"]);
    let revoke = async |id: String| {
        let (token, headers, path) = (Some(bound.as_str()), [("x-forwarded-for", "203.0.113.7")], format!("/v1/tokens/{id}"));
        send(app.address, Request { method: "DELETE", path: &path, token, headers: &headers, ..Request::default() }).await
    };
    for id in [id_of("live"), wider] {
        assert_eq!(revoke(id).await.code(403), "forbidden");
    }
    for id in made {
        revoke(id).await.expect_text(204);
    }
    app.finish().await;
}

/// Another node may have revoked it, while this one still takes it for good.
#[tokio::test]
async fn a_token_that_is_not_there_any_more_makes_no_other() {
    let app = TestApp::with(&[("trusted_proxies", "127.0.0.1")]).await;
    let vendor = app.vendor().await;
    let bound = json!({"mode": "live", "allowed_ips": ["203.0.113.0/24"]});
    let bound = text(&app.post("/v1/tokens", &vendor.live, bound).await.expect(201)["token"]);
    let call = async |method: &'static str, body: Option<Value>| {
        let (token, headers) = (Some(bound.as_str()), [("x-forwarded-for", "203.0.113.7")]);
        let body = body.map(|body| body.to_string().into_bytes());
        send(app.address, Request { method, path: "/v1/tokens", token, headers: &headers, body }).await
    };
    call("GET", None).await.expect(200);
    let gone = "DELETE FROM token WHERE id = (SELECT max(id) FROM token)";
    assert_eq!(app.database().execute(gone, []).expect("it is deleted"), 1);
    for body in [json!({"mode": "live"}), json!({"mode": "live", "allowed_ips": ["203.0.113.7"]})] {
        assert_eq!(call("POST", Some(body.clone())).await.code(401), "unauthorized", "{body}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_vendor_has_so_many_tokens_of_a_mode() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    for _ in 1..limits::TOKENS_PER_STREAM {
        app.post("/v1/tokens", &vendor.live, json!({"mode": "live"})).await.expect(201);
    }
    let more = app.post("/v1/tokens", &vendor.live, json!({"mode": "live"})).await;
    assert_eq!((more.code(422).as_str(), more.text.contains("revoke one")), ("token_limit", true), "{}", more.text);
    app.post("/v1/tokens", &vendor.test, json!({"mode": "test"})).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn an_operator_names_the_vendor_of_a_token() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    for (method, path, body) in [
        ("GET", "/v1/tokens", None),
        ("POST", "/v1/tokens", Some(json!({"mode": "live"}))),
        ("DELETE", "/v1/tokens/tok_0000000000000", None),
    ] {
        assert_eq!(app.call(method, path, &app.operator, body).await.problems()[0].0, "vendor_id", "{method} {path}");
    }
    let named = app.post("/v1/tokens", &vendor.live, json!({"mode": "live", "vendor_id": other.id})).await;
    assert_eq!(named.code(422), "unknown_field", "a vendor's token has said it");
    let made = app.post("/v1/tokens", &app.operator, json!({"mode": "test", "vendor_id": vendor.id})).await.expect(201);
    assert_eq!(list(&app, &format!("/v1/tokens?vendor_id={}", vendor.id), &app.operator).await.len(), 3);
    assert_eq!(list(&app, &format!("/v1/tokens?vendor_id={}", other.id), &app.operator).await.len(), 2);
    let path = |vendor: &Vendor| format!("/v1/tokens/{}?vendor_id={}", text(&made["id"]), vendor.id);
    assert_eq!(app.call("DELETE", &path(&other), &app.operator, None).await.code(404), "not_found");
    app.get("/v1/recharges", &text(&made["token"])).await.expect(200);
    app.call("DELETE", &path(&vendor), &app.operator, None).await.expect(204);
    app.get("/v1/recharges", &text(&made["token"])).await.code(401);
    app.finish().await;
}

#[tokio::test]
async fn logins_are_made_listed_and_removed() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let path = |vendor: &Vendor| format!("/v1/vendors/{}/users", vendor.id);
    let made = app.post(&path(&vendor), &app.operator, json!({"email": "Ann@Example.com", "password": "correct horse"})).await.expect(201);
    assert_eq!(made["email"], "ann@example.com");
    assert!(!made.to_string().contains("correct horse") && !made.to_string().contains("argon2"));
    let taken = app.post(&path(&other), &app.operator, json!({"email": "ann@example.com", "password": "correct horse"})).await;
    assert_eq!((taken.code(422).as_str(), taken.problems()[0].0.as_str()), ("invalid", "email"), "an address is one login's");
    for (body, fields) in [
        (json!({}), vec!["email", "password"]),
        (json!({"email": "nobody", "password": "short"}), vec!["email", "password"]),
        (json!({"email": "b@example.com", "password": "x".repeat(201)}), vec!["password"]),
        (json!({"email": "b@example.com", "password": 1234567890}), vec!["password"]),
    ] {
        let problems = app.post(&path(&vendor), &app.operator, body.clone()).await.problems();
        assert_eq!(problems.into_iter().map(|(field, _)| field).collect::<Vec<_>>(), fields, "{body}");
    }
    assert_eq!(list(&app, &path(&vendor), &app.operator).await, std::slice::from_ref(&made));
    assert_eq!(list(&app, &path(&other), &app.operator).await, [] as [Value; 0]);
    let one = |vendor: &Vendor| format!("{}/{}", path(vendor), text(&made["id"]));
    assert_eq!(app.call("DELETE", &one(&other), &app.operator, None).await.code(404), "not_found");
    assert_eq!(app.call("DELETE", &one(&vendor), &vendor.live, None).await.code(403), "forbidden");
    app.call("DELETE", &one(&vendor), &app.operator, None).await.expect(204);
    assert_eq!(app.call("DELETE", &one(&vendor), &app.operator, None).await.code(404), "not_found");
    assert_eq!(list(&app, &path(&vendor), &app.operator).await, [] as [Value; 0]);
    app.finish().await;
}

// --- The audit log -----------------------------------------------------------------------------------------------------

/// Calls things one after the other, and sees after each what the audit log says of it.
struct Auditor<'a> {
    app: &'a TestApp,
    vendor: &'a Vendor,
    actors: [String; 2],
    secrets: Vec<String>,
    seen: usize,
    /// What was called.
    routes: BTreeSet<String>,
}

impl Auditor<'_> {
    async fn entries(&self) -> Vec<Value> {
        list(self.app, "/v1/audit?limit=200", &self.app.operator).await
    }

    /// `by` is `operator` or `vendor`; `of` is the object, or else the answer's id.
    async fn does(&mut self, by: &str, (method, path, body): (&str, &str, Value), action: &str, of: &str, mode: Option<&str>) -> Value {
        let token = if by == "vendor" { &self.vendor.live } else { &self.app.operator };
        let reply = self.app.call(method, path, token, (!body.is_null()).then_some(body)).await;
        assert!((200..300).contains(&reply.status), "{method} {path}: {}", reply.text);
        self.routes.insert(route(method, path));
        let answer = reply.json();
        self.secrets.extend(["secret", "token"].iter().filter_map(|name| answer[name].as_str().map(str::to_owned)));
        let entries = self.entries().await;
        assert_eq!(entries.len(), self.seen + 1, "one entry for {method} {path}");
        self.seen += 1;
        let object = if of.is_empty() { text(&answer["id"]) } else { of.to_owned() };
        let actor = &self.actors[usize::from(by == "vendor")];
        let entry = &entries[0];
        let expected = json!([action, actor, "127.0.0.1", self.vendor.id, mode, object]);
        let found = json!([entry["action"], entry["actor"], entry["address"], entry["vendor_id"], entry["mode"], entry["object"]]);
        assert_eq!(found, expected, "{method} {path}");
        answer
    }
}

async fn auditor<'a>(app: &'a TestApp, vendor: &'a Vendor, secrets: Vec<String>) -> Auditor<'a> {
    let entries = list(app, "/v1/audit?limit=200", &app.operator).await;
    let operator = entries.iter().map(|entry| text(&entry["actor"])).find(|actor| actor.starts_with("operator ")).expect("an operator");
    let tokens = list(app, "/v1/tokens", &vendor.live).await;
    let live = tokens.iter().find(|token| token["mode"] == "live").expect("a token");
    Auditor {
        app,
        vendor,
        actors: [operator, format!("vendor {}", text(&live["id"]))],
        secrets,
        seen: entries.len(),
        routes: BTreeSet::new(),
    }
}

#[tokio::test]
async fn the_audit_log_tells_everything_that_was_changed_and_no_secret() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let number = "9801234567";
    let secrets =
        vec![vendor.live.clone(), vendor.test.clone(), app.operator.clone(), number.into(), "correct horse".into(), "s3cr3t".into()];
    let mut log = auditor(&app, &vendor, secrets).await;
    let (live, own) = (Some("live"), format!("/v1/vendors/{}", vendor.id));
    let none = Value::Null;
    // What the operator does about the vendor.
    log.does("operator", ("PATCH", &own, json!({"name": "Shop 2"})), "vendor.changed", &vendor.id, None).await;
    let token = log.does("operator", ("POST", &format!("{own}/tokens"), json!({"mode": "test"})), "token.created", "", Some("test")).await;
    let id = text(&token["id"]);
    log.does("operator", ("DELETE", &format!("{own}/tokens/{id}"), none.clone()), "token.revoked", &id, None).await;
    let login = json!({"email": "ann@example.com", "password": "correct horse"});
    let id = text(&log.does("operator", ("POST", &format!("{own}/users"), login), "user.created", "", None).await["id"]);
    log.does("operator", ("DELETE", &format!("{own}/users/{id}"), none.clone()), "user.removed", &id, None).await;
    log.does("operator", ("POST", &format!("{own}/panel-link"), json!({})), "vendor.panel_link_made", "", None).await;
    let id = text(&log.does("vendor", ("POST", "/v1/tokens", json!({"mode": "live"})), "token.created", "", live).await["id"]);
    log.does("vendor", ("DELETE", &format!("/v1/tokens/{id}"), none.clone()), "token.revoked", &id, None).await;
    // Endpoints.
    let url = format!("{}?key=s3cr3t", hook.url());
    let settings = json!({"url": url, "headers": {"authorization": "s3cr3t"}});
    let id = text(&log.does("vendor", ("POST", "/v1/endpoints", settings), "endpoint.created", "", live).await["id"]);
    let path = format!("/v1/endpoints/{id}");
    log.does("vendor", ("PATCH", &path, json!({"headers": {"x-api-key": "s3cr3t"}})), "endpoint.changed", &id, live).await;
    for (by, verb, action) in [
        ("vendor", "connect", "endpoint.connected"),
        ("vendor", "pause", "endpoint.paused"),
        ("operator", "resume", "endpoint.resumed"),
        ("vendor", "disable", "endpoint.disabled"),
        ("operator", "enable", "endpoint.enabled"),
        ("vendor", "rotate-secret", "endpoint.secret_rotated"),
    ] {
        log.does(by, ("POST", &format!("{path}/{verb}"), none.clone()), action, &id, live).await;
    }
    // Deliveries and replays.
    let report = |status: &str, reference: &str| json!({"reports": [{"vendor_id": vendor.id, "reference_no": reference, "status": status, "connection_no": number}]});
    let settled = app.post("/v1/reports", &app.operator, report("success", "R-1")).await.expect(200)["results"][0].clone();
    let endpoint = crate::harness::Endpoint { id: id.clone(), secret: String::new(), token: vendor.live.clone() };
    let event = text(&settled["event_id"]);
    let delivery = text(&app.until_state(&endpoint, &event, "succeeded").await["id"]);
    let on_delivery = |verb: &str| format!("/v1/deliveries/{delivery}/{verb}");
    hook.always(Answer::status(500));
    log.does("vendor", ("POST", &on_delivery("resend"), none.clone()), "delivery.resent", &delivery, live).await;
    app.until_attempts(&endpoint, &event, 2).await;
    log.does("operator", ("POST", &on_delivery("cancel"), none.clone()), "delivery.cancelled", &delivery, live).await;
    let since = json!({"since": "2026-11-23T00:00:00Z", "until": "2026-11-25T00:00:00Z"});
    let replay = text(&log.does("vendor", ("POST", &format!("{path}/replay"), since), "replay.started", "", live).await["id"]);
    log.does("vendor", ("DELETE", &format!("/v1/replays/{replay}"), none.clone()), "replay.cancelled", &replay, live).await;
    log.does("vendor", ("POST", &format!("{path}/cancel-pending"), none.clone()), "endpoint.pending_cancelled", &id, live).await;
    // What a person decides, and forgets.
    for body in [report("failed", "R-1"), report("queued", "Q")] {
        app.post("/v1/reports", &app.operator, body).await.expect(200);
    }
    let conflict = text(&list(&app, "/v1/conflicts", &app.operator).await[0]["id"]);
    let resolve = (format!("/v1/conflicts/{conflict}/resolve"), json!({"as": "dismissed", "reason": "a mistake"}));
    log.does("operator", ("POST", &resolve.0, resolve.1), "conflict.resolved", &conflict, live).await;
    let recharge = text(&list(&app, "/v1/recharges?reference_no=Q", &vendor.live).await[0]["id"]);
    let resolve = (format!("/v1/recharges/{recharge}/resolve"), json!({"status": "failed", "reason": "a mistake"}));
    log.does("operator", ("POST", &resolve.0, resolve.1), "recharge.resolved", &recharge, live).await;
    log.does("vendor", ("DELETE", &path, none.clone()), "endpoint.deleted", &id, live).await;
    let erase = format!("{own}/personal-data?connection_no={number}");
    log.does("operator", ("DELETE", &erase, none), "personal_data.erased", &vendor.id, None).await;
    // Making a vendor is seen where vendors are made; recharges with what is said about them and events are logs of their own; a
    // test and a lookup change nothing.
    let others = [
        "POST /v1/vendors",
        "POST /v1/recharges",
        "POST /v1/recharges/lookup",
        "POST /v1/reports",
        "POST /callbacks/{provider}",
        "POST /callbacks/{provider}/{secret}",
        "POST /v1/events",
        "POST /v1/endpoints/{id}/test",
    ];
    let changing =
        documented().into_iter().map(|(route, _)| route).filter(|route| !route.starts_with("GET ") && !others.contains(&route.as_str()));
    assert_eq!(log.routes, changing.collect(), "every call that changes something has its place here");
    let all = json!(log.entries().await).to_string();
    for secret in log.secrets {
        assert!(!all.contains(&secret), "{secret} is in the audit log");
    }
    app.quiet(|| hook.count()).await;
    app.finish().await;
}

#[tokio::test]
async fn what_was_refused_or_only_read_is_not_in_the_audit_log() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let before = list(&app, "/v1/audit", &app.operator).await;
    app.post("/v1/vendors", &app.operator, json!({"name": "Shop"})).await.code(422);
    app.call("DELETE", "/v1/endpoints/ep_0000000000000", &vendor.live, None).await.code(404);
    app.call("DELETE", "/v1/tokens/tok_0000000000000", &vendor.live, None).await.code(404);
    app.call("PATCH", "/v1/vendors/ven_0000000000000", &app.operator, Some(json!({"name": "x"}))).await.code(404);
    app.get("/v1/endpoints", &vendor.live).await.expect(200);
    assert_eq!(list(&app, "/v1/audit", &app.operator).await, before);
    assert_eq!(app.get("/v1/audit", &vendor.live).await.code(403), "forbidden");
    app.finish().await;
}

#[tokio::test]
async fn the_audit_log_is_filtered_and_paged() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let start = app.now();
    for of in [&vendor, &other, &vendor] {
        app.advance(Duration::from_secs(60));
        let made = app.post("/v1/tokens", &of.live, json!({"mode": "live"})).await.expect(201);
        app.call("DELETE", &format!("/v1/tokens/{}", text(&made["id"])), &of.live, None).await.expect(204);
    }
    let count = async |query: String| list(&app, &format!("/v1/audit?{query}"), &app.operator).await.len();
    let minute = |number: u64| start.plus(Duration::from_secs(60 * number));
    assert_eq!(count(String::new()).await, 8);
    assert_eq!(count(format!("vendor_id={}", vendor.id)).await, 5);
    assert_eq!(count(format!("action=token.revoked&since={start}")).await, 3);
    assert_eq!(count(format!("action=token.&since={start}&vendor_id={}", other.id)).await, 2);
    assert_eq!(count(format!("action=token&since={start}")).await, 0, "an action, or a kind with its dot");
    assert_eq!(count(format!("since={}&until={}", minute(1), minute(3))).await, 4, "since is inclusive, until exclusive");
    assert_eq!(app.get("/v1/audit?action=token.", &app.operator).await.code(422), "range_required");
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/v1/audit?limit=1&action=token.created&since={start}{cursor}"), &app.operator).await.expect(200);
        seen.extend(page["data"].as_array().expect("a list").iter().map(|entry| time(&entry["at"])));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, [minute(3), minute(2), minute(1)], "newest first");
    app.finish().await;
}

// --- The overview ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_overview_has_the_figures_of_what_happened() {
    let (app, good, bad) = (TestApp::start().await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &good).await;
    app.advance(Duration::from_secs(90));
    app.succeed(&vendor, (1..=4).map(|number| format!("S-{number}"))).await;
    let report = |reference: &str, status: &str| json!({"vendor_id": vendor.id, "reference_no": reference, "status": status});
    let more = json!({"reports": [report("F-1", "failed"), report("F-2", "failed"), report("S-1", "failed"), report("Q-1", "queued")]});
    app.post("/v1/reports", &app.operator, more).await.expect(200);
    let conflict = text(&list(&app, "/v1/conflicts", &app.operator).await[0]["id"]);
    app.until_count(&endpoint, "succeeded", 6).await;
    // One that succeeds at its second attempt, ten seconds or so later.
    good.next([Answer::status(500)]);
    let late = app.succeed_one(&vendor, "S-5").await;
    let waits = app.until_attempts(&endpoint, &late, 1).await;
    let view = app.get("/v1/overview", &app.operator).await.expect(200);
    assert_eq!((&view["backlog"], &view["open_conflicts"], &view["endpoints"]["failing"]), (&json!(1), &json!(1), &json!(1)));
    let took = app.advance_to(&waits["next_attempt_at"]);
    app.until_state(&endpoint, &late, "succeeded").await;
    let resolve = json!({"as": "reversed", "reason": "seen"});
    app.post(&format!("/v1/conflicts/{conflict}/resolve"), &app.operator, resolve).await.expect(200);
    app.until_count(&endpoint, "succeeded", 8).await;
    let view = app.get("/v1/overview", &app.operator).await.expect(200);
    assert_eq!(view["recharges"], json!({"queued": 1, "success": 4, "failed": 2, "reversed": 1}));
    assert_eq!(view["oldest_queued_seconds"], took.as_secs());
    for part in ["last_hour", "last_day"] {
        let traffic = &view[part];
        // Five successes, two failures, a contradiction, a queued one; eight events, one of them with two attempts.
        assert_eq!((&traffic["accepted"], &traffic["attempts"]), (&json!(9), &json!(9)), "{part}");
        assert_eq!(traffic["success_rate"], json!(8.0 / 9.0));
        assert_eq!(traffic["p50_ms"], json!(1.0));
        let (slow, took) = (traffic["p99_ms"].as_f64().expect("a number"), took.as_secs_f64() * 1000.0);
        assert!((took..=took * 1.21).contains(&slow), "{slow} of {took}");
    }
    assert_eq!((&view["backlog"], &view["open_conflicts"]), (&json!(0), &json!(0)));
    assert_eq!(view["endpoints"], json!({"failing": 0, "disabled": 0}), "one success, and it fails no more");
    // Another one fails, and one is switched off.
    let failing = app.connected(&vendor, &bad).await;
    bad.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "S-6").await;
    app.until_attempts(&failing, &event, 1).await;
    app.until_count(&endpoint, "succeeded", 9).await;
    app.on(&endpoint, "disable").await.expect(200);
    let view = app.get("/v1/overview", &app.operator).await.expect(200);
    assert_eq!(view["endpoints"], json!({"failing": 1, "disabled": 1}));
    app.call("DELETE", &format!("/v1/endpoints/{}", failing.id), &vendor.live, None).await.expect(204);
    app.advance(Duration::from_secs(2 * 3600));
    let view = app.get("/v1/overview", &app.operator).await.expect(200);
    assert_eq!(view["endpoints"], json!({"failing": 0, "disabled": 1}), "what is deleted needs nobody");
    assert_eq!(view["oldest_queued_seconds"], (took + Duration::from_secs(2 * 3600)).as_secs());
    let hour = json!({"accepted": 0, "attempts": 0, "success_rate": null, "p50_ms": null, "p99_ms": null});
    assert_eq!(view["last_hour"], hour);
    assert_eq!((&view["last_day"]["accepted"], view["recharges"]["success"].as_u64()), (&json!(10), Some(5)));
    assert_eq!(app.get("/v1/overview", &vendor.live).await.code(403), "forbidden");
    until("what the deleted one had is cancelled", || async { (app.open_runs() == 0).then_some(()) }).await;
    app.finish().await;
}
