//! Deliveries and their attempts, to read and to send again.

use super::input::{Paging, finish, require_range, time_range};
use super::{Caller, IdempotentRequest, Ops, OpsError};
use crate::domain::attempt::Attempt;
use crate::domain::delivery::DeliveryState;
use crate::domain::endpoint::Settings;
use crate::domain::id::{DeliveryId, EndpointId, EventId, RechargeId};
use crate::fields::Fields;
use crate::limits;
pub use crate::store::TimeRange as Range;
use crate::store::{Command, Delivery, DeliveryQuery, Listed, Reply, Resent};
use crate::wire::{Turn, Writer};

/// A delivery with the request headers of each of its attempts, masked.
#[derive(Clone)]
pub struct Shown {
    /// The delivery.
    pub delivery: Delivery,
    /// In the order of its attempts.
    pub request_headers: Vec<Vec<(String, String)>>,
}

impl Ops {
    /// Deliveries: `endpoint_id`, `state`, `event_id`, `type`, `recharge_id`, `since`, `until`, `limit`, `cursor`.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn deliveries(&self, caller: Caller, mut fields: Fields) -> Result<Listed<Shown, DeliveryId>, OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let endpoint = fields.parse::<EndpointId>("endpoint_id");
        let state = fields.text("state", limits::EVENT_TYPE_MAX).and_then(|text| {
            let found = DeliveryState::ALL.into_iter().find(|state| state.as_str() == text);
            if found.is_none() {
                fields.invalid("state", "must be pending, succeeded, exhausted or cancelled");
            }
            found
        });
        let event = fields.parse::<EventId>("event_id");
        let event_type = fields.text("type", limits::EVENT_TYPE_MAX);
        let recharge = fields.parse::<RechargeId>("recharge_id");
        let range = time_range(&mut fields);
        let Paging(page) = Paging::read(&mut fields);
        let now = self.environment.clock.now();
        if event.is_none() {
            let costly =
                [("type", event_type.is_some()), ("recharge_id", recharge.is_some()), ("state", state.is_some() && endpoint.is_none())];
            costly.into_iter().filter(|(_, given)| *given).for_each(|(filter, _)| require_range(&mut fields, range, now, filter));
        }
        let problems = fields.finish();
        let (Some(mine), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        if event.is_some_and(|event| event.stream != mine.stream) {
            return Ok(Listed { items: Vec::new(), next: None });
        }
        let sequence = event.map(|event| event.sequence);
        let query = DeliveryQuery { stream: mine.stream, endpoint, state, sequence, event_type, recharge, range, page };
        let Listed { items, next } = self.store.deliveries(query).await?;
        let mut shown = Vec::with_capacity(items.len());
        for delivery in items {
            shown.push(self.show(delivery).await?);
        }
        Ok(Listed { items: shown, next })
    }

    /// One delivery.
    ///
    /// # Errors
    /// There is no such delivery.
    pub async fn delivery(&self, caller: Caller, id: DeliveryId) -> Result<Shown, OpsError> {
        let found = self.store.delivery(id).await?.filter(|delivery| caller.sees(delivery.event.id.stream));
        self.show(found.ok_or(OpsError::NotFound("delivery"))?).await
    }

    /// Starts a new run of a delivery, with retries and a deadline of its own.
    ///
    /// # Errors
    /// There is no such delivery; it is still pending; its endpoint is neither connected nor paused.
    pub async fn resend(&self, caller: Caller, id: DeliveryId, fields: Fields, once: IdempotentRequest<Shown>) -> Result<Shown, OpsError> {
        finish(fields)?;
        self.delivery(caller, id).await?;
        let endpoint = self.store.endpoint(id.endpoint).await?.ok_or(OpsError::NotFound("delivery"))?;
        if endpoint.deleted {
            return Err(OpsError::IllegalState(
                "the endpoint was deleted; make another one, and read what it missed from the feed".to_owned(),
            ));
        }
        let settings = endpoint.settings.clone();
        let show = move |done: &Reply| match done {
            Reply::Resent(Resent::Opened(delivery)) => Some(shown(&settings, (**delivery).clone())),
            _ => None,
        };
        let note = caller.note("delivery.resent", id, (&endpoint).into());
        let command = Command::Resend { id, deadline: self.rules.delivery_deadline };
        let done = self.change(command, Some(note), once.keep(show.clone())).await?;
        match &done {
            Reply::Resent(Resent::Opened(_)) => self.handoff.due(id.endpoint),
            Reply::Resent(Resent::StillPending) => {
                return Err(OpsError::IllegalState("the delivery is still pending; it is retried by itself".to_owned()));
            }
            Reply::Resent(Resent::NotListening(status)) => {
                let status = status.as_str();
                return Err(OpsError::IllegalState(format!("the endpoint is {status}; connect or enable it first")));
            }
            _ => {}
        }
        show(&done).ok_or(OpsError::NotFound("delivery"))
    }

    /// Cancels a delivery that is pending.
    ///
    /// # Errors
    /// There is no such delivery; it is not pending.
    pub async fn cancel(&self, caller: Caller, id: DeliveryId, fields: Fields) -> Result<Shown, OpsError> {
        finish(fields)?;
        let before = self.delivery(caller, id).await?.delivery;
        let mine = self.owner(before.event.id.stream).await?;
        let done = self.change(Command::Cancel(id), Some(caller.note("delivery.cancelled", id, mine.into())), None).await?;
        let Reply::Cancelled(Some(runs)) = done else {
            let state = before.state.as_str();
            return Err(OpsError::IllegalState(format!("the delivery is not pending any more (it was {state})")));
        };
        self.handoff.cancelled(id.endpoint, runs);
        self.delivery(caller, id).await
    }

    async fn show(&self, delivery: Delivery) -> Result<Shown, OpsError> {
        match self.store.endpoint(delivery.id.endpoint).await? {
            Some(endpoint) => Ok(shown(&endpoint.settings, delivery)),
            None => Ok(Shown { delivery, request_headers: Vec::new() }),
        }
    }
}

/// Builds the headers of each attempt again, as people are shown them.
fn shown(settings: &Settings, delivery: Delivery) -> Shown {
    let writer = Writer::new(settings);
    let headers = |attempt: &Attempt| writer.displayed_headers(&delivery.event, Turn { number: attempt.number, at: attempt.started_at });
    let request_headers = delivery.attempts.iter().map(headers).collect();
    Shown { delivery, request_headers }
}
