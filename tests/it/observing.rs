//! What the program lets people and machines see of it.

use std::io::BufRead;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::client::{Reply, Request, send, try_send};
use crate::harness::{TestApp, until};
use crate::process_errors::{KEY, Place, Server, connected, log_of, one_line, run};
use crate::receiver::{Answer, Receiver};

// --- Logs --------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn log_lines_are_json_where_that_is_asked_for() {
    let (place, hook) = (Place::with_database(), Receiver::start().await);
    let mut server = Server::with(&place, &[("log", "ringback=debug"), ("log_format", "json")]);
    let token = place.token();
    let (vendor, live) = connected(&server, &token, &hook).await;
    hook.next([Answer::status(500)]);
    let reports = json!({"reports": [{"vendor_id": vendor, "reference_no": "R-1", "status": "success"}]});
    server.call("POST", "/v1/reports", &token, reports).await.expect(200);
    until("the second attempt", || async { (hook.count() == 2).then_some(()) }).await;
    let headers = &[("x-request-id", "proxy-7")];
    let asked = send(server.address, Request { method: "GET", path: "/v1/recharges", token: Some(&live), headers, ..Request::default() });
    assert_eq!(asked.await.header("x-request-id"), Some("proxy-7"), "a proxy's id is kept");
    server.terminate();
    assert_eq!(server.ended().await, Some(0));
    let log = log_of(place.folder.path());
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string()), "{log}");
    let find = |message: &'static str| lines.iter().filter(move |line| line["message"] == message);
    let attempts: Vec<&Value> = find("attempted a delivery").collect();
    assert_eq!(attempts.len(), 2, "one line each: {log}");
    let failed = attempts[0];
    assert_eq!((&failed["outcome"], &failed["status"], &failed["attempt"]), (&json!("rejected"), &json!(500), &json!(1)));
    assert!(failed["endpoint.id"].as_str().is_some_and(|id| id.starts_with("ep_")), "{failed}");
    assert_eq!(attempts[1]["outcome"], "succeeded");
    let started = find("started").next().expect("the start is logged");
    assert!(started["listen"] == server.address.to_string() && started["database"] == place.file().display().to_string(), "{started}");
    assert_eq!(find("stopped").count(), 1);
    let request = find("answered a request").find(|line| line["span"]["id"] == "proxy-7").expect("the request is logged with its id");
    assert_eq!((&request["method"], &request["route"], &request["status"]), (&json!("GET"), &json!("/v1/recharges"), &json!(200)));
    assert!(!log.contains(&token) && !log.contains(&live), "no token is logged");
}

#[tokio::test]
async fn the_log_has_the_address_that_a_vendor_is_not_told() {
    let place = Place::with_database();
    let (token, server) = (place.token(), Server::start(&place));
    let vendor = server.call("POST", "/v1/vendors", &token, json!({"name": "Shop", "email": "shop@example.com"})).await.expect(201);
    let live = vendor["live_token"].as_str().expect("a token").to_owned();
    let literal = server.call("POST", "/v1/endpoints", &live, json!({"url": "http://10.1.2.3:8080/"})).await.expect(422).to_string();
    assert!(literal.contains("the address is forbidden") && !literal.contains("10.0.0.0"), "{literal}");
    let line = "refused an endpoint with a forbidden address address=10.1.2.3";
    until("the line is in the log", || async { log_of(place.folder.path()).contains(line).then_some(()) }).await;
}

#[test]
fn another_log_format_is_refused() {
    let said = one_line(&run(&[("log_format", "xml")], &["config", "check"]), 64);
    assert!(said.contains("log_format must be text or json"), "{said}");
}

// --- An address for health and metrics -----------------------------------------------------------------------------------

const HEALTH: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

async fn ask(address: SocketAddr, path: &str) -> Reply {
    send(address, Request { method: "GET", path, ..Request::default() }).await
}

#[tokio::test]
async fn health_and_metrics_move_to_an_address_of_their_own() {
    let app = TestApp::with(&[("metrics_listen", "127.0.0.1:0")]).await;
    let address = app.metrics_address.expect("an address of their own");
    for path in HEALTH {
        assert_eq!(ask(app.address, path).await.code(404), "not_found", "{path}");
        assert!(!ask(address, path).await.expect_text(200).is_empty(), "{path}");
    }
    assert!(ask(address, "/metrics").await.text.contains("ringback_backlog"));
    for path in ["/openapi.json", "/v1/vendors"] {
        assert_eq!(ask(address, path).await.code(404), "not_found", "{path}");
    }
    ask(app.address, "/openapi.json").await.expect(200);
    app.vendor().await;
    app.finish().await;
}

#[tokio::test]
async fn without_one_they_stay_with_the_api() {
    let app = TestApp::start().await;
    assert_eq!(app.metrics_address, None);
    for path in ["/healthz", "/readyz"] {
        assert!(!ask(app.address, path).await.expect_text(200).is_empty(), "{path}");
    }
    assert_eq!(ask(app.address, "/metrics").await.code(401), "unauthorized", "everybody reaches this address");
    assert!(app.get("/metrics", &app.operator).await.expect_text(200).contains("ringback_backlog"));
    app.finish().await;
}

#[tokio::test]
async fn the_program_tells_both_addresses_and_leaves_both_in_an_orderly_way() {
    let place = Place::with_database();
    let mut server = Server::with(&place, &[("metrics_listen", "127.0.0.1:0")]);
    let mut line = String::new();
    server.says.read_line(&mut line).expect("a second line");
    let address: SocketAddr = line.trim().strip_prefix("metrics on http://").expect("their address").parse().expect("an address");
    assert_ne!(address, server.address);
    ask(address, "/readyz").await.expect_text(200);
    server.terminate();
    assert_eq!(server.ended().await, Some(0), "{}", log_of(place.folder.path()));
    assert!(try_send(address, Request { method: "GET", path: "/healthz", ..Request::default() }).await.is_none());
}

#[tokio::test]
async fn an_address_for_metrics_that_is_taken_is_told() {
    let (place, taken) = (Place::with_database(), Receiver::start().await);
    let address = taken.address.to_string();
    let settings = [("master_key", KEY), ("metrics_listen", &address), ("listen", "127.0.0.1:0"), ("database", &place.database())];
    let output = run(&settings, &["serve"]);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true), "nothing is announced");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().last().is_some_and(|line| line.contains(&address) && line.contains("metrics_listen")), "{said}");
}
