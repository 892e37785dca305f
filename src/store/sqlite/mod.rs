//! The embedded store: one SQLite file.
//!
//! One thread owns the writing connection and runs closures one after another, so that a transaction is never contended
//! and prepared statements stay warm; a few read-only connections answer queries from a snapshot each; a third kind of
//! connection, on a thread of its own, moves the write-ahead log into the file, so that no commit pays for a checkpoint.
//! `synchronous=FULL`: what a commit answered is on the disk.

mod accept;
mod audit;
mod changes;
mod conflicts;
mod deliveries;
mod endpoints;
mod erase;
mod health;
mod ledger;
mod open;
mod overview;
mod replays;
mod rows;
mod settle;
mod sweep;
mod threads;
mod vendors;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
pub use open::OpenOptions;
use threads::{Checkpointer, Readers, Writer};

use super::seal::Sealer;
use super::{
    AnswerKey, AuditQuery, Backlog, ConflictQuery, Delivery, DeliveryQuery, Expired, Failing, Feed, Horizon, KeptAnswer, KeptReport,
    Listed, Mailing, OpenQuery, OpenRun, OpenSize, Overview, Page, RechargeQuery, ReplayScope, Store, StoreError, SweepPlace, Swept,
    TimeRange, Write, Written,
};
use crate::clock::Ids;
use crate::domain::audit::Entry;
use crate::domain::conflict::Conflict;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::Event;
use crate::domain::id::{AuditId, ConflictId, DeliveryId, EndpointId, EventId, RechargeId, ReplayId, StreamId, TokenId, UserId, VendorId};
use crate::domain::recharge::Recharge;
use crate::domain::replay::Replay;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenHash};
use crate::domain::user::User;
use crate::domain::vendor::{Mode, Vendor};
use crate::limits;

/// A store in one SQLite file.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    sealer: Sealer,
    ids: Arc<Ids>,
    _checkpointer: Checkpointer,
}

/// What a failing statement says about itself, sorted by what follows from it.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, ConstraintViolation, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, OperationInterrupted,
            OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure, TooBig,
        };
        let text = error.to_string();
        // A write beyond a quota, or beyond the largest file that the process may have, comes as this. The frames of a
        // transaction are written before its end is marked, so that nothing of it is there.
        if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE) {
            return Self::Full(text);
        }
        match error.sqlite_error_code() {
            Some(DiskFull) => Self::Full(text),
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(text),
            Some(ConstraintViolation | TooBig) => Self::Rejected(text),
            Some(
                DatabaseBusy | DatabaseLocked | SystemIoFailure | CannotOpen | PermissionDenied | ReadOnly | OutOfMemory
                | OperationInterrupted,
            ) => Self::Unavailable(text),
            _ => Self::Rejected(text),
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Vec<Write>) -> (Vec<Write>, Result<Vec<Written>, StoreError>) {
        let (ids, sealer) = (self.ids.clone(), self.sealer.clone());
        let ran = self.writer.run(move |session| {
            let result = accept::commit(session, &ids, &sealer, &batch);
            Ok((batch, result))
        });
        ran.await.unwrap_or_else(|error| (Vec::new(), Err(error)))
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.readers.run(|conn| Ok(conn.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }

    async fn vendor(&self, id: VendorId) -> Result<Option<Vendor>, StoreError> {
        self.readers.run(move |conn| vendors::one(conn, id)).await
    }

    async fn vendors(&self, page: Page<VendorId>) -> Result<Vec<Vendor>, StoreError> {
        self.readers.run(move |conn| vendors::list(conn, page)).await
    }

    async fn owner(&self, stream: StreamId) -> Result<Option<(VendorId, Mode)>, StoreError> {
        self.readers.run(move |conn| vendors::owner(conn, stream)).await
    }

    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, StoreError> {
        self.readers.run(move |conn| vendors::token(conn, hash)).await
    }

    async fn tokens(&self, vendor: Option<VendorId>, page: Page<TokenId>) -> Result<Vec<Token>, StoreError> {
        self.readers.run(move |conn| vendors::tokens(conn, vendor, page)).await
    }

    async fn users(&self, vendor: Option<VendorId>, page: Page<UserId>) -> Result<Vec<User>, StoreError> {
        self.readers.run(move |conn| vendors::users(conn, vendor, page)).await
    }

    async fn kept_answer(&self, key: AnswerKey, since: Timestamp) -> Result<Option<KeptAnswer>, StoreError> {
        let sealer = self.sealer.clone();
        self.readers.run(move |conn| audit::kept(conn, &sealer, &key, since)).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Listed<Entry, AuditId>, StoreError> {
        self.readers.run(move |conn| audit::list(conn, &query)).await
    }

    async fn overview(&self, now: Timestamp) -> Result<Overview, StoreError> {
        self.readers.run(move |conn| overview::overview(conn, now)).await
    }

    async fn recharge(&self, id: RechargeId) -> Result<Option<(Recharge, Vec<KeptReport>)>, StoreError> {
        self.readers.run(move |conn| ledger::recharge(conn, id)).await
    }

    async fn recharges(&self, query: RechargeQuery) -> Result<Listed<Recharge, RechargeId>, StoreError> {
        self.readers.run(move |conn| ledger::recharges(conn, &query)).await
    }

    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.readers.run(move |conn| ledger::event(conn, id)).await
    }

    async fn conflicts(&self, query: ConflictQuery) -> Result<Listed<Conflict, ConflictId>, StoreError> {
        self.readers.run(move |conn| conflicts::list(conn, &query)).await
    }

    async fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>, StoreError> {
        self.readers.run(move |conn| conflicts::one(conn, id)).await
    }

    async fn sequences(&self, stream: StreamId, range: TimeRange) -> Result<Range<i64>, StoreError> {
        self.readers.run(move |conn| ledger::sequences(conn, stream, range)).await
    }

    async fn events_after(&self, stream: StreamId, after: Option<i64>, limit: usize) -> Result<Feed, StoreError> {
        self.readers.run(move |conn| ledger::events_after(conn, stream, after, limit)).await
    }

    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let sealer = self.sealer.clone();
        self.readers.run(move |conn| endpoints::one(conn, &sealer, id)).await
    }

    async fn endpoints(&self, stream: StreamId, page: Page<EndpointId>) -> Result<Vec<Endpoint>, StoreError> {
        let sealer = self.sealer.clone();
        self.readers.run(move |conn| endpoints::list(conn, &sealer, stream, page)).await
    }

    async fn open_size(&self, id: EndpointId) -> Result<OpenSize, StoreError> {
        let oldest = self.readers.run(move |conn| deliveries::oldest_open(conn, id)).await?;
        let (mut open, mut after) = (0, Some(0));
        while let Some(from) = after {
            let (count, next) = self.readers.run(move |conn| deliveries::count_open(conn, id, from)).await?;
            (open, after) = (open + count, next);
        }
        Ok(OpenSize { open, oldest })
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        self.readers.run(move |conn| deliveries::one(conn, id, limits::ATTEMPTS_SHOWN)).await
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Listed<Delivery, DeliveryId>, StoreError> {
        self.readers.run(move |conn| deliveries::list(conn, &query)).await
    }

    async fn replay(&self, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        self.readers.run(move |conn| replays::one(conn, id)).await
    }

    async fn replays(&self, stream: StreamId, page: Page<ReplayId>) -> Result<Vec<Replay>, StoreError> {
        self.readers.run(move |conn| replays::list(conn, stream, page)).await
    }

    async fn count_scope(&self, mut scope: ReplayScope) -> Result<u64, StoreError> {
        let mut matched = 0;
        loop {
            let (sealer, part) = (self.sealer.clone(), scope.clone());
            let (count, next) = self.readers.run(move |conn| replays::count(conn, &sealer, &part)).await?;
            matched += count;
            match next {
                Some(next) => scope.numbers.start = next,
                None => return Ok(matched),
            }
        }
    }

    async fn open_runs(&self, endpoint: EndpointId, query: OpenQuery, limit: usize) -> Result<Vec<OpenRun>, StoreError> {
        self.readers.run(move |conn| deliveries::open_runs(conn, endpoint, query, limit)).await
    }

    async fn next_due(&self, endpoint: EndpointId, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.readers.run(move |conn| deliveries::next_due(conn, endpoint, now)).await
    }

    async fn open_count(&self) -> Result<u64, StoreError> {
        self.readers.run(|conn| Ok(conn.query_row("SELECT count(*) FROM open_delivery", [], |row| row.get(0))?)).await
    }

    async fn backlogs(&self, after: Option<EndpointId>, limit: usize) -> Result<Vec<Backlog>, StoreError> {
        self.readers.run(move |conn| deliveries::backlogs(conn, after, limit)).await
    }

    async fn expired(&self, endpoint: EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Expired>, StoreError> {
        self.readers.run(move |conn| deliveries::expired(conn, endpoint, now, limit)).await
    }

    async fn running_replays(&self, after: Option<ReplayId>, limit: usize) -> Result<Vec<ReplayId>, StoreError> {
        self.readers.run(move |conn| replays::running(conn, after, limit)).await
    }

    async fn failing(&self, since: Timestamp, after: Option<EndpointId>, limit: usize) -> Result<Vec<Failing>, StoreError> {
        self.readers.run(move |conn| health::failing(conn, since, after, limit)).await
    }

    async fn to_probe(&self, before: Timestamp, after: Option<EndpointId>, limit: usize) -> Result<Vec<EndpointId>, StoreError> {
        self.readers.run(move |conn| health::to_probe(conn, before, after, limit)).await
    }

    async fn pauses_over(&self, now: Timestamp, limit: usize) -> Result<Vec<EndpointId>, StoreError> {
        self.readers.run(move |conn| health::pauses_over(conn, now, limit)).await
    }

    async fn mailings(&self, now: Timestamp, mailed_before: Timestamp, limit: usize) -> Result<Vec<Mailing>, StoreError> {
        self.readers.run(move |conn| health::mailings(conn, now, mailed_before, limit)).await
    }

    async fn mailed(&self, mailing: Mailing, now: Timestamp) -> Result<(), StoreError> {
        self.writer.transaction(move |tx| health::mailed(tx, &mailing, now)).await
    }

    async fn mail_failed(&self, mailing: Mailing, error: String, again: Timestamp) -> Result<(), StoreError> {
        self.writer.transaction(move |tx| health::mail_failed(tx, &mailing, &error, again)).await
    }

    async fn sweep(&self, horizon: Horizon, place: SweepPlace) -> Result<Swept, StoreError> {
        self.writer.transaction(move |tx| sweep::sweep(tx, &horizon, place)).await
    }

    async fn erase(&self, stream: StreamId, connection_no: String, place: SweepPlace) -> Result<Swept, StoreError> {
        let number = connection_no.clone();
        let remember = move |session: &mut threads::Session| {
            session.erased.add(&number);
            Ok(())
        };
        self.writer.run(remember).await?;
        let swept = self.writer.transaction(move |tx| erase::erase(tx, stream, &connection_no, place)).await?;
        if swept.next.is_none() {
            // The write-ahead log still has the pages as they were.
            self.writer.run(|session| Ok(threads::truncate(&session.conn)?)).await?;
        }
        Ok(swept)
    }

    async fn reseal(&self, place: SweepPlace) -> Result<Swept, StoreError> {
        let sealer = self.sealer.clone();
        self.writer.transaction(move |tx| erase::reseal(tx, &sealer, open::KEY_CHECK, place)).await
    }
}
