//! Which recharge has a reference, on the file.
//!
//! References come in no order. An index that is written with each of them has a page of its own to write for almost every
//! report. So the latest are known in memory alone, and go into the table `reference` in the order of its keys, many to a page.
//! What is not in it yet is found again from the recharges behind a mark, which moves in the transaction that writes the last
//! of them. On PostgreSQL a unique index does all of this, for many nodes.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use super::conn::{Bind, Conn, Result, Row, params};
use super::ledger::{read_recharge, recharge_columns};
use crate::domain::id::StreamId;
use crate::domain::recharge::Recharge;
use crate::limits;

/// The name under which `meta` has the last recharge up to which all are in the table.
const MARK: &str = "references until";

/// Rows of the table that are about recharges; which ones, and a closing parenthesis, stand behind it.
pub const OF_RECHARGES: &str = "reference WHERE (hash, recharge) IN (SELECT reference_hash(stream, reference_no), id FROM recharge";

/// Rows that one statement writes.
const ROWS: usize = 16;
static WRITE_MANY: LazyLock<String> = LazyLock::new(|| write(ROWS));

/// The statement that writes so many rows. They may have been written before a crash.
fn write(rows: usize) -> String {
    let values: Vec<String> = (0..rows).map(|row| format!("(?{}, ?{})", 2 * row + 1, 2 * row + 2)).collect();
    format!("INSERT INTO reference (hash, recharge) VALUES {} ON CONFLICT DO NOTHING", values.join(", "))
}

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
    young: Generation,
    /// Those before them, which are being written into the table, or are in it.
    old: Generation,
    /// These in the order of the table, until all of them are in it.
    in_order: Vec<Entry>,
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
    /// So many.
    Some(usize),
}

/// References that came one after the other.
#[derive(Default)]
struct Generation {
    /// The first recharge with each hash.
    first: HashMap<i64, i64>,
    /// Others with the same one, which are very rare.
    more: Vec<Entry>,
}

impl Generation {
    fn len(&self) -> usize {
        self.first.len() + self.more.len()
    }

    fn insert(&mut self, entry: Entry) {
        let (hash, recharge) = entry;
        if *self.first.entry(hash).or_insert(recharge) != recharge && !self.more.contains(&entry) {
            self.more.push(entry);
        }
    }

    fn recharges(&self, hash: i64) -> impl Iterator<Item = i64> {
        let more = self.more.iter().filter(move |(same, _)| *same == hash).map(|(_, recharge)| *recharge);
        self.first.get(&hash).copied().into_iter().chain(more)
    }

    fn in_order(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            self.first.iter().map(|(hash, recharge)| (*hash, *recharge)).chain(self.more.iter().copied()).collect();
        entries.sort_unstable();
        entries
    }

    fn forget_after(&mut self, last: i64) {
        self.first.retain(|_, recharge| *recharge <= last);
        self.more.retain(|(_, recharge)| *recharge <= last);
    }
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

    /// References of recharges up to `last` may have been removed from the table.
    pub fn swept(&self, last: i64) {
        let mut known = self.known.write();
        known.swept_until = known.swept_until.max(last);
    }

    /// The recharges that may have a reference with this hash.
    fn recharges(&self, hash: i64) -> Vec<i64> {
        let known = self.known.read();
        known.young.recharges(hash).chain(known.old.recharges(hash)).collect()
    }

    /// Writes some of the old ones into the table, if enough are owed.
    pub fn write_some(&self, conn: &rusqlite::Connection) -> Result<()> {
        let mut known = self.known.write();
        let Written::Some(place) = known.written else { return Ok(()) };
        if known.owed < self.sizes.written {
            return Ok(());
        }
        let some: Vec<Entry> = known.in_order.iter().skip(place).take(known.owed).copied().collect();
        known.owed = 0;
        known.written = if some.is_empty() { Written::All } else { Written::Some(place + some.len()) };
        let (mark, swept_until) = (known.old_until, known.swept_until);
        drop(known);
        let conn = Conn::Sqlite(conn, self);
        if some.is_empty() {
            conn.execute("UPDATE meta SET value = ?2 WHERE name = ?1", params![MARK, mark])?;
        }
        let mut there = Vec::with_capacity(some.len());
        for (hash, recharge) in some {
            if recharge > swept_until || conn.exists("SELECT 1 FROM recharge WHERE id = ?1", params![recharge])? {
                there.push((hash, recharge));
            }
        }
        let (many, rest) = there.as_chunks::<ROWS>();
        for part in many {
            let values: Vec<&dyn Bind> = part.iter().flat_map(|(hash, recharge)| [hash as &dyn Bind, recharge]).collect();
            conn.execute(&WRITE_MANY, &values)?;
        }
        for (hash, recharge) in rest {
            conn.execute(&write(1), params![hash, recharge])?;
        }
        Ok(())
    }

    /// The transaction was committed.
    pub fn keep(&self) {
        let mut known = self.known.write();
        (known.committed, known.latest_committed) = (known.written, known.latest);
        if known.written == Written::All {
            known.in_order = Vec::new();
        }
        if known.written == Written::All && known.young.len() >= self.sizes.known {
            known.old = std::mem::take(&mut known.young);
            known.in_order = known.old.in_order();
            known.old_until = known.latest;
            (known.written, known.committed) = (Written::Some(0), Written::Some(0));
            // What came while there was nothing to write is no debt: it would be paid all at once.
            known.owed = 0;
        }
    }

    /// The transaction failed, or nobody knows.
    pub fn doubt(&self) {
        let mut known = self.known.write();
        let committed = known.latest_committed;
        known.young.forget_after(committed);
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
