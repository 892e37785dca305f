//! The server below a path of `public_url`, through a proxy that removes the path and through one that keeps it. No page,
//! redirect, cookie or asset leaves the path: the proxies serve nothing else. Real proxies are in tests/crash/proxies.rs.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use ringback::config::{Config, Sources};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::authorization::Scene;
use crate::client::{Reply, Request, send};
use crate::harness::{TestApp, text};
use crate::panel::{OURS, PASSWORD, form, proof, user};
use crate::panel_doors::{Area, routes};

const PATH: &str = "/ringback";
const PUBLIC_URL: &str = "http://pay.example/ringback";

/// What a proxy does with the path that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passing {
    Removed,
    Kept,
}

const BOTH: [Passing; 2] = [Passing::Removed, Passing::Kept];

/// A proxy that serves each of these servers below its path, and nothing else.
async fn proxy(servers: &[(&'static str, SocketAddr)], passing: Passing) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, servers) = (listener.local_addr().expect("an address"), servers.to_vec());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, servers.clone(), passing));
        }
    });
    address
}

async fn pass(mut client: TcpStream, servers: Vec<(&'static str, SocketAddr)>, passing: Passing) -> Option<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let (method, rest) = head.split_once(' ')?;
    let (target, rest) = rest.split_once(' ')?;
    let below = |path: &str| target.strip_prefix(path).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let Some((rest_of_target, server)) = servers.iter().find_map(|(path, server)| Some((below(path)?, server))) else {
        let refused = b"HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\nconnection: close\r\n\r\noutside";
        return client.write_all(refused).await.ok();
    };
    let target = match passing {
        Passing::Kept => target.to_owned(),
        Passing::Removed => format!("/{}", rest_of_target.trim_start_matches('/')),
    };
    let mut server = TcpStream::connect(server).await.ok()?;
    server.write_all(format!("{method} {target} {rest}").as_bytes()).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}

/// A cookie, and the path below which it is sent.
struct Cookie {
    name: String,
    value: String,
    path: String,
}

/// A browser behind a proxy: it keeps to the paths of cookies.
struct Visitor {
    proxy: SocketAddr,
    cookies: Vec<Cookie>,
}

impl Visitor {
    fn new(proxy: SocketAddr) -> Self {
        Self { proxy, cookies: Vec::new() }
    }

    fn cookies_for(&self, path: &str) -> String {
        let is_below =
            |cookie: &&Cookie| path.strip_prefix(&cookie.path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        let sent = self.cookies.iter().filter(is_below).map(|cookie| format!("{}={}", cookie.name, cookie.value));
        sent.collect::<Vec<_>>().join("; ")
    }

    async fn send(&mut self, method: &str, path: &str, body: Option<String>) -> Reply {
        let cookies = self.cookies_for(path);
        let headers = [OURS, ("cookie", cookies.as_str())];
        let headers = if cookies.is_empty() { &headers[..1] } else { &headers };
        let reply = send(self.proxy, Request { method, path, headers, body: body.map(String::into_bytes), ..Request::default() }).await;
        for (_, cookie) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, rest) = cookie.split_once('=').expect("a name");
            let (value, rest) = rest.split_once("; Path=").expect("a path");
            let path = rest.split(';').next().expect("a path").to_owned();
            self.cookies.retain(|known| known.name != name || known.path != path);
            if !cookie.contains("Max-Age=0;") {
                self.cookies.push(Cookie { name: name.to_owned(), value: value.to_owned(), path });
            }
        }
        reply
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, None).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.send("POST", path, Some(form(fields))).await
    }

    async fn log_in(&mut self, path: &str, email: &str) -> Reply {
        self.post(&format!("{path}/panel/login"), &[("email", email), ("password", PASSWORD)]).await
    }
}

// --- Every page ------------------------------------------------------------------------------------------------------

/// The attributes of a page's tags.
fn attributes(html: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for tag in html.split('<').skip(1) {
        let mut parts = tag.split('"');
        while let (Some(before), Some(value)) = (parts.next(), parts.next()) {
            if before.contains('>') {
                break;
            }
            let name = before.trim_end_matches('=').rsplit(char::is_whitespace).next().unwrap_or_default();
            found.push((name, value));
        }
    }
    found
}

fn is_below(address: &str) -> bool {
    address.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}

/// Pages and assets that an answer leads to; fails if one of them, or a form, leaves the path.
fn links(from: &str, reply: &Reply) -> Vec<String> {
    let location = reply.header("location").map(str::to_owned);
    let kind = reply.header("content-type").unwrap_or_default();
    let (mut found, mut forms): (Vec<String>, Vec<String>) = (location.into_iter().collect(), Vec::new());
    if kind.starts_with("text/html") {
        // What is typed or copied is not followed.
        let values = attributes(&reply.text).into_iter().filter(|(name, _)| !["value", "data-copy", "content"].contains(name));
        let (links, others): (Vec<_>, Vec<_>) = values.partition(|(name, _)| ["href", "src", "action", "data-live"].contains(name));
        assert!(others.iter().all(|(_, value)| !value.starts_with('/')), "{from}: not known to http/mount.rs: {others:?}");
        assert!(links.len() > 2, "{from} has links");
        for (name, value) in links {
            let list = if name == "action" { &mut forms } else { &mut found };
            list.push(value.replace("&amp;", "&"));
        }
    } else if kind.starts_with("text/markdown") {
        found.extend(reply.text.split("](").skip(1).map(|rest| rest.split([')', ' ']).next().unwrap_or_default().to_owned()));
        found.retain(|link| link.starts_with('/'));
    } else if kind.starts_with("text/css") {
        assert!(!reply.text.contains("url("), "{from}: an address in a style is not known to http/mount.rs");
    } else if kind.starts_with("text/javascript") {
        let addresses = ["\"/", "'/", "`/"];
        assert!(addresses.iter().all(|address| !reply.text.contains(address)), "{from}: the script has an address of its own");
    }
    found.retain(|link| !link.contains("://"));
    for link in found.iter().chain(&forms) {
        assert!(is_below(link) || link.starts_with(['?', '#']) || !link.starts_with('/'), "{from} leads to {link}");
    }
    let join = |link: &String| url::Url::parse(PUBLIC_URL).unwrap().join(from).unwrap().join(link).expect("an address");
    found.iter().map(join).map(|url| url[url::Position::BeforePath..url::Position::AfterQuery].to_owned()).collect()
}

/// Visits these pages, and from there on everything that a link leads to. Answers how many pages it saw.
async fn crawl(visitor: &mut Visitor, pages: impl IntoIterator<Item = String>) -> usize {
    let (mut seen, mut ahead) = (BTreeSet::new(), VecDeque::new());
    ahead.extend(pages.into_iter().map(|page| (format!("{PATH}{page}"), None)));
    while let Some((address, from)) = ahead.pop_front() {
        let path = address.split('?').next().unwrap_or_default().to_owned();
        // A live part has no end, and the client reads text.
        if path.ends_with("/operator/live") || path.ends_with(".png") || !seen.insert(path) {
            continue;
        }
        let reply = visitor.get(&address).await;
        let is_there = [200, 303].contains(&reply.status);
        assert!(
            is_there || (from.is_none() && reply.status == 404 && reply.text != "outside"),
            "{address}, from {from:?}: {}",
            reply.status
        );
        let next = links(&address, &reply).into_iter().map(|link| (link, Some(address.clone())));
        ahead.extend(next);
    }
    seen.len()
}

#[tokio::test]
async fn no_page_leads_out_of_the_public_path() {
    let scene = Scene::set_with(&[("public_url", PUBLIC_URL)]).await;
    user(&scene.app, &scene.vendor, "owner@mounted.example.com", "owner").await;
    scene.app.operator_login("ops@platform.example", PASSWORD).await;
    let pages = |area: Area| {
        let routes =
            routes().into_iter().filter(move |route| route.area == area && route.method == "GET" && !route.path.contains("ticket"));
        let modes = if area == Area::Vendor { &["live", "test"][..] } else { &["live"] };
        routes.flat_map(|route| modes.iter().map(|mode| scene.page(&route, mode)).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    for passing in BOTH {
        let proxy = proxy(&[(PATH, scene.app.address)], passing).await;
        let open = crawl(
            &mut Visitor::new(proxy),
            pages(Area::Open).into_iter().filter(|page| page != "/favicon.ico" && page != "/docs/cli/ringback"),
        )
        .await;
        let mut owner = Visitor::new(proxy);
        assert_eq!(owner.log_in(PATH, "owner@mounted.example.com").await.header("location"), Some("/ringback/panel"));
        let of_vendor = crawl(&mut owner, pages(Area::Vendor).into_iter().chain(pages(Area::Own))).await;
        let mut operator = Visitor::new(proxy);
        operator.log_in(PATH, "ops@platform.example").await;
        let of_operator = crawl(&mut operator, pages(Area::Operator)).await;
        assert!(open > 60 && of_vendor > 90 && of_operator > 15, "{passing:?}: {open} {of_vendor} {of_operator}");
    }
    scene.finish().await;
}

#[tokio::test]
async fn forms_refusals_and_live_parts_stay_below_the_public_path() {
    let app = TestApp::with(&[("public_url", PUBLIC_URL)]).await;
    app.operator_login("ops@platform.example", PASSWORD).await;
    for passing in BOTH {
        let mut visitor = Visitor::new(proxy(&[(PATH, app.address)], passing).await);
        let wrong = visitor.post("/ringback/panel/login", &[("email", "ops@platform.example"), ("password", "not this one")]).await;
        assert_eq!(wrong.status, 401);
        links("wrong password", &wrong);
        visitor.log_in(PATH, "ops@platform.example").await;
        let answer = visitor.get("/ringback/docs/api.md?ask=cancel").await;
        assert!(links("answer of the documents", &answer).iter().any(|link| link.starts_with("/ringback/docs/")), "{}", answer.text);
        let page = visitor.get("/ringback/panel/operator/vendors").await;
        let foreign = visitor.post("/ringback/panel/operator/vendors", &[("name", "x")]).await;
        assert_eq!(foreign.status, 403);
        links("foreign form", &foreign);
        let fields = [("proof", &*proof(&page.text)), ("name", "Shop"), ("email", "shop@example.com")];
        let made = visitor.post("/ringback/panel/operator/vendors", &fields).await;
        assert!(links("new vendor", &made).iter().any(|link| link.starts_with("/ringback/panel/operator/vendors/ven_")), "{}", made.text);
        let mut stream = TcpStream::connect(visitor.proxy).await.expect("it listens");
        let cookies = visitor.cookies_for("/ringback/panel/operator/live");
        let head = format!("GET /ringback/panel/operator/live HTTP/1.1\r\nhost: x\r\ncookie: {cookies}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut seen = String::new();
        while !seen.contains("providers\"") {
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut bytes)).await.expect("an event").expect("bytes");
            seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        let links: Vec<_> = attributes(&seen).into_iter().filter(|(name, _)| *name == "href").collect();
        assert!(links.len() > 2 && links.iter().all(|(_, value)| is_below(value)), "{links:?}");
    }
    app.finish().await;
}

// --- Logging in ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_login_goes_on_to_the_page_that_was_asked_for() {
    let app = TestApp::with(&[("public_url", PUBLIC_URL)]).await;
    user(&app, &app.vendor().await, "ann@himal.example", "owner").await;
    let wanted = "/ringback/panel/live/deliveries?state=failed";
    for passing in BOTH {
        let mut ann = Visitor::new(proxy(&[(PATH, app.address)], passing).await);
        let login = links(wanted, &ann.get(wanted).await).remove(0);
        let page = ann.get(&login).await.text;
        let attributes = attributes(&page);
        let value = |name: &str| attributes.iter().skip_while(|(_, value)| *value != name).nth(1).expect("a value").1;
        let action = attributes.iter().find(|(name, _)| *name == "action").expect("a form").1;
        let entered = ann.post(action, &[("next", value("next")), ("email", "ann@himal.example"), ("password", PASSWORD)]).await;
        assert_eq!(entered.header("location"), Some(wanted));
        assert_eq!(ann.get(wanted).await.status, 200);
        // A page of the platform's may write the address as it is outside.
        let entered = ann.post(action, &[("next", wanted), ("email", "ann@himal.example"), ("password", PASSWORD)]).await;
        assert_eq!(entered.header("location"), Some(wanted));
        let proof = proof(&ann.get(wanted).await.text);
        assert_eq!(
            ann.post("/ringback/panel/logout", &[("proof", &proof)]).await.header("location"),
            Some("/ringback/panel/login?told=logged-out")
        );
        assert_eq!(ann.get(wanted).await.status, 303);
    }
    app.finish().await;
}

#[tokio::test]
async fn two_servers_of_one_host_have_sessions_of_their_own() {
    let first = TestApp::with(&[("public_url", "http://pay.example/a")]).await;
    let second = TestApp::with(&[("public_url", "http://pay.example/a/b")]).await;
    for app in [&first, &second] {
        user(app, &app.vendor().await, "ann@himal.example", "owner").await;
    }
    let mut ann = Visitor::new(proxy(&[("/a/b", second.address), ("/a", first.address)], Passing::Removed).await);
    for path in ["/a", "/a/b"] {
        assert_eq!(ann.log_in(path, "ann@himal.example").await.header("location"), Some(&*format!("{path}/panel")));
    }
    let page = ann.get("/a/panel/live").await;
    assert_eq!((page.status, ann.get("/a/b/panel/live").await.status), (200, 200));
    ann.post("/a/panel/logout", &[("proof", &proof(&page.text))]).await;
    assert_eq!((ann.get("/a/panel/live").await.status, ann.get("/a/b/panel/live").await.status), (303, 200));
    first.finish().await;
    second.finish().await;
}

// --- The API ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_api_answers_with_and_without_the_public_path() {
    let app = TestApp::with(&[("public_url", PUBLIC_URL)]).await;
    let vendor = app.vendor().await;
    for path in ["", PATH] {
        app.get(&format!("{path}/v1/recharges?limit=1"), &vendor.live).await.expect(200);
        app.get(&format!("{path}/readyz"), "").await.expect_text(200);
        let document = app.get(&format!("{path}/openapi.json"), "").await.expect(200);
        assert_eq!(document["servers"], json!([{"url": PUBLIC_URL}]));
        let link = app.post(&format!("{path}/v1/vendors/{}/panel-link", vendor.id), &app.operator, json!({})).await.expect(201);
        assert!(text(&link["url"]).starts_with("http://pay.example/ringback/panel/link/"));
        let head = app.raw(&format!("HEAD {path}/panel/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 200") && !head.contains("content-length"), "{head}");
    }
    assert_eq!(app.get("/ringbacks/readyz", "").await.code(404), "not_found");
    // Data that look like links are left as they are.
    let event = json!({"type": "order.shipped", "vendor_id": vendor.id, "data": {"<a href=\"/x\">": "](/y)"}});
    app.post("/v1/events", &app.operator, event).await.expect(202);
    let events = app.get("/ringback/v1/events", &vendor.live).await;
    assert!(events.text.contains(r#""<a href=\"/x\">":"](/y)""#), "{}", events.text);
    app.finish().await;
}

/// What is wrong with a public URL.
fn problem(url: &str) -> Option<String> {
    let flags = vec![("public_url", url.to_owned())];
    Config::read(Sources { flags, ..Sources::default() }).err().map(|error| error.to_string())
}

#[test]
fn a_public_path_is_none_of_the_servers_own() {
    let document: Value = serde_json::from_str(&ringback::http::openapi(None)).expect("JSON");
    let calls = document["paths"].as_object().expect("paths").keys().cloned();
    let pages = routes().into_iter().filter(|route| route.area != Area::Vendor).map(|route| route.path);
    let platform = ["/api/v1/np/operator", "/np/operator", "/in/circle"].map(str::to_owned);
    for path in calls.chain(pages).chain(platform).filter(|path| path != "/") {
        let first = path.split('/').nth(1).expect("a segment");
        for url in [format!("https://pay.example/{first}"), format!("https://pay.example/{first}/x/")] {
            assert!(problem(&url).is_some_and(|problem| problem.contains("one of the server's own paths")), "{url}");
        }
    }
}

#[test]
fn public_urls_are_addresses_with_a_plain_path() {
    for url in ["https://pay.example", "http://pay.example:8080/", "https://pay.example/ringback/", "https://pay.example/a/b-c_d.e~1"] {
        assert_eq!(problem(url), None, "{url}");
    }
    for url in [
        "pay.example/ringback",
        "ftp://pay.example",
        "https://pay.example/a?b",
        "https://pay.example/#a",
        "https://user@pay.example/",
        "https://pay.example/a b",
        "https://pay.example/a;b",
        "https://pay.example/a\"b",
        "https://pay.example/%61",
        "https://pay.example/a//b",
        "https://pay.example//a",
    ] {
        assert!(problem(url).is_some_and(|problem| problem.contains("public_url")), "{url}");
    }
}
