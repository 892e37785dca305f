//! `ringback catalogue`: what can be recharged, looked at.

use std::path::PathBuf;

use clap::Subcommand;

use crate::config::{DEFAULT_CATALOGUE, read_catalogue};

#[derive(Debug, Subcommand)]
pub(super) enum Catalogue {
    /// Tell all problems of a catalogue at once; there are none if the exit code is 0
    Check {
        /// The file, in TOML
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the catalogue that is built in, to begin one of your own with
    Show,
}

impl Catalogue {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check { file } => {
                let catalogue = read_catalogue(Some(&file))?;
                let services: usize = catalogue.networks.iter().map(|network| network.services.len()).sum();
                let (networks, circles) = (catalogue.networks.len(), catalogue.circles.len());
                outln!("the catalogue is good: {networks} networks, {services} services, {circles} circles")?;
            }
            Self::Show => out!("{DEFAULT_CATALOGUE}")?,
        }
        Ok(())
    }
}
