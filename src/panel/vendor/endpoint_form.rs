//! The form in which an endpoint is made, and the one in which it is changed.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::super::auth::{Developer, VendorSession};
use super::super::components::{Input, change as form_of, choice, problems};
use super::super::error::{Refusal, Shown};
use super::super::form::{Form, Query};
use super::super::layout;
use super::endpoint::{self, Told};
use crate::domain::endpoint::{Ordering, Profile, Settings};
use crate::domain::id::EndpointId;
use crate::domain::vendor::Mode;
use crate::fields::Problem;
use crate::http::Api;
use crate::ops::{IdempotentRequest, OpsError};

/// Fields that go back to their defaults when they are left empty.
const OPTIONAL: [&str; 5] = ["description", "alert_email", "rate_limit_per_second", "max_in_flight", "strict_hold"];
/// All fields that the form marks by itself.
const MARKED: [&str; 9] =
    ["url", "event_types", "description", "alert_email", "rate_limit_per_second", "max_in_flight", "strict_hold", "secret", "headers"];

fn text_of(values: &Map<String, Value>, name: &str) -> String {
    values.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The fields of both forms, with what was filled in.
fn fields(seat: &VendorSession, values: &Map<String, Value>, wrong: &[Problem]) -> Markup {
    let value = |name| text_of(values, name);
    let draw = |name, label, help, kind, required| {
        let value = value(name);
        Input { help: Some(help), kind, required, ..Input::text(name, label, &value) }.draw(wrong)
    };
    let such = if seat.mode == Mode::Live { "https://shop.example/webhooks/recharges" } else { "https://shop.example/webhooks/test" };
    let such = format!("Where requests go, such as {such}.");
    html! {
        (draw("url", "Address", &such, "url", true))
        (draw("event_types", "Events", "Types or prefixes, separated by commas. recharge.* is every outcome of a recharge.", "text", true))
        (draw("description", "Description", "For yourselves, such as: orders, Pokhara.", "text", false))
        (draw("alert_email", "Alert address", "Gets a mail when this endpoint fails for an hour, is disabled, and works again. Your vendor's address if left empty.", "email", false))
        details.more {
            summary { "Pace and order" }
            (draw("rate_limit_per_second", "Requests a second, at most", "Spread evenly. No limit if left empty.", "number", false))
            (draw("max_in_flight", "Requests at once, at most", "The server's default if left empty.", "number", false))
            (choice("ordering", "Order", &[("none", "as they come, several at once"), ("strict", "strictly by sequence number, one at a time")], &value("ordering")))
            (draw("strict_hold", "A failing event holds the others for", "Only with strict order. Such as 30m or 6h; then it steps aside and the others go on.", "text", false))
        }
    }
}

// --- A new one -------------------------------------------------------------------------------------------------------

fn new_page(seat: &VendorSession, values: &Map<String, Value>, wrong: &[Problem]) -> Markup {
    let own = Input {
        help: Some(
            "Leave it empty to have a good one made. Your own: whsec_ and base64 of 24 to 64 bytes; for globaltopup 32 printable characters.",
        ),
        kind: "password",
        autocomplete: "new-password",
        ..Input::text("secret", "Secret", "")
    };
    let profiles = [
        ("standard", "standard: Standard Webhooks, signed (choose this)"),
        ("globaltopup", "globaltopup: the older platform's encrypted form"),
    ];
    let body = html! {
        div.top { div { h1 { "Add an endpoint" } p { "It gets nothing until you connect it on the next page." } } }
        (problems(wrong, &MARKED))
        section.sheet {
            (form_of(&seat.at("webhooks/new"), &seat.person.proof, html! {
                div.narrow {
                    (fields(seat, values, wrong))
                    (choice("profile", "How requests are written", &profiles, &text_of(values, "profile")))
                    p.help { "The profile globaltopup exists for receivers that are there already: its signature is a constant and covers neither body nor time, so that a captured request passes its check for ever. Verify webhook-signature instead, which it carries as well." }
                    details.more {
                        summary { "Secret and headers" }
                        (own.draw(wrong))
                        (headers_field(wrong))
                    }
                    div.acts { button.main type="submit" { "Add" } a.button href=(seat.at("webhooks")) { "Back" } }
                }
            }))
        }
    };
    layout::of_vendor(seat, &Query::default(), ("/webhooks", "Add an endpoint"), body)
}

fn headers_field(wrong: &[Problem]) -> Markup {
    let told: Vec<&Problem> = wrong.iter().filter(|problem| problem.field.starts_with("headers")).collect();
    html! {
        div.field {
            label for="in-headers" { "Headers of your own" }
            textarea id="in-headers" name="headers" aria-describedby="help-headers" {}
            div #help-headers {
                @for problem in told { p.wrong { (problem.field) " " (problem.message) } }
                p.help { "One to a line, such as Authorization: Basic …; sent with every request, and never shown again." }
            }
        }
    }
}

pub(super) async fn new(Developer(seat): Developer) -> Markup {
    let defaults = Map::from_iter([("event_types".to_owned(), Value::from("recharge.*"))]);
    new_page(&seat, &defaults, &[])
}

/// `Name: value` lines as the object that a verb reads.
fn headers_of(text: &str) -> Value {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pair = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.trim().to_owned(), Value::from(value.trim()))
    };
    Value::Object(lines.map(pair).collect())
}

fn read_headers(form: &mut Form) {
    if let Some(Value::String(text)) = form.0.get("headers").cloned() {
        form.0.insert("headers".to_owned(), headers_of(&text));
    }
}

pub(super) async fn create(State(api): State<Api>, Developer(seat): Developer, mut form: Form) -> Shown<Response> {
    let values = form.0.clone();
    read_headers(&mut form);
    match api.ops.create_endpoint(seat.caller, form.fields(), IdempotentRequest::unkept()).await {
        Ok(new) => {
            let told = Told::Secret { secret: new.secret, overlap_until: None };
            Ok(endpoint::page(&api, &seat, &Query::default(), new.endpoint, told).await?.into_response())
        }
        Err(OpsError::Invalid(wrong)) => Ok((StatusCode::UNPROCESSABLE_ENTITY, new_page(&seat, &values, &wrong)).into_response()),
        Err(other) => Err(other.into()),
    }
}

// --- Another form of one ---------------------------------------------------------------------------------------------

fn values_of(settings: &Settings) -> Map<String, Value> {
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Map::from_iter(
        [
            ("url", settings.url.to_string()),
            ("event_types", settings.event_types.patterns().join(", ")),
            ("description", text(&settings.description)),
            ("alert_email", text(&settings.alert_email)),
            ("rate_limit_per_second", number(settings.rate_limit_per_second)),
            ("max_in_flight", number(settings.max_in_flight)),
            ("ordering", if settings.ordering == Ordering::Strict { "strict" } else { "none" }.to_owned()),
            ("strict_hold", settings.strict_hold.map_or_else(String::new, |hold| humantime::format_duration(hold).to_string())),
        ]
        .map(|(name, value)| (name.to_owned(), Value::from(value))),
    )
}

fn edit_page(seat: &VendorSession, id: EndpointId, values: &Map<String, Value>, (settings, wrong): (&Settings, &[Problem])) -> Markup {
    let at = seat.at(format!("webhooks/{id}"));
    let known: Vec<&str> = settings.headers.iter().map(|(name, _)| name.as_str()).collect();
    let body = html! {
        div.top { div { h1 { "Change the endpoint" } p { "A connected one has to pass the handshake at another address first; until then the present one stays in force." } } }
        (problems(wrong, &MARKED))
        section.sheet {
            (form_of(&format!("{at}/edit"), &seat.person.proof, html! {
                (fields(seat, values, wrong))
                details.more {
                    summary { "Headers of your own" }
                    p { @if known.is_empty() { "There are none." } @else { "There are: " (known.join(", ")) ". What you write here takes the place of all of them." } }
                    (headers_field(wrong))
                    @if !known.is_empty() {
                        div.check { input type="checkbox" id="in-no_headers" name="no_headers" value="true"; label for="in-no_headers" { "Take them all away" } }
                    }
                }
                div.acts { button.main type="submit" { "Save" } a.button href=(at) { "Back" } }
            }))
        }
        @if settings.profile == Profile::GlobalTopup {
            section.sheet {
                h2 { "Move to the profile standard" }
                p { "Requests carry its headers already. Once your receiver verifies webhook-signature, change over: the secret keeps its bytes." }
                (form_of(&format!("{at}/edit"), &seat.person.proof, html! {
                    input type="hidden" name="profile" value="standard";
                    button type="submit" { "Change to standard" }
                }))
            }
        }
    };
    layout::of_vendor(seat, &Query::default(), ("/webhooks", "Change the endpoint"), body)
}

fn read_id(text: &str) -> Shown<EndpointId> {
    text.parse().map_err(|_| Refusal::nothing())
}

pub(super) async fn edit(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>) -> Shown {
    let id = read_id(&id)?;
    let settings = api.ops.endpoint(seat.caller, id).await?.endpoint.settings;
    Ok(edit_page(&seat, id, &values_of(&settings), (&settings, &[])))
}

pub(super) async fn change(State(api): State<Api>, Developer(seat): Developer, Path(id): Path<String>, mut form: Form) -> Shown<Response> {
    let id = read_id(&id)?;
    let before = api.ops.endpoint(seat.caller, id).await?.endpoint.settings;
    let values = form.0.clone();
    read_headers(&mut form);
    if form.0.swap_remove("no_headers").is_some() {
        form.0.insert("headers".to_owned(), Value::Object(Map::new()));
    }
    // Only the whole form says what is to be empty.
    for name in OPTIONAL.iter().filter(|_| values.contains_key("url")) {
        form.0.entry(*name).or_insert(Value::Null);
    }
    match api.ops.change_endpoint(seat.caller, id, form.fields()).await {
        Ok(_) => Ok(Redirect::to(&seat.at(format!("webhooks/{id}?told=saved"))).into_response()),
        Err(OpsError::Invalid(wrong)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, edit_page(&seat, id, &values, (&before, &wrong))).into_response())
        }
        Err(OpsError::ConnectFailed(seen)) => {
            let shown = api.ops.endpoint(seat.caller, id).await?;
            let page = endpoint::page(&api, &seat, &Query::default(), shown, Told::Handshake { seen: *seen, missed: None }).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(other) => Err(other.into()),
    }
}
