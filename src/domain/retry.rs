//! The one decision about what follows an attempt. First attempts, retries, resends and replays all pass through it.

use std::time::Duration;

use super::attempt::{Outcome, OutcomeKind};
use super::time::Timestamp;

/// How runs are retried (settings `retry_schedule` and `delivery_deadline`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Wait after the first failure, the second, …; the last one again and again.
    pub schedule: Vec<Duration>,
    /// A run ends this long after its start.
    pub deadline: Duration,
}

impl Policy {
    /// Jitter spreads each wait by this part of it, up and down.
    pub const JITTER: f64 = 0.2;

    /// The wait after the failure number `failures` (1 for the first), without jitter.
    pub fn step(&self, failures: u32) -> Duration {
        let at = (failures.max(1) as usize - 1).min(self.schedule.len() - 1);
        self.schedule[at]
    }
}

/// Where a run stands when one of its attempts comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Attempts made, this one included.
    pub attempts: u32,
    /// When it ends.
    pub deadline: Timestamp,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The endpoint has it.
    Succeeded,
    /// Once more at this time, at the deadline at the latest.
    RetryAt(Timestamp),
    /// The deadline has passed.
    Exhausted,
}

/// Status by which a receiver says that it is gone for good: it disables the endpoint at once.
pub const GONE: u16 = 410;

/// Decides what follows an attempt that came back at `now`. `jitter` is in `-1.0..=1.0`.
///
/// A retry that would be due after the deadline is made at the deadline, and is the last. `Retry-NextStep` on 429 and 503
/// is honoured where it asks for more than the schedule does.
pub fn decide(run: Run, outcome: &Outcome, policy: &Policy, now: Timestamp, jitter: f64) -> Decision {
    if outcome.kind == OutcomeKind::Succeeded {
        return Decision::Succeeded;
    }
    if now >= run.deadline {
        return Decision::Exhausted;
    }
    let wait = policy.step(run.attempts).mul_f64(1.0 + Policy::JITTER * jitter.clamp(-1.0, 1.0));
    let asked = if matches!(outcome.status, Some(429 | 503)) { outcome.retry_after.unwrap_or_default() } else { Duration::ZERO };
    Decision::RetryAt(now.plus(wait.max(asked)).min(run.deadline))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::Phases;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn policy() -> Policy {
        Policy { schedule: [5, 30, 120, 600, 1800, 3600, 7200, 14400].map(Duration::from_secs).to_vec(), deadline: DAY }
    }

    fn outcome(kind: OutcomeKind, status: Option<u16>, retry_after: Option<u64>) -> Outcome {
        Outcome {
            kind,
            status,
            error: None,
            phases: Phases::default(),
            address: None,
            retry_after: retry_after.map(Duration::from_secs),
            answer_headers: None,
            answer_body: None,
        }
    }

    fn run(attempts: u32) -> Run {
        Run { attempts, deadline: START.plus(DAY) }
    }

    #[test]
    fn a_failing_run_follows_the_schedule_and_ends_at_its_deadline() {
        let failed = outcome(OutcomeKind::Rejected, Some(500), None);
        let (mut now, mut waits) = (START, Vec::new());
        let ended = loop {
            match decide(run(waits.len() as u32 + 1), &failed, &policy(), now, 0.0) {
                Decision::RetryAt(at) => {
                    waits.push(at.since(now).as_secs());
                    now = at;
                }
                decision => break decision,
            }
        };
        assert_eq!(ended, Decision::Exhausted);
        assert_eq!(now, START.plus(DAY), "the last attempt is made at the deadline");
        assert_eq!(waits[..9], [5, 30, 120, 600, 1800, 3600, 7200, 14400, 14400]);
    }

    #[test]
    fn retry_after_is_honoured_on_429_and_503_up_to_the_deadline() {
        for (status, asked, wait) in [(429, 60, 60), (503, 60, 60), (500, 60, 5), (429, 1, 5), (503, 1_000_000, 86_400)] {
            let decision = decide(run(1), &outcome(OutcomeKind::Rejected, Some(status), Some(asked)), &policy(), START, 0.0);
            assert_eq!(decision, Decision::RetryAt(START.plus(Duration::from_secs(wait))), "{status} {asked}");
        }
    }

    #[test]
    fn success_counts_even_after_the_deadline() {
        let late = START.plus(DAY).plus(DAY);
        assert_eq!(decide(run(3), &outcome(OutcomeKind::Succeeded, Some(204), None), &policy(), late, 0.0), Decision::Succeeded);
        assert_eq!(decide(run(3), &outcome(OutcomeKind::TimedOut, None, None), &policy(), late, 0.0), Decision::Exhausted);
    }

    proptest::proptest! {
        #[test]
        fn a_wait_stays_within_its_jitter(attempts in 1_u32..50, jitter in -1.0_f64..=1.0) {
            let Decision::RetryAt(at) = decide(run(attempts), &outcome(OutcomeKind::Unreachable, None, None), &policy(), START, jitter) else {
                panic!("it is retried");
            };
            let (wait, step) = (at.since(START).as_secs_f64(), policy().step(attempts).as_secs_f64());
            proptest::prop_assert!(wait >= step * 0.8 - 0.001 && wait <= step * 1.2 + 0.001);
        }
    }
}
