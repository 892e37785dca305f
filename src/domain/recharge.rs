//! The ledger's judgement: what a report does to a recharge (docs/api.md has the table; guarantee G2).
//!
//! [`apply`] is the whole state machine. It is pure: a store locks the recharges of a batch, folds the reports of each
//! in order of arrival through it, and writes what came out. Status only moves forward: `queued` to `success` or
//! `failed`, the first terminal report wins, and a report that contradicts a settled recharge moves nothing.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::event::RechargeFacts;
use super::id::{RechargeId, StreamId};
use super::money::Currency;
use super::time::Timestamp;

/// Where a recharge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Under way; nothing is known yet.
    Queued,
    /// It went through.
    Success,
    /// It did not.
    Failed,
    /// It went through and was taken back, as the operator resolved.
    Reversed,
}

impl Status {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Success, Self::Failed, Self::Reversed];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Reversed => "reversed",
        }
    }

    /// The event that tells of a recharge's getting here; none for `queued`.
    pub const fn event_type(self) -> Option<&'static str> {
        match self {
            Self::Queued => None,
            Self::Success => Some("recharge.success"),
            Self::Failed => Some("recharge.failed"),
            Self::Reversed => Some("recharge.reversed"),
        }
    }
}

impl FromStr for Status {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or("must be queued, success, failed or reversed")
    }
}

/// What is known about a recharge beside its status; each part may come with any report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// In minor units of `currency`; never without it.
    pub amount: Option<i64>,
    /// The amount's currency.
    pub currency: Option<Currency>,
    /// The network's name (`operator` on the wire).
    pub network: Option<String>,
    /// The number that is topped up.
    pub connection_no: Option<String>,
    /// Who executes it.
    pub provider: Option<String>,
    /// The provider's own reference.
    pub provider_ref: Option<String>,
    /// Why it failed, in the provider's words.
    pub reason: Option<String>,
}

impl Details {
    /// The amount as the decimal text that goes outside.
    pub fn amount_text(&self) -> Option<String> {
        Some(self.currency?.format(self.amount?))
    }

    /// Takes over what is not known yet. Returns whether anything was.
    fn fill(&mut self, from: &Self) -> bool {
        fn one<T: Clone>(mine: &mut Option<T>, theirs: &Option<T>) -> bool {
            let fills = mine.is_none() && theirs.is_some();
            if fills {
                mine.clone_from(theirs);
            }
            fills
        }
        // An amount without its currency means nothing, so the two are judged before they are taken over.
        one(&mut self.amount, &from.amount)
            | one(&mut self.currency, &from.currency)
            | one(&mut self.network, &from.network)
            | one(&mut self.connection_no, &from.connection_no)
            | one(&mut self.provider, &from.provider)
            | one(&mut self.provider_ref, &from.provider_ref)
            | one(&mut self.reason, &from.reason)
    }
}

/// One top-up as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recharge {
    /// Its id.
    pub id: RechargeId,
    /// The platform's number for it: a counter, below 2⁵³.
    pub transaction_id: i64,
    /// The vendor and mode it belongs to.
    pub stream: StreamId,
    /// The vendor's own reference, unique in the stream.
    pub reference_no: String,
    /// Where it stands.
    pub status: Status,
    /// It became `success` after it had been `failed`.
    pub late: bool,
    /// What else is known.
    pub details: Details,
    /// When the first report came.
    pub created_at: Timestamp,
    /// When it left `queued`.
    pub settled_at: Option<Timestamp>,
    /// What the first report said about when it happened.
    pub occurred_at: Option<Timestamp>,
    /// Sequence number of its latest event.
    pub event: Option<i64>,
    /// Reports received so far.
    pub reports: u32,
}

impl Recharge {
    /// What an event about it will say for ever.
    pub fn facts(&self) -> RechargeFacts {
        RechargeFacts {
            id: self.id,
            transaction_id: self.transaction_id,
            reference_no: self.reference_no.clone(),
            status: self.status,
            amount: self.details.amount_text(),
            currency: self.details.currency.map(|currency| currency.code().into()),
            operator: self.details.network.clone(),
            connection_no: self.details.connection_no.clone(),
            provider_ref: self.details.provider_ref.clone(),
            reason: self.details.reason.clone(),
            settled_at: self.settled_at.unwrap_or(self.created_at),
            late: self.late,
            erased: false,
        }
    }

    /// Whether it is or was in this status. A late success was `failed` before, a reversed one `success`.
    fn has_been(&self, claimed: Status) -> bool {
        match self.status {
            Status::Queued => claimed == Status::Queued,
            Status::Success => claimed != Status::Failed || self.late,
            Status::Failed => claimed != Status::Success,
            Status::Reversed => true,
        }
    }
}

/// Somebody's claim about a recharge, well formed but not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The vendor's reference of the recharge.
    pub reference_no: String,
    /// The status claimed: `queued`, `success` or `failed`.
    pub status: Status,
    /// What else it says.
    pub details: Details,
    /// When it happened, if that is said.
    pub occurred_at: Option<Timestamp>,
}

/// What the ledger makes of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The first one about this recharge.
    Created,
    /// It settled the recharge.
    Accepted,
    /// Nothing new.
    Duplicate,
    /// It contradicts what is settled: kept and shown to the operator, moves nothing.
    Conflict,
}

impl Verdict {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 4] = [Self::Created, Self::Accepted, Self::Duplicate, Self::Conflict];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
        }
    }
}

/// What a report contradicts, with the recharge's value and the report's, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// `status`, `amount`, `currency` or `connection_no`.
    pub field: &'static str,
    /// What the recharge says.
    pub ours: String,
    /// What the report says.
    pub theirs: String,
}

/// A verdict and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What the report contradicts; empty unless the verdict is `conflict`.
    pub contradictions: Vec<Contradiction>,
    /// Whether the recharge settled by it, so that there is an event to tell.
    pub settled: bool,
}

/// Judges `report`, received at `now`, against the recharge as it stands (none: `fresh` is what its first report makes
/// of it), and moves it.
pub fn apply(state: &mut Option<Recharge>, report: &Report, now: Timestamp, fresh: impl FnOnce() -> Fresh) -> Judgement {
    let Some(recharge) = state else {
        let Fresh { id, transaction_id, stream } = fresh();
        let settled = report.status != Status::Queued;
        *state = Some(Recharge {
            id,
            transaction_id,
            stream,
            reference_no: report.reference_no.clone(),
            status: report.status,
            late: false,
            details: report.details.clone(),
            created_at: now,
            settled_at: settled.then_some(now),
            occurred_at: report.occurred_at,
            event: None,
            reports: 1,
        });
        return Judgement { verdict: Verdict::Created, contradictions: Vec::new(), settled };
    };
    recharge.reports = recharge.reports.saturating_add(1);
    let contradictions = contradictions(recharge, report);
    if !contradictions.is_empty() {
        return Judgement { verdict: Verdict::Conflict, contradictions, settled: false };
    }
    recharge.details.fill(&report.details);
    let settled = recharge.status == Status::Queued && report.status != Status::Queued;
    if settled {
        recharge.status = report.status;
        recharge.settled_at = Some(now);
    }
    let verdict = if settled { Verdict::Accepted } else { Verdict::Duplicate };
    Judgement { verdict, contradictions, settled }
}

/// What a recharge gets when it is made.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// Its id.
    pub id: RechargeId,
    /// The next number of the database's counter.
    pub transaction_id: i64,
    /// The vendor and mode.
    pub stream: StreamId,
}

fn contradictions(recharge: &Recharge, report: &Report) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let mut differ =
        |field, ours: &str, theirs: &str| found.push(Contradiction { field, ours: ours.to_owned(), theirs: theirs.to_owned() });
    if recharge.status != Status::Queued && !recharge.has_been(report.status) {
        differ("status", recharge.status.as_str(), report.status.as_str());
    }
    let (ours, theirs) = (&recharge.details, &report.details);
    match (ours.currency, theirs.currency) {
        (Some(a), Some(b)) if a != b => differ("currency", a.code(), b.code()),
        (Some(currency), Some(_)) => {
            if let (Some(a), Some(b)) = (ours.amount, theirs.amount)
                && a != b
            {
                differ("amount", &currency.format(a), &currency.format(b));
            }
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (&ours.connection_no, &theirs.connection_no)
        && a != b
    {
        differ("connection_no", a, b);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: Status) -> Report {
        Report { reference_no: "INV-1".into(), status, details: Details::default(), occurred_at: None }
    }

    fn fresh() -> Fresh {
        Fresh { id: RechargeId::new(1), transaction_id: 100_001, stream: StreamId::new(1) }
    }

    fn judge(state: &mut Option<Recharge>, report: &Report) -> Verdict {
        apply(state, report, Timestamp::from_millis(5), fresh).verdict
    }

    fn in_status(status: Status, late: bool) -> Option<Recharge> {
        let mut state = None;
        judge(&mut state, &report(Status::Queued));
        let recharge = state.as_mut().unwrap();
        recharge.status = status;
        recharge.late = late;
        state
    }

    #[test]
    fn the_table_of_the_contract() {
        use Status::{Failed, Queued, Reversed, Success};
        use Verdict::{Accepted, Conflict, Duplicate};
        for (state, late, claimed, verdict) in [
            (Queued, false, Queued, Duplicate),
            (Queued, false, Success, Accepted),
            (Queued, false, Failed, Accepted),
            (Success, false, Queued, Duplicate),
            (Success, false, Success, Duplicate),
            (Success, false, Failed, Conflict),
            (Failed, false, Queued, Duplicate),
            (Failed, false, Failed, Duplicate),
            (Failed, false, Success, Conflict),
            (Success, true, Failed, Duplicate),
            (Reversed, false, Queued, Duplicate),
            (Reversed, false, Success, Duplicate),
            (Reversed, false, Failed, Duplicate),
        ] {
            let mut recharge = in_status(state, late);
            assert_eq!(judge(&mut recharge, &report(claimed)), verdict, "{state:?} {late} {claimed:?}");
            let moved = if verdict == Accepted { claimed } else { state };
            assert_eq!(recharge.unwrap().status, moved);
        }
    }

    #[test]
    fn the_first_report_makes_it() {
        for (claimed, settles) in [(Status::Queued, false), (Status::Success, true), (Status::Failed, true)] {
            let mut state = None;
            let judgement = apply(&mut state, &report(claimed), Timestamp::from_millis(5), fresh);
            assert_eq!((judgement.verdict, judgement.settled), (Verdict::Created, settles));
            assert_eq!(state.unwrap().settled_at.is_some(), settles);
        }
    }

    #[test]
    fn other_money_or_number_is_a_conflict_in_every_status_and_fills_nothing() {
        let npr: Currency = "NPR".parse().unwrap();
        for status in Status::ALL {
            let mut state = in_status(status, false);
            state.as_mut().unwrap().details =
                Details { amount: Some(5000), currency: Some(npr), connection_no: Some("9801234567".into()), ..Details::default() };
            let mut other = report(Status::Queued);
            other.details = Details { amount: Some(5001), currency: Some(npr), provider_ref: Some("P".into()), ..Details::default() };
            let judgement = apply(&mut state, &other, Timestamp::from_millis(9), fresh);
            assert_eq!(judgement.verdict, Verdict::Conflict);
            assert_eq!(judgement.contradictions, [Contradiction { field: "amount", ours: "50.00".into(), theirs: "50.01".into() }]);
            assert_eq!(state.as_ref().unwrap().details.provider_ref, None);
            other.details = Details { currency: Some("INR".parse().unwrap()), connection_no: Some("1".into()), ..Details::default() };
            let fields: Vec<_> =
                apply(&mut state, &other, Timestamp::from_millis(9), fresh).contradictions.into_iter().map(|found| found.field).collect();
            assert_eq!(fields, ["currency", "connection_no"]);
        }
    }

    #[test]
    fn a_null_field_is_filled_once() {
        let mut state = in_status(Status::Queued, false);
        for provider_ref in ["first", "second"] {
            let mut more = report(Status::Success);
            more.details.provider_ref = Some(provider_ref.into());
            judge(&mut state, &more);
        }
        assert_eq!(state.unwrap().details.provider_ref.as_deref(), Some("first"));
    }

    proptest::proptest! {
        #[test]
        fn the_first_terminal_report_wins(claims in proptest::collection::vec(0..3_usize, 1..20)) {
            let mut state = None;
            let mut events = 0;
            for claim in &claims {
                events += usize::from(apply(&mut state, &report(Status::ALL[*claim]), Timestamp::from_millis(5), fresh).settled);
            }
            let first = claims.iter().find(|claim| **claim != 0).map_or(Status::Queued, |claim| Status::ALL[*claim]);
            proptest::prop_assert_eq!(state.unwrap().status, first);
            proptest::prop_assert_eq!(events, usize::from(first != Status::Queued));
        }
    }
}
