//! `ringback demo`: what it prints in a pipe and on a terminal, the link that logs in, and that its history fills the panel.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::client::{Reply, Request, send};
use crate::process_errors::program;

/// A demo that runs, with what it has said up to its login link.
struct Demo {
    child: Child,
    says: BufReader<ChildStdout>,
    said: String,
    address: SocketAddr,
    /// The path of the link.
    link: String,
}

impl Demo {
    fn start() -> Self {
        let mut command = program(&[], &["demo", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut says = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut said = String::new();
        while !said.contains("In the panel") {
            assert_ne!(says.read_line(&mut said).expect("it says something"), 0, "{said}");
        }
        let url = said.split_whitespace().find(|word| word.contains("/panel/enter/")).expect("a link").to_owned();
        let (address, link) = url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("a URL");
        let (address, link) = (address.parse().expect("an address"), format!("/{link}"));
        Self { child, says, said, address, link }
    }

    async fn send(&self, method: &str, path: &str, cookie: Option<&str>) -> Reply {
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
        headers.extend(cookie.map(|cookie| ("cookie", cookie)));
        let body = (method == "POST").then(Vec::new);
        send(self.address, Request { method, path, headers: &headers, body, ..Request::default() }).await
    }

    /// The cookie of somebody who has followed the link.
    async fn enter(&self) -> String {
        let entered = self.send("POST", &self.link, None).await;
        assert_eq!((entered.status, entered.header("location")), (303, Some("/panel/operator")), "{}", entered.text);
        entered.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a session").to_owned()
    }

    async fn api(&self, path: &str) -> Value {
        let token = self.said.split_whitespace().find(|word| word.starts_with("rb_operator_")).expect("a token");
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        let reply = send(self.address, Request { method: "GET", path, headers: &headers, ..Request::default() }).await;
        serde_json::from_str(&reply.text).unwrap_or_else(|error| panic!("{path}: {error}: {}", reply.text))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn the_link_logs_in_and_every_page_has_something_to_show() {
    let mut demo = Demo::start();
    let page = demo.send("GET", &demo.link, None).await;
    assert!(page.expect_page(200).contains("Open the panel") && page.header("set-cookie").is_none(), "{}", page.text);
    for path in [format!("{}x", demo.link), "/panel/enter/".to_owned() + &"a".repeat(39)] {
        assert_eq!(demo.send("GET", &path, None).await.status, 410);
        assert_eq!(demo.send("POST", &path, None).await.status, 410);
    }
    let cookie = demo.enter().await;
    assert_ne!(demo.enter().await, cookie, "the link can be followed again");
    for (path, shown) in [
        ("", "First steps"),
        ("/conflicts", "/panel/operator/conflicts/"),
        ("/stuck", "INV-00001"),
        ("/issues", "Koshi"),
        ("/mails", "Koshi"),
        ("/vendors", "Lumbini"),
        ("/providers", "himal"),
        ("/audit", "endpoint."),
        ("/team", "operator@ringback.example"),
    ] {
        let page = demo.send("GET", &format!("/panel/operator{path}"), Some(&cookie)).await;
        assert!(page.expect_page(200).contains(shown), "{path} without {shown}: {}", page.text);
    }
    let overview = demo.api("/v1/overview").await;
    assert_eq!((&overview["open_conflicts"], &overview["stuck"]), (&json!(1), &json!(1)), "{overview}");
    assert!(overview["alerts_waiting"].as_u64() >= Some(1) && overview["endpoints"]["failing"].as_u64() >= Some(1), "{overview}");

    // It ends as it should, with a summary and without escape codes.
    terminate(&demo.child);
    let mut said = String::new();
    demo.says.read_to_string(&mut said).expect("it is text");
    assert!(demo.child.wait().expect("it ends").success(), "{said}");
    for part in ["every event reached its receiver and verified", "deliveries succeeded: ", "What to try next"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains('\x1b') && !demo.said.contains('\x1b'), "{said}");
    for line in said.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

fn terminate(child: &Child) {
    let ended = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(ended.success());
}

#[test]
fn a_summary_as_json_is_all_that_is_printed() {
    let output = program(&[], &["demo", "--listen", "127.0.0.1:0", "--for", "2s", "--json"]).output().expect("it runs");
    assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(0), true), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let number = |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("{name} of {summary}"));
    assert!(number("recharges") > 0 && number("recharges") < 10, "the history is not counted: {summary}");
    assert_eq!(number("events"), number("recharges"));
    assert_eq!(number("deliveries succeeded"), number("events"));
    assert_eq!(number("missing"), 0);
    for name in ["retried", "p50", "p99"] {
        number(name);
    }
}

#[test]
fn another_port_is_taken_where_the_usual_one_is_not_free() {
    // Whoever has it, this test or another program: it is not free.
    let _holder = std::net::TcpListener::bind("127.0.0.1:8090");
    let output = program(&[], &["demo", "--for", "1s"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("http://127.0.0.1:") && !said.contains("http://127.0.0.1:8090"), "{said}");
}

/// The demo on a terminal of its own: `script` makes one.
#[test]
fn on_a_terminal_the_link_stays_in_view() {
    let inner = format!("stty cols 80 rows 24; exec {} demo --listen 127.0.0.1:0 --for 3s", env!("CARGO_BIN_EXE_ringback"));
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &inner, "/dev/null"]).env("TERM", "xterm-256color").env_remove("NO_COLOR").stdin(Stdio::null());
    let output = command.output().expect("script runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let (_, played) = said.split_once("In the panel").expect("an opening");
    // Wherever the block is cleared it is drawn again, but for the end.
    let cleared = played.matches("\x1b[4A\r\x1b[J").count();
    let links = played.matches("/panel/enter/").count();
    assert!(cleared > 3 && links == cleared, "{cleared} times cleared, {links} links: {said}");
    let (_, end) = said.rsplit_once("\x1b[J").expect("it was cleared");
    assert!(end.contains("every event reached its receiver") && !end.contains("/panel/enter/"), "{end}");
    // What would have to be undone is never done: another screen, a hidden cursor, a scroll region.
    assert!(!said.contains("\x1b[?"), "{said}");
}
