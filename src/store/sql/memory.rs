//! What a writer keeps between its transactions.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::accept::Subscriber;
use super::erase::Lately;
use super::high_water::Advance;
use super::optimistic::OptimisticCache;
use super::overview::Minute;
use crate::clock::Stopwatch;
use crate::domain::id::{EndpointId, StreamId};

/// What a writer keeps between its transactions.
#[derive(Default)]
pub struct Memory {
    /// Who listens to a stream, as of a version of its counter row.
    pub(super) subscribers: HashMap<StreamId, (i64, Arc<[Subscriber]>)>,
    /// Endpoints that have a row in `health`, as they were read and changed since; unknown after a transaction that failed.
    pub(super) failing: Option<(HashSet<EndpointId>, Stopwatch)>,
    /// What attempts under way must not bring back.
    pub(super) erased: Lately,
    /// Numbers of recharges to come that were taken from the database's counter, on PostgreSQL.
    pub(super) transaction_ids: VecDeque<i64>,
    /// What the latest minutes hold that this writer counted.
    pub(super) minutes: BTreeMap<i64, Minute>,
    /// Which of its node's writers it is: each counts in rows of its own, so that none waits for another.
    pub(super) writer: i64,
    /// What need not be asked for, on PostgreSQL.
    pub(super) guesses: OptimisticCache,
    /// What the transaction under way adds to the high-water mark.
    pub(super) advance: Advance,
}

impl Memory {
    /// That of a node's other writer.
    pub fn of_outcomes() -> Self {
        Self { writer: 1, ..Self::default() }
    }

    /// What the last transaction added to the high-water mark.
    pub fn take_advance(&mut self) -> Advance {
        std::mem::take(&mut self.advance)
    }

    /// What was remembered in the course of a transaction that did not come to pass may be wrong.
    pub fn forget(&mut self) {
        self.subscribers.clear();
        self.failing = None;
        self.minutes.clear();
        self.advance = Advance::default();
        self.guesses.forget();
    }

    /// Another node was in the way of a transaction, or it relied on what was not so; it is run again.
    pub fn cross(&mut self) {
        self.forget();
        self.guesses.fail();
    }
}
