//! Vendors, their tokens and logins.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::time::Timestamp;
use crate::domain::token::{Scope, Token};
use crate::domain::user::{Role, User};
use crate::domain::vendor::{Mode, Vendor};
use crate::ops::{NewToken, NewVendor, PanelLink};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Vendor)]
pub(in super::super) struct VendorView {
    #[schema(value_type = String)]
    id: crate::domain::id::VendorId,
    name: String,
    email: String,
    disabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl VendorView {
    pub fn of(vendor: &Vendor) -> Self {
        Self {
            id: vendor.id,
            name: vendor.name.clone(),
            email: vendor.email.clone(),
            disabled: vendor.disabled,
            created_at: vendor.created_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewVendor)]
pub(in super::super) struct NewVendorView {
    #[serde(flatten)]
    vendor: VendorView,
    /// Shown this once.
    live_token: String,
    /// Shown this once.
    test_token: String,
}

impl NewVendorView {
    pub fn of(new: &NewVendor) -> Self {
        let [live, test] = &new.tokens;
        Self { vendor: VendorView::of(&new.vendor), live_token: live.text.expose().to_owned(), test_token: test.text.expose().to_owned() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(in super::super) struct TokenView {
    #[schema(value_type = String)]
    id: crate::domain::id::TokenId,
    mode: Option<Mode>,
    name: String,
    /// Addresses it is good from; any if empty.
    allowed_ips: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to ten minutes; null if never.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl TokenView {
    pub fn of(token: &Token) -> Self {
        let mode = match token.scope {
            Scope::Operator => None,
            Scope::Vendor { mode, .. } => Some(mode),
        };
        let allowed_ips = token.allowed_ips.iter().map(ToString::to_string).collect();
        Self { id: token.id, mode, name: token.name.clone(), allowed_ips, created_at: token.created_at, last_used_at: token.last_used_at }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewToken)]
pub(in super::super) struct NewTokenView {
    #[serde(flatten)]
    listed: TokenView,
    /// Shown this once.
    token: String,
}

impl NewTokenView {
    pub fn of(new: &NewToken) -> Self {
        Self { listed: TokenView::of(&new.token), token: new.text.expose().to_owned() }
    }
}

/// A login.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(in super::super) struct UserView {
    #[schema(value_type = String)]
    id: crate::domain::id::UserId,
    email: String,
    role: Role,
    /// Whether it has a second factor beside its password.
    second_factor: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl UserView {
    pub fn of(user: &User) -> Self {
        let User { id, role, second_factor, created_at, .. } = *user;
        Self { id, email: user.email.clone(), role, second_factor, created_at }
    }
}

/// A one-time link into a vendor's panel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PanelLink)]
pub(in super::super) struct PanelLinkView {
    #[schema(value_type = String)]
    id: crate::domain::id::LinkId,
    /// Where it leads; it is good once.
    url: String,
    /// Until when it has to be followed.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl PanelLinkView {
    pub fn of(link: &PanelLink) -> Self {
        Self { id: link.id, url: link.url.clone(), expires_at: link.expires_at }
    }
}
