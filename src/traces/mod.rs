//! Traces (`otlp_endpoint`): the life of each event that is delivered, as spans that an OpenTelemetry collector gets.
//!
//! # What is told
//! An event is a trace. Its root `event` lasts from the acceptance of what made the event to the commit that made it
//! durable. Each attempt is a child `attempt` of the root, and below that stands `settle`, from the attempt's outcome to
//! the commit that wrote it down. Spans carry ids, numbers, outcomes and the transport's own error texts; payloads,
//! secrets, URLs and connection numbers never get here.
//!
//! # Where ids come from
//! A trace's id and its spans' ids are hashes of what they are about. So nothing has to be remembered between an event
//! and its attempts, which may lie a day and a restart apart: whoever knows the event's id knows its trace. An attempt
//! that a crash makes happen twice has begun at two times, and has two ids.
//!
//! # What it must not do
//! Disturb those who deliver. A span is put into a bounded queue or dropped, without waiting; a task of its own takes
//! batches from there and sends each once. What the collector does not take is dropped too. Dropped spans are counted,
//! and the first failure in a row is logged.

mod export;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::Counter;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use url::Url;

use crate::domain::attempt::{Outcome, OutcomeKind};
use crate::domain::delivery::{DeliveryState, OpenRun, RunKey};
use crate::domain::event::Event;
use crate::domain::id::{EventId, StreamId, VendorId};
use crate::domain::time::Timestamp;
use crate::limits;
use crate::meters::Meters;
use crate::store::{NextStep, RecordOutcome};
use crate::transport::{NoTarget, Transport};

/// Where spans go.
pub struct Traces {
    queue: Mutex<Option<mpsc::Sender<SpanData>>>,
    exporting: Mutex<Option<JoinHandle<()>>>,
    dropped: Counter,
    scope: InstrumentationScope,
}

/// A collector that nothing can be sent to.
#[derive(Debug, thiserror::Error)]
pub enum NoCollector {
    /// Its URL.
    #[error("no traces can be sent to otlp_endpoint")]
    Target(#[from] NoTarget),
    /// What the exporter says about it.
    #[error("no traces can be sent to otlp_endpoint")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

impl Traces {
    /// Starts to send to the collector at `endpoint`, as `transport` sends, but to whatever address the operator named.
    ///
    /// # Errors
    /// Nothing can be sent to such a URL.
    pub fn start(endpoint: &Url, transport: &Transport, meters: &Meters) -> Result<Arc<Self>, NoCollector> {
        let mut url = endpoint.clone();
        url.set_path(&format!("{}/v1/traces", endpoint.path().trim_end_matches('/')));
        let (sender, queue) = mpsc::channel(limits::SPANS_WAITING_MAX);
        let otlp = export::exporter(&url, transport)?;
        let exporting = tokio::spawn(export::run(queue, otlp, meters.spans_dropped.clone()));
        Ok(Arc::new(Self {
            queue: Mutex::new(Some(sender)),
            exporting: Mutex::new(Some(exporting)),
            dropped: meters.spans_dropped.clone(),
            scope: InstrumentationScope::builder(NAME).with_version(VERSION).build(),
        }))
    }

    /// An event was made durable at `until`.
    pub fn event(&self, event: &Event, vendor: Option<VendorId>, until: Timestamp) {
        let mut attributes = vec![text("event.id", event.id), KeyValue::new("event.type", Arc::clone(&event.event_type))];
        attributes.extend(vendor.map(|id| text("vendor.id", id)));
        attributes.extend(event.recharge().map(|id| text("recharge.id", id)));
        self.record(Span {
            name: "event",
            event: event.id,
            id: root(event.id),
            parent: SpanId::INVALID,
            kind: SpanKind::Internal,
            start: system(event.created_at),
            end: system(until),
            status: Status::Unset,
            attributes,
        });
    }

    /// The next attempt of `run` began at `started_at` and came to `outcome`.
    pub fn attempt(&self, run: &OpenRun, vendor: VendorId, started_at: Timestamp, outcome: &Outcome) {
        let made = Made { event: run.event.id, key: run.key, number: run.attempts + 1, started_at };
        let mut attributes = made.attributes();
        attributes.push(text("vendor.id", vendor));
        attributes.push(KeyValue::new("outcome", outcome.kind.as_str()));
        attributes.extend(outcome.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        attributes.extend(outcome.error.clone().map(|error| KeyValue::new("error.message", error)));
        self.record(Span {
            name: "attempt",
            event: made.event,
            id: made.id("attempt"),
            parent: root(made.event),
            kind: SpanKind::Client,
            start: system(started_at),
            end: ended(started_at, outcome),
            status: status(outcome),
            attributes,
        });
    }

    /// What an attempt came to was made durable at `until`; the event is of this stream.
    pub fn settled(&self, stream: StreamId, settle: &RecordOutcome, until: Timestamp) {
        let Some(attempt) = &settle.attempt else { return };
        let event = EventId { stream, sequence: settle.key.sequence };
        let made = Made { event, key: settle.key, number: attempt.number, started_at: attempt.started_at };
        let state = match settle.after {
            NextStep::Ended(state, _) => state,
            NextStep::Retry { .. } => DeliveryState::Pending,
        };
        let mut attributes = made.attributes();
        attributes.push(KeyValue::new("state", state.as_str()));
        self.record(Span {
            name: "settle",
            event,
            id: made.id("settle"),
            parent: made.id("attempt"),
            kind: SpanKind::Internal,
            start: ended(attempt.started_at, &attempt.outcome),
            end: system(until),
            status: Status::Unset,
            attributes,
        });
    }

    /// Takes no more spans, and waits until those there are have been sent, but not longer than `limit`.
    pub async fn finish(&self, limit: Duration) {
        drop(self.queue.lock().take());
        let Some(mut exporting) = self.exporting.lock().take() else { return };
        if tokio::time::timeout(limit, &mut exporting).await.is_err() {
            tracing::warn!("drain_timeout passed; the last traces were not sent");
            exporting.abort();
        }
    }

    fn record(&self, span: Span) {
        let span = span.data(self.scope.clone());
        let taken = self.queue.lock().as_ref().is_some_and(|queue| queue.try_send(span).is_ok());
        if !taken {
            self.dropped.increment(1);
        }
    }
}

const NAME: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");

// --- Spans -----------------------------------------------------------------------------------------------------------

struct Span {
    name: &'static str,
    event: EventId,
    id: SpanId,
    parent: SpanId,
    kind: SpanKind,
    start: SystemTime,
    end: SystemTime,
    status: Status,
    attributes: Vec<KeyValue>,
}

impl Span {
    fn data(self, scope: InstrumentationScope) -> SpanData {
        SpanData {
            span_context: SpanContext::new(trace(self.event), self.id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: self.parent,
            parent_span_is_remote: false,
            span_kind: self.kind,
            name: self.name.into(),
            start_time: self.start,
            // Times are whole milliseconds, but what an attempt took is measured more exactly.
            end_time: self.end.max(self.start),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: self.status,
            instrumentation_scope: scope,
        }
    }
}

/// What tells one attempt from all others.
struct Made {
    event: EventId,
    key: RunKey,
    number: u32,
    started_at: Timestamp,
}

impl Made {
    fn id(&self, word: &str) -> SpanId {
        let (EventId { stream, sequence }, endpoint) = (self.event, self.key.endpoint.get());
        let of = [stream.get(), sequence, endpoint, self.key.run.into(), self.number.into(), self.started_at.as_millis()];
        let [.., a, b, c, d, e, f, g, h] = digest(word, &of);
        SpanId::from_bytes([a, b, c, d, e, f, g, h])
    }

    fn attributes(&self) -> Vec<KeyValue> {
        vec![
            text("event.id", self.event),
            text("endpoint.id", self.key.endpoint),
            text("delivery.id", self.key.delivery()),
            KeyValue::new("run", i64::from(self.key.run)),
            KeyValue::new("number", i64::from(self.number)),
        ]
    }
}

/// The trace of an event.
fn trace(event: EventId) -> TraceId {
    let digest = digest("event", &[event.stream.get(), event.sequence]);
    TraceId::from_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

/// The first span of an event's trace.
fn root(event: EventId) -> SpanId {
    let digest = digest("event", &[event.stream.get(), event.sequence]);
    SpanId::from_bytes(*digest.last_chunk().expect("a digest has 32 bytes"))
}

fn digest(word: &str, of: &[i64]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(word);
    of.iter().for_each(|number| hash.update(number.to_be_bytes()));
    hash.finalize().into()
}

fn text(name: &'static str, value: impl fmt::Display) -> KeyValue {
    KeyValue::new(name, Value::from(value.to_string()))
}

fn system(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + at.since(Timestamp::from_millis(0))
}

fn ended(started_at: Timestamp, outcome: &Outcome) -> SystemTime {
    system(started_at) + Duration::from_micros(outcome.phases.total.into())
}

fn status(outcome: &Outcome) -> Status {
    if outcome.kind == OutcomeKind::Succeeded {
        return Status::Unset;
    }
    Status::error(outcome.error.clone().unwrap_or_else(|| outcome.kind.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn event(sequence: i64) -> Event {
        let id = EventId { stream: StreamId::new(7), sequence };
        let at = Timestamp::from_millis(1_800_000_000_000);
        Event::restore(id, crate::domain::vendor::Mode::Live, "invoice.paid", at, "{}").expect("the facts are JSON")
    }

    #[test]
    fn a_full_queue_drops_spans_and_counts_them() {
        let count = Arc::new(AtomicU64::new(0));
        let (sender, mut queue) = mpsc::channel(2);
        let traces = Traces {
            queue: Mutex::new(Some(sender)),
            exporting: Mutex::default(),
            dropped: Counter::from_arc(Arc::clone(&count)),
            scope: InstrumentationScope::default(),
        };
        (1..=5).for_each(|sequence| traces.event(&event(sequence), None, Timestamp::from_millis(0)));
        assert_eq!(count.load(Ordering::SeqCst), 3);
        let kept: Vec<_> = std::iter::from_fn(|| queue.try_recv().ok()).collect();
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().all(|span| span.start_time == span.end_time), "no span ends before it begins");
    }

    #[test]
    fn ids_are_the_same_at_every_start_and_differ_between_events() {
        let id = |sequence| EventId { stream: StreamId::new(1), sequence };
        let made = |number| Made {
            event: id(1),
            key: RunKey { endpoint: crate::domain::id::EndpointId::new(2), sequence: 1, run: 1 },
            number,
            started_at: Timestamp::from_millis(3),
        };
        assert_eq!(trace(id(1)).to_string(), "ef343b69840f9b57eb751a0e9ab2d2a8");
        assert_eq!(root(id(1)).to_string(), "64c36b70cc4cfc06");
        assert_eq!(made(1).id("attempt").to_string(), "0116105ceb6635c0");
        assert!(trace(id(1)) != trace(id(2)) && root(id(1)) != root(id(2)));
        assert!(made(1).id("attempt") != made(2).id("attempt") && made(1).id("attempt") != made(1).id("settle"));
    }
}
