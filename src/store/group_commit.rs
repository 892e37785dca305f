//! Group commit: concurrent writers hand typed writes to one committer, which takes what is waiting, runs it as one
//! transaction, and answers each.
//!
//! A write that somebody waits for is never held back to fill a batch: while one batch commits, the next gathers by
//! itself, so that batches grow under load and a single write on an idle system pays for one sync and nothing else.
//! Reports and outcomes share transactions, half of each where there are many of both, so that a backlog that drains does
//! not hold up the next report, nor a flood of reports the outcomes. Outcomes that nobody waits for gather for a few
//! milliseconds first, and a report meanwhile goes without them: a commit costs the same sync and the same hot pages for one
//! as for hundreds, and most of a delivery's price was that.
//!
//! A store that can commit two transactions at a time has outcomes committed beside everything else, by a committer of their
//! own: neither waits for the other, nor for what the other waits for.
//!
//! A write that the store refuses must not fail its neighbours: a refused batch is bisected until the culprit stands
//! alone. Failures that are nobody's fault (disk full, database away) go to all writers of the batch at once; they know
//! best whether to try again.
//!
//! A write that meets a lock of another session (on PostgreSQL: a support query, a backup tool) must not hold up its
//! neighbours either: the store waits briefly, the batch is halved until what is locked stands alone, and that waits its turn
//! in [`locked`].
//!
//! Runs that a batch opened are handed over to the [`Handoff`] in commit order, before their writers are answered. The
//! hand-off may drop them without harm: the store has them.

mod locked;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use locked::{Locked, Party};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::{OpenRun, RecordOutcome, Store, StoreError, Write, Written};
use crate::clock::Stopwatch;
use crate::domain::delivery::RunKey;
use crate::domain::id::{EndpointId, StreamId};
use crate::{failpoint, limits};

/// Where ops and the engine meet: what was accepted, and what changed, as hints that may be lost.
pub trait Handoff: Send + Sync + 'static {
    /// Runs opened by a commit, in order, with everything needed to send them.
    fn opened(&self, runs: Vec<OpenRun>);
    /// An endpoint's settings or state changed.
    fn changed(&self, endpoint: EndpointId);
    /// Runs of an endpoint that were asked for beside its events are due: a resend, or a replay's next ones.
    fn due(&self, endpoint: EndpointId);
    /// What is known of an endpoint's open runs may be wrong: there are more, or other ones.
    fn dropped(&self, endpoint: EndpointId);
    /// Runs of an endpoint were cancelled.
    fn cancelled(&self, endpoint: EndpointId, runs: Vec<RunKey>);
    /// A replay to this endpoint was started: there are runs to open.
    fn replaying(&self, endpoint: EndpointId);
    /// A recharge waits to be handed to its provider.
    fn placed(&self);
    /// Deliveries a second that an endpoint takes at present, where this node knows it.
    fn pace(&self, endpoint: EndpointId) -> Option<f64>;
    /// Attempts that are under way on this node.
    fn in_flight(&self) -> usize;
    /// Whether this node may send, where it is one of many.
    fn holds_lease(&self) -> bool;
    /// Outcomes that were written, or could not be.
    fn settled(&self, outcomes: Vec<(RecordOutcome, Result<Written, StoreError>)>);
    /// The outcome of a commit is not known: runs may have been opened that nobody was told of.
    fn unsure(&self);
    /// A batch of so many rows was committed, in this time, for the metrics.
    fn committed(&self, rows: usize, took: Duration);
    /// A batch could not be committed, for the metrics.
    fn failed(&self, error: &StoreError);
}

type Answer = Result<Written, StoreError>;

/// A write, and who waits for its answer.
type Asked = (Write, oneshot::Sender<Answer>);

/// A write on its way to the store.
struct Item {
    write: Write,
    /// Who waits for its answer; that of an outcome goes to the [`Handoff`].
    caller: Option<oneshot::Sender<Answer>>,
    /// Since when it waits for a lock, if it does.
    waits: Option<Stopwatch>,
}

#[derive(Default)]
struct Pending {
    asked: VecDeque<Asked>,
    /// What attempts came to. Nobody waits for these, but a strict lane.
    outcomes: VecDeque<RecordOutcome>,
    /// Since when there are outcomes.
    gathers: Option<Stopwatch>,
    /// Somebody waits for one of the outcomes.
    hurries: bool,
}

impl Pending {
    /// Whether outcomes need not gather, however long they have.
    fn is_enough(&self) -> bool {
        self.hurries || self.outcomes.len() >= limits::GATHER_MAX
    }

    /// How long the outcomes gather yet; `None` without any.
    fn gather_for(&self) -> Option<Duration> {
        let gathers = self.gathers.as_ref()?;
        Some(if self.is_enough() { Duration::ZERO } else { limits::GATHER_FOR.saturating_sub(gathers.elapsed()) })
    }

    /// How long until there is something to commit; `None` if there is nothing to wait for.
    fn due_in(&self) -> Option<Duration> {
        if self.asked.is_empty() { self.gather_for() } else { Some(Duration::ZERO) }
    }
}

struct Queue {
    news: News,
    pending: Mutex<Pending>,
    more: Notify,
    room: Semaphore,
}

impl Queue {
    fn new() -> Self {
        let room = Semaphore::new(limits::COMMIT_QUEUE_MAX);
        Self { news: News::default(), pending: Mutex::default(), more: Notify::new(), room }
    }

    fn push(&self, push: impl FnOnce(&mut Pending)) {
        // Not by the time: a timer that has come to its end may not have woken the committer yet.
        let hurries = |pending: &Pending| !pending.asked.is_empty() || pending.is_enough();
        let is_news = {
            let mut pending = self.pending.lock();
            let (was_empty, hurried) = (pending.asked.is_empty() && pending.outcomes.is_empty(), hurries(&pending));
            push(&mut pending);
            was_empty || (!hurried && hurries(&pending))
        };
        if is_news {
            self.more.notify_one();
        }
    }
}

/// The writers' side of the committer.
#[derive(Clone)]
pub struct GroupCommit {
    queue: Arc<Queue>,
    /// That of outcomes; the same one where the store commits one transaction at a time.
    outcomes: Arc<Queue>,
}

impl GroupCommit {
    /// Starts the committer of `store`. It ends when the returned task is aborted.
    pub fn start(store: Arc<dyn Store>, handoff: Arc<dyn Handoff>) -> (Self, JoinHandle<()>) {
        let queue = Arc::new(Queue::new());
        let beside = store.settles_beside().then(|| Arc::new(Queue::new()));
        let outcomes = Arc::clone(beside.as_ref().unwrap_or(&queue));
        let mut committers = JoinSet::new();
        for queue in beside.into_iter().chain([Arc::clone(&queue)]) {
            committers.spawn(run(queue, Arc::clone(&store), Arc::clone(&handoff)));
        }
        let task = tokio::spawn(async move { drop(committers.join_all().await) });
        (Self { queue, outcomes }, task)
    }

    /// Writes, and answers when it is durable.
    ///
    /// # Errors
    /// What the store said; [`StoreError::Unknown`] if the committer is gone.
    pub async fn write(&self, write: Write) -> Answer {
        let gone = || StoreError::Unknown("the committer has stopped".to_owned());
        let _room = self.queue.room.acquire().await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        self.queue.push(|pending| pending.asked.push_back((write, answer)));
        answered.await.map_err(|_| gone())?
    }

    /// A wake-up for those who wait for a stream's next event. Like every wake-up it may be lost.
    pub fn news(&self, stream: StreamId) -> Arc<Notify> {
        self.queue.news.of(stream)
    }

    /// Writes an outcome; the answer goes to [`Handoff::settled`]. The engine bounds how many it has under way.
    pub fn settle(&self, settle: RecordOutcome, haste: Haste) {
        self.outcomes.push(|pending| {
            pending.outcomes.push_back(settle);
            pending.gathers.get_or_insert_with(Stopwatch::start);
            pending.hurries |= haste == Haste::Now;
        });
    }
}

/// Whether somebody waits for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Somebody does.
    Now,
    /// Nobody does: it may gather with others for [`limits::GATHER_FOR`].
    None,
}

async fn run(queue: Arc<Queue>, store: Arc<dyn Store>, handoff: Arc<dyn Handoff>) {
    let mut locked = Locked::default();
    loop {
        due(&queue, locked.due_in()).await;
        let taken = take(&mut queue.pending.lock());
        let (items, mut answers) = locked.set_aside_known(taken);
        // Those that met a lock are tried after everything else, each party by itself.
        for items in std::iter::once(items).chain(locked.take_due()).filter(|items| !items.is_empty()) {
            let committed = commit(&*store, items, &*handoff).await;
            answers.extend(committed.answers);
            answers.extend(locked.learn(committed.tried, committed.blocked));
        }
        answers.extend(locked.give_up());
        queue.news.tell(answers.iter().map(|(item, _)| &item.write));
        answer(answers, &*handoff);
    }
}

/// Who waits for a stream's next event.
#[derive(Default)]
struct News(Mutex<HashMap<StreamId, Weak<Notify>>>);

impl News {
    fn of(&self, stream: StreamId) -> Arc<Notify> {
        let mut waited_for = self.0.lock();
        if let Some(known) = waited_for.get(&stream).and_then(Weak::upgrade) {
            return known;
        }
        waited_for.retain(|_, bell| bell.strong_count() > 0);
        let bell = Arc::new(Notify::new());
        waited_for.insert(stream, Arc::downgrade(&bell));
        bell
    }

    fn tell<'a>(&self, writes: impl Iterator<Item = &'a Write>) {
        let waited_for = self.0.lock();
        if waited_for.is_empty() {
            return;
        }
        let bells: Vec<Arc<Notify>> = match streams(writes) {
            Some(streams) => streams.iter().filter_map(|stream| waited_for.get(stream)?.upgrade()).collect(),
            None => waited_for.values().filter_map(Weak::upgrade).collect(),
        };
        bells.iter().for_each(|bell| bell.notify_waiters());
    }
}

/// The streams that writes may have made events in; `None` if that is not told by the writes.
fn streams<'a>(writes: impl Iterator<Item = &'a Write>) -> Option<HashSet<StreamId>> {
    let mut streams = HashSet::new();
    for write in writes {
        match write {
            Write::Accept(accept) => streams.extend(accept.reports.iter().map(|report| report.stream)),
            Write::Publish(publish) => drop(streams.insert(publish.stream)),
            Write::RecordOutcome(_) => {}
            Write::Change(_) => return None,
        }
    }
    Some(streams)
}

/// Waits until there is something to commit, but no longer than `at_most`.
async fn due(queue: &Queue, at_most: Option<Duration>) {
    loop {
        let due_in = [queue.pending.lock().due_in(), at_most].into_iter().flatten().min();
        match due_in {
            Some(Duration::ZERO) => return,
            // Whether it ends by time or by something new, it is looked again.
            Some(left) => {
                let woken = tokio::time::timeout(left, queue.more.notified()).await;
                if woken.is_err() && at_most.is_some_and(|at_most| at_most <= left) {
                    return;
                }
            }
            None => queue.more.notified().await,
        }
    }
}

/// What the next transaction takes: the writes that somebody waits for, and then as many outcomes, so that neither holds up
/// the other for long. Outcomes that still gather stay.
fn take(pending: &mut Pending) -> Vec<Item> {
    let (mut rows, mut count) = (0, 0);
    for (next, _) in &pending.asked {
        rows += next.rows();
        if count > 0 && rows > limits::BATCH_ROWS_MAX {
            break;
        }
        count += 1;
    }
    let mut items: Vec<Item> =
        pending.asked.drain(..count).map(|(write, caller)| Item { write, caller: Some(caller), waits: None }).collect();
    if pending.gather_for() == Some(Duration::ZERO) {
        let outcomes = rows.clamp(limits::GATHER_MAX / 2, limits::BATCH_ROWS_MAX).min(pending.outcomes.len());
        items.extend(pending.outcomes.drain(..outcomes).map(|settle| Item {
            write: Write::RecordOutcome(settle),
            caller: None,
            waits: None,
        }));
        if pending.outcomes.is_empty() {
            (pending.gathers, pending.hurries) = (None, false);
        }
    }
    items
}

/// What came of writes that were committed together.
#[derive(Default)]
struct Committed {
    answers: Vec<(Item, Answer)>,
    /// Those that met another session's lock, with the store's words.
    blocked: Vec<(Item, StoreError)>,
    /// The parties of all of them.
    tried: Vec<Party>,
}

/// Commits `items`. Where one of them is refused, or meets a lock, the batch is halved until it stands alone.
async fn commit(store: &dyn Store, items: Vec<Item>, handoff: &dyn Handoff) -> Committed {
    let mut done = Committed { tried: locked::parties(&items), ..Committed::default() };
    let (mut pending, mut waits_left) = (vec![items], limits::LOCK_WAITS_PER_ROUND);
    while let Some(items) = pending.pop() {
        let watch = Stopwatch::start();
        failpoint::reach("commit.before");
        let (writes, callers): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.write, (item.caller, item.waits))).unzip();
        let (writes, result) = store.commit(writes).await;
        failpoint::reach("commit.after");
        if let Err(error) = &result {
            handoff.failed(error);
        }
        let rows = writes.iter().map(Write::rows).sum();
        // A store whose writer has stopped answers nothing, and the callers learn that from their channels.
        let mut items: Vec<Item> = writes.into_iter().zip(callers).map(|(write, (caller, waits))| Item { write, caller, waits }).collect();
        match result {
            Ok(written) => {
                handoff.committed(rows, watch.elapsed());
                done.answers.extend(items.into_iter().zip(written.into_iter().map(Ok)));
            }
            Err(StoreError::Rejected(_)) if items.len() > 1 => {
                let second = items.split_off(items.len() / 2);
                pending.extend([second, items]);
            }
            Err(error @ StoreError::Busy(_)) => {
                waits_left -= 1;
                match locked::halves(items) {
                    Ok((first, second)) if waits_left > 0 => pending.extend([second, first]),
                    Ok((first, second)) => {
                        // Too much is locked to wait for each by itself.
                        let rest = pending.drain(..).flatten();
                        done.blocked.extend(first.into_iter().chain(second).chain(rest).map(|item| (item, error.clone())));
                    }
                    Err(alone) => done.blocked.extend(alone.into_iter().map(|item| (item, error.clone()))),
                }
            }
            Err(error) => {
                if matches!(error, StoreError::Unknown(_)) {
                    handoff.unsure();
                }
                done.answers.extend(items.into_iter().map(|item| (item, Err(error.clone()))));
            }
        }
    }
    done
}

fn answer(mut answers: Vec<(Item, Answer)>, handoff: &dyn Handoff) {
    let opened: Vec<OpenRun> = answers.iter_mut().flat_map(|(_, answer)| take_opened(answer)).collect();
    if !opened.is_empty() {
        handoff.opened(opened);
        failpoint::reach("handoff.after");
    }
    let mut settled = Vec::new();
    for (Item { write, caller, .. }, answer) in answers {
        match (caller, write) {
            // A caller that has gone away has lost its answer, not its write.
            (Some(caller), _) => drop(caller.send(answer)),
            (None, Write::RecordOutcome(settle)) => settled.push((settle, answer)),
            (None, _) => {}
        }
    }
    if !settled.is_empty() {
        handoff.settled(settled);
    }
}

fn take_opened(answer: &mut Answer) -> Vec<OpenRun> {
    match answer {
        Ok(Written::Accepted(_, opened) | Written::Published(_, opened) | Written::Reply(_, opened)) => std::mem::take(opened),
        _ => Vec::new(),
    }
}
