//! Points in time: milliseconds inside, RFC 3339 UTC with milliseconds outside.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Text that is not an RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an RFC 3339 time such as 2026-11-23T09:15:02.114Z")]
pub struct NotATime;

impl Timestamp {
    /// From milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, as `webhook-timestamp` has them.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This time and `by` more.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Time from `earlier` to this one; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{at:.3}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        // The year in front keeps jiff's wider forms (a sign, no separators) out of the contract.
        let plain = text.len() >= 20 && text.as_bytes()[..4].iter().all(u8::is_ascii_digit) && text.as_bytes()[4] == b'-';
        if !plain {
            return Err(NotATime);
        }
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(at.as_millisecond()));
        }
        // A query that does not escape the plus of an offset says a space there.
        if let Some((time, offset)) = text.rsplit_once(' ').filter(|(time, offset)| time.len() >= 19 && offset.len() == 5) {
            return format!("{time}+{offset}").parse::<jiff::Timestamp>().map(|at| Self(at.as_millisecond())).map_err(|_| NotATime);
        }
        // The last day of the last year lies beyond what jiff holds.
        let is_last = text.starts_with("9999-12-31T") && format!("9998{}", &text[4..]).parse::<jiff::Timestamp>().is_ok();
        if is_last { Ok(Self(jiff::Timestamp::MAX.as_millisecond())) } else { Err(NotATime) }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["2026-11-23T09:15:02.114Z", "1999-12-31T23:59:59.000Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert_eq!("2026-11-23T15:00:02+05:45".parse::<Timestamp>().unwrap().to_string(), "2026-11-23T09:15:02.000Z");
        assert_eq!("2026-11-23T15:00:02 05:45".parse::<Timestamp>().unwrap().to_string(), "2026-11-23T09:15:02.000Z");
        assert!("9999-12-31T23:59:59Z".parse::<Timestamp>().is_ok());
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T09:15:02",
            "yesterday",
            "20261123T091502Z",
            "9999-12-31T25:00:00Z",
            "2026-11-23T15:00:02 5:45",
            "+002026-11-23T09:15:02Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
