//! Reading columns into the domain's types, and who listens to a stream.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::accept::Subscriber;
use super::conn::{Bind, Conn, Result, Row, params};
use crate::domain::endpoint::{EndpointStatus, Profile, Settings};
use crate::domain::filter::Filter;
use crate::domain::id::{EndpointId, StreamId};
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::limits;
use crate::store::{Listed, StoreError};

/// A column that holds the place of a word in its type's list.
pub(super) fn word<T: Copy>(row: &Row, column: &str, all: &[T]) -> Result<T> {
    let place: usize = row.get(column)?;
    all.get(place).copied().ok_or_else(|| bad(column, "no such word"))
}

/// The same, where the column may be null.
pub(super) fn word_or_null<T: Copy>(row: &Row, column: &str, all: &[T]) -> Result<Option<T>> {
    let place: Option<usize> = row.get(column)?;
    place.map(|place| all.get(place).copied().ok_or_else(|| bad(column, "no such word"))).transpose()
}

/// A page out of rows that come in the list's order and may not all be wanted: so many are looked at, and then the page
/// ends with a cursor all the same.
pub(super) fn page<T, K>(
    conn: Conn,
    (sql, values): (&str, &[&dyn Bind]),
    limit: usize,
    read: impl Fn(&Row) -> Result<(K, T)>,
    wanted: impl Fn(&T) -> bool,
) -> Result<Listed<T, K>> {
    let (mut items, mut looked_at, mut last) = (Vec::new(), 0, None);
    conn.each(sql, values, |row| {
        let (key, item) = read(row)?;
        (looked_at, last) = (looked_at + 1, Some(key));
        if wanted(&item) {
            items.push(item);
        }
        Ok(if items.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let more = items.len() == limit || looked_at == limits::SCAN_MAX;
    Ok(Listed { items, next: last.filter(|_| more) })
}

/// What is in a column cannot be read.
pub(super) fn bad(column: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("column {column}: {why}"))
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

    pub fn read(row: &Row) -> Result<Self> {
        let event_types = parse_patterns(&row.get::<String>("event_types")?)?;
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

    pub fn read(row: &Row) -> Result<Self> {
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
pub(super) fn place(conn: Conn, endpoint: EndpointId) -> Result<Option<Place>, StoreError> {
    const PLACE: &str = "SELECT e.stream, s.mode, e.paused_ms, e.paused_at, e.paused_until FROM endpoint e \
        JOIN stream s ON s.id = e.stream WHERE e.id = ?1";
    let read = |row: &Row| {
        Ok(Place { stream: StreamId::new(row.get("stream")?), mode: word(row, "mode", &Mode::ALL)?, pauses: Pauses::read(row)? })
    };
    conn.first(PLACE, params![endpoint.get()], read)
}

/// Patterns as they are stored.
pub(super) fn parse_patterns(text: &str) -> Result<Filter> {
    Filter::new(text.split('\n').map(str::to_owned).collect()).map_err(|_| bad("event_types", "not patterns"))
}

/// How patterns are stored: a line each.
pub(super) fn patterns(filter: &Filter) -> String {
    filter.patterns().join("\n")
}

/// The endpoints that listen to a stream now.
pub(super) fn subscribers(conn: Conn, stream: StreamId) -> Result<Arc<[Subscriber]>, StoreError> {
    let sql = format!(
        "SELECT id, event_types, profile, status, {} FROM endpoint WHERE stream = ?1 AND deleted_at IS NULL ORDER BY id",
        Pauses::COLUMNS
    );
    let read = |row: &Row| {
        let status = word(row, "status", &EndpointStatus::ALL)?;
        Ok(status.listens().then_some(Subscriber {
            endpoint: EndpointId::new(row.get("id")?),
            wants: Wants::read(row)?,
            pauses: Pauses::read(row)?,
        }))
    };
    let all = conn.all(&sql, params![stream.get()], read)?;
    Ok(all.into_iter().flatten().collect())
}
