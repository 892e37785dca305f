//! What the operator looks at: how everything stands, and who changed what.

use super::input::{Paging, finish, require_range, time_range};
use super::{Ops, OpsError};
use crate::domain::audit::Entry;
use crate::domain::id::{AuditId, VendorId};
use crate::domain::time::Timestamp;
use crate::fields::Fields;
use crate::limits;
use crate::store::{AuditQuery, Listed, Overview};

impl Ops {
    /// How everything stands, with the time it was looked at and the number of open deliveries.
    ///
    /// # Errors
    /// The input's problems; the store's.
    pub async fn overview(&self, fields: Fields) -> Result<(Overview, Timestamp, u64), OpsError> {
        finish(fields)?;
        let now = self.surroundings.clock.now();
        Ok((self.store.overview(now).await?, now, self.store.open_count().await?))
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
            require_range(&mut fields, range, self.surroundings.clock.now(), "action");
        }
        finish(fields)?;
        Ok(self.store.audit(AuditQuery { vendor, action, range, page }).await?)
    }
}
