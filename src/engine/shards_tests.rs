//! A board among others: what goes out under which lease, and what happens when shards come and go.

use std::time::Duration;

use super::lane::Read;
use super::scheduler::{Finished, Job, Scheduler, StoreTask, Tenure};
use super::scheduler_tests::{Table, bounds, outcome};
use crate::clock::BootTime;
use crate::domain::attempt::OutcomeKind;
use crate::domain::delivery::RunKey;
use crate::domain::endpoint::Ordering;
use crate::domain::id::EndpointId;
use crate::domain::retry::Policy;
use crate::domain::shard::{Holding, Owner, SHARDS, Shard};
use crate::domain::time::Timestamp;
use crate::store::cluster::Standing;
use crate::store::{NextStep, OpenPage};

const ME: u8 = 1;
const OTHER: u8 = 2;
const MINUTE: Duration = Duration::from_secs(60);

fn table() -> Table {
    let policy = Policy { schedule: vec![Duration::from_secs(5)], deadline: Duration::from_secs(86_400) };
    Table { scheduler: Scheduler::new(bounds(), policy, Tenure::among_others()), ..Table::new(bounds()) }
}

/// All shards belong to this node.
fn standing(node: u8, epoch: i64) -> Standing {
    let owner = Some(Owner { node, lives: true });
    Standing { node: ME, holdings: vec![Holding { owner, epoch }; SHARDS], seized: Vec::new(), surplus: Vec::new() }
}

fn soon() -> BootTime {
    BootTime::now().plus(MINUTE)
}

impl Table {
    fn stands(&mut self, standing: &Standing) -> usize {
        let strict_from = self.now.plus(MINUTE);
        self.scheduler.renewed(standing, soon(), strict_from)
    }

    fn sent(&mut self) -> Vec<i64> {
        self.jobs().iter().map(|job: &Job| job.run.key.sequence).collect()
    }
}

#[test]
fn nothing_goes_out_without_a_lease() {
    let mut table = table();
    table.open(1, 1..=1, 1);
    assert_eq!(table.sent(), [0_i64; 0], "it owns nothing yet");
    assert_eq!(table.stands(&standing(ME, 1)), SHARDS);
    assert_eq!(table.stands(&standing(ME, 1)), 0, "they are known");
    table.open(1, 2..=2, 1);
    let strict_from = table.now;
    table.scheduler.renewed(&standing(ME, 1), BootTime::now(), strict_from);
    assert_eq!(table.sent(), [0_i64; 0], "the lease has run out");
    table.stands(&standing(ME, 1));
    assert_eq!(table.drain(), [1, 2]);
}

#[test]
fn what_others_send_is_answered_with_who_they_are() {
    let mut table = table();
    table.stands(&standing(OTHER, 1));
    let run = table.run(1, 5, 1);
    assert_eq!(table.scheduler.opened(vec![run], table.now), [(OTHER, RunKey { endpoint: EndpointId::new(1), sequence: 5, run: 1 })]);
    assert_eq!(table.sent(), [0_i64; 0]);
    assert!(!table.scheduler.runs_singletons());
}

#[test]
fn a_run_that_another_node_accepted_before_one_of_this_node_is_found() {
    let mut table = table();
    table.stands(&standing(ME, 1));
    table.prove(1);
    let elsewhere = table.run(1, 2, 1);
    table.stored.get_mut(&elsewhere.key.endpoint).unwrap().push(elsewhere);
    table.open(1, 3..=3, 1);
    table.scheduler.opened_elsewhere(EndpointId::new(1), 2, table.now);
    table.do_chores();
    let mut sent = table.drain();
    sent.sort_unstable();
    assert_eq!(sent, [2, 3]);
}

#[test]
fn a_run_that_is_told_of_while_the_store_is_asked_for_later_ones_is_found() {
    let (mut table, endpoint) = (table(), EndpointId::new(1));
    table.stands(&standing(ME, 1));
    table.prove(1);
    table.open(1, 5..=5, 1);
    let (earlier, later) = (table.run(1, 2, 1), table.run(1, 6, 1));
    table.scheduler.opened_elsewhere(endpoint, 6, table.now);
    let Some(StoreTask::Refill(id, refill)) = table.scheduler.next_chore() else { panic!("the store is asked") };
    table.scheduler.opened_elsewhere(endpoint, 2, table.now);
    table.scheduler.refilled(
        id,
        refill,
        Some(Read { ordered: OpenPage { runs: vec![later.clone()], more: false }, ..Read::default() }),
        table.now,
    );
    table.stored.get_mut(&endpoint).unwrap().extend([earlier, later]);
    table.do_chores();
    let mut sent = table.drain();
    sent.sort_unstable();
    assert_eq!(sent, [2, 5, 6]);
}

#[test]
fn a_shard_that_is_to_be_given_back_goes_once_nothing_of_it_is_under_way() {
    let mut table = table();
    table.stands(&standing(ME, 1));
    table.prove(1);
    table.open(1, 2..=50, 1);
    let under_way = table.jobs();
    assert!(!under_way.is_empty());
    let shard = Shard::of(EndpointId::new(1));
    table.stands(&Standing { surplus: vec![shard], ..standing(ME, 1) });
    assert!(table.scheduler.is_giving_back());
    assert_eq!(table.scheduler.vacated(), [], "something is under way");
    for job in under_way {
        assert!(table.finish(job, OutcomeKind::Succeeded).is_none(), "and nothing more is begun");
    }
    assert_eq!(table.scheduler.vacated(), [shard]);
    assert_eq!(table.scheduler.bytes_in_memory(), 0);
    assert!(!table.scheduler.is_mine(EndpointId::new(1)) && !table.scheduler.is_giving_back());
}

#[test]
fn a_strict_endpoint_of_a_seized_shard_waits_until_its_last_owner_can_have_nothing_under_way() {
    let mut table = Table { ordering: Ordering::Strict, ..table() };
    let seized = Shard::all().collect();
    table.stands(&Standing { seized, ..standing(ME, 2) });
    table.open(1, 1..=2, 1);
    assert_eq!(table.sent(), [0_i64; 0]);
    let from = table.now.plus(MINUTE);
    assert_eq!(table.scheduler.next_wake(), Some(from));
    // To have the lease once more is no reason to wait once more.
    table.now = table.now.plus(MINUTE / 2);
    table.stands(&standing(ME, 2));
    table.now = from;
    table.scheduler.tick(from);
    assert_eq!(table.sent(), [1]);
}

/// The database was away for longer than the lease, and nobody has taken anything meanwhile.
#[test]
fn what_waits_to_be_written_down_when_the_lease_runs_out_is_not_sent_again() {
    let mut table = table();
    table.stands(&standing(ME, 1));
    table.prove(1);
    table.open(1, 2..=3, 1);
    let mut under_way = table.jobs();
    let (done, dropped) = (under_way.remove(0), under_way.remove(0));
    let settle = table.scheduler.finished(done, table.now, outcome(OutcomeKind::Succeeded), table.now, 0.0).settle;
    let now = table.now;
    table.scheduler.renewed(&standing(ME, 1), BootTime::now(), now);
    table.scheduler.abandoned(dropped, table.now);
    assert_eq!(table.sent(), [0_i64; 0], "nothing is begun");
    assert_eq!(table.stands(&standing(ME, 1)), 0);
    assert_eq!(table.drain(), [3], "what was dropped is sent again, and nothing else");
    table.settle(&settle);
    assert_eq!((table.sent().len(), table.scheduler.bytes_in_memory()), (0, 0));
}

#[test]
fn what_was_under_way_when_the_lease_ran_out_touches_no_later_lane() {
    let mut table = table();
    table.stands(&standing(ME, 1));
    table.prove(1);
    table.open(1, 2..=3, 1);
    let mut before = table.jobs();
    let (late, dropped) = (before.remove(0), before.remove(0));
    table.scheduler.lose_all();
    assert_eq!((table.scheduler.bytes_in_memory(), table.scheduler.in_flight()), (0, 2));
    table.scheduler.abandoned(dropped, table.now);
    table.stands(&standing(ME, 3));
    table.scheduler.due(EndpointId::new(1), table.now);
    table.do_chores();
    let again = table.jobs().remove(0);
    let finished = table.scheduler.finished(late, Timestamp::from_millis(0), outcome(OutcomeKind::Rejected), table.now, 0.0);
    assert_eq!(finished.settle.epoch, 1, "it is told in which tenure that was decided");
    assert!(matches!(finished.settle.after, NextStep::Retry { .. }));
    table.scheduler.over(&[(finished.settle.key, finished.settle.epoch)]);
    table.scheduler.settled(&[finished.settle], table.now);
    let Finished { settle, next, .. } = table.scheduler.finished(again, table.now, outcome(OutcomeKind::Succeeded), table.now, 0.0);
    assert_eq!((settle.key.sequence, settle.epoch), (2, 3), "both are sent anew");
    table.settle(&settle);
    assert_eq!(next.into_iter().flat_map(|job| table.finish(job, OutcomeKind::Succeeded)).count(), 0);
    assert_eq!(table.stored[&EndpointId::new(1)].len(), 0);
    assert_eq!((table.scheduler.in_flight(), table.scheduler.unsettled(), table.scheduler.bytes_in_memory()), (0, 0, 0));
}
