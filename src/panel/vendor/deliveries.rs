//! Deliveries: the list, and one with each of its attempts.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Redirect;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::super::auth::{Developer, VendorSession};
use super::super::components::{Input, act, badge, choice, dash, empty, facts, hidden, pager, span, state, time, time_or_dash};
use super::super::error::{Refusal, Shown, sentences};
use super::super::form::{Form, PROOF, Query, days};
use super::super::layout;
use crate::domain::attempt::{Attempt, OutcomeKind, Phases};
use crate::domain::delivery::{DeliveryState, EndReason};
use crate::domain::id::DeliveryId;
use crate::domain::user::Role;
use crate::fields::Fields;
use crate::http::Api;
use crate::limits;
use crate::ops::{IdempotentRequest, OpsError, Shown as ShownDelivery};
use crate::store::Listed;

pub(super) async fn list(State(api): State<Api>, seat: VendorSession, query: Query) -> Shown {
    let mut fields = query.pick(&["endpoint_id", "state", "event_id", "type", "cursor"]);
    let costly = query.has("type") || (query.has("state") && !query.has("endpoint_id"));
    if !query.has("event_id") && (costly || query.has("from") || query.has("to")) {
        days(&query, &mut fields, api.ops.now());
    }
    let (listed, wrong) = match api.ops.deliveries(seat.caller, Fields::new(fields)).await {
        Ok(listed) => (listed, None),
        Err(OpsError::Invalid(problems)) => (Listed { items: Vec::new(), next: None }, Some(sentences(&problems))),
        Err(other) => return Err(other.into()),
    };
    let (endpoints, _) = api.ops.endpoints(seat.caller, Fields::default()).await?;
    let endpoints: Vec<(String, String)> =
        endpoints.iter().map(|shown| (shown.endpoint.id.to_string(), shown.endpoint.settings.shown_url())).collect();
    let body = html! {
        div.top { div { h1 { "Deliveries" } p { "Each event on its way to each endpoint, with every attempt." } } }
        (filter(&query, &endpoints))
        @if let Some(wrong) = wrong { p.notice.bad role="alert" { (wrong) } }
        section.sheet {
            @if listed.items.is_empty() {
                (empty("No deliveries here", "One is made for each endpoint that is connected when an event happens. Filters look at the last 30 days unless you say otherwise."))
            } @else if seat.person.may(Role::Developer) {
                form method="post" action=(seat.at("deliveries/resend")) {
                    (hidden(PROOF, &seat.person.proof))
                    (table(&seat, &listed.items, true))
                    p {}
                    div.acts {
                        div.check { input type="checkbox" id="all" data-all="yes"; label for="all" { "All on this page" } }
                        button type="submit" { "Send the selected ones again" }
                    }
                }
            } @else {
                (table(&seat, &listed.items, false))
            }
        }
        (pager(&query, listed.next.map(|id| id.to_string())))
    };
    Ok(layout::of_vendor(&seat, &query, ("/deliveries", "Deliveries"), body))
}

fn filter(query: &Query, endpoints: &[(String, String)]) -> Markup {
    let states = [("", "any")].into_iter().chain(DeliveryState::ALL.map(|state| (state.as_str(), state.as_str()))).collect::<Vec<_>>();
    let endpoints = [("", "all")].into_iter().chain(endpoints.iter().map(|(id, url)| (id.as_str(), url.as_str()))).collect::<Vec<_>>();
    html! {
        form.filters method="get" role="search" aria-label="Filter deliveries" {
            (choice("state", "State", &states, query.get("state")))
            (choice("endpoint_id", "Endpoint", &endpoints, query.get("endpoint_id")))
            (Input::text("type", "Event type", query.get("type")).draw(&[]))
            (Input { kind: "date", ..Input::text("from", "From (UTC)", query.get("from")) }.draw(&[]))
            (Input { kind: "date", ..Input::text("to", "To (UTC)", query.get("to")) }.draw(&[]))
            div.acts { button.main type="submit" { "Filter" } a.button href="?" { "Clear" } }
        }
    }
}

/// Deliveries as rows, with boxes to select them where that is asked for.
pub(super) fn table(seat: &VendorSession, deliveries: &[ShownDelivery], select: bool) -> Markup {
    html! {
        div.table { table.cards {
            thead { tr {
                @if select { th scope="col" { "Select" } }
                th scope="col" { "Event" } th scope="col" { "State" } th scope="col" { "Attempts" } th scope="col" { "Last answer" } th scope="col" { "Happened" } th scope="col" { "Next attempt" }
            } }
            tbody { @for shown in deliveries { (row(seat, shown, select)) } }
        } }
    }
}

fn row(seat: &VendorSession, ShownDelivery { delivery, .. }: &ShownDelivery, select: bool) -> Markup {
    let id = delivery.id.to_string();
    html! {
        tr {
            @if select {
                td data-name="Select" { input type="checkbox" name="id" value=(id) aria-label={ "Select the delivery of event " (delivery.id.sequence) }; }
            }
            td data-name="Event" { a href=(seat.at(format!("deliveries/{id}"))) { (delivery.event.event_type) } span.faint { " no. " (delivery.id.sequence) } }
            td data-name="State" { (state(delivery.state)) }
            td data-name="Attempts" { (delivery.attempts.len()) @if delivery.run > 1 { span.faint { " in " (delivery.run) " runs" } } }
            td data-name="Last answer" { @match delivery.attempts.last() { Some(attempt) => (answer(attempt)), None => (dash()) } }
            td data-name="Happened" { (time(delivery.event.created_at)) }
            td data-name="Next attempt" { (time_or_dash(delivery.next_attempt_at)) }
        }
    }
}

fn answer(attempt: &Attempt) -> Markup {
    let outcome = &attempt.outcome;
    let kind = if outcome.kind == OutcomeKind::Succeeded { "good" } else { "bad" };
    badge(kind, outcome.status.map_or_else(|| outcome.kind.as_str().replace('_', " "), |status| status.to_string()))
}

// --- One delivery ----------------------------------------------------------------------------------------------------

fn read_id(text: &str) -> Shown<DeliveryId> {
    text.parse().map_err(|_| Refusal::nothing())
}

pub(super) async fn show(State(api): State<Api>, seat: VendorSession, Path(id): Path<String>, query: Query) -> Shown {
    let ShownDelivery { delivery, request_headers } = api.ops.delivery(seat.caller, read_id(&id)?).await?;
    let at = |rest: &str| seat.at(format!("deliveries/{id}/{rest}"));
    let is_pending = delivery.state == DeliveryState::Pending;
    let body = html! {
        div.top {
            div { h1 { (delivery.event.event_type) } p { "Event no. " (delivery.id.sequence) " to an endpoint · " code { (id) } } }
            div.acts {
                (state(delivery.state))
                @if seat.person.may(Role::Developer) {
                    @if is_pending { (act(&at("cancel"), &seat.person.proof, ("danger", "Cancel"), html! {})) }
                    @else { (act(&at("resend"), &seat.person.proof, ("main", "Send again"), html! {})) }
                }
            }
        }
        section.sheet {
            (facts(vec![
                ("Event", html! { a href=(seat.at(format!("events/{}", delivery.event.id))) { (delivery.event.id) } }),
                ("Endpoint", html! { a href=(seat.at(format!("webhooks/{}", delivery.id.endpoint))) { (delivery.id.endpoint) } }),
                ("Recharge", match delivery.event.recharge() {
                    Some(recharge) => html! { a href=(seat.at(format!("recharges/{recharge}"))) { (recharge) } },
                    None => dash(),
                }),
                ("Next attempt", html! { @if is_pending && delivery.next_attempt_at.is_none() { "as soon as it is its turn" } @else { (time_or_dash(delivery.next_attempt_at)) } }),
                (if is_pending { "It is given up" } else { "Deadline" }, time(delivery.deadline)),
                ("First taken", time_or_dash(delivery.first_succeeded_at)),
                ("Run", html! { (delivery.run) }),
            ]))
            @if let Some(reason) = delivery.end_reason { p {} p.notice.wait { (ended(reason)) } }
        }
        h2 { "Attempts" }
        @if delivery.attempts.is_empty() { section.sheet { (empty("None yet", "The first is made as soon as it is its turn.")) } }
        @if delivery.attempts.len() == limits::ATTEMPTS_SHOWN { p.soft { "The latest " (limits::ATTEMPTS_SHOWN) " of them." } }
        @for (one, headers) in delivery.attempts.iter().zip(&request_headers).rev() {
            section.sheet { (attempt(one, headers)) }
        }
    };
    Ok(layout::of_vendor(&seat, &query, ("/deliveries", "Delivery"), body))
}

fn ended(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Held => "It ended without a last attempt: the endpoint failed at everything, so that only probes were sent.",
        EndReason::Blocked => "It ended without a last attempt: others stood before it until its deadline.",
        EndReason::Paused => "It ended without a last attempt: the vendor was disabled.",
        EndReason::Disabled => "It ended without a last attempt: the endpoint was disabled.",
        EndReason::Deleted => "It was cancelled with its endpoint.",
        EndReason::Requested => "A person cancelled it.",
    }
}

/// One attempt: what was asked, what came back, and where the time went.
pub(super) fn attempt(attempt: &Attempt, headers: &[(String, String)]) -> Markup {
    let outcome = &attempt.outcome;
    html! {
        div.acts {
            strong { "Attempt " (attempt.number) @if attempt.run > 1 { " of run " (attempt.run) } }
            (answer(attempt)) span.soft { (time(attempt.started_at)) }
        }
        p {}
        (phases(outcome.phases))
        @if let Some(error) = &outcome.error { p.notice.bad { (error) } }
        details.more {
            summary { "What was sent" }
            pre.wrap tabindex="0" aria-label="Headers of the request" { @for (name, value) in headers { (name) ": " (value) "\n" } }
        }
        @if outcome.answer_headers.is_some() || outcome.answer_body.is_some() {
            details.more {
                summary { "What came back" }
                @if let Some(headers) = &outcome.answer_headers { pre.wrap tabindex="0" aria-label="Headers of the answer" { (headers) } }
                @if let Some(body) = &outcome.answer_body {
                    p.help { "The beginning of the body:" }
                    pre.wrap tabindex="0" aria-label="Body of the answer" { (String::from_utf8_lossy(body)) }
                }
            }
        }
    }
}

/// Where the time went, as a bar with its key.
fn phases(phases: Phases) -> Markup {
    let known = [
        ("resolve", "name", phases.resolve),
        ("connect", "connect", phases.connect),
        ("tls", "TLS", phases.tls),
        ("first", "waiting for the answer", phases.first_byte),
    ];
    let sum: u32 = known.iter().filter_map(|(_, _, micros)| *micros).sum();
    let rest = phases.total.saturating_sub(sum);
    let parts: Vec<(&str, &str, u32)> = known
        .into_iter()
        .filter_map(|(class, name, micros)| Some((class, name, micros?)))
        .chain([("rest", "reading it", rest)])
        .filter(|(_, _, micros)| *micros > 0)
        .collect();
    let scale = 1000.0 / f64::from(phases.total.max(1));
    let told = |micros: u32| span(Duration::from_micros(u64::from(micros)));
    let bars = parts.iter().scan(0.0, |reached, (class, _, micros)| {
        let (x, width) = (*reached, f64::from(*micros) * scale);
        *reached += width;
        Some((*class, format!("{x:.1}"), format!("{width:.1}")))
    });
    html! {
        svg.phases viewBox="0 0 1000 14" preserveAspectRatio="none" aria-hidden="true" {
            @for (class, x, width) in bars { rect class=(class) x=(x) y="0" width=(width) height="14" {} }
        }
        p.key {
            @for (class, name, micros) in &parts { span { svg.phases viewBox="0 0 10 10" aria-hidden="true" { rect class=(class) width="10" height="10" {} } (name) " " (told(*micros)) } }
            span { "in all " (told(phases.total)) }
        }
    }
}

// --- What can be done ------------------------------------------------------------------------------------------------

pub(super) async fn resend(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, form: Form) -> Shown<Redirect> {
    api.ops.resend(seat.caller, read_id(&id)?, form.fields(), IdempotentRequest::unkept()).await?;
    Ok(Redirect::to(&seat.at(format!("deliveries/{id}?told=resent"))))
}

pub(super) async fn cancel(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, form: Form) -> Shown<Redirect> {
    api.ops.cancel(seat.caller, read_id(&id)?, form.fields()).await?;
    Ok(Redirect::to(&seat.at(format!("deliveries/{id}?told=delivery-cancelled"))))
}

/// Sends the selected ones again. One that cannot be sent again now (it is pending, or its endpoint is disabled) is passed by.
pub(super) async fn resend_many(State(api): State<Api>, Developer(seat): Developer, form: Form) -> Shown<Redirect> {
    let selected = form.all("id");
    for id in selected.iter().take(limits::PAGE_MAX) {
        match api.ops.resend(seat.caller, read_id(id)?, Fields::new(Map::<String, Value>::new()), IdempotentRequest::unkept()).await {
            Ok(_) | Err(OpsError::IllegalState(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    let told = if selected.is_empty() { "nothing-selected" } else { "resent-some" };
    Ok(Redirect::to(&seat.at(format!("deliveries?told={told}"))))
}
