//! Somebody's own login: the password, the second factor, the sessions.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::SET_COOKIE;
use maud::{Markup, PreEscaped, html};
use qrcode::QrCode;
use qrcode::render::svg;

use super::auth::{Person, Visit};
use super::components::{Input, act, change, copyable, facts, hidden, problems, time};
use super::error::{Refusal, Shown, capital};
use super::form::{Form, Query};
use super::layout;
use crate::fields::Problem;
use crate::http::Api;
use crate::ops::{OpsError, Proposed};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/panel/self", get(show))
        .route("/panel/self/password", post(change_password))
        .route("/panel/self/second-factor", get(propose).post(enable))
        .route("/panel/self/second-factor/remove", post(disable))
        .route("/panel/self/log-out-everywhere", post(log_out_everywhere))
}

fn page(api: &Api, person: &Person, query: &Query, wrong: &[Problem]) -> Markup {
    let password = |name, label, autocomplete| Input { kind: "password", required: true, autocomplete, ..Input::text(name, label, "") };
    let has = person.logged_in.has_second_factor;
    let is_operator = person.logged_in.vendor.is_none();
    let body = html! {
        div.top { h1 { "Your login" } }
        (problems(wrong, &["password", "new_password"]))
        section.sheet {
            (facts(vec![
                ("E-mail", html! { (person.logged_in.email.as_deref().unwrap_or("none: you came by a link of the platform")) }),
                ("Role", html! { (if is_operator { "operator" } else { person.role().as_str() }) }),
                ("This session ends", time(person.logged_in.session.expires_at)),
            ]))
        }
        @if person.logged_in.session.user.is_some() {
            div.two {
                section.sheet {
                    h2 { "Password" }
                    (change("/panel/self/password", &person.proof, html! {
                        (password("password", "Present password", "current-password").draw(wrong))
                        (password("new_password", "New password", "new-password").draw(wrong))
                        button.main type="submit" { "Change the password" }
                    }))
                }
                section.sheet {
                    h2 { "Second factor" }
                    @if has {
                        p { "It is on: beside your password, six digits from your authenticator app are asked for." }
                        @if !(is_operator && api.ops.rules().operators_need_second_factor) {
                            (change("/panel/self/second-factor/remove", &person.proof, html! {
                                (Input { kind: "password", required: true, autocomplete: "current-password", ..Input::text("password", "Present password", "") }.draw(&[]))
                                button.danger type="submit" { "Take it away" }
                            }))
                        }
                    } @else {
                        p { "Off. With it, nobody gets in who has your password alone." }
                        a.button.main href="/panel/self/second-factor" { "Set it up" }
                    }
                    h3 { "Sessions" }
                    p { "If you have lost a device, or logged in on one that is not yours:" }
                    (act("/panel/self/log-out-everywhere", &person.proof, ("danger", "Log out everywhere"), html! {}))
                }
            }
        }
    };
    layout::of_person(person, query, "Your login", body)
}

async fn show(State(api): State<Api>, person: Person, query: Query) -> Markup {
    page(&api, &person, &query, &[])
}

async fn change_password(State(api): State<Api>, person: Person, form: Form) -> Shown<Response> {
    match api.ops.change_password(&person.logged_in, &person.ticket, form.fields()).await {
        Ok(()) => Ok(Redirect::to("/panel/self?told=password-changed").into_response()),
        Err(OpsError::Invalid(wrong)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&api, &person, &Query::default(), &wrong)).into_response())
        }
        Err(other) => Err(other.into()),
    }
}

fn propose_page(person: &Person, proposed: &Proposed, (told, wrong): (Option<&OpsError>, &[Problem])) -> Shown {
    let code = QrCode::new(proposed.url.as_bytes()).map_err(|_| Refusal::nothing())?;
    let drawing = code.render::<svg::Color>().min_dimensions(192, 192).quiet_zone(false).build();
    let drawing = drawing.split_once("?>").map_or(drawing.as_str(), |(_, svg)| svg).to_owned();
    let digits = Input { required: true, autocomplete: "one-time-code", ..Input::text("code", "The six digits that the app shows", "") };
    let password =
        Input { kind: "password", required: true, autocomplete: "current-password", ..Input::text("password", "Present password", "") };
    let body = html! {
        div.top { h1 { "Set up a second factor" } }
        @if let Some(told) = told { p.notice.bad role="alert" { (capital(&told.to_string())) } }
        (problems(wrong, &["password", "code"]))
        section.sheet {
            p { "Take this into an authenticator app: hold its camera on the square, or type the letters." }
            div.qr role="img" aria-label="QR code with the secret that stands below" { (PreEscaped(drawing)) }
            p { (copyable(&proposed.secret)) }
            (change("/panel/self/second-factor", &person.proof, html! {
                (hidden("secret", &proposed.secret)) (digits.draw(&[]))
                @if proposed.asks_password { (password.draw(wrong)) }
                button.main type="submit" { "Put it in force" }
            }))
        }
    };
    Ok(layout::of_person(person, &Query::default(), "Second factor", body))
}

async fn propose(State(api): State<Api>, person: Person) -> Shown {
    propose_page(&person, &api.ops.propose_second_factor(&person.logged_in, &person.ticket).await?, (None, &[]))
}

async fn enable(State(api): State<Api>, person: Person, form: Form) -> Shown<Response> {
    match api.ops.enable_second_factor(&person.logged_in, &person.ticket, form.fields()).await {
        Ok(codes) => {
            let body = html! {
                div.top { h1 { "Your second factor is on" } }
                section.sheet {
                    p { strong { "Keep these codes, apart from your phone. " } "Each is good once in the place of the six digits; they are shown this once." }
                    ul { @for code in &codes { li { code { (code) } } } }
                    (copyable(&codes.join(" ")))
                    p {}
                    a.button.main href="/panel" { "I have kept them" }
                }
            };
            Ok(layout::of_person(&person, &Query::default(), "Second factor", body).into_response())
        }
        Err(wrong @ (OpsError::WrongCredentials(_) | OpsError::Invalid(_))) => {
            let proposed = api.ops.propose_second_factor(&person.logged_in, &person.ticket).await?;
            let told = match &wrong {
                OpsError::Invalid(found) => (None, found.as_slice()),
                other => (Some(other), &[][..]),
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, propose_page(&person, &proposed, told)?).into_response())
        }
        Err(other) => Err(other.into()),
    }
}

async fn disable(State(api): State<Api>, person: Person, form: Form) -> Shown<Redirect> {
    api.ops.disable_second_factor(&person.logged_in, form.fields()).await?;
    Ok(Redirect::to("/panel/self?told=second-factor-off"))
}

async fn log_out_everywhere(State(api): State<Api>, visit: Visit, person: Person, _: Form) -> Shown<Response> {
    api.ops.log_out_everywhere(&person.logged_in).await?;
    Ok(([(SET_COOKIE, visit.no_cookie())], Redirect::to("/panel/login?told=logged-out")).into_response())
}
