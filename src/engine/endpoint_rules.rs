//! The rules: who is warned, disabled, tried again, and whose pause is over.
//!
//! An endpoint that fails at everything is looked at through its row in the store, not through its lane: what counts is
//! how long it has been failing, over restarts and on whichever node. The change itself says from which state it starts,
//! so that a success that comes in between wins.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::Engine;
use crate::domain::audit::{Actor, Note};
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::event::Event;
use crate::domain::id::EndpointId;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::store::{Change, Command, EndpointChange, Failing, Reply, StoreError, Write, Written};
use crate::transport::Target;
use crate::wire::{Turn, Writer};

/// Why an endpoint that answered so is disabled.
const GONE_FOR_GOOD: &str = "it answered 410 Gone";

/// When the rules act (settings of the same names).
#[derive(Debug, Clone)]
pub struct Watch {
    /// Failing for this long at everything, with something exhausted: disabled.
    pub disable_after: Duration,
    /// Failing for this long: its vendor is warned.
    pub warn_after: Duration,
    /// How often an endpoint that a rule disabled is tried again; never if not said.
    pub probe_disabled: Option<Duration>,
}

impl Engine {
    pub(super) async fn run_watch(self: Arc<Self>) {
        loop {
            if self.runs_singletons()
                && let Err(error) = self.watch().await
            {
                super::failed("watch", &error);
            }
            self.environment.clock.sleep_until(self.now().plus(limits::WATCH_EVERY)).await;
        }
    }

    /// One look at all endpoints that are failing or paused.
    ///
    /// # Errors
    /// The store's.
    pub async fn watch(&self) -> Result<(), StoreError> {
        if self.trusts_clock().await? {
            self.watch_failing().await?;
        }
        self.end_pauses().await
    }

    async fn watch_failing(&self) -> Result<(), StoreError> {
        let now = self.now();
        let since = earlier(now, self.watch.warn_after.min(self.watch.disable_after));
        let mut after = None;
        loop {
            let page = self.store.failing(since, after, limits::WATCH_ROWS).await?;
            for failing in &page {
                self.judge(*failing, now).await?;
            }
            match page.last() {
                Some(last) if page.len() == limits::WATCH_ROWS => after = Some(last.endpoint),
                _ => return Ok(()),
            }
        }
    }

    async fn judge(&self, Failing { endpoint, since, exhausted, warned }: Failing, now: Timestamp) -> Result<(), StoreError> {
        if exhausted && now >= since.plus(self.watch.disable_after) {
            self.disable(endpoint, format!("nothing has been delivered to it since {since}"), Some(since)).await
        } else if !warned && now >= since.plus(self.watch.warn_after) {
            self.change(Command::Warn(endpoint, self.watch.disable_after), None).await?;
            tracing::warn!(endpoint.id = %endpoint, failing_since = %since, "the endpoint is failing; its vendor is warned");
            Ok(())
        } else {
            Ok(())
        }
    }

    /// An endpoint answered `410`. Where it was at another address then, that says nothing of the present one.
    pub(super) async fn gone(&self, then: &Endpoint) -> Result<(), StoreError> {
        match self.store.endpoint(then.id).await? {
            Some(now) if now.settings.url == then.settings.url => self.disable(then.id, GONE_FOR_GOOD.to_owned(), None).await,
            _ => Ok(()),
        }
    }

    /// A rule disables an endpoint: at once, or only if it is still failing since then.
    async fn disable(&self, id: EndpointId, reason: String, failing_since: Option<Timestamp>) -> Result<(), StoreError> {
        let Some(endpoint) = self.store.endpoint(id).await? else { return Ok(()) };
        let change = EndpointChange::Status {
            from: &[EndpointStatus::Connected, EndpointStatus::Paused],
            to: EndpointStatus::Disabled,
            reason: Some(reason.clone()),
            by_rule: true,
            failing_since,
        };
        let note = noted(&endpoint, "endpoint.disabled", json!({"reason": reason}));
        let done = self.change(Command::ChangeEndpoint { id, change, deadline: self.deadline }, Some(note)).await?;
        if done.took_effect() {
            self.meters.disablings.increment(1);
            tracing::warn!(endpoint.id = %id, reason, "the endpoint is disabled");
        }
        self.changed_here(id);
        Ok(())
    }

    async fn end_pauses(&self) -> Result<(), StoreError> {
        loop {
            let over = self.store.pauses_over(self.now(), limits::WATCH_ROWS).await?;
            let mut ended = 0;
            for id in &over {
                let Some(endpoint) = self.store.endpoint(*id).await? else { continue };
                if endpoint.paused_until.is_some_and(|until| self.scheduler.lock().moved_on(until) > self.now()) {
                    // The clock was set forward over its end.
                    continue;
                }
                ended += 1;
                let command = Command::ChangeEndpoint { id: *id, change: EndpointChange::Resume, deadline: self.deadline };
                self.change(command, Some(noted(&endpoint, "endpoint.resumed", json!({"reason": "the pause is over"})))).await?;
                self.changed_here(*id);
            }
            if over.len() < limits::WATCH_ROWS || ended == 0 {
                return Ok(());
            }
        }
    }

    // --- Half-open recovery ----------------------------------------------------------------------------------------

    /// In a loop of its own: those that hang when they are tried must not hold up the other rules.
    pub(super) async fn run_probes(self: Arc<Self>) {
        let Some(every) = self.watch.probe_disabled else { return };
        loop {
            if self.runs_singletons()
                && let Err(error) = self.probe(every).await
            {
                super::failed("probes", &error);
            }
            self.environment.clock.sleep_until(self.now().plus(limits::WATCH_EVERY)).await;
        }
    }

    /// Tries all disabled endpoints that it is time for.
    ///
    /// # Errors
    /// The store's.
    pub async fn probe(self: &Arc<Self>, every: Duration) -> Result<(), StoreError> {
        let before = earlier(self.now(), every);
        let (mut after, mut probes) = (None, JoinSet::new());
        loop {
            let page = self.store.to_probe(before, after, limits::WATCH_ROWS).await?;
            for id in &page {
                if probes.len() >= limits::PROBES_AT_ONCE {
                    drop(probes.join_next().await);
                }
                self.change(Command::Probed(*id), None).await?;
                let (engine, id) = (Arc::clone(self), *id);
                probes.spawn(async move {
                    if let Err(error) = engine.try_again(id).await {
                        tracing::warn!(endpoint.id = %id, %error, "a disabled endpoint could not be tried; it will be again");
                    }
                });
            }
            match page.last() {
                Some(last) if page.len() == limits::WATCH_ROWS => after = Some(*last),
                _ => break,
            }
        }
        while probes.join_next().await.is_some() {}
        Ok(())
    }

    /// Tries the handshake of a disabled endpoint; if it succeeds, the endpoint is back, and drains gently.
    async fn try_again(&self, id: EndpointId) -> Result<(), StoreError> {
        let Some(endpoint) = self.store.endpoint(id).await? else { return Ok(()) };
        if !self.shake_hands(&endpoint).await {
            return Ok(());
        }
        let change = EndpointChange::Status {
            from: &[EndpointStatus::Disabled],
            to: EndpointStatus::Connected,
            reason: None,
            by_rule: true,
            failing_since: None,
        };
        let note = noted(&endpoint, "endpoint.enabled", json!({"reason": "it answered its handshake again"}));
        if self.change(Command::ChangeEndpoint { id, change, deadline: self.deadline }, Some(note)).await?.took_effect() {
            self.meters.recoveries.increment(1);
            tracing::info!(endpoint.id = %id, "the endpoint is back: it answered its handshake");
        }
        self.changed_here(id);
        Ok(())
    }

    async fn shake_hands(&self, endpoint: &Endpoint) -> bool {
        let Ok(target) = Target::new(&endpoint.settings.url) else { return false };
        let now = self.now();
        let (writer, event) = (Writer::new(&endpoint.settings), Event::test(endpoint, self.environment.ids.next(now), now));
        let mut iv = [0; 16];
        self.environment.entropy.fill(&mut iv);
        let turn = Turn { number: 1, at: now };
        match self.transport.send(&target, || writer.handshake(&event, turn, iv)).await {
            Ok(outcome) => writer.connects(&outcome),
            Err(fault) => {
                tracing::warn!(endpoint.id = %endpoint.id, error = fault.text, "a disabled endpoint could not be tried; it will be again");
                false
            }
        }
    }

    /// Does something that a rule asks for.
    pub(super) async fn change(&self, command: Command, note: Option<Note>) -> Result<Reply, StoreError> {
        let committer = self.committer.get().expect("it is set at the start");
        match committer.write(Write::Change(Box::new(Change { command, now: self.now(), note, keep: None }))).await? {
            Written::Reply(done, _) => Ok(done),
            other => unreachable!("a change is answered with what came of it, not with {other:?}"),
        }
    }
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

fn noted(endpoint: &Endpoint, action: &'static str, details: serde_json::Value) -> Note {
    let (vendor, mode) = (Some(endpoint.vendor), Some(endpoint.mode));
    Note { actor: Actor::Rule, address: None, vendor, mode, action, object: endpoint.id.to_string(), details }
}
