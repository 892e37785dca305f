//! Opening a database file: pragmas, migrations, the master key's check.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::file::{DatabaseLock, FileState, Watch};
use super::threads::{Checkpointer, Session};
use super::{Sqlite, SqliteStore, StoreError};
use crate::clock::Environment;
use crate::domain::id::StreamId;
use crate::limits;
use crate::store::seal::{MasterKey, Sealer};
use crate::store::sql;
use crate::store::sql::conn::Conn;
use crate::store::sql::references::{self, References, Sizes};
use crate::store::sql::threads::{Readers, Writer};

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// How to open a store.
#[derive(Clone)]
pub struct OpenOptions {
    /// The database file; made if it is not there.
    pub path: PathBuf,
    /// What seals the secrets in it.
    pub master_key: MasterKey,
    /// The key before that one, while the secrets are sealed again.
    pub previous_key: Option<MasterKey>,
    /// Time, chance and ids.
    pub environment: Environment,
}

/// How long a statement waits for another process (`ringback token` beside `ringback serve`), or for a checkpoint.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// It looks again this often. SQLite's own waits grow up to 100 ms, which a commit behind a checkpoint of a few would pay,
/// and with which a checkpoint misses the gaps between commits that follow each other closely.
const BUSY_LOOK: Duration = Duration::from_millis(1);

impl SqliteStore {
    /// Opens the file, makes or migrates its tables, and checks the master key.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with what to do, for a file that is no database, is locked by another program, was
    /// sealed with another master key, or was written by a newer Ringback. Nothing in it was changed.
    pub fn open(options: OpenOptions) -> Result<Self, StoreError> {
        Self::open_with(options, None)
    }

    /// Opens the file that `lock` is on, to serve it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); the file is damaged, or has lost commits.
    pub fn serve(options: OpenOptions, lock: DatabaseLock) -> Result<Self, StoreError> {
        Self::open_with(options, Some(lock))
    }

    fn open_with(options: OpenOptions, lock: Option<DatabaseLock>) -> Result<Self, StoreError> {
        let OpenOptions { path, master_key, previous_key, environment } = options;
        let sealer = Sealer::new(&master_key, previous_key.as_ref(), environment.entropy.clone());
        let conn = prepare(&path, &sealer, &environment).map_err(|error| unusable(&path, error))?;
        if let Some(lock) = &lock {
            lock.verify(&conn)?;
        }
        let record = lock.as_ref().map(DatabaseLock::record);
        let state = Arc::new(FileState::default());
        let readers = (0..limits::READERS).map(|_| connect_reader(&path)).collect::<Result<Vec<_>, _>>()?;
        let references = Arc::new(References::load(&conn, Sizes::default()).map_err(|error| unusable(&path, error))?);
        let driver = Sqlite {
            writer: Writer::start(Session::new(conn, Arc::clone(&references), record)?)?,
            readers: Readers::new(readers),
            references,
            _checkpointer: Checkpointer::start(&path)?,
            _watch: lock.map(|lock| Watch::start(lock, &state)).transpose()?,
            state,
        };
        Ok(Self::new(driver, sealer, environment.ids))
    }
}

/// A file that is known to be ours, with the tables of this version.
fn prepare(path: &Path, sealer: &Sealer, environment: &Environment) -> Result<Connection, StoreError> {
    make_private(path);
    // Nothing is written before it is known to be ours.
    check_file(path, sealer)?;
    let mut conn = connect(path)?;
    migrate(&mut conn)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    sql::begin(Conn::Sqlite(&tx, &References::default()), sealer, &environment.ids)?;
    tx.commit()?;
    Ok(conn)
}

fn unusable(path: &Path, error: StoreError) -> StoreError {
    let file = path.display();
    match error {
        StoreError::Damaged(text) => StoreError::Unusable(format!(
            "{file} is not a readable SQLite database ({text}); nothing was changed. Restore it from a backup, or name another file with --database"
        )),
        StoreError::Unavailable(text) if text.contains("locked") => {
            StoreError::Unusable(format!("{file} is locked by another program ({text}); close that program and start again"))
        }
        StoreError::Unavailable(text) => {
            StoreError::Unusable(format!("{file} cannot be opened ({text}); check the folder, its permissions, and the room on its disk"))
        }
        StoreError::Rejected(text) => StoreError::Unusable(format!("{file} cannot be used ({text})")),
        other => other,
    }
}

/// Makes the file, if it is not there, for its owner alone: it has connection numbers and password hashes. SQLite gives its other
/// files the same mode. What goes wrong here goes wrong for SQLite too, which says it better.
fn make_private(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    drop(options.write(true).create_new(true).mode(0o600).open(path));
}

/// A connection that may write.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let mut conn = Connection::open(path)?;
    conn.busy_handler(Some(|looks| look_again_within(BUSY_TIMEOUT, looks)))?;
    // Has an effect only on an empty file, and only before anything else is written to it.
    if conn.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0 {
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    // The log stays as long as it was, but for what a checkpoint that came late has left.
    conn.pragma_update(None, "journal_size_limit", limits::WAL_KEPT)?;
    // Rows that go or move leave nothing where they stood, as far as that costs no further page: see erase.rs.
    conn.pragma_update(None, "secure_delete", "FAST")?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -65_536)?;
    conn.set_prepared_statement_cache_capacity(64);
    add_functions(&conn)?;
    Ok(conn)
}

/// What statements call.
pub(super) fn add_functions(conn: &Connection) -> Result<(), StoreError> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    Ok(conn.create_scalar_function("reference_hash", 2, flags, |given| {
        Ok(references::hash(StreamId::new(given.get(0)?), given.get_raw(1).as_str()?))
    })?)
}

/// Waits a little; answers whether it was not yet so often that `limit` has passed.
pub(super) fn look_again_within(limit: Duration, looks: i32) -> bool {
    std::thread::sleep(BUSY_LOOK);
    i128::from(looks) < (limit.as_millis() / BUSY_LOOK.as_millis()) as i128
}

/// A connection that only reads.
pub(super) fn connect_reader(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "cache_size", -4096)?;
    conn.set_prepared_statement_cache_capacity(64);
    add_functions(&conn)?;
    Ok(conn)
}

/// Version of the newest migration.
pub(super) fn newest_version() -> i64 {
    migrations::migrations::runner().get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or_default()
}

pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    migrations::migrations::runner()
        .set_abort_divergent(true)
        .set_abort_missing(true)
        .run(conn)
        .map(drop)
        .map_err(|error| StoreError::Unusable(format!("the database's tables are not those of this version of Ringback: {error}")))
}

/// Refuses another program's database, and a master key that is not the one this one was made with.
fn check_file(path: &Path, sealer: &Sealer) -> Result<(), StoreError> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(());
    }
    let (is_ours, has_history) = (conn.table_exists(None, "meta")?, conn.table_exists(None, "refinery_schema_history")?);
    // Whoever began to make the tables was killed before the first one.
    if !is_ours && has_history && !conn.prepare("SELECT 1 FROM refinery_schema_history")?.exists([])? {
        return Ok(());
    }
    if !is_ours || !has_history {
        return Err(StoreError::Unusable("the file is another program's SQLite database; name another file with --database".to_owned()));
    }
    sql::check_key(Conn::Sqlite(&conn, &References::default()), sealer)
}
