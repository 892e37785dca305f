//! What fails: endpoints, by cause, since when, and what was said to whom.

use axum::extract::State;
use maud::{Markup, html};

use super::super::auth::OfOperator;
use super::super::components::{badge, count, empty, endpoint_status, facts, pager, span, time, time_or_dash, until};
use super::super::error::Shown;
use super::super::form::Query;
use super::super::layout;
use crate::domain::endpoint::EndpointStatus;
use crate::domain::time::Timestamp;
use crate::http::Api;
use crate::ops::Issue;
use crate::store::Cause;

pub(super) async fn list(State(api): State<Api>, seat: OfOperator, query: Query) -> Shown {
    let (issues, next) = api.ops.issues(query.get("cursor").parse().ok()).await?;
    let now = api.ops.now();
    let body = html! {
        div.top { div { h1 { "Issues" } p { "Endpoints that fail, and those that were disabled for it." } } }
        @if issues.is_empty() { section.sheet { (empty("Nothing fails", "Every connected endpoint took what it was sent last.")) } }
        @for found in &issues { (issue(found, now)) }
        (pager(&query, next.map(|id| id.to_string())))
    };
    Ok(layout::of_operator(&seat, &query, ("/issues", "Issues"), body))
}

/// What the attempts of a cause came to, in a few words.
fn came_to(cause: &Cause) -> String {
    let answered = cause.status.map(|status| format!("answered {status}"));
    answered.or_else(|| cause.error.clone()).unwrap_or_else(|| cause.kind.as_str().replace('_', " "))
}

fn issue(Issue { shown, vendor, trouble, causes }: &Issue, now: Timestamp) -> Markup {
    let endpoint = &shown.endpoint;
    let address = endpoint.settings.alert_email.as_deref().unwrap_or(&vendor.email);
    html! {
        section.sheet {
            div.top {
                div {
                    h2 { (endpoint.settings.shown_url()) }
                    p { a href=(format!("/panel/operator/vendors/{}", vendor.id)) { (vendor.name) } " · " (endpoint.mode.as_str()) " · " code { (endpoint.id) } }
                }
                (endpoint_status(endpoint.status, endpoint.failing_since.is_some()))
            }
            (facts(vec![
                ("Failing since", time_or_dash(endpoint.failing_since)),
                ("It is disabled", match (shown.disables_at, endpoint.status) {
                    (Some(at), EndpointStatus::Connected) => until(at, now),
                    (_, EndpointStatus::Disabled) => html! { "already" @if let Some(reason) = &endpoint.status_reason { ": " (reason) } },
                    _ => html! { "–" },
                }),
                ("Waiting", html! { (count(shown.size.open)) @if let Some(age) = shown.oldest { span.faint { ", the oldest for " (span(age)) } } }),
                ("Said to " , html! {
                    (address) ": "
                    @match (trouble.warned_at, trouble.mails_waiting) {
                        (None, 0) if endpoint.status == EndpointStatus::Connected => "nothing yet",
                        (_, 0) => "mailed" ,
                        (_, waiting) => (format!("{waiting} mails wait")),
                    }
                    @if let Some(at) = trouble.warned_at { span.faint { ", warned " (time(at)) } }
                }),
            ]))
            h3 { "Why, of its latest attempts" }
            @if causes.is_empty() { p.soft { "None of those that are kept failed." } }
            @for cause in causes {
                p {
                    (badge("bad", format!("{} ×", cause.times))) " " (came_to(cause))
                    span.faint { ", " @if cause.times > 1 { "first " (time(cause.first_at)) ", last " } (time(cause.last_at)) }
                }
            }
        }
    }
}
