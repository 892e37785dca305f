//! A receiver is down while very many deliveries come to wait for it, and then it is back; another one's traffic goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::figures::Case;
use super::load::Due;
use super::monotonic_micros;
use super::sink::Mood;
use super::stage::{BESIDE, Stage};
use super::throughput::BATCH;

const NAME: &str = "backlog";
const DOWN: &str = "down";
const FRESH: &str = "fresh";

pub(super) async fn run(stage: &mut Stage) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for count in stage.options.backlog.clone() {
        let mut case = Case::new(NAME, format!("{count} deliveries wait for one endpoint; {BESIDE} reports a second for another one"));
        for _ in 0..stage.options.rounds {
            one(stage, count, &mut case).await?;
        }
        cases.push(case);
    }
    Ok(cases)
}

async fn one(stage: &mut Stage, count: u64, case: &mut Case) -> anyhow::Result<()> {
    let (down, fresh) = ([stage.vendor(DOWN).await?], [stage.vendor(FRESH).await?]);
    stage.endpoint(&down[0], DOWN).await?;
    stage.endpoint(&fresh[0], FRESH).await?;
    stage.warm_up(&fresh, FRESH).await?;
    let (_, before) = stage.traffic(&fresh, FRESH, Due::At(BESIDE, Duration::from_secs(stage.options.seconds))).await?;
    stage.sink.set(DOWN, Mood::Failing).await?;
    stage.load(&down, 32, BATCH, Due::Now(count))?.post().await?;
    stage.server()?.forget_peak()?;
    let stop = Arc::new(AtomicBool::new(false));
    stage.sink.take(FRESH).await?;
    let traffic = stage.at_rate(&fresh, Due::Until(BESIDE, Arc::clone(&stop)))?;
    let traffic = tokio::spawn(async move { traffic.post().await });
    stage.sink.set(DOWN, Mood::Well).await?;
    let arrived = stage.until_arrived(DOWN, count).await?;
    let took = monotonic_micros() - arrived.first_at;
    stage.until_settled(&down[0]).await?;
    let memory = stage.server()?.memory()?.1;
    stop.store(true, Ordering::Relaxed);
    let posted = traffic.await??;
    let meanwhile = stage.until_arrived(FRESH, posted.count).await?.latencies;
    case.add("drained after", "s", took as f64 / 1e6);
    case.add("drained", "1/s", count as f64 / (took as f64 / 1e6));
    case.add("memory, at most", "MiB", memory);
    case.add("fresh p99, before", "ms", before.p99());
    case.add("fresh p99, meanwhile", "ms", meanwhile.p99());
    case.add("times the p99 before", "×", meanwhile.p99() / before.p99());
    Ok(())
}
