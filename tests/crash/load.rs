//! Clients that report recharges while the server is killed under them, and remember what they were promised.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::api::{Client, text};

/// A vendor's id, and a reference.
pub type Key = (String, String);

/// What a 2xx promised about a recharge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    pub recharge: String,
    /// `queued`, `success` or `failed`.
    pub status: String,
    /// The event of its outcome.
    pub event: Option<String>,
}

/// What the clients share.
#[derive(Debug, Default)]
pub struct Load {
    pub promises: Mutex<HashMap<Key, Promise>>,
    /// Reports that were answered.
    pub answered: AtomicU64,
    /// Events that were promised.
    pub events: AtomicU64,
    /// Requests that had no answer and were posted again.
    pub posted_again: AtomicU64,
    /// Requests that wait for their answer.
    pub under_way: AtomicU64,
    pub stop: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A recharge nobody has heard of, still queued.
    Queued,
    /// One nobody has heard of, with its outcome.
    Settled,
    /// The outcome of one that was queued.
    Settling,
    /// The same outcome again.
    Repeated,
    /// The other outcome.
    Contradicted,
}

#[derive(Debug, Clone)]
struct Item {
    kind: Kind,
    vendor: String,
    reference: String,
    status: &'static str,
}

/// One client.
pub struct Reporter {
    client: Client,
    load: Arc<Load>,
    vendors: Vec<String>,
    name: usize,
    chance: StdRng,
    count: usize,
    queued: Vec<(String, String)>,
    settled: Vec<Item>,
}

impl Reporter {
    pub fn new(client: Client, load: Arc<Load>, vendors: Vec<String>, name: usize, seed: u64) -> Self {
        let chance = StdRng::seed_from_u64(seed + name as u64);
        Self { client, load, vendors, name, chance, count: 0, queued: Vec::new(), settled: Vec::new() }
    }

    /// Posts batches until it is told to stop; `has_room` tells whether the receiver keeps up.
    pub async fn run(mut self, has_room: impl Fn() -> bool) {
        while !self.load.stop.load(Ordering::SeqCst) {
            if !has_room() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                continue;
            }
            let items = self.batch();
            let (results, posts) = self.post(&items).await;
            assert_eq!(results.len(), items.len(), "a result for each report");
            for (item, result) in items.iter().zip(&results) {
                judge(item, result, posts);
                self.remember(item, result);
            }
            self.load.answered.fetch_add(items.len() as u64, Ordering::SeqCst);
            self.settled.extend(items.into_iter().filter(|item| matches!(item.kind, Kind::Settled | Kind::Settling)));
        }
    }

    fn batch(&mut self) -> Vec<Item> {
        let size = self.chance.random_range(1..40);
        (0..size).map(|_| self.item()).collect()
    }

    fn item(&mut self) -> Item {
        let status = if self.chance.random_bool(0.8) { "success" } else { "failed" };
        match self.chance.random_range(0..100) {
            roll @ 0..15 if !self.settled.is_empty() => {
                let earlier = self.settled[self.chance.random_range(0..self.settled.len())].clone();
                let other = if earlier.status == "success" { "failed" } else { "success" };
                match roll {
                    0..10 => Item { kind: Kind::Repeated, ..earlier },
                    _ => Item { kind: Kind::Contradicted, status: other, ..earlier },
                }
            }
            15..35 if !self.queued.is_empty() => {
                let (vendor, reference) = self.queued.swap_remove(self.chance.random_range(0..self.queued.len()));
                Item { kind: Kind::Settling, vendor, reference, status }
            }
            15..50 => {
                let (vendor, reference) = self.fresh();
                self.queued.push((vendor.clone(), reference.clone()));
                Item { kind: Kind::Queued, vendor, reference, status: "queued" }
            }
            _ => {
                let (vendor, reference) = self.fresh();
                Item { kind: Kind::Settled, vendor, reference, status }
            }
        }
    }

    fn fresh(&mut self) -> (String, String) {
        self.count += 1;
        let vendor = self.vendors[self.chance.random_range(0..self.vendors.len())].clone();
        // The same references at both vendors: they have nothing to do with each other.
        (vendor, format!("INV-{}-{}", self.name, self.count))
    }

    /// Posts until there is a 2xx; answers how often that was.
    async fn post(&mut self, items: &[Item]) -> (Vec<Value>, u32) {
        let report = |item: &Item| json!({"vendor_id": item.vendor, "reference_no": item.reference, "status": item.status, "amount": "50.00", "currency": "NPR", "operator": "Ncell", "connection_no": "9801234567"});
        let body = json!({"reports": items.iter().map(report).collect::<Vec<_>>()});
        for posts in 1.. {
            self.load.under_way.fetch_add(1, Ordering::SeqCst);
            let answered = self.client.call(Method::POST, "/v1/reports", Some(&body)).await;
            self.load.under_way.fetch_sub(1, Ordering::SeqCst);
            match answered {
                Ok((StatusCode::OK, answer)) => return (answer["results"].as_array().expect("results").clone(), posts),
                // Only while it stops; anything else is no answer for reports that are right.
                Ok((status, answer)) => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}"),
                Err(_) => {}
            }
            self.load.posted_again.fetch_add(1, Ordering::SeqCst);
            self.client.restarted().await;
        }
        unreachable!("it goes on until there is an answer")
    }

    fn remember(&self, item: &Item, result: &Value) {
        let promise = Promise {
            recharge: text(result, "recharge_id").to_owned(),
            status: text(result, "status").to_owned(),
            event: result["event_id"].as_str().map(str::to_owned),
        };
        let mut promises = self.load.promises.lock();
        let known = promises.get(&(item.vendor.clone(), item.reference.clone()));
        if let Some(known) = known {
            assert_eq!(known.recharge, promise.recharge, "{item:?} is another recharge now: {result}");
            let settled = known.event.is_some();
            assert!(!settled || item.kind == Kind::Queued || known.status == promise.status, "{item:?} moved: {known:?}, {result}");
            assert!(!settled || promise.event.is_none() || known.event == promise.event, "{item:?} has two events: {known:?}, {result}");
        }
        if promise.event.is_some() && known.is_none_or(|known| known.event.is_none()) {
            self.load.events.fetch_add(1, Ordering::SeqCst);
        }
        if known.is_none_or(|known| known.event.is_none()) {
            promises.insert((item.vendor.clone(), item.reference.clone()), promise);
        }
    }
}

/// Whether the answer is right for a report that was posted this often.
fn judge(item: &Item, result: &Value, posts: u32) {
    let verdict = text(result, "verdict");
    assert_eq!(result["reference_no"], item.reference, "{item:?}: {result}");
    let right = match (item.kind, posts) {
        (Kind::Queued | Kind::Settled, 1) => verdict == "created",
        (Kind::Settling, 1) => verdict == "accepted",
        (Kind::Queued | Kind::Settled, _) => verdict == "created" || verdict == "duplicate",
        (Kind::Settling, _) => verdict == "accepted" || verdict == "duplicate",
        (Kind::Repeated, _) => verdict == "duplicate",
        (Kind::Contradicted, _) => verdict == "conflict",
    };
    assert!(right, "{item:?}, posted {posts} times: {result}");
    if matches!(item.kind, Kind::Settled | Kind::Settling | Kind::Repeated) {
        assert_eq!(result["status"], item.status, "{item:?}: {result}");
        assert!(result["event_id"].is_string(), "{item:?} has no event: {result}");
    }
}
