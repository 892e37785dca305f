//! Deliveries and their attempts.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::attempt::{Attempt, Outcome, OutcomeKind};
use crate::domain::delivery::{DeliveryState, EndReason};
use crate::domain::id::EventId;
use crate::domain::time::Timestamp;
use crate::ops::Shown;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(in super::super) struct DeliveryView {
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
    pub fn of(shown: &Shown) -> Self {
        let Shown { delivery, request_headers } = shown;
        let attempts =
            delivery.attempts.iter().zip(request_headers).map(|(attempt, headers)| AttemptView::of(attempt, headers.clone())).collect();
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
pub(in super::super) struct AttemptView {
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
    pub fn of(outcome: &Outcome) -> Self {
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

pub(super) fn answer_headers(outcome: &Outcome) -> Option<Map<String, Value>> {
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

pub(super) fn answer_body(outcome: &Outcome) -> Option<String> {
    outcome.answer_body.as_deref().map(|body| String::from_utf8_lossy(body).into_owned())
}
