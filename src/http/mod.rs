//! The HTTP API (docs/api.md). Thin: it finds out who calls, reads the input, calls a verb of [`ops`](crate::ops), and
//! writes the answer. The OpenAPI document is made from the same handlers.

mod auth;
mod bodies;
mod error;
mod forwarded;
mod idempotency;
mod input;
pub mod listen;
mod mount;
mod routes;
mod trail;
mod views;

pub use forwarded::caller_address;
pub(crate) use routes::UNBUFFERED;
pub use routes::read_callback;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use ipnet::IpNet;
use tracing::Instrument;
use utoipa::OpenApi;
use utoipa::openapi::Server;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use crate::clock::Stopwatch;
use crate::limits;
use crate::meters::Meters;
use crate::ops::Ops;
use crate::panics;

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
    /// The verbs.
    pub ops: Arc<Ops>,
    /// What `/metrics` shows.
    pub meters: Arc<Meters>,
    /// Proxies whose `X-Forwarded-For` and `Forwarded` headers are trusted.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Origins whose pages may show the panel in a frame.
    pub frame_ancestors: Arc<[String]>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ringback",
        description = "Makes sure a vendor learns what became of every recharge. Operator calls need an operator's token; vendor calls \
                       take a vendor's token, or an operator's with `vendor_id` and `mode`.",
    ),
    modifiers(&Security),
    security(("bearer" = []), ("x-auth-token" = [])),
    tags(
        (name = "operator", description = "For the platform"),
        (name = "vendor", description = "For vendors, and for the operator in their name"),
        (name = "provider", description = "For providers, who prove who they are as their configuration says"),
        (name = "server", description = "Health, metrics and this document"),
    )
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme("x-auth-token", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-auth-token"))));
    }
}

/// What an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything.
    All,
    /// Everything but health and metrics, which have an address of their own.
    Calls,
    /// Health and metrics.
    Health,
}

fn build(part: Part) -> (Router<Api>, utoipa::openapi::OpenApi) {
    let router = OpenApiRouter::with_openapi(Document::openapi());
    let router = match part {
        Part::All => router.merge(routes::health()).merge(routes::metrics()).merge(routes::calls()),
        Part::Calls => router.merge(routes::calls()),
        Part::Health => router.merge(routes::health()).merge(routes::metrics_of_their_own()),
    };
    router.split_for_parts()
}

/// The OpenAPI document of all parts, as JSON; with the address of a server, if it has one that people know.
pub fn openapi(server: Option<&str>) -> String {
    let mut document = build(Part::All).1;
    document.servers = server.map(|url| vec![Server::new(url)]);
    let mut text = document.to_pretty_json().expect("the document serializes");
    text.push('\n');
    text
}

/// A part of the API, and `pages` beside it.
pub fn router(api: Api, part: Part, pages: Router<Api>) -> Router {
    let (router, _) = build(part);
    let router = if part == Part::Health { router } else { router.merge(routes::compat::routes()).merge(pages) };
    let path = api.ops.public_path().to_owned();
    let router = router
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(limits::BODY_MAX))
        .layer(from_fn(contain_panics))
        .layer(from_fn_with_state(api.clone(), measure))
        .with_state(api);
    mount::mounted(router, &path)
}

/// Answers 500 for a handler that panics.
async fn contain_panics(request: Request, next: Next) -> Response {
    panics::contain(next.run(request)).await.unwrap_or_else(|_| error::internal().into_response())
}

/// Counts a request by its route, not by its path: routes are few. Gives it an id, which its log lines and its answer have.
async fn measure(State(api): State<Api>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, watch) = (request.method().clone(), Stopwatch::start());
    let new = || HeaderValue::try_from(api.ops.request_id()).expect("letters, digits and a hyphen");
    let id = trail::given_id(request.headers()).unwrap_or_else(new);
    let span = tracing::error_span!("request", id = id.to_str().unwrap_or_default());
    async move {
        let mut response = next.run(request).await;
        let (route, status) = (route.as_ref().map_or("none", MatchedPath::as_str), response.status().as_u16());
        api.meters.request(&method, route, status, watch.elapsed());
        tracing::debug!(%method, route, status, duration_ms = watch.elapsed().as_millis() as u64, "answered a request");
        response.headers_mut().insert(trail::X_REQUEST_ID, id);
        response
    }
    .instrument(span)
    .await
}
