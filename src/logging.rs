//! Log output that never blocks and never fails its caller.
//!
//! A log line goes to a bounded queue and is written by a thread of its own. When the queue is full (stderr is a pipe that
//! nobody reads) or the write fails (a full disk, a closed pipe), the line is dropped and counted as
//! `ringback_log_lines_dropped_total`. Nothing else happens: a server must not stop, slow down or panic because its log cannot
//! be written.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::limits;

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Log lines that could not be written since the process started.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

enum Message {
    Line(Vec<u8>),
    /// Everything before this message has been written.
    Flush(SyncSender<()>),
}

/// The writing end of the queue. Clones share the queue.
#[derive(Clone)]
pub struct LogWriter(SyncSender<Message>);

impl LogWriter {
    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = sync_channel(limits::LOG_LINES_QUEUED);
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || write_all(&queue, sink))?;
        Ok(Self(lines))
    }

    /// Waits until the lines logged so far are written, but no longer than `limit`.
    pub fn flush_within(&self, limit: Duration) {
        let (done, flushed) = sync_channel(1);
        // A full queue means a sink that does not take what it gets: there is nothing to wait for.
        if self.0.try_send(Message::Flush(done)).is_ok() {
            let _ = flushed.recv_timeout(limit);
        }
    }
}

fn write_all(queue: &Receiver<Message>, mut sink: impl Write) {
    for message in queue {
        match message {
            Message::Line(line) => {
                if sink.write_all(&line).is_err() {
                    DROPPED.fetch_add(1, Ordering::Relaxed);
                }
            }
            Message::Flush(done) => {
                let _ = sink.flush();
                let _ = done.send(());
            }
        }
    }
}

/// One log line.
pub struct Line<'a>(&'a LogWriter);

impl Write for Line<'_> {
    /// Queues `bytes` as one line. Line breaks inside it, which may come from a receiver or a provider, are escaped, so that
    /// no foreign text looks like a line of our own.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.0.try_send(Message::Line(one_line(bytes))).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

fn one_line(bytes: &[u8]) -> Vec<u8> {
    let (line, end) = match bytes.split_last() {
        Some((b'\n', line)) => (line, "\n"),
        _ => (bytes, ""),
    };
    if !line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return bytes.to_vec();
    }
    let line = String::from_utf8_lossy(line).replace('\r', "\\r").replace('\n', "\\n");
    format!("{line}{end}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Barrier};

    use super::*;

    /// A sink that fails, or blocks until the barrier is passed, and reports what it took.
    struct Sink {
        taken: Sender<String>,
        fails: bool,
        gate: Option<Arc<Barrier>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(gate) = self.gate.take() {
                gate.wait();
            }
            if self.fails {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _ = self.taken.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line() {
        for (logged, line) in [
            ("all is well\n", "all is well\n"),
            ("a provider said why=no\r\n2026-11-26 ERROR all is lost\n", "a provider said why=no\\r\\n2026-11-26 ERROR all is lost\n"),
            ("without an end", "without an end"),
            ("\n", "\n"),
        ] {
            assert_eq!(String::from_utf8(one_line(logged.as_bytes())).unwrap(), line);
        }
    }

    #[test]
    fn a_sink_that_fails_or_blocks_costs_lines_and_nothing_else() {
        let (taken, lines) = channel();
        let log = LogWriter::start(Sink { taken: taken.clone(), fails: true, gate: None }).unwrap();
        let before = dropped();
        log.make_writer().write_all(b"lost\n").unwrap();
        log.flush_within(Duration::from_secs(10));
        assert!(dropped() > before, "a failed write is counted");
        assert_eq!(lines.try_recv().ok(), None);

        let gate = Arc::new(Barrier::new(2));
        let log = LogWriter::start(Sink { taken, fails: false, gate: Some(Arc::clone(&gate)) }).unwrap();
        let before = dropped();
        for _ in 0..limits::LOG_LINES_QUEUED + 10 {
            log.make_writer().write_all(b"kept\n").unwrap();
        }
        assert!(dropped() >= before + 9, "what does not fit into the queue is counted");
        log.flush_within(Duration::from_millis(1));
        gate.wait();
        assert_eq!(lines.recv().unwrap(), "kept\n", "it goes on where it was");
    }
}
