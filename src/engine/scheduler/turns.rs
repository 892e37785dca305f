//! What goes out: whose turn it is, and who gets a slot of those that may be under way at once.

use std::cmp::Reverse;

use super::{Job, Scheduler};
use crate::domain::id::EndpointId;
use crate::domain::time::Timestamp;
use crate::engine::lane::Lane;
use crate::engine::pace::Standing;
use crate::limits;

impl Scheduler {
    /// The next attempt to make, if one may be made now.
    pub fn next(&mut self, now: Timestamp) -> Option<Job> {
        self.latest = self.latest.max(now);
        let in_flight = self.in_flight();
        if self.stopped
            || !self.tenure.stands()
            || self.pause.until(now).is_some()
            || in_flight >= self.bounds.max_in_flight
            || in_flight + self.unsettled >= self.bounds.unsettled_max
        {
            return None;
        }
        self.relieve(now);
        let shares = self.shares();
        for (standing, most) in [(Standing::Proven, shares.proven), (Standing::Quiet, shares.other), (Standing::Failing, shares.other)] {
            while self.under_way[standing as usize] < most
                && let Some(endpoint) = self.turns[standing as usize].pop_front()
            {
                if let Go::Now = self.turn(endpoint, standing, now)
                    && let Some(job) = self.take(endpoint, standing, now)
                {
                    return Some(job);
                }
            }
        }
        self.next_behind(now)
    }

    /// How many attempts may be under way, by standing. Lanes that do not answer cannot take what is for those that do, nor the
    /// other way round.
    fn shares(&self) -> Shares {
        let most = self.bounds.max_in_flight;
        let other = most / limits::UNPROVEN_SHARE / 2;
        Shares { proven: most - 2 * other, other: other.max(1) }
    }

    /// From so many attempts of proven lanes on there is pressure.
    fn pressure_from(&self) -> usize {
        self.bounds.max_in_flight.div_ceil(limits::PRESSURE_FROM)
    }

    /// Whether a proven lane may take a slot. Under pressure that is for lanes that have answered since it began, and, but for a
    /// last reserve, for those that have nothing under way: endpoints that begin to hang at the same moment leave room for those
    /// that do not.
    fn admits(&self, lane: &Lane) -> bool {
        let Some(since) = self.pressed_since else { return true };
        let has_answered = lane.pace.circuit().accepted_at().is_some_and(|at| at > since);
        let reserve = self.bounds.max_in_flight / limits::UNPROVEN_SHARE / 2;
        has_answered || (lane.is_resting() && self.under_way[Standing::Proven as usize] + reserve < self.shares().proven)
    }

    /// Whether a lane whose turn it is goes now, by how it stands by now.
    fn turn(&mut self, endpoint: EndpointId, queue: Standing, now: Timestamp) -> Go {
        let Some(lane) = self.lanes.get(&endpoint).filter(|lane| lane.queued == Some(queue)) else { return Go::Not };
        let (by_now, is_resting) = (lane.pace.standing(now), lane.is_resting());
        let to = if by_now > queue {
            by_now
        } else if queue == Standing::Proven && !self.admits(lane) {
            // It has the slots of quiet lanes, or waits until one of its own attempts comes back.
            Standing::Quiet
        } else {
            return Go::Now;
        };
        let lane = self.lanes.get_mut(&endpoint).expect("it was there");
        if to > by_now && !is_resting {
            lane.queued = None;
            self.deferred.insert(endpoint);
        } else {
            lane.queued = Some(to);
            self.turns[to as usize].push_back(endpoint);
        }
        Go::Not
    }

    /// A slot was taken.
    fn took_slot(&mut self, standing: Standing, now: Timestamp) {
        self.under_way[standing as usize] += 1;
        if self.under_way[Standing::Proven as usize] >= self.pressure_from() {
            self.pressed_since.get_or_insert(now);
        }
    }

    /// Where the pressure is over, lanes that were deferred get their turns.
    fn relieve(&mut self, now: Timestamp) {
        if self.under_way[Standing::Proven as usize] < self.pressure_from() {
            self.pressed_since = None;
            for endpoint in std::mem::take(&mut self.deferred) {
                if self.lanes.contains_key(&endpoint) {
                    self.with(endpoint, now, |_, _| ());
                }
            }
        }
    }

    /// The next attempt of those that go out behind the others; if it is too early for it, a timer rings when it is not.
    fn next_behind(&mut self, now: Timestamp) -> Option<Job> {
        let per_second = self.bounds.behind_per_second;
        while self.under_way[Standing::Proven as usize] < self.shares().proven
            && let Some(endpoint) = self.behind.turns.front().copied()
        {
            if let Some(at) = self.behind.rate.free_at(per_second, now) {
                self.timers.extend(self.behind.arrange(at, now).then_some(Reverse((at, endpoint))));
                return None;
            }
            self.behind.turns.pop_front();
            let Some(lane) = self.lanes.get(&endpoint) else { continue };
            let (is_proven, admitted) = (lane.pace.standing(now) == Standing::Proven, self.admits(lane));
            self.lanes.get_mut(&endpoint).expect("it was there").queued_behind = false;
            if !is_proven {
                self.with(endpoint, now, |_, _| ());
                continue;
            }
            if !admitted {
                self.deferred.insert(endpoint);
                continue;
            }
            if let Some(job) = self.take(endpoint, Standing::Proven, now) {
                let costs = if job.run.replay.is_some() { limits::REPLAY_COSTS } else { 1 };
                self.behind.rate.spend(per_second / costs, now);
                return Some(job);
            }
        }
        None
    }

    fn take(&mut self, endpoint: EndpointId, standing: Standing, now: Timestamp) -> Option<Job> {
        if !self.lanes.contains_key(&endpoint) {
            return None;
        }
        let job = self.with(endpoint, now, |lane, _| {
            lane.queued = None;
            let plan = lane.plan.clone()?;
            lane.take(now).map(|run| Job { run, plan, standing, epoch: lane.tenancy.epoch })
        })?;
        self.took_slot(standing, now);
        Some(job)
    }
}

/// Attempts that may be under way.
struct Shares {
    /// Of lanes that are proven.
    proven: usize,
    /// Of lanes that were merely quiet, and as many of those that fail.
    other: usize,
}

/// What becomes of a lane whose turn it is.
enum Go {
    /// It may send.
    Now,
    /// It stands in another queue by now, waits, or has nothing to wait for.
    Not,
}
