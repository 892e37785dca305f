//! How many deliveries a second: *burst*, *single*, *fan-out*. The clock stops when the last one is written down.

use super::figures::Case;
use super::load::Due;
use super::stage::Stage;
use crate::clock::Stopwatch;

/// A load that comes all at once.
pub(super) struct Throughput {
    name: &'static str,
    connections: usize,
    batch: usize,
    endpoints: u64,
    /// Deliveries are one part in this many of what was asked for: what takes longer is measured with fewer.
    part: u64,
}

/// Reports to a request, at most.
pub(super) const BATCH: usize = 100;
pub(super) const BURST: Throughput = Throughput { name: "burst", connections: 32, batch: BATCH, endpoints: 1, part: 1 };
pub(super) const SINGLE: Throughput = Throughput { name: "single", connections: 64, batch: 1, endpoints: 1, part: 2 };
pub(super) const FAN_OUT: Throughput = Throughput { name: "fan-out", connections: 32, batch: BATCH, endpoints: 10, part: 1 };

const DELIVERED: &str = "delivered";

/// Deliveries a second of the burst, which other rates are parts of: as it was measured before, or now.
pub(super) async fn burst(stage: &mut Stage, measured: &[Case]) -> anyhow::Result<f64> {
    let delivered = |case: &Case| case.median(DELIVERED).filter(|_| case.shape == BURST.name);
    Ok(match measured.iter().find_map(delivered) {
        Some(burst) => burst,
        None => run(stage, &BURST).await?.iter().find_map(delivered).unwrap_or_default(),
    })
}

pub(super) async fn run(stage: &mut Stage, load: &Throughput) -> anyhow::Result<Vec<Case>> {
    let Throughput { name, connections, batch, endpoints, part } = *load;
    let (in_flight, deliveries) = (stage.options.in_flight, stage.options.deliveries / part);
    let reports = deliveries / endpoints;
    let vendors = [stage.vendor(name).await?];
    for _ in 0..endpoints {
        stage.endpoint(&vendors[0], name).await?;
    }
    stage.warm_up(&vendors, name).await?;
    stage.until_settled(&vendors[0]).await?;
    let to = if endpoints == 1 { "one endpoint".to_owned() } else { format!("{endpoints} endpoints") };
    let what = format!("{reports} reports, {batch} to a request, {connections} connections; {to}, {in_flight} requests under way to each");
    let mut case = Case::new(name, what);
    for _ in 0..stage.options.rounds {
        let bare = stage.sink.bare_limit(deliveries, in_flight * endpoints).await?;
        stage.sink.take(name).await?;
        stage.server()?.forget_peak()?;
        let (spent, watch) = (stage.server()?.processor_time()?, Stopwatch::start());
        let posted = stage.load(&vendors, connections, batch, Due::Now(reports))?.post().await?;
        stage.until_arrived(name, reports * endpoints).await?;
        stage.until_settled(&vendors[0]).await?;
        let delivered = (reports * endpoints) as f64 / watch.elapsed().as_secs_f64();
        case.add("of the bare limit", "%", 100.0 * delivered / bare);
        case.add(DELIVERED, "1/s", delivered);
        case.add("bare limit", "1/s", bare);
        case.add("accepted", "1/s", posted.count as f64 / posted.took.as_secs_f64());
        stage.add_costs(&mut case, spent, reports * endpoints)?;
    }
    Ok(vec![case])
}
