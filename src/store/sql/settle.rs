//! What an attempt came to, and new runs.

use super::accept::Batch;
use super::conn::{Conn, Result, params};
use super::{deliveries, health, rows};
use crate::domain::attempt::{Attempt, Outcome, OutcomeKind};
use crate::domain::delivery::{DeliveryState, EndReason, RunKey};
use crate::domain::endpoint::EndpointStatus;
use crate::domain::id::{DeliveryId, ReplayId};
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::{Expired, NextStep, RecordOutcome, Resent, Settled, StoreError};

/// Records an outcome: the attempt appended, the run moved or ended, and what it says about the endpoint. One whose
/// first commit was of unknown outcome may come twice, and is no news then.
pub(super) fn settle(batch: &mut Batch, settle: &RecordOutcome) -> Result<Settled, StoreError> {
    let without = batch.erased.without(settle);
    let settle = without.as_ref().unwrap_or(settle);
    if !settle.is_fact() && !batch.ahead.stands(settle) {
        return late(batch, settle);
    }
    match settle.after {
        NextStep::Ended(state, reason) => end(batch, settle, state, reason),
        NextStep::Retry { at, failed_since } => retry(batch, settle, at, failed_since),
    }
}

fn end(batch: &mut Batch, settle: &RecordOutcome, state: DeliveryState, reason: Option<EndReason>) -> Result<Settled, StoreError> {
    let closed = match batch.ahead.closed.remove(&settle.key) {
        Some(closed) => Some(closed),
        None => close(batch.conn, settle.key)?,
    };
    let Some(Closed { failed_since }) = closed else { return late(batch, settle) };
    append_ended(batch.conn, settle, state, reason.map(|reason| reason as i64))?;
    count_replayed(batch.conn, settle.replay)?;
    is_news(batch, settle, Settled::Recorded)?;
    health::ended(batch, settle, failed_since)?;
    Ok(Settled::Recorded)
}

fn retry(batch: &mut Batch, settle: &RecordOutcome, at: Timestamp, failed_since: Timestamp) -> Result<Settled, StoreError> {
    const MOVE: &str = "UPDATE open_delivery SET attempts = ?4, next_attempt_at = ?5, failed_since = ?6 \
        WHERE endpoint = ?1 AND sequence = ?2 AND run = ?3";
    let (endpoint, sequence, run) = key(settle.key);
    let values = params![endpoint, sequence, run, settle.attempts, at.as_millis(), failed_since.as_millis()];
    if batch.conn.execute(MOVE, values)? == 0 {
        return late(batch, settle);
    }
    if let Some(attempt) = &settle.attempt
        && append_attempt(batch.conn, settle.key, attempt)?
    {
        is_news(batch, settle, Settled::Recorded)?;
    }
    Ok(Settled::Recorded)
}

/// The run had ended before (it was cancelled while the request was under way), or another node decides what follows: what
/// happened is kept all the same.
fn late(batch: &mut Batch, settle: &RecordOutcome) -> Result<Settled, StoreError> {
    if append_late(batch.conn, settle)? {
        is_news(batch, settle, Settled::Late)?;
    }
    Ok(Settled::Late)
}

fn is_news(batch: &mut Batch, settle: &RecordOutcome, settled: Settled) -> Result<(), StoreError> {
    batch.count_attempt(settle);
    health::learn(batch, settle, settled)
}

/// A run that was open.
pub(super) struct Closed {
    /// When its first attempt failed, if one had.
    pub failed_since: Option<Timestamp>,
}

/// Most have never failed. `RETURNING` would have SQLite make a table for what it returns, each time.
const CLOSE_UNFAILED: &str = "DELETE FROM open_delivery WHERE endpoint = ?1 AND sequence = ?2 AND run = ?3 AND failed_since IS NULL";

/// Ends a run that is taken to be open, and not to have failed.
pub(super) fn claim(conn: Conn, run: RunKey) -> Result<()> {
    let (endpoint, sequence, run) = key(run);
    conn.claim(CLOSE_UNFAILED, params![endpoint, sequence, run])
}

fn close(conn: Conn, run: RunKey) -> Result<Option<Closed>, StoreError> {
    const SINCE: &str = "SELECT failed_since FROM open_delivery WHERE endpoint = ?1 AND sequence = ?2 AND run = ?3 /*FOR UPDATE*/";
    const CLOSE: &str = "DELETE FROM open_delivery WHERE endpoint = ?1 AND sequence = ?2 AND run = ?3";
    let (endpoint, sequence, run) = key(run);
    let place = params![endpoint, sequence, run];
    if conn.execute(CLOSE_UNFAILED, place)? == 1 {
        return Ok(Some(Closed { failed_since: None }));
    }
    let closed = conn.first(SINCE, place, |row| Ok(Closed { failed_since: row.get(0)? }))?;
    if closed.is_some() {
        conn.execute(CLOSE, place)?;
    }
    Ok(closed)
}

fn count_replayed(conn: Conn, replay: Option<ReplayId>) -> Result<(), StoreError> {
    if let Some(replay) = replay {
        conn.later("UPDATE replay SET done = done + 1 WHERE id = ?1", params![replay.get()])?;
    }
    Ok(())
}

/// Ends an open run without an attempt, because a person asked for it. An attempt that is under way is recorded all the
/// same when it comes back.
pub(super) fn cancel(conn: Conn, run: &Expired, now: Timestamp) -> Result<(), StoreError> {
    let Expired { key, attempts, deadline, replay, .. } = *run;
    let (state, reason) = (DeliveryState::Cancelled, EndReason::Requested);
    let after = NextStep::Ended(state, Some(reason));
    close(conn, key)?;
    append_ended(
        conn,
        &RecordOutcome { key, attempt: None, attempts, deadline, now, after, replay, latency: None, epoch: 0 },
        state,
        Some(reason as i64),
    )?;
    count_replayed(conn, replay)
}

/// Keeps an attempt of a run that has ended; answers whether it was not there yet. Where it succeeded, a cancelled run did.
fn append_late(conn: Conn, settle: &RecordOutcome) -> Result<bool, StoreError> {
    let Some(attempt) = &settle.attempt else { return Ok(false) };
    const SAME: &str =
        "SELECT 1 FROM ended_delivery WHERE endpoint = ?1 AND sequence = ?2 AND run = ?3 AND attempts = ?4 AND started_at = ?5";
    let (endpoint, sequence, run) = key(settle.key);
    let same = params![endpoint, sequence, run, attempt.number, attempt.started_at.as_millis()];
    if conn.exists(SAME, same)? {
        return Ok(false);
    }
    if attempt.outcome.kind == OutcomeKind::Succeeded {
        const KEEP: &str = "INSERT INTO attempt SELECT endpoint, sequence, run, attempts, started_at, outcome, status, error, resolve_us, \
            connect_us, tls_us, first_byte_us, total_us, answer_headers, answer_body FROM ended_delivery \
            WHERE endpoint = ?1 AND sequence = ?2 AND run = ?3 AND state = ?4 AND started_at IS NOT NULL ON CONFLICT DO NOTHING";
        const UNEND: &str = "DELETE FROM ended_delivery WHERE endpoint = ?1 AND sequence = ?2 AND run = ?3 AND state = ?4";
        let cancelled = DeliveryState::Cancelled as i64;
        conn.execute(KEEP, params![endpoint, sequence, run, cancelled])?;
        if conn.execute(UNEND, params![endpoint, sequence, run, cancelled])? == 1 {
            append_ended(conn, settle, DeliveryState::Succeeded, None)?;
            return Ok(true);
        }
    }
    append_attempt(conn, settle.key, attempt)
}

fn key(key: RunKey) -> (i64, i64, u32) {
    (key.endpoint.get(), key.sequence, key.run)
}

fn append_ended(conn: Conn, settle: &RecordOutcome, state: DeliveryState, reason: Option<i64>) -> Result<(), StoreError> {
    const APPEND: &str = "INSERT INTO ended_delivery (endpoint, sequence, run, state, end_reason, attempts, deadline, ended_at, started_at, \
        outcome, status, error, resolve_us, connect_us, tls_us, first_byte_us, total_us, answer_headers, answer_body) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
    let (endpoint, sequence, run) = key(settle.key);
    let outcome: Option<&Outcome> = settle.attempt.as_ref().map(|attempt| &attempt.outcome);
    let phases = outcome.map(|outcome| outcome.phases);
    conn.insert(
        APPEND,
        params![
            endpoint,
            sequence,
            run,
            state as i64,
            reason,
            settle.attempts,
            settle.deadline.as_millis(),
            settle.now.as_millis(),
            settle.attempt.as_ref().map(|attempt| attempt.started_at.as_millis()),
            outcome.map(|outcome| outcome.kind as i64),
            outcome.and_then(|outcome| outcome.status),
            outcome.and_then(|outcome| outcome.error.as_deref()),
            phases.and_then(|phases| phases.resolve),
            phases.and_then(|phases| phases.connect),
            phases.and_then(|phases| phases.tls),
            phases.and_then(|phases| phases.first_byte),
            phases.map(|phases| phases.total),
            outcome.and_then(|outcome| outcome.answer_headers.as_deref()),
            outcome.and_then(|outcome| outcome.answer_body.as_deref()),
        ],
    )?;
    Ok(())
}

/// Appends an attempt, unless it is there already; answers whether it was not. Where another node made one of the same number
/// meanwhile, it gets the next free one.
fn append_attempt(conn: Conn, run: RunKey, attempt: &Attempt) -> Result<bool, StoreError> {
    if append_as(conn, run, attempt, attempt.number)? {
        return Ok(true);
    }
    const SAME: &str = "SELECT 1 FROM attempt WHERE endpoint = ?1 AND sequence = ?2 AND run = ?3 AND started_at = ?4";
    const NEXT: &str = "SELECT max(number) + 1 FROM attempt WHERE endpoint = ?1 AND sequence = ?2 AND run = ?3";
    let (endpoint, sequence, of_run) = key(run);
    if conn.exists(SAME, params![endpoint, sequence, of_run, attempt.started_at.as_millis()])? {
        return Ok(false);
    }
    let next: u32 = conn.one(NEXT, params![endpoint, sequence, of_run], |row| row.get(0))?;
    append_as(conn, run, attempt, next)
}

fn append_as(conn: Conn, run: RunKey, attempt: &Attempt, number: u32) -> Result<bool, StoreError> {
    const APPEND: &str = "INSERT INTO attempt (endpoint, sequence, run, number, started_at, outcome, status, error, resolve_us, connect_us, \
        tls_us, first_byte_us, total_us, answer_headers, answer_body) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING";
    let (endpoint, sequence, run) = key(run);
    let Outcome { kind, status, error, phases, answer_headers, answer_body, address: _, retry_after: _ } = &attempt.outcome;
    let appended = conn.execute(
        APPEND,
        params![
            endpoint,
            sequence,
            run,
            number,
            attempt.started_at.as_millis(),
            *kind as i64,
            status,
            error,
            phases.resolve,
            phases.connect,
            phases.tls,
            phases.first_byte,
            phases.total,
            answer_headers,
            answer_body,
        ],
    )?;
    Ok(appended == 1)
}

/// Starts a new run of a delivery, due at once.
pub(super) fn resend(conn: Conn, id: DeliveryId, now: Timestamp, deadline: Timestamp) -> Result<Resent, StoreError> {
    const STATUS: &str = "SELECT status FROM endpoint WHERE id = ?1 AND deleted_at IS NULL";
    let status = conn.first(STATUS, params![id.endpoint.get()], |row| rows::word(row, "status", &EndpointStatus::ALL))?;
    let (Some(status), Some(mut delivery)) = (status, deliveries::one(conn, id, limits::ATTEMPTS_SHOWN)?) else {
        return Ok(Resent::Unknown);
    };
    if delivery.state == DeliveryState::Pending {
        return Ok(Resent::StillPending);
    }
    if !status.listens() {
        return Ok(Resent::NotListening(status));
    }
    let pauses = rows::place(conn, id.endpoint)?.map(|place| place.pauses).unwrap_or_default();
    let stored = pauses.stored(now, deadline);
    delivery.run += 1;
    (delivery.state, delivery.end_reason, delivery.next_attempt_at, delivery.deadline) =
        (DeliveryState::Pending, None, Some(now), pauses.deadline(stored));
    const OPEN: &str = "INSERT INTO open_delivery (endpoint, sequence, run, deadline, next_attempt_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    conn.execute(OPEN, params![id.endpoint.get(), id.sequence, delivery.run, stored, now.as_millis()])?;
    Ok(Resent::Opened(Box::new(delivery)))
}
