//! Requests to receivers that Ringback did not make.

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ringback::clock::{Clock, SystemClock};
use ringback::domain::secret::Secret;
use ringback::wire::globaltopup;
use standardwebhooks::Webhook;
use tokio::net::TcpStream;

/// A request, signed by somebody else's library.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    pub id: &'a str,
    /// When, in seconds from now.
    pub sent_in: i64,
    /// What it is signed with, as `whsec_…`.
    pub secret: &'a str,
    /// What `X-Signature` proves to be known.
    pub legacy_secret: &'a str,
    pub signed: &'a str,
    pub body: &'a str,
    /// What stands in front of the signature, in its header.
    pub before: &'a str,
}

impl<'a> Sent<'a> {
    /// Now, and with nothing to say yet.
    pub fn now(secret: &'a str, legacy_secret: &'a str) -> Self {
        Self { id: "", sent_in: 0, secret, legacy_secret, signed: "", body: "", before: "" }
    }

    /// Sends it; answers the status.
    pub async fn to(&self, url: &str) -> StatusCode {
        let timestamp = SystemClock.now().as_secs() + self.sent_in;
        let webhook = Webhook::new(self.secret).expect("a secret");
        let signature = webhook.sign(self.id, timestamp, self.signed.as_bytes()).expect("text is signed");
        let headers = [
            ("webhook-id", self.id),
            ("webhook-timestamp", &timestamp.to_string()),
            ("webhook-signature", &format!("{}{signature}", self.before)),
            ("x-signature", &globaltopup::x_signature(&Secret::new(self.legacy_secret))),
        ];
        post(url, &headers, self.body).await
    }
}

/// Sends a request; answers the status.
pub async fn post(url: &str, headers: &[(&str, &str)], body: &str) -> StatusCode {
    let url: Uri = url.parse().expect("a URL");
    let authority = url.authority().expect("a URL with a host").as_str();
    let mut request = Request::builder().method(Method::POST).uri(url.path()).header("host", authority);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
    let stream = TcpStream::connect(authority).await.expect("the receiver listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    sender.send_request(request).await.expect("an answer").status()
}
