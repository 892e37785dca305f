//! Changes: each deed, its note in the audit log, and the answer kept for its request, in the batch's transaction.

use std::sync::Arc;
use std::time::Duration;

use super::accept::{Audience, Batch, Emission};
use super::deliveries::{self, ToCancel};
use super::{audit, conflicts, devices, endpoints, health, overview, people, replays, settle, submissions, vendors};
use crate::domain::alert::Alert;
use crate::domain::delivery::RunKey;
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::event::Facts;
use crate::domain::id::EndpointId;
use crate::domain::time::Timestamp;
use crate::domain::user::Role;
use crate::limits;
use crate::store::cluster::Hint;
use crate::store::{Change, Created, Deed, Done, EndpointChange, LastOwner, OpenRun, StoreError, Written};

/// The event that tells a vendor's other endpoints of one that a rule disabled.
const DISABLED: &str = "endpoint.disabled";

impl Batch<'_> {
    pub(super) fn change(&mut self, change: &Change) -> Result<Written, StoreError> {
        // Some deeds write counter rows themselves.
        self.write_counters()?;
        self.hour = overview::hour(change.now);
        let mut opened = Vec::new();
        let done = self.act(&change.deed, change.now, &mut opened)?;
        if done.came_to_pass() {
            if let Some(note) = &change.note {
                audit::write(self, note, change.now)?;
            }
            if let Some(keep) = &change.keep {
                audit::keep(self, keep, &done, change.now)?;
            }
        }
        Ok(Written::Done(done, opened))
    }

    fn act(&mut self, deed: &Deed, now: Timestamp, opened: &mut Vec<OpenRun>) -> Result<Done, StoreError> {
        let conn = self.conn;
        Ok(match deed {
            Deed::CreateVendor(vendor, tokens) => {
                vendors::create(conn, vendor, tokens)?;
                Done::Made(Created::Yes)
            }
            Deed::UpdateVendor(id, change) => {
                if vendors::one(conn, *id)?.is_some_and(|before| change.disabled.is_some_and(|disabled| disabled != before.disabled)) {
                    for endpoint in vendors::endpoints(conn, *id)? {
                        health::forget(self, endpoint)?;
                        conn.announce(Hint::Changed(endpoint))?;
                    }
                }
                Done::Vendor(vendors::update(conn, *id, change)?)
            }
            Deed::CreateToken(token, hash) => Done::Made(vendors::add_token(conn, token, *hash)?),
            Deed::RevokeToken { id, vendor } => Done::Found(vendors::revoke_token(conn, *vendor, *id, now)?),
            Deed::CreateUser(user, hash) => Done::Made(people::create_user(conn, user, hash)?),
            Deed::CreateFirstOperator(user, hash) => Done::Made(people::create_first_operator(conn, user, hash)?),
            Deed::RemoveUser { id, vendor, last: LastOwner::Stays } if people::is_last_owner(conn, *vendor, *id)? => Done::LastOwner,
            Deed::RemoveUser { id, vendor, .. } => Done::Found(people::remove_user(conn, *vendor, *id)?),
            Deed::SetRole { id, vendor, role, last: LastOwner::Stays }
                if *role != Role::Owner && people::is_last_owner(conn, Some(*vendor), *id)? =>
            {
                Done::LastOwner
            }
            Deed::SetRole { id, vendor, role, .. } => Done::Found(people::set_role(conn, *vendor, *id, *role)?),
            Deed::SetPassword(id, new) => Done::Found(people::set_password(conn, *id, new)?),
            Deed::ChangeSecondFactor { id, from, to } => Done::Found(people::change_second_factor(self, *id, from.as_ref(), to.as_ref())?),
            Deed::LogIn { session, hash, instead_of, device } => {
                let begun = people::log_in(conn, session, *hash, *instead_of)?;
                if let (true, Some(user), Some(device)) = (begun, session.user, device) {
                    devices::remember(self, user, device, now)?;
                }
                Done::Found(begun)
            }
            Deed::Propose { session, secret } => Done::Found(devices::propose(self, *session, secret)?),
            Deed::LogOut(hash) => Done::Found(people::log_out(conn, *hash)?),
            Deed::LogOutEverywhere(id) => {
                people::end_sessions(conn, *id, None)?;
                devices::forget(conn, *id)?;
                Done::Noted
            }
            Deed::CreateLink { link, hash, letter } => Done::Found(people::create_link(self, link, *hash, letter.as_ref())?),
            Deed::Withdraw { id, vendor } => Done::Found(people::withdraw(conn, *vendor, *id)?),
            Deed::Redeem(hash, redeeming) => Done::Redeemed(people::redeem(conn, *hash, redeeming, now)?),
            Deed::TokenUsed(id) => {
                vendors::token_used(conn, *id, now)?;
                Done::Noted
            }
            Deed::CreateEndpoint { endpoint, most } => Done::Made(endpoints::create(conn, self.sealer, endpoint, *most)?),
            Deed::ChangeEndpoint { id, change, deadline } => {
                Done::Endpoint(self.change_endpoint(*id, change, (now, *deadline), opened)?.map(Box::new))
            }
            Deed::Warn(id, disable_after) => Done::Found(health::warn(self, *id, *disable_after, now)?),
            Deed::Probed(id) => Done::Found(endpoints::probed(conn, *id, now)?),
            Deed::OpenMissed { id, from, change, deadline } => match replays::open_missed(conn, self.sealer, *id, *from, (now, *deadline))?
            {
                Some(next) => Done::Opened(next),
                None => Done::Endpoint(self.change_endpoint(*id, change, (now, *deadline), opened)?.map(Box::new)),
            },
            Deed::Publish(publish) => {
                let (published, runs) = self.publish(publish)?;
                opened.extend(runs);
                Done::Published(published)
            }
            Deed::Resend { id, deadline } => Done::Resent(settle::resend(conn, *id, now, now.plus(*deadline))?),
            Deed::Cancel(id) => {
                let runs = self.cancel(id.endpoint, ToCancel::One(id.sequence), now)?;
                Done::Cancelled((!runs.is_empty()).then_some(runs))
            }
            Deed::CancelPending { endpoint, up_to } => Done::Cancelled(Some(self.cancel(*endpoint, ToCancel::UpTo(*up_to), now)?)),
            Deed::StartReplay(replay) => Done::Made(replays::create(conn, replay)?),
            Deed::StepReplay { id, deadline } => Done::Stepped(replays::step(conn, self.sealer, *id, (now, *deadline))?),
            Deed::CancelReplay(id) => Done::Cancelled(match replays::stop(conn, *id)? {
                Some(endpoint) => Some(self.cancel(endpoint, ToCancel::Replay(*id), now)?),
                None => None,
            }),
            Deed::Resolve { id, to, reason, by, deadline } => Done::Resolved(conflicts::resolve(
                self,
                *id,
                &conflicts::Resolution { to: *to, reason, by, now, deadline: *deadline },
                opened,
            )?),
            Deed::SettleRecharge { id, report, deadline } => {
                Done::Settled(conflicts::settle_recharge(self, *id, report, (now, *deadline), opened)?)
            }
            Deed::Place(place) => Done::Placed(submissions::place(self, place, now)?),
            Deed::TakeSubmissions { provider, with_new, hold, limit } => {
                Done::Taken(submissions::take(conn, provider, (*with_new, *hold, *limit), now)?)
            }
            Deed::Follow(recharge, next, asked) => Done::Found(submissions::follow(self, *recharge, *next, *asked, now)?),
            Deed::AskNow(recharge) => Done::Found(submissions::ask_now(conn, *recharge, now)?),
            Deed::KeepCallback(callback) => {
                submissions::keep_callback(self, callback, now)?;
                Done::Noted
            }
            Deed::Note => Done::Noted,
        })
    }

    fn cancel(&mut self, endpoint: EndpointId, what: ToCancel, now: Timestamp) -> Result<Vec<RunKey>, StoreError> {
        let runs = deliveries::to_cancel(self.conn, endpoint, what, limits::STEP_ROWS_MAX)?;
        runs.iter().try_for_each(|run| settle::cancel(self.conn, run, now))?;
        Ok(runs.into_iter().map(|run| run.key).collect())
    }

    fn change_endpoint(
        &mut self,
        id: EndpointId,
        change: &EndpointChange,
        (now, deadline): (Timestamp, Duration),
        opened: &mut Vec<OpenRun>,
    ) -> Result<Option<Endpoint>, StoreError> {
        let Some(mut after) = endpoints::change(self.conn, self.sealer, id, change, now)? else { return Ok(None) };
        self.conn.announce(Hint::Changed(id))?;
        if begins_anew(change) {
            health::forget(self, id)?;
            after.failing_since = None;
        }
        match change {
            EndpointChange::Status { to: EndpointStatus::Disabled, by_rule: true, failing_since, .. } => {
                let reason = after.status_reason.clone().unwrap_or_default();
                health::alert(self, &after, |of| Alert::disabled(of, &reason, *failing_since, now), now)?;
                let (stream, mode, audience) = (after.stream, after.mode, Audience::All);
                let event_type = Arc::from(DISABLED);
                let facts = Facts::Given(after.disabled_facts(now));
                self.emit(Emission { stream, mode, event_type: &event_type, facts, now, deadline, audience }, opened)?;
                self.write_counters()?;
            }
            EndpointChange::Status { to: EndpointStatus::Connected, by_rule: true, .. } => {
                health::alert(self, &after, |of| Alert::came_back(of, now), now)?;
            }
            _ => {}
        }
        Ok(Some(after))
    }
}

/// Whether what is known of an endpoint's health says nothing of it any more.
fn begins_anew(change: &EndpointChange) -> bool {
    match change {
        EndpointChange::Settings { from, to } => endpoints::moves(from, to),
        EndpointChange::Status { to, .. } => *to == EndpointStatus::Connected,
        EndpointChange::Pause { .. } | EndpointChange::Resume | EndpointChange::Delete => true,
    }
}
