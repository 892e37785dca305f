//! Attempts: what one HTTP request came to.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::time::Timestamp;

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// Answered 2xx in time.
    Succeeded,
    /// Answered something else.
    Rejected,
    /// Not answered in time.
    TimedOut,
    /// No answer to be had: DNS, connect, TLS, reset, invalid HTTP.
    Unreachable,
    /// The guard forbade the address; nothing was sent.
    Refused,
}

impl OutcomeKind {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 5] = [Self::Succeeded, Self::Rejected, Self::TimedOut, Self::Unreachable, Self::Refused];

    /// The word used on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Rejected => "rejected",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }
}

/// Where the time of an attempt went, in microseconds. A phase that did not take place (a kept-alive connection needs
/// none of the first three) is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Name to addresses.
    pub resolve: Option<u32>,
    /// TCP connect.
    pub connect: Option<u32>,
    /// TLS handshake.
    pub tls: Option<u32>,
    /// From the request's first byte to the answer's head.
    pub first_byte: Option<u32>,
    /// Everything, to the last byte read.
    pub total: u32,
}

/// What a receiver answered, or why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The kind.
    pub kind: OutcomeKind,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What went wrong, in a sentence for people; no secrets.
    pub error: Option<String>,
    /// Where the time went.
    pub phases: Phases,
    /// The address that was dialled (or refused) last, where a connection was made; it is not kept.
    pub address: Option<IpAddr>,
    /// The answer's `Retry-NextStep`, from when it was read.
    pub retry_after: Option<Duration>,
    /// The answer's headers as `name: value` lines, cut to a bound.
    pub answer_headers: Option<String>,
    /// The beginning of the answer's body.
    pub answer_body: Option<Vec<u8>>,
}

impl Outcome {
    /// Whether the request may have reached the receiver, for one that was made on a connection of its own: what was sent and
    /// failed has a time to its first byte, and what was not answered in time has a connection.
    pub fn was_sent(&self, with_tls: bool) -> bool {
        match self.kind {
            OutcomeKind::Refused => false,
            OutcomeKind::TimedOut if with_tls => self.phases.tls.is_some(),
            OutcomeKind::TimedOut => self.phases.connect.is_some(),
            _ => self.phases.first_byte.is_some(),
        }
    }
}

/// Why no request could be made, where that is not the endpoint's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultCause {
    /// The proxy that requests go through.
    Proxy,
    /// This machine: it has no file descriptor, port or memory for another connection.
    Resources,
}

impl FaultCause {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Proxy, Self::Resources];

    /// The word used in metrics and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Resources => "resources",
        }
    }
}

/// Which requests a fault is likely to meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those to the same endpoint.
    Endpoint,
    /// All that need a new connection.
    Node,
}

/// A fault of our own. Nothing was sent to the endpoint, so that it is no attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose it is.
    pub cause: FaultCause,
    /// What else it is likely to meet.
    pub reach: Reach,
    /// What happened, in a sentence for people; no secrets.
    pub text: String,
}

/// One HTTP request of a delivery. It is immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first of its run.
    pub number: u32,
    /// The run it belongs to.
    pub run: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// What it came to.
    pub outcome: Outcome,
}
