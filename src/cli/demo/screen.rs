//! What a terminal shows of the demo: lines that scroll, and below them a status block that stays in view.
//!
//! The block is ordinary text. Before the next line is printed, the cursor goes up over the block and clears it; then the line
//! and the block are printed again, in one write. There is no other screen, no hidden cursor and no scroll region, so nothing has to
//! be restored, whenever and however the process ends. Elsewhere than on a terminal there is no block.

use std::collections::VecDeque;
use std::io::{IsTerminal, stdout};

use anstyle::Style;

use super::super::output::Unwritable;

/// On a terminal with fewer rows the block would leave no room for lines.
const ROWS_MIN: u16 = 12;
/// The block is at most this wide, so that it is readable.
const COLUMNS_MAX: usize = 80;

/// A line of the status block.
#[derive(Debug, Clone)]
pub(super) struct Status {
    /// How it looks.
    pub style: Style,
    /// Its text, without styles.
    pub text: String,
    /// Whether it is cut where it is too long. A link is not: it would no longer lead anywhere.
    pub is_cut: bool,
}

/// Where the demo prints.
pub(super) struct Screen {
    is_quiet: bool,
    has_block: bool,
    /// Lines that are printed at the next steps.
    queue: VecDeque<String>,
    status: Vec<Status>,
    /// Lengths of the block's lines as they stand on the terminal.
    drawn: Vec<usize>,
}

impl Screen {
    /// A screen that prints nothing at all if it is quiet.
    pub fn new(is_quiet: bool) -> Self {
        let has_block = !is_quiet && stdout().is_terminal() && understands_escapes() && size().is_some_and(|(_, rows)| rows >= ROWS_MIN);
        Self { is_quiet, has_block, queue: VecDeque::new(), status: Vec::new(), drawn: Vec::new() }
    }

    /// Has a line printed when it is its turn.
    pub fn queue(&mut self, line: String) {
        if !self.is_quiet {
            self.queue.push_back(line);
        }
    }

    /// Prints the next line of the queue.
    pub fn step(&mut self) -> Result<(), Unwritable> {
        match self.queue.pop_front() {
            Some(line) => self.print(&line),
            None => Ok(()),
        }
    }

    /// Prints a line, or several, above the block.
    pub fn print(&mut self, line: &str) -> Result<(), Unwritable> {
        if self.is_quiet {
            return Ok(());
        }
        let columns = columns();
        let text = format!("{}{line}\n{}", self.erased(columns), self.draw(columns));
        out!("{text}")
    }

    /// Changes the block.
    pub fn show(&mut self, status: Vec<Status>) -> Result<(), Unwritable> {
        self.status = status;
        self.redraw()
    }

    /// Draws the block again, as after the terminal has got another size.
    pub fn redraw(&mut self) -> Result<(), Unwritable> {
        if !self.has_block {
            return Ok(());
        }
        let columns = columns();
        let text = format!("{}{}", self.erased(columns), self.draw(columns));
        out!("{text}")
    }

    /// Prints what waits, and takes the block away.
    pub fn close(mut self) -> Result<(), Unwritable> {
        self.status.clear();
        self.redraw()?;
        while !self.queue.is_empty() {
            self.step()?;
        }
        Ok(())
    }

    /// Clears the block. Terminals wrap its lines anew when they become narrower, so that it may stand on more rows than it had.
    fn erased(&mut self, columns: usize) -> String {
        match rows(&self.drawn, columns) {
            0 => String::new(),
            rows => format!("\x1b[{rows}A\r\x1b[J"),
        }
    }

    fn draw(&mut self, columns: usize) -> String {
        self.drawn.clear();
        if !self.has_block {
            return String::new();
        }
        let mut text = String::new();
        for Status { style, text: line, is_cut } in &self.status {
            let most = if *is_cut { columns.min(COLUMNS_MAX) } else { usize::MAX };
            let line: String = line.chars().take(most).collect();
            self.drawn.push(line.chars().count());
            text.push_str(&format!("{style}{line}{style:#}\n"));
        }
        text
    }
}

/// Rows that lines of these lengths take.
fn rows(lengths: &[usize], columns: usize) -> usize {
    lengths.iter().map(|length| length.div_ceil(columns).max(1)).sum()
}

/// Whether escape codes reach the terminal; with `NO_COLOR` or `TERM=dumb` they do not.
fn understands_escapes() -> bool {
    anstream::AutoStream::choice(&stdout()) != anstream::ColorChoice::Never
}

/// Columns and rows of the terminal.
fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}

fn columns() -> usize {
    size().map_or(COLUMNS_MAX, |(columns, _)| usize::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_block() -> Screen {
        let line = |text: &str, is_cut| Status { style: Style::new(), text: text.to_owned(), is_cut };
        let status = vec![line(&"─".repeat(100), true), line(&"http://".repeat(10), false), line("", true)];
        Screen { is_quiet: false, has_block: true, queue: VecDeque::new(), status, drawn: Vec::new() }
    }

    #[test]
    fn a_block_is_cut_to_the_terminal_but_for_its_link() {
        let mut screen = with_block();
        let drawn = screen.draw(60);
        let lengths: Vec<usize> = drawn.lines().map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [60, 70, 0]);
        screen.draw(200);
        assert_eq!(screen.drawn, [80, 70, 0]);
    }

    #[test]
    fn what_a_narrower_terminal_wrapped_is_cleared() {
        let mut screen = with_block();
        assert_eq!(screen.erased(80), "", "nothing stands there yet");
        screen.draw(80);
        assert_eq!(screen.erased(80), "\x1b[3A\r\x1b[J");
        assert_eq!(screen.erased(40), "\x1b[5A\r\x1b[J");
        assert_eq!(screen.erased(200), "\x1b[3A\r\x1b[J");
    }
}
