//! `ringback completions`: what a shell needs to complete the commands and flags of this very program.

use clap::{Args, CommandFactory};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "For example: ringback completions bash > ~/.local/share/bash-completion/completions/ringback")]
pub(super) struct Completions {
    /// The shell that asks
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "ringback", &mut script);
        Ok(super::output::write(&script)?)
    }
}
