//! The ledger in SQL: what both databases do in the same words. What they do differently, beginning and ending a
//! transaction above all, is behind the [`Driver`].

mod accept;
mod audit;
mod changes;
mod conflicts;
pub mod conn;
mod deliveries;
mod devices;
mod endpoints;
mod erase;
mod health;
mod high_water;
mod ledger;
mod memory;
pub mod migrate;
mod optimistic;
mod overview;
mod people;
mod prefetch;
pub mod references;
mod replays;
mod reseal;
mod rows;
mod settle;
mod submissions;
pub mod sweep;
pub mod threads;
mod upkeep;
mod vendors;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use conn::{Conn, params};
pub use high_water::{Advance, HighWater, skip_numbers};
pub use memory::Memory;
use reseal::KEY_CHECK;
pub(super) use reseal::{begin, check_key};

use super::availability::{Access, Availability};
use super::cluster::Cluster;
use super::seal::Sealer;
use super::turns::Turns;
use super::{
    AnswerKey, AuditQuery, Backlog, Cause, ConflictQuery, Delivery, DeliveryQuery, Expired, Failing, Feed, Horizon, KeptAnswer, KeptReport,
    Listed, Mailing, OpenAsk, OpenRuns, OpenSize, Overview, Page, ProviderStanding, RechargeKey, RechargeOwner, RechargeQuery, ReplayScope,
    Standing, Store, StoreError, SweepPlace, Swept, TimeRange, Trouble, WaitingMail, Write, Written,
};
use crate::clock::{Ids, Stopwatch};
use crate::domain::audit::Entry;
use crate::domain::conflict::Conflict;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::Event;
use crate::domain::id::{AuditId, ConflictId, DeliveryId, EndpointId, EventId, RechargeId, ReplayId, StreamId, TokenId, UserId, VendorId};
use crate::domain::recharge::Recharge;
use crate::domain::replay::Replay;
use crate::domain::secret::Secret;
use crate::domain::session::{Link, LoggedIn};
use crate::domain::submission::Submission;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenHash};
use crate::domain::traffic::Traffic;
use crate::domain::user::{Credentials, User};
use crate::domain::vendor::{Mode, Vendor};
use crate::limits;

/// What a database does in its own way.
pub trait Driver: Send + Sync + 'static {
    /// Runs `query` in a snapshot of its own. It may be run more than once.
    fn read<T: Send + 'static>(
        &self,
        query: impl Fn(Conn) -> Result<T, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;

    /// Whether there is a writer for [`Channel::Outcomes`] beside the main one.
    const SETTLES_BESIDE: bool;

    /// Runs `work` on what it is given as one transaction on this channel, and gives that back unless the store has stopped.
    /// Nothing is written where it fails. It may be run more than once.
    fn write<G: Send + Sync + 'static, T: Send + 'static>(
        &self,
        channel: Channel,
        given: G,
        work: impl Fn(&G, Conn, &mut Memory) -> Result<T, StoreError> + Send + 'static,
    ) -> impl Future<Output = (Option<G>, Result<T, StoreError>)> + Send;

    /// Whether a server on this database should get traffic, as far as that is known without asking it.
    ///
    /// # Errors
    /// It should not.
    fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes what is old, one step of it.
    fn sweep(&self, horizon: Horizon, place: SweepPlace) -> impl Future<Output = Result<Swept, StoreError>> + Send;

    /// This node's part among others, if it is one of many.
    fn cluster(&self) -> Option<Arc<dyn Cluster>> {
        None
    }

    /// Lets nothing be left of what was removed, as far as that is in the program's hands.
    fn scrub(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// By which way something is written: a writer with a connection and a memory of its own, where there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Everything else.
    Main,
    /// Batches of outcomes.
    Outcomes,
}

/// A store on an SQL database.
pub struct SqlStore<D> {
    driver: D,
    availability: Availability,
    sealer: Sealer,
    ids: Arc<Ids>,
    /// Who of the streams has a reader for something that takes long.
    turns: Turns<StreamId>,
}

impl<D: Driver> SqlStore<D> {
    /// The store on a database that is open, migrated, and made with this key.
    pub(super) fn new(driver: D, sealer: Sealer, ids: Arc<Ids>) -> Self {
        Self { driver, availability: Availability::default(), sealer, ids, turns: Turns::new(limits::READS_AT_ONCE) }
    }

    /// Reads what may take long of a stream. The streams share few readers, so that one waits for itself and not for others, and
    /// has half of a reader's time. A caller who has gone keeps the turn for as long as the reader works.
    async fn read_of<T: Send + 'static>(
        &self,
        stream: StreamId,
        query: impl Fn(Conn) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.turns.take(stream).await;
        self.read(move |conn| {
            let watch = Stopwatch::start();
            let read = query(conn);
            turn.iter().for_each(|turn| turn.worked(watch.elapsed()));
            read
        })
        .await
    }

    async fn write<T: Send + 'static>(&self, work: impl Fn(Conn) -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        let written = self.driver.write(Channel::Main, (), move |(), conn, _| work(conn)).await.1;
        self.availability.note(Access::Write { reports: 0 }, &written);
        written
    }

    async fn read<T: Send + 'static>(&self, query: impl Fn(Conn) -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        let read = self.driver.read(query).await;
        self.availability.note(Access::Read, &read);
        read
    }
}

#[async_trait]
impl<D: Driver> Store for SqlStore<D> {
    async fn commit(&self, batch: Vec<Write>) -> (Vec<Write>, Result<Vec<Written>, StoreError>) {
        let (ids, sealer) = (self.ids.clone(), self.sealer.clone());
        let commit = move |batch: &Vec<Write>, conn: Conn, memory: &mut Memory| accept::commit(conn, memory, (&ids, &sealer), batch);
        let channel = if batch.iter().all(|write| matches!(write, Write::RecordOutcome(_))) { Channel::Outcomes } else { Channel::Main };
        let reports = batch.iter().map(|write| if let Write::Accept(accept) = write { accept.reports.len() as u64 } else { 0 }).sum();
        let (batch, written) = self.driver.write(channel, batch, commit).await;
        self.availability.note(Access::Write { reports }, &written);
        (batch.unwrap_or_default(), written)
    }

    fn settles_beside(&self) -> bool {
        D::SETTLES_BESIDE
    }

    fn cluster(&self) -> Option<Arc<dyn Cluster>> {
        self.driver.cluster()
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.driver.ready()?;
        self.read(|conn| conn.one("SELECT 1", params![], |_| Ok(()))).await?;
        self.availability.check()
    }

    async fn probe(&self) {
        if self.availability.wants_probe() {
            let probed = self.driver.write(Channel::Main, (), |(), conn, _| upkeep::probe(conn)).await.1;
            self.availability.note(Access::Probe, &probed);
        }
    }

    async fn kept_time(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(upkeep::kept_time).await
    }

    async fn keep_time(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |conn| upkeep::keep_time(conn, now)).await
    }

    async fn vendor(&self, id: VendorId) -> Result<Option<Vendor>, StoreError> {
        self.read(move |conn| vendors::one(conn, id)).await
    }

    async fn vendors(&self, page: Page<VendorId>) -> Result<Vec<Vendor>, StoreError> {
        self.read(move |conn| vendors::list(conn, page)).await
    }

    async fn owner(&self, stream: StreamId) -> Result<Option<(VendorId, Mode)>, StoreError> {
        self.read(move |conn| vendors::owner(conn, stream)).await
    }

    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, StoreError> {
        self.read(move |conn| vendors::token(conn, hash)).await
    }

    async fn tokens(&self, vendor: Option<VendorId>, page: Page<TokenId>) -> Result<Vec<Token>, StoreError> {
        self.read(move |conn| vendors::tokens(conn, vendor, page)).await
    }

    async fn users(&self, vendor: Option<VendorId>, page: Page<UserId>) -> Result<Vec<User>, StoreError> {
        self.read(move |conn| people::users(conn, vendor, page)).await
    }

    async fn credentials(&self, email: String) -> Result<Option<Credentials>, StoreError> {
        let sealer = self.sealer.clone();
        self.read(move |conn| people::credentials(conn, &sealer, &email)).await
    }

    async fn session(&self, hash: TokenHash, now: Timestamp) -> Result<Option<LoggedIn>, StoreError> {
        self.read(move |conn| people::session(conn, hash, now)).await
    }

    async fn knows_device(&self, hash: TokenHash, email: String, now: Timestamp) -> Result<bool, StoreError> {
        self.read(move |conn| devices::is_known(conn, hash, &email, now)).await
    }

    async fn proposed(&self, session: TokenHash) -> Result<Option<Secret>, StoreError> {
        let sealer = self.sealer.clone();
        self.read(move |conn| devices::proposed(conn, &sealer, session)).await
    }

    async fn link(&self, hash: TokenHash, now: Timestamp) -> Result<Option<Link>, StoreError> {
        self.read(move |conn| people::link(conn, hash, now)).await
    }

    async fn invitations(&self, vendor: Option<VendorId>, now: Timestamp) -> Result<Vec<Link>, StoreError> {
        self.read(move |conn| people::invitations(conn, vendor, now)).await
    }

    async fn kept_answer(&self, key: AnswerKey, since: Timestamp) -> Result<Option<KeptAnswer>, StoreError> {
        let sealer = self.sealer.clone();
        self.read(move |conn| audit::kept(conn, &sealer, &key, since)).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Listed<Entry, AuditId>, StoreError> {
        self.read(move |conn| audit::list(conn, &query)).await
    }

    async fn overview(&self, now: Timestamp) -> Result<Overview, StoreError> {
        self.read(move |conn| overview::overview(conn, now)).await
    }

    async fn minutes(&self, since: Timestamp) -> Result<Vec<(Timestamp, Traffic)>, StoreError> {
        self.read(move |conn| overview::minutes(conn, since)).await
    }

    async fn standing(&self, stream: StreamId, since: Timestamp) -> Result<Standing, StoreError> {
        self.read_of(stream, move |conn| overview::standing(conn, stream, since)).await
    }

    async fn providers(&self) -> Result<Vec<ProviderStanding>, StoreError> {
        self.read(overview::providers).await
    }

    async fn causes(&self, endpoint: EndpointId, limit: usize) -> Result<Vec<Cause>, StoreError> {
        self.read(move |conn| health::causes(conn, endpoint, limit)).await
    }

    async fn troubled(&self, page: Page<EndpointId>) -> Result<Vec<Trouble>, StoreError> {
        self.read(move |conn| health::troubled(conn, page)).await
    }

    async fn waiting_mails(&self, page: Page<i64>) -> Result<Vec<WaitingMail>, StoreError> {
        self.read(move |conn| health::waiting_mails(conn, page)).await
    }

    async fn recharge(&self, id: RechargeId) -> Result<Option<(Recharge, Vec<KeptReport>)>, StoreError> {
        self.read(move |conn| ledger::recharge(conn, id)).await
    }

    async fn recharges(&self, query: RechargeQuery) -> Result<Listed<Recharge, RechargeId>, StoreError> {
        self.read_of(query.stream, move |conn| ledger::recharges(conn, &query)).await
    }

    async fn walk(
        &self,
        whose: RechargeOwner,
        range: TimeRange,
        after: Option<RechargeId>,
        limit: usize,
    ) -> Result<Vec<Recharge>, StoreError> {
        let walk = move |conn: Conn, whose: &RechargeOwner| submissions::walk(conn, whose, range, after, limit);
        match whose {
            RechargeOwner::Stream(stream) => self.read_of(stream, move |conn| walk(conn, &whose)).await,
            RechargeOwner::Provider(_) => self.read(move |conn| walk(conn, &whose)).await,
        }
    }

    async fn lookup(&self, stream: Option<StreamId>, sought: Vec<RechargeKey>) -> Result<Vec<Option<Recharge>>, StoreError> {
        // One that asks after a single recharge waits for nothing.
        let is_long = sought.len() > limits::PAGE_DEFAULT;
        let lookup = move |conn: Conn| submissions::lookup(conn, stream, &sought);
        match stream.filter(|_| is_long) {
            Some(stream) => self.read_of(stream, lookup).await,
            None => self.read(lookup).await,
        }
    }

    async fn submissions_due(&self, provider: String, with_new: bool, now: Timestamp) -> Result<bool, StoreError> {
        self.read(move |conn| submissions::due(conn, &provider, with_new, now)).await
    }

    async fn submission(&self, recharge: RechargeId) -> Result<Option<Submission>, StoreError> {
        self.read(move |conn| submissions::one(conn, recharge)).await
    }

    async fn stuck(&self, page: Page<RechargeId>) -> Result<Listed<Submission, RechargeId>, StoreError> {
        self.read(move |conn| submissions::stuck(conn, page)).await
    }

    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.read(move |conn| ledger::event(conn, id)).await
    }

    async fn conflicts(&self, query: ConflictQuery) -> Result<Listed<Conflict, ConflictId>, StoreError> {
        self.read(move |conn| conflicts::list(conn, &query)).await
    }

    async fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>, StoreError> {
        self.read(move |conn| conflicts::one(conn, id)).await
    }

    async fn sequences(&self, stream: StreamId, range: TimeRange) -> Result<Range<i64>, StoreError> {
        self.read_of(stream, move |conn| ledger::sequences(conn, stream, range)).await
    }

    async fn events_after(&self, stream: StreamId, after: Option<i64>, limit: usize) -> Result<Feed, StoreError> {
        self.read_of(stream, move |conn| ledger::events_after(conn, stream, after, limit)).await
    }

    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let sealer = self.sealer.clone();
        self.read(move |conn| endpoints::one(conn, &sealer, id)).await
    }

    async fn endpoints(&self, stream: StreamId, page: Page<EndpointId>) -> Result<Vec<Endpoint>, StoreError> {
        let sealer = self.sealer.clone();
        self.read(move |conn| endpoints::list(conn, &sealer, stream, page)).await
    }

    async fn open_size(&self, id: EndpointId) -> Result<OpenSize, StoreError> {
        let oldest = self.read(move |conn| deliveries::oldest_open(conn, id)).await?;
        let (mut open, mut after) = (0, Some(0));
        while let Some(from) = after {
            let (count, next) = self.read(move |conn| deliveries::count_open(conn, id, from)).await?;
            (open, after) = (open + count, next);
        }
        Ok(OpenSize { open, oldest })
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        self.read(move |conn| deliveries::one(conn, id, limits::ATTEMPTS_SHOWN)).await
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<Listed<Delivery, DeliveryId>, StoreError> {
        self.read_of(query.stream, move |conn| deliveries::list(conn, &query)).await
    }

    async fn replay(&self, id: ReplayId) -> Result<Option<Replay>, StoreError> {
        self.read(move |conn| replays::one(conn, id)).await
    }

    async fn replays(&self, stream: StreamId, page: Page<ReplayId>) -> Result<Vec<Replay>, StoreError> {
        self.read(move |conn| replays::list(conn, stream, page)).await
    }

    async fn count_scope(&self, mut scope: ReplayScope) -> Result<u64, StoreError> {
        let (mut matched, endpoint) = (0, scope.endpoint);
        let Some(place) = self.read(move |conn| rows::place(conn, endpoint)).await? else { return Ok(0) };
        loop {
            let (sealer, part) = (self.sealer.clone(), scope.clone());
            let (count, next) = self.read_of(place.stream, move |conn| replays::count(conn, &sealer, &part)).await?;
            matched += count;
            match next {
                Some(next) => scope.numbers.start = next,
                None => return Ok(matched),
            }
        }
    }

    async fn open_runs(&self, endpoint: EndpointId, asks: Vec<OpenAsk>, now: Timestamp) -> Result<OpenRuns, StoreError> {
        self.read(move |conn| deliveries::open_runs(conn, endpoint, &asks, now)).await
    }

    async fn open_count(&self) -> Result<u64, StoreError> {
        self.read(|conn| conn.one("SELECT count(*) FROM open_delivery", params![], |row| row.get(0))).await
    }

    async fn backlogs(&self, after: Option<EndpointId>, limit: usize) -> Result<Vec<Backlog>, StoreError> {
        self.read(move |conn| deliveries::backlogs(conn, after, limit)).await
    }

    async fn expired(&self, endpoint: EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Expired>, StoreError> {
        self.read(move |conn| deliveries::expired(conn, endpoint, now, limit)).await
    }

    async fn replay_waiting(&self, replay: Replay, now: Timestamp) -> Result<usize, StoreError> {
        self.read(move |conn| replays::waiting(conn, &replay, now)).await
    }

    async fn running_replays(&self, after: Option<ReplayId>, limit: usize) -> Result<Vec<ReplayId>, StoreError> {
        self.read(move |conn| replays::running(conn, after, limit)).await
    }

    async fn failing(&self, since: Timestamp, after: Option<EndpointId>, limit: usize) -> Result<Vec<Failing>, StoreError> {
        self.read(move |conn| health::failing(conn, since, after, limit)).await
    }

    async fn to_probe(&self, before: Timestamp, after: Option<EndpointId>, limit: usize) -> Result<Vec<EndpointId>, StoreError> {
        self.read(move |conn| health::to_probe(conn, before, after, limit)).await
    }

    async fn pauses_over(&self, now: Timestamp, limit: usize) -> Result<Vec<EndpointId>, StoreError> {
        self.read(move |conn| health::pauses_over(conn, now, limit)).await
    }

    async fn mailings(&self, now: Timestamp, mailed_before: Timestamp, limit: usize) -> Result<Vec<Mailing>, StoreError> {
        let sealer = self.sealer.clone();
        self.read(move |conn| health::mailings(conn, &sealer, (now, mailed_before), limit)).await
    }

    async fn mailed(&self, mailing: Mailing, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |conn| health::mailed(conn, &mailing, now)).await
    }

    async fn mail_failed(&self, mailing: Mailing, error: String, again: Timestamp) -> Result<(), StoreError> {
        self.write(move |conn| health::mail_failed(conn, &mailing, &error, again)).await
    }

    async fn sweep(&self, horizon: Horizon, place: SweepPlace) -> Result<Swept, StoreError> {
        self.driver.sweep(horizon, place).await
    }

    async fn erase(&self, stream: StreamId, connection_no: String, place: SweepPlace) -> Result<Swept, StoreError> {
        let remember = |number: &String, _: Conn, memory: &mut Memory| {
            memory.erased.add(number);
            Ok(())
        };
        // Outcomes that are being written are there then, to be looked at.
        self.driver.write(Channel::Outcomes, connection_no.clone(), remember).await.1?;
        let sealer = self.sealer.clone();
        let erase = move |number: &String, conn: Conn, memory: &mut Memory| {
            remember(number, conn, memory)?;
            erase::erase(conn, &sealer, (stream, number), place)
        };
        let swept = self.driver.write(Channel::Main, connection_no, erase).await.1?;
        if swept.next.is_none() {
            self.driver.scrub().await?;
        }
        Ok(swept)
    }

    async fn reseal(&self, place: SweepPlace) -> Result<Swept, StoreError> {
        let sealer = self.sealer.clone();
        self.write(move |conn| reseal::reseal(conn, &sealer, place)).await
    }
}
