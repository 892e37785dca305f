//! Answers kept for a day, in the transaction of what they tell of.

use std::sync::Arc;
use std::time::Duration;

use ringback::domain::id::TokenId;
use ringback::domain::time::Timestamp;
use ringback::domain::user::{PasswordHash, User};
use ringback::limits;
use ringback::store::{AnswerKey, AuditQuery, CachedResponse, Change, Command, HttpAnswer, KeptAnswer, Reply, StoreError, TimeRange};

use crate::audit::note;
use crate::commands::Deeds;
use crate::harness::{DAY, START, Subject, at, eight, first, just_before, publish};

fn key(text: &str) -> AnswerKey {
    AnswerKey { token: TokenId::new(7), path: "/v1/events".to_owned(), key: text.to_owned() }
}

fn written(answer: &str) -> HttpAnswer {
    HttpAnswer { status: Some(201), body: answer.as_bytes().to_vec() }
}

fn keep(key: AnswerKey, body: u8, answer: &str) -> CachedResponse {
    let answer = written(answer);
    CachedResponse { key, body: [body; 32], answer: Arc::new(move |_| answer.clone()) }
}

fn login(on: &Subject, email: &str) -> Command {
    let user = User::new(on.ids.next(START).into(), email.to_owned(), None, START);
    Command::CreateUser(user, PasswordHash(String::new()))
}

async fn act(on: &Subject, command: Command, now: Timestamp, keep: CachedResponse) -> Result<Reply, StoreError> {
    Ok(on.store.act(Change { command, now, note: Some(note("user.created")), keep: Some(keep) }).await?.0)
}

async fn kept(on: &Subject, key: AnswerKey, now: Timestamp) -> Option<KeptAnswer> {
    let since = Timestamp::from_millis(now.as_millis() - limits::ANSWER_KEPT_FOR.as_millis() as i64);
    on.store.kept_answer(key, since).await.unwrap()
}

/// Logins made, and notes taken of that.
async fn done(on: &Subject) -> (usize, usize) {
    let query = AuditQuery { vendor: None, action: None, range: TimeRange::default(), page: first(100) };
    (on.store.users(None, first(100)).await.unwrap().len(), on.store.audit(query).await.unwrap().items.len())
}

pub async fn a_kept_answer_is_read_back(on: Subject) {
    assert_eq!(kept(&on, key("a"), START).await, None);
    act(&on, login(&on, "a"), START, keep(key("a"), 1, r#"{"id": "1"}"#)).await.unwrap();
    let answer = KeptAnswer { body: [1; 32], answer: written(r#"{"id": "1"}"#) };
    assert_eq!(kept(&on, key("a"), START).await, Some(answer));
    for other in [key("b"), AnswerKey { token: TokenId::new(8), ..key("a") }, AnswerKey { path: "/v1/vendors".to_owned(), ..key("a") }] {
        assert_eq!(kept(&on, other, START).await, None, "it is another request's");
    }
}

pub async fn an_answer_is_kept_for_a_day(on: Subject) {
    act(&on, login(&on, "a"), START, keep(key("a"), 1, "first")).await.unwrap();
    let end = START.plus(DAY);
    assert_eq!(kept(&on, key("a"), just_before(end)).await.map(|kept| kept.answer), Some(written("first")));
    let early = act(&on, login(&on, "b"), just_before(end), keep(key("a"), 2, "second")).await;
    assert!(matches!(early, Err(StoreError::Rejected(_))), "{early:?}");
    assert_eq!(kept(&on, key("a"), end).await, None);
    act(&on, login(&on, "b"), end, keep(key("a"), 2, "second")).await.unwrap();
    assert_eq!(kept(&on, key("a"), end).await, Some(KeptAnswer { body: [2; 32], answer: written("second") }));
    assert_eq!(done(&on).await, (2, 2));
}

pub async fn a_request_that_was_answered_is_not_done_again(on: Subject) {
    act(&on, login(&on, "a"), START, keep(key("a"), 1, "first")).await.unwrap();
    for body in [1, 2] {
        let refused = act(&on, login(&on, "b"), at(1), keep(key("a"), body, "second")).await;
        assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    }
    assert_eq!(done(&on).await, (1, 1), "nothing of it is there, the note neither");
    assert_eq!(kept(&on, key("a"), at(1)).await, Some(KeptAnswer { body: [1; 32], answer: written("first") }));
}

pub async fn eight_requests_with_one_key_are_done_once(on: Subject) {
    let results = eight(|number| {
        let (on, name) = (on.clone(), format!("{number}"));
        async move { act(&on, login(&on, &name), START, keep(key("a"), 1, &name)).await.map(|_| name) }
    })
    .await;
    let winners: Vec<String> = results.into_iter().flatten().collect();
    assert_eq!((winners.len(), done(&on).await), (1, (1, 1)));
    assert_eq!(kept(&on, key("a"), START).await.unwrap().answer.body, winners[0].as_bytes());
}

pub async fn what_did_not_come_to_pass_keeps_no_answer(on: Subject) {
    act(&on, login(&on, "a"), START, keep(key("a"), 1, "made")).await.unwrap();
    let taken = act(&on, login(&on, "a"), START, keep(key("b"), 1, "made")).await.unwrap();
    assert!(!taken.took_effect());
    assert_eq!((kept(&on, key("b"), START).await, done(&on).await), (None, (1, 1)));
    act(&on, login(&on, "b"), START, keep(key("b"), 1, "made")).await.unwrap();
    assert!(kept(&on, key("b"), START).await.is_some(), "the key is still good");
}

pub async fn an_answer_follows_from_what_was_done(on: Subject) {
    let side = on.side().await;
    let told = Arc::new(|done: &Reply| match done {
        Reply::Published(published) => written(&format!("number {}", published.sequence)),
        other => panic!("not an event: {other:?}"),
    });
    for number in 1..=3 {
        let (name, answer) = (format!("{number}"), told.clone());
        let keep = CachedResponse { key: key(&name), body: [0; 32], answer };
        act(&on, Command::Publish(publish(side, "invoice.paid", START)), START, keep).await.unwrap();
        assert_eq!(kept(&on, key(&name), START).await.unwrap().answer.body, format!("number {number}").into_bytes());
    }
    let repeated = CachedResponse { key: key("2"), body: [0; 32], answer: told };
    assert!(act(&on, Command::Publish(publish(side, "invoice.paid", START)), START, repeated).await.is_err());
    assert_eq!(on.store.events_after(side.stream, None, 0).await.unwrap().latest, 3, "its number was not used up");
}

/// What is kept is a day old at the most, whatever is asked for.
pub async fn a_clock_that_was_set_back_finds_its_answers(on: Subject) {
    act(&on, login(&on, "a"), at(3600), keep(key("a"), 1, "first")).await.unwrap();
    assert!(kept(&on, key("a"), START).await.is_some());
    let refused = act(&on, login(&on, "b"), START, keep(key("a"), 1, "second")).await;
    assert!(refused.is_err(), "it was answered, if in the future");
    assert!(kept(&on, key("a"), at(3600).plus(DAY - Duration::from_millis(1))).await.is_some());
}
