//! The circuit breaker of an endpoint: when deliveries flow, and what is tried while they do not.
//!
//! ```text
//!              ten failures in a row, of several deliveries
//!   ┌────────┐ ───────────────────────────────────────────▶ ┌──────┐ ──┐ a probe fails:
//!   │ closed │                                              │ open │   │ the next one tries another delivery
//!   └────────┘ ◀─────────────────────────────────────────── └──────┘ ◀─┘
//!              one success, of whatever delivery
//! ```
//!
//! A probe tests the endpoint, not one delivery: after a probe has failed the next one tries a delivery that was not probed
//! lately, of another event type if there is one, and the newest in turn with the oldest.
//!
//! **Isolated failures.** A delivery that fails although the endpoint has accepted something since its first failure says
//! something about that delivery and nothing about the endpoint. Such failures never open the circuit; when it closes,
//! isolated deliveries are not made due with the others but keep their own retry schedule. The store applies the same rule
//! to `failing_since`, and with it to warnings and disabling ([`is_isolated`]).
//!
//! **Replays.** What a replay sends again does not hold up new events: a circuit that only replayed deliveries opened lets the
//! next event through ([`Circuit::is_open_for_replays`]).
//!
//! docs/circuit.md says the same for operators.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::OutcomeKind;
use super::retry::Policy;
use super::time::Timestamp;
use crate::limits;

/// A delivery of the endpoint: the event's number, and the run.
pub type DeliveryKey = (i64, u32);

/// Whether a failure says nothing about the endpoint: the delivery had failed before, and the endpoint has accepted another
/// one since.
pub fn is_isolated(failed_since: Option<Timestamp>, accepted_at: Option<Timestamp>) -> bool {
    failed_since.zip(accepted_at).is_some_and(|(failed_since, accepted_at)| failed_since < accepted_at)
}

/// An attempt that came back.
#[derive(Debug, Clone)]
pub struct AttemptResult {
    /// The delivery.
    pub delivery: DeliveryKey,
    /// Type of its event.
    pub event_type: Arc<str>,
    /// When the delivery first failed, if it had failed before this attempt.
    pub failed_since: Option<Timestamp>,
    /// A replay made it.
    pub replayed: bool,
    /// The outcome.
    pub kind: OutcomeKind,
}

/// What a result did to the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Nothing.
    None,
    /// It opened: deliveries wait, and probes go out.
    Opened,
    /// It closed: what waited is due, but for deliveries that have been failing since before this time.
    Closed {
        /// When the endpoint had last accepted something before the success that closed it.
        isolated_before: Option<Timestamp>,
    },
}

/// A delivery that a probe may try.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The delivery.
    pub delivery: DeliveryKey,
    /// Type of its event.
    pub event_type: &'a str,
    /// When it first failed, if it has.
    pub failed_since: Option<Timestamp>,
}

/// The circuit of one endpoint. It knows no clock: `now` is an argument.
#[derive(Debug, Default)]
pub struct Circuit {
    /// In a row. Isolated failures do not count.
    failures: u32,
    /// Of those, failures of events and not of what a replay sends again.
    event_failures: u32,
    /// The delivery that failed first of them.
    first_failed: Option<DeliveryKey>,
    /// Another delivery failed, too.
    is_several: bool,
    open: Option<Open>,
    accepted_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Open {
    /// Probes so far; opening it counts as the first.
    probes: u32,
    next_probe_at: Timestamp,
    /// The latest deliveries that were probed, the last one at the end.
    probed: Vec<DeliveryKey>,
    /// Type of the event that was probed last.
    last_type: Option<Arc<str>>,
}

impl Circuit {
    /// A closed circuit of an endpoint that last accepted something at `accepted_at`.
    pub fn closed(accepted_at: Option<Timestamp>) -> Self {
        Self { accepted_at, ..Self::default() }
    }

    /// Learns from an attempt that came back at `now`.
    pub fn learn(&mut self, result: &AttemptResult, policy: &Policy, now: Timestamp) -> Transition {
        if result.kind == OutcomeKind::Succeeded { self.accepted(result.replayed, now) } else { self.failed(result, policy, now) }
    }

    fn accepted(&mut self, replayed: bool, now: Timestamp) -> Transition {
        // An event that gets through says nothing about a replay that does not: its runs keep their own times.
        let closes_for_all = !self.is_open_for_replays() || replayed;
        let isolated_before = self.accepted_at.replace(now);
        (self.failures, self.event_failures, self.first_failed, self.is_several) = (0, 0, None, false);
        match self.open.take() {
            Some(_) if closes_for_all => Transition::Closed { isolated_before },
            _ => Transition::None,
        }
    }

    fn failed(&mut self, result: &AttemptResult, policy: &Policy, now: Timestamp) -> Transition {
        if !self.is_isolated(result.failed_since) {
            self.failures = self.failures.saturating_add(1);
            self.event_failures = self.event_failures.saturating_add(u32::from(!result.replayed));
            self.is_several |= *self.first_failed.get_or_insert(result.delivery) != result.delivery;
        }
        let Some(open) = &mut self.open else {
            if self.failures < limits::HOLD_AFTER || !self.is_several {
                return Transition::None;
            }
            let open = Open { probes: 1, next_probe_at: now.plus(wait(policy, 1)), probed: Vec::new(), last_type: None };
            self.open = Some(open);
            return Transition::Opened;
        };
        // What was under way when it opened is not a probe.
        if now >= open.next_probe_at(now) {
            open.probes = open.probes.saturating_add(1);
            open.next_probe_at = now.plus(wait(policy, open.probes));
            open.probed.retain(|delivery| *delivery != result.delivery);
            open.probed.push(result.delivery);
            if open.probed.len() > limits::HOLDING_WINDOW {
                open.probed.remove(0);
            }
            open.last_type = Some(Arc::clone(&result.event_type));
        }
        Transition::None
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether it is open for nothing but what a replay failed at: then the next event is tried all the same.
    pub fn is_open_for_replays(&self) -> bool {
        self.is_open() && self.event_failures == 0
    }

    /// Failures of events in a row, isolated ones not counted.
    pub fn event_failures(&self) -> u32 {
        self.event_failures
    }

    /// When the endpoint last accepted something, as far as is known.
    pub fn accepted_at(&self) -> Option<Timestamp> {
        self.accepted_at
    }

    /// Whether a failure of a delivery that has been failing since then says nothing about the endpoint.
    pub fn is_isolated(&self, failed_since: Option<Timestamp>) -> bool {
        is_isolated(failed_since, self.accepted_at)
    }

    /// When the next probe is due, while it is open. A time further ahead than it can be is from before the clock was set
    /// back, and counts as due.
    pub fn next_probe_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.open.as_ref().map(|open| open.next_probe_at(now))
    }

    /// Which delivery the next probe tries: one that was not probed lately, that is not known to fail by itself, of another
    /// event type than the last one; of those the oldest, and every second time the newest.
    pub fn choose<'c>(&self, candidates: impl Iterator<Item = Candidate<'c>>) -> Option<DeliveryKey> {
        let open = self.open.as_ref()?;
        let rank = |candidate: &Candidate| {
            let probed = open.probed.iter().position(|delivery| *delivery == candidate.delivery).map_or(0, |at| at + 1);
            let is_same_type = open.last_type.as_deref() == Some(candidate.event_type);
            let (sequence, run) = candidate.delivery;
            let age = if open.probes % 2 == 1 { (sequence, i64::from(run)) } else { (-sequence, -i64::from(run)) };
            (probed, self.is_isolated(candidate.failed_since), is_same_type, age)
        };
        candidates.min_by_key(rank).map(|candidate| candidate.delivery)
    }

    /// The wall clock was set forward by this much: the time that was skipped did not pass.
    pub fn shift(&mut self, by: Duration) {
        if let Some(open) = &mut self.open {
            open.next_probe_at = open.next_probe_at.plus(by);
        }
        self.accepted_at = self.accepted_at.map(|at| at.plus(by));
    }
}

impl Open {
    fn next_probe_at(&self, now: Timestamp) -> Timestamp {
        let latest = now.plus(limits::PROBE_MAX + limits::CLOCK_BACK);
        if self.next_probe_at > latest { now } else { self.next_probe_at }
    }
}

/// The wait before probe number `probes`, without jitter.
fn wait(policy: &Policy, probes: u32) -> Duration {
    policy.step(probes).min(limits::PROBE_MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn policy() -> Policy {
        Policy { schedule: [5, 30, 120].map(Duration::from_secs).to_vec(), deadline: Duration::from_secs(86_400) }
    }

    fn event(sequence: i64, kind: OutcomeKind) -> AttemptResult {
        AttemptResult { delivery: (sequence, 1), event_type: "a".into(), failed_since: None, replayed: false, kind }
    }

    fn failing(sequence: i64) -> AttemptResult {
        event(sequence, OutcomeKind::Rejected)
    }

    fn opened(now: Timestamp) -> Circuit {
        let mut circuit = Circuit::default();
        for sequence in 1..i64::from(limits::HOLD_AFTER) {
            assert_eq!(circuit.learn(&failing(sequence), &policy(), now), Transition::None);
        }
        assert_eq!(circuit.learn(&failing(99), &policy(), now), Transition::Opened);
        circuit
    }

    fn after(now: Timestamp, seconds: u64) -> Timestamp {
        now.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn failures_of_several_deliveries_open_it_and_one_success_closes_it() {
        let (mut circuit, mut now) = (opened(START), START);
        for wait in [5, 30, 60, 60] {
            assert_eq!(circuit.next_probe_at(now), Some(after(now, wait)));
            assert_eq!(circuit.learn(&failing(1), &policy(), now), Transition::None, "what was under way is not a probe");
            now = circuit.next_probe_at(now).unwrap();
            assert_eq!(circuit.learn(&failing(1), &policy(), now), Transition::None);
        }
        assert_eq!(circuit.learn(&event(1, OutcomeKind::Succeeded), &policy(), now), Transition::Closed { isolated_before: None });
        assert!(!circuit.is_open());
    }

    #[test]
    fn one_delivery_alone_never_opens_it() {
        let mut circuit = Circuit::default();
        for _ in 0..3 * limits::HOLD_AFTER {
            assert_eq!(circuit.learn(&failing(1), &policy(), START), Transition::None);
        }
        assert_eq!(circuit.learn(&failing(2), &policy(), START), Transition::Opened, "two say something about the endpoint");
    }

    #[test]
    fn what_fails_while_others_succeed_never_opens_it() {
        let mut circuit = Circuit::default();
        let isolated = |sequence| AttemptResult { failed_since: Some(START), ..failing(sequence) };
        circuit.learn(&event(1, OutcomeKind::Succeeded), &policy(), after(START, 1));
        for sequence in 0..100 {
            assert_eq!(circuit.learn(&isolated(sequence), &policy(), after(START, 2)), Transition::None);
        }
        assert_eq!((circuit.is_open(), circuit.event_failures()), (false, 0));
        for sequence in 0..i64::from(limits::HOLD_AFTER) {
            circuit.learn(&failing(sequence), &policy(), after(START, 3));
        }
        assert!(circuit.is_open(), "an outage opens it all the same");
        let closed = circuit.learn(&event(7, OutcomeKind::Succeeded), &policy(), after(START, 99));
        assert_eq!(closed, Transition::Closed { isolated_before: Some(after(START, 1)) });
    }

    #[test]
    fn a_probe_that_failed_is_followed_by_another_delivery() {
        let (mut circuit, mut now) = (opened(START), START);
        let types = BTreeMap::from([((1, 1), "a"), ((2, 1), "a"), ((3, 1), "b"), ((4, 1), "a")]);
        let mut chosen = Vec::new();
        for _ in 0..6 {
            let candidates = types.iter().map(|(delivery, event_type)| Candidate { delivery: *delivery, event_type, failed_since: None });
            let delivery = circuit.choose(candidates).unwrap();
            chosen.push(delivery.0);
            now = circuit.next_probe_at(now).unwrap();
            circuit.learn(&AttemptResult { delivery, event_type: types[&delivery].into(), ..failing(0) }, &policy(), now);
        }
        assert_eq!(chosen, [1, 3, 2, 4, 1, 3], "the oldest, another type, the next, the newest, and then as long ago as can be");
        let isolated = Candidate { delivery: (9, 1), event_type: "c", failed_since: Some(START) };
        let mut proven = Circuit::closed(Some(after(START, 1)));
        proven.open.clone_from(&opened(START).open);
        let other = Candidate { delivery: (10, 1), failed_since: None, ..isolated };
        assert_eq!(proven.choose([isolated, other].into_iter()), Some((10, 1)));
        assert_eq!(proven.choose([isolated].into_iter()), Some((9, 1)), "rather that one than none");
    }

    #[test]
    fn a_replay_that_fails_holds_itself_and_no_event() {
        let replayed = |sequence, kind| AttemptResult { replayed: true, ..event(sequence, kind) };
        let mut circuit = Circuit::default();
        for sequence in 0..i64::from(limits::HOLD_AFTER) {
            circuit.learn(&replayed(sequence, OutcomeKind::Rejected), &policy(), START);
        }
        assert!(circuit.is_open_for_replays() && circuit.event_failures() == 0);
        let succeeded = event(50, OutcomeKind::Succeeded);
        assert_eq!(circuit.learn(&succeeded, &policy(), START), Transition::None, "the replay's runs keep their times");
        assert!(!circuit.is_open());
        for sequence in 0..i64::from(limits::HOLD_AFTER) {
            circuit.learn(&replayed(sequence, OutcomeKind::Rejected), &policy(), START);
        }
        circuit.learn(&failing(50), &policy(), START);
        assert!(circuit.is_open() && !circuit.is_open_for_replays(), "it fails at everything");
        assert!(matches!(circuit.learn(&succeeded, &policy(), START), Transition::Closed { .. }));
    }

    #[test]
    fn jumps_of_the_clock_neither_stall_nor_hasten_a_probe() {
        let (mut circuit, before) = (opened(START), Timestamp::from_millis(START.as_millis() - 7_200_000));
        assert_eq!(circuit.next_probe_at(before), Some(before));
        circuit.learn(&failing(1), &policy(), before);
        assert_eq!(circuit.next_probe_at(before), Some(after(before, 30)), "that was a probe");
        let day = Duration::from_secs(86_400);
        circuit.shift(day);
        assert_eq!(circuit.next_probe_at(before.plus(day)), Some(after(before.plus(day), 30)));
    }

    proptest! {
        /// Whatever a walk does: an endpoint that accepts everything but a few poisonous deliveries gets everything else
        /// delivered within a few probes, and one that accepts nothing is probed no more often than the schedule says.
        #[test]
        fn a_well_endpoint_is_never_held_for_long(poison in proptest::collection::btree_set(1_i64..40, 0..12), outage in 1_u64..300) {
            let (mut circuit, mut now) = (Circuit::default(), START);
            let mut open: BTreeMap<i64, Option<Timestamp>> = (1..40).map(|sequence| (sequence, None)).collect();
            let well_again = after(START, outage);
            let mut probes_when_well = 0;
            while open.keys().any(|sequence| !poison.contains(sequence)) {
                let at = match circuit.next_probe_at(now) {
                    Some(at) => at.max(now),
                    None => after(now, 1),
                };
                now = at;
                let tried: Vec<i64> = if circuit.is_open() {
                    let candidates = open.iter().map(|(sequence, since)| Candidate { delivery: (*sequence, 1), event_type: "a", failed_since: *since });
                    probes_when_well += u32::from(now >= well_again);
                    circuit.choose(candidates).into_iter().map(|(sequence, _)| sequence).collect()
                } else {
                    open.keys().copied().collect()
                };
                for sequence in tried {
                    let succeeds = now >= well_again && !poison.contains(&sequence);
                    let kind = if succeeds { OutcomeKind::Succeeded } else { OutcomeKind::Rejected };
                    let failed_since = open[&sequence];
                    circuit.learn(&AttemptResult { failed_since, ..event(sequence, kind) }, &policy(), now);
                    if succeeds { open.remove(&sequence); } else { open.entry(sequence).and_modify(|since| *since = since.or(Some(now))); }
                    if circuit.is_open() { break; }
                }
                prop_assert!(now < after(well_again, 3600), "still open: {open:?}");
            }
            prop_assert!(probes_when_well <= 2 * poison.len() as u32 + 4, "{probes_when_well} probes with {} poisonous", poison.len());
        }
    }
}
