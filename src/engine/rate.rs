//! Requests spread evenly over time: an endpoint's rate limit, and the pace of what goes out behind everything else. A time
//! that lies further ahead than it can is from before the clock was set back, and counts as come.

use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::limits;

/// When the next request may go.
#[derive(Debug)]
pub(super) struct Rate {
    /// In microseconds since 1970.
    free_at: i64,
    /// What may be caught up after the program was late (a tick of the clock is a millisecond).
    slack: Duration,
}

impl Rate {
    pub fn new(slack: Duration) -> Self {
        Self { free_at: i64::MIN, slack }
    }

    /// When the next request may go, if not now.
    pub fn free_at(&self, per_second: u32, now: Timestamp) -> Option<Timestamp> {
        let free_at = self.free_micros(per_second, now);
        let free_at = Timestamp::from_millis(free_at.div_euclid(1000) + i64::from(free_at.rem_euclid(1000) > 0));
        (free_at > now).then_some(free_at)
    }

    /// A request goes out.
    pub fn spend(&mut self, per_second: u32, now: Timestamp) {
        // A slow rate catches nothing up: one request too early would be too many.
        let slack = if per_second >= 20 { self.slack } else { Duration::ZERO };
        let earliest = now.as_millis() * 1000 - micros(slack);
        self.free_at = self.free_micros(per_second, now).max(earliest) + micros(interval(per_second));
    }

    /// In microseconds, without what the clock did.
    fn free_micros(&self, per_second: u32, now: Timestamp) -> i64 {
        let latest = now.plus(interval(per_second) + limits::CLOCK_BACK);
        if self.free_at > latest.as_millis() * 1000 { now.as_millis() * 1000 } else { self.free_at }
    }
}

/// Between two requests.
fn interval(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

fn micros(duration: Duration) -> i64 {
    duration.as_micros() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_clock_that_was_set_back_stalls_nothing() {
        let before = Timestamp::from_millis(START.as_millis() - 7_200_000);
        for per_second in [1, 19, 20, 3000] {
            let mut rate = Rate::new(limits::RATE_SLACK);
            rate.spend(per_second, START);
            assert!(rate.free_at(per_second, START).is_some() || per_second >= 20, "it is kept while the clock goes on");
            assert_eq!(rate.free_at(per_second, before), None);
            rate.spend(per_second, before);
            let next = rate.free_at(per_second, before).unwrap_or(before);
            assert!(next.since(before) <= interval(per_second) + Duration::from_millis(1), "and it is kept on the new time");
        }
    }

    #[test]
    fn it_is_kept_in_every_second() {
        for per_second in [1, 7, 19, 20, 100, 3000] {
            let (mut rate, mut now, mut sent) = (Rate::new(limits::RATE_SLACK), START, Vec::new());
            while now < START.plus(Duration::from_secs(3)) {
                match rate.free_at(per_second, now) {
                    Some(at) => now = at,
                    None => {
                        rate.spend(per_second, now);
                        sent.push(now);
                    }
                }
            }
            let most =
                sent.iter().map(|from| sent.iter().filter(|at| *at >= from && at.since(*from) < Duration::from_secs(1)).count()).max();
            let allowed = per_second as usize + if per_second >= 20 { per_second as usize / 20 } else { 0 };
            assert!(most.unwrap() <= allowed + 1, "{most:?} in a second at {per_second}");
            assert!(sent.len() >= 3 * per_second as usize * 9 / 10, "{} in three seconds at {per_second}", sent.len());
        }
    }
}
