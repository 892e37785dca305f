//! A backup of a database file: one snapshot, in a SQLite file of its own, taken while a server writes.
//!
//! The file is an ordinary database with one more table, `backup`, which describes it. `ringback restore` removes that table.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::file::findings;
use super::open::{add_functions, connect_reader};
use crate::domain::time::Timestamp;
use crate::store::backup::{Counts, FORMAT};
use crate::store::seal::MasterKey;

/// What is backed up, and what is noted about it.
pub struct Source<'a> {
    /// The database file.
    pub database: &'a Path,
    /// The master key and the one before it, if they are to be part of the backup.
    pub keys: &'a [MasterKey],
    /// When this is.
    pub now: Timestamp,
}

/// Writes a backup into `to`, an empty file, and verifies it. It is not synced.
///
/// # Errors
/// The database or the copy cannot be used, or is damaged.
pub fn back_up(source: &Source, to: &Path) -> Result<Counts, StoreError> {
    let database = source.database.display();
    let path = to.to_str().ok_or_else(|| StoreError::Unusable(format!("{} is not a name in UTF-8", to.display())))?;
    let damaged = |error: StoreError| match error {
        StoreError::Damaged(text) => StoreError::Unusable(format!(
            "{database} is damaged ({text}), or not a database; no backup was made. Run ringback doctor, and restore the latest backup"
        )),
        StoreError::Unavailable(text) => StoreError::Unusable(format!(
            "{database} cannot be backed up ({text}); check that this user may read the file and write to its folder and the backup's"
        )),
        StoreError::Full(_) => StoreError::Unusable(format!("the disk of {} is full; no backup was made", to.display())),
        other => other,
    };
    let write = || {
        let conn = connect_reader(source.database)?;
        if !(conn.table_exists(None, "meta")? && conn.table_exists(None, "refinery_schema_history")?) {
            return Err(StoreError::Unusable(format!("{database} is not a database of Ringback; name the server's with --database")));
        }
        // One snapshot, which no writer waits for: they write to the log meanwhile.
        conn.execute("VACUUM INTO ?1", [path])?;
        let copy = open_copy(to)?;
        let counts = count(&copy)?;
        describe(&copy, source, counts)?;
        match findings(&copy, "integrity_check")? {
            found if found.is_empty() => Ok(counts),
            found => Err(StoreError::Damaged(found.join("; "))),
        }
    };
    write().map_err(damaged)
}

/// Opens a copy that no other program uses, to change it without leaving other files.
pub(super) fn open_copy(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open(path)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "MEMORY", |row| row.get(0))?;
    if mode != "memory" {
        return Err(StoreError::Unavailable(format!("its journal_mode stays {mode}")));
    }
    conn.pragma_update(None, "synchronous", "OFF")?;
    // What is removed from a copy may be a key.
    conn.pragma_update(None, "secure_delete", "ON")?;
    add_functions(&conn)?;
    Ok(conn)
}

pub(super) fn count(conn: &Connection) -> Result<Counts, StoreError> {
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get(0));
    Ok(Counts { recharges: count("SELECT count(*) FROM recharge")?, events: count("SELECT count(*) FROM event")? })
}

// --- The table `backup` ------------------------------------------------------------------------------------------------

const FORMAT_NAME: &str = "format";
const MADE_AT: &str = "made at";
const MADE_BY: &str = "made by";
const RECHARGES: &str = "recharges";
const EVENTS: &str = "events";
const KEYS: [&str; 2] = ["master key", "previous master key"];

fn describe(copy: &Connection, source: &Source, counts: Counts) -> Result<(), StoreError> {
    // A backup that was put in place without `ringback restore` has that table already.
    Description::remove(copy)?;
    copy.execute_batch("CREATE TABLE backup (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")?;
    let mut rows = vec![
        (FORMAT_NAME, FORMAT.to_string()),
        (MADE_AT, source.now.to_string()),
        (MADE_BY, env!("CARGO_PKG_VERSION").to_owned()),
        (RECHARGES, counts.recharges.to_string()),
        (EVENTS, counts.events.to_string()),
    ];
    rows.extend(KEYS.into_iter().zip(source.keys.iter().map(MasterKey::to_base64)));
    for (name, value) in rows {
        copy.execute("INSERT INTO backup (name, value) VALUES (?1, ?2)", params![name, value])?;
    }
    Ok(())
}

/// What a backup says about itself.
#[derive(Default)]
pub(super) struct Description {
    pub format: i64,
    /// When it was made, and by which version of Ringback.
    pub made_at: Option<String>,
    pub made_by: Option<String>,
    pub counts: Option<Counts>,
    pub keys: Vec<MasterKey>,
}

impl Description {
    /// Reads the description. Copies that were made in another way have none.
    pub fn read(conn: &Connection) -> Result<Self, StoreError> {
        if !conn.table_exists(None, "backup")? {
            return Ok(Self::default());
        }
        let text =
            |name: &str| conn.query_row("SELECT value FROM backup WHERE name = ?1", [name], |row| row.get::<_, String>(0)).optional();
        let number = |name: &str| Ok::<_, StoreError>(text(name)?.and_then(|text| text.parse::<u64>().ok()));
        let counts = number(RECHARGES)?.zip(number(EVENTS)?).map(|(recharges, events)| Counts { recharges, events });
        let keys = KEYS.into_iter().filter_map(|name| text(name).transpose()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            format: number(FORMAT_NAME)?.and_then(|format| i64::try_from(format).ok()).unwrap_or(i64::MAX),
            made_at: text(MADE_AT)?,
            made_by: text(MADE_BY)?,
            counts,
            keys: keys.iter().filter_map(|text| MasterKey::parse(text)).collect(),
        })
    }

    /// Removes the description from a copy that becomes a database.
    pub fn remove(conn: &Connection) -> Result<(), StoreError> {
        Ok(conn.execute_batch("DROP TABLE IF EXISTS backup")?)
    }
}
