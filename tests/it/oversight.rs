//! What the operator sees: who changed what, and how everything stands. And vendors' own tokens, and logins.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Endpoint, TestApp, Vendor, text, time, until};
use crate::receiver::{Answer, Receiver};

const PASSWORD: &str = "correct horse battery";

async fn report(app: &TestApp, vendor: &Vendor, reference: &str, status: &str) -> Value {
    let item = json!({"vendor_id": vendor.id, "reference_no": reference, "status": status});
    app.post("/v1/reports", &app.operator, json!({"reports": [item]})).await.expect(200)["results"][0].clone()
}

async fn audit(app: &TestApp) -> Vec<Value> {
    app.get("/v1/audit?limit=200", &app.operator).await.expect(200)["data"].as_array().expect("entries").clone()
}

// --- The audit log -------------------------------------------------------------------------------------------------------

/// A call, what it answers, and what the log says of it.
struct Step {
    /// As the OpenAPI document has it.
    route: &'static str,
    path: String,
    body: Value,
    /// With an operator's token, and not a vendor's.
    by_operator: bool,
    /// Nothing: it changes nothing, or it is a log of its own.
    action: Option<&'static str>,
    /// What it was done to; else the `id` of the answer.
    object: Option<String>,
}

/// Walks through all calls that change something, and remembers what it sees.
struct Walk {
    app: TestApp,
    vendor: Vendor,
    routes: BTreeSet<String>,
    secrets: Vec<String>,
}

impl Walk {
    /// Makes a call as the operator, and looks at its entry.
    async fn operator(&mut self, route: &'static str, id: &str, body: Value, entry: (Option<&'static str>, Option<&str>)) -> Value {
        self.step(route, id, body, entry, true).await
    }

    /// The same as the vendor.
    async fn vendor(&mut self, route: &'static str, id: &str, body: Value, entry: (Option<&'static str>, Option<&str>)) -> Value {
        self.step(route, id, body, entry, false).await
    }

    async fn step(
        &mut self,
        route: &'static str,
        id: &str,
        body: Value,
        (action, object): (Option<&'static str>, Option<&str>),
        by_operator: bool,
    ) -> Value {
        let path = route.split_once(' ').expect("a method").1;
        let (owner, own) = id.split_once('/').unwrap_or((id, ""));
        let path = path.replacen("{id}", owner, 1).replace("{token_id}", own).replace("{user_id}", own);
        let step = Step { route, path, body, by_operator, action, object: object.map(str::to_owned) };
        self.make(step).await
    }

    async fn make(&mut self, step: Step) -> Value {
        let Self { app, vendor, .. } = self;
        app.advance(Duration::from_millis(5));
        let before = audit(app).await.len();
        let token = if step.by_operator { &app.operator } else { &vendor.live };
        let (method, _) = step.route.split_once(' ').expect("a method");
        let body = (!step.body.is_null()).then(|| step.body.clone());
        let answer = app.call(method, &step.path, token, body).await;
        assert!((200..300).contains(&answer.status), "{}: {}", step.route, answer.text);
        let (answer, entries) = (answer.json(), audit(app).await);
        assert_eq!(entries.len(), before + usize::from(step.action.is_some()), "{}: {:#?}", step.route, entries.first());
        if let Some(action) = step.action {
            let entry = &entries[0];
            let object = step.object.clone().unwrap_or_else(|| text(&answer["id"]));
            let who = if step.by_operator { "operator tok_" } else { "vendor tok_" };
            assert_eq!((&entry["action"], &entry["object"]), (&json!(action), &json!(object)), "{}", step.route);
            assert!(text(&entry["actor"]).starts_with(who), "{}: {entry:#}", step.route);
            assert_eq!((&entry["address"], time(&entry["at"])), (&json!("127.0.0.1"), app.now()), "{}", step.route);
            let about = if step.route == "POST /v1/vendors" { &object } else { &vendor.id };
            assert_eq!(entry["vendor_id"], json!(about), "{}", step.route);
        }
        let named = ["token", "live_token", "test_token", "secret"];
        self.secrets.extend(named.iter().filter_map(|name| answer[name].as_str()).map(str::to_owned));
        self.routes.insert(step.route.to_owned());
        answer
    }

    async fn people_and_tokens(&mut self) {
        let (id, nobody) = (self.vendor.id.clone(), None);
        let vendor = json!({"name": "Another", "email": "another@example.com"});
        self.operator("POST /v1/vendors", "", vendor, (Some("vendor.created"), nobody)).await;
        let change = json!({"name": "Renamed"});
        self.operator("PATCH /v1/vendors/{id}", &id, change, (Some("vendor.changed"), Some(&id))).await;
        let mode = json!({"mode": "live"});
        let token = text(&self.operator("POST /v1/vendors/{id}/tokens", &id, mode.clone(), (Some("token.created"), nobody)).await["id"]);
        let path = format!("{id}/{token}");
        self.operator("DELETE /v1/vendors/{id}/tokens/{token_id}", &path, Value::Null, (Some("token.revoked"), Some(&token))).await;
        let login = json!({"email": "people@example.com", "password": PASSWORD});
        let user = text(&self.operator("POST /v1/vendors/{id}/users", &id, login, (Some("user.created"), nobody)).await["id"]);
        let path = format!("{id}/{user}");
        self.operator("DELETE /v1/vendors/{id}/users/{user_id}", &path, Value::Null, (Some("user.removed"), Some(&user))).await;
        let token = text(&self.vendor("POST /v1/tokens", "", mode, (Some("token.created"), nobody)).await["id"]);
        self.vendor("DELETE /v1/tokens/{id}", &token, Value::Null, (Some("token.revoked"), Some(&token))).await;
    }

    async fn an_endpoint(&mut self, url: &str) -> Endpoint {
        let settings = json!({"url": url, "event_types": ["*"], "headers": {"x-key": "a value of their own"}});
        let made = self.vendor("POST /v1/endpoints", "", settings, (Some("endpoint.created"), None)).await;
        let id = text(&made["id"]);
        for (route, body, action) in [
            ("PATCH /v1/endpoints/{id}", json!({"description": "the till"}), Some("endpoint.changed")),
            ("POST /v1/endpoints/{id}/connect", Value::Null, Some("endpoint.connected")),
            ("POST /v1/endpoints/{id}/test", Value::Null, None),
            ("POST /v1/endpoints/{id}/disable", Value::Null, Some("endpoint.disabled")),
            ("POST /v1/endpoints/{id}/disable", Value::Null, None),
            ("POST /v1/endpoints/{id}/enable", json!({"replay_missed": true}), Some("endpoint.enabled")),
            ("POST /v1/endpoints/{id}/rotate-secret", Value::Null, Some("endpoint.secret_rotated")),
            ("POST /v1/endpoints/{id}/pause", Value::Null, Some("endpoint.paused")),
            ("POST /v1/endpoints/{id}/resume", Value::Null, Some("endpoint.resumed")),
        ] {
            self.vendor(route, &id, body, (action, Some(&id))).await;
        }
        Endpoint { id, secret: text(&made["secret"]), token: self.vendor.live.clone() }
    }

    async fn deliveries(&mut self, endpoint: &Endpoint, hook: &Receiver) {
        let item = json!({"vendor_id": self.vendor.id, "reference_no": "R-1", "status": "success", "connection_no": "9801234567"});
        self.operator("POST /v1/reports", "", json!({"reports": [item]}), (None, None)).await;
        let event = json!({"vendor_id": self.vendor.id, "type": "invoice.paid", "data": {}});
        let event = text(&self.operator("POST /v1/events", "", event, (None, None)).await["id"]);
        let delivery = text(&self.app.until_state(endpoint, &event, "succeeded").await["id"]);
        hook.always(Answer::status(500));
        self.vendor("POST /v1/deliveries/{id}/resend", &delivery, Value::Null, (Some("delivery.resent"), Some(&delivery))).await;
        self.vendor("POST /v1/deliveries/{id}/cancel", &delivery, Value::Null, (Some("delivery.cancelled"), Some(&delivery))).await;
        let range = json!({"since": "2026-01-01T00:00:00Z"});
        let replay = text(&self.vendor("POST /v1/endpoints/{id}/replay", &endpoint.id, range, (Some("replay.started"), None)).await["id"]);
        self.app.until_count(endpoint, "pending", 2).await;
        self.vendor("DELETE /v1/replays/{id}", &replay, Value::Null, (Some("replay.cancelled"), Some(&replay))).await;
        let id = endpoint.id.clone();
        let pending = Some("endpoint.pending_cancelled");
        self.vendor("POST /v1/endpoints/{id}/cancel-pending", &id, Value::Null, (pending, Some(&id))).await;
    }

    async fn decisions(&mut self) {
        report(&self.app, &self.vendor, "R-1", "failed").await;
        let conflict = text(&self.app.get("/v1/conflicts", &self.app.operator).await.expect(200)["data"][0]["id"]);
        let reversed = json!({"as": "dismissed", "reason": "so"});
        let resolved = (Some("conflict.resolved"), Some(conflict.as_str()));
        self.operator("POST /v1/conflicts/{id}/resolve", &conflict, reversed, resolved).await;
        let recharge = text(&report(&self.app, &self.vendor, "R-2", "queued").await["recharge_id"]);
        let settled = json!({"status": "failed", "reason": "so"});
        let resolved = (Some("recharge.resolved"), Some(recharge.as_str()));
        self.operator("POST /v1/recharges/{id}/resolve", &recharge, settled, resolved).await;
        let id = self.vendor.id.clone();
        let path = format!("/v1/vendors/{id}/personal-data?connection_no=9801234567");
        let route = "DELETE /v1/vendors/{id}/personal-data";
        let (action, object) = (Some("personal_data.erased"), Some(id));
        self.make(Step { route, path, body: Value::Null, by_operator: true, action, object }).await;
    }
}

#[tokio::test]
async fn everything_that_somebody_changes_is_noted_once_with_who_and_what() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let mut walk = Walk { app, vendor, routes: BTreeSet::new(), secrets: vec![PASSWORD.to_owned(), "a value of their own".to_owned()] };
    walk.people_and_tokens().await;
    let endpoint = walk.an_endpoint(&hook.url()).await;
    walk.deliveries(&endpoint, &hook).await;
    walk.decisions().await;
    let id = endpoint.id.clone();
    walk.vendor("DELETE /v1/endpoints/{id}", &id, Value::Null, (Some("endpoint.deleted"), Some(&id))).await;

    let Walk { app, routes, secrets, .. } = walk;
    let document = app.get("/openapi.json", "").await.expect(200);
    let paths = document["paths"].as_object().expect("paths").iter();
    let all =
        paths.flat_map(|(path, methods)| methods.as_object().expect("methods").keys().map(move |method| (path, method.to_uppercase())));
    let changing: BTreeSet<String> = all.filter(|(_, method)| method != "GET").map(|(path, method)| format!("{method} {path}")).collect();
    assert_eq!(routes, changing, "every call that changes something has its place here");
    let log = Value::from(audit(&app).await).to_string();
    assert!(!log.contains("9801234567"), "no connection numbers");
    for secret in &secrets {
        assert!(!log.contains(secret.strip_prefix("whsec_").unwrap_or(secret)), "no secrets: {}…", &secret[..6]);
    }
    until("nothing is open", || async { (app.open_runs() == 0).then_some(()) }).await;
    app.finish().await;
}

#[tokio::test]
async fn what_came_to_nothing_is_not_noted() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let (vendor, stranger) = (app.vendor().await, app.vendor().await);
    let endpoint = app.connected(&vendor, &hook).await;
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = text(&app.until_state(&endpoint, &event, "succeeded").await["id"]);
    let before = audit(&app).await;
    for (method, path, token, body, status) in [
        ("POST", "/v1/vendors".to_owned(), &app.operator, json!({}), 422),
        ("PATCH", format!("/v1/vendors/{}", vendor.id), &vendor.live, json!({"name": "Mine"}), 403),
        ("PATCH", "/v1/vendors/ven_0000000000000".to_owned(), &app.operator, json!({"name": "Gone"}), 404),
        ("DELETE", "/v1/tokens/tok_0000000000000".to_owned(), &vendor.live, Value::Null, 404),
        ("DELETE", format!("/v1/endpoints/{}", endpoint.id), &stranger.live, Value::Null, 404),
        ("POST", format!("/v1/endpoints/{}/resume", endpoint.id), &vendor.live, json!({}), 409),
        ("POST", format!("/v1/deliveries/{delivery}/cancel"), &vendor.live, json!({}), 409),
        ("POST", format!("/v1/endpoints/{}/replay", endpoint.id), &vendor.live, json!({"since": "x"}), 422),
        ("POST", format!("/v1/endpoints/{}/rotate-secret", endpoint.id), &vendor.live, json!({"secret": "short"}), 422),
        ("GET", "/v1/vendors".to_owned(), &app.operator, Value::Null, 200),
    ] {
        let answer = app.call(method, &path, token, (!body.is_null()).then_some(body)).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    }
    assert_eq!(audit(&app).await, before);
    app.finish().await;
}

#[tokio::test]
async fn the_log_is_chosen_from_by_vendor_action_and_time() {
    let app = TestApp::start().await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    app.advance(Duration::from_secs(1));
    let since = app.now();
    let tokens = format!("/v1/vendors/{}/tokens", vendor.id);
    app.post(&tokens, &app.operator, json!({"mode": "test"})).await.expect(201);
    app.advance(Duration::from_secs(1));
    let until = app.now();
    app.post("/v1/endpoints", &vendor.test, json!({"url": "https://example.com/x"})).await.expect(201);
    let chosen = async |query: String| {
        let found = app.get(&format!("/v1/audit?{query}"), &app.operator).await.expect(200);
        found["data"].as_array().expect("entries").iter().map(|entry| text(&entry["action"])).collect::<Vec<_>>()
    };
    let all = ["endpoint.created", "token.created", "vendor.created"];
    assert_eq!(chosen(format!("vendor_id={}", vendor.id)).await, all);
    assert_eq!(chosen(format!("vendor_id={}", other.id)).await, ["vendor.created"]);
    assert_eq!(chosen(format!("since={since}&until={until}")).await, ["token.created"], "inclusive, exclusive");
    assert_eq!(chosen(format!("since={until}&action=endpoint.created")).await, ["endpoint.created"]);
    assert_eq!(chosen(format!("since={since}&action=token.")).await, ["token.created"], "all of a kind");
    assert_eq!(chosen(format!("since={since}&action=tok")).await, [""; 0]);
    let entry = app.get("/v1/audit?limit=1", &app.operator).await.expect(200)["data"][0].clone();
    assert_eq!((&entry["mode"], &entry["details"]["url"]), (&json!("test"), &json!("https://example.com/x")));
    assert_eq!(app.get("/v1/audit?action=token.created", &app.operator).await.code(422), "range_required");
    assert_eq!(app.get("/v1/audit", &vendor.live).await.code(403), "forbidden");
    app.finish().await;
}

#[tokio::test]
async fn commands_are_noted_too() {
    let app = TestApp::start().await;
    let database = format!("sqlite:{}", app.file().display());
    let run = async |arguments: &'static [&'static str]| {
        let database = database.clone();
        let run = move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
            command.args(arguments).args(["--database", &database]).env_clear().env("RINGBACK_PASSWORD", PASSWORD);
            command.output().expect("it runs")
        };
        let output = tokio::task::spawn_blocking(run).await.expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["token", "create", "--operator", "--name", "night"]).await;
    run(&["user", "create", "--operator", "--email", "ops@example.com"]).await;
    let entries = audit(&app).await;
    let noted: Vec<_> = entries.iter().map(|entry| (text(&entry["actor"]), text(&entry["action"]))).collect();
    let expected = ["user.created", "token.created"].map(|action| ("command line".to_owned(), action.to_owned()));
    assert_eq!(noted, expected);
    assert!(entries.iter().all(|entry| entry["vendor_id"].is_null() && entry["address"].is_null()));
    app.finish().await;
}

// --- The overview --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_overview_counts_what_there_is() {
    let (app, hook, bad) = (TestApp::start().await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let empty = app.get("/v1/overview", &app.operator).await.expect(200);
    let nothing = json!({"accepted": 0, "attempts": 0, "success_rate": null, "p50_ms": null, "p99_ms": null});
    assert_eq!((&empty["last_hour"], &empty["last_day"], &empty["oldest_queued_seconds"]), (&nothing, &nothing, &Value::Null));
    let (good, failing, off) =
        (app.connected(&vendor, &hook).await, app.connected(&vendor, &bad).await, app.connected(&vendor, &hook).await);
    app.on(&off, "disable").await.expect(200);
    bad.always(Answer::status(500));
    for (reference, status) in
        [("R-1", "success"), ("R-2", "success"), ("R-3", "failed"), ("R-4", "queued"), ("R-1", "failed"), ("R-2", "failed")]
    {
        report(&app, &vendor, reference, status).await;
    }
    let conflicts = app.get("/v1/conflicts", &app.operator).await.expect(200);
    let path = format!("/v1/conflicts/{}/resolve", text(&conflicts["data"][1]["id"]));
    app.post(&path, &app.operator, json!({"as": "reversed", "reason": "so"})).await.expect(200);
    app.until_count(&good, "succeeded", 4).await;
    for event in app.get("/v1/events", &vendor.live).await.expect(200)["data"].as_array().expect("events") {
        app.until_attempts(&failing, &text(&event["id"]), 1).await;
    }
    app.advance(Duration::from_secs(3));
    app.on(&good, "pause").await.expect(200);
    app.post(&format!("/v1/endpoints/{}/replay", good.id), &vendor.live, json!({"since": "2026-01-01T00:00:00Z"})).await.expect(202);
    let overview = app.get("/v1/overview", &app.operator).await.expect(200);
    let traffic = json!({"accepted": 6, "attempts": 8, "success_rate": 0.5, "p50_ms": 1.0, "p99_ms": 1.0});
    for (field, expected) in [
        ("at", json!(app.now())),
        ("recharges", json!({"queued": 1, "success": 1, "failed": 1, "reversed": 1})),
        ("oldest_queued_seconds", json!(3)),
        ("backlog", json!(4)),
        ("last_hour", traffic.clone()),
        ("last_day", traffic),
        ("endpoints", json!({"failing": 1, "disabled": 1})),
        ("open_conflicts", json!(1)),
        ("running_replays", json!(1)),
        ("alerts_waiting", json!(0)),
    ] {
        assert_eq!(overview[field], expected, "{field}");
    }
    assert_eq!(app.get("/v1/overview", &vendor.live).await.code(403), "forbidden");
    assert_eq!(app.get("/v1/overview?limit=1", &app.operator).await.code(422), "unknown_field");
    for endpoint in [&good, &failing] {
        app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
    }
    until("nothing is open", || async { (app.open_runs() == 0).then_some(()) }).await;
    app.finish().await;
}

#[tokio::test]
async fn an_hour_and_a_day_pass() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    app.succeed(&vendor, ["R-1".to_owned(), "R-2".to_owned()]).await;
    app.until_count(&endpoint, "succeeded", 2).await;
    let minutes = |count: u64| Duration::from_secs(count * 60);
    for (passed, hour, day) in [(minutes(59), 2, 2), (minutes(2), 0, 2), (minutes(24 * 60 - 62), 0, 2), (minutes(2), 0, 0)] {
        app.advance(passed);
        app.restart().await;
        let overview = app.get("/v1/overview", &app.operator).await.expect(200);
        assert_eq!((&overview["last_hour"]["attempts"], &overview["last_day"]["attempts"]), (&json!(hour), &json!(day)), "{passed:?}");
        assert_eq!((&overview["last_hour"]["accepted"], &overview["last_day"]["accepted"]), (&json!(hour), &json!(day)), "{passed:?}");
        assert_eq!(overview["last_hour"]["success_rate"].is_null(), hour == 0);
    }
    assert_eq!(app.get("/v1/overview", &app.operator).await.expect(200)["recharges"]["success"], 2, "these are kept");
    app.finish().await;
}

// --- Tokens and logins -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_vendor_has_tokens_of_both_modes_of_its_own() {
    let app = TestApp::start().await;
    let (vendor, stranger) = (app.vendor().await, app.vendor().await);
    let mut made = Vec::new();
    for (token, mode) in [(&vendor.live, "test"), (&vendor.live, "live"), (&vendor.test, "test"), (&vendor.test, "live")] {
        let body = json!({"mode": mode, "name": "till", "allowed_ips": ["127.0.0.1"]});
        let new = app.post("/v1/tokens", token, body).await.expect(201);
        assert!(text(&new["token"]).starts_with(&format!("rb_{mode}_")), "{new}");
        assert_eq!((&new["mode"], &new["name"], &new["allowed_ips"]), (&json!(mode), &json!("till"), &json!(["127.0.0.1/32"])));
        app.get("/v1/recharges", &text(&new["token"])).await.expect(200);
        made.push(new);
    }
    let listed = app.get("/v1/tokens", &vendor.test).await.expect(200);
    assert_eq!(listed, app.get(&format!("/v1/tokens?vendor_id={}", vendor.id), &app.operator).await.expect(200));
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(6), "and the first two");
    assert!(made.iter().all(|new| !listed.to_string().contains(&text(&new["token"]))), "a token is shown once");
    let path = format!("/v1/tokens/{}", text(&made[0]["id"]));
    assert_eq!(app.call("DELETE", &path, &stranger.live, None).await.code(404), "not_found");
    app.call("DELETE", &path, &vendor.live, None).await.expect(204);
    assert_eq!(app.get("/v1/recharges", &text(&made[0]["token"])).await.code(401), "unauthorized");
    assert_eq!(app.call("DELETE", &path, &vendor.live, None).await.code(404), "not_found");
    for answer in [
        app.post("/v1/tokens", &app.operator, json!({"mode": "live"})).await,
        app.get("/v1/tokens", &app.operator).await,
        app.call("DELETE", &format!("/v1/tokens/{}", text(&made[1]["id"])), &app.operator, None).await,
    ] {
        assert_eq!((answer.code(422), answer.problems()[0].0.as_str()), ("invalid".to_owned(), "vendor_id"));
    }
    let problems = app.post("/v1/tokens", &vendor.live, json!({"vendor_id": stranger.id, "name": ""})).await.problems();
    let fields: Vec<_> = problems.into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["mode", "name", "vendor_id"], "a vendor names no vendor");
    // Also the one that asks.
    let own = format!("/v1/tokens/{}", text(&made[1]["id"]));
    app.call("DELETE", &own, &text(&made[1]["token"]), None).await.expect(204);
    assert_eq!(app.get("/v1/tokens", &text(&made[1]["token"])).await.code(401), "unauthorized");
    app.finish().await;
}

#[tokio::test]
async fn a_vendors_logins_are_made_listed_and_removed() {
    let app = TestApp::start().await;
    let (vendor, stranger) = (app.vendor().await, app.vendor().await);
    let users = format!("/v1/vendors/{}/users", vendor.id);
    let made = app.post(&users, &app.operator, json!({"email": "People@Example.com", "password": PASSWORD})).await.expect(201);
    assert_eq!(made["email"], "people@example.com", "an address has one spelling");
    assert_eq!(made.as_object().expect("an object").keys().collect::<Vec<_>>(), ["id", "email", "created_at"]);
    for (email, of) in [("PEOPLE@example.com", &vendor), ("people@example.com", &stranger)] {
        let again = json!({"email": email, "password": PASSWORD});
        let answer = app.post(&format!("/v1/vendors/{}/users", of.id), &app.operator, again).await;
        assert_eq!((answer.code(422), answer.problems()[0].0.as_str()), ("invalid".to_owned(), "email"), "it is taken");
    }
    let (long, edge) = ("p".repeat(201), "p".repeat(200));
    for (password, status) in [("123456789", 422), (long.as_str(), 422), ("", 422), ("1234567890", 201), (edge.as_str(), 201)] {
        let email = format!("p{}@example.com", password.len());
        let answer = app.post(&users, &app.operator, json!({"email": email, "password": password})).await;
        assert_eq!(answer.status, status, "{} characters: {}", password.len(), answer.text);
    }
    let listed = app.get(&users, &app.operator).await.expect(200);
    assert_eq!((listed["data"].as_array().map(Vec::len), &listed["data"][2]), (Some(3), &made), "newest first");
    assert_eq!(app.get(&format!("/v1/vendors/{}/users", stranger.id), &app.operator).await.expect(200)["data"], json!([]));
    let elsewhere = format!("/v1/vendors/{}/users/{}", stranger.id, text(&made["id"]));
    assert_eq!(app.call("DELETE", &elsewhere, &app.operator, None).await.code(404), "not_found");
    app.call("DELETE", &format!("{users}/{}", text(&made["id"])), &app.operator, None).await.expect(204);
    app.post(&users, &app.operator, json!({"email": "people@example.com", "password": PASSWORD})).await.expect(201);
    let hash: String =
        app.database().query_row("SELECT password_hash FROM user ORDER BY id LIMIT 1", [], |row| row.get(0)).expect("a login");
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    app.finish().await;
}
