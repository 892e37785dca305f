//! Reports that contradict settled recharges: the list, and one to be resolved.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::super::auth::OfOperator;
use super::super::components::{
    badge, change, choice, connection, empty, facts, numbers_switch, pager, problems, status, time, time_or_dash,
};
use super::super::error::{Refusal, Shown};
use super::super::form::{Form, Query, days};
use super::super::layout;
use super::super::vendor::report as reported;
use crate::domain::conflict::{CaseState, Conflict};
use crate::domain::id::ConflictId;
use crate::domain::recharge::Status;
use crate::fields::{Fields, Problem};
use crate::http::Api;
use crate::ops::{IdempotentRequest, OpsError};

fn case(state: CaseState) -> Markup {
    badge(if state == CaseState::Open { "wait" } else { "off" }, state.as_str().replace('_', " "))
}

/// What a side says; of a number only its ends, unless it was asked for.
fn said(conflict: &Conflict, text: &str, shown: bool) -> Markup {
    if conflict.field == "connection_no" {
        connection(Some(text), shown)
    } else {
        html! { strong { (text) } }
    }
}

pub(super) async fn list(State(api): State<Api>, seat: OfOperator, query: Query) -> Shown {
    let mut fields = query.pick(&["recharge_id", "cursor"]);
    let state = if query.has("state") { query.get("state") } else { "open" };
    if state != "any" {
        fields.insert("state".to_owned(), state.into());
    }
    if state != "open" && !query.has("recharge_id") {
        days(&query, &mut fields, api.ops.now());
    }
    let listed = api.ops.conflicts(Fields::new(fields)).await?;
    let shown = query.get("numbers") == "shown";
    let states = [("open", "open"), ("any", "all"), ("reversed", "reversed"), ("late_success", "late success"), ("dismissed", "dismissed")];
    let body = html! {
        div.top { div { h1 { "Conflicts" } p { "Reports that contradict what is settled. They have moved nothing: you decide." } } div.acts { (numbers_switch(&query)) } }
        form.filters method="get" role="search" aria-label="Filter conflicts" {
            (choice("state", "State", &states, state))
            div.acts { button.main type="submit" { "Filter" } }
        }
        section.sheet {
            @if listed.items.is_empty() { (empty("No conflicts here", "Open ones are shown and mailed as soon as a report contradicts the ledger.")) }
            @else {
                div.table { table.cards {
                    thead { tr { th scope="col" { "About" } th scope="col" { "The ledger has" } th scope="col" { "The report says" } th scope="col" { "From" } th scope="col" { "Came" } th scope="col" { "State" } } }
                    tbody { @for conflict in &listed.items { tr {
                        td data-name="About" { a href=(format!("/panel/operator/conflicts/{}", conflict.id)) { (conflict.field.replace('_', " ")) " of " (conflict.recharge) } }
                        td data-name="The ledger has" { (said(conflict, &conflict.ours, shown)) }
                        td data-name="The report says" { (said(conflict, &conflict.theirs, shown)) }
                        td data-name="From" { (conflict.source) }
                        td data-name="Came" { (time(conflict.received_at)) }
                        td data-name="State" { (case(conflict.state)) }
                    } } }
                } }
            }
        }
        (pager(&query, listed.next.map(|id| id.to_string())))
    };
    Ok(layout::of_operator(&seat, &query, ("/conflicts", "Conflicts"), body))
}

/// The resolutions that fit a case, with what each does.
fn resolutions(conflict: &Conflict) -> Vec<(&'static str, &'static str)> {
    let mut fitting = Vec::new();
    if conflict.field == "status" {
        match (conflict.status, conflict.claimed) {
            (Some(Status::Success), Status::Failed) => {
                fitting.push(("reversed", "Reversed: it went through and was taken back. The vendor gets recharge.reversed."));
            }
            (Some(Status::Failed), Status::Success) => {
                fitting.push(("late_success", "Late success: it went through after all. The vendor gets recharge.success, marked late."));
            }
            _ => {}
        }
    }
    fitting.push(("dismissed", "Dismissed: the ledger is right. Nothing moves, and nobody is told."));
    fitting
}

async fn page(api: &Api, seat: &OfOperator, query: &Query, id: ConflictId, wrong: &[Problem]) -> Shown {
    let conflict = api.ops.conflict(id).await?;
    let found = match api.ops.recharge(seat.caller, conflict.recharge).await {
        Ok(found) => Some(found),
        // It may be older than the ledger keeps.
        Err(OpsError::NotFound(_)) => None,
        Err(other) => return Err(other.into()),
    };
    let shown = query.get("numbers") == "shown";
    let body = html! {
        div.top {
            div { h1 { "A contradiction about the " (conflict.field.replace('_', " ")) } p { "Case " code { (conflict.id) } ", recharge " code { (conflict.recharge) } } }
            div.acts { (case(conflict.state)) (numbers_switch(query)) }
        }
        div.two {
            section.sheet { h2 { "The ledger has" } p { (said(&conflict, &conflict.ours, shown)) } }
            section.sheet { h2 { (conflict.source) " says" } p { (said(&conflict, &conflict.theirs, shown)) } p.soft { "It came " (time(conflict.received_at)) "." } }
        }
        @if conflict.state == CaseState::Open { (resolve_form(seat, &conflict, wrong)) }
        @else {
            section.sheet { h2 { "How it was resolved" } (facts(vec![
                ("As", case(conflict.state)),
                ("Because", html! { (conflict.reason.as_deref().unwrap_or("–")) }),
                ("By", html! { (conflict.resolved_by.as_deref().unwrap_or("–")) }),
                ("When", time_or_dash(conflict.resolved_at)),
            ])) }
        }
        @if let Some((mine, recharge, reports)) = &found {
            @let details = &recharge.details;
            section.sheet {
                h2 { "The recharge" }
                (facts(vec![
                    ("Reference", html! { (recharge.reference_no) }),
                    ("Status", status(recharge.status)),
                    ("Vendor", html! { a href=(format!("/panel/operator/vendors/{}", mine.vendor)) { (mine.vendor) } ", " (mine.mode.as_str()) }),
                    ("Amount", html! { (details.amount_text().unwrap_or_default()) " " (details.currency.map_or("", |currency| currency.code())) }),
                    ("Number", connection(details.connection_no.as_deref(), shown)),
                    ("Provider's reference", html! { (details.provider_ref.as_deref().unwrap_or("–")) }),
                    ("Settled", time_or_dash(recharge.settled_at)),
                ]))
                h3 { "Who reported what" }
                ol.timeline { @for report in reports { (reported(report)) } }
            }
        } @else {
            p.soft { "The recharge itself is no longer kept." }
        }
    };
    Ok(layout::of_operator(seat, query, ("/conflicts", "Conflict"), body))
}

fn resolve_form(seat: &OfOperator, conflict: &Conflict, wrong: &[Problem]) -> Markup {
    html! {
        section.sheet {
            h2 { "Resolve it" }
            (problems(wrong, &[]))
            (change(&format!("/panel/operator/conflicts/{}/resolve", conflict.id), &seat.person.proof, html! {
                fieldset {
                    legend { "As" }
                    @for (word, told) in resolutions(conflict) {
                        div.check { input type="radio" id=(word) name="as" value=(word) required; label for=(word) { (told) } }
                    }
                }
                div.field {
                    label for="reason" { "Reason" span.faint { " (required)" } }
                    textarea id="reason" name="reason" required aria-describedby="reason-help" {}
                    p.help #reason-help { "How you know; it is kept in the audit log." @if conflict.claimed == Status::Failed { " Where the recharge is reversed, the vendor is told it too." } }
                }
                button.main type="submit" { "Resolve" }
            }))
        }
    }
}

fn read_id(text: &str) -> Shown<ConflictId> {
    text.parse().map_err(|_| Refusal::nothing())
}

pub(super) async fn show(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, query: Query) -> Shown {
    page(&api, &seat, &query, read_id(&id)?, &[]).await
}

pub(super) async fn resolve(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, form: Form) -> Shown<Response> {
    let id = read_id(&id)?;
    match api.ops.resolve_conflict(seat.caller, id, form.fields(), IdempotentRequest::unkept()).await {
        Ok(_) => Ok(Redirect::to(&format!("/panel/operator/conflicts/{id}?told=resolved")).into_response()),
        Err(OpsError::Invalid(wrong)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&api, &seat, &Query::default(), id, &wrong).await?).into_response())
        }
        Err(other) => Err(other.into()),
    }
}
