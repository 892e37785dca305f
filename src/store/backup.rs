//! What backups of both databases have in common.

use std::fmt;

use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// Version of the form of a backup. It grows when an older `ringback restore` could not read a newer backup.
pub const FORMAT: i64 = 1;

/// The first bytes of a SQLite file.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// The first bytes of an archive of `pg_dump`.
const ARCHIVE: &[u8] = b"PGDMP";

/// What a backup contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Recharges.
    pub recharges: u64,
    /// Events.
    pub events: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let Self { recharges, events } = *self;
        write!(f, "{recharges} recharge{}, {events} event{}", plural(recharges), plural(events))
    }
}

/// A time as a part of names, such as `20261126T010000Z`.
pub fn stamp(at: Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{}Z", seconds.chars().filter(|letter| letter.is_ascii_alphanumeric()).collect::<String>())
}

/// The database that a backup was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A SQLite file.
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
}

impl Kind {
    /// Reads it from the beginning of a backup.
    ///
    /// # Errors
    /// The file cannot be read, or is no backup.
    pub fn of(backup: &std::path::Path) -> Result<Self, StoreError> {
        use std::io::Read;
        let unusable = |problem: String| StoreError::Unusable(format!("{} {problem}", backup.display()));
        let mut head = Vec::new();
        let read = std::fs::File::open(backup).and_then(|file| file.take(SQLITE.len() as u64).read_to_end(&mut head));
        read.map_err(|error| unusable(format!("cannot be read: {error}")))?;
        match head {
            head if head.starts_with(SQLITE) => Ok(Self::Sqlite),
            head if head.starts_with(ARCHIVE) => Ok(Self::Postgres),
            _ => Err(unusable("is not a backup: it is neither a SQLite file nor an archive of pg_dump".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_names_sort_and_need_no_quotes() {
        assert_eq!(stamp(Timestamp::from_millis(1_795_655_000_123)), "20261126T010320Z");
        assert_eq!(Counts { recharges: 1, events: 0 }.to_string(), "1 recharge, 0 events");
    }
}
