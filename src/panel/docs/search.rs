//! Answers questions with sections of the documents.
//!
//! Units are ranked by BM25 over weighted fields. A word of the question is a *concept*: its stem and, with less weight, its
//! synonyms. A word that the documents do not have is corrected if one of theirs is close. What a question asks for has to be
//! covered by a unit and its section to a share of its weight, where rare and unknown words weigh most: a question about
//! something else gets no answer.
//!
//! The work is bounded: few concepts, and for each one the units that have it.

use std::collections::{BTreeMap, HashMap};

use super::passages::{Section, joined};
use super::words::{asked, is_weak, said, says_nothing, stem, synonyms, words};
use crate::limits;

/// An answer: a section of a page, or the best parts of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passage {
    pub page: &'static str,
    /// The page's title and the headings below it.
    pub heading: String,
    pub anchor: String,
    /// Markdown.
    pub text: String,
}

/// Where a word stands, and what it counts there. `length` is how much a long field dilutes it.
struct Field {
    weight: f32,
    length: f32,
}

const FIELDS: usize = 5;
/// A unit's own text, its lead, its heading, the headings above, the page's title.
const WEIGHTS: [Field; FIELDS] = [
    Field { weight: 1.0, length: 0.4 },
    Field { weight: 2.1, length: 0.3 },
    Field { weight: 3.0, length: 0.25 },
    Field { weight: 0.5, length: 0.3 },
    Field { weight: 0.9, length: 0.3 },
];
/// The whole section that a unit belongs to.
const SECTION: Field = Field { weight: 0.08, length: 0.7 };
const SATURATION: f32 = 2.0;
const SYNONYM: f32 = 0.4;
const CORRECTED: f32 = 0.85;
/// Two words that stand next to each other in the question and in a unit.
const PAIR: f32 = 0.8;
const WEAK: f32 = 0.3;
/// A word counts as if at least this many units had it, so that one unknown word does not outweigh all others.
const RAREST: f32 = 4.0;
/// The share of a question's weight that an answer has to cover, if all words of the question are known.
const COVERAGE_MIN: f32 = 0.15;
/// A long question has words that no answer has: this much weight is enough of it.
const COVERED_ENOUGH: f32 = 12.0;
/// What a word that nobody knows counts: a document may say the same without it.
const UNKNOWN: f32 = 0.7;
/// How much a question that a section is known to answer counts, beside the section's own words.
const ALIKE: f32 = 1.35;
/// The least likeness at which it counts for a section without the words of the question.
const ALIKE_MIN: f32 = 0.58;
/// What a word of a known question that was not asked takes from the likeness.
const NOT_ASKED: f32 = 0.5;
/// Sections up to this many letters are shown whole, and so are tables.
const SHOWN_WHOLE: usize = 1400;
const UNITS_SHOWN: usize = 5;

/// Pages for those who look behind the scenes answer a question only if no other page does as well; a page of questions answers it
/// rather than others.
const PRIORS: [(&str, f32); 7] = [
    ("questions", 1.45),
    ("cli", 0.6),
    ("architecture", 0.75),
    ("engineering/", 0.6),
    ("changelog", 0.65),
    ("benchmarks", 0.7),
    ("security", 0.85),
];

/// Where a stem occurs, and how strongly.
struct Occurrence {
    place: usize,
    strength: f32,
}

type Occurrences = HashMap<String, Vec<Occurrence>>;

/// A word of a question with everything that may stand for it.
struct Concept {
    stems: Vec<(String, f32)>,
    weight: f32,
}

/// A question that a section answers, in a reader's words.
struct Known {
    section: usize,
    stems: Vec<String>,
}

pub(super) struct Index {
    sections: Vec<Section>,
    /// Section and place of each unit.
    units: Vec<(usize, usize)>,
    /// The first unit of each section.
    first_units: Vec<usize>,
    in_units: Occurrences,
    in_sections: Occurrences,
    /// Questions that sections are known to answer.
    known: Vec<Known>,
    /// In which of them a stem stands.
    in_known: HashMap<String, Vec<usize>>,
    /// Words as they are written, for corrections, with how often they occur.
    vocabulary: BTreeMap<String, usize>,
}

impl Index {
    /// Indexes sections with the questions that they are known to answer: a line `[page#anchor]`, then a question a line.
    pub fn new(sections: Vec<Section>, asked: &str) -> Self {
        let (mut units, mut first_units, mut vocabulary) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (mut of_units, mut of_sections) = (Vec::new(), Vec::new());
        for (at, section) in sections.iter().enumerate() {
            first_units.push(units.len());
            let headings = Headings::of(section);
            let mut all = Vec::new();
            for (place, unit) in section.units.iter().enumerate() {
                units.push((at, place));
                let (text, code) = without_code(&unit.text);
                let text = plain(&text);
                for word in words(&text).chain(words(&code)) {
                    *vocabulary.entry(word).or_default() += 1;
                }
                let own = stems(words(&text));
                all.extend(own.iter().cloned().chain(stems(words(&code))));
                of_units.push([own, stems(words(&unit.lead)), headings.last.clone(), headings.above.clone(), headings.title.clone()]);
            }
            of_sections.push([all]);
        }
        let (mut known, mut in_known, mut section) = (Vec::new(), HashMap::<String, Vec<usize>>::new(), None);
        for line in asked.lines() {
            if let Some(place) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = sections.iter().position(|one| place.split_once('#') == Some((one.page, &one.anchor)));
            } else if let Some(section) = section.filter(|_| !line.is_empty()) {
                let words = super::words::asked(line);
                let stems: Vec<String> = words.iter().map(|word| stem(word)).collect();
                stems.iter().for_each(|stem| in_known.entry(stem.clone()).or_default().push(known.len()));
                known.push(Known { section, stems });
                words.into_iter().for_each(|word| *vocabulary.entry(word).or_default() += 1);
            }
        }
        let in_units = occurrences(&of_units, &WEIGHTS);
        let in_sections = occurrences(&of_sections, &[SECTION]);
        Self { sections, units, first_units, in_units, in_sections, known, in_known, vocabulary }
    }

    /// Passages that answer a question, the best first, at most `limit`; those of `page` first among equals.
    pub fn find(&self, question: &str, page: &str, limit: usize) -> Vec<Passage> {
        let (concepts, pairs) = self.concepts(question);
        let part = |concept: &Concept| if concept.stems.is_empty() { UNKNOWN * concept.weight } else { concept.weight };
        let total: f32 = concepts.iter().map(part).sum();
        let is_known = concepts.iter().all(|concept| !concept.stems.is_empty() || concept.weight < 1.0);
        let mut scores = HashMap::<usize, Score>::new();
        for concept in &concepts {
            for (unit, (strength, presence)) in self.matches(concept) {
                let score = scores.entry(unit).or_default();
                score.sum += concept.weight * strength / (SATURATION + strength);
                score.covered += concept.weight * presence;
            }
        }
        for (pair, weight) in pairs {
            for Occurrence { place, strength } in self.in_units.get(&pair).into_iter().flatten() {
                scores.entry(*place).or_default().sum += PAIR * weight * strength / (SATURATION + strength);
            }
        }
        let alike = self.alike(&concepts, total);
        let mut by_section = BTreeMap::<usize, Vec<(f32, usize)>>::new();
        for (unit, score) in scores {
            let coverage = score.covered / total;
            let (section, place) = self.units[unit];
            if is_known && coverage >= COVERAGE_MIN
                || score.covered >= COVERED_ENOUGH
                || alike.get(&section).is_some_and(|alike| *alike >= ALIKE_MIN)
            {
                by_section.entry(section).or_default().push((score.sum * coverage, place));
            }
        }
        for section in alike.iter().filter(|(_, alike)| **alike >= ALIKE_MIN).map(|(section, _)| *section) {
            // Known to answer it in other words: it begins with its beginning.
            by_section.entry(section).or_insert_with(|| vec![(0.0, 0)]);
        }
        let mut ranked: Vec<_> = by_section.into_iter().map(ranked).collect();
        for (score, section, _) in &mut ranked {
            let alike = alike.get(section).copied().unwrap_or_default();
            let here = if self.sections[*section].page == page { 1.2 } else { 1.0 };
            *score = (*score + ALIKE * total * alike * alike) * here * prior(self.sections[*section].page);
        }
        ranked.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        ranked.into_iter().take(limit).map(|(_, section, units)| self.passage(section, units)).collect()
    }

    /// How much a question is like those that sections are known to answer: the likest of each section.
    fn alike(&self, concepts: &[Concept], total: f32) -> HashMap<usize, f32> {
        let mut common = HashMap::<usize, (f32, usize)>::new();
        for concept in concepts {
            let mut here = HashMap::<usize, f32>::new();
            for (stem, certainty) in &concept.stems {
                for known in self.in_known.get(stem).into_iter().flatten() {
                    let best = here.entry(*known).or_default();
                    *best = best.max(*certainty);
                }
            }
            for (known, certainty) in here {
                let common = common.entry(known).or_default();
                *common = (common.0 + certainty * concept.weight, common.1 + 1);
            }
        }
        let mut found = HashMap::new();
        for (known, (weight, count)) in common {
            let Known { section, stems } = &self.known[known];
            let rest = stems.len().saturating_sub(count) as f32 * total / concepts.len() as f32;
            let likeness = weight / (total + NOT_ASKED * rest);
            let best: &mut f32 = found.entry(*section).or_default();
            *best = best.max(likeness);
        }
        found
    }

    /// What is asked for: the words of the question that say most, and which of them stand next to each other.
    fn concepts(&self, question: &str) -> (Vec<Concept>, Vec<(String, f32)>) {
        let asked: Vec<Concept> = asked(question).iter().take(3 * limits::QUESTION_WORDS).map(|word| self.concept(word)).collect();
        let pair = |pair: &[Concept]| {
            let (one, other) = (pair[0].stems.first()?, pair[1].stems.first()?);
            Some((format!("{} {}", one.0, other.0), pair[0].weight.min(pair[1].weight)))
        };
        let pairs = asked.windows(2).filter_map(pair).take(limits::QUESTION_WORDS).collect();
        let mut concepts = Vec::<Concept>::new();
        for concept in asked {
            if concept.stems.is_empty() || concepts.iter().all(|known| known.stems.first() != concept.stems.first()) {
                concepts.push(concept);
            }
        }
        concepts.sort_by(|one, other| other.weight.total_cmp(&one.weight));
        concepts.truncate(limits::QUESTION_WORDS);
        (concepts, pairs)
    }

    fn concept(&self, word: &str) -> Concept {
        let mut first = stem(word);
        let known = |stem: &String| self.in_units.contains_key(stem) || self.in_known.contains_key(stem);
        let mut certainty = 1.0;
        if !known(&first)
            && synonyms(&first).is_empty()
            && !is_weak(&first)
            && let Some(close) = self.closest(word)
        {
            (first, certainty) = (stem(&close), CORRECTED);
        }
        let mut stems = vec![(first.clone(), certainty)];
        stems.extend(synonyms(&first).iter().map(|other| (other.clone(), SYNONYM * certainty)));
        stems.retain(|(stem, _)| known(stem));
        let weight = if is_weak(&first) { WEAK } else { 1.0 } * self.rarity(&stems);
        Concept { stems, weight }
    }

    /// How much a word says: the fewer units have it, the more.
    fn rarity(&self, stems: &[(String, f32)]) -> f32 {
        let count = |(stem, _): &(String, f32)| self.in_units.get(stem).map_or(0, Vec::len);
        let count = stems.first().map_or(0, count).max(stems.iter().skip(1).map(count).max().unwrap_or_default() / 4);
        let count = (count as f32).max(RAREST);
        (1.0 + (self.units.len() as f32 - count + 0.5) / (count + 0.5)).ln()
    }

    /// The word of the documents, or of readers, that a misspelt one is nearest to.
    fn closest(&self, word: &str) -> Option<String> {
        let letters = word.chars().count();
        let most = match letters {
            0..=3 => return None,
            4..=7 => 1,
            _ => 2,
        };
        let near = |known: &&str| known.chars().count().abs_diff(letters) <= most && known.chars().count() > 3;
        let known = self.vocabulary.iter().map(|(known, count)| (known.as_str(), *count));
        let known = known.chain(said().iter().map(|said| (*said, 2))).filter(|(known, _)| near(known));
        let distance = |(known, count): (&str, usize)| {
            let distance = strsim::osa_distance(word, known);
            let begins = usize::from(!known.starts_with(word.chars().next().unwrap_or_default()));
            (distance <= most).then(|| (distance + begins, usize::MAX - count, known.to_owned()))
        };
        known.filter_map(distance).min().map(|(_, _, known)| known)
    }

    /// Units that have a concept: how strongly, and how surely. A synonym is less sure, and so is a word that only another part of
    /// the section has.
    fn matches(&self, concept: &Concept) -> HashMap<usize, (f32, f32)> {
        let mut found = HashMap::<usize, (f32, f32)>::new();
        for (stem, weight) in &concept.stems {
            let mut here = HashMap::<usize, (f32, f32)>::new();
            for Occurrence { place, strength } in self.in_sections.get(stem).into_iter().flatten() {
                let end = self.first_units.get(place + 1).copied().unwrap_or(self.units.len());
                here.extend((self.first_units[*place]..end).map(|unit| (unit, (weight * strength, 0.5 * weight))));
            }
            for Occurrence { place, strength } in self.in_units.get(stem).into_iter().flatten() {
                let unit = here.entry(*place).or_default();
                *unit = (unit.0 + weight * strength, 0.5 + weight / 2.0);
            }
            for (unit, (strength, presence)) in here {
                let best = found.entry(unit).or_default();
                *best = (best.0.max(strength), best.1.max(presence));
            }
        }
        found
    }

    fn passage(&self, section: usize, mut units: Vec<(f32, usize)>) -> Passage {
        let section = &self.sections[section];
        let letters: usize = section.units.iter().map(|unit| unit.text.len()).sum();
        let shown: Vec<_> = if letters <= SHOWN_WHOLE {
            section.units.iter().collect()
        } else {
            units.truncate(UNITS_SHOWN);
            let best = units[0].0;
            let mut places: Vec<usize> = units.iter().filter(|(score, _)| *score >= 0.5 * best).map(|(_, place)| *place).collect();
            for (place, unit) in section.units.iter().enumerate() {
                let is_beside = places.iter().any(|other| unit.table.is_some() && section.units[*other].table == unit.table);
                let table: usize = section.units.iter().filter(|other| other.table == unit.table).map(|other| other.text.len()).sum();
                if is_beside && table <= SHOWN_WHOLE && !places.contains(&place) {
                    places.push(place);
                }
            }
            places.sort_unstable();
            places.iter().map(|place| &section.units[*place]).collect()
        };
        Passage { page: section.page, heading: section.headings.join(" › "), anchor: section.anchor.clone(), text: joined(&shown) }
    }
}

#[derive(Default)]
struct Score {
    sum: f32,
    covered: f32,
}

/// The stems of a section's headings, which all of its units share.
struct Headings {
    last: Vec<String>,
    above: Vec<String>,
    title: Vec<String>,
}

impl Headings {
    fn of(section: &Section) -> Self {
        let (last, above) = section.headings.split_last().map_or(("", [].as_slice()), |(last, above)| (last.as_str(), above));
        let title = format!("{} {}", section.page, section.headings.first().map_or("", String::as_str));
        let above = above.get(1..).unwrap_or_default().join(" ");
        Self { last: stems(words(last)), above: stems(words(&above)), title: stems(words(&title)) }
    }
}

/// Stems of words, and of each two of them that stand together.
fn stems(words: impl Iterator<Item = String>) -> Vec<String> {
    let (mut found, mut before) = (Vec::new(), None::<String>);
    for word in words.filter(|word| !says_nothing(word)) {
        let stem = stem(&word);
        found.extend(before.map(|before| format!("{before} {stem}")));
        found.push(stem.clone());
        before = Some(stem);
    }
    found
}

/// Where each stem occurs in texts of several fields.
fn occurrences<const N: usize>(texts: &[[Vec<String>; N]], fields: &[Field; N]) -> Occurrences {
    let mean = |field: usize| (texts.iter().map(|text| text[field].len()).sum::<usize>() as f32 / texts.len().max(1) as f32).max(1.0);
    let means: [f32; N] = std::array::from_fn(mean);
    let mut found = Occurrences::new();
    for (place, text) in texts.iter().enumerate() {
        let mut strengths = HashMap::<&str, f32>::new();
        for (field, Field { weight, length }) in fields.iter().enumerate() {
            let each = weight / (1.0 - length + length * text[field].len() as f32 / means[field]);
            for stem in &text[field] {
                *strengths.entry(stem).or_default() += each;
            }
        }
        for (stem, strength) in strengths {
            found.entry(stem.to_owned()).or_default().push(Occurrence { place, strength });
        }
    }
    found
}

fn prior(page: &str) -> f32 {
    PRIORS.iter().find(|(begin, _)| page.starts_with(begin)).map_or(1.0, |(_, prior)| *prior)
}

/// A section's score and its units, the best first. A second unit that fits as well makes a section a little better.
fn ranked((section, mut units): (usize, Vec<(f32, usize)>)) -> (f32, usize, Vec<(f32, usize)>) {
    units.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let second = units.get(1).map_or(0.0, |unit| unit.0);
    (units[0].0 + 0.08 * second, section, units)
}

/// Text and its examples: their words are no statements, so that they count for the section alone.
fn without_code(text: &str) -> (String, String) {
    let parts = text.split("```").enumerate();
    let (text, code): (Vec<_>, Vec<_>) = parts.partition(|(at, _)| at % 2 == 0);
    let joined = |parts: Vec<(usize, &str)>| parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join("\n");
    (joined(text), joined(code))
}

/// Markdown without the targets of its links and the names of tests.
fn plain(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("](") {
        out.push_str(before);
        out.push(' ');
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    if out.starts_with('|') { out.split(' ').filter(|word| !word.contains("::")).collect::<Vec<_>>().join(" ") } else { out }
}
