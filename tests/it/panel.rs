//! The panel's doors: who gets in, what that opens, and what a form has to prove. Each route against each visitor is in
//! `panel_doors`; journeys in a browser are in tests/panel.

use std::collections::HashSet;
use std::time::Duration;

use ringback::limits;
use serde_json::{Value, json};

use crate::client::{Reply, Request, send};
use crate::harness::{TestApp, Vendor, text, until};
use crate::mail_server::MailServer;
use crate::receiver::Receiver;

pub const PASSWORD: &str = "correct horse battery";
pub const OURS: (&str, &str) = ("sec-fetch-site", "same-origin");

/// A browser, as far as the doors see one.
pub struct Browser<'a> {
    app: &'a TestApp,
    pub cookie: String,
}

impl<'a> Browser<'a> {
    pub fn new(app: &'a TestApp) -> Self {
        Self { app, cookie: String::new() }
    }

    pub async fn send(&mut self, method: &str, path: &str, body: Option<String>, more: &[(&str, &str)]) -> Reply {
        let cookie = self.cookie.clone();
        let mut headers = more.to_vec();
        if !cookie.is_empty() {
            headers.push(("cookie", &cookie));
        }
        let request = Request { method, path, headers: &headers, body: body.map(String::into_bytes), ..Request::default() };
        let reply = send(self.app.address, request).await;
        if let Some(set) = reply.header("set-cookie") {
            self.cookie = set.split(';').next().unwrap_or_default().to_owned();
        }
        reply
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, None, &[]).await
    }

    pub async fn page(&mut self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {:?} {}", reply.header("location"), reply.text);
        reply.text
    }

    /// Sends a form that carries this page's proof.
    async fn submit(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Reply {
        let proof = proof(&self.page(page).await);
        self.submit_with(action, &[&[("proof", proof.as_str())], fields].concat()).await
    }

    pub async fn submit_with(&mut self, action: &str, fields: &[(&str, &str)]) -> Reply {
        self.send("POST", action, Some(form(fields)), &[OURS]).await
    }

    pub async fn log_in(&mut self, email: &str, password: &str) -> Reply {
        self.submit_with("/panel/login", &[("email", email), ("password", password)]).await
    }
}

pub fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// What the forms of a page carry.
pub fn proof(page: &str) -> String {
    between(page, "name=\"proof\" value=\"", "\"").to_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} is missing in {text}"));
    rest.split_once(after).map_or(rest, |(found, _)| found)
}

pub async fn user(app: &TestApp, vendor: &Vendor, email: &str, role: &str) {
    let login = json!({"email": email, "password": PASSWORD, "role": role});
    app.post(&format!("/v1/vendors/{}/users", vendor.id), &app.operator, login).await.expect(201);
}

/// A vendor with somebody logged in for it.
async fn inside<'a>(app: &'a TestApp, role: &str) -> (Vendor, Browser<'a>) {
    let vendor = app.vendor().await;
    let email = format!("{role}@{}.example", vendor.id.replace('_', "-"));
    user(app, &vendor, &email, role).await;
    let mut browser = Browser::new(app);
    assert_eq!(browser.log_in(&email, PASSWORD).await.header("location"), Some("/panel"));
    (vendor, browser)
}

/// An operator's way in: invited by a vendor's kind of link is not possible, so that the first one comes by the command.
pub async fn operator(app: &TestApp) -> Browser<'_> {
    app.operator_login("ops@platform.example", PASSWORD).await;
    let mut browser = Browser::new(app);
    browser.log_in("ops@platform.example", PASSWORD).await;
    browser
}

// --- Getting in ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_cookie_that_is_no_session_opens_nothing() {
    let app = TestApp::start().await;
    let mut nobody = Browser::new(&app);
    nobody.cookie = "ringback_session=aaaaaaaa".to_owned();
    assert_eq!(nobody.get("/panel/live").await.status, 303);
    assert_eq!(nobody.get("/panel/nothing/here").await.status, 404);
    app.finish().await;
}

#[tokio::test]
async fn a_login_gets_a_session_that_ends() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    let mut ann = Browser::new(&app);
    let reply = ann.log_in("Ann@Himal.example", PASSWORD).await;
    let cookie = reply.header("set-cookie").expect("a cookie").to_owned();
    for part in ["; Path=/panel", "; HttpOnly", "; SameSite=Lax", "; Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "this is the machine itself");
    assert!(ann.page("/panel/live").await.contains("ann@himal.example"));
    let page = ann.get("/panel/live").await;
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!((page.header("cache-control"), page.header("x-frame-options")), (Some("no-store"), Some("DENY")));
    let kept = ann.cookie.clone();
    assert_eq!(ann.submit("/panel/self", "/panel/logout", &[]).await.header("location"), Some("/panel/login?told=logged-out"));
    ann.cookie = kept;
    assert_eq!(ann.get("/panel/live").await.status, 303, "the ticket is no longer good");
    ann.log_in("ann@himal.example", PASSWORD).await;
    app.advance(limits::SESSION);
    assert_eq!(ann.get("/panel/live").await.status, 303, "it ended by itself");
    app.finish().await;
}

#[tokio::test]
async fn elsewhere_the_cookie_goes_over_tls_only() {
    let app = TestApp::with(&[("public_url", "https://ringback.example")]).await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    let body = form(&[("email", "ann@himal.example"), ("password", PASSWORD)]).into_bytes();
    // The client's own host header comes first; the server sees this one, as a proxy would pass it on.
    let request = format!(
        "POST /panel/login HTTP/1.1\r\nhost: ringback.example\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{}",
        body.len(),
        String::from_utf8_lossy(&body)
    );
    let answer = app.raw(&request).await;
    assert!(answer.contains("; Secure; SameSite=Lax"), "{answer}");
    app.finish().await;
}

#[tokio::test]
async fn a_wrong_login_says_nothing_and_is_slowed_down() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    let mut mallory = Browser::new(&app);
    let mut told = HashSet::new();
    for email in ["ann@himal.example", "nobody@himal.example"] {
        let reply = mallory.log_in(email, "a wrong password").await;
        assert_eq!((reply.status, reply.header("set-cookie")), (401, None));
        told.insert(reply.text.replace(email, "…"));
    }
    assert_eq!(told.len(), 1, "whether there is such a login cannot be told");
    let mut last = mallory.log_in("ann@himal.example", "a wrong password").await;
    for _ in 0..limits::LOGIN_FAILURES.most {
        last = mallory.log_in("ann@himal.example", "a wrong password").await;
    }
    assert_eq!(last.status, 429, "{}", last.text);
    assert!(last.header("retry-after").is_some());
    assert_eq!(mallory.log_in("ann@himal.example", PASSWORD).await.status, 429, "the right one has to wait too");
    // A note of each try that was not refused is written after its answer.
    until("the notes", || async {
        let log = app.get("/v1/audit?limit=200", &app.operator).await.expect(200)["data"].clone();
        let failed = log.as_array().expect("entries").iter().filter(|entry| entry["action"] == "user.login_failed").count();
        // The one with an address that is nobody's has none.
        (failed == limits::LOGIN_FAILURES.most as usize).then_some(())
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn a_disabled_vendors_people_are_out() {
    let app = TestApp::start().await;
    let (vendor, mut ann) = inside(&app, "owner").await;
    let path = format!("/v1/vendors/{}", vendor.id);
    app.call("PATCH", &path, &app.operator, Some(json!({"disabled": true}))).await.expect(200);
    assert_eq!(ann.get("/panel/live").await.status, 303);
    let email = format!("owner@{}.example", vendor.id.replace('_', "-"));
    let reply = ann.log_in(&email, PASSWORD).await;
    assert!(reply.status == 401 && reply.text.contains("disabled"), "{}", reply.text);
    app.finish().await;
}

// --- What is open ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_developer_has_no_live_tokens_and_no_team() {
    let app = TestApp::start().await;
    let (vendor, mut dev) = inside(&app, "developer").await;
    assert_eq!(dev.get("/panel/live/team").await.status, 403);
    let proof = proof(&dev.page("/panel/live").await);
    assert_eq!(dev.submit_with("/panel/live/tokens", &[("proof", &proof), ("mode", "live")]).await.status, 403);
    assert_eq!(dev.submit_with("/panel/test/tokens", &[("proof", &proof), ("mode", "live")]).await.status, 403, "nor by the other door");
    let made = dev.submit_with("/panel/test/tokens", &[("proof", &proof), ("mode", "test"), ("name", "mine")]).await;
    assert!(made.status == 200 && made.text.contains("rb_test_"), "{}", made.text);
    let tokens = app.get("/v1/tokens", &vendor.live).await.expect(200);
    let live = tokens["data"].as_array().expect("tokens").iter().find(|token| token["mode"] == "live").expect("a live one");
    let revoke = format!("tokens/{}/revoke", text(&live["id"]));
    assert_eq!(dev.submit_with(&format!("/panel/live/{revoke}"), &[("proof", &proof)]).await.status, 403);
    assert_eq!(dev.submit_with(&format!("/panel/test/{revoke}"), &[("proof", &proof)]).await.status, 404);
    app.finish().await;
}

#[tokio::test]
async fn vendors_and_the_operator_have_pages_of_their_own() {
    let app = TestApp::start().await;
    let (_, mut ann) = inside(&app, "owner").await;
    let mut ops = operator(&app).await;
    for page in ["", "/issues", "/stuck", "/conflicts", "/vendors", "/providers", "/mails", "/audit", "/team"] {
        assert_eq!(ann.get(&format!("/panel/operator{page}")).await.status, 404, "{page}");
        ops.page(&format!("/panel/operator{page}")).await;
    }
    assert_eq!(ops.get("/panel/live").await.status, 404);
    assert_eq!(ann.get("/panel").await.header("location"), Some("/panel/live"));
    assert_eq!(ops.get("/panel").await.header("location"), Some("/panel/operator"));
    app.finish().await;
}

// --- Forms -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_form_has_to_be_ours() {
    let app = TestApp::start().await;
    let (_, mut ann) = inside(&app, "owner").await;
    let (_, mut eve) = inside(&app, "owner").await;
    let (own, another) = (proof(&ann.page("/panel/test").await), proof(&eve.page("/panel/test").await));
    assert_ne!(own, another);
    let make = [("mode", "test"), ("name", "x")];
    for wrong in ["", "0", &another] {
        let reply = ann.submit_with("/panel/test/tokens", &[&[("proof", wrong)], &make[..]].concat()).await;
        assert!(reply.status == 403 && reply.text.contains("was not taken"), "{wrong}");
    }
    let body = form(&[&[("proof", own.as_str())], &make[..]].concat());
    for site in ["cross-site", "same-site"] {
        assert_eq!(ann.send("POST", "/panel/test/tokens", Some(body.clone()), &[("sec-fetch-site", site)]).await.status, 403, "{site}");
    }
    assert_eq!(ann.send("POST", "/panel/test/tokens", Some(body.clone()), &[("origin", "https://evil.example")]).await.status, 403);
    let login = form(&[("email", "ann@himal.example"), ("password", PASSWORD)]);
    let foreign = Browser::new(&app).send("POST", "/panel/login", Some(login), &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(foreign.status, 403, "nobody is logged in as somebody else by another site");
    assert_eq!(ann.send("POST", "/panel/test/tokens", Some(body), &[OURS]).await.status, 200);
    app.finish().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_beside_its_field() {
    let app = TestApp::start().await;
    let (vendor, mut ann) = inside(&app, "owner").await;
    let wrong = [("url", "ftp://a.example/"), ("event_types", "Recharge"), ("rate_limit_per_second", "0"), ("headers", "Host: x")];
    let reply = ann.submit("/panel/live/webhooks/new", "/panel/live/webhooks/new", &wrong).await;
    assert_eq!((reply.status, reply.text.matches("aria-invalid").count() >= 2), (422, true), "{}", reply.text);
    assert!(reply.text.contains("ftp://a.example/"), "what was filled in stays");
    assert_eq!(app.get("/v1/endpoints", &vendor.live).await.expect(200)["data"], json!([]));
    let script = [("url", "https://a.example/<script>alert(1)</script>"), ("event_types", "recharge.*"), ("description", "<b>\"x'</b>")];
    let made = ann.submit("/panel/live/webhooks/new", "/panel/live/webhooks/new", &script).await;
    assert_eq!(made.status, 200);
    assert!(made.text.contains("&lt;b&gt;") && !made.text.contains("<b>") && !made.text.contains("<script>alert"), "{}", made.text);
    assert!(made.text.contains("whsec_"), "the secret is shown once");
    assert!(!ann.page("/panel/live/webhooks").await.contains("whsec_"));
    app.finish().await;
}

// --- Second factors --------------------------------------------------------------------------------------------------

/// The digits that an app shows at this time.
fn digits(secret: &str, app: &TestApp) -> String {
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).expect("base32");
    let totp = totp_rs::Builder::new().with_secret(secret).build_noncompliant();
    totp.generate(app.now().as_millis().unsigned_abs() / 1000).to_string()
}

async fn enrol(app: &TestApp, browser: &mut Browser<'_>) -> (String, Vec<String>) {
    let page = browser.page("/panel/self/second-factor").await;
    let secret = between(&page, "name=\"secret\" value=\"", "\"").to_owned();
    let (proof, code) = (proof(&page), digits(&secret, app));
    let wrong = browser.submit_with("/panel/self/second-factor", &[("proof", &proof), ("secret", &secret), ("code", "000000")]).await;
    assert!(wrong.status == 422 && wrong.text.contains(&secret), "the same square once more");
    let done = browser.submit_with("/panel/self/second-factor", &[("proof", &proof), ("secret", &secret), ("code", &code)]).await;
    assert_eq!(done.status, 200, "{}", done.text);
    let codes: Vec<String> = done.text.split("<li><code>").skip(1).map(|rest| between(rest, "", "</code>").to_owned()).collect();
    assert_eq!(codes.len(), limits::RECOVERY_CODES);
    (secret, codes)
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_good_once() {
    let app = TestApp::start().await;
    let (vendor, mut ann) = inside(&app, "owner").await;
    let email = format!("owner@{}.example", vendor.id.replace('_', "-"));
    let (secret, codes) = enrol(&app, &mut ann).await;
    let mut again = Browser::new(&app);
    assert_eq!(again.log_in(&email, PASSWORD).await.header("location"), Some("/panel/second-factor?next=%2Fpanel"));
    assert_eq!(again.get("/panel/live").await.header("location"), Some("/panel/second-factor"), "nothing is open yet");
    let used = digits(&secret, &app);
    let reply = again.submit("/panel/second-factor", "/panel/second-factor", &[("code", &used)]).await;
    assert_eq!(reply.status, 401, "these were seen when it was set up");
    app.advance(Duration::from_secs(30));
    let fresh = digits(&secret, &app);
    let half = again.cookie.clone();
    let reply = again.submit("/panel/second-factor", "/panel/second-factor", &[("code", &fresh)]).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/panel")));
    assert_ne!(again.cookie, half, "it is another session");
    again.page("/panel/live").await;
    let mut lost = Browser::new(&app);
    lost.log_in(&email, PASSWORD).await;
    let spoken = codes[0].to_lowercase().replace('-', " ");
    assert_eq!(lost.submit("/panel/second-factor", "/panel/second-factor", &[("code", &spoken)]).await.status, 303);
    let mut thief = Browser::new(&app);
    thief.log_in(&email, PASSWORD).await;
    assert_eq!(thief.submit("/panel/second-factor", "/panel/second-factor", &[("code", &codes[0])]).await.status, 401, "good once");
    let off = again.submit("/panel/self", "/panel/self/second-factor/remove", &[("password", PASSWORD)]).await;
    assert_eq!(off.header("location"), Some("/panel/self?told=second-factor-off"));
    assert_eq!(Browser::new(&app).log_in(&email, PASSWORD).await.header("location"), Some("/panel"));
    app.finish().await;
}

#[tokio::test]
async fn operators_need_a_second_factor_where_that_is_set() {
    let app = TestApp::with(&[("operator_second_factor", "true")]).await;
    let mut ops = operator(&app).await;
    assert_eq!(ops.get("/panel/operator/audit").await.header("location"), Some("/panel/self?told=second-factor-needed"));
    enrol(&app, &mut ops).await;
    ops.page("/panel/operator/audit").await;
    assert!(!ops.page("/panel/self").await.contains("second-factor/remove"), "and it cannot be taken away");
    let remove = ops.submit("/panel/self", "/panel/self/second-factor/remove", &[("password", PASSWORD)]).await;
    assert_eq!(remove.status, 409, "not by hand either");
    app.finish().await;
}

#[tokio::test]
async fn a_new_password_ends_other_sessions() {
    let app = TestApp::start().await;
    let (vendor, mut ann) = inside(&app, "owner").await;
    let email = format!("owner@{}.example", vendor.id.replace('_', "-"));
    let mut lost = Browser::new(&app);
    lost.log_in(&email, PASSWORD).await;
    let change = |password: &'static str| [("password", password), ("new_password", "another good one")];
    let wrong = ann.submit("/panel/self", "/panel/self/password", &change("not the one")).await;
    assert!(wrong.status == 422 && wrong.text.contains("Is not your present password"), "{}", wrong.text);
    assert_eq!(ann.submit("/panel/self", "/panel/self/password", &change(PASSWORD)).await.status, 303);
    ann.page("/panel/live").await;
    assert_eq!(lost.get("/panel/live").await.status, 303);
    assert_eq!(ann.submit("/panel/self", "/panel/self/log-out-everywhere", &[]).await.status, 303);
    assert_eq!(ann.get("/panel/live").await.status, 303);
    app.finish().await;
}

// --- Links -----------------------------------------------------------------------------------------------------------

async fn mail_to(mails: &MailServer, address: &str) -> Value {
    let is_to = |mail: &Value| mail["to"][0] == address;
    until(&format!("a mail to {address}"), || async { mails.all().into_iter().rfind(is_to) }).await
}

/// The path that a mail's link leads to.
fn path_in(mail: &Value) -> String {
    format!("/panel/link/{}", between(&text(&mail["text"]), "/panel/link/", "\n").trim())
}

async fn with_mails(mails: &MailServer) -> TestApp {
    let url = mails.url();
    let settings = [("smtp_url", url.as_str()), ("mail_from", "ringback@example.net"), ("public_url", "http://ringback.example")];
    TestApp::with(&settings).await
}

/// So many letters are to be mailed: they are written after the answer.
async fn letters(app: &TestApp, count: i64) {
    let waiting = || -> i64 { app.database().query_row("SELECT count(*) FROM alert", [], |row| row.get(0)).expect("a count") };
    until("a letter", || async { (waiting() == count).then_some(()) }).await;
}

/// Lets the mailer look again, which it does by a clock that stands still.
async fn post(app: &TestApp) {
    app.advance(limits::MAIL_EVERY);
}

#[tokio::test]
async fn somebody_is_invited_by_mail_and_comes_in_once() {
    let mails = MailServer::open();
    let app = with_mails(&mails).await;
    let (_, mut owner) = inside(&app, "owner").await;
    let invite = [("email", "Bina@Himal.example"), ("role", "developer")];
    let reply = owner.submit("/panel/live/team", "/panel/live/team", &invite).await;
    assert!(reply.status == 200 && !reply.text.contains("/panel/link/"), "only the mail has it: {}", reply.text);
    post(&app).await;
    let mail = mail_to(&mails, "bina@himal.example").await;
    let link = path_in(&mail);
    assert!(text(&mail["text"]).contains("http://ringback.example/panel/link/"), "{mail}");
    let mut bina = Browser::new(&app);
    assert!(bina.page(&link).await.contains("bina@himal.example"), "looking at it does not use it up");
    let short = bina.submit_with(&link, &[("password", "short")]).await;
    assert!(short.status == 422 && short.text.contains("at least 10 characters"));
    assert_eq!(bina.submit_with(&link, &[("password", PASSWORD)]).await.header("location"), Some("/panel/login?told=password-set"));
    assert_eq!(bina.get(&link).await.status, 410);
    assert_eq!(bina.submit_with(&link, &[("password", "somebody else's")]).await.status, 410);
    bina.log_in("bina@himal.example", PASSWORD).await;
    assert_eq!(bina.get("/panel/live/team").await.status, 403, "a developer");
    assert!(owner.page("/panel/live/team").await.contains("bina@himal.example"));
    let again = owner.submit("/panel/live/team", "/panel/live/team", &invite).await;
    assert!(again.status == 422 && again.text.contains("Has a login already"));
    app.finish().await;
}

#[tokio::test]
async fn a_forgotten_password_is_chosen_anew() {
    let mails = MailServer::open();
    let app = with_mails(&mails).await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    let mut lost = Browser::new(&app);
    lost.log_in("ann@himal.example", PASSWORD).await;
    let mut ann = Browser::new(&app);
    for email in ["nobody@himal.example", "ann@himal.example"] {
        let reply = ann.submit_with("/panel/forgotten", &[("email", email)]).await;
        assert_eq!(reply.header("location"), Some("/panel/login?told=mail-sent"), "the same for both");
    }
    letters(&app, 1).await;
    post(&app).await;
    let link = path_in(&mail_to(&mails, "ann@himal.example").await);
    assert_eq!(mails.all().len(), 1);
    assert_eq!(ann.submit_with(&link, &[("password", "a quite new one")]).await.status, 303);
    assert_eq!(lost.get("/panel/live").await.status, 303, "whoever was in is out");
    assert_eq!(ann.log_in("ann@himal.example", PASSWORD).await.status, 401);
    assert_eq!(ann.log_in("ann@himal.example", "a quite new one").await.status, 303);
    ann.submit_with("/panel/forgotten", &[("email", "ann@himal.example")]).await;
    letters(&app, 1).await;
    post(&app).await;
    until("a second mail", || async { (mails.all().len() == 2).then_some(()) }).await;
    let link = path_in(&mail_to(&mails, "ann@himal.example").await);
    app.advance(limits::RESET);
    assert_eq!(ann.submit_with(&link, &[("password", "much too late")]).await.status, 410);
    app.finish().await;
}

#[tokio::test]
async fn the_platforms_link_lets_somebody_in_once() {
    let app = TestApp::with(&[("frame_ancestors", "https://platform.example,https://shop.example:8443")]).await;
    let vendor = app.vendor().await;
    let path = format!("/v1/vendors/{}/panel-link", vendor.id);
    assert_eq!(app.post(&path, &vendor.live, json!({})).await.code(403), "forbidden");
    let wrong = app.post(&path, &app.operator, json!({"role": "king", "lifetime_seconds": 5})).await.problems();
    assert_eq!(wrong.into_iter().map(|(field, _)| field).collect::<Vec<_>>(), ["role", "lifetime_seconds"]);
    let made = app.post(&path, &app.operator, json!({"role": "developer", "lifetime_seconds": 600})).await.expect(201);
    let url = text(&made["url"]);
    let link = url.strip_prefix(&format!("http://{}", app.address)).expect("it leads here").to_owned();
    let mut visitor = Browser::new(&app);
    let seen = visitor.get(&link).await;
    assert_eq!(seen.status, 200, "looking at it does not use it up");
    let policy = seen.header("content-security-policy").expect("a policy");
    assert!(policy.ends_with("frame-ancestors 'self' https://platform.example https://shop.example:8443"), "{policy}");
    assert_eq!(seen.header("x-frame-options"), None);
    assert_eq!(visitor.submit_with(&link, &[]).await.header("location"), Some("/panel/live"));
    assert!(visitor.page("/panel/live").await.contains("Visitor of the platform"));
    visitor.page("/panel/live/webhooks/new").await;
    assert_eq!(visitor.get("/panel/live/team").await.status, 403);
    assert_eq!(Browser::new(&app).submit_with(&link, &[]).await.status, 410, "it is good once");
    app.advance(Duration::from_secs(600));
    assert_eq!(visitor.get("/panel/live").await.status, 303);
    let made = app.post(&path, &app.operator, json!({})).await.expect(201);
    app.advance(limits::PANEL_LINK);
    let link = format!("/panel/link/{}", text(&made["url"]).rsplit('/').next().expect("a ticket"));
    assert_eq!(visitor.submit_with(&link, &[]).await.status, 410, "nobody followed it in time");
    app.finish().await;
}

#[tokio::test]
async fn a_handshake_tells_which_step_failed() {
    let app = TestApp::start().await;
    let (vendor, mut ann) = inside(&app, "owner").await;
    let gone = Receiver::start().await;
    let url = gone.url();
    drop(gone);
    for (url, failing) in [(url.clone(), "It takes the connection"), (url.replace("127.0.0.1", "nothing.invalid"), "The name leads")] {
        let endpoint = text(&app.post("/v1/endpoints", &vendor.live, json!({"url": url})).await.expect(201)["id"]);
        let page = format!("/panel/live/webhooks/{endpoint}");
        let reply = ann.submit(&page, &format!("{page}/connect"), &[]).await;
        assert_eq!(reply.status, 422);
        let bad: Vec<_> = reply.text.split("<li class=\"bad\">").skip(1).collect();
        assert!(bad.len() == 1 && bad[0].starts_with(&format!("<div><strong>{failing}")), "{bad:?}");
        assert!(reply.text.contains("It answers in time:</strong> not reached"), "{url}");
    }
    app.finish().await;
}
