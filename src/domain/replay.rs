//! Replays: a range of events sent again to one endpoint.

use std::str::FromStr;

use serde::Serialize;
use utoipa::ToSchema;

use super::filter::Filter;
use super::id::{EndpointId, ReplayId, StreamId};
use super::time::Timestamp;

/// Which events of a range are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Those that match the endpoint's filter and never made a delivery for it.
    Missed,
    /// Those whose delivery has ended and never succeeded.
    Failed,
    /// All that match the endpoint's filter, but for those that are still on their way.
    All,
}

impl Only {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 3] = [Self::Missed, Self::Failed, Self::All];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Failed => "failed",
            Self::All => "all",
        }
    }
}

impl FromStr for Only {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|only| only.as_str() == text).ok_or("must be missed, failed or all")
    }
}

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayState {
    /// Not all of its runs have ended.
    Running,
    /// All of them have.
    Done,
    /// Stopped by a person, or its endpoint was deleted.
    Cancelled,
}

impl ReplayState {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 3] = [Self::Running, Self::Done, Self::Cancelled];
}

/// A range of events on its way to an endpoint once more. It is worked off in steps: some of its runs are open, the
/// others still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its id.
    pub id: ReplayId,
    /// The vendor and mode.
    pub stream: StreamId,
    /// Where to.
    pub endpoint: EndpointId,
    /// Events from this time on.
    pub since: Timestamp,
    /// Events before this time.
    pub until: Timestamp,
    /// Which of them.
    pub only: Only,
    /// Only events of these types, if said.
    pub event_types: Option<Filter>,
    /// The number it looks at next.
    pub next_sequence: i64,
    /// The number at which it ends.
    pub end_sequence: i64,
    /// Events that it is about, as counted at its start.
    pub matched: u64,
    /// Runs opened so far.
    pub opened: u64,
    /// Runs that have ended, however they did.
    pub done: u64,
    /// Where it stands.
    pub state: ReplayState,
    /// When it was asked for.
    pub created_at: Timestamp,
}
