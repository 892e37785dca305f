//! The platform's side: reports that are due at given moments, posted by clients that each take what is due by then.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use http::{Method, StatusCode};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;

use super::super::client::Client;
use super::monotonic_micros;
use super::stage::{LOOK, STALLED};
use crate::clock::{Entropy, Stopwatch, SystemEntropy};

/// Reports to post.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// The nodes, which the clients are spread over.
    pub servers: Vec<SocketAddr>,
    /// An operator's token.
    pub token: String,
    /// Whose recharges are reported: one of these by chance, each time.
    pub vendors: Arc<[String]>,
    /// Clients, each with a connection of its own.
    pub connections: usize,
    /// Most reports in one request.
    pub batch: usize,
    pub due: Due,
    /// Whether it goes on when a server dies, which is started again at the same address: what was not answered is posted again.
    pub outlasts: bool,
}

/// When they are due.
#[derive(Debug, Clone)]
pub(super) enum Due {
    /// So many, all at once.
    Now(u64),
    /// So many a second, one after the other, for so long, whether or not the server keeps up.
    At(f64, Duration),
    /// So many a second until this says stop.
    Until(f64, Arc<AtomicBool>),
}

/// What came of it: reports, and how long it took until all were accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posted {
    pub count: u64,
    pub took: Duration,
}

impl Load {
    /// Posts all of them; answers when all have been accepted.
    ///
    /// Where it is due in time, the clients share one thread: what threads take that wake each other before a report goes out
    /// would be counted as the server's.
    pub async fn post(&self) -> anyhow::Result<Posted> {
        if matches!(self.due, Due::Now(_)) {
            return self.run().await;
        }
        let (load, (tell, posted)) = (self.clone(), oneshot::channel());
        std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            drop(tell.send(runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(load.run()))));
        })?;
        posted.await?
    }

    async fn run(&self) -> anyhow::Result<Posted> {
        let mut posters = Vec::new();
        for server in self.servers.iter().cycle().take(self.connections) {
            let client = Client::connect(*server, &self.token).await?;
            posters.push(Poster { load: self.clone(), server: *server, client });
        }
        let (tell, due) = unbounded_channel();
        let (schedule, due, mut posting) = (self.due.clone(), Arc::new(Mutex::new(due)), JoinSet::new());
        let start = monotonic_micros();
        // Another thread: tokio's timer is as coarse as what is to be measured.
        let telling = std::thread::spawn(move || {
            // By itself the system wakes a thread 50 µs late. Where it does not let itself be told, the figure has them in it.
            rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).ok();
            schedule.tell(start, |due| tell.send(due).is_ok());
        });
        for poster in posters {
            let due = Arc::clone(&due);
            posting.spawn(async move { poster.post(&due).await });
        }
        let mut count = 0;
        while let Some(posted) = posting.join_next().await {
            count += posted??;
        }
        drop(telling.join());
        Ok(Posted { count, took: Duration::from_micros(monotonic_micros() - start) })
    }
}

impl Due {
    /// Tells each moment when it has come, until nobody listens.
    fn tell(&self, start: u64, tell: impl Fn(u64) -> bool) {
        let (per_second, count) = match self {
            Self::Now(count) => (f64::INFINITY, *count),
            Self::At(per_second, length) => (*per_second, (per_second * length.as_secs_f64()) as u64),
            Self::Until(per_second, _) => (*per_second, u64::MAX),
        };
        for number in 0..count {
            let at = start + (number as f64 / per_second * 1e6) as u64;
            std::thread::sleep(Duration::from_micros(at.saturating_sub(monotonic_micros())));
            let stopped = matches!(self, Self::Until(_, stop) if stop.load(Ordering::Relaxed));
            if stopped || !tell(at) {
                return;
            }
        }
    }
}

/// A client of a load.
struct Poster {
    load: Load,
    server: SocketAddr,
    client: Client,
}

impl Poster {
    /// Posts what is due, as much of it as fits into a request, again and again; answers how many reports that were.
    async fn post(mut self, due: &Mutex<UnboundedReceiver<u64>>) -> anyhow::Result<u64> {
        let mut seed = [0; 32];
        SystemEntropy.fill(&mut seed);
        let (mut chance, mut moments, mut count) = (SmallRng::from_seed(seed), Vec::new(), 0);
        loop {
            moments.clear();
            if due.lock().await.recv_many(&mut moments, self.load.batch).await == 0 {
                return Ok(count);
            }
            let reports: Vec<String> = moments.iter().map(|due| report(&self.load.vendors, *due, &mut chance)).collect();
            let body = Bytes::from(format!("{{\"reports\":[{}]}}", reports.join(",")));
            let (status, answer) = self.answered(body).await?;
            let taken = |verdict: &[u8]| answer.windows(verdict.len()).filter(|window| *window == verdict).count();
            let again = if self.load.outlasts { taken(DUPLICATE) } else { 0 };
            if status != StatusCode::OK || taken(CREATED) + again != moments.len() {
                bail!("the server answered {status}: {}", String::from_utf8_lossy(&answer));
            }
            count += moments.len() as u64;
        }
    }

    async fn answered(&mut self, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        loop {
            let answered = self.client.send(&Method::POST, "/v1/reports", body.clone()).await;
            if answered.is_ok() || !self.load.outlasts {
                return answered;
            }
            let watch = Stopwatch::start();
            self.client = loop {
                match Client::connect(self.server, &self.load.token).await {
                    Ok(client) => break client,
                    Err(error) if watch.elapsed() > STALLED => return Err(error.context("the server does not come back")),
                    Err(_) => tokio::time::sleep(LOOK).await,
                }
            };
        }
    }
}

const CREATED: &[u8] = b"\"created\"";
const DUPLICATE: &[u8] = b"\"duplicate\"";

/// A recharge that nobody has heard of, with its outcome. The moment it was due is its provider's reference, which the
/// sink finds in what arrives.
fn report(vendors: &[String], due: u64, chance: &mut SmallRng) -> String {
    let vendor = &vendors[chance.random_range(0..vendors.len())];
    format!(
        r#"{{"vendor_id":"{vendor}","reference_no":"{:016x}","status":"success","amount":"50.00","currency":"NPR","operator":"Ncell","connection_no":"98{:08}","provider_ref":"{due}"}}"#,
        chance.random::<u64>(),
        chance.random_range(0..100_000_000)
    )
}
