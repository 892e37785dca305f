//! Health, metrics, and the OpenAPI document.

use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::super::Api;
use super::super::auth::Operator;
use super::super::error::ProblemBody;
use crate::ops::OpsError;
use crate::store::StoreError;

/// Whether the process is up.
#[utoipa::path(get, path = "/healthz", tag = "server", security(()), responses((status = 200, description = "It is up", content_type = "text/plain")))]
pub(in super::super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the store answers, and the node's lease stands, where many nodes share the database.
#[utoipa::path(get, path = "/readyz", tag = "server", security(()), responses(
    (status = 200, description = "It can work", content_type = "text/plain"),
    (status = 503, description = "It cannot", content_type = "text/plain"),
))]
pub(in super::super) async fn readyz(State(api): State<Api>) -> (StatusCode, String) {
    match api.ops.ready().await {
        Ok(true) => (StatusCode::OK, "ready\n".into()),
        Ok(false) => (StatusCode::SERVICE_UNAVAILABLE, "this node's lease has run out; it sends nothing until it has renewed it\n".into()),
        Err(OpsError::Store(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", why(&error))),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n".into()),
    }
}

/// What a load balancer's operator may know: no addresses, names or paths.
fn why(error: &StoreError) -> &'static str {
    match error {
        StoreError::NotReady(why) => why,
        StoreError::Full(_) => "the store's disk is full",
        StoreError::Busy(_) => "the store is locked by another session",
        StoreError::Damaged(_) | StoreError::Unusable(_) => "the database is damaged",
        _ => "the store does not answer",
    }
}

/// Prometheus text. On an address of its own (`metrics_listen`) it needs no token.
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, description = "Prometheus text", content_type = "text/plain"),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn metrics(state: State<Api>, _: Operator) -> impl IntoResponse {
    metrics_of_their_own(state).await
}

/// The same without a token, for an address that only scrapers reach.
pub(in super::super) async fn metrics_of_their_own(State(api): State<Api>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], api.meters.render())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "server", security(()), responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(in super::super) async fn openapi(State(api): State<Api>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], super::super::openapi(api.ops.rules().public_url.as_deref()))
}
