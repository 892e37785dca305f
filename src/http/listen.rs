//! Serving connections, with bounds on what a stranger can hold.
//!
//! hyper speaks HTTP/1.1; this module decides how long a connection may live and how many there are. Each connection
//! is in one of three phases. *Head*: it was just opened, or a request has begun. *Request*: a handler has the request. *Idle*: it
//! is kept alive without a request. A head and an idle time have a limit, and so has the time for which a peer does not read
//! what is sent to it. A request as such has none (streams and waiting feeds last long), but its body has one.
//!
//! Where the bound of connections is reached, the one that has been without a request for longest makes room: callers with
//! requests are served as long as others only hold connections. Connections of trusted proxies count in total only, and are
//! not closed to make room.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::clock::Stopwatch;
use crate::limits;
use crate::ops::client_network;

/// Bounds of a listener (settings of the same names).
#[derive(Debug, Clone)]
pub struct Bounds {
    /// From a connection's beginning, or a request's first byte, to the end of its head.
    pub header_timeout: Duration,
    /// For the body of a request.
    pub body_timeout: Duration,
    /// Without a request, or with an answer that the caller does not read.
    pub idle_timeout: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// Of them from one address, or one /64 of IPv6.
    pub max_connections_per_address: usize,
    /// Proxies, whose connections are those of many callers.
    pub trusted_proxies: Arc<[IpNet]>,
}

/// Serves on a listener until `stopped` says so, and then what is under way.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, mut stopped: watch::Receiver<()>) {
    let connections = Arc::new(Connections { bounds, open: Mutex::default() });
    let (mut tasks, mut look) = (JoinSet::new(), tokio::time::interval(limits::CONNECTIONS_LOOKED_AT));
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => break,
            _ = look.tick() => {
                connections.close_overdue();
                while tasks.try_join_next().is_some() {}
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(place) = connections.admit(peer.ip()) {
                    tasks.spawn(converse(stream, peer, place, router.clone(), stopped.clone()));
                } else {
                    // It fits into the empty buffer of a new connection, so that nothing waits for the peer.
                    drop(stream.try_write(REFUSED));
                }
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::error!(%error, "failed to accept a connection; retrying");
                tokio::time::sleep(limits::ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    loop {
        tokio::select! {
            joined = tasks.join_next() => if joined.is_none() { return },
            _ = look.tick() => connections.close_overdue(),
        }
    }
}

const REFUSED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n";

fn is_the_peers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn converse(stream: TcpStream, peer: SocketAddr, place: Place, router: Router, mut stopped: watch::Receiver<()>) {
    drop(stream.set_nodelay(true));
    let (activity, body_timeout) = (Arc::clone(&place.activity), place.connections.bounds.body_timeout);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        activity.enter(Phase::Request);
        let under_way = UnderWay(Arc::clone(&activity));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.call(request.map(|body| in_time(body, body_timeout)));
        async move { Ok::<_, std::convert::Infallible>(answer.await?.map(|body| Tracked { body, _under_way: under_way })) }
    });
    let stream = TokioIo::new(Watched { stream, activity: Arc::clone(&activity) });
    let mut connection = pin!(http1::Builder::new().max_buf_size(limits::REQUEST_HEAD_MAX).serve_connection(stream, service));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // A peer that goes away, or does not speak HTTP, is its own affair.
            _ = connection.as_mut() => return,
            () = activity.close.notified() => return,
            _ = stopped.changed(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

// --- Phases ------------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Request,
    Idle,
}

/// What a connection is doing.
struct Activity {
    network: IpAddr,
    is_proxy: bool,
    now: Mutex<(Phase, Stopwatch)>,
    /// Since when the peer has not read what is sent to it.
    unread: Mutex<Option<Stopwatch>>,
    close: Notify,
}

impl Activity {
    fn enter(&self, phase: Phase) {
        *self.now.lock() = (phase, Stopwatch::start());
    }

    /// A byte has arrived.
    fn heard(&self) {
        let mut now = self.now.lock();
        if now.0 == Phase::Idle {
            *now = (Phase::Head, Stopwatch::start());
        }
    }

    fn is_overdue(&self, bounds: &Bounds) -> bool {
        let (phase, since) = *self.now.lock();
        let is_late = match phase {
            Phase::Head => since.elapsed() > bounds.header_timeout,
            Phase::Idle => since.elapsed() > bounds.idle_timeout,
            Phase::Request => false,
        };
        is_late || self.unread.lock().is_some_and(|since| since.elapsed() > bounds.idle_timeout)
    }

    /// How long the connection has been without a request.
    fn unused(&self) -> Option<Duration> {
        let (phase, since) = *self.now.lock();
        (phase != Phase::Request && !self.is_proxy).then(|| since.elapsed())
    }
}

/// A request, until its answer has been written, or dropped.
struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

// --- The bound ---------------------------------------------------------------------------------------------------------

struct Connections {
    bounds: Bounds,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    all: HashMap<u64, Arc<Activity>>,
    by_network: HashMap<IpAddr, usize>,
}

/// A connection's place among those that are open.
struct Place {
    connections: Arc<Connections>,
    number: u64,
    activity: Arc<Activity>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.lock().remove(self.number);
    }
}

impl Open {
    fn remove(&mut self, number: u64) {
        let Some(activity) = self.all.remove(&number) else { return };
        if let Some(count) = self.by_network.get_mut(&activity.network) {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&activity.network);
            }
        }
    }

    /// Closes the connection that has been without a request for longest; answers whether there was one.
    fn make_room(&mut self, among: impl Fn(&Activity) -> bool) -> bool {
        let unused = self.all.iter().filter(|(_, activity)| among(activity));
        let longest = unused.filter_map(|(number, activity)| Some((activity.unused()?, *number))).max();
        let Some((_, number)) = longest else { return false };
        self.all[&number].close.notify_one();
        self.remove(number);
        true
    }
}

impl Connections {
    /// A place for a connection from this address; none if all are taken by requests.
    fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let Bounds { max_connections, max_connections_per_address, trusted_proxies, .. } = &self.bounds;
        let (network, peer) = (client_network(peer), peer.to_canonical());
        let is_proxy = trusted_proxies.iter().any(|trusted| trusted.contains(&peer));
        let mut open = self.open.lock();
        let from_there = open.by_network.get(&network).copied().unwrap_or_default();
        let is_full = |count: usize, most: usize| count >= most;
        if !is_proxy && is_full(from_there, *max_connections_per_address) && !open.make_room(|activity| activity.network == network) {
            return None;
        }
        if is_full(open.all.len(), *max_connections) && !open.make_room(|_| true) {
            return None;
        }
        let now = Mutex::new((Phase::Head, Stopwatch::start()));
        let activity = Arc::new(Activity { network, is_proxy, now, unread: Mutex::default(), close: Notify::new() });
        let number = open.next;
        open.next += 1;
        open.all.insert(number, Arc::clone(&activity));
        *open.by_network.entry(network).or_default() += 1;
        Some(Place { connections: Arc::clone(self), number, activity })
    }

    fn close_overdue(&self) {
        for activity in self.open.lock().all.values().filter(|activity| activity.is_overdue(&self.bounds)) {
            activity.close.notify_one();
        }
    }
}

// --- Streams and bodies ------------------------------------------------------------------------------------------------

/// A stream that notes what happens on it.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Watched {
    fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        let mut unread = self.activity.unread.lock();
        if polled.is_ready() {
            *unread = None;
        } else if unread.is_none() {
            *unread = Some(Stopwatch::start());
        }
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A body that did not arrive in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body did not arrive in time")]
pub(super) struct BodyLate;

impl BodyLate {
    /// Whether another error was made of this one.
    pub fn is_behind(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Self>())
    }
}

fn in_time(body: Incoming, limit: Duration) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(InTime { body, late: Box::pin(tokio::time::sleep(limit)) })
}

/// A request's body under a time limit.
struct InTime {
    body: Incoming,
    late: Pin<Box<Sleep>>,
}

impl hyper::body::Body for InTime {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        ready!(self.late.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new(BodyLate))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, with which its request ends.
struct Tracked {
    body: Body,
    _under_way: UnderWay,
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
