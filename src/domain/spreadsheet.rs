//! Text in CSV files that a spreadsheet must not execute.
//!
//! A spreadsheet takes a cell for a formula by its first visible character. Which cell that is depends on its locale: many
//! split lines at semicolons or tabs, whatever the file's own separator is. So the character after each of these counts too.

use std::borrow::Cow;

/// Characters that begin a formula, with the full-width and small forms that some programs accept.
const BEGINS_FORMULA: [char; 12] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '﹦', '﹢', '﹣', '﹫'];
/// Characters that some programs remove from the beginning of a cell before they read it.
const REMOVED: [char; 3] = ['\t', '\n', '\r'];
/// Characters at which some program begins another cell.
const SEPARATORS: [char; 6] = [',', ';', '|', '\t', '\n', '\r'];

/// The text as a cell that no spreadsheet executes: an apostrophe stands in front of the text, and of each part behind a
/// separator, that would begin a formula.
pub fn cell(text: &str) -> Cow<'_, str> {
    let mut safe = String::new();
    let (mut copied, mut begins) = (0, true);
    for (at, letter) in text.char_indices() {
        if begins && BEGINS_FORMULA.contains(&letter) {
            safe.push_str(&text[copied..at]);
            safe.push('\'');
            copied = at;
        }
        begins = SEPARATORS.contains(&letter) || (begins && is_passed_over(letter));
    }
    if copied == 0 && safe.is_empty() {
        return if text.starts_with(REMOVED) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) };
    }
    safe.push_str(&text[copied..]);
    let is_first = text.trim_start_matches(|letter| SEPARATORS.contains(&letter) || is_passed_over(letter)).starts_with(BEGINS_FORMULA);
    Cow::Owned(if (is_first || text.starts_with(REMOVED)) && !safe.starts_with('\'') { format!("'{safe}") } else { safe })
}

/// What may stand between the beginning of a cell and its first visible character.
fn is_passed_over(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(letter, '"' | '\'' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_cell_begins_a_formula() {
        for (text, safe) in [
            ("", ""),
            ("INV-7781", "INV-7781"),
            ("a=b; c", "a=b; c"),
            ("=1+1", "'=1+1"),
            ("+9779801234567", "'+9779801234567"),
            ("-5", "'-5"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1", "'＝1"),
            ("﹣1", "'﹣1"),
            ("\tx", "'\tx"),
            ("\r\n", "'\r\n"),
            ("\rx;=1", "'\rx;'=1"),
            (" =1", "' '=1"),
            ("\t=1", "'\t'=1"),
            ("\u{200b}=1", "'\u{200b}'=1"),
            (";=1", "';'=1"),
            ("; \"=1", "'; \"'=1"),
            ("x;=1", "x;'=1"),
            ("x\t@y\r\n-z", "x\t'@y\r\n'-z"),
            ("x,=1|+2", "x,'=1|'+2"),
            ("\"=1\"", "'\"'=1\""),
        ] {
            assert_eq!(cell(text), safe, "{text:?}");
        }
    }
}
