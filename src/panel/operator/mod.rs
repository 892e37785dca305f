//! The operator's pages.

mod audit;
mod checklist;
mod conflicts;
mod issues;
mod mails;
mod overview;
mod providers;
mod stuck;
mod team;
mod vendor;
mod vendors;

use axum::Router;
use axum::routing::{get, post};

use crate::http::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/panel/operator", get(overview::show))
        .route("/panel/operator/live", get(overview::live))
        .route("/panel/operator/checklist/dismiss", post(checklist::dismiss))
        .route("/panel/operator/issues", get(issues::list))
        .route("/panel/operator/stuck", get(stuck::list))
        .route("/panel/operator/stuck/{id}/settle", post(stuck::settle))
        .route("/panel/operator/conflicts", get(conflicts::list))
        .route("/panel/operator/conflicts/{id}", get(conflicts::show))
        .route("/panel/operator/conflicts/{id}/resolve", post(conflicts::resolve))
        .route("/panel/operator/vendors", get(vendors::list).post(vendors::create))
        .route("/panel/operator/vendors/{id}", get(vendor::show).post(vendor::change))
        .route("/panel/operator/vendors/{id}/disable", post(vendor::disable))
        .route("/panel/operator/vendors/{id}/enable", post(vendor::enable))
        .route("/panel/operator/vendors/{id}/invite", post(vendor::invite))
        .route("/panel/operator/vendors/{id}/users/{user}/remove", post(vendor::remove_user))
        .route("/panel/operator/vendors/{id}/tokens/{token}/revoke", post(vendor::revoke_token))
        .route("/panel/operator/vendors/{id}/invitations/{link}/withdraw", post(vendor::withdraw))
        .route("/panel/operator/providers", get(providers::list))
        .route("/panel/operator/mails", get(mails::list))
        .route("/panel/operator/audit", get(audit::list))
        .route("/panel/operator/team", get(team::list).post(team::invite))
        .route("/panel/operator/team/{id}/remove", post(team::remove))
        .route("/panel/operator/team/invitations/{id}/withdraw", post(team::withdraw))
}
