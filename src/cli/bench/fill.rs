//! What is in the ledger before a load begins, written straight into the store.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::clock::Environment;
use crate::domain::attempt::{Attempt, Outcome, OutcomeKind, Phases};
use crate::domain::delivery::{DeliveryState, OpenRun};
use crate::domain::id::{StreamId, VendorId};
use crate::domain::money::Currency;
use crate::domain::recharge::{Details, Report, Status};
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::store::{Accept, Addressed, NextStep, RecordOutcome, Store, Write, Written};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Reports in one transaction.
const STEP: u64 = 1000;

/// Settled recharges of a vendor, accepted now.
pub(super) async fn recharges(store: &dyn Store, environment: &Environment, vendor: VendorId, count: u64) -> anyhow::Result<()> {
    let (stream, now) = (stream(store, vendor).await?, environment.clock.now());
    for step in steps(count) {
        let reports = (0..step).map(|_| report(environment, stream)).collect();
        commit(store, vec![Write::Accept(Accept { source: "report", now, deadline: DAY, reports })]).await?;
    }
    Ok(())
}

/// Events of a vendor from a month's days, four months ago, each delivered to its one endpoint at the second attempt.
/// Answers how many rows that makes for the janitor.
pub(super) async fn old_attempts(store: &dyn Store, environment: &Environment, vendor: VendorId, attempts: u64) -> anyhow::Result<u64> {
    let (stream, now) = (stream(store, vendor).await?, environment.clock.now());
    let (events, mut made) = (attempts / 2, 0);
    for step in steps(events) {
        let at = Timestamp::from_millis(now.as_millis() - ((121 * DAY).as_millis() as i64) + (made * 30 * 86_400_000 / events) as i64);
        made += step;
        let reports = (0..step).map(|_| report(environment, stream)).collect();
        let written = commit(store, vec![Write::Accept(Accept { source: "report", now: at, deadline: DAY, reports })]).await?;
        let Some(Written::Accepted(_, opened)) = written.into_iter().next() else { bail!("the store answered something else") };
        commit(store, opened.iter().map(|run| Write::RecordOutcome(failed(run, at))).collect()).await?;
        commit(store, opened.iter().map(|run| Write::RecordOutcome(succeeded(run, at))).collect()).await?;
    }
    Ok(3 * events)
}

async fn stream(store: &dyn Store, vendor: VendorId) -> anyhow::Result<StreamId> {
    Ok(store.vendor(vendor).await?.context("the vendor was just made")?.stream(Mode::Live))
}

fn steps(count: u64) -> impl Iterator<Item = u64> {
    (0..count.div_ceil(STEP)).map(move |step| STEP.min(count - step * STEP))
}

async fn commit(store: &dyn Store, writes: Vec<Write>) -> anyhow::Result<Vec<Written>> {
    Ok(store.commit(writes).await.1?)
}

fn report(environment: &Environment, stream: StreamId) -> Addressed {
    let mut random = [0; 12];
    environment.entropy.fill(&mut random);
    let [number @ .., _, _, _, _] = random;
    let digits = u64::from_le_bytes(number);
    let details = Details {
        amount: Some(5000),
        currency: "NPR".parse::<Currency>().ok(),
        network: Some("Ncell".to_owned()),
        connection_no: Some(format!("98{:08}", digits % 100_000_000)),
        provider_ref: Some(format!("{}", digits % 10_000_000_000)),
        ..Details::default()
    };
    let report = Report { reference_no: format!("{digits:016x}"), status: Status::Success, details, occurred_at: None };
    Addressed { stream, mode: Mode::Live, report }
}

fn failed(run: &OpenRun, at: Timestamp) -> RecordOutcome {
    let again = at.plus(Duration::from_secs(5));
    settle(run, attempt(1, OutcomeKind::Rejected, 503, at), NextStep::Retry { at: again, failed_since: at })
}

fn succeeded(run: &OpenRun, at: Timestamp) -> RecordOutcome {
    let ended = NextStep::Ended(DeliveryState::Succeeded, None);
    settle(run, attempt(2, OutcomeKind::Succeeded, 204, at.plus(Duration::from_secs(5))), ended)
}

fn settle(run: &OpenRun, attempt: Attempt, after: NextStep) -> RecordOutcome {
    let (attempts, now) = (attempt.number, attempt.started_at);
    RecordOutcome {
        key: run.key,
        attempt: Some(attempt),
        attempts,
        deadline: run.deadline,
        now,
        after,
        replay: None,
        latency: None,
        epoch: 0,
    }
}

fn attempt(number: u32, kind: OutcomeKind, status: u16, started_at: Timestamp) -> Attempt {
    let phases = Phases { resolve: Some(210), connect: Some(840), tls: None, first_byte: Some(2600), total: 2700 };
    let outcome = Outcome {
        kind,
        status: Some(status),
        error: None,
        phases,
        address: None,
        retry_after: None,
        answer_headers: Some("content-type: text/html\nserver: nginx\n".to_owned()),
        answer_body: Some(b"<h1>Service Temporarily Unavailable</h1>".to_vec()),
    };
    Attempt { number, run: 1, started_at, outcome }
}
