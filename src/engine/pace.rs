//! How fast a lane may go: its in-flight cap with slow start, its [circuit](crate::domain::circuit), and whether it answers as
//! it usually does.

use std::time::Duration;

use crate::domain::attempt::OutcomeKind;
use crate::domain::circuit::{AttemptResult, Circuit, DeliveryKey, Transition};
use crate::domain::retry::Policy;
use crate::domain::time::Timestamp;
use crate::limits;

/// A lane's pace and health. It knows nothing of deliveries.
#[derive(Debug)]
pub(super) struct Pace {
    /// Attempts that may be under way at once at the moment.
    cap: u32,
    /// Its last attempt took a slot for the whole timeout.
    hangs: bool,
    circuit: Circuit,
    /// It came back by itself: until its backlog is gone it goes gently, but not beyond this time.
    gentle_until: Option<Timestamp>,
    taken: Taken,
    latency: Latency,
}

/// Deliveries that the endpoint took lately, to tell how long a backlog lasts.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    since: Option<Timestamp>,
    count: u32,
    /// Of the stretch before this one.
    per_second: Option<f64>,
}

impl Taken {
    /// A stretch is this long at least.
    const STRETCH: Duration = Duration::from_secs(10);

    fn count(&mut self, now: Timestamp) {
        let since = *self.since.get_or_insert(now);
        if now.since(since) >= Self::STRETCH {
            *self = Self { since: Some(now), count: 0, per_second: Some(f64::from(self.count) / now.since(since).as_secs_f64()) };
        }
        self.count += 1;
    }

    fn per_second(&self, now: Timestamp) -> Option<f64> {
        let age = now.since(self.since?);
        if age >= Self::STRETCH * 6 {
            return None;
        }
        let so_far = (age >= Duration::from_secs(1)).then(|| f64::from(self.count) / age.as_secs_f64());
        self.per_second.or(so_far)
    }
}

/// How likely a lane is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It had a success lately.
    Proven,
    /// Nothing speaks for it, and nothing against it.
    Quiet,
    /// It let its last attempt time out, failed several times in a row, or takes much longer than is usual for it.
    Failing,
}

/// How long the endpoint's attempts usually take, and which are under way: what tells that it has stopped answering long before
/// the first of them times out.
#[derive(Debug, Default)]
struct Latency {
    /// Mean of the successes, and mean deviation from it, in milliseconds; both smoothed as TCP does it (RFC 6298).
    usual: Option<(f64, f64)>,
    /// When each attempt under way began, the oldest first.
    running: Vec<(DeliveryKey, Timestamp)>,
}

impl Latency {
    fn learn(&mut self, took: Duration) {
        let took = took.as_secs_f64() * 1000.0;
        self.usual = Some(match self.usual {
            None => (took, took / 2.0),
            Some((mean, deviation)) => (mean + (took - mean) / 8.0, deviation + ((took - mean).abs() - deviation) / 4.0),
        });
    }

    /// Whether the oldest attempt under way takes longer than is usual, by far.
    fn is_stalled(&self, now: Timestamp) -> bool {
        let Some(((mean, deviation), (_, oldest))) = self.usual.zip(self.running.first()) else { return false };
        let bound = Duration::from_secs_f64((mean + 4.0 * deviation) * 2.0 / 1000.0).max(limits::STALLED_AFTER);
        now.since(*oldest) > bound
    }
}

impl Pace {
    pub fn new() -> Self {
        Self { cap: 1, hangs: false, circuit: Circuit::default(), gentle_until: None, taken: Taken::default(), latency: Latency::default() }
    }

    /// An attempt begins.
    pub fn begin(&mut self, delivery: DeliveryKey, now: Timestamp) {
        self.latency.running.push((delivery, now));
    }

    /// An attempt is over, whatever came of it. Answers when it began.
    pub fn end(&mut self, delivery: DeliveryKey) -> Option<Timestamp> {
        let at = self.latency.running.iter().position(|(running, _)| *running == delivery)?;
        Some(self.latency.running.remove(at).1)
    }

    /// Learns from an attempt that came back.
    pub fn learn(&mut self, result: &AttemptResult, ceiling: u32, policy: &Policy, now: Timestamp) -> Transition {
        let began = self.end(result.delivery);
        self.hangs = result.kind == OutcomeKind::TimedOut;
        if result.kind == OutcomeKind::Succeeded {
            began.into_iter().for_each(|began| self.latency.learn(now.since(began)));
            self.taken.count(now);
            self.cap = self.cap.saturating_mul(2).clamp(1, ceiling.max(1));
        } else if self.hangs {
            self.cap = 1;
        }
        let transition = self.circuit.learn(result, policy, now);
        if self.circuit.is_open() || matches!(transition, Transition::Closed { .. }) {
            // What waited goes out at a ramp.
            self.cap = 1;
        }
        transition
    }

    pub fn holds(&self) -> bool {
        self.circuit.is_open()
    }

    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// The wall clock was set forward by this much: the time that was skipped did not pass.
    pub fn shift(&mut self, by: Duration) {
        self.circuit.shift(by);
        self.gentle_until = self.gentle_until.map(|until| until.plus(by));
        self.latency.running.iter_mut().for_each(|(_, began)| *began = began.plus(by));
    }

    /// Whether it had a success lately, and nothing has spoken against it since: a failure now and then does not.
    pub fn is_proven(&self, now: Timestamp) -> bool {
        !self.is_failing() && self.circuit.accepted_at().is_some_and(|at| now.since(at) < limits::PROVEN_FOR)
    }

    /// Its last attempt hung, or several in a row failed.
    pub fn is_failing(&self) -> bool {
        self.hangs || self.circuit.event_failures() >= limits::FAILING_AFTER
    }

    /// What the scheduler goes by when it gives turns.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.is_failing() || self.latency.is_stalled(now) {
            Standing::Failing
        } else if self.is_proven(now) {
            Standing::Proven
        } else {
            Standing::Quiet
        }
    }

    /// The handshake was a success too, and the lane begins anew.
    pub fn connected(&mut self, at: Option<Timestamp>) {
        if at > self.circuit.accepted_at() {
            let latency = std::mem::take(&mut self.latency);
            *self = Self { circuit: Circuit::closed(at), latency, ..Self::new() };
        }
    }

    /// It came back by itself, which proves less than a person's word: until its backlog is gone, but not beyond this time,
    /// it goes gently.
    pub fn go_gently(&mut self, until: Timestamp) {
        self.gentle_until = Some(until);
    }

    /// Its backlog is gone.
    pub fn drained(&mut self) {
        self.gentle_until = None;
    }

    /// Deliveries a second that it takes at present, if it does.
    pub fn per_second(&self, now: Timestamp) -> Option<f64> {
        self.taken.per_second(now)
    }

    /// Attempts that may be under way at once.
    pub fn cap(&self, ceiling: u32, now: Timestamp) -> u32 {
        if self.holds() { 1 } else { self.cap.min(self.ceiling(ceiling, now)) }
    }

    /// The same without slow start: no more than the endpoint may have, and than one that came back by itself should.
    pub fn ceiling(&self, ceiling: u32, now: Timestamp) -> u32 {
        if self.gentle_until.is_some_and(|until| now < until) { ceiling.min(limits::HALF_OPEN_IN_FLIGHT) } else { ceiling }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn result(kind: OutcomeKind) -> AttemptResult {
        AttemptResult { delivery: (1, 1), event_type: "a".into(), failed_since: None, replayed: false, kind }
    }

    fn policy() -> Policy {
        Policy { schedule: [5, 30, 120].map(Duration::from_secs).to_vec(), deadline: Duration::from_secs(86_400) }
    }

    fn after(millis: u64) -> Timestamp {
        START.plus(Duration::from_millis(millis))
    }

    #[test]
    fn it_starts_slowly_and_falls_to_one_on_a_timeout() {
        let mut pace = Pace::new();
        let caps: Vec<u32> = (0..7)
            .map(|_| {
                pace.learn(&result(OutcomeKind::Succeeded), 32, &policy(), START);
                pace.cap(32, START)
            })
            .collect();
        assert_eq!(caps, [2, 4, 8, 16, 32, 32, 32]);
        pace.learn(&result(OutcomeKind::Rejected), 32, &policy(), START);
        assert_eq!(pace.cap(32, START), 32);
        pace.learn(&result(OutcomeKind::TimedOut), 32, &policy(), START);
        assert_eq!(pace.cap(32, START), 1);
    }

    #[test]
    fn an_endpoint_that_stops_answering_is_known_before_its_first_timeout() {
        let mut pace = Pace::new();
        for number in 0..20 {
            pace.begin((number, 1), after(100 * number as u64));
            pace.learn(
                &AttemptResult { delivery: (number, 1), ..result(OutcomeKind::Succeeded) },
                32,
                &policy(),
                after(100 * number as u64 + 5),
            );
        }
        pace.begin((20, 1), after(3000));
        assert_eq!(pace.standing(after(3050)), Standing::Proven, "a pause of a receiver's own is not a stall");
        assert_eq!(pace.standing(after(3200)), Standing::Failing);
        pace.learn(&AttemptResult { delivery: (20, 1), ..result(OutcomeKind::Succeeded) }, 32, &policy(), after(3300));
        assert_eq!(pace.standing(after(3300)), Standing::Proven, "it answers again");
        for number in 21..60 {
            pace.begin((number, 1), after(5000));
            pace.learn(&AttemptResult { delivery: (number, 1), ..result(OutcomeKind::Succeeded) }, 32, &policy(), after(7000));
        }
        pace.begin((60, 1), after(8000));
        assert_eq!(pace.standing(after(10_500)), Standing::Proven, "a slow endpoint is measured by its own latency");
    }
}
