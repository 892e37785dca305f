//! Recharges that Ringback executes: placed once, handed over once, asked about until somebody knows.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ringback::domain::id::RechargeId;
use ringback::domain::provider::Word;
use ringback::domain::recharge::{Details, Recharge, Report, Status, Verdict};
use ringback::domain::submission::{Next, Order, Submission};
use ringback::domain::time::Timestamp;
use ringback::store::{
    Accept, Addressed, Callback, Command, ConflictQuery, Place, Placed, RechargeKey, RechargeOwner, Reply, TimeRange, Write, Written,
};

use crate::commands::Deeds;
use crate::harness::{DAY, START, Side, Subject, at, eight, first, report};

const PROVIDER: &str = "himal";
const HOLD: Duration = Duration::from_secs(300);

fn order(amount: i64) -> Order {
    let connection_no = Some("9801234567".to_owned());
    let currency = "NPR".to_owned();
    Order { operator_id: 1, operator_type_id: 1, connection_no, amount, currency, circle_id: None, package_id: None, package_name: None }
}

fn place(side: Side, reference_no: &str, order: Order) -> Command {
    let details = Details {
        amount: Some(order.amount),
        currency: order.currency.parse().ok(),
        connection_no: order.connection_no.clone(),
        provider: Some(PROVIDER.to_owned()),
        ..Details::default()
    };
    let report = Report { reference_no: reference_no.to_owned(), status: Status::Queued, details, occurred_at: None };
    Command::Place(Box::new(Place { stream: side.stream, mode: side.mode, report, order, provider: PROVIDER.to_owned() }))
}

async fn placed(on: &Subject, side: Side, reference_no: &str, order: Order) -> Placed {
    match on.store.command(place(side, reference_no, order), START).await.unwrap() {
        Reply::Placed(placed) => placed,
        other => panic!("not whether it was placed: {other:?}"),
    }
}

pub async fn new(on: &Subject, side: Side, reference_no: &str) -> Recharge {
    match placed(on, side, reference_no, order(5000)).await {
        Placed::New(recharge) => *recharge,
        other => panic!("not new: {other:?}"),
    }
}

pub async fn take(on: &Subject, now: Timestamp, with_new: bool) -> Vec<Submission> {
    let command = Command::TakeSubmissions { provider: PROVIDER.to_owned(), with_new, hold: HOLD, limit: 100 };
    match on.store.command(command, now).await.unwrap() {
        Reply::Taken(taken) => taken,
        other => panic!("not submissions: {other:?}"),
    }
}

fn ids(taken: &[Submission]) -> Vec<RechargeId> {
    taken.iter().map(|submission| submission.recharge.id).collect()
}

pub async fn say(on: &Subject, side: Side, submission: &Submission, status: Status, now: Timestamp) -> Verdict {
    let word = Word::Settled { status, provider_ref: None, reason: None };
    let reports = vec![Addressed { stream: side.stream, mode: side.mode, report: submission.report(&word).unwrap() }];
    match on.commit(vec![Write::Accept(Accept { source: "callback", now, deadline: DAY, reports })]).await.remove(0) {
        Written::Accepted(judged, _) => judged[0].verdict,
        other => panic!("not verdicts: {other:?}"),
    }
}

pub async fn a_recharge_is_placed_once(on: Subject) {
    let side = on.side().await;
    let made = new(&on, side, "R-1").await;
    assert_eq!((made.status, made.details.amount, made.reports), (Status::Queued, Some(5000), 1));
    assert!(matches!(placed(&on, side, "R-1", order(5000)).await, Placed::Before(before) if before.id == made.id));
    assert!(matches!(placed(&on, side, "R-1", order(6000)).await, Placed::Taken));
    on.judge(START, report(side, "R-2", Status::Queued)).await;
    assert!(matches!(placed(&on, side, "R-2", order(5000)).await, Placed::Taken), "it was reported, and not asked for");
    let other = on.side().await;
    assert_ne!(new(&on, other, "R-1").await.id, made.id, "another vendor's");
    let kept = on.store.submission(made.id).await.unwrap().unwrap();
    assert_eq!((kept.order, kept.sent_at, kept.asked, kept.stuck_at), (order(5000), None, 0, None));
    assert_eq!(on.store.submission(RechargeId::new(1)).await.unwrap(), None);
}

pub async fn eight_who_place_it_place_one(on: Subject) {
    let side = on.side().await;
    let placed = eight(|_| {
        let on = on.clone();
        async move { placed(&on, side, "R-1", order(5000)).await }
    })
    .await;
    assert_eq!(placed.iter().filter(|placed| matches!(placed, Placed::New(_))).count(), 1);
    assert!(placed.iter().all(|placed| !matches!(placed, Placed::Taken)));
}

pub async fn what_is_taken_counts_as_handed_over(on: Subject) {
    let side = on.side().await;
    let (one, two) = (new(&on, side, "R-1").await, new(&on, side, "R-2").await);
    assert!(take(&on, START, false).await.is_empty(), "what is new can wait");
    let taken = take(&on, START, true).await;
    assert_eq!((ids(&taken), taken[0].sent_at), (vec![one.id, two.id], None));
    assert!(take(&on, START, true).await.is_empty(), "it is in somebody's hands");
    let later = START.plus(HOLD);
    let again = take(&on, later, false).await;
    assert_eq!((ids(&again).len(), again[0].sent_at), (2, Some(START)), "only to be asked about");
}

pub async fn eight_who_take_take_each_once(on: Subject) {
    let side = on.side().await;
    for number in 0..40 {
        new(&on, side, &format!("R-{number}")).await;
    }
    let taken = eight(|_| {
        let on = on.clone();
        async move { ids(&take(&on, START, true).await) }
    })
    .await;
    let mut all = taken.concat();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), taken.concat().len()), (40, 40));
}

pub async fn what_follows_is_done_when_it_is_due(on: Subject) {
    let side = on.side().await;
    let made = new(&on, side, "R-1").await;
    take(&on, START, true).await;
    let follow = async |next, asked, now| on.store.command(Command::Follow(made.id, next, asked), now).await.unwrap().took_effect();
    assert!(follow(Next::Enquire(at(100)), 1, START).await);
    assert!(take(&on, at(99), true).await.is_empty());
    let due = take(&on, at(100), true).await;
    assert_eq!((due[0].asked, due[0].sent_at), (1, Some(START)));
    assert!(follow(Next::Submit(at(200)), 0, at(100)).await);
    assert_eq!(take(&on, at(200), true).await[0].sent_at, None, "nothing had reached the provider");
    assert!(follow(Next::Stuck, 7, at(300)).await);
    assert!(take(&on, START.plus(DAY), true).await.is_empty());
    let stuck = on.store.stuck(first(10)).await.unwrap().items;
    assert_eq!((ids(&stuck), stuck[0].stuck_at), (vec![made.id], Some(at(300))));
    assert!(on.store.command(Command::AskNow(made.id), at(400)).await.unwrap().took_effect());
    let due = take(&on, at(400), false).await;
    assert_eq!(ids(&due), [made.id]);
    say(&on, side, &due[0], Status::Success, at(500)).await;
    assert!(on.store.stuck(first(10)).await.unwrap().items.is_empty(), "it is settled");
    assert!(take(&on, START.plus(DAY), true).await.is_empty(), "what is settled is over");
    assert!(!on.store.command(Command::Follow(RechargeId::new(1), Next::Over, 0), START).await.unwrap().took_effect());
}

pub async fn recharges_are_looked_up_and_walked_over(on: Subject) {
    let side = on.side().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(new(&on, side, &format!("R-{number}")).await);
    }
    let sought = vec![
        RechargeKey::Reference("R-3".to_owned()),
        RechargeKey::Id(made[1].id),
        RechargeKey::Number(made[2].transaction_id),
        RechargeKey::Reference("R-9".to_owned()),
        RechargeKey::Id(RechargeId::new(1)),
    ];
    let found = on.store.lookup(Some(side.stream), sought.clone()).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|found| found.map(|recharge| recharge.id)).collect();
    assert_eq!(found, [Some(made[3].id), Some(made[1].id), Some(made[2].id), None, None]);
    let elsewhere = on.side().await;
    assert!(on.store.lookup(Some(elsewhere.stream), sought.clone()).await.unwrap().iter().all(Option::is_none), "another vendor's");
    assert_eq!(on.store.lookup(None, sought).await.unwrap().into_iter().flatten().count(), 1, "of all, ids only");
    let ever = TimeRange::default();
    let walk = async |whose: RechargeOwner, after| {
        on.store.walk(whose, ever, after, 3).await.unwrap().iter().map(|found| found.id).collect::<Vec<_>>()
    };
    let all: Vec<_> = made.iter().map(|recharge| recharge.id).collect();
    assert_eq!(walk(RechargeOwner::Stream(side.stream), None).await, all[..3]);
    assert_eq!(walk(RechargeOwner::Stream(side.stream), Some(all[2])).await, all[3..]);
    assert!(walk(RechargeOwner::Provider(PROVIDER.to_owned()), None).await.is_empty(), "none was handed over");
    take(&on, START, true).await;
    assert_eq!(walk(RechargeOwner::Provider(PROVIDER.to_owned()), Some(all[3])).await, all[4..]);
    assert!(walk(RechargeOwner::Provider("another".to_owned()), None).await.is_empty());
}

pub async fn a_callback_is_kept(on: Subject) {
    let callback = Callback { provider: PROVIDER.to_owned(), recharge: None, verdict: "unknown", body: "{}".to_owned() };
    assert!(on.store.command(Command::KeepCallback(Box::new(callback)), START).await.unwrap().took_effect());
}

/// Answers, callbacks, enquiries, reports of the platform's and crashes in any order: in the end the ledger says what the provider's
/// books say, or shows that it does not.
pub async fn whatever_comes_when_the_ledger_agrees_with_the_provider(on: Subject) {
    for seed in 0..30 {
        let mut chance = StdRng::seed_from_u64(seed);
        let side = on.side().await;
        let made = new(&on, side, "R-1").await;
        let truth = if chance.random() { Status::Success } else { Status::Failed };
        let (mut now, mut handed_over, mut lied) = (START, 0, false);
        for _ in 0..chance.random_range(1..12) {
            now = now.plus(Duration::from_secs(chance.random_range(0..400)));
            let submission = on.store.submission(made.id).await.unwrap().unwrap();
            match chance.random_range(0..5) {
                // Somebody takes it, and may crash before or after the call.
                0 | 1 => {
                    for taken in take(&on, now, true).await {
                        handed_over += u32::from(taken.sent_at.is_none());
                        if chance.random() {
                            say(&on, side, &taken, truth, now).await;
                        }
                    }
                }
                2 => drop(say(&on, side, &submission, truth, now).await),
                3 => drop(on.store.command(Command::AskNow(made.id), now).await.unwrap()),
                // The platform reports something, and may be wrong.
                _ => {
                    let claimed = if chance.random_ratio(1, 4) { Status::Failed } else { truth };
                    lied |= claimed != truth;
                    on.judge(now, report(side, "R-1", claimed)).await;
                }
            }
        }
        // At last the provider is asked, by whoever it is.
        let submission = on.store.submission(made.id).await.unwrap().unwrap();
        say(&on, side, &submission, truth, now).await;
        let (recharge, _) = on.store.recharge(made.id).await.unwrap().unwrap();
        let query = ConflictQuery { state: None, recharge: Some(made.id), range: TimeRange::default(), page: first(10) };
        let conflicts = on.store.conflicts(query).await.unwrap().items;
        assert!(handed_over <= 1, "seed {seed}: handed over {handed_over} times");
        assert!(recharge.status == truth || !conflicts.is_empty(), "seed {seed}: {recharge:?} where the books have {truth:?}");
        assert!(lied || conflicts.is_empty(), "seed {seed}: nobody contradicted anybody");
    }
}
