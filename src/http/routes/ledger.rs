//! Reports, events and recharges.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::super::Api;
use super::super::auth::{Authenticated, Operator, Renewal};
use super::super::bodies::{EventInput, EventsQuery, MineQuery, OnceHeader, PageQuery, RechargesQuery, ReportsInput};
use super::super::error::{ApiError, ProblemBody};
use super::super::idempotency::Key;
use super::super::input::{Body, Id, Query};
use super::super::views::{EventView, FeedView, List, PublishedView, RechargeView, ReportResult, Results};
use crate::domain::id::{EventId, RechargeId};
use crate::ops::OpsError;

/// Report what became of recharges. Answered when durable; each item has a verdict of its own.
#[utoipa::path(post, path = "/v1/reports", tag = "operator", request_body = ReportsInput, responses(
    (status = 200, body = Results),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn report(State(api): State<Api>, _: Operator, Body(fields): Body) -> Result<Json<Results>, ApiError> {
    let answers = api.ops.report(fields).await?;
    Ok(Json(Results { results: answers.into_iter().map(ReportResult::of).collect() }))
}

/// Publish an event of a type of the platform's own. Answered when durable.
#[utoipa::path(post, path = "/v1/events", tag = "operator", params(OnceHeader), request_body = EventInput, responses(
    (status = 202, body = PublishedView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn publish(
    State(api): State<Api>,
    Operator(caller): Operator,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::ACCEPTED, PublishedView::of, |fields, once| api.ops.publish(caller, fields, once)).await
}

/// The feed: all events of a vendor and mode, in order, without gaps.
#[utoipa::path(get, path = "/v1/events", tag = "vendor", params(EventsQuery, MineQuery), responses(
    (status = 200, body = FeedView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn events(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    renewal: Renewal,
    Query(fields): Query,
) -> Result<Json<FeedView>, ApiError> {
    let part = api.ops.events(caller, fields).await?;
    // It may have waited, and its token may have been revoked meanwhile.
    if renewal.is_good(&api).await { Ok(Json(FeedView::of(&part))) } else { Err(OpsError::Unauthorized.into()) }
}

/// One event.
#[utoipa::path(get, path = "/v1/events/{id}", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 200, body = EventView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn event(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EventId>,
) -> Result<Json<EventView>, ApiError> {
    Ok(Json(EventView::of(&api.ops.event(caller, id).await?)))
}

/// Recharges, newest first.
#[utoipa::path(get, path = "/v1/recharges", tag = "vendor", params(RechargesQuery, PageQuery, MineQuery), responses(
    (status = 200, body = List<RechargeView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn recharges(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Query(fields): Query,
) -> Result<Json<List<RechargeView>>, ApiError> {
    let (mine, listed) = api.ops.recharges(caller, fields).await?;
    let data = listed.items.iter().map(|recharge| RechargeView::of(mine, recharge, None)).collect();
    Ok(Json(List::new(data, listed.next)))
}

/// One recharge with the history of its reports.
#[utoipa::path(get, path = "/v1/recharges/{id}", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 200, body = RechargeView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn recharge(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<RechargeId>,
) -> Result<Json<RechargeView>, ApiError> {
    let (mine, recharge, reports) = api.ops.recharge(caller, id).await?;
    Ok(Json(RechargeView::of(mine, &recharge, Some(reports))))
}
