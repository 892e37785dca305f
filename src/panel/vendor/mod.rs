//! A vendor's pages, each for both modes.

mod deliveries;
mod developers;
mod endpoint;
mod endpoint_form;
mod events;
mod home;
mod recharges;
mod snippets;
mod team;
mod tokens;
mod webhooks;

use axum::Router;
use axum::routing::{MethodRouter, get, post};

pub(super) use recharges::report;

use crate::domain::vendor::Mode;
use crate::http::Api;

/// Routes under the address of each mode.
struct InBothModes(Router<Api>);

impl InBothModes {
    fn route(self, path: &str, methods: MethodRouter<Api>) -> Self {
        let add = |router: Router<Api>, mode: Mode| router.route(&format!("/panel/{}{path}", mode.as_str()), methods.clone());
        Self(Mode::ALL.into_iter().fold(self.0, add))
    }
}

pub(super) fn routes() -> Router<Api> {
    InBothModes(Router::new())
        .route("", get(home::show))
        .route("/recharges", get(recharges::list))
        .route("/recharges/{id}", get(recharges::show))
        .route("/webhooks", get(webhooks::list))
        .route("/webhooks/new", get(endpoint_form::new).post(endpoint_form::create))
        .route("/webhooks/{id}", get(endpoint::show))
        .route("/webhooks/{id}/edit", get(endpoint_form::edit).post(endpoint_form::change))
        .route("/webhooks/{id}/connect", post(endpoint::connect))
        .route("/webhooks/{id}/test", post(endpoint::test))
        .route("/webhooks/{id}/rotate", post(endpoint::rotate))
        .route("/webhooks/{id}/disable", post(endpoint::disable))
        .route("/webhooks/{id}/pause", post(endpoint::pause))
        .route("/webhooks/{id}/resume", post(endpoint::resume))
        .route("/webhooks/{id}/delete", post(endpoint::delete))
        .route("/webhooks/{id}/cancel-pending", post(endpoint::cancel_pending))
        .route("/webhooks/{id}/replay", post(webhooks::replay))
        .route("/replays/{id}/cancel", post(webhooks::cancel_replay))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/resend", post(deliveries::resend_many))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/resend", post(deliveries::resend))
        .route("/deliveries/{id}/cancel", post(deliveries::cancel))
        .route("/events", get(events::list))
        .route("/events/{id}", get(events::show))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .route("/developers", get(developers::show))
        .route("/team", get(team::list).post(team::invite))
        .route("/team/invitations/{id}/withdraw", post(team::withdraw))
        .route("/team/{id}/role", post(team::set_role))
        .route("/team/{id}/remove", post(team::remove))
        .0
}
