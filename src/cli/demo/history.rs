//! Three days of history: recharges, outages, a conflict and a stuck recharge, made with the real parts on the demo's clock.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use super::clock::Rewound;
use super::receivers::Taken;
use super::stage::{BUYERS, COMES_BACK, DOWN, KOSHI, Stage};
use crate::domain::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Before the last hours a step is long: this many steps, each this long. A provider is asked for 72 hours before a recharge
/// counts as stuck.
const LONG_STEPS: u32 = 24;
const LONG: Duration = HOUR.saturating_mul(3);
/// The last hours go by in short steps, so that the charts of the last hour have lines.
const SHORT_STEPS: u32 = 60;
const SHORT: Duration = MINUTE.saturating_mul(3);
/// How far back the demo begins.
pub(super) const LENGTH: Duration = LONG.saturating_mul(LONG_STEPS).saturating_add(SHORT.saturating_mul(SHORT_STEPS));

/// At this long step one of Koshi's endpoints goes down.
const GOES_DOWN_AT: u32 = 23;
/// At these short steps a conflict is reported, another endpoint goes down, and a replay is started.
const CONFLICT_AT: u32 = 20;
const OUTAGE_AT: u32 = 48;
const REPLAY_AT: u32 = 40;

/// The clock is moved on by this much at a time while outcomes are awaited, and by more once that has taken long.
const TICK: Duration = Duration::from_millis(50);
const LONG_TICK: Duration = Duration::from_secs(1);
const SHORT_TICKS: u32 = 60;
/// Outcomes are awaited for this many ticks at most; a retry may take longer.
const TICKS: u32 = 400;
/// Between two ticks the parts have this much real time to act.
const REAL: Duration = Duration::from_millis(2);

impl Stage {
    /// Makes the history. Afterwards the clock shows the present.
    pub async fn make_history(&mut self, clock: &Rewound) -> anyhow::Result<()> {
        self.order_that_gets_stuck().await?;
        for step in 0..LONG_STEPS {
            if step == GOES_DOWN_AT {
                self.vendors[KOSHI].endpoints[DOWN].1.refuse_one_in(1);
            }
            self.pass(clock, LONG).await?;
        }
        for step in 0..SHORT_STEPS {
            match step {
                CONFLICT_AT => self.report_conflict(clock).await?,
                OUTAGE_AT => self.vendors[KOSHI].endpoints[COMES_BACK].1.refuse_one_in(1),
                REPLAY_AT => self.replay(clock).await?,
                _ => {}
            }
            self.pass(clock, SHORT).await?;
        }
        clock.catch_up();
        // Attempts that fell due with the last step are part of the history.
        tokio::time::sleep(REAL * 50).await;
        while self.received.try_recv().is_ok() {}
        Ok(())
    }

    /// Recharges of every vendor, and then a time without any.
    async fn pass(&mut self, clock: &Rewound, length: Duration) -> anyhow::Result<()> {
        let mut awaited = HashSet::new();
        for vendor in 0..BUYERS {
            awaited.insert(self.order(vendor).await?);
        }
        let reported = self.report(KOSHI).await?;
        if self.vendors[KOSHI].endpoints[COMES_BACK].1.accepts() {
            awaited.insert(reported);
        }
        self.settle(clock, &mut awaited).await;
        clock.advance(length);
        Ok(())
    }

    /// Lets a little time pass until a receiver has verified an event of each of these recharges.
    async fn settle(&mut self, clock: &Rewound, awaited: &mut HashSet<String>) {
        for tick in 0..TICKS {
            while let Ok(received) = self.received.try_recv() {
                if let Taken::Verified { reference_no, .. } = received.taken {
                    awaited.remove(&reference_no);
                }
            }
            if awaited.is_empty() {
                return;
            }
            clock.advance(if tick < SHORT_TICKS { TICK } else { LONG_TICK });
            tokio::time::sleep(REAL).await;
        }
    }

    /// The platform contradicts an outcome that it has reported.
    async fn report_conflict(&mut self, clock: &Rewound) -> anyhow::Result<()> {
        let reference = self.report(0).await?;
        self.settle(clock, &mut HashSet::from([reference.clone()])).await;
        clock.advance(MINUTE);
        let report = json!({
            "vendor_id": self.vendors[0].id, "reference_no": reference, "status": "failed", "reason": "not on the network's statement",
        });
        self.platform.post("/v1/reports", &json!({"reports": [report]})).await.map(drop)
    }

    /// Everest has the events of the last hour sent again.
    async fn replay(&mut self, clock: &Rewound) -> anyhow::Result<()> {
        let vendor = &self.vendors[0];
        let since = Timestamp::from_millis(self.surroundings.clock.now().as_millis() - HOUR.as_millis() as i64);
        let path = format!("/v1/endpoints/{}/replay", vendor.endpoints[0].0);
        vendor.client.post(&path, &json!({"since": since})).await?;
        clock.advance(LONG_TICK);
        Ok(())
    }
}
