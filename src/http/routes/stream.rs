//! The feed as server-sent events.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures_util::stream::unfold;
use http::HeaderMap;

use super::super::Api;
use super::super::auth::{Authenticated, Renewal};
use super::super::bodies::{MineQuery, StreamQuery};
use super::super::error::{ApiError, ProblemBody};
use super::super::input::Query;
use super::super::views::EventView;
use crate::domain::event::Event;
use crate::limits;
use crate::ops::Follow;

/// A header for proxies. nginx and others that follow it hold answers back until a buffer is full, unless this is there.
pub(crate) const UNBUFFERED: [(&str, &str); 1] = [("x-accel-buffering", "no")];

/// Where a stream stands.
struct Following {
    api: Api,
    renewal: Renewal,
    follow: Follow,
    ready: std::vec::IntoIter<Event>,
}

/// The feed as it grows: each event with its sequence number as `id`. It goes on after `Last-Event-ID`, or `after`, or
/// from now on.
#[utoipa::path(get, path = "/v1/events/stream", tag = "vendor", params(StreamQuery, MineQuery), responses(
    (status = 200, description = "Server-sent events; `data` is an Event", content_type = "text/event-stream", body = String),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn stream(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    renewal: Renewal,
    headers: HeaderMap,
    Query(fields): Query,
) -> Result<impl IntoResponse, ApiError> {
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    let follow = api.ops.follow(caller, fields, last).await?;
    let following = Following { api, renewal, follow, ready: Vec::new().into_iter() };
    let messages = unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(message(&event)), following))
    });
    Ok((UNBUFFERED, Sse::new(messages).keep_alive(KeepAlive::new().interval(limits::STREAM_KEEP_ALIVE))))
}

impl Following {
    /// The next event. The stream ends when the server stops, the token is no longer good, or the store cannot answer:
    /// whoever follows it comes back with the last number it saw. Somebody who reads slowly is asked before each event.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.api.ops.is_stopping() || !self.renewal.is_good(&self.api).await {
                return None;
            }
            if let Some(event) = self.ready.next() {
                return Some(event);
            }
            let feed = self.api.ops.next_events(&mut self.follow).await.ok()?;
            self.ready = feed.events.into_iter();
        }
    }
}

fn message(event: &Event) -> Message {
    let data = serde_json::to_string(&EventView::of(event)).expect("a view always serializes");
    Message::default().id(event.id.sequence.to_string()).event(&*event.event_type).data(data)
}
