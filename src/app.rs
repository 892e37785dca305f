//! The composition root: from a configuration to running parts, and to their orderly end.

use std::fs::{File, OpenOptions, TryLockError};
use std::future::Future;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::clock::{Entropy, Surroundings};
use crate::config::Config;
use crate::engine::{self, Engine};
use crate::http::{Api, router};
use crate::meters::Meters;
use crate::ops::{self, Ops};
use crate::store::Store;
use crate::store::group_commit::GroupCommit;
use crate::store::seal::MasterKey;
use crate::store::sqlite::{self, SqliteStore};
use crate::transport::guard::Guard;
use crate::transport::{self, Resolve, SystemResolver, Transport, tls_config};

/// What tests replace; the program uses the real ones.
pub struct Outside {
    /// Time, chance and ids.
    pub surroundings: Surroundings,
    /// Names to addresses.
    pub resolver: Arc<dyn Resolve>,
    /// Certificate authorities beside the system's.
    pub authorities: Vec<CertificateDer<'static>>,
}

impl Outside {
    /// The real ones.
    ///
    /// # Errors
    /// The system's resolver configuration cannot be read.
    pub fn system() -> anyhow::Result<Self> {
        let resolver = SystemResolver::new().context("the system's resolver configuration cannot be read; check /etc/resolv.conf")?;
        Ok(Self { surroundings: Surroundings::system(0), resolver: Arc::new(resolver), authorities: Vec::new() })
    }
}

/// A server, put together.
pub struct App {
    engine: Arc<Engine>,
    loops: JoinSet<()>,
    committer: JoinHandle<()>,
    api: Api,
    drain_timeout: Duration,
    _lock: File,
}

impl App {
    /// Opens the store and starts the engine.
    ///
    /// # Errors
    /// The database is in use, damaged, or sealed with another key; what to do is told.
    pub fn start(config: &Config, outside: Outside) -> anyhow::Result<Self> {
        let Outside { surroundings, resolver, authorities } = outside;
        let lock = lock(&config.database)?;
        let store: Arc<dyn Store> = Arc::new(open_store(config, surroundings.clone())?);
        let meters = Arc::new(Meters::new());
        let guard = Guard::new(config.allow_networks.clone());
        let tls = tls_config(&authorities);
        let clock = Arc::clone(&surroundings.clock);
        let (limits, proxy) = (config.transport.clone(), config.proxy.clone());
        let transport = Arc::new(Transport::new(transport::Parts { limits, guard, proxy, resolver, tls, clock }));
        let engine = Engine::new(engine::Parts {
            store: Arc::clone(&store),
            transport: Arc::clone(&transport),
            surroundings: surroundings.clone(),
            meters: Arc::clone(&meters),
            policy: config.policy.clone(),
            bounds: config.bounds.clone(),
            strict_hold: config.strict_hold,
        });
        let (committer, committing) = GroupCommit::start(Arc::clone(&store), engine.clone());
        let loops = engine.start(committer.clone());
        let ops = Ops::new(ops::Parts {
            store,
            committer,
            handoff: engine.clone(),
            transport,
            surroundings,
            meters: Arc::clone(&meters),
            rules: config.rules.clone(),
        });
        let api = Api { ops: Arc::new(ops), meters, trusted_proxies: config.trusted_proxies.clone().into() };
        Ok(Self { engine, loops, committer: committing, api, drain_timeout: config.drain_timeout, _lock: lock })
    }

    /// The engine, for those who turn its steps by hand.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Serves on `listener` until `shutdown`, then drains: no new work, attempts under way are finished and written
    /// down, within `drain_timeout`.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn run(mut self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let service = router(self.api.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            axum::serve(listener, service).with_graceful_shutdown(stopped).await
        });
        shutdown.await;
        tracing::info!("stopping: no new work is taken; attempts under way are finished");
        drop(stop);
        // Requests under way may still be writing, so that they are waited for first; but a client that keeps its
        // connection busy must not hold the attempts.
        let (served, ()) = tokio::join!(tokio::time::timeout(self.drain_timeout, serving), self.engine.drain(self.drain_timeout));
        self.loops.abort_all();
        while self.loops.join_next().await.is_some() {}
        self.committer.abort();
        if let Ok(ended) = served {
            ended.context("the server's task failed")?.context("the listener failed")?;
        }
        Ok(())
    }
}

/// Opens the configured store, with its master key.
///
/// # Errors
/// It cannot be used; what to do is told.
pub fn open_store(config: &Config, surroundings: Surroundings) -> anyhow::Result<SqliteStore> {
    let master_key = match &config.master_key {
        Some(key) => key.clone(),
        None => key_file(&config.database, &*surroundings.entropy)?,
    };
    Ok(SqliteStore::open(sqlite::OpenOptions { path: config.database.clone(), master_key, surroundings })?)
}

/// The key beside the database, made at the first start. A database that is there without its key is not given a new
/// one: what is sealed in it would be lost.
fn key_file(database: &Path, entropy: &dyn Entropy) -> anyhow::Result<MasterKey> {
    let path = database.with_file_name("ringback.key");
    let shown = path.display();
    match File::open(&path) {
        Ok(mut file) => {
            let mut text = String::new();
            file.read_to_string(&mut text).with_context(|| format!("{shown} cannot be read"))?;
            MasterKey::parse(&text).with_context(|| format!("{shown} is not base64 of 32 bytes; put the right master key there"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if std::fs::metadata(database).is_ok_and(|file| file.len() > 0) {
                bail!(
                    "{shown} is missing, and {} needs it; put the master key back, or give it as RINGBACK_MASTER_KEY",
                    database.display()
                );
            }
            let key = MasterKey::generate(entropy);
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("{shown} cannot be made; check the folder and its permissions"))?;
            writeln!(file, "{}", key.to_base64()).and_then(|()| file.sync_all()).with_context(|| format!("{shown} cannot be written"))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("{shown} cannot be read")),
    }
}

/// One server to a database.
fn lock(database: &Path) -> anyhow::Result<File> {
    let path = PathBuf::from(format!("{}.lock", database.display()));
    let shown = path.display();
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.with_context(|| format!("{shown} cannot be made; check that the folder is there and can be written to"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another ringback serves {}; stop it first, or name another file with --database", database.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{shown} cannot be locked")),
    }
}
