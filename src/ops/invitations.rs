//! One-time links: invitations, new passwords, and the platform's own way into a vendor's panel.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::allowances::{Counted, network, own_address};
use super::input::{email, finish};
use super::users::{found_user, hash_password, read_password};
use super::{Caller, IdempotentRequest, NewSession, Ops, OpsError, Visitor};
use crate::domain::alert::Email;
use crate::domain::audit::{Actor, Note};
use crate::domain::id::{LinkId, UserId, VendorId};
use crate::domain::secret::Secret;
use crate::domain::session::{Link, Purpose, Ticket};
use crate::domain::time::Timestamp;
use crate::domain::user::{Role, User};
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Command, NewPassword, Redeemed, Redeeming, Reply};

/// An invitation that was just made. Its mail is on its way, or waits.
#[derive(Debug)]
pub struct Invited {
    /// The invitation.
    pub link: Link,
    /// What its link carries, to be passed on in another way; none where only the mail may have it.
    pub ticket: Option<Ticket>,
}

/// A link into a vendor's panel.
#[derive(Debug, Clone)]
pub struct PanelLink {
    /// Its id, as the audit log has it.
    pub id: LinkId,
    /// Where it leads.
    pub url: String,
    /// Until when it has to be followed.
    pub expires_at: Timestamp,
}

/// What an invitation counts for.
fn inviting(caller: Caller, vendor: Option<VendorId>, email: &str) -> Vec<Counted> {
    let user = if let Actor::User(user) = caller.actor { Some(user) } else { None };
    match vendor.filter(|_| caller.operator().is_err()) {
        Some(vendor) => vec![Counted::InvitationsOf(vendor), Counted::InvitationsTo(email.to_owned())],
        None => vec![Counted::InvitationsBy(user), Counted::OperatorsTo(email.to_owned())],
    }
}

impl Ops {
    /// Where a link leads.
    pub fn link_url(&self, ticket: &Ticket) -> String {
        format!("{}/panel/link/{}", self.public_url(), ticket.expose())
    }

    fn link_to(&self, purpose: Purpose, lasts: Duration) -> Link {
        let now = self.now();
        Link { id: LinkId::from(self.environment.ids.next(now)), purpose, created_at: now, expires_at: now.plus(lasts) }
    }

    /// Invites somebody to log in for a vendor (for the operator, if none is named): `{email, role?}`.
    ///
    /// # Errors
    /// The input's problems; there is no such vendor.
    pub async fn invite(&self, caller: Caller, vendor: Option<VendorId>, mut fields: Fields) -> Result<Invited, OpsError> {
        let named = fields.gives("email");
        let email = email(&mut fields, "email").map(|email| email.to_lowercase());
        if !named {
            fields.invalid("email", "is required");
        }
        let role = fields.parse("role").unwrap_or(Role::Owner);
        finish(fields)?;
        let email = email.unwrap_or_default();
        let whose = match vendor {
            Some(vendor) => self.found(vendor).await?.name,
            None => "the operator".to_owned(),
        };
        let has_login = match self.store.credentials(email.clone()).await? {
            // Whoever invites sees these logins anyway. Those of others it must not learn of.
            Some(found) if caller.operator().is_ok() || found.user.vendor == vendor => {
                return Err(Problem::invalid("email", "has a login already").into());
            }
            found => found.is_some(),
        };
        self.spend(inviting(caller, vendor, &email))?;
        let (link, ticket) =
            (self.link_to(Purpose::Invitation { email: email.clone(), vendor, role }, limits::INVITATION), self.new_ticket());
        let text = if has_login {
            format!(
                "You are invited to Ringback, for {whose}. {email} already has a login, and an address can have only one. Log in with it, or \
                 ask for an invitation to another address.\n"
            )
        } else {
            format!(
                "You are invited to Ringback, for {whose}. Choose a password, and log in with {email}:\n\n{}\n\nThe link works once, \
                 within seven days.\n",
                self.link_url(&ticket)
            )
        };
        let letter = Email { to: email.clone(), title: "Your login at Ringback".to_owned(), text: Secret::new(text) };
        let about = vendor.map(Into::into).unwrap_or_default();
        let note = Note { details: json!({"email": email, "role": role}), ..caller.note("user.invited", link.id, about) };
        let command = Command::CreateLink { link: link.clone(), hash: ticket.hash(), letter: Some(letter) };
        if !self.change(command, Some(note), None).await?.took_effect() {
            let told = format!("{} invitations wait to be taken; withdraw one first", limits::INVITATIONS_OPEN);
            return Err(OpsError::IllegalState(told));
        }
        // Whoever follows the link has proven to get the address's mail. A vendor's people must not do that in another's name.
        let shown = (caller.operator().is_ok() || !self.rules.mails_go_out).then_some(ticket);
        Ok(Invited { link, ticket: shown })
    }

    /// Invitations that have not been taken yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn invitations(&self, vendor: Option<VendorId>) -> Result<Vec<Link>, OpsError> {
        Ok(self.store.invitations(vendor, self.now()).await?)
    }

    /// Takes an invitation back.
    ///
    /// # Errors
    /// There is no such invitation.
    pub async fn withdraw(&self, caller: Caller, vendor: Option<VendorId>, id: LinkId) -> Result<(), OpsError> {
        let note = caller.note("user.invitation_withdrawn", id, vendor.map(Into::into).unwrap_or_default());
        let done = self.change(Command::Withdraw { id, vendor }, Some(note), None).await?;
        if done.took_effect() { Ok(()) } else { Err(OpsError::NotFound("invitation")) }
    }

    /// Mails a link to a new password, if there is such a login: `{email}`. Nobody learns whether there is, not even by how long
    /// the answer takes: all of it happens after the answer.
    ///
    /// # Errors
    /// The input's problems; [`OpsError::TooManyTries`].
    pub fn ask_for_new_password(self: &Arc<Self>, who: Visitor, mut fields: Fields) -> Result<(), OpsError> {
        let email = fields.required_text("email", limits::NAME_MAX).to_lowercase();
        finish(fields)?;
        self.spend(vec![Counted::Forgotten(own_address(who.address)), Counted::ForgottenNear(network(who.address))])?;
        let room = Arc::clone(&self.forgotten).try_acquire_owned().map_err(|_| OpsError::TooManyTries(Duration::from_secs(1)))?;
        let ops = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = ops.mail_new_password(who, email).await {
                tracing::error!(%error, "failed to make a link to a new password");
            }
            drop(room);
        });
        Ok(())
    }

    async fn mail_new_password(&self, who: Visitor, email: String) -> Result<(), OpsError> {
        let Some(found) = self.store.credentials(email).await? else { return Ok(()) };
        let (link, ticket) = (self.link_to(Purpose::Reset { user: found.user.id }, limits::RESET), self.new_ticket());
        let text = format!(
            "A new password was requested for your login at Ringback. Choose one within an hour:\n\n{}\n\nIf you did not request it, ignore \
             this mail: your password stays as it is.\n",
            self.link_url(&ticket)
        );
        let letter = Email { to: found.user.email, title: "A new password at Ringback".to_owned(), text: Secret::new(text) };
        let note = Note {
            actor: Actor::User(found.user.id),
            address: Some(who.address),
            vendor: found.user.vendor,
            mode: None,
            action: "user.new_password_asked",
            object: found.user.id.to_string(),
            details: json!({}),
        };
        // Where there is no room for another link, the ones before are good.
        self.change(Command::CreateLink { link, hash: ticket.hash(), letter: Some(letter) }, Some(note), None).await.map(drop)
    }

    /// What a link is for, while it is good.
    ///
    /// # Errors
    /// [`OpsError::LinkGone`].
    pub async fn link(&self, ticket: &Ticket) -> Result<Link, OpsError> {
        self.store.link(ticket.hash(), self.now()).await?.ok_or(OpsError::LinkGone)
    }

    /// Takes an invitation, or sets the new password that a link is for: `{password}`.
    ///
    /// # Errors
    /// [`OpsError::LinkGone`]; the input's problems.
    pub async fn choose_password(&self, who: Visitor, ticket: &Ticket, mut fields: Fields) -> Result<(), OpsError> {
        let password = read_password(&mut fields, "password");
        finish(fields)?;
        let link = self.link(ticket).await?;
        let hash = hash_password(password, &*self.environment.entropy).await;
        let now = self.now();
        let (user, vendor, action, redeeming) = match link.purpose {
            Purpose::Invitation { email, vendor, role } => {
                let id = UserId::from(self.environment.ids.next(now));
                let user = User { role, ..User::new(id, email, vendor, now) };
                (id, vendor, "user.created", Redeeming::Login(user, hash))
            }
            Purpose::Reset { user } => (user, None, "user.password_changed", Redeeming::Password(user, NewPassword { hash, keep: None })),
            Purpose::Panel { .. } => return Err(OpsError::LinkGone),
        };
        let (actor, address, object) = (Actor::User(user), Some(who.address), user.to_string());
        let note = Note { actor, address, vendor, mode: None, action, object, details: json!({"link": link.id}) };
        match self.change(Command::Redeem(ticket.hash(), Box::new(redeeming)), Some(note), None).await? {
            Reply::Redeemed(Redeemed::Yes) => Ok(()),
            Reply::Redeemed(Redeemed::Taken) => Err(Problem::invalid(
                "email",
                "cannot be used for this invitation; log in if you have a login, or ask to be invited with another address",
            )
            .into()),
            _ => Err(OpsError::LinkGone),
        }
    }

    /// A link that lets somebody into a vendor's panel whom the platform knows already: `{role?, lifetime_seconds?}`.
    ///
    /// # Errors
    /// The input's problems; there is no such vendor.
    pub async fn panel_link(
        &self,
        caller: Caller,
        vendor: VendorId,
        mut fields: Fields,
        once: IdempotentRequest<PanelLink>,
    ) -> Result<PanelLink, OpsError> {
        let role = fields.parse("role").unwrap_or(Role::Viewer);
        let lifetime = fields.integer("lifetime_seconds", 60..=limits::PANEL_SESSION_MAX.as_secs() as i64);
        let lifetime = lifetime.map_or(limits::PANEL_SESSION, |seconds| Duration::from_secs(seconds.unsigned_abs()));
        let found = self.found(vendor).await;
        finish(fields)?;
        if found?.disabled {
            return Err(OpsError::IllegalState("the vendor is disabled; nobody can look at its panel".to_owned()));
        }
        let (link, ticket) = (self.link_to(Purpose::Panel { vendor, role, lifetime }, limits::PANEL_LINK), self.new_ticket());
        let made = PanelLink { id: link.id, url: self.link_url(&ticket), expires_at: link.expires_at };
        let details = json!({"role": role, "lifetime_seconds": lifetime.as_secs()});
        let note = Note { details, ..caller.note("vendor.panel_link_made", link.id, vendor.into()) };
        let command = Command::CreateLink { link, hash: ticket.hash(), letter: None };
        self.change(command, Some(note), once.known(&made)).await?;
        Ok(made)
    }

    /// Lets somebody in who comes with such a link.
    ///
    /// # Errors
    /// [`OpsError::LinkGone`].
    pub async fn enter_by_link(&self, who: Visitor, ticket: &Ticket) -> Result<NewSession, OpsError> {
        let link = self.link(ticket).await?;
        let Purpose::Panel { vendor, role, lifetime } = link.purpose else { return Err(OpsError::LinkGone) };
        let (session, its_own) = (self.new_session((Some(vendor), role), who.address, lifetime), self.new_ticket());
        let note = Note {
            actor: Actor::Link,
            address: Some(who.address),
            vendor: Some(vendor),
            mode: None,
            action: "vendor.panel_link_followed",
            object: link.id.to_string(),
            details: json!({"role": role}),
        };
        let redeeming = Redeeming::Session(session.clone(), its_own.hash());
        match self.change(Command::Redeem(ticket.hash(), Box::new(redeeming)), Some(note), None).await? {
            Reply::Redeemed(Redeemed::Yes) => Ok(NewSession { ticket: its_own, session, device: None }),
            _ => Err(OpsError::LinkGone),
        }
    }

    /// Gives a vendor's login another role: `{role}`.
    ///
    /// # Errors
    /// The input's problems; there is no such login; it is the last owner.
    pub async fn set_role(&self, caller: Caller, vendor: VendorId, id: UserId, mut fields: Fields) -> Result<(), OpsError> {
        let role = fields.parse::<Role>("role");
        if role.is_none() {
            fields.invalid("role", "is required: owner, developer or viewer");
        }
        finish(fields)?;
        let role = role.unwrap_or(Role::Viewer);
        let note = Note { details: json!({"role": role}), ..caller.note("user.role_changed", id, vendor.into()) };
        found_user(&self.change(Command::SetRole { id, vendor, role, last: caller.last_owner() }, Some(note), None).await?)
    }
}
