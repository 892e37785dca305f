//! What is measured, by name. The names are part of the contract; docs/api.md lists them.

use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::domain::attempt::{FaultCause, OutcomeKind};
use crate::domain::recharge::Verdict;

/// The meters of one server, looked up once, so that counting costs an addition.
pub struct Meters {
    handle: PrometheusHandle,
    reports: [Counter; 4],
    /// Reports that were not well formed.
    pub reports_invalid: Counter,
    attempts: [Counter; 5],
    faults: [Counter; 2],
    /// From an event's acceptance to its first success at an endpoint, in seconds.
    pub delivery_seconds: Histogram,
    /// Runs that have not ended.
    pub backlog: Gauge,
    /// Attempts under way.
    pub in_flight: Gauge,
    /// Rows of a committed batch.
    pub commit_batch_size: Histogram,
    /// Mails that the mail server took.
    pub mails_sent: Counter,
    /// Mails that it did not take.
    pub mails_failed: Counter,
    /// Rows that the janitor removed.
    pub swept: Counter,
    /// Spans that did not reach the collector.
    pub spans_dropped: Counter,
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
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full("ringback_delivery_seconds".into()), &SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full("ringback_commit_batch_size".into()), &SIZES))
            .expect("the buckets are not empty")
            .build_recorder();
        describe(&recorder);
        let counter = |name: &'static str, label: &'static str, value: &'static str| {
            recorder.register_counter(&Key::from_parts(name, vec![metrics::Label::new(label, value)]), &METADATA)
        };
        Self {
            handle: recorder.handle(),
            reports: Verdict::ALL.map(|verdict| counter(REPORTS, "verdict", verdict.as_str())),
            reports_invalid: counter(REPORTS, "verdict", "invalid"),
            attempts: OutcomeKind::ALL.map(|kind| counter(ATTEMPTS, "outcome", kind.as_str())),
            faults: FaultCause::ALL.map(|cause| counter(FAULTS, "cause", cause.as_str())),
            delivery_seconds: recorder.register_histogram(&Key::from_static_name("ringback_delivery_seconds"), &METADATA),
            backlog: recorder.register_gauge(&Key::from_static_name("ringback_backlog"), &METADATA),
            in_flight: recorder.register_gauge(&Key::from_static_name("ringback_in_flight"), &METADATA),
            spans_dropped: recorder.register_counter(&Key::from_static_name(SPANS_DROPPED), &METADATA),
            commit_batch_size: recorder.register_histogram(&Key::from_static_name("ringback_commit_batch_size"), &METADATA),
            mails_sent: counter(MAILS, "outcome", "sent"),
            mails_failed: counter(MAILS, "outcome", "failed"),
            swept: recorder.register_counter(&Key::from_static_name(SWEPT), &METADATA),
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

    /// The Prometheus text.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds what was measured into the buckets; without it, unread histograms would grow.
    pub fn fold(&self) {
        self.handle.run_upkeep();
    }
}

const REPORTS: &str = "ringback_reports_total";
const ATTEMPTS: &str = "ringback_attempts_total";
const MAILS: &str = "ringback_mails_total";
const SWEPT: &str = "ringback_swept_rows_total";
const SPANS_DROPPED: &str = "ringback_spans_dropped_total";
const FAULTS: &str = "ringback_faults_total";

fn describe(recorder: &impl Recorder) {
    let text = |text: &'static str| SharedString::const_str(text);
    recorder.describe_counter(REPORTS.into(), None, text("Reports received, by verdict"));
    recorder.describe_counter(ATTEMPTS.into(), None, text("Delivery attempts, by outcome"));
    recorder.describe_counter(MAILS.into(), None, text("Alert mails, by whether the mail server took them"));
    recorder.describe_counter(SWEPT.into(), None, text("Old rows removed"));
    recorder.describe_counter(SPANS_DROPPED.into(), None, text("Spans of traces that did not reach the collector"));
    recorder.describe_counter(FAULTS.into(), None, text("Requests that could not be made, which is not the endpoint's doing, by cause"));
    recorder.describe_histogram("ringback_delivery_seconds".into(), Some(Unit::Seconds), text("From acceptance to delivery"));
    recorder.describe_gauge("ringback_backlog".into(), None, text("Deliveries that have not ended"));
    recorder.describe_gauge("ringback_in_flight".into(), None, text("Delivery attempts under way"));
    recorder.describe_histogram("ringback_commit_batch_size".into(), None, text("Rows that one transaction took"));
}
