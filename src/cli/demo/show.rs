//! What the demo prints: a line per outcome, and a summary. Colour only on a terminal (anstream sees to it).

use serde_json::json;

use super::super::output::Unwritable;
use super::super::style::{BAD, FAINT, GOOD, ODD, STRONG};
use super::receivers::{Kind, Received, Taken};
use super::{OPERATOR, PASSWORD, VENDORS, Vendor};

/// Where everything is.
pub(super) fn opening(url: &str, operator: &str, vendors: &[Vendor]) -> Result<(), Unwritable> {
    outln!("{STRONG}Ringback{STRONG:#} makes sure a vendor learns what became of every recharge.\n")?;
    outln!("  {STRONG}Panel      {url}/panel{STRONG:#}   {FAINT}log in with the password{FAINT:#} {PASSWORD} {FAINT}as{FAINT:#}")?;
    outln!("             {OPERATOR}   {FAINT}(the operator){FAINT:#}")?;
    for vendor in vendors {
        outln!("             {}   {FAINT}({}){FAINT:#}", vendor.email, vendor.name)?;
    }
    outln!()?;
    outln!("  API        {url}   {FAINT}(the document: {url}/openapi.json){FAINT:#}")?;
    outln!("  operator   {operator}")?;
    for vendor in vendors {
        let kind = if vendor.kind == Kind::Standard { "standard" } else { "globaltopup" };
        let mood = if vendor.is_flaky { ", answers 500 to one request in four" } else { "" };
        outln!("  {:<10} {}   {FAINT}({kind}{mood}){FAINT:#}", vendor.name, vendor.token)?;
    }
    let example = &vendors[0].token;
    outln!("\n  {FAINT}Look for yourself:{FAINT:#} curl -H 'Authorization: Bearer {example}' {url}/v1/deliveries\n")
}

/// One outcome.
pub(super) fn line(received: &Received) -> Result<(), Unwritable> {
    let time = &received.at.to_string()[11..23];
    let name = VENDORS[received.vendor].name;
    match &received.taken {
        Taken::Verified { reference_no, status, amount, sent_for_ms } => {
            let (style, sign) = if status == "success" { (GOOD, "✓") } else { (BAD, "✗") };
            outln!(
                "{FAINT}{time}{FAINT:#}  {name:<10}  {style}{sign} {status:<8}{style:#}  {reference_no:<12} {amount:>8} NPR   {FAINT}delivered and verified in {sent_for_ms} ms{FAINT:#}"
            )
        }
        Taken::TurnedAway => outln!("{FAINT}{time}{FAINT:#}  {name:<10}  {ODD}… answered 500, it is tried again{ODD:#}"),
        Taken::Wrong => outln!("{FAINT}{time}{FAINT:#}  {name:<10}  {BAD}! a request that does not verify{BAD:#}"),
    }
}

/// What it came to.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub recharges: usize,
    pub events: usize,
    pub succeeded: usize,
    pub retried: usize,
    /// Milliseconds from acceptance to delivery.
    pub p50: u64,
    pub p99: u64,
    /// What did not arrive or did not verify.
    pub missing: usize,
}

impl Summary {
    pub fn print(&self) -> Result<(), Unwritable> {
        let verdict = if self.missing == 0 { "every event reached its receiver and verified" } else { "not every event arrived" };
        let style = if self.missing == 0 { GOOD } else { BAD };
        outln!("\n{style}{verdict}{style:#}")?;
        outln!("recharges: {}", self.recharges)?;
        outln!("events: {}", self.events)?;
        outln!("deliveries succeeded: {}", self.succeeded)?;
        outln!("retried: {}", self.retried)?;
        outln!("p50: {} ms", self.p50)?;
        outln!("p99: {} ms", self.p99)?;
        if self.missing > 0 {
            outln!("missing: {}", self.missing)?;
        }
        outln!(
            "{FAINT}(one event per settled recharge; retried deliveries needed more than one attempt, \
             because a receiver answered 500;\n p50 and p99 are from the outcome's acceptance to the receiver having verified it, waits for retries included){FAINT:#}"
        )
    }

    pub fn print_json(&self) -> Result<(), Unwritable> {
        let Self { recharges, events, succeeded, retried, p50, p99, missing } = self;
        let summary = json!({
            "recharges": recharges, "events": events, "deliveries succeeded": succeeded, "retried": retried, "p50": p50, "p99": p99, "missing": missing
        });
        outln!("{summary}")
    }
}
