//! Who calls: the token, and the address it comes from.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Api;
use super::error::ApiError;
use super::forwarded::caller_address;
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

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
