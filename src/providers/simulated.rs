//! The provider of test mode: nothing that it does reaches the real world (guarantee G9). The last two digits of the connection
//! number say what becomes of a recharge, as docs/recharges.md tells vendors.

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::callback::{Envelope, Proven};
use super::{Provider, Terms};
use crate::clock::Environment;
use crate::domain::id::RechargeId;
use crate::domain::provider::{Said, Word};
use crate::domain::recharge::Status;
use crate::domain::submission::Submission;
use crate::domain::time::Timestamp;

/// Its name.
pub const NAME: &str = "simulated";
/// How long it takes over what does not settle at once.
pub const SETTLES_AFTER: Duration = Duration::from_secs(5);

/// What becomes of a recharge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Success,
    Failed,
    QueuedThenSuccess,
    QueuedThenFailed,
    NeverSettles,
    CallsBackTwice,
    CallsBackFirst,
    LateSuccess,
    Reversal,
    NoAnswer,
    Malformed,
}

impl Fate {
    fn of(connection_no: &str) -> Self {
        let last = connection_no.get(connection_no.len().saturating_sub(2)..).unwrap_or_default();
        match last {
            "01" => Self::Failed,
            "02" => Self::QueuedThenSuccess,
            "03" => Self::QueuedThenFailed,
            "04" => Self::NeverSettles,
            "05" => Self::CallsBackTwice,
            "06" => Self::CallsBackFirst,
            "07" => Self::LateSuccess,
            "08" => Self::Reversal,
            "09" => Self::NoAnswer,
            "10" => Self::Malformed,
            _ => Self::Success,
        }
    }
}

/// Something that it calls back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalledBack {
    /// About which recharge.
    pub recharge: RechargeId,
    /// What it says.
    pub said: Said,
}

/// The simulated provider.
pub struct Simulated {
    terms: Terms,
    environment: Environment,
    calls: UnboundedSender<CalledBack>,
}

impl Simulated {
    /// One that tells what it calls back to `calls`.
    pub fn new(environment: Environment, calls: UnboundedSender<CalledBack>) -> Self {
        let terms = Terms {
            name: NAME.to_owned(),
            networks: Vec::new(),
            in_flight: 64,
            rate_per_second: NonZeroU32::new(10_000),
            enquire_after: SETTLES_AFTER,
        };
        Self { terms, environment, calls }
    }

    fn call_back(&self, recharge: RechargeId, word: Word) {
        let said = Said { reference: recharge.to_string(), word, amount: None };
        // Where nobody listens any more, the server is stopping.
        drop(self.calls.send(CalledBack { recharge, said }));
    }

    /// The same later.
    fn call_back_later(&self, recharge: RechargeId, word: Word) {
        let (clock, calls) = (self.environment.clock.clone(), self.calls.clone());
        let at = clock.now().plus(SETTLES_AFTER);
        tokio::spawn(async move {
            clock.sleep_until(at).await;
            let said = Said { reference: recharge.to_string(), word, amount: None };
            drop(calls.send(CalledBack { recharge, said }));
        });
    }

    fn settled(&self, submission: &Submission, status: Status) -> Word {
        let provider_ref = Some(format!("SIM-{}", submission.recharge.transaction_id));
        let reason = (status == Status::Failed).then(|| "the simulated network refused the number".to_owned());
        Word::Settled { status, provider_ref, reason }
    }
}

#[async_trait]
impl Provider for Simulated {
    fn terms(&self) -> &Terms {
        &self.terms
    }

    async fn submit(&self, submission: &Submission) -> Word {
        let id = submission.recharge.id;
        let settled = |status| self.settled(submission, status);
        match Fate::of(submission.order.connection_no.as_deref().unwrap_or_default()) {
            Fate::Success => settled(Status::Success),
            Fate::Failed => settled(Status::Failed),
            Fate::QueuedThenSuccess | Fate::QueuedThenFailed | Fate::NeverSettles => Word::Queued,
            Fate::CallsBackTwice => {
                self.call_back_later(id, settled(Status::Success));
                self.call_back_later(id, settled(Status::Success));
                Word::Queued
            }
            Fate::CallsBackFirst => {
                self.call_back(id, settled(Status::Success));
                settled(Status::Success)
            }
            Fate::LateSuccess => {
                self.call_back_later(id, settled(Status::Success));
                settled(Status::Failed)
            }
            Fate::Reversal => {
                self.call_back_later(id, settled(Status::Failed));
                settled(Status::Success)
            }
            Fate::NoAnswer => Word::Unclear("it did not answer".to_owned()),
            Fate::Malformed => Word::Unclear("its answer is not JSON".to_owned()),
        }
    }

    async fn enquire(&self, submission: &Submission) -> Word {
        let is_early = submission.sent_at.is_some_and(|sent_at| self.environment.clock.now().since(sent_at) < SETTLES_AFTER);
        match Fate::of(submission.order.connection_no.as_deref().unwrap_or_default()) {
            Fate::NeverSettles => Word::Queued,
            _ if is_early => Word::Queued,
            Fate::Failed | Fate::QueuedThenFailed | Fate::LateSuccess => self.settled(submission, Status::Failed),
            _ => self.settled(submission, Status::Success),
        }
    }

    /// It calls back from within; nothing that comes from outside is its.
    fn expects(&self, _: &Envelope, _: Timestamp) -> bool {
        false
    }

    fn proves(&self, _: &Envelope, _: &[u8], _: Timestamp) -> Option<Proven> {
        None
    }

    fn read(&self, _: &Value) -> Option<Said> {
        None
    }
}
