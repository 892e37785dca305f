//! A kill between what a mail tells of and the mail, and between the mail and the note that it was sent.

use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::api::{Client, text};
use super::mail_server::MailServer;
use super::server::{self, Server};
use super::wait;

/// A mail that could not be sent is tried again a minute later.
const MAILED_WITHIN: Duration = Duration::from_secs(90);
const DISABLED_WITHIN: Duration = Duration::from_secs(20);

/// A receiver that is gone for good once it has been connected; answers its URL.
async fn gone() -> String {
    let answer = async |body: Bytes| match serde_json::from_slice::<Value>(&body) {
        Ok(event) if event["type"] == "webhook.test" => StatusCode::NO_CONTENT,
        _ => StatusCode::GONE,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let router = Router::new().route("/hook", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/hook")
}

/// A server with an endpoint that a rule has disabled; answers the endpoint's id.
async fn scene(mails: &MailServer) -> (Server, Client, String) {
    let url: &'static str = String::leak(mails.url());
    let server = Server::start(&[("SMTP_URL", url), ("MAIL_FROM", "ringback@example.net")]);
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "shop").await;
    let endpoint = server::new_endpoint(&mut client, &vendor, json!({"url": gone().await})).await;
    let id = text(&endpoint, "id").to_owned();
    let report = json!({"reports": [{"vendor_id": vendor, "reference_no": "R-1", "status": "success"}]});
    client.post("/v1/reports", &report).await;
    let path = format!("/v1/endpoints/{id}");
    wait::until("it is disabled", DISABLED_WITHIN, async || client.get(&path).await["status"] == "disabled").await;
    (server, client, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_goes_out_after_a_kill_that_came_before_it() {
    let mut mails = MailServer::closed();
    let (mut server, mut client, id) = scene(&mails).await;
    server.kill();
    mails.start();
    server.restart();
    wait::until("the mail arrives", MAILED_WITHIN, async || !mails.all().is_empty()).await;
    let got = mails.all();
    assert!(got.len() == 1 && text(&got[0], "text").contains(&id), "{got:#?}");
    client.restarted().await;
    wait::until("it is noted", DISABLED_WITHIN, async || client.get("/v1/overview").await["alerts_waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_a_mail_and_its_note_repeats_it_with_the_same_id() {
    let mails = MailServer::open();
    mails.answer("hold");
    let (mut server, mut client, _) = scene(&mails).await;
    wait::until("the mail arrives", MAILED_WITHIN, async || mails.all().len() == 1).await;
    server.kill();
    mails.answer("");
    server.restart();
    wait::until("it arrives again", MAILED_WITHIN, async || mails.all().len() == 2).await;
    let got = mails.all();
    assert_eq!((&got[0]["message_id"], &got[0]["text"]), (&got[1]["message_id"], &got[1]["text"]));
    client.restarted().await;
    wait::until("it is noted", DISABLED_WITHIN, async || client.get("/v1/overview").await["alerts_waiting"] == 0).await;
    assert_eq!(mails.all().len(), 2);
}
