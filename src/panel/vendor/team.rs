//! The vendor's people: who may log in, and as what.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::super::auth::{Owner, VendorSession};
use super::super::components::{Input, act, change, choice, problems, time};
use super::super::error::{Refusal, Shown};
use super::super::form::{Form, Query};
use super::super::layout;
use super::super::people::{ROLES, invited, waiting};
use crate::domain::id::{LinkId, UserId};
use crate::domain::user::{Role, User};
use crate::fields::Problem;
use crate::http::Api;
use crate::limits;
use crate::ops::{Invited, OpsError};
use crate::store::Page;

async fn page(api: &Api, seat: &VendorSession, query: &Query, (new, wrong): (Option<&Invited>, &[Problem])) -> Shown {
    let users = api.ops.users(seat.vendor.id, Page { before: None, limit: limits::PAGE_MAX }).await?;
    let invitations = api.ops.invitations(Some(seat.vendor.id)).await?;
    let body = html! {
        div.top { div { h1 { "Team" } p { "Who may log in for " (seat.vendor.name) "." } } }
        @if let Some(new) = new { (invited(api, new)) }
        section.sheet {
            div.table { table.cards {
                thead { tr { th scope="col" { "E-mail" } th scope="col" { "Role" } th scope="col" { "Second factor" } th scope="col" { "Since" } th scope="col" { "Change" } } }
                tbody { @for user in &users { (row(seat, user)) } @for link in &invitations { (waiting(&seat.person.proof, link, &seat.at(format!("team/invitations/{}/withdraw", link.id)))) } }
            } }
        }
        section.sheet {
            h2 { "Invite somebody" }
            (problems(wrong, &["email"]))
            (change(&seat.at("team"), &seat.person.proof, html! {
                (Input { kind: "email", required: true, ..Input::text("email", "E-mail", "") }.draw(wrong))
                (choice("role", "Role", &ROLES, "developer"))
                button.main type="submit" { "Invite" }
            }))
        }
    };
    Ok(layout::of_vendor(seat, query, ("/team", "Team"), body))
}

fn row(seat: &VendorSession, user: &User) -> Markup {
    let is_oneself = seat.person.logged_in.session.user == Some(user.id);
    html! {
        tr {
            td data-name="E-mail" { (user.email) @if is_oneself { span.faint { " (you)" } } }
            td data-name="Role" { (user.role.as_str()) }
            td data-name="Second factor" { @if user.second_factor { "on" } @else { span.faint { "off" } } }
            td data-name="Since" { (time(user.created_at)) }
            td data-name="Change" {
                @if !is_oneself {
                    div.acts {
                        @for role in Role::ALL.into_iter().filter(|role| *role != user.role) {
                            (act(&seat.at(format!("team/{}/role", user.id)), &seat.person.proof, ("small", &format!("Make {}", role.as_str())), html! { input type="hidden" name="role" value=(role.as_str()); }))
                        }
                        (act(&seat.at(format!("team/{}/remove", user.id)), &seat.person.proof, ("danger small", "Remove"), html! {}))
                    }
                }
            }
        }
    }
}

pub(super) async fn list(State(api): State<Api>, Owner(seat): Owner, query: Query) -> Shown {
    page(&api, &seat, &query, (None, &[])).await
}

pub(super) async fn invite(State(api): State<Api>, Owner(seat): Owner, form: Form) -> Shown<Response> {
    match api.ops.invite(seat.caller, Some(seat.vendor.id), form.fields()).await {
        Ok(new) => Ok(page(&api, &seat, &Query::default(), (Some(&new), &[])).await?.into_response()),
        Err(OpsError::Invalid(wrong)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&api, &seat, &Query::default(), (None, &wrong)).await?).into_response())
        }
        Err(other) => Err(other.into()),
    }
}

pub(super) async fn withdraw(State(api): State<Api>, Owner(seat): Owner, Path(id): Path<String>, _: Form) -> Shown<Redirect> {
    let id: LinkId = id.parse().map_err(|_| Refusal::nothing())?;
    api.ops.withdraw(seat.caller, Some(seat.vendor.id), id).await?;
    Ok(Redirect::to(&seat.at("team?told=withdrawn")))
}

/// Somebody else: whoever takes the last owner's role from himself would lock everybody out.
fn other(seat: &VendorSession, text: &str) -> Shown<UserId> {
    let id: UserId = text.parse().map_err(|_| Refusal::nothing())?;
    if seat.person.logged_in.session.user == Some(id) {
        return Err(OpsError::IllegalState("you cannot change your own role, or remove yourself; ask another owner".to_owned()).into());
    }
    Ok(id)
}

pub(super) async fn set_role(State(api): State<Api>, Owner(seat): Owner, Path(id): Path<String>, form: Form) -> Shown<Redirect> {
    let id = other(&seat, &id)?;
    api.ops.set_role(seat.caller, seat.vendor.id, id, form.fields()).await?;
    Ok(Redirect::to(&seat.at("team?told=role-changed")))
}

pub(super) async fn remove(State(api): State<Api>, Owner(seat): Owner, Path(id): Path<String>, form: Form) -> Shown<Redirect> {
    let id = other(&seat, &id)?;
    api.ops.remove_user(seat.caller, seat.vendor.id, id, form.fields()).await?;
    Ok(Redirect::to(&seat.at("team?told=removed")))
}
