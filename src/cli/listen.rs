//! `ringback listen`: a vendor's events, posted to a program on the developer's own machine. No tunnel and no open port are
//! needed: the events are read from the feed, which has no gaps, and signed here as the endpoint's are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use url::Url;

use super::output::Unwritable;
use super::remote::{Caller, Refused, Remote, transport};
use super::style::{BAD, FAINT, GOOD};
use crate::clock::{Entropy, Environment, SystemEntropy};
use crate::config::ConfigError;
use crate::domain::attempt::{Outcome, OutcomeKind};
use crate::domain::endpoint::{CipherText, Profile, Settings};
use crate::domain::event::Event;
use crate::domain::filter::Filter;
use crate::domain::id::EndpointId;
use crate::domain::secret::Secret;
use crate::limits;
use crate::transport::{Target, Transport};
use crate::wire::{Turn, Writer, standard};

/// How long an answer may take, as with the server's own default.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long to wait before a server that is away is asked again.
const ASKED_AGAIN: Duration = Duration::from_secs(2);
/// How much of an answer that is no success is shown.
const SHOWN: usize = 300;

/// An address without a scheme, such as localhost:3000/hook, is one of http.
pub(super) fn parse_forward(text: &str) -> Result<Url, String> {
    parse_address(text).map_err(|problem| format!("{problem}; write a URL such as http://localhost:3000/hook"))
}

/// The same, for a server.
pub(super) fn parse_address(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let is_whole = text.contains("://");
    let whole = if is_whole { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&whole) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) => Err(format!("an http or https URL is needed, not {}", url.scheme())),
        Err(error) => Err(error.to_string()),
    }
}

/// A secret as it was copied. `--secret "$SECRET"` is empty where the variable is not set.
pub(super) fn parse_secret(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("is empty; give the secret that was shown with the endpoint".to_owned()) } else { Ok(text.to_owned()) }
}

/// Arguments of `listen`.
#[derive(Debug, Args)]
pub(super) struct Listen {
    /// Where each event is posted
    #[arg(long, value_name = "URL", value_parser = parse_forward)]
    forward: Url,
    /// Sign as this endpoint would: its profile, filter and form. Its secret is yours to give
    #[arg(long, value_name = "ID")]
    endpoint: Option<EndpointId>,
    /// The secret to sign with [default: one that is made up and printed]
    #[arg(long, value_name = "SECRET", value_parser = parse_secret)]
    secret: Option<String>,
    /// How requests are written, where no endpoint says it
    #[arg(long, value_enum, default_value_t = Form::Standard)]
    profile: Form,
    /// Only these types, such as recharge.success or invoice.* [default: all]
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    events: Vec<String>,
    /// Begin after the event with this number; 0 begins at the oldest kept [default: with what comes from now on]
    #[arg(long, value_name = "SEQUENCE")]
    since: Option<i64>,
    /// Keep each request, as it was sent, in a file of this folder
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Standard,
    Globaltopup,
}

impl Listen {
    pub(super) fn run(self) -> anyhow::Result<()> {
        super::runtime()?.block_on(async {
            tokio::select! {
                ended = self.listen() => ended,
                interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
            }
        })
    }

    async fn listen(self) -> anyhow::Result<()> {
        let caller = self.remote.caller()?;
        let mut settings = Settings::new(self.forward.clone(), Secret::new(Vec::new()));
        settings.profile = if self.profile == Form::Globaltopup { Profile::GlobalTopup } else { Profile::Standard };
        settings.event_types = Filter::new(vec!["*".to_owned()]).expect("it is a pattern");
        if let Some(id) = self.endpoint {
            take_after(&mut settings, &caller.get(&format!("/v1/endpoints/{id}")).await?)?;
        }
        if !self.events.is_empty() {
            settings.event_types = Filter::new(self.events).map_err(|wrong| {
                let told = |(_, text): &(usize, String)| format!("--events {text:?} is neither a type nor a prefix such as invoice.*");
                ConfigError(wrong.iter().map(told).collect())
            })?;
        }
        let made_up = self.secret.is_none();
        let text = self.secret.unwrap_or_else(|| new_secret(settings.profile));
        settings.secret = read_secret(settings.profile, &text)?;
        if let Some(folder) = &self.save {
            std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let target = Target::new(&self.forward).map_err(|error| ConfigError(vec![format!("--forward {error}")]))?;
        let first = caller.get("/v1/events?limit=1").await?;
        let after = self.since.unwrap_or_else(|| first["latest_sequence"].as_i64().unwrap_or_default());
        outln!("listening for events after {after}; each is posted to {}. Ctrl-C ends it", self.forward)?;
        if made_up {
            outln!("signed with a secret of this session: {text}")?;
        }
        let forward = Forward { transport: transport(ANSWER_WITHIN)?, target, writer: Writer::new(&settings), settings, save: self.save };
        follow(&caller, &forward, after).await
    }
}

/// Settings of the endpoint that is stood in for.
fn take_after(settings: &mut Settings, endpoint: &Value) -> anyhow::Result<()> {
    let types: Vec<String> =
        serde_json::from_value(endpoint["event_types"].clone()).context("the server tells no types of the endpoint")?;
    settings.event_types = Filter::new(types).map_err(|_| anyhow::anyhow!("the server tells types of the endpoint that are none"))?;
    settings.profile = if endpoint["profile"] == "globaltopup" { Profile::GlobalTopup } else { Profile::Standard };
    settings.cipher_text = if endpoint["cipher_text"] == "base64" { CipherText::Base64 } else { CipherText::Raw };
    Ok(())
}

/// A secret that nobody has yet.
fn new_secret(profile: Profile) -> String {
    let mut bytes = [0; 24];
    SystemEntropy.fill(&mut bytes);
    match profile {
        Profile::Standard => standard::secret_text(&Secret::new(bytes)),
        // Thirty-two characters are a key of AES-256 as they are.
        Profile::GlobalTopup => data_encoding::BASE64URL_NOPAD.encode(&bytes),
    }
}

/// A secret as its owner has it.
///
/// # Errors
/// It is none of this profile.
pub(super) fn read_secret(profile: Profile, text: &str) -> Result<Secret, ConfigError> {
    match profile {
        Profile::Standard => standard::parse_secret(text).ok_or_else(|| {
            ConfigError(vec!["--secret must be whsec_ and base64 of 24 to 64 bytes, as the endpoint's was shown".to_owned()])
        }),
        Profile::GlobalTopup => Ok(Secret::new(text.as_bytes())),
    }
}

/// Where events go.
struct Forward {
    transport: Transport,
    target: Target,
    writer: Writer,
    settings: Settings,
    save: Option<PathBuf>,
}

/// Reads on and on, from where it stopped, whatever becomes of the connection.
async fn follow(caller: &Caller, forward: &Forward, mut after: i64) -> anyhow::Result<()> {
    loop {
        let page = insist(caller, &format!("/v1/events?after={after}&limit=50&wait={}", limits::WAIT_MAX)).await?;
        for event in page["data"].as_array().context("the server's answer has no events")? {
            let event_type = event["type"].as_str().context("an event has no type")?;
            if forward.settings.event_types.wants(forward.settings.profile, event_type) {
                forward.post(caller, event).await?;
            }
            after = event["sequence"].as_i64().context("an event has no number")?;
        }
        // What a filter of the server left out counts as read.
        after = after.max(page["next_after"].as_i64().unwrap_or(after));
    }
}

/// Asks until there is an answer.
///
/// # Errors
/// It says no.
async fn insist(caller: &Caller, path: &str) -> anyhow::Result<Value> {
    let mut is_away = false;
    loop {
        match caller.get(path).await {
            Ok(answer) => {
                if is_away {
                    super::say(format_args!("{FAINT}the server answers again{FAINT:#}"));
                }
                return Ok(answer);
            }
            Err(error) if error.downcast_ref::<Refused>().is_some_and(|refused| refused.status < 500 && refused.status != 429) => {
                return Err(error);
            }
            Err(error) => {
                if !is_away {
                    super::say(format_args!("{FAINT}{error}; it is asked again until it answers{FAINT:#}"));
                }
                is_away = true;
                tokio::time::sleep(ASKED_AGAIN).await;
            }
        }
    }
}

impl Forward {
    async fn post(&self, caller: &Caller, told: &Value) -> anyhow::Result<()> {
        let event = self.restore(caller, told).await?;
        let environment = Environment::system(0);
        let turn = Turn { number: 1, at: environment.clock.now() };
        let mut iv = [0; 16];
        environment.entropy.fill(&mut iv);
        let write = || self.writer.event(&event, turn, iv);
        if let Some(folder) = &self.save {
            save(folder, event.id.sequence, &write())?;
        }
        let sent = self.transport.send(&self.target, write).await.map_err(|fault| anyhow::anyhow!(fault.text))?;
        show(&event, told, &sent)?;
        Ok(())
    }

    /// The event that the feed tells of. One profile's bodies have facts that the feed does not tell.
    async fn restore(&self, caller: &Caller, told: &Value) -> anyhow::Result<Event> {
        let text = |name: &str| told[name].as_str().with_context(|| format!("an event has no {name}"));
        let (id, event_type, at) = (text("id")?.parse().map_err(anyhow::Error::msg)?, text("type")?, text("timestamp")?);
        let mode = told["mode"].as_str().or(told["data"]["mode"].as_str()).unwrap_or("test");
        let mut facts = told["data"].clone();
        if let (true, Some(facts)) = (event_type.starts_with("recharge."), facts.as_object_mut()) {
            let recharge = match (self.settings.profile, told["recharge_id"].as_str()) {
                (Profile::GlobalTopup, Some(id)) => insist(caller, &format!("/v1/recharges/{id}")).await?,
                _ => json!({"transaction_id": 0}),
            };
            facts.insert("transaction_id".to_owned(), recharge["transaction_id"].clone());
            facts.insert("settled_at".to_owned(), recharge["settled_at"].as_str().unwrap_or(at).into());
        }
        let at = at.parse().map_err(anyhow::Error::msg)?;
        Ok(Event::restore(id, mode.parse().map_err(anyhow::Error::msg)?, event_type, at, &facts.to_string())?)
    }
}

/// A request as it goes over the wire, but for where it goes.
fn save(folder: &Path, sequence: i64, message: &crate::wire::Message) -> anyhow::Result<()> {
    let mut text = Vec::new();
    for (name, value) in message.headers() {
        text.extend_from_slice(format!("{name}: ").as_bytes());
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(message.body());
    let path = folder.join(format!("{sequence:08}.http"));
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

fn show(event: &Event, told: &Value, sent: &Outcome) -> Result<(), Unwritable> {
    let (number, event_type) = (event.id.sequence, &event.event_type);
    let about = told["data"]["reference_no"].as_str().unwrap_or_default();
    let took = f64::from(sent.phases.total) / 1000.0;
    let (style, what) = match (sent.kind, sent.status) {
        (OutcomeKind::Succeeded, Some(status)) => (GOOD, format!("{status} in {took:.1} ms")),
        (_, Some(status)) => (BAD, format!("{status} in {took:.1} ms, no success: it would be tried again")),
        (_, None) => (BAD, sent.error.clone().unwrap_or_else(|| "no answer".to_owned())),
    };
    outln!("{number:>6}  {event_type:<20} {about:<20} {style}{what}{style:#}")?;
    if sent.kind == OutcomeKind::Rejected {
        let body = String::from_utf8_lossy(sent.answer_body.as_deref().unwrap_or_default());
        let body: String = body.trim().chars().take(SHOWN).collect();
        if !body.is_empty() {
            outln!("{FAINT}        {}{FAINT:#}", body.replace('\n', "\n        "))?;
        }
    }
    Ok(())
}
