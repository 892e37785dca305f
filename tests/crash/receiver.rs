//! Endpoints inside this process, which verify, remember, and misbehave as they are told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ringback::clock::Stopwatch;
use ringback::domain::secret::Secret;
use ringback::wire::standard;
use serde_json::Value;

/// How often a mailbox misbehaves, in per mille of its requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moods {
    /// It answers 500.
    pub failing: u32,
    /// It takes up to 300 ms.
    pub slow: u32,
}

/// What came under one `webhook-id`.
#[derive(Debug)]
pub struct Got {
    /// The first body.
    pub body: Bytes,
    /// Requests that verified.
    pub requests: u64,
    /// Those that were answered with 204.
    pub accepted: u64,
    /// Those whose body was not the first one's.
    pub differing: u64,
}

impl Got {
    /// Whether it is a handshake rather than an event of the feed.
    pub fn is_test(&self) -> bool {
        serde_json::from_slice::<Value>(&self.body).is_ok_and(|body| body["type"] == "webhook.test")
    }
}

/// What one endpoint got.
#[derive(Debug)]
pub struct Mailbox {
    secret: Secret,
    public_key: Option<VerifyingKey>,
    moods: Moods,
    chance: StdRng,
    /// By `webhook-id`.
    pub got: HashMap<String, Got>,
    /// Ids in the order in which they were first answered with 204.
    pub accepted: Vec<String>,
    /// Requests that did not verify.
    pub wrong: Vec<String>,
    /// When requests came, from the beginning of the test on.
    pub times: Vec<Duration>,
}

/// All mailboxes, by the last part of their path.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Stopwatch,
    mailboxes: Mutex<HashMap<String, Mailbox>>,
    requests: AtomicU64,
    under_way: AtomicU64,
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let (requests, under_way) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { began: Stopwatch::start(), mailboxes: Mutex::default(), requests, under_way });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().route("/{name}", axum::routing::post(receive)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// Opens a mailbox; answers its URL.
    pub fn open(&self, name: &str, secret: Secret, moods: Moods, seed: u64) -> String {
        let chance = StdRng::seed_from_u64(seed);
        let mailbox = Mailbox {
            secret,
            public_key: None,
            moods,
            chance,
            got: HashMap::new(),
            accepted: Vec::new(),
            wrong: Vec::new(),
            times: Vec::new(),
        };
        self.shared.mailboxes.lock().insert(name.to_owned(), mailbox);
        format!("http://{}/{name}", self.address)
    }

    /// From now on every request of this mailbox must have a `v1a` signature of this key (`whpk_…`), too.
    pub fn require_ed25519(&self, name: &str, public_key: &str) {
        let bytes = BASE64.decode(public_key.strip_prefix(standard::PUBLIC_KEY_PREFIX).expect("it begins with whpk_")).expect("base64");
        let key = VerifyingKey::from_bytes(&bytes.try_into().expect("32 bytes")).expect("a key");
        self.shared.mailboxes.lock().get_mut(name).expect("it is open").public_key = Some(key);
    }

    /// Requests that came so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Requests that are not answered yet.
    pub fn under_way(&self) -> u64 {
        self.shared.under_way.load(Ordering::SeqCst)
    }

    /// Ids that a mailbox has accepted.
    pub fn accepted(&self, name: &str) -> usize {
        self.look(name, |mailbox| mailbox.accepted.len())
    }

    /// Looks into a mailbox.
    pub fn look<T>(&self, name: &str, look: impl FnOnce(&Mailbox) -> T) -> T {
        look(&self.shared.mailboxes.lock()[name])
    }
}

/// Counts a request for as long as it is handled; also one that is given up because its sender is gone.
struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn receive(State(shared): State<Arc<Shared>>, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> StatusCode {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    shared.under_way.fetch_add(1, Ordering::SeqCst);
    let _under_way = UnderWay(Arc::clone(&shared));
    let mood = {
        let mut mailboxes = shared.mailboxes.lock();
        let Some(mailbox) = mailboxes.get_mut(&name) else { return StatusCode::NOT_FOUND };
        if let Err(problem) = mailbox.verify(&headers, &body) {
            mailbox.wrong.push(format!("{problem}: {headers:?} {}", String::from_utf8_lossy(&body)));
            return StatusCode::BAD_REQUEST;
        }
        mailbox.times.push(shared.began.elapsed());
        mailbox.note(&headers, body);
        mailbox.mood()
    };
    tokio::time::sleep(mood.delay).await;
    if mood.fails {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    shared.mailboxes.lock().get_mut(&name).expect("mailboxes stay").accept(header(&headers, "webhook-id"));
    StatusCode::NO_CONTENT
}

struct Mood {
    delay: Duration,
    fails: bool,
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Mailbox {
    fn verify(&self, headers: &HeaderMap, body: &Bytes) -> Result<(), &'static str> {
        let (id, timestamp, signature) =
            (header(headers, "webhook-id"), header(headers, "webhook-timestamp"), header(headers, "webhook-signature"));
        if !standard::verify(&self.secret, id, timestamp, signature, body) {
            return Err("no v1 signature is right");
        }
        if let Some(key) = &self.public_key {
            let given = signature.split(' ').find_map(|part| part.strip_prefix("v1a,")).ok_or("there is no v1a signature")?;
            let given = BASE64.decode(given).ok().and_then(|bytes| Signature::from_slice(&bytes).ok()).ok_or("v1a is malformed")?;
            let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
            key.verify(&signed, &given).map_err(|_| "the v1a signature is wrong")?;
        }
        let parsed: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON")?;
        let numbered = parsed["type"] != "webhook.test";
        let told = header(headers, "ringback-sequence");
        // Events of the platform's own have their number beside their type.
        let number = [&parsed["data"]["sequence"], &parsed["sequence"]].into_iter().find_map(Value::as_i64);
        let told_right = !numbered || number == told.parse().ok();
        if told_right { Ok(()) } else { Err("ringback-sequence is not the body's") }
    }

    fn note(&mut self, headers: &HeaderMap, body: Bytes) {
        let first = body.clone();
        let fresh = || Got { body: first, requests: 0, accepted: 0, differing: 0 };
        let got = self.got.entry(header(headers, "webhook-id").to_owned()).or_insert_with(fresh);
        got.requests += 1;
        got.differing += u64::from(got.body != body);
    }

    fn mood(&mut self) -> Mood {
        let (fails, slow) = (self.chance.random_range(0..1000) < self.moods.failing, self.chance.random_range(0..1000) < self.moods.slow);
        let delay = if slow { self.chance.random_range(20..300) } else { 0 };
        Mood { delay: Duration::from_millis(delay), fails }
    }

    fn accept(&mut self, id: &str) {
        let got = self.got.get_mut(id).expect("it was noted");
        got.accepted += 1;
        if got.accepted == 1 {
            self.accepted.push(id.to_owned());
        }
    }
}
