//! A person's data is removed, and secrets are sealed again.

use std::sync::Arc;

use ringback::domain::alert::Email;
use ringback::domain::event::Facts;
use ringback::domain::id::{EventId, StreamId};
use ringback::domain::recharge::{Details, Recharge, Status};
use ringback::domain::secret::Secret;
use ringback::domain::session::{Link, Purpose};
use ringback::domain::time::Timestamp;
use ringback::domain::token::{Scope, Token, TokenHash};
use ringback::domain::user::SecondFactor;
use ringback::domain::vendor::Mode;
use ringback::limits;
use ringback::store::{
    AnswerKey, CachedResponse, Callback, Change, Command, ConflictQuery, EndpointChange, HttpAnswer, KeptReport, Publish, SweepPlace,
    TimeRange, Write,
};
use serde_json::value::RawValue;

use crate::commands::Deeds;
use crate::endpoints::rich_settings;
use crate::harness::{START, Side, Subject, at, attempted, eight, first, publish, report, succeeded};
use crate::ledger::details;

const NUMBER: &str = "9801234567";

/// Removes what belongs to the number from a stream; how much that was.
async fn erase(on: &Subject, stream: StreamId) -> u64 {
    let (mut place, mut removed) = (Some(SweepPlace::default()), 0);
    while let Some(at) = place {
        let swept = on.store.erase(stream, NUMBER.to_owned(), at).await.unwrap();
        (place, removed) = (swept.next, removed + swept.removed);
    }
    removed
}

async fn topped_up(on: &Subject, side: Side, reference: &str, number: &str) -> (Recharge, Vec<KeptReport>) {
    let mut given = report(side, reference, Status::Success);
    given.report.details = Details { connection_no: Some(number.to_owned()), ..details() };
    let id = on.judge(START, given).await.recharge;
    on.store.recharge(id).await.unwrap().unwrap()
}

async fn given(on: &Subject, side: Side, data: &str) -> i64 {
    let data = RawValue::from_string(data.to_owned()).unwrap();
    on.publish(Publish { data, ..publish(side, "invoice.paid", START) }).await.0.sequence
}

async fn facts(on: &Subject, side: Side, sequence: i64) -> Facts {
    on.store.event(EventId { stream: side.stream, sequence }).await.unwrap().expect("it stays").facts
}

pub async fn nothing_of_that_person(on: Subject) {
    let side = on.side().await;
    assert_eq!(erase(&on, side.stream).await, 0);
    let (before, _) = topped_up(&on, side, "INV-1", "9800000000").await;
    assert_eq!(erase(&on, side.stream).await, 0);
    assert_eq!(on.store.recharge(before.id).await.unwrap().unwrap().0, before);
}

pub async fn a_persons_number_and_what_was_said_of_them_is_removed(on: Subject) {
    let (side, elsewhere) = (on.side().await, on.side().await);
    let (mine, _) = topped_up(&on, side, "INV-1", NUMBER).await;
    let (other, _) = topped_up(&on, side, "INV-2", "9800000000").await;
    let (theirs, _) = topped_up(&on, elsewhere, "INV-1", NUMBER).await;
    on.judge(at(5), report(side, "INV-1", Status::Success)).await;
    let data = format!(r#"{{"to": ["{NUMBER}", 1], "amount": 5}}"#);
    let (named, unnamed) = (given(&on, side, &data).await, given(&on, side, r#"{"to": "98012345678"}"#).await);
    assert!(erase(&on, side.stream).await > 0);
    let (recharge, reports) = on.store.recharge(mine.id).await.unwrap().unwrap();
    assert_eq!((recharge.details.connection_no.as_deref(), recharge.details.reason.as_deref()), (None, None));
    assert_eq!((&recharge.details.amount, recharge.status, reports.len()), (&mine.details.amount, Status::Success, 2));
    assert!(reports.iter().all(|report| report.reason.is_none()));
    assert_eq!(on.store.recharge(other.id).await.unwrap().unwrap().0, other);
    assert_eq!(on.store.recharge(theirs.id).await.unwrap().unwrap().0, theirs, "another vendor's is another person's contract");
    let Facts::Recharge(told) = facts(&on, side, 1).await else { panic!("not about a recharge") };
    assert_eq!((told.erased, told.connection_no, told.reason, told.reference_no.as_str()), (true, None, None, "INV-1"));
    let text = async |sequence| match facts(&on, side, sequence).await {
        Facts::Given(data) => data.get().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!((text(named).await.as_str(), text(unnamed).await.as_str()), (r#"{"erased":true}"#, r#"{"to": "98012345678"}"#));
    assert_eq!(on.store.events_after(side.stream, None, 10).await.unwrap().events.len(), 4, "numbers have no gap");
    assert_eq!(erase(&on, side.stream).await, 0, "and nothing of it is left");
}

pub async fn cases_and_answers_do_not_name_the_person(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    topped_up(&on, side, "INV-1", NUMBER).await;
    topped_up(&on, side, "INV-1", "9811111111").await;
    topped_up(&on, side, "INV-2", "9822222222").await;
    topped_up(&on, side, "INV-2", NUMBER).await;
    let run = on.open_page(
        on.store.endpoints(side.stream, first(1)).await.unwrap()[0].id,
        ringback::store::OpenQuery::Fresh { after: 0 },
        ringback::store::Portion::rows(10),
    );
    let run = run.await.runs.remove(0);
    let mut settle = attempted(
        &run,
        1,
        ringback::domain::attempt::OutcomeKind::Succeeded,
        at(1),
        ringback::store::NextStep::Ended(ringback::domain::delivery::DeliveryState::Succeeded, None),
    );
    let outcome = &mut settle.attempt.as_mut().unwrap().outcome;
    (outcome.answer_headers, outcome.answer_body) = (Some(format!("x-for: {NUMBER}")), Some(NUMBER.into()));
    on.record(settle).await;
    erase(&on, side.stream).await;
    let query = ConflictQuery { state: None, recharge: None, range: TimeRange::default(), page: first(10) };
    let cases = on.store.conflicts(query).await.unwrap().items;
    assert_eq!(cases.len(), 2);
    assert!(cases.iter().all(|case| case.ours != NUMBER && case.theirs != NUMBER), "{cases:?}");
    let outcome = &on.delivery(run.key).await.attempts[0].outcome;
    assert_eq!((&outcome.answer_headers, &outcome.answer_body), (&None, &None));
    assert_eq!(outcome.status, Some(204), "that it was delivered is known all the same");
}

/// Providers repeat a number in their references, and in callbacks about recharges that are not known.
pub async fn what_providers_said_does_not_name_the_person(on: Subject) {
    let (side, elsewhere) = (on.side().await, on.side().await);
    let mine =
        |provider_ref: &str| Details { connection_no: Some(NUMBER.to_owned()), provider_ref: Some(provider_ref.to_owned()), ..details() };
    let made = async |reference: &str, provider_ref: &str| {
        let mut given = report(side, reference, Status::Success);
        given.report.details = mine(provider_ref);
        on.judge(START, given).await.recharge
    };
    let (named, unnamed) = (made("INV-1", &format!("NTC{NUMBER}-7")).await, made("INV-2", "NTC-7").await);
    let other = topped_up(&on, elsewhere, "INV-1", "9800000000").await.0;
    for (recharge, body) in [
        (None, format!(r#"{{"note":"to {NUMBER}","{NUMBER}":{NUMBER}}}"#)),
        (None, format!(r#"{{"cut":"{NUMBER}"#)),
        (None, format!(r#"{{"longer":"1{NUMBER}0"}}"#)),
        (Some(named), format!(r#"["{NUMBER}"]"#)),
        (Some(other.id), format!(r#"["{NUMBER}"]"#)),
    ] {
        let callback = Callback { provider: "p".to_owned(), recharge, verdict: "unknown", body };
        on.store.command(Command::KeepCallback(Box::new(callback)), START).await.unwrap();
    }
    assert_eq!(erase(&on, side.stream).await, 2 + 2 + 3, "two recharges with an event each, and three callbacks");
    let provider_ref = async |id| {
        let (recharge, reports) = on.store.recharge(id).await.unwrap().unwrap();
        assert!(reports.iter().all(|report| report.provider_ref == recharge.details.provider_ref));
        recharge.details.provider_ref
    };
    assert_eq!((provider_ref(named).await, provider_ref(unnamed).await.as_deref()), (None, Some("NTC-7")));
    let Facts::Recharge(told) = facts(&on, side, 1).await else { panic!("not about a recharge") };
    assert_eq!(told.provider_ref, None);
    assert_eq!(erase(&on, side.stream).await, 0, "nothing of it is left");
    assert_eq!(erase(&on, elsewhere.stream).await, 1, "the other vendor's callback had it until now");
}

/// Answers kept for requests repeat the number wherever they were asked for. Others stay.
pub async fn kept_answers_do_not_name_the_person(on: Subject) {
    let (vendor, other) = (on.vendor().await, on.vendor().await);
    let [side, elsewhere] = [&vendor, &other].map(|vendor| Side::of(vendor, Mode::Live));
    let token = async |side: Option<Side>, text: &str| {
        let scope = side.map_or(Scope::Operator, |side| Scope::Vendor { vendor: side.vendor, mode: side.mode, stream: side.stream });
        let id = on.ids.next(START).into();
        let token = Token { id, scope, name: String::new(), allowed_ips: Vec::new(), created_at: START, last_used_at: None };
        on.store.create_token(token, TokenHash::of(text)).await.unwrap();
        id
    };
    let (own, operators, others) = (token(Some(side), "own").await, token(None, "operator").await, token(Some(elsewhere), "other").await);
    let keep = async |token, path: &str, key: String, answer: &str, now| {
        let key = AnswerKey { token, path: path.to_owned(), key };
        let answer = HttpAnswer { status: None, body: answer.as_bytes().to_vec() };
        let keep = Some(CachedResponse { key: key.clone(), body: [7; 32], answer: Arc::new(move |_| answer.clone()) });
        on.store.act(Change { command: Command::Note, now, note: None, keep }).await.unwrap();
        key
    };
    let text = format!(r#"{{"id": "rec_1", "connection_no": "{NUMBER}"}}"#);
    let unnamed = r#"{"id": "rec_2", "connection_no": "98012345670"}"#;
    let mut gone = vec![
        keep(own, "/v1/recharges", "order".to_owned(), &text, START).await,
        keep(own, "/np/recharge/execute", "order".to_owned(), &format!("[{NUMBER}]"), START).await,
        keep(operators, "/v1/reports", "report".to_owned(), &format!(r#"{{"told": "to {NUMBER}, done"}}"#), START).await,
    ];
    let stays = [
        keep(own, "/v1/recharges", "another's".to_owned(), unnamed, START).await,
        keep(others, "/v1/recharges", "order".to_owned(), &text, START).await,
    ];
    // More than a step looks at, and more of one moment than a page has.
    for number in 0..2 * limits::SWEEP_STEP_ROWS {
        keep(own, "/v1/recharges", format!("filler {number}"), unnamed, at(1)).await;
    }
    gone.push(keep(own, "/v1/recharges", "last".to_owned(), &text, at(1)).await);
    gone.push(keep(own, "/v1/recharges", "later".to_owned(), &text, at(2)).await);
    assert_eq!(erase(&on, side.stream).await, gone.len() as u64);
    let is_kept = async |key: &AnswerKey| on.store.kept_answer(key.clone(), Timestamp::from_millis(0)).await.unwrap().is_some();
    for key in &gone {
        assert!(!is_kept(key).await, "{key:?}");
    }
    for key in &stays {
        assert!(is_kept(key).await, "{key:?}");
    }
}

/// Names that a JSON library gives a meaning to are names like any other.
pub async fn a_librarys_own_keys_hide_no_person(on: Subject) {
    let side = on.side().await;
    for data in [
        format!(r#"{{"a":{{"$serde_json::private::RawValue":"{NUMBER}"}}}}"#),
        format!(r#"{{"a":{{"$serde_json::private::Number":"{NUMBER}"}}}}"#),
        format!(r#"{{"a":{{"$serde_json::private::RawValue":"[","number":{NUMBER}}}}}"#),
        format!(r#"{{"a":{{"$serde_json::private::Number":"x","number":"to {NUMBER}"}}}}"#),
    ] {
        let sequence = given(&on, side, &data).await;
        assert_eq!(erase(&on, side.stream).await, 1, "{data}");
        let Facts::Given(left) = facts(&on, side, sequence).await else { panic!("not what was given") };
        assert_eq!(left.get(), r#"{"erased":true}"#);
    }
}

/// An attempt that was under way comes back with an answer that names the person.
pub async fn what_comes_back_later_does_not_name_the_person(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    topped_up(&on, side, "INV-1", NUMBER).await;
    let run = on.runs(side, 1).await.remove(0);
    erase(&on, side.stream).await;
    let mut settle = succeeded(&run, 1, at(1));
    let outcome = &mut settle.attempt.as_mut().unwrap().outcome;
    (outcome.answer_headers, outcome.answer_body) = (Some(format!("x-for: {NUMBER}")), Some(NUMBER.into()));
    on.record(settle).await;
    let outcome = &on.delivery(run.key).await.attempts[0].outcome;
    assert_eq!((&outcome.answer_headers, &outcome.answer_body, outcome.status), (&None, &None, Some(204)));
}

/// A look at the rows is bounded; what lies behind them is removed all the same.
pub async fn a_person_behind_very_many_is_found(on: Subject) {
    let side = on.side().await;
    for part in 0..=limits::ERASE_SCAN / limits::REPORTS_MAX {
        let reports = (0..limits::REPORTS_MAX).map(|number| report(side, &format!("INV-{part}-{number}"), Status::Success));
        on.judged(START, reports.collect()).await;
    }
    let (mine, _) = topped_up(&on, side, "mine", NUMBER).await;
    assert_eq!(erase(&on, side.stream).await, 2, "the recharge and its event");
    assert_eq!(on.store.recharge(mine.id).await.unwrap().unwrap().0.details.connection_no, None);
}

pub async fn eight_erasures_remove_everything_once(on: Subject) {
    let side = on.side().await;
    for number in 0..5 {
        topped_up(&on, side, &format!("INV-{number}"), NUMBER).await;
    }
    let removed = eight(|_| {
        let on = on.clone();
        async move { erase(&on, side.stream).await }
    })
    .await;
    assert_eq!(removed.iter().sum::<u64>(), 10);
}

// --- Sealed again ----------------------------------------------------------------------------------------------------

/// Seals everything again; how many endpoints that was.
pub async fn reseal(on: &Subject) -> u64 {
    let (mut place, mut sealed) = (Some(SweepPlace::default()), 0);
    while let Some(at) = place {
        let step = on.store.reseal(at).await.unwrap();
        sealed += if at.stage == 0 { step.removed } else { 0 };
        place = step.next;
    }
    sealed
}

pub async fn what_is_sealed_again_opens_as_before(on: Subject) {
    assert_eq!(reseal(&on).await, 0);
    let side = on.side().await;
    let (plain, rich, deleted) = (on.connected(side).await, on.connected(side).await, on.connected(side).await);
    on.resettle(rich, rich_settings()).await;
    on.change(deleted, EndpointChange::Delete).await;
    let all = async || {
        let mut all = Vec::new();
        for id in [plain, rich, deleted] {
            all.push(on.store.endpoint(id).await.unwrap().unwrap());
        }
        all
    };
    let before = all().await;
    assert_eq!((reseal(&on).await, all().await), (3, before));
}

pub async fn very_many_endpoints_are_sealed_in_bounded_steps(on: Subject) {
    let side = on.side().await;
    let count = limits::SWEEP_STEP_ROWS + 3;
    let create = |_| {
        let command = Command::CreateEndpoint { endpoint: Box::new(on.new_endpoint(side)), most: u32::MAX };
        Write::Change(Box::new(Change { command, now: START, note: None, keep: None::<CachedResponse> }))
    };
    on.commit((0..count).map(create).collect()).await;
    let step = on.store.reseal(SweepPlace::default()).await.unwrap();
    assert_eq!(step.removed as usize, limits::SWEEP_STEP_ROWS);
    assert_eq!(reseal(&on).await as usize, count);
}

pub async fn second_factors_and_letters_are_sealed_again(on: Subject) {
    let user = crate::people::login(&on, "a@himal.example", None).await;
    let factor = SecondFactor { secret: Secret::new(*b"twenty bytes of it.."), used: 3, codes: vec![[7; 32]] };
    on.store.command(Command::ChangeSecondFactor { id: user.id, from: None, to: Some(factor.clone()) }, START).await.unwrap();
    let letter = Email { to: "a@himal.example".to_owned(), title: "Come in".to_owned(), text: Secret::new("with this link") };
    let link = Link { id: on.ids.next(START).into(), purpose: Purpose::Reset { user: user.id }, created_at: START, expires_at: at(50) };
    on.store.command(Command::CreateLink { link, hash: TokenHash::of("link"), letter: Some(letter) }, START).await.unwrap();
    for _ in 0..2 {
        let found = on.store.credentials("a@himal.example".to_owned()).await.unwrap().unwrap();
        assert_eq!(found.second_factor, Some(factor.clone()));
        assert_eq!(on.store.mailings(START, START, 10).await.unwrap()[0].alerts[0].text, "with this link");
        reseal(&on).await;
    }
}
