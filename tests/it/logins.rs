//! `ringback user` and `ringback token`: logins and tokens of the operator, straight in the database.

use std::fs;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{text, until};
use crate::process_errors::{KEY, Place, Server, one_line, run};

const PASSWORD: &str = "correct horse battery";

fn create(place: &Place, password: &str, email: &str, more: &[&str]) -> std::process::Output {
    let database = place.database();
    let settings = [("master_key", KEY), ("password", password), ("database", &database)];
    run(&settings, &[&["user", "create", "--operator", "--email", email], more].concat())
}

/// Addresses and hashes of all logins.
fn logins(place: &Place) -> Vec<(String, String)> {
    let conn = Connection::open(place.file()).expect("it opens");
    let mut statement = conn.prepare("SELECT email, password_hash FROM user WHERE vendor IS NULL ORDER BY id").expect("a query");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

// --- Logins ----------------------------------------------------------------------------------------------------------

#[test]
fn a_login_is_made_with_a_password_from_the_environment() {
    let place = Place::with_database();
    let made = create(&place, PASSWORD, "Ops@Platform.example", &["--json"]);
    let about = String::from_utf8_lossy(&made.stderr).into_owned();
    assert_eq!((made.status.code(), about), (Some(0), format!("database: {} (RINGBACK_DATABASE)\n", place.file().display())));
    let said: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    assert_eq!(said["email"], "ops@platform.example");
    assert!(text(&said["id"]).starts_with("usr_") && said.as_object().is_some_and(|fields| fields.len() == 2), "{said}");
    let plain = create(&place, PASSWORD, "second@platform.example", &[]);
    assert_eq!(plain.status.code(), Some(0));
    let line = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(line.contains("second@platform.example") && line.lines().count() == 1, "{line}");
    let logins = logins(&place);
    assert_eq!(logins.iter().map(|(email, _)| email.as_str()).collect::<Vec<_>>(), ["ops@platform.example", "second@platform.example"]);
    assert!(logins.iter().all(|(_, hash)| hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")), "{logins:?}");
    assert_ne!(logins[0].1, logins[1].1, "the same password has another salt");
    let file = fs::read(place.file()).expect("it is there");
    assert!(!file.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()));
}

#[test]
fn an_address_that_is_taken_is_told() {
    let place = Place::with_database();
    assert!(create(&place, PASSWORD, "ops@platform.example", &[]).status.success());
    for email in ["ops@platform.example", "OPS@platform.example"] {
        let said = one_line(&create(&place, "another password", email, &["--json"]), 1);
        assert!(said.contains("ops@platform.example has a login already"), "{said}");
    }
    assert_eq!(logins(&place).len(), 1);
}

#[test]
fn a_login_that_is_not_right_is_wrong_use() {
    let place = Place::new();
    let long = "x".repeat(201);
    for (password, email, words) in [
        ("too short", "ops@platform.example", &["password", "at least 10"][..]),
        (&long, "ops@platform.example", &["password"]),
        (PASSWORD, "nobody", &["email"]),
        (PASSWORD, "", &["email"]),
        ("too short", "nobody", &["password", "email"]),
    ] {
        let refused = create(&place, password, email, &[]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(64), 0), "{said}");
        // One problem is one line; several have a line each below the first.
        assert_eq!(said.lines().count(), if words[1..].contains(&"email") { 3 } else { 1 }, "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(!said.contains(password) && !said.contains("unknown"), "{said}");
    }
    let without =
        run(&[("master_key", KEY), ("password", PASSWORD)], &["user", "create", "--email", "a@b.example", "--database", &place.database()]);
    assert!(one_line(&without, 64).contains("--operator"));
    assert!(!place.file().exists(), "no database is made for it");
}

#[test]
fn without_a_terminal_and_a_password_it_is_wrong_use() {
    let place = Place::with_database();
    for settings in [&[("master_key", KEY)][..], &[("master_key", KEY), ("password", "")]] {
        let arguments = ["user", "create", "--operator", "--email", "ops@platform.example", "--database", &place.database()];
        let said = one_line(&run(settings, &arguments), 64);
        assert!(said.contains("no terminal") && said.contains("RINGBACK_PASSWORD"), "{said}");
    }
    assert!(logins(&place).is_empty());
}

#[tokio::test]
async fn a_login_is_made_beside_a_running_server_and_noted() {
    let place = Place::with_database();
    let (operator, server) = (place.token(), Server::start(&place));
    assert!(create(&place, PASSWORD, "ops@platform.example", &[]).status.success());
    let log = server.call("GET", "/v1/audit?limit=1", &operator, Value::Null).await.expect(200);
    assert_eq!((&log["data"][0]["action"], &log["data"][0]["actor"]), (&json!("user.created"), &json!("command line")));
    assert!(!log.to_string().contains(PASSWORD));
}

// --- Tokens ----------------------------------------------------------------------------------------------------------

fn token(place: &Place, arguments: &[&str]) -> std::process::Output {
    let database = place.database();
    run(&[("master_key", KEY), ("database", &database)], &[&["token"], arguments].concat())
}

fn listed(place: &Place) -> Vec<Value> {
    let output = token(place, &["list", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a JSON list")
}

#[test]
fn tokens_are_listed_without_the_tokens_themselves() {
    let place = Place::new();
    assert!(one_line(&token(&place, &["list"]), 1).contains("there is no database"), "and none is made");
    let mut texts = Vec::new();
    for name in ["billing", "support"] {
        let made = token(&place, &["create", "--operator", "--name", name, "--json"]);
        texts.push(text(&serde_json::from_slice::<Value>(&made.stdout).expect("JSON")["token"]));
    }
    let list = listed(&place);
    assert_eq!(list.iter().map(|token| token["name"].as_str().expect("a name")).collect::<Vec<_>>(), ["billing", "support"]);
    for token in &list {
        assert!(text(&token["id"]).starts_with("tok_") && text(&token["created_at"]).ends_with('Z'), "{token}");
        assert_eq!(token.as_object().map(serde_json::Map::len), Some(3));
    }
    let plain = String::from_utf8(token(&place, &["list"]).stdout).expect("text");
    assert_eq!(plain.lines().count(), 2);
    assert!(
        list.iter().zip(plain.lines()).all(|(token, line)| line.starts_with(&text(&token["id"])) && line.ends_with(&text(&token["name"])))
    );
    assert!(texts.iter().all(|text| !plain.contains(text.as_str())));
}

#[tokio::test]
async fn a_revoked_token_is_refused_within_a_second() {
    let place = Place::with_database();
    let (kept, lost) = (place.token(), place.token());
    let ids: Vec<String> = listed(&place).iter().map(|token| text(&token["id"])).collect();
    let server = Server::start(&place);
    let status = async |token: &str| server.call("GET", "/v1/vendors", token, Value::Null).await.status;
    assert_eq!((status(&kept).await, status(&lost).await), (200, 200));
    let revoked = token(&place, &["revoke", &ids[2]]);
    assert_eq!(String::from_utf8_lossy(&revoked.stdout).trim(), format!("{} is revoked", ids[2]));
    let watch = ringback::clock::Stopwatch::start();
    until("it is refused", || async { (status(&lost).await == 401).then_some(()) }).await;
    assert!(watch.elapsed() < std::time::Duration::from_secs(1), "it took {:?}", watch.elapsed());
    assert_eq!(status(&kept).await, 200);
    assert_eq!(listed(&place).iter().map(|token| text(&token["id"])).collect::<Vec<_>>(), ids[..2]);
    let log = server.call("GET", "/v1/audit?limit=1", &kept, Value::Null).await.expect(200);
    assert_eq!((&log["data"][0]["action"], &log["data"][0]["object"]), (&json!("token.revoked"), &json!(ids[2])));
}

#[tokio::test]
async fn what_cannot_be_revoked_is_told() {
    let place = Place::with_database();
    let (operator, server) = (place.token(), Server::start(&place));
    let vendor = server.call("POST", "/v1/vendors", &operator, json!({"name": "Shop", "email": "shop@example.com"})).await.expect(201);
    let theirs = server.call("GET", &format!("/v1/vendors/{}/tokens", text(&vendor["id"])), &operator, Value::Null).await.expect(200);
    let (theirs, ours) = (text(&theirs["data"][0]["id"]), text(&listed(&place)[0]["id"]));
    assert!(one_line(&token(&place, &["revoke", "nonsense"]), 64).contains("tok_"));
    assert!(one_line(&token(&place, &["revoke"]), 64).contains("<ID>"));
    let said = one_line(&token(&place, &["revoke", &theirs]), 1);
    assert!(said.contains(&theirs) && said.contains("token list"), "a vendor's is revoked by the API: {said}");
    assert!(token(&place, &["revoke", &ours]).status.success());
    assert!(one_line(&token(&place, &["revoke", &ours]), 1).contains(&ours), "only once");
}
