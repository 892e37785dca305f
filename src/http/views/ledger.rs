//! Reports, recharges, events and conflicts.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::conflict::{CaseState, Conflict};
use crate::domain::event::Event;
use crate::domain::id::EventId;
use crate::domain::recharge::{Recharge, Status};
use crate::domain::submission::Submission;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::fields::Problem;
use crate::ops::{Answer, FeedPart, NewEvent, StreamScope};
use crate::store::KeptReport;
use crate::wire::standard;

#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Results {
    /// In the order of the reports.
    pub results: Vec<ReportResult>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct ReportResult {
    reference_no: Option<String>,
    recharge_id: Option<String>,
    status: Option<Status>,
    /// `created`, `accepted`, `duplicate`, `conflict` or `invalid`.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Problem>,
}

impl ReportResult {
    pub fn of(answer: Answer) -> Self {
        match answer {
            Answer::Judged(reference_no, stream, judged) => Self {
                reference_no: Some(reference_no),
                recharge_id: Some(judged.recharge.to_string()),
                status: Some(judged.status),
                verdict: judged.verdict.as_str(),
                event_id: judged.event.map(|sequence| EventId { stream, sequence }.to_string()),
                errors: Vec::new(),
            },
            Answer::Invalid(reference_no, errors) => {
                Self { reference_no, recharge_id: None, status: None, verdict: "invalid", event_id: None, errors }
            }
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct PublishedView {
    /// The event's id.
    #[schema(value_type = String)]
    id: EventId,
    sequence: i64,
    /// Deliveries it made.
    deliveries: u64,
}

impl PublishedView {
    pub fn of(new: &NewEvent) -> Self {
        Self { id: new.id, sequence: new.id.sequence, deliveries: new.deliveries }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recharge)]
pub(in super::super) struct RechargeView {
    #[schema(value_type = String)]
    id: crate::domain::id::RechargeId,
    transaction_id: i64,
    #[schema(value_type = String)]
    vendor_id: crate::domain::id::VendorId,
    mode: Mode,
    reference_no: String,
    status: Status,
    /// Decimal text with exactly the currency's decimals.
    amount: Option<String>,
    currency: Option<&'static str>,
    operator: Option<String>,
    connection_no: Option<String>,
    provider: Option<String>,
    provider_ref: Option<String>,
    reason: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    settled_at: Option<Timestamp>,
    /// A success after `failed`.
    late: bool,
    /// In order of arrival; in the single read only.
    #[serde(skip_serializing_if = "Option::is_none")]
    reports: Option<Vec<ReportView>>,
}

/// Recharges that were looked up.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct FoundList {
    /// In the order asked for, ids first.
    pub data: Vec<FoundView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Found)]
pub(in super::super) struct FoundView {
    /// The id or reference that was asked for.
    sought: String,
    /// Null if there is no such recharge.
    recharge: Option<RechargeView>,
}

impl FoundView {
    pub fn of(mine: StreamScope, sought: String, recharge: Option<Recharge>) -> Self {
        Self { sought, recharge: recharge.map(|recharge| RechargeView::of(mine, &recharge, None)) }
    }
}

/// A recharge that somebody has to find out about.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stuck)]
pub(in super::super) struct StuckView {
    recharge: RechargeView,
    /// When it was handed to its provider, or may have been.
    #[schema(value_type = Option<String>, format = DateTime)]
    sent_at: Option<Timestamp>,
    /// How often the provider was asked since.
    enquiries: u32,
    #[schema(value_type = Option<String>, format = DateTime)]
    stuck_at: Option<Timestamp>,
}

impl StuckView {
    pub fn of((mine, submission): &(StreamScope, Submission)) -> Self {
        let Submission { recharge, sent_at, asked, stuck_at, .. } = submission;
        Self { recharge: RechargeView::of(*mine, recharge, None), sent_at: *sent_at, enquiries: *asked, stuck_at: *stuck_at }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Report)]
pub(in super::super) struct ReportView {
    source: String,
    status: Status,
    verdict: &'static str,
    provider_ref: Option<String>,
    reason: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
}

impl RechargeView {
    pub fn of(mine: StreamScope, recharge: &Recharge, reports: Option<Vec<KeptReport>>) -> Self {
        let details = &recharge.details;
        let report = |kept: KeptReport| ReportView {
            source: kept.source,
            status: kept.status,
            verdict: kept.verdict.as_str(),
            provider_ref: kept.provider_ref,
            reason: kept.reason,
            occurred_at: kept.occurred_at,
            received_at: kept.received_at,
        };
        Self {
            id: recharge.id,
            transaction_id: recharge.transaction_id,
            vendor_id: mine.vendor,
            mode: mine.mode,
            reference_no: recharge.reference_no.clone(),
            status: recharge.status,
            amount: details.amount_text(),
            currency: details.currency.map(|currency| currency.code()),
            operator: details.network.clone(),
            connection_no: details.connection_no.clone(),
            provider: details.provider.clone(),
            provider_ref: details.provider_ref.clone(),
            reason: details.reason.clone(),
            created_at: recharge.created_at,
            settled_at: recharge.settled_at,
            late: recharge.late,
            reports: reports.map(|reports| reports.into_iter().map(report).collect()),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(in super::super) struct EventView {
    #[schema(value_type = String)]
    id: EventId,
    sequence: i64,
    #[serde(rename = "type")]
    event_type: String,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    recharge_id: Option<String>,
    #[schema(value_type = Object)]
    data: Box<serde_json::value::RawValue>,
}

impl EventView {
    pub fn of(event: &Event) -> Self {
        Self {
            id: event.id,
            sequence: event.id.sequence,
            event_type: event.event_type.to_string(),
            timestamp: event.created_at,
            recharge_id: event.recharge().map(|id| id.to_string()),
            data: serde_json::value::to_raw_value(&standard::Data(event)).expect("strings and numbers always serialize"),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Feed)]
pub(in super::super) struct FeedView {
    /// In order, without gaps.
    data: Vec<EventView>,
    /// `after` of the next request.
    next_after: i64,
    oldest_sequence: i64,
    latest_sequence: i64,
}

impl FeedView {
    pub fn of(part: &FeedPart) -> Self {
        Self {
            data: part.feed.events.iter().map(EventView::of).collect(),
            next_after: part.next_after,
            oldest_sequence: part.feed.oldest,
            latest_sequence: part.feed.latest,
        }
    }
}

/// A report that contradicted a settled recharge.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conflict)]
pub(in super::super) struct ConflictView {
    #[schema(value_type = String)]
    id: crate::domain::id::ConflictId,
    #[schema(value_type = String)]
    recharge_id: crate::domain::id::RechargeId,
    /// Where the recharge stands now; null if it is no longer kept.
    status: Option<Status>,
    /// The status that the report claimed.
    claimed: Status,
    /// What was contradicted: `status`, `amount`, `currency` or `connection_no`.
    field: String,
    /// What the recharge said; null once it was erased.
    ours: Option<String>,
    /// What the report said; null once it was erased.
    theirs: Option<String>,
    source: String,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    state: CaseState,
    reason: Option<String>,
    resolved_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
}

impl ConflictView {
    pub fn of(conflict: &Conflict) -> Self {
        Self {
            id: conflict.id,
            recharge_id: conflict.recharge,
            status: conflict.status,
            claimed: conflict.claimed,
            field: conflict.field.clone(),
            ours: Some(conflict.ours.clone()).filter(|ours| !ours.is_empty()),
            theirs: Some(conflict.theirs.clone()).filter(|theirs| !theirs.is_empty()),
            source: conflict.source.clone(),
            received_at: conflict.received_at,
            state: conflict.state,
            reason: conflict.reason.clone(),
            resolved_by: conflict.resolved_by.clone(),
            resolved_at: conflict.resolved_at,
        }
    }
}
