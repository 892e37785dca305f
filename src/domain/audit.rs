//! The audit log: who changed what.

use std::fmt;
use std::net::IpAddr;

use super::id::{AuditId, TokenId, UserId, VendorId};
use super::time::Timestamp;
use super::vendor::Mode;

/// Who changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The operator's token of this id.
    Operator(TokenId),
    /// A vendor's token.
    Vendor(TokenId),
    /// Somebody who was logged in.
    User(UserId),
    /// Somebody whom a link of the platform's own pages let in.
    Link,
    /// A command, straight into the database.
    CommandLine,
    /// A rule of Ringback's own, such as `disable_after`.
    Rule,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(id) => write!(f, "operator {id}"),
            Self::Vendor(id) => write!(f, "vendor {id}"),
            Self::User(id) => write!(f, "user {id}"),
            Self::Link => f.write_str("panel link"),
            Self::CommandLine => f.write_str("command line"),
            Self::Rule => f.write_str("rule"),
        }
    }
}

/// What is to be noted of a change, in the change's own transaction.
#[derive(Debug, Clone)]
pub struct Note {
    /// Who.
    pub actor: Actor,
    /// From where.
    pub address: Option<IpAddr>,
    /// Whose things it is about.
    pub vendor: Option<VendorId>,
    /// In which mode.
    pub mode: Option<Mode>,
    /// What was done, such as `endpoint.changed`.
    pub action: &'static str,
    /// The id of what it was done to.
    pub object: String,
    /// What people want to know about it, without secrets and personal data.
    pub details: serde_json::Value,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who, as text.
    pub actor: String,
    /// From where.
    pub address: Option<String>,
    /// Whose things it is about.
    pub vendor: Option<VendorId>,
    /// In which mode.
    pub mode: Option<Mode>,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub object: String,
    /// More about it.
    pub details: serde_json::Value,
}
