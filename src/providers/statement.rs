//! A provider's statement: rows of CSV as spreadsheets write them, with the columns that the configuration names.
//!
//! The file is read twice. The first pass finds the encoding, the delimiter, the line of column names and what the amounts have in
//! common ([`Habit`]); the second one yields the rows. So an amount that proves nothing by itself (`1,000`) is read as its column
//! is written, and memory holds one row at a time.

mod layout;
mod text;
mod trailer;

use std::io::{self, Read, Seek, SeekFrom};

use csv::ByteRecord;

use self::layout::Layout;
use self::text::{Text, decoded};
use super::http::Columns;
use crate::domain::figure::{Decimal, Figure, Habit, NotAFigure};
use crate::domain::statement::COLUMNS;

/// Why a statement cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum NoStatement {
    /// The file cannot be read.
    #[error("the statement cannot be read")]
    Unreadable(#[source] io::Error),
    /// Its rows cannot be read.
    #[error("the statement cannot be read")]
    Csv(#[source] csv::Error),
    /// It is no text.
    #[error("the statement is {0}, not CSV; export it as CSV, or save it as CSV with a spreadsheet program")]
    NotText(&'static str),
    /// It has no lines.
    #[error("the statement is empty; it needs a line of column names")]
    Empty,
    /// Columns are missing.
    #[error(
        "the statement has no column {missing}; the line most like column names is line {line}: {listed}. \
         Name its columns in [provider.statement]"
    )]
    Column {
        /// The columns that the configuration names and the file lacks.
        missing: String,
        /// The line that has most of the columns.
        line: u64,
        /// Its cells.
        listed: String,
    },
}

/// A row of the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line of the file that it begins on.
    pub line: u64,
    /// Our reference.
    pub reference: String,
    /// The provider's state.
    pub state: String,
    /// The amount, if there is one.
    pub amount: Option<Amount>,
}

/// An amount in the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// As it is written.
    pub text: String,
    /// As it is read.
    pub figure: Result<Figure, NotAFigure>,
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct BadRow {
    /// The line of the file that it begins on.
    pub line: u64,
    /// Our reference, as far as it can be read.
    pub reference: String,
    /// The column, as the file names it.
    pub column: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// Rows as they come. Titles, blank lines, totals and comments are passed over.
pub struct Statement<R> {
    rows: csv::Reader<Text<R>>,
    layout: Layout,
    habit: Habit,
    decimal: Option<Decimal>,
    cut: Option<String>,
    record: ByteRecord,
    ended: bool,
}

/// What the first pass sees.
#[derive(Default)]
struct Seen {
    habit: Habit,
    rows: u64,
    cut: Option<String>,
}

impl<R: Read + Seek> Statement<R> {
    /// Reads the statement once, to see how it is written. `decimal` decides what its amounts leave open.
    ///
    /// # Errors
    /// [`NoStatement`] where it cannot be read, or lacks a column.
    pub fn open(mut input: R, columns: &Columns, decimal: Option<Decimal>) -> Result<Self, NoStatement> {
        let writing = text::recognized(&mut input).map_err(NoStatement::Unreadable)?.map_err(NoStatement::NotText)?;
        let layout = Layout::find(&mut input, writing, columns)?;
        let rewound = |input: &mut R| input.seek(SeekFrom::Start(0)).map_err(NoStatement::Unreadable);
        rewound(&mut input)?;
        let mut seen = Seen::of(Text::new(&mut input, writing), &layout)?;
        if layout.names.iter().map(String::as_str).eq(COLUMNS) {
            rewound(&mut input)?;
            seen.cut = trailer::problem(&mut input, seen.rows).map_err(NoStatement::Unreadable)?.or(seen.cut);
        }
        rewound(&mut input)?;
        let rows = opened(Text::new(input, writing), &layout)?;
        let decimal = decimal.or(seen.habit.decimal(columns.decimal));
        Ok(Self { rows, layout, habit: seen.habit, decimal, cut: seen.cut, record: ByteRecord::new(), ended: false })
    }
}

impl<R> Statement<R> {
    /// What the amounts have in common.
    pub fn habit(&self) -> Habit {
        self.habit
    }

    /// The decimal mark of amounts that could have either.
    pub fn decimal(&self) -> Option<Decimal> {
        self.decimal
    }

    /// Why the file is not whole, as far as it shows by itself.
    pub fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// Name of the column of amounts, as the file writes it.
    pub fn amount_column(&self) -> &str {
        self.layout.places.amount.map_or("", |place| self.layout.names[place].as_str())
    }
}

impl<R: Read> Iterator for Statement<R> {
    type Item = Result<Line, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.rows.read_byte_record(&mut self.record) {
                Ok(true) => {
                    let line = line_of(&self.rows, &self.record);
                    if let Some(row) = self.layout.row(line, &self.record) {
                        return Some(row);
                    }
                }
                Ok(false) => self.ended = true,
                Err(error) => {
                    // A file that cannot be read any further would answer with this again and again.
                    self.ended = true;
                    let line = self.rows.position().line();
                    return Some(Err(BadRow {
                        reference: String::new(),
                        line,
                        column: "1".to_owned(),
                        problem: format!("the file cannot be read further: {error}"),
                    }));
                }
            }
        }
        None
    }
}

impl Seen {
    fn of<R: Read>(text: Text<R>, layout: &Layout) -> Result<Self, NoStatement> {
        let mut rows = opened(text, layout)?;
        let (mut seen, mut record, mut last) = (Self::default(), ByteRecord::new(), None);
        while rows.read_byte_record(&mut record).map_err(NoStatement::Csv)? {
            let row = layout.row(0, &record);
            seen.rows += u64::from(row.is_some());
            if let Some(Ok(Line { amount: Some(Amount { figure: Ok(figure), .. }), .. })) = &row {
                seen.habit.note(figure);
            }
            let is_open = record.iter().next_back().is_some_and(|cell| cell.ends_with(b"\n"));
            last = row.map(|_| (line_of(&rows, &record), record.len(), is_open));
        }
        if let Some((line, cells, is_open)) = last.filter(|_| rows.get_ref().is_unended) {
            let names = layout.names.len();
            if is_open {
                seen.cut = Some(format!("the quotes that begin on line {line} do not end"));
            } else if cells < names {
                seen.cut = Some(format!("its last line, line {line}, ends after {cells} of {names} cells"));
            }
        }
        Ok(seen)
    }
}

impl Layout {
    /// Reads a row. None for what is no row of the table: blank lines, comments, totals, and column names that are repeated.
    fn row(&self, line: u64, record: &ByteRecord) -> Option<Result<Line, BadRow>> {
        let (places, names) = (self.places, &self.names);
        let text = |place: usize| record.get(place).map(decoded).unwrap_or_default();
        let (reference, state) = (text(places.reference), text(places.state));
        if is_remark(record, names.len(), &reference, &state) || (reference == names[places.reference] && state == names[places.state]) {
            return None;
        }
        let bad =
            |place: usize, problem: String| Some(Err(BadRow { line, reference: reference.clone(), column: names[place].clone(), problem }));
        // Some programs leave empty cells at the end of a line out, so the amount may be missing.
        let needed = places.reference.max(places.state);
        let (cells, all) = (record.len(), names.len());
        if cells <= needed {
            return bad(needed, format!("the line has {cells} of {all} cells; complete it"));
        }
        if record.iter().skip(all).any(|cell| !cell.trim_ascii().is_empty()) {
            let delimiter = char::from(self.delimiter).escape_default();
            return bad(
                all - 1,
                format!("the line has {cells} cells instead of {all}; put quotes around cells with a {delimiter} in them"),
            );
        }
        if reference.is_empty() {
            return bad(places.reference, "the reference is missing; complete the line".to_owned());
        }
        let amount = places.amount.map(text).filter(|text| text.chars().any(|letter| !matches!(letter, '-' | '–' | '—')));
        let amount = amount.map(|text| Amount { figure: text.parse(), text });
        Some(Ok(Line { line, reference, state, amount }))
    }
}

/// Whether a record says nothing about a recharge: a blank line, a comment, or a total.
fn is_remark(record: &ByteRecord, width: usize, reference: &str, state: &str) -> bool {
    const WORDS: [&str; 9] =
        ["total", "subtotal", "sub total", "sub-total", "grand total", "sum", "opening balance", "closing balance", "end of"];
    let first = record.iter().map(decoded).find(|text| !text.is_empty()).unwrap_or_default().to_lowercase();
    if first.is_empty() || (reference.is_empty() && state.is_empty()) {
        return true;
    }
    let is_comment = first.starts_with('#') && (record.len() < width || state.is_empty());
    is_comment || (state.is_empty() && WORDS.into_iter().any(|word| first.starts_with(word)))
}

fn reader<R: Read>(text: Text<R>, delimiter: u8) -> csv::Reader<Text<R>> {
    csv::ReaderBuilder::new().flexible(true).has_headers(false).delimiter(delimiter).from_reader(text)
}

/// The rows behind the line of column names.
fn opened<R: Read>(text: Text<R>, layout: &Layout) -> Result<csv::Reader<Text<R>>, NoStatement> {
    let (mut rows, mut record) = (reader(text, layout.delimiter), ByteRecord::new());
    for _ in 0..=layout.titles {
        rows.read_byte_record(&mut record).map_err(NoStatement::Csv)?;
    }
    Ok(rows)
}

/// The line that a record begins on. Each line ends with `\n`, so that it is known from where the record ends; its beginning, as
/// the library knows it, lies before the blank lines in front of it.
fn line_of<R: Read>(rows: &csv::Reader<Text<R>>, record: &ByteRecord) -> u64 {
    let inner: usize = record.iter().map(|cell| cell.iter().filter(|byte| **byte == b'\n').count()).sum();
    (rows.position().line()).saturating_sub(1 + inner as u64).max(1)
}

#[cfg(test)]
mod tests;
