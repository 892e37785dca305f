//! Mails that wait.

use axum::extract::State;
use maud::html;

use super::super::auth::OfOperator;
use super::super::components::{empty, pager, time, time_or_dash};
use super::super::error::Shown;
use super::super::form::Query;
use super::super::layout;
use crate::http::Api;
use crate::limits;
use crate::store::Page;

pub(super) async fn list(State(api): State<Api>, seat: OfOperator, query: Query) -> Shown {
    let page = Page { before: query.get("cursor").parse().ok(), limit: limits::PAGE_DEFAULT };
    let mails = api.ops.waiting_mails(page).await?;
    let next = mails.last().filter(|_| mails.len() == limits::PAGE_DEFAULT).map(|mail| mail.id.to_string());
    let body = html! {
        div.top { div { h1 { "Mails" } p { "What is still to be mailed. After the first mail to an address, what comes within a quarter of an hour is gathered into one." } } }
        @if !api.ops.rules().mails_go_out {
            p.notice.wait { strong { "No mail server is set." } " Mails wait here; set " code { "smtp_url" } " and " code { "mail_from" } " and they go out." }
        }
        section.sheet {
            @if mails.is_empty() { (empty("No mail waits", "Warnings, alerts, invitations and links to new passwords go through here.")) }
            @else {
                div.table { table.cards {
                    thead { tr { th scope="col" { "To" } th scope="col" { "What" } th scope="col" { "Waits since" } th scope="col" { "Tries" } th scope="col" { "Tried again" } th scope="col" { "The server said" } } }
                    tbody { @for mail in &mails { tr {
                        td data-name="To" { (mail.address) }
                        td data-name="What" { (mail.title) }
                        td data-name="Waits since" { (time(mail.created_at)) }
                        td data-name="Tries" { (mail.tries) }
                        td data-name="Tried again" { (time_or_dash(mail.next_try_at)) }
                        td data-name="The server said" { (mail.error.as_deref().unwrap_or("–")) }
                    } } }
                } }
            }
        }
        (pager(&query, next))
    };
    Ok(layout::of_operator(&seat, &query, ("/mails", "Mails"), body))
}
