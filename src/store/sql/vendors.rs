//! Vendors, their streams and tokens.

use ipnet::IpNet;

use super::conn::{Conn, Result, Row, params};
use super::rows::{bad, word};
use crate::domain::id::{EndpointId, StreamId, TokenId, VendorId};
use crate::domain::time::Timestamp;
use crate::domain::token::{Scope, Token, TokenHash};
use crate::domain::vendor::{Mode, Vendor};
use crate::limits;
use crate::store::{Created, Page, StoreError, VendorChange};

pub(super) fn create(conn: Conn, vendor: &Vendor, tokens: &[(Token, TokenHash)]) -> Result<(), StoreError> {
    const VENDOR: &str = "INSERT INTO vendor (id, name, email, disabled, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    conn.execute(VENDOR, params![vendor.id.get(), vendor.name, vendor.email, vendor.disabled, vendor.created_at.as_millis()])?;
    for mode in Mode::ALL {
        const STREAM: &str = "INSERT INTO stream (id, vendor, mode) VALUES (?1, ?2, ?3)";
        conn.execute(STREAM, params![vendor.stream(mode).get(), vendor.id.get(), mode as i64])?;
    }
    tokens.iter().try_for_each(|(token, hash)| create_token(conn, token, *hash))
}

pub(super) fn create_token(conn: Conn, token: &Token, hash: TokenHash) -> Result<(), StoreError> {
    let (vendor, stream) = match token.scope {
        Scope::Operator => (None, None),
        Scope::Vendor { vendor, stream, .. } => (Some(vendor.get()), Some(stream.get())),
    };
    let allowed: Vec<String> = token.allowed_ips.iter().map(IpNet::to_string).collect();
    const TOKEN: &str = "INSERT INTO token (id, hash, vendor, stream, name, allowed_ips, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    conn.execute(TOKEN, params![token.id.get(), hash.0, vendor, stream, token.name, allowed.join(" "), token.created_at.as_millis()])?;
    Ok(())
}

/// Adds a token unless its stream has as many as it may.
pub(super) fn add_token(conn: Conn, token: &Token, hash: TokenHash) -> Result<Created, StoreError> {
    if let Scope::Vendor { vendor, stream, .. } = token.scope {
        hold(conn, vendor)?;
        const COUNT: &str = "SELECT count(*) FROM token WHERE vendor = ?1 AND stream = ?2 AND revoked_at IS NULL";
        let count: i64 = conn.one(COUNT, params![vendor.get(), stream.get()], |row| row.get(0))?;
        if count >= i64::from(limits::TOKENS_PER_STREAM) {
            return Ok(Created::LimitReached);
        }
    }
    create_token(conn, token, hash)?;
    Ok(Created::Yes)
}

/// Makes other transactions that hold the same vendor wait, so that what is counted stays as it was counted.
pub(super) fn hold(conn: Conn, vendor: VendorId) -> Result<(), StoreError> {
    conn.first("SELECT id FROM vendor WHERE id = ?1 /*FOR UPDATE*/", params![vendor.get()], |row| row.get::<i64>(0)).map(drop)
}

const VENDOR_COLUMNS: &str = "v.id, v.name, v.email, v.disabled, v.created_at, \
    (SELECT s.id FROM stream s WHERE s.vendor = v.id AND s.mode = 0) AS live, \
    (SELECT s.id FROM stream s WHERE s.vendor = v.id AND s.mode = 1) AS test";

fn read_vendor(row: &Row) -> Result<Vendor> {
    Ok(Vendor {
        id: VendorId::new(row.get("id")?),
        name: row.get("name")?,
        email: row.get("email")?,
        disabled: row.get("disabled")?,
        created_at: row.get("created_at")?,
        streams: [StreamId::new(row.get("live")?), StreamId::new(row.get("test")?)],
    })
}

pub(super) fn one(conn: Conn, id: VendorId) -> Result<Option<Vendor>, StoreError> {
    let sql = format!("SELECT {VENDOR_COLUMNS} FROM vendor v WHERE v.id = ?1");
    conn.first(&sql, params![id.get()], read_vendor)
}

pub(super) fn list(conn: Conn, page: Page<VendorId>) -> Result<Vec<Vendor>, StoreError> {
    let sql = format!("SELECT {VENDOR_COLUMNS} FROM vendor v WHERE v.id < ?1 ORDER BY v.id DESC LIMIT ?2");
    let before = page.before.map_or(i64::MAX, VendorId::get);
    conn.all(&sql, params![before, page.limit], read_vendor)
}

pub(super) fn update(conn: Conn, id: VendorId, change: &VendorChange) -> Result<Option<Vendor>, StoreError> {
    const UPDATE: &str =
        "UPDATE vendor SET name = coalesce(?2, name), email = coalesce(?3, email), disabled = coalesce(?4, disabled) WHERE id = ?1";
    conn.execute(UPDATE, params![id.get(), change.name, change.email, change.disabled])?;
    one(conn, id)
}

pub(super) fn owner(conn: Conn, stream: StreamId) -> Result<Option<(VendorId, Mode)>, StoreError> {
    let read = |row: &Row| Ok((VendorId::new(row.get("vendor")?), word(row, "mode", &Mode::ALL)?));
    conn.first("SELECT vendor, mode FROM stream WHERE id = ?1", params![stream.get()], read)
}

const TOKEN_COLUMNS: &str = "t.id, t.vendor, t.stream, t.name, t.allowed_ips, t.created_at, t.last_used_at, s.mode";

fn read_token(row: &Row) -> Result<Token> {
    let vendor: Option<i64> = row.get("vendor")?;
    let scope = match vendor {
        None => Scope::Operator,
        Some(vendor) => {
            Scope::Vendor { vendor: VendorId::new(vendor), mode: word(row, "mode", &Mode::ALL)?, stream: StreamId::new(row.get("stream")?) }
        }
    };
    let allowed: String = row.get("allowed_ips")?;
    let allowed_ips = allowed.split_whitespace().map(str::parse).collect::<Result<Vec<IpNet>, _>>();
    Ok(Token {
        id: TokenId::new(row.get("id")?),
        scope,
        name: row.get("name")?,
        allowed_ips: allowed_ips.map_err(|error| bad("allowed_ips", error))?,
        created_at: row.get("created_at")?,
        last_used_at: row.get("last_used_at")?,
    })
}

pub(super) fn token(conn: Conn, hash: TokenHash) -> Result<Option<Token>, StoreError> {
    let sql = format!(
        "SELECT {TOKEN_COLUMNS} FROM token t LEFT JOIN stream s ON s.id = t.stream LEFT JOIN vendor v ON v.id = t.vendor \
         WHERE t.hash = ?1 AND t.revoked_at IS NULL AND coalesce(v.disabled, 0) = 0"
    );
    conn.first(&sql, params![hash.0], read_token)
}

pub(super) fn tokens(conn: Conn, vendor: Option<VendorId>, page: Page<TokenId>) -> Result<Vec<Token>, StoreError> {
    let sql = format!(
        "SELECT {TOKEN_COLUMNS} FROM token t LEFT JOIN stream s ON s.id = t.stream \
         WHERE t.vendor IS ?1 AND t.id < ?2 AND t.revoked_at IS NULL ORDER BY t.id DESC LIMIT ?3"
    );
    let before = page.before.map_or(i64::MAX, TokenId::get);
    conn.all(&sql, params![vendor.map(VendorId::get), before, page.limit], read_token)
}

pub(super) fn revoke_token(conn: Conn, vendor: Option<VendorId>, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
    const REVOKE: &str = "UPDATE token SET revoked_at = ?3 WHERE id = ?2 AND vendor IS ?1 AND revoked_at IS NULL";
    Ok(conn.execute(REVOKE, params![vendor.map(VendorId::get), id.get(), now.as_millis()])? == 1)
}

/// Notes that a token is in use, unless that was noted a moment ago.
pub(super) fn token_used(conn: Conn, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
    const USED: &str = "UPDATE token SET last_used_at = ?2 WHERE id = ?1 AND coalesce(last_used_at, 0) < ?3";
    let known = now.as_millis() - limits::TOKEN_USE_NOTED.as_millis() as i64;
    conn.execute(USED, params![id.get(), now.as_millis(), known]).map(drop)
}

/// The endpoints of a vendor's two streams.
pub(super) fn endpoints(conn: Conn, vendor: VendorId) -> Result<Vec<EndpointId>, StoreError> {
    const OF_VENDOR: &str = "SELECT e.id FROM stream s JOIN endpoint e ON e.stream = s.id WHERE s.vendor = ?1 AND e.deleted_at IS NULL";
    conn.all(OF_VENDOR, params![vendor.get()], |row| row.get(0).map(EndpointId::new))
}
