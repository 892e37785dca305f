//! The threads behind the store: one that writes, one that checkpoints, and the connections that read.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex as StdMutex};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, oneshot};

use super::StoreError;
use super::accept::Subscriber;
use super::erase::Lately;
use super::open::{connect, connect_reader, look_again_within};
use crate::domain::id::{EndpointId, StreamId};
use crate::limits;

/// What the writing thread keeps between transactions.
pub(super) struct Session {
    pub conn: Connection,
    /// Who listens to a stream, as of a version of its counter row.
    pub subscribers: HashMap<StreamId, (i64, Arc<[Subscriber]>)>,
    /// Endpoints that have a row in `health`; unknown after a transaction that failed.
    pub failing: Option<HashSet<EndpointId>>,
    /// What attempts under way must not bring back.
    pub erased: Lately,
}

impl Session {
    /// What was remembered in the course of a transaction that did not come to pass may be wrong.
    pub fn forget(&mut self) {
        self.subscribers.clear();
        self.failing = None;
    }
}

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// The thread that owns the writing connection. It ends, after all that was asked of it, when this is dropped.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub fn start(conn: Connection) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let mut session = Session { conn, subscribers: HashMap::new(), failing: None, erased: Lately::default() };
        let work = move || inbox.into_iter().for_each(|job| job(&mut session));
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` on the thread.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Unknown("the store's writer has stopped".to_owned());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |session| drop(answer.send(work(session))));
        self.jobs.as_ref().ok_or_else(stopped)?.send(job).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Runs `work` as one transaction.
    pub async fn transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |session| {
            let tx = session.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            tx.commit()?;
            Ok(done)
        })
        .await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Read-only connections; a query takes one for as long as it runs.
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let idle = (0..limits::READERS).map(|_| connect_reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { turns: Arc::new(Semaphore::new(idle.len())), idle: Arc::new(Mutex::new(idle)) })
    }

    /// Runs `query` in a snapshot of its own.
    pub async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = |_| StoreError::Unavailable("the store is closing".to_owned());
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| StoreError::Unavailable("the store is closing".to_owned()))?;
        let idle = self.idle.clone();
        let work = move || {
            let mut conn = idle.lock().pop().expect("there are as many connections as turns");
            let result = snapshot(&mut conn, query);
            idle.lock().push(conn);
            drop(turn);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(stopped)?
    }
}

fn snapshot<T>(conn: &mut Connection, query: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Deferred)?;
    query(&tx)
}

/// The thread that moves the write-ahead log into the file.
pub(super) struct Checkpointer {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Bell {
    stopped: StdMutex<bool>,
    rings: Condvar,
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
        let bell = Arc::new(Bell::default());
        let ear = bell.clone();
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || checkpoint_until(&ear, &conn))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        *self.bell.stopped.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.bell.rings.notify_all();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn checkpoint_until(bell: &Bell, conn: &Connection) {
    let (mut stopped, mut failing) = (bell.stopped.lock().unwrap_or_else(std::sync::PoisonError::into_inner), false);
    while !*stopped {
        let waited = bell.rings.wait_timeout(stopped, Checkpointer::EVERY);
        stopped = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
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
