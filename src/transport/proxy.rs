//! The way through a proxy: HTTP CONNECT (RFC 9110 section 9.3.6), to `http` and `https` targets alike.
//!
//! The endpoint's name is resolved and its addresses are judged here, as without a proxy, and the proxy is asked for the
//! judged address, so that it has no name to resolve otherwise. The proxy's own address is not judged: the operator
//! named it. TLS goes through the tunnel, with the endpoint's name.
//!
//! What goes wrong is the endpoint's only where the proxy says that it could not reach it (502, 503, 504), or has not
//! said anything about it in time. A proxy that is away, closes, does not speak HTTP or wants another password (407) is
//! a fault that meets the whole node; any other answer is one that meets this endpoint: there are proxies that have
//! rules about ports and addresses, and one endpoint must not hold up the others.
//!
//! No environment variable is looked at.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::connect::{is_shortage, open};
use super::{Failure, Transport, race};
use crate::domain::attempt::{Fault, FaultCause, OutcomeKind, Reach};
use crate::domain::secret::Secret;
use crate::limits;

/// A proxy that all requests go through (setting `proxy`).
#[derive(Debug, Clone)]
pub struct Proxy {
    host: Host<String>,
    port: u16,
    /// What stands in `Proxy-Authorization`.
    authorization: Option<Secret>,
}

/// Text that names no proxy. The text is not repeated, since there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the address of a proxy such as http://proxy.internal:3128, with user:password@ before the host if it asks for that")]
pub struct NotAProxy;

impl FromStr for Proxy {
    type Err = NotAProxy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| NotAProxy)?;
        let is_bare = url.scheme() == "http" && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let (Some(host), Some(port), true) = (url.host(), url.port_or_known_default(), is_bare) else { return Err(NotAProxy) };
        let named = !url.username().is_empty() || url.password().is_some();
        Ok(Self { host: host.to_owned(), port, authorization: named.then(|| basic(&url)) })
    }
}

/// The value of `Proxy-Authorization` (RFC 7617).
fn basic(url: &Url) -> Secret {
    let user = percent_decode_str(url.username());
    let pair: Vec<u8> = user.chain(*b":").chain(percent_decode_str(url.password().unwrap_or_default())).collect();
    Secret::new(format!("Basic {}", BASE64.encode(Secret::new(pair).expose())))
}

impl Proxy {
    fn request(&self, to: SocketAddr) -> Secret {
        let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
        if let Some(value) = &self.authorization {
            head.extend([b"Proxy-Authorization: ", value.expose(), b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        Secret::new(head)
    }

    fn fault(&self, cause: FaultCause, reach: Reach, what: impl Display) -> Failure {
        Failure::Ours(Fault { cause, reach, text: format!("proxy {} port {}: {what}", self.host, self.port) })
    }

    /// It was not reached in time.
    pub(super) fn late(&self, seconds: f64) -> Failure {
        self.fault(FaultCause::Proxy, Reach::Node, format!("no connection within {seconds} s"))
    }

    /// What its answer to a CONNECT means.
    fn judge(&self, status: u16, to: SocketAddr) -> Result<(), Failure> {
        match status {
            200..300 => Ok(()),
            502..=504 => {
                let text = format!("connect to {} port {}: the proxy answered {status}", to.ip(), to.port());
                Err(Failure::new(OutcomeKind::Unreachable, text))
            }
            407 => {
                Err(self.fault(FaultCause::Proxy, Reach::Node, "it answered 407; check the user name and password in the setting proxy"))
            }
            _ => Err(self.fault(FaultCause::Proxy, Reach::Endpoint, format!("it answered {status} to CONNECT {to}"))),
        }
    }
}

impl Transport {
    /// A connection through `proxy` to an address that was judged.
    pub(super) async fn tunnel(&self, proxy: &Proxy, to: SocketAddr, reached: &AtomicBool) -> Result<TcpStream, Failure> {
        let mut stream = self.reach(proxy).await?;
        reached.store(true, Ordering::Relaxed);
        let closed = |error: io::Error| proxy.fault(FaultCause::Proxy, Reach::Node, error);
        stream.write_all(proxy.request(to).expose()).await.map_err(closed)?;
        let status = read_status(&mut stream).await.map_err(closed)?;
        proxy.judge(status, to)?;
        Ok(stream)
    }

    async fn reach(&self, proxy: &Proxy) -> Result<TcpStream, Failure> {
        let fault = |error: io::Error| {
            let is_ours = is_shortage(&error) || error.kind() == io::ErrorKind::AddrNotAvailable;
            proxy.fault(if is_ours { FaultCause::Resources } else { FaultCause::Proxy }, Reach::Node, error)
        };
        let addresses: Vec<IpAddr> = match &proxy.host {
            Host::Ipv4(address) => vec![(*address).into()],
            Host::Ipv6(address) => vec![(*address).into()],
            Host::Domain(name) => self.resolver.resolve(name).await.map_err(fault)?,
        };
        let dial = |address| open(SocketAddr::new(address, proxy.port));
        let reached = race::first(&addresses, self.limits.connect_timeout, dial, is_shortage).await;
        reached.map_err(|mut errors| fault(errors.pop().unwrap_or_else(|| io::Error::other("its name has no address"))))
    }
}

/// Reads the head of the proxy's answer, and not a byte of what comes after it: that is the endpoint's already. Interim answers
/// (1xx) before it are passed over.
async fn read_status(stream: &mut TcpStream) -> io::Result<u16> {
    let (mut head, mut chunk, mut read) = (Vec::new(), [0; 1024], 0);
    while read < limits::ANSWER_HEAD_MAX {
        let seen = stream.peek(&mut chunk).await?;
        if seen == 0 {
            return Err(io::Error::other("it closed the connection before it answered"));
        }
        let before = head.len();
        head.extend_from_slice(&chunk[..seen]);
        let (ends_at, status) = parse(&head)?;
        let taken = ends_at.unwrap_or(head.len()) - before;
        stream.read_exact(&mut chunk[..taken]).await?;
        read += taken;
        if ends_at.is_some() {
            if !(100..200).contains(&status) {
                return Ok(status);
            }
            head.clear();
        }
    }
    Err(io::Error::other(format!("its answer has a head of more than {} bytes", limits::ANSWER_HEAD_MAX)))
}

/// Where a head ends, if it does, and its status.
fn parse(head: &[u8]) -> io::Result<(Option<usize>, u16)> {
    let mut headers = vec![httparse::EMPTY_HEADER; limits::ANSWER_HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let mut lenient = httparse::ParserConfig::default();
    lenient.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
    lenient.ignore_invalid_headers_in_responses(true);
    let parsed =
        lenient.parse_response(&mut answer, head).map_err(|error| io::Error::other(format!("it does not answer in HTTP: {error}")))?;
    let ends_at = if let httparse::Status::Complete(length) = parsed { Some(length) } else { None };
    Ok((ends_at, answer.code.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Proxy {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_is_read() {
        for (text, shown) in [
            ("http://proxy.internal:3128", "proxy.internal 3128"),
            ("http://proxy.internal", "proxy.internal 80"),
            ("http://10.0.0.5:8080/", "10.0.0.5 8080"),
            ("http://[fd00::5]:8080", "[fd00::5] 8080"),
        ] {
            let proxy = proxy(text);
            assert_eq!(format!("{} {}", proxy.host, proxy.port), shown);
            assert_eq!(proxy.authorization, None);
        }
        for text in ["proxy.internal:3128", "https://proxy:3128", "socks5://proxy", "http://", "http://proxy/path", "http://proxy/?a", ""] {
            assert!(text.parse::<Proxy>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_names_the_address_and_whoever_asks() {
        let request = |proxy: &Proxy, to: &str| String::from_utf8(proxy.request(to.parse().unwrap()).expose().to_vec()).unwrap();
        let plain = request(&proxy("http://proxy:1"), "192.0.2.7:443");
        assert_eq!(plain, "CONNECT 192.0.2.7:443 HTTP/1.1\r\nHost: 192.0.2.7:443\r\n\r\n");
        let v6 = request(&proxy("http://proxy:1"), "[2001:db8::7]:8443");
        assert!(v6.starts_with("CONNECT [2001:db8::7]:8443 HTTP/1.1\r\n"), "{v6}");
        // The example of RFC 7617 section 2, with its space spelled as in a URL.
        let asked = proxy("http://Aladdin:open%20sesame@proxy:1");
        let named = request(&asked, "192.0.2.7:80");
        assert!(named.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"), "{named}");
        assert!(!format!("{asked:?}").contains("QWxhZGRpbj"), "{asked:?}");
    }

    #[test]
    fn a_head_is_read_to_its_end() {
        let head = b"HTTP/1.0 200 Connection established\r\nvia: x\r\n\r\nEHLO";
        assert_eq!(parse(head).unwrap(), (Some(head.len() - 4), 200));
        assert_eq!(parse(&head[..20]).unwrap().0, None);
        assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_err());
        let lenient = b"HTTP/1.1 200 OK\r\nVia : a\r\nX-Note: b\r\n c\r\nno header\r\nX Note: d\r\n\r\n";
        assert_eq!(parse(lenient).unwrap(), (Some(lenient.len()), 200));
    }

    #[tokio::test]
    async fn interim_answers_are_passed_over_and_what_follows_is_left() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut ours, (mut theirs, _)) = (ours.unwrap(), theirs.unwrap());
        theirs.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest").await.unwrap();
        assert_eq!(read_status(&mut ours).await.unwrap(), 200);
        let mut rest = [0; 4];
        ours.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"rest");
        for _ in 0..3000 {
            theirs.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        }
        assert!(read_status(&mut ours).await.is_err(), "an endless row of them is given up");
    }

    #[test]
    fn an_answer_is_the_endpoints_only_where_it_speaks_of_it() {
        let (proxy, to) = (proxy("http://proxy:1"), "192.0.2.7:443".parse().unwrap());
        for (status, expected) in [
            (407, Some(Reach::Node)),
            (400, Some(Reach::Endpoint)),
            (403, Some(Reach::Endpoint)),
            (302, Some(Reach::Endpoint)),
            (502, None),
            (503, None),
            (504, None),
        ] {
            let reach = match proxy.judge(status, to) {
                Err(Failure::Ours(fault)) => Some(fault.reach),
                Err(Failure::Theirs(OutcomeKind::Unreachable, _)) => None,
                other => panic!("{status}: {other:?}"),
            };
            assert_eq!(reach, expected, "{status}");
        }
        assert!(proxy.judge(200, to).is_ok());
    }
}
