//! What a browser may do with a page: run only our script, send forms only to us, show it in a frame only where the operator
//! allows that, keep nothing.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERER, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::error::Refusal;
use crate::http::Api;

/// Refuses what other sites' pages send, and says the rules with each answer.
pub(super) async fn watch(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_foreign = request.method() != Method::GET && !is_ours(request.headers(), &api.ops.public_url());
    let mut response = if is_foreign { Refusal::Foreign.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    let frames = if api.frame_ancestors.is_empty() { "'none'".to_owned() } else { format!("'self' {}", api.frame_ancestors.join(" ")) };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors {frames}"
    );
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).expect("origins are visible ASCII"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if api.frame_ancestors.is_empty() {
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    response
}

/// Whether a form was sent by a page of ours, as far as the browser tells. What no browser sent has no cookie that it did not
/// mean to send.
fn is_ours(headers: &HeaderMap, public_url: &str) -> bool {
    // A header that is not text, such as a path of Latin-1 in Referer, is not ours.
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // Old browsers send no Origin with a form, but the page that it stands on.
    let page =
        || text(REFERER.as_str()).map(|page| Url::parse(page).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization()));
    match (text("sec-fetch-site"), text(ORIGIN.as_str()).map(str::to_owned).or_else(page)) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        // A proxy may have rewritten the host; the public address is ours all the same.
        (None, Some(origin)) => {
            let is_public = || Url::parse(public_url).is_ok_and(|url| url.origin().ascii_serialization() == origin);
            origin.split_once("://").map(|(_, host)| host) == text(HOST.as_str()) || is_public()
        }
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_sites_are_told_from_ours() {
        let sent = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            pairs.iter().for_each(|(name, value)| drop(headers.insert(*name, HeaderValue::from_static(value))));
            is_ours(&headers, "https://panel.example/ringback")
        };
        for (headers, ours) in [
            (&[("host", "a.example")][..], true),
            (&[("host", "a.example"), ("origin", "https://a.example")], true),
            (&[("host", "a.example"), ("origin", "https://b.example")], false),
            (&[("host", "10.0.0.1"), ("origin", "https://panel.example")], true),
            (&[("host", "10.0.0.1"), ("origin", "http://panel.example")], false),
            (&[("host", "a.example"), ("origin", "null")], false),
            (&[("host", "a.example"), ("referer", "https://a.example/panel/login?next=x")], true),
            (&[("host", "10.0.0.1"), ("referer", "https://panel.example/ringback/panel")], true),
            (&[("host", "a.example"), ("referer", "https://b.example/a.example")], false),
            (&[("host", "a.example"), ("referer", "about:blank")], false),
            (&[("host", "a.example"), ("origin", "https://a.example"), ("referer", "https://b.example/")], true),
            (&[("host", "a.example"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "a.example"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "a.example"), ("sec-fetch-site", "same-site"), ("origin", "https://a.example")], false),
        ] {
            assert_eq!(sent(headers), ours, "{headers:?}");
        }
    }
}
