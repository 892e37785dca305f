//! Reading columns into the domain's types, and who listens to a stream.

use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Type, ValueRef};
use rusqlite::{Connection, Row};

use super::accept::Subscriber;
use crate::domain::endpoint::{EndpointStatus, Profile, Settings};
use crate::domain::filter::Filter;
use crate::domain::id::{EndpointId, StreamId};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

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
        let patterns: String = row.get("event_types")?;
        let event_types = Filter::new(patterns.split('\n').map(str::to_owned).collect()).map_err(|_| bad("event_types", "not patterns"))?;
        Ok(Self { event_types, profile: word(row, "profile", &Profile::ALL)? })
    }

    pub fn matches(&self, event_type: &str) -> bool {
        self.event_types.wants(self.profile, event_type)
    }
}

/// How patterns are stored: a line each.
pub(super) fn patterns(filter: &Filter) -> String {
    filter.patterns().join("\n")
}

/// The endpoints that listen to a stream now.
pub(super) fn subscribers(conn: &Connection, stream: StreamId) -> Result<Arc<[Subscriber]>, StoreError> {
    const LISTENING: &str = "SELECT id, event_types, profile, status FROM endpoint WHERE stream = ?1 AND deleted_at IS NULL ORDER BY id";
    let mut statement = conn.prepare_cached(LISTENING)?;
    let read = |row: &Row| {
        let status = word(row, "status", &EndpointStatus::ALL)?;
        Ok(status.listens().then_some(Subscriber { endpoint: EndpointId::new(row.get("id")?), wants: Wants::read(row)? }))
    };
    let all = statement.query_map([stream.get()], read)?.collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().flatten().collect())
}
