//! Which endpoints fail, who is warned, what a rule disables, and what is tried again.

use ringback::domain::attempt::OutcomeKind;
use ringback::domain::delivery::{DeliveryState, EndReason};
use ringback::domain::endpoint::{Endpoint, EndpointStatus};
use ringback::domain::event::Facts;
use ringback::domain::id::{EndpointId, EventId};
use ringback::domain::time::Timestamp;
use ringback::store::{Change, Command, EndpointChange, Failing, NextStep, OpenRun, RecordOutcome, Reply, Settled, VendorChange};

use crate::commands::Deeds;
use crate::harness::{ANY, DAY, START, Side, Subject, at, attempted, eight, ended, failed, just_before, succeeded};

async fn failing(on: &Subject) -> Vec<Failing> {
    on.store.failing(at(1_000_000), None, 100).await.unwrap()
}

async fn since(on: &Subject, id: EndpointId) -> Option<Timestamp> {
    let listed = failing(on).await.into_iter().find(|failing| failing.endpoint == id).map(|failing| failing.since);
    let endpoint = on.store.endpoint(id).await.unwrap().expect("there is such an endpoint");
    assert_eq!(listed, endpoint.failing_since, "the endpoint says the same");
    listed
}

/// A failed attempt of a new event's run.
async fn fails(on: &Subject, side: Side, id: EndpointId, now: Timestamp) -> OpenRun {
    let run = on.event(side, "invoice.paid", now).await.into_iter().find(|run| run.key.endpoint == id).expect("it listens");
    on.record(failed(&run, 1, now, now.plus(DAY))).await;
    run
}

async fn warn(on: &Subject, id: EndpointId, now: Timestamp) -> bool {
    on.store.command(Command::Warn(id, DAY), now).await.unwrap().took_effect()
}

/// Titles of the alerts that wait, in the order in which they were made.
async fn alerts(on: &Subject) -> Vec<String> {
    let mailings = on.store.mailings(at(1_000_000), at(1_000_000), 100).await.unwrap();
    // Without the cause, which stands in brackets.
    let titles = mailings.into_iter().flat_map(|mailing| mailing.alerts).map(|alert| alert.title);
    titles.map(|title| title.split_once(" (").map_or(title.clone(), |(before, _)| before.to_owned())).collect()
}

const FAILS: &str = "Himal Mobile: webhook endpoint vendor.example is failing";
const DISABLED: &str = "Himal Mobile: webhook endpoint vendor.example is disabled";
const RECOVERED: &str = "Himal Mobile: webhook endpoint vendor.example works again";

// --- From the first failure to the next success ----------------------------------------------------------------------

pub async fn an_endpoint_fails_from_its_first_failure_to_its_next_success(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 4).await;
    assert_eq!(since(&on, id).await, None);
    for (number, kind) in (10..).zip(OutcomeKind::ALL.into_iter().filter(|kind| *kind != OutcomeKind::Succeeded)) {
        let again = NextStep::Retry { at: at(99), failed_since: at(10) };
        on.record(attempted(&runs[0], number, kind, at(i64::from(number)), again)).await;
        assert_eq!(since(&on, id).await, Some(at(10)), "{kind:?}");
    }
    on.record(failed(&runs[1], 1, at(20), at(99))).await;
    assert_eq!(since(&on, id).await, Some(at(10)));
    on.record(succeeded(&runs[2], 1, at(30))).await;
    assert_eq!(since(&on, id).await, None, "whichever run succeeds");
    on.record(failed(&runs[0], 20, at(40), at(99))).await;
    assert_eq!(since(&on, id).await, None, "a run that fails while later ones succeed says nothing about its endpoint");
    on.record(failed(&runs[3], 1, at(41), at(99))).await;
    on.record(failed(&runs[0], 21, at(42), at(99))).await;
    assert_eq!(since(&on, id).await, Some(at(41)), "another one does");
    on.record(succeeded(&runs[1], 2, at(50))).await;
    assert_eq!(since(&on, id).await, None);
}

pub async fn a_batch_of_failures_and_successes_is_learned_in_order(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 4).await;
    let write = ringback::store::Write::RecordOutcome;
    on.commit(vec![
        write(failed(&runs[0], 1, at(10), at(99))),
        write(succeeded(&runs[1], 1, at(11))),
        write(failed(&runs[2], 1, at(12), at(99))),
        write(failed(&runs[3], 1, at(13), at(99))),
    ])
    .await;
    assert_eq!(since(&on, id).await, Some(at(12)));
}

pub async fn eight_failures_begin_once(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let runs = on.runs(side, 8).await;
    eight(|number| {
        let (on, run) = (on.clone(), runs[number].clone());
        async move { on.record(failed(&run, 1, at(10), at(99))).await }
    })
    .await;
    assert_eq!(failing(&on).await, [Failing { endpoint: id, since: at(10), exhausted: false, warned: false }]);
}

/// A success is a fact, even of a run that has been cancelled meanwhile.
pub async fn a_late_success_is_a_success(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = fails(&on, side, id, at(10)).await;
    on.store.command(Command::Cancel(run.key.delivery()), at(20)).await.unwrap();
    assert_eq!(on.settle(failed(&run, 2, at(21), at(99))).await, Settled::Late);
    assert_eq!(since(&on, id).await, Some(at(10)));
    assert_eq!(on.settle(succeeded(&run, 3, at(22))).await, Settled::Late);
    assert_eq!(since(&on, id).await, None);
    on.record(failed(&fails(&on, side, id, at(30)).await, 2, at(31), at(99))).await;
    assert_eq!(on.settle(succeeded(&run, 3, at(22))).await, Settled::Late);
    assert_eq!(since(&on, id).await, Some(at(30)), "an outcome that is told twice says nothing new");
}

pub async fn failing_endpoints_are_found_by_how_long(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    fails(&on, side, id, at(10)).await;
    let found = async |since| on.store.failing(since, None, 10).await.unwrap().len();
    assert_eq!((found(just_before(at(10))).await, found(at(10)).await, found(at(11)).await), (0, 1, 1));
}

pub async fn failing_endpoints_come_in_order(on: Subject) {
    let (one, other) = (on.side().await, on.side().await);
    let ids = [on.connected(other).await, on.connected(one).await, on.connected(other).await];
    assert!(failing(&on).await.is_empty());
    for (side, id) in [(one, ids[1]), (other, ids[2]), (other, ids[0])] {
        fails(&on, side, id, START).await;
    }
    let found = async |after, limit| {
        let found = on.store.failing(at(99), after, limit).await.unwrap();
        found.into_iter().map(|failing| failing.endpoint).collect::<Vec<_>>()
    };
    assert_eq!(found(None, 10).await, ids);
    assert_eq!(found(None, 2).await, ids[..2]);
    assert_eq!(found(Some(ids[1]), 10).await, ids[2..]);
    assert!(found(Some(ids[2]), 10).await.is_empty());
}

pub async fn only_those_that_get_attempts_are_failing(on: Subject) {
    for (to, listed) in [
        (EndpointStatus::Connected, true),
        (EndpointStatus::Paused, false),
        (EndpointStatus::Disabled, false),
        (EndpointStatus::NotConnected, false),
    ] {
        let side = on.side().await;
        let id = on.connected(side).await;
        let run = fails(&on, side, id, START).await;
        if to != EndpointStatus::Connected {
            on.turn(id, to).await;
        }
        // An attempt that was under way may come back after the change.
        on.settle(failed(&run, 2, at(5), at(99))).await;
        assert_eq!(failing(&on).await.iter().any(|failing| failing.endpoint == id), listed, "{to:?}");
    }
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = fails(&on, side, id, START).await;
    on.change(id, EndpointChange::Delete).await;
    on.settle(failed(&run, 2, at(5), at(99))).await;
    assert!(failing(&on).await.iter().all(|failing| failing.endpoint != id), "a deleted one");
}

pub async fn a_new_beginning_forgets_the_failures(on: Subject) {
    let reconnect = EndpointChange::Status { from: ANY, to: EndpointStatus::Connected, reason: None, by_rule: false, failing_since: None };
    for changes in [vec![reconnect], vec![EndpointChange::Pause { until: at(600) }, EndpointChange::Resume]] {
        let side = on.side().await;
        let id = on.connected(side).await;
        let run = fails(&on, side, id, at(10)).await;
        for change in changes {
            on.store.change_endpoint(id, change, at(20)).await.unwrap().expect("it can be changed");
        }
        assert_eq!(since(&on, id).await, None);
        on.record(failed(&run, 2, at(30), at(99))).await;
        assert_eq!(since(&on, id).await, Some(at(30)), "and it counts anew");
    }
}

pub async fn a_vendor_that_was_stopped_begins_anew(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = fails(&on, side, id, at(10)).await;
    let disabled = |disabled| VendorChange { disabled, ..VendorChange::default() };
    for (change, expected) in [(None, Some(at(10))), (Some(false), Some(at(10)))] {
        on.store.update_vendor(side.vendor, disabled(change)).await.unwrap();
        assert_eq!(since(&on, id).await, expected, "it was neither stopped nor started");
    }
    on.store.update_vendor(side.vendor, disabled(Some(true))).await.unwrap();
    assert!(failing(&on).await.is_empty(), "what waits does not fail");
    on.store.update_vendor(side.vendor, disabled(Some(false))).await.unwrap();
    assert_eq!(since(&on, id).await, None);
    on.record(failed(&run, 2, at(30), at(99))).await;
    assert_eq!(since(&on, id).await, Some(at(30)));
}

// --- Exhausted -------------------------------------------------------------------------------------------------------

/// Whether this end counts against the endpoint.
async fn counts(on: &Subject, end: impl Fn(&OpenRun) -> RecordOutcome) -> bool {
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = fails(on, side, id, at(10)).await;
    on.settle(end(&run)).await;
    let found = failing(on).await.into_iter().find(|failing| failing.endpoint == id).expect("it fails");
    found.exhausted
}

pub async fn only_its_own_ends_exhaust_an_endpoint(on: Subject) {
    let last = |run: &OpenRun| attempted(run, 2, OutcomeKind::TimedOut, at(20), NextStep::Ended(DeliveryState::Exhausted, None));
    assert!(counts(&on, last).await, "its last attempt failed");
    for reason in EndReason::ALL {
        let its_own = reason == EndReason::Held;
        let end = |run: &OpenRun| ended(run, DeliveryState::Exhausted, Some(reason), at(20));
        assert_eq!(counts(&on, end).await, its_own, "{reason:?}");
    }
    for reason in [EndReason::Requested, EndReason::Deleted] {
        let end = |run: &OpenRun| ended(run, DeliveryState::Cancelled, Some(reason), at(20));
        assert!(!counts(&on, end).await, "{reason:?}");
    }
}

pub async fn what_was_exhausted_before_a_success_does_not_count(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let (first, second) = (fails(&on, side, id, at(10)).await, fails(&on, side, id, at(11)).await);
    on.record(ended(&first, DeliveryState::Exhausted, Some(EndReason::Held), at(20))).await;
    assert!(failing(&on).await[0].exhausted);
    on.record(succeeded(&second, 2, at(30))).await;
    fails(&on, side, id, at(40)).await;
    assert_eq!(failing(&on).await, [Failing { endpoint: id, since: at(40), exhausted: false, warned: false }]);
}

/// An end without a failure says nothing about an endpoint that answers.
pub async fn a_healthy_endpoint_is_not_exhausted(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let run = on.runs(side, 1).await.remove(0);
    on.record(ended(&run, DeliveryState::Exhausted, Some(EndReason::Blocked), at(20))).await;
    assert!(failing(&on).await.is_empty());
}

// --- Warnings --------------------------------------------------------------------------------------------------------

pub async fn a_warning_is_given_once_until_the_next_success(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    assert!(!warn(&on, id, at(5)).await, "it works");
    let run = fails(&on, side, id, at(10)).await;
    assert!(warn(&on, id, at(20)).await && !warn(&on, id, at(21)).await);
    assert_eq!((alerts(&on).await, failing(&on).await[0].warned), (vec![FAILS.to_owned()], true));
    on.record(succeeded(&run, 2, at(30))).await;
    assert_eq!(alerts(&on).await, [FAILS, RECOVERED]);
    assert!(!warn(&on, id, at(31)).await);
    fails(&on, side, id, at(40)).await;
    assert!(!failing(&on).await[0].warned);
    assert!(warn(&on, id, at(41)).await);
    assert_eq!(alerts(&on).await, [FAILS, RECOVERED, FAILS]);
}

pub async fn eight_warnings_warn_once(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    fails(&on, side, id, at(10)).await;
    let results = eight(|_| {
        let on = on.clone();
        async move { warn(&on, id, at(20)).await }
    })
    .await;
    assert_eq!(results.iter().filter(|warned| **warned).count(), 1);
    assert_eq!(alerts(&on).await, [FAILS]);
}

pub async fn who_was_not_warned_is_not_told_that_it_works_again(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = fails(&on, side, id, at(10)).await;
    on.record(succeeded(&run, 2, at(30))).await;
    assert!(alerts(&on).await.is_empty());
}

// --- Disabled by a rule ----------------------------------------------------------------------------------------------

async fn disable(on: &Subject, id: EndpointId, by_rule: bool, failing_since: Option<Timestamp>) -> (Option<Endpoint>, Vec<OpenRun>) {
    const LISTENING: &[EndpointStatus] = &[EndpointStatus::Connected, EndpointStatus::Paused];
    let (to, reason) = (EndpointStatus::Disabled, Some("it answered 410 Gone".to_owned()));
    let change = EndpointChange::Status { from: LISTENING, to, reason, by_rule, failing_since };
    let command = Command::ChangeEndpoint { id, change, deadline: DAY };
    match on.store.act(Change { command, now: at(100), note: None, keep: None }).await.unwrap() {
        (Reply::Endpoint(endpoint), opened) => (endpoint.map(|endpoint| *endpoint), opened),
        other => panic!("not an endpoint: {other:?}"),
    }
}

pub async fn a_rule_disables_only_what_still_fails_since_then(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let run = fails(&on, side, id, at(10)).await;
    let first = since(&on, id).await;
    on.record(succeeded(&run, 2, at(20))).await;
    assert_eq!(disable(&on, id, true, first).await.0, None, "it has recovered");
    fails(&on, side, id, at(30)).await;
    assert_eq!(disable(&on, id, true, first).await.0, None, "it has recovered in between");
    assert!(alerts(&on).await.is_empty());
    let second = since(&on, id).await;
    let disabled = disable(&on, id, true, second).await.0.expect("it fails since then");
    assert_eq!((disabled.status, disabled.by_rule, disabled.probed_at), (EndpointStatus::Disabled, true, Some(at(100))));
    assert_eq!(disabled.status_reason.as_deref(), Some("it answered 410 Gone"));
    assert_eq!(on.store.endpoint(id).await.unwrap(), Some(disabled));
    assert_eq!(disable(&on, id, true, second).await.0, None, "it is disabled");
}

pub async fn what_a_rule_disables_is_told_to_the_vendors_other_endpoints(on: Subject) {
    let side = on.side().await;
    let (id, other, narrow) = (on.connected(side).await, on.connected(side).await, on.connected(side).await);
    let deaf = on.endpoint(side, EndpointStatus::NotConnected).await;
    on.connected(on.side().await).await;
    on.refilter(narrow, &["recharge.failed"]).await;
    let (disabled, opened) = disable(&on, id, true, None).await;
    assert!(disabled.is_some());
    let told: Vec<_> = opened.iter().map(|run| (run.key.endpoint, run.key.sequence, run.deadline)).collect();
    assert_eq!(told, [(other, 1, at(100).plus(DAY)), (narrow, 1, at(100).plus(DAY))], "whatever their filter");
    let event = on.store.event(EventId { stream: side.stream, sequence: 1 }).await.unwrap().unwrap();
    let Facts::Given(data) = &event.facts else { panic!("{event:?}") };
    assert_eq!(&*event.event_type, "endpoint.disabled");
    assert!(data.get().contains(&id.to_string()) && data.get().contains("410 Gone"), "{data}");
    assert_eq!(alerts(&on).await, [DISABLED]);
    for endpoint in [id, deaf] {
        assert_eq!(on.store.open_size(endpoint).await.unwrap().open, 0);
    }
    assert_eq!(on.event(side, "recharge.failed", at(101)).await.len(), 2, "numbers go on, and it hears nothing more");
    assert_eq!(on.store.events_after(side.stream, None, 0).await.unwrap().latest, 2);
}

pub async fn what_a_person_disables_is_told_nobody(on: Subject) {
    let side = on.side().await;
    let (id, _) = (on.connected(side).await, on.connected(side).await);
    let (disabled, opened) = disable(&on, id, false, None).await;
    let disabled = disabled.unwrap();
    assert_eq!((disabled.by_rule, disabled.probed_at, opened.len()), (false, None, 0));
    assert!(alerts(&on).await.is_empty());
    assert_eq!(on.store.events_after(side.stream, None, 0).await.unwrap().latest, 0);
}

pub async fn eight_rules_disable_once(on: Subject) {
    let side = on.side().await;
    let (id, _) = (on.connected(side).await, on.connected(side).await);
    let results = eight(|_| {
        let on = on.clone();
        async move { disable(&on, id, true, None).await }
    })
    .await;
    assert_eq!(results.iter().filter(|(endpoint, _)| endpoint.is_some()).count(), 1);
    assert_eq!((alerts(&on).await.len(), on.store.open_count().await.unwrap()), (1, 1));
}

pub async fn who_comes_back_by_itself_is_told_so(on: Subject) {
    let side = on.side().await;
    for (by_rule, told) in [(false, 1), (true, 2)] {
        let id = on.connected(side).await;
        let before = alerts(&on).await.len();
        disable(&on, id, true, None).await;
        let to = EndpointStatus::Connected;
        let change = EndpointChange::Status { from: ANY, to, reason: None, by_rule, failing_since: None };
        let back = on.store.change_endpoint(id, change, at(200)).await.unwrap().unwrap();
        assert_eq!((back.status, back.by_rule, back.status_reason), (to, by_rule, None));
        assert_eq!(alerts(&on).await.len(), before + told, "by a rule: {by_rule}");
    }
}

// --- Tried again -----------------------------------------------------------------------------------------------------

async fn to_probe(on: &Subject, before: Timestamp) -> Vec<EndpointId> {
    on.store.to_probe(before, None, 100).await.unwrap()
}

pub async fn what_a_rule_disabled_is_tried_again(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    assert!(to_probe(&on, at(1_000_000)).await.is_empty());
    disable(&on, id, true, None).await;
    assert!(to_probe(&on, just_before(at(100))).await.is_empty(), "it counts from the disabling");
    assert_eq!(to_probe(&on, at(100)).await, [id]);
    assert!(on.store.command(Command::Probed(id), at(200)).await.unwrap().took_effect());
    assert_eq!(on.store.endpoint(id).await.unwrap().unwrap().probed_at, Some(at(200)));
    assert_eq!((to_probe(&on, just_before(at(200))).await, to_probe(&on, at(200)).await), (vec![], vec![id]));
    assert!(!on.store.command(Command::Probed(EndpointId::new(1)), at(200)).await.unwrap().took_effect());
    on.turn(id, EndpointStatus::Connected).await;
    assert!(to_probe(&on, at(1_000_000)).await.is_empty());
}

pub async fn what_a_person_disabled_is_left_alone(on: Subject) {
    let side = on.side().await;
    let (person, deleted, again) = (on.connected(side).await, on.connected(side).await, on.connected(side).await);
    disable(&on, person, false, None).await;
    disable(&on, deleted, true, None).await;
    on.change(deleted, EndpointChange::Delete).await;
    disable(&on, again, true, None).await;
    on.turn(again, EndpointStatus::Disabled).await;
    assert!(to_probe(&on, at(1_000_000)).await.is_empty(), "by a person, deleted, and by a person after the rule");
}

pub async fn a_stopped_vendors_endpoints_are_not_tried(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    disable(&on, id, true, None).await;
    for (disabled, expected) in [(true, vec![]), (false, vec![id])] {
        on.store.update_vendor(side.vendor, VendorChange { disabled: Some(disabled), ..VendorChange::default() }).await.unwrap();
        assert_eq!(to_probe(&on, at(100)).await, expected);
    }
}

pub async fn those_to_try_come_in_order(on: Subject) {
    let (one, other) = (on.side().await, on.side().await);
    let ids = [on.connected(other).await, on.connected(one).await, on.connected(other).await];
    for id in [ids[2], ids[0], ids[1]] {
        disable(&on, id, true, None).await;
    }
    assert_eq!(to_probe(&on, at(100)).await, ids);
    assert_eq!(on.store.to_probe(at(100), None, 2).await.unwrap(), ids[..2]);
    assert_eq!(on.store.to_probe(at(100), Some(ids[0]), 10).await.unwrap(), ids[1..]);
}
