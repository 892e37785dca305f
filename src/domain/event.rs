//! Events: immutable facts with a sequence number. Both profiles' bodies are pure functions of what stands here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::id::{EventId, RechargeId};
use super::recharge::Status;
use super::time::Timestamp;
use super::vendor::Mode;

/// What an event about a recharge says for ever. The store keeps it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RechargeFacts {
    /// The recharge.
    pub id: RechargeId,
    /// The platform's number for it.
    pub transaction_id: i64,
    /// The vendor's reference.
    pub reference_no: String,
    /// The status it came to.
    pub status: Status,
    /// Decimal text, with exactly the currency's decimals.
    pub amount: Option<String>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// The network's name.
    pub operator: Option<String>,
    /// The number that was topped up.
    pub connection_no: Option<String>,
    /// The provider's reference.
    pub provider_ref: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// When it settled.
    pub settled_at: Timestamp,
    /// A success after `failed`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// What an event tells.
#[derive(Debug, Clone)]
pub enum Facts {
    /// About a recharge.
    Recharge(Box<RechargeFacts>),
    /// `data` as it was given: the platform's own types, and tests.
    Given(Box<RawValue>),
}

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its stream and sequence number; as text the `webhook-id`.
    pub id: EventId,
    /// The stream's mode.
    pub mode: Mode,
    /// Its type, such as `recharge.success`.
    pub event_type: Arc<str>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it tells.
    pub facts: Facts,
    /// Whether it counts: a test has no place in the sequence (guarantee G3).
    pub numbered: bool,
}

/// Facts that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("the facts of {id} cannot be read: {source}")]
pub struct BadFacts {
    id: EventId,
    source: serde_json::Error,
}

impl Event {
    /// The facts as the store keeps them.
    pub fn stored_facts(&self) -> String {
        match &self.facts {
            Facts::Recharge(facts) => serde_json::to_string(facts).expect("strings and numbers always serialize"),
            Facts::Given(data) => data.get().to_owned(),
        }
    }

    /// From what the store keeps.
    ///
    /// # Errors
    /// [`BadFacts`] when the text is not what [`Event::stored_facts`] wrote.
    pub fn restore(id: EventId, mode: Mode, event_type: &str, created_at: Timestamp, facts: &str) -> Result<Self, BadFacts> {
        let read = if event_type.starts_with("recharge.") {
            serde_json::from_str(facts).map(|facts| Facts::Recharge(Box::new(facts)))
        } else {
            RawValue::from_string(facts.to_owned()).map(Facts::Given)
        };
        let facts = read.map_err(|source| BadFacts { id, source })?;
        Ok(Self { id, mode, event_type: event_type.into(), created_at, facts, numbered: true })
    }

    /// The recharge it is about, if any.
    pub fn recharge(&self) -> Option<RechargeId> {
        match &self.facts {
            Facts::Recharge(facts) => Some(facts.id),
            Facts::Given(_) => None,
        }
    }

    /// Memory that it takes, roughly, in bytes.
    pub fn weight(&self) -> usize {
        match &self.facts {
            Facts::Recharge(facts) => {
                let texts = [&facts.amount, &facts.currency, &facts.operator, &facts.connection_no, &facts.provider_ref, &facts.reason];
                size_of::<RechargeFacts>()
                    + facts.reference_no.len()
                    + texts.iter().filter_map(|text| text.as_ref()).map(String::len).sum::<usize>()
            }
            Facts::Given(data) => data.get().len(),
        }
    }
}
