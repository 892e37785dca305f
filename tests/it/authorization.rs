//! Authorization matrix of the API: every route of the OpenAPI document against every kind of caller that must be refused.
//!
//! The routes come from the document, which a test holds against the code. A new route whose path names an object that the
//! scene does not have fails here. The panel's matrix is in `panel_doors`.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::client::{Reply, Request, send};
use crate::harness::{TestApp, Vendor, text};
use crate::panel::{Browser, PASSWORD, user};
use crate::receiver::Receiver;

/// Personal data and texts of the scene's vendor. None of them may stand in an answer to a stranger.
const MARK: &str = "Quetzalcoatl";
pub const NUMBER: &str = "9841777333";

/// One route.
#[derive(Debug, Clone)]
struct Route {
    method: String,
    path: String,
    tag: String,
}

impl Route {
    fn names_an_object(&self) -> bool {
        self.path.contains('{')
    }

    fn sends_a_body(&self) -> bool {
        self.method == "POST" || self.method == "PATCH"
    }

    /// Whether a token opens it, as opposed to a provider's proof or nothing at all.
    fn needs_a_token(&self) -> bool {
        matches!(self.tag.as_str(), "vendor" | "operator" | "platform") || self.path == "/metrics"
    }

    fn is_the_operators(&self) -> bool {
        self.tag == "operator" || self.path == "/metrics"
    }

    /// A vendor's tokens belong to both of its modes.
    fn is_of_both_modes(&self) -> bool {
        self.path.starts_with("/v1/tokens")
    }
}

/// The calls of the older platform, which are not in the OpenAPI document: their source has them.
fn platform_routes() -> Vec<Route> {
    let source = include_str!("../../src/http/routes/compat.rs");
    let calls = source.split("(&path(\"").skip(1).map(|rest| rest.split_once("\"), ").expect("a path and its method"));
    let mut found: Vec<(String, &str)> = calls.map(|(path, rest)| (format!("/in/{path}"), rest)).collect();
    found.extend(
        source
            .split("(&format!(\"{base}")
            .skip(1)
            .map(|rest| rest.split_once("\"), ").expect("a path and its method"))
            .map(|(path, rest)| (path.to_owned(), rest)),
    );
    let calls = source.matches(".route(").count();
    assert_eq!(found.len(), calls, "each is read");
    let routes = found.into_iter().flat_map(|(path, rest)| {
        let method = if rest.starts_with("get(") { "GET" } else { "POST" };
        let route = |base: &str| Route { method: method.to_owned(), path: format!("{base}{path}"), tag: "platform".to_owned() };
        [route(""), route("/api/v1")]
    });
    routes.collect()
}

/// All routes of the OpenAPI document, and the platform's.
fn routes() -> Vec<Route> {
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).expect("the document is JSON");
    let mut routes = platform_routes();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, call) in methods.as_object().expect("methods") {
            routes.push(Route { method: method.to_uppercase(), path: path.clone(), tag: text(&call["tags"][0]) });
        }
    }
    assert!(routes.len() > 50, "the document has the routes");
    routes
}

/// A caller that must not reach what the scene's vendor has in live mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    NoCredentials,
    UnknownToken,
    RevokedToken,
    WrongAddress,
    ViewersCookie,
    DevelopersCookie,
    OtherVendor,
    OtherVendorInTestMode,
    OtherMode,
}

impl Who {
    const ALL: [Self; 9] = [
        Self::NoCredentials,
        Self::UnknownToken,
        Self::RevokedToken,
        Self::WrongAddress,
        Self::ViewersCookie,
        Self::DevelopersCookie,
        Self::OtherVendor,
        Self::OtherVendorInTestMode,
        Self::OtherMode,
    ];

    /// The statuses that a route may answer to this caller.
    fn may_get(self, route: &Route) -> &'static [u16] {
        match (self, route) {
            // A provider that is not configured is answered like a proof that does not hold.
            (_, route) if route.tag == "provider" => &[401],
            (_, route) if !route.needs_a_token() => &[200],
            (
                Self::NoCredentials
                | Self::UnknownToken
                | Self::RevokedToken
                | Self::WrongAddress
                | Self::ViewersCookie
                | Self::DevelopersCookie,
                _,
            ) => &[401],
            (_, route) if route.is_the_operators() => &[403],
            (Self::OtherMode, route) if route.is_of_both_modes() => &[200, 201, 204],
            (_, route) if route.names_an_object() => &[404],
            // A list of the caller's own, or a form of the caller's own with nothing in it.
            (_, route) if route.method == "GET" => &[200],
            // An operator of the catalogue that an empty form does not name is not found.
            _ if route.tag == "platform" => &[404, 422],
            _ => &[200, 201, 422],
        }
    }
}

/// A vendor with one of everything, and credentials that must not open it.
pub struct Scene {
    pub app: TestApp,
    pub hook: Receiver,
    pub vendor: Vendor,
    pub stranger: Vendor,
    /// What stands in a path's `{id}`, by the path's collection.
    pub ids: HashMap<&'static str, String>,
    revoked: String,
    elsewhere: String,
}

impl Scene {
    pub async fn set() -> Self {
        Self::set_with(&[]).await
    }

    /// The same, of a server with these settings.
    pub async fn set_with(settings: &[(&'static str, &str)]) -> Self {
        let (app, hook) = (TestApp::with(settings).await, Receiver::start().await);
        let named = json!({"name": MARK, "email": format!("{MARK}@example.com")});
        let made = app.post("/v1/vendors", &app.operator, named).await.expect(201);
        let vendor = Vendor { id: text(&made["id"]), live: text(&made["live_token"]), test: text(&made["test_token"]) };
        let stranger = app.vendor().await;
        let endpoint = app.connected_with(&vendor, &hook, json!({"description": MARK})).await;
        let report = json!({"vendor_id": vendor.id, "reference_no": MARK, "connection_no": NUMBER, "status": "success"});
        let reported = app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
        let event = text(&reported["results"][0]["event_id"]);
        let delivery = app.until_state(&endpoint, &event, "succeeded").await;
        let contradiction = json!({"reports": [{"vendor_id": vendor.id, "reference_no": MARK, "status": "failed"}]});
        app.post("/v1/reports", &app.operator, contradiction).await.expect(200);
        let conflicts = app.get("/v1/conflicts", &app.operator).await.expect(200);
        let range = json!({"since": "2026-11-23T00:00:00Z", "until": "2026-11-23T00:00:01Z"});
        let replay = app.post(&format!("/v1/endpoints/{}/replay", endpoint.id), &vendor.live, range).await.expect(202);
        let login = json!({"email": format!("{MARK}@people.example.com"), "password": "a long enough one"});
        let user = app.post(&format!("/v1/vendors/{}/users", vendor.id), &app.operator, login).await.expect(201);
        let token = app.post("/v1/tokens", &vendor.live, json!({"mode": "live", "name": MARK})).await.expect(201);
        let revoked = app.post("/v1/tokens", &vendor.live, json!({"mode": "live"})).await.expect(201);
        app.call("DELETE", &format!("/v1/tokens/{}", text(&revoked["id"])), &vendor.live, None).await.expect_text(204);
        let bound = json!({"mode": "live", "allowed_ips": ["203.0.113.0/24"]});
        let elsewhere = app.post("/v1/tokens", &vendor.live, bound).await.expect(201);
        let ids = HashMap::from([
            ("endpoints", endpoint.id.clone()),
            ("deliveries", text(&delivery["id"])),
            ("recharges", text(&delivery["recharge_id"])),
            ("events", event),
            ("replays", text(&replay["id"])),
            ("tokens", text(&token["id"])),
            ("vendors", vendor.id.clone()),
            ("users", text(&user["id"])),
            ("conflicts", text(&conflicts["data"][0]["id"])),
            ("callbacks", "provider".to_owned()),
            ("{provider}", "secret".to_owned()),
        ]);
        let (revoked, elsewhere) = (text(&revoked["token"]), text(&elsewhere["token"]));
        hook.forget();
        Self { app, hook, vendor, stranger, ids, revoked, elsewhere }
    }

    /// The route's path with the ids of this scene in it.
    fn path(&self, route: &Route) -> String {
        let parts: Vec<&str> = route.path.split('/').collect();
        let filled = parts.iter().enumerate().map(|(at, part)| {
            if !part.starts_with('{') {
                return (*part).to_owned();
            }
            let of = parts[at - 1];
            self.ids.get(of).unwrap_or_else(|| panic!("{}: the scene has none of the {of}; add one to it", route.path)).clone()
        });
        filled.collect::<Vec<_>>().join("/")
    }

    async fn knock(&self, route: &Route, token: &str) -> Reply {
        self.app.call(&route.method, &self.path(route), token, route.sends_a_body().then(|| json!({}))).await
    }

    /// What of the vendor stands in an answer, apart from what was in the question.
    pub fn leaked<'a>(&'a self, answer: &Reply, asked: &str) -> Vec<&'a str> {
        let (tokens, ids) = ([self.vendor.live.as_str(), self.vendor.test.as_str()], self.ids.values().map(String::as_str));
        let parts = ids.filter(|id| id.contains('_')).chain(tokens).chain([MARK, NUMBER]);
        let headers = answer.headers.iter().map(|(_, value)| value.to_lowercase()).collect::<Vec<_>>().concat();
        let answered = answer.text.to_lowercase();
        parts.filter(|part| !asked.contains(part) && [&answered, &headers].iter().any(|text| text.contains(&part.to_lowercase()))).collect()
    }

    pub async fn disable(&self, disabled: bool) {
        let path = format!("/v1/vendors/{}", self.vendor.id);
        self.app.call("PATCH", &path, &self.app.operator, Some(json!({"disabled": disabled}))).await.expect(200);
    }

    /// Nothing was sent for whoever knocked.
    pub async fn finish(self) {
        let Self { app, hook, .. } = self;
        assert_eq!(app.quiet(|| hook.count()).await, 0, "nothing was sent for a stranger");
        app.finish().await;
    }
}

/// A stream of events has no end, so that its answer is no reply.
fn streams(route: &Route) -> bool {
    route.path.ends_with("/stream")
}

#[tokio::test]
async fn every_call_answers_every_stranger_with_a_refusal() {
    let scene = Scene::set().await;
    let mut cookies = Vec::new();
    for role in ["viewer", "developer"] {
        user(&scene.app, &scene.vendor, &format!("{role}@team.example.com"), role).await;
        let mut browser = Browser::new(&scene.app);
        browser.log_in(&format!("{role}@team.example.com"), PASSWORD).await;
        cookies.push(browser.cookie);
    }
    let unknown = format!("rb_live_{}", "a".repeat(39));
    for route in routes() {
        for who in Who::ALL {
            let (token, cookie) = match who {
                Who::NoCredentials => ("", None),
                Who::UnknownToken => (unknown.as_str(), None),
                Who::RevokedToken => (scene.revoked.as_str(), None),
                Who::WrongAddress => (scene.elsewhere.as_str(), None),
                Who::ViewersCookie => ("", Some(cookies[0].as_str())),
                Who::DevelopersCookie => ("", Some(cookies[1].as_str())),
                Who::OtherVendor => (scene.stranger.live.as_str(), None),
                Who::OtherVendorInTestMode => (scene.stranger.test.as_str(), None),
                Who::OtherMode => (scene.vendor.test.as_str(), None),
            };
            let expected = who.may_get(&route);
            // A stream that opens has nothing to end its answer, and revoking its own mode's token is the caller's right.
            if (streams(&route) && expected == [200]) || (who == Who::OtherMode && route.is_of_both_modes()) {
                continue;
            }
            let path = scene.path(&route);
            let headers: Vec<(&str, &str)> = cookie.map(|cookie| ("cookie", cookie)).into_iter().collect();
            let request = Request {
                method: &route.method,
                path: &path,
                token: Some(token).filter(|token| !token.is_empty()),
                headers: &headers,
                body: route.sends_a_body().then(|| b"{}".to_vec()),
            };
            let answer = send(scene.app.address, request).await;
            assert!(expected.contains(&answer.status), "{who:?} got {} for {route:?}: {}", answer.status, answer.text);
            match answer.status {
                _ if route.tag == "platform" => {}
                401 => assert_eq!(answer.code(401), "unauthorized"),
                403 => assert_eq!(answer.code(403), "forbidden"),
                404 => assert_eq!(answer.code(404), "not_found"),
                _ => {}
            }
            assert_eq!(scene.leaked(&answer, &path), Vec::<&str>::new(), "{who:?} learns of the vendor by {route:?}");
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_disabled_vendors_tokens_open_nothing_until_it_is_enabled() {
    let scene = Scene::set().await;
    scene.disable(true).await;
    for route in routes().iter().filter(|route| route.needs_a_token()) {
        for token in [&scene.vendor.live, &scene.vendor.test] {
            let answer = scene.knock(route, token).await;
            assert_eq!(answer.status, 401, "{route:?}: {}", answer.text);
            assert_eq!(scene.leaked(&answer, &scene.path(route)), Vec::<&str>::new(), "{route:?}");
        }
    }
    scene.disable(false).await;
    // The same calls, by those who may: the refusals above are not those of a scene that has nothing.
    for route in routes().iter().filter(|route| route.tag == "vendor" && route.method == "GET" && !streams(route)) {
        scene.knock(route, &scene.vendor.live).await.expect_text(200);
    }
    for route in routes().iter().filter(|route| route.tag == "operator" && route.method == "GET") {
        scene.knock(route, &scene.app.operator).await.expect_text(200);
    }
    scene.finish().await;
}

#[tokio::test]
async fn ids_of_another_kind_and_ids_of_nothing_are_not_there() {
    let scene = Scene::set().await;
    for route in routes().iter().filter(|route| route.names_an_object() && route.needs_a_token()) {
        let path = scene.path(route);
        let body = route.sends_a_body().then(|| json!({}));
        for id in ["ven_zzzzzzzzzzzzz", "x", "%00", "rch_0000000000000"] {
            let own = scene.ids.values().find(|known| path.contains(known.as_str())).expect("it names an object");
            let wrong = path.replace(own, id);
            let answer = scene.app.call(&route.method, &wrong, &scene.app.operator, body.clone()).await;
            assert!(matches!(answer.status, 404 | 422), "{} {wrong}: {}", route.method, answer.text);
        }
    }
    scene.finish().await;
}
