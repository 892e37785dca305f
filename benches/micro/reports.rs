//! Reading the body of a `POST /v1/reports`, before anything is committed. Its vendor does not exist, so that each report
//! is read and checked to the end and then answered as invalid; what one of them alone takes is mostly the look for that
//! vendor in the store.

use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ringback::app::Externals;
use ringback::config::{Config, Sources, read_catalogue};
use ringback::domain::delivery::RunKey;
use ringback::domain::id::{EndpointId, VendorId};
use ringback::fields::Fields;
use ringback::meters::Meters;
use ringback::ops::{Answer, Ops, Parts};
use ringback::providers::Providers;
use ringback::providers::simulated::Simulated;
use ringback::store::group_commit::{GroupCommit, Handoff};
use ringback::store::{OpenRun, RecordOutcome, StoreError, Written};
use ringback::transport::guard::Guard;
use ringback::transport::{self, Transport, tls_config};
use serde_json::{Value, json};

use crate::ledger::Ledger;

const ITEMS: [usize; 3] = [1, 100, 1000];

#[divan::bench(args = ITEMS)]
fn json(bencher: Bencher, items: usize) {
    let body = body(&Ledger::new(), items);
    bencher.counter(ItemsCount::new(items)).bench(|| fields(black_box(&body)));
}

#[divan::bench(args = ITEMS)]
fn json_and_fields(bencher: Bencher, items: usize) {
    let ledger = Ledger::new();
    let (ops, body) = (ops(&ledger), body(&ledger, items));
    let read = |body: &[u8]| ledger.runtime.block_on(ops.report(fields(body))).unwrap();
    let unknown = |answer: &Answer| matches!(answer, Answer::Invalid(_, problems) if problems[0].message.contains("no such vendor"));
    assert!(read(&body).iter().all(unknown), "nothing else is wrong");
    bencher.counter(ItemsCount::new(items)).bench_local(|| read(black_box(&body)));
}

fn fields(body: &[u8]) -> Fields {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Fields::new(object),
        other => panic!("not an object: {other:?}"),
    }
}

fn body(ledger: &Ledger, items: usize) -> Vec<u8> {
    let vendor = VendorId::from(ledger.environment.next_id());
    let report = |_| {
        json!({
            "vendor_id": vendor,
            "reference_no": ledger.reference(),
            "status": "success",
            "amount": "50.00",
            "currency": "NPR",
            "operator": "Ncell",
            "connection_no": "9801234567",
            "provider": "gateway",
            "provider_ref": ledger.reference(),
            "occurred_at": "2026-11-23T09:15:02.114Z",
        })
    };
    serde_json::to_vec(&json!({"reports": (0..items).map(report).collect::<Vec<_>>()})).unwrap()
}

fn ops(ledger: &Ledger) -> Ops {
    let Config { transport: limits, rules, .. } = Config::read(Sources::default()).unwrap();
    let (resolver, tls, guard) = (Externals::system().resolver, tls_config(&[]), Guard::new(Vec::new()));
    let clock = Arc::clone(&ledger.environment.clock);
    let _runtime = ledger.runtime.enter();
    Ops::new(Parts {
        store: Arc::clone(&ledger.store),
        committer: GroupCommit::start(Arc::clone(&ledger.store), Arc::new(Nobody)).0,
        handoff: Arc::new(Nobody),
        transport: Arc::new(Transport::new(transport::Parts { limits, guard, proxy: None, resolver, tls, clock })),
        environment: ledger.environment.clone(),
        meters: Arc::new(Meters::new()),
        rules,
        catalogue: Arc::new(read_catalogue(None).unwrap()),
        providers: Providers::new(
            Vec::new(),
            Arc::new(Simulated::new(ledger.environment.clone(), tokio::sync::mpsc::unbounded_channel().0)),
        ),
    })
}

/// Takes no hints: there is nothing to send.
struct Nobody;

impl Handoff for Nobody {
    fn opened(&self, _: Vec<OpenRun>) {}
    fn changed(&self, _: EndpointId) {}
    fn due(&self, _: EndpointId) {}
    fn dropped(&self, _: EndpointId) {}
    fn cancelled(&self, _: EndpointId, _: Vec<RunKey>) {}
    fn replaying(&self, _: EndpointId) {}
    fn placed(&self) {}

    fn in_flight(&self) -> usize {
        0
    }

    fn holds_lease(&self) -> bool {
        true
    }
    fn pace(&self, _: EndpointId) -> Option<f64> {
        None
    }
    fn settled(&self, _: Vec<(RecordOutcome, Result<Written, StoreError>)>) {}
    fn unsure(&self) {}
    fn committed(&self, _: usize, _: Duration) {}
    fn failed(&self, _: &StoreError) {}
}
