//! Pauses: deadlines move by the time paused, and what is shown meanwhile is as if the pause went on to its end.

use ringback::domain::delivery::{DeliveryState, EndReason, RunKey};
use ringback::domain::endpoint::EndpointStatus;
use ringback::domain::id::EndpointId;
use ringback::domain::replay::Only;
use ringback::domain::time::Timestamp;
use ringback::store::{Backlog, Command, EndpointChange, OpenQuery, Portion, Resent};

use crate::commands::Deeds;
use crate::harness::{ANY, DAY, START, Subject, at, eight, ended, just_before, succeeded};
use crate::replays::{start, step};

async fn pause(on: &Subject, id: EndpointId, from: i64, until: i64) {
    let change = EndpointChange::Pause { until: at(until) };
    let paused = on.store.change_endpoint(id, change, at(from)).await.unwrap().expect("it can be paused");
    assert_eq!((paused.status, paused.paused_until), (EndpointStatus::Paused, Some(at(until))));
}

async fn resume(on: &Subject, id: EndpointId, now: i64) {
    let resumed = on.store.change_endpoint(id, EndpointChange::Resume, at(now)).await.unwrap().expect("it is paused");
    assert_eq!((resumed.status, resumed.paused_until), (EndpointStatus::Connected, None));
}

/// The deadline of a run, so many seconds after a day from the start; everybody says the same.
async fn moved(on: &Subject, key: RunKey) -> i64 {
    let deadline = on.open_run(key).await.deadline;
    assert_eq!(on.delivery(key).await.deadline, deadline, "the delivery says the same");
    let backlog = on.store.backlogs(None, 100).await.unwrap().into_iter().find(|backlog| backlog.endpoint == key.endpoint);
    if key.sequence == 1 {
        assert_eq!(backlog, Some(Backlog { endpoint: key.endpoint, first_deadline: deadline }), "the backlog says the same");
    }
    let passed = async |now: Timestamp| on.store.expired(key.endpoint, now, 100).await.unwrap().into_iter().find(|run| run.key == key);
    assert_eq!(passed(just_before(deadline)).await, None, "it has not passed before");
    assert_eq!(passed(deadline).await.map(|run| run.deadline), Some(deadline), "and passes at its very time");
    (deadline.as_millis() - START.plus(DAY).as_millis()) / 1000
}

pub async fn a_pause_moves_the_deadlines_by_its_length(on: Subject) {
    let side = on.side().await;
    let (id, other) = (on.connected(side).await, on.connected(side).await);
    let runs = on.event(side, "invoice.paid", START).await;
    let of = |endpoint| runs.iter().find(|run| run.key.endpoint == endpoint).unwrap().key;
    assert_eq!(moved(&on, of(id)).await, 0);
    pause(&on, id, 100, 700).await;
    assert_eq!(moved(&on, of(id)).await, 600, "as if it went on to its end");
    resume(&on, id, 400).await;
    assert_eq!(moved(&on, of(id)).await, 300);
    pause(&on, id, 1000, 1050).await;
    assert_eq!(moved(&on, of(id)).await, 350, "pauses add up");
    resume(&on, id, 1050).await;
    assert_eq!((moved(&on, of(id)).await, moved(&on, of(other)).await), (350, 0), "another's deadlines stay");
}

pub async fn a_pause_counts_to_its_end_whenever_it_is_ended(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let before = on.event(side, "invoice.paid", START).await.remove(0).key;
    pause(&on, id, 100, 700).await;
    let during = on.event(side, "invoice.paid", at(600)).await.remove(0).key;
    let after = on.event(side, "invoice.paid", at(800)).await.remove(0).key;
    for _ in 0..2 {
        let all = (moved(&on, before).await, moved(&on, during).await, moved(&on, after).await);
        assert_eq!(all, (600, 700, 800), "nothing that came after its end is moved by it");
        if on.store.pauses_over(at(900), 10).await.unwrap() == [id] {
            resume(&on, id, 900).await;
        }
    }
}

pub async fn an_event_of_the_pause_has_its_whole_time_after_it(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    pause(&on, id, 100, 700).await;
    let opened = on.event(side, "invoice.paid", at(200)).await.remove(0);
    assert_eq!(moved(&on, opened.key).await, 700, "a day from the end of the pause");
    assert_eq!(opened.deadline, on.open_run(opened.key).await.deadline, "what a commit opens is what can be read");
    resume(&on, id, 400).await;
    assert_eq!(moved(&on, opened.key).await, 400);
    let next = on.event(side, "invoice.paid", at(500)).await.remove(0);
    assert_eq!((moved(&on, next.key).await, next.deadline), (500, at(500).plus(DAY)));
}

pub async fn a_resend_in_the_pause_has_its_whole_time_after_it(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let first = on.event(side, "invoice.paid", START).await.remove(0);
    on.record(succeeded(&first, 1, at(1))).await;
    pause(&on, id, 100, 700).await;
    let Resent::Opened(shown) = on.store.resend(first.key.delivery(), at(200), at(200).plus(DAY)).await.unwrap() else {
        panic!("no new run")
    };
    let key = RunKey { run: 2, ..first.key };
    assert_eq!((moved(&on, key).await, shown.deadline), (700, at(700).plus(DAY)), "the answer says what can be read");
    resume(&on, id, 400).await;
    assert_eq!(moved(&on, key).await, 400);
}

pub async fn a_replays_runs_move_too(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let first = on.event(side, "invoice.paid", START).await.remove(0);
    on.record(succeeded(&first, 1, at(1))).await;
    let replay = start(&on, side, id, Only::All).await;
    step(&on, replay, START).await;
    let key = RunKey { run: 2, ..first.key };
    assert_eq!(moved(&on, key).await, 0);
    pause(&on, id, 100, 700).await;
    assert_eq!(moved(&on, key).await, 600);
    resume(&on, id, 200).await;
    assert_eq!(moved(&on, key).await, 100);
}

pub async fn a_run_that_ended_keeps_the_deadline_it_had(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let first = on.event(side, "invoice.paid", START).await.remove(0);
    pause(&on, id, 100, 700).await;
    resume(&on, id, 400).await;
    let run = on.open_run(first.key).await;
    on.record(ended(&run, DeliveryState::Exhausted, Some(EndReason::Held), run.deadline)).await;
    pause(&on, id, 200_000, 200_600).await;
    assert_eq!(on.delivery(run.key).await.deadline, START.plus(DAY).plus(std::time::Duration::from_secs(300)));
}

pub async fn another_change_of_state_ends_a_pause(on: Subject) {
    let side = on.side().await;
    for to in [EndpointStatus::Disabled, EndpointStatus::Connected] {
        let id = on.connected(side).await;
        let runs = on.event(side, "invoice.paid", START).await;
        let key = runs.iter().find(|run| run.key.endpoint == id).unwrap().key;
        pause(&on, id, 100, 700).await;
        let change = EndpointChange::Status { from: ANY, to, reason: None, by_rule: false, failing_since: None };
        let after = on.store.change_endpoint(id, change, at(150)).await.unwrap().unwrap();
        assert_eq!((after.status, after.paused_until), (to, None));
        assert_eq!(on.open_run(key).await.deadline, START.plus(DAY).plus(std::time::Duration::from_secs(50)), "{to:?}");
        on.change(id, EndpointChange::Delete).await;
    }
    assert!(on.store.pauses_over(at(1_000_000), 10).await.unwrap().is_empty());
}

pub async fn only_what_is_connected_can_be_paused(on: Subject) {
    let side = on.side().await;
    for status in [EndpointStatus::NotConnected, EndpointStatus::Disabled, EndpointStatus::Paused] {
        let id = on.endpoint(side, status).await;
        let change = EndpointChange::Pause { until: at(600) };
        assert_eq!(on.store.change_endpoint(id, change, START).await.unwrap(), None, "{status:?}");
        let resumed = on.store.change_endpoint(id, EndpointChange::Resume, START).await.unwrap();
        assert_eq!(resumed.is_some(), status == EndpointStatus::Paused, "{status:?}");
    }
}

pub async fn eight_pauses_pause_once(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = on.event(side, "invoice.paid", START).await.remove(0);
    let results = eight(|number| {
        let (on, change) = (on.clone(), EndpointChange::Pause { until: at(700 + number as i64) });
        async move { on.store.change_endpoint(id, change, at(100)).await.unwrap() }
    })
    .await;
    let until = results.into_iter().flatten().map(|endpoint| endpoint.paused_until.unwrap()).collect::<Vec<_>>();
    assert_eq!((until.len(), on.store.endpoint(id).await.unwrap().unwrap().paused_until), (1, until.first().copied()));
    let resumed = eight(|_| {
        let on = on.clone();
        async move { on.store.change_endpoint(id, EndpointChange::Resume, at(200)).await.unwrap() }
    })
    .await;
    assert_eq!((resumed.into_iter().flatten().count(), moved(&on, run.key).await), (1, 100));
}

pub async fn pauses_that_are_over_are_found(on: Subject) {
    let side = on.side().await;
    let over = async |now, limit| on.store.pauses_over(now, limit).await.unwrap();
    let mut ids = Vec::new();
    for until in [500, 600, 700] {
        let id = on.connected(side).await;
        pause(&on, id, 100, until).await;
        ids.push(id);
    }
    assert!(over(just_before(at(500)), 10).await.is_empty());
    assert_eq!(over(at(500), 10).await, ids[..1]);
    assert_eq!((over(at(700), 10).await.len(), over(at(700), 2).await.len()), (3, 2));
    resume(&on, ids[0], 500).await;
    on.change(ids[1], EndpointChange::Delete).await;
    assert_eq!(over(at(700), 10).await, ids[2..]);
}

pub async fn what_waits_in_a_pause_stays_open(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    pause(&on, id, 100, 700).await;
    on.event(side, "invoice.paid", at(200)).await;
    assert_eq!(on.open_page(id, OpenQuery::Fresh { after: 0 }, Portion::rows(10)).await.runs.len(), 1);
    assert_eq!(on.store.missed(id).await.unwrap(), 0);
    let cancelled = on.store.command(Command::CancelPending { endpoint: id, up_to: i64::MAX }, at(300)).await.unwrap();
    assert!(cancelled.took_effect());
    let delivery = on.delivery(RunKey { endpoint: id, sequence: 1, run: 1 }).await;
    assert_eq!((delivery.state, delivery.deadline), (DeliveryState::Cancelled, at(700).plus(DAY)));
}
