//! Log lines, on stderr.

use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::config::LogFormat;
use crate::logging::LogWriter;
use crate::panics;

/// How long the end of a process waits for its last log lines.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);

/// Flushes the log when dropped.
pub(super) struct Log(LogWriter);

impl Log {
    /// What writes the last lines of a process that ends in another way.
    pub(super) fn flusher(&self) -> impl FnOnce() + Send + use<> {
        let log = self.0.clone();
        move || log.flush_within(FLUSH_WITHIN)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush_within(FLUSH_WITHIN);
    }
}

/// Logs to stderr from now on, as text without colour where that is not a terminal, and has a panic end the process.
///
/// # Errors
/// The log's thread cannot be started.
pub(super) fn to_stderr(filter: &str, format: LogFormat) -> io::Result<Log> {
    let writer = LogWriter::start(io::stderr())?;
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer.clone()).log_internal_errors(false).with_target(false);
    // Only a second subscriber in one process is refused, and then the first one logs.
    drop(match format {
        LogFormat::Text => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    });
    let log = writer.clone();
    panics::end_process_on_panic(move || log.flush_within(FLUSH_WITHIN));
    Ok(Log(writer))
}
