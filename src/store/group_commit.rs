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
//! Runs that a batch opened are handed over to the [`Handoff`] in commit order, before their writers are answered. The
//! hand-off may drop them without harm: the store has them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::{OpenRun, Settle, Store, StoreError, Write, Written};
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
    fn settled(&self, outcomes: Vec<(Settle, Result<Written, StoreError>)>);
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

#[derive(Default)]
struct Pending {
    asked: VecDeque<Asked>,
    /// What attempts came to. Nobody waits for these, but a strict lane.
    outcomes: VecDeque<Settle>,
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
    pub fn settle(&self, settle: Settle, haste: Haste) {
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
    loop {
        due(&queue).await;
        let (writes, callers) = take(&mut queue.pending.lock());
        let answers = commit(&*store, writes, &*handoff).await;
        queue.news.tell(answers.iter().map(|(write, _)| write));
        answer(answers, callers, &*handoff);
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
            Write::Settle(_) => {}
            Write::Change(_) => return None,
        }
    }
    Some(streams)
}

/// Waits until there is something to commit.
async fn due(queue: &Queue) {
    loop {
        let due_in = queue.pending.lock().due_in();
        match due_in {
            Some(Duration::ZERO) => return,
            // Whether it ends by time or by something new, it is looked again.
            Some(left) => drop(tokio::time::timeout(left, queue.more.notified()).await),
            None => queue.more.notified().await,
        }
    }
}

/// What the next transaction takes: those that somebody waits for, and then as many outcomes, so that neither holds up the
/// other for long. Outcomes that still gather stay. Answers the writes, and who waits for the first of them.
fn take(pending: &mut Pending) -> (Vec<Write>, Vec<oneshot::Sender<Answer>>) {
    let (mut rows, mut count) = (0, 0);
    for (next, _) in &pending.asked {
        rows += next.rows();
        if count > 0 && rows > limits::BATCH_ROWS_MAX {
            break;
        }
        count += 1;
    }
    let (mut writes, callers): (Vec<_>, Vec<_>) = pending.asked.drain(..count).unzip();
    if pending.gather_for() == Some(Duration::ZERO) {
        let outcomes = rows.clamp(limits::GATHER_MAX / 2, limits::BATCH_ROWS_MAX).min(pending.outcomes.len());
        writes.extend(pending.outcomes.drain(..outcomes).map(Write::Settle));
        if pending.outcomes.is_empty() {
            (pending.gathers, pending.hurries) = (None, false);
        }
    }
    (writes, callers)
}

/// Commits `writes`, bisecting where one of them is refused. Answers in order, each with its write.
async fn commit(store: &dyn Store, writes: Vec<Write>, handoff: &dyn Handoff) -> Vec<(Write, Answer)> {
    let mut pending = vec![writes];
    let mut answers = Vec::new();
    while let Some(writes) = pending.pop() {
        let watch = Stopwatch::start();
        failpoint::reach("commit.before");
        let (mut writes, result) = store.commit(writes).await;
        failpoint::reach("commit.after");
        if let Err(error) = &result {
            handoff.failed(error);
        }
        match result {
            Ok(written) => {
                handoff.committed(writes.iter().map(Write::rows).sum(), watch.elapsed());
                answers.extend(writes.into_iter().zip(written.into_iter().map(Ok)));
            }
            Err(StoreError::Rejected(_)) if writes.len() > 1 => {
                let second = writes.split_off(writes.len() / 2);
                pending.extend([second, writes]);
            }
            Err(error @ StoreError::Unknown(_)) => {
                handoff.unsure();
                answers.extend(writes.into_iter().map(|write| (write, Err(error.clone()))));
            }
            Err(error) => answers.extend(writes.into_iter().map(|write| (write, Err(error.clone())))),
        }
    }
    answers
}

fn answer(mut answers: Vec<(Write, Answer)>, callers: Vec<oneshot::Sender<Answer>>, handoff: &dyn Handoff) {
    let opened: Vec<OpenRun> = answers.iter_mut().flat_map(|(_, answer)| take_opened(answer)).collect();
    if !opened.is_empty() {
        handoff.opened(opened);
        failpoint::reach("handoff.after");
    }
    // A store whose writer has stopped answers nothing, and then the callers learn that from their channels.
    let outcomes = answers.split_off(callers.len().min(answers.len()));
    for ((_, answer), waits) in answers.into_iter().zip(callers) {
        // A caller that has gone away has lost its answer, not its write.
        drop(waits.send(answer));
    }
    let settled = |(write, answer)| if let Write::Settle(settle) = write { Some((settle, answer)) } else { None };
    let settled: Vec<_> = outcomes.into_iter().filter_map(settled).collect();
    if !settled.is_empty() {
        handoff.settled(settled);
    }
}

fn take_opened(answer: &mut Answer) -> Vec<OpenRun> {
    match answer {
        Ok(Written::Accepted(_, opened) | Written::Published(_, opened) | Written::Done(_, opened)) => std::mem::take(opened),
        _ => Vec::new(),
    }
}
