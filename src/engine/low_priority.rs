//! What goes out behind everything else: which lanes wait for that, at which pace they go, and whether there is anybody
//! whom they have to leave the way.

use std::collections::VecDeque;

use super::rate::Rate;
use crate::domain::id::EndpointId;
use crate::domain::time::Timestamp;
use crate::limits;

/// The board's queue behind the others.
pub(super) struct Behind {
    /// Lanes that wait for their turn.
    pub turns: VecDeque<EndpointId>,
    /// Their pace, all together.
    pub rate: Rate,
    /// When a timer rings for them.
    wakes_at: Option<Timestamp>,
    /// Two endpoints whose events went out as they came, the latest first: one of them is another one than any that asks.
    lately: [Option<(EndpointId, Timestamp)>; 2],
}

impl Behind {
    pub fn new() -> Self {
        Self { turns: VecDeque::new(), rate: Rate::new(limits::BEHIND_SLACK), wakes_at: None, lately: [None; 2] }
    }

    /// An endpoint's event goes out as it came.
    pub fn note(&mut self, endpoint: EndpointId, now: Timestamp) {
        if self.lately[0].is_some_and(|(latest, _)| latest != endpoint) {
            self.lately[1] = self.lately[0];
        }
        self.lately[0] = Some((endpoint, now));
    }

    /// Whether other endpoints' events go out as they come.
    pub fn others(&self, endpoint: EndpointId, now: Timestamp) -> bool {
        self.lately.iter().flatten().any(|(other, at)| *other != endpoint && now.since(*at) < limits::LATELY)
    }

    /// The clock was set back: when something went out says nothing any more.
    pub fn forget(&mut self) {
        self.lately = [None; 2];
    }

    /// A timer is to ring at this time; answers whether none is set that rings as early.
    pub fn arrange(&mut self, at: Timestamp, now: Timestamp) -> bool {
        let is_new = self.wakes_at.is_none_or(|arranged| arranged <= now || arranged > at);
        if is_new {
            self.wakes_at = Some(at);
        }
        is_new
    }
}
