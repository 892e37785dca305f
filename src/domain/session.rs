//! Who is logged in, and one-time links that let somebody in.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::id::{LinkId, SessionId, UserId, VendorId};
use super::time::Timestamp;
use super::token::TokenHash;
use super::user::Role;
use super::vendor::Vendor;

/// What a browser keeps of a session, or a link carries. Only its hash is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

impl Ticket {
    /// Random bytes in a new one.
    pub const RANDOM: usize = 24;

    /// A new one, out of random bytes.
    pub fn new(random: &[u8; Self::RANDOM]) -> Self {
        Self(data_encoding::BASE32_NOPAD.encode(random).to_lowercase())
    }

    /// What somebody came with.
    pub fn given(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored in its place.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// Somebody's being logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose login; none where a link of the platform's own pages let somebody in.
    pub user: Option<UserId>,
    /// Which vendor's panel; none for the operator's.
    pub vendor: Option<VendorId>,
    /// What may be done.
    pub role: Role,
    /// The password was right; the second factor has not been seen yet.
    pub awaits_second_factor: bool,
    /// From where.
    pub address: Option<IpAddr>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A browser in which a login's password, and second factor, were right. Strangers who try the same login do not keep it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its ticket's hash.
    pub hash: TokenHash,
    /// Until when it is known.
    pub expires_at: Timestamp,
}

/// A session that is good, with what pages need to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// The session.
    pub session: Session,
    /// The login's address, if it is a login's.
    pub email: Option<String>,
    /// Whether that has a second factor.
    pub has_second_factor: bool,
    /// The vendor, if it is a vendor's.
    pub vendor: Option<Vendor>,
}

/// What a one-time link does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Makes a login, with a password of its own.
    Invitation {
        /// Its address.
        email: String,
        /// Whose; none for the operator's.
        vendor: Option<VendorId>,
        /// What it may do.
        role: Role,
    },
    /// Gives a login another password.
    Reset {
        /// The login.
        user: UserId,
    },
    /// Lets somebody into a vendor's panel who is known to the platform already.
    Panel {
        /// The vendor.
        vendor: VendorId,
        /// What may be done there.
        role: Role,
        /// How long.
        lifetime: Duration,
    },
}

/// A one-time link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// What it does.
    pub purpose: Purpose,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
}
