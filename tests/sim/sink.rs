//! Where the log goes: a sink that fails or blocks when a step says so. Whatever it does, the walk goes on.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use ringback::logging::LogWriter;

/// What the sink does with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    Well,
    /// As a closed pipe or a full disk does.
    Fails,
    /// As a pipe does that nobody reads.
    Blocks,
}

static NOW: Mutex<Sink> = Mutex::new(Sink::Well);

impl Sink {
    /// From now on.
    pub fn set(self) {
        *NOW.lock() = self;
    }
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let now = *NOW.lock();
            match now {
                Sink::Well => return Ok(bytes.len()),
                Sink::Fails => return Err(io::ErrorKind::BrokenPipe.into()),
                Sink::Blocks => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has everything that is logged in this process go to the sink.
pub fn install() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let log = LogWriter::start(Log).expect("a thread");
        let subscriber = tracing_subscriber::fmt().with_writer(log).with_env_filter("ringback=debug").log_internal_errors(false);
        subscriber.try_init().expect("it is the first");
    });
}
