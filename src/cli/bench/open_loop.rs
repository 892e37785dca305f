//! How long a report is on its way, from the moment it is due to its arrival at the receiver, at several rates.

use std::time::Duration;

use super::figures::Case;
use super::load::Due;
use super::stage::{BESIDE, Stage};
use super::throughput;

/// So few a second that each finds an idle system.
const IDLE: f64 = 20.0;
const PARTS: [f64; 3] = [25.0, 50.0, 75.0];
const NAME: &str = "open-loop";

/// `measured` has the burst, if that was run before.
pub(super) async fn run(stage: &mut Stage, measured: &[Case]) -> anyhow::Result<Vec<Case>> {
    let burst = throughput::burst(stage, measured).await?;
    let vendors = [stage.vendor(NAME).await?];
    stage.endpoint(&vendors[0], NAME).await?;
    stage.warm_up(&vendors, NAME).await?;
    let mut rates = vec![(IDLE, "20 reports a second: an idle system".to_owned()), (BESIDE, format!("{BESIDE} reports a second"))];
    rates.extend(PARTS.map(|part| (burst * part / 100.0, format!("{part} % of the burst: {:.0} reports a second", burst * part / 100.0))));
    let mut cases: Vec<Case> = rates.iter().map(|(_, what)| Case::new(NAME, what.clone())).collect();
    let length = Duration::from_secs(stage.options.seconds);
    for _ in 0..stage.options.rounds {
        for ((rate, _), case) in rates.iter().zip(&mut cases) {
            let sync = stage.sync_micros()?;
            stage.server()?.forget_peak()?;
            let spent = stage.server()?.processor_time()?;
            let (posted, latencies) = stage.traffic(&vendors, NAME, Due::At(*rate, length)).await?;
            stage.until_settled(&vendors[0]).await?;
            case.add_latencies(&latencies);
            case.add("one page made durable", "ms", sync / 1000.0);
            stage.add_costs(case, spent, posted.count)?;
        }
    }
    Ok(cases)
}
