//! Changes that a person, a token or a rule asked for: what is done, what the audit log notes of it, and the answer that
//! is kept with it, all in one transaction.

use std::sync::Arc;
use std::time::Duration;

use super::{Callback, Created, Delivery, EndpointChange, Place, Placed, Publish, Published, VendorChange};
use crate::domain::alert::Email;
use crate::domain::audit::Note;
use crate::domain::conflict::{CaseState, Conflict, ResolveError};
use crate::domain::delivery::RunKey;
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::id::{ConflictId, DeliveryId, EndpointId, LinkId, RechargeId, ReplayId, TokenId, UserId, VendorId};
use crate::domain::recharge::{Recharge, Report};
use crate::domain::replay::Replay;
use crate::domain::secret::Secret;
use crate::domain::session::{Device, Link, Session};
use crate::domain::submission::{Next, Submission};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenHash};
use crate::domain::user::{PasswordHash, Role, SecondFactor, User};
use crate::domain::vendor::Vendor;

/// A change with what goes along with it.
#[derive(Debug)]
pub struct Change {
    /// What is done.
    pub command: Command,
    /// When it was asked for.
    pub now: Timestamp,
    /// What the audit log notes, if it comes to pass.
    pub note: Option<Note>,
    /// The answer to keep, if it comes to pass.
    pub keep: Option<CachedResponse>,
}

/// What is done.
#[derive(Debug)]
pub enum Command {
    /// Adds a vendor with its two streams and first tokens. [`Reply::Made`].
    CreateVendor(Vendor, Vec<(Token, TokenHash)>),
    /// Changes a vendor. Stopping or starting it forgets how long its endpoints have been failing. [`Reply::Vendor`].
    UpdateVendor(VendorId, VendorChange),
    /// Adds a token, unless its stream already has [`TOKENS_PER_STREAM`](crate::limits::TOKENS_PER_STREAM). [`Reply::Made`].
    CreateToken(Token, TokenHash),
    /// Revokes a token of a vendor, or of the operator. [`Reply::Found`].
    RevokeToken {
        /// The token.
        id: TokenId,
        /// Whose; none for the operator's.
        vendor: Option<VendorId>,
    },
    /// Adds a login, unless its address is taken. [`Reply::Made`].
    CreateUser(User, PasswordHash),
    /// Adds an operator's login if there is none yet, and its address is not taken. [`Reply::Made`].
    CreateFirstOperator(User, PasswordHash),
    /// Gives a vendor's login another role. [`Reply::Found`], or [`Reply::LastOwner`].
    SetRole {
        /// The login.
        id: UserId,
        /// Whose.
        vendor: VendorId,
        /// The role.
        role: Role,
        /// What happens to the last owner.
        last: LastOwner,
    },
    /// Gives a login another password; its other sessions end, its browsers are forgotten. [`Reply::Found`].
    SetPassword(UserId, NewPassword),
    /// Changes a login's second factor, if that still is as it was read. [`Reply::Found`].
    ChangeSecondFactor {
        /// The login.
        id: UserId,
        /// As it was read.
        from: Option<SecondFactor>,
        /// As it is to be.
        to: Option<SecondFactor>,
    },
    /// Begins a session. [`Reply::Found`]: whether the one that it takes the place of was there, if it takes one's.
    LogIn {
        /// The session.
        session: Box<Session>,
        /// Its ticket's hash.
        hash: TokenHash,
        /// The one that ends with it.
        instead_of: Option<TokenHash>,
        /// The browser, if it is not known yet and is to be.
        device: Option<Device>,
    },
    /// Keeps the secret of a second factor that is proposed in a session, unless there is one. [`Reply::Found`]: whether it was kept.
    Propose {
        /// The session's ticket's hash.
        session: TokenHash,
        /// The secret.
        secret: Secret,
    },
    /// Ends a session. [`Reply::Found`].
    LogOut(TokenHash),
    /// Ends all sessions of a login, and forgets its browsers. [`Reply::Noted`].
    LogOutEverywhere(UserId),
    /// Makes a one-time link, and the mail that carries it. [`Reply::Found`]: not, if as many as there may be are good already.
    /// An invitation takes the place of the same inviter's earlier one to the same address, and of no other.
    CreateLink {
        /// The link.
        link: Link,
        /// Its ticket's hash.
        hash: TokenHash,
        /// The mail.
        letter: Option<Email>,
    },
    /// Takes an invitation back. [`Reply::Found`].
    Withdraw {
        /// The invitation.
        id: LinkId,
        /// Whose; none for the operator's.
        vendor: Option<VendorId>,
    },
    /// Uses a link up. [`Reply::Redeemed`].
    Redeem(TokenHash, Box<Redeeming>),
    /// Notes that a token is in use. [`Reply::Noted`].
    TokenUsed(TokenId),
    /// Removes a login. [`Reply::Found`], or [`Reply::LastOwner`].
    RemoveUser {
        /// The login.
        id: UserId,
        /// Whose; none for the operator's.
        vendor: Option<VendorId>,
        /// What happens to the last owner.
        last: LastOwner,
    },
    /// Adds an endpoint unless its stream already has so many. [`Reply::Made`].
    CreateEndpoint {
        /// The endpoint.
        endpoint: Box<Endpoint>,
        /// Most endpoints of a stream.
        most: u32,
    },
    /// Changes an endpoint's settings or state under its stream's counter row, and records from which number on it
    /// listens or no longer does. Open runs stay as they are: that enabling makes them due is the engine's doing. A
    /// rule's disabling alerts the vendor and tells its other endpoints. [`Reply::Endpoint`]: none if there is no such
    /// endpoint, it is deleted, or not in a state that the change starts from.
    ChangeEndpoint {
        /// The endpoint.
        id: EndpointId,
        /// The change.
        change: EndpointChange,
        /// How long the runs of an event that tells of it may take.
        deadline: Duration,
    },
    /// Alerts that an endpoint has been failing for long, once until its next success. [`Reply::Found`].
    Warn(EndpointId, Duration),
    /// Notes that it was tried whether a disabled endpoint is back. [`Reply::Found`].
    Probed(EndpointId),
    /// Opens first runs for events that an endpoint missed, the earliest first, a step at a time: [`Reply::Opened`]. The
    /// step that reaches the last of them makes the change as well, so that no event comes between: [`Reply::Endpoint`].
    OpenMissed {
        /// The endpoint.
        id: EndpointId,
        /// Where the step before ended.
        from: i64,
        /// What makes it listen.
        change: EndpointChange,
        /// How long these runs may take.
        deadline: Duration,
    },
    /// An event, where its answer is to be kept. [`Reply::Published`].
    Publish(Publish),
    /// Starts a new run of a delivery. [`Reply::Resent`].
    Resend {
        /// The delivery.
        id: DeliveryId,
        /// How long the run may take.
        deadline: Duration,
    },
    /// Cancels the open run of a delivery. [`Reply::Cancelled`].
    Cancel(DeliveryId),
    /// Cancels open runs of an endpoint up to this number, as many as a step takes. [`Reply::Cancelled`].
    CancelPending {
        /// The endpoint.
        endpoint: EndpointId,
        /// The last number.
        up_to: i64,
    },
    /// Adds a replay, unless as many as there may be are running to its endpoint. [`Reply::Made`].
    StartReplay(Box<Replay>),
    /// Opens a replay's next runs, unless enough of them are open. [`Reply::Stepped`].
    StepReplay {
        /// The replay.
        id: ReplayId,
        /// How long these runs may take.
        deadline: Duration,
    },
    /// Stops a replay; its open runs are cancelled, as many as a step takes. [`Reply::Cancelled`], none if there is no
    /// such replay.
    CancelReplay(ReplayId),
    /// Resolves a conflict, with the event that tells of it where the recharge moved. [`Reply::Resolved`].
    Resolve {
        /// The conflict.
        id: ConflictId,
        /// How.
        to: CaseState,
        /// Why.
        reason: String,
        /// Who, as text.
        by: String,
        /// How long the event's runs may take.
        deadline: Duration,
    },
    /// A person settles a queued recharge. [`Reply::Settled`].
    SettleRecharge {
        /// The recharge.
        id: RechargeId,
        /// What is known of it; its reference is the recharge's own.
        report: Box<Report>,
        /// How long the event's runs may take.
        deadline: Duration,
    },
    /// Makes a queued recharge that is to be handed to its provider. [`Reply::Placed`].
    Place(Box<Place>),
    /// Takes what is to be done for a provider now. [`Reply::Taken`].
    TakeSubmissions {
        /// The provider.
        provider: String,
        /// Whether new ones may be handed over too.
        with_new: bool,
        /// When they are looked at again, if nothing is heard.
        hold: Duration,
        /// Most of them.
        limit: usize,
    },
    /// Says what follows for a submission, after so many enquiries. [`Reply::Found`].
    Follow(RechargeId, Next, u32),
    /// Has a provider asked now. [`Reply::Found`].
    AskNow(RechargeId),
    /// Keeps a callback. [`Reply::Noted`].
    KeepCallback(Box<Callback>),
    /// Nothing but its note: what was done beside the store.
    Note,
}

/// What happens to the last owner of a vendor, or the last login of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastOwner {
    /// It stays an owner. Without one, no login of the vendor could appoint another.
    Stays,
    /// It may go: the operator can make another login.
    MayGo,
}

/// What came of a [`Command`].
#[derive(Debug)]
pub enum Reply {
    /// Whether something was added.
    Made(Created),
    /// Whether there was such a thing.
    Found(bool),
    /// Nothing was changed: no owner would be left.
    LastOwner,
    /// The vendor as it is now.
    Vendor(Option<Vendor>),
    /// The endpoint as it is now.
    Endpoint(Option<Box<Endpoint>>),
    /// Runs were opened, but not all: where to go on.
    Opened(i64),
    /// The event.
    Published(Published),
    /// Whether a new run was started.
    Resent(Resent),
    /// Runs cancelled; none if there is no such thing.
    Cancelled(Option<Vec<RunKey>>),
    /// How far a replay got.
    Stepped(Stepped),
    /// The conflict and the recharge as they are now; none if there is no such conflict.
    Resolved(Option<Result<Box<(Conflict, Recharge)>, ResolveError>>),
    /// Whether the recharge was settled.
    Settled(SettledRecharge),
    /// What became of a link.
    Redeemed(Redeemed),
    /// Whether a recharge was made.
    Placed(Placed),
    /// What is to be done.
    Taken(Vec<Submission>),
    /// It was noted.
    Noted,
}

/// A password that takes the place of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPassword {
    /// Its hash.
    pub hash: PasswordHash,
    /// The session that goes on.
    pub keep: Option<TokenHash>,
}

/// What a link is used for.
#[derive(Debug)]
pub enum Redeeming {
    /// A login that was invited.
    Login(User, PasswordHash),
    /// A new password.
    Password(UserId, NewPassword),
    /// A session, with its ticket's hash.
    Session(Session, TokenHash),
}

/// What became of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// It did what it is for.
    Yes,
    /// It is not good, or not any more.
    Gone,
    /// The address has a login already, or the operator has invited it.
    Taken,
}

/// Whether a new run was started.
#[derive(Debug)]
pub enum Resent {
    /// It was; this is the delivery.
    Opened(Box<Delivery>),
    /// There is no such delivery.
    Unknown,
    /// The last run has not ended.
    StillPending,
    /// The endpoint is neither connected nor paused.
    NotListening(EndpointStatus),
}

/// How far a replay got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// Runs were opened, or a part of the range was passed by.
    On,
    /// It has enough runs open, or its endpoint does not listen: later.
    Waits,
    /// It is not running any more.
    Over,
}

/// Whether a person's settling took.
#[derive(Debug)]
pub enum SettledRecharge {
    /// It did.
    Yes(Box<Recharge>),
    /// There is no such recharge.
    Unknown,
    /// It has left `queued` before.
    NotQueued(crate::domain::recharge::Status),
}

impl Reply {
    /// Whether anything came of it that is worth noting.
    pub fn took_effect(&self) -> bool {
        match self {
            Self::Made(created) => *created == Created::Yes,
            Self::Found(found) => *found,
            Self::Vendor(vendor) => vendor.is_some(),
            Self::Endpoint(endpoint) => endpoint.is_some(),
            Self::Resent(resent) => matches!(resent, Resent::Opened(_)),
            Self::Cancelled(runs) => runs.is_some(),
            Self::Resolved(resolved) => matches!(resolved, Some(Ok(_))),
            Self::Redeemed(redeemed) => *redeemed == Redeemed::Yes,
            Self::Settled(settled) => matches!(settled, SettledRecharge::Yes(_)),
            Self::Placed(placed) => !matches!(placed, Placed::Taken),
            Self::Opened(_) | Self::LastOwner => false,
            Self::Published(_) | Self::Stepped(_) | Self::Taken(_) | Self::Noted => true,
        }
    }
}

/// Which request an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AnswerKey {
    /// Whose request.
    pub token: TokenId,
    /// Its method's path.
    pub path: String,
    /// Its `Idempotency-Key`.
    pub key: String,
}

/// The answer to a request, as HTTP has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpAnswer {
    /// The status. None for an answer that was kept before statuses were: the call's usual one.
    pub status: Option<u16>,
    /// The body: JSON.
    pub body: Vec<u8>,
}

/// Writes an answer that follows from what was done.
pub type WriteAnswer<T> = dyn Fn(&T) -> HttpAnswer + Send + Sync;

/// An answer to keep for a day in the transaction of what it tells of.
pub struct CachedResponse {
    /// Which request it belongs to.
    pub key: AnswerKey,
    /// Hash of the request's body.
    pub body: [u8; 32],
    /// Writes the answer. It may be asked more than once.
    pub answer: Arc<WriteAnswer<Reply>>,
}

impl std::fmt::Debug for CachedResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keep").field("key", &self.key).finish_non_exhaustive()
    }
}

/// An answer that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Hash of its request's body.
    pub body: [u8; 32],
    /// The answer.
    pub answer: HttpAnswer,
}
