//! What commands print on stdout. A full disk or a reader that has gone is an error of the command, not a panic.

use std::fmt::Arguments;
use std::io::{self, Write};

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

/// Prints like `print!`; the caller gets an error instead of a panic.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::output::print(format_args!($($text)*)) };
}

/// Prints a line like `println!`; the caller gets an error instead of a panic.
macro_rules! outln {
    () => { $crate::cli::output::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::output::print(format_args!("{}\n", format_args!($($text)*))) };
}
