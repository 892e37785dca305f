//! Endpoints, and from which number to which they listened.

use std::ops::Range;
use std::time::Duration;

use super::conn::{Conn, Result, Row, params};
use super::rows::{Wants, bad, patterns, word};
use crate::domain::endpoint::{CipherText, Endpoint, EndpointStatus, FormerSecret, Ordering, Settings};
use crate::domain::id::{EndpointId, StreamId, VendorId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::store::seal::{Place, Sealer};
use crate::store::{Created, EndpointChange, Page, StoreError};

const COLUMNS: &str = "e.id, e.stream, e.url, e.description, e.event_types, e.profile, e.cipher_text, e.alert_email, e.headers, \
    e.rate_limit, e.max_in_flight, e.ordering, e.strict_hold, e.secret, e.former_secrets, e.signing_key, e.status, e.status_reason, \
    e.created_at, e.connected_at, e.paused_until, e.by_rule, e.probed_at, e.deleted_at, s.mode, s.vendor, v.disabled AS vendor_disabled, \
    h.failing_since";
const FROM: &str =
    "FROM endpoint e JOIN stream s ON s.id = e.stream JOIN vendor v ON v.id = s.vendor LEFT JOIN health h ON h.endpoint = e.id";

/// A row with its secrets still sealed.
struct Sealed {
    endpoint: Endpoint,
    headers: Vec<u8>,
    secret: Vec<u8>,
    former: Option<Vec<u8>>,
    signing_key: Option<Vec<u8>>,
}

fn read(row: &Row) -> Result<Sealed> {
    let url: String = row.get("url")?;
    let Wants { event_types, profile } = Wants::read(row)?;
    let settings = Settings {
        description: row.get("description")?,
        event_types,
        profile,
        cipher_text: word(row, "cipher_text", &CipherText::ALL)?,
        alert_email: row.get("alert_email")?,
        rate_limit_per_second: row.get("rate_limit")?,
        max_in_flight: row.get("max_in_flight")?,
        ordering: word(row, "ordering", &Ordering::ALL)?,
        strict_hold: row.get::<Option<u64>>("strict_hold")?.map(Duration::from_secs),
        ..Settings::new(url.parse().map_err(|error| bad("url", error))?, Secret::new(Vec::new()))
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
        failing_since: row.get("failing_since")?,
        paused_until: row.get("paused_until")?,
        by_rule: row.get("by_rule")?,
        probed_at: row.get("probed_at")?,
        vendor_disabled: row.get("vendor_disabled")?,
        deleted: row.get::<Option<i64>>("deleted_at")?.is_some(),
    };
    let (headers, secret) = (row.get("headers")?, row.get("secret")?);
    Ok(Sealed { endpoint, headers, secret, former: row.get("former_secrets")?, signing_key: row.get("signing_key")? })
}

const HEADERS: &str = "headers";
const SECRET: &str = "secret";
const FORMER: &str = "former_secrets";
const SIGNING_KEY: &str = "signing_key";
/// Columns of an endpoint that are sealed.
pub(super) const SEALED: [&str; 4] = [HEADERS, SECRET, FORMER, SIGNING_KEY];

/// Where a sealed value of an endpoint belongs.
pub(super) fn sealed_in(column: &str, id: EndpointId) -> Place {
    Place::new("endpoint", column, id)
}

impl Sealed {
    fn open(self, sealer: &Sealer) -> Result<Endpoint, StoreError> {
        let Self { mut endpoint, headers, secret, former, signing_key } = self;
        let place = |column| sealed_in(column, endpoint.id);
        endpoint.settings.secret = sealer.open(&place(SECRET), &secret)?;
        endpoint.settings.signing_key = signing_key.map(|sealed| sealer.open(&place(SIGNING_KEY), &sealed)).transpose()?;
        let headers = sealer.open(&place(HEADERS), &headers)?;
        endpoint.settings.headers = serde_json::from_slice(headers.expose()).map_err(|error| StoreError::Damaged(error.to_string()))?;
        if let Some(former) = former {
            endpoint.settings.former = read_former(&sealer.open(&place(FORMER), &former)?)?;
        }
        Ok(endpoint)
    }
}

/// Former secrets are sealed together, as a JSON list of times and bytes.
fn read_former(opened: &Secret) -> Result<Vec<FormerSecret>, StoreError> {
    let list: Vec<(i64, Vec<u8>)> =
        serde_json::from_slice(opened.expose()).map_err(|error| StoreError::Damaged(format!("former secrets: {error}")))?;
    Ok(list.into_iter().map(|(until, secret)| FormerSecret { secret: Secret::new(secret), until: Timestamp::from_millis(until) }).collect())
}

fn write_former(former: &[FormerSecret]) -> Option<Secret> {
    let list: Vec<(i64, &[u8])> = former.iter().map(|former| (former.until.as_millis(), former.secret.expose())).collect();
    (!list.is_empty()).then(|| Secret::new(serde_json::to_vec(&list).expect("numbers always serialize")))
}

pub(super) fn one(conn: Conn, sealer: &Sealer, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE e.id = ?1");
    let found = conn.first(&sql, params![id.get()], read)?;
    found.map(|sealed| sealed.open(sealer)).transpose()
}

pub(super) fn list(conn: Conn, sealer: &Sealer, stream: StreamId, page: Page<EndpointId>) -> Result<Vec<Endpoint>, StoreError> {
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE e.stream = ?1 AND e.id < ?2 AND e.deleted_at IS NULL ORDER BY e.id DESC LIMIT ?3");
    let values = params![stream.get(), page.before.map_or(i64::MAX, EndpointId::get), page.limit];
    conn.all(&sql, values, |row| read(row)?.open(sealer))
}

pub(super) fn create(conn: Conn, sealer: &Sealer, endpoint: &Endpoint, most: u32) -> Result<Created, StoreError> {
    const COUNT: &str = "SELECT count(*) FROM endpoint WHERE stream = ?1 AND deleted_at IS NULL";
    let count: u32 = conn.one(COUNT, params![endpoint.stream.get()], |row| row.get(0))?;
    if count >= most {
        return Ok(Created::LimitReached);
    }
    const INSERT: &str = "INSERT INTO endpoint (id, stream, url, event_types, profile, cipher_text, headers, ordering, secret, status, created_at, \
        connected_at, status_reason) VALUES (?1, ?2, '', '', 0, 0, '', 0, '', ?3, ?4, ?5, ?6)";
    let (created_at, connected_at) = (endpoint.created_at.as_millis(), endpoint.connected_at.map(Timestamp::as_millis));
    let (id, stream, status) = (endpoint.id.get(), endpoint.stream.get(), endpoint.status as i64);
    conn.execute(INSERT, params![id, stream, status, created_at, connected_at, endpoint.status_reason])?;
    write_settings(conn, sealer, endpoint.id, &endpoint.settings)?;
    // An empty range marks from which number on this endpoint can have missed something.
    let next = raise(conn, endpoint.stream)?;
    start_listening(conn, endpoint, next)?;
    if !endpoint.status.listens() {
        stop_listening(conn, endpoint.id, next)?;
    }
    Ok(Created::Yes)
}

fn write_settings(conn: Conn, sealer: &Sealer, id: EndpointId, settings: &Settings) -> Result<(), StoreError> {
    const WRITE: &str = "UPDATE endpoint SET url = ?2, description = ?3, event_types = ?4, profile = ?5, cipher_text = ?6, alert_email = ?7, \
        headers = ?8, rate_limit = ?9, max_in_flight = ?10, ordering = ?11, strict_hold = ?12, secret = ?13, signing_key = ?14, \
        former_secrets = ?15 WHERE id = ?1";
    let place = |column| sealed_in(column, id);
    let headers = serde_json::to_vec(&settings.headers).expect("strings always serialize");
    conn.execute(
        WRITE,
        params![
            id.get(),
            settings.url.as_str(),
            settings.description,
            patterns(&settings.event_types),
            settings.profile as i64,
            settings.cipher_text as i64,
            settings.alert_email,
            sealer.seal(&place(HEADERS), &headers),
            settings.rate_limit_per_second,
            settings.max_in_flight,
            settings.ordering as i64,
            settings.strict_hold.map(|hold| hold.as_secs()),
            sealer.seal(&place(SECRET), settings.secret.expose()),
            settings.signing_key.as_ref().map(|key| sealer.seal(&place(SIGNING_KEY), key.expose())),
            write_former(&settings.former).map(|former| sealer.seal(&place(FORMER), former.expose())),
        ],
    )?;
    Ok(())
}

/// Raises the stream's version under its counter row; answers the next number to be given.
fn raise(conn: Conn, stream: StreamId) -> Result<i64, StoreError> {
    const RAISE: &str = "UPDATE stream SET endpoints_version = endpoints_version + 1 WHERE id = ?1 RETURNING next_sequence";
    conn.one(RAISE, params![stream.get()], |row| row.get(0))
}

fn start_listening(conn: Conn, endpoint: &Endpoint, from: i64) -> Result<(), StoreError> {
    // A range that began at this very number was empty, so that it can be taken over.
    const START: &str = "INSERT INTO listening (endpoint, from_sequence, event_types, profile) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (endpoint, from_sequence) DO UPDATE SET until_sequence = NULL, event_types = excluded.event_types, profile = excluded.profile";
    let settings = &endpoint.settings;
    conn.execute(START, params![endpoint.id.get(), from, patterns(&settings.event_types), settings.profile as i64])?;
    Ok(())
}

fn stop_listening(conn: Conn, id: EndpointId, until: i64) -> Result<(), StoreError> {
    const STOP: &str = "UPDATE listening SET until_sequence = ?2 WHERE endpoint = ?1 AND until_sequence IS NULL";
    conn.execute(STOP, params![id.get(), until])?;
    Ok(())
}

pub(super) fn change(
    conn: Conn,
    sealer: &Sealer,
    id: EndpointId,
    change: &EndpointChange,
    now: Timestamp,
) -> Result<Option<Endpoint>, StoreError> {
    let Some(before) = one(conn, sealer, id)?.filter(|endpoint| !endpoint.deleted) else { return Ok(None) };
    match change {
        EndpointChange::Settings { from, to } => {
            if before.settings != **from {
                return Ok(None);
            }
            write_settings(conn, sealer, id, to)?;
            if before.status.listens() && moves(from, to) {
                conn.execute("UPDATE endpoint SET connected_at = ?2 WHERE id = ?1", params![id.get(), now.as_millis()])?;
            }
        }
        EndpointChange::Status { from, to, reason, by_rule, failing_since } => {
            let enables = *to == EndpointStatus::Connected;
            if !from.contains(&before.status)
                || (failing_since.is_some() && before.failing_since != *failing_since)
                || (enables && *by_rule && !before.by_rule)
            {
                return Ok(None);
            }
            end_pause(conn, id, now)?;
            let connected_at = enables.then_some(now.as_millis());
            const MOVE: &str = "UPDATE endpoint SET status = ?2, status_reason = ?3, connected_at = coalesce(?4, connected_at), \
                by_rule = ?5, probed_at = ?6 WHERE id = ?1";
            conn.execute(MOVE, params![id.get(), *to as i64, reason, connected_at, by_rule, by_rule.then_some(now.as_millis())])?;
        }
        EndpointChange::Pause { until } => {
            if before.status != EndpointStatus::Connected {
                return Ok(None);
            }
            const PAUSE: &str = "UPDATE endpoint SET status = ?2, paused_at = ?3, paused_until = ?4 WHERE id = ?1";
            conn.execute(PAUSE, params![id.get(), EndpointStatus::Paused as i64, now.as_millis(), until.as_millis()])?;
        }
        EndpointChange::Resume => {
            if before.status != EndpointStatus::Paused {
                return Ok(None);
            }
            end_pause(conn, id, now)?;
            conn.execute("UPDATE endpoint SET status = ?2 WHERE id = ?1", params![id.get(), EndpointStatus::Connected as i64])?;
        }
        EndpointChange::Delete => {
            conn.execute("UPDATE endpoint SET deleted_at = ?2 WHERE id = ?1", params![id.get(), now.as_millis()])?;
        }
    }
    let next = raise(conn, before.stream)?;
    let after = one(conn, sealer, id)?.ok_or_else(|| StoreError::Damaged(format!("{id} was there a moment ago")))?;
    let listens = |endpoint: &Endpoint| endpoint.status.listens() && !endpoint.deleted;
    let same = listens(&before) == listens(&after) && Wants::of(&before.settings) == Wants::of(&after.settings);
    if !same {
        stop_listening(conn, id, next)?;
        if listens(&after) {
            start_listening(conn, &after, next)?;
        }
    }
    Ok(Some(after))
}

/// Whether an endpoint with these settings is another one, for which the handshake was done anew.
pub(super) fn moves(from: &Settings, to: &Settings) -> bool {
    from.url != to.url || from.profile != to.profile
}

/// What a pause lasted moves the deadlines of what is open.
fn end_pause(conn: Conn, id: EndpointId, now: Timestamp) -> Result<(), StoreError> {
    const END: &str = "UPDATE endpoint SET paused_ms = paused_ms + \
        CASE WHEN paused_until < ?2 THEN paused_until - paused_at WHEN paused_at < ?2 THEN ?2 - paused_at ELSE 0 END, paused_at = NULL, \
        paused_until = NULL WHERE id = ?1 AND paused_at IS NOT NULL";
    conn.execute(END, params![id.get(), now.as_millis()])?;
    Ok(())
}

/// Notes that it was tried whether a disabled endpoint is back.
pub(super) fn probed(conn: Conn, id: EndpointId, now: Timestamp) -> Result<bool, StoreError> {
    Ok(conn.execute("UPDATE endpoint SET probed_at = ?2 WHERE id = ?1", params![id.get(), now.as_millis()])? == 1)
}

/// A stretch of numbers in which an endpoint listened to `heard`, or to nothing.
pub(super) struct Stretch {
    pub numbers: Range<i64>,
    pub heard: Option<Wants>,
}

/// The stretches since an endpoint was made, up to the next number to be given.
pub(super) fn stretches(conn: Conn, endpoint: &Endpoint, next: i64) -> Result<Vec<Stretch>, StoreError> {
    const RANGES: &str =
        "SELECT from_sequence, until_sequence, event_types, profile FROM listening WHERE endpoint = ?1 ORDER BY from_sequence";
    let read = |row: &Row| Ok((row.get::<i64>(0)?, row.get::<Option<i64>>(1)?, Wants::read(row)?));
    let ranges = conn.all(RANGES, params![endpoint.id.get()], read)?;
    let wanted = Wants::of(&endpoint.settings);
    let mut stretches = Vec::new();
    let mut add = |numbers: Range<i64>, heard: Option<Wants>| {
        if !numbers.is_empty() && heard.as_ref() != Some(&wanted) {
            stretches.push(Stretch { numbers, heard });
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
