//! What holds for all calls: requests that are done once, rate limits of tokens, and lists that stand still under inserts.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Reply, Request, send};
use crate::harness::{Endpoint, TestApp, Vendor, text, until};
use crate::receiver::Receiver;

const DAY: Duration = Duration::from_secs(24 * 3600);
const PASSWORD: &str = "correct horse battery";

/// A call that creates something.
struct Call {
    /// As the OpenAPI document has it.
    route: &'static str,
    path: String,
    token: String,
    body: Value,
    status: u16,
    /// Another body.
    other: Value,
}

/// What the calls need.
struct Scene {
    app: TestApp,
    vendor: Vendor,
    endpoint: Endpoint,
    calls: Vec<Call>,
    _hook: Receiver,
}

async fn report(app: &TestApp, vendor: &Vendor, reference: &str, status: &str) -> Value {
    let item = json!({"vendor_id": vendor.id, "reference_no": reference, "status": status});
    app.post("/v1/reports", &app.operator, json!({"reports": [item]})).await.expect(200)["results"][0].clone()
}

impl Scene {
    /// A vendor with a delivery, a conflict and a queued recharge; its endpoint is paused, so that nothing moves by itself.
    async fn set() -> Self {
        let (app, hook) = (TestApp::start().await, Receiver::start().await);
        let vendor = app.vendor().await;
        let endpoint = app.connected_with(&vendor, &hook, json!({"event_types": ["*"]})).await;
        let event = app.succeed_one(&vendor, "R-1").await;
        let delivery = text(&app.until_state(&endpoint, &event, "succeeded").await["id"]);
        report(&app, &vendor, "R-1", "failed").await;
        let conflict = text(&app.get("/v1/conflicts", &app.operator).await.expect(200)["data"][0]["id"]);
        let recharge = text(&report(&app, &vendor, "R-2", "queued").await["recharge_id"]);
        app.on(&endpoint, "pause").await.expect(200);
        app.advance(Duration::from_secs(1));
        let calls = calls(&app.operator, &vendor, &endpoint, [&delivery, &conflict, &recharge]);
        Self { app, vendor, endpoint, calls, _hook: hook }
    }

    fn call(&self, route: &str) -> &Call {
        self.calls.iter().find(|call| call.route == route).expect("it is one of them")
    }

    async fn finish(self) {
        let open = self.app.open_runs();
        self.app.finish_leaving(open).await;
    }
}

fn calls(operator: &str, vendor: &Vendor, endpoint: &Endpoint, [delivery, conflict, recharge]: [&str; 3]) -> Vec<Call> {
    let (id, url) = (&vendor.id, "https://example.com/hook");
    let event = |amount: &str| json!({"vendor_id": id, "type": "invoice.paid", "data": {"amount": amount}});
    let login = |email: &str| json!({"email": email, "password": PASSWORD});
    let call = |route, named: &str, token: &str, status, body, other| {
        let path = if named.is_empty() { str::to_owned(route) } else { route.replace("{id}", named) };
        Call { route, path, token: token.to_owned(), body, status, other }
    };
    vec![
        call(
            "/v1/vendors",
            "",
            operator,
            201,
            json!({"name": "New", "email": "new@example.com"}),
            json!({"name": "New", "email": "x@y.z"}),
        ),
        call("/v1/vendors/{id}/tokens", id, operator, 201, json!({"mode": "live"}), json!({"mode": "test"})),
        call("/v1/vendors/{id}/users", id, operator, 201, login("people@example.com"), login("other@example.com")),
        call("/v1/tokens", "", &vendor.live, 201, json!({"mode": "test", "name": "till"}), json!({"mode": "live", "name": "till"})),
        call("/v1/events", "", operator, 202, event("1"), event("2")),
        call("/v1/endpoints", "", &vendor.live, 201, json!({"url": url, "ed25519": true}), json!({"url": url})),
        call("/v1/endpoints/{id}/rotate-secret", &endpoint.id, &vendor.live, 200, json!({}), json!({"overlap_seconds": 5})),
        call(
            "/v1/endpoints/{id}/replay",
            &endpoint.id,
            &vendor.live,
            202,
            json!({"since": "2026-01-01T00:00:00Z"}),
            json!({"since": "2026-01-01T00:00:00Z", "only": "failed"}),
        ),
        call("/v1/deliveries/{id}/resend", delivery, &vendor.live, 202, json!({}), json!({"again": true})),
        call(
            "/v1/conflicts/{id}/resolve",
            conflict,
            operator,
            200,
            json!({"as": "reversed", "reason": "so"}),
            json!({"as": "reversed", "reason": "no"}),
        ),
        call(
            "/v1/recharges/{id}/resolve",
            recharge,
            operator,
            200,
            json!({"status": "success", "reason": "so"}),
            json!({"status": "failed", "reason": "so"}),
        ),
    ]
}

impl TestApp {
    /// A POST with an `Idempotency-Key`.
    async fn once(&self, path: &str, token: &str, key: &str, body: &Value) -> Reply {
        let headers = [("idempotency-key", key)];
        let body = Some(body.to_string().into_bytes());
        send(self.address, Request { method: "POST", path, token: Some(token), headers: &headers, body }).await
    }

    /// How many rows each table has, without those of the requests themselves.
    fn rows(&self) -> Vec<(String, i64)> {
        let database = self.database();
        let mut tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").expect("tables");
        let tables: Vec<String> = tables.query_map([], |row| row.get(0)).expect("names").collect::<Result<_, _>>().expect("names");
        let count = |table: String| {
            let count = database.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0)).expect("a count");
            (table, count)
        };
        tables.into_iter().filter(|table| table != "traffic").map(count).collect()
    }

    /// The database as it lies on the disk, with its log.
    fn raw_file(&self) -> Vec<u8> {
        let read = |suffix: &str| std::fs::read(format!("{}{suffix}", self.file().display())).unwrap_or_default();
        [read(""), read("-wal")].concat()
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn assert_replayed(first: &Reply, again: &Reply, what: &str) {
    assert_eq!((again.status, &again.text), (first.status, &first.text), "{what}: byte for byte");
    assert_eq!(again.header("content-type"), first.header("content-type"), "{what}");
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")), "{what}");
}

// --- Done once -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_call_that_creates_takes_an_idempotency_key() {
    let scene = Scene::set().await;
    let document = scene.app.get("/openapi.json", "").await.expect(200);
    let mut told = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let parameters = methods["post"]["parameters"].as_array().cloned().unwrap_or_default();
        told.extend(parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key").then(|| path.clone()));
    }
    let known: BTreeSet<String> = scene.calls.iter().map(|call| call.route.to_owned()).collect();
    assert_eq!(told, known, "the document and this table");
    scene.finish().await;
}

#[tokio::test]
async fn the_same_key_and_body_get_the_same_answer_and_nothing_is_made_twice() {
    let mut scene = Scene::set().await;
    let mut firsts = Vec::new();
    for call in &scene.calls {
        let before = scene.app.rows();
        let first = scene.app.once(&call.path, &call.token, "key-1", &call.body).await;
        first.expect(call.status);
        let after = scene.app.rows();
        assert_ne!(before, after, "{} does something", call.route);
        // What is written in another order says the same.
        let turned = Value::from_iter(call.body.as_object().expect("an object").clone().into_iter().rev());
        for body in [&call.body, &turned] {
            assert_replayed(&first, &scene.app.once(&call.path, &call.token, "key-1", body).await, call.route);
        }
        let other = scene.app.once(&call.path, &call.token, "key-1", &call.other).await;
        assert_eq!(other.code(409), "idempotency_conflict", "{}", call.route);
        assert_eq!(scene.app.rows(), after, "{}: nothing is made twice", call.route);
        firsts.push(first);
    }
    scene.app.restart().await;
    let after = scene.app.rows();
    for (call, first) in scene.calls.iter().zip(&firsts) {
        assert_replayed(first, &scene.app.once(&call.path, &call.token, "key-1", &call.body).await, call.route);
    }
    assert_eq!(scene.app.rows(), after);
    scene.finish().await;
}

#[tokio::test]
async fn kept_answers_and_what_they_answer_lie_sealed() {
    let scene = Scene::set().await;
    let mut secrets = vec![PASSWORD.to_owned()];
    for call in &scene.calls {
        let answer = scene.app.once(&call.path, &call.token, "key-1", &call.body).await.expect(call.status);
        secrets.extend(["live_token", "test_token", "token", "secret"].iter().filter_map(|name| answer[name].as_str()).map(str::to_owned));
    }
    assert_eq!(secrets.len(), 1 + 2 + 1 + 1 + 1 + 1, "{}", secrets.len());
    let file = scene.app.raw_file();
    assert!(contains(&file, b"key-1"), "they are in there");
    for secret in &secrets {
        let raw = secret.strip_prefix("whsec_").unwrap_or(secret);
        assert!(!contains(&file, raw.as_bytes()), "{}…", &secret[..6]);
    }
    let call = scene.call("/v1/vendors/{id}/users");
    let hash = Sha256::digest(call.body.to_string());
    assert!(!contains(&file, &hash), "a password is worth more than a fast hash");
    scene.finish().await;
}

#[tokio::test]
async fn a_key_belongs_to_a_token_and_a_path() {
    let scene = Scene::set().await;
    let Scene { app, vendor, .. } = &scene;
    let stranger = app.vendor().await;
    let body = json!({"mode": "live"});
    let mut tokens = BTreeSet::new();
    for (path, token) in [
        ("/v1/tokens".to_owned(), &vendor.live),
        ("/v1/tokens".to_owned(), &vendor.test),
        ("/v1/tokens".to_owned(), &stranger.live),
        (format!("/v1/vendors/{}/tokens", vendor.id), &app.operator),
        (format!("/v1/vendors/{}/tokens", stranger.id), &app.operator),
    ] {
        let made = app.once(&path, token, "key-1", &body).await;
        assert_eq!(made.header("idempotent-replayed"), None, "{path}");
        tokens.insert(text(&made.expect(201)["token"]));
    }
    assert_eq!(tokens.len(), 5);
    // Whose it is belongs to the body.
    let of = |vendor: &Vendor| json!({"vendor_id": vendor.id, "mode": "live"});
    app.once("/v1/tokens", &app.operator, "key-1", &of(vendor)).await.expect(201);
    let other = app.once("/v1/tokens", &app.operator, "key-1", &of(&stranger)).await;
    assert_eq!(other.code(409), "idempotency_conflict");
    scene.finish().await;
}

#[tokio::test]
async fn of_two_at_once_one_is_done() {
    let scene = Scene::set().await;
    for call in &scene.calls {
        let send = || scene.app.once(&call.path, &call.token, "key-1", &call.body);
        let (one, other, third) = tokio::join!(send(), send(), send());
        let answers = [one, other, third];
        let done = answers.iter().find(|answer| answer.status == call.status).unwrap_or_else(|| panic!("{}: {answers:?}", call.route));
        for answer in &answers {
            match answer.status {
                409 => assert_eq!(answer.code(409), "in_progress", "{}", call.route),
                _ => assert_eq!((answer.status, &answer.text), (call.status, &done.text), "{}", call.route),
            }
        }
        let fresh = answers.iter().filter(|answer| answer.status != 409 && answer.header("idempotent-replayed").is_none()).count();
        assert_eq!(fresh, 1, "{}: {answers:?}", call.route);
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let scene = Scene::set().await;
    let call = scene.call("/v1/vendors/{id}/tokens");
    let send = || scene.app.once(&call.path, &call.token, "key-1", &call.body);
    let first = send().await;
    scene.app.advance(DAY - Duration::from_millis(1));
    assert_replayed(&first, &send().await, "just before");
    scene.app.advance(Duration::from_millis(1));
    let second = send().await;
    assert_ne!(second.expect(201)["token"], first.json()["token"], "it is a new request");
    assert_eq!(second.header("idempotent-replayed"), None);
    assert_replayed(&second, &send().await, "and that is kept in its turn");
    scene.finish().await;
}

#[tokio::test]
async fn a_request_that_failed_keeps_nothing() {
    let scene = Scene::set().await;
    for call in &scene.calls {
        let mut wrong = call.body.clone();
        wrong["colour"] = json!("red");
        assert_eq!(scene.app.once(&call.path, &call.token, "key-1", &wrong).await.code(422), "unknown_field", "{}", call.route);
    }
    let conflict = scene.call("/v1/conflicts/{id}/resolve");
    let unfit = json!({"as": "late_success", "reason": "so"});
    assert_eq!(scene.app.once(&conflict.path, &conflict.token, "key-1", &unfit).await.code(409), "illegal_state");
    let users = scene.call("/v1/vendors/{id}/users");
    scene.app.post(&users.path, &users.token, users.other.clone()).await.expect(201);
    assert_eq!(scene.app.once(&users.path, &users.token, "key-1", &users.other).await.code(422), "invalid", "it is taken");
    let dry = json!({"since": "2026-01-01T00:00:00Z", "dry_run": true});
    let replay = scene.call("/v1/endpoints/{id}/replay");
    scene.app.once(&replay.path, &replay.token, "key-1", &dry).await.expect(200);
    for call in &scene.calls {
        let answer = scene.app.once(&call.path, &call.token, "key-1", &call.body).await;
        answer.expect(call.status);
        assert_eq!(answer.header("idempotent-replayed"), None, "{}", call.route);
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_key_is_visible_text_of_a_bounded_length() {
    let scene = Scene::set().await;
    let call = scene.call("/v1/vendors/{id}/tokens");
    let long = "k".repeat(255);
    for (key, status) in [(long.as_str(), 201), (&format!("{long}k"), 422), ("", 422), ("two words", 422), ("schlüssel", 422), ("!~", 201)]
    {
        let answer = scene.app.once(&call.path, &call.token, key, &call.body).await;
        assert_eq!(answer.status, status, "{key}: {}", answer.text);
        assert!(status == 201 || answer.problems()[0].0 == "Idempotency-Key", "{key}");
    }
    let headers = [("idempotency-key", "one"), ("idempotency-key", "two")];
    let body = Some(call.body.to_string().into_bytes());
    let twice = Request { method: "POST", path: &call.path, token: Some(&call.token), headers: &headers, body };
    send(scene.app.address, twice).await.code(422);
    scene.finish().await;
}

#[tokio::test]
async fn reports_are_idempotent_by_nature() {
    let scene = Scene::set().await;
    let item = json!({"vendor_id": scene.vendor.id, "reference_no": "R-9", "status": "success"});
    let body = json!({"reports": [item]});
    let verdict =
        async || text(&scene.app.once("/v1/reports", &scene.app.operator, "key-1", &body).await.expect(200)["results"][0]["verdict"]);
    assert_eq!((verdict().await, verdict().await), ("created".to_owned(), "duplicate".to_owned()));
    assert_eq!(scene.app.read_endpoint(&scene.endpoint).await["backlog"]["open"], 1);
    scene.finish().await;
}

// --- Rate limits -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_again() {
    let app = TestApp::with(&[("token_rate_limit", "3")]).await;
    let made = app.post("/v1/vendors", &app.operator, json!({"name": "Shop", "email": "shop@example.com"})).await.expect(201);
    let (live, test) = (text(&made["live_token"]), text(&made["test_token"]));
    let mut limited = 0;
    // On the machine's own clock: within a moment no more than three and what a moment adds.
    for _ in 0..20 {
        let answer = app.get("/v1/recharges", &live).await;
        if answer.status == 200 {
            continue;
        }
        limited += 1;
        assert_eq!(answer.code(429), "rate_limited");
        let seconds: u64 = answer.header("retry-after").expect("when to come again").parse().expect("seconds");
        assert!((1..=2).contains(&seconds), "{seconds}");
    }
    assert!(limited >= 10, "{limited} of 20");
    app.get("/v1/recharges", &test).await.expect(200);
    app.get("/healthz", "").await.expect_text(200);
    until("it may ask again", || async { (app.get("/v1/recharges", &live).await.status == 200).then_some(()) }).await;
    app.finish().await;
}

#[tokio::test]
async fn without_the_setting_no_token_is_limited() {
    let app = TestApp::start().await;
    for _ in 0..100 {
        app.get("/v1/vendors", &app.operator).await.expect(200);
    }
    app.finish().await;
}

// --- Lists -----------------------------------------------------------------------------------------------------------------

/// Walks through a list two by two, with an insert after each of the first pages; answers with the ids in order.
async fn walk(app: &TestApp, list: &str, token: &str, insert: impl AsyncFn(usize)) -> Vec<String> {
    let separator = if list.contains('?') { '&' } else { '?' };
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = app.get(&format!("{list}{separator}limit=2{cursor}"), token).await.expect(200);
        let items = page["data"].as_array().expect("a list");
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| text(&item["id"])));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
        pages += 1;
        assert!(pages < 200, "{list} has an end");
        if pages <= 3 {
            insert(pages).await;
        }
    }
}

#[tokio::test]
async fn cursors_survive_inserts() {
    let (app, hook) = (TestApp::with(&[("endpoints_per_vendor", "1000")]).await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    // Each insert adds one to every list.
    let insert = async |number: usize| {
        app.vendor().await;
        let settings = json!({"url": "https://example.com/hook"});
        app.post("/v1/endpoints", &vendor.live, settings).await.expect(201);
        let event = app.succeed_one(&vendor, &format!("R-{}-{number}", app.now())).await;
        report(&app, &vendor, &format!("R-{}-{number}", app.now()), "failed").await;
        app.until_state(&endpoint, &event, "succeeded").await;
        let email = format!("p{}-{number}@example.com", app.now().as_millis());
        let users = format!("/v1/vendors/{}/users", vendor.id);
        app.post(&users, &app.operator, json!({"email": email, "password": PASSWORD})).await.expect(201);
        app.post("/v1/tokens", &vendor.live, json!({"mode": "test"})).await.expect(201);
        app.advance(Duration::from_millis(7));
        let replay = json!({"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"});
        app.post(&format!("/v1/endpoints/{}/replay", endpoint.id), &vendor.live, replay).await.expect(202);
    };
    for number in 0..4 {
        insert(number).await;
    }
    let (users, tokens) = (format!("/v1/vendors/{}/users", vendor.id), format!("/v1/vendors/{}/tokens", vendor.id));
    for (list, token) in [
        ("/v1/vendors", &app.operator),
        (&users, &app.operator),
        (&tokens, &app.operator),
        ("/v1/tokens", &vendor.live),
        ("/v1/endpoints", &vendor.live),
        ("/v1/recharges", &vendor.live),
        ("/v1/deliveries", &vendor.live),
        ("/v1/replays", &vendor.live),
        ("/v1/conflicts", &app.operator),
        ("/v1/conflicts?state=open", &app.operator),
        ("/v1/audit", &app.operator),
        (&format!("/v1/audit?vendor_id={}", vendor.id), &app.operator),
    ] {
        let before = walk(&app, list, token, async |_| {}).await;
        assert!(before.len() >= 4, "{list}: {}", before.len());
        let during = walk(&app, list, token, &insert).await;
        assert_eq!(during, before, "{list}: what was there comes once and in its order, and nothing that came later");
    }
    app.finish().await;
}
