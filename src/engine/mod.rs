//! What runs by itself: it sends what was accepted and sees every run to its end.
//!
//! # Who takes part
//! The [board](board) holds a [lane](lane) for each endpoint that has something to deliver: what is in memory of its
//! queue, its [pace](pace) (slow start, rate limit, holding), and what must be asked of the store. Scheduler and lanes are
//! pure state under one lock; they are told what happened and answer what to do. This module is the shell: it makes the
//! attempts, writes the outcomes through the group commit, runs the chores (reading endpoints and runs), and wakes the
//! board when time has come.
//!
//! # The way of one delivery
//! A commit hands the runs it opened to [`Handoff::opened`]. If the lane has room and nothing older waits in the store,
//! the run is sent with what it carries; nothing is read back. The task that made an attempt asks the scheduler for the
//! next one itself, so that a busy lane costs no task switch between two attempts. All attempts, whatever made their
//! run, pass through [`retry::decide`](crate::domain::retry::decide). An outcome is written down, and only then is its
//! run forgotten.
//!
//! # What is guaranteed, and what for that is not needed
//! Every hint may be lost: the hand-off may drop runs, and a wake-up says nothing but "look". A sweep over the
//! endpoints that have open runs finds whatever was lost, and what was open when the process started. Memory is bounded
//! in runs and bytes, per lane and per node; what does not fit waits in the store. When the store takes no outcomes,
//! sending pauses at a bound, the writing is tried again, and no request is repeated for it. A crash between an attempt
//! and its outcome's commit repeats that attempt after the start: at least once, with the same `webhook-id`.
//!
//! A fault of our own (the proxy is down, no file descriptor is left) is no attempt: the run goes back to its lane as it
//! was, nothing is written down, and no attempt begins for a [pause](pause).
//!
//! The clock may jump. A time that lies further ahead than it can counts as come; a sweep that finds the clock set back
//! makes everything pending due, and one that follows a leap forward lets nothing end for what could not be done in it.
//!
//! Where many nodes share a database, each keeps the lanes of its own [shards](crate::domain::shard) and sends as long as its
//! lease stands ([`membership`]). What only one has to do (the janitor, mails, the rules about failing endpoints) is done by
//! the owner of the first shard.

mod attempts;
#[cfg(test)]
mod circuit_tests;
mod clock_trust;
mod draining;
mod endpoint_rules;
#[cfg(test)]
mod fault_tests;
mod handoff;
mod janitor;
mod jump;
mod lane;
mod low_priority;
mod mailer;
mod membership;
mod pace;
mod pause;
mod plan;
mod provider_worker;
mod rate;
#[cfg(test)]
mod replay_tests;
mod replays;
mod scheduler;
#[cfg(test)]
mod scheduler_tests;
#[cfg(test)]
mod shards_tests;
mod traced;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clock_trust::ClockTrust;
pub use endpoint_rules::Watch;
pub use janitor::Retention;
use lane::Read;
use membership::Membership;
use parking_lot::Mutex;
use plan::Plan;
use provider_worker::Submitting;
pub use scheduler::Bounds;
use scheduler::{Job, Leap, Scheduler, StoreTask, Tenure};
use tokio::sync::Notify;
use tokio::sync::watch::Sender as Counter;
use tokio::task::JoinSet;

use crate::clock::Environment;
use crate::domain::id::EndpointId;
use crate::domain::recharge::Status;
use crate::domain::retry::Policy;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::meters::Meters;
use crate::providers::Providers;
use crate::store::group_commit::{GroupCommit, Haste};
use crate::store::{OpenRuns, RecordOutcome, Store, StoreError};
use crate::traces::Traces;
use crate::transport::Transport;
use crate::transport::mail::Mailer;

/// Logs that a task failed and will be tried again. The beginning and the end of an outage are logged by the store.
fn failed(task: &'static str, error: &StoreError) {
    if error.is_outage() {
        tracing::debug!(task, %error, "a task failed; retrying");
    } else {
        tracing::warn!(task, %error, "a task failed; retrying");
    }
}

/// What the engine is made of.
pub struct Parts {
    /// Where runs are.
    pub store: Arc<dyn Store>,
    /// What sends.
    pub transport: Arc<Transport>,
    /// Time and chance.
    pub environment: Environment,
    /// What counts.
    pub meters: Arc<Meters>,
    /// Where its work is told, if anywhere.
    pub traces: Option<Arc<Traces>>,
    /// How runs are retried.
    pub policy: Policy,
    /// Bounds of the node.
    pub bounds: Bounds,
    /// Length of the node's lease, where it is one of many.
    pub lease: Duration,
    /// How long an attempt may take.
    pub attempt_timeout: Duration,
    /// Default of an endpoint's own `strict_hold`.
    pub strict_hold: Duration,
    /// When failing endpoints are warned of and disabled.
    pub watch: Watch,
    /// How long things are kept.
    pub retention: Retention,
    /// What sends mails; without it they wait.
    pub mailer: Option<Mailer>,
    /// Where people reach the server, for mails.
    pub public_url: Option<String>,
    /// Who executes recharges.
    pub providers: Providers,
}

/// The engine of one node.
pub struct Engine {
    store: Arc<dyn Store>,
    transport: Arc<Transport>,
    environment: Environment,
    meters: Arc<Meters>,
    traces: Option<Arc<Traces>>,
    ceiling: u32,
    strict_hold: Duration,
    /// How long a run may take.
    deadline: Duration,
    watch: Watch,
    retention: Retention,
    mailer: Option<Mailer>,
    public_url: Option<String>,
    membership: Option<Membership>,
    /// Shards may have changed hands.
    renewal: Notify,
    renewed: Notify,
    /// How often the lease has run out: what is under way then is dropped.
    revoked: Counter<u64>,
    /// The store is looked through again.
    look: Notify,
    replays: Notify,
    providers: Providers,
    submitting: Submitting,
    /// Counts recharges that wait to be handed over.
    placed: Counter<u64>,
    committer: OnceLock<GroupCommit>,
    scheduler: Mutex<Scheduler>,
    clock_trust: ClockTrust,
    /// When the timer rings next, in milliseconds.
    armed: AtomicI64,
    timer: Notify,
    tasks: Notify,
    quiet: Notify,
    myself: OnceLock<std::sync::Weak<Self>>,
}

impl Engine {
    /// An engine that is not running yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        let membership = parts.store.cluster().map(|cluster| {
            let (lease, attempt_timeout) = (parts.lease, parts.attempt_timeout);
            Membership { cluster, lease, attempt_timeout }
        });
        let tenure = if membership.is_some() { Tenure::among_others() } else { Tenure::alone() };
        let engine = Arc::new(Self {
            ceiling: parts.bounds.max_in_flight_per_endpoint,
            deadline: parts.policy.deadline,
            scheduler: Mutex::new(Scheduler::new(parts.bounds, parts.policy, tenure)),
            clock_trust: ClockTrust::default(),
            store: parts.store,
            transport: parts.transport,
            environment: parts.environment,
            meters: parts.meters,
            traces: parts.traces,
            strict_hold: parts.strict_hold,
            watch: parts.watch,
            retention: parts.retention,
            mailer: parts.mailer,
            public_url: parts.public_url,
            membership,
            renewal: Notify::new(),
            renewed: Notify::new(),
            revoked: Counter::new(0),
            look: Notify::new(),
            replays: Notify::new(),
            providers: parts.providers,
            submitting: Submitting::default(),
            placed: Counter::new(0),
            committer: OnceLock::new(),
            armed: AtomicI64::new(i64::MAX),
            timer: Notify::new(),
            tasks: Notify::new(),
            quiet: Notify::new(),
            myself: OnceLock::new(),
        });
        engine.myself.set(Arc::downgrade(&engine)).expect("it is set once");
        engine
    }

    /// Starts its loops. They end when the returned set is dropped.
    pub fn start(self: &Arc<Self>, committer: GroupCommit) -> JoinSet<()> {
        self.committer.set(committer).ok().expect("an engine is started once");
        let mut loops = JoinSet::new();
        loops.spawn(Arc::clone(self).run_timer());
        loops.spawn(Arc::clone(self).run_sweeps());
        loops.spawn(Arc::clone(self).run_store_probes());
        loops.spawn(Arc::clone(self).fold_meters());
        loops.spawn(Arc::clone(self).run_watch());
        loops.spawn(Arc::clone(self).run_probes());
        loops.spawn(Arc::clone(self).run_replays());
        loops.spawn(Arc::clone(self).run_mails());
        loops.spawn(Arc::clone(self).run_janitor());
        loops.spawn(Arc::clone(self).run_lease());
        loops.spawn(Arc::clone(self).run_expiry());
        loops.spawn(Arc::clone(self).run_hearing());
        for provider in self.providers.all() {
            loops.spawn(Arc::clone(self).run_provider(Arc::clone(provider), self.placed.subscribe()));
        }
        for _ in 0..limits::CHORES_MAX {
            loops.spawn(Arc::clone(self).run_chores());
        }
        loops
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> usize {
        self.scheduler.lock().in_flight()
    }

    fn now(&self) -> Timestamp {
        self.environment.clock.now()
    }

    /// Works on the scheduler, then sets off what that made possible.
    fn act<T>(&self, work: impl FnOnce(&mut Scheduler, Timestamp) -> T) -> T {
        let (now, steady) = (self.now(), self.environment.clock.steady());
        let mut jobs = Vec::new();
        let (done, tasks, wake, idle) = {
            let mut scheduler = self.scheduler.lock();
            scheduler.observe_clock(now, steady);
            let done = work(&mut scheduler, now);
            while let Some(job) = scheduler.next(now) {
                jobs.push(job);
            }
            (done, scheduler.tasks(), scheduler.next_wake(), scheduler.in_flight() == 0 && scheduler.unsettled() == 0)
        };
        if idle {
            self.quiet.notify_waiters();
        }
        if wake.is_some_and(|at| at.as_millis() < self.armed.load(Ordering::SeqCst)) {
            self.timer.notify_one();
        }
        (0..tasks.min(limits::CHORES_MAX)).for_each(|_| self.tasks.notify_one());
        for job in jobs {
            self.spawn(job);
        }
        done
    }

    fn spawn(&self, job: Job) {
        if let Some(engine) = self.myself.get().and_then(std::sync::Weak::upgrade) {
            tokio::spawn(engine.attempts(job));
        }
    }

    // --- Loops ---------------------------------------------------------------------------------------------------

    async fn run_timer(self: Arc<Self>) {
        loop {
            let changed = self.timer.notified();
            let wake = {
                // Under the lock, so that whoever changes the scheduler after this sees for when the timer is armed.
                let scheduler = self.scheduler.lock();
                let wake = scheduler.next_wake();
                self.armed.store(wake.map_or(i64::MAX, Timestamp::as_millis), Ordering::SeqCst);
                wake
            };
            match wake {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = self.environment.clock.sleep_until(at) => self.act(Scheduler::tick),
                },
            }
        }
    }

    /// Looks for open runs, whatever the hints said: at the start, and then again and again.
    async fn run_sweeps(self: Arc<Self>) {
        loop {
            let swept = self.sweep().await;
            if let Err(error) = swept.and(self.keep_time().await) {
                failed("sweep", &error);
            }
            let next = self.now().plus(limits::SWEEP_EVERY);
            tokio::select! {
                () = self.environment.clock.sleep_until(next) => {}
                () = self.look.notified() => {}
            }
        }
    }

    /// One sweep over all endpoints that have open runs.
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        match self.act(Scheduler::begin_sweep) {
            Leap::None => {}
            Leap::Back(by) => tracing::warn!(seconds = by.as_secs(), "the clock was set back; everything pending is due now"),
            Leap::Forward(by) => tracing::info!(seconds = by.as_secs(), "the clock was set forward, or the machine slept"),
        }
        let open = self.store.open_count().await?;
        self.meters.backlog.set(open as f64);
        let (mut after, mut first_deadline) = (None, None::<Timestamp>);
        loop {
            let page = self.store.backlogs(after, limits::SWEEP_ROWS).await?;
            first_deadline = page.iter().map(|backlog| backlog.first_deadline).chain(first_deadline).min();
            self.act(|scheduler, now| scheduler.swept(&page, now));
            match page.last() {
                Some(last) if page.len() == limits::SWEEP_ROWS => after = Some(last.endpoint),
                _ => break,
            }
        }
        self.act(Scheduler::tidy);
        self.measure(first_deadline).await
    }

    /// Measures what nobody counts as it happens.
    async fn measure(&self, first_deadline: Option<Timestamp>) -> Result<(), StoreError> {
        let now = self.now();
        let overview = self.store.overview(now).await?;
        let seconds = |age: Option<Duration>| age.map_or(0.0, |age| age.as_secs_f64());
        let meters = &self.meters;
        // A run's deadline is its event's time and the deadline of all; a resend's counts from the asking.
        meters
            .oldest_open
            .set(seconds(first_deadline.map(|deadline| self.deadline.saturating_sub(deadline.since(now)) + now.since(deadline))));
        Status::ALL.into_iter().zip(overview.recharges).for_each(|(status, count)| meters.recharges(status).set(count as f64));
        meters.oldest_queued.set(seconds(overview.oldest_queued.map(|since| now.since(since))));
        meters.failing.set(overview.failing as f64);
        meters.disabled.set(overview.disabled as f64);
        meters.conflicts.set(overview.conflicts as f64);
        meters.replays.set(overview.replays as f64);
        meters.alerts.set(overview.alerts as f64);
        meters.stuck.set(overview.stuck as f64);
        let scheduler = self.scheduler.lock();
        meters.unsettled.set(scheduler.unsettled() as f64);
        meters.lanes.iter().zip(scheduler.lanes()).for_each(|(gauge, count)| gauge.set(count as f64));
        Ok(())
    }

    /// Finds out when a store that failed can be written again.
    async fn run_store_probes(self: Arc<Self>) {
        loop {
            self.environment.clock.sleep_until(self.now().plus(limits::PROBE_EVERY)).await;
            self.store.probe().await;
        }
    }

    async fn fold_meters(self: Arc<Self>) {
        loop {
            self.environment.clock.sleep_until(self.now().plus(Duration::from_secs(5))).await;
            self.meters.fold();
        }
    }

    async fn run_chores(self: Arc<Self>) {
        loop {
            let more = self.tasks.notified();
            let task = self.scheduler.lock().next_chore();
            match task {
                Some(task) => self.run_chore(task).await,
                None => more.await,
            }
        }
    }

    async fn run_chore(&self, task: StoreTask) {
        match task {
            StoreTask::Load(endpoint) => self.load(endpoint).await,
            StoreTask::Refill(endpoint, refill) => {
                let read = self.read(endpoint, refill).await.inspect_err(|error| failed("refill", error));
                self.pause_after(&read).await;
                self.act(|scheduler, now| scheduler.refilled(endpoint, refill, read.ok(), now));
            }
            StoreTask::Expire(endpoint) => {
                let expired = self.expired(endpoint).await;
                self.pause_after(&expired).await;
                let settles = self.act(|scheduler, now| scheduler.expire(endpoint, &expired.unwrap_or_default(), now));
                settles.into_iter().for_each(|settle| self.settle(settle, Haste::None));
            }
            StoreTask::Disable(plan) => {
                let endpoint = plan.endpoint.id;
                if let Err(error) = self.gone(&plan.endpoint).await {
                    tracing::error!(endpoint.id = %endpoint, %error, "the endpoint answered 410 Gone and could not be disabled");
                }
            }
        }
    }

    /// A store that does not answer is not asked again at once.
    async fn pause_after<T>(&self, asked: &Result<T, StoreError>) {
        if asked.is_err() {
            self.environment.clock.sleep_until(self.now().plus(limits::STORE_RETRY)).await;
        }
    }

    async fn load(&self, endpoint: EndpointId) {
        let loaded = self.store.endpoint(endpoint).await;
        self.pause_after(&loaded).await;
        let plan = match loaded {
            Ok(Some(found)) => Plan::new(found, self.ceiling, self.strict_hold)
                .inspect_err(|error| tracing::error!(endpoint.id = %endpoint, %error, "the endpoint cannot be sent to"))
                .ok(),
            Ok(None) => None,
            Err(error) => {
                failed("load", &error);
                None
            }
        };
        self.act(|scheduler, now| scheduler.loaded(endpoint, plan.map(Arc::new), now));
    }

    async fn read(&self, endpoint: EndpointId, refill: lane::Refill) -> Result<Read, StoreError> {
        let asks = [refill.ordered, refill.due, refill.replayed];
        let OpenRuns { pages, next_due } = self.store.open_runs(endpoint, asks.into_iter().flatten().collect(), refill.now).await?;
        let mut pages = pages.into_iter();
        let [ordered, due, replayed] = asks.map(|ask| ask.and_then(|_| pages.next()).unwrap_or_default());
        Ok(Read { ordered, due, replayed, next_due })
    }

    async fn expired(&self, endpoint: EndpointId) -> Result<Vec<crate::store::Expired>, StoreError> {
        let deleted = self.store.endpoint(endpoint).await?.is_none_or(|endpoint| endpoint.deleted);
        let line = if deleted { Timestamp::from_millis(i64::MAX) } else { self.now() };
        self.store.expired(endpoint, line, limits::STEP_ROWS_MAX).await
    }

    /// An endpoint changed: its lane reads it again.
    fn changed_here(&self, endpoint: EndpointId) {
        self.act(|scheduler, _| {
            if scheduler.is_mine(endpoint) {
                scheduler.changed(endpoint);
            }
        });
    }

    /// Offers outcomes again that the store could not take, after a while.
    fn settle_again(&self, refused: Vec<RecordOutcome>) {
        let Some(engine) = self.myself.get().and_then(std::sync::Weak::upgrade) else { return };
        tokio::spawn(async move {
            engine.environment.clock.sleep_until(engine.now().plus(limits::SETTLE_RETRY)).await;
            refused.into_iter().for_each(|settle| engine.settle(settle, Haste::None));
        });
    }
}
