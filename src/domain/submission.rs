//! A recharge that Ringback itself has executed: what was asked for, and when its provider is asked what became of it.
//!
//! A timeout is not a failure (guarantee G2): what has been handed to a provider, or may have been, is never handed over
//! again. From then on only enquiries, callbacks and people settle it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::provider::Word;
use super::recharge::{Details, Recharge, Report};
use super::time::Timestamp;

/// What a vendor asked for, as the catalogue took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The network's id.
    pub operator_id: i64,
    /// The service's id.
    pub operator_type_id: i64,
    /// The number; none once it has been erased.
    pub connection_no: Option<String>,
    /// In minor units.
    pub amount: i64,
    /// The currency's code.
    pub currency: String,
    /// The circle, where the service asks for one.
    pub circle_id: Option<i64>,
    /// The package, if one was named.
    pub package_id: Option<i64>,
    /// Its name, as the vendor gave it.
    pub package_name: Option<String>,
}

/// A recharge on its way through a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The recharge.
    pub recharge: Recharge,
    /// What was asked for.
    pub order: Order,
    /// When it was handed to the provider, or may have been; none while that is still to be done.
    pub sent_at: Option<Timestamp>,
    /// Enquiries made since.
    pub asked: u32,
    /// Since when nobody could tell for so long that a person has to find out.
    pub stuck_at: Option<Timestamp>,
}

impl Submission {
    /// The report that a provider's word comes to; none where it is not an outcome.
    pub fn report(&self, word: &Word) -> Option<Report> {
        let Word::Settled { status, provider_ref, reason } = word else { return None };
        let details = Details { provider_ref: provider_ref.clone(), reason: reason.clone(), ..Details::default() };
        Some(Report { reference_no: self.recharge.reference_no.clone(), status: *status, details, occurred_at: None })
    }
}

/// What follows for a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing reached the provider: it is handed over again at this time.
    Submit(Timestamp),
    /// It is asked what became of it at this time.
    Enquire(Timestamp),
    /// A person has to find out.
    Stuck,
    /// It is settled.
    Over,
}

/// The first enquiry after an answer that said nothing waits so many times as long as one after a good answer: 5 minutes for 30
/// seconds.
const UNCLEAR_TIMES: u32 = 10;
/// The longest wait between two enquiries.
const ENQUIRY_MAX: Duration = Duration::from_secs(10 * 60);
/// How long after it was handed over a submission is enquired about.
const ENQUIRED_FOR: Duration = Duration::from_secs(72 * 3600);

/// The first enquiry after an answer that said nothing, or that was lost with the process.
pub fn unclear_waits(after: Duration) -> Duration {
    after * UNCLEAR_TIMES
}

/// What follows when its provider, asked at `now`, has said nothing that settles a recharge handed over at `sent_at`. `asked`
/// counts the enquiries up to now, `after` is the setting `enquire_after`. Waits double from one enquiry to the next.
pub fn ask_again(sent_at: Timestamp, asked: u32, is_unclear: bool, after: Duration, now: Timestamp) -> Next {
    if now.since(sent_at) >= ENQUIRED_FOR {
        return Next::Stuck;
    }
    let wait = after.saturating_mul(1 << asked.min(16)).min(ENQUIRY_MAX.max(after));
    let least = if is_unclear && asked == 0 { unclear_waits(after) } else { Duration::ZERO };
    Next::Enquire(now.plus(wait.max(least)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enquiries_come_at_growing_waits_for_three_days() {
        let (sent, after) = (Timestamp::from_millis(1_000_000), Duration::from_secs(30));
        let wait = |asked, is_unclear| match ask_again(sent, asked, is_unclear, after, sent) {
            Next::Enquire(at) => at.since(sent).as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 40].map(|asked| wait(asked, false)), [30, 60, 120, 240, 480, 600, 600]);
        assert_eq!([0, 1].map(|asked| wait(asked, true)), [300, 60]);
        let day = Duration::from_secs(24 * 3600);
        assert!(matches!(ask_again(sent, 900, true, after, sent.plus(day * 2)), Next::Enquire(_)));
        assert_eq!(ask_again(sent, 900, true, after, sent.plus(day * 3)), Next::Stuck);
    }
}
