//! What only the SQLite file promises of its upkeep: it shrinks, it is sealed again, and what is removed is gone.

use std::sync::Arc;

use ringback::domain::id::TokenId;
use ringback::domain::recharge::Status;
use ringback::domain::time::Timestamp;
use ringback::limits;
use ringback::store::seal::MasterKey;
use ringback::store::{
    AnswerKey, CachedResponse, Change, Command, EndpointChange, Horizon, HttpAnswer, Publish, Store, SweepPlace, Swept, Write,
};
use rusqlite::Connection;
use serde_json::value::RawValue;

use crate::commands::Deeds;
use crate::endpoints::rich_settings;
use crate::erase::reseal;
use crate::harness::{START, Side, Subject, at, failed, publish, report};
use crate::ledger::details;
use crate::sqlite::{File, contains, refusal};

const PAGE: u64 = 4096;

// --- Its size --------------------------------------------------------------------------------------------------------

/// Removes what is older than a second after the start; answers how many steps that took.
async fn sweep(on: &Subject) -> u32 {
    let nothing = Timestamp::from_millis(0);
    let horizon = Horizon { retention: at(1), recharges: None, audit: nothing, answers: nothing, traffic: nothing };
    let (mut place, mut steps) = (Some(SweepPlace::default()), 0);
    while let Some(at) = place {
        let Swept { next, .. } = on.store.sweep(horizon, at).await.unwrap();
        (place, steps) = (next, steps + 1);
        assert!(steps < 10_000, "it goes on for ever at {at:?}");
    }
    steps
}

/// Events that take this many pages, at least.
async fn fill(on: &Subject, side: Side, pages: u64) {
    let text = format!("{{\"text\": \"{}\"}}", "x".repeat(limits::EVENT_PAYLOAD_MAX as usize / 2));
    for _ in 0..=pages * PAGE / text.len() as u64 / 64 {
        let large =
            |_| Write::Publish(Publish { data: RawValue::from_string(text.clone()).unwrap(), ..publish(side, "invoice.paid", START) });
        on.commit((0..64).map(large).collect()).await;
    }
}

fn pages(conn: &Connection) -> (u64, u64) {
    let read = |name| conn.pragma_query_value(None, name, |row| row.get::<_, u64>(0)).unwrap();
    (read("page_count"), read("freelist_count"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_shrinks_when_much_was_removed() {
    let file = File::new();
    let on = file.subject();
    let much = 3 * limits::FREE_PAGES_KEPT as u64;
    fill(&on, on.side().await, much).await;
    let (before, _) = pages(&file.look());
    assert!(before > much);
    sweep(&on).await;
    let (after, free) = pages(&file.look());
    assert!(free <= limits::FREE_PAGES_KEPT as u64, "{free} free pages are kept");
    assert!(after < limits::FREE_PAGES_KEPT as u64 + 200, "{before} pages became {after}");
    drop(on);
    let length = std::fs::metadata(file.path()).unwrap().len();
    assert_eq!(length, after * PAGE, "and the file system knows it");
}

/// Incremental vacuum can only be chosen for an empty file; a dump that was read into a new one has it not.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_shrink_is_swept_all_the_same() {
    let file = File::new();
    drop(file.open().unwrap());
    let conn = file.look();
    conn.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM; PRAGMA journal_mode = WAL").unwrap();
    drop(conn);
    let on = file.subject();
    let side = on.side().await;
    fill(&on, side, 2 * limits::FREE_PAGES_KEPT as u64).await;
    let (before, _) = pages(&file.look());
    sweep(&on).await;
    let (after, free) = pages(&file.look());
    assert!(free > limits::FREE_PAGES_KEPT as u64 && after == before, "{free} of {after} pages wait for what comes next");
    assert_eq!(on.store.events_after(side.stream, None, 1).await.unwrap().events.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_of_a_removed_endpoint_is_left() {
    let file = File::new();
    let on = file.subject();
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = on.event(side, "invoice.paid", START).await.remove(0);
    on.change(id, EndpointChange::Delete).await;
    // An attempt that was under way comes back after the deletion.
    on.record(failed(&run, 1, START, START)).await;
    on.store.command(Command::CancelPending { endpoint: id, up_to: i64::MAX }, START).await.unwrap();
    sweep(&on).await;
    let conn = file.look();
    for table in ["endpoint", "listening", "health", "open_delivery", "ended_delivery", "attempt"] {
        let left: u64 = conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

// --- Its seals -------------------------------------------------------------------------------------------------------

/// Two endpoints with secrets, and what they read as.
async fn with_secrets(file: &File) -> Vec<ringback::domain::endpoint::Endpoint> {
    let on = file.subject();
    let side = on.side().await;
    crate::erase::second_factors_and_letters_are_sealed_again(on.clone()).await;
    let ids = [on.connected(side).await, on.connected(side).await];
    on.resettle(ids[0], rich_settings()).await;
    let mut endpoints = Vec::new();
    for id in ids {
        endpoints.push(on.store.endpoint(id).await.unwrap().unwrap());
    }
    endpoints
}

async fn assert_opens(store: &dyn Store, endpoints: &[ringback::domain::endpoint::Endpoint]) {
    for endpoint in endpoints {
        assert_eq!(store.endpoint(endpoint.id).await.unwrap().as_ref(), Some(endpoint));
    }
    let found = store.credentials("a@himal.example".to_owned()).await.unwrap().unwrap();
    assert!(found.second_factor.is_some());
    assert_eq!(store.mailings(START, START, 10).await.unwrap()[0].alerts[0].text, "with this link");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_only_the_new_key_opens() {
    let file = File::new();
    let endpoints = with_secrets(&file).await;
    let (old, new) = (file.key.clone(), MasterKey::generate(&*file.environment.entropy));
    let on = Subject::new(file.open_rotating(new.clone(), old.clone()).unwrap(), &file.environment, ());
    assert_opens(&*on.store, &endpoints).await;
    assert_eq!(reseal(&on).await, 2);
    assert_opens(&*on.store, &endpoints).await;
    drop(on);
    let before = file.bytes();
    assert!(refusal(file.open_with(old.clone())).contains("master key"));
    assert_eq!(file.changed_since(&before), [] as [String; 0]);
    assert_opens(&file.open_with(new.clone()).unwrap(), &endpoints).await;
    assert_opens(&file.open_rotating(new, old).unwrap(), &endpoints).await;
}

/// The rotation ends after its first step, as a crash would end it: with both keys everything still opens, and what is
/// made meanwhile is sealed with the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_interrupted_goes_on() {
    let file = File::new();
    let mut endpoints = with_secrets(&file).await;
    let (old, new) = (file.key.clone(), MasterKey::generate(&*file.environment.entropy));
    for steps in [0, 1, 1] {
        let on = Subject::new(file.open_rotating(new.clone(), old.clone()).unwrap(), &file.environment, ());
        for _ in 0..steps {
            on.store.reseal(SweepPlace::default()).await.unwrap();
        }
        assert_opens(&*on.store, &endpoints).await;
        let id = on.connected(on.side().await).await;
        endpoints.push(on.store.endpoint(id).await.unwrap().unwrap());
    }
    let on = Subject::new(file.open_rotating(new.clone(), old).unwrap(), &file.environment, ());
    assert_eq!(reseal(&on).await, 5);
    drop(on);
    assert_opens(&file.open_with(new).unwrap(), &endpoints).await;
}

// --- What is not on the disk -----------------------------------------------------------------------------------------

fn on_disk(file: &File, text: &str) -> bool {
    file.bytes().iter().any(|(_, bytes)| contains(bytes, text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_answers_are_sealed() {
    let file = File::new();
    let on = file.subject();
    let key = AnswerKey { token: TokenId::new(1), path: "/v1/endpoints".to_owned(), key: "the key of the request".to_owned() };
    let keep =
        CachedResponse { key, body: [0; 32], answer: Arc::new(|_| HttpAnswer { status: None, body: b"whsec_shown_this_once".to_vec() }) };
    on.store.act(Change { command: Command::Note, now: START, note: None, keep: Some(keep) }).await.unwrap();
    for _ in 0..2 {
        assert!(on_disk(&file, "the key of the request"), "it is the place where an answer would be");
        assert!(!on_disk(&file, "whsec_shown_this_once"));
        drop(file.open().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_number_is_not_on_the_disk() {
    const NUMBER: &str = "9898765432";
    let file = File::new();
    let on = file.subject();
    let side = on.side().await;
    for batch in 0..20 {
        let reports = (0..100).map(|item| {
            let mut given = report(side, &format!("INV-{batch}-{item}"), Status::Success);
            given.report.details = details();
            if item % 10 == 0 {
                given.report.details.connection_no = Some(NUMBER.to_owned());
            }
            given
        });
        on.judged(at(batch), reports.collect()).await;
    }
    let mut place = Some(SweepPlace::default());
    while let Some(at) = place {
        place = on.store.erase(side.stream, NUMBER.to_owned(), at).await.unwrap().next;
    }
    drop(on);
    assert!(on_disk(&file, "9801234567"), "it is the place where a number would be");
    assert!(!on_disk(&file, NUMBER));
}
