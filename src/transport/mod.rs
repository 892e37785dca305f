//! Outbound HTTP: one request to one endpoint, over kept-alive HTTP/1.1 connections.
//!
//! A [`Target`] is an endpoint's URL with the idle connections to it. [`Transport::send`] takes one of those or opens a
//! new one, and everything, from the name's resolution to the last byte read of the answer, happens under one timeout.
//! The [guard] judges the address that is dialled; the addresses of a name are [raced](race). Redirects are not followed. A
//! complete head is a result whatever happens to the body: no more of a body is read than `answer_read_max`, and one that is
//! longer, cut or endless is judged by its status and its connection closed. Answers are asked for without content coding and
//! never decoded.
//!
//! A connection is driven by the task that uses it, not by one of its own: an exchange costs no hop between tasks, and
//! an idle connection no task. A kept-alive connection that turns out to have been closed by the other side meanwhile
//! is replaced once, within the same attempt; the receiver knows a repetition by its `webhook-id`. A connection is replaced after a
//! minute, so that the name is resolved again however busy the endpoint is. Of the files and sockets
//! that the process may have open, connections that are kept take half at most, whatever the number of endpoints: the others
//! are for requests, in and out. Where there is no place left, a connection serves one request.
//!
//! What keeps this node from sending anything at all (it has no file descriptor left for a socket, the [proxy] is down)
//! is a [`Fault`], not an outcome: it says nothing about the endpoint.

mod connect;
mod exchange;
pub mod guard;
pub mod mail;
mod proxy;
mod race;
mod resolve;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use url::Url;

pub use connect::{allow_open_files, tls_config};
use exchange::Connection;
use guard::Guard;
pub use proxy::{NotAProxy, Proxy};
pub use resolve::{Resolve, SystemResolver};

use crate::clock::{Clock, Stopwatch};
use crate::domain::attempt::{Fault, Outcome, OutcomeKind, Phases};
use crate::domain::time::Timestamp;
use crate::limits;

/// How requests are made (settings of the same names).
#[derive(Debug, Clone)]
pub struct Limits {
    /// For everything, to the last byte read.
    pub attempt_timeout: Duration,
    /// For resolution, connect and TLS together.
    pub connect_timeout: Duration,
    /// Bytes of an answer's body that are read.
    pub answer_read_max: usize,
    /// Bytes of it that are kept.
    pub answer_kept: usize,
}

/// What a transport is made of.
pub struct Parts {
    /// Its bounds.
    pub limits: Limits,
    /// What judges addresses.
    pub guard: Guard,
    /// What requests go through; none, and they go straight to the endpoint.
    pub proxy: Option<Proxy>,
    /// Names to addresses.
    pub resolver: Arc<dyn Resolve>,
    /// TLS, as [`tls_config`] makes it.
    pub tls: Arc<rustls::ClientConfig>,
    /// For dates in `Retry-NextStep`.
    pub clock: Arc<dyn Clock>,
}

/// Makes requests.
pub struct Transport {
    limits: Limits,
    guard: Guard,
    proxy: Option<Proxy>,
    resolver: Arc<dyn Resolve>,
    tls: Arc<rustls::ClientConfig>,
    clock: Arc<dyn Clock>,
    /// For connections that are kept.
    places: Arc<Semaphore>,
}

/// An endpoint's URL, made ready, with the idle connections to it.
#[derive(Debug)]
pub struct Target {
    host: url::Host<String>,
    port: u16,
    is_https: bool,
    host_header: HeaderValue,
    path: Uri,
    idle: Mutex<Vec<(Stopwatch, Connection)>>,
}

/// A URL that no request can be made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have a host that a request can be sent to")]
pub struct NoTarget;

impl Target {
    /// Makes a URL ready.
    ///
    /// # Errors
    /// [`NoTarget`] if it has no host, or a path that HTTP cannot carry.
    pub fn new(url: &Url) -> Result<Self, NoTarget> {
        let host = url.host().ok_or(NoTarget)?.to_owned();
        let named = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self {
            port: url.port_or_known_default().ok_or(NoTarget)?,
            is_https: url.scheme() == "https",
            host_header: HeaderValue::from_str(&named).map_err(|_| NoTarget)?,
            path: path.parse().map_err(|_| NoTarget)?,
            host,
            idle: Mutex::default(),
        })
    }

    fn take_idle(&self) -> Option<Connection> {
        let (since, connection) = self.idle.lock().pop()?;
        is_fresh(since.elapsed(), connection.age()).then_some(connection)
    }

    fn keep(&self, connection: Connection) {
        self.idle.lock().push((Stopwatch::start(), connection));
    }

    /// Closes connections that have been idle or open for long.
    pub fn close_idle(&self) {
        self.idle.lock().retain(|(since, connection)| is_fresh(since.elapsed(), connection.age()));
    }
}

/// Whether a kept connection may be used again. An endpoint with steady traffic has no idle connections: without a bound on
/// their age, requests would go to the address that its name had once, for as long as something answers there.
fn is_fresh(idle: Duration, age: Duration) -> bool {
    idle < limits::CONNECTION_IDLE && age < limits::CONNECTION_AGE
}

/// What is seen on the way of a request.
#[derive(Debug, Default)]
struct Trace {
    phases: Phases,
    address: Option<IpAddr>,
    /// A forbidden address that the name led to, for the operator alone.
    refused: Option<IpAddr>,
    /// The request is on a connection, a new one or one that was kept.
    is_connected: bool,
    /// A connection to the proxy was opened.
    reached_proxy: AtomicBool,
    /// The answer, from the end of its head on.
    answer: Option<Answer>,
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// It is the endpoint's: this is what the attempt came to.
    Theirs(OutcomeKind, String),
    /// It is ours: there was no attempt.
    Ours(Fault),
}

impl Failure {
    fn new(kind: OutcomeKind, text: impl Into<String>) -> Self {
        Self::Theirs(kind, text.into())
    }
}

/// An answer, as far as it is kept.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
    /// Why the body is not complete, where it is not.
    broken: Option<String>,
}

impl Transport {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { limits, guard, proxy, resolver, tls, clock } = parts;
        let places = Arc::new(Semaphore::new(connect::open_files_max() / 2));
        Self { limits, guard, proxy, resolver, tls, clock, places }
    }

    /// One with other bounds that may reach every address: for what the operator names, never for an endpoint.
    pub fn unguarded(&self, limits: Limits) -> Self {
        let (resolver, tls, clock) = (Arc::clone(&self.resolver), Arc::clone(&self.tls), Arc::clone(&self.clock));
        Self { limits, guard: Guard::open(), proxy: None, resolver, tls, clock, places: Arc::clone(&self.places) }
    }

    /// One that reads and keeps more or less of answers, and is the same otherwise.
    pub fn reading(&self, answer_max: usize) -> Self {
        let limits = Limits { answer_read_max: answer_max, answer_kept: answer_max, ..self.limits.clone() };
        Self { guard: self.guard.clone(), proxy: self.proxy.clone(), ..self.unguarded(limits) }
    }

    /// The guard that judges addresses, for URLs that are given.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Sends the request that `write` writes (again, where a kept-alive connection turned out to be closed). It comes to an
    /// outcome whatever the endpoint does, within `attempt_timeout`.
    ///
    /// # Errors
    /// The [`Fault`] of our own for which nothing could be sent; it says nothing about the endpoint.
    pub async fn send(&self, target: &Target, write: impl Fn() -> http::Request<Bytes> + Send + Sync) -> Result<Outcome, Fault> {
        let total = Stopwatch::start();
        let mut trace = Trace::default();
        let exchanged = tokio::time::timeout(self.limits.attempt_timeout, self.exchange(target, &write, &mut trace)).await;
        trace.phases.total = total.micros();
        if let Some(mut answer) = trace.answer.take() {
            if exchanged.is_err() {
                answer.broken = Some(format!("the response body did not end within {} s", self.limits.attempt_timeout.as_secs_f64()));
            }
            return Ok(self.answered(answer, trace));
        }
        match exchanged.unwrap_or_else(|_| Err(self.too_late(&trace))).expect_err("what has no answer has failed") {
            Failure::Theirs(kind, text) => Ok(unanswered(kind, shortened(text), trace)),
            Failure::Ours(fault) => Err(Fault { text: shortened(fault.text), ..fault }),
        }
    }

    /// Opens a connection to a target, TLS included, and closes it.
    ///
    /// # Errors
    /// What stands in the way, for the operator: with the address where it is forbidden.
    pub async fn try_connecting(&self, target: &Target) -> Result<(), String> {
        let (limit, mut trace) = (self.limits.connect_timeout, Trace::default());
        let connected = tokio::time::timeout(limit, self.connect(target, &mut trace)).await;
        connected.unwrap_or_else(|_| Err(self.unconnected(&trace, limit))).map(drop).map_err(|failure| match (failure, trace.refused) {
            (Failure::Theirs(OutcomeKind::Refused, text), Some(address)) => shortened(format!("{address} {text}")),
            (Failure::Theirs(_, text) | Failure::Ours(Fault { text, .. }), _) => shortened(text),
        })
    }

    async fn exchange(
        &self,
        target: &Target,
        write: &(impl Fn() -> http::Request<Bytes> + Send + Sync),
        trace: &mut Trace,
    ) -> Result<(), Failure> {
        if let Some(mut connection) = target.take_idle() {
            trace.is_connected = true;
            match connection.exchange(addressed(write(), target), &self.limits, trace).await {
                Ok(reusable) => {
                    self.finish(target, connection, reusable);
                    return Ok(());
                }
                // The other side closed it while it was idle, before it answered anything: a new one, once.
                Err(exchange::Broken::Stale) => {}
                Err(exchange::Broken::Failed(failure)) => return Err(failure),
            }
            trace.is_connected = false;
            trace.phases.first_byte = None;
        }
        let limit = self.limits.connect_timeout;
        let connecting = tokio::time::timeout(limit, self.connect(target, trace)).await;
        let stream = connecting.map_err(|_| self.unconnected(trace, limit))??;
        let mut connection = Connection::open(stream).await?;
        trace.is_connected = true;
        match connection.exchange(addressed(write(), target), &self.limits, trace).await {
            Ok(reusable) => {
                self.finish(target, connection, reusable);
                Ok(())
            }
            Err(exchange::Broken::Stale) => Err(Failure::new(OutcomeKind::Unreachable, "the connection was closed before an answer")),
            Err(exchange::Broken::Failed(failure)) => Err(failure),
        }
    }

    fn finish(&self, target: &Target, mut connection: Connection, reusable: bool) {
        if reusable && connection.takes_place(&self.places) {
            target.keep(connection);
        }
    }

    /// `attempt_timeout` has passed.
    fn too_late(&self, trace: &Trace) -> Failure {
        let limit = self.limits.attempt_timeout;
        if !trace.is_connected {
            return self.unconnected(trace, limit);
        }
        Failure::new(OutcomeKind::TimedOut, format!("no answer within {} s", limit.as_secs_f64()))
    }

    /// The time for a connection has passed.
    fn unconnected(&self, trace: &Trace, limit: Duration) -> Failure {
        let seconds = limit.as_secs_f64();
        let is_reaching = trace.address.is_some() && !trace.reached_proxy.load(Ordering::Relaxed);
        match self.proxy.as_ref().filter(|_| is_reaching) {
            Some(proxy) => proxy.late(seconds),
            None => Failure::new(OutcomeKind::TimedOut, format!("no connection within {seconds} s")),
        }
    }

    fn answered(&self, answer: Answer, trace: Trace) -> Outcome {
        let retry_after = answer.headers.get(http::header::RETRY_AFTER).and_then(|value| retry_after(value, self.clock.now()));
        let succeeded = (200..300).contains(&answer.status);
        let redirects = (300..400).contains(&answer.status).then(|| "redirects are not followed".to_owned());
        Outcome {
            kind: if succeeded { OutcomeKind::Succeeded } else { OutcomeKind::Rejected },
            status: Some(answer.status),
            error: redirects.or(answer.broken).map(shortened),
            phases: trace.phases,
            address: trace.address,
            retry_after,
            answer_headers: Some(header_lines(&answer.headers)),
            answer_body: Some(answer.body),
        }
    }
}

/// Reads `Retry-NextStep`: seconds, or a date of HTTP (RFC 9110 section 10.2.3). Anything else, and the past, asks for nothing.
pub fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a number holds asks for longer than any deadline all the same.
        return Some(Duration::from_secs(text.parse::<u32>().unwrap_or(u32::MAX).into()));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(u64::try_from(now.as_millis()).ok()?);
    at.checked_sub(now)
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::ERROR_TEXT_MAX));
    text
}

fn unanswered(kind: OutcomeKind, text: String, Trace { phases, address, .. }: Trace) -> Outcome {
    Outcome { kind, status: None, error: Some(text), phases, address, retry_after: None, answer_headers: None, answer_body: None }
}

fn header_lines(headers: &http::HeaderMap) -> String {
    let mut lines = String::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        if lines.len() + name.as_str().len() + value.len() + 3 > limits::ANSWER_HEADERS_KEPT {
            break;
        }
        lines.extend([name.as_str(), ": ", &value, "\n"]);
    }
    lines
}

fn addressed(message: http::Request<Bytes>, target: &Target) -> http::Request<http_body_util::Full<Bytes>> {
    let mut request = message.map(http_body_util::Full::new);
    *request.uri_mut() = target.path.clone();
    request.headers_mut().insert(http::header::HOST, target.host_header.clone());
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_used_again_until_it_is_idle_or_old() {
        let (idle, age, moment) = (limits::CONNECTION_IDLE, limits::CONNECTION_AGE, Duration::from_millis(1));
        assert!(is_fresh(idle - moment, age - moment));
        assert!(!is_fresh(idle, age - moment), "idle for long");
        assert!(!is_fresh(Duration::ZERO, age), "busy, and open for long");
    }
}
