//! The audit log, and answers kept for requests with an `Idempotency-Key`.

use super::Advance;
use super::accept::Batch;
use super::conn::{Conn, Result, Row, params};
use super::rows::{bad, page, word_or_null};
use crate::clock::Ids;
use crate::domain::audit::{Entry, Note};
use crate::domain::id::{AuditId, VendorId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::limits;
use crate::store::seal::{Place, Sealer};
use crate::store::{AnswerKey, AuditQuery, CachedResponse, HttpAnswer, KeptAnswer, Listed, Reply, StoreError};

pub(super) fn write(batch: &Batch, note: &Note, now: Timestamp) -> Result<(), StoreError> {
    const WRITE: &str =
        "INSERT INTO audit (id, actor, address, vendor, mode, action, object, details) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let id = batch.ids.next(now).get();
    batch.advance.update(|advance| Advance { audit: id, ..advance });
    batch.conn.execute(
        WRITE,
        params![
            id,
            note.actor.to_string(),
            note.address.map(|address| address.to_string()),
            note.vendor.map(VendorId::get),
            note.mode.map(|mode| mode as i64),
            note.action,
            note.object,
            note.details.to_string(),
        ],
    )?;
    Ok(())
}

fn read(row: &Row) -> Result<Entry> {
    let id = AuditId::new(row.get("id")?);
    let details: String = row.get("details")?;
    Ok(Entry {
        id,
        at: Ids::time_of(id.get()),
        actor: row.get("actor")?,
        address: row.get("address")?,
        vendor: row.get::<Option<i64>>("vendor")?.map(VendorId::new),
        mode: word_or_null(row, "mode", &Mode::ALL)?,
        action: row.get("action")?,
        object: row.get("object")?,
        details: serde_json::from_str(&details).map_err(|error| bad("details", error))?,
    })
}

pub(super) fn list(conn: Conn, query: &AuditQuery) -> Result<Listed<Entry, AuditId>, StoreError> {
    const ALL: &str = "SELECT id, actor, address, vendor, mode, action, object, details FROM audit \
        WHERE id >= ?1 AND id < ?2 AND CAST(?3 AS BIGINT) IS NULL ORDER BY id DESC LIMIT ?4";
    const OF_VENDOR: &str = "SELECT id, actor, address, vendor, mode, action, object, details FROM audit \
        WHERE vendor = ?3 AND id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?4";
    let floor = query.range.since.map_or(0, |since| Ids::floor(since).get());
    let ceiling = query.range.until.map_or(i64::MAX, |until| Ids::floor(until).get());
    let ceiling = query.page.before.map_or(ceiling, |before| before.get().min(ceiling));
    let sql = if query.vendor.is_some() { OF_VENDOR } else { ALL };
    let values = params![floor, ceiling, query.vendor.map(VendorId::get), limits::SCAN_MAX];
    let is = |entry: &Entry, action: &str| entry.action == action || (action.ends_with('.') && entry.action.starts_with(action));
    let wanted = |entry: &Entry| query.action.as_deref().is_none_or(|action| is(entry, action));
    page(conn, (sql, values), query.page.limit, |row| read(row).map(|entry| (entry.id, entry)), wanted)
}

/// Where the seal of a request's digest or of its answer is good. The digest is sealed too: a body may hold a password,
/// or a connection number, and either can be guessed.
fn context(of: &str, key: &AnswerKey) -> Place {
    Place::before_columns(format!("{of} {} {} {}", key.token, key.path, key.key))
}

/// What a kept answer says.
pub(super) fn opened(sealer: &Sealer, key: &AnswerKey, answer: &[u8]) -> Result<Secret, StoreError> {
    sealer.open(&context("answer", key), answer)
}

/// Keeps the answer to a request. One that is there and not a day old refuses the whole change: it was done before.
pub(super) fn keep(batch: &Batch, keep: &CachedResponse, done: &Reply, now: Timestamp) -> Result<(), StoreError> {
    const KEEP: &str = "INSERT INTO kept_answer (token, path, key, body, answer, status, kept_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
        ON CONFLICT (token, path, key) DO UPDATE SET body = excluded.body, answer = excluded.answer, status = excluded.status, \
        kept_at = excluded.kept_at WHERE kept_answer.kept_at <= ?8";
    let answer = (keep.answer)(done);
    let sealed = batch.sealer.seal(&context("answer", &keep.key), &answer.body);
    let body = batch.sealer.seal(&context("request", &keep.key), &keep.body);
    let oldest = now.as_millis() - limits::ANSWER_KEPT_FOR.as_millis() as i64;
    let AnswerKey { token, path, key } = &keep.key;
    let values = params![token.get(), path, key, body, sealed, answer.status, now.as_millis(), oldest];
    if batch.conn.execute(KEEP, values)? == 0 {
        return Err(StoreError::Rejected("a request with this Idempotency-Key was answered already".to_owned()));
    }
    Ok(())
}

pub(super) fn kept(conn: Conn, sealer: &Sealer, key: &AnswerKey, since: Timestamp) -> Result<Option<KeptAnswer>, StoreError> {
    const KEPT: &str = "SELECT body, answer, status FROM kept_answer WHERE token = ?1 AND path = ?2 AND key = ?3 AND kept_at > ?4";
    let values = params![key.token.get(), key.path, key.key, since.as_millis()];
    let read = |row: &Row| Ok((row.get::<Vec<u8>>("body")?, row.get::<Vec<u8>>("answer")?, row.get::<Option<u16>>("status")?));
    let Some((body, answer, status)) = conn.first(KEPT, values, read)? else { return Ok(None) };
    let body = sealer.open(&context("request", key), &body)?;
    let body = body.expose().try_into().map_err(|_| StoreError::Damaged("the digest of a kept request has another length".to_owned()))?;
    Ok(Some(KeptAnswer { body, answer: HttpAnswer { status, body: opened(sealer, key, &answer)?.expose().to_vec() } }))
}
