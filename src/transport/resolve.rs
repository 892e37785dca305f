//! Names to addresses.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use parking_lot::Mutex;

use crate::limits;

/// Resolves names. It is asked at each connect; whether it keeps answers, and for how long, is its own affair.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a name, in the order in which they are to be tried.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Resolves names as the system does: `/etc/hosts` first, then the name servers of `/etc/resolv.conf`. A name with a dot is asked
/// for as it is before the search list is tried, whatever `ndots` says. Both files are read again when they change. It is asynchronous, so that a name server that hangs holds no thread.
pub struct SystemResolver {
    hosts: PathBuf,
    servers: PathBuf,
    known: Mutex<Known>,
}

/// What the files said, each as it was then.
#[derive(Default)]
struct Known {
    hosts: (Option<Version>, Arc<Hosts>),
    servers: (Option<Version>, Option<Arc<TokioResolver>>),
}

type Hosts = HashMap<String, Vec<IpAddr>>;

/// What tells a file from what it was before; a file that is not there has a version too.
type Version = Option<(u64, u64, i64, i64, i64)>;

impl SystemResolver {
    /// Reads the system's configuration. What cannot be read is logged: endpoints may use addresses.
    pub fn new() -> Self {
        let resolver = Self::reading("/etc/hosts".into(), "/etc/resolv.conf".into());
        drop(resolver.known());
        resolver
    }

    fn reading(hosts: PathBuf, servers: PathBuf) -> Self {
        Self { hosts, servers, known: Mutex::default() }
    }

    fn known(&self) -> io::Result<(Arc<Hosts>, Arc<TokioResolver>)> {
        let mut known = self.known.lock();
        let version = version(&self.hosts);
        if known.hosts.0 != Some(version) {
            let text = std::fs::read(&self.hosts).unwrap_or_default();
            known.hosts = (Some(version), Arc::new(read_hosts(&String::from_utf8_lossy(&text))));
        }
        let version = self::version(&self.servers);
        if known.servers.0 != Some(version) || known.servers.1.is_none() {
            known.servers = (Some(version), Some(Arc::new(name_servers(&self.servers)?)));
        }
        let servers = known.servers.1.clone().ok_or_else(|| io::Error::other("no name server is known"))?;
        Ok((Arc::clone(&known.hosts.1), servers))
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

fn version(path: &Path) -> Version {
    let data = std::fs::metadata(path).ok()?;
    Some((data.ino(), data.len(), data.mtime(), data.mtime_nsec(), data.ctime_nsec()))
}

/// Lines of an address and names, with comments (hosts(5)).
fn read_hosts(text: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        // A zone is for link-local addresses, which no endpoint has.
        let Some(Ok(address)) = words.next().map(|word| word.split('%').next().unwrap_or_default().parse::<IpAddr>()) else { continue };
        for name in words {
            let addresses = hosts.entry(plain(name)).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// What asks the name servers of `path`; that of this machine where none is named, as the C library does.
fn name_servers(path: &Path) -> io::Result<TokioResolver> {
    const OWN: &[u8] = b"nameserver 127.0.0.1\n";
    let read = std::fs::read(path).and_then(|text| parse_resolv_conf(text).map_err(io::Error::other));
    let (config, mut options) = match read {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no name server is configured; using the one on 127.0.0.1");
            parse_resolv_conf(OWN).map_err(io::Error::other)?
        }
    };
    options.use_hosts_file = ResolveHosts::Never;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build().map_err(io::Error::other)
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let (hosts, servers) = self.known()?;
        let host = plain(name);
        if let Some(addresses) = hosts.get(&host) {
            return Ok(addresses.clone());
        }
        // RFC 6761, section 6.3.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        // Any octets may stand in a name (RFC 2181, section 11): an underscore is no reason to refuse it.
        let name = Name::from_ascii(name).or_else(|_| Name::from_utf8(name)).map_err(io::Error::other)?;
        let look_up = |name: Name, of| {
            let servers = Arc::clone(&servers);
            async move {
                servers.lookup(name, of).await.map(|found| found.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
            }
        };
        whole_name_first(name, look_up).await.map_err(told)
    }
}

type Found = Result<Vec<IpAddr>, NetError>;

/// The addresses of a name. One with a dot is looked up as it is, in both families, and below the domains of the search list only
/// if it has no address. Kubernetes sets `ndots:5`, with which a wildcard in one of those domains would answer for a vendor's name.
async fn whole_name_first<F: Future<Output = Found>>(name: Name, look_up: impl Fn(Name, RecordType) -> F) -> Found {
    let both = |name: Name| join(look_up(name.clone(), RecordType::AAAA), look_up(name, RecordType::A));
    if name.num_labels() > 1 && !name.is_fqdn() {
        let mut whole = name.clone();
        whole.set_fqdn(true);
        match both(whole).await {
            Ok(found) if found.is_empty() => {}
            Err(error) if error.is_no_records_found() => {}
            found => return found,
        }
    }
    both(name).await
}

/// The addresses of both families. Those that are known wait for the others only for a moment: there are name servers that
/// never answer about one family.
async fn join(six: impl Future<Output = Found>, four: impl Future<Output = Found>) -> Found {
    let is_known = |found: &Found| found.as_ref().is_ok_and(|addresses| !addresses.is_empty());
    let (six, four) = match select(pin!(six), pin!(four)).await {
        Either::Left((six, rest)) if is_known(&six) => (Some(six), tokio::time::timeout(limits::RESOLUTION_DELAY, rest).await.ok()),
        Either::Left((six, rest)) => (Some(six), Some(rest.await)),
        Either::Right((four, rest)) if is_known(&four) => (tokio::time::timeout(limits::RESOLUTION_DELAY, rest).await.ok(), Some(four)),
        Either::Right((four, rest)) => (Some(rest.await), Some(four)),
    };
    let (mut addresses, mut errors) = (Vec::new(), Vec::new());
    for found in [six, four].into_iter().flatten() {
        match found {
            Ok(found) => addresses.extend(found),
            Err(error) => errors.push(error),
        }
    }
    // That there are none of one family says less than why there are none of the other.
    errors.sort_by_key(NetError::is_no_records_found);
    match errors.into_iter().next() {
        Some(error) if addresses.is_empty() => Err(error),
        _ => Ok(addresses),
    }
}

/// An error of the system's own where this machine cannot open a socket to ask a name server through. The resolver does
/// not tell that from name servers that are away.
fn told(error: NetError) -> io::Error {
    if error.is_no_records_found() {
        return io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    }
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).err().unwrap_or_else(|| io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_the_system_reads_them() {
        let hosts =
            read_hosts("# c\n127.0.0.1 localhost my_app\tWeb.Example. # x\nfe80::1%eth0 link\n::1 my_app\n\nnonsense a\n10.0.0.1\n");
        let at = |name: &str| hosts.get(name).cloned().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(at("my_app"), ["127.0.0.1", "::1"]);
        assert_eq!((at("web.example"), at("link"), at("a")), (vec!["127.0.0.1".to_owned()], vec!["fe80::1".to_owned()], vec![]));
    }

    #[tokio::test]
    async fn files_are_read_again_when_they_change_and_may_be_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let resolver = SystemResolver::reading(folder.path().join("hosts"), folder.path().join("resolv.conf"));
        assert!(resolver.known().is_ok(), "neither file has to be there");
        std::fs::write(&resolver.hosts, "10.0.0.1 new_comer\n").expect("a file");
        assert_eq!(resolver.resolve("New_Comer.").await.expect("an address"), ["10.0.0.1".parse::<IpAddr>().expect("an address")]);
        std::fs::write(&resolver.hosts, "10.0.0.2 new_comer other\n").expect("a file");
        assert_eq!(resolver.resolve("new_comer").await.expect("an address"), ["10.0.0.2".parse::<IpAddr>().expect("an address")]);
        let before = resolver.known().expect("name servers").1;
        std::fs::write(&resolver.servers, "nameserver 10.0.0.9\n").expect("a file");
        assert!(!Arc::ptr_eq(&before, &resolver.known().expect("name servers").1));
        assert!(
            Arc::ptr_eq(&resolver.known().expect("name servers").1, &resolver.known().expect("name servers").1),
            "it is kept meanwhile"
        );
    }

    #[tokio::test]
    async fn a_name_with_a_dot_is_looked_up_as_it_is_before_the_search_list_is_tried() {
        let (own, wildcard): (IpAddr, IpAddr) = (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv6Addr::LOCALHOST.into());
        // The search list has a wildcard, with an address of the family that the name itself has none of.
        let look_up = |name: Name, of| {
            let found = match (name.is_fqdn(), name.to_ascii().starts_with("hook."), of) {
                (true, true, RecordType::A) => vec![own],
                (false, _, RecordType::AAAA) => vec![wildcard],
                _ => Vec::new(),
            };
            std::future::ready(Ok(found))
        };
        for (name, expected) in [("hook.vendor.example", own), ("gone.vendor.example", wildcard), ("short", wildcard)] {
            let name = Name::from_ascii(name).expect("a name");
            assert_eq!(whole_name_first(name.clone(), look_up).await.expect("an address"), [expected], "{name}");
        }
    }

    #[tokio::test]
    async fn a_family_that_is_never_answered_is_not_waited_for() {
        let four: IpAddr = Ipv4Addr::LOCALHOST.into();
        let known = std::future::ready(Ok(vec![four]));
        assert_eq!(join(std::future::pending(), known).await.expect("an address"), [four]);
    }
}
