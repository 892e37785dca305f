//! Several reports about one recharge: what is kept of each, and what they make of it together.

use ringback::domain::event::Facts;
use ringback::domain::id::{EventId, RechargeId};
use ringback::domain::recharge::{Details, Recharge, Status, Verdict};
use ringback::store::{Accept, Addressed, KeptReport, Write, Written};

use crate::harness::{DAY, START, Side, Subject, accept, at, report};
use crate::ledger::details;

async fn history(on: &Subject, id: RechargeId) -> (Recharge, Vec<KeptReport>) {
    on.store.recharge(id).await.unwrap().expect("there is such a recharge")
}

fn said(side: Side, status: Status, details: Details) -> Addressed {
    let mut given = report(side, "INV-1", status);
    given.report.details = details;
    given
}

fn reference(text: &str) -> Details {
    Details { provider_ref: Some(text.to_owned()), ..Details::default() }
}

fn verdicts(history: &[KeptReport]) -> Vec<(Status, Verdict)> {
    history.iter().map(|kept| (kept.status, kept.verdict)).collect()
}

pub async fn two_reports_in_one_batch(on: Subject) {
    let side = on.side().await;
    let endpoint = on.connected(side).await;
    let reports = vec![report(side, "INV-1", Status::Queued), report(side, "INV-1", Status::Success)];
    let (judged, opened) = on.judged(START, reports).await;
    assert_eq!(judged.iter().map(|judged| judged.verdict).collect::<Vec<_>>(), [Verdict::Created, Verdict::Accepted]);
    assert_eq!(judged.iter().map(|judged| judged.event).collect::<Vec<_>>(), [None, Some(1)]);
    assert_eq!(judged[0].recharge, judged[1].recharge);
    assert_eq!(opened.iter().map(|run| (run.key.endpoint, run.key.sequence)).collect::<Vec<_>>(), [(endpoint, 1)]);
    let (recharge, kept) = history(&on, judged[0].recharge).await;
    assert_eq!((recharge.status, recharge.event, recharge.reports), (Status::Success, Some(1), 2));
    assert_eq!(verdicts(&kept), [(Status::Queued, Verdict::Created), (Status::Success, Verdict::Accepted)]);
}

pub async fn a_whole_history_in_one_batch(on: Subject) {
    use Status::{Failed, Queued, Success};
    use Verdict::{Accepted, Conflict, Created, Duplicate};
    let side = on.side().await;
    let claims = [Queued, Queued, Failed, Failed, Success, Queued, Success];
    let writes = claims.map(|status| accept(START, vec![report(side, "INV-1", status)])).into();
    let (mut got, mut id) = (Vec::new(), None);
    for written in on.commit(writes).await {
        let Written::Accepted(judged, _) = written else { panic!("{written:?}") };
        got.push((judged[0].verdict, judged[0].event));
        id = Some(judged[0].recharge);
    }
    let conflict = (Conflict, None);
    let told = (Duplicate, Some(1));
    assert_eq!(got, [(Created, None), (Duplicate, None), (Accepted, Some(1)), told, conflict, told, conflict]);
    let (recharge, kept) = history(&on, id.unwrap()).await;
    assert_eq!((recharge.status, recharge.reports), (Failed, 7));
    assert_eq!(verdicts(&kept).into_iter().unzip::<_, _, Vec<_>, Vec<_>>().0, claims);
    assert_eq!(on.store.events_after(side.stream, None, 10).await.unwrap().latest, 1);
}

pub async fn the_history_keeps_every_report_in_order(on: Subject) {
    let side = on.side().await;
    let claims = [(Status::Queued, "api"), (Status::Success, "callback"), (Status::Failed, "enquiry"), (Status::Success, "api")];
    let mut id = None;
    for (number, (status, source)) in claims.into_iter().enumerate() {
        let now = at(number as i64);
        let mut given = said(side, status, Details { reason: Some(format!("R{number}")), ..reference(&format!("P{number}")) });
        given.report.occurred_at = Some(at(number as i64 - 100));
        let write = Write::Accept(Accept { source, now, deadline: DAY, reports: vec![given] });
        let Some(Written::Accepted(judged, _)) = on.commit(vec![write]).await.pop() else { panic!("not the answer to a report") };
        id = Some(judged[0].recharge);
    }
    let kept = history(&on, id.unwrap()).await.1;
    let verdicts = [Verdict::Created, Verdict::Accepted, Verdict::Conflict, Verdict::Duplicate];
    for (number, (status, source)) in claims.into_iter().enumerate() {
        let expected = KeptReport {
            source: source.to_owned(),
            status,
            verdict: verdicts[number],
            provider_ref: Some(format!("P{number}")),
            reason: Some(format!("R{number}")),
            occurred_at: Some(at(number as i64 - 100)),
            received_at: at(number as i64),
        };
        assert_eq!(kept[number], expected);
    }
    assert_eq!(kept.len(), 4);
}

pub async fn the_first_report_stands_as_it_was(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, report(side, "INV-1", Status::Queued)).await.recharge;
    let alone = history(&on, id).await.1;
    assert_eq!(verdicts(&alone), [(Status::Queued, Verdict::Created)]);
    on.judge(at(1), said(side, Status::Success, reference("P-2"))).await;
    let kept = history(&on, id).await.1;
    assert_eq!(kept[0], alone[0], "what the second report filled is not said to have come with the first");
    assert_eq!((kept[0].provider_ref.as_deref(), kept[1].provider_ref.as_deref()), (None, Some("P-2")));
}

pub async fn null_fields_are_filled_once(on: Subject) {
    let side = on.side().await;
    let id = on.judge(START, said(side, Status::Queued, reference("P-1"))).await.recharge;
    let mut other = details();
    (other.provider_ref, other.network) = (Some("P-2".to_owned()), None);
    assert_eq!(on.judge(at(1), said(side, Status::Queued, other)).await.verdict, Verdict::Duplicate);
    let late = Details { network: Some("NCELL".to_owned()), reason: Some("late".to_owned()), ..reference("P-3") };
    assert_eq!(on.judge(at(2), said(side, Status::Success, late)).await.verdict, Verdict::Accepted);
    let expected = Details { network: Some("NCELL".to_owned()), ..details() };
    assert_eq!(history(&on, id).await.0.details, expected);
}

pub async fn a_conflict_fills_nothing(on: Subject) {
    let side = on.side().await;
    let known = Details { provider: None, provider_ref: None, ..details() };
    let id = on.judge(START, said(side, Status::Queued, known.clone())).await.recharge;
    let others = [
        Details { amount: Some(5001), ..details() },
        Details { currency: Some("INR".parse().unwrap()), ..details() },
        Details { connection_no: Some("9800000000".to_owned()), ..details() },
    ];
    for other in others {
        let judged = on.judge(at(1), said(side, Status::Success, other)).await;
        assert_eq!((judged.verdict, judged.status, judged.event), (Verdict::Conflict, Status::Queued, None));
    }
    let recharge = history(&on, id).await.0;
    assert_eq!((recharge.details, recharge.status, recharge.reports), (known, Status::Queued, 4));
}

pub async fn what_is_filled_later_does_not_change_the_event(on: Subject) {
    let side = on.side().await;
    let judged = on.judge(START, report(side, "INV-1", Status::Success)).await;
    assert_eq!(on.judge(at(1), said(side, Status::Success, details())).await.verdict, Verdict::Duplicate);
    assert_eq!(history(&on, judged.recharge).await.0.details, details());
    let event = on.store.event(EventId { stream: side.stream, sequence: 1 }).await.unwrap().unwrap();
    let Facts::Recharge(facts) = event.facts else { panic!("{event:?}") };
    assert_eq!((facts.amount, facts.provider_ref, facts.connection_no, facts.settled_at), (None, None, None, START));
}
