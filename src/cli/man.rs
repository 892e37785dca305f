//! `ringback man`: the manual pages of this program, one for each command.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "For example: ringback man ~/.local/share/man/man1")]
pub(super) struct Man {
    /// The folder that they are written into; it is made if it is missing
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let folder = self.folder.display();
        fs::create_dir_all(&self.folder).with_context(|| format!("{folder} cannot be made"))?;
        clap_mangen::generate_to(super::Cli::command(), &self.folder).with_context(|| format!("{folder} cannot be written"))
    }
}
