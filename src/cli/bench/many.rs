//! Very many endpoints, a vendor each: what they cost while nothing happens, and whether those that answer notice the
//! one in a hundred that never does and the one in a hundred that is slow.

use std::time::Duration;

use super::figures::Case;
use super::load::Due;
use super::sink::Mood;
use super::stage::Stage;

const NAME: &str = "many";
/// Reports a second, to any of them.
const RATE: f64 = 2000.0;
/// An idle server has settled by then.
const SETTLED: Duration = Duration::from_secs(5);
const WELL: &str = "well";
const DEAD: &str = "dead";
const SLOW: &str = "slow";

pub(super) async fn run(stage: &mut Stage) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for count in stage.options.endpoints.clone() {
        cases.push(one(stage, count).await?);
    }
    Ok(cases)
}

async fn one(stage: &mut Stage, count: usize) -> anyhow::Result<Case> {
    let mut case = Case::new(NAME, format!("{count} endpoints, {RATE} reports a second; 1 % of them never answer, 1 % take a second"));
    let group = |number: usize| match number % 100 {
        0 => DEAD,
        1 => SLOW,
        _ => WELL,
    };
    let vendors = stage.vendors(count, group).await?;
    // What was needed to make them is not what they need.
    drop(stage.stopped().await?);
    stage.start(&[]).await?;
    tokio::time::sleep(SETTLED).await;
    case.add("memory, idle", "MiB", stage.server()?.memory()?.0);
    let length = Duration::from_secs(stage.options.seconds);
    for _ in 0..stage.options.rounds {
        stage.until_quiet().await?;
        let well = round(stage, &vendors, length).await?;
        stage.sink.set(DEAD, Mood::Silent).await?;
        stage.sink.set(SLOW, Mood::Slow).await?;
        let beside = round(stage, &vendors, length).await?;
        stage.sink.set(DEAD, Mood::Well).await?;
        stage.sink.set(SLOW, Mood::Well).await?;
        case.add("p99 of those that answer, all well", "ms", well.p99());
        case.add("p99 of those that answer, beside others", "ms", beside.p99());
        case.add("times the p99 of all well", "×", beside.p99() / well.p99());
        case.add("memory, at most", "MiB", stage.server()?.memory()?.1);
    }
    Ok(case)
}

/// Traffic to all of them; answers how those fared that always answer.
async fn round(stage: &Stage, vendors: &[String], length: Duration) -> anyhow::Result<super::figures::Latencies> {
    // Whichever comes first opens a connection; that is no part of what is compared.
    stage.at_rate(vendors, Due::At(RATE, length))?.post().await?;
    stage.sink.take(WELL).await?;
    stage.at_rate(vendors, Due::At(RATE, length))?.post().await?;
    Ok(stage.sink.arrived(WELL).await?.latencies)
}
