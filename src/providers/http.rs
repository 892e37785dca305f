//! A provider behind an HTTP API, whatever it looks like: the configuration says how it is asked, where in its answers the state
//! stands, and which state means what. Every other state means nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::header::{ACCEPT, CONTENT_TYPE};
use ::http::{HeaderName, HeaderValue, Method, Request};
use async_trait::async_trait;
use bytes::Bytes;
use encoding_rs::{UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use serde_json::{Map, Value};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::callback::{Envelope, Proof, Proven};
use super::{Provider, Terms, Trust};
use crate::domain::attempt::Outcome;
use crate::domain::figure::Decimal;
use crate::domain::json;
use crate::domain::provider::{Said, Word};
use crate::domain::recharge::Status;
use crate::domain::submission::Submission;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::transport::{Target, Transport};

/// How a request to the provider looks. Texts may name what they are about, such as `{reference}`.
#[derive(Debug, Clone)]
pub struct Call {
    /// `POST` or `GET`.
    pub method: Method,
    /// Where it goes.
    pub url: String,
    /// How `body` is written.
    pub format: Format,
    /// Headers beside those of the format.
    pub headers: Vec<(HeaderName, String)>,
    /// Its fields.
    pub body: BTreeMap<String, String>,
    /// Statuses that mean that the recharge failed.
    pub failed_status: Vec<u16>,
    /// Texts in an answer by which the provider says that it does not know the recharge.
    pub unknown: Vec<String>,
}

/// How a request's fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As a form.
    Form,
    /// As a JSON object.
    Json,
    /// In the query.
    Query,
}

/// Where in an answer, or a callback, what stands. Places are names joined by full stops.
#[derive(Debug, Clone)]
pub struct Places {
    /// The state.
    pub state: String,
    /// The provider's own reference.
    pub provider_ref: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// What the states mean.
#[derive(Debug, Clone)]
pub struct States {
    /// It went through.
    pub success: Vec<String>,
    /// The provider is at it.
    pub queued: Vec<String>,
    /// It failed.
    pub failed: Vec<String>,
}

impl States {
    /// What a state means; none where it means nothing.
    pub fn meaning(&self, state: &str) -> Option<Status> {
        let is = |states: &[String]| states.iter().any(|known| known.eq_ignore_ascii_case(state.trim()));
        let meanings = [(&self.success, Status::Success), (&self.failed, Status::Failed), (&self.queued, Status::Queued)];
        meanings.into_iter().find(|(states, _)| is(states)).map(|(_, status)| status)
    }
}

/// How callbacks look, and by what they are known to be the provider's.
#[derive(Debug, Clone)]
pub struct Callbacks {
    /// Where our reference stands.
    pub reference: String,
    /// Where the amount stands.
    pub amount: Option<String>,
    /// Where the rest stands.
    pub places: Places,
    /// What has to hold of one, all of it.
    pub proofs: Vec<Proof>,
    /// What one is taken for.
    pub trust: Trust,
}

/// Which columns of the provider's statement are which.
#[derive(Debug, Clone)]
pub struct Columns {
    /// Our reference.
    pub reference: String,
    /// The state.
    pub state: String,
    /// The amount.
    pub amount: Option<String>,
    /// The decimal mark of amounts that could have either, such as `1,000`.
    pub decimal: Option<Decimal>,
}

/// What the configuration says of a provider.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What every provider has.
    pub terms: Terms,
    /// How a recharge is handed over.
    pub submit: Call,
    /// How it is asked about.
    pub enquire: Call,
    /// Where in answers what stands.
    pub places: Places,
    /// What states mean.
    pub states: States,
    /// Its callbacks; none are taken if not said.
    pub callbacks: Option<Callbacks>,
    /// Its statements, if they are to be read.
    pub statement: Option<Columns>,
}

/// A provider that is reached over HTTP.
pub struct HttpProvider {
    settings: Settings,
    transport: Arc<Transport>,
}

/// What texts of a [`Call`] may name.
pub const NAMES: [&str; 9] =
    ["reference", "transaction_id", "amount", "currency", "connection_no", "operator_id", "operator_type_id", "circle_id", "package_id"];

impl HttpProvider {
    /// The provider that these settings describe.
    pub fn new(settings: Settings, transport: Arc<Transport>) -> Self {
        Self { settings, transport }
    }

    async fn call(&self, call: &Call, submission: &Submission) -> Result<Outcome, Word> {
        let names = values(submission);
        let (url, fields) = (filled(&call.url, &names, true), call.body.iter());
        let fields: Vec<(&str, String)> = fields.map(|(name, text)| (name.as_str(), filled(text, &names, false))).collect();
        let not_sent = |why: String| Word::NotSent(why);
        let mut url: Url = url.parse().map_err(|error| not_sent(format!("its URL cannot be read: {error}")))?;
        let (content_type, body) = match call.format {
            Format::Form => (Some("application/x-www-form-urlencoded"), Bytes::from(form(&fields))),
            Format::Json => {
                let object: Map<String, Value> =
                    fields.iter().map(|(name, text)| ((*name).to_owned(), Value::from(text.as_str()))).collect();
                (Some("application/json"), Bytes::from(Value::Object(object).to_string()))
            }
            Format::Query => {
                url.query_pairs_mut().extend_pairs(&fields);
                (None, Bytes::new())
            }
        };
        // A connection of its own: one that was kept might be found closed, and the request be sent again on another.
        let target = Target::new(&url).map_err(|error| not_sent(error.to_string()))?;
        let write = || {
            let mut request = Request::new(body.clone());
            *request.method_mut() = call.method.clone();
            let headers = request.headers_mut();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            content_type.into_iter().for_each(|kind| drop(headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind))));
            for (name, text) in &call.headers {
                if let Ok(value) = HeaderValue::from_str(&filled(text, &names, false)) {
                    headers.insert(name, value);
                }
            }
            request
        };
        self.transport.send(&target, write).await.map_err(|fault| not_sent(fault.text))
    }

    fn judge(&self, call: &Call, outcome: Result<Outcome, Word>) -> Word {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(word) => return word,
        };
        let Some(status) = outcome.status else { return unanswered(&outcome, call.url.starts_with("https:")) };
        if call.failed_status.contains(&status) {
            return Word::Settled { status: Status::Failed, provider_ref: None, reason: Some(format!("the provider answered {status}")) };
        }
        if !(200..300).contains(&status) {
            return Word::Unclear(format!("it answered {status}"));
        }
        let body = outcome.answer_body.as_deref().unwrap_or_default();
        let Ok(answer) = json::parse(&in_utf8(body)) else {
            let too_long = (body.len() >= limits::PROVIDER_ANSWER_MAX).then(|| "its answer is longer than 1 MiB".to_owned());
            return Word::Unclear(too_long.or(outcome.error).unwrap_or_else(|| "its answer is not JSON".to_owned()));
        };
        let says = |unknown: &String| answer.to_string().to_lowercase().contains(&unknown.to_lowercase());
        if call.unknown.iter().any(says) {
            return Word::Unclear("it does not know the recharge".to_owned());
        }
        self.word(&self.settings.places, &answer)
    }

    fn word(&self, places: &Places, said: &Value) -> Word {
        let Some(state) = text_at(said, &places.state) else { return Word::Unclear("it names no state".to_owned()) };
        let at = |place: &Option<String>| place.as_deref().and_then(|place| text_at(said, place)).map(shortened);
        let provider_ref = at(&places.provider_ref);
        match self.settings.states.meaning(&state) {
            Some(Status::Queued) => Word::Queued,
            Some(Status::Failed) => {
                Word::Settled { status: Status::Failed, provider_ref, reason: at(&places.reason).or(Some(shortened(state))) }
            }
            Some(status) => Word::Settled { status, provider_ref, reason: None },
            None => Word::Unclear(format!("it names the state {}, which means nothing", shortened(state))),
        }
    }
}

#[async_trait]
impl Provider for HttpProvider {
    fn terms(&self) -> &Terms {
        &self.settings.terms
    }

    async fn submit(&self, submission: &Submission) -> Word {
        let call = &self.settings.submit;
        self.judge(call, self.call(call, submission).await)
    }

    async fn enquire(&self, submission: &Submission) -> Word {
        let call = &self.settings.enquire;
        match self.judge(call, self.call(call, submission).await) {
            Word::NotSent(why) => Word::Unclear(why),
            word => word,
        }
    }

    fn expects(&self, callback: &Envelope, now: Timestamp) -> bool {
        let proofs = self.settings.callbacks.as_ref().map(|callbacks| &callbacks.proofs);
        proofs.is_some_and(|proofs| proofs.iter().all(|proof| proof.may_hold(callback, now)))
    }

    fn proves(&self, callback: &Envelope, body: &[u8], now: Timestamp) -> Option<Proven> {
        let Callbacks { proofs, trust, .. } = self.settings.callbacks.as_ref()?;
        let proven = Proven { trust: *trust, only_body: proofs.iter().any(Proof::is_signature) };
        proofs.iter().all(|proof| proof.holds(callback, body, now)).then_some(proven)
    }

    fn read(&self, said: &Value) -> Option<Said> {
        let callbacks = self.settings.callbacks.as_ref()?;
        let reference = text_at(said, &callbacks.reference)?;
        // What is no text or number is an amount that cannot be read, not a missing one.
        let amount = callbacks.amount.as_deref().and_then(|place| value_at(said, place)).filter(|amount| !amount.is_null());
        let amount = amount.map(|amount| text(amount).unwrap_or_else(|| amount.to_string()));
        Some(Said { reference, word: self.word(&callbacks.places, said), amount })
    }
}

/// An answer as UTF-8. Some providers write UTF-16, or single bytes in names and reasons, whatever their headers say, and some end
/// it with a zero byte.
fn in_utf8(answer: &[u8]) -> Cow<'_, [u8]> {
    let encoding = match answer {
        [0xff, 0xfe, ..] => UTF_16LE,
        [0xfe, 0xff, ..] => UTF_16BE,
        [first, 0, ..] if first.is_ascii() && *first != 0 => UTF_16LE,
        [0, second, ..] if second.is_ascii() && *second != 0 => UTF_16BE,
        _ if std::str::from_utf8(answer).is_ok() => UTF_8,
        _ => WINDOWS_1252,
    };
    let text = match encoding.decode_with_bom_removal(answer).0 {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    let zeros = text.iter().rev().take_while(|byte| **byte == 0).count();
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..text.len() - zeros]),
        Cow::Owned(mut text) => {
            text.truncate(text.len() - zeros);
            Cow::Owned(text)
        }
    }
}

/// No answer: whether anything was sent decides what is known.
fn unanswered(outcome: &Outcome, with_tls: bool) -> Word {
    let why = outcome.error.clone().unwrap_or_else(|| "it did not answer".to_owned());
    if outcome.was_sent(with_tls) { Word::Unclear(why) } else { Word::NotSent(why) }
}

fn values(submission: &Submission) -> BTreeMap<&'static str, String> {
    let Submission { recharge, order, .. } = submission;
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let values = [
        recharge.id.to_string(),
        recharge.transaction_id.to_string(),
        recharge.details.amount_text().unwrap_or_default(),
        order.currency.clone(),
        recharge.details.connection_no.clone().unwrap_or_default(),
        order.operator_id.to_string(),
        order.operator_type_id.to_string(),
        number(order.circle_id),
        number(order.package_id),
    ];
    NAMES.into_iter().zip(values).collect()
}

/// A text with what it names in it.
fn filled(text: &str, names: &BTreeMap<&'static str, String>, in_url: bool) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| {
        let value = if in_url { byte_serialize(value.as_bytes()).collect() } else { value.clone() };
        text.replace(&format!("{{{name}}}"), &value)
    })
}

fn form(fields: &[(&str, String)]) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The text or number at a place.
fn text_at(said: &Value, place: &str) -> Option<String> {
    value_at(said, place).and_then(text)
}

fn value_at<'a>(said: &'a Value, place: &str) -> Option<&'a Value> {
    place.split('.').try_fold(said, |value, name| value.get(name))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn shortened(text: String) -> String {
    text.chars().filter(|character| !character.is_control()).take(limits::REFERENCE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in() {
        let names = BTreeMap::from([("reference", "rch_1".to_owned()), ("connection_no", "98 1/2".to_owned())]);
        assert_eq!(filled("https://p.example/{reference}?n={connection_no}", &names, true), "https://p.example/rch_1?n=98+1%2F2");
        assert_eq!(filled("{reference}-{other}-{connection_no}", &names, false), "rch_1-{other}-98 1/2");
    }

    #[test]
    fn answers_are_read_in_the_encodings_that_providers_write() {
        let text = "{\"state\": \"Success\"}";
        let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
        let marked = |mark: [u8; 2], rest: &[u8]| [mark.as_slice(), rest].concat();
        let all = [text.into(), format!("{text}\0\0").into_bytes(), marked([0xff, 0xfe], &little), marked([0xfe, 0xff], &big), little, big];
        for answer in all {
            assert_eq!(String::from_utf8_lossy(&in_utf8(&answer)), text, "{answer:?}");
        }
        assert_eq!(&*in_utf8(b"{\"why\": \"Jos\xe9\"}"), "{\"why\": \"José\"}".as_bytes());
        assert!(in_utf8(b"").is_empty() && in_utf8(b"\0").is_empty() && in_utf8(b"\xff\xfe").is_empty());
    }

    #[test]
    fn places_lead_into_objects() {
        let said: Value = serde_json::from_str(r#"{"a": {"b": "x", "n": 5, "t": true}}"#).unwrap();
        assert_eq!(
            ["a.b", "a.n", "a.t", "a.c", "a", ""].map(|place| text_at(&said, place)),
            [Some("x".to_owned()), Some("5".to_owned()), None, None, None, None]
        );
    }
}
