//! The board as a whole, without a store or a network: who gets a turn, and what is held in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::lane::Read;
use super::plan::Plan;
use super::scheduler::{Bounds, Job, Leap, Scheduler, StoreTask, Tenure};
use crate::domain::attempt::{Outcome, OutcomeKind, Phases};
use crate::domain::delivery::{DeliveryState, EndReason, OpenRun, RunKey};
use crate::domain::endpoint::{Endpoint, EndpointStatus, Ordering, Settings};
use crate::domain::event::{Event, Facts};
use crate::domain::id::{EndpointId, EventId, ReplayId, StreamId, VendorId};
use crate::domain::retry::Policy;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::limits;
use crate::store::{Backlog, Expired, NextStep, OpenAsk, OpenPage, OpenQuery, RecordOutcome};

pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(super) fn bounds() -> Bounds {
    Bounds {
        max_in_flight: 64,
        max_in_flight_per_endpoint: 8,
        lane_window: 100,
        lane_window_bytes: 1 << 20,
        window_bytes: 4 << 20,
        unsettled_max: 4096,
        behind_per_second: 3_000_000,
    }
}

pub(super) fn outcome(kind: OutcomeKind) -> Outcome {
    Outcome {
        kind,
        status: None,
        error: None,
        phases: Phases::default(),
        address: None,
        retry_after: None,
        answer_headers: None,
        answer_body: None,
    }
}

/// A board with a store that is a list of open runs.
pub(super) struct Table {
    pub(super) scheduler: Scheduler,
    pub(super) now: Timestamp,
    pub(super) stored: HashMap<EndpointId, Vec<OpenRun>>,
    pub(super) ordering: Ordering,
}

impl Table {
    pub(super) fn new(bounds: Bounds) -> Self {
        let policy = Policy { schedule: vec![Duration::from_secs(5), Duration::from_secs(30)], deadline: Duration::from_secs(86_400) };
        Self { scheduler: Scheduler::new(bounds, policy, Tenure::alone()), now: START, stored: HashMap::new(), ordering: Ordering::None }
    }

    pub(super) fn run(&self, endpoint: i64, sequence: i64, size: usize) -> OpenRun {
        let data = RawValue::from_string(format!("\"{}\"", "x".repeat(size))).unwrap();
        let event = Event {
            id: EventId { stream: StreamId::new(1), sequence },
            mode: Mode::Live,
            event_type: "a.b".into(),
            created_at: START,
            facts: Facts::Given(data),
            numbered: true,
        };
        OpenRun {
            key: RunKey { endpoint: EndpointId::new(endpoint), sequence, run: 1 },
            event: Arc::new(event),
            attempts: 0,
            deadline: START.plus(Duration::from_secs(86_400)),
            next_attempt_at: None,
            failed_since: None,
            replay: None,
        }
    }

    pub(super) fn open(&mut self, endpoint: i64, sequences: std::ops::RangeInclusive<i64>, size: usize) {
        let runs: Vec<_> = sequences.map(|sequence| self.run(endpoint, sequence, size)).collect();
        self.stored.entry(EndpointId::new(endpoint)).or_default().extend(runs.iter().cloned());
        self.scheduler.opened(runs, self.now);
        self.do_chores();
    }

    pub(super) fn plan(&self, id: EndpointId) -> Plan {
        let url = "https://example.com/".parse().unwrap();
        let settings = Settings { ordering: self.ordering, ..Settings::new(url, Secret::new("secret")) };
        let status = EndpointStatus::Connected;
        let endpoint = Endpoint { status, ..Endpoint::new(id, VendorId::new(1), Mode::Live, StreamId::new(1), settings, START) };
        Plan::new(endpoint, 8, Duration::from_secs(21_600)).unwrap()
    }

    pub(super) fn do_chores(&mut self) {
        while let Some(task) = self.scheduler.next_chore() {
            match task {
                StoreTask::Load(id) => self.scheduler.loaded(id, Some(Arc::new(self.plan(id))), self.now),
                StoreTask::Refill(id, refill) => {
                    let now = self.now;
                    let stored = &self.stored[&id];
                    let is_due = |run: &&OpenRun| run.next_attempt_at.is_some_and(|at| at <= now);
                    let chosen = |run: &&OpenRun| match refill.ordered.expect("asked for").query {
                        _ if run.replay.is_some() => false,
                        OpenQuery::Fresh { after } => run.key.sequence > after && run.next_attempt_at.is_none(),
                        OpenQuery::All { after, .. } => (run.key.sequence, run.key.run) > after,
                        OpenQuery::Strict { .. } => true,
                        _ => false,
                    };
                    let take = |of: Vec<&OpenRun>, OpenAsk { portion, .. }: OpenAsk| {
                        let mut bytes = 0;
                        let fits = |run: &&&OpenRun| {
                            let before = bytes;
                            bytes += run.event.weight();
                            before <= portion.bytes
                        };
                        let runs: Vec<OpenRun> = of.iter().take(portion.rows).take_while(fits).map(|run| (*run).clone()).collect();
                        OpenPage { more: runs.len() < of.len(), runs }
                    };
                    let ordered = refill.ordered.map_or_else(OpenPage::default, |ask| take(stored.iter().filter(chosen).collect(), ask));
                    let waits = stored.iter().filter(is_due).filter(|run| run.replay.is_none()).collect();
                    let due = refill.due.map_or_else(OpenPage::default, |ask| take(waits, ask));
                    let replayed = match refill.replayed {
                        Some(ask @ OpenAsk { query: OpenQuery::Replayed { after, due, .. }, .. }) => {
                            let is_due = |run: &&OpenRun| run.next_attempt_at.is_some_and(|at| at <= due);
                            let behind = |run: &&OpenRun| run.replay.is_some() && (run.key.sequence, run.key.run) > after;
                            take(stored.iter().filter(behind).filter(is_due).collect(), ask)
                        }
                        _ => OpenPage::default(),
                    };
                    let next_due = stored.iter().filter_map(|run| run.next_attempt_at).filter(|at| *at > now).min();
                    self.scheduler.refilled(id, refill, Some(Read { ordered, due, replayed, next_due }), now);
                }
                StoreTask::Expire(_) | StoreTask::Disable(_) => {}
            }
        }
    }

    /// Everything that may go out now.
    pub(super) fn jobs(&mut self) -> Vec<Job> {
        std::iter::from_fn(|| self.scheduler.next(self.now)).collect()
    }

    /// An attempt comes back and is written down.
    pub(super) fn finish(&mut self, job: Job, kind: OutcomeKind) -> Option<Job> {
        let finished = self.scheduler.finished(job, self.now, outcome(kind), self.now, 0.0);
        self.settle(&finished.settle);
        finished.next
    }

    pub(super) fn settle(&mut self, settle: &RecordOutcome) {
        self.write_down(settle);
        self.scheduler.settled(std::slice::from_ref(settle), self.now);
        self.do_chores();
    }

    fn write_down(&mut self, settle: &RecordOutcome) {
        let stored = self.stored.get_mut(&settle.key.endpoint).unwrap();
        let at = stored.iter().position(|run| run.key == settle.key).expect("a run ends once");
        match settle.after {
            NextStep::Ended(..) => drop(stored.remove(at)),
            NextStep::Retry { at: next, failed_since } => {
                stored[at].attempts = settle.attempts;
                stored[at].next_attempt_at = Some(next);
                stored[at].failed_since = Some(failed_since);
            }
        }
    }

    /// Lets everything succeed that comes, and answers with the numbers in the order in which they went out.
    pub(super) fn drain(&mut self) -> Vec<i64> {
        let mut sent = Vec::new();
        let mut jobs = self.jobs();
        while !jobs.is_empty() {
            for job in std::mem::take(&mut jobs) {
                sent.push(job.run.key.sequence);
                jobs.extend(self.finish(job, OutcomeKind::Succeeded));
            }
            jobs.extend(self.jobs());
        }
        sent
    }

    pub(super) fn prove(&mut self, endpoint: i64) {
        self.open(endpoint, 1..=1, 1);
        assert_eq!(self.drain(), [1]);
    }
}

#[test]
fn what_does_not_fit_comes_back_from_the_store_once_and_in_order() {
    for runs in [10, 99, 100, 101, 1000] {
        let mut table = Table::new(bounds());
        table.open(1, 1..=runs, 10);
        let sent = table.drain();
        assert_eq!(sent.len() as i64, runs, "each is sent once");
        assert_eq!(sent.iter().collect::<HashSet<_>>().len() as i64, runs);
        assert_eq!(sent[..5], [1, 2, 3, 4, 5]);
    }
}

/// A table with endpoint 1 far behind, and endpoint 2 that is not, on a scheduler that lets 1000 a second go out behind the
/// others: two at once, after that one in a millisecond.
fn one_is_behind() -> Table {
    let mut table = Table::new(Bounds { behind_per_second: 1000, ..bounds() });
    table.prove(1);
    table.prove(2);
    table.now = table.now.plus(limits::LATELY);
    table.open(1, 2..=1000, 10);
    table
}

#[test]
fn who_is_behind_goes_at_full_speed_while_nobody_else_has_anything() {
    let mut table = one_is_behind();
    assert_eq!(table.drain().len(), 999);
}

#[test]
fn who_is_behind_goes_at_a_pace_while_others_events_go_out_as_they_come() {
    let mut table = one_is_behind();
    let mut under_way = table.jobs();
    assert_eq!(under_way.len(), 2, "slow start");
    let mut sent = [0, 0];
    for millisecond in 0..100 {
        table.now = table.now.plus(Duration::from_millis(1));
        table.open(2, 2 + millisecond..=2 + millisecond, 10);
        table.scheduler.tick(table.now);
        under_way.extend(table.jobs());
        for job in std::mem::take(&mut under_way) {
            sent[job.run.key.endpoint.get() as usize - 1] += 1;
            under_way.extend(table.finish(job, OutcomeKind::Succeeded));
        }
    }
    assert!((99..=102).contains(&sent[1]), "each at once: {sent:?}");
    assert!((95..=110).contains(&sent[0]), "one in a millisecond: {sent:?}");
    assert!(table.scheduler.next_wake().is_some_and(|at| at <= table.now.plus(Duration::from_millis(1))), "a timer rings for the next");
    table.now = table.now.plus(limits::LATELY);
    table.scheduler.tick(table.now);
    under_way.extend(table.jobs());
    while let Some(job) = under_way.pop() {
        sent[0] += 1;
        under_way.extend(table.finish(job, OutcomeKind::Succeeded));
        under_way.extend(table.jobs());
    }
    assert_eq!(sent[0], 999, "and at full speed again once the others have nothing");
}

#[test]
fn a_run_that_was_read_before_its_hand_off_came_is_not_sent_twice() {
    let mut table = Table::new(bounds());
    table.prove(1);
    let run = table.run(1, 2, 10);
    table.stored.get_mut(&run.key.endpoint).unwrap().push(run.clone());
    table.scheduler.unsure(table.now);
    table.do_chores();
    let jobs = table.jobs();
    assert_eq!(jobs.len(), 1);
    table.scheduler.opened(vec![run], table.now);
    table.do_chores();
    assert!(table.jobs().is_empty());
}

#[test]
fn memory_is_bounded_in_runs_and_bytes_for_a_lane_and_for_the_node() {
    let mut table = Table::new(Bounds { window_bytes: 2 << 20, ..bounds() });
    for endpoint in 1..=4 {
        table.prove(endpoint);
    }
    table.open(1, 2..=1000, 10);
    assert!(table.scheduler.runs_in_memory(EndpointId::new(1)) <= 100);
    for endpoint in 2..=4 {
        table.open(endpoint, 2..=50, 60_000);
        assert!(table.scheduler.bytes_in_memory() <= 2 << 20, "{} bytes", table.scheduler.bytes_in_memory());
    }
    assert_eq!(table.drain().len(), 999 + 3 * 49, "and all of it goes out in the end");
    assert_eq!(table.scheduler.bytes_in_memory(), 0);
}

#[test]
fn what_finds_no_room_is_asked_for_again_only_once_there_may_be_some() {
    let mut table = Table::new(Bounds { lane_window_bytes: 100_000, window_bytes: 150_000, ..bounds() });
    table.prove(1);
    for (sequence, size, replay) in [(2, 40_000, None), (3, 80_000, None), (4, 60_000, Some(ReplayId::new(1)))] {
        let run = OpenRun { next_attempt_at: Some(START), replay, ..table.run(1, sequence, size) };
        table.stored.get_mut(&run.key.endpoint).unwrap().push(run);
    }
    table.open(2, 1..=1, 99_000);
    let other = table.jobs().remove(0);
    // The chores would have no end if one led to the next.
    table.scheduler.due(EndpointId::new(1), table.now);
    table.do_chores();
    assert_eq!(table.drain(), [2], "the other lane has most of the room");
    table.finish(other, OutcomeKind::Succeeded);
    assert_eq!(table.drain(), [3, 4]);
}

#[test]
fn lanes_take_turns() {
    let mut table = Table::new(Bounds { max_in_flight: 4, ..bounds() });
    for endpoint in 1..=4 {
        table.prove(endpoint);
    }
    for endpoint in 1..=4 {
        table.open(endpoint, 2..=30, 10);
    }
    let endpoints: HashSet<_> = table.jobs().iter().map(|job| job.run.key.endpoint).collect();
    assert_eq!(endpoints.len(), 4, "each has one under way, none has two");
}

#[test]
fn lanes_that_never_answered_have_a_quarter_of_the_budget() {
    let mut table = Table::new(bounds());
    table.prove(1);
    for endpoint in 100..300 {
        table.open(endpoint, 1..=3, 10);
    }
    let silent = table.jobs();
    assert_eq!(silent.len(), 64 / limits::UNPROVEN_SHARE / 2);
    silent.into_iter().for_each(|job| drop(table.scheduler.finished(job, START, outcome(OutcomeKind::TimedOut), START, 0.0).next));
    while !table.jobs().is_empty() {}
    table.open(99, 1..=1, 10);
    let quiet: Vec<_> = table.jobs();
    assert!(quiet.iter().all(|job| job.run.key.endpoint.get() >= 99), "a quiet one waits for quiet ones only");
    table.open(1, 2..=20, 10);
    let jobs = table.jobs();
    assert!(!jobs.is_empty() && jobs.iter().all(|job| job.run.key.endpoint == EndpointId::new(1)), "the proven one is not kept waiting");
}

#[test]
fn a_lane_that_holds_probes_with_its_oldest_and_then_sends_all_in_order() {
    let mut table = Table::new(bounds());
    table.prove(1);
    table.open(1, 2..=200, 10);
    let mut failed = 0;
    let mut jobs = table.jobs();
    while let Some(job) = jobs.pop() {
        failed += 1;
        jobs.extend(table.finish(job, OutcomeKind::Unreachable));
        jobs.extend(table.jobs());
    }
    assert!((limits::HOLD_AFTER..limits::HOLD_AFTER + 8).contains(&failed), "{failed} attempts were spent");
    assert!(table.scheduler.runs_in_memory(EndpointId::new(1)) < limits::HOLDING_WINDOW + 8, "a few, and those that were under way");
    table.now = table.now.plus(Duration::from_secs(6));
    table.scheduler.tick(table.now);
    table.do_chores();
    let mut probes = table.jobs();
    assert_eq!(probes.iter().map(|job| job.run.key.sequence).collect::<Vec<_>>(), [2], "one probe, the oldest");
    assert!(table.finish(probes.remove(0), OutcomeKind::Succeeded).is_none(), "the rest comes from the store");
    let sent = table.drain();
    assert_eq!(sent.len(), 198, "all the others are due at once");
    assert!(sent.is_sorted(), "in order: {sent:?}");
}

#[test]
fn a_strict_lane_sends_the_next_when_its_predecessor_is_written_down() {
    let mut table = Table::new(bounds());
    table.ordering = Ordering::Strict;
    table.open(1, 1..=5, 10);
    let mut jobs = table.jobs();
    assert_eq!(jobs.len(), 1);
    let finished = table.scheduler.finished(jobs.remove(0), table.now, outcome(OutcomeKind::Succeeded), table.now, 0.0);
    assert!(finished.next.is_none() && table.jobs().is_empty(), "not before it is durable");
    table.write_down(&finished.settle);
    table.scheduler.settled(&[finished.settle], table.now);
    table.do_chores();
    let mut jobs = table.jobs();
    assert_eq!(jobs[0].run.key.sequence, 2);
    assert!(table.finish(jobs.remove(0), OutcomeKind::Rejected).is_none(), "a failing head holds the others");
    table.now = table.now.plus(Duration::from_secs(6));
    table.scheduler.tick(table.now);
    assert_eq!(table.jobs()[0].run.key.sequence, 2);
}

#[test]
fn sending_pauses_when_outcomes_are_not_written_down() {
    let mut table = Table::new(Bounds { unsettled_max: 10, ..bounds() });
    table.prove(1);
    table.open(1, 2..=50, 10);
    let (mut sent, mut settles) = (0, Vec::new());
    let mut jobs = table.jobs();
    while let Some(job) = jobs.pop() {
        sent += 1;
        let finished = table.scheduler.finished(job, table.now, outcome(OutcomeKind::Succeeded), table.now, 0.0);
        settles.push(finished.settle);
        jobs.extend(finished.next);
    }
    assert_eq!(sent, 10);
    settles.iter().for_each(|settle| table.write_down(settle));
    table.scheduler.settled(&settles, table.now);
    table.do_chores();
    assert_eq!(table.drain().len(), 39);
}

// --- A clock that jumps --------------------------------------------------------------------------------------------------

impl Table {
    fn sweep(&mut self) -> Leap {
        let leap = self.scheduler.begin_sweep(self.now);
        let backlog = |(endpoint, runs): (&EndpointId, &Vec<OpenRun>)| {
            runs.iter().map(|run| run.deadline).min().map(|first_deadline| Backlog { endpoint: *endpoint, first_deadline })
        };
        let backlogs: Vec<_> = self.stored.iter().filter_map(backlog).collect();
        self.scheduler.swept(&backlogs, self.now);
        self.scheduler.tidy(self.now);
        self.do_chores();
        leap
    }
}

#[test]
fn all_is_due_in_order_after_the_clock_was_set_back() {
    for ordering in [Ordering::None, Ordering::Strict] {
        let mut table = Table::new(bounds());
        table.ordering = ordering;
        table.prove(1);
        table.open(1, 2..=4, 10);
        let mut jobs = table.jobs();
        while let Some(job) = jobs.pop() {
            jobs.extend(table.finish(job, OutcomeKind::Rejected));
        }
        assert_eq!((table.sweep(), table.jobs().len()), (Leap::None, 0), "they wait for their times");
        let back = Duration::from_secs(7200);
        table.now = Timestamp::from_millis(table.now.as_millis() - 7_200_000);
        assert_eq!((table.sweep(), table.sweep()), (Leap::Back(back), Leap::None), "it is told once");
        assert_eq!(table.drain(), [2, 3, 4]);
        table.now = Timestamp::from_millis(table.now.as_millis() - 4000);
        assert_eq!(table.sweep(), Leap::None, "a small step is none");
    }
}

#[test]
fn nothing_ends_as_blocked_for_a_leap_of_the_clock() {
    for (step, reason) in [(Duration::from_secs(15), Some(EndReason::Blocked)), (Duration::from_secs(90_000), None)] {
        let mut table = Table::new(Bounds { max_in_flight: 1, ..bounds() });
        table.prove(1);
        table.open(1, 2..=3, 10);
        let under_way = table.jobs();
        table.sweep();
        let deadline = START.plus(Duration::from_secs(86_400));
        while table.now <= deadline {
            table.now = table.now.plus(step);
            table.sweep();
        }
        let late = Expired { key: table.run(1, 3, 10).key, attempts: 0, deadline, next_attempt_at: None, replay: None };
        let ended = table.scheduler.expire(EndpointId::new(1), &[late], table.now);
        let expected = reason.map(|reason| NextStep::Ended(DeliveryState::Exhausted, Some(reason)));
        assert_eq!(ended.first().map(|settle| settle.after), expected);
        assert_eq!(under_way.len(), 1);
    }
}

/// Its endpoint is deleted between an attempt that failed and the writing down of that: nobody tries the run again.
#[test]
fn a_retry_that_was_in_hand_when_its_endpoint_was_deleted_ends_when_it_is_written_down() {
    let mut table = Table::new(bounds());
    table.open(1, 1..=1, 1);
    let job = table.jobs().pop().expect("one goes out");
    let finished = table.scheduler.finished(job, table.now, outcome(OutcomeKind::Rejected), table.now, 0.0);
    let mut plan = table.plan(EndpointId::new(1));
    plan.endpoint.deleted = true;
    table.scheduler.loaded(EndpointId::new(1), Some(Arc::new(plan)), table.now);
    let expiring = |scheduler: &mut Scheduler| match scheduler.next_chore() {
        Some(StoreTask::Expire(endpoint)) => endpoint,
        other => panic!("not to be expired, but {other:?}"),
    };
    let run = table.run(1, 1, 1);
    let open = Expired { key: run.key, attempts: 1, deadline: run.deadline, next_attempt_at: None, replay: None };
    let endpoint = expiring(&mut table.scheduler);
    assert!(table.scheduler.expire(endpoint, &[open], table.now).is_empty(), "it is in hand");
    table.write_down(&finished.settle);
    table.scheduler.settled(&[finished.settle], table.now);
    let endpoint = expiring(&mut table.scheduler);
    let ended = table.scheduler.expire(endpoint, &[open], table.now);
    assert_eq!(ended[0].after, NextStep::Ended(DeliveryState::Cancelled, Some(EndReason::Deleted)));
}

/// While the store is busy with something else, the sending goes on; up to a bound.
#[test]
fn what_is_being_written_down_takes_no_room_from_what_is_to_be_sent() {
    let mut table = Table::new(bounds());
    table.prove(1);
    table.open(1, 2..=400, 1);
    let mut jobs = table.jobs();
    let mut attempted = 0;
    while let Some(job) = jobs.pop() {
        jobs.extend(table.scheduler.finished(job, table.now, outcome(OutcomeKind::Succeeded), table.now, 0.0).next);
        attempted += 1;
        table.do_chores();
        assert!(table.scheduler.runs_in_memory(EndpointId::new(1)) <= 200, "as many again as the window has");
    }
    assert!((101..=200).contains(&attempted), "{attempted} were sent before anything was written down");
}
