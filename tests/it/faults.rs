//! Requests through a proxy, and what is its fault and not the endpoint's.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Endpoint, Setup, TestApp, attempts, references, text, until};
use crate::proxy::{Mood, Proxy};
use crate::receiver::{Received, Receiver};
use crate::transport::Authority;

/// Longer than any pause after a fault.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

async fn app_behind(proxy: &Proxy) -> TestApp {
    TestApp::with(&[("proxy", &proxy.url())]).await
}

/// Requests that could not be made for this cause, so far.
async fn faults(app: &TestApp, cause: &str) -> u64 {
    let reply = app.call("GET", "/metrics", &app.operator, None).await;
    let line = reply.expect_text(200).lines().find_map(|line| line.strip_prefix(&format!("ringback_faults_total{{cause=\"{cause}\"}} ")));
    line.expect("it is counted").parse().expect("a number")
}

async fn until_faults(app: &TestApp, count: u64) {
    until(&format!("{count} faults"), || async { (faults(app, "proxy").await >= count).then_some(()) }).await;
}

/// Nothing speaks against the endpoint, and nothing was tried.
async fn assert_untouched(app: &TestApp, endpoint: &Endpoint, events: &[String]) {
    for event in events {
        let delivery = app.delivery(endpoint, event).await;
        assert_eq!((&delivery["state"], attempts(&delivery).len()), (&json!("pending"), 0), "{delivery:#}");
        assert_eq!(delivery["next_attempt_at"], Value::Null, "it is due: {delivery:#}");
    }
    assert_eq!(app.read_endpoint(endpoint).await["status"], "connected");
}

// --- Through it ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn requests_go_through_the_proxy_to_the_judged_address() {
    let (proxy, hook) = (Proxy::start().await, Receiver::start().await);
    let url = format!("http://ringback:open%20sesame@{}", proxy.address);
    let app = TestApp::with(&[("proxy", &url)]).await;
    app.names.tell("hook.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"url": hook.url_as("hook.example")})).await;
    for number in 0..5 {
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        app.until_state(&endpoint, &event, "succeeded").await;
    }
    let address = hook.address;
    let head = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\nProxy-Authorization: Basic cmluZ2JhY2s6b3BlbiBzZXNhbWU=\r\n\r\n");
    assert_eq!(proxy.asked(), [head.clone(), head], "once for the handshake, once for all deliveries");
    let received = hook.received();
    assert_eq!((received.len(), hook.connections()), (5, 2));
    assert_eq!(received[0].header("host"), format!("hook.example:{}", address.port()));
    assert!(
        received.iter().all(|request| request.headers.iter().all(|(name, _)| !name.starts_with("proxy-"))),
        "it is told to nobody else"
    );
    app.finish().await;
}

#[tokio::test]
async fn tls_goes_through_the_tunnel_with_the_endpoints_name() {
    let (authority, proxy) = (Authority::new(), Proxy::start().await);
    let app = Setup::default().trust(authority.der()).set("require_https", "true").set("proxy", &proxy.url()).start().await;
    let hook = Receiver::start_tls(authority.server(&["hook.example"], 2100)).await;
    app.names.tell("hook.example", &["127.0.0.1"]);
    app.names.tell("other.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"url": hook.url_as("hook.example")})).await;
    let event = app.succeed_one(&vendor, "R-1").await;
    let delivery = app.until_state(&endpoint, &event, "succeeded").await;
    assert!(attempts(&delivery)[0]["phases"]["tls_ms"].is_number(), "{delivery:#}");
    assert!(proxy.asked().iter().all(|head| head.starts_with(&format!("CONNECT {} ", hook.address))));
    let other = app.endpoint(&vendor, json!({"url": hook.url_as("other.example")})).await;
    let seen = app.on(&other, "connect").await;
    assert_eq!(seen.code(422), "connect_failed");
    assert!(text(&seen.json()["seen"]["error"]).contains("not valid for name"), "{}", seen.text);
    app.finish().await;
}

#[tokio::test]
async fn the_guard_judges_before_the_proxy_is_asked() {
    let hook = Receiver::start().await;
    // Where no endpoint may be, the proxy may.
    let proxy = Proxy::at("127.0.0.2:0".parse().expect("an address")).await;
    let app = TestApp::with(&[("proxy", &format!("http://proxy.example:{}", proxy.address.port()))]).await;
    app.names.tell("proxy.example", &["127.0.0.2"]);
    app.names.tell("hook.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"url": hook.url_as("hook.example")})).await;
    assert_eq!(proxy.count(), 1);
    for (number, address) in ["127.0.0.2", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.2"].into_iter().enumerate() {
        app.names.tell("hook.example", &[address]);
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        let delivery = app.until_attempts(&endpoint, &event, 1).await;
        assert_eq!(attempts(&delivery)[0]["outcome"], "refused", "{delivery:#}");
    }
    assert_eq!((proxy.count(), hook.count()), (1, 0));
    app.finish_leaving(4).await;
}

// --- Whose fault it is ---------------------------------------------------------------------------------------------------

/// A proxy that does this costs no attempts, and when it works again everything arrives by itself.
async fn costs_nothing(mood: Mood) {
    let (proxy, hook) = (Proxy::start().await, Receiver::start().await);
    let app = app_behind(&proxy).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let strict = app.connected_with(&vendor, &hook, json!({"ordering": "strict"})).await;
    proxy.always(mood);
    let events = app.succeed(&vendor, references(5)).await;
    until_faults(&app, 1).await;
    for pause in [1, 2, 4] {
        let before = app.quiet(|| proxy.count()).await;
        app.advance(Duration::from_secs(pause));
        until("another try", || async { (proxy.count() > before).then_some(()) }).await;
    }
    assert_untouched(&app, &endpoint, &events).await;
    assert_untouched(&app, &strict, &events).await;
    for verb in ["connect", "test"] {
        let answer = app.on(&endpoint, verb).await;
        assert_eq!(answer.code(503), "unavailable");
        assert!(text(&answer.json()["detail"]).contains(&format!("proxy 127.0.0.1 port {}", proxy.address.port())), "{}", answer.text);
    }
    assert_untouched(&app, &endpoint, &events).await;
    assert_eq!(hook.count(), 0);
    proxy.always(Mood::Works);
    app.advance(LONGEST_PAUSE);
    app.until_count(&endpoint, "succeeded", 5).await;
    app.until_count(&strict, "succeeded", 5).await;
    for event in &events {
        assert_eq!(attempts(&app.delivery(&strict, event).await).len(), 1);
    }
    assert_eq!(faults(&app, "resources").await, 0);
    app.finish().await;
}

#[tokio::test]
async fn a_proxy_that_wants_a_password_costs_no_attempts() {
    costs_nothing(Mood::Says("HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n")).await;
}

#[tokio::test]
async fn a_proxy_that_forbids_it_costs_no_attempts() {
    costs_nothing(Mood::Says("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")).await;
}

#[tokio::test]
async fn a_proxy_that_does_not_understand_costs_no_attempts() {
    costs_nothing(Mood::Says("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")).await;
}

#[tokio::test]
async fn a_proxy_that_speaks_no_http_costs_no_attempts() {
    costs_nothing(Mood::Says("SSH-2.0-OpenSSH_9.6\r\n")).await;
}

#[tokio::test]
async fn a_proxy_that_closes_costs_no_attempts() {
    costs_nothing(Mood::Closes).await;
}

#[tokio::test]
async fn a_proxy_that_is_down_costs_no_attempts() {
    let (proxy, hook) = (Proxy::start().await, Receiver::start().await);
    let app = app_behind(&proxy).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"ordering": "strict"})).await;
    let address = proxy.address;
    drop(proxy);
    let events = app.succeed(&vendor, references(3)).await;
    for count in 1..4 {
        until_faults(&app, count).await;
        app.advance(LONGEST_PAUSE);
    }
    assert_untouched(&app, &endpoint, &events).await;
    let again = Proxy::at(address).await;
    app.advance(LONGEST_PAUSE);
    app.until_count(&endpoint, "succeeded", 3).await;
    let order: Vec<_> = hook.received().iter().map(Received::reference).collect();
    assert_eq!((order, again.count()), (references(3).collect(), 1));
    app.finish().await;
}

#[tokio::test]
async fn a_proxy_whose_name_does_not_resolve_costs_no_attempts() {
    let (proxy, hook) = (Proxy::start().await, Receiver::start().await);
    let app = TestApp::with(&[("proxy", &format!("http://proxy.example:{}", proxy.address.port()))]).await;
    app.names.tell("proxy.example", &["127.0.0.1"]);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    for (number, addresses) in [&[][..], &["127.0.0.3"]].into_iter().enumerate() {
        app.names.tell("proxy.example", addresses);
        let event = app.succeed_one(&vendor, &format!("R-{number}")).await;
        until_faults(&app, number as u64 + 1).await;
        assert_untouched(&app, &endpoint, &[event]).await;
        app.names.tell("proxy.example", &["127.0.0.1"]);
        app.advance(LONGEST_PAUSE);
        app.until_count(&endpoint, "succeeded", number + 1).await;
        // So that the next one needs a new connection.
        hook.next([crate::receiver::Answer::ThenClose]);
        app.succeed_one(&vendor, &format!("S-{number}")).await;
        app.until_count(&endpoint, "succeeded", 2 * number + 2).await;
    }
    app.finish().await;
}

#[tokio::test]
async fn a_deadline_that_passes_meanwhile_ends_as_blocked() {
    let (proxy, hook) = (Proxy::start().await, Receiver::start().await);
    let app = TestApp::with(&[("proxy", &proxy.url()), ("delivery_deadline", "1m")]).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    proxy.always(Mood::Closes);
    let event = app.succeed_one(&vendor, "R-1").await;
    for _ in 0..8 {
        app.advance(Duration::from_secs(10));
        app.quiet(|| proxy.count()).await;
    }
    let delivery = app.until_state(&endpoint, &event, "exhausted").await;
    assert_eq!((&delivery["end_reason"], attempts(&delivery).len()), (&json!("blocked"), 0));
    app.finish().await;
}

#[tokio::test]
async fn what_the_proxy_cannot_reach_is_unreachable() {
    let (proxy, hook) = (Proxy::start().await, Receiver::start().await);
    let app = app_behind(&proxy).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let answers = ["HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.0 503 Service Unavailable\r\n\r\n", "HTTP/1.1 504 Gateway Timeout\r\n\r\n"];
    for answer in answers {
        proxy.always(Mood::Says(answer));
        let event = app.succeed_one(&vendor, &answer[9..12]).await;
        let attempt = attempts(&app.until_attempts(&endpoint, &event, 1).await)[0].clone();
        assert_eq!(attempt["outcome"], "unreachable", "{attempt:#}");
        assert!(text(&attempt["error"]).contains(&format!("the proxy answered {}", &answer[9..12])), "{attempt:#}");
    }
    proxy.always(Mood::Works);
    let (gone, other) = (Receiver::start().await, app.vendor().await);
    let endpoint = app.connected(&other, &gone).await;
    drop(gone);
    let event = app.succeed_one(&other, "R-1").await;
    let attempt = attempts(&app.until_attempts(&endpoint, &event, 1).await)[0].clone();
    assert_eq!(attempt["outcome"], "unreachable", "{attempt:#}");
    assert_eq!(faults(&app, "proxy").await, 0);
    app.finish_leaving(4).await;
}

#[tokio::test]
async fn a_target_that_the_proxy_is_still_dialling_is_timed_out() {
    let (proxy, hook) = (Proxy::start().await, Receiver::start().await);
    let app = TestApp::with(&[("proxy", &proxy.url()), ("connect_timeout", "200ms")]).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    proxy.always(Mood::Hangs);
    let event = app.succeed_one(&vendor, "R-1").await;
    let attempt = attempts(&app.until_attempts(&endpoint, &event, 1).await)[0].clone();
    assert_eq!((&attempt["outcome"], &attempt["error"]), (&json!("timed_out"), &json!("no connection within 0.2 s")));
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn a_target_that_the_proxy_forbids_holds_up_no_other() {
    let (proxy, hook, forbidden) = (Proxy::start().await, Receiver::start().await, Receiver::start().await);
    let app = app_behind(&proxy).await;
    let (vendor, other) = (app.vendor().await, app.vendor().await);
    let endpoint = app.connected(&vendor, &hook).await;
    let poor = app.connected(&other, &forbidden).await;
    let target = forbidden.address.to_string();
    proxy.script(move |asked| if asked == target { Mood::Says("HTTP/1.1 403 Forbidden\r\n\r\n") } else { Mood::Works });
    app.succeed(&other, references(3)).await;
    until_faults(&app, 1).await;
    let events = app.succeed(&vendor, references(50)).await;
    // Without the clock being moved.
    app.until_count(&endpoint, "succeeded", events.len()).await;
    assert_eq!(app.count(&poor, "pending").await, 3);
    app.finish_leaving(3).await;
}
