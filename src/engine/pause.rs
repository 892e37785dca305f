//! A pause after faults of our own. The board has one for what meets all endpoints, each lane one for what meets it alone.

use std::time::Duration;

use crate::domain::attempt::{FaultCause, Reach};
use crate::domain::time::Timestamp;
use crate::limits;

/// It grows while faults follow one another, and ends with time or when something gets through.
#[derive(Debug, Default)]
pub(super) struct Pause {
    faults: u32,
    until: Option<Timestamp>,
    last: Option<(FaultCause, Reach)>,
}

impl Pause {
    /// A fault. Answers whether it is the first since the pause [ended](Self::end). Attempts that were under way when it
    /// began lengthen nothing.
    pub fn fault(&mut self, cause: FaultCause, reach: Reach, now: Timestamp) -> bool {
        if self.until(now).is_none() {
            let wait = limits::FAULT_PAUSE.saturating_mul(1 << self.faults.min(10)).min(limits::FAULT_PAUSE_MAX);
            self.faults += 1;
            self.until = Some(now.plus(wait));
        }
        self.last.replace((cause, reach)).is_none()
    }

    /// When it ends by itself, if it has not. A clock that was set back does not lengthen it.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = now.plus(limits::FAULT_PAUSE_MAX + limits::CLOCK_BACK);
        self.until.filter(|until| *until > now && *until <= latest)
    }

    /// The wall clock was set forward by this much.
    pub fn shift(&mut self, by: Duration) {
        self.until = self.until.map(|until| until.plus(by));
    }

    /// Something got through: there is no need to wait, but what was wrong may still be.
    pub fn lift(&mut self) {
        self.until = None;
    }

    /// What was wrong no longer is. Answers what it was.
    pub fn end(&mut self) -> Option<(FaultCause, Reach)> {
        (self.faults, self.until) = (0, None);
        self.last.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn fault(pause: &mut Pause, now: Timestamp) -> bool {
        pause.fault(FaultCause::Proxy, Reach::Node, now)
    }

    #[test]
    fn it_grows_up_to_its_bound_and_begins_anew_after_its_end() {
        let (mut pause, mut now) = (Pause::default(), START);
        for (at, wait) in [1, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
            assert_eq!(fault(&mut pause, now), at == 0, "only the first begins it");
            assert!(!fault(&mut pause, now), "what was under way lengthens nothing");
            assert_eq!(pause.until(now), Some(now.plus(Duration::from_secs(wait))));
            now = pause.until(now).unwrap();
            assert_eq!(pause.until(now), None);
        }
        assert_eq!((pause.end(), pause.end()), (Some((FaultCause::Proxy, Reach::Node)), None));
        assert!(fault(&mut pause, now));
        assert_eq!(pause.until(now), Some(now.plus(limits::FAULT_PAUSE)));
        pause.lift();
        assert_eq!(pause.until(now), None);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_lengthen_it() {
        let mut pause = Pause::default();
        fault(&mut pause, START);
        assert_eq!(pause.until(Timestamp::from_millis(START.as_millis() - 7_200_000)), None);
    }
}
