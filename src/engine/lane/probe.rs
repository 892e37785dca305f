//! Probes: what a lane may send while its circuit is open.

use super::{Lane, Pick, key_of};
use crate::domain::circuit::Candidate;
use crate::domain::delivery::OpenRun;
use crate::domain::time::Timestamp;

impl Lane {
    /// While its circuit is open: a probe when its time has come, one at a time; and an event at once, where nothing but a
    /// replay failed.
    pub(super) fn probe(&self, at: Timestamp, now: Timestamp) -> Option<Pick> {
        if at <= now {
            let idle = self.under_way == 0 && self.head.is_none() && self.beside.is_none();
            return if idle { self.candidate() } else { None };
        }
        if !self.pace.circuit().is_open_for_replays() || self.events_under_way() > 0 || self.head.is_some() {
            return None;
        }
        let waiting = || self.first_waiting_in_order(now).filter(|_| self.beside.is_none());
        if self.front_is_due(now) { Some(Pick::Fresh) } else { waiting() }
    }

    /// What the circuit chooses of the deliveries in memory. A strict lane's order holds for probes, too: of what stands in
    /// order it may only try the first.
    fn candidate(&self) -> Option<Pick> {
        let in_order = if self.is_strict() { 1 } else { self.fresh.len() };
        let fresh = self.fresh.iter().take(in_order).enumerate().map(|(at, run)| (Pick::FreshAt(at), run));
        let waiting = self.waiting.iter().map(|(at, run)| (Pick::Waiting(*at), run));
        let picks: Vec<(Pick, &OpenRun)> = fresh.chain(waiting).collect();
        let candidates = picks.iter().map(|(_, run)| Candidate {
            delivery: key_of(run.key),
            event_type: &run.event.event_type,
            failed_since: run.failed_since,
        });
        let chosen = self.pace.circuit().choose(candidates);
        let pick = chosen.and_then(|key| picks.iter().find(|(_, run)| key_of(run.key) == key).map(|(pick, _)| *pick));
        let replay = || self.replays.keys().min_by_key(|(_, key)| *key).copied().map(Pick::Replay);
        pick.or_else(replay)
    }
}
