//! Requests to receivers that behave badly, and what an attempt says about each.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair, date_time_ymd};
use ringback::clock::Stopwatch;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::harness::{Setup, TestApp, attempts, text, until};
use crate::receiver::{Answer, Receiver};

/// One attempt at a receiver that answers like this, with small timeouts.
async fn attempt_at(answer: Answer) -> Value {
    let app = TestApp::with(&[("attempt_timeout", "300ms"), ("connect_timeout", "300ms")]).await;
    let hook = Receiver::start().await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(answer);
    let watch = Stopwatch::start();
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = app.until_attempts(&endpoint, &event, 1).await;
    assert!(watch.elapsed() < Duration::from_secs(5), "it took {:?}", watch.elapsed());
    let open = u64::from(delivery["state"] == "pending");
    assert_eq!(hook.count(), 1, "one attempt is one request");
    app.finish_leaving(open).await;
    attempts(&delivery)[0].clone()
}

#[track_caller]
fn says(attempt: &Value, outcome: &str, part: &str) {
    assert_eq!(attempt["outcome"], outcome, "{attempt:#}");
    assert!(attempt["error"].as_str().unwrap_or_default().contains(part), "{attempt:#}");
}

#[tokio::test]
async fn a_body_that_drips_is_left_after_the_timeout() {
    let attempt = attempt_at(Answer::DRIP).await;
    says(&attempt, "succeeded", "did not end within 0.3 s");
    assert_eq!(attempt["status"], 200);
    let took = attempt["duration_ms"].as_u64().expect("a duration");
    assert!((300..1500).contains(&took), "{took} ms");
}

#[tokio::test]
async fn a_stall_is_timed_out() {
    says(&attempt_at(Answer::Stall).await, "timed_out", "no answer within 0.3 s");
}

#[tokio::test]
async fn a_stall_on_a_kept_connection_is_no_answer_either() {
    let app = TestApp::with(&[("attempt_timeout", "300ms"), ("connect_timeout", "200ms")]).await;
    let hook = Receiver::start().await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let first = app.succeed_one(&vendor, "R-1").await;
    app.until_state(&endpoint, &first, "succeeded").await;
    let before = hook.connections();
    hook.always(Answer::Stall);
    let event = app.succeed_one(&vendor, "R-2").await;
    let delivery = app.until_attempts(&endpoint, &event, 1).await;
    assert_eq!(hook.connections(), before, "the connection was kept");
    says(&attempts(&delivery)[0], "timed_out", "no answer within 0.3 s");
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn a_slow_answer_in_time_is_good() {
    let attempt = attempt_at(Answer::status(200).after(Duration::from_millis(100))).await;
    says(&attempt, "succeeded", "");
    assert!(attempt["phases"]["first_byte_ms"].as_f64() >= Some(100.0), "{attempt:#}");
}

#[tokio::test]
async fn a_reset_is_unreachable() {
    let app = TestApp::start().await;
    let hook = Receiver::start().await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    for (number, answer) in [Answer::Reset, Answer::Hangup].into_iter().enumerate() {
        hook.always(answer);
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        let delivery = app.until_attempts(&endpoint, &event, 1).await;
        assert_eq!((&attempts(&delivery)[0]["outcome"], &attempts(&delivery)[0]["status"]), (&json!("unreachable"), &Value::Null));
    }
    app.finish_leaving(2).await;
}

#[tokio::test]
async fn invalid_http_is_unreachable() {
    says(&attempt_at(Answer::Raw(b"220 mail.example.com ESMTP\r\n")).await, "unreachable", "invalid HTTP");
    says(&attempt_at(Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n")).await, "unreachable", "");
}

/// A complete head is a result, whatever happens to the body.
#[tokio::test]
async fn the_status_of_a_cut_answer_counts() {
    for (answer, outcome, status) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort"[..], "succeeded", 200),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "succeeded", 200),
        (b"HTTP/1.1 500 Broken\r\ncontent-length: 10\r\n\r\nshort", "rejected", 500),
    ] {
        let attempt = attempt_at(Answer::Raw(answer)).await;
        says(&attempt, outcome, "the response body is incomplete");
        assert_eq!(attempt["status"], status, "{attempt:#}");
    }
    let attempt = attempt_at(Answer::Raw(b"HTTP/1.0 200 OK\r\n\r\nto the end")).await;
    assert_eq!((&attempt["answer_body"], &attempt["error"]), (&json!("to the end"), &Value::Null));
}

#[tokio::test]
async fn a_cut_answer_disables_and_waits_as_a_whole_one_does() {
    let (app, gone, busy) = (TestApp::start().await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let (disabled, waiting) = (app.connected(&vendor, &gone).await, app.connected(&vendor, &busy).await);
    gone.always(Answer::Raw(b"HTTP/1.1 410 Gone\r\ncontent-length: 10\r\n\r\n"));
    busy.always(Answer::Raw(b"HTTP/1.1 429 Busy\r\nretry-after: 99999999999999999999\r\ncontent-length: 10\r\n\r\nno"));
    let event = app.succeed_one(&vendor, "R-1").await;
    let path = format!("/v1/endpoints/{}", disabled.id);
    until("it is disabled", || async { (app.get(&path, &vendor.live).await.expect(200)["status"] == "disabled").then_some(()) }).await;
    let delivery = app.until_attempts(&waiting, &event, 1).await;
    let at = |field: &str| text(&delivery[field]).parse::<jiff::Timestamp>().expect("a time");
    let wait =
        at("next_attempt_at").duration_since(attempts(&delivery)[0]["started_at"].as_str().and_then(|at| at.parse().ok()).expect("a time"));
    assert!(wait.as_hours() >= 23, "a wait beyond 32 bits lasts to the deadline: {wait:?}");
    // The event at both of them, and the event about the one that is disabled.
    app.finish_leaving(3).await;
}

#[tokio::test]
async fn heads_that_a_client_may_accept_are_accepted() {
    let many: &'static str = "set-cookie: a=b\r\n".repeat(1500).leak();
    let no_headers = ["no colon\r\n", "PHP Warning: a module is missing\r\n", "x-n\u{f8}te: a\r\n", ": a\r\n", "x-note: a\u{1}b\r\n"];
    for lines in [many, "server : x\r\n", "x-note: a\r\n  b\r\n"].into_iter().chain(no_headers) {
        let attempt = attempt_at(Answer::Raw(format!("HTTP/1.1 200 OK\r\n{lines}content-length: 2\r\n\r\nok").leak().as_bytes())).await;
        says(&attempt, "succeeded", "");
        assert_eq!(attempt["answer_body"], "ok");
    }
}

/// The coding `identity` is none: the length counts, although the receiver keeps the connection open.
#[tokio::test]
async fn a_body_of_the_coding_identity_ends_at_its_length() {
    let kept: &'static [u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 2\r\n\r\nok";
    let attempt = attempt_at(Answer::RawKept(kept)).await;
    says(&attempt, "succeeded", "");
    assert_eq!((&attempt["answer_body"], &attempt["error"]), (&json!("ok"), &Value::Null), "{attempt:#}");
}

#[tokio::test]
async fn a_large_answer_is_cut_and_judged_by_its_status() {
    for (status, outcome) in [(200, "succeeded"), (500, "rejected")] {
        let large = Answer::status(status).with_body(vec![b'x'; 10 << 20]);
        let app = TestApp::start().await;
        let hook = Receiver::start().await;
        let vendor = app.vendor().await;
        let endpoint = app.connected(&vendor, &hook).await;
        hook.next([large]);
        let event = app.succeed_one(&vendor, "R-1").await;
        let delivery = app.until_attempts(&endpoint, &event, 1).await;
        let attempt = &attempts(&delivery)[0];
        assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!(outcome), &json!(status)));
        assert_eq!(attempt["answer_body"].as_str().map(str::len), Some(4096));
        let before = hook.connections();
        let next = app.succeed_one(&vendor, "R-2").await;
        app.until_state(&endpoint, &next, "succeeded").await;
        assert_eq!(hook.connections(), before + 1, "its connection is closed");
        app.finish_leaving(u64::from(status == 500)).await;
    }
}

#[tokio::test]
async fn an_answer_up_to_the_bound_keeps_its_connection() {
    let app = TestApp::with(&[("answer_read_max", "1000"), ("answer_kept", "10")]).await;
    let hook = Receiver::start().await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let mut connections = Vec::new();
    for (number, size) in [1000, 1000, 1001, 0].into_iter().enumerate() {
        hook.always(Answer::status(200).with_body(vec![b'y'; size]));
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        let delivery = app.until_state(&endpoint, &event, "succeeded").await;
        assert_eq!(attempts(&delivery)[0]["answer_body"].as_str().map(str::len), Some(size.min(10)));
        connections.push(hook.received().last().expect("a request").connection);
    }
    assert_eq!((connections[1], connections[2], connections[3]), (connections[0], connections[0], connections[0] + 1));
    app.finish().await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Receiver::start().await;
    for status in [301, 302, 303, 307, 308] {
        let attempt = attempt_at(Answer::status(status).with_header("location", &elsewhere.url())).await;
        assert_eq!(attempt["status"], status);
        says(&attempt, "rejected", "redirect");
    }
    assert_eq!(elsewhere.count(), 0);
}

// --- Connections -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_kept_alive_connection_is_used_again() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let before = hook.connections();
    for number in 0..20 {
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        let attempt = attempts(&app.until_state(&endpoint, &event, "succeeded").await)[0].clone();
        assert_eq!(attempt["phases"]["connect_ms"].is_null(), number > 0, "{attempt:#}");
    }
    assert_eq!(hook.connections() - before, 1);
    app.finish().await;
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_within_the_attempt() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::ThenClose);
    for number in 1..=5 {
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        let delivery = app.until_state(&endpoint, &event, "succeeded").await;
        assert_eq!(attempts(&delivery).len(), 1, "{delivery:#}");
        assert_eq!(hook.received().last().map(|request| request.connection), Some(number + 1), "after the handshake's");
    }
    assert_eq!(hook.count(), 5);
    app.finish().await;
}

#[tokio::test]
async fn phases_tell_where_the_time_went() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    app.names.tell("hook.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"url": hook.url_as("hook.example")})).await;
    let mut seen = Vec::new();
    for number in 0..2 {
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        seen.push(attempts(&app.until_state(&endpoint, &event, "succeeded").await)[0]["phases"].clone());
    }
    let there = |phases: &Value, name: &str| phases[name].is_f64() || phases[name].is_u64() || phases[name].is_number();
    let names = ["resolve_ms", "connect_ms", "tls_ms", "first_byte_ms", "total_ms"];
    assert_eq!(names.map(|name| there(&seen[0], name)), [true, true, false, true, true], "{:#}", seen[0]);
    assert_eq!(names.map(|name| there(&seen[1], name)), [false, false, false, true, true], "{:#}", seen[1]);
    assert_eq!(hook.received()[0].header("host"), format!("hook.example:{}", hook.address.port()));
    app.finish().await;
}

#[tokio::test]
async fn a_host_that_is_not_there_is_unreachable() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let gone = Receiver::start().await;
    let (gone_url, vendor) = (gone.url(), app.vendor().await);
    app.names.tell("hook.example", &["127.0.0.1"]);
    let named = app.connected_with(&vendor, &hook, json!({"url": hook.url_as("hook.example")})).await;
    let refused = app.connected(&vendor, &gone).await;
    drop(gone);
    app.names.tell("hook.example", &[]);
    let event = app.succeed_one(&vendor, "R-1").await;
    // The handshake's connection is not kept, so that each attempt connects anew.
    says(&attempts(&app.until_attempts(&named, &event, 1).await)[0], "unreachable", "DNS: hook.example");
    let port = gone_url.split(':').nth(2).and_then(|rest| rest.split('/').next()).expect("a port");
    says(&attempts(&app.until_attempts(&refused, &event, 1).await)[0], "unreachable", port);
    let unknown = app.endpoint(&vendor, json!({"url": hook.url_as("never-told.example")})).await;
    let seen = app.on(&unknown, "connect").await;
    assert_eq!(seen.code(422), "connect_failed");
    assert_eq!((&seen.json()["seen"]["outcome"], &seen.json()["seen"]["address"]), (&json!("unreachable"), &Value::Null));
    assert!(text(&seen.json()["seen"]["error"]).contains("DNS: never-told.example"));
    app.finish_leaving(2).await;
}

#[tokio::test]
async fn the_next_address_of_a_name_is_tried() {
    let (app, hook) = (TestApp::with(&[("allow_networks", "127.0.0.0/8")]).await, Receiver::start().await);
    app.names.tell("hook.example", &["127.0.0.3", "127.0.0.1"]);
    let vendor = app.vendor().await;
    app.connected_with(&vendor, &hook, json!({"url": hook.url_as("hook.example")})).await;
    app.finish().await;
}

// --- TLS ---------------------------------------------------------------------------------------------------------------

pub struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { certificate: params.self_signed(&key).expect("a certificate"), key }
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// A server for these names whose certificate is good until the end of a year.
    pub fn server(&self, names: &[&str], until: i32) -> rustls::ServerConfig {
        self.server_showing(names, until, 1)
    }

    /// The same, which shows its certificate so many times.
    pub fn server_showing(&self, names: &[&str], until: i32, times: usize) -> rustls::ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("parameters");
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 12, 31));
        let certificate = params.signed_by(&key, &self.certificate, &self.key).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let chain = vec![certificate.der().clone(); times];
        builder.with_no_client_auth().with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()).expect("they fit")
    }
}

#[tokio::test]
async fn a_good_certificate_is_taken() {
    let authority = Authority::new();
    let app = Setup::default().trust(authority.der()).set("require_https", "true").start().await;
    let hook = Receiver::start_tls(authority.server(&["hook.example", "127.0.0.1"], 2100)).await;
    app.names.tell("hook.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    for url in [hook.url_as("hook.example"), hook.url()] {
        let endpoint = app.connected_with(&vendor, &hook, json!({"url": url})).await;
        let before = hook.connections();
        for number in 0..2 {
            let event = app.succeed_one(&vendor, &format!("{url}-{number}")).await;
            let attempt = attempts(&app.until_state(&endpoint, &event, "succeeded").await)[0].clone();
            assert_eq!(attempt["phases"]["tls_ms"].is_number(), number == 0, "{attempt:#}");
        }
        assert_eq!(hook.connections(), before + 1);
        app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &vendor.live, None).await.expect(204);
    }
    app.finish().await;
}

/// As servers of common libraries do: HTTP/1.0, and the connection is dropped without a `close_notify`.
#[tokio::test]
async fn tls_that_ends_without_a_word_ends_the_body() {
    let authority = Authority::new();
    let app = Setup::default().trust(authority.der()).start().await;
    let hook = Receiver::start_tls(authority.server(&["127.0.0.1"], 2100)).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.always(Answer::Raw(b"HTTP/1.0 200 OK\r\nserver: plain\r\n\r\nok"));
    let event = app.succeed_one(&vendor, "R-1").await;
    let attempt = attempts(&app.until_state(&endpoint, &event, "succeeded").await)[0].clone();
    assert_eq!((&attempt["answer_body"], &attempt["error"]), (&json!("ok"), &Value::Null));
    app.finish().await;
}

#[tokio::test]
async fn bad_certificates_are_unreachable_and_nothing_is_sent() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let app = Setup::default().trust(authority.der()).start().await;
    app.names.tell("hook.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    for (config, part) in [
        (authority.server(&["hook.example"], 2021), "xpired"),
        (authority.server(&["other.example"], 2100), "not valid for name"),
        (stranger.server(&["hook.example"], 2100), "invalid peer certificate"),
    ] {
        let hook = Receiver::start_tls(config).await;
        let endpoint = app.endpoint(&vendor, json!({"url": hook.url_as("hook.example")})).await;
        let failed = app.on(&endpoint, "connect").await;
        assert_eq!(failed.code(422), "connect_failed");
        let seen = failed.json()["seen"].clone();
        assert_eq!((&seen["outcome"], &seen["address"]), (&json!("unreachable"), &json!("127.0.0.1")));
        let error = text(&seen["error"]);
        assert!(error.starts_with("TLS:") && error.contains(part), "{error}");
        assert_eq!(hook.count(), 0);
    }
    app.finish().await;
}

#[tokio::test]
async fn an_attempt_meets_an_expired_certificate() {
    let authority = Authority::new();
    let app = Setup::default().trust(authority.der()).set("allow_networks", "127.0.0.0/8").start().await;
    let good = Receiver::start_tls(authority.server(&["hook.example"], 2100)).await;
    let expired = good.beside("127.0.0.2", Some(authority.server(&["hook.example"], 2021))).await;
    app.names.tell("hook.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &good, json!({"url": good.url_as("hook.example")})).await;
    app.names.tell("hook.example", &["127.0.0.2"]);
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = app.until_attempts(&endpoint, &event, 1).await;
    says(&attempts(&delivery)[0], "unreachable", "TLS: invalid peer certificate: certificate expired");
    app.names.tell("hook.example", &["127.0.0.1"]);
    app.advance_to(&delivery["next_attempt_at"]);
    app.until_state(&endpoint, &event, "succeeded").await;
    assert_eq!((good.count(), expired.count(), expired.connections()), (1, 0, 1));
    app.finish().await;
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_unreachable() {
    let app = TestApp::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/hook", listener.local_addr().expect("an address"));
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.expect("it is written");
        stream
    });
    let vendor = app.vendor().await;
    let endpoint = app.endpoint(&vendor, json!({"url": url})).await;
    let failed = app.on(&endpoint, "connect").await;
    assert_eq!(failed.code(422), "connect_failed");
    assert_eq!(failed.json()["seen"]["outcome"], "unreachable");
    plain.await.expect("it was asked");
    app.finish().await;
}
