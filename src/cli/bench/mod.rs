//! `ringback bench`: how fast it is here, beside the limit that no sender can beat.
//!
//! Four processes take part: a server (or several nodes) on a database of its own; a [sink] that receives; the [bare] loop, which signs and
//! posts the same payloads to the same sink and stores nothing; and this one, which reports recharges as a platform would
//! ([load]) and asks the system what the server uses. The bare limit is measured between the rounds of what it is compared
//! with, and a clock stops when the last delivery is written down.

mod backlog;
mod bare;
mod figures;
mod fill;
mod load;
mod many;
mod open_loop;
mod process;
mod retention;
mod sink;
mod soak;
mod stage;
mod throughput;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use figures::Case;
use serde_json::json;
use stage::Stage;

use crate::config::{ConfigError, Database, LogFormat};
use crate::limits;

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Bench {
    /// The loads to run, one after the other [default: burst open-loop]
    shapes: Vec<Shape>,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The processes that take part.
#[derive(Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    Sink,
    #[command(hide = true)]
    Bare(bare::Bare),
}

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Reports in batches of 100 from 32 connections, one endpoint
    Burst,
    /// One report to a request, 64 connections, one endpoint
    Single,
    /// Each report makes ten deliveries, to ten endpoints
    FanOut,
    /// Reports at 20 and 300 a second, and at 25, 50 and 75 % of what the burst delivered
    OpenLoop,
    /// Very many deliveries wait for a receiver that comes back, while another one goes on
    Backlog,
    /// The janitor removes very many old attempts, while traffic goes on
    Retention,
    /// Very many endpoints; one in a hundred never answers, one in a hundred is slow
    Many,
    /// Half of the burst's rate, while a receiver fails in every way and the server is killed again and again
    Soak,
    /// All of them
    All,
}

#[derive(Debug, Clone, Args)]
struct Options {
    /// A database that is not there yet; it is filled with made-up recharges [default: a temporary one in this folder]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Servers that share the database, which has to be PostgreSQL's where there are many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16))]
    nodes: u64,
    /// Rounds; figures are the median of them, with the spread
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Recharges that are in the ledger before anything begins
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    recharges: u64,
    /// Deliveries in a round of burst, single and fan-out
    #[arg(long, value_name = "COUNT", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1000..))]
    deliveries: u64,
    /// Attempts under way to one endpoint, and requests of the bare loop
    #[arg(long, value_name = "COUNT", default_value_t = u64::from(limits::MAX_IN_FLIGHT_PER_ENDPOINT), value_parser = clap::value_parser!(u64).range(1..=1000))]
    in_flight: u64,
    /// Seconds that traffic of a given rate lasts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How many endpoints many has
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', default_value = "100,1000,10000")]
    endpoints: Vec<usize>,
    /// How many deliveries wait in backlog
    #[arg(long, value_name = "COUNT,…", value_delimiter = ',', default_value = "10000,100000,1000000")]
    backlog: Vec<u64>,
    /// How many old attempts retention removes
    #[arg(long, value_name = "COUNT", default_value_t = 5_000_000)]
    old_attempts: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let _log = super::log::to_stderr("warn", LogFormat::Text)?;
        super::runtime()?.block_on(async {
            match self.part {
                Some(Part::Sink) => sink::run().await,
                Some(Part::Bare(bare)) => bare.run().await,
                None => {
                    let stopped = super::serve::asked_to_stop(|| ())?;
                    tokio::select! {
                        measured = measure(self.shapes, self.options) => measured,
                        // What was started ends with it.
                        () = stopped => bail!("it was stopped before all was measured"),
                    }
                }
            }
        })
    }
}

async fn measure(mut shapes: Vec<Shape>, options: Options) -> anyhow::Result<()> {
    let problems = options.problems();
    if !problems.is_empty() {
        return Err(ConfigError(problems).into());
    }
    if shapes.is_empty() {
        shapes = vec![Shape::Burst, Shape::OpenLoop];
    }
    if shapes.contains(&Shape::All) {
        shapes = Shape::value_variants().iter().copied().filter(|shape| *shape != Shape::All).collect();
    }
    let machine = machine();
    if !options.json {
        outln!("{machine}")?;
    }
    let mut stage = Stage::set(options).await?;
    let mut cases: Vec<Case> = Vec::new();
    for shape in shapes {
        let measured = match shape {
            Shape::Burst => throughput::run(&mut stage, &throughput::BURST).await?,
            Shape::Single => throughput::run(&mut stage, &throughput::SINGLE).await?,
            Shape::FanOut => throughput::run(&mut stage, &throughput::FAN_OUT).await?,
            Shape::OpenLoop => open_loop::run(&mut stage, &cases).await?,
            Shape::Many => many::run(&mut stage).await?,
            Shape::Backlog => backlog::run(&mut stage).await?,
            Shape::Retention => retention::run(&mut stage).await?,
            Shape::Soak => soak::run(&mut stage, &cases).await?,
            Shape::All => Vec::new(),
        };
        if !stage.options.json {
            measured.iter().try_for_each(Case::print)?;
        }
        cases.extend(measured);
    }
    if stage.options.json {
        let version = env!("CARGO_PKG_VERSION");
        let cases: Vec<_> = cases.iter().map(Case::json).collect();
        outln!("{}", json!({"version": version, "machine": machine, "cases": cases}))?;
    }
    stage.end().await
}

impl Options {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(url) = &self.database {
            let path = url.strip_prefix("sqlite:").unwrap_or(url);
            if std::path::Path::new(path).exists() {
                problems.push(format!("--database: there is a database at {path}; name one that is not there yet"));
            }
        }
        let is_shared = self.database.as_ref().is_some_and(|url| matches!(url.parse(), Ok(Database::Postgres(_))));
        if self.nodes > 1 && !is_shared {
            problems.push("--nodes: a file has one; name a PostgreSQL database with --database".to_owned());
        }
        if self.endpoints.iter().any(|count| !(100..=50_000).contains(count)) {
            problems.push("--endpoints: each must be from 100 to 50000".to_owned());
        }
        if self.backlog.iter().any(|count| !(1000..=100_000_000).contains(count)) {
            problems.push("--backlog: each must be from 1000 to 100000000".to_owned());
        }
        problems
    }
}

/// What it runs on, for people.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("an unknown processor");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {model}, {} {}", std::env::consts::OS, kernel.trim())
}

/// Microseconds on the clock that all processes of a machine share and nobody sets.
fn monotonic_micros() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}
