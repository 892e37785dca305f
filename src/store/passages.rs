//! Passages of the documents, to be found by what they say: a full-text index in memory.

use parking_lot::Mutex;
use rusqlite::{Connection, params};

use super::StoreError;

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
        let words: Vec<String> = question
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .filter(|word| word.chars().count() > 1)
            .map(|word| format!("\"{word}\""))
            .collect();
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
