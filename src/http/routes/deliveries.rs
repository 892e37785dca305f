//! Deliveries and their attempts.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::super::Api;
use super::super::auth::Authenticated;
use super::super::bodies::{DeliveriesQuery, MineQuery, OnceHeader, PageQuery};
use super::super::error::{ApiError, ProblemBody};
use super::super::idempotency::Key;
use super::super::input::{Body, Id, Query};
use super::super::views::{DeliveryView, List};
use crate::domain::id::DeliveryId;

/// Deliveries, latest sequence number first.
#[utoipa::path(get, path = "/v1/deliveries", tag = "vendor", params(DeliveriesQuery, PageQuery, MineQuery), responses(
    (status = 200, body = List<DeliveryView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Query(fields): Query,
) -> Result<Json<List<DeliveryView>>, ApiError> {
    let listed = api.ops.deliveries(caller, fields).await?;
    Ok(Json(List::new(listed.items.iter().map(DeliveryView::of).collect(), listed.next)))
}

/// One delivery with its attempts, the latest 100 of them (a list shows the latest 10 of each).
#[utoipa::path(get, path = "/v1/deliveries/{id}", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 200, body = DeliveryView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn read(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<DeliveryId>,
) -> Result<Json<DeliveryView>, ApiError> {
    Ok(Json(DeliveryView::of(&api.ops.delivery(caller, id).await?)))
}

/// Send a delivery again: a new run, with retries and a deadline of its own.
#[utoipa::path(post, path = "/v1/deliveries/{id}/resend", tag = "vendor", params(("id" = String, Path), OnceHeader), responses(
    (status = 202, body = DeliveryView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn resend(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<DeliveryId>,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::ACCEPTED, DeliveryView::of, |fields, once| api.ops.resend(caller, id, fields, once)).await
}

/// Cancel a delivery that is pending.
#[utoipa::path(post, path = "/v1/deliveries/{id}/cancel", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 202, body = DeliveryView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn cancel(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<DeliveryId>,
    Body(fields): Body,
) -> Result<(StatusCode, Json<DeliveryView>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(DeliveryView::of(&api.ops.cancel(caller, id, fields).await?))))
}
