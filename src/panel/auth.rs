//! Who is logged in, and what that opens.
//!
//! A browser keeps a session's ticket in a cookie that no script can read and that other sites' pages do not send. It goes over
//! TLS only, unless `public_url` says that there is none, or says nothing and the server is reached on this very machine.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use super::error::Refusal;
use super::form;
use crate::domain::audit::Actor;
use crate::domain::session::{LoggedIn, Ticket};
use crate::domain::token::Scope;
use crate::domain::user::Role;
use crate::domain::vendor::{Mode, Vendor};
use crate::http::{Api, caller_address};
use crate::limits;
use crate::ops::{Caller, OpsError, Visitor};

const SESSION_COOKIE: &str = "ringback_session";
/// Kept by a browser in which somebody has logged in, so that strangers who try the same login do not lock it out.
const DEVICE_COOKIE: &str = "ringback_device";

/// The ticket of the session that a browser came with.
pub(super) fn ticket(headers: &HeaderMap) -> Option<Ticket> {
    cookie(headers, SESSION_COOKIE)
}

fn cookie(headers: &HeaderMap, wanted: &str) -> Option<Ticket> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let named = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    named.filter(|(name, _)| *name == wanted).map(|(_, value)| Ticket::given(value)).next()
}

/// A request of whomever, logged in or not.
pub(super) struct Visit {
    pub who: Visitor,
    needs_no_tls: bool,
    is_framed: bool,
}

impl FromRequestParts<Api> for Visit {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().ok_or(OpsError::Unauthorized)?.0.ip();
        let address = caller_address(peer, &parts.headers, &api.trusted_proxies);
        let device = cookie(&parts.headers, DEVICE_COOKIE).map(|device| device.hash());
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let needs_no_tls = needs_no_tls(api.ops.rules().public_url.as_deref(), host);
        Ok(Self { who: Visitor { address, device }, needs_no_tls, is_framed: !api.frame_ancestors.is_empty() })
    }
}

/// Whether cookies go out without TLS. Where people reach the server is the operator's to say: a proxy may write its own `Host`.
fn needs_no_tls(public_url: Option<&str>, host: &str) -> bool {
    public_url.map_or_else(|| is_loopback(host), |url| url.starts_with("http://"))
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())).map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Visit {
    /// The cookie that keeps a ticket for so many seconds. One that a link of the platform's pages gave may be sent from within
    /// a frame of theirs, where the operator allows frames.
    pub fn cookie(&self, ticket: &Ticket, seconds: u64, by_link: bool) -> HeaderValue {
        let site = match (self.needs_no_tls, by_link && self.is_framed) {
            (false, true) => "; Secure; SameSite=None; Partitioned",
            (false, false) => "; Secure; SameSite=Lax",
            (true, _) => "; SameSite=Lax",
        };
        let text = format!("{SESSION_COOKIE}={}; Path=/panel; Max-Age={seconds}; HttpOnly{site}", ticket.expose());
        HeaderValue::try_from(text).expect("a ticket is letters and digits")
    }

    /// The cookie by which this browser is known later.
    pub fn device_cookie(&self, device: &Ticket) -> HeaderValue {
        let (seconds, secure) = (limits::DEVICE.as_secs(), if self.needs_no_tls { "" } else { "; Secure" });
        let text = format!("{DEVICE_COOKIE}={}; Path=/panel; Max-Age={seconds}; HttpOnly{secure}; SameSite=Lax", device.expose());
        HeaderValue::try_from(text).expect("a ticket is letters and digits")
    }

    /// The cookie that takes it away.
    pub fn no_cookie(&self) -> HeaderValue {
        self.cookie(&Ticket::given(""), 0, false)
    }
}

/// Somebody who is logged in, whether or not the second factor has been seen.
pub(super) struct PendingSession {
    pub logged_in: LoggedIn,
    pub ticket: Ticket,
}

impl FromRequestParts<Api> for PendingSession {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let wanted = parts.uri.path_and_query().map_or("/panel", http::uri::PathAndQuery::as_str);
        // Only a page can be gone on to.
        let next = if parts.method == http::Method::GET { wanted } else { "/panel" };
        let nobody = || Refusal::LogIn(next.to_owned());
        let ticket = ticket(&parts.headers).ok_or_else(nobody)?;
        let logged_in = api.ops.session(&ticket).await?.ok_or_else(nobody)?;
        Ok(Self { logged_in, ticket })
    }
}

/// Somebody who is logged in.
pub(super) struct Person {
    pub logged_in: LoggedIn,
    pub ticket: Ticket,
    pub address: IpAddr,
    /// What its forms carry.
    pub proof: String,
}

impl FromRequestParts<Api> for Person {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let PendingSession { logged_in, ticket } = PendingSession::from_request_parts(parts, api).await?;
        if logged_in.session.awaits_second_factor {
            return Err(Refusal::Elsewhere("/panel/second-factor"));
        }
        let Visit { who, .. } = Visit::from_request_parts(parts, api).await?;
        let proof = form::proof(&ticket);
        Ok(Self { logged_in, ticket, address: who.address, proof })
    }
}

impl Person {
    /// What the person may do.
    pub fn role(&self) -> Role {
        self.logged_in.session.role
    }

    /// Whether the role opens as much as this one.
    pub fn may(&self, needed: Role) -> bool {
        self.role() <= needed
    }

    fn caller(&self, scope: Scope) -> Caller {
        let actor = self.logged_in.session.user.map_or(Actor::Link, Actor::User);
        Caller { scope, actor, address: self.address }
    }
}

/// Somebody who is logged in for a vendor, in one of its modes.
pub(super) struct VendorSession {
    pub person: Person,
    pub vendor: Vendor,
    pub mode: Mode,
    pub caller: Caller,
}

impl FromRequestParts<Api> for VendorSession {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let person = Person::from_request_parts(parts, api).await?;
        let vendor = person.logged_in.vendor.clone().ok_or_else(Refusal::nothing)?;
        let mode: Mode = parts.uri.path().split('/').nth(2).and_then(|mode| mode.parse().ok()).ok_or_else(Refusal::nothing)?;
        let caller = person.caller(Scope::Vendor { vendor: vendor.id, mode, stream: vendor.stream(mode) });
        Ok(Self { person, vendor, mode, caller })
    }
}

impl VendorSession {
    /// An address in this mode.
    pub fn at(&self, rest: impl std::fmt::Display) -> String {
        format!("/panel/{}/{rest}", self.mode.as_str())
    }
}

/// The same, whose role allows changes.
pub(super) struct Developer(pub VendorSession);

impl FromRequestParts<Api> for Developer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let seat = VendorSession::from_request_parts(parts, api).await?;
        if seat.person.may(Role::Developer) { Ok(Self(seat)) } else { Err(Refusal::Role("the role developer or owner")) }
    }
}

/// The same, whose role allows everything.
pub(super) struct Owner(pub VendorSession);

impl FromRequestParts<Api> for Owner {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let seat = VendorSession::from_request_parts(parts, api).await?;
        if seat.person.may(Role::Owner) { Ok(Self(seat)) } else { Err(Refusal::Role("the role owner")) }
    }
}

/// One of the operator's people.
pub(super) struct OfOperator {
    pub person: Person,
    pub caller: Caller,
}

impl FromRequestParts<Api> for OfOperator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let person = Person::from_request_parts(parts, api).await?;
        if person.logged_in.session.vendor.is_some() {
            return Err(Refusal::nothing());
        }
        if api.ops.rules().operators_need_second_factor && !person.logged_in.has_second_factor {
            return Err(Refusal::Elsewhere("/panel/self?told=second-factor-needed"));
        }
        let caller = person.caller(Scope::Operator);
        Ok(Self { person, caller })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_address_decides_whether_cookies_need_tls() {
        for (public_url, host, without) in [
            (Some("https://pay.example"), "127.0.0.1:8080", false),
            (Some("https://pay.example"), "pay.example", false),
            (Some("http://pay.example"), "pay.example", true),
            (None, "127.0.0.1:8080", true),
            (None, "pay.example", false),
        ] {
            assert_eq!(needs_no_tls(public_url, host), without, "{public_url:?} {host}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (host, expected) in [
            ("localhost:8080", true),
            ("127.0.0.1:1", true),
            ("127.0.0.1", true),
            ("[::1]:8080", true),
            ("localhost.example:80", false),
            ("192.0.2.1:80", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
