//! The address of a caller behind proxies: `X-Forwarded-For` and `Forwarded` (RFC 7239), read as bytes.
//!
//! Both headers are lists to which each proxy appends the address it was called from. Everything but the end of such a
//! list can be the caller's invention, so that it is read from its end: as long as an element names a trusted proxy, the
//! element before it counts as well. The first element that cannot be read ends the walk. What stands before it, an
//! unclosed quote or foreign bytes, cannot change what stands behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

/// Stands for a caller whose two headers name different addresses. One of them is the caller's own invention, and which
/// one depends on the proxy. No network of a token or a provider should contain this address.
const CONTRADICTED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The address of the caller: the peer's, or, if that is a trusted proxy, the last forwarded one that is not a trusted
/// proxy itself.
pub fn caller_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let peer = peer.to_canonical();
    if !is_trusted(&peer) {
        return peer;
    }
    let nearest = |name: &str, read: fn(&[u8]) -> Option<IpAddr>| {
        let mut nearest = peer;
        let lines = headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
        for element in lines.collect::<Vec<_>>().into_iter().rev().flat_map(|line| FromEnd { rest: Some(line), separator: b',' }) {
            let Some(address) = read(element) else { break };
            nearest = address;
            if !is_trusted(&address) {
                break;
            }
        }
        nearest
    };
    match (headers.contains_key(X_FORWARDED_FOR), headers.contains_key(FORWARDED)) {
        (_, false) => nearest(X_FORWARDED_FOR, node),
        (false, true) => nearest(FORWARDED.as_str(), forwarded_for),
        (true, true) => {
            let (one, other) = (nearest(X_FORWARDED_FOR, node), nearest(FORWARDED.as_str(), forwarded_for));
            if one == other { one } else { CONTRADICTED }
        }
    }
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Splits at a separator outside of quoted strings, beginning at the end.
struct FromEnd<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for FromEnd<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let mut is_quoted = false;
        for at in (0..rest.len()).rev() {
            let byte = rest[at];
            if byte == b'"' {
                // Escaped by an odd number of backslashes before it.
                let escapes = rest[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                is_quoted ^= escapes % 2 == 0;
            } else if byte == self.separator && !is_quoted {
                self.rest = Some(&rest[..at]);
                return Some(&rest[at + 1..]);
            }
        }
        Some(rest)
    }
}

/// The address in the `for` parameter of an element of `Forwarded`; none if it has none, or several.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in (FromEnd { rest: Some(element), separator: b';' }) {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair[..at].trim_ascii(), &pair[at + 1..]);
        if name.eq_ignore_ascii_case(b"for") && found.replace(node(value)?).is_some() {
            return None;
        }
    }
    found
}

/// An address, with or without a port, brackets and quotes: `203.0.113.7`, `203.0.113.7:41234`, `"[2001:db8::1]:443"`.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let text = text.strip_prefix('"').map_or(Some(text), |rest| rest.strip_suffix('"'))?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address = address.parse::<Ipv6Addr>().ok()?;
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then(|| IpAddr::V6(address).to_canonical());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    address.parse::<Ipv4Addr>().ok().filter(|_| is_port(port)).map(IpAddr::V4)
}

/// A number, or an obfuscated port (RFC 7239 section 6.3).
fn is_port(text: &str) -> bool {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let obfuscated = text.strip_prefix('_').is_some_and(|word| !word.is_empty() && is_word(word));
    obfuscated || ((1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn found(peer: &str, lines: &[(&'static str, &[u8])]) -> String {
        let trusted: [IpNet; 2] = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        caller_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for (peer, forwarded, expected) in [
            ("198.51.100.1", "203.0.113.9", "198.51.100.1"),
            ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("10.0.0.1", "1.2.3.4, 203.0.113.9,10.0.0.2:80 , [fd00::1]:80", "203.0.113.9"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4, nonsense", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4, 10.0.0.2, nonsense, 10.0.0.3", "10.0.0.3"),
            ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("::ffff:198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ] {
            assert_eq!(found(peer, &[("x-forwarded-for", forwarded.as_bytes())]), expected, "{peer} {forwarded}");
        }
    }

    #[test]
    fn lines_of_a_header_are_one_list() {
        let line = |text: &'static str| ("x-forwarded-for", text.as_bytes());
        assert_eq!(found("10.0.0.1", &[line("1.2.3.4"), line("203.0.113.9")]), "203.0.113.9");
        assert_eq!(found("10.0.0.1", &[line("1.2.3.4, 203.0.113.9"), line("10.0.0.2")]), "203.0.113.9");
    }

    #[test]
    fn ports_and_brackets_are_not_part_of_an_address() {
        for (text, expected) in [
            ("203.0.113.7", Some("203.0.113.7")),
            (" 203.0.113.7:41234\t", Some("203.0.113.7")),
            ("\"203.0.113.7:41234\"", Some("203.0.113.7")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("\"[2001:db8::1]:_hidden\"", Some("2001:db8::1")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("[::ffff:203.0.113.7]:1", Some("203.0.113.7")),
            ("203.0.113.7:", None),
            ("203.0.113.7:123456", None),
            ("203.0.113.7:http", None),
            ("203.0.113.7 1", None),
            ("203.0.113.07", None),
            ("[203.0.113.7]:80", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]443", None),
            ("2001:db8::1%eth0", None),
            ("\"203.0.113.7", None),
            ("203.0.113.7\"", None),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
        ] {
            assert_eq!(node(text.as_bytes()).map(|address| address.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_a_caller_sends_does_not_hide_what_its_proxy_appends() {
        for sent in [&b"\xff"[..], b"\xc3\xa9", b"nonsense", b"1.2.3.4:80:80", b"\"", b"\"1.2.3.4", b"\\\"", b"for=\"", b",", b";"] {
            let plain = [sent, b", 203.0.113.9"].concat();
            assert_eq!(found("10.0.0.1", &[("x-forwarded-for", &plain)]), "203.0.113.9", "{sent:?}");
            for appended in [&b", for=203.0.113.9"[..], b", For=\"203.0.113.9:80\"", b", proto=https;for=203.0.113.9;host=\"a,b;c\\\"\""] {
                let listed = [sent, appended].concat();
                assert_eq!(found("10.0.0.1", &[("forwarded", &listed)]), "203.0.113.9", "{sent:?} {appended:?}");
            }
        }
    }

    #[test]
    fn forwarded_elements_are_read_as_rfc_7239_writes_them() {
        for (text, expected) in [
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.43, for=\"10.0.0.7:80\"", "192.0.2.43"),
            ("for=192.0.2.43, for=unknown", "10.0.0.1"),
            ("for=192.0.2.43, for=_gazonk", "10.0.0.1"),
            ("for=192.0.2.43, by=10.0.0.7", "10.0.0.1"),
            ("for=192.0.2.43, for=192.0.2.44;for=192.0.2.45", "10.0.0.1"),
            ("for=192.0.2.43,", "10.0.0.1"),
        ] {
            assert_eq!(found("10.0.0.1", &[("forwarded", text.as_bytes())]), expected, "{text}");
        }
    }

    #[test]
    fn two_headers_that_contradict_each_other_name_nobody() {
        let both = |plain: &'static str, listed: &'static str| {
            found("10.0.0.1", &[("x-forwarded-for", plain.as_bytes()), ("forwarded", listed.as_bytes())])
        };
        assert_eq!(both("203.0.113.9", "for=203.0.113.9"), "203.0.113.9");
        assert_eq!(both("1.2.3.4, 203.0.113.9", "for=\"203.0.113.9:80\""), "203.0.113.9");
        assert_eq!(both("203.0.113.9", "for=127.0.0.1"), "0.0.0.0");
        assert_eq!(both("203.0.113.9", "\u{e9}"), "0.0.0.0");
    }

    proptest! {
        #[test]
        fn no_prefix_changes_the_address_that_is_appended(sent in proptest::collection::vec(any::<u8>(), 0..80), address: IpAddr) {
            let sent: Vec<u8> = sent.into_iter().filter(|byte| *byte >= 0x20 && *byte != 0x7f).collect();
            let address = address.to_canonical();
            let quoted = if address.is_ipv6() { format!("\"[{address}]:80\"") } else { format!("{address}") };
            let is_proxy = address.to_string().starts_with("10.") || address.to_string().starts_with("fd");
            prop_assume!(!is_proxy);
            let plain = [&sent[..], b", ", address.to_string().as_bytes()].concat();
            prop_assert_eq!(found("10.0.0.1", &[("x-forwarded-for", &plain)]), address.to_string());
            let listed = [&sent[..], b", for=", quoted.as_bytes()].concat();
            prop_assert_eq!(found("10.0.0.1", &[("forwarded", &listed)]), address.to_string());
        }
    }
}
