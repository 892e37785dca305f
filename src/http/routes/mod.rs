//! The calls of the contract, a module for each part.

mod admin;
mod callbacks;
pub(super) mod compat;
mod deliveries;
mod endpoints;
mod ledger;
mod orders;
mod replays;
mod server;
mod statement;
mod stream;
mod tokens;
mod vendors;

pub use callbacks::read as read_callback;
pub(crate) use stream::UNBUFFERED;

use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;

/// Health, which needs no token.
pub(super) fn health() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(server::healthz)).routes(routes!(server::readyz))
}

/// Metrics next to the API, which strangers reach: they need an operator's token.
pub(super) fn metrics() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(server::metrics))
}

/// Metrics on an address of their own, without a token.
pub(super) fn metrics_of_their_own() -> OpenApiRouter<Api> {
    OpenApiRouter::new().route("/metrics", get(server::metrics_of_their_own))
}

/// All others.
pub(super) fn calls() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(server::openapi))
        .routes(routes!(vendors::create, vendors::list))
        .routes(routes!(vendors::read, vendors::change))
        .routes(routes!(vendors::create_token, vendors::tokens))
        .routes(routes!(vendors::revoke_token))
        .routes(routes!(vendors::create_user, vendors::users))
        .routes(routes!(vendors::remove_user))
        .routes(routes!(vendors::panel_link))
        .routes(routes!(vendors::erase_personal_data))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(admin::overview))
        .routes(routes!(admin::audit))
        .routes(routes!(admin::conflicts))
        .routes(routes!(admin::conflict))
        .routes(routes!(admin::resolve_conflict))
        .routes(routes!(admin::resolve_recharge))
        .routes(routes!(ledger::report))
        .routes(routes!(ledger::publish, ledger::events))
        .routes(routes!(stream::stream))
        .routes(routes!(ledger::event))
        .routes(routes!(ledger::recharges, orders::order))
        .routes(routes!(statement::statement))
        .routes(routes!(orders::lookup))
        .routes(routes!(orders::stuck))
        .routes(routes!(callbacks::post, callbacks::get))
        .routes(routes!(callbacks::post_with_secret, callbacks::get_with_secret))
        .routes(routes!(ledger::recharge))
        .routes(routes!(endpoints::create, endpoints::list))
        .routes(routes!(endpoints::read, endpoints::change, endpoints::delete))
        .routes(routes!(endpoints::connect))
        .routes(routes!(endpoints::enable))
        .routes(routes!(endpoints::disable))
        .routes(routes!(endpoints::test))
        .routes(routes!(endpoints::pause))
        .routes(routes!(endpoints::resume))
        .routes(routes!(endpoints::rotate_secret))
        .routes(routes!(endpoints::cancel_pending))
        .routes(routes!(replays::start))
        .routes(routes!(replays::list))
        .routes(routes!(replays::read, replays::cancel))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::read))
        .routes(routes!(deliveries::resend))
        .routes(routes!(deliveries::cancel))
}
