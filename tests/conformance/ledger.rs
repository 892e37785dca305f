//! Reports that become recharges, and the lists of recharges.

use ringback::domain::event::Facts;
use ringback::domain::id::{EventId, RechargeId, StreamId};
use ringback::domain::recharge::{Details, Recharge, Status, Verdict};
use ringback::domain::time::Timestamp;
use ringback::domain::vendor::Mode;
use ringback::limits;
use ringback::store::{Judged, Page, RechargeQuery, StoreError, TimeRange, Write};

use crate::harness::{START, Side, Subject, accept, at, eight, first, just_before, publish, report};

fn query(side: Side) -> RechargeQuery {
    let (range, page) = (TimeRange::default(), first(100));
    RechargeQuery { stream: side.stream, status: None, reference_no: None, connection_no: None, network: None, range, page }
}

/// References in the order of a whole list.
async fn references(on: &Subject, query: RechargeQuery) -> Vec<String> {
    let listed = on.store.recharges(query).await.unwrap();
    assert_eq!(listed.next, None);
    listed.items.into_iter().map(|recharge| recharge.reference_no).collect()
}

async fn recharge(on: &Subject, id: RechargeId) -> Recharge {
    on.store.recharge(id).await.unwrap().expect("there is such a recharge").0
}

fn count(answers: &[Judged], verdict: Verdict) -> usize {
    answers.iter().filter(|judged| judged.verdict == verdict).count()
}

pub fn details() -> Details {
    Details {
        amount: Some(5000),
        currency: Some("NPR".parse().unwrap()),
        network: Some("NTC".to_owned()),
        connection_no: Some("9801234567".to_owned()),
        provider: Some("dishhome".to_owned()),
        provider_ref: Some("P-1".to_owned()),
        reason: Some("done".to_owned()),
    }
}

pub async fn an_empty_batch_is_nothing(on: Subject) {
    let (batch, written) = on.store.commit(Vec::new()).await;
    assert!(batch.is_empty() && written.unwrap().is_empty());
}

pub async fn a_queued_report_makes_no_event(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let (judged, opened) = on.judged(START, vec![report(side, "INV-1", Status::Queued)]).await;
    assert!(opened.is_empty());
    let id = judged[0].recharge;
    assert_eq!(judged, [Judged { recharge: id, status: Status::Queued, verdict: Verdict::Created, event: None }]);
    let recharge = recharge(&on, id).await;
    assert_eq!((recharge.status, recharge.settled_at, recharge.event, recharge.reports), (Status::Queued, None, None, 1));
    assert_eq!((recharge.created_at, recharge.stream, recharge.late), (START, side.stream, false));
    assert_eq!(on.store.events_after(side.stream, None, 10).await.unwrap().latest, 0);
}

pub async fn an_outcome_makes_its_event(on: Subject) {
    let side = on.side().await;
    let mut given = report(side, "INV-1", Status::Success);
    (given.report.details, given.report.occurred_at) = (details(), Some(at(-60)));
    let (batch, written) = on.store.commit(vec![accept(START, vec![given])]).await;
    assert!(matches!(&batch[..], [Write::Accept(accept)] if accept.reports.len() == 1), "the batch comes back");
    assert_eq!(written.unwrap().len(), 1);
    let kept = on.store.recharges(query(side)).await.unwrap().items.remove(0);
    assert_eq!((&kept.details, kept.occurred_at, kept.settled_at, kept.event), (&details(), Some(at(-60)), Some(START), Some(1)));
    assert_eq!(recharge(&on, kept.id).await, kept);
    let event = on.store.event(EventId { stream: side.stream, sequence: 1 }).await.unwrap().unwrap();
    assert_eq!((&*event.event_type, event.mode, event.created_at, event.numbered), ("recharge.success", Mode::Live, START, true));
    assert!(matches!(&event.facts, Facts::Recharge(facts) if **facts == kept.facts()), "{event:?}");
}

pub async fn the_same_reference_elsewhere_is_another_recharge(on: Subject) {
    let (vendor, other) = (on.vendor().await, on.side().await);
    let sides = [Side::of(&vendor, Mode::Live), Side::of(&vendor, Mode::Test), other];
    let reports = sides.map(|side| report(side, "INV-1", Status::Success)).to_vec();
    let (judged, _) = on.judged(START, reports).await;
    assert_eq!(count(&judged, Verdict::Created), 3);
    assert_eq!(judged.iter().filter_map(|judged| judged.event).collect::<Vec<_>>(), [1, 1, 1], "each stream counts by itself");
    for (side, judged) in sides.into_iter().zip(judged) {
        assert_eq!(references(&on, query(side)).await, ["INV-1"]);
        assert_eq!(recharge(&on, judged.recharge).await.stream, side.stream);
    }
}

pub async fn eight_of_the_same_report_create_once(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let answers = eight(|_| {
        let on = on.clone();
        async move { on.judged(START, vec![report(side, "INV-1", Status::Success)]).await }
    })
    .await;
    let opened: usize = answers.iter().map(|(_, opened)| opened.len()).sum();
    let judged: Vec<Judged> = answers.into_iter().flat_map(|(judged, _)| judged).collect();
    assert_eq!((count(&judged, Verdict::Created), count(&judged, Verdict::Duplicate), opened), (1, 7, 1));
    assert!(judged.iter().all(|one| one.recharge == judged[0].recharge && one.event == Some(1)), "{judged:?}");
    assert_eq!(on.store.events_after(side.stream, None, 10).await.unwrap().latest, 1);
    let (recharge, history) = on.store.recharge(judged[0].recharge).await.unwrap().unwrap();
    assert_eq!((recharge.reports, history.len()), (8, 8));
}

pub async fn eight_who_disagree_leave_one_outcome(on: Subject) {
    let side = on.side().await;
    let judged = eight(|number| {
        let (on, status) = (on.clone(), [Status::Success, Status::Failed][number % 2]);
        async move { on.judge(START, report(side, "INV-1", status)).await }
    })
    .await;
    let verdicts = [Verdict::Created, Verdict::Duplicate, Verdict::Conflict].map(|verdict| count(&judged, verdict));
    assert_eq!(verdicts, [1, 3, 4]);
    assert!(judged.iter().all(|one| one.status == judged[0].status), "the first outcome stands: {judged:?}");
    assert!(judged.iter().all(|one| (one.event == Some(1)) == (one.verdict != Verdict::Conflict)), "{judged:?}");
    assert_eq!(on.store.events_after(side.stream, None, 10).await.unwrap().events.len(), 1);
}

pub async fn transaction_ids_count_up(on: Subject) {
    let (one, other) = (on.side().await, on.side().await);
    let mut numbers = Vec::new();
    for round in 0..3 {
        let reports = [one, other, one].into_iter().enumerate();
        let reports = reports.map(|(at, side)| report(side, &format!("INV-{round}-{at}"), Status::Queued)).collect();
        for judged in on.judged(at(round), reports).await.0 {
            numbers.push(recharge(&on, judged.recharge).await.transaction_id);
        }
        on.judge(at(round), report(one, "INV-0-0", Status::Queued)).await;
    }
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert!(numbers.iter().all(|number| (1..1 << 53).contains(number)));
}

pub async fn a_refused_batch_leaves_nothing(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let nowhere = Side { stream: StreamId::new(1), ..side };
    let reports = vec![report(side, "INV-1", Status::Success), report(side, "INV-2", Status::Queued)];
    let writes = vec![accept(START, reports), Write::Publish(publish(nowhere, "invoice.paid", START))];
    let (batch, refused) = on.store.commit(writes).await;
    assert_eq!(batch.len(), 2, "the batch comes back");
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    assert!(references(&on, query(side)).await.is_empty());
    assert_eq!((on.store.events_after(side.stream, None, 10).await.unwrap().latest, on.store.open_count().await.unwrap()), (0, 0));
    let judged = on.judge(START, report(side, "INV-1", Status::Success)).await;
    assert_eq!((judged.verdict, judged.event), (Verdict::Created, Some(1)), "its number was not used up");
}

pub async fn no_recharge(on: Subject) {
    let side = on.side().await;
    assert!(on.store.recharge(RechargeId::new(1)).await.unwrap().is_none());
    assert!(references(&on, query(side)).await.is_empty());
    assert!(references(&on, RechargeQuery { reference_no: Some("INV-1".to_owned()), ..query(side) }).await.is_empty());
    assert!(references(&on, RechargeQuery { status: Some(Status::Queued), ..query(side) }).await.is_empty());
}

pub async fn recharges_are_listed_newest_first(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    for number in 0..5 {
        let reports = [side, other].map(|side| report(side, &format!("INV-{number}"), Status::Queued)).to_vec();
        on.judged(at(number), reports).await;
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let listed = on.store.recharges(RechargeQuery { page: Page { before, limit: 2 }, ..query(side) }).await.unwrap();
        assert!(listed.items.len() <= 2);
        seen.extend(listed.items.into_iter().map(|recharge| recharge.reference_no));
        on.judge(at(100), report(side, &format!("meanwhile {}", seen.len()), Status::Queued)).await;
        before = listed.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["INV-4", "INV-3", "INV-2", "INV-1", "INV-0"]);
}

pub async fn recharges_are_chosen_by_what_they_are(on: Subject) {
    let side = on.side().await;
    let mut reports = Vec::new();
    for (reference, status) in [("q1", Status::Queued), ("s1", Status::Success), ("f1", Status::Failed), ("q2", Status::Queued)] {
        let mut given = report(side, reference, status);
        given.report.details.connection_no = Some(format!("98-{}", &reference[1..]));
        reports.push(given);
    }
    on.judged(START, reports).await;
    let by_status = |status| RechargeQuery { status: Some(status), ..query(side) };
    let by_number = |number: &str| RechargeQuery { connection_no: Some(number.to_owned()), ..query(side) };
    let by_reference = |reference: &str| RechargeQuery { reference_no: Some(reference.to_owned()), ..query(side) };
    assert_eq!(references(&on, by_status(Status::Queued)).await, ["q2", "q1"]);
    assert_eq!(references(&on, by_status(Status::Success)).await, ["s1"]);
    assert!(references(&on, by_status(Status::Reversed)).await.is_empty());
    assert_eq!(references(&on, by_number("98-1")).await, ["f1", "s1", "q1"]);
    assert_eq!(references(&on, by_reference("s1")).await, ["s1"]);
    assert!(references(&on, RechargeQuery { status: Some(Status::Failed), ..by_reference("s1") }).await.is_empty());
    assert_eq!(references(&on, RechargeQuery { connection_no: Some("98-2".to_owned()), ..by_status(Status::Queued) }).await, ["q2"]);
    on.judge(at(1), report(side, "q1", Status::Success)).await;
    assert_eq!(references(&on, by_status(Status::Queued)).await, ["q2"]);
    assert_eq!(references(&on, by_status(Status::Success)).await, ["s1", "q1"]);
}

pub async fn recharges_are_chosen_by_their_time(on: Subject) {
    let side = on.side().await;
    for second in 0..4 {
        on.judge(at(second), report(side, &format!("INV-{second}"), Status::Queued)).await;
    }
    let between = |since: Option<Timestamp>, until: Option<Timestamp>| references_between(&on, side, TimeRange { since, until });
    assert_eq!(between(Some(at(1)), Some(at(3))).await, ["INV-2", "INV-1"], "since is inclusive, until is not");
    assert_eq!(between(Some(just_before(at(1))), Some(just_before(at(3)))).await, ["INV-2", "INV-1"]);
    assert_eq!(between(Some(at(3)), None).await, ["INV-3"]);
    assert_eq!(between(None, Some(at(1))).await, ["INV-0"]);
    assert!(between(Some(at(2)), Some(at(2))).await.is_empty());
    assert!(between(None, Some(Timestamp::from_millis(0))).await.is_empty());
    assert_eq!(between(Some(Timestamp::from_millis(0)), None).await.len(), 4);
}

/// A list looks at so many rows at a time; what lies behind them is found all the same.
pub async fn a_recharge_behind_very_many_is_found(on: Subject) {
    let side = on.side().await;
    on.judge(START, report(side, "failed", Status::Failed)).await;
    for part in 0..=limits::SCAN_MAX / limits::REPORTS_MAX {
        let reports = (0..limits::REPORTS_MAX).map(|number| report(side, &format!("INV-{part}-{number}"), Status::Queued));
        on.judged(at(1), reports.collect()).await;
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = Page { before, limit: 10 };
        let listed = on.store.recharges(RechargeQuery { status: Some(Status::Failed), page, ..query(side) }).await.unwrap();
        seen.extend(listed.items.into_iter().map(|recharge| recharge.reference_no));
        before = listed.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["failed"]);
}

async fn references_between(on: &Subject, side: Side, range: TimeRange) -> Vec<String> {
    let plain = references(on, RechargeQuery { range, ..query(side) }).await;
    let queued = references(on, RechargeQuery { range, status: Some(Status::Queued), ..query(side) }).await;
    assert_eq!(plain, queued, "both ways to the rows agree");
    for (at, found) in (0..4).map(|number| format!("INV-{number}")).map(|name| (name.clone(), plain.contains(&name))) {
        let one = references(on, RechargeQuery { range, reference_no: Some(at), ..query(side) }).await;
        assert_eq!(!one.is_empty(), found);
    }
    plain
}
