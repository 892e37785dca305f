//! Events: immutable facts with a sequence number. Both profiles' bodies are pure functions of what stands here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::filter::TEST_TYPE;
use super::id::{EventId, RawId, RechargeId};
use super::json;
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
    /// The person's data was erased; the event stays, so that numbers have no gap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
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
    /// The test event of an endpoint: it connects it, or tries it out. It takes no number; `number` makes its id its own.
    pub fn test(endpoint: &Endpoint, number: RawId, now: Timestamp) -> Self {
        let data = json!({"endpoint_id": endpoint.id, "message": "A test event from Ringback: nothing has happened."});
        Self {
            id: EventId { stream: endpoint.stream, sequence: number.get() },
            mode: endpoint.mode,
            event_type: TEST_TYPE.into(),
            created_at: now,
            facts: Facts::Given(to_raw_value(&data).expect("a JSON value always serializes")),
            numbered: false,
        }
    }

    /// A made-up event of what a recharge comes to, in the place of a test. Its number is none that counts.
    pub fn sample(self, status: Status) -> Self {
        let facts = RechargeFacts {
            id: RechargeId::new(self.id.sequence),
            transaction_id: 100_001,
            reference_no: "SAMPLE-1".to_owned(),
            status,
            amount: Some("50.00".to_owned()),
            currency: Some("NPR".to_owned()),
            operator: Some("Ncell".to_owned()),
            connection_no: Some("9800000000".to_owned()),
            provider_ref: Some("SAMPLE-P1".to_owned()),
            reason: (status != Status::Success).then(|| "a sample, nothing has happened".to_owned()),
            settled_at: self.created_at,
            late: false,
            erased: false,
        };
        let event_type = status.event_type().unwrap_or(TEST_TYPE).into();
        Self { event_type, facts: Facts::Recharge(Box::new(facts)), ..self }
    }

    /// The number as bodies tell it: 0 where the event has none.
    pub fn told_sequence(&self) -> i64 {
        if self.numbered { self.id.sequence } else { 0 }
    }

    /// The same event without what belongs to the person of this connection number; `None` if it does not name it.
    pub fn erased(&self, connection_no: &str) -> Option<Self> {
        let facts = match &self.facts {
            Facts::Recharge(facts) if facts.connection_no.as_deref() == Some(connection_no) => {
                let provider_ref = facts.provider_ref.clone().filter(|reference| !has_within(reference, connection_no));
                Facts::Recharge(Box::new(RechargeFacts {
                    connection_no: None,
                    provider_ref,
                    reason: None,
                    erased: true,
                    ..(**facts).clone()
                }))
            }
            Facts::Given(data) if json_names(data.get().as_bytes(), connection_no) => {
                Facts::Given(to_raw_value(&json!({"erased": true})).expect("a JSON value always serializes"))
            }
            _ => return None,
        };
        Some(Self { facts, ..self.clone() })
    }

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

/// Whether this JSON names this text at whatever depth: as a value, as the name of one, as a number, or within a text. What cannot
/// be read names whatever its bytes have.
pub fn json_names(data: &[u8], text: &str) -> bool {
    fn within(value: &Value, text: &str) -> bool {
        match value {
            Value::String(found) => has(found, text),
            Value::Number(found) => found.to_string() == text,
            Value::Array(items) => items.iter().any(|item| within(item, text)),
            Value::Object(fields) => fields.iter().any(|(name, field)| has(name, text) || within(field, text)),
            Value::Null | Value::Bool(_) => false,
        }
    }
    let written = in_json(text);
    let may = !written.is_empty() && data.windows(written.len()).any(|window| window == written.as_bytes());
    may && json::parse(data).map_or(true, |value| within(&value, text))
}

/// Shorter ones are found as a whole only: within a text they are more likely something else.
const WITHIN_FROM: usize = 6;

/// Whether a text is long enough to be recognized within another one.
pub fn is_distinct(text: &str) -> bool {
    text.chars().count() >= WITHIN_FROM
}

/// Whether what is said of a person has the person's number in it, be it as a part of another word.
pub fn has_within(found: &str, text: &str) -> bool {
    found == text || (is_distinct(text) && found.contains(text))
}

/// Whether one text is the other, or has it in it and not as a part of a longer word or number.
fn has(found: &str, text: &str) -> bool {
    let joins = |own: Option<char>, next: Option<char>| [own, next].into_iter().all(|edge| edge.is_some_and(char::is_alphanumeric));
    let alone = |(at, _): (usize, &str)| {
        let (before, after) = (found[..at].chars().next_back(), found[at + text.len()..].chars().next());
        !joins(text.chars().next(), before) && !joins(text.chars().next_back(), after)
    };
    found == text || (is_distinct(text) && found.match_indices(text).any(alone))
}

/// Stands where something was erased.
pub const MASK: &str = "•••";

/// This JSON with [`MASK`] wherever the text stands in it.
pub fn without(data: &str, text: &str) -> String {
    fn hide(value: &mut Value, text: &str) {
        match value {
            Value::String(found) => *found = found.replace(text, MASK),
            Value::Number(found) if found.to_string() == text => *value = Value::from(MASK),
            Value::Array(items) => items.iter_mut().for_each(|item| hide(item, text)),
            Value::Object(fields) => {
                let kept = std::mem::take(fields).into_iter().map(|(name, mut field)| {
                    hide(&mut field, text);
                    (name.replace(text, MASK), field)
                });
                *fields = kept.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let parsed = json::parse(data.as_bytes());
    // What was cut, or is something else, has it as its bytes have it.
    parsed.map_or_else(
        |_| data.replace(&in_json(text), MASK),
        |mut value| {
            hide(&mut value, text);
            value.to_string()
        },
    )
}

/// A text as it stands within JSON.
pub fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
