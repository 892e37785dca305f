//! Deliveries as people see them: what outcomes make of them, resends, and the lists.

use ringback::domain::attempt::{Attempt, Outcome, OutcomeKind, Phases};
use ringback::domain::delivery::{DeliveryState, EndReason, RunKey};
use ringback::domain::endpoint::EndpointStatus;
use ringback::domain::id::{DeliveryId, EndpointId};
use ringback::domain::recharge::Status;
use ringback::domain::time::Timestamp;
use ringback::domain::vendor::Mode;
use ringback::limits;
use ringback::store::{
    Delivery, DeliveryQuery, EndpointChange, NextStep, OpenQuery, OpenRun, Page, Portion, RecordOutcome, Resent, Settled, TimeRange, Write,
    Written,
};

use crate::commands::Deeds;
use crate::harness::{
    DAY, START, Side, Subject, at, attempted, eight, ended, failed, first, just_before, keys, publish, report, succeeded,
};

/// A listening endpoint with one open run.
async fn one_run(on: &Subject) -> (Side, OpenRun) {
    let side = on.side().await;
    on.connected(side).await;
    let run = on.event(side, "invoice.paid", START).await.remove(0);
    (side, run)
}

fn cancelled(run: &OpenRun, now: Timestamp) -> RecordOutcome {
    ended(run, DeliveryState::Cancelled, Some(EndReason::Deleted), now)
}

fn exhausted(run: &OpenRun, number: u32, now: Timestamp) -> RecordOutcome {
    attempted(run, number, OutcomeKind::TimedOut, now, NextStep::Ended(DeliveryState::Exhausted, None))
}

/// Run, number and outcome of each attempt.
fn attempts(delivery: &Delivery) -> Vec<(u32, u32, OutcomeKind)> {
    delivery.attempts.iter().map(|attempt| (attempt.run, attempt.number, attempt.outcome.kind)).collect()
}

async fn open(on: &Subject, endpoint: EndpointId) -> Vec<(i64, u32)> {
    let all = OpenQuery::All { after: (0, 0), up_to: i64::MAX };
    keys(&on.open_page(endpoint, all, Portion::rows(100)).await.runs)
}

pub async fn a_fresh_delivery_is_pending(on: Subject) {
    let (side, run) = one_run(&on).await;
    let delivery = on.delivery(run.key).await;
    assert_eq!(delivery.id, run.key.delivery());
    assert_eq!((delivery.state, delivery.run, delivery.end_reason), (DeliveryState::Pending, 1, None));
    assert_eq!((delivery.next_attempt_at, delivery.deadline, delivery.first_succeeded_at), (None, START.plus(DAY), None));
    assert!(delivery.attempts.is_empty());
    assert_eq!((delivery.event.id.stream, delivery.event.id.sequence), (side.stream, 1));
}

pub async fn no_delivery(on: Subject) {
    let (_, run) = one_run(&on).await;
    let id = run.key.delivery();
    for id in [DeliveryId { sequence: 2, ..id }, DeliveryId { endpoint: EndpointId::new(1), ..id }] {
        assert!(on.store.delivery(id).await.unwrap().is_none());
    }
}

pub async fn success_at_once(on: Subject) {
    let (_, run) = one_run(&on).await;
    on.record(succeeded(&run, 1, at(2))).await;
    let delivery = on.delivery(run.key).await;
    assert_eq!((delivery.state, delivery.run, delivery.end_reason), (DeliveryState::Succeeded, 1, None));
    assert_eq!((delivery.next_attempt_at, delivery.deadline, delivery.first_succeeded_at), (None, run.deadline, Some(at(2))));
    assert_eq!(attempts(&delivery), [(1, 1, OutcomeKind::Succeeded)]);
    assert!(open(&on, run.key.endpoint).await.is_empty());
}

pub async fn a_retry_waits(on: Subject) {
    let (_, run) = one_run(&on).await;
    on.record(failed(&run, 1, at(2), at(7))).await;
    let delivery = on.delivery(run.key).await;
    assert_eq!((delivery.state, delivery.next_attempt_at), (DeliveryState::Pending, Some(at(7))));
    assert_eq!(attempts(&delivery), [(1, 1, OutcomeKind::Rejected)]);
    let waits = on.open_page(run.key.endpoint, OpenQuery::Due { now: at(7) }, Portion::rows(10)).await.runs.remove(0);
    assert_eq!((waits.attempts, waits.next_attempt_at, waits.failed_since), (1, Some(at(7)), Some(at(2))));
    assert_eq!(waits.deadline, run.deadline);
    on.record(failed(&waits, 2, at(8), at(38))).await;
    let waits = on.open_page(run.key.endpoint, OpenQuery::Due { now: at(38) }, Portion::rows(10)).await.runs.remove(0);
    assert_eq!((waits.attempts, waits.failed_since), (2, Some(at(2))), "it has been failing since the first time");
}

pub async fn a_run_ends_without_an_attempt(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    for reason in EndReason::ALL {
        let run = on.event(side, "invoice.paid", START).await.remove(0);
        on.record(failed(&run, 1, at(2), at(7))).await;
        on.record(ended(&run, DeliveryState::Exhausted, Some(reason), run.deadline)).await;
        let delivery = on.delivery(run.key).await;
        assert_eq!((delivery.state, delivery.end_reason), (DeliveryState::Exhausted, Some(reason)));
        assert_eq!((delivery.next_attempt_at, delivery.first_succeeded_at), (None, None));
        assert_eq!(attempts(&delivery), [(1, 1, OutcomeKind::Rejected)]);
    }
}

pub async fn an_attempt_is_kept_as_made(on: Subject) {
    let (_, run) = one_run(&on).await;
    let phases = Phases { resolve: Some(1), connect: Some(2), tls: Some(3), first_byte: Some(4), total: 10 };
    let mut made = Vec::new();
    for (number, kind) in (1..).zip(OutcomeKind::ALL.into_iter().rev()) {
        let outcome = Outcome {
            kind,
            status: Some(429),
            error: Some("it said no".to_owned()),
            phases,
            address: Some("203.0.113.9".parse().unwrap()),
            retry_after: Some(DAY),
            answer_headers: Some("server: x".to_owned()),
            answer_body: Some(vec![0, 159, 146, 150]),
        };
        let attempt = Attempt { number, run: 1, started_at: at(i64::from(number)), outcome };
        let after = match kind {
            OutcomeKind::Succeeded => NextStep::Ended(DeliveryState::Succeeded, None),
            _ => NextStep::Retry { at: at(99), failed_since: at(1) },
        };
        let (attempt, now) = (Some(attempt), at(i64::from(number)));
        on.record(RecordOutcome {
            key: run.key,
            attempt: attempt.clone(),
            attempts: number,
            deadline: run.deadline,
            now,
            after,
            replay: None,
            latency: None,
            epoch: 0,
        })
        .await;
        made.extend(attempt);
    }
    for attempt in &mut made {
        (attempt.outcome.address, attempt.outcome.retry_after) = (None, None);
    }
    assert_eq!(on.delivery(run.key).await.attempts, made);
}

pub async fn attempts_are_in_order_over_runs(on: Subject) {
    let (_, run) = one_run(&on).await;
    on.record(failed(&run, 1, at(1), at(5))).await;
    on.record(failed(&run, 2, at(5), at(9))).await;
    on.record(exhausted(&run, 3, at(9))).await;
    let second = on.resent(run.key.delivery(), at(20)).await;
    on.record(failed(&second, 1, at(21), at(25))).await;
    on.record(succeeded(&second, 2, at(25))).await;
    let third = on.resent(run.key.delivery(), at(30)).await;
    on.record(exhausted(&third, 1, at(31))).await;
    use OutcomeKind::{Rejected, Succeeded, TimedOut};
    let expected = [(1, 1, Rejected), (1, 2, Rejected), (1, 3, TimedOut), (2, 1, Rejected), (2, 2, Succeeded), (3, 1, TimedOut)];
    let delivery = on.delivery(run.key).await;
    assert_eq!(attempts(&delivery), expected);
    assert_eq!((delivery.state, delivery.run, delivery.deadline), (DeliveryState::Exhausted, 3, third.deadline));
    assert_eq!(delivery.first_succeeded_at, Some(at(25)), "that it once succeeded is never forgotten");
}

pub async fn eight_outcomes_of_one_run(on: Subject) {
    let (_, run) = one_run(&on).await;
    let results = eight(|number| {
        let (on, settle) = (on.clone(), ended(&run, DeliveryState::Exhausted, Some(EndReason::ALL[number % 5]), run.deadline));
        async move { on.settle(settle).await }
    })
    .await;
    assert_eq!(results.iter().filter(|settled| **settled == Settled::Recorded).count(), 1);
    assert_eq!(on.delivery(run.key).await.state, DeliveryState::Exhausted);
}

pub async fn late_success_after_cancel(on: Subject) {
    let (side, run) = one_run(&on).await;
    on.record(failed(&run, 1, at(1), at(5))).await;
    on.record(cancelled(&run, at(6))).await;
    assert_eq!(on.settle(succeeded(&run, 2, at(7))).await, Settled::Late);
    let delivery = on.delivery(run.key).await;
    assert_eq!((delivery.state, delivery.end_reason, delivery.first_succeeded_at), (DeliveryState::Succeeded, None, Some(at(7))));
    assert_eq!(attempts(&delivery), [(1, 1, OutcomeKind::Rejected), (1, 2, OutcomeKind::Succeeded)]);
    assert!(listed(&on, DeliveryQuery { state: Some(DeliveryState::Cancelled), ..query(side) }).await.is_empty());
    assert!(open(&on, run.key.endpoint).await.is_empty());
}

pub async fn late_failure_after_cancel(on: Subject) {
    let (_, run) = one_run(&on).await;
    on.record(cancelled(&run, at(6))).await;
    assert_eq!(on.settle(failed(&run, 1, at(7), at(12))).await, Settled::Late);
    let delivery = on.delivery(run.key).await;
    assert_eq!((delivery.state, delivery.end_reason), (DeliveryState::Cancelled, Some(EndReason::Deleted)));
    assert_eq!(attempts(&delivery), [(1, 1, OutcomeKind::Rejected)]);
    assert!(open(&on, run.key.endpoint).await.is_empty(), "nothing is opened again");
}

pub async fn late_success_of_an_exhausted_run(on: Subject) {
    let (_, run) = one_run(&on).await;
    on.record(ended(&run, DeliveryState::Exhausted, Some(EndReason::Held), run.deadline)).await;
    let now = run.deadline.plus(DAY);
    assert_eq!(on.settle(succeeded(&run, 1, now)).await, Settled::Late);
    let delivery = on.delivery(run.key).await;
    assert_eq!(attempts(&delivery), [(1, 1, OutcomeKind::Succeeded)]);
    assert!(delivery.first_succeeded_at.is_some(), "a success is a fact whoever reports it");
}

pub async fn late_success_beside_a_new_run(on: Subject) {
    let (_, run) = one_run(&on).await;
    on.record(cancelled(&run, at(6))).await;
    let second = on.resent(run.key.delivery(), at(7)).await;
    assert_eq!(on.settle(succeeded(&run, 1, at(8))).await, Settled::Late);
    let delivery = on.delivery(run.key).await;
    assert_eq!((delivery.state, delivery.run, delivery.first_succeeded_at), (DeliveryState::Pending, 2, Some(at(8))));
    assert_eq!(open(&on, run.key.endpoint).await, [(1, 2)]);
    on.record(succeeded(&second, 1, at(9))).await;
}

/// A node that was stopped has made the same attempt as the one that took over from it.
pub async fn attempts_side_by_side_are_numbered_as_they_began(on: Subject) {
    for (late, expected) in
        [(at(3), [OutcomeKind::Rejected, OutcomeKind::Succeeded]), (at(7), [OutcomeKind::Succeeded, OutcomeKind::Rejected])]
    {
        let (_, run) = one_run(&on).await;
        on.record(succeeded(&run, 1, at(5))).await;
        for _ in 0..2 {
            assert_eq!(on.settle(failed(&run, 1, late, at(9))).await, Settled::Late);
            assert_eq!(attempts(&on.delivery(run.key).await), [(1, 1, expected[0]), (1, 2, expected[1])]);
        }
    }
}

/// The engine offers an outcome again when it could not learn whether it was written.
pub async fn an_outcome_given_twice_is_kept_once(on: Subject) {
    for end in [succeeded, exhausted] {
        let (_, run) = one_run(&on).await;
        for expected in [Settled::Recorded, Settled::Recorded] {
            assert_eq!(on.settle(failed(&run, 1, at(1), at(5))).await, expected);
        }
        on.record(end(&run, 2, at(5))).await;
        let before = on.delivery(run.key).await;
        assert_eq!(on.settle(end(&run, 2, at(5))).await, Settled::Late);
        let after = on.delivery(run.key).await;
        assert_eq!(attempts(&after), attempts(&before));
        assert_eq!(after.first_succeeded_at, before.first_succeeded_at);
    }
}

/// An attempt is immutable: what turns a cancelled run into a succeeded one does not take the attempt that it was
/// cancelled with.
pub async fn a_cancelled_runs_attempt_outlives_its_success(on: Subject) {
    let (_, run) = one_run(&on).await;
    let cancel = NextStep::Ended(DeliveryState::Cancelled, Some(EndReason::Deleted));
    on.record(attempted(&run, 1, OutcomeKind::TimedOut, at(1), cancel)).await;
    assert_eq!(on.settle(succeeded(&run, 2, at(2))).await, Settled::Late);
    let delivery = on.delivery(run.key).await;
    assert_eq!(delivery.state, DeliveryState::Succeeded);
    assert_eq!(attempts(&delivery), [(1, 1, OutcomeKind::TimedOut), (1, 2, OutcomeKind::Succeeded)]);
}

pub async fn a_resend_opens_a_run(on: Subject) {
    let (_, run) = one_run(&on).await;
    on.record(succeeded(&run, 1, at(2))).await;
    let (now, deadline) = (at(100), at(500));
    let Resent::Opened(resent) = on.store.resend(run.key.delivery(), now, deadline).await.unwrap() else { panic!("no new run") };
    assert_eq!((resent.state, resent.run, resent.deadline, resent.next_attempt_at), (DeliveryState::Pending, 2, deadline, Some(now)));
    let second = on.open_run(RunKey { run: 2, ..run.key }).await;
    assert_eq!((second.key.delivery(), second.key.run), (run.key.delivery(), 2));
    assert_eq!((second.attempts, second.deadline, second.next_attempt_at, second.failed_since), (0, deadline, Some(now), None));
    assert_eq!(second.event.id, run.event.id, "the same event with the same id");
    let read = on.open_page(run.key.endpoint, OpenQuery::Due { now }, Portion::rows(10)).await.runs.remove(0);
    assert_eq!((read.key, read.deadline, read.next_attempt_at), (second.key, deadline, Some(now)));
    let delivery = on.delivery(run.key).await;
    assert_eq!((delivery.state, delivery.run, delivery.deadline), (DeliveryState::Pending, 2, deadline));
    assert_eq!(delivery.first_succeeded_at, Some(at(2)));
    on.turn(run.key.endpoint, EndpointStatus::Paused).await;
    on.record(exhausted(&second, 1, at(101))).await;
    assert_eq!(on.resent(run.key.delivery(), at(102)).await.key.run, 3, "a paused endpoint may be given more");
}

pub async fn a_resend_that_cannot_be(on: Subject) {
    let (_, run) = one_run(&on).await;
    let id = run.key.delivery();
    let resend = async |id| on.store.resend(id, at(9), at(9).plus(DAY)).await.unwrap();
    for unknown in [DeliveryId { sequence: 2, ..id }, DeliveryId { endpoint: EndpointId::new(1), ..id }] {
        assert!(matches!(resend(unknown).await, Resent::Unknown));
    }
    assert!(matches!(resend(id).await, Resent::StillPending));
    on.record(failed(&run, 1, at(1), at(5))).await;
    assert!(matches!(resend(id).await, Resent::StillPending));
    on.record(succeeded(&run, 2, at(5))).await;
    for status in [EndpointStatus::NotConnected, EndpointStatus::Disabled] {
        on.turn(run.key.endpoint, status).await;
        assert!(matches!(resend(id).await, Resent::NotListening(says) if says == status));
    }
    assert_eq!((on.delivery(run.key).await.run, on.store.open_count().await.unwrap()), (1, 0));
}

pub async fn eight_resends_open_one_run(on: Subject) {
    let (_, run) = one_run(&on).await;
    on.record(succeeded(&run, 1, at(2))).await;
    let results = eight(|_| {
        let (store, id) = (on.store.clone(), run.key.delivery());
        async move { store.resend(id, at(9), at(9).plus(DAY)).await.unwrap() }
    })
    .await;
    assert_eq!(results.iter().filter(|resent| matches!(resent, Resent::Opened(_))).count(), 1);
    assert_eq!(results.iter().filter(|resent| matches!(resent, Resent::StillPending)).count(), 7);
    assert_eq!(open(&on, run.key.endpoint).await, [(1, 2)]);
}

fn query(side: Side) -> DeliveryQuery {
    DeliveryQuery {
        stream: side.stream,
        endpoint: None,
        state: None,
        sequence: None,
        event_type: None,
        recharge: None,
        range: TimeRange::default(),
        page: first(100),
    }
}

/// A whole list; read in pages of one, it says the same.
async fn listed(on: &Subject, query: DeliveryQuery) -> Vec<(i64, EndpointId)> {
    let name = |delivery: Delivery| (delivery.id.sequence, delivery.id.endpoint);
    let whole = on.store.deliveries(query.clone()).await.unwrap();
    assert_eq!(whole.next, None);
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let part = on.store.deliveries(DeliveryQuery { page: Page { before, limit: 1 }, ..query.clone() }).await.unwrap();
        seen.extend(part.items.into_iter().map(name));
        before = part.next;
        if before.is_none() {
            break;
        }
    }
    let whole: Vec<_> = whole.items.into_iter().map(name).collect();
    assert_eq!(seen, whole);
    whole
}

pub async fn deliveries_are_listed_latest_first(on: Subject) {
    let side = on.side().await;
    assert!(listed(&on, query(side)).await.is_empty());
    let (one, two) = (on.connected(side).await, on.connected(side).await);
    assert!(listed(&on, query(side)).await.is_empty());
    for second in 0..3 {
        on.event(side, "invoice.paid", at(second)).await;
    }
    assert_eq!(listed(&on, query(side)).await, [(3, two), (3, one), (2, two), (2, one), (1, two), (1, one)]);
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let part = on.store.deliveries(DeliveryQuery { page: Page { before, limit: 2 }, ..query(side) }).await.unwrap();
        seen.extend(part.items.iter().map(|delivery| (delivery.id.sequence, delivery.id.endpoint)));
        on.event(side, "invoice.paid", at(100)).await;
        before = part.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 6, "those made while it was read come before its beginning");
    assert_eq!((seen[0], seen[5]), ((3, two), (1, one)));
}

/// Events 1 to 5 come to: pending, succeeded, exhausted, cancelled, exhausted but sent again.
async fn one_of_each(on: &Subject, side: Side) -> EndpointId {
    let id = on.connected(side).await;
    let runs = on.runs(side, 5).await;
    let end = |run: &OpenRun, state| Write::RecordOutcome(ended(run, state, None, at(60)));
    let written = on
        .commit(vec![
            Write::RecordOutcome(succeeded(&runs[1], 1, at(60))),
            end(&runs[2], DeliveryState::Exhausted),
            end(&runs[3], DeliveryState::Cancelled),
            end(&runs[4], DeliveryState::Exhausted),
        ])
        .await;
    assert!(written.iter().all(|written| matches!(written, Written::Settled(Settled::Recorded))), "{written:?}");
    on.resent(runs[4].key.delivery(), at(70)).await;
    id
}

pub async fn deliveries_are_chosen_by_state(on: Subject) {
    let side = on.side().await;
    let id = one_of_each(&on, side).await;
    for endpoint in [None, Some(id)] {
        for (state, expected) in [
            (Some(DeliveryState::Pending), &[(5, id), (1, id)][..]),
            (Some(DeliveryState::Succeeded), &[(2, id)]),
            (Some(DeliveryState::Exhausted), &[(3, id)]),
            (Some(DeliveryState::Cancelled), &[(4, id)]),
            (None, &[(5, id), (4, id), (3, id), (2, id), (1, id)]),
        ] {
            assert_eq!(listed(&on, DeliveryQuery { endpoint, state, ..query(side) }).await, expected, "{state:?}");
        }
    }
}

pub async fn deliveries_are_chosen_by_what_they_are(on: Subject) {
    let vendor = on.vendor().await;
    let (side, test) = (Side::of(&vendor, Mode::Live), Side::of(&vendor, Mode::Test));
    let (one, two, elsewhere) = (on.connected(side).await, on.connected(side).await, on.connected(test).await);
    on.refilter(two, &["recharge.*"]).await;
    on.event(side, "invoice.paid", at(0)).await;
    let judged = on.judge(at(1), report(side, "INV-1", Status::Success)).await;
    on.event(test, "invoice.paid", at(2)).await;
    let all = query(side);
    let chosen = async |query: DeliveryQuery| listed(&on, query).await;
    assert_eq!(chosen(DeliveryQuery { endpoint: Some(one), ..all.clone() }).await, [(2, one), (1, one)]);
    assert_eq!(chosen(DeliveryQuery { endpoint: Some(two), ..all.clone() }).await, [(2, two)]);
    for other in [elsewhere, EndpointId::new(1)] {
        assert!(chosen(DeliveryQuery { endpoint: Some(other), ..all.clone() }).await.is_empty(), "it is not this stream's");
    }
    assert_eq!(chosen(query(test)).await, [(1, elsewhere)]);
    assert_eq!(chosen(DeliveryQuery { sequence: Some(2), ..all.clone() }).await, [(2, two), (2, one)]);
    assert!(chosen(DeliveryQuery { sequence: Some(3), ..all.clone() }).await.is_empty());
    let of_type = |name: &str| DeliveryQuery { event_type: Some(name.to_owned()), ..all.clone() };
    assert_eq!(chosen(of_type("invoice.paid")).await, [(1, one)]);
    assert!(chosen(of_type("recharge.failed")).await.is_empty());
    assert_eq!(chosen(DeliveryQuery { recharge: Some(judged.recharge), ..all.clone() }).await, [(2, two), (2, one)]);
    assert_eq!(chosen(DeliveryQuery { endpoint: Some(two), ..of_type("recharge.success") }).await, [(2, two)]);
}

pub async fn deliveries_are_chosen_by_their_time(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    on.runs(side, 4).await;
    let between = async |since, until| {
        let found = listed(&on, DeliveryQuery { range: TimeRange { since, until }, ..query(side) }).await;
        found.into_iter().map(|(sequence, _)| sequence).collect::<Vec<_>>()
    };
    assert_eq!(between(Some(at(1)), Some(at(3))).await, [3, 2], "since is inclusive, until is not");
    assert_eq!(between(Some(just_before(at(1))), Some(just_before(at(3)))).await, [3, 2]);
    assert_eq!(between(Some(at(3)), None).await, [4]);
    assert_eq!(between(None, Some(at(1))).await, [1]);
    assert!(between(Some(at(4)), None).await.is_empty());
    assert!(between(Some(at(2)), Some(at(2))).await.is_empty());
    let sequence = DeliveryQuery { sequence: Some(1), range: TimeRange { since: Some(at(1)), until: None }, ..query(side) };
    assert!(listed(&on, sequence).await.is_empty(), "both are asked for");
}

/// A list looks at so many rows at a time; what lies behind them is found all the same.
pub async fn a_delivery_behind_very_many_is_found(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    on.event(side, "invoice.rare", START).await;
    on.commit((0..limits::SCAN_MAX / 4).map(|_| Write::Publish(publish(side, "invoice.paid", at(1)))).collect()).await;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let (event_type, page) = (Some("invoice.rare".to_owned()), Page { before, limit: 10 });
        let listed = on.store.deliveries(DeliveryQuery { event_type, page, ..query(side) }).await.unwrap();
        seen.extend(listed.items.into_iter().map(|delivery| (delivery.id.sequence, delivery.id.endpoint)));
        before = listed.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [(1, id)]);
}

pub async fn a_deleted_endpoints_deliveries_are_listed(on: Subject) {
    let side = on.side().await;
    let id = one_of_each(&on, side).await;
    on.change(id, EndpointChange::Delete).await;
    assert_eq!(listed(&on, query(side)).await.len(), 5);
    let delivery = DeliveryId { endpoint: id, sequence: 2 };
    assert_eq!(on.store.delivery(delivery).await.unwrap().unwrap().state, DeliveryState::Succeeded);
    assert!(matches!(on.store.resend(delivery, at(99), at(999)).await.unwrap(), Resent::Unknown));
}
