//! Short ways to ask a store for a change, without a note and without an answer to keep.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ringback::domain::endpoint::Endpoint;
use ringback::domain::id::{DeliveryId, EndpointId, TokenId, VendorId};
use ringback::domain::time::Timestamp;
use ringback::domain::token::{Token, TokenHash};
use ringback::domain::vendor::Vendor;
use ringback::store::{Change, Command, Created, EndpointChange, OpenRun, Reply, Resent, Store, StoreError, VendorChange, Write, Written};

use crate::harness::{DAY, START};

/// What a store does when it is asked for.
#[async_trait]
pub trait Deeds {
    async fn act(&self, change: Change) -> Result<(Reply, Vec<OpenRun>), StoreError>;

    async fn command(&self, command: Command, now: Timestamp) -> Result<Reply, StoreError> {
        Ok(self.act(Change { command, now, note: None, keep: None }).await?.0)
    }

    async fn create_vendor(&self, vendor: Vendor, tokens: Vec<(Token, TokenHash)>) -> Result<(), StoreError> {
        self.command(Command::CreateVendor(vendor, tokens), START).await.map(drop)
    }

    async fn update_vendor(&self, id: VendorId, change: VendorChange) -> Result<Option<Vendor>, StoreError> {
        match self.command(Command::UpdateVendor(id, change), START).await? {
            Reply::Vendor(vendor) => Ok(vendor),
            other => panic!("not a vendor: {other:?}"),
        }
    }

    async fn create_token(&self, token: Token, hash: TokenHash) -> Result<(), StoreError> {
        self.command(Command::CreateToken(token, hash), START).await.map(drop)
    }

    async fn revoke_token(&self, vendor: VendorId, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.command(Command::RevokeToken { id, vendor: Some(vendor) }, now).await?.took_effect())
    }

    async fn create_endpoint(&self, endpoint: Endpoint, most: u32) -> Result<Created, StoreError> {
        match self.command(Command::CreateEndpoint { endpoint: Box::new(endpoint), most }, START).await? {
            Reply::Made(created) => Ok(created),
            other => panic!("not whether it was made: {other:?}"),
        }
    }

    async fn change_endpoint(&self, id: EndpointId, change: EndpointChange, now: Timestamp) -> Result<Option<Endpoint>, StoreError> {
        match self.command(Command::ChangeEndpoint { id, change, deadline: DAY }, now).await? {
            Reply::Endpoint(endpoint) => Ok(endpoint.map(|endpoint| *endpoint)),
            other => panic!("not an endpoint: {other:?}"),
        }
    }

    async fn resend(&self, id: DeliveryId, now: Timestamp, deadline: Timestamp) -> Result<Resent, StoreError> {
        let deadline: Duration = deadline.since(now);
        match self.command(Command::Resend { id, deadline }, now).await? {
            Reply::Resent(resent) => Ok(resent),
            other => panic!("not whether it was resent: {other:?}"),
        }
    }
}

#[async_trait]
impl Deeds for Arc<dyn Store> {
    async fn act(&self, change: Change) -> Result<(Reply, Vec<OpenRun>), StoreError> {
        match self.commit(vec![Write::Change(Box::new(change))]).await.1?.pop() {
            Some(Written::Reply(done, opened)) => Ok((done, opened)),
            other => panic!("not what came of a change: {other:?}"),
        }
    }
}
