//! Removing what is old, a bounded step at a time, and giving the room back to the file system.
//!
//! An event goes together with its deliveries and attempts, in the order of their numbers, and never while a run of it is
//! still open; those around it go all the same. The feed begins later then; its numbers stay as they are.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use super::conn::{Bind, Conn, Result, params};
use super::{ledger, overview, references};
use crate::clock::Ids;
use crate::domain::id::StreamId;
use crate::limits;
use crate::store::{Horizon, StoreError, SweepPlace, Swept, TimeRange};

/// One step of one stage.
type Step = fn(Broom, &Horizon, SweepPlace) -> Result<Swept, StoreError>;

/// In this order; `Swept::next` counts them.
const STAGES: [Step; 8] = [events, recharges, reports, conflicts, replays, endpoints, small_tables, free_pages];

/// What goes through a step.
#[derive(Clone, Copy)]
struct Broom<'a> {
    conn: Conn<'a>,
    /// It reads the rows, and leaves them where they are.
    only_looks: bool,
}

impl Broom<'_> {
    /// Rows of a step. Who looks goes further: a page that comes to be empty has its neighbours read and written, too.
    fn most(self) -> usize {
        match self.conn {
            Conn::Postgres(_) => limits::SWEEP_STEP_ROWS_BESIDE,
            Conn::Sqlite(..) if self.only_looks => 2 * limits::SWEEP_STEP_ROWS,
            Conn::Sqlite(..) => limits::SWEEP_STEP_ROWS,
        }
    }

    /// Removes these rows (`table WHERE …`), or reads all of them; answers how many they are.
    fn rows(self, these: &str, values: &[&dyn Bind]) -> Result<usize> {
        if self.only_looks {
            return self.conn.all(&format!("SELECT * FROM {these}"), values, |_| Ok(())).map(|rows| rows.len());
        }
        self.conn.execute(&format!("DELETE FROM {these}"), values)
    }
}

/// Reads what the step is going to remove: on the file, where that goes before the writer's step.
pub fn look(conn: Conn, horizon: &Horizon, place: SweepPlace) -> Result<()> {
    let broom = Broom { conn, only_looks: true };
    STAGES.get(place.stage as usize).map_or(Ok(()), |step| step(broom, horizon, place).map(drop))
}

pub fn sweep(conn: Conn, horizon: &Horizon, place: SweepPlace) -> Result<Swept, StoreError> {
    let Some(step) = STAGES.get(place.stage as usize) else { return Ok(Swept { removed: 0, next: None }) };
    let Swept { removed, next } = step(Broom { conn, only_looks: false }, horizon, place)?;
    let next = match next {
        Some(next) => Some(SweepPlace { stage: place.stage, ..next }),
        None => (place.stage as usize + 1 < STAGES.len()).then_some(SweepPlace { stage: place.stage + 1, ..SweepPlace::default() }),
    };
    Ok(Swept { removed, next })
}

fn on(removed: usize, after: i64) -> Swept {
    Swept { removed: removed as u64, next: Some(SweepPlace { after, ..SweepPlace::default() }) }
}

fn over(removed: usize) -> Swept {
    Swept { removed: removed as u64, next: None }
}

/// The oldest events of the next stream that has old ones, with all that belongs to them. Events that an open run refers to stay,
/// whatever is removed around them.
fn events(broom: Broom, horizon: &Horizon, place: SweepPlace) -> Result<Swept, StoreError> {
    const NEXT: &str = "SELECT s.id FROM stream s WHERE s.id > ?1 AND \
        (SELECT e.created_at FROM event e WHERE e.stream = s.id ORDER BY e.sequence LIMIT 1) < ?2 ORDER BY s.id LIMIT 1";
    let values = params![place.after, horizon.retention.as_millis()];
    let next = broom.conn.first(NEXT, values, |row| row.get::<i64>(0))?;
    let Some(stream) = next else { return Ok(over(0)) };
    let (again, further) = (|within| SweepPlace { after: stream - 1, within, ..place }, SweepPlace { after: stream, within: 0, ..place });
    let range = TimeRange { since: None, until: Some(horizon.retention) };
    let end = ledger::sequences(broom.conn, StreamId::new(stream), range)?.end;
    let Page { removable, reached } = page(broom, stream, place.within..end)?;
    for range in &removable {
        for table in ["attempt", "ended_delivery"] {
            let removed = of_endpoints(broom, stream, range.clone(), table)?;
            if removed > 0 {
                // The same events once more.
                return Ok(Swept { removed: removed as u64, next: Some(again(place.within)) });
            }
        }
    }
    let mut removed = 0;
    for Range { start, end } in &removable {
        removed += broom.rows("dedupe WHERE stream = ?1 AND sequence >= ?2 AND sequence < ?3", params![stream, start, end])?;
        removed += broom.rows("event WHERE stream = ?1 AND sequence >= ?2 AND sequence < ?3", params![stream, start, end])?;
    }
    if let Some(last) = removable.last().filter(|_| removed > 0 && !broom.only_looks) {
        begin_feed_at(broom.conn, stream, last.end)?;
    }
    Ok(Swept { removed: removed as u64, next: Some(if reached < end { again(reached) } else { further }) })
}

/// Old events of a stream, as many as a step looks at.
struct Page {
    /// The numbers between those that an open run keeps. What came back late for an event that is gone is within them, too.
    removable: Vec<Range<i64>>,
    /// The number up to which that is known.
    reached: i64,
}

fn page(broom: Broom, stream: i64, numbers: Range<i64>) -> Result<Page, StoreError> {
    const OLD: &str = "SELECT e.sequence, EXISTS (SELECT 1 FROM endpoint p CROSS JOIN open_delivery o ON o.endpoint = p.id AND o.sequence = e.sequence \
        WHERE p.stream = e.stream) FROM event e WHERE e.stream = ?1 AND e.sequence >= ?2 AND e.sequence < ?3 ORDER BY e.sequence LIMIT ?4";
    let (mut removable, mut count, mut seen, mut reached) = (Vec::new(), 0, 0, numbers.start);
    let mut from = numbers.start;
    broom.conn.each(OLD, params![stream, numbers.start, numbers.end, limits::SWEEP_SCAN], |row| {
        let (sequence, is_kept): (i64, bool) = (row.get(0)?, row.get(1)?);
        (seen, reached) = (seen + 1, sequence + 1);
        count += usize::from(!is_kept);
        if is_kept {
            removable.extend((from < sequence).then_some(from..sequence));
            from = sequence + 1;
        }
        Ok(if count < broom.most() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    // Where everything was looked at, that was all.
    if count < broom.most() && seen < limits::SWEEP_SCAN {
        reached = numbers.end;
    }
    removable.extend((from < reached).then_some(from..reached));
    Ok(Page { removable, reached })
}

/// Events before this number are not in the feed any more, even if some of them are still there.
fn begin_feed_at(conn: Conn, stream: i64, sequence: i64) -> Result<(), StoreError> {
    const BEFORE: &str = "SELECT 1 FROM event WHERE stream = ?1 AND sequence < ?2 LIMIT 1";
    const BEGIN: &str = "INSERT INTO feed_start (stream, sequence) VALUES (?1, ?2) \
        ON CONFLICT (stream) DO UPDATE SET sequence = excluded.sequence WHERE feed_start.sequence < excluded.sequence";
    if conn.exists(BEFORE, params![stream, sequence])? {
        conn.execute(BEGIN, params![stream, sequence])?;
    }
    Ok(())
}

/// Rows of this table, of the stream's endpoints, that belong to events of these numbers; as many as a step takes.
fn of_endpoints(broom: Broom, stream: i64, numbers: Range<i64>, table: &str) -> Result<usize, StoreError> {
    const FIRST: &str = "SELECT id FROM endpoint WHERE stream = ?1 ORDER BY id";
    let endpoints = broom.conn.all(FIRST, params![stream], |row| row.get::<i64>(0))?;
    // The key at which a step ends; whole events are removed, so that the boundary is a number.
    let within = "endpoint = ?1 AND sequence >= ?2 AND sequence < ?3";
    let boundary = format!("SELECT sequence FROM {table} WHERE {within} ORDER BY sequence LIMIT 1 OFFSET ?4");
    let first = format!("SELECT coalesce(min(sequence), 0) FROM {table} WHERE {within}");
    let these = format!("{table} WHERE {within}");
    let mut removed = 0;
    for endpoint in endpoints {
        let left = broom.most() - removed.min(broom.most());
        if left == 0 {
            break;
        }
        let reached: Option<i64> = broom.conn.first(&boundary, params![endpoint, numbers.start, numbers.end, left], |row| row.get(0))?;
        // One event with very many attempts is removed at once.
        let below = match reached {
            Some(reached) => {
                reached.max(broom.conn.one(&first, params![endpoint, numbers.start, numbers.end], |row| row.get::<i64>(0))? + 1)
            }
            None => numbers.end,
        };
        removed += broom.rows(&these, params![endpoint, numbers.start, below])?;
    }
    Ok(removed)
}

/// Settled recharges with their reports, where a retention for them is set. One with a case that waits for the operator
/// stays: without it the case could not be resolved any more.
fn recharges(broom: Broom, horizon: &Horizon, SweepPlace { after, .. }: SweepPlace) -> Result<Swept, StoreError> {
    let Some(before) = horizon.recharges else { return Ok(over(0)) };
    let floor = Ids::floor(before).get();
    const PAGE: &str = "SELECT count(*), max(id) FROM (SELECT id FROM recharge WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3) p";
    let values = params![after, floor, broom.most()];
    let (count, last): (usize, Option<i64>) = broom.conn.one(PAGE, values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(last) = last else { return Ok(over(0)) };
    const GOES: &str = "id > ?1 AND id <= ?2 AND status <> 0 AND NOT EXISTS \
        (SELECT 1 FROM conflict c WHERE c.recharge = recharge.id AND c.state = 0)";
    if let Conn::Postgres(_) = broom.conn {
        // None of them is reported about meanwhile.
        broom.conn.execute(&format!("SELECT FROM recharge WHERE {GOES} ORDER BY id FOR UPDATE"), params![after, last])?;
    }
    let mut removed = broom.rows(&format!("report WHERE recharge IN (SELECT id FROM recharge WHERE {GOES})"), params![after, last])?;
    broom.rows(&format!("submission WHERE recharge IN (SELECT id FROM recharge WHERE {GOES})"), params![after, last])?;
    if let Conn::Sqlite(_, references) = broom.conn {
        broom.rows(&format!("{} WHERE {GOES})", references::OF_RECHARGES), params![after, last])?;
        if !broom.only_looks {
            references.swept(last);
        }
    }
    let verb = if broom.only_looks { "SELECT stream, status, * FROM" } else { "DELETE FROM" };
    let returning = if broom.only_looks { "" } else { " RETURNING stream, status" };
    let mut sums = BTreeMap::<(i64, usize), i64>::new();
    broom.conn.all(&format!("{verb} recharge WHERE {GOES}{returning}"), params![after, last], |row| {
        *sums.entry((row.get(0)?, row.get(1)?)).or_default() += 1;
        Ok(())
    })?;
    removed += sums.values().sum::<i64>() as usize;
    // Counter rows last: others wait for them.
    for ((stream, status), count) in sums.into_iter().filter(|_| !broom.only_looks) {
        let column = ["queued", "success", "failed", "reversed"][status];
        broom.conn.later(&format!("UPDATE stream SET {column} = {column} - ?2 WHERE id = ?1"), params![stream, count])?;
    }
    Ok(if count < broom.most() { over(removed) } else { on(removed, last) })
}

fn reports(broom: Broom, horizon: &Horizon, SweepPlace { after, .. }: SweepPlace) -> Result<Swept, StoreError> {
    let before = horizon.retention;
    let floor = Ids::floor(before).get();
    const PAGE: &str = "SELECT count(*), max(recharge) FROM (SELECT recharge FROM report WHERE recharge > ?1 AND recharge < ?2 ORDER BY recharge LIMIT ?3) p";
    let values = params![after, floor, broom.most()];
    let (count, last): (usize, Option<i64>) = broom.conn.one(PAGE, values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(last) = last else { return Ok(over(0)) };
    const OLD: &str = "report WHERE recharge > ?1 AND recharge <= ?2 AND received_at < ?3";
    let removed = broom.rows(OLD, params![after, last, before.as_millis()])?;
    Ok(if count < broom.most() { over(removed) } else { on(removed, last) })
}

fn conflicts(broom: Broom, horizon: &Horizon, SweepPlace { after, .. }: SweepPlace) -> Result<Swept, StoreError> {
    const OLD: &str = "conflict WHERE id IN \
        (SELECT id FROM conflict WHERE id > ?1 AND id < ?2 AND state <> 0 AND resolved_at < ?3 ORDER BY id LIMIT ?4)";
    let retention = horizon.retention;
    let values = params![after, Ids::floor(retention).get(), retention.as_millis(), broom.most()];
    let removed = broom.rows(OLD, values)?;
    Ok(if removed < broom.most() { over(removed) } else { on(removed, after) })
}

fn replays(broom: Broom, horizon: &Horizon, SweepPlace { after, .. }: SweepPlace) -> Result<Swept, StoreError> {
    const OLD: &str = "replay WHERE id IN (SELECT id FROM replay WHERE id > ?1 AND id < ?2 AND state <> 0 ORDER BY id LIMIT ?3)";
    let values = params![after, Ids::floor(horizon.retention).get(), broom.most()];
    let removed = broom.rows(OLD, values)?;
    Ok(if removed < broom.most() { over(removed) } else { on(removed, after) })
}

/// Endpoints that were deleted long ago, once nothing of theirs is left.
fn endpoints(broom: Broom, horizon: &Horizon, SweepPlace { after, .. }: SweepPlace) -> Result<Swept, StoreError> {
    const GONE: &str = "SELECT id FROM endpoint e WHERE e.id > ?1 AND e.deleted_at < ?2 \
        AND NOT EXISTS (SELECT 1 FROM open_delivery o WHERE o.endpoint = e.id) \
        AND NOT EXISTS (SELECT 1 FROM ended_delivery d WHERE d.endpoint = e.id) \
        AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.endpoint = e.id) ORDER BY e.id LIMIT ?3";
    let values = params![after, horizon.retention.as_millis(), broom.most()];
    let gone = broom.conn.all(GONE, values, |row| row.get(0))?;
    for id in &gone {
        broom.rows("listening WHERE endpoint = ?1", params![id])?;
        // An attempt may have failed after the deletion.
        broom.rows("health WHERE endpoint = ?1", params![id])?;
        broom.rows("endpoint WHERE id = ?1", params![id])?;
    }
    Ok(match gone.last() {
        Some(last) if gone.len() == broom.most() => on(gone.len(), *last),
        _ => over(gone.len()),
    })
}

/// Tables whose rows are few, or are removed by their age alone.
fn small_tables(broom: Broom, horizon: &Horizon, _: SweepPlace) -> Result<Swept, StoreError> {
    let most = broom.most();
    let Horizon { retention, audit, answers, traffic, .. } = horizon;
    let mut removed = 0;
    for (these, before) in [
        (
            "kept_answer WHERE (token, path, key) IN (SELECT token, path, key FROM kept_answer WHERE kept_at < ?1 LIMIT ?2)",
            answers.as_millis(),
        ),
        ("audit WHERE id IN (SELECT id FROM audit WHERE id < ?1 ORDER BY id LIMIT ?2)", Ids::floor(*audit).get()),
        (
            "traffic WHERE (minute, node) IN (SELECT minute, node FROM traffic WHERE minute < ?1 LIMIT ?2)",
            traffic.as_millis().div_euclid(60_000),
        ),
        ("alert WHERE id IN (SELECT id FROM alert WHERE id < ?1 ORDER BY id LIMIT ?2)", Ids::floor(*retention).get()),
        ("callback WHERE id IN (SELECT id FROM callback WHERE id < ?1 ORDER BY id LIMIT ?2)", Ids::floor(*retention).get()),
        ("session WHERE id IN (SELECT id FROM session WHERE expires_at < ?1 LIMIT ?2)", answers.as_millis()),
        ("link WHERE id IN (SELECT id FROM link WHERE expires_at < ?1 LIMIT ?2)", answers.as_millis()),
        ("device WHERE id IN (SELECT id FROM device WHERE expires_at < ?1 LIMIT ?2)", answers.as_millis()),
        ("tally WHERE (stream, hour) IN (SELECT stream, hour FROM tally WHERE hour < ?1 LIMIT ?2)", overview::hour(*retention)),
    ] {
        removed += broom.rows(these, params![before, most])?;
    }
    Ok(if removed > 0 { on(removed, 0) } else { over(0) })
}

/// Gives pages that are free back to the file system. They are not rows, so that they do not count as removed. A file that
/// was made by other means (from a dump) may give nothing back; it keeps its free pages for what comes next.
fn free_pages(broom: Broom, _: &Horizon, _: SweepPlace) -> Result<Swept, StoreError> {
    let (Conn::Sqlite(conn, _), false) = (broom.conn, broom.only_looks) else { return Ok(over(0)) };
    let free = || conn.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0));
    let before = free()?;
    if before <= limits::FREE_PAGES_KEPT {
        return Ok(over(0));
    }
    let pages = (before - limits::FREE_PAGES_KEPT).min(limits::SWEEP_STEP_PAGES);
    let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(if free()? < before { on(0, 0) } else { over(0) })
}
