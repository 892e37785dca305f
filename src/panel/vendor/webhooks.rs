//! All endpoints of a mode, and replays to them.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::super::auth::{Developer, VendorSession};
use super::super::components::{act, change, count, empty, endpoint_status, hidden, span, time};
use super::super::error::{Refusal, Shown};
use super::super::form::{Form, Query};
use super::super::layout;
use crate::domain::id::{EndpointId, ReplayId};
use crate::domain::replay::{Replay, ReplayState};
use crate::domain::user::Role;
use crate::fields::Fields;
use crate::http::Api;
use crate::ops::{IdempotentRequest, Replaying, ShownEndpoint};

pub(super) async fn list(State(api): State<Api>, seat: VendorSession, query: Query) -> Shown {
    let (endpoints, _) = api.ops.endpoints(seat.caller, Fields::default()).await?;
    let may = seat.person.may(Role::Developer);
    let body = html! {
        div.top {
            div { h1 { "Webhooks" } p { "Where your systems are told what became of recharges." } }
            @if may { div.acts { a.button.main href=(seat.at("webhooks/new")) { "Add an endpoint" } } }
        }
        section.sheet {
            @if endpoints.is_empty() {
                (empty("No endpoint yet", "Write a receiver (Developers has one in your language), add its address here, and connect it."))
            } @else {
                div.table { table.cards {
                    thead { tr {
                        th scope="col" { "Endpoint" } th scope="col" { "Status" } th scope="col" { "Profile" } th scope="col" { "Events" }
                        th scope="col" { "Waiting" } th scope="col" { "Connected" }
                    } }
                    tbody { @for shown in &endpoints { (row(&seat, shown)) } }
                } }
            }
        }
    };
    Ok(layout::of_vendor(&seat, &query, ("/webhooks", "Webhooks"), body))
}

fn row(seat: &VendorSession, shown: &ShownEndpoint) -> Markup {
    let (endpoint, settings) = (&shown.endpoint, &shown.endpoint.settings);
    html! {
        tr {
            td data-name="Endpoint" {
                a href=(seat.at(format!("webhooks/{}", endpoint.id))) { (settings.shown_url()) }
                @if let Some(description) = &settings.description { div.faint { (description) } }
            }
            td data-name="Status" { (endpoint_status(endpoint.status, endpoint.failing_since.is_some())) }
            td data-name="Profile" { (settings.profile.as_str()) }
            td data-name="Events" { (settings.event_types.patterns().join(", ")) }
            td data-name="Waiting" {
                (count(shown.size.open)) @if let Some(age) = shown.oldest { span.faint { ", oldest " (span(age)) } }
            }
            td data-name="Connected" { @match endpoint.connected_at { Some(at) => (time(at)), None => span.faint { "never" } } }
        }
    }
}

/// First a preview of what would be sent, then the sending.
pub(super) async fn replay(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, mut form: Form) -> Shown<Response> {
    let id: EndpointId = id.parse().map_err(|_| Refusal::nothing())?;
    for name in ["since", "until"] {
        let text = form.text(name).to_owned();
        // A form's time has neither seconds nor a zone; it is UTC, as its label says.
        if text.len() == "2026-11-26T12:00".len() {
            form.0.insert(name.to_owned(), Value::from(format!("{text}:00Z")));
        }
    }
    let fields = form.0.clone();
    match api.ops.replay(seat.caller, id, form.fields(), IdempotentRequest::unkept()).await? {
        Replaying::Started(_) => Ok(Redirect::to(&seat.at(format!("webhooks/{id}?told=replay-started"))).into_response()),
        Replaying::Dry(matched) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let only = match text("only").as_str() {
                "missed" => "that it never got",
                "failed" => "whose delivery never succeeded",
                _ => "whether or not it got them before",
            };
            let body = html! {
                div.top { h1 { "Replay" } }
                section.sheet {
                    p { strong { (count(matched)) @if matched == 1 { " event" } @else { " events" } } " would be sent to this endpoint: those from " (text("since"))
                        @if text("until").is_empty() { " until now" } @else { " until " (text("until")) } ", " (only) "." }
                    p.soft { "They go out behind new events, and their ids and numbers are what they were, so that a receiver that knows them does nothing twice." }
                    div.acts {
                        @if matched > 0 {
                            (act(&seat.at(format!("webhooks/{id}/replay")), &seat.person.proof, ("main", "Send them"), html! {
                                @for name in ["since", "until", "only", "event_types"] { @if !text(name).is_empty() { (hidden(name, &text(name))) } }
                            }))
                        }
                        a.button href=(seat.at(format!("webhooks/{id}"))) { "Back" }
                    }
                }
            };
            Ok(layout::of_vendor(&seat, &Query::default(), ("/webhooks", "Replay"), body).into_response())
        }
    }
}

pub(super) async fn cancel_replay(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, _: Form) -> Shown<Redirect> {
    let id: ReplayId = id.parse().map_err(|_| Refusal::nothing())?;
    let endpoint = api.ops.one_replay(seat.caller, id).await?.endpoint;
    api.ops.cancel_replay(seat.caller, id).await?;
    Ok(Redirect::to(&seat.at(format!("webhooks/{endpoint}?told=replay-cancelled"))))
}

/// The form that begins one, and those of late to this endpoint.
pub(super) fn replays(seat: &VendorSession, id: EndpointId, replays: &[Replay]) -> Markup {
    html! {
        section.sheet #replay {
            h2 { "Replay" }
            @if seat.person.may(Role::Developer) {
                p.soft { "Send events of a time again, after an outage on your side or a fault in your receiver. You see how many first." }
                (change(&seat.at(format!("webhooks/{id}/replay")), &seat.person.proof, html! {
                    (hidden("dry_run", "true"))
                    div.filters {
                        div.field { label for="in-since" { "From (UTC)" } input id="in-since" name="since" type="datetime-local" required; }
                        div.field { label for="in-until" { "Until (UTC), or now" } input id="in-until" name="until" type="datetime-local"; }
                        div.field {
                            label for="in-only" { "Which" }
                            select id="in-only" name="only" {
                                option value="missed" { "those it never got" } option value="failed" { "those that never succeeded" } option value="all" { "all" }
                            }
                        }
                        button type="submit" { "Preview" }
                    }
                }))
            }
            @for replay in replays.iter().filter(|replay| replay.endpoint == id).take(5) {
                div.acts {
                    span { (count(replay.done)) " of " (count(replay.matched)) " done, begun " (time(replay.created_at)) }
                    @match replay.state {
                        ReplayState::Running => {
                            progress max=(replay.matched.max(1)) value=(replay.done) aria-label="Progress of the replay" {}
                            @if seat.person.may(Role::Developer) {
                                (act(&seat.at(format!("replays/{}/cancel", replay.id)), &seat.person.proof, ("small", "Cancel"), html! {}))
                            }
                        },
                        ReplayState::Done => span.badge.good { "done" },
                        ReplayState::Cancelled => span.badge.off { "cancelled" },
                    }
                }
            }
        }
    }
}
