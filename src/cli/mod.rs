//! The commands. Logs and errors go to stderr; exit codes are 0 done, 1 failed, 3 `reconcile` found differences, 64 wrong use or
//! configuration.

// Its macros are for all that follow.
#[macro_use]
mod output;

mod backup;
mod bench;
mod catalogue;
mod check;
mod client;
mod completions;
mod config;
mod demo;
mod doctor;
mod listen;
mod log;
mod man;
mod master_key;
mod migrate_store;
mod nodes;
mod reconcile;
mod remote;
mod restore;
mod serve;
mod style;
mod token;
mod trigger;
mod user;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::clock::Environment;
use crate::config::{Config, ConfigError, Database, Given, Sources};
use crate::domain::audit::{Actor, Note};
use crate::store::{Change, Command, Reply, Store, Write, Written};
use output::Unwritable;

/// Makes sure a vendor learns what became of every recharge.
#[derive(Debug, Parser)]
#[command(name = "ringback", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

const AFTER_HELP: &str = "\
Every setting can stand in a file (--config FILE, else the one RINGBACK_CONFIG names, ./ringback.toml or \
/etc/ringback/ringback.toml), or in the environment as RINGBACK_ and its name in capitals. `ringback config init` writes an \
example file; docs/config.md has all settings.

Exit codes: 0 done, 1 failed, 3 differences found by reconcile, 64 wrong use or configuration, 70 a part of the program panicked. Logs and errors go to stderr.";

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Show it at work: a server, vendors, their receivers and live recharges in one process, on a fresh store
    Demo(demo::Demo),
    /// Run the server
    Serve(serve::Serve),
    /// Make tokens, straight into the database
    #[command(subcommand)]
    Token(token::Token),
    /// Make logins, straight into the database
    #[command(subcommand)]
    User(user::User),
    /// Change the key that encrypts secrets in the database
    #[command(subcommand)]
    MasterKey(master_key::MasterKey),
    /// Show which nodes share a PostgreSQL database, and what each of them owns
    Nodes(nodes::Nodes),
    /// Move everything from a SQLite file to a PostgreSQL database
    MigrateStore(migrate_store::MigrateStore),
    /// Back up the database into a file, next to the running server
    Backup(backup::Backup),
    /// Put a backup in place of the database, while no server runs
    Restore(restore::Restore),
    /// Compare a provider's statement with the ledger
    Reconcile(reconcile::Reconcile),
    /// Look at a running installation: what is wrong, and what to do
    Doctor(doctor::Doctor),
    /// Post a vendor's events to a program on your own machine, signed as the endpoint would get them
    Listen(listen::Listen),
    /// Test a receiver with good and bad requests, and say what it gets wrong and how to fix it
    Check(Box<check::Check>),
    /// Make a real event in test mode
    Trigger(trigger::Trigger),
    /// Send a delivery once more
    Resend(trigger::Resend),
    /// Say whether a captured request (on standard input) is signed with a secret, and if not, why
    Verify(verify::Verify),
    /// Decrypt a captured body (on standard input) of the profile globaltopup
    Decrypt(verify::Decrypt),
    /// Measure how fast it is here, beside the limit that no sender can beat
    Bench(Box<bench::Bench>),
    /// Check the configuration, show what is in force, or write an example
    #[command(subcommand)]
    Config(config::Config),
    /// Look at what can be recharged
    #[command(subcommand)]
    Catalogue(catalogue::Catalogue),
    /// Print the OpenAPI document of the API, as JSON
    Openapi,
    /// Print what a shell needs to complete commands and flags
    Completions(completions::Completions),
    /// Write the manual pages into a folder
    Man(man::Man),
}

/// Settings that every command takes which opens the store.
#[derive(Debug, Clone, Default, Args)]
struct Settings {
    /// The database [default: sqlite:ringback.db]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// A file with settings, in TOML [default: the one RINGBACK_CONFIG names, ./ringback.toml or /etc/ringback/ringback.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Settings {
    /// What all sources give together.
    fn gather(self, listen: Option<String>) -> Result<Given, ConfigError> {
        let flags = [("database", self.database), ("listen", listen)];
        let flags = flags.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Sources::of_process(self.config, flags).gather()
    }

    /// Reads them for a command that works in the database. When it is done, it is said which one that was.
    fn read(self) -> Result<Config, ConfigError> {
        let given = self.gather(None)?;
        let config = Config::of(&given)?;
        given.warnings.iter().for_each(|warning| say(format_args!("ringback: {warning}")));
        let origin = given.origin("database").unwrap_or_else(|| "default".to_owned());
        drop(DATABASE.set(format!("database: {} ({origin})", config.database.full_name())));
        Ok(config)
    }

    /// The same for a command that copies a database and does not need its master key.
    fn read_for_copy(self) -> Result<Config, ConfigError> {
        let given = self.gather(None)?;
        given.warnings.iter().for_each(|warning| say(format_args!("ringback: {warning}")));
        Config::for_copy(&given)
    }
}

/// The database that the command works in, and what named it.
static DATABASE: OnceLock<String> = OnceLock::new();

/// Says something on stderr. There is nothing to do where that cannot be written.
fn say(line: std::fmt::Arguments<'_>) {
    drop(writeln!(anstream::stderr(), "{line}"));
}

const FAILED: u8 = 1;
const DIFFERENT: u8 = 3;
const WRONG_USE: u8 = 64;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_run(&error),
    };
    match run(cli.command) {
        Ok(()) => {
            // An error is one line, and names the database itself.
            DATABASE.get().into_iter().for_each(|database| say(format_args!("{database}")));
            ExitCode::SUCCESS
        }
        Err(error) if error.is::<reconcile::Differs>() => ExitCode::from(DIFFERENT),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<Unwritable>().is_some_and(Unwritable::is_reader_gone) {
        // Whoever has read enough misses nothing.
        return ExitCode::SUCCESS;
    }
    say(format_args!("ringback: {error:#}"));
    ExitCode::from(if error.is::<ConfigError>() { WRONG_USE } else { FAILED })
}

/// Help and version where they were asked for, help too where the command is missing, else one line.
fn not_run(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            if let Err(error) = error.print().and_then(|()| std::io::stdout().flush()).map_err(Unwritable) {
                return failed(&error.into());
            }
        }
        _ => say(format_args!("ringback: {}; see {} --help", in_one_line(error), typed_command())),
    }
    if error.use_stderr() { ExitCode::from(WRONG_USE) } else { ExitCode::SUCCESS }
}

/// What clap says in several paragraphs, without its usage.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let said = text.split("\n\n").take_while(|paragraph| !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more"));
    let lines = said.map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.map(|line| line.trim_start_matches("error: ").trim_start_matches("tip: ").to_owned()).collect::<Vec<_>>().join("; ")
}

/// The command that was typed, as far as it is one: the place to look for help.
fn typed_command() -> String {
    let (mut command, mut typed) = (Cli::command(), "ringback".to_owned());
    for word in std::env::args_os().skip(1) {
        let Some(found) = command.find_subcommand(&word).cloned() else { break };
        typed = format!("{typed} {}", found.get_name());
        command = found;
    }
    typed
}

fn run(command: CliCommand) -> anyhow::Result<()> {
    match command {
        CliCommand::Demo(demo) => demo.run(),
        CliCommand::Serve(serve) => serve.run(),
        CliCommand::Token(token) => token.run(),
        CliCommand::User(user) => user.run(),
        CliCommand::MasterKey(command) => command.run(),
        CliCommand::Nodes(nodes) => nodes.run(),
        CliCommand::MigrateStore(command) => command.run(),
        CliCommand::Backup(backup) => backup.run(),
        CliCommand::Restore(restore) => restore.run(),
        CliCommand::Reconcile(reconcile) => reconcile.run(),
        CliCommand::Doctor(doctor) => doctor.run(),
        CliCommand::Listen(listen) => listen.run(),
        CliCommand::Check(check) => check.run(),
        CliCommand::Trigger(trigger) => trigger.run(),
        CliCommand::Resend(resend) => resend.run(),
        CliCommand::Verify(verify) => verify.run(),
        CliCommand::Decrypt(decrypt) => decrypt.run(),
        CliCommand::Bench(bench) => bench.run(),
        CliCommand::Config(command) => command.run(),
        CliCommand::Catalogue(command) => command.run(),
        CliCommand::Openapi => {
            out!("{}", crate::http::openapi(None))?;
            Ok(())
        }
        CliCommand::Completions(completions) => completions.run(),
        CliCommand::Man(man) => man.run(),
    }
}

/// Refuses to make a database for a command that is about what is in one, which `flag` names.
fn is_there(config: &Config, flag: &str) -> anyhow::Result<()> {
    match config.database.file() {
        Some(file) if !file.exists() => anyhow::bail!("there is no database at {}; name it with {flag}", file.display()),
        _ => Ok(()),
    }
}

/// Refuses to make a database that no setting names. The server uses another one then, and would not know what is in this one.
fn is_there_or_named(config: &Config) -> anyhow::Result<()> {
    match config.database.file() {
        Some(file) if config.database == Database::default() && !file.exists() => anyhow::bail!(
            "there is no database at {}, and neither --database, RINGBACK_DATABASE nor a settings file names another one; \
             name the server's database, or its settings file with --config",
            config.database.full_name()
        ),
        _ => Ok(()),
    }
}

/// Does something that was asked for on the command line, straight in the database.
async fn change(store: &dyn Store, environment: &Environment, command: Command, note: Note) -> anyhow::Result<Reply> {
    let change = Change { command, now: environment.clock.now(), note: Some(note), keep: None };
    match store.commit(vec![Write::Change(Box::new(change))]).await.1?.pop() {
        Some(Written::Reply(done, _)) => Ok(done),
        other => anyhow::bail!("the store answered something else: {other:?}"),
    }
}

/// What the audit log notes of a command.
fn note(action: &'static str, object: impl ToString) -> Note {
    let (actor, object, details) = (Actor::CommandLine, object.to_string(), serde_json::json!({}));
    Note { actor, address: None, vendor: None, mode: None, action, object, details }
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Runtime(tokio::runtime::Builder::new_multi_thread().enable_all().build()?))
}

/// The runtime of a command.
struct Runtime(tokio::runtime::Runtime);

impl Runtime {
    /// Waits for what a command does. It is boxed: tokio compiles what it waits for into each of its loops, and some commands are large.
    fn block_on<'a, T>(&self, work: impl Future<Output = T> + 'a) -> T {
        let work: Pin<Box<dyn Future<Output = T> + 'a>> = Box::pin(work);
        self.0.block_on(work)
    }

    /// Ends without waiting for what is under way.
    fn shutdown_background(self) {
        self.0.shutdown_background();
    }
}
