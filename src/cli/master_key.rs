//! `ringback master-key`: a new key for the secrets in the database.

use anyhow::bail;
use clap::Subcommand;

use super::Settings;
use crate::app::{keys, open_store};
use crate::clock::Environment;
use crate::config::ConfigError;
use crate::store::sqlite::DatabaseLock;
use crate::store::{Command, SweepPlace};

/// What can be done with the master key.
#[derive(Debug, Subcommand)]
pub(super) enum MasterKey {
    /// Seal all secrets again with a new key
    ///
    /// With the key in its file beside the database: stop the server first; a new key is made and put there. With the key
    /// in the settings: give the new one as master_key and the old one as master_key_previous, restart the servers with
    /// both, and run this beside them; then take the old one out.
    Rotate(Settings),
}

impl MasterKey {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Rotate(settings) = self;
        let config = settings.read()?;
        let environment = Environment::system(0);
        let in_file = config.database.file().filter(|_| config.master_key.is_none());
        if in_file.is_none() && config.master_key_previous.is_none() {
            bail!(ConfigError(vec!["master_key_previous is required: the key that the secrets are sealed with now".to_owned()]));
        }
        super::is_there(&config, "--database")?;
        // Held to the end: a server that knows only the old key must not run meanwhile.
        let _lock = in_file.map(DatabaseLock::acquire).transpose()?;
        if let Some(file) = in_file {
            keys::begin_rotation(file, &*environment.entropy)?;
        }
        let sealed = super::runtime()?.block_on(async {
            let store = open_store(&config, environment.clone()).await?;
            let (mut place, mut sealed) = (Some(SweepPlace::default()), 0);
            while let Some(at) = place {
                let step = store.reseal(at).await?;
                (place, sealed) = (step.next, sealed + if at.stage == 0 { step.removed } else { 0 });
            }
            super::change(&*store, &environment, Command::Note, super::note("master_key.rotated", "")).await?;
            anyhow::Ok(sealed)
        })?;
        outln!("the secrets of {sealed} endpoints are sealed with the new master key")?;
        if let Some(file) = in_file {
            let aside = keys::end_rotation(file, environment.clock.now())?;
            outln!("the key before it is in {}; remove it once no backup needs it", aside.display())?;
        }
        Ok(())
    }
}
