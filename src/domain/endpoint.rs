//! Endpoints: where a vendor receives, how requests to it are written, and whether it gets any.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::filter::Filter;
use super::id::{EndpointId, StreamId, VendorId};
use super::secret::Secret;
use super::time::Timestamp;
use super::vendor::Mode;

/// How a request is written and signed (docs/receiving.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Standard Webhooks 1.0.
    Standard,
    /// The encrypted form that vendors of an existing platform have receivers for.
    GlobalTopup,
}

impl Profile {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 2] = [Self::Standard, Self::GlobalTopup];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::GlobalTopup => "globaltopup",
        }
    }
}

/// What stands behind the IV in a `globaltopup` payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CipherText {
    /// The ciphertext itself.
    Raw,
    /// Its base64 text, as PHP's `openssl_encrypt` yields by default.
    Base64,
}

impl CipherText {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Base64];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Base64 => "base64",
        }
    }
}

/// In which order deliveries go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// As they come, several at once.
    None,
    /// One at a time by sequence number, the next when its predecessor has ended.
    Strict,
}

impl Ordering {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 2] = [Self::None, Self::Strict];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Strict => "strict",
        }
    }
}

/// Whether an endpoint gets events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStatus {
    /// New: its handshake has not succeeded yet.
    NotConnected,
    /// It gets events.
    Connected,
    /// Its events make deliveries, which wait.
    Paused,
    /// It gets none until it is enabled again.
    Disabled,
}

impl EndpointStatus {
    /// All of them; a store keeps the place in this list.
    pub const ALL: [Self; 4] = [Self::NotConnected, Self::Connected, Self::Paused, Self::Disabled];

    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Connected => "connected",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// Whether events make deliveries for it.
    pub const fn listens(self) -> bool {
        matches!(self, Self::Connected | Self::Paused)
    }
}

/// What its owner may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where requests go.
    pub url: url::Url,
    /// For people.
    pub description: Option<String>,
    /// Which events it gets.
    pub event_types: Filter,
    /// How requests are written.
    pub profile: Profile,
    /// What stands behind the IV; used by `globaltopup` only.
    pub cipher_text: CipherText,
    /// Where mails about it go; else to the vendor's address.
    pub alert_email: Option<String>,
    /// Headers sent with every request.
    pub headers: Vec<(String, String)>,
    /// Most requests a second; no limit if not said.
    pub rate_limit_per_second: Option<u32>,
    /// Most requests under way at once; the node's default if not said.
    pub max_in_flight: Option<u32>,
    /// In which order.
    pub ordering: Ordering,
    /// How long a failing head may hold a strict endpoint; the node's default if not said.
    pub strict_hold: Option<Duration>,
    /// What signs, and what encrypts for `globaltopup`.
    pub secret: Secret,
    /// Secrets before that one whose overlap has not ended, the oldest first.
    pub former: Vec<FormerSecret>,
    /// Seed of the ed25519 key pair, if it has one.
    pub signing_key: Option<Secret>,
}

/// A secret that was rotated away and still signs beside the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerSecret {
    /// The secret.
    pub secret: Secret,
    /// Until when.
    pub until: Timestamp,
}

impl Settings {
    /// Settings of an endpoint about which nothing else was said.
    pub fn new(url: url::Url, secret: Secret) -> Self {
        Self {
            url,
            description: None,
            event_types: Filter::recharges(),
            profile: Profile::Standard,
            cipher_text: CipherText::Raw,
            alert_email: None,
            headers: Vec::new(),
            rate_limit_per_second: None,
            max_in_flight: None,
            ordering: Ordering::None,
            strict_hold: None,
            secret,
            former: Vec::new(),
            signing_key: None,
        }
    }

    /// The URL as others than its owner may see it: a query may carry a token of the vendor's own.
    pub fn shown_url(&self) -> String {
        let mut shown = self.url.clone();
        shown.set_query(None);
        shown.to_string()
    }

    /// Puts a new secret in the place of the present one, which goes on signing until `until`. Those whose time has
    /// passed are forgotten.
    pub fn rotate(&mut self, new: Secret, until: Timestamp, now: Timestamp) {
        let old = std::mem::replace(&mut self.secret, new);
        self.former.push(FormerSecret { secret: old, until });
        self.former.retain(|former| former.until > now);
    }
}

/// A vendor's receiving URL with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub vendor: VendorId,
    /// In which mode.
    pub mode: Mode,
    /// The stream of both.
    pub stream: StreamId,
    /// What its owner may change.
    pub settings: Settings,
    /// Whether it gets events.
    pub status: EndpointStatus,
    /// Why it is disabled.
    pub status_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its handshake last succeeded.
    pub connected_at: Option<Timestamp>,
    /// When its first attempt after the last success failed; none while it answers.
    pub failing_since: Option<Timestamp>,
    /// When a pause ends by itself.
    pub paused_until: Option<Timestamp>,
    /// A rule disabled it, not a person: it may come back by itself. Where it is connected, it has.
    pub by_rule: bool,
    /// When it was last tried whether it is back.
    pub probed_at: Option<Timestamp>,
    /// Its vendor is disabled: what is pending waits.
    pub vendor_disabled: bool,
    /// It was deleted: what is pending is cancelled, what was delivered can still be read.
    pub deleted: bool,
}

impl Endpoint {
    /// An endpoint that was just made.
    pub fn new(id: EndpointId, vendor: VendorId, mode: Mode, stream: StreamId, settings: Settings, now: Timestamp) -> Self {
        Self {
            id,
            vendor,
            mode,
            stream,
            settings,
            status: EndpointStatus::NotConnected,
            status_reason: None,
            created_at: now,
            connected_at: None,
            failing_since: None,
            paused_until: None,
            by_rule: false,
            probed_at: None,
            vendor_disabled: false,
            deleted: false,
        }
    }

    /// What an `endpoint.disabled` event says about it.
    pub fn disabled_facts(&self, now: Timestamp) -> Box<RawValue> {
        let facts = json!({
            "endpoint_id": self.id,
            "url": self.settings.shown_url(),
            "reason": self.status_reason,
            "failing_since": self.failing_since,
            "disabled_at": now,
        });
        to_raw_value(&facts).expect("a JSON value always serializes")
    }

    /// Whether attempts may be made.
    pub fn sends(&self) -> bool {
        self.status == EndpointStatus::Connected && !self.vendor_disabled && !self.deleted
    }
}
