//! What the operator looks at.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::audit::Entry;
use crate::domain::time::Timestamp;
use crate::domain::traffic::Traffic;
use crate::domain::vendor::Mode;
use crate::store::Overview;

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(in super::super) struct EntryView {
    #[schema(value_type = String)]
    id: crate::domain::id::AuditId,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who: `operator tok_…`, `vendor tok_…`, `user usr_…`, `command line` or `rule`.
    actor: String,
    /// From where.
    address: Option<String>,
    vendor_id: Option<String>,
    mode: Option<Mode>,
    /// What was done.
    #[schema(example = "endpoint.changed")]
    action: String,
    /// What it was done to.
    object: String,
    #[schema(value_type = Object)]
    details: serde_json::Value,
}

impl EntryView {
    pub fn of(entry: &Entry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            actor: entry.actor.clone(),
            address: entry.address.clone(),
            vendor_id: entry.vendor.map(|vendor| vendor.to_string()),
            mode: entry.mode,
            action: entry.action.clone(),
            object: entry.object.clone(),
            details: entry.details.clone(),
        }
    }
}

/// Recharges by status.
#[derive(Debug, Serialize, ToSchema)]
struct ByStatus {
    queued: u64,
    success: u64,
    failed: u64,
    reversed: u64,
}

/// A stretch of time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Traffic)]
struct TrafficView {
    /// Reports and events taken.
    accepted: u64,
    attempts: u64,
    /// Part of the attempts that succeeded, from 0 to 1; null without attempts.
    success_rate: Option<f64>,
    /// From an event to its first success, in milliseconds, right to a fifth; null without deliveries.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl TrafficView {
    fn of(traffic: &Traffic) -> Self {
        let millis = |part| traffic.quantile(part).map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0);
        let rate = (traffic.attempts > 0).then(|| traffic.succeeded as f64 / traffic.attempts as f64);
        Self { accepted: traffic.accepted, attempts: traffic.attempts, success_rate: rate, p50_ms: millis(0.5), p99_ms: millis(0.99) }
    }
}

/// Endpoints that need somebody.
#[derive(Debug, Serialize, ToSchema)]
struct EndpointCounts {
    failing: u64,
    disabled: u64,
}

/// How everything stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Overview)]
pub(in super::super) struct OverviewView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    recharges: ByStatus,
    /// Age of the oldest queued recharge; null if none is queued.
    oldest_queued_seconds: Option<u64>,
    /// Deliveries that have not ended.
    backlog: u64,
    last_hour: TrafficView,
    last_day: TrafficView,
    endpoints: EndpointCounts,
    /// Conflicts that wait for a decision.
    open_conflicts: u64,
    running_replays: u64,
    /// Alerts that have not been mailed yet.
    alerts_waiting: u64,
    /// Queued recharges that nobody could tell anything about for three days: GET /v1/stuck.
    stuck: u64,
}

impl OverviewView {
    pub fn of(overview: &Overview, at: Timestamp, backlog: u64) -> Self {
        let [queued, success, failed, reversed] = overview.recharges;
        Self {
            at,
            recharges: ByStatus { queued, success, failed, reversed },
            oldest_queued_seconds: overview.oldest_queued.map(|since| at.since(since).as_secs()),
            backlog,
            last_hour: TrafficView::of(&overview.hour),
            last_day: TrafficView::of(&overview.day),
            endpoints: EndpointCounts { failing: overview.failing, disabled: overview.disabled },
            open_conflicts: overview.conflicts,
            running_replays: overview.replays,
            alerts_waiting: overview.alerts,
            stuck: overview.stuck,
        }
    }
}
