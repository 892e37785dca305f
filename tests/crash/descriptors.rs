//! No file descriptor is left: that is not the endpoints' doing, and costs none of their attempts. More receivers than
//! descriptors: kept connections leave enough of them for everything else.

use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::StatusCode;
use ringback::clock::Stopwatch;
use ringback::domain::secret::Secret;
use serde_json::json;

use super::api::text;
use super::receiver::{Moods, Receiver};
use super::server::{self, Server};
use super::wait;

const FILES_MAX: usize = 80;
const EVENTS: usize = 20;
/// With an endpoint for each, and few enough requests at a time to leave some of [`FILES`] free.
const RECEIVERS: usize = 400;
const FILES: usize = 200;
const IN_FLIGHT: &str = "32";
const WITHIN: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_deliveries_wait_and_spend_no_attempts() {
    let server = Server::start_with_files(
        &[("LOG", "info"), ("MAX_CONNECTIONS", "100000"), ("MAX_CONNECTIONS_PER_ADDRESS", "100000"), ("HEADER_TIMEOUT", "1h")],
        FILES_MAX,
    );
    let (mut client, receiver) = (server.operator(), Receiver::start().await);
    let vendor = server::new_vendor(&mut client, "shop").await;
    let url = receiver.open("shop", Secret::new([5; 32]), Moods::default(), 1);
    let secret = format!("whsec_{}", BASE64.encode([5; 32]));
    let endpoint = server::new_endpoint(&mut client, &vendor, json!({"url": url, "secret": secret})).await;
    let endpoint = text(&endpoint, "id").to_owned();

    let idle = take_all_descriptors(&server).await;
    // The client's connection is older, so that the API still answers on it.
    let report = |number| json!({"vendor_id": vendor, "reference_no": format!("R-{number}"), "status": "success"});
    client.post("/v1/reports", &json!({"reports": (0..EVENTS).map(report).collect::<Vec<_>>()})).await;
    wait::until("two pauses have been begun", WITHIN, async || faults(&mut client).await >= 2).await;
    let waiting = client.list(&format!("/v1/deliveries?vendor_id={vendor}&endpoint_id={endpoint}&state=pending")).await;
    assert_eq!(waiting.len(), EVENTS);
    let untouched = |delivery: &&serde_json::Value| delivery["attempts"] == json!([]) && delivery["next_attempt_at"].is_null();
    assert_eq!(waiting.iter().filter(untouched).count(), EVENTS, "no attempt is spent: {:#}", waiting[0]);
    assert_eq!(receiver.accepted("shop"), 1, "the handshake");

    drop(idle);
    wait::until("all go out", WITHIN, async || receiver.accepted("shop") == 1 + EVENTS).await;
    wait::until("all have ended", WITHIN, async || !client.has_pending(&vendor, &endpoint).await).await;
    let log = server.log();
    let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    // Not once for each delivery. The connections that were still waiting to be accepted may take all descriptors once more.
    let told = lines("nothing can be sent; deliveries wait and spend no attempts");
    assert!((1..=2).contains(&told), "{log}");
    assert!(log.contains("Too many open files"), "{log}");
    assert_eq!(lines("requests get through again"), told, "{log}");
}

/// Opens connections until the server has no descriptor left, and more of them wait to be accepted, so that one that
/// is free for a moment is taken too (after a failure the server accepts nothing for a second).
async fn take_all_descriptors(server: &Server) -> Vec<TcpStream> {
    let (mut idle, mut full_since) = (Vec::new(), None::<Stopwatch>);
    wait::until("all descriptors are taken, and stay so", WITHIN, async || {
        if idle.len() < 2 * FILES_MAX {
            idle.push(TcpStream::connect(server.address()).expect("the system takes it"));
        }
        full_since = if server.open_files() < FILES_MAX { None } else { full_since.or_else(|| Some(Stopwatch::start())) };
        full_since.is_some_and(|since| since.elapsed() > Duration::from_secs(2))
    })
    .await;
    idle
}

/// Requests that could not be made for lack of resources, so far.
async fn faults(client: &mut super::api::Client) -> u64 {
    let metrics = client.text("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("ringback_faults_total{cause=\"resources\"} "));
    line.expect("it is counted").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_receivers_than_descriptors_are_no_shortage() {
    let server = Server::start_with_files(&[("MAX_IN_FLIGHT", IN_FLIGHT)], FILES);
    let (mut client, receiver) = (server.operator(), Receiver::start().await);
    let url = receiver.open("all", Secret::new([5; 32]), Moods::default(), 1);
    let secret = format!("whsec_{}", BASE64.encode([5; 32]));
    let mut vendors = Vec::new();
    for number in 0..RECEIVERS {
        let vendor = server::new_vendor(&mut client, &format!("shop-{number}")).await;
        server::new_endpoint(&mut client, &vendor, json!({"url": url, "secret": secret})).await;
        vendors.push(vendor);
    }

    let mut most = 0;
    for round in 1..=2 {
        let report = |vendor: &String| json!({"vendor_id": vendor, "reference_no": format!("R-{round}"), "status": "success"});
        for some in vendors.chunks(100) {
            client.post("/v1/reports", &json!({"reports": some.iter().map(report).collect::<Vec<_>>()})).await;
        }
        wait::until("each has its event", WITHIN, async || {
            most = most.max(server.open_files());
            receiver.accepted("all") == RECEIVERS * (1 + round)
        })
        .await;
        assert_eq!(server.operator().status("/readyz").await, StatusCode::OK, "a new connection is served");
    }
    assert!(most > FILES / 2, "connections are kept, up to half of what there is: {most}");
    assert!(most < FILES * 9 / 10, "some are left: {most}");
    assert_eq!(faults(&mut client).await, 0, "the server's log:\n{}", server.log());
}
