//! Values of settings, read from text.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::LogFormat;
use crate::store::seal::MasterKey;

/// A duration that is longer than nothing, such as `30s`.
pub(super) struct Span(pub Duration);

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = humantime::parse_duration(text).map_err(|_| "must be a duration such as 30s, 5m or 24h")?;
        if span.is_zero() { Err("must be longer than nothing") } else { Ok(Self(span)) }
    }
}

/// The value of a setting of this kind.
pub(super) struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "must be an address and a port, such as 127.0.0.1:8080")
    }
}

/// The base of a collector's URLs.
pub(super) struct Collector(pub Url);

impl FromStr for Collector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        let url = url.ok_or("must be an http or https URL, such as http://127.0.0.1:4318")?;
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if plain { Ok(Self(url)) } else { Err("must be a URL without user, query and fragment; /v1/traces is added to it") }
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

/// The value of a setting of this kind.
pub(super) struct Key(pub MasterKey);

impl FromStr for Key {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        MasterKey::parse(text).map(Self).ok_or("must be base64 of 32 bytes")
    }
}

/// A part of a log filter, with the names that other programs have for levels put right; none if its level is not one. A word
/// alone has to be a level: as a target it would silence everything else.
pub(super) fn log_directive(text: &str) -> Option<String> {
    let level = |word: &str| {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "off" | "none" => "off",
            "error" | "err" | "critical" | "fatal" => "error",
            "warn" | "warning" => "warn",
            "info" | "information" | "notice" => "info",
            "debug" => "debug",
            "trace" | "all" => "trace",
            _ => return None,
        })
    };
    match text.rsplit_once('=') {
        Some((target, word)) if !word.contains([']', '}']) => Some(format!("{}={}", target.trim(), level(word)?)),
        _ if text.contains(['[', ':']) => Some(text.trim().to_owned()),
        _ => level(text).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_people_write_them() {
        for (given, read) in [
            ("info", Some("info")),
            ("WARNING", Some("warn")),
            (" err", Some("error")),
            ("ringback::engine=Debug", Some("ringback::engine=debug")),
            ("ringback::engine", Some("ringback::engine")),
            ("wrn", None),
            ("verbose", None),
            ("ringback=loud", None),
        ] {
            assert_eq!(log_directive(given).as_deref(), read, "{given}");
        }
    }
}
