//! From an event to the bytes and headers of a request.
//!
//! A [`Writer`] is made once for an endpoint's settings and holds what every request of it shares: keyed signature
//! states, the constant headers, the custom ones. Writing a request is then a pure function of the event, the attempt's
//! number and time, and (for `globaltopup`, whose IV is new each time) some random bytes. Every attempt of an event
//! carries the same `webhook-id` and the same facts.

pub mod globaltopup;
pub mod standard;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use crate::domain::attempt::Outcome;
use crate::domain::endpoint::{Profile, Settings};
use crate::domain::event::Event;
use crate::domain::time::Timestamp;

/// A request, but for where it goes: it has neither a path nor the headers `host` and `content-length`.
pub type Message = Request<Bytes>;

/// Which attempt a request is for.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// 1 for the first attempt of its run.
    pub number: u32,
    /// When it is made.
    pub at: Timestamp,
}

/// Writes the requests of one endpoint.
#[derive(Debug)]
pub struct Writer {
    profile: Profile,
    signer: standard::Signer,
    sealer: globaltopup::Sealer,
    /// Those of former secrets, with the end of their overlap, the oldest first.
    former: Vec<(Timestamp, globaltopup::Sealer)>,
    constant: HeaderMap,
    custom: Vec<HeaderName>,
}

const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
/// JSON where there is a choice, and anything otherwise: there are gateways that refuse requests without `Accept`.
const ANYTHING: HeaderValue = HeaderValue::from_static("application/json, */*;q=0.8");
const X_SIGNATURE: HeaderName = HeaderName::from_static("x-signature");
const MASK: &str = "•••";

impl Writer {
    /// Makes ready what all requests of these settings share.
    pub fn new(settings: &Settings) -> Self {
        let sealer = |secret| globaltopup::Sealer::new(secret, settings.cipher_text);
        let former = settings.former.iter().map(|former| (former.until, sealer(&former.secret))).collect();
        let mut constant = HeaderMap::with_capacity(16);
        constant.insert(USER_AGENT, HeaderValue::from_static(concat!("ringback/", env!("CARGO_PKG_VERSION"))));
        constant.insert(ACCEPT, if settings.profile == Profile::GlobalTopup { APPLICATION_JSON } else { ANYTHING });
        let mut custom = Vec::new();
        for (name, value) in &settings.headers {
            // Names and values were judged when they were taken; one that no longer reads is left out rather than fatal.
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                custom.push(name.clone());
                constant.insert(name, value);
            }
        }
        let (profile, signer, sealer) = (settings.profile, standard::Signer::new(settings), sealer(&settings.secret));
        Self { profile, signer, sealer, former, constant, custom }
    }

    /// One body has one key: until the last overlap ends, the oldest secret that still counts encrypts (WIRE, rotation).
    fn sealer(&self, at: Timestamp) -> &globaltopup::Sealer {
        self.former.iter().find(|(until, _)| *until > at).map_or(&self.sealer, |(_, sealer)| sealer)
    }

    /// The request that carries `event`. `iv` is used by `globaltopup` only and must be new each time.
    pub fn event(&self, event: &Event, turn: Turn, iv: [u8; 16]) -> Message {
        match self.profile {
            Profile::Standard => {
                let mut message = self.signed(Method::POST, event, standard::body(event), turn);
                standard::add_own_headers(message.headers_mut(), event, turn);
                message
            }
            Profile::GlobalTopup => self.signed(Method::POST, event, self.sealer(turn.at).body(event, iv), turn),
        }
    }

    /// The request that connects an endpoint: `standard` posts the test event, `globaltopup` asks with an empty `GET`.
    pub fn handshake(&self, test: &Event, turn: Turn, iv: [u8; 16]) -> Message {
        match self.profile {
            Profile::Standard => self.event(test, turn, iv),
            Profile::GlobalTopup => self.signed(Method::GET, test, Bytes::new(), turn),
        }
    }

    /// Whether this answer to a handshake connects.
    pub fn connects(&self, answer: &Outcome) -> bool {
        match self.profile {
            Profile::Standard => answer.status.is_some_and(|status| (200..300).contains(&status)),
            Profile::GlobalTopup => answer.status == Some(200) && content_type(answer).is_some_and(|is| is == "application/json"),
        }
    }

    /// The headers of a request as people are shown them: signatures and custom values masked.
    pub fn displayed_headers(&self, event: &Event, turn: Turn) -> Vec<(String, String)> {
        let mut headers = self.constant.clone();
        headers.insert(CONTENT_TYPE, APPLICATION_JSON);
        self.signer.add_identity(&mut headers, event, turn);
        if self.profile == Profile::Standard {
            standard::add_own_headers(&mut headers, event, turn);
        }
        let hidden = |name: &HeaderName| self.custom.contains(name);
        let shown = |value: &HeaderValue| value.to_str().unwrap_or(MASK).to_owned();
        let mut list: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), if hidden(name) { MASK.to_owned() } else { shown(value) })).collect();
        list.push(("webhook-signature".to_owned(), self.signer.masked(turn.at)));
        if self.profile == Profile::GlobalTopup {
            list.push((X_SIGNATURE.to_string(), MASK.to_owned()));
        }
        list.sort();
        list
    }

    fn signed(&self, method: Method, event: &Event, body: Bytes, turn: Turn) -> Message {
        let mut headers = self.constant.clone();
        headers.insert(CONTENT_TYPE, APPLICATION_JSON);
        let id = self.signer.add_identity(&mut headers, event, turn);
        headers.insert(standard::SIGNATURE, secret_value(&self.signer.sign(&id, turn.at, &body)));
        if self.profile == Profile::GlobalTopup {
            headers.insert(X_SIGNATURE, secret_value(self.sealer(turn.at).x_signature()));
        }
        let mut message = Request::new(body);
        *message.method_mut() = method;
        *message.headers_mut() = headers;
        message
    }
}

/// The media type of an answer, without parameters, in lower case.
pub fn content_type(answer: &Outcome) -> Option<String> {
    let headers = answer.answer_headers.as_deref()?;
    let value = headers.lines().find_map(|line| line.strip_prefix("content-type: "))?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn secret_value(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).expect("hex and base64 are visible ASCII");
    value.set_sensitive(true);
    value
}

/// Whether an endpoint may set this header itself. What the connection, the body and the profiles need is ours.
pub fn is_custom_header(name: &HeaderName) -> bool {
    const OURS: [&str; 14] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-signature",
    ];
    let name = name.as_str();
    !OURS.contains(&name) && !name.starts_with("webhook-") && !name.starts_with("ringback-") && !name.starts_with("proxy-")
}

/// Events and settings that the golden-byte tests of both profiles share.
#[cfg(test)]
mod golden {
    use serde_json::value::RawValue;

    use crate::domain::endpoint::Settings;
    use crate::domain::event::{Event, Facts, RechargeFacts};
    use crate::domain::id::{EventId, RechargeId, StreamId};
    use crate::domain::recharge::Status;
    use crate::domain::secret::Secret;
    use crate::domain::time::Timestamp;
    use crate::domain::vendor::Mode;

    pub fn settings() -> Settings {
        let secret = Secret::new("0123456789abcdef0123456789abcdef");
        let headers = vec![("x-custom".into(), "value".into())];
        Settings { headers, ..Settings::new("https://example.com/hook".parse().unwrap(), secret) }
    }

    fn at() -> Timestamp {
        "2026-11-23T09:15:02.114Z".parse().unwrap()
    }

    fn event(sequence: i64, event_type: &str, facts: Facts) -> Event {
        let id = EventId { stream: StreamId::new(7), sequence };
        Event { id, mode: Mode::Live, event_type: event_type.into(), created_at: at(), facts, numbered: true }
    }

    pub fn recharge() -> Event {
        let facts = RechargeFacts {
            id: RechargeId::new(10),
            transaction_id: 100_045,
            reference_no: "INV-7781".into(),
            status: Status::Success,
            amount: Some("50.00".into()),
            currency: Some("NPR".into()),
            operator: Some("Ncell".into()),
            connection_no: Some("9801234567".into()),
            provider_ref: None,
            reason: None,
            settled_at: at(),
            late: false,
            erased: false,
        };
        event(4711, "recharge.success", Facts::Recharge(Box::new(facts)))
    }

    pub fn given() -> Event {
        let data = RawValue::from_string(r#"{"b": 1.10, "a":12345678901234567890}"#.into()).unwrap();
        event(4712, "invoice.paid", Facts::Given(data))
    }

    pub fn test() -> Event {
        let data = RawValue::from_string(r#"{"hello":true}"#.into()).unwrap();
        Event { numbered: false, ..event(1 << 60, "webhook.test", Facts::Given(data)) }
    }

    pub fn restored(event: &Event) -> Event {
        Event::restore(event.id, event.mode, &event.event_type, event.created_at, &event.stored_facts()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::secret::Secret;

    /// One body has one key: `globaltopup` encrypts with the old secret until the overlap ends, and signs with both.
    #[test]
    fn a_rotated_globaltopup_secret_takes_over_when_the_overlap_ends() {
        let (old, new) = (Secret::new("0123456789abcdef0123456789abcdef"), Secret::new("fedcba9876543210fedcba9876543210"));
        let (event, iv) = (golden::recharge(), *b"0123456789abcdef");
        let end = event.created_at.plus(Duration::from_secs(60));
        let mut settings = Settings { profile: Profile::GlobalTopup, ..golden::settings() };
        let before = Writer::new(&settings).event(&event, Turn { number: 1, at: event.created_at }, iv);
        settings.rotate(new.clone(), end, event.created_at);
        let during = Writer::new(&settings).event(&event, Turn { number: 1, at: event.created_at }, iv);
        let after = Writer::new(&settings).event(&event, Turn { number: 1, at: end }, iv);
        assert_eq!((during.body(), &during.headers()["x-signature"]), (before.body(), &before.headers()["x-signature"]));
        assert_eq!(after.headers()["x-signature"], *globaltopup::x_signature(&new));
        for (message, secret, by_old, signatures) in [(&before, &old, true, 1), (&during, &old, true, 2), (&after, &new, false, 1)] {
            let data: serde_json::Value = serde_json::from_slice(message.body()).unwrap();
            assert_eq!(globaltopup::open(secret, data["data"].as_str().unwrap()).unwrap(), globaltopup::payload(&event));
            let header = |name| message.headers()[name].to_str().unwrap();
            let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
            assert_eq!(standard::verify(&old, id, timestamp, signature, message.body()), by_old);
            assert_eq!(standard::verify(&new, id, timestamp, signature, message.body()), !std::ptr::eq(message, &before));
            assert_eq!(signature.split(' ').count(), signatures);
        }
        let handshake = Writer::new(&settings).handshake(&golden::test(), Turn { number: 1, at: event.created_at }, iv);
        assert_eq!(handshake.headers()["x-signature"], *globaltopup::x_signature(&old));
    }

    #[test]
    fn people_see_neither_signatures_nor_custom_values() {
        for profile in Profile::ALL {
            let mut settings = golden::settings();
            settings.profile = profile;
            let (writer, event) = (Writer::new(&settings), golden::recharge());
            let turn = Turn { number: 2, at: event.created_at };
            let shown = writer.displayed_headers(&event, turn);
            let sent = writer.event(&event, turn, [0; 16]).headers().clone();
            let names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
            assert_eq!(shown.len(), names.len());
            for (name, value) in &shown {
                assert!(names.contains(&name.as_str()), "{name}");
                let masked = matches!(name.as_str(), "webhook-signature" | "x-signature" | "x-custom");
                assert_eq!(value != sent[name].to_str().unwrap(), masked, "{name}");
            }
        }
    }
}
