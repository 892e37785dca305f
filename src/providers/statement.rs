//! A provider's statement: rows of CSV, with the columns that the configuration names.

use std::io::Read;

use super::http::Columns;

/// Why a statement cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum NoStatement {
    /// The line of column names cannot be read.
    #[error("the line of column names cannot be read")]
    Headers(#[source] csv::Error),
    /// A column is missing.
    #[error("the statement has no column {missing}; it has {listed}")]
    Column {
        /// The column that the configuration names.
        missing: String,
        /// The columns that there are.
        listed: String,
    },
}

/// A row of the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Our reference.
    pub reference: String,
    /// The provider's state.
    pub state: String,
    /// The amount as it is written, if there is one.
    pub amount: Option<String>,
}

/// Rows as they come, without the line of column names. A row that cannot be read is `None`.
pub struct Statement<R> {
    reader: csv::Reader<R>,
    places: Places,
    record: csv::StringRecord,
    ended: bool,
}

/// Which column is which.
struct Places {
    reference: usize,
    state: usize,
    amount: Option<usize>,
}

impl<R: Read> Statement<R> {
    /// Reads the line of column names.
    ///
    /// # Errors
    /// [`NoStatement`] where it cannot be read, or lacks a column.
    pub fn open(input: R, columns: &Columns) -> Result<Self, NoStatement> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(input);
        let places = Places::find(reader.headers().map_err(NoStatement::Headers)?, columns)?;
        Ok(Self { reader, places, record: csv::StringRecord::new(), ended: false })
    }
}

impl<R: Read> Iterator for Statement<R> {
    type Item = Option<Line>;

    fn next(&mut self) -> Option<Option<Line>> {
        if self.ended {
            return None;
        }
        match self.reader.read_record(&mut self.record) {
            Ok(true) => Some(self.places.read(&self.record)),
            Ok(false) => None,
            Err(error) => {
                // A file that cannot be read any further would answer with this for ever.
                self.ended = error.is_io_error();
                Some(None)
            }
        }
    }
}

impl Places {
    fn find(headers: &csv::StringRecord, columns: &Columns) -> Result<Self, NoStatement> {
        let place = |name: &str| headers.iter().position(|header| header.eq_ignore_ascii_case(name));
        let required = |name: &str| {
            let listed = || headers.iter().collect::<Vec<_>>().join(", ");
            place(name).ok_or_else(|| NoStatement::Column { missing: name.to_owned(), listed: listed() })
        };
        let amount = columns.amount.as_deref().map(required).transpose()?;
        Ok(Self { reference: required(&columns.reference)?, state: required(&columns.state)?, amount })
    }

    fn read(&self, record: &csv::StringRecord) -> Option<Line> {
        let text = |place: usize| record.get(place).map(str::to_owned);
        let amount = self.amount.and_then(text).filter(|text| !text.is_empty());
        Some(Line { reference: text(self.reference)?, state: text(self.state)?, amount })
    }
}
