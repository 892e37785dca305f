//! Endpoints, and from which number to which they listened.

use std::ops::Range;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::rows::{Wants, bad, patterns, word};
use crate::domain::endpoint::{CipherText, Endpoint, EndpointStatus, Ordering, Settings};
use crate::domain::id::{EndpointId, StreamId, VendorId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::store::seal::Sealer;
use crate::store::{Created, EndpointChange, Page, StoreError};

const COLUMNS: &str = "e.id, e.stream, e.url, e.description, e.event_types, e.profile, e.cipher_text, e.alert_email, e.headers, \
    e.rate_limit, e.max_in_flight, e.ordering, e.strict_hold, e.secret, e.signing_key, e.status, e.status_reason, e.created_at, \
    e.connected_at, e.deleted_at, s.mode, s.vendor, v.disabled AS vendor_disabled";
const FROM: &str = "FROM endpoint e JOIN stream s ON s.id = e.stream JOIN vendor v ON v.id = s.vendor";

/// A row with its secrets still sealed.
struct Sealed {
    endpoint: Endpoint,
    headers: Vec<u8>,
    secret: Vec<u8>,
    signing_key: Option<Vec<u8>>,
}

fn read(row: &Row) -> rusqlite::Result<Sealed> {
    let url: String = row.get("url")?;
    let Wants { event_types, profile } = Wants::read(row)?;
    let settings = Settings {
        url: url.parse().map_err(|error| bad("url", error))?,
        description: row.get("description")?,
        event_types,
        profile,
        cipher_text: word(row, "cipher_text", &CipherText::ALL)?,
        alert_email: row.get("alert_email")?,
        headers: Vec::new(),
        rate_limit_per_second: row.get("rate_limit")?,
        max_in_flight: row.get("max_in_flight")?,
        ordering: word(row, "ordering", &Ordering::ALL)?,
        strict_hold: row.get::<_, Option<u64>>("strict_hold")?.map(Duration::from_secs),
        secret: Secret::new(Vec::new()),
        signing_key: None,
    };
    let endpoint = Endpoint {
        id: EndpointId::new(row.get("id")?),
        vendor: VendorId::new(row.get("vendor")?),
        mode: word(row, "mode", &Mode::ALL)?,
        stream: StreamId::new(row.get("stream")?),
        settings,
        status: word(row, "status", &EndpointStatus::ALL)?,
        status_reason: row.get("status_reason")?,
        created_at: row.get("created_at")?,
        connected_at: row.get("connected_at")?,
        vendor_disabled: row.get("vendor_disabled")?,
        deleted: row.get::<_, Option<i64>>("deleted_at")?.is_some(),
    };
    Ok(Sealed { endpoint, headers: row.get("headers")?, secret: row.get("secret")?, signing_key: row.get("signing_key")? })
}

impl Sealed {
    fn open(self, sealer: &Sealer) -> Result<Endpoint, StoreError> {
        let Self { mut endpoint, headers, secret, signing_key } = self;
        let context = endpoint.id.to_string();
        endpoint.settings.secret = sealer.open(&context, &secret)?;
        endpoint.settings.signing_key = signing_key.map(|sealed| sealer.open(&context, &sealed)).transpose()?;
        let headers = sealer.open(&context, &headers)?;
        endpoint.settings.headers = serde_json::from_slice(headers.expose()).map_err(|error| StoreError::Damaged(error.to_string()))?;
        Ok(endpoint)
    }
}

pub(super) fn one(conn: &Connection, sealer: &Sealer, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE e.id = ?1");
    let found = conn.prepare_cached(&sql)?.query_row([id.get()], read).optional()?;
    found.map(|sealed| sealed.open(sealer)).transpose()
}

pub(super) fn list(conn: &Connection, sealer: &Sealer, stream: StreamId, page: Page<EndpointId>) -> Result<Vec<Endpoint>, StoreError> {
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE e.stream = ?1 AND e.id < ?2 AND e.deleted_at IS NULL ORDER BY e.id DESC LIMIT ?3");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params![stream.get(), page.before.map_or(i64::MAX, EndpointId::get), page.limit], read)?;
    rows.map(|row| row?.open(sealer)).collect()
}

pub(super) fn create(tx: &Transaction, sealer: &Sealer, endpoint: &Endpoint, most: u32) -> Result<Created, StoreError> {
    const COUNT: &str = "SELECT count(*) FROM endpoint WHERE stream = ?1 AND deleted_at IS NULL";
    let count: u32 = tx.query_row(COUNT, [endpoint.stream.get()], |row| row.get(0))?;
    if count >= most {
        return Ok(Created::LimitReached);
    }
    const INSERT: &str = "INSERT INTO endpoint (id, stream, url, event_types, profile, cipher_text, headers, ordering, secret, status, created_at, \
        connected_at, status_reason) VALUES (?1, ?2, '', '', 0, 0, x'', 0, x'', ?3, ?4, ?5, ?6)";
    let (created_at, connected_at) = (endpoint.created_at.as_millis(), endpoint.connected_at.map(Timestamp::as_millis));
    let (id, stream, status) = (endpoint.id.get(), endpoint.stream.get(), endpoint.status as i64);
    tx.execute(INSERT, params![id, stream, status, created_at, connected_at, endpoint.status_reason])?;
    write_settings(tx, sealer, endpoint.id, &endpoint.settings)?;
    // An empty range marks from which number on this endpoint can have missed something.
    let next = raise(tx, endpoint.stream)?;
    start_listening(tx, endpoint, next)?;
    if !endpoint.status.listens() {
        stop_listening(tx, endpoint.id, next)?;
    }
    Ok(Created::Yes)
}

fn write_settings(tx: &Transaction, sealer: &Sealer, id: EndpointId, settings: &Settings) -> Result<(), StoreError> {
    const WRITE: &str = "UPDATE endpoint SET url = ?2, description = ?3, event_types = ?4, profile = ?5, cipher_text = ?6, alert_email = ?7, \
        headers = ?8, rate_limit = ?9, max_in_flight = ?10, ordering = ?11, strict_hold = ?12, secret = ?13, signing_key = ?14 WHERE id = ?1";
    let context = id.to_string();
    let headers = serde_json::to_vec(&settings.headers).expect("strings always serialize");
    tx.execute(
        WRITE,
        params![
            id.get(),
            settings.url.as_str(),
            settings.description,
            patterns(&settings.event_types),
            settings.profile as i64,
            settings.cipher_text as i64,
            settings.alert_email,
            sealer.seal(&context, &headers),
            settings.rate_limit_per_second,
            settings.max_in_flight,
            settings.ordering as i64,
            settings.strict_hold.map(|hold| hold.as_secs()),
            sealer.seal(&context, settings.secret.expose()),
            settings.signing_key.as_ref().map(|key| sealer.seal(&context, key.expose())),
        ],
    )?;
    Ok(())
}

/// Raises the stream's version under its counter row; answers the next number to be given.
fn raise(tx: &Transaction, stream: StreamId) -> Result<i64, StoreError> {
    const RAISE: &str = "UPDATE stream SET endpoints_version = endpoints_version + 1 WHERE id = ?1 RETURNING next_sequence";
    Ok(tx.query_row(RAISE, [stream.get()], |row| row.get(0))?)
}

fn start_listening(tx: &Transaction, endpoint: &Endpoint, from: i64) -> Result<(), StoreError> {
    // A range that began at this very number was empty, so that it can be taken over.
    const START: &str = "INSERT INTO listening (endpoint, from_sequence, event_types, profile) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT DO UPDATE SET until_sequence = NULL, event_types = excluded.event_types, profile = excluded.profile";
    let settings = &endpoint.settings;
    tx.execute(START, params![endpoint.id.get(), from, patterns(&settings.event_types), settings.profile as i64])?;
    Ok(())
}

fn stop_listening(tx: &Transaction, id: EndpointId, until: i64) -> Result<(), StoreError> {
    const STOP: &str = "UPDATE listening SET until_sequence = ?2 WHERE endpoint = ?1 AND until_sequence IS NULL";
    tx.execute(STOP, params![id.get(), until])?;
    Ok(())
}

pub(super) fn change(
    tx: &Transaction,
    sealer: &Sealer,
    id: EndpointId,
    change: &EndpointChange,
    now: Timestamp,
) -> Result<Option<Endpoint>, StoreError> {
    let Some(before) = one(tx, sealer, id)?.filter(|endpoint| !endpoint.deleted) else { return Ok(None) };
    match change {
        EndpointChange::Settings(settings) => write_settings(tx, sealer, id, settings)?,
        EndpointChange::Status { from, to, reason } => {
            if !from.contains(&before.status) {
                return Ok(None);
            }
            let is_handshake = *to == EndpointStatus::Connected && before.status != EndpointStatus::Paused;
            let connected_at = is_handshake.then_some(now.as_millis());
            const MOVE: &str =
                "UPDATE endpoint SET status = ?2, status_reason = ?3, connected_at = coalesce(?4, connected_at) WHERE id = ?1";
            tx.execute(MOVE, params![id.get(), *to as i64, reason, connected_at])?;
        }
        EndpointChange::Delete => {
            tx.execute("UPDATE endpoint SET deleted_at = ?2 WHERE id = ?1", params![id.get(), now.as_millis()])?;
        }
    }
    let next = raise(tx, before.stream)?;
    let after = one(tx, sealer, id)?.ok_or_else(|| StoreError::Damaged(format!("{id} was there a moment ago")))?;
    let listens = |endpoint: &Endpoint| endpoint.status.listens() && !endpoint.deleted;
    let same = listens(&before) == listens(&after) && Wants::of(&before.settings) == Wants::of(&after.settings);
    if !same {
        stop_listening(tx, id, next)?;
        if listens(&after) {
            start_listening(tx, &after, next)?;
        }
    }
    Ok(Some(after))
}

/// A stretch of numbers in which an endpoint listened to `heard`, or to nothing.
pub(super) struct Stretch {
    pub stream: StreamId,
    pub numbers: Range<i64>,
    pub heard: Option<Wants>,
    pub wanted: Wants,
}

/// The stretches since an endpoint was made.
pub(super) fn stretches(conn: &Connection, sealer: &Sealer, id: EndpointId) -> Result<Vec<Stretch>, StoreError> {
    let Some(endpoint) = one(conn, sealer, id)? else { return Ok(Vec::new()) };
    let next: i64 = conn.query_row("SELECT next_sequence FROM stream WHERE id = ?1", [endpoint.stream.get()], |row| row.get(0))?;
    const RANGES: &str =
        "SELECT from_sequence, until_sequence, event_types, profile FROM listening WHERE endpoint = ?1 ORDER BY from_sequence";
    let mut statement = conn.prepare_cached(RANGES)?;
    let read = |row: &Row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, Wants::read(row)?));
    let ranges = statement.query_map([id.get()], read)?.collect::<Result<Vec<_>, _>>()?;
    let wanted = Wants::of(&endpoint.settings);
    let mut stretches = Vec::new();
    let mut add = |numbers: Range<i64>, heard: Option<Wants>| {
        if !numbers.is_empty() && heard.as_ref() != Some(&wanted) {
            stretches.push(Stretch { stream: endpoint.stream, numbers, heard, wanted: wanted.clone() });
        }
    };
    let mut reached = ranges.first().map_or(next, |(from, _, _)| *from);
    for (from, until, heard) in ranges {
        add(reached..from, None);
        reached = until.unwrap_or(next);
        add(from..reached, Some(heard));
    }
    add(reached..next, None);
    Ok(stretches)
}

/// Events of a stretch that were wanted and not heard.
pub(super) fn count_missed(conn: &Connection, stretch: &Stretch, numbers: Range<i64>) -> Result<u64, StoreError> {
    const COUNT: &str = "SELECT type, count(*) FROM event WHERE stream = ?1 AND sequence >= ?2 AND sequence < ?3 GROUP BY type";
    let mut statement = conn.prepare_cached(COUNT)?;
    let rows = statement.query_map(params![stretch.stream.get(), numbers.start, numbers.end], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let counts = rows.collect::<Result<Vec<(String, u64)>, _>>()?;
    let missed =
        |event_type: &str| stretch.wanted.matches(event_type) && !stretch.heard.as_ref().is_some_and(|heard| heard.matches(event_type));
    Ok(counts.into_iter().filter(|(event_type, _)| missed(event_type)).map(|(_, count)| count).sum())
}
