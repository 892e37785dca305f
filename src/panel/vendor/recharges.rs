//! Recharges: the list, and one with all that happened to it.

use axum::extract::{Path, State};
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::super::auth::VendorSession;
use super::super::components::{
    Input, badge, choice, connection, empty, facts, numbers_switch, pager, span, state, status, time, time_or_dash,
};
use super::super::error::sentences;
use super::super::error::{Refusal, Shown};
use super::super::form::{Query, days};
use super::super::layout;
use crate::domain::attempt::OutcomeKind;
use crate::domain::id::{EventId, RechargeId};
use crate::domain::recharge::{Recharge, Status, Verdict};
use crate::domain::time::Timestamp;
use crate::fields::Fields;
use crate::http::Api;
use crate::ops::{OpsError, Shown as ShownDelivery};
use crate::store::{KeptReport, Listed};

pub(super) async fn list(State(api): State<Api>, seat: VendorSession, query: Query) -> Shown {
    let mut fields = query.pick(&["status", "reference_no", "connection_no", "operator", "cursor"]);
    let filters = ["status", "connection_no", "operator", "from", "to"];
    if filters.iter().any(|name| query.has(name)) && query.get("status") != "queued" && !query.has("reference_no") {
        days(&query, &mut fields, api.ops.now());
    }
    let (listed, wrong) = match api.ops.recharges(seat.caller, Fields::new(fields)).await {
        Ok((_, listed)) => (listed, None),
        Err(OpsError::Invalid(problems)) => (Listed { items: Vec::new(), next: None }, Some(sentences(&problems))),
        Err(other) => return Err(other.into()),
    };
    let shown = query.get("numbers") == "shown";
    let body = html! {
        div.top { div { h1 { "Recharges" } p { "Each with what became of it." } } div.acts { (numbers_switch(&query)) } }
        (filter(&query))
        @if let Some(wrong) = wrong { p.notice.bad role="alert" { (wrong) } }
        section.sheet {
            @if listed.items.is_empty() && listed.next.is_some() {
                (empty("None in this part", "There is more to look through: go on to older ones."))
            } @else if listed.items.is_empty() {
                (empty("No recharges here", "Recharges appear as soon as the platform reports them, or you ask for one. Filters look at the last 30 days unless you say otherwise."))
            } @else {
                div.table { table.cards {
                    thead { tr {
                        th scope="col" { "Reference" } th scope="col" { "Status" } th scope="col" { "Number" } th scope="col" { "Network" }
                        th.num scope="col" { "Amount" } th scope="col" { "Made" } th scope="col" { "Settled" }
                    } }
                    tbody { @for recharge in &listed.items { (row(&seat, recharge, shown)) } }
                } }
            }
        }
        (pager(&query, listed.next.map(|id| id.to_string())))
    };
    Ok(layout::of_vendor(&seat, &query, ("/recharges", "Recharges"), body))
}

fn filter(query: &Query) -> Markup {
    let any = [("", "any")].into_iter().chain(Status::ALL.map(|status| (status.as_str(), status.as_str()))).collect::<Vec<_>>();
    let text = |name, label| Input::text(name, label, query.get(name)).draw(&[]);
    html! {
        form.filters method="get" role="search" aria-label="Filter recharges" {
            (choice("status", "Status", &any, query.get("status")))
            (text("reference_no", "Reference"))
            (text("connection_no", "Number"))
            (text("operator", "Network"))
            (Input { kind: "date", ..Input::text("from", "From (UTC)", query.get("from")) }.draw(&[]))
            (Input { kind: "date", ..Input::text("to", "To (UTC)", query.get("to")) }.draw(&[]))
            div.acts { button.main type="submit" { "Filter" } a.button href="?" { "Clear" } }
        }
    }
}

fn row(seat: &VendorSession, recharge: &Recharge, shown: bool) -> Markup {
    let details = &recharge.details;
    html! {
        tr {
            td data-name="Reference" { a href=(seat.at(format!("recharges/{}", recharge.id))) { (recharge.reference_no) } }
            td data-name="Status" { (status(recharge.status)) }
            td data-name="Number" { (connection(details.connection_no.as_deref(), shown)) }
            td data-name="Network" { (details.network.as_deref().unwrap_or("–")) }
            td.num data-name="Amount" { (money(recharge)) }
            td data-name="Made" { (time(recharge.created_at)) }
            td data-name="Settled" { (time_or_dash(recharge.settled_at)) }
        }
    }
}

fn money(recharge: &Recharge) -> String {
    let currency = recharge.details.currency.map_or("", |currency| currency.code());
    recharge.details.amount_text().map_or_else(|| "–".to_owned(), |amount| format!("{amount} {currency}"))
}

// --- One recharge ----------------------------------------------------------------------------------------------------

/// Something that happened to a recharge.
struct Moment {
    at: Timestamp,
    kind: &'static str,
    told: Markup,
}

pub(super) async fn show(State(api): State<Api>, seat: VendorSession, Path(id): Path<String>, query: Query) -> Shown {
    let id: RechargeId = id.parse().map_err(|_| Refusal::nothing())?;
    let (_, recharge, reports) = api.ops.recharge(seat.caller, id).await?;
    let deliveries = match recharge.event {
        Some(sequence) => deliveries_of(&api, &seat, EventId { stream: recharge.stream, sequence }).await?,
        None => Vec::new(),
    };
    let shown = query.get("numbers") == "shown";
    let details = &recharge.details;
    let text = |value: &Option<String>| html! { (value.as_deref().unwrap_or("–")) };
    let took = recharge.settled_at.map(|at| at.since(recharge.created_at));
    let body = html! {
        div.top {
            div { h1 { (recharge.reference_no) } p { "Recharge " code { (recharge.id) } } }
            div.acts { (status(recharge.status)) @if recharge.late { (badge("wait", "late")) } (numbers_switch(&query)) }
        }
        section.sheet {
            (facts(vec![
                ("Amount", html! { (money(&recharge)) }),
                ("Number", connection(details.connection_no.as_deref(), shown)),
                ("Network", text(&details.network)),
                ("Provider", text(&details.provider)),
                ("Provider's reference", text(&details.provider_ref)),
                ("Reason", text(&details.reason)),
                ("Transaction", html! { (recharge.transaction_id) }),
                ("Made", time(recharge.created_at)),
                ("Settled", html! { (time_or_dash(recharge.settled_at)) @if let Some(took) = took.filter(|took| !took.is_zero()) { span.faint { " after " (span(took)) } } }),
            ]))
        }
        section.sheet {
            h2 { "What happened" }
            (timeline(&seat, &recharge, &reports, &deliveries))
        }
    };
    Ok(layout::of_vendor(&seat, &query, ("/recharges", &recharge.reference_no), body))
}

async fn deliveries_of(api: &Api, seat: &VendorSession, event: EventId) -> Shown<Vec<ShownDelivery>> {
    let fields = Map::from_iter([("event_id".to_owned(), Value::from(event.to_string()))]);
    Ok(api.ops.deliveries(seat.caller, Fields::new(fields)).await?.items)
}

fn timeline(seat: &VendorSession, recharge: &Recharge, reports: &[KeptReport], deliveries: &[ShownDelivery]) -> Markup {
    let mut moments: Vec<Moment> = reports.iter().map(reported).collect();
    if let Some(sequence) = recharge.event {
        let id = EventId { stream: recharge.stream, sequence };
        let told = html! { strong { "Event " (sequence) } " tells it: " a href=(seat.at(format!("events/{id}"))) { code { (id) } } };
        let at = deliveries.first().map(|shown| shown.delivery.event.created_at).or(recharge.settled_at).unwrap_or(recharge.created_at);
        moments.push(Moment { at, kind: "good", told });
    }
    for ShownDelivery { delivery, .. } in deliveries {
        for attempt in &delivery.attempts {
            let outcome = &attempt.outcome;
            let kind = if outcome.kind == OutcomeKind::Succeeded { "good" } else { "bad" };
            let told = html! {
                strong { "Attempt " (attempt.number) @if attempt.run > 1 { " of run " (attempt.run) } } " to "
                a href=(seat.at(format!("deliveries/{}", delivery.id))) { "endpoint " code { (delivery.id.endpoint) } } ": "
                (outcome.status.map_or_else(|| outcome.kind.as_str().replace('_', " "), |status| format!("answered {status}")))
                " after " (span(std::time::Duration::from_micros(u64::from(outcome.phases.total))))
            };
            moments.push(Moment { at: attempt.started_at, kind, told });
        }
    }
    moments.sort_by_key(|moment| moment.at);
    html! {
        ol.timeline {
            @for Moment { at, kind, told } in &moments { li class=(kind) { div { (told) } div.when { (time(*at)) } } }
            @for ShownDelivery { delivery, .. } in deliveries.iter().filter(|shown| shown.delivery.next_attempt_at.is_some()) {
                li.wait {
                    div { (state(delivery.state)) " The next attempt to endpoint " code { (delivery.id.endpoint) } }
                    div.when { (time_or_dash(delivery.next_attempt_at)) }
                }
            }
            @if recharge.status == Status::Queued {
                li.wait { div { "Queued: nobody has said yet what became of it." } }
            } @else if deliveries.is_empty() {
                li { div { "No endpoint was connected then, or none wanted this event." } }
            }
        }
    }
}

/// A report, as it stands in a timeline.
pub(in super::super) fn report(report: &KeptReport) -> Markup {
    let Moment { at, kind, told } = reported(report);
    html! { li class=(kind) { div { (told) } div.when { (time(at)) } } }
}

fn reported(report: &KeptReport) -> Moment {
    let kind = match report.verdict {
        Verdict::Conflict => "bad",
        Verdict::Duplicate => "",
        _ if report.status == Status::Queued => "wait",
        _ => "good",
    };
    let told = html! {
        @if report.verdict == Verdict::Created { strong { "Made: " } }
        strong { (report.source) } " says " (status(report.status))
        @match report.verdict {
            Verdict::Duplicate => span.faint { " (nothing new)" },
            Verdict::Conflict => span { " and contradicts the ledger; it moves nothing, and the operator decides" },
            _ => {},
        }
        @if let Some(reason) = &report.reason { ": " (reason) }
        @if let Some(reference) = &report.provider_ref { span.faint { ", reference " (reference) } }
    };
    Moment { at: report.received_at, kind, told }
}
