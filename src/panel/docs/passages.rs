//! Cuts a page into sections, and each section into units: paragraphs, list items, and table rows.
//!
//! A unit is what the search ranks. A section, or the best units of a long one, is what a question is answered with.

use std::collections::HashMap;

/// Everything under one heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub page: &'static str,
    /// The headings above the section and its own, the page's title first.
    pub headings: Vec<String>,
    pub anchor: String,
    pub units: Vec<Unit>,
}

/// The smallest part of a page that can answer a question, as Markdown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Unit {
    pub text: String,
    /// What the unit is about: the first cell of a row, or the bold words that a paragraph begins with.
    pub lead: String,
    /// The header of the table that a row belongs to.
    pub table: Option<String>,
}

/// Anchors of one page's headings. A repeated heading gets a number, as on GitHub.
#[derive(Default)]
pub(super) struct Anchors(HashMap<String, usize>);

impl Anchors {
    pub fn next(&mut self, heading: &str) -> String {
        let letter = |letter: char| match letter {
            ' ' => Some('-'),
            letter if letter.is_alphanumeric() || letter == '-' || letter == '_' => Some(letter.to_ascii_lowercase()),
            _ => None,
        };
        let anchor: String = heading.chars().filter_map(letter).collect();
        let uses = self.0.entry(anchor.clone()).or_default();
        *uses += 1;
        if *uses == 1 { anchor } else { format!("{anchor}-{}", *uses - 1) }
    }
}

/// Cuts a page. Sections without text are left out.
pub(super) fn sections(page: &'static str, text: &str) -> Vec<Section> {
    let (mut found, mut anchors) = (Vec::<Section>::new(), Anchors::default());
    let mut section = Section { page, headings: Vec::new(), anchor: String::new(), units: Vec::new() };
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((level, heading)) = heading(line) {
            let mut headings = section.headings.clone();
            headings.truncate(level - 1);
            headings.push(heading.replace('`', ""));
            let next = Section { page, headings, anchor: anchors.next(heading), units: Vec::new() };
            found.push(std::mem::replace(&mut section, next));
        } else if line.starts_with("```") {
            let mut code = line.to_owned();
            for line in lines.by_ref() {
                code.push('\n');
                code.push_str(line);
                if line.starts_with("```") {
                    break;
                }
            }
            // An example belongs to the paragraph that introduces it.
            match section.units.last_mut().filter(|unit| unit.table.is_none()) {
                Some(unit) => unit.text.push_str(&format!("\n\n{code}")),
                None => section.units.push(Unit { text: code, ..Unit::default() }),
            }
        } else if line.starts_with('|') {
            let mut header = line.to_owned();
            if let Some(rule) = lines.next_if(|line| line.starts_with('|')) {
                header.push('\n');
                header.push_str(rule);
            }
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                let lead = row.split('|').nth(1).unwrap_or_default().trim().to_owned();
                section.units.push(Unit { text: row.to_owned(), lead, table: Some(header.clone()) });
            }
        } else if !line.trim().is_empty() && !line.starts_with("<!--") {
            let mut text = line.to_owned();
            let goes_on = |line: &&str| !line.trim().is_empty() && !begins_a_block(line);
            while let Some(line) = lines.next_if(goes_on) {
                text.push('\n');
                text.push_str(line);
            }
            section.units.push(Unit { lead: bold(&text), text, table: None });
        }
    }
    found.push(section);
    found.retain(|section| !section.units.is_empty());
    found
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    let is_heading = (1..=4).contains(&level) && line[level..].starts_with(' ');
    is_heading.then(|| (level, line[level..].trim()))
}

fn begins_a_block(line: &str) -> bool {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let is_numbered = digits > 0 && line[digits..].starts_with(". ");
    is_numbered || heading(line).is_some() || ["- ", "* ", "|", "```", "<!--"].iter().any(|begin| line.starts_with(begin))
}

/// The bold words that a paragraph or list item begins with.
fn bold(text: &str) -> String {
    let text = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '-' | '*' | ' ') && letter != '*');
    let bold = text.strip_prefix("**").and_then(|rest| rest.split_once("**"));
    bold.map(|(bold, _)| bold.to_owned()).unwrap_or_default()
}

/// Units of a section as Markdown, those of one table under its header.
pub(super) fn joined(units: &[&Unit]) -> String {
    let (mut text, mut table) = (String::new(), None);
    for unit in units {
        let goes_on = unit.table.is_some() && table == unit.table.as_ref();
        if !text.is_empty() {
            text.push_str(if goes_on { "\n" } else { "\n\n" });
        }
        if let Some(header) = unit.table.as_ref().filter(|_| !goes_on) {
            text.push_str(header);
            text.push('\n');
        }
        text.push_str(&unit.text);
        table = unit.table.as_ref();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\nIntro.\n\n## Things\n\n**One.** First\nline.\n\n```sh\n# not a heading\n```\n\n\
        | name | what |\n|---|---|\n| `a` | one |\n| `b` | two |\n\n- item\n  more\n- other\n\n## Things\n\nAgain.\n";

    #[test]
    fn a_page_is_cut_at_headings_paragraphs_items_and_rows() {
        let found = sections("page", PAGE);
        let anchors: Vec<_> = found.iter().map(|section| section.anchor.as_str()).collect();
        assert_eq!(anchors, ["page", "things", "things-1"]);
        let things = &found[1];
        assert_eq!(things.headings, ["Page", "Things"]);
        let leads: Vec<_> = things.units.iter().map(|unit| unit.lead.as_str()).collect();
        assert_eq!(leads, ["One.", "`a`", "`b`", "", ""]);
        assert!(things.units[0].text.ends_with("```sh\n# not a heading\n```"));
        assert_eq!(things.units[3].text, "- item\n  more");
    }

    #[test]
    fn rows_are_shown_under_the_header_of_their_table() {
        let things = &sections("page", PAGE)[1];
        assert_eq!(joined(&[&things.units[1], &things.units[2]]), "| name | what |\n|---|---|\n| `a` | one |\n| `b` | two |");
    }
}
