//! Profile `standard`: Standard Webhooks 1.0. What is signed is `{webhook-id}.{webhook-timestamp}.{body}`, with
//! HMAC-SHA256 (`v1`) and, where the endpoint has a key pair, ed25519 (`v1a`) beside it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer};
use sha2::Sha256;

use super::{MASK, Turn};
use crate::domain::endpoint::Settings;
use crate::domain::event::{Event, Facts, RechargeFacts};
use crate::domain::filter::TEST_TYPE;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::limits;

/// In front of a secret's base64.
pub const SECRET_PREFIX: &str = "whsec_";
/// In front of a public key's base64.
pub const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// `webhook-id`: the event's id, the same at every attempt.
pub const ID: HeaderName = HeaderName::from_static("webhook-id");
/// `webhook-timestamp`: whole seconds of the attempt.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// `webhook-signature`: one or more signatures, separated by a space.
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const SEQUENCE: HeaderName = HeaderName::from_static("ringback-sequence");
const ATTEMPT: HeaderName = HeaderName::from_static("ringback-attempt");
const MODE: HeaderName = HeaderName::from_static("ringback-mode");

/// What signs for one endpoint.
pub struct Signer {
    hmac: Hmac<Sha256>,
    /// Those of former secrets, with the end of their overlap.
    former: Vec<(Timestamp, Hmac<Sha256>)>,
    ed25519: Option<SigningKey>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Signer {
    /// The signer of these settings.
    pub fn new(settings: &Settings) -> Self {
        let ed25519 = settings.signing_key.as_ref().and_then(signing_key);
        let former = settings.former.iter().map(|former| (former.until, keyed(&former.secret))).collect();
        Self { hmac: keyed(&settings.secret), former, ed25519 }
    }

    /// The value of `webhook-signature` of a request made at this time.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let head = format!("{id}.{}.", at.as_secs());
        let mut value = String::with_capacity(160);
        for hmac in std::iter::once(&self.hmac).chain(self.in_overlap(at)) {
            value.push_str(if value.is_empty() { "v1," } else { " v1," });
            let mac = hmac.clone().chain_update(&head).chain_update(body).finalize().into_bytes();
            BASE64.encode_string(mac, &mut value);
        }
        if let Some(key) = &self.ed25519 {
            value.push_str(" v1a,");
            BASE64.encode_string(key.sign(&[head.as_bytes(), body].concat()).to_bytes(), &mut value);
        }
        value
    }

    fn in_overlap(&self, at: Timestamp) -> impl Iterator<Item = &Hmac<Sha256>> {
        self.former.iter().filter(move |(until, _)| *until > at).map(|(_, hmac)| hmac)
    }

    pub(super) fn masked(&self, at: Timestamp) -> String {
        let mut parts = vec![format!("v1,{MASK}"); 1 + self.in_overlap(at).count()];
        parts.extend(self.ed25519.is_some().then(|| format!("v1a,{MASK}")));
        parts.join(" ")
    }

    /// Adds `webhook-id` and `webhook-timestamp`; answers the id.
    pub(super) fn add_identity(&self, headers: &mut HeaderMap, event: &Event, turn: Turn) -> String {
        let id = event.id.to_string();
        headers.insert(ID, HeaderValue::from_str(&id).expect("an id is ASCII"));
        headers.insert(TIMESTAMP, HeaderValue::from(turn.at.as_secs()));
        id
    }
}

pub(super) fn add_own_headers(headers: &mut HeaderMap, event: &Event, turn: Turn) {
    if event.numbered {
        headers.insert(SEQUENCE, HeaderValue::from(event.id.sequence));
    }
    headers.insert(ATTEMPT, HeaderValue::from(turn.number));
    headers.insert(MODE, HeaderValue::from_static(event.mode.as_str()));
}

fn keyed(secret: &Secret) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret.expose()).expect("HMAC takes a key of any length")
}

fn signing_key(seed: &Secret) -> Option<SigningKey> {
    Some(SigningKey::from_bytes(seed.expose().try_into().ok()?))
}

/// A secret as its vendor gets it: `whsec_` and base64.
pub fn secret_text(secret: &Secret) -> String {
    format!("{SECRET_PREFIX}{}", BASE64.encode(secret.expose()))
}

/// Reads a vendor's own secret. `None` unless it is `whsec_` and base64 of 24 to 64 bytes.
pub fn parse_secret(text: &str) -> Option<Secret> {
    let bytes = BASE64.decode(text.strip_prefix(SECRET_PREFIX)?).ok()?;
    limits::STANDARD_SECRET.contains(&bytes.len()).then(|| Secret::new(bytes))
}

/// The public key that belongs to a seed: `whpk_` and base64.
pub fn public_key_text(seed: &Secret) -> Option<String> {
    Some(format!("{PUBLIC_KEY_PREFIX}{}", BASE64.encode(signing_key(seed)?.verifying_key().as_bytes())))
}

/// Whether one of the signatures in `header` is this secret's, compared in constant time. The age of the timestamp is
/// the caller's to judge.
pub fn verify(secret: &Secret, id: &str, timestamp: &str, header: &str, body: &[u8]) -> bool {
    header.split(' ').filter_map(|part| part.strip_prefix("v1,")).any(|given| {
        let Ok(given) = BASE64.decode(given) else { return false };
        let mac = keyed(secret).chain_update(format!("{id}.{timestamp}.")).chain_update(body);
        mac.verify_slice(&given).is_ok()
    })
}

#[derive(Serialize)]
struct RechargeBody<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct GivenBody<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    data: Data<'a>,
}

/// The body: a pure function of the event.
pub fn body(event: &Event) -> Bytes {
    let (event_type, timestamp, data) = (&*event.event_type, event.created_at, Data(event));
    let is_test = event_type == TEST_TYPE;
    let written = match event.facts {
        Facts::Recharge(_) => serde_json::to_vec(&RechargeBody { event_type, timestamp, data }),
        Facts::Given(_) => serde_json::to_vec(&GivenBody {
            event_type,
            timestamp,
            sequence: event.numbered.then_some(event.id.sequence),
            mode: (!is_test).then_some(event.mode),
            data,
        }),
    };
    Bytes::from(written.expect("strings and numbers always serialize"))
}

/// An event's `data` as this profile and the feed write it.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a>(pub &'a Event);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.facts {
            Facts::Recharge(facts) => RechargeData { facts, mode: self.0.mode, sequence: self.0.told_sequence() }.serialize(serializer),
            Facts::Given(data) => data.serialize(serializer),
        }
    }
}

struct RechargeData<'a> {
    facts: &'a RechargeFacts,
    mode: Mode,
    sequence: i64,
}

impl Serialize for RechargeData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let facts = self.facts;
        let mut data = serializer.serialize_struct("data", 12)?;
        data.serialize_field("id", &facts.id)?;
        data.serialize_field("reference_no", &facts.reference_no)?;
        data.serialize_field("status", &facts.status)?;
        data.serialize_field("amount", &facts.amount)?;
        data.serialize_field("currency", &facts.currency)?;
        data.serialize_field("operator", &facts.operator)?;
        data.serialize_field("connection_no", &facts.connection_no)?;
        data.serialize_field("provider_ref", &facts.provider_ref)?;
        data.serialize_field("reason", &facts.reason)?;
        data.serialize_field("mode", &self.mode)?;
        data.serialize_field("sequence", &self.sequence)?;
        if facts.late {
            data.serialize_field("late", &true)?;
        }
        if facts.erased {
            data.serialize_field("erased", &true)?;
        }
        data.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::golden;

    #[test]
    fn the_published_vectors_hold() {
        let mut settings = golden::settings();
        settings.secret = Secret::new(BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let pair = BASE64.decode("6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==").unwrap();
        settings.signing_key = Some(Secret::new(&pair[..32]));
        let value = Signer::new(&settings).sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp::from_millis(1_614_265_330_000),
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            value,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= \
             v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        );
        let public = public_key_text(settings.signing_key.as_ref().unwrap()).unwrap();
        assert_eq!(public, "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=");
    }

    #[test]
    fn a_recharge_to_the_byte() {
        let expected = r#"{"type":"recharge.success","timestamp":"2026-11-23T09:15:02.114Z","data":{"id":"rch_000000000000a","reference_no":"INV-7781","status":"success","amount":"50.00","currency":"NPR","operator":"Ncell","connection_no":"9801234567","provider_ref":null,"reason":null,"mode":"live","sequence":4711}}"#;
        assert_eq!(body(&golden::recharge()), expected);
        assert_eq!(body(&golden::restored(&golden::recharge())), expected, "what comes back from the store reads the same");
    }

    #[test]
    fn other_types_carry_their_data_as_given() {
        let expected = r#"{"type":"invoice.paid","timestamp":"2026-11-23T09:15:02.114Z","sequence":4712,"mode":"live","data":{"b": 1.10, "a":12345678901234567890}}"#;
        assert_eq!(body(&golden::given()), expected);
        assert_eq!(body(&golden::restored(&golden::given())), expected);
        assert_eq!(body(&golden::test()), r#"{"type":"webhook.test","timestamp":"2026-11-23T09:15:02.114Z","data":{"hello":true}}"#);
    }

    #[test]
    fn only_a_right_secret_verifies() {
        let settings = golden::settings();
        let value = format!("v1,AAAA v2,x {}", Signer::new(&settings).sign("evt_1", Timestamp::from_millis(5000), b"{}"));
        assert!(verify(&settings.secret, "evt_1", "5", &value, b"{}"));
        assert!(!verify(&settings.secret, "evt_1", "5", &value, b"{} "));
        assert!(!verify(&settings.secret, "evt_1", "6", &value, b"{}"));
        assert!(!verify(&Secret::new("another"), "evt_1", "5", &value, b"{}"));
    }

    #[test]
    fn former_secrets_sign_beside_the_present_one_until_their_overlap_ends() {
        let (first, second) = (Secret::new("0123456789abcdef0123456789abcdef"), Secret::new("fedcba9876543210fedcba9876543210"));
        let mut settings = golden::settings();
        settings.rotate(second, Timestamp::from_millis(9000), Timestamp::from_millis(1000));
        settings.rotate(Secret::new("another one of thirty-two bytes."), Timestamp::from_millis(7000), Timestamp::from_millis(2000));
        let sign = |at| Signer::new(&settings).sign("evt_1", Timestamp::from_millis(at), b"{}");
        // Computed with Python's hmac: of the present one, and then of the former ones, the oldest first.
        assert_eq!(
            sign(6999),
            "v1,MJPSzoHU96bljbQdPS1hopDbLRh6PrOohBs6W6rZtIQ= v1,rbExsXFPHyNMqF1MKWB9UUZkxD26Bvlzig8pxhY/Akc= v1,h4CjaespgXZqBt7VNSIPwoH98fb7adKTxQHiwgZISaM="
        );
        assert_eq!(
            sign(7000),
            "v1,/wxEW61+Iwit7Dgohn4fYdjgxf/JeeXt0TgUxbvf/E0= v1,lPFGRWqvoO1qkxIZwZjIueRB1aSXr+6yd3GEn6LJH60=",
            "an overlap ends at its end"
        );
        assert_eq!(sign(9000), "v1,bf0I1IyR0dJZzAeFWpx2Z1wlsFbpkB6xfF5l1DJK4GE=");
        assert!(verify(&first, "evt_1", "6", &sign(6999), b"{}") && !verify(&first, "evt_1", "9", &sign(9000), b"{}"));
        for (at, masked) in [(6999, "v1,••• v1,••• v1,•••"), (9000, "v1,•••")] {
            assert_eq!(Signer::new(&settings).masked(Timestamp::from_millis(at)), masked);
        }
    }

    #[test]
    fn a_vendors_own_secret_has_24_to_64_bytes() {
        for (bytes, good) in [(23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(parse_secret(&secret_text(&Secret::new(vec![7; bytes]))).is_some(), good, "{bytes}");
        }
        assert_eq!(parse_secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), None);
    }
}
