//! A graceful stop: nothing new is begun, and what is under way is finished and written down.

use std::pin::pin;
use std::time::Duration;

use super::Engine;

impl Engine {
    /// Begins no more attempts and provider calls, and waits until those under way are done and written down, but not longer
    /// than `limit`.
    pub async fn drain(&self, limit: Duration) {
        self.scheduler.lock().stop();
        self.submitting.stop();
        let quiet = async {
            loop {
                let mut changed = pin!(self.quiet.notified());
                // From here on it is told of every change, also of one before it is polled.
                changed.as_mut().enable();
                if self.under_way() == (0, 0, 0) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(limit, quiet).await.is_err() {
            let (in_flight, unsettled, submissions) = self.under_way();
            if in_flight + unsettled > 0 {
                tracing::warn!(in_flight, unsettled, "drain_timeout passed; these attempts are repeated after the next start");
            }
            if submissions > 0 {
                tracing::warn!(
                    submissions,
                    "drain_timeout passed; the outcome of these provider calls is enquired about after the next start"
                );
            }
        }
    }

    /// Attempts under way, outcomes that are not written down yet, and calls of providers.
    fn under_way(&self) -> (usize, usize, usize) {
        let scheduler = self.scheduler.lock();
        (scheduler.in_flight(), scheduler.unsettled(), self.submitting.count())
    }
}
