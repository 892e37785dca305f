//! Fuzz targets: what others write, as bytes, and what has to hold of it whatever the bytes are.
//!
//! A target panics where a property is violated. The test binary `fuzz` replays the corpus and changes it at random for a
//! moment; `make fuzz` runs the same functions under libFuzzer, which keeps inputs that reach new code.

use std::cell::RefCell;
use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use ringback::config::{Config, catalogue_from_text};
use ringback::domain::attempt::{Outcome, OutcomeKind, Phases};
use ringback::domain::json;
use ringback::domain::money::Currency;
use ringback::domain::retry::{Decision, Policy, Run, decide};
use ringback::domain::secret::Secret;
use ringback::domain::spreadsheet;
use ringback::domain::time::Timestamp;
use ringback::http::{caller_address, read_callback};
use ringback::limits;
use ringback::providers::callback::{Envelope, Proof, Signed};
use ringback::providers::http::Columns;
use ringback::providers::statement::Statement;
use ringback::transport::guard::{Guard, HttpsRule};
use ringback::transport::{Target as Destination, retry_after};
use serde_json::Value;
use sha2::Sha256;
use url::{Host, Url};

/// A target: the name of its corpus, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("forwarded", forwarded),
    ("callback", callback),
    ("url", url),
    ("json", event_json),
    ("retry_after", retry_after_header),
    ("config", configuration),
    ("catalogue", catalogue),
    ("statement", statement),
];

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Lines of forwarded headers. A line that begins with `F` is one of `Forwarded`, any other of `X-Forwarded-For`.
pub fn forwarded(data: &[u8]) {
    let trusted: [IpNet; 2] = [net("10.0.0.0/8"), net("fd00::/8")];
    let (proxy, stranger) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([198, 51, 100, 1]));
    let appended = IpAddr::from([203, 0, 113, 9]);
    let (mut headers, mut plain, mut listed) = (HeaderMap::new(), HeaderMap::new(), HeaderMap::new());
    for line in data.split(|byte| *byte == b'\n') {
        let (name, own) = match line.strip_prefix(b"F") {
            Some(_) => ("forwarded", &mut listed),
            None => ("x-forwarded-for", &mut plain),
        };
        let text = line.strip_prefix(b"F").unwrap_or(line);
        if let Ok(value) = HeaderValue::from_bytes(text) {
            headers.append(name, value.clone());
            own.append(name, value);
        }
    }
    assert_eq!(caller_address(stranger, &headers, &trusted), stranger, "a peer that is no proxy is believed");
    let _ = caller_address(proxy, &headers, &[net("0.0.0.0/0"), net("::/0")]);
    let found = caller_address(proxy, &headers, &trusted);
    assert_eq!(found, found.to_canonical(), "an address has one form");
    // What the nearest proxy appends is what counts, whatever stands before it: on a line of its own and on the last one.
    for (name, headers, element) in [("x-forwarded-for", plain, "203.0.113.9"), ("forwarded", listed, "for=203.0.113.9")] {
        let mut own_line = headers.clone();
        own_line.append(name, HeaderValue::from_static(element));
        assert_eq!(caller_address(proxy, &own_line, &trusted), appended, "{name} on a line of its own");
        let mut lines: Vec<Vec<u8>> = headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
        let last = lines.pop().unwrap_or_default();
        lines.push([&last[..], b", ", element.as_bytes()].concat());
        let mut same_line = HeaderMap::new();
        for line in lines {
            same_line.append(name.parse::<HeaderName>().expect("a name"), HeaderValue::from_bytes(&line).expect("a value"));
        }
        assert_eq!(caller_address(proxy, &same_line, &trusted), appended, "{name} on the same line");
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

/// A callback: the first line is its signature, the rest its body.
pub fn callback(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n');
    let (header, body) = at.map_or((&data[..0], data), |at| (&data[..at], &data[at + 1..]));
    signatures(header, body);
    let body = bytes::Bytes::copy_from_slice(body);
    if let Some(fields) = block_on(read_callback(&body)) {
        assert!(fields.len() <= limits::CALLBACK_VALUES, "{} fields", fields.len());
        let value = Value::Object(fields);
        assert!(depth(&value) <= limits::CALLBACK_DEPTH);
        assert_eq!(json::parse(value.to_string().as_bytes()).as_ref(), Ok(&value), "what is kept of it is read again");
        for text in value.as_object().into_iter().flat_map(|fields| fields.values()).filter_map(Value::as_str) {
            money(text);
        }
    }
}

fn signatures(header: &[u8], body: &[u8]) {
    let (name, time, secret) = (HeaderName::from_static("x-sig"), HeaderName::from_static("x-time"), Secret::new(*b"key"));
    let envelope = |signature: HeaderValue, at: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-sig", signature.clone());
        headers.insert("webhook-signature", signature);
        headers.insert("webhook-id", HeaderValue::from_static("msg_1"));
        for name in ["x-time", "webhook-timestamp"] {
            headers.insert(name, HeaderValue::from_str(at).expect("digits"));
        }
        Envelope { from: [192, 0, 2, 1].into(), method: Method::POST, headers, path_secret: None }
    };
    let timely = Duration::from_secs(300);
    let hmac = |content: &str, timestamp| {
        Proof::Hmac(Signed { header: name.clone(), secret: secret.clone(), content: content.to_owned(), timestamp })
    };
    let (plain, timed) = (hmac("{body}", None), hmac("{timestamp}.{body}", Some((time.clone(), timely))));
    let standard = Proof::StandardWebhooks { secret: secret.clone(), tolerance: timely };
    let mac = |parts: &[&[u8]]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"key").expect("any length");
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let value = |text: &str| HeaderValue::from_str(text).expect("hexadecimal digits");
    assert!(plain.holds(&envelope(value(&mac(&[body])), "1800000000"), body, NOW), "the right signature holds");
    assert!(timed.holds(&envelope(value(&mac(&[b"1800000000.", body])), "1800000000"), body, NOW));
    assert!(!timed.holds(&envelope(value(&mac(&[b"1700000000.", body])), "1700000000"), body, NOW), "an old one does not");
    let get = Envelope { method: Method::GET, ..envelope(value(&mac(&[body])), "1800000000") };
    assert!(!plain.may_hold(&get, NOW), "GET proves nothing");
    // Whatever is sent in its place proves nothing, and another body proves nothing either.
    if let Ok(given) = HeaderValue::from_bytes(header) {
        let forged = envelope(given, "1800000000");
        let other = [body, b"x"].concat();
        for proof in [&plain, &timed, &standard] {
            assert!(!(proof.holds(&forged, body, NOW) && proof.holds(&forged, &other, NOW)), "a signature of two bodies");
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Amounts: every reading of a text agrees with the strict one, and with what is written of it.
fn money(text: &str) {
    for code in ["NPR", "INR", "JPY", "KWD"] {
        let currency: Currency = code.parse().expect("a currency");
        if let Ok(minor) = currency.minor(text) {
            assert!(minor >= 0 && currency.minor(&currency.format(minor)) == Ok(minor), "{text} {code}");
            assert_eq!(currency.spelled(text), Some(minor), "{text} {code}");
        }
        if let Some(minor) = currency.spelled(text) {
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            assert!(digits(&currency.format(minor)).contains(digits(text).trim_matches('0')), "{text} is {minor} of {code}");
        }
    }
}

/// A URL of an endpoint, and the first bytes as an address.
pub fn url(data: &[u8]) {
    let guard = Guard::new(Vec::new());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
    addresses(&guard, Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]), Ipv6Addr::from(bytes));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(url) = Url::parse(text) else { return };
    let (strict, lenient) = (guard.judge_url(&url, HttpsRule::Required), guard.judge_url(&url, HttpsRule::Optional));
    assert!(strict.is_err() || lenient.is_ok(), "{url}: what is allowed by the strict rule is by the other one");
    assert!(strict.is_err() || url.scheme() == "https");
    if lenient.is_err() {
        return;
    }
    assert!(matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none(), "{url}");
    assert!(url.fragment().is_none() && url.port_or_known_default().is_some_and(|port| port >= 1024 || port == 80 || port == 443), "{url}");
    match url.host() {
        Some(Host::Ipv4(address)) => assert!(guard.judge(address.into()).is_ok() && is_public(address), "{url}"),
        Some(Host::Ipv6(address)) => {
            assert!(guard.judge(address.into()).is_ok() && !address.is_loopback() && !address.is_unspecified(), "{url}");
        }
        // A resolver that takes numbers for addresses is judged at each connect; the name itself is none.
        Some(Host::Domain(name)) => assert!(name.parse::<IpAddr>().is_err(), "{url}"),
        None => panic!("{url} has no host"),
    }
    // It is kept as text and read again.
    let again = Url::parse(url.as_str()).expect("it is read again");
    assert_eq!(again, url);
    drop(Destination::new(&url));
}

fn is_public(address: Ipv4Addr) -> bool {
    !(address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation())
}

fn addresses(guard: &Guard, v4: Ipv4Addr, v6: Ipv6Addr) {
    assert!(guard.judge(v4.into()).is_err() || is_public(v4), "{v4}");
    assert_eq!(guard.judge(v4.to_ipv6_mapped().into()).is_ok(), guard.judge(v4.into()).is_ok(), "{v4} in its mapped form");
    if guard.judge(v4.into()).is_err() {
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let carriers = [
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low),
            Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0x200, 0x5efe, high, low),
        ];
        for carrier in carriers {
            assert!(guard.judge(carrier.into()).is_err(), "{v4} as {carrier}");
        }
    }
    if guard.judge(v6.into()).is_ok() {
        let local = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local() || v6.is_unicast_link_local();
        assert!(!local && v6.to_ipv4_mapped().is_none_or(is_public), "{v6}");
    }
}

/// The JSON of events and requests, against the reader of the library.
pub fn event_json(data: &[u8]) {
    let read = json::parse(data);
    if let Ok(value) = &read {
        assert!(depth(value) <= limits::JSON_DEPTH_MAX);
        let text = value.to_string();
        let again = json::parse(text.as_bytes());
        assert_eq!(again.as_ref(), Ok(value), "it is read again");
        assert_eq!(again.expect("it is").to_string(), text, "and written as before");
    }
    // The library has names that mean something to it, and its own bound on nesting.
    let plain = json::without_bom(data);
    let names = |part: &[u8]| plain.windows(part.len()).any(|window| window == part);
    let has_exponent = plain.windows(2).any(|pair| pair[0].is_ascii_digit() && matches!(pair[1], b'e' | b'E'));
    let nested = plain.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if !names(b"serde_json") && !names(b"\\u") && nested < 100 {
        match (read, serde_json::from_slice::<Value>(plain)) {
            // The library writes the exponents of numbers in its own way.
            (Ok(ours), Ok(theirs)) => assert!(ours == theirs || has_exponent, "{ours} and {theirs}"),
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("{ours:?} and {theirs:?} of {:?}", String::from_utf8_lossy(data)),
        }
    }
}

/// A value of `Retry-NextStep`, up to the decision that it is part of.
pub fn retry_after_header(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let asked = retry_after(&value, NOW);
    let text = String::from_utf8_lossy(data);
    let digits = data.trim_ascii();
    if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        assert!(asked.is_some(), "{text}");
    }
    let _ = retry_after(&value, Timestamp::from_millis(-1));
    let policy = Policy { schedule: vec![Duration::from_secs(5)], deadline: Duration::from_secs(86_400) };
    let run = Run { attempts: 1, deadline: NOW.plus(policy.deadline) };
    let outcome = Outcome {
        kind: OutcomeKind::Rejected,
        status: Some(429),
        error: None,
        phases: Phases::default(),
        address: None,
        retry_after: asked,
        answer_headers: None,
        answer_body: None,
    };
    let Decision::RetryAt(at) = decide(run, &outcome, &policy, NOW, -1.0) else { panic!("it is tried again") };
    assert!(at > NOW && at <= run.deadline, "{text}: {at}");
    assert!(asked.is_none_or(|asked| at.since(NOW) >= asked.min(policy.deadline)), "{text} is not honoured");
}

/// A configuration file.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Settings that name files would read those of this machine.
    if ["catalogue", "_file"].iter().any(|name| text.contains(name)) {
        return;
    }
    match Config::from_text(text) {
        Err(problems) => told(&problems.to_string()),
        Ok(config) => assert!(config.bounds.max_in_flight > 0 && !config.policy.schedule.is_empty() && config.shard_lease > Duration::ZERO),
    }
}

/// Every problem says something.
fn told(problems: &str) {
    assert!(!problems.trim().is_empty());
}

/// A catalogue.
pub fn catalogue(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match catalogue_from_text(text) {
        Err(problems) => told(&problems.to_string()),
        Ok(catalogue) => {
            assert!(!catalogue.networks.is_empty());
            for network in &catalogue.networks {
                assert_eq!(catalogue.network(network.id), Some(network), "ids are unique");
                for service in &network.services {
                    drop((service.takes_number("9801234567"), service.takes_amount(5000, network.currency)));
                }
            }
        }
    }
}

/// A provider's statement, whose columns are `ref`, `state` and `amount`.
pub fn statement(data: &[u8]) {
    let columns = Columns { reference: "ref".to_owned(), state: "state".to_owned(), amount: Some("amount".to_owned()), decimal: None };
    match Statement::open(Cursor::new(data), &columns, None) {
        Err(problem) => told(&problem.to_string()),
        Ok(rows) => {
            let decimal = rows.decimal();
            for (at, row) in rows.enumerate() {
                assert!(at <= data.len(), "more rows than bytes");
                let line = match row {
                    Ok(line) => line,
                    Err(problem) => {
                        told(&problem.to_string());
                        continue;
                    }
                };
                if let Some(amount) = &line.amount {
                    money(&amount.text);
                    if let Ok(figure) = &amount.figure {
                        let _ = figure.minor("NPR".parse().expect("a currency"), decimal);
                    }
                }
                for text in [&line.reference, &line.state] {
                    a_cell(text);
                }
            }
        }
    }
}

/// What is written into a cell is the text, and begins no formula, at its beginning or behind a separator.
fn a_cell(text: &str) {
    let cell = spreadsheet::cell(text);
    for part in cell.split([',', ';', '|', '\t', '\n', '\r']) {
        let first =
            part.trim_start_matches(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '"' || letter == '\u{feff}');
        assert!(!first.starts_with(['=', '+', '-', '@']), "{text:?} is written as {cell:?}");
    }
    let letters = |text: &str| text.replace('\'', "");
    assert_eq!(letters(&cell), letters(text), "nothing but apostrophes is added");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<tokio::runtime::Runtime> =
            RefCell::new(tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    }
    RUNTIME.with(|runtime| runtime.borrow().block_on(future))
}
