//! Endpoints, their handshakes and secrets, and replays to them.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::deliveries::{PhasesView, answer_body, answer_headers};
use crate::domain::attempt::OutcomeKind;
use crate::domain::endpoint::{CipherText, EndpointStatus, Ordering, Profile};
use crate::domain::replay::{Only, Replay, ReplayState};
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::ops::{NewEndpoint, NewSecret, Seen, ShownEndpoint};
use crate::wire::standard;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub(in super::super) struct EndpointView {
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
    /// When its first attempt after the last success failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// When it will be disabled, if it goes on failing and something was exhausted by then.
    #[schema(value_type = Option<String>, format = DateTime)]
    disables_at: Option<Timestamp>,
    /// When its pause ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_until: Option<Timestamp>,
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
    /// Until when a former secret goes on signing.
    #[schema(value_type = Option<String>, format = DateTime)]
    overlap_until: Option<Timestamp>,
    backlog: BacklogView,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    connected_at: Option<Timestamp>,
}

impl EndpointView {
    pub fn of(shown: &ShownEndpoint) -> Self {
        let endpoint = &shown.endpoint;
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
            failing_since: endpoint.failing_since,
            disables_at: shown.disables_at,
            paused_until: endpoint.paused_until,
            alert_email: settings.alert_email.clone(),
            headers: settings.headers.iter().map(|(name, _)| (name.clone(), Value::from("•••"))).collect(),
            rate_limit_per_second: settings.rate_limit_per_second,
            max_in_flight: settings.max_in_flight,
            ordering: settings.ordering,
            strict_hold: settings.strict_hold.map(|hold| humantime::format_duration(hold).to_string()),
            secret_hint: crate::ops::secret_hint(settings),
            public_key: settings.signing_key.as_ref().and_then(standard::public_key_text),
            overlap_until: shown.overlap_until,
            backlog: BacklogView {
                open: shown.size.open,
                oldest_seconds: shown.oldest.map(|age| age.as_secs()),
                drain_seconds: shown.drain.map(|time| time.as_secs()),
            },
            created_at: endpoint.created_at,
            connected_at: endpoint.connected_at,
        }
    }
}

/// What an endpoint has open.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backlog)]
struct BacklogView {
    /// Deliveries that have not ended.
    open: u64,
    /// Age of the oldest one's event; null if there is none.
    oldest_seconds: Option<u64>,
    /// How long they take at the present pace, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_seconds: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewEndpoint)]
pub(in super::super) struct NewEndpointView {
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
pub(in super::super) struct ConnectedView {
    pub status: EndpointStatus,
    /// Events that it did not get.
    pub missed: u64,
}

/// What was seen of an endpoint that did not connect.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Seen)]
pub(in super::super) struct SeenView {
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
#[schema(as = NewSecret)]
pub(in super::super) struct NewSecretView {
    /// Shown this once.
    secret: String,
    /// Until when the one before it goes on signing; null if it does not.
    #[schema(value_type = Option<String>, format = DateTime)]
    overlap_until: Option<Timestamp>,
}

impl NewSecretView {
    pub fn of(new: &NewSecret) -> Self {
        Self { secret: new.secret.clone(), overlap_until: new.overlap_until }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CancelledPending)]
pub(in super::super) struct CancelledView {
    /// Deliveries that were cancelled.
    pub cancelled: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Matched)]
pub(in super::super) struct MatchedView {
    /// Events that a replay would be about.
    pub matched: u64,
}

/// A range of events that is sent again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub(in super::super) struct ReplayView {
    #[schema(value_type = String)]
    id: crate::domain::id::ReplayId,
    #[schema(value_type = String)]
    endpoint_id: crate::domain::id::EndpointId,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    only: Only,
    event_types: Option<Vec<String>>,
    /// Events that it is about.
    matched: u64,
    /// Of those, deliveries that have ended, however they did.
    done: u64,
    state: ReplayState,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl ReplayView {
    pub fn of(replay: &Replay) -> Self {
        Self {
            id: replay.id,
            endpoint_id: replay.endpoint,
            since: replay.since,
            until: replay.until,
            only: replay.only,
            event_types: replay.event_types.as_ref().map(|types| types.patterns().to_vec()),
            matched: replay.matched,
            done: replay.done,
            state: replay.state,
            created_at: replay.created_at,
        }
    }
}
