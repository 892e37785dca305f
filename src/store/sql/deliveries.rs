//! Deliveries as people see them, and open runs as the engine asks for them.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::conn::{Conn, Result, Row, params};
use super::ledger;
use super::rows::{Pauses, Place, bad, place, word, word_or_null};
use crate::domain::attempt::{Attempt, Outcome, OutcomeKind, Phases};
use crate::domain::delivery::{DeliveryState, EndReason, RunKey};
use crate::domain::event::Event;
use crate::domain::id::{DeliveryId, EndpointId, EventId, ReplayId, StreamId};
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::{Backlog, Delivery, DeliveryQuery, Expired, Listed, OpenAsk, OpenPage, OpenQuery, OpenRun, OpenRuns, StoreError};

struct Ended {
    run: u32,
    state: DeliveryState,
    reason: Option<EndReason>,
    deadline: Timestamp,
    ended_at: Timestamp,
    attempt: Option<Attempt>,
}

struct Open {
    run: u32,
    deadline: Timestamp,
    next_attempt_at: Option<Timestamp>,
}

fn read_attempt(row: &Row, number: u32) -> Result<Attempt> {
    let phases = Phases {
        resolve: row.get("resolve_us")?,
        connect: row.get("connect_us")?,
        tls: row.get("tls_us")?,
        first_byte: row.get("first_byte_us")?,
        total: row.get("total_us")?,
    };
    let outcome = Outcome {
        kind: word(row, "outcome", &OutcomeKind::ALL)?,
        status: row.get("status")?,
        error: row.get("error")?,
        phases,
        address: None,
        retry_after: None,
        answer_headers: row.get("answer_headers")?,
        answer_body: row.get("answer_body")?,
    };
    Ok(Attempt { number, run: row.get("run")?, started_at: row.get("started_at")?, outcome })
}

fn read_ended(row: &Row) -> Result<Ended> {
    let attempted = row.get::<Option<i64>>("started_at")?.is_some();
    Ok(Ended {
        run: row.get("run")?,
        state: word(row, "state", &DeliveryState::ALL)?,
        reason: word_or_null(row, "end_reason", &EndReason::ALL)?,
        deadline: row.get("deadline")?,
        ended_at: row.get("ended_at")?,
        attempt: if attempted { Some(read_attempt(row, row.get("attempts")?)?) } else { None },
    })
}

/// Puts attempts in order. Those that two nodes made side by side may have been written down under the same number.
fn number(attempts: &mut [Attempt]) {
    attempts.sort_by_key(|attempt| (attempt.run, attempt.number, attempt.started_at));
    for at in 1..attempts.len() {
        let Attempt { run, number, .. } = attempts[at - 1];
        if attempts[at].run == run {
            attempts[at].number = attempts[at].number.max(number + 1);
        }
    }
}

/// A delivery with the latest `most` of its attempts.
pub(super) fn one(conn: Conn, id: DeliveryId, most: usize) -> Result<Option<Delivery>, StoreError> {
    let key = params![id.endpoint.get(), id.sequence];
    const OPEN: &str =
        "SELECT run, deadline, next_attempt_at FROM open_delivery WHERE endpoint = ?1 AND sequence = ?2 ORDER BY run DESC LIMIT 1";
    let Some(Place { stream, pauses, .. }) = place(conn, id.endpoint)? else { return Ok(None) };
    let read_open = |row: &Row| Ok(Open { run: row.get(0)?, deadline: pauses.deadline(row.get(1)?), next_attempt_at: row.get(2)? });
    let open = conn.first(OPEN, key, read_open)?;
    const ENDED: &str = "SELECT run, state, end_reason, attempts, deadline, ended_at, started_at, outcome, status, error, resolve_us, connect_us, \
        tls_us, first_byte_us, total_us, answer_headers, answer_body FROM ended_delivery WHERE endpoint = ?1 AND sequence = ?2 ORDER BY run";
    let ended = conn.all(ENDED, key, read_ended)?;
    let (run, state, end_reason, next_attempt_at, deadline) = match (&open, ended.last()) {
        (Some(open), _) => (open.run, DeliveryState::Pending, None, open.next_attempt_at, open.deadline),
        (None, Some(last)) => (last.run, last.state, last.reason, None, last.deadline),
        (None, None) => return Ok(None),
    };
    let Some(event) = ledger::event(conn, EventId { stream, sequence: id.sequence })? else { return Ok(None) };
    const ATTEMPTS: &str = "SELECT run, number, started_at, outcome, status, error, resolve_us, connect_us, tls_us, first_byte_us, total_us, \
        answer_headers, answer_body FROM attempt WHERE endpoint = ?1 AND sequence = ?2 ORDER BY run DESC, number DESC LIMIT ?3";
    let mut attempts = conn.all(ATTEMPTS, params![id.endpoint.get(), id.sequence, most], |row| read_attempt(row, row.get("number")?))?;
    let succeeded = ended.iter().filter(|ended| ended.state == DeliveryState::Succeeded).map(|ended| ended.ended_at);
    let late = attempts.iter().filter(|attempt| attempt.outcome.kind == OutcomeKind::Succeeded).map(|attempt| attempt.started_at);
    let first_succeeded_at = succeeded.chain(late).min();
    attempts.extend(ended.into_iter().filter_map(|ended| ended.attempt));
    number(&mut attempts);
    attempts.drain(..attempts.len().saturating_sub(most));
    Ok(Some(Delivery { id, event: Arc::new(event), state, run, end_reason, next_attempt_at, deadline, first_succeeded_at, attempts }))
}

pub(super) fn list(conn: Conn, query: &DeliveryQuery) -> Result<Listed<Delivery, DeliveryId>, StoreError> {
    let endpoints = match query.endpoint {
        Some(endpoint) => place(conn, endpoint)?.filter(|place| place.stream == query.stream).map(|_| endpoint).into_iter().collect(),
        None => endpoints_of(conn, query.stream)?,
    };
    let mut numbers = ledger::sequences(conn, query.stream, query.range)?;
    if let Some(sequence) = query.sequence {
        numbers = numbers.start.max(sequence)..numbers.end.min(sequence + 1);
    }
    let before = query.page.before;
    let mut heads = Vec::new();
    for endpoint in endpoints {
        // Of the number where the page before ended, endpoints with a smaller id are still to come.
        let end = before.map_or(i64::MAX, |before| if endpoint < before.endpoint { before.sequence + 1 } else { before.sequence });
        if let Some(sequence) = latest_below(conn, endpoint, numbers.end.min(end), query.state)? {
            heads.push(DeliveryId { endpoint, sequence });
        }
    }
    let (mut items, mut looked_at) = (Vec::new(), 0);
    while let Some(at) = (0..heads.len()).max_by_key(|at| (heads[*at].sequence, heads[*at].endpoint)) {
        let id = heads[at];
        if id.sequence < numbers.start {
            break;
        }
        match latest_below(conn, id.endpoint, id.sequence, query.state)? {
            Some(sequence) => heads[at].sequence = sequence,
            None => drop(heads.swap_remove(at)),
        }
        looked_at += 1;
        if let Some(delivery) = one(conn, id, limits::ATTEMPTS_LISTED)?.filter(|delivery| matches(query, delivery)) {
            items.push(delivery);
        }
        if items.len() == query.page.limit || looked_at == limits::SCAN_MAX / 10 {
            return Ok(Listed { items, next: Some(id) });
        }
    }
    Ok(Listed { items, next: None })
}

fn matches(query: &DeliveryQuery, delivery: &Delivery) -> bool {
    query.state.is_none_or(|state| delivery.state == state)
        && query.event_type.as_deref().is_none_or(|event_type| &*delivery.event.event_type == event_type)
        && query.recharge.is_none_or(|recharge| delivery.event.recharge() == Some(recharge))
}

fn endpoints_of(conn: Conn, stream: StreamId) -> Result<Vec<EndpointId>, StoreError> {
    conn.all("SELECT id FROM endpoint WHERE stream = ?1", params![stream.get()], |row| row.get(0).map(EndpointId::new))
}

/// The highest number below `end` of which an endpoint has a run that may be in this state.
fn latest_below(conn: Conn, endpoint: EndpointId, end: i64, state: Option<DeliveryState>) -> Result<Option<i64>, StoreError> {
    const OPEN: &str = "SELECT max(sequence) FROM open_delivery WHERE endpoint = ?1 AND sequence < ?2";
    const ENDED: &str = "SELECT max(sequence) FROM ended_delivery WHERE endpoint = ?1 AND sequence < ?2";
    const UNLUCKY: &str = "SELECT max(sequence) FROM ended_delivery WHERE endpoint = ?1 AND sequence < ?2 AND state = ?3 AND state <> 1";
    let latest = |sql| -> Result<Option<i64>, StoreError> { conn.one(sql, params![endpoint.get(), end], |row| row.get(0)) };
    match state {
        Some(DeliveryState::Pending) => latest(OPEN),
        Some(DeliveryState::Succeeded) => latest(ENDED),
        Some(state) => {
            let values = params![endpoint.get(), end, state as i64];
            conn.one(UNLUCKY, values, |row| row.get(0))
        }
        None => Ok(latest(OPEN)?.max(latest(ENDED)?)),
    }
}

// Of an endpoint that has been down for long the table has very many rows, few of them in its indexes. Without figures
// about that the planner would walk through all of them to be spared a sort, so that it is told which index to use.
macro_rules! open_columns {
    ($rest:literal) => {
        open_columns!("open_delivery o", $rest)
    };
    ($from:literal, $rest:literal) => {
        concat!(
            "SELECT o.sequence, o.run, o.attempts, o.deadline, o.next_attempt_at, o.failed_since, e.type, e.created_at, e.facts, o.replay \
             FROM ",
            $from,
            " CROSS JOIN event e ON e.stream = ?2 AND e.sequence = o.sequence WHERE o.endpoint = ?1 AND ",
            $rest
        )
    };
}

pub(super) fn open_runs(conn: Conn, endpoint: EndpointId, asks: &[OpenAsk], now: Timestamp) -> Result<OpenRuns, StoreError> {
    let place = place(conn, endpoint)?;
    let page = |ask: &OpenAsk| place.map_or_else(|| Ok(OpenPage::default()), |place| open_page(conn, (endpoint, place), *ask));
    Ok(OpenRuns { pages: asks.iter().map(page).collect::<Result<_>>()?, next_due: next_due(conn, endpoint, now)? })
}

fn open_page(conn: Conn, (endpoint, place): (EndpointId, Place), OpenAsk { query, portion }: OpenAsk) -> Result<OpenPage> {
    let (id, of, limit) = (endpoint.get(), place.stream.get(), portion.rows as i64);
    const FRESH: &str = open_columns!("o.sequence > ?3 AND o.next_attempt_at IS NULL ORDER BY o.sequence LIMIT ?4");
    const DUE: &str = open_columns!(
        "open_delivery o INDEXED BY open_delivery_due",
        "o.replay IS NULL AND o.next_attempt_at <= ?3 ORDER BY o.next_attempt_at LIMIT ?4"
    );
    const ALL: &str =
        open_columns!("(o.sequence, o.run) > (?3, ?4) AND o.sequence <= ?5 AND o.replay IS NULL ORDER BY o.sequence, o.run LIMIT ?6");
    // Chosen before their events are read: of very many that are due only a few are taken at once.
    const REPLAYED: &str = open_columns!(
        "(SELECT * FROM open_delivery INDEXED BY open_delivery_replayed WHERE endpoint = ?1 AND replay IS NOT NULL \
          AND (sequence, run) > (?3, ?4) AND (next_attempt_at <= ?5 OR failed_since > ?6) ORDER BY sequence, run LIMIT ?7) o",
        "true ORDER BY o.sequence, o.run"
    );
    const STRICT: &str =
        open_columns!("o.run = 1 AND o.replay IS NULL AND (o.failed_since IS NULL OR o.failed_since > ?3) ORDER BY o.sequence LIMIT ?4");
    const BESIDE: &str = open_columns!(
        "open_delivery o INDEXED BY open_delivery_due",
        "o.replay IS NULL AND o.next_attempt_at <= ?4 AND (o.run > 1 OR o.failed_since <= ?3) ORDER BY o.sequence, o.run LIMIT ?5"
    );
    let mut page = OpenPage::default();
    let (bytes, mut read) = (i64::try_from(portion.bytes).unwrap_or(i64::MAX), 0);
    let take = |row: &Row| {
        read += row.text(8)?.len();
        page.runs.push(read_open(row, endpoint, place)?);
        Ok(if read > portion.bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    match query {
        OpenQuery::Fresh { after } => conn.within(FRESH, params![id, of, after, limit], bytes, take),
        OpenQuery::Due { now } => conn.within(DUE, params![id, of, now.as_millis(), limit], bytes, take),
        OpenQuery::Replayed { after: (sequence, run), due, failed_after } => {
            let values = params![id, of, sequence, run, due.as_millis(), failed_after.map(Timestamp::as_millis), limit];
            conn.within(REPLAYED, values, bytes, take)
        }
        OpenQuery::All { after: (sequence, run), up_to } => conn.within(ALL, params![id, of, sequence, run, up_to, limit], bytes, take),
        OpenQuery::Strict { stepped_aside } => conn.within(STRICT, params![id, of, stepped_aside.as_millis(), limit], bytes, take),
        OpenQuery::Beside { stepped_aside, now } => {
            let values = params![id, of, stepped_aside.as_millis(), now.as_millis(), limit];
            conn.within(BESIDE, values, bytes, take)
        }
    }?;
    page.more = page.runs.len() == portion.rows || read > portion.bytes;
    Ok(page)
}

/// Reads by place, not by name: this is the one read on the way of a delivery that did not fit into memory.
fn read_open(row: &Row, endpoint: EndpointId, Place { stream, mode, pauses }: Place) -> Result<OpenRun> {
    let sequence = row.get(0)?;
    let (event_type, facts) = (row.text(6)?, row.text(8)?);
    let event = Event::restore(EventId { stream, sequence }, mode, event_type, row.get(7)?, facts).map_err(|error| bad("facts", error))?;
    Ok(OpenRun {
        key: RunKey { endpoint, sequence, run: row.get(1)? },
        event: Arc::new(event),
        attempts: row.get(2)?,
        deadline: pauses.deadline(row.get(3)?),
        next_attempt_at: row.get(4)?,
        failed_since: row.get(5)?,
        replay: row.get::<Option<i64>>(9)?.map(ReplayId::new),
    })
}

macro_rules! expired_columns {
    ($rest:literal) => {
        expired_columns!("open_delivery", $rest)
    };
    ($from:literal, $rest:literal) => {
        concat!("SELECT sequence, run, attempts, deadline, next_attempt_at, replay FROM ", $from, " WHERE endpoint = ?1 AND ", $rest)
    };
}

fn next_due(conn: Conn, endpoint: EndpointId, now: Timestamp) -> Result<Option<Timestamp>> {
    const NEXT: &str = "SELECT min(at) FROM ( \
        SELECT min(next_attempt_at) AS at FROM open_delivery WHERE endpoint = ?1 AND next_attempt_at > ?2 AND replay IS NULL \
        UNION ALL SELECT min(next_attempt_at) FROM open_delivery WHERE endpoint = ?1 AND next_attempt_at > ?2 AND replay IS NOT NULL) n";
    conn.one(NEXT, params![endpoint.get(), now.as_millis()], |row| row.get(0))
}

pub(super) fn backlogs(conn: Conn, after: Option<EndpointId>, limit: usize) -> Result<Vec<Backlog>, StoreError> {
    const NEXT: &str = "SELECT endpoint FROM open_delivery WHERE endpoint > ?1 ORDER BY endpoint LIMIT 1";
    let mut backlogs: Vec<Backlog> = Vec::new();
    while backlogs.len() < limit {
        let after = backlogs.last().map(|last| last.endpoint).or(after).map_or(-1, EndpointId::get);
        let Some(next) = conn.first(NEXT, params![after], |row| row.get(0))? else { break };
        let endpoint = EndpointId::new(next);
        backlogs.push(Backlog { endpoint, first_deadline: first_deadline(conn, endpoint)? });
    }
    Ok(backlogs)
}

/// The deadline that passes first. Those of first runs grow with their numbers; resends and replays have their own.
fn first_deadline(conn: Conn, endpoint: EndpointId) -> Result<Timestamp, StoreError> {
    const FIRST: &str = "SELECT min(deadline) FROM ( \
        SELECT * FROM (SELECT deadline FROM open_delivery WHERE endpoint = ?1 AND run = 1 AND replay IS NULL ORDER BY sequence LIMIT 1) f \
        UNION ALL SELECT deadline FROM open_delivery INDEXED BY open_delivery_due \
            WHERE endpoint = ?1 AND next_attempt_at IS NOT NULL AND replay IS NULL AND run > 1 \
        UNION ALL SELECT deadline FROM open_delivery INDEXED BY open_delivery_replayed WHERE endpoint = ?1 AND replay IS NOT NULL) d";
    let pauses = place(conn, endpoint)?.map(|place| place.pauses).unwrap_or_default();
    let stored: Option<i64> = conn.one(FIRST, params![endpoint.get()], |row| row.get(0))?;
    Ok(pauses.deadline(stored.unwrap_or(i64::MAX)))
}

pub(super) fn expired(conn: Conn, endpoint: EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Expired>, StoreError> {
    // Deadlines of first runs grow with their numbers, so that the first one still in time ends the search; resends and
    // replays are few, and all of them stand in the indexes of what waits for a time.
    const FIRST: &str = expired_columns!("run = 1 AND replay IS NULL ORDER BY sequence LIMIT ?2");
    const RESENT: &str = expired_columns!(
        "open_delivery INDEXED BY open_delivery_due",
        "next_attempt_at IS NOT NULL AND replay IS NULL AND run > 1 AND deadline <= ?3 LIMIT ?2"
    );
    const REPLAYED: &str =
        expired_columns!("open_delivery INDEXED BY open_delivery_replayed", "replay IS NOT NULL AND deadline <= ?3 LIMIT ?2");
    let Some(Place { pauses, .. }) = place(conn, endpoint)? else { return Ok(Vec::new()) };
    let read = |row: &Row| read_expired(row, endpoint, pauses);
    let mut expired = Vec::new();
    conn.each(FIRST, params![endpoint.get(), limit], |row| {
        let run = read(row)?;
        if run.deadline > now {
            return Ok(ControlFlow::Break(()));
        }
        expired.push(run);
        Ok(ControlFlow::Continue(()))
    })?;
    for sql in [RESENT, REPLAYED] {
        expired.append(&mut conn.all(sql, params![endpoint.get(), limit, pauses.passed(now)], read)?);
    }
    expired.truncate(limit);
    Ok(expired)
}

/// Open runs of an endpoint up to a number, or of a replay, to be cancelled.
pub(super) fn to_cancel(conn: Conn, endpoint: EndpointId, what: ToCancel, limit: usize) -> Result<Vec<Expired>, StoreError> {
    const UP_TO: &str = expired_columns!("sequence <= ?3 ORDER BY sequence, run LIMIT ?2");
    const ONE: &str = expired_columns!("sequence = ?3 LIMIT ?2");
    const REPLAYED: &str =
        expired_columns!("open_delivery INDEXED BY open_delivery_replayed", "replay IS NOT NULL AND replay = ?3 LIMIT ?2");
    let Some(Place { pauses, .. }) = place(conn, endpoint)? else { return Ok(Vec::new()) };
    let (sql, key) = match what {
        ToCancel::UpTo(sequence) => (UP_TO, sequence),
        ToCancel::One(sequence) => (ONE, sequence),
        ToCancel::Replay(replay) => (REPLAYED, replay.get()),
    };
    let read = |row: &Row| read_expired(row, endpoint, pauses);
    conn.all(sql, params![endpoint.get(), limit, key], read)
}

/// Which open runs are cancelled.
#[derive(Debug, Clone, Copy)]
pub(super) enum ToCancel {
    UpTo(i64),
    One(i64),
    Replay(ReplayId),
}

fn read_expired(row: &Row, endpoint: EndpointId, pauses: Pauses) -> Result<Expired> {
    Ok(Expired {
        key: RunKey { endpoint, sequence: row.get(0)?, run: row.get(1)? },
        attempts: row.get(2)?,
        deadline: pauses.deadline(row.get(3)?),
        next_attempt_at: row.get(4)?,
        replay: row.get::<Option<i64>>(5)?.map(ReplayId::new),
    })
}

/// How many runs an endpoint has open after a key, up to a bound, and the last of them.
pub(super) fn count_open(conn: Conn, endpoint: EndpointId, after: i64) -> Result<(u64, Option<i64>), StoreError> {
    const COUNT: &str = "SELECT count(*), max(sequence) FROM \
        (SELECT sequence FROM open_delivery WHERE endpoint = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3) o";
    let values = params![endpoint.get(), after, limits::SCAN_MAX];
    let (count, last): (u64, Option<i64>) = conn.one(COUNT, values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((count, last.filter(|_| count as usize == limits::SCAN_MAX)))
}

/// When the event of an endpoint's first open run was made.
pub(super) fn oldest_open(conn: Conn, endpoint: EndpointId) -> Result<Option<Timestamp>, StoreError> {
    let Some(Place { stream, .. }) = place(conn, endpoint)? else { return Ok(None) };
    const OLDEST: &str = "SELECT e.created_at FROM open_delivery o CROSS JOIN event e ON e.stream = ?2 AND e.sequence = o.sequence \
        WHERE o.endpoint = ?1 ORDER BY o.sequence LIMIT 1";
    conn.first(OLDEST, params![endpoint.get(), stream.get()], |row| row.get(0))
}
