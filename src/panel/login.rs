//! Before somebody is logged in: the login, the second factor, one-time links, a forgotten password.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::SET_COOKIE;
use maud::{Markup, html};

use super::auth::{PendingSession, Person, Visit};
use super::components::{Input, hidden, problems};
use super::error::{Refusal, Shown, capital};
use super::form::{Form, OpenForm, PROOF, Query, proof};
use super::layout;
use crate::domain::session::{Purpose, Ticket};
use crate::fields::Problem;
use crate::http::Api;
use crate::limits;
use crate::ops::{NewSession, OpsError};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/panel", get(start))
        .route("/panel/login", get(login).post(log_in))
        .route("/panel/logout", post(log_out))
        .route("/panel/second-factor", get(second_factor).post(pass_second_factor))
        .route("/panel/forgotten", get(forgotten).post(ask_for_new_password))
        .route("/panel/link/{ticket}", get(link).post(follow))
        .route("/panel/setup/{ticket}", get(setup).post(set_up))
        .route("/panel/enter/{ticket}", get(may_enter).post(enter))
}

/// The first page of whoever is logged in.
async fn start(person: Person) -> Redirect {
    Redirect::to(if person.logged_in.vendor.is_some() { "/panel/live" } else { "/panel/operator" })
}

/// Where a login goes on to: a page of the panel, in characters that a header and an address can have. A page of the platform may
/// have written it with the public path.
fn next_of<'a>(text: &'a str, public_path: &str) -> &'a str {
    let text = text.strip_prefix(public_path).unwrap_or(text);
    let is_ours = text.strip_prefix("/panel").is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let is_plain = text.len() <= limits::URL_MAX && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours && is_plain && !text.contains("//") && !climbs(text) { text } else { "/panel" }
}

/// Whether a browser reads a part of the path as a way up, which may lead out of the panel.
fn climbs(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|part| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

fn login_page(query: &Query, next: &str, email: &str, wrong: Option<&OpsError>) -> Markup {
    let told = match query.get("told") {
        "logged-out" => Some("You are logged out."),
        "password-set" => Some("Your password is set. Log in with it."),
        "mail-sent" => Some("If there is such a login, a mail with a link is on its way to it."),
        _ => None,
    };
    let email_field = Input { kind: "email", required: true, autocomplete: "username", ..Input::text("email", "E-mail", email) };
    let password = Input { kind: "password", required: true, autocomplete: "current-password", ..Input::text("password", "Password", "") };
    layout::bare(
        "Log in",
        html! {
            h1 { "Log in" }
            @if let Some(told) = told { p.notice.good role="status" { (told) } }
            @match wrong {
                Some(OpsError::Invalid(found)) => (problems(found, &[])),
                Some(wrong) => p.notice.bad role="alert" { (capital(&wrong.to_string())) "." },
                None => {},
            }
            form method="post" action="/panel/login" {
                (hidden("next", next))
                (email_field.draw(&[])) (password.draw(&[]))
                div.acts { button.main type="submit" { "Log in" } a href="/panel/forgotten" { "Forgotten your password?" } }
            }
        },
    )
}

async fn login(State(api): State<Api>, query: Query) -> Markup {
    login_page(&query, next_of(query.get("next"), api.ops.public_path()), "", None)
}

fn entered(visit: &Visit, new: &NewSession, (to, by_link): (&str, bool)) -> Response {
    let lasts = new.session.expires_at.since(new.session.created_at).as_secs();
    let session = visit.cookie(&new.ticket, lasts, by_link);
    let device = new.device.as_ref().map(|device| visit.device_cookie(device));
    let cookies = std::iter::once(session).chain(device).map(|cookie| (SET_COOKIE, cookie));
    (AppendHeaders(cookies.collect::<Vec<_>>()), Redirect::to(to)).into_response()
}

async fn log_in(State(api): State<Api>, visit: Visit, OpenForm(mut form): OpenForm) -> Shown<Response> {
    let (email, next) = (form.text("email").to_owned(), next_of(form.text("next"), api.ops.public_path()).to_owned());
    form.0.swap_remove("next");
    match api.ops.log_in(visit.who, form.fields()).await {
        Ok(new) if new.session.awaits_second_factor => {
            let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
            Ok(entered(&visit, &new, (&format!("/panel/second-factor?next={next}"), false)))
        }
        Ok(new) => Ok(entered(&visit, &new, (&next, false))),
        Err(wrong @ (OpsError::WrongCredentials(_) | OpsError::Invalid(_))) => {
            Ok((StatusCode::UNAUTHORIZED, login_page(&Query::default(), &next, &email, Some(&wrong))).into_response())
        }
        Err(other) => Err(other.into()),
    }
}

async fn log_out(State(api): State<Api>, visit: Visit, half: PendingSession, _: Form) -> Shown<Response> {
    api.ops.log_out(&half.ticket).await?;
    Ok(([(SET_COOKIE, visit.no_cookie())], Redirect::to("/panel/login?told=logged-out")).into_response())
}

fn second_factor_page(half: &PendingSession, next: &str, wrong: Option<&OpsError>) -> Markup {
    let code = Input {
        required: true,
        autocomplete: "one-time-code",
        help: Some("Six digits from your authenticator app, or one of the codes that you kept for when it is lost."),
        ..Input::text("code", "Code", "")
    };
    layout::bare(
        "Second factor",
        html! {
            h1 { "Second factor" }
            @if let Some(wrong) = wrong { p.notice.bad role="alert" { (capital(&wrong.to_string())) "." } }
            form method="post" action="/panel/second-factor" {
                (hidden(PROOF, &proof(&half.ticket))) (hidden("next", next))
                (code.draw(&[]))
                button.main type="submit" { "Go on" }
            }
        },
    )
}

async fn second_factor(State(api): State<Api>, half: PendingSession, query: Query) -> Markup {
    second_factor_page(&half, next_of(query.get("next"), api.ops.public_path()), None)
}

async fn pass_second_factor(State(api): State<Api>, visit: Visit, half: PendingSession, mut form: Form) -> Shown<Response> {
    let next = next_of(form.text("next"), api.ops.public_path()).to_owned();
    form.0.swap_remove("next");
    match api.ops.pass_second_factor(&half.logged_in, (visit.who, &half.ticket), form.fields()).await {
        Ok(new) => Ok(entered(&visit, &new, (&next, false))),
        Err(wrong @ (OpsError::WrongCredentials(_) | OpsError::Invalid(_))) => {
            Ok((StatusCode::UNAUTHORIZED, second_factor_page(&half, &next, Some(&wrong))).into_response())
        }
        Err(other) => Err(other.into()),
    }
}

async fn forgotten(State(api): State<Api>) -> Markup {
    let email = Input { kind: "email", required: true, autocomplete: "username", ..Input::text("email", "E-mail", "") };
    layout::bare(
        "Forgotten password",
        html! {
            h1 { "Forgotten your password?" }
            @if api.ops.rules().mails_go_out {
                p { "A link to choose a new one is mailed to you. It is good once, for an hour." }
            } @else {
                p.notice.wait { "This server sends no mails at present. Ask the operator of the platform for a new login." }
            }
            form method="post" action="/panel/forgotten" {
                (email.draw(&[]))
                div.acts { button.main type="submit" { "Mail me a link" } a href="/panel/login" { "Back to the login" } }
            }
        },
    )
}

async fn ask_for_new_password(State(api): State<Api>, visit: Visit, OpenForm(form): OpenForm) -> Shown<Redirect> {
    api.ops.ask_for_new_password(visit.who, form.fields())?;
    Ok(Redirect::to("/panel/login?told=mail-sent"))
}

// --- One-time links --------------------------------------------------------------------------------------------------

fn password_help() -> String {
    format!("At least {} characters. A few unrelated words make a good password.", limits::PASSWORD.start())
}

/// The field of a password that is to be set.
fn new_password(help: &str) -> Input<'_> {
    let field = Input::text("password", "Password", "");
    Input { kind: "password", required: true, autocomplete: "new-password", help: Some(help), ..field }
}

fn choose_page(purpose: &Purpose, action: &str, wrong: &[Problem]) -> Markup {
    let help = password_help();
    let password = new_password(&help);
    let (title, told) = match purpose {
        Purpose::Invitation { email, role, vendor } => {
            let role = if vendor.is_some() { role.as_str() } else { "operator" };
            ("Welcome", format!("Choose a password. You will log in as {email}; your role is {role}."))
        }
        _ => ("A new password", "It takes the place of the present one. Wherever you are logged in, you will be logged out.".to_owned()),
    };
    layout::bare(
        title,
        html! {
            h1 { (title) } p { (told) }
            (problems(wrong, &["password"]))
            form method="post" action=(action) { (password.draw(wrong)) button.main type="submit" { "Set the password" } }
        },
    )
}

fn action(ticket: &Ticket) -> String {
    format!("/panel/link/{}", ticket.expose())
}

async fn link(State(api): State<Api>, Path(text): Path<String>) -> Shown {
    let ticket = Ticket::given(text);
    Ok(match api.ops.link(&ticket).await?.purpose {
        // Not at once: who only looks at a link (a mail scanner, a preview) must not use it up.
        Purpose::Panel { .. } => layout::bare(
            "Open the panel",
            html! {
                h1 { "Your webhooks" }
                p { "See your recharges, and what your webhook endpoints got." }
                form method="post" action=(action(&ticket)) { button.main type="submit" autofocus { "Open" } }
            },
        ),
        purpose => choose_page(&purpose, &action(&ticket), &[]),
    })
}

async fn follow(State(api): State<Api>, visit: Visit, Path(text): Path<String>, OpenForm(form): OpenForm) -> Shown<Response> {
    let ticket = Ticket::given(text);
    let purpose = api.ops.link(&ticket).await?.purpose;
    if let Purpose::Panel { .. } = purpose {
        let new = api.ops.enter_by_link(visit.who, &ticket).await?;
        return Ok(entered(&visit, &new, ("/panel/live", true)));
    }
    match api.ops.choose_password(visit.who, &ticket, form.fields()).await {
        Ok(()) => Ok(Redirect::to("/panel/login?told=password-set").into_response()),
        Err(OpsError::Invalid(wrong)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, choose_page(&purpose, &action(&ticket), &wrong)).into_response())
        }
        Err(other) => Err(Refusal::from(other)),
    }
}

// --- The first operator ----------------------------------------------------------------------------------------------

fn setup_page(ticket: &Ticket, given: &str, wrong: &[Problem]) -> Markup {
    let email = Input { kind: "email", required: true, autocomplete: "username", ..Input::text("email", "E-mail", given) };
    let help = password_help();
    let password = new_password(&help);
    layout::bare(
        "Set up Ringback",
        html! {
            h1 { "Set up Ringback" }
            p { "Create the first operator's login. Operators see all vendors, create tokens and invite others." }
            (problems(wrong, &["email", "password"]))
            form method="post" action={ "/panel/setup/" (ticket.expose()) } {
                (email.draw(wrong)) (password.draw(wrong))
                button.main type="submit" { "Create the login" }
            }
        },
    )
}

async fn setup(State(api): State<Api>, Path(text): Path<String>) -> Shown {
    let ticket = Ticket::given(text);
    api.ops.may_set_up(&ticket).await?;
    Ok(setup_page(&ticket, "", &[]))
}

async fn set_up(State(api): State<Api>, visit: Visit, Path(text): Path<String>, OpenForm(form): OpenForm) -> Shown<Response> {
    let (ticket, email) = (Ticket::given(text), form.text("email").to_owned());
    match api.ops.make_first_operator(visit.who, &ticket, form.fields()).await {
        Ok(new) => Ok(entered(&visit, &new, ("/panel/operator", false))),
        Err(OpsError::Invalid(wrong)) => Ok((StatusCode::UNPROCESSABLE_ENTITY, setup_page(&ticket, &email, &wrong)).into_response()),
        Err(other) => Err(Refusal::from(other)),
    }
}

// --- The demo's operator ---------------------------------------------------------------------------------------------

async fn may_enter(State(api): State<Api>, Path(text): Path<String>) -> Shown {
    let ticket = Ticket::given(text);
    api.ops.may_enter(&ticket)?;
    // Not at once: a page of another site must not log anyone in.
    Ok(layout::bare(
        "Open the panel",
        html! {
            h1 { "Operator's panel" }
            p { "This link logs you in as the operator of the demo. It is good until the demo ends." }
            form method="post" action={ "/panel/enter/" (ticket.expose()) } { button.main type="submit" autofocus { "Open the panel" } }
        },
    ))
}

async fn enter(State(api): State<Api>, visit: Visit, Path(text): Path<String>, _: OpenForm) -> Shown<Response> {
    let new = api.ops.enter(visit.who, &Ticket::given(text)).await?;
    Ok(entered(&visit, &new, ("/panel/operator", false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_goes_on_to_a_page_of_the_panel_only() {
        for page in [
            "/panel",
            "/panel/live/deliveries?state=failed",
            "/panel?told=saved",
            "/panel/live/recharges?cursor=a%20b#row",
            "/panel/live/a..b?path=/../c",
        ] {
            assert_eq!(next_of(page, ""), page);
            assert_eq!(next_of(page, "/ringback"), page);
            assert_eq!(next_of(&format!("/ringback{page}"), "/ringback"), page);
        }
        let long = format!("/panel/{}", "x".repeat(limits::URL_MAX));
        for other in [
            "",
            "/",
            "/panels",
            "/panel.example",
            "/panel@example",
            "//other.example",
            "https://other.example/",
            "/panel//other.example",
            "/panel\\other",
            "/panel\0",
            "/panel\r\nX: y",
            "/panel/\u{2028}",
            "/panel/a b",
            "/panel/\u{7f}",
            "/panel/..",
            "/panel/../other",
            "/panel/live/../../other?x",
            "/panel/%2e%2e/other",
            "/panel/.%2E/other",
            "/panel/%2E./other#x",
            &long,
        ] {
            assert_eq!(next_of(other, ""), "/panel", "{other:?}");
            assert_eq!(next_of(&format!("/ringback{other}"), "/ringback"), "/panel", "{other:?}");
        }
    }
}
