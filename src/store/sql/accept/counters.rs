//! The numbers that a batch takes, and their counters.

use super::{Batch, Counter, FIRST_TRANSACTION_ID, TRANSACTION_IDS};
use crate::store::StoreError;
use crate::store::sql::Advance;
use crate::store::sql::conn::{Conn, RowLocation, params};
use crate::store::sql::optimistic::Known;

impl Batch<'_> {
    pub(super) fn next_transaction_id(&mut self) -> Result<i64, StoreError> {
        if let Conn::Postgres(_) = self.conn {
            return match self.transaction_ids.pop_front() {
                Some(next) => Ok(next),
                None => self.conn.one("SELECT nextval('transaction_id')", params![], |row| row.get(0)),
            };
        }
        let next = match self.transaction_id {
            Some(next) => next,
            None => {
                let known = self.conn.first("SELECT value FROM meta WHERE name = ?1", params![TRANSACTION_IDS], |row| row.get(0))?;
                known.unwrap_or(FIRST_TRANSACTION_ID)
            }
        };
        self.transaction_id = Some(next + 1);
        self.advance.update(|advance| Advance { transactions: next + 1, ..advance });
        Ok(next)
    }

    /// Writes the counter rows back; the next to need one reads it again.
    pub fn write_counters(&mut self) -> Result<(), StoreError> {
        const RAISE: &str = "UPDATE stream SET next_sequence = ?2, last_event_at = ?3, queued = queued + ?4, success = success + ?5, \
            failed = failed + ?6, reversed = reversed + ?7 WHERE id = ?1";
        // If the row is as it was read.
        const CLAIM: &str = "UPDATE stream SET next_sequence = ?2, last_event_at = ?3, queued = queued + ?4, success = success + ?5, \
            failed = failed + ?6, reversed = reversed + ?7 WHERE id = ?1 AND next_sequence = ?8 AND endpoints_version = ?9";
        const MOVE: &str =
            "UPDATE stream SET queued = queued + ?2, success = success + ?3, failed = failed + ?4, reversed = reversed + ?5 WHERE id = ?1";
        for (stream, mut counter) in std::mem::take(&mut self.counters) {
            let Counter { moved: [queued, success, failed, reversed], raised, .. } = counter;
            let moves = counter.moved != [0; 4];
            if moves && counter.known.tally.0 != self.hour {
                counter.known.tally = (self.hour, RowLocation::default());
            }
            self.guesses.keep(stream, &counter.known);
            let Known { next, version, last_event_at, spot, tally } = counter.known;
            if !raised && !moves {
                continue;
            }
            let values = params![stream.get(), next, last_event_at, queued, success, failed, reversed];
            match counter.unlocked {
                None => self.conn.later(RAISE, values)?,
                Some(read) if raised => self.conn.write_over(&spot, CLAIM, CLAIM, &[values, params![read, version]].concat())?,
                Some(_) => {
                    self.guesses.only_counts_in(stream);
                    self.conn.write_over(&spot, MOVE, MOVE, params![stream.get(), queued, success, failed, reversed])?;
                }
            }
            if moves {
                const COUNT: &str = "INSERT INTO tally (stream, hour, made, success, failed, reversed) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                    ON CONFLICT (stream, hour) DO UPDATE SET made = tally.made + excluded.made, success = tally.success + excluded.success, \
                    failed = tally.failed + excluded.failed, reversed = tally.reversed + excluded.reversed";
                const ADD: &str = "UPDATE tally SET made = made + ?3, success = success + ?4, failed = failed + ?5, reversed = reversed + ?6 \
                    WHERE stream = ?1 AND hour = ?2";
                // What came to a status and left none is new.
                let made: i64 = counter.moved.iter().sum();
                let values = params![stream.get(), self.hour, made, success, failed, reversed];
                self.conn.write_over(&tally.1, ADD, COUNT, values)?;
            }
        }
        if let Some(next) = self.transaction_id {
            const RAISE: &str = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            self.conn.later(RAISE, params![TRANSACTION_IDS, next])?;
        }
        Ok(())
    }
}
