//! Which addresses may be reached (guarantee G6).
//!
//! The judgement is on an IP address, never on text: literals in URLs are parsed by the URL standard's parser, which
//! knows every spelling (`0x7f.1`, `2130706433`, `[::ffff:7f00:1]`), and names are judged by what they resolve to, at
//! each connect, on the very address that is then dialled. An IPv6 address that carries an IPv4 one (mapped,
//! compatible, NAT64, ISATAP) is judged by both.
//!
//! An address of this machine is as forbidden as the loopback address: services that a firewall hides from the world are
//! open to the machine itself. What the operator allows is the address that is dialled. Only the forms by which a network stack
//! reaches an IPv4 address itself (mapped, compatible, NAT64) are allowed together with it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use url::{Host, Url};

use crate::clock::Stopwatch;
use crate::limits;

/// Ranges that no request may reach, from the registries of special-purpose addresses (RFC 6890 and its successors).
const FORBIDDEN: [&str; 29] = [
    // IPv4: this network, private, shared (carrier-grade NAT), loopback, link-local with the metadata addresses,
    // protocol assignments, documentation, 6to4 relays, benchmarking, multicast, reserved and broadcast.
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    // IPv6: unspecified, loopback, local NAT64, discard, protocol assignments (Teredo, ORCHID), documentation, 6to4,
    // documentation, segment routing, unique-local (with fd00:ec2::254), link-local, site-local, multicast.
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Decides which addresses may be reached.
#[derive(Debug, Clone)]
pub struct Guard {
    forbidden: Vec<IpNet>,
    allowed: Vec<IpNet>,
    own: Option<Arc<OwnAddresses>>,
}

/// The addresses of this machine.
#[derive(Debug)]
struct OwnAddresses {
    read: fn() -> io::Result<Vec<IpAddr>>,
    known: Mutex<Option<(Stopwatch, Vec<IpAddr>)>>,
}

impl OwnAddresses {
    /// Whether this machine has the address. Interfaces come and go, so that what is known grows old.
    fn has(&self, address: IpAddr) -> bool {
        let mut known = self.known.lock();
        if known.as_ref().is_none_or(|(since, _)| since.elapsed() > limits::OWN_ADDRESSES_KNOWN) {
            match (self.read)() {
                Ok(addresses) => *known = Some((Stopwatch::start(), addresses)),
                Err(error) => {
                    tracing::warn!(%error, "failed to read the addresses of this machine; endpoints are not checked against new ones")
                }
            }
        }
        known.as_ref().is_some_and(|(_, addresses)| addresses.contains(&address))
    }
}

/// The addresses of all interfaces.
fn interfaces() -> io::Result<Vec<IpAddr>> {
    let addresses = nix::ifaddrs::getifaddrs()?.filter_map(|interface| interface.address);
    let read = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    Ok(addresses.filter_map(read).collect())
}

/// Why an address or URL is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An address that must not be reached. Vendors see this text, which says nothing of the address and why it is forbidden:
    /// what a name resolves to here may be something that only this network knows.
    #[error("must not be reached: the address is forbidden")]
    Forbidden {
        /// The address, for the operator.
        address: IpAddr,
        /// The range that it is in; none for an address of this machine.
        network: Option<IpNet>,
    },
    /// Something else than `http` and `https`.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// `http` where `https` is required.
    #[error("must begin with https://: live mode requires it")]
    HttpsRequired,
    /// `user:password@` in it.
    #[error("must not contain a user name or password")]
    UserInfo,
    /// `#…` at its end.
    #[error("must not contain a fragment (#…)")]
    Fragment,
    /// A port below 1024 that is neither 80 nor 443.
    #[error("port {0} is not allowed; use 80, 443 or one from 1024 up")]
    Port(u16),
}

impl Guard {
    /// A guard that lets through, of forbidden networks and this machine's own addresses, only those that the operator named.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        let forbidden = FORBIDDEN.iter().map(|text| text.parse().expect("the table holds networks")).collect();
        let own = OwnAddresses { read: interfaces, known: Mutex::default() };
        Self { forbidden, allowed, own: Some(Arc::new(own)) }
    }

    /// A guard that lets everything through.
    pub(super) fn open() -> Self {
        Self { forbidden: Vec::new(), allowed: Vec::new(), own: None }
    }

    /// Judges an address that is about to be dialled.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn judge(&self, address: IpAddr) -> Result<(), Refusal> {
        let within = |networks: &[IpNet], address: IpAddr| networks.iter().find(|network| network.contains(&address)).copied();
        if [Some(address), reached(address)].into_iter().flatten().any(|address| within(&self.allowed, address).is_some()) {
            return Ok(());
        }
        for meant in [Some(address), carried(address)].into_iter().flatten() {
            let network = within(&self.forbidden, meant);
            if network.is_some() || self.own.as_ref().is_some_and(|own| own.has(meant)) {
                return Err(Refusal::Forbidden { address, network });
            }
        }
        Ok(())
    }

    /// Judges a URL when it is given: its form, and its host if that is an address. A name is judged at each connect.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn judge_url(&self, url: &Url, require_https: HttpsRule) -> Result<(), Refusal> {
        match (url.scheme(), require_https) {
            ("https", _) | ("http", HttpsRule::Optional) => {}
            ("http", HttpsRule::Required) => return Err(Refusal::HttpsRequired),
            _ => return Err(Refusal::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(Refusal::Fragment);
        }
        if let Some(port) = url.port().filter(|port| *port < 1024 && *port != 80 && *port != 443) {
            return Err(Refusal::Port(port));
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.judge(address.into()),
            Some(Host::Ipv6(address)) => self.judge(address.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }
}

/// Whether `http` URLs are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpsRule {
    /// Only `https`.
    Required,
    /// Both.
    Optional,
}

/// The IPv4 address that a packet to an IPv6 one arrives at: mapped, compatible and NAT64.
fn reached(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let is_plain = matches!(v6.segments(), [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..]);
    carried(address).filter(|_| is_plain)
}

/// The IPv4 address that an IPv6 one carries: mapped, compatible, NAT64 (RFC 6052), ISATAP (RFC 5214), and the relays'
/// forms 6to4 and Teredo, which are forbidden as ranges too.
fn carried(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| Some(IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0, 0, 0, 0, 0, 0) if v6 != Ipv6Addr::UNSPECIFIED && v6 != Ipv6Addr::LOCALHOST => v4(g, h),
        (0x2002, ..) => v4(b, c),
        (0x2001, 0, ..) => v4(!g, !h),
        (_, _, _, _, 0 | 0x200, 0x5efe) => v4(g, h),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        Guard::new(Vec::new()).judge(text.parse().unwrap_or_else(|_| panic!("{text}"))).is_err()
    }

    /// First and last address of every forbidden range.
    const EDGES: [&str; 64] = [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.0",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.0",
        "192.0.0.255",
        "192.0.2.0",
        "192.0.2.255",
        "192.88.99.0",
        "192.88.99.255",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.0",
        "198.51.100.255",
        "203.0.113.0",
        "203.0.113.255",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.254",
        "255.255.255.255",
        "::",
        "::1",
        "64:ff9b:1::",
        "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
        "100::",
        "100::ffff:ffff:ffff:ffff",
        "2001::",
        "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2002::",
        "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff::",
        "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
        "5f00::",
        "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fc00::",
        "fd00:ec2::254",
        "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fe80::",
        "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fec0::",
        "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "ff00::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "2606:4700::5efe:7f00:1",
        "2606:4700::200:5efe:a00:1",
    ];

    #[test]
    fn every_range_is_refused_at_both_ends() {
        for address in EDGES {
            assert!(refused(address), "{address}");
        }
    }

    #[test]
    fn every_carrier_of_a_forbidden_ipv4_address_is_refused() {
        for v4 in EDGES.iter().filter_map(|text| text.parse::<Ipv4Addr>().ok()) {
            let [high, low] = [(u32::from(v4) >> 16) as u16, u32::from(v4) as u16];
            for form in [
                format!("::ffff:{high:x}:{low:x}"),
                format!("::ffff:0:{high:x}:{low:x}"),
                format!("::{high:x}:{low:x}"),
                format!("64:ff9b::{high:x}:{low:x}"),
                format!("2002:{high:x}:{low:x}::1"),
                format!("2001:0:4136:e378:8000:63bf:{:x}:{:x}", !high, !low),
                format!("2606:4700:0:1:0:5efe:{high:x}:{low:x}"),
                format!("2606:4700:0:1:200:5efe:{high:x}:{low:x}"),
            ] {
                assert!(refused(&form), "{form} carries {v4}");
            }
        }
    }

    #[test]
    fn neighbours_of_the_ranges_are_reached() {
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::",
            "2003::",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert!(!refused(address), "{address}");
        }
    }

    #[test]
    fn every_spelling_in_a_url_is_the_same_address() {
        let guard = Guard::new(Vec::new());
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "①②⑦.⓪.⓪.①",
            "%31%32%37.0.0.1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "0",
            "10.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "[fd00:ec2::254]",
            "[::127.0.0.1]",
            "[2002:7f00:1::]",
        ] {
            let Ok(url) = Url::parse(&format!("http://{host}/hook")) else { panic!("{host} does not parse") };
            assert!(
                matches!(guard.judge_url(&url, HttpsRule::Optional), Err(Refusal::Forbidden { .. })),
                "{host} was let through as {url}"
            );
        }
        for text in ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://127.0.0.256/", "http://exa mple/"] {
            assert!(!Url::parse(text).is_ok_and(|url| guard.judge_url(&url, HttpsRule::Optional).is_ok()), "{text}");
        }
    }

    #[test]
    fn the_form_of_a_url_is_judged() {
        let guard = Guard::new(Vec::new());
        for (text, expected) in [
            ("ftp://example.com/", Err(Refusal::Scheme)),
            ("http://example.com/", Err(Refusal::HttpsRequired)),
            ("https://user@example.com/", Err(Refusal::UserInfo)),
            ("https://:pw@example.com/", Err(Refusal::UserInfo)),
            ("https://example.com/#x", Err(Refusal::Fragment)),
            ("https://example.com:22/", Err(Refusal::Port(22))),
            ("https://example.com:80/", Ok(())),
            ("https://example.com:8443/hook?x=1", Ok(())),
        ] {
            assert_eq!(guard.judge_url(&text.parse().unwrap(), HttpsRule::Required), expected, "{text}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_reached_and_nothing_else() {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(guard.judge("127.0.0.1".parse().unwrap()).is_ok());
        assert!(guard.judge("::ffff:127.0.0.1".parse().unwrap()).is_ok());
        assert!(guard.judge("10.0.0.1".parse().unwrap()).is_err());
    }

    #[test]
    fn only_forms_that_reach_an_allowed_address_are_allowed_with_it() {
        let guard = Guard::new(vec!["127.0.0.1/32".parse().unwrap()]);
        for form in ["::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"] {
            assert!(guard.judge(form.parse().unwrap()).is_ok(), "{form}");
        }
        for form in [
            "fd00::5efe:7f00:1",
            "fe80::200:5efe:7f00:1",
            "2606:4700::5efe:7f00:1",
            "2002:7f00:1::1",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "::ffff:0:7f00:1",
            "64:ff9b:1::7f00:1",
        ] {
            assert!(guard.judge(form.parse().unwrap()).is_err(), "{form}");
        }
        let named = Guard::new(vec!["fd00::5efe:7f00:1/128".parse().unwrap()]);
        assert!(named.judge("fd00::5efe:7f00:1".parse().unwrap()).is_ok(), "the address itself");
    }

    #[test]
    fn addresses_of_this_machine_are_refused_unless_they_are_allowed() {
        let here = |allowed: &[&str]| {
            let own =
                OwnAddresses { read: || Ok(vec!["8.8.4.4".parse().unwrap(), "2606:4700::1".parse().unwrap()]), known: Mutex::default() };
            let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
            Guard { own: Some(Arc::new(own)), ..Guard::new(allowed) }
        };
        let refused = |guard: &Guard, address: &str| guard.judge(address.parse().unwrap()).is_err();
        for address in ["8.8.4.4", "::ffff:8.8.4.4", "64:ff9b::808:404", "2606:4700::1", "2606:4700::5efe:808:404"] {
            assert!(refused(&here(&[]), address), "{address}");
        }
        for address in ["8.8.4.5", "2606:4700::2"] {
            assert!(!refused(&here(&[]), address), "{address}");
        }
        assert!(!refused(&here(&["8.8.4.4/32"]), "8.8.4.4"));
        assert!(refused(&here(&["8.8.4.4/32"]), "2606:4700::1"));
    }

    #[test]
    fn the_interfaces_of_this_machine_are_read() {
        let addresses = interfaces().unwrap();
        assert!(addresses.contains(&"127.0.0.1".parse().unwrap()), "{addresses:?}");
    }

    #[test]
    fn a_refusal_says_nothing_of_the_address() {
        let refusal = Guard::new(Vec::new()).judge("10.1.2.3".parse().unwrap()).unwrap_err();
        assert_eq!(refusal.to_string(), "must not be reached: the address is forbidden");
    }
}
