//! A link that logs in as an operator, for the program that runs the server in its own process (`ringback demo`).
//!
//! No route makes such a link, and `ringback serve` never asks for one. The ticket is in this process's memory alone and opens
//! the panel until the process ends, so that the link can stay on the screen and be followed again.

use parking_lot::Mutex;
use serde_json::json;

use super::{NewSession, Ops, OpsError, Visitor};
use crate::domain::audit::{Actor, Note};
use crate::domain::id::UserId;
use crate::domain::session::{Session, Ticket};
use crate::domain::token::TokenHash;
use crate::domain::user::Role;
use crate::limits;

/// The ticket that opens the panel, and as whom.
#[derive(Debug, Default)]
pub(super) struct Entry(Mutex<Option<(TokenHash, UserId)>>);

impl Entry {
    fn opens_as(&self, ticket: &Ticket) -> Option<UserId> {
        self.0.lock().filter(|(hash, _)| *hash == ticket.hash()).map(|(_, user)| user)
    }
}

impl Ops {
    /// Returns the path of a page that logs in as this operator. A later call makes earlier paths void.
    pub fn entry_path(&self, user: UserId) -> String {
        let ticket = self.new_ticket();
        *self.entry.0.lock() = Some((ticket.hash(), user));
        format!("/panel/enter/{}", ticket.expose())
    }

    /// Checks that the ticket opens the panel.
    ///
    /// # Errors
    /// [`OpsError::LinkGone`].
    pub fn may_enter(&self, ticket: &Ticket) -> Result<(), OpsError> {
        self.entry.opens_as(ticket).map(drop).ok_or(OpsError::LinkGone)
    }

    /// Logs in with the ticket.
    ///
    /// # Errors
    /// [`OpsError::LinkGone`]; the store's.
    pub async fn enter(&self, who: Visitor, ticket: &Ticket) -> Result<NewSession, OpsError> {
        let user = self.entry.opens_as(ticket).ok_or(OpsError::LinkGone)?;
        let session = Session { user: Some(user), ..self.new_session((None, Role::Owner), who.address, limits::SESSION) };
        let note = Note {
            actor: Actor::User(user),
            address: Some(who.address),
            vendor: None,
            mode: None,
            action: "user.logged_in",
            object: user.to_string(),
            details: json!({"by_link": true}),
        };
        self.begin_session(session, (None, false), Some(note)).await
    }
}
