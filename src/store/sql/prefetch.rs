//! What a batch is going to need, asked for all at once, where each question would be a way to the database and back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::accept::Batch;
use super::conn::{Conn, Keys, Result, Row};
use super::ledger::{read_recharge, recharge_columns};
use super::optimistic::{Known, OptimisticCache};
use super::settle::{self, Closed};
use crate::domain::delivery::RunKey;
use crate::domain::id::{EndpointId, StreamId};
use crate::domain::recharge::{Recharge, Status};
use crate::domain::shard::Shard;
use crate::limits;
use crate::store::{NextStep, Published, RecordOutcome, Write};

/// What has been asked for.
#[derive(Default)]
pub(super) struct Prefetched {
    /// Recharges by their references, with who reported them first; none where there is none.
    recharges: HashMap<StreamId, HashMap<String, Option<(Recharge, String)>>>,
    /// Events by the keys that they were posted with; none where there is none.
    published: HashMap<StreamId, HashMap<String, Option<Published>>>,
    /// Runs that were open, and that the batch ends.
    pub closed: HashMap<RunKey, Closed>,
    /// Epochs of shards, locked, so that none gets another owner before the commit.
    epochs: HashMap<Shard, i64>,
}

impl Prefetched {
    /// The recharge with this reference, if it was asked for.
    pub fn recharge(&self, stream: StreamId, reference_no: &str) -> Option<&Option<(Recharge, String)>> {
        self.recharges.get(&stream)?.get(reference_no)
    }

    /// The event that was posted with this key, if it was asked for.
    pub fn published(&self, stream: StreamId, key: &str) -> Option<Option<Published>> {
        self.published.get(&stream)?.get(key).copied()
    }

    /// An event is posted with this key now.
    pub fn note_published(&mut self, stream: StreamId, key: &str, published: Published) {
        if let Some(known) = self.published.get_mut(&stream).and_then(|of_stream| of_stream.get_mut(key)) {
            *known = Some(published);
        }
    }

    /// Whether whoever decided this owned the endpoint's shard, and still does.
    pub fn stands(&self, settle: &RecordOutcome) -> bool {
        self.epochs.get(&Shard::of(settle.key.endpoint)).is_none_or(|epoch| *epoch == settle.epoch)
    }

    /// A recharge is as the batch leaves it now.
    pub fn note(&mut self, recharge: &Recharge, source: &str) {
        if let Some(known) = self.recharges.get_mut(&recharge.stream).and_then(|of_stream| of_stream.get_mut(&recharge.reference_no)) {
            *known = Some((recharge.clone(), source.to_owned()));
        }
    }
}

impl Batch<'_> {
    /// Asks for what these writes need, and is not guessed. They hold no change, which could make the answers untrue.
    pub fn prefetch(&mut self, writes: &[Write]) -> Result<()> {
        let Conn::Postgres(tx) = self.conn else { return Ok(()) };
        // What the changes before these writes have raised is going to be read again.
        self.write_counters()?;
        self.know_minutes(writes)?;
        let mut wanted = Wanted::of(writes);
        let guessed = wanted.guess(self.guesses);
        let [epochs, recharges, published, closed, numbers, streams]: [Vec<_>; 6] = tx
            .many(&wanted.questions(self.transaction_ids.len(), self.guesses.locks_counters()))?
            .try_into()
            .expect("each question has an answer");
        self.ahead = Prefetched::default();
        for row in &epochs {
            let row = Row::Postgres(row);
            self.ahead.epochs.extend(Shard::numbered(row.get(0)?).zip(Some(row.get(1)?)));
        }
        for (stream, reference_no) in wanted.recharges.into_keys().chain(guessed.recharges) {
            self.ahead.recharges.entry(stream).or_default().insert(reference_no.to_owned(), None);
        }
        for row in &recharges {
            let row = Row::Postgres(row);
            self.ahead.note(&read_recharge(&row)?, row.text("source")?);
        }
        for (stream, key) in wanted.published {
            self.ahead.published.entry(stream).or_default().insert(key.to_owned(), None);
        }
        for row in &published {
            let row = Row::Postgres(row);
            let published = Published { sequence: row.get(2)?, deliveries: row.get(3)? };
            self.ahead.note_published(StreamId::new(row.get(0)?), row.text(1)?, published);
        }
        for row in &closed {
            let row = Row::Postgres(row);
            let key = RunKey { endpoint: EndpointId::new(row.get(0)?), sequence: row.get(1)?, run: row.get(2)? };
            self.ahead.closed.insert(key, Closed { failed_since: row.get(3)? });
        }
        for row in &numbers {
            self.transaction_ids.push_back(Row::Postgres(row).get(0)?);
        }
        for row in &streams {
            let row = Row::Postgres(row);
            let (stream, known) = (StreamId::new(row.get(0)?), Known::read(&row)?);
            self.guesses.check(stream, &known);
            self.hold(stream, known, self.guesses.locks_counters())?;
        }
        for (stream, known) in guessed.streams {
            self.hold(stream, known, false)?;
        }
        for run in guessed.closed {
            settle::claim(self.conn, run)?;
            self.ahead.closed.insert(run, Closed { failed_since: None });
        }
        Ok(())
    }
}

/// What some writes need.
#[derive(Default)]
struct Wanted<'a> {
    /// Numbers for recharges that may be new.
    numbers: usize,
    /// With what is reported of them.
    recharges: BTreeMap<(StreamId, &'a str), Status>,
    published: BTreeSet<(StreamId, &'a str)>,
    epochs: BTreeSet<Shard>,
    closed: Vec<Closing>,
    streams: BTreeSet<StreamId>,
}

/// A run that ends.
struct Closing {
    key: RunKey,
    /// In which its end was decided, where that counts.
    epoch: Option<i64>,
    /// It succeeded at its first attempt.
    at_once: bool,
}

/// What of it is taken as given.
struct Guessed<'a> {
    recharges: Vec<(StreamId, &'a str)>,
    closed: Vec<RunKey>,
    streams: BTreeMap<StreamId, Known>,
}

impl<'a> Wanted<'a> {
    fn of(writes: &'a [Write]) -> Self {
        let mut wanted = Self::default();
        // A run that is tried again and ends in the same batch is looked at in its turn.
        let mut again = HashSet::new();
        for write in writes {
            match write {
                Write::Accept(accept) => {
                    let references = accept.reports.iter().map(|of| ((of.stream, of.report.reference_no.as_str()), of.report.status));
                    wanted.recharges.extend(references);
                    wanted.streams.extend(accept.reports.iter().map(|of| of.stream));
                }
                Write::Publish(publish) => {
                    wanted.published.extend(publish.dedupe_key.as_deref().map(|key| (publish.stream, key)));
                    wanted.streams.insert(publish.stream);
                }
                Write::RecordOutcome(settle) => {
                    let epoch = (!settle.is_fact()).then_some(settle.epoch);
                    wanted.epochs.extend(epoch.map(|_| Shard::of(settle.key.endpoint)));
                    match settle.after {
                        NextStep::Ended(..) => {
                            let at_once = epoch.is_none() && settle.attempts == 1;
                            wanted.closed.push(Closing { key: settle.key, epoch, at_once });
                        }
                        NextStep::Retry { .. } => drop(again.insert(settle.key)),
                    }
                }
                Write::Change(_) => {}
            }
        }
        wanted.closed.retain(|closing| !again.contains(&closing.key));
        wanted.numbers = wanted.recharges.len();
        wanted
    }

    /// Takes out what can be guessed.
    fn guess(&mut self, guesses: &mut OptimisticCache) -> Guessed<'a> {
        let recharges = self.recharges.extract_if(.., |_, status| guesses.is_new(*status, self.numbers)).map(|(key, _)| key).collect();
        let closed = self.closed.extract_if(.., |closing| closing.at_once && guesses.is_open()).map(|closing| closing.key).collect();
        let streams: BTreeMap<_, _> = self.streams.iter().filter_map(|stream| Some((*stream, guesses.counter(*stream)?))).collect();
        self.streams.retain(|stream| !streams.contains_key(stream));
        Guessed { recharges, closed, streams }
    }

    /// Rows are locked in the order of their keys, so that two nodes do not wait for each other: shards first, and the counter
    /// rows, for which others wait, last.
    fn questions(&self, numbers_in_stock: usize, locks_counters: bool) -> [(&'static str, Vec<Keys<'a>>); 6] {
        const EPOCHS: &str = "SELECT id, epoch FROM shard WHERE id = ANY($1) ORDER BY id FOR SHARE";
        const RECHARGES: &str = concat!(
            "SELECT r.* FROM unnest($1::int8[], $2::text[]) AS k (of, reference), LATERAL (SELECT ",
            recharge_columns!(),
            ", source FROM recharge WHERE stream = k.of AND reference_no = k.reference FOR UPDATE) r"
        );
        const PUBLISHED: &str = "SELECT d.* FROM unnest($1::int8[], $2::text[]) AS k (of, key), \
            LATERAL (SELECT stream, key, sequence, deliveries FROM dedupe WHERE stream = k.of AND key = k.key) d";
        // By the place of each row. Left to join, the planner walks all of `open_delivery` for each run, once it has been told
        // that the table is empty.
        const CLOSED: &str = "DELETE FROM open_delivery WHERE ctid = ANY (ARRAY (SELECT o.place \
            FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[]) AS k (endpoint, sequence, run, shard, epoch), \
            LATERAL (SELECT ctid AS place FROM open_delivery WHERE endpoint = k.endpoint AND sequence = k.sequence AND run = k.run \
                AND (k.epoch < 0 OR EXISTS (SELECT 1 FROM shard s WHERE s.id = k.shard AND s.epoch = k.epoch)) FOR UPDATE) o)) \
            RETURNING endpoint, sequence, run, failed_since";
        const NUMBERS: &str = "SELECT nextval('transaction_id') FROM generate_series(1, ($1::int8[])[1])";
        // To ask for them has its price on the way, however many they are.
        let lacking = self.numbers.saturating_sub(numbers_in_stock);
        let numbers = (lacking > 0).then(|| (limits::ID_PREFETCH_FACTOR * lacking).max(limits::NUMBERS_FETCHED) as i64);
        const STREAMS: &str = "SELECT id, next_sequence, endpoints_version, last_event_at FROM stream WHERE id = ANY($1) ORDER BY id";
        const LOCKED: &str =
            "SELECT id, next_sequence, endpoints_version, last_event_at FROM stream WHERE id = ANY($1) ORDER BY id FOR UPDATE";
        let of_runs = |part: fn(&Closing) -> i64| Keys::Integers(self.closed.iter().map(part).collect());
        [
            (EPOCHS, vec![Keys::Integers(self.epochs.iter().map(|shard| shard.number() as i64).collect())]),
            (
                RECHARGES,
                vec![
                    Keys::Integers(self.recharges.keys().map(|(stream, _)| stream.get()).collect()),
                    Keys::Texts(self.recharges.keys().map(|(_, reference_no)| *reference_no).collect()),
                ],
            ),
            (
                PUBLISHED,
                vec![
                    Keys::Integers(self.published.iter().map(|(stream, _)| stream.get()).collect()),
                    Keys::Texts(self.published.iter().map(|(_, key)| *key).collect()),
                ],
            ),
            (
                CLOSED,
                vec![
                    of_runs(|closing| closing.key.endpoint.get()),
                    of_runs(|closing| closing.key.sequence),
                    of_runs(|closing| i64::from(closing.key.run)),
                    of_runs(|closing| Shard::of(closing.key.endpoint).number() as i64),
                    of_runs(|closing| closing.epoch.unwrap_or(-1)),
                ],
            ),
            (NUMBERS, vec![Keys::Integers(numbers.into_iter().collect())]),
            (if locks_counters { LOCKED } else { STREAMS }, vec![Keys::Integers(self.streams.iter().map(|stream| stream.get()).collect())]),
        ]
    }
}
