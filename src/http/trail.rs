//! The id of a request: in the answer's `X-Request-Id`, and in every log line that is written while it is answered.

use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from a proxy.
const LONGEST: usize = 64;

/// The request's own id, if a proxy has given it a usable one.
pub(super) fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_usable = |id: &&HeaderValue| {
        (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    headers.get(&X_REQUEST_ID).filter(is_usable).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_usable_ids_are_taken_over() {
        let id = |given: &[u8]| given_id(&HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_bytes(given).unwrap())]));
        assert_eq!(id(b"7f3a-00_1.x:2"), Some(HeaderValue::from_static("7f3a-00_1.x:2")));
        for unusable in [&b""[..], b"a b", b"a\"b", b"\xff", &[b'a'; 65]] {
            assert_eq!(id(unusable), None, "{unusable:?}");
        }
    }
}
