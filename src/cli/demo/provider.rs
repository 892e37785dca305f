//! The demo's provider: it takes recharges over HTTP, settles each a moment later, and calls back, unless the callback is lost.
//! Now and then its answer is lost too; then only an enquiry finds out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::client::Client;
use super::clock::Rewound;
use crate::clock::Environment;

/// Where it calls back.
const CALLBACK: &str = "/callbacks/himal/a-secret-of-the-demo";

/// A recharge of this number stays queued at the provider permanently.
pub(super) const NEVER_SETTLED: &str = "9800000013";

/// The part of a configuration that describes it.
pub(super) fn configuration(address: SocketAddr) -> String {
    format!(
        r#"
[[provider]]
name = "himal"
enquire_after = "3s"
submit = {{ url = "http://{address}/submit", format = "json", body = {{ reference = "{{reference}}", amount = "{{amount}}", number = "{{connection_no}}" }} }}
enquire = {{ url = "http://{address}/status", format = "json", body = {{ reference = "{{reference}}" }}, unknown = ["unknown reference"] }}
answer = {{ state = "state", provider_ref = "id", reason = "message", success = ["Success"], queued = ["Queued"], failed = ["Failed"] }}
callback = {{ path_secret = "a-secret-of-the-demo", reference = "reference", state = "state", provider_ref = "id", reason = "message" }}
"#
    )
}

/// The provider.
pub(super) struct Provider {
    environment: Environment,
    clock: Arc<Rewound>,
    /// What is known of each recharge that it took, by our reference.
    books: Mutex<HashMap<String, Value>>,
    client: tokio::sync::OnceCell<Client>,
}

impl Provider {
    /// Starts it; answers with its address.
    pub async fn start(environment: Environment, clock: Arc<Rewound>) -> anyhow::Result<(Arc<Self>, SocketAddr)> {
        let provider = Arc::new(Self { environment, clock, books: Mutex::default(), client: tokio::sync::OnceCell::new() });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/submit", post(submit)).route("/status", post(status)).with_state(Arc::clone(&provider));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((provider, address))
    }

    /// From now on it calls back there.
    pub async fn call_back_to(&self, server: SocketAddr) -> anyhow::Result<()> {
        let client = Client::connect(server, "").await?;
        drop(self.client.set(client));
        Ok(())
    }

    /// Settles what it took, and calls back.
    async fn settle(self: Arc<Self>, reference: String, dice: [u8; 4]) {
        // The history is made in a hurry.
        let takes = Duration::from_millis(300 + 8 * u64::from(dice[0])) / if self.clock.is_behind() { 8 } else { 1 };
        let clock = &self.environment.clock;
        clock.sleep_until(clock.now().plus(takes)).await;
        let fails = dice[1].is_multiple_of(8);
        let id = format!("H-{:06}", u32::from_le_bytes(dice) % 1_000_000);
        let (state, message) = if fails { ("Failed", "the network refused the number") } else { ("Success", "done") };
        let outcome = json!({"reference": reference, "state": state, "id": id, "message": message});
        self.books.lock().insert(reference, outcome.clone());
        // One callback in twenty is lost.
        if dice[2] >= 13
            && let Some(client) = self.client.get()
        {
            drop(client.post(CALLBACK, &outcome).await);
        }
    }
}

async fn submit(State(provider): State<Arc<Provider>>, Json(order): Json<Value>) -> Response {
    let reference = order["reference"].as_str().unwrap_or_default().to_owned();
    let mut dice = [0; 4];
    provider.environment.entropy.fill(&mut dice);
    provider.books.lock().insert(reference.clone(), json!({"state": "Queued"}));
    if order["number"] != NEVER_SETTLED {
        tokio::spawn(Arc::clone(&provider).settle(reference, dice));
    }
    // One answer in fifty is lost.
    if dice[3] < 5 { StatusCode::BAD_GATEWAY.into_response() } else { Json(json!({"status": true, "state": "Queued"})).into_response() }
}

async fn status(State(provider): State<Arc<Provider>>, Json(asked): Json<Value>) -> Json<Value> {
    let known = asked["reference"].as_str().and_then(|reference| provider.books.lock().get(reference).cloned());
    Json(known.unwrap_or_else(|| json!({"state": "Failed", "message": "unknown reference"})))
}
