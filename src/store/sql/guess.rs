//! What a batch on PostgreSQL takes as given instead of asking for it: a way to the database and back that most need not go.
//!
//! Nothing rests on a guess. Each is claimed where the batch writes ([`Conn::claim`](super::conn::Conn::claim)), or fails by
//! a unique index; then the batch comes to nothing, and is run again with everything asked for.

use std::collections::HashMap;

use crate::clock::Stopwatch;
use crate::domain::id::StreamId;
use crate::domain::recharge::Status;
use crate::limits;

/// A counter row: the next number, the version of who listens, and the time of the last event.
pub(super) type Place = (i64, i64, i64);

/// Reports and what is known of them, by whether they say that a recharge is queued.
type ByKind<T> = [T; 2];

/// What is remembered from one batch to the next.
#[derive(Default)]
pub(super) struct Guesses {
    /// Counter rows, as the last batch to hold them left them.
    counters: HashMap<StreamId, Place>,
    /// How many reports in a row were the first about their recharges.
    new_in_a_row: ByKind<usize>,
    /// When a guess was last wrong.
    wrong: Option<Stopwatch>,
    /// The batch under way may guess.
    may: bool,
    /// It did.
    did: bool,
    /// It took reports for the first ones.
    took_for_new: ByKind<bool>,
    /// The batch before did, and came to nothing.
    suspects: ByKind<bool>,
}

impl Guesses {
    /// A batch begins. One that changes what is guessed here asks for everything, and so does one that others may be in the
    /// way of.
    pub fn begin(&mut self, asks: bool) {
        self.suspects = if self.did { self.took_for_new } else { Default::default() };
        (self.may, self.did, self.took_for_new) = (!asks && !lately(self.wrong.as_ref()), false, Default::default());
        if !self.may {
            self.forget();
        }
    }

    /// The batch came to nothing; answers whether that may be because of a guess.
    pub fn may_be_wrong(&mut self) -> bool {
        if self.did {
            self.wrong = Some(Stopwatch::start());
        }
        self.did
    }

    /// What was remembered in the course of a transaction that did not come to pass may be wrong.
    pub fn forget(&mut self) {
        self.counters.clear();
    }

    /// Where a stream's counter row was left.
    pub fn counter(&mut self, stream: StreamId) -> Option<Place> {
        let place = self.counters.get(&stream).copied();
        self.did |= place.is_some();
        place
    }

    /// The batch leaves it there.
    pub fn keep(&mut self, stream: StreamId, place: Place) {
        if self.may {
            self.counters.insert(stream, place);
        }
    }

    /// Whether a report of this status, one of so many in its batch, is the first about its recharge. Platforms differ in
    /// whether they report what they have queued, so that it is as it lately was; one batch of a few may be wrong.
    pub fn is_new(&mut self, status: Status, of: usize) -> bool {
        let is_new = self.may && self.new_in_a_row[kind(status)] / limits::GUESSES_RIGHT >= of;
        self.did |= is_new;
        self.took_for_new[kind(status)] |= is_new;
        is_new
    }

    /// Learns whether a report was the first about its recharge.
    pub fn learn(&mut self, status: Status, is_new: bool) {
        let in_a_row = &mut self.new_in_a_row[kind(status)];
        *in_a_row = if is_new { *in_a_row + 1 } else { 0 };
        if !is_new && self.suspects[kind(status)] {
            // That was it, so that the other guesses are as good as before.
            self.wrong = None;
        }
    }

    /// Whether the run that succeeded at its first attempt is still open, and has not failed.
    pub fn is_open(&mut self) -> bool {
        self.did |= self.may;
        self.may
    }
}

fn kind(status: Status) -> usize {
    usize::from(status != Status::Queued)
}

/// Whether what was in the way then may be so again.
pub(super) fn lately(since: Option<&Stopwatch>) -> bool {
    since.is_some_and(|since| since.elapsed() < limits::CROSSED_LATELY)
}
