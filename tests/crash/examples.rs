//! The projects of examples/receivers: each gets full marks from `ringback check`, and has what the ledger has after a storm in
//! which events come twice, come before those that they follow, and do not come at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use http::StatusCode;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::api::{Client, text};
use super::programs::{self, Beside, Needs, Program};
use super::server::{self, Server};
use super::stranger::Sent;
use super::wait;

const RECHARGES: usize = 120;
/// Of so many one is taken back after it went through, or goes through after it failed.
const RECONSIDERED: usize = 4;
/// Strangers that send at a time.
const SENDERS: usize = 6;
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const SECRET: &str = "whsec_UmVjZWl2ZXJzIHRoYXQgYXJlIHByb2plY3RzLi4=";

/// A project that runs, with all its processes.
struct Project {
    name: &'static str,
    program: Program,
    hook: String,
    database: PathBuf,
    /// What there is still to do, as a table.
    work: &'static str,
    catch_up: Command,
    /// Does the work beside it, where it does not by itself.
    _worker: Option<Beside>,
    /// Does the work when it is run, and ends. Laravel's worker changes over from reading to writing within a transaction, which
    /// SQLite refuses while others write.
    works_off: Option<Command>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_end_up_with_what_the_ledger_has() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&[]);
    let mut client = server.operator();
    let start: [fn(&Path) -> Project; 5] = [php, laravel, express, fastapi, axum];
    for start in start {
        let mut project = start(folder.path());
        let made = client.post("/v1/vendors", &json!({"name": project.name, "email": "projects@example.com"})).await;
        let (vendor, token) = (text(&made, "id").to_owned(), text(&made, "live_token").to_owned());
        let settings = json!({"url": project.hook, "secret": SECRET});
        let endpoint = server::new_endpoint(&mut client, &vendor, settings).await;
        let endpoint = format!("/v1/endpoints/{}", text(&endpoint, "id"));

        // As it comes, many at a time.
        report(&mut client, &vendor, 0).await;
        until_ended(&mut client, &vendor, &endpoint).await;
        compare(&mut client, &vendor, &mut project).await;

        // A storm: what Ringback holds back for now comes in disorder and twice, and then from Ringback once more.
        client.post(&format!("{endpoint}/pause"), &json!({})).await;
        let before = client.feed(&vendor).await.len();
        report(&mut client, &vendor, RECHARGES).await;
        storm(&project.hook, &client.feed(&vendor).await[before..]).await;
        compare(&mut client, &vendor, &mut project).await;
        client.post(&format!("{endpoint}/resume"), &json!({})).await;
        client.post(&format!("{endpoint}/replay"), &json!({"since": "2000-01-01T00:00:00Z"})).await;
        until_ended(&mut client, &vendor, &endpoint).await;
        compare(&mut client, &vendor, &mut project).await;

        // Downtime: nothing comes, and it asks.
        client.post(&format!("{endpoint}/pause"), &json!({})).await;
        report(&mut client, &vendor, 2 * RECHARGES).await;
        for _ in 0..2 {
            project.catch_up(&server, &token);
            compare(&mut client, &vendor, &mut project).await;
        }
        client.post(&format!("{endpoint}/resume"), &json!({})).await;
        until_ended(&mut client, &vendor, &endpoint).await;
        compare(&mut client, &vendor, &mut project).await;
        full_marks(&project);
        println!("examples: {} has what the ledger has", project.name);
    }
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "the server logged an error:\n{log}");
}

impl Project {
    fn catch_up(&mut self, server: &Server, token: &str) {
        for (url, name) in [("API", "TOKEN"), ("RINGBACK_URL", "RINGBACK_TOKEN")] {
            self.catch_up.env(url, server.url()).env(name, token);
        }
        let output = self.catch_up.env("DATABASE", &self.database).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("has everything up to"), "{}: {said}", self.name);
    }
}

/// A copy of a project, as its user would make one.
fn copied(folder: &Path, name: &str) -> PathBuf {
    let copy = folder.join(name);
    let from = programs::root().join("examples/receivers").join(name);
    assert!(Command::new("cp").arg("-r").arg(from).arg(&copy).status().expect("cp runs").success(), "{name} is copied");
    copy
}

/// A command in the folder of a project, which keeps its database there.
fn inside(project: &Path, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).current_dir(project).env("DATABASE", project.join("receiver.db")).env("SECRET", SECRET);
    command
}

fn project(name: &'static str, folder: &Path, receive: Command, catch_up: Command) -> Project {
    let database = folder.join(name).join("receiver.db");
    let program = Program::start(name, receive, Needs { folder, secret: SECRET });
    let hook = format!("{}/hook", program.url);
    Project { name, program, hook, database, work: "work", catch_up, _worker: None, works_off: None }
}

fn php(folder: &Path) -> Project {
    let copy = copied(folder, "php");
    let mut receive = inside(&copy, "php", &["-q", "-S", "127.0.0.1:0", "public/hook.php"]);
    receive.env("PHP_CLI_SERVER_WORKERS", "4");
    let project = project("php", folder, receive, inside(&copy, "php", &["catch_up.php"]));
    Project { _worker: Some(Beside::start(inside(&copy, "php", &["work.php"]))), ..project }
}

/// Inside an application of the Laravel that Debian has, which tests/receivers/laravel is.
fn laravel(folder: &Path) -> Project {
    let copy = copied(folder, "laravel");
    let application = programs::root().join("tests/receivers/laravel/.");
    assert!(Command::new("cp").arg("-r").arg(application).arg(&copy).status().expect("cp runs").success(), "it is copied");
    let artisan = |arguments: &[&str]| {
        let mut command = inside(&copy, "php", arguments);
        command.env("RINGBACK_SECRET", SECRET);
        command
    };
    std::fs::File::create(copy.join("receiver.db")).expect("its database is there");
    let made = artisan(&["artisan", "migrate", "--force"]).output().expect("it runs");
    assert!(made.status.success(), "migrate: {}{}", String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
    let mut receive = artisan(&["-q", "-S", "127.0.0.1:0", "public/index.php"]);
    receive.env("PHP_CLI_SERVER_WORKERS", "4");
    let project = project("laravel", folder, receive, artisan(&["artisan", "ringback:catch-up"]));
    let hook = format!("{}/api/hook", project.program.url);
    Project { hook, work: "jobs", works_off: Some(artisan(&["artisan", "queue:work", "--stop-when-empty"])), ..project }
}

fn express(folder: &Path) -> Project {
    let copy = copied(folder, "express");
    std::os::unix::fs::symlink(programs::node_modules(), copy.join("node_modules")).expect("a link to npm's packages");
    project("express", folder, inside(&copy, "node", &["receiver.js"]), inside(&copy, "node", &["catch_up.js"]))
}

fn fastapi(folder: &Path) -> Project {
    let copy = copied(folder, "fastapi");
    let receive = inside(&copy, programs::installed("uvicorn"), &["receiver:app", "--port", "0", "--timeout-keep-alive", "60"]);
    project("fastapi", folder, receive, inside(&copy, programs::installed("python"), &["catch_up.py"]))
}

fn axum(folder: &Path) -> Project {
    let copy = copied(folder, "axum");
    let program = programs::example("axum");
    project("axum", folder, inside(&copy, &program, &[]), inside(&copy, &program, &["catch-up"]))
}

/// Recharges that settle one way or the other, and some of which are reconsidered.
async fn report(client: &mut Client, vendor: &str, from: usize) {
    let of = |number: usize, status: &str| {
        let amount = (!number.is_multiple_of(3)).then(|| format!("{number}.50"));
        json!({"vendor_id": vendor, "reference_no": format!("INV-{number} ñ"), "status": status, "amount": amount,
            "currency": amount.is_some().then_some("NPR")})
    };
    let first = |number: usize| if number.is_multiple_of(5) { "failed" } else { "success" };
    let reports: Vec<Value> = (from..from + RECHARGES).map(|number| of(number, first(number))).collect();
    client.post("/v1/reports", &json!({"reports": reports})).await;
    client.post("/v1/events", &json!({"vendor_id": vendor, "type": "invoice.paid", "data": {"reference_no": "INV-1"}})).await;
    let other = |number: usize| if number.is_multiple_of(5) { "success" } else { "failed" };
    let reconsidered = (from..from + RECHARGES).step_by(RECONSIDERED);
    let reports: Vec<Value> = reconsidered.map(|number| of(number, other(number))).collect();
    client.post("/v1/reports", &json!({"reports": reports})).await;
    for conflict in client.list("/v1/conflicts?state=open").await {
        let reason =
            json!({"as": if conflict["claimed"] == "success" { "late_success" } else { "reversed" }, "reason": "the provider's books"});
        client.post(&format!("/v1/conflicts/{}/resolve", text(&conflict, "id")), &reason).await;
    }
}

/// Sends events backwards, each to begin with and once more later, several at a time.
async fn storm(hook: &str, events: &[Value]) {
    let backwards: Vec<Value> = events.iter().rev().chain(events).cloned().collect();
    let senders = (0..SENDERS).map(|sender| {
        let (hook, mine) = (hook.to_owned(), backwards.iter().skip(sender).step_by(SENDERS).cloned().collect::<Vec<_>>());
        tokio::spawn(async move {
            for event in mine {
                let body = json!({"type": event["type"], "timestamp": event["timestamp"], "data": event["data"]}).to_string();
                let sent = Sent { id: text(&event, "id"), signed: &body, body: &body, ..Sent::now(SECRET, "") };
                assert_eq!(sent.to(&hook).await, StatusCode::NO_CONTENT, "{hook}: {event}");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("each is taken");
    }
}

async fn until_ended(client: &mut Client, vendor: &str, endpoint: &str) {
    let id = endpoint.trim_start_matches("/v1/endpoints/");
    wait::until(&format!("{vendor}: everything is delivered"), SETTLED_WITHIN, async || {
        let replays = client.list(&format!("/v1/replays?vendor_id={vendor}")).await;
        replays.iter().all(|replay| replay["state"] == "done") && !client.has_pending(vendor, id).await
    })
    .await;
}

/// It has the ledger's recharges, knows each event that told of one, and has told each customer how it ended, last.
async fn compare(client: &mut Client, vendor: &str, project: &mut Project) {
    if let Some(works_off) = &mut project.works_off {
        assert!(works_off.stdout(Stdio::null()).status().expect("it runs").success(), "{}: its work", project.name);
    }
    let name = project.name;
    let database = Connection::open(&project.database).expect("its database");
    database.busy_timeout(Duration::from_secs(5)).expect("it can wait");
    let count = |of: &str| -> usize { database.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0)).expect(of) };
    wait::until(&format!("{name} has done its work"), SETTLED_WITHIN, async || count(project.work) == 0).await;

    let recharges = client.list(&format!("/v1/recharges?vendor_id={vendor}")).await;
    let outcome = |recharge: &Value| {
        (text(recharge, "reference_no").to_owned(), (text(recharge, "status").to_owned(), recharge["amount"].as_str().map(str::to_owned)))
    };
    let ledger: BTreeMap<_, _> = recharges.iter().map(outcome).collect();
    assert!(ledger.len() >= RECHARGES && ledger.values().any(|(status, _)| status == "reversed"), "there is something to compare");
    let mut query = database.prepare("SELECT reference_no, status, amount FROM recharge").expect("its table");
    let kept = query.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).expect("rows").collect::<Result<_, _>>();
    assert_eq!(ledger, kept.expect("rows as its README says"), "{name}: what it keeps is not the ledger's");

    let events = client.feed(vendor).await;
    let told = events.iter().filter(|event| text(event, "type").starts_with("recharge.")).count();
    assert_eq!(count("seen"), told, "{name}: events that it has seen");
    let mut query = database.prepare("SELECT reference_no, text FROM notice ORDER BY rowid").expect("its table");
    let notices = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows").collect::<Result<Vec<(String, String)>, _>>();
    let notices = notices.expect("rows as its README says");
    let mut last = BTreeMap::new();
    for (reference, said) in &notices {
        assert_ne!(last.insert(reference, said), Some(said), "{name}: {reference} was told the same twice");
    }
    for (reference, (status, _)) in &ledger {
        assert_eq!(last.get(reference), Some(&&format!("Your recharge: {status}.")), "{name}: the last that {reference} was told");
    }
}

fn full_marks(project: &Project) {
    let mut check = Command::new(env!("CARGO_BIN_EXE_ringback"));
    let output = check.args(["check", &project.hook, "--secret", SECRET, "--json"]).env_clear().output().expect("it runs");
    assert!(output.status.success(), "{}: {}", project.name, String::from_utf8_lossy(&output.stdout));
}
