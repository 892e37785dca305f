//! Vendors, their tokens and logins, and what is kept about people: the operator's calls.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::super::Api;
use super::super::auth::Operator;
use super::super::bodies::{OnceHeader, PageQuery, PanelLinkInput, PersonQuery, TokenInput, UserInput, VendorInput, VendorPatch};
use super::super::error::{ApiError, ProblemBody};
use super::super::idempotency::Key;
use super::super::input::{Body, Id, Pair, Query};
use super::super::views::{List, NewTokenView, NewVendorView, PanelLinkView, TokenView, UserView, VendorView};
use crate::domain::id::{TokenId, UserId, VendorId};
use crate::ops::only_paging;

/// Make a vendor; its tokens are shown this once.
#[utoipa::path(post, path = "/v1/vendors", tag = "operator", params(OnceHeader), request_body = VendorInput, responses(
    (status = 201, body = NewVendorView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn create(
    State(api): State<Api>,
    Operator(caller): Operator,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::CREATED, NewVendorView::of, |fields, once| api.ops.create_vendor(caller, fields, once))
        .await
}

/// Vendors, newest first.
#[utoipa::path(get, path = "/v1/vendors", tag = "operator", params(PageQuery), responses(
    (status = 200, body = List<VendorView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn list(State(api): State<Api>, _: Operator, Query(fields): Query) -> Result<Json<List<VendorView>>, ApiError> {
    let page = only_paging::<VendorId>(fields)?;
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
    Operator(caller): Operator,
    Id(id): Id<VendorId>,
    Body(fields): Body,
) -> Result<Json<VendorView>, ApiError> {
    Ok(Json(VendorView::of(&api.ops.update_vendor(caller, id, fields).await?)))
}

/// Make a token for a vendor; it is shown this once.
#[utoipa::path(post, path = "/v1/vendors/{id}/tokens", tag = "operator", params(("id" = String, Path), OnceHeader), request_body = TokenInput, responses(
    (status = 201, body = NewTokenView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn create_token(
    State(api): State<Api>,
    Operator(caller): Operator,
    Id(id): Id<VendorId>,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::CREATED, NewTokenView::of, |fields, once| api.ops.create_token(caller, id, fields, once))
        .await
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
    let page = only_paging::<TokenId>(fields)?;
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
    Operator(caller): Operator,
    Pair(id, token): Pair<VendorId, TokenId>,
    Query(fields): Query,
) -> Result<StatusCode, ApiError> {
    api.ops.revoke_token(caller, id, token, fields).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a login for a vendor's people.
#[utoipa::path(post, path = "/v1/vendors/{id}/users", tag = "operator", params(("id" = String, Path), OnceHeader), request_body = UserInput, responses(
    (status = 201, body = UserView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn create_user(
    State(api): State<Api>,
    Operator(caller): Operator,
    Id(id): Id<VendorId>,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::CREATED, UserView::of, |fields, once| api.ops.create_user(caller, id, fields, once)).await
}

/// A vendor's logins, newest first.
#[utoipa::path(get, path = "/v1/vendors/{id}/users", tag = "operator", params(("id" = String, Path), PageQuery), responses(
    (status = 200, body = List<UserView>),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn users(
    State(api): State<Api>,
    _: Operator,
    Id(id): Id<VendorId>,
    Query(fields): Query,
) -> Result<Json<List<UserView>>, ApiError> {
    let page = only_paging::<UserId>(fields)?;
    let users = api.ops.users(id, page).await?;
    Ok(Json(List::of(&users, page.limit, |user| user.id, UserView::of)))
}

/// Remove a vendor's login.
#[utoipa::path(delete, path = "/v1/vendors/{id}/users/{user_id}", tag = "operator", params(("id" = String, Path), ("user_id" = String, Path)), responses(
    (status = 204, description = "It is removed"),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn remove_user(
    State(api): State<Api>,
    Operator(caller): Operator,
    Pair(id, user): Pair<VendorId, UserId>,
    Query(fields): Query,
) -> Result<StatusCode, ApiError> {
    api.ops.remove_user(caller, id, user, fields).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a one-time link that lets somebody whom the platform knows into a vendor's panel, to be followed within five minutes.
#[utoipa::path(post, path = "/v1/vendors/{id}/panel-link", tag = "operator", params(("id" = String, Path), OnceHeader), request_body = Option<PanelLinkInput>, responses(
    (status = 201, body = PanelLinkView),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn panel_link(
    State(api): State<Api>,
    Operator(caller): Operator,
    Id(id): Id<VendorId>,
    key: Key,
    Body(fields): Body,
) -> Result<Response, ApiError> {
    key.answer(&api, caller, fields, StatusCode::CREATED, PanelLinkView::of, |fields, once| api.ops.panel_link(caller, id, fields, once))
        .await
}

/// Remove a person's data everywhere. Events stay as tombstones, so that numbers have no gap.
#[utoipa::path(delete, path = "/v1/vendors/{id}/personal-data", tag = "operator", params(("id" = String, Path), PersonQuery), responses(
    (status = 204, description = "It is removed"),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn erase_personal_data(
    State(api): State<Api>,
    Operator(caller): Operator,
    Id(id): Id<VendorId>,
    Query(fields): Query,
) -> Result<StatusCode, ApiError> {
    api.ops.erase_personal_data(caller, id, fields).await?;
    Ok(StatusCode::NO_CONTENT)
}
