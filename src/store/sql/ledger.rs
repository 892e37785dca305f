//! Recharges with their history, and the feed of events.

use std::ops::ControlFlow;

use super::conn::{Conn, Result, Row, params};
use super::references;
use super::rows::{bad, page, word};
use crate::clock::Ids;
use crate::domain::event::Event;
use crate::domain::id::{EventId, RechargeId, StreamId};
use crate::domain::money::Currency;
use crate::domain::recharge::{Details, Recharge, Status, Verdict};
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::limits;
use crate::store::{Feed, KeptReport, Listed, RechargeQuery, StoreError, TimeRange};

macro_rules! recharge_columns {
    () => {
        "id, stream, reference_no, transaction_id, status, late, amount, currency, network, connection_no, provider, provider_ref, \
         reason, occurred_at, settled_at, event, reports"
    };
}
pub(super) use recharge_columns;

pub(super) fn read_recharge(row: &Row) -> Result<Recharge> {
    let currency: Option<String> = row.get("currency")?;
    let currency = currency.map(|code| code.parse::<Currency>().map_err(|error| bad("currency", error))).transpose()?;
    let id = RechargeId::new(row.get("id")?);
    Ok(Recharge {
        id,
        transaction_id: row.get("transaction_id")?,
        stream: StreamId::new(row.get("stream")?),
        reference_no: row.get("reference_no")?,
        status: word(row, "status", &Status::ALL)?,
        late: row.get("late")?,
        details: Details {
            amount: row.get("amount")?,
            currency,
            network: row.get("network")?,
            connection_no: row.get("connection_no")?,
            provider: row.get("provider")?,
            provider_ref: row.get("provider_ref")?,
            reason: row.get("reason")?,
        },
        created_at: Ids::time_of(id.get()),
        settled_at: row.get("settled_at")?,
        occurred_at: row.get("occurred_at")?,
        event: row.get("event")?,
        reports: row.get("reports")?,
    })
}

pub(super) fn recharge(conn: Conn, id: RechargeId) -> Result<Option<(Recharge, Vec<KeptReport>)>, StoreError> {
    const ONE: &str = concat!("SELECT ", recharge_columns!(), ", source FROM recharge WHERE id = ?1");
    let read = |row: &Row| Ok((read_recharge(row)?, row.get::<String>("source")?));
    let Some((recharge, source)) = conn.first(ONE, params![id.get()], read)? else { return Ok(None) };
    const REPORTS: &str = "SELECT source, status, verdict, provider_ref, reason, occurred_at, received_at FROM report \
        WHERE recharge = ?1 ORDER BY number LIMIT ?2";
    let read = |row: &Row| {
        Ok(KeptReport {
            source: row.get("source")?,
            status: word(row, "status", &Status::ALL)?,
            verdict: word(row, "verdict", &Verdict::ALL)?,
            provider_ref: row.get("provider_ref")?,
            reason: row.get("reason")?,
            occurred_at: row.get("occurred_at")?,
            received_at: row.get("received_at")?,
        })
    };
    let mut reports = conn.all(REPORTS, params![id.get(), limits::SCAN_MAX], read)?;
    if reports.is_empty() && recharge.reports == 1 {
        reports.push(KeptReport {
            source,
            status: recharge.status,
            verdict: Verdict::Created,
            provider_ref: recharge.details.provider_ref.clone(),
            reason: recharge.details.reason.clone(),
            occurred_at: recharge.occurred_at,
            received_at: recharge.created_at,
        });
    }
    Ok(Some((recharge, reports)))
}

pub(super) fn recharges(conn: Conn, query: &RechargeQuery) -> Result<Listed<Recharge, RechargeId>, StoreError> {
    let TimeRange { since, until } = query.range;
    let floor = since.map_or(0, |since| Ids::floor(since).get());
    let ceiling = until.map_or(i64::MAX, |until| Ids::floor(until).get()).min(query.page.before.map_or(i64::MAX, RechargeId::get));
    const LIST: &str =
        concat!("SELECT ", recharge_columns!(), " FROM recharge WHERE stream = ?1 AND id >= ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4");
    const QUEUED: &str = concat!(
        "SELECT ",
        recharge_columns!(),
        " FROM recharge WHERE status = 0 AND stream = ?1 AND id >= ?2 AND id < ?3 \
         ORDER BY id DESC LIMIT ?4"
    );
    if let Some(reference_no) = &query.reference_no {
        let found = references::recharge(conn, query.stream, reference_no)?.map(|(found, _)| found);
        let found = found.filter(|found| (floor..ceiling).contains(&found.id.get()) && query.matches(found));
        return Ok(Listed { items: found.into_iter().collect(), next: None });
    }
    let sql = if query.status == Some(Status::Queued) { QUEUED } else { LIST };
    let values = params![query.stream.get(), floor, ceiling, limits::SCAN_MAX];
    page(conn, (sql, values), query.page.limit, |row| read_recharge(row).map(|found| (found.id, found)), |found| query.matches(found))
}

const MODE: &str = "SELECT mode FROM stream WHERE id = ?1";

fn read_mode(row: &Row) -> Result<Mode> {
    word(row, "mode", &Mode::ALL)
}

pub(super) fn mode_of(conn: Conn, stream: StreamId) -> Result<Mode> {
    conn.one(MODE, params![stream.get()], read_mode)
}

pub(super) fn read_event(row: &Row, stream: StreamId, mode: Mode) -> Result<Event> {
    let id = EventId { stream, sequence: row.get("sequence")? };
    let (event_type, facts): (String, String) = (row.get("type")?, row.get("facts")?);
    Event::restore(id, mode, &event_type, row.get("created_at")?, &facts).map_err(|error| bad("facts", error))
}

pub(super) fn event(conn: Conn, id: EventId) -> Result<Option<Event>, StoreError> {
    let Some(mode) = conn.first(MODE, params![id.stream.get()], read_mode)? else { return Ok(None) };
    const ONE: &str = "SELECT sequence, type, created_at, facts FROM event WHERE stream = ?1 AND sequence = ?2";
    let read = |row: &Row| read_event(row, id.stream, mode);
    conn.first(ONE, params![id.stream.get(), id.sequence], read)
}

pub(super) fn events_after(conn: Conn, stream: StreamId, after: Option<i64>, limit: usize) -> Result<Feed, StoreError> {
    let mode = mode_of(conn, stream)?;
    // What an open delivery keeps of older events is not in the feed, which has no gaps.
    const ENDS: &str = "SELECT next_sequence, (SELECT min(sequence) FROM event WHERE stream = ?1 AND sequence >= \
        coalesce((SELECT f.sequence FROM feed_start f WHERE f.stream = ?1), 0)) FROM stream WHERE id = ?1";
    let read = |row: &Row| Ok((row.get::<i64>(0)?, row.get::<Option<i64>>(1)?));
    let (next, oldest) = conn.one(ENDS, params![stream.get()], read)?;
    let after = after.unwrap_or(0).max(oldest.unwrap_or(next) - 1);
    const AFTER: &str =
        "SELECT sequence, type, created_at, facts FROM event WHERE stream = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3";
    let (mut events, mut bytes) = (Vec::new(), 0);
    conn.within(AFTER, params![stream.get(), after, limit], limits::FEED_BYTES as i64, |row| {
        bytes += row.text(3)?.len();
        events.push(read_event(row, stream, mode)?);
        Ok(if bytes > limits::FEED_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let more = events.len() == limit || bytes > limits::FEED_BYTES;
    Ok(Feed { events, oldest: oldest.unwrap_or(next), latest: next - 1, more })
}

/// The range of numbers that a stream's events of a time range have. Their times never go back, so each end is found
/// by halving.
pub(super) fn sequences(conn: Conn, stream: StreamId, range: TimeRange) -> Result<std::ops::Range<i64>, StoreError> {
    const ENDS: &str = "SELECT next_sequence, (SELECT min(sequence) FROM event WHERE stream = ?1) FROM stream WHERE id = ?1";
    let (next, oldest): (i64, Option<i64>) = conn.one(ENDS, params![stream.get()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (oldest, latest) = (oldest.unwrap_or(next), next - 1);
    // Numbers may have been skipped, where the database was restored.
    const AT: &str = "SELECT created_at FROM event WHERE stream = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT 1";
    let first_at_or_after = |time: Timestamp| -> Result<i64, StoreError> {
        let (mut low, mut high) = (oldest, latest + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let created_at: Option<Timestamp> = conn.first(AT, params![stream.get(), middle], |row| row.get(0))?;
            if created_at.is_some_and(|at| at < time) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    };
    let start = range.since.map_or(Ok(oldest), first_at_or_after)?;
    let end = range.until.map_or(Ok(latest + 1), first_at_or_after)?;
    Ok(start..end)
}
