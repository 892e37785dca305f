//! Values of settings, read from text.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::LogFormat;
use super::settings::Kind;
use crate::store::seal::MasterKey;

/// Reads a variable or a flag. A secret in a file, put into the environment, often ends with a line break, and `docker run --env-file`
/// keeps the quotes that a shell removes.
pub(super) fn of_environment(kind: Kind, text: &str) -> Value {
    let text = unquoted(text);
    let list = (kind == Kind::List).then(|| serde_json::from_str::<Vec<Value>>(text).ok()).flatten();
    of_file(kind, list.map_or_else(|| Value::from(text), Value::from))
}

/// Reads a value of the file: without surrounding whitespace, and with text for a bare number (`drain_timeout = 30`), so that the
/// problem that is reported is the setting's own.
pub(super) fn of_file(kind: Kind, value: Value) -> Value {
    match (kind, value) {
        (Kind::Boolean, Value::String(text)) => boolean(text.trim()).map_or(Value::from(text), Value::from),
        (Kind::Boolean, Value::Number(number)) => boolean(&number.to_string()).map_or(Value::Number(number), Value::from),
        (_, Value::String(text)) => Value::from(text.trim()),
        (Kind::Text | Kind::Url | Kind::Secret, value @ (Value::Number(_) | Value::Bool(_))) => Value::from(value.to_string()),
        (Kind::List, Value::Array(items)) => items.into_iter().map(|item| of_file(Kind::Text, item)).collect(),
        (_, value) => value,
    }
}

/// The text without surrounding whitespace and one pair of quotes.
pub(super) fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let within = |quote| text.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).map_or(text, str::trim)
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Whether each part of a duration has a smaller unit than the one before, as in `1h 30m`. `5s 30s` is a list without commas.
fn has_falling_units(text: &str) -> bool {
    let words = text.split(|letter: char| !letter.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let units: Vec<_> = words.map(|unit| humantime::parse_duration(&format!("1{unit}")).ok()).collect();
    units.windows(2).all(|pair| pair[0] > pair[1])
}

/// A duration that is longer than nothing, such as `30s`.
pub(super) struct Span(pub Duration);

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = humantime::parse_duration(text).map_err(|_| "must be a duration such as 30s, 5m or 24h")?;
        if !has_falling_units(text) {
            return Err("must be one duration such as 1h 30m; a list needs commas, as in 5s,30s,2m");
        }
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
    fn values_are_read_as_people_write_them() {
        for (kind, given, read) in [
            (Kind::Text, "\"info\"", Value::from("info")),
            (Kind::Text, " ' 64KiB '\n", Value::from("64KiB")),
            (Kind::Text, "\"", Value::from("\"")),
            (Kind::Url, "sqlite:a.db\r\n", Value::from("sqlite:a.db")),
            (Kind::Boolean, "Yes", Value::from(true)),
            (Kind::Boolean, "\"1\"", Value::from(true)),
            (Kind::Boolean, "FALSE", Value::from(false)),
            (Kind::Boolean, "maybe", Value::from("maybe")),
            (Kind::List, "5s, 30s", Value::from("5s, 30s")),
            (Kind::List, "[\"5s \", 30]", Value::from(vec!["5s", "30"])),
        ] {
            assert_eq!(of_environment(kind, given), read, "{given}");
        }
        assert_eq!(of_file(Kind::Text, Value::from(30)), Value::from("30"));
        assert_eq!(of_file(Kind::List, Value::from(vec![" 10.0.0.1 "])), Value::from(vec!["10.0.0.1"]));
        assert_eq!(of_file(Kind::Boolean, Value::from(0)), Value::from(false));
    }

    #[test]
    fn a_list_without_commas_is_no_duration() {
        for (text, seconds) in [("30 s", Some(30)), ("1h 30m", Some(5400)), ("1h30min", Some(5400)), ("5s 30s", None), ("5s 2m", None)] {
            assert_eq!(text.parse::<Span>().ok().map(|span| span.0.as_secs()), seconds, "{text}");
        }
    }

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
