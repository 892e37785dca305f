//! The composition root: from a configuration to running parts, and to their orderly end.

pub(crate) mod keys;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::clock::{Environment, Stopwatch};
use crate::config::{Config, ConfigError, Database};
use crate::domain::id::UserId;
use crate::engine::{self, Engine};
use crate::http::{Api, Part, listen, router};
use crate::limits;
use crate::meters::Meters;
use crate::ops::{self, Ops};
use crate::panel;
use crate::providers::http::{HttpProvider, Settings};
use crate::providers::simulated::{CalledBack, Simulated};
use crate::providers::{Provider, Providers};
use crate::store::Store;
use crate::store::cluster::Cluster;
use crate::store::group_commit::GroupCommit;
use crate::store::migrate::{self, Step};
use crate::store::postgres::{self, Membership, PostgresStore};
use crate::store::seal::MasterKey;
use crate::store::sqlite::{self, DatabaseLock, SqliteStore};
use crate::traces::Traces;
use crate::transport::guard::Guard;
use crate::transport::mail::Mailer;
use crate::transport::{self, Resolve, SystemResolver, Transport, tls_config};

/// What tests replace; the program uses the real ones.
pub struct Externals {
    /// Time, chance and ids.
    pub environment: Environment,
    /// Names to addresses.
    pub resolver: Arc<dyn Resolve>,
    /// Certificate authorities beside the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// What stands between the store and all who use it.
    pub around_store: Option<AroundStore>,
}

/// Puts something around a store.
pub type AroundStore = Arc<dyn Fn(Arc<dyn Store>) -> Arc<dyn Store> + Send + Sync>;

impl Externals {
    /// The real ones.
    pub fn system() -> Self {
        let resolver = Arc::new(SystemResolver::new());
        Self { environment: Environment::system(0), resolver, authorities: Vec::new(), around_store: None }
    }
}

/// What a server listens on.
#[derive(Debug)]
pub struct Listeners {
    /// For the API.
    pub api: TcpListener,
    /// For health and metrics, where they have an address of their own.
    pub metrics: Option<TcpListener>,
}

impl Listeners {
    /// Listens where the configuration says.
    ///
    /// # Errors
    /// An address is taken, or not this machine's.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let api = TcpListener::bind(config.listen).await;
        let api = api.with_context(|| format!("{} cannot be listened on; choose another address with --listen", config.listen))?;
        let Some(address) = config.metrics_listen else { return Ok(Self { api, metrics: None }) };
        let metrics = TcpListener::bind(address).await;
        let metrics = metrics.with_context(|| format!("{address} cannot be listened on; choose another one as metrics_listen"))?;
        Ok(Self { api, metrics: Some(metrics) })
    }
}

/// A server, put together.
pub struct App {
    engine: Arc<Engine>,
    loops: JoinSet<()>,
    committer: JoinHandle<()>,
    api: Api,
    bounds: listen::Bounds,
    drain_timeout: Duration,
    traces: Option<Arc<Traces>>,
}

impl App {
    /// Opens the store and starts the engine.
    ///
    /// # Errors
    /// The database is in use, damaged, or sealed with another key; what to do is told.
    pub async fn start(config: &Config, outside: Externals) -> anyhow::Result<Self> {
        let Externals { environment, resolver, authorities, around_store } = outside;
        let access = match config.database.file() {
            Some(path) => Access::Served(DatabaseLock::acquire(path)?),
            None => Access::Member(Membership { address: config.listen.to_string(), lease: config.shard_lease }),
        };
        let store = open(config, environment.clone(), access).await?;
        let store = match around_store {
            Some(around) => around(store),
            None => store,
        };
        let meters = Arc::new(Meters::new());
        let files = transport::allow_open_files();
        if files < 2 * config.bounds.max_in_flight {
            tracing::warn!(
                files,
                "so few files and sockets may be open at once that max_in_flight deliveries can take them all, which then wait; \
                 allow more (LimitNOFILE= of systemd, ulimit -n), or set max_in_flight to half of that at most"
            );
        }
        let guard = Guard::new(config.allow_networks.clone());
        let tls = tls_config(&authorities);
        let clock = Arc::clone(&environment.clock);
        let (limits, proxy) = (config.transport.clone(), config.proxy.clone());
        let transport = Arc::new(Transport::new(transport::Parts { limits, guard, proxy, resolver: Arc::clone(&resolver), tls, clock }));
        let traces = config.otlp_endpoint.as_ref().map(|collector| Traces::start(collector, &transport, &meters)).transpose()?;
        let (tell, calls) = unbounded_channel();
        let at_providers = Arc::new(transport.reading(limits::PROVIDER_ANSWER_MAX));
        let provider =
            |settings: &Settings| -> Arc<dyn Provider> { Arc::new(HttpProvider::new(settings.clone(), Arc::clone(&at_providers))) };
        let live = config.providers.iter().map(provider).collect();
        let providers = Providers::new(live, Arc::new(Simulated::new(environment.clone(), tell)));
        let engine = Engine::new(engine::Parts {
            store: Arc::clone(&store),
            transport: Arc::clone(&transport),
            environment: environment.clone(),
            meters: Arc::clone(&meters),
            traces: traces.clone(),
            policy: config.policy.clone(),
            bounds: config.bounds.clone(),
            lease: config.shard_lease,
            attempt_timeout: config.transport.attempt_timeout,
            strict_hold: config.strict_hold,
            watch: config.watch.clone(),
            retention: config.retention.clone(),
            mailer: mailer(config, resolver)?,
            public_url: config.rules.public_url.clone(),
            providers: providers.clone(),
        });
        engine.join().await?;
        let (committer, committing) = GroupCommit::start(Arc::clone(&store), engine.clone());
        let mut loops = engine.start(committer.clone());
        let ops = Ops::new(ops::Parts {
            store,
            committer,
            handoff: engine.clone(),
            transport,
            environment,
            meters: Arc::clone(&meters),
            rules: config.rules.clone(),
            catalogue: Arc::clone(&config.catalogue),
            providers,
        });
        let ops = Arc::new(ops);
        loops.spawn(take_calls(Arc::clone(&ops), calls));
        let (trusted_proxies, frame_ancestors) = (config.trusted_proxies.clone().into(), config.frame_ancestors.clone().into());
        let api = Api { ops, meters, trusted_proxies, frame_ancestors };
        let bounds = listen::Bounds {
            header_timeout: config.header_timeout,
            body_timeout: config.body_timeout,
            idle_timeout: config.idle_timeout,
            max_connections: config.max_connections.unwrap_or((files / 2).min(limits::CONNECTIONS_MAX)),
            max_connections_per_address: config.max_connections_per_address,
            trusted_proxies: Arc::clone(&api.trusted_proxies),
        };
        Ok(Self { engine, loops, committer: committing, api, bounds, drain_timeout: config.drain_timeout, traces })
    }

    /// The path of the page that makes the first operator's login, if there is none yet and the store answers.
    pub async fn first_operator_path(&self) -> Option<String> {
        self.api.ops.first_operator_path().await.ok().flatten()
    }

    /// The path of a page that logs in as this operator, for as long as the process runs.
    pub fn entry_path(&self, operator: UserId) -> String {
        self.api.ops.entry_path(operator)
    }

    /// The engine, for those who turn its steps by hand.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Serves on `listeners` until `shutdown`, then drains: no new work, attempts under way are finished and written
    /// down, within `drain_timeout`.
    ///
    /// # Errors
    /// A listener has no address, or its task failed.
    pub async fn run(mut self, listeners: Listeners, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let (stop, stopped) = watch::channel(());
        self.api.ops.listens_on(listeners.api.local_addr().context("the listener has no address")?);
        let serving = tokio::spawn(serve(self.api.clone(), self.bounds.clone(), listeners, stopped));
        shutdown.await;
        // Whoever waits for events is answered now.
        self.api.ops.stop();
        let attempts = self.engine.in_flight();
        tracing::info!(
            attempts,
            "stopping: no new work is taken, attempts under way are finished; a second SIGTERM or SIGINT stops at once"
        );
        drop(stop);
        let draining = Stopwatch::start();
        // Requests under way may still be writing, so that they are waited for first; but a client that keeps its
        // connection busy must not hold the attempts.
        let (served, ()) = tokio::join!(tokio::time::timeout(self.drain_timeout, serving), self.engine.drain(self.drain_timeout));
        self.loops.abort_all();
        while self.loops.join_next().await.is_some() {}
        self.committer.abort();
        self.engine.leave().await;
        if let Some(traces) = &self.traces {
            traces.finish(self.drain_timeout.saturating_sub(draining.elapsed())).await;
        }
        if let Ok(ended) = served {
            ended.context("the server's task failed")?;
        }
        tracing::info!(seconds = draining.elapsed().as_secs_f64(), "stopped");
        Ok(())
    }
}

/// Serves until `stopped` says so, and then what is under way.
async fn serve(api: Api, bounds: listen::Bounds, listeners: Listeners, stopped: watch::Receiver<()>) {
    let on = |listener, part| listen::serve(listener, router(api.clone(), part, panel::routes(&api)), bounds.clone(), stopped.clone());
    match listeners {
        Listeners { api, metrics: None } => on(api, Part::All).await,
        Listeners { api, metrics: Some(metrics) } => drop(tokio::join!(on(api, Part::Calls), on(metrics, Part::Health))),
    }
}

/// Takes what the simulated provider calls back.
async fn take_calls(ops: Arc<Ops>, mut calls: UnboundedReceiver<CalledBack>) {
    while let Some(called) = calls.recv().await {
        if let Err(error) = ops.simulated(&called).await {
            tracing::warn!(recharge = %called.recharge, %error, "what the simulated provider called back was not taken");
        }
    }
}

fn mailer(config: &Config, resolver: Arc<dyn Resolve>) -> anyhow::Result<Option<Mailer>> {
    let Some((url, from)) = &config.mail else { return Ok(None) };
    let told = |(setting, problem): (&str, String)| format!("{setting} {problem}");
    let mailer = Mailer::new(url, from).map_err(|problems| ConfigError(problems.into_iter().map(told).collect()))?;
    Ok(Some(mailer.resolving(resolver)))
}

/// Opens the configured store, with its master key.
///
/// # Errors
/// It cannot be used; what to do is told.
pub async fn open_store(config: &Config, environment: Environment) -> anyhow::Result<Arc<dyn Store>> {
    open(config, environment, Access::Plain).await
}

/// What the nodes of the configured PostgreSQL database agree on, to be looked at from beside.
///
/// # Errors
/// It cannot be used; what to do is told.
pub async fn cluster(config: &Config) -> anyhow::Result<Arc<dyn Cluster>> {
    let membership = Membership { address: config.listen.to_string(), lease: config.shard_lease };
    let store = open(config, Environment::system(0), Access::Member(membership)).await?;
    store.cluster().context("a SQLite file has one node, and that owns everything; only a PostgreSQL database is shared")
}

/// Moves everything from a file to a PostgreSQL database, sealed with the same master key.
///
/// # Errors
/// One of them cannot be used, or the target is not empty; what to do is told.
pub async fn move_store(from: &Config, to: &Config, environment: &Environment, tell: impl FnMut(Step)) -> anyhow::Result<()> {
    let (Database::Sqlite(path), Database::Postgres(url)) = (&from.database, &to.database) else {
        bail!("only a SQLite file can be moved, and only to PostgreSQL");
    };
    let (master_key, previous_key) = master_keys(from, environment)?;
    let options = sqlite::OpenOptions {
        path: path.clone(),
        master_key: master_key.clone(),
        previous_key: previous_key.clone(),
        environment: environment.clone(),
    };
    let from = SqliteStore::open(options)?;
    let (url, environment) = (url.clone(), environment.clone());
    let to = PostgresStore::open(postgres::OpenOptions { url, master_key, previous_key, environment, membership: None }).await?;
    Ok(migrate::move_all(&from, &to, tell).await?)
}

/// The master key of a database, and the one before it: from the settings, or from the key file beside a file.
///
/// # Errors
/// There is none, or it cannot be read; what to do is told.
pub(crate) fn master_keys(config: &Config, environment: &Environment) -> anyhow::Result<(MasterKey, Option<MasterKey>)> {
    match (&config.master_key, &config.database) {
        (Some(key), _) => Ok((key.clone(), config.master_key_previous.clone())),
        (None, Database::Sqlite(path)) => Ok((keys::read_or_make(path, &*environment.entropy)?, keys::read_previous(path)?)),
        (None, Database::Postgres(_)) => bail!("master_key is required with a PostgreSQL database"),
    }
}

/// As what a store is opened.
enum Access {
    /// By a command, next to a server or without one.
    Plain,
    /// By the one server of a SQLite file.
    Served(DatabaseLock),
    /// By one of the nodes on a PostgreSQL database.
    Member(Membership),
}

async fn open(config: &Config, environment: Environment, access: Access) -> anyhow::Result<Arc<dyn Store>> {
    let (master_key, previous_key) = master_keys(config, &environment)?;
    Ok(match config.database.clone() {
        Database::Sqlite(path) => {
            let options = sqlite::OpenOptions { path, master_key, previous_key, environment };
            Arc::new(if let Access::Served(lock) = access { SqliteStore::serve(options, lock)? } else { SqliteStore::open(options)? })
        }
        Database::Postgres(url) => {
            let membership = if let Access::Member(membership) = access { Some(membership) } else { None };
            Arc::new(PostgresStore::open(postgres::OpenOptions { url, master_key, previous_key, environment, membership }).await?)
        }
    })
}
