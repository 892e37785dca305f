//! `ringback user`: a first login, straight into the database.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::Settings;
use crate::app::open_store;
use crate::clock::Environment;
use crate::config::{ConfigError, password_in_environment};
use crate::domain::user::User as Login;
use crate::ops::{OpsError, new_operator_user};
use crate::store::{Command, Store};

/// What can be done with logins.
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Make an operator's login; alerts for operators go to its address. The password is read from the prompt, or from
    /// RINGBACK_PASSWORD
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    settings: Settings,
    /// An operator's login (vendors' logins are made through the API)
    #[arg(long)]
    operator: bool,
    /// The address to log in with
    #[arg(long)]
    email: String,
    /// Print {"id": "…", "email": "…"}
    #[arg(long)]
    json: bool,
}

impl User {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Create(create) = self;
        create.run()
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        if !self.operator {
            bail!(ConfigError(vec!["say --operator; vendors' logins are made with POST /v1/vendors/{id}/users".to_owned()]));
        }
        let config = self.settings.read()?;
        super::is_there_or_named(&config)?;
        let password = match password_in_environment() {
            Some(password) => password,
            None => ask()?,
        };
        let environment = Environment::system(0);
        let user = super::runtime()?.block_on(async {
            // What is wrong with the address or the password is told before a database is made.
            new_operator_user(&self.email, &password, &environment).await.map_err(wrong)?;
            let store = open_store(&config, environment.clone()).await?;
            make(&*store, &environment, &self.email, &password).await
        })?;
        if self.json {
            outln!("{}", json!({"id": user.id, "email": user.email}))?;
        } else {
            outln!("{} can log in as {}", user.id, user.email)?;
        }
        Ok(())
    }
}

/// Makes an operator's login in a store.
pub(super) async fn make(store: &dyn Store, environment: &Environment, email: &str, password: &str) -> anyhow::Result<Login> {
    let (user, hash) = new_operator_user(email, password, environment).await.map_err(wrong)?;
    let (command, note) = (Command::CreateUser(user.clone(), hash), super::note("user.created", user.id));
    if !super::change(store, environment, command, note).await?.took_effect() {
        bail!("{} has a login already", user.email);
    }
    Ok(user)
}

fn wrong(error: OpsError) -> anyhow::Error {
    match error {
        OpsError::Invalid(problems) => {
            ConfigError(problems.into_iter().map(|problem| format!("{} {}", problem.field, problem.message)).collect()).into()
        }
        other => other.into(),
    }
}

fn ask() -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!(ConfigError(vec!["there is no terminal to ask for a password; give it as RINGBACK_PASSWORD".to_owned()]));
    }
    let password = rpassword::prompt_password("Password: ").context("the password could not be read")?;
    if rpassword::prompt_password("Once more: ").context("the password could not be read")? != password {
        bail!("the two passwords differ; nothing was done");
    }
    Ok(password)
}
