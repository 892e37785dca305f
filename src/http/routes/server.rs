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

/// Whether the store answers.
#[utoipa::path(get, path = "/readyz", tag = "server", security(()), responses(
    (status = 200, description = "It answers", content_type = "text/plain"),
    (status = 503, description = "It does not", content_type = "text/plain"),
))]
pub(in super::super) async fn readyz(State(api): State<Api>) -> (StatusCode, &'static str) {
    match api.ops.ready().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
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
