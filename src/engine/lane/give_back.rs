//! What goes back to the store: what was taken and could not be sent, what is in memory and may be wrong, and what is not
//! needed for now.

use super::{Key, Lane, Place, Window, key_of};
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
        self.pace.end(key);
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

    /// Its circuit opened: what is not needed for probes goes back to the store.
    pub fn hold(&mut self) {
        self.shrink(limits::HOLDING_WINDOW);
    }

    /// A run that came while the circuit is open: one of the newest is kept for probes, and one of another type.
    pub(super) fn keep_for_probes(&mut self, run: OpenRun, window: Window, now: Timestamp) {
        let in_turn = self.waiting.keys().map(|(_, key)| *key).chain(self.fresh.iter().map(|run| key_of(run.key)));
        let mut keys: Vec<Key> = in_turn.collect();
        keys.sort_unstable();
        if keys.len() >= limits::HOLDING_WINDOW {
            let newest = keys.split_off(limits::HOLDING_WINDOW - 2);
            let is_same_type = |key: &&Key| {
                self.waiting.values().any(|other| key_of(other.key) == **key && other.event.event_type == run.event.event_type)
            };
            let Some(leaves) = newest.iter().find(is_same_type).or(newest.first()).copied() else { return };
            self.waiting.retain(|(_, key), _| *key != leaves);
            self.fresh.retain(|run| key_of(run.key) != leaves);
            self.leave(leaves);
        }
        if self.has_room(&run, window, now) {
            self.enqueue_waiting(run, now);
        }
    }

    /// An endpoint is enabled, or its pause is over: all that waits is due, and a strict order begins anew.
    pub fn begin_anew(&mut self, now: Timestamp) {
        self.release(None);
        (self.anew, self.since) = (true, now);
    }

    /// Everything that waits is due, in order, but for runs that have been failing since before `isolated_before` while others
    /// succeeded. What is in memory may have gaps, so that all of it comes from the store again.
    pub fn release(&mut self, isolated_before: Option<Timestamp>) {
        self.park();
        self.isolated_before = isolated_before;
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
        // What stands in a strict order stays there.
        let in_order: Vec<OpenRun> = if self.is_strict() { self.fresh.drain(..).collect() } else { Vec::new() };
        let mut all: Vec<OpenRun> = self.fresh.drain(..).chain(std::mem::take(&mut self.waiting).into_values()).collect();
        all.sort_by_key(|run| key_of(run.key));
        let (in_order, gone) = split(in_order, keep);
        let (all, also_gone) = split(all, keep);
        for run in gone.into_iter().chain(also_gone) {
            self.leave(key_of(run.key));
            self.stored = true;
        }
        self.fresh.extend(in_order);
        for run in all {
            let at = run.next_attempt_at.unwrap_or(Timestamp::from_millis(0));
            self.waiting.insert((at, key_of(run.key)), run);
        }
        if self.stored {
            self.cursor = 0;
        }
    }
}

/// The runs that stay in memory, and those that go: the oldest stay, and where probes choose among them the newest and the
/// newest of another type.
fn split(mut all: Vec<OpenRun>, keep: usize) -> (Vec<OpenRun>, Vec<OpenRun>) {
    if all.len() <= keep {
        return (all, Vec::new());
    }
    let mut gone = all.split_off(keep.saturating_sub(2));
    if keep > 2 {
        let newest = gone.pop();
        let other = newest.as_ref().and_then(|newest| gone.iter().rposition(|run| run.event.event_type != newest.event.event_type));
        let other = other.unwrap_or(0).min(gone.len() - 1);
        all.push(gone.remove(other));
        all.extend(newest);
    }
    (all, gone)
}
