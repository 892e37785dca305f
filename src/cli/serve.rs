//! `ringback serve`: the server.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Settings;
use crate::app::{App, Listeners, Outside};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Where to listen; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.settings.read(self.listen)?;
        super::log::to_stderr(&config.log, config.log_format);
        super::runtime()?.block_on(async {
            let app = App::start(&config, Outside::system()?).await?;
            let listeners = Listeners::bind(&config).await?;
            // Whoever is told the address may ask for the stop at once.
            let stop = asked_to_stop()?;
            tell(&listeners)?;
            app.run(listeners, stop).await
        })
    }
}

/// Prints the addresses that were bound.
fn tell(Listeners { api, metrics }: &Listeners) -> std::io::Result<()> {
    let mut lines = format!("listening on http://{}\n", api.local_addr()?);
    if let Some(metrics) = metrics {
        lines.push_str(&format!("metrics on http://{}\n", metrics.local_addr()?));
    }
    anstream::print!("{lines}");
    Ok(())
}

/// Ends at SIGTERM or SIGINT.
pub(super) fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
