//! Whether the wall clock may be believed when something irrevocable depends on it: removing what is old, disabling endpoints.
//!
//! The clock is compared with one that nobody can set, and at a start with the highest time that the store remembers. A jump
//! beyond a bound puts it in doubt for [`limits::CLOCK_PROBATION`]: nothing is removed or disabled until it was set back, or
//! has stayed as it is for so long that the operator would have noticed.

use std::time::Duration;

use parking_lot::Mutex;

use super::Engine;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::StoreError;

#[derive(Debug, Default)]
pub(super) struct ClockTrust(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The latest time that was believed, and the steady clock then.
    latest: Option<(Timestamp, Duration)>,
    /// Since when it is in doubt, on the steady clock.
    doubted_since: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    None,
    Doubted(Duration),
    Trusted,
}

impl State {
    fn observe(&mut self, kept: Option<Timestamp>, now: Timestamp, steady: Duration) -> Change {
        let (latest, since, bound) = match self.latest {
            Some((latest, since)) => (latest, since, limits::CLOCK_JUMP_MAX),
            None => (kept.unwrap_or(now), steady, limits::CLOCK_GAP_MAX),
        };
        // What the clock would show if nobody had set it.
        let expected = latest.plus(steady.saturating_sub(since));
        let by = now.since(expected);
        let first_doubt = self.doubted_since.unwrap_or(steady);
        if by <= bound || steady.saturating_sub(first_doubt) >= limits::CLOCK_PROBATION {
            self.latest = Some((expected.max(now), steady));
            return if self.doubted_since.take().is_some() { Change::Trusted } else { Change::None };
        }
        self.latest = Some((expected, steady));
        match self.doubted_since.replace(first_doubt) {
            None => Change::Doubted(by),
            Some(_) => Change::None,
        }
    }
}

impl Engine {
    /// Whether the clock is believed at present.
    ///
    /// # Errors
    /// The store's, at the first time.
    pub async fn trusts_clock(&self) -> Result<bool, StoreError> {
        let kept = if self.clock_trust.0.lock().latest.is_none() { self.store.kept_time().await? } else { None };
        let (now, steady) = (self.now(), self.environment.clock.steady());
        let (change, is_trusted) = {
            let mut state = self.clock_trust.0.lock();
            (state.observe(kept, now, steady), state.doubted_since.is_none())
        };
        match change {
            Change::None => {}
            Change::Doubted(by) => tracing::warn!(
                %now,
                ahead_seconds = by.as_secs(),
                paused_for_hours = limits::CLOCK_PROBATION.as_secs() / 3600,
                "the clock jumped ahead; nothing is removed and no endpoint is disabled until it was set back, or that time has passed"
            ),
            Change::Trusted => tracing::info!(%now, "the clock is believed again; removing old data and disabling endpoints go on"),
        }
        Ok(is_trusted)
    }

    /// Has the store remember the time, if it is believed. On an idle server this is also what finds out that nothing can be
    /// written any more.
    pub(super) async fn keep_time(&self) -> Result<(), StoreError> {
        if self.trusts_clock().await? { self.store.keep_time(self.now()).await } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_jump_is_doubted_until_it_is_taken_back_or_has_lasted() {
        let mut state = State::default();
        assert_eq!(state.observe(None, START, HOUR), Change::None);
        assert_eq!(state.observe(None, START.plus(30 * DAY), HOUR + 30 * DAY), Change::None, "time that passed is no jump");
        let (now, steady) = (START.plus(30 * DAY), HOUR + 30 * DAY);
        assert_eq!(state.observe(None, now.plus(100 * DAY), steady), Change::Doubted(100 * DAY));
        assert_eq!(state.observe(None, now.plus(100 * DAY + HOUR), steady + HOUR), Change::None);
        assert!(state.doubted_since.is_some());
        assert_eq!(state.observe(None, now.plus(2 * HOUR), steady + 2 * HOUR), Change::Trusted, "it was set back");
        assert_eq!(state.observe(None, now.plus(DAY + 3 * HOUR), steady + 3 * HOUR), Change::Doubted(DAY));
        let lasted = 3 * HOUR + limits::CLOCK_PROBATION;
        assert_eq!(state.observe(None, now.plus(DAY + lasted), steady + lasted), Change::Trusted, "it has lasted");
        assert_eq!(state.observe(None, now.plus(DAY + lasted), steady + lasted), Change::None);
    }

    #[test]
    fn a_start_is_compared_with_the_time_that_was_kept() {
        for (away, doubted) in [(2 * DAY, false), (100 * DAY, true)] {
            let mut state = State::default();
            state.observe(Some(START), START.plus(away), HOUR);
            assert_eq!(state.doubted_since.is_some(), doubted, "{away:?}");
        }
        let mut state = State::default();
        assert_eq!(state.observe(Some(START.plus(DAY)), START, HOUR), Change::None, "a clock that is behind removes nothing too early");
    }
}
