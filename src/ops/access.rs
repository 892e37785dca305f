//! Who calls, and what that opens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::json;

use super::input::{StreamScope, finish, networks};
use super::{IdempotentRequest, Ops, OpsError};
use crate::clock::Stopwatch;
use crate::domain::audit::{Actor, Note};
use crate::domain::endpoint::Endpoint;
use crate::domain::id::{StreamId, TokenId, VendorId};
use crate::domain::token::{Scope, Token, TokenHash, TokenText};
use crate::domain::vendor::{Mode, Vendor};
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Change, Command, Page, Write};

/// Somebody whose token, or session, was found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// What is open to it.
    pub scope: Scope,
    /// Who that is, for the audit log.
    pub actor: Actor,
    /// Where the call comes from.
    pub address: IpAddr,
}

impl Caller {
    /// Refuses a vendor.
    ///
    /// # Errors
    /// [`OpsError::Forbidden`].
    pub fn operator(self) -> Result<(), OpsError> {
        match self.scope {
            Scope::Operator => Ok(()),
            Scope::Vendor { .. } => Err(OpsError::Forbidden),
        }
    }

    /// Whether it may see what belongs to this stream.
    pub(super) fn sees(self, of: StreamId) -> bool {
        match self.scope {
            Scope::Operator => true,
            Scope::Vendor { stream, .. } => stream == of,
        }
    }

    /// What the audit log notes of something that it did to `object`.
    pub(super) fn note(self, action: &'static str, object: impl ToString, about: About) -> Note {
        let About { vendor, mode } = about;
        Note { actor: self.actor, address: Some(self.address), vendor, mode, action, object: object.to_string(), details: json!({}) }
    }
}

/// Whose things something is about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About {
    pub vendor: Option<VendorId>,
    pub mode: Option<Mode>,
}

impl From<VendorId> for About {
    fn from(vendor: VendorId) -> Self {
        Self { vendor: Some(vendor), mode: None }
    }
}

impl From<StreamScope> for About {
    fn from(mine: StreamScope) -> Self {
        Self { vendor: Some(mine.vendor), mode: Some(mine.mode) }
    }
}

impl From<&Endpoint> for About {
    fn from(endpoint: &Endpoint) -> Self {
        Self { vendor: Some(endpoint.vendor), mode: Some(endpoint.mode) }
    }
}

/// Whose requests count together. A vendor's tokens do, or it would raise its limit by making more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    Stream(StreamId),
    Operator(TokenId),
}

/// Requests under way, where the operator has set a limit.
pub(super) struct Paces(Option<DefaultKeyedRateLimiter<Counted>>);

impl Paces {
    /// So many requests a second for each stream and each operator's token; no limit if not said.
    pub fn new(per_second: Option<NonZeroU32>) -> Self {
        Self(per_second.map(|most| RateLimiter::keyed(Quota::per_second(most))))
    }

    /// Counts a request.
    fn take(&self, token: &Token) -> Result<(), OpsError> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        let of = match token.scope {
            Scope::Vendor { stream, .. } => Counted::Stream(stream),
            Scope::Operator => Counted::Operator(token.id),
        };
        if limiter.len() > limits::TOKEN_CACHE_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(&of).map_err(|early| OpsError::RateLimited(early.wait_time_from(DefaultClock::default().now())))
    }
}

/// Tokens found good a moment ago.
#[derive(Default)]
pub(super) struct TokenCache(Mutex<HashMap<TokenHash, (Stopwatch, Token)>>);

impl TokenCache {
    fn get(&self, hash: TokenHash) -> Option<Token> {
        let known = self.0.lock();
        known.get(&hash).filter(|(since, _)| since.elapsed() < limits::TOKEN_CACHE).map(|(_, token)| token.clone())
    }

    fn put(&self, hash: TokenHash, token: Token) {
        let mut known = self.0.lock();
        if known.len() >= limits::TOKEN_CACHE_MAX {
            known.clear();
        }
        known.insert(hash, (Stopwatch::start(), token));
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

/// A token that was just made, shown this once.
#[derive(Clone)]
pub struct NewToken {
    /// The token as it is listed.
    pub token: Token,
    /// The token itself.
    pub text: TokenText,
}

/// Whether a token with the first networks can be used only where one with the second can. None means anywhere.
fn is_within(networks: &[IpNet], of: &[IpNet]) -> bool {
    of.is_empty() || (!networks.is_empty() && networks.iter().all(|network| of.iter().any(|wider| wider.contains(network))))
}

fn mode_of(token: &Token) -> Option<Mode> {
    match token.scope {
        Scope::Vendor { mode, .. } => Some(mode),
        Scope::Operator => None,
    }
}

impl Ops {
    /// Finds out who calls with this token from this address, and counts the call.
    ///
    /// # Errors
    /// [`OpsError::Unauthorized`], [`OpsError::RateLimited`], or the store's.
    pub async fn authenticate(&self, token: Option<&str>, from: IpAddr) -> Result<Caller, OpsError> {
        let token = self.find_token(token, from).await?;
        self.paces.take(&token).inspect_err(|_| self.meters.rate_limited.increment(1))?;
        let actor = match token.scope {
            Scope::Operator => Actor::Operator(token.id),
            Scope::Vendor { .. } => Actor::Vendor(token.id),
        };
        Ok(Caller { scope: token.scope, actor, address: from })
    }

    /// The token, if it is good from this address.
    ///
    /// # Errors
    /// [`OpsError::Unauthorized`], or the store's.
    pub async fn find_token(&self, token: Option<&str>, from: IpAddr) -> Result<Token, OpsError> {
        let hash = TokenHash::of(token.ok_or(OpsError::Unauthorized)?);
        let token = match self.tokens.get(hash) {
            Some(token) => token,
            None => {
                let token = self.store.token(hash).await?.ok_or(OpsError::Unauthorized)?;
                self.tokens.put(hash, token.clone());
                self.note_use(&token);
                token
            }
        };
        if token.allows(from) { Ok(token) } else { Err(OpsError::Unauthorized) }
    }

    /// Has it noted that a token is in use. Nobody waits for that, and it may fail.
    fn note_use(&self, token: &Token) {
        let now = self.environment.clock.now();
        if token.last_used_at.is_some_and(|last| now.since(last) < limits::TOKEN_USE_NOTED) {
            return;
        }
        let (committer, command) = (self.committer.clone(), Command::TokenUsed(token.id));
        let change = Change { command, now, note: None, keep: None };
        tokio::spawn(async move { committer.write(Write::Change(Box::new(change))).await });
    }

    pub(super) fn new_token(&self, scope: Scope, name: String, allowed_ips: Vec<IpNet>) -> NewToken {
        let mut random = [0; TokenText::RANDOM];
        self.environment.entropy.fill(&mut random);
        let text = TokenText::new(&scope, &random);
        let now = self.environment.clock.now();
        let id = TokenId::from(self.environment.ids.next(now));
        NewToken { token: Token { id, scope, name, allowed_ips, created_at: now, last_used_at: None }, text }
    }

    /// Makes a token for a vendor: `{mode, name?, allowed_ips?}`. A vendor's token makes only tokens that open no more than
    /// itself: of its own mode, and bound to its networks or narrower ones.
    ///
    /// # Errors
    /// The input's problems; no such vendor; [`OpsError::TokenLimit`].
    pub async fn create_token(
        &self,
        caller: Caller,
        vendor: VendorId,
        mut fields: Fields,
        once: IdempotentRequest<NewToken>,
    ) -> Result<NewToken, OpsError> {
        let found = self.found(vendor).await;
        if !fields.gives("mode") {
            fields.invalid("mode", "is required: \"live\" or \"test\"");
        }
        let mode = fields.parse::<Mode>("mode");
        let name = fields.text("name", limits::NAME_MAX).unwrap_or_default();
        let allowed_ips = networks(&mut fields, "allowed_ips", limits::ALLOWED_IPS_MAX).unwrap_or_default();
        if let (Scope::Vendor { mode: own, .. }, Some(mode)) = (caller.scope, mode)
            && mode != own
        {
            fields.invalid("mode", format!("must be {:?}: a token makes only tokens of its own mode", own.as_str()));
        }
        let makes = self.calling_token(caller).await?.map(|token| token.allowed_ips).unwrap_or_default();
        if !is_within(&allowed_ips, &makes) {
            let own = makes.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ");
            fields.invalid("allowed_ips", format!("must be within the networks of the token that makes it: {own}"));
        }
        let problems = fields.finish();
        let (vendor, Some(mode), true) = (found?, mode, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let scope = Scope::Vendor { vendor: vendor.id, mode, stream: vendor.stream(mode) };
        let new = self.new_token(scope, name, allowed_ips);
        let about = About { vendor: Some(vendor.id), mode: Some(mode) };
        let details =
            json!({"name": new.token.name, "allowed_ips": new.token.allowed_ips.iter().map(IpNet::to_string).collect::<Vec<_>>()});
        let note = Note { details, ..caller.note("token.created", new.token.id, about) };
        let done = self.change(Command::CreateToken(new.token.clone(), new.text.hash()), Some(note), once.known(&new)).await?;
        if done.took_effect() { Ok(new) } else { Err(OpsError::TokenLimit(limits::TOKENS_PER_STREAM)) }
    }

    /// The vendor's token that calls, if one does. One that was revoked a moment ago on another node may still be taken for good
    /// here; it makes no other.
    async fn calling_token(&self, caller: Caller) -> Result<Option<Token>, OpsError> {
        match (caller.actor, caller.scope) {
            (Actor::Vendor(id), Scope::Vendor { vendor, .. }) => {
                self.vendors_token(vendor, id).await?.ok_or(OpsError::Unauthorized).map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn vendors_token(&self, vendor: VendorId, id: TokenId) -> Result<Option<Token>, OpsError> {
        let before = id.get().checked_add(1).map(TokenId::new);
        Ok(self.store.tokens(Some(vendor), Page { before, limit: 1 }).await?.into_iter().find(|token| token.id == id))
    }

    /// A vendor's tokens of both modes.
    ///
    /// # Errors
    /// No such vendor.
    pub async fn tokens(&self, vendor: VendorId, page: Page<TokenId>) -> Result<Vec<Token>, OpsError> {
        self.found(vendor).await?;
        Ok(self.store.tokens(Some(vendor), page).await?)
    }

    /// Revokes a vendor's token at once. A vendor's token revokes only those that open no more than itself: of its own mode, and
    /// bound to its networks or narrower ones.
    ///
    /// # Errors
    /// The input's problems; it has no such token; [`OpsError::OtherMode`], [`OpsError::WiderToken`].
    pub async fn revoke_token(&self, caller: Caller, vendor: VendorId, id: TokenId, fields: Fields) -> Result<(), OpsError> {
        finish(fields)?;
        if let Scope::Vendor { mode: own, .. } = caller.scope
            && let Some(token) = self.vendors_token(vendor, id).await?
        {
            if mode_of(&token).is_some_and(|mode| mode != own) {
                return Err(OpsError::OtherMode(own.as_str()));
            }
            let revokes = self.calling_token(caller).await?.map(|token| token.allowed_ips).unwrap_or_default();
            if !is_within(&token.allowed_ips, &revokes) {
                return Err(OpsError::WiderToken);
            }
        }
        let note = caller.note("token.revoked", id, vendor.into());
        let done = self.change(Command::RevokeToken { id, vendor: Some(vendor) }, Some(note), None).await?;
        self.tokens.clear();
        if done.took_effect() { Ok(()) } else { Err(OpsError::NotFound("token")) }
    }

    /// The mode of a vendor's token, if there is such a token.
    ///
    /// # Errors
    /// The store's.
    pub async fn mode_of_token(&self, vendor: VendorId, id: TokenId) -> Result<Option<Mode>, OpsError> {
        Ok(self.vendors_token(vendor, id).await?.as_ref().and_then(mode_of))
    }

    /// The vendor whose tokens a call is about: a vendor's token says it, the operator names `vendor_id`.
    ///
    /// # Errors
    /// The input's problems; no such vendor.
    pub fn token_owner(&self, caller: Caller, fields: &mut Fields) -> Result<VendorId, OpsError> {
        if let Scope::Vendor { vendor, .. } = caller.scope {
            return Ok(vendor);
        }
        match fields.parse::<VendorId>("vendor_id") {
            Some(vendor) => Ok(vendor),
            None => Err(Problem::invalid("vendor_id", "is required with an operator's token").into()),
        }
    }

    pub(super) async fn found(&self, vendor: VendorId) -> Result<Vendor, OpsError> {
        self.store.vendor(vendor).await?.ok_or(OpsError::NotFound("vendor"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_bound_at_least_as_much_as_the_one_that_makes_it() {
        for (networks, of, within) in [
            ("", "", true),
            ("203.0.113.7/32", "", true),
            ("", "203.0.113.0/24", false),
            ("203.0.113.0/24", "203.0.113.0/24", true),
            ("203.0.113.7/32", "203.0.113.0/24", true),
            ("203.0.113.7/32 198.51.100.1/32", "203.0.113.0/24", false),
            ("203.0.113.7/32 198.51.100.1/32", "203.0.113.0/24 198.51.100.0/24", true),
            ("203.0.112.0/23", "203.0.113.0/24", false),
            ("0.0.0.0/0", "203.0.113.0/24", false),
            ("::/0", "203.0.113.0/24", false),
            ("::ffff:203.0.113.7/128", "203.0.113.0/24", false),
            ("2001:db8::1/128", "2001:db8::/32", true),
        ] {
            let read = |text: &str| text.split_whitespace().map(|network| network.parse().unwrap()).collect::<Vec<IpNet>>();
            assert_eq!(is_within(&read(networks), &read(of)), within, "{networks:?} within {of:?}");
        }
    }
}
