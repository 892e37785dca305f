//! Replays: which events they are about, and their runs opened step by step.
//!
//! A step looks at so many events from where the one before ended, opens runs for those it is about, and moves on, in
//! one transaction. No more than a window of a replay's runs is open at a time, so that a million events to send again
//! neither fill the table of open runs nor have their deadlines run while they wait for their turn.

use std::ops::ControlFlow;
use std::ops::Range;
use std::time::Duration;

use super::conn::{Bind, Conn, Result, Row, params};
use super::endpoints;
use super::rows::{Place, Wants, parse_patterns, patterns, place, word};
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::filter::Filter;
use crate::domain::id::{EndpointId, ReplayId, StreamId};
use crate::domain::replay::{Only, Replay, ReplayState};
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::seal::Sealer;
use crate::store::{Created, Page, ReplayScope, Stepped, StoreError};

const COLUMNS: &str =
    "id, stream, endpoint, since, until, only_, event_types, next_sequence, end_sequence, matched, opened, done, state, created_at";

fn read(row: &Row) -> Result<Replay> {
    let event_types: Option<String> = row.get("event_types")?;
    Ok(Replay {
        id: ReplayId::new(row.get("id")?),
        stream: StreamId::new(row.get("stream")?),
        endpoint: EndpointId::new(row.get("endpoint")?),
        since: row.get("since")?,
        until: row.get("until")?,
        only: word(row, "only_", &Only::ALL)?,
        event_types: event_types.map(|text| parse_patterns(&text)).transpose()?,
        next_sequence: row.get("next_sequence")?,
        end_sequence: row.get("end_sequence")?,
        matched: row.get("matched")?,
        opened: row.get("opened")?,
        done: row.get("done")?,
        state: word(row, "state", &ReplayState::ALL)?,
        created_at: row.get("created_at")?,
    })
}

pub(super) fn one(conn: Conn, id: ReplayId) -> Result<Option<Replay>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM replay WHERE id = ?1");
    conn.first(&sql, params![id.get()], read)
}

pub(super) fn list(conn: Conn, stream: StreamId, page: Page<ReplayId>) -> Result<Vec<Replay>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM replay WHERE stream = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
    let values = params![stream.get(), page.before.map_or(i64::MAX, ReplayId::get), page.limit];
    conn.all(&sql, values, read)
}

pub(super) fn running(conn: Conn, after: Option<ReplayId>, limit: usize) -> Result<Vec<ReplayId>, StoreError> {
    const RUNNING: &str = "SELECT id FROM replay WHERE state = 0 AND id > ?1 ORDER BY id LIMIT ?2";
    let values = params![after.map_or(-1, ReplayId::get), limit];
    conn.all(RUNNING, values, |row| row.get(0).map(ReplayId::new))
}

pub(super) fn create(conn: Conn, replay: &Replay) -> Result<Created, StoreError> {
    const RUNNING: &str = "SELECT count(*) FROM replay INDEXED BY replay_running WHERE state = 0 AND endpoint = ?1";
    let running: u32 = conn.one(RUNNING, params![replay.endpoint.get()], |row| row.get(0))?;
    if running >= limits::REPLAYS_RUNNING {
        return Ok(Created::LimitReached);
    }
    let sql = format!("INSERT INTO replay ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)");
    conn.execute(
        &sql,
        params![
            replay.id.get(),
            replay.stream.get(),
            replay.endpoint.get(),
            replay.since.as_millis(),
            replay.until.as_millis(),
            replay.only as i64,
            replay.event_types.as_ref().map(patterns),
            replay.next_sequence,
            replay.end_sequence,
            replay.matched,
            replay.opened,
            replay.done,
            replay.state as i64,
            replay.created_at.as_millis(),
        ],
    )?;
    Ok(Created::Yes)
}

/// Stops a running replay; answers where it went.
pub(super) fn stop(conn: Conn, id: ReplayId) -> Result<Option<EndpointId>, StoreError> {
    end(conn, id, ReplayState::Cancelled)?;
    Ok(one(conn, id)?.filter(|replay| replay.state == ReplayState::Cancelled).map(|replay| replay.endpoint))
}

fn end(conn: Conn, id: ReplayId, state: ReplayState) -> Result<(), StoreError> {
    const END: &str =
        "UPDATE replay SET state = ?2, matched = CASE CAST(?2 AS BIGINT) WHEN 1 THEN opened ELSE matched END WHERE id = ?1 AND state = 0";
    conn.execute(END, params![id.get(), state as i64])?;
    Ok(())
}

/// Open runs of a replay that failed and wait for their retry; of so many it is enough to know that.
pub(super) fn waiting(conn: Conn, replay: &Replay, now: Timestamp) -> Result<usize, StoreError> {
    const WAITING: &str = "SELECT count(*) FROM (SELECT 1 AS one FROM open_delivery INDEXED BY open_delivery_replayed \
        WHERE endpoint = ?1 AND next_attempt_at > ?2 AND replay IS NOT NULL AND replay = ?3 LIMIT ?4) w";
    let values = params![replay.endpoint.get(), now.as_millis(), replay.id.get(), limits::REPLAY_WAITING_MAX];
    conn.one(WAITING, values, |row| row.get(0))
}

/// Opens a replay's next runs.
pub(super) fn step(conn: Conn, sealer: &Sealer, id: ReplayId, (now, deadline): (Timestamp, Duration)) -> Result<Stepped, StoreError> {
    let Some(replay) = one(conn, id)?.filter(|replay| replay.state == ReplayState::Running) else { return Ok(Stepped::Over) };
    let Some(endpoint) = endpoints::one(conn, sealer, replay.endpoint)?.filter(|endpoint| !endpoint.deleted) else {
        end(conn, id, ReplayState::Cancelled)?;
        return Ok(Stepped::Over);
    };
    if replay.next_sequence >= replay.end_sequence {
        if replay.done < replay.opened {
            return Ok(Stepped::Waits);
        }
        end(conn, id, ReplayState::Done)?;
        return Ok(Stepped::Over);
    }
    let waiting = waiting(conn, &replay, now)?;
    let under_way = (replay.opened.saturating_sub(replay.done) as usize).saturating_sub(waiting);
    if endpoint.status != EndpointStatus::Connected || under_way > limits::REPLAY_OPEN_MAX / 2 || waiting >= limits::REPLAY_WAITING_MAX {
        return Ok(Stepped::Waits);
    }
    let most = (limits::REPLAY_OPEN_MAX - under_way).min(limits::STEP_ROWS_MAX);
    let numbers = replay.next_sequence..replay.end_sequence;
    let scope = ReplayScope { endpoint: replay.endpoint, numbers, only: replay.only, event_types: replay.event_types };
    let (found, next) = Candidates::new(conn, &endpoint, &scope)?.take(conn, most)?;
    let opening = Opening { endpoint: replay.endpoint, replay: Some(id), now, deadline };
    open(conn, &found, opening)?;
    const MOVE: &str = "UPDATE replay SET next_sequence = ?2, opened = opened + ?3 WHERE id = ?1";
    conn.execute(MOVE, params![id.get(), next.unwrap_or(replay.end_sequence), found.len()])?;
    Ok(Stepped::On)
}

/// Opens first runs for events that an endpoint missed, from a number on; answers where to go on, none at the end.
pub(super) fn open_missed(
    conn: Conn,
    sealer: &Sealer,
    id: EndpointId,
    from: i64,
    (now, deadline): (Timestamp, Duration),
) -> Result<Option<i64>, StoreError> {
    let Some(endpoint) = endpoints::one(conn, sealer, id)?.filter(|endpoint| !endpoint.deleted) else { return Ok(None) };
    let scope = ReplayScope { endpoint: id, numbers: from..i64::MAX, only: Only::Missed, event_types: None };
    let (found, next) = Candidates::new(conn, &endpoint, &scope)?.take(conn, limits::STEP_ROWS_MAX)?;
    open(conn, &found, Opening { endpoint: id, replay: None, now, deadline })?;
    Ok(next)
}

/// How many events of a scope there are from a number on, in one bounded look, and where to go on.
pub(super) fn count(conn: Conn, sealer: &Sealer, scope: &ReplayScope) -> Result<(u64, Option<i64>), StoreError> {
    let Some(endpoint) = endpoints::one(conn, sealer, scope.endpoint)? else { return Ok((0, None)) };
    let (found, next) = Candidates::new(conn, &endpoint, scope)?.take(conn, limits::SCAN_MAX)?;
    Ok((found.len() as u64, next))
}

struct Opening {
    endpoint: EndpointId,
    replay: Option<ReplayId>,
    now: Timestamp,
    deadline: Duration,
}

fn open(conn: Conn, sequences: &[i64], opening: Opening) -> Result<(), StoreError> {
    let Opening { endpoint, replay, now, deadline } = opening;
    let Some(Place { pauses, .. }) = place(conn, endpoint)? else { return Ok(()) };
    const OPEN: &str = "INSERT INTO open_delivery (endpoint, sequence, run, deadline, next_attempt_at, replay) VALUES (?1, ?2, \
        1 + coalesce((SELECT max(run) FROM ended_delivery WHERE endpoint = ?1 AND sequence = ?2), 0), ?3, ?4, ?5)";
    let deadline = pauses.stored(now, now.plus(deadline));
    let due = replay.map(|_| now.as_millis());
    for sequence in sequences {
        conn.execute(OPEN, params![endpoint.get(), sequence, deadline, due, replay.map(ReplayId::get)])?;
    }
    Ok(())
}

/// Looks for the events of a scope.
struct Candidates<'a> {
    endpoint: &'a Endpoint,
    scope: &'a ReplayScope,
    end: i64,
    wanted: Wants,
    stretches: Vec<endpoints::Stretch>,
}

impl<'a> Candidates<'a> {
    fn new(conn: Conn, endpoint: &'a Endpoint, scope: &'a ReplayScope) -> Result<Self, StoreError> {
        const NEXT: &str = "SELECT next_sequence FROM stream WHERE id = ?1";
        let next: i64 = conn.one(NEXT, params![endpoint.stream.get()], |row| row.get(0))?;
        let stretches = if scope.only == Only::Missed { endpoints::stretches(conn, endpoint, next)? } else { Vec::new() };
        Ok(Self { endpoint, scope, end: scope.numbers.end.min(next), wanted: Wants::of(&endpoint.settings), stretches })
    }

    /// The first of them, and where to go on; none at the end. What is looked at is bounded too.
    fn take(&self, conn: Conn, most: usize) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        match self.scope.only {
            Only::Missed => self.missed(conn, most),
            Only::Failed => self.failed(conn, most),
            Only::All => {
                let numbers = self.scope.numbers.start..self.end;
                let matches = |event_type: &str| self.wanted.matches(event_type);
                self.scan(conn, numbers, most, matches)
            }
        }
    }

    fn missed(&self, conn: Conn, most: usize) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        let mut found = Vec::new();
        for stretch in &self.stretches {
            let numbers = stretch.numbers.start.max(self.scope.numbers.start)..stretch.numbers.end.min(self.end);
            let heard = |event_type: &str| stretch.heard.as_ref().is_some_and(|heard| heard.matches(event_type));
            let matches = |event_type: &str| self.wanted.matches(event_type) && !heard(event_type);
            let (more, next) = self.scan(conn, numbers, most - found.len(), matches)?;
            found.extend(more);
            if next.is_some() {
                return Ok((found, next));
            }
        }
        Ok((found, None))
    }

    /// Events of a range that `matches` wants and that have no run that stands in the way: no open one, and, of missed
    /// ones, none at all.
    fn scan(
        &self,
        conn: Conn,
        numbers: Range<i64>,
        most: usize,
        matches: impl Fn(&str) -> bool,
    ) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        const SCAN: &str = "SELECT e.sequence, e.type, \
            EXISTS (SELECT 1 FROM open_delivery o WHERE o.endpoint = ?4 AND o.sequence = e.sequence) \
            OR (?6 AND EXISTS (SELECT 1 FROM ended_delivery d WHERE d.endpoint = ?4 AND d.sequence = e.sequence)) \
            FROM event e WHERE e.stream = ?1 AND e.sequence >= ?2 AND e.sequence < ?3 ORDER BY e.sequence LIMIT ?5";
        if numbers.is_empty() {
            return Ok((Vec::new(), None));
        }
        let (endpoint, missed) = (self.endpoint, self.scope.only == Only::Missed);
        let values = params![endpoint.stream.get(), numbers.start, numbers.end, endpoint.id.get(), limits::SCAN_MAX, missed];
        self.choose(conn, (SCAN, values), most, matches)
    }

    /// Of rows with a number, a type, and whether something stands in the way, the numbers that are wanted.
    fn choose(
        &self,
        conn: Conn,
        (sql, values): (&str, &[&dyn Bind]),
        most: usize,
        matches: impl Fn(&str) -> bool,
    ) -> Result<(Vec<i64>, Option<i64>)> {
        let (mut found, mut count, mut next) = (Vec::new(), 0, None);
        conn.each(sql, values, |row| {
            let sequence: i64 = row.get(0)?;
            if found.len() == most {
                next = Some(sequence);
                return Ok(ControlFlow::Break(()));
            }
            count += 1;
            let event_type = row.text(1)?;
            if !row.get::<bool>(2)? && matches(event_type) && self.is_of_types(event_type) {
                found.push(sequence);
            }
            next = (count == limits::SCAN_MAX).then_some(sequence + 1);
            Ok(if next.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok((found, next))
    }

    fn is_of_types(&self, event_type: &str) -> bool {
        self.scope.event_types.as_ref().is_none_or(|types: &Filter| types.matches(event_type))
    }

    /// Deliveries that have ended, and never successfully. The union merges two walks through the index of those, so that
    /// the successful ones between them are not looked at.
    fn failed(&self, conn: Conn, most: usize) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        const UNLUCKY: &str = "SELECT u.sequence, e.type, \
            EXISTS (SELECT 1 FROM open_delivery o WHERE o.endpoint = ?1 AND o.sequence = u.sequence) \
            OR EXISTS (SELECT 1 FROM ended_delivery d WHERE d.endpoint = ?1 AND d.sequence = u.sequence AND d.state = 1) \
            OR EXISTS (SELECT 1 FROM attempt a WHERE a.endpoint = ?1 AND a.sequence = u.sequence AND a.outcome = 0) \
            FROM (SELECT * FROM (SELECT DISTINCT sequence FROM ended_delivery INDEXED BY ended_delivery_unlucky \
                      WHERE endpoint = ?1 AND state = 2 AND state <> 1 AND sequence >= ?2 AND sequence < ?3 ORDER BY sequence LIMIT ?5) x \
                  UNION SELECT * FROM (SELECT DISTINCT sequence FROM ended_delivery INDEXED BY ended_delivery_unlucky \
                      WHERE endpoint = ?1 AND state = 3 AND state <> 1 AND sequence >= ?2 AND sequence < ?3 ORDER BY sequence LIMIT ?5) c \
                  ORDER BY sequence LIMIT ?5) u \
            CROSS JOIN event e ON e.stream = ?4 AND e.sequence = u.sequence ORDER BY u.sequence";
        let (endpoint, stream) = (self.endpoint.id.get(), self.endpoint.stream.get());
        let values = params![endpoint, self.scope.numbers.start, self.end, stream, limits::SCAN_MAX];
        self.choose(conn, (UNLUCKY, values), most, |_| true)
    }
}
