//! What was promised, what the server says is there, and what the receivers got: the three must agree.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use ringback::domain::time::Timestamp;
use serde_json::Value;

use super::api::{Client, text};
use super::load::{Load, Promise};
use super::receiver::{Mailbox, Receiver};

/// An endpoint of the test.
#[derive(Debug, Clone)]
pub struct Watched {
    pub vendor: String,
    pub id: String,
    /// Of its mailbox.
    pub name: &'static str,
    pub is_strict: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    recharges: usize,
    events: usize,
    deliveries: usize,
    /// Requests beyond the first for an event and endpoint.
    repeated: u64,
    /// Of those, that came after the event had been answered with 204: the outcome was lost in a crash.
    duplicates: u64,
    /// Attempts that were written down.
    attempts: usize,
    /// Nodes were stopped for longer than their lease: one may have had the same attempt in hand as the node that took over,
    /// and tell of its failure behind the other one's success; and an attempt may have timed out before its request was made.
    were_stopped: bool,
    /// Deliveries of which one process made the same attempt more than once.
    pub sent_twice: Vec<String>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recharges, events, deliveries, repeated, duplicates, attempts, were_stopped: _, sent_twice: _ } = self;
        write!(f, "{recharges} recharges, {events} events, {deliveries} deliveries in {attempts} attempts; ")?;
        write!(f, "{repeated} requests repeated, {duplicates} of them accepted twice")
    }
}

/// What it is all compared with.
pub struct Audit<'a> {
    load: &'a Load,
    receiver: &'a Receiver,
    endpoints: &'a [Watched],
    findings: Findings,
}

impl<'a> Audit<'a> {
    pub fn new(load: &'a Load, receiver: &'a Receiver, endpoints: &'a [Watched]) -> Self {
        Self { load, receiver, endpoints, findings: Findings::default() }
    }

    /// The same after nodes were stopped for longer than their lease.
    pub fn of_stopped(self) -> Self {
        Self { findings: Findings { were_stopped: true, ..self.findings }, ..self }
    }

    /// Compares everything; panics at the first thing that is lost, invented or changed.
    pub async fn run(mut self, client: &mut Client) -> Findings {
        let vendors: HashSet<&str> = self.endpoints.iter().map(|endpoint| &*endpoint.vendor).collect();
        for vendor in vendors {
            let events = client.feed(vendor).await;
            let recharges = client.list(&format!("/v1/recharges?vendor_id={vendor}")).await;
            every_outcome_has_its_event(&recharges, &events);
            self.promises_are_kept(vendor, &recharges, &events);
            for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.vendor == *vendor) {
                let deliveries = client.list(&format!("/v1/deliveries?vendor_id={vendor}&endpoint_id={}", endpoint.id)).await;
                self.every_event_was_delivered(endpoint, &events, &deliveries);
                self.receiver.look(endpoint.name, |mailbox| self.findings.add(endpoint, mailbox, &events, &deliveries));
            }
            self.findings.recharges += recharges.len();
            self.findings.events += events.len();
        }
        self.findings
    }

    /// Every 2xx told the truth: the recharge and the event that it named are there, as they were told.
    fn promises_are_kept(&self, vendor: &str, recharges: &[Value], events: &[Value]) {
        let events: HashMap<&str, &Value> = events.iter().map(|event| (text(event, "id"), event)).collect();
        let recharges: HashMap<&str, &Value> = recharges.iter().map(|recharge| (text(recharge, "reference_no"), recharge)).collect();
        let promises = self.load.promises.lock();
        let mine: Vec<(&str, &Promise)> =
            promises.iter().filter(|((of, _), _)| of == vendor).map(|((_, reference), promise)| (&**reference, promise)).collect();
        assert_eq!(mine.len(), recharges.len(), "every recharge of {vendor} was answered for, and no other is there");
        for (reference, promise) in mine {
            let recharge = recharges.get(reference).unwrap_or_else(|| panic!("{reference} is lost: {promise:?}"));
            assert_eq!((&recharge["id"], &recharge["status"]), (&Value::from(&*promise.recharge), &Value::from(&*promise.status)));
            let Some(event) = &promise.event else { continue };
            let event = events.get(&**event).unwrap_or_else(|| panic!("the event of {reference} is lost: {promise:?}"));
            assert_eq!(event["recharge_id"], promise.recharge, "{event}");
        }
    }

    /// One delivery for each event and endpoint, and it succeeded.
    fn every_event_was_delivered(&mut self, endpoint: &Watched, events: &[Value], deliveries: &[Value]) {
        let name = endpoint.name;
        let mut by_event: HashMap<&str, &Value> = HashMap::new();
        for delivery in deliveries {
            assert!(by_event.insert(text(delivery, "event_id"), delivery).is_none(), "{name} has it twice: {delivery}");
        }
        assert_eq!(by_event.len(), events.len(), "{name}: a delivery for each event");
        for event in events {
            let delivery = by_event.get(text(event, "id")).unwrap_or_else(|| panic!("{name} has no delivery of {event}"));
            assert_eq!(delivery["state"], "succeeded", "{name}: {delivery}");
            assert!(delivery["first_succeeded_at"].is_string(), "{name}: {delivery}");
            let attempts = attempts_of(delivery);
            let succeeded = |attempt: &Value| attempt["outcome"] == "succeeded" && attempt["status"] == 204;
            // One that was stopped may tell of its success when the attempt that was made again has failed.
            let told = match self.findings.were_stopped {
                true => attempts.iter().any(succeeded),
                false => attempts.last().is_some_and(succeeded),
            };
            assert!(told, "{name}: a success that does not end with an attempt that succeeded: {delivery}");
            // A crash repeats an attempt without having written it down.
            let is_twice = |(at, attempt): (usize, &Value)| {
                attempt["number"] != at + 1 || attempts[at + 1..].iter().any(|next| began_within(next, attempt))
            };
            if attempts.iter().enumerate().any(is_twice) {
                let times = attempts.iter().map(|attempt| format!("{} at {}", attempt["number"], attempt["started_at"]));
                self.findings.sent_twice.push(format!("{name}: {}: attempts {}", delivery["id"], times.collect::<Vec<_>>().join(", ")));
            }
        }
    }
}

/// Terminal recharges and events belong together, one to one; a queued recharge has none.
fn every_outcome_has_its_event(recharges: &[Value], events: &[Value]) {
    let mut by_recharge: HashMap<&str, &Value> = HashMap::new();
    for event in events {
        let other = by_recharge.insert(text(event, "recharge_id"), event);
        assert!(other.is_none(), "a recharge has two events: {event} and {other:?}");
    }
    let mut references = HashSet::new();
    for recharge in recharges {
        assert!(references.insert(text(recharge, "reference_no")), "two recharges of one reference: {recharge}");
        let event = by_recharge.remove(text(recharge, "id"));
        if recharge["status"] == "queued" {
            assert!(event.is_none(), "{recharge} is queued and has an event: {event:?}");
            continue;
        }
        let event = event.unwrap_or_else(|| panic!("{recharge} has no event"));
        assert_eq!(event["type"], format!("recharge.{}", text(recharge, "status")), "{event}");
        assert_eq!(event["data"]["reference_no"], recharge["reference_no"], "{event}");
        assert_eq!(event["data"]["status"], recharge["status"], "{event}");
    }
    assert!(by_recharge.is_empty(), "events without a recharge: {by_recharge:?}");
}

impl Findings {
    /// What an endpoint's mailbox has is what the feed says, byte by byte the same each time.
    fn add(&mut self, endpoint: &Watched, mailbox: &Mailbox, events: &[Value], deliveries: &[Value]) {
        let name = endpoint.name;
        assert!(mailbox.wrong.is_empty(), "{name}: not verified: {:#?}", mailbox.wrong);
        let attempts: HashMap<&str, &[Value]> =
            deliveries.iter().map(|delivery| (text(delivery, "event_id"), attempts_of(delivery))).collect();
        let mut known = HashSet::new();
        for event in events {
            let id = text(event, "id");
            let got = mailbox.got.get(id).unwrap_or_else(|| panic!("{name} never got {event}"));
            assert!(got.accepted >= 1, "{name} never accepted {event}, and the server says it succeeded");
            assert_eq!(got.differing, 0, "{name}: the bodies of {id} differ");
            let body: Value = serde_json::from_slice(&got.body).expect("it was read before");
            for field in ["type", "timestamp", "data"] {
                assert_eq!(body[field], event[field], "{name}: {field} of {id} is not the feed's");
            }
            let came = |attempt: &&Value| !self.were_stopped || attempt["status"].is_number();
            let told = attempts[id].iter().filter(came).count() as u64;
            assert!(told <= got.requests, "{name}: of attempts more were written down than the {} made: {:#?}", got.requests, attempts[id]);
            self.repeated += got.requests - 1;
            self.duplicates += got.accepted - 1;
            self.attempts += attempts[id].len();
            known.insert(id);
        }
        let stranger = mailbox.got.iter().find(|(id, got)| !known.contains(id.as_str()) && !got.is_test());
        assert!(stranger.is_none(), "{name} got an event that the feed does not have: {stranger:?}");
        if endpoint.is_strict {
            in_order(mailbox, events);
        }
        self.deliveries += deliveries.len();
    }
}

/// What was written down of a delivery's attempts.
fn attempts_of(delivery: &Value) -> &[Value] {
    delivery["attempts"].as_array().expect("a delivery has its attempts")
}

/// Whether an attempt began before the one ahead of it had ended. Times are cut to milliseconds.
fn began_within(attempt: &Value, ahead: &Value) -> bool {
    let began = |attempt: &Value| text(attempt, "started_at").parse::<Timestamp>().expect("a time");
    let took = Duration::from_secs_f64(ahead["phases"]["total_ms"].as_f64().expect("how long it took") / 1000.0);
    let (began, before) = (began(attempt), began(ahead));
    began < before || began.since(before) + Duration::from_millis(1) < took
}

/// A strict endpoint accepts no event before the one that goes before it.
fn in_order(mailbox: &Mailbox, events: &[Value]) {
    let in_feed: Vec<&str> = events.iter().map(|event| text(event, "id")).collect();
    let accepted: Vec<&str> = mailbox.accepted.iter().map(String::as_str).filter(|id| !mailbox.got[*id].is_test()).collect();
    let wrong = accepted.iter().zip(&in_feed).position(|(accepted, expected)| accepted != expected);
    assert_eq!(wrong, None, "the strict endpoint was served out of order");
}
