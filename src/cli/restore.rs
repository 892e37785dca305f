//! `ringback restore`: a backup in place of the database.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::Settings;
use crate::app::keys;
use crate::clock::Environment;
use crate::config::{Config, Database};
use crate::store::backup::{Kind, stamp};
use crate::store::seal::Sealer;
use crate::store::{postgres, sqlite};

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(flatten)]
    settings: Settings,
    /// The backup, made by ringback backup
    file: PathBuf,
    /// Put aside the database that is there
    #[arg(long)]
    force: bool,
    /// Event numbers and transaction ids to skip, because they may have been used since the backup
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(0..=1_000_000_000_000))]
    skip: i64,
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.settings.read_for_copy()?;
        let environment = Environment::system(0);
        let now = environment.clock.now();
        // It is printed when all is done: a stdout that cannot be written must not leave half of it undone.
        let mut told = Vec::new();
        match (Kind::of(&self.file)?, &config.database) {
            (Kind::Sqlite, Database::Sqlite(database)) => {
                let key = match &config.master_key {
                    Some(key) => Some(key.clone()),
                    None => keys::read_present(database)?,
                };
                let previous = config.master_key_previous.clone();
                let sealer = key.as_ref().map(|key| Sealer::new(key, previous.as_ref(), environment.entropy.clone()));
                let target = sqlite::Target { database, replace: self.force, skip: self.skip, now };
                let restored = sqlite::restore(&self.file, &target, sealer.as_ref())?;
                let from = restored.made_at.as_ref().map(|at| format!(", as of {at}")).unwrap_or_default();
                told.push(format!("{}: restored {}{from}", config.database.full_name(), restored.counts));
                if let Some(aside) = &restored.aside {
                    told.push(format!("what was there is now {}", aside.display()));
                }
                told.push(format!("skipped {} event numbers and transaction ids", restored.skipped));
                let is_right = restored.opens == Some(true) || put_key_back(&config, database, (&restored, &stamp(now)), &mut told)?;
                told.push(next(&config, is_right, restored.opens.is_some()));
            }
            (Kind::Postgres, Database::Postgres(url)) => {
                let target = postgres::backup::Target { url, replace: self.force, skip: self.skip, now };
                let restored = postgres::backup::restore(&self.file, &target)?;
                told.push(format!("{}: restored {}", config.database.full_name(), restored.counts));
                if let Some(aside) = restored.aside {
                    told.push(format!("what was there is now in the schema {aside}"));
                }
                told.push(format!("skipped {} event numbers and transaction ids", self.skip));
                told.push("next: start the servers with the master key of that time, and run ringback doctor".to_owned());
            }
            (kind, database) => {
                let of = if kind == Kind::Sqlite { "a SQLite file" } else { "a PostgreSQL database" };
                bail!("{} is a backup of {of}, and the database is {}; name one of that kind", self.file.display(), database.full_name());
            }
        }
        told.iter().try_for_each(|line| outln!("{line}"))?;
        Ok(())
    }
}

/// Puts a key from the backup into its file; answers whether there is one that opens the database now.
fn put_key_back(
    config: &Config,
    database: &Path,
    (restored, stamp): (&sqlite::Restored, &str),
    told: &mut Vec<String>,
) -> anyhow::Result<bool> {
    if config.master_key.is_some() || restored.keys.is_empty() {
        return Ok(false);
    }
    let place = keys::present(database);
    let aside = keys::put_back(database, &restored.keys, stamp).context("the database is restored, and its master key is not")?;
    told.push(format!("put the master key of the backup into {}", place.display()));
    if let Some(aside) = aside {
        told.push(format!("the key that was there is now {}; what was put aside needs it", aside.display()));
    }
    Ok(true)
}

/// What to do after a restore of a file.
fn next(config: &Config, is_right: bool, is_known: bool) -> String {
    let start = "start the server, and run ringback doctor";
    let place = match config.database.file() {
        Some(file) if config.master_key.is_none() => format!("{}", keys::present(file).display()),
        _ => "the setting master_key".to_owned(),
    };
    match (is_right, is_known) {
        (true, _) => format!("next: {start}"),
        (false, true) => format!("next: {place} is not the master key of this backup; put the key of that time there. Then {start}"),
        (false, false) => format!("next: put the master key of that time into {place}, for the server's user alone. Then {start}"),
    }
}
