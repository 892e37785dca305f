//! A receiver with moods, that remembers what came and how it answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::walk::Mood;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Got {
    /// Which endpoint it was for: the number in its address.
    pub endpoint: usize,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether it was answered with success.
    pub taken: bool,
}

impl Got {
    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
    }
}

struct Shared {
    mood: Mutex<Mood>,
    got: Mutex<Vec<Got>>,
}

pub struct Receiver {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared { mood: Mutex::new(Mood::Well), got: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/{endpoint}", post(take)).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { shared, address, task }
    }

    /// The address of an endpoint here.
    pub fn url(&self, endpoint: usize) -> String {
        format!("http://{}/{endpoint}", self.address)
    }

    pub fn feel(&self, mood: Mood) {
        *self.shared.mood.lock() = mood;
    }

    pub fn mood(&self) -> Mood {
        *self.shared.mood.lock()
    }

    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().clone()
    }
}

async fn take(State(shared): State<Arc<Shared>>, Path(endpoint): Path<usize>, headers: HeaderMap, body: Bytes) -> Response {
    let mood = *shared.mood.lock();
    let taken = matches!(mood, Mood::Well | Mood::Slow) || (mood == Mood::Picky && !is_poisonous(&body));
    shared.got.lock().push(Got { endpoint, headers, body, taken });
    match mood {
        Mood::Well => StatusCode::NO_CONTENT.into_response(),
        Mood::Slow => {
            tokio::time::sleep(Duration::from_millis(8)).await;
            StatusCode::OK.into_response()
        }
        Mood::Picky if taken => StatusCode::NO_CONTENT.into_response(),
        Mood::Broken | Mood::Picky => (StatusCode::INTERNAL_SERVER_ERROR, "broken").into_response(),
        Mood::Busy => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")]).into_response(),
        Mood::Torn => {
            let parts = futures_util::stream::iter([Ok(Bytes::from_static(b"half ")), Err(std::io::Error::other("torn"))]);
            Response::new(Body::from_stream(parts))
        }
        Mood::Silent => {
            tokio::time::sleep(Duration::from_secs(3)).await;
            StatusCode::OK.into_response()
        }
        Mood::Gone => StatusCode::GONE.into_response(),
    }
}

/// Some events are never accepted by a picky receiver.
fn is_poisonous(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    ["\"R-3\"", "\"R-7\"", "\"R-8\"", "\"key\":1}"].iter().any(|poison| text.contains(poison))
}
