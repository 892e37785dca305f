//! Mails over SMTP, to the operator's own mail server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::{Resolve, race};

use crate::domain::time::Timestamp;
use crate::limits;

/// Sends mails.
pub struct Mailer {
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    server: Server,
    resolver: Option<Arc<dyn Resolve>>,
}

/// What the URL says of the mail server, for a connection to one of its addresses.
struct Server {
    host: String,
    port: u16,
    tls: Tls,
    hello: Option<ClientId>,
    credentials: Option<Credentials>,
}

/// One mail.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// The address.
    pub to: &'a str,
    /// Its subject.
    pub subject: &'a str,
    /// Its text.
    pub text: &'a str,
    /// What makes its `Message-ID`, with the address: the same mail again has the same.
    pub number: i64,
    /// When it is sent.
    pub at: Timestamp,
}

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// This one was not taken; others may be.
    #[error("{0}")]
    Refused(String),
    /// The server cannot be talked to, so that no other mail can be sent either.
    #[error("{0}")]
    NoServer(String),
}

impl Mailer {
    /// A mailer for `smtp://`, `smtps://`, or `smtp://…?tls=required` (STARTTLS), with user and password in the URL if the
    /// server wants them. `from` is an address, or a name with the address in `<>`.
    ///
    /// # Errors
    /// What is wrong with them: all of it, as (setting, problem).
    pub fn new(url: &str, from: &str) -> Result<Self, Vec<(&'static str, String)>> {
        let from =
            from.parse::<Mailbox>().map_err(|error| ("mail_from", format!("must be an address such as ringback@example.com ({error})")));
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|error| ("smtp_url", format!("must be smtp://host:port, smtps://host, or smtp://host:587?tls=required ({error})")));
        let server = Server::read(url).ok_or(("smtp_url", "must name a host".to_owned()));
        match (smtp, from, server) {
            (Ok(smtp), Ok(from), Ok(server)) => {
                Ok(Self { smtp: smtp.timeout(Some(limits::MAIL_TIMEOUT)).build(), from, server, resolver: None })
            }
            (Ok(_), from, server) => Err(server.err().into_iter().chain(from.err()).collect()),
            (smtp, from, _) => Err(smtp.err().into_iter().chain(from.err()).collect()),
        }
    }

    /// Has the server's name resolved by `resolver`, and its addresses raced.
    #[must_use]
    pub fn resolving(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver: Some(resolver), ..self }
    }

    /// The server, at the address that answers first where it has several. The connection that found it is closed again: the
    /// client makes its own.
    async fn reachable(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
        let Server { host, port, .. } = &self.server;
        let (Some(resolver), Ok(Host::Domain(name))) = (&self.resolver, Host::parse(host)) else { return Ok(self.smtp.clone()) };
        let addresses = resolver.resolve(&name).await.map_err(|error| format!("DNS: {name}: {error}"))?;
        let [first, _, ..] = addresses[..] else {
            let address = addresses.first().ok_or_else(|| format!("DNS: {name} has no address"))?;
            return Ok(self.server.at(SocketAddr::new(*address, *port)));
        };
        let dial = |address| async move {
            let address = SocketAddr::new(address, *port);
            TcpStream::connect(address).await.map(|_| address)
        };
        // Where none answers, the client says what happens at the first one.
        let found = race::first(&addresses, limits::MAIL_TIMEOUT, dial, |_| false).await;
        Ok(self.server.at(found.unwrap_or(SocketAddr::new(first, *port))))
    }

    /// Sends a mail.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub async fn send(&self, mail: Mail<'_>) -> Result<(), Unsent> {
        let message = self.write(mail).map_err(Unsent::Refused)?;
        let sending = async {
            let smtp = self.reachable().await.map_err(Unsent::NoServer)?;
            match smtp.send(message).await {
                Ok(_) => Ok(()),
                Err(error) if error.is_permanent() || error.is_transient() => Err(Unsent::Refused(error.to_string())),
                Err(error) => Err(Unsent::NoServer(error.to_string())),
            }
        };
        match tokio::time::timeout(limits::MAIL_TIMEOUT, sending).await {
            Ok(sent) => sent,
            Err(_) => Err(Unsent::NoServer(format!("the mail server took longer than {} s", limits::MAIL_TIMEOUT.as_secs()))),
        }
    }

    /// Greets the mail server, and logs in if it wants that; no mail is sent.
    ///
    /// # Errors
    /// What it says, or that it says nothing.
    pub async fn greets(&self) -> Result<(), String> {
        match self.reachable().await?.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("it does not answer as a mail server does".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn write(&self, mail: Mail<'_>) -> Result<Message, String> {
        let to = mail.to.parse().map_err(|error| format!("the address cannot be used: {error}"))?;
        let date = std::time::UNIX_EPOCH + Duration::from_millis(mail.at.as_millis().unsigned_abs());
        let host = self.from.email.domain();
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject)
            .date(date)
            .message_id(Some(format!("<{}@{host}>", message_id(mail.number, mail.to))))
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.to_owned())
            .map_err(|error| error.to_string())
    }
}

impl Server {
    /// The parts of a URL that lettre has found good, as it reads them.
    fn read(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let host = url.host_str()?.to_owned();
        let asked = url.query_pairs().find_map(|(name, value)| (name == "tls").then(|| value.into_owned()));
        let parameters = || TlsParameters::new(host.clone()).ok();
        let (tls, port) = match (url.scheme(), asked.as_deref()) {
            ("smtps", _) => (Tls::Wrapper(parameters()?), 465),
            (_, Some("required")) => (Tls::Required(parameters()?), 587),
            (_, Some("opportunistic")) => (Tls::Opportunistic(parameters()?), 587),
            _ => (Tls::None, 25),
        };
        let hello = Some(url.path().trim_matches('/')).filter(|name| !name.is_empty());
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = url.password().map(|password| Credentials::new(decoded(url.username()), decoded(password)));
        let hello = hello.map(|name| ClientId::Domain(name.to_owned()));
        Some(Self { port: url.port().unwrap_or(port), tls, hello, credentials, host })
    }

    /// A client of this server at one of its addresses; certificates are still for its name.
    fn at(&self, address: SocketAddr) -> AsyncSmtpTransport<Tokio1Executor> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string());
        let builder = builder.port(address.port()).tls(self.tls.clone()).timeout(Some(limits::MAIL_TIMEOUT));
        let builder = self.hello.iter().fold(builder, |builder, name| builder.hello_name(name.clone()));
        self.credentials.iter().fold(builder, |builder, credentials| builder.credentials(credentials.clone())).build()
    }
}

fn message_id(number: i64, to: &str) -> String {
    let hash = Sha256::digest(format!("{number} {to}"));
    data_encoding::BASE32_NOPAD.encode(&hash[..15]).to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Names(Vec<IpAddr>);

    #[async_trait::async_trait]
    impl Resolve for Names {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn a_url_is_read_as_the_client_reads_it() {
        for (url, host, port, has_login) in [
            ("smtp://mail.example", "mail.example", 25, false),
            ("smtp://mail.example/?tls=required", "mail.example", 587, false),
            ("smtps://a%40b:c@mail.example", "mail.example", 465, true),
            ("smtp://[::1]:2525/me.example", "[::1]", 2525, false),
        ] {
            let read = Server::read(url).expect(url);
            assert_eq!((read.host.as_str(), read.port, read.credentials.is_some()), (host, port, has_login), "{url}");
        }
    }

    #[tokio::test]
    async fn the_address_that_answers_is_used() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(async move {
                    let mut heard = [0; 512];
                    let mut answer: &[u8] = b"220 mail\r\n";
                    while stream.write_all(answer).await.is_ok() && stream.read(&mut heard).await.is_ok_and(|count| count > 0) {
                        answer = b"250 mail\r\n";
                    }
                });
            }
        });
        // Nothing listens at the first address.
        let names = Names(vec![Ipv4Addr::new(127, 0, 0, 9).into(), Ipv4Addr::LOCALHOST.into()]);
        let mailer = Mailer::new(&format!("smtp://mail.example:{port}"), "a@example.com").unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(mailer.resolving(Arc::new(names)).greets().await, Ok(()));
        serving.abort();
    }
}
