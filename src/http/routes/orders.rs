//! Recharges that vendors ask for, and recharges looked up.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::super::Api;
use super::super::auth::{Authenticated, Operator};
use super::super::bodies::{LookupInput, OnceHeader, OrderInput, PageQuery};
use super::super::error::{ApiError, ProblemBody};
use super::super::idempotency::Key;
use super::super::input::{Body, Query};
use super::super::views::{FoundList, FoundView, List, RechargeView, StuckView};
use crate::ops::{Begun, Ordered};

/// Make a recharge. It is queued, and handed to its provider; an event tells what became of it. The same reference with the
/// same body again answers 200 with the recharge as it is.
#[utoipa::path(post, path = "/v1/recharges", tag = "vendor", params(OnceHeader), request_body = OrderInput, responses(
    (status = 201, body = RechargeView),
    (status = 200, description = "It was made before", body = RechargeView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn order(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    let view = |ordered: &Ordered| {
        let status = if ordered.is_new { StatusCode::CREATED } else { StatusCode::OK };
        (status, RechargeView::of(ordered.mine, &ordered.recharge, None))
    };
    match key.begin(&api, caller, &fields, view).await? {
        Begun::Before(answer) => Ok(Key::answered_before(answer, StatusCode::CREATED)),
        Begun::First(once) => {
            let ordered = api.ops.order(caller, fields, None, once).await?;
            let (status, view) = view(&ordered);
            Ok((status, Json(view)).into_response())
        }
    }
}

/// Look up to 500 recharges up at once, by their ids or references. In the order asked for; null where there is none.
#[utoipa::path(post, path = "/v1/recharges/lookup", tag = "vendor", request_body = LookupInput, responses(
    (status = 200, body = FoundList),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn lookup(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Body(fields): Body,
) -> Result<Json<FoundList>, ApiError> {
    let (mine, found) = api.ops.lookup(caller, fields).await?;
    Ok(Json(FoundList { data: found.into_iter().map(|(sought, recharge)| FoundView::of(mine, sought, recharge)).collect() }))
}

/// Queued recharges whose providers did not say for three days what became of them: somebody has to find out.
#[utoipa::path(get, path = "/v1/stuck", tag = "operator", params(PageQuery), responses(
    (status = 200, body = List<StuckView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn stuck(State(api): State<Api>, _: Operator, Query(fields): Query) -> Result<Json<List<StuckView>>, ApiError> {
    let listed = api.ops.stuck(fields).await?;
    Ok(Json(List::new(listed.items.iter().map(StuckView::of).collect(), listed.next)))
}
