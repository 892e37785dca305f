//! `ringback migrate-store`: from a file to a PostgreSQL database.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::app;
use crate::clock::Environment;
use crate::config::{Config, ConfigError, Database, Sources};
use crate::store::migrate::Step;
use crate::store::sqlite::DatabaseLock;

/// Arguments of `migrate-store`.
#[derive(Debug, Args)]
pub(super) struct MigrateStore {
    /// The file that has everything, as sqlite:ringback.db; its server must be stopped. It stays as it is
    #[arg(long, value_name = "URL")]
    from: String,
    /// An empty PostgreSQL database, as postgres://user:password@host:5432/ringback
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file with settings, in TOML; the master key may stand there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl MigrateStore {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let read = |flags| Config::read(Sources::of_process(self.config.clone(), flags));
        let mut problems = Vec::new();
        if !matches!(self.from.parse(), Ok(Database::Sqlite(_))) {
            problems.push("--from must be sqlite: and the path of a file".to_owned());
        }
        if !matches!(self.to.parse(), Ok(Database::Postgres(_))) {
            problems.push("--to must be postgres://user:password@host:5432/name".to_owned());
        }
        if !problems.is_empty() {
            bail!(ConfigError(problems));
        }
        let (from, environment) = (read(vec![("database", self.from)])?, Environment::system(0));
        super::is_there(&from, "--from")?;
        // Held to the end: nothing may be written to it any more.
        let _lock = from.database.file().map(DatabaseLock::acquire).transpose()?;
        // The key may be in the file's key file alone.
        let (key, _) = app::master_keys(&from, &environment)?;
        let to = read(vec![("database", self.to), ("master_key", key.to_base64())])?;
        let shows_progress = std::io::stderr().is_terminal();
        super::runtime()?.block_on(app::move_store(&from, &to, &environment, |step| match step {
            // Progress that cannot be told does not stop the move.
            Step::GoesOn => drop(outln!("going on where the last run ended")),
            Step::Wrote(table, rows) if shows_progress => drop(write!(std::io::stderr(), "\r{table}: {rows} rows\x1b[K")),
            Step::Wrote(..) => {}
            Step::Same(table, rows) => {
                let clear = if shows_progress { "\r\x1b[K" } else { "" };
                drop(write!(std::io::stderr(), "{clear}"));
                drop(outln!("{table:<15} {rows:>12} rows, the same on both sides"));
            }
        }))?;
        outln!(
            "everything is in {}; start the server on it with the same master key, and keep {} as a backup",
            to.database,
            from.database
        )?;
        Ok(())
    }
}
