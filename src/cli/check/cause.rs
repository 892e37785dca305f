//! Why a receiver cannot be tested: one cause, and one piece of advice for it.
//!
//! A connection that fails names its cause itself. A receiver that answers a signed event with an error does not, so the event is
//! sent again with each of the usual mistakes built in: the receiver that makes a mistake accepts the request that fits it.

use std::time::Duration;

use super::QUICK;
use super::requests::{ANSWER_WITHIN, Answer, Tried, separated, signature, sorted};
use crate::clock::Stopwatch;
use crate::domain::attempt::OutcomeKind;
use crate::domain::endpoint::{CipherText, Profile};
use crate::domain::time::Timestamp;
use crate::wire::{Message, standard};

/// The search for a cause ends after this time.
const SEARCHED_FOR: Duration = Duration::from_secs(30);
/// A clock that is wrong by more than this is the cause.
const WRONG: Duration = Duration::from_secs(60);
/// Differences of a clock that are tried where no `Date` header shows one, in minutes: drift, and time zones that were left out.
const DRIFTS: [i64; 30] = [
    10, -10, 60, -60, 120, -120, 180, -180, 240, -240, 300, -300, 330, -330, 345, -345, 360, -360, 420, -420, 480, -480, 540, -540, 600,
    -600, 660, -660, 720, -720,
];

/// What is wrong, and what to do.
pub(super) struct Cause {
    pub what: String,
    pub advice: String,
}

fn cause(what: impl Into<String>, advice: impl Into<String>) -> Cause {
    Cause { what: what.into(), advice: advice.into() }
}

/// Whether the answer is a good one, but for its time.
pub(super) fn is_late(answer: &Answer) -> bool {
    answer.is_taken() && answer.took >= QUICK
}

/// Whether there is no sense in asking any further: no connection, no answer in time, or too many requests.
pub(super) fn is_gone(answer: &Answer) -> bool {
    let is_unsent = answer.status().is_none() && answer.outcome.phases.first_byte.is_none();
    is_unsent || answer.outcome.kind == OutcomeKind::TimedOut || answer.status() == Some(429)
}

/// What an answer says by itself.
pub(super) fn of_answer(tried: &Tried, answer: &Answer) -> Cause {
    if let Some(status) = answer.status() {
        return of_status(tried, answer, status).unwrap_or_else(|| {
            cause(
                format!("the answer took {:.1} s", answer.took.as_secs_f64()),
                format!(
                    "Answer within {} s: store the event, answer 2xx, and process it afterwards. Ringback waits {} s and then retries.",
                    QUICK.as_secs(),
                    ANSWER_WITHIN.as_secs()
                ),
            )
        });
    }
    let error = answer.outcome.error.as_deref().unwrap_or("no answer");
    let url = tried.url();
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let has = |part: &str| error.contains(part);
    if error.starts_with("DNS:") {
        let what = if has("has no address") { format!("DNS: the name {host} has no address") } else { error.to_owned() };
        return cause(what, "Correct the host name in the URL, or add it to DNS or to /etc/hosts.");
    }
    if error.starts_with("TLS:") {
        return cause(error, tls_advice(error));
    }
    if has("Connection refused") {
        return cause(
            format!("Connection refused: no process listens at {host} port {port}"),
            "Start the receiver, or correct the host and port of the URL.",
        );
    }
    if has("invalid HTTP") {
        let advice = match url.scheme() {
            "http" => "Something other than a plain HTTP server listens there. If it expects TLS, write https:// in the URL.",
            _ => "Something other than an HTTP server listens there; correct the host and port of the URL.",
        };
        return cause(error, advice);
    }
    let is_late = answer.outcome.kind == OutcomeKind::TimedOut;
    if is_late && answer.outcome.phases.connect.is_some() && url.scheme() == "https" && answer.outcome.phases.tls.is_none() {
        return cause("the port accepts connections and does not answer the TLS handshake", NO_TLS);
    }
    if is_late && !answer.outcome.was_sent(url.scheme() == "https") {
        return cause(error, "No connection was made. Check the host and port of the URL, and any firewall between here and there.");
    }
    if is_late {
        return cause(
            error,
            format!(
                "Store the event, answer 2xx within {} s, and process it afterwards. Ringback waits no longer than {} s.",
                QUICK.as_secs(),
                ANSWER_WITHIN.as_secs()
            ),
        );
    }
    if answer.outcome.phases.first_byte.is_some() {
        return cause(error, "The receiver closed the connection without an answer; its log says why. Answer every request.");
    }
    cause(error, "Check the host and port of the URL, and the network between here and there.")
}

const NO_TLS: &str = "The port does not speak TLS. Write http:// in the URL to test a receiver without TLS, or correct the port.";

fn tls_advice(error: &str) -> &'static str {
    let error = error.to_ascii_lowercase();
    let has = |part: &str| error.contains(part);
    if has("expired") {
        "Renew the receiver's certificate."
    } else if has("not valid for") || has("notvalidforname") {
        "Install a certificate that names the host of the URL, or correct the host."
    } else if has("unknownissuer") || has("unknown issuer") || has("selfsigned") || has("causedasendentity") {
        "Install a certificate of a public certificate authority, with its whole chain. Self-signed certificates are not accepted."
    } else if has("invalidcontenttype") || has("corrupt") {
        NO_TLS
    } else {
        "Check the receiver's TLS configuration: a valid certificate, its whole chain, and TLS 1.2 or 1.3."
    }
}

/// A status that says by itself what is wrong.
fn of_status(tried: &Tried, answer: &Answer, status: u16) -> Option<Cause> {
    let path = tried.url().path();
    Some(match status {
        300..400 => {
            let to = answer.header("location").map(|to| format!(" to {to}")).unwrap_or_default();
            cause(format!("redirects{to}"), "Redirects are not followed. Give the final URL, and register that one as the endpoint.")
        }
        404 | 410 => cause(format!("no receiver at the path {path}"), "Correct the path of the URL, or add the route to the receiver."),
        405 => {
            cause(format!("the path {path} does not accept POST"), "Correct the path of the URL, or let the receiver's route accept POST.")
        }
        413 => cause("the receiver refuses the size of the body", "Allow request bodies of 1 MiB."),
        415 => cause("the receiver refuses the content type", "Accept application/json."),
        429 => {
            cause("the receiver limits requests", "Exempt Ringback from the receiver's rate limit, or raise it, and run the check again.")
        }
        407 | 502..=504 => cause(
            "a gateway in front of the receiver does not reach it",
            "Start the receiver behind the gateway, or correct where the gateway sends this path.",
        ),
        _ => return None,
    })
}

/// Why a handshake was refused by a receiver that accepts events.
pub(super) fn of_handshake(profile: Profile, answer: &Answer) -> Cause {
    if profile == Profile::Standard {
        return cause(
            "a webhook.test event was refused, other events are accepted",
            "Answer 2xx to an event of the type webhook.test as to any other. An endpoint is connected with it.",
        );
    }
    let advice = "Answer a GET whose X-Signature is correct with exactly 200 and Content-Type: application/json.";
    match answer.status() {
        Some(404 | 405) => cause("the path accepts POST but not GET", advice),
        Some(200) => cause("the answer is not JSON", advice),
        _ => cause("the handshake, a GET without a body, was refused, and events are accepted", advice),
    }
}

/// A request with a mistake built in, and what it means if it is accepted.
struct Suspect {
    cause: Cause,
    message: Message,
}

/// Why a correctly signed event was not accepted.
pub(super) async fn of_refusal(tried: &Tried, secret_text: &str, refused: &Answer) -> anyhow::Result<Cause> {
    let Some(status) = refused.status() else { return Ok(of_answer(tried, refused)) };
    if is_late(refused) {
        return Ok(of_answer(tried, refused));
    }
    if let Some(known) = of_status(tried, refused, status) {
        return Ok(known);
    }
    let forged = tried.send(tried.forged(&tried.recharge(101))).await?;
    if forged.status().is_some_and(|other| (400..500).contains(&other) && other != status) {
        return Ok(cause(
            "the event verifies, and the receiver then refuses or fails to process it",
            "The receiver's log says why. It has to accept the documented fields of a recharge.success event.",
        ));
    }
    let watch = Stopwatch::start();
    for suspect in suspects(tried, secret_text, refused) {
        let answer = tried.send(suspect.message).await?;
        if answer.is_taken() {
            return Ok(suspect.cause);
        }
        if is_gone(&answer) || watch.elapsed() > SEARCHED_FOR {
            break;
        }
    }
    Ok(if status >= 500 {
        cause(
            "the receiver fails when it processes a correctly signed event",
            "The receiver's log says why. If it fails because of a missing or different secret, set the one given with --secret.",
        )
    } else {
        cause(
            "a correctly signed event was refused, and it verifies with none of the usual mistakes",
            "The receiver most likely verifies with another secret: set the endpoint's, exactly as given with --secret. \
             If it has that one, capture a request and find the difference with ringback verify.",
        )
    })
}

/// The usual mistakes of receivers, the most frequent ones first.
fn suspects(tried: &Tried, secret_text: &str, refused: &Answer) -> Vec<Suspect> {
    let event = |number: usize| tried.recharge(110 + i64::try_from(number).unwrap_or_default());
    let mut all: Vec<(Cause, Message)> = Vec::new();
    let mut number = 0;
    let mut next = || {
        number += 1;
        event(number)
    };
    if tried.profile() == Profile::GlobalTopup {
        let other = if tried.cipher_text() == CipherText::Raw { "base64" } else { "raw" };
        let advice = format!("Run the check with --cipher-text {other}, and set cipher_text of the endpoint to {other}.");
        all.push((cause(format!("the receiver expects the cipher text as {other}"), advice), tried.in_other_cipher_text(&next())));
        return all.into_iter().map(|(cause, message)| Suspect { cause, message }).collect();
    }
    let key = tried.secret().expose();
    let base64 = secret_text.strip_prefix(standard::SECRET_PREFIX).unwrap_or(secret_text);
    for (text, what) in [(base64, "the base64 text of the secret"), (secret_text, "the text of the secret, whsec_ included,")] {
        let event = next();
        let body = body_of(&event);
        let advice = "Remove whsec_, decode the rest as base64, and use the resulting bytes as the key.";
        let message = tried.signed_anew(&event, body, |content, _| signature(text.as_bytes(), &content));
        all.push((cause(format!("the receiver uses {what} as the key"), advice), message));
    }
    let rewrites: [fn(&str) -> String; 3] =
        [|body| separated(body, ", ", ": "), |body| sorted(body), |body| separated(&sorted(body), ", ", ": ")];
    for rewrite in rewrites {
        let event = next();
        let body = rewrite(&body_of(&event));
        let advice = "Compute the signature over the bytes as received, before a framework parses them.";
        let message = tried.signed_anew(&event, body, |content, _| signature(key, &content));
        all.push((cause("the receiver verifies a parsed and re-encoded body", advice), message));
    }
    let advice = "Sign {webhook-id}.{webhook-timestamp}.{body}: the two headers and the body, joined by full stops.";
    let event = next();
    let message = tried.signed_anew(&event, body_of(&event), |_, body| signature(key, body));
    all.push((cause("the receiver verifies a signature of the body alone", advice), message));
    let event = next();
    let bare = |content: String, _: &str| signature(key, &content).trim_start_matches("v1,").to_owned();
    let advice = "webhook-signature is a list separated by spaces. Compare with the part behind v1, of each entry.";
    let message = tried.signed_anew(&event, body_of(&event), bare);
    all.push((cause("the receiver compares the whole webhook-signature header with a bare signature", advice), message));
    let advice = "webhook-timestamp is in seconds since 1970, UTC; compare it with a clock in seconds.";
    all.push((cause("the receiver reads webhook-timestamp as milliseconds", advice), tried.in_milliseconds(&next())));
    for minutes in drifts(refused, tried.now()) {
        let at = Timestamp::from_millis(tried.now().as_millis() + minutes * 60_000);
        let side = if minutes > 0 { "ahead of" } else { "behind" };
        let what = format!("the receiver's clock is about {} {side} this machine's", in_words(minutes.unsigned_abs()));
        let advice = "Set the receiver's clock by NTP, and compare webhook-timestamp with the time in UTC.";
        all.push((cause(what, advice), tried.at(&next(), at)));
    }
    all.into_iter().map(|(cause, message)| Suspect { cause, message }).collect()
}

fn body_of(event: &crate::domain::event::Event) -> String {
    String::from_utf8_lossy(&standard::body(event)).into_owned()
}

fn in_words(minutes: u64) -> String {
    match (minutes / 60, minutes % 60) {
        (0, 1) => "1 minute".to_owned(),
        (0, minutes) => format!("{minutes} minutes"),
        (1, 0) => "1 hour".to_owned(),
        (hours, 0) => format!("{hours} hours"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// Differences of the receiver's clock to this one that are worth trying, in minutes: the one its `Date` header shows comes first.
fn drifts(answer: &Answer, now: Timestamp) -> Vec<i64> {
    let date = answer.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
    let theirs = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok()).and_then(|at| i64::try_from(at.as_millis()).ok());
    let shown = theirs.map(|theirs| theirs - now.as_millis()).filter(|off| off.unsigned_abs() > WRONG.as_millis() as u64);
    shown.map(|off| (off + off.signum() * 30_000) / 60_000).into_iter().chain(DRIFTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_from_its_faults() {
        for (error, part) in [
            ("TLS: invalid peer certificate: Expired", "Renew"),
            ("TLS: invalid peer certificate: certificate not valid for name \"a.example\"", "names the host"),
            ("TLS: invalid peer certificate: UnknownIssuer", "public certificate authority"),
            ("TLS: received corrupt message of type InvalidContentType", "does not speak TLS"),
            ("TLS: unexpected end of file", "TLS configuration"),
        ] {
            assert!(tls_advice(error).contains(part), "{error}: {}", tls_advice(error));
        }
    }

    #[test]
    fn differences_of_clocks_are_written_with_units() {
        assert_eq!([1, 10, 60, 120, 345].map(in_words), ["1 minute", "10 minutes", "1 hour", "2 hours", "5 h 45 min"]);
    }
}
