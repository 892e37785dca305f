//! Opening a connection: resolve, judge, dial (straight or through the proxy), TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::guard::Refusal;
use super::{Failure, Target, Trace, Transport, race};
use crate::clock::Stopwatch;
use crate::domain::attempt::{Fault, FaultCause, OutcomeKind, Phases, Reach};

/// A byte stream, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// TLS as every request uses it, with `extra` certificate authorities.
pub fn tls_config(extra: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut config = crate::tls::client(extra);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

impl Transport {
    pub(super) async fn connect(&self, target: &Target, trace: &mut Trace) -> Result<Box<dyn Stream>, Failure> {
        let addresses = self.addresses(target, &mut trace.phases).await?;
        let watch = Stopwatch::start();
        let dialled = self.dial(&addresses, target, trace).await;
        trace.phases.connect = Some(watch.micros());
        let stream = dialled?;
        if !target.is_https {
            return Ok(Box::new(stream));
        }
        let name = match &target.host {
            url::Host::Domain(name) => ServerName::try_from(name.clone()),
            url::Host::Ipv4(address) => Ok(ServerName::IpAddress(IpAddr::V4(*address).into())),
            url::Host::Ipv6(address) => Ok(ServerName::IpAddress(IpAddr::V6(*address).into())),
        };
        let name = name.map_err(|_| Failure::new(OutcomeKind::Unreachable, "the host's name cannot stand in a certificate"))?;
        let watch = Stopwatch::start();
        let shaken = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        trace.phases.tls = Some(watch.micros());
        let stream = shaken.map_err(|error| Failure::new(OutcomeKind::Unreachable, format!("TLS: {error}")))?;
        Ok(Box::new(stream))
    }

    async fn addresses(&self, target: &Target, phases: &mut Phases) -> Result<Vec<IpAddr>, Failure> {
        let name = match &target.host {
            url::Host::Ipv4(address) => return Ok(vec![(*address).into()]),
            url::Host::Ipv6(address) => return Ok(vec![(*address).into()]),
            url::Host::Domain(name) => name,
        };
        let watch = Stopwatch::start();
        let resolved = self.resolver.resolve(name).await;
        phases.resolve = Some(watch.micros());
        let addresses = resolved.map_err(|error| {
            let text = format!("DNS: {name}: {error}");
            if is_shortage(&error) {
                return Failure::Ours(Fault { cause: FaultCause::Resources, reach: Reach::Node, text });
            }
            Failure::new(OutcomeKind::Unreachable, text)
        })?;
        if addresses.is_empty() {
            return Err(Failure::new(OutcomeKind::Unreachable, format!("DNS: {name} has no address")));
        }
        Ok(addresses)
    }

    /// Races the addresses. Each is judged here, when it is dialled, so that no other one can be.
    async fn dial(&self, addresses: &[IpAddr], target: &Target, trace: &mut Trace) -> Result<TcpStream, Failure> {
        let Trace { address: last, refused, reached_proxy, .. } = trace;
        let reached_proxy = &*reached_proxy;
        let dial = |address: IpAddr| {
            let judged = self.guard.judge(address);
            match &judged {
                Ok(()) => *last = Some(address),
                Err(refusal) => {
                    if let Refusal::Forbidden { network, .. } = refusal {
                        let network = network.map_or_else(|| "this machine".to_owned(), |network| network.to_string());
                        tracing::warn!(host = %target.host, %address, network, "refused to connect to a forbidden address");
                    }
                    *refused = Some(address);
                }
            }
            async move {
                // The vendor is not told what the name resolves to here.
                judged.map_err(|refusal| Failure::new(OutcomeKind::Refused, refusal.to_string()))?;
                let to = SocketAddr::new(address, target.port);
                let stream = if let Some(proxy) = &self.proxy { self.tunnel(proxy, to, reached_proxy).await } else { direct(to).await };
                Ok((address, stream?))
            }
        };
        let is_final = |failure: &Failure| matches!(failure, Failure::Ours(Fault { reach: Reach::Node, .. }));
        match race::first(addresses, self.limits.connect_timeout, dial, is_final).await {
            Ok((address, stream)) => {
                trace.address = Some(address);
                Ok(stream)
            }
            Err(failures) => Err(weightiest(failures)),
        }
    }
}

/// What is said of a name none of whose addresses could be reached. Where one of them could not be tried, nothing is known of
/// the endpoint; an address that was refused counts where all were.
fn weightiest(failures: Vec<Failure>) -> Failure {
    let weight = |failure: &Failure| match failure {
        Failure::Ours(Fault { reach: Reach::Node, .. }) => 3,
        Failure::Ours(_) => 2,
        Failure::Theirs(OutcomeKind::Refused, _) => 0,
        Failure::Theirs(..) => 1,
    };
    failures.into_iter().max_by_key(weight).expect("there is at least one address")
}

async fn direct(address: SocketAddr) -> Result<TcpStream, Failure> {
    open(address).await.map_err(|error| {
        let text = format!("connect to {} port {}: {error}", address.ip(), address.port());
        // All local ports to one destination can be taken while there are some to others. Of an IPv6 address the same
        // error says that this machine has no way to it.
        let no_port = error.kind() == io::ErrorKind::AddrNotAvailable && address.is_ipv4();
        let reach = if no_port { Some(Reach::Endpoint) } else { is_shortage(&error).then_some(Reach::Node) };
        match reach {
            Some(reach) => Failure::Ours(Fault { cause: FaultCause::Resources, reach, text }),
            None => Failure::new(OutcomeKind::Unreachable, text),
        }
    })
}

pub(super) async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether this machine has no file descriptor or no memory for another socket.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Lets this process have as many files and sockets open as it may let itself; answers how many those are.
pub fn allow_open_files() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the number of files that may be open at once could not be raised");
    }
    open_files_max()
}

/// Files and sockets that this process may have open at once.
pub(super) fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}
