//! Whether the store can be read and written at present.
//!
//! Every read and write reports its result here. An outage is logged once when it begins and once when it ends, with the
//! number of reports refused meanwhile, however many requests met it. `/readyz` answers from this state, so that a load
//! balancer sends no traffic to a node that would refuse it; while there is an outage, [`probes`](super::Store::probe) find out
//! when it is over even if no traffic comes.

use std::time::Duration;

use parking_lot::Mutex;

use super::StoreError;
use crate::clock::Stopwatch;

/// What was last seen of the store.
#[derive(Default)]
pub struct Availability(Mutex<State>);

#[derive(Default)]
struct State {
    /// Why reads fail, and why writes do.
    failures: [Option<StoreError>; 2],
    since: Option<Stopwatch>,
    refused_reports: u64,
    written: Option<Stopwatch>,
    /// A write met a lock that was not released in time. It may have been the only one, or all writes may be blocked.
    is_suspect: bool,
}

/// Which way a result came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It was a read.
    Read,
    /// It was a write, of so many reports.
    Write {
        /// Reports in it.
        reports: u64,
    },
    /// It was a write that tests whether writing works.
    Probe,
}

impl Availability {
    /// A write that succeeded this recently shows that writing works.
    const RECENTLY: Duration = Duration::from_secs(1);

    /// Learns from a result.
    pub fn note<T>(&self, access: Access, result: &Result<T, StoreError>) {
        let mut state = self.0.lock();
        let (way, reports) = match access {
            Access::Read => (0, 0),
            Access::Write { reports } => (1, reports),
            Access::Probe => (1, 0),
        };
        let change = match result {
            Ok(_) => state.succeeded(way),
            Err(error) if error.is_outage() => {
                state.refused_reports += reports;
                state.failed(way, error)
            }
            Err(error @ StoreError::Busy(_)) if access == Access::Probe => state.failed(way, error),
            Err(StoreError::Busy(_)) => {
                state.is_suspect |= !state.wrote_recently();
                None
            }
            // Whatever else it is, the store answered.
            Err(_) => None,
        };
        drop(state);
        match change {
            None => {}
            Some(Change::Began(error)) => tracing::error!(%error, kind = error.kind(), "the store is unavailable; refusing requests"),
            Some(Change::Ended { after, refused_reports }) => {
                tracing::info!(seconds = after.as_secs(), refused_reports, "the store is available again");
            }
        }
    }

    /// Whether it can be read and written, as far as is known.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), StoreError> {
        let [reads, writes] = &self.0.lock().failures;
        writes.as_ref().or(reads.as_ref()).map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Whether a probe would say something new.
    pub fn wants_probe(&self) -> bool {
        let state = self.0.lock();
        state.is_suspect || state.failures[1].is_some()
    }
}

enum Change {
    Began(StoreError),
    Ended { after: Duration, refused_reports: u64 },
}

impl State {
    fn wrote_recently(&self) -> bool {
        self.written.is_some_and(|at| at.elapsed() < Availability::RECENTLY)
    }

    fn failed(&mut self, way: usize, error: &StoreError) -> Option<Change> {
        let begins = self.failures.iter().all(Option::is_none);
        self.failures[way] = Some(error.clone());
        if !begins {
            return None;
        }
        self.since = Some(Stopwatch::start());
        Some(Change::Began(error.clone()))
    }

    fn succeeded(&mut self, way: usize) -> Option<Change> {
        if way == 1 {
            (self.written, self.is_suspect) = (Some(Stopwatch::start()), false);
        }
        self.failures[way].take()?;
        if self.failures.iter().any(Option::is_some) {
            return None;
        }
        let after = self.since.take().map(|since| since.elapsed()).unwrap_or_default();
        Some(Change::Ended { after, refused_reports: std::mem::take(&mut self.refused_reports) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Access = Access::Write { reports: 2 };

    fn full() -> Result<(), StoreError> {
        Err(StoreError::Full("no room".to_owned()))
    }

    fn busy() -> Result<(), StoreError> {
        Err(StoreError::Busy("a row is locked".to_owned()))
    }

    #[test]
    fn an_outage_ends_when_reads_and_writes_both_work() {
        let store = Availability::default();
        store.note(WRITE, &full());
        store.note(Access::Read, &Ok(()));
        assert!(store.check().is_err(), "a read says nothing about writing");
        store.note(Access::Read, &Err::<(), _>(StoreError::Unavailable("away".to_owned())));
        store.note(WRITE, &Ok(()));
        assert!(store.check().is_err(), "reads still fail");
        store.note(Access::Read, &Ok(()));
        assert!(store.check().is_ok());
        store.note(WRITE, &Err::<(), _>(StoreError::Rejected("a bad row".to_owned())));
        assert!(store.check().is_ok(), "a refused write is no outage");
    }

    #[test]
    fn a_lock_is_an_outage_only_if_the_probe_meets_it_too() {
        let store = Availability::default();
        store.note(WRITE, &busy());
        assert!(store.check().is_ok() && store.wants_probe());
        store.note(Access::Probe, &Ok(()));
        assert!(store.check().is_ok() && !store.wants_probe());
        store.note(WRITE, &busy());
        assert!(!store.wants_probe(), "others were written a moment ago");
        store.note(Access::Probe, &busy());
        assert!(store.check().is_err() && store.wants_probe());
    }
}
