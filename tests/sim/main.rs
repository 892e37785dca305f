//! Random walks: everything that can happen to the server, in an order that a seed draws, over a real file and a clock that
//! stands still until a step moves it. After every step the feed tells exactly what was accepted; at the end all that was
//! pending has ended, where it belonged. A walk that fails is made shorter, and printed with its seed.
//!
//! `SIM_SEEDS=5000..6000 scripts/with-postgres cargo nextest run --test sim` walks others; `make soak` goes on for as long as it is told.

#[allow(dead_code, reason = "the other tests use all of it")]
#[path = "../it/client.rs"]
mod client;
mod faulty;
mod ledger;
mod receiver;
mod sink;
mod walk;
mod world;

use std::any::Any;
use std::ops::Range;
use std::time::Duration;

use ringback::clock::Stopwatch;

use crate::walk::{Step, draw};
use crate::world::{Place, World};

/// Seeds that failed once.
const KEPT: &[u64] = &[];
/// Seeds that are walked on PostgreSQL too: each takes some seconds.
const ON_POSTGRES: usize = 18;
/// How long a failing walk may be made shorter.
const SHORTENING: Duration = Duration::from_secs(60);

/// Makes a walk; the error tells what is wrong.
fn walk(seed: u64, steps: &[Step], place: &Place) -> Result<(), String> {
    sink::install();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut world = World::begin(seed, place).await;
            for step in steps {
                world.step(step).await;
                world.check().await;
            }
            world.end_well().await;
            world.check_end().await;
            world.stop_all().await;
        });
    }));
    walked.map_err(|panic| why(&*panic))
}

fn why(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// Leaves out what a failure does not need, as long as there is time.
fn shorten(mut steps: Vec<Step>, mut failure: String, walk: impl Fn(&[Step]) -> Result<(), String>) -> (Vec<Step>, String) {
    let watch = Stopwatch::start();
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < steps.len() && watch.elapsed() < SHORTENING {
            let fewer: Vec<Step> =
                steps.iter().enumerate().filter(|(at, _)| !(from..from + size).contains(at)).map(|(_, step)| step.clone()).collect();
            match walk(&fewer) {
                Err(still) => (steps, failure) = (fewer, still),
                Ok(()) => from += size,
            }
        }
        size /= 2;
    }
    (steps, failure)
}

fn try_seed(seed: u64) {
    try_walk(seed, |steps| walk(seed, steps, &Place::File));
}

fn try_walk(seed: u64, walk: impl Fn(&[Step]) -> Result<(), String>) {
    let steps = draw(seed);
    if let Err(failure) = walk(&steps) {
        let first = failure.clone();
        let (steps, failure) = shorten(steps, failure, walk);
        let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
        panic!("seed {seed}: {first}\n\nthe shortest walk that fails ({} steps): {failure}\n{}", steps.len(), steps.join("\n"));
    }
}

#[allow(clippy::disallowed_methods, reason = "a test has no configuration to read it from")]
/// The seeds to walk: a quarter of those that are always walked, or of those that are asked for.
fn seeds(quarter: u64) -> impl Iterator<Item = u64> {
    let asked = std::env::var("SIM_SEEDS").ok();
    let range: Range<u64> = asked.map_or(0..300, |text| {
        let (from, to) = text.split_once("..").expect("SIM_SEEDS is a range such as 300..400");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    range.filter(move |seed| seed % 4 == quarter)
}

/// One, two and three servers on a schema of their own of the PostgreSQL server that `RINGBACK_TEST_POSTGRES` names.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test has no configuration to read it from")]
fn some_seeds_on_postgresql_with_many_nodes() {
    let server = std::env::var("RINGBACK_TEST_POSTGRES")
        .expect("RINGBACK_TEST_POSTGRES names no PostgreSQL server; run `make test`, or the tests through scripts/with-postgres");
    for seed in seeds(0).take(ON_POSTGRES) {
        try_walk(seed, |steps| {
            let name = format!("sim_{:016x}", rand::random::<u64>());
            sql(&server, &format!("CREATE SCHEMA {name}"));
            let url = format!("{server}?application_name={name}&options=-c%20search_path%3D{name}");
            let walked = walk(seed, steps, &Place::Postgres(url, 1 + seed as usize / 4 % 3));
            sql(&server, &format!("DROP SCHEMA {name} CASCADE"));
            walked
        });
    }
}

fn sql(server: &str, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(server, tokio_postgres::NoTls).await.expect("the server answers");
        tokio::spawn(connection);
        client.batch_execute(statement).await.expect("it is done");
    });
}

#[test]
fn seeds_that_failed_once() {
    KEPT.iter().copied().for_each(try_seed);
}

#[test]
fn the_first_quarter_of_the_seeds() {
    seeds(0).for_each(try_seed);
}

#[test]
fn the_second_quarter_of_the_seeds() {
    seeds(1).for_each(try_seed);
}

#[test]
fn the_third_quarter_of_the_seeds() {
    seeds(2).for_each(try_seed);
}

#[test]
fn the_fourth_quarter_of_the_seeds() {
    seeds(3).for_each(try_seed);
}
