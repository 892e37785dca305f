//! Small writes of a server's own: whether writing works, and the time it has reached.

use super::conn::{Conn, Result, params};
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::StoreError;

const KEEP: &str = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// Writes about as much as a request does: a disk that is nearly full may still take a row. Where tables can be locked, it
/// asks for the locks that a batch needs.
pub(super) fn probe(conn: Conn) -> Result<(), StoreError> {
    if let Conn::Postgres(_) = conn {
        conn.execute(
            "LOCK TABLE stream, recharge, event, open_delivery, ended_delivery, attempt, tally, traffic IN ROW EXCLUSIVE MODE",
            params![],
        )?;
    }
    conn.execute(KEEP, params!["write probe", vec![0_u8; limits::PROBE_BYTES]]).map(drop)
}

const LATEST: &str = "latest time";

/// The highest time that was kept.
pub(super) fn kept_time(conn: Conn) -> Result<Option<Timestamp>, StoreError> {
    const TIME: &str = "SELECT value FROM meta WHERE name = ?1";
    let kept = conn.first(TIME, params![LATEST], |row| row.get::<Vec<u8>>(0))?;
    Ok(kept.and_then(|bytes| Some(Timestamp::from_millis(i64::from_le_bytes(bytes.try_into().ok()?)))))
}

/// Keeps this time, unless a higher one is kept.
pub(super) fn keep_time(conn: Conn, now: Timestamp) -> Result<(), StoreError> {
    let latest = kept_time(conn)?.map_or(now, |before| before.max(now));
    conn.execute(KEEP, params![LATEST, latest.as_millis().to_le_bytes()]).map(drop)
}
