//! Where a statement's column names stand, and what separates its cells.

use std::io::{Read, Seek, SeekFrom};

use csv::ByteRecord;

use super::text::{Text, Writing, decoded};
use super::{NoStatement, reader};
use crate::providers::http::Columns;

/// Records within which the line of column names is looked for; banks put titles in front of it.
const HEADER_WITHIN: usize = 50;
/// Bytes within which it is looked for.
const HEADER_BYTES: u64 = 256 << 10;
/// What separates cells, in the order in which it is tried.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// How the file is laid out.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) delimiter: u8,
    /// Records in front of the line of column names.
    pub(super) titles: usize,
    /// The column names as they are written.
    pub(super) names: Vec<String>,
    pub(super) places: Places,
}

/// Which column is which.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) reference: usize,
    pub(super) state: usize,
    pub(super) amount: Option<usize>,
}

impl Layout {
    /// Finds the line of column names: the first that has all columns of the configuration, whatever separates them.
    pub(super) fn find(input: &mut (impl Read + Seek), writing: Writing, columns: &Columns) -> Result<Self, NoStatement> {
        let mut best = (0, 0, NoStatement::Empty);
        let declared = declared(input, writing)?;
        let others = DELIMITERS.into_iter().filter(|delimiter| Some(*delimiter) != declared);
        for delimiter in declared.into_iter().chain(others) {
            input.seek(SeekFrom::Start(0)).map_err(NoStatement::Unreadable)?;
            let mut rows = reader(Text::new(input.by_ref().take(HEADER_BYTES), writing), delimiter);
            let mut record = ByteRecord::new();
            for titles in 0..HEADER_WITHIN {
                if !rows.read_byte_record(&mut record).map_err(NoStatement::Csv)? {
                    break;
                }
                let names: Vec<String> = record.iter().map(decoded).collect();
                let missing = match Places::find(&names, columns) {
                    Ok(places) => return Ok(Self { delimiter, titles, names, places }),
                    Err(missing) => missing,
                };
                // The line that comes closest is named where none has all columns.
                let filled = names.iter().filter(|name| !name.is_empty()).count();
                let wanted = 2 + usize::from(columns.amount.is_some());
                let rank = (wanted - missing.len(), filled);
                if filled > 0 && (rank > (best.0, best.1) || matches!(best.2, NoStatement::Empty)) {
                    let line = super::line_of(&rows, &record);
                    best = (rank.0, rank.1, NoStatement::Column { missing: missing.join(", "), line, listed: names.join(", ") });
                }
            }
        }
        Err(best.2)
    }
}

/// The delimiter that a first line `sep=;` declares, as Excel writes it.
fn declared(input: &mut (impl Read + Seek), writing: Writing) -> Result<Option<u8>, NoStatement> {
    input.seek(SeekFrom::Start(0)).map_err(NoStatement::Unreadable)?;
    let mut line = [0; 16];
    let count = Text::new(input.by_ref().take(64), writing).read(&mut line).map_err(NoStatement::Unreadable)?;
    let line = line[..count].strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line[..count]);
    Ok(match line.trim_ascii_start() {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter, b'\n', ..] if delimiter.is_ascii() && *delimiter != b'"' => {
            Some(*delimiter)
        }
        _ => None,
    })
}

impl Places {
    /// Finds the columns by their names. `Err` has the names of those that are missing.
    fn find<'a>(names: &[String], columns: &'a Columns) -> Result<Self, Vec<&'a str>> {
        let place = |name: &str| names.iter().position(|found| folded(found) == folded(name));
        let wanted = [Some(&columns.reference), Some(&columns.state), columns.amount.as_ref()];
        let missing: Vec<&str> = wanted.into_iter().flatten().map(String::as_str).filter(|name| place(name).is_none()).collect();
        match (place(&columns.reference), place(&columns.state), columns.amount.as_deref().map(place)) {
            (Some(reference), Some(state), None) => Ok(Self { reference, state, amount: None }),
            (Some(reference), Some(state), Some(Some(amount))) => Ok(Self { reference, state, amount: Some(amount) }),
            _ => Err(missing),
        }
    }
}

/// A column's name as names are compared: in small letters, with single spaces.
fn folded(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
