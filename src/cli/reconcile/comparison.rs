//! A statement's rows next to the ledger's recharges.

use std::collections::{HashMap, HashSet};

use super::out::{Counts, Difference, Kind, Out};
use crate::domain::figure::{Decimal, Habit};
use crate::domain::id::{RechargeId, StreamId};
use crate::domain::recharge::{Recharge, Status};
use crate::domain::time::Timestamp;
use crate::limits;
use crate::providers::http::States;
use crate::providers::statement::{BadRow, Line};
use crate::store::{RechargeKey, RechargeOwner, Store, TimeRange};

pub(super) struct Comparison<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) provider: &'a str,
    pub(super) states: &'a States,
    /// The requested bounds.
    pub(super) range: TimeRange,
    /// How the statement's amounts are written.
    pub(super) amounts: Amounts,
    /// Recharges that are in the statement: eight bytes each.
    pub(super) seen: HashSet<i64>,
    pub(super) vendors: HashMap<StreamId, (String, String)>,
    /// When the first and the last recharge of the statement were made.
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    pub(super) after_last: u64,
    pub(super) counts: Counts,
    pub(super) out: Out,
}

/// How the statement's amounts are written.
pub(super) struct Amounts {
    pub(super) column: String,
    pub(super) decimal: Option<Decimal>,
    pub(super) habit: Habit,
}

/// What a difference is about.
#[derive(Default)]
struct About<'a> {
    line: Option<&'a Line>,
    recharge: Option<&'a Recharge>,
}

impl Comparison<'_> {
    pub(super) async fn look_up(&mut self, lines: Vec<Line>) -> anyhow::Result<()> {
        let ids: Vec<Option<RechargeId>> = lines.iter().map(|line| line.reference.parse().ok()).collect();
        let sought: Vec<RechargeKey> = ids.iter().flatten().copied().map(RechargeKey::Id).collect();
        let mut found = self.store.lookup(None, sought).await?.into_iter();
        for (line, id) in lines.into_iter().zip(ids) {
            let recharge = if id.is_some() { found.next().flatten() } else { None };
            let recharge = recharge.filter(|recharge| recharge.details.provider.as_deref() == Some(self.provider));
            self.judge(&line, recharge.as_ref()).await?;
        }
        Ok(())
    }

    async fn judge(&mut self, line: &Line, recharge: Option<&Recharge>) -> anyhow::Result<()> {
        let about = About { line: Some(line), recharge };
        let Some(recharge) = recharge else {
            let what = format!("ask {} what it was for: nothing of this reference was handed to it from here", self.provider);
            return self.report(Kind::MissingHere, about, what).await;
        };
        let (at, range) = (recharge.created_at, self.range);
        if range.since.is_some_and(|since| at < since) || range.until.is_some_and(|until| at >= until) {
            self.counts.outside_range += 1;
            return Ok(());
        }
        (self.first, self.last) = (Some(self.first.map_or(at, |first| first.min(at))), self.last.max(Some(at)));
        if !self.seen.insert(recharge.id.get()) {
            let what = format!("ask {} whether it was executed twice", self.provider);
            return self.report(Kind::Twice, about, what).await;
        }
        let amounts_match = self.judge_amount(line, recharge).await?;
        self.judge_status(line, recharge, amounts_match).await
    }

    /// Compares the amounts. A statement without an amount says nothing else than the ledger.
    async fn judge_amount(&mut self, line: &Line, recharge: &Recharge) -> anyhow::Result<bool> {
        let (Some(amount), Some(currency)) = (&line.amount, recharge.details.currency) else { return Ok(true) };
        let about = About { line: Some(line), recharge: Some(recharge) };
        let read = amount.figure.clone().and_then(|figure| figure.minor(currency, self.amounts.decimal));
        let theirs = match read {
            Ok(theirs) => theirs.map(|minor| if self.amounts.habit.are_debits() { -minor } else { minor }),
            Err(problem) => {
                let what = format!("line {}, column {}: {:?} {problem}", line.line, self.amounts.column, amount.text);
                self.report(Kind::Unreadable, about, what).await?;
                return Ok(false);
            }
        };
        let is_same = theirs.is_some() && theirs == recharge.details.amount;
        if !is_same {
            let what = format!("settle it with {}; the ledger keeps what the vendor asked for", self.provider);
            self.report(Kind::Amount, about, what).await?;
        }
        Ok(is_same)
    }

    async fn judge_status(&mut self, line: &Line, recharge: &Recharge, amounts_match: bool) -> anyhow::Result<()> {
        let about = About { line: Some(line), recharge: Some(recharge) };
        let id = recharge.id;
        match (self.states.meaning(&line.state), recharge.status) {
            (None, _) | (Some(Status::Queued), _) if recharge.status != Status::Queued => {
                let what = format!("ask {}: it has no outcome for what is settled here", self.provider);
                self.report(Kind::Status, about, what).await
            }
            (Some(theirs), Status::Queued) if theirs != Status::Queued => {
                let what = format!(
                    "POST /v1/recharges/{id}/resolve {{\"status\": \"{}\", \"reason\": \"the provider's statement\"}}",
                    theirs.as_str()
                );
                self.report(Kind::StillQueued, about, what).await
            }
            // A reversed recharge has failed in the provider's books.
            (Some(theirs), ours) if theirs != ours && (theirs, ours) != (Status::Failed, Status::Reversed) => {
                let what = format!(
                    "GET /v1/conflicts?recharge_id={id}, and POST /v1/conflicts/{{id}}/resolve; where there is none yet, POST /v1/reports with \"status\": \"{}\" opens one",
                    theirs.as_str()
                );
                self.report(Kind::Status, about, what).await
            }
            _ => {
                self.counts.matched += u64::from(amounts_match);
                Ok(())
            }
        }
    }

    pub(super) fn unreadable(&mut self, row: &BadRow) -> anyhow::Result<()> {
        self.counts.unreadable += 1;
        let reference = if row.reference.is_empty() { format!("row {}", self.counts.rows) } else { row.reference.clone() };
        // It is there, although nothing can be said about it.
        self.seen.extend(row.reference.parse::<RechargeId>().map(RechargeId::get));
        let difference = Difference { line: Some(row.line), reference, ..nothing(Kind::Unreadable, row.to_string()) };
        self.out.difference(&difference)
    }

    pub(super) fn cut(&mut self, problem: &str) -> anyhow::Result<()> {
        let what = format!("{problem}; get the whole statement from {}", self.provider);
        self.out.difference(&Difference { reference: "-".to_owned(), ..nothing(Kind::Cut, what) })
    }

    /// Walks over what was handed to the provider in the range: from its beginning, or the first row, to its end, which is now if
    /// it is not bounded. A statement that was cut loses its end, so the last row is no bound.
    pub(super) async fn find_missing(&mut self) -> anyhow::Result<()> {
        let range = TimeRange { since: self.range.since.or(self.first), until: self.range.until };
        if range.since.is_none() && range.until.is_none() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let whose = RechargeOwner::Provider(self.provider.to_owned());
            let page = self.store.walk(whose, range, after, limits::STATEMENT_PAGE).await?;
            for recharge in &page {
                // A failed recharge may well not be in a list of what was executed.
                if recharge.status != Status::Failed && !self.seen.contains(&recharge.id.get()) {
                    self.missing_there(recharge).await?;
                }
            }
            match page.last() {
                Some(last) if page.len() == limits::STATEMENT_PAGE => after = Some(last.id),
                _ => return Ok(()),
            }
        }
    }

    async fn missing_there(&mut self, recharge: &Recharge) -> anyhow::Result<()> {
        self.after_last += u64::from(self.last.is_some_and(|last| recharge.created_at > last));
        let what = match recharge.status {
            Status::Queued => {
                format!("if it never was executed: POST /v1/recharges/{}/resolve {{\"status\": \"failed\", …}}", recharge.id)
            }
            status => format!("ask {}: the vendor was notified of {}", self.provider, status.as_str()),
        };
        self.report(Kind::MissingThere, About { recharge: Some(recharge), line: None }, what).await
    }

    /// Counts and prints a difference.
    async fn report(&mut self, kind: Kind, about: About<'_>, what_to_do: String) -> anyhow::Result<()> {
        let counts = &mut self.counts;
        *match kind {
            Kind::MissingHere => &mut counts.missing_here,
            Kind::MissingThere => &mut counts.missing_there,
            Kind::Twice => &mut counts.twice,
            Kind::Amount => &mut counts.amount,
            Kind::Status => &mut counts.status,
            Kind::StillQueued => &mut counts.still_queued,
            Kind::Unreadable | Kind::Cut => &mut counts.unreadable,
        } += 1;
        let mut told = nothing(kind, what_to_do);
        if let Some(line) = about.line {
            told.reference.clone_from(&line.reference);
            told.line = Some(line.line);
            told.their_status.clone_from(&line.state);
            told.their_amount = line.amount.as_ref().map(|amount| amount.text.clone()).unwrap_or_default();
        }
        if let Some(recharge) = about.recharge {
            told.reference = recharge.id.to_string();
            told.our_status = recharge.status.as_str().to_owned();
            told.our_amount = recharge.details.amount_text().unwrap_or_default();
            told.connection_no = recharge.details.connection_no.as_deref().map(masked).unwrap_or_default();
            (told.vendor, told.vendor_id) = self.vendor(recharge.stream).await?;
        }
        let is_amount = matches!(kind, Kind::Amount | Kind::Unreadable);
        (told.ours, told.theirs) = if is_amount {
            (told.our_amount.clone(), told.their_amount.clone())
        } else {
            let or_none = |text: &str, is_there: bool| if is_there { text.to_owned() } else { "-".to_owned() };
            (or_none(&told.our_status, about.recharge.is_some()), or_none(&told.their_status, about.line.is_some()))
        };
        self.out.difference(&told)
    }

    /// Name and id of the vendor of a stream.
    async fn vendor(&mut self, stream: StreamId) -> anyhow::Result<(String, String)> {
        if let Some(known) = self.vendors.get(&stream) {
            return Ok(known.clone());
        }
        let mut found = (String::new(), String::new());
        if let Some((id, _)) = self.store.owner(stream).await? {
            let name = self.store.vendor(id).await?.map(|vendor| vendor.name);
            found = (name.unwrap_or_default(), id.to_string());
        }
        self.vendors.insert(stream, found.clone());
        Ok(found)
    }
}

/// A difference of which nothing is known but its kind.
fn nothing(kind: Kind, what_to_do: String) -> Difference {
    let empty = String::new;
    Difference {
        kind,
        reference: empty(),
        ours: empty(),
        theirs: empty(),
        what_to_do,
        line: None,
        vendor: empty(),
        vendor_id: empty(),
        connection_no: empty(),
        our_status: empty(),
        their_status: empty(),
        our_amount: empty(),
        their_amount: empty(),
    }
}

/// The last three digits of a connection number, for people to recognize it by.
fn masked(number: &str) -> String {
    let count = number.chars().count();
    if count < 7 { "•••".to_owned() } else { format!("•••{}", number.chars().skip(count - 3).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_of_a_number_are_shown() {
        assert_eq!(masked("9801234567"), "•••567");
        assert_eq!(masked("12345"), "•••");
    }
}
