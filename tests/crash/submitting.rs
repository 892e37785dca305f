//! Kills at each step of a submit: before it is written down, between that and the call, while the provider works, and before its
//! answer is written down. No recharge is handed over twice, none settles otherwise than in the provider's books, none is forgotten:
//! one that was about to be handed over when the kill came, and never was, stays queued, for nobody can tell that from one whose
//! submit was lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::api::{Client, text};
use super::server::Server;
use super::wait;

const KILLS: usize = 12;
/// Places where it dies by itself: before a provider is asked, after its answer, and before that is written down.
const STEPS: [&str; 8] = [
    "submit.before:1",
    "submit.before:15",
    "submit.after:1",
    "submit.after:2",
    "submit.after:20",
    "commit.before:9",
    "commit.within:11",
    "commit.after:13",
];
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// A recharge as the provider has it.
#[derive(Debug, Clone)]
struct Book {
    submits: u32,
    succeeds: bool,
    enquiries: u32,
}

/// A provider that loses answers, takes its time, and knows what it did.
struct Provider {
    books: Mutex<HashMap<String, Book>>,
    chance: Mutex<StdRng>,
}

impl Provider {
    async fn start(seed: u64) -> (Arc<Self>, String) {
        let provider = Arc::new(Self { books: Mutex::default(), chance: Mutex::new(StdRng::seed_from_u64(seed)) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/submit", post(submit)).route("/status", post(status)).with_state(Arc::clone(&provider));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (provider, url)
    }

    fn said(book: &Book) -> Value {
        // It takes two enquiries to be sure.
        let state = match (book.enquiries, book.succeeds) {
            (0 | 1, _) => "Queued",
            (_, true) => "Success",
            (_, false) => "Failed",
        };
        json!({"state": state})
    }
}

async fn submit(State(provider): State<Arc<Provider>>, Json(order): Json<Value>) -> (StatusCode, Json<Value>) {
    let (wait, lost, at_once, succeeds) = {
        let mut chance = provider.chance.lock();
        (chance.random_range(0..40), chance.random_ratio(1, 5), chance.random_ratio(1, 3), chance.random_ratio(2, 3))
    };
    let reference = text(&order, "reference").to_owned();
    let answer = {
        let mut books = provider.books.lock();
        let book = books.entry(reference).or_insert(Book { submits: 0, succeeds, enquiries: 0 });
        book.submits += 1;
        book.enquiries = if at_once { 2 } else { 0 };
        Provider::said(book)
    };
    tokio::time::sleep(Duration::from_millis(wait)).await;
    if lost { (StatusCode::BAD_GATEWAY, Json(json!({}))) } else { (StatusCode::OK, Json(answer)) }
}

async fn status(State(provider): State<Arc<Provider>>, Json(asked): Json<Value>) -> Json<Value> {
    let mut books = provider.books.lock();
    Json(match books.get_mut(text(&asked, "reference")) {
        Some(book) => {
            book.enquiries += 1;
            Provider::said(book)
        }
        None => json!({"state": "Failed", "message": "unknown reference"}),
    })
}

fn configuration(url: &str) -> String {
    format!(
        r#"
[[provider]]
name = "books"
enquire_after = "100ms"
submit = {{ url = "{url}/submit", format = "json", body = {{ reference = "{{reference}}" }} }}
enquire = {{ url = "{url}/status", format = "json", body = {{ reference = "{{reference}}" }}, unknown = ["unknown reference"] }}
answer = {{ state = "state", success = ["Success"], queued = ["Queued"], failed = ["Failed"] }}
"#
    )
}

/// Asks for one recharge after the other, each until it is answered.
async fn order(mut client: Client, asked: Arc<Mutex<Vec<String>>>, over: tokio::sync::watch::Receiver<bool>) {
    let mut number = 0;
    while !*over.borrow() {
        number += 1;
        let reference = format!("R-{number}");
        let body = json!({"reference_no": reference, "operator_id": 1, "connection_no": "9801234567", "amount": "50"});
        loop {
            match client.call(Method::POST, "/v1/recharges", Some(&body)).await {
                Ok((StatusCode::CREATED | StatusCode::OK, _)) => break,
                Ok((status, answer)) => panic!("{status}: {answer}"),
                Err(_) => client.restarted().await,
            }
        }
        asked.lock().push(reference);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_handed_over_twice_whenever_the_server_is_killed() {
    let (provider, url) = Provider::start(7).await;
    let mut server = Server::start_with_config(&[], &configuration(&url));
    let mut operator = server.operator();
    let vendor = operator.post("/v1/vendors", &json!({"name": "shop", "email": "shop@example.com"})).await;
    let client = Client::new(server.subscribe(), text(&vendor, "live_token").to_owned());
    let (asked, (tell_over, over)) = (Arc::new(Mutex::new(Vec::new())), tokio::sync::watch::channel(false));
    let ordering = tokio::spawn(order(client.clone(), Arc::clone(&asked), over));
    let mut chance = StdRng::seed_from_u64(11);
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(chance.random_range(100..900))).await;
        server.kill();
        if let Some(place) = STEPS.get(kill) {
            server.set("FAILPOINT", place);
            server.restart();
            server.dies().await;
            server.unset("FAILPOINT");
        }
        server.restart();
    }
    tell_over.send_replace(true);
    ordering.await.expect("all were answered");
    let asked = asked.lock().clone();
    assert!(asked.len() > 100, "only {} were asked for", asked.len());
    let mut vendor_client = client;
    let is_settled = async || {
        let queued = vendor_client.list("/v1/recharges?status=queued").await;
        let books = provider.books.lock();
        queued.iter().all(|recharge| !books.contains_key(text(recharge, "id")))
    };
    wait::until("all that the provider knows are settled", SETTLED_WITHIN, is_settled).await;

    let books = provider.books.lock().clone();
    let twice: Vec<_> = books.iter().filter(|(_, book)| book.submits != 1).collect();
    assert!(twice.is_empty(), "handed over more than once: {twice:?}");
    let (mut settled, mut unknown) = (0, 0);
    for references in asked.chunks(500) {
        let found = vendor_client.post("/v1/recharges/lookup", &json!({"reference_nos": references})).await;
        for item in found["data"].as_array().expect("a list") {
            let recharge = &item["recharge"];
            let expected = books.get(text(recharge, "id")).map(|book| if book.succeeds { "success" } else { "failed" });
            assert_eq!(recharge["status"], expected.unwrap_or("queued"), "{item}");
            settled += usize::from(expected.is_some());
            unknown += usize::from(expected.is_none());
        }
    }
    eprintln!("{} asked for, {settled} settled, {unknown} never reached the provider", asked.len());
    assert_eq!((settled, settled + unknown), (books.len(), asked.len()), "each that was asked for, and nothing else");
    assert!(unknown <= KILLS * 2, "{unknown} never reached the provider");
    let conflicts = operator.get("/v1/conflicts").await;
    assert_eq!(conflicts["data"], json!([]));
}
