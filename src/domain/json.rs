//! JSON from outside, read without any key that means something to a library.
//!
//! `serde_json` keeps a number's digits, and text that is passed on as it is, under keys of its own that it looks for when a
//! [`Value`] is deserialized. A sender who knows them has values rewritten, and bounds on nesting passed. So text that others
//! wrote becomes a [`Value`] here and nowhere else. Writing a [`Value`] has no such keys.

use json_event_parser::{JsonEvent, SliceJsonParser};
use serde_json::{Map, Number, Value};

use crate::limits;

/// Why a text is not JSON that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line} column {column}")]
pub struct BadJson {
    problem: String,
    line: u64,
    column: u64,
}

/// A list or an object that has begun, with the name that its next value has.
enum Open {
    List(Vec<Value>),
    Object(Map<String, Value>, Option<String>),
}

/// The text without the byte order marks in front of it. Some programs write one, and a PHP script prints one for each file
/// with a mark that it includes, with line breaks between them.
pub fn without_bom(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some(after) = rest.trim_ascii_start().strip_prefix(b"\xef\xbb\xbf") {
        rest = after;
    }
    rest
}

/// Reads JSON. Numbers keep the digits that they were written with; a name that an object has twice has its last value; byte
/// order marks at the beginning are skipped.
///
/// # Errors
/// [`BadJson`] for what is no JSON, or is nested deeper than [`JSON_DEPTH_MAX`](limits::JSON_DEPTH_MAX).
pub fn parse(text: &[u8]) -> Result<Value, BadJson> {
    read(text, |fields, name, value| drop(fields.insert(name, value)))
}

/// Reads JSON in which a name that an object has twice must not mean one of its values: it has [all of them](add).
///
/// # Errors
/// As of [`parse`].
pub fn parse_all(text: &[u8]) -> Result<Value, BadJson> {
    read(text, add)
}

/// Adds a field. One that is there already with another value becomes the list of its values, which is no text and no number.
pub fn add(fields: &mut Map<String, Value>, name: String, value: Value) {
    match fields.get_mut(&name) {
        None => drop(fields.insert(name, value)),
        Some(before) if *before == value => {}
        Some(Value::Array(values)) => values.push(value),
        Some(before) => *before = Value::Array(vec![before.take(), value]),
    }
}

fn read(text: &[u8], add: fn(&mut Map<String, Value>, String, Value)) -> Result<Value, BadJson> {
    let mut parser = SliceJsonParser::new(without_bom(text));
    let (mut open, mut whole): (Vec<Open>, Option<Value>) = (Vec::new(), None);
    loop {
        let event = parser.parse_next().map_err(|error| {
            let at = error.location().start;
            BadJson { problem: lower(error.message()), line: at.line + 1, column: at.column + 1 }
        })?;
        let value = match event {
            JsonEvent::String(text) => Value::String(text.into_owned()),
            JsonEvent::Number(digits) => Value::Number(Number::from_string_unchecked(digits.into_owned())),
            JsonEvent::Boolean(is) => Value::Bool(is),
            JsonEvent::Null => Value::Null,
            JsonEvent::StartArray => {
                begin(&mut open, Open::List(Vec::new()))?;
                continue;
            }
            JsonEvent::StartObject => {
                begin(&mut open, Open::Object(Map::new(), None))?;
                continue;
            }
            JsonEvent::ObjectKey(name) => {
                if let Some(Open::Object(_, next)) = open.last_mut() {
                    *next = Some(name.into_owned());
                }
                continue;
            }
            JsonEvent::EndArray | JsonEvent::EndObject => match open.pop() {
                Some(Open::List(items)) => Value::Array(items),
                Some(Open::Object(fields, _)) => Value::Object(fields),
                None => continue,
            },
            JsonEvent::Eof => break,
        };
        match open.last_mut() {
            Some(Open::List(items)) => items.push(value),
            Some(Open::Object(fields, name)) => add(fields, name.take().unwrap_or_default(), value),
            None => whole = Some(value),
        }
    }
    whole.ok_or_else(|| BadJson { problem: "there is no value".to_owned(), line: 1, column: 1 })
}

fn begin(open: &mut Vec<Open>, one: Open) -> Result<(), BadJson> {
    if open.len() >= limits::JSON_DEPTH_MAX {
        let problem = format!("lists and objects are nested more than {} deep", limits::JSON_DEPTH_MAX);
        return Err(BadJson { problem, line: 1, column: 1 });
    }
    open.push(one);
    Ok(())
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn back(text: &str) -> String {
        parse(text.as_bytes()).expect(text).to_string()
    }

    #[test]
    fn numbers_keep_their_digits() {
        for number in [
            "0",
            "-0",
            "0.0",
            "1e2",
            "1E2",
            "1e+2",
            "1E-2",
            "1.10",
            "12345678901234567890123",
            "-0.000",
            "1e999",
            "0e0",
            "3.14159265358979323846264338",
        ] {
            assert_eq!(back(number), number);
            assert_eq!(back(&format!(r#"{{"a":[{number}]}}"#)), format!(r#"{{"a":[{number}]}}"#));
        }
    }

    #[test]
    fn a_librarys_own_keys_are_plain_data() {
        for text in [
            r#"{"a":{"$serde_json::private::Number":"12"}}"#,
            r#"{"a":{"$serde_json::private::RawValue":"[1]"}}"#,
            r#"{"$serde_json::private::Number":12}"#,
            r#"{"$serde_json::private::RawValue":"not JSON"}"#,
            r#"[{"$serde_json::private::Number":"1","b":2}]"#,
            r#"{"$__toml_private_datetime":"x"}"#,
        ] {
            assert_eq!(back(text), text);
        }
        let escaped = r#"{"\u0024serde_json::private::Number":"12"}"#;
        assert_eq!(parse(escaped.as_bytes()).unwrap()["$serde_json::private::Number"], Value::from("12"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "1e+",
            "--1",
            "NaN",
            "Infinity",
            "tru",
            "nul",
            "'a'",
            "\"a",
            "\"\t\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "1 2",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "[]]",
            "// a\n1",
            "1;",
            "\u{0}",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(b"\"\xff\"").is_err() && parse(b"\"\xed\xa0\x80\"").is_err());
        assert_eq!(parse(b"{\n  \"a\": x}").unwrap_err().line, 2);
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(limits::JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(parse(nested(limits::JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err().to_string().contains("nested"));
        assert!(parse("[".repeat(1 << 20).as_bytes()).is_err() && parse("{\"a\":".repeat(1 << 18).as_bytes()).is_err());
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_and_the_last_of_equal_names_counts() {
        for mark in ["\u{feff}", "\u{feff}\u{feff}", "\r\n\u{feff} ", "\u{feff}\n\u{feff}\n"] {
            assert_eq!(back(&format!("{mark}{{\"a\":1}}")), r#"{"a":1}"#, "{mark:?}");
        }
        for text in ["\u{feff}", "{\u{feff}\"a\":1}", "{\"a\":1}\u{feff}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert_eq!(back("[\"\u{feff}\"]"), "[\"\u{feff}\"]", "within a text it stays");
        assert_eq!(back(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn a_name_that_stands_twice_has_all_its_values() {
        for (text, all) in [
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":[1,3],"b":2}"#),
            (r#"{"a":1,"\u0061":"1","a":null}"#, r#"{"a":[1,"1",null]}"#),
            (r#"{"a":{"b":1,"b":2},"a":{"b":1}}"#, r#"{"a":[{"b":[1,2]},{"b":1}]}"#),
            (r#"{"a":"x","a":"x"}"#, r#"{"a":"x"}"#),
        ] {
            assert_eq!(parse_all(text.as_bytes()).unwrap().to_string(), all, "{text}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), value);
        }

        #[test]
        fn it_takes_what_others_take(text in r#"[\[\]{}",:0-9.eE+ntrufalse \\-]{0,24}"#) {
            let other = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(parse(text.as_bytes()).is_ok(), other, "{}", text);
        }
    }
}
