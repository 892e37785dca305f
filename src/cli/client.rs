//! A small client of the API, as a program of the platform's would have one.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::domain::json;

/// Calls the API with one token, over one kept-alive connection.
pub(super) struct Client {
    sender: Mutex<SendRequest<Full<Bytes>>>,
    host: String,
    token: String,
}

impl Client {
    pub async fn connect(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender: Mutex::new(sender), host: address.to_string(), token: format!("Bearer {token}") })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Bytes::from(serde_json::to_vec(body)?)).await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Value> {
        let (status, text) = self.send(&method, path, body).await?;
        let answer = json::parse(&text).with_context(|| format!("{method} {path} answered {status} without JSON"))?;
        if !status.is_success() {
            bail!("{method} {path} answered {status}: {}", answer["detail"].as_str().unwrap_or_default());
        }
        Ok(answer)
    }

    /// One call, with its answer as it came.
    pub async fn send(&self, method: &Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, &self.token)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let mut sender = self.sender.lock().await;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
