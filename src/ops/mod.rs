//! The product's verbs: what can be done, by whom, with which input. The API, the panel and the commands call these and
//! nothing below them.
//!
//! Ops read their input through [`Fields`](crate::fields::Fields), so that all problems of a request are told at once;
//! they judge who may see what; and they hand what they changed to the engine as a hint, without knowing it.

mod access;
mod admin;
mod allowances;
mod callbacks;
mod checklist;
mod conflicts;
mod deliveries;
mod endpoints;
mod entry;
mod feed;
mod first_operator;
mod handshake;
mod idempotency;
mod input;
mod invitations;
mod ledger;
mod orders;
mod replays;
mod reports;
mod requests;
mod sessions;
mod settings;
mod users;
mod vendors;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use access::{Caller, NewToken};
pub use admin::Issue;
pub use allowances::own_address as client_network;
pub use checklist::Checklist;
pub use deliveries::{Range, Shown};
pub use endpoints::{Connected, NewEndpoint, NewSecret, ShownEndpoint};
pub use feed::{FeedPart, Follow};
pub use handshake::Seen;
pub use idempotency::{Begun, IdempotentRequest};
pub(crate) use input::networks;
pub use input::{Paging, StreamScope, only_paging};
pub use invitations::{Invited, PanelLink};
pub use ledger::NewEvent;
pub use orders::Ordered;
use parking_lot::RwLock;
pub use replays::Replaying;
pub use reports::Answer;
pub use sessions::{NewSession, Proposed, Visitor};
pub use settings::secret_hint;
use tokio::sync::Semaphore;
pub use users::new_operator_user;
pub use vendors::NewVendor;

use crate::clock::Environment;
use crate::domain::catalogue::Catalogue;
use crate::domain::id::{StreamId, VendorId};
use crate::domain::time::Timestamp;
use crate::domain::vendor::Vendor;
use crate::fields::Problem;
use crate::limits;
use crate::meters::Meters;
use crate::providers::Providers;
use crate::store::group_commit::{GroupCommit, Handoff};
use crate::store::turns::Turns;
use crate::store::{Store, StoreError};
use crate::transport::Transport;

/// Why something was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpsError {
    /// There is no such thing, or it is not the caller's to see.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A vendor's token on an operator's call.
    #[error("this call needs an operator's token")]
    Forbidden,
    /// No token, a wrong or revoked one, or one that is not good from this address.
    #[error("a valid token is needed")]
    Unauthorized,
    /// The input; all its problems.
    #[error("the request has {} problem(s)", .0.len())]
    Invalid(Vec<Problem>),
    /// The number asked for is outside of the feed: what follows it is no longer kept, or it was never given (the
    /// database was restored).
    #[error("the feed has the events {oldest} to {latest}; go on from after={}, and read what is missing from GET /v1/recharges", oldest - 1)]
    EventsExpired {
        /// The oldest number kept.
        oldest: i64,
        /// The latest number given.
        latest: i64,
    },
    /// It cannot be done in the present state.
    #[error("{0}")]
    IllegalState(String),
    /// The vendor has as many endpoints as it may.
    #[error("a vendor may have at most {0} endpoints in each mode; delete one first")]
    EndpointLimit(u32),
    /// The vendor has as many tokens of this mode as it may.
    #[error("a vendor may have at most {0} tokens in each mode; revoke one first")]
    TokenLimit(u32),
    /// Too many requests were made; the next one may be made after this time.
    #[error("too many requests; the next one may be made in {} s", .0.as_secs() + 1)]
    RateLimited(Duration),
    /// As many connections follow this feed as may.
    #[error(
        "at most {} connections of a vendor may follow its events in each mode or wait for them; close one first",
        crate::limits::FOLLOWERS_PER_STREAM
    )]
    TooManyFollowers,
    /// As many as may be are under way at once.
    #[error("{0}")]
    Busy(String),
    /// A test token on something of live mode, or the other way round.
    #[error("a token of {0} mode cannot do this; use one of the other mode")]
    OtherMode(&'static str),
    /// A bound token on one that is good from more addresses.
    #[error("a token cannot revoke one that is good from more addresses than itself")]
    WiderToken,
    /// The `Idempotency-Key` was used with another body.
    #[error("this Idempotency-Key was used with another body; use a new key for a new request")]
    IdempotencyConflict,
    /// The reference belongs to a recharge that was asked for otherwise, or reported.
    #[error("this reference_no belongs to another recharge of yours; references are unique for ever")]
    ReferenceConflict,
    /// A request with this `Idempotency-Key` is still running.
    #[error("a request with this Idempotency-Key is still running; wait for its answer, or send it again later")]
    InProgress,
    /// The address and the password, or the digits, do not belong together.
    #[error("{0}")]
    WrongCredentials(&'static str),
    /// Too many logins were tried; the next may be after this time.
    #[error("too many attempts; wait {} s and try again", .0.as_secs() + 1)]
    TooManyTries(Duration),
    /// A link that is not good, or was used before.
    #[error("this link is not good any more: it was used, withdrawn, or is too old; ask for a new one")]
    LinkGone,
    /// The handshake failed.
    #[error("the endpoint did not connect: {}", .0.problem)]
    ConnectFailed(Box<Seen>),
    /// A fault of our own kept a handshake or a test from being sent. It says nothing about the endpoint.
    #[error("nothing could be sent, and nothing was changed: {0}; this is not the endpoint's doing, try again later")]
    Fault(String),
    /// The store could not find out.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Problem> for OpsError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

/// Settings that the verbs obey.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long a run may take.
    pub delivery_deadline: Duration,
    /// Endpoints that a vendor may have in each mode.
    pub endpoints_per_vendor: u32,
    /// Attempts, tests and handshakes under way at once on one node.
    pub max_in_flight: usize,
    /// Ceiling of an endpoint's own `max_in_flight`.
    pub max_in_flight_per_endpoint: u32,
    /// Live endpoints must be `https`.
    pub require_https: bool,
    /// Largest `data` of an event, in bytes.
    pub event_payload_max: usize,
    /// How long an endpoint fails at everything before it is disabled.
    pub disable_after: Duration,
    /// Requests a second that a vendor may make in each mode, with all its tokens, and that each operator's token may make.
    pub token_rate_limit: Option<std::num::NonZeroU32>,
    /// Whether the operator's people need a second factor.
    pub operators_need_second_factor: bool,
    /// Whether mails go out; else they wait.
    pub mails_go_out: bool,
    /// Where people reach the server, without a slash at its end; where it listens if not said.
    pub public_url: Option<String>,
}

/// The verbs, with all that they need.
pub struct Ops {
    store: Arc<dyn Store>,
    committer: GroupCommit,
    handoff: Arc<dyn Handoff>,
    transport: Arc<Transport>,
    environment: Environment,
    meters: Arc<Meters>,
    rules: Rules,
    catalogue: Arc<Catalogue>,
    providers: Providers,
    tokens: access::TokenCache,
    paces: access::Paces,
    allowances: allowances::Allowances,
    forgotten: Arc<Semaphore>,
    setup: first_operator::Setup,
    entry: entry::Entry,
    dismissed: checklist::Dismissed,
    requests: requests::RequestIds,
    /// Tests and handshakes under way, of each stream and of this node.
    tests: Turns<StreamId>,
    node_tests: Arc<Semaphore>,
    running: idempotency::Running,
    followers: feed::Followers,
    stopping: feed::Stopping,
    /// Where it listens, once it does.
    listens_on: OnceLock<SocketAddr>,
    /// Vendors never change their streams, so that these can be remembered for ever.
    streams: RwLock<HashMap<VendorId, Arc<Vendor>>>,
    owners: RwLock<HashMap<StreamId, StreamScope>>,
}

/// What ops are made of.
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The way to write reports and events.
    pub committer: GroupCommit,
    /// Who is told of what was accepted and changed.
    pub handoff: Arc<dyn Handoff>,
    /// What sends handshakes and tests.
    pub transport: Arc<Transport>,
    /// Time and chance.
    pub environment: Environment,
    /// What counts.
    pub meters: Arc<Meters>,
    /// Settings.
    pub rules: Rules,
    /// What can be recharged.
    pub catalogue: Arc<Catalogue>,
    /// Who executes that.
    pub providers: Providers,
}

impl Ops {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, committer, handoff, transport, environment, meters, rules, catalogue, providers } = parts;
        Self {
            paces: access::Paces::new(rules.token_rate_limit),
            allowances: allowances::Allowances::default(),
            tests: Turns::new(limits::TESTS_AT_ONCE),
            node_tests: Arc::new(Semaphore::new((rules.max_in_flight / limits::TESTS_SHARE as usize).max(1))),
            forgotten: Arc::new(Semaphore::new(limits::FORGOTTEN_AT_ONCE)),
            setup: first_operator::Setup::default(),
            entry: entry::Entry::default(),
            dismissed: checklist::Dismissed::default(),
            requests: requests::RequestIds::new(&*environment.entropy),
            tokens: access::TokenCache::default(),
            running: idempotency::Running::default(),
            followers: feed::Followers::default(),
            stopping: Arc::default(),
            listens_on: OnceLock::new(),
            streams: RwLock::default(),
            owners: RwLock::default(),
            store,
            committer,
            handoff,
            transport,
            environment,
            meters,
            rules,
            catalogue,
            providers,
        }
    }

    /// The settings that the verbs obey.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The server listens there.
    pub fn listens_on(&self, address: SocketAddr) {
        self.listens_on.get_or_init(|| address);
    }

    /// Where people reach the server.
    pub fn public_url(&self) -> String {
        let listens_on = || format!("http://{}", self.listens_on.get().map_or_else(String::new, ToString::to_string));
        self.rules.public_url.clone().unwrap_or_else(listens_on)
    }

    /// The path of `public_url`, such as `/ringback`; empty if it has none.
    pub fn public_path(&self) -> &str {
        let address = self.rules.public_url.as_deref().and_then(|url| url.split_once("://")).map_or("", |(_, address)| address);
        address.find('/').map_or("", |at| &address[at..])
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.environment.clock.now()
    }

    /// Whether the store answers, and the node's lease stands, where it is one of many.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ready(&self) -> Result<bool, OpsError> {
        self.store.ready().await?;
        Ok(self.handoff.holds_lease())
    }

    /// A vendor's streams, remembered.
    async fn streams(&self, id: VendorId) -> Result<Option<Arc<Vendor>>, OpsError> {
        if let Some(known) = self.streams.read().get(&id) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(vendor) = self.store.vendor(id).await?.map(Arc::new) else { return Ok(None) };
        self.streams.write().insert(id, Arc::clone(&vendor));
        Ok(Some(vendor))
    }

    /// Whose a stream is, remembered.
    async fn owner(&self, stream: StreamId) -> Result<StreamScope, OpsError> {
        if let Some(known) = self.owners.read().get(&stream) {
            return Ok(*known);
        }
        let (vendor, mode) = self.store.owner(stream).await?.ok_or(OpsError::NotFound("vendor"))?;
        let mine = StreamScope { vendor, mode, stream };
        self.owners.write().insert(stream, mine);
        Ok(mine)
    }
}
