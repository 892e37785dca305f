//! Users: people who log in with a password.

use super::id::{UserId, VendorId};
use super::time::Timestamp;

/// A person's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The address it logs in with, in lower case; it is also where alerts for operators go.
    pub email: String,
    /// The vendor it belongs to; none for the operator's own.
    pub vendor: Option<VendorId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A password's argon2id hash in PHC form; it is stored in the password's place.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("•••")
    }
}
