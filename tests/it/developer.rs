//! What a vendor's developer has on the command line: listen, trigger, resend, verify, decrypt.

use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ringback::domain::secret::Secret;
use ringback::wire::{globaltopup, standard};
use serde_json::{Value, json};

use crate::harness::{TestApp, attempts, text, until};
use crate::receiver::{Answer, Received, Receiver};

pub const SECRET: &str = "whsec_UmVjZWl2ZXJzIHRoYXQgYSBwYWdlIHNob3dzLg==";
pub const LEGACY: &str = "0123456789abcdef0123456789abcdef";

fn ringback(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Runs it beside the server of the test.
pub async fn run(arguments: &[&str]) -> Output {
    let output = tokio::process::Command::from(ringback(arguments)).kill_on_drop(true).output();
    tokio::time::timeout(Duration::from_secs(60), output).await.expect("it ends").expect("it runs")
}

fn piped(arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let mut child = ringback(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("it is piped").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Ends with the test.
struct Listening(std::process::Child);

impl Drop for Listening {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

fn listen(app: &TestApp, token: &str, arguments: &[&str]) -> Listening {
    let server = format!("http://{}", app.address);
    let all = [&["listen", "--server", &server, "--token", token], arguments].concat();
    Listening(ringback(&all).stdout(Stdio::null()).spawn().expect("it runs"))
}

pub fn is_signed(request: &Received, secret: &Secret) -> bool {
    let [id, at, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| request.header(name));
    standard::verify(secret, id, at, signature, &request.body)
}

#[tokio::test]
async fn listen_posts_every_event_as_the_endpoint_would_get_it() {
    let (app, hook, there) = (TestApp::start().await, Receiver::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &there, json!({"secret": SECRET})).await;
    app.succeed(&vendor, ["R-1".to_owned(), "R-2".to_owned()]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let saved = folder.path().join("requests");
    let save = saved.to_str().expect("text");
    let more = ["--forward", &hook.url(), "--since", "0", "--secret", SECRET, "--endpoint", &endpoint.id, "--save", save];
    let listening = listen(&app, &vendor.live, &more);
    hook.wait(2).await;
    // One that is refused here is shown, and the next ones come all the same.
    hook.next([Answer::status(500)]);
    app.succeed(&vendor, ["R-3".to_owned(), "R-4".to_owned()]).await;
    let (here, there) = (hook.wait(4).await, there.wait(4).await);
    let secret = standard::parse_secret(SECRET).expect("a secret");
    assert!(here.iter().all(|request| is_signed(request, &secret)));
    let told =
        |requests: &[Received]| requests.iter().map(|request| (request.id().to_owned(), request.body.clone())).collect::<HashSet<_>>();
    assert_eq!(told(&here), told(&there), "the same ids, the same bytes");
    assert_eq!(here.iter().map(Received::reference).collect::<Vec<_>>(), ["R-1", "R-2", "R-3", "R-4"], "in order");
    drop(listening);

    let request = std::fs::read(saved.join("00000003.http")).expect("it was saved");
    let (code, said) = piped(&["verify", "--secret", SECRET, "--any-age"], &request);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = piped(&["verify", "--secret", SECRET, "--any-age"], &[request.as_slice(), b"\n"].concat());
    assert!(code == Some(1) && said.contains("a newline was added"), "{said}");
    app.finish().await;
}

#[tokio::test]
async fn listen_writes_the_older_profile_too_and_leaves_out_what_is_not_asked_for() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    app.post("/v1/events", &app.operator, json!({"vendor_id": vendor.id, "type": "order.made", "data": {"n": 1}})).await.expect(202);
    app.succeed_one(&vendor, "R-1").await;
    let more = ["--forward", &hook.url(), "--since", "0", "--secret", LEGACY, "--profile", "globaltopup", "--events", "recharge.*"];
    let _listening = listen(&app, &vendor.live, &more);
    let request = hook.wait(1).await.remove(0);
    let secret = Secret::new(LEGACY.as_bytes());
    assert_eq!(request.header("x-signature"), globaltopup::x_signature(&secret));
    let (code, said) = piped(&["decrypt", "--secret", LEGACY], &request.body);
    assert_eq!(code, Some(0), "{said}");
    let plain: Value = serde_json::from_str(&said).expect("JSON");
    let recharge = app.get("/v1/recharges?reference_no=R-1", &vendor.live).await.expect(200)["data"][0].clone();
    assert_eq!((&plain["order_id"], &plain["transaction_id"]), (&json!("R-1"), &recharge["transaction_id"]));
    assert_eq!((&plain["timestamp"], &plain["sequence"]), (&recharge["settled_at"], &json!(2)));
    app.finish().await;
}

#[tokio::test]
async fn what_listen_cannot_do_is_told() {
    let app = TestApp::start().await;
    let vendor = app.vendor().await;
    let server = format!("http://{}", app.address);
    for (arguments, code, part) in [
        (vec!["--forward", "http://127.0.0.1:1/", "--server", &server], 64, "--token or as RINGBACK_TOKEN"),
        (vec!["--forward", "http://127.0.0.1:1/", "--server", &server, "--token", "rb_live_wrong"], 1, "does not know this token"),
        (vec!["--forward", "ftp://nowhere/", "--server", &server, "--token", &vendor.live], 64, "--forward"),
        (vec!["--forward", "http://127.0.0.1:1/", "--server", &server, "--token", &vendor.live, "--secret", "short"], 64, "whsec_"),
        (vec!["--forward", "http://127.0.0.1:1/", "--server", &server, "--token", &vendor.live, "--events", "Not A Type"], 64, "--events"),
        (vec!["--forward", "http://127.0.0.1:1/", "--server", "http://127.0.0.1:1", "--token", &vendor.live], 1, "does not answer"),
    ] {
        let output = run(&[&["listen"], arguments.as_slice()].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(part), "{arguments:?}: {:?} {said}", output.status);
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }
    app.finish().await;
}

#[tokio::test]
async fn trigger_makes_a_real_event_in_test_mode_and_resend_sends_it_again() {
    let (app, hook) = (TestApp::start().await, Receiver::start().await);
    let vendor = app.vendor().await;
    let as_test = crate::harness::Vendor { live: vendor.test.clone(), ..vendor.clone() };
    let endpoint = app.connected(&as_test, &hook).await;
    let server = format!("http://{}", app.address);
    for (event_type, field) in [("recharge.success", "amount=250.00"), ("recharge.failed", "reference_no=MINE-1")] {
        let output = run(&["trigger", event_type, "--field", field, "--server", &server, "--token", &vendor.test]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with(event_type));
    }
    let got = hook.wait(2).await;
    let told: Vec<_> = got.iter().map(|request| (text(&request.json()["type"]), request.json()["data"]["mode"].clone())).collect();
    assert_eq!(told, [("recharge.success".to_owned(), json!("test")), ("recharge.failed".to_owned(), json!("test"))]);
    assert_eq!((got[0].json()["data"]["amount"].clone(), got[1].reference()), (json!("250.00"), "MINE-1".to_owned()));

    let delivery = app.until_state(&endpoint, got[0].id(), "succeeded").await;
    let output = run(&["resend", &text(&delivery["id"]), "--server", &server, "--token", &vendor.test]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    hook.wait(3).await;
    until("two attempts", || async { (attempts(&app.delivery(&endpoint, got[0].id()).await).len() == 2).then_some(()) }).await;

    for (arguments, part) in [
        (["trigger", "recharge.success", "--token", &vendor.live], "test mode"),
        (["trigger", "recharge.unheard_of", "--token", &vendor.test], "recharge.success"),
    ] {
        let output = run(&[&arguments[..], &["--server", &server]].concat()).await;
        assert!(output.status.code() == Some(64) && String::from_utf8_lossy(&output.stderr).contains(part), "{output:?}");
    }
    assert_eq!(app.get("/v1/recharges", &vendor.live).await.expect(200)["data"], json!([]), "nothing real was recharged");
    app.finish().await;
}
