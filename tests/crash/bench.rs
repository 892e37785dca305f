//! `ringback bench`, every shape for a moment: what it measures is there and can be. How fast anything was is not judged.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::postgres::Postgres;
use super::wait;

fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
    command.arg("bench").args(arguments).current_dir(folder).env_clear();
    command
}

fn bench(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    command(arguments, folder.path()).output().expect("it runs")
}

#[test]
fn every_shape_measures_what_it_says() {
    measures(&[]);
}

/// Two nodes, on a server that has everything for itself.
#[test]
fn every_shape_measures_what_it_says_on_postgresql_too() {
    let postgres = Postgres::start();
    measures(&["--nodes=2", "--database", &postgres.url()]);
}

fn measures(where_to: &[&str]) {
    let small = ["--rounds=1", "--recharges=2000", "--deliveries=1000", "--seconds=1", "--endpoints=100", "--backlog=1000"];
    let output = bench(&[&small[..], &["all", "--old-attempts=2000", "--json"], where_to].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON and nothing else");
    let cases = answer["cases"].as_array().expect("cases");
    let shapes: Vec<&str> = cases.iter().map(|case| case["shape"].as_str().expect("a shape")).collect();
    let open_loop = ["open-loop"; 5];
    assert_eq!(shapes, [&["burst", "single", "fan-out"], &open_loop[..], &["backlog", "retention", "many", "soak"]].concat());
    for case in cases {
        for figure in case["figures"].as_array().expect("figures") {
            let median = figure["median"].as_f64().expect("a number");
            // The system counts processor time in steps of ten milliseconds, and a kill may find nothing under way.
            let may_be_nothing = ["processor time of one delivery", "arrived more than once", "open deliveries"];
            let is_there = median > 0.0 || may_be_nothing.contains(&figure["name"].as_str().expect("a name"));
            assert!(median.is_finite() && is_there, "{}: {figure}", case["shape"]);
        }
    }
    let burst = &cases[0]["figures"];
    let figure = |name: &str| burst.as_array().and_then(|all| all.iter().find(|figure| figure["name"] == name)?["median"].as_f64());
    let (delivered, bare, part) = (figure("delivered"), figure("bare limit"), figure("of the bare limit"));
    let (Some(delivered), Some(bare), Some(part)) = (delivered, bare, part) else { panic!("the burst lacks a figure: {burst}") };
    assert!((part - 100.0 * delivered / bare).abs() < 1e-6, "{part} of {delivered} and {bare}");
}

#[test]
fn wrong_arguments_are_told_all_at_once_and_a_database_that_is_there_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("mine.db");
    std::fs::write(&path, "mine").expect("it is written");
    let database = format!("--database=sqlite:{}", path.display());
    let output = bench(&["burst", &database, "--endpoints=1", "--backlog=1", "--nodes=2"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{told}");
    for part in ["--database", "--endpoints", "--backlog", "--nodes"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(std::fs::read(&path).expect("it is there"), b"mine");
}

/// Processes that run, each with the one that started it.
fn processes() -> Vec<(u32, u32)> {
    let folders = std::fs::read_dir("/proc").expect("the system lists them");
    let stats = folders.filter_map(|folder| std::fs::read_to_string(folder.ok()?.path().join("stat")).ok());
    let processes = stats.filter_map(|stat| {
        let (before, after) = stat.rsplit_once(')')?;
        let mut after = after.split_whitespace();
        // One that has ended is listed until somebody has asked how.
        let runs = after.next()? != "Z";
        runs.then_some((before.split_once(' ')?.0.parse().ok()?, after.next()?.parse().ok()?))
    });
    processes.collect()
}

#[tokio::test]
async fn what_it_started_ends_with_it_and_leaves_nothing() {
    const WITHIN: Duration = Duration::from_secs(60);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = command(&["open-loop", "--recharges=100", "--deliveries=1000", "--seconds=60"], folder.path());
    let mut bench = command.stdout(Stdio::null()).spawn().expect("it runs");
    let started = || -> Vec<u32> { processes().into_iter().filter(|(_, by)| *by == bench.id()).map(|(id, _)| id).collect() };
    wait::until("it has started a sink and a server", WITHIN, async || started().len() >= 2).await;
    let started = started();
    let sent = Command::new("kill").arg(bench.id().to_string()).status();
    assert!(sent.expect("kill runs").success(), "the signal is sent");
    let mut ended = None;
    wait::until("it ends", WITHIN, async || {
        ended = bench.try_wait().expect("its state is known");
        ended.is_some()
    })
    .await;
    assert_eq!(ended.and_then(|status| status.code()), Some(1));
    wait::until("they end", WITHIN, async || !processes().iter().any(|(id, _)| started.contains(id))).await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}
