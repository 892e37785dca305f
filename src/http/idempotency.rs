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
use crate::ops::{Begun, Caller, IdempotentRequest, OpsError};
use crate::store::HttpAnswer;

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
        verb: impl FnOnce(Fields, IdempotentRequest<T>) -> F,
    ) -> Result<Response, ApiError>
    where
        T: 'static,
        V: Serialize + 'static,
        F: Future<Output = Result<T, OpsError>>,
    {
        let write = move |done: &T| (status, view(done));
        match self.begin(api, caller, &fields, write).await? {
            Begun::First(once) => Ok(respond(written(write(&verb(fields, once).await?)), status)),
            Begun::Before(answer) => Ok(Self::answered_before(answer, status)),
        }
    }

    /// The first half of that, for calls that answer in more than one way. `view` says with which status, too.
    pub async fn begin<T: 'static, V: Serialize + 'static>(
        self,
        api: &Api,
        caller: Caller,
        fields: &Fields,
        view: impl Fn(&T) -> (StatusCode, V) + Send + Sync + 'static,
    ) -> Result<Begun<T>, ApiError> {
        let write = move |done: &T| written(view(done));
        Ok(api.ops.begin(caller, &self.path, self.key.as_deref(), fields, write).await?)
    }

    /// An answer that was kept; with `usual` where its status was not.
    pub fn answered_before(answer: HttpAnswer, usual: StatusCode) -> Response {
        let mut response = respond(answer, usual);
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

fn written((status, view): (StatusCode, impl Serialize)) -> HttpAnswer {
    HttpAnswer { status: Some(status.as_u16()), body: serde_json::to_vec(&view).expect("a view always serializes") }
}

fn respond(HttpAnswer { status, body }: HttpAnswer, usual: StatusCode) -> Response {
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(usual);
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
