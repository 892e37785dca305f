//! Names to addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;

/// Resolves names. It is asked at each connect; whether it keeps answers, and for how long, is its own affair.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a name, in the order in which they are to be tried.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver (`/etc/resolv.conf`, `/etc/hosts`), asynchronous, so that a name server that hangs holds no
/// thread.
pub struct SystemResolver(Arc<TokioResolver>);

impl SystemResolver {
    /// Reads the system's configuration.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new() -> io::Result<Self> {
        let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build).map_err(io::Error::other)?;
        Ok(Self(Arc::new(resolver)))
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.0.lookup_ip(name).await.map_err(told)?;
        Ok(found.iter().collect())
    }
}

/// An error of the system's own where this machine cannot open a socket to ask a name server through. The resolver does
/// not tell that from name servers that are away.
fn told(error: NetError) -> io::Error {
    if error.is_no_records_found() {
        return io::Error::other(error);
    }
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).err().unwrap_or_else(|| io::Error::other(error))
}
