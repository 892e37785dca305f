//! Which endpoints are this node's to send to, and for how long: its lease and its shards.
//!
//! A node without others beside it owns everything, for ever. Among others it begins no attempt once its lease has run out
//! by the clock that goes on while the machine sleeps, whatever it knew of shards.

use super::{Job, Lane, Scheduler};
use crate::clock::BootTime;
use crate::domain::id::EndpointId;
use crate::domain::shard::{SHARDS, Shard};
use crate::domain::time::Timestamp;
use crate::store::cluster::Standing;

pub(in super::super) struct Tenure {
    /// The end of the lease; none if there are no other nodes.
    lease: Option<BootTime>,
    shards: Vec<Tenancy>,
}

/// What is known of a shard.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Tenancy {
    owner: Option<u8>,
    /// It is this node's.
    pub is_mine: bool,
    /// It is to be given back: nothing of it goes out any more.
    pub is_leaving: bool,
    /// Counts its owners.
    pub epoch: i64,
    /// Strict endpoints begin then: its last owner may have had a request under way until then.
    pub strict_from: Option<Timestamp>,
}

impl Tenure {
    /// Of a node that owns everything.
    pub fn alone() -> Self {
        Self { lease: None, shards: vec![Tenancy { is_mine: true, ..Tenancy::default() }; SHARDS] }
    }

    /// Of a node that has to ask for everything.
    pub fn among_others() -> Self {
        Self { lease: Some(BootTime::now()), shards: vec![Tenancy::default(); SHARDS] }
    }

    /// Whether attempts may begin.
    pub fn stands(&self) -> bool {
        self.lease.is_none_or(|end| BootTime::now() < end)
    }

    pub fn of(&self, endpoint: EndpointId) -> Tenancy {
        self.shards[Shard::of(endpoint).number()]
    }
}

impl Scheduler {
    pub fn is_mine(&self, endpoint: EndpointId) -> bool {
        self.tenure.of(endpoint).is_mine
    }

    /// The other node that an endpoint belongs to, if one is known.
    pub fn owner(&self, endpoint: EndpointId) -> Option<u8> {
        let tenancy = self.tenure.of(endpoint);
        tenancy.owner.filter(|_| !tenancy.is_mine)
    }

    /// Whether this node is the one that does what only one has to do: the owner of the first shard.
    pub fn runs_singletons(&self) -> bool {
        self.tenure.shards[0].is_mine && self.tenure.stands()
    }

    /// Whether this node may send, as far as its lease goes, and how many shards it has.
    pub fn tenure(&self) -> (bool, usize) {
        (self.tenure.stands(), self.tenure.shards.iter().filter(|shard| shard.is_mine).count())
    }

    /// The end of the lease, if there is one.
    pub fn lease(&self) -> Option<BootTime> {
        self.tenure.lease
    }

    /// Whether the lane that something was decided by is still there.
    pub(super) fn is_current(&self, endpoint: EndpointId, epoch: i64) -> bool {
        self.lanes.get(&endpoint).is_some_and(|lane| lane.tenancy.epoch == epoch)
    }

    /// The lease stands until `lease`. Strict endpoints of shards that were seized begin at `strict_from`. Answers how many
    /// shards are this node's now and were not.
    pub fn renewed(&mut self, standing: &Standing, lease: BootTime, strict_from: Timestamp) -> usize {
        let (mut gained, mut lost) = (0, Vec::new());
        for (shard, holding) in Shard::all().zip(&standing.holdings) {
            let (is_mine, known) =
                (holding.owner.is_some_and(|owner| owner.node == standing.node), &mut self.tenure.shards[shard.number()]);
            let is_kept = is_mine && known.is_mine && known.epoch == holding.epoch;
            if known.is_mine && !is_kept {
                lost.push(shard);
            }
            gained += usize::from(is_mine && !is_kept);
            let strict_from = if is_kept { known.strict_from } else { standing.seized.contains(&shard).then_some(strict_from) };
            let owner = holding.owner.map(|owner| owner.node);
            *known = Tenancy { owner, is_mine, is_leaving: standing.surplus.contains(&shard), epoch: holding.epoch, strict_from };
        }
        self.forget(&lost);
        self.tenure.lease = Some(lease);
        for (endpoint, lane) in &mut self.lanes {
            lane.tenancy = self.tenure.of(*endpoint);
        }
        gained
    }

    /// Whether shards wait to be given back.
    pub fn is_giving_back(&self) -> bool {
        self.tenure.shards.iter().any(|shard| shard.is_leaving)
    }

    /// Shards that are to be given back and of which nothing is under way, nor waits to be written down. They are this
    /// node's no more.
    pub fn vacated(&mut self) -> Vec<Shard> {
        let busy: Vec<Shard> = self.lanes.iter().filter(|(_, lane)| lane.has_in_hand()).map(|(endpoint, _)| Shard::of(*endpoint)).collect();
        let leaving = Shard::all().filter(|shard| self.tenure.shards[shard.number()].is_leaving && !busy.contains(shard));
        let vacated: Vec<Shard> = leaving.collect();
        for shard in &vacated {
            self.tenure.shards[shard.number()] = Tenancy::default();
        }
        self.forget(&vacated);
        vacated
    }

    /// Everything is given back.
    pub fn lose_all(&mut self) {
        self.tenure.shards.fill(Tenancy::default());
        self.forget(&Shard::all().collect::<Vec<_>>());
    }

    fn forget(&mut self, shards: &[Shard]) {
        let Self { lanes, bytes, .. } = self;
        lanes.retain(|endpoint, lane| {
            let stays = !shards.contains(&Shard::of(*endpoint));
            *bytes -= if stays { 0 } else { lane.bytes() };
            stays
        });
    }

    /// Another node opened runs of an endpoint, the first of them with this number.
    pub fn opened_elsewhere(&mut self, endpoint: EndpointId, from: i64, now: Timestamp) {
        self.with(endpoint, now, |lane, _| lane.opened_elsewhere(from));
    }

    /// Something may not have been heard: everything that is known here is looked up again.
    pub fn missed(&mut self, now: Timestamp) {
        self.unsure(now);
        self.tasks.extend(self.lanes.keys().copied().map(super::StoreTask::Load));
    }

    /// An attempt was dropped, because the node may not send any more.
    pub fn abandoned(&mut self, job: Job, now: Timestamp) {
        self.under_way[job.standing as usize] -= 1;
        let (endpoint, run) = (job.run.key.endpoint, job.run);
        if self.is_current(endpoint, job.epoch) {
            self.with(endpoint, now, |lane: &mut Lane, _| lane.give_back(run, now));
        }
    }
}
