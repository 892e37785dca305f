//! Mails about what needs somebody, by a real mail server.

use std::time::Duration;

use ringback::limits;
use serde_json::{Value, json};

use crate::harness::{Endpoint, TestApp, Vendor, references, text, until};
use crate::mail_server::MailServer;
use crate::process_errors::run;
use crate::receiver::{Answer, Receiver};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const PUBLIC_URL: &str = "https://ringback.example.net/base";

async fn start(mails: &MailServer, settings: &[(&'static str, &str)]) -> TestApp {
    let url = mails.url();
    let mail = [("smtp_url", url.as_str()), ("mail_from", "Ringback <ringback@example.net>"), ("public_url", PUBLIC_URL)];
    TestApp::with(&[&mail, settings].concat()).await
}

async fn wait(mails: &MailServer, count: usize) -> Vec<Value> {
    until(&format!("{count} mails"), || async { Some(mails.all()).filter(|all| all.len() >= count) }).await
}

/// The mail has all of these in its text.
#[track_caller]
fn says(mail: &Value, parts: &[&str]) {
    let said = text(&mail["text"]).replace('\r', "");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
}

async fn waiting(app: &TestApp) -> u64 {
    app.get("/v1/overview", &app.operator).await.expect(200)["alerts_waiting"].as_u64().expect("a count")
}

/// Waits until nothing waits to be mailed, and what was mailed is noted.
async fn until_sent(app: &TestApp) {
    until("nothing waits to be mailed", || async { (waiting(app).await == 0).then_some(()) }).await;
}

async fn until_disabled(app: &TestApp, endpoint: &Endpoint) {
    until("it is disabled", || async { (app.read_endpoint(endpoint).await["status"] == "disabled").then_some(()) }).await;
    // A change is in effect within a second, which this clock would leap over.
    app.quiet(|| 0).await;
}

// --- What they say -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_vendor_is_told_of_failing_and_of_disabling() {
    let (mails, hook) = (MailServer::open(), Receiver::start().await);
    let quick = [("retry_schedule", "30s"), ("delivery_deadline", "5m"), ("warn_after", "1m"), ("disable_after", "30m")];
    let app = start(&mails, &quick).await;
    let vendor = app.vendor().await;
    let settings = json!({"url": format!("{}?token=hidden-token", hook.url()), "headers": {"x-key": "hidden-header"}});
    let endpoint = app.connected_with(&vendor, &hook, settings).await;
    hook.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    app.pass(&hook, 8, 10 * SECOND).await;
    let failing = wait(&mails, 1).await.remove(0);
    until_sent(&app).await;
    app.pass(&hook, 60, 30 * SECOND).await;
    until_disabled(&app, &endpoint).await;
    let disabled = wait(&mails, 2).await.remove(1);
    until_sent(&app).await;
    for (mail, title) in [(&failing, "failing"), (&disabled, "disabled")] {
        assert_eq!((&mail["to"], &mail["from"]), (&json!(["shop@example.com"]), &json!("ringback@example.net")));
        assert_eq!(mail["shown_from"], "Ringback <ringback@example.net>");
        assert_eq!(mail["subject"], format!("Shop: webhook endpoint 127.0.0.1 is {title} (HTTP 500)"));
        says(
            mail,
            &[
                "Vendor:     Shop\n",
                &format!("Endpoint:   {} ({}, live mode)\n", hook.url(), endpoint.id),
                "since 2026-11-24 00:00:00 UTC",
                "Cause:      HTTP 500 (",
                &format!("Panel:      {PUBLIC_URL}/panel/live/webhooks/{}\n", endpoint.id),
                &format!("Ringback at {PUBLIC_URL}\n"),
            ],
        );
        for hidden in ["hidden-token", "hidden-header", "whsec_", &endpoint.secret] {
            assert!(!mail.to_string().contains(hidden), "{hidden}: {mail}");
        }
    }
    says(&failing, &["nothing has been delivered to it since", "is disabled at 2026-11-24 00:30:00 UTC", "Fix the receiver"]);
    says(
        &disabled,
        &["it was disabled at 2026-11-24 00:3", "It gets no more events", &format!("POST /v1/endpoints/{}/enable", endpoint.id)],
    );
    assert!(text(&failing["date"]).starts_with("2026-11-24T00:01:"), "{failing}");
    app.pass(&hook, 30, MINUTE).await;
    assert_eq!(mails.all().len(), 2, "each is told once");
    app.finish().await;
}

#[tokio::test]
async fn the_alert_address_goes_before_the_vendors_and_hears_that_it_works_again() {
    let (mails, hook) = (MailServer::open(), Receiver::start().await);
    let app = start(&mails, &[("retry_schedule", "1m"), ("warn_after", "2m")]).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected_with(&vendor, &hook, json!({"alert_email": "on-call@example.org"})).await;
    hook.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "R-1").await;
    app.pass(&hook, 20, MINUTE).await;
    wait(&mails, 1).await;
    until_sent(&app).await;
    hook.always(Answer::status(200));
    app.pass(&hook, 2, MINUTE).await;
    app.until_state(&endpoint, &event, "succeeded").await;
    app.pass(&hook, 1, 6 * SECOND).await;
    let got = wait(&mails, 2).await;
    assert!(got.iter().all(|mail| mail["to"] == json!(["on-call@example.org"])), "{got:#?}");
    assert_eq!(got[1]["subject"], "Shop: webhook endpoint 127.0.0.1 works again");
    says(
        &got[1],
        &["Vendor:     Shop\n", &endpoint.id, "Failed:     from 2026-11-24 00:", " to 2026-11-24 00:2", "What waited is being delivered"],
    );
    assert_ne!(got[0]["message_id"], got[1]["message_id"]);
    until_sent(&app).await;
    app.finish().await;
}

#[tokio::test]
async fn an_endpoint_that_came_back_by_itself_is_told_of() {
    let (mails, hook) = (MailServer::open(), Receiver::start().await);
    let app = start(&mails, &[("probe_disabled", "30m")]).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(410)]);
    app.succeed_one(&vendor, "R-1").await;
    until_disabled(&app, &endpoint).await;
    app.pass(&hook, 4, 10 * MINUTE).await;
    app.until_count(&endpoint, "succeeded", 1).await;
    app.pass(&hook, 1, 6 * SECOND).await;
    let got = wait(&mails, 2).await;
    let subjects: Vec<_> = got.iter().map(|mail| text(&mail["subject"])).collect();
    assert_eq!(
        subjects,
        ["Shop: webhook endpoint 127.0.0.1 is disabled (it answered 410 Gone)", "Shop: webhook endpoint 127.0.0.1 works again"]
    );
    says(&got[0], &["it answered 410 Gone"]);
    says(&got[1], &["answered its handshake at 2026-11-24 00:", &format!("POST /v1/endpoints/{}/replay", endpoint.id)]);
    until_sent(&app).await;
    app.finish().await;
}

#[tokio::test]
async fn operators_are_told_of_conflicts_and_nobody_else_is() {
    let (mails, hook) = (MailServer::open(), Receiver::start().await);
    let app = start(&mails, &[]).await;
    let vendor = app.vendor().await;
    let database = format!("sqlite:{}", app.file().display());
    for address in ["ops-1@example.org", "ops-2@example.org"] {
        let arguments = ["user", "create", "--operator", "--email", address, "--database", database.as_str()];
        let made = run(&[("password", "a long password")], &arguments);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let login = json!({"email": "clerk@example.com", "password": "a long password"});
    app.post(&format!("/v1/vendors/{}/users", vendor.id), &app.operator, login).await.expect(201);
    let report = |status: &str, number: &str| {
        json!({"reports": [{"vendor_id": vendor.id, "reference_no": "R-1", "status": status, "connection_no": number,
                            "amount": "50.00", "currency": "NPR", "operator": "Ncell"}]})
    };
    app.post("/v1/reports", &app.operator, report("success", "9801234567")).await.expect(200);
    for _ in 0..3 {
        let answer = app.post("/v1/reports", &app.operator, report("failed", "9811111111")).await.expect(200);
        assert_eq!(answer["results"][0]["verdict"], "conflict");
    }
    app.pass(&hook, 1, 6 * SECOND).await;
    let got = wait(&mails, 2).await;
    until_sent(&app).await;
    let mut to: Vec<_> = got.iter().map(|mail| text(&mail["to"][0])).collect();
    to.sort();
    assert_eq!(to, ["ops-1@example.org", "ops-2@example.org"]);
    let conflicts = app.get("/v1/conflicts", &app.operator).await.expect(200);
    let said = text(&got[0]["text"]);
    for conflict in conflicts["data"].as_array().expect("conflicts") {
        let (recharge, id) = (text(&conflict["recharge_id"]), text(&conflict["id"]));
        let link = format!("Panel:      {PUBLIC_URL}/panel/operator/conflicts/{id}\n");
        says(&got[0], &[&recharge, &link, &format!("POST /v1/conflicts/{id}/resolve")]);
    }
    assert_eq!(got[0]["subject"], "Shop: recharge R-1 is contradicted: status failed, the ledger has success, and 1 more");
    says(
        &got[0],
        &[
            "Vendor:     Shop\n",
            "Reference:  R-1\n",
            "live mode)\n",
            "Amount:     50.00 NPR\n",
            "Network:    Ncell\n",
            "Number:     980•••••67\n",
            "Status:     success since 2026-11-24 00:00:00 UTC\n",
            "a report claims status failed where the ledger has success\n",
            "a report claims connection number 981•••••11 where the ledger has 980•••••67\n",
            "Received:   2026-11-24 00:00:00 UTC, with POST /v1/reports\n",
            "is not notified until the conflict is resolved",
        ],
    );
    assert!(!said.contains("9801234567") && !said.contains("9811111111"), "connection numbers are mailed masked: {said}");
    app.pass(&hook, 20, MINUTE).await;
    assert_eq!(mails.all().len(), 2, "a repeated report opens no further case");
    app.finish().await;
}

// --- When they go ------------------------------------------------------------------------------------------------------

/// Each of them is disabled for its answer to one more event.
async fn disable_all(app: &TestApp, hook: &Receiver, all: &[(Vendor, Endpoint)], reference: &str) {
    hook.always(Answer::status(410));
    for (vendor, endpoint) in all {
        app.succeed_one(vendor, reference).await;
        until_disabled(app, endpoint).await;
    }
    hook.always(Answer::status(200));
}

#[tokio::test]
async fn the_first_goes_at_once_and_what_comes_within_the_pause_is_gathered() {
    let (mails, hook) = (MailServer::open(), Receiver::start().await);
    let app = start(&mails, &[]).await;
    let mut all = Vec::new();
    for _ in 0..6 {
        // Vendors with one address, so that none of their endpoints is told of another.
        let vendor = app.vendor().await;
        let endpoint = app.connected(&vendor, &hook).await;
        all.push((vendor, endpoint));
    }
    disable_all(&app, &hook, &all[..1], "R-1").await;
    app.pass(&hook, 1, 6 * SECOND).await;
    let first = wait(&mails, 1).await.remove(0);
    until_sent(&app).await;
    assert_eq!(first["subject"], "Shop: webhook endpoint 127.0.0.1 is disabled (it answered 410 Gone)");

    disable_all(&app, &hook, &all[1..], "R-1").await;
    app.on(&all[0].1, "enable").await.expect(200);
    app.until_count(&all[0].1, "succeeded", 1).await;
    disable_all(&app, &hook, &all[..1], "R-2").await;
    app.pass(&hook, 14, MINUTE).await;
    assert_eq!((mails.all().len(), waiting(&app).await), (1, 6), "nothing more within the pause");
    app.pass(&hook, 2, MINUTE).await;
    let second = wait(&mails, 2).await.remove(1);
    until_sent(&app).await;
    assert_eq!(second["subject"], "Shop: webhook endpoint 127.0.0.1 is disabled (it answered 410 Gone), and 5 more");
    for (_, endpoint) in &all {
        assert!(text(&second["text"]).contains(&endpoint.id), "{} is missing", endpoint.id);
    }
    app.pass(&hook, 1, limits::MAIL_PAUSE + MINUTE).await;
    assert_eq!(mails.all().len(), 2);
    app.finish_leaving(6).await;
}

#[tokio::test]
async fn a_mail_spells_out_so_many_and_counts_the_others() {
    let (mails, hook) = (MailServer::open(), Receiver::start().await);
    let app = start(&mails, &[]).await;
    let vendor = app.vendor().await;
    let database = format!("sqlite:{}", app.file().display());
    let arguments = ["user", "create", "--operator", "--email", "ops@example.org", "--database", database.as_str()];
    assert!(run(&[("password", "a long password")], &arguments).status.success());
    app.succeed(&vendor, references(61)).await;
    let failed = |reference: String| json!({"vendor_id": vendor.id, "reference_no": reference, "status": "failed"});
    let reports: Vec<_> = references(61).map(failed).collect();
    app.post("/v1/reports", &app.operator, json!({"reports": reports})).await.expect(200);
    app.pass(&hook, 1, 6 * SECOND).await;
    let mail = wait(&mails, 1).await.remove(0);
    let said = text(&mail["text"]);
    assert_eq!(said.matches("a report claims").count(), limits::MAIL_ALERTS_MAX);
    assert!(said.contains(&format!("And {} more", 61 - limits::MAIL_ALERTS_MAX)), "{said}");
    let subject = text(&mail["subject"]);
    assert!(subject.starts_with("Shop: recharge ") && subject.ends_with("the ledger has success, and 60 more"), "{subject}");
    until_sent(&app).await;
    app.finish().await;
}

#[tokio::test]
async fn a_mail_server_that_is_down_for_an_hour_gets_it_once_when_it_is_back() {
    let (mut mails, hook) = (MailServer::closed(), Receiver::start().await);
    let mut app = start(&mails, &[]).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(410)]);
    app.succeed_one(&vendor, "R-1").await;
    until_disabled(&app, &endpoint).await;
    for part in 0..4 {
        app.pass(&hook, 3, 5 * MINUTE).await;
        assert_eq!(waiting(&app).await, 1);
        if part == 1 {
            app.restart().await;
        }
    }
    mails.start();
    app.pass(&hook, 6, 10 * MINUTE).await;
    let mail = wait(&mails, 1).await.remove(0);
    until_sent(&app).await;
    assert!(text(&mail["text"]).contains(&endpoint.id));
    app.pass(&hook, 6, 10 * MINUTE).await;
    assert_eq!(mails.all().len(), 1, "it arrives once");
    let metrics = app.get("/metrics", &app.operator).await.expect_text(200).to_owned();
    assert!(metrics.lines().any(|line| line.starts_with("ringback_mails_total") && line.contains("failed")), "{metrics}");
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn the_same_mail_again_has_the_same_message_id() {
    let (mails, hook) = (MailServer::open(), Receiver::start().await);
    let app = start(&mails, &[]).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(410)]);
    // It has taken the mail, but nobody can know.
    mails.answer("451");
    app.succeed_one(&vendor, "R-1").await;
    until_disabled(&app, &endpoint).await;
    app.pass(&hook, 1, 6 * SECOND).await;
    wait(&mails, 1).await;
    assert_eq!(waiting(&app).await, 1);
    mails.answer("");
    app.pass(&hook, 2, MINUTE).await;
    let got = wait(&mails, 2).await;
    until_sent(&app).await;
    assert_eq!((&got[0]["message_id"], &got[0]["text"]), (&got[1]["message_id"], &got[1]["text"]));
    assert!(text(&got[0]["message_id"]).ends_with("@example.net>"));
    app.finish_leaving(1).await;
}

#[tokio::test]
async fn an_address_that_cannot_be_used_holds_up_no_other() {
    let (mails, hook) = (MailServer::open(), Receiver::start().await);
    let app = start(&mails, &[]).await;
    let vendor = app.vendor().await;
    let bad = app.connected_with(&vendor, &hook, json!({"alert_email": "nobody@example.org"})).await;
    // One of a time when such addresses were taken.
    app.database().execute("UPDATE endpoint SET alert_email = 'nobody@example..org'", []).expect("it is written");
    let good = app.connected_with(&vendor, &hook, json!({"alert_email": "somebody@example.org"})).await;
    app.on(&good, "pause").await.expect(200);
    app.quiet(|| hook.count()).await;
    hook.always(Answer::status(410));
    app.succeed_one(&vendor, "R-1").await;
    until_disabled(&app, &bad).await;
    app.on(&good, "resume").await.expect(200);
    until_disabled(&app, &good).await;
    // One look at the outbox.
    app.advance(6 * SECOND);
    let mail = wait(&mails, 1).await.remove(0);
    assert_eq!(mail["to"], json!(["somebody@example.org"]));
    until("only one waits", || async { (waiting(&app).await == 1).then_some(()) }).await;
    app.finish_leaving(3).await;
}

#[tokio::test]
async fn without_a_mail_server_mails_wait_and_the_overview_says_so() {
    let (mails, hook) = (MailServer::open(), Receiver::start().await);
    let mut app = TestApp::start().await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::status(410)]);
    app.succeed_one(&vendor, "R-1").await;
    until_disabled(&app, &endpoint).await;
    app.pass(&hook, 10, 60 * MINUTE).await;
    assert_eq!(waiting(&app).await, 1);
    app.mail_through(&mails.url(), "ringback@example.net");
    app.restart().await;
    let mail = wait(&mails, 1).await.remove(0);
    until_sent(&app).await;
    assert!(text(&mail["text"]).contains(&endpoint.id) && text(&mail["date"]).starts_with("2026-11-24T10:00"), "{mail}");
    assert!(!text(&mail["text"]).contains("/panel/"), "without a public_url there are no links: {mail}");
    says(&mail, &["the setting public_url is not set"]);
    app.finish_leaving(1).await;
}
