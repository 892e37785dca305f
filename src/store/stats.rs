//! How everything stands, as a store tells it.

use std::time::Duration;

use crate::domain::attempt::OutcomeKind;
use crate::domain::id::EndpointId;
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;

/// A mail that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingMail {
    /// What it is known by.
    pub id: i64,
    /// The address.
    pub address: String,
    /// The endpoint it is about, if any.
    pub endpoint: Option<EndpointId>,
    /// What it tells.
    pub title: String,
    /// Since when it waits.
    pub created_at: Timestamp,
    /// Tries of mails to this address that failed since the last one that did not.
    pub tries: u32,
    /// When the address is tried again, where a try has failed.
    pub next_try_at: Option<Timestamp>,
    /// What the mail server said then.
    pub error: Option<String>,
}

/// An endpoint that somebody should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// When its vendor was warned.
    pub warned_at: Option<Timestamp>,
    /// Alerts about it that wait to be mailed.
    pub mails_waiting: u64,
}

/// What attempts at an endpoint that failed have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What they came to.
    pub kind: OutcomeKind,
    /// The status of their answers.
    pub status: Option<u16>,
    /// What went wrong, in a sentence for people.
    pub error: Option<String>,
    /// How many there are.
    pub times: u64,
    /// When the first of them began.
    pub first_at: Timestamp,
    /// When the last of them began.
    pub last_at: Timestamp,
}

/// What an hour brought a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hour {
    /// Its beginning.
    pub at: Timestamp,
    /// Recharges made in it.
    pub made: i64,
    /// Those that came to success, less those that left it.
    pub success: i64,
    /// The same of failed.
    pub failed: i64,
    /// Those that came to reversed.
    pub reversed: i64,
}

/// How a stream's recharges stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// By status, in the order of [`Status::ALL`].
    pub recharges: [u64; 4],
    /// When the oldest queued one was made.
    pub oldest_queued: Option<Timestamp>,
    /// Hours in which anything moved, in order.
    pub hours: Vec<Hour>,
}

/// How a provider does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderStanding {
    /// Its name.
    pub name: String,
    /// Recharges of which it has not told the outcome yet.
    pub waiting: u64,
    /// When the oldest of them was made.
    pub oldest: Option<Timestamp>,
    /// Of the latest recharges, those that it has, by status.
    pub latest: [u64; 4],
    /// How long the settled ones of them took.
    pub took: Vec<Duration>,
}

/// How everything stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// Recharges by status, in the order of [`Status::ALL`].
    pub recharges: [u64; 4],
    /// When the oldest queued one was made.
    pub oldest_queued: Option<Timestamp>,
    /// The last hour's traffic.
    pub hour: Traffic,
    /// The last day's.
    pub day: Traffic,
    /// Endpoints whose last attempt failed.
    pub failing: u64,
    /// Endpoints that are disabled.
    pub disabled: u64,
    /// Conflicts that are open.
    pub conflicts: u64,
    /// Replays that are running.
    pub replays: u64,
    /// Alerts that wait to be mailed.
    pub alerts: u64,
    /// Queued recharges that nobody could tell anything about for too long.
    pub stuck: u64,
}
