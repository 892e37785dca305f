//! What the engine asks: open runs, when they are due, and which are past their deadline.

use ringback::domain::delivery::{DeliveryState, EndReason};
use ringback::domain::id::EndpointId;
use ringback::domain::recharge::Status;
use ringback::domain::time::Timestamp;
use ringback::limits;
use ringback::store::{Backlog, EndpointChange, Expired, OpenQuery, OpenRun, OpenSize, Portion, Publish, Write};
use serde_json::value::RawValue;

use crate::harness::{DAY, START, Subject, at, ended, failed, just_before, keys, publish, report, succeeded};
use crate::ledger::details;

const ALL: OpenQuery = OpenQuery::All { after: (0, 0), up_to: i64::MAX };

async fn open(on: &Subject, endpoint: EndpointId, query: OpenQuery, limit: usize) -> Vec<(i64, u32)> {
    keys(&on.open_page(endpoint, query, Portion::rows(limit)).await.runs)
}

/// Ends a run and starts the next one of its delivery.
async fn again(on: &Subject, run: &OpenRun, now: Timestamp) -> OpenRun {
    on.record(succeeded(run, 1, now)).await;
    on.resent(run.key.delivery(), now).await
}

fn assert_same(read: &OpenRun, opened: &OpenRun) {
    assert_eq!((read.key, read.attempts, read.deadline), (opened.key, opened.attempts, opened.deadline));
    assert_eq!((read.next_attempt_at, read.failed_since), (opened.next_attempt_at, opened.failed_since));
    let parts = |run: &OpenRun| {
        let event = &run.event;
        (event.id, event.mode, event.event_type.clone(), event.created_at, event.stored_facts(), event.numbered)
    };
    assert_eq!(parts(read), parts(opened));
}

/// The happy path reads nothing back, so that what a commit answers has to be what a restart would find.
pub async fn what_a_commit_opens_is_what_can_be_read(on: Subject) {
    let side = on.side().await;
    let ids = [on.connected(side).await, on.connected(side).await];
    let mut given = report(side, "INV-1", Status::Failed);
    given.report.details = details();
    let (_, mut opened) = on.judged(START, vec![given, report(side, "INV-2", Status::Success)]).await;
    opened.append(&mut on.event(side, "invoice.paid", at(-5)).await);
    assert_eq!(opened.len(), 6);
    for id in ids {
        let read = on.open_page(id, OpenQuery::Fresh { after: 0 }, Portion::rows(10)).await.runs;
        let opened: Vec<_> = opened.iter().filter(|run| run.key.endpoint == id).collect();
        assert_eq!((read.len(), opened.len()), (3, 3));
        for (read, opened) in read.iter().zip(opened) {
            assert_same(read, opened);
        }
    }
    assert_eq!(opened[4].deadline, START.plus(DAY), "a run's time begins at its event's");
}

/// A portion ends with the row that goes beyond its bytes, and says that there is more.
pub async fn a_portion_is_bounded_in_bytes(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let long = RawValue::from_string(format!("\"{}\"", "x".repeat(998))).unwrap();
    for _ in 0..5 {
        let event = Publish { data: long.clone(), ..publish(side, "invoice.paid", START) };
        on.publish(event).await;
    }
    for (portion, count, more) in [
        (Portion { rows: 10, bytes: 2_500 }, 3, true),
        (Portion { rows: 10, bytes: 0 }, 1, true),
        (Portion { rows: 2, bytes: 2_500 }, 2, true),
        (Portion { rows: 10, bytes: 10_000 }, 5, false),
    ] {
        for query in [OpenQuery::Fresh { after: 0 }, OpenQuery::All { after: (0, 0), up_to: i64::MAX }] {
            let page = on.open_page(id, query, portion).await;
            let numbers: Vec<i64> = page.runs.iter().map(|run| run.key.sequence).collect();
            assert_eq!((numbers, page.more), ((1..=count).collect(), more), "{portion:?} of {query:?}");
        }
    }
}

pub async fn nothing_is_open(on: Subject) {
    let id = on.connected(on.side().await).await;
    for endpoint in [id, EndpointId::new(1)] {
        for query in [
            OpenQuery::Fresh { after: 0 },
            OpenQuery::Due { now: at(99) },
            ALL,
            OpenQuery::Strict { stepped_aside: START },
            OpenQuery::Beside { stepped_aside: START, now: at(99) },
        ] {
            assert!(open(&on, endpoint, query, 10).await.is_empty());
        }
        assert_eq!(on.next_due(endpoint, START).await, None);
        assert!(on.store.expired(endpoint, at(1_000_000), 10).await.unwrap().is_empty());
    }
    assert_eq!(on.store.open_count().await.unwrap(), 0);
    assert!(on.store.backlogs(None, 10).await.unwrap().is_empty());
}

pub async fn fresh_runs_come_in_order(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 6).await;
    on.connected(side).await;
    on.record(failed(&runs[1], 1, at(10), at(15))).await;
    again(&on, &runs[3], at(10)).await;
    let fresh = async |after, limit| open(&on, id, OpenQuery::Fresh { after }, limit).await;
    assert_eq!(fresh(0, 10).await, [(1, 1), (3, 1), (5, 1), (6, 1)], "without those tried, and those sent again");
    assert_eq!(fresh(1, 2).await, [(3, 1), (5, 1)]);
    assert!(fresh(6, 10).await.is_empty());
    assert!(fresh(0, 0).await.is_empty());
}

pub async fn due_runs_come_longest_due_first(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 4).await;
    for (run, again) in runs.iter().zip([40, 20, 30]) {
        on.record(failed(run, 1, at(10), at(again))).await;
    }
    let due = async |now, limit| open(&on, id, OpenQuery::Due { now }, limit).await;
    assert!(due(just_before(at(20)), 10).await.is_empty());
    assert_eq!(due(at(20), 10).await, [(2, 1)], "due at its very time");
    assert_eq!(due(at(40), 10).await, [(2, 1), (3, 1), (1, 1)], "the fresh one waits for nothing");
    assert_eq!(due(at(40), 2).await, [(2, 1), (3, 1)]);
    on.record(succeeded(&runs[3], 1, at(11))).await;
    on.resent(runs[3].key.delivery(), at(35)).await;
    assert_eq!(due(at(99), 10).await, [(2, 1), (3, 1), (4, 2), (1, 1)]);
}

pub async fn all_runs_come_in_order(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 5).await;
    again(&on, &runs[1], at(10)).await;
    on.record(failed(&runs[2], 1, at(10), at(1000))).await;
    on.record(succeeded(&runs[3], 1, at(10))).await;
    let all = async |after, up_to, limit| open(&on, id, OpenQuery::All { after, up_to }, limit).await;
    let whole = [(1, 1), (2, 2), (3, 1), (5, 1)];
    assert_eq!(all((0, 0), i64::MAX, 10).await, whole, "due or not");
    assert_eq!(all((0, 0), 3, 10).await, whole[..3]);
    assert_eq!(all((2, 1), i64::MAX, 10).await, whole[1..], "the run counts too");
    assert_eq!(all((2, 2), 3, 10).await, [(3, 1)]);
    assert!(all((5, 1), i64::MAX, 10).await.is_empty());
    let (mut seen, mut after) = (Vec::new(), (0, 0));
    while let Some(next) = all(after, i64::MAX, 1).await.pop() {
        after = next;
        seen.push(next);
    }
    assert_eq!(seen, whole);
}

pub async fn strict_and_beside_share_the_runs(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 4).await;
    on.record(failed(&runs[0], 1, at(10), at(100))).await;
    on.record(failed(&runs[1], 1, at(20), at(200))).await;
    again(&on, &runs[3], at(30)).await;
    let strict = async |stepped_aside, limit| open(&on, id, OpenQuery::Strict { stepped_aside }, limit).await;
    let beside = async |stepped_aside, now, limit| open(&on, id, OpenQuery::Beside { stepped_aside, now }, limit).await;
    assert_eq!(strict(just_before(at(10)), 10).await, [(1, 1), (2, 1), (3, 1)], "heads first, whether they are due or not");
    assert_eq!(strict(just_before(at(10)), 1).await, [(1, 1)]);
    assert_eq!(strict(at(11), 10).await, [(2, 1), (3, 1)], "the first has stepped aside");
    assert_eq!(beside(just_before(at(10)), at(999), 10).await, [(4, 2)], "further runs hold nobody");
    assert_eq!(beside(at(11), at(100), 10).await, [(1, 1), (4, 2)]);
    assert_eq!(beside(at(11), just_before(at(100)), 10).await, [(4, 2)], "not due yet");
    assert!(beside(at(11), just_before(at(30)), 10).await.is_empty());
    assert_eq!(beside(at(21), at(999), 2).await, [(1, 1), (2, 1)]);
    for stepped_aside in [9, 10, 11, 20, 21].map(at) {
        let mut both = [strict(stepped_aside, 10).await, beside(stepped_aside, at(999), 10).await].concat();
        both.sort_unstable();
        assert_eq!(both, [(1, 1), (2, 1), (3, 1), (4, 2)], "each run is on exactly one side");
    }
}

pub async fn the_next_due_lies_ahead(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 3).await;
    let next = async |now| on.next_due(id, now).await;
    assert_eq!(next(START).await, None, "what waits for nothing has no time");
    on.record(failed(&runs[0], 1, at(10), at(30))).await;
    on.record(failed(&runs[1], 1, at(10), at(20))).await;
    assert_eq!(next(at(10)).await, Some(at(20)));
    assert_eq!(next(just_before(at(20))).await, Some(at(20)));
    assert_eq!(next(at(20)).await, Some(at(30)), "strictly after now");
    assert_eq!(next(at(30)).await, None);
    on.record(succeeded(&runs[1], 2, at(20))).await;
    assert_eq!(next(at(10)).await, Some(at(30)));
}

pub async fn open_runs_are_counted(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    for side in [side, side, other] {
        on.connected(side).await;
    }
    let runs = on.event(side, "invoice.paid", START).await;
    on.event(other, "invoice.paid", START).await;
    assert_eq!(on.store.open_count().await.unwrap(), 3);
    on.record(failed(&runs[0], 1, at(1), at(5))).await;
    assert_eq!(on.store.open_count().await.unwrap(), 3);
    on.record(succeeded(&runs[1], 1, at(1))).await;
    assert_eq!(on.store.open_count().await.unwrap(), 2);
    on.resent(runs[1].key.delivery(), at(2)).await;
    assert_eq!(on.store.open_count().await.unwrap(), 3);
}

pub async fn backlogs_come_in_order(on: Subject) {
    let (one, other) = (on.side().await, on.side().await);
    let ids = [on.connected(other).await, on.connected(one).await, on.connected(other).await];
    on.connected(on.side().await).await;
    let run = on.event(one, "invoice.paid", at(1)).await.remove(0);
    on.event(one, "invoice.paid", at(2)).await;
    on.event(other, "invoice.paid", at(3)).await;
    let backlog = |at: usize, seconds| Backlog { endpoint: ids[at], first_deadline: crate::harness::at(seconds).plus(DAY) };
    let all = [backlog(0, 3), backlog(1, 1), backlog(2, 3)];
    assert_eq!(on.store.backlogs(None, 10).await.unwrap(), all);
    assert_eq!(on.store.backlogs(None, 2).await.unwrap(), all[..2]);
    assert_eq!(on.store.backlogs(Some(ids[1]), 10).await.unwrap(), all[2..]);
    assert!(on.store.backlogs(Some(ids[2]), 10).await.unwrap().is_empty());
    on.record(succeeded(&run, 1, at(9))).await;
    assert_eq!(on.store.backlogs(Some(ids[0]), 1).await.unwrap(), [backlog(1, 2)]);
}

pub async fn a_later_run_hides_no_deadline(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 3).await;
    let again = again(&on, &runs[0], at(100)).await;
    let first = async || on.store.backlogs(None, 10).await.unwrap().remove(0).first_deadline;
    assert_eq!(first().await, runs[1].deadline, "not that of the earlier event's second run");
    on.record(succeeded(&runs[1], 1, at(101))).await;
    on.record(succeeded(&runs[2], 1, at(101))).await;
    assert_eq!((first().await, again.key.endpoint), (again.deadline, id));
}

/// Numbers and runs of what is past its deadline, in no order.
async fn expired(on: &Subject, endpoint: EndpointId, now: Timestamp) -> Vec<(i64, u32)> {
    let mut found = on.store.expired(endpoint, now, 10).await.unwrap();
    found.sort_by_key(|run| run.key);
    found.iter().map(|run| (run.key.sequence, run.key.run)).collect()
}

pub async fn deadlines_pass(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 4).await;
    on.connected(side).await;
    on.record(failed(&runs[0], 1, at(10), at(15))).await;
    on.record(failed(&runs[0], 2, at(15), at(45))).await;
    on.record(succeeded(&runs[1], 1, at(10))).await;
    assert!(expired(&on, id, just_before(runs[0].deadline)).await.is_empty());
    let first = Expired { key: runs[0].key, attempts: 2, deadline: runs[0].deadline, next_attempt_at: Some(at(45)), replay: None };
    assert_eq!(on.store.expired(id, runs[0].deadline, 10).await.unwrap(), [first], "a deadline has passed at its very time");
    assert_eq!(expired(&on, id, runs[2].deadline).await, [(1, 1), (3, 1)]);
    assert_eq!(on.store.expired(id, at(1_000_000), 2).await.unwrap().len(), 2);
    for run in [&runs[0], &runs[2]] {
        on.record(ended(run, DeliveryState::Exhausted, Some(EndReason::Held), run.deadline)).await;
    }
    assert_eq!(expired(&on, id, at(1_000_000)).await, [(4, 1)]);
}

pub async fn deadlines_of_later_runs_pass(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 2).await;
    let sent_again = again(&on, &runs[1], at(100)).await;
    assert_eq!(expired(&on, id, runs[1].deadline).await, [(1, 1)]);
    assert_eq!(expired(&on, id, just_before(sent_again.deadline)).await, [(1, 1)]);
    assert_eq!(expired(&on, id, sent_again.deadline).await, [(1, 1), (2, 2)]);
    on.record(failed(&sent_again, 1, at(101), at(106))).await;
    assert_eq!(expired(&on, id, sent_again.deadline).await, [(1, 1), (2, 2)]);
}

pub async fn a_deleted_endpoints_runs_stay_open(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    on.runs(side, 2).await;
    on.change(id, EndpointChange::Delete).await;
    assert_eq!(open(&on, id, ALL, 10).await, [(1, 1), (2, 1)], "the engine cancels them, step by step");
    assert_eq!(on.store.backlogs(None, 10).await.unwrap().len(), 1);
    assert_eq!(expired(&on, id, at(1_000_000)).await, [(1, 1), (2, 1)]);
}

pub async fn open_runs_have_a_size(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let size = async || on.store.open_size(id).await.unwrap();
    assert_eq!(size().await, OpenSize::default());
    assert_eq!(on.store.open_size(EndpointId::new(1)).await.unwrap(), OpenSize::default());
    let runs = on.runs(side, 3).await;
    on.connected(side).await;
    assert_eq!(size().await, OpenSize { open: 3, oldest: Some(START) });
    on.record(failed(&runs[0], 1, at(10), at(15))).await;
    assert_eq!(size().await.open, 3, "due or not");
    on.record(succeeded(&runs[0], 2, at(15))).await;
    assert_eq!(size().await, OpenSize { open: 2, oldest: Some(at(1)) });
    on.resent(runs[0].key.delivery(), at(20)).await;
    assert_eq!(size().await, OpenSize { open: 3, oldest: Some(START) }, "it is the event's age that counts");
}

pub async fn very_many_open_runs_have_a_size(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let many = 2 * limits::SCAN_MAX;
    for _ in 0..2 {
        on.commit((0..many / 2).map(|_| Write::Publish(publish(side, "invoice.paid", START))).collect()).await;
    }
    assert_eq!(on.store.open_size(id).await.unwrap(), OpenSize { open: many as u64, oldest: Some(START) });
    on.event(side, "invoice.paid", at(1)).await;
    assert_eq!(on.store.open_size(id).await.unwrap().open, many as u64 + 1);
}
