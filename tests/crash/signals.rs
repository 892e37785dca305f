//! Signals that the server was started to ignore, and signals that come twice.

use std::time::Duration;

use http::StatusCode;

use super::server::Server;

/// `nohup` starts it with SIGHUP ignored, and scripts with SIGINT ignored for what they run in the background.
#[tokio::test]
async fn a_hangup_that_was_ignored_at_the_start_stays_ignored_and_an_interrupt_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().to_owned();
    let mut server = Server::start_on(&[], folder, disk, Some("trap '' HUP INT".to_owned()));
    server.signal("-HUP");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.operator().status("/readyz").await, StatusCode::OK, "it runs on");
    assert!(server.stops_after("-INT").await.success(), "SIGINT stops it all the same");
}
