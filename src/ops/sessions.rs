//! Logging in and out: passwords, second factors, sessions.
//!
//! A session is known by its ticket, of which only the hash is stored. Passwords and codes that are wrong are counted for where
//! they come from (see `allowances.rs`); a browser that has logged in before has an allowance of its own, so that strangers do not
//! lock its user out.

use std::net::IpAddr;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use totp_rs::Totp;

use super::allowances::{Counted, network, own_address};
use super::input::finish;
use super::users::{hash_password, is_password, read_password};
use super::{Ops, OpsError};
use crate::domain::audit::{Actor, Note};
use crate::domain::id::{SessionId, UserId, VendorId};
use crate::domain::secret::Secret;
use crate::domain::session::{Device, LoggedIn, Session, Ticket};
use crate::domain::token::TokenHash;
use crate::domain::user::{Credentials, Role, SecondFactor};
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Command, NewPassword};

const WRONG: OpsError = OpsError::WrongCredentials("incorrect e-mail or password");
const WRONG_CODE: OpsError = OpsError::WrongCredentials("incorrect or already used code; wait for the next one");
/// Bytes of a second factor's secret (RFC 4226 section 4).
const SECRET: usize = 20;

/// Somebody at the door.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// From where.
    pub address: IpAddr,
    /// What the browser was given when somebody logged in there before.
    pub device: Option<TokenHash>,
}

/// A session that was just begun.
#[derive(Debug)]
pub struct NewSession {
    /// What the browser keeps.
    pub ticket: Ticket,
    /// The session.
    pub session: Session,
    /// What the browser keeps of having logged in, if it is new.
    pub device: Option<Ticket>,
}

/// A second factor that is not in force yet.
#[derive(Debug, Clone)]
pub struct Proposed {
    /// Its secret, as people type it.
    pub secret: String,
    /// The same for an authenticator app's camera.
    pub url: String,
    /// Whether the password has to be given again.
    pub asks_password: bool,
}

impl Ops {
    pub(super) fn new_ticket(&self) -> Ticket {
        let mut random = [0; Ticket::RANDOM];
        self.environment.entropy.fill(&mut random);
        Ticket::new(&random)
    }

    pub(super) fn new_session(&self, (vendor, role): (Option<VendorId>, Role), from: IpAddr, lasts: Duration) -> Session {
        let now = self.now();
        Session {
            id: SessionId::from(self.environment.ids.next(now)),
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
        let device = self.known_device(who, &email).await?;
        let taken = self.take(match device {
            Some(device) => vec![Counted::Device(device)],
            None => vec![
                Counted::Login(email.clone(), own_address(who.address)),
                Counted::LoginNear(email.clone(), network(who.address)),
                Counted::From(own_address(who.address)),
                Counted::Near(network(who.address)),
            ],
        })?;
        let found = self.store.credentials(email).await?;
        let is_right = is_password(password, found.as_ref().map(|found| &found.password)).await;
        if is_right {
            self.allowances.give_back(taken);
        }
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
            // Nobody waits for it: how long an answer takes must not tell whether there is such a login.
            self.note_later(note("user.login_failed"));
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
        // A browser is known once all that the login asks for was right.
        let is_new = !awaits && device.is_none();
        self.begin_session(session, (None, is_new), (!awaits).then(|| note("user.logged_in"))).await
    }

    /// What the browser was given, if that is good for the login with this address.
    async fn known_device(&self, who: Visitor, email: &str) -> Result<Option<TokenHash>, OpsError> {
        let Some(device) = who.device else { return Ok(None) };
        Ok(self.store.knows_device(device, email.to_owned(), self.now()).await?.then_some(device))
    }

    pub(super) async fn begin_session(
        &self,
        session: Session,
        (instead_of, with_device): (Option<&Ticket>, bool),
        note: Option<Note>,
    ) -> Result<NewSession, OpsError> {
        let ticket = self.new_ticket();
        let instead_of = instead_of.map(Ticket::hash);
        let device = with_device.then(|| self.new_ticket());
        let known = device.as_ref().map(|device| Device { hash: device.hash(), expires_at: self.now().plus(limits::DEVICE) });
        let command = Command::LogIn { session: Box::new(session.clone()), hash: ticket.hash(), instead_of, device: known };
        if self.change(command, note, None).await?.took_effect() {
            Ok(NewSession { ticket, session, device })
        } else {
            Err(OpsError::Unauthorized)
        }
    }

    /// Sees the second factor: `{code}`, six digits or one of the codes that are good once.
    ///
    /// # Errors
    /// [`OpsError::WrongCredentials`], [`OpsError::TooManyTries`]; the input's problems.
    pub async fn pass_second_factor(
        &self,
        who: &LoggedIn,
        (visitor, ticket): (Visitor, &Ticket),
        mut fields: Fields,
    ) -> Result<NewSession, OpsError> {
        let code = fields.required_text("code", limits::NAME_MAX);
        finish(fields)?;
        let (Some(user), Some(email)) = (who.session.user, who.email.clone()) else { return Err(OpsError::Unauthorized) };
        let device = self.known_device(visitor, &email).await?;
        let Credentials { password, second_factor, .. } = self.store.credentials(email).await?.ok_or(OpsError::Unauthorized)?;
        let factor = second_factor.ok_or(OpsError::Unauthorized)?;
        let taken = self.take(vec![device.map_or(Counted::Codes(password.0), Counted::Device)])?;
        let Some(used) = self.use_code(&factor, &code) else {
            self.change(Command::Note, Some(self.person_note(who, user, "user.second_factor_failed")), None).await?;
            return Err(WRONG_CODE);
        };
        let codes_left = used.codes.len();
        let command = Command::ChangeSecondFactor { id: user, from: Some(factor), to: Some(used) };
        if !self.change(command, None, None).await?.took_effect() {
            return Err(WRONG_CODE);
        }
        self.allowances.give_back(taken);
        let (of, lasts) = ((who.session.vendor, who.session.role), limits::SESSION);
        let session = Session { user: Some(user), ..self.new_session(of, visitor.address, lasts) };
        let note =
            Note { details: json!({"second_factor": true, "codes_left": codes_left}), ..self.person_note(who, user, "user.logged_in") };
        self.begin_session(session, (Some(ticket), device.is_none()), Some(note)).await
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
        self.change(Command::LogOut(ticket.hash()), None, None).await.map(drop)
    }

    /// Ends all of a login's sessions, this one too.
    ///
    /// # Errors
    /// It is no login's session; the store's.
    pub async fn log_out_everywhere(&self, who: &LoggedIn) -> Result<(), OpsError> {
        let user = who.session.user.ok_or(OpsError::Forbidden)?;
        let note = self.person_note(who, user, "user.logged_out_everywhere");
        self.change(Command::LogOutEverywhere(user), Some(note), None).await.map(drop)
    }

    /// What a login is judged by, once its present password was given again as `password`.
    async fn confirmed(&self, who: &LoggedIn, password: String) -> Result<(UserId, Credentials), OpsError> {
        let (Some(user), Some(email)) = (who.session.user, who.email.clone()) else { return Err(OpsError::Forbidden) };
        let taken = self.take(vec![Counted::Confirmation(who.session.id)])?;
        let found = self.store.credentials(email).await?.ok_or(OpsError::Unauthorized)?;
        if !is_password(password, Some(&found.password)).await {
            self.change(Command::Note, Some(self.person_note(who, user, "user.confirmation_failed")), None).await?;
            return Err(Problem::invalid("password", "is not your present password").into());
        }
        self.allowances.give_back(taken);
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
        let hash = hash_password(new, &*self.environment.entropy).await;
        let command = Command::SetPassword(user, NewPassword { hash, keep: Some(ticket.hash()) });
        self.change(command, Some(self.person_note(who, user, "user.password_changed")), None).await.map(drop)
    }

    /// A second factor to take into an authenticator app; it is in force when its first code has been seen. The server keeps its
    /// secret in the session, so that no browser chooses one.
    ///
    /// # Errors
    /// It is no login's session; the store's.
    pub async fn propose_second_factor(&self, who: &LoggedIn, ticket: &Ticket) -> Result<Proposed, OpsError> {
        if who.session.user.is_none() {
            return Err(OpsError::Forbidden);
        }
        let mut secret = [0; SECRET];
        self.environment.entropy.fill(&mut secret);
        let command = Command::Propose { session: ticket.hash(), secret: Secret::new(secret) };
        self.change(command, None, None).await?;
        // The one that was there before, if there was one: a page that is loaded again shows the same.
        let kept = self.store.proposed(ticket.hash()).await?.ok_or(OpsError::Unauthorized)?;
        Ok(self.proposed(who, &BASE32_NOPAD.encode(kept.expose())))
    }

    fn proposed(&self, who: &LoggedIn, secret: &str) -> Proposed {
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let email = encode(who.email.as_deref().unwrap_or_default());
        let url = format!("otpauth://totp/Ringback:{email}?secret={}&issuer=Ringback", encode(secret));
        Proposed { secret: secret.to_owned(), url, asks_password: !self.is_fresh(who) }
    }

    /// Whether the password of this session was given a moment ago.
    fn is_fresh(&self, who: &LoggedIn) -> bool {
        self.now().since(who.session.created_at) <= limits::PASSWORD_FRESH
    }

    /// Puts the second factor in force that was proposed in this session: `{code, password?, secret?}`. The password is required
    /// unless it was given a moment ago; a secret has to be the one that was proposed. Answers with the codes for when the app is
    /// lost, shown this once.
    ///
    /// # Errors
    /// The input's problems; [`OpsError::WrongCredentials`].
    pub async fn enable_second_factor(&self, who: &LoggedIn, ticket: &Ticket, mut fields: Fields) -> Result<Vec<String>, OpsError> {
        let given = fields.text("secret", limits::NAME_MAX);
        let code = fields.required_text("code", limits::NAME_MAX);
        let asks_password = !self.is_fresh(who);
        let password = if asks_password {
            fields.required_text("password", *limits::PASSWORD.end())
        } else {
            fields.value("password");
            String::new()
        };
        let secret = self.store.proposed(ticket.hash()).await?;
        let is_its_own = |given: &String| secret.as_ref().is_some_and(|secret| BASE32_NOPAD.encode(secret.expose()) == *given);
        if secret.is_none() || given.is_some_and(|given| !is_its_own(&given)) {
            fields.invalid("secret", "is not the one that was proposed; begin again");
        }
        finish(fields)?;
        let (Some(user), Some(secret)) = (who.session.user, secret) else { return Err(OpsError::Forbidden) };
        if asks_password {
            self.confirmed(who, password).await?;
        }
        let mut codes = Vec::new();
        for _ in 0..limits::RECOVERY_CODES {
            let mut random = [0; 10];
            self.environment.entropy.fill(&mut random);
            codes.push(BASE32_NOPAD.encode(&random));
        }
        let hashes = codes.iter().map(|code| Sha256::digest(code).into()).collect();
        let factor = SecondFactor { secret, used: 0, codes: hashes };
        let factor = self.use_code(&factor, &code).ok_or(WRONG_CODE)?;
        let command = Command::ChangeSecondFactor { id: user, from: None, to: Some(factor) };
        if !self.change(command, Some(self.person_note(who, user, "user.second_factor_enabled")), None).await?.took_effect() {
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
        let command = Command::ChangeSecondFactor { id: user, from: found.second_factor, to: None };
        self.change(command, Some(self.person_note(who, user, "user.second_factor_disabled")), None).await.map(drop)
    }
}

fn totp(secret: &Secret) -> Totp {
    totp_rs::Builder::new().with_secret(secret.expose().to_vec()).build_noncompliant()
}
