//! Answers to requests that are done once, whether or not they are sent again with the same `Idempotency-Key`.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::Api;
use super::error::ApiError;
use crate::fields::{Fields, Problem};
use crate::ops::{Begun, Caller, Once, OpsError};

const HEADER: &str = "idempotency-key";
/// Tells an answer that was kept from one that was just made.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The `Idempotency-Key` of a request, if it has one, and its path.
pub(super) struct Key {
    key: Option<String>,
    path: String,
}

impl FromRequestParts<Api> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        let mut given = parts.headers.get_all(HEADER).iter();
        let key = match (given.next(), given.next()) {
            (None, _) => None,
            // What is not text is judged like any other key that is not right.
            (Some(key), None) => Some(String::from_utf8_lossy(key.as_bytes()).into_owned()),
            (Some(_), Some(_)) => return Err(OpsError::from(Problem::invalid("Idempotency-Key", "must be sent only once")).into()),
        };
        Ok(Self { key, path: parts.uri.path().to_owned() })
    }
}

impl Key {
    /// Calls `verb` unless the same request was answered before, and answers with what `view` shows of what came of it.
    pub async fn answer<T, V, F>(
        self,
        api: &Api,
        caller: Caller,
        fields: Fields,
        status: StatusCode,
        view: fn(&T) -> V,
        verb: impl FnOnce(Fields, Once<T>) -> F,
    ) -> Result<Response, ApiError>
    where
        T: 'static,
        V: Serialize + 'static,
        F: Future<Output = Result<T, OpsError>>,
    {
        Ok(match self.begin(api, caller, &fields, view).await? {
            Begun::First(once) => respond(status, json(&view(&verb(fields, once).await?))),
            Begun::Before(answer) => Self::answered_before(status, answer),
        })
    }

    /// The first half of that, for calls that answer in more than one way.
    pub async fn begin<T: 'static, V: Serialize + 'static>(
        self,
        api: &Api,
        caller: Caller,
        fields: &Fields,
        view: fn(&T) -> V,
    ) -> Result<Begun<T>, ApiError> {
        let write = move |answer: &T| json(&view(answer));
        Ok(api.ops.begin(caller, &self.path, self.key.as_deref(), fields, write).await?)
    }

    /// An answer that was kept.
    pub fn answered_before(status: StatusCode, answer: Vec<u8>) -> Response {
        let mut response = respond(status, answer);
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

fn json(view: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(view).expect("a view always serializes")
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
