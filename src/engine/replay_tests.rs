//! Replays on the scheduler: behind everything else, in a part of the slots, and never sent twice.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::scheduler::Bounds;
use super::scheduler_tests::{Table, bounds};
use crate::domain::attempt::OutcomeKind;
use crate::domain::delivery::RunKey;
use crate::domain::endpoint::Ordering;
use crate::domain::id::{EndpointId, ReplayId};
use crate::limits;

/// A replay's step has opened these runs in the store.
fn replay(table: &mut Table, endpoint: i64, sequences: RangeInclusive<i64>) {
    for sequence in sequences {
        let mut run = table.run(endpoint, sequence, 10);
        run.key = RunKey { run: 2, ..run.key };
        (run.next_attempt_at, run.replay) = (Some(table.now), Some(ReplayId::new(1)));
        table.stored.entry(run.key.endpoint).or_default().push(run);
    }
    table.scheduler.due(EndpointId::new(endpoint), table.now);
    table.do_chores();
}

/// A table whose endpoint 1 is proven and goes at its full cap of 8.
fn at_full_speed() -> Table {
    let mut table = Table::new(bounds());
    table.open(1, 1..=40, 10);
    table.drain();
    table
}

#[test]
fn a_replay_leaves_slots_for_what_comes_meanwhile() {
    let mut table = at_full_speed();
    replay(&mut table, 1, 1..=40);
    let mut jobs = table.jobs();
    assert_eq!(jobs.len() as u32, 8 / limits::REPLAY_SHARE);
    table.open(1, 41..=42, 10);
    let fresh = table.jobs();
    assert_eq!(fresh.iter().map(|job| job.run.key.sequence).collect::<Vec<_>>(), [41, 42], "they do not wait");
    jobs.extend(fresh);
    let next: Vec<_> = jobs.into_iter().filter_map(|job| table.finish(job, OutcomeKind::Succeeded)).collect();
    assert!(next.iter().all(|job| job.run.replay.is_some()));
}

#[test]
fn everything_else_goes_before_a_replay() {
    let mut table = at_full_speed();
    replay(&mut table, 1, 1..=20);
    table.open(1, 41..=60, 10);
    let sent = table.drain();
    let place = |of: i64| sent.iter().position(|sequence| *sequence == of).expect("it was sent");
    assert_eq!(sent.len(), 40);
    assert!((41..=60).all(|fresh| (2..=20).all(|old| place(fresh) < place(old))), "{sent:?}");
}

#[test]
fn a_long_replay_is_sent_once_and_takes_no_room_from_others() {
    let mut table = at_full_speed();
    replay(&mut table, 1, 1..=1000);
    assert!(table.scheduler.runs_in_memory(EndpointId::new(1)) <= limits::REPLAY_WINDOW);
    let sent = table.drain();
    assert_eq!((sent.len(), sent.iter().collect::<HashSet<_>>().len()), (1000, 1000));
    assert!(table.stored[&EndpointId::new(1)].is_empty());
}

#[test]
fn a_replay_goes_at_a_quarter_of_the_pace_of_what_is_behind() {
    let mut table = Table::new(Bounds { behind_per_second: 4000, ..bounds() });
    table.open(1, 1..=1, 10);
    table.drain();
    replay(&mut table, 1, 1..=500);
    let mut sent = 0;
    for _ in 0..100 {
        table.now = table.now.plus(Duration::from_millis(1));
        table.scheduler.tick(table.now);
        let mut under_way = table.jobs();
        while let Some(job) = under_way.pop() {
            sent += 1;
            under_way.extend(table.finish(job, OutcomeKind::Succeeded));
        }
        table.do_chores();
    }
    assert!((95..=105).contains(&sent), "one in a millisecond: {sent}");
}

#[test]
fn a_run_of_a_replay_that_fails_is_tried_again() {
    let mut table = at_full_speed();
    replay(&mut table, 1, 1..=3);
    for job in table.jobs() {
        assert!(table.finish(job, OutcomeKind::Rejected).is_none());
    }
    assert!(table.jobs().is_empty(), "not yet");
    table.now = table.now.plus(Duration::from_secs(10));
    table.scheduler.tick(table.now);
    table.do_chores();
    assert_eq!(table.drain(), [1, 2, 3]);
}

#[test]
fn a_replay_that_was_dropped_comes_from_the_store_again() {
    let mut table = at_full_speed();
    replay(&mut table, 1, 1..=10);
    table.stored.get_mut(&EndpointId::new(1)).unwrap().retain(|run| run.key.sequence > 5);
    table.scheduler.dropped(EndpointId::new(1), table.now);
    table.do_chores();
    assert_eq!(table.drain(), [6, 7, 8, 9, 10]);
}

#[test]
fn a_strict_endpoints_replay_keeps_its_order_beside_the_events() {
    let mut table = Table::new(bounds());
    table.ordering = Ordering::Strict;
    table.open(1, 1..=2, 10);
    table.drain();
    replay(&mut table, 1, 1..=3);
    let mut replayed = table.jobs();
    assert_eq!(replayed.len(), 1, "one at a time");
    table.open(1, 3..=3, 10);
    let fresh = table.jobs();
    assert_eq!(fresh.iter().map(|job| job.run.key.sequence).collect::<Vec<_>>(), [3], "an event does not wait for it");
    assert!(table.finish(replayed.remove(0), OutcomeKind::Rejected).is_none_or(|job| job.run.replay.is_none()));
    fresh.into_iter().for_each(|job| drop(table.finish(job, OutcomeKind::Succeeded)));
    assert!(table.jobs().is_empty(), "the first of the replay holds those behind it");
    table.now = table.now.plus(Duration::from_secs(10));
    table.scheduler.tick(table.now);
    table.do_chores();
    assert_eq!(table.drain(), [1, 2, 3]);
}
