//! The id of a request: in the answer's `X-Request-Id`, and in every log line that is written while it is answered.

use std::fmt::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::{Entropy, SystemEntropy};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from a proxy.
const LONGEST: usize = 64;

/// What tells the requests of this process from those of others.
static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let mut bytes = [0; 4];
    SystemEntropy.fill(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory takes what is written");
        text
    })
});
static COUNT: AtomicU64 = AtomicU64::new(1);

/// The request's own id, if a proxy has given it a usable one, or a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_usable = |id: &&HeaderValue| {
        (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    headers.get(&X_REQUEST_ID).filter(is_usable).cloned().unwrap_or_else(|| {
        let id = format!("{}-{}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed));
        HeaderValue::from_str(&id).expect("hex digits and a number")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_usable_ids_are_taken_over() {
        let id = |given: &'static [u8]| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_bytes(given).unwrap())]);
            request_id(&headers)
        };
        assert_eq!(id(b"7f3a-00_1.x:2"), "7f3a-00_1.x:2");
        for unusable in [&b""[..], b"a b", b"a\"b", b"\xff", &[b'a'; 65]] {
            let made = id(Box::leak(unusable.to_vec().into_boxed_slice()));
            assert!(made.to_str().unwrap().starts_with(PROCESS.as_str()), "{made:?}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
