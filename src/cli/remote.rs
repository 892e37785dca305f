//! What a vendor's developer has of Ringback: the address of a server, and a token.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, header};
use serde_json::Value;
use url::{Position, Url};

use super::listen::parse_address;
use crate::app::Externals;
use crate::config::{ConfigError, token_in_environment};
use crate::domain::attempt::Outcome;
use crate::domain::json;
use crate::transport::guard::Guard;
use crate::transport::{self, Target, Transport, tls_config};

/// How long the server may hold a request for which nothing is there yet, and its answer be on the way.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of an answer: a page of the largest events.
const ANSWER_MAX: usize = 64 << 20;

/// Where the server is, and who asks.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = parse_server)]
    server: Url,
    /// A token of the vendor's, of test or live mode [default: RINGBACK_TOKEN]
    #[arg(long, value_name = "TOKEN", hide_default_value = true)]
    token: Option<String>,
}

fn parse_server(text: &str) -> Result<Url, String> {
    parse_address(text).map_err(|problem| format!("{problem}; write a URL such as http://127.0.0.1:8080"))
}

/// A server that can be asked.
pub(super) struct Caller {
    transport: Transport,
    server: Url,
    token: HeaderValue,
    /// The token is one of test mode.
    pub is_test: bool,
}

/// A transport for requests that this command makes for the one who typed it: no address is forbidden.
pub(super) fn transport(timeout: Duration) -> anyhow::Result<Transport> {
    let outside = Externals::system();
    let bounds = transport::Limits {
        attempt_timeout: timeout,
        connect_timeout: CONNECTED_WITHIN,
        answer_read_max: ANSWER_MAX,
        answer_kept: ANSWER_MAX,
    };
    let parts = transport::Parts {
        limits: bounds.clone(),
        guard: Guard::new(Vec::new()),
        proxy: None,
        resolver: outside.resolver,
        tls: tls_config(&[]),
        clock: Arc::clone(&outside.environment.clock),
    };
    Ok(Transport::new(parts).unguarded(bounds))
}

impl Remote {
    /// Makes it ready.
    ///
    /// # Errors
    /// There is no token, or none that a header can carry.
    pub fn caller(self) -> anyhow::Result<Caller> {
        let Some(token) = self.token.or_else(token_in_environment) else {
            bail!(ConfigError(vec![
                "there is no token; give one with --token or as RINGBACK_TOKEN. A vendor's are on its panel under Tokens".to_owned()
            ]));
        };
        let token = token.trim();
        if token.is_empty() || token.starts_with("rb_operator_") {
            let given = if token.is_empty() { "the token is empty" } else { "this is an operator's token" };
            bail!(ConfigError(vec![format!("{given}; give a vendor's, which is on its panel under Tokens")]));
        }
        let is_test = token.starts_with("rb_test_");
        let token = HeaderValue::from_str(&format!("Bearer {token}"));
        let token = token.map_err(|_| ConfigError(vec!["the token has characters that none has; copy it again".to_owned()]))?;
        Ok(Caller { transport: transport(PATIENCE)?, server: self.server, token, is_test })
    }
}

/// The server said no: what it says is for people.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Refused {
    pub status: u16,
    text: String,
}

/// The address of a call: the server's own may have a path.
fn address_of(server: &Url, path: &str) -> Result<Url, url::ParseError> {
    Url::parse(&format!("{}{path}", server[..Position::AfterPath].trim_end_matches('/')))
}

impl Caller {
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, &Value::Null).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, body).await
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = address_of(&self.server, path).with_context(|| format!("{} is no address of a server", self.server))?;
        let target = Target::new(&url).with_context(|| format!("--server {}", self.server))?;
        let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let write = || {
            let mut request = Request::new(bytes.clone());
            *request.method_mut() = method.clone();
            request.headers_mut().insert(header::AUTHORIZATION, self.token.clone());
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request
        };
        let sent = self.transport.send(&target, write).await;
        let Outcome { status, error, answer_body, .. } = sent.map_err(|fault| anyhow::anyhow!(fault.text))?;
        let Some(status) = status else { bail!("{} does not answer: {}", self.server, error.unwrap_or_default()) };
        let answer = json::parse(&answer_body.unwrap_or_default()).ok();
        if (200..300).contains(&status) {
            return answer.with_context(|| format!("{url} answered without JSON; is it a Ringback server?"));
        }
        if status == 404 && answer.is_none() {
            bail!("{url} answered 404; is {} the address of a Ringback server, without a page's path?", self.server);
        }
        let answer = answer.unwrap_or_default();
        let detail = answer["detail"].as_str().unwrap_or("no reason was given");
        let mut text = match status {
            401 => format!("the server does not know this token: {detail}"),
            _ => format!("{method} {path} answered {status}: {detail}"),
        };
        // Of one problem, the detail says all.
        let problems = answer["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        for problem in problems.iter().filter(|_| problems.len() > 1) {
            let part = |name: &str| problem[name].as_str().unwrap_or_default();
            text.push_str(&format!("; {} {}", part("field"), part("message")));
        }
        bail!(Refused { status, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_go_below_the_path_of_the_server() {
        for (server, address) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/events?after=1"),
            ("https://pay.example/ringback", "https://pay.example/ringback/v1/events?after=1"),
            ("https://pay.example/a/b/?x#y", "https://pay.example/a/b/v1/events?after=1"),
        ] {
            assert_eq!(address_of(&server.parse().unwrap(), "/v1/events?after=1").unwrap().as_str(), address);
        }
    }
}
