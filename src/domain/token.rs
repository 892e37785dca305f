//! Tokens: who may call, as whom, and from where.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::id::{StreamId, TokenId, VendorId};
use super::time::Timestamp;
use super::vendor::Mode;

/// A token as its owner has it. Only its hash is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    /// Random bytes in a new token.
    pub const RANDOM: usize = 24;

    /// A new token for `scope`, out of random bytes. Its prefix tells people (and secret scanners) what it opens.
    pub fn new(scope: &Scope, random: &[u8; Self::RANDOM]) -> Self {
        let prefix = match scope {
            Scope::Operator => "rb_operator_",
            Scope::Vendor { mode: Mode::Live, .. } => "rb_live_",
            Scope::Vendor { mode: Mode::Test, .. } => "rb_test_",
        };
        Self(format!("{prefix}{}", data_encoding::BASE32_NOPAD.encode(random).to_lowercase()))
    }

    /// The text itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored in its place.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// SHA-256 of a token. A token has 192 random bits, so that a plain hash keeps it: there is nothing to guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Hash of what a caller sent.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Operator,
    /// One mode of one vendor.
    Vendor {
        /// The vendor.
        vendor: VendorId,
        /// The mode.
        mode: Mode,
        /// Where that mode's events are counted.
        stream: StreamId,
    },
}

/// A token as it is stored and listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What it opens.
    pub scope: Scope,
    /// Its name, for people.
    pub name: String,
    /// Where it may be used from; anywhere if empty.
    pub allowed_ips: Vec<IpNet>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to ten minutes.
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    /// Whether it may be used from this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed_ips.is_empty() || self.allowed_ips.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_token_is_good_only_from_its_networks() {
        let mut token = Token {
            id: TokenId::new(1),
            scope: Scope::Operator,
            name: String::new(),
            allowed_ips: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::1/128".parse().unwrap()],
            created_at: Timestamp::from_millis(0),
            last_used_at: None,
        };
        for (address, allowed) in
            [("203.0.113.9", true), ("::ffff:203.0.113.9", true), ("203.0.114.9", false), ("2001:db8::1", true), ("2001:db8::2", false)]
        {
            assert_eq!(token.allows(address.parse().unwrap()), allowed, "{address}");
        }
        token.allowed_ips.clear();
        assert!(token.allows("198.51.100.1".parse().unwrap()));
    }
}
