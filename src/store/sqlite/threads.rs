//! Transactions on the file, and the thread that checkpoints.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;
use super::file::Record;
use super::open::{connect, look_again_within};
use crate::store::sql::conn::Conn;
use crate::store::sql::references::References;
use crate::store::sql::{HighWater, Memory};
use crate::{failpoint, limits};

/// What the writing thread keeps between transactions.
pub(super) struct Session {
    pub conn: Connection,
    references: Arc<References>,
    memory: Memory,
    /// Where the high-water mark is kept, if a server has the file.
    record: Option<Arc<Record>>,
    mark: HighWater,
}

impl Session {
    pub fn new(conn: Connection, references: Arc<References>, record: Option<Arc<Record>>) -> Result<Self, StoreError> {
        let mark = HighWater::read(&conn)?;
        Ok(Self { conn, references, memory: Memory::default(), record, mark })
    }

    /// Runs `work` as one transaction.
    pub fn transaction<T>(&mut self, work: impl FnOnce(Conn, &mut Memory) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let Self { conn, references, memory, record, mark } = self;
        references.settle(conn)?;
        let done = transaction(conn, |conn| work(Conn::Sqlite(conn, references), memory));
        if done.is_ok() {
            references.keep();
            if mark.advance(memory.take_advance())
                && let Some(record) = record
            {
                record.commit(*mark);
            }
        } else {
            references.doubt();
            memory.forget();
        }
        done
    }
}

fn transaction<T>(conn: &mut Connection, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&tx)?;
    failpoint::reach("commit.within");
    tx.commit().map_err(|error| match StoreError::from(error) {
        StoreError::Unavailable(text) => StoreError::Unknown(text),
        other => other,
    })?;
    Ok(done)
}

/// Runs `query` in a snapshot of its own.
pub(super) fn snapshot<T>(
    conn: &mut Connection,
    references: &References,
    query: impl FnOnce(Conn) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Deferred)?;
    query(Conn::Sqlite(&tx, references))
}

/// The thread that moves the write-ahead log into the file.
pub(super) struct Checkpointer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// How often it looks at the log.
    const EVERY: Duration = Duration::from_millis(20);
    /// A checkpoint that meets a reader, or finds no gap between the writer's transactions, gives up after this and comes
    /// back later.
    const WAITS: Duration = Duration::from_millis(100);

    pub fn start(path: &Path) -> Result<Self, StoreError> {
        let mut conn = connect(path)?;
        conn.busy_handler(Some(|looks| look_again_within(Self::WAITS, looks)))?;
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || checkpoint_until(&stopped, &conn))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn checkpoint_until(stopped: &Receiver<()>, conn: &Connection) {
    let mut failing = false;
    while stopped.recv_timeout(Checkpointer::EVERY) == Err(RecvTimeoutError::Timeout) {
        let moved = checkpoint(conn);
        // A full disk stays full for a while, and does not need this told four times a second.
        match &moved {
            Err(error) if !failing => {
                tracing::warn!(%error, "the write-ahead log could not be moved into the database; it is tried again until it can");
            }
            Ok(()) if failing => tracing::info!("the write-ahead log could be moved into the database again"),
            _ => {}
        }
        failing = moved.is_err();
    }
}

/// Moves what has gathered, little by little: a disk that has much to write keeps the next commit waiting. Once all is
/// moved the log begins anew in the file that is there: writing over what is old costs a commit less than making the file
/// longer.
fn checkpoint(conn: &Connection) -> Result<(), rusqlite::Error> {
    let Log { pages, to_move } = run_checkpoint(conn, "NOOP")?;
    if to_move < limits::WAL_MOVED_FROM {
        return Ok(());
    }
    run_checkpoint(conn, "PASSIVE")?;
    if pages >= limits::WAL_PAGES {
        // What was written meanwhile, so that the writer waits for little; but it does wait, or the log would have no end.
        run_checkpoint(conn, "PASSIVE")?;
        run_checkpoint(conn, "RESTART")?;
    }
    Ok(())
}

/// Moves all of the write-ahead log into the file, and cuts it to nothing.
pub(super) fn truncate(conn: &Connection) -> Result<(), rusqlite::Error> {
    run_checkpoint(conn, "TRUNCATE").map(drop)
}

/// The write-ahead log.
struct Log {
    /// Its length.
    pages: i64,
    /// Of these, how many are not in the file yet.
    to_move: i64,
}

fn run_checkpoint(conn: &Connection, mode: &str) -> Result<Log, rusqlite::Error> {
    let read = |row: &rusqlite::Row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let (pages, moved) = conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], read)?;
    Ok(Log { pages, to_move: pages - moved })
}
