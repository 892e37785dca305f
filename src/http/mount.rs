//! Serving below the path of `public_url`, such as `/ringback`.
//!
//! Handlers, pages and redirects know only the server's own paths, such as `/panel/self`. The public path is removed and added
//! here and nowhere else:
//!
//! - **Requests.** A path that begins with the public path is routed without it. Any other path is routed as it is: a proxy has
//!   removed the public path, or the caller uses the listen address. `config` refuses public paths that would make a request
//!   ambiguous.
//! - **Responses.** The public path is added to `Location`, to the `Path` of cookies, and to links in pages, in live parts of
//!   pages and in Markdown.
//!
//! JSON stays as it is: addresses in it are absolute, made from [`Ops::public_url`](crate::ops::Ops::public_url).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};
use http_body_util::BodyExt;

/// Attributes whose value is an address that the browser follows.
const LINKS: [&str; 5] = ["action", "data-live", "formaction", "href", "src"];

/// The router below a public path.
pub(super) fn mounted(router: Router, path: &str) -> Router {
    if path.is_empty() {
        return router;
    }
    // A layer of the router itself would see requests after they were routed.
    Router::new().fallback_service(router).layer(from_fn_with_state(Arc::from(path), translate))
}

async fn translate(State(path): State<Arc<str>>, mut request: Request, next: Next) -> Response {
    if let Some(uri) = without(request.uri(), &path) {
        *request.uri_mut() = uri;
    }
    let is_panel = request.uri().path().starts_with("/panel/");
    let mut response = next.run(request).await;
    add_to_headers(response.headers_mut(), &path);
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let add: fn(&str, &str) -> String = match kind.split(';').next().unwrap_or_default() {
        "text/html" => add_to_html,
        // The API's event stream has JSON.
        "text/event-stream" if is_panel => add_to_html,
        "text/markdown" => add_to_markdown,
        _ => return response,
    };
    response.headers_mut().remove(CONTENT_LENGTH);
    // A page is one frame, and so is each event of a live part: no tag is cut in two.
    response.map(|body| Body::new(body.map_frame(move |frame| frame.map_data(|data| added(data, &path, add)))))
}

fn added(data: Bytes, path: &str, add: fn(&str, &str) -> String) -> Bytes {
    std::str::from_utf8(&data).map(|text| add(text, path)).map_or(data, Bytes::from)
}

/// The address without the public path, if it begins with it.
fn without(uri: &Uri, path: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(path)?;
    let rest = match rest.bytes().next() {
        Some(b'/') => rest.to_owned(),
        None | Some(b'?') => format!("/{rest}"),
        Some(_) => return None,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

fn add_to_headers(headers: &mut HeaderMap, path: &str) {
    if let Some(location) = headers.get_mut(LOCATION) {
        change(location, |address| is_own(address).then(|| format!("{path}{address}")));
    }
    // All of them: `iter_mut` has each value of a name.
    for (_, cookie) in headers.iter_mut().filter(|(name, _)| *name == SET_COOKIE) {
        change(cookie, |cookie| Some(cookie.replace("; Path=/", &format!("; Path={path}/"))));
    }
}

fn change(value: &mut HeaderValue, to: impl FnOnce(&str) -> Option<String>) {
    let changed = value.to_str().ok().and_then(to).and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(changed) = changed {
        *value = changed;
    }
}

/// Whether an address is a path on this server. Two slashes begin the name of another one.
fn is_own(address: &str) -> bool {
    address.starts_with('/') && !address.starts_with("//")
}

/// Adds the path to links in HTML. Pages are written by `maud` and `pulldown-cmark`: `<` in a text is escaped, so that each one
/// begins a tag, and each attribute's value stands in double quotes, without any in it.
fn add_to_html(html: &str, path: &str) -> String {
    let mut out = String::with_capacity(html.len() + html.len() / 8);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = copy_tag(&rest[at..], path, &mut out);
    }
    out + rest
}

/// Copies a tag with the path in its links, and returns what follows the tag.
fn copy_tag<'a>(tag: &'a str, path: &str, out: &mut String) -> &'a str {
    let mut rest = tag;
    while let Some(at) = rest.find(['"', '>']) {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        out.push_str(&rest[..=at]);
        if rest[at..].starts_with('>') {
            return after;
        }
        let name = before.strip_suffix('=').and_then(|before| before.rsplit(char::is_whitespace).next()).unwrap_or_default();
        if LINKS.contains(&name) && is_own(after) {
            out.push_str(path);
        }
        let end = after.find('"').map_or(after.len(), |end| end + 1);
        out.push_str(&after[..end]);
        rest = &after[end..];
    }
    out.push_str(rest);
    ""
}

fn add_to_markdown(text: &str, path: &str) -> String {
    text.replace("](/", &format!("]({path}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_routed_without_the_public_path() {
        for (given, routed) in [
            ("/ringback", Some("/")),
            ("/ringback/", Some("/")),
            ("/ringback?a=/ringback", Some("/?a=/ringback")),
            ("/ringback/panel/login?next=%2Fpanel", Some("/panel/login?next=%2Fpanel")),
            ("/ringback/ringback/x", Some("/ringback/x")),
            ("http://pay.example/ringback/v1", Some("http://pay.example/v1")),
            ("/ringbacks/panel", None),
            ("/panel", None),
            ("/", None),
            ("*", None),
        ] {
            let uri = without(&given.parse().unwrap(), "/ringback");
            assert_eq!(uri.map(|uri| uri.to_string()).as_deref(), routed, "{given}");
        }
    }

    #[test]
    fn links_in_tags_get_the_public_path() {
        for (given, expected) in [
            (r#"<a href="/panel">"#, r#"<a href="/r/panel">"#),
            (
                r#"<a class="b" href="/" title="x > y"><img src="/i.svg" alt="">"#,
                r#"<a class="b" href="/r/" title="x > y"><img src="/r/i.svg" alt="">"#,
            ),
            (
                r#"<form method="post" action="/x"><button formaction="/y">"#,
                r#"<form method="post" action="/r/x"><button formaction="/r/y">"#,
            ),
            ("data: <div data-live=\"/x\">\n\n", "data: <div data-live=\"/r/x\">\n\n"),
            (r##"<a href="//other.example/"><a href="https://a.example/"><a href="?b=/c"><a href="#d">"##, ""),
            (r#"<input name="href" value="/panel"><p>href="/panel"</p><button data-copy="a href=&quot;/x&quot;">"#, ""),
            (r#"<code>&lt;a href="/panel"&gt;</code>"#, ""),
            (r#"a < b="/"#, ""),
        ] {
            assert_eq!(add_to_html(given, "/r"), if expected.is_empty() { given } else { expected });
        }
        assert_eq!(add_to_markdown("- [a](/docs/a.md), [b](b.md), (/c)", "/r"), "- [a](/r/docs/a.md), [b](b.md), (/c)");
    }

    #[test]
    fn headers_get_the_public_path() {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static("/panel/login?next=%2Fpanel"));
        for cookie in ["a=1; Path=/panel; HttpOnly", "b=2; Path=/panel"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        add_to_headers(&mut headers, "/r");
        assert_eq!(headers[LOCATION], "/r/panel/login?next=%2Fpanel");
        let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; Path=/r/panel; HttpOnly", "b=2; Path=/r/panel"]);
        headers.insert(LOCATION, HeaderValue::from_static("https://other.example/"));
        add_to_headers(&mut headers, "/r");
        assert_eq!(headers[LOCATION], "https://other.example/");
    }
}
