//! What is old is removed, a bounded step at a time; what is still needed stays.

use std::sync::Arc;
use std::time::Duration;

use ringback::domain::conflict::CaseState;
use ringback::domain::delivery::{DeliveryState, EndReason};
use ringback::domain::endpoint::EndpointStatus;
use ringback::domain::id::{EventId, TokenId};
use ringback::domain::recharge::{Status, Verdict};
use ringback::domain::replay::Only;
use ringback::domain::session::{Link, Purpose, Session};
use ringback::domain::time::Timestamp;
use ringback::domain::token::TokenHash;
use ringback::domain::user::Role;
use ringback::store::{
    AnswerKey, AuditQuery, CachedResponse, Callback, Change, Command, ConflictQuery, EndpointChange, Horizon, HttpAnswer, OpenRun, Publish,
    SweepPlace, Swept, TimeRange, Write, Written,
};

use crate::audit::note;
use crate::commands::Deeds;
use crate::conflicts::resolve;
use crate::harness::{DAY, START, Side, Subject, at, eight, ended, failed, first, just_before, publish, report, succeeded};
use crate::replays::{start, step};

/// Nothing is older than this.
const NEVER: Timestamp = Timestamp::from_millis(0);

fn nothing() -> Horizon {
    Horizon { retention: NEVER, recharges: None, audit: NEVER, answers: NEVER, traffic: NEVER }
}

fn old(retention: Timestamp) -> Horizon {
    Horizon { retention, ..nothing() }
}

/// Goes through everything; the rows removed by each step that removed any.
async fn sweep(on: &Subject, horizon: Horizon) -> Vec<u64> {
    let (mut place, mut removed, mut steps) = (Some(SweepPlace::default()), Vec::new(), 0);
    while let Some(at) = place {
        let Swept { removed: some, next } = on.store.sweep(horizon, at).await.unwrap();
        removed.extend((some > 0).then_some(some));
        (place, steps) = (next, steps + 1);
        assert!(steps < 10_000, "it goes on for ever at {at:?}");
    }
    removed
}

async fn kept(on: &Subject, side: Side) -> Vec<i64> {
    let feed = on.store.events_after(side.stream, None, 1000).await.unwrap();
    assert_eq!(feed.oldest, feed.events.first().map_or(feed.latest + 1, |event| event.id.sequence));
    feed.events.into_iter().map(|event| event.id.sequence).collect()
}

async fn exhaust(on: &Subject, run: &OpenRun, now: Timestamp) {
    on.record(failed(run, 1, now, now)).await;
    on.record(failed(run, 2, now, now)).await;
    on.record(ended(run, DeliveryState::Exhausted, Some(EndReason::Held), now)).await;
}

pub async fn nothing_is_old(on: Subject) {
    assert!(sweep(&on, nothing()).await.is_empty());
    let side = on.side().await;
    let id = on.connected(side).await;
    exhaust(&on, &on.runs(side, 1).await[0], at(1)).await;
    let recharge = on.judge(START, report(side, "INV-1", Status::Success)).await.recharge;
    on.judge(START, report(side, "INV-1", Status::Failed)).await;
    on.change(id, EndpointChange::Delete).await;
    on.store.act(Change { command: Command::Note, now: START, note: Some(note("x.y")), keep: None }).await.unwrap();
    let here = Horizon { retention: START, recharges: Some(START), audit: START, answers: START, traffic: START };
    assert!(sweep(&on, here).await.is_empty(), "what was made at the horizon is not old");
    assert_eq!((kept(&on, side).await, on.store.recharge(recharge).await.unwrap().unwrap().1.len()), (vec![1, 2], 2));
}

// --- Events ----------------------------------------------------------------------------------------------------------

pub async fn an_event_goes_with_its_deliveries_and_attempts(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    on.connected(side).await;
    on.connected(other).await;
    let runs = on.runs(side, 4).await;
    exhaust(&on, &runs[0], at(60)).await;
    on.record(succeeded(&runs[1], 1, at(60))).await;
    on.record(succeeded(&on.resent(runs[0].key.delivery(), at(61)).await, 1, at(62))).await;
    for run in &runs[2..] {
        exhaust(&on, run, at(60)).await;
    }
    exhaust(&on, &on.event(other, "invoice.paid", at(2)).await[0], at(60)).await;
    let rows = sweep(&on, old(at(2))).await.iter().sum::<u64>();
    assert_eq!(rows, 2 + 2 + 3, "two events, two attempts that were followed by another, three runs");
    assert_eq!((kept(&on, side).await, kept(&on, other).await), (vec![3, 4], vec![1]), "what was made at the horizon stays");
    for run in &runs[..2] {
        assert!(on.store.delivery(run.key.delivery()).await.unwrap().is_none());
        assert!(on.store.event(run.event.id).await.unwrap().is_none());
    }
    assert_eq!(on.delivery(runs[2].key).await.attempts.len(), 2);
    assert!(sweep(&on, old(just_before(at(3)))).await.iter().sum::<u64>() == 1 + 2 + 1 + (1 + 2 + 1));
    assert_eq!((kept(&on, side).await, kept(&on, other).await), (vec![4], vec![]));
}

pub async fn numbers_go_on_where_they_stood(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    for run in on.runs(side, 3).await {
        on.record(succeeded(&run, 1, at(60))).await;
    }
    sweep(&on, old(at(100))).await;
    let feed = on.store.events_after(side.stream, None, 10).await.unwrap();
    assert_eq!((feed.oldest, feed.latest, feed.events.len()), (4, 3, 0));
    let range = TimeRange { since: Some(at(1)), until: None };
    assert!(on.store.sequences(side.stream, range).await.unwrap().is_empty());
    assert_eq!(on.store.missed(id).await.unwrap(), 0, "what is gone was not missed");
    assert_eq!(on.event(side, "invoice.paid", at(101)).await[0].key.sequence, 4);
    assert_eq!(on.store.sequences(side.stream, range).await.unwrap(), 4..5);
}

pub async fn an_event_with_an_open_run_stays_and_holds_nothing_else(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    on.connected(side).await;
    let mut runs = Vec::new();
    for second in 0..4 {
        runs.push(on.event(side, "invoice.paid", at(second)).await);
    }
    for (number, of) in runs.iter().enumerate() {
        on.record(succeeded(&of[0], 1, at(60))).await;
        if number != 1 {
            on.record(succeeded(&of[1], 1, at(60))).await;
        }
    }
    sweep(&on, old(at(100))).await;
    assert!(kept(&on, side).await.is_empty(), "the feed has no gap, so it begins behind all that was removed");
    for run in &runs[1] {
        on.delivery(run.key).await;
    }
    for (sequence, is_there) in [(1, false), (2, true), (3, false), (4, false)] {
        let event = on.store.event(EventId { stream: side.stream, sequence }).await.unwrap();
        assert_eq!(event.is_some(), is_there, "{sequence}");
    }
    on.event(side, "invoice.paid", at(150)).await;
    assert_eq!(kept(&on, side).await, [5]);
    assert_eq!(on.open_run(runs[1][1].key).await.event.id, runs[1][1].event.id);
    on.record(succeeded(&runs[1][1], 1, at(200))).await;
    sweep(&on, old(at(100))).await;
    assert_eq!(kept(&on, side).await, [5]);
    assert!(on.store.event(EventId { stream: side.stream, sequence: 2 }).await.unwrap().is_none());
}

pub async fn pending_deliveries_of_a_paused_endpoint_hold_nothing_else(on: Subject) {
    let side = on.side().await;
    let (paused, well) = (on.connected(side).await, on.connected(side).await);
    let mut open = Vec::new();
    for second in 0..40 {
        let runs = on.event(side, "invoice.paid", at(second)).await;
        for run in runs {
            if run.key.endpoint == well || second % 7 > 0 {
                on.record(succeeded(&run, 1, at(60))).await;
            } else {
                assert_eq!(run.key.endpoint, paused);
                open.push(run.key);
            }
        }
    }
    let removed: u64 = sweep(&on, old(at(100))).await.iter().sum();
    assert_eq!(removed, 34 * 3, "each of the others goes, with its two deliveries");
    assert_eq!(sweep(&on, old(at(100))).await, [] as [u64; 0]);
    for key in open {
        on.open_run(key).await;
    }
}

pub async fn a_run_that_was_asked_for_keeps_its_event(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 3).await;
    for run in &runs {
        on.record(succeeded(run, 1, at(60))).await;
    }
    let event = |sequence| on.store.event(EventId { stream: side.stream, sequence });
    let again = on.resent(runs[1].key.delivery(), at(70)).await;
    sweep(&on, old(runs[2].event.created_at)).await;
    assert!(event(1).await.unwrap().is_none() && event(2).await.unwrap().is_some());
    on.record(succeeded(&again, 1, at(80))).await;
    let replay = start(&on, side, id, Only::All).await;
    step(&on, replay, at(90)).await;
    sweep(&on, old(at(100))).await;
    assert!(event(2).await.unwrap().is_some() && event(3).await.unwrap().is_some(), "nor does a replay lose what it is about");
}

pub async fn a_deleted_endpoints_deliveries_go_with_their_events(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    for run in on.runs(side, 2).await {
        exhaust(&on, &run, at(60)).await;
    }
    on.store.change_endpoint(id, EndpointChange::Delete, at(50)).await.unwrap();
    assert_eq!(sweep(&on, old(at(50))).await.iter().sum::<u64>(), 2 + 4 + 2, "the endpoint was deleted at the horizon");
    assert!(on.store.endpoint(id).await.unwrap().is_some());
    sweep(&on, old(at(51))).await;
    assert!(on.store.endpoint(id).await.unwrap().is_none());
}

pub async fn a_deleted_endpoint_stays_as_long_as_anything_of_it(on: Subject) {
    let side = on.side().await;
    let (id, living) = (on.connected(side).await, on.connected(side).await);
    let run = on.event(side, "invoice.paid", at(60)).await.into_iter().find(|run| run.key.endpoint == id).unwrap();
    on.record(succeeded(&run, 1, at(61))).await;
    on.change(id, EndpointChange::Delete).await;
    sweep(&on, old(at(50))).await;
    assert!(on.store.endpoint(id).await.unwrap().is_some() && on.store.delivery(run.key.delivery()).await.unwrap().is_some());
    assert!(on.store.endpoint(living).await.unwrap().is_some());
}

/// What fails after its endpoint was deleted leaves nothing behind.
pub async fn nothing_is_left_of_a_deleted_endpoint(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = on.runs(side, 1).await.remove(0);
    on.change(id, EndpointChange::Delete).await;
    exhaust(&on, &run, at(60)).await;
    sweep(&on, old(at(100))).await;
    assert!(on.store.endpoint(id).await.unwrap().is_none());
    assert!(on.store.failing(at(1_000_000), None, 10).await.unwrap().is_empty());
    let listed = on.store.endpoints(side.stream, first(10)).await.unwrap();
    assert!(listed.is_empty());
}

async fn posted(on: &Subject, side: Side, key: &str, now: Timestamp) -> i64 {
    on.publish(Publish { dedupe_key: Some(key.to_owned()), ..publish(side, "invoice.paid", now) }).await.0.sequence
}

pub async fn a_dedupe_key_goes_with_its_event(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    for (second, key) in [(0, "a"), (1, "b"), (2, "c")] {
        posted(&on, side, key, at(second)).await;
    }
    posted(&on, other, "a", at(2)).await;
    sweep(&on, old(at(2))).await;
    assert_eq!(posted(&on, side, "c", at(3)).await, 3, "its event is still there");
    assert_eq!(posted(&on, side, "a", at(3)).await, 4, "a key that nobody remembers is new");
    assert_eq!(posted(&on, other, "a", at(3)).await, 1);
}

pub async fn very_many_rows_go_in_bounded_steps(on: Subject) {
    let side = on.side().await;
    let (id, busy) = (on.connected(side).await, on.connected(side).await);
    on.refilter(busy, &["invoice.rare"]).await;
    let count = 2 * on.sweep_step + 7;
    let written = on.commit((0..count).map(|_| Write::Publish(publish(side, "invoice.paid", START))).collect()).await;
    let runs: Vec<OpenRun> = written
        .into_iter()
        .flat_map(|written| match written {
            Written::Published(_, opened) => opened,
            other => panic!("not the answer to an event: {other:?}"),
        })
        .collect();
    on.commit(runs.iter().map(|run| Write::RecordOutcome(failed(run, 1, at(1), at(2)))).collect()).await;
    on.commit(runs.iter().map(|run| Write::RecordOutcome(succeeded(run, 2, at(2)))).collect()).await;
    let lone = on.event(side, "invoice.rare", START).await;
    let many = lone.iter().find(|run| run.key.endpoint == busy).unwrap();
    let tries = (1..=on.sweep_step as u32 + 50).map(|number| Write::RecordOutcome(failed(many, number, at(3), at(4))));
    on.commit(tries.collect()).await;
    for run in &lone {
        on.record(ended(run, DeliveryState::Exhausted, None, at(5))).await;
    }
    let removed = sweep(&on, old(at(100))).await;
    assert_eq!(removed.iter().sum::<u64>() as usize, 3 * count + 1 + 2 + on.sweep_step + 50);
    assert!(kept(&on, side).await.is_empty());
    let most = removed.iter().copied().max().unwrap() as usize;
    assert!(most <= 2 * on.sweep_step + 50, "only one event's own attempts go beyond a step: {removed:?}");
    assert!(removed.iter().filter(|rows| **rows as usize > on.sweep_step).count() <= 1, "{removed:?}");
    assert!(on.store.delivery(runs[0].key.delivery()).await.unwrap().is_none() && runs[0].key.endpoint == id);
}

pub async fn eight_sweeps_remove_everything_once(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    for run in on.runs(side, 20).await {
        exhaust(&on, &run, at(60)).await;
    }
    let removed = eight(|_| {
        let on = on.clone();
        async move { sweep(&on, old(at(10))).await.iter().sum::<u64>() }
    })
    .await;
    assert_eq!((removed.iter().sum::<u64>(), kept(&on, side).await.len()), (10 * 4, 10));
}

// --- Recharges, reports, cases ---------------------------------------------------------------------------------------

pub async fn settled_recharges_go_if_they_ever_do(on: Subject) {
    let side = on.side().await;
    let mut ids = Vec::new();
    for (second, status) in (0..).zip([Status::Success, Status::Queued, Status::Failed, Status::Success]) {
        ids.push(on.judge(at(second), report(side, &format!("INV-{second}"), status)).await.recharge);
    }
    on.judge(at(50), report(side, "INV-0", Status::Success)).await;
    sweep(&on, old(at(100))).await;
    let there = async || {
        let mut there = Vec::new();
        for id in &ids {
            there.push(on.store.recharge(*id).await.unwrap().is_some());
        }
        there
    };
    assert_eq!(there().await, [true; 4], "without a retention of their own they stay");
    let horizon = Horizon { recharges: Some(at(3)), ..old(at(3)) };
    sweep(&on, horizon).await;
    assert_eq!(there().await, [false, true, false, true], "those of the horizon stay, and those that are queued");
    assert_eq!(on.store.overview(START).await.unwrap().recharges, [1, 1, 0, 0], "and the sums know it");
    let again = on.judge(at(101), report(side, "INV-0", Status::Success)).await;
    assert_eq!(again.verdict, Verdict::Created, "a reference that was removed counts as new");
}

/// A case that waits for the operator needs its recharge: without it, it could not be resolved any more.
pub async fn a_recharge_with_an_open_case_stays(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, report(side, "INV-1", Status::Success)).await.recharge;
    on.judge(START, report(side, "INV-1", Status::Failed)).await;
    let horizon = Horizon { recharges: Some(at(100)), ..old(at(100)) };
    sweep(&on, horizon).await;
    assert!(on.store.recharge(id).await.unwrap().is_some());
    resolve(&on, id, CaseState::Dismissed).await;
    sweep(&on, horizon).await;
    assert!(on.store.recharge(id).await.unwrap().is_none());
    assert_eq!(on.store.overview(START).await.unwrap().recharges, [0; 4]);
}

pub async fn very_many_recharges_go_in_bounded_steps(on: Subject) {
    let side = on.side().await;
    let count = 2 * on.sweep_step + 7;
    for part in 0..3 {
        let status = |number: usize| Status::ALL[number % 3];
        let reports = (0..count / 3 + 1).map(|number| report(side, &format!("INV-{part}-{number}"), status(number))).collect();
        on.judged(START, reports).await;
    }
    let [queued, success, failed, _] = on.store.overview(START).await.unwrap().recharges;
    let removed = sweep(&on, Horizon { recharges: Some(at(1)), ..old(at(1)) }).await;
    assert!(removed.iter().all(|rows| *rows as usize <= on.sweep_step), "{removed:?}");
    assert_eq!(removed.iter().sum::<u64>(), 2 * (success + failed), "with their events");
    assert_eq!(on.store.overview(START).await.unwrap().recharges, [queued, 0, 0, 0]);
}

pub async fn old_reports_of_a_recharge_that_stays_go(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, report(side, "INV-1", Status::Queued)).await.recharge;
    on.judge(at(10), report(side, "INV-1", Status::Queued)).await;
    on.judge(at(50), report(side, "INV-1", Status::Success)).await;
    let (before, _) = on.store.recharge(id).await.unwrap().unwrap();
    let times = async || {
        let (recharge, reports) = on.store.recharge(id).await.unwrap().unwrap();
        assert_eq!(recharge, before, "the recharge itself is as it was");
        reports.into_iter().map(|report| report.received_at).collect::<Vec<_>>()
    };
    sweep(&on, old(at(10))).await;
    assert_eq!(times().await, [at(10), at(50)], "those of the horizon stay");
    sweep(&on, old(at(60))).await;
    assert!(times().await.is_empty());
    assert_eq!(on.judge(at(70), report(side, "INV-1", Status::Success)).await.verdict, Verdict::Duplicate);
    let (recharge, reports) = on.store.recharge(id).await.unwrap().unwrap();
    assert_eq!((recharge.reports, reports.len(), reports[0].received_at), (4, 1, at(70)));
}

pub async fn resolved_cases_go_and_open_ones_stay(on: Subject) {
    let side = on.side().await;
    let mut ids = Vec::new();
    for reference in ["a", "b", "c"] {
        ids.push(on.judge(START, report(side, reference, Status::Success)).await.recharge);
        on.judge(START, report(side, reference, Status::Failed)).await;
    }
    // Resolved at second 60.
    resolve(&on, ids[0], CaseState::Dismissed).await;
    let cases = async || {
        let query = ConflictQuery { state: None, recharge: None, range: TimeRange::default(), page: first(10) };
        on.store.conflicts(query).await.unwrap().items.into_iter().map(|case| case.recharge).collect::<Vec<_>>()
    };
    sweep(&on, old(at(60))).await;
    assert_eq!(cases().await.len(), 3, "it counts from the resolution");
    sweep(&on, old(at(61))).await;
    assert_eq!(cases().await, [ids[2], ids[1]]);
}

pub async fn ended_replays_go_and_running_ones_stay(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let (over, cancelled, running) =
        (start(&on, side, id, Only::All).await, start(&on, side, id, Only::All).await, start(&on, side, id, Only::All).await);
    step(&on, over, START).await;
    on.store.command(Command::CancelReplay(cancelled), START).await.unwrap();
    sweep(&on, old(START)).await;
    assert_eq!(on.store.replays(side.stream, first(10)).await.unwrap().len(), 3);
    sweep(&on, old(at(1))).await;
    let left: Vec<_> = on.store.replays(side.stream, first(10)).await.unwrap().into_iter().map(|replay| replay.id).collect();
    assert_eq!(left, [running]);
}

// --- Small tables ----------------------------------------------------------------------------------------------------

pub async fn sessions_links_and_hours_go_by_their_age(on: Subject) {
    let side = on.side().await;
    let session = Session {
        id: on.ids.next(START).into(),
        user: None,
        vendor: None,
        role: Role::Owner,
        awaits_second_factor: false,
        address: None,
        created_at: START,
        expires_at: at(10),
    };
    on.store
        .command(Command::LogIn { session: Box::new(session), hash: TokenHash::of("ticket"), instead_of: None, device: None }, START)
        .await
        .unwrap();
    let purpose = Purpose::Invitation { email: "a@himal.example".to_owned(), vendor: None, role: Role::Owner };
    let link = Link { id: on.ids.next(START).into(), purpose, created_at: START, expires_at: at(10) };
    on.store.command(Command::CreateLink { link, hash: TokenHash::of("link"), letter: None }, START).await.unwrap();
    on.judge(START, report(side, "INV-1", Status::Queued)).await;
    let hours = async || on.store.standing(side.stream, NEVER).await.unwrap().hours.len();
    assert_eq!(sweep(&on, Horizon { answers: at(10), ..nothing() }).await, [] as [u64; 0]);
    assert!(on.store.session(TokenHash::of("ticket"), START).await.unwrap().is_some());
    assert_eq!(sweep(&on, Horizon { answers: at(11), ..nothing() }).await, [2]);
    assert!(on.store.session(TokenHash::of("ticket"), START).await.unwrap().is_none());
    assert!(on.store.link(TokenHash::of("link"), START).await.unwrap().is_none());
    assert_eq!(hours().await, 1);
    sweep(&on, old(at(7200))).await;
    assert_eq!(hours().await, 0);
}

pub async fn entries_answers_minutes_and_alerts_go_by_their_age(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let key = |second: i64| AnswerKey { token: TokenId::new(1), path: "/v1/events".to_owned(), key: second.to_string() };
    for second in [0, 60, 120] {
        let (answer, now) = (Arc::new(|_: &_| HttpAnswer::default()), at(second));
        let keep = Some(CachedResponse { key: key(second), body: [0; 32], answer });
        let command = Command::Publish(publish(side, "invoice.paid", now));
        on.store.act(Change { command, now, note: Some(note("x.y")), keep }).await.unwrap();
        let run = on.open_run(ringback::domain::delivery::RunKey { endpoint: id, sequence: second / 60 + 1, run: 1 }).await;
        on.record(failed(&run, 1, now, now)).await;
        on.store.command(Command::Warn(id, DAY), now).await.unwrap();
        on.turn(id, EndpointStatus::Connected).await;
    }
    let counts = async || {
        let query = AuditQuery { vendor: None, action: None, range: TimeRange::default(), page: first(100) };
        let overview = on.store.overview(at(120)).await.unwrap();
        let mut answers = 0;
        for second in [0, 60, 120] {
            answers += usize::from(on.store.kept_answer(key(second), NEVER).await.unwrap().is_some());
        }
        (on.store.audit(query).await.unwrap().items.len(), answers, overview.hour.accepted, overview.alerts)
    };
    assert_eq!(counts().await, (3, 3, 3, 3));
    sweep(&on, Horizon { audit: at(60), ..nothing() }).await;
    assert_eq!(counts().await, (2, 3, 3, 3));
    sweep(&on, Horizon { answers: at(60), ..nothing() }).await;
    assert_eq!(counts().await, (2, 2, 3, 3));
    sweep(&on, Horizon { traffic: at(60), ..nothing() }).await;
    assert_eq!(counts().await, (2, 2, 2, 3));
    sweep(&on, Horizon { retention: at(60), ..nothing() }).await;
    assert_eq!(counts().await, (2, 2, 2, 2), "alerts that nobody could be mailed");
    sweep(&on, Horizon { retention: at(500), recharges: None, audit: at(500), answers: at(500), traffic: at(500) }).await;
    assert_eq!(counts().await, (0, 0, 0, 0));
    assert_eq!(kept(&on, side).await.len(), 3, "the events are on their way");
}

pub async fn callbacks_go_by_their_age(on: Subject) {
    for second in [0, 60, 120] {
        let callback = Callback { provider: "p".to_owned(), recharge: None, verdict: "unknown", body: "{}".to_owned() };
        on.store.command(Command::KeepCallback(Box::new(callback)), at(second)).await.unwrap();
    }
    for (retention, removed) in [(START, &[][..]), (at(60), &[1]), (at(61), &[1]), (at(500), &[1])] {
        assert_eq!(sweep(&on, old(retention)).await, removed, "{retention}");
    }
}

pub async fn very_many_entries_go_in_bounded_steps(on: Subject) {
    let count = 2 * on.sweep_step + 7;
    let noted = |_| Write::Change(Box::new(Change { command: Command::Note, now: START, note: Some(note("x.y")), keep: None }));
    on.commit((0..count).map(noted).collect()).await;
    let removed = sweep(&on, Horizon { audit: at(1), ..nothing() }).await;
    assert_eq!(removed, [on.sweep_step as u64, on.sweep_step as u64, 7]);
}

/// A stream that has more than one kind of event old, one endpoint listening, and a deadline that has not passed.
pub async fn what_is_removed_does_not_come_back(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = on.runs(side, 1).await.remove(0);
    on.store.command(Command::Cancel(run.key.delivery()), at(10)).await.unwrap();
    sweep(&on, old(at(100))).await;
    // An attempt that was under way comes back after all was removed.
    on.settle(succeeded(&run, 1, at(101))).await;
    assert!(on.store.delivery(run.key.delivery()).await.unwrap().is_none());
    assert!(on.store.event(EventId { stream: side.stream, sequence: 1 }).await.unwrap().is_none());
    on.record(succeeded(&on.event(side, "invoice.paid", at(102)).await[0], 1, at(103))).await;
    sweep(&on, old(at(200))).await;
    on.store.change_endpoint(id, EndpointChange::Delete, at(103)).await.unwrap();
    sweep(&on, old(at(200).plus(Duration::from_secs(1)).plus(DAY))).await;
    assert!(on.store.endpoint(id).await.unwrap().is_none(), "nothing of it is left that would keep it");
}
