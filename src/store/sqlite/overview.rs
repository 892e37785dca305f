//! How everything stands, from sums that are kept and indexes that are small.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::clock::Ids;
use crate::domain::endpoint::EndpointStatus;
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;
use crate::store::{Overview, StoreError};

const COLUMNS: &str = "accepted, attempts, succeeded, latency";

fn read(row: &Row) -> rusqlite::Result<Traffic> {
    let latency = row.get_ref("latency")?.as_blob()?;
    Ok(Traffic::restore(row.get("accepted")?, row.get("attempts")?, row.get("succeeded")?, latency))
}

/// Adds what a batch counted to its minutes.
pub(super) fn count(conn: &Connection, counted: &BTreeMap<i64, Traffic>) -> Result<(), StoreError> {
    for (minute, traffic) in counted.iter().filter(|(_, traffic)| !traffic.is_empty()) {
        let sql = format!("SELECT {COLUMNS} FROM traffic WHERE minute = ?1");
        let mut sum = conn.prepare_cached(&sql)?.query_row([minute], read).optional()?.unwrap_or_default();
        sum.add(traffic);
        const KEEP: &str = "INSERT OR REPLACE INTO traffic (minute, accepted, attempts, succeeded, latency) VALUES (?1, ?2, ?3, ?4, ?5)";
        conn.prepare_cached(KEEP)?.execute(params![minute, sum.accepted, sum.attempts, sum.succeeded, sum.latency_bytes()])?;
    }
    Ok(())
}

fn traffic_since(conn: &Connection, minute: i64) -> Result<Traffic, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM traffic WHERE minute > ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut sum = Traffic::default();
    for traffic in statement.query_map([minute], read)? {
        sum.add(&traffic?);
    }
    Ok(sum)
}

pub(super) fn overview(conn: &Connection, now: Timestamp) -> Result<Overview, StoreError> {
    const SUMS: &str =
        "SELECT coalesce(sum(queued), 0), coalesce(sum(success), 0), coalesce(sum(failed), 0), coalesce(sum(reversed), 0) FROM stream";
    let sums = |row: &Row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
    let recharges = conn.prepare_cached(SUMS)?.query_row([], sums)?;
    const OLDEST: &str = "SELECT min((SELECT r.id FROM recharge r WHERE r.status = 0 AND r.stream = s.id ORDER BY r.id LIMIT 1)) \
        FROM stream s WHERE s.queued > 0";
    let oldest: Option<i64> = conn.prepare_cached(OLDEST)?.query_row([], |row| row.get(0))?;
    let count = |sql: &str| -> Result<u64, StoreError> { Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?) };
    const DISABLED: &str = "SELECT count(*) FROM endpoint WHERE status = ?1 AND deleted_at IS NULL";
    let minute = now.as_millis().div_euclid(60_000);
    Ok(Overview {
        recharges,
        oldest_queued: oldest.map(Ids::time_of),
        hour: traffic_since(conn, minute - 60)?,
        day: traffic_since(conn, minute - 24 * 60)?,
        failing: count("SELECT count(*) FROM health h JOIN endpoint e ON e.id = h.endpoint WHERE e.status = 1 AND e.deleted_at IS NULL")?,
        disabled: conn.prepare_cached(DISABLED)?.query_row([EndpointStatus::Disabled as i64], |row| row.get(0))?,
        conflicts: count("SELECT count(*) FROM conflict WHERE state = 0")?,
        replays: count("SELECT count(*) FROM replay WHERE state = 0")?,
        alerts: count("SELECT count(*) FROM alert")?,
    })
}
