//! What the documents list is what the code has: defaults, error codes, audit actions, filters, ids, commands.

use std::collections::BTreeSet;
use std::path::Path;

use http::StatusCode;
use ringback::config::SETTINGS;
use serde_json::Value;

use crate::process_errors::run;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("it is there")
}

/// All Rust sources of the program, without their tests.
fn sources() -> String {
    fn walk(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                walk(&entry, text);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                let source = std::fs::read_to_string(&entry).expect("text");
                text.push_str(source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
            }
        }
    }
    let mut text = String::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    text
}

/// What stands in backticks in a text.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The cells of each row of tables in a page.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").collect()).collect()
}

/// String literals of the code that follow `before`, with a comma and spaces at most between.
fn literals_after<'a>(code: &'a str, before: &str) -> BTreeSet<&'a str> {
    let after = code.split(before).skip(1);
    after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()).collect()
}

#[test]
fn defaults_of_settings_are_the_programs() {
    let page = read("docs/config.md");
    let rows = rows(&page);
    let mut compared = 0;
    for setting in &SETTINGS {
        let name = format!("`{}`", setting.name);
        let row = rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name} has a row"));
        match setting.default {
            Some(default) => assert_eq!(row[1], format!("`{default}`"), "{name}"),
            None => assert!(!row[1].contains('`'), "{name} has no default: {}", row[1]),
        }
        compared += 1;
    }
    assert!(compared > 40);
}

#[test]
fn error_codes_are_the_ones_that_go_out() {
    let (page, code) = (read("docs/api.md"), sources());
    let section = page.split("### Errors").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the section");
    let listed: BTreeSet<(u16, &str)> = rows(section)
        .into_iter()
        .filter_map(|row| Some((row.first()?.parse().ok()?, row.get(1)?.strip_prefix('`')?.strip_suffix('`')?)))
        .collect();
    // With their statuses: `StatusCode::NOT_FOUND, "not_found"`.
    let mut sent = literals_after(&code, "code: ");
    for part in code.split("StatusCode::").skip(1) {
        let Some((status, rest)) = part.split_once(", \"") else { continue };
        // Others are texts of /readyz and of pages.
        let Some(word) =
            rest.split('"').next().filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        else {
            continue;
        };
        let is_it = |number: &u16| {
            let reason = StatusCode::from_u16(*number).ok().and_then(|status| status.canonical_reason());
            reason.is_some_and(|reason| reason.to_uppercase().replace(' ', "_") == status)
        };
        let Some(number) = (400..600).find(is_it) else { continue };
        assert!(listed.contains(&(number, word)), "docs/api.md does not list {number} {word}");
        sent.insert(word);
    }
    for (status, word) in &listed {
        assert!(code.contains(&format!("\"{word}\"")), "docs/api.md lists {status} {word}, which no code sends");
    }
    for word in sent {
        assert!(listed.iter().any(|(_, listed)| *listed == word), "docs/api.md does not list the code {word}");
    }
    assert!(listed.len() > 20);
}

#[test]
fn audit_actions_are_the_ones_that_are_noted() {
    let (page, code) = (read("docs/api.md"), sources());
    let table = page.split("| object | actions in the audit log |").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("the table");
    let listed = quoted(table);
    let kinds: BTreeSet<&str> = listed.iter().filter_map(|action| action.split_once('.').map(|(kind, _)| kind)).collect();
    let words: BTreeSet<&str> = code.split('"').filter(|word| listed.contains(word)).collect();
    assert_eq!(listed.difference(&words).collect::<Vec<_>>(), Vec::<&&str>::new(), "listed, and in no code");
    // Every literal that has the form of an action and is not the type of an event.
    let events = ["recharge.", "endpoint.disabled", "endpoint.failing", "endpoint.recovered"];
    let is_action = |word: &&str| {
        let (kind, verb) = word.split_once('.').unwrap_or_default();
        kinds.contains(kind) && !verb.is_empty() && verb.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let noted = literals_after(&code, "note(").into_iter().chain(literals_after(&code, "action: ")).chain(
        code.lines().filter(|line| line.contains("note(") || line.contains("action")).flat_map(|line| line.split('"').skip(1).step_by(2)),
    );
    for action in noted.filter(is_action).filter(|word| !events.iter().any(|event| word.starts_with(event))) {
        assert!(listed.contains(action), "docs/api.md does not list the action {action}");
    }
    assert!(listed.len() > 30);
}

#[test]
fn filters_of_lists_are_the_ones_that_calls_have() {
    let page = read("docs/api.md");
    let document: Value = serde_json::from_str(&read("docs/openapi.json")).expect("JSON");
    let of_every_list = ["limit", "cursor", "vendor_id", "mode"];
    let mut compared = 0;
    for row in rows(&page).into_iter().filter(|row| row.len() > 1) {
        let Some((_, filters)) = row[1].split_once("Filters: ") else { continue };
        let path = row[0].trim_matches('`').trim_start_matches("GET ");
        // Values of a filter stand in brackets after it.
        let mut names = BTreeSet::new();
        let mut depth = 0;
        for part in filters.split(". ").next().unwrap_or_default().split_inclusive(['(', ')']) {
            if depth == 0 {
                names.extend(quoted(part.trim_end_matches('(')));
            }
            depth += i32::from(part.ends_with('(')) - i32::from(part.ends_with(')'));
        }
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap_or_else(|| panic!("{path} is in the document"));
        let query = parameters.iter().filter(|parameter| parameter["in"] == "query").filter_map(|parameter| parameter["name"].as_str());
        let taken: BTreeSet<&str> = query.filter(|name| names.contains(name) || !of_every_list.contains(name)).collect();
        assert_eq!(names, taken, "{path}");
        compared += 1;
    }
    assert!(compared >= 4, "{compared} lists");
}

#[test]
fn prefixes_of_ids_are_the_ones_that_ids_have() {
    let (page, code) = (read("docs/api.md"), read("src/domain/id.rs"));
    let line = page.lines().find(|line| line.starts_with("**Ids**")).expect("the line");
    let is_prefix =
        |word: &&str| word.len() > 2 && word.ends_with('_') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let listed: BTreeSet<&str> = quoted(line).into_iter().filter(is_prefix).collect();
    let declared = code.lines().filter_map(|line| line.trim().strip_suffix("\";")?.rsplit_once("= \"").map(|(_, prefix)| prefix));
    // Sessions and streams are never shown.
    let shown: BTreeSet<&str> = declared.filter(is_prefix).filter(|prefix| !["ses_", "str_"].contains(prefix)).collect();
    assert_eq!(listed, shown);
}

#[test]
fn the_command_line_page_has_every_command() {
    let page = read("docs/cli.md");
    let help = String::from_utf8(run(&[], &["--help"]).stdout).expect("text");
    let commands = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("the list");
    let commands: BTreeSet<&str> =
        commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty()).collect();
    let listed: BTreeSet<&str> = rows(&page).into_iter().filter_map(|row| row[0].strip_prefix("`ringback ")?.strip_suffix('`')).collect();
    assert_eq!(listed, commands);
}
