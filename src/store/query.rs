//! What a store is asked for: which rows, and which part of them.

use crate::domain::conflict::CaseState;
use crate::domain::delivery::DeliveryState;
use crate::domain::filter::Filter;
use crate::domain::id::{AuditId, ConflictId, DeliveryId, EndpointId, RechargeId, StreamId, VendorId};
use crate::domain::recharge::{Recharge, Status};
use crate::domain::replay::Only;
use crate::domain::time::Timestamp;

/// Since (inclusive) and until (exclusive).
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeRange {
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// How much of what may be very much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// Rows, at most.
    pub rows: usize,
    /// Bytes of their events' facts: no more than one row beyond that.
    pub bytes: usize,
}

impl Portion {
    /// So many rows, however long they are.
    pub fn rows(rows: usize) -> Self {
        Self { rows, bytes: usize::MAX }
    }
}

/// Which recharges.
#[derive(Debug, Clone)]
pub struct RechargeQuery {
    /// Whose.
    pub stream: StreamId,
    /// In this status.
    pub status: Option<Status>,
    /// With this reference.
    pub reference_no: Option<String>,
    /// To this number.
    pub connection_no: Option<String>,
    /// Of this network.
    pub network: Option<String>,
    /// Made in this time.
    pub range: TimeRange,
    /// Which part.
    pub page: Page<RechargeId>,
}

/// Which deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryQuery {
    /// Whose.
    pub stream: StreamId,
    /// To this endpoint.
    pub endpoint: Option<EndpointId>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of the event with this number.
    pub sequence: Option<i64>,
    /// Of events of this type.
    pub event_type: Option<String>,
    /// Of events about this recharge.
    pub recharge: Option<RechargeId>,
    /// Of events made in this time.
    pub range: TimeRange,
    /// Which part.
    pub page: Page<DeliveryId>,
}

/// Which events a replay is about.
#[derive(Debug, Clone)]
pub struct ReplayScope {
    /// Where to.
    pub endpoint: EndpointId,
    /// Which numbers.
    pub numbers: std::ops::Range<i64>,
    /// Which of them.
    pub only: Only,
    /// Only events of these types, if said.
    pub event_types: Option<Filter>,
}

/// Which conflicts.
#[derive(Debug, Clone)]
pub struct ConflictQuery {
    /// In this state.
    pub state: Option<CaseState>,
    /// About this recharge.
    pub recharge: Option<RechargeId>,
    /// Opened in this time.
    pub range: TimeRange,
    /// Which part.
    pub page: Page<ConflictId>,
}

/// Which entries of the audit log.
#[derive(Debug, Clone)]
pub struct AuditQuery {
    /// About this vendor's things.
    pub vendor: Option<VendorId>,
    /// This action, or all of a kind (`endpoint.`).
    pub action: Option<String>,
    /// Made in this time.
    pub range: TimeRange,
    /// Which part.
    pub page: Page<AuditId>,
}

/// Which part of a list: at most `limit` items, those before `before` in the list's own order.
#[derive(Debug, Clone, Copy)]
pub struct Page<K> {
    /// Where the page before ended.
    pub before: Option<K>,
    /// Most items.
    pub limit: usize,
}

/// Which open runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenQuery {
    /// First runs that have not been tried, after this number, in order.
    Fresh {
        /// The number.
        after: i64,
    },
    /// Runs due at this time, the longest due first.
    Due {
        /// The time.
        now: Timestamp,
    },
    /// All runs after this one up to this number, in order, due or not.
    All {
        /// Where the walk stands.
        after: (i64, u32),
        /// Where it ends.
        up_to: i64,
    },
    /// Runs that replays opened, after this one, in order: those due at a time, and those that have been failing since
    /// after another one, due or not.
    Replayed {
        /// Where the reading stands.
        after: (i64, u32),
        /// The time by which they are due.
        due: Timestamp,
        /// What failed for the first time after this is read whatever its time says.
        failed_after: Option<Timestamp>,
    },
    /// First runs in order, without those that have been failing since this time or before (they have stepped aside).
    Strict {
        /// The time.
        stepped_aside: Timestamp,
    },
    /// What goes beside the first runs of a strict endpoint: resends, and first runs that have been failing since
    /// before `stepped_aside`; due at `now`.
    Beside {
        /// The time that makes a failing head step aside.
        stepped_aside: Timestamp,
        /// The present.
        now: Timestamp,
    },
}

/// A question about open runs, and the most that its answer may be: with at least one if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenAsk {
    /// Which of them, and in which order.
    pub query: OpenQuery,
    /// The most of them.
    pub portion: Portion,
}

impl RechargeQuery {
    /// Whether a recharge passes the filters that have no index.
    pub fn matches(&self, recharge: &Recharge) -> bool {
        self.status.is_none_or(|status| recharge.status == status)
            && self.connection_no.as_deref().is_none_or(|number| recharge.details.connection_no.as_deref() == Some(number))
            && self.network.as_deref().is_none_or(|network| recharge.details.network.as_deref() == Some(network))
    }
}
