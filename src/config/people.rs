//! How people reach the server, and how they are written to.

use url::Url;

use crate::domain::catalogue::Country;
use crate::fields::Fields;
use crate::limits;
use crate::transport::mail::Mailer;

/// The mail server's URL and the sender's address.
pub(super) fn mail(fields: &mut Fields) -> Option<(String, String)> {
    let (url, from) = (fields.text("smtp_url", limits::URL_MAX), fields.text("mail_from", limits::NAME_MAX));
    let (url, from) = match (url, from) {
        (Some(url), Some(from)) => (url, from),
        (None, None) => return None,
        (Some(_), None) => {
            fields.invalid("mail_from", "is required with smtp_url");
            return None;
        }
        (None, Some(_)) => {
            fields.invalid("smtp_url", "is required with mail_from");
            return None;
        }
    };
    if let Err(problems) = Mailer::new(&url, &from) {
        problems.into_iter().for_each(|(setting, problem)| fields.invalid(setting, problem));
    }
    Some((url, from))
}

/// First segments of the server's own paths. A proxy may remove the public path or keep it, so that none of these may be one:
/// `/panel/login` would have two meanings.
const OWN_PATHS: [&str; 11] =
    ["api", "callbacks", "docs", "favicon.ico", "healthz", "llms.txt", "metrics", "openapi.json", "panel", "readyz", "v1"];

/// Where people reach the server: an address, and a path if a proxy serves it below one. Without a slash at its end.
pub(super) fn public_url(fields: &mut Fields) -> Option<String> {
    let text = fields.text("public_url", limits::URL_MAX)?;
    match Url::parse(&text).ok().and_then(|url| without_more(&url)) {
        Some(url) => match path_problem(url.path().trim_end_matches('/')) {
            None => return Some(url.as_str().trim_end_matches('/').to_owned()),
            Some(problem) => fields.invalid("public_url", problem),
        },
        None => fields.invalid(
            "public_url",
            "must be a URL such as https://ringback.example.com or https://example.com/ringback, without user, query and fragment",
        ),
    }
    None
}

/// The URL, if it is an address with at most a path.
fn without_more(url: &Url) -> Option<Url> {
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let has_more = !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
    (is_web && !has_more).then(|| url.clone())
}

/// What keeps a path from being served: it stands in cookies, headers and pages as it is.
fn path_problem(path: &str) -> Option<String> {
    let mut segments = path.split('/').skip(1);
    let is_plain =
        |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    if !segments.clone().all(is_plain) {
        return Some("has a path with more than letters, digits and - . _ ~ between its slashes".to_owned());
    }
    let first = segments.next()?;
    let is_own = OWN_PATHS.contains(&first) || Country::ALL.iter().any(|country| country.as_str() == first);
    is_own.then(|| format!("has a path that begins with /{first}, which is one of the server's own paths; use another such as /ringback"))
}

/// Origins such as `https://platform.example`.
pub(super) fn frame_ancestors(fields: &mut Fields) -> Vec<String> {
    let given = fields.list::<Url>("frame_ancestors", limits::ALLOWED_IPS_MAX).unwrap_or_default();
    let is_origin = |url: &Url| url.origin().is_tuple() && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !given.iter().all(is_origin) {
        fields.invalid("frame_ancestors", "must be origins such as https://platform.example, without a path");
    }
    given.iter().map(|url| url.origin().ascii_serialization()).collect()
}
