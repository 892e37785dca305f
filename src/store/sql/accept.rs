//! A batch of writes as one transaction: reports judged, events numbered, deliveries made, outcomes recorded.
//!
//! A stream's counter row is read once for a batch, raised in memory, and written back before the commit. On the file the
//! single writing thread makes that safe: nobody else can take a number meanwhile. On PostgreSQL other nodes can, so that it
//! is written back only as it was read ([`Conn::write_over`]), and the batch is run again, with the row locked from the
//! beginning, where somebody was faster.

mod counters;
mod minutes;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::conn::{Conn, Row, params};
use super::erase::Lately;
use super::optimistic::{Known, OptimisticCache};
use super::overview::Minute;
use super::prefetch::Prefetched;
use super::{Advance, Memory, health, overview, references, rows, settle};
use crate::clock::{Ids, Stopwatch};
use crate::domain::alert::{Alert, Opened};
use crate::domain::delivery::RunKey;
use crate::domain::event::{Event, Facts};
use crate::domain::id::{ConflictId, EndpointId, EventId, StreamId};
use crate::domain::recharge::{self, Fresh, Judgement, Recharge, Status, Verdict};
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;
use crate::domain::vendor::Mode;
use crate::limits;
use crate::store::seal::Sealer;
use crate::store::{Accept, Addressed, Judged, OpenRun, Publish, Published, StoreError, Write, Written};

/// Reports of one recharge that are kept in its history; of more, only the one that settles it is.
const REPORTS_KEPT: u32 = 1000;
pub(super) const TRANSACTION_IDS: &str = "next transaction_id";
pub(super) const FIRST_TRANSACTION_ID: i64 = 100_001;

/// An endpoint that listens, as far as the fan-out needs to know it.
pub(super) struct Subscriber {
    pub endpoint: EndpointId,
    pub wants: rows::Wants,
    pub pauses: rows::Pauses,
}

/// A stream's counter row while a batch holds it.
struct Counter {
    known: Known,
    subscribers: Arc<[Subscriber]>,
    raised: bool,
    /// Its number as it was read, where others may have changed the row since.
    unlocked: Option<i64>,
    /// Recharges that came to a status, less those that left it.
    moved: [i64; 4],
}

/// A batch of writes in its transaction.
pub(super) struct Batch<'a> {
    pub conn: Conn<'a>,
    pub ids: &'a Ids,
    pub sealer: &'a Sealer,
    cache: &'a mut HashMap<StreamId, (i64, Arc<[Subscriber]>)>,
    pub failing: &'a mut HashSet<EndpointId>,
    /// Those that were noted to fail.
    pub noted: HashSet<EndpointId>,
    pub erased: &'a Lately,
    counters: BTreeMap<StreamId, Counter>,
    /// The next one, on the file.
    transaction_id: Option<i64>,
    /// Those in stock, on PostgreSQL.
    pub transaction_ids: &'a mut VecDeque<i64>,
    traffic: BTreeMap<i64, Traffic>,
    minutes: &'a mut BTreeMap<i64, Minute>,
    /// As whom it counts in them.
    counts_as: i64,
    /// The hour in which recharges move.
    pub hour: i64,
    pub guesses: &'a mut OptimisticCache,
    pub ahead: Prefetched,
    pub advance: Cell<Advance>,
}

/// Who gets an event.
pub(super) enum Audience {
    /// Those whose filter wants it.
    Filtered,
    /// All who listen, whatever their filter.
    All,
}

/// An event to append.
pub(super) struct Emission<'a> {
    pub stream: StreamId,
    pub mode: Mode,
    pub event_type: &'a Arc<str>,
    pub facts: Facts,
    pub now: Timestamp,
    pub deadline: Duration,
    pub audience: Audience,
}

/// A report on its way into a recharge's history.
pub(super) struct History<'a> {
    pub before: &'a Recharge,
    /// Who made the first report.
    pub first_source: &'a str,
    /// Who made this one.
    pub source: &'a str,
    pub report: &'a recharge::Report,
    pub now: Timestamp,
}

/// Writes `writes` into the transaction.
pub(super) fn commit(
    conn: Conn,
    memory: &mut Memory,
    (ids, sealer): (&Ids, &Sealer),
    writes: &[Write],
) -> Result<Vec<Written>, StoreError> {
    let Memory { subscribers, failing, erased, transaction_ids, minutes, writer, guesses, advance } = memory;
    // Other nodes may have written to it since.
    let is_known = |known: &Stopwatch| matches!(conn, Conn::Sqlite(..)) || known.elapsed() < limits::HEALTH_KNOWN_FOR;
    let (failing, _) = match failing {
        Some((_, since)) if is_known(since) => failing.as_mut().expect("it is known"),
        unknown => unknown.insert((health::known(conn)?, Stopwatch::start())),
    };
    erased.forget();
    let mut batch = Batch {
        conn,
        ids,
        sealer,
        cache: subscribers,
        failing,
        noted: HashSet::new(),
        erased,
        counters: BTreeMap::new(),
        transaction_id: None,
        transaction_ids,
        traffic: BTreeMap::new(),
        minutes,
        counts_as: overview::counter(ids.node(), *writer),
        hour: 0,
        guesses,
        ahead: Prefetched::default(),
        advance: Cell::default(),
    };
    let mut written = Vec::with_capacity(writes.len());
    let is_change = |write: &Write| matches!(write, Write::Change(_));
    batch.guesses.begin(matches!(conn, Conn::Sqlite(..)) || writes.iter().any(is_change));
    for part in writes.chunk_by(|one, next| is_change(one) == is_change(next)) {
        if !is_change(&part[0]) {
            batch.prefetch(part)?;
        }
        for write in part {
            written.push(batch.write(write)?);
        }
    }
    batch.write_counters()?;
    batch.write_traffic()?;
    *advance = batch.advance.get();
    if let Conn::Sqlite(conn, references) = conn {
        references.write_some(conn)?;
    }
    Ok(written)
}

impl Batch<'_> {
    fn write(&mut self, write: &Write) -> Result<Written, StoreError> {
        match write {
            Write::Accept(accept) => self.accept(accept),
            Write::Publish(publish) => self.publish(publish).map(|(published, opened)| Written::Published(published, opened)),
            Write::RecordOutcome(outcome) => settle::settle(self, outcome).map(Written::Settled),
            Write::Change(change) => self.change(change),
        }
    }

    pub fn accept(&mut self, accept: &Accept) -> Result<Written, StoreError> {
        let mut opened = Vec::new();
        let mut answers = Vec::with_capacity(accept.reports.len());
        self.hour = overview::hour(accept.now);
        self.traffic(accept.now).accepted += accept.reports.len() as u64;
        for addressed in &accept.reports {
            answers.push(self.report(accept, addressed, &mut opened)?);
        }
        Ok(Written::Accepted(answers, opened))
    }

    fn report(&mut self, accept: &Accept, addressed: &Addressed, opened: &mut Vec<OpenRun>) -> Result<Judged, StoreError> {
        let Addressed { stream, mode, report } = addressed;
        let before = self.find(*stream, &report.reference_no)?;
        self.guesses.learn(report.status, before.is_none());
        let transaction_id = if before.is_none() { self.next_transaction_id()? } else { 0 };
        let fresh = || Fresh { id: self.ids.next(accept.now).into(), transaction_id, stream: *stream };
        let mut state = before.clone().map(|(recharge, _)| recharge);
        let judgement = recharge::apply(&mut state, report, accept.now, fresh);
        let mut recharge = state.expect("a judged report has a recharge");
        self.moved(*stream, before.as_ref().map(|(before, _)| before.status), recharge.status)?;
        if judgement.settled {
            recharge.event = Some(self.emit_settled(*mode, &recharge, (accept.now, accept.deadline), opened)?);
        }
        match before {
            None => {
                self.insert(&recharge, accept.source)?;
                self.ahead.note(&recharge, accept.source);
            }
            Some((before, source)) => {
                let history = History { before: &before, first_source: &source, source: accept.source, report, now: accept.now };
                self.update(&recharge, &history, &judgement)?;
                self.ahead.note(&recharge, &source);
            }
        }
        let event = recharge.event.filter(|_| judgement.verdict != Verdict::Conflict);
        Ok(Judged { recharge: recharge.id, status: recharge.status, verdict: judgement.verdict, event })
    }

    fn find(&self, stream: StreamId, reference_no: &str) -> Result<Option<(Recharge, String)>, StoreError> {
        if let Some(known) = self.ahead.recharge(stream, reference_no) {
            return Ok(known.clone());
        }
        references::recharge(self.conn, stream, reference_no)
    }

    fn insert(&self, recharge: &Recharge, source: &str) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO recharge (id, stream, reference_no, transaction_id, status, late, amount, currency, network, \
            connection_no, provider, provider_ref, reason, occurred_at, settled_at, event, reports, source) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
        let details = &recharge.details;
        self.conn.insert(
            INSERT,
            params![
                recharge.id.get(),
                recharge.stream.get(),
                recharge.reference_no,
                recharge.transaction_id,
                recharge.status as i64,
                recharge.late,
                details.amount,
                details.currency.map(|currency| currency.code()),
                details.network,
                details.connection_no,
                details.provider,
                details.provider_ref,
                details.reason,
                recharge.occurred_at.map(Timestamp::as_millis),
                recharge.settled_at.map(Timestamp::as_millis),
                recharge.event,
                recharge.reports,
                source,
            ],
        )?;
        if let Conn::Sqlite(_, references) = self.conn {
            references.add((references::hash(recharge.stream, &recharge.reference_no), recharge.id.get()));
        }
        Ok(())
    }

    /// Writes a recharge that was judged, with the report in its history and the cases that it opened.
    pub fn update(&self, after: &Recharge, history: &History, judgement: &Judgement) -> Result<(), StoreError> {
        let History { before, first_source, source, report, now } = history;
        if before.reports == 1 {
            // From now on the row is not the first report any more, so that one moves to the history.
            let first = recharge::Report {
                reference_no: String::new(),
                status: before.status,
                details: before.details.clone(),
                occurred_at: before.occurred_at,
            };
            self.keep_report(before, 1, first_source, &first, Verdict::Created, before.created_at)?;
        }
        if after.reports <= REPORTS_KEPT || judgement.verdict == Verdict::Accepted {
            self.keep_report(before, after.reports, source, report, judgement.verdict, *now)?;
        }
        for found in &judgement.contradictions {
            const OPEN: &str = "INSERT INTO conflict (id, recharge, claimed, field, ours, theirs, source, received_at) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (recharge, claimed, field) DO NOTHING";
            let id = ConflictId::from(self.ids.next(*now));
            let values =
                params![id.get(), after.id.get(), report.status as i64, found.field, found.ours, found.theirs, source, now.as_millis()];
            if self.conn.execute(OPEN, values)? == 1 {
                let opened = Opened { id, found, source, at: *now };
                health::alert_about(self, after, |of| Alert::conflict(of, opened), *now)?;
            }
        }
        self.write_recharge(after)
    }

    /// Writes what can change of a recharge.
    pub fn write_recharge(&self, after: &Recharge) -> Result<(), StoreError> {
        const UPDATE: &str = "UPDATE recharge SET status = ?2, amount = ?3, currency = ?4, network = ?5, connection_no = ?6, provider = ?7, \
            provider_ref = ?8, reason = ?9, settled_at = ?10, event = ?11, reports = ?12, late = ?13 WHERE id = ?1";
        let details = &after.details;
        self.conn.later(
            UPDATE,
            params![
                after.id.get(),
                after.status as i64,
                details.amount,
                details.currency.map(|currency| currency.code()),
                details.network,
                details.connection_no,
                details.provider,
                details.provider_ref,
                details.reason,
                after.settled_at.map(Timestamp::as_millis),
                after.event,
                after.reports,
                after.late,
            ],
        )?;
        Ok(())
    }

    fn keep_report(
        &self,
        recharge: &Recharge,
        number: u32,
        source: &str,
        report: &recharge::Report,
        verdict: Verdict,
        received_at: Timestamp,
    ) -> Result<(), StoreError> {
        const KEEP: &str = "INSERT INTO report (recharge, number, source, status, verdict, provider_ref, reason, occurred_at, received_at) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        self.conn.insert(
            KEEP,
            params![
                recharge.id.get(),
                number,
                source,
                report.status as i64,
                verdict as i64,
                report.details.provider_ref,
                report.details.reason,
                report.occurred_at.map(Timestamp::as_millis),
                received_at.as_millis(),
            ],
        )?;
        Ok(())
    }

    /// Appends an event of the platform's own, unless its key was seen before.
    pub fn publish(&mut self, publish: &Publish) -> Result<(Published, Vec<OpenRun>), StoreError> {
        self.traffic(publish.now).accepted += 1;
        let key = publish.dedupe_key.as_deref();
        if let Some(first) = key.map(|key| self.published(publish.stream, key)).transpose()?.flatten() {
            return Ok((first, Vec::new()));
        }
        let mut opened = Vec::new();
        let emission = Emission {
            stream: publish.stream,
            mode: publish.mode,
            event_type: &publish.event_type,
            facts: Facts::Given(publish.data.clone()),
            now: publish.now,
            deadline: publish.deadline,
            audience: Audience::Filtered,
        };
        let sequence = self.emit(emission, &mut opened)?;
        let deliveries = opened.len() as u64;
        if let Some(key) = key {
            const KEEP: &str = "INSERT INTO dedupe (stream, key, sequence, deliveries) VALUES (?1, ?2, ?3, ?4)";
            self.conn.insert(KEEP, params![publish.stream.get(), key, sequence, deliveries])?;
            self.ahead.note_published(publish.stream, key, Published { sequence, deliveries });
        }
        Ok((Published { sequence, deliveries }, opened))
    }

    /// The event that was posted with this key.
    fn published(&self, stream: StreamId, key: &str) -> Result<Option<Published>, StoreError> {
        if let Some(known) = self.ahead.published(stream, key) {
            return Ok(known);
        }
        const FIND: &str = "SELECT sequence, deliveries FROM dedupe WHERE stream = ?1 AND key = ?2";
        let read = |row: &Row| Ok(Published { sequence: row.get(0)?, deliveries: row.get(1)? });
        self.conn.first(FIND, params![stream.get(), key], read)
    }

    /// Appends the event that tells of a recharge's present status.
    pub fn emit_settled(
        &mut self,
        mode: Mode,
        recharge: &Recharge,
        (now, deadline): (Timestamp, Duration),
        opened: &mut Vec<OpenRun>,
    ) -> Result<i64, StoreError> {
        let event_type = recharge.status.event_type().expect("a settled status has an event");
        let facts = Facts::Recharge(Box::new(recharge.facts()));
        let (stream, audience) = (recharge.stream, Audience::Filtered);
        self.emit(Emission { stream, mode, event_type: &event_type.into(), facts, now, deadline, audience }, opened)
    }

    /// Appends an event under the stream's counter and opens a run for each endpoint that listens to it.
    pub fn emit(&mut self, emission: Emission, opened: &mut Vec<OpenRun>) -> Result<i64, StoreError> {
        let Emission { stream, mode, event_type, facts, now, deadline, audience } = emission;
        let counter = self.counter(stream)?;
        let sequence = counter.known.next;
        // A stream's times never go back, so that a time range is a range of numbers.
        let created_at = Timestamp::from_millis(now.as_millis().max(counter.known.last_event_at));
        counter.known.next += 1;
        counter.known.last_event_at = created_at.as_millis();
        counter.raised = true;
        let subscribers = Arc::clone(&counter.subscribers);
        self.advance.update(|advance| Advance { events: advance.events + 1, ..advance });
        let id = EventId { stream, sequence };
        let event = Arc::new(Event { id, mode, event_type: Arc::clone(event_type), created_at, facts, numbered: true });
        const APPEND: &str = "INSERT INTO event (stream, sequence, type, created_at, facts) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![stream.get(), sequence, &**event_type, created_at.as_millis(), event.stored_facts()];
        self.conn.insert(APPEND, values)?;
        const OPEN: &str = "INSERT INTO open_delivery (endpoint, sequence, run, deadline) VALUES (?1, ?2, ?3, ?4)";
        let deadline = created_at.plus(deadline);
        let heard = |subscriber: &&Subscriber| matches!(audience, Audience::All) || subscriber.wants.matches(event_type);
        for Subscriber { endpoint, pauses, .. } in subscribers.iter().filter(heard) {
            let stored = pauses.stored(created_at, deadline);
            self.conn.insert(OPEN, params![endpoint.get(), sequence, 1_u32, stored])?;
            let (key, deadline) = (RunKey { endpoint: *endpoint, sequence, run: 1 }, pauses.deadline(stored));
            let (event, next_attempt_at) = (Arc::clone(&event), None);
            opened.push(OpenRun { key, event, attempts: 0, deadline, next_attempt_at, failed_since: None, replay: None });
        }
        Ok(sequence)
    }

    /// Counts a recharge's move from one status to another.
    pub fn moved(&mut self, stream: StreamId, from: Option<Status>, to: Status) -> Result<(), StoreError> {
        if from != Some(to) {
            let moved = &mut self.counter(stream)?.moved;
            moved[to as usize] += 1;
            from.into_iter().for_each(|from| moved[from as usize] -= 1);
        }
        Ok(())
    }

    fn counter(&mut self, stream: StreamId) -> Result<&mut Counter, StoreError> {
        if !self.counters.contains_key(&stream) {
            const READ: &str = "SELECT next_sequence, endpoints_version, last_event_at FROM stream WHERE id = ?1 /*FOR UPDATE*/";
            let known = self.conn.one(READ, params![stream.get()], Known::read)?;
            self.hold(stream, known, true)?;
        }
        Ok(self.counters.get_mut(&stream).expect("it is held"))
    }

    /// Keeps a counter row that was read, locked or not.
    pub fn hold(&mut self, stream: StreamId, known: Known, is_locked: bool) -> Result<(), StoreError> {
        let Known { next, version, .. } = known;
        let subscribers = match self.cache.get(&stream) {
            Some((known, subscribers)) if *known == version => Arc::clone(subscribers),
            _ => {
                let subscribers = rows::subscribers(self.conn, stream)?;
                self.cache.insert(stream, (version, Arc::clone(&subscribers)));
                subscribers
            }
        };
        if !is_locked {
            self.guesses.trust();
            const AS_READ: &str = "SELECT 1 / count(*) FROM \
                (SELECT 1 FROM stream WHERE id = ?1 AND next_sequence = ?2 AND endpoints_version = ?3 /*FOR UPDATE*/) s";
            self.conn.guard(AS_READ, params![stream.get(), next, version])?;
        }
        let unlocked = (!is_locked).then_some(next);
        self.counters.insert(stream, Counter { known, subscribers, raised: false, unlocked, moved: [0; 4] });
        Ok(())
    }
}
