//! Providers' callbacks, in whatever form they come.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, Multipart, Path, Request, State};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};

use super::super::Api;
use super::super::auth::caller_address;
use super::super::error::{ApiError, ProblemBody};
use crate::domain::json;
use crate::ops::OpsError;
use crate::providers::Received;

/// A provider tells what became of a recharge, as a form, as JSON or in the query. What it has to prove, its configuration says.
#[utoipa::path(post, path = "/callbacks/{provider}", tag = "provider", params(("provider" = String, Path)), responses(
    (status = 200, description = "It was taken", body = Object),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn post(
    State(api): State<Api>,
    Path(provider): Path<String>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    take(&api, &provider, None, request).await
}

/// The same, in the query.
#[utoipa::path(get, path = "/callbacks/{provider}", tag = "provider", params(("provider" = String, Path)), responses(
    (status = 200, description = "It was taken", body = Object),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn get(State(api): State<Api>, Path(provider): Path<String>, request: Request) -> Result<Json<Value>, ApiError> {
    take(&api, &provider, None, request).await
}

/// The same with a secret in the path.
#[utoipa::path(post, path = "/callbacks/{provider}/{secret}", tag = "provider", params(("provider" = String, Path), ("secret" = String, Path)), responses(
    (status = 200, description = "It was taken", body = Object),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn post_with_secret(
    State(api): State<Api>,
    Path((provider, secret)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    take(&api, &provider, Some(secret), request).await
}

/// The same with a secret in the path, in the query.
#[utoipa::path(get, path = "/callbacks/{provider}/{secret}", tag = "provider", params(("provider" = String, Path), ("secret" = String, Path)), responses(
    (status = 200, description = "It was taken", body = Object),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn get_with_secret(
    State(api): State<Api>,
    Path((provider, secret)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    take(&api, &provider, Some(secret), request).await
}

async fn take(api: &Api, provider: &str, path_secret: Option<String>, request: Request) -> Result<Json<Value>, ApiError> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().ok_or(OpsError::Unauthorized)?.0.ip();
    let from = caller_address(peer, request.headers(), &api.trusted_proxies);
    let (headers, method) = (request.headers().clone(), request.method().clone());
    let mut said = pairs(request.uri().query().unwrap_or_default().as_bytes());
    let body = Bytes::from_request(request, api).await.map_err(|_| OpsError::Unauthorized)?;
    if method == Method::POST {
        said.extend(read(&headers, &body).await);
    }
    let callback = Received { from, headers, path_secret, body, said: Value::Object(said) };
    let verdict = api.ops.called_back(provider, &callback).await?;
    Ok(Json(json!({"verdict": verdict})))
}

fn pairs(text: &[u8]) -> Map<String, Value> {
    url::form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect()
}

/// What a body says; nothing, where it cannot be read.
async fn read(headers: &HeaderMap, body: &Bytes) -> Map<String, Value> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_lowercase();
    if kind.starts_with("multipart/form-data") {
        return parts(headers, body).await;
    }
    match json::parse(body) {
        Ok(Value::Object(object)) => object,
        _ if kind.contains("json") => Map::new(),
        _ => pairs(body),
    }
}

async fn parts(headers: &HeaderMap, body: &Bytes) -> Map<String, Value> {
    let mut said = Map::new();
    let mut again = Request::new(axum::body::Body::from(body.clone()));
    *again.headers_mut() = headers.clone();
    let Ok(mut form) = Multipart::from_request(again, &()).await else { return said };
    while let Ok(Some(field)) = form.next_field().await {
        let Some(name) = field.name().map(str::to_owned) else { continue };
        if let Ok(text) = field.text().await {
            said.insert(name, Value::from(text));
        }
    }
    said
}
