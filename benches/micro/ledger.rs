//! A ledger to measure on: a SQLite file of its own, with one vendor and one endpoint that listens.

use std::sync::Arc;
use std::time::Duration;

use ringback::clock::{Environment, Ids, ManualClock, SeededEntropy};
use ringback::domain::endpoint::{Endpoint, EndpointStatus, Settings};
use ringback::domain::id::StreamId;
use ringback::domain::recharge::{Details, Report, Status};
use ringback::domain::secret::Secret;
use ringback::domain::time::Timestamp;
use ringback::domain::vendor::{Mode, Vendor};
use ringback::store::seal::MasterKey;
use ringback::store::sqlite::{OpenOptions, SqliteStore};
use ringback::store::{Accept, Addressed, Change, Command, EndpointChange, Store, StoreError, Write, Written};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub const DAY: Duration = Duration::from_secs(24 * 3600);

pub struct Ledger {
    pub store: Arc<dyn Store>,
    pub environment: Environment,
    pub runtime: Runtime,
    stream: StreamId,
    master_key: MasterKey,
    folder: TempDir,
}

impl Ledger {
    pub fn new() -> Self {
        let (folder, entropy) = (folder(), Arc::new(SeededEntropy::new(7)));
        let master_key = MasterKey::generate(&*entropy);
        let environment = Environment { clock: Arc::new(ManualClock::at(START)), entropy, ids: Arc::new(Ids::new(0)) };
        let (store, stream) = (open(&folder, &master_key, &environment), environment.next_id().into());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ledger = Self { store, environment, runtime, stream, master_key, folder };
        ledger.add_vendor();
        ledger
    }

    /// One that has had so many thousands of reports. It was closed since, so that none of them is left in the log.
    pub fn with_thousands(reports: usize) -> Self {
        let filled = Self::new();
        for _ in 0..reports {
            filled.commit(vec![filled.reports(1000)]).1.unwrap();
        }
        let Self { store, environment, runtime, stream, master_key, folder } = filled;
        drop(store);
        let store = open(&folder, &master_key, &environment);
        Self { store, environment, runtime, stream, master_key, folder }
    }

    fn add_vendor(&self) {
        let id = || self.environment.next_id();
        let (vendor, endpoint) = (id().into(), id().into());
        let (name, email, streams) = ("Himal Mobile".to_owned(), "ops@himal.example".to_owned(), [self.stream, id().into()]);
        let settings = Settings::new("https://vendor.example/hook".parse().unwrap(), Secret::new([7; 32]));
        self.change(Command::CreateVendor(Vendor { id: vendor, name, email, disabled: false, created_at: START, streams }, Vec::new()));
        let made = Endpoint::new(endpoint, vendor, Mode::Live, self.stream, settings, START);
        self.change(Command::CreateEndpoint { endpoint: Box::new(made), most: 1 });
        let (from, to) = (&[EndpointStatus::NotConnected], EndpointStatus::Connected);
        let change = EndpointChange::Status { from, to, reason: None, by_rule: false, failing_since: None };
        self.change(Command::ChangeEndpoint { id: endpoint, change, deadline: DAY });
    }

    fn change(&self, command: Command) {
        self.commit(vec![Write::Change(Box::new(Change { command, now: START, note: None, keep: None }))]).1.unwrap();
    }

    /// Commits as the committer does.
    pub fn commit(&self, batch: Vec<Write>) -> (Vec<Write>, Result<Vec<Written>, StoreError>) {
        self.runtime.block_on(self.store.commit(batch))
    }

    /// Bytes of the write-ahead log.
    pub fn log_size(&self) -> u64 {
        std::fs::metadata(self.folder.path().join("ringback.db-wal")).map_or(0, |log| log.len())
    }

    /// The first reports of so many recharges, each with its outcome.
    pub fn reports(&self, count: usize) -> Write {
        let reports = (0..count).map(|_| Addressed { stream: self.stream, mode: Mode::Live, report: self.report() }).collect();
        Write::Accept(Accept { source: "report", now: START, deadline: DAY, reports })
    }

    fn report(&self) -> Report {
        let details = Details {
            amount: Some(5000),
            currency: Some("NPR".parse().unwrap()),
            network: Some("Ncell".to_owned()),
            connection_no: Some("9801234567".to_owned()),
            provider: Some("gateway".to_owned()),
            provider_ref: Some(self.reference()),
            reason: None,
        };
        Report { reference_no: self.reference(), status: Status::Success, details, occurred_at: None }
    }

    /// A reference that nobody has given; they come in no order.
    pub fn reference(&self) -> String {
        let mut number = [0; 8];
        self.environment.entropy.fill(&mut number);
        format!("INV-{:016x}", u64::from_le_bytes(number))
    }
}

/// A folder beside what is built, since the system's folder for temporary files may not be on a disk.
pub fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn open(folder: &TempDir, master_key: &MasterKey, environment: &Environment) -> Arc<dyn Store> {
    let (path, master_key) = (folder.path().join("ringback.db"), master_key.clone());
    let options = OpenOptions { path, master_key, previous_key: None, environment: environment.clone() };
    Arc::new(SqliteStore::open(options).unwrap())
}
