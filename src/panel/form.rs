//! Forms and queries, and the proof that a form is one of ours.
//!
//! Each form carries a text that follows from the session's ticket. Another site's page cannot know it, nor read it.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::auth;
use super::error::Refusal;
use crate::domain::session::Ticket;
use crate::fields::Fields;
use crate::http::Api;

/// The field that carries the proof.
pub(super) const PROOF: &str = "proof";

/// What forms of a session carry.
pub(super) fn proof(ticket: &Ticket) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(format!("ringback form {}", ticket.expose()))[..16])
}

/// A form that was sent by somebody who is logged in. Fields that were left empty are not there; one that was sent more than
/// once is a list.
pub(super) struct Form(pub Map<String, Value>);

impl Form {
    /// Its fields, to be read.
    pub fn fields(self) -> Fields {
        Fields::new(self.0)
    }

    /// One of its texts as it was sent.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// All values of a field that may be sent more than once.
    pub fn all(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(one)) => vec![one.clone()],
            _ => Vec::new(),
        }
    }
}

/// The same, sent by somebody who is not logged in yet.
pub(super) struct OpenForm(pub Form);

impl FromRequest<Api> for OpenForm {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refusal> {
        let body = Bytes::from_request(request, api).await.map_err(|_| Refusal::Foreign)?;
        let mut object: Map<String, Value> = Map::new();
        for (name, value) in url::form_urlencoded::parse(&body).filter(|(_, value)| !value.is_empty()) {
            // Browsers send line ends as two characters.
            let value = Value::from(value.replace("\r\n", "\n"));
            match object.get_mut(name.as_ref()) {
                None => drop(object.insert(name.into_owned(), value)),
                Some(Value::Array(items)) => items.push(value),
                Some(one) => *one = Value::Array(vec![one.take(), value]),
            }
        }
        Ok(Self(Form(object)))
    }
}

impl FromRequest<Api> for Form {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refusal> {
        let ticket = auth::ticket(request.headers());
        let OpenForm(mut form) = OpenForm::from_request(request, api).await?;
        let given = form.0.swap_remove(PROOF);
        match ticket {
            Some(ticket) if given == Some(Value::from(proof(&ticket))) => Ok(form),
            _ => Err(Refusal::Foreign),
        }
    }
}

/// What stands in a page's address behind the question mark.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl FromRequestParts<Api> for Query {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Refusal> {
        Ok(Self::read(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    fn read(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes()).filter(|(_, value)| !value.trim().is_empty());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.trim().to_owned())).collect())
    }

    /// A value; empty if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether it is there.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// These of it, to be read by a verb.
    pub fn pick(&self, names: &[&str]) -> Map<String, Value> {
        let named = |name: &&str| self.0.get(*name).map(|value| ((*name).to_owned(), Value::from(value.clone())));
        names.iter().filter_map(named).collect()
    }

    /// The same query with another value, as it stands in an address.
    pub fn with(&self, name: &str, value: &str) -> String {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        for (known, value) in self.0.iter().filter(|(known, _)| *known != name && *known != "told") {
            text.append_pair(known, value);
        }
        if !value.is_empty() {
            text.append_pair(name, value);
        }
        format!("?{}", text.finish())
    }
}

/// `from` and `to`, days in UTC as a page has them, as the range that a verb takes; of the last thirty days where a filter needs
/// one and none is given.
pub(super) fn days(query: &Query, fields: &mut Map<String, Value>, now: crate::domain::time::Timestamp) {
    let midnight = |day: &str| format!("{day}T00:00:00Z").parse::<crate::domain::time::Timestamp>().ok();
    let day = std::time::Duration::from_secs(24 * 3600);
    if let Some(since) = midnight(query.get("from")) {
        fields.insert("since".to_owned(), Value::from(since.to_string()));
    }
    if let Some(until) = midnight(query.get("to")) {
        fields.insert("until".to_owned(), Value::from(until.plus(day).to_string()));
    }
    if !fields.contains_key("since") {
        let before = midnight(query.get("to")).map_or(now, |until| until.plus(day));
        let since = crate::domain::time::Timestamp::from_millis(before.as_millis() - 30 * day.as_millis() as i64);
        fields.insert("since".to_owned(), Value::from(since.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_written_again_with_another_value() {
        let query = Query::read("status=queued&cursor=a%20b&told=saved&empty=");
        assert_eq!((query.get("status"), query.get("cursor"), query.has("empty")), ("queued", "a b", false));
        assert_eq!(query.with("cursor", "c&d"), "?status=queued&cursor=c%26d");
        assert_eq!(query.with("cursor", ""), "?status=queued");
        assert_eq!(query.pick(&["status", "unknown"]).len(), 1);
    }

    #[test]
    fn days_are_a_range() {
        let now = "2026-11-26T12:00:00Z".parse().unwrap();
        let range = |text: &str| {
            let mut fields = Map::new();
            days(&Query::read(text), &mut fields, now);
            (fields["since"].as_str().unwrap()[..10].to_owned(), fields.get("until").map(|until| until.as_str().unwrap()[..10].to_owned()))
        };
        assert_eq!(range("from=2026-11-01&to=2026-11-02"), ("2026-11-01".to_owned(), Some("2026-11-03".to_owned())));
        assert_eq!(range(""), ("2026-10-27".to_owned(), None));
        assert_eq!(range("to=2026-11-02"), ("2026-10-04".to_owned(), Some("2026-11-03".to_owned())));
        assert_eq!(range("from=nonsense"), ("2026-10-27".to_owned(), None));
    }
}
