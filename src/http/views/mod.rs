//! The objects of the contract (section 3b), as they go out.

mod admin;
mod deliveries;
mod endpoints;
mod ledger;
mod vendors;

pub(super) use admin::{EntryView, OverviewView};
pub(super) use deliveries::{AttemptView, DeliveryView};
pub(super) use endpoints::{CancelledView, ConnectedView, EndpointView, MatchedView, NewEndpointView, NewSecretView, ReplayView, SeenView};
pub(super) use ledger::{
    ConflictView, EventView, FeedView, FoundList, FoundView, PublishedView, RechargeView, ReportResult, Results, StuckView,
};
use serde::Serialize;
use utoipa::ToSchema;
pub(super) use vendors::{NewTokenView, NewVendorView, PanelLinkView, TokenView, UserView, VendorView};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    data: Vec<T>,
    /// `cursor` of the next page; null at the end.
    next_cursor: Option<String>,
}

impl<T> List<T> {
    pub fn new(data: Vec<T>, next: Option<impl ToString>) -> Self {
        Self { data, next_cursor: next.map(|next| next.to_string()) }
    }

    /// A list whose next page begins where this one ends, if it is full.
    pub fn of<I, K: ToString>(items: &[I], limit: usize, id: impl Fn(&I) -> K, view: impl Fn(&I) -> T) -> Self {
        let next = items.last().filter(|_| items.len() == limit).map(id);
        Self::new(items.iter().map(view).collect(), next)
    }
}
