//! Vendors and their tokens: the operator's calls.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;

use super::super::Api;
use super::super::auth::Operator;
use super::super::bodies::{PageQuery, TokenInput, VendorInput, VendorPatch};
use super::super::error::{ApiError, ProblemBody};
use super::super::input::{Body, Id, Query};
use super::super::views::{List, NewTokenView, NewVendorView, TokenView, VendorView};
use crate::domain::id::{TokenId, VendorId};
use crate::fields::Fields;
use crate::ops::{OpsError, Paging};
use crate::store::Page;

/// A page as the query asks for it, where the list has no other parameters.
fn page<K: std::str::FromStr<Err: std::fmt::Display>>(mut fields: Fields) -> Result<Page<K>, OpsError> {
    let Paging(page) = Paging::read(&mut fields);
    let problems = fields.finish();
    if problems.is_empty() { Ok(page) } else { Err(OpsError::Invalid(problems)) }
}

/// Make a vendor; its tokens are shown this once.
#[utoipa::path(post, path = "/v1/vendors", tag = "operator", request_body = VendorInput, responses(
    (status = 201, body = NewVendorView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn create(
    State(api): State<Api>,
    _: Operator,
    Body(fields): Body,
) -> Result<(StatusCode, Json<NewVendorView>), ApiError> {
    let new = api.ops.create_vendor(fields).await?;
    Ok((StatusCode::CREATED, Json(NewVendorView::of(&new))))
}

/// Vendors, newest first.
#[utoipa::path(get, path = "/v1/vendors", tag = "operator", params(PageQuery), responses(
    (status = 200, body = List<VendorView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn list(State(api): State<Api>, _: Operator, Query(fields): Query) -> Result<Json<List<VendorView>>, ApiError> {
    let page = page::<VendorId>(fields)?;
    let vendors = api.ops.vendors(page).await?;
    Ok(Json(List::of(&vendors, page.limit, |vendor| vendor.id, VendorView::of)))
}

/// One vendor.
#[utoipa::path(get, path = "/v1/vendors/{id}", tag = "operator", params(("id" = String, Path)), responses(
    (status = 200, body = VendorView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn read(State(api): State<Api>, _: Operator, Id(id): Id<VendorId>) -> Result<Json<VendorView>, ApiError> {
    Ok(Json(VendorView::of(&api.ops.vendor(id).await?)))
}

/// Change a vendor, or stop it and start it again.
#[utoipa::path(patch, path = "/v1/vendors/{id}", tag = "operator", params(("id" = String, Path)), request_body = VendorPatch, responses(
    (status = 200, body = VendorView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn change(
    State(api): State<Api>,
    _: Operator,
    Id(id): Id<VendorId>,
    Body(fields): Body,
) -> Result<Json<VendorView>, ApiError> {
    Ok(Json(VendorView::of(&api.ops.update_vendor(id, fields).await?)))
}

/// Make a token for a vendor; it is shown this once.
#[utoipa::path(post, path = "/v1/vendors/{id}/tokens", tag = "operator", params(("id" = String, Path)), request_body = TokenInput, responses(
    (status = 201, body = NewTokenView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn create_token(
    State(api): State<Api>,
    _: Operator,
    Id(id): Id<VendorId>,
    Body(fields): Body,
) -> Result<(StatusCode, Json<NewTokenView>), ApiError> {
    let new = api.ops.create_token(id, fields).await?;
    Ok((StatusCode::CREATED, Json(NewTokenView::of(&new))))
}

/// A vendor's tokens, newest first, without the tokens themselves.
#[utoipa::path(get, path = "/v1/vendors/{id}/tokens", tag = "operator", params(("id" = String, Path), PageQuery), responses(
    (status = 200, body = List<TokenView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn tokens(
    State(api): State<Api>,
    _: Operator,
    Id(id): Id<VendorId>,
    Query(fields): Query,
) -> Result<Json<List<TokenView>>, ApiError> {
    let page = page::<TokenId>(fields)?;
    let tokens = api.ops.tokens(id, page).await?;
    Ok(Json(List::of(&tokens, page.limit, |token| token.id, TokenView::of)))
}

/// Revoke a token at once.
#[utoipa::path(delete, path = "/v1/vendors/{id}/tokens/{token_id}", tag = "operator", params(("id" = String, Path), ("token_id" = String, Path)), responses(
    (status = 204, description = "It is revoked"),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn revoke_token(
    State(api): State<Api>,
    _: Operator,
    Path((id, token)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (Ok(id), Ok(token)) = (id.parse::<VendorId>(), token.parse::<TokenId>()) else { return Err(OpsError::NotFound("token").into()) };
    api.ops.revoke_token(id, token).await?;
    Ok(StatusCode::NO_CONTENT)
}
