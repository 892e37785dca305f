//! Jumps of the wall clock: somebody sets it, or a time server does, and no time passes.
//!
//! Times in rows are wall-clock times, because they outlive the process. Where the time *between* two of them decides (a strict
//! endpoint's head steps aside, a delivery's deadline passes), a jump since then is taken out again.

use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::limits;

/// One jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jump {
    /// The first time that was shown after it.
    at: Timestamp,
    /// Milliseconds; negative if the clock was set back.
    by: i64,
}

/// Sees jumps by comparing the wall clock with one that nobody can set.
#[derive(Debug, Default)]
pub(super) struct JumpDetector(Option<(Timestamp, Duration)>);

impl JumpDetector {
    /// Compares the two clocks. Less than [`limits::CLOCK_BACK`] is a time server's small correction.
    pub fn observe(&mut self, now: Timestamp, steady: Duration) -> Option<Jump> {
        let (wall, before) = self.0.replace((now, steady))?;
        let passed = i64::try_from(steady.saturating_sub(before).as_millis()).unwrap_or(i64::MAX);
        let by = (now.as_millis() - wall.as_millis()).saturating_sub(passed);
        (by.unsigned_abs() > limits::CLOCK_BACK.as_millis() as u64).then_some(Jump { at: now, by })
    }
}

impl Jump {
    /// How far the clock was set forward.
    pub fn forward(self) -> Option<Duration> {
        u64::try_from(self.by).ok().map(Duration::from_millis)
    }

    /// The time on the wall clock that lies this long before `now`, as time has passed.
    pub fn ago(jump: Option<Self>, by: Duration, now: Timestamp) -> Timestamp {
        let ago = now.as_millis().saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        match jump {
            Some(jump) if ago < jump.at.as_millis() => Timestamp::from_millis(ago.saturating_sub(jump.by)),
            _ => Timestamp::from_millis(ago),
        }
    }

    /// A moment, as much later as the clock was set forward over it.
    pub fn moment(jump: Option<Self>, moment: Timestamp) -> Timestamp {
        match jump.and_then(|jump| Some((jump.at, jump.forward()?))) {
            Some((at, by)) if moment < at && moment.plus(by) > at => moment.plus(by),
            _ => moment,
        }
    }

    /// A deadline that lies `within` of when it was set, moved on if the clock was set forward since.
    pub fn deadline(jump: Option<Self>, deadline: Timestamp, within: Duration) -> Timestamp {
        match jump.and_then(|jump| Some((jump.at, jump.forward()?))) {
            Some((at, by)) if deadline < at.plus(within) => deadline.plus(by),
            _ => deadline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn later(millis: i64) -> Timestamp {
        Timestamp::from_millis(START.as_millis() + millis)
    }

    #[test]
    fn a_jump_is_what_no_time_passed_for() {
        let mut detector = JumpDetector::default();
        for (now, steady, jump) in [
            (0, 0, None),
            (60_000, 60, None),
            (62_000, 61, None),
            (62_000 + 86_400_000, 61, Some(86_400_000)),
            (63_000 + 86_400_000, 62, None),
            (63_000, 62, Some(-86_400_000)),
        ] {
            let seen = detector.observe(later(now), Duration::from_secs(steady));
            assert_eq!(seen, jump.map(|by| Jump { at: later(now), by }));
        }
    }

    #[test]
    fn what_was_skipped_did_not_pass() {
        let at = START.plus(DAY);
        let jump = Some(Jump { at, by: 86_400_000 });
        let now = at.plus(HOUR);
        assert_eq!(Jump::ago(jump, HOUR / 2, now), now.plus(Duration::ZERO).minus_for_test(HOUR / 2));
        assert_eq!(Jump::ago(jump, 2 * HOUR, now), later(-3_600_000), "an hour since the jump, and one before it");
        assert_eq!(Jump::ago(None, HOUR, now), at);
        assert_eq!(Jump::deadline(jump, later(1000), DAY), later(86_401_000), "set before the jump");
        assert_eq!(Jump::deadline(jump, now.plus(DAY), DAY), now.plus(DAY), "set after it");
        let back = Some(Jump { at: START, by: -86_400_000 });
        assert_eq!(Jump::deadline(back, later(1000), DAY), later(1000));
        assert_eq!(Jump::ago(back, HOUR, START), START.plus(DAY).minus_for_test(HOUR));
    }

    impl Timestamp {
        fn minus_for_test(self, by: Duration) -> Self {
            Self::from_millis(self.as_millis() - by.as_millis() as i64)
        }
    }
}
