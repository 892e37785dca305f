//! What a person decides about recharges: contradictions resolved, and recharges settled that nobody else will.

use serde_json::json;

use super::input::{Paging, StreamScope, require_range, time_range};
use super::{Caller, IdempotentRequest, Ops, OpsError};
use crate::domain::audit::Note;
use crate::domain::conflict::{CaseState, Conflict};
use crate::domain::event::{MASK, is_distinct};
use crate::domain::id::{ConflictId, RechargeId};
use crate::domain::recharge::{Details, Recharge, Report, Status};
use crate::fields::Fields;
use crate::limits;
use crate::store::{Command, ConflictQuery, Listed, Reply, SettledRecharge};

/// A person's words as the audit log keeps them: it outlives the erasure of a number.
fn without_number(text: &str, recharge: &Recharge) -> String {
    let number = recharge.details.connection_no.as_deref().unwrap_or_default();
    if is_distinct(number) { text.replace(number, MASK) } else { text.to_owned() }
}

impl Ops {
    /// Conflicts, newest first: `state`, `recharge_id`, `since`, `until`, `limit`, `cursor`.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn conflicts(&self, mut fields: Fields) -> Result<Listed<Conflict, ConflictId>, OpsError> {
        let state = fields.parse::<CaseState>("state");
        let recharge = fields.parse::<RechargeId>("recharge_id");
        let range = time_range(&mut fields);
        let Paging(page) = Paging::read(&mut fields);
        if recharge.is_none() && state.is_some_and(|state| state != CaseState::Open) {
            require_range(&mut fields, range, self.environment.clock.now(), "state");
        }
        super::input::finish(fields)?;
        Ok(self.store.conflicts(ConflictQuery { state, recharge, range, page }).await?)
    }

    /// One conflict.
    ///
    /// # Errors
    /// There is no such conflict.
    pub async fn conflict(&self, id: ConflictId) -> Result<Conflict, OpsError> {
        self.store.conflict(id).await?.ok_or(OpsError::NotFound("conflict"))
    }

    /// Resolves a conflict: `{as, reason}`. Where the recharge moves by it, an event tells of that.
    ///
    /// # Errors
    /// The input's problems; there is no such conflict; the resolution does not fit it.
    pub async fn resolve_conflict(
        &self,
        caller: Caller,
        id: ConflictId,
        mut fields: Fields,
        once: IdempotentRequest<(StreamScope, Recharge)>,
    ) -> Result<(StreamScope, Recharge), OpsError> {
        let named = fields.gives("as");
        let to = fields.parse::<CaseState>("as");
        if !named || to == Some(CaseState::Open) {
            fields.invalid("as", "is required: reversed, late_success or dismissed");
        }
        let reason = fields.required_text("reason", limits::REASON_MAX);
        let problems = fields.finish();
        let (Some(to), true) = (to, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let conflict = self.conflict(id).await?;
        let (recharge, _) = self.store.recharge(conflict.recharge).await?.ok_or(OpsError::NotFound("conflict"))?;
        let mine = self.owner(recharge.stream).await?;
        let details = json!({"as": to, "reason": without_number(&reason, &recharge), "recharge_id": conflict.recharge});
        let note = Note { details, ..caller.note("conflict.resolved", id, mine.into()) };
        let command = Command::Resolve { id, to, reason, by: caller.actor.to_string(), deadline: self.rules.delivery_deadline };
        let keep = once.keep(move |done| match done {
            Reply::Resolved(Some(Ok(resolved))) => Some((mine, resolved.1.clone())),
            _ => None,
        });
        match self.change(command, Some(note), keep).await? {
            Reply::Resolved(Some(Ok(resolved))) => Ok((mine, resolved.1)),
            Reply::Resolved(Some(Err(unfit))) => Err(OpsError::IllegalState(unfit.to_string())),
            _ => Err(OpsError::NotFound("conflict")),
        }
    }

    /// Settles a recharge that is queued: `{status, reason, provider_ref?}`.
    ///
    /// # Errors
    /// The input's problems; there is no such recharge; it is not queued.
    pub async fn settle_recharge(
        &self,
        caller: Caller,
        id: RechargeId,
        mut fields: Fields,
        once: IdempotentRequest<(StreamScope, Recharge)>,
    ) -> Result<(StreamScope, Recharge), OpsError> {
        let status = fields.parse::<Status>("status").filter(|status| matches!(status, Status::Success | Status::Failed));
        if status.is_none() {
            fields.invalid("status", "is required: success or failed");
        }
        let reason = fields.required_text("reason", limits::REASON_MAX);
        let provider_ref = fields.text("provider_ref", limits::REFERENCE_MAX);
        let problems = fields.finish();
        let (Some(status), true) = (status, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let (recharge, _) = self.store.recharge(id).await?.ok_or(OpsError::NotFound("recharge"))?;
        let mine = self.owner(recharge.stream).await?;
        let details = json!({"status": status, "reason": without_number(&reason, &recharge)});
        let note = Note { details, ..caller.note("recharge.resolved", id, mine.into()) };
        // Of a success there is no reason to tell; the audit log has the operator's.
        let told = (status == Status::Failed).then_some(reason);
        let details = Details { reason: told, provider_ref, ..Details::default() };
        let report = Box::new(Report { reference_no: recharge.reference_no, status, details, occurred_at: None });
        let keep = once.keep(move |done| match done {
            Reply::Settled(SettledRecharge::Yes(recharge)) => Some((mine, (**recharge).clone())),
            _ => None,
        });
        match self.change(Command::SettleRecharge { id, report, deadline: self.rules.delivery_deadline }, Some(note), keep).await? {
            Reply::Settled(SettledRecharge::Yes(recharge)) => Ok((mine, *recharge)),
            Reply::Settled(SettledRecharge::NotQueued(status)) => {
                let status = status.as_str();
                Err(OpsError::IllegalState(format!("the recharge is {status}; only a queued one can be settled by a person")))
            }
            _ => Err(OpsError::NotFound("recharge")),
        }
    }
}
