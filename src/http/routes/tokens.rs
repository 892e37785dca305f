//! A vendor's own tokens, of both modes.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::super::Api;
use super::super::auth::Authenticated;
use super::super::bodies::{OnceHeader, OwnTokenInput, OwnerQuery, PageQuery};
use super::super::error::{ApiError, ProblemBody};
use super::super::idempotency::Key;
use super::super::input::{Body, Id, Query};
use super::super::views::{List, NewTokenView, TokenView};
use crate::domain::id::TokenId;
use crate::ops::only_paging;

/// Make a token; it is shown this once. A vendor's token makes only tokens of its own mode, within its own networks.
#[utoipa::path(post, path = "/v1/tokens", tag = "vendor", params(OnceHeader), request_body = OwnTokenInput, responses(
    (status = 201, body = NewTokenView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn create(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    // The key goes with the whole body, so that the owner is read only once that was compared.
    key.answer(&api, caller, fields, StatusCode::CREATED, NewTokenView::of, async |mut fields, once| {
        let vendor = api.ops.token_owner(caller, &mut fields)?;
        api.ops.create_token(caller, vendor, fields, once).await
    })
    .await
}

/// The vendor's tokens, newest first, without the tokens themselves.
#[utoipa::path(get, path = "/v1/tokens", tag = "vendor", params(OwnerQuery, PageQuery), responses(
    (status = 200, body = List<TokenView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn list(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Query(mut fields): Query,
) -> Result<Json<List<TokenView>>, ApiError> {
    let vendor = api.ops.token_owner(caller, &mut fields)?;
    let page = only_paging::<TokenId>(fields)?;
    let tokens = api.ops.tokens(vendor, page).await?;
    Ok(Json(List::of(&tokens, page.limit, |token| token.id, TokenView::of)))
}

/// Revoke a token at once; also the one that asks. A vendor's token revokes only tokens of its own mode, within its own networks.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "vendor", params(("id" = String, Path), OwnerQuery), responses(
    (status = 204, description = "It is revoked"),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn revoke(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Id(id): Id<TokenId>,
    Query(mut fields): Query,
) -> Result<StatusCode, ApiError> {
    let vendor = api.ops.token_owner(caller, &mut fields)?;
    api.ops.revoke_token(caller, vendor, id, fields).await?;
    Ok(StatusCode::NO_CONTENT)
}
