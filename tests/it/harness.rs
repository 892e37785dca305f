//! The real server on port 0, over a real SQLite file, with a clock that tests move and names that tests tell.
//!
//! Each test runs on one thread, so that what the server logs can be told from what its neighbours log. At the end
//! [`TestApp::finish`] stops the server and sees that nothing is left: no open delivery, no error in the log, no damage
//! in the file. A test that forgets to call it fails.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ringback::app::{App, Externals, Listeners, open_store};
use ringback::clock::{Clock, Environment, Ids, ManualClock, SeededEntropy, Stopwatch, SystemClock};
use ringback::config::{Config, Sources};
use ringback::domain::id::TokenId;
use ringback::domain::time::Timestamp;
use ringback::domain::token::{Scope, Token, TokenText};
use ringback::ops::new_operator_user;
use ringback::store::{Change, Command, Write};
use ringback::transport::Resolve;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Reply, Request, send};
use crate::receiver::Receiver;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `find` finds something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, find: impl Fn() -> F) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = find().await {
            return found;
        }
        assert!(watch.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Names to addresses as tests tell them; a name that was not told does not resolve.
#[derive(Default)]
pub struct Names(Mutex<HashMap<String, Vec<IpAddr>>>);

/// Whoever is asked for this name never answers.
pub const NAME_THAT_HANGS: &str = "hangs.example";

impl Names {
    pub fn tell(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        self.0.lock().insert(name.to_owned(), addresses);
    }
}

#[async_trait::async_trait]
impl Resolve for Names {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if name == NAME_THAT_HANGS {
            std::future::pending::<()>().await;
        }
        self.0.lock().get(name).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name"))
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a test's server is made of.
#[derive(Default)]
pub struct Setup {
    settings: Vec<(&'static str, String)>,
    authorities: Vec<CertificateDer<'static>>,
    real_time: bool,
    file: Option<String>,
}

impl Setup {
    /// A configuration file.
    pub fn file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self
    }

    /// A setting by name.
    pub fn set(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// A certificate authority beside the system's.
    pub fn trust(mut self, authority: CertificateDer<'static>) -> Self {
        self.authorities.push(authority);
        self
    }

    /// The machine's clock in place of the manual one.
    pub fn real_time(mut self) -> Self {
        self.real_time = true;
        self
    }

    pub async fn start(self) -> TestApp {
        let folder = TempDir::new().expect("a folder");
        let database = format!("sqlite:{}", folder.path().join("it.db").display());
        // Plain HTTP on this machine is what most tests need; those about the rules set them again.
        let first =
            [("database", database.as_str()), ("listen", "127.0.0.1:0"), ("allow_networks", "127.0.0.1/32"), ("require_https", "false")];
        let flags = first.into_iter().map(|(name, value)| (name, value.to_owned())).chain(self.settings).collect();
        let file = self.file.map(|text| {
            let path = folder.path().join("it.toml");
            std::fs::write(&path, text).expect("the file is written");
            path
        });
        let mut config = Config::read(Sources { flags, file, ..Sources::default() }).expect("the settings are good");
        // A pace for the processors' sake would wait for ever for a clock that stands still; the board's own tests have it.
        config.bounds.behind_per_second = u32::MAX;
        let manual = Arc::new(ManualClock::at("2026-11-24T00:00:00Z".parse().expect("a time")));
        let clock: Arc<dyn Clock> = if self.real_time { Arc::new(SystemClock) } else { manual.clone() };
        let environment = Environment { clock, entropy: Arc::new(SeededEntropy::new(7)), ids: Arc::new(Ids::new(0)) };
        let log = Log::default();
        let writer = log.clone();
        let errors = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_ansi(false).with_writer(move || writer.clone());
        let logging = tracing::subscriber::set_default(errors.finish());
        let operator = make_operator(&config, &environment).await;
        let mut app = TestApp {
            address: config.listen,
            metrics_address: None,
            operator,
            clock: manual,
            names: Arc::default(),
            folder,
            config,
            environment,
            authorities: self.authorities,
            running: None,
            finished: false,
            log,
            _logging: logging,
        };
        app.run().await;
        app
    }
}

async fn make_operator(config: &Config, environment: &Environment) -> String {
    let text = TokenText::new(&Scope::Operator, &[7; TokenText::RANDOM]);
    let now = environment.clock.now();
    let id = TokenId::from(environment.ids.next(now));
    let token = Token { id, scope: Scope::Operator, name: "test".to_owned(), allowed_ips: Vec::new(), created_at: now, last_used_at: None };
    let store = open_store(config, environment.clone()).await.expect("the store opens");
    let change = Change { command: Command::CreateToken(token, text.hash()), now, note: None, keep: None };
    store.commit(vec![Write::Change(Box::new(change))]).await.1.expect("the token is stored");
    text.expose().to_owned()
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// A running server.
pub struct TestApp {
    pub address: SocketAddr,
    /// Where health and metrics are, if they have an address of their own.
    pub metrics_address: Option<SocketAddr>,
    /// The operator's token.
    pub operator: String,
    pub clock: Arc<ManualClock>,
    pub names: Arc<Names>,
    folder: TempDir,
    config: Config,
    environment: Environment,
    authorities: Vec<CertificateDer<'static>>,
    running: Option<Running>,
    finished: bool,
    log: Log,
    _logging: tracing::subscriber::DefaultGuard,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.finished, "call finish() at the end of the test");
        }
    }
}

/// A vendor with its tokens.
#[derive(Debug, Clone)]
pub struct Vendor {
    pub id: String,
    pub live: String,
    pub test: String,
}

/// An endpoint of a vendor's live mode.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub id: String,
    pub secret: String,
    pub token: String,
}

// --- The server ------------------------------------------------------------------------------------------------------

impl TestApp {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With these settings.
    pub async fn with(settings: &[(&'static str, &str)]) -> Self {
        settings.iter().fold(Setup::default(), |setup, (name, value)| setup.set(name, value)).start().await
    }

    async fn run(&mut self) {
        let outside = Externals {
            environment: self.environment.clone(),
            resolver: self.names.clone(),
            authorities: self.authorities.clone(),
            around_store: None,
        };
        let app = App::start(&self.config, outside).await.expect("the server starts");
        let listeners = Listeners::bind(&self.config).await.expect("a port");
        self.address = listeners.api.local_addr().expect("an address");
        self.metrics_address = listeners.metrics.as_ref().map(|listener| listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(app.run(listeners, async { drop(stopped.await) }));
        self.running = Some(Running { stop, task });
    }

    /// Stops the server in an orderly way.
    pub async fn stop(&mut self) {
        let Running { stop, task } = self.running.take().expect("it runs");
        stop.send(()).expect("it waits to be stopped");
        let ended = tokio::time::timeout(PATIENCE, task).await.expect("it stops in time").expect("it does not panic");
        ended.expect("it stops without an error");
    }

    /// Starts it again on the same file.
    pub async fn start_again(&mut self) {
        self.run().await;
    }

    /// Stops it and starts it again on the same file.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// Takes back what `allow_networks` allowed; in force after the next start.
    pub fn allow_nothing(&mut self) {
        self.config.allow_networks.clear();
    }

    /// From the next start on mails go through this server.
    pub fn mail_through(&mut self, url: &str, from: &str) {
        self.config.mail = Some((url.to_owned(), from.to_owned()));
    }

    /// The end of a test: nothing is open.
    pub async fn finish(self) {
        self.finish_leaving(0).await;
    }

    /// The end of a test that leaves this many deliveries open on purpose.
    pub async fn finish_leaving(mut self, open: u64) {
        self.finished = true;
        if self.running.is_some() {
            self.stop().await;
        }
        assert_eq!(self.open_runs(), open, "deliveries that are still open");
        let check: String = self.database().query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be checked");
        assert_eq!(check, "ok");
        let logged = String::from_utf8_lossy(&self.log.0.lock()).into_owned();
        assert!(logged.is_empty(), "errors were logged: {logged}");
    }

    /// The database file.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("it.db")
    }

    /// A connection of its own to the database file, beside the server's.
    pub fn database(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(self.file()).expect("the file opens");
        conn.busy_timeout(Duration::from_secs(5)).expect("it waits");
        conn
    }

    /// How many runs are open.
    pub fn open_runs(&self) -> u64 {
        self.database().query_row("SELECT count(*) FROM open_delivery", [], |row| row.get(0)).expect("it can be counted")
    }

    /// How many rows each table has, but for the server's own notes in `meta`.
    pub fn rows(&self) -> Vec<(String, i64)> {
        let database = self.database();
        let mut tables =
            database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'meta' ORDER BY name").expect("tables");
        let tables: Vec<String> = tables.query_map([], |row| row.get(0)).expect("names").collect::<Result<_, _>>().expect("names");
        let count = |table: String| {
            let count = database.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0)).expect("a count");
            (table, count)
        };
        tables.into_iter().map(count).collect()
    }

    // --- Time --------------------------------------------------------------------------------------------------------

    pub fn now(&self) -> Timestamp {
        self.environment.clock.now()
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Moves the clock to the time in `field` (RFC 3339) and answers how far that was.
    pub fn advance_to(&self, field: &Value) -> Duration {
        let by = time(field).since(self.now());
        self.clock.advance(by);
        by
    }

    /// Waits until `count` has stood still for a while: nothing more happens by itself.
    pub async fn quiet(&self, count: impl Fn() -> usize) -> usize {
        let (mut last, mut still) = (count(), 0);
        while still < 12 {
            // A round through the server and its store lets everything take its turn.
            self.call("GET", "/readyz", "", None).await.expect_text(200);
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = count();
            still = if now == last { still + 1 } else { 0 };
            last = now;
        }
        last
    }

    // --- The API -----------------------------------------------------------------------------------------------------

    pub async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Reply {
        let body = body.map(|body| body.to_string().into_bytes());
        let token = (!token.is_empty()).then_some(token);
        send(self.address, Request { method, path, token, body, ..Request::default() }).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Reply {
        self.call("GET", path, token, None).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Reply {
        self.call("POST", path, token, Some(body)).await
    }

    /// A login of the operator's, as the command makes it.
    pub async fn operator_login(&self, email: &str, password: &str) {
        let (user, hash) = new_operator_user(email, password, &self.environment).await.expect("a good login");
        let store = open_store(&self.config, self.environment.clone()).await.expect("the store opens");
        let change = Change { command: Command::CreateUser(user, hash), now: self.now(), note: None, keep: None };
        store.commit(vec![Write::Change(Box::new(change))]).await.1.expect("the login is stored");
    }

    /// What the server answers to these bytes.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    pub async fn vendor(&self) -> Vendor {
        let made = self.post("/v1/vendors", &self.operator, json!({"name": "Shop", "email": "shop@example.com"})).await.expect(201);
        Vendor { id: text(&made["id"]), live: text(&made["live_token"]), test: text(&made["test_token"]) }
    }

    /// Makes an endpoint in live mode.
    pub async fn endpoint(&self, vendor: &Vendor, settings: Value) -> Endpoint {
        let made = self.post("/v1/endpoints", &vendor.live, settings).await.expect(201);
        assert_eq!(made["status"], "not_connected");
        Endpoint { id: text(&made["id"]), secret: text(&made["secret"]), token: vendor.live.clone() }
    }

    pub async fn connect(&self, endpoint: &Endpoint) -> Value {
        self.on(endpoint, "connect").await.expect(200)
    }

    /// Calls `POST /v1/endpoints/{id}/{verb}`.
    pub async fn on(&self, endpoint: &Endpoint, verb: &str) -> Reply {
        self.call("POST", &format!("/v1/endpoints/{}/{verb}", endpoint.id), &endpoint.token, None).await
    }

    /// Lets time pass, so many steps of it, and each time until nothing more comes of it.
    pub async fn pass(&self, hook: &Receiver, steps: u32, step: Duration) {
        for _ in 0..steps {
            self.advance(step);
            self.quiet(|| hook.count()).await;
        }
    }

    /// An endpoint's status.
    pub async fn status(&self, endpoint: &Endpoint) -> Value {
        self.read_endpoint(endpoint).await["status"].clone()
    }

    /// Waits for a status of an endpoint, and answers with the endpoint.
    pub async fn until_status(&self, endpoint: &Endpoint, status: &str) -> Value {
        let read = || async { Some(self.read_endpoint(endpoint).await).filter(|seen| seen["status"] == status) };
        until(&format!("the endpoint is {status}"), read).await
    }

    pub async fn read_endpoint(&self, endpoint: &Endpoint) -> Value {
        self.get(&format!("/v1/endpoints/{}", endpoint.id), &endpoint.token).await.expect(200)
    }

    /// A connected endpoint at a receiver, with more settings; the handshake is forgotten.
    pub async fn connected_with(&self, vendor: &Vendor, hook: &Receiver, mut settings: Value) -> Endpoint {
        if settings["url"].is_null() {
            settings["url"] = json!(hook.url());
        }
        let endpoint = self.endpoint(vendor, settings).await;
        self.connect(&endpoint).await;
        hook.forget();
        endpoint
    }

    pub async fn connected(&self, vendor: &Vendor, hook: &Receiver) -> Endpoint {
        self.connected_with(vendor, hook, json!({})).await
    }

    /// Reports a live recharge each as successful; answers with the events' ids.
    pub async fn succeed(&self, vendor: &Vendor, references: impl IntoIterator<Item = String>) -> Vec<String> {
        let report = |reference| json!({"vendor_id": vendor.id, "reference_no": reference, "status": "success"});
        let reports: Vec<Value> = references.into_iter().map(report).collect();
        let answer = self.post("/v1/reports", &self.operator, json!({"reports": reports})).await.expect(200);
        answer["results"].as_array().expect("results").iter().map(|result| text(&result["event_id"])).collect()
    }

    /// The same for one.
    pub async fn succeed_one(&self, vendor: &Vendor, reference: &str) -> String {
        self.succeed(vendor, [reference.to_owned()]).await.remove(0)
    }

    /// The delivery of an event to an endpoint.
    pub async fn delivery(&self, endpoint: &Endpoint, event: &str) -> Value {
        let path = format!("/v1/deliveries?event_id={event}&endpoint_id={}", endpoint.id);
        let mut list = self.get(&path, &endpoint.token).await.expect(200);
        let id = text(&list["data"][0]["id"]);
        assert_eq!(list["data"].as_array_mut().map(|list| list.len()), Some(1));
        self.get(&format!("/v1/deliveries/{id}"), &endpoint.token).await.expect(200)
    }

    /// Waits until a delivery is as `is` wants it.
    pub async fn until_delivery(&self, endpoint: &Endpoint, event: &str, is: impl Fn(&Value) -> bool) -> Value {
        let last = Mutex::new(Value::Null);
        let watch = Stopwatch::start();
        while watch.elapsed() < PATIENCE {
            let delivery = self.delivery(endpoint, event).await;
            if is(&delivery) {
                return delivery;
            }
            *last.lock() = delivery;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("waited in vain for this delivery: {:#}", last.lock());
    }

    pub async fn until_state(&self, endpoint: &Endpoint, event: &str, state: &str) -> Value {
        self.until_delivery(endpoint, event, |delivery| delivery["state"] == state).await
    }

    /// Waits until a delivery has had this many attempts.
    pub async fn until_attempts(&self, endpoint: &Endpoint, event: &str, count: usize) -> Value {
        self.until_delivery(endpoint, event, |delivery| attempts(delivery).len() == count).await
    }

    /// How many deliveries of an endpoint are in a state (up to a page of 200).
    pub async fn count(&self, endpoint: &Endpoint, state: &str) -> usize {
        let path = format!("/v1/deliveries?endpoint_id={}&state={state}&limit=200", endpoint.id);
        self.get(&path, &endpoint.token).await.expect(200)["data"].as_array().map_or(0, Vec::len)
    }

    /// Waits until that is `count`.
    pub async fn until_count(&self, endpoint: &Endpoint, state: &str, count: usize) {
        until(&format!("{count} {state} deliveries"), || async { (self.count(endpoint, state).await == count).then_some(()) }).await
    }
}

impl Reply {
    /// The body as it is, after seeing the status.
    #[track_caller]
    pub fn expect_text(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.text);
        &self.text
    }
}

// --- Values ----------------------------------------------------------------------------------------------------------

#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text")).to_owned()
}

#[track_caller]
pub fn time(value: &Value) -> Timestamp {
    text(value).parse().expect("a time")
}

pub fn attempts(delivery: &Value) -> &[Value] {
    delivery["attempts"].as_array().expect("attempts")
}

/// A path as the OpenAPI document has it: what stands there for an id is `{id}`.
pub fn route(method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let is_id = |part: &&str| part.split_once('_').is_some_and(|(_, rest)| rest.len() >= 13);
    let parts: Vec<&str> = path.split('/').map(|part| if is_id(&part) { "{id}" } else { part }).collect();
    format!("{method} {}", parts.join("/"))
}

/// All calls of the OpenAPI document with what it says of them. All ids in a path are called `{id}`.
pub fn documented() -> Vec<(String, Value)> {
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).expect("the document is JSON");
    let paths = document["paths"].as_object().expect("paths").clone();
    let calls = paths.into_iter().flat_map(|(path, methods)| {
        let path = path.replace("{token_id}", "{id}").replace("{user_id}", "{id}");
        let calls: Vec<_> = methods.as_object().expect("methods").clone().into_iter().collect();
        calls.into_iter().map(move |(method, call)| (format!("{} {path}", method.to_uppercase()), call))
    });
    calls.collect()
}

/// `R-1` to `R-count`.
pub fn references(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("R-{number}"))
}
