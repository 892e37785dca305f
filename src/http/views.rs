//! The objects of the contract (section 3b), as they go out.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::attempt::{Attempt, Outcome, OutcomeKind};
use crate::domain::delivery::{DeliveryState, EndReason};
use crate::domain::endpoint::{CipherText, Endpoint, EndpointStatus, Ordering, Profile};
use crate::domain::event::Event;
use crate::domain::id::EventId;
use crate::domain::recharge::{Recharge, Status};
use crate::domain::time::Timestamp;
use crate::domain::token::{Scope, Token};
use crate::domain::vendor::{Mode, Vendor};
use crate::fields::Problem;
use crate::ops::{Answer, Mine, NewEndpoint, NewToken, NewVendor, Seen, Shown};
use crate::store::{Feed, KeptReport};
use crate::wire::standard;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    data: Vec<T>,
    /// `cursor` of the next page; null at the end.
    next_cursor: Option<String>,
}

impl<T> List<T> {
    pub fn new(data: Vec<T>, next: Option<impl ToString>) -> Self {
        Self { data, next_cursor: next.map(|next| next.to_string()) }
    }

    /// A list whose next page begins where this one ends, if it is full.
    pub fn of<I, K: ToString>(items: &[I], limit: usize, id: impl Fn(&I) -> K, view: impl Fn(&I) -> T) -> Self {
        let next = items.last().filter(|_| items.len() == limit).map(id);
        Self::new(items.iter().map(view).collect(), next)
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Vendor)]
pub(super) struct VendorView {
    #[schema(value_type = String)]
    id: crate::domain::id::VendorId,
    name: String,
    email: String,
    disabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl VendorView {
    pub fn of(vendor: &Vendor) -> Self {
        Self {
            id: vendor.id,
            name: vendor.name.clone(),
            email: vendor.email.clone(),
            disabled: vendor.disabled,
            created_at: vendor.created_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewVendor)]
pub(super) struct NewVendorView {
    #[serde(flatten)]
    vendor: VendorView,
    /// Shown this once.
    live_token: String,
    /// Shown this once.
    test_token: String,
}

impl NewVendorView {
    pub fn of(new: &NewVendor) -> Self {
        let [live, test] = &new.tokens;
        Self { vendor: VendorView::of(&new.vendor), live_token: live.text.expose().to_owned(), test_token: test.text.expose().to_owned() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenView {
    #[schema(value_type = String)]
    id: crate::domain::id::TokenId,
    mode: Option<Mode>,
    name: String,
    /// Addresses it is good from; any if empty.
    allowed_ips: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl TokenView {
    pub fn of(token: &Token) -> Self {
        let mode = match token.scope {
            Scope::Operator => None,
            Scope::Vendor { mode, .. } => Some(mode),
        };
        let allowed_ips = token.allowed_ips.iter().map(ToString::to_string).collect();
        Self { id: token.id, mode, name: token.name.clone(), allowed_ips, created_at: token.created_at }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewToken)]
pub(super) struct NewTokenView {
    #[serde(flatten)]
    listed: TokenView,
    /// Shown this once.
    token: String,
}

impl NewTokenView {
    pub fn of(new: &NewToken) -> Self {
        Self { listed: TokenView::of(&new.token), token: new.text.expose().to_owned() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Results {
    /// In the order of the reports.
    pub results: Vec<ReportResult>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportResult {
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
pub(super) struct PublishedView {
    /// The event's id.
    pub id: String,
    pub sequence: i64,
    /// Deliveries it made.
    pub deliveries: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recharge)]
pub(super) struct RechargeView {
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

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Report)]
pub(super) struct ReportView {
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
    pub fn of(mine: Mine, recharge: &Recharge, reports: Option<Vec<KeptReport>>) -> Self {
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
pub(super) struct EventView {
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
pub(super) struct FeedView {
    /// In order, without gaps.
    data: Vec<EventView>,
    /// `after` of the next request.
    next_after: i64,
    oldest_sequence: i64,
    latest_sequence: i64,
}

impl FeedView {
    pub fn of(feed: &Feed, after: Option<i64>) -> Self {
        let next_after = feed.events.last().map_or(after.unwrap_or(feed.oldest - 1), |last| last.id.sequence);
        Self {
            data: feed.events.iter().map(EventView::of).collect(),
            next_after,
            oldest_sequence: feed.oldest,
            latest_sequence: feed.latest,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub(super) struct EndpointView {
    #[schema(value_type = String)]
    id: crate::domain::id::EndpointId,
    mode: Mode,
    url: String,
    description: Option<String>,
    profile: Profile,
    /// `globaltopup` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    cipher_text: Option<CipherText>,
    event_types: Vec<String>,
    status: EndpointStatus,
    status_reason: Option<String>,
    alert_email: Option<String>,
    /// Names with their values masked.
    headers: Map<String, Value>,
    rate_limit_per_second: Option<u32>,
    max_in_flight: Option<u32>,
    ordering: Ordering,
    strict_hold: Option<String>,
    /// The secret's last four characters.
    secret_hint: String,
    /// Where the endpoint has an ed25519 key pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    connected_at: Option<Timestamp>,
}

impl EndpointView {
    pub fn of(endpoint: &Endpoint) -> Self {
        let settings = &endpoint.settings;
        Self {
            id: endpoint.id,
            mode: endpoint.mode,
            url: settings.url.to_string(),
            description: settings.description.clone(),
            profile: settings.profile,
            cipher_text: (settings.profile == Profile::GlobalTopup).then_some(settings.cipher_text),
            event_types: settings.event_types.patterns().to_vec(),
            status: endpoint.status,
            status_reason: endpoint.status_reason.clone(),
            alert_email: settings.alert_email.clone(),
            headers: settings.headers.iter().map(|(name, _)| (name.clone(), Value::from("•••"))).collect(),
            rate_limit_per_second: settings.rate_limit_per_second,
            max_in_flight: settings.max_in_flight,
            ordering: settings.ordering,
            strict_hold: settings.strict_hold.map(|hold| humantime::format_duration(hold).to_string()),
            secret_hint: crate::ops::secret_hint(settings),
            public_key: settings.signing_key.as_ref().and_then(standard::public_key_text),
            created_at: endpoint.created_at,
            connected_at: endpoint.connected_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewEndpoint)]
pub(super) struct NewEndpointView {
    #[serde(flatten)]
    endpoint: EndpointView,
    /// Shown this once.
    secret: String,
}

impl NewEndpointView {
    pub fn of(new: &NewEndpoint) -> Self {
        Self { endpoint: EndpointView::of(&new.endpoint), secret: new.secret.clone() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectedView {
    pub status: EndpointStatus,
    /// Events that it did not get.
    pub missed: u64,
}

/// What was seen of an endpoint that did not connect.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Seen)]
pub(super) struct SeenView {
    address: Option<String>,
    outcome: OutcomeKind,
    status: Option<u16>,
    content_type: Option<String>,
    error: Option<String>,
    duration_ms: u32,
    phases: PhasesView,
    answer_headers: Option<Map<String, Value>>,
    answer_body: Option<String>,
}

impl SeenView {
    pub fn of(seen: &Seen) -> Self {
        let outcome = &seen.outcome;
        Self {
            address: seen.address.map(|address| address.to_string()),
            outcome: outcome.kind,
            status: outcome.status,
            content_type: seen.content_type.clone(),
            error: outcome.error.clone(),
            duration_ms: outcome.phases.total / 1000,
            phases: PhasesView::of(outcome),
            answer_headers: answer_headers(outcome),
            answer_body: answer_body(outcome),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryView {
    #[schema(value_type = String)]
    id: crate::domain::id::DeliveryId,
    #[schema(value_type = String)]
    event_id: EventId,
    #[schema(value_type = String)]
    endpoint_id: crate::domain::id::EndpointId,
    recharge_id: Option<String>,
    #[serde(rename = "type")]
    event_type: String,
    sequence: i64,
    state: DeliveryState,
    /// Why it ended without a last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_reason: Option<EndReason>,
    run: u32,
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    deadline: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    first_succeeded_at: Option<Timestamp>,
    attempts: Vec<AttemptView>,
}

impl DeliveryView {
    pub fn of(shown: Shown) -> Self {
        let Shown { delivery, request_headers } = shown;
        let attempts = delivery.attempts.iter().zip(request_headers).map(|(attempt, headers)| AttemptView::of(attempt, headers)).collect();
        Self {
            id: delivery.id,
            event_id: delivery.event.id,
            endpoint_id: delivery.id.endpoint,
            recharge_id: delivery.event.recharge().map(|id| id.to_string()),
            event_type: delivery.event.event_type.to_string(),
            sequence: delivery.id.sequence,
            state: delivery.state,
            end_reason: delivery.end_reason,
            run: delivery.run,
            next_attempt_at: delivery.next_attempt_at,
            deadline: delivery.deadline,
            first_succeeded_at: delivery.first_succeeded_at,
            attempts,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(super) struct AttemptView {
    number: u32,
    run: u32,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    duration_ms: u32,
    outcome: OutcomeKind,
    status: Option<u16>,
    error: Option<String>,
    phases: PhasesView,
    /// Signature values and custom values are masked.
    request_headers: Map<String, Value>,
    answer_headers: Option<Map<String, Value>>,
    /// The first 4 KiB.
    answer_body: Option<String>,
}

impl AttemptView {
    pub fn of(attempt: &Attempt, request_headers: Vec<(String, String)>) -> Self {
        let outcome = &attempt.outcome;
        Self {
            number: attempt.number,
            run: attempt.run,
            started_at: attempt.started_at,
            duration_ms: outcome.phases.total / 1000,
            outcome: outcome.kind,
            status: outcome.status,
            error: outcome.error.clone(),
            phases: PhasesView::of(outcome),
            request_headers: request_headers.into_iter().map(|(name, value)| (name, Value::from(value))).collect(),
            answer_headers: answer_headers(outcome),
            answer_body: answer_body(outcome),
        }
    }
}

/// Where the time went, in milliseconds. Null: the phase did not take place (a kept-alive connection needs none).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Phases)]
pub(super) struct PhasesView {
    resolve_ms: Option<f64>,
    connect_ms: Option<f64>,
    tls_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    total_ms: f64,
}

impl PhasesView {
    fn of(outcome: &Outcome) -> Self {
        let millis = |micros: u32| f64::from(micros) / 1000.0;
        let phases = outcome.phases;
        Self {
            resolve_ms: phases.resolve.map(millis),
            connect_ms: phases.connect.map(millis),
            tls_ms: phases.tls.map(millis),
            first_byte_ms: phases.first_byte.map(millis),
            total_ms: millis(phases.total),
        }
    }
}

fn answer_headers(outcome: &Outcome) -> Option<Map<String, Value>> {
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in outcome.answer_headers.as_ref()?.lines().filter_map(|line| line.split_once(": ")) {
        // A header that is there twice reads as one list (RFC 9110 section 5.3).
        let joined = match headers.get(name).and_then(Value::as_str) {
            Some(known) => format!("{known}, {value}"),
            None => value.to_owned(),
        };
        headers.insert(name.to_owned(), Value::from(joined));
    }
    Some(headers)
}

fn answer_body(outcome: &Outcome) -> Option<String> {
    outcome.answer_body.as_deref().map(|body| String::from_utf8_lossy(body).into_owned())
}
