//! A plain HTTP/1.1 client: one connection a call, everything read to its end.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as JSON; `Null` if there is none.
    /// The text, if it has this status.
    #[track_caller]
    pub fn expect_page(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.text);
        &self.text
    }

    pub fn json(&self) -> Value {
        if self.text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
        }
    }

    /// The body, after seeing the status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The `code` of a problem, after seeing the status and the media type.
    #[track_caller]
    pub fn code(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        let body = self.json();
        assert_eq!(body["status"], status);
        assert!(body["type"].is_string() && body["title"].is_string() && body["detail"].is_string(), "{}", self.text);
        body["code"].as_str().expect("a problem has a code").to_owned()
    }

    /// Which fields have problems, with their codes.
    #[track_caller]
    pub fn problems(&self) -> Vec<(String, String)> {
        problems(&self.json())
    }
}

/// `errors` of a problem or of a report's result, as (field, code).
#[track_caller]
pub fn problems(of: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    of["errors"].as_array().map(|list| list.iter().map(|one| (text(&one["field"]), text(&one["code"]))).collect()).unwrap_or_default()
}

pub fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// One request.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub token: Option<&'a str>,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Option<Vec<u8>>,
}

/// Sends it; panics if there is no answer.
pub async fn send(server: SocketAddr, request: Request<'_>) -> Reply {
    try_send(server, request).await.expect("the server answers")
}

/// Sends it; `None` if there is no whole answer.
pub async fn try_send(server: SocketAddr, request: Request<'_>) -> Option<Reply> {
    let stream = TcpStream::connect(server).await.ok()?;
    let (mut read, mut write) = stream.into_split();
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n", request.method, request.path);
    if let Some(token) = request.token {
        head.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    request.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let body = request.body.unwrap_or_default();
    if !body.is_empty() {
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    }
    let sending = async {
        // A server that has seen enough may answer and close before it has read everything.
        drop(write.write_all(&[head.as_bytes(), b"\r\n", &body].concat()).await);
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(sending, read.read_to_end(&mut answer));
    drop(read);
    parse(&answer)
}

/// A body that came in chunks; none if the last one is missing.
fn whole(mut chunks: &str) -> Option<String> {
    let mut text = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(text);
        }
        text.push_str(rest.get(..length)?);
        chunks = rest.get(length + 2..)?;
    }
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let text = String::from_utf8(answer.to_vec()).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    if find(&headers, "transfer-encoding") == Some("chunked") {
        return whole(body).map(|text| Reply { status, headers, text });
    }
    let promised = find(&headers, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    (body.len() == promised).then(|| Reply { status, headers, text: body.to_owned() })
}
