//! Providers' callbacks, in whatever form they come.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, Multipart, Path, Request, State};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::super::Api;
use super::super::error::{ApiError, ProblemBody};
use super::super::forwarded::caller_address;
use super::super::input::whole_body;
use crate::domain::json;
use crate::limits;
use crate::ops::OpsError;
use crate::providers::callback::Envelope;

/// Reports the outcome of a recharge, as a form, as JSON or in the query. The provider's configuration names the proof that is
/// required; if it is a signature, only the body counts.
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

/// The same, in the query. Refused if the body has to be signed.
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

/// The same with a secret in the path, in the query. Refused if the body has to be signed.
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
    let callback = Envelope { from, method: request.method().clone(), headers: request.headers().clone(), path_secret };
    api.ops.expects_callback(provider, &callback)?;
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = whole_body(request, api).await?;
    let proven = api.ops.proves_callback(provider, &callback, &body)?;
    let query = if proven.only_body { Some(Map::new()) } else { pairs(query.as_bytes()) };
    let body = if callback.method == Method::POST { read(&body).await } else { Some(Map::new()) };
    let fields = query.zip(body).map(|(query, body)| Value::Object(merged(query.into_iter().chain(body))));
    let verdict = api.ops.called_back(provider, proven, fields).await?;
    Ok(Json(json!({"verdict": verdict})))
}

/// The pairs of a query or form; none if there are too many.
fn pairs(text: &[u8]) -> Option<Map<String, Value>> {
    let pairs: Vec<_> = url::form_urlencoded::parse(text).take(limits::CALLBACK_VALUES + 1).collect();
    let few = pairs.len() <= limits::CALLBACK_VALUES;
    few.then(|| merged(pairs.into_iter().map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))))
}

/// Fields of which none counts more than another of the same name: what is given twice in two ways is neither.
fn merged(fields: impl Iterator<Item = (String, Value)>) -> Map<String, Value> {
    let mut all = Map::new();
    fields.for_each(|(name, value)| json::add(&mut all, name, value));
    all
}

/// The fields of a callback's body; none if it cannot be read. Its bytes alone say what it is, a JSON object, a multipart form or a form: no
/// signature covers `Content-Type`, and a caller must not choose another reading of a signed body.
pub async fn read(body: &Bytes) -> Option<Map<String, Value>> {
    let text = json::without_bom(body).trim_ascii_start();
    match text {
        [b'{' | b'[', ..] if !is_bounded(text) => None,
        [b'{' | b'[', ..] => match json::parse_all(text) {
            Ok(Value::Object(object)) => Some(object),
            _ => None,
        },
        [b'-', b'-', ..] => parts(body.slice_ref(text)).await,
        _ => pairs(json::without_bom(body)),
    }
}

/// Whether JSON is as small as callbacks are, judged without parsing it.
fn is_bounded(json: &[u8]) -> bool {
    let (mut depth, mut values, mut is_text, mut is_escaped) = (0_usize, 1, false, false);
    json.iter().all(|byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => {
                depth += 1;
                values += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        depth <= limits::CALLBACK_DEPTH && values <= limits::CALLBACK_VALUES
    })
}

/// The fields of a multipart form, whose first line is its boundary.
async fn parts(body: Bytes) -> Option<Map<String, Value>> {
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let boundary = std::str::from_utf8(line[2..].trim_ascii_end()).ok()?.to_owned();
    let mut request = Request::new(axum::body::Body::from(body));
    let kind = HeaderValue::try_from(format!("multipart/form-data; boundary=\"{boundary}\"")).ok()?;
    request.headers_mut().insert(CONTENT_TYPE, kind);
    let mut form = Multipart::from_request(request, &()).await.ok()?;
    let mut read = Map::new();
    for _ in 0..=limits::CALLBACK_VALUES {
        let Some(field) = form.next_field().await.ok()? else { return Some(read) };
        if let Some(name) = field.name().map(str::to_owned) {
            json::add(&mut read, name, Value::from(field.text().await.ok()?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fields(body: &[u8]) -> Option<Value> {
        read(&Bytes::copy_from_slice(body)).await.map(Value::Object)
    }

    #[tokio::test]
    async fn a_body_says_what_it_is() {
        let form = b"--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x y--\r\n";
        for body in [&b"{\"a\": \"1\"}"[..], b"\xef\xbb\xbf {\"a\": \"1\"}", b"a=1", b"\xef\xbb\xbfa=1", form] {
            assert_eq!(fields(body).await, Some(json!({"a": "1"})), "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(fields(b"").await, Some(json!({})));
        for body in [&b"{\"a\": \"1\""[..], b"[1]", b"[]&a=1", b"{}a=1", b"--", b"--\"\r\nx", &form[..40]] {
            assert_eq!(fields(body).await, None, "{}", String::from_utf8_lossy(body));
        }
    }

    #[tokio::test]
    async fn a_field_that_is_given_twice_is_neither_of_its_values() {
        let part = |value: &str| format!("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{value}\r\n");
        for (one, other, both) in [("1", "2", json!(["1", "2"])), ("1", "1", json!("1"))] {
            for body in [
                format!("a={one}&a={other}"),
                format!("{{\"a\": \"{one}\", \"\\u0061\": \"{other}\"}}"),
                format!("{}{}--x--\r\n", part(one), part(other)),
            ] {
                assert_eq!(fields(body.as_bytes()).await, Some(json!({"a": both})), "{body}");
            }
        }
        assert!(fields("a=1&".repeat(2000).as_bytes()).await.is_none(), "too many, whatever their names");
    }

    #[tokio::test]
    async fn a_body_of_many_values_is_not_parsed() {
        let many = |count: usize| vec!["1"; count].join(",");
        assert!(fields(format!("{{\"a\": [{}]}}", many(900)).as_bytes()).await.is_some());
        assert!(fields(format!("{{\"a\": [{}]}}", many(2000)).as_bytes()).await.is_none());
        let nested = |depth: usize| format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(fields(nested(15).as_bytes()).await.is_some());
        assert!(fields(nested(16).as_bytes()).await.is_none());
        let text = json!({"a": "[{,\\\"".repeat(1000)});
        assert_eq!(fields(text.to_string().as_bytes()).await, Some(text), "what stands in a text is no value");
        assert!(fields((0..2000).map(|n| format!("f{n}=1&")).collect::<String>().as_bytes()).await.is_none());
        let part = |n: usize| format!("--x\r\nContent-Disposition: form-data; name=\"f{n}\"\r\n\r\n1\r\n");
        let form = (0..2000).map(part).collect::<String>() + "--x--\r\n";
        assert!(fields(form.as_bytes()).await.is_none());
    }
}
