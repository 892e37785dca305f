//! Parts that pages are drawn with.

use std::fmt::Display;
use std::time::Duration;

use maud::{Markup, html};

use super::error::capital;
use super::form::{PROOF, Query};
use crate::domain::alert::masked;
use crate::domain::delivery::DeliveryState;
use crate::domain::endpoint::EndpointStatus;
use crate::domain::recharge::Status;
use crate::domain::time::Timestamp;
use crate::fields::Problem;

// --- Times and numbers -----------------------------------------------------------------------------------------------

/// A time: in UTC as written, in the reader's zone once the script has seen it.
pub(super) fn time(at: Timestamp) -> Markup {
    let text = at.to_string();
    let (day, rest) = text.split_once('T').unwrap_or((&text, ""));
    let utc = format!("{day} {} UTC", rest.trim_end_matches('Z'));
    html! { time datetime=(text) title=(utc) { (day) " " (rest.get(..8).unwrap_or(rest)) } }
}

/// The same, or a dash.
pub(super) fn time_or_dash(at: Option<Timestamp>) -> Markup {
    at.map_or_else(dash, time)
}

pub(super) fn dash() -> Markup {
    html! { span.faint aria-label="none" { "–" } }
}

/// How long ago, with the time itself on hover.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> Markup {
    let text = at.to_string();
    let told = if at > now { format!("in {}", span(at.since(now))) } else { format!("{} ago", span(now.since(at))) };
    html! { time.ago datetime=(text) title=(text.replace('T', " ").replace('Z', " UTC")) { (told) } }
}

/// A time ahead, counted down where there is a script.
pub(super) fn until(at: Timestamp, now: Timestamp) -> Markup {
    html! { time data-until="yes" datetime=(at) title=(at) { "in " (span(at.since(now))) } }
}

/// A duration in its largest two units.
pub(super) fn span(time: Duration) -> String {
    let (millis, seconds) = (time.as_millis(), time.as_secs());
    match seconds {
        0 if millis < 10 => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        0 => format!("{millis} ms"),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => match (seconds / 3600, seconds % 3600 / 60) {
            (hours, 0) => format!("{hours} h"),
            (hours, minutes) => format!("{hours} h {minutes} min"),
        },
        _ => match (seconds / 86_400, seconds % 86_400 / 3600) {
            (days, 0) => format!("{days} days"),
            (days, hours) => format!("{days} days {hours} h"),
        },
    }
}

/// A count with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A connection number, hidden but for its beginning and its end unless it was asked for.
pub(super) fn connection(number: Option<&str>, shown: bool) -> Markup {
    match number {
        None => dash(),
        Some(number) if shown => html! { span.mono { (number) } },
        Some(number) => html! { span.mono title="Hidden; show numbers to see it" { (masked(number)) } },
    }
}

// --- Words in colour -------------------------------------------------------------------------------------------------

/// A word with a dot of a colour: `good`, `bad`, `wait`, `off`.
pub(super) fn badge(kind: &str, word: impl Display) -> Markup {
    html! { span class={ "badge " (kind) } { (word) } }
}

pub(super) fn status(status: Status) -> Markup {
    let kind = match status {
        Status::Queued => "wait",
        Status::Success => "good",
        Status::Failed => "bad",
        Status::Reversed => "off",
    };
    badge(kind, status.as_str())
}

pub(super) fn state(state: DeliveryState) -> Markup {
    let kind = match state {
        DeliveryState::Pending => "wait",
        DeliveryState::Succeeded => "good",
        DeliveryState::Exhausted => "bad",
        DeliveryState::Cancelled => "off",
    };
    badge(kind, state.as_str())
}

pub(super) fn endpoint_status(status: EndpointStatus, is_failing: bool) -> Markup {
    match status {
        EndpointStatus::Connected if is_failing => badge("bad", "failing"),
        EndpointStatus::Connected => badge("good", "connected"),
        EndpointStatus::NotConnected => badge("off", "not connected"),
        EndpointStatus::Paused => badge("wait", "paused"),
        EndpointStatus::Disabled => badge("bad", "disabled"),
    }
}

// --- Forms -----------------------------------------------------------------------------------------------------------

pub(super) fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}

/// A form that changes something.
pub(super) fn change(action: &str, proof: &str, inside: Markup) -> Markup {
    html! { form.stack method="post" action=(action) { (hidden(PROOF, proof)) (inside) } }
}

/// One button that changes something.
pub(super) fn act(action: &str, proof: &str, (kind, name): (&str, &str), inside: Markup) -> Markup {
    html! {
        form.inline method="post" action=(action) { (hidden(PROOF, proof)) (inside) button class=(kind) type="submit" { (name) } }
    }
}

/// A line of text to fill in.
pub(super) struct Input<'a> {
    pub name: &'a str,
    pub label: &'a str,
    pub kind: &'a str,
    pub value: &'a str,
    pub help: Option<&'a str>,
    pub required: bool,
    pub autocomplete: &'a str,
}

impl<'a> Input<'a> {
    pub fn text(name: &'a str, label: &'a str, value: &'a str) -> Self {
        Self { name, label, kind: "text", value, help: None, required: false, autocomplete: "off" }
    }

    pub fn draw(&self, problems: &[Problem]) -> Markup {
        let (id, help) = (format!("in-{}", self.name), format!("help-{}", self.name));
        let wrong = of_field(problems, self.name);
        html! {
            div.field {
                label for=(id) { (self.label) @if self.required { span.faint { " (required)" } } }
                input id=(id) name=(self.name) type=(self.kind) value=(self.value) required[self.required] autocomplete=(self.autocomplete)
                    aria-describedby=[(self.help.is_some() || wrong.is_some()).then_some(&help)] aria-invalid=[wrong.is_some().then_some("true")];
                @if self.help.is_some() || wrong.is_some() {
                    div id=(help) {
                        @if let Some(wrong) = &wrong { p.wrong { (wrong) } }
                        @if let Some(help) = self.help { p.help { (help) } }
                    }
                }
            }
        }
    }
}

/// A choice among a few.
pub(super) fn choice(name: &str, label: &str, options: &[(&str, &str)], chosen: &str) -> Markup {
    let id = format!("in-{name}");
    html! {
        div.field {
            label for=(id) { (label) }
            select id=(id) name=(name) {
                @for (value, told) in options { option value=(value) selected[*value == chosen] { (told) } }
            }
        }
    }
}

fn of_field(problems: &[Problem], name: &str) -> Option<String> {
    let told: Vec<String> = problems.iter().filter(|problem| problem.field == name).map(|problem| capital(&problem.message)).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// The problems of an input that belong to none of these fields, above the form.
pub(super) fn problems(problems: &[Problem], fields: &[&str]) -> Markup {
    let others: Vec<&Problem> = problems.iter().filter(|problem| !fields.contains(&problem.field.as_str())).collect();
    html! {
        @if !problems.is_empty() {
            div.notice.bad role="alert" {
                p { strong { "Nothing was changed yet. " } @if others.len() < problems.len() { "See what is marked below." } }
                @for problem in others { p { (capital(format!("{} {}", problem.field, problem.message).trim())) } }
            }
        }
    }
}

/// A text to be copied.
pub(super) fn copyable(text: &str) -> Markup {
    html! { span.copy { code { (text) } button.small type="button" data-copy=(text) { "Copy" } } }
}

/// Something longer to be copied.
pub(super) fn code(label: &str, text: &str) -> Markup {
    html! {
        div.code { button.small type="button" data-copy=(text) { "Copy" } pre tabindex="0" aria-label=(label) { code { (text) } } }
    }
}

// --- Lists -----------------------------------------------------------------------------------------------------------

/// The way to what is older, and back to the beginning.
pub(super) fn pager(query: &Query, next: Option<String>) -> Markup {
    html! {
        nav.pager aria-label="Parts of the list" {
            @if query.has("cursor") { a.button href=(query.with("cursor", "")) { "Newest" } }
            @if let Some(next) = next { a.button href=(query.with("cursor", &next)) { "Older" } }
        }
    }
}

/// What stands in the place of a list without items.
pub(super) fn empty(title: &str, more: &str) -> Markup {
    html! { div.empty { p { strong { (title) } } p { (more) } } }
}

/// The way to see connection numbers, or to hide them again.
pub(super) fn numbers_switch(query: &Query) -> Markup {
    html! {
        @if query.get("numbers") == "shown" { a.button href=(query.with("numbers", "")) { "Hide numbers" } }
        @else { a.button href=(query.with("numbers", "shown")) { "Show numbers" } }
    }
}

/// Names and what they stand for.
pub(super) fn facts(pairs: Vec<(&str, Markup)>) -> Markup {
    html! { dl.facts { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_their_largest_units() {
        for (millis, told) in [
            (1, "1.0 ms"),
            (35, "35 ms"),
            (1200, "1.2 s"),
            (59_000, "59 s"),
            (300_000, "5 min"),
            (7_500_000, "2 h 5 min"),
            (7_200_000, "2 h"),
            (90_000_000, "25 h"),
            (259_200_000, "3 days"),
            (270_000_000, "3 days 3 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), told);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, told) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), told);
        }
    }
}
