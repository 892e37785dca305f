//! The demo's clock. It begins days ago, is moved on while the history is made, and shows the present time from then on.
//!
//! The server, the provider and the receivers all run on it, so that the history is made by the same code as everything else:
//! retries, circuit breakers, enquiries and warnings happen at the times that they would have happened at.

use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;

/// A clock that is behind the system's until it has caught up.
pub(super) struct Rewound {
    system: SystemClock,
    started: Duration,
    behind: Mutex<Duration>,
    moved: watch::Sender<()>,
}

impl Rewound {
    /// A clock that shows the time of `started` ago.
    pub fn by(started: Duration) -> Self {
        Self { system: SystemClock, started, behind: Mutex::new(started), moved: watch::Sender::new(()) }
    }

    /// Moves the clock on, but not beyond the present.
    pub fn advance(&self, by: Duration) {
        let mut behind = self.behind.lock();
        *behind = behind.saturating_sub(by);
        drop(behind);
        self.moved.send_replace(());
    }

    /// Moves the clock on to the present.
    pub fn catch_up(&self) {
        self.advance(self.started);
    }

    /// Whether it shows the past.
    pub fn is_behind(&self) -> bool {
        !self.behind.lock().is_zero()
    }
}

#[async_trait]
impl Clock for Rewound {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.system.now().as_millis() - self.behind.lock().as_millis() as i64)
    }

    fn steady(&self) -> Duration {
        // Skipped time counts as passed: nobody has set this clock.
        self.system.steady() + (self.started - *self.behind.lock())
    }

    async fn sleep_until(&self, until: Timestamp) {
        let mut moved = self.moved.subscribe();
        let end = self.steady() + until.since(self.now());
        loop {
            let left = end.saturating_sub(self.steady());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                // The sender lives as long as the clock.
                _ = moved.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test]
    async fn it_catches_up_and_no_further() {
        let clock = Rewound::by(DAY);
        let (then, steady) = (clock.now(), clock.steady());
        assert!(SystemClock.now().since(then) >= DAY);
        clock.advance(DAY / 2);
        assert!(clock.is_behind() && clock.now().since(then) >= DAY / 2 && clock.steady() - steady >= DAY / 2);
        clock.advance(DAY);
        assert!(!clock.is_behind() && SystemClock.now().since(clock.now()) < Duration::from_secs(60));
        assert!(clock.steady() - steady < DAY + Duration::from_secs(60));
    }

    #[tokio::test]
    async fn it_wakes_those_whose_time_has_come() {
        let clock = Rewound::by(DAY);
        let until = clock.now().plus(DAY / 2);
        let sleeping = clock.sleep_until(until);
        let moving = async {
            tokio::task::yield_now().await;
            clock.catch_up();
        };
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(sleeping, moving) }).await.expect("it wakes");
    }
}
