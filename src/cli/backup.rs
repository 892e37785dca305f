//! `ringback backup`: the database in a file, taken while the server runs.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::Settings;
use super::doctor::bytes;
use crate::app::keys;
use crate::clock::Environment;
use crate::config::{Config, ConfigError, Database};
use crate::store::{postgres, sqlite};

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    settings: Settings,
    /// The backup, a new file
    file: PathBuf,
    /// Include the master key; without it the backup's secrets cannot be read, and with it anyone can
    #[arg(long)]
    with_key: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

impl Backup {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.settings.read_for_copy()?;
        super::is_there(&config, "--database")?;
        let shown = self.file.display();
        if self.file.is_dir() {
            bail!("{shown} is a folder; name a file in it");
        }
        if self.file.exists() && !self.force {
            bail!("{shown} is there already; name another file, or replace it with --force");
        }
        let keys = if self.with_key { key_files(&config)? } else { Vec::new() };
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Its mode is 0600.
        let part = tempfile::Builder::new().prefix(".backup-").suffix(".part").tempfile_in(folder);
        let part = part.with_context(|| format!("no file can be made in {}", folder.display()))?;
        let now = Environment::system(0).clock.now();
        let counts = match &config.database {
            Database::Sqlite(database) => sqlite::back_up(&sqlite::Source { database, keys: &keys, now }, part.path())?,
            Database::Postgres(url) => postgres::backup::back_up(url, part.path())?,
        };
        let written = File::open(part.path()).and_then(|file| {
            file.sync_all()?;
            file.metadata()
        });
        let size = written.with_context(|| format!("{shown} cannot be written"))?.len();
        if self.force {
            part.persist(&self.file).map_err(|error| error.error)
        } else {
            part.persist_noclobber(&self.file).map_err(|error| error.error)
        }
        .and_then(|_| File::open(folder)?.sync_all())
        .with_context(|| format!("{shown} cannot be written"))?;
        outln!("{shown}: {} of {}, {counts}, {now}", bytes(size), config.database.full_name())?;
        outln!("{}", about_key(&config, self.with_key))?;
        Ok(())
    }
}

/// The keys that Ringback keeps itself, in files next to the database.
fn key_files(config: &Config) -> anyhow::Result<Vec<crate::store::seal::MasterKey>> {
    let (None, Some(file)) = (&config.master_key, config.database.file()) else {
        let problem = "--with-key is for a master key in a file; here it is the setting master_key: keep it with the settings";
        bail!(ConfigError(vec![problem.to_owned()]));
    };
    let missing = || format!("{} is missing; put the master key back, or leave out --with-key", keys::present(file).display());
    let key = keys::read_present(file)?.with_context(missing)?;
    Ok([Some(key), keys::read_previous(file)?].into_iter().flatten().collect())
}

fn about_key(config: &Config, is_included: bool) -> String {
    if is_included {
        return "the master key is in it: whoever has the file can read the secrets in it".to_owned();
    }
    let place = match config.database.file() {
        Some(file) if config.master_key.is_none() => {
            let path = keys::present(file);
            format!("it is in {}", std::path::absolute(&path).unwrap_or(path).display())
        }
        _ => "it is the setting master_key".to_owned(),
    };
    format!("the master key is not in it: {place}. Keep a copy of it in another place; without it the secrets cannot be read")
}
