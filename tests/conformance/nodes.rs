//! Nodes that share a PostgreSQL database: leases and shards, what counts in which epoch, what they tell each other, and that
//! they do not get into each other's way.

use std::sync::Arc;
use std::time::Duration;

use ringback::clock::{Environment, Ids, Stopwatch};
use ringback::domain::delivery::DeliveryState;
use ringback::domain::endpoint::EndpointStatus;
use ringback::domain::id::EndpointId;
use ringback::domain::recharge::{Status, Verdict};
use ringback::domain::shard::{SHARDS, Shard};
use ringback::limits;
use ringback::store::cluster::{Cluster, Hint, Standing, To};
use ringback::store::group_commit::Haste;
use ringback::store::postgres::{Membership, OpenOptions, PostgresStore};
use ringback::store::{NextStep, RecordOutcome, Settled, Store, StoreError, Written};

use crate::group;
use crate::harness::{START, Subject, accept, at, failed, report, succeeded};
use crate::postgres::Schema;

const LONG: Duration = Duration::from_secs(60);
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// A node on `place`, which has not joined yet.
struct Node {
    on: Subject,
    cluster: Arc<dyn Cluster>,
    ids: Arc<Ids>,
}

impl Node {
    async fn new(place: &Arc<Schema>, address: &str, lease: Duration) -> Self {
        let ids = Arc::new(Ids::new(0));
        let environment = Environment { ids: Arc::clone(&ids), ..place.environment.clone() };
        let membership = Some(Membership { address: address.to_owned(), lease });
        let store = PostgresStore::open(OpenOptions { environment: environment.clone(), membership, ..place.options() }).await.unwrap();
        let cluster = store.cluster().unwrap();
        Self { on: Subject::new(store, &environment, Arc::clone(place)), cluster, ids }
    }

    async fn renew(&self) -> Standing {
        self.cluster.renew(Vec::new()).await.unwrap()
    }

    /// Waits until it hears this.
    async fn hears(&self, hint: Hint) {
        let heard = async { while !self.cluster.heard().await.contains(&hint) {} };
        tokio::time::timeout(HEARD_WITHIN, heard).await.unwrap_or_else(|_| panic!("{hint:?} was not heard"));
    }
}

/// How many of the shards this node has.
fn held(standing: &Standing) -> usize {
    standing.holdings.iter().filter(|of| of.owner.is_some_and(|owner| owner.node == standing.node)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_spread_evenly_and_come_back_when_a_node_leaves() {
    let place = Arc::new(Schema::new().await);
    let (one, two) = (Node::new(&place, "one", LONG).await, Node::new(&place, "two", LONG).await);
    let first = one.renew().await;
    assert_eq!((first.node, one.ids.node(), held(&first), first.seized.len()), (1, 1, SHARDS, 0));
    let second = two.renew().await;
    assert_eq!((second.node, held(&second)), (2, 0), "nothing is taken from one that lives");
    let surplus = one.renew().await.surplus;
    assert_eq!(surplus.len(), SHARDS / 2);
    one.cluster.renew(surplus.clone()).await.unwrap();
    let second = two.renew().await;
    assert_eq!((held(&second), second.seized.len(), second.surplus.len()), (SHARDS / 2, 0, 0));
    assert!(surplus.iter().all(|shard| second.holdings[shard.number()].epoch == 2), "they have come to their second owner");
    let nodes = two.cluster.nodes().await.unwrap();
    let seen: Vec<_> = nodes.iter().map(|node| (node.number, node.address.as_str(), node.shards, node.lease_ms > 50_000)).collect();
    assert_eq!(seen, [(1, "one", 128, true), (2, "two", 128, true)]);

    one.cluster.leave().await.unwrap();
    let second = two.renew().await;
    assert_eq!((held(&second), second.seized.len()), (SHARDS, 0), "what was given back is not seized");
    assert_eq!(two.cluster.nodes().await.unwrap().len(), 1);
    assert_eq!(one.renew().await.node, 1, "it may come again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_node_had_is_seized_and_it_begins_anew() {
    let place = Arc::new(Schema::new().await);
    let silent = Node::new(&place, "silent", Duration::from_millis(300)).await;
    let other = Node::new(&place, "other", LONG).await;
    let before = silent.renew().await;
    let mut seized = other.renew().await.seized;
    while seized.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        seized = other.renew().await.seized;
    }
    assert_eq!(seized, Shard::all().collect::<Vec<_>>());
    let after = silent.renew().await;
    assert_eq!((after.node, held(&before), held(&after)), (before.node, SHARDS, 0), "it has its number, and nothing else");
    let third = Node::new(&place, "third", LONG).await.renew().await;
    assert_eq!(third.node, 3, "nobody gets the number of one that may only have been stopped");
}

/// A retry or an end that was decided by a former owner moves nothing; what it sent is kept, and a success counts.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_present_owner_decides_what_follows() {
    let place = Arc::new(Schema::new().await);
    let Node { on, cluster, .. } = Node::new(&place, "one", LONG).await;
    cluster.renew(Vec::new()).await.unwrap();
    let side = on.side().await;
    let endpoint = on.connected(side).await;
    let runs = on.runs(side, 3).await;
    let shard = Shard::of(endpoint).number() as i64;
    place.client().await.execute("UPDATE shard SET epoch = 7 WHERE id = $1", &[&shard]).await.unwrap();
    let of_epoch = |epoch, settle| RecordOutcome { epoch, ..settle };
    let exhausted = |settle: RecordOutcome| RecordOutcome { after: NextStep::Ended(DeliveryState::Exhausted, None), ..settle };

    assert_eq!(on.settle(of_epoch(6, failed(&runs[0], 1, at(10), at(99)))).await, Settled::Late);
    assert_eq!(on.settle(of_epoch(6, exhausted(failed(&runs[1], 1, at(10), at(99))))).await, Settled::Late);
    for run in &runs[..2] {
        let delivery = on.delivery(run.key).await;
        assert_eq!((delivery.state, delivery.attempts.len()), (DeliveryState::Pending, 1), "it goes on, and what was sent is known");
        assert_eq!(on.open_run(run.key).await.attempts, 0, "the owner counts for itself");
    }
    assert_eq!(on.settle(of_epoch(6, succeeded(&runs[2], 1, at(10)))).await, Settled::Recorded);
    assert_eq!(on.delivery(runs[2].key).await.state, DeliveryState::Succeeded);

    assert_eq!(on.settle(of_epoch(7, failed(&runs[0], 1, at(20), at(99)))).await, Settled::Recorded);
    assert_eq!(on.open_run(runs[0].key).await.next_attempt_at, Some(at(99)));
    let attempts = on.delivery(runs[0].key).await.attempts;
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2], "both are kept, whoever was first");
    assert_eq!(on.settle(of_epoch(7, failed(&runs[0], 1, at(20), at(99)))).await, Settled::Recorded, "the same once more");
    assert_eq!(on.delivery(runs[0].key).await.attempts.len(), 2, "is no news");
    assert_eq!(on.settle(of_epoch(7, exhausted(failed(&runs[1], 1, at(20), at(99))))).await, Settled::Recorded);
    assert_eq!(on.delivery(runs[1].key).await.state, DeliveryState::Exhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_hear_what_the_others_tell() {
    let place = Arc::new(Schema::new().await);
    let (one, two) = (Node::new(&place, "one", LONG).await, Node::new(&place, "two", LONG).await);
    one.renew().await;
    let to = To::Node(two.renew().await.node);
    two.hears(Hint::Missed).await;
    one.hears(Hint::Missed).await;
    let endpoint = EndpointId::new(12_345);
    one.cluster.tell(to, Hint::Opened { endpoint, from: 9 });
    two.hears(Hint::Opened { endpoint, from: 9 }).await;
    two.cluster.tell(To::All, Hint::Replaying);
    one.hears(Hint::Replaying).await;
    // A change is told with its commit, whoever makes it.
    let side = one.on.side().await;
    let changed = one.on.endpoint(side, EndpointStatus::NotConnected).await;
    one.on.turn(changed, EndpointStatus::Connected).await;
    two.hears(Hint::Changed(changed)).await;
    // A lost connection is told too.
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    place.client().await.query(cut, &[&place.name]).await.unwrap();
    one.hears(Hint::Missed).await;
    two.hears(Hint::Missed).await;
    one.cluster.tell(to, Hint::Due(endpoint));
    two.hears(Hint::Due(endpoint)).await;
}

/// Of two nodes that are told the same at once, one creates and the other one finds it there.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_with_the_same_reports_create_each_once() {
    const ROUNDS: usize = 20;
    const SAME: usize = 50;
    let place = Arc::new(Schema::new().await);
    let (one, two) = (Node::new(&place, "one", LONG).await, Node::new(&place, "two", LONG).await);
    one.renew().await;
    two.renew().await;
    let side = one.on.side().await;
    for round in 0..ROUNDS {
        let reports = || (0..SAME).map(|at| report(side, &format!("{round}-{at}"), Status::Success)).collect();
        let (of_one, of_two) =
            tokio::join!(one.on.store.commit(vec![accept(START, reports())]), two.on.store.commit(vec![accept(START, reports())]));
        let mut created = 0;
        for written in [of_one.1.unwrap(), of_two.1.unwrap()].into_iter().flatten() {
            let ringback::store::Written::Accepted(judged, _) = written else { panic!("not the answer to reports: {written:?}") };
            created += judged.iter().filter(|judged| judged.verdict == Verdict::Created).count();
            assert!(judged.iter().all(|judged| matches!(judged.verdict, Verdict::Created | Verdict::Duplicate)));
        }
        assert_eq!(created, SAME);
    }
    let feed = two.on.store.events_after(side.stream, None, 10_000).await.unwrap();
    assert_eq!(feed.events.len(), ROUNDS * SAME);
    assert!(feed.events.iter().zip(1..).all(|(event, number)| event.id.sequence == number), "numbers have no gap");
}

/// A report waits for the counter row, which another node has; an outcome is written meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn outcomes_do_not_wait_for_a_report_that_waits() {
    const WAITS: &str = "SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'";
    let place = Arc::new(Schema::new().await);
    let on = Subject::new(place.open().await.unwrap(), &place.environment, Arc::clone(&place));
    let side = on.side().await;
    on.connected(side).await;
    let runs = on.runs(side, 1).await;
    let (group, heard, task) = group::start(&on);
    let mut other = place.client().await;
    let transaction = other.transaction().await.unwrap();
    transaction.execute("SELECT 1 FROM stream WHERE id = $1 FOR UPDATE", &[&side.stream.get()]).await.unwrap();
    let writer = group.clone();
    let report = tokio::spawn(async move { writer.write(group::numbered(side, 2, false)).await });
    let watcher = place.client().await;
    let waits = async { while watcher.query(WAITS, &[&place.name]).await.unwrap().is_empty() {} };
    tokio::time::timeout(HEARD_WITHIN, waits).await.expect("the report waits for the row");
    group.settle(succeeded(&runs[0], 1, at(60)), Haste::None);
    tokio::time::timeout(HEARD_WITHIN, heard.more.notified()).await.expect("the outcome is written");
    assert!(matches!(heard.settled.lock()[..], [(_, Ok(Written::Settled(Settled::Recorded)))]));
    assert!(!report.is_finished(), "the report still waits");
    transaction.rollback().await.unwrap();
    report.await.unwrap().expect("the report is written");
    task.abort();
}

/// Another session has one vendor's counter row. Its reports wait, and are refused in the end; those of others are written.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_another_session_locks_holds_up_its_own_stream_alone() {
    const OTHERS: usize = 12;
    let place = Arc::new(Schema::new().await);
    let on = Subject::new(place.open().await.unwrap(), &place.environment, Arc::clone(&place));
    let locked = on.side().await;
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.push(on.side().await);
    }
    let (group, _heard, task) = group::start(&on);
    let mut client = place.client().await;
    let transaction = client.transaction().await.unwrap();
    transaction.execute("SELECT 1 FROM stream WHERE id = $1 FOR UPDATE", &[&locked.stream.get()]).await.unwrap();
    let watch = Stopwatch::start();
    let write = |side, number| {
        let group = group.clone();
        tokio::spawn(async move { group.write(group::numbered(side, number, false)).await })
    };
    let blocked: Vec<_> = (0..5).map(|number| write(locked, number)).collect();
    for round in 0..3 {
        let written: Vec<_> = others.iter().map(|side| write(*side, round)).collect();
        for one in written {
            one.await.unwrap().expect("reports of other vendors are written");
        }
    }
    assert!(watch.elapsed() < limits::LOCKED_WAIT, "they did not wait for the lock: {:?}", watch.elapsed());
    assert!(blocked.iter().all(|one| !one.is_finished()), "its own wait");
    for one in blocked {
        assert!(matches!(one.await.unwrap(), Err(StoreError::Busy(_))), "and are refused in the end");
    }
    transaction.rollback().await.unwrap();
    write(locked, 9).await.unwrap().expect("it goes on when the lock is gone");
    task.abort();
}
