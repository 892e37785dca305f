//! Others have taken all connections of PostgreSQL: nothing is accepted that is not kept, that is told, and it goes on by itself.

use std::time::Duration;

use http::StatusCode;
use ringback::domain::secret::Secret;
use ringback::wire::standard;
use serde_json::json;
use tokio_postgres::{Client as Connection, NoTls};

use super::api::text;
use super::kill::ready;
use super::postgres::Postgres;
use super::receiver::{Moods, Receiver};
use super::server::{self, Server};
use super::wait;

const WITHIN: Duration = Duration::from_secs(40);

async fn connection(postgres: &Postgres) -> Option<Connection> {
    let (client, connection) = tokio_postgres::connect(&postgres.url(), NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_connections_nothing_is_accepted_and_nothing_lost() {
    let postgres = Postgres::start();
    let server = Server::start_on_postgres(&[("SHARD_LEASE", "1s")], postgres.url());
    let (mut client, receiver) = (server.operator(), Receiver::start().await);
    let vendor = server::new_vendor(&mut client, "shop").await;
    let secret = Secret::new([5; 32]);
    let url = receiver.open("shop", secret.clone(), Moods::default(), 1);
    let endpoint = server::new_endpoint(&mut client, &vendor, json!({"url": url, "secret": standard::secret_text(&secret)})).await;
    let endpoint = text(&endpoint, "id").to_owned();
    let report = |number: u32| json!({"reports": [{"vendor_id": vendor, "reference_no": format!("R-{number}"), "status": "success"}]});
    client.post("/v1/reports", &report(1)).await;

    let mut taken = vec![connection(&postgres).await.expect("a connection")];
    const CUT: &str =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'ringback%' AND pid <> pg_backend_pid()";
    // It wants its connections back, so that they are taken as they come free.
    wait::until("the server has no connection any more", WITHIN, async || {
        taken[0].execute(CUT, &[]).await.expect("they are cut");
        while let Some(another) = connection(&postgres).await {
            taken.push(another);
        }
        ready(&server).await == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let (status, answer) = client.call(http::Method::POST, "/v1/reports", Some(&report(2))).await.expect("an answer");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");

    drop(taken);
    wait::until("the server has its connections again", WITHIN, async || ready(&server).await.is_success()).await;
    for number in 2..=3 {
        client.post("/v1/reports", &report(number)).await;
    }
    wait::until("all have ended", WITHIN, async || !client.has_pending(&vendor, &endpoint).await).await;
    assert_eq!(client.feed(&vendor).await.len(), 3);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
