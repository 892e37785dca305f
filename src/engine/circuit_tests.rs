//! The board while endpoints fail, hang or reject a single event, and while the clock jumps.

use std::collections::HashSet;
use std::time::Duration;

use super::scheduler::Job;
use super::scheduler_tests::{START, Table, bounds, outcome};
use crate::domain::attempt::OutcomeKind;
use crate::domain::delivery::{DeliveryState, EndReason};
use crate::domain::endpoint::Ordering;
use crate::domain::id::EndpointId;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::{Expired, NextStep};

const DAY: Duration = Duration::from_secs(86_400);

impl Table {
    fn pass(&mut self, by: Duration) {
        self.now = self.now.plus(by);
        self.scheduler.tick(self.now);
        self.do_chores();
    }

    /// Lets all that goes out come back, judged by `accepts`; answers the numbers that were accepted.
    fn judge(&mut self, accepts: impl Fn(i64) -> bool) -> Vec<i64> {
        let (mut accepted, mut jobs) = (Vec::new(), self.jobs());
        while !jobs.is_empty() {
            for job in std::mem::take(&mut jobs) {
                let sequence = job.run.key.sequence;
                let kind = if accepts(sequence) { OutcomeKind::Succeeded } else { OutcomeKind::Rejected };
                accepted.extend(accepts(sequence).then_some(sequence));
                jobs.extend(self.finish(job, kind));
            }
            jobs.extend(self.jobs());
        }
        accepted
    }
}

#[test]
fn one_event_that_is_never_accepted_holds_up_nothing_else() {
    for poison in [HashSet::from([2]), (2..=15).collect()] {
        let mut table = Table::new(bounds());
        table.prove(1);
        table.open(1, 2..=40, 10);
        let mut accepted = table.judge(|_| false);
        assert!(accepted.is_empty());
        let down_until = table.now.plus(Duration::from_secs(600));
        while table.now < down_until {
            table.pass(Duration::from_secs(5));
            accepted.extend(table.judge(|_| false));
        }
        table.open(1, 41..=41, 10);
        let mut passed = Duration::ZERO;
        while accepted.len() < 40 - poison.len() {
            table.pass(Duration::from_secs(5));
            accepted.extend(table.judge(|sequence| !poison.contains(&sequence)));
            passed += Duration::from_secs(5);
            assert!(passed <= 3 * limits::PROBE_MAX, "{accepted:?} after {passed:?} with {} poisonous", poison.len());
        }
        // From now on they keep their own schedule, and the circuit stays closed.
        for number in 42..100 {
            table.open(1, number..=number, 10);
            assert_eq!(table.judge(|sequence| !poison.contains(&sequence)), [number], "with {} poisonous", poison.len());
            table.pass(Duration::from_secs(31));
        }
    }
}

#[test]
fn a_strict_head_steps_aside_while_the_circuit_is_open() {
    let mut table = Table { ordering: Ordering::Strict, ..Table::new(bounds()) };
    table.prove(1);
    table.open(1, 2..=6, 10);
    let hold = Duration::from_secs(21_600);
    let (begun, mut accepted) = (table.now, Vec::new());
    while accepted.is_empty() && table.now < begun.plus(2 * hold) {
        // Only its head is never accepted; everything is down for an hour.
        let is_down = table.now < begun.plus(Duration::from_secs(3600));
        accepted = table.judge(|sequence| !is_down && sequence != 2);
        table.pass(Duration::from_secs(30));
    }
    assert_eq!(accepted, [3, 4, 5, 6], "in order, and not before");
    let after = table.now.since(begun);
    assert!(after >= hold && after < hold + Duration::from_secs(300), "{after:?}");
}

#[test]
fn endpoints_that_begin_to_hang_at_once_leave_room_for_the_others() {
    const CROWD: i64 = 30;
    let mut table = Table::new(bounds());
    for endpoint in 1..=CROWD + 1 {
        table.open(endpoint, 1..=40, 10);
        table.drain();
    }
    // All but the last one hang, each with more to send than it may have under way.
    let mut hanging: Vec<Job> = Vec::new();
    for endpoint in 1..=CROWD {
        table.open(endpoint, 41..=60, 10);
        hanging.extend(table.jobs());
    }
    assert!(hanging.len() >= CROWD as usize, "each has one under way");
    for number in 41..=90 {
        table.pass(Duration::from_millis(20));
        hanging.extend(table.jobs());
        table.open(CROWD + 1, number..=number, 10);
        let jobs = table.jobs();
        let (well, more): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.run.key.endpoint == EndpointId::new(CROWD + 1));
        hanging.extend(more);
        assert_eq!(well.len(), 1, "event {number} of the endpoint that is well goes out as it came");
        well.into_iter().for_each(|job| drop(table.finish(job, OutcomeKind::Succeeded)));
    }
    let most = bounds().max_in_flight;
    assert!(hanging.len() <= most - most / 8, "{} of {most} slots hang", hanging.len());
    // They answer again, and are served as before.
    while let Some(job) = hanging.pop() {
        hanging.extend(table.finish(job, OutcomeKind::Succeeded));
        hanging.extend(table.jobs());
    }
    assert!(table.stored.values().all(Vec::is_empty), "nothing is left behind");
}

#[test]
fn what_the_clock_skipped_did_not_pass() {
    let mut table = Table::new(bounds());
    let mut steady = Duration::ZERO;
    table.scheduler.observe_clock(table.now, steady);
    table.prove(1);
    table.open(1, 2..=30, 10);
    table.judge(|_| false);
    steady += Duration::from_secs(1);
    table.now = table.now.plus(DAY + Duration::from_secs(1));
    table.scheduler.observe_clock(table.now, steady);
    table.pass(Duration::ZERO);
    assert!(table.jobs().is_empty(), "the next probe is still to come");
    let deadline = START.plus(DAY);
    let late = Expired { key: table.run(1, 9, 10).key, attempts: 1, deadline, next_attempt_at: None, replay: None };
    assert!(table.scheduler.expire(EndpointId::new(1), &[late], table.now).is_empty(), "its deadline was skipped, not reached");
    table.pass(Duration::from_secs(5));
    let mut probes = table.jobs();
    assert_eq!(probes.len(), 1);
    let finished = table.scheduler.finished(probes.remove(0), table.now, outcome(OutcomeKind::Rejected), table.now, 0.0);
    assert!(matches!(finished.settle.after, NextStep::Retry { .. }), "it is retried for the rest of its day: {:?}", finished.settle.after);
    let end = Timestamp::from_millis(deadline.as_millis() + i64::try_from(DAY.as_millis()).unwrap() + 1000);
    let ended = table.scheduler.expire(EndpointId::new(1), &[late], end);
    assert_eq!(ended.first().map(|settle| settle.after), Some(NextStep::Ended(DeliveryState::Exhausted, Some(EndReason::Held))));
}
