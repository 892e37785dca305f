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
