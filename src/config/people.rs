//! How people reach the server, and how they are written to.

use url::Url;

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

/// Where links lead.
pub(super) fn public_url(fields: &mut Fields) -> Option<String> {
    let text = fields.text("public_url", limits::URL_MAX)?;
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(text.trim_end_matches('/').to_owned()),
        _ => {
            fields.invalid("public_url", "must be a URL such as https://ringback.example.com");
            None
        }
    }
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
