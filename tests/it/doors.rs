//! Every route of the OpenAPI document, knocked at by those who must not come in. A route that is new fails here until
//! the scene has what its path names.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::client::Reply;
use crate::harness::{TestApp, Vendor, text};
use crate::receiver::Receiver;

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
}

/// All routes that need a token.
fn routes() -> Vec<Route> {
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).expect("the document is JSON");
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, call) in methods.as_object().expect("methods") {
            let tag = text(&call["tags"][0]);
            routes.extend((tag != "server" && tag != "provider").then(|| Route { method: method.to_uppercase(), path: path.clone(), tag }));
        }
    }
    assert!(routes.len() > 40, "the document has the routes");
    routes
}

/// A vendor with one of everything, and tokens that must not open it.
struct Scene {
    app: TestApp,
    hook: Receiver,
    vendor: Vendor,
    stranger: Vendor,
    /// What stands in a path's `{id}`, by the path's collection.
    ids: HashMap<&'static str, String>,
    revoked: String,
    elsewhere: String,
}

impl Scene {
    async fn set() -> Self {
        let (app, hook) = (TestApp::start().await, Receiver::start().await);
        let (vendor, stranger) = (app.vendor().await, app.vendor().await);
        let endpoint = app.connected(&vendor, &hook).await;
        let event = app.succeed_one(&vendor, "R-1").await;
        let delivery = app.until_state(&endpoint, &event, "succeeded").await;
        let contradiction = json!({"reports": [{"vendor_id": vendor.id, "reference_no": "R-1", "status": "failed"}]});
        app.post("/v1/reports", &app.operator, contradiction).await.expect(200);
        let conflicts = app.get("/v1/conflicts", &app.operator).await.expect(200);
        let range = json!({"since": "2026-11-23T00:00:00Z", "until": "2026-11-23T00:00:01Z"});
        let replay = app.post(&format!("/v1/endpoints/{}/replay", endpoint.id), &vendor.live, range).await.expect(202);
        let login = json!({"email": "people@example.com", "password": "a long enough one"});
        let user = app.post(&format!("/v1/vendors/{}/users", vendor.id), &app.operator, login).await.expect(201);
        let token = app.post("/v1/tokens", &vendor.live, json!({"mode": "live"})).await.expect(201);
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
        ]);
        let (revoked, elsewhere) = (text(&revoked["token"]), text(&elsewhere["token"]));
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
        let body = (route.method == "POST" || route.method == "PATCH").then(|| json!({}));
        self.app.call(&route.method, &self.path(route), token, body).await
    }

    async fn finish(self) {
        let Self { app, hook, .. } = self;
        app.quiet(|| hook.count()).await;
        app.finish().await;
    }
}

#[tokio::test]
async fn nobody_comes_in_without_a_good_token() {
    let scene = Scene::set().await;
    let unknown = format!("rb_live_{}", "a".repeat(39));
    for route in routes() {
        for (who, token) in
            [("nobody", ""), ("an unknown token", &unknown), ("a revoked one", &scene.revoked), ("one from elsewhere", &scene.elsewhere)]
        {
            let answer = scene.knock(&route, token).await;
            assert_eq!(answer.code(401), "unauthorized", "{who}: {route:?}");
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_disabled_vendors_tokens_open_nothing_until_it_is_enabled() {
    let scene = Scene::set().await;
    let path = format!("/v1/vendors/{}", scene.vendor.id);
    let disable = async |disabled: bool| {
        scene.app.call("PATCH", &path, &scene.app.operator, Some(json!({"disabled": disabled}))).await.expect(200);
    };
    disable(true).await;
    for route in routes() {
        for token in [&scene.vendor.live, &scene.vendor.test] {
            assert_eq!(scene.knock(&route, token).await.code(401), "unauthorized", "{route:?}");
        }
    }
    disable(false).await;
    let reads = routes().into_iter().filter(|route| route.tag == "vendor" && route.method == "GET" && !route.path.ends_with("/stream"));
    for route in reads {
        scene.knock(&route, &scene.vendor.live).await.expect_text(200);
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_vendors_token_opens_no_call_of_the_operator() {
    let scene = Scene::set().await;
    for route in routes().iter().filter(|route| route.tag == "operator") {
        for token in [&scene.vendor.live, &scene.vendor.test, &scene.stranger.live] {
            assert_eq!(scene.knock(route, token).await.code(403), "forbidden", "{route:?}");
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn what_is_somebody_elses_or_of_the_other_mode_is_not_there() {
    let scene = Scene::set().await;
    scene.hook.forget();
    for route in routes().iter().filter(|route| route.tag == "vendor" && route.names_an_object()) {
        let mut strangers = vec![&scene.stranger.live, &scene.stranger.test];
        // A vendor's tokens are both modes' own.
        strangers.extend((!route.path.starts_with("/v1/tokens")).then_some(&scene.vendor.test));
        for token in strangers {
            assert_eq!(scene.knock(route, token).await.code(404), "not_found", "{route:?}");
        }
    }
    assert_eq!(scene.app.quiet(|| scene.hook.count()).await, 0, "nothing was sent for a stranger");
    scene.finish().await;
}

#[tokio::test]
async fn lists_have_nothing_of_others() {
    let scene = Scene::set().await;
    let is_list =
        |route: &&Route| route.tag == "vendor" && route.method == "GET" && !route.names_an_object() && !route.path.ends_with("/stream");
    let lists: Vec<Route> = routes().iter().filter(is_list).cloned().collect();
    assert!(lists.len() >= 6, "{lists:?}");
    for route in lists {
        let mut others = vec![&scene.stranger.live, &scene.stranger.test];
        others.extend((route.path != "/v1/tokens").then_some(&scene.vendor.test));
        for token in others {
            let list = scene.knock(&route, token).await.expect_text(200).to_owned();
            assert!(scene.ids.values().all(|id| !list.contains(id.as_str())), "{route:?}: {list}");
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn ids_of_another_kind_and_ids_of_nothing_are_not_there() {
    let scene = Scene::set().await;
    for route in routes().iter().filter(|route| route.names_an_object()) {
        let path = scene.path(route);
        let body = (route.method == "POST" || route.method == "PATCH").then(|| json!({}));
        for id in ["ven_zzzzzzzzzzzzz", "x", "%00", "rch_0000000000000"] {
            let own = scene.ids.values().find(|known| path.contains(known.as_str())).expect("it names an object");
            let wrong = path.replace(own, id);
            let answer = scene.app.call(&route.method, &wrong, &scene.app.operator, body.clone()).await;
            assert!(matches!(answer.status, 404 | 422), "{} {wrong}: {}", route.method, answer.text);
        }
    }
    scene.finish().await;
}
