//! `ringback backup` and `ringback restore`, also by their scripts, next to a server at work: what was accepted before the backup is
//! there after the restore, and no number is used twice.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::api::Client;
use super::postgres::Postgres;
use super::programs;
use super::server::{self, Server};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const BEFORE: usize = 50;
/// Numbers that a restored database skips.
const SKIPPED: i64 = 1_000_000;

fn script(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(programs::root().join("scripts").join(name));
    command.args(arguments).env("RINGBACK", env!("CARGO_BIN_EXE_ringback")).output().expect("it runs")
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
fn refused(output: &Output, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(part), "{said}");
}

/// Backs up in the midst of reports; answers the backup.
async fn backed_up(client: &Client, vendor: &str, database: &str, folder: &Path) -> PathBuf {
    report(&mut client.clone(), vendor, 0..BEFORE).await;
    let stop = Arc::new(AtomicBool::new(false));
    let going_on = {
        let (mut client, vendor, stop) = (client.clone(), vendor.to_owned(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut number = BEFORE;
            while !stop.load(Ordering::Relaxed) {
                report(&mut client, &vendor, number..number + 1).await;
                number += 1;
            }
        })
    };
    let (database, folder) = (database.to_owned(), folder.to_owned());
    let backup = tokio::task::spawn_blocking(move || script("backup", &[&database, folder.to_str().expect("text")])).await;
    stop.store(true, Ordering::Relaxed);
    going_on.await.expect("reports are accepted beside it");
    PathBuf::from(done(&backup.expect("it ends")))
}

async fn report(client: &mut Client, vendor: &str, numbers: std::ops::Range<usize>) {
    let one = |number| json!({"vendor_id": vendor, "reference_no": format!("R-{number}"), "status": "success"});
    client.post("/v1/reports", &json!({"reports": numbers.map(one).collect::<Vec<_>>()})).await;
}

/// The feed as far as it goes, with whatever gaps it has.
async fn numbers(client: &mut Client, vendor: &str) -> Vec<i64> {
    let (mut numbers, mut after) = (Vec::new(), 0);
    loop {
        let page = client.get(&format!("/v1/events?vendor_id={vendor}&after={after}&limit=200")).await;
        let events = page["data"].as_array().expect("a feed has data");
        numbers.extend(events.iter().filter_map(|event| event["sequence"].as_i64()));
        after = page["next_after"].as_i64().expect("a number");
        if events.is_empty() {
            return numbers;
        }
    }
}

/// All from before the backup is there, and what comes now has numbers that nobody has seen.
async fn goes_on(client: &mut Client, vendor: &str, seen: i64) {
    let kept = numbers(client, vendor).await;
    assert!(kept.len() >= BEFORE && kept.iter().copied().eq(1..=kept.len() as i64), "{kept:?}");
    let recharges: Vec<Value> = client.list(&format!("/v1/recharges?vendor_id={vendor}")).await;
    assert_eq!(recharges.len(), kept.len(), "each event has its recharge");
    report(client, vendor, 1_000_000..1_000_001).await;
    let next = numbers(client, vendor).await.last().copied();
    assert!(next == Some(kept.len() as i64 + SKIPPED + 1) && next > Some(seen), "{next:?} after {seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_backed_up_and_put_back() {
    let mut server = Server::start(&[]);
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "shop").await;
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}", server.database().display());
    let backup = backed_up(&client, &vendor, &database, folder.path()).await;
    report(&mut client, &vendor, 900_000..900_010).await;
    let seen = numbers(&mut client, &vendor).await.len() as i64;

    let put_back = |backup: &Path| script("restore", &[backup.to_str().expect("text"), &database]);
    refused(&put_back(&backup), "stop it first");
    assert_eq!(numbers(&mut client, &vendor).await.len() as i64, seen, "it was not touched");
    server.kill();
    let damaged = folder.path().join("damaged.db");
    std::fs::write(&damaged, &std::fs::read(&backup).expect("it is there")[..9000]).expect("it is written");
    refused(&put_back(&damaged), "is damaged");
    let said = done(&put_back(&backup));
    let aside = said.lines().find_map(|line| line.strip_prefix("what was there is now ")).expect("it says so");
    let aside = rusqlite::Connection::open(aside).expect("it opens");
    let count: i64 = aside.query_row("SELECT count(*) FROM recharge", [], |row| row.get(0)).expect("it is whole");
    assert_eq!(count, seen, "what was there is put aside, not lost");
    server.restart();
    goes_on(&mut client, &vendor, seen).await;

    // The oldest go.
    for day in 1..=3 {
        std::fs::write(folder.path().join(format!("ringback-2020010{day}T000000Z.db")), "old").expect("it is written");
    }
    std::thread::sleep(std::time::Duration::from_secs(1)); // A backup is named after its second.
    done(&script("backup", &[&database, folder.path().to_str().expect("text"), "3"]));
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).expect("it is there").filter_map(|file| Some(file.ok()?.file_name())).collect();
    left.sort();
    let named = left.iter().filter_map(|name| name.to_str()).filter(|name| name.starts_with("ringback-"));
    assert_eq!(named.clone().count(), 3, "{left:?}");
    assert!(named.clone().any(|name| name == "ringback-20200103T000000Z.db"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_database_is_backed_up_and_put_back() {
    let postgres = Postgres::start();
    let server = Server::start_on_postgres_with_key(&[], postgres.url(), KEY);
    let mut client = server.operator();
    let vendor = server::new_vendor(&mut client, "shop").await;
    let folder = tempfile::tempdir().expect("a folder");
    let backup = backed_up(&client, &vendor, &postgres.url(), folder.path()).await;
    let backup = backup.to_str().expect("text");
    report(&mut client, &vendor, 900_000..900_010).await;
    let seen = numbers(&mut client, &vendor).await.len() as i64;
    refused(&script("restore", &[backup, &postgres.url()]), "is not empty");
    let another = postgres.make("restored").await;
    done(&script("restore", &[backup, &another]));
    {
        let server = Server::start_on_postgres_with_key(&[], another, KEY);
        goes_on(&mut server.operator(), &vendor, seen).await;
    }
    // In place of the tables that are there, once no server runs.
    let put_back = |database: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
        command.args(["restore", "--force", backup, "--database", database]).output().expect("it runs")
    };
    refused(&put_back(&postgres.url()), "a server runs on the database");
    let mut server = server;
    server.terminate().await;
    // A restore that fails puts the tables back: here a view of another program is in the way.
    postgres.execute("DROP INDEX recharge_of_stream; CREATE VIEW recharge_of_stream AS SELECT 1").await;
    refused(&put_back(&postgres.url()), "Nothing was changed");
    postgres.execute("DROP VIEW recharge_of_stream; SELECT 1 FROM recharge LIMIT 1").await;
    let said = done(&put_back(&postgres.url()));
    assert!(said.contains("what was there is now in the schema before_2"), "{said}");
    let server = Server::start_on_postgres_with_key(&[], postgres.url(), KEY);
    goes_on(&mut server.operator(), &vendor, seen).await;
    let whole = std::fs::read(backup).expect("it is there");
    let damaged = folder.path().join("damaged.dump");
    std::fs::write(&damaged, &whole[..whole.len() * 2 / 3]).expect("it is written");
    let empty = postgres.make("empty").await;
    refused(&script("restore", &[damaged.to_str().expect("text"), &empty]), "is damaged");
}

/// Client programs that record their arguments and the password in their environment, and answer as for a database that is empty
/// once it has been dumped.
fn spies(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let spy = r#"#!/bin/sh
printf '%s\n' "$@" >>"$SPIED/arguments"
case "$*" in --version | *--data-only*) ;; *) printf '%s\n' "${PGPASSWORD-}" >>"$SPIED/passwords" ;; esac
case "$*" in
  --version) echo "spy (PostgreSQL) 15.1" ;;
  *server_version_num*) echo 150001 ;;
  *current_schema*) echo public ;;
  *pg_class*) [ -e "$SPIED/dumped" ] || echo "TABLE meta" ;;
  *--data-only*) printf 'COPY public.%s (id) FROM stdin;\n1\n\\.\n' recharge event ;;
  *--format=custom*) while [ "$1" != --file ]; do shift; done; printf PGDMP >"$2"; : >"$SPIED/dumped" ;;
esac
"#;
    for name in ["pg_dump", "pg_restore", "psql"] {
        std::fs::write(folder.join(name), spy).expect("it is written");
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).expect("it may run");
    }
}

#[test]
fn no_program_gets_the_password_as_an_argument() {
    for (address, shown, password) in [
        ("postgres://u:p%40s%2Fs:x%25@db.example:5432/r?sslmode=require", "postgres://u@db.example:5432/r?sslmode=require", "p@s/s:x%"),
        ("postgresql://u@db.example/r?password=a%26b&sslmode=require", "postgresql://u@db.example/r?sslmode=require", "a&b"),
        ("postgres://u@db.example/r?sslmode=require&password=secret", "postgres://u@db.example/r?sslmode=require", "secret"),
        ("postgres:///r?password=secret", "postgres:///r", "secret"),
        ("postgres://u@db.example/r", "postgres://u@db.example/r", ""),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        spies(folder.path());
        let here = folder.path().to_str().expect("text");
        let backup = folder.path().join("backup");
        for command in ["backup", "restore"] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_ringback"));
            program.arg(command).arg(&backup).env("RINGBACK_DATABASE", address).env("SPIED", here).env_remove("PGPASSWORD");
            let said = done(&program.env("PATH", format!("{here}:/usr/bin:/bin")).output().expect("it runs"));
            assert!(said.contains("1 recharge, 1 event") && (password.is_empty() || !said.contains(&format!(":{password}"))), "{said}");
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it was written");
        let arguments = read("arguments");
        // Of a backup: its version, schema, tables and dump; of a restore: the first three, the restore and the skipped numbers.
        assert_eq!(arguments.lines().filter(|line| line.contains(shown)).count(), 9, "{arguments}");
        assert!(!arguments.contains("password=") && !arguments.contains("u:"), "{arguments}");
        assert!(read("passwords").lines().all(|line| line == password), "{address}: {}", read("passwords"));
    }
}

#[test]
fn a_client_that_is_missing_or_too_old_is_named_with_its_package() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().to_str().expect("text");
    let backup = |url: &str, path: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ringback"));
        program.arg("backup").arg(folder.path().join("backup")).env("RINGBACK_DATABASE", url).env("SPIED", here);
        program.env("PATH", path).output().expect("it runs")
    };
    refused(&backup("postgres://db.example/r", here), "psql is not installed; install the Debian package postgresql-client");
    spies(folder.path());
    let newer = std::fs::read_to_string(folder.path().join("psql")).expect("it is there").replace("150001", "160004");
    std::fs::write(folder.path().join("psql"), newer).expect("it is written");
    let path = format!("{here}:/usr/bin:/bin");
    refused(&backup("postgres://db.example/r", &path), "install the Debian package postgresql-client-16");
    assert!(!folder.path().join("backup").exists());
}

#[test]
fn what_they_cannot_do_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().to_str().expect("text");
    for (name, arguments, part) in [
        ("backup", vec![], "usage"),
        ("backup", vec!["ringback.db", here], "sqlite:PATH or postgres://"),
        ("backup", vec!["sqlite:/nowhere/ringback.db", here], "there is no database at"),
        ("backup", vec!["sqlite:x", "/nowhere/at/all"], "there is no folder"),
        ("backup", vec!["sqlite:x", here, "some"], "must be a number"),
        ("restore", vec!["x"], "usage"),
        ("restore", vec!["/nowhere/backup.db", "sqlite:x"], "/nowhere/backup.db cannot be read"),
    ] {
        refused(&script(name, &arguments), part);
    }
    assert_eq!(std::fs::read_dir(here).expect("it is there").count(), 0, "nothing is left behind");
}
