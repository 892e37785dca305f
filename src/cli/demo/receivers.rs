//! The demo vendors' receivers: what their developers would have written. Each verifies what it gets and tells of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::{Clock, Entropy, Environment};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::wire::{globaltopup, standard};

/// What a receiver makes of a request.
#[derive(Debug)]
pub(super) struct Received {
    /// Which vendor's it is.
    pub vendor: usize,
    /// The `webhook-id`.
    pub event_id: String,
    pub at: Timestamp,
    pub taken: Taken,
}

#[derive(Debug)]
pub(super) enum Taken {
    /// Verified, and answered 2xx.
    Verified { reference_no: String, status: String, amount: String, sent_for_ms: u64 },
    /// The receiver answered with this status: it is flaky, or down.
    Refused(u16),
    /// It did not verify.
    Wrong,
}

/// What a receiver answers, and how often; can be changed while it runs.
#[derive(Debug)]
pub(super) struct Mood {
    /// The status of a refusal.
    status: u16,
    /// One request in this many is refused; none if zero.
    one_in: AtomicU16,
}

impl Mood {
    /// A receiver that accepts everything for now, and refuses with this status later.
    pub fn well(status: u16) -> Arc<Self> {
        Arc::new(Self { status, one_in: AtomicU16::new(0) })
    }

    /// From now on one request in `one_in` is refused; none if zero.
    pub fn refuse_one_in(&self, one_in: u16) {
        self.one_in.store(one_in, Ordering::Relaxed);
    }

    /// Whether it accepts at least some requests.
    pub fn accepts(&self) -> bool {
        self.one_in.load(Ordering::Relaxed) != 1
    }
}

/// How the receiver of a vendor is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Standard,
    GlobalTopup,
}

pub(super) struct Receiver {
    pub vendor: usize,
    pub kind: Kind,
    pub secret: Secret,
    pub mood: Arc<Mood>,
    pub environment: Environment,
    pub tell: UnboundedSender<Received>,
}

impl Receiver {
    /// Starts it; answers with its address.
    pub async fn start(self) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let service = Router::new().fallback(receive).with_state(Arc::new(self));
        tokio::spawn(async move { axum::serve(listener, service).await });
        Ok(address)
    }

    fn now(&self) -> Timestamp {
        Clock::now(&*self.environment.clock)
    }

    fn refuses(&self) -> bool {
        let mut dice = [0; 2];
        Entropy::fill(&*self.environment.entropy, &mut dice);
        let one_in = self.mood.one_in.load(Ordering::Relaxed);
        one_in > 0 && u16::from_le_bytes(dice).is_multiple_of(one_in)
    }

    /// What the request says, if it verifies.
    fn open(&self, headers: &HeaderMap, body: &[u8]) -> Option<Value> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        if !standard::verify(&self.secret, text("webhook-id")?, text("webhook-timestamp")?, text("webhook-signature")?, body) {
            return None;
        }
        let json: Value = serde_json::from_slice(body).ok()?;
        match self.kind {
            Kind::Standard => Some(json),
            Kind::GlobalTopup if text("x-signature")? == globaltopup::x_signature(&self.secret) => {
                serde_json::from_slice(&globaltopup::open(&self.secret, json["data"].as_str()?)?).ok()
            }
            Kind::GlobalTopup => None,
        }
    }

    fn read(&self, json: &Value, at: Timestamp) -> Taken {
        let (data, timestamp) = match self.kind {
            Kind::Standard => (&json["data"], &json["timestamp"]),
            Kind::GlobalTopup => (json, &json["created_at"]),
        };
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        let made_at = timestamp.as_str().and_then(|text| text.parse::<Timestamp>().ok()).unwrap_or(at);
        Taken::Verified {
            reference_no: text("reference_no"),
            status: text("status").to_lowercase(),
            amount: text("amount"),
            sent_for_ms: at.since(made_at).as_millis() as u64,
        }
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    let at = receiver.now();
    if method == Method::GET {
        return ([("content-type", "application/json")], "{}").into_response();
    }
    let event_id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let opened = receiver.open(&headers, &body);
    if opened.as_ref().is_some_and(|json| json["type"] == "webhook.test") {
        return StatusCode::NO_CONTENT.into_response();
    }
    let (taken, status) = match opened {
        None => (Taken::Wrong, StatusCode::BAD_REQUEST),
        Some(_) if receiver.refuses() => {
            let status = StatusCode::from_u16(receiver.mood.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (Taken::Refused(status.as_u16()), status)
        }
        Some(json) => (receiver.read(&json, at), StatusCode::NO_CONTENT),
    };
    // Nobody listens any more once the demo has ended.
    drop(receiver.tell.send(Received { vendor: receiver.vendor, event_id, at, taken }));
    status.into_response()
}
