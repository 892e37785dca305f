//! PostgreSQL over TLS: whose certificate counts, with the meanings of libpq's `sslmode`.

use std::path::Path;
use std::process::{Command, Output};

use super::postgres::Postgres;

fn token(url: &str, authority: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
    command.args(["token", "create", "--operator", "--database", url]).env_clear();
    command.env("RINGBACK_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    command.envs(authority.map(|file| ("SSL_CERT_FILE", file))).output().expect("the command runs")
}

#[test]
fn modes_mean_what_they_mean_to_libpq() {
    let postgres = Postgres::start();
    let says = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let by = |host: &str, query: &str| format!("postgres://ringback@{host}:{}/postgres{query}", postgres.port);
    for (query, connects) in [("", true), ("?sslmode=allow", true), ("?sslmode=require", false), ("?sslmode=verify-full", false)] {
        let output = token(&by("localhost", query), None);
        assert_eq!(output.status.success(), connects, "a server without TLS, {query}: {}", says(&output));
        assert!(connects || says(&output).contains("TLS"), "{query}: {}", says(&output));
    }
    let authority = postgres.certify();
    postgres.crash();
    postgres.resume();
    let file = format!("&sslrootcert={}", authority.display());
    let known = Some(authority.as_path());
    for (host, query, from_system, connects) in [
        ("localhost", "", None, true),
        ("localhost", "?sslmode=disable", None, true),
        ("localhost", "?sslmode=require", None, true),
        ("localhost", "?sslmode=verify-ca", None, false),
        ("localhost", "?sslmode=verify-full", None, false),
        ("localhost", "?sslmode=verify-full", known, true),
        ("localhost", &format!("?sslmode=verify-full{file}"), None, true),
        // The certificate is for localhost.
        ("127.0.0.1", &format!("?sslmode=verify-full{file}"), None, false),
        ("127.0.0.1", "?sslmode=verify-full", known, false),
        ("127.0.0.1", &format!("?sslmode=verify-ca{file}"), None, true),
        ("127.0.0.1", "?sslmode=verify-ca", known, true),
        ("127.0.0.1", &format!("?sslmode=require{file}"), None, true),
        ("127.0.0.1", "?sslmode=require&sslrootcert=/nowhere/ca.pem", None, false),
    ] {
        let output = token(&by(host, query), from_system);
        assert_eq!(output.status.success(), connects, "{host} {query}: {}", says(&output));
        assert!(connects || says(&output).contains("certificate") || says(&output).contains("sslrootcert"), "{query}: {}", says(&output));
    }
}
