//! An HTTP proxy that opens tunnels, or does not, as it is told.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a proxy does with a CONNECT.
#[derive(Debug, Clone, Copy)]
pub enum Mood {
    /// A tunnel; 502 if the target cannot be reached.
    Works,
    /// This answer, and nothing else.
    Says(&'static str),
    /// The connection is closed.
    Closes,
    /// Nothing.
    Hangs,
}

type Script = Box<dyn Fn(&str) -> Mood + Send>;

struct Shared {
    script: Mutex<Script>,
    asked: Mutex<Vec<String>>,
}

/// The proxy. When it is dropped, nothing listens on its port.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { script: Mutex::new(Box::new(|_| Mood::Works)), asked: Mutex::default() });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// For the setting `proxy`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it does this.
    pub fn always(&self, mood: Mood) {
        self.script(move |_| mood);
    }

    /// From now on it does as `script` says, for the target asked for.
    pub fn script(&self, script: impl Fn(&str) -> Mood + Send + 'static) {
        *self.shared.script.lock() = Box::new(script);
    }

    /// The heads of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().clone()
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.shared.asked.lock().len()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut tunnels = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tunnels.spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("the head is text");
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).expect("a CONNECT").to_owned();
    let mood = (shared.script.lock())(&target);
    shared.asked.lock().push(head);
    match mood {
        Mood::Works => tunnel(stream, &target).await,
        Mood::Says(answer) => {
            // Whether anybody reads it to its end is not the proxy's affair.
            drop(stream.write_all(answer.as_bytes()).await);
        }
        Mood::Closes => {}
        Mood::Hangs => drop(stream.read_u8().await),
    }
}

async fn tunnel(mut stream: TcpStream, target: &str) {
    let Ok(mut there) = TcpStream::connect(target).await else {
        drop(stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await);
        return;
    };
    stream.set_nodelay(true).expect("a socket");
    // In two pieces, so that nobody can count on getting it whole.
    for piece in ["HTTP/1.1 200 Connection esta", "blished\r\nvia: 1.1 proxy\r\n\r\n"] {
        drop(stream.write_all(piece.as_bytes()).await);
        tokio::task::yield_now().await;
    }
    drop(copy_bidirectional(&mut stream, &mut there).await);
}
