//! Removing a person's data: walks over tables, a bounded step at a time.

use super::conn::{Conn, Result, Row, params};
use super::rows::place;
use super::{audit, ledger, submissions};
use crate::clock::Stopwatch;
use crate::domain::event::{Event, in_json, is_distinct, json_names, without};
use crate::domain::id::{ConflictId, DeliveryId, EventId, RechargeId, StreamId, TokenId, VendorId};
use crate::domain::json;
use crate::limits;
use crate::store::seal::Sealer;
use crate::store::{AnswerKey, RecordOutcome, StoreError, SweepPlace, Swept};

/// Numbers that were erased lately. An attempt that was under way then may come back with an answer that repeats one.
#[derive(Default)]
pub(super) struct Lately(Vec<(Stopwatch, String)>);

impl Lately {
    /// Remembers a number for as long as an attempt can take.
    pub fn add(&mut self, connection_no: &str) {
        self.forget();
        for text in [connection_no.to_owned(), in_json(connection_no)] {
            self.0.retain(|(_, known)| *known != text);
            self.0.push((Stopwatch::start(), text));
        }
    }

    /// Forgets those that no attempt under way has seen.
    pub fn forget(&mut self) {
        self.0.retain(|(since, _)| since.elapsed() < limits::ERASED_LATELY);
    }

    /// The same outcome without what the receiver answered, if that names one of them.
    pub fn without(&self, settle: &RecordOutcome) -> Option<RecordOutcome> {
        let outcome = &settle.attempt.as_ref().filter(|_| !self.0.is_empty())?.outcome;
        let headers = outcome.answer_headers.as_deref().unwrap_or_default().as_bytes();
        let body = outcome.answer_body.as_deref().unwrap_or_default();
        let names = |text: &String| [headers, body].iter().any(|part| part.windows(text.len()).any(|window| window == text.as_bytes()));
        self.0.iter().any(|(_, text)| names(text)).then(|| {
            let mut without = settle.clone();
            if let Some(attempt) = &mut without.attempt {
                (attempt.outcome.answer_headers, attempt.outcome.answer_body) = (None, None);
            }
            without
        })
    }
}

/// What has been removed is overwritten, in pages that are let go of too, where `on`; else only where that costs nothing.
fn overwrite(conn: Conn, on: bool) -> Result<(), StoreError> {
    if let Conn::Sqlite(conn, _) = conn {
        let sql = if on { "PRAGMA secure_delete = ON" } else { "PRAGMA secure_delete = FAST" };
        conn.query_row(sql, [], |_| Ok(()))?;
    }
    Ok(())
}

/// A person's number out of some of a stream's recharges (stage 0), its events (stage 1), the answers kept for requests about
/// them (stage 2), or what providers called back (stage 3).
pub(super) fn erase(
    conn: Conn,
    sealer: &Sealer,
    (stream, connection_no): (StreamId, &str),
    place: SweepPlace,
) -> Result<Swept, StoreError> {
    overwrite(conn, true)?;
    let swept = match place.stage {
        0 => recharges(conn, stream, connection_no, place.after),
        1 => events(conn, stream, connection_no, place.after),
        CALLBACKS => callbacks(conn, stream, connection_no, place.after),
        _ => kept(conn, sealer, (stream, connection_no), place.after),
    };
    overwrite(conn, false)?;
    swept
}

const CALLBACKS: u32 = 3;

fn at(stage: u32, after: i64) -> Option<SweepPlace> {
    Some(SweepPlace { stage, after, within: 0 })
}

fn recharges(conn: Conn, stream: StreamId, connection_no: &str, after: i64) -> Result<Swept, StoreError> {
    const PAGE: &str = "SELECT id, connection_no = ?2 FROM recharge WHERE stream = ?1 AND id > ?3 ORDER BY id LIMIT ?4";
    let values = params![stream.get(), connection_no, after, limits::ERASE_SCAN];
    let read = |row: &Row| Ok((row.get::<i64>(0)?, row.get::<Option<bool>>(1)?.unwrap_or(false)));
    let page = conn.all(PAGE, values, read)?;
    let mut removed = 0;
    // Some providers make their references of the number.
    let names = if is_distinct(connection_no) { "instr(provider_ref, ?2) > 0" } else { "provider_ref = ?2" };
    let its_ref = format!("provider_ref = CASE WHEN {names} THEN NULL ELSE provider_ref END");
    for (id, _) in page.iter().filter(|(_, its_own)| *its_own) {
        let recharge = format!("UPDATE recharge SET connection_no = NULL, reason = NULL, {its_ref} WHERE id = ?1");
        removed += conn.execute(&recharge, params![id, connection_no])?;
        conn.execute(&format!("UPDATE report SET reason = NULL, {its_ref} WHERE recharge = ?1"), params![id, connection_no])?;
        conn.execute("UPDATE conflict SET reason = NULL WHERE recharge = ?1 AND instr(reason, ?2) > 0", params![id, connection_no])?;
        submissions::erase(conn, *id)?;
    }
    if let Some((last, _)) = page.last().filter(|_| page.len() == limits::ERASE_SCAN) {
        return Ok(Swept { removed: removed as u64, next: at(0, *last) });
    }
    // A case about the number names it on one side. The other one may be another person's.
    const CASES: &str = "UPDATE conflict SET ours = CASE ours WHEN ?2 THEN '' ELSE ours END, theirs = CASE theirs WHEN ?2 THEN '' ELSE theirs END \
        WHERE field = 'connection_no' AND (ours = ?2 OR theirs = ?2) \
        AND (SELECT r.stream FROM recharge r WHERE r.id = conflict.recharge) = ?1";
    removed += conn.execute(CASES, params![stream.get(), connection_no])?;
    Ok(Swept { removed: removed as u64, next: at(1, 0) })
}

/// Kept answers that show what has been erased: recharges that a person settled or decided about, and deliveries that were
/// sent again, with what receivers had answered. The same request again is a new one then.
fn answers(conn: Conn, stream: StreamId) -> Result<u64, StoreError> {
    // All of them begin with a token, so that this is a few ranges of keys and not the table.
    const KEPT: &str = "SELECT k.token, k.path, k.key FROM token t JOIN kept_answer k ON k.token = t.id AND k.path > ?2 AND k.path < ?2 || '0' \
        WHERE t.vendor IS NULL OR t.vendor = (SELECT s.vendor FROM stream s WHERE s.id = ?1)";
    type Kept = (i64, String, String);
    let read = |row: &Row| -> Result<Kept> { Ok((row.get(0)?, row.get(1)?, row.get(2)?)) };
    let mut removed = 0;
    for kind in ["/v1/recharges", "/v1/conflicts", "/v1/deliveries"] {
        let values = params![stream.get(), kind];
        let kept = conn.all(KEPT, values, read)?;
        for (token, path, key) in kept {
            if shows_erased(conn, stream, &path)? {
                let gone = "DELETE FROM kept_answer WHERE token = ?1 AND path = ?2 AND key = ?3";
                removed += conn.execute(gone, params![token, path, key])?;
            }
        }
    }
    Ok(removed as u64)
}

/// Whether what a path names is of this stream, and its person's data is not there any more.
fn shows_erased(conn: Conn, stream: StreamId, path: &str) -> Result<bool, StoreError> {
    let Some(id) = path.split('/').nth(3) else { return Ok(false) };
    let found = |sql: &str, [one, other]: [i64; 2]| conn.exists(sql, params![one, other]);
    const RECHARGE: &str = "SELECT 1 FROM recharge WHERE id = ?1 AND stream = ?2 AND connection_no IS NULL";
    const CONFLICT: &str =
        "SELECT 1 FROM conflict c JOIN recharge r ON r.id = c.recharge WHERE c.id = ?1 AND r.stream = ?2 AND r.connection_no IS NULL";
    const EVENT: &str = "SELECT 1 FROM event WHERE sequence = ?1 AND stream = ?2 AND instr(facts, '\"erased\":true') > 0";
    Ok(if let Ok(recharge) = id.parse::<RechargeId>() {
        found(RECHARGE, [recharge.get(), stream.get()])?
    } else if let Ok(conflict) = id.parse::<ConflictId>() {
        found(CONFLICT, [conflict.get(), stream.get()])?
    } else if let Ok(delivery) = id.parse::<DeliveryId>() {
        let its_own = place(conn, delivery.endpoint)?.is_some_and(|place| place.stream == stream);
        its_own && found(EVENT, [delivery.sequence, stream.get()])?
    } else {
        false
    })
}

fn events(conn: Conn, stream: StreamId, connection_no: &str, after: i64) -> Result<Swept, StoreError> {
    let mode = ledger::mode_of(conn, stream)?;
    const PAGE: &str = "SELECT sequence, type, created_at, facts, instr(facts, ?2) > 0 FROM event \
        WHERE stream = ?1 AND sequence > ?3 ORDER BY sequence LIMIT ?4";
    let values = params![stream.get(), in_json(connection_no), after, limits::ERASE_SCAN];
    let read = |row: &Row| {
        let event = if row.get(4)? { Some(ledger::read_event(row, stream, mode)?) } else { None };
        Ok((row.get(0)?, event))
    };
    let page: Vec<(i64, Option<Event>)> = conn.all(PAGE, values, read)?;
    let (count, last) = (page.len(), page.last().map_or(after, |(last, _)| *last));
    let mut removed = 0;
    for event in page.into_iter().filter_map(|(_, event)| event) {
        removed += u64::from(erase_event(conn, &event, connection_no)?);
    }
    if count == limits::ERASE_SCAN {
        return Ok(Swept { removed, next: at(1, last) });
    }
    Ok(Swept { removed: removed + answers(conn, stream)?, next: at(2, i64::MIN) })
}

/// Whether an answer to the operator may be about this vendor: it says so, or does not say about which.
fn may_be_about(answer: &[u8], vendor: VendorId) -> bool {
    let says = json::parse(answer).ok().and_then(|answer| answer["vendor_id"].as_str().map(str::to_owned));
    says.is_none_or(|says| says == vendor.to_string())
}

/// Kept answers that repeat the number, whatever they are about: those of the vendor's tokens, and of the operator's. They are
/// sealed, so that each has to be opened. The same request again is a new one then.
fn kept(conn: Conn, sealer: &Sealer, (stream, connection_no): (StreamId, &str), after: i64) -> Result<Swept, StoreError> {
    const COLUMNS: &str = "SELECT k.token, k.path, k.key, k.answer, t.vendor, k.kept_at FROM kept_answer k LEFT JOIN token t ON t.id = k.token \
        WHERE (t.vendor IS NULL OR t.vendor = (SELECT s.vendor FROM stream s WHERE s.id = ?1))";
    let read = |row: &Row| {
        let key = AnswerKey { token: TokenId::new(row.get(0)?), path: row.get(1)?, key: row.get(2)? };
        Ok((key, (row.get::<Vec<u8>>(3)?, row.get::<Option<i64>>(4)?), row.get::<i64>(5)?))
    };
    let vendor = conn.one("SELECT vendor FROM stream WHERE id = ?1", params![stream.get()], |row| row.get(0).map(VendorId::new))?;
    let page = format!("{COLUMNS} AND k.kept_at > ?2 ORDER BY k.kept_at LIMIT ?3");
    let mut page = conn.all(&page, params![stream.get(), after, limits::SWEEP_STEP_ROWS], read)?;
    let last = page.last().filter(|_| page.len() == limits::SWEEP_STEP_ROWS).map(|(_, _, kept_at)| *kept_at);
    if let Some(last) = last {
        // All of the last moment, of which the page may have had a part.
        page.retain(|(_, _, kept_at)| *kept_at < last);
        page.extend(conn.all(&format!("{COLUMNS} AND k.kept_at = ?2"), params![stream.get(), last], read)?);
    }
    let mut removed = 0;
    for (key, (answer, token_of), _) in page {
        let answer = audit::opened(sealer, &key, &answer)?;
        if json_names(answer.expose(), connection_no) && (token_of.is_some() || may_be_about(answer.expose(), vendor)) {
            let values = params![key.token.get(), key.path, key.key];
            removed += conn.execute("DELETE FROM kept_answer WHERE token = ?1 AND path = ?2 AND key = ?3", values)?;
        }
    }
    Ok(Swept { removed: removed as u64, next: last.map_or_else(|| at(CALLBACKS, 0), |last| at(2, last)) })
}

/// What providers called back about this stream's recharges, or about none that is known. A callback's own number is masked before
/// it is kept; others stand in callbacks of which nothing is known.
fn callbacks(conn: Conn, stream: StreamId, connection_no: &str, after: i64) -> Result<Swept, StoreError> {
    const PAGE: &str = "SELECT id, CASE WHEN instr(body, ?2) > 0 \
            AND (recharge IS NULL OR (SELECT r.stream FROM recharge r WHERE r.id = callback.recharge) = ?1) THEN body END AS body \
        FROM callback WHERE id > ?3 ORDER BY id LIMIT ?4";
    let values = params![stream.get(), in_json(connection_no), after, limits::ERASE_SCAN];
    let page = conn.all(PAGE, values, |row: &Row| Ok((row.get::<i64>(0)?, row.get::<Option<String>>(1)?)))?;
    let last = page.last().filter(|_| page.len() == limits::ERASE_SCAN).map(|(last, _)| *last);
    let mut removed = 0;
    for (id, body) in page {
        if let Some(body) = body.filter(|body| json_names(body.as_bytes(), connection_no)) {
            let values = params![id, without(&body, connection_no)];
            removed += conn.execute("UPDATE callback SET body = ?2 WHERE id = ?1", values)?;
        }
    }
    Ok(Swept { removed: removed as u64, next: last.and_then(|last| at(CALLBACKS, last)) })
}

/// The event stays as a tombstone; what receivers answered to it may repeat it, so that this goes too.
fn erase_event(conn: Conn, event: &Event, connection_no: &str) -> Result<bool, StoreError> {
    let Some(erased) = event.erased(connection_no) else { return Ok(false) };
    let EventId { stream, sequence } = event.id;
    let values = params![stream.get(), sequence, erased.stored_facts()];
    conn.execute("UPDATE event SET facts = ?3 WHERE stream = ?1 AND sequence = ?2", values)?;
    for table in ["ended_delivery", "attempt"] {
        let sql = format!(
            "UPDATE {table} SET answer_headers = NULL, answer_body = NULL \
             WHERE sequence = ?2 AND endpoint IN (SELECT id FROM endpoint WHERE stream = ?1) AND (answer_body IS NOT NULL OR answer_headers IS NOT NULL)"
        );
        conn.execute(&sql, params![stream.get(), sequence])?;
    }
    Ok(true)
}
