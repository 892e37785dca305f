//! `ringback demo`: everything in one process on a fresh store, driven over the HTTP API as a platform would drive it.
//!
//! Two vendors order recharges. Everest has a receiver of the profile `standard`; Lumbini has one of `globaltopup` that answers
//! 500 to one request in four, so that retries can be seen. Each recharge goes to a provider, over HTTP, which settles it a
//! moment later and loses an answer or a callback now and then; the receivers verify what they get. A third vendor, Koshi, is
//! reported about by the platform; one of its endpoints is down, and another one comes back while the demo runs.
//!
//! Before that, three days of history are made with the same parts on a clock that is moved on ([`clock`], [`history`]), so
//! that every page of the panel has something to show.

mod clock;
mod history;
mod provider;
mod receivers;
mod screen;
mod show;
mod stage;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use clock::Rewound;
use provider::Provider;
use screen::Screen;
use stage::Stage;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::app::{App, Externals, Listeners, open_store};
use crate::clock::{Environment, Ids, SystemEntropy};
use crate::config::{Config, LogFormat, Sources};

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where to listen; port 0 picks a free one [default: 127.0.0.1:8090, or a free port if that is taken]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Make recharges for this long, such as 30s, then wait for all deliveries and print a summary
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<humantime::Duration>,
    /// Print nothing but the summary, as JSON
    #[arg(long)]
    json: bool,
}

/// Where the demo listens, unless the address is taken.
const ADDRESS: &str = "127.0.0.1:8090";
const ANY_PORT: &str = "127.0.0.1:0";
/// The operator's login, and the password of all of the demo's logins.
const OPERATOR: &str = "operator@ringback.example";
const PASSWORD: &str = "ringback demo";

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // Warnings are part of the play: endpoints fail, and mails wait.
        let _log = super::log::to_stderr("error", LogFormat::Text)?;
        // It goes after the runtime: a task that ends late must not find the database gone.
        let folder = tempfile::tempdir().context("a temporary folder could not be made")?;
        super::runtime()?.block_on(self.play(folder.path()))
    }

    async fn play(self, folder: &Path) -> anyhow::Result<()> {
        let clock = Arc::new(Rewound::by(history::LENGTH));
        let environment = Environment { clock: clock.clone(), entropy: Arc::new(SystemEntropy), ids: Arc::new(Ids::new(0)) };
        let (provider, at_provider) = Provider::start(environment.clone(), Arc::clone(&clock)).await?;
        let file = folder.join("demo.toml");
        std::fs::write(&file, provider::configuration(at_provider)).context("the demo's configuration could not be written")?;
        let setting = |name, value: &str| (name, value.to_owned());
        let flags = vec![
            setting("listen", &self.address().await),
            setting("database", &format!("sqlite:{}", folder.join("demo.db").display())),
            setting("allow_networks", "127.0.0.0/8"),
            setting("require_https", "false"),
            setting("retry_schedule", "500ms,1s,2s,10s,1m,10m,1h,1h,2h,4h,4h"),
        ];
        let config = Config::read(Sources { flags, file: Some(file), ..Sources::default() })?;
        let store = open_store(&config, environment.clone()).await?;
        let (_, operator) = super::token::make(&*store, &environment, "demo").await?;
        let login = super::user::make(&*store, &environment, OPERATOR, PASSWORD).await?;
        drop(store);
        let app = App::start(&config, Externals { environment: environment.clone(), ..Externals::system() }).await?;
        let listeners = match Listeners::bind(&config).await {
            // Another program has taken the default port since it was looked at.
            Err(_) if self.listen.is_none() => Listeners::bind(&Config { listen: ANY_PORT.parse()?, ..config.clone() }).await?,
            bound => bound?,
        };
        let address = listeners.api.local_addr()?;
        let link = format!("http://{address}{}", app.entry_path(login.id));
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(app.run(listeners, async { drop(stopped.await) }));
        provider.call_back_to(address).await?;
        let mut screen = Screen::new(self.json);
        screen.print("Ringback demo: preparing three days of history ...")?;
        let mut stage = Stage::set(address, operator.expose(), environment).await?;
        stage.make_history(&clock).await?;
        screen.print(&show::opening(&format!("http://{address}"), &link, operator.expose(), &stage.vendors))?;
        let summary = stage.play(self.length.map(Duration::from), screen, &link).await?;
        if self.json {
            summary.print_json()?;
        } else {
            summary.print()?;
        }
        drop(stop);
        serving.await??;
        if summary.missing > 0 {
            bail!("{} events did not arrive or did not verify", summary.missing);
        }
        Ok(())
    }

    /// The address to listen on. The default one gives way to another program's.
    async fn address(&self) -> String {
        let Some(address) = &self.listen else {
            let is_taken = TcpListener::bind(ADDRESS).await.is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
            return if is_taken { ANY_PORT } else { ADDRESS }.to_owned();
        };
        address.clone()
    }
}
