//! `ringback reconcile`: a provider's statement beside the ledger, row by row. Nothing is changed; each difference comes with what
//! can be done about it.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Settings;
use crate::app::open_store;
use crate::clock::Surroundings;
use crate::domain::id::RechargeId;
use crate::domain::recharge::{Recharge, Status};
use crate::domain::spreadsheet::cell;
use crate::domain::time::Timestamp;
use crate::limits;
use crate::providers::http::States;
use crate::providers::statement::{Line, Statement};
use crate::store::{Sought, Store, TimeRange, Whose};

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// The provider, as the configuration names it
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// Its statement, as CSV with a line of column names
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The statement covers recharges from this time on [default: from the first one that is in it]
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// The statement covers recharges before this time [default: up to the last one that is in it]
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// How differences are printed
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A line for people
    Text,
    /// One JSON object a line, the last one with the counts
    Json,
    /// Rows
    Csv,
}

/// How a row of the statement and the ledger differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The ledger has no such recharge, or it was handed to another provider.
    MissingHere,
    /// The statement does not have it.
    MissingThere,
    /// It stands in the statement more than once.
    Twice,
    /// Amounts differ.
    Amount,
    /// Outcomes differ.
    Status,
    /// The statement has an outcome, the ledger has none yet.
    StillQueued,
    /// The row cannot be read.
    Unreadable,
}

#[derive(Debug, Serialize)]
struct Difference {
    kind: Kind,
    reference: String,
    ours: String,
    theirs: String,
    what_to_do: String,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Counts {
    rows: u64,
    matched: u64,
    missing_here: u64,
    missing_there: u64,
    twice: u64,
    amount: u64,
    status: u64,
    still_queued: u64,
    unreadable: u64,
}

impl Reconcile {
    pub(super) fn run(self) -> anyhow::Result<()> {
        super::runtime()?.block_on(self.compare())
    }

    async fn compare(self) -> anyhow::Result<()> {
        let config = self.settings.clone().read()?;
        let Some(provider) = config.providers.iter().find(|provider| provider.terms.name == self.provider) else {
            let known: Vec<&str> = config.providers.iter().map(|provider| provider.terms.name.as_str()).collect();
            bail!(
                "there is no provider {}; the configuration has {}",
                self.provider,
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            );
        };
        let Some(columns) = &provider.statement else {
            bail!("the provider {} has no [provider.statement], which names the columns; see docs/recharges.md", self.provider);
        };
        super::is_there(&config, "--database")?;
        let store = open_store(&config, Surroundings::system(0)).await?;
        let file = File::open(&self.file).with_context(|| format!("{} cannot be read", self.file.display()))?;
        let statement = Statement::open(std::io::BufReader::new(file), columns)?;
        let mut comparison = Comparison {
            store: &*store,
            provider: &self.provider,
            states: &provider.states,
            seen: HashSet::new(),
            first: None,
            last: None,
            counts: Counts::default(),
            out: Out::new(self.format)?,
        };
        let mut lines = Vec::new();
        for row in statement {
            comparison.counts.rows += 1;
            match row {
                Some(line) => lines.push(line),
                None => comparison.unreadable()?,
            }
            if lines.len() == limits::LOOKUP_MAX {
                comparison.look_up(std::mem::take(&mut lines)).await?;
            }
        }
        comparison.look_up(lines).await?;
        comparison.find_missing(TimeRange { since: self.since, until: self.until }).await?;
        let Comparison { counts, out, .. } = comparison;
        out.finish(&counts)
    }
}

struct Comparison<'a> {
    store: &'a dyn Store,
    provider: &'a str,
    states: &'a States,
    /// Recharges that are in the statement: eight bytes each.
    seen: HashSet<i64>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    counts: Counts,
    out: Out,
}

impl Comparison<'_> {
    async fn look_up(&mut self, lines: Vec<Line>) -> anyhow::Result<()> {
        let ids: Vec<Option<RechargeId>> = lines.iter().map(|line| line.reference.parse().ok()).collect();
        let sought: Vec<Sought> = ids.iter().flatten().copied().map(Sought::Id).collect();
        let mut found = self.store.lookup(None, sought).await?.into_iter();
        for (line, id) in lines.into_iter().zip(ids) {
            let recharge = if id.is_some() { found.next().flatten() } else { None };
            let recharge = recharge.filter(|recharge| recharge.details.provider.as_deref() == Some(self.provider));
            self.judge(&line, recharge)?;
        }
        Ok(())
    }

    fn judge(&mut self, line: &Line, recharge: Option<Recharge>) -> anyhow::Result<()> {
        let Some(recharge) = recharge else {
            self.counts.missing_here += 1;
            let what = format!("ask {} what it was for: nothing of this reference was handed to it from here", self.provider);
            return self.tell(Kind::MissingHere, line.reference.clone(), ("-".to_owned(), line.state.clone()), what);
        };
        (self.first, self.last) = (
            Some(self.first.map_or(recharge.created_at, |first| first.min(recharge.created_at))),
            self.last.max(Some(recharge.created_at)),
        );
        if !self.seen.insert(recharge.id.get()) {
            self.counts.twice += 1;
            let what = format!("ask {} whether it was executed twice", self.provider);
            return self.tell(Kind::Twice, line.reference.clone(), (recharge.status.as_str().to_owned(), line.state.clone()), what);
        }
        let currency = recharge.details.currency;
        let theirs = line.amount.as_deref().zip(currency).map(|(text, currency)| currency.minor(text).ok());
        let amounts_match = theirs.is_none_or(|theirs| theirs == recharge.details.amount);
        if !amounts_match {
            self.counts.amount += 1;
            let ours = recharge.details.amount_text().unwrap_or_default();
            let what = format!("settle it with {}; the ledger keeps what the vendor asked for", self.provider);
            self.tell(Kind::Amount, line.reference.clone(), (ours, line.amount.clone().unwrap_or_default()), what)?;
        }
        let id = recharge.id;
        match (self.states.meaning(&line.state), recharge.status) {
            (None, _) | (Some(Status::Queued), _) if recharge.status != Status::Queued => {
                self.counts.status += 1;
                let what = format!("ask {}: it has no outcome for what is settled here", self.provider);
                self.tell(Kind::Status, line.reference.clone(), (recharge.status.as_str().to_owned(), line.state.clone()), what)
            }
            (Some(theirs), Status::Queued) if theirs != Status::Queued => {
                self.counts.still_queued += 1;
                let what = format!(
                    "POST /v1/recharges/{id}/resolve {{\"status\": \"{}\", \"reason\": \"the provider's statement\"}}",
                    theirs.as_str()
                );
                self.tell(Kind::StillQueued, line.reference.clone(), ("queued".to_owned(), line.state.clone()), what)
            }
            // Who was paid back has failed in the provider's books.
            (Some(Status::Failed), Status::Reversed) => self.matched(amounts_match),
            (Some(theirs), ours) if theirs != ours => {
                self.counts.status += 1;
                let what = format!(
                    "GET /v1/conflicts?recharge_id={id}, and POST /v1/conflicts/{{id}}/resolve; where there is none yet, POST /v1/reports with \"status\": \"{}\" opens one",
                    theirs.as_str()
                );
                self.tell(Kind::Status, line.reference.clone(), (ours.as_str().to_owned(), line.state.clone()), what)
            }
            _ => self.matched(amounts_match),
        }
    }

    fn matched(&mut self, is: bool) -> anyhow::Result<()> {
        self.counts.matched += u64::from(is);
        Ok(())
    }

    fn unreadable(&mut self) -> anyhow::Result<()> {
        self.counts.unreadable += 1;
        let row = format!("row {}", self.counts.rows);
        self.tell(Kind::Unreadable, row, (String::new(), String::new()), "mend the row in the statement".to_owned())
    }

    /// Walks over what was handed to the provider in the statement's time.
    async fn find_missing(&mut self, range: TimeRange) -> anyhow::Result<()> {
        let last = self.last.map(|last| Timestamp::from_millis(last.as_millis() + 1));
        let range = TimeRange { since: range.since.or(self.first), until: range.until.or(last) };
        if range.since.is_none() && range.until.is_none() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let whose = Whose::Provider(self.provider.to_owned());
            let page = self.store.walk(whose, range, after, limits::STATEMENT_PAGE).await?;
            for recharge in page.iter().filter(|recharge| !self.seen.contains(&recharge.id.get())).collect::<Vec<_>>() {
                // What failed may well not be in a list of what was executed.
                if recharge.status == Status::Failed {
                    continue;
                }
                self.counts.missing_there += 1;
                let what = match recharge.status {
                    Status::Queued => {
                        format!("if it never was executed: POST /v1/recharges/{}/resolve {{\"status\": \"failed\", …}}", recharge.id)
                    }
                    _ => format!("ask {}: it was told as {} here", self.provider, recharge.status.as_str()),
                };
                self.tell(Kind::MissingThere, recharge.id.to_string(), (recharge.status.as_str().to_owned(), "-".to_owned()), what)?;
            }
            match page.last() {
                Some(last) if page.len() == limits::STATEMENT_PAGE => after = Some(last.id),
                _ => return Ok(()),
            }
        }
    }

    fn tell(&mut self, kind: Kind, reference: String, (ours, theirs): (String, String), what_to_do: String) -> anyhow::Result<()> {
        self.out.difference(&Difference { kind, reference, ours, theirs, what_to_do })
    }
}

/// Where differences are printed, as they are found.
enum Out {
    Text(std::io::StdoutLock<'static>),
    Json(std::io::StdoutLock<'static>),
    Csv(Box<csv::Writer<std::io::StdoutLock<'static>>>),
}

impl Out {
    fn new(form: Form) -> anyhow::Result<Self> {
        let out = std::io::stdout().lock();
        Ok(match form {
            Form::Text => Self::Text(out),
            Form::Json => Self::Json(out),
            Form::Csv => Self::Csv(Box::new(csv::Writer::from_writer(out))),
        })
    }

    fn difference(&mut self, difference: &Difference) -> anyhow::Result<()> {
        let Difference { kind, reference, ours, theirs, what_to_do } = difference;
        match self {
            Self::Text(out) => {
                let kind = serde_json::to_value(kind)?;
                writeln!(
                    out,
                    "{:<14} {reference}  here: {ours}  there: {theirs}\n               {what_to_do}",
                    kind.as_str().unwrap_or_default()
                )?;
            }
            Self::Json(out) => writeln!(out, "{}", serde_json::to_string(difference)?)?,
            // References are other people's text, and this is read in spreadsheets.
            Self::Csv(writer) => {
                let safe = |text: &str| cell(text).into_owned();
                let (reference, ours, theirs) = (safe(reference), safe(ours), safe(theirs));
                writer.serialize(Difference { kind: *kind, reference, ours, theirs, what_to_do: what_to_do.clone() })?;
            }
        }
        Ok(())
    }

    fn finish(self, counts: &Counts) -> anyhow::Result<()> {
        match self {
            Self::Text(mut out) => {
                let counts = serde_json::to_value(counts)?;
                for (name, count) in counts.as_object().into_iter().flatten() {
                    writeln!(out, "{}: {count}", name.replace('_', " "))?;
                }
            }
            Self::Json(mut out) => writeln!(out, "{}", serde_json::to_string(counts)?)?,
            // The counts would be a row like no other.
            Self::Csv(mut writer) => {
                writer.flush()?;
                anstream::eprintln!("{}", serde_json::to_string(counts)?);
            }
        }
        Ok(())
    }
}
