//! What providers call back: verified, taken as their word or as a reason to ask them, and kept as it came.

use serde_json::Value;

use super::{Ops, OpsError};
use crate::domain::event::MASK;
use crate::domain::id::RechargeId;
use crate::domain::money::Currency;
use crate::domain::provider::Said;
use crate::domain::recharge::Verdict;
use crate::domain::submission::Submission;
use crate::providers::callback::{Envelope, Proven};
use crate::providers::{Trust, simulated};
use crate::store::{Accept, Addressed, Callback, Command, Write, Written};

impl Ops {
    /// Judges a callback before its body is read.
    ///
    /// # Errors
    /// [`OpsError::Unauthorized`] if there is no such provider, or nothing in the callback can prove that it is the provider's.
    pub fn expects_callback(&self, name: &str, callback: &Envelope) -> Result<(), OpsError> {
        let provider = self.providers.named(name).ok_or(OpsError::Unauthorized)?;
        if provider.expects(callback, self.environment.clock.now()) { Ok(()) } else { Err(OpsError::Unauthorized) }
    }

    /// Judges a callback by its body, before that is parsed.
    ///
    /// # Errors
    /// [`OpsError::Unauthorized`] if it is not proven to be the provider's.
    pub fn proves_callback(&self, name: &str, callback: &Envelope, body: &[u8]) -> Result<Proven, OpsError> {
        let provider = self.providers.named(name).ok_or(OpsError::Unauthorized)?;
        provider.proves(callback, body, self.environment.clock.now()).ok_or(OpsError::Unauthorized)
    }

    /// Takes the fields of a proven callback; none if it could not be parsed. Answers what was made of it: a report's verdict,
    /// `asked` where the provider is asked instead, `unknown` for a reference that is not one of its recharges, `unreadable`.
    ///
    /// # Errors
    /// The store's.
    pub async fn called_back(&self, name: &str, proven: Proven, fields: Option<Value>) -> Result<&'static str, OpsError> {
        let provider = self.providers.named(name).ok_or(OpsError::Unauthorized)?;
        let said = fields.as_ref().and_then(|fields| provider.read(fields));
        let submission = match &said {
            Some(said) => self.submitted_to(name, &said.reference).await?,
            None => None,
        };
        let verdict = match (&said, &submission) {
            (None, _) => "unreadable",
            (Some(_), None) => "unknown",
            (Some(said), Some(submission)) => self.take_word(submission, said, proven.trust).await?,
        };
        let kept = masked(fields.unwrap_or_default(), submission.as_ref());
        self.keep_callback(name, submission.as_ref(), verdict, kept).await?;
        Ok(verdict)
    }

    /// Takes what the simulated provider calls back from within.
    ///
    /// # Errors
    /// The store's.
    pub async fn simulated(&self, called: &simulated::CalledBack) -> Result<(), OpsError> {
        let submission = self.submitted_to(simulated::NAME, &called.said.reference).await?;
        let verdict = match &submission {
            None => "unknown",
            Some(submission) => self.take_word(submission, &called.said, Trust::Outcome).await?,
        };
        self.keep_callback(simulated::NAME, submission.as_ref(), verdict, format!("{:?}", called.said.word)).await
    }

    async fn submitted_to(&self, provider: &str, reference: &str) -> Result<Option<Submission>, OpsError> {
        let Ok(recharge) = reference.parse::<RechargeId>() else { return Ok(None) };
        let submission = self.store.submission(recharge).await?;
        Ok(submission.filter(|found| found.recharge.details.provider.as_deref() == Some(provider)))
    }

    async fn take_word(&self, submission: &Submission, said: &Said, trust: Trust) -> Result<&'static str, OpsError> {
        let recharge = &submission.recharge;
        let report = submission.report(&said.word).filter(|_| trust == Trust::Outcome);
        let amount = said.amount.as_deref().map(|amount| named_amount(submission, amount));
        // An amount that cannot be read may be another one than was ordered: only the provider knows.
        let Some(mut report) = report.filter(|_| amount != Some(None)) else {
            self.change(Command::AskNow(recharge.id), None, None).await?;
            self.handoff.placed();
            return Ok("asked");
        };
        if let Some((amount, currency)) = amount.flatten() {
            report.details.amount = Some(amount);
            report.details.currency = Some(currency);
        }
        let mode = self.owner(recharge.stream).await?.mode;
        let (now, deadline) = (self.environment.clock.now(), self.rules.delivery_deadline);
        let reports = vec![Addressed { stream: recharge.stream, mode, report }];
        match self.committer.write(Write::Accept(Accept { source: "callback", now, deadline, reports })).await? {
            Written::Accepted(judged, _) => {
                let verdict = judged.first().map_or(Verdict::Duplicate, |judged| judged.verdict);
                self.meters.reports(verdict).increment(1);
                Ok(verdict.as_str())
            }
            other => unreachable!("reports are answered with verdicts, not with {other:?}"),
        }
    }

    async fn keep_callback(&self, name: &str, about: Option<&Submission>, verdict: &'static str, body: String) -> Result<(), OpsError> {
        let recharge = about.map(|submission| submission.recharge.id);
        let callback = Callback { provider: name.to_owned(), recharge, verdict, body };
        self.change(Command::KeepCallback(Box::new(callback)), None, None).await.map(drop)
    }
}

/// An amount as a callback spells it, in minor units of the order's currency; none if it cannot be read.
fn named_amount(submission: &Submission, text: &str) -> Option<(i64, Currency)> {
    let currency = submission.recharge.details.currency.or_else(|| submission.order.currency.parse().ok())?;
    currency.spelled(text).map(|minor| (minor, currency))
}

/// What was called back, as JSON, without the connection number that it is about and anything else that looks like one.
fn masked(mut said: Value, about: Option<&Submission>) -> String {
    let own = about.and_then(|submission| submission.recharge.details.connection_no.clone());
    mask(&mut said, own.as_deref());
    let mut text = said.to_string();
    text.truncate(text.floor_char_boundary(crate::limits::CALLBACK_KEPT));
    text
}

fn mask(value: &mut Value, own: Option<&str>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let names_one = ["number", "mobile", "msisdn", "phone", "connection"].iter().any(|word| name.to_lowercase().contains(word));
                mask(field, own);
                if names_one {
                    hide(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, own)),
        Value::String(text) => {
            if let Some(own) = own.filter(|own| !own.is_empty() && text.contains(own)) {
                *text = text.replace(own, MASK);
            }
        }
        Value::Number(number) if own == Some(number.to_string().as_str()) => *value = Value::from(MASK),
        _ => {}
    }
}

/// Masks a value, and each of a list.
fn hide(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(_) => {}
        value => *value = Value::from(MASK),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn connection_numbers_are_masked_wherever_they_stand() {
        let mut said = json!({"mobile_no": "9801111111", "detail": "to 9801234567 done", "n": 9801234567_i64, "list": [{"x": "9801234567"}], "amount": "50", "phones": ["9802222222", [1]]});
        mask(&mut said, Some("9801234567"));
        assert_eq!(
            said,
            json!({"mobile_no": MASK, "detail": "to ••• done", "n": MASK, "list": [{"x": MASK}], "amount": "50", "phones": [MASK, [MASK]]})
        );
    }
}
