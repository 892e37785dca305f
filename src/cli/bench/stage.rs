//! What all loads share: the server on its database, the sink, and the calls that prepare and watch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::super::client::Client;
use super::figures::{Case, Latencies};
use super::load::{Due, Load, Posted};
use super::process::{Arrived, Nodes, Server, Sink};
use super::{Options, fill, process};
use crate::app::{cluster, open_store};
use crate::clock::{Environment, Stopwatch};
use crate::config::{Config, Database, Sources};
use crate::domain::id::VendorId;
use crate::domain::shard::SHARDS;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::cluster::Cluster;
use crate::store::seal::MasterKey;
use crate::transport::allow_open_files;

/// Clients that make what is many.
const MAKING: usize = 16;
/// How often the end of something is looked for.
pub(super) const LOOK: Duration = Duration::from_millis(5);
/// Nothing has moved for this long: something is wrong.
pub(super) const STALLED: Duration = Duration::from_secs(180);
/// Nothing that a load made is older.
const RECENT: Duration = Duration::from_secs(24 * 3600);
/// Clients of a load at a given rate.
const CLIENTS: usize = 32;
/// The first seconds after a start find everything cold.
const WARM_UP: Duration = Duration::from_secs(2);
/// The rate that traffic has beside something else, a second.
pub(super) const BESIDE: f64 = 300.0;

/// The nodes that are running, and a client of the first of them.
struct Running {
    nodes: Nodes,
    client: Client,
}

pub(super) struct Stage {
    pub options: Options,
    pub sink: Sink,
    /// Where the database is.
    folder: PathBuf,
    /// What every server is started with: the database, and its key.
    flags: Vec<(&'static str, String)>,
    config: Config,
    /// What nodes of a PostgreSQL database agree on.
    cluster: Option<Arc<dyn Cluster>>,
    token: String,
    running: Option<Running>,
    _temporary: Option<TempDir>,
}

impl Stage {
    /// Starts everything, on a database with a history.
    pub async fn set(options: Options) -> anyhow::Result<Self> {
        // Ten thousand endpoints are as many connections.
        allow_open_files();
        let temporary = match options.database {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("ringback-bench-").tempdir_in(".").context("this folder cannot be written to")?),
        };
        let file = temporary.as_ref().map(|folder| format!("sqlite:{}", folder.path().join("bench.db").display()));
        let database = options.database.clone().or(file).unwrap_or_default();
        let environment = Environment::system(0);
        let key = MasterKey::generate(&*environment.entropy).to_base64();
        let mut flags = vec![("database", database.clone())];
        if matches!(database.parse(), Ok(Database::Postgres(_))) {
            flags.push(("master_key", key));
        }
        let config = Config::read(Sources { flags: flags.clone(), ..Sources::default() })?;
        let folder = config.database.file().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.map_or_else(|| ".".into(), PathBuf::from);
        let token = {
            let store = open_store(&config, environment.clone()).await?;
            super::super::token::make(&*store, &environment, "bench").await?.1.expose().to_owned()
        };
        let cluster = match config.database {
            Database::Sqlite(_) => None,
            Database::Postgres(_) => Some(cluster(&config).await?),
        };
        let sink = Sink::start().await?;
        let mut stage = Self { options, sink, folder, flags, config, cluster, token, running: None, _temporary: temporary };
        stage.start(&[]).await?;
        let vendor = stage.vendor("history").await?;
        let store = stage.stopped().await?;
        fill::recharges(&*store, &environment, parsed(&vendor)?, stage.options.recharges).await?;
        drop(store);
        stage.start(&[]).await?;
        Ok(stage)
    }

    /// Starts the server, with these settings beside those that every load needs.
    pub async fn start(&mut self, settings: &[(&str, String)]) -> anyhow::Result<()> {
        let mut nodes = Vec::new();
        for _ in 0..self.options.nodes {
            nodes.push(self.node(settings).await?);
        }
        self.runs(nodes).await
    }

    async fn node(&self, settings: &[(&str, String)]) -> anyhow::Result<Server> {
        let in_flight = [("max_in_flight_per_endpoint", self.options.in_flight.to_string())];
        let settings: Vec<_> = self.flags.iter().chain(&in_flight).chain(settings).map(|(name, value)| (*name, value.clone())).collect();
        Server::start(&settings).await
    }

    async fn runs(&mut self, nodes: Vec<Server>) -> anyhow::Result<()> {
        let client = Client::connect(nodes[0].address(), &self.token).await?;
        self.running = Some(Running { nodes: Nodes(nodes), client });
        self.until_spread().await
    }

    /// Stops the server; answers its store, for as long as it is not started again.
    pub async fn stopped(&mut self) -> anyhow::Result<Arc<dyn Store>> {
        if let Some(Running { nodes, .. }) = self.running.take() {
            nodes.stop().await?;
        }
        open_store(&self.config, Environment::system(0)).await
    }

    /// Kills the server, or the first of many, and starts it again at the same address.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let Running { nodes: Nodes(mut nodes), .. } = self.running.take().context("the server is not running")?;
        let address = nodes[0].address();
        nodes.remove(0).kill().await?;
        nodes.insert(0, self.node(&[("listen", address.to_string())]).await?);
        self.runs(nodes).await
    }

    /// Stops everything.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.stopped().await.map(drop)
    }

    pub fn server(&self) -> anyhow::Result<&Nodes> {
        Ok(&self.running.as_ref().context("the server is not running")?.nodes)
    }

    /// Waits until each of many nodes has its share.
    async fn until_spread(&self) -> anyhow::Result<()> {
        let (watch, count) = (Stopwatch::start(), self.options.nodes);
        let is_spread =
            |shares: &[u64]| shares.len() as u64 == count && shares.iter().all(|shards| *shards + count > SHARDS as u64 / count);
        while count > 1 && !is_spread(&self.shares().await?) {
            if watch.elapsed() > STALLED {
                bail!("the nodes do not share the endpoints");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn cluster(&self) -> anyhow::Result<&dyn Cluster> {
        self.cluster.as_deref().context("a file has no nodes")
    }

    /// How many shards each node has.
    async fn shares(&self) -> anyhow::Result<Vec<u64>> {
        Ok(self.cluster()?.nodes().await?.iter().filter(|node| node.lease_ms > 0).map(|node| node.shards).collect())
    }

    fn client(&self) -> anyhow::Result<&Client> {
        Ok(&self.running.as_ref().context("the server is not running")?.client)
    }

    /// Megabytes of the database.
    pub async fn size(&self) -> anyhow::Result<f64> {
        let bytes = match &self.config.database {
            Database::Sqlite(file) => std::fs::metadata(file)?.len(),
            Database::Postgres(_) => self.cluster()?.size().await?,
        };
        Ok(bytes as f64 / 1e6)
    }

    /// Megabytes of the log in front of the database, where that is a file.
    pub fn log_size(&self) -> Option<f64> {
        let log = format!("{}-wal", self.config.database.file()?.display());
        Some(std::fs::metadata(log).ok()?.len() as f64 / 1e6)
    }

    /// Events that a vendor has.
    pub async fn events(&self, vendor: &str) -> anyhow::Result<u64> {
        let feed = self.client()?.get(&format!("/v1/events?vendor_id={vendor}&limit=1")).await?;
        feed["latest_sequence"].as_u64().context("a feed has a latest number")
    }

    /// Deliveries of a vendor in a state, one page of them.
    pub async fn deliveries(&self, vendor: &str, state: &str) -> anyhow::Result<usize> {
        let since = Timestamp::from_millis(Environment::system(0).clock.now().as_millis() - RECENT.as_millis() as i64);
        let path = format!("/v1/deliveries?vendor_id={vendor}&mode=live&state={state}&since={since}&limit=1");
        self.client()?.get(&path).await?["data"].as_array().map(Vec::len).context("a list has data")
    }

    /// Microseconds of a page made durable where the database is.
    pub fn sync_micros(&self) -> anyhow::Result<f64> {
        process::sync_micros(&self.folder)
    }

    // --- Making things -----------------------------------------------------------------------------------------------

    /// Makes a vendor; answers its id.
    pub async fn vendor(&self, name: &str) -> anyhow::Result<String> {
        make_vendor(self.client()?, name).await
    }

    /// Makes an endpoint of a vendor at a group of the sink's, and connects it.
    pub async fn endpoint(&self, vendor: &str, group: &str) -> anyhow::Result<()> {
        make_endpoint(self.client()?, vendor, &self.sink.url(group), self.options.in_flight).await
    }

    /// Makes so many vendors with an endpoint each, at the group that each number has; answers the vendors' ids.
    pub async fn vendors(&self, count: usize, group: impl Fn(usize) -> &'static str) -> anyhow::Result<Vec<String>> {
        let (addresses, in_flight, mut making) = (self.server()?.addresses(), self.options.in_flight, JoinSet::new());
        for first in 0..MAKING {
            let urls: Vec<(usize, String)> = (first..count).step_by(MAKING).map(|number| (number, self.sink.url(group(number)))).collect();
            let (token, address) = (self.token.clone(), addresses[first % addresses.len()]);
            making.spawn(async move {
                let client = Client::connect(address, &token).await?;
                let mut made = Vec::new();
                for (number, url) in urls {
                    let vendor = make_vendor(&client, &format!("vendor {number}")).await?;
                    make_endpoint(&client, &vendor, &url, in_flight).await?;
                    made.push(vendor);
                }
                anyhow::Ok(made)
            });
        }
        let mut vendors = Vec::new();
        while let Some(made) = making.join_next().await {
            vendors.extend(made??);
        }
        Ok(vendors)
    }

    // --- Loads -------------------------------------------------------------------------------------------------------

    /// A load of this server's.
    pub fn load(&self, vendors: &[String], connections: usize, batch: usize, due: Due) -> anyhow::Result<Load> {
        Ok(Load {
            servers: self.server()?.addresses(),
            token: self.token.clone(),
            vendors: vendors.into(),
            connections,
            batch,
            due,
            outlasts: false,
        })
    }

    /// Reports at a rate, each posted as soon as it is due, with what else is due by then.
    pub fn at_rate(&self, vendors: &[String], due: Due) -> anyhow::Result<Load> {
        self.load(vendors, CLIENTS, super::throughput::BATCH, due)
    }

    /// What nobody measures, so that the next to be measured finds everything warm.
    pub async fn warm_up(&self, vendors: &[String], group: &str) -> anyhow::Result<()> {
        let posted = self.at_rate(vendors, Due::At(BESIDE, WARM_UP))?.post().await?;
        self.until_arrived(group, posted.count).await?;
        self.sink.take(group).await.map(drop)
    }

    /// Traffic at a rate to one group of the sink's, for a while; answers how it fared.
    pub async fn traffic(&self, vendors: &[String], group: &str, due: Due) -> anyhow::Result<(Posted, Latencies)> {
        self.sink.take(group).await?;
        let posted = self.at_rate(vendors, due)?.post().await?;
        self.until_arrived(group, posted.count).await?;
        Ok((posted, self.sink.take(group).await?.latencies))
    }

    /// Waits until so much has arrived at a group since it was last taken.
    pub async fn until_arrived(&self, group: &str, count: u64) -> anyhow::Result<Arrived> {
        let (mut before, mut watch) = (0, Stopwatch::start());
        loop {
            let arrived = self.sink.arrived(group).await?;
            if arrived.count >= count {
                return Ok(arrived);
            }
            if arrived.count > before {
                (before, watch) = (arrived.count, Stopwatch::start());
            }
            if watch.elapsed() > STALLED {
                bail!("{before} of {count} deliveries have arrived, and no more come");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a vendor's deliveries have all been written down.
    pub async fn until_settled(&self, vendor: &str) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        while self.deliveries(vendor, "pending").await? > 0 {
            if watch.elapsed() > STALLED {
                bail!("deliveries that have arrived are not written down");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until all deliveries have ended.
    pub async fn until_quiet(&self) -> anyhow::Result<()> {
        let (mut before, mut watch) = (f64::INFINITY, Stopwatch::start());
        loop {
            let backlog = self.metric("ringback_backlog ").await?;
            if backlog <= 0.0 {
                return Ok(());
            }
            if backlog < before {
                (before, watch) = (backlog, Stopwatch::start());
            }
            if watch.elapsed() > STALLED {
                bail!("{backlog} deliveries have not ended, and do not get fewer");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A number that the server's metrics have.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let (_, text) = self.client()?.send(&http::Method::GET, "/metrics", bytes::Bytes::new()).await?;
        let text = String::from_utf8_lossy(&text);
        let number = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        number.with_context(|| format!("there is no metric {name}"))
    }

    /// What the server needs of the machine beside its latencies, for this many deliveries.
    pub fn add_costs(&self, case: &mut Case, before: Duration, deliveries: u64) -> anyhow::Result<()> {
        let server = self.server()?;
        let spent = server.processor_time()?.saturating_sub(before);
        case.add("processor time of one delivery", "µs", spent.as_secs_f64() * 1e6 / deliveries as f64);
        case.add("memory, at most", "MiB", server.memory()?.1);
        Ok(())
    }
}

/// An id that the API gave.
pub(super) fn parsed(vendor: &str) -> anyhow::Result<VendorId> {
    vendor.parse().ok().context("the API gave an id that is none")
}

async fn make_vendor(client: &Client, name: &str) -> anyhow::Result<String> {
    let made = client.post("/v1/vendors", &json!({"name": name, "email": "bench@example.com"})).await?;
    made["id"].as_str().map(str::to_owned).context("a vendor has an id")
}

async fn make_endpoint(client: &Client, vendor: &str, url: &str, in_flight: u64) -> anyhow::Result<()> {
    let made = client.post("/v1/endpoints", &json!({"vendor_id": vendor, "url": url, "max_in_flight": in_flight})).await?;
    let id = made["id"].as_str().context("an endpoint has an id")?;
    let connected: Value = client.post(&format!("/v1/endpoints/{id}/connect"), &json!({})).await?;
    if connected["status"] != "connected" {
        bail!("an endpoint could not be connected: {connected}");
    }
    Ok(())
}
