//! Why a page is not shown, as a page.

use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use maud::{Markup, html};

use super::layout;
use crate::fields::Problem;
use crate::ops::OpsError;

/// Why a page is not shown.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nobody is logged in; where to go on afterwards.
    LogIn(String),
    /// Somewhere else first.
    Elsewhere(&'static str),
    /// The role does not open this.
    Role(&'static str),
    /// The form was not sent by a page of ours.
    Foreign,
    /// It could not be done.
    Failed(OpsError),
}

impl<E: Into<OpsError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What a handler comes to.
pub(super) type Shown<T = Markup> = Result<T, Refusal>;

impl Refusal {
    /// There is nothing at this address, or not for whoever asks.
    pub fn nothing() -> Self {
        Self::Failed(OpsError::NotFound("page"))
    }

    fn told(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::LogIn(_) | Self::Elsewhere(_) => (StatusCode::SEE_OTHER, "", String::new()),
            Self::Role(needed) => {
                let told = format!("Your role does not allow this; it takes {needed}. Ask an owner of your team.");
                (StatusCode::FORBIDDEN, "Not yours to change", told)
            }
            Self::Foreign => {
                let told = "This form did not come from a page of this panel, or from an old one. Go back, reload the page, and try again.";
                (StatusCode::FORBIDDEN, "This form was not taken", told.to_owned())
            }
            Self::Failed(error) => failed(error),
        }
    }
}

fn failed(error: &OpsError) -> (StatusCode, &'static str, String) {
    let told = capital(&error.to_string());
    match error {
        OpsError::NotFound("page") => {
            (StatusCode::NOT_FOUND, "There is nothing here", "The address may be misspelt, or what it named is gone.".to_owned())
        }
        OpsError::NotFound(_) => (StatusCode::NOT_FOUND, "There is nothing here", format!("{told}, or it is not yours to see.")),
        OpsError::Forbidden | OpsError::OtherMode(_) | OpsError::WiderToken => {
            (StatusCode::FORBIDDEN, "Not yours", "This page is not for your login.".to_owned())
        }
        OpsError::Unauthorized | OpsError::WrongCredentials(_) => (StatusCode::UNAUTHORIZED, "Log in again", told),
        OpsError::Invalid(problems) => (StatusCode::UNPROCESSABLE_ENTITY, "Something is not right yet", sentences(problems)),
        OpsError::EventsExpired { .. } | OpsError::LinkGone => (StatusCode::GONE, "Not there any more", told),
        OpsError::IllegalState(_) | OpsError::IdempotencyConflict | OpsError::ReferenceConflict | OpsError::InProgress => {
            (StatusCode::CONFLICT, "This cannot be done now", told)
        }
        OpsError::EndpointLimit(_) | OpsError::TokenLimit(_) | OpsError::ConnectFailed(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "This was not done", told)
        }
        OpsError::TooManyTries(_) | OpsError::RateLimited(_) | OpsError::TooManyFollowers | OpsError::Busy(_) => {
            (StatusCode::TOO_MANY_REQUESTS, "Too many tries", told)
        }
        OpsError::Fault(_) => (StatusCode::SERVICE_UNAVAILABLE, "Nothing could be sent", told),
        OpsError::Store(store) => {
            tracing::error!(error = %store, "the store could not answer a page");
            let told = "The database does not answer just now. Nothing was changed; try again in a moment.";
            (StatusCode::SERVICE_UNAVAILABLE, "The database is away", told.to_owned())
        }
    }
}

/// All problems of an input in words.
pub(super) fn sentences(problems: &[Problem]) -> String {
    problems.iter().map(|problem| capital(format!("{} {}.", problem.field, problem.message).trim())).collect::<Vec<_>>().join(" ")
}

/// With a capital at its beginning.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match &self {
            Self::LogIn(next) => {
                let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                return Redirect::to(&format!("/panel/login?next={next}")).into_response();
            }
            Self::Failed(OpsError::Unauthorized) => return Redirect::to("/panel/login").into_response(),
            Self::Elsewhere(address) => return Redirect::to(address).into_response(),
            _ => {}
        }
        let (status, title, told) = self.told();
        let page = layout::bare(
            title,
            html! {
                h1 { (title) }
                p { (told) }
                p { a.button href="/panel" { "To the start" } }
            },
        );
        let mut response = (status, page).into_response();
        if let Self::Failed(OpsError::TooManyTries(wait) | OpsError::RateLimited(wait)) = self {
            response.headers_mut().insert(RETRY_AFTER, (wait.as_secs() + 1).into());
        }
        response
    }
}

pub(super) async fn no_such_page() -> Refusal {
    Refusal::nothing()
}
