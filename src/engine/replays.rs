//! Replays, worked off step by step: each step opens some runs, and goes on when enough of them have ended.
//!
//! Where a replay stands is in its row, so that a crash costs nothing: the next start goes on from there. What a step
//! opened waits in the lane behind everything else.

use std::sync::Arc;

use super::Engine;
use crate::domain::endpoint::EndpointStatus;
use crate::domain::id::{EndpointId, ReplayId};
use crate::limits;
use crate::store::cluster::Hint;
use crate::store::{Command, Reply, Stepped, StoreError};

impl Engine {
    pub(super) async fn run_replays(self: Arc<Self>) {
        loop {
            let more = self.replays.notified();
            match self.step_replays().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => super::failed("replays", &error),
            }
            let next = self.now().plus(limits::REPLAY_EVERY);
            tokio::select! {
                () = more => {}
                () = self.environment.clock.sleep_until(next) => {}
            }
        }
    }

    /// One step of each running replay; answers whether any of them got on.
    ///
    /// # Errors
    /// The store's.
    pub async fn step_replays(&self) -> Result<bool, StoreError> {
        let (mut after, mut moved) = (None, false);
        loop {
            let page = self.store.running_replays(after, limits::WATCH_ROWS).await?;
            for id in &page {
                moved |= self.step_replay(*id).await?;
            }
            match page.last() {
                Some(last) if page.len() == limits::WATCH_ROWS => after = Some(*last),
                _ => return Ok(moved),
            }
        }
    }

    async fn step_replay(&self, id: ReplayId) -> Result<bool, StoreError> {
        let Some(replay) = self.store.replay(id).await? else { return Ok(false) };
        if !self.scheduler.lock().is_mine(replay.endpoint) {
            return Ok(false);
        }
        let open = replay.opened.saturating_sub(replay.done) as usize;
        let is_read = replay.next_sequence >= replay.end_sequence;
        // What failed and waits for its retry holds up nothing.
        let waits = !is_read && open > limits::REPLAY_OPEN_MAX / 2;
        let waiting = if waits { self.store.replay_waiting(replay.clone(), self.now()).await? } else { 0 };
        let under_way = open.saturating_sub(waiting);
        let is_full = under_way > limits::REPLAY_OPEN_MAX / 2 || waiting >= limits::REPLAY_WAITING_MAX;
        // What can be seen without writing is not written.
        let may_step = if is_read { open == 0 } else { !is_full && self.goes_on(replay.endpoint).await? };
        if !may_step {
            return Ok(false);
        }
        match self.change(Command::StepReplay { id, deadline: self.deadline }, None).await? {
            Reply::Stepped(Stepped::On) => {
                self.at_owner(Hint::Due(replay.endpoint), replay.endpoint, |scheduler, now| scheduler.due(replay.endpoint, now));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether there is anything to do for replays to this endpoint: not while it does not listen.
    async fn goes_on(&self, endpoint: EndpointId) -> Result<bool, StoreError> {
        let endpoint = self.store.endpoint(endpoint).await?;
        Ok(endpoint.is_none_or(|endpoint| endpoint.deleted || endpoint.status == EndpointStatus::Connected))
    }
}
