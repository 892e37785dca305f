//! `ringback doctor` on installations that are well, and on some that are not.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{TestApp, text, until};
use crate::mail_server::MailServer;
use crate::receiver::{Answer, Receiver};
use crate::transport::Authority;

async fn doctor(settings: &[(&str, &str)], database: &str) -> (Output, Vec<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
    command.args(["doctor", "--json", "--database", database]).env_clear();
    command.envs(settings.iter().map(|(name, value)| (format!("RINGBACK_{name}"), *value)));
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends");
    let found = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, found)
}

#[track_caller]
fn grade(found: &[Value], part: &str) -> String {
    let one = found.iter().find(|one| one["part"] == part).unwrap_or_else(|| panic!("nothing of {part}: {found:#?}"));
    text(&one["grade"])
}

#[tokio::test]
async fn what_is_well_is_said_to_be_and_what_is_not_with_what_to_do() {
    let (app, hook, mails) = (TestApp::start().await, Receiver::start().await, MailServer::open());
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let (listen, smtp) = (app.address.to_string(), mails.url());
    let database = format!("sqlite:{}", app.file().display());
    let well = [
        ("LISTEN", listen.as_str()),
        ("ALLOW_NETWORKS", "127.0.0.0/8"),
        ("SMTP_URL", smtp.as_str()),
        ("MAIL_FROM", "ringback@example.net"),
        ("PUBLIC_URL", "https://ringback.example.net"),
    ];
    let (output, found) = doctor(&well, &database).await;
    assert_eq!(output.status.code(), Some(0), "{found:#?}");
    assert!(found.iter().all(|one| one["grade"] == "good"), "{found:#?}");

    hook.always(Answer::status(500));
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    let report = json!({"vendor_id": vendor.id, "reference_no": "R-1", "status": "failed"});
    app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
    let (output, found) = doctor(&well, &database).await;
    assert_eq!(output.status.code(), Some(0), "a receiver that fails is not ours to mend: {found:#?}");
    assert_eq!((grade(&found, "endpoints"), grade(&found, "conflicts")), ("odd".to_owned(), "odd".to_owned()));
    assert!(found.iter().all(|one| (one["grade"] == "good") == (one["advice"] == "")), "{found:#?}");

    let ill = [("LISTEN", "127.0.0.1:9"), ("SMTP_URL", "smtp://127.0.0.1:9"), ("MAIL_FROM", "ringback@example.net")];
    let (output, found) = doctor(&ill, &database).await;
    assert_eq!(["server", "mail", "outbound"].map(|part| grade(&found, part)), ["bad", "bad", "bad"]);
    assert!(output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).contains("3 things are wrong"), "{output:?}");

    // One whose certificate nobody vouches for, beside one that is well.
    let other = Receiver::start_tls(Authority::new().server(&["127.0.0.1"], 2100)).await;
    let strange = app.endpoint(&vendor, json!({"url": other.url()})).await;
    let (_, found) = doctor(&well, &database).await;
    let outbound = found.iter().find(|one| one["part"] == "outbound").expect("it is looked at");
    assert!(outbound["grade"] == "odd" && text(&outbound["seen"]).contains("TLS"), "{outbound:#}");
    app.call("DELETE", &format!("/v1/endpoints/{}", strange.id), &strange.token, None).await.expect(204);
    let wrong_key = [("LISTEN", listen.as_str()), ("MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    let (output, found) = doctor(&wrong_key, &database).await;
    assert_eq!((output.status.code(), grade(&found, "store")), (Some(1), "bad".to_owned()), "{found:#?}");
    let (output, found) = doctor(&[("LISTEN", listen.as_str())], "sqlite:/tmp/there-is-no-such-database.db").await;
    assert_eq!((output.status.code(), grade(&found, "store")), (Some(1), "bad".to_owned()), "{found:#?}");
    app.call("DELETE", &format!("/v1/endpoints/{}", endpoint.id), &endpoint.token, None).await.expect(204);
    until("nothing is open", || async { (app.open_runs() == 0).then_some(()) }).await;
    app.finish().await;
}
