//! What a provider says about a recharge.

use super::recharge::Status;

/// What is known after a provider was asked, or has called back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It went through, or it did not.
    Settled {
        /// `success` or `failed`.
        status: Status,
        /// The provider's own reference.
        provider_ref: Option<String>,
        /// Why it failed, in the provider's words.
        reason: Option<String>,
    },
    /// The provider is at it.
    Queued,
    /// Nobody can tell: no answer, one that says nothing, or a state that nobody has heard of. It is not an outcome.
    Unclear(String),
    /// Nothing reached the provider, so that it can be handed over again.
    NotSent(String),
}

impl Word {
    /// What it comes to, for logs: without what a provider may have said of a person.
    pub fn summary(&self) -> &'static str {
        match self {
            Self::Settled { status, .. } => status.as_str(),
            Self::Queued => "queued",
            Self::Unclear(_) => "unclear",
            Self::NotSent(_) => "not sent",
        }
    }
}

/// What a provider's callback is about, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Our reference: the recharge's id as text.
    pub reference: String,
    /// What it says.
    pub word: Word,
    /// The amount that it names, as it stands there.
    pub amount: Option<String>,
}
