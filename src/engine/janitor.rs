//! The janitor: removes what is old, a small step at a time, and rests longer than it works.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::clock::Stopwatch;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::{Horizon, StoreError, SweepPlace, Swept};

/// How long things are kept (settings of the same names).
#[derive(Debug, Clone)]
pub struct Retention {
    /// Events with their deliveries and attempts, and reports.
    pub retention: Duration,
    /// Settled recharges; for ever if not said.
    pub recharges: Option<Duration>,
    /// Entries of the audit log.
    pub audit: Duration,
}

impl Engine {
    pub(super) async fn run_janitor(self: Arc<Self>) {
        loop {
            if self.runs_singletons()
                && let Err(error) = self.clean().await
            {
                super::failed("janitor", &error);
            }
            self.environment.clock.sleep_until(self.now().plus(limits::SWEEP_PAUSE)).await;
        }
    }

    /// Goes through all that can be old, once.
    ///
    /// # Errors
    /// The store's.
    pub async fn clean(&self) -> Result<(), StoreError> {
        let (mut place, mut removed) = (Some(SweepPlace::default()), 0);
        if !self.trusts_clock().await? {
            return Ok(());
        }
        while let Some(at) = place {
            let watch = Stopwatch::start();
            let Swept { removed: step, next } = self.store.sweep(self.horizon(), at).await?;
            self.meters.swept.increment(step);
            (removed, place) = (removed + step, next);
            // The writer belongs to others meanwhile.
            tokio::time::sleep(watch.elapsed() * limits::SWEEP_REST).await;
        }
        if removed > 0 {
            tracing::info!(removed, "rows that were old have been removed");
        }
        Ok(())
    }

    fn horizon(&self) -> Horizon {
        let now = self.now().as_millis();
        let before = |age: Duration| Timestamp::from_millis(now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        Horizon {
            retention: before(self.retention.retention),
            recharges: self.retention.recharges.map(before),
            audit: before(self.retention.audit),
            answers: before(limits::ANSWER_KEPT_FOR),
            traffic: before(limits::TRAFFIC_KEPT_FOR),
        }
    }
}
