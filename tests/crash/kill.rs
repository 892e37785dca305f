//! Kills at any moment: nothing that was accepted is lost, nothing is invented, and all that is repeated is the same.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ringback::clock::{Entropy, Stopwatch, SystemEntropy};
use ringback::domain::secret::Secret;
use ringback::wire::standard;
use serde_json::json;
use tokio::task::JoinSet;

use super::api::{Client, text};
use super::audit::{Audit, Watched};
use super::load::{Load, Reporter};
use super::postgres::Postgres;
use super::receiver::{Moods, Receiver};
use super::server::{self, Server};
use super::wait;

const KILLS: u32 = 45;
/// On PostgreSQL, which makes each of them longer.
const KILLS_ON_POSTGRES: u32 = 20;
const REPORTERS: usize = 4;
/// One stop in this many is a SIGTERM, on top of the kills.
const TERM_EVERY: u32 = 10;
/// After one kill in this many it is PostgreSQL that crashes.
const CRASH_EVERY: u32 = 4;
/// Events that may wait for the slowest endpoint before the reporters pause.
const BACKLOG_MAX: usize = 1500;
const MOVES_WITHIN: Duration = Duration::from_secs(20);
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

/// Places where it dies, and how often each is reached before it does: before a transaction, before its end, after it, after its
/// deliveries were handed over and before its callers are answered, before a request, after its answer.
const STEPS: [&str; 15] = [
    "commit.before:2",
    "commit.before:90",
    "commit.within:20",
    "commit.within:60",
    "commit.within:300",
    "commit.after:1",
    "commit.after:70",
    "handoff.after:1",
    "handoff.after:80",
    "attempt.before:1",
    "attempt.before:200",
    "attempt.after:1",
    "attempt.after:30",
    "attempt.after:150",
    "attempt.after:400",
];

/// What all parts of the test look at.
pub struct Scene {
    pub load: Arc<Load>,
    pub receiver: Arc<Receiver>,
    pub endpoints: Vec<Watched>,
}

impl Scene {
    /// Waits until nothing is pending.
    pub async fn drained(&self, client: &mut Client) {
        for Watched { vendor, id, name, .. } in &self.endpoints {
            let what = format!("nothing of {name} is pending");
            wait::until(&what, DRAINED_WITHIN, async || !client.has_pending(vendor, id).await).await;
        }
    }
}

/// What the kills fell into.
#[derive(Debug, Default)]
struct Hit {
    accepting: u32,
    sending: u32,
    idle: u32,
}

pub const RETRIES: (&str, &str) = ("RETRY_SCHEDULE", "200ms,500ms,1s");

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_accepted_survives_kills() {
    survives(Server::start(&[RETRIES]), None).await;
}

/// The same on PostgreSQL, which crashes now and then itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_accepted_on_postgresql_survives_kills_and_its_crashes() {
    let postgres = Postgres::start();
    let settings = [RETRIES, ("SHARD_LEASE", "1s")];
    survives(Server::start_on_postgres(&settings, postgres.url()), Some(&postgres)).await;
}

async fn survives(mut server: Server, postgres: Option<&Postgres>) {
    let total = Stopwatch::start();
    let seed = seed();
    println!("kill: RINGBACK_CRASH_SEED={seed}");
    let mut client = server.operator();
    let reporting = vec![client.clone(); REPORTERS];
    let (scene, reporters) = set_the_scene(&mut client, reporting, seed).await;

    let hit = kill_again_and_again(&mut server, postgres, &scene, seed).await;
    scene.load.stop.store(true, Ordering::SeqCst);
    reporters.join_all().await;
    server.kill();
    server.restart();
    let drain = Stopwatch::start();
    scene.drained(&mut client).await;
    let (killed, drained) = (total.elapsed() - drain.elapsed(), drain.elapsed());
    let report = Audit::new(&scene.load, &scene.receiver, &scene.endpoints).run(&mut client).await;
    let log = server.log();
    assert!(!log.contains("panicked"), "the server panicked:\n{log}");
    // A database that goes away is an error that is told.
    assert!(postgres.is_some() || !log.contains("ERROR"), "the server logged an error:\n{log}");

    let Load { answered, posted_again, .. } = &*scene.load;
    println!("kill: {hit:?}");
    println!("kill: {} reports answered, {} requests posted again", answered.load(Ordering::SeqCst), posted_again.load(Ordering::SeqCst));
    println!("kill: {report}");
    println!("kill: {killed:.1?} of kills, {drained:.1?} until nothing was pending, {:.1?} in all", total.elapsed());
    assert!(report.sent_twice.is_empty(), "attempts were made twice although nothing crashed between: {:#?}", report.sent_twice);
    assert!(hit.accepting > 0 && hit.sending > 0, "the kills hit nothing: {hit:?}");
}

/// Seeds all choices, but for those that time makes.
#[allow(clippy::disallowed_methods, reason = "a test has no configuration to read it from")]
pub fn seed() -> u64 {
    let given = std::env::var("RINGBACK_CRASH_SEED").ok();
    given.map_or_else(
        || {
            let mut bytes = [0; 4];
            SystemEntropy.fill(&mut bytes);
            u32::from_le_bytes(bytes).into()
        },
        |text| text.parse().expect("RINGBACK_CRASH_SEED is a number"),
    )
}

/// Two vendors with an endpoint each that fails and dawdles, a strict one that seldom does, and reporters at work.
pub async fn set_the_scene(client: &mut Client, reporting: Vec<Client>, seed: u64) -> (Scene, JoinSet<()>) {
    let receiver = Arc::new(Receiver::start().await);
    let vendors = [server::new_vendor(client, "one").await, server::new_vendor(client, "two").await];
    let often = Moods { failing: 60, slow: 40 };
    let seldom = Moods { failing: 3, slow: 3 };
    let mut endpoints = Vec::new();
    for (at, (vendor, name, ordering, moods)) in
        [(0, "first", "none", often), (1, "second", "none", often), (1, "strict", "strict", seldom)].into_iter().enumerate()
    {
        let secret = Secret::new(vec![at as u8 + 1; 32]);
        let (told, seed) = (standard::secret_text(&secret), seed + 100 + at as u64);
        let url = receiver.open(name, secret, moods, seed);
        // The handshake meets the moods, too.
        let endpoint = json!({"vendor_id": vendors[vendor], "url": url, "secret": told, "ordering": ordering});
        let endpoint = client.post("/v1/endpoints", &endpoint).await;
        connect(client, text(&endpoint, "id")).await;
        endpoints.push(Watched {
            vendor: vendors[vendor].clone(),
            id: text(&endpoint, "id").to_owned(),
            name,
            is_strict: ordering == "strict",
        });
    }
    let load = Arc::new(Load::default());
    let mut reporters = JoinSet::new();
    for (name, client) in reporting.into_iter().enumerate() {
        let reporter = Reporter::new(client, Arc::clone(&load), vendors.to_vec(), name, seed);
        let (load, receiver) = (Arc::clone(&load), Arc::clone(&receiver));
        reporters.spawn(reporter.run(move || has_room(&load, &receiver)));
    }
    (Scene { load, receiver, endpoints }, reporters)
}

async fn connect(client: &mut Client, endpoint: &str) {
    let path = format!("/v1/endpoints/{endpoint}/connect");
    wait::until("the endpoint connects", MOVES_WITHIN, async || {
        client.call(http::Method::POST, &path, None).await.expect("an answer").0.is_success()
    })
    .await;
}

fn has_room(load: &Load, receiver: &Receiver) -> bool {
    let slowest = (receiver.accepted("second")).min(receiver.accepted("strict"));
    let accepted = receiver.accepted("first") + slowest;
    load.events.load(Ordering::SeqCst) as usize <= accepted + BACKLOG_MAX
}

/// Dies at each step from a report to the end of its deliveries, early and late.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_accepted_survives_a_death_at_each_step() {
    let mut server = Server::start(&[RETRIES]);
    let seed = seed();
    println!("kill: RINGBACK_CRASH_SEED={seed}");
    let mut client = server.operator();
    let reporting = vec![client.clone(); REPORTERS];
    let (scene, reporters) = set_the_scene(&mut client, reporting, seed).await;
    for place in STEPS {
        server.kill();
        server.set("FAILPOINT", place);
        server.restart();
        server.dies().await;
        server.unset("FAILPOINT");
        server.restart();
    }
    scene.load.stop.store(true, Ordering::SeqCst);
    reporters.join_all().await;
    scene.drained(&mut client).await;
    let report = Audit::new(&scene.load, &scene.receiver, &scene.endpoints).run(&mut client).await;
    println!("kill: {report}");
    assert!(report.sent_twice.is_empty(), "attempts were made twice although nothing crashed between: {:#?}", report.sent_twice);
    assert!(!server.log().contains("ERROR"), "the server logged an error:\n{}", server.log());
}

async fn kill_again_and_again(server: &mut Server, postgres: Option<&Postgres>, scene: &Scene, seed: u64) -> Hit {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut hit = Hit::default();
    let kills = postgres.map_or(KILLS, |_| KILLS_ON_POSTGRES);
    for kill in 1..=kills {
        a_moment(scene, &mut chance).await;
        let (posts, deliveries) = (scene.load.under_way.load(Ordering::SeqCst), scene.receiver.under_way());
        server.kill();
        hit.accepting += u32::from(posts > 0);
        hit.sending += u32::from(deliveries > 0);
        hit.idle += u32::from(posts == 0 && deliveries == 0);
        server.restart();
        if let Some(postgres) = postgres.filter(|_| kill % CRASH_EVERY == 0) {
            a_moment(scene, &mut chance).await;
            postgres.crash();
            assert_eq!(ready(server).await, StatusCode::SERVICE_UNAVAILABLE, "/readyz, without the database");
            postgres.resume();
            wait::until("the server has its database again", MOVES_WITHIN, async || ready(server).await.is_success()).await;
        }
        if kill % TERM_EVERY == 0 {
            a_moment(scene, &mut chance).await;
            let status = server.terminate().await;
            assert!(status.success(), "SIGTERM under load: {status}");
            server.restart();
        }
    }
    hit
}

/// What `/readyz` answers.
pub async fn ready(server: &Server) -> StatusCode {
    let mut client = Client::new(server.subscribe(), String::new());
    client.status("/readyz").await
}

/// Lets something happen: the start, so many answers, so many deliveries, or some time.
pub async fn a_moment(scene: &Scene, chance: &mut StdRng) {
    let Scene { load, receiver, .. } = scene;
    let more = chance.random_range(1..300);
    match chance.random_range(0..4) {
        0 => tokio::time::sleep(Duration::from_millis(chance.random_range(0..50))).await,
        1 => {
            let goal = load.answered.load(Ordering::SeqCst) + more;
            wait::until("more reports are answered", MOVES_WITHIN, async || load.answered.load(Ordering::SeqCst) >= goal).await;
        }
        2 => {
            let goal = receiver.requests() + more;
            wait::until("more is delivered", MOVES_WITHIN, async || receiver.requests() >= goal).await;
        }
        _ => tokio::time::sleep(Duration::from_millis(chance.random_range(50..800))).await,
    }
}
