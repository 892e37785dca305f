//! The way of spans to the collector: batches from the queue, each sent once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::Counter;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use url::Url;

use super::{NAME, NoCollector, VERSION};
use crate::domain::attempt::{Outcome, OutcomeKind};
use crate::limits;
use crate::transport::{Limits, NoTarget, Target, Transport};

/// Sends what is in the queue until that is closed and empty.
pub(super) async fn run(mut queue: mpsc::Receiver<SpanData>, otlp: SpanExporter, dropped: Counter) {
    loop {
        let batch = gather(&mut queue).await;
        let count = batch.len();
        if count == 0 {
            return;
        }
        if otlp.export(batch).await.is_err() {
            dropped.increment(count as u64);
        }
    }
}

/// The next batch: as many as it may have, or what comes within a while. Empty when there will be none any more.
async fn gather(queue: &mut mpsc::Receiver<SpanData>) -> Vec<SpanData> {
    let mut batch = Vec::new();
    queue.recv_many(&mut batch, limits::SPANS_BATCH).await;
    let fill = async {
        let mut room = limits::SPANS_BATCH - batch.len();
        while room > 0 {
            match queue.recv_many(&mut batch, room).await {
                0 => return,
                more => room -= more,
            }
        }
    };
    // Whether it is full or the time is over, what is there is taken.
    drop(tokio::time::timeout(limits::SPANS_GATHER_FOR, fill).await);
    batch
}

/// What writes spans as OTLP and sends them to `url`.
pub(super) fn exporter(url: &Url, transport: &Transport) -> Result<SpanExporter, NoCollector> {
    let collector = Collector::new(url, transport)?;
    let builder = SpanExporter::builder().with_http().with_http_client(collector).with_endpoint(url.as_str());
    // Its waits between repetitions would hold a thread of the runtime.
    let mut otlp = builder.with_retry_policy(RetryPolicy::disabled()).build()?;
    let of = [KeyValue::new("service.name", NAME), KeyValue::new("service.version", VERSION)];
    otlp.set_resource(&Resource::builder_empty().with_attributes(of).build());
    Ok(otlp)
}

/// The collector, spoken to as endpoints are.
struct Collector {
    transport: Transport,
    target: Target,
    fails: AtomicBool,
}

impl Collector {
    fn new(url: &Url, transport: &Transport) -> Result<Self, NoTarget> {
        let bounds = Limits {
            attempt_timeout: limits::EXPORT_TIMEOUT,
            connect_timeout: limits::EXPORT_TIMEOUT,
            answer_read_max: limits::ANSWER_READ_MAX as usize,
            answer_kept: limits::ANSWER_READ_MAX as usize,
        };
        Ok(Self { transport: transport.unguarded(bounds), target: Target::new(url)?, fails: AtomicBool::new(false) })
    }

    /// Tells when the collector begins to fail, and when it is back.
    fn note(&self, outcome: &Outcome) {
        let fails = outcome.kind != OutcomeKind::Succeeded;
        match (self.fails.swap(fails, Ordering::Relaxed), fails) {
            (false, true) => {
                let error = outcome.error.as_deref().unwrap_or("it did not take them");
                tracing::warn!(error, status = outcome.status, "traces cannot be sent to otlp_endpoint; they are dropped until they can");
            }
            (true, false) => tracing::info!("traces are sent to otlp_endpoint again"),
            _ => {}
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = match self.transport.send(&self.target, || request.clone()).await {
            Ok(outcome) => outcome,
            Err(fault) => return Err(fault.text.into()),
        };
        self.note(&outcome);
        match outcome.status {
            Some(status) => Ok(Response::builder().status(status).body(outcome.answer_body.unwrap_or_default().into())?),
            None => Err(outcome.error.unwrap_or_default().into()),
        }
    }
}
