//! What a lane has in memory: how much that may be, and in which of its places each run stands.

use super::{Key, Lane, key_of};
use crate::domain::delivery::OpenRun;
use crate::domain::time::Timestamp;
use crate::limits;

/// Bounds of a lane's window.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Window {
    pub runs: usize,
    pub bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Queued,
    UnderWay,
    Unsettled,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub place: Place,
    /// Memory it is charged for.
    pub weight: usize,
    /// What it was charged at first, which is at least what it has in the store.
    pub whole: usize,
    /// A replay opened it.
    pub replayed: bool,
}

impl Known {
    fn is_unsettled_event(&self) -> bool {
        self.place == Place::Unsettled && !self.replayed
    }
}

impl Lane {
    /// Whether a run may enter the window. Replays take no room from others. What was attempted and is being written down
    /// takes none either, so that a store that is busy with reports does not slow down the sending, but for the bound that
    /// holds for such runs by themselves.
    pub(super) fn has_room(&self, run: &OpenRun, window: Window, now: Timestamp) -> bool {
        if run.replay.is_some() {
            return self.has_room_for_replay(run, window);
        }
        let most = self.most(window, now);
        self.in_window() < most && self.unsettled < most && self.bytes + weight(run) <= window.bytes
    }

    /// Runs of events that are still to be sent, or being sent.
    pub(super) fn in_window(&self) -> usize {
        self.known.len() - self.replays_known - self.unsettled
    }

    pub(super) fn most(&self, window: Window, now: Timestamp) -> usize {
        if self.pace.is_proven(now) { window.runs } else { window.runs.min(limits::UNPROVEN_WINDOW) }
    }

    pub(super) fn enter(&mut self, run: &OpenRun) {
        let (weight, replayed) = (weight(run), run.replay.is_some());
        if self.known.insert(key_of(run.key), Known { place: Place::Queued, weight, whole: weight, replayed }).is_none() {
            self.bytes += weight;
            self.known_bytes += weight;
            self.replays_known += usize::from(replayed);
        }
    }

    pub(super) fn leave(&mut self, key: Key) {
        if let Some(known) = self.known.remove(&key) {
            self.unsettled -= usize::from(known.is_unsettled_event());
            self.bytes = self.bytes.saturating_sub(known.weight);
            self.known_bytes -= known.whole;
            self.replays_known -= usize::from(known.replayed);
            self.cramped = false;
        }
    }

    pub(super) fn put(&mut self, key: Key, place: Place) {
        let known = self.known.entry(key).or_insert_with(|| {
            self.known_bytes += limits::BODY_MAX;
            Known { place: Place::Queued, weight: 0, whole: limits::BODY_MAX, replayed: false }
        });
        self.unsettled -= usize::from(known.is_unsettled_event());
        known.place = place;
        self.unsettled += usize::from(known.is_unsettled_event());
    }

    /// A run was attempted for the last time: its event is in no memory any more, only what became of it.
    pub(super) fn unload(&mut self, key: Key) {
        if let Some(known) = self.known.get_mut(&key) {
            let left = known.weight.min(limits::DELIVERY_OVERHEAD);
            self.bytes -= known.weight - left;
            known.weight = left;
        }
    }
}

/// Memory that a run in the window is charged for.
pub(super) fn weight(run: &OpenRun) -> usize {
    run.event.weight() + limits::DELIVERY_OVERHEAD
}
