//! How everything stands: figures, charts of the last hour, nodes and providers. All of it is live where there is a script.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::unfold;
use maud::{Markup, html};

use super::super::auth::OfOperator;
use super::super::components::{ago, badge, count, dash, span, time};
use super::super::error::Shown;
use super::super::form::Query;
use super::super::layout;
use super::checklist;
use crate::domain::session::Ticket;
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;
use crate::fields::Fields;
use crate::http::{Api, UNBUFFERED};
use crate::limits;
use crate::store::Overview;

pub(super) async fn show(State(api): State<Api>, seat: OfOperator, query: Query) -> Shown {
    let body = html! {
        div.top { div { h1 { "Overview" } p { "Reports in, outcomes out, and what lies between." } } }
        (checklist::draw(&api, &seat).await?)
        div data-live="/panel/operator/live" { (figures(&api).await?) }
    };
    Ok(layout::of_operator(&seat, &query, ("", "Overview"), body))
}

/// The figures again and again, as long as the session is good and the server runs.
pub(super) async fn live(State(api): State<Api>, seat: OfOperator) -> impl IntoResponse {
    let next = |(api, ticket): (Api, Ticket)| async move {
        tokio::time::sleep(limits::LIVE_EVERY).await;
        let is_good = matches!(api.ops.session(&ticket).await, Ok(Some(_)));
        if api.ops.is_stopping() || !is_good {
            return None;
        }
        let drawn = figures(&api).await.ok()?;
        Some((Ok::<_, Infallible>(Event::default().data(drawn.into_string())), (api, ticket)))
    };
    let figures = unfold((api, seat.person.ticket), next);
    (UNBUFFERED, Sse::new(figures).keep_alive(KeepAlive::new().interval(limits::STREAM_KEEP_ALIVE)))
}

/// The last hour, a place for each minute, empty ones too.
fn by_minute(minutes: &[(Timestamp, Traffic)], now: Timestamp) -> Vec<Traffic> {
    let first = now.as_millis().div_euclid(60_000) - (limits::LIVE_MINUTES - 1);
    let of = |minute: i64| minutes.iter().find(|(at, _)| at.as_millis().div_euclid(60_000) == first + minute);
    (0..limits::LIVE_MINUTES).map(|minute| of(minute).map(|(_, traffic)| traffic.clone()).unwrap_or_default()).collect()
}

async fn figures(api: &Api) -> Shown {
    let (overview, now, open) = api.ops.overview(Fields::default()).await?;
    let since = Timestamp::from_millis(now.as_millis() - (limits::LIVE_MINUTES - 1) * 60_000);
    let minutes = by_minute(&api.ops.minutes(since).await?, now);
    Ok(html! {
        (numbers(api, &overview, (&minutes, open), now))
        div.two {
            section.sheet {
                h2 { "Accepted and delivered in a minute" }
                (lines(&minutes, [("accepted", "", accepted), ("delivered", "two", delivered)], |value| count(value as u64)))
            }
            section.sheet {
                h2 { "Latency, from acceptance to delivery" }
                (lines(&minutes, [("p50", "", p50), ("p99", "two", p99)], |millis| span(Duration::from_secs_f64(millis / 1000.0))))
            }
        }
        div.two {
            (nodes(api).await?)
            (providers(api, now).await?)
        }
    })
}

fn accepted(traffic: &Traffic) -> f64 {
    traffic.accepted as f64
}

fn delivered(traffic: &Traffic) -> f64 {
    traffic.succeeded as f64
}

fn millis(traffic: &Traffic, part: f64) -> f64 {
    traffic.quantile(part).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
}

fn p50(traffic: &Traffic) -> f64 {
    millis(traffic, 0.5)
}

fn p99(traffic: &Traffic) -> f64 {
    millis(traffic, 0.99)
}

fn rate(traffic: &Traffic) -> String {
    if traffic.attempts == 0 {
        return "–".to_owned();
    }
    format!("{:.1} %", traffic.succeeded as f64 * 100.0 / traffic.attempts as f64)
}

fn figure(address: Option<&str>, (name, value): (&str, String), kind: &str, more: Markup) -> Markup {
    let inside = html! { span.name { (name) } span.value { (value) } span.more { (more) } };
    html! {
        @match address {
            Some(address) => a class={ "figure " (kind) } href={ "/panel/operator/" (address) } { (inside) },
            None => div class={ "figure " (kind) } { (inside) },
        }
    }
}

fn numbers(api: &Api, overview: &Overview, (minutes, open): (&[Traffic], u64), now: Timestamp) -> Markup {
    // The present minute is not over, so that the one before tells the pace.
    let last = &minutes[minutes.len() - 2];
    let latency = |part| overview.hour.quantile(part).map_or_else(|| "–".to_owned(), span);
    let wrong = |number: u64| if number > 0 { "bad" } else { "" };
    let waits = |number: u64| if number > 0 { "wait" } else { "" };
    let queued = overview.recharges[0];
    html! {
        div.figures {
            (figure(None, ("Accepted a minute", count(last.accepted)), "", html! { "in the last whole minute" }))
            (figure(None, ("Delivered a minute", count(last.succeeded)), "", html! { "in the last whole minute" }))
            (figure(None, ("Success rate", rate(&overview.hour)), "", html! { "of an hour; of a day " (rate(&overview.day)) }))
            (figure(None, ("Latency p50", latency(0.5)), "", html! { "p99 " (latency(0.99)) ", of an hour" }))
            (figure(None, ("Backlog", count(open)), "", html! { "deliveries that have not ended" }))
            (figure(None, ("In flight", count(api.ops.in_flight() as u64)), "", html! { "attempts, on this node" }))
            (figure(None, ("Queued recharges", count(queued)), "", match overview.oldest_queued { Some(at) => html! { "oldest " (ago(at, now)) }, None => html! { "none waits" } }))
            (figure(Some("issues"), ("Endpoints failing", count(overview.failing)), wrong(overview.failing), html! { (count(overview.disabled)) " disabled" }))
            (figure(Some("conflicts"), ("Conflicts", count(overview.conflicts)), waits(overview.conflicts), html! { "open" }))
            (figure(Some("stuck"), ("Stuck", count(overview.stuck)), waits(overview.stuck), html! { "nobody can tell" }))
            (figure(Some("mails"), ("Mails waiting", count(overview.alerts)), waits(overview.alerts), html! { @if api.ops.rules().mails_go_out { "on their way" } @else { "no mail server" } }))
            (figure(None, ("Replays", count(overview.replays)), "", html! { "running" }))
        }
    }
}

/// A line by its name, its class, and what it shows of a minute.
type Line = (&'static str, &'static str, fn(&Traffic) -> f64);

/// Two lines over the last hour, each with its latest value.
fn lines(minutes: &[Traffic], drawn: [Line; 2], told: impl Fn(f64) -> String) -> Markup {
    let most = minutes.iter().flat_map(|traffic| drawn.iter().map(|(_, _, value)| value(traffic))).fold(0.0, f64::max);
    let scale = if most > 0.0 { 112.0 / most } else { 0.0 };
    let step = 720.0 / (minutes.len() - 1) as f64;
    let points = |value: fn(&Traffic) -> f64| {
        let point = |(at, traffic): (usize, &Traffic)| format!("{:.1},{:.1}", at as f64 * step, 118.0 - value(traffic) * scale);
        minutes.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
    };
    let whole = &minutes[minutes.len() - 2];
    let names = drawn.map(|(name, _, value)| format!("{name} {}", told(value(whole)))).join(", ");
    html! {
        div.axis { span {} span { @if most > 0.0 { "at most " (told(most)) } @else { "nothing yet" } } }
        svg.chart viewBox="0 0 720 120" preserveAspectRatio="none" role="img" aria-label={ "The last hour; in its last whole minute " (names) } {
            line.grid x1="0" y1="119" x2="720" y2="119" vector-effect="non-scaling-stroke" {}
            @for (_, class, value) in drawn { polyline class={ "line " (class) } points=(points(value)) {} }
        }
        div.axis aria-hidden="true" { span { "60 min ago" } span { "40" } span { "20" } span { "now" } }
        ul.legend {
            @for (name, class, value) in drawn { li class=(if class.is_empty() { "" } else { "wait" }) { (name) " " (told(value(whole))) } }
        }
    }
}

async fn nodes(api: &Api) -> Shown {
    let nodes = api.ops.nodes().await?;
    Ok(html! {
        section.sheet {
            h2 { "Nodes" }
            @match nodes {
                None => p.soft { "One node on a SQLite file; it owns all shards." },
                Some(nodes) => div.table { table.cards {
                    thead { tr { th scope="col" { "Node" } th scope="col" { "Lease" } th.num scope="col" { "Shards" } th scope="col" { "Since" } } }
                    tbody { @for node in nodes {
                        tr {
                            td data-name="Node" { (node.number) " at " (node.address) span.faint { " " (node.version) } }
                            td data-name="Lease" { @if node.lease_ms > 0 { (badge("good", "lives")) } @else { (badge("bad", "gone")) } }
                            td.num data-name="Shards" { (node.shards) }
                            td data-name="Since" { (time(node.started_at)) }
                        }
                    } }
                } },
            }
        }
    })
}

async fn providers(api: &Api, now: Timestamp) -> Shown {
    let standings = api.ops.provider_standings().await?;
    Ok(html! {
        section.sheet {
            h2 { "Oldest queued recharge of each provider" }
            div.table { table {
                thead { tr { th scope="col" { "Provider" } th.num scope="col" { "Waiting" } th scope="col" { "Oldest" } } }
                tbody { @for (terms, standing) in standings {
                    @let oldest = standing.as_ref().and_then(|standing| standing.oldest);
                    tr {
                        td { a href="/panel/operator/providers" { (terms.name) } }
                        td.num { (count(standing.map_or(0, |standing| standing.waiting))) }
                        td { @match oldest { Some(at) => (ago(at, now)), None => (dash()) } }
                    }
                } }
            } }
        }
    })
}
