//! What others write, made up at random: nothing panics, and what is let through is what the rules let through. Cases that
//! failed once are kept in proptest-regressions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use ringback::config::{Config, Sources};
use ringback::domain::secret::Secret;
use ringback::transport::guard::{Guard, HttpsRule};
use ringback::wire::{globaltopup, standard};
use url::{Host, Url};

/// A host as parsers quarrel over: numbers of every base, parts left out, zones, other alphabets.
fn host() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (0..300_u32).prop_map(|n| n.to_string()),
        (0..256_u32).prop_map(|n| format!("0{n:o}")),
        any::<u32>().prop_map(|n| format!("0x{n:x}")),
        any::<u32>().prop_map(|n| n.to_string())
    ];
    let v6 = any::<[u8; 16]>().prop_map(|bytes| Ipv6Addr::from(bytes).to_string());
    prop_oneof![
        proptest::collection::vec(number, 1..6).prop_map(|parts| parts.join(".")),
        any::<[u8; 4]>().prop_map(|bytes| Ipv4Addr::from(bytes).to_string()),
        (v6, prop_oneof![Just(""), Just("%eth0"), Just("%25lo")]).prop_map(|(address, zone)| format!("[{address}{zone}]")),
        Just("①②⑦.⓪.⓪.①".to_owned()),
        Just("127。0。0。1".to_owned()),
        Just("localhost".to_owned()),
        "[a-z0-9.%@\\\\-]{0,20}",
        any::<String>(),
    ]
}

fn address() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![Just("http"), Just("https"), Just("HTTP"), Just("ftp"), Just("file"), Just("")];
    let slashes = prop_oneof![Just("://"), Just(":\\\\"), Just(":/"), Just(":"), Just(":////")];
    let user = prop_oneof![4 => Just(String::new()), 1 => "[a-z:@#?/\\\\]{1,8}@"];
    let rest = prop_oneof![4 => Just("/hook".to_owned()), 1 => any::<String>(), 1 => ":[0-9]{1,6}/"];
    (scheme, slashes, user, host(), rest).prop_map(|(scheme, slashes, user, host, rest)| format!("{scheme}{slashes}{user}{host}{rest}"))
}

/// The address that an address carries in another form, as the ranges' own documents have it.
fn carriers(v4: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        v4.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_url_that_is_let_through_leads_where_it_may(text in address()) {
        let guard = Guard::new(Vec::new());
        if let Ok(url) = Url::parse(&text) && guard.judge_url(&url, HttpsRule::Optional).is_ok() {
            let is_public = match url.host() {
                Some(Host::Ipv4(address)) => guard.judge(address.into()).is_ok() && !address.is_loopback() && !address.is_private() && !address.is_link_local(),
                Some(Host::Ipv6(address)) => guard.judge(address.into()).is_ok() && !address.is_loopback() && !address.is_unspecified(),
                Some(Host::Domain(name)) => name.parse::<IpAddr>().is_err(),
                None => false,
            };
            prop_assert!(is_public, "{url}");
            prop_assert!(matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none());
        }
    }

    #[test]
    fn what_is_forbidden_is_forbidden_in_every_form(bytes in any::<[u8; 4]>()) {
        let (guard, v4) = (Guard::new(Vec::new()), Ipv4Addr::from(bytes));
        if guard.judge(v4.into()).is_err() {
            for carrier in carriers(v4) {
                prop_assert!(guard.judge(carrier.into()).is_err(), "{v4} as {carrier}");
            }
        }
    }

    #[test]
    fn strangers_requests_are_verified_without_a_panic(id in any::<String>(), at in any::<String>(), header in any::<String>(), body in any::<Vec<u8>>()) {
        let secret = Secret::new(b"0123456789abcdef0123456789abcdef");
        prop_assert!(!standard::verify(&secret, &id, &at, &header, &body));
        let _ = standard::parse_secret(&header);
        prop_assert!(globaltopup::open(&secret, &header).is_none_or(|plain| plain.len() < header.len()));
    }
}

/// Names that a configuration knows, and one that it does not.
fn setting() -> impl Strategy<Value = String> {
    let names = [
        "listen",
        "database",
        "allow_networks",
        "retry_schedule",
        "delivery_deadline",
        "master_key",
        "proxy",
        "smtp_url",
        "otlp_endpoint",
        "shard_lease",
        "catalogue",
        "nonsense",
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|text| format!("{text:?}")),
        "\\[[0-9, \"a-z]{0,12}\\]",
        any::<bool>().prop_map(|b| b.to_string()),
        any::<String>()
    ];
    (proptest::sample::select(names.to_vec()), value).prop_map(|(name, value)| format!("{name} = {value}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_configuration_file_is_read_or_its_problems_are_told(lines in proptest::collection::vec(setting(), 0..6), provider in any::<String>()) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = format!("{}\n[[provider]]\nname = {provider:?}\n", lines.concat());
        std::fs::write(file.path(), text).expect("it is written");
        let told = Config::read(Sources { file: Some(file.path().to_owned()), ..Sources::default() });
        prop_assert!(told.is_err_and(|error| !error.to_string().is_empty()), "a provider without a way to ask it is not taken");
    }

    #[test]
    fn a_catalogue_is_read_or_its_problems_are_told(text in prop_oneof![any::<String>(), "[\\[\\]{}a-z_=\" 0-9\n]{0,200}"]) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("it is written");
        if let Err(error) = ringback::config::read_catalogue(Some(file.path())) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
