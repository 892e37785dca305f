//! The embedded store: one SQLite file.
//!
//! One thread owns the writing connection and runs closures one after another, so that a transaction is never contended
//! and prepared statements stay warm; a few read-only connections answer queries from a snapshot each; a third kind of
//! connection, on a thread of its own, moves the write-ahead log into the file, so that no commit pays for a checkpoint.
//! `synchronous=FULL`: what a commit answered is on the disk.

mod backup;
mod file;
mod file_system;
mod open;
#[cfg(test)]
mod reference_tests;
mod restore;
mod threads;

use std::sync::Arc;

pub use backup::{Source, back_up};
pub use file::{DatabaseLock, examine};
use file::{FileState, Watch};
pub use open::OpenOptions;
pub use restore::{Restored, Target, restore};
use threads::{Checkpointer, Session};

use super::sql::conn::Conn;
use super::sql::references::References;
use super::sql::threads::{Readers, Writer};
use super::sql::{Channel, Driver, Memory, SqlStore, sweep};
use super::{Horizon, StoreError, SweepPlace, Swept};

/// A store in one SQLite file.
pub type SqliteStore = SqlStore<Sqlite>;

/// A database file, as one program has it open.
pub struct Sqlite {
    writer: Writer<Session>,
    readers: Readers<rusqlite::Connection>,
    references: Arc<References>,
    _checkpointer: Checkpointer,
    state: Arc<FileState>,
    // Dropped last: it records that everything else is closed.
    _watch: Option<Watch>,
}

impl Driver for Sqlite {
    async fn read<T: Send + 'static>(&self, query: impl Fn(Conn) -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        self.state.usable()?;
        let references = Arc::clone(&self.references);
        self.readers.run(move |conn| threads::snapshot(conn, &references, query)).await
    }

    const SETTLES_BESIDE: bool = false;

    async fn write<G: Send + Sync + 'static, T: Send + 'static>(
        &self,
        _: Channel,
        given: G,
        work: impl Fn(&G, Conn, &mut Memory) -> Result<T, StoreError> + Send + 'static,
    ) -> (Option<G>, Result<T, StoreError>) {
        if let Err(error) = self.state.usable() {
            return (Some(given), Err(error));
        }
        let ran = self.writer.run(move |session| {
            let result = session.transaction(|conn, memory| work(&given, conn, memory));
            Ok((given, result))
        });
        match ran.await {
            Ok((given, result)) => (Some(given), result),
            Err(error) => (None, Err(error)),
        }
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.state.ready()
    }

    /// What is old has left memory long ago. So whoever only reads goes through the step first and waits for the disk; the
    /// writer, for whom reports wait, finds all of it in memory then.
    async fn sweep(&self, horizon: Horizon, place: SweepPlace) -> Result<Swept, StoreError> {
        self.read(move |conn| sweep::look(conn, &horizon, place)).await?;
        self.write(Channel::Main, (), move |(), conn, _| sweep::sweep(conn, &horizon, place)).await.1
    }

    /// The write-ahead log still has the pages as they were.
    async fn scrub(&self) -> Result<(), StoreError> {
        self.writer.run(|session| Ok(threads::truncate(&session.conn)?)).await
    }
}

/// What a failing statement says about itself, sorted by what follows from it.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, ConstraintViolation, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, OperationInterrupted,
            OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure, TooBig,
        };
        let text = error.to_string();
        // A write beyond a quota, or beyond the largest file that the process may have, comes as this, and so does a disk that
        // fails. The frames of a transaction are written before its end is marked, so that nothing of it is there. The
        // system's error number still is that of the write, because only another call that fails would replace it.
        if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE) {
            let is_failure = std::io::Error::last_os_error().raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
            return if is_failure { Self::Unavailable(text) } else { Self::Full(text) };
        }
        match error.sqlite_error_code() {
            Some(DiskFull) => Self::Full(text),
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(text),
            Some(ConstraintViolation | TooBig) => Self::Rejected(text),
            Some(
                DatabaseBusy | DatabaseLocked | SystemIoFailure | CannotOpen | PermissionDenied | ReadOnly | OutOfMemory
                | OperationInterrupted,
            ) => Self::Unavailable(text),
            _ => Self::Rejected(text),
        }
    }
}
