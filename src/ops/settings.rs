//! An endpoint's settings: read, compared, and its secret made.

use http::{HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::Ops;
use super::input::email;
use crate::domain::endpoint::{CipherText, Ordering, Profile, Settings};
use crate::domain::filter::Filter;
use crate::domain::secret::Secret;
use crate::domain::vendor::Mode;
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::transport::Target;
use crate::transport::guard::{HttpsRule, Refusal};
use crate::wire;

impl Ops {
    pub(super) fn random_secret(&self, bytes: usize) -> Secret {
        let mut random = vec![0; bytes];
        self.environment.entropy.fill(&mut random);
        Secret::new(random)
    }

    pub(super) fn new_secret(&self, profile: Profile) -> Secret {
        match profile {
            Profile::Standard => self.random_secret(limits::STANDARD_SECRET_NEW),
            // 32 printable characters of base32: 160 random bits, and a key that every language's AES accepts.
            Profile::GlobalTopup => {
                let text = data_encoding::BASE32_NOPAD.encode(self.random_secret(20).expose()).to_lowercase();
                Secret::new(text)
            }
        }
    }

    /// Reads what may be set when an endpoint is made and changed later. A field that is `null` goes back to its default.
    pub(super) fn read_settings(&self, fields: &mut Fields, settings: &mut Settings, mode: Mode) {
        if fields.has("url")
            && let Some(url) = self.read_url(fields, mode)
        {
            settings.url = url;
        }
        optional(fields, "description", &mut settings.description, |fields, name| fields.text(name, limits::NAME_MAX));
        if let Some(filter) = read_event_types(fields) {
            settings.event_types = filter;
        }
        if fields.has("cipher_text") && settings.profile == Profile::Standard {
            fields.value("cipher_text");
            fields.invalid("cipher_text", "goes with the profile globaltopup only");
        }
        if let Some(cipher_text) = read_word(fields, "cipher_text", &CipherText::ALL, CipherText::as_str) {
            settings.cipher_text = cipher_text;
        }
        optional(fields, "alert_email", &mut settings.alert_email, email);
        if fields.has("headers") {
            settings.headers = read_headers(fields);
        }
        optional(fields, "rate_limit_per_second", &mut settings.rate_limit_per_second, |fields, name| {
            fields.integer(name, 1..=i64::from(limits::RATE_LIMIT_MAX)).map(|rate| rate as u32)
        });
        let ceiling = self.rules.max_in_flight_per_endpoint;
        optional(fields, "max_in_flight", &mut settings.max_in_flight, |fields, name| {
            fields.integer(name, 1..=i64::from(ceiling)).map(|most| most as u32)
        });
        if let Some(ordering) = read_word(fields, "ordering", &Ordering::ALL, Ordering::as_str) {
            settings.ordering = ordering;
        }
        optional(fields, "strict_hold", &mut settings.strict_hold, |fields, name| {
            fields.parse::<humantime::Duration>(name).map(std::time::Duration::from)
        });
    }

    pub(super) fn read_url(&self, fields: &mut Fields, mode: Mode) -> Option<Url> {
        let text = fields.required_text("url", limits::URL_MAX);
        if text.is_empty() {
            return None;
        }
        let rule = if self.rules.require_https && mode == Mode::Live { HttpsRule::Required } else { HttpsRule::Optional };
        let url = Url::parse(&text).map_err(|error| fields.invalid("url", format!("must be an absolute URL: {error}"))).ok()?;
        if let Err(refusal) = self.transport.guard().judge_url(&url, rule) {
            let code = if let Refusal::Forbidden { address, .. } = refusal {
                tracing::info!(%address, "refused an endpoint with a forbidden address");
                "forbidden_address"
            } else {
                "invalid"
            };
            fields.problem(Problem { field: "url".to_owned(), code, message: refusal.to_string() });
            return None;
        }
        Target::new(&url).map_err(|error| fields.invalid("url", error)).ok()?;
        Some(url)
    }
}

/// The names of settings that differ.
pub(super) fn changed_settings(before: &Settings, after: &Settings) -> Vec<&'static str> {
    let differ = [
        ("url", before.url != after.url),
        ("description", before.description != after.description),
        ("event_types", before.event_types != after.event_types),
        ("profile", before.profile != after.profile),
        ("cipher_text", before.cipher_text != after.cipher_text),
        ("alert_email", before.alert_email != after.alert_email),
        ("headers", before.headers != after.headers),
        ("rate_limit_per_second", before.rate_limit_per_second != after.rate_limit_per_second),
        ("max_in_flight", before.max_in_flight != after.max_in_flight),
        ("ordering", before.ordering != after.ordering),
        ("strict_hold", before.strict_hold != after.strict_hold),
        ("secret", before.secret != after.secret),
    ];
    differ.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

pub(super) fn optional<T>(fields: &mut Fields, name: &str, setting: &mut Option<T>, read: impl FnOnce(&mut Fields, &str) -> Option<T>) {
    if fields.has(name) {
        *setting = read(fields, name);
    }
}

pub(super) fn read_word<T: Copy>(fields: &mut Fields, name: &str, all: &[T], word: impl Fn(T) -> &'static str) -> Option<T> {
    let given = fields.value(name)?;
    let found = all.iter().copied().find(|one| given.as_str() == Some(word(*one)));
    if found.is_none() {
        let words: Vec<String> = all.iter().map(|one| format!("\"{}\"", word(*one))).collect();
        fields.invalid(name, format!("must be {}", words.join(" or ")));
    }
    found
}

pub(super) fn read_event_types(fields: &mut Fields) -> Option<Filter> {
    let patterns = fields.list::<String>("event_types", limits::EVENT_TYPES_MAX)?;
    if patterns.is_empty() {
        fields.invalid("event_types", "must name at least one type or pattern, such as recharge.*");
        return None;
    }
    match Filter::new(patterns) {
        Ok(filter) => Some(filter),
        Err(wrong) => {
            for (at, _) in wrong {
                fields.invalid(&format!("event_types[{at}]"), "must be a type such as recharge.success, a prefix such as recharge.*, or *");
            }
            None
        }
    }
}

pub(super) fn read_headers(fields: &mut Fields) -> Vec<(String, String)> {
    let object = match fields.value("headers") {
        None => return Vec::new(),
        Some(Value::Object(object)) => object,
        Some(_) => {
            fields.invalid("headers", "must be an object of names and values");
            return Vec::new();
        }
    };
    if object.len() > limits::HEADERS_MAX {
        fields.invalid("headers", format!("must have at most {} headers", limits::HEADERS_MAX));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in object {
        let field = format!("headers.{name}");
        match (HeaderName::from_bytes(name.as_bytes()), value.as_str().map(|text| (text, HeaderValue::from_str(text)))) {
            (Err(_), _) => fields.invalid(&field, "is not a header name"),
            (Ok(name), _) if !wire::is_custom_header(&name) => fields.invalid(&field, "is a header that Ringback sets itself"),
            (Ok(name), _) if headers.iter().any(|(known, _)| *known == name.as_str()) => fields.invalid(&field, "is there twice"),
            (Ok(name), Some((text, Ok(_)))) if text.is_ascii() => headers.push((name.to_string(), text.to_owned())),
            (Ok(_), _) => fields.invalid(&field, "must be a string of printable ASCII characters"),
        }
    }
    if headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > limits::HEADERS_BYTES_MAX {
        fields.invalid("headers", format!("must have at most {} bytes together", limits::HEADERS_BYTES_MAX));
    }
    headers
}

/// Reads `secret` (and `legacy_secret`) as the profile wants it. `None` if it is not there or not right.
pub(super) fn read_secret(fields: &mut Fields, profile: Profile) -> Option<Secret> {
    let had_legacy = fields.has("legacy_secret");
    let legacy = fields.boolean("legacy_secret").unwrap_or(false);
    if had_legacy && profile == Profile::Standard {
        fields.invalid("legacy_secret", "goes with the profile globaltopup only");
    }
    let text = fields.text("secret", limits::LEGACY_SECRET_MAX)?;
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let (secret, expected) = match profile {
        Profile::Standard => (wire::standard::parse_secret(&text), "must be whsec_ and base64 of 24 to 64 bytes"),
        Profile::GlobalTopup if legacy => (Some(Secret::new(text)), ""),
        Profile::GlobalTopup => (
            (printable && text.len() == limits::GLOBALTOPUP_SECRET).then(|| Secret::new(text)),
            "must be 32 printable ASCII characters; an imported one of another form needs \"legacy_secret\": true",
        ),
    };
    if secret.is_none() {
        fields.invalid("secret", expected);
    }
    secret
}

/// A secret as its vendor puts it into a receiver.
pub(super) fn secret_text(settings: &Settings) -> String {
    match settings.profile {
        Profile::Standard => wire::standard::secret_text(&settings.secret),
        Profile::GlobalTopup => String::from_utf8_lossy(settings.secret.expose()).into_owned(),
    }
}

/// The last four characters of a secret, by which its vendor knows it again.
pub fn secret_hint(settings: &Settings) -> String {
    let text = secret_text(settings);
    // Of a short imported secret, four characters would tell too much.
    let shown = text.char_indices().rev().nth(3).filter(|_| text.len() >= 16).map_or("", |(at, _)| &text[at..]);
    format!("…{shown}")
}
