//! A backup put in place of a database file, while no server runs.
//!
//! The copy is made and changed under a temporary name in the database's folder, and checked there, so that nothing of the present
//! database changes before the backup is known to be good. Then:
//! 1. the present file gets a second name, `<database>.before-<time>`;
//! 2. its write-ahead log moves to that name as well: SQLite would otherwise replay it into the restored file;
//! 3. the copy takes the database's name, in one step;
//! 4. the record (`<database>.lock`) is removed, because it describes the database that was replaced.
//!
//! After a crash between two of these steps, a server either finds one of the two databases complete or refuses to start; another
//! restore completes the work.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use super::StoreError;
use super::backup::{Description, count, open_copy};
use super::file::{beside, findings, lock, open_for_lock, recorded};
use super::open::newest_version;
use crate::domain::time::Timestamp;
use crate::store::backup::{Counts, FORMAT, stamp};
use crate::store::seal::{MasterKey, Sealer};
use crate::store::sql::conn::Conn;
use crate::store::sql::references::References;
use crate::store::sql::{self, HighWater};

/// Where a backup goes, and how.
pub struct Target<'a> {
    /// The database file.
    pub database: &'a Path,
    /// Whether a database that is there, or another master key, may be put aside.
    pub replace: bool,
    /// Event numbers and transaction ids to skip.
    pub skip: i64,
    /// When this is.
    pub now: Timestamp,
}

/// What a restore did.
pub struct Restored {
    /// What the database contains.
    pub counts: Counts,
    /// Event numbers and transaction ids that were skipped.
    pub skipped: i64,
    /// The database that was there before.
    pub aside: Option<PathBuf>,
    /// When the backup was made, if it says so.
    pub made_at: Option<String>,
    /// The master key and the one before it, from a backup that contains them.
    pub keys: Vec<MasterKey>,
    /// Whether the sealed values open with the key that was given; none without one.
    pub opens: Option<bool>,
}

/// Restores `backup`. `sealer` has the master key that the server will use, if it is known.
///
/// # Errors
/// [`StoreError::Unusable`]: a server runs, a database is there and must not be replaced, or the backup is not usable. The present
/// database has not changed.
pub fn restore(backup: &Path, target: &Target, sealer: Option<&Sealer>) -> Result<Restored, StoreError> {
    let place = Place::of(target.database)?;
    if place.present.is_some() && !target.replace {
        return Err(StoreError::Unusable(format!(
            "there is a database at {}; --force puts it aside, under a name with the time, and restores the backup",
            place.path.display()
        )));
    }
    let mut held = ReplaceLock::acquire(&place.path)?;
    refuse_if_open(&place)?;
    let copy = place.copy(backup)?;
    let restored = Restored { aside: None, ..prepare(backup, copy.path(), &Skip { at_least: target.skip, known: held.events() }, sealer)? };
    if restored.opens == Some(false) && !restored.keys.is_empty() && !target.replace {
        return Err(StoreError::Unusable(format!(
            "the folder of {} has another master key than {}; --force puts that key aside",
            place.path.display(),
            backup.display()
        )));
    }
    copy.as_file().sync_all().map_err(|error| place.unusable(&error))?;
    let aside = place.replace_by(copy, target.now)?;
    held.forget();
    drop(held);
    sync_folder(&place.folder).map_err(|error| place.unusable(&error))?;
    Ok(Restored { aside, ..restored })
}

/// The exclusive right to replace a database file, or to put one where there is none.
struct ReplaceLock {
    record: PathBuf,
    /// The record goes with this lock: it was made by it, or its database has been replaced.
    is_removed: bool,
    mark: Option<HighWater>,
    _files: Vec<File>,
}

impl ReplaceLock {
    /// Locks the database at `path`, if there is one, and its record.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: a server runs on it, or a file cannot be locked.
    fn acquire(path: &Path) -> Result<Self, StoreError> {
        let mut files = Vec::new();
        if path.exists() {
            let database = open_for_lock(path)?;
            lock(&database, path, path)?;
            files.push(database);
        }
        let record = beside(path, ".lock");
        let is_new = !record.exists();
        let file = open_for_lock(&record)?;
        let mut acquired = Self { record, is_removed: false, mark: None, _files: files };
        lock(&file, &acquired.record, path)?;
        acquired.is_removed = is_new;
        acquired.mark = recorded(&file);
        acquired._files.push(file);
        Ok(acquired)
    }

    /// Events that the present database has had, by its record.
    fn events(&self) -> Option<i64> {
        self.mark.map(|mark| mark.events)
    }

    /// Removes the record: it describes a database that has been replaced.
    fn forget(&mut self) {
        self.is_removed = true;
    }
}

impl Drop for ReplaceLock {
    fn drop(&mut self) {
        if self.is_removed {
            drop(fs::remove_file(&self.record));
        }
    }
}

/// The file that is replaced, and its folder.
struct Place {
    path: PathBuf,
    folder: PathBuf,
    present: Option<fs::Metadata>,
}

impl Place {
    /// Follows links, so that the file is replaced where it is.
    fn of(database: &Path) -> Result<Self, StoreError> {
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = database.file_name().ok_or_else(|| StoreError::Unusable(format!("{} is not a file", database.display())))?;
        let path = match fs::canonicalize(database) {
            Ok(path) => path,
            Err(_) => fs::canonicalize(folder).map(|folder| folder.join(name)).map_err(|error| {
                let owner = "make it first, for the user that runs the server";
                StoreError::Unusable(format!("the folder {} cannot be used ({error}); {owner}", folder.display()))
            })?,
        };
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let present = fs::metadata(&path).ok();
        Ok(Self { path, folder, present })
    }

    fn unusable(&self, error: &std::io::Error) -> StoreError {
        StoreError::Unusable(format!(
            "{} cannot be written ({error}); check the folder, its permissions, and the room on its disk",
            self.path.display()
        ))
    }

    /// Copies the backup into the folder, for the owner of the database that is there, or else of the folder.
    fn copy(&self, backup: &Path) -> Result<tempfile::NamedTempFile, StoreError> {
        let unreadable = |error| StoreError::Unusable(format!("{} cannot be read: {error}", backup.display()));
        let mut from = File::open(backup).map_err(unreadable)?;
        let mut copy = tempfile::Builder::new().prefix(".restoring-").tempfile_in(&self.folder).map_err(|error| self.unusable(&error))?;
        std::io::copy(&mut from, copy.as_file_mut()).map_err(|error| self.unusable(&error))?;
        let like = match &self.present {
            Some(present) => present.clone(),
            None => fs::metadata(&self.folder).map_err(|error| self.unusable(&error))?,
        };
        let made = copy.as_file().metadata().map_err(|error| self.unusable(&error))?;
        if (made.uid(), made.gid()) != (like.uid(), like.gid()) {
            let given = fchown(copy.as_file(), Some(like.uid()), Some(like.gid()));
            if let Err(error) = given
                && made.uid() != like.uid()
            {
                return Err(StoreError::Unusable(format!(
                    "the restored file cannot be given to user {}, which the database belongs to ({error}); restore as that user or as root",
                    like.uid()
                )));
            }
        }
        // Without a database there, only the owner may read it, as when the server makes it.
        let mode = self.present.as_ref().map_or(0o600, |present| present.mode() & 0o777);
        copy.as_file().set_permissions(Permissions::from_mode(mode)).map_err(|error| self.unusable(&error))?;
        Ok(copy)
    }

    /// Steps 1 to 3; answers the other name of the file that was there.
    fn replace_by(&self, copy: tempfile::NamedTempFile, now: Timestamp) -> Result<Option<PathBuf>, StoreError> {
        let aside = free_name(&beside(&self.path, &format!(".before-{}", stamp(now))));
        let move_aside = || {
            if self.present.is_some() {
                // Some file systems have no hard links.
                fs::hard_link(&self.path, &aside).or_else(|error| match error.kind() {
                    std::io::ErrorKind::AlreadyExists => Err(error),
                    _ => fs::rename(&self.path, &aside),
                })?;
            }
            // A log may be left of a database that was deleted.
            for end in ["-wal", "-shm"] {
                match fs::rename(beside(&self.path, end), beside(&aside, end)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            sync_folder(&self.folder)
        };
        move_aside().map_err(|error| self.unusable(&error))?;
        copy.persist(&self.path).map_err(|error| self.unusable(&error.error))?;
        Ok(self.present.as_ref().map(|_| aside))
    }
}

/// The name, or the next one that is not taken: two restores may happen in one second.
fn free_name(name: &Path) -> PathBuf {
    let others = (2..).map(|number| beside(name, &format!("-{number}")));
    std::iter::once(name.to_owned()).chain(others).find(|name| !name.exists()).unwrap_or_default()
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Refuses a database that a program has open which takes no lock for the server's place: a command, or another SQLite program.
/// A damaged file is no reason to refuse, because that is what is restored over.
fn refuse_if_open(place: &Place) -> Result<(), StoreError> {
    if place.present.is_none() {
        return Ok(());
    }
    let alone = || {
        let conn = Connection::open(&place.path)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        conn.execute_batch("BEGIN EXCLUSIVE; ROLLBACK")
    };
    match alone() {
        Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => {
            let path = place.path.display();
            Err(StoreError::Unusable(format!("another program has {path} open; stop the server and close other programs first")))
        }
        _ => Ok(()),
    }
}

/// How many numbers are skipped.
struct Skip {
    at_least: i64,
    /// Events that the present database has had, if that is known.
    known: Option<i64>,
}

/// Checks a copy of a backup and makes it the database that a server starts on.
fn prepare(backup: &Path, path: &Path, skip: &Skip, sealer: Option<&Sealer>) -> Result<Restored, StoreError> {
    let unusable = |problem: String| StoreError::Unusable(format!("{} {problem}", backup.display()));
    let run = || {
        let mut copy = open_copy(path)?;
        let found = findings(&copy, "integrity_check")?;
        if !found.is_empty() {
            return Err(StoreError::Damaged(found.join("; ")));
        }
        let description = check(&copy).map_err(|error| match error {
            StoreError::Unusable(problem) => unusable(problem),
            other => other,
        })?;
        let counts = count(&copy)?;
        if let Some(noted) = description.counts.filter(|noted| *noted != counts) {
            return Err(StoreError::Damaged(format!("it has {counts}, and was made with {noted}")));
        }
        let opens = sealer.map(|sealer| sql::check_key(Conn::Sqlite(&copy, &References::default()), sealer).is_ok());
        // Events that the replaced database has had since the backup, and the numbers of which must not be given again.
        let since = skip.known.map_or(0, |known| known.saturating_sub(HighWater::read(&copy).map_or(0, |mark| mark.events)));
        let skipped = skip.at_least.max(since);
        let tx = copy.transaction_with_behavior(TransactionBehavior::Immediate)?;
        sql::skip_numbers(&tx, skipped)?;
        Description::remove(&tx)?;
        tx.commit()?;
        Ok(Restored { counts, skipped, aside: None, made_at: description.made_at, keys: description.keys, opens })
    };
    run().map_err(|error| match error {
        StoreError::Damaged(text) => unusable(format!("is damaged ({text}); nothing was changed. Restore another backup")),
        StoreError::Full(text) => StoreError::Unusable(format!("there is no room for the restored database: {text}")),
        other => other,
    })
}

/// Refuses what this version of Ringback cannot serve.
fn check(copy: &Connection) -> Result<Description, StoreError> {
    let unusable = |problem: &str| Err(StoreError::Unusable(problem.to_owned()));
    if !(copy.table_exists(None, "meta")? && copy.table_exists(None, "refinery_schema_history")?) {
        return unusable("is not a backup of Ringback: its tables are missing");
    }
    let description = Description::read(copy)?;
    let version: Option<i64> = copy.query_row("SELECT max(version) FROM refinery_schema_history", params![], |row| row.get(0))?;
    match version {
        None => unusable("is not a backup of Ringback: its tables are missing"),
        Some(version) if version > newest_version() || description.format > FORMAT => {
            let by = description.made_by.map_or_else(|| "a newer Ringback".to_owned(), |version| format!("Ringback {version}"));
            unusable(&format!("was made by {by}, and this version cannot read it; install that version first"))
        }
        Some(_) => Ok(description),
    }
}
