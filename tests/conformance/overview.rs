//! How everything stands: sums by status, the traffic of an hour and of a day, and what waits for people.

use std::time::Duration;

use ringback::domain::attempt::OutcomeKind;
use ringback::domain::conflict::CaseState;
use ringback::domain::endpoint::EndpointStatus;
use ringback::domain::recharge::{Details, Report, Status};
use ringback::domain::time::Timestamp;
use ringback::domain::traffic::Traffic;
use ringback::domain::vendor::Mode;
use ringback::store::{Command, EndpointChange, NextStep, OpenRun, Overview, RechargeQuery, RecordOutcome, TimeRange, Write};

use crate::commands::Deeds;
use crate::conflicts::{resolve, settle_by_person};
use crate::harness::{DAY, START, Side, Subject, accept, at, attempted, eight, failed, first, just_before, publish, report, succeeded};
use crate::replays::start;

async fn overview(on: &Subject, now: Timestamp) -> Overview {
    on.store.overview(now).await.unwrap()
}

/// The sums, which must be what a count of all recharges would find.
async fn sums(on: &Subject, sides: &[Side]) -> [u64; 4] {
    let sums = overview(on, START).await.recharges;
    let mut counted = [0; 4];
    for side in sides {
        for status in Status::ALL {
            let (range, page) = (TimeRange::default(), first(1000));
            let query = RechargeQuery {
                stream: side.stream,
                status: Some(status),
                reference_no: None,
                connection_no: None,
                network: None,
                range,
                page,
            };
            counted[status as usize] += on.store.recharges(query).await.unwrap().items.len() as u64;
        }
    }
    assert_eq!(sums, counted, "the sums are what there is");
    sums
}

pub async fn an_overview_of_nothing(on: Subject) {
    let nothing = Overview {
        recharges: [0; 4],
        oldest_queued: None,
        hour: Traffic::default(),
        day: Traffic::default(),
        failing: 0,
        disabled: 0,
        conflicts: 0,
        replays: 0,
        alerts: 0,
        stuck: 0,
    };
    assert_eq!(overview(&on, START).await, nothing);
    on.connected(on.side().await).await;
    assert_eq!(overview(&on, START).await, nothing, "a vendor with an endpoint that works is nothing to look at");
}

pub async fn sums_follow_every_move(on: Subject) {
    let vendor = on.vendor().await;
    let sides = [Side::of(&vendor, Mode::Live), Side::of(&vendor, Mode::Test), on.side().await];
    let [side, ..] = sides;
    for (number, status) in [Status::Queued, Status::Queued, Status::Success, Status::Failed].into_iter().enumerate() {
        on.judged(START, sides.map(|side| report(side, &format!("INV-{number}"), status)).to_vec()).await;
    }
    assert_eq!(sums(&on, &sides).await, [6, 3, 3, 0]);
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(on.judge(at(1), report(side, &format!("INV-{number}"), Status::Success)).await.recharge);
    }
    assert_eq!(sums(&on, &sides).await, [4, 5, 3, 0], "two settled, one was told again, one was contradicted");
    on.judge(at(1), report(side, "INV-2", Status::Failed)).await;
    resolve(&on, ids[2], CaseState::Reversed).await;
    assert_eq!(sums(&on, &sides).await, [4, 4, 3, 1]);
    resolve(&on, ids[3], CaseState::LateSuccess).await;
    assert_eq!(sums(&on, &sides).await, [4, 5, 2, 1]);
    on.judge(at(2), report(side, "INV-0", Status::Failed)).await;
    resolve(&on, ids[0], CaseState::Dismissed).await;
    assert_eq!(sums(&on, &sides).await, [4, 5, 2, 1], "the ledger was right");
    let queued = on.judge(at(3), report(sides[2], "INV-0", Status::Queued)).await.recharge;
    settle_by_person(&on, queued, Status::Failed).await;
    assert_eq!(sums(&on, &sides).await, [3, 5, 3, 1]);
}

pub async fn sums_of_a_batch_are_right(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    let mut reports = vec![report(side, "a", Status::Queued), report(side, "a", Status::Success), report(side, "a", Status::Failed)];
    reports.extend([report(other, "a", Status::Queued), report(side, "b", Status::Queued)]);
    let queued = on.judge(START, report(other, "c", Status::Queued)).await.recharge;
    let person = Report { reference_no: String::new(), status: Status::Success, details: Details::default(), occurred_at: None };
    let settle = Command::SettleRecharge { id: queued, report: Box::new(person), deadline: DAY };
    let change = |command| Write::Change(Box::new(ringback::store::Change { command, now: START, note: None, keep: None }));
    on.commit(vec![accept(START, reports), change(settle), accept(START, vec![report(side, "b", Status::Failed)])]).await;
    assert_eq!(sums(&on, &[side, other]).await, [1, 2, 1, 0]);
}

pub async fn a_refused_batch_moves_no_sum(on: Subject) {
    let side = on.side().await;
    on.judge(START, report(side, "a", Status::Queued)).await;
    let nowhere = Side { stream: ringback::domain::id::StreamId::new(1), ..side };
    let reports = vec![report(side, "a", Status::Success), report(side, "b", Status::Failed)];
    let writes = vec![accept(START, reports), Write::Publish(publish(nowhere, "invoice.paid", START))];
    assert!(on.store.commit(writes).await.1.is_err());
    assert_eq!(sums(&on, &[side]).await, [1, 0, 0, 0]);
    let Overview { hour, .. } = overview(&on, START).await;
    assert_eq!(hour.accepted, 1, "what was refused was not accepted");
    on.judge(START, report(side, "a", Status::Success)).await;
    assert_eq!(sums(&on, &[side]).await, [0, 1, 0, 0]);
}

pub async fn eight_reporters_are_counted(on: Subject) {
    let side = on.side().await;
    eight(|number| {
        let on = on.clone();
        async move {
            let reports = (0..5).map(|item| report(side, &format!("{number}-{item}"), Status::ALL[item % 3])).collect();
            on.judged(START, reports).await;
            on.judge(START, report(side, "the same", [Status::Success, Status::Failed][number % 2])).await;
        }
    })
    .await;
    assert_eq!(sums(&on, &[side]).await.iter().sum::<u64>(), 41);
    assert_eq!(overview(&on, START).await.hour.accepted, 48);
}

pub async fn the_oldest_queued_is_told(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    let oldest = async || overview(&on, START).await.oldest_queued;
    on.judge(at(1), report(side, "settled", Status::Success)).await;
    assert_eq!(oldest().await, None);
    on.judge(at(2), report(other, "first", Status::Queued)).await;
    on.judge(at(3), report(side, "second", Status::Queued)).await;
    assert_eq!(oldest().await, Some(at(2)), "whoever's it is");
    on.judge(at(9), report(other, "first", Status::Failed)).await;
    assert_eq!(oldest().await, Some(at(3)));
    on.judge(at(9), report(side, "second", Status::Success)).await;
    assert_eq!(oldest().await, None);
}

pub async fn an_hour_and_a_day_have_their_minutes(on: Subject) {
    let side = on.side().await;
    assert_eq!(START.as_millis() % 60_000, 0, "the start is the start of a minute");
    on.judged(START, ["a", "b", "a"].map(|reference| report(side, reference, Status::Success)).to_vec()).await;
    on.event(side, "invoice.paid", at(59)).await;
    on.event(side, "invoice.paid", at(60)).await;
    let accepted = async |now| {
        let Overview { hour, day, .. } = overview(&on, now).await;
        (hour.accepted, day.accepted)
    };
    assert_eq!(accepted(at(60)).await, (5, 5), "reports and events, repeated ones too");
    assert_eq!(accepted(just_before(at(3600))).await, (5, 5));
    assert_eq!(accepted(at(3600)).await, (1, 5), "the first minute is an hour old");
    assert_eq!(accepted(at(3660)).await, (0, 5));
    assert_eq!(accepted(just_before(START.plus(DAY))).await, (0, 5));
    assert_eq!(accepted(START.plus(DAY)).await, (0, 1));
    assert_eq!(accepted(at(60).plus(DAY)).await, (0, 0));
}

/// Attempts of the last hour, and those that succeeded.
async fn attempts(on: &Subject, now: Timestamp) -> (u64, u64) {
    let Overview { hour, .. } = overview(on, now).await;
    (hour.attempts, hour.succeeded)
}

pub async fn attempts_are_counted(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let runs = on.runs(side, 3).await;
    on.record(failed(&runs[0], 1, at(10), at(15))).await;
    on.record(succeeded(&runs[1], 1, at(10))).await;
    assert_eq!(attempts(&on, at(10)).await, (2, 1));
    on.record(crate::harness::ended(&runs[2], ringback::domain::delivery::DeliveryState::Exhausted, None, at(10))).await;
    assert_eq!(attempts(&on, at(10)).await, (2, 1), "an end without an attempt is none");
    on.record(succeeded(&runs[0], 2, at(70))).await;
    assert_eq!(attempts(&on, at(70)).await, (3, 2));
    assert_eq!(attempts(&on, at(3600)).await, (1, 1), "an attempt counts where it came back");
}

/// An outcome is offered again when it could not be learned whether it was written.
pub async fn an_outcome_given_twice_is_counted_once(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let run = on.runs(side, 1).await.remove(0);
    let outcome = RecordOutcome { latency: Some(Duration::from_millis(7)), ..succeeded(&run, 1, at(10)) };
    on.settle(outcome.clone()).await;
    on.settle(outcome).await;
    assert_eq!(attempts(&on, at(10)).await, (1, 1));
}

pub async fn latencies_have_their_quantiles(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let quantiles = async |now| {
        let Overview { hour, .. } = overview(&on, now).await;
        (hour.quantile(0.5), hour.quantile(0.99))
    };
    assert_eq!(quantiles(START).await, (None, None));
    let runs = on.runs(side, 100).await;
    let settles = runs.iter().zip(1_u32..).map(|(run, millis)| {
        let (now, latency) = (at(i64::from(millis) / 2), Some(Duration::from_millis(millis.into())));
        Write::RecordOutcome(RecordOutcome { latency, ..succeeded(run, 1, now) })
    });
    on.commit(settles.collect()).await;
    let (half, most) = quantiles(at(60)).await;
    let within = |found: Option<Duration>, millis: u64| {
        let (low, high) = (Duration::from_millis(millis), Duration::from_millis(millis * 6 / 5 + 1));
        assert!(found.is_some_and(|found| (low..=high).contains(&found)), "{found:?} is not right to a fifth of {millis} ms");
    };
    within(half, 50);
    within(most, 99);
    assert_eq!(quantiles(at(3600 + 60)).await, (None, None));
}

pub async fn what_waits_for_people_is_counted(on: Subject) {
    let side = on.side().await;
    let ids = [on.connected(side).await, on.connected(side).await];
    let counts = async || {
        let Overview { failing, disabled, conflicts, replays, alerts, .. } = overview(&on, at(99)).await;
        [failing, disabled, conflicts, replays, alerts]
    };
    let runs = on.event(side, "invoice.paid", START).await;
    for run in &runs {
        on.record(failed(run, 1, at(10), at(15))).await;
    }
    assert_eq!(counts().await, [2, 0, 0, 0, 0]);
    on.store.command(Command::Warn(ids[0], DAY), at(20)).await.unwrap();
    assert_eq!(counts().await, [2, 0, 0, 0, 1]);
    on.turn(ids[0], EndpointStatus::Disabled).await;
    assert_eq!(counts().await, [1, 1, 0, 0, 1]);
    on.change(ids[0], EndpointChange::Delete).await;
    assert_eq!(counts().await, [1, 0, 0, 0, 1]);
    let judged = on.judged(at(30), [Status::Success, Status::Failed].map(|status| report(side, "INV-1", status)).to_vec()).await.0;
    start(&on, side, ids[1], ringback::domain::replay::Only::All).await;
    assert_eq!(counts().await, [1, 0, 1, 1, 1]);
    resolve(&on, judged[0].recharge, CaseState::Dismissed).await;
    on.record(succeeded(&runs[1], 2, at(40))).await;
    assert_eq!(counts().await, [0, 0, 0, 1, 1]);
}

/// A run to an endpoint that is new.
async fn connected_run(on: &Subject, side: Side) -> OpenRun {
    let id = on.connected(side).await;
    on.event(side, "recharge.sample", START).await.into_iter().find(|run| run.key.endpoint == id).unwrap()
}

// --- Hour by hour, minute by minute ----------------------------------------------------------------------------------

pub async fn minutes_are_told_one_by_one(on: Subject) {
    let side = on.side().await;
    let run = connected_run(&on, side).await;
    let minute = |number: i64| Timestamp::from_millis((START.as_millis().div_euclid(60_000) + number) * 60_000);
    on.judged(minute(1), vec![report(side, "INV-1", Status::Queued), report(side, "INV-2", Status::Queued)]).await;
    on.record(succeeded(&run, 1, minute(3))).await;
    let told = async |since| {
        let minutes = on.store.minutes(since).await.unwrap();
        minutes.into_iter().map(|(at, traffic)| (at, traffic.accepted, traffic.attempts, traffic.succeeded)).collect::<Vec<_>>()
    };
    assert_eq!(told(minute(1)).await, [(minute(1), 2, 0, 0), (minute(3), 0, 1, 1)], "what is empty is left out");
    assert_eq!(told(minute(2)).await, [(minute(3), 0, 1, 1)]);
    assert!(told(minute(4)).await.is_empty());
}

pub async fn a_streams_hours_follow_every_move(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    let hour = |number: i64| Timestamp::from_millis((START.as_millis().div_euclid(3_600_000) + number) * 3_600_000);
    on.judged(hour(1), vec![report(side, "INV-1", Status::Queued), report(side, "INV-2", Status::Success)]).await;
    on.judged(hour(1), vec![report(other, "INV-1", Status::Failed)]).await;
    on.judged(hour(3), vec![report(side, "INV-1", Status::Failed), report(side, "INV-3", Status::Queued)]).await;
    let contradicted = on.judge(hour(3), report(side, "INV-2", Status::Failed)).await.recharge;
    let told = async |since| {
        let standing = on.store.standing(side.stream, since).await.unwrap();
        let hours = standing.hours.iter().map(|hour| (hour.at, [hour.made, hour.success, hour.failed, hour.reversed])).collect::<Vec<_>>();
        (standing.recharges, standing.oldest_queued, hours)
    };
    let (recharges, oldest, hours) = told(hour(1)).await;
    assert_eq!((recharges, oldest), ([1, 1, 1, 0], Some(hour(3))));
    assert_eq!(hours, [(hour(1), [2, 1, 0, 0]), (hour(3), [1, 0, 1, 0])]);
    // That is done in the first hour, as the exam's clock has it.
    resolve(&on, contradicted, CaseState::Reversed).await;
    let (recharges, _, hours) = told(hour(0)).await;
    assert_eq!((recharges, hours[0].1, hours.len()), ([1, 0, 1, 1], [0, -1, 0, 1], 3));
    assert_eq!(told(hour(2)).await.2.len(), 1);
    assert!(told(hour(4)).await.2.is_empty());
}

pub async fn providers_are_told_by_their_latest(on: Subject) {
    let side = on.side().await;
    assert!(on.store.providers().await.unwrap().is_empty());
    for reference in ["R-1", "R-2", "R-3"] {
        crate::submissions::new(&on, side, reference).await;
    }
    let taken = crate::submissions::take(&on, at(1), true).await;
    crate::submissions::say(&on, side, &taken[0], Status::Success, at(11)).await;
    let [told] = <[_; 1]>::try_from(on.store.providers().await.unwrap()).expect("there is one");
    assert_eq!((told.name.as_str(), told.waiting, told.oldest, told.latest), ("himal", 2, Some(START), [2, 1, 0, 0]));
    assert_eq!(told.took, [Duration::from_secs(11)]);
    for submission in &taken[1..] {
        crate::submissions::say(&on, side, submission, Status::Failed, at(12)).await;
    }
    let told = on.store.providers().await.unwrap().remove(0);
    assert_eq!((told.waiting, told.oldest, told.latest), (0, None, [0, 1, 2, 0]));
}

pub async fn causes_are_grouped_by_what_came_back(on: Subject) {
    let side = on.side().await;
    let run = connected_run(&on, side).await;
    let endpoint = run.key.endpoint;
    let causes = async |limit| on.store.causes(endpoint, limit).await.unwrap();
    assert!(causes(10).await.is_empty());
    for number in 1..=3 {
        on.record(failed(&run, number, at(number.into()), at(99))).await;
    }
    let late = NextStep::Retry { at: at(99), failed_since: at(1) };
    on.record(attempted(&run, 4, OutcomeKind::TimedOut, at(4), late)).await;
    let told = causes(10).await;
    let seen = told.iter().map(|cause| (cause.kind, cause.times, cause.last_at));
    assert_eq!(seen.collect::<Vec<_>>(), [(OutcomeKind::Rejected, 3, just_before(at(3))), (OutcomeKind::TimedOut, 1, just_before(at(4)))]);
    assert_eq!((told[0].status, told[0].first_at, told[1].status), (Some(500), just_before(at(1)), None));
    assert_eq!(causes(2).await.iter().map(|cause| cause.times).sum::<u64>(), 2, "of the latest two");
    let another = connected_run(&on, side).await;
    on.record(failed(&another, 1, at(5), at(99))).await;
    assert_eq!(causes(10).await, told, "another endpoint's are its own");
}

pub async fn who_fails_and_who_was_disabled_is_trouble(on: Subject) {
    let side = on.side().await;
    let troubled = async || on.store.troubled(first(10)).await.unwrap();
    assert!(troubled().await.is_empty());
    let run = connected_run(&on, side).await;
    assert!(troubled().await.is_empty(), "it works");
    on.record(failed(&run, 1, at(1), at(99))).await;
    let told = troubled().await;
    assert_eq!((told.len(), told[0].endpoint, told[0].warned_at, told[0].mails_waiting), (1, run.key.endpoint, None, 0));
    on.store.command(Command::Warn(run.key.endpoint, DAY), at(2)).await.unwrap();
    assert_eq!((troubled().await[0].warned_at, troubled().await[0].mails_waiting), (Some(at(2)), 1));
    let by_rule = |by_rule| EndpointChange::Status {
        from: &EndpointStatus::ALL,
        to: EndpointStatus::Disabled,
        reason: Some("it fails".to_owned()),
        by_rule,
        failing_since: None,
    };
    on.store.change_endpoint(run.key.endpoint, by_rule(true), at(3)).await.unwrap();
    assert_eq!(troubled().await.len(), 1, "a rule disabled it");
    let another = connected_run(&on, side).await;
    on.record(failed(&another, 1, at(1), at(99))).await;
    let told = troubled().await;
    assert_eq!(told.iter().map(|trouble| trouble.endpoint).collect::<Vec<_>>(), [another.key.endpoint, run.key.endpoint], "newest first");
    let page = ringback::store::Page { before: Some(another.key.endpoint), limit: 10 };
    assert_eq!(on.store.troubled(page).await.unwrap().len(), 1);
    on.store.change_endpoint(another.key.endpoint, by_rule(false), at(4)).await.unwrap();
    on.store.change_endpoint(run.key.endpoint, EndpointChange::Delete, at(4)).await.unwrap();
    assert!(troubled().await.is_empty(), "a person did it, and the other is gone");
}
