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
use crate::store::{Change, Command, Created, EndpointChange, LastOwner, OpenRun, Reply, StoreError, Written};

/// The event that tells a vendor's other endpoints of one that a rule disabled.
const DISABLED: &str = "endpoint.disabled";

impl Batch<'_> {
    pub(super) fn change(&mut self, change: &Change) -> Result<Written, StoreError> {
        // Some deeds write counter rows themselves.
        self.write_counters()?;
        self.hour = overview::hour(change.now);
        let mut opened = Vec::new();
        let done = self.act(&change.command, change.now, &mut opened)?;
        if done.took_effect() {
            if let Some(note) = &change.note {
                audit::write(self, note, change.now)?;
            }
            if let Some(keep) = &change.keep {
                audit::keep(self, keep, &done, change.now)?;
            }
        }
        Ok(Written::Reply(done, opened))
    }

    fn act(&mut self, command: &Command, now: Timestamp, opened: &mut Vec<OpenRun>) -> Result<Reply, StoreError> {
        let conn = self.conn;
        Ok(match command {
            Command::CreateVendor(vendor, tokens) => {
                vendors::create(conn, vendor, tokens)?;
                Reply::Made(Created::Yes)
            }
            Command::UpdateVendor(id, change) => {
                if vendors::one(conn, *id)?.is_some_and(|before| change.disabled.is_some_and(|disabled| disabled != before.disabled)) {
                    for endpoint in vendors::endpoints(conn, *id)? {
                        health::forget(self, endpoint)?;
                        conn.announce(Hint::Changed(endpoint))?;
                    }
                }
                Reply::Vendor(vendors::update(conn, *id, change)?)
            }
            Command::CreateToken(token, hash) => Reply::Made(vendors::add_token(conn, token, *hash)?),
            Command::RevokeToken { id, vendor } => Reply::Found(vendors::revoke_token(conn, *vendor, *id, now)?),
            Command::CreateUser(user, hash) => Reply::Made(people::create_user(conn, user, hash)?),
            Command::CreateFirstOperator(user, hash) => Reply::Made(people::create_first_operator(conn, user, hash)?),
            Command::RemoveUser { id, vendor, last: LastOwner::Stays } if people::is_last_owner(conn, *vendor, *id)? => Reply::LastOwner,
            Command::RemoveUser { id, vendor, .. } => Reply::Found(people::remove_user(conn, *vendor, *id)?),
            Command::SetRole { id, vendor, role, last: LastOwner::Stays }
                if *role != Role::Owner && people::is_last_owner(conn, Some(*vendor), *id)? =>
            {
                Reply::LastOwner
            }
            Command::SetRole { id, vendor, role, .. } => Reply::Found(people::set_role(conn, *vendor, *id, *role)?),
            Command::SetPassword(id, new) => Reply::Found(people::set_password(conn, *id, new)?),
            Command::ChangeSecondFactor { id, from, to } => {
                Reply::Found(people::change_second_factor(self, *id, from.as_ref(), to.as_ref())?)
            }
            Command::LogIn { session, hash, instead_of, device } => {
                let begun = people::log_in(conn, session, *hash, *instead_of)?;
                if let (true, Some(user), Some(device)) = (begun, session.user, device) {
                    devices::remember(self, user, device, now)?;
                }
                Reply::Found(begun)
            }
            Command::Propose { session, secret } => Reply::Found(devices::propose(self, *session, secret)?),
            Command::LogOut(hash) => Reply::Found(people::log_out(conn, *hash)?),
            Command::LogOutEverywhere(id) => {
                people::end_sessions(conn, *id, None)?;
                devices::forget(conn, *id)?;
                Reply::Noted
            }
            Command::CreateLink { link, hash, letter } => Reply::Found(people::create_link(self, link, *hash, letter.as_ref())?),
            Command::Withdraw { id, vendor } => Reply::Found(people::withdraw(conn, *vendor, *id)?),
            Command::Redeem(hash, redeeming) => Reply::Redeemed(people::redeem(conn, *hash, redeeming, now)?),
            Command::TokenUsed(id) => {
                vendors::token_used(conn, *id, now)?;
                Reply::Noted
            }
            Command::CreateEndpoint { endpoint, most } => Reply::Made(endpoints::create(conn, self.sealer, endpoint, *most)?),
            Command::ChangeEndpoint { id, change, deadline } => {
                Reply::Endpoint(self.change_endpoint(*id, change, (now, *deadline), opened)?.map(Box::new))
            }
            Command::Warn(id, disable_after) => Reply::Found(health::warn(self, *id, *disable_after, now)?),
            Command::Probed(id) => Reply::Found(endpoints::probed(conn, *id, now)?),
            Command::OpenMissed { id, from, change, deadline } => {
                match replays::open_missed(conn, self.sealer, *id, *from, (now, *deadline))? {
                    Some(next) => Reply::Opened(next),
                    None => Reply::Endpoint(self.change_endpoint(*id, change, (now, *deadline), opened)?.map(Box::new)),
                }
            }
            Command::Publish(publish) => {
                let (published, runs) = self.publish(publish)?;
                opened.extend(runs);
                Reply::Published(published)
            }
            Command::Resend { id, deadline } => Reply::Resent(settle::resend(conn, *id, now, now.plus(*deadline))?),
            Command::Cancel(id) => {
                let runs = self.cancel(id.endpoint, ToCancel::One(id.sequence), now)?;
                Reply::Cancelled((!runs.is_empty()).then_some(runs))
            }
            Command::CancelPending { endpoint, up_to } => Reply::Cancelled(Some(self.cancel(*endpoint, ToCancel::UpTo(*up_to), now)?)),
            Command::StartReplay(replay) => Reply::Made(replays::create(conn, replay)?),
            Command::StepReplay { id, deadline } => Reply::Stepped(replays::step(conn, self.sealer, *id, (now, *deadline))?),
            Command::CancelReplay(id) => Reply::Cancelled(match replays::stop(conn, *id)? {
                Some(endpoint) => Some(self.cancel(endpoint, ToCancel::Replay(*id), now)?),
                None => None,
            }),
            Command::Resolve { id, to, reason, by, deadline } => Reply::Resolved(conflicts::resolve(
                self,
                *id,
                &conflicts::Resolution { to: *to, reason, by, now, deadline: *deadline },
                opened,
            )?),
            Command::SettleRecharge { id, report, deadline } => {
                Reply::Settled(conflicts::settle_recharge(self, *id, report, (now, *deadline), opened)?)
            }
            Command::Place(place) => Reply::Placed(submissions::place(self, place, now)?),
            Command::TakeSubmissions { provider, with_new, hold, limit } => {
                Reply::Taken(submissions::take(conn, provider, (*with_new, *hold, *limit), now)?)
            }
            Command::Follow(recharge, next, asked) => Reply::Found(submissions::follow(self, *recharge, *next, *asked, now)?),
            Command::AskNow(recharge) => Reply::Found(submissions::ask_now(conn, *recharge, now)?),
            Command::KeepCallback(callback) => {
                submissions::keep_callback(self, callback, now)?;
                Reply::Noted
            }
            Command::Note => Reply::Noted,
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
