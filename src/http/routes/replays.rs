//! Replays: a range of events sent again.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::super::Api;
use super::super::auth::Authenticated;
use super::super::bodies::{MineQuery, OnceHeader, PageQuery, ReplayInput};
use super::super::error::{ApiError, ProblemBody};
use super::super::idempotency::Key;
use super::super::input::{Body, Id, Query};
use super::super::views::{List, MatchedView, ReplayView};
use crate::domain::id::{EndpointId, ReplayId};
use crate::ops::{Begun, Replaying};

/// Send a range of events again, or count it with `dry_run`.
#[utoipa::path(post, path = "/v1/endpoints/{id}/replay", tag = "vendor", params(("id" = String, Path), OnceHeader), request_body = ReplayInput, responses(
    (status = 200, description = "With `dry_run`: the count", body = MatchedView),
    (status = 202, body = ReplayView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn start(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<EndpointId>,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    let once = match key.begin(&api, caller, &fields, |replay| (StatusCode::ACCEPTED, ReplayView::of(replay))).await? {
        Begun::First(once) => once,
        Begun::Before(answer) => return Ok(Key::answered_before(answer, StatusCode::ACCEPTED)),
    };
    Ok(match api.ops.replay(caller, id, fields, once).await? {
        Replaying::Dry(matched) => Json(MatchedView { matched }).into_response(),
        Replaying::Started(replay) => (StatusCode::ACCEPTED, Json(ReplayView::of(&replay))).into_response(),
    })
}

/// Replays, newest first.
#[utoipa::path(get, path = "/v1/replays", tag = "vendor", params(PageQuery, MineQuery), responses(
    (status = 200, body = List<ReplayView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Query(fields): Query,
) -> Result<Json<List<ReplayView>>, ApiError> {
    let (replays, page) = api.ops.replays(caller, fields).await?;
    Ok(Json(List::of(&replays, page.limit, |replay| replay.id, ReplayView::of)))
}

/// One replay, with how far it got.
#[utoipa::path(get, path = "/v1/replays/{id}", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 200, body = ReplayView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn read(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<ReplayId>,
) -> Result<Json<ReplayView>, ApiError> {
    Ok(Json(ReplayView::of(&api.ops.one_replay(caller, id).await?)))
}

/// Cancel a replay; what it has open ends as cancelled.
#[utoipa::path(delete, path = "/v1/replays/{id}", tag = "vendor", params(("id" = String, Path)), responses(
    (status = 204, description = "It is cancelled"),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn cancel(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<ReplayId>,
) -> Result<StatusCode, ApiError> {
    api.ops.cancel_replay(caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
