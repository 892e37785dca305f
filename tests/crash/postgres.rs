//! A PostgreSQL server of the test's own, to be stopped in the midst of everything.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::CertifiedKey;
use tempfile::TempDir;

/// A server with its data in a temporary folder. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    /// Where it listens, on this machine.
    pub port: u16,
}

impl Postgres {
    /// Starts a fresh one, as durable as it comes.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let postgres = Self { folder, programs: programs(), port };
        postgres.give_folder();
        postgres.run("initdb", &["-U", "ringback", "-A", "trust", "-E", "UTF8", "--no-locale"]);
        postgres.resume();
        postgres
    }

    /// Another one that follows this one, and that this one waits for before it confirms anything.
    pub fn follower(&self) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let follower = Self { folder, programs: programs(), port };
        follower.give_folder();
        let from = format!("host=127.0.0.1 port={} user=ringback", self.port);
        // Without -w: the name under which it follows is the one that is waited for.
        follower.run("pg_basebackup", &["-R", "-X", "stream", "-c", "fast", "-d", &format!("{from} application_name=follower")]);
        follower.resume();
        let settings = self.data().join("postgresql.auto.conf");
        std::fs::write(settings, "synchronous_standby_names = 'follower'\nsynchronous_commit = on\n").expect("the settings are written");
        self.run("pg_ctl", &["reload"]);
        follower
    }

    /// Names of those that it waits for before it confirms anything.
    pub async fn waits_for(&self) -> Vec<String> {
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await.expect("the database");
        tokio::spawn(connection);
        const SYNCHRONOUS: &str = "SELECT application_name FROM pg_stat_replication WHERE sync_state = 'sync'";
        client.query(SYNCHRONOUS, &[]).await.expect("an answer").iter().map(|row| row.get(0)).collect()
    }

    /// Makes a follower one that is followed.
    pub fn promote(&self) {
        self.run("pg_ctl", &["-w", "promote"]);
    }

    /// How Ringback reaches this one or another one, whichever can be written to.
    pub fn url_with(&self, other: &Self) -> String {
        format!("postgres://ringback@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write", self.port, other.port)
    }

    fn give_folder(&self) {
        if let Some(owner) = owner() {
            std::os::unix::fs::chown(self.folder.path(), Some(owner), None).expect("the folder is given to postgres");
        }
    }

    /// Makes it speak TLS from its next start on, as `localhost`; answers the file of the authority that says so.
    pub fn certify(&self) -> PathBuf {
        let CertifiedKey { cert, key_pair } = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        for (name, text) in [("server.crt", cert.pem()), ("server.key", key_pair.serialize_pem())] {
            let path = self.data().join(name);
            std::fs::write(&path, text).expect("it is written");
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("nobody else may read it");
            std::os::unix::fs::chown(&path, owner(), None).expect("it is given to postgres");
        }
        let settings = self.data().join("postgresql.auto.conf");
        std::fs::write(settings, "ssl = on\n").expect("the settings are written");
        self.data().join("server.crt")
    }

    /// How Ringback reaches it.
    pub fn url(&self) -> String {
        Self::url_by(self.port)
    }

    /// Makes another database, which is empty; answers how Ringback reaches it.
    pub async fn make(&self, name: &str) -> String {
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await.expect("the database");
        tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("it is made");
        format!("postgres://ringback@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs statements.
    pub async fn execute(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await.expect("the database");
        tokio::spawn(connection);
        client.batch_execute(sql).await.expect("they run");
    }

    /// How Ringback reaches it by another port.
    pub fn url_by(port: u16) -> String {
        format!("postgres://ringback@127.0.0.1:{port}/postgres")
    }

    /// Starts it again.
    pub fn resume(&self) {
        let options = format!("-k '{}' -c listen_addresses=127.0.0.1 -c port={}", self.folder.path().display(), self.port);
        let log = self.folder.path().join("log").display().to_string();
        self.run("pg_ctl", &["-w", "-l", &log, "-o", &options, "start"]);
    }

    /// Stops it as a power cut would: no connection is told, and it recovers from its log when it starts again.
    pub fn crash(&self) {
        self.run("pg_ctl", &["-w", "-m", "immediate", "stop"]);
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command.arg("-D").arg(self.data()).args(arguments).current_dir(self.folder.path());
        // Without pipes: the server that pg_ctl starts would hold them open.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(owner) = owner() {
            command.uid(owner).gid(owner_group());
        }
        let status = command.status().unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?}: {status}\n{log}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.data().join("postmaster.pid").exists() {
            self.crash();
        }
    }
}

/// Where its programs are: those of Debian's newest version, or those on the path.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.max_by_key(|path| number(path)).map(|path| path.join("bin")).unwrap_or_default()
}

/// Whom it runs as where we are root, as whom it refuses to run.
pub fn owner() -> Option<u32> {
    rustix::process::geteuid().is_root().then(|| id("-u"))
}

pub fn owner_group() -> u32 {
    id("-g")
}

fn id(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("there is a user postgres")
}
