//! Ids: 63-bit integers inside, a prefix and base32 outside, so that no text id is ever stored or indexed.
//! One integer is 13 characters, a pair 26: an event is (stream, sequence), a delivery (endpoint, sequence).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford's alphabet in lower case: no `i`, `l`, `o`, `u` to misread.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LETTERS: usize = 13;

/// An integer that names something, before it is known what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawId(i64);

impl RawId {
    /// From the stored integer.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The stored integer.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// Text that is not an id of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an id of this kind")]
pub struct NotAnId;

fn encode(value: i64, out: &mut [u8; LETTERS]) {
    let mut rest = value as u64;
    for letter in out.iter_mut().rev() {
        *letter = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
}

fn decode(text: &[u8]) -> Result<i64, NotAnId> {
    let mut value: u64 = 0;
    for letter in text {
        let digit = ALPHABET.iter().position(|known| known == letter).ok_or(NotAnId)? as u64;
        value = value.checked_mul(32).ok_or(NotAnId)? | digit;
    }
    i64::try_from(value).map_err(|_| NotAnId)
}

fn write_parts(f: &mut fmt::Formatter<'_>, prefix: &str, parts: &[i64]) -> fmt::Result {
    f.write_str(prefix)?;
    for part in parts {
        let mut letters = [0; LETTERS];
        encode(*part, &mut letters);
        f.write_str(std::str::from_utf8(&letters).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

fn read_parts<const N: usize>(text: &str, prefix: &str) -> Result<[i64; N], NotAnId> {
    let letters = text.strip_prefix(prefix).ok_or(NotAnId)?.as_bytes();
    if letters.len() != N * LETTERS {
        return Err(NotAnId);
    }
    let mut parts = [0; N];
    for (part, letters) in parts.iter_mut().zip(letters.chunks(LETTERS)) {
        *part = decode(letters)?;
    }
    Ok(parts)
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! single {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(RawId);

        impl $name {
            /// From the stored integer.
            pub const fn new(value: i64) -> Self {
                Self(RawId::new(value))
            }

            /// The stored integer.
            pub const fn get(self) -> i64 {
                self.0.get()
            }
        }

        impl From<RawId> for $name {
            fn from(raw: RawId) -> Self {
                Self(raw)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_parts(f, $prefix, &[self.get()])
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                read_parts::<1>(text, $prefix).map(|[value]| Self::new(value))
            }
        }

        as_text!($name);
    )*};
}

single! {
    /// A vendor.
    VendorId = "ven_";
    /// A token.
    TokenId = "tok_";
    /// A vendor and mode: what sequence numbers count in. It is never shown by itself.
    StreamId = "str_";
    /// A recharge.
    RechargeId = "rch_";
    /// An endpoint.
    EndpointId = "ep_";
    /// A contradiction that waits for the operator.
    ConflictId = "cfl_";
    /// A person's login.
    UserId = "usr_";
    /// A range of events that is sent again.
    ReplayId = "rpl_";
    /// An entry of the audit log.
    AuditId = "aud_";
    /// Somebody's being logged in. It is never shown.
    SessionId = "ses_";
    /// A one-time link that was sent to somebody.
    LinkId = "lnk_";
}

macro_rules! pair {
    ($($(#[$doc:meta])* $name:ident { $owner:ident: $kind:ident } = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            #[doc = concat!("The ", stringify!($owner), " it belongs to.")]
            pub $owner: $kind,
            /// The event's sequence number.
            pub sequence: i64,
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_parts(f, $prefix, &[self.$owner.get(), self.sequence])
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                read_parts::<2>(text, $prefix).map(|[$owner, sequence]| Self { $owner: $kind::new($owner), sequence })
            }
        }

        as_text!($name);
    )*};
}

pair! {
    /// An event: its stream and sequence number. As text it is the `webhook-id`, the same at every attempt.
    EventId { stream: StreamId } = "evt_";
    /// A delivery: its endpoint and its event's sequence number, whatever the run.
    DeliveryId { endpoint: EndpointId } = "dlv_";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for value in [0, 1, 31, 32, 1 << 40, i64::MAX] {
            let id = RechargeId::new(value);
            assert_eq!(id.to_string().len(), 4 + 13);
            assert_eq!(id.to_string().parse(), Ok(id));
            let event = EventId { stream: StreamId::new(value), sequence: 7 };
            assert_eq!(event.to_string().len(), 4 + 26);
            assert_eq!(event.to_string().parse(), Ok(event));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let good = RechargeId::new(7).to_string();
        for text in
            ["", "rch_", "rch_7", "ven_0000000000007", "rch_000000000000u", "rch_zzzzzzzzzzzzz", "rch_00000000000007", "rch_000000000000é"]
        {
            assert_eq!(text.parse::<RechargeId>(), Err(NotAnId), "{text}");
        }
        assert!(good.to_uppercase().parse::<RechargeId>().is_err());
    }

    #[test]
    fn text_sorts_as_the_numbers_do() {
        let mut ids: Vec<RechargeId> = [5, 1 << 50, 31, 33].map(RechargeId::new).to_vec();
        ids.sort_by_key(ToString::to_string);
        assert!(ids.is_sorted());
    }
}
