//! SECRET=whsec_… cargo run

mod feed;
mod store;

use std::env;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use standardwebhooks::Webhook;

use store::Store;

struct Receiver {
    webhook: Webhook,
    store: Mutex<Store>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if env::args().nth(1).as_deref() == Some("catch-up") {
        return tokio::task::block_in_place(feed::catch_up);
    }
    let secret = setting("SECRET").context("set SECRET to the endpoint's secret, whsec_…")?;
    let receiver = Arc::new(Receiver { webhook: Webhook::new(&secret)?, store: Mutex::new(Store::open()?) });
    tokio::spawn(work(Store::open()?));
    let router = Router::new().route("/hook", post(receive)).with_state(receiver);
    let port = setting("PORT").unwrap_or("3000".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

/// A setting of the environment; an empty one is none.
fn setting(name: &str) -> Option<String> {
    env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}

/// Only writes down what came; [`work`] does the rest.
async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    // Looks at the bytes as they came, at the time, and at each signature in the header.
    if receiver.webhook.verify(&body, &headers).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    match tokio::task::block_in_place(|| receiver.record(&headers, &body)) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(problem) => {
            eprintln!("{problem:#}");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl Receiver {
    fn record(&self, headers: &HeaderMap, body: &[u8]) -> anyhow::Result<()> {
        let event = serde_json::from_slice(body)?;
        // Whoever panicked with the lock left no transaction open.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.record(headers["webhook-id"].to_str()?, &event)
    }
}

/// The work that comes after an answer.
async fn work(mut store: Store) {
    loop {
        let worked = tokio::task::block_in_place(|| store.work_off());
        if let Err(problem) = &worked {
            eprintln!("work has to wait: {problem:#}");
        }
        if !worked.unwrap_or(false) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
