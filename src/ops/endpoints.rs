//! Endpoints: made, read, changed, connected, tested, deleted.

use std::time::Duration;

use serde_json::json;
use url::Url;

use super::input::{Paging, StreamScope, finish};
use super::settings::{changed_settings, read_secret, read_word, secret_text};
use super::{Caller, IdempotentRequest, Ops, OpsError, Seen};
use crate::domain::attempt::Attempt;
use crate::domain::audit::Note;
use crate::domain::endpoint::{Endpoint, EndpointStatus, Profile, Settings};
use crate::domain::filter::TEST_TYPE;
use crate::domain::id::EndpointId;
use crate::domain::recharge::Status;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::fields::Fields;
use crate::limits;
use crate::store::{CachedResponse, Command, EndpointChange, OpenSize, Page, Reply};

/// An endpoint with what is known of it beside its settings.
#[derive(Debug, Clone)]
pub struct ShownEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What it has open.
    pub size: OpenSize,
    /// The age of the first of that.
    pub oldest: Option<Duration>,
    /// How long that takes at the present pace.
    pub drain: Option<Duration>,
    /// When it will be disabled if it goes on failing.
    pub disables_at: Option<Timestamp>,
    /// Until when a former secret goes on signing.
    pub overlap_until: Option<Timestamp>,
}

/// An endpoint that was just made; its secret is shown this once.
#[derive(Clone)]
pub struct NewEndpoint {
    /// The endpoint.
    pub endpoint: ShownEndpoint,
    /// The secret as its vendor puts it into a receiver.
    pub secret: String,
}

/// A secret that was just made, shown this once.
#[derive(Clone)]
pub struct NewSecret {
    /// The secret as its vendor puts it into a receiver.
    pub secret: String,
    /// Until when the one before it goes on signing.
    pub overlap_until: Option<Timestamp>,
}

/// An endpoint that was connected.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Events that it did not get.
    pub missed: u64,
    /// What was seen of it.
    pub seen: Seen,
}

impl Ops {
    /// Makes an endpoint; it gets events once it is connected.
    ///
    /// # Errors
    /// The input's problems; [`OpsError::EndpointLimit`].
    pub async fn create_endpoint(
        &self,
        caller: Caller,
        mut fields: Fields,
        once: IdempotentRequest<NewEndpoint>,
    ) -> Result<NewEndpoint, OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        if !fields.has("url") {
            fields.invalid("url", "is required");
        }
        let profile = read_word(&mut fields, "profile", &Profile::ALL, Profile::as_str).unwrap_or(Profile::Standard);
        let secret = read_secret(&mut fields, profile).unwrap_or_else(|| self.new_secret(profile));
        let nowhere = Url::parse("https://invalid.invalid/").expect("it is a URL");
        let mut settings = Settings { profile, ..Settings::new(nowhere, secret) };
        if fields.boolean("ed25519") == Some(true) {
            settings.signing_key = Some(self.random_secret(32));
        }
        let mode = mine.map_or(Mode::Live, |mine| mine.mode);
        self.read_settings(&mut fields, &mut settings, mode);
        let problems = fields.finish();
        let (Some(StreamScope { vendor, mode, stream }), true) = (mine, problems.is_empty()) else {
            return Err(OpsError::Invalid(problems));
        };
        let now = self.environment.clock.now();
        let id = EndpointId::from(self.environment.ids.next(now));
        let endpoint = Endpoint::new(id, vendor, mode, stream, settings, now);
        let details = json!({"url": endpoint.settings.shown_url(), "profile": profile.as_str()});
        let note = Note { details, ..caller.note("endpoint.created", id, (&endpoint).into()) };
        let shown = ShownEndpoint {
            endpoint: endpoint.clone(),
            size: OpenSize::default(),
            oldest: None,
            drain: None,
            disables_at: None,
            overlap_until: None,
        };
        let new = NewEndpoint { secret: secret_text(&endpoint.settings), endpoint: shown };
        let command = Command::CreateEndpoint { endpoint: Box::new(endpoint), most: self.rules.endpoints_per_vendor };
        let done = self.change(command, Some(note), once.known(&new)).await?;
        if done.took_effect() { Ok(new) } else { Err(OpsError::EndpointLimit(self.rules.endpoints_per_vendor)) }
    }

    /// A vendor's endpoints, newest first.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn endpoints(&self, caller: Caller, mut fields: Fields) -> Result<(Vec<ShownEndpoint>, Page<EndpointId>), OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let Paging(page) = Paging::read(&mut fields);
        let problems = fields.finish();
        let (Some(mine), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let mut shown = Vec::new();
        for endpoint in self.store.endpoints(mine.stream, page).await? {
            shown.push(self.shown_endpoint(endpoint).await?);
        }
        Ok((shown, page))
    }

    /// One endpoint.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn endpoint(&self, caller: Caller, id: EndpointId) -> Result<ShownEndpoint, OpsError> {
        self.shown_endpoint(self.find_endpoint(caller, id).await?).await
    }

    pub(super) async fn shown_endpoint(&self, endpoint: Endpoint) -> Result<ShownEndpoint, OpsError> {
        let size = self.store.open_size(endpoint.id).await?;
        let now = self.environment.clock.now();
        let oldest = size.oldest.map(|at| now.since(at));
        let pace = self.handoff.pace(endpoint.id).filter(|pace| *pace > 0.0);
        let drain = pace.map(|pace| Duration::from_secs_f64(size.open as f64 / pace)).filter(|_| size.open > 0);
        let connected = endpoint.status == EndpointStatus::Connected;
        let disables_at = endpoint.failing_since.filter(|_| connected).map(|since| since.plus(self.rules.disable_after));
        let overlap_until = endpoint.settings.former.iter().map(|former| former.until).filter(|until| *until > now).max();
        Ok(ShownEndpoint { endpoint, size, oldest, drain, disables_at, overlap_until })
    }

    pub(super) async fn find_endpoint(&self, caller: Caller, id: EndpointId) -> Result<Endpoint, OpsError> {
        let found = self.store.endpoint(id).await?.filter(|endpoint| !endpoint.deleted && caller.sees(endpoint.stream));
        found.ok_or(OpsError::NotFound("endpoint"))
    }

    /// Changes an endpoint. A connected one's new `url` or `profile` has to pass the handshake first; if it does not,
    /// the old values stay in force.
    ///
    /// # Errors
    /// The input's problems; there is no such endpoint; [`OpsError::ConnectFailed`].
    pub async fn change_endpoint(&self, caller: Caller, id: EndpointId, mut fields: Fields) -> Result<ShownEndpoint, OpsError> {
        let before = self.find_endpoint(caller, id).await?;
        let mut settings = before.settings.clone();
        let profile = read_word(&mut fields, "profile", &Profile::ALL, Profile::as_str).unwrap_or(settings.profile);
        if profile != settings.profile {
            settings.profile = profile;
            if profile == Profile::GlobalTopup {
                match (fields.gives("secret"), read_secret(&mut fields, profile)) {
                    (_, Some(secret)) => (settings.secret, settings.former) = (secret, Vec::new()),
                    (false, None) => fields.invalid("secret", "is required in the request that changes the profile to globaltopup"),
                    (true, None) => {}
                }
            }
        }
        self.read_settings(&mut fields, &mut settings, before.mode);
        finish(fields)?;
        let moved = settings.url != before.settings.url || settings.profile != before.settings.profile;
        if moved && before.status.listens() {
            self.shake_hands(&before, &settings).await?;
        }
        let details = json!({"changed": changed_settings(&before.settings, &settings)});
        let note = Note { details, ..caller.note("endpoint.changed", id, (&before).into()) };
        let changed = self.apply_settings(before, settings, note, None).await?;
        self.shown_endpoint(changed).await
    }

    /// Deletes an endpoint; what is pending is cancelled.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn delete_endpoint(&self, caller: Caller, id: EndpointId) -> Result<(), OpsError> {
        let endpoint = self.find_endpoint(caller, id).await?;
        let note = caller.note("endpoint.deleted", id, (&endpoint).into());
        self.apply(id, EndpointChange::Delete, note, None).await?.map(drop).ok_or(OpsError::NotFound("endpoint"))
    }

    /// Does the handshake, and from then on the endpoint gets events: `{replay_missed?}`. The same for one that is
    /// connected for the first time and for one that is enabled again. With `replay_missed` what it missed is made
    /// deliverable first, in order, before anything new.
    ///
    /// # Errors
    /// There is no such endpoint; it is paused; [`OpsError::ConnectFailed`].
    pub async fn connect(&self, caller: Caller, id: EndpointId, mut fields: Fields) -> Result<Connected, OpsError> {
        const FROM: &[EndpointStatus] = &[EndpointStatus::NotConnected, EndpointStatus::Connected, EndpointStatus::Disabled];
        let replay_missed = fields.boolean("replay_missed").unwrap_or(false);
        finish(fields)?;
        let endpoint = self.find_endpoint(caller, id).await?;
        if !FROM.contains(&endpoint.status) {
            return Err(OpsError::IllegalState("the endpoint is paused; resume it".to_owned()));
        }
        let seen = self.shake_hands(&endpoint, &endpoint.settings).await?;
        let missed = self.store.missed(id).await?;
        let change =
            EndpointChange::Status { from: FROM, to: EndpointStatus::Connected, reason: None, by_rule: false, failing_since: None };
        let action = if endpoint.status == EndpointStatus::Disabled { "endpoint.enabled" } else { "endpoint.connected" };
        let note =
            Note { details: json!({"missed": missed, "replay_missed": replay_missed}), ..caller.note(action, id, (&endpoint).into()) };
        let connected =
            if replay_missed { self.apply_behind_missed(id, change, note).await? } else { self.apply(id, change, note, None).await? };
        connected.ok_or_else(|| OpsError::IllegalState("the endpoint was changed meanwhile; look at it and try again".to_owned()))?;
        Ok(Connected { missed, seen })
    }

    /// Disables an endpoint: it gets no events until it is enabled; what is pending waits, and its deadlines run.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn disable(&self, caller: Caller, id: EndpointId, fields: Fields) -> Result<ShownEndpoint, OpsError> {
        const ENABLED: &[EndpointStatus] = &[EndpointStatus::NotConnected, EndpointStatus::Connected, EndpointStatus::Paused];
        finish(fields)?;
        let endpoint = self.find_endpoint(caller, id).await?;
        let change = EndpointChange::Status {
            // A person has the last word: what a rule disabled does not come back by itself then.
            from: if endpoint.by_rule { &EndpointStatus::ALL } else { ENABLED },
            to: EndpointStatus::Disabled,
            reason: Some("disabled by request".to_owned()),
            by_rule: false,
            failing_since: None,
        };
        let note = caller.note("endpoint.disabled", id, (&endpoint).into());
        let changed = self.apply(id, change, note, None).await?;
        self.shown_endpoint(changed.unwrap_or(endpoint)).await
    }

    /// Lets an endpoint's deliveries wait: `{until?}`, at most seven days. Deadlines move by the time paused.
    ///
    /// # Errors
    /// The input's problems; there is no such endpoint; it is not connected.
    pub async fn pause(&self, caller: Caller, id: EndpointId, mut fields: Fields) -> Result<ShownEndpoint, OpsError> {
        let now = self.environment.clock.now();
        let latest = now.plus(limits::PAUSE_MAX);
        let until = fields.parse::<Timestamp>("until").unwrap_or(latest);
        if until <= now || until > latest {
            fields.invalid("until", "must lie within the next 7 days");
        }
        finish(fields)?;
        let endpoint = self.find_endpoint(caller, id).await?;
        let note = Note { details: json!({"until": until}), ..caller.note("endpoint.paused", id, (&endpoint).into()) };
        let status = endpoint.status.as_str();
        let paused = self.apply(id, EndpointChange::Pause { until }, note, None).await?;
        let refused = || OpsError::IllegalState(format!("the endpoint is {status}; only a connected one can be paused"));
        self.shown_endpoint(paused.ok_or_else(refused)?).await
    }

    /// Ends a pause; what waited is due, in order.
    ///
    /// # Errors
    /// There is no such endpoint; it is not paused.
    pub async fn resume(&self, caller: Caller, id: EndpointId, fields: Fields) -> Result<ShownEndpoint, OpsError> {
        finish(fields)?;
        let endpoint = self.find_endpoint(caller, id).await?;
        let note = caller.note("endpoint.resumed", id, (&endpoint).into());
        let status = endpoint.status.as_str();
        let resumed = self.apply(id, EndpointChange::Resume, note, None).await?;
        self.shown_endpoint(resumed.ok_or_else(|| OpsError::IllegalState(format!("the endpoint is {status}, not paused")))?).await
    }

    /// Sends a `webhook.test` event to this endpoint alone; answers with the attempt and its headers, masked. In test mode
    /// `{type?}` may be one of the recharge types, of which a made-up event is sent: in live mode a receiver would take it for
    /// real.
    ///
    /// # Errors
    /// The input's problems; there is no such endpoint.
    pub async fn test_endpoint(
        &self,
        caller: Caller,
        id: EndpointId,
        mut fields: Fields,
    ) -> Result<(Attempt, Vec<(String, String)>), OpsError> {
        let endpoint = self.find_endpoint(caller, id).await?;
        let event_type = fields.text("type", limits::EVENT_TYPE_MAX);
        let sample = match event_type.as_deref() {
            None | Some(TEST_TYPE) => None,
            Some(named) => {
                let sample = Status::ALL.into_iter().find(|status| status.event_type() == Some(named));
                match (sample, endpoint.mode) {
                    (Some(_), Mode::Test) => {}
                    (Some(_), Mode::Live) => {
                        fields.invalid("type", "can only be webhook.test in live mode: a receiver would take another for real")
                    }
                    (None, _) => fields.invalid("type", "must be webhook.test, recharge.success, recharge.failed or recharge.reversed"),
                }
                sample
            }
        };
        finish(fields)?;
        self.try_out(&endpoint, sample).await
    }

    /// Puts a new secret in the place of the present one: `{secret?, legacy_secret?, overlap_seconds?}`. Until the overlap
    /// ends the old one goes on as WIRE's rotation says.
    ///
    /// # Errors
    /// The input's problems; there is no such endpoint; too many secrets are in their overlap.
    pub async fn rotate_secret(
        &self,
        caller: Caller,
        id: EndpointId,
        mut fields: Fields,
        once: IdempotentRequest<NewSecret>,
    ) -> Result<NewSecret, OpsError> {
        let endpoint = self.find_endpoint(caller, id).await?;
        let mut settings = endpoint.settings.clone();
        let secret = read_secret(&mut fields, settings.profile).unwrap_or_else(|| self.new_secret(settings.profile));
        let overlap = fields.integer("overlap_seconds", 0..=limits::OVERLAP_MAX.as_secs() as i64);
        let overlap = overlap.map_or(limits::OVERLAP, |seconds| Duration::from_secs(seconds as u64));
        if secret == settings.secret {
            fields.invalid("secret", "is the present one; choose another");
        }
        finish(fields)?;
        let now = self.environment.clock.now();
        if overlap.is_zero() {
            // A secret that has leaked must stop counting at once, and so must those before it.
            (settings.secret, settings.former) = (secret, Vec::new());
        } else {
            settings.rotate(secret, now.plus(overlap), now);
        }
        if settings.former.len() > limits::FORMER_SECRETS_MAX {
            let told = "too many secrets are in their overlap; wait until one ends, or say \"overlap_seconds\": 0, which ends them all";
            return Err(OpsError::IllegalState(told.to_owned()));
        }
        let overlap_until = (!overlap.is_zero()).then(|| now.plus(overlap));
        let new = NewSecret { secret: secret_text(&settings), overlap_until };
        let note =
            Note { details: json!({"overlap_until": overlap_until}), ..caller.note("endpoint.secret_rotated", id, (&endpoint).into()) };
        self.apply_settings(endpoint, settings, note, once.known(&new)).await?;
        Ok(new)
    }

    /// Cancels all that is pending of an endpoint at this moment; answers how much that was.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn cancel_pending(&self, caller: Caller, id: EndpointId, fields: Fields) -> Result<u64, OpsError> {
        finish(fields)?;
        let endpoint = self.find_endpoint(caller, id).await?;
        let up_to = self.store.events_after(endpoint.stream, None, 0).await?.latest;
        let mut cancelled = 0;
        loop {
            match self.change(Command::CancelPending { endpoint: id, up_to }, None, None).await? {
                Reply::Cancelled(Some(runs)) if !runs.is_empty() => {
                    cancelled += runs.len() as u64;
                    // At once, so that none of them is sent while the others are being cancelled.
                    self.handoff.cancelled(id, runs);
                }
                _ => break,
            }
        }
        let note = Note { details: json!({"cancelled": cancelled}), ..caller.note("endpoint.pending_cancelled", id, (&endpoint).into()) };
        self.change(Command::Note, Some(note), None).await?;
        Ok(cancelled)
    }

    /// Makes first runs of what an endpoint missed, step by step, and then the change. It does not listen before that, so
    /// that nothing newer overtakes them. A crash in between leaves them open, and the next time goes on from there.
    async fn apply_behind_missed(&self, id: EndpointId, change: EndpointChange, note: Note) -> Result<Option<Endpoint>, OpsError> {
        let (mut from, deadline) = (0, self.rules.delivery_deadline);
        loop {
            let command = Command::OpenMissed { id, from, change: change.clone(), deadline };
            match self.change(command, Some(note.clone()), None).await {
                Ok(Reply::Opened(next)) => from = next,
                done => {
                    self.handoff.dropped(id);
                    return self.changed(id, done);
                }
            }
        }
    }

    /// Changes settings, unless somebody else has changed them since `before` was read: a handshake takes its time.
    async fn apply_settings(
        &self,
        before: Endpoint,
        settings: Settings,
        note: Note,
        keep: Option<CachedResponse>,
    ) -> Result<Endpoint, OpsError> {
        let id = before.id;
        let change = EndpointChange::Settings { from: Box::new(before.settings), to: Box::new(settings) };
        if let Some(changed) = self.apply(id, change, note, keep).await? {
            return Ok(changed);
        }
        if self.store.endpoint(id).await?.is_none_or(|endpoint| endpoint.deleted) {
            return Err(OpsError::NotFound("endpoint"));
        }
        Err(OpsError::IllegalState("the endpoint was changed meanwhile; look at it and try again".to_owned()))
    }

    async fn apply(
        &self,
        id: EndpointId,
        change: EndpointChange,
        note: Note,
        keep: Option<CachedResponse>,
    ) -> Result<Option<Endpoint>, OpsError> {
        let command = Command::ChangeEndpoint { id, change, deadline: self.rules.delivery_deadline };
        let done = self.change(command, Some(note), keep).await;
        self.changed(id, done)
    }

    fn changed(&self, id: EndpointId, done: Result<Reply, OpsError>) -> Result<Option<Endpoint>, OpsError> {
        // Even where its outcome is not known.
        self.handoff.changed(id);
        match done? {
            Reply::Endpoint(changed) => Ok(changed.map(|endpoint| *endpoint)),
            other => unreachable!("a change of an endpoint is answered with the endpoint, not with {other:?}"),
        }
    }
}
