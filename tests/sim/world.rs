//! The world of a walk: the whole server over a real file, receivers, people, and what they may expect (see `ledger`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringback::app::{App, AroundStore, Externals, Listeners, open_store};
use ringback::clock::{Environment, Ids, ManualClock, SeededEntropy, Stopwatch};
use ringback::config::{Config, Sources};
use ringback::domain::id::TokenId;
use ringback::domain::token::{Scope, Token, TokenText};
use ringback::store::{Change, Command, Write};
use ringback::transport::Resolve;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Reply, Request, try_send};
use crate::faulty::{Faults, Faulty};
use crate::ledger::Ledger;
use crate::receiver::Receiver;
use crate::sink::Sink;
use crate::walk::{Mood, RECEIVERS, Step, VENDORS, Verb};

/// How long a condition may take to come true by the machine's clock.
const PATIENCE: Duration = Duration::from_secs(20);
/// Filters that an endpoint may have; settings choose among them.
const FILTERS: [&[&str]; 4] = [&["recharge.*"], &["recharge.success"], &["*"], &["order.*"]];

struct NoNames;

#[async_trait::async_trait]
impl Resolve for NoNames {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// Where a walk takes place.
#[derive(Debug, Clone)]
pub enum Place {
    /// One server on a file.
    File,
    /// So many servers that share a database.
    Postgres(String, usize),
}

/// A server on threads of its own, so that it can die.
struct Server {
    runtime: Runtime,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

#[derive(Debug, Clone)]
pub struct Vendor {
    pub id: String,
    pub token: String,
}

/// An endpoint, as the one who made it knows it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub id: String,
    pub vendor: usize,
    receiver: usize,
    /// All secrets that it ever had.
    pub secrets: Vec<String>,
    pub filter: usize,
    /// It was strict from its first event on, and nothing was sent again: its events arrive in order.
    pub in_order: bool,
    /// Something of it was cancelled by a person.
    pub cancelled: bool,
    pub deleted: bool,
}

impl Endpoint {
    /// Whether its filter lets a type through.
    pub fn wants(&self, event_type: &str) -> bool {
        FILTERS[self.filter].iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => event_type.starts_with(prefix),
            None => event_type == *pattern,
        })
    }
}

pub struct World {
    config: Config,
    environment: Environment,
    clock: Arc<ManualClock>,
    faults: Arc<Faults>,
    /// All of them; none stands where one has just died.
    servers: Vec<Option<Server>>,
    /// The stores of all servers that are not quite gone.
    alive: Arc<()>,
    operator: String,
    keys: u64,
    pub receivers: Vec<Receiver>,
    pub vendors: Vec<Vendor>,
    pub endpoints: Vec<Endpoint>,
    pub ledger: Ledger,
    place: Place,
    folder: TempDir,
}

// --- The server ------------------------------------------------------------------------------------------------------

impl World {
    pub async fn begin(seed: u64, place: &Place) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (database, nodes) = match place {
            Place::File => (format!("sqlite:{}", folder.path().join("sim.db").display()), 1),
            Place::Postgres(url, nodes) => (url.clone(), *nodes),
        };
        let settings = [
            ("database", database),
            ("master_key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
            ("shard_lease", "1s".to_owned()),
            ("listen", "127.0.0.1:0".to_owned()),
            ("allow_networks", "127.0.0.1/32".to_owned()),
            ("require_https", "false".to_owned()),
            ("attempt_timeout", "300ms".to_owned()),
            ("connect_timeout", "250ms".to_owned()),
            ("drain_timeout", "2s".to_owned()),
            // The ledger expects all of the feed; the clock may have been set forward by hundreds of days.
            ("retention", "3650d".to_owned()),
            ("lane_window", ["4", "64", "1024"][(seed % 3) as usize].to_owned()),
        ];
        let flags = settings.into();
        let mut config = Config::read(Sources { flags, ..Sources::default() }).expect("the settings are good");
        // A pace for the processors' sake would wait for ever for a clock that stands still.
        config.bounds.behind_per_second = u32::MAX;
        let clock = Arc::new(ManualClock::at("2026-11-24T00:00:00Z".parse().expect("a time")));
        let environment = Environment { clock: clock.clone(), entropy: Arc::new(SeededEntropy::new(seed)), ids: Arc::new(Ids::new(0)) };
        let operator = make_operator(&config, &environment).await;
        let mut world = Self {
            config,
            environment,
            clock,
            faults: Arc::default(),
            servers: Vec::new(),
            alive: Arc::default(),
            operator,
            keys: 0,
            receivers: Vec::new(),
            vendors: Vec::new(),
            endpoints: Vec::new(),
            ledger: Ledger::default(),
            place: place.clone(),
            folder,
        };
        for number in 0..nodes {
            world.servers.push(None);
            world.start(number).await;
        }
        for _ in 0..RECEIVERS {
            world.receivers.push(Receiver::start().await);
        }
        for number in 0..VENDORS {
            let body = json!({"name": format!("Shop {number}"), "email": "shop@example.com"});
            let made = world.post("/v1/vendors", &world.operator.clone(), body).await;
            world.vendors.push(Vendor { id: text(&made, "id"), token: text(&made, "live_token") });
            world.add(number, number, number).await;
        }
        world
    }

    async fn start(&mut self, number: usize) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let (config, faults, alive) = (self.config.clone(), Arc::clone(&self.faults), Arc::clone(&self.alive));
        // A new process knows no id that another one made.
        let environment = Environment { ids: Arc::new(Ids::new(0)), ..self.environment.clone() };
        let task = runtime.spawn(async move {
            let around: AroundStore =
                Arc::new(move |inner| Arc::new(Faulty { inner, faults: Arc::clone(&faults), _alive: Arc::clone(&alive) }));
            let watch = Stopwatch::start();
            let app = loop {
                let (environment, around) = (environment.clone(), Some(Arc::clone(&around)));
                let outside = Externals { environment, resolver: Arc::new(NoNames), authorities: Vec::new(), around_store: around };
                match App::start(&config, outside).await {
                    Ok(app) => break app,
                    // One that died still holds the file for a moment.
                    Err(_) if watch.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(2)).await,
                    Err(error) => return Err(error),
                }
            };
            let listeners = Listeners::bind(&config).await?;
            tell.send(listeners.api.local_addr()?).expect("somebody waits for it");
            app.run(listeners, async { drop(stopped.await) }).await
        });
        let address = told.await.expect("the server starts");
        self.servers[number] = Some(Server { runtime, address, stop, task });
    }

    /// Stops it in good order, and starts it again.
    async fn restart(&mut self) {
        let number = self.some_server();
        self.stop(number).await;
        self.start(number).await;
    }

    /// Stops all servers.
    pub async fn stop_all(&mut self) {
        for number in 0..self.servers.len() {
            self.stop(number).await;
        }
    }

    async fn stop(&mut self, number: usize) {
        let Server { runtime, stop, task, .. } = self.servers[number].take().expect("it runs");
        stop.send(()).expect("it waits to be stopped");
        let ended = tokio::time::timeout(PATIENCE, task).await.expect("it stops in time").expect("it does not panic");
        ended.expect("it stops without an error");
        runtime.shutdown_background();
    }

    /// It dies where it stands, and is started again.
    async fn crash(&mut self) {
        let number = self.some_server();
        self.servers[number].take().expect("it runs").runtime.shutdown_background();
        if self.servers.len() == 1 {
            // A process that was killed writes nothing any more; here the thread that writes ends with what it had begun.
            let watch = Stopwatch::start();
            while Arc::strong_count(&self.alive) > 1 {
                assert!(watch.elapsed() < PATIENCE, "the store of a dead server is still there");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        self.start(number).await;
    }

    /// They are asked in turn.
    fn some_server(&self) -> usize {
        self.keys as usize % self.servers.len()
    }

    fn address(&self) -> SocketAddr {
        self.servers[self.some_server()].as_ref().expect("it runs").address
    }

    pub fn now(&self) -> ringback::domain::time::Timestamp {
        self.environment.clock.now()
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    // --- The API -----------------------------------------------------------------------------------------------------

    /// One call as a careful client makes it: with a key, again as long as nobody knows what became of it.
    pub async fn call(&mut self, method: &str, path: &str, token: &str, body: Option<Value>) -> Reply {
        self.keys += 1;
        let key = format!("key-{}", self.keys);
        let watch = Stopwatch::start();
        loop {
            let body = body.as_ref().map(|body| body.to_string().into_bytes());
            let headers = [("idempotency-key", key.as_str())];
            let headers = if method == "POST" { &headers[..] } else { &[] };
            let reply = try_send(self.address(), Request { method, path, token: Some(token), headers, body }).await;
            match reply {
                Some(reply) if [503, 507].contains(&reply.status) || reply.text.contains("\"in_progress\"") => {}
                Some(reply) => {
                    assert!(reply.status < 500 || reply.status == 502, "{method} {path}: {} {}", reply.status, reply.text);
                    return reply;
                }
                None => {}
            }
            assert!(watch.elapsed() < PATIENCE, "{method} {path} is never answered");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn get(&mut self, path: &str, token: &str) -> Value {
        let reply = self.call("GET", path, token, None).await;
        assert_eq!(reply.status, 200, "GET {path}: {}", reply.text);
        reply.json()
    }

    async fn post(&mut self, path: &str, token: &str, body: Value) -> Value {
        let reply = self.call("POST", path, token, Some(body)).await;
        assert!(reply.status < 300, "POST {path}: {} {}", reply.status, reply.text);
        reply.json()
    }

    /// All pages of a list.
    pub async fn all(&mut self, path: &str, token: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{separator}limit=200{cursor}"), token).await;
            items.append(page["data"].as_array_mut().expect("a list"));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Deliveries that have not ended, and replays, which may still open some.
    pub async fn unfinished(&mut self) -> u64 {
        let operator = self.operator.clone();
        let overview = self.get("/v1/overview", &operator).await;
        ["backlog", "running_replays"].iter().map(|field| overview[field].as_u64().expect("a number")).sum()
    }

    // --- Steps -------------------------------------------------------------------------------------------------------

    pub async fn step(&mut self, step: &Step) {
        match step.clone() {
            Step::Report { vendor, claims } => self.report(vendor, &claims).await,
            Step::Publish { vendor, key } => self.publish(vendor, key).await,
            Step::Add { vendor, receiver, settings } => {
                if self.endpoints.iter().filter(|one| one.vendor == vendor && !one.deleted).count() < 4 {
                    self.add(vendor, receiver, settings).await;
                }
            }
            Step::Change { endpoint, settings } => self.change(endpoint, settings).await,
            Step::Do { endpoint, verb } => self.act(endpoint % self.endpoints.len(), verb).await,
            Step::Resend { endpoint, nth } => self.on_delivery(endpoint, nth, "resend").await,
            Step::Cancel { endpoint, nth } => self.on_delivery(endpoint, nth, "cancel").await,
            Step::Resolve { nth, how } => self.resolve(nth, how).await,
            Step::Feel { receiver, mood } => self.receivers[receiver].feel(mood),
            Step::Pass { seconds } => {
                self.advance(Duration::from_secs(seconds));
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            Step::JumpAhead { hours } => self.clock.set_forward(Duration::from_secs(hours * 3600)),
            Step::Log(sink) => sink.set(),
            Step::LockRow { vendor } => self.lock_row(vendor).await,
            Step::MoveFile => self.move_file().await,
            Step::Prompt { endpoint } => self.prompt(endpoint % self.endpoints.len()).await,
            Step::SetBack { seconds } => self.clock.set_back(Duration::from_secs(seconds)),
            Step::Fail { fault, commits } => self.faults.arm(fault, commits),
            Step::Restart => {
                self.faults.clear();
                self.restart().await;
            }
            Step::Crash { reporting } => self.crash_while(reporting).await,
            Step::Breathe => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }

    fn reports(&self, vendor: usize, claims: &[(usize, &'static str)]) -> Value {
        let vendor = &self.vendors[vendor].id;
        let report =
            |(reference, status): &(usize, &str)| json!({"vendor_id": vendor, "reference_no": format!("R-{reference}"), "status": status});
        json!({"reports": claims.iter().map(report).collect::<Vec<_>>()})
    }

    async fn report(&mut self, vendor: usize, claims: &[(usize, &'static str)]) {
        let before = self.listening(vendor).await;
        let answer = self.post("/v1/reports", &self.operator.clone(), self.reports(vendor, claims)).await;
        for (result, (reference, claim)) in answer["results"].as_array().expect("results").iter().zip(claims) {
            let verdict = result["verdict"].as_str().expect("a verdict");
            assert!(["created", "accepted", "duplicate", "conflict"].contains(&verdict), "{result}");
            self.ledger.claim(vendor, *reference, claim);
        }
        self.expect_at(vendor, &before).await;
    }

    async fn publish(&mut self, vendor: usize, key: usize) {
        let before = self.listening(vendor).await;
        let body =
            json!({"vendor_id": self.vendors[vendor].id, "type": "order.made", "data": {"key": key}, "dedupe_key": format!("order-{key}")});
        let answer = self.post("/v1/events", &self.operator.clone(), body).await;
        self.ledger.published(vendor, key, &text(&answer, "id"));
        self.expect_at(vendor, &before).await;
    }

    /// Endpoints that get events now.
    async fn listening(&mut self, vendor: usize) -> Vec<usize> {
        let listed = self.all("/v1/endpoints", &self.vendors[vendor].token.clone()).await;
        let listens = |one: &Endpoint| {
            listed.iter().any(|seen| seen["id"] == one.id && (seen["status"] == "connected" || seen["status"] == "paused"))
        };
        (0..self.endpoints.len()).filter(|number| listens(&self.endpoints[*number])).collect()
    }

    /// What came to be meanwhile has a delivery to each endpoint that was listening all the while.
    async fn expect_at(&mut self, vendor: usize, before: &[usize]) {
        // In this order: an endpoint that a rule disables between the two is told of in the feed only afterwards.
        let fresh = self.read_feed(vendor).await;
        let after = self.listening(vendor).await;
        for number in before.iter().filter(|number| after.contains(number)) {
            let wanted = fresh.iter().filter(|(_, event_type)| self.endpoints[*number].wants(event_type));
            self.ledger.expected.extend(wanted.map(|(id, _)| (id.clone(), *number)));
        }
    }

    async fn add(&mut self, vendor: usize, receiver: usize, settings: usize) {
        let (number, filter, is_strict) = (self.endpoints.len(), settings % FILTERS.len(), settings / 4 % 3 == 1);
        let body = json!({
            "url": self.receivers[receiver].url(number),
            "event_types": FILTERS[filter],
            "ordering": if is_strict { "strict" } else { "none" },
            "rate_limit_per_second": if settings / 12 % 4 == 1 { json!(20) } else { Value::Null },
        });
        let token = self.vendors[vendor].token.clone();
        let made = self.post("/v1/endpoints", &token, body).await;
        let secrets = vec![text(&made, "secret")];
        let id = text(&made, "id");
        self.endpoints.push(Endpoint { id, vendor, receiver, secrets, filter, in_order: is_strict, cancelled: false, deleted: false });
        self.act(number, Verb::Connect).await;
    }

    async fn change(&mut self, endpoint: usize, settings: usize) {
        let number = endpoint % self.endpoints.len();
        let (filter, is_strict) = (settings % FILTERS.len(), settings / 4 % 3 == 1);
        let body = json!({"event_types": FILTERS[filter], "ordering": if is_strict { "strict" } else { "none" }});
        let token = self.vendors[self.endpoints[number].vendor].token.clone();
        let path = format!("/v1/endpoints/{}", self.endpoints[number].id);
        let reply = self.call("PATCH", &path, &token, Some(body)).await;
        let one = &mut self.endpoints[number];
        assert_eq!(reply.status, if one.deleted { 404 } else { 200 }, "{}", reply.text);
        if !one.deleted {
            (one.in_order, one.filter) = (one.in_order && is_strict, filter);
        }
    }

    async fn act(&mut self, number: usize, verb: Verb) {
        let one = self.endpoints[number].clone();
        let token = self.vendors[one.vendor].token.clone();
        let replay = |only: &str| json!({"since": "2020-01-01T00:00:00Z", "only": only});
        let (method, rest, body) = match verb {
            Verb::Connect => ("POST", "/connect", json!({})),
            Verb::Enable => ("POST", "/enable", json!({})),
            Verb::EnableAndReplay => ("POST", "/enable", json!({"replay_missed": true})),
            Verb::Disable => ("POST", "/disable", json!({})),
            Verb::Pause => ("POST", "/pause", json!({})),
            Verb::Resume => ("POST", "/resume", json!({})),
            Verb::Rotate => ("POST", "/rotate-secret", json!({"overlap_seconds": 3600})),
            Verb::CancelPending => ("POST", "/cancel-pending", json!({})),
            Verb::Delete => ("DELETE", "", json!({})),
            Verb::ReplayAll => ("POST", "/replay", replay("all")),
            Verb::ReplayMissed => ("POST", "/replay", replay("missed")),
            Verb::ReplayFailed => ("POST", "/replay", replay("failed")),
        };
        let reply = self.call(method, &format!("/v1/endpoints/{}{rest}", one.id), &token, Some(body)).await;
        let one = &mut self.endpoints[number];
        match verb {
            // A call whose answer was lost was made, and is made again.
            Verb::Delete => (one.deleted, one.cancelled) = (true, true),
            Verb::CancelPending => one.cancelled = true,
            Verb::EnableAndReplay | Verb::ReplayAll | Verb::ReplayMissed | Verb::ReplayFailed => one.in_order = false,
            Verb::Rotate if reply.status == 200 => one.secrets.push(text(&reply.json(), "secret")),
            _ => {}
        }
        assert!([200, 202, 204, 404, 409, 422].contains(&reply.status), "{verb:?}: {} {}", reply.status, reply.text);
        assert!(reply.status != 404 || one.deleted, "{verb:?}: {}", reply.text);
    }

    async fn on_delivery(&mut self, endpoint: usize, nth: usize, verb: &str) {
        let number = endpoint % self.endpoints.len();
        let one = self.endpoints[number].clone();
        let token = self.vendors[one.vendor].token.clone();
        let list = self.get(&format!("/v1/deliveries?endpoint_id={}&limit=16", one.id), &token).await;
        let list = list["data"].as_array().expect("a list");
        if list.is_empty() {
            return;
        }
        let id = text(&list[nth % list.len()], "id");
        let reply = self.call("POST", &format!("/v1/deliveries/{id}/{verb}"), &token, Some(json!({}))).await;
        assert!([200, 202, 409].contains(&reply.status), "{verb}: {} {}", reply.status, reply.text);
        let one = &mut self.endpoints[number];
        (one.in_order, one.cancelled) = (false, one.cancelled || verb == "cancel");
    }

    async fn resolve(&mut self, nth: usize, how: &'static str) {
        let operator = self.operator.clone();
        let open = self.all("/v1/conflicts?state=open", &operator).await;
        if open.is_empty() {
            return;
        }
        let conflict = &open[nth % open.len()];
        let recharge = self.get(&format!("/v1/recharges/{}", text(conflict, "recharge_id")), &operator).await;
        let vendor = self.vendors.iter().position(|one| recharge["vendor_id"] == one.id).expect("a vendor's");
        let before = self.listening(vendor).await;
        let path = format!("/v1/conflicts/{}/resolve", text(conflict, "id"));
        let reply = self.call("POST", &path, &operator, Some(json!({"as": how, "reason": "the provider says so"}))).await;
        assert!([200, 409, 422].contains(&reply.status), "{}", reply.text);
        let now = self.get(&format!("/v1/recharges/{}", text(conflict, "recharge_id")), &operator).await;
        let (reference, status) = (text(&now, "reference_no"), text(&now, "status"));
        self.ledger.resolved(vendor, &reference, how, &status, reply.status == 200);
        self.expect_at(vendor, &before).await;
    }

    async fn crash_while(&mut self, reporting: Option<usize>) {
        let Some(vendor) = reporting else { return self.crash().await };
        let claims = [(0, "success"), (1, "failed"), (2, "queued"), (3, "success")];
        let (address, operator, body) = (self.address(), self.operator.clone(), self.reports(vendor, &claims).to_string().into_bytes());
        let asked = tokio::spawn(async move {
            let request = Request { method: "POST", path: "/v1/reports", token: Some(&operator), headers: &[], body: Some(body) };
            try_send(address, request).await.is_some_and(|reply| reply.status == 200)
        });
        tokio::time::sleep(Duration::from_micros(self.keys % 40 * 60)).await;
        self.crash().await;
        drop(asked.await);
        // Nobody knows what became of it, so that it is asked again; which of the two was taken makes no difference.
        self.faults.clear();
        self.report(vendor, &claims).await;
    }

    /// A new event for an endpoint whose receiver accepts it is there within minutes, whatever else it has been sent.
    async fn prompt(&mut self, number: usize) {
        const WITHIN: u32 = 100;
        let one = self.endpoints[number].clone();
        let is_well = matches!(self.receivers[one.receiver].mood(), Mood::Well | Mood::Slow | Mood::Picky);
        if one.deleted || !is_well || !one.wants("order.made") {
            return;
        }
        self.faults.clear();
        let (token, path) = (self.vendors[one.vendor].token.clone(), format!("/v1/endpoints/{}", one.id));
        let is_open = |seen: &Value| seen["status"] == "connected" && seen["ordering"] == "none";
        if !is_open(&self.get(&path, &token).await) {
            return;
        }
        let key = 1000 + self.keys as usize;
        self.publish(one.vendor, key).await;
        let id = self.ledger.id_of(one.vendor, key);
        let patience = if self.servers.len() > 1 { 10 * WITHIN } else { WITHIN };
        for _ in 0..patience {
            let got = self.receivers[one.receiver].got();
            let has_it = got.iter().any(|request| request.endpoint == number && request.taken && request.header("webhook-id") == id);
            if has_it || !is_open(&self.get(&path, &token).await) {
                return;
            }
            self.advance(Duration::from_secs(3));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let seen = self.get(&path, &token).await;
        panic!("{id} did not get to {} within {patience} steps of 3 s, though its receiver is well: {seen:#}", one.id);
    }

    /// What is locked for one vendor holds up no other.
    async fn lock_row(&mut self, vendor: usize) {
        const LOCKED: Duration = Duration::from_secs(3);
        let Place::Postgres(url, _) = &self.place else { return };
        self.faults.clear();
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the database answers");
        let connection = tokio::spawn(connection);
        let lock = "BEGIN; SELECT 1 FROM stream s JOIN vendor v ON v.id = s.vendor WHERE v.name = 'Shop NAME' FOR UPDATE OF s";
        client.batch_execute(&lock.replace("NAME", &vendor.to_string())).await.expect("the row is locked");
        let (watch, other) = (Stopwatch::start(), (vendor + 1) % VENDORS);
        let held = tokio::spawn(async move {
            tokio::time::sleep(LOCKED).await;
            client.batch_execute("ROLLBACK").await.expect("the row is released");
        });
        let blocked = (self.address(), self.operator.clone(), self.reports(vendor, &[(0, "queued")]).to_string().into_bytes());
        let waits = tokio::spawn(async move {
            let (address, operator, body) = blocked;
            let request = Request { method: "POST", path: "/v1/reports", token: Some(&operator), headers: &[], body: Some(body) };
            try_send(address, request).await.map(|reply| reply.status)
        });
        for _ in 0..3 {
            self.report(other, &[(1, "success"), (2, "failed")]).await;
        }
        assert!(watch.elapsed() < LOCKED, "reports of another vendor waited for the lock: {:?}", watch.elapsed());
        held.await.expect("it does not panic");
        let status = waits.await.expect("it does not panic");
        assert!(matches!(status, Some(200 | 503)), "{status:?}");
        self.report(vendor, &[(0, "queued")]).await;
        connection.abort();
    }

    /// Nothing is accepted for long into a file that has lost its name, and all goes on when it is back.
    async fn move_file(&mut self) {
        let Place::File = self.place else { return };
        self.faults.clear();
        let file = self.folder.path().join("sim.db");
        std::fs::rename(&file, file.with_extension("away")).expect("it is moved");
        let watch = Stopwatch::start();
        let body = self.reports(0, &[(0, "queued")]).to_string().into_bytes();
        loop {
            let request =
                Request { method: "POST", path: "/v1/reports", token: Some(&self.operator), headers: &[], body: Some(body.clone()) };
            if try_send(self.address(), request).await.is_some_and(|reply| reply.status == 503) {
                break;
            }
            self.ledger.claim(0, 0, "queued");
            assert!(watch.elapsed() < PATIENCE, "reports are accepted into a file that is gone");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let request = Request { method: "GET", path: "/readyz", token: None, headers: &[], body: None };
        assert_eq!(try_send(self.address(), request).await.map(|reply| reply.status), Some(503));
        std::fs::rename(file.with_extension("away"), &file).expect("it is put back");
        self.report(0, &[(0, "queued")]).await;
    }

    // --- The end -----------------------------------------------------------------------------------------------------

    /// All is well again: everything that is pending ends.
    pub async fn end_well(&mut self) {
        self.faults.clear();
        Sink::Well.set();
        self.receivers.iter().for_each(|receiver| receiver.feel(Mood::Well));
        for number in 0..self.endpoints.len() {
            if !self.endpoints[number].deleted {
                self.act(number, Verb::Resume).await;
                self.act(number, Verb::Enable).await;
            }
        }
        if self.servers.len() > 1 {
            // What a dead one had is taken over when its lease has run out, by the machine's clock.
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        let (watch, mut passed) = (Stopwatch::start(), Duration::ZERO);
        while self.unfinished().await > 0 {
            let unfinished = self.unfinished().await;
            assert!(watch.elapsed() < PATIENCE, "{unfinished} deliveries and replays are still open after {passed:?}");
            // In small steps at first: what is due is to be sent, not to run into its deadline.
            let step = if passed < Duration::from_secs(3600) { Duration::from_secs(20) } else { Duration::from_secs(600) };
            if passed < Duration::from_secs(80 * 3600) {
                self.advance(step);
                passed += step;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    }
}

async fn make_operator(config: &Config, environment: &Environment) -> String {
    let text = TokenText::new(&Scope::Operator, &[7; TokenText::RANDOM]);
    let now = environment.clock.now();
    let id = TokenId::from(environment.ids.next(now));
    let token = Token { id, scope: Scope::Operator, name: "sim".to_owned(), allowed_ips: Vec::new(), created_at: now, last_used_at: None };
    let store = open_store(config, environment.clone()).await.expect("the store opens");
    let change = Change { command: Command::CreateToken(token, text.hash()), now, note: None, keep: None };
    store.commit(vec![Write::Change(Box::new(change))]).await.1.expect("the token is stored");
    text.expose().to_owned()
}

/// A text field.
#[track_caller]
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}
