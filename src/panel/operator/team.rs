//! The operator's own people.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::html;

use super::super::auth::OfOperator;
use super::super::components::{Input, act, change, problems, time};
use super::super::error::{Refusal, Shown};
use super::super::form::{Form, Query};
use super::super::layout;
use super::super::people::{invited, waiting};
use crate::domain::id::{LinkId, UserId};
use crate::fields::Problem;
use crate::http::Api;
use crate::limits;
use crate::ops::{Invited, OpsError};
use crate::store::Page;

async fn page(api: &Api, seat: &OfOperator, query: &Query, (new, wrong): (Option<&Invited>, &[Problem])) -> Shown {
    let users = api.ops.operators(Page { before: None, limit: limits::PAGE_MAX }).await?;
    let invitations = api.ops.invitations(None).await?;
    let oneself = seat.person.logged_in.session.user;
    let body = html! {
        div.top { div { h1 { "Team" } p { "Who runs the platform. Alerts for the operator are mailed to all of them." } } }
        @if let Some(new) = new { (invited(api, new)) }
        section.sheet {
            div.table { table.cards {
                thead { tr { th scope="col" { "E-mail" } th scope="col" { "Role" } th scope="col" { "Second factor" } th scope="col" { "Since" } th scope="col" { "Remove" } } }
                tbody {
                    @for user in &users { tr {
                        td data-name="E-mail" { (user.email) @if oneself == Some(user.id) { span.faint { " (you)" } } }
                        td data-name="Role" { "operator" }
                        td data-name="Second factor" { @if user.second_factor { "on" } @else { span.faint { "off" } } }
                        td data-name="Since" { (time(user.created_at)) }
                        td data-name="Remove" { @if oneself != Some(user.id) { (act(&format!("/panel/operator/team/{}/remove", user.id), &seat.person.proof, ("danger small", "Remove"), html! {})) } }
                    } }
                    @for link in &invitations { (waiting(&seat.person.proof, link, &format!("/panel/operator/team/invitations/{}/withdraw", link.id))) }
                }
            } }
        }
        section.sheet {
            h2 { "Invite somebody" }
            (problems(wrong, &["email"]))
            (change("/panel/operator/team", &seat.person.proof, html! {
                (Input { kind: "email", required: true, ..Input::text("email", "E-mail", "") }.draw(wrong))
                button.main type="submit" { "Invite" }
            }))
        }
    };
    Ok(layout::of_operator(seat, query, ("/team", "Team"), body))
}

pub(super) async fn list(State(api): State<Api>, seat: OfOperator, query: Query) -> Shown {
    page(&api, &seat, &query, (None, &[])).await
}

pub(super) async fn invite(State(api): State<Api>, seat: OfOperator, form: Form) -> Shown<Response> {
    match api.ops.invite(seat.caller, None, form.fields()).await {
        Ok(new) => Ok(page(&api, &seat, &Query::default(), (Some(&new), &[])).await?.into_response()),
        Err(OpsError::Invalid(wrong)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&api, &seat, &Query::default(), (None, &wrong)).await?).into_response())
        }
        Err(other) => Err(other.into()),
    }
}

pub(super) async fn remove(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, _: Form) -> Shown<Redirect> {
    let id: UserId = id.parse().map_err(|_| Refusal::nothing())?;
    if seat.person.logged_in.session.user == Some(id) {
        return Err(OpsError::IllegalState("you cannot remove yourself; ask another one".to_owned()).into());
    }
    api.ops.remove_operator(seat.caller, id).await?;
    Ok(Redirect::to("/panel/operator/team?told=removed"))
}

pub(super) async fn withdraw(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, _: Form) -> Shown<Redirect> {
    let id: LinkId = id.parse().map_err(|_| Refusal::nothing())?;
    api.ops.withdraw(seat.caller, None, id).await?;
    Ok(Redirect::to("/panel/operator/team?told=withdrawn"))
}
