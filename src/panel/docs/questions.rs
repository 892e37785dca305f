//! Questions of readers, and how many of them find their answer.

use super::search::Passage;
use super::{PAGES, answer, find, passages};

/// The least shares, in percent: of questions whose answer comes first, and of those that have it among the first four.
const FIRST: usize = 85;
const AMONG_FOUR: usize = 97;
/// The greatest share of questions without an answer that get one.
const ANSWERED_WRONGLY: usize = 5;

/// Whether a passage is one of the expected ones (`page:term`).
fn fits(passage: &Passage, expected: &[&str]) -> bool {
    let text = format!("{} {}", passage.heading, passage.text).to_lowercase();
    expected.iter().filter_map(|place| place.split_once(':')).any(|(page, term)| passage.page == page && text.contains(term))
}

#[test]
fn questions_find_the_passage_that_answers_them() {
    let (mut asked, mut first, mut among_four, mut misses) = (0, 0, 0, Vec::new());
    let (mut unanswerable, mut answered) = (0, Vec::new());
    for line in include_str!("questions.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (question, expected) = line.split_once(" | ").expect("a question and where its answer is");
        let expected: Vec<&str> = expected.split(" | ").collect();
        let found = find(question, "");
        let places = found.iter().map(|passage| format!("{}#{}", passage.page, passage.anchor)).collect::<Vec<_>>().join(", ");
        if expected == ["-"] {
            unanswerable += 1;
            if !found.is_empty() {
                answered.push(format!("{question}: {places}"));
            }
            continue;
        }
        let place = found.iter().position(|passage| fits(passage, &expected));
        asked += 1;
        first += usize::from(place == Some(0));
        among_four += usize::from(place.is_some_and(|place| place < 4));
        if place != Some(0) {
            misses.push(format!("{question} (at {place:?}): {places}"));
        }
    }
    let misses = misses.join("\n");
    assert!(asked >= 60, "{asked}");
    assert!(first * 100 >= asked * FIRST, "{first} of {asked} come first:\n{misses}");
    assert!(among_four * 100 >= asked * AMONG_FOUR, "{among_four} of {asked} are among the first four:\n{misses}");
    assert!(answered.len() * 100 <= unanswerable * ANSWERED_WRONGLY, "the documents cannot answer these:\n{}", answered.join("\n"));
}

/// Questions of asked.txt lead to sections that exist, and none of them is a question that the search is judged by.
#[test]
fn known_questions_lead_somewhere() {
    let judged =
        include_str!("questions.txt").lines().filter_map(|line| line.split_once(" | ")).map(|(question, _)| question.to_lowercase());
    let judged: std::collections::HashSet<String> = judged.collect();
    let sections: Vec<_> = PAGES.iter().flat_map(|page| passages::sections(page.name, page.text)).collect();
    for line in include_str!("asked.txt").lines().filter(|line| !line.is_empty()) {
        if let Some(place) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let leads = |section: &passages::Section| place.split_once('#') == Some((section.page, &section.anchor));
            assert!(sections.iter().any(leads), "{place} is no section: change asked.txt with the page");
        } else {
            assert!(!judged.contains(line), "{line} is in questions.txt, too");
        }
    }
}

#[test]
fn odd_questions_are_harmless() {
    for odd in ["", "?", "\" OR 1 NEAR(", "ü", "a b c", &"x ".repeat(1000), &"rotaet ".repeat(200)] {
        drop(find(odd, "api"));
    }
    assert!(answer(&find("zzzunheardof", "api")).starts_with("Nothing in the documents"));
}
