//! The audit log.

use axum::extract::State;
use maud::{Markup, html};

use super::super::auth::OfOperator;
use super::super::components::{Input, empty, pager, time};
use super::super::error::{Shown, sentences};
use super::super::form::{Query, days};
use super::super::layout;
use crate::domain::audit::Entry;
use crate::fields::Fields;
use crate::http::Api;
use crate::ops::OpsError;
use crate::store::Listed;

pub(super) async fn list(State(api): State<Api>, seat: OfOperator, query: Query) -> Shown {
    let mut fields = query.pick(&["vendor_id", "action", "cursor"]);
    if query.has("action") || query.has("from") || query.has("to") {
        days(&query, &mut fields, api.ops.now());
    }
    let (listed, wrong) = match api.ops.audit(Fields::new(fields)).await {
        Ok(listed) => (listed, None),
        Err(OpsError::Invalid(problems)) => (Listed { items: Vec::new(), next: None }, Some(sentences(&problems))),
        Err(other) => return Err(other.into()),
    };
    let body = html! {
        div.top { div { h1 { "Audit" } p { "Who changed what." } } }
        form.filters method="get" role="search" aria-label="Filter the log" {
            (Input::text("action", "Action, such as endpoint.", query.get("action")).draw(&[]))
            (Input::text("vendor_id", "Vendor's id", query.get("vendor_id")).draw(&[]))
            (Input { kind: "date", ..Input::text("from", "From (UTC)", query.get("from")) }.draw(&[]))
            (Input { kind: "date", ..Input::text("to", "To (UTC)", query.get("to")) }.draw(&[]))
            div.acts { button.main type="submit" { "Filter" } a.button href="?" { "Clear" } }
        }
        @if let Some(wrong) = wrong { p.notice.bad role="alert" { (wrong) } }
        section.sheet {
            @if listed.items.is_empty() { (empty("No entries here", "Everything that people, tokens, commands and rules change is noted.")) }
            @else {
                div.table { table.cards {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "To" } th scope="col" { "Vendor" } th scope="col" { "More" } } }
                    tbody { @for entry in &listed.items { (row(entry)) } }
                } }
            }
        }
        (pager(&query, listed.next.map(|id| id.to_string())))
    };
    Ok(layout::of_operator(&seat, &query, ("/audit", "Audit"), body))
}

fn row(entry: &Entry) -> Markup {
    let is_empty = entry.details.as_object().is_some_and(serde_json::Map::is_empty);
    html! {
        tr {
            td data-name="When" { (time(entry.at)) }
            td data-name="Who" { (entry.actor) @if let Some(address) = &entry.address { div.faint { (address) } } }
            td data-name="What" { (entry.action) }
            td data-name="To" { code { (entry.object) } }
            td data-name="Vendor" {
                @match entry.vendor { Some(id) => a href=(format!("/panel/operator/vendors/{id}")) { code { (id) } }, None => span.faint { "–" } }
                @if let Some(mode) = entry.mode { span.faint { " " (mode.as_str()) } }
            }
            td data-name="More" { @if !is_empty { span.mono { (entry.details) } } }
        }
    }
}
