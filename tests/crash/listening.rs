//! `ringback listen` whose connection to the server is cut again and again: every event arrives, in order, and none is left out.

use std::process::Command;
use std::time::Duration;

use ringback::domain::secret::Secret;
use ringback::wire::standard;
use serde_json::json;

use super::api::text;
use super::cutter::Cutter;
use super::programs::Beside;
use super::receiver::{Moods, Receiver};
use super::server::Server;
use super::wait;

const EVENTS: usize = 30;
const MAILBOX: &str = "here";
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_leaves_no_gap() {
    let (server, receiver) = (Server::start(&[]), Receiver::start().await);
    let cutter = Cutter::start(server.address().port()).await;
    let mut client = server.operator();
    let vendor = client.post("/v1/vendors", &json!({"name": "shop", "email": "shop@example.com"})).await;
    let (vendor, token) = (text(&vendor, "id").to_owned(), text(&vendor, "live_token").to_owned());
    let secret = Secret::new(vec![7; 32]);
    let (url, secret) = (receiver.open(MAILBOX, secret.clone(), Moods::default(), 1), standard::secret_text(&secret));
    let from = format!("http://127.0.0.1:{}", cutter.port);
    let mut listen = Command::new(env!("CARGO_BIN_EXE_ringback"));
    listen.args(["listen", "--server", &from, "--token", &token, "--since", "0", "--forward", &url, "--secret", &secret]);
    listen.env_clear();
    let _listening = Beside::start(listen);

    for number in 0..EVENTS {
        let report = json!({"vendor_id": vendor, "reference_no": format!("R-{number}"), "status": "success"});
        client.post("/v1/reports", &json!({"reports": [report]})).await;
        if number.is_multiple_of(10) {
            // It waits for the next event, or is in the midst of one.
            wait::until("it follows", WITHIN, async || receiver.accepted(MAILBOX) > number / 2).await;
            cutter.cut();
        }
    }
    wait::until("each event has arrived", WITHIN, async || receiver.accepted(MAILBOX) >= EVENTS).await;
    let feed: Vec<String> = client.feed(&vendor).await.iter().map(|event| text(event, "id").to_owned()).collect();
    assert_eq!(receiver.look(MAILBOX, |mailbox| mailbox.accepted.clone()), feed, "all of them, in order");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
