//! Contradictions: cases opened, listed and resolved; and recharges that a person settles.

use ringback::domain::conflict::{CaseState, Conflict, ResolveError};
use ringback::domain::event::Facts;
use ringback::domain::id::{ConflictId, EventId, RechargeId};
use ringback::domain::recharge::{Details, Recharge, Report, Status, Verdict};
use ringback::domain::time::Timestamp;
use ringback::store::{Addressed, Command, ConflictQuery, KeptReport, Page, Reply, SettledRecharge, TimeRange};

use crate::commands::Deeds;
use crate::harness::{DAY, START, Side, Subject, at, eight, first, just_before, report};
use crate::ledger::details;

type Resolved = Option<Result<Box<(Conflict, Recharge)>, ResolveError>>;

fn query() -> ConflictQuery {
    ConflictQuery { state: None, recharge: None, range: TimeRange::default(), page: first(100) }
}

async fn listed(on: &Subject, query: ConflictQuery) -> Vec<Conflict> {
    let listed = on.store.conflicts(query).await.unwrap();
    assert_eq!(listed.next, None);
    listed.items
}

async fn of(on: &Subject, recharge: RechargeId) -> Vec<Conflict> {
    listed(on, ConflictQuery { recharge: Some(recharge), ..query() }).await
}

async fn resolve_at(on: &Subject, id: ConflictId, to: CaseState, now: Timestamp) -> Resolved {
    let (reason, by) = ("the provider's statement says so".to_owned(), "operator tok_1".to_owned());
    match on.store.command(Command::Resolve { id, to, reason, by, deadline: DAY }, now).await.unwrap() {
        Reply::Resolved(resolved) => resolved,
        other => panic!("not a resolution: {other:?}"),
    }
}

/// Resolves a recharge's case about its status, the latest one.
pub async fn resolve(on: &Subject, recharge: RechargeId, to: CaseState) {
    let case = of(on, recharge).await.into_iter().find(|case| case.field == "status").expect("there is a case");
    resolve_at(on, case.id, to, at(60)).await.expect("there is such a case").expect("it can be resolved so");
}

async fn settle(on: &Subject, id: RechargeId, status: Status, now: Timestamp) -> SettledRecharge {
    let details = Details { reason: Some("nobody else will".to_owned()), ..Details::default() };
    let report = Report { reference_no: String::new(), status, details, occurred_at: None };
    match on.store.command(Command::SettleRecharge { id, report: Box::new(report), deadline: DAY }, now).await.unwrap() {
        Reply::Settled(settled) => settled,
        other => panic!("not whether it was settled: {other:?}"),
    }
}

pub async fn settle_by_person(on: &Subject, id: RechargeId, status: Status) {
    assert!(matches!(settle(on, id, status, at(60)).await, SettledRecharge::Yes(_)));
}

async fn recharge(on: &Subject, id: RechargeId) -> (Recharge, Vec<KeptReport>) {
    on.store.recharge(id).await.unwrap().expect("there is such a recharge")
}

async fn latest(on: &Subject, side: Side) -> i64 {
    on.store.events_after(side.stream, None, 0).await.unwrap().latest
}

/// A recharge in this status that the other outcome was reported of, and the case.
async fn contradicted(on: &Subject, side: Side, status: Status) -> (RechargeId, Conflict) {
    let other = if status == Status::Success { Status::Failed } else { Status::Success };
    let reference = format!("INV-{}", on.ids.next(START).get());
    let id = on.judge(START, report(side, &reference, status)).await.recharge;
    assert_eq!(on.judge(at(5), report(side, &reference, other)).await.verdict, Verdict::Conflict);
    (id, of(on, id).await.remove(0))
}

// --- Cases -----------------------------------------------------------------------------------------------------------

pub async fn a_contradiction_opens_a_case(on: Subject) {
    let side = on.side().await;
    let (id, case) = contradicted(&on, side, Status::Success).await;
    let expected = Conflict {
        id: case.id,
        recharge: id,
        status: Some(Status::Success),
        claimed: Status::Failed,
        field: "status".to_owned(),
        ours: "success".to_owned(),
        theirs: "failed".to_owned(),
        source: "api".to_owned(),
        received_at: at(5),
        state: CaseState::Open,
        reason: None,
        resolved_by: None,
        resolved_at: None,
    };
    assert_eq!(case, expected);
    assert_eq!(on.store.conflict(case.id).await.unwrap(), Some(expected));
    assert_eq!((recharge(&on, id).await.0.status, latest(&on, side).await), (Status::Success, 1), "it moves nothing");
}

pub async fn no_conflict(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, report(side, "INV-1", Status::Success)).await.recharge;
    assert_eq!(on.store.conflict(ConflictId::new(1)).await.unwrap(), None);
    assert!(listed(&on, query()).await.is_empty() && of(&on, id).await.is_empty());
    assert_eq!(resolve_at(&on, ConflictId::new(1), CaseState::Dismissed, START).await, None);
}

fn said(side: Side, status: Status, amount: i64, connection_no: &str) -> Addressed {
    let mut given = report(side, "INV-1", status);
    given.report.details = Details { amount: Some(amount), connection_no: Some(connection_no.to_owned()), ..details() };
    given
}

pub async fn a_case_is_opened_once_for_each_claim_and_field(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, said(side, Status::Success, 5000, "98-1")).await.recharge;
    let claims = [
        (said(side, Status::Failed, 5000, "98-1"), 1),
        (said(side, Status::Failed, 5000, "98-1"), 1),
        (said(side, Status::Success, 6000, "98-1"), 2),
        (said(side, Status::Success, 7000, "98-1"), 2),
        (said(side, Status::Failed, 6000, "98-2"), 4),
        (said(side, Status::Queued, 5000, "98-2"), 5),
    ];
    for (second, (claim, count)) in (1..).zip(claims) {
        assert_eq!(on.judge(at(second), claim).await.verdict, Verdict::Conflict);
        assert_eq!(of(&on, id).await.len(), count, "after claim {second}");
    }
    let cases: Vec<_> = of(&on, id).await.into_iter().map(|case| (case.claimed, case.field, case.ours, case.theirs)).collect();
    assert!(cases.contains(&(Status::Success, "amount".to_owned(), "50.00".to_owned(), "60.00".to_owned())), "{cases:?}");
    assert!(cases.contains(&(Status::Queued, "connection_no".to_owned(), "98-1".to_owned(), "98-2".to_owned())), "{cases:?}");
}

pub async fn a_dismissed_case_is_not_opened_again(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, said(side, Status::Success, 5000, "98-1")).await.recharge;
    on.judge(at(1), said(side, Status::Failed, 5000, "98-1")).await;
    resolve(&on, id, CaseState::Dismissed).await;
    let before = of(&on, id).await;
    assert_eq!(on.judge(at(2), said(side, Status::Failed, 5000, "98-1")).await.verdict, Verdict::Conflict);
    assert_eq!(of(&on, id).await, before);
}

pub async fn eight_contradictions_open_one_case(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, report(side, "INV-1", Status::Success)).await.recharge;
    let judged = eight(|_| {
        let on = on.clone();
        async move { on.judge(at(1), report(side, "INV-1", Status::Failed)).await.verdict }
    })
    .await;
    assert_eq!(judged, [Verdict::Conflict; 8]);
    assert_eq!(of(&on, id).await.len(), 1);
}

// --- Lists -----------------------------------------------------------------------------------------------------------

pub async fn conflicts_are_listed_newest_first(on: Subject) {
    let side = on.side().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(contradicted(&on, side, Status::Success).await.1.id);
    }
    ids.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let part = on.store.conflicts(ConflictQuery { page: Page { before, limit: 2 }, ..query() }).await.unwrap();
        seen.extend(part.items.into_iter().map(|case| case.id));
        contradicted(&on, side, Status::Failed).await;
        before = part.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids, "those made while it was read come before its beginning");
}

pub async fn conflicts_are_chosen_by_what_they_are(on: Subject) {
    let side = on.side().await;
    let mut made = Vec::new();
    for (status, to) in [
        (Status::Success, None),
        (Status::Success, Some(CaseState::Reversed)),
        (Status::Failed, Some(CaseState::LateSuccess)),
        (Status::Failed, Some(CaseState::Dismissed)),
        (Status::Failed, None),
    ] {
        let (id, case) = contradicted(&on, side, status).await;
        if let Some(to) = to {
            resolve(&on, id, to).await;
        }
        made.push((id, case.id));
    }
    for (state, expected) in [
        (None, &[4, 3, 2, 1, 0][..]),
        (Some(CaseState::Open), &[4, 0]),
        (Some(CaseState::Reversed), &[1]),
        (Some(CaseState::LateSuccess), &[2]),
        (Some(CaseState::Dismissed), &[3]),
    ] {
        let found = listed(&on, ConflictQuery { state, ..query() }).await;
        let expected: Vec<_> = expected.iter().map(|at: &usize| made[*at].1).collect();
        assert_eq!(found.iter().map(|case| case.id).collect::<Vec<_>>(), expected, "{state:?}");
        assert!(found.iter().all(|case| state.is_none_or(|state| case.state == state)));
    }
    let (id, case) = made[1];
    let both = |state| ConflictQuery { state: Some(state), recharge: Some(id), ..query() };
    assert_eq!(listed(&on, both(CaseState::Reversed)).await[0].id, case);
    assert!(listed(&on, both(CaseState::Open)).await.is_empty());
}

pub async fn conflicts_are_chosen_by_their_time(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, said(side, Status::Success, 5000, "98-1")).await.recharge;
    for (second, claim) in [(1, Status::Queued), (2, Status::Success), (3, Status::Failed)] {
        on.judge(at(second), said(side, claim, 6000, "98-1")).await;
    }
    assert_eq!(of(&on, id).await.len(), 4, "the last contradicts the status too");
    for state in [None, Some(CaseState::Open)] {
        let between = async |since, until| {
            let found = listed(&on, ConflictQuery { state, range: TimeRange { since, until }, ..query() }).await;
            found.into_iter().map(|case| case.claimed).collect::<Vec<_>>()
        };
        assert_eq!(between(Some(at(1)), Some(at(2))).await, [Status::Queued], "since is inclusive, until is not");
        assert_eq!(between(Some(just_before(at(1))), Some(just_before(at(2)))).await, [Status::Queued]);
        assert_eq!(between(Some(at(2)), Some(at(3))).await, [Status::Success]);
        assert_eq!(between(Some(at(3)), None).await, [Status::Failed, Status::Failed]);
        assert!(between(Some(at(2)), Some(at(2))).await.is_empty());
    }
}

// --- Resolutions -----------------------------------------------------------------------------------------------------

pub async fn a_reversal_moves_the_recharge_and_tells_of_it(on: Subject) {
    let side = on.side().await;
    let endpoint = on.connected(side).await;
    let (id, case) = contradicted(&on, side, Status::Success).await;
    let (reason, by) = ("the provider took it back".to_owned(), "operator tok_1".to_owned());
    let command = Command::Resolve { id: case.id, to: CaseState::Reversed, reason: reason.clone(), by: by.clone(), deadline: DAY };
    let change = ringback::store::Change { command, now: at(60), note: None, keep: None };
    let (done, opened) = on.store.act(change).await.unwrap();
    let Reply::Resolved(Some(Ok(resolved))) = done else { panic!("{done:?}") };
    let (reason, resolved_by) = (Some(reason), Some(by));
    let status = Some(Status::Reversed);
    let expected = Conflict { status, state: CaseState::Reversed, reason: reason.clone(), resolved_by, resolved_at: Some(at(60)), ..case };
    assert_eq!(resolved.0, expected);
    assert_eq!(on.store.conflict(expected.id).await.unwrap(), Some(expected));
    let (moved, history) = recharge(&on, id).await;
    assert_eq!(resolved.1, moved);
    assert_eq!((moved.status, moved.late, moved.event, moved.reports), (Status::Reversed, false, Some(2), 3));
    assert_eq!((moved.settled_at, &moved.details.reason), (Some(START), &reason));
    let last = history.last().unwrap();
    assert_eq!(
        (last.source.as_str(), last.status, last.verdict, last.received_at),
        ("operator", Status::Reversed, Verdict::Accepted, at(60))
    );
    assert_eq!(opened.iter().map(|run| (run.key.endpoint, run.key.sequence)).collect::<Vec<_>>(), [(endpoint, 2)]);
    let event = on.store.event(EventId { stream: side.stream, sequence: 2 }).await.unwrap().unwrap();
    assert_eq!((&*event.event_type, event.created_at), ("recharge.reversed", at(60)));
    assert!(matches!(&event.facts, Facts::Recharge(facts) if **facts == moved.facts() && !facts.late));
}

pub async fn a_late_success_is_told_as_late(on: Subject) {
    let side = on.side().await;
    let (id, _) = contradicted(&on, side, Status::Failed).await;
    resolve(&on, id, CaseState::LateSuccess).await;
    let (moved, _) = recharge(&on, id).await;
    assert_eq!((moved.status, moved.late, moved.event, moved.details.reason), (Status::Success, true, Some(2), None));
    let event = on.store.event(EventId { stream: side.stream, sequence: 2 }).await.unwrap().unwrap();
    assert!(&*event.event_type == "recharge.success" && matches!(&event.facts, Facts::Recharge(facts) if facts.late));
    let reference = moved.reference_no;
    for status in [Status::Queued, Status::Success, Status::Failed] {
        let told = on.judge(at(90), report(side, &reference, status)).await;
        assert_eq!((told.verdict, told.event), (Verdict::Duplicate, Some(2)), "it has been {status:?}");
    }
}

pub async fn a_dismissal_moves_nothing(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    for status in [Status::Success, Status::Failed] {
        let (id, case) = contradicted(&on, side, status).await;
        let (before, events) = (recharge(&on, id).await, latest(&on, side).await);
        let resolved = resolve_at(&on, case.id, CaseState::Dismissed, at(60)).await.unwrap().unwrap();
        assert_eq!((resolved.0.state, &resolved.1), (CaseState::Dismissed, &before.0));
        assert_eq!((recharge(&on, id).await, latest(&on, side).await), (before, events));
    }
}

pub async fn a_resolution_that_does_not_fit_changes_nothing(on: Subject) {
    let side = on.side().await;
    let (id, case) = contradicted(&on, side, Status::Success).await;
    let amount = said(side, Status::Success, 5000, "98-1");
    on.judge(START, amount).await;
    on.judge(at(1), said(side, Status::Success, 6000, "98-1")).await;
    let about_money = listed(&on, query()).await.into_iter().find(|case| case.field == "amount").unwrap();
    let events = latest(&on, side).await;
    let before = recharge(&on, id).await;
    for (case, to) in [(&case, CaseState::LateSuccess), (&about_money, CaseState::Reversed), (&about_money, CaseState::LateSuccess)] {
        let resolved = resolve_at(&on, case.id, to, at(60)).await.unwrap();
        assert!(matches!(resolved, Err(ResolveError::NotAboutStatus | ResolveError::WrongStatus(_))), "{resolved:?}");
        assert_eq!(on.store.conflict(case.id).await.unwrap().as_ref(), Some(case));
    }
    resolve(&on, id, CaseState::Dismissed).await;
    let again = resolve_at(&on, case.id, CaseState::Reversed, at(61)).await;
    assert_eq!(again, Some(Err(ResolveError::Resolved)));
    assert_eq!((recharge(&on, id).await, latest(&on, side).await), (before, events));
    assert!(resolve_at(&on, about_money.id, CaseState::Dismissed, at(62)).await.unwrap().is_ok());
}

pub async fn eight_resolutions_resolve_once(on: Subject) {
    let side = on.side().await;
    let (id, case) = contradicted(&on, side, Status::Success).await;
    let results = eight(|number| {
        let (on, id, to) = (on.clone(), case.id, [CaseState::Reversed, CaseState::Dismissed][number % 2]);
        async move { resolve_at(&on, id, to, at(60)).await.unwrap().map(|resolved| resolved.0.state) }
    })
    .await;
    let winners: Vec<_> = results.iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|result| **result == Err(ResolveError::Resolved)).count(), 7);
    let moved = *winners[0] == CaseState::Reversed;
    assert_eq!((recharge(&on, id).await.0.status == Status::Reversed, latest(&on, side).await), (moved, 1 + i64::from(moved)));
}

// --- Settled by a person ---------------------------------------------------------------------------------------------

pub async fn a_person_settles_what_is_queued(on: Subject) {
    let side = on.side().await;
    let endpoint = on.connected(side).await;
    for (number, status) in (1..).zip([Status::Success, Status::Failed]) {
        let id = on.judge(START, report(side, &format!("INV-{number}"), Status::Queued)).await.recharge;
        let SettledRecharge::Yes(settled) = settle(&on, id, status, at(60)).await else { panic!("it was queued") };
        let (kept, history) = recharge(&on, id).await;
        assert_eq!(*settled, kept);
        assert_eq!((kept.status, kept.settled_at, kept.event, kept.reports), (status, Some(at(60)), Some(number), 2));
        assert_eq!(kept.details.reason.as_deref(), Some("nobody else will"));
        let said: Vec<_> = history.iter().map(|report| (report.source.as_str(), report.status, report.verdict)).collect();
        assert_eq!(said, [("api", Status::Queued, Verdict::Created), ("operator", status, Verdict::Accepted)]);
        let event = on.store.event(EventId { stream: side.stream, sequence: number }).await.unwrap().unwrap();
        assert_eq!(Some(&*event.event_type), status.event_type());
        let open =
            on.open_page(endpoint, ringback::store::OpenQuery::Fresh { after: number - 1 }, ringback::store::Portion::rows(10)).await.runs;
        assert_eq!((open.len(), open[0].deadline), (1, at(60).plus(DAY)));
    }
}

pub async fn what_is_settled_is_not_settled_by_a_person(on: Subject) {
    let side = on.side().await;
    for status in [Status::Success, Status::Failed] {
        let id = on.judge(START, report(side, status.as_str(), status)).await.recharge;
        let before = (recharge(&on, id).await, latest(&on, side).await);
        for to in [Status::Success, Status::Failed] {
            let settled = settle(&on, id, to, at(60)).await;
            assert!(matches!(settled, SettledRecharge::NotQueued(is) if is == status), "{settled:?}");
        }
        assert_eq!((recharge(&on, id).await, latest(&on, side).await), before);
    }
    assert!(matches!(settle(&on, RechargeId::new(1), Status::Success, START).await, SettledRecharge::Unknown));
}

pub async fn eight_people_settle_it_once(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, report(side, "INV-1", Status::Queued)).await.recharge;
    let results = eight(|number| {
        let (on, status) = (on.clone(), [Status::Success, Status::Failed][number % 2]);
        async move { matches!(settle(&on, id, status, at(60)).await, SettledRecharge::Yes(_)) }
    })
    .await;
    assert_eq!(results.iter().filter(|settled| **settled).count(), 1);
    assert_eq!((recharge(&on, id).await.0.reports, latest(&on, side).await), (2, 1));
}
