//! One vendor: how it stands, its endpoints, tokens and people.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::html;
use serde_json::{Map, Value};

use super::super::auth::OfOperator;
use super::super::components::{Input, act, ago, badge, change as form_of, choice, count, endpoint_status, hidden, problems, time};
use super::super::error::{Refusal, Shown};
use super::super::form::{Form, PROOF, Query};
use super::super::layout;
use super::super::people::{ROLES, invited as shown_once, waiting};
use crate::domain::id::{LinkId, TokenId, UserId, VendorId};
use crate::domain::token::Scope;
use crate::domain::vendor::{Mode, Vendor};
use crate::fields::{Fields, Problem};
use crate::http::Api;
use crate::limits;
use crate::ops::{Invited, OpsError};
use crate::store::Page;

fn read_id<T: std::str::FromStr>(text: &str) -> Shown<T> {
    text.parse().map_err(|_| Refusal::nothing())
}

fn of(vendor: VendorId, mode: Mode) -> Fields {
    let named = [("vendor_id", vendor.to_string()), ("mode", mode.as_str().to_owned())];
    Fields::new(named.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<String, Value>>())
}

async fn page(api: &Api, seat: &OfOperator, query: &Query, id: VendorId, (invited, wrong): (Option<&Invited>, &[Problem])) -> Shown {
    let vendor = api.ops.vendor(id).await?;
    let at = format!("/panel/operator/vendors/{id}");
    let (do_what, name, ask) = match vendor.disabled {
        true => ("enable", "Enable", "Its tokens are good again, and what waited is due. Enable it?"),
        false => ("disable", "Disable", "Its tokens and logins are refused, and its deliveries wait. Disable it?"),
    };
    let body = html! {
        div.top {
            div { h1 { (vendor.name) } p { code { (id) } " · since " (time(vendor.created_at)) } }
            div.acts {
                @if vendor.disabled { (badge("bad", "disabled")) } @else { (badge("good", "active")) }
                form.inline method="post" action=(format!("{at}/{do_what}")) {
                    (hidden(PROOF, &seat.person.proof)) button class=(if vendor.disabled { "main" } else { "danger" }) type="submit" data-ask=(ask) { (name) }
                }
            }
        }
        @if let Some(invited) = invited { (shown_once(api, invited)) }
        @for mode in Mode::ALL { (standing(api, seat, id, mode).await?) }
        (tokens(api, seat, id, &at).await?)
        (people(api, seat, &vendor, (&at, wrong)).await?)
        section.sheet {
            h2 { "Name and address" }
            (problems(wrong, &["name", "email"]))
            (form_of(&at, &seat.person.proof, html! {
                (Input { required: true, ..Input::text("name", "Name", &vendor.name) }.draw(wrong))
                (Input { kind: "email", required: true, ..Input::text("email", "E-mail", &vendor.email) }.draw(&[]))
                button type="submit" { "Save" }
            }))
        }
    };
    Ok(layout::of_operator(seat, query, ("/vendors", &vendor.name), body))
}

async fn standing(api: &Api, seat: &OfOperator, id: VendorId, mode: Mode) -> Shown {
    let now = api.ops.now();
    let standing = api.ops.standing(seat.caller, of(id, mode), now).await?;
    let (endpoints, _) = api.ops.endpoints(seat.caller, of(id, mode)).await?;
    let [queued, success, failed, reversed] = standing.recharges.map(count);
    Ok(html! {
        section.sheet {
            h2 { (if mode == Mode::Live { "Live" } else { "Test" }) }
            p {
                (queued) " queued" @if let Some(at) = standing.oldest_queued { span.faint { " (oldest " (ago(at, now)) ")" } }
                ", " (success) " success, " (failed) " failed, " (reversed) " reversed."
            }
            @if endpoints.is_empty() { p.soft { "No endpoint." } }
            @for shown in &endpoints {
                p {
                    (endpoint_status(shown.endpoint.status, shown.endpoint.failing_since.is_some())) " " (shown.endpoint.settings.shown_url())
                    span.faint { " " (count(shown.size.open)) " waiting" }
                }
            }
        }
    })
}

async fn tokens(api: &Api, seat: &OfOperator, id: VendorId, at: &str) -> Shown {
    let tokens = api.ops.tokens(id, Page { before: None, limit: limits::PAGE_MAX }).await?;
    let now = api.ops.now();
    Ok(html! {
        section.sheet {
            h2 { "Tokens" }
            @if tokens.is_empty() { p.soft { "None." } }
            @else { div.table { table.cards {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Mode" } th scope="col" { "Good from" } th scope="col" { "Last used" } th scope="col" { "Revoke" } } }
                tbody { @for token in &tokens { tr {
                    td data-name="Name" { @if token.name.is_empty() { code { (token.id) } } @else { (token.name) } }
                    td data-name="Mode" { @if let Scope::Vendor { mode, .. } = token.scope { (mode.as_str()) } }
                    td data-name="Good from" { @if token.allowed_ips.is_empty() { span.faint { "anywhere" } } @for network in &token.allowed_ips { (network) " " } }
                    td data-name="Last used" { @match token.last_used_at { Some(at) => (ago(at, now)), None => span.faint { "never" } } }
                    td data-name="Revoke" { (act(&format!("{at}/tokens/{}/revoke", token.id), &seat.person.proof, ("danger small", "Revoke"), html! {})) }
                } } }
            } } }
        }
    })
}

async fn people(api: &Api, seat: &OfOperator, vendor: &Vendor, (at, wrong): (&str, &[Problem])) -> Shown {
    let users = api.ops.users(vendor.id, Page { before: None, limit: limits::PAGE_MAX }).await?;
    let invitations = api.ops.invitations(Some(vendor.id)).await?;
    Ok(html! {
        section.sheet {
            h2 { "People" }
            @if users.is_empty() && invitations.is_empty() { p.soft { "Nobody yet: invite the first owner." } }
            @else { div.table { table.cards {
                thead { tr { th scope="col" { "E-mail" } th scope="col" { "Role" } th scope="col" { "Second factor" } th scope="col" { "Since" } th scope="col" { "Remove" } } }
                tbody {
                    @for user in &users { tr {
                        td data-name="E-mail" { (user.email) }
                        td data-name="Role" { (user.role.as_str()) }
                        td data-name="Second factor" { @if user.second_factor { "on" } @else { span.faint { "off" } } }
                        td data-name="Since" { (time(user.created_at)) }
                        td data-name="Remove" { (act(&format!("{at}/users/{}/remove", user.id), &seat.person.proof, ("danger small", "Remove"), html! {})) }
                    } }
                    @for link in &invitations { (waiting(&seat.person.proof, link, &format!("{at}/invitations/{}/withdraw", link.id))) }
                }
            } } }
            p {}
            h3 { "Invite somebody" }
            (form_of(&format!("{at}/invite"), &seat.person.proof, html! {
                (Input { kind: "email", required: true, ..Input::text("invite_email", "E-mail", "") }.draw(wrong))
                (choice("role", "Role", &ROLES, "owner"))
                button type="submit" { "Invite" }
            }))
        }
    })
}

pub(super) async fn show(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, query: Query) -> Shown {
    page(&api, &seat, &query, read_id(&id)?, (None, &[])).await
}

/// The page again, with what was wrong.
async fn again(api: &Api, seat: &OfOperator, id: VendorId, error: OpsError) -> Shown<Response> {
    match error {
        OpsError::Invalid(wrong) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(api, seat, &Query::default(), id, (None, &wrong)).await?).into_response())
        }
        other => Err(other.into()),
    }
}

fn back(id: VendorId, told: &str) -> Redirect {
    Redirect::to(&format!("/panel/operator/vendors/{id}?told={told}"))
}

pub(super) async fn change(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, form: Form) -> Shown<Response> {
    let id = read_id(&id)?;
    match api.ops.update_vendor(seat.caller, id, form.fields()).await {
        Ok(_) => Ok(back(id, "vendor-saved").into_response()),
        Err(error) => again(&api, &seat, id, error).await,
    }
}

async fn set_disabled(api: &Api, seat: &OfOperator, id: VendorId, disabled: bool) -> Shown<()> {
    let fields = Fields::new(Map::from_iter([("disabled".to_owned(), Value::from(disabled))]));
    api.ops.update_vendor(seat.caller, id, fields).await?;
    Ok(())
}

pub(super) async fn disable(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, _: Form) -> Shown<Redirect> {
    let id = read_id(&id)?;
    set_disabled(&api, &seat, id, true).await?;
    Ok(back(id, "vendor-disabled"))
}

pub(super) async fn enable(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, _: Form) -> Shown<Redirect> {
    let id = read_id(&id)?;
    set_disabled(&api, &seat, id, false).await?;
    Ok(back(id, "vendor-enabled"))
}

pub(super) async fn invite(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, mut form: Form) -> Shown<Response> {
    let id = read_id(&id)?;
    // The page has another form with an address.
    if let Some(email) = form.0.swap_remove("invite_email") {
        form.0.insert("email".to_owned(), email);
    }
    match api.ops.invite(seat.caller, Some(id), form.fields()).await {
        Ok(invited) => Ok(page(&api, &seat, &Query::default(), id, (Some(&invited), &[])).await?.into_response()),
        Err(OpsError::Invalid(mut wrong)) => {
            wrong.iter_mut().filter(|problem| problem.field == "email").for_each(|problem| problem.field = "invite_email".to_owned());
            again(&api, &seat, id, OpsError::Invalid(wrong)).await
        }
        Err(error) => again(&api, &seat, id, error).await,
    }
}

pub(super) async fn remove_user(
    State(api): State<Api>,
    seat: OfOperator,
    Path((id, user)): Path<(String, String)>,
    form: Form,
) -> Shown<Redirect> {
    let id = read_id(&id)?;
    api.ops.remove_user(seat.caller, id, read_id::<UserId>(&user)?, form.fields()).await?;
    Ok(back(id, "removed"))
}

pub(super) async fn revoke_token(
    State(api): State<Api>,
    seat: OfOperator,
    Path((id, token)): Path<(String, String)>,
    form: Form,
) -> Shown<Redirect> {
    let id = read_id(&id)?;
    api.ops.revoke_token(seat.caller, id, read_id::<TokenId>(&token)?, form.fields()).await?;
    Ok(back(id, "revoked"))
}

pub(super) async fn withdraw(
    State(api): State<Api>,
    seat: OfOperator,
    Path((id, link)): Path<(String, String)>,
    _: Form,
) -> Shown<Redirect> {
    let id = read_id(&id)?;
    api.ops.withdraw(seat.caller, Some(id), read_id::<LinkId>(&link)?).await?;
    Ok(back(id, "withdrawn"))
}
