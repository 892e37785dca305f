//! This node among others: its lease, what it does when shards come and go, and what it hears.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::scheduler::Scheduler;
use crate::clock::{BootTime, Stopwatch};
use crate::domain::id::EndpointId;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::StoreError;
use crate::store::cluster::{Cluster, Hint, To};

/// What the engine knows of the others.
pub(super) struct Membership {
    pub cluster: Arc<dyn Cluster>,
    /// Length of the lease.
    pub lease: Duration,
    /// How long a request of a node that is gone may still be under way.
    pub attempt_timeout: Duration,
}

impl Engine {
    /// Makes the lease, before anything else is done.
    ///
    /// # Errors
    /// The database's.
    pub async fn join(&self) -> Result<(), StoreError> {
        match &self.membership {
            Some(membership) => self.renew(membership).await,
            None => Ok(()),
        }
    }

    /// Gives the shards back, after all is done.
    pub async fn leave(&self) {
        let Some(membership) = &self.membership else { return };
        self.act(|scheduler, _| scheduler.lose_all());
        if let Err(error) = membership.cluster.leave().await {
            tracing::warn!(%error, "the shards could not be given back; other nodes take them when the lease has run out");
        }
    }

    /// Whether it is for this node to do what only one has to do.
    pub(super) fn runs_singletons(&self) -> bool {
        self.scheduler.lock().runs_singletons()
    }

    /// Works on an endpoint's lane if it is this node's; its owner is told otherwise.
    pub(super) fn at_owner(&self, hint: Hint, endpoint: EndpointId, work: impl FnOnce(&mut Scheduler, Timestamp)) {
        let owner = self.act(|scheduler, now| {
            if scheduler.is_mine(endpoint) {
                work(scheduler, now);
            }
            scheduler.owner(endpoint)
        });
        owner.into_iter().for_each(|owner| self.tell(owner, hint));
    }

    pub(super) fn tell(&self, node: u8, hint: Hint) {
        if let Some(membership) = &self.membership {
            membership.cluster.tell(To::Node(node), hint);
        }
    }

    /// Renews the lease at a third of its length, and when others say that shards have changed hands.
    pub(super) async fn run_lease(self: Arc<Self>) {
        let Some(membership) = &self.membership else { return };
        loop {
            let leaves = self.act(|scheduler, _| scheduler.is_giving_back());
            // What is under way when a shard is to be given back is over in a moment.
            let wait = if leaves { limits::GIVE_BACK_EVERY.min(membership.lease / 3) } else { membership.lease / 3 };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.renewal.notified() => {}
            }
            if let Err(error) = self.renew(membership).await {
                super::failed("lease", &error);
                tokio::time::sleep(limits::RECONNECT_MAX.min(membership.lease / 10)).await;
                self.renewal.notify_one();
            }
        }
    }

    async fn renew(&self, membership: &Membership) -> Result<(), StoreError> {
        let asked_at = BootTime::now();
        let given_back = self.act(|scheduler, _| scheduler.vacated());
        let gave = given_back.len();
        let standing = membership.cluster.renew(given_back).await?;
        let strict_from = self.now().plus(membership.attempt_timeout);
        let gained = self.act(|scheduler, _| scheduler.renewed(&standing, asked_at.plus(membership.lease), strict_from));
        let (_, shards) = self.scheduler.lock().tenure();
        self.meters.shards.set(shards as f64);
        self.renewed.notify_one();
        if gained > 0 {
            tracing::info!(node = standing.node, gained, seized = standing.seized.len(), shards, "shards came to this node");
            self.meters.shards_seized.increment(standing.seized.len() as u64);
            self.look.notify_one();
            self.replays.notify_one();
            self.look_again([limits::GAINED_LOOKED_AT, membership.lease / 3 + limits::GAINED_LOOKED_AT]);
        }
        if gave > 0 {
            tracing::info!(node = standing.node, gave, shards, "shards were given back for other nodes to take");
            membership.cluster.tell(To::All, Hint::Shards);
        }
        Ok(())
    }

    /// Looks through the store again after these times. Others go on telling the former owner of a shard of what they open, until
    /// they have renewed their leases and know better; nobody hears that.
    fn look_again(&self, after: [Duration; 2]) {
        let Some(engine) = self.myself.get().cloned() else { return };
        tokio::spawn(async move {
            let watch = Stopwatch::start();
            for time in after {
                tokio::time::sleep(time.saturating_sub(watch.elapsed())).await;
                let Some(engine) = engine.upgrade() else { return };
                engine.look.notify_one();
            }
        });
    }

    /// Drops the requests that are under way when the lease has run out; none is begun before it stands again. What is in memory
    /// stays: it is right for the shards that nobody has taken by then.
    pub(super) async fn run_expiry(self: Arc<Self>) {
        if self.membership.is_none() {
            return;
        }
        loop {
            let end = self.scheduler.lock().lease();
            let left = end.map(|end| end.since(BootTime::now())).unwrap_or_default();
            if !left.is_zero() {
                tokio::time::sleep(left).await;
                continue;
            }
            let (_, shards) = self.scheduler.lock().tenure();
            if shards > 0 {
                tracing::warn!(shards, "the node's lease has run out; it sends nothing until it has one again");
            }
            self.revoked.send_modify(|times| *times += 1);
            self.renewed.notified().await;
        }
    }

    /// Does what other nodes tell.
    pub(super) async fn run_hearing(self: Arc<Self>) {
        let Some(membership) = &self.membership else { return };
        loop {
            for hint in membership.cluster.heard().await {
                self.hear(hint);
            }
        }
    }

    fn hear(&self, hint: Hint) {
        let here = |endpoint: EndpointId, work: &dyn Fn(&mut Scheduler, Timestamp)| {
            self.act(|scheduler, now| {
                if scheduler.is_mine(endpoint) {
                    work(scheduler, now);
                }
            });
        };
        match hint {
            Hint::Opened { endpoint, from } => here(endpoint, &|scheduler, now| scheduler.opened_elsewhere(endpoint, from, now)),
            Hint::Due(endpoint) => here(endpoint, &|scheduler, now| scheduler.due(endpoint, now)),
            Hint::Dropped(endpoint) => here(endpoint, &|scheduler, now| scheduler.dropped(endpoint, now)),
            Hint::Changed(endpoint) => here(endpoint, &|scheduler, _| scheduler.changed(endpoint)),
            Hint::Replaying => self.replays.notify_one(),
            Hint::Shards => self.renewal.notify_one(),
            Hint::Missed => {
                self.act(Scheduler::missed);
                self.look.notify_one();
                self.replays.notify_one();
                self.renewal.notify_one();
            }
        }
    }
}
