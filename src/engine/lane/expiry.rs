//! Runs that end without an attempt, or while one is under way.

use std::collections::HashSet;

use super::{Key, Lane, Place, key_of};
use crate::domain::delivery::EndReason;
use crate::domain::endpoint::EndpointStatus;
use crate::domain::time::Timestamp;
use crate::store::Expired;

impl Lane {
    /// Whether its endpoint is gone, as far as is known here.
    pub fn is_deleted(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.endpoint.deleted)
    }

    /// Why a run whose deadline (moved on by jumps of the clock) has passed ends now without an attempt; none if it still gets one.
    pub fn reason_to_expire(&self, run: &Expired, deadline: Timestamp, now: Timestamp) -> Option<EndReason> {
        let plan = self.plan.as_ref()?;
        if deadline > now || self.is_in_hand(key_of(run.key)) {
            return None;
        }
        if plan.endpoint.status == EndpointStatus::Disabled {
            Some(EndReason::Disabled)
        } else if plan.endpoint.status == EndpointStatus::Paused {
            // Its deadlines stand still; it is past them only because its pause is over, and then it gets its attempt.
            None
        } else if !plan.endpoint.sends() {
            Some(EndReason::Paused)
        } else if self.pace.holds() {
            Some(EndReason::Held)
        } else if self.since <= deadline && run.next_attempt_at != Some(run.deadline) {
            // The lane has been at work since before the deadline, and did not get to it.
            Some(EndReason::Blocked)
        } else {
            None
        }
    }

    /// Whether an attempt of it is under way, or has come back and is being written down.
    pub fn is_in_hand(&self, key: Key) -> bool {
        self.known.get(&key).is_some_and(|known| known.place != Place::Queued)
    }

    /// These runs end without an attempt: they leave the window, and count as unsettled until the store has said so.
    pub fn withdraw(&mut self, keys: &HashSet<Key>) {
        self.take_out(keys);
        keys.iter().for_each(|key| self.put(*key, Place::Unsettled));
    }

    /// These runs were cancelled: they leave the window. The outcome of one that is under way is still to come.
    pub fn cancelled(&mut self, keys: &HashSet<Key>) {
        self.take_out(keys);
        for key in keys {
            self.over(*key);
            if !self.is_in_hand(*key) {
                self.leave(*key);
            }
        }
        if let Some(refilling) = &mut self.refilling {
            refilling.ended.extend(keys);
        }
    }

    /// A run ended while its attempt was under way: it is not tried again.
    pub fn over(&mut self, key: Key) {
        self.retries.remove(&key);
    }

    fn take_out(&mut self, keys: &HashSet<Key>) {
        self.fresh.retain(|run| !keys.contains(&key_of(run.key)));
        self.waiting.retain(|(_, key), _| !keys.contains(key));
        self.replays.retain(|(_, key), _| !keys.contains(key));
    }
}
