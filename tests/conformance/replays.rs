//! Replays: which events they are about, their runs step by step, and how they end. And what is missed, opened at once.

use ringback::domain::delivery::{DeliveryState, EndReason, RunKey};
use ringback::domain::endpoint::EndpointStatus;
use ringback::domain::id::{EndpointId, ReplayId, StreamId};
use ringback::domain::replay::{Only, Replay, ReplayState};
use ringback::domain::time::Timestamp;
use ringback::limits;
use ringback::store::{
    Change, Command, EndpointChange, OpenQuery, OpenRun, Page, Portion, ReplayScope, Reply, Settled, Stepped, Write, Written,
};

use crate::commands::Deeds;
use crate::harness::{DAY, START, Side, Subject, at, eight, ended, failed, filter, first, keys, publish, succeeded};

/// A replay of everything there is.
async fn new_replay(on: &Subject, side: Side, endpoint: EndpointId, only: Only) -> Replay {
    let end = on.store.events_after(side.stream, None, 0).await.unwrap().latest + 1;
    let scope = ReplayScope { endpoint, numbers: 1..end, only, event_types: None };
    Replay {
        id: on.ids.next(START).into(),
        stream: side.stream,
        endpoint,
        since: START,
        until: at(1_000_000),
        only,
        event_types: None,
        next_sequence: 1,
        end_sequence: end,
        matched: on.store.count_scope(scope).await.unwrap(),
        opened: 0,
        done: 0,
        state: ReplayState::Running,
        created_at: at(60),
    }
}

pub async fn start(on: &Subject, side: Side, endpoint: EndpointId, only: Only) -> ReplayId {
    let replay = new_replay(on, side, endpoint, only).await;
    assert!(on.store.command(Command::StartReplay(Box::new(replay.clone())), START).await.unwrap().took_effect());
    replay.id
}

pub async fn step(on: &Subject, id: ReplayId, now: Timestamp) -> Stepped {
    match on.store.command(Command::StepReplay { id, deadline: DAY }, now).await.unwrap() {
        Reply::Stepped(stepped) => stepped,
        other => panic!("not how far it got: {other:?}"),
    }
}

async fn read(on: &Subject, id: ReplayId) -> Replay {
    on.store.replay(id).await.unwrap().expect("there is such a replay")
}

async fn cancel(on: &Subject, id: ReplayId) -> Option<usize> {
    match on.store.command(Command::CancelReplay(id), at(500)).await.unwrap() {
        Reply::Cancelled(runs) => runs.map(|runs| runs.len()),
        other => panic!("not what was cancelled: {other:?}"),
    }
}

/// What is open of replays to an endpoint.
async fn replayed(on: &Subject, endpoint: EndpointId) -> Vec<OpenRun> {
    on.open_page(endpoint, OpenQuery::Replayed { after: (0, 0), due: at(1_000_000), failed_after: None }, Portion::rows(10_000)).await.runs
}

async fn succeed_all(on: &Subject, runs: &[OpenRun], now: Timestamp) {
    let settles = runs.iter().map(|run| Write::RecordOutcome(succeeded(run, 1, now))).collect();
    let written = on.commit(settles).await;
    assert!(written.iter().all(|written| matches!(written, Written::Settled(Settled::Recorded))));
}

/// So many events in one second, that nobody gets.
async fn unheard(on: &Subject, side: Side, count: usize) {
    on.commit((0..count).map(|_| Write::Publish(publish(side, "invoice.paid", START))).collect()).await;
}

// --- Scopes ----------------------------------------------------------------------------------------------------------

/// Events that came to, for the endpoint: 1 a success, 2 pending, 3 exhausted, 4 cancelled, 5 exhausted and then a
/// success in a second run, 6 cancelled with a success that came later, 7 not wanted, 8 and 9 missed, 10 exhausted and
/// pending again, 11 exhausted with a success that came later.
async fn all_sorts(on: &Subject, side: Side) -> EndpointId {
    let id = on.connected(side).await;
    on.refilter(id, &["invoice.*"]).await;
    let runs = on.runs(side, 6).await;
    let exhausted = |run: &OpenRun| ended(run, DeliveryState::Exhausted, Some(EndReason::Held), at(60));
    let cancelled = |run: &OpenRun| ended(run, DeliveryState::Cancelled, Some(EndReason::Requested), at(60));
    on.record(succeeded(&runs[0], 1, at(60))).await;
    on.record(exhausted(&runs[2])).await;
    on.record(cancelled(&runs[3])).await;
    on.record(exhausted(&runs[4])).await;
    let second = on.resent(runs[4].key.delivery(), at(61)).await;
    on.record(succeeded(&second, 1, at(62))).await;
    on.record(cancelled(&runs[5])).await;
    assert_eq!(on.settle(succeeded(&runs[5], 1, at(63))).await, Settled::Late);
    assert!(on.event(side, "refund.paid", at(70)).await.is_empty());
    on.turn(id, EndpointStatus::Disabled).await;
    on.event(side, "invoice.paid", at(71)).await;
    on.event(side, "invoice.sent", at(72)).await;
    on.turn(id, EndpointStatus::Connected).await;
    let more = [on.event(side, "invoice.paid", at(73)).await.remove(0), on.event(side, "invoice.sent", at(74)).await.remove(0)];
    for run in &more {
        on.record(exhausted(run)).await;
    }
    on.resent(more[0].key.delivery(), at(75)).await;
    assert_eq!(on.settle(succeeded(&more[1], 1, at(76))).await, Settled::Late);
    id
}

/// The numbers that a replay of this scope opens, which must be as many as are counted.
async fn opens(on: &Subject, side: Side, scope: ReplayScope) -> Vec<i64> {
    let counted = on.store.count_scope(scope.clone()).await.unwrap();
    let replay = Replay {
        next_sequence: scope.numbers.start,
        end_sequence: scope.numbers.end,
        event_types: scope.event_types,
        ..new_replay(on, side, scope.endpoint, scope.only).await
    };
    on.store.command(Command::StartReplay(Box::new(replay.clone())), START).await.unwrap();
    step(on, replay.id, at(80)).await;
    let numbers: Vec<i64> = replayed(on, scope.endpoint).await.iter().map(|run| run.key.sequence).collect();
    assert_eq!(counted, numbers.len() as u64, "what is counted is what is opened");
    numbers
}

pub async fn a_scope_is_about_what_it_says(on: Subject) {
    for (only, numbers, types, expected) in [
        (Only::All, 1..12, None, &[1, 3, 4, 5, 6, 8, 9, 11][..]),
        (Only::Failed, 1..12, None, &[3, 4]),
        (Only::Missed, 1..12, None, &[8, 9]),
        (Only::All, 4..9, None, &[4, 5, 6, 8]),
        (Only::Failed, 4..100, None, &[4]),
        (Only::Missed, 9..100, None, &[9]),
        (Only::Missed, 1..9, None, &[8]),
        (Only::All, 1..12, Some(filter(&["invoice.sent"])), &[9, 11]),
        (Only::Missed, 1..12, Some(filter(&["invoice.sent", "refund.*"])), &[9]),
        (Only::Failed, 1..12, Some(filter(&["refund.*"])), &[]),
        (Only::All, 5..5, None, &[]),
        (Only::All, 12..100, None, &[]),
    ] {
        let side = on.side().await;
        let endpoint = all_sorts(&on, side).await;
        let scope = ReplayScope { endpoint, numbers, only, event_types: types };
        assert_eq!(opens(&on, side, scope.clone()).await, expected, "{scope:?}");
        assert_eq!(on.store.count_scope(scope).await.unwrap(), 0, "what is on its way is not sent again");
    }
}

pub async fn a_scope_of_nobody_is_empty(on: Subject) {
    let scope = ReplayScope { endpoint: EndpointId::new(1), numbers: 0..i64::MAX, only: Only::All, event_types: None };
    for only in Only::ALL {
        assert_eq!(on.store.count_scope(ReplayScope { only, ..scope.clone() }).await.unwrap(), 0);
    }
}

/// A look at the rows is bounded; what lies behind them is counted and sent all the same.
pub async fn very_many_failed_deliveries_are_counted(on: Subject) {
    let side = on.side().await;
    let endpoint = on.connected(side).await;
    let many = limits::SCAN_MAX + 2;
    let written = on.commit((0..many).map(|_| Write::Publish(publish(side, "invoice.paid", START))).collect()).await;
    let runs = written.into_iter().flat_map(|written| match written {
        Written::Published(_, opened) => opened,
        other => panic!("not the answer to an event: {other:?}"),
    });
    let state = |number: usize| [DeliveryState::Exhausted, DeliveryState::Cancelled][number % 2];
    on.commit(runs.enumerate().map(|(number, run)| Write::RecordOutcome(ended(&run, state(number), None, at(60)))).collect()).await;
    let scope = |only| ReplayScope { endpoint, numbers: 0..i64::MAX, only, event_types: None };
    for (only, count) in [(Only::Failed, many), (Only::All, many), (Only::Missed, 0)] {
        assert_eq!(on.store.count_scope(scope(only)).await.unwrap(), count as u64, "{only:?}");
    }
    let replay = start(&on, side, endpoint, Only::Failed).await;
    assert_eq!(step(&on, replay, at(80)).await, Stepped::On);
    let numbers: Vec<_> = replayed(&on, endpoint).await.iter().map(|run| run.key.sequence).collect();
    assert_eq!(numbers, (1..=limits::REPLAY_OPEN_MAX as i64).collect::<Vec<_>>(), "in order, whichever way they ended");
}

// --- Kept and listed -------------------------------------------------------------------------------------------------

pub async fn a_replay_is_kept_as_given(on: Subject) {
    let side = on.side().await;
    let endpoint = all_sorts(&on, side).await;
    for (only, event_types) in [(Only::Missed, None), (Only::Failed, Some(filter(&["invoice.*", "refund.paid"]))), (Only::All, None)] {
        let replay = Replay { event_types, ..new_replay(&on, side, endpoint, only).await };
        on.store.command(Command::StartReplay(Box::new(replay.clone())), START).await.unwrap();
        assert_eq!(on.store.replay(replay.id).await.unwrap(), Some(replay.clone()));
        assert_eq!(on.store.replays(side.stream, first(1)).await.unwrap(), [replay]);
    }
}

pub async fn no_replay(on: Subject) {
    let side = on.side().await;
    let id = ReplayId::new(1);
    assert_eq!(on.store.replay(id).await.unwrap(), None);
    assert_eq!(on.store.replays(side.stream, first(10)).await.unwrap(), []);
    assert_eq!(on.store.running_replays(None, 10).await.unwrap(), []);
    assert_eq!((step(&on, id, START).await, cancel(&on, id).await), (Stepped::Over, None));
}

pub async fn replays_are_listed_newest_first(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    let (endpoint, elsewhere) = (on.connected(side).await, on.connected(other).await);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(start(&on, side, endpoint, Only::All).await);
        start(&on, other, elsewhere, Only::All).await;
    }
    ids.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = on.store.replays(side.stream, Page { before, limit: 2 }).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(|replay| replay.id));
        start(&on, side, endpoint, Only::All).await;
    }
    assert_eq!(seen, ids, "those made while it was read come before its beginning");
    assert_eq!(on.store.replays(StreamId::new(1), first(10)).await.unwrap(), []);
}

pub async fn running_replays_come_oldest_first(on: Subject) {
    let side = on.side().await;
    let endpoint = on.connected(side).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(start(&on, side, endpoint, Only::All).await);
    }
    cancel(&on, ids.remove(1)).await;
    assert_eq!(step(&on, ids.remove(2), START).await, Stepped::Over, "one about nothing is over at once");
    assert_eq!(on.store.running_replays(None, 10).await.unwrap(), ids);
    assert_eq!(on.store.running_replays(None, 2).await.unwrap(), ids[..2]);
    assert_eq!(on.store.running_replays(Some(ids[0]), 10).await.unwrap(), ids[1..]);
    assert_eq!(on.store.running_replays(Some(ids[2]), 10).await.unwrap(), []);
}

// --- Step by step ----------------------------------------------------------------------------------------------------

pub async fn a_step_opens_runs_that_stand_apart(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 2).await;
    succeed_all(&on, &runs, at(10)).await;
    let replay = start(&on, side, id, Only::All).await;
    assert_eq!(step(&on, replay, at(100)).await, Stepped::On);
    let open = replayed(&on, id).await;
    assert_eq!(keys(&open), [(1, 2), (2, 2)]);
    let run = &open[0];
    assert_eq!((run.attempts, run.deadline, run.next_attempt_at), (0, at(100).plus(DAY), Some(at(100))));
    assert_eq!((run.failed_since, run.replay), (None, Some(replay)));
    assert_eq!(run.event.id, runs[0].event.id, "the same event with the same id");
    for query in [
        OpenQuery::Fresh { after: 0 },
        OpenQuery::Due { now: at(1_000_000) },
        OpenQuery::All { after: (0, 0), up_to: i64::MAX },
        OpenQuery::Strict { stepped_aside: at(1_000_000) },
        OpenQuery::Beside { stepped_aside: at(1_000_000), now: at(1_000_000) },
    ] {
        assert!(on.open_page(id, query, Portion::rows(10)).await.runs.is_empty(), "{query:?}");
    }
    assert_eq!(on.next_due(id, at(99)).await, Some(at(100)));
    on.record(failed(run, 1, at(101), at(106))).await;
    let due = async |due| {
        let query = OpenQuery::Replayed { after: (0, 0), due, failed_after: None };
        keys(&on.open_page(id, query, Portion::rows(10)).await.runs)
    };
    assert_eq!((due(at(99)).await, due(at(105)).await, due(at(106)).await), (vec![], vec![(2, 2)], vec![(1, 2), (2, 2)]));
    let delivery = on.delivery(run.key).await;
    assert_eq!((delivery.state, delivery.run, delivery.next_attempt_at), (DeliveryState::Pending, 2, Some(at(106))));
}

pub async fn no_more_than_a_window_is_open(on: Subject) {
    let (side, window) = (on.side().await, limits::REPLAY_OPEN_MAX);
    let id = on.endpoint(side, EndpointStatus::NotConnected).await;
    unheard(&on, side, 2 * window).await;
    on.turn(id, EndpointStatus::Connected).await;
    let replay = start(&on, side, id, Only::All).await;
    assert_eq!(read(&on, replay).await.matched, 2 * window as u64);
    assert_eq!(step(&on, replay, at(100)).await, Stepped::On);
    assert_eq!(step(&on, replay, at(101)).await, Stepped::Waits);
    let open = replayed(&on, id).await;
    assert_eq!((open.len(), open[0].key.sequence, open[window - 1].key.sequence), (window, 1, window as i64));
    assert_eq!((read(&on, replay).await.opened, read(&on, replay).await.next_sequence), (window as u64, window as i64 + 1));
    succeed_all(&on, &open[..window / 2], at(110)).await;
    assert_eq!(read(&on, replay).await.done, window as u64 / 2);
    assert_eq!(step(&on, replay, at(120)).await, Stepped::On, "half of the window is free");
    assert_eq!(replayed(&on, id).await.len(), window);
    succeed_all(&on, &replayed(&on, id).await, at(130)).await;
    assert_eq!(step(&on, replay, at(140)).await, Stepped::On);
    succeed_all(&on, &replayed(&on, id).await, at(150)).await;
    assert_eq!(read(&on, replay).await.state, ReplayState::Running);
    assert_eq!(step(&on, replay, at(160)).await, Stepped::Over);
    let Replay { state, opened, done, matched, .. } = read(&on, replay).await;
    assert_eq!((state, opened, done, matched), (ReplayState::Done, 2 * window as u64, 2 * window as u64, 2 * window as u64));
    assert_eq!((step(&on, replay, at(170)).await, on.store.running_replays(None, 10).await.unwrap()), (Stepped::Over, vec![]));
}

pub async fn eight_steps_open_each_run_once(on: Subject) {
    let side = on.side().await;
    let id = on.endpoint(side, EndpointStatus::NotConnected).await;
    unheard(&on, side, 20).await;
    on.turn(id, EndpointStatus::Connected).await;
    let replay = start(&on, side, id, Only::Missed).await;
    let other = start(&on, side, id, Only::All).await;
    let stepped = eight(|number| {
        let (on, id) = (on.clone(), [replay, other][number % 2]);
        async move { step(&on, id, at(100)).await }
    })
    .await;
    assert_eq!(stepped.iter().filter(|stepped| **stepped == Stepped::On).count(), 2, "{stepped:?}");
    assert_eq!(keys(&replayed(&on, id).await), (1..=20).map(|sequence| (sequence, 1)).collect::<Vec<_>>());
    assert_eq!(read(&on, replay).await.opened + read(&on, other).await.opened, 20, "what one has opened the other leaves");
}

pub async fn a_replay_is_done_when_all_its_runs_have_ended(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    succeed_all(&on, &on.runs(side, 6).await, at(10)).await;
    let replay = start(&on, side, id, Only::All).await;
    step(&on, replay, at(100)).await;
    let open = replayed(&on, id).await;
    let done = async || read(&on, replay).await.done;
    on.record(succeeded(&open[0], 1, at(110))).await;
    assert_eq!(done().await, 1);
    on.record(failed(&open[1], 1, at(110), at(115))).await;
    assert_eq!(done().await, 1, "it is tried again");
    on.record(ended(&open[1], DeliveryState::Exhausted, Some(EndReason::Held), open[1].deadline)).await;
    assert_eq!(done().await, 2);
    on.store.command(Command::Cancel(open[2].key.delivery()), at(120)).await.unwrap();
    assert_eq!(done().await, 3);
    for settle in [succeeded(&open[2], 1, at(121)), succeeded(&open[0], 1, at(110)), failed(&open[1], 2, at(121), at(130))] {
        assert_eq!(on.settle(settle).await, Settled::Late);
        assert_eq!(done().await, 3, "what comes late was counted before");
    }
    on.record(ended(&open[3], DeliveryState::Exhausted, Some(EndReason::Disabled), open[3].deadline)).await;
    assert_eq!((done().await, step(&on, replay, at(130)).await), (4, Stepped::Waits));
    on.store.command(Command::CancelPending { endpoint: id, up_to: i64::MAX }, at(140)).await.unwrap();
    assert_eq!((done().await, step(&on, replay, at(150)).await), (6, Stepped::Over));
    assert_eq!(read(&on, replay).await.state, ReplayState::Done);
}

pub async fn a_replay_waits_for_an_endpoint_that_does_not_listen(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    succeed_all(&on, &on.runs(side, 3).await, at(10)).await;
    let replay = start(&on, side, id, Only::All).await;
    for status in [EndpointStatus::Disabled, EndpointStatus::NotConnected, EndpointStatus::Paused] {
        on.turn(id, status).await;
        assert_eq!(step(&on, replay, at(100)).await, Stepped::Waits, "{status:?}");
    }
    assert!(replayed(&on, id).await.is_empty());
    on.turn(id, EndpointStatus::Connected).await;
    assert_eq!((step(&on, replay, at(100)).await, replayed(&on, id).await.len()), (Stepped::On, 3));
}

pub async fn a_deleted_endpoints_replay_is_over(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    succeed_all(&on, &on.runs(side, 3).await, at(10)).await;
    let replay = start(&on, side, id, Only::All).await;
    on.change(id, EndpointChange::Delete).await;
    assert_eq!((step(&on, replay, at(100)).await, read(&on, replay).await.state), (Stepped::Over, ReplayState::Cancelled));
}

// --- Cancelled -------------------------------------------------------------------------------------------------------

pub async fn a_cancelled_replay_opens_nothing_more(on: Subject) {
    let side = on.side().await;
    let (id, other) = (on.connected(side).await, on.connected(side).await);
    let runs = on.event(side, "invoice.paid", START).await;
    succeed_all(&on, &runs, at(10)).await;
    let resent = on.resent(runs[0].key.delivery(), at(20)).await;
    on.event(side, "invoice.paid", at(30)).await;
    let (replay, beside) = (start(&on, side, other, Only::All).await, start(&on, side, id, Only::All).await);
    step(&on, replay, at(100)).await;
    step(&on, beside, at(100)).await;
    let open = replayed(&on, other).await;
    assert_eq!(keys(&open), [(1, 2)]);
    assert_eq!(cancel(&on, replay).await, Some(1));
    let Replay { state, done, opened, .. } = read(&on, replay).await;
    assert_eq!((state, done, opened), (ReplayState::Cancelled, 1, 1));
    let delivery = on.delivery(open[0].key).await;
    assert_eq!((delivery.state, delivery.end_reason), (DeliveryState::Cancelled, Some(EndReason::Requested)));
    assert_eq!((cancel(&on, replay).await, step(&on, replay, at(600)).await), (Some(0), Stepped::Over), "and so it stays");
    assert_eq!(on.delivery(resent.key).await.state, DeliveryState::Pending, "what else was open stays");
    assert_eq!((on.store.open_size(id).await.unwrap().open, on.store.open_size(other).await.unwrap().open), (2, 1));
    assert_eq!(read(&on, beside).await.state, ReplayState::Running, "what was pending was none of its own");
}

pub async fn a_replay_that_is_done_cannot_be_cancelled(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let replay = start(&on, side, id, Only::All).await;
    step(&on, replay, START).await;
    assert_eq!((cancel(&on, replay).await, read(&on, replay).await.state), (None, ReplayState::Done));
}

pub async fn eight_cancel_each_run_once(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    succeed_all(&on, &on.runs(side, 20).await, at(10)).await;
    let replay = start(&on, side, id, Only::All).await;
    step(&on, replay, at(100)).await;
    let cancelled = eight(|_| {
        let on = on.clone();
        async move { cancel(&on, replay).await.unwrap() }
    })
    .await;
    assert_eq!((cancelled.iter().sum::<usize>(), read(&on, replay).await.done), (20, 20));
}

// --- What was missed, at once ----------------------------------------------------------------------------------------

/// A step; answers where the next begins, none where the endpoint was connected behind all of them.
async fn open_missed(on: &Subject, id: EndpointId, from: i64) -> Option<i64> {
    let change = EndpointChange::Status {
        from: &EndpointStatus::ALL,
        to: EndpointStatus::Connected,
        reason: None,
        by_rule: false,
        failing_since: None,
    };
    let command = Command::OpenMissed { id, from, change, deadline: DAY };
    match on.store.act(Change { command, now: at(100), note: None, keep: None }).await.unwrap().0 {
        Reply::Opened(next) => Some(next),
        Reply::Endpoint(_) => None,
        other => panic!("neither a step nor the end: {other:?}"),
    }
}

async fn fresh(on: &Subject, endpoint: EndpointId) -> Vec<OpenRun> {
    on.open_page(endpoint, OpenQuery::Fresh { after: 0 }, Portion::rows(10_000)).await.runs
}

pub async fn what_was_missed_is_opened_first(on: Subject) {
    let side = on.side().await;
    let endpoint = all_sorts(&on, side).await;
    let before = keys(&fresh(&on, endpoint).await);
    assert_eq!(open_missed(&on, endpoint, 0).await, None);
    let open: Vec<_> = fresh(&on, endpoint).await.into_iter().filter(|run| !before.contains(&(run.key.sequence, run.key.run))).collect();
    assert_eq!(keys(&open), [(8, 1), (9, 1)], "as first runs that wait for no time");
    assert_eq!((open[0].deadline, open[0].replay, open[0].next_attempt_at), (at(100).plus(DAY), None, None));
    let opened = keys(&fresh(&on, endpoint).await);
    assert_eq!(open_missed(&on, endpoint, 0).await, None);
    assert_eq!(keys(&fresh(&on, endpoint).await), opened, "only once");
    assert_eq!(on.store.missed(endpoint).await.unwrap(), 0);
    assert_eq!(open_missed(&on, EndpointId::new(1), 0).await, None);
}

pub async fn very_many_missed_events_are_opened_in_steps(on: Subject) {
    let (side, step) = (on.side().await, limits::STEP_ROWS_MAX);
    let id = on.endpoint(side, EndpointStatus::NotConnected).await;
    unheard(&on, side, 2 * step + 1).await;
    let (mut opened, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        next = open_missed(&on, id, from).await;
        opened.push((fresh(&on, id).await.len(), next.is_none()));
    }
    assert_eq!(opened, [(step, false), (2 * step, false), (2 * step + 1, true)]);
    assert_eq!(on.store.endpoint(id).await.unwrap().unwrap().status, EndpointStatus::Connected);
    let numbers = keys(&fresh(&on, id).await);
    assert_eq!(numbers, (1..=2 * step as i64 + 1).map(|sequence| (sequence, 1)).collect::<Vec<_>>());
}

pub async fn eight_open_what_was_missed_once(on: Subject) {
    let side = on.side().await;
    let id = on.endpoint(side, EndpointStatus::NotConnected).await;
    unheard(&on, side, 20).await;
    let steps = eight(|_| {
        let on = on.clone();
        async move { open_missed(&on, id, 0).await }
    })
    .await;
    assert_eq!(steps, [None; 8]);
    let runs = fresh(&on, id).await;
    assert_eq!(keys(&runs), (1..=20).map(|sequence| (sequence, 1)).collect::<Vec<_>>());
    on.record(succeeded(&runs[0], 1, at(200))).await;
    assert_eq!(on.delivery(RunKey { run: 1, ..runs[0].key }).await.state, DeliveryState::Succeeded);
}

/// What is opened is opened for the filter that the endpoint has now.
pub async fn another_filter_opens_other_events(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    on.refilter(id, &["invoice.paid"]).await;
    for event_type in ["invoice.paid", "refund.paid", "refund.sent"] {
        on.event(side, event_type, START).await;
    }
    assert_eq!(open_missed(&on, id, 0).await, None);
    assert_eq!(keys(&fresh(&on, id).await), [(1, 1)]);
    on.refilter(id, &["refund.*"]).await;
    assert_eq!(open_missed(&on, id, 3).await, None);
    assert_eq!(keys(&fresh(&on, id).await), [(1, 1), (3, 1)], "from a number on");
    assert_eq!(open_missed(&on, id, 0).await, None);
    assert_eq!(keys(&fresh(&on, id).await), [(1, 1), (2, 1), (3, 1)]);
}
