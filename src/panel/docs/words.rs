//! Words of questions and documents: how text is split, stemmed, and what else a reader may call a thing.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// What stands in words.txt.
struct Lists {
    /// Words that say nothing about what is asked.
    stop: HashSet<&'static str>,
    /// Stems of words that say little: an answer need not have them.
    weak: HashSet<String>,
    /// Words that are always treated as another one: spellings and names of one thing.
    aliases: HashMap<&'static str, &'static str>,
    /// Phrases whose words mean something together.
    phrases: Vec<(&'static str, &'static str)>,
    /// What a reader says, and the documents' words for it, by stems.
    synonyms: HashMap<String, Vec<String>>,
    said: Vec<&'static str>,
}

static LISTS: LazyLock<Lists> = LazyLock::new(|| {
    let section = |name: &str| {
        let lines = include_str!("words.txt").lines().skip_while(move |line| *line != name).skip(1);
        lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty()).collect::<Vec<&'static str>>()
    };
    let plain = |name| section(name).into_iter().flat_map(str::split_whitespace);
    let pairs = |name| section(name).into_iter().filter_map(|line| line.split_once(": "));
    let aliases: HashMap<_, _> = pairs("[aliases]").collect();
    let stem = |word: &str| stemmed(&aliases, word);
    let mut synonyms = HashMap::<String, Vec<String>>::new();
    for (word, others) in pairs("[synonyms]") {
        synonyms.entry(stem(word)).or_default().extend(others.split(' ').map(stem));
    }
    let weak = plain("[weak]").map(stem).collect();
    let said = pairs("[synonyms]").map(|(word, _)| word).collect();
    Lists { stop: plain("[stop]").collect(), weak, phrases: pairs("[phrases]").collect(), synonyms, said, aliases }
});

/// What readers say, so that their misspelt words are corrected too.
pub(super) fn said() -> &'static [&'static str] {
    &LISTS.said
}

/// Other stems for what a stem names.
pub(super) fn synonyms(stem: &str) -> &'static [String] {
    LISTS.synonyms.get(stem).map_or(&[], Vec::as_slice)
}

/// Whether a stem says little.
pub(super) fn is_weak(stem: &str) -> bool {
    LISTS.weak.contains(stem)
}

pub(super) fn says_nothing(word: &str) -> bool {
    LISTS.stop.contains(word)
}

/// The words of a text in small letters. A name such as `max_in_flight` counts as a whole and in parts.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').map(|word| word.trim_matches('_').to_lowercase());
    words.filter(|word| !word.is_empty()).flat_map(|word| {
        let parts: Vec<String> = if word.contains('_') { word.split('_').map(str::to_owned).collect() } else { Vec::new() };
        std::iter::once(word).chain(parts)
    })
}

/// The words of a question that say something, each once, with known phrases replaced.
pub(super) fn asked(question: &str) -> Vec<String> {
    let mut question = format!(" {} ", question.to_lowercase().replace('\u{2019}', "'").replace("'s ", " "));
    for (phrase, meaning) in &LISTS.phrases {
        question = question.replace(phrase, meaning);
    }
    let split = question.split(|letter: char| !letter.is_alphanumeric() && letter != '_').map(|word| word.trim_matches('_'));
    let mut found = Vec::<String>::new();
    for word in split.filter(|word| word.chars().count() > 1 && !LISTS.stop.contains(word)) {
        if !found.iter().any(|known| known == word) {
            found.push(word.to_owned());
        }
    }
    found
}

/// The stem of a word: what its forms have in common. It joins forms and need not be a word itself.
pub(super) fn stem(word: &str) -> String {
    stemmed(&LISTS.aliases, word)
}

fn stemmed(aliases: &HashMap<&str, &str>, word: &str) -> String {
    let word = aliases.get(word).unwrap_or(&word);
    if !word.is_ascii() || word.contains('_') || word.len() < 4 || word.bytes().any(|byte| byte.is_ascii_digit()) {
        return (*word).to_owned();
    }
    let mut stem = plural(word);
    for (ending, rest, instead) in [
        ("ability", 4, ""),
        ("ization", 3, "iz"),
        ("isation", 3, "iz"),
        ("fulness", 3, ""),
        ("ingly", 3, ""),
        ("ness", 4, ""),
        ("ment", 5, ""),
        ("able", 4, ""),
        ("ible", 4, ""),
        ("edly", 4, ""),
        ("ally", 4, "al"),
        ("ing", 3, ""),
        ("ed", 3, ""),
        ("ly", 4, ""),
        ("ion", 4, ""),
        ("ance", 4, ""),
        ("ence", 4, ""),
    ] {
        let Some(begin) = stem.strip_suffix(ending) else { continue };
        if begin.len() >= rest && begin.bytes().any(|byte| b"aeiouy".contains(&byte)) {
            stem = format!("{begin}{instead}");
            undouble(&mut stem);
            break;
        }
    }
    if stem.len() > 3 && stem.ends_with(['e', 'y']) {
        stem.pop();
    }
    for (ending, rest, instead) in [("ificat", 3, "if"), ("icat", 5, "ic"), ("at", 5, ""), ("is", 5, "iz")] {
        if let Some(begin) = stem.strip_suffix(ending).filter(|begin| begin.len() >= rest) {
            stem = format!("{begin}{instead}");
            break;
        }
    }
    if stem.ends_with('i') && stem.len() > 4 {
        stem.pop();
    }
    stem
}

fn plural(word: &str) -> String {
    if let Some(begin) = word.strip_suffix("ies").filter(|begin| begin.len() > 1) {
        return format!("{begin}y");
    }
    let is_plural = word.ends_with('s') && !["ss", "us", "is"].iter().any(|ending| word.ends_with(ending));
    let has_e = ["sses", "xes", "ches", "shes"].iter().any(|ending| word.ends_with(ending));
    word[..word.len() - usize::from(is_plural) - usize::from(has_e)].to_owned()
}

fn undouble(stem: &mut String) {
    let [.., one, other] = stem.as_bytes() else { return };
    if one == other && !b"lsz".contains(other) {
        stem.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for forms in [
            "delivery deliveries deliver delivered delivering delivers",
            "rotate rotation rotated rotating rotates",
            "encrypt encryption encrypted encrypts",
            "verify verification verified verifies verifying",
            "configure configuration configured",
            "retry retries retried retrying",
            "setting settings",
            "stop stopped stopping stops",
            "availability available",
            "migrate migration migrates",
        ] {
            let stems: std::collections::BTreeSet<String> = forms.split(' ').map(stem).collect();
            assert_eq!(stems.len(), 1, "{forms}: {stems:?}");
        }
        for (one, other) in [("rotate", "rotten"), ("status", "state"), ("max_in_flight", "max")] {
            assert_ne!(stem(one), stem(other));
        }
    }

    #[test]
    fn a_question_is_reduced_to_what_it_is_about() {
        assert_eq!(asked("How do I turn off my endpoint's top-ups, please?"), ["disable", "endpoint", "recharges"]);
        assert!(asked("? \" OR 1 NEAR(").contains(&"near".to_owned()));
        assert_eq!(words("set `max_in_flight`").collect::<Vec<_>>(), ["set", "max_in_flight", "max", "in", "flight"]);
    }
}
