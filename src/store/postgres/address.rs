//! How the database is reached: its address, TLS, and what every connection is set to.
//!
//! `sslmode` and `sslrootcert` mean what they mean to libpq. Settings are made by `SET` once a connection is there, and not by
//! the `options` of its start: poolers such as PgBouncer refuse those. A connection has to be a session, because `LISTEN`,
//! advisory locks and settings belong to one; a pooler that lends out transactions is found out, and refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::StoreError;

/// Every statement goes by an index that was made for it, so that it is planned once. Left to its figures the planner would
/// walk through all of `open_delivery`, which is nearly empty when it counts the rows and full of removed ones a minute
/// later.
const PLANS: [(&str, &str); 7] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];
/// How long a lock is waited for. Together with [`IDLE_TIMEOUT`] it bounds what one node that stops does to the others.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A transaction whose node says nothing for this long is rolled back by the database.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection on which an answer is waited for is asked this often whether its other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A client, and what has to run for it to get answers.
pub(super) type Connected = (Client, tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>);

/// How to reach the database.
#[derive(Clone)]
pub(super) struct Address {
    config: Config,
    tls: MakeRustlsConnect,
    /// The ways to connect, in the order in which they are tried.
    ways: &'static [SslMode],
    /// How often all sessions at this address were given up.
    left: Arc<AtomicUsize>,
}

impl Address {
    /// Reads `postgres://user:password@host:port/name?sslmode=verify-full`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], naming the parameter that is wrong.
    pub fn read(url: &str) -> Result<Self, StoreError> {
        let unusable = |problem: String| {
            StoreError::Unusable(format!(
                "--database is not an address of PostgreSQL ({problem}); write postgres://user:password@host:5432/name, with \
                 ?sslmode=verify-full for TLS"
            ))
        };
        let (url, Tls { mode, root_certificate }) = take_tls(url);
        let mode = mode.map_or(Ok(Mode::Prefer), |name| Mode::named(&name)).map_err(unusable)?;
        let mut config: Config = url.parse().map_err(|error| unusable(with_cause(&error)))?;
        config.tcp_user_timeout(CONNECT_TIMEOUT);
        config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
        if config.get_application_name().is_none() {
            config.application_name("ringback");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let tls = client(mode, root_certificate.as_deref()).map_err(unusable)?;
        Ok(Self { config, tls: MakeRustlsConnect::new(tls), ways: mode.ways(), left: Arc::default() })
    }

    /// Has every session at this address replaced before it is used again.
    pub fn leave_sessions(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// How often [`leave_sessions`](Self::leave_sessions) was called.
    pub fn sessions_left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// The user who connects.
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or("the user")
    }

    /// Connects. [`SETTINGS`](settings) are still to be made.
    pub async fn connect(&self) -> Result<Connected, tokio_postgres::Error> {
        let [first, others @ ..] = self.ways else { unreachable!("every mode has a way to connect") };
        let mut connected = self.config.clone().ssl_mode(*first).connect(self.tls.clone()).await;
        for way in others {
            // Where no way leads there, the first one says why.
            connected = match connected {
                Ok(connected) => return Ok(connected),
                Err(error) => self.config.clone().ssl_mode(*way).connect(self.tls.clone()).await.map_err(|_| error),
            };
        }
        connected
    }

    /// Whether something between here and the database lends its connections out for single transactions.
    pub async fn is_pooled_by_transaction(&self) -> Result<bool, tokio_postgres::Error> {
        let (one, connection) = self.connect().await?;
        let _driven = Driven(tokio::spawn(connection));
        let (other, connection) = self.connect().await?;
        let _driven = Driven(tokio::spawn(connection));
        let asking = async {
            let before = process(&one).await?;
            // A pooler that lends out single statements refuses this.
            if let Err(error) = other.batch_execute("BEGIN").await {
                return error.as_db_error().map(|_| true).ok_or(error);
            }
            Ok(before == process(&other).await? || before != process(&one).await?)
        };
        // A pool may be too small for both of them, but then it is one of sessions: of transactions, one suffices.
        tokio::time::timeout(CONNECT_TIMEOUT, asking).await.unwrap_or(Ok(false))
    }
}

/// A connection that is driven until this is dropped.
struct Driven(tokio::task::JoinHandle<Result<(), tokio_postgres::Error>>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The database's process that serves a client at present.
async fn process(client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    let rows = client.simple_query("SELECT pg_backend_pid()").await?;
    Ok(rows.iter().find_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0).map(ToOwned::to_owned) } else { None }))
}

/// The statements that every connection begins with.
pub(super) fn settings() -> String {
    let timeouts =
        [("lock_timeout", LOCK_TIMEOUT), ("statement_timeout", STATEMENT_TIMEOUT), ("idle_in_transaction_session_timeout", IDLE_TIMEOUT)];
    let plans = PLANS.iter().map(|(name, value)| format!("SET {name} = {value};"));
    plans.chain(timeouts.iter().map(|(name, limit)| format!("SET {name} = {};", limit.as_millis()))).collect()
}

/// An error with what caused it.
pub(super) fn with_cause(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

// --- TLS ---------------------------------------------------------------------------------------------------------------

/// What `sslmode` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return Err(format!("sslmode={name} is not disable, allow, prefer, require, verify-ca or verify-full")),
        })
    }

    fn ways(self) -> &'static [SslMode] {
        match self {
            Self::Disable => &[SslMode::Disable],
            Self::Allow => &[SslMode::Disable, SslMode::Require],
            Self::Prefer => &[SslMode::Prefer, SslMode::Disable],
            Self::Require | Self::VerifyCa | Self::VerifyFull => &[SslMode::Require],
        }
    }
}

/// What the address says of TLS.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tls {
    mode: Option<String>,
    root_certificate: Option<String>,
}

/// Takes the parameters about TLS out of an address.
fn take_tls(url: &str) -> (String, Tls) {
    // A password may have a question mark.
    let credentials = url.find('@').unwrap_or(0);
    let Some(start) = url[credentials..].find('?').map(|at| credentials + at) else { return (url.to_owned(), Tls::default()) };
    let (mut tls, mut others) = (Tls::default(), Vec::new());
    for parameter in url[start + 1..].split('&') {
        let value = |text: &str| Some(percent_decode_str(text).decode_utf8_lossy().into_owned());
        match parameter.split_once('=') {
            Some(("sslmode", text)) => tls.mode = value(text),
            Some(("sslrootcert", text)) => tls.root_certificate = value(text),
            _ => others.push(parameter),
        }
    }
    let separator = if others.is_empty() { "" } else { "?" };
    (format!("{}{separator}{}", &url[..start], others.join("&")), tls)
}

/// TLS as a mode asks for it. `root_certificate` is a file of authorities; without one, or with `system`, they are the system's.
fn client(mode: Mode, root_certificate: Option<&str>) -> Result<ClientConfig, String> {
    let mut config = crate::tls::client(&[]);
    let file = root_certificate.filter(|file| *file != "system");
    let trusted = match file {
        Some(file) => Some(read_certificates(file)?),
        None => None,
    };
    let check = match mode {
        // libpq's own rule: a file of authorities is there to be used.
        Mode::Require if trusted.is_some() => Check::Chain,
        Mode::Disable | Mode::Allow | Mode::Prefer | Mode::Require => Check::Nothing,
        Mode::VerifyCa => Check::Chain,
        Mode::VerifyFull => Check::Name,
    };
    if trusted.is_none() && check == Check::Name {
        return Ok(config);
    }
    let trusted_certificates = trusted.clone().unwrap_or_default();
    let roots = match trusted {
        Some(certificates) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates);
            roots
        }
        None => crate::tls::roots(&[]),
    };
    let provider = Arc::clone(config.crypto_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|error| error.to_string())?;
    let verifier = Verifier { inner, trusted: trusted_certificates, check };
    config.dangerous().set_certificate_verifier(Arc::new(verifier));
    Ok(config)
}

fn read_certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |error: rustls::pki_types::pem::Error| format!("sslrootcert={file} cannot be read: {error}");
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file).map_err(problem)?.collect::<Result<_, _>>().map_err(problem)?;
    if certificates.is_empty() {
        return Err(format!("sslrootcert={file} has no certificate"));
    }
    Ok(certificates)
}

/// What of the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    /// That an authority vouches for it.
    Chain,
    /// That, and the server's name.
    Name,
}

/// Checks as much of a certificate as the mode asks for.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    /// What `sslrootcert` names. The server's own certificate may be among them.
    trusted: Vec<CertificateDer<'static>>,
    check: Check,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        if self.trusted.iter().any(|trusted| trusted == end_entity) {
            if self.check == Check::Name {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is checked last, when an authority has been found to vouch for the certificate.
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }))
                if self.check == Check::Chain =>
            {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_about_tls_are_taken_out_of_an_address() {
        let tls = |mode: Option<&str>, file: Option<&str>| Tls { mode: mode.map(str::to_owned), root_certificate: file.map(str::to_owned) };
        for (url, rest, expected) in [
            ("postgres://u:p@h/n", "postgres://u:p@h/n", tls(None, None)),
            ("postgres://h/n?sslmode=allow", "postgres://h/n", tls(Some("allow"), None)),
            (
                "postgres://u:a?b@h/n?a=1&sslmode=verify-ca&b=2&sslrootcert=%2Fca%20x.pem",
                "postgres://u:a?b@h/n?a=1&b=2",
                tls(Some("verify-ca"), Some("/ca x.pem")),
            ),
        ] {
            assert_eq!(take_tls(url), (rest.to_owned(), expected), "{url}");
        }
    }

    #[test]
    fn modes_are_those_of_libpq() {
        let ways = |mode: &str| Address::read(&format!("postgres://h/n?sslmode={mode}")).unwrap_or_else(|error| panic!("{error}")).ways;
        assert_eq!(["disable", "allow", "prefer"].map(|mode| ways(mode).len()), [1, 2, 2]);
        assert_eq!(["require", "verify-ca", "verify-full"].map(ways), [[SslMode::Require].as_slice(); 3]);
        assert_eq!(Address::read("postgres://h/n").unwrap_or_else(|error| panic!("{error}")).ways, ways("prefer"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, part) in [
            ("sslmode=always", "sslmode=always is not disable"),
            ("sslcert=a.pem", "sslcert"),
            ("sslmode=verify-ca&sslrootcert=/nowhere/ca.pem", "sslrootcert=/nowhere/ca.pem cannot be read"),
        ] {
            let error = Address::read(&format!("postgres://h/n?{query}")).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(part), "{query}: {error}");
        }
    }
}
