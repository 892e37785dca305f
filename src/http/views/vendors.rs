//! Vendors, their tokens and logins.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::time::Timestamp;
use crate::domain::token::{Scope, Token};
use crate::domain::user::User;
use crate::domain::vendor::{Mode, Vendor};
use crate::ops::{NewToken, NewVendor};

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
}

impl TokenView {
    pub fn of(token: &Token) -> Self {
        let mode = match token.scope {
            Scope::Operator => None,
            Scope::Vendor { mode, .. } => Some(mode),
        };
        let allowed_ips = token.allowed_ips.iter().map(ToString::to_string).collect();
        Self { id: token.id, mode, name: token.name.clone(), allowed_ips, created_at: token.created_at }
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
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl UserView {
    pub fn of(user: &User) -> Self {
        Self { id: user.id, email: user.email.clone(), created_at: user.created_at }
    }
}
