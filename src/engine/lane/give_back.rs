//! What was taken and could not be sent, and what is in memory and may be wrong.

use super::{Lane, Place, key_of};
use crate::domain::delivery::OpenRun;
use crate::domain::time::Timestamp;

impl Lane {
    /// What is in memory may be wrong: all of it comes from the store again, what is in hand once it has been written down.
    pub fn forget(&mut self) {
        let in_hand = self.known.iter().filter(|(_, known)| known.place != Place::Queued).map(|(key, _)| *key);
        self.outdated.extend(in_hand);
        self.park();
    }

    /// An attempt could not be made, which is not the endpoint's doing: the run goes back to where it was taken from, as
    /// it was. What a strict lane had as its head is its head again.
    pub fn give_back(&mut self, run: OpenRun, now: Timestamp) {
        let key = key_of(run.key);
        self.under_way = self.under_way.saturating_sub(1);
        self.replays_under_way = self.replays_under_way.saturating_sub(u32::from(run.replay.is_some()));
        let was_head = self.head.take_if(|head| *head == key).is_some();
        let was_beside = self.beside.take_if(|beside| *beside == key).is_some();
        if self.outdated.remove(&key) || !self.sends() || self.is_strict() && !was_head && !was_beside {
            // It, or the endpoint, was changed meanwhile: the store has it, and the order it now stands in.
            self.leave(key);
            self.park();
            return;
        }
        self.put(key, Place::Queued);
        if was_head {
            self.fresh.push_front(run);
        } else {
            // It was due, whatever its time says.
            let at = run.next_attempt_at.map_or(Timestamp::from_millis(0), |at| at.min(now));
            let queue = if run.replay.is_some() { &mut self.replays } else { &mut self.waiting };
            queue.insert((at, key), run);
        }
    }
}
