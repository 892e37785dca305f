//! The first page: what needs attention, how recharges stand, how the endpoints do.

use std::time::Duration;

use axum::extract::State;
use maud::{Markup, html};

use super::super::auth::VendorSession;
use super::super::components::{ago, count, endpoint_status, span, time, until};
use super::super::error::Shown;
use super::super::form::Query;
use super::super::layout;
use crate::domain::endpoint::EndpointStatus;
use crate::domain::time::Timestamp;
use crate::domain::user::Role;
use crate::fields::Fields;
use crate::http::Api;
use crate::ops::ShownEndpoint;
use crate::store::{Hour, Standing};

/// Hours that the chart goes back.
const HOURS: i64 = 24;
/// A recharge that is queued for longer than this is worth a look.
const LONG_QUEUED: Duration = Duration::from_secs(3600);

pub(super) async fn show(State(api): State<Api>, seat: VendorSession, query: Query) -> Shown {
    let now = api.ops.now();
    let since = Timestamp::from_millis(now.as_millis() - (HOURS - 1) * 3_600_000);
    let standing = api.ops.standing(seat.caller, Fields::default(), since).await?;
    let (endpoints, _) = api.ops.endpoints(seat.caller, Fields::default()).await?;
    let body = html! {
        div.top { div { h1 { "Home" } p { "What became of your recharges, and whether your systems know." } } }
        (attention(&seat, &standing, &endpoints, now))
        (right_now(&seat, &standing, now))
        section.sheet {
            h2 { "The last 24 hours" }
            (chart(&standing.hours, now))
        }
        section.sheet {
            h2 { "Webhook endpoints" }
            @if endpoints.is_empty() {
                p.soft { "None yet." }
            } @else {
                div.table { table.cards {
                    thead { tr { th scope="col" { "Endpoint" } th scope="col" { "Status" } th scope="col" { "Waiting" } } }
                    tbody { @for shown in &endpoints { (endpoint(&seat, shown)) } }
                } }
            }
        }
    };
    Ok(layout::of_vendor(&seat, &query, ("", "Home"), body))
}

fn endpoint(seat: &VendorSession, shown: &ShownEndpoint) -> Markup {
    let endpoint = &shown.endpoint;
    html! {
        tr {
            td data-name="Endpoint" { a href=(seat.at(format!("webhooks/{}", endpoint.id))) { (endpoint.settings.shown_url()) } }
            td data-name="Status" { (endpoint_status(endpoint.status, endpoint.failing_since.is_some())) }
            td data-name="Waiting" {
                (count(shown.size.open))
                @if let Some(age) = shown.oldest { span.faint { ", the oldest for " (span(age)) } }
            }
        }
    }
}

/// What somebody should do, the most urgent first.
fn attention(seat: &VendorSession, standing: &Standing, endpoints: &[ShownEndpoint], now: Timestamp) -> Markup {
    let at = |shown: &ShownEndpoint| seat.at(format!("webhooks/{}", shown.endpoint.id));
    let is = |status| move |shown: &&ShownEndpoint| shown.endpoint.status == status;
    html! {
        @for shown in endpoints.iter().filter(is(EndpointStatus::Disabled)) {
            div.notice.bad {
                p { strong { "An endpoint is disabled and gets nothing: " } (shown.endpoint.settings.shown_url()) }
                p { a href=(at(shown)) { "See why, and enable it" } }
            }
        }
        @for shown in endpoints.iter().filter(|shown| shown.endpoint.failing_since.is_some() && shown.endpoint.status == EndpointStatus::Connected) {
            div.notice.bad {
                p {
                    strong { "An endpoint is failing: " } (shown.endpoint.settings.shown_url())
                    @if let Some(at) = shown.disables_at { ". If it goes on, it will be disabled " (until(at, now)) }
                }
                p { a href=(at(shown)) { "See what it answers" } }
            }
        }
        @if endpoints.is_empty() {
            div.notice {
                p { strong { "Nothing tells your systems yet what becomes of a recharge." } " Add the address of your webhook receiver: it takes an afternoon." }
                @if seat.person.may(Role::Developer) { p { a.button.main href=(seat.at("webhooks/new")) { "Add an endpoint" } } }
            }
        }
        @for shown in endpoints.iter().filter(is(EndpointStatus::NotConnected)) {
            div.notice.wait {
                p { strong { "An endpoint is not connected yet: " } (shown.endpoint.settings.shown_url()) }
                p { a href=(at(shown)) { "Connect it" } }
            }
        }
        @if let Some(oldest) = standing.oldest_queued.filter(|oldest| now.since(*oldest) > LONG_QUEUED) {
            div.notice.wait {
                p { strong { "A recharge has been queued for " (span(now.since(oldest))) "." } " Its provider has not said yet what became of it." }
                p { a href=(seat.at("recharges?status=queued")) { "See what is queued" } }
            }
        }
    }
}

fn right_now(seat: &VendorSession, standing: &Standing, now: Timestamp) -> Markup {
    let [queued, success, failed, reversed] = standing.recharges;
    let figure = |name: &str, kind: &str, number: u64, query: &str, more: Markup| {
        html! {
            a class={ "figure " (kind) } href=(seat.at(format!("recharges?status={query}"))) {
                span.name { (name) } span.value { (count(number)) } span.more { (more) }
            }
        }
    };
    html! {
        div.figures {
            (figure("Queued now", if queued > 0 { "wait" } else { "" }, queued, "queued", match standing.oldest_queued {
                Some(oldest) => html! { "oldest " (ago(oldest, now)) },
                None => html! { "nothing waits" },
            }))
            (figure("Success", "", success, "success", html! { "in all" }))
            (figure("Failed", "", failed, "failed", html! { "in all" }))
            (figure("Reversed", "", reversed, "reversed", html! { "in all" }))
        }
    }
}

/// Bars of each hour: what came to success and to failed.
fn chart(hours: &[Hour], now: Timestamp) -> Markup {
    let first = now.as_millis().div_euclid(3_600_000) - (HOURS - 1);
    let of = |hour: i64| hours.iter().find(|one| one.at.as_millis().div_euclid(3_600_000) == first + hour);
    let height = |one: &Hour| (one.success.max(0), one.failed.max(0));
    let most = hours.iter().map(|one| height(one).0 + height(one).1).max().unwrap_or(0).max(1);
    let scaled = |number: i64| number as f64 * 118.0 / most as f64;
    let (made, success, failed) =
        hours.iter().fold((0, 0, 0), |sum, hour| (sum.0 + hour.made, sum.1 + hour.success.max(0), sum.2 + hour.failed.max(0)));
    html! {
        div.axis { span {} span { @if made == 0 { "nothing yet" } @else { "at most " (count(most.unsigned_abs())) " an hour" } } }
        svg.chart viewBox="0 0 720 120" preserveAspectRatio="none" role="img" aria-label={ "In the last 24 hours " (made) " recharges were made, " (success) " came to success and " (failed) " failed" } {
            line.grid x1="0" y1="120" x2="720" y2="120" vector-effect="non-scaling-stroke" {}
            @for hour in 0..HOURS {
                @let x = hour as f64 * 30.0 + 4.0;
                @if let Some(one) = of(hour) {
                    @let (good, bad) = (scaled(height(one).0), scaled(height(one).1));
                    g {
                        title { (one.at) ": " (one.made) " made, " (one.success) " success, " (one.failed) " failed" }
                        rect.good x=(x) y=(format!("{:.1}", 120.0 - good)) width="22" height=(format!("{good:.1}")) {}
                        rect.bad x=(x) y=(format!("{:.1}", 120.0 - good - bad)) width="22" height=(format!("{bad:.1}")) {}
                    }
                }
            }
        }
        div.axis aria-hidden="true" { span { "24 h ago" } span { "18 h" } span { "12 h" } span { "6 h" } span { "now" } }
        ul.legend {
            li.good { "success " (count(success.unsigned_abs())) }
            li.bad { "failed " (count(failed.unsigned_abs())) }
            li.off { "made " (count(made.unsigned_abs())) }
        }
        p.help { "Since " (time(Timestamp::from_millis(first * 3_600_000))) "." }
    }
}
