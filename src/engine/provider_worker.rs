//! Recharges handed to their providers, and enquired about until somebody knows what became of them.
//!
//! Taking a recharge to hand it over writes down that it was, in one commit: whatever happens then, to the answer or to this
//! process, it is enquired about and never handed over again. Only where nothing reached the provider does it go back. So it is
//! taken when its request can be made, after any wait for the provider's rate, and a stop waits for what was taken. A provider
//! that cannot be reached, or says nothing, several times in a row gets no new recharges for a while: they wait, and fail for
//! nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Engine;
use crate::domain::provider::Word;
use crate::domain::submission::{Next, Submission, ask_again, unclear_waits};
use crate::domain::time::Timestamp;
use crate::providers::Provider;
use crate::store::{Accept, Addressed, Command, Reply, StoreError, Write};
use crate::{failpoint, limits};

/// Whether a provider is well.
#[derive(Default)]
struct Breaker {
    /// How often in a row it could not be reached, or said nothing.
    failures: u32,
    /// It gets no new recharges before this.
    closed_until: Option<Timestamp>,
}

impl Breaker {
    /// Whether new recharges may be handed over, and how many at once.
    fn takes(&self, now: Timestamp, room: usize) -> (bool, usize) {
        match self.closed_until {
            Some(until) if now < until => (false, room),
            // It is tried with one.
            Some(_) => (true, 1),
            None => (true, room),
        }
    }

    /// Learns from a call. Answers whether the provider is left alone from now on, or no longer.
    fn learn(&mut self, word: &Word, now: Timestamp) -> Option<Shift> {
        match word {
            Word::Settled { .. } | Word::Queued => {
                let before = std::mem::take(self);
                before.closed_until.map(|_| Shift::Closed)
            }
            Word::Unclear(_) | Word::NotSent(_) => {
                self.failures += 1;
                if self.failures < limits::PROVIDER_FAILURES {
                    return None;
                }
                let rest = limits::PROVIDER_RESTS * (1 << (self.failures - limits::PROVIDER_FAILURES).min(4));
                let before = self.closed_until.replace(now.plus(rest));
                before.is_none().then_some(Shift::Opened(rest))
            }
        }
    }
}

/// What a call changed for a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shift {
    /// It gets no new recharges for so long.
    Opened(Duration),
    /// It gets new ones again.
    Closed,
}

/// A provider at work.
struct ProviderWorker {
    provider: Arc<dyn Provider>,
    breaker: Mutex<Breaker>,
    rate: Option<DefaultDirectRateLimiter>,
}

/// Something that was taken, or is about to be: a stop waits for it.
pub(super) struct UnderWay(Arc<Engine>);

impl UnderWay {
    /// None once the engine is stopping.
    fn begin(engine: &Arc<Engine>) -> Option<Self> {
        // Counted before the flag is read, so that a stop either is seen here or sees this.
        let under_way = Self::go_on(engine);
        (!engine.submitting.is_stopped()).then_some(under_way)
    }

    fn go_on(engine: &Arc<Engine>) -> Self {
        engine.submitting.count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(engine))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.submitting.count.fetch_sub(1, Ordering::SeqCst);
        self.0.quiet.notify_waiters();
    }
}

/// What is under way at providers, and whether more may be.
#[derive(Default)]
pub(super) struct Submitting {
    count: AtomicUsize,
    stopped: AtomicBool,
}

impl Submitting {
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Engine {
    /// Hands over and enquires for one provider, until the engine is stopped.
    pub(super) async fn run_provider(self: Arc<Self>, provider: Arc<dyn Provider>, mut placed: watch::Receiver<u64>) {
        let rate = provider.terms().rate_per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        let desk = Arc::new(ProviderWorker { provider, breaker: Mutex::default(), rate });
        let mut under_way = JoinSet::new();
        loop {
            while under_way.try_join_next().is_some() {}
            let room = desk.provider.terms().in_flight.saturating_sub(under_way.len());
            match self.take_submissions(&desk, room).await {
                Ok(taken) => {
                    let has_more = desk.rate.is_some() && !taken.is_empty();
                    for (submission, waited_for) in taken {
                        let (engine, desk) = (Arc::clone(&self), Arc::clone(&desk));
                        under_way.spawn(async move {
                            engine.execute(&desk, submission).await;
                            drop(waited_for);
                        });
                    }
                    if has_more {
                        continue;
                    }
                }
                Err(error) => super::failed("submissions", &error),
            }
            let next = self.now().plus(limits::PROVIDER_EVERY);
            tokio::select! {
                changed = placed.changed() => if changed.is_err() { return },
                Some(_) = under_way.join_next() => {}
                () = self.environment.clock.sleep_until(next) => {}
            }
        }
    }

    async fn take_submissions(self: &Arc<Self>, desk: &ProviderWorker, room: usize) -> Result<Vec<(Submission, UnderWay)>, StoreError> {
        let (with_new, limit) = desk.breaker.lock().takes(self.now(), room);
        if limit == 0 || self.submitting.is_stopped() {
            return Ok(Vec::new());
        }
        let terms = desk.provider.terms();
        let (provider, hold) = (terms.name.clone(), unclear_waits(terms.enquire_after));
        // What can be seen without writing is not written.
        if !self.store.submissions_due(provider.clone(), with_new, self.now()).await? {
            return Ok(Vec::new());
        }
        // One at a time where there is a rate: what is taken counts as handed over, and must not wait any more.
        let limit = if let Some(rate) = &desk.rate {
            rate.until_ready().await;
            1
        } else {
            limit
        };
        let Some(taking) = UnderWay::begin(self) else { return Ok(Vec::new()) };
        match self.change(Command::TakeSubmissions { provider, with_new, hold, limit }, None).await? {
            Reply::Taken(taken) => {
                let taken = taken.into_iter().map(|submission| (submission, UnderWay::go_on(self))).collect();
                drop(taking);
                Ok(taken)
            }
            other => unreachable!("what is to be done is answered with submissions, not with {other:?}"),
        }
    }

    async fn execute(&self, desk: &ProviderWorker, submission: Submission) {
        let is_new = submission.sent_at.is_none();
        // It counts as handed over from here, as the store has it.
        let sent_at = submission.sent_at.unwrap_or_else(|| self.now());
        failpoint::reach("submit.before");
        let word = if is_new { desk.provider.submit(&submission).await } else { desk.provider.enquire(&submission).await };
        failpoint::reach("submit.after");
        let now = self.now();
        let provider = &desk.provider.terms().name;
        let call = if is_new { "submit" } else { "enquire" };
        tracing::debug!(provider, recharge = %submission.recharge.id, call, answer = word.summary(), "called a provider");
        match desk.breaker.lock().learn(&word, now) {
            Some(Shift::Opened(rest)) => {
                tracing::warn!(provider, seconds = rest.as_secs(), "the provider keeps failing; it gets no new recharges for a while");
            }
            Some(Shift::Closed) => tracing::info!(provider, "the provider answers again; it gets new recharges"),
            None => {}
        }
        let asked = submission.asked + u32::from(!is_new);
        let after = desk.provider.terms().enquire_after;
        if let Word::Unclear(why) | Word::NotSent(why) = &word {
            tracing::info!(recharge = %submission.recharge.id, provider, %why, "the provider gave no outcome of a recharge; it is asked again");
        }
        let next = match &word {
            Word::Settled { .. } => Next::Over,
            Word::Queued => ask_again(sent_at, asked, false, after, now),
            Word::Unclear(_) => ask_again(sent_at, asked, true, after, now),
            Word::NotSent(_) if is_new => Next::Submit(now.plus(limits::PROVIDER_RESTS)),
            Word::NotSent(_) => ask_again(sent_at, asked, true, after, now),
        };
        let source = if is_new { "answer" } else { "enquiry" };
        if let Err(error) = self.follow(&submission, (&word, source), next, asked).await {
            tracing::warn!(recharge = %submission.recharge.id, %error, "what a provider said could not be written down; it is asked again");
        }
    }

    /// Writes down what a provider said, and what follows.
    async fn follow(
        &self,
        submission: &Submission,
        (word, source): (&Word, &'static str),
        next: Next,
        asked: u32,
    ) -> Result<(), StoreError> {
        let recharge = &submission.recharge;
        if let Some(report) = submission.report(word) {
            let (_, mode) =
                self.store.owner(recharge.stream).await?.ok_or_else(|| StoreError::Damaged("a recharge is nobody's".to_owned()))?;
            let (now, deadline) = (self.now(), self.deadline);
            let reports = vec![Addressed { stream: recharge.stream, mode, report }];
            self.committer.get().expect("it is set at the start").write(Write::Accept(Accept { source, now, deadline, reports })).await?;
        }
        self.change(Command::Follow(recharge.id, next, asked), None).await.map(drop)
    }

    /// There is something to hand over.
    pub(super) fn placed(&self) {
        self.placed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_provider_that_says_nothing_gets_no_new_recharges_for_a_while() {
        let (mut breaker, start) = (Breaker::default(), Timestamp::from_millis(0));
        let later = |seconds| start.plus(Duration::from_secs(seconds));
        for _ in 0..limits::PROVIDER_FAILURES {
            assert_eq!(breaker.takes(start, 8), (true, 8));
            breaker.learn(&Word::NotSent(String::new()), start);
        }
        assert_eq!(breaker.takes(start, 8), (false, 8), "enquiries go on");
        assert_eq!(breaker.takes(later(10), 8), (true, 1));
        breaker.learn(&Word::Unclear(String::new()), later(10));
        assert_eq!((breaker.takes(later(29), 8), breaker.takes(later(30), 8)), ((false, 8), (true, 1)));
        breaker.learn(&Word::Queued, later(30));
        assert_eq!(breaker.takes(later(30), 8), (true, 8));
    }
}
