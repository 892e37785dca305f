//! `ringback reconcile`: a provider's statement next to the ledger, on the command line.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Setup, TestApp, Vendor, text, until};
use crate::process_errors::{one_line, run};
use crate::receiver::{Answer, Receiver};

fn configuration(url: &str, statement: &str) -> String {
    format!(
        r#"
[[provider]]
name = "topup"
submit = {{ url = "{url}/use/", body = {{ reference = "{{reference}}" }} }}
enquire = {{ url = "{url}/status/", body = {{ reference = "{{reference}}" }} }}
answer = {{ state = "state", success = ["Success"], failed = ["Failed"] }}
statement = {{ {statement} }}
"#
    )
}

const COLUMNS: &str = r#"reference = "Reference", state = "State", amount = "Amount""#;

/// Three recharges of 1000, 1000 and 50 that succeeded, a minute apart.
struct Scene {
    app: TestApp,
    vendor: Vendor,
    folder: TempDir,
    ids: Vec<String>,
}

impl Scene {
    async fn set(statement: &str) -> Self {
        let provider = Receiver::start().await;
        provider.always(Answer::status(200).with_body(json!({"state": "Success"}).to_string()));
        let file = configuration(provider.url().trim_end_matches("/hook"), statement);
        let app = Setup::default().file(&file).start().await;
        let vendor = app.vendor().await;
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("ringback.toml"), file).expect("it is written");
        let mut ids = Vec::new();
        for (at, amount) in ["1000", "1000", "50"].into_iter().enumerate() {
            let order = json!({"reference_no": format!("R-{at}"), "operator_id": 1, "connection_no": "9801234567", "amount": amount});
            let made = app.post("/v1/recharges", &vendor.live, order).await.expect(201);
            let path = format!("/v1/recharges/{}", text(&made["id"]));
            until("it succeeded", || async { (app.get(&path, &vendor.live).await.expect(200)["status"] == "success").then_some(()) }).await;
            ids.push(text(&made["id"]));
            app.advance(Duration::from_secs(60));
        }
        Self { app, vendor, folder, ids }
    }

    /// Runs the command: its exit code, stdout and stderr.
    async fn reconcile(&self, statement: &[u8], options: &[&str]) -> (i32, String, String) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        std::fs::write(path("statement.csv"), statement).expect("it is written");
        let (file, settings, database) = (path("statement.csv"), path("ringback.toml"), format!("sqlite:{}", self.app.file().display()));
        let mut words = vec!["reconcile", "--provider", "topup", "--config", &settings, "--database", &database];
        words.extend_from_slice(options);
        words.push(&file);
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let run = move || run(&[], &words.iter().map(String::as_str).collect::<Vec<_>>());
        let output = tokio::task::spawn_blocking(run).await.expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }

    /// The same as JSON: the exit code, the differences, and the summary.
    async fn compared(&self, statement: &[u8], options: &[&str]) -> (i32, Vec<Value>, Value) {
        let (code, out, error) = self.reconcile(statement, &[&["--format", "json"], options].concat()).await;
        let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let summary = lines.pop().unwrap_or_else(|| panic!("{error}"));
        (code, lines, summary)
    }
}

#[tokio::test]
async fn a_statement_is_compared_however_a_spreadsheet_wrote_it() {
    let scene = Scene::set(COLUMNS).await;
    let [first, second, third] = scene.ids.as_slice() else { panic!("three") };
    let german = format!(
        "Mai\r\n\r\nNAME;reference ;STATE;amount\r\nJosé;{first};Success;1.000,00\r\nx;{second};success;1.000\r\ny;{third};Success;50,00 NPR\r\n"
    );
    let utf16: Vec<u8> = german.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin: Vec<u8> = german.chars().map(|letter| u8::try_from(u32::from(letter)).expect("Latin-1")).collect();
    let english = format!(
        "Reference,State,Amount\n{first},Success,\"1,000.00\"\n{second},Success,\"Rs. 1,000\"\n{third},Success,50\nTotal,,\"2,050.00\"\n"
    );
    for statement in
        [german.as_bytes(), &utf16, &latin, english.as_bytes(), english.replace(',', "\t").replace("1\t000", "1,000").as_bytes()]
    {
        let (code, differences, summary) = scene.compared(statement, &[]).await;
        assert_eq!((code, &summary["rows"], &summary["matched"]), (0, &json!(3), &json!(3)), "{differences:?}");
    }
    let ambiguous = format!("Reference;State;Amount\n{first};Success;1.000\n{second};Success;1.000\n{third};Success;50\n");
    assert_eq!(scene.compared(ambiguous.as_bytes(), &["--decimal", "comma"]).await.0, 0);
    let (code, differences, _) = scene.compared(ambiguous.as_bytes(), &[]).await;
    assert_eq!((code, differences.len()), (3, 2), "a point is a decimal point where nothing else is known");
    let row = &differences[0];
    assert_eq!((&row["kind"], &row["our_amount"], &row["their_amount"]), (&json!("amount"), &json!("1000.00"), &json!("1.000")));
    assert_eq!((&row["vendor"], &row["vendor_id"], &row["connection_no"]), (&json!("Shop"), &json!(scene.vendor.id), &json!("•••567")));
    assert_eq!((&row["reference"], &row["line"]), (&json!(first), &json!(2)));
    let (code, differences, _) = scene.compared(format!("{english}{first},Failed,x1\n").as_bytes(), &[]).await;
    assert_eq!((code, differences[0]["kind"].as_str()), (3, Some("twice")));
    let unquoted = english.replace("\"Rs. 1,000\"", "1,000.00");
    let (code, differences, _) = scene.compared(unquoted.as_bytes(), &[]).await;
    assert_eq!(
        (code, differences.len(), &differences[0]["kind"]),
        (3, 1, &json!("unreadable")),
        "a row that cannot be read is not missing"
    );
    let (code, differences, _) = scene.compared(english.replace(",50\n", ",5O\n").as_bytes(), &[]).await;
    assert_eq!((code, differences.len(), &differences[0]["kind"]), (3, 1, &json!("unreadable")));
    assert!(text(&differences[0]["what_to_do"]).starts_with("line 4, column Amount: \"5O\""), "{differences:?}");
    scene.app.finish().await;
}

#[tokio::test]
async fn a_statement_that_ends_early_is_said_to() {
    let scene = Scene::set(COLUMNS).await;
    let rows: Vec<String> = scene.ids.iter().map(|id| format!("{id},Success,\n")).collect();
    let statement = |rows: &[String]| format!("Reference,State,Amount\n{}", rows.concat());
    let (code, out, _) = scene.reconcile(statement(&rows).as_bytes(), &[]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("compared: 2026-") && out.contains("missing there: 0") && !out.contains("ends early"), "{out}");
    let (code, out, _) = scene.reconcile(statement(&rows[..2]).as_bytes(), &[]).await;
    assert_eq!(code, 3, "{out}");
    assert!(out.contains("ends early: 1 recharge here is later") && out.contains("missing there: 1"), "{out}");
    // Bounds hold for both sides.
    let second = scene.app.get(&format!("/v1/recharges/{}", scene.ids[1]), &scene.vendor.live).await.expect(200);
    let time = text(&second["created_at"]);
    let (code, differences, summary) = scene.compared(statement(&rows[..1]).as_bytes(), &["--until", &time]).await;
    assert_eq!((code, differences.len(), &summary["to"]), (0, 0, &json!(time)));
    let (code, differences, summary) = scene.compared(statement(&rows[..1]).as_bytes(), &["--since", &time]).await;
    assert_eq!((code, differences.len(), &summary["outside_range"], &summary["from"]), (3, 2, &json!(1), &json!(time)));
    // A row that ends in the middle.
    let (code, differences, summary) =
        scene.compared(format!("{}{}", statement(&rows[..2]), scene.ids[2]).as_bytes(), &["--until", &time]).await;
    assert_eq!((code, &differences[0]["kind"]), (3, &json!("cut")));
    assert!(text(&summary["cut"]).contains("line 4, ends after 1 of 3 cells"), "{summary}");
    // Nothing to compare.
    let (code, out, error) = scene.reconcile(b"Reference,State,Amount\n", &[]).await;
    assert!(code == 1 && out.is_empty() && error.contains("has no rows; say --since"), "{error}");
    let (code, _, error) = scene.reconcile(b"Reference;Status\na;b\n", &[]).await;
    assert!(code == 1 && error.contains("no column State, Amount; the line most like column names is line 1"), "{error}");
    assert_eq!(scene.reconcile(b"", &["--decimal", "dot"]).await.0, 64);
    assert_eq!(scene.reconcile(b"", &["--since", &time, "--until", &time]).await.0, 64);
    let missing = run(&[], &["reconcile", "--provider", "nobody", "x.csv"]);
    assert!(one_line(&missing, 1).contains("there is no provider nobody"));
    scene.app.finish().await;
}

#[tokio::test]
async fn a_statement_of_ringbacks_own_is_checked_by_its_trailer() {
    let scene = Scene::set(r#"reference = "id", state = "status", amount = "amount", decimal = "point""#).await;
    let whole = scene.app.get("/v1/recharges.csv", &scene.vendor.live).await.expect_text(200).to_owned();
    let (code, differences, _) = scene.compared(whole.as_bytes(), &[]).await;
    assert_eq!((code, differences.len()), (0, 0), "{differences:?}");
    let lines = whole.split_inclusive('\n').collect::<Vec<_>>();
    let without = |line: usize| [&lines[..line], &lines[line + 1..]].concat().concat();
    for (cut, problem) in [
        (lines[..4].concat(), "# count and # sha256, are missing"),
        (whole[..whole.len() - 9].to_owned(), "# sha256 is not"),
        (without(3), "it has 2 rows, and its # count says 3"),
        (whole.replace("50.00", "50.0"), "# sha256 is not"),
    ] {
        let (code, differences, summary) = scene.compared(cut.as_bytes(), &[]).await;
        assert_eq!((code, &differences[0]["kind"]), (3, &json!("cut")), "{cut}");
        assert!(text(&summary["cut"]).contains(problem), "{summary}");
    }
    scene.app.finish().await;
}
