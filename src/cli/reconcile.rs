//! `ringback reconcile`: compares a provider's statement with the ledger, row by row. Nothing is changed; each difference comes
//! with what can be done about it.

mod comparison;
mod out;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use self::comparison::{Amounts, Comparison};
use self::out::{Counts, Form, Out, Summary};
use super::Settings;
use crate::app::open_store;
use crate::clock::Environment;
use crate::config::ConfigError;
use crate::domain::figure::Decimal;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::providers::http;
use crate::providers::statement::Statement;
use crate::store::{Store, TimeRange};

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// The provider, as the configuration names it
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// Its statement, as CSV with a line of column names
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Compare recharges from this time on [default: from the first one of the statement]
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Compare recharges before this time: the end of what the statement covers [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// The decimal mark where amounts could have either: point or comma [default: as other amounts have it]
    #[arg(long, value_name = "MARK")]
    decimal: Option<Decimal>,
    /// How differences are printed
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    #[command(flatten)]
    settings: Settings,
}

/// The statement and the ledger differ, as is already printed.
#[derive(Debug, thiserror::Error)]
#[error("the statement and the ledger differ")]
pub(super) struct Differs;

impl Reconcile {
    pub(super) fn run(self) -> anyhow::Result<()> {
        super::runtime()?.block_on(self.compare())
    }

    async fn compare(self) -> anyhow::Result<()> {
        if self.since.zip(self.until).is_some_and(|(since, until)| since >= until) {
            return Err(ConfigError(vec!["--since must be before --until".to_owned()]).into());
        }
        let config = self.settings.clone().read()?;
        let Some(provider) = config.providers.iter().find(|provider| provider.terms.name == self.provider) else {
            let known: Vec<&str> = config.providers.iter().map(|provider| provider.terms.name.as_str()).collect();
            bail!(
                "there is no provider {}; the configuration has {}",
                self.provider,
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            );
        };
        super::is_there(&config, "--database")?;
        let environment = Environment::system(0);
        let now = environment.clock.now();
        let store = open_store(&config, environment).await?;
        let summary = self.compare_with(&*store, provider, now).await?;
        if summary.counts.differences() > 0 || summary.cut.is_some() { Err(Differs.into()) } else { Ok(()) }
    }

    async fn compare_with(&self, store: &dyn Store, provider: &http::Settings, now: Timestamp) -> anyhow::Result<Summary> {
        let Some(columns) = &provider.statement else {
            bail!("the provider {} has no [provider.statement], which names the columns; see docs/recharges.md", self.provider);
        };
        let file = seekable(&self.file).with_context(|| format!("{} cannot be read", self.file.display()))?;
        let of_file = || self.file.display().to_string();
        let mut statement = Statement::open(BufReader::new(file), columns, self.decimal).with_context(of_file)?;
        let cut = statement.cut().map(str::to_owned);
        let column = statement.amount_column().to_owned();
        let mut comparison = Comparison {
            store,
            provider: &self.provider,
            states: &provider.states,
            range: TimeRange { since: self.since, until: self.until },
            amounts: Amounts { column, decimal: statement.decimal(), habit: statement.habit() },
            seen: HashSet::new(),
            vendors: HashMap::new(),
            first: None,
            last: None,
            after_last: 0,
            counts: Counts::default(),
            out: Out::new(self.format),
        };
        if let Some(cut) = &cut {
            comparison.cut(cut)?;
        }
        let mut lines = Vec::new();
        for row in &mut statement {
            comparison.counts.rows += 1;
            match row {
                Ok(line) => lines.push(line),
                Err(row) => comparison.unreadable(&row)?,
            }
            if lines.len() == limits::LOOKUP_MAX {
                comparison.look_up(std::mem::take(&mut lines)).await?;
            }
        }
        comparison.look_up(lines).await?;
        if comparison.counts.rows == 0 && self.since.is_none() {
            bail!("{} has no rows; say --since and --until to list what the ledger has of that time", self.file.display());
        }
        comparison.find_missing().await?;
        let Comparison { counts, out, first, last, after_last, .. } = comparison;
        let from = self.since.or(first);
        let to = self.until.or_else(|| from.map(|_| last.map_or(now, |last| last.max(now))));
        let summary = Summary { counts, from, to, last_row: last, after_last_row: after_last, cut };
        out.finish(&summary)?;
        Ok(summary)
    }
}

/// Opens the file. What cannot be read twice, such as a pipe, is copied into a temporary file.
fn seekable(path: &Path) -> std::io::Result<File> {
    let mut file = File::open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let mut copy = tempfile::tempfile()?;
    std::io::copy(&mut file, &mut copy)?;
    copy.rewind()?;
    Ok(copy)
}
