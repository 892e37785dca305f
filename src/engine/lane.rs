//! A lane: the queue of one endpoint in memory. Pure state: it is told what happened and answers what may be done.
//!
//! What it knows of is in one of four places: `fresh` (in order, as fast as the pace allows), `waiting` (for a time),
//! under way, or unsettled (attempted, and the store has not said yet that it wrote it down). `known` names the place
//! of each, so that a run read from the store again is never sent twice.
//!
//! What did not fit, or is due much later, waits in the store and comes back by a refill: fresh runs after `cursor`, due
//! ones by their time; or, after the lane was released or its endpoint enabled, all of them in order (`walk`): see
//! [`refill`].
//!
//! Runs of replays stand apart: see [`replays`].

mod expiry;
mod give_back;
mod probe;
mod refill;
mod replays;
mod window;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use refill::Refilling;
pub(super) use refill::{Read, Refill};
pub(super) use window::Window;
use window::{Known, Place, weight};

use super::jump::Jump;
use super::pace::{Pace, Standing};
use super::pause::Pause;
use super::plan::Plan;
use super::rate::Rate;
use super::scheduler::Tenancy;
use crate::domain::delivery::{OpenRun, RunKey};
use crate::domain::endpoint::Ordering;
use crate::domain::time::Timestamp;
use crate::limits;

/// A run's key within its lane.
pub(super) type Key = (i64, u32);

pub(super) fn key_of(key: RunKey) -> Key {
    (key.sequence, key.run)
}

pub(super) struct Lane {
    /// How its shard is this node's.
    pub tenancy: Tenancy,
    pub plan: Option<Arc<Plan>>,
    pub pace: Pace,
    /// Faults of our own on the way to this endpoint.
    pub pause: Pause,
    /// It found no room in the node's window; the scheduler calls when there is some.
    pub starved: bool,
    /// The board's queue in which it waits for its turn, if it does.
    pub queued: Option<Standing>,
    /// It stands in the scheduler's queue for what goes out behind that.
    pub queued_behind: bool,
    /// Its endpoint's rate limit.
    rate: Rate,
    /// When the scheduler looks at it again, if that is arranged.
    pub wakes_at: Option<Timestamp>,
    /// Its endpoint is being read.
    pub loading: bool,
    /// Since when this node has kept it without a gap in which it could not send.
    pub since: Timestamp,
    /// When it last had something to do.
    pub used_at: Timestamp,
    fresh: VecDeque<OpenRun>,
    waiting: BTreeMap<(Timestamp, Key), OpenRun>,
    known: HashMap<Key, Known>,
    retries: HashMap<Key, OpenRun>,
    /// In hand, but not as the store has it any more: what follows of these comes from there.
    outdated: HashSet<Key>,
    bytes: usize,
    /// What all that is known has in the store, at most.
    known_bytes: usize,
    cursor: i64,
    /// The store has runs after `cursor`, or may have.
    stored: bool,
    /// The store has more that is due than was taken.
    due_stored: bool,
    next_stored_due: Option<Timestamp>,
    walk: Option<Key>,
    /// Strict: what the next refill brings is due, whatever its times say.
    all_due: bool,
    /// Strict: what had stepped aside stands in its place again at the next refill.
    anew: bool,
    /// Deliveries that have been failing since before this time keep their own times in a walk.
    isolated_before: Option<Timestamp>,
    /// The latest jump of the wall clock.
    pub jump: Option<Jump>,
    /// It had no room for all that a refill brought: it is not asked again before something has left, or come.
    cramped: bool,
    refilling: Option<Refilling>,
    /// Runs of replays, which go out behind everything else.
    replays: BTreeMap<(Timestamp, Key), OpenRun>,
    /// The store may have runs of replays that are due.
    replay_stored: bool,
    /// The same as `walk` for runs of replays.
    replay_walk: Option<Key>,
    /// Runs of replays that are known, wherever they stand.
    replays_known: usize,
    /// Runs of events that were attempted and have still to be written down: they take no room in the window.
    unsettled: usize,
    replays_under_way: u32,
    under_way: u32,
    /// Strict: the first run that is under way or not yet settled.
    head: Option<Key>,
    beside: Option<Key>,
}

impl Lane {
    pub fn new(tenancy: Tenancy, jump: Option<Jump>, now: Timestamp) -> Self {
        Self {
            tenancy,
            plan: None,
            pace: Pace::new(),
            pause: Pause::default(),
            starved: false,
            queued: None,
            queued_behind: false,
            rate: Rate::new(limits::RATE_SLACK),
            wakes_at: None,
            loading: false,
            since: now,
            used_at: now,
            fresh: VecDeque::new(),
            waiting: BTreeMap::new(),
            known: HashMap::new(),
            retries: HashMap::new(),
            outdated: HashSet::new(),
            bytes: 0,
            known_bytes: 0,
            cursor: 0,
            stored: true,
            due_stored: false,
            next_stored_due: None,
            walk: None,
            all_due: false,
            anew: false,
            isolated_before: None,
            jump,
            cramped: false,
            refilling: None,
            replays: BTreeMap::new(),
            replay_stored: true,
            replay_walk: None,
            replays_known: 0,
            unsettled: 0,
            replays_under_way: 0,
            under_way: 0,
            head: None,
            beside: None,
        }
    }

    /// Whether no attempt of it is under way.
    pub fn is_resting(&self) -> bool {
        self.under_way == 0
    }

    /// The wall clock jumped. What was skipped did not pass.
    pub fn jumped(&mut self, jump: Jump, now: Timestamp) {
        self.jump = Some(jump);
        if let Some(by) = jump.forward() {
            self.pace.shift(by);
            self.pause.shift(by);
            self.tenancy.strict_from = self.tenancy.strict_from.map(|from| from.plus(by));
            self.since = now;
        }
    }

    fn is_strict(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.endpoint.settings.ordering == Ordering::Strict)
    }

    /// Whether attempts may be made at all.
    pub fn sends(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.endpoint.sends())
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub fn runs(&self) -> usize {
        self.known.len()
    }

    /// Whether something of it is under way, or waits to be written down.
    pub fn has_in_hand(&self) -> bool {
        self.known.values().any(|known| known.place != Place::Queued)
    }

    /// Nothing in memory, and nothing asked for.
    pub fn is_idle(&self) -> bool {
        self.known.is_empty() && self.refilling.is_none() && !self.loading
    }

    // --- What comes in -------------------------------------------------------------------------------------------

    /// A run that was just accepted. It is taken if there is room and nothing older waits in the store; answers whether it
    /// goes out as it came, with no more before it than the endpoint takes at once.
    pub fn offer(&mut self, run: OpenRun, window: Window, now: Timestamp) -> bool {
        (self.used_at, self.cramped) = (now, false);
        let key = key_of(run.key);
        if self.known.contains_key(&key) {
            // A refill under way found it in the store before the hand-off came.
            return false;
        }
        let in_turn = !self.stored && self.walk.is_none() && !self.is_strict();
        let fits = self.has_room(&run, window, now);
        let taken = in_turn && fits && self.sends();
        if taken {
            self.cursor = self.cursor.max(key.0);
            self.enter(&run);
            self.fresh.push_back(run);
        } else {
            self.stored = true;
            if let Some(refilling) = &mut self.refilling {
                refilling.turned_away = true;
            }
            if self.pace.holds() && !self.is_strict() && self.sends() && run.replay.is_none() {
                self.keep_for_probes(run, window, now);
            }
        }
        taken && self.plan.as_ref().is_some_and(|plan| self.fresh.len() <= plan.cap as usize)
    }

    /// Runs were asked for beside the events: a resend, or a replay's next ones. The store knows which.
    pub fn due(&mut self, now: Timestamp) {
        self.next_stored_due = Some(now);
    }

    fn enqueue_waiting(&mut self, run: OpenRun, now: Timestamp) {
        self.enter(&run);
        self.wait(run, now);
    }

    fn wait(&mut self, run: OpenRun, now: Timestamp) {
        let queue = if run.replay.is_some() { &mut self.replays } else { &mut self.waiting };
        queue.insert((run.next_attempt_at.unwrap_or(now), key_of(run.key)), run);
    }

    /// The sweep saw open runs: if the lane has nothing in hand, it looks for them.
    pub fn seen_in_store(&mut self, now: Timestamp) {
        (self.used_at, self.replay_stored, self.cramped) = (now, true, false);
        if self.known.is_empty() {
            self.stored = true;
            self.cursor = 0;
        }
    }

    /// Runs may have come to be in the store that nobody told of.
    pub fn look_again(&mut self) {
        self.replay_stored = true;
        self.look_from(1);
    }

    /// Another node opened runs, the first of them with this number.
    pub fn opened_elsewhere(&mut self, from: i64) {
        self.cramped = false;
        self.look_from(from);
    }

    // --- What may go out -----------------------------------------------------------------------------------------

    /// Whether a run may go out now, and in which of the scheduler's queues it waits for that. `others` says whether other
    /// endpoints' events go out as they come: those that are behind leave them the way.
    pub fn can_send(&self, others: bool, now: Timestamp) -> Option<Turn> {
        let behind = match self.pick(now)? {
            Pick::Replay(_) => true,
            _ => others && !self.is_strict() && (self.stored || self.due_stored || self.walk.is_some()),
        };
        let standing = self.pace.standing(now);
        // The others have a share of their own.
        Some(if behind && standing == Standing::Proven { Turn::Behind } else { Turn::Of(standing) })
    }

    /// Which run goes next, by where it stands.
    fn pick(&self, now: Timestamp) -> Option<Pick> {
        let plan = self.plan.as_ref().filter(|plan| plan.endpoint.sends())?;
        if self.tenancy.is_leaving || self.pause.until(now).is_some() || self.rate_free_at(now).is_some() {
            return None;
        }
        if let Some(probe_at) = self.pace.circuit().next_probe_at(now) {
            return self.probe(probe_at, now);
        }
        if self.is_strict() {
            return if self.begins_at(now).is_some() {
                None
            } else if self.head.is_none() && self.front_is_due(now) {
                Some(Pick::Fresh)
            } else if self.beside.is_none() {
                self.first_waiting_in_order(now).or_else(|| self.first_replay(now).map(Pick::Replay))
            } else {
                None
            };
        }
        if self.under_way >= self.pace.ceiling(plan.cap, now) {
            return None;
        }
        let cap = self.pace.cap(plan.cap, now);
        let event = match self.waiting.first_key_value() {
            Some((at, _)) if at.0 <= now => Some(Pick::Waiting(*at)),
            _ => (!self.fresh.is_empty()).then_some(Pick::Fresh),
        };
        // What slow start gives is for events; a replay takes of it what they leave.
        event.filter(|_| self.events_under_way() < cap).or_else(|| self.next_replay(cap, now))
    }

    /// When a strict lane begins, if that is still to come.
    fn begins_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.tenancy.strict_from.filter(|from| *from > now && self.is_strict())
    }

    fn front_is_due(&self, now: Timestamp) -> bool {
        self.fresh.front().is_some_and(|run| run.next_attempt_at.is_none_or(|at| at <= now))
    }

    fn events_under_way(&self) -> u32 {
        self.under_way.saturating_sub(self.replays_under_way)
    }

    fn first_waiting_in_order(&self, now: Timestamp) -> Option<Pick> {
        let due = self.waiting.keys().take_while(|(at, _)| *at <= now);
        due.min_by_key(|(_, key)| *key).copied().map(Pick::Waiting)
    }

    /// Takes the run that goes next.
    pub fn take(&mut self, now: Timestamp) -> Option<OpenRun> {
        let pick = self.pick(now)?;
        let run = match pick {
            Pick::Fresh => self.fresh.pop_front(),
            Pick::FreshAt(at) => self.fresh.remove(at),
            Pick::Waiting(at) => self.waiting.remove(&at),
            Pick::Replay(at) => self.replays.remove(&at),
        }?;
        let key = key_of(run.key);
        self.put(key, Place::UnderWay);
        self.under_way += 1;
        self.pace.begin(key, now);
        self.replays_under_way += u32::from(run.replay.is_some());
        self.used_at = now;
        if self.is_strict() {
            let slot = if matches!(pick, Pick::Fresh | Pick::FreshAt(_)) { &mut self.head } else { &mut self.beside };
            *slot = Some(key);
        }
        if let Some(per_second) = self.rate_limit() {
            self.rate.spend(per_second, now);
        }
        Some(run)
    }

    fn rate_limit(&self) -> Option<u32> {
        self.plan.as_ref()?.endpoint.settings.rate_limit_per_second
    }

    /// When the endpoint's rate limit lets the next request go, if not now.
    fn rate_free_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.rate.free_at(self.rate_limit()?, now)
    }

    /// An attempt came back. `retry` is the run if it is to be tried again.
    pub fn returned(&mut self, key: Key, retry: Option<OpenRun>) {
        self.under_way = self.under_way.saturating_sub(1);
        if self.known.get(&key).is_some_and(|known| known.replayed) {
            self.replays_under_way = self.replays_under_way.saturating_sub(1);
        }
        self.put(key, Place::Unsettled);
        match retry {
            Some(run) => drop(self.retries.insert(key, run)),
            None => self.unload(key),
        }
    }

    /// The store has written an outcome down.
    pub fn settled(&mut self, key: Key, now: Timestamp) {
        self.head = self.head.filter(|head| *head != key);
        self.beside = self.beside.filter(|beside| *beside != key);
        if let Some(refilling) = &mut self.refilling {
            refilling.ended.insert(key);
        }
        let outdated = self.outdated.remove(&key);
        let Some(run) = self.retries.remove(&key) else {
            self.leave(key);
            if self.known.is_empty() && !self.stored && self.walk.is_none() {
                self.pace.drained();
            }
            return;
        };
        let at = run.next_attempt_at.unwrap_or(now);
        if outdated {
            self.leave(key);
            self.next_stored_due = Some(self.next_stored_due.map_or(at, |next| next.min(at)));
            self.park();
            return;
        }
        // A strict endpoint's first runs, and those of a replay, wait for one that failed, until it steps aside.
        let holds_others = self.is_strict() && run.failed_since.is_some_and(|since| since > self.stepped_aside(now));
        let is_head = holds_others && key.1 == 1 && run.replay.is_none();
        let holds_replay = holds_others && run.replay.is_some();
        let may_wait = at.since(now) <= limits::RETRY_IN_MEMORY && self.may_wait(&run);
        if !self.sends() || (!may_wait && !is_head && !holds_replay) {
            self.leave(key);
            self.next_stored_due = Some(self.next_stored_due.map_or(at, |next| next.min(at)));
        } else if is_head {
            self.put(key, Place::Queued);
            self.fresh.push_front(run);
        } else {
            self.put(key, Place::Queued);
            self.wait(run, now);
        }
    }

    /// A strict lane's failing head no longer holds the others.
    pub fn step_aside(&mut self, now: Timestamp) {
        let line = self.stepped_aside(now);
        if self.is_strict() && self.fresh.front().is_some_and(|run| run.failed_since.is_some_and(|since| since <= line)) {
            let run = self.fresh.pop_front().expect("there is one");
            self.waiting.insert((run.next_attempt_at.unwrap_or(now), key_of(run.key)), run);
        }
    }

    /// When to look again, if nothing happens before.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.sends() {
            return None;
        }
        let plan = self.plan.as_ref()?;
        let has_work = !self.fresh.is_empty() || !self.waiting.is_empty() || !self.replays.is_empty();
        let rate = self.rate_free_at(now).filter(|_| has_work);
        let probe = self.pace.circuit().next_probe_at(now);
        let waiting = self.waiting.first_key_value().map(|((at, _), _)| *at).filter(|_| probe.is_none());
        let replay = self.next_replay_at(now).filter(|_| probe.is_none());
        let head = self.fresh.front().and_then(|run| run.next_attempt_at).filter(|_| self.is_strict() && probe.is_none());
        let aside = self
            .fresh
            .front()
            .and_then(|run| run.failed_since)
            .filter(|_| self.is_strict())
            .map(|since| self.steps_aside_at(since, plan.strict_hold, now));
        let pause = self.pause.until(now).filter(|_| has_work);
        [self.begins_at(now), rate, probe, waiting, replay, head, aside, pause, self.next_stored_due]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }
}

/// Where a lane waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// With those of this standing.
    Of(Standing),
    /// Behind all of them.
    Behind,
}

#[derive(Debug, Clone, Copy)]
enum Pick {
    Fresh,
    /// A probe, of the delivery at this place.
    FreshAt(usize),
    Waiting((Timestamp, Key)),
    Replay((Timestamp, Key)),
}
