//! A client of the API: JSON over one kept-alive connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;

const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// How long a client that lost its connection waits for a new address before it tries the old one again.
const RESTARTED_WITHIN: Duration = Duration::from_millis(200);

/// Knows where the server is, also after it was started again.
#[derive(Debug)]
pub struct Client {
    address: watch::Receiver<SocketAddr>,
    token: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self::new(self.address.clone(), self.token.clone())
    }
}

impl Client {
    /// A client with this token.
    pub fn new(address: watch::Receiver<SocketAddr>, token: String) -> Self {
        Self { address, token, sender: None }
    }

    /// A page that is not JSON, which must be there.
    pub async fn text(&mut self, path: &str) -> String {
        let bearer = format!("Bearer {}", self.token);
        let request =
            Request::get(path).header("host", "ringback").header("authorization", bearer).body(Full::default()).expect("a request");
        let response = self.connected().await.expect("a connection").send_request(request).await.expect("an answer");
        assert!(response.status().is_success(), "GET {path}: {}", response.status());
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(bytes.into()).expect("UTF-8")
    }

    /// How a page is answered.
    pub async fn status(&mut self, path: &str) -> StatusCode {
        let request = Request::get(path).header("host", "ringback").body(Full::default()).expect("a request");
        self.connected().await.expect("a connection").send_request(request).await.expect("an answer").status()
    }

    /// One call. An error means that it is unknown whether it took effect.
    pub async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<(StatusCode, Value)> {
        let exchanged = tokio::time::timeout(ANSWERED_WITHIN, self.exchange(method.clone(), path, body)).await;
        let answered = exchanged.unwrap_or_else(|_| panic!("{method} {path} was not answered within {ANSWERED_WITHIN:?}"));
        if answered.is_err() {
            self.sender = None;
        }
        answered
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<(StatusCode, Value)> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder().method(method).uri(path).header("host", "ringback").header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {}", self.token)).body(Full::new(body))?;
        let sender = self.connected().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        let value = if text.is_empty() { Value::Null } else { serde_json::from_slice(&text).context("the answer is not JSON")? };
        Ok((status, value))
    }

    async fn connected(&mut self) -> anyhow::Result<&mut SendRequest<Full<Bytes>>> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            let address = *self.address.borrow_and_update();
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        let sender = self.sender.as_mut().expect("it was just set");
        sender.ready().await?;
        Ok(sender)
    }

    /// Waits until the server may be there again.
    pub async fn restarted(&mut self) {
        // Both mean "try again": a new address, or the time that has passed.
        drop(tokio::time::timeout(RESTARTED_WITHIN, self.address.changed()).await);
    }

    /// A call that must succeed.
    pub async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, value) = self.call(method.clone(), path, body).await.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
        assert!(status.is_success(), "{method} {path}: {status} {value}");
        value
    }

    /// `GET`, which must succeed.
    pub async fn get(&mut self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await
    }

    /// `POST`, which must succeed.
    pub async fn post(&mut self, path: &str, body: &Value) -> Value {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// All items of a list; `path` has a query already.
    pub async fn list(&mut self, path: &str) -> Vec<Value> {
        let (mut items, mut page) = (Vec::new(), self.get(&format!("{path}&limit=200")).await);
        loop {
            items.extend(page["data"].as_array().expect("a list has data").iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return items };
            let next = format!("{path}&limit=200&cursor={cursor}");
            page = self.get(&next).await;
        }
    }

    /// The whole feed of a vendor, which must be gapless from 1 to the latest number.
    pub async fn feed(&mut self, vendor: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let after = events.len();
            let page = self.get(&format!("/v1/events?vendor_id={vendor}&after={after}&limit=200")).await;
            let data = page["data"].as_array().expect("a feed has data");
            for event in data {
                assert_eq!(event["sequence"], events.len() + 1, "the feed of {vendor} has a gap: {event}");
                events.push(event.clone());
            }
            assert_eq!(page["next_after"], events.len(), "next_after");
            if data.is_empty() {
                assert_eq!(page["latest_sequence"], events.len(), "the feed of {vendor} ends before its latest number");
                return events;
            }
        }
    }

    /// Whether an endpoint has deliveries that have not ended.
    pub async fn has_pending(&mut self, vendor: &str, endpoint: &str) -> bool {
        let page = self.get(&format!("/v1/deliveries?vendor_id={vendor}&endpoint_id={endpoint}&state=pending&limit=1")).await;
        !page["data"].as_array().expect("a list has data").is_empty()
    }
}

/// A field that must be a string.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is not a string in {value}"))
}
