//! PostgreSQL over TLS: whose certificate counts.

use std::process::{Command, Output};

use super::postgres::Postgres;

fn token(url: &str, authority: Option<&std::path::Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
    command.args(["token", "create", "--operator", "--database", url]).env_clear();
    command.env("RINGBACK_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    command.envs(authority.map(|file| ("SSL_CERT_FILE", file))).output().expect("the command runs")
}

#[test]
fn a_database_is_reached_by_tls_if_its_certificate_is_from_a_known_authority() {
    let postgres = Postgres::start();
    let (plain, url) = (postgres.url(), postgres.url_with_tls());
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let without = token(&url, None);
    assert!(!without.status.success() && told(&without).contains("TLS"), "a server without TLS: {}", told(&without));
    let authority = postgres.certify();
    postgres.crash();
    postgres.resume();
    let unknown = token(&url, None);
    assert!(!unknown.status.success() && told(&unknown).contains("certificate"), "an unknown authority: {}", told(&unknown));
    let known = token(&url, Some(&authority));
    assert!(known.status.success(), "{}", told(&known));
    assert!(String::from_utf8_lossy(&known.stdout).starts_with("rb_operator_"));
    assert!(token(&plain, None).status.success(), "TLS is used where it is there, and not insisted on unless the address does");
}
