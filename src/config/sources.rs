//! Where settings come from, and what is told of each: file and line, variable, or flag.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::ConfigError;
use super::file::File;
use super::settings::{self, SETTINGS, Setting};
use super::values;
use crate::fields::Problem;

/// The file that is read where none is named and the working directory has none.
const SYSTEM_FILE: &str = "/etc/ringback/ringback.toml";
/// The file of the working directory.
const LOCAL_FILE: &str = "ringback.toml";

/// Variables that are no settings: what commands read, and what tests set.
const OTHER_VARIABLES: [&str; 6] =
    ["RINGBACK_CONFIG", "RINGBACK_PASSWORD", "RINGBACK_TOKEN", "RINGBACK_URL", "RINGBACK_SECRET", "RINGBACK_FAILPOINT"];

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Settings given as flags.
    pub flags: Vec<(&'static str, String)>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Names in it whose value is not text.
    pub not_text: Vec<String>,
}

impl Sources {
    /// The process's own environment, with these flags and this file; without one, the file that `RINGBACK_CONFIG` names, or
    /// `ringback.toml` in the working directory, or `/etc/ringback/ringback.toml`, whichever is there first.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> Self {
        let (mut environment, mut not_text) = (Vec::new(), Vec::new());
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => environment.push((name, value)),
                (Ok(name), Err(_)) => not_text.push(name),
                (Err(_), _) => {}
            }
        }
        let named = environment.iter().find(|(name, value)| name == "RINGBACK_CONFIG" && !value.trim().is_empty());
        let named = named.map(|(_, value)| PathBuf::from(values::unquoted(value)));
        let found = || [LOCAL_FILE, SYSTEM_FILE].into_iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned);
        Self { file: file.or(named).or_else(found), flags, environment, not_text }
    }

    /// Puts all sources together. A flag goes before the environment, that before the file.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML.
    pub fn gather(self) -> Result<Given, ConfigError> {
        let file = self.file.as_deref().map(File::read).transpose().map_err(ConfigError)?;
        let mut given = file.map(Given::of_file).unwrap_or_default();
        let is_ours =
            |name: &str| name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("ringback")) && name[8..].starts_with(['_', '-']);
        for (variable, value) in self.environment.iter().filter(|(name, value)| is_ours(name) && !value.trim().is_empty()) {
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *variable) {
                given.set(setting, values::of_environment(setting.kind, value), Origin::Variable);
            } else if !OTHER_VARIABLES.contains(&variable.as_str()) && !is_of_orchestrator(variable) {
                match meant_variable(variable) {
                    Some(meant) => given.problems.push(format!("{variable} is not a setting; did you mean {meant}?")),
                    None => given.warnings.push(format!("{variable} is not a setting and is ignored; docs/config.md lists all settings")),
                }
            }
        }
        let not_text = self.not_text.iter().filter(|name| name.starts_with("RINGBACK_"));
        given.problems.extend(not_text.map(|name| format!("{name} is not UTF-8; set it again in that encoding")));
        for (name, value) in self.flags {
            if let Some(setting) = settings::setting(name) {
                given.set(setting, values::of_environment(setting.kind, &value), Origin::Flag);
            }
        }
        Ok(given)
    }
}

/// The variable that was probably meant by the name of one that is not known.
fn meant_variable(variable: &str) -> Option<String> {
    let name = &variable[8..].trim_start_matches(['_', '-']);
    if let Some(meant) = settings::meant(name).and_then(settings::setting) {
        return Some(meant.variable());
    }
    let others = OTHER_VARIABLES.iter().filter_map(|other| other.strip_prefix("RINGBACK_"));
    let others: Vec<String> = others.map(str::to_lowercase).collect();
    settings::closest(name, others.iter().map(String::as_str)).map(|meant| format!("RINGBACK_{}", meant.to_uppercase()))
}

/// Whether Kubernetes or Docker sets such a variable for a service that is named `ringback`.
fn is_of_orchestrator(variable: &str) -> bool {
    let rest = variable.trim_start_matches("RINGBACK_");
    rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_") || rest == "NAME" || rest.starts_with("ENV_")
}

/// How a setting came to its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The file, in some line.
    File,
    /// The environment.
    Variable,
    /// A flag.
    Flag,
}

/// What all sources give together.
#[derive(Debug, Clone, Default)]
pub struct Given {
    file: File,
    object: Map<String, Value>,
    origins: HashMap<String, Origin>,
    /// Variables with a name that is nearly a setting's.
    problems: Vec<String>,
    /// What is no error, but probably not what was meant.
    pub warnings: Vec<String>,
}

impl Given {
    pub(super) fn of_file(file: File) -> Self {
        let mut object = file.object.clone();
        for (name, value) in &mut object {
            if let Some(setting) = settings::setting(name) {
                *value = values::of_file(setting.kind, value.take());
            }
        }
        let origins = object.keys().map(|name| (name.clone(), Origin::File)).collect();
        Self { file, object, origins, ..Self::default() }
    }

    fn set(&mut self, setting: &Setting, value: Value, origin: Origin) {
        self.object.insert(setting.name.to_owned(), value);
        self.origins.insert(setting.name.to_owned(), origin);
    }

    pub(super) fn object(&self) -> Map<String, Value> {
        self.object.clone()
    }

    /// The file that was read, if one was.
    pub fn file(&self) -> Option<&str> {
        Some(self.file.name.as_str()).filter(|name| !name.is_empty())
    }

    /// Where a value was given: file and line, variable or flag. None where it was not.
    pub fn origin(&self, path: &str) -> Option<String> {
        let name = path.split(['.', '[']).next().unwrap_or_default();
        match self.origins.get(name)? {
            Origin::File => self.file.place(path),
            Origin::Variable => settings::setting(name).map(Setting::variable),
            Origin::Flag => Some(format!("--{name}")),
        }
    }

    /// All problems: those of the file first, in its order. Each is a line that begins with the place it is in.
    pub(super) fn problems(&self, of_values: Vec<Problem>) -> Vec<String> {
        let mut all: Vec<(usize, String)> = of_values.into_iter().map(|problem| (self.line(&problem.field), self.told(problem))).collect();
        all.extend(self.problems.iter().map(|problem| (usize::MAX, problem.clone())));
        all.sort_by_key(|(line, _)| *line);
        all.into_iter().map(|(_, problem)| problem).collect()
    }

    fn line(&self, path: &str) -> usize {
        let name = path.split(['.', '[']).next().unwrap_or_default();
        let in_file = self.origins.get(name) == Some(&Origin::File);
        in_file.then(|| self.file.line(path)).flatten().unwrap_or(usize::MAX)
    }

    /// A problem in one line, beginning with the place it is in.
    fn told(&self, Problem { field, code, message }: Problem) -> String {
        let name = field.split(['.', '[']).next().unwrap_or_default();
        let table = self.object.get(&field).is_some_and(|value| value.is_object() || is_list_of_tables(value));
        let message = match settings::setting(&field) {
            _ if code == "unknown_field" => unknown(&field, &message, table),
            Some(setting) if table => setting.instead_of_a_table(),
            _ => message,
        };
        match (self.origins.get(name), self.origin(&field)) {
            (Some(_), Some(place)) => format!("{place}: {field} {message}"),
            _ => format!("{field} {message}"),
        }
    }
}

fn is_list_of_tables(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().any(Value::is_object))
}

/// What is said of a field that does not exist.
fn unknown(field: &str, message: &str, is_table: bool) -> String {
    let last = field.rsplit('.').next().unwrap_or_default();
    let suggestion = message.strip_prefix("did you mean ");
    match (field.contains('.'), suggestion) {
        (false, _) if settings::closest(field, ["provider"].into_iter()).is_some() => {
            "is not a setting; did you mean [[provider]]?".to_owned()
        }
        (false, _) => match settings::meant(field) {
            Some(meant) => format!("is not a setting; did you mean {meant}?"),
            None if is_table => format!("is not a setting; settings stand above all tables, so that the line [{field}] has to go"),
            None => "is not a setting; docs/config.md lists all settings".to_owned(),
        },
        (true, _) if settings::setting(last).is_some() => {
            "is not a setting of a provider; it belongs above the first [[provider]]".to_owned()
        }
        (true, Some(meant)) => format!("is not known here; did you mean {meant}"),
        (true, None) => "is not known here; docs/recharges.md lists what a provider can have".to_owned(),
    }
}
