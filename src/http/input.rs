//! Bodies, queries and ids in paths, as [`Fields`] with all their problems.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::Api;
use super::error::ApiError;
use super::listen::BodyLate;
use crate::domain::json;
use crate::fields::{Fields, Problem};
use crate::ops::OpsError;

/// A JSON object as the body. No body at all is an empty object, so that calls without input need none.
pub(super) struct Body(pub Fields);

/// The query's parameters. Each may stand there once.
pub(super) struct Query(pub Fields);

/// An id in the path. One of another kind names nothing: 404.
pub(super) struct Id<T>(pub T);

/// Two ids in the path, the first of them the owner of the second.
pub(super) struct Pair<A, B>(pub A, pub B);

impl<A: FromStr, B: FromStr> FromRequestParts<Api> for Pair<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let nothing = || ApiError::from(OpsError::NotFound("id"));
        let Path((first, second)): Path<(String, String)> = Path::from_request_parts(parts, api).await.map_err(|_| nothing())?;
        Ok(Self(first.parse().map_err(|_| nothing())?, second.parse().map_err(|_| nothing())?))
    }
}

/// A request's body, read to its end.
pub(super) async fn whole_body(request: Request, api: &Api) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, api).await.map_err(|rejection| match rejection.status() {
        _ if BodyLate::is_behind(&rejection) => {
            let detail = "the body did not arrive in time; send it faster, or less at once";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("the body is larger than {} bytes; send less at once", crate::limits::BODY_MAX);
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        }
        _ => ApiError::new(StatusCode::BAD_REQUEST, "malformed", "the body could not be read to its end"),
    })
}

/// The refusal of a compressed body (RFC 9110, section 15.5.16), if it is one. Nothing is inflated here. A name that is no
/// coding, such as that of a character set, is not an obstacle: senders confuse the two.
fn refusal_of_compressed(headers: &HeaderMap) -> Option<ApiError> {
    const COMPRESSED: [&str; 7] = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"];
    let codings = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let is_compressed = |coding: &&str| COMPRESSED.iter().any(|known| coding.trim().eq_ignore_ascii_case(known));
    let coding = codings.map(str::trim).find(is_compressed)?;
    let detail = format!("the body has Content-Encoding {coding}; send it without compression");
    Some(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed", detail))
}

impl FromRequest<Api> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        if let Some(refusal) = refusal_of_compressed(request.headers()) {
            return Err(refusal);
        }
        let bytes = whole_body(request, api).await?;
        if json::without_bom(&bytes).is_empty() {
            return Ok(Self(Fields::default()));
        }
        match json::parse(&bytes) {
            Ok(Value::Object(object)) => Ok(Self(Fields::new(object))),
            Ok(_) => Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", "the body must be a JSON object")),
            Err(error) => Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", format!("the body is not JSON: {error}"))),
        }
    }
}

impl FromRequestParts<Api> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        let mut object = Map::new();
        for (name, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            if object.insert(name.to_string(), Value::from(value.into_owned())).is_some() {
                return Err(OpsError::from(Problem::invalid(name, "must stand in the query only once")).into());
            }
        }
        Ok(Self(Fields::new(object)))
    }
}

impl<T: FromStr> FromRequestParts<Api> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let nothing = || ApiError::from(OpsError::NotFound("id"));
        let Path(text): Path<String> = Path::from_request_parts(parts, api).await.map_err(|_| nothing())?;
        text.parse().map(Self).map_err(|_| nothing())
    }
}
