//! Logging in and out: passwords, second factors, sessions.
//!
//! A session is known by its ticket, of which only the hash is stored. Passwords and digits are tried a few times a minute,
//! counted for the address they come from and for the login, on each node by itself.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde_json::json;
use sha2::{Digest, Sha256};
use totp_rs::Totp;

use super::input::finish;
use super::users::{hash_password, is_password, read_password};
use super::{Ops, OpsError};
use crate::domain::audit::{Actor, Note};
use crate::domain::id::{SessionId, UserId, VendorId};
use crate::domain::secret::Secret;
use crate::domain::session::{LoggedIn, Session, Ticket};
use crate::domain::user::{Credentials, Role, SecondFactor};
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Deed, NewPassword};

const WRONG: OpsError = OpsError::WrongCredentials("this address and this password do not belong together");
const WRONG_CODE: OpsError = OpsError::WrongCredentials("these digits are not the present ones, or were used before; wait for the next");
/// Bytes of a second factor's secret (RFC 4226 section 4).
const SECRET: usize = 20;

/// Somebody at the door.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// From where.
    pub address: IpAddr,
}

/// A session that was just begun.
#[derive(Debug)]
pub struct NewSession {
    /// What the browser keeps.
    pub ticket: Ticket,
    /// The session.
    pub session: Session,
}

/// A second factor that is not in force yet.
#[derive(Debug, Clone)]
pub struct Proposed {
    /// Its secret, as people type it.
    pub secret: String,
    /// The same for an authenticator app's camera.
    pub url: String,
}

/// Logins that were tried.
pub(super) struct Tries {
    from: DefaultKeyedRateLimiter<IpAddr>,
    of: DefaultKeyedRateLimiter<String>,
}

impl Tries {
    pub fn new() -> Self {
        let most = NonZeroU32::new(limits::LOGINS_PER_MINUTE).expect("there may be some");
        Self { from: RateLimiter::keyed(Quota::per_minute(most)), of: RateLimiter::keyed(Quota::per_minute(most)) }
    }

    /// Counts a try.
    pub fn take(&self, from: IpAddr, of: &str) -> Result<(), OpsError> {
        if self.from.len() > limits::TOKEN_CACHE_MAX || self.of.len() > limits::TOKEN_CACHE_MAX {
            self.from.retain_recent();
            self.of.retain_recent();
        }
        let now = DefaultClock::default().now();
        self.from.check_key(&network(from)).map_err(|early| OpsError::TooManyTries(early.wait_time_from(now)))?;
        self.of.check_key(&of.to_owned()).map_err(|early| OpsError::TooManyTries(early.wait_time_from(now)))
    }
}

/// Network that counts as one caller: an IPv4 address, or a /64 of IPv6, which one machine has as a whole.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes()),
        address @ IpAddr::V4(_) => address,
    }
}

impl Ops {
    pub(super) fn new_ticket(&self) -> Ticket {
        let mut random = [0; Ticket::RANDOM];
        self.surroundings.entropy.fill(&mut random);
        Ticket::new(&random)
    }

    pub(super) fn new_session(&self, (vendor, role): (Option<VendorId>, Role), from: IpAddr, lasts: Duration) -> Session {
        let now = self.now();
        Session {
            id: SessionId::from(self.surroundings.ids.next(now)),
            user: None,
            vendor,
            role,
            awaits_second_factor: false,
            address: Some(from),
            created_at: now,
            expires_at: now.plus(lasts),
        }
    }

    /// Logs somebody in: `{email, password}`. The session is good for nothing but the second factor, where there is one.
    ///
    /// # Errors
    /// [`OpsError::WrongCredentials`], [`OpsError::TooManyTries`]; the input's problems.
    pub async fn log_in(&self, who: Visitor, mut fields: Fields) -> Result<NewSession, OpsError> {
        let email = fields.required_text("email", limits::NAME_MAX).to_lowercase();
        let password = fields.required_text("password", *limits::PASSWORD.end());
        finish(fields)?;
        self.tries.take(who.address, &email)?;
        let found = self.store.credentials(email).await?;
        let is_right = is_password(password, found.as_ref().map(|found| &found.password)).await;
        let Some(Credentials { user, second_factor, .. }) = found else { return Err(WRONG) };
        let note = |action| Note {
            actor: Actor::User(user.id),
            address: Some(who.address),
            vendor: user.vendor,
            mode: None,
            action,
            object: user.id.to_string(),
            details: json!({}),
        };
        if !is_right {
            self.change(Deed::Note, Some(note("user.login_failed")), None).await?;
            return Err(WRONG);
        }
        if let Some(vendor) = user.vendor
            && self.store.vendor(vendor).await?.is_none_or(|vendor| vendor.disabled)
        {
            return Err(OpsError::WrongCredentials("the operator has disabled this vendor; nobody can log in for it"));
        }
        let awaits = second_factor.is_some();
        let lasts = if awaits { limits::SECOND_FACTOR_WITHIN } else { limits::SESSION };
        let session =
            Session { user: Some(user.id), awaits_second_factor: awaits, ..self.new_session((user.vendor, user.role), who.address, lasts) };
        self.begin_session(session, None, (!awaits).then(|| note("user.logged_in"))).await
    }

    async fn begin_session(&self, session: Session, instead_of: Option<&Ticket>, note: Option<Note>) -> Result<NewSession, OpsError> {
        let ticket = self.new_ticket();
        let instead_of = instead_of.map(Ticket::hash);
        let deed = Deed::LogIn { session: Box::new(session.clone()), hash: ticket.hash(), instead_of };
        if self.change(deed, note, None).await?.came_to_pass() { Ok(NewSession { ticket, session }) } else { Err(OpsError::Unauthorized) }
    }

    /// Sees the second factor: `{code}`, six digits or one of the codes that are good once.
    ///
    /// # Errors
    /// [`OpsError::WrongCredentials`], [`OpsError::TooManyTries`]; the input's problems.
    pub async fn pass_second_factor(&self, who: &LoggedIn, ticket: &Ticket, mut fields: Fields) -> Result<NewSession, OpsError> {
        let code = fields.required_text("code", limits::NAME_MAX);
        finish(fields)?;
        let (Some(user), Some(email)) = (who.session.user, who.email.clone()) else { return Err(OpsError::Unauthorized) };
        let address = who.session.address.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        self.tries.take(address, &email)?;
        let factor = self.store.credentials(email).await?.and_then(|found| found.second_factor).ok_or(OpsError::Unauthorized)?;
        let used = self.use_code(&factor, &code).ok_or(WRONG_CODE)?;
        let codes_left = used.codes.len();
        let deed = Deed::ChangeSecondFactor { id: user, from: Some(factor), to: Some(used) };
        if !self.change(deed, None, None).await?.came_to_pass() {
            return Err(WRONG_CODE);
        }
        let session = Session { user: Some(user), ..self.new_session((who.session.vendor, who.session.role), address, limits::SESSION) };
        let note =
            Note { details: json!({"second_factor": true, "codes_left": codes_left}), ..self.person_note(who, user, "user.logged_in") };
        self.begin_session(session, Some(ticket), Some(note)).await
    }

    /// The second factor after this code was used, if it is one.
    fn use_code(&self, factor: &SecondFactor, code: &str) -> Option<SecondFactor> {
        let plain: String = code.chars().filter(|letter| letter.is_ascii_alphanumeric()).collect::<String>().to_uppercase();
        let hash: [u8; 32] = Sha256::digest(&plain).into();
        if let Some(at) = factor.codes.iter().position(|known| *known == hash) {
            let mut used = factor.clone();
            used.codes.remove(at);
            return Some(used);
        }
        let step = totp(&factor.secret).check(&plain, self.now().as_millis().unsigned_abs() / 1000)?;
        let step = i64::try_from(step).ok().filter(|step| *step > factor.used)?;
        Some(SecondFactor { used: step, ..factor.clone() })
    }

    fn person_note(&self, who: &LoggedIn, user: UserId, action: &'static str) -> Note {
        Note {
            actor: Actor::User(user),
            address: who.session.address,
            vendor: who.session.vendor,
            mode: None,
            action,
            object: user.to_string(),
            details: json!({}),
        }
    }

    /// Who comes with this ticket, if anybody is logged in with it.
    ///
    /// # Errors
    /// The store's.
    pub async fn session(&self, ticket: &Ticket) -> Result<Option<LoggedIn>, OpsError> {
        Ok(self.store.session(ticket.hash(), self.now()).await?)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The store's.
    pub async fn log_out(&self, ticket: &Ticket) -> Result<(), OpsError> {
        self.change(Deed::LogOut(ticket.hash()), None, None).await.map(drop)
    }

    /// Ends all of a login's sessions, this one too.
    ///
    /// # Errors
    /// It is no login's session; the store's.
    pub async fn log_out_everywhere(&self, who: &LoggedIn) -> Result<(), OpsError> {
        let user = who.session.user.ok_or(OpsError::Forbidden)?;
        let note = self.person_note(who, user, "user.logged_out_everywhere");
        self.change(Deed::LogOutEverywhere(user), Some(note), None).await.map(drop)
    }

    /// What a login is judged by, once its present password was given again as `password`.
    async fn confirmed(&self, who: &LoggedIn, password: String) -> Result<(UserId, Credentials), OpsError> {
        let (Some(user), Some(email)) = (who.session.user, who.email.clone()) else { return Err(OpsError::Forbidden) };
        self.tries.take(who.session.address.unwrap_or(IpAddr::from([0, 0, 0, 0])), &email)?;
        let found = self.store.credentials(email).await?.ok_or(OpsError::Unauthorized)?;
        if !is_password(password, Some(&found.password)).await {
            return Err(Problem::invalid("password", "is not your present password").into());
        }
        Ok((user, found))
    }

    /// Changes a password: `{password, new_password}`. The login's other sessions end.
    ///
    /// # Errors
    /// The input's problems; [`OpsError::TooManyTries`].
    pub async fn change_password(&self, who: &LoggedIn, ticket: &Ticket, mut fields: Fields) -> Result<(), OpsError> {
        let password = fields.required_text("password", *limits::PASSWORD.end());
        let new = read_password(&mut fields, "new_password");
        finish(fields)?;
        let (user, _) = self.confirmed(who, password).await?;
        let hash = hash_password(new, &*self.surroundings.entropy).await;
        let deed = Deed::SetPassword(user, NewPassword { hash, keep: Some(ticket.hash()) });
        self.change(deed, Some(self.person_note(who, user, "user.password_changed")), None).await.map(drop)
    }

    /// A second factor to take into an authenticator app; it is in force when its first digits have been seen.
    pub fn propose_second_factor(&self, who: &LoggedIn) -> Proposed {
        let mut secret = [0; SECRET];
        self.surroundings.entropy.fill(&mut secret);
        Self::proposed(who, &BASE32_NOPAD.encode(&secret))
    }

    /// The same for a secret that was proposed before.
    pub fn proposed(who: &LoggedIn, secret: &str) -> Proposed {
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let email = encode(who.email.as_deref().unwrap_or_default());
        let url = format!("otpauth://totp/Ringback:{email}?secret={}&issuer=Ringback", encode(secret));
        Proposed { secret: secret.to_owned(), url }
    }

    /// Puts a second factor in force: `{secret, code}`. Answers with the codes for when the app is lost, shown this once.
    ///
    /// # Errors
    /// The input's problems; [`OpsError::WrongCredentials`].
    pub async fn enable_second_factor(&self, who: &LoggedIn, mut fields: Fields) -> Result<Vec<String>, OpsError> {
        let secret = fields.required_text("secret", limits::NAME_MAX);
        let code = fields.required_text("code", limits::NAME_MAX);
        let secret = BASE32_NOPAD.decode(secret.as_bytes()).ok().filter(|secret| secret.len() == SECRET);
        if secret.is_none() {
            fields.invalid("secret", "is not one that was proposed; begin again");
        }
        finish(fields)?;
        let (Some(user), Some(secret)) = (who.session.user, secret) else { return Err(OpsError::Forbidden) };
        let mut codes = Vec::new();
        for _ in 0..limits::RECOVERY_CODES {
            let mut random = [0; 10];
            self.surroundings.entropy.fill(&mut random);
            codes.push(BASE32_NOPAD.encode(&random));
        }
        let hashes = codes.iter().map(|code| Sha256::digest(code).into()).collect();
        let factor = SecondFactor { secret: Secret::new(secret), used: 0, codes: hashes };
        let factor = self.use_code(&factor, &code).ok_or(WRONG_CODE)?;
        let deed = Deed::ChangeSecondFactor { id: user, from: None, to: Some(factor) };
        if !self.change(deed, Some(self.person_note(who, user, "user.second_factor_enabled")), None).await?.came_to_pass() {
            return Err(OpsError::IllegalState("there is a second factor already; take that away first".to_owned()));
        }
        let shown = |code: &String| code.as_bytes().chunks(4).map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join("-");
        Ok(codes.iter().map(shown).collect())
    }

    /// Takes a second factor away: `{password}`.
    ///
    /// # Errors
    /// The input's problems; the operator's people need one.
    pub async fn disable_second_factor(&self, who: &LoggedIn, mut fields: Fields) -> Result<(), OpsError> {
        let password = fields.required_text("password", *limits::PASSWORD.end());
        finish(fields)?;
        if who.session.vendor.is_none() && self.rules.operators_need_second_factor {
            return Err(OpsError::IllegalState("the operator's people need a second factor".to_owned()));
        }
        let (user, found) = self.confirmed(who, password).await?;
        let deed = Deed::ChangeSecondFactor { id: user, from: found.second_factor, to: None };
        self.change(deed, Some(self.person_note(who, user, "user.second_factor_disabled")), None).await.map(drop)
    }
}

fn totp(secret: &Secret) -> Totp {
    totp_rs::Builder::new().with_secret(secret.expose().to_vec()).build_noncompliant()
}
