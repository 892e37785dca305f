//! Who calls, and what that opens.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use parking_lot::Mutex;

use super::input::networks;
use super::{Ops, OpsError};
use crate::clock::Stopwatch;
use crate::domain::id::{StreamId, TokenId, VendorId};
use crate::domain::token::{Scope, Token, TokenHash, TokenText};
use crate::domain::vendor::{Mode, Vendor};
use crate::fields::Fields;
use crate::limits;
use crate::store::Page;

/// Somebody whose token was found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The operator.
    Operator,
    /// A vendor, in one mode.
    Vendor {
        /// The vendor.
        vendor: VendorId,
        /// The mode.
        mode: Mode,
        /// Where that mode's events are counted.
        stream: StreamId,
    },
}

impl Caller {
    /// Refuses a vendor.
    ///
    /// # Errors
    /// [`OpsError::Forbidden`].
    pub fn operator(self) -> Result<(), OpsError> {
        match self {
            Self::Operator => Ok(()),
            Self::Vendor { .. } => Err(OpsError::Forbidden),
        }
    }

    /// Whether it may see what belongs to this stream.
    pub(super) fn sees(self, of: StreamId) -> bool {
        match self {
            Self::Operator => true,
            Self::Vendor { stream, .. } => stream == of,
        }
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
pub struct NewToken {
    /// The token as it is listed.
    pub token: Token,
    /// The token itself.
    pub text: TokenText,
}

impl Ops {
    /// Finds out who calls with this token from this address.
    ///
    /// # Errors
    /// [`OpsError::Unauthorized`], or the store's.
    pub async fn authenticate(&self, token: Option<&str>, from: IpAddr) -> Result<Caller, OpsError> {
        let hash = TokenHash::of(token.ok_or(OpsError::Unauthorized)?);
        let token = match self.tokens.get(hash) {
            Some(token) => token,
            None => {
                let token = self.store.token(hash).await?.ok_or(OpsError::Unauthorized)?;
                self.tokens.put(hash, token.clone());
                token
            }
        };
        if !token.allows(from) {
            return Err(OpsError::Unauthorized);
        }
        Ok(match token.scope {
            Scope::Operator => Caller::Operator,
            Scope::Vendor { vendor, mode, stream } => Caller::Vendor { vendor, mode, stream },
        })
    }

    pub(super) fn new_token(&self, scope: Scope, name: String, allowed_ips: Vec<IpNet>) -> NewToken {
        let mut random = [0; TokenText::RANDOM];
        self.surroundings.entropy.fill(&mut random);
        let text = TokenText::new(&scope, &random);
        let now = self.surroundings.clock.now();
        let id = TokenId::from(self.surroundings.ids.next(now));
        NewToken { token: Token { id, scope, name, allowed_ips, created_at: now }, text }
    }

    /// Makes a token for a vendor: `{mode, name?, allowed_ips?}`.
    ///
    /// # Errors
    /// The input's problems; no such vendor.
    pub async fn create_token(&self, vendor: VendorId, mut fields: Fields) -> Result<NewToken, OpsError> {
        let found = self.found(vendor).await;
        let mode = fields.parse::<Mode>("mode");
        if mode.is_none() && !fields.has("mode") {
            fields.invalid("mode", "is required: \"live\" or \"test\"");
        }
        let name = fields.text("name", limits::NAME_MAX).unwrap_or_default();
        let allowed_ips = networks(&mut fields, "allowed_ips", limits::ALLOWED_IPS_MAX).unwrap_or_default();
        let problems = fields.finish();
        let (vendor, Some(mode), true) = (found?, mode, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let scope = Scope::Vendor { vendor: vendor.id, mode, stream: vendor.stream(mode) };
        let new = self.new_token(scope, name, allowed_ips);
        self.store.create_token(new.token.clone(), new.text.hash()).await?;
        Ok(new)
    }

    /// A vendor's tokens.
    ///
    /// # Errors
    /// No such vendor.
    pub async fn tokens(&self, vendor: VendorId, page: Page<TokenId>) -> Result<Vec<Token>, OpsError> {
        self.found(vendor).await?;
        Ok(self.store.tokens(vendor, page).await?)
    }

    /// Revokes a vendor's token at once.
    ///
    /// # Errors
    /// It has no such token.
    pub async fn revoke_token(&self, vendor: VendorId, id: TokenId) -> Result<(), OpsError> {
        let revoked = self.store.revoke_token(vendor, id, self.surroundings.clock.now()).await?;
        self.tokens.clear();
        if revoked { Ok(()) } else { Err(OpsError::NotFound("token")) }
    }

    pub(super) async fn found(&self, vendor: VendorId) -> Result<Vendor, OpsError> {
        self.store.vendor(vendor).await?.ok_or(OpsError::NotFound("vendor"))
    }
}
