//! For the vendor's developer: how to receive, what test mode does, and the API from its own document.

use std::sync::LazyLock;

use axum::extract::State;
use maud::{Markup, html};
use serde_json::Value;

use super::super::auth::VendorSession;
use super::super::components::code;
use super::super::form::Query;
use super::super::layout;
use crate::http::{self, Api};

/// What a number's last two digits make the simulated provider do (docs/recharges.md).
const MAGIC: [(&str, &str); 11] = [
    ("00, and all others", "success at once"),
    ("01", "failed at once"),
    ("02", "queued, then success after a few seconds"),
    ("03", "queued, then failed"),
    ("04", "queued for ever: never settles"),
    ("05", "called back twice"),
    ("06", "called back before the provider has answered"),
    ("07", "failed, then success: a contradiction for the operator"),
    ("08", "success, then failed: a contradiction for the operator"),
    ("09", "no answer from the provider; found out later"),
    ("10", "an answer that cannot be read; found out later"),
];

/// One call of the API.
struct Call {
    method: String,
    path: String,
    summary: String,
    description: String,
    tag: String,
}

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(&http::openapi(None)).unwrap_or_default();
    let mut calls = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, call) in methods.as_object().into_iter().flatten().filter(|(_, call)| call.is_object()) {
            let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
            let tag = call["tags"][0].as_str().unwrap_or_default().to_owned();
            let (method, path) = (method.to_uppercase(), path.clone());
            calls.push(Call { method, path, summary: text("summary"), description: text("description"), tag });
        }
    }
    calls
});

pub(super) async fn show(State(api): State<Api>, seat: VendorSession, query: Query) -> Markup {
    let server = api.ops.rules().public_url.as_deref().unwrap_or("https://…");
    let ask = format!(
        "curl {server}/v1/recharges \\\n  -H 'Authorization: Bearer rb_test_…' -H 'Content-Type: application/json' \\\n  \
         -d '{{\"reference_no\": \"T-1\", \"operator_id\": 1, \"connection_no\": \"9801234502\", \"amount\": \"50.00\"}}'"
    );
    let body = html! {
        div.top { div { h1 { "Developers" } p { "A receiver that is right, in an afternoon." } } }
        section.sheet {
            h2 { "How to receive" }
            p { "Complete receivers in four languages, tools for your own machine, and every rule: " a href="/docs/receiving" { "the documents" } "." }
            ol {
                li { "Write a receiver that checks the signature over the bytes as they came, writes the event down, and answers 2xx at once. Each endpoint's page has the check in PHP, Node.js, Python and Rust." }
                li { "Expect everything twice: " code { "webhook-id" } " is the same at every attempt of an event. Keep it in the same transaction as what the event does." }
                li { "Do not rely on order: the higher " code { "sequence" } " is the newer fact." }
                li { "After downtime there is nothing to do: everything is tried again for 24 hours. Later, replay what you missed, or read " code { "GET /v1/events" } "." }
                li { "Ignore with a 2xx what you do not know: new fields, new types." }
            }
        }
        section.sheet {
            h2 { "Test mode" }
            p { "Recharges of a test token go to a simulated provider. The last two digits of the connection number say what becomes of them:" }
            (code("A recharge in test mode", &ask))
            div.table { table {
                thead { tr { th scope="col" { "Ends in" } th scope="col" { "What happens" } } }
                tbody { @for (digits, told) in MAGIC { tr { td.mono { (digits) } td { (told) } } } }
            } }
        }
        section.sheet {
            h2 { "The API" }
            p {
                "Paths are appended to " code { (server) } ". Send a token as " code { "Authorization: Bearer …" } ". The whole of it, for machines: "
                a href="/openapi.json" { "openapi.json" } " (OpenAPI 3.1)."
            }
            div.table { table.cards {
                thead { tr { th scope="col" { "Call" } th scope="col" { "What it does" } } }
                tbody {
                    @for call in CALLS.iter().filter(|call| call.tag == "vendor") {
                        tr {
                            td data-name="Call" { span { span.method { (call.method) } code { (call.path) } } }
                            td data-name="What it does" { span { (call.summary) @if !call.description.is_empty() { span.soft { " " (call.description) } } } }
                        }
                    }
                }
            } }
        }
    };
    layout::of_vendor(&seat, &query, ("/developers", "Developers"), body)
}
