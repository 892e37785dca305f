//! Alerts on their way into mails: who is told what, what is gathered, and what waits.

use ringback::domain::alert::Email;
use ringback::domain::attempt::OutcomeKind;
use ringback::domain::endpoint::{Endpoint, EndpointStatus};
use ringback::domain::id::EndpointId;
use ringback::domain::recharge::{Details, Status};
use ringback::domain::secret::Secret;
use ringback::domain::session::{Link, Purpose};
use ringback::domain::time::Timestamp;
use ringback::domain::token::TokenHash;
use ringback::domain::user::{PasswordHash, Role, User};
use ringback::limits;
use ringback::store::{Command, Mailing, NextStep, Write};

use crate::commands::Deeds;
use crate::harness::{DAY, START, Side, Subject, at, attempted, eight, filter, just_before, report, settings, succeeded};
use crate::ledger::details;

const FAR: Timestamp = at(1_000_000);

async fn mailings(on: &Subject, now: Timestamp, mailed_before: Timestamp) -> Vec<Mailing> {
    on.store.mailings(now, mailed_before, 100).await.unwrap()
}

async fn waiting(on: &Subject) -> Vec<Mailing> {
    mailings(on, FAR, FAR).await
}

/// An endpoint with this alert address.
async fn endpoint(on: &Subject, side: Side, alert_email: Option<&str>) -> EndpointId {
    let mut settings = settings();
    (settings.alert_email, settings.event_types) = (alert_email.map(str::to_owned), filter(&["invoice.*"]));
    let endpoint = Endpoint { settings, ..on.new_endpoint(side) };
    on.store.create_endpoint(endpoint.clone(), 100).await.unwrap();
    on.turn(endpoint.id, EndpointStatus::Connected).await;
    endpoint.id
}

/// It fails, is warned of, and works again: so many times, two alerts each.
async fn trouble(on: &Subject, side: Side, id: EndpointId, times: usize) {
    for _ in 0..times {
        let run = on.event(side, "invoice.paid", START).await.into_iter().find(|run| run.key.endpoint == id).unwrap();
        let again = NextStep::Retry { at: at(99), failed_since: START };
        let warn = ringback::store::Change { command: Command::Warn(id, DAY), now: START, note: None, keep: None };
        on.commit(vec![
            Write::RecordOutcome(attempted(&run, 1, OutcomeKind::TimedOut, START, again)),
            Write::Change(Box::new(warn)),
            Write::RecordOutcome(succeeded(&run, 2, START)),
        ])
        .await;
    }
}

async fn operator(on: &Subject, email: &str) {
    let user = User::new(on.ids.next(START).into(), email.to_owned(), None, START);
    on.store.command(Command::CreateUser(user, PasswordHash(String::new())), START).await.unwrap();
}

pub async fn nothing_to_mail(on: Subject) {
    operator(&on, "ops@platform.example").await;
    endpoint(&on, on.side().await, None).await;
    assert!(waiting(&on).await.is_empty());
}

pub async fn alerts_go_to_the_endpoints_address_or_else_to_its_vendors(on: Subject) {
    let side = on.side().await;
    let (own, plain) = (endpoint(&on, side, Some("oncall@himal.example")).await, endpoint(&on, side, None).await);
    trouble(&on, side, own, 1).await;
    trouble(&on, side, plain, 1).await;
    let told: Vec<_> = waiting(&on).await.into_iter().map(|mailing| (mailing.address, mailing.alerts[0].endpoint)).collect();
    assert_eq!(told, [("oncall@himal.example".to_owned(), Some(own)), ("ops@himal.example".to_owned(), Some(plain))]);
}

pub async fn a_contradiction_is_told_every_operator(on: Subject) {
    for email in ["a@platform.example", "b@platform.example"] {
        operator(&on, email).await;
    }
    let side = on.side().await;
    let theirs = User::new(on.ids.next(START).into(), "v@himal.example".to_owned(), Some(side.vendor), START);
    on.store.command(Command::CreateUser(theirs, PasswordHash(String::new())), START).await.unwrap();
    let mut first = report(side, "INV-1", Status::Success);
    first.report.details = details();
    let id = on.judge(START, first).await.recharge;
    let mut other = report(side, "INV-1", Status::Failed);
    other.report.details = Details { connection_no: Some("9899999999".to_owned()), ..details() };
    for _ in 0..2 {
        on.judge(START, other.clone()).await;
    }
    let told = waiting(&on).await;
    let addresses: Vec<_> = told.iter().map(|mailing| (mailing.address.as_str(), mailing.waiting)).collect();
    assert_eq!(addresses, [("a@platform.example", 2), ("b@platform.example", 2)], "each case once, to each of them");
    let text: String = told[0].alerts.iter().map(|alert| alert.text.clone()).collect();
    for part in
        [&id.to_string(), "Vendor:", "Reference:  INV-1", "a report claims status failed where the ledger has success", "989•••••99"]
    {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert!(!text.contains("9899999999"), "numbers of people are mailed masked: {text}");
}

pub async fn alerts_of_an_address_are_gathered(on: Subject) {
    let side = on.side().await;
    let (one, other) = (endpoint(&on, side, Some("a@x.example")).await, endpoint(&on, side, Some("b@x.example")).await);
    let many = limits::MAIL_ALERTS_MAX / 2 + 1;
    trouble(&on, side, one, 1).await;
    trouble(&on, side, other, many).await;
    trouble(&on, side, one, 1).await;
    let mailings = waiting(&on).await;
    let counts: Vec<_> = mailings.iter().map(|mailing| (mailing.address.as_str(), mailing.alerts.len(), mailing.waiting)).collect();
    assert_eq!(counts, [("a@x.example", 4, 4), ("b@x.example", limits::MAIL_ALERTS_MAX, 2 * many as u64)], "who has waited longest first");
    assert_eq!(mailings[0].tries, 0);
    assert_eq!(on.store.mailings(FAR, FAR, 1).await.unwrap(), mailings[..1]);
    assert_eq!(on.store.overview(START).await.unwrap().alerts, 4 + 2 * many as u64);
}

pub async fn a_mail_ends_what_it_told_of(on: Subject) {
    let side = on.side().await;
    let (id, other) = (endpoint(&on, side, Some("a@x.example")).await, endpoint(&on, side, Some("b@x.example")).await);
    trouble(&on, side, id, limits::MAIL_ALERTS_MAX).await;
    trouble(&on, side, other, 1).await;
    let mailing = waiting(&on).await.remove(0);
    trouble(&on, side, id, 1).await;
    on.store.mailed(mailing.clone(), at(100)).await.unwrap();
    let left = waiting(&on).await;
    let counts: Vec<_> = left.iter().map(|mailing| (mailing.address.as_str(), mailing.waiting)).collect();
    assert_eq!(counts, [("b@x.example", 2), ("a@x.example", 2)], "those left out were counted in it, those that came meanwhile stay");
    on.store.mailed(mailing, at(100)).await.unwrap();
    assert_eq!(waiting(&on).await, left, "a mail that is told of twice ends nothing more");
}

pub async fn an_address_has_a_rest_between_two_mails(on: Subject) {
    let side = on.side().await;
    let id = endpoint(&on, side, Some("a@x.example")).await;
    trouble(&on, side, id, 1).await;
    on.store.mailed(waiting(&on).await.remove(0), at(100)).await.unwrap();
    assert!(waiting(&on).await.is_empty());
    trouble(&on, side, id, 1).await;
    assert!(mailings(&on, at(200), just_before(at(100))).await.is_empty(), "its last mail was later than that");
    assert_eq!(mailings(&on, at(200), at(100)).await.len(), 1);
}

pub async fn a_mail_that_failed_is_tried_again_in_time(on: Subject) {
    let side = on.side().await;
    let id = endpoint(&on, side, Some("a@x.example")).await;
    trouble(&on, side, id, 1).await;
    let first = waiting(&on).await.remove(0);
    on.store.mail_failed(first.clone(), "refused".to_owned(), at(300)).await.unwrap();
    assert!(mailings(&on, just_before(at(300)), FAR).await.is_empty());
    let again = mailings(&on, at(300), FAR).await.remove(0);
    assert_eq!(again, Mailing { tries: 1, ..first }, "the same mail, known by the same number");
    on.store.mail_failed(again, "refused".to_owned(), at(600)).await.unwrap();
    let again = mailings(&on, at(600), FAR).await.remove(0);
    assert_eq!(again.tries, 2);
    on.store.mailed(again, at(600)).await.unwrap();
    trouble(&on, side, id, 1).await;
    let next = mailings(&on, at(600), at(600)).await.remove(0);
    assert_eq!((next.tries, next.waiting), (0, 2), "a mail that was sent begins anew");
}

pub async fn eight_who_mailed_end_it_once(on: Subject) {
    let side = on.side().await;
    let id = endpoint(&on, side, Some("a@x.example")).await;
    trouble(&on, side, id, 2).await;
    let mailing = waiting(&on).await.remove(0);
    eight(|number| {
        let (store, mailing) = (on.store.clone(), mailing.clone());
        async move {
            match number % 2 {
                0 => store.mailed(mailing, at(100)).await.unwrap(),
                _ => store.mail_failed(mailing, "refused".to_owned(), at(300)).await.unwrap(),
            }
        }
    })
    .await;
    assert!(waiting(&on).await.is_empty());
}

// --- Letters ---------------------------------------------------------------------------------------------------------

async fn letter(on: &Subject, to: &str, text: &str) {
    let letter = Email { to: to.to_owned(), title: "Come in".to_owned(), text: Secret::new(text) };
    let purpose = Purpose::Invitation { email: format!("{text}@himal.example"), vendor: None, role: Role::Owner };
    let link = Link { id: on.ids.next(START).into(), purpose, created_at: START, expires_at: at(50) };
    let command = Command::CreateLink { link, hash: TokenHash::of(text), letter: Some(letter) };
    on.store.command(command, START).await.unwrap();
}

pub async fn a_letter_goes_out_at_once_and_by_itself(on: Subject) {
    let side = on.side().await;
    let id = endpoint(&on, side, Some("a@himal.example")).await;
    trouble(&on, side, id, 1).await;
    letter(&on, "a@himal.example", "one").await;
    letter(&on, "a@himal.example", "two").await;
    let told = |mailing: &Mailing| (mailing.is_letter, mailing.alerts.iter().map(|alert| alert.text.clone()).collect::<Vec<_>>());
    let all = waiting(&on).await;
    assert_eq!(all.len(), 3);
    assert_eq!((told(&all[0]), told(&all[1])), ((true, vec!["one".to_owned()]), (true, vec!["two".to_owned()])));
    assert_eq!((all[2].is_letter, all[2].waiting), (false, 2), "what is gathered has no letter in it");
    on.store.mailed(all[0].clone(), at(1)).await.unwrap();
    let left = mailings(&on, at(2), at(0)).await;
    assert_eq!((left.len(), told(&left[0]).1), (2, vec!["two".to_owned()]), "a letter that was sent delays no alert");
    on.store.mailed(left[1].clone(), at(3)).await.unwrap();
    assert_eq!(mailings(&on, at(4), at(0)).await.len(), 1, "nor an alert that was sent a letter");
    on.store.mail_failed(left[0].clone(), "it is down".to_owned(), at(100)).await.unwrap();
    assert!(mailings(&on, at(99), at(0)).await.is_empty());
    let again = mailings(&on, at(100), at(0)).await;
    assert_eq!((again.len(), again[0].tries), (1, 1));
    on.store.mailed(again[0].clone(), at(101)).await.unwrap();
    assert!(waiting(&on).await.is_empty());
}

pub async fn mails_that_wait_are_listed(on: Subject) {
    let list = async |page| on.store.waiting_mails(page).await.unwrap();
    assert!(list(crate::harness::first(10)).await.is_empty());
    let side = on.side().await;
    let id = endpoint(&on, side, Some("a@himal.example")).await;
    trouble(&on, side, id, 1).await;
    letter(&on, "b@himal.example", "secret").await;
    let mails = list(crate::harness::first(10)).await;
    assert_eq!(mails.iter().map(|mail| mail.endpoint).collect::<Vec<_>>(), [None, Some(id), Some(id)], "newest first");
    assert_eq!((mails[0].address.as_str(), mails[0].title.as_str(), mails[0].tries), ("b@himal.example", "Come in", 0));
    assert!(!format!("{mails:?}").contains("secret"));
    let second = list(ringback::store::Page { before: Some(mails[0].id), limit: 1 }).await;
    assert_eq!(second, mails[1..2]);
    let due = waiting(&on).await.into_iter().find(|mailing| mailing.is_letter).unwrap();
    on.store.mail_failed(due, "it is down".to_owned(), at(100)).await.unwrap();
    let told = list(crate::harness::first(1)).await.remove(0);
    assert_eq!((told.tries, told.next_try_at, told.error.as_deref()), (1, Some(at(100)), Some("it is down")));
}
