//! Authorization matrix of the panel: every route of its source against every kind of visitor that must be refused.
//!
//! The routes are read from the source, so that a new one cannot be forgotten: a route in a file that the table does not
//! know, or whose path names an object that the scene does not have, fails here. The API's matrix is in `authorization`.

use std::path::Path;

use serde_json::json;

use crate::authorization::Scene;
use crate::client::Reply;
use crate::harness::text;
use crate::panel::{Browser, OURS, PASSWORD, form, operator, proof, user};

/// What a route belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Pages of a vendor, in both modes.
    Vendor,
    /// Pages of the operator.
    Operator,
    /// The visitor's own login.
    Own,
    /// Pages for everyone: login, links, documents, assets.
    Open,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    pub area: Area,
    pub method: &'static str,
    /// Without the mode where it is a vendor's.
    pub path: String,
}

impl Route {
    fn names_an_object(&self) -> bool {
        self.path.contains('{')
    }

    /// People belong to a vendor and not to one of its modes.
    fn is_of_both_modes(&self) -> bool {
        self.path.starts_with("/team")
    }

    /// Whether it is the owner's alone. Developers make and revoke tokens of test mode.
    fn is_the_owners(&self, mode: &str) -> bool {
        self.is_of_both_modes() || (mode == "live" && self.path.starts_with("/tokens") && self.method == "POST")
    }

    /// Whether it is a form of its own, which a viewer is not shown.
    fn is_a_form(&self) -> bool {
        self.path.ends_with("/new") || self.path.ends_with("/edit")
    }
}

/// Areas by the file that has the routes.
const AREAS: [(&str, Area); 6] = [
    ("vendor/mod.rs", Area::Vendor),
    ("operator/mod.rs", Area::Operator),
    ("own_settings.rs", Area::Own),
    ("login.rs", Area::Open),
    ("docs/mod.rs", Area::Open),
    ("assets.rs", Area::Open),
];

/// All routes of the panel, as its source has them. The two of `panel/mod.rs` are the start and "no such page".
pub fn routes() -> Vec<Route> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/panel");
    let (mut folders, mut routes) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let name = path.strip_prefix(&root).expect("it is below").to_string_lossy().into_owned();
                routes.extend(routes_in(&name, &std::fs::read_to_string(&path).expect("a file")));
            }
        }
    }
    assert!(routes.len() > 80, "the source has the routes: {}", routes.len());
    routes
}

fn routes_in(file: &str, source: &str) -> Vec<Route> {
    let mut found = Vec::new();
    for call in source.split(".route(").skip(1) {
        // The one call that adds the mode to a path.
        if call.starts_with("&format!(\"/panel/{}{path}\"") {
            continue;
        }
        let (path, rest) = call.strip_prefix('"').and_then(|call| call.split_once("\", ")).unwrap_or_else(|| panic!("{file}: {call}"));
        let methods = rest.split_once('\n').map_or(rest, |(line, _)| line);
        let has = |method: &str| methods.starts_with(&format!("{method}(")) || methods.contains(&format!(").{method}("));
        let known = [("GET", has("get")), ("POST", has("post"))];
        assert!(known.iter().any(|(_, has)| *has) && !["put", "patch", "delete", "any"].into_iter().any(has), "{file}: {methods}");
        let area = AREAS.iter().find(|(name, _)| *name == file).map(|(_, area)| *area);
        let area = area.or((file == "mod.rs").then_some(Area::Open)).unwrap_or_else(|| panic!("{file} has routes: say whose they are"));
        found.extend(known.iter().filter(|(_, has)| *has).map(|(method, _)| Route { area, method, path: path.to_owned() }));
    }
    found
}

/// Fields of a route's form, so that its refusal is not one of a form that lacks something.
fn fields<'a>(route: &Route, proof: &'a str, mode: &'a str, object: &'a str) -> Vec<(&'a str, &'a str)> {
    let more: &[(&str, &str)] = match route.path.as_str() {
        "/webhooks/{id}/replay" => &[("since", "2026-11-23T00:00:00Z")],
        "/deliveries/resend" => &[("id", object)],
        "/tokens" => &[("mode", mode), ("name", "x")],
        "/team" => &[("email", "taken@team.example.com"), ("role", "owner")],
        "/team/{id}/role" => &[("role", "owner")],
        _ => &[],
    };
    [&[("proof", proof)], more].concat()
}

impl Scene {
    /// The route's path with the ids of this scene in it, for a vendor's page in this mode.
    pub fn page(&self, route: &Route, mode: &str) -> String {
        let prefix = if route.area == Area::Vendor { format!("/panel/{mode}") } else { String::new() };
        let of = |parameter: &str, before: &str| -> String {
            let kind = match (parameter, before) {
                ("{id}", "webhooks") => "endpoints",
                ("{id}", "stuck") => "recharges",
                ("{id}", "team") | ("{user}", _) => "users",
                ("{token}", _) => "tokens",
                ("{id}" | "{link}", "invitations") => return "lnk_0000000000001".to_owned(),
                ("{id}", kind) => kind,
                ("{ticket}" | "{hash}" | "{name}" | "{*path}" | "{*rest}", _) => return "nothing".to_owned(),
                _ => panic!("{}: say what {parameter} is", route.path),
            };
            self.ids.get(kind).unwrap_or_else(|| panic!("{}: the scene has none of the {kind}; add one to it", route.path)).clone()
        };
        let parts: Vec<&str> = route.path.split('/').collect();
        let fill = |(at, part): (usize, &&str)| {
            if part.starts_with('{') { of(part, parts[at - 1]) } else { (*part).to_owned() }
        };
        format!("{prefix}{}", parts.iter().enumerate().map(fill).collect::<Vec<_>>().join("/"))
    }

    async fn member(&self, role: &str) -> Guest<'_> {
        user(&self.app, &self.vendor, &format!("{role}@team.example.com"), role).await;
        Guest::enter(self, &format!("{role}@team.example.com")).await
    }
}

/// A visitor with what its forms have to prove.
struct Guest<'a> {
    scene: &'a Scene,
    browser: Browser<'a>,
    proof: String,
}

impl<'a> Guest<'a> {
    async fn enter(scene: &'a Scene, email: &str) -> Self {
        let mut browser = Browser::new(&scene.app);
        browser.log_in(email, PASSWORD).await;
        Self::with(scene, browser).await
    }

    async fn with(scene: &'a Scene, mut browser: Browser<'a>) -> Self {
        let proof = proof(&browser.page("/panel/self").await);
        Self { scene, browser, proof }
    }

    /// Nobody is logged in.
    fn nobody(scene: &'a Scene) -> Self {
        Self { scene, browser: Browser::new(&scene.app), proof: String::new() }
    }

    /// Asks for a route in a mode, and sees that nothing of the vendor leaks where it must not.
    async fn knock(&mut self, route: &Route, mode: &str, headers: &[(&str, &str)]) -> Reply {
        let path = self.scene.page(route, mode);
        let body = (route.method == "POST").then(|| form(&fields(route, &self.proof, mode, &self.scene.ids["deliveries"])));
        let kept = self.browser.cookie.clone();
        let reply = self.browser.send(route.method, &path, body, headers).await;
        self.browser.cookie = kept;
        assert!(reply.status < 500, "{route:?}: {} {}", reply.status, reply.text);
        reply
    }

    async fn is_refused(&mut self, route: &Route, mode: &str, expected: &[u16]) -> Reply {
        let path = self.scene.page(route, mode);
        let reply = self.knock(route, mode, &[OURS]).await;
        assert!(expected.contains(&reply.status), "{} instead of {expected:?} for {route:?} ({path}): {}", reply.status, reply.text);
        assert_eq!(self.scene.leaked(&reply, &path), Vec::<&str>::new(), "learned by {route:?}");
        reply
    }
}

const MODES: [&str; 2] = ["live", "test"];

#[tokio::test]
async fn pages_lead_whoever_is_not_logged_in_to_the_login() {
    let scene = Scene::set().await;
    let ended = {
        let mut guest = scene.member("owner").await;
        let kept = guest.browser.cookie.clone();
        guest.browser.submit_with("/panel/logout", &[("proof", &guest.proof)]).await;
        guest.browser.cookie = kept;
        guest
    };
    let token = format!("Bearer {}", scene.vendor.live);
    let rows = scene.app.rows();
    for mut guest in [Guest::nobody(&scene), ended] {
        for route in routes().iter().filter(|route| route.area != Area::Open) {
            for mode in MODES {
                let reply = guest.is_refused(route, mode, &[303]).await;
                let to = reply.header("location").unwrap_or_default();
                let page = if route.method == "GET" { scene.page(route, mode) } else { "/panel".to_owned() };
                let next: String = url::form_urlencoded::byte_serialize(page.as_bytes()).collect();
                assert_eq!(to, format!("/panel/login?next={next}"), "{route:?}");
                // A token is no login, and a form of another site is not even looked at.
                assert_eq!(guest.knock(route, mode, &[OURS, ("authorization", &token)]).await.status, 303, "{route:?}");
                let foreign = guest.knock(route, mode, &[("sec-fetch-site", "cross-site")]).await;
                assert_eq!(foreign.status, if route.method == "POST" { 403 } else { 303 }, "{route:?}");
            }
        }
    }
    assert_eq!(scene.app.rows(), rows);
    scene.finish().await;
}

#[tokio::test]
async fn a_disabled_vendors_people_see_no_page() {
    let scene = Scene::set().await;
    let mut guests = vec![scene.member("owner").await, scene.member("developer").await, scene.member("viewer").await];
    scene.disable(true).await;
    for guest in &mut guests {
        for route in routes().iter().filter(|route| route.area != Area::Open) {
            guest.is_refused(route, "live", &[303]).await;
        }
    }
    drop(guests);
    scene.finish().await;
}

#[tokio::test]
async fn open_pages_tell_nobody_of_a_vendor() {
    let scene = Scene::set().await;
    // The program itself is no page, and no text.
    for route in routes().iter().filter(|route| route.area == Area::Open && route.path != "/docs/cli/ringback") {
        let statuses: &[u16] = match route.path.as_str() {
            "/panel" | "/panel/logout" | "/panel/second-factor" | "/" => &[303],
            // A login without a password, and a link that is none.
            "/panel/login" if route.method == "POST" => &[401],
            "/panel/forgotten" if route.method == "POST" => &[303, 422],
            "/panel/link/{ticket}" | "/panel/setup/{ticket}" | "/panel/enter/{ticket}" => &[410],
            "/panel/{*rest}" | "/docs/{*path}" | "/panel/assets/{hash}/{name}" => &[404],
            _ => &[200],
        };
        Guest::nobody(&scene).is_refused(route, "live", statuses).await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn another_vendors_people_find_nothing_of_this_one() {
    let scene = Scene::set().await;
    user(&scene.app, &scene.stranger, "eve@stranger.example.com", "owner").await;
    let mut eve = Guest::enter(&scene, "eve@stranger.example.com").await;
    for route in routes() {
        for mode in MODES {
            let expected: &[u16] = match (route.area, route.method) {
                // These end the session or take its password.
                (Area::Own, "POST") => continue,
                (Area::Open, _) if route.path != "/" && route.path != "/panel" => continue,
                (Area::Open, _) => &[303],
                (Area::Own, _) => &[200],
                (Area::Operator, _) => &[404],
                (Area::Vendor, _) if route.names_an_object() => &[404],
                (Area::Vendor, "GET") => &[200],
                // Selected deliveries of others are not there either.
                (Area::Vendor, _) if route.path == "/deliveries/resend" => &[404],
                (Area::Vendor, _) => &[200, 303, 422],
            };
            eve.is_refused(&route, mode, expected).await;
        }
    }
    drop(eve);
    scene.finish().await;
}

#[tokio::test]
async fn an_owner_finds_nothing_of_live_mode_in_test_mode() {
    let scene = Scene::set().await;
    let mut owner = scene.member("owner").await;
    let rows = scene.app.rows();
    for route in routes().iter().filter(|route| route.area == Area::Vendor && !route.is_of_both_modes()) {
        let path = scene.page(route, "test");
        if !route.names_an_object() && route.path != "/deliveries/resend" {
            if route.method == "GET" {
                let page = owner.knock(route, "test", &[OURS]).await;
                assert_eq!(page.status, 200, "{route:?}");
                let of_live = ["endpoints", "deliveries", "recharges", "events", "replays", "tokens"].map(|kind| &scene.ids[kind]);
                let seen: Vec<_> = of_live.into_iter().filter(|id| page.text.contains(id.as_str())).collect();
                assert_eq!(seen, Vec::<&String>::new(), "{path}");
            }
            continue;
        }
        let reply = owner.knock(route, "test", &[OURS]).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
    }
    assert_eq!(scene.app.rows(), rows);
    // The same pages in live mode are there: the refusals above are not those of a scene that has nothing.
    for route in routes().iter().filter(|route| route.area == Area::Vendor && route.method == "GET") {
        let reply = owner.knock(route, "live", &[OURS]).await;
        assert_eq!(reply.status, 200, "{route:?}: {}", reply.text);
    }
    drop(owner);
    scene.finish().await;
}

#[tokio::test]
async fn roles_open_their_own_pages_and_no_others() {
    let scene = Scene::set().await;
    let (mut viewer, mut developer) = (scene.member("viewer").await, scene.member("developer").await);
    let rows = scene.app.rows();
    for route in routes().iter().filter(|route| matches!(route.area, Area::Vendor | Area::Operator)) {
        for mode in MODES {
            let is_there = mode == "live" || !route.names_an_object() || route.is_of_both_modes();
            let for_viewers = match (route.area, route.method) {
                (Area::Operator, _) => 404,
                (_, "POST") => 403,
                _ if route.is_the_owners(mode) || route.is_a_form() => 403,
                _ if is_there => 200,
                _ => 404,
            };
            let reply = viewer.knock(route, mode, &[OURS]).await;
            assert_eq!(reply.status, for_viewers, "viewer, {mode}, {route:?}: {}", reply.text);
            if for_viewers == 200 {
                assert_eq!(reply.text.matches("method=\"post\"").count(), 1, "{route:?}: no form but the one that logs out");
            }
            // Only what a developer is refused: what is allowed would change the scene.
            let for_developers = match route.area {
                Area::Operator => 404,
                _ if route.is_the_owners(mode) => 403,
                _ if route.method == "GET" && is_there => 200,
                _ if route.method == "GET" => 404,
                _ => continue,
            };
            let reply = developer.knock(route, mode, &[OURS]).await;
            assert_eq!(reply.status, for_developers, "developer, {mode}, {route:?}: {}", reply.text);
        }
    }
    assert_eq!(scene.app.rows(), rows);
    drop((viewer, developer));
    scene.finish().await;
}

#[tokio::test]
async fn the_operators_people_are_no_vendors() {
    let scene = Scene::set().await;
    let mut ops = Guest::with(&scene, operator(&scene.app).await).await;
    for route in routes().iter().filter(|route| route.area == Area::Vendor) {
        for mode in MODES {
            ops.is_refused(route, mode, &[404]).await;
        }
    }
    let invitation = json!({"role": "viewer"});
    let link = scene.app.post(&format!("/v1/vendors/{}/panel-link", scene.vendor.id), &scene.app.operator, invitation).await.expect(201);
    let path = format!("/panel/link/{}", text(&link["url"]).rsplit('/').next().expect("a ticket"));
    let mut visitor = Browser::new(&scene.app);
    visitor.submit_with(&path, &[]).await;
    for route in routes().iter().filter(|route| route.area == Area::Operator) {
        let reply = visitor.send(route.method, &scene.page(route, "live"), None, &[OURS]).await;
        assert_eq!(reply.status, 404, "a visitor by a link: {route:?}");
    }
    drop(ops);
    scene.finish().await;
}
