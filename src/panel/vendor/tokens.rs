//! The vendor's tokens, with which its programs call the API.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::super::auth::{Developer, VendorSession};
use super::super::components::{Input, act, ago, change, copyable, empty, hidden, problems, time};
use super::super::error::{Refusal, Shown};
use super::super::form::{Form, Query};
use super::super::layout;
use crate::domain::id::TokenId;
use crate::domain::token::{Scope, Token};
use crate::domain::user::Role;
use crate::domain::vendor::Mode;
use crate::fields::Problem;
use crate::http::Api;
use crate::limits;
use crate::ops::{IdempotentRequest, OpsError};
use crate::store::Page;

/// Whether the role opens the tokens of this mode: a live one spends money.
fn may(seat: &VendorSession) -> bool {
    seat.person.may(if seat.mode == Mode::Live { Role::Owner } else { Role::Developer })
}

fn is_of(token: &Token, wanted: Mode) -> bool {
    matches!(token.scope, Scope::Vendor { mode, .. } if mode == wanted)
}

async fn page(api: &Api, seat: &VendorSession, query: &Query, (new, wrong): (Option<&str>, &[Problem])) -> Shown {
    let before = query.get("cursor").parse().ok();
    let listed = api.ops.tokens(seat.vendor.id, Page { before, limit: limits::PAGE_MAX }).await?;
    let next = listed.last().filter(|_| listed.len() == limits::PAGE_MAX).map(|token| token.id.to_string());
    let tokens: Vec<&Token> = listed.iter().filter(|token| is_of(token, seat.mode)).collect();
    let mode = seat.mode.as_str();
    let body = html! {
        div.top { div { h1 { "Tokens" } p { "With these your programs call the API in " (mode) " mode." } } }
        @if let Some(token) = new {
            section.sheet role="status" {
                h2 { "The new token, shown this once" }
                p { span.secret { (copyable(token)) } }
                p { "Send it as " code { "Authorization: Bearer …" } ". Keep it where your programs read it and people do not." }
            }
        }
        section.sheet {
            @if tokens.is_empty() { (empty("No token of this mode here", "Make one below, for each program its own, so that one can be revoked without the others.")) }
            @else {
                div.table { table.cards {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Good from" } th scope="col" { "Last used" } th scope="col" { "Made" } th scope="col" { "Revoke" } } }
                    tbody { @for token in tokens { (row(api, seat, token)) } }
                } }
            }
        }
        (super::super::components::pager(query, next))
        @if may(seat) {
            section.sheet {
                h2 { "A new " (mode) " token" }
                (problems(wrong, &["name", "allowed_ips"]))
                (change(&seat.at("tokens"), &seat.person.proof, html! {
                    (hidden("mode", mode))
                    (Input { help: Some("What uses it, such as: shop server."), ..Input::text("name", "Name", "") }.draw(wrong))
                    (Input { help: Some("Addresses or networks, separated by commas, such as 203.0.113.7, 198.51.100.0/24. Good from anywhere if left empty."), ..Input::text("allowed_ips", "Good only from", "") }.draw(wrong))
                    button.main type="submit" { "Make the token" }
                }))
            }
        } @else {
            p.soft { "Your role does not make or revoke tokens of this mode." }
        }
    };
    Ok(layout::of_vendor(seat, query, ("/tokens", "Tokens"), body))
}

fn row(api: &Api, seat: &VendorSession, token: &Token) -> Markup {
    let from = token.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    html! {
        tr {
            td data-name="Name" { @if token.name.is_empty() { code { (token.id) } } @else { (token.name) } }
            td data-name="Good from" { @if from.is_empty() { span.faint { "anywhere" } } @else { (from) } }
            td data-name="Last used" { @match token.last_used_at { Some(at) => (ago(at, api.ops.now())), None => span.faint { "never" } } }
            td data-name="Made" { (time(token.created_at)) }
            td data-name="Revoke" {
                @if may(seat) { (act(&seat.at(format!("tokens/{}/revoke", token.id)), &seat.person.proof, ("danger small", "Revoke"), html! {})) }
            }
        }
    }
}

pub(super) async fn list(State(api): State<Api>, seat: VendorSession, query: Query) -> Shown {
    page(&api, &seat, &query, (None, &[])).await
}

pub(super) async fn create(State(api): State<Api>, Developer(seat): Developer, form: Form) -> Shown<Response> {
    if !may(&seat) || form.text("mode") != seat.mode.as_str() {
        return Err(Refusal::Role("the role owner"));
    }
    match api.ops.create_token(seat.caller, seat.vendor.id, form.fields(), IdempotentRequest::unkept()).await {
        Ok(new) => Ok(page(&api, &seat, &Query::default(), (Some(new.text.expose()), &[])).await?.into_response()),
        Err(OpsError::Invalid(wrong)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&api, &seat, &Query::default(), (None, &wrong)).await?).into_response())
        }
        Err(other) => Err(other.into()),
    }
}

pub(super) async fn revoke(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, form: Form) -> Shown<Redirect> {
    let id: TokenId = id.parse().map_err(|_| Refusal::nothing())?;
    if !may(&seat) {
        return Err(Refusal::Role("the role owner"));
    }
    if api.ops.mode_of_token(seat.vendor.id, id).await? != Some(seat.mode) {
        return Err(Refusal::nothing());
    }
    api.ops.revoke_token(seat.caller, seat.vendor.id, id, form.fields()).await?;
    Ok(Redirect::to(&seat.at("tokens?told=revoked")))
}
