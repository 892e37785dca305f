//! `ringback doctor`: looks at a running installation, and says what is wrong and what to do. It changes nothing (but, as every
//! command that opens the store, it brings an older database up to date).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::json;
use url::Url;

use super::Settings;
use super::remote;
use super::style::{BAD, FAINT, GOOD, ODD};
use crate::app::{self, Outside, open_store};
use crate::clock::Ids;
use crate::config::{Config, Database};
use crate::domain::shard::SHARDS;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
use crate::store::cluster::Node;
use crate::store::{Overview, Page, Store, sqlite};
use crate::transport::guard::Guard;
use crate::transport::mail::Mailer;
use crate::transport::{self, Resolve, Target, Transport, tls_config};

/// How long a server, a name server or a mail server may take to say something.
const WITHIN: Duration = Duration::from_secs(5);
/// A disk with less than this left is nearly full, in bytes; or with less than a twentieth of it.
const ROOM: u64 = 1 << 30;
/// Deliveries that wait beyond this number are worth a look.
const BACKLOG: u64 = 100_000;
/// Vendors that are looked at, and endpoints that are tried to be reached.
const REACHED: usize = 20;
/// Ids carry the time of their making; ones that lie ahead by more than this were made by a clock that was wrong.
const AHEAD: Duration = Duration::from_secs(60);

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: Settings,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    /// Worth a look.
    Odd,
    Bad,
}

/// What was looked at, and what was seen.
struct Finding {
    part: &'static str,
    grade: Grade,
    seen: String,
    /// What to do; empty where nothing has to be done.
    advice: String,
}

fn good(part: &'static str, seen: impl Into<String>) -> Finding {
    Finding { part, grade: Grade::Good, seen: seen.into(), advice: String::new() }
}

fn odd(part: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { part, grade: Grade::Odd, seen: seen.into(), advice: advice.into() }
}

fn bad(part: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { part, grade: Grade::Bad, seen: seen.into(), advice: advice.into() }
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.settings.read()?;
        let findings = super::runtime()?.block_on(examine(&config))?;
        if self.json {
            let one = |finding: &Finding| {
                let grade = ["good", "odd", "bad"][finding.grade as usize];
                json!({"part": finding.part, "grade": grade, "seen": finding.seen, "advice": finding.advice})
            };
            anstream::println!("{:#}", json!(findings.iter().map(one).collect::<Vec<_>>()));
        } else {
            findings.iter().for_each(tell);
        }
        match findings.iter().filter(|finding| finding.grade == Grade::Bad).count() {
            0 => Ok(()),
            1 => bail!("one thing is wrong"),
            count => bail!("{count} things are wrong"),
        }
    }
}

fn tell(finding: &Finding) {
    let (style, sign) = match finding.grade {
        Grade::Good => (GOOD, "✓"),
        Grade::Odd => (ODD, "!"),
        Grade::Bad => (BAD, "✗"),
    };
    anstream::println!("{style}{sign}{style:#} {:<12} {}", finding.part, finding.seen);
    if !finding.advice.is_empty() {
        anstream::println!("{FAINT}               {}{FAINT:#}", finding.advice);
    }
}

async fn examine(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let outside = Outside::system();
    let mut findings = vec![good("settings", "they can be used")];
    findings.push(server(config).await);
    if let Some(file) = config.database.file() {
        findings.push(disk(file));
    }
    if config.database.file().is_some_and(|file| !file.exists()) {
        findings.push(bad("store", "there is no database yet", "start the server once, or name the database with --database"));
        return Ok(findings);
    }
    if let Some(path) = config.database.file() {
        findings.push(file(path));
    }
    let store = match open_store(config, outside.surroundings.clone()).await {
        Ok(store) => store,
        // It says what to do itself: a wrong master key, a newer schema, a database that is away.
        Err(error) => {
            findings.push(bad("store", format!("{error:#}"), "nothing is sent and nothing accepted until that is mended"));
            return Ok(findings);
        }
    };
    findings.push(good("store", format!("{} opens, and the master key is the right one", named(&config.database))));
    let now = outside.surroundings.clock.now();
    findings.push(clock(&*store, now).await);
    let overview = store.overview(now).await?;
    findings.extend(standing(&overview, store.open_count().await?));
    if matches!(config.database, Database::Postgres(_)) {
        findings.extend(nodes(&app::cluster(config).await?.nodes().await?));
    }
    findings.push(mail(config, Arc::clone(&outside.resolver)).await);
    findings.push(outbound(config, &*store, outside).await);
    findings.push(if config.rules.public_url.is_some() {
        good("public_url", "links in mails and pages lead to it")
    } else {
        odd("public_url", "it is not set", "links in mails lead to the listen address; set it to what people and providers reach")
    });
    Ok(findings)
}

fn named(database: &Database) -> String {
    match database {
        Database::Sqlite(path) => path.display().to_string(),
        Database::Postgres(_) => "the PostgreSQL database".to_owned(),
    }
}

/// Whether a server answers where the settings say that one listens.
async fn server(config: &Config) -> Finding {
    let address = config.metrics_listen.unwrap_or(config.listen);
    let host = if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() };
    let advice = "start it with ringback serve and these settings; if it runs with others, give them to doctor too";
    let url: Url = match format!("http://{host}/readyz").parse() {
        Ok(url) => url,
        Err(_) => return bad("server", format!("{host} is no address that can be asked"), advice),
    };
    let (Ok(target), Ok(transport)) = (Target::new(&url), remote::transport(WITHIN)) else {
        return bad("server", format!("{host} cannot be asked"), advice);
    };
    let answer = transport.send(&target, || http::Request::new(bytes::Bytes::new())).await;
    let body = answer.as_ref().ok().and_then(|outcome| outcome.answer_body.clone()).unwrap_or_default();
    let said = String::from_utf8_lossy(&body).into_owned();
    match answer.map(|outcome| (outcome.status, outcome.error)) {
        Ok((Some(200), _)) => good("server", format!("it is ready at {host}")),
        Ok((Some(503), _)) => bad(
            "server",
            format!("it runs at {host} and is not ready: {}", said.trim()),
            "its log says more; most often the database is away or its disk is full",
        ),
        Ok((Some(status), _)) => bad("server", format!("{host}/readyz answered {status}"), "something else listens there"),
        Ok((None, error)) => bad("server", format!("nothing answers at {host}: {}", error.unwrap_or_default()), advice),
        Err(fault) => bad("server", fault.text, advice),
    }
}

/// How much room the file has to grow.
fn disk(file: &Path) -> Finding {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return bad("disk", format!("{} cannot be looked at", folder.display()), "check that the folder is there and can be read");
    };
    let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    let size: u64 =
        ["", "-wal"].iter().filter_map(|end| std::fs::metadata(format!("{}{end}", file.display())).ok()).map(|found| found.len()).sum();
    let seen = format!("the database has {}, its disk {} of {} left", bytes(size), bytes(free), bytes(all));
    if free < ROOM && free < all / 20 {
        return bad("disk", seen, "make room: with a full disk everything is refused (507). Shorter retention, or a larger disk");
    }
    good("disk", seen)
}

/// Whether the file is whole, and has all that was committed to it.
fn file(path: &Path) -> Finding {
    match sqlite::examine(path) {
        Ok(found) if found.is_empty() => good("file", "the database file is whole, and has all that was committed to it"),
        Ok(found) => bad("file", found.join("; "), "stop the server, and restore a backup with ringback restore"),
        Err(error) => bad("file", error.to_string(), "check that this user may read the file"),
    }
}

/// A size for people.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{} kB", count / 1000),
        1_000_000..1_000_000_000 => format!("{} MB", count / 1_000_000),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

/// Whether what was made last was made by a clock that was ahead of this one.
async fn clock(store: &dyn Store, now: Timestamp) -> Finding {
    let latest =
        store.vendors(Page { before: None, limit: 1 }).await.ok().and_then(|vendors| vendors.first().map(|vendor| vendor.id.get()));
    match latest.map(Ids::time_of) {
        Some(at) if at > now.plus(AHEAD) => bad(
            "clock",
            format!("it is {now}, and something was made at {at}"),
            "set this machine's clock: signatures with a wrong time are refused by receivers",
        ),
        _ => good("clock", format!("it is {now}; receivers allow five minutes")),
    }
}

fn standing(overview: &Overview, open: u64) -> Vec<Finding> {
    let mut found = vec![if open > BACKLOG {
        odd(
            "backlog",
            format!("{open} deliveries have not ended"),
            "see the panel's issues: most often one endpoint is down and holds most of it",
        )
    } else {
        good("backlog", format!("{open} deliveries have not ended"))
    }];
    let mut some = |part, count: u64, what: &str, advice: &str| {
        found.push(if count > 0 { odd(part, format!("{count} {what}"), advice) } else { good(part, format!("no {what}")) });
    };
    some(
        "endpoints",
        overview.failing + overview.disabled,
        "endpoints fail or are disabled",
        "the panel's issues say why and since when; their vendors were mailed",
    );
    some(
        "conflicts",
        overview.conflicts,
        "contradictions wait for a decision",
        "decide them in the panel, or with POST /v1/conflicts/{id}/resolve",
    );
    some(
        "stuck",
        overview.stuck,
        "recharges nobody can tell anything about",
        "ask the provider, and settle them in the panel, or with POST /v1/recharges/{id}/resolve",
    );
    some("mails", overview.alerts, "alerts wait to be mailed", "see whether smtp_url is set and right");
    found
}

fn nodes(nodes: &[Node]) -> Vec<Finding> {
    let versions: BTreeSet<&str> = nodes.iter().filter(|node| node.lease_ms > 0).map(|node| node.version.as_str()).collect();
    let living = nodes.iter().filter(|node| node.lease_ms > 0).count();
    let owned: u64 = nodes.iter().filter(|node| node.lease_ms > 0).map(|node| node.shards).sum();
    let mut found = vec![if owned < SHARDS as u64 {
        bad(
            "shards",
            format!("{living} nodes own {owned} of {SHARDS}"),
            "nothing is sent to the endpoints of the others until a node takes them; start one, or wait for its lease",
        )
    } else {
        good("shards", format!("{living} nodes own all {SHARDS}"))
    }];
    if versions.len() > 1 {
        let versions: Vec<_> = versions.into_iter().collect();
        found.push(odd(
            "versions",
            format!("nodes run {}", versions.join(" and ")),
            "finish the upgrade: restart the older ones one after the other",
        ));
    }
    found
}

async fn mail(config: &Config, resolver: Arc<dyn Resolve>) -> Finding {
    let Some((url, from)) = &config.mail else {
        return odd("mail", "there is no mail server", "set smtp_url and mail_from: vendors are warned by mail, and invited");
    };
    let mailer = match Mailer::new(url, from) {
        Ok(mailer) => mailer.resolving(resolver),
        Err(problems) => {
            return bad(
                "mail",
                problems.iter().map(|(setting, problem)| format!("{setting} {problem}")).collect::<Vec<_>>().join("; "),
                "mend the settings",
            );
        }
    };
    match tokio::time::timeout(WITHIN, mailer.greets()).await {
        Ok(Ok(())) => good("mail", "the mail server takes the connection and the login"),
        Ok(Err(error)) => bad("mail", format!("the mail server refuses: {error}"), "check smtp_url: host, port, TLS, user and password"),
        Err(_) => bad(
            "mail",
            format!("the mail server says nothing within {} s", WITHIN.as_secs()),
            "check smtp_url, and that this machine may reach it",
        ),
    }
}

/// Whether endpoints can be reached from here: name, connection, TLS. Nothing is sent to them.
async fn outbound(config: &Config, store: &dyn Store, outside: Outside) -> Finding {
    let targets = targets(store).await.unwrap_or_default();
    if targets.is_empty() {
        return good("outbound", "there is no endpoint yet that could be reached");
    }
    let transport = Transport::new(transport::Parts {
        limits: transport::Limits { connect_timeout: WITHIN, ..config.transport.clone() },
        guard: Guard::new(config.allow_networks.clone()),
        proxy: config.proxy.clone(),
        resolver: outside.resolver,
        tls: tls_config(&outside.authorities),
        clock: outside.surroundings.clock,
    });
    let mut lost = Vec::new();
    for (host, target) in &targets {
        if let Err(reason) = transport.try_connecting(target).await {
            lost.push(format!("{host}: {reason}"));
        }
    }
    match lost.len() {
        0 => good("outbound", format!("{} endpoints can be reached, by name and with TLS", targets.len())),
        count if count == targets.len() => bad(
            "outbound",
            format!("none of {count} endpoints can be reached: {}", lost[0]),
            "check the name server, the firewall, the proxy setting, allow_networks, and the system's certificate authorities",
        ),
        _ => odd("outbound", lost.join("; "), "most often their vendors have to mend that; their deliveries are retried"),
    }
}

/// Live endpoints of the latest vendors, by host and port.
async fn targets(store: &dyn Store) -> anyhow::Result<BTreeMap<String, Target>> {
    let mut targets = BTreeMap::new();
    let page = Page { before: None, limit: REACHED };
    for vendor in store.vendors(page).await? {
        for endpoint in store.endpoints(vendor.stream(Mode::Live), Page { before: None, limit: REACHED }).await? {
            let url = &endpoint.settings.url;
            if let (Ok(target), Some(host)) = (Target::new(url), url.host_str()) {
                targets.insert(format!("{host}:{}", url.port_or_known_default().unwrap_or_default()), target);
            }
            if targets.len() >= REACHED {
                return Ok(targets);
            }
        }
    }
    Ok(targets)
}
