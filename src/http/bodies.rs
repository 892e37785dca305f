//! Request bodies and queries as the OpenAPI document shows them. What is really read stands in `ops`; a test sends
//! every property named here and sees it recognized.
#![allow(dead_code, reason = "these types are documentation")]

use std::collections::HashMap;

use utoipa::{IntoParams, ToSchema};

use crate::domain::endpoint::{CipherText, Ordering, Profile};
use crate::domain::vendor::Mode;

#[derive(ToSchema)]
pub(super) struct VendorInput {
    #[schema(max_length = 200)]
    name: String,
    #[schema(max_length = 200)]
    email: String,
}

#[derive(ToSchema)]
pub(super) struct VendorPatch {
    name: Option<String>,
    email: Option<String>,
    /// Stops its tokens and its deliveries, which wait.
    disabled: Option<bool>,
}

#[derive(ToSchema)]
pub(super) struct TokenInput {
    mode: Mode,
    name: Option<String>,
    /// Addresses or networks that it may be used from.
    allowed_ips: Option<Vec<String>>,
}

#[derive(ToSchema)]
pub(super) struct ReportsInput {
    #[schema(min_items = 1, max_items = 1000)]
    reports: Vec<ReportInput>,
}

/// What is wrong with an item is told in its result; the others are taken.
#[derive(ToSchema)]
pub(super) struct ReportInput {
    vendor_id: String,
    mode: Option<Mode>,
    #[schema(max_length = 128)]
    reference_no: String,
    status: Claimed,
    /// A decimal string, or a JSON number; needs `currency`.
    #[schema(example = "50.00")]
    amount: Option<String>,
    /// ISO 4217.
    #[schema(example = "NPR")]
    currency: Option<String>,
    /// The network's name.
    operator: Option<String>,
    connection_no: Option<String>,
    provider: Option<String>,
    provider_ref: Option<String>,
    reason: Option<String>,
    #[schema(format = DateTime)]
    occurred_at: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Claimed {
    Queued,
    Success,
    Failed,
}

#[derive(ToSchema)]
pub(super) struct EventInput {
    vendor_id: String,
    mode: Option<Mode>,
    /// Words of a-z, 0-9, _ and - joined by full stops; `recharge.*`, `endpoint.*` and `webhook.*` are reserved.
    #[schema(rename = "type")]
    r#type: String,
    data: HashMap<String, serde_json::Value>,
    /// The same key again answers with the first event.
    dedupe_key: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct EndpointInput {
    /// With an operator's token.
    vendor_id: Option<String>,
    /// With an operator's token.
    mode: Option<Mode>,
    url: String,
    description: Option<String>,
    /// Types, prefixes such as `recharge.*`, or `*`.
    event_types: Option<Vec<String>>,
    profile: Option<Profile>,
    /// `globaltopup` only.
    cipher_text: Option<CipherText>,
    /// The vendor's own; one is made if it is left out.
    secret: Option<String>,
    /// `globaltopup` only: take a secret of another form than 32 printable characters.
    legacy_secret: Option<bool>,
    /// Make an ed25519 key pair and sign with it too.
    ed25519: Option<bool>,
    alert_email: Option<String>,
    headers: Option<HashMap<String, String>>,
    #[schema(minimum = 1, maximum = 10000)]
    rate_limit_per_second: Option<u32>,
    #[schema(minimum = 1)]
    max_in_flight: Option<u32>,
    ordering: Option<Ordering>,
    /// A duration such as `6h`.
    strict_hold: Option<String>,
}

/// What is left out stays; null takes back what need not be there (description, alert_email, headers, limits, strict_hold).
#[derive(ToSchema)]
pub(super) struct EndpointPatch {
    url: Option<String>,
    description: Option<String>,
    event_types: Option<Vec<String>>,
    profile: Option<Profile>,
    cipher_text: Option<CipherText>,
    /// Only together with the change to the profile `globaltopup`.
    secret: Option<String>,
    legacy_secret: Option<bool>,
    alert_email: Option<String>,
    headers: Option<HashMap<String, String>>,
    #[schema(minimum = 1, maximum = 10000)]
    rate_limit_per_second: Option<u32>,
    #[schema(minimum = 1)]
    max_in_flight: Option<u32>,
    ordering: Option<Ordering>,
    strict_hold: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// With an operator's token.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MineQuery {
    vendor_id: Option<String>,
    mode: Option<Mode>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RechargesQuery {
    /// Other than `queued` it needs a time range of at most 31 days.
    status: Option<crate::domain::recharge::Status>,
    reference_no: Option<String>,
    /// Needs a time range of at most 31 days.
    connection_no: Option<String>,
    /// Inclusive.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Exclusive.
    #[param(format = DateTime)]
    until: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The sequence number after which to begin; without it at the oldest kept.
    #[param(minimum = 0)]
    after: Option<i64>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    endpoint_id: Option<String>,
    /// Without `endpoint_id` it needs a time range of at most 31 days.
    state: Option<crate::domain::delivery::DeliveryState>,
    event_id: Option<String>,
    /// Needs a time range of at most 31 days.
    r#type: Option<String>,
    /// Needs a time range of at most 31 days.
    recharge_id: Option<String>,
    /// Inclusive.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Exclusive.
    #[param(format = DateTime)]
    until: Option<String>,
}
