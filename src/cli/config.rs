//! `ringback config`: what is wrong with the configuration, what is in force, and an example.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::Settings;
use crate::config::{self, example};

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Report all problems of the configuration; there are none if the exit code is 0
    Check(Settings),
    /// Print every setting in force with where it comes from; secrets are masked
    Show(Show),
    /// Write a commented example with every setting and its default
    Init(Init),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    settings: Settings,
    /// Print {"file": "…", "settings": [{"name": "…", "value": …, "origin": "…"}, …]}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The file to write; `-` prints it
    #[arg(default_value = "ringback.toml")]
    file: PathBuf,
}

impl Config {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check(settings) => check(settings),
            Self::Show(show) => show.run(),
            Self::Init(init) => init.run(),
        }
    }
}

fn check(settings: Settings) -> anyhow::Result<()> {
    let given = settings.gather(None)?;
    config::Config::of(&given)?;
    given.warnings.iter().for_each(|warning| super::say(format_args!("ringback: {warning}")));
    match given.file() {
        Some(file) => outln!("the configuration is good ({file}, the environment and flags)")?,
        None => outln!("the configuration is good (no file; the environment and flags)")?,
    }
    Ok(())
}

impl Show {
    fn run(self) -> anyhow::Result<()> {
        let given = self.settings.gather(None)?;
        if self.json {
            outln!("{:#}", json!({"file": given.file(), "settings": given.effective()}))?;
        } else {
            out!("{}", given.shown())?;
        }
        given.warnings.iter().for_each(|warning| super::say(format_args!("ringback: {warning}")));
        // What is shown may be what is wrong.
        config::Config::of(&given)?;
        Ok(())
    }
}

impl Init {
    fn run(self) -> anyhow::Result<()> {
        if self.file == Path::new("-") {
            out!("{}", example())?;
            return Ok(());
        }
        let name = self.file.display();
        // It will hold passwords.
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o640).open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{name} exists already; name another file, or - to print"),
            Err(error) => return Err(error).with_context(|| format!("{name} cannot be written")),
        };
        file.write_all(example().as_bytes()).and_then(|()| file.sync_all()).with_context(|| format!("{name} cannot be written"))?;
        outln!("{name} has every setting in a comment; edit it and run `ringback config check --config {name}`")?;
        Ok(())
    }
}
