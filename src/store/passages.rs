//! Passages of the documents, to be found by what they say: a full-text index in memory.

use parking_lot::Mutex;
use rusqlite::{Connection, params};

use super::StoreError;
use crate::limits;

/// A part of a page, under a heading of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The page's name.
    pub page: String,
    /// The headings it stands under.
    pub heading: String,
    /// What it says, as Markdown.
    pub text: String,
}

/// The index.
pub struct Passages(Mutex<Connection>);

impl Passages {
    /// Reads all passages.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn index(passages: &[Passage]) -> Result<Self, StoreError> {
        let conn = Connection::open_in_memory()?;
        conn.execute_batch("CREATE VIRTUAL TABLE passage USING fts5 (page UNINDEXED, heading, text, tokenize = 'porter unicode61')")?;
        let mut insert = conn.prepare("INSERT INTO passage (page, heading, text) VALUES (?1, ?2, ?3)")?;
        for Passage { page, heading, text } in passages {
            insert.execute(params![page, heading, text])?;
        }
        drop(insert);
        Ok(Self(Mutex::new(conn)))
    }

    /// Those that fit a question best, at most so many; those of one page before equally good ones of others.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn find(&self, question: &str, page: &str, limit: usize) -> Result<Vec<Passage>, StoreError> {
        // Each word as a text of its own, so that nothing of a question is taken for an operator of the search.
        let words = words(question);
        if words.is_empty() {
            return Ok(Vec::new());
        }
        const FIND: &str = "SELECT page, heading, text FROM passage WHERE passage MATCH ?1 \
            ORDER BY bm25(passage, 0.0, 4.0, 1.0) * CASE WHEN page = ?2 THEN 1.2 ELSE 1.0 END LIMIT ?3";
        let conn = self.0.lock();
        let mut find = conn.prepare(FIND)?;
        let read = |row: &rusqlite::Row| Ok(Passage { page: row.get(0)?, heading: row.get(1)?, text: row.get(2)? });
        Ok(find.query_map(params![words.join(" OR "), page, limit as i64], read)?.collect::<Result<_, _>>()?)
    }
}

/// The words of a question that say most, quoted. The work grows with their number and with the passages that have them, so that
/// they are few, and the longest ones.
fn words(question: &str) -> Vec<String> {
    let words = question.split(|letter: char| !letter.is_alphanumeric() && letter != '_').map(str::to_lowercase);
    let mut words: Vec<String> = words.filter(|word| word.chars().count() > 1).collect();
    words.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    words.dedup();
    words.into_iter().take(limits::QUESTION_WORDS).map(|word| format!("\"{word}\"")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_different_words_of_a_question_are_searched_for() {
        assert_eq!(
            words(&"the a of to is in it and that be ".repeat(20)),
            ["that", "and", "the", "be", "in", "is", "it", "of"].map(|word| format!("\"{word}\""))
        );
        assert_eq!(words("Rotate the SECRET, rotate!"), ["\"rotate\"", "\"secret\"", "\"the\""]);
    }
}
