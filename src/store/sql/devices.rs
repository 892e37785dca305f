//! Browsers that are known, and second factors that are proposed in a session.

use super::accept::Batch;
use super::conn::{Conn, Result, Row, params};
use crate::domain::id::{SessionId, UserId};
use crate::domain::secret::Secret;
use crate::domain::session::Device;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::store::StoreError;
use crate::store::seal::{Place, Sealer};

/// Browsers of one login that are known at once. The oldest are forgotten.
const KNOWN: i64 = 20;

pub(super) fn remember(batch: &Batch, user: UserId, device: &Device, now: Timestamp) -> Result<(), StoreError> {
    const REMEMBER: &str = "INSERT INTO device (id, hash, login, expires_at) VALUES (?1, ?2, ?3, ?4)";
    let values = params![batch.ids.next(now).get(), device.hash.0, user.get(), device.expires_at.as_millis()];
    batch.conn.execute(REMEMBER, values)?;
    const FORGET: &str = "DELETE FROM device WHERE login = ?1 AND id <= \
        (SELECT id FROM device WHERE login = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    batch.conn.execute(FORGET, params![user.get(), KNOWN]).map(drop)
}

/// Whether this browser is known of the login with this address.
pub(super) fn is_known(conn: Conn, hash: TokenHash, email: &str, now: Timestamp) -> Result<bool, StoreError> {
    const KNOWN: &str = "SELECT 1 FROM device d JOIN \"user\" u ON u.id = d.login WHERE d.hash = ?1 AND u.email = ?2 AND d.expires_at > ?3";
    conn.exists(KNOWN, params![hash.0, email, now.as_millis()])
}

pub(super) fn forget(conn: Conn, user: UserId) -> Result<(), StoreError> {
    conn.execute("DELETE FROM device WHERE login = ?1", params![user.get()]).map(drop)
}

fn place(session: i64) -> Place {
    Place::new("session", "proposed", SessionId::new(session))
}

const FIND: &str = "SELECT id, proposed FROM session WHERE hash = ?1 /*FOR UPDATE*/";

fn read(row: &Row) -> Result<(i64, Option<Vec<u8>>)> {
    Ok((row.get("id")?, row.get("proposed")?))
}

/// Keeps a secret in a session that has none.
pub(super) fn propose(batch: &Batch, session: TokenHash, secret: &Secret) -> Result<bool, StoreError> {
    let Some((id, None)) = batch.conn.first(FIND, params![session.0], read)? else { return Ok(false) };
    let sealed = batch.sealer.seal(&place(id), secret.expose());
    Ok(batch.conn.execute("UPDATE session SET proposed = ?2 WHERE id = ?1", params![id, sealed])? == 1)
}

pub(super) fn proposed(conn: Conn, sealer: &Sealer, session: TokenHash) -> Result<Option<Secret>, StoreError> {
    const FIND: &str = "SELECT id, proposed FROM session WHERE hash = ?1";
    let found = conn.first(FIND, params![session.0], read)?;
    found.and_then(|(id, sealed)| Some((id, sealed?))).map(|(id, sealed)| sealer.open(&place(id), &sealed)).transpose()
}

/// Proposed secrets under the present key.
pub(super) fn reseal(conn: Conn, sealer: &Sealer) -> Result<(), StoreError> {
    const ALL: &str = "SELECT id, proposed FROM session WHERE proposed IS NOT NULL";
    for (id, sealed) in conn.all(ALL, params![], read)? {
        let again = sealed.map(|sealed| sealer.reseal(&place(id), &sealed)).transpose()?;
        conn.execute("UPDATE session SET proposed = ?2 WHERE id = ?1", params![id, again])?;
    }
    Ok(())
}
