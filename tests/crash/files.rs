//! The database's files: torn, older than what was committed, removed or replaced under a running server, and opened by a second
//! name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use super::api::Client;
use super::server::{self, Server};
use super::wait;

const WITHIN: Duration = Duration::from_secs(20);

fn beside(database: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", database.display()))
}

async fn report(client: &mut Client, vendor: &str, name: &str, count: usize) {
    let report =
        |number| json!({"vendor_id": vendor, "reference_no": format!("{name}-{number}"), "status": "success", "reason": "x".repeat(100)});
    client.post("/v1/reports", &json!({"reports": (0..count).map(report).collect::<Vec<_>>()})).await;
}

/// A start that is refused, in one line.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.trim().lines().count()), (Some(1), 1), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

fn serve(server: &Server) -> Output {
    server.beside(&["serve", "--listen", "127.0.0.1:0"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_copy_is_not_served() {
    let mut server = Server::start(&[]);
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "shop").await;
    report(&mut client, &vendor, "early", 1000).await;
    drop(client);
    server.terminate().await;
    let early = fs::read(server.database()).expect("it is read");
    server.restart();
    let mut client = server.operator();
    for number in 0..5 {
        report(&mut client, &vendor, &format!("late-{number}"), 1000).await;
    }
    drop(client);
    server.terminate().await;
    let late = fs::read(server.database()).expect("it is read");
    let half = early.len() / 8192 * 4096;
    fs::write(server.database(), [&late[..half], &early[half..], &late[early.len()..]].concat()).expect("it is written");
    refused(&serve(&server), &["is damaged", "ringback restore"]);
    fs::write(server.database(), &late).expect("it is written");
    server.restart();
    assert_eq!(server.operator().feed(&vendor).await.len(), 6000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_were_lost_are_noticed_at_the_start() {
    let mut server = Server::start(&[]);
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "shop").await;
    report(&mut client, &vendor, "first", 100).await;
    drop(client);
    server.terminate().await;
    let old = fs::read(server.database()).expect("it is read");
    server.restart();
    let mut client = server.operator();
    report(&mut client, &vendor, "second", 100).await;
    drop(client);
    server.kill();
    // Its write-ahead log has what the file has not.
    let log = fs::read(beside(&server.database(), "-wal")).expect("it is read");
    for end in ["-wal", "-shm"] {
        fs::remove_file(beside(&server.database(), end)).expect("it is removed");
    }
    refused(&serve(&server), &["older than what was last committed", ".lock", "write-ahead log"]);
    let doctor = server.beside(&["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    let file = findings.as_array().expect("a list").iter().find(|finding| finding["part"] == "file").expect("a finding about the file");
    assert_eq!((file["grade"].as_str(), doctor.status.code()), (Some("bad"), Some(1)), "{file}");
    // Put back, it is complete again.
    for end in ["-wal", "-shm"] {
        drop(fs::remove_file(beside(&server.database(), end)));
    }
    fs::write(beside(&server.database(), "-wal"), log).expect("it is written");
    server.restart();
    assert_eq!(server.operator().feed(&vendor).await.len(), 200);
    server.terminate().await;
    // An older copy is taken only if the operator accepts the loss.
    fs::write(server.database(), old).expect("it is written");
    refused(&serve(&server), &["older than what was last committed"]);
    fs::remove_file(beside(&server.database(), ".lock")).expect("it is removed");
    server.restart();
    assert_eq!(server.operator().feed(&vendor).await.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_accepted_into_a_file_that_is_gone_or_another_one() {
    let server = Server::start(&[]);
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "shop").await;
    report(&mut client, &vendor, "first", 1).await;
    let (database, away) = (server.database(), beside(&server.database(), ".away"));
    for replaced in [false, true] {
        fs::rename(&database, &away).expect("it is moved");
        if replaced {
            fs::write(&database, b"").expect("it is written");
        }
        wait::until("it is noticed", WITHIN, async || client.status("/readyz").await == StatusCode::SERVICE_UNAVAILABLE).await;
        let body = json!({"reports": [{"vendor_id": vendor, "reference_no": "lost", "status": "success"}]});
        let answer = client.call(Method::POST, "/v1/reports", Some(&body)).await.expect("an answer");
        assert_eq!(answer.0, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.1);
        fs::rename(&away, &database).expect("it is put back");
        wait::until("it goes on", WITHIN, async || client.status("/readyz").await == StatusCode::OK).await;
        report(&mut client, &vendor, if replaced { "third" } else { "second" }, 1).await;
    }
    let log = server.log();
    for line in ["the database file is gone", "the database file is back"] {
        assert_eq!(log.lines().filter(|logged| logged.contains(line)).count(), if line.ends_with("gone") { 2 } else { 0 }, "{log}");
    }
    assert_eq!(client.feed(&vendor).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_is_refused_by_whatever_name_it_opens_the_file() {
    let mut server = Server::start(&[]);
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::copy(server.database().with_file_name("ringback.key"), elsewhere.path().join("ringback.key")).expect("it is copied");
    let other = elsewhere.path().join("ringback.db");
    let second = |path: &Path, arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringback"));
        command.env_clear().args(arguments).arg("--database").arg(format!("sqlite:{}", path.display()));
        command.output().expect("it runs")
    };
    let start = ["serve", "--listen", "127.0.0.1:0"];
    std::os::unix::fs::symlink(server.database(), &other).expect("a link");
    refused(&second(&other, &start), &["another ringback serves"]);
    refused(&second(&other, &["master-key", "rotate"]), &["another ringback serves"]);
    fs::remove_file(&other).expect("it is removed");
    fs::hard_link(server.database(), &other).expect("a link");
    refused(&second(&other, &start), &["another ringback serves"]);
    fs::remove_file(&other).expect("it is removed");
    fs::remove_file(beside(&server.database(), ".lock")).expect("it is removed");
    refused(&serve(&server), &["another ringback serves"]);
    wait::until("the lock file is there again", WITHIN, async || {
        beside(&server.database(), ".lock").metadata().is_ok_and(|file| file.len() > 0)
    })
    .await;
    let mut client = server.operator();
    server::new_vendor(&mut client, "shop").await;
    drop(client);
    assert!(server.terminate().await.success());
    server.restart();
}
