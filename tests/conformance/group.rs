//! The group commit in front of a store: one transaction for many, and no writer suffers for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ringback::domain::delivery::RunKey;
use ringback::domain::id::{EndpointId, StreamId, TokenId};
use ringback::domain::recharge::{Status, Verdict};
use ringback::store::group_commit::{GroupCommit, Handoff, Haste};
use ringback::store::{
    AnswerKey, AuditQuery, CachedResponse, Change, Command, HttpAnswer, OpenRun, RecordOutcome, Reply, Settled, StoreError, TimeRange,
    Write, Written,
};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::harness::{START, Side, Subject, accept, at, failed, publish, report};

/// Remembers what it was handed.
#[derive(Default)]
pub struct Heard {
    opened: Mutex<Vec<(EndpointId, i64)>>,
    pub settled: Mutex<Vec<(RecordOutcome, Result<Written, StoreError>)>>,
    commits: Mutex<Vec<usize>>,
    pub more: Notify,
    /// A commit's outcome may stay unknown.
    may_be_unsure: AtomicBool,
}

impl Handoff for Heard {
    fn opened(&self, runs: Vec<OpenRun>) {
        self.opened.lock().extend(runs.iter().map(|run| (run.key.endpoint, run.key.sequence)));
    }

    fn changed(&self, _: EndpointId) {}

    fn due(&self, _: EndpointId) {}

    fn dropped(&self, _: EndpointId) {}
    fn cancelled(&self, _: EndpointId, _: Vec<RunKey>) {}

    fn replaying(&self, _: EndpointId) {}

    fn placed(&self) {}

    fn in_flight(&self) -> usize {
        0
    }

    fn holds_lease(&self) -> bool {
        true
    }

    fn pace(&self, _: EndpointId) -> Option<f64> {
        None
    }

    fn settled(&self, outcomes: Vec<(RecordOutcome, Result<Written, StoreError>)>) {
        self.settled.lock().extend(outcomes);
        self.more.notify_one();
    }

    fn failed(&self, _: &StoreError) {}

    fn unsure(&self) {
        assert!(self.may_be_unsure.load(Ordering::SeqCst), "every commit's outcome is known");
    }

    fn committed(&self, rows: usize, _: Duration) {
        self.commits.lock().push(rows);
    }
}

pub fn start(on: &Subject) -> (GroupCommit, Arc<Heard>, JoinHandle<()>) {
    let heard = Arc::new(Heard::default());
    let (group, task) = GroupCommit::start(on.store.clone(), heard.clone());
    (group, heard, task)
}

/// Report number `number`; one that belongs nowhere if it is poisoned.
pub fn numbered(side: Side, number: usize, poisoned: bool) -> Write {
    let side = if poisoned { Side { stream: StreamId::new(1), ..side } } else { side };
    accept(START, vec![report(side, &format!("INV-{number}"), Status::Success)])
}

pub async fn a_poisoned_write_does_not_fail_its_neighbours(on: Subject) {
    let side = on.side().await;
    let endpoint = on.connected(side).await;
    let (group, heard, task) = start(&on);
    let poisoned = |number: usize| [3, 4, 17, 39].contains(&number);
    let mut writers = JoinSet::new();
    for number in 0..40 {
        let (group, write) = (group.clone(), numbered(side, number, poisoned(number)));
        writers.spawn(async move { (number, group.write(write).await) });
    }
    for (number, answer) in writers.join_all().await {
        match answer {
            Ok(Written::Accepted(judged, opened)) => {
                assert!(!poisoned(number) && opened.is_empty(), "runs go to the hand-off");
                assert_eq!((judged.len(), judged[0].verdict), (1, Verdict::Created));
            }
            Err(StoreError::Rejected(_)) => assert!(poisoned(number), "{number} suffered for another"),
            other => panic!("{number}: {other:?}"),
        }
    }
    assert_eq!(on.store.events_after(side.stream, None, 0).await.unwrap().latest, 36);
    let commits = heard.commits.lock().clone();
    assert_eq!(commits.iter().sum::<usize>(), 36);
    assert!(commits.len() < 36, "neighbours of a poisoned write stay together: {commits:?}");
    let in_order: Vec<_> = (1..=36).map(|sequence| (endpoint, sequence)).collect();
    assert_eq!(*heard.opened.lock(), in_order, "handed over in commit order");
    task.abort();
}

pub async fn writes_are_answered_each_with_its_own(on: Subject) {
    let side = on.side().await;
    let (group, _, task) = start(&on);
    let mut writers = JoinSet::new();
    for number in 0..40 {
        let group = group.clone();
        let write = if number % 2 == 0 { numbered(side, number, false) } else { Write::Publish(publish(side, "invoice.paid", START)) };
        writers.spawn(async move { (number, group.write(write).await.unwrap()) });
    }
    let mut numbers = Vec::new();
    for (number, written) in writers.join_all().await {
        match written {
            Written::Accepted(judged, _) => {
                let (recharge, _) = on.store.recharge(judged[0].recharge).await.unwrap().unwrap();
                assert_eq!((number % 2, recharge.reference_no), (0, format!("INV-{number}")));
                numbers.extend(judged[0].event);
            }
            Written::Published(published, _) => {
                assert_eq!(number % 2, 1);
                numbers.push(published.sequence);
            }
            other => panic!("{other:?}"),
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<i64>>());
    task.abort();
}

pub async fn outcomes_are_handed_back_in_order(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let runs = on.runs(side, 20).await;
    let (group, heard, task) = start(&on);
    for (number, run) in runs.iter().enumerate() {
        group.settle(failed(run, 1, at(60), at(65)), if number % 7 == 6 { Haste::Now } else { Haste::None });
    }
    while heard.settled.lock().len() < runs.len() {
        heard.more.notified().await;
    }
    for ((settle, answer), run) in heard.settled.lock().iter().zip(&runs) {
        assert_eq!(settle.key, run.key);
        assert!(matches!(answer, Ok(Written::Settled(Settled::Recorded))), "{answer:?}");
    }
    task.abort();
}

/// A report does not pay for the outcomes of others while these gather.
pub async fn a_report_goes_without_outcomes_that_gather(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let runs = on.runs(side, 20).await;
    let (group, heard, task) = start(&on);
    for (number, run) in runs.iter().enumerate() {
        group.settle(failed(run, 1, at(60), at(65)), Haste::None);
        group.write(numbered(side, number, false)).await.unwrap();
        while heard.settled.lock().len() <= number {
            heard.more.notified().await;
        }
    }
    let commits = heard.commits.lock().clone();
    assert_eq!(commits.iter().sum::<usize>(), 40);
    // On a busy machine some reports come so late that the outcome is due.
    assert!(commits.len() > 20, "{commits:?}");
    task.abort();
}

/// Nor do reports that never end keep an outcome waiting.
pub async fn an_outcome_is_due_among_reports_too(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let runs = on.runs(side, 1).await;
    let (group, heard, task) = start(&on);
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let group = group.clone();
        writers.spawn(async move {
            for number in 0.. {
                group.write(numbered(side, writer + 4 * number, false)).await.unwrap();
            }
        });
    }
    group.settle(failed(&runs[0], 1, at(60), at(65)), Haste::None);
    tokio::time::timeout(Duration::from_secs(30), heard.more.notified()).await.expect("the outcome is written");
    assert!(matches!(heard.settled.lock()[..], [(_, Ok(Written::Settled(Settled::Recorded)))]));
    task.abort();
}

/// Whoever wrote learns that nothing is known, and so does whoever comes later: nobody waits for ever.
pub async fn a_store_that_stops_takes_no_committer_with_it(on: &Subject) {
    let side = on.side().await;
    let (group, heard, task) = start(on);
    heard.may_be_unsure.store(true, Ordering::SeqCst);
    let key = AnswerKey { token: TokenId::new(1), path: "/v1/events".to_owned(), key: "a key".to_owned() };
    let keep = Some(CachedResponse { key, body: [0; 32], answer: Arc::new(|_| panic!("the store's thread ends here")) });
    let command = Command::Publish(publish(side, "invoice.paid", START));
    let fatal = group.write(Write::Change(Box::new(Change { command, now: START, note: None, keep }))).await;
    assert!(matches!(fatal, Err(StoreError::Unknown(_))), "{fatal:?}");
    for number in 0..3 {
        let later = group.write(numbered(side, number, false)).await;
        assert!(matches!(later, Err(StoreError::Unknown(_))), "{later:?}");
    }
    assert!(!task.is_finished() && heard.opened.lock().is_empty());
    task.abort();
}

/// A change that is refused for its answer's sake takes nothing of its neighbours along, whatever they are.
pub async fn a_refused_change_does_not_fail_its_neighbours(on: Subject) {
    let side = on.side().await;
    let endpoint = on.connected(side).await;
    let keep = || {
        let key = AnswerKey { token: TokenId::new(1), path: "/v1/events".to_owned(), key: "the same".to_owned() };
        Some(CachedResponse { key, body: [0; 32], answer: Arc::new(|_| HttpAnswer::default()) })
    };
    let (group, heard, task) = start(&on);
    let mut writers = JoinSet::new();
    for number in 0..40 {
        let write = match number % 4 {
            0 => {
                let command = Command::Publish(publish(side, "invoice.paid", START));
                Write::Change(Box::new(Change { command, now: START, note: None, keep: keep() }))
            }
            1 => Write::Change(Box::new(Change { command: Command::Note, now: START, note: Some(crate::audit::note("x.y")), keep: None })),
            2 => Write::Publish(publish(side, "invoice.paid", START)),
            _ => numbered(side, number, false),
        };
        let group = group.clone();
        writers.spawn(async move { (number, group.write(write).await) });
    }
    let (mut refused, mut numbers) = (0, Vec::new());
    for (number, answer) in writers.join_all().await {
        match answer {
            Ok(Written::Accepted(judged, _)) => numbers.extend(judged[0].event),
            Ok(Written::Published(published, _) | Written::Reply(Reply::Published(published), _)) => numbers.push(published.sequence),
            Ok(Written::Reply(Reply::Noted, _)) => {}
            Err(StoreError::Rejected(_)) => {
                assert_eq!(number % 4, 0, "{number} suffered for another");
                refused += 1;
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    numbers.sort_unstable();
    assert_eq!((refused, numbers), (9, (1..=21).collect()), "one request was the first, and numbers have no gap");
    let query = AuditQuery { vendor: None, action: None, range: TimeRange::default(), page: crate::harness::first(100) };
    assert_eq!(on.store.audit(query).await.unwrap().items.len(), 10);
    let in_order: Vec<_> = (1..=21).map(|sequence| (endpoint, sequence)).collect();
    assert_eq!(*heard.opened.lock(), in_order, "handed over in commit order");
    task.abort();
}
