//! The ledger's memory: the [`Store`] contract, the [group commit](group_commit) in front of it, and the stores.
//!
//! **One method is one transaction**, and no transaction, connection or lock crosses the trait. What the rules make of
//! a call comes back as `Ok`; `Err` means "could not find out" and never "no". `tests/conformance` is the exam that
//! every store has to pass.
//!
//! What a store promises beyond single methods:
//! - A batch given to [`Store::commit`] is durable, whole, before the call returns; an `Err` leaves nothing of it,
//!   unless it is [`StoreError::Unknown`].
//! - Sequence numbers of a stream are contiguous, commit order is sequence order, and an event's deliveries are made in
//!   its own transaction, for exactly the endpoints that listen at that moment.
//! - Secrets are sealed with the master key on their way in and opened on their way out; nothing outside sees the
//!   sealed form.

pub mod availability;
pub mod backup;
mod change;
pub mod cluster;
pub mod group_commit;
pub mod postgres;
mod query;
pub mod seal;
mod sql;
pub mod sqlite;
mod stats;
pub mod turns;
mod types;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

pub use sql::migrate;
pub use types::*;

use self::cluster::Cluster;

use crate::domain::audit::Entry;
use crate::domain::conflict::Conflict;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::Event;
use crate::domain::id::{AuditId, ConflictId, DeliveryId, EndpointId, EventId, RechargeId, ReplayId, StreamId, TokenId, UserId, VendorId};
use crate::domain::recharge::Recharge;
use crate::domain::replay::{Only, Replay};
use crate::domain::secret::Secret;
use crate::domain::session::{Link, LoggedIn};
use crate::domain::submission::Submission;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenHash};
use crate::domain::traffic::Traffic;
use crate::domain::user::{Credentials, User};
use crate::domain::vendor::{Mode, Vendor};

/// Why a store could not find out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or is busy; nothing was written, and later it may work.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The database is not to be used at present, for a reason that names nothing of the installation.
    #[error("{0}")]
    NotReady(&'static str),
    /// A row or table stayed locked by another session for longer than a batch waits; nothing was written. Other writes may
    /// work.
    #[error("the store is locked by another session: {0}")]
    Busy(String),
    /// No room on the disk, or what it takes to write is refused for another reason; nothing was written.
    #[error("the store's disk is full: {0}")]
    Full(String),
    /// The outcome of a commit is not known: the rows may be there.
    #[error("the outcome of the commit is not known: {0}")]
    Unknown(String),
    /// The write itself was refused; its neighbours in a batch are not to blame.
    #[error("the store refused the write: {0}")]
    Rejected(String),
    /// What is stored cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It cannot be used as it was opened: wrong master key, not a database, a newer schema.
    #[error("{0}")]
    Unusable(String),
}

impl StoreError {
    /// Whether the store as a whole does not work at present. It is logged where that begins and ends ([`availability`]), so that
    /// whoever meets it need not.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NotReady(_) | Self::Full(_) | Self::Unknown(_))
    }

    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::NotReady(_) => "not_ready",
            Self::Busy(_) => "busy",
            Self::Full(_) => "full",
            Self::Unknown(_) => "unknown",
            Self::Rejected(_) => "rejected",
            Self::Damaged(_) => "damaged",
            Self::Unusable(_) => "unusable",
        }
    }
}

/// The contract of a store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes a batch of reports, events and outcomes as one transaction and answers each in order. The batch comes
    /// back with the answer.
    ///
    /// # Errors
    /// Nothing of the batch was written. [`StoreError::Rejected`] may be the fault of a single write of it.
    async fn commit(&self, batch: Vec<Write>) -> (Vec<Write>, Result<Vec<Written>, StoreError>);

    /// Whether it commits outcomes beside other writes: two batches at a time, if one of them is of outcomes alone.
    fn settles_beside(&self) -> bool;

    /// This node's part among others that share the database, if it is one of many.
    fn cluster(&self) -> Option<Arc<dyn Cluster>>;

    /// Whether it answers, and could be written when that was last tried.
    ///
    /// # Errors
    /// It does not, or could not.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Finds out whether it can be written, if the last writes left that open; what comes of it shows in
    /// [`ready`](Self::ready).
    async fn probe(&self);

    /// The highest time that a server has believed.
    async fn kept_time(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Keeps this time, unless a higher one is kept.
    async fn keep_time(&self, now: Timestamp) -> Result<(), StoreError>;

    // --- Vendors and tokens --------------------------------------------------------------------------------------

    /// One vendor.
    async fn vendor(&self, id: VendorId) -> Result<Option<Vendor>, StoreError>;

    /// Vendors, newest first, older than `page.before`.
    async fn vendors(&self, page: Page<VendorId>) -> Result<Vec<Vendor>, StoreError>;

    /// Whose a stream is.
    async fn owner(&self, stream: StreamId) -> Result<Option<(VendorId, Mode)>, StoreError>;

    /// The token with this hash, unless it was revoked or its vendor is disabled.
    async fn token(&self, hash: TokenHash) -> Result<Option<Token>, StoreError>;

    /// A vendor's tokens (the operator's, if none is named), newest first, without revoked ones.
    async fn tokens(&self, vendor: Option<VendorId>, page: Page<TokenId>) -> Result<Vec<Token>, StoreError>;

    /// A vendor's logins (the operator's, if none is named), newest first.
    async fn users(&self, vendor: Option<VendorId>, page: Page<UserId>) -> Result<Vec<User>, StoreError>;

    /// What a login with this address (in lower case) is judged by.
    async fn credentials(&self, email: String) -> Result<Option<Credentials>, StoreError>;

    /// The session of this ticket, unless it has ended, its login is gone, or its vendor is disabled.
    async fn session(&self, hash: TokenHash, now: Timestamp) -> Result<Option<LoggedIn>, StoreError>;

    /// Whether the browser with this ticket is known of the login with this address (in lower case).
    async fn knows_device(&self, hash: TokenHash, email: String, now: Timestamp) -> Result<bool, StoreError>;

    /// The secret of the second factor that is proposed in the session of this ticket.
    async fn proposed(&self, session: TokenHash) -> Result<Option<Secret>, StoreError>;

    /// The link of this ticket, while it is good.
    async fn link(&self, hash: TokenHash, now: Timestamp) -> Result<Option<Link>, StoreError>;

    /// A vendor's invitations (the operator's, if none is named) that can still be taken, newest first.
    async fn invitations(&self, vendor: Option<VendorId>, now: Timestamp) -> Result<Vec<Link>, StoreError>;

    /// The answer kept for this request since this time.
    async fn kept_answer(&self, key: AnswerKey, since: Timestamp) -> Result<Option<KeptAnswer>, StoreError>;

    /// Entries of the audit log, newest first.
    async fn audit(&self, query: AuditQuery) -> Result<Listed<Entry, AuditId>, StoreError>;

    /// How everything stands.
    async fn overview(&self, now: Timestamp) -> Result<Overview, StoreError>;

    /// What each minute since then held, in order; minutes in which nothing happened are left out.
    async fn minutes(&self, since: Timestamp) -> Result<Vec<(Timestamp, Traffic)>, StoreError>;

    /// How a stream's recharges stand, and what each hour since then brought.
    async fn standing(&self, stream: StreamId, since: Timestamp) -> Result<Standing, StoreError>;

    /// How providers do that have anything.
    async fn providers(&self) -> Result<Vec<ProviderStanding>, StoreError>;

    /// Endpoints that somebody should look at: those that fail, and those that a rule disabled, the newest first.
    async fn troubled(&self, page: Page<EndpointId>) -> Result<Vec<Trouble>, StoreError>;

    /// Why attempts at an endpoint failed: the latest `limit` of those that are kept, grouped; the most frequent first.
    async fn causes(&self, endpoint: EndpointId, limit: usize) -> Result<Vec<Cause>, StoreError>;

    /// Mails that wait, newest first.
    async fn waiting_mails(&self, page: Page<i64>) -> Result<Vec<WaitingMail>, StoreError>;

    // --- Recharges and events ------------------------------------------------------------------------------------

    /// One recharge with all reports about it, in order of arrival.
    async fn recharge(&self, id: RechargeId) -> Result<Option<(Recharge, Vec<KeptReport>)>, StoreError>;

    /// A stream's recharges, newest first. At most [`SCAN_MAX`](crate::limits::SCAN_MAX) rows are looked at, so that a
    /// page may be short and have a cursor all the same.
    async fn recharges(&self, query: RechargeQuery) -> Result<Listed<Recharge, RechargeId>, StoreError>;

    /// Recharges in the order of their making, those of a time range after this one; fewer than `limit` only at the end.
    async fn walk(
        &self,
        whose: RechargeOwner,
        range: TimeRange,
        after: Option<RechargeId>,
        limit: usize,
    ) -> Result<Vec<Recharge>, StoreError>;

    /// Recharges by ids, references and numbers, of a stream or (ids only) of all; each where it is there, in the order asked for.
    async fn lookup(&self, stream: Option<StreamId>, sought: Vec<RechargeKey>) -> Result<Vec<Option<Recharge>>, StoreError>;

    /// Whether there is anything to be done for a provider now, new recharges counted or not.
    async fn submissions_due(&self, provider: String, with_new: bool, now: Timestamp) -> Result<bool, StoreError>;

    /// What Ringback executes of a recharge, if it does.
    async fn submission(&self, recharge: RechargeId) -> Result<Option<Submission>, StoreError>;

    /// Queued recharges that nobody could tell anything about for too long, newest first.
    async fn stuck(&self, page: Page<RechargeId>) -> Result<Listed<Submission, RechargeId>, StoreError>;

    /// One event.
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError>;

    /// Conflicts, newest first.
    async fn conflicts(&self, query: ConflictQuery) -> Result<Listed<Conflict, ConflictId>, StoreError>;

    /// One conflict.
    async fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>, StoreError>;

    /// The range of numbers that a stream's events of a time range have.
    async fn sequences(&self, stream: StreamId, range: TimeRange) -> Result<Range<i64>, StoreError>;

    /// A stream's events after a sequence number, in order, without gaps. Without `after`, from the oldest kept.
    async fn events_after(&self, stream: StreamId, after: Option<i64>, limit: usize) -> Result<Feed, StoreError>;

    // --- Endpoints -----------------------------------------------------------------------------------------------

    /// One endpoint, deleted ones included.
    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError>;

    /// A stream's endpoints, newest first, without deleted ones.
    async fn endpoints(&self, stream: StreamId, page: Page<EndpointId>) -> Result<Vec<Endpoint>, StoreError>;

    /// Events that match an endpoint's filter, came after it was made, and never made a delivery for it.
    async fn missed(&self, id: EndpointId) -> Result<u64, StoreError> {
        self.count_scope(ReplayScope { endpoint: id, numbers: 0..i64::MAX, only: Only::Missed, event_types: None }).await
    }

    /// How much an endpoint has open.
    async fn open_size(&self, id: EndpointId) -> Result<OpenSize, StoreError>;

    // --- Deliveries ----------------------------------------------------------------------------------------------

    /// One delivery with its attempts, the latest [`ATTEMPTS_SHOWN`](crate::limits::ATTEMPTS_SHOWN) of them.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError>;

    /// A stream's deliveries, latest sequence number first, with the same bound as [`Store::recharges`].
    async fn deliveries(&self, query: DeliveryQuery) -> Result<Listed<Delivery, DeliveryId>, StoreError>;

    /// One replay.
    async fn replay(&self, id: ReplayId) -> Result<Option<Replay>, StoreError>;

    /// A stream's replays, newest first.
    async fn replays(&self, stream: StreamId, page: Page<ReplayId>) -> Result<Vec<Replay>, StoreError>;

    /// How many events a replay of this scope would be about.
    async fn count_scope(&self, scope: ReplayScope) -> Result<u64, StoreError>;

    // --- What the engine asks ------------------------------------------------------------------------------------

    /// An endpoint's runs that are open, all of it as it stood at one moment: an answer to each of the `asks`, and when, after
    /// `now`, the next run that waits for a time is due.
    async fn open_runs(&self, endpoint: EndpointId, asks: Vec<OpenAsk>, now: Timestamp) -> Result<OpenRuns, StoreError>;

    /// How many runs are open.
    async fn open_count(&self) -> Result<u64, StoreError>;

    /// Endpoints that have open runs, in order of id, after `after`; each with the first of them.
    async fn backlogs(&self, after: Option<EndpointId>, limit: usize) -> Result<Vec<Backlog>, StoreError>;

    /// Keys of open runs whose deadline has passed, not more than `limit`. First runs are looked at in order, up to the
    /// first that is still in time: their deadlines grow with their numbers, except behind a setting that was shortened.
    async fn expired(&self, endpoint: EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Expired>, StoreError>;

    /// Open runs of a replay that failed and wait for their retry, up to [`limits::REPLAY_WAITING_MAX`].
    async fn replay_waiting(&self, replay: Replay, now: Timestamp) -> Result<usize, StoreError>;

    /// Replays that are running, the oldest first, after `after`.
    async fn running_replays(&self, after: Option<ReplayId>, limit: usize) -> Result<Vec<ReplayId>, StoreError>;

    /// Connected endpoints that have been failing since `since` or before, by id, after `after`.
    async fn failing(&self, since: Timestamp, after: Option<EndpointId>, limit: usize) -> Result<Vec<Failing>, StoreError>;

    /// Endpoints that a rule disabled, and that have not been tried since `before`; by id, after `after`.
    async fn to_probe(&self, before: Timestamp, after: Option<EndpointId>, limit: usize) -> Result<Vec<EndpointId>, StoreError>;

    /// Paused endpoints whose pause is over.
    async fn pauses_over(&self, now: Timestamp, limit: usize) -> Result<Vec<EndpointId>, StoreError>;

    // --- Mails ---------------------------------------------------------------------------------------------------

    /// What may be mailed now: to addresses whose last mail was sent at `mailed_before` or earlier, and that are not
    /// waiting to be tried again.
    async fn mailings(&self, now: Timestamp, mailed_before: Timestamp, limit: usize) -> Result<Vec<Mailing>, StoreError>;

    /// A mail was sent: its alerts are done with.
    async fn mailed(&self, mailing: Mailing, now: Timestamp) -> Result<(), StoreError>;

    /// A mail could not be sent, and is tried again at `again`.
    async fn mail_failed(&self, mailing: Mailing, error: String, again: Timestamp) -> Result<(), StoreError>;

    // --- Upkeep --------------------------------------------------------------------------------------------------

    /// Removes some of what is older than the horizon, in one bounded step from `place` on.
    async fn sweep(&self, horizon: Horizon, place: SweepPlace) -> Result<Swept, StoreError>;

    /// Removes a person's data from some of what a stream has, in one bounded step from `place` on.
    async fn erase(&self, stream: StreamId, connection_no: String, place: SweepPlace) -> Result<Swept, StoreError>;

    /// Seals some secrets again with the present master key, in one bounded step from `place` on.
    async fn reseal(&self, place: SweepPlace) -> Result<Swept, StoreError>;
}
