//! The settings in force, for people and programs, and an example file. Secrets are masked.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::settings::{Kind, SETTINGS, Setting};
use super::sources::Given;

/// What stands for a secret.
const MASK: &str = "•••";
/// The widest value behind which origins are aligned.
const ALIGNED: usize = 48;

/// A setting in force.
#[derive(Debug, Clone, Serialize)]
pub struct Effective {
    /// The setting.
    pub name: String,
    /// Its value, masked where it is secret; none if it is not set and has no default.
    pub value: Option<Value>,
    /// `default`, a file and line, a variable or a flag.
    pub origin: String,
}

impl Given {
    /// All settings in force, in the order of docs/config.md, and the providers.
    pub fn effective(&self) -> Vec<Effective> {
        let object = self.object();
        let mut all: Vec<Effective> = SETTINGS
            .iter()
            .map(|setting| {
                let given = object.get(setting.name).filter(|value| !value.is_null());
                let default = || setting.default.map(|text| written(setting, &Value::from(text)));
                let value = given.map(|value| written(setting, value)).or_else(default);
                let origin = self.origin(setting.name).unwrap_or_else(|| "default".to_owned());
                Effective { name: setting.name.to_owned(), value, origin }
            })
            .collect();
        let providers = object.get("provider").and_then(Value::as_array).into_iter().flatten().enumerate();
        all.extend(providers.map(|(at, provider)| {
            let name = format!("provider[{at}]");
            Effective { value: Some(masked(provider, "")), origin: self.origin(&name).unwrap_or_default(), name }
        }));
        all
    }

    /// The settings in force as a TOML file with the origin of each.
    pub fn shown(&self) -> String {
        let mut text = match self.file() {
            Some(file) => format!("# settings of {file}, the environment and flags\n"),
            None => "# no configuration file; settings of the environment and flags\n".to_owned(),
        };
        let (providers, settings): (Vec<_>, Vec<_>) = self.effective().into_iter().partition(|one| one.name.contains('['));
        for Effective { name, value, origin } in settings {
            let line = match value {
                Some(value) => format!("{name} = {}", toml_text(&value)),
                None => {
                    writeln!(text, "# {name} is not set").expect("memory takes what is written");
                    continue;
                }
            };
            writeln!(text, "{line:<ALIGNED$}  # {origin}").expect("memory takes what is written");
        }
        let tables = toml::Value::Array(providers.iter().filter_map(|one| one.value.as_ref()).map(in_toml).collect());
        let tables = toml::Table::from_iter([("provider".to_owned(), tables)]).to_string();
        let mut origins = providers.iter().map(|provider| &provider.origin);
        for line in tables.lines().filter(|_| !providers.is_empty()) {
            let origin = if line == "[[provider]]" { origins.next() } else { None };
            let origin = origin.map(|origin| format!("  # {origin}")).unwrap_or_default();
            writeln!(text, "{line}{origin}").expect("memory takes what is written");
        }
        text
    }
}

/// A value as the file would have it.
fn written(setting: &Setting, value: &Value) -> Value {
    let text = value.as_str();
    match (setting.kind, text) {
        (Kind::Secret, _) => Value::from(MASK),
        (Kind::Url, Some(text)) => Value::from(without_password(text)),
        (Kind::Number, Some(text)) => text.parse::<i64>().map_or_else(|_| value.clone(), Value::from),
        (Kind::Boolean, Some(text)) => text.parse::<bool>().map_or_else(|_| value.clone(), Value::from),
        (Kind::List, Some(text)) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect(),
        _ => value.clone(),
    }
}

/// A URL with its password and the values of its query masked.
fn without_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return if text.contains('@') { MASK.to_owned() } else { text.to_owned() } };
    if url.password().is_some() && url.set_password(Some("MASK")).is_ok() {
        return url.as_str().replacen("MASK", MASK, 1);
    }
    if url.query().is_some_and(|query| query.contains("password")) {
        url.set_query(None);
        return format!("{url}?{MASK}");
    }
    text.to_owned()
}

/// A provider's table without what might be secret: everything that is sent and has no place in it, and what proves callbacks.
fn masked(value: &Value, inside: &str) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), masked(value, &format!("{inside}.{name}")))).collect(),
        Value::Array(items) => items.iter().map(|item| masked(item, inside)).collect(),
        Value::String(text) => {
            let name = inside.rsplit('.').next().unwrap_or_default();
            let is_sent = inside.contains(".headers.") || inside.contains(".body.");
            if name.ends_with("secret") || name == "token" || is_sent && !(text.starts_with('{') && text.ends_with('}')) {
                Value::from(MASK)
            } else if name == "url" {
                let (base, query) = text.split_once('?').map_or((text.as_str(), ""), |(base, query)| (base, query));
                let query = if query.is_empty() { String::new() } else { format!("?{MASK}") };
                Value::from(format!("{}{query}", if base.contains('@') { without_password(base) } else { base.to_owned() }))
            } else {
                value.clone()
            }
        }
        _ => value.clone(),
    }
}

fn toml_text(value: &Value) -> String {
    in_toml(value).to_string()
}

fn in_toml(value: &Value) -> toml::Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), in_toml(value))).collect::<toml::Table>().into(),
        Value::Array(items) => toml::Value::Array(items.iter().map(in_toml).collect()),
        Value::Bool(yes) => toml::Value::Boolean(*yes),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => toml::Value::Integer(whole),
            None => toml::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => toml::Value::from(text.as_str()),
        Value::Null => toml::Value::from(""),
    }
}

/// An example file: every setting in a comment, with its default or an example.
pub fn example() -> String {
    let mut text = "# Settings of Ringback. A line that begins with # has no effect; remove it to set the value.\n\
                    # The environment (RINGBACK_ and the name in capitals) goes before this file, a flag before both.\n\
                    # `ringback config check` finds mistakes, `ringback config show` prints what is in force.\n"
        .to_owned();
    for setting in &SETTINGS {
        let value = toml_text(&written(&Setting { kind: setting.kind_shown(), ..*setting }, &Value::from(setting.example)));
        write!(text, "\n# {}.\n#{} = {value}\n", setting.about, setting.name).expect("memory takes what is written");
    }
    text.push_str("\n# Providers follow, one [[provider]] table each: see docs/recharges.md and examples/providers.\n");
    text
}

impl Setting {
    /// An example shows what passwords look like.
    fn kind_shown(&self) -> Kind {
        match self.kind {
            Kind::Url | Kind::Secret => Kind::Text,
            kind => kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use super::*;

    fn given(environment: &[(&str, &str)]) -> Given {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { environment, ..Sources::default() }.gather().unwrap()
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = given(&[
            ("RINGBACK_DATABASE", "postgres://ringback:s3cret@db.example:5433/ledger?sslmode=require"),
            ("RINGBACK_MASTER_KEY", "s3cret"),
            ("RINGBACK_SMTP_URL", "smtps://user:s3cret@mail.example"),
            ("RINGBACK_PROXY", "http://user:s3cret@proxy"),
            ("RINGBACK_LOG", "debug"),
        ]);
        let text = shown.shown();
        assert!(!text.contains("s3cret"), "{text}");
        for part in ["ringback:•••@db.example:5433/ledger", "log = \"debug\"", "# RINGBACK_LOG", "max_in_flight = 2048", "# default"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn providers_are_shown_without_what_they_send() {
        let file = include_str!("../../examples/providers/nepal.toml");
        let given = Given::of_file(super::super::File::from_text(file, "nepal.toml").unwrap());
        let text = given.shown();
        let read: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(read["provider"].as_array().is_some_and(|providers| !providers.is_empty()), "{text}");
        assert!(text.contains("# nepal.toml:"), "{text}");
    }

    #[test]
    fn the_example_changes_nothing_until_a_line_is_uncommented() {
        let text = example();
        assert_eq!(format!("{:?}", Config::from_text(&text).unwrap()), format!("{:?}", Config::read(Sources::default()).unwrap()));
        let all: String = text
            .lines()
            .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line))
            .fold(String::new(), |text, line| if line.starts_with("master_key") { text } else { text + line + "\n" });
        let problems = Config::from_text(&all).map(drop).map_err(|error| error.0);
        let catalogue_only = |problems: &[String]| problems.iter().all(|problem| problem.contains("catalogue"));
        assert!(problems.as_ref().err().is_none_or(|problems| catalogue_only(problems)), "{problems:#?}");
    }
}
