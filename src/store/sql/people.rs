//! People: logins, who is logged in, and one-time links.

use serde_json::{Value, json};

use super::accept::Batch;
use super::conn::{Conn, Result, Row, params};
use super::reseal::Bound;
use super::rows::{bad, word, word_or_null};
use super::{devices, health, vendors};
use crate::clock::Ids;
use crate::domain::alert::Email;
use crate::domain::id::{LinkId, SessionId, UserId, VendorId};
use crate::domain::secret::Secret;
use crate::domain::session::{Link, LoggedIn, Purpose, Session};
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::domain::user::{Credentials, PasswordHash, Role, SecondFactor, User};
use crate::limits;
use crate::store::seal::{Place, Sealer};
use crate::store::{Created, NewPassword, Page, Redeemed, Redeeming, StoreError};

const COLUMNS: &str = "id, email, vendor, role, second_factor, created_at";

fn read(row: &Row) -> Result<User> {
    Ok(User {
        id: UserId::new(row.get("id")?),
        email: row.get("email")?,
        vendor: row.get::<Option<i64>>("vendor")?.map(VendorId::new),
        role: word(row, "role", &Role::ALL)?,
        second_factor: row.get::<Option<Vec<u8>>>("second_factor")?.is_some(),
        created_at: row.get("created_at")?,
    })
}

pub(super) fn create_user(conn: Conn, user: &User, hash: &PasswordHash) -> Result<Created, StoreError> {
    const CREATE: &str = "INSERT INTO \"user\" (id, email, vendor, password_hash, role, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
        ON CONFLICT (email) DO NOTHING";
    let User { id, email, vendor, role, created_at, .. } = user;
    let values = params![id.get(), email, vendor.map(VendorId::get), hash.0, *role as i64, created_at.as_millis()];
    Ok(if conn.execute(CREATE, values)? == 1 { Created::Yes } else { Created::Taken })
}

/// Adds an operator's login unless there is one. Several nodes may try at once, each with a link of its own.
pub(super) fn create_first_operator(conn: Conn, user: &User, hash: &PasswordHash) -> Result<Created, StoreError> {
    super::reseal::hold(conn)?;
    if conn.exists("SELECT 1 FROM \"user\" WHERE vendor IS NULL LIMIT 1", params![])? {
        return Ok(Created::LimitReached);
    }
    create_user(conn, user, hash)
}

pub(super) fn remove_user(conn: Conn, vendor: Option<VendorId>, id: UserId) -> Result<bool, StoreError> {
    let gone = conn.execute("DELETE FROM \"user\" WHERE id = ?1 AND vendor IS ?2", params![id.get(), vendor.map(VendorId::get)])? == 1;
    if gone {
        end_sessions(conn, id, None)?;
        devices::forget(conn, id)?;
        conn.execute("DELETE FROM link WHERE login = ?1", params![id.get()])?;
    }
    Ok(gone)
}

/// Whether this login is an owner, and no other login of the vendor (of the operator, if none is named) is one.
pub(super) fn is_last_owner(conn: Conn, vendor: Option<VendorId>, id: UserId) -> Result<bool, StoreError> {
    // Owners are locked in one order, so that two who remove each other at once wait instead of both succeeding.
    const OWNERS: &str = "SELECT id FROM \"user\" WHERE vendor IS ?1 AND role = ?2 ORDER BY id /*FOR UPDATE*/";
    let owners = conn.all(OWNERS, params![vendor.map(VendorId::get), Role::Owner as i64], |row| row.get::<i64>(0))?;
    Ok(owners == [id.get()])
}

pub(super) fn set_role(conn: Conn, vendor: VendorId, id: UserId, role: Role) -> Result<bool, StoreError> {
    const SET: &str = "UPDATE \"user\" SET role = ?3 WHERE id = ?1 AND vendor = ?2";
    Ok(conn.execute(SET, params![id.get(), vendor.get(), role as i64])? == 1)
}

pub(super) fn users(conn: Conn, vendor: Option<VendorId>, page: Page<UserId>) -> Result<Vec<User>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM \"user\" WHERE vendor IS ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
    let values = params![vendor.map(VendorId::get), page.before.map_or(i64::MAX, UserId::get), page.limit];
    conn.all(&sql, values, read)
}

pub(super) fn credentials(conn: Conn, sealer: &Sealer, email: &str) -> Result<Option<Credentials>, StoreError> {
    let sql = format!("SELECT {COLUMNS}, password_hash FROM \"user\" WHERE email = ?1");
    let found = conn.first(&sql, params![email], |row| {
        Ok((read(row)?, PasswordHash(row.get("password_hash")?), row.get::<Option<Vec<u8>>>("second_factor")?))
    })?;
    let Some((user, password, sealed)) = found else { return Ok(None) };
    let second_factor = sealed.map(|sealed| open(sealer, user.id, &sealed)).transpose()?;
    Ok(Some(Credentials { user, password, second_factor }))
}

/// Another password; other sessions of the login end.
pub(super) fn set_password(conn: Conn, id: UserId, new: &NewPassword) -> Result<bool, StoreError> {
    const SET: &str = "UPDATE \"user\" SET password_hash = ?2 WHERE id = ?1";
    end_sessions(conn, id, new.keep)?;
    devices::forget(conn, id)?;
    conn.execute("DELETE FROM link WHERE login = ?1", params![id.get()])?;
    Ok(conn.execute(SET, params![id.get(), new.hash.0])? == 1)
}

// --- Second factors --------------------------------------------------------------------------------------------------

/// Where a second factor belongs.
fn sealed_in(id: UserId) -> Place {
    Place::new("user", "second_factor", id)
}

fn seal(sealer: &Sealer, id: UserId, factor: &SecondFactor) -> Vec<u8> {
    let code = |code: &[u8; 32]| Value::from(data_encoding::HEXLOWER.encode(code));
    let text = json!({
        "secret": data_encoding::HEXLOWER.encode(factor.secret.expose()),
        "used": factor.used,
        "codes": factor.codes.iter().map(code).collect::<Vec<_>>(),
    });
    sealer.seal(&sealed_in(id), text.to_string().as_bytes())
}

fn open(sealer: &Sealer, id: UserId, sealed: &[u8]) -> Result<SecondFactor, StoreError> {
    let opened = sealer.open(&sealed_in(id), sealed)?;
    let read = || -> Option<SecondFactor> {
        let value: Value = serde_json::from_slice(opened.expose()).ok()?;
        let bytes = |value: &Value| data_encoding::HEXLOWER.decode(value.as_str()?.as_bytes()).ok();
        let codes = value["codes"].as_array()?.iter().map(|code| bytes(code)?.try_into().ok()).collect::<Option<Vec<[u8; 32]>>>()?;
        Some(SecondFactor { secret: Secret::new(bytes(&value["secret"])?), used: value["used"].as_i64()?, codes })
    };
    read().ok_or_else(|| bad("second_factor", "it cannot be read"))
}

/// Puts another second factor in the place of the one that was read. Nothing is done if that is not there any more: its digits
/// were used meanwhile.
pub(super) fn change_second_factor(
    batch: &Batch,
    id: UserId,
    from: Option<&SecondFactor>,
    to: Option<&SecondFactor>,
) -> Result<bool, StoreError> {
    const READ: &str = "SELECT second_factor FROM \"user\" WHERE id = ?1 /*FOR UPDATE*/";
    let (conn, sealer) = (batch.conn, batch.sealer);
    let Some(sealed) = conn.first(READ, params![id.get()], |row| row.get::<Option<Vec<u8>>>(0))? else { return Ok(false) };
    let present = sealed.map(|sealed| open(sealer, id, &sealed)).transpose()?;
    if present.as_ref() != from {
        return Ok(false);
    }
    const WRITE: &str = "UPDATE \"user\" SET second_factor = ?2 WHERE id = ?1";
    conn.execute(WRITE, params![id.get(), to.map(|factor| seal(sealer, id, factor))])?;
    Ok(true)
}

/// Second factors under the present key, of which it is known where they were bound.
pub(super) fn reseal(conn: Conn, sealer: &Sealer, bound: Bound) -> Result<(), StoreError> {
    const ALL: &str = "SELECT id, second_factor FROM \"user\" WHERE second_factor IS NOT NULL";
    for (id, sealed) in conn.all(ALL, params![], |row| Ok((UserId::new(row.get(0)?), row.get::<Vec<u8>>(1)?)))? {
        let from = bound.place(sealed_in(id), id);
        let again = sealer.rebind(&from, &sealed_in(id), &sealed)?;
        conn.execute("UPDATE \"user\" SET second_factor = ?2 WHERE id = ?1", params![id.get(), again])?;
    }
    Ok(())
}

// --- Sessions --------------------------------------------------------------------------------------------------------

/// Begins a session, in the place of another one if that is said and still good.
pub(super) fn log_in(conn: Conn, session: &Session, hash: TokenHash, instead_of: Option<TokenHash>) -> Result<bool, StoreError> {
    if let Some(before) = instead_of
        && !log_out(conn, before)?
    {
        return Ok(false);
    }
    const BEGIN: &str =
        "INSERT INTO session (id, hash, login, vendor, role, awaits, address, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    conn.execute(
        BEGIN,
        params![
            session.id.get(),
            hash.0,
            session.user.map(UserId::get),
            session.vendor.map(VendorId::get),
            session.role as i64,
            session.awaits_second_factor,
            session.address.map(|address| address.to_string()),
            session.expires_at.as_millis(),
        ],
    )?;
    Ok(true)
}

pub(super) fn log_out(conn: Conn, hash: TokenHash) -> Result<bool, StoreError> {
    Ok(conn.execute("DELETE FROM session WHERE hash = ?1", params![hash.0])? == 1)
}

/// Ends a login's sessions, but for one.
pub(super) fn end_sessions(conn: Conn, id: UserId, keep: Option<TokenHash>) -> Result<(), StoreError> {
    let keep = keep.map(|hash| hash.0.to_vec()).unwrap_or_default();
    conn.execute("DELETE FROM session WHERE login = ?1 AND hash <> ?2", params![id.get(), keep]).map(drop)
}

pub(super) fn session(conn: Conn, hash: TokenHash, now: Timestamp) -> Result<Option<LoggedIn>, StoreError> {
    const FIND: &str = "SELECT s.id, s.login, s.vendor, coalesce(u.role, s.role) AS role, s.awaits, s.address, s.expires_at, u.email, u.second_factor \
        FROM session s LEFT JOIN \"user\" u ON u.id = s.login WHERE s.hash = ?1 AND s.expires_at > ?2";
    let read = |row: &Row| {
        let id: i64 = row.get("id")?;
        let session = Session {
            id: SessionId::new(id),
            user: row.get::<Option<i64>>("login")?.map(UserId::new),
            vendor: row.get::<Option<i64>>("vendor")?.map(VendorId::new),
            role: word(row, "role", &Role::ALL)?,
            awaits_second_factor: row.get("awaits")?,
            address: row.get::<Option<String>>("address")?.and_then(|text| text.parse().ok()),
            created_at: Ids::time_of(id),
            expires_at: row.get("expires_at")?,
        };
        let has_second_factor = row.get::<Option<Vec<u8>>>("second_factor")?.is_some();
        Ok(LoggedIn { session, email: row.get("email")?, has_second_factor, vendor: None })
    };
    let Some(mut found) = conn.first(FIND, params![hash.0, now.as_millis()], read)? else { return Ok(None) };
    if let Some(vendor) = found.session.vendor {
        found.vendor = vendors::one(conn, vendor)?.filter(|vendor| !vendor.disabled);
        if found.vendor.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

// --- Links -----------------------------------------------------------------------------------------------------------

/// Makes a link, and the mail that carries it; answers whether there was room for one more. An invitation takes the place of the
/// same inviter's earlier one. Links to a new password take no other's place: whoever asks for one may be a stranger.
pub(super) fn create_link(batch: &Batch, link: &Link, hash: TokenHash, letter: Option<&Email>) -> Result<bool, StoreError> {
    const CREATE: &str = "INSERT INTO link (id, hash, purpose, email, login, vendor, role, lifetime, expires_at) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let (id, expires, now) = (link.id.get(), link.expires_at.as_millis(), link.created_at.as_millis());
    let none: Option<i64> = None;
    let count = |sql: &str, of: Option<i64>| batch.conn.one(sql, params![of, now], |row| row.get::<i64>(0));
    match &link.purpose {
        Purpose::Invitation { email, vendor, role } => {
            const OPEN: &str = "SELECT count(*) FROM link WHERE vendor IS ?1 AND purpose = 0 AND expires_at > ?2";
            let vendor = vendor.map(VendorId::get);
            batch.conn.execute("DELETE FROM link WHERE email = ?1 AND vendor IS ?2 AND purpose = 0", params![email, vendor])?;
            if count(OPEN, vendor)? >= i64::from(limits::INVITATIONS_OPEN) {
                return Ok(false);
            }
            batch.conn.execute(CREATE, params![id, hash.0, 0_i64, email, none, vendor, *role as i64, none, expires])?;
        }
        Purpose::Reset { user } => {
            const OPEN: &str = "SELECT count(*) FROM link WHERE login = ?1 AND purpose = 1 AND expires_at > ?2";
            if count(OPEN, Some(user.get()))? >= i64::from(limits::RESETS_OPEN) {
                return Ok(false);
            }
            batch.conn.execute(CREATE, params![id, hash.0, 1_i64, None::<String>, user.get(), none, none, none, expires])?;
        }
        Purpose::Panel { vendor, role, lifetime } => {
            let values = params![id, hash.0, 2_i64, None::<String>, none, vendor.get(), *role as i64, lifetime.as_secs() as i64, expires];
            batch.conn.execute(CREATE, values)?;
        }
    }
    if let Some(letter) = letter {
        health::keep_letter(batch, letter, link.created_at)?;
    }
    Ok(true)
}

const LINK_COLUMNS: &str = "id, purpose, email, login, vendor, role, lifetime, expires_at";

fn read_link(row: &Row) -> Result<Link> {
    let vendor = row.get::<Option<i64>>("vendor")?.map(VendorId::new);
    let role = word_or_null(row, "role", &Role::ALL)?.unwrap_or(Role::Viewer);
    let purpose = match (row.get::<i64>("purpose")?, vendor) {
        (0, vendor) => Purpose::Invitation { email: row.get("email")?, vendor, role },
        (1, _) => Purpose::Reset { user: UserId::new(row.get("login")?) },
        (2, Some(vendor)) => {
            let lifetime = std::time::Duration::from_secs(row.get::<i64>("lifetime")?.unsigned_abs());
            Purpose::Panel { vendor, role, lifetime }
        }
        _ => return Err(bad("purpose", "no such word")),
    };
    let id: i64 = row.get("id")?;
    Ok(Link { id: LinkId::new(id), purpose, created_at: Ids::time_of(id), expires_at: row.get("expires_at")? })
}

pub(super) fn link(conn: Conn, hash: TokenHash, now: Timestamp) -> Result<Option<Link>, StoreError> {
    let sql = format!("SELECT {LINK_COLUMNS} FROM link WHERE hash = ?1 AND expires_at > ?2");
    conn.first(&sql, params![hash.0, now.as_millis()], read_link)
}

/// Invitations that can still be taken, the latest first.
pub(super) fn invitations(conn: Conn, vendor: Option<VendorId>, now: Timestamp) -> Result<Vec<Link>, StoreError> {
    let sql = format!(
        "SELECT {LINK_COLUMNS} FROM link WHERE vendor IS ?1 AND purpose = 0 AND expires_at > ?2 ORDER BY id DESC LIMIT {}",
        limits::PAGE_MAX
    );
    conn.all(&sql, params![vendor.map(VendorId::get), now.as_millis()], read_link)
}

pub(super) fn withdraw(conn: Conn, vendor: Option<VendorId>, id: LinkId) -> Result<bool, StoreError> {
    const WITHDRAW: &str = "DELETE FROM link WHERE id = ?1 AND vendor IS ?2 AND purpose = 0";
    Ok(conn.execute(WITHDRAW, params![id.get(), vendor.map(VendorId::get)])? == 1)
}

/// Whether the operator has invited this address. No vendor's invitation takes it meanwhile.
fn is_operators(conn: Conn, email: &str, now: Timestamp) -> Result<bool, StoreError> {
    const INVITED: &str = "SELECT 1 FROM link WHERE email = ?1 AND purpose = 0 AND vendor IS NULL AND expires_at > ?2";
    conn.exists(INVITED, params![email, now.as_millis()])
}

/// What a link is good for, once.
pub(super) fn redeem(conn: Conn, hash: TokenHash, redeeming: &Redeeming, now: Timestamp) -> Result<Redeemed, StoreError> {
    const TAKE: &str = "DELETE FROM link WHERE hash = ?1 AND expires_at > ?2";
    if conn.execute(TAKE, params![hash.0, now.as_millis()])? == 0 {
        return Ok(Redeemed::Gone);
    }
    Ok(match redeeming {
        Redeeming::Login(user, _) if user.vendor.is_some() && is_operators(conn, &user.email, now)? => Redeemed::Taken,
        Redeeming::Login(user, password) => match create_user(conn, user, password)? {
            Created::Yes => Redeemed::Yes,
            _ => Redeemed::Taken,
        },
        Redeeming::Password(user, new) if set_password(conn, *user, new)? => Redeemed::Yes,
        Redeeming::Password(..) => Redeemed::Gone,
        Redeeming::Session(session, hash) => {
            log_in(conn, session, *hash, None)?;
            Redeemed::Yes
        }
    })
}
