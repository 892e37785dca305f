//! The vendors with their receivers, and what happens to them while the demo runs.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::interval;

use super::super::client::Client;
use super::receivers::{Kind, Mood, Received, Receiver, Taken};
use super::screen::Screen;
use super::show::{self, Summary};
use super::{PASSWORD, provider};
use crate::clock::{Environment, Stopwatch};
use crate::domain::secret::Secret;

/// A vendor of the demo, before it has been made.
pub(super) struct Character {
    pub name: &'static str,
    pub email: &'static str,
    pub kind: Kind,
    /// What its endpoints are for, and the status with which they refuse.
    endpoints: &'static [(&'static str, u16)],
}

pub(super) const CAST: [Character; 3] = [
    Character { name: "Everest", email: "dev@everest.example", kind: Kind::Standard, endpoints: &[("Orders", 500)] },
    Character { name: "Lumbini", email: "dev@lumbini.example", kind: Kind::GlobalTopup, endpoints: &[("Orders", 500)] },
    Character { name: "Koshi", email: "dev@koshi.example", kind: Kind::Standard, endpoints: &[("Accounting", 503), ("Orders", 502)] },
];
/// The first vendors of the cast order recharges, and the summary is about them.
pub(super) const BUYERS: usize = 2;
const LUMBINI: usize = 1;
/// The vendor that the platform reports about.
pub(super) const KOSHI: usize = 2;
/// Its endpoints: one goes down and stays so, the other one comes back while the demo runs.
pub(super) const DOWN: usize = 0;
pub(super) const COMES_BACK: usize = 1;
/// Lumbini's receiver refuses one request in this many.
const FLAKY: u16 = 4;

/// A new recharge is ordered this often.
const PACE: Duration = Duration::from_millis(900);
/// A line is printed this often at most, so that they can be read.
const LINES: Duration = Duration::from_millis(400);
/// The platform reports about a recharge of Koshi's after so many orders.
const REPORT_EVERY: usize = 8;
/// After this time an endpoint comes back.
const COMES_BACK_AFTER: Duration = Duration::from_secs(12);
/// How long the end waits for deliveries that are still retried.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the end looks.
const LOOK: Duration = Duration::from_millis(200);

/// A vendor that takes part.
pub(super) struct Vendor {
    pub id: String,
    pub token: String,
    pub client: Client,
    /// Its endpoints by id, with the moods of their receivers.
    pub endpoints: Vec<(String, Arc<Mood>)>,
}

/// The vendors and their receivers.
pub(super) struct Stage {
    pub vendors: Vec<Vendor>,
    pub platform: Client,
    pub environment: Environment,
    pub received: UnboundedReceiver<Received>,
    /// Recharges ordered and reported so far.
    numbers: usize,
    /// References of recharges that were made while the demo ran.
    live: HashSet<String>,
    /// How long each event took, by its id.
    delivered: HashMap<String, u64>,
    wrong: usize,
    /// The last sequence number of each vendor's history.
    history: Vec<u64>,
    refused: usize,
}

impl Stage {
    pub async fn set(address: SocketAddr, operator: &str, environment: Environment) -> anyhow::Result<Self> {
        let platform = Client::connect(address, operator).await?;
        let (tell, received) = unbounded_channel();
        let mut vendors = Vec::new();
        for (at, Character { name, email, kind, endpoints }) in CAST.iter().enumerate() {
            let made = platform.post("/v1/vendors", &json!({"name": name, "email": email})).await?;
            let text = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
            let login = json!({"email": email, "password": PASSWORD});
            platform.post(&format!("/v1/vendors/{}/users", text("id")), &login).await?;
            let client = Client::connect(address, &text("live_token")).await?;
            let mut vendor = Vendor { id: text("id"), token: text("live_token"), client, endpoints: Vec::new() };
            for (description, status) in *endpoints {
                let (secret, secret_text, profile) = secret_of(*kind);
                let mood = Mood::well(*status);
                let (tell, environment) = (tell.clone(), environment.clone());
                let receiver = Receiver { vendor: at, kind: *kind, secret, mood: Arc::clone(&mood), environment, tell };
                let url = format!("http://{}/hook", receiver.start().await?);
                let endpoint = json!({"url": url, "profile": profile, "secret": secret_text, "description": description});
                let endpoint = vendor.client.post("/v1/endpoints", &endpoint).await?;
                let id = endpoint["id"].as_str().unwrap_or_default().to_owned();
                vendor.client.post(&format!("/v1/endpoints/{id}/connect"), &json!({})).await?;
                vendor.endpoints.push((id, mood));
            }
            vendors.push(vendor);
        }
        vendors[LUMBINI].endpoints[0].1.refuse_one_in(FLAKY);
        Ok(Self {
            vendors,
            platform,
            environment,
            received,
            numbers: 0,
            live: HashSet::new(),
            delivered: HashMap::new(),
            wrong: 0,
            history: vec![0; CAST.len()],
            refused: 0,
        })
    }

    /// Plays until the time is over or a signal asks for the end, and then waits for what is under way.
    pub async fn play(mut self, length: Option<Duration>, mut screen: Screen, link: &str) -> anyhow::Result<Summary> {
        self.end_history().await?;
        let watch = Stopwatch::start();
        let mut asked_to_stop = Box::pin(super::super::serve::asked_to_stop(|| ())?);
        let mut resized = signal(SignalKind::window_change())?;
        let (mut beat, mut lines) = (interval(PACE), interval(LINES));
        let mut is_back = false;
        while length.is_none_or(|length| watch.elapsed() < length) {
            tokio::select! {
                () = &mut asked_to_stop => break,
                Some(received) = self.received.recv() => self.note(received, &mut screen),
                _ = resized.recv() => screen.redraw()?,
                _ = lines.tick() => screen.step()?,
                _ = beat.tick() => {
                    if !is_back && watch.elapsed() >= COMES_BACK_AFTER {
                        is_back = true;
                        self.vendors[KOSHI].endpoints[COMES_BACK].1.refuse_one_in(0);
                        screen.queue(show::news(self.environment.clock.now(), "Koshi's \"Orders\" endpoint is up again; the next probe will find it"));
                    }
                    self.order_next().await?;
                    screen.show(show::status(link, self.live.len(), self.delivered.len(), self.refused))?;
                }
            }
        }
        self.finish(screen).await
    }

    /// From here on everything counts for the summary.
    async fn end_history(&mut self) -> anyhow::Result<()> {
        for (vendor, last) in self.vendors.iter().zip(&mut self.history) {
            let events = all(&vendor.client, "/v1/events?limit=200", "after", "next_after").await?;
            *last = events.last().and_then(|event| event["sequence"].as_u64()).unwrap_or_default();
        }
        Ok(())
    }

    async fn order_next(&mut self) -> anyhow::Result<()> {
        if self.numbers % REPORT_EVERY == REPORT_EVERY - 1 {
            return self.report(KOSHI).await.map(drop);
        }
        let reference = self.order(self.numbers % BUYERS).await?;
        self.live.insert(reference);
        Ok(())
    }

    fn next_reference(&mut self) -> String {
        self.numbers += 1;
        format!("INV-{:05}", self.numbers)
    }

    fn dice(&self) -> [u8; 4] {
        let mut dice = [0; 4];
        self.environment.entropy.fill(&mut dice);
        dice
    }

    /// A vendor orders a recharge; returns its reference.
    pub async fn order(&mut self, vendor: usize) -> anyhow::Result<String> {
        let dice = self.dice();
        let (network, prefix) = if dice[0].is_multiple_of(2) { (1, "980") } else { (2, "984") };
        let number = u32::from_le_bytes(dice) % 9_000_000 + 1_000_000;
        self.order_for(vendor, network, &format!("{prefix}{number:07}")).await
    }

    /// Everest orders a recharge that its provider never settles.
    pub async fn order_that_gets_stuck(&mut self) -> anyhow::Result<()> {
        self.order_for(0, 1, provider::NEVER_SETTLED).await.map(drop)
    }

    async fn order_for(&mut self, vendor: usize, network: u8, number: &str) -> anyhow::Result<String> {
        let (reference, amount) = (self.next_reference(), amount(self.dice()[1]));
        let order = json!({"reference_no": reference, "operator_id": network, "connection_no": number, "amount": amount});
        self.vendors[vendor].client.post("/v1/recharges", &order).await?;
        Ok(reference)
    }

    /// The platform reports a recharge of this vendor that succeeded; returns its reference.
    pub async fn report(&mut self, vendor: usize) -> anyhow::Result<String> {
        let (reference, amount) = (self.next_reference(), amount(self.dice()[1]));
        let report = json!({
            "vendor_id": self.vendors[vendor].id, "reference_no": reference, "status": "success", "amount": amount, "currency": "NPR",
            "connection_no": format!("98412{:05}", self.numbers), "operator": "Ncell",
        });
        self.platform.post("/v1/reports", &json!({"reports": [report]})).await?;
        Ok(reference)
    }

    fn note(&mut self, received: Received, screen: &mut Screen) {
        screen.queue(show::line(&received));
        match received.taken {
            // Koshi's outages say nothing about how fast deliveries are.
            Taken::Verified { sent_for_ms, .. } if received.vendor < BUYERS => {
                self.delivered.entry(received.event_id).or_insert(sent_for_ms);
            }
            Taken::Verified { .. } => {}
            Taken::Wrong => self.wrong += 1,
            Taken::Refused(_) => self.refused += 1,
        }
    }

    /// Waits until every delivery to the buyers has ended, and compares what the feed says with what the receivers have.
    async fn finish(mut self, mut screen: Screen) -> anyhow::Result<Summary> {
        let watch = Stopwatch::start();
        screen.queue(show::news(self.environment.clock.now(), "No new recharges; waiting for what is under way"));
        loop {
            while let Ok(received) = self.received.try_recv() {
                self.note(received, &mut screen);
            }
            screen.step()?;
            let (mut summary, pending) = self.look().await?;
            if (pending == 0 && summary.missing == 0) || watch.elapsed() > PATIENCE {
                summary.missing += self.wrong;
                let mut times: Vec<u64> = self.delivered.into_values().collect();
                times.sort_unstable();
                let at =
                    |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
                (summary.p50, summary.p99) = (at(50), at(99));
                screen.close()?;
                return Ok(summary);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What has become of the recharges that were ordered while the demo ran, and how much of it is still under way.
    async fn look(&self) -> anyhow::Result<(Summary, usize)> {
        let mut summary = Summary { recharges: self.live.len(), ..Summary::default() };
        let mut pending = 0;
        for (Vendor { client, .. }, last) in self.vendors.iter().zip(&self.history).take(BUYERS) {
            let queued = all(client, "/v1/recharges?status=queued&limit=200", "cursor", "next_cursor").await?;
            let is_live = |recharge: &Value| recharge["reference_no"].as_str().is_some_and(|text| self.live.contains(text));
            pending += queued.iter().filter(|recharge| is_live(recharge)).count();
            let mut events = all(client, &format!("/v1/events?limit=200&after={last}"), "after", "next_after").await?;
            // The provider may settle a recharge of the history late.
            events.retain(|event| is_live(&event["data"]));
            let ids: HashSet<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
            let mut deliveries = all(client, "/v1/deliveries?limit=200", "cursor", "next_cursor").await?;
            deliveries.retain(|delivery| delivery["event_id"].as_str().is_some_and(|event| ids.contains(event)));
            let is = |state: &'static str| move |delivery: &&Value| delivery["state"] == state;
            pending += deliveries.iter().filter(is("pending")).count();
            summary.events += events.len();
            summary.succeeded += deliveries.iter().filter(is("succeeded")).count();
            summary.retried +=
                deliveries.iter().filter(|delivery| delivery["attempts"].as_array().is_some_and(|made| made.len() > 1)).count();
            summary.missing += ids.iter().filter(|id| !self.delivered.contains_key(**id)).count();
        }
        Ok((summary, pending))
    }
}

fn amount(dice: u8) -> String {
    format!("{}.00", 50 * (1 + u32::from(dice % 20)))
}

/// A secret, as text, and the profile it is for.
fn secret_of(kind: Kind) -> (Secret, String, &'static str) {
    match kind {
        Kind::Standard => {
            let secret = Secret::new(*b"the standard demo secret, 32 b..");
            let text = crate::wire::standard::secret_text(&secret);
            (secret, text, "standard")
        }
        Kind::GlobalTopup => {
            let secret = Secret::new(*b"an older demo secret of 32 bytes");
            let text = String::from_utf8_lossy(secret.expose()).into_owned();
            (secret, text, "globaltopup")
        }
    }
}

/// All pages of a list. `parameter` is added to what the path has already, and takes the place of the same one there.
async fn all(client: &Client, path: &str, parameter: &str, next: &str) -> anyhow::Result<Vec<Value>> {
    let (mut items, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let (path, _) = path.split_once(&format!("&{parameter}=")).filter(|_| !cursor.is_null()).unwrap_or((path, ""));
        let at = match &cursor {
            Value::Null => String::new(),
            Value::String(text) => format!("&{parameter}={text}"),
            other => format!("&{parameter}={other}"),
        };
        let page = client.get(&format!("{path}{at}")).await?;
        let data = page["data"].as_array().cloned().unwrap_or_default();
        let is_last = data.is_empty() || page[next].is_null();
        items.extend(data);
        if is_last {
            return Ok(items);
        }
        cursor = page[next].clone();
    }
}
