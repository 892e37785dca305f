//! Short ways to ask a store for a change, without a note and without an answer to keep.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ringback::domain::endpoint::Endpoint;
use ringback::domain::id::{DeliveryId, EndpointId, TokenId, VendorId};
use ringback::domain::time::Timestamp;
use ringback::domain::token::{Token, TokenHash};
use ringback::domain::vendor::Vendor;
use ringback::store::{Change, Created, Deed, Done, EndpointChange, OpenRun, Resent, Store, StoreError, VendorChange, Write, Written};

use crate::subject::{DAY, START};

/// What a store does when it is asked for.
#[async_trait]
pub trait Deeds {
    async fn act(&self, change: Change) -> Result<(Done, Vec<OpenRun>), StoreError>;

    async fn deed(&self, deed: Deed, now: Timestamp) -> Result<Done, StoreError> {
        Ok(self.act(Change { deed, now, note: None, keep: None }).await?.0)
    }

    async fn create_vendor(&self, vendor: Vendor, tokens: Vec<(Token, TokenHash)>) -> Result<(), StoreError> {
        self.deed(Deed::CreateVendor(vendor, tokens), START).await.map(drop)
    }

    async fn update_vendor(&self, id: VendorId, change: VendorChange) -> Result<Option<Vendor>, StoreError> {
        match self.deed(Deed::UpdateVendor(id, change), START).await? {
            Done::Vendor(vendor) => Ok(vendor),
            other => panic!("not a vendor: {other:?}"),
        }
    }

    async fn create_token(&self, token: Token, hash: TokenHash) -> Result<(), StoreError> {
        self.deed(Deed::CreateToken(token, hash), START).await.map(drop)
    }

    async fn revoke_token(&self, vendor: VendorId, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.deed(Deed::RevokeToken { id, vendor: Some(vendor) }, now).await?.came_to_pass())
    }

    async fn create_endpoint(&self, endpoint: Endpoint, most: u32) -> Result<Created, StoreError> {
        match self.deed(Deed::CreateEndpoint { endpoint: Box::new(endpoint), most }, START).await? {
            Done::Made(created) => Ok(created),
            other => panic!("not whether it was made: {other:?}"),
        }
    }

    async fn change_endpoint(&self, id: EndpointId, change: EndpointChange, now: Timestamp) -> Result<Option<Endpoint>, StoreError> {
        match self.deed(Deed::ChangeEndpoint { id, change, deadline: DAY }, now).await? {
            Done::Endpoint(endpoint) => Ok(endpoint.map(|endpoint| *endpoint)),
            other => panic!("not an endpoint: {other:?}"),
        }
    }

    async fn resend(&self, id: DeliveryId, now: Timestamp, deadline: Timestamp) -> Result<Resent, StoreError> {
        let deadline: Duration = deadline.since(now);
        match self.deed(Deed::Resend { id, deadline }, now).await? {
            Done::Resent(resent) => Ok(resent),
            other => panic!("not whether it was resent: {other:?}"),
        }
    }
}

#[async_trait]
impl Deeds for Arc<dyn Store> {
    async fn act(&self, change: Change) -> Result<(Done, Vec<OpenRun>), StoreError> {
        match self.commit(vec![Write::Change(Box::new(change))]).await.1?.pop() {
            Some(Written::Done(done, opened)) => Ok((done, opened)),
            other => panic!("not what came of a change: {other:?}"),
        }
    }
}
