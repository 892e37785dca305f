//! Log lines, on stderr.

use std::io::{self, IsTerminal, Write};

use crate::config::LogFormat;

/// From now on what is logged goes to stderr; as text without colour where that is no terminal.
pub(super) fn to_stderr(filter: &str, format: LogFormat) {
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| OneLine(io::stderr())).with_target(false);
    // Only a second subscriber in one process is refused, and then the first one logs.
    drop(match format {
        LogFormat::Text => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    });
}

/// Writes what is logged at once as one line, whatever strangers put into it: a receiver's or a provider's own words may
/// have line ends in them, and what follows one of those would look like a line of ours.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (line, end) = match bytes.split_last() {
            Some((b'\n', line)) => (line, "\n"),
            _ => (bytes, ""),
        };
        if line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            let line = String::from_utf8_lossy(line).replace('\r', "\\r").replace('\n', "\\n");
            self.0.write_all(format!("{line}{end}").as_bytes())?;
        } else {
            self.0.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_at_once_is_one_line() {
        for (logged, line) in [
            ("all is well\n", "all is well\n"),
            ("a provider said why=no\r\n2026-11-26 ERROR all is lost\n", "a provider said why=no\\r\\n2026-11-26 ERROR all is lost\n"),
            ("without an end", "without an end"),
            ("\n", "\n"),
        ] {
            let mut written = Vec::new();
            OneLine(&mut written).write_all(logged.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), line);
        }
    }
}
