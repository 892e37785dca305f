//! How everything stands, from sums that are kept and indexes that are small.

use std::ops::ControlFlow;

use super::conn::{Conn, Result, Row, params};
use crate::clock::Ids;
use crate::domain::endpoint::EndpointStatus;
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;
use crate::store::{Overview, StoreError};

const COLUMNS: &str = "accepted, attempts, succeeded, latency";

fn read(row: &Row) -> Result<Traffic> {
    let latency = row.bytes("latency")?;
    Ok(Traffic::restore(row.get("accepted")?, row.get("attempts")?, row.get("succeeded")?, latency))
}

/// The minute of a time.
pub(super) fn minute(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(60_000)
}

/// What a minute holds of this node's.
pub(super) fn counted(conn: Conn, minute: i64, node: u8) -> Result<Traffic> {
    let sql = format!("SELECT {COLUMNS} FROM traffic WHERE minute = ?1 AND node = ?2");
    Ok(conn.first(&sql, params![minute, i64::from(node)], read)?.unwrap_or_default())
}

/// Writes down what it holds now.
pub(super) fn keep(conn: Conn, minute: i64, node: u8, sum: &Traffic) -> Result<()> {
    const KEEP: &str = "INSERT INTO traffic (minute, node, accepted, attempts, succeeded, latency) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
        ON CONFLICT (minute, node) DO UPDATE SET accepted = excluded.accepted, attempts = excluded.attempts, \
        succeeded = excluded.succeeded, latency = excluded.latency";
    conn.later(KEEP, params![minute, i64::from(node), sum.accepted, sum.attempts, sum.succeeded, sum.latency_bytes()])
}

fn traffic_since(conn: Conn, minute: i64) -> Result<Traffic, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM traffic WHERE minute > ?1");
    let mut sum = Traffic::default();
    conn.each(&sql, params![minute], |row| {
        sum.add(&read(row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sum)
}

pub(super) fn overview(conn: Conn, now: Timestamp) -> Result<Overview, StoreError> {
    const SUMS: &str = "SELECT CAST(coalesce(sum(queued), 0) AS BIGINT), CAST(coalesce(sum(success), 0) AS BIGINT), \
        CAST(coalesce(sum(failed), 0) AS BIGINT), CAST(coalesce(sum(reversed), 0) AS BIGINT) FROM stream";
    let sums = |row: &Row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
    let recharges = conn.one(SUMS, params![], sums)?;
    const OLDEST: &str = "SELECT min((SELECT r.id FROM recharge r WHERE r.status = 0 AND r.stream = s.id ORDER BY r.id LIMIT 1)) \
        FROM stream s WHERE s.queued > 0";
    let oldest: Option<i64> = conn.one(OLDEST, params![], |row| row.get(0))?;
    let count = |sql: &str| -> Result<u64, StoreError> { conn.one(sql, params![], |row| row.get(0)) };
    const DISABLED: &str = "SELECT count(*) FROM endpoint WHERE status = ?1 AND deleted_at IS NULL";
    let minute = minute(now);
    Ok(Overview {
        recharges,
        oldest_queued: oldest.map(Ids::time_of),
        hour: traffic_since(conn, minute - 60)?,
        day: traffic_since(conn, minute - 24 * 60)?,
        failing: count("SELECT count(*) FROM health h JOIN endpoint e ON e.id = h.endpoint WHERE e.status = 1 AND e.deleted_at IS NULL")?,
        disabled: conn.one(DISABLED, params![EndpointStatus::Disabled as i64], |row| row.get(0))?,
        conflicts: count("SELECT count(*) FROM conflict WHERE state = 0")?,
        replays: count("SELECT count(*) FROM replay WHERE state = 0")?,
        alerts: count("SELECT count(*) FROM alert")?,
        stuck: count(
            "SELECT count(*) FROM submission s JOIN recharge r ON r.id = s.recharge WHERE s.stuck_at IS NOT NULL AND r.status = 0",
        )?,
    })
}
