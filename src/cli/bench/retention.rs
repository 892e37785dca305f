//! The janitor removes very many old attempts while traffic goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::figures::Case;
use super::fill;
use super::load::Due;
use super::stage::{BESIDE, Stage, parsed};
use crate::clock::{Environment, Stopwatch};

const NAME: &str = "retention";
/// Longer than anything is old.
const FOR_EVER: &str = "36500d";
const SHRINKS_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn run(stage: &mut Stage) -> anyhow::Result<Vec<Case>> {
    let attempts = stage.options.old_attempts;
    let mut case = Case::new(NAME, format!("{attempts} old attempts are removed beside {BESIDE} reports a second"));
    for _ in 0..stage.options.rounds {
        one(stage, attempts, &mut case).await?;
    }
    Ok(vec![case])
}

async fn one(stage: &mut Stage, attempts: u64, case: &mut Case) -> anyhow::Result<()> {
    let (old, fresh) = (stage.vendor("old").await?, [stage.vendor(NAME).await?]);
    stage.endpoint(&old, "old").await?;
    stage.endpoint(&fresh[0], NAME).await?;
    let store = stage.stopped().await?;
    let rows = fill::old_attempts(&*store, &Environment::system(0), parsed(&old)?, attempts).await?;
    drop(store);
    let size = stage.size().await?;

    stage.start(&[("retention", FOR_EVER.to_owned())]).await?;
    stage.warm_up(&fresh, NAME).await?;
    let (_, before) = stage.traffic(&fresh, NAME, Due::At(BESIDE, Duration::from_secs(stage.options.seconds))).await?;
    drop(stage.stopped().await?);

    stage.start(&[]).await?;
    let stop = Arc::new(AtomicBool::new(false));
    stage.warm_up(&fresh, NAME).await?;
    let watch = Stopwatch::start();
    let traffic = stage.at_rate(&fresh, Due::Until(BESIDE, Arc::clone(&stop)))?;
    let traffic = tokio::spawn(async move { traffic.post().await });
    while stage.metric("ringback_swept_rows_total ").await.unwrap_or_default() < rows as f64 {
        tokio::time::sleep(LOOK).await;
    }
    case.add("removed after", "s", watch.elapsed().as_secs_f64());
    case.add("smallest after", "s", until_smallest(stage, watch).await?.as_secs_f64());
    stop.store(true, Ordering::Relaxed);
    let posted = traffic.await??;
    let meanwhile = stage.until_arrived(NAME, posted.count).await?.latencies;
    case.add("database before", "MB", size);
    case.add("database after", "MB", stage.size().await?);
    case.add("p50, before", "ms", before.0[0]);
    case.add("p50, meanwhile", "ms", meanwhile.0[0]);
    case.add("p99, before", "ms", before.p99());
    case.add("p99, meanwhile", "ms", meanwhile.p99());
    case.add("times the p99 before", "×", meanwhile.p99() / before.p99());
    Ok(())
}

/// Waits until the file shrinks no more; answers when it last did.
async fn until_smallest(stage: &Stage, watch: Stopwatch) -> anyhow::Result<Duration> {
    let (mut smallest, mut at) = (stage.size().await?, watch.elapsed());
    while watch.elapsed() - at < SHRINKS_WITHIN {
        tokio::time::sleep(LOOK).await;
        let size = stage.size().await?;
        if size < smallest {
            (smallest, at) = (size, watch.elapsed());
        }
    }
    Ok(at)
}
