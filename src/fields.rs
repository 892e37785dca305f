//! Reading an object field by field: every problem is collected, with the field it is in and what to do, and what was
//! not asked for is an unknown field. The API's bodies and queries and the configuration are all read this way.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Unknown fields that are told one by one.
const UNKNOWN_TOLD: usize = 20;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FieldProblem)]
pub struct Problem {
    /// The field; `name[2].part` inside lists and objects, empty for the whole.
    pub field: String,
    /// A stable word: `invalid`, `unknown_field`, or a rule of its own such as `forbidden_address`.
    pub code: &'static str,
    /// What is wrong and what to do, for people.
    pub message: String,
}

impl Problem {
    /// A value that is not as it has to be.
    pub fn invalid(field: impl Into<String>, message: impl Display) -> Self {
        Self { field: field.into(), code: "invalid", message: message.to_string() }
    }
}

/// An object that is being read.
#[derive(Debug, Default)]
pub struct Fields {
    left: Map<String, Value>,
    problems: Vec<Problem>,
    /// The names that were asked for, if unknown fields are to be told with the one that was meant.
    asked: Option<Vec<String>>,
}

impl Fields {
    /// Begins to read.
    pub fn new(object: Map<String, Value>) -> Self {
        Self { left: object, problems: Vec::new(), asked: None }
    }

    /// Begins to read, and remembers what is asked for: see [`asked`](Self::asked).
    pub fn suggesting(object: Map<String, Value>) -> Self {
        Self { asked: Some(Vec::new()), ..Self::new(object) }
    }

    /// The names that were asked for so far.
    pub fn asked(&self) -> &[String] {
        self.asked.as_deref().unwrap_or_default()
    }

    /// Adds a problem.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Adds a problem of the usual code.
    pub fn invalid(&mut self, field: &str, message: impl Display) {
        self.problems.push(Problem::invalid(field, message));
    }

    /// The object as one text, whatever the order of its fields: two requests that say the same have the same.
    pub fn canonical(&self) -> String {
        canonical(&Value::Object(self.left.clone()))
    }

    /// Whether the field is there at all, `null` included.
    pub fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// Whether the field has a value: it is there and not `null`.
    pub fn gives(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| !value.is_null())
    }

    /// A value of any type; `null` counts as absent.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.asked.iter_mut().for_each(|asked| asked.push(name.to_owned()));
        self.left.swap_remove(name).filter(|value| !value.is_null())
    }

    /// A text of 1 to `most` characters, without control characters.
    pub fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let text = match self.value(name)? {
            Value::String(text) => text,
            _ => return self.wrong(name, "must be a string"),
        };
        if text.is_empty() {
            return self.wrong(name, "must not be empty; leave it out instead");
        }
        if text.chars().count() > most {
            return self.wrong(name, format!("must be at most {most} characters long"));
        }
        if text.chars().any(char::is_control) {
            return self.wrong(name, "must not contain control characters");
        }
        Some(text)
    }

    /// The same, where it must be there. An empty text stands in for one that is not.
    pub fn required_text(&mut self, name: &str, most: usize) -> String {
        if !self.gives(name) {
            self.left.swap_remove(name);
            self.invalid(name, "is required");
        }
        self.text(name, most).unwrap_or_default()
    }

    /// A text that is read into another type.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        match self.value(name)? {
            Value::String(text) => match text.parse() {
                Ok(read) => Some(read),
                Err(error) => self.wrong(name, error),
            },
            _ => self.wrong(name, "must be a string"),
        }
    }

    /// A whole number in `range`, as a JSON number or its text.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let read = match self.value(name)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match read.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self.wrong(name, format!("must be a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(read) => Some(read),
            Value::String(text) if text == "true" || text == "false" => Some(text == "true"),
            _ => self.wrong(name, "must be true or false"),
        }
    }

    /// A list of at most `most` texts (or one text with commas, as the environment has it), each read into another type.
    pub fn list<T: FromStr<Err: Display>>(&mut self, name: &str, most: usize) -> Option<Vec<T>> {
        let items = match self.value(name)? {
            Value::Array(items) => items,
            Value::String(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect(),
            _ => return self.wrong(name, "must be a list of strings"),
        };
        if items.len() > most {
            return self.wrong(name, format!("must have at most {most} items"));
        }
        let mut read = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            match item.as_str().map(str::parse) {
                Some(Ok(value)) => read.push(value),
                Some(Err(error)) => self.invalid(&format!("{name}[{at}]"), error),
                None => self.invalid(&format!("{name}[{at}]"), "must be a string"),
            }
        }
        Some(read)
    }

    /// The problems so far and one for each field that was not asked for.
    pub fn finish(mut self) -> Vec<Problem> {
        let more = self.left.len().saturating_sub(UNKNOWN_TOLD);
        if more > 0 {
            let message = format!("and {more} more are not fields of this request");
            self.problems.push(Problem { field: "…".to_owned(), code: "unknown_field", message });
        }
        for (field, _) in self.left.into_iter().take(UNKNOWN_TOLD) {
            let message = "is not a field of this request; check its spelling".to_owned();
            self.problems.push(Problem { field, code: "unknown_field", message });
        }
        self.problems
    }

    fn wrong<T>(&mut self, name: &str, message: impl Display) -> Option<T> {
        self.invalid(name, message);
        None
    }
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut parts: Vec<(&String, &Value)> = fields.iter().collect();
            parts.sort_by_key(|(name, _)| *name);
            let parts: Vec<String> =
                parts.into_iter().map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value))).collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_fields_in_another_order_are_the_same_text() {
        let text = |json: &str| Fields::new(serde_json::from_str(json).unwrap()).canonical();
        assert_eq!(text(r#"{"a": [1, {"c": 2, "b": "x"}], "d": null}"#), text(r#"{"d":null,"a":[1,{"b":"x","c":2}]}"#));
        assert_ne!(text(r#"{"a": [1, 2]}"#), text(r#"{"a": [2, 1]}"#));
        assert_ne!(text(r#"{"a": 1}"#), text(r#"{"a": "1"}"#));
    }

    #[test]
    fn all_problems_come_at_once() {
        let Value::Object(object) = json!({"name": 5, "count": "12", "flag": "yes", "extra": 1, "list": ["1", "x", 2], "long": "abcdef"})
        else {
            unreachable!("it is an object")
        };
        let mut fields = Fields::new(object);
        assert_eq!(fields.text("name", 10), None);
        assert_eq!(fields.required_text("missing", 10), "");
        assert_eq!(fields.integer("count", 1..=20), Some(12));
        assert_eq!(fields.boolean("flag"), None);
        assert_eq!(fields.list::<i64>("list", 5), Some(vec![1]));
        assert_eq!(fields.text("long", 3), None);
        let problems = fields.finish();
        let named: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(named, ["name", "missing", "flag", "list[1]", "list[2]", "long", "extra"]);
        assert_eq!(problems.last().unwrap().code, "unknown_field");
    }
}
