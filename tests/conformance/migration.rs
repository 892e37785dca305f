//! A database of the version before is taken over as it is: opened, migrated, and everything in it read.

use ringback::domain::delivery::{DeliveryState, RunKey};
use ringback::domain::endpoint::EndpointStatus;
use ringback::domain::event::Facts;
use ringback::domain::id::{EndpointId, EventId, RechargeId, StreamId, VendorId};
use ringback::domain::recharge::{Status, Verdict};
use ringback::domain::token::TokenHash;
use ringback::domain::traffic::Traffic;
use ringback::domain::vendor::Mode;
use ringback::store::seal::{Place, Sealer};
use ringback::store::{ConflictQuery, Horizon, OpenQuery, Overview, Portion, SweepPlace, TimeRange};
use rusqlite::{Connection, params};

use crate::harness::{DAY, START, Side, Subject, at, first, report, succeeded};
use crate::sqlite::File;

/// What a file of the first version has, beside its tables.
const HISTORY: &str = "CREATE TABLE refinery_schema_history (version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), \
    checksum VARCHAR(255))";
const LEDGER: &str = include_str!("../../migrations/sqlite/V0001__ledger.sql");

const SIDE: Side = Side { vendor: VendorId::new(1), stream: StreamId::new(2), mode: Mode::Live };
const ENDPOINT: EndpointId = EndpointId::new(7);

fn id_at(second: i64, number: i64) -> i64 {
    ringback::clock::Ids::floor(at(second)).get() + number
}

/// The number that refinery knows the first migration by.
fn checksum() -> String {
    let file = File::new();
    drop(file.open().unwrap());
    file.look().query_row("SELECT checksum FROM refinery_schema_history WHERE version = 1", [], |row| row.get(0)).unwrap()
}

/// Makes a database as the first version left it: a vendor, an endpoint, six recharges with their events, deliveries in
/// every state, and a case.
fn first_version(file: &File) {
    let conn = Connection::open(file.path()).unwrap();
    conn.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL").unwrap();
    conn.execute_batch(HISTORY).unwrap();
    conn.execute_batch(LEDGER).unwrap();
    conn.execute("INSERT INTO refinery_schema_history VALUES (1, 'ledger', '2026-11-01T00:00:00Z', ?1)", [checksum()]).unwrap();
    let sealer = Sealer::new(&file.key, None, file.environment.entropy.clone());
    conn.execute(
        "INSERT INTO meta VALUES ('master key check', ?1)",
        [sealer.seal(&Place::before_columns("master key check"), b"ringback")],
    )
    .unwrap();
    conn.execute("INSERT INTO meta VALUES ('next transaction_id', 100007)", []).unwrap();
    conn.execute("INSERT INTO vendor VALUES (1, 'Himal Mobile', 'ops@himal.example', 0, ?1)", [START.as_millis()]).unwrap();
    conn.execute("INSERT INTO stream VALUES (2, 1, 0, 6, 3, ?1), (3, 1, 1, 1, 0, 0)", [at(5).as_millis()]).unwrap();
    conn.execute("INSERT INTO token VALUES (4, ?1, 1, 2, 'till', '203.0.113.0/24', 5, NULL)", [TokenHash::of("till").0]).unwrap();
    endpoint(&conn, &sealer);
    for (number, status) in (0..).zip([0, 0, 1, 1, 1, 2, 2]) {
        recharge(&conn, number, status);
    }
    deliveries(&conn);
    let case = params![id_at(9, 0), id_at(2, 0), at(9).as_millis()];
    conn.execute("INSERT INTO conflict VALUES (?1, ?2, 2, 'status', 'success', 'failed', 'api', ?3)", case).unwrap();
    conn.execute("INSERT INTO dedupe VALUES (2, 'paid-1', 5, 1)", []).unwrap();
}

fn endpoint(conn: &Connection, sealer: &Sealer) {
    let seal = |plain: &[u8]| sealer.seal(&Place::before_columns(ENDPOINT.to_string()), plain);
    const INSERT: &str = "INSERT INTO endpoint VALUES (7, 2, 'https://vendor.example/hook', 'till', 'recharge.*', 0, 0, NULL, ?1, 50, 3, 0, \
        NULL, ?2, NULL, 1, NULL, ?3, ?3, NULL)";
    let values = params![seal(br#"[["x-a", "1"]]"#), seal(b"the secret that signs everything"), START.as_millis()];
    conn.execute(INSERT, values).unwrap();
    conn.execute("INSERT INTO listening VALUES (7, 1, NULL, 'recharge.*', 0)", []).unwrap();
}

/// A recharge in this status, with its event if it has one.
fn recharge(conn: &Connection, number: i64, status: i64) {
    let (id, now, event) = (id_at(number, 0), at(number).as_millis(), (status > 0).then_some(number - 1));
    const INSERT: &str = "INSERT INTO recharge VALUES (?1, 2, ?2, ?3, ?4, 0, 5000, 'NPR', 'NTC', '9801234567', NULL, NULL, NULL, NULL, ?5, \
        ?6, 1, 'api')";
    let settled = event.map(|_| now);
    conn.execute(INSERT, params![id, format!("INV-{number}"), 100_000 + number, status, settled, event]).unwrap();
    let Some(event) = event else { return };
    let word = ["queued", "success", "failed"][status as usize];
    let facts = serde_json::json!({
        "id": RechargeId::new(id), "transaction_id": 100_000 + number, "reference_no": format!("INV-{number}"), "status": word,
        "amount": "50.00", "currency": "NPR", "operator": "NTC", "connection_no": "9801234567", "provider_ref": null, "reason": null,
        "settled_at": at(number),
    });
    const EVENT: &str = "INSERT INTO event VALUES (2, ?1, ?2, ?3, ?4)";
    conn.execute(EVENT, params![event, format!("recharge.{word}"), now, facts.to_string()]).unwrap();
}

/// Of the five events: delivered at once, at the second try, exhausted, failed once and waiting, not tried yet.
fn deliveries(conn: &Connection) {
    let deadline = |second| at(second).plus(DAY).as_millis();
    const ATTEMPT: &str = "INSERT INTO attempt VALUES (7, ?1, 1, 1, ?2, 1, 500, NULL, NULL, NULL, NULL, NULL, 900, NULL, NULL)";
    for sequence in [2, 3, 4] {
        conn.execute(ATTEMPT, params![sequence, at(20).as_millis()]).unwrap();
    }
    const ENDED: &str =
        "INSERT INTO ended_delivery VALUES (7, ?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 204, NULL, 1, 2, 3, 4, 10, NULL, x'6f6b')";
    let now = at(30).as_millis();
    conn.execute(ENDED, params![1, 1, None::<i64>, 1, deadline(2), now, now, 0]).unwrap();
    conn.execute(ENDED, params![2, 1, None::<i64>, 2, deadline(3), now, now, 0]).unwrap();
    const HELD: &str = "INSERT INTO ended_delivery (endpoint, sequence, run, state, end_reason, attempts, deadline, ended_at) \
        VALUES (7, 3, 1, 2, 0, 1, ?1, ?1)";
    conn.execute(HELD, [deadline(4)]).unwrap();
    const OPEN: &str = "INSERT INTO open_delivery VALUES (7, 4, 1, 1, ?1, ?2, ?3), (7, 5, 1, 0, ?4, NULL, NULL)";
    conn.execute(OPEN, params![deadline(5), at(90).as_millis(), at(20).as_millis(), deadline(6)]).unwrap();
}

fn migrated() -> (File, Subject) {
    let file = File::new();
    first_version(&file);
    let on = file.subject();
    (file, on)
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_of_an_old_database_are_right() {
    let (_file, on) = migrated();
    let expected = Overview {
        recharges: [2, 3, 2, 0],
        oldest_queued: Some(START),
        hour: Traffic::default(),
        day: Traffic::default(),
        failing: 0,
        disabled: 0,
        conflicts: 1,
        replays: 0,
        alerts: 0,
        stuck: 0,
    };
    assert_eq!(on.store.overview(at(100)).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_an_old_database_reads() {
    let (_file, on) = migrated();
    let vendor = on.store.vendor(SIDE.vendor).await.unwrap().unwrap();
    assert_eq!((vendor.name.as_str(), vendor.streams), ("Himal Mobile", [SIDE.stream, StreamId::new(3)]));
    assert_eq!(on.store.token(TokenHash::of("till")).await.unwrap().unwrap().name, "till");
    let endpoint = on.store.endpoint(ENDPOINT).await.unwrap().unwrap();
    assert_eq!(endpoint.settings.secret.expose(), b"the secret that signs everything");
    assert_eq!(endpoint.settings.headers, [("x-a".to_owned(), "1".to_owned())]);
    assert_eq!((endpoint.status, endpoint.by_rule, endpoint.paused_until), (EndpointStatus::Connected, false, None));
    assert_eq!((endpoint.settings.former.len(), endpoint.failing_since), (0, None));
    let (recharge, reports) = on.store.recharge(RechargeId::new(id_at(2, 0))).await.unwrap().unwrap();
    assert_eq!((recharge.status, recharge.event, reports.len()), (Status::Success, Some(1), 1));
    let event = on.store.event(EventId { stream: SIDE.stream, sequence: 1 }).await.unwrap().unwrap();
    assert!(matches!(&event.facts, Facts::Recharge(facts) if **facts == recharge.facts()));
    let query = ConflictQuery { state: None, recharge: None, range: TimeRange::default(), page: first(10) };
    let case = on.store.conflicts(query).await.unwrap().items.remove(0);
    assert_eq!((case.recharge, case.reason, case.resolved_at), (recharge.id, None, None));
    let mut states = Vec::new();
    for sequence in 1..=5 {
        let delivery = on.delivery(RunKey { endpoint: ENDPOINT, sequence, run: 1 }).await;
        states.push((delivery.state, delivery.attempts.len()));
    }
    use DeliveryState::{Exhausted, Pending, Succeeded};
    assert_eq!(states, [(Succeeded, 1), (Succeeded, 2), (Exhausted, 1), (Pending, 1), (Pending, 0)]);
    assert_eq!(on.store.missed(ENDPOINT).await.unwrap(), 0);
}

/// The engine finds what was open, and the ledger goes on where it stood.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_database_goes_on_where_it_stood() {
    let (_file, on) = migrated();
    let due = on.open_page(ENDPOINT, OpenQuery::Due { now: at(90) }, Portion::rows(10)).await.runs;
    assert_eq!((due.len(), due[0].key.sequence, due[0].attempts, due[0].deadline), (1, 4, 1, at(5).plus(DAY)));
    let fresh = on.open_page(ENDPOINT, OpenQuery::Fresh { after: 0 }, Portion::rows(10)).await.runs;
    assert_eq!((fresh.len(), fresh[0].key.sequence, fresh[0].replay), (1, 5, None));
    on.record(succeeded(&due[0], 2, at(91))).await;
    let judged = on.judge(at(92), report(SIDE, "INV-0", Status::Success)).await;
    assert_eq!((judged.verdict, judged.event), (Verdict::Accepted, Some(6)));
    let new = on.judge(at(93), report(SIDE, "INV-9", Status::Failed)).await;
    assert_eq!(on.store.recharge(new.recharge).await.unwrap().unwrap().0.transaction_id, 100_007);
    assert_eq!(on.store.overview(at(93)).await.unwrap().recharges, [1, 4, 3, 0]);
    let nothing = START;
    let horizon = Horizon { retention: at(4), recharges: None, audit: nothing, answers: nothing, traffic: nothing };
    let mut place = Some(SweepPlace::default());
    while let Some(at) = place {
        place = on.store.sweep(horizon, at).await.unwrap().next;
    }
    assert_eq!(on.store.events_after(SIDE.stream, None, 0).await.unwrap().oldest, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrated_database_has_the_tables_of_a_new_one() {
    let (file, on) = migrated();
    drop(on);
    let fresh = File::new();
    drop(fresh.open().unwrap());
    let tables = |file: &File| {
        let conn = file.look();
        let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'refinery%' ORDER BY name").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<Vec<(String, Option<String>)>, _>>().unwrap()
    };
    assert_eq!(tables(&file), tables(&fresh));
    let versions =
        |file: &File| -> i64 { file.look().query_row("SELECT count(*) FROM refinery_schema_history", [], |row| row.get(0)).unwrap() };
    assert_eq!(versions(&file), versions(&fresh));
}
