//! What the operator looks at: how everything stands, what fails, and who changed what.

use super::input::{Paging, finish, require_range, time_range};
use super::{Ops, OpsError, ShownEndpoint};
use crate::domain::audit::Entry;
use crate::domain::id::{AuditId, EndpointId, VendorId};
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;
use crate::domain::vendor::Vendor;
use crate::fields::Fields;
use crate::limits;
use crate::providers::Terms;
use crate::store::cluster::Node;
use crate::store::{AuditQuery, Cause, Listed, Overview, Page, ProviderStanding, Trouble, WaitingMail};

/// An endpoint that fails or was disabled, with why.
#[derive(Debug, Clone)]
pub struct Issue {
    /// The endpoint.
    pub shown: ShownEndpoint,
    /// Whose it is.
    pub vendor: Vendor,
    /// What was told about it.
    pub trouble: Trouble,
    /// Why its latest attempts failed, the most frequent cause first.
    pub causes: Vec<Cause>,
}

impl Ops {
    /// How everything stands, with the time it was looked at and the number of open deliveries.
    ///
    /// # Errors
    /// The input's problems; the store's.
    pub async fn overview(&self, fields: Fields) -> Result<(Overview, Timestamp, u64), OpsError> {
        finish(fields)?;
        let now = self.environment.clock.now();
        Ok((self.store.overview(now).await?, now, self.store.open_count().await?))
    }

    /// What each minute since then held, of all nodes.
    ///
    /// # Errors
    /// The store's.
    pub async fn minutes(&self, since: Timestamp) -> Result<Vec<(Timestamp, Traffic)>, OpsError> {
        Ok(self.store.minutes(since).await?)
    }

    /// Attempts that are under way on this node.
    pub fn in_flight(&self) -> usize {
        self.handoff.in_flight()
    }

    /// The nodes that share the database; none where it is a file, whose one node owns everything.
    ///
    /// # Errors
    /// The store's.
    pub async fn nodes(&self) -> Result<Option<Vec<Node>>, OpsError> {
        match self.store.cluster() {
            Some(cluster) => Ok(Some(cluster.nodes().await?)),
            None => Ok(None),
        }
    }

    /// All providers, with how they do.
    ///
    /// # Errors
    /// The store's.
    pub async fn provider_standings(&self) -> Result<Vec<(&Terms, Option<ProviderStanding>)>, OpsError> {
        let mut standings = self.store.providers().await?;
        let mut take = |name: &str| standings.iter().position(|one| one.name == name).map(|at| standings.swap_remove(at));
        Ok(self.providers.all().map(|provider| (provider.terms(), take(&provider.terms().name))).collect())
    }

    /// Endpoints that fail, or that a rule disabled, the newest first, with the page's end if it is full.
    ///
    /// # Errors
    /// The store's.
    pub async fn issues(&self, before: Option<EndpointId>) -> Result<(Vec<Issue>, Option<EndpointId>), OpsError> {
        let troubles = self.store.troubled(Page { before, limit: limits::ISSUES_SHOWN }).await?;
        let next = troubles.last().filter(|_| troubles.len() == limits::ISSUES_SHOWN).map(|last| last.endpoint);
        let mut issues = Vec::with_capacity(troubles.len());
        for trouble in troubles {
            let Some(endpoint) = self.store.endpoint(trouble.endpoint).await? else { continue };
            let Some(vendor) = self.store.vendor(endpoint.vendor).await? else { continue };
            let causes = self.store.causes(endpoint.id, limits::CAUSES_OF).await?;
            issues.push(Issue { shown: self.shown_endpoint(endpoint).await?, vendor, trouble, causes });
        }
        Ok((issues, next))
    }

    /// Mails that wait, the newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn waiting_mails(&self, page: Page<i64>) -> Result<Vec<WaitingMail>, OpsError> {
        Ok(self.store.waiting_mails(page).await?)
    }

    /// The audit log, newest first: `vendor_id`, `action` (such as `endpoint.changed`, or `endpoint.` for all of a kind),
    /// `since`, `until`, `limit`, `cursor`.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn audit(&self, mut fields: Fields) -> Result<Listed<Entry, AuditId>, OpsError> {
        let vendor = fields.parse::<VendorId>("vendor_id");
        let action = fields.text("action", limits::EVENT_TYPE_MAX);
        let range = time_range(&mut fields);
        let Paging(page) = Paging::read(&mut fields);
        if action.is_some() {
            require_range(&mut fields, range, self.environment.clock.now(), "action");
        }
        finish(fields)?;
        Ok(self.store.audit(AuditQuery { vendor, action, range, page }).await?)
    }
}
