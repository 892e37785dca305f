//! Recharges that Ringback has executed: placed, handed to their providers, enquired about.

use std::time::Duration;

use super::accept::Batch;
use super::conn::{Conn, Result, Row, params};
use super::ledger::{read_recharge, recharge_columns};
use super::rows::{bad, page};
use super::{health, references};
use crate::clock::Ids;
use crate::domain::alert::Alert;
use crate::domain::id::{RechargeId, StreamId};
use crate::domain::recharge::{Recharge, Status};
use crate::domain::submission::{Next, Order, Submission};
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::{Accept, Addressed, Callback, Listed, Page, Place, Placed, RechargeKey, RechargeOwner, StoreError, TimeRange};

const COLUMNS: &str = "r.*, s.wanted, s.sent_at, s.asked, s.stuck_at";

fn read(row: &Row) -> Result<Submission> {
    Ok(Submission {
        recharge: read_recharge(row)?,
        order: read_order(row)?,
        sent_at: row.get("sent_at")?,
        asked: row.get("asked")?,
        stuck_at: row.get("stuck_at")?,
    })
}

fn read_order(row: &Row) -> Result<Order> {
    serde_json::from_str(row.text("wanted")?).map_err(|error| bad("wanted", error))
}

fn written(order: &Order) -> String {
    serde_json::to_string(order).expect("numbers and strings always serialize")
}

/// Makes a queued recharge that is to be handed to its provider at once, unless its reference is taken.
pub(super) fn place(batch: &mut Batch, place: &Place, now: Timestamp) -> Result<Placed, StoreError> {
    let Place { stream, mode, report, order, provider } = place;
    if let Some((before, _)) = references::recharge(batch.conn, *stream, &report.reference_no)? {
        const WANTED: &str = "SELECT wanted FROM submission WHERE recharge = ?1";
        let wanted = batch.conn.first(WANTED, params![before.id.get()], read_order)?;
        return Ok(if wanted.as_ref() == Some(order) { Placed::Before(Box::new(before)) } else { Placed::Taken });
    }
    let addressed = Addressed { stream: *stream, mode: *mode, report: report.clone() };
    // A queued recharge has no event, and so no runs and no deadline.
    batch.accept(&Accept { source: "vendor", now, deadline: Duration::ZERO, reports: vec![addressed] })?;
    let Some((made, _)) = references::recharge(batch.conn, *stream, &report.reference_no)? else {
        return Err(StoreError::Damaged("a recharge that was just made is not there".to_owned()));
    };
    const SUBMIT: &str = "INSERT INTO submission (recharge, transaction_id, provider, wanted, next_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    batch.conn.execute(SUBMIT, params![made.id.get(), made.transaction_id, provider, written(order), now.as_millis()])?;
    Ok(Placed::New(Box::new(made)))
}

/// Whether anything is to be done for a provider now.
pub(super) fn due(conn: Conn, provider: &str, with_new: bool, now: Timestamp) -> Result<bool, StoreError> {
    const DUE: &str =
        "SELECT 1 FROM submission WHERE provider = ?1 AND next_at <= ?2 AND (CAST(?3 AS BIGINT) = 1 OR sent_at IS NOT NULL) LIMIT 1";
    conn.exists(DUE, params![provider, now.as_millis(), i64::from(with_new)])
}

/// What is to be done for a provider now. What is new counts as handed over from this moment; whatever is taken is looked at
/// again after `hold`, if nobody says anything before.
pub(super) fn take(
    conn: Conn,
    provider: &str,
    (with_new, hold, limit): (bool, Duration, usize),
    now: Timestamp,
) -> Result<Vec<Submission>, StoreError> {
    const DUE: &str = "SELECT recharge FROM submission WHERE provider = ?1 AND next_at <= ?2 AND (CAST(?3 AS BIGINT) = 1 OR sent_at IS NOT NULL) \
        ORDER BY next_at LIMIT ?4 /*FOR UPDATE*/";
    let due = conn.all(DUE, params![provider, now.as_millis(), i64::from(with_new), limit], |row| row.get::<i64>(0))?;
    let mut taken = Vec::new();
    for recharge in due {
        let Some(submission) = one(conn, RechargeId::new(recharge))?.filter(|found| found.recharge.status == Status::Queued) else {
            go_on(conn, RechargeId::new(recharge), Next::Over, 0)?;
            continue;
        };
        const TAKE: &str = "UPDATE submission SET sent_at = coalesce(sent_at, ?2), next_at = ?3 WHERE recharge = ?1";
        conn.execute(TAKE, params![recharge, now.as_millis(), now.plus(hold).as_millis()])?;
        taken.push(submission);
    }
    Ok(taken)
}

/// Says what follows for a submission.
pub(super) fn follow(batch: &Batch, recharge: RechargeId, next: Next, asked: u32, now: Timestamp) -> Result<bool, StoreError> {
    let moved = go_on(batch.conn, recharge, next, asked)?;
    if next == Next::Stuck {
        batch.conn.execute("UPDATE submission SET stuck_at = ?2 WHERE recharge = ?1", params![recharge.get(), now.as_millis()])?;
        if let Some(submission) = one(batch.conn, recharge)? {
            health::alert_about(batch, &submission.recharge, |of| Alert::stuck(of, &submission), now)?;
        }
    }
    Ok(moved)
}

fn go_on(conn: Conn, recharge: RechargeId, next: Next, asked: u32) -> Result<bool, StoreError> {
    const SUBMIT: &str = "UPDATE submission SET sent_at = NULL, next_at = ?2 WHERE recharge = ?1";
    const ENQUIRE: &str = "UPDATE submission SET next_at = ?2, asked = ?3 WHERE recharge = ?1";
    const REST: &str = "UPDATE submission SET next_at = NULL WHERE recharge = ?1";
    let changed = match next {
        Next::Submit(at) => conn.execute(SUBMIT, params![recharge.get(), at.as_millis()])?,
        Next::Enquire(at) => conn.execute(ENQUIRE, params![recharge.get(), at.as_millis(), asked])?,
        Next::Stuck | Next::Over => conn.execute(REST, params![recharge.get()])?,
    };
    Ok(changed == 1)
}

/// Has a submission that is still queued enquired about now.
pub(super) fn ask_now(conn: Conn, recharge: RechargeId, now: Timestamp) -> Result<bool, StoreError> {
    const NOW: &str = "UPDATE submission SET next_at = ?2 WHERE recharge = ?1 AND sent_at IS NOT NULL";
    Ok(conn.execute(NOW, params![recharge.get(), now.as_millis()])? == 1)
}

pub(super) fn one(conn: Conn, recharge: RechargeId) -> Result<Option<Submission>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM submission s JOIN recharge r ON r.id = s.recharge WHERE s.recharge = ?1");
    conn.first(&sql, params![recharge.get()], read)
}

/// Those that nobody could tell anything about, the newest first.
pub(super) fn stuck(conn: Conn, query: Page<RechargeId>) -> Result<Listed<Submission, RechargeId>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM submission s JOIN recharge r ON r.id = s.recharge WHERE s.stuck_at IS NOT NULL AND s.recharge < ?1 \
         ORDER BY s.recharge DESC LIMIT ?2"
    );
    let before = query.before.map_or(i64::MAX, RechargeId::get);
    let read = |row: &Row| read(row).map(|found| (found.recharge.id, found));
    page(conn, (&sql, params![before, limits::SCAN_MAX]), query.limit, read, |found| found.recharge.status == Status::Queued)
}

/// Removes the connection number from what was asked for.
pub(super) fn erase(conn: Conn, recharge: i64) -> Result<()> {
    let Some(order) = conn.first("SELECT wanted FROM submission WHERE recharge = ?1", params![recharge], read_order)? else {
        return Ok(());
    };
    let without = written(&Order { connection_no: None, ..order });
    conn.execute("UPDATE submission SET wanted = ?2 WHERE recharge = ?1", params![recharge, without]).map(drop)
}

/// Keeps what a provider called back.
pub(super) fn keep_callback(batch: &Batch, callback: &Callback, now: Timestamp) -> Result<(), StoreError> {
    const KEEP: &str = "INSERT INTO callback (id, provider, received_at, recharge, verdict, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let Callback { provider, recharge, verdict, body } = callback;
    let id = batch.ids.next(now).get();
    batch.conn.insert(KEEP, params![id, provider, now.as_millis(), recharge.map(RechargeId::get), verdict, body])
}

/// Recharges of a time range in the order of their making.
pub(super) fn walk(
    conn: Conn,
    whose: &RechargeOwner,
    range: TimeRange,
    after: Option<RechargeId>,
    limit: usize,
) -> Result<Vec<Recharge>, StoreError> {
    const OF_STREAM: &str =
        concat!("SELECT ", recharge_columns!(), " FROM recharge WHERE stream = ?1 AND id > ?2 AND id < ?3 ORDER BY id LIMIT ?4");
    const OF_PROVIDER: &str = "SELECT r.* FROM submission s JOIN recharge r ON r.id = s.recharge \
        WHERE s.provider = ?1 AND s.recharge > ?2 AND s.recharge < ?3 AND s.sent_at IS NOT NULL ORDER BY s.recharge LIMIT ?4";
    let floor = range.since.map_or(-1, |since| Ids::floor(since).get() - 1).max(after.map_or(-1, RechargeId::get));
    let ceiling = range.until.map_or(i64::MAX, |until| Ids::floor(until).get());
    match whose {
        RechargeOwner::Stream(stream) => conn.all(OF_STREAM, params![stream.get(), floor, ceiling, limit], read_recharge),
        RechargeOwner::Provider(provider) => conn.all(OF_PROVIDER, params![provider, floor, ceiling, limit], read_recharge),
    }
}

/// Recharges by their ids and references, each where it is there.
pub(super) fn lookup(conn: Conn, stream: Option<StreamId>, keys: &[RechargeKey]) -> Result<Vec<Option<Recharge>>, StoreError> {
    const ONE: &str = concat!("SELECT ", recharge_columns!(), " FROM recharge WHERE id = ?1");
    let is_its_own = |found: &Recharge| stream.is_none_or(|stream| found.stream == stream);
    let find = |key: &RechargeKey| match (key, stream) {
        (RechargeKey::Id(id), _) => Ok(conn.first(ONE, params![id.get()], read_recharge)?.filter(is_its_own)),
        (_, None) => Ok(None),
        (RechargeKey::Reference(reference_no), Some(stream)) => {
            Ok(references::recharge(conn, stream, reference_no)?.map(|(found, _)| found))
        }
        (RechargeKey::Number(number), Some(stream)) => {
            const NUMBERED: &str =
                "SELECT r.* FROM submission s JOIN recharge r ON r.id = s.recharge WHERE s.transaction_id = ?1 AND r.stream = ?2";
            conn.first(NUMBERED, params![number, stream.get()], read_recharge)
        }
    };
    keys.iter().map(find).collect()
}
