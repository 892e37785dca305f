//! Connections of strangers: how long they may live, and how many there may be.

use std::net::SocketAddr;
use std::time::Duration;

use ringback::clock::Stopwatch;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Request, send};
use crate::harness::{TestApp, until};

/// Longer than any limit of these tests.
const PATIENCE: Duration = Duration::from_secs(10);
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

async fn connect(app: &TestApp) -> TcpStream {
    TcpStream::connect(app.address).await.expect("the server listens")
}

async fn connect_from(app: &TestApp, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(address.parse().expect("an address"), 0)).expect("it is this machine's");
    socket.connect(app.address).await.expect("the server listens")
}

/// One answer, as far as it has come at once.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.expect("it is sent");
    let mut answer = vec![0; 4096];
    let length = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("it is answered").unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// What comes until the server closes the connection, and after which time.
async fn until_closed(stream: &mut TcpStream) -> (String, Duration) {
    let (mut rest, watch) = (Vec::new(), Stopwatch::start());
    // A reset is an end as well.
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes it"));
    (String::from_utf8_lossy(&rest).into_owned(), watch.elapsed())
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let app = TestApp::with(&[("header_timeout", "300ms")]).await;
    for begun in [&b""[..], b"GET /healthz HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = connect(&app).await;
        stream.write_all(begun).await.expect("it is sent");
        let (answer, after) = until_closed(&mut stream).await;
        assert_eq!(answer, "");
        assert!(after >= Duration::from_millis(200), "{after:?}");
    }
    let mut kept = connect(&app).await;
    assert!(ask(&mut kept, HEALTH).await.starts_with("HTTP/1.1 200"));
    kept.write_all(&HEALTH[..10]).await.expect("it is sent");
    assert_eq!(until_closed(&mut kept).await.0, "", "the head of a later request");
    app.finish().await;
}

#[tokio::test]
async fn a_connection_is_kept_alive_for_its_idle_time() {
    let app = TestApp::with(&[("header_timeout", "300ms"), ("idle_timeout", "3s")]).await;
    let mut stream = connect(&app).await;
    for _ in 0..3 {
        assert!(ask(&mut stream, HEALTH).await.starts_with("HTTP/1.1 200"));
        // Longer than a head may take: an idle connection is another thing.
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    let (answer, after) = until_closed(&mut stream).await;
    assert!(answer.is_empty() && after >= Duration::from_millis(1500), "{answer} {after:?}");
    app.finish().await;
}

#[tokio::test]
async fn a_body_that_does_not_end_is_given_up_and_a_waiting_call_is_not() {
    let app = TestApp::with(&[("header_timeout", "200ms"), ("body_timeout", "400ms"), ("idle_timeout", "300ms")]).await;
    let mut stream = connect(&app).await;
    let head = format!("POST /v1/reports HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{", app.operator);
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let (answer, after) = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"code\":\"timeout\""), "{answer}");
    assert!(after < Duration::from_secs(5), "{after:?}");
    let vendor = app.vendor().await;
    let waiting = Request { method: "GET", path: "/v1/events?wait=30", token: Some(&vendor.live), ..Request::default() };
    let (waited, ()) = tokio::join!(send(app.address, waiting), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let report = json!({"vendor_id": vendor.id, "reference_no": "R-1", "status": "success"});
        app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
    });
    assert_eq!(waited.expect(200)["data"].as_array().map(Vec::len), Some(1));
    app.finish_leaving(0).await;
}

#[tokio::test]
async fn connections_without_a_request_make_room_for_requests() {
    let app = TestApp::with(&[("max_connections_per_address", "4")]).await;
    let mut oldest = connect_from(&app, "127.0.0.9").await;
    assert!(ask(&mut oldest, HEALTH).await.starts_with("HTTP/1.1 200"));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(connect_from(&app, "127.0.0.9").await);
    }
    let mut next = connect_from(&app, "127.0.0.9").await;
    assert!(ask(&mut next, HEALTH).await.starts_with("HTTP/1.1 200"));
    assert_eq!(until_closed(&mut oldest).await.0, "", "the one that was idle for longest");
    let mut elsewhere = connect_from(&app, "127.0.0.8").await;
    assert!(ask(&mut elsewhere, HEALTH).await.starts_with("HTTP/1.1 200"), "others have a bound of their own");
    app.finish().await;
}

#[tokio::test]
async fn connections_with_requests_are_kept_and_others_refused() {
    let app = TestApp::with(&[("max_connections_per_address", "3"), ("trusted_proxies", "127.0.0.5")]).await;
    let vendor = app.vendor().await;
    let follow = format!("GET /v1/events/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", vendor.live);
    let mut following = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from(&app, "127.0.0.9").await;
        assert!(ask(&mut stream, follow.as_bytes()).await.starts_with("HTTP/1.1 200"));
        following.push(stream);
    }
    let refused = until_closed(&mut connect_from(&app, "127.0.0.9").await).await.0;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
    let mut proxied = Vec::new();
    for _ in 0..6 {
        let mut stream = connect_from(&app, "127.0.0.5").await;
        assert!(ask(&mut stream, HEALTH).await.starts_with("HTTP/1.1 200"), "a proxy's connections are those of many callers");
        proxied.push(stream);
    }
    drop(following);
    until("there is room again", || async {
        ask(&mut connect_from(&app, "127.0.0.9").await, HEALTH).await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn the_bound_of_all_connections_holds_whatever_their_addresses() {
    let app = TestApp::with(&[("max_connections", "8")]).await;
    let mut held = Vec::new();
    for last in 10..40 {
        held.push(connect_from(&app, &format!("127.0.0.{last}")).await);
    }
    let mut stream = connect_from(&app, "127.0.0.9").await;
    assert!(ask(&mut stream, HEALTH).await.starts_with("HTTP/1.1 200"));
    for mut closed in held.drain(..20) {
        assert_eq!(until_closed(&mut closed).await.0, "");
    }
    app.finish().await;
}
