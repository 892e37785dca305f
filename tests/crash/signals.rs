//! Signals that the server was started to ignore.

use std::time::Duration;

use http::StatusCode;

use super::server::Server;

/// `nohup` and scripts that run something in the background start it with these ignored.
#[tokio::test]
async fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().to_owned();
    let mut server = Server::start_on(&[], folder, disk, Some("trap '' HUP INT".to_owned()));
    server.signal("-HUP");
    server.signal("-INT");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.operator().status("/readyz").await, StatusCode::OK, "it runs on");
    assert!(server.terminate().await.success(), "SIGTERM stops it all the same");
}
