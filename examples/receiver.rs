//! SECRET=whsec_… cargo run --example receiver (in a package of your own: anyhow, axum, rusqlite, serde_json,
//! standardwebhooks, tokio)

use std::env;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::Value;
use standardwebhooks::Webhook;

const TABLES: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
    CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE IF NOT EXISTS recharge (reference_no TEXT PRIMARY KEY, status TEXT, amount TEXT, sequence INTEGER);";
const UPSERT: &str = "INSERT INTO recharge VALUES (?, ?, ?, ?) ON CONFLICT (reference_no) DO UPDATE
    SET status = excluded.status, amount = excluded.amount, sequence = excluded.sequence WHERE excluded.sequence > recharge.sequence";
const KNOWN: [&str; 3] = ["recharge.success", "recharge.failed", "recharge.reversed"];

struct Receiver {
    webhook: Webhook,
    database: Mutex<Connection>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let secret = setting("SECRET").context("set SECRET to the endpoint's secret, whsec_…")?;
    let database = Connection::open(setting("DATABASE").unwrap_or("receiver.db".into()))?;
    database.execute_batch(TABLES)?;
    let receiver = Receiver { webhook: Webhook::new(&secret)?, database: Mutex::new(database) };
    let router = Router::new().route("/hook", post(receive)).with_state(Arc::new(receiver));
    let port = setting("PORT").unwrap_or("3000".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

fn setting(name: &str) -> Option<String> {
    env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    // Looks at the bytes as they came, at the time, and at each signature in the header.
    if receiver.webhook.verify(&body, &headers).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    let recorded = tokio::task::block_in_place(|| receiver.record(headers["webhook-id"].to_str()?, &body));
    recorded.map_or_else(
        |problem| {
            eprintln!("{problem:#}");
            StatusCode::INTERNAL_SERVER_ERROR
        },
        |()| StatusCode::NO_CONTENT,
    )
}

impl Receiver {
    /// The id and its effect in one transaction: both or neither, and once.
    fn record(&self, id: &str, body: &[u8]) -> anyhow::Result<()> {
        let event: Value = serde_json::from_slice(body)?;
        if !event["type"].as_str().is_some_and(|known| KNOWN.contains(&known)) {
            return Ok(());
        }
        let data = &event["data"];
        let recharge = params![data["reference_no"].as_str(), data["status"].as_str(), data["amount"].as_str(), data["sequence"].as_i64()];
        let mut database = self.database.lock().expect("nothing panics while it holds the lock");
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if transaction.execute("INSERT OR IGNORE INTO seen (id) VALUES (?)", [id])? == 1 {
            transaction.execute(UPSERT, recharge)?;
        }
        Ok(transaction.commit()?)
    }
}
