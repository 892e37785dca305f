//! Replays: a range of events sent again, as a job that survives a restart.

use serde_json::json;

use super::input::Paging;
use super::{Caller, IdempotentRequest, Ops, OpsError};
use crate::domain::audit::Note;
use crate::domain::endpoint::Endpoint;
use crate::domain::filter::Filter;
use crate::domain::id::{EndpointId, ReplayId};
use crate::domain::replay::{Only, Replay, ReplayState};
use crate::domain::time::Timestamp;
use crate::fields::Fields;
use crate::limits;
use crate::store::{Command, Page, ReplayScope, Reply, TimeRange};

/// What a replay would be about, or is.
pub enum Replaying {
    /// A dry run: the number of events.
    Dry(u64),
    /// It was started.
    Started(Box<Replay>),
}

/// A replay as it was asked for.
struct Asked {
    range: TimeRange,
    only: Only,
    event_types: Option<Filter>,
    is_dry: bool,
}

impl Ops {
    /// Starts a replay: `{since, until?, event_types?, only?, dry_run?}`.
    ///
    /// # Errors
    /// The input's problems; there is no such endpoint; it is neither connected nor paused; as many replays to it as there
    /// may be are running.
    pub async fn replay(
        &self,
        caller: Caller,
        id: EndpointId,
        fields: Fields,
        once: IdempotentRequest<Replay>,
    ) -> Result<Replaying, OpsError> {
        let endpoint = self.find_endpoint(caller, id).await?;
        let now = self.environment.clock.now();
        let Asked { range, only, event_types, is_dry } = read(fields, now)?;
        let numbers = self.store.sequences(endpoint.stream, range).await?;
        let scope = ReplayScope { endpoint: id, numbers: numbers.clone(), only, event_types: event_types.clone() };
        if !is_dry && !endpoint.status.listens() {
            let status = endpoint.status.as_str();
            return Err(OpsError::IllegalState(format!("the endpoint is {status}; connect or enable it first")));
        }
        let matched = self.store.count_scope(scope).await?;
        if is_dry {
            return Ok(Replaying::Dry(matched));
        }
        let replay = Replay {
            id: ReplayId::from(self.environment.ids.next(now)),
            stream: endpoint.stream,
            endpoint: id,
            since: range.since.unwrap_or(now),
            until: range.until.unwrap_or(now),
            only,
            event_types,
            next_sequence: numbers.start,
            end_sequence: numbers.end,
            matched,
            opened: 0,
            done: 0,
            state: ReplayState::Running,
            created_at: now,
        };
        self.start_replay(caller, &endpoint, &replay, once).await?;
        Ok(Replaying::Started(Box::new(replay)))
    }

    async fn start_replay(
        &self,
        caller: Caller,
        endpoint: &Endpoint,
        replay: &Replay,
        once: IdempotentRequest<Replay>,
    ) -> Result<(), OpsError> {
        let details = json!({"endpoint_id": endpoint.id, "since": replay.since, "until": replay.until, "only": replay.only,
                             "matched": replay.matched});
        let note = Note { details, ..caller.note("replay.started", replay.id, endpoint.into()) };
        if !self.change(Command::StartReplay(Box::new(replay.clone())), Some(note), once.known(replay)).await?.took_effect() {
            let most = limits::REPLAYS_RUNNING;
            return Err(OpsError::IllegalState(format!("{most} replays to the endpoint are running; wait for one of them, or cancel it")));
        }
        self.handoff.replaying(endpoint.id);
        Ok(())
    }

    /// Replays of a vendor and mode, newest first.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn replays(&self, caller: Caller, mut fields: Fields) -> Result<(Vec<Replay>, Page<ReplayId>), OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let Paging(page) = Paging::read(&mut fields);
        let problems = fields.finish();
        let (Some(mine), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        Ok((self.store.replays(mine.stream, page).await?, page))
    }

    /// One replay.
    ///
    /// # Errors
    /// There is no such replay.
    pub async fn one_replay(&self, caller: Caller, id: ReplayId) -> Result<Replay, OpsError> {
        let found = self.store.replay(id).await?.filter(|replay| caller.sees(replay.stream));
        found.ok_or(OpsError::NotFound("replay"))
    }

    /// Cancels a replay: its runs that are open end as cancelled, the others are not opened.
    ///
    /// # Errors
    /// There is no such replay; it is done.
    pub async fn cancel_replay(&self, caller: Caller, id: ReplayId) -> Result<(), OpsError> {
        let replay = self.one_replay(caller, id).await?;
        if replay.state == ReplayState::Done {
            return Err(OpsError::IllegalState("the replay is done".to_owned()));
        }
        let mine = self.owner(replay.stream).await?;
        let mut note = (replay.state == ReplayState::Running).then(|| caller.note("replay.cancelled", id, mine.into()));
        loop {
            match self.change(Command::CancelReplay(id), note.take(), None).await? {
                Reply::Cancelled(Some(runs)) => {
                    let all = runs.len() < limits::STEP_ROWS_MAX;
                    self.handoff.cancelled(replay.endpoint, runs);
                    if all {
                        return Ok(());
                    }
                }
                _ => return Err(OpsError::IllegalState("the replay is done".to_owned())),
            }
        }
    }
}

fn read(mut fields: Fields, now: Timestamp) -> Result<Asked, OpsError> {
    let named = fields.gives("since");
    let since = fields.parse::<Timestamp>("since");
    if !named {
        fields.invalid("since", "is required: the time from which on events are sent again");
    }
    let until = fields.parse::<Timestamp>("until").unwrap_or(now);
    if since.is_some_and(|since| since >= until) {
        fields.invalid("since", "must lie before until (now, if that is left out)");
    }
    let only = fields.parse::<Only>("only").unwrap_or(Only::All);
    let event_types = super::settings::read_event_types(&mut fields);
    let is_dry = fields.boolean("dry_run").unwrap_or(false);
    let problems = fields.finish();
    if problems.is_empty() {
        Ok(Asked { range: TimeRange { since, until: Some(until) }, only, event_types, is_dry })
    } else {
        Err(OpsError::Invalid(problems))
    }
}
