//! PostgreSQL behind PgBouncer: a pool of sessions works, one of transactions is refused.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::postgres::{Postgres, owner, owner_group};

struct Pooler {
    process: Child,
    _folder: TempDir,
    port: u16,
}

impl Pooler {
    fn start(postgres: &Postgres, mode: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = trust\n\
             auth_file = {}/users\npool_mode = {mode}\nunix_socket_dir =\n",
            postgres.port,
            folder.path().display()
        );
        std::fs::write(folder.path().join("settings.ini"), settings).expect("the settings are written");
        std::fs::write(folder.path().join("users"), "\"ringback\" \"\"\n").expect("the users are written");
        let program = if std::path::Path::new("/usr/sbin/pgbouncer").exists() { "/usr/sbin/pgbouncer" } else { "pgbouncer" };
        let mut command = Command::new(program);
        command.arg(folder.path().join("settings.ini")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(owner) = owner() {
            std::os::unix::fs::chown(folder.path(), Some(owner), None).expect("the folder is given to postgres");
            command.uid(owner).gid(owner_group());
        }
        let process = command.spawn().expect("pgbouncer starts; scripts/setup-tests installs it");
        Self { process, _folder: folder, port }
    }

    /// Makes a token, once the pooler listens; answers what was printed as an error.
    fn token(&self) -> Result<(), String> {
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            std::thread::yield_now();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringback"));
        command.args(["token", "create", "--operator", "--database", &Postgres::url_by(self.port)]).env_clear();
        command.env("RINGBACK_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let output = command.output().expect("the command runs");
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn a_pool_of_sessions_works_and_one_of_transactions_is_refused() {
    let postgres = Postgres::start();
    let sessions = Pooler::start(&postgres, "session");
    for _ in 0..2 {
        assert_eq!(sessions.token(), Ok(()));
    }
    for mode in ["transaction", "statement"] {
        let pooler = Pooler::start(&postgres, mode);
        let refused = pooler.token().expect_err("it is refused");
        assert!(refused.contains("pool_mode = session") && refused.contains("LISTEN"), "{mode}: {refused}");
    }
}
