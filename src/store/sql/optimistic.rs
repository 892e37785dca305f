//! What a batch on PostgreSQL takes as given instead of asking for it: a way to the database and back that most need not go.
//!
//! Nothing rests on a guess. Each is claimed where the batch writes ([`Conn::claim`](super::conn::Conn::claim) and
//! [`Conn::write_over`](super::conn::Conn::write_over)), or fails by a unique index; then the batch comes to nothing, and is
//! run again with everything asked for.

use std::collections::HashMap;

use super::conn::{Result, Row, RowLocation};
use crate::clock::Stopwatch;
use crate::domain::id::StreamId;
use crate::domain::recharge::Status;
use crate::limits;

/// A counter row, as it was read or as the last batch to hold it left it.
#[derive(Clone)]
pub(super) struct Known {
    /// The next number.
    pub next: i64,
    /// The version of who listens.
    pub version: i64,
    pub last_event_at: i64,
    /// Where the row is.
    pub spot: RowLocation,
    /// Where the stream's tally of an hour is.
    pub tally: (i64, RowLocation),
}

impl Known {
    /// The row as it was just read.
    pub fn read(row: &Row) -> Result<Self> {
        let (next, version, last_event_at) = (row.get("next_sequence")?, row.get("endpoints_version")?, row.get("last_event_at")?);
        Ok(Self { next, version, last_event_at, spot: RowLocation::default(), tally: Default::default() })
    }
}

/// Reports and what is known of them, by whether they say that a recharge is queued.
type ByKind<T> = [T; 2];

/// What is remembered from one batch to the next.
#[derive(Default)]
pub(super) struct OptimisticCache {
    /// Counter rows, as the last batch to hold them left them.
    counters: HashMap<StreamId, Known>,
    /// How many reports in a row were the first about their recharges.
    new_in_a_row: ByKind<usize>,
    /// When a counter row was last not as it was taken to be, or another transaction was in the way.
    crossed: Option<Stopwatch>,
    /// When a batch last came to nothing though its counter rows were as it had guessed: they were not where they had been.
    moved: Option<Stopwatch>,
    /// When another guess was last wrong.
    wrong: Option<Stopwatch>,
    now: Now,
}

/// How the batch under way goes about it.
#[derive(Default)]
struct Now {
    /// It may guess.
    may: bool,
    /// It locks counter rows before it reads them.
    locks: bool,
    /// It relies on a counter row that is not locked.
    trusts: bool,
    /// Counter rows that it guesses, with their next numbers and versions if it takes numbers.
    counters: HashMap<StreamId, Option<(i64, i64)>>,
    /// It took reports for the first ones about their recharges.
    took_for_new: ByKind<bool>,
    /// It relies on another guess.
    guessed: bool,
    /// It came to nothing, and is going to be run again.
    failed: bool,
    /// It is run again, and these reports were taken for the first ones before.
    suspects: ByKind<bool>,
    /// It is run again, and guessed these before.
    guessed_counters: HashMap<StreamId, Option<(i64, i64)>>,
}

impl OptimisticCache {
    /// A batch begins. One that `changes` what is guessed here asks for everything, and so does one that is run again.
    pub fn begin(&mut self, changes: bool) {
        let Now { failed, took_for_new, counters, .. } = std::mem::take(&mut self.now);
        (self.now.suspects, self.now.guessed_counters) = if failed { (took_for_new, counters) } else { Default::default() };
        self.now.may = !changes && !failed && !lately(self.wrong.as_ref());
        self.now.locks = lately(self.crossed.as_ref());
        if !self.now.may || self.now.locks {
            self.forget();
        }
    }

    /// The batch came to nothing, and is going to be run again.
    pub fn fail(&mut self) {
        self.now.failed = true;
        let guessed = self.now.guessed && !self.now.trusts;
        *(if guessed { &mut self.wrong } else { &mut self.crossed }) = Some(Stopwatch::start());
    }

    /// Whether counter rows are locked before they are read, because another node was in the way lately.
    pub fn locks_counters(&self) -> bool {
        self.now.locks
    }

    /// The batch relies on a counter row that is not locked.
    pub fn trust(&mut self) {
        self.now.trusts = true;
    }

    /// The batch takes no number from this counter row.
    pub fn only_counts_in(&mut self, stream: StreamId) {
        self.now.counters.entry(stream).and_modify(|number| *number = None);
    }

    /// Learns what a counter row holds. Where a batch that is run again had guessed all of its counter rows rightly, nobody took
    /// a number: others have counted in a row, as the janitor does when it removes recharges, and it is not where it was.
    pub fn check(&mut self, stream: StreamId, known: &Known) {
        let is_right = |guess: &Option<(i64, i64)>| guess.is_none_or(|guess| guess == (known.next, known.version));
        if self.now.guessed_counters.get(&stream).is_some_and(is_right) {
            self.now.guessed_counters.remove(&stream);
            if self.now.guessed_counters.is_empty() {
                self.moved = self.crossed.take();
            }
        }
    }

    /// What was remembered in the course of a transaction that did not come to pass may be wrong.
    pub fn forget(&mut self) {
        self.counters.clear();
    }

    /// How a stream's counter row was left, which the batch takes it to be.
    pub fn counter(&mut self, stream: StreamId) -> Option<Known> {
        let known = self.counters.get(&stream)?;
        self.now.counters.insert(stream, Some((known.next, known.version)));
        Some(known.clone())
    }

    /// The batch leaves it so.
    pub fn keep(&mut self, stream: StreamId, known: &Known) {
        if self.now.may && !self.now.locks {
            let moves = lately(self.moved.as_ref());
            let known = if moves { Known { spot: RowLocation::default(), tally: Default::default(), ..*known } } else { known.clone() };
            self.counters.insert(stream, known);
        }
    }

    /// Whether a report of this status, one of so many in its batch, is the first about its recharge. Platforms differ in
    /// whether they report what they have queued, so that it is as it lately was; one batch of a few may be wrong.
    pub fn is_new(&mut self, status: Status, of: usize) -> bool {
        let is_new = self.now.may && self.new_in_a_row[kind(status)] / limits::SPECULATE_AFTER >= of;
        self.now.guessed |= is_new;
        self.now.took_for_new[kind(status)] |= is_new;
        is_new
    }

    /// Learns whether a report was the first about its recharge.
    pub fn learn(&mut self, status: Status, is_new: bool) {
        let in_a_row = &mut self.new_in_a_row[kind(status)];
        *in_a_row = if is_new { *in_a_row + 1 } else { 0 };
        if !is_new && self.now.suspects[kind(status)] {
            // That was it, so that all else is as good as before.
            (self.wrong, self.crossed, self.moved) = (None, None, None);
        }
    }

    /// Whether the run that succeeded at its first attempt is still open, and has not failed.
    pub fn is_open(&mut self) -> bool {
        self.now.guessed |= self.now.may;
        self.now.may
    }
}

fn kind(status: Status) -> usize {
    usize::from(status != Status::Queued)
}

/// Whether what was so then may be so again.
fn lately(since: Option<&Stopwatch>) -> bool {
    since.is_some_and(|since| since.elapsed() < limits::LOCK_AFTER_CONFLICT_FOR)
}
