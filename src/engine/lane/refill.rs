//! What a lane takes from the store: runs that did not fit, or are due much later, come back by a refill.
//!
//! A refill races with outcomes that are being written: runs that ended meanwhile are noted and not taken again. What is
//! in hand is read once more and skipped.

use std::collections::HashSet;
use std::time::Duration;

use super::{Key, Lane, Window, key_of};
use crate::domain::circuit::is_isolated;
use crate::domain::delivery::OpenRun;
use crate::domain::time::Timestamp;
use crate::engine::jump::Jump;
use crate::limits;
use crate::store::{OpenAsk, OpenPage, OpenQuery, Portion};

/// What the store is to be asked for a lane. What is in hand is read once more and skipped, so that a page must be longer
/// than that to bring anything new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Refill {
    /// Runs to take in order.
    pub ordered: Option<OpenAsk>,
    /// Runs to take because they are due.
    pub due: Option<OpenAsk>,
    /// Runs of replays that are due.
    pub replayed: Option<OpenAsk>,
    /// When it was asked for: what comes due later is told by [`Read::next_due`].
    pub now: Timestamp,
    /// The epoch of the shard in which it was asked for.
    pub epoch: i64,
}

/// What the store had for a lane.
#[derive(Debug, Default)]
pub(in super::super) struct Read {
    pub ordered: OpenPage,
    pub due: OpenPage,
    pub replayed: OpenPage,
    pub next_due: Option<Timestamp>,
}

/// A refill that is under way.
#[derive(Debug, Default)]
pub(super) struct Refilling {
    /// The window was given up meanwhile, so that what was read is of no use.
    pub stale: bool,
    pub ended: HashSet<Key>,
    /// Runs were offered meanwhile and turned away, so that what was read may not be all there is.
    pub turned_away: bool,
    /// Runs from this number on came to be meanwhile that were told of only now, and the question may have begun behind them.
    pub from: Option<i64>,
}

impl Lane {
    /// Runs from this number on may be in the store, wherever it was read last.
    pub(super) fn look_from(&mut self, from: i64) {
        (self.cursor, self.stored) = (self.cursor.min(from - 1), true);
        if let Some(refilling) = &mut self.refilling {
            refilling.from = Some(refilling.from.map_or(from, |other| other.min(from)));
        }
    }

    /// What to ask the store for now, if anything; it is then under way.
    pub fn start_refill(&mut self, window: Window, now: Timestamp) -> Option<Refill> {
        let has_events = self.known.len() > self.replays_known;
        if self.tenancy.is_leaving
            || self.starved
            || self.cramped
            || !self.sends()
            || self.refilling.is_some()
            || (self.pace.holds() && has_events && (!self.is_strict() || !self.fresh.is_empty() || self.head.is_some()))
        {
            return None;
        }
        // Whichever of them is not read now is read later.
        let came_due = self.next_stored_due.is_some_and(|at| at <= now);
        (self.due_stored, self.replay_stored) = (self.due_stored | came_due, self.replay_stored | came_due);
        let half = self.most(window, now) / 2;
        let hungry = self.in_window() <= half && self.unsettled <= half && self.bytes <= window.bytes / 2;
        let wanted = hungry && (self.due_stored || self.stored || self.walk.is_some());
        let bytes = self.known_bytes + window.bytes;
        let ask = |query, rows| OpenAsk { query, portion: Portion { rows: self.known.len() + rows, bytes } };
        let replayed = self.replays_to_read(window, now).map(|query| ask(query, limits::REPLAY_WINDOW));
        if !wanted && replayed.is_none() {
            return None;
        }
        let most = if self.pace.holds() {
            limits::HOLDING_WINDOW
        } else if self.pace.is_proven(now) {
            limits::REFILL_ROWS
        } else {
            limits::UNPROVEN_WINDOW
        };
        let (ordered, due) = if !wanted {
            (None, None)
        } else if self.is_strict() {
            let stepped_aside = if self.anew { Timestamp::from_millis(i64::MIN) } else { self.stepped_aside(now) };
            let due_by = if self.all_due { Timestamp::from_millis(i64::MAX) } else { now };
            let (first, beside) = (OpenQuery::Strict { stepped_aside }, OpenQuery::Beside { stepped_aside, now: due_by });
            (Some(ask(first, most)), Some(ask(beside, most)))
        } else if let Some(after) = self.walk {
            (Some(ask(OpenQuery::All { after, up_to: i64::MAX }, most)), None)
        } else {
            let behind = self.known.keys().filter(|(sequence, _)| *sequence > self.cursor).count();
            let fresh = OpenAsk { query: OpenQuery::Fresh { after: self.cursor }, portion: Portion { rows: behind + most, bytes } };
            (Some(fresh), Some(ask(OpenQuery::Due { now }, most)))
        };
        self.refilling = Some(Refilling::default());
        self.next_stored_due = self.next_stored_due.filter(|at| *at > now);
        Some(Refill { ordered, due, replayed, now, epoch: self.tenancy.epoch })
    }

    /// First runs that have been failing since before this time no longer hold a strict lane.
    pub(super) fn stepped_aside(&self, now: Timestamp) -> Timestamp {
        let hold = self.plan.as_ref().map(|plan| plan.strict_hold).unwrap_or_default();
        Jump::ago(self.jump, hold, now)
    }

    /// When a run that has been failing since then steps aside.
    pub(super) fn steps_aside_at(&self, failed_since: Timestamp, hold: Duration, now: Timestamp) -> Timestamp {
        let line = Jump::ago(self.jump, hold, now);
        if failed_since <= line { now } else { now.plus(failed_since.since(line)) }
    }

    /// What the store had.
    pub fn refilled(&mut self, refill: Refill, read: Read, window: Window, now: Timestamp) {
        let Some(Refilling { stale, ended, turned_away, from }) = self.refilling.take() else { return };
        if stale || !self.sends() {
            (self.stored, self.due_stored, self.replay_stored) = (true, true, true);
            return;
        }
        let mut all_fit = true;
        let Read { mut ordered, mut due, replayed, next_due } = read;
        if refill.ordered.is_some() {
            self.make_due(&mut ordered.runs, &mut due.runs);
        }
        self.next_stored_due = [self.next_stored_due, next_due].into_iter().flatten().min();
        if refill.due.is_some() {
            let fits = self.take_due(due.runs, &ended, window, now);
            (self.due_stored, all_fit) = (due.more || !fits, all_fit && fits);
        }
        if refill.ordered.is_some() {
            let fits = self.take_ordered(ordered.runs, &ended, window, now);
            all_fit &= fits;
            let more = ordered.more || !fits;
            if !more && let Some((sequence, _)) = self.walk.take() {
                self.cursor = self.cursor.max(sequence);
            }
            self.stored = more || turned_away || from.is_some();
            self.cursor = from.map_or(self.cursor, |from| self.cursor.min(from - 1));
        }
        if refill.replayed.is_some() {
            let fits = self.take_replayed(replayed.runs, &ended, window, now);
            // At the end of a walk the store is asked once more, for what came to be due behind it.
            let walked = !replayed.more && fits && self.replay_walk.take().is_some();
            (self.replay_stored, all_fit) = (replayed.more || !fits || walked, all_fit && fits);
        }
        // The largest event fits into an empty lane, so that it is the node that has no room.
        self.starved = !all_fit && self.known.is_empty();
        self.cramped = !all_fit && !self.starved;
    }

    /// After a release of a strict lane times count for nothing, and where its order begins anew, neither does for how
    /// long a run has failed.
    fn make_due(&mut self, ordered: &mut [OpenRun], due: &mut [OpenRun]) {
        let (all_due, anew) = (std::mem::take(&mut self.all_due), std::mem::take(&mut self.anew));
        let keeps_time = |run: &OpenRun| !all_due || (!anew && self.is_isolated(run));
        for run in ordered.iter_mut().chain(due).filter(|run| !keeps_time(run)) {
            run.next_attempt_at = None;
            run.failed_since = run.failed_since.filter(|_| !anew);
        }
    }

    /// Whether a run failed while others succeeded, before the circuit closed.
    fn is_isolated(&self, run: &OpenRun) -> bool {
        is_isolated(run.failed_since, self.isolated_before)
    }

    /// Takes runs that are due; answers whether all of them had room.
    fn take_due(&mut self, due: Vec<OpenRun>, ended: &HashSet<Key>, window: Window, now: Timestamp) -> bool {
        let mut all = true;
        for run in due.into_iter().filter(|run| !ended.contains(&key_of(run.key))) {
            if self.known.contains_key(&key_of(run.key)) {
                continue;
            }
            if self.has_room(&run, window, now) {
                self.enqueue_waiting(run, now);
            } else {
                all = false;
            }
        }
        all
    }

    /// Takes runs in order, up to the first that has no room; answers whether all of them had.
    fn take_ordered(&mut self, ordered: Vec<OpenRun>, ended: &HashSet<Key>, window: Window, now: Timestamp) -> bool {
        for run in ordered {
            let key = key_of(run.key);
            let is_new = !self.known.contains_key(&key) && !ended.contains(&key);
            let own_time = run.next_attempt_at.filter(|at| *at > now && self.walk.is_some() && self.is_isolated(&run));
            if let Some(at) = own_time.filter(|_| is_new) {
                self.next_stored_due = Some(self.next_stored_due.map_or(at, |next| next.min(at)));
            } else if is_new {
                if !self.has_room(&run, window, now) {
                    return false;
                }
                self.enter(&run);
                self.fresh.push_back(run);
            }
            match &mut self.walk {
                Some(walk) => *walk = key,
                None => self.cursor = self.cursor.max(key.0),
            }
        }
        true
    }

    /// The store could not be asked.
    pub fn refill_failed(&mut self) {
        self.refilling = None;
        (self.due_stored, self.replay_stored) = (true, true);
    }
}
