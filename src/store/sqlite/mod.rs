//! The embedded store: one SQLite file.
//!
//! One thread owns the writing connection and runs closures one after another, so that a transaction is never contended
//! and prepared statements stay warm; a few read-only connections answer queries from a snapshot each; a third kind of
//! connection, on a thread of its own, moves the write-ahead log into the file, so that no commit pays for a checkpoint.
//! `synchronous=FULL`: what a commit answered is on the disk.

mod accept;
mod deliveries;
mod endpoints;
mod ledger;
mod open;
mod rows;
mod settle;
mod threads;
mod vendors;

use std::sync::Arc;

use async_trait::async_trait;
pub use open::OpenOptions;
use threads::{Checkpointer, Readers, Writer};

use super::seal::Sealer;
use super::{
    Backlog, Created, Delivery, DeliveryQuery, EndpointChange, Expired, Feed, KeptReport, Listed, OpenQuery, OpenRun, Page, RechargeQuery,
    Resent, Store, StoreError, VendorChange, Write, Written,
};
use crate::clock::Ids;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::Event;
use crate::domain::id::{DeliveryId, EndpointId, EventId, RechargeId, StreamId, TokenId, VendorId};
use crate::domain::recharge::Recharge;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenHash};
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
        let ids = self.ids.clone();
        let ran = self.writer.run(move |session| {
            let result = accept::commit(session, &ids, &batch);
            Ok((batch, result))
        });
        ran.await.unwrap_or_else(|error| (Vec::new(), Err(error)))
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.readers.run(|conn| Ok(conn.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }

    async fn create_vendor(&self, vendor: Vendor, tokens: Vec<(Token, TokenHash)>) -> Result<(), StoreError> {
        self.writer.transaction(move |tx| vendors::create(tx, &vendor, &tokens)).await
    }

    async fn vendor(&self, id: VendorId) -> Result<Option<Vendor>, StoreError> {
        self.readers.run(move |conn| vendors::one(conn, id)).await
    }

    async fn vendors(&self, page: Page<VendorId>) -> Result<Vec<Vendor>, StoreError> {
        self.readers.run(move |conn| vendors::list(conn, page)).await
    }

    async fn update_vendor(&self, id: VendorId, change: VendorChange) -> Result<Option<Vendor>, StoreError> {
        self.writer.transaction(move |tx| vendors::update(tx, id, &change)).await
    }

    async fn owner(&self, stream: StreamId) -> Result<Option<(VendorId, Mode)>, StoreError> {
        self.readers.run(move |conn| vendors::owner(conn, stream)).await
    }

    async fn create_token(&self, token: Token, hash: TokenHash) -> Result<(), StoreError> {
        self.writer.transaction(move |tx| vendors::create_token(tx, &token, hash)).await
    }

    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, StoreError> {
        self.readers.run(move |conn| vendors::token(conn, hash)).await
    }

    async fn tokens(&self, vendor: VendorId, page: Page<TokenId>) -> Result<Vec<Token>, StoreError> {
        self.readers.run(move |conn| vendors::tokens(conn, vendor, page)).await
    }

    async fn revoke_token(&self, vendor: VendorId, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
        self.writer.transaction(move |tx| vendors::revoke_token(tx, vendor, id, now)).await
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

    async fn events_after(&self, stream: StreamId, after: Option<i64>, limit: usize) -> Result<Feed, StoreError> {
        self.readers.run(move |conn| ledger::events_after(conn, stream, after, limit)).await
    }

    async fn create_endpoint(&self, endpoint: Endpoint, most: u32) -> Result<Created, StoreError> {
        let sealer = self.sealer.clone();
        self.writer.transaction(move |tx| endpoints::create(tx, &sealer, &endpoint, most)).await
    }

    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let sealer = self.sealer.clone();
        self.readers.run(move |conn| endpoints::one(conn, &sealer, id)).await
    }

    async fn endpoints(&self, stream: StreamId, page: Page<EndpointId>) -> Result<Vec<Endpoint>, StoreError> {
        let sealer = self.sealer.clone();
        self.readers.run(move |conn| endpoints::list(conn, &sealer, stream, page)).await
    }

    async fn change_endpoint(&self, id: EndpointId, change: EndpointChange, now: Timestamp) -> Result<Option<Endpoint>, StoreError> {
        let sealer = self.sealer.clone();
        self.writer.transaction(move |tx| endpoints::change(tx, &sealer, id, &change, now)).await
    }

    async fn missed(&self, id: EndpointId) -> Result<u64, StoreError> {
        let sealer = self.sealer.clone();
        let stretches = self.readers.run(move |conn| endpoints::stretches(conn, &sealer, id)).await?;
        let mut missed = 0;
        for stretch in stretches {
            let stretch = Arc::new(stretch);
            let (mut from, end) = (stretch.numbers.start, stretch.numbers.end);
            while from < end {
                let (stretch, numbers) = (stretch.clone(), from..end.min(from + limits::SCAN_MAX as i64));
                from = numbers.end;
                missed += self.readers.run(move |conn| endpoints::count_missed(conn, &stretch, numbers)).await?;
            }
        }
        Ok(missed)
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        self.readers.run(move |conn| deliveries::one(conn, id, limits::ATTEMPTS_SHOWN)).await
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Listed<Delivery, DeliveryId>, StoreError> {
        self.readers.run(move |conn| deliveries::list(conn, &query)).await
    }

    async fn resend(&self, id: DeliveryId, now: Timestamp, deadline: Timestamp) -> Result<Resent, StoreError> {
        self.writer.transaction(move |tx| settle::resend(tx, id, now, deadline)).await
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
}
