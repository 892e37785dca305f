//! Faults of our own, on a scheduler without a store or a network: what goes back, who pauses, and for how long.

use std::sync::Arc;
use std::time::Duration;

use super::scheduler::Job;
use super::scheduler_tests::{Table, bounds, outcome};
use crate::domain::attempt::{Fault, FaultCause, Outcome, OutcomeKind, Phases, Reach};
use crate::domain::endpoint::{EndpointStatus, Ordering};
use crate::domain::id::EndpointId;
use crate::limits;

fn sequences(jobs: &[Job]) -> Vec<i64> {
    jobs.iter().map(|job| job.run.key.sequence).collect()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl Table {
    /// A fault keeps an attempt from being made. Answers whether it is the first.
    fn fault(&mut self, job: Job, reach: Reach) -> bool {
        let fault = Fault { cause: FaultCause::Proxy, reach, text: "closed".to_owned() };
        self.scheduler.faulted(job, &fault, self.now)
    }

    /// An answer comes, with these phases; answers which fault is over with it, and what may go out then.
    fn answer(&mut self, job: Job, phases: Phases) -> (Option<(FaultCause, Reach)>, Vec<Job>) {
        let outcome = Outcome { status: Some(204), phases, ..outcome(OutcomeKind::Succeeded) };
        let finished = self.scheduler.finished(job, self.now, outcome, self.now, 0.0);
        self.settle(&finished.settle);
        (finished.mended, finished.next.into_iter().chain(self.jobs()).collect())
    }

    fn wait(&mut self, by: Duration) {
        self.now = self.now.plus(by);
        self.scheduler.tick(self.now);
        self.do_chores();
    }
}

const ANEW: Phases = Phases { resolve: None, connect: Some(1), tls: None, first_byte: None, total: 1 };
const KEPT_ALIVE: Phases = Phases { connect: None, ..ANEW };

#[test]
fn a_fault_spends_no_attempt_and_pauses_all_lanes() {
    let mut table = Table::new(bounds());
    (1..=2).for_each(|endpoint| table.prove(endpoint));
    (1..=2).for_each(|endpoint| table.open(endpoint, 2..=9, 10));
    let under_way = table.jobs();
    assert!(under_way.len() >= 4, "{} attempts", under_way.len());
    let first: Vec<bool> = under_way.into_iter().map(|job| table.fault(job, Reach::Node)).collect();
    assert_eq!(first.iter().filter(|first| **first).count(), 1, "it is told once");
    table.open(3, 1..=1, 10);
    assert!(table.jobs().is_empty(), "whichever lane it is");
    assert_eq!((table.scheduler.in_flight(), table.scheduler.unsettled()), (0, 0), "nothing is to be written down");
    assert_eq!(table.scheduler.next_wake(), Some(table.now.plus(limits::FAULT_PAUSE)));
    table.wait(limits::FAULT_PAUSE);
    let again = table.jobs();
    assert!(again.iter().all(|job| job.run.attempts == 0 && job.run.next_attempt_at.is_none() && job.run.failed_since.is_none()));
    assert!(again.into_iter().all(|job| !table.fault(job, Reach::Node)), "it is still the same one");
    table.wait(limits::FAULT_PAUSE);
    assert!(table.jobs().is_empty(), "the next pause is longer");
    table.wait(limits::FAULT_PAUSE);
    let sent = table.drain();
    assert_eq!(sent.len(), 8 + 8 + 1, "each is sent once");
}

#[test]
fn an_answer_ends_the_pause() {
    let mut table = Table::new(bounds());
    (1..=2).for_each(|endpoint| table.prove(endpoint));
    table.open(1, 2..=3, 10);
    let mut jobs = table.jobs();
    table.fault(jobs.remove(0), Reach::Node);
    table.open(2, 2..=2, 10);
    assert!(table.jobs().is_empty());
    let (mended, mut jobs) = table.answer(jobs.remove(0), KEPT_ALIVE);
    assert_eq!(mended, None, "an old connection says nothing about new ones");
    assert_eq!(sequences(&jobs), [2, 2], "but there is no need to wait");
    assert_eq!(table.answer(jobs.remove(0), ANEW).0, Some((FaultCause::Proxy, Reach::Node)));
    assert_eq!(table.answer(jobs.remove(0), ANEW).0, None, "it is told once");
}

#[test]
fn what_was_tried_before_keeps_its_count_and_its_times() {
    let mut table = Table::new(bounds());
    table.prove(1);
    table.open(1, 2..=2, 10);
    let job = table.jobs().remove(0);
    table.finish(job, OutcomeKind::Rejected);
    table.wait(seconds(5));
    let job = table.jobs().remove(0);
    let before = job.run.clone();
    assert_eq!(before.attempts, 1);
    table.fault(job, Reach::Node);
    table.wait(limits::FAULT_PAUSE);
    let after = table.jobs().remove(0).run;
    assert_eq!(
        (after.attempts, after.next_attempt_at, after.failed_since),
        (before.attempts, before.next_attempt_at, before.failed_since),
        "it is as it was"
    );
}

#[test]
fn a_strict_head_is_the_head_again() {
    let mut table = Table::new(bounds());
    table.ordering = Ordering::Strict;
    table.open(1, 1..=5, 10);
    for _ in 0..3 {
        let mut jobs = table.jobs();
        assert_eq!(sequences(&jobs), [1]);
        table.fault(jobs.remove(0), Reach::Node);
        assert!(table.jobs().is_empty());
        table.wait(limits::FAULT_PAUSE_MAX);
    }
    assert_eq!(table.drain(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_fault_on_the_way_to_one_endpoint_pauses_its_lane_alone() {
    let mut table = Table::new(bounds());
    (1..=2).for_each(|endpoint| table.prove(endpoint));
    table.open(1, 2..=4, 10);
    let faulty = table.jobs();
    let first: Vec<bool> = faulty.into_iter().map(|job| table.fault(job, Reach::Endpoint)).collect();
    assert!(first[0] && first[1..].iter().all(|first| !first));
    table.open(2, 2..=9, 10);
    let endpoint = EndpointId::new(2);
    assert!(table.jobs().iter().all(|job| job.run.key.endpoint == endpoint), "the other one sends");
    table.wait(limits::FAULT_PAUSE);
    let mut jobs: Vec<_> = table.jobs().into_iter().filter(|job| job.run.key.endpoint != endpoint).collect();
    assert_eq!(sequences(&jobs)[..2], [2, 3]);
    assert_eq!(table.answer(jobs.remove(0), ANEW).0, Some((FaultCause::Proxy, Reach::Endpoint)));
}

#[test]
fn a_probe_that_meets_a_fault_teaches_nothing() {
    let mut table = Table::new(bounds());
    table.prove(1);
    table.open(1, 2..=30, 10);
    let mut jobs = table.jobs();
    while let Some(job) = jobs.pop() {
        jobs.extend(table.finish(job, OutcomeKind::Unreachable));
        jobs.extend(table.jobs());
    }
    table.wait(seconds(6));
    for wait in [1, 2, 4] {
        let mut probes = table.jobs();
        assert_eq!(sequences(&probes), [2], "the oldest");
        table.fault(probes.remove(0), Reach::Node);
        assert!(table.jobs().is_empty());
        table.wait(seconds(wait));
    }
    let probe = table.jobs().remove(0);
    table.finish(probe, OutcomeKind::Succeeded);
    let sent = table.drain();
    assert_eq!((sent.len(), sent.is_sorted()), (28, true), "{sent:?}");
}

#[test]
fn what_comes_back_to_an_endpoint_that_does_not_send_waits_in_the_store() {
    let mut table = Table::new(bounds());
    table.prove(1);
    table.open(1, 2..=2, 10);
    let job = table.jobs().remove(0);
    let id = EndpointId::new(1);
    let mut disabled = table.plan(id);
    disabled.endpoint.status = EndpointStatus::Disabled;
    table.scheduler.loaded(id, Some(Arc::new(disabled)), table.now);
    table.fault(job, Reach::Node);
    table.wait(limits::FAULT_PAUSE);
    assert_eq!((table.jobs().len(), table.scheduler.runs_in_memory(id), table.scheduler.bytes_in_memory()), (0, 0, 0));
    table.scheduler.loaded(id, Some(Arc::new(table.plan(id))), table.now);
    table.do_chores();
    assert_eq!(table.drain(), [2]);
}
