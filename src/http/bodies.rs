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

/// A vendor's own token; the operator names the vendor.
#[derive(ToSchema)]
pub(super) struct OwnTokenInput {
    /// With an operator's token.
    vendor_id: Option<String>,
    mode: Mode,
    name: Option<String>,
    /// Addresses or networks that it may be used from.
    allowed_ips: Option<Vec<String>>,
}

#[derive(ToSchema)]
pub(super) struct UserInput {
    #[schema(max_length = 200)]
    email: String,
    #[schema(min_length = 10, max_length = 200)]
    password: String,
    /// `owner` if left out.
    role: Option<crate::domain::user::Role>,
}

#[derive(ToSchema)]
pub(super) struct PanelLinkInput {
    /// `viewer` if left out.
    role: Option<crate::domain::user::Role>,
    /// How long whoever follows it stays; an hour if left out.
    #[schema(minimum = 60, maximum = 43200)]
    lifetime_seconds: Option<u32>,
}

/// Which test event; `webhook.test` if left out.
#[derive(ToSchema)]
pub(super) struct TestInput {
    /// In test mode also `recharge.success`, `recharge.failed` or `recharge.reversed`, of which a made-up event is sent.
    #[schema(rename = "type")]
    r#type: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct ConnectInput {
    /// Put what the endpoint missed first, in order, before anything new.
    replay_missed: Option<bool>,
}

#[derive(ToSchema)]
pub(super) struct PauseInput {
    /// When the pause ends by itself: within seven days, and after seven days if left out.
    #[schema(format = DateTime)]
    until: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct RotateInput {
    /// The vendor's own; one is made if it is left out.
    secret: Option<String>,
    /// `globaltopup` only: take a secret of another form than 32 printable characters.
    legacy_secret: Option<bool>,
    /// How long the old one goes on signing; a day if left out. With 0 all former ones end at once.
    #[schema(minimum = 0, maximum = 2_592_000)]
    overlap_seconds: Option<u32>,
}

/// A recharge to make.
#[derive(ToSchema)]
pub(super) struct OrderInput {
    /// With an operator's token.
    vendor_id: Option<String>,
    /// With an operator's token; `live` if left out.
    mode: Option<Mode>,
    /// The vendor's own, unique for ever.
    #[schema(max_length = 128)]
    reference_no: String,
    /// The network, as the catalogue numbers it.
    operator_id: i64,
    /// What the network sells; its first service if left out.
    operator_type_id: Option<i64>,
    #[schema(max_length = 64)]
    connection_no: String,
    /// A decimal text, or a number.
    #[schema(value_type = String)]
    amount: String,
    /// The network's, if given.
    currency: Option<String>,
    circle_id: Option<i64>,
    package_id: Option<i64>,
    #[schema(max_length = 128)]
    package_name: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatementQuery {
    /// From this time on; from the first one if left out.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Before this time; up to now if left out.
    #[param(format = DateTime)]
    until: Option<String>,
}

/// Recharges to look up; 1 to 500 in all.
#[derive(ToSchema)]
pub(super) struct LookupInput {
    /// With an operator's token.
    vendor_id: Option<String>,
    /// With an operator's token; `live` if left out.
    mode: Option<Mode>,
    #[schema(max_items = 500)]
    ids: Option<Vec<String>>,
    #[schema(max_items = 500)]
    reference_nos: Option<Vec<String>>,
}

#[derive(ToSchema)]
pub(super) struct ReplayInput {
    /// Events from this time on.
    #[schema(format = DateTime)]
    since: String,
    /// Events before this time; now if left out.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Only events of these types.
    event_types: Option<Vec<String>>,
    /// `all` if left out.
    only: Option<crate::domain::replay::Only>,
    /// Count only.
    dry_run: Option<bool>,
}

#[derive(ToSchema)]
pub(super) struct ResolveConflictInput {
    r#as: Resolution,
    #[schema(max_length = 500)]
    reason: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Resolution {
    Reversed,
    LateSuccess,
    Dismissed,
}

#[derive(ToSchema)]
pub(super) struct ResolveRechargeInput {
    status: Settled,
    #[schema(max_length = 500)]
    reason: String,
    provider_ref: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Settled {
    Success,
    Failed,
}

/// The same key and body again within a day get the same answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct OnceHeader {
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

/// With an operator's token.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OwnerQuery {
    vendor_id: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PersonQuery {
    /// The number that was topped up.
    connection_no: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConflictsQuery {
    /// Other than `open` it needs a time range of at most 31 days, or a recharge.
    state: Option<crate::domain::conflict::CaseState>,
    recharge_id: Option<String>,
    /// Inclusive.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Exclusive.
    #[param(format = DateTime)]
    until: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    vendor_id: Option<String>,
    /// Such as `endpoint.changed`, or `endpoint.` for all of a kind; needs a time range of at most 31 days.
    action: Option<String>,
    /// Inclusive.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Exclusive.
    #[param(format = DateTime)]
    until: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// The sequence number after which to begin; from now on without it.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Types, or prefixes such as `recharge.*`, separated by commas.
    types: Option<String>,
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
    /// The network's name; needs a time range of at most 31 days.
    operator: Option<String>,
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
    /// Types, or prefixes such as `recharge.*`, separated by commas.
    types: Option<String>,
    /// Seconds to wait for an event, if there is none yet.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<u32>,
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
