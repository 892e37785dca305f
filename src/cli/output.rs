//! What commands print on stdout. A full disk or a reader that has gone is an error of the command, not a panic.

use std::fmt::Arguments;
use std::io::{self, StdoutLock, Write};

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written")]
pub(super) struct Unwritable(#[source] pub(super) io::Error);

impl Unwritable {
    /// Whether whoever read it has gone, as `head` does when it has enough.
    pub(super) fn is_reader_gone(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Prints, styled on a terminal and plain elsewhere.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print(text: Arguments<'_>) -> Result<(), Unwritable> {
    let mut out = anstream::stdout();
    out.write_fmt(text).and_then(|()| out.flush()).map_err(Unwritable)
}

/// Writes bytes as they are.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn write(bytes: &[u8]) -> Result<(), Unwritable> {
    let mut out = io::stdout();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Unwritable)
}

/// Prints what comes before a verdict. The exit code tells the verdict, also to a script whose `head` has enough.
///
/// # Errors
/// Standard output cannot be written for another reason.
pub(super) fn before_verdict(printed: Result<(), Unwritable>) -> Result<(), Unwritable> {
    printed.or_else(|error| if error.is_reader_gone() { Ok(()) } else { Err(error) })
}

/// Standard output for writers that are not macros, which a reader that has gone does not end either.
pub(super) struct Verdicts(StdoutLock<'static>);

impl Verdicts {
    pub(super) fn new() -> Self {
        Self(io::stdout().lock())
    }
}

impl Write for Verdicts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written.map_err(|error| io::Error::new(error.kind(), Unwritable(error))),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed.map_err(|error| io::Error::new(error.kind(), Unwritable(error))),
        }
    }
}

/// Prints like `print!`; the caller gets an error instead of a panic.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::output::print(format_args!($($text)*)) };
}

/// Prints a line like `println!`; the caller gets an error instead of a panic.
macro_rules! outln {
    () => { $crate::cli::output::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::output::print(format_args!("{}\n", format_args!($($text)*))) };
}
