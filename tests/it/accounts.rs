//! Logins that strangers try, invitations of others, second factors and their enrolment: what an attacker may not reach or learn.

use std::collections::BTreeMap;
use std::time::Duration;

use ringback::limits;
use serde_json::{Value, json};

use crate::client::{Reply, Request, send};
use crate::harness::{TestApp, Vendor, text, until};
use crate::panel::PASSWORD;

/// A browser that comes from an address of its own, and keeps all cookies.
struct Guest<'a> {
    app: &'a TestApp,
    from: String,
    cookies: BTreeMap<String, String>,
}

impl<'a> Guest<'a> {
    fn from(app: &'a TestApp, address: &str) -> Self {
        Self { app, from: address.to_owned(), cookies: BTreeMap::new() }
    }

    async fn send(&mut self, method: &str, path: &str, fields: Option<&[(&str, &str)]>) -> Reply {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut headers = vec![("x-forwarded-for", self.from.as_str()), ("sec-fetch-site", "same-origin")];
        if !cookies.is_empty() {
            headers.push(("cookie", &cookies));
        }
        let form = fields.map(|fields| url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish());
        let request = Request { method, path, headers: &headers, body: form.map(String::into_bytes), ..Request::default() };
        let reply = send(self.app.address, request).await;
        for (_, set) in reply.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
            let (name, value) = set.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        reply
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, None).await
    }

    async fn log_in(&mut self, email: &str, password: &str) -> Reply {
        self.cookies.remove("ringback_session");
        self.send("POST", "/panel/login", Some(&[("email", email), ("password", password)])).await
    }

    /// Sends a form with the proof of a page.
    async fn submit(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Reply {
        let proof = between(&self.get(page).await.text, "name=\"proof\" value=\"");
        self.send("POST", action, Some(&[&[("proof", proof.as_str())], fields].concat())).await
    }

    /// How many wrong passwords are tried before the next one is refused.
    async fn wrong_until_refused(&mut self, email: &str) -> usize {
        for number in 0..1000 {
            let reply = self.log_in(email, "a wrong password").await;
            if reply.status == 429 {
                assert!(reply.header("retry-after").is_some());
                return number;
            }
            assert_eq!(reply.status, 401);
        }
        panic!("nobody stops it");
    }
}

fn between(text: &str, before: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} is missing in {text}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

async fn app() -> TestApp {
    TestApp::with(&[("trusted_proxies", "127.0.0.1")]).await
}

async fn user(app: &TestApp, vendor: &Vendor, email: &str, role: &str) {
    let login = json!({"email": email, "password": PASSWORD, "role": role});
    app.post(&format!("/v1/vendors/{}/users", vendor.id), &app.operator, login).await.expect(201);
}

async fn actions(app: &TestApp) -> Vec<String> {
    let log = app.get("/v1/audit?limit=200", &app.operator).await.expect(200)["data"].clone();
    log.as_array().expect("entries").iter().map(|entry| text(&entry["action"])).collect()
}

fn digits(secret: &str, app: &TestApp) -> String {
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).expect("base32");
    let totp = totp_rs::Builder::new().with_secret(secret).build_noncompliant();
    totp.generate(app.now().as_millis().unsigned_abs() / 1000).to_string()
}

// --- Failures --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_stranger_spends_no_allowance_but_its_own() {
    let app = app().await;
    let vendor = app.vendor().await;
    for email in ["ann@himal.example", "bina@himal.example"] {
        user(&app, &vendor, email, "owner").await;
    }
    let mut stranger = Guest::from(&app, "203.0.113.7");
    assert_eq!(stranger.wrong_until_refused("ann@himal.example").await, limits::LOGIN_FAILURES.most as usize);
    assert_eq!(stranger.log_in("ann@himal.example", PASSWORD).await.status, 429, "that address has to wait");
    assert_eq!(stranger.log_in("bina@himal.example", PASSWORD).await.status, 303, "but not everybody behind it");
    for near in ["203.0.113.8", "198.51.100.1", "2001:db8::1"] {
        assert_eq!(Guest::from(&app, near).log_in("ann@himal.example", PASSWORD).await.status, 303, "{near}");
    }
    app.advance(limits::LOGIN_FAILURES.within);
    assert_eq!(stranger.log_in("ann@himal.example", PASSWORD).await.status, 303);
    app.finish().await;
}

#[tokio::test]
async fn a_browser_that_is_known_gets_in_whatever_strangers_do_from_its_address() {
    let app = app().await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    // All come through one address, as behind a proxy that is not trusted.
    let (mut ann, mut stranger) = (Guest::from(&app, "203.0.113.7"), Guest::from(&app, "203.0.113.7"));
    let first = ann.log_in("ann@himal.example", PASSWORD).await;
    let device = first.headers.iter().find(|(_, value)| value.starts_with("ringback_device=")).map(|(_, value)| value.clone());
    let device = device.expect("the browser is known from now on");
    assert!(device.contains("; HttpOnly") && device.contains("; SameSite=Lax") && device.contains("; Path=/panel"), "{device}");
    stranger.wrong_until_refused("ann@himal.example").await;
    assert_eq!(ann.log_in("ann@himal.example", PASSWORD).await.status, 303);
    // A browser that is stolen has no more tries than anybody.
    assert_eq!(ann.wrong_until_refused("ann@himal.example").await, limits::FAILURES_OF_KNOWN.most as usize);
    // A new password forgets all browsers.
    app.advance(limits::LOGIN_FAILURES.within);
    ann.log_in("ann@himal.example", PASSWORD).await;
    let changed = [("password", PASSWORD), ("new_password", "another long one")];
    assert_eq!(ann.submit("/panel/self", "/panel/self/password", &changed).await.status, 303);
    stranger.wrong_until_refused("ann@himal.example").await;
    assert_eq!(ann.log_in("ann@himal.example", "another long one").await.status, 429);
    app.finish().await;
}

#[tokio::test]
async fn an_address_and_a_network_have_so_many_failures_over_all_logins() {
    let app = app().await;
    let mut tried = 0;
    'trying: for address in 1..=254 {
        let mut stranger = Guest::from(&app, &format!("203.0.113.{address}"));
        for login in 0..limits::FAILURES_FROM_ADDRESS.most {
            let reply = stranger.log_in(&format!("{address}-{login}@himal.example"), "a wrong password").await;
            if reply.status == 429 {
                break 'trying;
            }
            tried += 1;
        }
        let more = stranger.log_in("one@himal.example", "a wrong password").await;
        assert_eq!(more.status, 429, "{address}");
    }
    assert_eq!(tried, limits::FAILURES_FROM_NETWORK.most);
    app.finish().await;
}

// --- New passwords ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn links_that_strangers_ask_for_take_no_others_place() {
    let app = app().await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    let links =
        || -> i64 { app.database().query_row("SELECT count(*) FROM link WHERE purpose = 1", [], |row| row.get(0)).expect("a count") };
    let mut owner = Guest::from(&app, "198.51.100.1");
    owner.send("POST", "/panel/forgotten", Some(&[("email", "ann@himal.example")])).await;
    until("the owner's link", || async { (links() == 1).then_some(()) }).await;
    let hash = || -> Vec<Vec<u8>> {
        let conn = app.database();
        let mut found = conn.prepare("SELECT hash FROM link ORDER BY id").expect("a query");
        found.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("rows")
    };
    let first = hash()[0].clone();
    for number in 1..=10 {
        let mut stranger = Guest::from(&app, &format!("203.0.{number}.7"));
        let reply = stranger.send("POST", "/panel/forgotten", Some(&[("email", "ann@himal.example")])).await;
        assert_eq!(reply.header("location"), Some("/panel/login?told=mail-sent"));
    }
    until("theirs", || async { (links() == i64::from(limits::RESETS_OPEN)).then_some(()) }).await;
    assert_eq!(hash()[0], first, "the owner's is still there");
    let mut one = Guest::from(&app, "203.0.113.7");
    let mut statuses = Vec::new();
    for number in 0..=limits::FORGOTTEN_FROM_ADDRESS.most {
        statuses.push(one.send("POST", "/panel/forgotten", Some(&[("email", &format!("{number}@himal.example"))])).await.status);
    }
    assert_eq!(statuses.pop(), Some(429), "one address asks a few times");
    assert!(statuses.iter().all(|status| *status == 303), "{statuses:?}");
    app.finish().await;
}

// --- Invitations -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_invitation_tells_nothing_of_other_vendors_logins() {
    let app = app().await;
    let (own, other) = (app.vendor().await, app.vendor().await);
    user(&app, &own, "owner@own.example", "owner").await;
    user(&app, &own, "colleague@own.example", "viewer").await;
    user(&app, &other, "known@other.example", "owner").await;
    app.operator_login("chief@platform.example", PASSWORD).await;
    let mut owner = Guest::from(&app, "203.0.113.7");
    owner.log_in("owner@own.example", PASSWORD).await;
    let mut told = Vec::new();
    for email in ["known@other.example", "chief@platform.example", "nobody@other.example"] {
        let reply = owner.submit("/panel/live/team", "/panel/live/team", &[("email", email), ("role", "viewer")]).await;
        assert_eq!(reply.status, 200, "{email}");
        let link = between(&reply.text, "/panel/link/");
        told.push(reply.text.matches(email).count());
        assert_eq!(
            Guest::from(&app, "198.51.100.1").get(&format!("/panel/link/{}", link.split('<').next().unwrap_or_default())).await.status,
            200
        );
    }
    assert!(told.iter().all(|count| *count == told[0]), "{told:?}");
    let colleague = owner.submit("/panel/live/team", "/panel/live/team", &[("email", "colleague@own.example"), ("role", "viewer")]).await;
    assert!(colleague.status == 422 && colleague.text.contains("as a login already"), "of its own team it is told");
    app.finish().await;
}

#[tokio::test]
async fn invitations_have_a_bound_for_the_address_and_for_who_invites() {
    let app = app().await;
    let (first, second) = (app.vendor().await, app.vendor().await);
    let mut owners = Vec::new();
    for (vendor, email) in [(&first, "owner@first.example"), (&second, "owner@second.example")] {
        user(&app, vendor, email, "owner").await;
        let mut owner = Guest::from(&app, "203.0.113.7");
        owner.log_in(email, PASSWORD).await;
        owners.push(owner);
    }
    let invite = async |owner: &mut Guest<'_>, email: &str| {
        owner.submit("/panel/live/team", "/panel/live/team", &[("email", email), ("role", "viewer")]).await.status
    };
    let mut statuses = Vec::new();
    for number in 0..6 {
        statuses.push(invite(&mut owners[number % 2], "victim@himal.example").await);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429], "whoever invites it");
    app.operator_login("chief@platform.example", PASSWORD).await;
    let mut chief = Guest::from(&app, "203.0.113.7");
    chief.log_in("chief@platform.example", PASSWORD).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let team = "/panel/operator/team";
        statuses.push(chief.submit(team, team, &[("email", "victim@himal.example")]).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429], "the operator has its own");
    let mut sent = 0;
    while invite(&mut owners[0], &format!("{sent}@himal.example")).await == 200 {
        sent += 1;
        assert!(sent < 100);
    }
    assert_eq!(sent + 2, limits::INVITATIONS_OF_VENDOR.most, "two were for the victim");
    assert_eq!(invite(&mut owners[1], "else@himal.example").await, 200);
    app.finish().await;
}

#[tokio::test]
async fn addresses_that_never_receive_mail_are_refused() {
    let app = app().await;
    let vendor = app.vendor().await;
    for email in ["ann@nowhere.invalid", "ann@localhost", "ann@-himal.example", "ann..b@himal.example", "ann@192.0.2.1"] {
        let login = json!({"email": email, "password": PASSWORD});
        let refused = app.post(&format!("/v1/vendors/{}/users", vendor.id), &app.operator, login).await;
        assert_eq!(refused.problems(), [("email".to_owned(), "invalid".to_owned())], "{email}");
    }
    app.finish().await;
}

// --- Second factors --------------------------------------------------------------------------------------------------

/// Turns a second factor on; answers its secret.
async fn enrol(app: &TestApp, guest: &mut Guest<'_>) -> String {
    let secret = between(&guest.get("/panel/self/second-factor").await.text, "name=\"secret\" value=\"");
    let code = digits(&secret, app);
    let done = guest.submit("/panel/self/second-factor", "/panel/self/second-factor", &[("code", &code)]).await;
    assert_eq!(done.status, 200, "{}", done.text);
    secret
}

#[tokio::test]
async fn the_server_keeps_the_secret_that_is_enrolled_and_asks_for_the_password() {
    let app = app().await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    let mut ann = Guest::from(&app, "203.0.113.7");
    ann.log_in("ann@himal.example", PASSWORD).await;
    let page = "/panel/self/second-factor";
    let chosen = "A".repeat(32);
    let none = ann.submit("/panel/self", page, &[("secret", &chosen), ("code", &digits(&chosen, &app))]).await;
    assert_eq!(none.status, 422, "nothing was proposed");
    let secret = between(&ann.get(page).await.text, "name=\"secret\" value=\"");
    assert!(ann.get(page).await.text.contains(&secret), "the same once more");
    let other = ann.submit(page, page, &[("secret", &chosen), ("code", &digits(&chosen, &app))]).await;
    assert_eq!(other.status, 422, "not one that the browser chose");
    assert!(!ann.get("/panel/self").await.text.contains("second-factor/remove"));
    // Once the password was given a while ago it is asked for again.
    app.advance(limits::PASSWORD_FRESH + Duration::from_secs(1));
    assert!(ann.get(page).await.text.contains("name=\"password\""));
    for (password, status) in [(None, 422), (Some("a wrong password"), 422), (Some(PASSWORD), 200)] {
        let code = digits(&secret, &app);
        let mut fields = vec![("code", code.as_str())];
        fields.extend(password.map(|password| ("password", password)));
        assert_eq!(ann.submit(page, page, &fields).await.status, status, "{password:?}");
    }
    assert!(actions(&app).await.contains(&"user.confirmation_failed".to_owned()));
    app.finish().await;
}

#[tokio::test]
async fn wrong_codes_are_noted_and_slowed_and_keep_nobody_else_out() {
    let app = app().await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    let mut ann = Guest::from(&app, "203.0.113.7");
    ann.log_in("ann@himal.example", PASSWORD).await;
    let secret = enrol(&app, &mut ann).await;
    // In the browser where it was enrolled the password is right, and the code is asked for.
    app.advance(Duration::from_secs(60));
    assert_eq!(ann.log_in("ann@himal.example", PASSWORD).await.header("location"), Some("/panel/second-factor?next=%2Fpanel"));
    let code = digits(&secret, &app);
    assert_eq!(ann.submit("/panel/second-factor", "/panel/second-factor", &[("code", &code)]).await.status, 303);
    // Whoever has the password tries codes, from anywhere, in new sessions.
    let mut wrong = 0;
    'trying: for address in 1.. {
        let mut thief = Guest::from(&app, &format!("198.51.{address}.1"));
        thief.log_in("ann@himal.example", PASSWORD).await;
        for _ in 0..3 {
            let reply = thief.submit("/panel/second-factor", "/panel/second-factor", &[("code", "000000")]).await;
            if reply.status == 429 {
                break 'trying;
            }
            assert_eq!(reply.status, 401);
            wrong += 1;
        }
    }
    assert_eq!(wrong, limits::CODE_FAILURES.most);
    let noted = actions(&app).await.iter().filter(|action| *action == "user.second_factor_failed").count();
    assert_eq!(noted, wrong as usize);
    // The browser that is known comes in all the same.
    app.advance(Duration::from_secs(30));
    ann.log_in("ann@himal.example", PASSWORD).await;
    let code = digits(&secret, &app);
    assert_eq!(ann.submit("/panel/second-factor", "/panel/second-factor", &[("code", &code)]).await.status, 303);
    app.finish().await;
}

// --- Pages and cookies -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_login_goes_on_to_no_page_that_breaks_its_answer() {
    let app = app().await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    for (next, expected) in [
        ("/panel/live/deliveries?state=failed", "/panel/live/deliveries?state=failed"),
        ("/panel\0", "/panel"),
        ("/panel\r\nX: y", "/panel"),
        ("//other.example", "/panel"),
    ] {
        let mut ann = Guest::from(&app, "203.0.113.7");
        let fields = [("email", "ann@himal.example"), ("password", PASSWORD), ("next", next)];
        let reply = ann.send("POST", "/panel/login", Some(&fields)).await;
        assert_eq!((reply.status, reply.header("location")), (303, Some(expected)), "{next:?}");
    }
    app.finish().await;
}

#[tokio::test]
async fn cookies_are_secure_where_people_reach_the_server_by_tls() {
    let app = TestApp::with(&[("public_url", "https://pay.example"), ("trusted_proxies", "127.0.0.1")]).await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    // The proxy writes its own Host: an address of this machine.
    let reply = Guest::from(&app, "203.0.113.7").log_in("ann@himal.example", PASSWORD).await;
    let cookies: Vec<&String> = reply.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value).collect();
    assert_eq!(cookies.len(), 2);
    assert!(cookies.iter().all(|cookie| cookie.contains("; Secure")), "{cookies:?}");
    app.finish().await;
}

#[tokio::test]
async fn how_long_a_wrong_login_takes_does_not_wait_for_its_note() {
    let app = app().await;
    let vendor = app.vendor().await;
    user(&app, &vendor, "ann@himal.example", "owner").await;
    Guest::from(&app, "203.0.113.7").log_in("ann@himal.example", "a wrong password").await;
    until("it is noted all the same", || async { actions(&app).await.contains(&"user.login_failed".to_owned()).then_some(()) }).await;
    let entry = app.get("/v1/audit?limit=1", &app.operator).await.expect(200)["data"][0].clone();
    assert_eq!((&entry["address"], &entry["vendor_id"]), (&json!("203.0.113.7"), &json!(vendor.id)), "{entry}");
    assert_ne!(entry["object"], Value::Null);
    app.finish().await;
}
