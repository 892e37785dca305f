//! `ringback serve`: the server.

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Settings;
use crate::app::{App, Outside};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Where to listen, such as 127.0.0.1:8080; port 0 picks one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.settings.read(self.listen)?;
        super::log_to_stderr(&config.log, config.log_format);
        super::runtime()?.block_on(async {
            let app = App::start(&config, Outside::system()?)?;
            let listener = TcpListener::bind(config.listen).await;
            let listener =
                listener.with_context(|| format!("{} cannot be listened on; choose another address with --listen", config.listen))?;
            // Whoever is told the address may ask for the stop at once.
            let stop = asked_to_stop()?;
            anstream::println!("listening on http://{}", listener.local_addr()?);
            app.run(listener, stop).await
        })
    }
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
