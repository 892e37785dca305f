//! Proofs that a callback is a provider's.
//!
//! Two kinds of proof exist. A signature covers the body, and perhaps a time, and nothing else: of such a callback only the body
//! counts. A secret or an address vouches for the sender, and so for the query as well.
//!
//! What can be judged without the body is judged before it is read: a stranger costs neither memory nor parsing.

use std::net::IpAddr;
use std::time::Duration;

use ::http::header::AsHeaderName;
use ::http::{HeaderMap, HeaderName, Method};
use data_encoding::{BASE64_NOPAD, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, Mac};
use ipnet::IpNet;
use sha2::Sha256;

use super::Trust;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// A callback without its body.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Address of the caller.
    pub from: IpAddr,
    /// Method of the request.
    pub method: Method,
    /// Headers of the request.
    pub headers: HeaderMap,
    /// Path behind the provider's name.
    pub path_secret: Option<String>,
}

/// A callback that is the provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    /// What it is taken for.
    pub trust: Trust,
    /// A signature proves it: fields outside of the body do not count.
    pub only_body: bool,
}

/// Proof that a callback must carry.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A header with an HMAC-SHA256, as hexadecimal digits, base64 or base64url.
    Hmac(Signed),
    /// The headers of Standard Webhooks 1.0.
    StandardWebhooks {
        /// Key of the signatures, without `whsec_` and decoded.
        secret: Secret,
        /// Largest difference between `webhook-timestamp` and the clock.
        tolerance: Duration,
    },
    /// A header with a shared token.
    Token(HeaderName, Secret),
    /// A secret in the path.
    Path(Secret),
    /// Networks that it comes from.
    Addresses(Vec<IpNet>),
}

/// A signature in a header.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Header of the signature.
    pub header: HeaderName,
    /// Key of the signature.
    pub secret: Secret,
    /// Signed text, with `{body}` and perhaps `{timestamp}` in it.
    pub content: String,
    /// Header of the time, and its largest difference from the clock.
    pub timestamp: Option<(HeaderName, Duration)>,
}

impl Signed {
    /// Signed text if the configuration names none.
    pub fn usual_content(has_timestamp: bool) -> &'static str {
        if has_timestamp { "{timestamp}.{body}" } else { "{body}" }
    }

    fn holds(&self, callback: &Envelope, body: &[u8]) -> bool {
        let Some(signature) = callback.header(&self.header).and_then(signature) else { return false };
        let timestamp = self.timestamp.as_ref().and_then(|(name, _)| callback.header(name)).unwrap_or_default();
        let (before, after) = self.content.split_once("{body}").unwrap_or(("", ""));
        let filled = |text: &str| text.replace("{timestamp}", timestamp);
        is_mac(&self.secret, &[filled(before).as_bytes(), body, filled(after).as_bytes()], &signature)
    }
}

impl Envelope {
    fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn is_timely(&self, name: impl AsHeaderName, tolerance: Duration, now: Timestamp) -> bool {
        let at = self.header(name).and_then(timestamp);
        at.is_some_and(|at| at.since(now).max(now.since(at)) <= tolerance)
    }
}

const WEBHOOK_ID: &str = "webhook-id";
const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
const WEBHOOK_SIGNATURE: &str = "webhook-signature";

impl Proof {
    /// Whether this kind of proof covers the body alone.
    pub fn is_signature(&self) -> bool {
        matches!(self, Self::Hmac(_) | Self::StandardWebhooks { .. })
    }

    /// Whether the proof may hold, judged without the body. `GET` has no body that could be signed.
    pub fn may_hold(&self, callback: &Envelope, now: Timestamp) -> bool {
        if self.is_signature() && callback.method != Method::POST {
            return false;
        }
        match self {
            Self::Hmac(Signed { header, timestamp, .. }) => {
                callback.header(header).and_then(signature).is_some()
                    && timestamp.as_ref().is_none_or(|(name, tolerance)| callback.is_timely(name, *tolerance, now))
            }
            Self::StandardWebhooks { tolerance, .. } => {
                let named = |name: &str| callback.header(name).is_some_and(|text| !text.is_empty());
                named(WEBHOOK_ID) && named(WEBHOOK_SIGNATURE) && callback.is_timely(WEBHOOK_TIMESTAMP, *tolerance, now)
            }
            Self::Token(name, token) => callback.headers.get(name).is_some_and(|given| is_same(given.as_bytes(), token.expose())),
            Self::Path(secret) => callback.path_secret.as_ref().is_some_and(|given| is_same(given.as_bytes(), secret.expose())),
            Self::Addresses(networks) => networks.iter().any(|network| network.contains(&callback.from.to_canonical())),
        }
    }

    /// Whether the proof holds.
    pub fn holds(&self, callback: &Envelope, body: &[u8], now: Timestamp) -> bool {
        self.may_hold(callback, now)
            && match self {
                Self::Hmac(signed) => signed.holds(callback, body),
                Self::StandardWebhooks { secret, .. } => is_standard(secret, callback, body),
                Self::Token(..) | Self::Path(_) | Self::Addresses(_) => true,
            }
    }
}

fn is_standard(secret: &Secret, callback: &Envelope, body: &[u8]) -> bool {
    let header = |name: &str| callback.header(name).unwrap_or_default();
    let (id, timestamp) = (header(WEBHOOK_ID).as_bytes(), header(WEBHOOK_TIMESTAMP).as_bytes());
    let given = header(WEBHOOK_SIGNATURE).split(' ').filter_map(|listed| listed.strip_prefix("v1,"));
    let mut signatures = given.filter_map(signature);
    signatures.any(|signature| is_mac(secret, &[id, b".", timestamp, b".", body], &signature))
}

/// Whether this is the HMAC-SHA256 of the joined parts, in a time that does not depend on where they differ.
fn is_mac(secret: &Secret, parts: &[&[u8]], signature: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("a key may have any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.verify_slice(signature).is_ok()
}

/// Whether two secrets are the same, in a time that does not depend on where they differ.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let mut right = Hmac::<Sha256>::new_from_slice(expected).expect("a key may have any length");
    right.update(expected);
    is_mac(&Secret::new(expected), &[given], &right.finalize().into_bytes())
}

/// An HMAC-SHA256 as text: hexadecimal digits, base64 or base64url, with or without padding and `sha256=`.
fn signature(text: &str) -> Option<Vec<u8>> {
    const SCHEME: &str = "sha256=";
    let text = text.trim();
    let named = text.get(..SCHEME.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(SCHEME));
    let text = if named { text[SCHEME.len()..].trim_start() } else { text };
    let decoded = if text.len() == 64 {
        HEXLOWER_PERMISSIVE.decode(text.as_bytes())
    } else {
        BASE64_NOPAD.decode(text.trim_end_matches('=').replace('-', "+").replace('_', "/").as_bytes())
    };
    decoded.ok().filter(|bytes| bytes.len() == 32)
}

/// A time in seconds or milliseconds since 1970.
fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let number: i64 = text.parse().ok().filter(|number| *number > 0)?;
    let millis = if text.len() >= 13 { number } else { number.checked_mul(1000)? };
    Some(Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const BODY: &[u8] = b"The quick brown fox jumps over the lazy dog";
    const HEXADECIMAL: &str = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";

    fn envelope(headers: &[(&'static str, &str)]) -> Envelope {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Envelope { from: [192, 0, 2, 1].into(), method: Method::POST, headers: map, path_secret: None }
    }

    fn hmac(content: &str, timestamp: bool) -> Proof {
        let timestamp = timestamp.then(|| (HeaderName::from_static("x-time"), Duration::from_secs(300)));
        let (header, secret) = (HeaderName::from_static("x-sig"), Secret::new(*b"key"));
        Proof::Hmac(Signed { header, secret, content: content.to_owned(), timestamp })
    }

    fn mac(key: &[u8], content: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(content);
        data_encoding::BASE64.encode(&mac.finalize().into_bytes())
    }

    #[test]
    fn signatures_are_read_in_every_spelling() {
        let proof = hmac("{body}", false);
        for good in [
            HEXADECIMAL.to_owned(),
            HEXADECIMAL.to_uppercase(),
            format!("sha256={HEXADECIMAL}"),
            format!("SHA256={}", HEXADECIMAL.to_uppercase()),
            format!(" Sha256= {HEXADECIMAL} "),
            "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=".to_owned(),
            "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg".to_owned(),
            "97yD9DBThCSxMpjmqm-xQ-9NWaFJRhdZl0edvC0aPNg".to_owned(),
            "sha256=97yD9DBThCSxMpjmqm-xQ-9NWaFJRhdZl0edvC0aPNg=".to_owned(),
        ] {
            assert!(proof.holds(&envelope(&[("x-sig", &good)]), BODY, NOW), "{good}");
        }
        for bad in ["", "f7bc", "zz", "sha256=", "é", "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNk=", &HEXADECIMAL[1..]] {
            assert!(!proof.holds(&envelope(&[("x-sig", bad)]), BODY, NOW), "{bad}");
        }
        assert!(!proof.holds(&envelope(&[]), BODY, NOW));
        assert!(!proof.holds(&envelope(&[("x-sig", HEXADECIMAL)]), b"another body", NOW));
    }

    #[test]
    fn a_signature_proves_no_get() {
        let callback = Envelope { method: Method::GET, ..envelope(&[("x-sig", HEXADECIMAL)]) };
        assert!(!hmac("{body}", false).may_hold(&callback, NOW));
        assert!(!hmac("{body}", false).holds(&callback, BODY, NOW));
    }

    #[test]
    fn a_signed_time_bounds_replays() {
        let proof = hmac("v0:{timestamp}:{body}", true);
        for (time, holds) in [
            ("1700000000", true),
            ("1700000000000", true),
            ("1700000299", true),
            ("1699999701", true),
            ("1700000301", false),
            ("1699999699", false),
            ("", false),
            ("-1700000000", false),
            ("9223372036854775807", false),
        ] {
            let signature = mac(b"key", &[b"v0:", time.as_bytes(), b":", BODY].concat());
            assert_eq!(proof.holds(&envelope(&[("x-sig", &signature), ("x-time", time)]), BODY, NOW), holds, "{time}");
        }
        let old = mac(b"key", &[b"v0:1600000000:", BODY].concat());
        assert!(!proof.holds(&envelope(&[("x-sig", &old), ("x-time", "1700000000")]), BODY, NOW), "another time than the signed one");
        assert!(!proof.holds(&envelope(&[("x-sig", &old)]), BODY, NOW), "no time");
    }

    #[test]
    fn standard_webhooks_are_verified() {
        let proof = Proof::StandardWebhooks { secret: Secret::new([7; 24]), tolerance: Duration::from_secs(300) };
        let right = mac(&[7; 24], &[b"msg_1.1700000000.", BODY].concat());
        let signed = |signature: &str, id: &str, time: &str| {
            let headers = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
            proof.holds(&envelope(&headers), BODY, NOW)
        };
        assert!(signed(&format!("v1,{right}"), "msg_1", "1700000000"));
        assert!(signed(&format!("v1a,xyz v1,AAAA v1,{right}"), "msg_1", "1700000000"));
        assert!(!signed(&right, "msg_1", "1700000000"), "no version");
        assert!(!signed(&format!("v1,{right}"), "msg_2", "1700000000"), "another id");
        assert!(!signed(&format!("v1,{right}"), "msg_1", "1700000001"), "another time");
        let old = mac(&[7; 24], &[b"msg_1.1600000000.", BODY].concat());
        assert!(!signed(&format!("v1,{old}"), "msg_1", "1600000000"), "too old");
        let get = Envelope { method: Method::GET, ..envelope(&[]) };
        assert!(!proof.may_hold(&get, NOW));
    }

    #[test]
    fn secrets_are_compared_whole() {
        assert!(is_same(b"token", b"token") && !is_same(b"Token", b"token") && !is_same(b"", b"token") && !is_same(b"tokens", b"token"));
    }
}
