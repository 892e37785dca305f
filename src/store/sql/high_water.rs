//! How far a database on SQLite has come, in numbers that never go back: what a copy of it is compared with.

use rusqlite::{Connection, OptionalExtension, params};

use super::accept::{FIRST_TRANSACTION_ID, TRANSACTION_IDS};
use crate::store::StoreError;

/// Counters that grow with what is committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HighWater {
    /// The next transaction id of a recharge.
    pub transactions: i64,
    /// The sum of the streams' next event numbers.
    pub events: i64,
    /// Id of the newest audit entry; 0 without one.
    pub audit: i64,
}

impl HighWater {
    /// That of a database.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(conn: &Connection) -> Result<Self, StoreError> {
        let transactions =
            conn.query_row("SELECT value FROM meta WHERE name = ?1", [TRANSACTION_IDS], |row| row.get(0)).optional()?.unwrap_or_default();
        let events = conn.query_row("SELECT coalesce(sum(next_sequence), 0) FROM stream", [], |row| row.get(0))?;
        let audit = conn.query_row("SELECT coalesce(max(id), 0) FROM audit", [], |row| row.get(0))?;
        Ok(Self { transactions, events, audit })
    }

    /// Whether a database at this mark has all that one at `other` had.
    pub fn covers(&self, other: &Self) -> bool {
        // Event numbers that were skipped on purpose, as a restore does, put it ahead. The audit log may have been emptied by its
        // retention.
        let others = self.transactions >= other.transactions && (self.audit >= other.audit || self.audit == 0);
        self.events > other.events || (self.events == other.events && others)
    }

    /// Moves on by what a transaction committed; answers whether that was anything.
    pub fn advance(&mut self, by: Advance) -> bool {
        let before = *self;
        self.transactions = self.transactions.max(by.transactions);
        self.events += by.events;
        self.audit = self.audit.max(by.audit);
        *self != before
    }
}

/// Skips event numbers and transaction ids in a restored database, which may have been used after the backup.
pub fn skip_numbers(conn: &Connection, count: i64) -> Result<(), StoreError> {
    const RAISE: &str = "INSERT INTO meta (name, value) VALUES (?1, ?2 + ?3) ON CONFLICT (name) DO UPDATE SET value = value + ?3";
    conn.execute("UPDATE stream SET next_sequence = next_sequence + ?1", [count])?;
    conn.execute(RAISE, params![TRANSACTION_IDS, FIRST_TRANSACTION_ID, count])?;
    Ok(())
}

impl std::fmt::Display for HighWater {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} transactions, {} events", self.transactions, self.events)
    }
}

/// What a transaction adds to the mark.
#[derive(Debug, Clone, Copy, Default)]
pub struct Advance {
    /// The next transaction id, if it took one.
    pub transactions: i64,
    /// Events it appended.
    pub events: i64,
    /// Its newest audit entry, if it wrote one.
    pub audit: i64,
}
