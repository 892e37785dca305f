//! `ringback serve`: the server.

use std::io::Write;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Settings;
use crate::app::{App, Externals, Listeners};
use crate::config::Config;

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
        let given = self.settings.gather(self.listen)?;
        let config = Config::of(&given)?;
        let log = super::log::to_stderr(&config.log, config.log_format)?;
        given.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let runtime = super::runtime()?;
        let ran = runtime.block_on(async {
            survive_file_size_limit()?;
            // Whoever starts the server, or is told the address, may ask for the stop at once.
            let mut stop = Box::pin(asked_to_stop(log.flusher())?);
            let app = tokio::select! {
                biased;
                () = &mut stop => {
                    tracing::info!("stopped before the start was complete");
                    return anyhow::Ok(Ran::NotYet);
                }
                started = App::start(&config, Externals::system()) => started?,
            };
            let listeners = Listeners::bind(&config).await?;
            tell(&config, &listeners, app.first_operator_path().await);
            app.run(listeners, stop).await?;
            anyhow::Ok(Ran::ToItsEnd)
        })?;
        if ran == Ran::NotYet {
            // A database that is being opened is left as a crash would leave it, which loses nothing.
            runtime.shutdown_background();
        }
        Ok(())
    }
}

/// How far the server came.
#[derive(PartialEq, Eq)]
enum Ran {
    /// It was stopped during its start.
    NotYet,
    /// It was stopped when it ran.
    ToItsEnd,
}

/// Prints the bound addresses, where everything is, and the way to the first login. A stdout that cannot be written does not stop
/// the server.
fn tell(config: &Config, Listeners { api, metrics }: &Listeners, first_operator: Option<String>) {
    let address = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let mut lines = format!("listening on http://{}\n", address(api));
    if let Some(metrics) = metrics {
        lines.push_str(&format!("metrics on http://{}\n", address(metrics)));
    }
    // An address that stands for all of them is no address to go to.
    let reachable = address(api).replace("0.0.0.0:", "localhost:").replace("[::]:", "localhost:");
    let base = config.rules.public_url.clone().unwrap_or_else(|| format!("http://{reachable}"));
    let version = env!("CARGO_PKG_VERSION");
    lines.push_str(&format!(
        "\nringback {version}\n  panel     {base}/panel\n  docs      {base}/docs\n  database  {}\n",
        config.database.full_name()
    ));
    if let Some(path) = first_operator {
        lines.push_str(&format!("\nNo operator has a login yet. This link creates the first one:\n  {base}{path}\n"));
    }
    if let Err(error) = anstream::stdout().write_all(lines.as_bytes()) {
        tracing::warn!(%error, "failed to print the addresses");
    }
    tracing::info!(
        version,
        listen = address(api),
        metrics_listen = metrics.as_ref().map(address),
        database = config.database.full_name(),
        "started"
    );
}

/// Exit code of a process that a second signal ended before it had drained.
const STOPPED_AT_ONCE: i32 = 1;

/// Ends at SIGTERM, SIGINT or SIGHUP. A second SIGTERM or SIGINT ends the process at once, after `before_exit`. SIGHUP never does: a
/// closed terminal sends it twice, from the kernel and from the shell, and systemd's `SendSIGHUP` adds it to SIGTERM. SIGHUP stays
/// ignored if the program was started so, by `nohup`. SIGINT does not: a script's shell ignores it for what it runs in the background,
/// and whoever sends it to the server means it.
pub(super) fn asked_to_stop(before_exit: impl FnOnce() + Send + 'static) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let is_ignored = |kind: SignalKind| ignored_signals() >> (kind.as_raw_value() - 1) & 1 == 1;
    let mut hangup = (!is_ignored(SignalKind::hangup())).then(|| signal(SignalKind::hangup())).transpose()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut asked = async move || {
        tokio::select! {
            _ = terminate.recv() => Asked::ByName,
            _ = interrupt.recv() => Asked::ByName,
            () = received(&mut hangup) => Asked::ByHangup,
        }
    };
    Ok(async move {
        asked().await;
        tokio::spawn(async move {
            while asked().await == Asked::ByHangup {}
            tracing::warn!("stopped at once by a second signal; what was under way is repeated after the next start");
            before_exit();
            std::process::exit(STOPPED_AT_ONCE);
        });
    })
}

/// How a stop was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// By SIGTERM or SIGINT.
    ByName,
    /// By SIGHUP.
    ByHangup,
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Signals that this process ignores, as a mask; none where `/proc` cannot be read.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Has a write beyond `RLIMIT_FSIZE` fail instead of ending the process: it is then one more write that a disk refuses.
fn survive_file_size_limit() -> anyhow::Result<()> {
    // The handler stays when the stream is dropped.
    drop(signal(SignalKind::from_raw(libc::SIGXFSZ))?);
    Ok(())
}
