//! The commands. Logs and errors go to stderr; exit codes are 0 done, 1 failed, 64 wrong use or configuration.

mod bench;
mod catalogue;
mod check;
mod client;
mod completions;
mod demo;
mod doctor;
mod listen;
mod log;
mod master_key;
mod migrate_store;
mod nodes;
mod reconcile;
mod remote;
mod serve;
mod style;
mod token;
mod trigger;
mod user;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::clock::Surroundings;
use crate::config::{Config, ConfigError, Database, Sources};
use crate::domain::audit::{Actor, Note};
use crate::store::{Change, Deed, Done, Store, Write, Written};

/// Makes sure a vendor learns what became of every recharge.
#[derive(Debug, Parser)]
#[command(name = "ringback", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Every setting can stand in the file given with --config, or in the environment as RINGBACK_ and its name in capitals; \
docs/config.md has them all.

Exit codes: 0 done, 1 failed, 64 wrong use or configuration, 70 a part of the program panicked. Logs and errors go to stderr.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show it at work: a server, two vendors, their receivers and live recharges in one process, on a fresh store
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
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at what can be recharged
    #[command(subcommand)]
    Catalogue(catalogue::Catalogue),
    /// Print the OpenAPI document of the API, as JSON
    Openapi,
    /// Print what a shell needs to complete commands and flags
    Completions(completions::Completions),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell all problems of the configuration at once; there are none if the exit code is 0
    Check(Settings),
}

/// Settings that every command takes which opens the store.
#[derive(Debug, Clone, Default, Args)]
struct Settings {
    /// The database [default: sqlite:ringback.db]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// A file with settings, in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Settings {
    fn read(self, listen: Option<String>) -> Result<Config, ConfigError> {
        let flags = [("database", self.database), ("listen", listen)];
        let flags = flags.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Config::read(Sources::of_process(self.config, flags))
    }
}

const FAILED: u8 = 1;
const WRONG_USE: u8 = 64;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_run(&error),
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("ringback: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { WRONG_USE } else { FAILED })
        }
    }
}

/// Help and version where they were asked for, help too where the command is missing, else one line.
fn not_run(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A reader that has gone away misses nothing that matters.
            drop(error.print());
        }
        _ => anstream::eprintln!("ringback: {}; see {} --help", in_one_line(error), typed_command()),
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

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(demo) => demo.run(),
        Command::Serve(serve) => serve.run(),
        Command::Token(token) => token.run(),
        Command::User(user) => user.run(),
        Command::MasterKey(command) => command.run(),
        Command::Nodes(nodes) => nodes.run(),
        Command::MigrateStore(command) => command.run(),
        Command::Reconcile(reconcile) => reconcile.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Listen(listen) => listen.run(),
        Command::Check(check) => check.run(),
        Command::Trigger(trigger) => trigger.run(),
        Command::Resend(resend) => resend.run(),
        Command::Verify(verify) => verify.run(),
        Command::Decrypt(decrypt) => decrypt.run(),
        Command::Bench(bench) => bench.run(),
        Command::Config(ConfigCommand::Check(settings)) => {
            settings.read(None)?;
            anstream::println!("the configuration is good");
            Ok(())
        }
        Command::Catalogue(command) => command.run(),
        Command::Openapi => {
            anstream::print!("{}", crate::http::openapi());
            Ok(())
        }
        Command::Completions(completions) => completions.run(),
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
            "there is no database at {}, and neither --database, RINGBACK_DATABASE nor a file given with --config names another one; \
             name the server's database, or its settings file",
            std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display()
        ),
        _ => Ok(()),
    }
}

/// Does something that was asked for on the command line, straight in the database.
async fn change(store: &dyn Store, surroundings: &Surroundings, deed: Deed, note: Note) -> anyhow::Result<Done> {
    let change = Change { deed, now: surroundings.clock.now(), note: Some(note), keep: None };
    match store.commit(vec![Write::Change(Box::new(change))]).await.1?.pop() {
        Some(Written::Done(done, _)) => Ok(done),
        other => anyhow::bail!("the store answered something else: {other:?}"),
    }
}

/// What the audit log notes of a command.
fn note(action: &'static str, object: impl ToString) -> Note {
    let (actor, object, details) = (Actor::CommandLine, object.to_string(), serde_json::json!({}));
    Note { actor, address: None, vendor: None, mode: None, action, object, details }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
