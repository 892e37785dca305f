//! Endpoints.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::super::Api;
use super::super::auth::Authenticated;
use super::super::bodies::{
    ConnectInput, EndpointInput, EndpointPatch, MineQuery, OnceHeader, PageQuery, PauseInput, RotateInput, TestInput,
};
use super::super::error::{ApiError, ProblemBody};
use super::super::idempotency::Key;
use super::super::input::{Body, Id, Query};
use super::super::views::{AttemptView, CancelledView, ConnectedView, EndpointView, List, NewEndpointView, NewSecretView};
use crate::domain::endpoint::EndpointStatus;
use crate::domain::id::EndpointId;

/// Make an endpoint; its secret is shown this once, and it gets events once it is connected.
#[utoipa::path(post, path = "/v1/endpoints", tag = "vendor", params(OnceHeader), request_body = EndpointInput, responses(
    (status = 201, body = NewEndpointView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn create(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::CREATED, NewEndpointView::of, |fields, once| api.ops.create_endpoint(caller, fields, once))
        .await
}

/// Endpoints, newest first.
#[utoipa::path(get, path = "/v1/endpoints", tag = "vendor", params(PageQuery, MineQuery), responses(
    (status = 200, body = List<EndpointView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Query(fields): Query,
) -> Result<Json<List<EndpointView>>, ApiError> {
    let (endpoints, page) = api.ops.endpoints(caller, fields).await?;
    Ok(Json(List::of(&endpoints, page.limit, |shown| shown.endpoint.id, EndpointView::of)))
}

/// One endpoint.
#[utoipa::path(get, path = "/v1/endpoints/{id}", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 200, body = EndpointView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn read(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
) -> Result<Json<EndpointView>, ApiError> {
    Ok(Json(EndpointView::of(&api.ops.endpoint(caller, id).await?)))
}

/// Change an endpoint. A connected one's new `url` or `profile` has to pass the handshake first.
#[utoipa::path(patch, path = "/v1/endpoints/{id}", tag = "vendor", params(("id" = String, Path)), request_body = EndpointPatch, responses(
    (status = 200, body = EndpointView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn change(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
    Body(fields): Body,
) -> Result<Json<EndpointView>, ApiError> {
    Ok(Json(EndpointView::of(&api.ops.change_endpoint(caller, id, fields).await?)))
}

/// Delete an endpoint; what is pending is cancelled.
#[utoipa::path(delete, path = "/v1/endpoints/{id}", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 204, description = "It is deleted"),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn delete(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
) -> Result<StatusCode, ApiError> {
    api.ops.delete_endpoint(caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Do the handshake now; from then on the endpoint gets events.
#[utoipa::path(post, path = "/v1/endpoints/{id}/connect", tag = "vendor", params(("id" = String, Path)), request_body = Option<ConnectInput>, responses(
    (status = 200, body = ConnectedView),
    (status = "default", description = "A problem; `connect_failed` has what was seen", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn connect(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
    Body(fields): Body,
) -> Result<Json<ConnectedView>, ApiError> {
    let missed = api.ops.connect(caller, id, fields).await?.missed;
    Ok(Json(ConnectedView { status: EndpointStatus::Connected, missed }))
}

/// Enable a disabled endpoint: the handshake again, and what is pending becomes due.
#[utoipa::path(post, path = "/v1/endpoints/{id}/enable", tag = "vendor", params(("id" = String, Path)), request_body = Option<ConnectInput>, responses(
    (status = 200, body = ConnectedView),
    (status = "default", description = "A problem; `connect_failed` has what was seen", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn enable(
    api: State<Api>,
    caller: Authenticated,
    id: Id<EndpointId>,
    body: Body,
) -> Result<Json<ConnectedView>, ApiError> {
    connect(api, caller, id, body).await
}

/// Disable an endpoint: it gets no events, and what is pending waits while its deadlines run.
#[utoipa::path(post, path = "/v1/endpoints/{id}/disable", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 200, body = EndpointView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn disable(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
    Body(fields): Body,
) -> Result<Json<EndpointView>, ApiError> {
    Ok(Json(EndpointView::of(&api.ops.disable(caller, id, fields).await?)))
}

/// Send a `webhook.test` event to this endpoint alone; the answer is the attempt.
#[utoipa::path(post, path = "/v1/endpoints/{id}/test", tag = "vendor", params(("id" = String, Path)), request_body = Option<TestInput>, responses(
    (status = 200, body = AttemptView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn test(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
    Body(fields): Body,
) -> Result<Json<AttemptView>, ApiError> {
    let (attempt, headers) = api.ops.test_endpoint(caller, id, fields).await?;
    Ok(Json(AttemptView::of(&attempt, headers)))
}

/// Let an endpoint's deliveries wait for a maintenance window of at most seven days; deadlines move by the time paused.
#[utoipa::path(post, path = "/v1/endpoints/{id}/pause", tag = "vendor", params(("id" = String, Path)), request_body = Option<PauseInput>, responses(
    (status = 200, body = EndpointView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn pause(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
    Body(fields): Body,
) -> Result<Json<EndpointView>, ApiError> {
    Ok(Json(EndpointView::of(&api.ops.pause(caller, id, fields).await?)))
}

/// End a pause; what waited is due, in order.
#[utoipa::path(post, path = "/v1/endpoints/{id}/resume", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 200, body = EndpointView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn resume(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
    Body(fields): Body,
) -> Result<Json<EndpointView>, ApiError> {
    Ok(Json(EndpointView::of(&api.ops.resume(caller, id, fields).await?)))
}

/// Put a new secret in the place of the present one; it is shown this once, and both sign during the overlap.
#[utoipa::path(post, path = "/v1/endpoints/{id}/rotate-secret", tag = "vendor", params(("id" = String, Path), OnceHeader), request_body = Option<RotateInput>, responses(
    (status = 200, body = NewSecretView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn rotate_secret(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::OK, NewSecretView::of, |fields, once| api.ops.rotate_secret(caller, id, fields, once))
        .await
}

/// Cancel all that is pending of an endpoint at this moment.
#[utoipa::path(post, path = "/v1/endpoints/{id}/cancel-pending", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 202, body = CancelledView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn cancel_pending(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
    Body(fields): Body,
) -> Result<(StatusCode, Json<CancelledView>), ApiError> {
    let cancelled = api.ops.cancel_pending(caller, id, fields).await?;
    Ok((StatusCode::ACCEPTED, Json(CancelledView { cancelled })))
}
