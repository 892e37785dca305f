//! The store on a real PostgreSQL: the one that `RINGBACK_TEST_POSTGRES` names, each test in a schema of its own.

use std::sync::Arc;

use ringback::clock::{Environment, Ids, ManualClock, SeededEntropy};
use ringback::domain::recharge::Status;
use ringback::limits;
use ringback::store::StoreError;
use ringback::store::postgres::{OpenOptions, PostgresStore};
use ringback::store::seal::MasterKey;
use tokio_postgres::{Client, Config, NoTls};

use crate::harness::{START, Subject, accept, report};

/// A fresh store in a schema of its own.
pub async fn fresh() -> Subject {
    let place = Schema::new().await;
    let store = place.open().await.unwrap();
    let environment = place.environment.clone();
    let mut subject = Subject::new(store, &environment, place);
    subject.sweep_step = limits::SWEEP_STEP_ROWS_BESIDE;
    subject
}

/// A place for a store's tables, and what it is opened with.
pub struct Schema {
    server: String,
    pub name: String,
    pub key: MasterKey,
    pub environment: Environment,
}

#[allow(clippy::disallowed_methods, reason = "a test has no configuration to read it from")]
fn server() -> String {
    std::env::var("RINGBACK_TEST_POSTGRES")
        .expect("RINGBACK_TEST_POSTGRES names no PostgreSQL server; run `make test`, or the tests through scripts/with-postgres")
}

impl Schema {
    pub async fn new() -> Self {
        let server = server();
        let entropy = Arc::new(SeededEntropy::new(7));
        let key = MasterKey::generate(&*entropy);
        let environment = Environment { clock: Arc::new(ManualClock::at(START)), entropy, ids: Arc::new(Ids::new(0)) };
        let chance: u64 = rand::random();
        let schema = Self { server, name: format!("exam_{chance:016x}"), key, environment };
        schema.client().await.batch_execute(&format!("CREATE SCHEMA {}", schema.name)).await.unwrap();
        schema
    }

    /// A connection beside the store's.
    pub async fn client(&self) -> Client {
        let mut config: Config = self.server.parse().unwrap();
        let (client, connection) = config.options(format!("-c search_path={}", self.name)).connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub fn url(&self) -> String {
        format!("{}?application_name={}&options=-c%20search_path%3D{1}", self.server, self.name)
    }

    pub fn options(&self) -> OpenOptions {
        let (url, master_key, environment) = (self.url(), self.key.clone(), self.environment.clone());
        OpenOptions { url, master_key, previous_key: None, environment, membership: None }
    }

    pub async fn open(&self) -> Result<PostgresStore, StoreError> {
        PostgresStore::open(self.options()).await
    }

    /// Names of its tables.
    async fn tables(&self) -> Vec<String> {
        let rows = self.client().await.query("SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", &[&self.name]).await;
        rows.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let drops = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&server, NoTls).await.unwrap();
                tokio::spawn(connection);
                client.batch_execute(&format!("DROP SCHEMA {name} CASCADE")).await.unwrap();
            });
        };
        std::thread::spawn(drops).join().unwrap();
    }
}

/// Why a store was not opened.
async fn refusal(options: OpenOptions) -> String {
    match PostgresStore::open(options).await {
        Err(StoreError::Unusable(text)) => text,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_master_key_is_refused() {
    let place = Schema::new().await;
    drop(place.open().await.unwrap());
    let key = MasterKey::generate(&SeededEntropy::new(8));
    let text = refusal(OpenOptions { master_key: key, ..place.options() }).await;
    assert!(text.contains("the master key is not the one this database was made with"), "{text}");
    assert!(place.open().await.is_ok(), "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_programs_database_is_left_alone() {
    let place = Schema::new().await;
    place.client().await.batch_execute("CREATE TABLE meta (name TEXT)").await.unwrap();
    let text = refusal(place.options()).await;
    assert!(text.contains("another program's") && text.contains("--database"), "{text}");
    assert_eq!(place.tables().await, ["meta"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_versions_tables_are_left_alone() {
    let place = Schema::new().await;
    drop(place.open().await.unwrap());
    let newer = "INSERT INTO refinery_schema_history VALUES (9999, 'newer', '2030-01-01T00:00:00Z', '1')";
    place.client().await.batch_execute(newer).await.unwrap();
    let text = refusal(place.options()).await;
    assert!(text.contains("not those of this version"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_what_it_confirmed_is_refused() {
    let place = Schema::new().await;
    let url = format!("{}%20-c%20synchronous_commit%3Doff", place.url());
    let text = refusal(OpenOptions { url, ..place.options() }).await;
    assert!(text.contains("synchronous_commit = off"), "{text}");
    assert!(place.tables().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_nowhere_says_what_to_do() {
    let place = Schema::new().await;
    for (url, says) in [
        ("postgres://ringback@127.0.0.1:1/postgres", "check the address given with --database"),
        ("postgres://ringback@127.0.0.1:nothing/postgres", "write postgres://user:password@host:5432/name"),
        ("postgres://ringback@127.0.0.1/a?colour=red", "colour"),
        ("postgres://ringback@127.0.0.1/a?sslmode=verify", "sslmode=verify is not disable, allow"),
        ("postgres://ringback@127.0.0.1/a?sslcert=/a.pem", "write postgres://user:password@host:5432/name"),
    ] {
        let text = refusal(OpenOptions { url: url.to_owned(), ..place.options() }).await;
        assert!(text.contains(says), "{url}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_keep_every_name_is_refused() {
    let place = Schema::new().await;
    let database = format!("latin_{}", place.name);
    const LATIN: &str = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    place.client().await.batch_execute(&format!("CREATE DATABASE {database} {LATIN}")).await.unwrap();
    let url = place.server.replace("/postgres", &format!("/{database}"));
    let text = refusal(OpenOptions { url, ..place.options() }).await;
    place.client().await.batch_execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await.unwrap();
    assert!(text.contains("encoding LATIN1") && text.contains("UTF8"), "{text}");
}

/// The database's own words, and what to grant.
#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_named() {
    let place = Schema::new().await;
    let role = format!("plain_{}", place.name);
    let client = place.client().await;
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {} TO {role}", place.name)).await.unwrap();
    let url = place.url().replace("ringback@", &format!("{role}@"));
    let text = refusal(OpenOptions { url, ..place.options() }).await;
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    assert!(text.contains("permission denied for schema") && text.contains("GRANT USAGE, CREATE") && text.contains(&role), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_named() {
    let place = Schema::new().await;
    let url = format!("{}%20-c%20default_transaction_read_only%3Don", place.url());
    for _ in 0..2 {
        let text = refusal(OpenOptions { url: url.clone(), ..place.options() }).await;
        assert!(text.contains("in a read-only transaction") && text.contains("default_transaction_read_only = off"), "{text}");
        // The second time the tables are there.
        drop(place.open().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_that_start_at_once_make_the_tables_once() {
    let place = Schema::new().await;
    let options = place.options();
    let opened = crate::harness::eight(|_| PostgresStore::open(options.clone())).await;
    assert!(opened.iter().all(Result::is_ok), "{:?}", opened.iter().filter_map(|opened| opened.as_ref().err()).collect::<Vec<_>>());
}

/// A connection that was cut comes back with the next call, and nothing is lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_come_back() {
    let (on, place) = fresh_in(Schema::new().await).await;
    let side = on.side().await;
    for round in 1..=3 {
        on.store.ready().await.unwrap();
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        let cut = place.client().await.query(cut, &[&place.name]).await.unwrap().len();
        assert!(cut >= 2, "the one that writes, and one that reads");
        let judged = on.judge(START, report(side, &format!("after cut {round}"), Status::Success)).await;
        assert_eq!(judged.event, Some(round));
    }
}

/// Nothing that is secret can be read in the tables.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_sealed() {
    let (on, place) = fresh_in(Schema::new().await).await;
    let side = on.side().await;
    let id = on.connected(side).await;
    let settings = on.store.endpoint(id).await.unwrap().unwrap().settings;
    let row = place.client().await.query_one("SELECT secret FROM endpoint WHERE id = $1", &[&id.get()]).await.unwrap();
    let (stored, secret): (Vec<u8>, _) = (row.get(0), settings.secret.expose());
    assert!(stored.len() > secret.len() && !stored.windows(secret.len()).any(|window| window == secret));
}

/// A fresh store, and its place to look at it from beside.
async fn fresh_in(place: Schema) -> (Subject, Arc<Schema>) {
    let (store, place) = (place.open().await.unwrap(), Arc::new(place));
    (Subject::new(store, &place.environment, Arc::clone(&place)), place)
}

/// After a failover the old primary may keep its connections, although it only reads from then on. Statements are refused on
/// those sessions that were there before, as it would refuse them.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_may_no_longer_write_are_replaced() {
    let (subject, place) = fresh_in(Schema::new().await).await;
    let side = subject.side().await;
    subject.judged(START, vec![report(side, "R-1", Status::Queued)]).await;
    let name = &place.name;
    let demote = format!(
        "CREATE TABLE demoted AS SELECT pid FROM pg_stat_activity WHERE application_name = '{name}';
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF pg_backend_pid() IN (SELECT pid FROM {name}.demoted) THEN
                 RAISE 'cannot execute UPDATE in a read-only transaction' USING ERRCODE = '25006';
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON stream FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
    );
    place.client().await.batch_execute(&demote).await.unwrap();
    let mut refused = 0;
    let settled = loop {
        let writes = vec![accept(START, vec![report(side, "R-2", Status::Success)])];
        match subject.store.commit(writes).await.1 {
            Ok(written) => break written,
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
        }
        refused += 1;
        assert!(refused < 100, "no session is replaced");
        tokio::time::sleep(limits::RECONNECT_MIN).await;
    };
    assert_eq!(settled.len(), 1);
    assert!(refused > 0, "a session that was there is asked first");
    // What is read there may be old by now.
    let client = place.client().await;
    let moment: std::time::SystemTime = client.query_one("SELECT clock_timestamp()", &[]).await.unwrap().get(0);
    for _ in 0..2 * limits::READERS {
        subject.store.events_after(side.stream, None, 10).await.unwrap();
    }
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE pid IN (SELECT pid FROM demoted) AND query_start > $1";
    assert_eq!(client.query_one(asked, &[&moment]).await.unwrap().get::<_, i64>(0), 0, "the old sessions are not asked again");
}
