//! Providers: who executes recharges. Each is handed a recharge once, and asked afterwards what became of it.
//!
//! A provider answers with a [`Word`]. What is not an outcome it says as such: the engine holds such a recharge and asks again
//! (guarantee G2).

pub mod callback;
pub mod http;
pub mod simulated;
pub mod statement;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use self::callback::{Envelope, Proven};
use crate::domain::provider::{Said, Word};
use crate::domain::submission::Submission;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;

/// What the operator has set of a provider, whatever its kind.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Its name, as reports and callbacks' paths have it.
    pub name: String,
    /// The networks it serves; all if empty.
    pub networks: Vec<String>,
    /// Most requests under way to it.
    pub in_flight: usize,
    /// Most requests a second, if there is a bound.
    pub rate_per_second: Option<NonZeroU32>,
    /// The first enquiry after it was handed a recharge.
    pub enquire_after: Duration,
}

/// What an authentic callback is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The provider's word.
    Outcome,
    /// A reason to ask the provider.
    Enquire,
}

/// Who executes recharges.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// What the operator has set.
    fn terms(&self) -> &Terms;

    /// Hands a recharge over. It is called once for a recharge, unless the answer was [`Word::NotSent`].
    async fn submit(&self, submission: &Submission) -> Word;

    /// Asks what became of a recharge that was, or may have been, handed over.
    async fn enquire(&self, submission: &Submission) -> Word;

    /// Whether a callback may be the provider's, judged before its body is read.
    fn expects(&self, callback: &Envelope, now: Timestamp) -> bool;

    /// Whether a callback is the provider's, and what of it counts; none where it is refused.
    fn proves(&self, callback: &Envelope, body: &[u8], now: Timestamp) -> Option<Proven>;

    /// What the fields of a callback say; none where that cannot be read.
    fn read(&self, said: &Value) -> Option<Said>;
}

/// All providers: those of the configuration for live recharges, the simulated one for test mode (guarantee G9).
#[derive(Clone)]
pub struct Providers {
    live: Arc<[Arc<dyn Provider>]>,
    simulated: Arc<dyn Provider>,
}

impl Providers {
    /// Those of the configuration, in their order, and the simulated one.
    pub fn new(live: Vec<Arc<dyn Provider>>, simulated: Arc<dyn Provider>) -> Self {
        Self { live: live.into(), simulated }
    }

    /// Who serves a network in a mode: the first that does.
    pub fn serving(&self, mode: Mode, network: &str) -> Option<&Arc<dyn Provider>> {
        let serves = |terms: &Terms| terms.networks.is_empty() || terms.networks.iter().any(|served| served == network);
        match mode {
            Mode::Test => Some(&self.simulated),
            Mode::Live => self.live.iter().find(|provider| serves(provider.terms())),
        }
    }

    /// The one with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.all().find(|provider| provider.terms().name == name)
    }

    /// Whether the configuration has a provider.
    pub fn has_live(&self) -> bool {
        !self.live.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.live.iter().chain([&self.simulated])
    }
}
