//! Alerts: what somebody is told by mail, and the mail that tells it.

use super::endpoint::Endpoint;
use super::id::{ConflictId, EndpointId, RechargeId};
use super::recharge::Contradiction;
use super::secret::Secret;
use super::time::Timestamp;
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

impl Alert {
    fn about(endpoint: &Endpoint, title: &str, text: String) -> Self {
        let host = endpoint.settings.url.host_str().unwrap_or_default();
        let (id, shown) = (endpoint.id, endpoint.settings.shown_url());
        let text = format!("{text}\nEndpoint {id} ({shown}, {} mode)", endpoint.mode.as_str());
        Self { endpoint: Some(endpoint.id), title: format!("{title}: {host}"), text }
    }

    /// It has been failing for `warn_after`.
    pub fn failing(endpoint: &Endpoint, since: Timestamp) -> Self {
        let text = format!(
            "Nothing has been delivered to it since {since}. Everything is tried again; if it goes on like this, the endpoint will be disabled."
        );
        Self::about(endpoint, "Webhook endpoint is failing", text)
    }

    /// A rule disabled it.
    pub fn disabled(endpoint: &Endpoint, reason: &str) -> Self {
        let text = format!(
            "It is disabled: {reason}. It gets no more events until it is enabled again with \
             POST /v1/endpoints/{}/enable; what it missed can be sent then.",
            endpoint.id
        );
        Self::about(endpoint, "Webhook endpoint is disabled", text)
    }

    /// It works again after a warning.
    pub fn recovered(endpoint: &Endpoint, now: Timestamp) -> Self {
        Self::works_again(endpoint, format!("It took an event at {now}; what waited is being delivered."))
    }

    /// It came back by itself.
    pub fn came_back(endpoint: &Endpoint, now: Timestamp) -> Self {
        let text = format!(
            "It was disabled, answered its handshake at {now}, and is connected again. What waited is being delivered; what it \
             missed meanwhile can be sent with POST /v1/endpoints/{}/replay.",
            endpoint.id
        );
        Self::works_again(endpoint, text)
    }

    fn works_again(endpoint: &Endpoint, text: String) -> Self {
        Self::about(endpoint, "Webhook endpoint works again", text)
    }

    /// Nobody could tell for three days what became of a recharge.
    pub fn stuck(recharge: RechargeId) -> Self {
        let text = format!(
            "Recharge {recharge}: its provider has not said for 72 hours what became of it. It is not asked any more; find out and settle it with \
             POST /v1/recharges/{recharge}/resolve."
        );
        Self { endpoint: None, title: "A recharge is stuck at its provider".to_owned(), text }
    }

    /// A report contradicted a settled recharge.
    pub fn conflict(id: ConflictId, recharge: RechargeId, found: &Contradiction) -> Self {
        // Amounts and statuses are not personal, connection numbers are.
        let what = if found.field == "connection_no" {
            "another connection number".to_owned()
        } else {
            format!("{} {} where the ledger has {}", found.field, found.theirs, found.ours)
        };
        Self {
            endpoint: None,
            title: "A report contradicts a settled recharge".to_owned(),
            text: format!(
                "Recharge {recharge}: a report claims {what}. Nothing has been changed; resolve it with POST /v1/conflicts/{id}/resolve."
            ),
        }
    }
}

/// A mail to one person that goes out at once and by itself. Nobody else may see its text: there is a link in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The address.
    pub to: String,
    /// The subject.
    pub title: String,
    /// The text.
    pub text: Secret,
}

/// A mail that gathers what waits for an address: its subject and its text.
pub fn mail(alerts: &[Alert], waiting: u64, public_url: &str) -> (String, String) {
    let more = waiting.saturating_sub(1);
    let first = alerts.first().map_or("", |alert| alert.title.as_str());
    let subject = if more == 0 { first.to_owned() } else { format!("{first}, and {more} more") };
    let mut text: String = alerts.iter().map(|alert| format!("{}\n{}\n\n", alert.title, alert.text)).collect();
    let left_out = waiting.saturating_sub(alerts.len() as u64);
    if left_out > 0 {
        text.push_str(&format!("And {left_out} more of this kind.\n\n"));
    }
    text.push_str(&format!("-- \nRingback at {public_url}\n"));
    let end = subject.floor_char_boundary(limits::MAIL_SUBJECT_MAX);
    (subject[..end].to_owned(), text)
}
