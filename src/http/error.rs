//! The single response error: `application/problem+json` (RFC 9457) with a stable `code`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::views;
use crate::fields::Problem;
use crate::ops::OpsError;
use crate::store::StoreError;

/// A problem, as it goes out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// A URI for the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do.
    detail: String,
    /// A stable word for programs.
    code: &'static str,
    /// For invalid input: all problems at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Problem>,
    /// `connect_failed`: what was seen; `events_expired`: the ends of the feed.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    more: Map<String, Value>,
}

/// A request that was not done.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<Problem>,
    more: Value,
    /// Seconds.
    retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), more: Value::Null, retry_after: None }
    }

    /// Its status, and what it says in one sentence.
    pub fn told(self) -> (StatusCode, String) {
        (self.status, self.detail)
    }

    fn invalid(problems: Vec<Problem>) -> Self {
        let code = if let [one] = problems.as_slice() { one.code } else { "invalid" };
        let told = |problem: &Problem| format!("{} {}", problem.field, problem.message).trim().to_owned();
        let detail = match problems.as_slice() {
            [one] => told(one),
            many => format!("{} problems: {}", many.len(), many.iter().map(told).collect::<Vec<_>>().join("; ")),
        };
        let status = if code == "too_large" { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::UNPROCESSABLE_ENTITY };
        Self { errors: problems, ..Self::new(status, code, detail) }
    }
}

impl From<OpsError> for ApiError {
    fn from(error: OpsError) -> Self {
        let detail = error.to_string();
        match error {
            OpsError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            OpsError::Forbidden => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            OpsError::Unauthorized => {
                let detail = "a valid token is needed, in Authorization: Bearer … or x-auth-token, from an address it is good for";
                Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            }
            OpsError::Invalid(problems) => Self::invalid(problems),
            OpsError::EventsExpired { oldest, latest } => {
                let more = json!({"oldest_sequence": oldest, "latest_sequence": latest});
                Self { more, ..Self::new(StatusCode::GONE, "events_expired", detail) }
            }
            OpsError::IllegalState(_) => Self::new(StatusCode::CONFLICT, "illegal_state", detail),
            OpsError::IdempotencyConflict => Self::new(StatusCode::CONFLICT, "idempotency_conflict", detail),
            OpsError::ReferenceConflict => Self::new(StatusCode::CONFLICT, "reference_conflict", detail),
            OpsError::InProgress => Self::new(StatusCode::CONFLICT, "in_progress", detail),
            OpsError::RateLimited(wait) => {
                let retry_after = Some(wait.as_secs() + 1);
                Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail) }
            }
            OpsError::TooManyFollowers => Self { retry_after: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail) },
            OpsError::Busy(_) => Self { retry_after: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail) },
            OpsError::WrongCredentials(_) => Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail),
            OpsError::TooManyTries(wait) => {
                let retry_after = Some(wait.as_secs() + 1);
                Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail) }
            }
            OpsError::LinkGone => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            OpsError::EndpointLimit(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "endpoint_limit", detail),
            OpsError::TokenLimit(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "token_limit", detail),
            OpsError::OtherMode(_) | OpsError::WiderToken => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            OpsError::ConnectFailed(seen) => {
                let more = json!({"seen": views::SeenView::of(&seen)});
                Self { more, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "connect_failed", detail) }
            }
            OpsError::Fault(_) => {
                tracing::warn!(error = %detail, "a handshake or test could not be sent");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            }
            OpsError::Store(StoreError::Full(_)) => {
                tracing::debug!(error = %detail, "refused a request: the disk is full");
                let detail = "the server's disk is full, or takes no more for another reason; nothing was taken. Try again later";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail)
            }
            OpsError::Store(error) => {
                // The beginning and the end of an outage are logged by the store.
                if error.is_outage() || matches!(error, StoreError::Busy(_)) {
                    tracing::debug!(error = %detail, "refused a request: the store is unavailable");
                } else {
                    tracing::error!(error = %detail, "failed to answer a request: the store failed");
                }
                let detail = "the store could not answer; the same request can be sent again";
                Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail) }
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, code, detail, errors, more, retry_after } = self;
        let more = if let Value::Object(more) = more { more } else { Map::new() };
        let title = status.canonical_reason().unwrap_or("Error");
        let body = ProblemBody { kind: format!("urn:ringback:problem:{code}"), title, status: status.as_u16(), detail, code, errors, more };
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A handler panicked; the panic has been logged.
pub(super) fn internal() -> ApiError {
    let detail = "the server failed to answer this request; its log has the cause. The same request can be sent again";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}

pub(super) async fn no_such_path() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such path; see /openapi.json")
}

pub(super) async fn no_such_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method; see /openapi.json")
}
