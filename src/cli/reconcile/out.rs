//! What `reconcile` prints: each difference as it is found, and a summary at the end.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use super::super::output::Verdicts;
use crate::domain::spreadsheet::cell;
use crate::domain::time::Timestamp;

/// How differences are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// A few lines for people
    Text,
    /// One JSON object a line, the last one with the counts
    Json,
    /// Rows
    Csv,
}

/// How a row of the statement and the ledger differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The ledger has no such recharge, or it was handed to another provider.
    MissingHere,
    /// The statement does not have it.
    MissingThere,
    /// It stands in the statement more than once.
    Twice,
    /// Amounts differ.
    Amount,
    /// Outcomes differ.
    Status,
    /// The statement has an outcome, the ledger has none yet.
    StillQueued,
    /// The row, or its amount, cannot be read.
    Unreadable,
    /// The file is not whole.
    Cut,
}

/// A difference, with what is known of it on both sides. Later fields are added at the end: programs read these.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Difference {
    pub(super) kind: Kind,
    pub(super) reference: String,
    pub(super) ours: String,
    pub(super) theirs: String,
    pub(super) what_to_do: String,
    /// The statement's line.
    pub(super) line: Option<u64>,
    pub(super) vendor: String,
    pub(super) vendor_id: String,
    /// Masked.
    pub(super) connection_no: String,
    pub(super) our_status: String,
    pub(super) their_status: String,
    pub(super) our_amount: String,
    pub(super) their_amount: String,
}

/// Rows and differences by kind.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) matched: u64,
    pub(super) missing_here: u64,
    pub(super) missing_there: u64,
    pub(super) twice: u64,
    pub(super) amount: u64,
    pub(super) status: u64,
    pub(super) still_queued: u64,
    pub(super) unreadable: u64,
    /// Rows about recharges outside of the requested range, which are not compared.
    pub(super) outside_range: u64,
}

impl Counts {
    pub(super) fn differences(&self) -> u64 {
        self.missing_here + self.missing_there + self.twice + self.amount + self.status + self.still_queued + self.unreadable
    }
}

/// The end of the output.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// The range that was compared; none if there was nothing to compare.
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    /// When the latest recharge of the statement was made.
    pub(super) last_row: Option<Timestamp>,
    /// Recharges after that one, which are missing there.
    pub(super) after_last_row: u64,
    /// Why the file is not whole.
    pub(super) cut: Option<String>,
}

/// Where differences are printed, as they are found.
pub(super) enum Out {
    Text(Verdicts),
    Json(Verdicts),
    Csv(Box<csv::Writer<Verdicts>>),
}

impl Out {
    pub(super) fn new(form: Form) -> Self {
        let out = Verdicts::new();
        match form {
            Form::Text => Self::Text(out),
            Form::Json => Self::Json(out),
            Form::Csv => Self::Csv(Box::new(csv::Writer::from_writer(out))),
        }
    }

    pub(super) fn difference(&mut self, difference: &Difference) -> anyhow::Result<()> {
        match self {
            Self::Text(out) => in_text(out, difference)?,
            Self::Json(out) => writeln!(out, "{}", serde_json::to_string(difference)?)?,
            // References are other people's text, and this is read in spreadsheets.
            Self::Csv(writer) => {
                let mut safe = difference.clone();
                let texts = [&mut safe.reference, &mut safe.ours, &mut safe.theirs, &mut safe.vendor];
                let texts = texts.into_iter().chain([&mut safe.their_status, &mut safe.their_amount]);
                texts.for_each(|text| *text = cell(text).into_owned());
                writer.serialize(safe)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, summary: &Summary) -> anyhow::Result<()> {
        match self {
            Self::Text(mut out) => {
                summary_in_text(&mut out, summary)?;
                out.flush()?;
            }
            Self::Json(mut out) => {
                writeln!(out, "{}", serde_json::to_string(summary)?)?;
                out.flush()?;
            }
            // The counts would be a row like no other.
            Self::Csv(mut writer) => {
                writer.flush()?;
                super::super::say(format_args!("{}", serde_json::to_string(summary)?));
            }
        }
        Ok(())
    }
}

fn in_text(out: &mut impl Write, difference: &Difference) -> anyhow::Result<()> {
    let Difference { kind, reference, ours, theirs, what_to_do, line, vendor, connection_no, .. } = difference;
    let kind = serde_json::to_value(kind)?;
    writeln!(out, "{:<14} {reference}  here: {ours}  there: {theirs}", kind.as_str().unwrap_or_default())?;
    let line = line.map(|line| format!("line {line}"));
    let number = (!connection_no.is_empty()).then(|| format!("number {connection_no}"));
    let vendor = (!vendor.is_empty()).then(|| format!("vendor {vendor}"));
    let about: Vec<String> = [line, vendor, number].into_iter().flatten().collect();
    if !about.is_empty() {
        writeln!(out, "               {}", about.join(", "))?;
    }
    Ok(writeln!(out, "               {what_to_do}")?)
}

fn summary_in_text(out: &mut impl Write, summary: &Summary) -> anyhow::Result<()> {
    match (summary.from, summary.to) {
        (Some(from), Some(to)) => writeln!(out, "compared: {from} to {to}")?,
        (None, Some(to)) => writeln!(out, "compared: the beginning to {to}")?,
        _ => writeln!(out, "compared: no row is about a recharge of this provider; say --since and --until")?,
    }
    if let Some(last) = summary.last_row {
        writeln!(out, "last row: {last}")?;
        let after = summary.after_last_row;
        if after > 0 {
            let recharges = if after == 1 { "1 recharge here is" } else { &format!("{after} recharges here are") };
            writeln!(
                out,
                "the statement ends early: {recharges} later than its last row, and missing there; \
                 if it does not cover that time, say --until"
            )?;
        }
    }
    if let Some(cut) = &summary.cut {
        writeln!(out, "the statement is cut: {cut}")?;
    }
    let counts = serde_json::to_value(&summary.counts)?;
    for (name, count) in counts.as_object().into_iter().flatten() {
        writeln!(out, "{}: {count}", name.replace('_', " "))?;
    }
    Ok(())
}
