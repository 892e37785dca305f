//! Opening a database: what every connection is set to, migrations, the master key's check.

use std::sync::Arc;

use super::address::Address;
use super::cluster::{Member, Membership};
use super::session::{Kind, Link};
use super::{Postgres, PostgresStore, StoreError};
use crate::clock::Environment;
use crate::limits;
use crate::store::seal::{MasterKey, Sealer};
use crate::store::sql::conn::{Conn, Result, params};
use crate::store::sql::threads::{Readers, Writer};
use crate::store::sql::{self, migrate};

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// How to open a store.
#[derive(Clone)]
pub struct OpenOptions {
    /// The database, as `postgres://user:password@host:port/name?sslmode=verify-full`.
    pub url: String,
    /// What seals the secrets in it.
    pub master_key: MasterKey,
    /// The key before that one, while the secrets are sealed again.
    pub previous_key: Option<MasterKey>,
    /// Time, chance and ids.
    pub environment: Environment,
    /// What the node is among others, if it is one.
    pub membership: Option<Membership>,
}

/// The oldest version that is supported.
const OLDEST_VERSION: i64 = 14;

impl PostgresStore {
    /// Opens the database, makes or migrates its tables, and checks the master key.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with what to do, for an address that cannot be read, a database that cannot be reached or
    /// is too old, was sealed with another master key, or was written by a newer Ringback. Nothing in it was changed.
    pub async fn open(options: OpenOptions) -> Result<Self, StoreError> {
        let OpenOptions { url, master_key, previous_key, environment, membership } = options;
        let address = Arc::new(Address::read(&url)?);
        match address.is_pooled_by_transaction().await {
            Ok(false) => {}
            Ok(true) => return Err(StoreError::Unusable(POOLED.to_owned())),
            Err(error) => return Err(unusable((&error).into(), &address)),
        }
        let sealer = Sealer::new(&master_key, previous_key.as_ref(), environment.entropy.clone());
        let ids = environment.ids.clone();
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
        prepared.await.map_err(stopped)?.map_err(|error| unusable(error, &address))?;
        let readers = (0..limits::READERS).map(|_| Link::new(Arc::clone(&address))).collect();
        let member = membership.map(|of| Arc::new(Member::new(of, &address, ids.clone(), &*environment.entropy)));
        // One row that another session has locked must not hold up a whole batch.
        let batches = || Link::with_lock_wait(Arc::clone(&address), limits::BATCH_LOCK_WAIT);
        let writer = Writer::start((batches(), sql::Memory::default()))?;
        let settler = Writer::start((batches(), sql::Memory::of_outcomes()))?;
        let driver = Postgres { writer, settler, readers: Readers::new(readers), member };
        Ok(Self::new(driver, sealer, ids))
    }
}

/// Version of the newest migration.
pub(super) fn newest_version() -> i64 {
    migrations::migrations::runner().get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or_default()
}

/// What is moved here from a file is served once all of it is there.
fn refuse_half_moved(conn: Conn) -> Result<()> {
    if conn.exists("SELECT 1 FROM meta WHERE name = ?1", params![migrate::MOVING])? {
        return Err(StoreError::Unusable(
            "a move into this database was begun and has not come to its end; run ringback migrate-store again, or name another database"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Why a pooler is refused.
const POOLED: &str = "the PostgreSQL database is behind a pooler that lends out its connections for single transactions; Ringback \
    needs sessions, because LISTEN, advisory locks and settings belong to one: set pool_mode = session for it (PgBouncer), or name \
    the database's own address with --database";

fn unusable(error: StoreError, address: &Address) -> StoreError {
    match error {
        StoreError::Rejected(text) | StoreError::Unavailable(text) if text.contains("read-only transaction") => {
            StoreError::Unusable(format!(
                "the PostgreSQL database cannot be written ({text}); name the primary server with --database, or set \
                 default_transaction_read_only = off for the database and the user {}",
                address.user()
            ))
        }
        StoreError::Rejected(text) if text.starts_with("permission denied for database") => {
            let user = address.user();
            StoreError::Unusable(format!(
                "the PostgreSQL database cannot be used ({text}); let its owner run GRANT CONNECT ON DATABASE ... TO \"{user}\""
            ))
        }
        StoreError::Rejected(text) if text.starts_with("permission denied") || text.contains("no schema has been selected") => {
            let user = address.user();
            StoreError::Unusable(format!(
                "the PostgreSQL database cannot be used ({text}); let its owner run GRANT USAGE, CREATE ON SCHEMA public TO \"{user}\", \
                 or ALTER DATABASE ... OWNER TO \"{user}\"; tables that are there already have to be {user}'s own"
            ))
        }
        StoreError::Unavailable(text) => StoreError::Unusable(format!(
            "the PostgreSQL database cannot be reached ({text}); check the address given with --database, that the server runs, and what its pg_hba.conf allows"
        )),
        StoreError::Rejected(text) => StoreError::Unusable(format!(
            "the PostgreSQL database cannot be used ({text}); check that the user of --database may make tables in it"
        )),
        other => other,
    }
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
    let encoding = setting("server_encoding")?;
    if encoding != "UTF8" {
        return Err(StoreError::Unusable(format!(
            "the PostgreSQL database has the encoding {encoding}, which cannot keep every name; make one with CREATE DATABASE ringback \
             ENCODING 'UTF8' TEMPLATE template0, and name it with --database"
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
