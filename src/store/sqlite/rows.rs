//! Reading columns into the domain's types, and who listens to a stream.

use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::accept::Subscriber;
use crate::domain::endpoint::{EndpointStatus, Profile, Settings};
use crate::domain::filter::Filter;
use crate::domain::id::{EndpointId, StreamId};
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::limits;
use crate::store::{Listed, StoreError};

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_millis)
    }
}

/// A column that holds the place of a word in its type's list.
pub(super) fn word<T: Copy>(row: &Row, column: &str, all: &[T]) -> rusqlite::Result<T> {
    let place: usize = row.get(column)?;
    all.get(place).copied().ok_or_else(|| bad(column, "no such word"))
}

/// The same, where the column may be null.
pub(super) fn word_or_null<T: Copy>(row: &Row, column: &str, all: &[T]) -> rusqlite::Result<Option<T>> {
    let place: Option<usize> = row.get(column)?;
    place.map(|place| all.get(place).copied().ok_or_else(|| bad(column, "no such word"))).transpose()
}

/// A page out of rows that come in the list's order and may not all be wanted: so many are looked at, and then the page
/// ends with a cursor all the same.
pub(super) fn page<T, K>(
    mut rows: Rows,
    limit: usize,
    read: impl Fn(&Row) -> rusqlite::Result<(K, T)>,
    wanted: impl Fn(&T) -> bool,
) -> Result<Listed<T, K>, StoreError> {
    let (mut items, mut looked_at, mut last) = (Vec::new(), 0, None);
    while items.len() < limit
        && let Some(row) = rows.next()?
    {
        let (key, item) = read(row)?;
        (looked_at, last) = (looked_at + 1, Some(key));
        if wanted(&item) {
            items.push(item);
        }
    }
    let more = items.len() == limit || looked_at == limits::SCAN_MAX;
    Ok(Listed { items, next: last.filter(|_| more) })
}

/// What is in a column cannot be read.
pub(super) fn bad(column: &str, why: impl std::fmt::Display) -> rusqlite::Error {
    let error = FromSqlError::Other(format!("column {column}: {why}").into());
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, Box::new(error))
}

/// The part of an endpoint's settings by which the fan-out chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wants {
    pub event_types: Filter,
    pub profile: Profile,
}

impl Wants {
    pub fn of(settings: &Settings) -> Self {
        Self { event_types: settings.event_types.clone(), profile: settings.profile }
    }

    pub fn read(row: &Row) -> rusqlite::Result<Self> {
        let event_types = parse_patterns(&row.get::<_, String>("event_types")?)?;
        Ok(Self { event_types, profile: word(row, "profile", &Profile::ALL)? })
    }

    pub fn matches(&self, event_type: &str) -> bool {
        self.event_types.wants(self.profile, event_type)
    }
}

/// How long an endpoint has been paused: what is added to a stored deadline, and taken from one that is to be stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pauses {
    ended_ms: i64,
    at: Option<i64>,
    until: Option<i64>,
}

impl Pauses {
    pub const COLUMNS: &'static str = "paused_ms, paused_at, paused_until";

    pub fn read(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self { ended_ms: row.get("paused_ms")?, at: row.get("paused_at")?, until: row.get("paused_until")? })
    }

    /// The deadline of a run that begins at `start`, as it is stored.
    pub fn stored(self, start: Timestamp, deadline: Timestamp) -> i64 {
        let under_way = self.at.zip(self.until).map_or(0, |(at, until)| (start.as_millis().min(until) - at).max(0));
        deadline.as_millis().saturating_sub(self.ended_ms + under_way)
    }

    /// A stored deadline as it stands; under a pause, as if that went on to its end.
    pub fn deadline(self, stored: i64) -> Timestamp {
        Timestamp::from_millis(stored.saturating_add(self.in_all()))
    }

    /// What of stored deadlines has passed.
    pub fn passed(self, now: Timestamp) -> i64 {
        now.as_millis().saturating_sub(self.in_all())
    }

    fn in_all(self) -> i64 {
        self.ended_ms + self.at.zip(self.until).map_or(0, |(at, until)| until - at)
    }
}

/// An endpoint as far as its deliveries need to know it; deleted ones too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub stream: StreamId,
    pub mode: Mode,
    pub pauses: Pauses,
}

/// Where an endpoint belongs.
pub(super) fn place(conn: &Connection, endpoint: EndpointId) -> Result<Option<Place>, StoreError> {
    const PLACE: &str = "SELECT e.stream, s.mode, e.paused_ms, e.paused_at, e.paused_until FROM endpoint e \
        JOIN stream s ON s.id = e.stream WHERE e.id = ?1";
    let read = |row: &Row| {
        Ok(Place { stream: StreamId::new(row.get("stream")?), mode: word(row, "mode", &Mode::ALL)?, pauses: Pauses::read(row)? })
    };
    Ok(conn.prepare_cached(PLACE)?.query_row([endpoint.get()], read).optional()?)
}

/// Patterns as they are stored.
pub(super) fn parse_patterns(text: &str) -> rusqlite::Result<Filter> {
    Filter::new(text.split('\n').map(str::to_owned).collect()).map_err(|_| bad("event_types", "not patterns"))
}

/// How patterns are stored: a line each.
pub(super) fn patterns(filter: &Filter) -> String {
    filter.patterns().join("\n")
}

/// The endpoints that listen to a stream now.
pub(super) fn subscribers(conn: &Connection, stream: StreamId) -> Result<Arc<[Subscriber]>, StoreError> {
    let sql = format!(
        "SELECT id, event_types, profile, status, {} FROM endpoint WHERE stream = ?1 AND deleted_at IS NULL ORDER BY id",
        Pauses::COLUMNS
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let read = |row: &Row| {
        let status = word(row, "status", &EndpointStatus::ALL)?;
        Ok(status.listens().then_some(Subscriber {
            endpoint: EndpointId::new(row.get("id")?),
            wants: Wants::read(row)?,
            pauses: Pauses::read(row)?,
        }))
    };
    let all = statement.query_map([stream.get()], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().flatten().collect())
}
