//! The commands. Logs and errors go to stderr; exit codes are 0 done, 1 failed, 64 wrong use or configuration.

mod completions;
mod demo;
mod serve;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, LogFormat, Sources};

/// Makes sure a vendor learns what became of every recharge.
#[derive(Debug, Parser)]
#[command(name = "ringback", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process on a fresh store: a server, two vendors, their receivers, live recharges
    Demo(demo::Demo),
    /// The server
    Serve(serve::Serve),
    /// Tokens, straight into the database
    #[command(subcommand)]
    Token(token::Token),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the OpenAPI document
    Openapi,
    /// Print completions for a shell, such as: ringback completions bash > /etc/bash_completion.d/ringback
    Completions(completions::Completions),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell all problems of the configuration at once
    Check(Settings),
}

/// Settings that every command takes which opens the store.
#[derive(Debug, Clone, Default, Args)]
struct Settings {
    /// The database, such as sqlite:ringback.db
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The configuration file (TOML)
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
        Err(error) => {
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A reader that has gone away misses nothing that matters.
            drop(error.print());
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(WRONG_USE) };
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("ringback: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { WRONG_USE } else { FAILED })
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(demo) => demo.run(),
        Command::Serve(serve) => serve.run(),
        Command::Token(token) => token.run(),
        Command::Config(ConfigCommand::Check(settings)) => {
            settings.read(None)?;
            anstream::println!("the configuration is good");
            Ok(())
        }
        Command::Openapi => {
            anstream::print!("{}", crate::http::openapi());
            Ok(())
        }
        Command::Completions(completions) => completions.run(),
    }
}

/// Log lines go to stderr; as text without colour where that is no terminal.
fn log_to_stderr(filter: &str, format: LogFormat) {
    use std::io::IsTerminal;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Only a second subscriber in one process is refused, and then the first one logs.
    drop(match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    });
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
