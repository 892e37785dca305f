//! Alerts: what a person is notified of by mail, and the mail itself.
//!
//! The text of an alert is a list of facts, one a line, that a person can act on without logging in first: whose it is, what it is
//! about, since when, why, and what happens next. The path of its page in the panel stands in it; the mail makes a link of that,
//! since only the server knows under which URL people reach it.

use super::endpoint::Endpoint;
use super::id::{ConflictId, EndpointId};
use super::recharge::{Contradiction, Recharge};
use super::secret::Secret;
use super::submission::Submission;
use super::time::Timestamp;
use super::vendor::Mode;
use crate::limits;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The endpoint it is about, if any.
    pub endpoint: Option<EndpointId>,
    /// A line for the mail's subject.
    pub title: String,
    /// What happened and what to do.
    pub text: String,
}

/// The endpoint of an alert, with what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct OfEndpoint<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Its vendor's name.
    pub vendor: &'a str,
    /// Why its latest attempts failed, the most frequent cause first.
    pub causes: &'a [String],
}

/// The recharge of an alert.
#[derive(Debug, Clone, Copy)]
pub struct OfRecharge<'a> {
    /// The recharge.
    pub recharge: &'a Recharge,
    /// Its vendor's name.
    pub vendor: &'a str,
    /// Its mode.
    pub mode: Mode,
}

/// A contradiction that opened a case.
#[derive(Debug, Clone, Copy)]
pub struct Opened<'a> {
    /// The case.
    pub id: ConflictId,
    /// What the report contradicts.
    pub found: &'a Contradiction,
    /// Who reported.
    pub source: &'a str,
    /// When.
    pub at: Timestamp,
}

/// The line with the path of a page in the panel begins with this.
const PAGE: &str = "Panel:      ";

/// The lines of a text, in their order; those without a value are left out.
struct Facts(String);

impl Facts {
    fn new() -> Self {
        Self(String::new())
    }

    fn add(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let value = one_line(value.as_ref());
        if !value.is_empty() {
            self.0.push_str(&format!("{:<12}{value}\n", format!("{name}:")));
        }
        self
    }

    fn page(mut self, path: &str) -> String {
        self.0.push_str(&format!("{PAGE}{path}"));
        self.0
    }
}

/// What others wrote, within one line.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// A time as people read it.
fn when(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{} UTC", seconds.replace('T', " ")))
}

/// A connection number of which only so much is shown that a person who knows it recognises it.
pub fn masked(number: &str) -> String {
    let letters: Vec<char> = number.chars().collect();
    if letters.len() < 6 {
        return "•".repeat(letters.len());
    }
    let (begin, end) = (letters[..3].iter().collect::<String>(), letters[letters.len() - 2..].iter().collect::<String>());
    format!("{begin}{}{end}", "•".repeat(letters.len() - 5))
}

impl OfEndpoint<'_> {
    fn alert(&self, what: &str, facts: Facts) -> Alert {
        let Self { endpoint, vendor, .. } = self;
        let (host, mode) = (endpoint.settings.url.host_str().unwrap_or_default(), endpoint.mode.as_str());
        let of_test = if endpoint.mode == Mode::Test { " of test mode" } else { "" };
        Alert {
            endpoint: Some(endpoint.id),
            title: format!("{}: webhook endpoint {host}{of_test} {what}", one_line(vendor)),
            text: facts.page(&format!("/panel/{mode}/webhooks/{}", endpoint.id)),
        }
    }

    fn facts(&self) -> Facts {
        let (endpoint, mode) = (self.endpoint, self.endpoint.mode.as_str());
        let facts = Facts::new().add("Vendor", self.vendor);
        facts.add("Endpoint", format!("{} ({}, {mode} mode)", endpoint.settings.shown_url(), endpoint.id))
    }

    fn cause(&self) -> String {
        self.causes.join("; ")
    }

    /// The most frequent cause, for a subject.
    fn in_short(&self) -> String {
        self.causes.first().map_or_else(String::new, |cause| format!(" ({})", cause.split(" (").next().unwrap_or(cause)))
    }
}

impl Alert {
    /// It has been failing for `warn_after`. It is disabled at that time, if nothing succeeds before.
    pub fn failing(of: OfEndpoint<'_>, since: Timestamp, disables_at: Timestamp) -> Self {
        let next = format!(
            "Every delivery is retried. If none succeeds, the endpoint is disabled at {}, or when the first delivery has used up its \
             retries, whichever is later.",
            when(disables_at)
        );
        let facts = of.facts().add("Problem", format!("nothing has been delivered to it since {}", when(since))).add("Cause", of.cause());
        let facts = facts.add("Next", next).add("What to do", "Fix the receiver. Nothing has to be sent again by hand.");
        of.alert(&format!("is failing{}", of.in_short()), facts)
    }

    /// A rule disabled it: because it has been failing since then, or at once for the reason alone.
    pub fn disabled(of: OfEndpoint<'_>, reason: &str, failing_since: Option<Timestamp>, now: Timestamp) -> Self {
        let facts = of.facts().add("Problem", format!("it was disabled at {}: {reason}", when(now)));
        let (facts, short) = match failing_since {
            Some(since) => (facts.add("Failing", format!("since {}", when(since))).add("Cause", of.cause()), of.in_short()),
            None => (facts, format!(" ({reason})")),
        };
        let facts = facts.add("Next", "It gets no more events until it is enabled again.");
        let what = format!(
            "Fix the receiver, then enable the endpoint in the panel or with POST /v1/endpoints/{}/enable. What it missed can be sent then.",
            of.endpoint.id
        );
        of.alert(&format!("is disabled{short}"), facts.add("What to do", what))
    }

    /// It works again after a warning.
    pub fn recovered(of: OfEndpoint<'_>, since: Timestamp, now: Timestamp) -> Self {
        let facts = of.facts().add("Failed", format!("from {} to {}", when(since), when(now)));
        let facts = facts.add("Next", "What waited is being delivered.").add("What to do", "Nothing.");
        of.alert("works again", facts)
    }

    /// It came back by itself.
    pub fn came_back(of: OfEndpoint<'_>, now: Timestamp) -> Self {
        let facts = of.facts().add("State", format!("it was disabled, answered its handshake at {}, and is connected again", when(now)));
        let what =
            format!("Send what it missed while it was disabled: in the panel, or with POST /v1/endpoints/{}/replay.", of.endpoint.id);
        of.alert("works again", facts.add("Next", "What waited is being delivered.").add("What to do", what))
    }

    /// Its provider has not reported for three days what became of a recharge.
    pub fn stuck(of: OfRecharge<'_>, submission: &Submission) -> Self {
        let (id, details) = (of.recharge.id, &of.recharge.details);
        let facts = of.facts().add("Provider", details.provider.as_deref().unwrap_or_default());
        let facts =
            facts.add("Provider's", details.provider_ref.as_deref().map(|theirs| format!("reference {theirs}")).unwrap_or_default());
        let facts = facts.add("Submitted", when(submission.sent_at.unwrap_or(of.recharge.created_at)));
        let facts = facts.add("Problem", "its provider has not reported a final status for 72 hours");
        let facts = facts.add("Next", "The provider is not asked any more. The recharge stays queued, and its vendor gets no event.");
        let what = format!("Ask the provider, then settle it in the panel or with POST /v1/recharges/{id}/resolve.");
        Self {
            endpoint: None,
            title: of.title("is stuck at its provider"),
            text: facts.add("What to do", what).page("/panel/operator/stuck"),
        }
    }

    /// A report contradicted a settled recharge.
    pub fn conflict(of: OfRecharge<'_>, opened: Opened<'_>) -> Self {
        let Opened { id, found, source, at } = opened;
        let name = if found.field == "connection_no" { "connection number" } else { found.field };
        let shown = |value: &str| if found.field == "connection_no" { masked(value) } else { value.to_owned() };
        let (theirs, ours) = (shown(&found.theirs), shown(&found.ours));
        let facts = of.facts().add("Status", status_of(of.recharge));
        let facts = facts.add("Problem", format!("a report claims {name} {theirs} where the ledger has {ours}"));
        let facts = facts.add("Received", format!("{}, {}", when(at), by(source)));
        let facts = facts.add("Next", "Nothing has been changed, and its vendor is not notified until the conflict is resolved.");
        let what = format!("Ask the provider, then resolve it in the panel or with POST /v1/conflicts/{id}/resolve.");
        Self {
            endpoint: None,
            title: of.title(&format!("is contradicted: {name} {theirs}, the ledger has {ours}")),
            text: facts.add("What to do", what).page(&format!("/panel/operator/conflicts/{id}")),
        }
    }
}

/// Who reported, in words.
fn by(source: &str) -> String {
    match source {
        "report" => "with POST /v1/reports".to_owned(),
        "callback" => "with a callback of its provider".to_owned(),
        other => format!("from {other}"),
    }
}

fn status_of(recharge: &Recharge) -> String {
    let since = recharge.settled_at.map(|at| format!(" since {}", when(at))).unwrap_or_default();
    format!("{}{since}", recharge.status.as_str())
}

impl OfRecharge<'_> {
    fn title(&self, what: &str) -> String {
        let of_test = if self.mode == Mode::Test { " of test mode" } else { "" };
        format!("{}: recharge {}{of_test} {what}", one_line(self.vendor), one_line(&self.recharge.reference_no))
    }

    fn facts(&self) -> Facts {
        let (recharge, details) = (self.recharge, &self.recharge.details);
        let amount = details.amount_text().zip(details.currency).map(|(amount, currency)| format!("{amount} {}", currency.code()));
        let recharged = format!("{} (transaction {}, {} mode)", recharge.id, recharge.transaction_id, self.mode.as_str());
        let facts = Facts::new().add("Vendor", self.vendor).add("Reference", &recharge.reference_no).add("Recharge", recharged);
        let facts = facts.add("Amount", amount.unwrap_or_default()).add("Network", details.network.as_deref().unwrap_or_default());
        facts.add("Number", details.connection_no.as_deref().map(masked).unwrap_or_default())
    }
}

/// A mail to one person that goes out at once and by itself. Nobody else may see its text: there is a link in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// The address.
    pub to: String,
    /// The subject.
    pub title: String,
    /// The text.
    pub text: Secret,
}

/// A mail that gathers what waits for an address: its subject and its text. Without a `public_url` there are no links in it.
pub fn mail(alerts: &[Alert], waiting: u64, public_url: Option<&str>) -> (String, String) {
    let more = waiting.saturating_sub(1);
    let first = alerts.first().map_or("", |alert| alert.title.as_str());
    let rest = if more == 0 { String::new() } else { format!(", and {more} more") };
    let mut text: String = alerts.iter().map(|alert| format!("{}\n\n{}\n", alert.title, linked(&alert.text, public_url))).collect();
    let left_out = waiting.saturating_sub(alerts.len() as u64);
    if left_out > 0 {
        let word = if left_out == 1 { "alert" } else { "alerts" };
        text.push_str(&format!("And {left_out} more {word}, which this mail does not list; the panel shows them.\n\n"));
    }
    text.push_str(&match public_url {
        Some(url) => format!("-- \nRingback at {url}\n"),
        None => "-- \nRingback (this mail has no links: the setting public_url is not set)\n".to_owned(),
    });
    // What is counted stays, however long the first title is.
    let end = first.floor_char_boundary(limits::MAIL_SUBJECT_MAX.saturating_sub(rest.len()));
    (format!("{}{rest}", &first[..end]), text)
}

/// The text with a link where the path of a page stands, or without that line.
fn linked(text: &str, public_url: Option<&str>) -> String {
    let line = |line: &str| match (line.strip_prefix(PAGE), public_url) {
        (Some(path), Some(url)) => format!("{PAGE}{}{path}\n", url.trim_end_matches('/')),
        (Some(_), None) => String::new(),
        (None, _) => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(title: &str, text: &str) -> Alert {
        Alert { endpoint: None, title: title.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn numbers_are_hidden_but_for_their_ends() {
        for (number, told) in [("9801234567", "980•••••67"), ("12345", "•••••"), ("123456", "123•56"), ("", "")] {
            assert_eq!(masked(number), told);
        }
    }

    #[test]
    fn links_lead_to_the_public_url_or_are_left_out() {
        let text = Facts::new().add("Vendor", "Himal\r\nSubject: x").add("Network", "").page("/panel/operator/stuck");
        let (subject, mailed) = mail(&[alert("A", &text)], 1, Some("https://a.example/base/"));
        assert_eq!(subject, "A");
        assert!(
            mailed.starts_with("A\n\nVendor:     Himal  Subject: x\nPanel:      https://a.example/base/panel/operator/stuck\n\n"),
            "{mailed}"
        );
        let (_, mailed) = mail(&[alert("A", &text)], 1, None);
        assert!(!mailed.contains("/panel/") && mailed.contains("public_url is not set"), "{mailed}");
    }

    #[test]
    fn a_long_subject_keeps_its_count() {
        let (subject, text) = mail(&[alert(&"ü".repeat(200), "")], 3, None);
        assert!(subject.len() <= limits::MAIL_SUBJECT_MAX && subject.ends_with(", and 2 more"), "{subject}");
        assert!(text.contains("And 2 more alerts"), "{text}");
    }

    #[test]
    fn times_have_a_date_and_a_zone() {
        assert_eq!(when("2026-11-24T00:01:02.345Z".parse().unwrap()), "2026-11-24 00:01:02 UTC");
    }
}
