//! The first operator's login, made by whoever follows the link that the server prints at its start.
//!
//! The link's ticket is in this process's memory alone. It is good for one login, and only as long as no operator has one.

use parking_lot::Mutex;
use serde_json::json;

use super::users::new_operator_user;
use super::{NewSession, Ops, OpsError, Visitor};
use crate::domain::audit::{Actor, Note};
use crate::domain::session::Ticket;
use crate::domain::token::TokenHash;
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Command, Created, Page, Reply};

/// The ticket that is good at present.
#[derive(Debug, Default)]
pub(super) struct Setup(Mutex<Option<TokenHash>>);

impl Setup {
    fn is(&self, ticket: &Ticket) -> bool {
        *self.0.lock() == Some(ticket.hash())
    }

    fn end(&self, ticket: &Ticket) {
        self.0.lock().take_if(|hash| *hash == ticket.hash());
    }
}

impl Ops {
    /// The path of a page that makes the first operator's login. None if there is one. A later call makes earlier paths void.
    ///
    /// # Errors
    /// The store's.
    pub async fn first_operator_path(&self) -> Result<Option<String>, OpsError> {
        if self.has_operator().await? {
            return Ok(None);
        }
        let ticket = self.new_ticket();
        *self.setup.0.lock() = Some(ticket.hash());
        Ok(Some(format!("/panel/setup/{}", ticket.expose())))
    }

    async fn has_operator(&self) -> Result<bool, OpsError> {
        Ok(!self.store.users(None, Page { before: None, limit: 1 }).await?.is_empty())
    }

    /// Whether the first operator's login can be made with this ticket.
    ///
    /// # Errors
    /// [`OpsError::LinkGone`].
    pub async fn may_set_up(&self, ticket: &Ticket) -> Result<(), OpsError> {
        if self.setup.is(ticket) && !self.has_operator().await? { Ok(()) } else { Err(OpsError::LinkGone) }
    }

    /// Makes the first operator's login, and logs in: `{email, password}`.
    ///
    /// # Errors
    /// [`OpsError::LinkGone`]; the input's problems.
    pub async fn make_first_operator(&self, who: Visitor, ticket: &Ticket, mut fields: Fields) -> Result<NewSession, OpsError> {
        self.may_set_up(ticket).await?;
        let (email, password) =
            (fields.required_text("email", limits::NAME_MAX), fields.required_text("password", *limits::PASSWORD.end()));
        super::input::finish(fields)?;
        let (user, hash) = new_operator_user(&email, &password, &self.environment).await?;
        let note = Note {
            actor: Actor::User(user.id),
            address: Some(who.address),
            vendor: None,
            mode: None,
            action: "user.created",
            object: user.id.to_string(),
            details: json!({"first_operator": true}),
        };
        // The store decides: another node may have a link of its own.
        match self.change(Command::CreateFirstOperator(user, hash), Some(note), None).await? {
            Reply::Made(Created::Yes) => {}
            Reply::Made(Created::Taken) => return Err(Problem::invalid("email", "is taken by another login").into()),
            _ => return Err(OpsError::LinkGone),
        }
        self.setup.end(ticket);
        let fields = Fields::new([("email".into(), email.into()), ("password".into(), password.into())].into_iter().collect());
        self.log_in(who, fields).await
    }
}
