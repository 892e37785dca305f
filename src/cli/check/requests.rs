//! The requests of `ringback check`, and the answers to them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use http::HeaderValue;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use crate::cli::remote::transport;
use crate::clock::{Environment, Stopwatch};
use crate::domain::attempt::{Outcome, OutcomeKind, Phases};
use crate::domain::endpoint::{CipherText, Profile, Settings};
use crate::domain::event::{Event, Facts};
use crate::domain::id::{EventId, RechargeId, StreamId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::transport::{Target, Transport, tls_config};
use crate::wire::{Message, Turn, Writer, globaltopup, standard};

/// An answer has to come within this time; Ringback waits no longer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How old the old request is.
const OLD: Duration = Duration::from_secs(3600);
/// The slow client rests this long between parts of the body.
const RESTS: Duration = Duration::from_millis(150);
/// Characters of an answer's body that are shown.
const SHOWN: usize = 120;
/// Spellings of numbers that change when they are read and written again.
const NUMBERS: &str = r#","of_a_later_version":[1.10,1E2,12345678901234567890]"#;

/// The receiver, and what requests to it are written with.
pub(super) struct Tried {
    transport: Transport,
    target: Target,
    settings: Settings,
    environment: Environment,
    /// When all events happened: the same event is the same bytes. It is also their stream, which no other run has.
    begun: Timestamp,
}

/// What the receiver answered, or why it did not.
pub(super) struct Answer {
    pub outcome: Outcome,
    pub took: Duration,
}

impl Answer {
    pub fn status(&self) -> Option<u16> {
        self.outcome.status
    }

    pub fn is_taken(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }

    pub fn is_json(&self) -> bool {
        crate::wire::content_type(&self.outcome).is_some_and(|kind| kind == "application/json")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.outcome.answer_headers.as_deref()?.lines();
        lines.filter_map(|line| line.split_once(": ")).find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The answer in words.
    pub fn told(&self) -> String {
        let Some(status) = self.status() else {
            return format!("no answer ({})", self.outcome.error.as_deref().unwrap_or("no reason is known"));
        };
        let said = if self.is_taken() { String::new() } else { self.said() };
        format!("answered {status} in {} ms{said}", self.took.as_millis())
    }

    /// The beginning of its body, if that is made for people and not for a browser.
    fn said(&self) -> String {
        let body = String::from_utf8_lossy(self.outcome.answer_body.as_deref().unwrap_or_default());
        let text: String = body.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        if text.is_empty() || text.starts_with('<') { String::new() } else { format!(" ({text})") }
    }
}

impl Tried {
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        let (target, environment) = (Target::new(&settings.url)?, Environment::system(0));
        let begun = environment.clock.now();
        Ok(Self { transport: transport(ANSWER_WITHIN)?, target, settings, environment, begun })
    }

    pub fn url(&self) -> &Url {
        &self.settings.url
    }

    pub fn profile(&self) -> Profile {
        self.settings.profile
    }

    pub fn cipher_text(&self) -> CipherText {
        self.settings.cipher_text
    }

    pub fn secret(&self) -> &Secret {
        &self.settings.secret
    }

    pub fn now(&self) -> Timestamp {
        self.environment.clock.now()
    }

    // --- Events ------------------------------------------------------------------------------------------------------

    fn event(&self, event_type: &str, number: i64, data: &Value) -> Event {
        let id = EventId { stream: StreamId::new(self.begun.as_millis()), sequence: number };
        Event::restore(id, Mode::Test, event_type, self.begun, &data.to_string()).expect("the facts are written here")
    }

    /// The reference of the recharge with this number.
    pub fn reference(&self, number: i64) -> String {
        format!("CHECK-{}-{number}", self.begun.as_millis())
    }

    pub fn recharge(&self, number: i64) -> Event {
        let facts = json!({
            "id": RechargeId::new(number), "transaction_id": 100_000 + number, "reference_no": self.reference(number),
            "status": "success", "amount": "50.00", "currency": "NPR", "operator": "Ncell", "connection_no": "9800000000",
            "provider_ref": "P-1", "reason": null, "settled_at": self.begun,
        });
        self.event("recharge.success", number, &facts)
    }

    pub fn unknown_type(&self, number: i64) -> Event {
        self.event("ringback.unheard_of", number, &json!({"anything": 1}))
    }

    /// A recharge's event with fields of a later version.
    pub fn with_more_fields(&self, number: i64) -> Event {
        let mut event = self.recharge(number);
        if self.profile() == Profile::Standard {
            let mut data = json!(standard::Data(&event));
            data["of_a_later_version"] = json!({"nested": [1, 2, 3]});
            event.facts = Facts::Given(serde_json::value::to_raw_value(&data).expect("JSON"));
        }
        event
    }

    // --- Requests ----------------------------------------------------------------------------------------------------

    fn iv(&self) -> [u8; 16] {
        let mut iv = [0; 16];
        self.environment.entropy.fill(&mut iv);
        iv
    }

    /// A request that carries an event, as these settings write it at that time.
    fn written(&self, settings: &Settings, event: &Event, at: Timestamp) -> Message {
        Writer::new(settings).event(event, Turn { number: 1, at }, self.iv())
    }

    pub fn message(&self, event: &Event) -> Message {
        self.written(&self.settings, event, self.now())
    }

    pub fn handshake(&self) -> Message {
        let test = self.event("webhook.test", 1, &json!({"message": "A test event from Ringback: nothing has happened."}));
        let test = Event { id: EventId { sequence: 1 << 40, ..test.id }, numbered: false, ..test };
        Writer::new(&self.settings).handshake(&test, Turn { number: 1, at: self.now() }, self.iv())
    }

    /// A request as it was written some time ago, or will be.
    pub fn at(&self, event: &Event, at: Timestamp) -> Message {
        self.written(&self.settings, event, at)
    }

    pub fn old(&self, event: &Event) -> Message {
        self.at(event, Timestamp::from_millis(self.now().as_millis() - OLD.as_millis() as i64))
    }

    /// A request of a sender who does not know the secret.
    pub fn forged(&self, event: &Event) -> Message {
        let mut settings = self.settings.clone();
        settings.secret = Secret::new(b"nobody gave this secret to check");
        self.written(&settings, event, self.now())
    }

    /// A request whose body is encrypted in the other form.
    pub fn in_other_cipher_text(&self, event: &Event) -> Message {
        let mut settings = self.settings.clone();
        settings.cipher_text = if settings.cipher_text == CipherText::Raw { CipherText::Base64 } else { CipherText::Raw };
        self.written(&settings, event, self.now())
    }

    /// A request with one byte of its body changed after it was signed.
    pub fn changed(&self, event: &Event) -> Message {
        let (parts, body) = self.message(event).into_parts();
        let mut bytes = body.to_vec();
        // A digit of an amount, or a letter of what is encrypted.
        let at = bytes.windows(5).position(|window| window == b"50.00").unwrap_or(bytes.len() / 2);
        bytes[at] = if bytes[at] == b'9' { b'8' } else { b'9' };
        Message::from_parts(parts, Bytes::from(bytes))
    }

    /// A request whose JSON is spelled unusually: with spaces, escapes and, in a field of their own, numbers.
    pub fn spelled(&self, event: &Event, with_numbers: bool) -> Message {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let body = match self.profile() {
            Profile::Standard => {
                let body = text(&standard::body(event));
                let open = body.strip_suffix("}}").expect("data stands last");
                respelled(&format!("{open}{}}}}}", if with_numbers { NUMBERS } else { "" }))
            }
            Profile::GlobalTopup => {
                let sealer = globaltopup::Sealer::new(self.secret(), self.cipher_text());
                let data = sealer.seal(respelled(&text(&globaltopup::payload(event))).as_bytes(), self.iv());
                respelled(&json!({ "data": data }).to_string())
            }
        };
        self.signed_anew(event, body, |content, _| signature(self.secret().expose(), &content))
    }

    /// A request with another body, and the signature that `sign` makes of its signed content and of its body.
    pub fn signed_anew(&self, event: &Event, body: String, sign: impl Fn(String, &str) -> String) -> Message {
        let mut message = self.message(event);
        let header = |name| message.headers()[name].to_str().unwrap_or_default();
        let value = sign(format!("{}.{}.{body}", header(standard::ID), header(standard::TIMESTAMP)), &body);
        message.headers_mut().insert(standard::SIGNATURE, HeaderValue::from_str(&value).expect("base64 is visible ASCII"));
        *message.body_mut() = Bytes::from(body);
        message
    }

    /// A request whose timestamp is in milliseconds.
    pub fn in_milliseconds(&self, event: &Event) -> Message {
        let mut message = self.message(event);
        let at = self.now().as_millis();
        let content = format!("{}.{at}.{}", event.id, String::from_utf8_lossy(message.body()));
        let value = HeaderValue::from_str(&signature(self.secret().expose(), &content)).expect("base64 is visible ASCII");
        message.headers_mut().insert(standard::TIMESTAMP, HeaderValue::from(at));
        message.headers_mut().insert(standard::SIGNATURE, value);
        message
    }

    // --- Sending -----------------------------------------------------------------------------------------------------

    pub async fn send(&self, message: Message) -> anyhow::Result<Answer> {
        let watch = Stopwatch::start();
        let sent = self.transport.send(&self.target, || message.clone()).await;
        let outcome = sent.map_err(|fault| anyhow::anyhow!(fault.text))?;
        Ok(Answer { outcome, took: watch.elapsed() })
    }

    /// The request in parts, with rests between them.
    pub async fn send_slowly(&self, message: &Message) -> Answer {
        let watch = Stopwatch::start();
        let answered = tokio::time::timeout(ANSWER_WITHIN, self.write_slowly(message)).await;
        let (kind, status, error) = match answered {
            Ok(Ok(status)) => (OutcomeKind::Rejected, Some(status), None),
            Ok(Err(error)) => (OutcomeKind::Unreachable, None, Some(format!("{error:#}"))),
            Err(_) => (OutcomeKind::TimedOut, None, Some(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
        };
        let phases = Phases { connect: Some(0), ..Phases::default() };
        let outcome = Outcome { kind, status, error, phases, address: None, retry_after: None, answer_headers: None, answer_body: None };
        Answer { outcome, took: watch.elapsed() }
    }

    async fn write_slowly(&self, message: &Message) -> anyhow::Result<u16> {
        let host = self.url().host_str().context("the URL has no host")?;
        let port = self.url().port_or_known_default().context("the URL has no port")?;
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        stream.set_nodelay(true)?;
        if self.url().scheme() != "https" {
            return self.exchange_slowly(stream, message).await;
        }
        let name = rustls::pki_types::ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(&tls_config(&[]))).connect(name, stream).await?;
        self.exchange_slowly(stream, message).await
    }

    async fn exchange_slowly(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, message: &Message) -> anyhow::Result<u16> {
        let url = self.url();
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
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
        if answer.is_empty() {
            anyhow::bail!("the connection was closed before an answer");
        }
        let line = String::from_utf8_lossy(&answer);
        let status = line.split(' ').nth(1).and_then(|status| status.get(..3)?.parse().ok());
        status.with_context(|| format!("invalid HTTP: {:?}", line.lines().next().unwrap_or_default()))
    }
}

/// A value of `webhook-signature` made with any key.
pub(super) fn signature(key: &[u8], content: &str) -> String {
    let mac: Hmac<Sha256> = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
    format!("v1,{}", BASE64.encode(mac.chain_update(content).finalize().into_bytes()))
}

/// The same JSON with other separators, as `json.dumps` of Python writes it, say. It is compact.
pub(super) fn separated(compact: &str, comma: &str, colon: &str) -> String {
    let (mut out, mut is_text, mut is_escaped) = (String::with_capacity(compact.len() * 2), false, false);
    for c in compact.chars() {
        match c {
            ',' if !is_text => out.push_str(comma),
            ':' if !is_text => out.push_str(colon),
            _ => out.push(c),
        }
        (is_text, is_escaped) = (is_text ^ (c == '"' && !is_escaped), is_text && c == '\\' && !is_escaped);
    }
    out
}

/// The same JSON with its keys sorted.
pub(super) fn sorted(compact: &str) -> String {
    let mut value = crate::domain::json::parse(compact.as_bytes()).unwrap_or_default();
    value.sort_all_objects();
    value.to_string()
}

/// The same JSON, spelled as no encoder does: spaces and line breaks, and the first letter of each text, and its slashes, escaped.
fn respelled(compact: &str) -> String {
    let spaced = separated(compact, " ,\n  ", "  : ");
    let (mut out, mut is_text, mut is_escaped, mut is_first) = (String::with_capacity(spaced.len() * 2), false, false, false);
    for c in spaced.chars() {
        match c {
            '/' if is_text && !is_escaped => out.push_str("\\/"),
            _ if is_text && is_first && c.is_ascii_alphanumeric() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
        is_first = !is_text && c == '"';
        (is_text, is_escaped) = (is_text ^ (c == '"' && !is_escaped), is_text && c == '\\' && !is_escaped);
    }
    format!("{out}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPACT: &str = r#"{"type":"a/b","n":[1,2.50],"data":{"text":"\"x\": y, \\","empty":""}}"#;

    fn tried(profile: Profile) -> Tried {
        let mut settings = Settings::new("http://127.0.0.1:1/hook".parse().unwrap(), Secret::new("0123456789abcdef0123456789abcdef"));
        settings.profile = profile;
        Tried::new(settings).unwrap()
    }

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn other_spellings_mean_the_same() {
        let python = separated(COMPACT, ", ", ": ");
        assert_eq!(python, r#"{"type": "a/b", "n": [1, 2.50], "data": {"text": "\"x\": y, \\", "empty": ""}}"#);
        let respelled = respelled(COMPACT);
        assert!(respelled.contains("\\u0074ype") && respelled.contains("\\u0061\\/b"), "{respelled}");
        for text in [python, respelled, sorted(COMPACT)] {
            assert_eq!(read(&text), read(COMPACT));
            assert_ne!(text, COMPACT);
        }
    }

    #[test]
    fn an_unusual_spelling_is_signed_and_means_the_same() {
        let tried = tried(Profile::Standard);
        let event = tried.recharge(7);
        for with_numbers in [true, false] {
            let message = tried.spelled(&event, with_numbers);
            let header = |name: &str| message.headers()[name].to_str().unwrap();
            let (id, at, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
            assert!(standard::verify(tried.secret(), id, at, signature, message.body()));
            let mut body = read(&String::from_utf8_lossy(message.body()));
            let more = body["data"].as_object_mut().unwrap().remove("of_a_later_version");
            assert_eq!((more.is_some(), body), (with_numbers, read(&String::from_utf8_lossy(&standard::body(&event)))));
        }
    }

    #[test]
    fn an_unusual_spelling_is_encrypted_too() {
        let tried = tried(Profile::GlobalTopup);
        let event = tried.recharge(7);
        let message = tried.spelled(&event, true);
        let body = read(&String::from_utf8_lossy(message.body()));
        let plain = globaltopup::open(tried.secret(), body["data"].as_str().unwrap()).unwrap();
        assert_ne!(plain, globaltopup::payload(&event));
        assert_eq!(read(&String::from_utf8_lossy(&plain)), read(&String::from_utf8_lossy(&globaltopup::payload(&event))));
    }
}
