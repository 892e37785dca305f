//! The master key's check, and sealing secrets again: under another master key, a bounded step at a time, or for the places that they belong to now.

use super::conn::{Conn, Result, Row, params};
use super::endpoints::{SEALED, sealed_in};
use super::{devices, health, people};
use crate::clock::Ids;
use crate::domain::id::EndpointId;
use crate::limits;
use crate::store::seal::{Place, Sealer};
use crate::store::{StoreError, SweepPlace, Swept};

/// The name under which a sealed text in `meta` tells whether a master key is the right one. Its place tells whether all values
/// are bound to their columns: those of databases that were made before are not.
pub(super) const KEY_CHECK: &str = "master key check";

/// What values are bound to before they are sealed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Their row and column.
    Column,
    /// Their row alone.
    Row,
}

impl Bound {
    /// Where a value opens that belongs to `place`, and whose row was named like this before.
    pub fn place(self, place: Place, row: impl std::fmt::Display) -> Place {
        match self {
            Self::Column => place,
            Self::Row => Place::before_columns(row.to_string()),
        }
    }
}

fn check_place() -> Place {
    Place::new("meta", "value", KEY_CHECK)
}

/// The key's check, to be kept.
fn check(sealer: &Sealer) -> Vec<u8> {
    sealer.seal(&check_place(), b"ringback")
}

/// What the values of a database are bound to; none if the check opens with another key.
fn bound(sealer: &Sealer, check: &[u8]) -> Option<Bound> {
    let opens = |place| sealer.open(&place, check).is_ok();
    if opens(check_place()) { Some(Bound::Column) } else { opens(Place::before_columns(KEY_CHECK)).then_some(Bound::Row) }
}

/// Binds all values to their columns, in the transaction of the caller. Kept answers have always been bound to their use.
fn bind(conn: Conn, sealer: &Sealer) -> Result<(), StoreError> {
    let mut after = 0;
    while let (_, Some(last)) = endpoints(conn, sealer, after, Bound::Row)? {
        after = last;
    }
    people::reseal(conn, sealer, Bound::Row)?;
    health::reseal(conn, sealer, Bound::Row)?;
    keep_check(conn, sealer)
}

const CHECK: &str = "SELECT value FROM meta WHERE name = ?1 /*FOR UPDATE*/";

/// Makes other transactions that hold the database's mark wait: for decisions about what is there once in a database.
pub(super) fn hold(conn: Conn) -> Result<(), StoreError> {
    conn.first(CHECK, params![KEY_CHECK], |row| row.get::<Vec<u8>>(0)).map(drop)
}

/// Refuses a master key that is not the one this database was made with.
pub(in crate::store) fn check_key(conn: Conn, sealer: &Sealer) -> Result<(), StoreError> {
    let check = conn.first("SELECT value FROM meta WHERE name = ?1", params![KEY_CHECK], |row| row.get::<Vec<u8>>(0))?;
    let Some(check) = check else { return Ok(()) };
    bound(sealer, &check).map(drop).ok_or_else(|| {
        StoreError::Unusable(
            "the master key is not the one this database was made with; give the right one as RINGBACK_MASTER_KEY or in the key file. Nothing was changed"
                .to_owned(),
        )
    })
}

/// Marks a new database with the master key, binds sealed values to their columns where they are not yet, and has new ids be
/// greater than those that are there: the clock may have been set back since. In one transaction.
pub(in crate::store) fn begin(conn: Conn, sealer: &Sealer, ids: &Ids) -> Result<(), StoreError> {
    let fresh = check(sealer);
    conn.execute("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![KEY_CHECK, fresh])?;
    let check = conn.one(CHECK, params![KEY_CHECK], |row| row.get::<Vec<u8>>(0))?;
    if bound(sealer, &check) == Some(Bound::Row) {
        bind(conn, sealer)?;
    }
    for table in [
        "recharge", "conflict", "vendor", "stream", "token", "endpoint", "alert", "replay", "\"user\"", "audit", "session", "link",
        "device",
    ] {
        let highest = conn.one(&format!("SELECT max(id) FROM {table}"), params![], |row| row.get::<Option<i64>>(0))?;
        ids.go_beyond(highest.unwrap_or(0));
    }
    Ok(())
}

fn keep_check(conn: Conn, sealer: &Sealer) -> Result<(), StoreError> {
    conn.execute("UPDATE meta SET value = ?2 WHERE name = ?1", params![KEY_CHECK, check(sealer)]).map(drop)
}

/// Secrets of some endpoints (stage 0), or everything else (stage 1), under the present key.
pub(super) fn reseal(conn: Conn, sealer: &Sealer, place: SweepPlace) -> Result<Swept, StoreError> {
    let next = |stage, after| Some(SweepPlace { stage, after, within: 0 });
    if place.stage == 0 {
        let (count, last) = endpoints(conn, sealer, place.after, Bound::Column)?;
        return Ok(Swept { removed: count as u64, next: last.map_or_else(|| next(1, 0), |last| next(0, last)) });
    }
    // Kept answers are a day old at the most; to forget them costs a repeated request, not an answer of another key.
    let removed = conn.execute("DELETE FROM kept_answer", params![])?;
    people::reseal(conn, sealer, Bound::Column)?;
    health::reseal(conn, sealer, Bound::Column)?;
    devices::reseal(conn, sealer)?;
    keep_check(conn, sealer)?;
    Ok(Swept { removed: removed as u64, next: None })
}

/// Some endpoints from this id on; answers how many, and the last of them if there may be more.
fn endpoints(conn: Conn, sealer: &Sealer, after: i64, bound: Bound) -> Result<(usize, Option<i64>), StoreError> {
    type Sealed = (i64, [Option<Vec<u8>>; 4]);
    let page = format!("SELECT id, {} FROM endpoint WHERE id > ?1 ORDER BY id LIMIT ?2", SEALED.join(", "));
    let read = |row: &Row| -> Result<Sealed> { Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])) };
    let page = conn.all(&page, params![after, limits::SWEEP_STEP_ROWS], read)?;
    for (id, values) in &page {
        let endpoint = EndpointId::new(*id);
        for (column, sealed) in SEALED.into_iter().zip(values) {
            let Some(sealed) = sealed else { continue };
            let to = sealed_in(column, endpoint);
            let again = sealer.rebind(&bound.place(to.clone(), endpoint), &to, sealed)?;
            conn.execute(&format!("UPDATE endpoint SET {column} = ?2 WHERE id = ?1"), params![id, again])?;
        }
    }
    Ok((page.len(), page.last().filter(|_| page.len() == limits::SWEEP_STEP_ROWS).map(|(last, _)| *last)))
}
