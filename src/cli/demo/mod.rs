//! `ringback demo`: everything in one process on a fresh store, driven over the HTTP API as a platform would drive it.
//!
//! Two vendors sell recharges. One has a receiver of the profile `standard`, the other one of `globaltopup` that answers
//! 500 to one request in four, so that retries can be seen. Each recharge goes to a provider, over HTTP, which settles it a
//! moment later and loses an answer or a callback now and then; the receivers verify what they get.

mod provider;
mod receivers;
mod show;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use provider::Provider;
use receivers::{Kind, Received, Receiver, Taken};
use serde_json::{Value, json};
use show::Summary;

use super::output::Unwritable;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use super::client::Client;
use crate::app::{App, Listeners, Outside, open_store};
use crate::clock::{Stopwatch, Surroundings};
use crate::config::{Config, LogFormat, Sources};
use crate::domain::secret::Secret;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: String,
    /// Make recharges for this long, such as 30s, then wait for all deliveries and print a summary
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<humantime::Duration>,
    /// Print nothing but the summary, as JSON
    #[arg(long)]
    json: bool,
}

struct Character {
    name: &'static str,
    email: &'static str,
    kind: Kind,
    fails_one_in: Option<u8>,
}

const VENDORS: [Character; 2] = [
    Character { name: "Everest", email: "dev@everest.example", kind: Kind::Standard, fails_one_in: None },
    Character { name: "Lumbini", email: "dev@lumbini.example", kind: Kind::GlobalTopup, fails_one_in: Some(4) },
];

/// A vendor that takes part.
struct Vendor {
    name: &'static str,
    email: &'static str,
    token: String,
    client: Client,
    kind: Kind,
    is_flaky: bool,
}

/// The operator's login, and the password of all of the demo's logins.
const OPERATOR: &str = "operator@ringback.example";
const PASSWORD: &str = "ringback demo";
/// A new recharge is asked for this often.
const PACE: Duration = Duration::from_millis(200);
/// How long the end waits for deliveries that are still retried.
const PATIENCE: Duration = Duration::from_secs(120);

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let _log = super::log::to_stderr("warn", LogFormat::Text)?;
        super::runtime()?.block_on(self.play())
    }

    async fn play(self) -> anyhow::Result<()> {
        let folder = tempfile::tempdir().context("a temporary folder could not be made")?;
        let (provider, at_provider) = Provider::start(Surroundings::system(0)).await?;
        let file = folder.path().join("demo.toml");
        std::fs::write(&file, provider::configuration(at_provider)).context("the demo's configuration could not be written")?;
        let setting = |name, value: &str| (name, value.to_owned());
        let flags = vec![
            setting("listen", &self.listen),
            setting("database", &format!("sqlite:{}", folder.path().join("demo.db").display())),
            setting("allow_networks", "127.0.0.0/8"),
            setting("require_https", "false"),
            setting("retry_schedule", "500ms,1s,2s"),
        ];
        let config = Config::read(Sources { flags, file: Some(file), ..Sources::default() })?;
        let store = open_store(&config, Surroundings::system(0)).await?;
        let (_, operator) = super::token::make(&*store, &Surroundings::system(0), "demo").await?;
        super::user::make(&*store, &Surroundings::system(0), OPERATOR, PASSWORD).await?;
        drop(store);
        let app = App::start(&config, Outside::system()).await?;
        let listeners = Listeners::bind(&config).await?;
        let address = listeners.api.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(app.run(listeners, async { drop(stopped.await) }));
        provider.call_back_to(address).await?;
        let stage = Stage::set(address, operator.expose()).await?;
        if !self.json {
            show::opening(&format!("http://{address}"), operator.expose(), &stage.vendors)?;
        }
        let summary = stage.play(&self).await?;
        if self.json {
            summary.print_json()?;
        } else {
            summary.print()?;
        }
        drop(stop);
        serving.await??;
        if summary.missing > 0 {
            bail!("{} events did not arrive or did not verify", summary.missing);
        }
        Ok(())
    }
}

/// The vendors and their receivers.
struct Stage {
    vendors: Vec<Vendor>,
    surroundings: Surroundings,
    received: UnboundedReceiver<Received>,
    /// How long each event took, by its id.
    delivered: HashMap<String, u64>,
    wrong: usize,
    recharges: usize,
}

impl Stage {
    async fn set(address: SocketAddr, operator: &str) -> anyhow::Result<Self> {
        let platform = Client::connect(address, operator).await?;
        let surroundings = Surroundings::system(0);
        let (tell, received) = unbounded_channel();
        let mut vendors = Vec::new();
        for (at, Character { name, email, kind, fails_one_in }) in VENDORS.iter().enumerate() {
            let made = platform.post("/v1/vendors", &json!({"name": name, "email": email})).await?;
            let text = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
            let login = json!({"email": email, "password": PASSWORD});
            platform.post(&format!("/v1/vendors/{}/users", text("id")), &login).await?;
            let secret = match kind {
                Kind::Standard => Secret::new(*b"the standard demo secret, 32 b.."),
                Kind::GlobalTopup => Secret::new(*b"an older demo secret of 32 bytes"),
            };
            let (secret_text, profile) = match kind {
                Kind::Standard => (crate::wire::standard::secret_text(&secret), "standard"),
                Kind::GlobalTopup => (String::from_utf8_lossy(secret.expose()).into_owned(), "globaltopup"),
            };
            let receiver = Receiver {
                vendor: at,
                kind: *kind,
                secret,
                fails_one_in: *fails_one_in,
                surroundings: surroundings.clone(),
                tell: tell.clone(),
            };
            let url = format!("http://{}/hook", receiver.start().await?);
            let its_own = Client::connect(address, &text("live_token")).await?;
            let endpoint = json!({"url": url, "profile": profile, "secret": secret_text});
            let endpoint = its_own.post("/v1/endpoints", &endpoint).await?;
            let id = endpoint["id"].as_str().unwrap_or_default();
            its_own.post(&format!("/v1/endpoints/{id}/connect"), &json!({})).await?;
            let vendor = Vendor { name, email, token: text("live_token"), client: its_own, kind: *kind, is_flaky: fails_one_in.is_some() };
            vendors.push(vendor);
        }
        Ok(Self { vendors, surroundings, received, delivered: HashMap::new(), wrong: 0, recharges: 0 })
    }

    async fn play(mut self, demo: &Demo) -> anyhow::Result<Summary> {
        let watch = Stopwatch::start();
        let mut asked_to_stop = Box::pin(super::serve::asked_to_stop(|| ())?);
        let mut beat = tokio::time::interval(PACE);
        while demo.length.is_none_or(|length| watch.elapsed() < *length) {
            tokio::select! {
                () = &mut asked_to_stop => break,
                Some(received) = self.received.recv() => self.note(received, demo.json)?,
                _ = beat.tick() => self.order().await?,
            }
        }
        self.finish(demo.json).await
    }

    /// A vendor asks for a recharge.
    async fn order(&mut self) -> anyhow::Result<()> {
        let mut dice = [0; 4];
        self.surroundings.entropy.fill(&mut dice);
        self.recharges += 1;
        let vendor = &self.vendors[self.recharges % self.vendors.len()];
        let (network, prefix) = if dice[0] % 2 == 0 { (1, "980") } else { (2, "984") };
        let number = u32::from_le_bytes(dice) % 10_000_000;
        let order = json!({
            "reference_no": format!("INV-{:05}", self.recharges),
            "operator_id": network,
            "connection_no": format!("{prefix}{number:07}"),
            "amount": format!("{}.00", 50 * (1 + u32::from(dice[1] % 20))),
        });
        vendor.client.post("/v1/recharges", &order).await.map(drop)
    }

    fn note(&mut self, received: Received, quietly: bool) -> Result<(), Unwritable> {
        if !quietly {
            show::line(&received)?;
        }
        match received.taken {
            Taken::Verified { sent_for_ms, .. } => drop(self.delivered.entry(received.event_id).or_insert(sent_for_ms)),
            Taken::Wrong => self.wrong += 1,
            Taken::TurnedAway => {}
        }
        Ok(())
    }

    /// Waits until every delivery has ended, and compares what the feed says with what the receivers have.
    async fn finish(mut self, quietly: bool) -> anyhow::Result<Summary> {
        let watch = Stopwatch::start();
        loop {
            while let Ok(received) = self.received.try_recv() {
                self.note(received, quietly)?;
            }
            let mut summary = Summary { recharges: self.recharges, ..Summary::default() };
            let mut pending = 0;
            for Vendor { client: reader, .. } in &self.vendors {
                pending += all(reader, "/v1/recharges?status=queued&limit=200", "cursor", "next_cursor").await?.len();
                let events = all(reader, "/v1/events?limit=200", "after", "next_after").await?;
                let deliveries = all(reader, "/v1/deliveries?limit=200", "cursor", "next_cursor").await?;
                let is = |state: &'static str| move |delivery: &&Value| delivery["state"] == state;
                pending += deliveries.iter().filter(is("pending")).count();
                summary.events += events.len();
                summary.succeeded += deliveries.iter().filter(is("succeeded")).count();
                summary.retried +=
                    deliveries.iter().filter(|delivery| delivery["attempts"].as_array().is_some_and(|made| made.len() > 1)).count();
                let arrived = |event: &&Value| event["id"].as_str().is_some_and(|id| self.delivered.contains_key(id));
                summary.missing += events.len() - events.iter().filter(arrived).count();
            }
            if (pending == 0 && summary.missing == 0) || watch.elapsed() > PATIENCE {
                summary.missing += self.wrong;
                let mut times: Vec<u64> = self.delivered.into_values().collect();
                times.sort_unstable();
                let at =
                    |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
                (summary.p50, summary.p99) = (at(50), at(99));
                return Ok(summary);
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

/// All pages of a list.
async fn all(client: &Client, path: &str, parameter: &str, next: &str) -> anyhow::Result<Vec<Value>> {
    let (mut items, mut cursor) = (Vec::new(), Value::Null);
    loop {
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
