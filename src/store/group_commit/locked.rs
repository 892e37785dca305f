//! Writes that met a lock of another session.
//!
//! A [`Party`] is what a lock is assumed to be about: a vendor's stream, or an endpoint. Once one is known to be locked, what is
//! written for it waits here, is tried by itself with growing pauses, and is refused with [`StoreError::Busy`] if the lock is
//! still there after [`limits::LOCKED_WAIT`]. Everybody else's writes go on.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Answer, Item};
use crate::clock::Stopwatch;
use crate::domain::id::{EndpointId, StreamId};
use crate::limits;
use crate::store::{StoreError, Write};

/// What one lock of another session may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Party {
    /// Everything of a stream.
    Stream(StreamId),
    /// What deliveries to an endpoint came to.
    Endpoint(EndpointId),
    /// A change by itself, by its place in the batch.
    Alone(usize),
    /// A change that waits, by its number.
    Waiting(u64),
}

fn party(at: usize, write: &Write) -> Party {
    match write {
        Write::Accept(accept) => match accept.reports.split_first() {
            Some((first, others)) if others.iter().all(|other| other.stream == first.stream) => Party::Stream(first.stream),
            _ => Party::Alone(at),
        },
        Write::Publish(publish) => Party::Stream(publish.stream),
        Write::RecordOutcome(settle) => Party::Endpoint(settle.key.endpoint),
        Write::Change(_) => Party::Alone(at),
    }
}

/// The parties of a batch that a later one may meet again.
pub(super) fn parties(items: &[Item]) -> Vec<Party> {
    let all: HashSet<Party> = items.iter().enumerate().map(|(at, item)| party(at, &item.write)).collect();
    all.into_iter().filter(|party| !matches!(party, Party::Alone(_))).collect()
}

/// Two halves, each with all that is of its parties; what is of one party alone comes back as it is.
pub(super) fn halves(items: Vec<Item>) -> Result<(Vec<Item>, Vec<Item>), Vec<Item>> {
    let mut known = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        let next = known.len();
        known.entry(party(at, &item.write)).or_insert(next);
    }
    if known.len() < 2 {
        return Err(items);
    }
    let of = |at: usize, item: &Item| known[&party(at, &item.write)] < known.len() / 2;
    let (first, second): (Vec<_>, Vec<_>) = items.into_iter().enumerate().partition(|(at, item)| of(*at, item));
    let plain = |half: Vec<(usize, Item)>| half.into_iter().map(|(_, item)| item).collect();
    Ok((plain(first), plain(second)))
}

/// What waits for locks.
#[derive(Default)]
pub(super) struct Locked {
    waits: HashMap<Party, Wait>,
    /// Number of the latest change that had to wait.
    changes: u64,
}

struct Wait {
    /// Tries in a row that met the lock.
    tries: u32,
    tried: Stopwatch,
    items: Vec<Item>,
}

impl Wait {
    /// How long until it is tried again.
    fn left(&self) -> Duration {
        let pause = limits::LOCKED_RETRY.saturating_mul(1 << self.tries.min(10)).min(limits::LOCKED_RETRY_MAX);
        pause.saturating_sub(self.tried.elapsed())
    }
}

impl Locked {
    /// How long until something here has to be done.
    pub fn due_in(&self) -> Option<Duration> {
        let gives_up = |wait: &Wait| wait.items.iter().map(left_of).min();
        self.waits.values().filter(|wait| !wait.items.is_empty()).flat_map(|wait| [Some(wait.left()), gives_up(wait)]).flatten().min()
    }

    /// Takes what is of parties that are known to be locked: it never joins a batch of others, which would wait with it.
    /// Answers the rest, and those that cannot wait with their answers.
    pub fn set_aside_known(&mut self, items: Vec<Item>) -> (Vec<Item>, Vec<(Item, Answer)>) {
        if self.waits.is_empty() {
            return (items, Vec::new());
        }
        let (mut free, mut refused) = (Vec::with_capacity(items.len()), Vec::new());
        for (at, item) in items.into_iter().enumerate() {
            match self.waits.get_mut(&party(at, &item.write)) {
                Some(wait) => refused.extend(wait.add(item, busy())),
                None => free.push(item),
            }
        }
        (free, refused)
    }

    /// What is to be tried again now, each party by itself, and a few of them: each may wait for its lock again.
    pub fn take_due(&mut self) -> Vec<Vec<Item>> {
        let due = self.waits.values_mut().filter(|wait| !wait.items.is_empty() && wait.left().is_zero());
        let taken = due.take(limits::LOCKED_TRIED_AT_ONCE).map(|wait| std::mem::take(&mut wait.items)).collect();
        self.waits.retain(|party, wait| !matches!(party, Party::Waiting(_)) || !wait.items.is_empty());
        taken
    }

    /// Learns what a batch of these parties met. Answers those that do not wait.
    pub fn learn(&mut self, tried: Vec<Party>, blocked: Vec<(Item, StoreError)>) -> Vec<(Item, Answer)> {
        let mut refused = Vec::new();
        let mut met = HashSet::new();
        for (at, (item, error)) in blocked.into_iter().enumerate() {
            let party = party(at, &item.write);
            let party = if let Party::Alone(_) = party {
                self.changes += 1;
                Party::Waiting(self.changes)
            } else {
                party
            };
            let wait = self.waits.entry(party).or_insert_with(|| Wait { tries: 0, tried: Stopwatch::start(), items: Vec::new() });
            if met.insert(party) {
                (wait.tries, wait.tried) = (wait.tries + 1, Stopwatch::start());
                if wait.tries == 1 && !matches!(party, Party::Waiting(_)) {
                    tracing::warn!(?party, %error, "another session's lock blocks writes; retrying");
                }
            }
            refused.extend(wait.add(item, error));
        }
        self.refuse_beyond_bound(&mut refused);
        for party in tried.into_iter().filter(|party| !met.contains(party)) {
            if self.waits.remove(&party).is_some() {
                tracing::info!(?party, "the lock that blocked writes is gone");
            }
        }
        refused
    }

    /// As many changes wait as may.
    fn refuse_beyond_bound(&mut self, refused: &mut Vec<(Item, Answer)>) {
        let mut changes: Vec<Party> = self.waits.keys().filter(|party| matches!(party, Party::Waiting(_))).copied().collect();
        changes.sort_unstable();
        for party in changes.into_iter().skip(limits::LOCKED_WRITES_MAX) {
            let items = self.waits.remove(&party).map(|wait| wait.items).unwrap_or_default();
            refused.extend(items.into_iter().map(|item| (item, Err(busy()))));
        }
    }

    /// Those that have waited long enough.
    pub fn give_up(&mut self) -> Vec<(Item, Answer)> {
        let over = |wait: &mut Wait| wait.items.extract_if(.., |item| left_of(item).is_zero()).collect::<Vec<_>>();
        self.waits.values_mut().flat_map(over).map(|item| (item, Err(busy()))).collect()
    }
}

impl Wait {
    /// Has a write wait; answers it with its refusal if it cannot.
    fn add(&mut self, mut item: Item, error: StoreError) -> Option<(Item, Answer)> {
        // The engine offers an outcome again by itself.
        let may_wait = item.caller.is_some() || self.left().is_zero();
        if !may_wait || self.items.len() >= limits::LOCKED_WRITES_MAX {
            return Some((item, Err(error)));
        }
        item.waits.get_or_insert_with(Stopwatch::start);
        self.items.push(item);
        None
    }
}

/// How long a write goes on waiting.
fn left_of(item: &Item) -> Duration {
    item.waits.map_or(limits::LOCKED_WAIT, |waits| limits::LOCKED_WAIT.saturating_sub(waits.elapsed()))
}

fn busy() -> StoreError {
    StoreError::Busy("the rows of this write have been locked for too long".to_owned())
}
