//! What is measured, by name. The names are part of the contract; docs/operating.md says what each means and when to worry.

mod process;

use std::time::Duration;

use http::Method;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use self::process::Process;
use crate::domain::attempt::{FaultCause, OutcomeKind};
use crate::domain::recharge::{Status, Verdict};
use crate::{logging, panics};

/// Every metric of Ringback's own, with what it tells. (The process's own come beside them, as `process_…`.)
pub const METRICS: [(&str, Kind, &str); 33] = [
    (REPORTS, Kind::Counter, "Reports received, by verdict"),
    (ATTEMPTS, Kind::Counter, "Delivery attempts that came back, by outcome"),
    (FAULTS, Kind::Counter, "Requests that could not be made, which is not the endpoint's doing, by cause"),
    (DELIVERY, Kind::Seconds, "From an event's acceptance to its first success at an endpoint"),
    (BACKLOG, Kind::Gauge, "Deliveries that have not ended"),
    (OLDEST, Kind::Gauge, "Age of the oldest event that has a delivery open, in seconds"),
    (IN_FLIGHT, Kind::Gauge, "Delivery attempts under way"),
    (UNSETTLED, Kind::Gauge, "Outcomes that wait to be written down; at unsettled_max sending pauses"),
    (LANES, Kind::Gauge, "Endpoints with something in hand, by whether they hold, fail or go"),
    (COMMIT_SIZE, Kind::Rows, "Rows that one transaction took"),
    (COMMIT_SECONDS, Kind::Seconds, "Time that one transaction took, sync included"),
    (STORE_ERRORS, Kind::Counter, "Transactions that failed, by kind"),
    (RECHARGES, Kind::Gauge, "Recharges, by status"),
    (OLDEST_QUEUED, Kind::Gauge, "Age of the oldest queued recharge, in seconds"),
    (FAILING, Kind::Gauge, "Connected endpoints whose last attempt failed"),
    (DISABLED, Kind::Gauge, "Endpoints that are disabled"),
    (DISABLINGS, Kind::Counter, "Endpoints that a rule disabled"),
    (RECOVERIES, Kind::Counter, "Endpoints that came back by themselves"),
    (CONFLICTS, Kind::Gauge, "Conflicts that wait for a decision"),
    (REPLAYS, Kind::Gauge, "Replays that are running"),
    (ALERTS, Kind::Gauge, "Alerts that wait to be mailed"),
    (STUCK, Kind::Gauge, "Queued recharges that nobody could tell anything about for three days"),
    (MAILS, Kind::Counter, "Alert mails, by whether the mail server took them"),
    (SWEPT, Kind::Counter, "Old rows removed"),
    (REQUESTS, Kind::Counter, "API requests, by method, route and status"),
    (REQUEST_SECONDS, Kind::Seconds, "Time to answer an API request (streams and waiting feeds included), by route"),
    (RATE_LIMITED, Kind::Counter, "API requests beyond their token's rate limit"),
    (SHARDS, Kind::Gauge, "Shards of 256 that this node owns"),
    (SHARDS_SEIZED, Kind::Counter, "Shards taken over from nodes that had not given them back"),
    (SPANS_DROPPED, Kind::Counter, "Spans of traces that did not reach the collector"),
    (LOG_DROPPED, Kind::Counter, "Log lines that could not be written"),
    (PANICS, Kind::Counter, "Panics of request handlers; any other panic ends the process"),
    (BUILD, Kind::Gauge, "1, with the version as a label"),
];

const REPORTS: &str = "ringback_reports_total";
const ATTEMPTS: &str = "ringback_attempts_total";
const FAULTS: &str = "ringback_faults_total";
const DELIVERY: &str = "ringback_delivery_seconds";
const BACKLOG: &str = "ringback_backlog";
const OLDEST: &str = "ringback_oldest_open_seconds";
const IN_FLIGHT: &str = "ringback_in_flight";
const UNSETTLED: &str = "ringback_unsettled";
const LANES: &str = "ringback_lanes";
const COMMIT_SIZE: &str = "ringback_commit_batch_size";
const COMMIT_SECONDS: &str = "ringback_commit_seconds";
const STORE_ERRORS: &str = "ringback_store_errors_total";
const RECHARGES: &str = "ringback_recharges";
const OLDEST_QUEUED: &str = "ringback_oldest_queued_seconds";
const FAILING: &str = "ringback_endpoints_failing";
const DISABLED: &str = "ringback_endpoints_disabled";
const DISABLINGS: &str = "ringback_disablings_total";
const RECOVERIES: &str = "ringback_recoveries_total";
const CONFLICTS: &str = "ringback_conflicts_open";
const REPLAYS: &str = "ringback_replays_running";
const STUCK: &str = "ringback_recharges_stuck";
const ALERTS: &str = "ringback_alerts_waiting";
const MAILS: &str = "ringback_mails_total";
const SWEPT: &str = "ringback_swept_rows_total";
const REQUESTS: &str = "ringback_http_requests_total";
const REQUEST_SECONDS: &str = "ringback_http_request_seconds";
const RATE_LIMITED: &str = "ringback_rate_limited_total";
const SHARDS: &str = "ringback_shards";
const SHARDS_SEIZED: &str = "ringback_shards_seized_total";
const SPANS_DROPPED: &str = "ringback_spans_dropped_total";
const LOG_DROPPED: &str = "ringback_log_lines_dropped_total";
const PANICS: &str = "ringback_panics_total";
const BUILD: &str = "ringback_build_info";

/// Methods that requests are counted by.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A histogram of seconds.
    Seconds,
    /// A histogram of rows.
    Rows,
}

/// The meters of one server, looked up once, so that counting costs an addition.
pub struct Meters {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: Process,
    reports: [Counter; 4],
    /// Reports that were not well formed.
    pub reports_invalid: Counter,
    attempts: [Counter; 5],
    faults: [Counter; 2],
    /// From an event's acceptance to its first success at an endpoint, in seconds.
    pub delivery_seconds: Histogram,
    /// Runs that have not ended.
    pub backlog: Gauge,
    /// Age of the oldest event with an open run, in seconds.
    pub oldest_open: Gauge,
    /// Attempts under way.
    pub in_flight: Gauge,
    /// Outcomes that wait to be written down.
    pub unsettled: Gauge,
    /// Lanes that hold, that fail, and others.
    pub lanes: [Gauge; 3],
    /// Rows of a committed batch.
    pub commit_batch_size: Histogram,
    /// Seconds that a commit took.
    pub commit_seconds: Histogram,
    recharges: [Gauge; 4],
    /// Age of the oldest queued recharge, in seconds.
    pub oldest_queued: Gauge,
    /// Connected endpoints whose last attempt failed.
    pub failing: Gauge,
    /// Endpoints that are disabled.
    pub disabled: Gauge,
    /// Endpoints that a rule disabled.
    pub disablings: Counter,
    /// Endpoints that came back by themselves.
    pub recoveries: Counter,
    /// Conflicts that are open.
    pub conflicts: Gauge,
    /// Replays that are running.
    pub replays: Gauge,
    /// Alerts that wait to be mailed.
    pub alerts: Gauge,
    /// Recharges that are stuck.
    pub stuck: Gauge,
    /// Mails that the mail server took.
    pub mails_sent: Counter,
    /// Mails that it did not take.
    pub mails_failed: Counter,
    /// Rows that the janitor removed.
    pub swept: Counter,
    /// Requests beyond their token's rate limit.
    pub rate_limited: Counter,
    /// Shards that this node owns.
    pub shards: Gauge,
    /// Shards that were taken from nodes that had not given them back.
    pub shards_seized: Counter,
    /// Spans that did not reach the collector.
    pub spans_dropped: Counter,
    log_dropped: Counter,
    panics: Counter,
}

const SECONDS: [f64; 16] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0, 86_400.0];
const SIZES: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 512.0, 1024.0, 2048.0];
const METADATA: Metadata<'static> = Metadata::new("ringback", Level::INFO, None);

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}

impl Meters {
    /// Meters at zero.
    pub fn new() -> Self {
        let recorder = recorder();
        describe(&recorder);
        let key = |name: &'static str, labels: &[(&'static str, &'static str)]| {
            Key::from_parts(name, labels.iter().map(|(label, value)| Label::new(*label, *value)).collect::<Vec<_>>())
        };
        let counter = |name, labels: &[_]| recorder.register_counter(&key(name, labels), &METADATA);
        let gauge = |name, labels: &[_]| recorder.register_gauge(&key(name, labels), &METADATA);
        let histogram = |name| recorder.register_histogram(&key(name, &[]), &METADATA);
        let process = Process::new(&recorder);
        gauge(BUILD, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        Self {
            handle: recorder.handle(),
            process,
            reports: Verdict::ALL.map(|verdict| counter(REPORTS, &[("verdict", verdict.as_str())])),
            reports_invalid: counter(REPORTS, &[("verdict", "invalid")]),
            attempts: OutcomeKind::ALL.map(|kind| counter(ATTEMPTS, &[("outcome", kind.as_str())])),
            faults: FaultCause::ALL.map(|cause| counter(FAULTS, &[("cause", cause.as_str())])),
            delivery_seconds: histogram(DELIVERY),
            backlog: gauge(BACKLOG, &[]),
            oldest_open: gauge(OLDEST, &[]),
            in_flight: gauge(IN_FLIGHT, &[]),
            unsettled: gauge(UNSETTLED, &[]),
            lanes: ["holding", "failing", "going"].map(|state| gauge(LANES, &[("state", state)])),
            commit_batch_size: histogram(COMMIT_SIZE),
            commit_seconds: histogram(COMMIT_SECONDS),
            recharges: Status::ALL.map(|status| gauge(RECHARGES, &[("status", status.as_str())])),
            oldest_queued: gauge(OLDEST_QUEUED, &[]),
            failing: gauge(FAILING, &[]),
            disabled: gauge(DISABLED, &[]),
            disablings: counter(DISABLINGS, &[]),
            recoveries: counter(RECOVERIES, &[]),
            conflicts: gauge(CONFLICTS, &[]),
            replays: gauge(REPLAYS, &[]),
            alerts: gauge(ALERTS, &[]),
            stuck: gauge(STUCK, &[]),
            mails_sent: counter(MAILS, &[("outcome", "sent")]),
            mails_failed: counter(MAILS, &[("outcome", "failed")]),
            swept: counter(SWEPT, &[]),
            rate_limited: counter(RATE_LIMITED, &[]),
            shards: gauge(SHARDS, &[]),
            shards_seized: counter(SHARDS_SEIZED, &[]),
            spans_dropped: counter(SPANS_DROPPED, &[]),
            log_dropped: counter(LOG_DROPPED, &[]),
            panics: counter(PANICS, &[]),
            recorder,
        }
    }

    /// Reports that got this verdict.
    pub fn reports(&self, verdict: Verdict) -> &Counter {
        &self.reports[verdict as usize]
    }

    /// Attempts that came to this.
    pub fn attempts(&self, kind: OutcomeKind) -> &Counter {
        &self.attempts[kind as usize]
    }

    /// Requests that could not be made for this cause.
    pub fn faults(&self, cause: FaultCause) -> &Counter {
        &self.faults[cause as usize]
    }

    /// Recharges in this status.
    pub fn recharges(&self, status: Status) -> &Gauge {
        &self.recharges[status as usize]
    }

    /// A transaction failed; `kind` is one of few words.
    pub fn store_error(&self, kind: &'static str) {
        let key = Key::from_parts(STORE_ERRORS, vec![Label::new("kind", kind)]);
        self.recorder.register_counter(&key, &METADATA).increment(1);
    }

    /// An API request was answered. `route` is a path of the OpenAPI document, so that there are few of them, and an unknown
    /// method counts as `other`: no label has a value that a caller can invent.
    pub fn request(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let label = |name, value: &str| Label::new(name, value.to_owned());
        let method = METHODS.into_iter().find(|known| method == *known).unwrap_or("other");
        let labels = vec![Label::new("method", method), label("route", route), label("status", &status.to_string())];
        self.recorder.register_counter(&Key::from_parts(REQUESTS, labels), &METADATA).increment(1);
        let key = Key::from_parts(REQUEST_SECONDS, vec![label("route", route)]);
        self.recorder.register_histogram(&key, &METADATA).record(took.as_secs_f64());
    }

    /// The Prometheus text.
    pub fn render(&self) -> String {
        self.log_dropped.absolute(logging::dropped());
        self.panics.absolute(panics::count());
        self.process.measure();
        self.handle.render()
    }

    /// Folds what was measured into the buckets; without it, unread histograms would grow.
    pub fn fold(&self) {
        self.handle.run_upkeep();
    }
}

fn recorder() -> PrometheusRecorder {
    let buckets = |kind| if kind == Kind::Rows { SIZES.as_slice() } else { SECONDS.as_slice() };
    let histograms = METRICS.iter().filter(|(_, kind, _)| matches!(kind, Kind::Seconds | Kind::Rows));
    let builder = histograms.fold(PrometheusBuilder::new(), |builder, (name, kind, _)| {
        builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets(*kind)).expect("the buckets are not empty")
    });
    builder.build_recorder()
}

fn describe(recorder: &impl Recorder) {
    for (name, kind, text) in METRICS {
        let text = SharedString::const_str(text);
        match kind {
            Kind::Counter => recorder.describe_counter(name.into(), None, text),
            Kind::Gauge => recorder.describe_gauge(name.into(), None, text),
            Kind::Seconds => recorder.describe_histogram(name.into(), Some(Unit::Seconds), text),
            Kind::Rows => recorder.describe_histogram(name.into(), None, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_methods_are_one_series() {
        let meters = Meters::new();
        for number in 0..100 {
            let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
            meters.request(&method, "/v1/reports", 405, Duration::ZERO);
        }
        meters.request(&Method::GET, "/v1/reports", 405, Duration::ZERO);
        let text = meters.render();
        let counted: Vec<&str> = text.lines().filter(|line| line.starts_with(REQUESTS)).collect();
        assert_eq!(counted.len(), 2, "{counted:?}");
        assert!(counted.iter().any(|line| line.contains(r#"method="other""#) && line.ends_with(" 100")), "{counted:?}");
    }
}
