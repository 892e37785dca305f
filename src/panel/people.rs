//! What the pages about people share, a vendor's and the operator's.

use maud::{Markup, html};

use super::components::{act, copyable, time};
use crate::domain::session::{Link, Purpose};
use crate::http::Api;
use crate::ops::Invited;

/// Roles, as a form offers them.
pub(super) const ROLES: [(&str, &str); 3] =
    [("owner", "owner: everything"), ("developer", "developer: endpoints, deliveries, test tokens"), ("viewer", "viewer: looks only")];

/// An invitation that was just made, with its link.
pub(super) fn invited(api: &Api, invited: &Invited) -> Markup {
    html! {
        section.sheet role="status" {
            h2 { "Invited" }
            @match &invited.ticket {
                Some(ticket) => {
                    @if api.ops.rules().mails_go_out { p { "The mail is on its way. You can also pass on the link yourself:" } }
                    @else { p { "This server sends no mails at present: pass on this link yourself." } }
                    p { (copyable(&api.ops.link_url(ticket))) }
                },
                None => p { "The mail with the link is on its way." },
            }
            p.soft { "It is good once, until " (time(invited.link.expires_at)) "." }
        }
    }
}

/// An invitation that has not been taken, as a row among people.
pub(super) fn waiting(proof: &str, link: &Link, withdraw: &str) -> Markup {
    let Purpose::Invitation { email, role, .. } = &link.purpose else { return html! {} };
    html! {
        tr {
            td data-name="E-mail" { (email) }
            td data-name="Role" { (role.as_str()) }
            td data-name="Second factor" { span.badge.wait { "invited" } }
            td data-name="Since" { (time(link.created_at)) }
            td data-name="Remove" { (act(withdraw, proof, ("small", "Withdraw"), html! {})) }
        }
    }
}
