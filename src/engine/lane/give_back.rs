//! What goes back to the store: what was taken and could not be sent, what is in memory and may be wrong, and what is not
//! needed for now.

use super::{Lane, Place, key_of};
use crate::domain::delivery::OpenRun;
use crate::domain::time::Timestamp;
use crate::limits;

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

    /// It begins to hold: what is not needed for probes goes back to the store.
    pub fn hold(&mut self) {
        self.shrink(limits::HOLDING_WINDOW);
    }

    /// An endpoint is enabled, or its pause is over: all that waits is due, and a strict order begins anew.
    pub fn begin_anew(&mut self, now: Timestamp) {
        self.release();
        (self.anew, self.since) = (true, now);
    }

    /// Everything that waits is due, in order. What is in memory may have gaps, so that all of it comes from the store
    /// again.
    pub fn release(&mut self) {
        self.park();
        self.replay_walk = Some((0, 0));
        if self.is_strict() { self.all_due = true } else { self.walk = Some((0, 0)) }
    }

    /// Gives the window back to the store: nothing goes out for now, or in another order. A walk begins again.
    pub fn park(&mut self) {
        self.shrink(0);
        (self.cursor, self.stored) = (0, true);
        self.walk = self.walk.filter(|_| !self.is_strict()).map(|_| (0, 0));
        if let Some(refilling) = &mut self.refilling {
            refilling.stale = true;
        }
    }

    fn shrink(&mut self, keep: usize) {
        for (_, key) in std::mem::take(&mut self.replays).into_keys() {
            self.leave(key);
        }
        (self.replay_stored, self.replay_walk) = (true, self.replay_walk.map(|_| (0, 0)));
        let mut all: Vec<OpenRun> = self.fresh.drain(..).chain(std::mem::take(&mut self.waiting).into_values()).collect();
        all.sort_by_key(|run| key_of(run.key));
        for run in all.split_off(keep.min(all.len())) {
            self.leave(key_of(run.key));
            self.stored = true;
        }
        for run in all {
            let at = run.next_attempt_at.unwrap_or(Timestamp::from_millis(0));
            self.waiting.insert((at, key_of(run.key)), run);
        }
        if self.stored {
            self.cursor = 0;
        }
    }
}
