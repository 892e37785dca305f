//! Records what the feed has and this receiver missed, and ends. After downtime, and every night:
//! API=https://ringback.example.com TOKEN=rb_live_… cargo run catch-up

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::setting;
use crate::store::Store;

pub fn catch_up() -> anyhow::Result<()> {
    let mut store = Store::open()?;
    let mut after = store.read_up_to()?;
    loop {
        let page = page(after)?;
        let events = page["data"].as_array().context("the feed has no data")?;
        if events.is_empty() {
            break;
        }
        for event in events {
            store.record(event["id"].as_str().context("an event has no id")?, event)?;
        }
        let next = page["next_after"].as_i64().context("the feed has no next_after")?;
        store.has_read_up_to(next)?; // Only now that all up to it is recorded.
        after = Some(next);
    }
    println!("has everything up to {}", after.map_or("the beginning".to_owned(), |after| after.to_string()));
    Ok(())
}

/// The events behind that number; without one from the oldest that is kept.
fn page(after: Option<i64>) -> anyhow::Result<Value> {
    let (api, token) = (setting("API").unwrap_or("http://127.0.0.1:8080".into()), setting("TOKEN").context("set TOKEN")?);
    let after = after.map_or(String::new(), |after| format!("&after={after}"));
    let request = ureq::get(format!("{api}/v1/events?limit=200{after}")).header("authorization", format!("Bearer {token}"));
    let request = request.config().timeout_global(Some(Duration::from_secs(30))).http_status_as_error(false).build();
    let mut answer = request.call()?;
    let body = answer.body_mut().read_to_string()?;
    // 410: events are gone from the feed. GET /v1/recharges has what became of each recharge.
    ensure!(answer.status() == 200, "{body}");
    Ok(serde_json::from_str(&body)?)
}
