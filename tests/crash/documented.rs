//! The receivers of docs/receiving.md, run as they stand there: whatever comes twice, late, forged or unknown, each ends
//! up with what the ledger says, and has applied every event once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::StatusCode;
use ringback::domain::secret::Secret;
use ringback::wire::standard;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::api::{Client, text};
use super::programs::{self, Needs, Program};
use super::server::{self, Server};
use super::stranger::{self, Sent};
use super::wait;

const RECHARGES: usize = 400;
const BATCH: usize = 100;
const RESENT: usize = 25;
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
const SECRET: &str = "whsec_UmVjZWl2ZXJzIHRoYXQgYSBwYWdlIHNob3dzLg==";
const LEGACY_SECRET: &str = "k3Y+with/odd=chars&32 bytes!long";
/// Only this one is of the other profile, and keeps nothing.
const LEGACY: &str = "globaltopup";
const INVENTED: &str = "INVENTED";

/// What became of a recharge, by its reference: status and amount.
type Outcomes = BTreeMap<String, (String, Option<String>)>;

struct Documented {
    program: Program,
    database: PathBuf,
    /// The id of its endpoint.
    endpoint: String,
}

#[test]
fn the_rust_receiver_of_the_page_is_the_example() {
    let example = std::fs::read_to_string(programs::root().join("examples/receiver.rs")).expect("the example");
    assert!(block("### Rust", "rust") == example, "docs/receiving.md does not show examples/receiver.rs as it is; copy it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documented_receivers_apply_every_event_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&[]);
    let mut client = server.operator();
    let vendor = client.post("/v1/vendors", &json!({"name": "documented", "email": "documented@example.com"})).await;
    let (vendor, token) = (text(&vendor, "id").to_owned(), text(&vendor, "live_token").to_owned());
    let mut receivers = Vec::new();
    for program in start(folder.path()) {
        let endpoint = server::new_endpoint(&mut client, &vendor, endpoint_of(&program)).await;
        let database = database(folder.path(), program.name);
        receivers.push(Documented { program, database, endpoint: text(&endpoint, "id").to_owned() });
    }
    receivers.iter().filter(|receiver| receiver.keeps()).for_each(|receiver| note_effects(&receiver.database));

    report(&mut client, &vendor).await;
    all_delivered(&mut client, &vendor, &receivers).await;
    for receiver in &receivers {
        refused(receiver).await;
        resend(&mut client, &vendor, receiver).await;
    }
    all_delivered(&mut client, &vendor, &receivers).await;

    let ledger = ledger(&mut client, &vendor).await;
    catch_up(folder.path(), &server, &token, &ledger);
    for receiver in receivers.iter().filter(|receiver| receiver.keeps()) {
        compare(receiver, &ledger);
        taken(receiver, &ledger).await;
        fails_as_a_whole(receiver).await;
    }
    receivers.iter().for_each(full_marks);
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "the server logged an error:\n{log}");
}

impl Documented {
    fn keeps(&self) -> bool {
        self.program.name != LEGACY
    }

    fn url(&self) -> String {
        hook(&self.program)
    }

    /// As a library of Standard Webhooks takes it.
    fn secret(&self) -> String {
        if self.keeps() { SECRET.to_owned() } else { standard::secret_text(&Secret::new(LEGACY_SECRET)) }
    }
}

fn hook(program: &Program) -> String {
    format!("{}/hook", program.url)
}

fn database(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.db"))
}

/// What `ringback check` requires, each of them does.
fn full_marks(receiver: &Documented) {
    let secret = if receiver.keeps() { SECRET } else { LEGACY_SECRET };
    let mut check = Command::new(env!("CARGO_BIN_EXE_ringback"));
    let output = check.args(["check", &receiver.url(), "--secret", secret, "--json"]).env_clear().output().expect("it runs");
    assert!(output.status.success(), "{}: {}", receiver.program.name, String::from_utf8_lossy(&output.stdout));
}

/// The block of code of that language that stands first under a heading of the page.
fn block(heading: &str, language: &str) -> String {
    let page = std::fs::read_to_string(programs::root().join("docs/receiving.md")).expect("the page");
    let (_, section) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("the page has no {heading}"));
    let begun = section.split_once(&format!("\n```{language}\n")).map(|(_, rest)| rest);
    let code = begun.and_then(|rest| rest.split_once("\n```\n")).map(|(code, _)| code);
    format!("{}\n", code.unwrap_or_else(|| panic!("there is no {language} under {heading}")))
}

/// Writes the page's programs into a folder and starts the receivers.
fn start(folder: &Path) -> Vec<Program> {
    let write = |file: &str, code: String| {
        let path = folder.join(file);
        std::fs::write(&path, code).unwrap_or_else(|error| panic!("{file}: {error}"));
        path
    };
    let run = |name: &'static str, secret: &str, program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env("DATABASE", database(folder, name)).env("PHP_CLI_SERVER_WORKERS", "4");
        Program::start(name, command, Needs { folder, secret })
    };
    write("receiver.php", block("### PHP", "php"));
    write("globaltopup.php", block("## Profile `globaltopup`", "php"));
    write("receiver.mjs", block("### Node.js", "js"));
    write("receiver.py", block("### Python", "python"));
    write("catch_up.py", block("## After downtime", "python"));
    std::os::unix::fs::symlink(programs::node_modules(), folder.join("node_modules")).expect("a link to npm's packages");
    // With errors shown, as while one develops: PHP would then answer 200 after them.
    let php = ["-q", "-d", "display_errors=1", "-S", "127.0.0.1:0"];
    vec![
        run("php", SECRET, Path::new("php"), &[&php[..], &["receiver.php"]].concat()),
        run(LEGACY, LEGACY_SECRET, Path::new("php"), &[&php[..], &["globaltopup.php"]].concat()),
        run("node", SECRET, Path::new("node"), &["receiver.mjs"]),
        run("python", SECRET, &programs::installed("python"), &["receiver.py"]),
        run("rust", SECRET, &programs::example("receiver"), &[]),
    ]
}

fn endpoint_of(program: &Program) -> Value {
    match program.name {
        LEGACY => json!({"url": hook(program), "profile": "globaltopup", "secret": LEGACY_SECRET}),
        _ => json!({"url": hook(program), "secret": SECRET}),
    }
}

/// Has a receiver's database write down each time that a recharge changes.
fn note_effects(database: &Path) {
    let note = "BEGIN INSERT INTO effect VALUES (new.reference_no); END;";
    let triggers = format!(
        "CREATE TABLE effect (reference_no TEXT);
         CREATE TRIGGER added AFTER INSERT ON recharge {note} CREATE TRIGGER changed AFTER UPDATE ON recharge {note}"
    );
    open(database).execute_batch(&triggers).unwrap_or_else(|error| panic!("{}: {error}", database.display()));
}

fn open(database: &Path) -> Connection {
    Connection::open(database).unwrap_or_else(|error| panic!("{}: {error}", database.display()))
}

/// Some stay queued, some are queued first, some fail, and some have no amount. The platform's own events lie between.
async fn report(client: &mut Client, vendor: &str) {
    for batch in (0..RECHARGES).collect::<Vec<_>>().chunks(BATCH) {
        let mut reports = Vec::new();
        for number in batch {
            let mut report = json!({"vendor_id": vendor, "reference_no": format!("INV-{number} ñ"), "status": "queued"});
            if number % 5 == 0 {
                reports.push(report.clone());
            }
            report["status"] = if number % 10 == 9 { "failed" } else { "success" }.into();
            if number % 3 == 0 {
                (report["amount"], report["currency"]) = (format!("{number}.50").into(), "NPR".into());
            }
            if number % 20 != 0 {
                reports.push(report);
            }
        }
        client.post("/v1/reports", &json!({"reports": reports})).await;
        let event = json!({"vendor_id": vendor, "type": "invoice.paid", "data": {"reference_no": "INV-1", "status": "paid"}});
        client.post("/v1/events", &event).await;
    }
}

async fn all_delivered(client: &mut Client, vendor: &str, receivers: &[Documented]) {
    for receiver in receivers {
        let what = format!("{} has everything", receiver.program.name);
        wait::until(&what, DELIVERED_WITHIN, async || !client.has_pending(vendor, &receiver.endpoint).await).await;
        let deliveries = client.list(&format!("/v1/deliveries?vendor_id={vendor}&endpoint_id={}", receiver.endpoint)).await;
        let failed: Vec<_> = deliveries.iter().filter(|delivery| delivery["state"] != "succeeded").collect();
        assert!(!deliveries.is_empty() && failed.is_empty(), "{}: {failed:#?}", receiver.program.name);
    }
}

async fn resend(client: &mut Client, vendor: &str, receiver: &Documented) {
    let deliveries = client.list(&format!("/v1/deliveries?vendor_id={vendor}&endpoint_id={}", receiver.endpoint)).await;
    assert!(deliveries.len() > RESENT, "{}: {} deliveries", receiver.program.name, deliveries.len());
    for delivery in &deliveries[..RESENT] {
        let again = client.post(&format!("/v1/deliveries/{}/resend", text(delivery, "id")), &json!({})).await;
        assert_eq!(again["run"], 2, "{again}");
    }
}

/// What the ledger says about recharges that are not queued.
async fn ledger(client: &mut Client, vendor: &str) -> Outcomes {
    let recharges = client.list(&format!("/v1/recharges?vendor_id={vendor}")).await;
    assert_eq!(recharges.len(), RECHARGES);
    let settled = recharges.iter().filter(|recharge| recharge["status"] != "queued");
    let outcome = |recharge: &Value| {
        let amount = recharge["amount"].as_str().map(str::to_owned);
        (text(recharge, "reference_no").to_owned(), (text(recharge, "status").to_owned(), amount))
    };
    settled.map(outcome).collect()
}

fn kept(database: &Connection) -> Outcomes {
    let mut query = database.prepare("SELECT reference_no, status, amount FROM recharge").expect("the receiver's table");
    let rows = query.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
    rows.expect("rows").collect::<Result<_, _>>().expect("rows as the page says")
}

fn count(database: &Connection, of: &str) -> usize {
    database.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0)).unwrap_or_else(|error| panic!("{of}: {error}"))
}

/// A receiver has what the ledger has, and came to it by one change for each recharge.
fn compare(receiver: &Documented, ledger: &Outcomes) {
    let (name, database) = (receiver.program.name, open(&receiver.database));
    assert_eq!(kept(&database), *ledger, "{name}: what it keeps is not the ledger's");
    assert_eq!(count(&database, "seen"), ledger.len(), "{name}: events that it has seen");
    assert_eq!(count(&database, "effect"), ledger.len(), "{name}: changes");
    println!("documented: {name} has applied {} events, each once", ledger.len());
}

/// The body of an event about a recharge that the ledger does not have.
fn outcome(status: &str, sequence: i64) -> String {
    let data = json!({"reference_no": INVENTED, "status": status, "amount": "1.00", "currency": "NPR", "sequence": sequence});
    json!({"type": format!("recharge.{status}"), "timestamp": "2026-11-24T01:35:04.643Z", "data": data}).to_string()
}

/// Requests that no receiver may believe. Their `X-Signature` is right: whoever has seen one request has it.
async fn refused(receiver: &Documented) {
    let name = receiver.program.name;
    let (secret, other) = (receiver.secret(), standard::secret_text(&Secret::new(*b"the secret of somebody else, 32 b")));
    let (body, altered) = (outcome("success", 1_000_000), outcome("failed", 1_000_000));
    let right = Sent { id: "evt_forged", signed: &body, body: &body, ..Sent::now(&secret, LEGACY_SECRET) };
    let forged = [
        ("signed with another secret", Sent { secret: &other, ..right }),
        ("another body than was signed", Sent { body: &altered, ..right }),
        ("ten minutes old", Sent { sent_in: -600, ..right }),
        ("from in ten minutes", Sent { sent_in: 600, ..right }),
    ];
    for (what, sent) in forged {
        assert_eq!(sent.to(&receiver.url()).await, StatusCode::BAD_REQUEST, "{name}: {what}");
    }
    assert_eq!(stranger::post(&receiver.url(), &[], &body).await, StatusCode::BAD_REQUEST, "{name}: without any headers");
}

/// Requests that it has to answer with 2xx although Ringback has not made them yet: a type of a later version, a second
/// signature, an older fact after a newer one, and an id that it has seen, whatever comes with it.
async fn taken(receiver: &Documented, ledger: &Outcomes) {
    let name = receiver.program.name;
    let secret = receiver.secret();
    let two = format!("v1,{}= ", "A".repeat(43));
    let now = Sent::now(&secret, LEGACY_SECRET);
    let (unknown, newer) = (outcome("reconsidered", 1_000_000), outcome("reversed", 1_000_002));
    let (older, other) = (outcome("success", 1_000_001), outcome("failed", 1_000_003));
    for (id, body, before) in
        [("evt_a", &unknown, ""), ("evt_b", &newer, &*two), ("evt_b", &newer, ""), ("evt_c", &older, ""), ("evt_b", &other, "")]
    {
        let sent = Sent { id, signed: body, body, before, ..now };
        assert_eq!(sent.to(&receiver.url()).await, StatusCode::NO_CONTENT, "{name}: {body}");
    }
    let database = open(&receiver.database);
    let mut expected = ledger.clone();
    expected.insert(INVENTED.to_owned(), ("reversed".to_owned(), Some("1.00".to_owned())));
    assert_eq!(kept(&database), expected, "{name}: the newer fact stays, and an unknown type changes nothing");
    assert_eq!(count(&database, "seen"), ledger.len() + 2, "{name}: events that it has seen");
    assert_eq!(count(&database, "effect"), ledger.len() + 1, "{name}: changes");
}

/// Where a recharge cannot be written, the id is not kept either, so that the next attempt does the work.
async fn fails_as_a_whole(receiver: &Documented) {
    let (name, secret, database) = (receiver.program.name, receiver.secret(), open(&receiver.database));
    let (body, before) = (outcome("success", 1_000_009), count(&database, "seen"));
    let sent = Sent { id: "evt_d", signed: &body, body: &body, ..Sent::now(&secret, LEGACY_SECRET) };
    let broken = "CREATE TRIGGER broken BEFORE INSERT ON recharge BEGIN SELECT RAISE(ABORT, 'broken'); END";
    database.execute_batch(broken).expect("a trigger");
    assert_eq!(sent.to(&receiver.url()).await, StatusCode::INTERNAL_SERVER_ERROR, "{name}: while its table is broken");
    assert_eq!(count(&database, "seen"), before, "{name}: it knows an event that it has not applied");
    database.execute_batch("DROP TRIGGER broken").expect("the trigger goes");
    assert_eq!(sent.to(&receiver.url()).await, StatusCode::NO_CONTENT, "{name}: when its table is whole again");
    assert_eq!(kept(&database)[INVENTED].0, "success", "{name}: what came again is applied");
}

/// Twice on a fresh file, and once on that of the receiver in Python, which has everything already.
fn catch_up(folder: &Path, server: &Server, token: &str, ledger: &Outcomes) {
    let fresh = database(folder, "caught-up");
    for database in [&fresh, &fresh, &database(folder, "python")] {
        let mut command = Command::new(programs::installed("python"));
        command.arg("catch_up.py").current_dir(folder).env("DATABASE", database).env("TOKEN", token).env("API", server.url());
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "catch_up.py: {}", String::from_utf8_lossy(&output.stderr));
    }
    let database = open(&fresh);
    assert_eq!(kept(&database), *ledger, "catch_up.py: what it recorded is not the ledger's");
    assert_eq!(count(&database, "seen"), ledger.len(), "catch_up.py: events");
}
