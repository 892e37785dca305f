//! Who calls: the token, and the address it comes from.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use ipnet::IpNet;

use super::Api;
use super::error::ApiError;
use crate::ops::{Caller, OpsError};

/// A caller whose token was found good.
pub(super) struct Authenticated(pub Caller);

/// A caller with an operator's token.
pub(super) struct Operator(pub Caller);

impl FromRequestParts<Api> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let Renewal { token, from } = Renewal::from_request_parts(parts, api).await?;
        Ok(Self(api.ops.authenticate(token.as_deref(), from).await?))
    }
}

/// What an answer that waits or goes on asks again: whether its token is still good.
pub(super) struct Renewal {
    token: Option<String>,
    from: IpAddr,
}

impl FromRequestParts<Api> for Renewal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().ok_or(OpsError::Unauthorized)?.0.ip();
        let from = caller_address(peer, &parts.headers, &api.trusted_proxies);
        Ok(Self { token: token(&parts.headers).map(str::to_owned), from })
    }
}

impl Renewal {
    /// Whether it is. It counts against no rate limit, and a store that cannot answer is not the token's fault.
    pub async fn is_good(&self, api: &Api) -> bool {
        !matches!(api.ops.find_token(self.token.as_deref(), self.from).await, Err(OpsError::Unauthorized))
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, api).await?;
        caller.operator()?;
        Ok(Self(caller))
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| headers.get("x-auth-token").and_then(|value| value.to_str().ok()))
}

/// The address a call comes from: the peer's, or, where that is a trusted proxy, the last one in `X-Forwarded-For` that
/// is not a trusted proxy itself.
pub fn caller_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    if !is_trusted(&peer) {
        return peer;
    }
    let listed: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
    let mut nearest = peer;
    for text in listed.into_iter().rev() {
        // What a proxy wrote that is no address ends what can be believed.
        let Ok(address) = text.trim().parse::<IpAddr>() else { break };
        nearest = address;
        if !is_trusted(&address) {
            break;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        for (peer, forwarded, expected) in [
            ("198.51.100.1", "203.0.113.9", "198.51.100.1"),
            ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4, nonsense", "10.0.0.1"),
            ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_str(forwarded).unwrap());
            let found = caller_address(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
    }

    #[test]
    fn both_headers_carry_a_token() {
        for (name, value, expected) in [
            ("authorization", "Bearer abc", Some("abc")),
            ("authorization", "bearer  abc", Some("abc")),
            ("authorization", "Basic abc", None),
            ("x-auth-token", "abc", Some("abc")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(token(&headers), expected, "{name}: {value}");
        }
    }
}
