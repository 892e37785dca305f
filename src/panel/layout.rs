//! What stands around every page: the head, the way about, the switch between live and test.

use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::auth::{OfOperator, Person, VendorSession};
use super::components::hidden;
use super::form::{PROOF, Query};
use crate::domain::user::Role;
use crate::domain::vendor::Mode;

/// What a page tells once something was done, by the word that stands in its address.
const TOLD: [(&str, &str); 32] = [
    ("logged-out", "You are logged out."),
    ("password-set", "Your password is set. Log in with it."),
    ("password-changed", "Your password is changed; your other sessions have ended."),
    ("mail-sent", "If there is such a login, a mail with a link is on its way to it."),
    ("second-factor-needed", "The operator's people need a second factor. Set it up below; then everything is open to you."),
    ("second-factor-off", "Your second factor is taken away."),
    ("saved", "Saved."),
    ("connected", "Connected: it gets events from now on."),
    ("enabled-with-missed", "Connected. What it missed goes out first, in order."),
    ("paused", "Paused: events go on making deliveries, which wait."),
    ("resumed", "Resumed: what waited is due, in order."),
    ("disabled", "Disabled: it gets no events until it is enabled again."),
    ("deleted", "Deleted. What was pending is cancelled."),
    ("replay-started", "The replay has begun. It waits behind new events."),
    ("replay-cancelled", "The replay is cancelled."),
    ("pending-cancelled", "What was pending is cancelled."),
    ("resent", "It is on its way again, as a new run."),
    ("resent-some", "Those that could be sent again are on their way. Deliveries that are pending are retried by themselves."),
    ("delivery-cancelled", "The delivery is cancelled."),
    ("revoked", "The token is revoked: it opens nothing any more."),
    ("role-changed", "The role is changed."),
    ("removed", "The login is removed, and its sessions have ended."),
    ("withdrawn", "The invitation is withdrawn."),
    ("resolved", "Resolved. It is in the audit log with your reason."),
    ("settled", "Settled. It is in the audit log with your reason, and the vendor is told."),
    ("vendor-disabled", "The vendor is disabled: its tokens and logins are refused, its deliveries wait."),
    ("vendor-enabled", "The vendor is enabled again: what waited is due."),
    ("vendor-saved", "The vendor is saved."),
    ("asked", "The provider is being asked."),
    ("nothing-selected", "Nothing was selected, so nothing was done."),
    ("logged-in", "You are logged in."),
    ("checklist-dismissed", "The checklist is dismissed for all operators."),
];

fn document(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " · Ringback" }
                link rel="stylesheet" href=(STYLE.address);
                link rel="icon" href=(ICON.address) type="image/svg+xml";
                script src=(SCRIPT.address) defer {}
            }
            (body)
        }
    }
}

fn brand() -> Markup {
    html! { a.brand href="/panel" { img src=(ICON.address) alt="" width="26" height="26"; span { "Ringback" } } }
}

/// A page without a way about: before somebody is logged in, and when something went wrong.
pub(super) fn bare(title: &str, body: Markup) -> Markup {
    document(title, html! { body.bare { main #main { div.sheet { (brand()) (body) } } } })
}

struct Place {
    address: String,
    name: &'static str,
    is_here: bool,
}

fn places(here: &str, list: &[(&str, &'static str)], base: &str) -> Vec<Place> {
    let place = |(path, name): &(&str, &'static str)| Place { address: format!("{base}{path}"), name, is_here: here == *path };
    list.iter().map(place).collect()
}

fn way_about(places: &[Place]) -> Markup {
    html! {
        ul {
            @for place in places {
                li { a href=(place.address) aria-current=[place.is_here.then_some("page")] { (place.name) } }
            }
        }
    }
}

fn told(query: &Query) -> Markup {
    let told = TOLD.iter().find(|(word, _)| *word == query.get("told"));
    html! { @if let Some((_, sentence)) = told { p.notice.good role="status" { (sentence) } } }
}

fn who(person: &Person) -> Markup {
    html! {
        div.who {
            @match &person.logged_in.email {
                Some(email) => a href="/panel/self" { (email) },
                None => span { "Visitor of the platform" },
            }
            form method="post" action="/panel/logout" { (hidden(PROOF, &person.proof)) button.link type="submit" { "Log out" } }
        }
    }
}

fn around(title: &str, kind: &str, (side, body): (Markup, Markup)) -> Markup {
    document(
        title,
        html! {
            body class=(kind) {
                a.skip href="#main" { "To the content" }
                header.side { (brand()) (side) }
                main #main tabindex="-1" { (body) }
            }
        },
    )
}

/// A page of a vendor's. `here` is its place in the way about.
pub(super) fn of_vendor(seat: &VendorSession, query: &Query, (here, title): (&str, &str), body: Markup) -> Markup {
    let mut list = vec![
        ("", "Home"),
        ("/recharges", "Recharges"),
        ("/webhooks", "Webhooks"),
        ("/deliveries", "Deliveries"),
        ("/events", "Events"),
        ("/tokens", "Tokens"),
        ("/developers", "Developers"),
    ];
    if seat.person.may(Role::Owner) {
        list.push(("/team", "Team"));
    }
    let base = format!("/panel/{}", seat.mode.as_str());
    let places = places(here, &list, &base);
    let switch = |mode: Mode, name: &str| {
        html! {
            a href=(format!("/panel/{}{here}", mode.as_str())) aria-current=[(mode == seat.mode).then_some("true")] { (name) }
        }
    };
    let kind = if seat.mode == Mode::Test { "test" } else { "live" };
    let side = html! {
        details.menu { summary { "Menu" } }
        nav aria-label="Pages" {
            p.vendor { (seat.vendor.name) }
            div.switch role="group" aria-label="Live or test" { (switch(Mode::Live, "Live")) (switch(Mode::Test, "Test")) }
            (way_about(&places))
            (who(&seat.person))
        }
    };
    let body = html! {
        @if seat.mode == Mode::Test {
            p.band { strong { "Test mode." } " Nothing here is real: recharges go to a simulated provider, and events only to test endpoints." }
        }
        (told(query))
        (body)
    };
    around(title, kind, (side, body))
}

/// A page of the operator's.
pub(super) fn of_operator(seat: &OfOperator, query: &Query, (here, title): (&str, &str), body: Markup) -> Markup {
    let list = [
        ("", "Overview"),
        ("/issues", "Issues"),
        ("/stuck", "Stuck"),
        ("/conflicts", "Conflicts"),
        ("/vendors", "Vendors"),
        ("/providers", "Providers"),
        ("/mails", "Mails"),
        ("/audit", "Audit"),
        ("/team", "Team"),
    ];
    let side = html! {
        details.menu { summary { "Menu" } }
        nav aria-label="Pages" {
            p.vendor { "Operator" }
            (way_about(&places(here, &list, "/panel/operator")))
            (who(&seat.person))
        }
    };
    around(title, "operator", (side, html! { (told(query)) (body) }))
}

/// A link to a page of the documents: its address, its title, and whether it is the page that is shown.
pub(super) type DocumentLink = (String, &'static str, bool);

/// A page of the documents, which everybody may read. Each group of links has its title.
pub(super) fn of_documents(title: &str, groups: &[(&str, Vec<DocumentLink>)], body: Markup) -> Markup {
    let place = |(address, name, is_here): &DocumentLink| Place { address: address.clone(), name, is_here: *is_here };
    let side = html! {
        details.menu { summary { "Menu" } }
        nav aria-label="Pages" {
            p.vendor { a href="/docs" { "Documentation" } }
            form.find method="get" action="/docs" role="search" aria-label="Search all pages" {
                input type="search" name="ask" aria-label="Search the documents" placeholder="Search";
            }
            @for (group, pages) in groups {
                p.group { (group) }
                (way_about(&pages.iter().map(place).collect::<Vec<_>>()))
            }
            div.who { a href="/panel" { "To the panel" } a href="/openapi.json" { "OpenAPI" } a href="/docs/llms.txt" { "llms.txt" } }
        }
    };
    around(title, "documents", (side, body))
}

/// A page about somebody's own login.
pub(super) fn of_person(person: &Person, query: &Query, title: &str, body: Markup) -> Markup {
    let side = html! { nav aria-label="Pages" { ul { li { a href="/panel" { "Back to the panel" } } } (who(person)) } };
    around(title, "self", (side, html! { (told(query)) (body) }))
}
