//! Reports: what the platform says about recharges. Good items are taken, each bad one is answered with its problems.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::join_all;
use serde_json::{Map, Value};

use super::input::new_reference;
use super::{Ops, OpsError};
use crate::domain::id::{StreamId, VendorId};
use crate::domain::money::Currency;
use crate::domain::recharge::{Details, Report, Status};
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Accept, Addressed, Judged, Write, Written};

/// The answer to one item, in the order of the items.
#[derive(Debug)]
pub enum Answer {
    /// It was judged; with the reference it was about and the stream of its events.
    Judged(String, StreamId, Judged),
    /// It was not well formed; with its reference, if it had one.
    Invalid(Option<String>, Vec<Problem>),
}

/// An item that is well formed, but for whether its vendor exists.
struct Item {
    vendor: VendorId,
    mode: Mode,
    report: Report,
}

impl Ops {
    /// Takes reports: `{"reports": [...]}`. Answered when durable.
    ///
    /// # Errors
    /// `reports` is missing, empty or too long; the store's.
    pub async fn report(&self, mut fields: Fields) -> Result<Vec<Answer>, OpsError> {
        let items = match fields.value("reports") {
            Some(Value::Array(items)) if (1..=limits::REPORTS_MAX).contains(&items.len()) => items,
            _ => {
                fields.invalid("reports", format!("must be a list of 1 to {} reports", limits::REPORTS_MAX));
                Vec::new()
            }
        };
        let problems = fields.finish();
        if !problems.is_empty() {
            return Err(OpsError::Invalid(problems));
        }
        let mut vendors = HashMap::new();
        let (mut answers, mut reports, mut places) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()), Vec::new());
        for item in items {
            let (reference_no, read) = read_item(item);
            let addressed = match read {
                Ok(item) => self.address(item, &mut vendors).await?,
                Err(problems) => Err(problems),
            };
            match addressed {
                Ok(addressed) => {
                    places.push(answers.len());
                    reports.push(addressed);
                    answers.push(None);
                }
                Err(problems) => answers.push(Some(Answer::Invalid(reference_no, problems))),
            }
        }
        self.meters.reports_invalid.increment((answers.len() - reports.len()) as u64);
        let about: Vec<_> = reports.iter().map(|addressed| (addressed.report.reference_no.clone(), addressed.stream)).collect();
        for (at, ((reference_no, stream), judged)) in places.into_iter().zip(about.into_iter().zip(self.accept(reports).await?)) {
            self.meters.reports(judged.verdict).increment(1);
            answers[at] = Some(Answer::Judged(reference_no, stream, judged));
        }
        Ok(answers.into_iter().flatten().collect())
    }

    async fn address(&self, item: Item, vendors: &mut HashMap<VendorId, bool>) -> Result<Result<Addressed, Vec<Problem>>, OpsError> {
        let Item { vendor, mode, report } = item;
        // A vendor that does not exist is looked for once a request, not once an item.
        let unknown = || Err(vec![Problem::invalid("vendor_id", "there is no such vendor")]);
        if vendors.get(&vendor) == Some(&false) {
            return Ok(unknown());
        }
        let found = self.streams(vendor).await?;
        vendors.insert(vendor, found.is_some());
        Ok(found.map_or_else(unknown, |found| Ok(Addressed { stream: found.stream(mode), mode, report })))
    }

    /// Has reports judged, in one write for each stream, so that what cannot be written for one vendor holds up no other.
    ///
    /// # Errors
    /// Some of them could not be written. The caller reports all of them again, and gets `duplicate` for the others.
    async fn accept(&self, reports: Vec<Addressed>) -> Result<Vec<Judged>, OpsError> {
        let (now, count) = (self.environment.clock.now(), reports.len());
        let mut streams: BTreeMap<StreamId, (Vec<usize>, Vec<Addressed>)> = BTreeMap::new();
        for (at, addressed) in reports.into_iter().enumerate() {
            let (places, reports) = streams.entry(addressed.stream).or_default();
            places.push(at);
            reports.push(addressed);
        }
        let write = |(places, reports): (Vec<usize>, Vec<Addressed>)| async move {
            let accept = Accept { source: "report", now, deadline: self.rules.delivery_deadline, reports };
            (places, self.committer.write(Write::Accept(accept)).await)
        };
        let mut judged: Vec<Option<Judged>> = (0..count).map(|_| None).collect();
        for (places, written) in join_all(streams.into_values().map(write)).await {
            match written? {
                Written::Accepted(answers, _) => places.into_iter().zip(answers).for_each(|(at, answer)| judged[at] = Some(answer)),
                other => unreachable!("reports are answered with verdicts, not with {other:?}"),
            }
        }
        Ok(judged.into_iter().flatten().collect())
    }
}

fn read_item(item: Value) -> (Option<String>, Result<Item, Vec<Problem>>) {
    match item {
        Value::Object(object) => {
            let reference_no = object.get("reference_no").and_then(Value::as_str).map(str::to_owned);
            (reference_no, read_report(object))
        }
        _ => (None, Err(vec![Problem::invalid("", "must be an object")])),
    }
}

fn read_report(object: Map<String, Value>) -> Result<Item, Vec<Problem>> {
    let mut fields = Fields::new(object);
    for required in ["vendor_id", "status"] {
        if !fields.has(required) {
            fields.invalid(required, "is required");
        }
    }
    let vendor = fields.parse::<VendorId>("vendor_id");
    let mode = fields.parse::<Mode>("mode").unwrap_or(Mode::Live);
    let reference_no = new_reference(&mut fields);
    let status = fields.parse::<Claimable>("status");
    let (amount, currency) = money(&mut fields);
    let details = Details {
        amount,
        currency,
        network: fields.text("operator", limits::REFERENCE_MAX),
        connection_no: fields.text("connection_no", limits::CONNECTION_NO_MAX),
        provider: fields.text("provider", limits::REFERENCE_MAX),
        provider_ref: fields.text("provider_ref", limits::REFERENCE_MAX),
        reason: fields.text("reason", limits::REASON_MAX),
    };
    let occurred_at = fields.parse::<Timestamp>("occurred_at");
    let problems = fields.finish();
    match (vendor, status, problems.is_empty()) {
        (Some(vendor), Some(Claimable(status)), true) => {
            Ok(Item { vendor, mode, report: Report { reference_no, status, details, occurred_at } })
        }
        (None, _, true) => Err(vec![Problem::invalid("vendor_id", "is required")]),
        (_, None, true) => Err(vec![Problem::invalid("status", "is required")]),
        _ => Err(problems),
    }
}

/// A status that a report may claim.
struct Claimable(Status);

impl std::str::FromStr for Claimable {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().filter(|status| *status != Status::Reversed).map(Self).ok_or("must be queued, success or failed")
    }
}

/// `amount` (a decimal text, or a JSON number as it is written) and `currency`.
fn money(fields: &mut Fields) -> (Option<i64>, Option<Currency>) {
    let named = fields.gives("currency");
    let currency = fields.parse::<Currency>("currency");
    let amount = match fields.value("amount") {
        None => return (None, currency),
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => {
            fields.invalid("amount", "must be a decimal string such as \"50.00\"");
            return (None, currency);
        }
    };
    let Some(currency) = currency else {
        if !named {
            fields.invalid("currency", "is required with an amount");
        }
        return (None, None);
    };
    match currency.minor(&amount) {
        Ok(minor) => (Some(minor), Some(currency)),
        Err(error) => {
            fields.invalid("amount", error);
            (None, Some(currency))
        }
    }
}
