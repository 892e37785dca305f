//! The OpenAPI document against the real binary. schemathesis reads the document from the server, makes right and wrong
//! requests of all its calls, and holds every answer against it: none may be a 5xx, none may have a status, a type of
//! content, a header or a field that the document does not know.
//!
//! The objects of a [`Scene`] stand behind the ids in paths, so that the calls have something to find; what deletes or
//! stops things gets others than what reads them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ringback::clock::Stopwatch;
use ringback::domain::secret::Secret;
use ringback::wire::standard;
use serde_json::{Value, json};

use super::api::{Client, text};
use super::programs;
use super::receiver::{Moods, Receiver};
use super::server::{self, Server};
use super::wait;

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance";
const EXAMPLES: &str = "25";
/// Answers for as long as somebody listens.
const ENDLESS: &str = "^/v1/events/stream$";
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);
/// Seconds for one run, which takes a fifth of that.
const ENDS_WITHIN: &str = "120";
const MAILBOX: &str = "schema";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_as_the_document_says() {
    let server = Server::start(&[]);
    let (token, mut client) = (server.operator_token(), server.operator());
    let receiver = Receiver::start().await;

    let scene = Scene::set(&mut client, &receiver).await;
    let of_vendor = format!("vendor_id = \"{}\"", scene.vendor);
    run("an operator's token", &server, &token, &scene.settings(&of_vendor));
    let scene = Scene::set(&mut client, &receiver).await;
    run("a vendor's token", &server, &scene.token, &scene.settings(""));

    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "the server logged an error:\n{log}");
}

/// A vendor with one of everything, and what may be changed and deleted.
struct Scene {
    vendor: String,
    /// The vendor's own.
    token: String,
    recharge: String,
    event: String,
    delivery: String,
    /// To be read and connected; stopped; deleted.
    endpoints: [String; 3],
    other_vendor: String,
    other_token: String,
}

impl Scene {
    async fn set(client: &mut Client, receiver: &Receiver) -> Self {
        let vendor = client.post("/v1/vendors", &json!({"name": "schema", "email": "schema@example.com"})).await;
        let (vendor, token) = (text(&vendor, "id").to_owned(), text(&vendor, "live_token").to_owned());
        let endpoints = [
            server::new_endpoint(client, &vendor, endpoint(receiver)).await,
            server::new_endpoint(client, &vendor, endpoint(receiver)).await,
            server::new_endpoint(client, &vendor, endpoint(receiver)).await,
        ];
        let endpoints = endpoints.map(|endpoint| text(&endpoint, "id").to_owned());
        let recharge = report(client, &vendor).await;
        let event = client.post("/v1/events", &json!({"vendor_id": vendor, "type": "invoice.paid", "data": {"total": 1.50}})).await;
        wait::until("it is delivered", DELIVERED_WITHIN, async || !client.has_pending(&vendor, &endpoints[0]).await).await;
        let deliveries = client.list(&format!("/v1/deliveries?vendor_id={vendor}&endpoint_id={}", endpoints[0])).await;
        let other_vendor = server::new_vendor(client, "other").await;
        let other_token = client.post(&format!("/v1/vendors/{other_vendor}/tokens"), &json!({"mode": "test"})).await;
        Self {
            vendor,
            token,
            recharge,
            event: text(&event, "id").to_owned(),
            delivery: text(&deliveries[0], "id").to_owned(),
            endpoints,
            other_vendor,
            other_token: text(&other_token, "id").to_owned(),
        }
    }

    /// What stands behind the parameters of which calls. `of_vendor` goes with calls that an operator makes for a vendor.
    fn settings(&self, of_vendor: &str) -> String {
        let Self { recharge, event, delivery, endpoints: [kept, stopped, deleted], other_vendor, other_token, .. } = self;
        let id = |id: &str| format!("id = \"{id}\"");
        let calls = [
            ("GET", "^/v1/(recharges|deliveries|endpoints)$", of_vendor.to_owned()),
            // A long poll would wait at the end of the feed.
            ("GET", "^/v1/events$", ["wait = 0", of_vendor].join(", ").trim_end_matches(", ").to_owned()),
            ("GET", "^/v1/recharges/", id(recharge)),
            ("GET", "^/v1/events/", id(event)),
            ("GET|POST", "^/v1/deliveries/", id(delivery)),
            ("GET", "^/v1/endpoints/", id(kept)),
            ("POST", "^/v1/endpoints/[^/]*/(connect|enable|test)$", id(kept)),
            ("PATCH", "^/v1/endpoints/", id(stopped)),
            ("POST", "^/v1/endpoints/[^/]*/disable$", id(stopped)),
            ("DELETE", "^/v1/endpoints/", id(deleted)),
            ("GET|POST|PATCH", "^/v1/vendors/", id(other_vendor)),
            ("DELETE", "^/v1/vendors/", format!("{}, token_id = \"{other_token}\"", id(other_vendor))),
        ];
        let call = |(method, path, parameters): &(&str, &str, String)| {
            format!("[[operations]]\ninclude-method-regex = '{method}'\ninclude-path-regex = '{path}'\nparameters = {{ {parameters} }}\n")
        };
        calls.iter().map(call).collect()
    }
}

fn endpoint(receiver: &Receiver) -> Value {
    let secret = Secret::new(vec![44; 32]);
    let told = standard::secret_text(&secret);
    let url = receiver.open(MAILBOX, secret, Moods::default(), 0);
    json!({"url": url, "secret": told, "ed25519": true, "description": "the till", "headers": {"x-shop": "7"}})
}

/// A recharge with all that can be said about one; answers its id.
async fn report(client: &mut Client, vendor: &str) -> String {
    let report = |status: &str| {
        json!({"vendor_id": vendor, "reference_no": "INV-1", "status": status, "amount": "50.00", "currency": "NPR", "operator": "Ncell",
            "connection_no": "9801234567", "provider": "north", "provider_ref": "P-991", "reason": "as asked",
            "occurred_at": "2026-11-24T01:35:04.643Z"})
    };
    let reports = json!({"reports": [report("queued"), report("success"), report("failed")]});
    let answer = client.post("/v1/reports", &reports).await;
    assert_eq!(answer["results"][2]["verdict"], "conflict", "{answer}");
    text(&answer["results"][0], "recharge_id").to_owned()
}

/// The same requests each time, but for the ids.
fn run(who: &str, server: &Server, token: &str, settings: &str) {
    let watch = Stopwatch::start();
    // It leaves notes of its runs where it runs.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("schemathesis.toml");
    std::fs::write(&file, settings).expect("its settings are written");
    let output = tokio::task::block_in_place(|| schemathesis(folder.path(), &file, server, token).output().expect("it runs"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "with {who}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let cases = said.lines().find(|line| line.contains(" generated,")).unwrap_or_else(|| panic!("with {who}: no cases:\n{said}"));
    println!("schema: with {who} after {:.1?}: {}", watch.elapsed(), cases.trim());
}

fn schemathesis(folder: &Path, settings: &Path, server: &Server, token: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([ENDS_WITHIN.as_ref(), programs::installed("schemathesis").as_os_str(), "--config-file".as_ref(), settings.as_os_str()]);
    command.args(["run", &format!("{}/openapi.json", server.url()), "--header", &format!("Authorization: Bearer {token}")]);
    command.args(["--checks", CHECKS, "--exclude-path-regex", ENDLESS, "--max-examples", EXAMPLES, "--generation-deterministic"]);
    command.args(["--request-timeout", "40", "--no-color"]).current_dir(folder);
    command
}
