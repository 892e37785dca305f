//! Vendors: made, read, changed, stopped.

use super::access::NewToken;
use super::input::email;
use super::{Ops, OpsError};
use crate::domain::id::{EndpointId, VendorId};
use crate::domain::token::Scope;
use crate::domain::vendor::{Mode, Vendor};
use crate::fields::Fields;
use crate::limits;
use crate::store::{Page, VendorChange};

/// A vendor that was just made, with its first tokens.
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
    pub async fn create_vendor(&self, mut fields: Fields) -> Result<NewVendor, OpsError> {
        let name = fields.required_text("name", limits::NAME_MAX);
        let named = fields.has("email");
        let email = email(&mut fields, "email");
        if !named {
            fields.invalid("email", "is required");
        }
        let problems = fields.finish();
        let (Some(email), true) = (email, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let now = self.surroundings.clock.now();
        let next = || self.surroundings.ids.next(now);
        let vendor = Vendor { id: next().into(), name, email, disabled: false, created_at: now, streams: [next().into(), next().into()] };
        let tokens = Mode::ALL.map(|mode| {
            let scope = Scope::Vendor { vendor: vendor.id, mode, stream: vendor.stream(mode) };
            self.new_token(scope, "first".to_owned(), Vec::new())
        });
        let stored = tokens.iter().map(|new| (new.token.clone(), new.text.hash())).collect();
        self.store.create_vendor(vendor.clone(), stored).await?;
        Ok(NewVendor { vendor, tokens })
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
    pub async fn update_vendor(&self, id: VendorId, mut fields: Fields) -> Result<Vendor, OpsError> {
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
        let vendor = self.store.update_vendor(id, change).await?.ok_or(OpsError::NotFound("vendor"))?;
        self.tokens.clear();
        if moves {
            for mode in Mode::ALL {
                self.endpoints_changed(&vendor, mode).await?;
            }
        }
        Ok(vendor)
    }

    async fn endpoints_changed(&self, vendor: &Vendor, mode: Mode) -> Result<(), OpsError> {
        let mut before: Option<EndpointId> = None;
        loop {
            let page = self.store.endpoints(vendor.stream(mode), Page { before, limit: limits::PAGE_MAX }).await?;
            page.iter().for_each(|endpoint| self.handoff.changed(endpoint.id));
            match page.last() {
                Some(last) if page.len() == limits::PAGE_MAX => before = Some(last.id),
                _ => return Ok(()),
            }
        }
    }
}
