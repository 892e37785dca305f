//! What the engine is told by the committer and by ops: hints, and outcomes that were written.

use std::time::Duration;

use super::Engine;
use super::scheduler::Scheduler;
use crate::domain::delivery::RunKey;
use crate::domain::id::EndpointId;
use crate::store::cluster::Hint;
use crate::store::group_commit::Handoff;
use crate::store::{NextStep, OpenRun, RecordOutcome, Settled, StoreError, Written};

impl Handoff for Engine {
    fn opened(&self, runs: Vec<OpenRun>) {
        self.meters.backlog.increment(runs.len() as f64);
        self.trace_opened(&runs);
        for (owner, run) in self.act(|scheduler, now| scheduler.opened(runs, now)) {
            self.tell(owner, Hint::Opened { endpoint: run.endpoint, from: run.sequence });
        }
    }

    fn changed(&self, endpoint: EndpointId) {
        // Another owner hears of it from the database, with the commit.
        self.changed_here(endpoint);
    }

    fn due(&self, endpoint: EndpointId) {
        self.at_owner(Hint::Due(endpoint), endpoint, |scheduler, now| scheduler.due(endpoint, now));
    }

    fn dropped(&self, endpoint: EndpointId) {
        self.at_owner(Hint::Dropped(endpoint), endpoint, |scheduler, now| scheduler.dropped(endpoint, now));
    }

    fn cancelled(&self, endpoint: EndpointId, runs: Vec<RunKey>) {
        self.at_owner(Hint::Dropped(endpoint), endpoint, |scheduler, now| scheduler.cancelled(endpoint, &runs, now));
    }

    fn replaying(&self, endpoint: EndpointId) {
        self.at_owner(Hint::Replaying, endpoint, |_, _| self.replays.notify_one());
    }

    fn placed(&self) {
        Self::placed(self);
    }

    fn pace(&self, endpoint: EndpointId) -> Option<f64> {
        self.scheduler.lock().pace(endpoint, self.now())
    }

    fn in_flight(&self) -> usize {
        self.scheduler.lock().in_flight()
    }

    fn holds_lease(&self) -> bool {
        self.scheduler.lock().tenure().0
    }

    fn settled(&self, outcomes: Vec<(RecordOutcome, Result<Written, StoreError>)>) {
        let (mut written, mut late, mut refused) = (Vec::with_capacity(outcomes.len()), Vec::new(), Vec::new());
        for (settle, answer) in outcomes {
            match answer {
                Ok(answer) => {
                    late.extend(matches!(answer, Written::Settled(Settled::Late)).then_some((settle.key, settle.epoch)));
                    written.push(settle);
                }
                Err(error) => {
                    if refused.is_empty() {
                        super::failed("outcomes", &error);
                    }
                    refused.push(settle);
                }
            }
        }
        if written.iter().any(|settle| settle.replay.is_some()) {
            self.replays.notify_one();
        }
        let ended = written.iter().filter(|settle| matches!(settle.after, NextStep::Ended(..))).count();
        self.meters.backlog.decrement(ended as f64);
        self.trace_settled(&written);
        self.act(|scheduler, now| {
            scheduler.over(&late);
            scheduler.settled(&written, now);
        });
        if !refused.is_empty() {
            self.settle_again(refused);
        }
    }

    fn unsure(&self) {
        self.act(Scheduler::unsure);
    }

    fn committed(&self, rows: usize, took: Duration) {
        self.meters.commit_batch_size.record(rows as f64);
        self.meters.commit_seconds.record(took.as_secs_f64());
    }

    fn failed(&self, error: &StoreError) {
        self.meters.store_error(error.kind());
    }
}
