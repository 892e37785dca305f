//! A lane's runs of replays. They go out only when nothing else can, take a part of the in-flight cap and a window of
//! their own, so that an event that comes meanwhile finds room and a slot.
//!
//! A strict endpoint's replay keeps its order too: a run that failed holds those behind it until it steps aside, and holds
//! no event.

use std::collections::HashSet;

use super::{Key, Lane, Pick, Window, key_of, weight};
use crate::domain::delivery::OpenRun;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::OpenQuery;

impl Lane {
    /// Replays take half of the room that there is, but for the one that is larger.
    pub(super) fn has_room_for_replay(&self, run: &OpenRun, window: Window) -> bool {
        let most = if self.bytes == 0 { window.bytes } else { window.bytes / 2 };
        self.replays.len() < limits::REPLAY_WINDOW && self.bytes + weight(run) <= most
    }

    /// A replay leaves slots free, so that an event that comes meanwhile finds one.
    pub(super) fn next_replay(&self, cap: u32, now: Timestamp) -> Option<Pick> {
        let free = self.under_way < cap && self.replays_under_way < (cap / limits::REPLAY_SHARE).max(1);
        self.first_replay(now).filter(|_| free).map(Pick::Replay)
    }

    /// Which run goes next, if one is due.
    pub(super) fn first_replay(&self, now: Timestamp) -> Option<(Timestamp, Key)> {
        self.foremost_replay(now).filter(|(at, _)| *at <= now)
    }

    /// When to look at them again.
    pub(super) fn next_replay_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.foremost_replay(now).map(|(at, _)| at)
    }

    fn foremost_replay(&self, now: Timestamp) -> Option<(Timestamp, Key)> {
        if !self.is_strict() {
            return self.replays.first_key_value().map(|(at, _)| *at);
        }
        let line = self.stepped_aside(now);
        let counts = |at: Timestamp, run: &OpenRun| at <= now || run.failed_since.is_none_or(|since| since > line);
        self.replays.iter().filter(|((at, _), run)| counts(*at, run)).map(|(at, _)| *at).min_by_key(|(_, key)| *key)
    }

    /// Those that are due.
    fn due_replays(&self, now: Timestamp) -> usize {
        self.replays.keys().take_while(|(at, _)| *at <= now).count()
    }

    /// Whether a run that waits for its retry may do that in memory: most of the window is for those that are due.
    pub(super) fn may_wait(&self, run: &OpenRun) -> bool {
        run.replay.is_none() || self.replays.len() < limits::REPLAY_WINDOW / 2
    }

    /// What to ask the store for, if there is room.
    pub(super) fn replays_to_read(&self, window: Window, now: Timestamp) -> Option<OpenQuery> {
        let few = if self.pace.holds() { 0 } else { limits::REPLAY_WINDOW / 2 };
        if !self.replay_stored || self.due_replays(now) > few || self.bytes > window.bytes / 4 {
            return None;
        }
        Some(match self.replay_walk {
            Some(after) => OpenQuery::Replayed { after, due: Timestamp::from_millis(i64::MAX), failed_after: None },
            None => {
                let failed_after = self.is_strict().then(|| self.stepped_aside(now));
                OpenQuery::Replayed { after: (0, 0), due: now, failed_after }
            }
        })
    }

    /// Takes what the store had, up to the first that has no room; answers whether all of it had.
    pub(super) fn take_replayed(&mut self, runs: Vec<OpenRun>, ended: &HashSet<Key>, window: Window, now: Timestamp) -> bool {
        for mut run in runs {
            let key = key_of(run.key);
            if !self.known.contains_key(&key) && !ended.contains(&key) {
                if !self.has_room_for_replay(&run, window) {
                    return false;
                }
                run.next_attempt_at = run.next_attempt_at.filter(|_| self.replay_walk.is_none());
                self.enqueue_waiting(run, now);
            }
            self.replay_walk = self.replay_walk.map(|_| key);
        }
        true
    }
}
