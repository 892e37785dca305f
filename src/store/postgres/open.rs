//! Opening a database: what every connection is set to, migrations, the master key's check.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::cluster::{Member, Membership};
use super::session::{Address, Kind, Link};
use super::{Postgres, PostgresStore, StoreError};
use crate::clock::Surroundings;
use crate::limits;
use crate::store::seal::{MasterKey, Sealer};
use crate::store::sql::conn::{Conn, Result, params};
use crate::store::sql::threads::{Readers, Writer};
use crate::store::sql::{self, moving};

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// How to open a store.
#[derive(Clone)]
pub struct OpenOptions {
    /// The database, as `postgres://user:password@host:port/name?sslmode=require`.
    pub url: String,
    /// What seals the secrets in it.
    pub master_key: MasterKey,
    /// The key before that one, while the secrets are sealed again.
    pub previous_key: Option<MasterKey>,
    /// Time, chance and ids.
    pub surroundings: Surroundings,
    /// What the node is among others, if it is one.
    pub membership: Option<Membership>,
}

/// Every statement goes by an index that was made for it, so that it is planned once. Left to its figures the planner would
/// walk through all of `open_delivery`, which is nearly empty when it counts the rows and full of removed ones a minute
/// later.
const PLANS: &str = "-c plan_cache_mode=force_generic_plan -c jit=off -c max_parallel_workers_per_gather=0 -c enable_seqscan=off \
    -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off";
/// How long a lock is waited for. Together with [`IDLE_TIMEOUT`] it bounds what one node that stops does to the others.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A transaction whose node says nothing for this long is rolled back by the database.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection on which an answer is waited for is asked this often whether its other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// The oldest version that is supported.
const OLDEST_VERSION: i64 = 14;

impl PostgresStore {
    /// Opens the database, makes or migrates its tables, and checks the master key.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with what to do, for an address that cannot be read, a database that cannot be reached or
    /// is too old, was sealed with another master key, or was written by a newer Ringback. Nothing in it was changed.
    pub async fn open(options: OpenOptions) -> Result<Self, StoreError> {
        let OpenOptions { url, master_key, previous_key, surroundings, membership } = options;
        let address = Address { config: configure(&url)?, tls: MakeRustlsConnect::new(crate::tls::client(&[])) };
        let address = Arc::new(address);
        let sealer = Sealer::new(&master_key, previous_key.as_ref(), surroundings.entropy.clone());
        let ids = surroundings.ids.clone();
        let mut link = Link::new(Arc::clone(&address));
        let (opening, serves) = ((sealer.clone(), ids.clone()), membership.is_some());
        // The connection waits for its answers on the thread that asks.
        let prepared = tokio::task::spawn_blocking(move || {
            let (sealer, ids) = opening;
            link.migrate(&migrations::migrations::runner().set_abort_divergent(true).set_abort_missing(true), |conn| check(conn, &sealer))?;
            link.transaction(Kind::Writes, |conn| {
                sql::begin(conn, &sealer, &ids)?;
                if serves { refuse_half_moved(conn) } else { Ok(()) }
            })
        });
        let stopped = |_| StoreError::Unavailable("the store is closing".to_owned());
        prepared.await.map_err(stopped)?.map_err(unusable)?;
        let readers = (0..limits::READERS).map(|_| Link::new(Arc::clone(&address))).collect();
        let member = membership.map(|of| Arc::new(Member::new(of, &address, ids.clone(), &*surroundings.entropy)));
        // One row that another session has locked must not hold up a whole batch.
        let batches = || Link::with_lock_wait(Arc::clone(&address), limits::BATCH_LOCK_WAIT);
        let writer = Writer::start((batches(), sql::Memory::default()))?;
        let settler = Writer::start((batches(), sql::Memory::of_outcomes()))?;
        let driver = Postgres { writer, settler, readers: Readers::new(readers), member };
        Ok(Self::new(driver, sealer, ids))
    }
}

/// What is moved here from a file is served once all of it is there.
fn refuse_half_moved(conn: Conn) -> Result<()> {
    if conn.exists("SELECT 1 FROM meta WHERE name = ?1", params![moving::MOVING])? {
        return Err(StoreError::Unusable(
            "a move into this database was begun and has not come to its end; run ringback migrate-store again, or name another database"
                .to_owned(),
        ));
    }
    Ok(())
}

fn unusable(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(text) => StoreError::Unusable(format!(
            "the PostgreSQL database cannot be reached ({text}); check the address given with --database, that the server runs, and what its pg_hba.conf allows"
        )),
        StoreError::Rejected(text) => StoreError::Unusable(format!(
            "the PostgreSQL database cannot be used ({text}); check that the user of --database may make tables in it"
        )),
        other => other,
    }
}

/// The address with what every connection is set to.
fn configure(url: &str) -> Result<Config> {
    let mut config: Config = url.parse().map_err(|error| {
        StoreError::Unusable(format!(
            "--database is not an address of PostgreSQL ({error}); write postgres://user:password@host:5432/name, with ?sslmode=require for TLS"
        ))
    })?;
    let settings = format!(
        "{PLANS} -c lock_timeout={} -c statement_timeout={} -c idle_in_transaction_session_timeout={}",
        LOCK_TIMEOUT.as_millis(),
        STATEMENT_TIMEOUT.as_millis(),
        IDLE_TIMEOUT.as_millis(),
    );
    let options = config.get_options().map_or_else(|| settings.clone(), |own| format!("{own} {settings}"));
    config.options(options).tcp_user_timeout(CONNECT_TIMEOUT);
    config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
    if config.get_application_name().is_none() {
        config.application_name("ringback");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    Ok(config)
}

/// Refuses a server that is too old or loses what it confirmed, another program's database, and another master key.
fn check(conn: Conn, sealer: &Sealer) -> Result<()> {
    let setting = |name: &str| conn.one("SELECT current_setting(?1)", params![name], |row| row.get::<String>(0));
    let version: i64 = setting("server_version_num")?.parse().unwrap_or(0);
    if version < OLDEST_VERSION * 10_000 {
        return Err(StoreError::Unusable(format!(
            "the PostgreSQL server is version {}; {OLDEST_VERSION} or newer is needed",
            version / 10_000
        )));
    }
    if setting("synchronous_commit")? == "off" {
        return Err(StoreError::Unusable(
            "the PostgreSQL server has synchronous_commit = off, with which it loses what it has confirmed when it crashes; set it to on"
                .to_owned(),
        ));
    }
    let there = |table: &str| {
        let sql = "SELECT 1 FROM pg_catalog.pg_class WHERE oid = to_regclass(?1)";
        conn.exists(sql, params![table])
    };
    match (there("refinery_schema_history")?, there("meta")?) {
        (true, true) => sql::check_key(conn, sealer),
        (false, false) => Ok(()),
        // Whoever began to make the tables was killed before the first one.
        (true, false) if !conn.exists("SELECT 1 FROM refinery_schema_history", params![])? => Ok(()),
        _ => Err(StoreError::Unusable(
            "the PostgreSQL database is another program's; name another one with --database, made with CREATE DATABASE".to_owned(),
        )),
    }
}
