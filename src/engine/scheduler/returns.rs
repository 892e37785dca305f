//! What comes back from attempts, and what follows from it.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Finished, Job, Scheduler, StoreTask};
use crate::domain::attempt::{Attempt, Fault, FaultCause, Outcome, OutcomeKind, Reach};
use crate::domain::circuit::{AttemptResult, Transition};
use crate::domain::delivery::{DeliveryState, EndReason, OpenRun};
use crate::domain::id::EndpointId;
use crate::domain::retry::{self, Decision};
use crate::domain::time::Timestamp;
use crate::engine::jump::Jump;
use crate::engine::lane::key_of;
use crate::store::{NextStep, RecordOutcome};

impl Scheduler {
    /// An attempt came back: what follows for the run, for its lane, and which attempt is next.
    pub fn finished(&mut self, job: Job, started_at: Timestamp, outcome: Outcome, now: Timestamp, jitter: f64) -> Finished {
        let Job { run, plan, standing, epoch } = job;
        self.under_way[standing as usize] -= 1;
        self.unsettled += 1;
        let (endpoint, key, attempts) = (run.key.endpoint, run.key, run.attempts + 1);
        let state = retry::Run { attempts, deadline: Jump::deadline(self.jump, run.deadline, self.policy.deadline) };
        let decision = retry::decide(state, &outcome, &self.policy, now, jitter);
        let (kind, gone) = (outcome.kind, outcome.status == Some(retry::GONE));
        let mended = self.got_through(endpoint, &outcome);
        let policy = Arc::clone(&self.policy);
        let (deadline, replay) = (run.deadline, run.replay);
        let is_first = key.run == 1 && replay.is_none() && kind == OutcomeKind::Succeeded;
        let latency = is_first.then(|| now.since(run.event.created_at));
        let mut transition = Transition::None;
        // Where another node decides by now what follows, only a success counts.
        let after = if !self.is_current(endpoint, epoch) {
            follow(decision, &run, false, None, now)
        } else {
            self.with(endpoint, now, |lane, _| {
                let (event_type, failed_since) = (Arc::clone(&run.event.event_type), run.failed_since);
                let result = AttemptResult { delivery: key_of(key), event_type, failed_since, replayed: replay.is_some(), kind };
                let is_isolated = lane.pace.circuit().is_isolated(failed_since);
                transition = lane.pace.learn(&result, plan.cap, &policy, now);
                let deleted = lane.is_deleted();
                // An isolated run keeps its own times; those of the others are the probes', while the circuit is open.
                let next_probe_at = lane.pace.circuit().next_probe_at(now).filter(|_| !is_isolated);
                let after = follow(decision, &run, deleted, next_probe_at, now);
                lane.returned(key_of(key), retried(run, attempts, after));
                match transition {
                    Transition::Opened => lane.hold(),
                    Transition::Closed { isolated_before } => lane.release(isolated_before),
                    Transition::None => {}
                }
                after
            })
        };
        if gone && kind == OutcomeKind::Rejected {
            self.tasks.push_back(StoreTask::Disable(plan));
        }
        let attempt = Attempt { number: attempts, run: key.run, started_at, outcome };
        let settle = RecordOutcome { key, attempt: Some(attempt), attempts, deadline, now, after, replay, latency, epoch };
        Finished { settle, decision, next: self.next(now), mended, transition }
    }

    /// What an answer says about faults of our own: a kept-alive connection still works, a new one that all is well.
    fn got_through(&mut self, endpoint: EndpointId, outcome: &Outcome) -> Option<(FaultCause, Reach)> {
        outcome.status?;
        self.pause.lift();
        let of_lane = self.lanes.get_mut(&endpoint).and_then(|lane| lane.pause.end()).filter(|(_, reach)| *reach == Reach::Endpoint);
        if outcome.phases.connect.is_some() { self.pause.end().or(of_lane) } else { of_lane }
    }

    /// An attempt could not be made, which is not the endpoint's doing: its run goes back as it was, and none begins for
    /// a while. Answers whether this is the first such fault.
    pub fn faulted(&mut self, job: Job, fault: &Fault, now: Timestamp) -> bool {
        if !self.is_current(job.run.key.endpoint, job.epoch) {
            self.abandoned(job, now);
            return false;
        }
        let Job { run, standing, .. } = job;
        self.under_way[standing as usize] -= 1;
        let endpoint = run.key.endpoint;
        let (of_lane, deleted) = self.with(endpoint, now, |lane, _| {
            lane.give_back(run, now);
            let deleted = lane.is_deleted();
            (lane.pause.fault(fault.cause, fault.reach, now), deleted)
        });
        if deleted {
            self.tasks.push_back(StoreTask::Expire(endpoint));
        }
        if fault.reach == Reach::Endpoint {
            return of_lane;
        }
        let first = self.pause.fault(fault.cause, fault.reach, now);
        // Whichever timer rings then, all lanes get their turns.
        self.timers.extend(self.pause.until(now).map(|at| Reverse((at, endpoint))));
        first
    }
}

fn follow(decision: Decision, run: &OpenRun, deleted: bool, next_probe_at: Option<Timestamp>, now: Timestamp) -> NextStep {
    match decision {
        Decision::Succeeded => NextStep::Ended(DeliveryState::Succeeded, None),
        Decision::Exhausted => NextStep::Ended(DeliveryState::Exhausted, None),
        Decision::RetryAt(_) if deleted => NextStep::Ended(DeliveryState::Cancelled, Some(EndReason::Deleted)),
        // While a lane holds, its probes set the pace; what the row says then matters only after a restart.
        Decision::RetryAt(at) => {
            NextStep::Retry { at: next_probe_at.map_or(at, |probe| at.min(probe)), failed_since: run.failed_since.unwrap_or(now) }
        }
    }
}

fn retried(mut run: OpenRun, attempts: u32, after: NextStep) -> Option<OpenRun> {
    let NextStep::Retry { at, failed_since } = after else { return None };
    run.attempts = attempts;
    run.next_attempt_at = Some(at);
    run.failed_since = Some(failed_since);
    Some(run)
}
