//! Reading `[[provider]]`.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::BASE64;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

use super::Span;
use super::settings::closest;
use crate::domain::figure::Decimal;
use crate::domain::secret::Secret;
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::ops::networks;
use crate::providers::callback::{Proof, Signed};
use crate::providers::http::{Call, Callbacks, Columns, Format, NAMES, Places, Settings, States};
use crate::providers::simulated;
use crate::providers::{Terms, Trust};

/// Reads all providers, in their order.
pub(super) fn providers(fields: &mut Fields) -> Vec<Settings> {
    let items = match fields.value("provider") {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            fields.invalid("provider", "must be a list of tables, each under [[provider]]");
            return Vec::new();
        }
    };
    let (mut all, mut names) = (Vec::new(), HashSet::new());
    for (at, item) in items.into_iter().enumerate() {
        let (settings, problems) = within(Some(item), provider);
        if !settings.terms.name.is_empty() && !names.insert(settings.terms.name.clone()) {
            fields.invalid(&format!("provider[{at}].name"), "is another provider's already");
        }
        problems.into_iter().for_each(|problem| fields.problem(inside(problem, &format!("provider[{at}]"))));
        all.push(settings);
    }
    all
}

fn within<T>(table: Option<Value>, read: impl FnOnce(&mut Fields) -> T) -> (T, Vec<Problem>) {
    let mut fields = Fields::suggesting(if let Some(Value::Object(object)) = table { object } else { Map::new() });
    let value = read(&mut fields);
    let asked = fields.asked().to_vec();
    let told = |problem: Problem| match closest(&problem.field, asked.iter().map(String::as_str)) {
        Some(meant) if problem.code == "unknown_field" => Problem { message: format!("did you mean {meant}?"), ..problem },
        _ => problem,
    };
    (value, fields.finish().into_iter().map(told).collect())
}

fn inside(problem: Problem, place: &str) -> Problem {
    Problem { field: format!("{place}.{}", problem.field), ..problem }
}

/// A table inside of one.
fn table<T>(fields: &mut Fields, name: &str, read: impl FnOnce(&mut Fields) -> T) -> T {
    let given = fields.value(name);
    let is_there = matches!(given, Some(Value::Object(_)));
    let (value, problems) = within(given, read);
    if is_there {
        problems.into_iter().for_each(|problem| fields.problem(inside(problem, name)));
    } else {
        fields.invalid(name, "is required, as a table");
    }
    value
}

fn provider(fields: &mut Fields) -> Settings {
    let name = required::<Name>(fields, "name").map(|name| name.0).unwrap_or_default();
    let terms = Terms {
        name,
        networks: fields.list::<String>("networks", 1000).unwrap_or_default(),
        in_flight: fields.integer("in_flight", 1..=1000).unwrap_or(16) as usize,
        rate_per_second: fields.integer("rate_per_second", 1..=100_000).and_then(|rate| NonZeroU32::new(rate as u32)),
        enquire_after: fields.parse::<Span>("enquire_after").map_or(Duration::from_secs(30), |span| span.0),
    };
    let submit = table(fields, "submit", call);
    let enquire = table(fields, "enquire", call);
    let (places, states) = table(fields, "answer", |fields| (places(fields), states(fields)));
    let callbacks = fields.has("callback").then(|| table(fields, "callback", callbacks));
    let statement = fields.has("statement").then(|| table(fields, "statement", columns));
    Settings { terms, submit, enquire, places, states, callbacks, statement }
}

fn call(fields: &mut Fields) -> Call {
    let method = match fields.text("method", 10).as_deref() {
        None | Some("POST") => Method::POST,
        Some("GET") => Method::GET,
        Some(_) => {
            fields.invalid("method", "must be POST or GET");
            Method::POST
        }
    };
    let format = match (fields.text("format", 10).as_deref(), &method) {
        (Some("form"), _) | (None, &Method::POST) => Format::Form,
        (Some("json"), _) => Format::Json,
        (Some("query"), _) | (None, _) => Format::Query,
        (Some(_), _) => {
            fields.invalid("format", "must be form, json or query");
            Format::Form
        }
    };
    let url = fields.required_text("url", limits::URL_MAX);
    let whole = NAMES.into_iter().fold(url.clone(), |text, name| text.replace(&format!("{{{name}}}"), "1"));
    if !url.is_empty() && !whole.parse::<url::Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        fields.invalid("url", "must be an http or https URL; it may name {reference} and the like");
    }
    let mut headers = Vec::new();
    for (name, text) in texts(fields, "headers") {
        match (HeaderName::from_str(&name), HeaderValue::from_str(&text)) {
            (Ok(name), Ok(_)) => headers.push((name, text)),
            _ => fields.invalid(&format!("headers.{name}"), "is not a header"),
        }
    }
    Call {
        method,
        url,
        format,
        headers,
        body: texts(fields, "body"),
        failed_status: statuses(fields, "failed_status"),
        unknown: fields.list::<String>("unknown", 100).unwrap_or_default(),
    }
}

fn statuses(fields: &mut Fields, name: &str) -> Vec<u16> {
    let given: Option<Vec<u64>> = match fields.value(name) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_u64().filter(|status| (300..600).contains(status))).collect(),
        Some(_) => None,
    };
    match given {
        Some(statuses) => statuses.into_iter().map(|status| status as u16).collect(),
        None => {
            fields.invalid(name, "must be a list of HTTP statuses from 300 to 599, such as [404]");
            Vec::new()
        }
    }
}

/// A table of texts, which may name what is in [`NAMES`].
fn texts(fields: &mut Fields, name: &str) -> BTreeMap<String, String> {
    let object = match fields.value(name) {
        None => return BTreeMap::new(),
        Some(Value::Object(object)) => object,
        Some(_) => {
            fields.invalid(name, "must be a table of texts");
            return BTreeMap::new();
        }
    };
    let mut texts = BTreeMap::new();
    for (field, value) in object {
        match value {
            Value::String(text) => {
                let left = NAMES.into_iter().fold(text.clone(), |text, name| text.replace(&format!("{{{name}}}"), ""));
                if left.contains('{') && left.contains('}') {
                    fields.invalid(&format!("{name}.{field}"), format!("names something else than {}", NAMES.join(", ")));
                }
                texts.insert(field, text);
            }
            _ => fields.invalid(&format!("{name}.{field}"), "must be a text"),
        }
    }
    texts
}

fn places(fields: &mut Fields) -> Places {
    Places {
        state: fields.required_text("state", limits::NAME_MAX),
        provider_ref: fields.text("provider_ref", limits::NAME_MAX),
        reason: fields.text("reason", limits::NAME_MAX),
    }
}

fn states(fields: &mut Fields) -> States {
    let mut list = |name: &str, is_required: bool| {
        let given = fields.list::<String>(name, 100).unwrap_or_default();
        if given.is_empty() && is_required {
            fields.invalid(name, "must have at least one state");
        }
        given
    };
    let states = States { success: list("success", true), queued: list("queued", false), failed: list("failed", true) };
    let mut seen = HashSet::new();
    for state in states.success.iter().chain(&states.queued).chain(&states.failed) {
        if !seen.insert(state.to_lowercase()) {
            fields.invalid("state", format!("{state} can mean one thing only"));
        }
    }
    states
}

fn callbacks(fields: &mut Fields) -> Callbacks {
    let proofs = proofs(fields);
    if proofs.is_empty() {
        let others = "or hmac_header, webhook_secret, token_header or addresses is required: a callback must prove where it comes from";
        fields.invalid("path_secret", others);
    }
    let trust = match fields.text("trust", 10).as_deref() {
        None | Some("outcome") => Trust::Outcome,
        Some("enquire") => Trust::Enquire,
        Some(_) => {
            fields.invalid("trust", "must be outcome or enquire");
            Trust::Enquire
        }
    };
    let (reference, amount) = (fields.required_text("reference", limits::NAME_MAX), fields.text("amount", limits::NAME_MAX));
    Callbacks { reference, amount, places: places(fields), proofs, trust }
}

fn proofs(fields: &mut Fields) -> Vec<Proof> {
    let secret = |fields: &mut Fields, name: &str| fields.text(name, limits::URL_MAX).map(Secret::new);
    let header = |fields: &mut Fields, name: &str, secret_name: &str| {
        let (header, secret) = (fields.parse::<HeaderName>(name), secret(fields, secret_name));
        if header.is_some() != secret.is_some() {
            fields.invalid(name, format!("and {secret_name} go together"));
        }
        header.zip(secret)
    };
    let given = fields.parse::<Span>("tolerance").map(|span| span.0);
    let tolerance = given.unwrap_or(limits::CALLBACK_TOLERANCE);
    let timestamp = fields.parse::<HeaderName>("timestamp_header").map(|name| (name, tolerance));
    let content = fields.text("hmac_content", limits::NAME_MAX);
    let mut proofs = Vec::new();
    let webhooks = fields.text("webhook_secret", limits::URL_MAX);
    let hmac = header(fields, "hmac_header", "hmac_secret");
    if hmac.is_none() && timestamp.is_some() {
        fields.invalid("timestamp_header", "goes together with hmac_header");
    }
    if hmac.is_none() && content.is_some() {
        fields.invalid("hmac_content", "goes together with hmac_header");
    }
    if given.is_some() && timestamp.is_none() && webhooks.is_none() {
        fields.invalid("tolerance", "goes together with timestamp_header or webhook_secret");
    }
    let content = content.unwrap_or_else(|| Signed::usual_content(timestamp.is_some()).to_owned());
    if content.matches("{body}").count() != 1 || content.contains("{timestamp}") != timestamp.is_some() {
        fields.invalid("hmac_content", "must name {body} once, and {timestamp} if there is a timestamp_header, as in {timestamp}.{body}");
    }
    proofs.extend(hmac.map(|(header, secret)| Proof::Hmac(Signed { header, secret, content, timestamp })));
    if let Some(text) = webhooks {
        match text.strip_prefix("whsec_").and_then(|text| BASE64.decode(text.as_bytes()).ok()).filter(|secret| !secret.is_empty()) {
            Some(secret) => proofs.push(Proof::StandardWebhooks { secret: Secret::new(secret), tolerance }),
            None => fields.invalid("webhook_secret", "must be whsec_ and base64, as the provider shows it"),
        }
    }
    proofs.extend(header(fields, "token_header", "token").map(|(name, token)| Proof::Token(name, token)));
    proofs.extend(secret(fields, "path_secret").map(Proof::Path));
    proofs.extend(networks(fields, "addresses", limits::ALLOWED_IPS_MAX).filter(|list| !list.is_empty()).map(Proof::Addresses));
    proofs
}

fn columns(fields: &mut Fields) -> Columns {
    Columns {
        reference: fields.required_text("reference", limits::NAME_MAX),
        state: fields.required_text("state", limits::NAME_MAX),
        amount: fields.text("amount", limits::NAME_MAX),
        decimal: fields.parse::<Decimal>("decimal"),
    }
}

fn required<T: FromStr<Err: Display>>(fields: &mut Fields, name: &str) -> Option<T> {
    if !fields.gives(name) {
        fields.invalid(name, "is required");
    }
    fields.parse(name)
}

struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_word =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_');
        match text {
            simulated::NAME => Err(format!("must not be {}, which is test mode's", simulated::NAME)),
            _ if (1..=40).contains(&text.len()) && is_word(text) => Ok(Self(text.to_owned())),
            _ => Err("must be 1 to 40 of a-z, 0-9, - and _".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let Ok(Value::Object(object)) = serde_json::to_value(text.parse::<toml::Table>().unwrap()) else { panic!("not a table") };
        let mut fields = Fields::new(object);
        providers(&mut fields);
        fields.finish().into_iter().map(|problem| format!("{} {}", problem.field, problem.message)).collect()
    }

    #[test]
    fn the_example_is_good() {
        assert_eq!(problems(include_str!("../../examples/providers/nepal.toml")), Vec::<String>::new());
    }

    #[test]
    fn all_problems_of_all_providers_come_at_once() {
        let text = r#"
[[provider]]
name = "Bad Name"
submit = { url = "ftp://x", format = "xml", body = { a = "{refrence}" }, failed_status = ["x"] }
answer = { state = "s", success = ["Ok"], failed = ["ok"] }
callback = { reference = "r", state = "s", hmac_header = "x-sig", trust = "blind" }
[[provider]]
name = "third"
submit = { url = "https://x.example" }
enquire = { url = "https://x.example" }
answer = { state = "s", success = ["Ok"], failed = ["no"] }
[provider.callback]
reference = "r"
state = "s"
webhook_secret = "whsec_?"
hmac_content = "{body}{body}"
timestamp_header = "x-time"
path_secret = "p"
[[provider]]
name = "simulated"
colour = 1
"#;
        let found = problems(text);
        for expected in [
            "provider[0].name must be 1 to 40 of",
            "provider[0].submit.url must be an http",
            "provider[0].submit.format must be form",
            "provider[0].submit.body.a names something else",
            "provider[0].submit.failed_status must be a list",
            "provider[0].enquire is required",
            "provider[0].answer.state ok can mean one thing only",
            "provider[0].callback.hmac_header and hmac_secret go together",
            "provider[0].callback.path_secret or",
            "provider[0].callback.trust must be",
            "provider[1].callback.timestamp_header goes together",
            "provider[1].callback.hmac_content goes together",
            "provider[1].callback.hmac_content must name {body} once",
            "provider[1].callback.webhook_secret must be whsec_",
            "provider[2].name must not be simulated",
            "provider[2].submit is required",
            "provider[2].enquire is required",
            "provider[2].answer is required",
            "provider[2].colour is not a field",
        ] {
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{expected}: {found:#?}");
        }
        assert_eq!(found.len(), 19, "{found:#?}");
    }
}
