//! `ringback token`: the first token, straight into the database.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Settings;
use crate::app::open_store;
use crate::clock::Surroundings;
use crate::domain::id::TokenId;
use crate::domain::token::{Scope, Token as Stored, TokenText};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make an operator's token and print it, this once; a running server knows it within a second
    Create(Create),
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

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Create(create) = self;
        if !create.operator {
            bail!(crate::config::ConfigError(vec![
                "say --operator; vendors' tokens are made with POST /v1/vendors/{id}/tokens".to_owned()
            ]));
        }
        let config = create.settings.read(None)?;
        let surroundings = Surroundings::system(0);
        let text = super::runtime()?.block_on(async {
            let store = open_store(&config, surroundings.clone())?;
            make(&store, &surroundings, &create.name).await
        })?;
        if create.json {
            anstream::println!("{}", json!({"token": text.expose()}))
        } else {
            anstream::println!("{}", text.expose())
        }
        Ok(())
    }
}

/// Makes an operator's token in a store.
pub(super) async fn make(store: &SqliteStore, surroundings: &Surroundings, name: &str) -> anyhow::Result<TokenText> {
    let mut random = [0; TokenText::RANDOM];
    surroundings.entropy.fill(&mut random);
    let text = TokenText::new(&Scope::Operator, &random);
    let now = surroundings.clock.now();
    let id = TokenId::from(surroundings.ids.next(now));
    let token = Stored { id, scope: Scope::Operator, name: name.to_owned(), allowed_ips: Vec::new(), created_at: now };
    store.create_token(token, text.hash()).await?;
    Ok(text)
}
