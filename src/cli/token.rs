//! `ringback token`: the operator's tokens, straight in the database.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Settings;
use crate::app::open_store;
use crate::clock::Environment;
use crate::config::ConfigError;
use crate::domain::audit::Note;
use crate::domain::id::TokenId;
use crate::domain::token::{Scope, Token as Stored, TokenText};
use crate::limits;
use crate::store::{Command, Page, Reply, Store};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make an operator's token and print it, this once; a running server knows it within a second
    Create(Create),
    /// List the operator's tokens, without the tokens themselves
    List(List),
    /// Revoke an operator's token; a running server refuses it within a second
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    settings: Settings,
    /// Say that it is to be an operator's; vendors' tokens are made through the API
    #[arg(long)]
    operator: bool,
    /// What it is for, in words for people
    #[arg(long, default_value = "command line")]
    name: String,
    /// Print it as {"token": "…"}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    settings: Settings,
    /// Print [{"id": "…", "name": "…", "created_at": "…"}, …]
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    settings: Settings,
    /// The token's id, tok_…
    id: String,
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        if !self.operator {
            bail!(ConfigError(vec!["say --operator; vendors' tokens are made with POST /v1/vendors/{id}/tokens".to_owned()]));
        }
        if self.name.chars().count() > limits::NAME_MAX || self.name.chars().any(char::is_control) {
            bail!(ConfigError(vec![format!("--name must have at most {} characters, on one line", limits::NAME_MAX)]));
        }
        let config = self.settings.read()?;
        super::is_there_or_named(&config)?;
        let environment = Environment::system(0);
        super::runtime()?.block_on(async {
            let store = open_store(&config, environment.clone()).await?;
            let (id, text) = make(&*store, &environment, &self.name).await?;
            let printed = if self.json { outln!("{}", json!({"token": text.expose()})) } else { outln!("{}", text.expose()) };
            if let Err(error) = printed {
                // Nobody has it.
                revoke(&*store, &environment, id).await?;
                bail!("the token was made, could not be printed, and was revoked: {:#}", anyhow::Error::from(error));
            }
            Ok(())
        })
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let config = self.settings.read()?;
        super::is_there(&config, "--database")?;
        let mut tokens = super::runtime()?.block_on(async {
            let store = open_store(&config, Environment::system(0)).await?;
            anyhow::Ok(store.tokens(None, Page { before: None, limit: limits::SCAN_MAX }).await?)
        })?;
        tokens.reverse();
        if self.json {
            let listed = tokens.iter().map(|token| json!({"id": token.id, "name": token.name, "created_at": token.created_at}));
            outln!("{}", serde_json::Value::from_iter(listed))?;
        } else {
            tokens.iter().try_for_each(|token| outln!("{}  {}  {}", token.id, token.created_at, token.name))?;
        }
        Ok(())
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<()> {
        let id: TokenId = self.id.parse().map_err(|_| ConfigError(vec![format!("{} is not the id of a token (tok_…)", self.id)]))?;
        let config = self.settings.read()?;
        super::is_there(&config, "--database")?;
        let environment = Environment::system(0);
        let done = super::runtime()?.block_on(async {
            let store = open_store(&config, environment.clone()).await?;
            revoke(&*store, &environment, id).await
        })?;
        if !done.took_effect() {
            bail!("there is no operator's token {id} that is not revoked; see ringback token list");
        }
        outln!("{id} is revoked")?;
        Ok(())
    }
}

/// Makes an operator's token in a store.
pub(super) async fn make(store: &dyn Store, environment: &Environment, name: &str) -> anyhow::Result<(TokenId, TokenText)> {
    let mut random = [0; TokenText::RANDOM];
    environment.entropy.fill(&mut random);
    let text = TokenText::new(&Scope::Operator, &random);
    let now = environment.clock.now();
    let id = TokenId::from(environment.ids.next(now));
    let token = Stored { id, scope: Scope::Operator, name: name.to_owned(), allowed_ips: Vec::new(), created_at: now, last_used_at: None };
    let note = Note { details: json!({"name": name}), ..super::note("token.created", id) };
    super::change(store, environment, Command::CreateToken(token, text.hash()), note).await?;
    Ok((id, text))
}

async fn revoke(store: &dyn Store, environment: &Environment, id: TokenId) -> anyhow::Result<Reply> {
    super::change(store, environment, Command::RevokeToken { id, vendor: None }, super::note("token.revoked", id)).await
}
