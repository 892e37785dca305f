//! Health, metrics, and the document itself. They need no token.

use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::super::Api;

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
pub(in super::super) async fn readyz(State(api): State<Api>) -> (StatusCode, &'static str) {
    match api.ops.ready().await {
        Ok(true) => (StatusCode::OK, "ready\n"),
        Ok(false) => (StatusCode::SERVICE_UNAVAILABLE, "this node's lease has run out; it sends nothing until it has renewed it\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
    }
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "server", security(()), responses((status = 200, description = "Prometheus text", content_type = "text/plain")))]
pub(in super::super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], api.meters.render())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "server", security(()), responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(in super::super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], super::super::openapi())
}
