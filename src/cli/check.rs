//! `ringback check`: a receiver, tried as a hostile world would try it. What it does with an event cannot be seen from here, only
//! what it answers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::listen::read_secret;
use super::remote::transport;
use super::style::{BAD, FAINT, GOOD, ODD, STRONG};
use crate::clock::{Stopwatch, Surroundings};
use crate::config::ConfigError;
use crate::domain::endpoint::{CipherText, Profile, Settings};
use crate::domain::event::Event;
use crate::domain::id::{EventId, RechargeId, StreamId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::transport::{Target, Transport, tls_config};
use crate::wire::{Message, Turn, Writer};

/// An answer has to come within this time; Ringback waits no longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A receiver that takes longer than this does its work before it answers.
const QUICK: Duration = Duration::from_secs(5);
/// How old the old request is.
const OLD: Duration = Duration::from_secs(3600);
/// The slow client rests this long between parts of the body.
const RESTS: Duration = Duration::from_millis(150);

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The receiver
    #[arg(value_name = "URL")]
    url: Url,
    /// The secret that it verifies with
    #[arg(long, value_name = "SECRET")]
    secret: String,
    /// How requests are written [default: standard for a secret that begins with whsec_, else globaltopup]
    #[arg(long, value_enum)]
    profile: Option<Form>,
    /// What stands behind the IV, for globaltopup
    #[arg(long, value_enum, default_value_t = Cipher::Raw)]
    cipher_text: Cipher,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
    /// Write a badge (SVG) that says how much passed
    #[arg(long, value_name = "FILE")]
    badge: Option<std::path::PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Standard,
    Globaltopup,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cipher {
    Raw,
    Base64,
}

/// What a good receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Taken,
    /// 200 with JSON, as the older profile connects.
    TakenAsJson,
    Refused,
}

/// One way to try it.
struct Trial {
    name: &'static str,
    wanted: Wanted,
    /// It has to pass; else it is good to have.
    required: bool,
    mend: &'static str,
}

/// What came of a trial.
struct Found {
    trial: Trial,
    passed: bool,
    did: String,
}

/// What the receiver answered, or why it did not.
struct Answer {
    status: Option<u16>,
    is_json: bool,
    error: String,
    took: Duration,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        super::runtime()?.block_on(self.check())
    }

    async fn check(self) -> anyhow::Result<()> {
        let profile = match self.profile {
            Some(Form::Standard) => Profile::Standard,
            Some(Form::Globaltopup) => Profile::GlobalTopup,
            None if self.secret.starts_with("whsec_") => Profile::Standard,
            None => Profile::GlobalTopup,
        };
        let secret = read_secret(profile, &self.secret)?;
        let mut settings = Settings::new(self.url.clone(), secret);
        settings.profile = profile;
        settings.cipher_text = if self.cipher_text == Cipher::Base64 { CipherText::Base64 } else { CipherText::Raw };
        let target = Target::new(&self.url).map_err(|error| ConfigError(vec![format!("{} {error}", self.url)]))?;
        let tried =
            Tried { transport: transport(ANSWER_WITHIN)?, target, url: self.url.clone(), settings, surroundings: Surroundings::system(0) };
        let found = tried.everything().await?;
        let failed = found.iter().filter(|one| one.trial.required && !one.passed).count();
        if self.json {
            anstream::println!("{}", as_json(&self.url, profile, &found));
        } else {
            tell(&found);
        }
        if let Some(path) = &self.badge {
            std::fs::write(path, badge(&found)).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        if failed > 0 {
            bail!("{failed} of what is required did not pass");
        }
        Ok(())
    }
}

/// The receiver, and what requests to it are written with.
struct Tried {
    transport: Transport,
    target: Target,
    url: Url,
    settings: Settings,
    surroundings: Surroundings,
}

impl Tried {
    fn now(&self) -> Timestamp {
        self.surroundings.clock.now()
    }

    fn writer(&self) -> Writer {
        Writer::new(&self.settings)
    }

    /// The writer of somebody who does not know the secret.
    fn stranger(&self) -> Writer {
        let mut settings = self.settings.clone();
        settings.secret = Secret::new(b"nobody gave this secret to check");
        Writer::new(&settings)
    }

    /// A request that carries an event, as it would be made now or some time ago.
    fn message(&self, writer: &Writer, event: &Event, ago: Duration) -> Message {
        let at = Timestamp::from_millis(self.now().as_millis() - ago.as_millis() as i64);
        let mut iv = [0; 16];
        self.surroundings.entropy.fill(&mut iv);
        writer.event(event, Turn { number: 1, at }, iv)
    }

    fn event(&self, event_type: &str, number: i64, data: &Value) -> Event {
        let id = EventId { stream: StreamId::new(self.now().as_millis()), sequence: number };
        Event::restore(id, Mode::Test, event_type, self.now(), &data.to_string()).expect("the facts are written here")
    }

    fn recharge(&self, number: i64) -> Event {
        let now = self.now();
        let facts = json!({
            "id": RechargeId::new(number), "transaction_id": 100_000 + number, "reference_no": format!("CHECK-{}-{number}", now.as_millis()),
            "status": "success", "amount": "50.00", "currency": "NPR", "operator": "Ncell", "connection_no": "9800000000",
            "provider_ref": "P-1", "reason": null, "settled_at": now,
        });
        self.event("recharge.success", number, &facts)
    }

    async fn send(&self, message: Message) -> anyhow::Result<Answer> {
        let watch = Stopwatch::start();
        let sent = self.transport.send(&self.target, || message.clone()).await;
        let outcome = sent.map_err(|fault| anyhow::anyhow!(fault.text))?;
        let is_json = crate::wire::content_type(&outcome).is_some_and(|kind| kind == "application/json");
        Ok(Answer { status: outcome.status, is_json, error: outcome.error.unwrap_or_default(), took: watch.elapsed() })
    }

    async fn everything(&self) -> anyhow::Result<Vec<Found>> {
        let (writer, is_standard) = (self.writer(), self.settings.profile == Profile::Standard);
        let now = Duration::ZERO;
        let mut found = Vec::new();
        let test = self.event("webhook.test", 1, &json!({"message": "A test event from Ringback: nothing has happened."}));
        let mut iv = [0; 16];
        self.surroundings.entropy.fill(&mut iv);
        let shake = writer.handshake(&Event { numbered: false, ..test }, Turn { number: 1, at: self.now() }, iv);
        let wanted = if is_standard { Wanted::Taken } else { Wanted::TakenAsJson };
        let mend = if is_standard {
            "verify the signature and answer any 2xx to a webhook.test event"
        } else {
            "answer a GET with a right X-Signature with exactly 200 and Content-Type: application/json"
        };
        found.push(judge(Trial { name: "the handshake", wanted, required: true, mend }, self.send(shake).await?));

        let event = self.recharge(1);
        let valid = self.message(&writer, &event, now);
        let mend = "verify over the bytes as they came, with this secret, and answer 2xx";
        found.push(judge(Trial { name: "a valid event", wanted: Wanted::Taken, required: true, mend }, self.send(valid.clone()).await?));
        let mend = "what is known already by its webhook-id is answered 2xx, and done only once; else it is sent for a day";
        let again = self.message(&writer, &event, now);
        found.push(judge(Trial { name: "the same event twice", wanted: Wanted::Taken, required: true, mend }, self.send(again).await?));

        let forged = self.message(&self.stranger(), &self.recharge(2), now);
        let mend = "compare the signature, in constant time, before anything is read from the body; answer 401";
        found.push(judge(Trial { name: "a wrong signature", wanted: Wanted::Refused, required: true, mend }, self.send(forged).await?));
        let changed = changed(self.message(&writer, &self.recharge(3), now));
        let mend = "the signature covers the body: compute it over the bytes as they came, not over what was parsed and written again";
        // What the older profile proves covers no body.
        let trial = Trial { name: "a changed body under a right signature", wanted: Wanted::Refused, required: is_standard, mend };
        found.push(judge(trial, self.send(changed).await?));
        let old = self.message(&writer, &self.recharge(4), OLD);
        let mend = "refuse a webhook-timestamp that is more than five minutes off, after the signature was found right";
        let trial = Trial { name: "an old timestamp", wanted: Wanted::Refused, required: is_standard, mend };
        found.push(judge(trial, self.send(old).await?));

        let unheard = self.event("ringback.unheard_of", 5, &json!({"anything": 1}));
        let mend = "answer 2xx to types that you do not know, and leave them";
        let trial = Trial { name: "a type that it has never heard of", wanted: Wanted::Taken, required: true, mend };
        found.push(judge(trial, self.send(self.message(&writer, &unheard, now)).await?));
        let mend = "read the fields that you know and leave the others; new ones come with new versions";
        let trial = Trial { name: "unknown fields", wanted: Wanted::Taken, required: true, mend };
        found.push(judge(trial, self.send(self.message(&writer, &self.with_more_fields(), now)).await?));

        let mend = "read the whole body before it is looked at, however slowly it comes";
        let trial = Trial { name: "a slow client", wanted: Wanted::Taken, required: true, mend };
        found.push(judge(trial, self.send_slowly(&self.message(&writer, &self.recharge(7), now)).await));
        let pair = (self.message(&writer, &self.recharge(8), now), self.message(&writer, &self.recharge(9), now));
        let (first, second) = tokio::join!(self.send(pair.0), self.send(pair.1));
        let (first, second) = (first?, second?);
        let worse = if first.status.is_some_and(|status| (200..300).contains(&status)) { second } else { first };
        let mend = "let requests be answered beside each other";
        found.push(judge(Trial { name: "two at once", wanted: Wanted::Taken, required: true, mend }, worse));
        Ok(found)
    }

    /// A recharge's event with fields of a later version.
    fn with_more_fields(&self) -> Event {
        let mut event = self.recharge(6);
        if self.settings.profile == Profile::Standard {
            let data = json!({
                "id": RechargeId::new(6), "reference_no": "CHECK-6", "status": "success", "amount": "50.00", "currency": "NPR",
                "operator": "Ncell", "connection_no": "9800000000", "provider_ref": null, "reason": null, "mode": "test", "sequence": 6,
                "of_a_later_version": {"nested": [1, 2, 3]},
            });
            event.facts = crate::domain::event::Facts::Given(serde_json::value::to_raw_value(&data).expect("JSON"));
        }
        event
    }

    /// The request in parts, with rests between them.
    async fn send_slowly(&self, message: &Message) -> Answer {
        let watch = Stopwatch::start();
        let answered = tokio::time::timeout(ANSWER_WITHIN, self.write_slowly(message)).await;
        let answered = answered.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", ANSWER_WITHIN.as_secs())));
        let (status, error) = match answered {
            Ok(status) => (Some(status), String::new()),
            Err(error) => (None, format!("{error:#}")),
        };
        Answer { status, is_json: false, error, took: watch.elapsed() }
    }

    async fn write_slowly(&self, message: &Message) -> anyhow::Result<u16> {
        let host = self.url.host_str().context("the URL has no host")?;
        let port = self.url.port_or_known_default().context("the URL has no port")?;
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        stream.set_nodelay(true)?;
        if self.url.scheme() != "https" {
            return self.exchange_slowly(stream, message).await;
        }
        let name = rustls::pki_types::ServerName::try_from(host.to_owned())?;
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(&tls_config(&[]))).connect(name, stream).await?;
        self.exchange_slowly(stream, message).await
    }

    async fn exchange_slowly(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, message: &Message) -> anyhow::Result<u16> {
        let path = self.url.query().map_or_else(|| self.url.path().to_owned(), |query| format!("{}?{query}", self.url.path()));
        let host = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n", message.body().len());
        for (name, value) in message.headers() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await?;
        for part in message.body().chunks(message.body().len() / 4 + 1) {
            stream.flush().await?;
            tokio::time::sleep(RESTS).await;
            stream.write_all(part).await?;
        }
        stream.flush().await?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') && stream.read_buf(&mut answer).await? > 0 {}
        let line = String::from_utf8_lossy(&answer);
        let status = line.split(' ').nth(1).and_then(|status| status.get(..3)?.parse().ok());
        status.with_context(|| format!("what came back is no HTTP: {:?}", line.lines().next().unwrap_or_default()))
    }
}

/// The same request with one byte of its body another one.
fn changed(message: Message) -> Message {
    let (parts, body) = message.into_parts();
    let mut bytes = body.to_vec();
    // A digit of an amount, or a letter of what is encrypted.
    let at = bytes.windows(5).position(|window| window == b"50.00").unwrap_or(bytes.len() / 2);
    bytes[at] = if bytes[at] == b'9' { b'8' } else { b'9' };
    Message::from_parts(parts, Bytes::from(bytes))
}

fn judge(trial: Trial, answer: Answer) -> Found {
    let took = answer.took.as_millis();
    let did = match answer.status {
        Some(status) => format!("answered {status} in {took} ms"),
        None => format!("did not answer: {}", answer.error),
    };
    let taken = answer.status.is_some_and(|status| (200..300).contains(&status));
    let passed = match trial.wanted {
        Wanted::Taken => taken && answer.took < QUICK,
        Wanted::TakenAsJson => answer.status == Some(200) && answer.is_json,
        // One that breaks off without an answer has not refused it knowingly.
        Wanted::Refused => answer.status.is_some_and(|status| (400..500).contains(&status)),
    };
    Found { trial, passed, did }
}

impl Wanted {
    const fn told(self) -> &'static str {
        match self {
            Self::Taken => "answers 2xx, soon",
            Self::TakenAsJson => "answers 200 with JSON",
            Self::Refused => "answers 4xx",
        }
    }
}

fn tell(found: &[Found]) {
    for Found { trial, passed, did } in found {
        let (style, sign) = match (passed, trial.required) {
            (true, _) => (GOOD, "✓"),
            (false, true) => (BAD, "✗"),
            (false, false) => (ODD, "–"),
        };
        anstream::println!("{style}{sign}{style:#} {:<42} {FAINT}a good one {}; this one {did}{FAINT:#}", trial.name, trial.wanted.told());
        if !passed {
            let optional = if trial.required { "" } else { " (not required of this profile)" };
            anstream::println!("    {}{optional}", trial.mend);
        }
    }
    let passed = found.iter().filter(|one| one.passed).count();
    anstream::println!("\n{STRONG}{passed} of {} passed{STRONG:#}", found.len());
}

fn as_json(url: &Url, profile: Profile, found: &[Found]) -> Value {
    let one = |Found { trial, passed, did }: &Found| json!({"check": trial.name, "required": trial.required, "passed": passed, "a_good_receiver": trial.wanted.told(), "this_one": did, "to_mend": (!passed).then_some(trial.mend)});
    let passed = found.iter().all(|one| one.passed || !one.trial.required);
    json!({"url": url.as_str(), "profile": profile.as_str(), "passed": passed, "checks": found.iter().map(one).collect::<Vec<_>>()})
}

/// A small picture for a README.
fn badge(found: &[Found]) -> String {
    let (passed, all) = (found.iter().filter(|one| one.passed).count(), found.len());
    let is_good = found.iter().all(|one| one.passed || !one.trial.required);
    let colour = if is_good { "#15713f" } else { "#b3261e" };
    let (name, value) = ("ringback check", format!("{passed} of {all}"));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"168\" height=\"22\" role=\"img\" aria-label=\"{name}: {value}\">\
         <rect width=\"168\" height=\"22\" rx=\"4\" fill=\"#3b4652\"/><path d=\"M104 0h60a4 4 0 0 1 4 4v14a4 4 0 0 1-4 4h-60z\" fill=\"{colour}\"/>\
         <g fill=\"#fff\" font-family=\"sans-serif\" font-size=\"12\" text-anchor=\"middle\"><text x=\"52\" y=\"15\">{name}</text>\
         <text x=\"136\" y=\"15\">{value}</text></g></svg>\n"
    )
}
