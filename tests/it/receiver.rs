//! A vendor's receiver that answers as it is told and remembers what it got.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ringback::clock::Stopwatch;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client::find;

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A whole answer, after a while.
    Reply { status: u16, headers: Vec<(String, String)>, body: Vec<u8>, delay: Duration },
    /// 200, once the gate has a permit.
    Gate(Arc<Semaphore>),
    /// This status and body, once the gate has a permit.
    GateThen(Arc<Semaphore>, u16, String),
    /// 200, and then the connection is closed without a word about it.
    ThenClose,
    /// A beginning, and then the same again and again, as often as this.
    Endless { head: &'static [u8], piece: &'static [u8], every: Duration },
    /// Nothing, while the connection stays open.
    Stall,
    /// The connection is reset.
    Reset,
    /// The connection is closed without an answer.
    Hangup,
    /// These bytes, and the connection stays open.
    RawKept(&'static [u8]),
    /// These bytes, and the connection is closed.
    Raw(&'static [u8]),
}

impl Answer {
    /// 200, and then a byte of an endless body now and then.
    pub const DRIP: Self = Self::Endless {
        head: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        piece: b"1\r\nx\r\n",
        every: Duration::from_millis(20),
    };

    pub fn status(status: u16) -> Self {
        Self::Reply { status, headers: Vec::new(), body: Vec::new(), delay: Duration::ZERO }
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Reply { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub fn with_body(mut self, with: impl Into<Vec<u8>>) -> Self {
        if let Self::Reply { body, .. } = &mut self {
            *body = with.into();
        }
        self
    }

    pub fn after(mut self, wait: Duration) -> Self {
        if let Self::Reply { delay, .. } = &mut self {
            *delay = wait;
        }
        self
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection it came on, counted from 1.
    pub connection: usize,
    /// When it came.
    pub at: Stopwatch,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        find(&self.headers, name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    /// The event's id.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The recharge's reference, from a body of the profile `standard`.
    pub fn reference(&self) -> String {
        self.json()["data"]["reference_no"].as_str().expect("a reference").to_owned()
    }
}

type Script = Box<dyn Fn(&Received) -> Answer + Send>;

struct Shared {
    script: Mutex<Script>,
    queue: Mutex<VecDeque<Answer>>,
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

/// The receiver. It answers 200 until it is told something else.
pub struct Receiver {
    pub address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub async fn start() -> Self {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), None).await
    }

    /// One on an address of this machine.
    pub async fn at(address: SocketAddr) -> Self {
        Self::listen(address, None).await
    }

    pub async fn start_tls(config: rustls::ServerConfig) -> Self {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), Some(config)).await
    }

    /// One on another address of this machine, on the same port.
    pub async fn beside(&self, address: &str, config: Option<rustls::ServerConfig>) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        Self::listen((address, self.address.port()).into(), config).await
    }

    async fn listen(address: SocketAddr, tls: Option<rustls::ServerConfig>) -> Self {
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(|_| Answer::status(200))),
            queue: Mutex::default(),
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Self { address, scheme, shared, task }
    }

    pub fn url(&self) -> String {
        format!("{}://{}/hook", self.scheme, self.address)
    }

    /// The same under a name.
    pub fn url_as(&self, name: &str) -> String {
        format!("{}://{name}:{}/hook", self.scheme, self.address.port())
    }

    /// From now on every request is answered like this.
    pub fn always(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// From now on requests are answered as `script` says.
    pub fn script(&self, script: impl Fn(&Received) -> Answer + Send + 'static) {
        *self.shared.script.lock() = Box::new(script);
    }

    /// The next requests are answered like this, before the script is asked again.
    pub fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.queue.lock().extend(answers);
    }

    /// All that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.received.lock().len()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests that are being answered.
    pub fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::SeqCst)
    }

    /// Most requests that were being answered at once.
    pub fn most_under_way(&self) -> usize {
        self.shared.most_under_way.load(Ordering::SeqCst)
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        self.shared.received.lock().clear();
        self.shared.most_under_way.store(0, Ordering::SeqCst);
    }

    /// Waits until this many requests have come, and answers with all of them.
    pub async fn wait(&self, count: usize) -> Vec<Received> {
        super::harness::until(&format!("{count} requests"), || async { (self.count() >= count).then(|| self.received()) }).await
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Io for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Io for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let stream: Box<dyn Io> = match tls {
                None => Box::new(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => return,
                },
            };
            serve(stream, number, shared).await;
        });
    }
}

async fn serve(mut stream: Box<dyn Io>, connection: usize, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, connection).await {
        let queued = shared.queue.lock().pop_front();
        let answer = queued.unwrap_or_else(|| (shared.script.lock())(&request));
        let under_way = shared.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        shared.received.lock().push(request);
        let goes_on = answer_with(&mut stream, answer, &shared).await;
        if !goes_on {
            return;
        }
    }
}

async fn read_request(stream: &mut Box<dyn Io>, buffer: &mut Vec<u8>, connection: usize) -> Option<Received> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).expect("the head is text");
            let mut lines = head.lines();
            let mut first = lines.next()?.split(' ');
            let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
            let headers: Vec<_> =
                lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
            let length: usize = find(&headers, "content-length").map_or(0, |length| length.parse().expect("a length"));
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some(Received { method, path, headers, body, connection, at: Stopwatch::start() });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Answers; `false` if the connection is closed then.
async fn answer_with(stream: &mut Box<dyn Io>, answer: Answer, shared: &Shared) -> bool {
    let done = || shared.under_way.fetch_sub(1, Ordering::SeqCst);
    let plain = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}".as_slice();
    match answer {
        Answer::Reply { status, headers, body, delay } => {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            done();
            let mut head = format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\n", body.len());
            headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
            write(stream, &[head.as_bytes(), b"\r\n", &body].concat()).await
        }
        Answer::Gate(gate) => {
            gate.acquire().await.expect("the gate stays open").forget();
            done();
            write(stream, plain).await
        }
        Answer::GateThen(gate, status, body) => {
            gate.acquire().await.expect("the gate stays open").forget();
            done();
            write(stream, format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await
        }
        Answer::ThenClose => {
            done();
            write(stream, plain).await;
            false
        }
        Answer::Endless { head, piece, every } => {
            write(stream, head).await;
            while write(stream, piece).await {
                // A timer's shortest wait is a millisecond.
                if every.is_zero() { tokio::task::yield_now().await } else { tokio::time::sleep(every).await }
            }
            done();
            false
        }
        Answer::Stall => {
            // The other side goes away first.
            drop(stream.read_u8().await);
            done();
            false
        }
        Answer::Reset => {
            done();
            stream.socket().set_zero_linger().expect("a socket has a linger time");
            false
        }
        Answer::Hangup => {
            done();
            false
        }
        Answer::RawKept(bytes) => {
            done();
            write(stream, bytes).await
        }
        Answer::Raw(bytes) => {
            done();
            write(stream, bytes).await;
            false
        }
    }
}

async fn write(stream: &mut Box<dyn Io>, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
}
