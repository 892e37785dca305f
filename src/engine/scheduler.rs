//! The board: all lanes of a node, whose turn it is, and what there is to do for them. Pure state under one lock; the
//! shell around it is in the parent module.
//!
//! Lanes take turns: each stands in a queue at most once, gives one run away when it is its turn, and goes to the end.
//! Lanes without a recent success stand in queues of their own that may use only their share of the node's in-flight
//! budget, so that endpoints that answer never wait for endpoints that do not. Half of that share is for lanes that
//! fail, the other half for those that were merely quiet, so that these do not wait for the failing ones either.
//!
//! What goes out behind everything else, at a pace that leaves the processors free enough for what comes meanwhile: runs
//! of replays, and those of lanes that are behind, as long as other lanes' events go out as they come.

mod returns;
mod shards;
mod turns;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub(super) use shards::{Tenancy, Tenure};

use super::jump::{Jump, JumpDetector};
use super::lane::{Lane, Read, Refill, Turn, Window, key_of};
use super::low_priority::Behind;
use super::pace::Standing;
use super::pause::Pause;
use super::plan::Plan;
use crate::domain::attempt::{FaultCause, Reach};
use crate::domain::circuit::Transition;
use crate::domain::delivery::{DeliveryState, EndReason, OpenRun, RunKey};
use crate::domain::id::EndpointId;
use crate::domain::retry::{Decision, Policy};
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::{Backlog, Expired, NextStep, RecordOutcome};

/// Bounds of a node (settings of the same names).
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Attempts under way at once.
    pub max_in_flight: usize,
    /// Ceiling of one endpoint's attempts under way.
    pub max_in_flight_per_endpoint: u32,
    /// Deliveries in memory, per endpoint.
    pub lane_window: usize,
    /// Their bytes.
    pub lane_window_bytes: usize,
    /// Bytes of deliveries in memory, per node.
    pub window_bytes: usize,
    /// Outcomes that wait for the store before sending pauses.
    pub unsettled_max: usize,
    /// Deliveries a second that go out behind everything else.
    pub behind_per_second: u32,
}

/// One attempt to make.
pub(super) struct Job {
    pub run: OpenRun,
    pub plan: Arc<Plan>,
    standing: Standing,
    /// The epoch of the endpoint's shard.
    epoch: i64,
}

/// Something to do that needs the store.
#[derive(Debug)]
pub(super) enum StoreTask {
    /// Read the endpoint.
    Load(EndpointId),
    /// Read runs.
    Refill(EndpointId, Refill),
    /// Read which runs are past their deadline, or (the endpoint being deleted) all of them.
    Expire(EndpointId),
    /// It answered `410` when it was as in this plan.
    Disable(Arc<Plan>),
}

/// What the clock did between two sweeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leap {
    /// It went on.
    None,
    /// It was set back by this much.
    Back(Duration),
    /// It was set forward, or the machine slept: nothing was seen for this long.
    Forward(Duration),
}

/// What follows from an attempt.
pub(super) struct Finished {
    pub settle: RecordOutcome,
    pub decision: Decision,
    pub next: Option<Job>,
    /// The fault that is over with this.
    pub mended: Option<(FaultCause, Reach)>,
    /// What it did to the endpoint's circuit.
    pub transition: Transition,
}

pub(super) struct Scheduler {
    bounds: Bounds,
    policy: Arc<Policy>,
    tenure: Tenure,
    lanes: HashMap<EndpointId, Lane>,
    /// Lanes that wait for their turn, by their [`Standing`].
    turns: [VecDeque<EndpointId>; 3],
    /// Lanes that wait until there is less under way, or until they have shown that they still answer.
    deferred: HashSet<EndpointId>,
    /// Since when so much is under way that lanes get further slots only if they still answer.
    pressed_since: Option<Timestamp>,
    behind: Behind,
    timers: BinaryHeap<Reverse<(Timestamp, EndpointId)>>,
    tasks: VecDeque<StoreTask>,
    /// Lanes that wait for room in the node's window.
    starved: HashSet<EndpointId>,
    /// Attempts under way, by the standing that their lane had.
    under_way: [usize; 3],
    unsettled: usize,
    bytes: usize,
    /// Faults of our own that meet all endpoints.
    pause: Pause,
    /// The latest time it was told, as far as the clock was not set back since.
    latest: Timestamp,
    swept_at: Option<Timestamp>,
    jumps: JumpDetector,
    jump: Option<Jump>,
    /// The clock was set back, so that this sweep releases all lanes.
    releasing: bool,
    stopped: bool,
}

impl Scheduler {
    pub fn new(bounds: Bounds, policy: Policy, tenure: Tenure) -> Self {
        Self {
            bounds,
            policy: Arc::new(policy),
            tenure,
            lanes: HashMap::new(),
            turns: Default::default(),
            deferred: HashSet::new(),
            pressed_since: None,
            behind: Behind::new(),
            timers: BinaryHeap::new(),
            tasks: VecDeque::new(),
            starved: HashSet::new(),
            under_way: [0; 3],
            unsettled: 0,
            bytes: 0,
            pause: Pause::default(),
            latest: Timestamp::from_millis(0),
            swept_at: None,
            jumps: JumpDetector::default(),
            jump: None,
            releasing: false,
            stopped: false,
        }
    }

    pub fn in_flight(&self) -> usize {
        self.under_way.iter().sum()
    }

    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    #[cfg(test)]
    pub fn bytes_in_memory(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub fn runs_in_memory(&self, endpoint: EndpointId) -> usize {
        self.lanes.get(&endpoint).map_or(0, Lane::runs)
    }

    /// An endpoint as it was last read.
    pub fn plan(&self, endpoint: EndpointId) -> Option<&Plan> {
        self.lanes.get(&endpoint)?.plan.as_deref()
    }

    /// How many lanes with something in hand hold, fail, and go.
    pub fn lanes(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for lane in self.lanes.values().filter(|lane| !lane.is_idle()) {
            counts[if lane.pace.holds() { 0 } else { 1 + usize::from(!lane.pace.is_failing()) }] += 1;
        }
        counts
    }

    /// No attempt is begun any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// How many chores wait to be done.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    pub fn next_chore(&mut self) -> Option<StoreTask> {
        self.tasks.pop_front()
    }

    /// When the scheduler wants to be looked at again.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    fn window(&self) -> Window {
        let left = self.bounds.window_bytes.saturating_sub(self.bytes);
        Window { runs: self.bounds.lane_window, bytes: self.bounds.lane_window_bytes.min(left) }
    }

    /// Works on a lane, keeps the node's count of bytes, and sees to what the lane now needs.
    fn with<T>(&mut self, endpoint: EndpointId, now: Timestamp, work: impl FnOnce(&mut Lane, Window) -> T) -> T {
        let (whole, others, tenancy) = (self.window(), self.behind.others(endpoint, now), self.tenure.of(endpoint));
        debug_assert!(tenancy.is_mine, "it has no lane here");
        let jump = self.jump;
        let lane = self.lanes.entry(endpoint).or_insert_with(|| Lane::new(tenancy, jump, now));
        let before = lane.bytes();
        // The lane's own bytes are part of what the node has given out.
        let window = Window { runs: whole.runs, bytes: self.bounds.lane_window_bytes.min(whole.bytes + before) };
        let done = work(lane, window);
        lane.step_aside(now);
        if lane.plan.is_none() && !lane.loading {
            lane.loading = true;
            self.tasks.push_back(StoreTask::Load(endpoint));
        }
        if let Some(refill) = lane.start_refill(window, now) {
            self.tasks.push_back(StoreTask::Refill(endpoint, refill));
        }
        if lane.starved {
            self.starved.insert(endpoint);
        }
        match lane.can_send(others, now) {
            Some(Turn::Of(standing)) if lane.queued.is_none_or(|queued| standing < queued) => {
                lane.queued = Some(standing);
                self.turns[standing as usize].push_back(endpoint);
            }
            Some(Turn::Behind) if !std::mem::replace(&mut lane.queued_behind, true) => self.behind.turns.push_back(endpoint),
            _ => {}
        }
        let wake = lane.next_wake(now);
        if let Some(at) = wake.filter(|at| lane.wakes_at.is_none_or(|arranged| arranged > *at || arranged <= now)) {
            lane.wakes_at = Some(at);
            self.timers.push(Reverse((at, endpoint)));
        }
        self.bytes = self.bytes + lane.bytes() - before;
        done
    }

    // --- What comes in -------------------------------------------------------------------------------------------

    /// Runs that a commit opened, in order. Answers those that other nodes send, with the nodes.
    pub fn opened(&mut self, runs: Vec<OpenRun>, now: Timestamp) -> Vec<(u8, RunKey)> {
        let mut elsewhere = Vec::new();
        for run in runs {
            let endpoint = run.key.endpoint;
            if !self.is_mine(endpoint) {
                elsewhere.extend(self.owner(endpoint).map(|owner| (owner, run.key)));
                continue;
            }
            if self.with(endpoint, now, |lane, window| lane.offer(run, window, now)) {
                self.behind.note(endpoint, now);
            }
        }
        elsewhere
    }

    /// An endpoint changed: read it again.
    pub fn changed(&mut self, endpoint: EndpointId) {
        self.tasks.push_back(StoreTask::Load(endpoint));
    }

    /// An endpoint as it is now, made ready; `None` if it is gone or cannot be sent to.
    pub fn loaded(&mut self, endpoint: EndpointId, plan: Option<Arc<Plan>>, now: Timestamp) {
        let Some(plan) = plan else {
            if let Some(lane) = self.lanes.get_mut(&endpoint) {
                lane.loading = false;
                lane.used_at = now;
            }
            return;
        };
        if !self.is_mine(endpoint) {
            return;
        }
        let (deleted, policy) = (plan.endpoint.deleted, Arc::clone(&self.policy));
        self.with(endpoint, now, |lane, _| {
            lane.loading = false;
            let sent = lane.sends();
            let reordered = lane.plan.as_ref().is_some_and(|old| old.endpoint.settings.ordering != plan.endpoint.settings.ordering);
            let (connected_at, came_back) = (plan.endpoint.connected_at, plan.endpoint.by_rule && plan.endpoint.sends());
            lane.pace.connected(connected_at);
            let before = lane.plan.replace(plan);
            let shook_hands = before.as_ref().is_none_or(|before| before.endpoint.connected_at != connected_at);
            if let Some(at) = connected_at.filter(|_| came_back && shook_hands) {
                // What is left of the backlog by then is past its deadline.
                lane.pace.go_gently(at.plus(policy.deadline));
            }
            if (sent && !lane.sends()) || reordered {
                lane.park();
            }
            // It sends again, or its handshake was done anew.
            if lane.sends() && before.is_some_and(|_| !sent || shook_hands) {
                lane.begin_anew(now);
            }
        });
        if deleted {
            self.tasks.push_back(StoreTask::Expire(endpoint));
        }
    }

    /// Runs of an endpoint were asked for beside its events.
    pub fn due(&mut self, endpoint: EndpointId, now: Timestamp) {
        self.with(endpoint, now, |lane, _| lane.due(now));
    }

    /// What is in memory of an endpoint's runs may be wrong: it comes from the store again.
    pub fn dropped(&mut self, endpoint: EndpointId, now: Timestamp) {
        self.with(endpoint, now, |lane, _| lane.forget());
    }

    /// Runs of an endpoint were cancelled.
    pub fn cancelled(&mut self, endpoint: EndpointId, runs: &[RunKey], now: Timestamp) {
        let keys = runs.iter().map(|run| key_of(*run)).collect();
        self.with(endpoint, now, |lane, _| lane.cancelled(&keys));
    }

    /// Deliveries a second that an endpoint takes at present, where that is known.
    pub fn pace(&self, endpoint: EndpointId, now: Timestamp) -> Option<f64> {
        self.lanes.get(&endpoint)?.pace.per_second(now)
    }

    /// A commit's outcome is not known: what it may have opened is looked for.
    pub fn unsure(&mut self, now: Timestamp) {
        let endpoints: Vec<EndpointId> = self.lanes.keys().copied().collect();
        for endpoint in endpoints {
            self.with(endpoint, now, |lane, _| lane.look_again());
        }
    }

    /// Compares the wall clock with a steady one. A jump is taken out of everything that waits in memory, and kept for what
    /// comes from the store.
    pub fn observe_clock(&mut self, now: Timestamp, steady: Duration) {
        let Some(jump) = self.jumps.observe(now, steady) else { return };
        self.jump = Some(jump);
        self.lanes.values_mut().for_each(|lane| lane.jumped(jump, now));
        if let Some(by) = jump.forward() {
            self.pause.shift(by);
        }
    }

    /// A moment that a jump of the clock skipped, as much later.
    pub fn moved_on(&self, at: Timestamp) -> Timestamp {
        Jump::moment(self.jump, at)
    }

    /// A sweep begins. Times from before a clock was set back say nothing any more, so that everything pending is due. A
    /// leap forward is no time in which a lane could have sent, so that what passed its deadline there gets its attempt.
    pub fn begin_sweep(&mut self, now: Timestamp) -> Leap {
        let (back, before) = (self.latest.since(now), self.swept_at.replace(now));
        if back > limits::CLOCK_BACK {
            (self.latest, self.releasing) = (now, true);
            self.behind.forget();
            return Leap::Back(back);
        }
        let passed = before.map_or(Duration::ZERO, |before| now.since(before)).saturating_sub(limits::SWEEP_EVERY);
        if passed <= limits::CLOCK_LEAP {
            return Leap::None;
        }
        self.lanes.values_mut().for_each(|lane| lane.since = now);
        Leap::Forward(passed)
    }

    /// The sweep's page of endpoints that have open runs.
    pub fn swept(&mut self, backlogs: &[Backlog], now: Timestamp) {
        let releasing = self.releasing;
        for backlog in backlogs {
            if !self.is_mine(backlog.endpoint) {
                continue;
            }
            let deleted = self.with(backlog.endpoint, now, |lane, _| {
                if releasing {
                    lane.release(None);
                }
                lane.seen_in_store(now);
                lane.is_deleted()
            });
            if deleted || backlog.first_deadline <= now {
                self.tasks.push_back(StoreTask::Expire(backlog.endpoint));
            }
        }
        self.feed_starved(now);
    }

    /// Runs read for a lane; `None` if the store could not be asked.
    pub fn refilled(&mut self, endpoint: EndpointId, refill: Refill, read: Option<Read>, now: Timestamp) {
        if !self.is_current(endpoint, refill.epoch) {
            return;
        }
        self.with(endpoint, now, |lane, window| match read {
            Some(read) => lane.refilled(refill, read, window, now),
            None => lane.refill_failed(),
        });
    }

    /// Runs past their deadline (or all, of a deleted endpoint) that end now, without an attempt.
    pub fn expire(&mut self, endpoint: EndpointId, candidates: &[Expired], now: Timestamp) -> Vec<RecordOutcome> {
        if !self.is_mine(endpoint) {
            return Vec::new();
        }
        let (jump, within) = (self.jump, self.policy.deadline);
        let settles: Vec<RecordOutcome> = self.with(endpoint, now, |lane, _| {
            let deleted = lane.is_deleted();
            let end = |run: &Expired| {
                if deleted {
                    (!lane.is_in_hand(key_of(run.key))).then_some((DeliveryState::Cancelled, EndReason::Deleted))
                } else {
                    lane.reason_to_expire(run, Jump::deadline(jump, run.deadline, within), now)
                        .map(|reason| (DeliveryState::Exhausted, reason))
                }
            };
            let ended: Vec<_> = candidates.iter().filter_map(|run| Some((run, end(run)?))).collect();
            lane.withdraw(&ended.iter().map(|(run, _)| key_of(run.key)).collect());
            let settle = |(run, (state, reason)): (&Expired, _)| RecordOutcome {
                key: run.key,
                attempt: None,
                attempts: run.attempts,
                deadline: run.deadline,
                now,
                after: NextStep::Ended(state, Some(reason)),
                replay: run.replay,
                latency: None,
                epoch: lane.tenancy.epoch,
            };
            ended.into_iter().map(settle).collect()
        });
        self.unsettled += settles.len();
        settles
    }

    /// Runs that had ended before their attempt came back: whatever that came to, they are not tried again.
    pub fn over(&mut self, runs: &[(RunKey, i64)]) {
        for (run, epoch) in runs {
            let lane = self.lanes.get_mut(&run.endpoint).filter(|lane| lane.tenancy.epoch == *epoch);
            lane.into_iter().for_each(|lane| lane.over(key_of(*run)));
        }
    }

    /// The store has written these outcomes down.
    pub fn settled(&mut self, outcomes: &[RecordOutcome], now: Timestamp) {
        self.unsettled = self.unsettled.saturating_sub(outcomes.len());
        let mut to_expire = HashSet::new();
        for outcome in outcomes {
            let endpoint = outcome.key.endpoint;
            if !self.is_current(endpoint, outcome.epoch) {
                continue;
            }
            let deleted = self.with(endpoint, now, |lane, _| {
                lane.settled(key_of(outcome.key), now);
                lane.is_deleted()
            });
            // Runs end without an attempt step by step: where one step has been written down, there may be a next. And a
            // retry that was in hand when its endpoint was deleted is still to end.
            if outcome.attempt.is_none() || (deleted && matches!(outcome.after, NextStep::Retry { .. })) {
                to_expire.insert(endpoint);
            }
        }
        self.tasks.extend(to_expire.into_iter().map(StoreTask::Expire));
        self.feed_starved(now);
    }

    fn feed_starved(&mut self, now: Timestamp) {
        if self.starved.is_empty() || self.bytes > self.bounds.window_bytes / 2 {
            return;
        }
        for endpoint in
            std::mem::take(&mut self.starved).into_iter().filter(|endpoint| self.lanes.contains_key(endpoint)).collect::<Vec<_>>()
        {
            self.with(endpoint, now, |lane, _| lane.starved = false);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Timestamp) {
        while let Some(Reverse((at, endpoint))) = self.timers.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.timers.pop();
            if self.lanes.get(&endpoint).is_some_and(|lane| lane.wakes_at == Some(at)) {
                self.with(endpoint, now, |lane, _| lane.wakes_at = None);
            }
        }
    }

    /// The end of a sweep. Forgets lanes that have had nothing to do for long, and closes connections that nobody uses.
    pub fn tidy(&mut self, now: Timestamp) {
        self.releasing = false;
        self.lanes.retain(|_, lane| {
            lane.queued.is_some() || lane.queued_behind || !lane.is_idle() || now.since(lane.used_at) < limits::LANE_IDLE
        });
        self.lanes.values().filter_map(|lane| lane.plan.as_ref()).for_each(|plan| plan.target.close_idle());
    }
}
