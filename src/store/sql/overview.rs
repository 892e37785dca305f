//! How everything stands, from sums that are kept and indexes that are small.

use std::ops::ControlFlow;

use super::conn::{Conn, Result, Row, RowLocation, params};
use super::rows::word;
use crate::clock::Ids;
use crate::domain::endpoint::EndpointStatus;
use crate::domain::id::StreamId;
use crate::domain::recharge::Status;
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;
use crate::limits;
use crate::store::{Hour, Overview, ProviderStanding, Standing, StoreError};

const COLUMNS: &str = "accepted, attempts, succeeded, latency";

fn read(row: &Row) -> Result<Traffic> {
    let latency = row.bytes("latency")?;
    Ok(Traffic::restore(row.get("accepted")?, row.get("attempts")?, row.get("succeeded")?, latency))
}

/// The minute of a time.
pub(super) fn minute(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(60_000)
}

/// The hour of a time.
pub(super) fn hour(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(3_600_000)
}

/// What each minute since then held, of all nodes.
pub(super) fn minutes(conn: Conn, since: Timestamp) -> Result<Vec<(Timestamp, Traffic)>, StoreError> {
    let sql = format!("SELECT minute, {COLUMNS} FROM traffic WHERE minute >= ?1 ORDER BY minute");
    let mut minutes: Vec<(Timestamp, Traffic)> = Vec::new();
    conn.each(&sql, params![minute(since)], |row| {
        let (at, traffic) = (Timestamp::from_millis(row.get::<i64>("minute")? * 60_000), read(row)?);
        match minutes.last_mut().filter(|(last, _)| *last == at) {
            Some((_, sum)) => sum.add(&traffic),
            None => minutes.push((at, traffic)),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(minutes)
}

/// A stream's recharges: how they stand, and what each hour since then brought.
pub(super) fn standing(conn: Conn, stream: StreamId, since: Timestamp) -> Result<Standing, StoreError> {
    const NOW: &str = "SELECT queued, success, failed, reversed, \
        (SELECT r.id FROM recharge r WHERE r.status = 0 AND r.stream = s.id ORDER BY r.id LIMIT 1) AS oldest FROM stream s WHERE s.id = ?1";
    let read =
        |row: &Row| -> Result<([u64; 4], Option<i64>)> { Ok(([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?], row.get("oldest")?)) };
    let (recharges, oldest) = conn.one(NOW, params![stream.get()], read)?;
    const HOURS: &str = "SELECT hour, made, success, failed, reversed FROM tally WHERE stream = ?1 AND hour >= ?2 ORDER BY hour";
    let hours = conn.all(HOURS, params![stream.get(), hour(since)], |row| {
        let at = Timestamp::from_millis(row.get::<i64>("hour")? * 3_600_000);
        Ok(Hour { at, made: row.get("made")?, success: row.get("success")?, failed: row.get("failed")?, reversed: row.get("reversed")? })
    })?;
    Ok(Standing { recharges, oldest_queued: oldest.map(Ids::time_of), hours })
}

/// How the latest recharges went at each provider, and what waits there.
pub(super) fn providers(conn: Conn) -> Result<Vec<ProviderStanding>, StoreError> {
    const WAITING: &str = "SELECT s.provider, count(*) AS waiting, min(s.recharge) AS oldest FROM submission s \
        JOIN recharge r ON r.id = s.recharge WHERE s.next_at IS NOT NULL AND r.status = 0 GROUP BY s.provider";
    let read = |row: &Row| -> Result<ProviderStanding> {
        let oldest: i64 = row.get("oldest")?;
        let (name, waiting) = (row.get("provider")?, row.get("waiting")?);
        Ok(ProviderStanding { name, waiting, oldest: Some(Ids::time_of(oldest)), latest: [0; 4], took: Vec::new() })
    };
    let mut found = conn.all(WAITING, params![], read)?;
    const LATEST: &str = "SELECT s.provider, r.id, r.status, r.settled_at \
        FROM (SELECT recharge, provider FROM submission ORDER BY recharge DESC LIMIT ?1) s JOIN recharge r ON r.id = s.recharge";
    conn.each(LATEST, params![limits::PROVIDER_LATEST], |row| {
        let name: String = row.get("provider")?;
        let at = match found.iter().position(|provider| provider.name == name) {
            Some(at) => at,
            None => {
                found.push(ProviderStanding { name, waiting: 0, oldest: None, latest: [0; 4], took: Vec::new() });
                found.len() - 1
            }
        };
        let status = word(row, "status", &Status::ALL)?;
        found[at].latest[status as usize] += 1;
        if let Some(settled) = row.get::<Option<Timestamp>>("settled_at")? {
            found[at].took.push(settled.since(Ids::time_of(row.get("id")?)));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// As whom one of a node's writers counts.
pub(super) fn counter(node: u8, writer: i64) -> i64 {
    writer << u8::BITS | i64::from(node)
}

/// What a minute holds that one writer counted.
pub(super) struct Minute {
    pub sum: Traffic,
    /// Where its row is.
    spot: RowLocation,
}

/// What a minute holds that this one counted.
pub(super) fn counted(conn: Conn, minute: i64, counter: i64) -> Result<Minute> {
    let sql = format!("SELECT {COLUMNS} FROM traffic WHERE minute = ?1 AND node = ?2");
    let sum = conn.first(&sql, params![minute, counter], read)?.unwrap_or_default();
    Ok(Minute { sum, spot: RowLocation::default() })
}

/// Writes down what it holds now.
pub(super) fn keep(conn: Conn, minute: i64, counter: i64, Minute { sum, spot }: &Minute) -> Result<()> {
    const UPDATE: &str = "UPDATE traffic SET accepted = ?3, attempts = ?4, succeeded = ?5, latency = ?6 WHERE minute = ?1 AND node = ?2";
    const KEEP: &str = "INSERT INTO traffic (minute, node, accepted, attempts, succeeded, latency) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
        ON CONFLICT (minute, node) DO UPDATE SET accepted = excluded.accepted, attempts = excluded.attempts, \
        succeeded = excluded.succeeded, latency = excluded.latency";
    let values = params![minute, counter, sum.accepted, sum.attempts, sum.succeeded, sum.latency_bytes()];
    conn.write_over(spot, UPDATE, KEEP, values)
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
