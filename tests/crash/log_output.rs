//! A log that cannot be written costs log lines and nothing else.

use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ringback::domain::secret::Secret;
use serde_json::json;
use tempfile::TempDir;

use super::receiver::{Moods, Receiver};
use super::server::{self, Server};
use super::wait;

const WITHIN: Duration = Duration::from_secs(30);
/// Each attempt that fails has a line in the log.
const SETTINGS: [(&str, &str); 2] = [("LOG", "debug"), ("RETRY_SCHEDULE", "1s")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_go_on_while_nobody_reads_the_log() {
    // A pipe whose reader has ended, a device that is full, and a pipe that is not read.
    for log in ["closed", "full", "unread"] {
        let folder = TempDir::new().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        // Without a reader the shell would wait.
        let reader = std::fs::OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(&pipe);
        let reader = reader.expect("it opens");
        let target = if log == "full" { "/dev/full".to_owned() } else { pipe.display().to_string() };
        let disk = folder.path().to_owned();
        let mut server = Server::start_on(&SETTINGS, folder, disk, Some(format!("exec 2>{target}")));
        let reader = (log == "unread").then_some(reader);
        let (mut client, receiver) = (server.operator(), Receiver::start().await);
        let vendor = server::new_vendor(&mut client, "shop").await;
        let url = receiver.open("shop", Secret::new([5; 32]), Moods { failing: 300, slow: 0 }, 1);
        let secret = format!("whsec_{}", BASE64.encode([5; 32]));
        server::new_endpoint(&mut client, &vendor, json!({"url": url, "secret": secret})).await;
        for number in 0..40 {
            let report = json!({"vendor_id": vendor, "reference_no": format!("R-{number}"), "status": "success"});
            client.post("/v1/reports", &json!({"reports": [report]})).await;
        }
        wait::until("all arrive", WITHIN, async || receiver.accepted("shop") == 41).await;
        if log != "unread" {
            let metrics = client.text("/metrics").await;
            let dropped = metrics.lines().find_map(|line| line.strip_prefix("ringback_log_lines_dropped_total ")).expect("the metric");
            assert!(dropped.parse::<f64>().expect("a number") > 0.0, "{log}: {dropped}");
        }
        drop(client);
        assert!(server.terminate().await.success(), "{log}: it drains and ends well");
        drop(reader);
    }
}
