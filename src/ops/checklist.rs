//! The first-run checklist of the operator's panel: what a new installation still lacks, computed from what the server knows.

use std::sync::atomic::{AtomicBool, Ordering};

use super::access::About;
use super::{Caller, Ops, OpsError};
use crate::domain::endpoint::EndpointStatus;
use crate::domain::id::VendorId;
use crate::domain::vendor::{Mode, Vendor};
use crate::limits;
use crate::store::{AuditQuery, Command, Page, TimeRange};

/// The audit entry of a dismissal. It is also where the dismissal is stored.
const DISMISSED: &str = "checklist.dismissed";

/// Whether the checklist is known to be dismissed. It never comes back within a process.
#[derive(Debug, Default)]
pub(super) struct Dismissed(AtomicBool);

/// What a new installation has and lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checklist {
    /// The newest vendor, if there is one.
    pub vendor: Option<VendorId>,
    /// A live endpoint is connected.
    pub has_endpoint: bool,
    /// A provider is configured, or recharges arrive in reports.
    pub has_recharges: bool,
    /// `smtp_url` and `mail_from` are set.
    pub mails_go_out: bool,
    /// `public_url` is set.
    pub has_public_url: bool,
    /// There is a second operator, or the only one has a second factor.
    pub has_safe_access: bool,
}

impl Checklist {
    /// Number of steps.
    pub const STEPS: usize = 6;

    /// Number of steps that are done.
    pub fn done(&self) -> usize {
        let steps: [bool; Self::STEPS] =
            [self.vendor.is_some(), self.has_endpoint, self.has_recharges, self.mails_go_out, self.has_public_url, self.has_safe_access];
        steps.into_iter().filter(|done| *done).count()
    }
}

impl Ops {
    /// The checklist. None once all is done, it was dismissed, or the platform has outgrown it
    /// ([`limits::CHECKLIST_VENDORS`] vendors).
    ///
    /// # Errors
    /// The store's.
    pub async fn checklist(&self) -> Result<Option<Checklist>, OpsError> {
        if self.dismissed.0.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let vendors = self.store.vendors(Page { before: None, limit: limits::CHECKLIST_VENDORS }).await?;
        if vendors.len() >= limits::CHECKLIST_VENDORS {
            return Ok(None);
        }
        let operators = self.store.users(None, Page { before: None, limit: 2 }).await?;
        let checklist = Checklist {
            vendor: vendors.first().map(|vendor| vendor.id),
            has_endpoint: self.has_connected(&vendors).await?,
            has_recharges: self.providers.has_live() || self.store.overview(self.now()).await?.recharges.iter().any(|count| *count > 0),
            mails_go_out: self.rules.mails_go_out,
            has_public_url: self.rules.public_url.is_some(),
            has_safe_access: operators.len() > 1 || operators.iter().any(|operator| operator.second_factor),
        };
        if checklist.done() == Checklist::STEPS || self.is_dismissed().await? {
            return Ok(None);
        }
        Ok(Some(checklist))
    }

    async fn has_connected(&self, vendors: &[Vendor]) -> Result<bool, OpsError> {
        for vendor in vendors {
            let page = Page { before: None, limit: limits::PAGE_MAX };
            let endpoints = self.store.endpoints(vendor.stream(Mode::Live), page).await?;
            if endpoints.iter().any(|endpoint| endpoint.status == EndpointStatus::Connected) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_dismissed(&self) -> Result<bool, OpsError> {
        let page = Page { before: None, limit: 1 };
        let query = AuditQuery { vendor: None, action: Some(DISMISSED.to_owned()), range: TimeRange::default(), page };
        let is_dismissed = !self.store.audit(query).await?.items.is_empty();
        self.dismissed.0.fetch_or(is_dismissed, Ordering::Relaxed);
        Ok(is_dismissed)
    }

    /// Dismisses the checklist, for all operators.
    ///
    /// # Errors
    /// The store's.
    pub async fn dismiss_checklist(&self, caller: Caller) -> Result<(), OpsError> {
        caller.operator()?;
        let note = caller.note(DISMISSED, "checklist", About::default());
        self.change(Command::Note, Some(note), None).await?;
        self.dismissed.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}
