//! Which endpoints fail, and what is to be mailed about it.
//!
//! A row in `health` stands from the first failure after a success to the next success. Which endpoints have one is
//! kept in the writer's memory, so that a success of a healthy endpoint costs no statement.

use std::collections::HashSet;
use std::time::Duration;

use super::accept::Batch;
use super::conn::{Conn, Result, Row, params};
use super::endpoints;
use super::reseal::Bound;
use super::rows::word;
use crate::domain::alert::{Alert, Email, OfEndpoint, OfRecharge};
use crate::domain::attempt::OutcomeKind;
use crate::domain::delivery::{DeliveryState, EndReason};
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::id::EndpointId;
use crate::domain::recharge::Recharge;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::limits;
use crate::store::seal::{Place, Sealer};
use crate::store::{Cause, Failing, Mailing, NextStep, Page, RecordOutcome, Settled, StoreError, Trouble, WaitingMail};

/// The endpoints that have a row.
pub(super) fn known(conn: Conn) -> Result<HashSet<EndpointId>, StoreError> {
    Ok(conn.all("SELECT endpoint FROM health", params![], |row| row.get(0).map(EndpointId::new))?.into_iter().collect())
}

/// Learns from what an attempt came to. Of what comes late only a success counts: it is a fact whoever reports it.
pub(super) fn learn(batch: &mut Batch, settle: &RecordOutcome, settled: Settled) -> Result<(), StoreError> {
    let endpoint = settle.key.endpoint;
    match settle.attempt.as_ref().map(|attempt| attempt.outcome.kind) {
        Some(OutcomeKind::Succeeded) if batch.failing.contains(&endpoint) => recovered(batch, endpoint, settle.now)?,
        Some(OutcomeKind::Succeeded) => {}
        _ if settled == Settled::Late => return Ok(()),
        Some(_) => {
            const BEGIN: &str = "INSERT INTO health (endpoint, failing_since) SELECT id, ?2 FROM endpoint WHERE id = ?1 AND deleted_at IS NULL \
                ON CONFLICT DO NOTHING";
            let is_known = batch.failing.contains(&endpoint);
            let is_unsure = matches!(batch.conn, Conn::Postgres(_)) && !batch.noted.contains(&endpoint);
            if (!is_known || is_unsure) && is_isolated(batch.conn, settle)? {
                return Ok(());
            }
            let (is_news, is_first) = (batch.failing.insert(endpoint), batch.noted.insert(endpoint));
            // Others that write to PostgreSQL may have had it start anew since.
            if is_news || (is_first && matches!(batch.conn, Conn::Postgres(_))) {
                batch.conn.later(BEGIN, params![endpoint.get(), settle.now.as_millis()])?;
            }
        }
        None => {}
    }
    Ok(())
}

/// Whether the failure says nothing about the endpoint: the run had failed before, and the endpoint has accepted a later event
/// ([`circuit`](crate::domain::circuit) has the rule).
fn is_isolated(conn: Conn, settle: &RecordOutcome) -> Result<bool> {
    const LATER: &str = "SELECT 1 FROM ended_delivery WHERE endpoint = ?1 AND sequence > ?2 AND state = 1 LIMIT 1";
    Ok(settle.attempts > 1 && conn.exists(LATER, params![settle.key.endpoint.get(), settle.key.sequence])?)
}

/// Learns from the end of a run. It speaks against its endpoint only if nothing has succeeded since its first attempt:
/// a poisonous event that others succeed beside does not. What was held did not get an attempt because all others
/// failed; what was blocked was not, or not by the endpoint.
pub(super) fn ended(batch: &Batch, settle: &RecordOutcome, failed_since: Option<Timestamp>) -> Result<(), StoreError> {
    let began = match settle.after {
        NextStep::Ended(DeliveryState::Exhausted, None) => failed_since.unwrap_or(settle.now),
        NextStep::Ended(DeliveryState::Exhausted, Some(EndReason::Held)) => settle.now,
        _ => return Ok(()),
    };
    if batch.failing.contains(&settle.key.endpoint) {
        const EXHAUSTED: &str = "UPDATE health SET exhausted = 1 WHERE endpoint = ?1 AND failing_since <= ?2 AND exhausted = 0";
        batch.conn.later(EXHAUSTED, params![settle.key.endpoint.get(), began.as_millis()])?;
    }
    Ok(())
}

fn recovered(batch: &mut Batch, endpoint: EndpointId, now: Timestamp) -> Result<(), StoreError> {
    if let Some(since) = forget(batch, endpoint)?
        && let Some(endpoint) = endpoints::one(batch.conn, batch.sealer, endpoint)?
        && endpoint.status == EndpointStatus::Connected
    {
        alert(batch, &endpoint, |of| Alert::recovered(of, since, now), now)?;
    }
    Ok(())
}

/// An endpoint starts anew; answers since when it has been failing, if its vendor had been warned.
pub(super) fn forget(batch: &mut Batch, endpoint: EndpointId) -> Result<Option<Timestamp>, StoreError> {
    batch.failing.remove(&endpoint);
    batch.noted.remove(&endpoint);
    const FORGET: &str = "DELETE FROM health WHERE endpoint = ?1 RETURNING warned_at, failing_since";
    let read = |row: &Row| Ok((row.get::<Option<i64>>(0)?, row.get(1)?));
    let forgotten = batch.conn.first(FORGET, params![endpoint.get()], read)?;
    Ok(forgotten.and_then(|(warned_at, since)| warned_at.map(|_| since)))
}

/// Notes that an endpoint's vendor is warned, unless it was, or the endpoint has recovered meanwhile.
pub(super) fn warn(batch: &mut Batch, id: EndpointId, disable_after: Duration, now: Timestamp) -> Result<bool, StoreError> {
    const WARN: &str = "UPDATE health SET warned_at = ?2 WHERE endpoint = ?1 AND warned_at IS NULL RETURNING failing_since";
    let since: Option<Timestamp> = batch.conn.first(WARN, params![id.get(), now.as_millis()], |row| row.get(0))?;
    let (Some(since), Some(endpoint)) = (since, endpoints::one(batch.conn, batch.sealer, id)?) else { return Ok(false) };
    alert(batch, &endpoint, |of| Alert::failing(of, since, since.plus(disable_after)), now)?;
    Ok(true)
}

/// Notifies the endpoint's alert address, or else its vendor's.
pub(super) fn alert(batch: &Batch, endpoint: &Endpoint, write: impl FnOnce(OfEndpoint) -> Alert, now: Timestamp) -> Result<(), StoreError> {
    const VENDOR: &str = "SELECT name, email FROM vendor WHERE id = ?1";
    let read = |row: &Row| Ok((row.get::<String>(0)?, row.get::<String>(1)?));
    let (vendor, email) = batch.conn.one(VENDOR, params![endpoint.vendor.get()], read)?;
    let causes = causes_in_words(&causes(batch.conn, endpoint.id, limits::CAUSES_OF)?);
    let alert = write(OfEndpoint { endpoint, vendor: &vendor, causes: &causes });
    keep(batch, endpoint.settings.alert_email.as_ref().unwrap_or(&email), &alert, now)
}

/// Causes as a mail has them, the most frequent first.
fn causes_in_words(causes: &[Cause]) -> Vec<String> {
    let all: u64 = causes.iter().map(|cause| cause.times).sum();
    let words = |cause: &Cause| {
        let what = match (cause.status, cause.error.as_deref()) {
            (Some(status), Some(error)) => format!("HTTP {status}, {error}"),
            (Some(status), None) => format!("HTTP {status}"),
            (None, Some(error)) => error.to_owned(),
            (None, None) => cause.kind.as_str().replace('_', " "),
        };
        let attempts = if all == 1 { "attempt" } else { "attempts" };
        format!("{what} ({} of the latest {all} failed {attempts})", cause.times)
    };
    causes.iter().take(limits::CAUSES_MAILED).map(words).collect()
}

/// Notifies the operators about a recharge.
pub(super) fn alert_about(
    batch: &Batch,
    recharge: &Recharge,
    write: impl FnOnce(OfRecharge) -> Alert,
    now: Timestamp,
) -> Result<(), StoreError> {
    const VENDOR: &str = "SELECT v.name, s.mode FROM stream s JOIN vendor v ON v.id = s.vendor WHERE s.id = ?1";
    let read = |row: &Row| Ok((row.get::<String>("name")?, word(row, "mode", &Mode::ALL)?));
    let (vendor, mode) = batch.conn.one(VENDOR, params![recharge.stream.get()], read)?;
    alert_operators(batch, &write(OfRecharge { recharge, vendor: &vendor, mode }), now)
}

/// Notifies every operator that has a login.
fn alert_operators(batch: &Batch, alert: &Alert, now: Timestamp) -> Result<(), StoreError> {
    let addresses = batch.conn.all("SELECT email FROM \"user\" WHERE vendor IS NULL", params![], |row| row.get::<String>(0))?;
    addresses.iter().try_for_each(|address| keep(batch, address, alert, now))
}

fn keep(batch: &Batch, address: &str, alert: &Alert, now: Timestamp) -> Result<(), StoreError> {
    const KEEP: &str = "INSERT INTO alert (id, address, endpoint, title, text, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (id, endpoint) = (batch.ids.next(now).get(), alert.endpoint.map(EndpointId::get));
    batch.conn.insert(KEEP, params![id, address, endpoint, alert.title, alert.text, now.as_millis()])?;
    Ok(())
}

/// Keeps a mail that goes out by itself; its text is sealed.
pub(super) fn keep_letter(batch: &Batch, letter: &Email, now: Timestamp) -> Result<(), StoreError> {
    const KEEP: &str = "INSERT INTO alert (id, address, title, text, letter, created_at) VALUES (?1, ?2, ?3, '', ?4, ?5)";
    let id = batch.ids.next(now).get();
    let sealed = batch.sealer.seal(&sealed_for(id), letter.text.expose());
    batch.conn.execute(KEEP, params![id, letter.to, letter.title, sealed, now.as_millis()]).map(drop)
}

fn sealed_for(letter: i64) -> Place {
    Place::new("alert", "letter", letter)
}

/// Endpoints that somebody should look at: those that fail, and those that a rule disabled; by id, the newest first.
pub(super) fn troubled(conn: Conn, page: Page<EndpointId>) -> Result<Vec<Trouble>, StoreError> {
    const TROUBLED: &str = "SELECT e.id, h.warned_at, \
        (SELECT count(*) FROM alert a WHERE a.endpoint = e.id) AS waiting \
        FROM endpoint e LEFT JOIN health h ON h.endpoint = e.id \
        WHERE e.id < ?1 AND e.deleted_at IS NULL AND ((h.endpoint IS NOT NULL AND e.status = ?2) OR (e.status = ?3 AND e.by_rule = 1)) \
        ORDER BY e.id DESC LIMIT ?4";
    let (connected, disabled) = (EndpointStatus::Connected as i64, EndpointStatus::Disabled as i64);
    let values = params![page.before.map_or(i64::MAX, EndpointId::get), connected, disabled, page.limit];
    let read = |row: &Row| {
        let warned_at = row.get("warned_at")?;
        Ok(Trouble { endpoint: EndpointId::new(row.get("id")?), warned_at, mails_waiting: row.get("waiting")? })
    };
    conn.all(TROUBLED, values, read)
}

/// Why the latest attempts at an endpoint failed.
pub(super) fn causes(conn: Conn, endpoint: EndpointId, limit: usize) -> Result<Vec<Cause>, StoreError> {
    const CAUSES: &str = "SELECT outcome, status, error, count(*) AS times, min(started_at) AS first_at, max(started_at) AS last_at FROM \
        (SELECT outcome, status, error, started_at FROM attempt WHERE endpoint = ?1 AND outcome <> ?2 \
         ORDER BY sequence DESC, run DESC, number DESC LIMIT ?3) a \
        GROUP BY outcome, status, error ORDER BY times DESC, last_at DESC";
    let read = |row: &Row| {
        Ok(Cause {
            kind: word(row, "outcome", &OutcomeKind::ALL)?,
            status: row.get("status")?,
            error: row.get("error")?,
            times: row.get("times")?,
            first_at: row.get("first_at")?,
            last_at: row.get("last_at")?,
        })
    };
    conn.all(CAUSES, params![endpoint.get(), OutcomeKind::Succeeded as i64, limit], read)
}

pub(super) fn failing(conn: Conn, since: Timestamp, after: Option<EndpointId>, limit: usize) -> Result<Vec<Failing>, StoreError> {
    const FAILING: &str = "SELECT h.endpoint, h.failing_since, h.exhausted, h.warned_at IS NOT NULL AS warned FROM health h \
        JOIN endpoint e ON e.id = h.endpoint JOIN stream s ON s.id = e.stream JOIN vendor v ON v.id = s.vendor \
        WHERE h.endpoint > ?1 AND h.failing_since <= ?2 AND e.status = ?3 AND e.deleted_at IS NULL AND v.disabled = 0 \
        ORDER BY h.endpoint LIMIT ?4";
    let read = |row: &Row| {
        Ok(Failing {
            endpoint: EndpointId::new(row.get("endpoint")?),
            since: row.get("failing_since")?,
            exhausted: row.get("exhausted")?,
            warned: row.get("warned")?,
        })
    };
    let values = params![after.map_or(-1, EndpointId::get), since.as_millis(), EndpointStatus::Connected as i64, limit];
    conn.all(FAILING, values, read)
}

pub(super) fn to_probe(conn: Conn, before: Timestamp, after: Option<EndpointId>, limit: usize) -> Result<Vec<EndpointId>, StoreError> {
    const TO_PROBE: &str = "SELECT e.id FROM endpoint e JOIN stream s ON s.id = e.stream JOIN vendor v ON v.id = s.vendor \
        WHERE e.id > ?1 AND e.status = ?2 AND e.by_rule = 1 AND coalesce(e.probed_at, 0) <= ?3 AND e.deleted_at IS NULL AND v.disabled = 0 \
        ORDER BY e.id LIMIT ?4";
    let values = params![after.map_or(-1, EndpointId::get), EndpointStatus::Disabled as i64, before.as_millis(), limit];
    conn.all(TO_PROBE, values, |row| row.get(0).map(EndpointId::new))
}

pub(super) fn pauses_over(conn: Conn, now: Timestamp, limit: usize) -> Result<Vec<EndpointId>, StoreError> {
    const OVER: &str = "SELECT id FROM endpoint WHERE status = ?1 AND paused_until <= ?2 AND deleted_at IS NULL LIMIT ?3";
    let values = params![EndpointStatus::Paused as i64, now.as_millis(), limit];
    conn.all(OVER, values, |row| row.get(0).map(EndpointId::new))
}

// --- Mails -----------------------------------------------------------------------------------------------------------

pub(super) fn mailings(
    conn: Conn,
    sealer: &Sealer,
    (now, mailed_before): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<Mailing>, StoreError> {
    const DUE: &str = "SELECT a.address, count(*) AS waiting, coalesce(max(m.tries), 0) AS tries FROM alert a \
        LEFT JOIN mailbox m ON m.address = a.address \
        WHERE a.letter IS NULL AND coalesce(m.mailed_at, 0) <= ?1 AND coalesce(m.next_try_at, 0) <= ?2 GROUP BY a.address ORDER BY min(a.id) LIMIT ?3";
    let read = |row: &Row| {
        let (address, waiting, tries) = (row.get("address")?, row.get("waiting")?, row.get("tries")?);
        Ok(Mailing { address, alerts: Vec::new(), waiting, up_to: 0, tries, is_letter: false })
    };
    let due = conn.all(DUE, params![mailed_before.as_millis(), now.as_millis(), limit], read)?;
    let letters = letters(conn, sealer, now, limit)?.into_iter().map(Ok);
    letters.chain(due.into_iter().map(|mailing| with_alerts(conn, mailing))).collect()
}

fn letters(conn: Conn, sealer: &Sealer, now: Timestamp, limit: usize) -> Result<Vec<Mailing>, StoreError> {
    const DUE: &str = "SELECT a.id, a.address, a.title, a.letter, coalesce(m.tries, 0) AS tries FROM alert a \
        LEFT JOIN mailbox m ON m.address = a.address \
        WHERE a.letter IS NOT NULL AND coalesce(m.next_try_at, 0) <= ?1 ORDER BY a.id LIMIT ?2";
    conn.all(DUE, params![now.as_millis(), limit], |row| {
        let id: i64 = row.get("id")?;
        let text = sealer.open(&sealed_for(id), &row.get::<Vec<u8>>("letter")?)?;
        let text = String::from_utf8_lossy(text.expose()).into_owned();
        let alerts = vec![Alert { endpoint: None, title: row.get("title")?, text }];
        Ok(Mailing { address: row.get("address")?, alerts, waiting: 1, up_to: id, tries: row.get("tries")?, is_letter: true })
    })
}

fn with_alerts(conn: Conn, mut mailing: Mailing) -> Result<Mailing, StoreError> {
    const FIRST: &str = "SELECT endpoint, title, text FROM alert WHERE address = ?1 AND letter IS NULL ORDER BY id LIMIT ?2";
    let read = |row: &Row| {
        let endpoint = row.get::<Option<i64>>("endpoint")?.map(EndpointId::new);
        Ok(Alert { endpoint, title: row.get("title")?, text: row.get("text")? })
    };
    mailing.alerts = conn.all(FIRST, params![mailing.address, limits::MAIL_ALERTS_MAX], read)?;
    const LAST: &str = "SELECT max(id) FROM alert WHERE address = ?1 AND letter IS NULL";
    mailing.up_to = conn.one(LAST, params![&mailing.address], |row| row.get(0))?;
    Ok(mailing)
}

pub(super) fn mailed(conn: Conn, mailing: &Mailing, now: Timestamp) -> Result<(), StoreError> {
    if mailing.is_letter {
        conn.execute("DELETE FROM alert WHERE id = ?1", params![mailing.up_to])?;
        const WORKS: &str = "UPDATE mailbox SET tries = 0, next_try_at = NULL, error = NULL WHERE address = ?1";
        return conn.execute(WORKS, params![mailing.address]).map(drop);
    }
    conn.execute("DELETE FROM alert WHERE address = ?1 AND id <= ?2 AND letter IS NULL", params![mailing.address, mailing.up_to])?;
    const MAILED: &str = "INSERT INTO mailbox (address, mailed_at) VALUES (?1, ?2) \
        ON CONFLICT (address) DO UPDATE SET mailed_at = excluded.mailed_at, tries = 0, next_try_at = NULL, error = NULL";
    conn.execute(MAILED, params![mailing.address, now.as_millis()])?;
    Ok(())
}

pub(super) fn mail_failed(conn: Conn, mailing: &Mailing, error: &str, again: Timestamp) -> Result<(), StoreError> {
    const FAILED: &str = "INSERT INTO mailbox (address, tries, next_try_at, error) VALUES (?1, 1, ?2, ?3) \
        ON CONFLICT (address) DO UPDATE SET tries = mailbox.tries + 1, next_try_at = excluded.next_try_at, error = excluded.error";
    conn.execute(FAILED, params![mailing.address, again.as_millis(), error])?;
    Ok(())
}

/// Mails that wait, the newest first.
pub(super) fn waiting_mails(conn: Conn, page: Page<i64>) -> Result<Vec<WaitingMail>, StoreError> {
    const WAITING: &str = "SELECT a.id, a.address, a.endpoint, a.title, a.created_at, m.tries, m.next_try_at, m.error FROM alert a \
        LEFT JOIN mailbox m ON m.address = a.address WHERE a.id < ?1 ORDER BY a.id DESC LIMIT ?2";
    let read = |row: &Row| {
        Ok(WaitingMail {
            id: row.get("id")?,
            address: row.get("address")?,
            endpoint: row.get::<Option<i64>>("endpoint")?.map(EndpointId::new),
            title: row.get("title")?,
            created_at: row.get("created_at")?,
            tries: row.get::<Option<u32>>("tries")?.unwrap_or(0),
            next_try_at: row.get("next_try_at")?,
            error: row.get("error")?,
        })
    };
    conn.all(WAITING, params![page.before.unwrap_or(i64::MAX), page.limit], read)
}

/// Mails with links in them under the present key, of which it is known where they were bound.
pub(super) fn reseal(conn: Conn, sealer: &Sealer, bound: Bound) -> Result<(), StoreError> {
    const ALL: &str = "SELECT id, letter FROM alert WHERE letter IS NOT NULL";
    for (id, sealed) in conn.all(ALL, params![], |row| Ok((row.get::<i64>(0)?, row.get::<Vec<u8>>(1)?)))? {
        let from = bound.place(sealed_for(id), format!("letter {id}"));
        let again = sealer.rebind(&from, &sealed_for(id), &sealed)?;
        conn.execute("UPDATE alert SET letter = ?2 WHERE id = ?1", params![id, again])?;
    }
    Ok(())
}
