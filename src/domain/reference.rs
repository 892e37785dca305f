//! What a vendor's reference may be made of.
//!
//! A reference names one recharge for good, so that two references that look the same must be the same. Characters that cannot
//! be seen, and other spellings of the same letters, are refused: changing them would change somebody's key without a word.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

/// What is wrong with a reference, naming the character; none if nothing is.
pub fn problem(text: &str) -> Option<String> {
    let last = text.chars().count();
    let mut before = None;
    for (at, letter) in text.chars().enumerate() {
        let edge = at == 0 || at + 1 == last;
        let why = match letter {
            ' ' if before == Some(' ') => "two spaces look like one; remove it",
            ' ' if edge => "it cannot be seen at the beginning or the end; remove it",
            _ if letter != ' ' && is_invisible(letter) => "it cannot be seen, or looks like a space; remove it",
            _ => {
                before = Some(letter);
                continue;
            }
        };
        return Some(format!("must not have {} as character {}: {why}", named(letter), at + 1));
    }
    let nfc = ComposingNormalizerBorrowed::new_nfc();
    if nfc.is_normalized(text) {
        return None;
    }
    let normal = nfc.normalize(text);
    let at = text.chars().zip(normal.chars()).take_while(|(own, normal)| own == normal).count();
    let letter = text.chars().nth(at).map_or_else(String::new, named);
    let composed =
        normal.chars().nth(at).map_or_else(String::new, |letter| format!("; send {letter} (U+{:04X}) instead", u32::from(letter)));
    Some(format!("must be in Unicode's normalization form C, which it is not from character {} on ({letter}){composed}", at + 1))
}

/// Whether a character leaves nothing on the screen, or a space other than the usual one.
fn is_invisible(letter: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Unassigned};
    let category = CodePointMapData::<GeneralCategory>::new().get(letter);
    matches!(category, Control | Format | LineSeparator | ParagraphSeparator | SpaceSeparator | PrivateUse | Unassigned)
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(letter)
        || EMPTY.contains(&letter)
}

/// Symbols and marks by their categories, and empty all the same: the blank of Braille, the null notehead of music, the filler of
/// Khitan.
const EMPTY: [char; 3] = ['\u{2800}', '\u{1d159}', '\u{16fe4}'];

/// A character by its number, and its name where people meet it.
fn named(letter: char) -> String {
    let name = match letter {
        ' ' => "space",
        '\t' => "tab",
        '\u{a0}' => "no-break space",
        '\u{ad}' => "soft hyphen",
        '\u{200b}' => "zero width space",
        '\u{200c}' => "zero width non-joiner",
        '\u{200d}' => "zero width joiner",
        '\u{200e}' => "left-to-right mark",
        '\u{200f}' => "right-to-left mark",
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "bidirectional control",
        '\u{202f}' => "narrow no-break space",
        '\u{2060}' => "word joiner",
        '\u{3000}' => "ideographic space",
        '\u{feff}' => "byte order mark",
        _ => return format!("U+{:04X}", u32::from(letter)),
    };
    format!("U+{:04X} ({name})", u32::from(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_is_taken() {
        for text in ["INV-7781", "a b", "=1", "é", "रु-१२३", "ナ-1", "🧾 1", "x/y?z#1", "Ω"] {
            assert_eq!(problem(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_refused_by_name() {
        for (text, named) in [
            (" INV-1", "U+0020 (space) as character 1"),
            ("INV-1 ", "U+0020 (space) as character 6"),
            ("\u{a0}INV-1", "U+00A0 (no-break space) as character 1"),
            ("INV\u{a0}1", "U+00A0 (no-break space) as character 4"),
            ("INV-1\u{200b}", "U+200B (zero width space)"),
            ("INV\u{200d}-1", "U+200D (zero width joiner)"),
            ("\u{200f}INV-1", "U+200F (right-to-left mark)"),
            ("INV\u{202e}1-", "U+202E (bidirectional control)"),
            ("INV\u{2066}1", "U+2066 (bidirectional control)"),
            ("\u{feff}INV-1", "U+FEFF (byte order mark)"),
            ("INV\u{ad}-1", "U+00AD (soft hyphen)"),
            ("INV\u{2009}1", "U+2009"),
            ("INV\u{3000}1", "U+3000 (ideographic space)"),
            ("INV\u{3164}1", "U+3164"),
            ("INV-1\u{fe0f}", "U+FE0F"),
            ("INV-1\u{e0041}", "U+E0041"),
            ("INV-1\u{34f}", "U+034F"),
            ("INV\u{2028}1", "U+2028"),
            ("INV\u{2800}1", "U+2800"),
            ("INV\u{1d159}1", "U+1D159"),
            ("INV  1", "U+0020 (space) as character 5"),
            ("INV-\u{e000}", "U+E000"),
        ] {
            let told = problem(text).unwrap_or_default();
            assert!(told.contains(named), "{text:?}: {told}");
        }
    }

    #[test]
    fn another_spelling_of_the_same_letters_is_refused() {
        for (text, letter, instead) in
            [("Cafe\u{301}-1", "U+0065", "é (U+00E9)"), ("\u{212b}-1", "U+212B", "Å (U+00C5)"), ("1-\u{2126}", "U+2126", "Ω (U+03A9)")]
        {
            let told = problem(text).unwrap_or_default();
            assert!(told.contains("form C") && told.contains(letter) && told.contains(instead), "{text:?}: {told}");
        }
    }
}
