//! How fast a lane may go: its in-flight cap with slow start, and whether it holds. A time that lies further ahead than it
//! can is from before the clock was set back, and counts as come.

use std::time::Duration;

use crate::domain::attempt::OutcomeKind;
use crate::domain::retry::Policy;
use crate::domain::time::Timestamp;
use crate::limits;

/// A lane's pace and health. It knows nothing of deliveries.
#[derive(Debug)]
pub(super) struct Pace {
    /// Attempts that may be under way at once at the moment.
    cap: u32,
    /// In a row.
    failures: u32,
    /// Of those, failures at events and not at what a replay sends again.
    event_failures: u32,
    /// Its last attempt took a slot for the whole timeout.
    hangs: bool,
    hold: Option<Hold>,
    last_success: Option<Timestamp>,
    /// It came back by itself: until its backlog is gone it goes gently, but not beyond this time.
    gentle_until: Option<Timestamp>,
    taken: Taken,
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

#[derive(Debug, Clone, Copy)]
struct Hold {
    probes: u32,
    next_probe_at: Timestamp,
}

/// How likely a lane is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It had a success lately.
    Proven,
    /// Nothing speaks for it, and nothing against it.
    Quiet,
    /// It let its last attempt time out, or failed several times in a row.
    Failing,
}

/// An attempt that came back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came {
    pub kind: OutcomeKind,
    /// A replay made it.
    pub replayed: bool,
}

/// What an outcome did to the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    /// Nothing worth telling.
    None,
    /// It has begun to hold.
    Holds,
    /// Its first success after holding: what was held is due.
    Released,
}

impl Pace {
    pub fn new() -> Self {
        Self {
            cap: 1,
            failures: 0,
            event_failures: 0,
            hangs: false,
            hold: None,
            last_success: None,
            gentle_until: None,
            taken: Taken::default(),
        }
    }

    /// Learns from an attempt that came back.
    pub fn learn(&mut self, Came { kind, replayed }: Came, ceiling: u32, policy: &Policy, now: Timestamp) -> Shift {
        self.hangs = kind == OutcomeKind::TimedOut;
        if kind == OutcomeKind::Succeeded {
            // An event that gets through says nothing about a replay that does not: its runs keep their own times.
            let releases = !self.is_held_by_replays() || replayed;
            (self.failures, self.event_failures) = (0, 0);
            self.last_success = Some(now);
            self.taken.count(now);
            self.cap = self.cap.saturating_mul(2).clamp(1, ceiling.max(1));
            return if self.hold.take().is_some() && releases {
                // What was held goes out at a ramp.
                self.cap = 1;
                Shift::Released
            } else {
                Shift::None
            };
        }
        self.failures = self.failures.saturating_add(1);
        self.event_failures = self.event_failures.saturating_add(u32::from(!replayed));
        if self.hangs {
            self.cap = 1;
        }
        if self.failures < limits::HOLD_AFTER {
            return Shift::None;
        }
        // What was under way when it began to hold is no probe.
        if self.next_probe_at(now).is_some_and(|at| now < at) {
            return Shift::None;
        }
        let probes = self.hold.map_or(0, |hold| hold.probes) + 1;
        let wait = policy.step(probes).min(limits::PROBE_MAX);
        let begins = self.hold.replace(Hold { probes, next_probe_at: now.plus(wait) }).is_none();
        self.cap = 1;
        if begins { Shift::Holds } else { Shift::None }
    }

    pub fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Whether it holds for nothing but what a replay failed at: then the next event is tried all the same.
    pub fn is_held_by_replays(&self) -> bool {
        self.holds() && self.event_failures == 0
    }

    /// When a lane that holds probes next.
    pub fn next_probe_at(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = now.plus(limits::PROBE_MAX + limits::CLOCK_BACK);
        self.hold.map(|hold| if hold.next_probe_at > latest { now } else { hold.next_probe_at })
    }

    /// Whether it had a success lately, and nothing has spoken against it since: a failure now and then does not.
    pub fn is_proven(&self, now: Timestamp) -> bool {
        !self.is_failing() && self.last_success.is_some_and(|at| now.since(at) < limits::PROVEN_FOR)
    }

    /// Its last attempt hung, or several in a row failed.
    pub fn is_failing(&self) -> bool {
        self.hangs || self.event_failures >= limits::FAILING_AFTER
    }

    /// What the board goes by when it gives turns.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.is_proven(now) {
            Standing::Proven
        } else if self.is_failing() {
            Standing::Failing
        } else {
            Standing::Quiet
        }
    }

    /// The handshake was a success too, and the lane begins anew.
    pub fn connected(&mut self, at: Option<Timestamp>) {
        if at > self.last_success {
            *self = Self { last_success: at, ..Self::new() };
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

    fn event(kind: OutcomeKind) -> Came {
        Came { kind, replayed: false }
    }

    fn policy() -> Policy {
        Policy { schedule: [5, 30, 120].map(Duration::from_secs).to_vec(), deadline: Duration::from_secs(86_400) }
    }

    #[test]
    fn it_starts_slowly_and_falls_to_one_on_a_timeout() {
        let mut pace = Pace::new();
        let caps: Vec<u32> = (0..7)
            .map(|_| {
                pace.learn(event(OutcomeKind::Succeeded), 32, &policy(), START);
                pace.cap(32, START)
            })
            .collect();
        assert_eq!(caps, [2, 4, 8, 16, 32, 32, 32]);
        pace.learn(event(OutcomeKind::Rejected), 32, &policy(), START);
        assert_eq!(pace.cap(32, START), 32);
        pace.learn(event(OutcomeKind::TimedOut), 32, &policy(), START);
        assert_eq!(pace.cap(32, START), 1);
    }

    #[test]
    fn ten_failures_in_a_row_hold_it_and_a_success_releases_it() {
        let mut pace = Pace::new();
        let mut now = START;
        for _ in 1..limits::HOLD_AFTER {
            assert_eq!(pace.learn(event(OutcomeKind::Unreachable), 32, &policy(), now), Shift::None);
        }
        assert_eq!(pace.learn(event(OutcomeKind::Unreachable), 32, &policy(), now), Shift::Holds);
        for wait in [5, 30, 60, 60] {
            assert_eq!(pace.next_probe_at(now), Some(now.plus(Duration::from_secs(wait))));
            now = pace.next_probe_at(now).unwrap();
            assert_eq!(pace.learn(event(OutcomeKind::Unreachable), 32, &policy(), now), Shift::None);
        }
        assert_eq!(pace.learn(event(OutcomeKind::Succeeded), 32, &policy(), now), Shift::Released);
        assert_eq!((pace.cap(32, START), pace.is_proven(now)), (1, true));
    }

    #[test]
    fn a_replay_that_fails_holds_itself_and_no_event() {
        let (replayed, mut pace) = (|kind| Came { kind, replayed: true }, Pace::new());
        for _ in 0..limits::HOLD_AFTER {
            pace.learn(replayed(OutcomeKind::Rejected), 32, &policy(), START);
        }
        assert!(pace.is_held_by_replays() && !pace.is_failing());
        assert_eq!(pace.learn(event(OutcomeKind::Succeeded), 32, &policy(), START), Shift::None, "the replay's runs keep their times");
        assert!(!pace.holds());
        for _ in 0..limits::HOLD_AFTER {
            pace.learn(replayed(OutcomeKind::Rejected), 32, &policy(), START);
        }
        pace.learn(event(OutcomeKind::Rejected), 32, &policy(), START);
        assert!(pace.holds() && !pace.is_held_by_replays(), "it fails at everything");
        assert_eq!(pace.learn(event(OutcomeKind::Succeeded), 32, &policy(), START), Shift::Released);
    }

    #[test]
    fn a_clock_that_was_set_back_stalls_no_probe() {
        let before = Timestamp::from_millis(START.as_millis() - 7_200_000);
        let mut pace = Pace::new();
        for _ in 0..limits::HOLD_AFTER {
            pace.learn(event(OutcomeKind::Unreachable), 32, &policy(), START);
        }
        assert_eq!(pace.next_probe_at(before), Some(before));
        pace.learn(event(OutcomeKind::Unreachable), 32, &policy(), before);
        assert_eq!(pace.next_probe_at(before), Some(before.plus(Duration::from_secs(30))), "that was a probe");
    }
}
