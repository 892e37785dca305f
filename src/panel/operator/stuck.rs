//! Recharges of which nobody can tell what became of them, to be settled by a person.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::super::auth::OfOperator;
use super::super::components::{Input, change, choice, connection, empty, facts, numbers_switch, pager, problems, time, time_or_dash};
use super::super::error::{Refusal, Shown};
use super::super::form::{Form, Query};
use super::super::layout;
use crate::domain::id::RechargeId;
use crate::domain::submission::Submission;
use crate::fields::{Fields, Problem};
use crate::http::Api;
use crate::ops::{IdempotentRequest, OpsError, StreamScope};

async fn page(api: &Api, seat: &OfOperator, query: &Query, wrong: &[Problem]) -> Shown {
    let listed = api.ops.stuck(Fields::new(query.pick(&["cursor"]))).await?;
    let shown = query.get("numbers") == "shown";
    let body = html! {
        div.top { div { h1 { "Stuck" } p { "Their provider has not said for three days what became of them, and is not asked any more. Find out, and settle them here; the vendor is told." } } div.acts { (numbers_switch(query)) } }
        (problems(wrong, &[]))
        @if listed.items.is_empty() { section.sheet { (empty("Nothing is stuck", "Every recharge is settled, or its provider is still being asked.")) } }
        @for (mine, submission) in &listed.items { (one(seat, *mine, submission, shown)) }
        (pager(query, listed.next.map(|id| id.to_string())))
    };
    Ok(layout::of_operator(seat, query, ("/stuck", "Stuck"), body))
}

fn one(seat: &OfOperator, mine: StreamScope, submission: &Submission, shown: bool) -> Markup {
    let (recharge, details) = (&submission.recharge, &submission.recharge.details);
    html! {
        section.sheet {
            h2 { (recharge.reference_no) " " code { (recharge.id) } }
            (facts(vec![
                ("Vendor", html! { a href=(format!("/panel/operator/vendors/{}", mine.vendor)) { (mine.vendor) } ", " (mine.mode.as_str()) }),
                ("Amount", html! { (details.amount_text().unwrap_or_default()) " " (details.currency.map_or("", |currency| currency.code())) }),
                ("Number", connection(details.connection_no.as_deref(), shown)),
                ("Network", html! { (details.network.as_deref().unwrap_or("–")) }),
                ("Provider", html! { (details.provider.as_deref().unwrap_or("–")) ", asked " (submission.asked) " times" }),
                ("Made", time(recharge.created_at)),
                ("Handed over", time_or_dash(submission.sent_at)),
            ]))
            h3 { "Settle it" }
            (change(&format!("/panel/operator/stuck/{}/settle", recharge.id), &seat.person.proof, html! {
                div.filters {
                    (choice("status", "It came to", &[("success", "success"), ("failed", "failed")], ""))
                    (Input { required: true, help: None, ..Input::text("reason", "How you know", "") }.draw(&[]))
                    (Input::text("provider_ref", "Provider's reference", "").draw(&[]))
                    button.main type="submit" { "Settle" }
                }
            }))
        }
    }
}

pub(super) async fn list(State(api): State<Api>, seat: OfOperator, query: Query) -> Shown {
    page(&api, &seat, &query, &[]).await
}

pub(super) async fn settle(State(api): State<Api>, seat: OfOperator, Path(id): Path<String>, form: Form) -> Shown<Response> {
    let id: RechargeId = id.parse().map_err(|_| Refusal::nothing())?;
    match api.ops.settle_recharge(seat.caller, id, form.fields(), IdempotentRequest::unkept()).await {
        Ok(_) => Ok(Redirect::to("/panel/operator/stuck?told=settled").into_response()),
        Err(OpsError::Invalid(wrong)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&api, &seat, &Query::default(), &wrong).await?).into_response())
        }
        Err(other) => Err(other.into()),
    }
}
