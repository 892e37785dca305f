//! The panel: pages for vendors and for the operator, under `/panel`.
//!
//! Pages are written by the server and work without JavaScript; the one script makes times local, copies, counts down and
//! takes live parts from a stream. Every address names what it shows: `/panel/live/…` and `/panel/test/…` for the two modes of
//! the vendor who is logged in, `/panel/operator/…` for the operator. Handlers read the address and the form, call a verb of
//! [`ops`](crate::ops), and draw what came of it; the rules are there and not here.
//!
//! What protects it, in one place each: who is logged in and what that opens ([`door`]), that a form was sent by a page of ours
//! ([`form`]), what a browser may do with a page ([`guard`]). All text goes through `maud`, which escapes it.

mod assets;
mod auth;
mod components;
mod docs;
mod error;
mod form;
mod layout;
mod login;
mod operator;
mod own_settings;
mod people;
mod security_headers;
mod vendor;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Redirect;
use axum::routing::get;

use crate::http::Api;

/// All pages.
pub fn routes(api: &Api) -> Router<Api> {
    Router::new()
        .merge(login::routes())
        .merge(own_settings::routes())
        .merge(vendor::routes())
        .merge(operator::routes())
        .merge(docs::routes())
        .route("/panel/{*rest}", get(error::no_such_page))
        .layer(from_fn_with_state(api.clone(), security_headers::watch))
        .merge(assets::routes())
        .route("/", get(|| async { Redirect::to("/panel") }))
}
