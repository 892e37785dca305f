//! No request leaves for a forbidden address: not at create, not at the handshake, not at an attempt (guarantee G6).

use ringback::limits;
use serde_json::{Value, json};

use crate::harness::{TestApp, attempts, text};
use crate::receiver::{Answer, Receiver};

/// First and last address of every IPv4 range of the list, and some that people know.
const V4: [&str; 36] = [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "100.100.100.200",
    "127.0.0.0",
    "127.0.0.2",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.192",
    "192.0.0.255",
    "192.0.2.0",
    "192.0.2.255",
    "192.88.99.0",
    "192.88.99.255",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.0",
    "198.51.100.255",
    "203.0.113.0",
    "203.0.113.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.254",
    "255.255.255.255",
];

/// The same for IPv6.
const V6: [&str; 29] = [
    "::",
    "::1",
    "64:ff9b:1::",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "100::",
    "100::ffff:ffff:ffff:ffff",
    "2001::",
    "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "2002::",
    "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff::",
    "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
    "5f00::",
    "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fc00::",
    "fd00:ec2::254",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::",
    "fe80::1",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fec0::",
    "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "ff00::",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2606:4700::5efe:a00:1",
    "::ffff:0:10.0.0.1",
];

/// An IPv4 address in every IPv6 address that carries one: mapped, translated, compatible, NAT64, 6to4, Teredo, ISATAP.
fn carriers(v4: &str) -> Vec<String> {
    let bits = u32::from(v4.parse::<std::net::Ipv4Addr>().expect("an address"));
    let (high, low) = (bits >> 16, bits & 0xffff);
    let (not_high, not_low) = (high ^ 0xffff, low ^ 0xffff);
    vec![
        format!("::ffff:{v4}"),
        format!("::ffff:{high:x}:{low:x}"),
        format!("::ffff:0:{high:x}:{low:x}"),
        format!("::{high:x}:{low:x}"),
        format!("64:ff9b::{high:x}:{low:x}"),
        format!("64:ff9b::{v4}"),
        format!("2002:{high:x}:{low:x}::1"),
        format!("2001:0:4136:e378:8000:63bf:{not_high:x}:{not_low:x}"),
        format!("2606:4700:0:1:0:5efe:{high:x}:{low:x}"),
        format!("2606:4700:0:1:200:5efe:{high:x}:{low:x}"),
    ]
}

/// Every forbidden address, bare.
fn forbidden() -> Vec<String> {
    let carried = ["10.1.2.3", "127.0.0.2", "169.254.169.254", "192.168.1.1", "0.0.0.0"].into_iter().flat_map(carriers);
    V4.into_iter().chain(V6).map(str::to_owned).chain(carried).collect()
}

fn in_url(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[tokio::test]
async fn every_forbidden_literal_is_refused_at_create() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    for address in forbidden() {
        let url = format!("http://{}:8080/hook", in_url(&address));
        let answer = app.post("/v1/endpoints", &vendor.live, json!({"url": url})).await;
        assert_eq!(answer.problems(), [("url".to_owned(), "forbidden_address".to_owned())], "{url}");
        assert_eq!(answer.code(422), "forbidden_address");
    }
    app.finish().await;
}

#[tokio::test]
async fn every_spelling_of_a_forbidden_literal_is_refused_at_create() {
    let app = TestApp::with(&[("allow_networks", "")]).await;
    let vendor = app.vendor().await;
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7f000001",
        "0X7F.0.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "00000177.0.0.1",
        "127.0.0.1.",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "0",
        "0x0",
        "10.1",
        "0xa9fea9fe",
        "2852039166",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000:0000:0000:0000:0000:0000:0000:0001]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7F00:1]",
        "[64:ff9b::7f00:1]",
        "[::127.0.0.1]",
        "[2002:7f00:1::]",
    ] {
        for scheme in ["http", "https", "HTTP"] {
            let url = format!("{scheme}://{host}/hook");
            let answer = app.post("/v1/endpoints", &vendor.test, json!({"url": url})).await;
            assert_eq!(answer.code(422), "forbidden_address", "{url}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_proper_url_is_refused_at_create() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    for url in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "//example.com/hook",
        "example.com/hook",
        "http://",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://example.com/#part",
        "http://example.com:22/",
        "http://example.com:25/",
        "http://example.com:1023/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://127.0.0.256/",
        "http://[fe80::1%25eth0]/",
        "http://exa mple.com/",
        "",
    ] {
        let answer = app.post("/v1/endpoints", &vendor.live, json!({"url": url})).await;
        assert_eq!(answer.problems(), [("url".to_owned(), "invalid".to_owned())], "{url}");
    }
    let strict = TestApp::with(&[("require_https", "true")]).await;
    let other = strict.vendor().await;
    let plain = json!({"url": "http://example.com/"});
    assert_eq!(strict.post("/v1/endpoints", &other.live, plain.clone()).await.code(422), "invalid");
    strict.post("/v1/endpoints", &other.test, plain).await.expect(201);
    strict.finish().await;
    app.finish().await;
}

#[tokio::test]
async fn a_change_to_a_forbidden_literal_is_refused() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let path = format!("/v1/endpoints/{}", endpoint.id);
    for host in ["169.254.169.254", "[::ffff:10.0.0.1]", "0x7f.0.0.2"] {
        let change = json!({"url": format!("http://{host}/hook")});
        assert_eq!(app.call("PATCH", &path, &vendor.live, Some(change)).await.code(422), "forbidden_address");
    }
    assert_eq!(app.read_endpoint(&endpoint).await["url"], hook.url());
    app.finish().await;
}

fn named(hook: &Receiver) -> Value {
    json!({"url": hook.url_as("hook.example")})
}

#[tokio::test]
async fn a_name_of_a_forbidden_address_does_not_connect() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    // One that would be reached if the guard let it through.
    let inside = hook.beside("127.0.0.2", None).await;
    let vendor = app.vendor().await;
    let endpoint = app.endpoint(&vendor, named(&hook)).await;
    for address in forbidden() {
        app.names.tell("hook.example", &[&address]);
        app.advance(limits::TESTS_TO_ENDPOINT.within);
        let answer = app.on(&endpoint, "connect").await;
        assert_eq!(answer.code(422), "connect_failed", "{address}");
        let seen = answer.json()["seen"].clone();
        assert_eq!(seen["outcome"], "refused", "{address}: {seen:#}");
        assert!(seen["address"].is_null() && !seen.to_string().contains(address.as_str()), "the vendor is not told the address: {seen:#}");
    }
    assert_eq!((hook.connections(), inside.connections()), (0, 0));
    app.finish().await;
}

#[tokio::test]
async fn an_attempt_at_a_forbidden_address_is_refused_whatever_the_handshake_saw() {
    let (app, hook) = (TestApp::with(&[("endpoints_per_vendor", "1000")]).await, Receiver::start().await);
    let inside = hook.beside("127.0.0.2", None).await;
    let vendor = app.vendor().await;
    for address in forbidden() {
        app.names.tell("hook.example", &["127.0.0.1"]);
        let endpoint = app.connected_with(&vendor, &hook, named(&hook)).await;
        // The name's answer changes between the handshake and the attempt.
        app.names.tell("hook.example", &[&address]);
        let event = app.succeed_one(&vendor, &address).await;
        let delivery = app.until_attempts(&endpoint, &event, 1).await;
        let attempt = &attempts(&delivery)[0];
        assert_eq!((&attempt["outcome"], &delivery["state"]), (&json!("refused"), &json!("pending")), "{address}");
        assert_eq!(text(&attempt["error"]), "must not be reached: the address is forbidden");
        assert!(attempt["address"].is_null(), "the vendor is not told the address: {attempt:#}");
        assert_eq!(hook.count(), 0, "{address}");
        app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
        app.until_state(&endpoint, &event, "cancelled").await;
    }
    assert_eq!(inside.connections(), 0);
    app.finish().await;
}

#[tokio::test]
async fn every_attempt_is_judged_anew() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let inside = hook.beside("127.0.0.2", None).await;
    app.names.tell("hook.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, named(&hook)).await;
    // So that each attempt opens a connection of its own.
    hook.always(Answer::status(500).with_header("connection", "close"));
    let event = app.succeed_one(&vendor, "R-1").await;
    for (count, (address, outcome)) in
        [("127.0.0.1", "rejected"), ("127.0.0.2", "refused"), ("127.0.0.1", "rejected"), ("10.0.0.1", "refused")].into_iter().enumerate()
    {
        let delivery = app.until_attempts(&endpoint, &event, count + 1).await;
        assert_eq!(attempts(&delivery)[count]["outcome"], outcome, "at {address}");
        let next = ["127.0.0.2", "127.0.0.1", "10.0.0.1", "127.0.0.1"][count];
        app.names.tell("hook.example", &[next]);
        hook.always(Answer::status(if count == 3 { 200 } else { 500 }).with_header("connection", "close"));
        app.advance_to(&delivery["next_attempt_at"]);
    }
    app.until_state(&endpoint, &event, "succeeded").await;
    assert_eq!((hook.count(), inside.connections()), (3, 0));
    app.finish().await;
}

#[tokio::test]
async fn of_several_addresses_only_allowed_ones_are_dialled() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let inside = hook.beside("127.0.0.2", None).await;
    let vendor = app.vendor().await;
    app.names.tell("hook.example", &["127.0.0.2", "169.254.169.254", "127.0.0.1"]);
    let endpoint = app.connected_with(&vendor, &hook, named(&hook)).await;
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_state(&endpoint, &event, "succeeded").await;
    assert_eq!(inside.connections(), 0);
    app.finish().await;
}

#[tokio::test]
async fn a_redirect_into_a_forbidden_network_leads_nowhere() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let inside = hook.beside("127.0.0.2", None).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    for status in [301, 302, 307, 308] {
        hook.next([Answer::status(status).with_header("location", &inside.url())]);
        let event = app.succeed_one(&vendor, &format!("R-{status}")).await;
        let delivery = app.until_attempts(&endpoint, &event, 1).await;
        assert_eq!(attempts(&delivery)[0]["status"], status);
        app.advance_to(&delivery["next_attempt_at"]);
        app.until_state(&endpoint, &event, "succeeded").await;
    }
    assert_eq!(inside.connections(), 0);
    app.finish().await;
}

#[tokio::test]
async fn a_test_event_is_judged_too() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let inside = hook.beside("127.0.0.2", None).await;
    let vendor = app.vendor().await;
    app.names.tell("hook.example", &["127.0.0.1"]);
    let endpoint = app.connected_with(&vendor, &hook, named(&hook)).await;
    app.names.tell("hook.example", &["127.0.0.2"]);
    let attempt = app.on(&endpoint, "test").await.expect(200);
    assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("refused"), &Value::Null));
    assert_eq!((hook.count(), inside.connections()), (0, 0));
    app.finish().await;
}

#[tokio::test]
async fn a_literal_that_is_no_longer_allowed_is_refused_at_the_attempt() {
    let (mut app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    app.allow_nothing();
    app.restart().await;
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = app.until_attempts(&endpoint, &event, 1).await;
    assert_eq!((&attempts(&delivery)[0]["outcome"], hook.count()), (&json!("refused"), 0));
    assert_eq!(app.on(&endpoint, "connect").await.json()["seen"]["outcome"], "refused");
    app.finish_leaving(1).await;
}
