//! Every setting: its name, how it is written, its default, and what it is for in a line.

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in the file; `RINGBACK_` and the name in capitals in the environment.
    pub name: &'static str,
    /// How its value is written in the file.
    pub kind: Kind,
    /// Its default as the environment would give it. None if the default is the absence of the setting, or depends on others.
    pub default: Option<&'static str>,
    /// A value to show where there is no default.
    pub example: &'static str,
    /// What it is for.
    pub about: &'static str,
}

/// How a value is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text between quotes: addresses, durations, sizes.
    Text,
    /// Text that nobody else may see.
    Secret,
    /// A URL, whose password nobody else may see.
    Url,
    /// A number without quotes.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    List,
}

impl Setting {
    /// The setting's variable in the environment.
    pub fn variable(&self) -> String {
        format!("RINGBACK_{}", self.name.to_uppercase())
    }

    /// What to write where a table was given.
    pub(super) fn instead_of_a_table(&self) -> String {
        let Self { name, example, .. } = self;
        match self.kind {
            Kind::Number | Kind::Boolean => format!("is not a table; write {name} = {example} above all tables"),
            Kind::Secret => format!("is not a table; write {name} = \"...\" above all tables"),
            Kind::List | Kind::Text | Kind::Url => format!("is not a table; write {name} = \"{example}\" above all tables"),
        }
    }
}

const fn with_default(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Setting {
    Setting { name, kind, default: Some(default), example: default, about }
}

const fn without(name: &'static str, kind: Kind, example: &'static str, about: &'static str) -> Setting {
    Setting { name, kind, default: None, example, about }
}

use Kind::{Boolean, List, Number, Secret, Text, Url};

/// All of them, in the order of docs/config.md.
pub const SETTINGS: [Setting; 47] = [
    with_default("listen", Text, "127.0.0.1:8080", "Address and port of the API and the panel"),
    without("metrics_listen", Text, "127.0.0.1:9090", "An address of its own for /metrics, /healthz and /readyz"),
    with_default("header_timeout", Text, "20s", "Time for the head of a request"),
    with_default("body_timeout", Text, "30s", "Time for the body of a request"),
    with_default("idle_timeout", Text, "75s", "How long a connection is kept without a request"),
    without("max_connections", Number, "16384", "Connections at once; half of the files that may be open, 16384 at most, if not set"),
    with_default("max_connections_per_address", Number, "512", "Connections at once from one address"),
    without("public_url", Url, "https://ringback.example.com", "Where people reach the server; links in mails begin with it"),
    with_default("database", Url, "sqlite:ringback.db", "sqlite: and a path, or postgres://user:password@host:5432/name"),
    without("master_key", Secret, "", "Base64 of 32 bytes that encrypts secrets; ringback.key beside the SQLite file has it if not set"),
    without("master_key_previous", Secret, "", "The key before, while `ringback master-key rotate` is under way"),
    without("trusted_proxies", List, "10.0.0.5", "Proxies whose X-Forwarded-For or Forwarded header names the caller"),
    without("allow_networks", List, "10.1.0.0/16", "Private or reserved networks that endpoints may be in all the same"),
    without("proxy", Url, "http://proxy.internal:3128", "HTTP proxy for all outbound calls"),
    with_default("require_https", Boolean, "true", "Whether live endpoints must have an https URL"),
    with_default("retry_schedule", List, "5s,30s,2m,10m,30m,1h,2h,4h", "Waits after the first failure, the second, and so on"),
    with_default("delivery_deadline", Text, "24h", "How long a delivery is retried"),
    with_default("disable_after", Text, "24h", "An endpoint without any success for this long is disabled"),
    with_default("warn_after", Text, "1h", "An endpoint without any success for this long is reported by mail"),
    without("probe_disabled", Text, "15m", "How often an endpoint that was disabled is tried; never if not set"),
    with_default("attempt_timeout", Text, "15s", "Time for one attempt, from the name's resolution to the last byte"),
    with_default("connect_timeout", Text, "5s", "Time for resolution, connection and TLS"),
    with_default("max_in_flight", Number, "2048", "Attempts at once, all endpoints together"),
    with_default("max_in_flight_per_endpoint", Number, "32", "Attempts at once for one endpoint"),
    with_default("lane_window", Number, "1024", "Deliveries of one endpoint that are held in memory"),
    with_default("lane_window_bytes", Text, "1MiB", "The same in bytes"),
    with_default("window_bytes", Text, "64MiB", "Bytes of deliveries held in memory, all endpoints together"),
    with_default("strict_hold", Text, "6h", "How long a failing delivery holds up those behind it, where the order is strict"),
    with_default("unsettled_max", Number, "4096", "Attempts under way and outcomes not yet written, together"),
    with_default("answer_read_max", Text, "64KiB", "How much of a receiver's answer is read"),
    with_default("answer_kept", Text, "4KiB", "How much of it is kept with the attempt"),
    with_default("event_payload_max", Text, "256KiB", "Largest data of an event of the platform's own"),
    with_default("drain_timeout", Text, "20s", "How long a stop waits for attempts under way"),
    with_default("shard_lease", Text, "10s", "How long a silent node keeps its shards, where many share a database"),
    with_default("retention", Text, "90d", "How long events, deliveries and attempts are kept"),
    without("recharge_retention", Text, "3650d", "How long settled recharges are kept; for ever if not set"),
    with_default("audit_retention", Text, "365d", "How long the audit log is kept"),
    without("smtp_url", Url, "smtp://user:password@mail.example.com:587?tls=required", "The mail server; mails wait if not set"),
    without("mail_from", Text, "Ringback <ringback@example.com>", "The sender of mails"),
    with_default("log", Text, "info", "off, error, warn, info, debug or trace, or a filter such as info,ringback::engine=debug"),
    with_default("log_format", Text, "text", "text, or json for one object a line"),
    without("otlp_endpoint", Url, "http://127.0.0.1:4318", "An OpenTelemetry collector that gets traces"),
    with_default("endpoints_per_vendor", Number, "50", "Endpoints that a vendor may have in each mode"),
    without("token_rate_limit", Number, "100", "Requests a second of a vendor in each mode, and of each operator's token"),
    with_default("operator_second_factor", Boolean, "false", "Whether operators' logins need a second factor"),
    without("frame_ancestors", List, "https://platform.example", "Origins whose pages may show the panel in a frame"),
    without("catalogue", Text, "catalogue.toml", "The file that says what can be recharged; a built-in one if not set"),
];

/// The setting of this name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The setting that was probably meant by a name that is none.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    closest(name, SETTINGS.iter().map(|setting| setting.name))
}

/// The one of `known` that `word` probably stands for.
pub(super) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace(['-', ' '], "_");
    let word = word.strip_prefix("ringback_").unwrap_or(&word);
    let distance = |name: &str| strsim::damerau_levenshtein(word, name);
    let best = known.map(|name| (distance(name), name)).min()?;
    let allowed = 1 + best.1.len().min(word.len()) / 6;
    (best.0 <= allowed).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_near_a_setting_suggest_it() {
        for (typed, known) in [
            ("databse", Some("database")),
            ("listne", Some("listen")),
            ("retry-schedule", Some("retry_schedule")),
            ("retryschedule", Some("retry_schedule")),
            ("RETENTON", Some("retention")),
            ("public_uri", Some("public_url")),
            ("max_inflight", Some("max_in_flight")),
            ("service_host", None),
            ("port", None),
            ("RINGBACK_LISTEN", Some("listen")),
            ("colour", None),
        ] {
            assert_eq!(meant(typed), known, "{typed}");
        }
    }
}
