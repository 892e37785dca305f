//! One connection to the database: its transactions, its prepared statements, and how it comes back after it was lost.
//!
//! A session that is refused a write because it only reads is closed, and all others with it. After a failover the old primary
//! may keep its connections and go on as a replica, behind a pooler or an address that leads new connections to the new primary.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Statement};

use super::address::{Address, settings};
use super::transaction::{Running, Trouble};
use crate::clock::Stopwatch;
use crate::limits;
use crate::store::StoreError;
use crate::store::sql::conn::{Conn, Result};

/// The advisory lock under which the tables are made or changed.
const MIGRATION_LOCK: i64 = 0x52_49_4e_47_42_41_43_4b;

/// A place for a connection. It is made when it is first needed, and again when it was lost; while it cannot be made it is
/// tried in growing intervals, and what is asked of it meanwhile is answered at once.
pub(super) struct Link {
    address: Arc<Address>,
    session: Option<Session>,
    failed: Option<Failed>,
    /// The last write was refused because its session only reads.
    only_reads: bool,
    /// How long it waits for locks, where that is not what all connections do.
    lock_wait: Option<Duration>,
}

struct Failed {
    at: Stopwatch,
    /// How long it is not tried again.
    rests: Duration,
    why: String,
}

impl Link {
    pub fn new(address: Arc<Address>) -> Self {
        Self { address, session: None, failed: None, only_reads: false, lock_wait: None }
    }

    /// A place for a connection that waits only so long for locks.
    pub fn with_lock_wait(address: Arc<Address>, lock_wait: Duration) -> Self {
        Self { lock_wait: Some(lock_wait), ..Self::new(address) }
    }

    /// Runs `work` as one transaction. What another transaction was in the way of is run again.
    pub fn transaction<T>(&mut self, kind: Kind, mut work: impl FnMut(Conn) -> Result<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            let result = self.session()?.transaction(kind, &mut work);
            if matches!(result, Err(Trouble::NotStarted(_))) || self.session.as_ref().is_some_and(|session| session.client.is_closed()) {
                self.session = None;
            }
            match &result {
                Err(Trouble::ReadOnly(why)) => {
                    self.session = None;
                    // If the new session only reads as well, the next one is not opened at once.
                    self.failed = Some(Failed { at: Stopwatch::start(), rests: limits::RECONNECT_MIN, why: why.to_string() });
                    if !std::mem::replace(&mut self.only_reads, true) {
                        self.address.leave_sessions();
                    }
                }
                // Other sessions may have been opened meanwhile, at the server that only reads.
                Ok(_) if kind == Kind::Writes && std::mem::take(&mut self.only_reads) => self.address.leave_sessions(),
                _ => {}
            }
            match result {
                Err(Trouble::Conflict(_)) if tries < limits::TRANSACTION_TRIES => tries += 1,
                // It was lost since the last time: the next one may be had at once.
                Err(Trouble::NotStarted(_)) if tries == 0 => tries += 1,
                Err(trouble) => return Err(trouble.reason()),
                Ok(done) => return Ok(done),
            }
        }
    }

    /// Brings the tables to this version, unless `check` refuses the database. Of programs that start together one does it,
    /// while the others wait.
    pub fn migrate(&mut self, runner: &refinery::Runner, mut check: impl FnMut(Conn) -> Result<()>) -> Result<()> {
        let session = self.session()?;
        let lock = format!("SET lock_timeout = 0; SET statement_timeout = 0; SELECT pg_advisory_lock({MIGRATION_LOCK})");
        session.runtime.block_on(session.client.batch_execute(&lock)).map_err(|error| StoreError::from(&error))?;
        let checked = session.transaction(Kind::Reads, &mut check).map_err(Trouble::reason);
        let migrated = checked
            .and_then(|()| session.runtime.block_on(runner.run_async(&mut session.client)).map(drop).map_err(|error| not_migrated(&error)));
        // The lock and the settings go with the connection.
        self.session = None;
        migrated
    }

    fn session(&mut self) -> Result<&mut Session> {
        self.session.iter().for_each(Session::listen);
        let left = self.address.sessions_left();
        if self.session.as_ref().is_none_or(|session| session.client.is_closed() || session.opened_after != left) {
            self.session = None;
            if let Some(failed) = self.failed.as_ref().filter(|failed| failed.at.elapsed() < failed.rests) {
                return Err(StoreError::Unavailable(failed.why.clone()));
            }
            match Session::open(&self.address, self.lock_wait) {
                Ok(session) => (self.session, self.failed) = (Some(session), None),
                Err(error) => {
                    let rests = self.failed.as_ref().map_or(limits::RECONNECT_MIN, |failed| failed.rests * 2).min(limits::RECONNECT_MAX);
                    self.failed = Some(Failed { at: Stopwatch::start(), rests, why: error.to_string() });
                    return Err(error);
                }
            }
        }
        Ok(self.session.as_mut().expect("it was opened above"))
    }
}

/// Why the tables could not be made or changed: the database's own words, where it is the one that refused.
fn not_migrated(error: &refinery::Error) -> StoreError {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<tokio_postgres::Error>());
    match source {
        Some(source) => source.into(),
        None => StoreError::Unusable(format!("the database's tables are not those of this version of Ringback: {error}")),
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reading from one snapshot.
    Reads,
    /// Writing.
    Writes,
}

/// A connection that is open. Its traffic goes on while somebody waits for an answer, on the thread that waits.
struct Session {
    runtime: Driven,
    client: Client,
    statements: RefCell<HashMap<String, Statement>>,
    /// How often all sessions had been left when this one was opened.
    opened_after: usize,
}

/// The runtime of a connection. It may end on any thread.
pub(super) struct Driven(Option<Runtime>);

impl Driven {
    pub fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.0.as_ref().expect("it is there until it is dropped").block_on(work)
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Session {
    fn open(address: &Address, lock_wait: Option<Duration>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StoreError::Unavailable(format!("no connection can be made: {error}")))?;
        let opened_after = address.sessions_left();
        let opened = runtime.block_on(async {
            let (client, connection) = address.connect().await?;
            tokio::spawn(async move {
                // Whoever waits for an answer is told of the error.
                drop(connection.await);
            });
            let lock_wait = lock_wait.map(|lock_wait| format!("SET lock_timeout = {}", lock_wait.as_millis()));
            client.batch_execute(&(settings() + &lock_wait.unwrap_or_default())).await?;
            Ok::<_, tokio_postgres::Error>(client)
        });
        let client = opened.map_err(|error| StoreError::from(&error))?;
        Ok(Self { runtime: Driven(Some(runtime)), client, statements: RefCell::default(), opened_after })
    }

    /// Learns what came while nobody waited: most of all, that the connection was closed.
    fn listen(&self) {
        self.runtime.block_on(async {
            // The first turn hears of it, the second one is the connection's.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
        });
    }

    fn transaction<T>(&mut self, kind: Kind, work: &mut impl FnMut(Conn) -> Result<T>) -> Result<T, Trouble> {
        let running = Running::new(&self.runtime, &self.client, &self.statements, kind);
        match work(Conn::Postgres(&running)) {
            Ok(done) => running.commit().map(|()| done),
            Err(error) => Err(running.roll_back(error)),
        }
    }
}
