//! Reading a TOML file: its values, the line of each, and all its problems with what to do.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue, Deserializer};

/// A file's values, by the path of each (`provider[0].submit.url`) with its line.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub name: String,
    pub object: Map<String, Value>,
    lines: HashMap<String, usize>,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is not TOML: each problem with the file and the line it is in.
    pub fn read(path: &Path) -> Result<Self, Vec<String>> {
        let name = path.display().to_string();
        match std::fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => Self::from_text(&text, &name),
            Ok(Err(error)) => {
                let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                Err(vec![format!("{name}:{line}: is not UTF-8; save the file in that encoding")])
            }
            Err(error) => Err(vec![format!("{name} cannot be read: {error}")]),
        }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// It is not TOML: each problem with the line it is in.
    pub fn from_text(text: &str, name: &str) -> Result<Self, Vec<String>> {
        let text = text.trim_start_matches('\u{feff}');
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mut problems: Vec<String> = errors.iter().map(|error| told(text, name, error.span(), error.message())).collect();
            // One mistake is often found more than once in its line.
            problems.dedup_by(|next, first| line_of_problem(next) == line_of_problem(first));
            return Err(problems);
        }
        let mut offsets = HashMap::new();
        note_table(table.get_ref(), "", &mut offsets);
        let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let lines = offsets.into_iter().map(|(path, at)| (path, 1 + starts.partition_point(|start| *start < at))).collect();
        let values =
            toml::Table::deserialize(Deserializer::from(table)).map_err(|error| vec![told(text, name, error.span(), error.message())])?;
        match serde_json::to_value(values) {
            Ok(Value::Object(object)) => Ok(Self { name: name.to_owned(), object, lines }),
            _ => Err(vec![format!("{name} has a value that no setting can have")]),
        }
    }

    /// Where a value is: the file and the line of it, or of the nearest thing around it.
    pub fn place(&self, path: &str) -> Option<String> {
        self.line(path).map(|line| format!("{}:{line}", self.name))
    }

    /// The line of a value, or of the nearest thing around it.
    pub fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

fn note_table(table: &DeTable<'_>, inside: &str, offsets: &mut HashMap<String, usize>) {
    for (key, value) in table {
        let path = if inside.is_empty() { key.get_ref().to_string() } else { format!("{inside}.{}", key.get_ref()) };
        offsets.insert(path.clone(), key.span().start);
        note_value(value.get_ref(), &path, offsets);
    }
}

fn note_value(value: &DeValue<'_>, path: &str, offsets: &mut HashMap<String, usize>) {
    match value {
        DeValue::Table(table) => note_table(table, path, offsets),
        DeValue::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let path = format!("{path}[{at}]");
                offsets.insert(path.clone(), item.span().start);
                note_value(item.get_ref(), &path, offsets);
            }
        }
        _ => {}
    }
}

fn told(text: &str, name: &str, span: Option<std::ops::Range<usize>>, message: &str) -> String {
    let at = span.map_or(0, |span| span.start.min(text.len()));
    let number = 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    let line = text.lines().nth(number - 1).unwrap_or_default().trim();
    let what = match unquoted(line) {
        Some((key, value)) if matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on") => {
            format!("is not TOML: write {key} = true")
        }
        Some((key, value)) if matches!(value.to_ascii_lowercase().as_str(), "false" | "no" | "off") => {
            format!("is not TOML: write {key} = false")
        }
        Some((key, value)) => format!("text stands between quotes: {key} = \"{value}\""),
        None => format!("is not TOML: {}", message.trim().replace('\n', "; ")),
    };
    format!("{name}:{number}: {what}")
}

fn line_of_problem(problem: &str) -> Option<&str> {
    problem.split(": ").next()
}

/// A key and its value that lacks quotes.
fn unquoted(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    // Word processors turn quotes into these.
    let value = value.split(" #").next()?.trim().trim_matches(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}']);
    let key = key.trim();
    let plain = !value.is_empty() && !value.contains(['"', '\'', '[', ']', '{', '}']);
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    (plain && is_key && format!("a = {value}").parse::<toml::Table>().is_err()).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_line() {
        let text = "listen = \"a\"\n\n[[provider]]\nname = \"x\"\nsubmit = { url = \"y\",\n  method = \"GET\" }\n\n[[provider]]\nlist = [\n 1,\n 2]\n";
        let file = File::from_text(text, "f.toml").unwrap();
        for (path, line) in [
            ("listen", Some(1)),
            ("provider[0].name", Some(4)),
            ("provider[0].submit.method", Some(6)),
            ("provider[0].submit.missing", Some(5)),
            ("provider[1].list[1]", Some(11)),
            ("provider[1].name", Some(8)),
            ("nothing", None),
        ] {
            assert_eq!(file.place(path), line.map(|line| format!("f.toml:{line}")), "{path}");
        }
    }

    #[test]
    fn every_broken_line_is_told_with_what_to_do() {
        let text = "listen = 127.0.0.1:8080\nretention = 90d # days\nretry_schedule = [5s]\nlog = info\nmax_in_flight = 5\n= 3\n\
                    require_https = True\nproxy = \u{201c}http://a\u{201d}\n";
        let problems = File::from_text(text, "f.toml").unwrap_err();
        for expected in [
            "f.toml:1: text stands between quotes: listen = \"127.0.0.1:8080\"",
            "f.toml:2: text stands between quotes: retention = \"90d\"",
            "f.toml:3: is not TOML:",
            "f.toml:4: text stands between quotes: log = \"info\"",
            "f.toml:6: is not TOML:",
            "f.toml:7: is not TOML: write require_https = true",
            "f.toml:8: text stands between quotes: proxy = \"http://a\"",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected}: {problems:#?}");
        }
        assert_eq!(problems.len(), 7, "{problems:#?}");
        assert!(File::from_text("\u{feff}log = \"info\"\r\n", "f.toml").is_ok());
    }
}
