//! Changes and reports in one batch: numbers, who listens, and what is remembered between transactions.

use ringback::domain::conflict::CaseState;
use ringback::domain::endpoint::{Endpoint, EndpointStatus};
use ringback::domain::id::{EndpointId, StreamId};
use ringback::domain::recharge::{Status, Verdict};
use ringback::store::{Change, Command, ConflictQuery, EndpointChange, OpenRun, StoreError, TimeRange, VendorChange, Write, Written};

use crate::harness::{ANY, DAY, START, Side, Subject, accept, at, failed, first, publish, report, succeeded};

fn change(command: Command) -> Write {
    Write::Change(Box::new(Change { command, now: at(5), note: None, keep: None }))
}

fn turn(id: EndpointId, to: EndpointStatus, by_rule: bool) -> Write {
    let change = EndpointChange::Status { from: ANY, to, reason: None, by_rule, failing_since: None };
    self::change(Command::ChangeEndpoint { id, change, deadline: DAY })
}

fn event(side: Side) -> Write {
    Write::Publish(publish(side, "invoice.paid", START))
}

/// A write that no store takes.
fn poisoned(side: Side) -> Write {
    event(Side { stream: StreamId::new(1), ..side })
}

fn opened(written: Vec<Written>) -> Vec<(i64, EndpointId)> {
    let runs = written.into_iter().flat_map(|written| match written {
        Written::Accepted(_, runs) | Written::Published(_, runs) | Written::Reply(_, runs) => runs,
        Written::Settled(_) => Vec::<OpenRun>::new(),
    });
    runs.map(|run| (run.key.sequence, run.key.endpoint)).collect()
}

async fn numbers(on: &Subject, side: Side) -> Vec<String> {
    let feed = on.store.events_after(side.stream, None, 1000).await.unwrap();
    assert!(feed.events.iter().zip(1..).all(|(event, number)| event.id.sequence == number), "numbers have no gap");
    assert_eq!(feed.latest, feed.events.len() as i64);
    feed.events.into_iter().map(|event| event.event_type.to_string()).collect()
}

pub async fn numbers_of_a_mixed_batch_have_no_gap(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    let (one, two) = (on.connected(side).await, on.connected(side).await);
    let elsewhere = on.connected(other).await;
    on.judged(START, [Status::Success, Status::Failed].map(|status| report(side, "a", status)).to_vec()).await;
    let query = ConflictQuery { state: None, recharge: None, range: TimeRange::default(), page: first(1) };
    let case = on.store.conflicts(query).await.unwrap().items.remove(0).id;
    let queued = on.judge(START, report(side, "q", Status::Queued)).await.recharge;
    let made = Endpoint { status: EndpointStatus::Connected, ..on.new_endpoint(side) };
    let settled = report(side, "q", Status::Failed).report;
    let written = on
        .commit(vec![
            accept(START, vec![report(side, "b", Status::Success)]),
            turn(one, EndpointStatus::Disabled, true),
            event(side),
            change(Command::Resolve { id: case, to: CaseState::Reversed, reason: "x".into(), by: "y".into(), deadline: DAY }),
            event(other),
            change(Command::CreateEndpoint { endpoint: Box::new(made.clone()), most: 10 }),
            change(Command::SettleRecharge { id: queued, report: Box::new(settled), deadline: DAY }),
            turn(two, EndpointStatus::Disabled, false),
            accept(START, vec![report(side, "c", Status::Failed), report(other, "c", Status::Failed)]),
            change(Command::Publish(publish(side, "invoice.paid", START))),
        ])
        .await;
    let expected = [
        (2, one),
        (2, two),
        (3, two),
        (4, two),
        (5, two),
        (1, elsewhere),
        (6, two),
        (6, made.id),
        (7, made.id),
        (2, elsewhere),
        (8, made.id),
    ];
    assert_eq!(opened(written), expected, "each is told of what happened while it listened");
    let types = [
        "recharge.success",
        "recharge.success",
        "endpoint.disabled",
        "invoice.paid",
        "recharge.reversed",
        "recharge.failed",
        "recharge.failed",
        "invoice.paid",
    ];
    assert_eq!((numbers(&on, side).await, numbers(&on, other).await.len()), (types.map(str::to_owned).to_vec(), 2));
    assert_eq!(on.store.overview(START).await.unwrap().recharges, [0, 1, 3, 1]);
    assert_eq!(on.store.missed(one).await.unwrap(), 6, "what came after its disabling, that itself included");
}

/// What a change raises is not written yet when the reports behind it are looked at.
pub async fn reports_behind_a_change_of_their_stream_count_on(on: Subject) {
    let side = on.side().await;
    let queued = on.judge(START, report(side, "q", Status::Queued)).await.recharge;
    let settled = report(side, "q", Status::Success).report;
    on.commit(vec![
        change(Command::Publish(publish(side, "invoice.paid", START))),
        accept(START, vec![report(side, "a", Status::Queued)]),
        change(Command::SettleRecharge { id: queued, report: Box::new(settled), deadline: DAY }),
        accept(START, vec![report(side, "b", Status::Success), report(side, "a", Status::Queued)]),
    ])
    .await;
    on.judge(START, report(side, "a", Status::Failed)).await;
    assert_eq!(numbers(&on, side).await, ["invoice.paid", "recharge.success", "recharge.success", "recharge.failed"]);
    assert_eq!(on.store.overview(START).await.unwrap().recharges, [0, 2, 1, 0]);
}

pub async fn a_refused_batch_with_changes_leaves_nothing(on: Subject) {
    let side = on.side().await;
    let (id, idle) = (on.connected(side).await, on.endpoint(side, EndpointStatus::NotConnected).await);
    let before = on.store.endpoint(id).await.unwrap();
    let stopped = VendorChange { disabled: Some(true), ..VendorChange::default() };
    let batch = vec![
        turn(idle, EndpointStatus::Connected, false),
        event(side),
        turn(id, EndpointStatus::Disabled, true),
        change(Command::UpdateVendor(side.vendor, stopped)),
        accept(START, vec![report(side, "a", Status::Success)]),
        poisoned(side),
    ];
    let count = batch.len();
    let (batch, refused) = on.store.commit(batch).await;
    assert!(batch.len() == count && matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    assert_eq!(on.store.endpoint(id).await.unwrap(), before);
    assert!(numbers(&on, side).await.is_empty());
    assert_eq!(on.store.overview(START).await.unwrap().alerts, 0);
    assert_eq!(opened(on.commit(vec![event(side)]).await), [(1, id)], "who listens is as it was, in memory too");
}

/// What is remembered of a batch that did not come to pass would be wrong: who listens, who fails, the next numbers.
pub async fn nothing_is_remembered_of_a_refused_batch(on: Subject) {
    let side = on.side().await;
    let (id, idle) = (on.connected(side).await, on.endpoint(side, EndpointStatus::NotConnected).await);
    let run = on.event(side, "invoice.paid", START).await.remove(0);
    let refuse = async |write: Write| {
        let mut batch = vec![write, event(side)];
        batch.push(poisoned(side));
        assert!(on.store.commit(batch).await.1.is_err());
    };
    refuse(turn(idle, EndpointStatus::Connected, false)).await;
    assert_eq!(opened(on.commit(vec![event(side)]).await), [(2, id)]);
    refuse(Write::RecordOutcome(failed(&run, 1, at(10), at(15)))).await;
    assert!(on.store.failing(at(99), None, 10).await.unwrap().is_empty());
    on.record(failed(&run, 1, at(20), at(25))).await;
    let found = on.store.failing(at(99), None, 10).await.unwrap();
    assert_eq!(found.iter().map(|failing| failing.since).collect::<Vec<_>>(), [at(20)], "the failure that came to pass is noted");
    refuse(Write::RecordOutcome(succeeded(&run, 2, at(30)))).await;
    assert_eq!(on.store.failing(at(99), None, 10).await.unwrap(), found);
    on.record(succeeded(&run, 2, at(40))).await;
    assert!(on.store.failing(at(99), None, 10).await.unwrap().is_empty(), "the success that came to pass is noted");
    refuse(accept(START, vec![report(side, "a", Status::Queued)])).await;
    let numbers = on.judged(START, ["a", "b"].map(|reference| report(side, reference, Status::Queued)).to_vec()).await.0;
    let mut ids = Vec::new();
    for judged in numbers {
        assert_eq!(judged.verdict, Verdict::Created);
        ids.push(on.store.recharge(judged.recharge).await.unwrap().unwrap().0.transaction_id);
    }
    assert!(100_001 <= ids[0] && ids[0] < ids[1], "numbers go up: {ids:?}");
}

/// A vendor, its endpoint, its first event, and the endpoint's end, all in one batch.
pub async fn a_whole_life_in_one_batch(on: Subject) {
    let vendor = on.new_vendor();
    let side = Side::of(&vendor, ringback::domain::vendor::Mode::Live);
    let endpoint = on.new_endpoint(side);
    let delete = Command::ChangeEndpoint { id: endpoint.id, change: EndpointChange::Delete, deadline: DAY };
    let written = on
        .commit(vec![
            change(Command::CreateVendor(vendor, Vec::new())),
            change(Command::CreateEndpoint { endpoint: Box::new(endpoint.clone()), most: 1 }),
            event(side),
            turn(endpoint.id, EndpointStatus::Connected, false),
            event(side),
            change(delete),
            event(side),
        ])
        .await;
    assert_eq!(opened(written), [(2, endpoint.id)]);
    assert_eq!(numbers(&on, side).await.len(), 3);
}

/// A batch whose changes each see what those before them did.
pub async fn changes_of_one_batch_follow_each_other(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = on.event(side, "invoice.paid", START).await.remove(0);
    let (delivery, deadline) = (run.key.delivery(), DAY);
    let written = on
        .commit(vec![
            change(Command::Resend { id: delivery, deadline }),
            Write::RecordOutcome(succeeded(&run, 1, at(1))),
            change(Command::Resend { id: delivery, deadline }),
            change(Command::Resend { id: delivery, deadline }),
            change(Command::Cancel(delivery)),
            change(Command::Cancel(delivery)),
            turn(id, EndpointStatus::Disabled, false),
            change(Command::Resend { id: delivery, deadline }),
        ])
        .await;
    let came: Vec<Option<bool>> = written
        .iter()
        .map(|written| match written {
            Written::Reply(done, _) => Some(done.took_effect()),
            _ => None,
        })
        .collect();
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(came, [no, None, yes, no, yes, no, yes, no]);
    assert_eq!((on.delivery(run.key).await.run, on.store.open_count().await.unwrap()), (2, 0));
}
