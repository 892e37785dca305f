//! What the operator looks at and decides: the overview, the audit log, conflicts, and recharges that nobody else settles.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::super::Api;
use super::super::auth::Operator;
use super::super::bodies::{AuditQuery, ConflictsQuery, OnceHeader, PageQuery, ResolveConflictInput, ResolveRechargeInput};
use super::super::error::{ApiError, ProblemBody};
use super::super::idempotency::Key;
use super::super::input::{Body, Id, Query};
use super::super::views::{ConflictView, EntryView, List, OverviewView, RechargeView};
use crate::domain::id::{ConflictId, RechargeId};
use crate::domain::recharge::Recharge;
use crate::ops::StreamScope;

fn moved((mine, recharge): &(StreamScope, Recharge)) -> RechargeView {
    RechargeView::of(*mine, recharge, None)
}

/// How everything stands.
#[utoipa::path(get, path = "/v1/overview", tag = "operator", responses(
    (status = 200, body = OverviewView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn overview(State(api): State<Api>, _: Operator, Query(fields): Query) -> Result<Json<OverviewView>, ApiError> {
    let (overview, at, backlog) = api.ops.overview(fields).await?;
    Ok(Json(OverviewView::of(&overview, at, backlog)))
}

/// Who changed what, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "operator", params(AuditQuery, PageQuery), responses(
    (status = 200, body = List<EntryView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn audit(State(api): State<Api>, _: Operator, Query(fields): Query) -> Result<Json<List<EntryView>>, ApiError> {
    let listed = api.ops.audit(fields).await?;
    Ok(Json(List::new(listed.items.iter().map(EntryView::of).collect(), listed.next)))
}

/// Reports that contradicted a settled recharge, newest first.
#[utoipa::path(get, path = "/v1/conflicts", tag = "operator", params(ConflictsQuery, PageQuery), responses(
    (status = 200, body = List<ConflictView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn conflicts(
    State(api): State<Api>,
    _: Operator,
    Query(fields): Query,
) -> Result<Json<List<ConflictView>>, ApiError> {
    let listed = api.ops.conflicts(fields).await?;
    Ok(Json(List::new(listed.items.iter().map(ConflictView::of).collect(), listed.next)))
}

/// One conflict.
#[utoipa::path(get, path = "/v1/conflicts/{id}", tag = "operator", params(("id" = String, Path)), responses(
    (status = 200, body = ConflictView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn conflict(
    State(api): State<Api>,
    _: Operator,
    Id(id): Id<ConflictId>,
) -> Result<Json<ConflictView>, ApiError> {
    Ok(Json(ConflictView::of(&api.ops.conflict(id).await?)))
}

/// Resolve a conflict. Where the recharge moves by it, an event tells of that.
#[utoipa::path(post, path = "/v1/conflicts/{id}/resolve", tag = "operator", params(("id" = String, Path), OnceHeader), request_body = ResolveConflictInput, responses(
    (status = 200, body = RechargeView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn resolve_conflict(
    State(api): State<Api>,
    Operator(caller): Operator,
    Id(id): Id<ConflictId>,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::OK, moved, |fields, once| api.ops.resolve_conflict(caller, id, fields, once)).await
}

/// Settle a queued recharge that nobody else will.
#[utoipa::path(post, path = "/v1/recharges/{id}/resolve", tag = "operator", params(("id" = String, Path), OnceHeader), request_body = ResolveRechargeInput, responses(
    (status = 200, body = RechargeView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn resolve_recharge(
    State(api): State<Api>,
    Operator(caller): Operator,
    Id(id): Id<RechargeId>,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::OK, moved, |fields, once| api.ops.settle_recharge(caller, id, fields, once)).await
}
