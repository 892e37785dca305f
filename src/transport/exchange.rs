//! One request and its answer on one connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::Stream;
use super::{Answer, Failure, Limits, Trace};
use crate::clock::Stopwatch;
use crate::domain::attempt::OutcomeKind;
use crate::limits;

type Driver = http1::Connection<TokioIo<Metered>, Full<Bytes>>;

/// A kept-alive connection: hyper's two halves, driven together by whoever uses it.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Pin<Box<Driver>>>,
    heads: Arc<Allowance>,
    opened: Stopwatch,
    /// Its place among those that are kept, from the first time on that it is.
    place: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Why an exchange has no answer.
pub(super) enum Broken {
    /// The connection was closed before the answer began.
    Stale,
    /// It failed in its course.
    Failed(Failure),
}

impl Connection {
    pub async fn open(stream: Box<dyn Stream>) -> Result<Self, Failure> {
        let mut builder = http1::Builder::new();
        // What RFC 9112 lets a client accept: whitespace before a colon (section 5.1) and folded lines (section 5.2).
        builder.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
        // A line that is no header, such as a warning that an interpreter printed into the head, is passed over.
        builder.ignore_invalid_headers_in_responses(true);
        builder.max_headers(limits::ANSWER_HEADERS_MAX);
        let heads = Arc::new(Allowance::default());
        let stream = TokioIo::new(Metered { stream, heads: Arc::clone(&heads) });
        let opened = builder.max_buf_size(limits::ANSWER_HEAD_MAX).handshake(stream).await;
        let (sender, driver) = opened.map_err(|error| unreachable(&error))?;
        Ok(Self { sender, driver: Some(Box::pin(driver)), heads, opened: Stopwatch::start(), place: None })
    }

    /// Time since it was opened.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Takes one of the `places` of connections that are kept, if it has none; answers whether it has one now.
    pub fn takes_place(&mut self, places: &Arc<Semaphore>) -> bool {
        if self.place.is_none() {
            self.place = Arc::clone(places).try_acquire_owned().ok();
        }
        self.place.is_some()
    }

    /// Sends `request` and reads the answer into `trace`, up to its bound. Returns whether the connection can be used again.
    ///
    /// The answer is in `trace` as soon as its head is complete: the status is a result whatever happens to the body, which may
    /// be cut, malformed or endless.
    pub async fn exchange(&mut self, request: Request<Full<Bytes>>, limits: &Limits, trace: &mut Trace) -> Result<bool, Broken> {
        let Self { sender, driver, heads, .. } = self;
        if drive(driver, sender.ready()).await.is_err() {
            return Err(Broken::Stale);
        }
        let watch = Stopwatch::start();
        heads.grant(limits::ANSWER_HEAD_MAX);
        let answered = {
            let mut answering = pin!(drive(driver, sender.try_send_request(request)));
            let within = poll_fn(|context| match answering.as_mut().poll(context) {
                Poll::Pending if heads.is_spent.load(Ordering::Relaxed) => Poll::Ready(None),
                polled => polled.map(Some),
            });
            within.await.ok_or_else(|| Broken::Failed(too_long()))?
        };
        heads.grant(usize::MAX);
        trace.phases.first_byte = Some(watch.micros());
        let response = match answered {
            Ok(response) => response,
            Err(error) if error.message().is_some() || closed_without_answer(error.error()) => return Err(Broken::Stale),
            Err(error) => return Err(Broken::Failed(unreachable(error.error()))),
        };
        let (head, body) = response.into_parts();
        let is_switching = head.status == http::StatusCode::SWITCHING_PROTOCOLS;
        let length = length_beside_identity(&head.headers);
        let answer = Answer { status: head.status.as_u16(), headers: head.headers, body: Vec::new(), broken: None };
        let answer = trace.answer.insert(answer);
        let whole = match drive(driver, read(body, limits, length, &mut answer.body)).await {
            Ok(whole) => whole,
            Err(error) => {
                answer.broken = Some(format!("the response body is incomplete: {}", with_causes(&error)));
                false
            }
        };
        Ok(whole && driver.is_some() && !is_switching)
    }
}

fn too_long() -> Failure {
    let text = format!("invalid HTTP: the heads of the answer are longer than {} bytes", limits::ANSWER_HEAD_MAX);
    Failure::new(OutcomeKind::Unreachable, text)
}

/// Bytes that may be read before an answer's final head is complete. hyper bounds a single head, but reads any number of interim
/// ones (1xx).
#[derive(Default)]
struct Allowance {
    left: AtomicUsize,
    /// More was asked for than was granted.
    is_spent: AtomicBool,
}

impl Allowance {
    fn grant(&self, bytes: usize) {
        self.left.store(bytes, Ordering::Relaxed);
        self.is_spent.store(false, Ordering::Relaxed);
    }
}

/// A stream that gives no more than its allowance. TLS that ends without `close_notify` ends like TCP does: whether a body is
/// complete is for its framing to say, and many servers never send the alert.
struct Metered {
    stream: Box<dyn Stream>,
    heads: Arc<Allowance>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.heads.left.load(Ordering::Relaxed);
        if left == usize::MAX {
            return Poll::Ready(ended(ready!(Pin::new(&mut self.stream).poll_read(context, buffer))));
        }
        if left == 0 {
            // No waker is needed: the task that polls this checks the flag next.
            self.heads.is_spent.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        let room = left.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ended(ready!(Pin::new(&mut self.stream).poll_read(context, &mut part)))?;
        let read = part.filled().len();
        buffer.advance(read);
        self.heads.left.store(left - read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

fn ended(read: io::Result<()>) -> io::Result<()> {
    read.or_else(|error| if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) })
}

/// Whether the other side closed the connection before it sent a byte of an answer.
fn closed_without_answer(error: &hyper::Error) -> bool {
    let reset = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    let gone = |error: &std::io::Error| matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe);
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || reset.is_some_and(gone)
}

fn with_causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn unreachable(error: &hyper::Error) -> Failure {
    let text = with_causes(error);
    let text = if error.is_parse() { format!("invalid HTTP: {text}") } else { text };
    Failure::new(OutcomeKind::Unreachable, text)
}

/// Length of a body that is sent with the transfer coding `identity`. HTTP/1.1 once had this name for no coding at all (RFC 2616,
/// section 3.6). hyper reads such a body until the connection ends, which the receiver may keep open.
fn length_beside_identity(headers: &HeaderMap) -> Option<usize> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_identity = codings.next()?.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity") && codings.next().is_none();
    headers.get(CONTENT_LENGTH).filter(|_| is_identity)?.to_str().ok()?.trim().parse().ok()
}

/// Reads a body up to `answer_read_max`, keeps its beginning, and returns whether that was all of it and the connection can
/// be used again. A body with a `known` length is read to that, and its connection is not used again.
async fn read(mut body: Incoming, limits: &Limits, known: Option<usize>, kept: &mut Vec<u8>) -> Result<bool, hyper::Error> {
    let mut length = 0;
    while known.is_none_or(|known| length < known) {
        let Some(frame) = body.frame().await else { return Ok(true) };
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        let room = limits.answer_kept - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if length > limits.answer_read_max {
            break;
        }
    }
    Ok(false)
}

/// Runs `work` while driving the connection that it waits for. A driver that has ended is dropped, and `work` then
/// ends by itself.
async fn drive<T>(driver: &mut Option<Pin<Box<Driver>>>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if let Some(connection) = driver
            && connection.as_mut().poll(context).is_ready()
        {
            *driver = None;
        }
        work.as_mut().poll(context)
    })
    .await
}
