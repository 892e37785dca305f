//! What the demo prints: a line per outcome, the status block, and a summary. No line is longer than 80 characters, but for links
//! and tokens. Colour only on a terminal (anstream sees to it).

use std::time::Duration;

use anstyle::Style;
use serde_json::json;

use super::super::output::Unwritable;
use super::super::style::{BAD, FAINT, GOOD, ODD, STRONG};
use super::receivers::{Received, Taken};
use super::screen::Status;
use super::stage::{BUYERS, CAST, Vendor};
use super::{OPERATOR, PASSWORD};
use crate::domain::time::Timestamp;

/// Where everything is, and what to look at.
pub(super) fn opening(url: &str, link: &str, operator: &str, vendors: &[Vendor]) -> String {
    let mut text = format!(
        "\n{STRONG}Ringback makes sure that vendors learn the outcome of every recharge.{STRONG:#}\n\n\
         Open the panel as the operator:\n  {STRONG}{link}{STRONG:#}\n\n\
         Or log in at {url}/panel\n  {FAINT}password{FAINT:#}   {PASSWORD}\n  {FAINT}operator{FAINT:#}   {OPERATOR}\n"
    );
    for character in &CAST {
        text.push_str(&format!("  {FAINT}{:<10}{FAINT:#} {}\n", character.name, character.email));
    }
    text.push_str(&format!("\nAPI tokens for {url}/v1\n  {FAINT}operator{FAINT:#}   {operator}\n"));
    for (character, vendor) in CAST.iter().zip(vendors) {
        text.push_str(&format!("  {FAINT}{:<10}{FAINT:#} {}\n", character.name, vendor.token));
    }
    text.push_str(
        "\nIn the panel\n  \
         Conflicts   one recharge is reported as success and as failed; resolve it\n  \
         Stuck       a provider never settled one; settle it\n  \
         Issues      Koshi's endpoint \"Accounting\" is down; see why\n  \
         Vendors     Lumbini's receiver answers 500 to one request in four\n",
    );
    text
}

fn time(at: Timestamp) -> String {
    at.to_string()[11..19].to_owned()
}

/// Something that happens on the stage.
pub(super) fn news(at: Timestamp, what: &str) -> String {
    format!("{FAINT}{}{FAINT:#}  {STRONG}{what}{STRONG:#}", time(at))
}

/// One outcome.
pub(super) fn line(received: &Received) -> String {
    let (time, name) = (time(received.at), CAST[received.vendor].name);
    match &received.taken {
        Taken::Verified { reference_no, status, amount, sent_for_ms } => {
            let (style, sign) = if status == "success" { (GOOD, "✓") } else { (BAD, "✗") };
            let took = span(Duration::from_millis(*sent_for_ms));
            format!(
                "{FAINT}{time}{FAINT:#}  {name:<8} {style}{sign} {status:<7}{style:#}  {reference_no:<9} {amount:>8} NPR  {FAINT}verified after {took}{FAINT:#}"
            )
        }
        Taken::Refused(status) => format!("{FAINT}{time}{FAINT:#}  {name:<8} {ODD}… answered {status}; will be retried{ODD:#}"),
        Taken::Wrong => format!("{FAINT}{time}{FAINT:#}  {name:<8} {BAD}! a request that does not verify{BAD:#}"),
    }
}

/// A time with the unit that fits it.
fn span(time: Duration) -> String {
    match (time.as_secs(), time.as_millis()) {
        (0, millis) => format!("{millis} ms"),
        (1..60, _) => format!("{:.1} s", time.as_secs_f64()),
        (seconds, _) => format!("{} min", seconds / 60),
    }
}

/// The block that stays in view.
pub(super) fn status(link: &str, recharges: usize, delivered: usize, refused: usize) -> Vec<Status> {
    let line = |style: Style, text: String| Status { style, text, is_cut: true };
    vec![
        line(FAINT, "─".repeat(80)),
        line(Style::new(), " Open the panel as the operator; Ctrl-C ends the demo:".to_owned()),
        Status { style: STRONG, text: format!(" {link}"), is_cut: false },
        line(FAINT, format!(" {recharges} ordered · {delivered} delivered and verified · {refused} answered with an error")),
    ]
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
        let buyers = CAST[..BUYERS].iter().map(|character| character.name).collect::<Vec<_>>().join(" and ");
        let verdict = if self.missing == 0 { "every event reached its receiver and verified" } else { "not every event arrived" };
        let style = if self.missing == 0 { GOOD } else { BAD };
        outln!("\n{buyers}: {style}{verdict}{style:#}")?;
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
            "{FAINT}(The history is not counted. One event per settled recharge; deliveries are\n\
             retried because Lumbini's receiver answers 500. p50 and p99 are from the\n\
             outcome's acceptance to its verification, waits for retries included.){FAINT:#}"
        )?;
        self.print_next()
    }

    fn print_next(&self) -> Result<(), Unwritable> {
        outln!("\n{STRONG}What to try next{STRONG:#}")?;
        for (command, what) in [
            ("ringback serve", "your own server; prints a link to set it up"),
            ("ringback listen --help", "receive events on your machine"),
            ("ringback check --help", "test a receiver that you have written"),
            ("ringback config init", "an example file with all settings"),
        ] {
            outln!("  {command:<24} {FAINT}{what}{FAINT:#}")?;
        }
        outln!("  {:<24} {FAINT}a tour of the API{FAINT:#}", "README.md")
    }

    pub fn print_json(&self) -> Result<(), Unwritable> {
        let Self { recharges, events, succeeded, retried, p50, p99, missing } = self;
        let summary = json!({
            "recharges": recharges, "events": events, "deliveries succeeded": succeeded, "retried": retried, "p50": p50, "p99": p99, "missing": missing
        });
        outln!("{summary}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn lines_fit_into_80_columns() {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let verified = Taken::Verified {
            reference_no: "INV-00999".to_owned(),
            status: "success".to_owned(),
            amount: "1000.00".to_owned(),
            sent_for_ms: 59_949,
        };
        for taken in [verified, Taken::Refused(503), Taken::Wrong] {
            let text = plain(&line(&Received { vendor: 0, event_id: String::new(), at, taken }));
            assert!(text.chars().count() <= 80, "{text}");
        }
        let link = format!("http://127.0.0.1:65535/panel/enter/{}", "x".repeat(39));
        for Status { text, .. } in status(&link, 99_999, 99_999, 99_999) {
            assert!(text.chars().count() <= 80, "{text}");
        }
        let opening = plain(&opening("http://127.0.0.1:65535", &link, "x", &[]));
        assert!(opening.lines().all(|line| line.chars().count() <= 80), "{opening}");
    }
}
