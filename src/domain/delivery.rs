//! Deliveries and their runs.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::event::Event;
use super::id::{DeliveryId, EndpointId, ReplayId};
use super::time::Timestamp;

/// One run of a delivery. The first is made with its event, every further one by a resend or replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKey {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The event's sequence number.
    pub sequence: i64,
    /// 1 for the first run.
    pub run: u32,
}

impl RunKey {
    /// The delivery, whatever the run.
    pub fn delivery(self) -> DeliveryId {
        DeliveryId { endpoint: self.endpoint, sequence: self.sequence }
    }
}

/// A run that has not ended, with everything needed to send it.
#[derive(Debug, Clone)]
pub struct OpenRun {
    /// Which run.
    pub key: RunKey,
    /// What is sent.
    pub event: Arc<Event>,
    /// Attempts made so far.
    pub attempts: u32,
    /// When it ends, come what may.
    pub deadline: Timestamp,
    /// When it is due; at once if not said.
    pub next_attempt_at: Option<Timestamp>,
    /// When its first attempt failed.
    pub failed_since: Option<Timestamp>,
    /// The replay that opened it, if one did. Such a run never goes before others.
    pub replay: Option<ReplayId>,
}

/// Where a delivery stands: the state of its last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Not ended.
    Pending,
    /// The endpoint took it.
    Succeeded,
    /// Its deadline passed.
    Exhausted,
    /// The endpoint was deleted, or a person cancelled it.
    Cancelled,
}

impl DeliveryState {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Succeeded, Self::Exhausted, Self::Cancelled];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a run ended without a last attempt (guarantee G4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its lane was holding: the endpoint failed at everything.
    Held,
    /// Its lane was blocked: by a failing head in strict order, by its own rate or in-flight limit, or by a fault of our
    /// own for which nothing could be sent.
    Blocked,
    /// Its vendor was disabled. (A paused endpoint's deadlines stand still.)
    Paused,
    /// Its endpoint was disabled.
    Disabled,
    /// Its endpoint was deleted.
    Deleted,
    /// A person cancelled it.
    Requested,
}

impl EndReason {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 6] = [Self::Held, Self::Blocked, Self::Paused, Self::Disabled, Self::Deleted, Self::Requested];
}
