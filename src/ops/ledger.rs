//! The ledger: the platform's own events, and reading events and recharges.

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::input::{Paging, StreamScope, require_range, time_range};
use super::{Caller, IdempotentRequest, Ops, OpsError};
use crate::domain::event::Event;
use crate::domain::filter::{self, RESERVED};
use crate::domain::id::{EventId, RechargeId};
use crate::domain::recharge::{Recharge, Status};
use crate::domain::time::Timestamp;
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Command, KeptReport, Listed, Publish, Published, RechargeQuery, Reply, Standing, Write, Written};

/// An event that was taken.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// Deliveries it made.
    pub deliveries: u64,
}

impl Ops {
    /// Publishes an event: `{vendor_id, mode?, type, data, dedupe_key?}`. Answered when durable.
    ///
    /// # Errors
    /// The input's problems; the store's.
    pub async fn publish(&self, caller: Caller, mut fields: Fields, once: IdempotentRequest<NewEvent>) -> Result<NewEvent, OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let event_type = self.event_type(&mut fields);
        let data = self.event_data(&mut fields);
        let dedupe_key = fields.text("dedupe_key", limits::REFERENCE_MAX);
        let problems = fields.finish();
        let (Some(mine), Some(data), true) = (mine, data, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let publish = Publish {
            stream: mine.stream,
            mode: mine.mode,
            event_type: event_type.into(),
            data,
            dedupe_key,
            now: self.environment.clock.now(),
            deadline: self.rules.delivery_deadline,
        };
        let told = move |published: &Published| {
            let id = EventId { stream: mine.stream, sequence: published.sequence };
            NewEvent { id, deliveries: published.deliveries }
        };
        let keep = once.keep(move |done| if let Reply::Published(published) = done { Some(told(published)) } else { None });
        if keep.is_some() {
            return match self.change(Command::Publish(publish), None, keep).await? {
                Reply::Published(published) => Ok(told(&published)),
                other => unreachable!("an event is answered with its number, not with {other:?}"),
            };
        }
        match self.committer.write(Write::Publish(publish)).await? {
            Written::Published(published, _) => Ok(told(&published)),
            other => unreachable!("an event is answered with its number, not with {other:?}"),
        }
    }

    fn event_type(&self, fields: &mut Fields) -> String {
        let event_type = fields.required_text("type", limits::EVENT_TYPE_MAX);
        if RESERVED.iter().any(|prefix| event_type.starts_with(prefix)) {
            let message = "recharge.*, endpoint.* and webhook.* are Ringback's own; choose another first word".to_owned();
            fields.problem(Problem { field: "type".to_owned(), code: "reserved_type", message });
        } else if !event_type.is_empty() && !filter::is_event_type(&event_type) {
            fields.invalid("type", "must be words of a-z, 0-9, _ and - joined by full stops, such as invoice.paid");
        }
        event_type
    }

    fn event_data(&self, fields: &mut Fields) -> Option<Box<RawValue>> {
        let data = fields.value("data");
        if !matches!(data, Some(Value::Object(_))) {
            fields.invalid("data", "must be an object");
            return None;
        }
        let data = to_raw_value(&data).expect("a JSON value always serializes");
        let most = self.rules.event_payload_max;
        if data.get().len() > most {
            let message = format!("must be at most {most} bytes of JSON");
            fields.problem(Problem { field: "data".to_owned(), code: "too_large", message });
            return None;
        }
        Some(data)
    }

    /// One event.
    ///
    /// # Errors
    /// There is no such event.
    pub async fn event(&self, caller: Caller, id: EventId) -> Result<Event, OpsError> {
        let event = if caller.sees(id.stream) { self.store.event(id).await? } else { None };
        event.ok_or(OpsError::NotFound("event"))
    }

    /// How a vendor and mode's recharges stand, and what each hour since then brought.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn standing(&self, caller: Caller, mut fields: Fields, since: Timestamp) -> Result<Standing, OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let problems = fields.finish();
        let (Some(mine), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        Ok(self.store.standing(mine.stream, since).await?)
    }

    /// Recharges: `status`, `reference_no`, `connection_no`, `operator`, `since`, `until`, `limit`, `cursor`.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn recharges(&self, caller: Caller, mut fields: Fields) -> Result<(StreamScope, Listed<Recharge, RechargeId>), OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let status = fields.parse::<Status>("status");
        let reference_no = fields.text("reference_no", limits::REFERENCE_MAX);
        let connection_no = fields.text("connection_no", limits::CONNECTION_NO_MAX);
        let network = fields.text("operator", limits::NAME_MAX);
        let range = time_range(&mut fields);
        let Paging(page) = Paging::read(&mut fields);
        let now = self.environment.clock.now();
        if reference_no.is_none() {
            if network.is_some() {
                require_range(&mut fields, range, now, "operator");
            }
            if connection_no.is_some() {
                require_range(&mut fields, range, now, "connection_no");
            }
            if status.is_some_and(|status| status != Status::Queued) {
                require_range(&mut fields, range, now, "status");
            }
        }
        let problems = fields.finish();
        let (Some(mine), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let query = RechargeQuery { stream: mine.stream, status, reference_no, connection_no, network, range, page };
        Ok((mine, self.store.recharges(query).await?))
    }

    /// One recharge with its reports.
    ///
    /// # Errors
    /// There is no such recharge.
    pub async fn recharge(&self, caller: Caller, id: RechargeId) -> Result<(StreamScope, Recharge, Vec<KeptReport>), OpsError> {
        let found = self.store.recharge(id).await?.filter(|(recharge, _)| caller.sees(recharge.stream));
        let (recharge, reports) = found.ok_or(OpsError::NotFound("recharge"))?;
        Ok((self.owner(recharge.stream).await?, recharge, reports))
    }
}
