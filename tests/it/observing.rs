//! What the program lets people and machines see of it.

use serde_json::{Value, json};

use crate::bad_days::{Place, Server, connected, log_of, one_line, run};
use crate::harness::until;
use crate::receiver::{Answer, Receiver};

// --- Logs --------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn log_lines_are_json_where_that_is_asked_for() {
    let (place, hook) = (Place::with_database(), Receiver::start().await);
    let mut server = Server::with(&place, &[("log", "ringback=debug"), ("log_format", "json")]);
    let token = place.token();
    let (vendor, _) = connected(&server, &token, &hook).await;
    hook.next([Answer::status(500)]);
    let reports = json!({"reports": [{"vendor_id": vendor, "reference_no": "R-1", "status": "success"}]});
    server.call("POST", "/v1/reports", &token, reports).await.expect(200);
    until("the second attempt", || async { (hook.count() == 2).then_some(()) }).await;
    server.terminate();
    assert_eq!(server.ended().await, Some(0));
    let log = log_of(place.folder.path());
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string()), "{log}");
    let failed = lines.iter().find(|line| line["message"] == "an attempt failed").expect("the failure is logged");
    assert_eq!((&failed["outcome"], &failed["status"], &failed["attempt"]), (&json!("rejected"), &json!(500), &json!(1)));
    assert!(failed["endpoint.id"].as_str().is_some_and(|id| id.starts_with("ep_")), "{failed}");
}

#[test]
fn another_log_format_is_refused() {
    let said = one_line(&run(&[("log_format", "xml")], &["config", "check"]), 64);
    assert!(said.contains("log_format must be text or json"), "{said}");
}
