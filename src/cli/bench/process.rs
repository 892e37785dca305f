//! The processes that take part beside this one: the server, the sink, the bare loop; and what the system says of them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::super::client::Client;
use super::figures::Latencies;
use super::sink::Mood;
use crate::config::Database;

const STARTED_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// A process that listens. It is killed when this is dropped.
struct Listening {
    child: Child,
    address: SocketAddr,
    /// Held open, so that nothing it prints fails.
    _stdout: BufReader<ChildStdout>,
}

impl Listening {
    async fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut line = String::new();
        tokio::time::timeout(STARTED_WITHIN, stdout.read_line(&mut line)).await.context("it did not start")??;
        let address = line.trim().strip_prefix("listening on http://").context("it did not say where it listens")?.parse()?;
        Ok(Self { child, address, _stdout: stdout })
    }
}

/// This program again, without this process's settings.
fn ourselves(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("this program's file cannot be found")?);
    command.args(arguments).env_clear();
    Ok(command)
}

/// The sum of some fields of a process's figures, counted from behind its name, which may have spaces.
fn ticks(stat: &str, fields: std::ops::Range<usize>) -> Option<u64> {
    let all: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    all.get(fields)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

/// What all processes of PostgreSQL have used, those that have ended included.
fn postgres_ticks() -> anyhow::Result<u64> {
    let processes = std::fs::read_dir("/proc")?.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    Ok(processes.filter(|stat| stat.contains("(postgres)")).filter_map(|stat| ticks(&stat, 11..15)).sum())
}

/// A server of our own.
pub(super) struct Server {
    process: Listening,
    on_postgres: bool,
}

impl Server {
    /// Starts it with these settings, the database among them, beside those that every load needs.
    pub async fn start(settings: &[(&str, String)]) -> anyhow::Result<Self> {
        let mut command = ourselves(&["serve"])?;
        let all = [("listen", "127.0.0.1:0"), ("allow_networks", "127.0.0.0/8"), ("require_https", "false"), ("log", "error")];
        let all = all.map(|(name, value)| (name, value.to_owned()));
        for (name, value) in all.iter().chain(settings) {
            command.env(format!("RINGBACK_{}", name.to_ascii_uppercase()), value);
        }
        let on_postgres = settings.iter().any(|(name, value)| *name == "database" && matches!(value.parse(), Ok(Database::Postgres(_))));
        Ok(Self { process: Listening::start(&mut command).await.context("the server cannot be started")?, on_postgres })
    }

    pub fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.process.child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        rustix::process::kill_process(id.context("the server has ended")?, rustix::process::Signal::TERM)?;
        let ended = tokio::time::timeout(STOPPED_WITHIN, self.process.child.wait()).await.context("the server does not stop")??;
        if !ended.success() {
            bail!("the server ended with {ended}");
        }
        Ok(())
    }

    /// Kills it, as a power cut would.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.child.kill().await?)
    }

    /// Files and sockets that it has open.
    fn open_files(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.id()))?.count())
    }

    fn id(&self) -> u32 {
        self.process.child.id().unwrap_or_default()
    }

    /// Ticks of processor time it has used so far.
    fn ticks(&self) -> anyhow::Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).context("bench reads /proc, which only Linux has")?;
        ticks(&stat, 11..13).context("/proc/…/stat has other fields")
    }

    fn memory(&self) -> anyhow::Result<(f64, f64)> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = |name| text.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB")?.trim().parse::<f64>().ok());
        let mib = |name| line(name).map(|kib| kib / 1024.0).context("/proc/…/status has other lines");
        Ok((mib("VmRSS:")?, mib("VmHWM:")?))
    }

    fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.id()), "5")?)
    }
}

/// The servers that share a database, of which there is one at least.
pub(super) struct Nodes(pub Vec<Server>);

impl Nodes {
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|node| node.process.address).collect()
    }

    /// Asks them to stop, one after the other.
    pub async fn stop(self) -> anyhow::Result<()> {
        for node in self.0 {
            node.stop().await?;
        }
        Ok(())
    }

    /// Files and sockets that they have open.
    pub fn open_files(&self) -> anyhow::Result<usize> {
        self.0.iter().map(Server::open_files).sum()
    }

    /// Processor time they have used so far, with that of PostgreSQL on this machine where they run on that.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let mut ticks: u64 = self.0.iter().map(Server::ticks).sum::<anyhow::Result<_>>()?;
        if self.0.iter().any(|node| node.on_postgres) {
            ticks += postgres_ticks()?;
        }
        Ok(Duration::from_secs(1) * u32::try_from(ticks)? / u32::try_from(rustix::param::clock_ticks_per_second())?)
    }

    /// Megabytes (MiB) in memory now, and the most since [`forget_peak`](Self::forget_peak): of all together.
    pub fn memory(&self) -> anyhow::Result<(f64, f64)> {
        self.0.iter().try_fold((0.0, 0.0), |(now, most), node| {
            let memory = node.memory()?;
            Ok((now + memory.0, most + memory.1))
        })
    }

    pub fn forget_peak(&self) -> anyhow::Result<()> {
        self.0.iter().try_for_each(Server::forget_peak)
    }
}

/// The sink, and what is asked of it.
pub(super) struct Sink {
    process: Listening,
    client: Client,
}

/// What arrived at a group of endpoints.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrived {
    pub count: u64,
    pub latencies: Latencies,
    /// When the first one came, as [`super::monotonic_micros`] says it.
    pub first_at: u64,
}

impl Sink {
    pub async fn start() -> anyhow::Result<Self> {
        let process = Listening::start(&mut ourselves(&["bench", "sink"])?).await.context("the sink cannot be started")?;
        let client = Client::connect(process.address, "").await?;
        Ok(Self { process, client })
    }

    /// The URL of a group's endpoints.
    pub fn url(&self, group: &str) -> String {
        format!("http://{}/hook/{group}", self.process.address)
    }

    pub async fn set(&self, group: &str, mood: Mood) -> anyhow::Result<()> {
        self.client.get(&format!("/mood/{group}/{}", mood.as_str())).await.map(drop)
    }

    /// What has arrived at a group since it was last taken.
    pub async fn arrived(&self, group: &str) -> anyhow::Result<Arrived> {
        Ok(arrived(&self.client.get("/").await?[group]))
    }

    /// The same, and forgets it, and what arrived at the others too.
    pub async fn take(&self, group: &str) -> anyhow::Result<Arrived> {
        Ok(arrived(&self.client.get("/take").await?[group]))
    }

    /// Requests a second of the bare loop to this sink, with so many under way at once.
    pub async fn bare_limit(&self, count: u64, in_flight: u64) -> anyhow::Result<f64> {
        let sink = self.process.address.to_string();
        let output = ourselves(&["bench", "bare", &sink, &count.to_string(), &in_flight.to_string()])?.output().await?;
        let answer: Value = serde_json::from_slice(&output.stdout).context("the bare loop did not say how fast it was")?;
        answer["per_second"].as_f64().context("the bare loop did not say how fast it was")
    }
}

fn arrived(figures: &Value) -> Arrived {
    let number = |at: usize| figures["latencies"][at].as_f64().unwrap_or_default();
    Arrived {
        count: figures["arrived"].as_u64().unwrap_or_default(),
        latencies: Latencies([number(0), number(1), number(2), number(3)]),
        first_at: figures["first_at"].as_u64().unwrap_or_default(),
    }
}

/// Microseconds of one page appended to a file in `folder` and made durable, the median of a hundred: what the disk asks
/// of whoever promises anything.
pub(super) fn sync_micros(folder: &Path) -> anyhow::Result<f64> {
    use std::io::Write;
    let mut file = tempfile::tempfile_in(folder)?;
    let mut samples = Vec::new();
    for _ in 0..100 {
        let watch = crate::clock::Stopwatch::start();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        samples.push(f64::from(watch.micros()));
    }
    Ok(super::figures::median(&samples))
}
