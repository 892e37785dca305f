//! `ringback verify` and `ringback decrypt`: whether a captured request is what Ringback sent, and if not, which of the usual
//! mistakes it is: another secret, a body that was written anew, an old timestamp, the other profile, test and live mixed up.

use std::io::Read;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use super::listen::{parse_secret, read_secret};
use super::output::before_verdict;
use super::style::{BAD, FAINT, GOOD};
use crate::clock::Environment;
use crate::config::ConfigError;
use crate::domain::endpoint::Profile;
use crate::domain::json;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::wire::{globaltopup, standard};

/// Older or newer requests are refused by receivers (Standard Webhooks), in seconds.
const TOLERANCE: i64 = 300;

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The endpoint's secret
    #[arg(long, value_name = "SECRET", value_parser = parse_secret)]
    secret: String,
    /// Take the timestamp as it is, however old
    #[arg(long)]
    any_age: bool,
}

/// Arguments of `decrypt`.
#[derive(Debug, Args)]
pub(super) struct Decrypt {
    /// The endpoint's secret
    #[arg(long, value_name = "SECRET", value_parser = parse_secret)]
    secret: String,
}

/// A request as it was captured: header lines, an empty line, and the body as it came.
struct Captured {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Captured {
    fn read(bytes: Vec<u8>) -> Self {
        let (mut headers, mut at) = (Vec::new(), 0);
        while let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&bytes[at..at + length]).trim_end_matches('\r').to_owned();
            if line.is_empty() {
                return Self { headers, body: bytes[at + length + 1..].to_vec() };
            }
            match line.split_once(':') {
                Some((name, value)) if is_name(name) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                // The request line may be there too.
                _ if headers.is_empty() && line.contains(" HTTP/") => {}
                _ => break,
            }
            at += length + 1;
        }
        // No head at all: all of it is the body.
        Self { headers: Vec::new(), body: bytes }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn from_stdin() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("standard input cannot be read")?;
    if bytes.is_empty() {
        bail!(ConfigError(vec!["nothing came on standard input; give it the request: its headers, an empty line, its body".to_owned()]));
    }
    Ok(bytes)
}

/// What a secret is of, by its look.
fn profile_of(secret: &str) -> Profile {
    if secret.starts_with(standard::SECRET_PREFIX) { Profile::Standard } else { Profile::GlobalTopup }
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let request = Captured::read(from_stdin()?);
        let profile = profile_of(&self.secret);
        let secret = read_secret(profile, &self.secret)?;
        let now = Environment::system(0).clock.now();
        match judge(&request, &secret, profile, now, self.any_age) {
            Ok(good) => {
                outln!("{GOOD}✓{GOOD:#} {good}")?;
                Ok(())
            }
            Err(why) => {
                before_verdict(outln!("{BAD}✗{BAD:#} {}\n{FAINT}  {}{FAINT:#}", why.what, why.mend))?;
                bail!("the request does not verify");
            }
        }
    }
}

/// What is wrong with a request, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    what: String,
    mend: String,
}

fn wrong(what: impl Into<String>, mend: impl Into<String>) -> Wrong {
    Wrong { what: what.into(), mend: mend.into() }
}

fn judge(request: &Captured, secret: &Secret, profile: Profile, now: Timestamp, any_age: bool) -> Result<String, Wrong> {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let missing: Vec<_> = names.into_iter().filter(|name| request.header(name).is_none()).collect();
    if !missing.is_empty() {
        let mend = "give the request with its headers, then an empty line, then the body, all of it as it came";
        return Err(wrong(format!("{} missing", missing.join(", ")), mend));
    }
    let [id, timestamp, signature] = names.map(|name| request.header(name).unwrap_or_default());
    let is_sealed = request.header("x-signature").is_some();
    if is_sealed && profile == Profile::Standard && !standard::verify(secret, id, timestamp, signature, &request.body) {
        return Err(wrong(
            "the request is of the profile globaltopup, and the secret is one of the profile standard",
            "use the endpoint's own secret, without whsec_ in front; or change the endpoint's profile",
        ));
    }
    if !is_sealed && profile == Profile::GlobalTopup {
        return Err(wrong(
            "the request is of the profile standard, and the secret is none of that profile: it does not begin with whsec_",
            "use the secret that was shown when the endpoint was made or rotated",
        ));
    }
    if let Some(given) = request.header("x-signature")
        && profile == Profile::GlobalTopup
        && given != globaltopup::x_signature(secret)
    {
        return Err(wrong("X-Signature is another secret's", other_secret(request)));
    }
    if !standard::verify(secret, id, timestamp, signature, &request.body) {
        return Err(why_not(request, secret, [id, timestamp, signature]));
    }
    let at: i64 = timestamp.parse().map_err(|_| wrong("webhook-timestamp is no number", "give the headers as they came"))?;
    let age = (now.as_millis() / 1000).saturating_sub(at);
    if age.saturating_abs() > TOLERANCE && !any_age {
        let when = if age > 0 { format!("{age} s old") } else { format!("{} s ahead of this machine's clock", age.saturating_neg()) };
        return Err(wrong(
            format!("the signature is right, but the timestamp is {when}; receivers refuse what is more than five minutes off"),
            "if it is a request that was captured earlier, look at it with --any-age; if it has just come, set the receiver's clock",
        ));
    }
    Ok(format!("signed with this secret, {age} s ago, for {id}"))
}

/// The signature is not this secret's over this body. The body is tried as it may have been before somebody wrote it anew.
fn why_not(request: &Captured, secret: &Secret, [id, timestamp, signature]: [&str; 3]) -> Wrong {
    let raw = "sign and compare the bytes as they came, before anything parses them";
    let tries: [(&str, Vec<u8>); 4] = [
        ("a newline was added at its end", trimmed(&request.body)),
        ("it was indented or spaced anew", minified(&trimmed(&request.body))),
        ("its slashes were written as \\/, as PHP's json_encode does", replaced(&minified(&trimmed(&request.body)), "\\/", "/")),
        ("a newline at its end was cut off", [&request.body, b"\n".as_slice()].concat()),
    ];
    for (how, body) in tries {
        if body != request.body && standard::verify(secret, id, timestamp, signature, &body) {
            return wrong(format!("the secret is right, but the body is not the one that was sent: {how}"), raw);
        }
    }
    if !signature.split(' ').any(|part| part.starts_with("v1,")) {
        return wrong("webhook-signature has no v1 signature", "give the header as it came; it begins with v1,");
    }
    if request.header("x-signature").is_some() {
        return wrong("the secret is right (X-Signature says so), but the body was changed", raw);
    }
    wrong("the signature is another secret's, or the body was changed", format!("{}. If the secret is right: {raw}", other_secret(request)))
}

/// Whose secret it may be instead.
fn other_secret(request: &Captured) -> String {
    let body = json::parse(&request.body).ok();
    let mode = request.header("ringback-mode").map(str::to_owned);
    let mode = mode.or_else(|| Some(body?["data"]["mode"].as_str()?.to_owned()));
    match mode.as_deref() {
        Some("live") => {
            "this is a live event: is the secret the live endpoint's, not the test endpoint's, and not one from before a rotation?"
        }
        Some("test") => {
            "this is a test event: is the secret the test endpoint's, not the live endpoint's, and not one from before a rotation?"
        }
        _ => "is the secret this endpoint's, of this mode, and not one from before a rotation?",
    }
    .to_owned()
}

fn trimmed(body: &[u8]) -> Vec<u8> {
    body.trim_ascii_end().to_vec()
}

/// JSON without the spaces between its parts.
fn minified(body: &[u8]) -> Vec<u8> {
    let (mut out, mut is_text, mut is_escaped) = (Vec::with_capacity(body.len()), false, false);
    for byte in body {
        if is_text {
            (is_text, is_escaped) = (*byte != b'"' || is_escaped, *byte == b'\\' && !is_escaped);
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            is_text = *byte == b'"';
        }
        out.push(*byte);
    }
    out
}

fn replaced(body: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(body).replace(from, to).into_bytes()
}

impl Decrypt {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let request = Captured::read(from_stdin()?);
        match opened(&request.body, &self.secret) {
            Ok(plain) => {
                outln!("{plain}")?;
                Ok(())
            }
            Err(why) => bail!("{}: {}", why.what, why.mend),
        }
    }
}

fn opened(body: &[u8], secret: &str) -> Result<String, Wrong> {
    let text = String::from_utf8_lossy(body);
    let json = json::parse(text.trim().as_bytes()).ok();
    let sealed = match &json {
        Some(Value::Object(fields)) => match fields.get("data") {
            Some(Value::String(data)) => data.clone(),
            _ => {
                return Err(wrong(
                    "this body is not encrypted",
                    "it is of the profile standard: read it as it is, and check its signature with ringback verify",
                ));
            }
        },
        Some(Value::String(data)) => data.clone(),
        // What stands in data may be given by itself.
        _ => text.trim().to_owned(),
    };
    if secret.starts_with(standard::SECRET_PREFIX) {
        return Err(wrong(
            "the secret is one of the profile standard",
            "bodies are encrypted with the endpoint's own secret, without whsec_ in front",
        ));
    }
    let bytes = data_encoding::BASE64.decode(sealed.as_bytes());
    let bytes = bytes.map_err(|error| wrong(format!("data is no base64: {error}"), "give it whole and as it came, without line breaks"))?;
    if bytes.len() < 32 {
        return Err(wrong(
            format!("data is too short: {} bytes", bytes.len()),
            "there are 16 bytes of IV and at least 16 behind it; give it whole",
        ));
    }
    let plain = globaltopup::open(&Secret::new(secret.as_bytes()), &sealed).and_then(|plain| String::from_utf8(plain).ok());
    plain.ok_or_else(|| {
        wrong(
            "it does not decrypt with this secret",
            "is the secret this endpoint's, of this mode, typed exactly, and not a new one while a rotation overlaps (the old one encrypts until it ends)?",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::{CipherText, Settings};
    use crate::wire::standard::Signer;

    const SECRET: &str = "whsec_UmVjZWl2ZXJzIHRoYXQgYSBwYWdlIHNob3dzLg==";
    const BODY: &str = r#"{"type":"recharge.success","data":{"url":"https://a.example/b","mode":"live"}}"#;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    /// A request with this body, signed for another one.
    fn request(signed: &str, body: &str, secret: &str) -> Captured {
        let settings = Settings::new("https://a.example".parse().unwrap(), standard::parse_secret(secret).unwrap());
        let signature = Signer::new(&settings).sign("evt_1", now(), signed.as_bytes());
        let head =
            format!("POST /hook HTTP/1.1\r\nWebhook-Id: evt_1\r\nwebhook-timestamp: 1700000000\r\nwebhook-signature: {signature}\r\n\r\n");
        Captured::read([head.as_bytes(), body.as_bytes()].concat())
    }

    fn told(request: &Captured, at: Timestamp) -> String {
        let secret = read_secret(Profile::Standard, SECRET).unwrap();
        judge(request, &secret, Profile::Standard, at, false).unwrap_or_else(|wrong| wrong.what)
    }

    #[test]
    fn each_mistake_is_told_from_the_others() {
        let other = "whsec_QW5vdGhlciBzZWNyZXQgdGhhbiB0aGUgcmlnaHQgb25lLg==";
        let pretty = BODY.replace(':', ": ").replace("https: ", "https:").replace(',', ",\n  ");
        for (request, at, part) in [
            (request(BODY, BODY, SECRET), now(), "signed with this secret"),
            (request(BODY, &format!("{BODY}\n"), SECRET), now(), "a newline was added"),
            (request(BODY, &pretty, SECRET), now(), "indented or spaced anew"),
            (request(BODY, &BODY.replace('/', "\\/"), SECRET), now(), "json_encode"),
            (request(BODY, BODY, other), now(), "another secret's, or the body was changed"),
            (request(BODY, BODY, SECRET), Timestamp::from_millis(1_700_000_400_000), "400 s old"),
            (request(BODY, BODY, SECRET), Timestamp::from_millis(1_699_999_000_000), "1000 s ahead"),
            (Captured::read(BODY.as_bytes().to_vec()), now(), "webhook-id, webhook-timestamp, webhook-signature missing"),
        ] {
            let told = told(&request, at);
            assert!(told.contains(part), "{told} does not tell {part}");
        }
    }

    #[test]
    fn test_and_live_are_told_apart() {
        let other = "whsec_QW5vdGhlciBzZWNyZXQgdGhhbiB0aGUgcmlnaHQgb25lLg==";
        let secret = read_secret(Profile::Standard, SECRET).unwrap();
        let why = judge(&request(BODY, BODY, other), &secret, Profile::Standard, now(), false).unwrap_err();
        assert!(why.mend.contains("this is a live event"), "{why:?}");
    }

    #[test]
    fn a_secret_of_the_other_profile_is_told() {
        let mut sealed = request(BODY, BODY, "whsec_QW5vdGhlciBzZWNyZXQgdGhhbiB0aGUgcmlnaHQgb25lLg==");
        sealed.headers.push(("x-signature".to_owned(), "00".to_owned()));
        assert!(told(&sealed, now()).contains("of the profile globaltopup"));
        let legacy = Secret::new(b"0123456789abcdef0123456789abcdef");
        let why = judge(&request(BODY, BODY, SECRET), &legacy, Profile::GlobalTopup, now(), false).unwrap_err();
        assert!(why.what.contains("of the profile standard"), "{why:?}");
    }

    #[test]
    fn what_is_sealed_is_opened_and_what_is_not_is_said_to_be_so() {
        let secret = "0123456789abcdef0123456789abcdef";
        for cipher_text in [CipherText::Raw, CipherText::Base64] {
            let data = globaltopup::Sealer::new(&Secret::new(secret.as_bytes()), cipher_text).seal(b"{\"status\":\"Success\"}", [7; 16]);
            let body = format!("{{\"data\":\"{data}\"}}");
            assert_eq!(opened(body.as_bytes(), secret).unwrap(), "{\"status\":\"Success\"}");
            assert_eq!(opened(data.as_bytes(), secret).unwrap(), "{\"status\":\"Success\"}");
            let why = opened(body.as_bytes(), "another-secret-of-32-characters!").unwrap_err();
            assert!(why.what.contains("does not decrypt"), "{why:?}");
            assert!(opened(&body.as_bytes()[..body.len() / 2], secret).unwrap_err().what.contains("base64"));
        }
        assert!(opened(BODY.as_bytes(), secret).unwrap_err().what.contains("not encrypted"));
        assert!(opened(b"{\"data\":\"AAAA\"}", secret).unwrap_err().what.contains("too short"));
        assert!(opened(b"{\"data\":\"AAAA\"}", SECRET).unwrap_err().what.contains("profile standard"));
    }
}
