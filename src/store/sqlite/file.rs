//! The database file as the operating system sees it: one server at a time, complete, and still where it was opened.
//!
//! **One server.** A server locks the database file itself (`flock`), so that a symbolic link, a hard link or a deleted lock
//! file does not let a second one in. It also locks `<database>.lock`, the only file that earlier versions lock.
//!
//! **The record.** `<database>.lock` has one line: whether a server runs or has stopped in an orderly way, and the
//! [`HighWater`] of what it committed. The line is written after each commit and not synced: it survives the process, and after
//! a power cut it may be older than the database, never newer. At a start
//! - a database below the high-water mark has lost commits (a deleted write-ahead log, an older copy) and is refused;
//! - a database that was not closed by the server that wrote the record, or that was changed since, is checked for damage: a
//!   small one before anything is served, a large one in the background while `/readyz` says so.
//!
//! **The watch.** Once a second a running server compares the file under the database's name with the one it opened. SQLite
//! goes on writing to a file that has lost its name, and the next start would not find what was written; so reports are refused
//! until the file is back.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::{Connection, InterruptHandle};

use super::StoreError;
use super::open::connect_reader;
use crate::limits;
use crate::store::sql::HighWater;

/// Length of the record. It is written with one call.
const RECORD_BYTES: usize = 256;
/// Findings of an integrity check that are shown.
const FINDINGS: usize = 3;

/// The exclusive right to serve a database file.
pub struct DatabaseLock {
    path: PathBuf,
    record: Arc<Record>,
    /// What the last server left behind.
    last: Option<Left>,
    /// The file before anything was written to it.
    found: Identity,
    /// It is as the last server closed it, or new.
    is_as_closed: bool,
    // Closing any descriptor of the file drops the locks that SQLite has on it in this process, so this one is closed last.
    _database: File,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    mark: HighWater,
    /// The file as the server closed it; none if it did not get to that.
    closed: Option<Identity>,
}

/// What tells whether a file is the same and unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: i128,
}

impl Identity {
    fn of(path: &Path) -> std::io::Result<Self> {
        let found = fs::metadata(path)?;
        let modified = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
        Ok(Self { device: found.dev(), inode: found.ino(), bytes: found.len(), modified })
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The file beside the database that is locked, and has the record.
pub(super) struct Record {
    path: PathBuf,
    file: Mutex<File>,
    mark: Mutex<HighWater>,
}

pub(super) fn beside(database: &Path, end: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(end);
    PathBuf::from(path)
}

impl DatabaseLock {
    /// Locks the database at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: another server has it, or a file cannot be made or locked.
    pub fn acquire(path: &Path) -> Result<Self, StoreError> {
        let unreadable = |error| StoreError::Unusable(format!("{} cannot be read: {error}", path.display()));
        let database = open_for_lock(path)?;
        lock(&database, path, path)?;
        let path = fs::canonicalize(path).map_err(unreadable)?;
        let links = database.metadata().map_err(unreadable)?.nlink();
        if let Some(file_system) = super::file_system::network_file_system(&path) {
            tracing::warn!(
                database = %path.display(),
                file_system,
                "the database file is on a network file system, on whose locks and shared memory SQLite cannot rely; move it to a local \
                 disk, or use PostgreSQL"
            );
        }
        if links > 1 {
            tracing::warn!(
                database = %path.display(),
                links,
                "the database file has several hard links; always open it by the same name, because its write-ahead log has that name too"
            );
        }
        let record_path = beside(&path, ".lock");
        let record = open_for_lock(&record_path)?;
        lock(&record, &record_path, &path)?;
        share_owner(&record, &database);
        let (last, found) = (Left::read(&record), Identity::of(&path).map_err(unreadable)?);
        let has_log = fs::metadata(beside(&path, "-wal")).is_ok_and(|log| log.len() > 0);
        let is_as_closed = !has_log && (found.bytes == 0 || last.and_then(|last| last.closed) == Some(found));
        let record = Record { path: record_path, file: Mutex::new(record), mark: Mutex::default() };
        Ok(Self { path, record: Arc::new(record), last, found, is_as_closed, _database: database })
    }

    /// Compares the database with the record, and checks it for damage where it was not closed by the last server or was
    /// changed since. From then on the record says that a server runs.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with what to do: the database has lost commits, or is damaged.
    pub(super) fn verify(&self, conn: &Connection) -> Result<(), StoreError> {
        let mark = HighWater::read(conn)?;
        if let Some(last) = self.last.filter(|last| !mark.covers(&last.mark)) {
            return Err(StoreError::Unusable(format!(
                "{} is older than what was last committed to it ({mark}; the record in {} says {}). Its write-ahead log was removed, or \
                 an older copy was put in its place. Put the newest copy back, or restore a backup with ringback restore, which skips \
                 event numbers that receivers have seen. To accept the loss, remove {}",
                self.path.display(),
                self.record.path.display(),
                last.mark,
                self.record.path.display(),
            )));
        }
        if !self.is_as_closed && self.is_small() {
            let found = findings(conn, "integrity_check")?;
            if !found.is_empty() {
                return Err(damaged(&self.path, &found));
            }
        }
        self.record.commit(mark);
        Ok(())
    }

    fn is_small(&self) -> bool {
        self.found.bytes <= limits::CHECKED_AT_START
    }

    /// What is told of each commit.
    pub(super) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record)
    }

    /// Records that the database was closed in an orderly way. Its connections are closed before.
    fn closed(&self) {
        if let Ok(now) = Identity::of(&self.path)
            && now.is_same_file(&self.found)
        {
            let mark = *self.record.mark.lock();
            self.record.write(&Left { mark, closed: Some(now) });
        }
    }
}

pub(super) fn open_for_lock(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(|error| {
        StoreError::Unusable(format!(
            "{} cannot be opened ({error}); check that its folder exists and that this user may write to both",
            path.display()
        ))
    })
}

/// Gives a lock file to the owner of the database. A command that root runs would otherwise leave one that the server, which runs
/// as another user, cannot open.
fn share_owner(record: &File, database: &File) {
    if let (Ok(ours), Ok(theirs)) = (record.metadata(), database.metadata())
        && ours.uid() != theirs.uid()
    {
        // Only root can do it, and only root has to.
        drop(std::os::unix::fs::fchown(record, Some(theirs.uid()), Some(theirs.gid())));
    }
}

pub(super) fn lock(file: &File, path: &Path, database: &Path) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unusable(format!(
            "another ringback serves {}; stop it first, or name another file with --database",
            database.display()
        ))),
        Err(TryLockError::Error(error)) => Err(StoreError::Unusable(format!("{} cannot be locked: {error}", path.display()))),
    }
}

fn damaged(path: &Path, findings: &[String]) -> StoreError {
    StoreError::Unusable(format!(
        "{} is damaged ({}); nothing was changed. Restore a backup with ringback restore. A copy of a database in use is whole only if \
         it was made with ringback backup",
        path.display(),
        findings.join("; ")
    ))
}

/// The mark in the record of a database, if it has one.
pub(super) fn recorded(record: &File) -> Option<HighWater> {
    Left::read(record).map(|last| last.mark)
}

/// What a check (`integrity_check` or the faster `quick_check`) finds.
pub(super) fn findings(conn: &Connection, check: &str) -> Result<Vec<String>, StoreError> {
    let run = || {
        let mut statement = conn.prepare(&format!("PRAGMA {check}({FINDINGS})"))?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        lines.filter(|line| !line.as_ref().is_ok_and(|line| line == "ok")).collect::<Result<Vec<_>, _>>()
    };
    match run().map_err(StoreError::from) {
        Err(StoreError::Damaged(text)) => Ok(vec![text]),
        Err(other) => Err(other),
        // A finding may have many lines of its own.
        Ok(lines) => Ok(lines.iter().flat_map(|line| line.lines()).take(FINDINGS).map(str::to_owned).collect()),
    }
}

/// What is wrong with the database at `path`, without serving it: damage, and commits that were lost.
///
/// # Errors
/// It cannot be read.
pub fn examine(path: &Path) -> Result<Vec<String>, StoreError> {
    let conn = connect_reader(path)?;
    let is_small = fs::metadata(path).is_ok_and(|file| file.len() <= limits::CHECKED_AT_START);
    let mut found = findings(&conn, if is_small { "integrity_check" } else { "quick_check" })?;
    let record = fs::canonicalize(path).ok().and_then(|path| File::open(beside(&path, ".lock")).ok());
    if let Some(last) = record.as_ref().and_then(Left::read) {
        let mark = HighWater::read(&conn)?;
        if !mark.covers(&last.mark) {
            found.push(format!("it is older than what was last committed to it ({mark}; the lock file says {})", last.mark));
        }
    }
    Ok(found)
}

// --- The record ------------------------------------------------------------------------------------------------------

impl Record {
    /// A commit has reached this mark.
    pub fn commit(&self, mark: HighWater) {
        *self.mark.lock() = mark;
        self.write(&Left { mark, closed: None });
    }

    /// A record that cannot be written, on a disk that fails, says less than it could: the database has what counts.
    fn write(&self, left: &Left) {
        let line = format!("{:<width$}\n", left.line(), width = RECORD_BYTES - 1);
        let _ = self.file.lock().write_all_at(line.as_bytes(), 0);
    }

    /// Locks and writes the record anew if somebody has removed or replaced it.
    fn look_after(&self) {
        let is_ours = {
            let file = self.file.lock();
            matches!((file.metadata(), fs::metadata(&self.path)), (Ok(ours), Ok(there)) if (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        if !is_ours
            && let Ok(file) = open_for_lock(&self.path)
            && file.try_lock().is_ok()
        {
            *self.file.lock() = file;
            let mark = *self.mark.lock();
            self.commit(mark);
            tracing::warn!(file = %self.path.display(), "the lock file was removed or replaced; wrote it again");
        }
    }
}

impl Left {
    fn line(&self) -> String {
        let HighWater { transactions, events, audit } = self.mark;
        let mark = format!("transactions={transactions} events={events} audit={audit}");
        match self.closed {
            None => format!("running {mark}"),
            Some(Identity { device, inode, bytes, modified }) => {
                format!("stopped {mark} device={device} inode={inode} bytes={bytes} modified={modified}")
            }
        }
    }

    /// The record in a file; none in an empty one, as earlier versions leave it.
    fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; RECORD_BYTES];
        let length = file.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(&bytes[..length]).ok()?;
        let (state, rest) = text.trim_end().split_once(' ')?;
        let value = |name: &str| rest.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| value(name)?.parse::<i64>().ok();
        let mark = HighWater { transactions: number("transactions")?, events: number("events")?, audit: number("audit")? };
        let unsigned = |name: &str| value(name)?.parse::<u64>().ok();
        let closed = || {
            let modified = value("modified")?.parse().ok()?;
            Some(Identity { device: unsigned("device")?, inode: unsigned("inode")?, bytes: unsigned("bytes")?, modified })
        };
        Some(Self { mark, closed: (state == "stopped").then(closed).flatten() })
    }
}

// --- The watch -------------------------------------------------------------------------------------------------------

/// What is known of the file that a server has open.
#[derive(Default)]
pub(super) struct FileState {
    is_bad: AtomicBool,
    /// Why nothing may be read or written.
    why: Mutex<Option<StoreError>>,
    is_checking: AtomicBool,
}

impl FileState {
    /// Whether the database may be used.
    ///
    /// # Errors
    /// Its file is not where it was opened, or is damaged.
    pub fn usable(&self) -> Result<(), StoreError> {
        if !self.is_bad.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.why.lock().clone().map_or(Ok(()), Err)
    }

    /// Whether the server should get traffic.
    ///
    /// # Errors
    /// It cannot be used, or is still being checked.
    pub fn ready(&self) -> Result<(), StoreError> {
        self.usable()?;
        if self.is_checking.load(Ordering::Relaxed) {
            return Err(StoreError::NotReady("the database is being checked for damage after an unclean stop"));
        }
        Ok(())
    }

    fn set(&self, why: Option<StoreError>) {
        let is_bad = why.is_some();
        *self.why.lock() = why;
        self.is_bad.store(is_bad, Ordering::Relaxed);
    }
}

/// The thread that watches the file, and checks a large one in the background. It holds the lock, and records an orderly end.
pub(super) struct Watch {
    stop: Option<Sender<()>>,
    interrupt: Option<InterruptHandle>,
    threads: Vec<JoinHandle<()>>,
    lock: DatabaseLock,
}

impl Watch {
    pub fn start(lock: DatabaseLock, state: &Arc<FileState>) -> Result<Self, StoreError> {
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.map_err(|error| StoreError::Unavailable(error.to_string()))
        };
        let (stop, stopped) = channel();
        let (mut threads, mut interrupt) = (Vec::new(), None);
        if !lock.is_as_closed && !lock.is_small() {
            let conn = connect_reader(&lock.path)?;
            interrupt = Some(conn.get_interrupt_handle());
            state.is_checking.store(true, Ordering::Relaxed);
            let (state, path) = (Arc::clone(state), lock.path.clone());
            threads.push(spawn("store-check", Box::new(move || check(&path, &conn, &state)))?);
        }
        let mut look = Look { path: lock.path.clone(), opened: lock.found, log: None, record: lock.record(), state: Arc::clone(state) };
        let watch = move || {
            while stopped.recv_timeout(limits::FILE_WATCHED_EVERY) == Err(RecvTimeoutError::Timeout) {
                look.step();
            }
        };
        threads.push(spawn("store-watch", Box::new(watch))?);
        Ok(Self { stop: Some(stop), interrupt, threads, lock })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        self.interrupt.iter().for_each(InterruptHandle::interrupt);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
        self.lock.closed();
    }
}

fn check(path: &Path, conn: &Connection, state: &FileState) {
    tracing::info!(database = %path.display(), "checking the database after an unclean stop; not ready until that is done");
    match findings(conn, "quick_check") {
        Ok(found) if found.is_empty() => tracing::info!(database = %path.display(), "the database is intact"),
        Ok(found) => {
            let error = damaged(path, &found);
            tracing::error!(database = %path.display(), %error, "the database is damaged; refusing all requests");
            state.set(Some(error));
        }
        // It is interrupted by the end of the server.
        Err(error) => tracing::warn!(database = %path.display(), %error, "failed to check the database"),
    }
    state.is_checking.store(false, Ordering::Relaxed);
}

/// What the watch looks at.
struct Look {
    path: PathBuf,
    opened: Identity,
    /// The write-ahead log, once it is there.
    log: Option<Identity>,
    record: Arc<Record>,
    state: Arc<FileState>,
}

impl Look {
    fn step(&mut self) {
        self.record.look_after();
        // Other errors say nothing about where the files are.
        let is_gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        let log = Identity::of(&beside(&self.path, "-wal"));
        let log_is_lost = self.log.is_some_and(|known| match &log {
            Ok(log) => !log.is_same_file(&known),
            Err(error) => is_gone(error),
        });
        self.log = self.log.or(log.ok());
        let database = Identity::of(&self.path);
        let lost = match &database {
            Ok(found) if !found.is_same_file(&self.opened) => Some("the database file was replaced while the server runs"),
            Err(error) if is_gone(error) => Some("the database file was removed while the server runs"),
            _ if log_is_lost => Some("the database's write-ahead log was removed or replaced while the server runs"),
            _ => None,
        };
        let mut why = self.state.why.lock();
        match (lost, &*why) {
            (Some(lost), None) => {
                *why = Some(StoreError::NotReady(lost));
                self.state.is_bad.store(true, Ordering::Relaxed);
                drop(why);
                tracing::error!(
                    database = %self.path.display(), lost,
                    "the database file is gone; refusing all requests. Put it back, or stop the server and restore a backup"
                );
            }
            (None, Some(StoreError::NotReady(_))) => {
                *why = None;
                self.state.is_bad.store(false, Ordering::Relaxed);
                drop(why);
                tracing::info!(database = %self.path.display(), "the database file is back");
            }
            _ => {}
        }
    }
}
