//! What a batch on PostgreSQL takes as given instead of asking for it: where it is not so, the batch comes out as if it had
//! asked.

use std::sync::Arc;
use std::time::Duration;

use ringback::domain::delivery::DeliveryState;
use ringback::domain::recharge::{Status, Verdict};
use ringback::store::{Change, Command, Settled, Write, Written};

use crate::harness::{START, Side, Subject, accept, at, failed, publish, report, succeeded};
use crate::postgres::Schema;

/// So many reports of a kind that what the next ones need is guessed.
const MANY: usize = 40;

/// Two nodes on one database.
struct Two {
    place: Arc<Schema>,
    one: Subject,
    two: Subject,
    side: Side,
}

impl Two {
    async fn new() -> Self {
        let place = Arc::new(Schema::new().await);
        let node = async || Subject::new(place.open().await.unwrap(), &place.environment, Arc::clone(&place));
        let (one, two) = (node().await, node().await);
        let side = one.side().await;
        Self { place, one, two, side }
    }

    /// The first node gets many reports, each the first about its recharge; they are called by this name.
    async fn get_used_to_new_ones(&self, name: &str) {
        let mut guessed = 0;
        for number in 0..MANY {
            for status in [Status::Queued, Status::Success] {
                let reference_no = format!("{name}-{}-{number}", status.as_str());
                assert_eq!(self.one.judge(START, report(self.side, &reference_no, status)).await.verdict, Verdict::Created);
            }
            // Now and then it asks for numbers.
            if number + 2 >= MANY && self.guesses().await {
                guessed += 1;
            }
        }
        assert_ne!(guessed, 0, "it asks");
    }

    /// Whether the last thing that was asked of the database in order to write was a transaction by itself.
    async fn guesses(&self) -> bool {
        const LAST: &str =
            "SELECT query FROM pg_stat_activity WHERE application_name = $1 AND query <> '' ORDER BY state_change DESC LIMIT 1";
        let last: String = self.place.client().await.query_one(LAST, &[&self.place.name]).await.unwrap().get(0);
        last.starts_with("WITH part0 AS (UPDATE stream ")
    }

    /// How often rows that count were looked for by their keys. A connection tells of what it did once in a while, with a
    /// transaction, so that there are reports until it has told of all recharges.
    async fn searches(&self, name: &str) -> i64 {
        const TOLD: &str = "SELECT (SELECT sum(idx_scan)::bigint FROM pg_stat_user_tables \
                WHERE schemaname = $1 AND relname IN ('stream', 'tally', 'traffic')), \
            (SELECT n_tup_ins FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'recharge') >= (SELECT count(*) FROM recharge)";
        let client = self.place.client().await;
        for number in 0.. {
            self.verdict(&format!("{name}-{number}"), Status::Success).await;
            let row = client.query_one(TOLD, &[&self.place.name]).await.unwrap();
            if row.get(1) {
                return row.get(0);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("it tells")
    }

    /// What the first node says to a report.
    async fn verdict(&self, reference_no: &str, status: Status) -> Verdict {
        self.one.judge(at(5), report(self.side, reference_no, status)).await.verdict
    }

    /// How many events there are.
    async fn events(&self) -> usize {
        let events = self.two.store.events_after(self.side.stream, None, 10_000).await.unwrap().events;
        assert!(events.iter().zip(1..).all(|(event, number)| event.id.sequence == number), "numbers have no gap");
        events.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recharge_that_is_there_after_all_is_judged() {
    let two = Two::new().await;
    two.get_used_to_new_ones("a").await;
    assert_eq!(two.verdict("a-success-3", Status::Success).await, Verdict::Duplicate);
    two.get_used_to_new_ones("b").await;
    assert_eq!(two.verdict("a-success-4", Status::Failed).await, Verdict::Conflict);
    two.get_used_to_new_ones("c").await;
    assert_eq!(two.verdict("a-queued-5", Status::Queued).await, Verdict::Duplicate);
    two.get_used_to_new_ones("d").await;
    assert_eq!(two.events().await, 4 * MANY);
    assert_eq!(two.verdict("a-queued-6", Status::Success).await, Verdict::Accepted);
    assert_eq!(two.events().await, 4 * MANY + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_go_on_where_another_node_left_them() {
    let two = Two::new().await;
    two.get_used_to_new_ones("a").await;
    for number in 0..3 {
        two.two.judge(at(1), report(two.side, &format!("elsewhere-{number}"), Status::Success)).await;
    }
    assert_eq!(two.verdict("here", Status::Success).await, Verdict::Created);
    assert_eq!(two.events().await, MANY + 4);
}

/// An attempt that failed is written and waited for before the batch comes to its end, and with it the event of the report.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_waits_in_between_has_its_numbers_before() {
    let two = Two::new().await;
    two.one.connected(two.side).await;
    two.get_used_to_new_ones("a").await;
    let run = two.one.runs(two.side, 1).await.remove(0);
    two.two.judge(at(1), report(two.side, "elsewhere", Status::Success)).await;
    let reports = vec![report(two.side, "here", Status::Success)];
    let written = two.one.commit(vec![accept(at(2), reports), Write::RecordOutcome(failed(&run, 1, at(2), at(99)))]).await;
    assert!(matches!(&written[..], [Written::Accepted(_, opened), Written::Settled(Settled::Recorded)] if opened.len() == 1));
    assert_eq!(two.one.open_run(run.key).await.next_attempt_at, Some(at(99)));
    assert_eq!(two.events().await, MANY + 3);
}

/// A batch that changes something waits between its reports and its end, and nobody else was in its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_a_change_leaves_no_lock_behind() {
    let two = Two::new().await;
    two.get_used_to_new_ones("a").await;
    let event = publish(two.side, "invoice.paid", at(5));
    let change = Write::Change(Box::new(Change { command: Command::Publish(event), now: at(5), note: None, keep: None }));
    let reports = |name: &str| accept(at(5), vec![report(two.side, name, Status::Success)]);
    two.one.commit(vec![reports("before"), change, reports("behind")]).await;
    two.get_used_to_new_ones("b").await;
    assert_eq!(two.events().await, 2 * MANY + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_to_listen_on_another_node_gets_the_next_event() {
    let two = Two::new().await;
    two.get_used_to_new_ones("a").await;
    let endpoint = two.two.connected(two.side).await;
    let (_, opened) = two.one.judged(at(1), vec![report(two.side, "next", Status::Success)]).await;
    assert_eq!(opened.iter().map(|run| (run.key.endpoint, run.key.sequence)).collect::<Vec<_>>(), [(endpoint, MANY as i64 + 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ended_on_another_node_ends_once() {
    let two = Two::new().await;
    two.one.connected(two.side).await;
    two.get_used_to_new_ones("a").await;
    let runs = two.one.runs(two.side, 3).await;
    two.one.record(succeeded(&runs[0], 1, at(9))).await;
    two.two.record(succeeded(&runs[1], 1, at(9))).await;
    assert_eq!(two.one.settle(succeeded(&runs[1], 1, at(9))).await, Settled::Late, "it is the same attempt");
    two.one.record(succeeded(&runs[2], 1, at(9))).await;
    for run in runs {
        let delivery = two.two.delivery(run.key).await;
        assert_eq!((delivery.state, delivery.attempts.len()), (DeliveryState::Succeeded, 1));
    }
}

/// Nobody waits for the connection between two reports, and the first thing that it is asked then is to write.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_closed_meanwhile_is_made_again() {
    let two = Two::new().await;
    two.get_used_to_new_ones("a").await;
    let client = two.place.client().await;
    client.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", &[&two.place.name]).await.unwrap();
    const LEFT: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    while client.query_one(LEFT, &[&two.place.name]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(two.verdict("after", Status::Success).await, Verdict::Created);
    assert_eq!(two.events().await, MANY + 1);
}

/// A transaction that stays open keeps what was written over, and a row that is looked for by its key is looked for among all
/// of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_written_over_again_and_again_is_not_looked_for() {
    let two = Two::new().await;
    two.get_used_to_new_ones("a").await;
    let before = two.searches("before").await;
    for number in 0..MANY {
        two.verdict(&format!("here-{number}"), Status::Queued).await;
        two.verdict(&format!("at-once-{number}"), Status::Success).await;
    }
    let searches = two.searches("after").await - before;
    assert!(searches < MANY as i64, "{searches} for {} reports, each of which writes three rows over", 2 * MANY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_where_it_was_is_found() {
    for row in ["stream SET queued = queued", "tally SET made = made", "traffic SET attempts = attempts"] {
        let two = Two::new().await;
        two.get_used_to_new_ones("before").await;
        two.place.client().await.execute(&format!("UPDATE {row}"), &[]).await.unwrap();
        assert_eq!(two.verdict("queued", Status::Queued).await, Verdict::Created);
        assert_eq!(two.verdict("success", Status::Success).await, Verdict::Created);
        two.get_used_to_new_ones("after").await;
        let each = 2 * MANY as i64 + 1;
        let standing = two.two.store.standing(two.side.stream, START).await.unwrap();
        assert_eq!(standing.recharges, [each as u64, each as u64, 0, 0]);
        assert_eq!(standing.hours.iter().map(|hour| (hour.made, hour.success)).collect::<Vec<_>>(), [(2 * each, each)]);
        let minutes = two.two.store.minutes(START).await.unwrap();
        assert_eq!(minutes.iter().map(|(_, traffic)| traffic.accepted).sum::<u64>(), 2 * each as u64);
        assert_eq!(two.events().await, each as usize);
    }
}
