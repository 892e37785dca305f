//! The limit that no sender can beat, a process of its own: a loop that signs and posts the same payloads to the same
//! sink over kept-alive connections, and stores nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::header::HOST;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::monotonic_micros;
use crate::clock::{Environment, Stopwatch};
use crate::domain::endpoint::Settings;
use crate::domain::event::{Event, Facts, RechargeFacts};
use crate::domain::id::{EventId, RechargeId, StreamId};
use crate::domain::recharge::Status;
use crate::domain::secret::Secret;
use crate::domain::vendor::Mode;
use crate::wire::{Turn, Writer};

/// Requests on each connection that are not measured.
const WARM_UP: u32 = 20;

/// Arguments of the loop.
#[derive(Debug, Args)]
pub(in super::super) struct Bare {
    /// Where the sink is
    sink: SocketAddr,
    /// Requests to make
    count: u64,
    /// Requests under way at once
    in_flight: u64,
}

impl Bare {
    /// Makes the requests and prints how many a second that were.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let url = format!("http://{}/hook/bare", self.sink).parse().context("the sink's address makes a URL")?;
        let writer = Arc::new(Writer::new(&Settings::new(url, Secret::new(*b"the secret of the bare loop, 32b"))));
        let environment = Environment::system(0);
        let (made, mut loops) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        let mut connections = Vec::new();
        for _ in 0..self.in_flight {
            let mut connection = Connection::open(self.sink).await?;
            for _ in 0..WARM_UP {
                connection.post(&writer, &environment, 0).await?;
            }
            connections.push(connection);
        }
        let watch = Stopwatch::start();
        for mut connection in connections {
            let (writer, environment, made, count) = (Arc::clone(&writer), environment.clone(), Arc::clone(&made), self.count);
            loops.spawn(async move {
                loop {
                    let number = made.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return anyhow::Ok(());
                    }
                    connection.post(&writer, &environment, number).await?;
                }
            });
        }
        while let Some(ended) = loops.join_next().await {
            ended??;
        }
        outln!("{}", json!({"per_second": self.count as f64 / watch.elapsed().as_secs_f64()}))?;
        Ok(())
    }
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    async fn open(sink: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(sink).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: sink.to_string() })
    }

    async fn post(&mut self, writer: &Writer, environment: &Environment, number: u64) -> anyhow::Result<()> {
        let now = environment.clock.now();
        let facts = RechargeFacts {
            id: RechargeId::new(number as i64),
            transaction_id: number as i64,
            reference_no: format!("{number:016x}"),
            status: Status::Success,
            amount: Some("50.00".to_owned()),
            currency: Some("NPR".to_owned()),
            operator: Some("Ncell".to_owned()),
            connection_no: Some("9801234567".to_owned()),
            provider_ref: Some(monotonic_micros().to_string()),
            reason: None,
            settled_at: now,
            late: false,
            erased: false,
        };
        let id = EventId { stream: StreamId::new(1), sequence: number as i64 };
        let (event_type, facts) = ("recharge.success".into(), Facts::Recharge(Box::new(facts)));
        let event = Event { id, mode: Mode::Live, event_type, created_at: now, facts, numbered: true };
        let mut request = writer.event(&event, Turn { number: 1, at: now }, [0; 16]).map(Full::new);
        *request.uri_mut() = http::Uri::from_static("/hook/bare");
        request.headers_mut().insert(HOST, self.host.parse()?);
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        response.into_body().collect().await?;
        Ok(())
    }
}
