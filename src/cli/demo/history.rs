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

/// Steps of the history, and how long each of them is. A provider is asked for 72 hours before a recharge counts as stuck. The last
/// hour goes by in minutes, so that its charts have lines.
const STEPS: [(u32, Duration); 3] = [(12, HOUR.saturating_mul(6)), (12, MINUTE.saturating_mul(10)), (60, MINUTE)];
/// How far back the demo begins.
pub(super) const LENGTH: Duration = HOUR.saturating_mul(12 * 6 + 2 + 1);

/// At these steps a conflict is reported, an endpoint goes down, a replay is started, and another endpoint goes down.
const CONFLICT_AT: u32 = 13;
const GOES_DOWN_AT: u32 = 14;
const REPLAY_AT: u32 = 30;
const OUTAGE_AT: u32 = 50;

/// The clock is moved on by this much at a time while outcomes are awaited, and by more once that has taken long.
const TICK: Duration = Duration::from_millis(50);
const LONG_TICK: Duration = Duration::from_millis(250);
const SHORT_TICKS: u32 = 60;
/// Outcomes are awaited for this many ticks at most; a retry may take longer.
const TICKS: u32 = 400;
/// Between two ticks the parts have this much real time to act.
const REAL: Duration = Duration::from_millis(2);

impl Stage {
    /// Makes the history. Afterwards the clock shows the present.
    pub async fn make_history(&mut self, clock: &Rewound) -> anyhow::Result<()> {
        self.order_that_gets_stuck().await?;
        let lengths = STEPS.iter().flat_map(|(count, length)| (0..*count).map(|_| *length));
        for (step, length) in (0..).zip(lengths) {
            match step {
                CONFLICT_AT => self.report_conflict(clock).await?,
                GOES_DOWN_AT => self.vendors[KOSHI].endpoints[DOWN].1.refuse_one_in(1),
                REPLAY_AT => self.replay(clock).await?,
                OUTAGE_AT => self.vendors[KOSHI].endpoints[COMES_BACK].1.refuse_one_in(1),
                _ => {}
            }
            self.pass(clock, length).await?;
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
        self.settle(clock, &mut awaited).await?;
        clock.advance(length);
        Ok(())
    }

    /// Lets a little time pass until a receiver has verified an event of each of these recharges, and that is written down.
    async fn settle(&mut self, clock: &Rewound, awaited: &mut HashSet<String>) -> anyhow::Result<()> {
        for tick in 0..TICKS {
            while let Ok(received) = self.received.try_recv() {
                if let Taken::Verified { reference_no, .. } = received.taken {
                    awaited.remove(&reference_no);
                }
            }
            if awaited.is_empty() && !self.has_pending().await? {
                break;
            }
            clock.advance(if tick < SHORT_TICKS { TICK } else { LONG_TICK });
            tokio::time::sleep(REAL).await;
        }
        Ok(())
    }

    /// Whether the server has yet to deliver, or to write down that it has, at an endpoint that accepts requests. If the clock moved
    /// on meanwhile, the endpoint would seem to have failed for hours.
    async fn has_pending(&self) -> anyhow::Result<bool> {
        for vendor in &self.vendors {
            for (id, _) in vendor.endpoints.iter().filter(|(_, mood)| mood.accepts()) {
                let page = vendor.client.get(&format!("/v1/deliveries?state=pending&endpoint_id={id}&limit=1")).await?;
                if page["data"].as_array().is_some_and(|deliveries| !deliveries.is_empty()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The platform contradicts an outcome that it has reported.
    async fn report_conflict(&mut self, clock: &Rewound) -> anyhow::Result<()> {
        let reference = self.report(0).await?;
        self.settle(clock, &mut HashSet::from([reference.clone()])).await?;
        clock.advance(MINUTE);
        let report = json!({
            "vendor_id": self.vendors[0].id, "reference_no": reference, "status": "failed", "reason": "not on the network's statement",
        });
        self.platform.post("/v1/reports", &json!({"reports": [report]})).await.map(drop)
    }

    /// Everest has the events of the last hour sent again.
    async fn replay(&mut self, clock: &Rewound) -> anyhow::Result<()> {
        let vendor = &self.vendors[0];
        let since = Timestamp::from_millis(self.environment.clock.now().as_millis() - HOUR.as_millis() as i64);
        let path = format!("/v1/endpoints/{}/replay", vendor.endpoints[0].0);
        vendor.client.post(&path, &json!({"since": since})).await?;
        clock.advance(LONG_TICK);
        Ok(())
    }
}
