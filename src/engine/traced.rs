//! What the engine tells of its work where traces are configured.

use super::Engine;
use crate::domain::delivery::OpenRun;
use crate::store::RecordOutcome;

impl Engine {
    /// A commit opened these runs; those of one event stand together.
    pub(super) fn trace_opened(&self, runs: &[OpenRun]) {
        let Some(traces) = &self.traces else { return };
        let now = self.now();
        for of_one in runs.chunk_by(|a, b| a.event.id == b.event.id) {
            // A resend belongs to a trace that has its beginning.
            if let Some(first) = of_one.iter().find(|run| run.key.run == 1) {
                let vendor = self.scheduler.lock().plan(first.key.endpoint).map(|plan| plan.endpoint.vendor);
                traces.event(&first.event, vendor, now);
            }
        }
    }

    /// These outcomes are durable.
    pub(super) fn trace_settled(&self, written: &[RecordOutcome]) {
        let Some(traces) = &self.traces else { return };
        let now = self.now();
        for settle in written {
            // Whoever made an attempt had the endpoint before.
            let stream = self.scheduler.lock().plan(settle.key.endpoint).map(|plan| plan.endpoint.stream);
            if let Some(stream) = stream {
                traces.settled(stream, settle, now);
            }
        }
    }
}
