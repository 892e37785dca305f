//! A store whose commits fail when they are told to: before anything was written, or after all of it was.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use ringback::domain::audit::Entry;
use ringback::domain::conflict::Conflict;
use ringback::domain::endpoint::Endpoint;
use ringback::domain::event::Event;
use ringback::domain::id::{
    AuditId, ConflictId, DeliveryId, EndpointId, EventId, RechargeId, ReplayId, StreamId, TokenId, UserId, VendorId,
};
use ringback::domain::recharge::Recharge;
use ringback::domain::replay::Replay;
use ringback::domain::secret::Secret;
use ringback::domain::session::{Link, LoggedIn};
use ringback::domain::submission::Submission;
use ringback::domain::time::Timestamp;
use ringback::domain::token::{Token, TokenHash};
use ringback::domain::traffic::Traffic;
use ringback::domain::user::{Credentials, User};
use ringback::domain::vendor::{Mode, Vendor};
use ringback::store::cluster::Cluster;
use ringback::store::*;

/// What happens to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was written, and the database is away.
    Before,
    /// Nothing was written: there is no room.
    Full,
    /// All of it was written, and nobody is told so.
    After,
}

/// What happens to the next commits.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    /// The next `commits` commits meet this.
    pub fn arm(&self, fault: Fault, commits: usize) {
        self.0.lock().extend(std::iter::repeat_n(fault, commits));
    }

    /// From now on all is well.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

/// The store, and what is to go wrong in it.
pub struct Faulty {
    pub inner: Arc<dyn Store>,
    pub faults: Arc<Faults>,
    /// Goes after `inner`: when nobody has it any more, the store has written its last.
    pub _alive: Arc<()>,
}

/// Everything but commits goes through as it is.
macro_rules! faulty {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for Faulty {
            async fn commit(&self, batch: Vec<Write>) -> (Vec<Write>, Result<Vec<Written>, StoreError>) {
                let fault = self.faults.0.lock().pop();
                match fault {
                    None => self.inner.commit(batch).await,
                    Some(Fault::Before) => (batch, Err(StoreError::Unavailable("it is away".to_owned()))),
                    Some(Fault::Full) => (batch, Err(StoreError::Full("no room".to_owned()))),
                    Some(Fault::After) => {
                        let (batch, written) = self.inner.commit(batch).await;
                        (batch, written.and_then(|_| Err(StoreError::Unknown("the answer was lost".to_owned()))))
                    }
                }
            }

            fn settles_beside(&self) -> bool {
                self.inner.settles_beside()
            }

            fn cluster(&self) -> Option<Arc<dyn Cluster>> {
                self.inner.cluster()
            }

            async fn probe(&self) {
                self.inner.probe().await;
            }

            $(async fn $name(&self, $($arg: $kind),*) -> Result<$answer, StoreError> {
                self.inner.$name($($arg),*).await
            })*
        }
    };
}

faulty! {
    ready() -> ();
    kept_time() -> Option<Timestamp>;
    keep_time(now: Timestamp) -> ();
    replay_waiting(replay: Replay, now: Timestamp) -> usize;
    vendor(id: VendorId) -> Option<Vendor>;
    vendors(page: Page<VendorId>) -> Vec<Vendor>;
    owner(stream: StreamId) -> Option<(VendorId, Mode)>;
    token(hash: TokenHash) -> Option<Token>;
    tokens(vendor: Option<VendorId>, page: Page<TokenId>) -> Vec<Token>;
    users(vendor: Option<VendorId>, page: Page<UserId>) -> Vec<User>;
    credentials(email: String) -> Option<Credentials>;
    session(hash: TokenHash, now: Timestamp) -> Option<LoggedIn>;
    knows_device(hash: TokenHash, email: String, now: Timestamp) -> bool;
    proposed(session: TokenHash) -> Option<Secret>;
    link(hash: TokenHash, now: Timestamp) -> Option<Link>;
    invitations(vendor: Option<VendorId>, now: Timestamp) -> Vec<Link>;
    kept_answer(key: AnswerKey, since: Timestamp) -> Option<KeptAnswer>;
    audit(query: AuditQuery) -> Listed<Entry, AuditId>;
    overview(now: Timestamp) -> Overview;
    minutes(since: Timestamp) -> Vec<(Timestamp, Traffic)>;
    standing(stream: StreamId, since: Timestamp) -> Standing;
    providers() -> Vec<ProviderStanding>;
    troubled(page: Page<EndpointId>) -> Vec<Trouble>;
    causes(endpoint: EndpointId, limit: usize) -> Vec<Cause>;
    waiting_mails(page: Page<i64>) -> Vec<WaitingMail>;
    recharge(id: RechargeId) -> Option<(Recharge, Vec<KeptReport>)>;
    recharges(query: RechargeQuery) -> Listed<Recharge, RechargeId>;
    walk(whose: RechargeOwner, range: TimeRange, after: Option<RechargeId>, limit: usize) -> Vec<Recharge>;
    lookup(stream: Option<StreamId>, sought: Vec<RechargeKey>) -> Vec<Option<Recharge>>;
    submissions_due(provider: String, with_new: bool, now: Timestamp) -> bool;
    submission(recharge: RechargeId) -> Option<Submission>;
    stuck(page: Page<RechargeId>) -> Listed<Submission, RechargeId>;
    event(id: EventId) -> Option<Event>;
    conflicts(query: ConflictQuery) -> Listed<Conflict, ConflictId>;
    conflict(id: ConflictId) -> Option<Conflict>;
    sequences(stream: StreamId, range: TimeRange) -> Range<i64>;
    events_after(stream: StreamId, after: Option<i64>, limit: usize) -> Feed;
    endpoint(id: EndpointId) -> Option<Endpoint>;
    endpoints(stream: StreamId, page: Page<EndpointId>) -> Vec<Endpoint>;
    open_size(id: EndpointId) -> OpenSize;
    delivery(id: DeliveryId) -> Option<Delivery>;
    deliveries(query: DeliveryQuery) -> Listed<Delivery, DeliveryId>;
    replay(id: ReplayId) -> Option<Replay>;
    replays(stream: StreamId, page: Page<ReplayId>) -> Vec<Replay>;
    count_scope(scope: ReplayScope) -> u64;
    open_runs(endpoint: EndpointId, asks: Vec<OpenAsk>, now: Timestamp) -> OpenRuns;
    open_count() -> u64;
    backlogs(after: Option<EndpointId>, limit: usize) -> Vec<Backlog>;
    expired(endpoint: EndpointId, now: Timestamp, limit: usize) -> Vec<Expired>;
    running_replays(after: Option<ReplayId>, limit: usize) -> Vec<ReplayId>;
    failing(since: Timestamp, after: Option<EndpointId>, limit: usize) -> Vec<Failing>;
    to_probe(before: Timestamp, after: Option<EndpointId>, limit: usize) -> Vec<EndpointId>;
    pauses_over(now: Timestamp, limit: usize) -> Vec<EndpointId>;
    mailings(now: Timestamp, mailed_before: Timestamp, limit: usize) -> Vec<Mailing>;
    mailed(mailing: Mailing, now: Timestamp) -> ();
    mail_failed(mailing: Mailing, error: String, again: Timestamp) -> ();
    sweep(horizon: Horizon, place: SweepPlace) -> Swept;
    erase(stream: StreamId, connection_no: String, place: SweepPlace) -> Swept;
    reseal(place: SweepPlace) -> Swept;
}
