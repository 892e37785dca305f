//! Attempts: each is made, judged by the scheduler, and written down.

use std::sync::Arc;

use super::Engine;
use super::scheduler::{Finished, Job};
use crate::domain::attempt::{Fault, FaultCause, Reach};
use crate::domain::circuit::Transition;
use crate::domain::endpoint::Ordering as Strictness;
use crate::domain::id::EndpointId;
use crate::domain::retry::Decision;
use crate::failpoint;
use crate::store::RecordOutcome;
use crate::store::group_commit::Haste;
use crate::wire::Turn;

impl Engine {
    /// Makes an attempt, and then whichever is next, until there is none.
    pub(super) async fn attempts(self: Arc<Self>, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            next = self.attempt(job).await;
        }
    }

    async fn attempt(&self, job: Job) -> Option<Job> {
        let started_at = self.now();
        let mut iv = [0; 16];
        self.environment.entropy.fill(&mut iv);
        let turn = Turn { number: job.run.attempts + 1, at: started_at };
        let write = || job.plan.writer.event(&job.run.event, turn, iv);
        self.meters.in_flight.increment(1);
        let mut revoked = self.revoked.subscribe();
        failpoint::reach("attempt.before");
        let sent = tokio::select! {
            biased;
            sent = self.transport.send(&job.plan.target, write) => Some(sent),
            _ = revoked.changed() => None,
        };
        self.meters.in_flight.decrement(1);
        failpoint::reach("attempt.after");
        let Some(sent) = sent else {
            self.act(|scheduler, now| scheduler.abandoned(job, now));
            return None;
        };
        let outcome = match sent {
            Ok(outcome) => outcome,
            Err(fault) => return self.faulted(job, &fault),
        };
        self.meters.attempts(outcome.kind).increment(1);
        if let Some(traces) = &self.traces {
            traces.attempt(&job.run, job.plan.endpoint.vendor, started_at, &outcome);
        }
        tracing::debug!(
            endpoint.id = %job.run.key.endpoint, event.id = %job.run.event.id, delivery.id = %job.run.key.delivery(), attempt = job.run.attempts + 1,
            outcome = outcome.kind.as_str(), status = outcome.status, error = outcome.error, duration_ms = outcome.phases.total / 1000,
            "attempted a delivery"
        );
        let jitter = self.environment.entropy.jitter();
        let key = job.run.key;
        let is_strict = job.plan.endpoint.settings.ordering == Strictness::Strict;
        let Finished { settle, decision, next, mended, transition } =
            self.act(|scheduler, now| scheduler.finished(job, started_at, outcome, now, jitter));
        settle.latency.into_iter().for_each(|took| self.meters.delivery_seconds.record(took.as_secs_f64()));
        if decision == Decision::Exhausted {
            tracing::info!(delivery.id = %key.delivery(), attempts = settle.attempts, "a delivery is exhausted: its deadline has passed");
        }
        match transition {
            Transition::Opened => {
                tracing::warn!(endpoint.id = %key.endpoint, "the endpoint keeps failing; its circuit is open and probes go out")
            }
            Transition::Closed { .. } => {
                tracing::info!(endpoint.id = %key.endpoint, "the endpoint accepts events again; its circuit is closed")
            }
            Transition::None => {}
        }
        if let Some((cause, reach)) = mended {
            self.mended(key.endpoint, cause, reach);
        }
        self.settle(settle, if is_strict { Haste::Now } else { Haste::None });
        next
    }

    /// No attempt could be made. What can be sent now is set off by the scheduler.
    fn faulted(&self, job: Job, fault: &Fault) -> Option<Job> {
        self.meters.faults(fault.cause).increment(1);
        let endpoint = job.run.key.endpoint;
        if self.act(|scheduler, now| scheduler.faulted(job, fault, now)) {
            let (cause, error) = (fault.cause.as_str(), &fault.text);
            match fault.reach {
                Reach::Node => tracing::warn!(cause, %error, "nothing can be sent; deliveries wait and spend no attempts"),
                Reach::Endpoint => {
                    tracing::warn!(endpoint.id = %endpoint, cause, %error, "nothing can be sent to the endpoint; its deliveries wait and spend no attempts");
                }
            }
        }
        None
    }

    fn mended(&self, endpoint: EndpointId, cause: FaultCause, reach: Reach) {
        let cause = cause.as_str();
        match reach {
            Reach::Node => tracing::info!(cause, "requests get through again"),
            Reach::Endpoint => tracing::info!(endpoint.id = %endpoint, cause, "requests to the endpoint get through again"),
        }
    }

    /// Writes an outcome. A strict lane waits for it before it goes on.
    pub(super) fn settle(&self, settle: RecordOutcome, haste: Haste) {
        self.committer.get().expect("it is set at the start").settle(settle, haste);
    }
}
