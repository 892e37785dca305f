//! Vendors: made, read, changed, stopped.

use serde_json::json;

use super::access::NewToken;
use super::input::{email, finish};
use super::{Caller, IdempotentRequest, Ops, OpsError};
use crate::domain::audit::Note;
use crate::domain::id::{EndpointId, VendorId};
use crate::domain::token::Scope;
use crate::domain::vendor::{Mode, Vendor};
use crate::fields::Fields;
use crate::limits;
use crate::store::{Command, Page, Reply, SweepPlace, VendorChange};

/// A vendor that was just made, with its first tokens.
#[derive(Clone)]
pub struct NewVendor {
    /// The vendor.
    pub vendor: Vendor,
    /// Its token of each mode, in the order of [`Mode::ALL`].
    pub tokens: [NewToken; 2],
}

impl Ops {
    /// Makes a vendor: `{name, email}`.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn create_vendor(
        &self,
        caller: Caller,
        mut fields: Fields,
        once: IdempotentRequest<NewVendor>,
    ) -> Result<NewVendor, OpsError> {
        let name = fields.required_text("name", limits::NAME_MAX);
        let named = fields.gives("email");
        let email = email(&mut fields, "email");
        if !named {
            fields.invalid("email", "is required");
        }
        let problems = fields.finish();
        let (Some(email), true) = (email, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let now = self.environment.clock.now();
        let next = || self.environment.ids.next(now);
        let vendor = Vendor { id: next().into(), name, email, disabled: false, created_at: now, streams: [next().into(), next().into()] };
        let tokens = Mode::ALL.map(|mode| {
            let scope = Scope::Vendor { vendor: vendor.id, mode, stream: vendor.stream(mode) };
            self.new_token(scope, "first".to_owned(), Vec::new())
        });
        let stored = tokens.iter().map(|new| (new.token.clone(), new.text.hash())).collect();
        let new = NewVendor { vendor, tokens };
        let note = Note { details: json!({"name": new.vendor.name}), ..caller.note("vendor.created", new.vendor.id, new.vendor.id.into()) };
        self.change(Command::CreateVendor(new.vendor.clone(), stored), Some(note), once.known(&new)).await?;
        Ok(new)
    }

    /// Vendors, newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn vendors(&self, page: Page<VendorId>) -> Result<Vec<Vendor>, OpsError> {
        Ok(self.store.vendors(page).await?)
    }

    /// One vendor.
    ///
    /// # Errors
    /// There is no such vendor.
    pub async fn vendor(&self, id: VendorId) -> Result<Vendor, OpsError> {
        self.found(id).await
    }

    /// Changes a vendor: `{name?, email?, disabled?}`. A disabled one's tokens are refused and its deliveries wait.
    ///
    /// # Errors
    /// The input's problems; there is no such vendor.
    pub async fn update_vendor(&self, caller: Caller, id: VendorId, mut fields: Fields) -> Result<Vendor, OpsError> {
        let change = VendorChange {
            name: fields.text("name", limits::NAME_MAX),
            email: email(&mut fields, "email"),
            disabled: fields.boolean("disabled"),
        };
        let problems = fields.finish();
        if !problems.is_empty() {
            return Err(OpsError::Invalid(problems));
        }
        let moves = change.disabled.is_some();
        let details = json!({"name": change.name, "email": change.email, "disabled": change.disabled});
        let note = Note { details, ..caller.note("vendor.changed", id, id.into()) };
        let Reply::Vendor(vendor) = self.change(Command::UpdateVendor(id, change), Some(note), None).await? else {
            unreachable!("a change of a vendor is answered with the vendor")
        };
        let vendor = vendor.ok_or(OpsError::NotFound("vendor"))?;
        self.tokens.clear();
        if moves {
            self.with_endpoints(&vendor, |id| self.handoff.changed(id)).await?;
        }
        Ok(vendor)
    }

    /// Removes a person's data everywhere: `connection_no`. Events stay as tombstones, so that numbers have no gap.
    ///
    /// # Errors
    /// The input's problems; there is no such vendor.
    pub async fn erase_personal_data(&self, caller: Caller, id: VendorId, mut fields: Fields) -> Result<(), OpsError> {
        let number = fields.required_text("connection_no", limits::CONNECTION_NO_MAX);
        finish(fields)?;
        let vendor = self.found(id).await?;
        let mut removed = 0;
        for mode in Mode::ALL {
            let mut place = Some(SweepPlace::default());
            while let Some(at) = place {
                let swept = self.store.erase(vendor.stream(mode), number.clone(), at).await?;
                (removed, place) = (removed + swept.removed, swept.next);
            }
        }
        // What waits in memory still has it.
        self.with_endpoints(&vendor, |id| self.handoff.dropped(id)).await?;
        let shown = number.char_indices().rev().nth(1).filter(|_| number.len() > 4).map_or("", |(at, _)| &number[at..]);
        let details = json!({"connection_no": format!("•••{shown}"), "removed": removed});
        let note = Note { details, ..caller.note("personal_data.erased", id, id.into()) };
        self.change(Command::Note, Some(note), None).await?;
        Ok(())
    }

    async fn with_endpoints(&self, vendor: &Vendor, act: impl Fn(EndpointId) + Send + Sync) -> Result<(), OpsError> {
        for mode in Mode::ALL {
            self.with_endpoints_of(vendor, mode, &act).await?;
        }
        Ok(())
    }

    async fn with_endpoints_of(&self, vendor: &Vendor, mode: Mode, act: &(impl Fn(EndpointId) + Send + Sync)) -> Result<(), OpsError> {
        let mut before: Option<EndpointId> = None;
        loop {
            let page = self.store.endpoints(vendor.stream(mode), Page { before, limit: limits::PAGE_MAX }).await?;
            page.iter().for_each(|endpoint| act(endpoint.id));
            match page.last() {
                Some(last) if page.len() == limits::PAGE_MAX => before = Some(last.id),
                _ => return Ok(()),
            }
        }
    }
}
