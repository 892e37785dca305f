//! Half of the burst's rate for a long time while things go wrong. What has to stay as it is is shown as it goes; at the end nothing
//! that was accepted may be missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;

use super::figures::Case;
use super::load::{Due, Load};
use super::sink::Mood;
use super::stage::Stage;
use super::throughput;
use crate::clock::Stopwatch;

const NAME: &str = "soak";
/// Percent of the burst.
const PART: f64 = 50.0;
const WELL: &str = "well";
const MOODY: &str = "moody";
/// One in so many reports is for the vendor whose receiver is moody.
const ONE_IN: usize = 20;
/// What each figure is taken over, behind a kill if there is one.
const WINDOW: Duration = Duration::from_secs(10);
/// What the moody receiver does, a window each.
const MOODS: [Mood; 6] = [Mood::Failing, Mood::Well, Mood::Silent, Mood::Closing, Mood::Well, Mood::Slow];
/// The server is killed at the beginning of each so many windows.
const KILLED_EACH: u64 = 12;

pub(super) async fn run(stage: &mut Stage, measured: &[Case]) -> anyhow::Result<Vec<Case>> {
    let rate = throughput::burst(stage, measured).await? * PART / 100.0;
    let length = Duration::from_secs(stage.options.seconds);
    let window = WINDOW.min(length);
    let vendors = [stage.vendor(WELL).await?, stage.vendor(MOODY).await?];
    stage.endpoint(&vendors[0], WELL).await?;
    stage.endpoint(&vendors[1], MOODY).await?;
    stage.warm_up(&vendors[..1], WELL).await?;
    let before = stage.events(&vendors[0]).await?;

    let stop = Arc::new(AtomicBool::new(false));
    let mix: Vec<String> = (0..ONE_IN).map(|number| vendors[usize::from(number == 0)].clone()).collect();
    let load = Load { outlasts: true, ..stage.at_rate(&mix, Due::Until(rate, Arc::clone(&stop)))? };
    let traffic = tokio::spawn(async move { load.post().await });
    let killed = KILLED_EACH * window.as_secs();
    let what = format!("{rate:.0} reports a second for {} s; a receiver fails in every way, and a kill every {killed} s", length.as_secs());
    let (mut case, mut arrived, mut starts) = (Case::new(NAME, what), 0, 1);
    for number in 0..length.as_secs() / window.as_secs() {
        let watch = Stopwatch::start();
        stage.sink.set(MOODY, MOODS[number as usize % MOODS.len()]).await?;
        if number % KILLED_EACH == 0 {
            stage.kill().await?;
            starts += 1;
        }
        tokio::time::sleep(window).await;
        let taken = stage.sink.take(WELL).await?;
        arrived += taken.count;
        case.add_latencies(&taken.latencies);
        case.add("delivered", "1/s", taken.count as f64 / watch.elapsed().as_secs_f64());
        case.add("starts", "", f64::from(starts));
        case.add("memory", "MiB", stage.server()?.memory()?.0);
        case.add("open files", "", stage.server()?.open_files()? as f64);
        case.add("open deliveries", "", stage.metric("ringback_backlog ").await?);
        if let Some(log) = stage.log_size() {
            case.add("log in front of the database", "MB", log);
        }
    }
    stop.store(true, Ordering::Relaxed);
    stage.sink.set(MOODY, Mood::Well).await?;
    let posted = traffic.await??.count;
    stage.until_quiet().await?;

    let events = [stage.events(&vendors[0]).await? - before, stage.events(&vendors[1]).await?];
    ensure!(events[0] + events[1] == posted, "{posted} reports were accepted, and there are {} events", events[0] + events[1]);
    for state in ["pending", "exhausted", "cancelled"] {
        for vendor in &vendors {
            ensure!(stage.deliveries(vendor, state).await? == 0, "a delivery is {state}, and all should have succeeded");
        }
    }
    arrived += stage.sink.arrived(WELL).await?.count;
    ensure!(arrived >= events[0], "of {} events {arrived} have arrived", events[0]);
    case.add("events, each delivered", "", posted as f64);
    case.add("arrived more than once", "", (arrived - events[0]) as f64);
    Ok(vec![case])
}
