//! What a batch counts, minute by minute.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Batch;
use crate::domain::attempt::OutcomeKind;
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;
use crate::store::sql::conn::Conn;
use crate::store::sql::overview::{self, Minute};
use crate::store::{RecordOutcome, StoreError, Write};

/// Minutes whose counts are remembered from one batch to the next.
const MINUTES_KNOWN: usize = 3;

/// What this node has counted in a minute, as it was kept and written since.
fn minute_so_far<'m>(conn: Conn, known: &'m mut BTreeMap<i64, Minute>, minute: i64, counter: i64) -> Result<&'m mut Minute, StoreError> {
    Ok(match known.entry(minute) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(unknown) => unknown.insert(overview::counted(conn, minute, counter)?),
    })
}

impl Batch<'_> {
    /// What happens in a minute is counted where it is written.
    pub(super) fn traffic(&mut self, now: Timestamp) -> &mut Traffic {
        self.traffic.entry(overview::minute(now)).or_default()
    }

    /// Reads what was counted in the minutes of these writes, before there is a lock that others wait for.
    pub fn know_minutes(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        writes.iter().try_for_each(|write| minute_so_far(self.conn, self.minutes, overview::minute(write.now()), self.counts_as).map(drop))
    }

    pub(super) fn write_traffic(&mut self) -> Result<(), StoreError> {
        for (minute, counted) in self.traffic.iter().filter(|(_, counted)| !counted.is_empty()) {
            let so_far = minute_so_far(self.conn, self.minutes, *minute, self.counts_as)?;
            so_far.sum.add(counted);
            overview::keep(self.conn, *minute, self.counts_as, so_far)?;
        }
        while self.minutes.len() > MINUTES_KNOWN {
            self.minutes.pop_first();
        }
        Ok(())
    }

    pub fn count_attempt(&mut self, outcome: &RecordOutcome) {
        let Some(attempt) = &outcome.attempt else { return };
        let traffic = self.traffic(outcome.now);
        traffic.attempts += 1;
        traffic.succeeded += u64::from(attempt.outcome.kind == OutcomeKind::Succeeded);
        outcome.latency.into_iter().for_each(|took| traffic.delivered(took));
    }
}
