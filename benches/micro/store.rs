//! A commit of so many reports or outcomes to a SQLite file. Beside it stands what the disk takes: for one page and a
//! sync, and for as many bytes and a sync as a commit of so many reports has. What is more than that is the store's own.
//! They are measured one after the other: where their medians do not fit each other, the disk was busy with something
//! else in between.
//!
//! Reports come to a ledger that has many recharges, under references in no order, so that nearly each changes a page of
//! the index that no other one changes. That is most of what is written.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use ringback::domain::attempt::{Attempt, Outcome, OutcomeKind, Phases};
use ringback::domain::delivery::{DeliveryState, OpenRun};
use ringback::store::{NextStep, RecordOutcome, Write, Written};

use crate::ledger::{Ledger, START, folder};

const ROWS: [usize; 3] = [1, 100, 1000];
/// Thousands of recharges that are there when reports are measured.
const THOUSANDS: usize = 100;
const PAGE: usize = 4096;

#[divan::bench(min_time = 1)]
fn bare_page(bencher: Bencher) {
    append(bencher.counter(ItemsCount::new(1_usize)), PAGE);
}

#[divan::bench(args = ROWS, min_time = 1)]
fn bare_bytes_of_reports(bencher: Bencher, rows: usize) {
    let ledger = Ledger::with_thousands(THOUSANDS);
    // The log may be cut to nothing between two looks at it, but not five times in a row.
    let written = (0..5).map(|_| {
        let before = ledger.log_size();
        committed(&ledger, vec![ledger.reports(rows)]);
        ledger.log_size().saturating_sub(before)
    });
    let bytes = written.max().unwrap_or_default() as usize;
    drop(ledger);
    append(bencher.counter(ItemsCount::new(rows)), bytes);
}

fn append(bencher: Bencher, bytes: usize) {
    let folder = folder();
    let (mut file, written) = (File::create(folder.path().join("bare")).unwrap(), vec![7; bytes]);
    bencher.bench_local(|| {
        file.write_all(&written).unwrap();
        file.sync_data().unwrap();
    });
}

#[divan::bench(args = ROWS, min_time = 1)]
fn reports(bencher: Bencher, rows: usize) {
    let ledger = Ledger::with_thousands(THOUSANDS);
    let bencher = bencher.counter(ItemsCount::new(rows)).with_inputs(|| vec![ledger.reports(rows)]);
    bencher.bench_local_values(|batch| committed(&ledger, batch));
}

#[divan::bench(args = ROWS, min_time = 1)]
fn outcomes(bencher: Bencher, rows: usize) {
    let ledger = Ledger::new();
    let bencher = bencher.counter(ItemsCount::new(rows)).with_inputs(|| outcomes_of(&ledger, rows));
    bencher.bench_local_values(|batch| committed(&ledger, batch));
}

fn committed(ledger: &Ledger, batch: Vec<Write>) -> (Vec<Write>, Vec<Written>) {
    let (batch, written) = ledger.commit(batch);
    (batch, written.unwrap())
}

/// So many fresh recharges; the success of each delivery.
fn outcomes_of(ledger: &Ledger, rows: usize) -> Vec<Write> {
    match committed(ledger, vec![ledger.reports(rows)]).1.pop() {
        Some(Written::Accepted(_, opened)) if opened.len() == rows => opened.iter().map(succeeded).collect(),
        other => panic!("not a run for each report: {other:?}"),
    }
}

fn succeeded(run: &OpenRun) -> Write {
    let phases = Phases { first_byte: Some(1400), total: 1500, ..Phases::default() };
    let outcome = Outcome {
        kind: OutcomeKind::Succeeded,
        status: Some(200),
        error: None,
        phases,
        address: None,
        retry_after: None,
        answer_headers: Some("content-type: text/plain\ncontent-length: 2".to_owned()),
        answer_body: Some(b"ok".to_vec()),
    };
    Write::RecordOutcome(RecordOutcome {
        key: run.key,
        attempt: Some(Attempt { number: 1, run: run.key.run, started_at: START, outcome }),
        attempts: 1,
        deadline: run.deadline,
        now: START,
        after: NextStep::Ended(DeliveryState::Succeeded, None),
        replay: None,
        latency: Some(Duration::from_millis(3)),
        epoch: 0,
    })
}
