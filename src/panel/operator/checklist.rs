//! The first-run checklist on the overview: what a new installation still lacks, why it matters, and where to do it.

use axum::extract::State;
use axum::response::Redirect;
use maud::{Markup, html};

use super::super::auth::OfOperator;
use super::super::components::{act, badge};
use super::super::error::Shown;
use super::super::form::Form;
use crate::http::Api;
use crate::ops::Checklist;

/// A step of the checklist.
struct Step {
    is_done: bool,
    what: &'static str,
    why: &'static str,
    /// Address and name of the page where it is done.
    place: (String, &'static str),
}

fn steps(checklist: &Checklist) -> [Step; Checklist::STEPS] {
    let vendors = "/panel/operator/vendors".to_owned();
    let endpoint = match checklist.vendor {
        Some(vendor) => (format!("{vendors}/{vendor}"), "Open the vendor"),
        None => ("/docs/receiving".to_owned(), "How vendors receive events"),
    };
    let step = |is_done, what, why, place| Step { is_done, what, why, place };
    [
        step(
            checklist.vendor.is_some(),
            "Create the first vendor",
            "Endpoints, tokens and logins belong to a vendor.",
            (vendors, "Create a vendor"),
        ),
        step(
            checklist.has_endpoint,
            "Connect its endpoint",
            "Events are delivered to connected endpoints. The vendor adds one in its own panel or through the API.",
            endpoint,
        ),
        step(
            checklist.has_recharges,
            "Receive recharges",
            "Events follow from recharges: configure a provider, or send reports with POST /v1/reports.",
            ("/docs/recharges".to_owned(), "Providers and reports"),
        ),
        step(
            checklist.mails_go_out,
            "Send mail",
            "Invitations, password links and alerts wait until smtp_url and mail_from are set.",
            ("/docs/config".to_owned(), "Mail settings"),
        ),
        step(
            checklist.has_public_url,
            "Set public_url",
            "Links in mails and API responses begin with it.",
            ("/docs/config".to_owned(), "Public address"),
        ),
        step(
            checklist.has_safe_access,
            "Protect your access",
            "Invite a second operator, or set up a second factor for your own login.",
            ("/panel/operator/team".to_owned(), "Open the team"),
        ),
    ]
}

/// The checklist; nothing once there is none.
pub(super) async fn draw(api: &Api, seat: &OfOperator) -> Shown {
    let Some(checklist) = api.ops.checklist().await? else { return Ok(Markup::default()) };
    Ok(html! {
        section.sheet aria-labelledby="checklist" {
            div.top {
                h2 #checklist { "First steps" span.faint { " " (checklist.done()) " of " (Checklist::STEPS) " done" } }
                (act("/panel/operator/checklist/dismiss", &seat.person.proof, ("small", "Dismiss checklist"), html! {}))
            }
            ul.checks.steps {
                @for step in steps(&checklist) {
                    li.good[step.is_done] {
                        div {
                            strong { (step.what) } " "
                            @if step.is_done { (badge("good", "done")) } @else { (badge("wait", "to do")) }
                            p { (step.why) @if !step.is_done { " " a href=(step.place.0) { (step.place.1) } } }
                        }
                    }
                }
            }
        }
    })
}

pub(super) async fn dismiss(State(api): State<Api>, seat: OfOperator, _: Form) -> Shown<Redirect> {
    api.ops.dismiss_checklist(seat.caller).await?;
    Ok(Redirect::to("/panel/operator?told=checklist-dismissed"))
}
