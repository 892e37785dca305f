//! The power goes: what was written and not synced is lost, or some of its blocks are. What was answered is there all the same.
//! That the check can fail is shown with a disk that only says that it has synced.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ringback::domain::secret::Secret;
use ringback::wire::standard;
use serde_json::json;

use super::api::{Client, text};
use super::receiver::{Moods, Receiver};
use super::server::{self, Server};
use super::wait;

/// How often the power goes.
const CUTS: u64 = 12;
/// Reports in a request, and most requests between two cuts.
const BATCH: u32 = 20;
const REQUESTS: u32 = 40;
const BLOCK: usize = 4096;
/// Those who report at once while the disk is slow.
const REPORTERS: u64 = 8;
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// The library that keeps what was synced, compiled.
fn library(folder: &Path) -> PathBuf {
    let (source, library) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/power.c"), folder.join("power.so"));
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(compiled.expect("a C compiler").success(), "tests/crash/power.c is compiled");
    library
}

/// A server on such a disk.
fn start() -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let (library, disk) = (library(folder.path()), folder.path().to_owned());
    Server::start_on(&[], folder, disk, Some(format!("export LD_PRELOAD={}", library.display())))
}

/// What a file is after the cut: what was synced, and of what was written since some blocks that chance picks, or none.
fn cut(file: &Path, chance: &mut StdRng) {
    let written = std::fs::read(file).unwrap_or_default();
    let mut left = std::fs::read(file.with_extension(extension(file, "durable"))).unwrap_or_default();
    if chance.random_bool(0.5) {
        left.resize(written.len().max(left.len()), 0);
        for (at, block) in written.chunks(BLOCK).enumerate() {
            if chance.random_bool(0.5) {
                left[at * BLOCK..at * BLOCK + block.len()].copy_from_slice(block);
            }
        }
    }
    std::fs::write(file, left).expect("it is written");
}

fn extension(file: &Path, more: &str) -> String {
    format!("{}.{more}", file.extension().and_then(|known| known.to_str()).expect("it has one"))
}

/// Reports something, and answers with what was taken.
async fn report(client: &mut Client, vendor: &str, round: u64, requests: u32) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    for request in 0..requests {
        let names: Vec<String> = (0..BATCH).map(|number| format!("P-{round}-{request}-{number}")).collect();
        let reports: Vec<_> = names.iter().map(|name| json!({"vendor_id": vendor, "reference_no": name, "status": "success"})).collect();
        client.post("/v1/reports", &json!({"reports": reports})).await;
        taken.extend(names);
    }
    taken
}

/// What of it is not there, by the ledger or by the feed.
async fn missing(client: &mut Client, vendor: &str, taken: &BTreeSet<String>) -> Vec<String> {
    let kept = client.list(&format!("/v1/recharges?vendor_id={vendor}")).await;
    let told = client.feed(vendor).await;
    let told: BTreeSet<_> = told.iter().filter_map(|event| event["data"]["reference_no"].as_str()).collect();
    let kept = kept.iter().filter(|recharge| told.contains(text(recharge, "reference_no")));
    let kept: BTreeSet<_> = kept.map(|recharge| text(recharge, "reference_no").to_owned()).collect();
    taken.difference(&kept).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_power_cut() {
    let (mut chance, mut server) = (StdRng::seed_from_u64(5), start());
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "power").await;
    let mut taken = BTreeSet::new();
    for round in 0..CUTS {
        let requests = chance.random_range(1..REQUESTS);
        taken.extend(report(&mut client, &vendor, round, requests).await);
        let (mut other, of) = (client.clone(), vendor.clone());
        let under_way = tokio::spawn(async move { report(&mut other, &of, round + 1000, 1000).await });
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..20))).await;
        server.kill();
        under_way.abort();
        let database = server.database();
        for file in [database.clone(), database.with_extension("db-wal")] {
            cut(&file, &mut chance);
        }
        // The index of the log is in memory only.
        drop(std::fs::remove_file(database.with_extension("db-shm")));
        server.restart();
        // Its old connection may not have noticed yet.
        client = server.operator();
        let missing = missing(&mut client, &vendor, &taken).await;
        assert_eq!(missing, Vec::<String>::new(), "round {round}: lost, of {} that were answered", taken.len());
        let file = rusqlite::Connection::open(&database).expect("it opens");
        let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it is checked");
        assert_eq!(check, "ok", "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lies_is_found_out_by_this_check() {
    let mut server = start();
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "lies").await;
    let database = server.database();
    let files = [database.clone(), database.with_extension("db-wal")];
    for file in &files {
        std::fs::write(file.with_extension(extension(file, "lies")), "").expect("it is written");
    }
    let taken = report(&mut client, &vendor, 0, 3).await;
    server.kill();
    for file in files {
        let kept = std::fs::read(file.with_extension(extension(&file, "durable"))).unwrap_or_default();
        std::fs::write(&file, kept).expect("it is written");
    }
    drop(std::fs::remove_file(database.with_extension("db-shm")));
    let refused = server.beside(&["serve", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("older than what was last committed"), "{said}");
    std::fs::remove_file(database.with_extension("db.lock")).expect("it is removed");
    server.restart();
    client = server.operator();
    assert_eq!(missing(&mut client, &vendor, &taken).await.len(), taken.len(), "nothing of it was on the disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_makes_batches_larger_and_loses_nothing() {
    let server = start();
    let (mut client, receiver) = (server.operator(), Receiver::start().await);
    let vendor = server::new_vendor(&mut client, "slow").await;
    let secret = Secret::new([7; 32]);
    let url = receiver.open("slow", secret.clone(), Moods::default(), 1);
    let endpoint = server::new_endpoint(&mut client, &vendor, json!({"url": url, "secret": standard::secret_text(&secret)})).await;
    let endpoint = text(&endpoint, "id").to_owned();
    for file in [server.database(), server.database().with_extension("db-wal")] {
        std::fs::write(file.with_extension(extension(&file, "slow")), "").expect("it is written");
    }
    let mut reporting = tokio::task::JoinSet::new();
    for round in 0..REPORTERS {
        let (mut client, vendor) = (client.clone(), vendor.clone());
        reporting.spawn(async move { report(&mut client, &vendor, round, 4).await });
    }
    assert_eq!(client.status("/readyz").await, http::StatusCode::OK, "it is slow, and there");
    let taken: BTreeSet<String> = reporting.join_all().await.into_iter().flatten().collect();
    assert_eq!(taken.len(), REPORTERS as usize * 4 * BATCH as usize);
    wait::until("all have ended", DELIVERED_WITHIN, async || !client.has_pending(&vendor, &endpoint).await).await;
    assert_eq!(missing(&mut client, &vendor, &taken).await, Vec::<String>::new());
    let events = client.feed(&vendor).await.len();
    // The handshake is one more. What was attempted is not sent again because it takes long to be written down.
    assert_eq!(receiver.requests(), events as u64 + 1);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}
