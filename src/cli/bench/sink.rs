//! The receiver of all loads, a process of its own: it answers at once and keeps, for each group of endpoints, how long
//! what arrived was on its way. A group may be told to be in a bad mood.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Map, json};
use tokio::net::TcpListener;

use super::monotonic_micros;

/// How a group of endpoints answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// After a second.
    Slow,
    /// Never.
    Silent,
    /// With 503.
    Failing,
    /// By closing the connection.
    Closing,
}

impl Mood {
    const ALL: [Self; 5] = [Self::Well, Self::Slow, Self::Silent, Self::Failing, Self::Closing];
    const SLOW: Duration = Duration::from_secs(1);

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Failing => "failing",
            Self::Closing => "closing",
        }
    }
}

/// In a body, before the moment the report was due; [`super::load`] puts it there.
pub(super) const DUE: &[u8] = b"\"provider_ref\":\"";

/// Longest latency that is told from longer ones, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

struct Group {
    mood: Mood,
    /// Microseconds.
    latencies: Histogram<u64>,
    first_at: u64,
}

impl Default for Group {
    fn default() -> Self {
        let latencies = Histogram::new_with_max(LONGEST, 3).expect("the bounds are good");
        Self { mood: Mood::Well, latencies, first_at: 0 }
    }
}

#[derive(Default)]
struct Sink {
    groups: Mutex<HashMap<String, Group>>,
}

/// Listens on a free port, says where, and goes on until it is killed.
pub(super) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    outln!("listening on http://{}", listener.local_addr()?)?;
    let sink = Arc::new(Sink::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let sink = Arc::clone(&sink);
        let serve = service_fn(move |request| {
            let sink = Arc::clone(&sink);
            async move { sink.answer(request).await.ok_or("it closes") }
        });
        // A connection that breaks is the business of whoever made it.
        tokio::spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await) });
    }
}

impl Sink {
    /// `None` closes the connection.
    async fn answer(&self, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut parts = path.split('/').skip(1);
        Some(match (parts.next(), parts.next(), parts.next()) {
            (Some("hook"), Some(group), _) => return self.arrived(group, &body).await,
            (Some("mood"), Some(group), Some(mood)) => {
                let mood = Mood::ALL.into_iter().find(|known| known.as_str() == mood).unwrap_or(Mood::Well);
                self.groups.lock().entry(group.to_owned()).or_default().mood = mood;
                answer(StatusCode::OK, "{}")
            }
            (Some("take"), ..) => {
                // At once: what arrives between the two would be counted nowhere.
                let mut groups = self.groups.lock();
                let taken = figures(&groups);
                groups.values_mut().for_each(|group| *group = Group { mood: group.mood, ..Group::default() });
                answer(StatusCode::OK, taken)
            }
            _ => answer(StatusCode::OK, figures(&self.groups.lock())),
        })
    }

    async fn arrived(&self, name: &str, body: &[u8]) -> Option<Response<Full<Bytes>>> {
        let now = monotonic_micros();
        let mood = {
            let mut groups = self.groups.lock();
            if !groups.contains_key(name) {
                groups.insert(name.to_owned(), Group::default());
            }
            let group = groups.get_mut(name).expect("it is there");
            // A handshake was due at no time.
            if let Some(due) = due(body).filter(|_| matches!(group.mood, Mood::Well | Mood::Slow)) {
                group.latencies.saturating_record(now.saturating_sub(due));
                group.first_at = if group.first_at == 0 { now } else { group.first_at };
            }
            group.mood
        };
        match mood {
            Mood::Well => Some(answer(StatusCode::NO_CONTENT, "")),
            Mood::Slow => {
                tokio::time::sleep(Mood::SLOW).await;
                Some(answer(StatusCode::NO_CONTENT, ""))
            }
            Mood::Silent => std::future::pending().await,
            Mood::Failing => Some(answer(StatusCode::SERVICE_UNAVAILABLE, "")),
            Mood::Closing => None,
        }
    }
}

/// By group: how many arrived, milliseconds at p50, p99, p99.9 and the longest, and when the first one came.
fn figures(groups: &HashMap<String, Group>) -> String {
    let figures = groups.iter().map(|(name, Group { latencies, first_at, .. })| {
        let parts = [0.5, 0.99, 0.999, 1.0].map(|part| latencies.value_at_quantile(part) as f64 / 1000.0);
        (name.clone(), json!({"arrived": latencies.len(), "latencies": parts, "first_at": first_at}))
    });
    serde_json::Value::Object(figures.collect::<Map<_, _>>()).to_string()
}

/// When the report that this body is about was due.
fn due(body: &[u8]) -> Option<u64> {
    let start = body.windows(DUE.len()).position(|window| window == DUE)? + DUE.len();
    let digits = body[start..].split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_when_its_report_was_due() {
        assert_eq!(due(br#"{"data":{"provider_ref":"1234","reason":null}}"#), Some(1234));
        assert_eq!(due(br#"{"type":"webhook.test","data":{}}"#), None);
        assert_eq!(due(br#"{"provider_ref":"P-12"}"#), None);
    }
}
