//! `ringback doctor`: looks at a running installation, and says what is wrong and what to do. It changes nothing (but, as every
//! command that opens the store, it brings an older database up to date).

mod nodes;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::json;
use url::Url;

use super::Settings;
use super::output::{Unwritable, before_verdict};
use super::remote;
use super::style::{BAD, FAINT, GOOD, ODD};
use crate::app::{self, Externals, open_store};
use crate::clock::Ids;
use crate::config::{Config, Database};
use crate::domain::endpoint::EndpointStatus;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;
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
            before_verdict(outln!("{:#}", json!(findings.iter().map(one).collect::<Vec<_>>())))?;
        } else {
            before_verdict(findings.iter().try_for_each(tell))?;
        }
        match findings.iter().filter(|finding| finding.grade == Grade::Bad).count() {
            0 => Ok(()),
            1 => bail!("1 thing is wrong"),
            count => bail!("{count} things are wrong"),
        }
    }
}

fn tell(finding: &Finding) -> Result<(), Unwritable> {
    let (style, sign) = match finding.grade {
        Grade::Good => (GOOD, "✓"),
        Grade::Odd => (ODD, "!"),
        Grade::Bad => (BAD, "✗"),
    };
    outln!("{style}{sign}{style:#} {:<12} {}", finding.part, finding.seen)?;
    if !finding.advice.is_empty() {
        outln!("{FAINT}               {}{FAINT:#}", finding.advice)?;
    }
    Ok(())
}

async fn examine(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let outside = Externals::system();
    let mut findings = vec![good("settings", "valid")];
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
    let store = match open_store(config, outside.environment.clone()).await {
        Ok(store) => store,
        // It says what to do itself: a wrong master key, a newer schema, a database that is away.
        Err(error) => {
            findings.push(bad("store", format!("{error:#}"), "nothing is sent and nothing accepted until that is fixed"));
            return Ok(findings);
        }
    };
    findings.push(good("store", format!("{} opens, and the master key is the right one", named(&config.database))));
    let now = outside.environment.clock.now();
    findings.push(clock(&*store, now).await);
    let overview = store.overview(now).await?;
    findings.extend(standing(&overview, store.open_count().await?));
    if matches!(config.database, Database::Postgres(_)) {
        let nodes = app::cluster(config).await?.nodes().await?;
        findings.extend(nodes::findings(config, &nodes).await);
    }
    findings.push(mail(config, Arc::clone(&outside.resolver)).await);
    findings.push(outbound(config, &*store, outside).await);
    findings.push(if config.rules.public_url.is_some() {
        good("public_url", "links in mails and pages lead to it")
    } else {
        odd(
            "public_url",
            "it is not set",
            "alert mails have no links, and other links lead to the listen address; set it to what people and providers reach",
        )
    });
    Ok(findings)
}

fn named(database: &Database) -> String {
    match database {
        Database::Sqlite(path) => path.display().to_string(),
        Database::Postgres(_) => "the PostgreSQL database".to_owned(),
    }
}

/// What answers where a server should.
enum Server {
    Ready,
    /// It says why.
    NotReady(String),
    /// No Ringback server, by its status.
    Other(u16),
    /// Nothing answers, for this reason.
    Silent(String),
}

/// Asks whether a server is ready; answers what time it has, too.
async fn ask(host: &str) -> (Server, Option<Timestamp>) {
    let silent = |why: String| (Server::Silent(why), None);
    let Ok(url) = format!("http://{host}/readyz").parse::<Url>() else { return silent("its address cannot be read".to_owned()) };
    let (Ok(target), Ok(transport)) = (Target::new(&url), remote::transport(WITHIN)) else {
        return silent("its address cannot be asked".to_owned());
    };
    let outcome = match transport.send(&target, || http::Request::new(bytes::Bytes::new())).await {
        Ok(outcome) => outcome,
        Err(fault) => return silent(fault.text),
    };
    let said = String::from_utf8_lossy(outcome.answer_body.as_deref().unwrap_or_default()).trim().to_owned();
    let server = match outcome.status {
        Some(200) => Server::Ready,
        Some(503) => Server::NotReady(said),
        Some(status) => Server::Other(status),
        None => Server::Silent(outcome.error.unwrap_or_default()),
    };
    (server, outcome.answer_headers.as_deref().and_then(date_of))
}

/// The time in an answer's `Date` header.
fn date_of(headers: &str) -> Option<Timestamp> {
    let text = headers.lines().find_map(|line| line.strip_prefix("date: "))?;
    let since = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?))
}

/// Whether a server answers where the settings say that one listens.
async fn server(config: &Config) -> Finding {
    let address = config.metrics_listen.unwrap_or(config.listen);
    let host = if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() };
    let advice = "start it with ringback serve and these settings; if it runs with others, give them to doctor too";
    match ask(&host).await.0 {
        Server::Ready => good("server", format!("it is ready at {host}")),
        Server::NotReady(said) => bad(
            "server",
            format!("it runs at {host} and is not ready: {said}"),
            "its log says more; most often the database is away or its disk is full",
        ),
        Server::Other(status) => bad("server", format!("{host}/readyz answered {status}"), "something else listens there"),
        Server::Silent(error) => bad("server", format!("nothing answers at {host}: {error}"), advice),
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

/// A number with what it counts.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn standing(overview: &Overview, open: u64) -> Vec<Finding> {
    let seen = match open {
        0 => "no delivery is pending".to_owned(),
        1 => "1 delivery is pending".to_owned(),
        _ => format!("{open} deliveries are pending"),
    };
    let advice = "see the panel's issues: most often one endpoint is down and holds most of it";
    let mut found = vec![if open > BACKLOG { odd("backlog", seen, advice) } else { good("backlog", seen) }];
    let mut some = |part, count: u64, (one, many, none): (&str, &str, &str), advice: &str| {
        found.push(if count > 0 { odd(part, counted(count, one, many), advice) } else { good(part, none) });
    };
    some(
        "endpoints",
        overview.failing + overview.disabled,
        ("endpoint fails or is disabled", "endpoints fail or are disabled", "no endpoint fails or is disabled by a rule"),
        "the panel's issues say why and since when; their vendors were mailed",
    );
    some(
        "conflicts",
        overview.conflicts,
        ("conflict waits for a decision", "conflicts wait for a decision", "no conflict waits for a decision"),
        "decide in the panel, or with POST /v1/conflicts/{id}/resolve",
    );
    some(
        "stuck",
        overview.stuck,
        ("recharge is stuck at its provider", "recharges are stuck at their providers", "no recharge is stuck at its provider"),
        "ask the provider for the result, and settle in the panel, or with POST /v1/recharges/{id}/resolve",
    );
    some(
        "mails",
        overview.alerts,
        ("alert waits to be mailed", "alerts wait to be mailed", "no alert waits to be mailed"),
        "check whether smtp_url is set and correct; the panel's mails show the last error of each address",
    );
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
                "correct the settings",
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

/// Whether endpoints can be reached from here: name, connection, and TLS where the URL is https. Nothing is sent to them.
async fn outbound(config: &Config, store: &dyn Store, outside: Externals) -> Finding {
    let targets = targets(store).await.unwrap_or_default();
    if targets.is_empty() {
        return good("outbound", "no endpoint in live mode receives events yet; none was connected to");
    }
    let transport = Transport::new(transport::Parts {
        limits: transport::Limits { connect_timeout: WITHIN, ..config.transport.clone() },
        guard: Guard::new(config.allow_networks.clone()),
        proxy: config.proxy.clone(),
        resolver: outside.resolver,
        tls: tls_config(&outside.authorities),
        clock: outside.environment.clock,
    });
    let (mut lost, mut with_tls, mut without) = (Vec::new(), 0, 0);
    for (host, (target, is_https)) in &targets {
        match transport.try_connecting(target).await {
            Ok(()) if *is_https => with_tls += 1,
            Ok(()) => without += 1,
            Err(reason) => lost.push(format!("{host}: {reason}")),
        }
    }
    let all = counted(targets.len() as u64, "endpoint address", "endpoint addresses");
    match lost.len() {
        0 => good("outbound", format!("{all} reached: {}", protocols(with_tls, without))),
        count if count == targets.len() => bad(
            "outbound",
            format!("none of {all} reached: {}", lost[0]),
            "check the name server, the firewall, the proxy setting, allow_networks, and the system's certificate authorities",
        ),
        count => odd(
            "outbound",
            format!("{count} of {all} not reached: {}", lost.join("; ")),
            "most often their vendors have to fix that; their deliveries are retried",
        ),
    }
}

/// How endpoints were reached.
fn protocols(with_tls: u64, without: u64) -> String {
    match (with_tls, without) {
        (_, 0) => "over https, with a valid certificate".to_owned(),
        (0, _) => "over http, without TLS".to_owned(),
        _ => format!("{with_tls} over https, with a valid certificate, and {without} over http, without TLS"),
    }
}

/// Live endpoints of the latest vendors that are not disabled, by host and port; and whether they are https.
async fn targets(store: &dyn Store) -> anyhow::Result<BTreeMap<String, (Target, bool)>> {
    let mut targets = BTreeMap::new();
    let page = Page { before: None, limit: REACHED };
    for vendor in store.vendors(page).await? {
        for endpoint in store.endpoints(vendor.stream(Mode::Live), Page { before: None, limit: REACHED }).await? {
            let url = &endpoint.settings.url;
            if let (Ok(target), Some(host)) = (Target::new(url), url.host_str())
                && endpoint.status != EndpointStatus::Disabled
            {
                targets.insert(format!("{host}:{}", url.port_or_known_default().unwrap_or_default()), (target, url.scheme() == "https"));
            }
            if targets.len() >= REACHED {
                return Ok(targets);
            }
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_agree() {
        let seen = |count: u64, part: &str| {
            let overview = Overview { failing: count, conflicts: count, stuck: count, alerts: count, ..Overview::default() };
            standing(&overview, count).into_iter().find(|found| found.part == part).expect("it is there").seen
        };
        for (part, none, one, many) in [
            ("backlog", "no delivery is pending", "1 delivery is pending", "2 deliveries are pending"),
            ("conflicts", "no conflict waits", "1 conflict waits", "2 conflicts wait"),
            ("stuck", "no recharge is stuck at its provider", "1 recharge is stuck", "2 recharges are stuck at their providers"),
            ("mails", "no alert waits", "1 alert waits", "2 alerts wait"),
            ("endpoints", "no endpoint fails", "1 endpoint fails or is disabled", "2 endpoints fail or are disabled"),
        ] {
            for (count, expected) in [(0, none), (1, one), (2, many)] {
                assert!(seen(count, part).starts_with(expected), "{}", seen(count, part));
            }
        }
        assert_eq!(protocols(0, 1), "over http, without TLS");
        assert!(protocols(2, 0).contains("valid certificate") && protocols(2, 1).contains("1 over http"));
    }
}
