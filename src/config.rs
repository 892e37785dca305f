//! The only reader of the environment, the configuration file and the settings given as flags. A flag goes before the
//! environment, that before the file, that before the default. All problems are told at once, before anything starts.

mod catalogue;
mod database;
mod file;
mod people;
mod providers;
mod settings;
mod shown;
mod sources;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use catalogue::{DEFAULT as DEFAULT_CATALOGUE, catalogue_from_text, read_catalogue};
pub use database::Database;
use file::File;
use ipnet::IpNet;
use serde_json::Value;
pub use settings::{Kind, SETTINGS, Setting};
pub use shown::{Effective, example};
pub use sources::{Given, Sources};
use url::Url;

use crate::domain::catalogue::Catalogue;
use crate::domain::retry::Policy;
use crate::engine::{Bounds, Retention, Watch};
use crate::fields::Fields;
use crate::limits;
use crate::ops::{Rules, networks};
use crate::store::seal::MasterKey;
use crate::transport::{Limits, Proxy};
use values::{Collector, Key, Listen, Span};

/// All settings (docs/config.md), each with its value in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where health and metrics are, if not there.
    pub metrics_listen: Option<SocketAddr>,
    /// For the head of a request.
    pub header_timeout: Duration,
    /// For the body of a request.
    pub body_timeout: Duration,
    /// For connections without a request.
    pub idle_timeout: Duration,
    /// Connections at once; half of the files that may be open, if not said.
    pub max_connections: Option<usize>,
    /// Connections at once from one address.
    pub max_connections_per_address: usize,
    /// Where the ledger is kept.
    pub database: Database,
    /// The key that seals secrets; without it the key file beside the SQLite file has it.
    pub master_key: Option<MasterKey>,
    /// Proxies whose `X-Forwarded-For` and `Forwarded` headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Forbidden networks that may be reached all the same.
    pub allow_networks: Vec<IpNet>,
    /// What outbound requests go through.
    pub proxy: Option<Proxy>,
    /// What the verbs obey.
    pub rules: Rules,
    /// How runs are retried.
    pub policy: Policy,
    /// Bounds of the engine.
    pub bounds: Bounds,
    /// How requests are made.
    pub transport: Limits,
    /// How long a failing head holds a strict endpoint.
    pub strict_hold: Duration,
    /// When failing endpoints are warned of and disabled.
    pub watch: Watch,
    /// How long things are kept.
    pub retention: Retention,
    /// The mail server's URL and the sender's address; without them mails wait.
    pub mail: Option<(String, String)>,
    /// Origins whose pages may show the panel in a frame.
    pub frame_ancestors: Vec<String>,
    /// The master key before the present one, while secrets are sealed again.
    pub master_key_previous: Option<MasterKey>,
    /// Length of a node's lease, where many share a database.
    pub shard_lease: Duration,
    /// How long a stop waits for attempts under way.
    pub drain_timeout: Duration,
    /// The collector that gets traces, if any.
    pub otlp_endpoint: Option<Url>,
    /// Which log lines are written.
    pub log: String,
    /// How they are written.
    pub log_format: LogFormat,
    /// What can be recharged.
    pub catalogue: Arc<Catalogue>,
    /// Who executes live recharges, in order.
    pub providers: Vec<crate::providers::http::Settings>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the master key is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyUse {
    /// Values that are sealed in the database are opened.
    Opens,
    /// Nothing.
    None,
}

/// What is wrong with a configuration or with how a command is used: all of it. One problem is shown as it is, several with a line
/// for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            all => {
                write!(f, "{} problems:", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// The password of a new login, where the environment has it (`RINGBACK_PASSWORD`).
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads it")]
pub fn password_in_environment() -> Option<String> {
    std::env::var("RINGBACK_PASSWORD")
        .ok()
        .map(|password| password.trim_end_matches(['\r', '\n']).to_owned())
        .filter(|password| !password.is_empty())
}

/// The token of who asks a server, where the environment has it (`RINGBACK_TOKEN`).
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads it")]
pub fn token_in_environment() -> Option<String> {
    std::env::var("RINGBACK_TOKEN").ok().map(|token| values::unquoted(&token).to_owned()).filter(|token| !token.is_empty())
}

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// Every problem of file, environment and flags.
    pub fn read(sources: Sources) -> Result<Self, ConfigError> {
        Self::of(&sources.gather()?)
    }

    /// Reads a configuration file's text alone, without environment and flags.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        Self::of(&Given::of_file(File::from_text(text, "the file").map_err(ConfigError)?))
    }

    /// Reads what was given.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn of(given: &Given) -> Result<Self, ConfigError> {
        Self::for_use(given, KeyUse::Opens)
    }

    /// The same for a command that copies a database without opening what is sealed in it: PostgreSQL's master key may be absent.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn for_copy(given: &Given) -> Result<Self, ConfigError> {
        Self::for_use(given, KeyUse::None)
    }

    fn for_use(given: &Given, key: KeyUse) -> Result<Self, ConfigError> {
        let mut fields = Fields::suggesting(given.object());
        let config = read_settings(&mut fields);
        if key == KeyUse::Opens && config.database.file().is_none() && config.master_key.is_none() {
            fields.invalid(
                "master_key",
                "is required with a PostgreSQL database: base64 of 32 bytes, such as `openssl rand -base64 32` makes",
            );
        }
        check_relations(&config, &mut fields);
        let problems = given.problems(fields.finish());
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }
}

fn read_settings(fields: &mut Fields) -> Config {
    let duration = |fields: &mut Fields, name: &str, default: Duration| fields.parse::<Span>(name).map_or(default, |span| span.0);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let count = |fields: &mut Fields, name: &str, default: u32| fields.integer(name, 1..=1_000_000).map_or(default, |count| count as u32);
    let max_in_flight = count(fields, "max_in_flight", limits::MAX_IN_FLIGHT) as usize;
    let max_in_flight_per_endpoint = count(fields, "max_in_flight_per_endpoint", limits::MAX_IN_FLIGHT_PER_ENDPOINT);
    let delivery_deadline = duration(fields, "delivery_deadline", hours(24));
    let watch = Watch {
        disable_after: duration(fields, "disable_after", hours(24)),
        warn_after: duration(fields, "warn_after", hours(1)),
        probe_disabled: fields.parse::<Span>("probe_disabled").map(|span| span.0),
    };
    Config {
        listen: fields.parse::<Listen>("listen").map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)), |listen| listen.0),
        metrics_listen: fields.parse::<Listen>("metrics_listen").map(|listen| listen.0),
        header_timeout: duration(fields, "header_timeout", limits::HEADER_TIMEOUT),
        body_timeout: duration(fields, "body_timeout", limits::BODY_TIMEOUT),
        idle_timeout: duration(fields, "idle_timeout", limits::IDLE_TIMEOUT),
        max_connections: fields.integer("max_connections", 1..=1_000_000).map(|count| count as usize),
        max_connections_per_address: count(fields, "max_connections_per_address", limits::CONNECTIONS_PER_ADDRESS) as usize,
        database: fields.parse("database").unwrap_or_default(),
        master_key: fields.parse::<Key>("master_key").map(|key| key.0),
        trusted_proxies: networks(fields, "trusted_proxies", limits::ALLOWED_IPS_MAX).unwrap_or_default(),
        allow_networks: networks(fields, "allow_networks", limits::ALLOWED_IPS_MAX).unwrap_or_default(),
        proxy: fields.parse::<Proxy>("proxy"),
        policy: Policy { schedule: schedule(fields), deadline: delivery_deadline },
        bounds: Bounds {
            max_in_flight,
            max_in_flight_per_endpoint,
            lane_window: count(fields, "lane_window", limits::LANE_WINDOW) as usize,
            lane_window_bytes: bytes(fields, "lane_window_bytes", limits::LANE_WINDOW_BYTES),
            window_bytes: bytes(fields, "window_bytes", limits::WINDOW_BYTES),
            unsettled_max: count(fields, "unsettled_max", limits::UNSETTLED_MAX) as usize,
            behind_per_second: behind_per_second(),
        },
        transport: Limits {
            attempt_timeout: duration(fields, "attempt_timeout", Duration::from_secs(15)),
            connect_timeout: duration(fields, "connect_timeout", Duration::from_secs(5)),
            answer_read_max: bytes(fields, "answer_read_max", limits::ANSWER_READ_MAX),
            answer_kept: bytes(fields, "answer_kept", limits::ANSWER_KEPT),
        },
        rules: Rules {
            delivery_deadline,
            endpoints_per_vendor: count(fields, "endpoints_per_vendor", limits::ENDPOINTS_PER_VENDOR),
            max_in_flight,
            max_in_flight_per_endpoint,
            require_https: fields.boolean("require_https").unwrap_or(true),
            event_payload_max: bytes(fields, "event_payload_max", limits::EVENT_PAYLOAD_MAX),
            disable_after: watch.disable_after,
            token_rate_limit: fields.integer("token_rate_limit", 1..=1_000_000).and_then(|rate| NonZeroU32::new(rate as u32)),
            operators_need_second_factor: fields.boolean("operator_second_factor").unwrap_or(false),
            mails_go_out: fields.gives("smtp_url"),
            public_url: people::public_url(fields),
        },
        watch,
        retention: Retention {
            retention: duration(fields, "retention", hours(90 * 24)),
            recharges: fields.parse::<Span>("recharge_retention").map(|span| span.0),
            audit: duration(fields, "audit_retention", hours(365 * 24)),
        },
        mail: people::mail(fields),
        frame_ancestors: people::frame_ancestors(fields),
        master_key_previous: fields.parse::<Key>("master_key_previous").map(|key| key.0),
        strict_hold: duration(fields, "strict_hold", hours(6)),
        shard_lease: duration(fields, "shard_lease", Duration::from_secs(10)),
        drain_timeout: duration(fields, "drain_timeout", Duration::from_secs(20)),
        otlp_endpoint: fields.parse::<Collector>("otlp_endpoint").map(|collector| collector.0),
        log: log_filter(fields),
        log_format: fields.parse("log_format").unwrap_or(LogFormat::Text),
        catalogue: catalogue(fields),
        providers: providers::providers(fields),
    }
}

fn schedule(fields: &mut Fields) -> Vec<Duration> {
    let given = fields.list::<Span>("retry_schedule", 100).map(|spans| spans.into_iter().map(|span| span.0).collect::<Vec<_>>());
    if given.as_ref().is_some_and(Vec::is_empty) {
        fields.invalid("retry_schedule", "must have at least one duration, such as 5s,30s,2m");
    }
    given.filter(|given| !given.is_empty()).unwrap_or_else(|| [5, 30, 120, 600, 1800, 3600, 7200, 14_400].map(Duration::from_secs).to_vec())
}

/// The catalogue of the file that is named, or the one that is built in.
fn catalogue(fields: &mut Fields) -> Arc<Catalogue> {
    let file = fields.text("catalogue", limits::URL_MAX).map(PathBuf::from);
    match read_catalogue(file.as_deref()) {
        Ok(catalogue) => Arc::new(catalogue),
        Err(ConfigError(problems)) => {
            problems.into_iter().for_each(|problem| fields.invalid("catalogue", format!("cannot be used: {problem}")));
            Arc::default()
        }
    }
}

fn log_filter(fields: &mut Fields) -> String {
    let given = fields.text("log", limits::URL_MAX).unwrap_or_else(|| "info".to_owned());
    let filter: Option<Vec<String>> = given.split(',').map(values::log_directive).collect();
    match filter.map(|directives| directives.join(",")).filter(|filter| filter.parse::<tracing_subscriber::EnvFilter>().is_ok()) {
        Some(filter) => filter,
        None => {
            fields.invalid(
                "log",
                "must be a level (off, error, warn, info, debug or trace), or a filter such as info,ringback::engine=debug",
            );
            given
        }
    }
}

fn bytes(fields: &mut Fields, name: &str, default: u64) -> usize {
    let given = match fields.value(name) {
        None => return default as usize,
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64()),
        Some(_) => None,
    };
    match given.filter(|given| (1..=1 << 40).contains(given)) {
        Some(given) => given as usize,
        None => {
            fields.invalid(name, "must be a number of bytes such as 65536 or 64KiB");
            default as usize
        }
    }
}

/// What may go out behind everything else on this machine.
fn behind_per_second() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    limits::BEHIND_PER_SECOND.saturating_mul(u32::try_from(processors).unwrap_or(u32::MAX))
}

/// Bounds that depend on each other.
fn check_relations(config: &Config, fields: &mut Fields) {
    let Config { bounds, transport, rules, .. } = config;
    let mut at_most = |name: &str, value: usize, other: &str, bound: usize| {
        if value > bound {
            fields.invalid(name, format!("must not be greater than {other} ({bound})"));
        }
    };
    at_most("answer_kept", transport.answer_kept, "answer_read_max", transport.answer_read_max);
    at_most("max_in_flight_per_endpoint", bounds.max_in_flight_per_endpoint as usize, "max_in_flight", bounds.max_in_flight);
    at_most("lane_window_bytes", bounds.lane_window_bytes, "window_bytes", bounds.window_bytes);
    at_most("event_payload_max", rules.event_payload_max + limits::DELIVERY_OVERHEAD, "lane_window_bytes", bounds.lane_window_bytes);
    at_most("event_payload_max", rules.event_payload_max, "the largest request", limits::BODY_MAX);
    if !limits::SHARD_LEASE.contains(&config.shard_lease) {
        fields.invalid("shard_lease", "must be 1s to 5m");
    }
    if config.watch.warn_after > config.watch.disable_after {
        fields.invalid("warn_after", "must not be longer than disable_after");
    }
    if config.retention.retention < config.policy.deadline {
        fields.invalid("retention", "must not be shorter than delivery_deadline");
    }
    if config.retention.recharges.is_some_and(|kept| kept < config.retention.retention) {
        fields.invalid("recharge_retention", "must not be shorter than retention");
    }
    if transport.connect_timeout > transport.attempt_timeout {
        fields.invalid("connect_timeout", "must not be longer than attempt_timeout");
    }
    if config.listen.port() != 0 && config.metrics_listen == Some(config.listen) {
        fields.invalid("metrics_listen", "must not be the address that listen has; leave it out to have all on one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
        let pairs = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Config::read(Sources { flags, environment: environment.iter().map(pairs).collect(), ..Sources::default() })
    }

    #[test]
    fn flags_go_before_the_environment() {
        let config =
            read(&[("RINGBACK_LISTEN", "127.0.0.1:1"), ("RINGBACK_DRAIN_TIMEOUT", "3s"), ("OTHER", "x")], &[("listen", "127.0.0.1:2")]);
        let config = config.unwrap();
        assert_eq!((config.listen.port(), config.drain_timeout), (2, Duration::from_secs(3)));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let wrong = SETTINGS.map(|setting| (setting.variable(), "?,=[".to_owned()));
        let error = Config::read(Sources { environment: wrong.to_vec(), ..Sources::default() }).unwrap_err();
        for name in SETTINGS.map(|setting| setting.variable()) {
            assert!(error.0.iter().any(|problem| problem.starts_with(&name)), "{name} is not judged: {error}");
        }
        assert_eq!(error.to_string().lines().count(), error.0.len() + 1, "a line for each: {error}");
    }

    #[test]
    fn problems_name_where_a_value_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ringback.toml");
        std::fs::write(&file, "log = \"info\"\ndatabse = \"sqlite:a.db\"\nretention = \"soon\"\n[[provider]]\nlog = 1\nnetwork = []\n")
            .unwrap();
        let environment = [("RINGBACK_LISTNE", "127.0.0.1:1"), ("RINGBACK_LOG", "loud"), ("RINGBACK_SERVICE_HOST", "x")];
        let sources = Sources {
            file: Some(file.clone()),
            flags: vec![("listen", "here".to_owned())],
            not_text: vec!["RINGBACK_PROXY".to_owned(), "OTHER".to_owned()],
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        };
        let error = Config::read(sources).unwrap_err();
        let name = file.display();
        for expected in [
            format!("{name}:2: databse is not a setting; did you mean database?"),
            format!("{name}:3: retention must be a duration"),
            format!("{name}:5: provider[0].log is not a setting of a provider; it belongs above the first [[provider]]"),
            format!("{name}:6: provider[0].network is not known here; did you mean networks?"),
            format!("{name}:4: provider[0].submit is required"),
            "RINGBACK_LISTNE is not a setting; did you mean RINGBACK_LISTEN?".to_owned(),
            "RINGBACK_LOG: log must be a level".to_owned(),
            "--listen: listen must be an address".to_owned(),
            "RINGBACK_PROXY is not UTF-8".to_owned(),
        ] {
            assert!(error.0.iter().any(|problem| problem.starts_with(&expected)), "{expected}\n{error}");
        }
        assert!(!error.to_string().contains("SERVICE_HOST"), "an orchestrator sets such names: {error}");
    }

    #[test]
    fn values_that_are_no_text_are_told_what_to_write() {
        let text = "drain_timeout = 30\n[log]\nlevel = \"info\"\n[server]\nlisten = \"a\"\n[[providers]]\nname = \"x\"\n";
        let error = Config::from_text(text).unwrap_err().to_string();
        for expected in [
            "the file:1: drain_timeout must be a duration such as 30s",
            "the file:2: log is not a table; write log = \"info\" above all tables",
            "the file:4: server is not a setting; settings stand above all tables, so that the line [server] has to go",
            "the file:6: providers is not a setting; did you mean [[provider]]?",
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let trimmed = Config::from_text("database = \"sqlite:a.db\\n\"\nlog_format = \" json\"\nrequire_https = \"no\"\n").unwrap();
        assert_eq!(trimmed.database.file(), Some(std::path::Path::new("a.db")));
        assert!(trimmed.log_format == LogFormat::Json && !trimmed.rules.require_https);
    }

    #[test]
    fn variables_with_other_spellings_are_reported() {
        for (name, meant) in
            [("ringback_listen", "RINGBACK_LISTEN"), ("RINGBACK-PUBLIC-URL", "RINGBACK_PUBLIC_URL"), ("RINGBACK_CONFG", "RINGBACK_CONFIG")]
        {
            assert_eq!(read(&[(name, "x")], &[]).unwrap_err().to_string(), format!("{name} is not a setting; did you mean {meant}?"));
        }
        assert!(read(&[("RINGBACK_LISTEN", " "), ("RINGBACKUP", "x")], &[]).is_ok());
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let defaults = SETTINGS.iter().filter_map(|setting| Some((setting.variable(), setting.default?.to_owned())));
        let given = Config::read(Sources { environment: defaults.collect(), ..Sources::default() }).unwrap();
        assert_eq!(format!("{given:#?}"), format!("{:#?}", Config::read(Sources::default()).unwrap()));
    }

    #[test]
    fn relations_between_bounds_are_judged() {
        let twice = ("RINGBACK_METRICS_LISTEN", "127.0.0.1:8080");
        let error = read(&[("RINGBACK_ANSWER_KEPT", "1MiB"), ("RINGBACK_CONNECT_TIMEOUT", "1m"), twice], &[]).unwrap_err();
        assert_eq!(error.0.len(), 3, "{error}");
    }
}
