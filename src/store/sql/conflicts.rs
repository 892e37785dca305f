//! Contradictions: listed, and resolved by a person; and recharges that a person settles.

use std::time::Duration;

use super::accept::{Batch, History};
use super::conn::{Conn, Result, Row, params};
use super::ledger;
use super::rows::{page, word, word_or_null};
use crate::clock::Ids;
use crate::domain::conflict::{self, CaseState, Conflict, ResolveError};
use crate::domain::id::{ConflictId, RechargeId};
use crate::domain::recharge::{self, Details, Judgement, Recharge, Report, Status, Verdict};
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::{ConflictQuery, Listed, OpenRun, SettledRecharge, StoreError};

/// Who made the reports that people make.
const BY_PERSON: &str = "operator";
const SELECT: &str = "SELECT c.id, c.recharge, r.status, c.claimed, c.field, c.ours, c.theirs, c.source, c.received_at, c.state, c.reason, \
    c.resolved_by, c.resolved_at FROM conflict c LEFT JOIN recharge r ON r.id = c.recharge";

fn read(row: &Row) -> Result<Conflict> {
    Ok(Conflict {
        id: ConflictId::new(row.get("id")?),
        recharge: RechargeId::new(row.get("recharge")?),
        status: word_or_null(row, "status", &Status::ALL)?,
        claimed: word(row, "claimed", &Status::ALL)?,
        field: row.get("field")?,
        ours: row.get("ours")?,
        theirs: row.get("theirs")?,
        source: row.get("source")?,
        received_at: row.get("received_at")?,
        state: word(row, "state", &CaseState::ALL)?,
        reason: row.get("reason")?,
        resolved_by: row.get("resolved_by")?,
        resolved_at: row.get("resolved_at")?,
    })
}

pub(super) fn one(conn: Conn, id: ConflictId) -> Result<Option<Conflict>, StoreError> {
    let sql = format!("{SELECT} WHERE c.id = ?1");
    conn.first(&sql, params![id.get()], read)
}

pub(super) fn list(conn: Conn, query: &ConflictQuery) -> Result<Listed<Conflict, ConflictId>, StoreError> {
    let which = match (query.recharge, query.state) {
        (Some(_), _) => "c.recharge = ?3",
        (None, Some(CaseState::Open)) => "c.state = 0 AND CAST(?3 AS BIGINT) IS NULL",
        (None, _) => "CAST(?3 AS BIGINT) IS NULL",
    };
    let sql = format!("{SELECT} WHERE {which} AND c.id >= ?1 AND c.id < ?2 ORDER BY c.id DESC LIMIT ?4");
    let floor = query.range.since.map_or(0, |since| Ids::floor(since).get());
    let ceiling = query.range.until.map_or(i64::MAX, |until| Ids::floor(until).get());
    let ceiling = query.page.before.map_or(ceiling, |before| before.get().min(ceiling));
    let values = params![floor, ceiling, query.recharge.map(RechargeId::get), limits::SCAN_MAX];
    let wanted = |found: &Conflict| query.state.is_none_or(|state| found.state == state);
    page(conn, (&sql, values), query.page.limit, |row| read(row).map(|found| (found.id, found)), wanted)
}

/// How a conflict is resolved.
pub(super) struct Resolution<'a> {
    pub to: CaseState,
    pub reason: &'a str,
    pub by: &'a str,
    pub now: Timestamp,
    pub deadline: Duration,
}

/// A conflict and its recharge as they are now.
pub(super) type Resolved = Result<Box<(Conflict, Recharge)>, ResolveError>;

pub(super) fn resolve(
    batch: &mut Batch,
    id: ConflictId,
    resolution: &Resolution,
    opened: &mut Vec<OpenRun>,
) -> Result<Option<Resolved>, StoreError> {
    let Some(case) = one(batch.conn, id)? else { return Ok(None) };
    let Some((before, source)) = with_source(batch.conn, case.recharge)? else { return Ok(None) };
    let Resolution { to, reason, by, now, deadline } = *resolution;
    let mut recharge = before.clone();
    let moved = match conflict::resolve(&mut recharge, &case, to, reason) {
        Ok(moved) => moved,
        Err(unfit) => return Ok(Some(Err(unfit))),
    };
    if moved {
        let details = Details { reason: Some(reason.to_owned()), ..Details::default() };
        let report = Report { reference_no: String::new(), status: recharge.status, details, occurred_at: None };
        move_by_person(batch, Moved { before: &before, source: &source, after: &mut recharge, report: &report }, (now, deadline), opened)?;
    }
    const RESOLVE: &str = "UPDATE conflict SET state = ?2, reason = ?3, resolved_by = ?4, resolved_at = ?5 WHERE id = ?1";
    batch.conn.execute(RESOLVE, params![id.get(), to as i64, reason, by, now.as_millis()])?;
    let case = one(batch.conn, id)?.ok_or_else(|| StoreError::Damaged(format!("{id} was there a moment ago")))?;
    Ok(Some(Ok(Box::new((case, recharge)))))
}

/// A person settles a recharge that is queued.
pub(super) fn settle_recharge(
    batch: &mut Batch,
    id: RechargeId,
    report: &Report,
    (now, deadline): (Timestamp, Duration),
    opened: &mut Vec<OpenRun>,
) -> Result<SettledRecharge, StoreError> {
    let Some((before, source)) = with_source(batch.conn, id)? else { return Ok(SettledRecharge::Unknown) };
    if before.status != Status::Queued {
        return Ok(SettledRecharge::NotQueued(before.status));
    }
    let mut state = Some(before.clone());
    let judged = recharge::apply(&mut state, report, now, || unreachable!("the recharge is there"));
    let Some(mut recharge) = state.filter(|_| judged.settled) else { return Ok(SettledRecharge::NotQueued(before.status)) };
    // Moving it counts this report.
    recharge.reports = before.reports;
    move_by_person(batch, Moved { before: &before, source: &source, after: &mut recharge, report }, (now, deadline), opened)?;
    Ok(SettledRecharge::Yes(Box::new(recharge)))
}

struct Moved<'a> {
    before: &'a Recharge,
    source: &'a str,
    after: &'a mut Recharge,
    report: &'a Report,
}

/// Writes a recharge that a person moved, with its event, and with the person's word in its history.
fn move_by_person(
    batch: &mut Batch,
    Moved { before, source, after, report }: Moved,
    (now, deadline): (Timestamp, Duration),
    opened: &mut Vec<OpenRun>,
) -> Result<(), StoreError> {
    let mode = ledger::mode_of(batch.conn, before.stream)?;
    after.reports = before.reports.saturating_add(1);
    batch.moved(before.stream, Some(before.status), after.status)?;
    after.event = Some(batch.emit_settled(mode, after, (now, deadline), opened)?);
    let judged = Judgement { verdict: Verdict::Accepted, contradictions: Vec::new(), settled: true };
    batch.update(after, &History { before, first_source: source, source: BY_PERSON, report, now }, &judged)
}

fn with_source(conn: Conn, id: RechargeId) -> Result<Option<(Recharge, String)>, StoreError> {
    const FIND: &str = concat!("SELECT ", ledger::recharge_columns!(), ", source FROM recharge WHERE id = ?1");
    let read = |row: &Row| Ok((ledger::read_recharge(row)?, row.get("source")?));
    conn.first(FIND, params![id.get()], read)
}
