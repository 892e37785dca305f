//! Which recharge has a reference, on the file.
//!
//! References come in no order. An index that is written with each of them has a page of its own to write for almost every
//! report. So the latest are known in memory alone, and go into the table `reference` in the order of its keys, many to a page.
//! What is not in it yet is found again from the recharges behind a mark, which moves in the transaction that writes the last
//! of them. On PostgreSQL a unique index does all of this, for many nodes.

use std::collections::BTreeSet;
use std::ops::Bound;

use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use super::conn::{Conn, Result, Row, params};
use super::ledger::{read_recharge, recharge_columns};
use crate::domain::id::StreamId;
use crate::domain::recharge::Recharge;
use crate::limits;

/// The name under which `meta` has the last recharge up to which all are in the table.
const MARK: &str = "references until";

/// What stands for a reference: recharges of other ones may have the same.
pub fn hash(stream: StreamId, reference_no: &str) -> i64 {
    let digest = Sha256::new().chain_update(stream.get().to_le_bytes()).chain_update(reference_no).finalize();
    i64::from_le_bytes(std::array::from_fn(|place| digest[place]))
}

/// A row of the table: what stands for a reference, and its recharge.
type Entry = (i64, i64);

/// The references that may not be in the table yet. One thread writes; all read.
#[derive(Default)]
pub struct References {
    sizes: Sizes,
    known: RwLock<Known>,
}

/// How many references are kept in memory before they go into the table, and how many go at a time.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub known: usize,
    pub written: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { known: limits::REFERENCES_KNOWN, written: limits::REFERENCES_WRITTEN }
    }
}

#[derive(Default)]
struct Known {
    /// The latest.
    young: BTreeSet<Entry>,
    /// Those before them, which are being written into the table, or are in it.
    old: BTreeSet<Entry>,
    /// How far that has come, and how far it had come with the last commit.
    written: Written,
    committed: Written,
    /// The last recharge of all, and of those that are committed.
    latest: i64,
    latest_committed: i64,
    /// The last recharge of the old ones.
    old_until: i64,
    /// How many are to be written before long.
    owed: usize,
    /// The last recharge up to which some have been removed since the start.
    swept_until: i64,
    /// A transaction failed: what it left may be there or not.
    in_doubt: bool,
}

/// How many of the old ones are in the table.
#[derive(Clone, Copy, Default, PartialEq)]
enum Written {
    /// All, and the mark says so.
    #[default]
    All,
    /// Those up to this one.
    Until(Option<Entry>),
}

impl References {
    /// Those of the recharges behind the mark.
    pub fn load(conn: &rusqlite::Connection, sizes: Sizes) -> Result<Self> {
        let references = Self { sizes, ..Self::default() };
        let mark = Conn::Sqlite(conn, &references).one("SELECT value FROM meta WHERE name = ?1", params![MARK], |row| row.get(0))?;
        let mut known = references.known.write();
        (known.latest, known.latest_committed) = (mark, mark);
        drop(known);
        references.look_behind(conn)?;
        references.keep();
        Ok(references)
    }

    /// What a transaction that failed has left is in doubt no more. To be called before the next one does anything.
    pub fn settle(&self, conn: &rusqlite::Connection) -> Result<()> {
        if self.known.read().in_doubt { self.look_behind(conn) } else { Ok(()) }
    }

    /// Adds those of the recharges behind the last one.
    fn look_behind(&self, conn: &rusqlite::Connection) -> Result<()> {
        const BEHIND: &str = "SELECT id, reference_hash(stream, reference_no) FROM recharge WHERE id > ?1";
        let latest = self.known.read().latest;
        let entries = Conn::Sqlite(conn, self).all(BEHIND, params![latest], |row| Ok((row.get(1)?, row.get(0)?)))?;
        entries.into_iter().for_each(|entry| self.add(entry));
        self.known.write().in_doubt = false;
        Ok(())
    }

    /// A recharge came to be, in the present transaction.
    pub fn add(&self, (hash, recharge): Entry) {
        let mut known = self.known.write();
        known.young.insert((hash, recharge));
        known.latest = known.latest.max(recharge);
        // Twice as many as there come to be, so that the old ones are all in the table long before they are forgotten.
        known.owed += 2;
    }

    /// Removes from the table those of the recharges that a sweep removes: all up to `last` that `going` tells of, after `after`.
    pub fn sweep(&self, conn: &rusqlite::Connection, going: &str, (after, last): (i64, i64)) -> Result<()> {
        const THEIRS: &str =
            "DELETE FROM reference WHERE (hash, recharge) IN (SELECT reference_hash(stream, reference_no), id FROM recharge";
        let mut known = self.known.write();
        known.swept_until = known.swept_until.max(last);
        drop(known);
        Conn::Sqlite(conn, self).execute(&format!("{THEIRS} WHERE {going})"), params![after, last]).map(drop)
    }

    /// The recharges that may have a reference with this hash.
    fn recharges(&self, hash: i64) -> Vec<i64> {
        let known = self.known.read();
        let same = (hash, i64::MIN)..=(hash, i64::MAX);
        known.young.range(same.clone()).chain(known.old.range(same)).map(|(_, recharge)| *recharge).collect()
    }

    /// Writes some of the old ones into the table, if enough are owed.
    pub fn write_some(&self, conn: &rusqlite::Connection) -> Result<()> {
        let mut known = self.known.write();
        let Written::Until(place) = known.written else { return Ok(()) };
        if known.owed < self.sizes.written {
            return Ok(());
        }
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        let some: Vec<Entry> = known.old.range((from, Bound::Unbounded)).take(known.owed).copied().collect();
        known.owed = 0;
        known.written = some.last().map_or(Written::All, |last| Written::Until(Some(*last)));
        let (mark, swept_until) = (known.old_until, known.swept_until);
        drop(known);
        let conn = Conn::Sqlite(conn, self);
        if some.is_empty() {
            conn.execute("UPDATE meta SET value = ?2 WHERE name = ?1", params![MARK, mark])?;
        }
        for (hash, recharge) in some {
            if recharge <= swept_until && !conn.exists("SELECT 1 FROM recharge WHERE id = ?1", params![recharge])? {
                continue;
            }
            // It may have been written before a crash.
            const WRITE: &str = "INSERT INTO reference (hash, recharge) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            conn.execute(WRITE, params![hash, recharge])?;
        }
        Ok(())
    }

    /// The transaction was committed.
    pub fn keep(&self) {
        let mut known = self.known.write();
        (known.committed, known.latest_committed) = (known.written, known.latest);
        if known.written == Written::All && known.young.len() >= self.sizes.known {
            known.old = std::mem::take(&mut known.young);
            known.old_until = known.latest;
            (known.written, known.committed) = (Written::Until(None), Written::Until(None));
        }
    }

    /// The transaction failed, or nobody knows.
    pub fn doubt(&self) {
        let mut known = self.known.write();
        let committed = known.latest_committed;
        known.young.retain(|(_, recharge)| *recharge <= committed);
        (known.written, known.latest) = (known.committed, committed);
        known.in_doubt = true;
    }
}

/// The recharge with this reference, with who reported it first.
pub(in crate::store) fn recharge(conn: Conn, stream: StreamId, reference_no: &str) -> Result<Option<(Recharge, String)>> {
    let read = |row: &Row| Ok((read_recharge(row)?, row.get("source")?));
    let Conn::Sqlite(_, references) = conn else {
        const FIND: &str = concat!("SELECT ", recharge_columns!(), ", source FROM recharge WHERE stream = ?1 AND reference_no = ?2");
        return conn.first(FIND, params![stream.get(), reference_no], read);
    };
    let hash = hash(stream, reference_no);
    // In this order: one that goes from here into the table meanwhile is found in both.
    let latest = references.recharges(hash);
    let earlier = conn.all("SELECT recharge FROM reference WHERE hash = ?1", params![hash], |row| row.get(0))?;
    for id in latest.into_iter().chain(earlier) {
        const FIND: &str =
            concat!("SELECT ", recharge_columns!(), ", source FROM recharge WHERE id = ?1 AND stream = ?2 AND reference_no = ?3");
        let found = conn.first(FIND, params![id, stream.get(), reference_no], read)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
