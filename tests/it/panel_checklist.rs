//! The operator's first-run checklist: it follows what the server knows, and goes once all is done or it is dismissed.

use serde_json::json;

use crate::harness::TestApp;
use crate::panel::{Browser, PASSWORD, form, operator, proof};
use crate::receiver::Receiver;

const OVERVIEW: &str = "/panel/operator";
const DISMISS: &str = "/panel/operator/checklist/dismiss";

/// The steps of the overview's checklist that are not done; none if there is no checklist.
async fn to_do(browser: &mut Browser<'_>) -> Option<Vec<String>> {
    let page = browser.page(OVERVIEW).await;
    let (_, list) = page.split_once("id=\"checklist\"")?;
    let (list, _) = list.split_once("</section>").expect("a section");
    let steps = list.split("<li").skip(1).filter(|step| step.contains("to do"));
    Some(
        steps
            .map(|step| step.split_once("<strong>").and_then(|(_, step)| step.split_once("</strong>")).expect("a name").0.to_owned())
            .collect(),
    )
}

#[tokio::test]
async fn steps_are_done_when_the_server_knows_it() {
    let app = TestApp::start().await;
    let mut browser = operator(&app).await;
    let all =
        ["Create the first vendor", "Connect its endpoint", "Receive recharges", "Send mail", "Set public_url", "Protect your access"];
    assert_eq!(to_do(&mut browser).await.expect("a checklist"), all);
    let vendor = app.vendor().await;
    assert_eq!(to_do(&mut browser).await.expect("a checklist"), all[1..]);
    assert!(browser.page(OVERVIEW).await.contains(&format!("/panel/operator/vendors/{}", vendor.id)), "it leads to the vendor");
    let hook = Receiver::start().await;
    app.connected(&vendor, &hook).await;
    assert_eq!(to_do(&mut browser).await.expect("a checklist"), all[2..]);
    let report = json!({"vendor_id": vendor.id, "reference_no": "INV-1", "status": "queued"});
    app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
    assert_eq!(to_do(&mut browser).await.expect("a checklist"), all[3..]);
    app.operator_login("second@platform.example", PASSWORD).await;
    assert_eq!(to_do(&mut browser).await.expect("a checklist"), all[3..5]);
    app.finish().await;
}

#[tokio::test]
async fn settings_count_and_a_checklist_that_is_done_is_gone() {
    let settings = [("smtp_url", "smtp://127.0.0.1:1"), ("mail_from", "ringback@example.com"), ("public_url", "http://ringback.example")];
    let app = TestApp::with(&settings).await;
    let mut browser = operator(&app).await;
    let left = ["Create the first vendor", "Connect its endpoint", "Receive recharges", "Protect your access"];
    assert_eq!(to_do(&mut browser).await.expect("a checklist"), left);
    app.operator_login("second@platform.example", PASSWORD).await;
    let (vendor, hook) = (app.vendor().await, Receiver::start().await);
    app.connected(&vendor, &hook).await;
    assert_eq!(to_do(&mut browser).await.expect("a checklist"), left[2..3]);
    let report = json!({"vendor_id": vendor.id, "reference_no": "INV-1", "status": "queued"});
    app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
    assert_eq!(to_do(&mut browser).await, None);
    app.finish().await;
}

#[tokio::test]
async fn a_dismissal_is_for_all_operators_and_stays() {
    let mut app = TestApp::start().await;
    app.operator_login("second@platform.example", PASSWORD).await;
    let mut browser = operator(&app).await;
    let proof = proof(&browser.page(OVERVIEW).await);
    let forged = browser.send("POST", DISMISS, Some(form(&[("proof", "x")])), &[crate::panel::OURS]).await;
    assert_eq!(forged.status, 403, "{}", forged.text);
    assert!(to_do(&mut browser).await.is_some());
    let dismissed = browser.submit_with(DISMISS, &[("proof", &proof)]).await;
    assert_eq!(dismissed.header("location"), Some("/panel/operator?told=checklist-dismissed"), "{}", dismissed.text);
    assert_eq!(to_do(&mut browser).await, None);
    assert!(browser.page("/panel/operator/audit").await.contains("checklist.dismissed"));
    drop(browser);
    app.restart().await;
    let mut second = Browser::new(&app);
    second.log_in("second@platform.example", PASSWORD).await;
    assert_eq!(to_do(&mut second).await, None);
    app.finish().await;
}

#[tokio::test]
async fn a_platform_that_has_grown_needs_no_checklist() {
    let app = TestApp::start().await;
    let mut browser = operator(&app).await;
    for _ in 1..ringback::limits::CHECKLIST_VENDORS {
        app.vendor().await;
    }
    assert!(to_do(&mut browser).await.is_some());
    app.vendor().await;
    assert_eq!(to_do(&mut browser).await, None);
    app.finish().await;
}
