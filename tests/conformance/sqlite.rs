//! What only the SQLite file promises: how it is set up, what is refused at the door, and what is on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringback::clock::{Environment, Ids, ManualClock, SeededEntropy};
use ringback::domain::endpoint::Endpoint;
use ringback::domain::id::StreamId;
use ringback::domain::recharge::{Status, Verdict};
use ringback::domain::token::{Scope, Token, TokenText};
use ringback::domain::vendor::Vendor;
use ringback::limits;
use ringback::store::seal::MasterKey;
use ringback::store::sqlite::{OpenOptions, SqliteStore};
use ringback::store::{Judged, OpenQuery, Portion, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::commands::Deeds;
use crate::endpoints::rich_settings;
use crate::harness::{START, Side, Subject, accept, at, failed, first, report, succeeded};

/// A fresh store in a folder of its own.
pub async fn fresh() -> Subject {
    let file = File::new();
    let store = file.open().unwrap();
    let environment = file.environment.clone();
    Subject::new(store, &environment, file)
}

/// A place for a database file, and what it is opened with.
pub struct File {
    folder: TempDir,
    pub key: MasterKey,
    pub environment: Environment,
}

impl File {
    pub fn new() -> Self {
        let entropy = Arc::new(SeededEntropy::new(7));
        let key = MasterKey::generate(&*entropy);
        let environment = Environment { clock: Arc::new(ManualClock::at(START)), entropy, ids: Arc::new(Ids::new(0)) };
        Self { folder: TempDir::new().unwrap(), key, environment }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ringback.db")
    }

    pub fn open_with(&self, master_key: MasterKey) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(OpenOptions { path: self.path(), master_key, previous_key: None, environment: self.environment.clone() })
    }

    /// With a new key, while what the previous one sealed still opens.
    pub fn open_rotating(&self, master_key: MasterKey, previous: MasterKey) -> Result<SqliteStore, StoreError> {
        let (path, environment) = (self.path(), self.environment.clone());
        SqliteStore::open(OpenOptions { path, master_key, previous_key: Some(previous), environment })
    }

    pub fn open(&self) -> Result<SqliteStore, StoreError> {
        self.open_with(self.key.clone())
    }

    pub fn subject(&self) -> Subject {
        Subject::new(self.open().unwrap(), &self.environment, ())
    }

    /// What is in the folder, byte by byte.
    pub fn bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut files: Vec<_> =
            entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
        files.sort();
        files
    }

    /// Names of the files that are not what they were.
    pub fn changed_since(&self, before: &[(PathBuf, Vec<u8>)]) -> Vec<String> {
        let after = self.bytes();
        let (gone, new) = (before.iter().filter(|file| !after.contains(file)), after.iter().filter(|file| !before.contains(file)));
        gone.map(|file| (file, "is not as it was"))
            .chain(new.map(|file| (file, "is new")))
            .map(|((path, bytes), what)| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                format!("{name} of {} bytes {what}", bytes.len())
            })
            .collect()
    }

    pub fn look(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> T {
    conn.pragma_query_value(None, name, |row| row.get(0)).unwrap()
}

/// Why it was refused.
pub fn refusal(opened: Result<SqliteStore, StoreError>) -> String {
    match opened {
        Err(StoreError::Unusable(text)) => text,
        Err(other) => panic!("not a refusal for people: {other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[test]
fn the_file_is_set_up_before_anything_is_in_it() {
    let file = File::new();
    let store = file.open().unwrap();
    let conn = file.look();
    assert_eq!(pragma::<i64>(&conn, "auto_vacuum"), 2, "INCREMENTAL, which only an empty file takes");
    assert_eq!(pragma::<String>(&conn, "journal_mode"), "wal");
    drop((store, conn));
    drop(file.open().unwrap());
    assert_eq!(pragma::<i64>(&file.look(), "auto_vacuum"), 2, "and so it stays");
}

#[test]
fn an_empty_file_is_a_new_database() {
    let file = File::new();
    std::fs::write(file.path(), b"").unwrap();
    drop(file.open().unwrap());
    assert_eq!(pragma::<i64>(&file.look(), "auto_vacuum"), 2);
}

/// The table of migrations is there, and none of them: the first start was killed just then.
#[test]
fn a_file_whose_first_start_was_killed_is_a_new_database() {
    let file = File::new();
    const HISTORY: &str = "CREATE TABLE refinery_schema_history \
        (version INT4 PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255))";
    file.look().execute(HISTORY, []).unwrap();
    drop(file.open().unwrap());
    file.look().execute("DROP TABLE meta", []).unwrap();
    assert!(refusal(file.open()).contains("another program's"), "with any more of it that is no excuse");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_master_key_is_refused_and_changes_nothing() {
    let file = File::new();
    let on = file.subject();
    on.connected(on.side().await).await;
    drop(on);
    let before = file.bytes();
    let text = refusal(file.open_with(MasterKey::generate(&*file.environment.entropy)));
    assert!(text.contains("master key"), "{text}");
    assert_eq!(file.changed_since(&before), [] as [String; 0]);
    drop(file.open().unwrap());
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let garbage: Vec<u8> = (0..20_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let disguised = [b"SQLite format 3\0".as_slice(), &garbage].concat();
    let text = b"Dear diary, this is not a database at all. ".repeat(100);
    for bytes in [garbage, disguised, text] {
        let file = File::new();
        std::fs::write(file.path(), bytes).unwrap();
        let before = file.bytes();
        let text = refusal(file.open());
        assert!(text.contains("ringback.db") && text.contains("not a readable SQLite database"), "{text}");
        assert_eq!(file.changed_since(&before), [] as [String; 0]);
    }
}

#[test]
fn a_damaged_database_is_refused_and_left_alone() {
    let file = File::new();
    drop(file.open().unwrap());
    let mut bytes = std::fs::read(file.path()).unwrap();
    bytes[100..].fill(0xA5);
    std::fs::write(file.path(), bytes).unwrap();
    let before = file.bytes();
    let text = refusal(file.open());
    assert!(text.contains("not a readable SQLite database") && text.contains("Restore it from a backup"), "{text}");
    assert_eq!(file.changed_since(&before), [] as [String; 0]);
}

#[test]
fn a_newer_ringbacks_database_is_refused_and_left_alone() {
    let file = File::new();
    drop(file.open().unwrap());
    const NEWER: &str = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
        SELECT 9999, 'from_the_future', applied_on, checksum FROM refinery_schema_history LIMIT 1";
    file.look().execute(NEWER, []).unwrap();
    let before = file.bytes();
    let text = refusal(file.open());
    assert!(text.contains("version of Ringback"), "{text}");
    assert_eq!(file.changed_since(&before), [] as [String; 0]);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let file = File::new();
    let path = file.folder.path().join("nowhere").join("ringback.db");
    let options = OpenOptions { path, master_key: file.key.clone(), previous_key: None, environment: file.environment.clone() };
    let text = refusal(SqliteStore::open(options));
    assert!(text.contains("nowhere") && text.contains("folder"), "{text}");
}

/// A sequence of PostgreSQL's may skip what a refused transaction took; here nothing may.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_spends_no_transaction_id() {
    let on = fresh().await;
    let side = on.side().await;
    let nowhere = Side { stream: StreamId::new(1), ..side };
    let refused = vec![accept(START, vec![report(side, "a", Status::Queued)]), accept(START, vec![report(nowhere, "b", Status::Queued)])];
    assert!(on.store.commit(refused).await.1.is_err());
    let (judged, _) = on.judged(START, ["a", "b"].map(|reference| report(side, reference, Status::Queued)).to_vec()).await;
    let mut ids = Vec::new();
    for Judged { recharge, verdict, .. } in judged {
        assert_eq!(verdict, Verdict::Created);
        ids.push(on.store.recharge(recharge).await.unwrap().unwrap().0.transaction_id);
    }
    assert_eq!(ids, [100_001, 100_002]);
}

pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Reads the database and its log, before and after the store is closed.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_not_on_the_disk() {
    let file = File::new();
    let on = file.subject();
    let side = on.side().await;
    let mut settings = rich_settings();
    let endpoint = Endpoint { settings: settings.clone(), ..on.new_endpoint(side) };
    on.store.create_endpoint(endpoint.clone(), 10).await.unwrap();
    settings.secret = ringback::domain::secret::Secret::new("the secret after its rotation");
    on.resettle(endpoint.id, settings).await;
    let token = TokenText::new(&Scope::Operator, &[42; 24]);
    on.store.create_token(operators(&on), token.hash()).await.unwrap();
    let key = file.key.to_base64();
    let hidden: [&[u8]; 6] = [
        b"the secret that signs everything",
        b"the secret after its rotation",
        b"the seed of its ed25519 key pair",
        b"custom header value",
        token.expose().as_bytes(),
        key.as_bytes(),
    ];
    let look = |on_disk: Vec<(PathBuf, Vec<u8>)>| {
        let all: Vec<u8> = on_disk.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert!(contains(&all, b"https://vendor.example:8443/hook"), "it is the place where a secret would be");
        for part in hidden {
            assert!(!contains(&all, part), "{} is on the disk", String::from_utf8_lossy(part));
        }
    };
    look(file.bytes());
    drop(on);
    look(file.bytes());
}

fn operators(on: &Subject) -> Token {
    Token {
        id: on.ids.next(START).into(),
        scope: Scope::Operator,
        name: "op".to_owned(),
        allowed_ips: Vec::new(),
        created_at: START,
        last_used_at: None,
    }
}

/// Everything that was there before the store was closed, read through the trait.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_opened_again_has_everything() {
    let file = File::new();
    let on = file.subject();
    let (vendor, hash) = (on.vendor().await, ringback::domain::token::TokenHash::of("token"));
    let (side, token) = (Side::of(&vendor, ringback::domain::vendor::Mode::Live), operators(&on));
    on.store.create_token(token.clone(), hash).await.unwrap();
    let id = on.connected(side).await;
    on.resettle(id, rich_settings()).await;
    let reports = vec![report(side, "INV-1", Status::Success), report(side, "INV-2", Status::Failed)];
    let (judged, runs) = on.judged(START, reports).await;
    on.record(succeeded(&runs[0], 1, at(1))).await;
    on.record(failed(&runs[1], 1, at(1), at(6))).await;
    let endpoint = on.store.endpoint(id).await.unwrap();
    let recharge = on.store.recharge(judged[1].recharge).await.unwrap();
    drop(on);

    let on = file.subject();
    assert_eq!(on.store.vendors(first(10)).await.unwrap(), [vendor] as [Vendor; 1]);
    assert_eq!(on.store.token(hash).await.unwrap(), Some(token));
    assert_eq!(on.store.endpoint(id).await.unwrap(), endpoint);
    assert_eq!(on.store.recharge(judged[1].recharge).await.unwrap(), recharge);
    assert_eq!(on.delivery(runs[0].key).await.first_succeeded_at, Some(at(1)));
    let open = on.open_page(id, OpenQuery::Due { now: at(6) }, Portion::rows(10)).await.runs;
    assert_eq!((open.len(), open[0].key, open[0].attempts), (1, runs[1].key, 1));
    counts_on(&on, side).await;
}

async fn counts_on(on: &Subject, side: Side) {
    let duplicate = on.judge(at(2), report(side, "INV-1", Status::Success)).await;
    assert_eq!((duplicate.verdict, duplicate.event), (Verdict::Duplicate, Some(1)));
    let next = on.judge(at(2), report(side, "INV-3", Status::Success)).await;
    assert_eq!((next.verdict, next.event), (Verdict::Created, Some(3)), "numbers go on where they stood");
    let number = async |id| on.store.recharge(id).await.unwrap().unwrap().0.transaction_id;
    assert_eq!(number(next.recharge).await, number(duplicate.recharge).await + 2);
    let nowhere = Side { stream: StreamId::new(1), ..side };
    assert!(on.store.commit(vec![crate::harness::accept(at(3), vec![report(nowhere, "x", Status::Success)])]).await.1.is_err());
}

/// Ids begin with the time, and a new process knows only the clock, which may have been set back meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_the_clock_set_back_repeats_no_id() {
    let mut file = File::new();
    let on = file.subject();
    let side = on.side().await;
    on.judge(START, report(side, "INV-1", Status::Success)).await;
    drop(on);
    file.environment.ids = Arc::new(Ids::new(0));
    let on = file.subject();
    for number in 2..9 {
        let write = crate::harness::accept(START, vec![report(side, &format!("INV-{number}"), Status::Success)]);
        let (_, written) = on.store.commit(vec![write]).await;
        assert!(written.is_ok(), "{written:?}");
    }
}

/// A process that dies closes nothing: the log that it leaves is all there is.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_commit_answered_is_in_the_files() {
    let file = File::new();
    let on = file.subject();
    let side = on.side().await;
    let judged = on.judge(START, report(side, "INV-1", Status::Success)).await;
    let copy = File::new();
    for (path, bytes) in file.bytes() {
        if !is_shared_memory(&path) {
            std::fs::write(copy.folder.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
    let store = copy.open_with(file.key.clone()).unwrap();
    let on_copy = Subject::new(store, &copy.environment, ());
    let (recharge, _) = on_copy.store.recharge(judged.recharge).await.unwrap().unwrap();
    assert_eq!((recharge.status, recharge.event), (Status::Success, Some(1)));
}

/// The thread that writes can end only by a fault of the program's.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stops_takes_no_committer_with_it() {
    crate::group::a_store_that_stops_takes_no_committer_with_it(&fresh().await).await;
}

/// A writer that never rests does not make the log longer and longer: it is begun anew all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_an_end_under_a_flood() {
    const BATCHES: usize = 120;
    let file = File::new();
    let on = file.subject();
    let side = on.side().await;
    let log = file.folder.path().join("ringback.db-wal");
    let mut longest = 0;
    for batch in 0..BATCHES {
        // References without an order: each is a page of its own in their index.
        let reference = |number: usize| format!("{:08x}", ((batch * 300 + number) as u32).wrapping_mul(2_654_435_761));
        let reports = (0..300).map(|number| report(side, &reference(number), Status::Success)).collect();
        on.commit(vec![crate::harness::accept(START, reports)]).await;
        longest = longest.max(log.metadata().unwrap().len());
    }
    let begun_anew_from = limits::WAL_PAGES as u64 * 4096;
    assert!(longest > begun_anew_from, "so much was written that it had to: {longest} bytes");
    assert!(longest < 4 * begun_anew_from, "the log is {longest} bytes long");
}

fn is_shared_memory(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-shm")
}
