//! What is to be expected: kept beside the server by somebody who only saw what it answered, and compared with what it tells.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ringback::domain::time::Timestamp;
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::receiver::Got;
use crate::walk::VENDORS;
use crate::world::{Endpoint, World, text};

/// A recharge, and the types of the events that told of it, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Known {
    status: String,
    told: Vec<String>,
}

#[derive(Default)]
pub struct Ledger {
    recharges: BTreeMap<(usize, String), Known>,
    published: BTreeMap<(usize, usize), String>,
    feeds: [Vec<Value>; VENDORS],
    /// Events, by id, and endpoints that were listening when they came to be.
    pub expected: BTreeSet<(String, usize)>,
}

impl Ledger {
    /// A report was taken. The first known outcome stands, and nothing moves back.
    pub fn claim(&mut self, vendor: usize, reference: usize, claim: &str) {
        let known = self.recharges.entry((vendor, format!("R-{reference}"))).or_default();
        if known.status.is_empty() || (known.status == "queued" && claim != "queued") {
            known.status = claim.to_owned();
            known.told.extend((claim != "queued").then(|| format!("recharge.{claim}")));
        }
    }

    /// An event of the platform's own was taken; the same key is the same event.
    pub fn published(&mut self, vendor: usize, key: usize, id: &str) {
        let known = self.published.entry((vendor, key)).or_insert_with(|| id.to_owned());
        assert_eq!(known, id, "one key, one event");
    }

    /// Id of an event of the platform's own.
    pub fn id_of(&self, vendor: usize, key: usize) -> String {
        self.published[&(vendor, key)].clone()
    }

    /// A contradiction was to be decided: what the recharge is now tells whether it was, where the answer was lost.
    pub fn resolved(&mut self, vendor: usize, reference: &str, how: &str, status: &str, is_certain: bool) {
        let known = self.recharges.get_mut(&(vendor, reference.to_owned())).expect("it was reported");
        let (after, told) = match (how, known.status.as_str()) {
            ("reversed", "success") => ("reversed", Some("recharge.reversed")),
            ("late_success", "failed") => ("success", Some("recharge.success")),
            (_, before) => (before, None),
        };
        let after = after.to_owned();
        let moved = status == after && after != known.status;
        assert!(moved || status == known.status, "{reference} was {}, is {status} after {how}", known.status);
        assert!(!is_certain || status == after, "{reference} was {}, is {status} after {how}", known.status);
        if moved {
            known.status = after;
            known.told.extend(told.map(str::to_owned));
        }
    }
}

// --- After every step ------------------------------------------------------------------------------------------------

impl World {
    /// What the feed has that it had not before, as ids and types. Its numbers have no gaps.
    pub async fn read_feed(&mut self, vendor: usize) -> Vec<(String, String)> {
        let token = self.vendors[vendor].token.clone();
        let mut fresh = Vec::new();
        loop {
            let after = self.ledger.feeds[vendor].len();
            let page = self.get(&format!("/v1/events?after={after}&limit=200"), &token).await;
            let events = page["data"].as_array().expect("a list");
            for (at, event) in events.iter().enumerate() {
                assert_eq!(event["sequence"], after + at + 1, "numbers have no gaps: {event}");
            }
            fresh.extend(events.iter().map(|event| (text(event, "id"), text(event, "type"))));
            self.ledger.feeds[vendor].extend(events.iter().cloned());
            if self.ledger.feeds[vendor].len() as u64 == page["latest_sequence"].as_u64().expect("a number") {
                return fresh;
            }
        }
    }

    /// The feed tells what became of each recharge, once, and nothing else.
    pub async fn check(&mut self) {
        for vendor in 0..VENDORS {
            self.read_feed(vendor).await;
            let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            let mut published = HashSet::new();
            for event in &self.ledger.feeds[vendor] {
                let event_type = event["type"].as_str().expect("a type");
                if event_type.starts_with("recharge.") {
                    told.entry(event["data"]["reference_no"].as_str().expect("a reference")).or_default().push(event_type);
                } else if event_type == "order.made" {
                    assert!(published.insert(event["id"].as_str().expect("an id")));
                }
            }
            let of_vendor = self.ledger.recharges.iter().filter(|((of, _), known)| *of == vendor && !known.told.is_empty());
            let wanted: BTreeMap<&str, Vec<&str>> =
                of_vendor.map(|((_, reference), known)| (reference.as_str(), known.told.iter().map(String::as_str).collect())).collect();
            assert_eq!(told, wanted, "what the feed of vendor {vendor} tells, and what became of the recharges");
            let wanted = self.ledger.published.iter().filter(|((of, _), _)| *of == vendor).map(|(_, id)| id.as_str());
            assert_eq!(published, wanted.collect(), "the platform's own events");
        }
    }

    // --- At the end --------------------------------------------------------------------------------------------------

    /// All has ended: each recharge is what was reported first, each event went where it belonged, as it is.
    pub async fn check_end(&mut self) {
        self.check().await;
        for vendor in 0..VENDORS {
            let token = self.vendors[vendor].token.clone();
            let recharges = self.all("/v1/recharges", &token).await;
            let seen: BTreeMap<String, String> = recharges.iter().map(|one| (text(one, "reference_no"), text(one, "status"))).collect();
            let of_vendor = self.ledger.recharges.iter().filter(|((of, _), _)| *of == vendor);
            let wanted = of_vendor.map(|((_, reference), known)| (reference.clone(), known.status.clone())).collect();
            assert_eq!(seen, wanted, "the recharges of vendor {vendor}");
        }
        let got: Vec<Got> = self.receivers.iter().flat_map(crate::receiver::Receiver::got).collect();
        for number in 0..self.endpoints.len() {
            let endpoint = self.endpoints[number].clone();
            let token = self.vendors[endpoint.vendor].token.clone();
            let listed = self.all(&format!("/v1/deliveries?endpoint_id={}", endpoint.id), &token).await;
            let deliveries: HashMap<String, Value> = listed.into_iter().map(|one| (text(&one, "event_id"), one)).collect();
            let got: Vec<&Got> = got.iter().filter(|request| request.endpoint == number).collect();
            self.check_deliveries(number, &endpoint, &deliveries, &got);
            self.check_requests(&endpoint, &deliveries, &got);
        }
    }

    fn check_deliveries(&self, number: usize, endpoint: &Endpoint, deliveries: &HashMap<String, Value>, got: &[&Got]) {
        for (event, _) in self.ledger.expected.iter().filter(|(_, of)| *of == number && !endpoint.deleted) {
            let told = self.ledger.feeds[endpoint.vendor].iter().find(|told| told["id"] == **event);
            assert!(deliveries.contains_key(event), "{event} made no delivery to {}, which was listening: {told:?}", endpoint.id);
        }
        for (event, delivery) in deliveries {
            let taken = got.iter().any(|request| request.taken && request.header("webhook-id") == event);
            let deadline: Timestamp = text(delivery, "deadline").parse().expect("a time");
            match delivery["state"].as_str().expect("a state") {
                "succeeded" => assert!(taken, "{event} is said to have succeeded: {delivery:#}"),
                "exhausted" => assert!(deadline <= self.now(), "{event} was given up before its time: {delivery:#}"),
                "cancelled" => assert!(endpoint.cancelled, "{event} was cancelled by nobody: {delivery:#}"),
                _ => panic!("{event} has not ended: {delivery:#}"),
            }
        }
    }

    /// Every request is signed, about an event of this vendor, and the same whenever it came.
    fn check_requests(&self, endpoint: &Endpoint, deliveries: &HashMap<String, Value>, got: &[&Got]) {
        let feed: HashMap<&str, &Value> =
            self.ledger.feeds[endpoint.vendor].iter().map(|event| (event["id"].as_str().expect("an id"), event)).collect();
        let (mut bodies, mut latest) = (HashMap::new(), 0);
        for request in got {
            let id = request.header("webhook-id");
            let timestamp = request.header("webhook-timestamp").parse().expect("a number");
            let signed = endpoint
                .secrets
                .iter()
                .map(|secret| Webhook::new(secret).expect("a secret").sign(id, timestamp, &request.body).expect("text"));
            let signatures = request.header("webhook-signature");
            assert!(signed.into_iter().any(|own| signatures.split(' ').any(|one| one == own)), "{id} is not signed for {}", endpoint.id);
            let body: Value = serde_json::from_slice(&request.body).expect("JSON");
            if body["type"] == "webhook.test" {
                assert!(!feed.contains_key(id), "a handshake takes no number");
                continue;
            }
            let event = feed.get(id).unwrap_or_else(|| panic!("{id} is no event of this vendor: {body:#}"));
            let sequence = body["sequence"].as_i64().or(body["data"]["sequence"].as_i64()).expect("a number");
            assert_eq!((&body["type"], sequence), (&event["type"], event["sequence"].as_i64().expect("a number")), "{id}");
            assert!(endpoint.deleted || deliveries.contains_key(id), "{id} was sent to {} without a delivery", endpoint.id);
            assert_eq!(*bodies.entry(id).or_insert(&request.body), &request.body, "{id} came with two bodies");
            if endpoint.in_order && request.taken {
                assert!(sequence >= latest, "{} is strict, and got {sequence} after {latest}", endpoint.id);
                latest = sequence;
            }
        }
    }
}
