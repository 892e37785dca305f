//! `ringback migrate-store`: a running installation's file, moved to PostgreSQL, also when the move is killed.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ringback::domain::secret::Secret;
use ringback::wire::standard;
use serde_json::{Value, json};

use super::api::{Client, text};
use super::postgres::Postgres;
use super::receiver::{Moods, Receiver};
use super::server::{Server, new_endpoint, new_vendor};
use super::wait;

const RECHARGES: usize = 6000;
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// What there is to be seen of everything, through the API.
async fn everything(client: &mut Client, vendor: &str) -> Vec<Value> {
    let mut seen = client.feed(vendor).await;
    for list in ["recharges", "endpoints", "deliveries", "replays"] {
        seen.extend(client.list(&format!("/v1/{list}?vendor_id={vendor}")).await);
    }
    for list in [&*format!("/v1/vendors/{vendor}/tokens"), "/v1/conflicts", "/v1/audit"] {
        seen.extend(client.get(list).await["data"].as_array().expect("a list has data").iter().cloned());
    }
    seen.push(client.get("/v1/overview").await["recharges"].clone());
    // The age of what waits grows.
    seen.iter_mut()
        .filter_map(|item| item.get_mut("backlog")?.as_object_mut())
        .for_each(|backlog| backlog.retain(|name, _| name == "open"));
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_is_in_postgresql_after_a_move_that_was_killed() {
    let postgres = Postgres::start();
    let mut server = Server::start(&[("RETRY_SCHEDULE", "1h")]);
    let token = server.operator_token();
    let mut client = Client::new(server.subscribe(), token.clone());
    let receiver = Receiver::start().await;
    let vendor = new_vendor(&mut client, "moved").await;
    let secret = Secret::new(vec![5; 32]);
    let told = standard::secret_text(&secret);
    let url = receiver.open("moved", secret, Moods { failing: 10, slow: 0 }, 1);
    new_endpoint(&mut client, &vendor, json!({"url": url, "secret": told, "headers": {"x-receiver": "seven"}})).await;
    for first in (0..RECHARGES).step_by(500) {
        let report = |at| json!({"vendor_id": vendor, "reference_no": format!("INV-{at}"), "status": if at % 3 == 0 { "queued" } else { "success" }, "amount": "50.00", "currency": "NPR", "reason": "Größe, नेपाल"});
        let reports: Vec<Value> = (first..first + 500).map(report).collect();
        client.post("/v1/reports", &json!({"reports": reports})).await;
    }
    client.post("/v1/reports", &json!({"reports": [{"vendor_id": vendor, "reference_no": "INV-1", "status": "failed"}]})).await;
    wait::until("most is delivered", DELIVERED_WITHIN, async || receiver.accepted("moved") > RECHARGES / 2).await;
    let running = move_to(&server, &postgres.url());
    assert!(said(&running).contains("another ringback serves"), "it is moved only while nobody writes to it: {}", said(&running));
    assert!(server.terminate().await.success());
    server.restart();
    let before = everything(&mut Client::new(server.subscribe(), token.clone()), &vendor).await;
    assert!(server.terminate().await.success());

    // Killed again and again, it comes to its end all the same.
    let mut kills = 0;
    for wait in (0..).map(|round| Duration::from_millis(60 + 40 * round)) {
        let mut child = command(&server, &postgres.url()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        tokio::time::sleep(wait).await;
        if child.try_wait().expect("its state is known").is_some() {
            let ended = child.wait_with_output().expect("it has ended");
            // The one before may have been killed when all was done.
            assert!(ended.status.success() || said(&ended).contains("the target is not empty"), "{}", said(&ended));
            break;
        }
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        kills += 1;
    }
    assert!(kills > 1, "it was killed in its course");
    let nodes = Server::start_on_postgres_with_key(&[], postgres.url(), &server.key());
    let mut client = Client::new(nodes.subscribe(), token);
    let after = everything(&mut client, &vendor).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());

    // It goes on where it was: numbers, secrets, and what was still to be delivered.
    let more =
        client.post("/v1/reports", &json!({"reports": [{"vendor_id": vendor, "reference_no": "INV-after", "status": "success"}]})).await;
    let recharge = client.get(&format!("/v1/recharges/{}", text(&more["results"][0], "recharge_id"))).await;
    assert_eq!(recharge["transaction_id"], 100_001 + RECHARGES, "the next number");
    wait::until("the new one is delivered", DELIVERED_WITHIN, async || {
        let event = text(&more["results"][0], "event_id").to_owned();
        receiver.look("moved", |mailbox| mailbox.got.contains_key(&event))
    })
    .await;

    let again = move_to(&server, &postgres.url());
    assert!(!again.status.success() && said(&again).contains("the target is not empty"), "{}", said(&again));
}

#[test]
fn what_cannot_be_moved_is_told_all_at_once() {
    for (from, to, code, tells) in [
        ("x", "y", 64, ["--from must be", "--to must be"]),
        (
            "sqlite:nothing/here.db",
            "postgres://ringback@127.0.0.1:1/x",
            1,
            ["there is no database at nothing/here.db", "name it with --from"],
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ringback")).args(["migrate-store", "--from", from, "--to", to]).env_clear().output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(code));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(tells.iter().all(|part| said.contains(part)), "{said}");
    }
}

fn command(server: &Server, to: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
    command.args(["migrate-store", "--from", &format!("sqlite:{}", server.database().display()), "--to", to]).env_clear();
    command
}

fn move_to(server: &Server, to: &str) -> Output {
    command(server, to).output().expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
