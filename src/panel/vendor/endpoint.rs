//! One endpoint: connecting it, trying it out, its secret, its health, and what it missed.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::super::auth::{Developer, VendorSession};
use super::super::components::{act, change, choice, copyable, count, endpoint_status, facts, hidden, span, time, time_or_dash, until};
use super::super::error::{Refusal, Shown};
use super::super::form::{Form, Query};
use super::super::layout;
use super::deliveries;
use super::snippets;
use super::webhooks;
use crate::domain::attempt::{Attempt, Outcome, OutcomeKind};
use crate::domain::endpoint::{EndpointStatus, Profile};
use crate::domain::id::EndpointId;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::user::Role;
use crate::domain::vendor::Mode;
use crate::fields::Fields;
use crate::http::Api;
use crate::ops::{IdempotentRequest, OpsError, Seen, ShownEndpoint, secret_hint};
use crate::wire::standard;

/// What a page shows once, above everything else.
pub(super) enum Told {
    Nothing,
    /// A secret that was just made.
    Secret {
        secret: String,
        overlap_until: Option<Timestamp>,
    },
    /// A handshake, and where it connected what had been missed.
    Handshake {
        seen: Seen,
        missed: Option<u64>,
    },
    /// A test event.
    Test {
        attempt: Box<Attempt>,
        headers: Vec<(String, String)>,
    },
}

fn read_id(text: &str) -> Shown<EndpointId> {
    text.parse().map_err(|_| Refusal::nothing())
}

pub(super) async fn show(State(api): State<Api>, seat: VendorSession, Path(id): Path<String>, query: Query) -> Shown {
    let shown = api.ops.endpoint(seat.caller, read_id(&id)?).await?;
    page(&api, &seat, &query, shown, Told::Nothing).await
}

pub(super) async fn page(api: &Api, seat: &VendorSession, query: &Query, shown: ShownEndpoint, told: Told) -> Shown {
    let id = shown.endpoint.id;
    let (replays, _) = api.ops.replays(seat.caller, Fields::default()).await?;
    let latest = Map::from_iter(
        [("endpoint_id", id.to_string()), ("limit", "5".to_owned())].map(|(name, value)| (name.to_owned(), Value::from(value))),
    );
    let latest = api.ops.deliveries(seat.caller, Fields::new(latest)).await?.items;
    let (endpoint, settings) = (&shown.endpoint, &shown.endpoint.settings);
    let may = seat.person.may(Role::Developer);
    let body = html! {
        div.top {
            div { h1 { (settings.shown_url()) } p { @if let Some(description) = &settings.description { (description) " · " } code { (id) } } }
            div.acts {
                (endpoint_status(endpoint.status, endpoint.failing_since.is_some()))
                @if may { a.button href=(seat.at(format!("webhooks/{id}/edit"))) { "Change" } }
            }
        }
        (once(seat, &shown, &told))
        (health(seat, &shown, api.ops.now()))
        @if may { (connecting(seat, &shown)) }
        div.two {
            section.sheet {
                h2 { "Settings" }
                (facts(vec![
                    ("Profile", html! { (settings.profile.as_str()) }),
                    ("Events", html! { (settings.event_types.patterns().join(", ")) }),
                    ("Order", html! { (settings.ordering.as_str()) }),
                    ("Requests a second", html! { (settings.rate_limit_per_second.map_or_else(|| "no limit".to_owned(), |rate| rate.to_string())) }),
                    ("Alerts go to", html! { (settings.alert_email.as_deref().unwrap_or(&seat.vendor.email)) }),
                    ("Own headers", html! { @if settings.headers.is_empty() { "none" } @for (name, _) in &settings.headers { (name) " " } }),
                    ("Waiting", html! { (count(shown.size.open)) @if let Some(drain) = shown.drain { span.faint { ", gone in about " (span(drain)) } } }),
                    ("Connected", time_or_dash(endpoint.connected_at)),
                ]))
            }
            (secret(seat, &shown))
        }
        section.sheet {
            h2 { "Latest deliveries" }
            @if latest.is_empty() { p.soft { "None yet." } }
            @else { (deliveries::table(seat, &latest, false)) p {} a href=(seat.at(format!("deliveries?endpoint_id={id}"))) { "All of them" } }
        }
        (webhooks::replays(seat, id, &replays))
        (snippets::section(settings))
        @if may { (endings(seat, &shown)) }
    };
    Ok(layout::of_vendor(seat, query, ("/webhooks", &settings.shown_url()), body))
}

// --- What is shown once ----------------------------------------------------------------------------------------------

fn once(seat: &VendorSession, shown: &ShownEndpoint, told: &Told) -> Markup {
    let (id, is_older) = (shown.endpoint.id, shown.endpoint.settings.profile == Profile::GlobalTopup);
    match told {
        Told::Nothing => html! {},
        Told::Secret { secret, overlap_until } => html! {
            section.sheet #secret {
                h2 { "The secret, shown this once" }
                p { "Put it into your receiver's configuration now; it cannot be seen again, only rotated." }
                p { span.secret { (copyable(secret)) } }
                @if is_older {
                    p { "For webhook-signature, which its requests carry too, libraries take it as:" }
                    p { span.secret { (copyable(&standard::secret_text(&Secret::new(secret.as_bytes())))) } }
                }
                @if let Some(at) = overlap_until { p { "The one before it goes on signing beside it until " (time(*at)) "." } }
                p.soft { "Then connect the endpoint below." }
            }
        },
        Told::Handshake { seen, missed } => html! {
            section.sheet.bad[missed.is_none()] role="status" {
                h2 { @if missed.is_some() { "Connected" } @else { "Not connected: " (seen.problem) } }
                (checks(seen, shown.endpoint.settings.url.scheme() == "https"))
                (exchange(&seen.outcome))
                @if let Some(missed) = missed { (missed_events(seat, id, *missed)) }
            }
        },
        Told::Test { attempt, headers } => html! {
            section.sheet role="status" {
                h2 { "What it made of the test event" }
                (deliveries::attempt(attempt, headers))
            }
        },
    }
}

fn missed_events(seat: &VendorSession, id: EndpointId, missed: u64) -> Markup {
    html! {
        @if missed > 0 {
            div.notice.wait {
                p { strong { "It missed " (count(missed)) @if missed == 1 { " event" } @else { " events" } " while it was not connected." } " Replay them: see how many of a time there are first." }
                (change(&seat.at(format!("webhooks/{id}/replay")), &seat.person.proof, html! {
                    (hidden("dry_run", "true")) (hidden("only", "missed")) (hidden("since", "1970-01-01T00:00:00Z"))
                    button.main type="submit" { "Preview what it missed" }
                }))
            }
        } @else {
            p { "It missed nothing." }
        }
    }
}

/// Each step of a handshake: whether it was reached, what was seen, what to do.
fn checks(seen: &Seen, with_tls: bool) -> Markup {
    let Outcome { kind, status, error, phases, .. } = &seen.outcome;
    let answered = status.is_some();
    let millis =
        |micros: Option<u32>| micros.map_or_else(String::new, |micros| format!(" in {}", span(Duration::from_micros(micros.into()))));
    let wrong = error.clone().unwrap_or_default();
    let connected = answered || seen.outcome.was_sent(with_tls);
    let step = |passed: bool, reached: bool, name: &str, saw: String| {
        let class = if passed {
            "good"
        } else if reached {
            "bad"
        } else {
            ""
        };
        let saw = if passed || reached { saw } else { "not reached".to_owned() };
        html! { li class=(class) { div { strong { (name) } " " (saw) } } }
    };
    let address = seen.address.map_or_else(String::new, |address| format!("{address}"));
    let is_refused = *kind == OutcomeKind::Refused;
    let answer = match (status, &seen.content_type) {
        (Some(status), Some(kind)) => format!("{status}, {kind}"),
        (Some(status), None) => format!("{status}, without a Content-Type"),
        (None, _) => String::new(),
    };
    let fits = seen.problem.is_empty();
    let resolved = seen.address.is_some() || connected;
    html! {
        ul.checks {
            (step(resolved && !is_refused, true, "The name leads to an address that may be reached:", if resolved { format!("{address}{}", millis(phases.resolve)) } else { wrong.clone() }))
            (step(connected, resolved && !is_refused, "It takes the connection:", if connected { millis(phases.connect) } else { wrong.clone() }))
            (step(answered, connected, "It answers in time:", if answered { millis(Some(phases.total)) } else { wrong }))
            (step(fits, answered, "It answers what connects it:", answer))
        }
        @if !fits { p { strong { "To mend it: " } (mend(seen)) } }
    }
}

fn mend(seen: &Seen) -> &'static str {
    match (seen.outcome.kind, seen.outcome.status) {
        (OutcomeKind::Refused, _) => {
            "the address is private, or of a kind that nothing may be sent to. Use a public address; for your own machine there is ringback listen."
        }
        (OutcomeKind::Unreachable, _) => {
            "look whether the name is right and public, whether the receiver runs, and whether the firewall lets this server in; with https, whether the certificate is valid and complete."
        }
        (OutcomeKind::TimedOut, _) => "answer first and work afterwards: the receiver has fifteen seconds for everything.",
        (_, Some(300..400)) => "redirects are not followed. Give the address that they lead to.",
        (_, Some(401 | 403)) => {
            "let requests to this path in without a login of your own: the signature says who sends them. Or add a header of your own that opens it."
        }
        (_, Some(404)) => "the path is not there. Compare it with your routes, letter by letter.",
        (_, Some(405)) => "the path does not take this method. The profile standard sends POST; globaltopup connects with GET.",
        (_, Some(400 | 422)) => {
            "the receiver did not like the request. If it checks the signature: over the bytes as they came, with this endpoint's secret."
        }
        (_, Some(500..)) => "the receiver failed; its own log says why.",
        (_, Some(_)) => "answer with exactly 200 and Content-Type: application/json.",
        _ => "see what the receiver's log says.",
    }
}

fn exchange(outcome: &Outcome) -> Markup {
    html! {
        @if outcome.answer_headers.is_some() || outcome.answer_body.is_some() {
            details.more {
                summary { "What it answered" }
                @if let Some(headers) = &outcome.answer_headers { pre.wrap tabindex="0" aria-label="Headers of the answer" { (headers) } }
                @if let Some(body) = &outcome.answer_body { pre.wrap tabindex="0" aria-label="Body of the answer" { (String::from_utf8_lossy(body)) } }
            }
        }
    }
}

// --- Sections --------------------------------------------------------------------------------------------------------

fn health(seat: &VendorSession, shown: &ShownEndpoint, now: Timestamp) -> Markup {
    let endpoint = &shown.endpoint;
    let failing = endpoint.failing_since.filter(|_| endpoint.status == EndpointStatus::Connected);
    html! {
        @if let Some(since) = failing {
            div.notice.bad {
                p { strong { "Nothing has been delivered since " (time(since)) "." } " Everything is tried again; new events wait their turn." }
                @if let Some(at) = shown.disables_at { p { "If it goes on like this, it is disabled " strong { (until(at, now)) } ". A mail goes out an hour after the first failure, and another when it is disabled." } }
                p { a href=(seat.at(format!("deliveries?endpoint_id={}&state=pending", endpoint.id))) { "See what it answers" } }
            }
        }
        @if endpoint.status == EndpointStatus::Disabled {
            div.notice.bad {
                p { strong { "Disabled" } @if let Some(reason) = &endpoint.status_reason { ": " (reason) } ". It gets no events. Mend the receiver, then enable it here: the handshake is done again, and you can replay what it missed." }
            }
        }
        @if let Some(at) = endpoint.paused_until { div.notice.wait { p { "Paused: deliveries wait, and their deadlines with them. It resumes by itself " strong { (until(at, now)) } "." } } }
    }
}

fn connecting(seat: &VendorSession, shown: &ShownEndpoint) -> Markup {
    let (endpoint, settings) = (&shown.endpoint, &shown.endpoint.settings);
    let at = |rest: &str| seat.at(format!("webhooks/{}/{rest}", endpoint.id));
    let (title, name, told) = match endpoint.status {
        EndpointStatus::NotConnected => ("Not connected", "Connect", "It gets no events yet."),
        EndpointStatus::Disabled => ("Disabled", "Enable", "The handshake is done first."),
        EndpointStatus::Connected => ("Connected", "Try the handshake again", "It gets events."),
        EndpointStatus::Paused => ("Paused", "", ""),
    };
    let handshake = match settings.profile {
        Profile::Standard => "a signed POST of a webhook.test event; any 2xx connects.",
        Profile::GlobalTopup => "a signed GET without a body; exactly 200 with Content-Type: application/json connects.",
    };
    let types = [
        ("webhook.test", "webhook.test"),
        ("recharge.success", "recharge.success (a sample)"),
        ("recharge.failed", "recharge.failed (a sample)"),
        ("recharge.reversed", "recharge.reversed (a sample)"),
    ];
    html! {
        div.two {
            section.sheet {
                h2 { (title) }
                @if endpoint.status == EndpointStatus::Paused {
                    (act(&at("resume"), &seat.person.proof, ("main", "Resume"), html! {}))
                } @else {
                    p { (told) " The handshake is " (handshake) }
                    (act(&at("connect"), &seat.person.proof, (if endpoint.status == EndpointStatus::Connected { "" } else { "main" }, name), html! {}))
                }
            }
            section.sheet {
                h2 { "Try it out" }
                p { "Sends one event to this endpoint alone, now, and shows what came back. It takes no number and is not tried again." }
                (act(&at("test"), &seat.person.proof, ("", "Send"), html! {
                    @if seat.mode == Mode::Test { (choice("type", "Type", &types, "")) }
                    @else { (hidden("type", "webhook.test")) span.faint { "webhook.test; in test mode you can send samples of the others too." } }
                }))
            }
        }
    }
}

fn secret(seat: &VendorSession, shown: &ShownEndpoint) -> Markup {
    let (endpoint, settings) = (&shown.endpoint, &shown.endpoint.settings);
    let overlaps = [("86400", "for a day"), ("3600", "for an hour"), ("604800", "for a week"), ("0", "not at all: it has leaked")];
    html! {
        section.sheet {
            h2 { "Secret" }
            p { "Ends in " code { (secret_hint(settings)) } ". It was shown when it was made." }
            @if let Some(at) = shown.overlap_until { p.notice.wait { "A former secret goes on signing beside it until " (time(at)) "." } }
            @if let Some(key) = settings.signing_key.as_ref().and_then(standard::public_key_text) { p { "Public key: " (copyable(&key)) } }
            @if seat.person.may(Role::Developer) {
                (change(&seat.at(format!("webhooks/{}/rotate", endpoint.id)), &seat.person.proof, html! {
                    (choice("overlap_seconds", "The present one goes on", &overlaps, ""))
                    button type="submit" data-ask="Make a new secret? Your receiver needs it before the present one ends." { "Rotate" }
                }))
            }
        }
    }
}

fn endings(seat: &VendorSession, shown: &ShownEndpoint) -> Markup {
    let endpoint = &shown.endpoint;
    let at = |rest: &str| seat.at(format!("webhooks/{}/{rest}", endpoint.id));
    let button = |rest: &str, kind: &str, name: &str, ask: &str| {
        html! {
            form.inline method="post" action=(at(rest)) { (hidden(super::super::form::PROOF, &seat.person.proof)) button class=(kind) type="submit" data-ask=(ask) { (name) } }
        }
    };
    html! {
        section.sheet {
            h2 { "Stop it" }
            div.acts {
                @if endpoint.status == EndpointStatus::Connected { (button("pause", "", "Pause", "Let its deliveries wait, for seven days at most?")) }
                @if endpoint.status != EndpointStatus::Disabled { (button("disable", "", "Disable", "It gets no events until it is enabled again. Disable it?")) }
                @if shown.size.open > 0 { (button("cancel-pending", "danger", "Cancel what waits", "All that waits for this endpoint is given up. Cancel it?")) }
                (button("delete", "danger", "Delete", "The endpoint goes, and what waits for it is cancelled. Delete it?"))
            }
        }
    }
}

// --- What can be done ------------------------------------------------------------------------------------------------

pub(super) async fn connect(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, form: Form) -> Shown<Response> {
    let id = read_id(&id)?;
    let (status, told) = match api.ops.connect(seat.caller, id, form.fields()).await {
        Ok(connected) => (StatusCode::OK, Told::Handshake { seen: connected.seen, missed: Some(connected.missed) }),
        Err(OpsError::ConnectFailed(seen)) => (StatusCode::UNPROCESSABLE_ENTITY, Told::Handshake { seen: *seen, missed: None }),
        Err(other) => return Err(other.into()),
    };
    let shown = api.ops.endpoint(seat.caller, id).await?;
    Ok((status, page(&api, &seat, &Query::default(), shown, told).await?).into_response())
}

pub(super) async fn test(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, form: Form) -> Shown {
    let id = read_id(&id)?;
    let (attempt, headers) = api.ops.test_endpoint(seat.caller, id, form.fields()).await?;
    let shown = api.ops.endpoint(seat.caller, id).await?;
    page(&api, &seat, &Query::default(), shown, Told::Test { attempt: Box::new(attempt), headers }).await
}

pub(super) async fn rotate(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, form: Form) -> Shown {
    let id = read_id(&id)?;
    let new = api.ops.rotate_secret(seat.caller, id, form.fields(), IdempotentRequest::unkept()).await?;
    let shown = api.ops.endpoint(seat.caller, id).await?;
    page(&api, &seat, &Query::default(), shown, Told::Secret { secret: new.secret, overlap_until: new.overlap_until }).await
}

fn back(seat: &VendorSession, id: EndpointId, told: &str) -> Redirect {
    Redirect::to(&seat.at(format!("webhooks/{id}?told={told}")))
}

pub(super) async fn disable(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, form: Form) -> Shown<Redirect> {
    let id = read_id(&id)?;
    api.ops.disable(seat.caller, id, form.fields()).await?;
    Ok(back(&seat, id, "disabled"))
}

pub(super) async fn pause(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, form: Form) -> Shown<Redirect> {
    let id = read_id(&id)?;
    api.ops.pause(seat.caller, id, form.fields()).await?;
    Ok(back(&seat, id, "paused"))
}

pub(super) async fn resume(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, form: Form) -> Shown<Redirect> {
    let id = read_id(&id)?;
    api.ops.resume(seat.caller, id, form.fields()).await?;
    Ok(back(&seat, id, "resumed"))
}

pub(super) async fn delete(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, _: Form) -> Shown<Redirect> {
    api.ops.delete_endpoint(seat.caller, read_id(&id)?).await?;
    Ok(Redirect::to(&seat.at("webhooks?told=deleted")))
}

pub(super) async fn cancel_pending(
    State(api): State<Api>,
    Developer(seat): Developer,
    Path(id): Path<String>,
    form: Form,
) -> Shown<Redirect> {
    let id = read_id(&id)?;
    api.ops.cancel_pending(seat.caller, id, form.fields()).await?;
    Ok(back(&seat, id, "pending-cancelled"))
}
