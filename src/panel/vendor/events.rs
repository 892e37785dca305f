//! The feed: events with their numbers, and one with its JSON.

use axum::extract::{Path, State};
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::super::auth::VendorSession;
use super::super::components::{code, empty, facts, numbers_switch, time};
use super::super::error::{Refusal, Shown};
use super::super::form::Query;
use super::super::layout;
use super::deliveries;
use crate::domain::alert::masked;
use crate::domain::event::Event;
use crate::domain::id::EventId;
use crate::domain::json;
use crate::fields::Fields;
use crate::http::Api;
use crate::limits;
use crate::wire::standard;

pub(super) async fn list(State(api): State<Api>, seat: VendorSession, query: Query) -> Shown {
    let few = |after: Option<i64>| {
        let mut fields = Map::from_iter([("limit".to_owned(), Value::from(limits::PAGE_DEFAULT))]);
        after.into_iter().for_each(|after| drop(fields.insert("after".to_owned(), Value::from(after))));
        Fields::new(fields)
    };
    let page = limits::PAGE_DEFAULT as i64;
    let known = api.ops.events(seat.caller, few(None)).await?.feed;
    let end = query.get("cursor").parse::<i64>().map_or(known.latest, |before| before - 1).min(known.latest);
    let after = (end - page).max(known.oldest - 1);
    let mut events = if end < known.oldest { Vec::new() } else { api.ops.events(seat.caller, few(Some(after))).await?.feed.events };
    events.retain(|event| event.id.sequence <= end);
    events.reverse();
    let older = events.last().map(|event| event.id.sequence).filter(|first| *first > known.oldest);
    let body = html! {
        div.top { div { h1 { "Events" } p { "What your endpoints are told, in the order of its numbers, without gaps. The same can be polled: " code { "GET /v1/events" } "." } } }
        section.sheet {
            @if events.is_empty() { (empty("No events yet", "The first one is made when a recharge comes to an outcome.")) }
            @else {
                div.table { table.cards {
                    thead { tr { th.num scope="col" { "No." } th scope="col" { "Type" } th scope="col" { "About" } th scope="col" { "Happened" } th scope="col" { "Id" } } }
                    tbody { @for event in &events { (row(&seat, event)) } }
                } }
            }
        }
        nav.pager aria-label="Parts of the list" {
            @if query.has("cursor") { a.button href="?" { "Newest" } }
            @if let Some(older) = older { a.button href=(query.with("cursor", &older.to_string())) { "Older" } }
        }
    };
    Ok(layout::of_vendor(&seat, &query, ("/events", "Events"), body))
}

fn row(seat: &VendorSession, event: &Event) -> Markup {
    html! {
        tr {
            td.num data-name="No." { (event.id.sequence) }
            td data-name="Type" { a href=(seat.at(format!("events/{}", event.id))) { (event.event_type) } }
            td data-name="About" {
                @match event.recharge() { Some(id) => a href=(seat.at(format!("recharges/{id}"))) { (id) }, None => span.faint { "the platform's own" } }
            }
            td data-name="Happened" { (time(event.created_at)) }
            td data-name="Id" { code { (event.id) } }
        }
    }
}

pub(super) async fn show(State(api): State<Api>, seat: VendorSession, Path(id): Path<String>, query: Query) -> Shown {
    let id: EventId = id.parse().map_err(|_| Refusal::nothing())?;
    let event = api.ops.event(seat.caller, id).await?;
    let of_event = Map::from_iter([("event_id".to_owned(), Value::from(id.to_string()))]);
    let deliveries = api.ops.deliveries(seat.caller, Fields::new(of_event)).await?.items;
    let shown = query.get("numbers") == "shown";
    let mut body = json::parse(&standard::body(&event)).unwrap_or_default();
    if !shown {
        hide(&mut body);
    }
    let text = serde_json::to_string_pretty(&body).unwrap_or_default();
    let drawn = html! {
        div.top { div { h1 { (event.event_type) } p { "Event no. " (id.sequence) } } div.acts { (numbers_switch(&query)) } }
        section.sheet {
            (facts(vec![
                ("Id (webhook-id)", html! { code { (id) } }),
                ("Happened", time(event.created_at)),
                ("About", match event.recharge() { Some(id) => html! { a href=(seat.at(format!("recharges/{id}"))) { (id) } }, None => html! { "the platform's own" } }),
            ]))
        }
        section.sheet {
            h2 { "As an endpoint of the profile standard gets it" }
            (code("The event's JSON", &text))
            @if !shown { p.help { "The connection number is hidden. The bytes that are sent have no line breaks." } }
        }
        section.sheet {
            h2 { "Deliveries" }
            @if deliveries.is_empty() { p.soft { "None: no endpoint that wanted it was connected then." } }
            @else { (deliveries::table(&seat, &deliveries, false)) }
        }
    };
    Ok(layout::of_vendor(&seat, &query, ("/events", &event.event_type), drawn))
}

/// Hides connection numbers, wherever they stand.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match field {
                    Value::String(number) if name == "connection_no" => *number = masked(number),
                    other => hide(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}
