//! The results of `ringback check`: for people, as JSON, and as a badge.

use super::super::output::Unwritable;
use serde_json::{Value, json};

use super::requests::Tried;
use super::{Found, State, VALID, Wanted};
use crate::cli::style::{BAD, FAINT, GOOD, ODD, STRONG};

impl Wanted {
    const fn told(self) -> &'static str {
        match self {
            Self::Taken => "answers 2xx, soon",
            Self::TakenAsJson => "answers 200 with JSON",
            Self::Refused => "answers 4xx",
        }
    }
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotTested => "not_tested",
        }
    }
}

fn count(found: &[Found], state: State) -> usize {
    found.iter().filter(|one| one.state == state).count()
}

fn is_good(found: &[Found]) -> bool {
    found.iter().all(|one| one.state == State::Passed || !one.required)
}

/// What the receiver does after its answer, and how its developer finds out.
fn unseen(tried: &Tried) -> [(&'static str, String); 4] {
    let reference = tried.reference(1);
    [
        ("deduplication", format!("the event about {reference} was sent twice; your database has to show its effect once")),
        (
            "ordering",
            "of two events about one recharge, the one with the higher sequence has to win, in whatever order they arrive".to_owned(),
        ),
        ("unknown event types", "whether they are ignored, or processed as another type".to_owned()),
        ("durability", "whether the event is stored before it is answered with 2xx".to_owned()),
    ]
}

pub(super) fn print(tried: &Tried, found: &[Found]) -> Result<(), Unwritable> {
    for Found { trial, required, wanted, state, did, advice } in found {
        let label = trial.label;
        match state {
            State::Passed => outln!("{GOOD}✓{GOOD:#} {label:<20} {FAINT}{did}{FAINT:#}")?,
            State::NotTested => outln!("{FAINT}– {label:<20} not tested{}{FAINT:#}", reason(found, did))?,
            State::Failed => {
                let (style, sign, optional) = if *required { (BAD, "✗", "") } else { (ODD, "!", " (not required of this profile)") };
                // Where there is no answer, a good one is no help.
                let good = if did.starts_with("answered") { format!("; a good receiver {}", wanted.told()) } else { String::new() };
                outln!("{style}{sign}{style:#} {label:<20} {did}{good}")?;
                outln!("    {advice}{optional}")?;
            }
        }
    }
    let (passed, failed, skipped) = (count(found, State::Passed), count(found, State::Failed), count(found, State::NotTested));
    outln!("\n{STRONG}{passed} of {} passed, {failed} failed, {skipped} not tested{STRONG:#}", found.len())?;
    if found.iter().any(|one| one.trial.name == super::TRIALS[VALID].name && one.state == State::Passed) {
        outln!("\nCannot be seen from outside:")?;
        for (what, how) in unseen(tried) {
            outln!("  {what}: {FAINT}{how}{FAINT:#}")?;
        }
    }
    Ok(())
}

/// Why it was not tested, unless the line above says it.
fn reason(found: &[Found], why: &str) -> String {
    let is_baseline = found.iter().take(VALID + 1).any(|one| one.state == State::Failed) && count(found, State::Passed) <= 1;
    if is_baseline { String::new() } else { format!(": {why}") }
}

pub(super) fn as_json(tried: &Tried, found: &[Found]) -> Value {
    let one = |Found { trial, required, wanted, state, did, advice }: &Found| {
        let passed = (*state != State::NotTested).then_some(*state == State::Passed);
        json!({"check": trial.name, "required": required, "state": state.as_str(), "passed": passed, "a_good_receiver": wanted.told(),
               "this_one": did, "to_mend": (*state == State::Failed).then_some(advice)})
    };
    let unseen: Vec<_> = unseen(tried).into_iter().map(|(what, how)| json!({"what": what, "how_to_see": how})).collect();
    json!({"url": tried.url().as_str(), "profile": tried.profile().as_str(), "passed": is_good(found),
           "checks": found.iter().map(one).collect::<Vec<_>>(), "cannot_be_seen": unseen})
}

/// A small picture for a README.
pub(super) fn badge(found: &[Found]) -> String {
    let (passed, all) = (count(found, State::Passed), found.len());
    let colour = if is_good(found) { "#15713f" } else { "#b3261e" };
    let (name, value) = ("ringback check", format!("{passed} of {all}"));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"168\" height=\"22\" role=\"img\" aria-label=\"{name}: {value}\">\
         <rect width=\"168\" height=\"22\" rx=\"4\" fill=\"#3b4652\"/><path d=\"M104 0h60a4 4 0 0 1 4 4v14a4 4 0 0 1-4 4h-60z\" fill=\"{colour}\"/>\
         <g fill=\"#fff\" font-family=\"sans-serif\" font-size=\"12\" text-anchor=\"middle\"><text x=\"52\" y=\"15\">{name}</text>\
         <text x=\"136\" y=\"15\">{value}</text></g></svg>\n"
    )
}
