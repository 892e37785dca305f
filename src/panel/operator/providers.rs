//! Providers, and how each does.

use std::time::Duration;

use axum::extract::State;
use maud::{Markup, html};

use super::super::auth::OfOperator;
use super::super::components::{ago, badge, count, dash, facts, span};
use super::super::error::Shown;
use super::super::form::Query;
use super::super::layout;
use crate::domain::time::Timestamp;
use crate::http::Api;
use crate::store::ProviderStanding;

pub(super) async fn list(State(api): State<Api>, seat: OfOperator, query: Query) -> Shown {
    let (standings, now) = (api.ops.provider_standings().await?, api.ops.now());
    let body = html! {
        div.top { div { h1 { "Providers" } p { "Who executes recharges, by what became of the latest ones. They are set in the configuration file." } } }
        @for (terms, standing) in &standings {
            section.sheet {
                div.top { h2 { (terms.name) } (health(standing.as_ref(), now)) }
                (facts(vec![
                    ("Networks", html! { @if terms.networks.is_empty() { "all" } @else { (terms.networks.join(", ")) } }),
                    ("Requests at once", html! { (terms.in_flight) }),
                    ("Requests a second", html! { (terms.rate_per_second.map_or_else(|| "no limit".to_owned(), |rate| rate.to_string())) }),
                    ("First asked after", html! { (span(terms.enquire_after)) }),
                    ("Waiting", html! { (count(standing.as_ref().map_or(0, |standing| standing.waiting))) }),
                    ("Oldest of those", match standing.as_ref().and_then(|standing| standing.oldest) { Some(at) => ago(at, now), None => dash() }),
                ]))
                @if let Some(standing) = standing { (latest(standing)) }
            }
        }
    };
    Ok(layout::of_operator(&seat, &query, ("/providers", "Providers"), body))
}

/// A queue older than this says that a provider does not settle what it was handed.
const LONG: Duration = Duration::from_secs(3600);

fn health(standing: Option<&ProviderStanding>, now: Timestamp) -> Markup {
    match standing {
        None => badge("off", "nothing yet"),
        Some(standing) if standing.oldest.is_some_and(|at| now.since(at) > LONG) => badge("bad", "slow"),
        Some(_) => badge("good", "settles"),
    }
}

fn latest(standing: &ProviderStanding) -> Markup {
    let [queued, success, failed, reversed] = standing.latest;
    let mut took = standing.took.clone();
    took.sort_unstable();
    let median = took.get(took.len() / 2);
    let all: u64 = standing.latest.iter().sum();
    html! {
        @if all > 0 {
            p {}
            p {
                "Of its latest " (count(all)) ": " (count(success)) " success, " (count(failed)) " failed, " (count(queued)) " queued"
                @if reversed > 0 { ", " (count(reversed)) " reversed" } "."
                @if let Some(median) = median { " Half of those that are settled were after " (span(*median)) "." }
            }
        }
    }
}
