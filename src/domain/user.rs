//! Users: people who log in with a password.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::{UserId, VendorId};
use super::secret::Secret;
use super::time::Timestamp;

/// What somebody may do in the panel of a vendor. The operator's people may do everything there is for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything: people and live tokens too.
    Owner,
    /// Endpoints, deliveries, replays, tokens of test mode.
    Developer,
    /// Nothing but look.
    Viewer,
}

impl Role {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Developer, Self::Viewer];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or("must be \"owner\", \"developer\" or \"viewer\"")
    }
}

/// A person's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The address it logs in with, in lower case; it is also where alerts for operators go.
    pub email: String,
    /// The vendor it belongs to; none for the operator's own.
    pub vendor: Option<VendorId>,
    /// What it may do.
    pub role: Role,
    /// Whether it has a second factor beside its password.
    pub second_factor: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl User {
    /// A login that was just made: an owner's, without a second factor.
    pub fn new(id: UserId, email: String, vendor: Option<VendorId>, created_at: Timestamp) -> Self {
        Self { id, email, vendor, role: Role::Owner, second_factor: false, created_at }
    }
}

/// A password's argon2id hash in PHC form; it is stored in the password's place.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("•••")
    }
}

/// A second factor: six digits out of a secret and the time (RFC 6238), or one of a few codes that are good once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// What an authenticator app has too.
    pub secret: Secret,
    /// The last step of thirty seconds whose digits were used: no digits are good twice.
    pub used: i64,
    /// SHA-256 of the codes that are left, for when the app is lost.
    pub codes: Vec<[u8; 32]>,
}

/// What a login is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whose.
    pub user: User,
    /// The password's hash.
    pub password: PasswordHash,
    /// The second factor, if there is one.
    pub second_factor: Option<SecondFactor>,
}
