//! A store under examination, and short ways to ask it for what the exams are about.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use ringback::clock::{Environment, Ids};
use ringback::domain::attempt::{Attempt, Outcome, OutcomeKind, Phases};
use ringback::domain::delivery::{DeliveryState, EndReason, RunKey};
use ringback::domain::endpoint::{Endpoint, EndpointStatus, Settings};
use ringback::domain::filter::Filter;
use ringback::domain::id::{DeliveryId, EndpointId, StreamId, VendorId};
use ringback::domain::recharge::{Details, Report, Status};
use ringback::domain::secret::Secret;
use ringback::domain::time::Timestamp;
use ringback::domain::vendor::{Mode, Vendor};
use ringback::limits;
use ringback::store::{
    Accept, Addressed, Created, Delivery, EndpointChange, Judged, NextStep, OpenAsk, OpenPage, OpenQuery, OpenRun, Page, Portion, Publish,
    Published, RecordOutcome, Resent, Settled, Store, Write, Written,
};
use serde_json::value::RawValue;

use crate::commands::Deeds;

pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub const DAY: Duration = Duration::from_secs(24 * 3600);
pub const ANY: &[EndpointStatus] = &EndpointStatus::ALL;

/// So many seconds after the start.
pub const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + seconds * 1000)
}

/// One millisecond earlier.
pub const fn just_before(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis() - 1)
}

/// A fresh store with what keeps it alive.
#[derive(Clone)]
pub struct Subject {
    pub store: Arc<dyn Store>,
    pub ids: Arc<Ids>,
    /// Rows that one step of the janitor removes.
    pub sweep_step: usize,
    _alive: Arc<dyn Any + Send + Sync>,
}

/// One mode of one vendor.
#[derive(Debug, Clone, Copy)]
pub struct Side {
    pub vendor: VendorId,
    pub stream: StreamId,
    pub mode: Mode,
}

impl Side {
    pub fn of(vendor: &Vendor, mode: Mode) -> Self {
        Self { vendor: vendor.id, stream: vendor.stream(mode), mode }
    }
}

/// Eight at once; what each came to, in no order.
pub async fn eight<T, F>(act: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..8).map(|number| tokio::spawn(act(number))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

pub fn first<K>(limit: usize) -> Page<K> {
    Page { before: None, limit }
}

pub fn report(side: Side, reference_no: &str, status: Status) -> Addressed {
    let report = Report { reference_no: reference_no.to_owned(), status, details: Details::default(), occurred_at: None };
    Addressed { stream: side.stream, mode: side.mode, report }
}

pub fn accept(now: Timestamp, reports: Vec<Addressed>) -> Write {
    Write::Accept(Accept { source: "api", now, deadline: DAY, reports })
}

pub fn publish(side: Side, event_type: &str, now: Timestamp) -> Publish {
    let data = RawValue::from_string("{}".to_owned()).unwrap();
    Publish { stream: side.stream, mode: side.mode, event_type: event_type.into(), data, dedupe_key: None, now, deadline: DAY }
}

pub fn outcome(kind: OutcomeKind) -> Outcome {
    let status = match kind {
        OutcomeKind::Succeeded => Some(204),
        OutcomeKind::Rejected => Some(500),
        _ => None,
    };
    let phases = Phases { total: 1500, ..Phases::default() };
    Outcome { kind, status, error: None, phases, address: None, retry_after: None, answer_headers: None, answer_body: None }
}

/// What the engine makes of an attempt of `run` that came back at `now`.
pub fn attempted(run: &OpenRun, number: u32, kind: OutcomeKind, now: Timestamp, after: NextStep) -> RecordOutcome {
    let attempt = Attempt { number, run: run.key.run, started_at: just_before(now), outcome: outcome(kind) };
    RecordOutcome {
        key: run.key,
        attempt: Some(attempt),
        attempts: number,
        deadline: run.deadline,
        now,
        after,
        replay: run.replay,
        latency: None,
        epoch: 0,
    }
}

pub fn succeeded(run: &OpenRun, number: u32, now: Timestamp) -> RecordOutcome {
    attempted(run, number, OutcomeKind::Succeeded, now, NextStep::Ended(DeliveryState::Succeeded, None))
}

pub fn failed(run: &OpenRun, number: u32, now: Timestamp, again: Timestamp) -> RecordOutcome {
    attempted(run, number, OutcomeKind::Rejected, now, NextStep::Retry { at: again, failed_since: run.failed_since.unwrap_or(now) })
}

/// The end of a run that no attempt led to.
pub fn ended(run: &OpenRun, state: DeliveryState, reason: Option<EndReason>, now: Timestamp) -> RecordOutcome {
    RecordOutcome {
        key: run.key,
        attempt: None,
        attempts: run.attempts,
        deadline: run.deadline,
        now,
        after: NextStep::Ended(state, reason),
        replay: run.replay,
        latency: None,
        epoch: 0,
    }
}

pub fn keys(runs: &[OpenRun]) -> Vec<(i64, u32)> {
    runs.iter().map(|run| (run.key.sequence, run.key.run)).collect()
}

pub fn filter(patterns: &[&str]) -> Filter {
    Filter::new(patterns.iter().map(|pattern| (*pattern).to_owned()).collect()).unwrap()
}

pub fn settings() -> Settings {
    let url = "https://vendor.example/hook".parse().unwrap();
    Settings { event_types: filter(&["*"]), ..Settings::new(url, Secret::new([7; 32])) }
}

impl Subject {
    pub fn new(store: impl Store, environment: &Environment, alive: impl Any + Send + Sync) -> Self {
        let (ids, sweep_step) = (environment.ids.clone(), limits::SWEEP_STEP_ROWS);
        Self { store: Arc::new(store), ids, sweep_step, _alive: Arc::new(alive) }
    }

    pub fn new_vendor(&self) -> Vendor {
        let streams = [self.ids.next(START).into(), self.ids.next(START).into()];
        let (name, email) = ("Himal Mobile".to_owned(), "ops@himal.example".to_owned());
        Vendor { id: self.ids.next(START).into(), name, email, disabled: false, created_at: START, streams }
    }

    pub async fn vendor(&self) -> Vendor {
        let vendor = self.new_vendor();
        self.store.create_vendor(vendor.clone(), Vec::new()).await.unwrap();
        vendor
    }

    /// The live side of a new vendor.
    pub async fn side(&self) -> Side {
        Side::of(&self.vendor().await, Mode::Live)
    }

    pub fn new_endpoint(&self, side: Side) -> Endpoint {
        Endpoint::new(self.ids.next(START).into(), side.vendor, side.mode, side.stream, settings(), START)
    }

    /// A new endpoint that has come to this state.
    pub async fn endpoint(&self, side: Side, status: EndpointStatus) -> EndpointId {
        let endpoint = self.new_endpoint(side);
        assert_eq!(self.store.create_endpoint(endpoint.clone(), u32::MAX).await.unwrap(), Created::Yes);
        if status != EndpointStatus::NotConnected {
            self.turn(endpoint.id, status).await;
        }
        endpoint.id
    }

    pub async fn connected(&self, side: Side) -> EndpointId {
        self.endpoint(side, EndpointStatus::Connected).await
    }

    pub async fn change(&self, id: EndpointId, change: EndpointChange) -> Endpoint {
        self.store.change_endpoint(id, change, START).await.unwrap().expect("it can be changed")
    }

    pub async fn turn(&self, id: EndpointId, to: EndpointStatus) -> Endpoint {
        self.change(id, EndpointChange::Status { from: ANY, to, reason: None, by_rule: false, failing_since: None }).await
    }

    pub async fn refilter(&self, id: EndpointId, patterns: &[&str]) -> Endpoint {
        let mut settings = self.store.endpoint(id).await.unwrap().unwrap().settings;
        settings.event_types = filter(patterns);
        self.resettle(id, settings).await
    }

    /// Gives an endpoint other settings.
    pub async fn resettle(&self, id: EndpointId, to: Settings) -> Endpoint {
        let from = self.store.endpoint(id).await.unwrap().unwrap().settings;
        self.change(id, EndpointChange::Settings { from: Box::new(from), to: Box::new(to) }).await
    }

    pub async fn commit(&self, writes: Vec<Write>) -> Vec<Written> {
        self.store.commit(writes).await.1.unwrap()
    }

    pub async fn judged(&self, now: Timestamp, reports: Vec<Addressed>) -> (Vec<Judged>, Vec<OpenRun>) {
        match self.commit(vec![accept(now, reports)]).await.pop() {
            Some(Written::Accepted(judged, opened)) => (judged, opened),
            other => panic!("not the answer to reports: {other:?}"),
        }
    }

    /// The answer to a single report.
    pub async fn judge(&self, now: Timestamp, report: Addressed) -> Judged {
        self.judged(now, vec![report]).await.0.remove(0)
    }

    pub async fn publish(&self, publish: Publish) -> (Published, Vec<OpenRun>) {
        match self.commit(vec![Write::Publish(publish)]).await.pop() {
            Some(Written::Published(published, opened)) => (published, opened),
            other => panic!("not the answer to an event: {other:?}"),
        }
    }

    /// A new event, and the runs it opened.
    pub async fn event(&self, side: Side, event_type: &str, now: Timestamp) -> Vec<OpenRun> {
        self.publish(publish(side, event_type, now)).await.1
    }

    /// So many events, one a second; the run that each opened for the only endpoint.
    pub async fn runs(&self, side: Side, count: i64) -> Vec<OpenRun> {
        let mut runs = Vec::new();
        for second in 0..count {
            runs.append(&mut self.event(side, "invoice.paid", at(second)).await);
        }
        assert_eq!(runs.len() as i64, count, "one endpoint listens");
        runs
    }

    pub async fn settle(&self, settle: RecordOutcome) -> Settled {
        match self.commit(vec![Write::RecordOutcome(settle)]).await.pop() {
            Some(Written::Settled(settled)) => settled,
            other => panic!("not the answer to an outcome: {other:?}"),
        }
    }

    /// Settles what is still open.
    pub async fn record(&self, settle: RecordOutcome) {
        assert_eq!(self.settle(settle).await, Settled::Recorded);
    }

    pub async fn resent(&self, id: DeliveryId, now: Timestamp) -> OpenRun {
        match self.store.resend(id, now, now.plus(DAY)).await.unwrap() {
            Resent::Opened(delivery) => self.open_run(RunKey { endpoint: id.endpoint, sequence: id.sequence, run: delivery.run }).await,
            other => panic!("no new run: {other:?}"),
        }
    }

    pub async fn open_page(&self, endpoint: EndpointId, query: OpenQuery, portion: Portion) -> OpenPage {
        self.store.open_runs(endpoint, vec![OpenAsk { query, portion }], START).await.unwrap().pages.remove(0)
    }

    pub async fn next_due(&self, endpoint: EndpointId, now: Timestamp) -> Option<Timestamp> {
        self.store.open_runs(endpoint, Vec::new(), now).await.unwrap().next_due
    }

    /// An open run as the engine would read it.
    pub async fn open_run(&self, key: RunKey) -> OpenRun {
        let query = OpenQuery::All { after: (key.sequence, key.run - 1), up_to: key.sequence };
        let replayed = OpenQuery::Replayed { after: (0, 0), due: at(1_000_000), failed_after: None };
        let mut found = self.open_page(key.endpoint, query, Portion::rows(1)).await.runs;
        found.extend(self.open_page(key.endpoint, replayed, Portion::rows(1000)).await.runs);
        found.into_iter().find(|run| run.key == key).expect("it is open")
    }

    pub async fn delivery(&self, key: RunKey) -> Delivery {
        self.store.delivery(key.delivery()).await.unwrap().expect("there is such a delivery")
    }
}
