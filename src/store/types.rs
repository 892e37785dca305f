//! What goes into a store and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

pub use super::change::*;
pub use super::query::*;
pub use super::stats::*;
use crate::domain::alert::Alert;
use crate::domain::attempt::Attempt;
pub use crate::domain::delivery::OpenRun;
use crate::domain::delivery::{DeliveryState, EndReason, RunKey};
use crate::domain::endpoint::{EndpointStatus, Settings};
use crate::domain::event::Event;
use crate::domain::id::{DeliveryId, EndpointId, RechargeId, ReplayId, StreamId};
use crate::domain::recharge::{Recharge, Report, Status, Verdict};
use crate::domain::submission::Order;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;

/// One typed write; the group commit puts many into a transaction.
#[derive(Debug)]
pub enum Write {
    /// Reports to judge.
    Accept(Accept),
    /// An event of the platform's own.
    Publish(Publish),
    /// What an attempt came to, or a run's end without one.
    RecordOutcome(RecordOutcome),
    /// What somebody asked for.
    Change(Box<Change>),
}

impl Write {
    /// How much of a transaction it takes, in rows of the caller's making.
    pub fn rows(&self) -> usize {
        match self {
            Self::Accept(accept) => accept.reports.len(),
            Self::Publish(_) | Self::RecordOutcome(_) | Self::Change(_) => 1,
        }
    }

    /// When it was asked for, or came to pass.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Accept(accept) => accept.now,
            Self::Publish(publish) => publish.now,
            Self::RecordOutcome(settle) => settle.now,
            Self::Change(change) => change.now,
        }
    }
}

/// Reports to judge, in order.
#[derive(Debug)]
pub struct Accept {
    /// Who reports, as the history shows it.
    pub source: &'static str,
    /// When they were received.
    pub now: Timestamp,
    /// How long the runs made by them may take.
    pub deadline: Duration,
    /// Each with where it belongs.
    pub reports: Vec<Addressed>,
}

/// A recharge that a vendor asked for.
#[derive(Debug, Clone)]
pub struct Place {
    /// The vendor and mode.
    pub stream: StreamId,
    /// The same mode.
    pub mode: Mode,
    /// Its first report: `queued`, with what is known.
    pub report: Report,
    /// What was asked for.
    pub order: Order,
    /// The provider that it is handed to.
    pub provider: String,
}

/// What came of it.
#[derive(Debug)]
pub enum Placed {
    /// It was made.
    New(Box<Recharge>),
    /// The same was asked for before; this is where it stands.
    Before(Box<Recharge>),
    /// Its reference belongs to something else.
    Taken,
}

/// Whose recharges are walked over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RechargeOwner {
    /// A vendor's, in a mode.
    Stream(StreamId),
    /// All that were handed to this provider, or may have been.
    Provider(String),
}

/// How a recharge is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RechargeKey {
    /// By its id.
    Id(RechargeId),
    /// By the vendor's reference.
    Reference(String),
    /// By its `transaction_id`.
    Number(i64),
}

/// Something that a provider called back, as it is kept.
#[derive(Debug, Clone)]
pub struct Callback {
    /// The provider.
    pub provider: String,
    /// The recharge that it is about, if there is one.
    pub recharge: Option<RechargeId>,
    /// What was made of it.
    pub verdict: &'static str,
    /// What came, without connection numbers.
    pub body: String,
}

/// A report with the stream of its vendor and mode.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// The vendor and mode.
    pub stream: StreamId,
    /// The same mode.
    pub mode: Mode,
    /// The report.
    pub report: Report,
}

/// An event of the platform's own types.
#[derive(Debug)]
pub struct Publish {
    /// The vendor and mode.
    pub stream: StreamId,
    /// The same mode.
    pub mode: Mode,
    /// Its type.
    pub event_type: Arc<str>,
    /// Its data, a JSON object, as given.
    pub data: Box<RawValue>,
    /// A second post with the same key answers with the first one.
    pub dedupe_key: Option<String>,
    /// When it was received.
    pub now: Timestamp,
    /// How long the runs made by it may take.
    pub deadline: Duration,
}

/// What became of a run.
#[derive(Debug, Clone)]
pub struct RecordOutcome {
    /// Which run.
    pub key: RunKey,
    /// The attempt, if one was made.
    pub attempt: Option<Attempt>,
    /// Attempts of the run so far.
    pub attempts: u32,
    /// The run's deadline.
    pub deadline: Timestamp,
    /// When this was decided.
    pub now: Timestamp,
    /// What follows.
    pub after: NextStep,
    /// The replay that opened the run.
    pub replay: Option<ReplayId>,
    /// From the event to its success, where a first run came to that.
    pub latency: Option<Duration>,
    /// The epoch of the endpoint's shard in which this was decided. Only a success is a fact in any other one too.
    pub epoch: i64,
}

impl RecordOutcome {
    /// Whether this is a fact, and not a decision that only the shard's owner can take.
    pub fn is_fact(&self) -> bool {
        matches!(self.after, NextStep::Ended(DeliveryState::Succeeded, _))
    }
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// The run is over.
    Ended(DeliveryState, Option<EndReason>),
    /// One more attempt.
    Retry {
        /// When.
        at: Timestamp,
        /// When the run's first attempt failed.
        failed_since: Timestamp,
    },
}

/// What a store made of a [`Write`].
#[derive(Debug)]
pub enum Written {
    /// Each report's answer in order, and the runs that its event opened.
    Accepted(Vec<Judged>, Vec<OpenRun>),
    /// The event, and the runs it opened.
    Published(Published, Vec<OpenRun>),
    /// Whether the run was still open.
    Settled(Settled),
    /// What came of a change, and the runs it opened.
    Reply(Reply, Vec<OpenRun>),
}

/// The answer to one report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The recharge it is about.
    pub recharge: RechargeId,
    /// Where that stands now.
    pub status: Status,
    /// The verdict.
    pub verdict: Verdict,
    /// Sequence number of the recharge's event: the one made by this report, or (for a duplicate) the one there is.
    pub event: Option<i64>,
}

/// The answer to a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The event's number.
    pub sequence: i64,
    /// Deliveries it made.
    pub deliveries: u64,
}

/// Whether a settled run was still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was.
    Recorded,
    /// It had ended before, or its endpoint's shard has another owner by now. The attempt is appended all the same, and a
    /// success turns a cancelled run into a succeeded one: a success is a fact whoever reports it.
    Late,
}

/// A part of a filtered list.
#[derive(Debug)]
pub struct Listed<T, K> {
    /// The items.
    pub items: Vec<T>,
    /// Where to go on; `None` at the end of the list.
    pub next: Option<K>,
}

/// A vendor's fields to change.
#[derive(Debug, Clone, Default)]
pub struct VendorChange {
    /// A new name.
    pub name: Option<String>,
    /// A new address.
    pub email: Option<String>,
    /// Stop or start it.
    pub disabled: Option<bool>,
}

/// A report as the history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReport {
    /// Who reported.
    pub source: String,
    /// The status claimed.
    pub status: Status,
    /// The verdict.
    pub verdict: Verdict,
    /// What it said about the provider's reference.
    pub provider_ref: Option<String>,
    /// What it said about the reason.
    pub reason: Option<String>,
    /// When it happened, as it said.
    pub occurred_at: Option<Timestamp>,
    /// When it came.
    pub received_at: Timestamp,
}

/// A part of a stream's events.
#[derive(Debug)]
pub struct Feed {
    /// In order, without gaps.
    pub events: Vec<Event>,
    /// The oldest number kept; the next one to be given if none is.
    pub oldest: i64,
    /// The latest number given; 0 before the first.
    pub latest: i64,
    /// There may be more behind these: as many as were asked for, or [`FEED_BYTES`](crate::limits::FEED_BYTES).
    pub more: bool,
}

/// Whether something was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It was.
    Yes,
    /// There are as many as there may be.
    LimitReached,
    /// Another one has this name.
    Taken,
}

/// A change of an endpoint.
#[derive(Debug, Clone)]
pub enum EndpointChange {
    /// Other settings. Another URL or profile of an endpoint that listens has passed its handshake.
    Settings {
        /// The settings that this was decided on. If they have changed since, nothing is done: whoever changed them, and
        /// may have been shown a secret for it, is not undone.
        from: Box<Settings>,
        /// The new ones.
        to: Box<Settings>,
    },
    /// From one of these states to another one, with the reason people are shown.
    Status {
        /// The states it starts from.
        from: &'static [EndpointStatus],
        /// The new state.
        to: EndpointStatus,
        /// Why.
        reason: Option<String>,
        /// A rule did it, not a person. What a person disabled is enabled by no rule.
        by_rule: bool,
        /// Only if it is still failing since this time, where that is the reason.
        failing_since: Option<Timestamp>,
    },
    /// Lets a connected endpoint's deliveries wait, and its deadlines move, until then at the latest.
    Pause {
        /// The end.
        until: Timestamp,
    },
    /// Ends a pause.
    Resume,
    /// Gone: what is pending is cancelled by the engine, step by step.
    Delete,
}

/// A delivery as people see it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Its event.
    pub event: Arc<Event>,
    /// State of the last run.
    pub state: DeliveryState,
    /// Number of the last run.
    pub run: u32,
    /// Why that ended without a last attempt.
    pub end_reason: Option<EndReason>,
    /// When the next attempt is due, while it is pending; at once if not said.
    pub next_attempt_at: Option<Timestamp>,
    /// The last run's deadline.
    pub deadline: Timestamp,
    /// When the endpoint first took it, in whichever run.
    pub first_succeeded_at: Option<Timestamp>,
    /// Attempts of all runs in order, the latest ones if there are many.
    pub attempts: Vec<Attempt>,
}

/// An endpoint with open runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The deadline of its first open run.
    pub first_deadline: Timestamp,
}

/// An open run whose deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Which run.
    pub key: RunKey,
    /// Attempts made.
    pub attempts: u32,
    /// Its deadline.
    pub deadline: Timestamp,
    /// When it was due.
    pub next_attempt_at: Option<Timestamp>,
    /// The replay that opened it.
    pub replay: Option<ReplayId>,
}

/// An endpoint whose attempts fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// When the first attempt after its last success failed.
    pub since: Timestamp,
    /// A run of it has been exhausted since.
    pub exhausted: bool,
    /// Its vendor has been warned.
    pub warned: bool,
}

/// Open runs, as far as they were asked for.
#[derive(Debug, Default)]
pub struct OpenPage {
    /// In the order that was asked for.
    pub runs: Vec<OpenRun>,
    /// There may be more of them.
    pub more: bool,
}

/// What an endpoint has open, as it stood at one moment.
#[derive(Debug, Default)]
pub struct OpenRuns {
    /// An answer to each question.
    pub pages: Vec<OpenPage>,
    /// When the next run that waits for a time is due.
    pub next_due: Option<Timestamp>,
}

/// How much an endpoint has open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenSize {
    /// Runs.
    pub open: u64,
    /// When the event of the first of them was made.
    pub oldest: Option<Timestamp>,
}

/// What waits for an address to be mailed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailing {
    /// The address.
    pub address: String,
    /// The earliest alerts, up to a bound.
    pub alerts: Vec<Alert>,
    /// How many wait in all.
    pub waiting: u64,
    /// The last of those that wait, whether it is spelled out or only counted; what a mail is known by.
    pub up_to: i64,
    /// Tries that failed since the last mail.
    pub tries: u32,
    /// It is a mail by itself, and nothing of what waits is gathered in it.
    pub is_letter: bool,
}

/// Before when things are old.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    /// Events with their deliveries and attempts, reports, resolved conflicts, ended replays, unsent alerts.
    pub retention: Timestamp,
    /// Settled recharges, if they are ever removed.
    pub recharges: Option<Timestamp>,
    /// Audit entries.
    pub audit: Timestamp,
    /// Kept answers.
    pub answers: Timestamp,
    /// Minutes of traffic.
    pub traffic: Timestamp,
}

/// One bounded step of removing what is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Rows removed.
    pub removed: u64,
    /// Where the next step goes on; none when all has been looked at.
    pub next: Option<SweepPlace>,
}

/// Where the removal of what is old stands: the table, and the key in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepPlace {
    /// Which of the store's own stages.
    pub stage: u32,
    /// The key it goes on after.
    pub after: i64,
    /// Where it stands in what belongs to the next key.
    pub within: i64,
}
