//! Vendors and their two modes.

use std::str::FromStr;

use serde::Serialize;
use utoipa::ToSchema;

use super::id::{StreamId, VendorId};
use super::time::Timestamp;

/// Whether something is real. A vendor's live and test worlds never meet (guarantee G9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The real world.
    Live,
    /// The simulated one.
    Test,
}

impl Mode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::Live, Self::Test];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or("must be \"live\" or \"test\"")
    }
}

/// Who sells recharges through the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendor {
    /// Its id.
    pub id: VendorId,
    /// Its name, for people.
    pub name: String,
    /// Where mails about it go.
    pub email: String,
    /// Stopped by the operator: its tokens are refused, its deliveries wait.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// The stream of each mode, in the order of [`Mode::ALL`].
    pub streams: [StreamId; 2],
}

impl Vendor {
    /// The stream that counts this mode's events.
    pub fn stream(&self, mode: Mode) -> StreamId {
        self.streams[mode as usize]
    }
}
