//! A statement's bytes as UTF-8 lines, whatever encoding and line ends the file has.

use std::io::{self, Read, Seek, SeekFrom};

use encoding_rs::{Decoder, Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Bytes that the encoding is recognized by.
const SAMPLE: u64 = 4096;
/// Bytes that are read at a time.
const CHUNK: usize = 32 << 10;

/// How the file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// UTF-8, or single bytes. Each cell that is read is decoded by itself, so that a stray byte spoils nothing else.
    Bytes,
    /// Two bytes a unit.
    Utf16(&'static Encoding),
}

/// Recognizes the encoding by its byte order mark or, where there is none, by the zero bytes of UTF-16. `Err` names a kind of file
/// that is not text.
pub(super) fn recognized(input: &mut (impl Read + Seek)) -> io::Result<Result<Writing, &'static str>> {
    let mut sample = Vec::new();
    input.seek(SeekFrom::Start(0))?;
    input.by_ref().take(SAMPLE).read_to_end(&mut sample)?;
    Ok(of_sample(&sample))
}

fn of_sample(sample: &[u8]) -> Result<Writing, &'static str> {
    const OTHERS: [(&[u8], &str); 5] = [
        (b"PK\x03\x04", "an Excel workbook or a ZIP archive"),
        (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
        (b"%PDF", "a PDF document"),
        (b"\x1f\x8b", "compressed with gzip"),
        (b"<", "HTML or XML"),
    ];
    if let Some((_, kind)) = OTHERS.into_iter().find(|(magic, _)| sample.trim_ascii_start().starts_with(magic)) {
        return Err(kind);
    }
    if let Some((encoding, _)) = Encoding::for_bom(sample) {
        return Ok(if encoding == UTF_16LE || encoding == UTF_16BE { Writing::Utf16(encoding) } else { Writing::Bytes });
    }
    // Column names, ids and digits are ASCII: in UTF-16 every other byte is zero.
    let zeros = |from: usize| sample.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, many) = (zeros(0), zeros(1), sample.len() / 5);
    Ok(match () {
        () if odd > many && odd > 4 * even => Writing::Utf16(UTF_16LE),
        () if even > many && even > 4 * odd => Writing::Utf16(UTF_16BE),
        () => Writing::Bytes,
    })
}

/// Decodes a cell: UTF-8, or else Windows-1252, which has a character for every byte.
pub(super) fn decoded(cell: &[u8]) -> String {
    let text = match std::str::from_utf8(cell) {
        Ok(text) => text.into(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(cell).0,
    };
    let text = text.trim_matches(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '\u{feff}');
    // Spreadsheets keep text from being read as a number by an apostrophe, or as a formula.
    let text = text.strip_prefix("=\"").and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let text = text.strip_prefix('\'').unwrap_or(text);
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Reads a file as UTF-8 (or single bytes) with `\n` at the end of each line, the last one included.
pub(super) struct Text<R> {
    input: R,
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    ready: Vec<u8>,
    at: usize,
    was_return: bool,
    last: u8,
    is_over: bool,
    /// The file does not end with the end of a line.
    pub(super) is_unended: bool,
}

impl<R: Read> Text<R> {
    pub(super) fn new(input: R, writing: Writing) -> Self {
        let decoder = match writing {
            Writing::Bytes => None,
            Writing::Utf16(encoding) => Some(encoding.new_decoder_with_bom_removal()),
        };
        let (raw, ready) = (vec![0; CHUNK], Vec::new());
        Self { input, decoder, raw, ready, at: 0, was_return: false, last: b'\n', is_over: false, is_unended: false }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.at = 0;
        self.ready.clear();
        while self.ready.is_empty() && !self.is_over {
            let count = match self.input.read(&mut self.raw) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.is_over = count == 0;
            match &mut self.decoder {
                None => take_lines(&self.raw[..count], &mut self.was_return, &mut self.ready),
                Some(decoder) => {
                    let mut text = String::with_capacity(decoder.max_utf8_buffer_length(count).unwrap_or(4 * CHUNK));
                    let _ = decoder.decode_to_string(&self.raw[..count], &mut text, self.is_over);
                    take_lines(text.as_bytes(), &mut self.was_return, &mut self.ready);
                }
            }
            self.last = self.ready.last().copied().unwrap_or(self.last);
            if self.is_over && self.last != b'\n' {
                self.is_unended = true;
                self.ready.push(b'\n');
            }
        }
        Ok(())
    }
}

/// Appends text with `\n` for `\r\n` and `\r`.
fn take_lines(text: &[u8], was_return: &mut bool, ready: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'\n' if *was_return => {}
            b'\r' => ready.push(b'\n'),
            _ => ready.push(*byte),
        }
        *was_return = *byte == b'\r';
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.refill()?;
        }
        let count = (self.ready.len() - self.at).min(buffer.len());
        buffer[..count].copy_from_slice(&self.ready[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_decoded_whatever_its_bytes_are() {
        for (cell, text) in [
            (&b" rch_1 "[..], "rch_1"),
            (b"\xef\xbb\xbfid", "id"),
            (b"Jos\xe9", "José"),
            (b"Jos\xc3\xa9", "José"),
            (b"1\xa0000,00", "1\u{a0}000,00"),
            (b"\x80 5", "€ 5"),
            (b"=\"0012\"", "0012"),
            (b"'0012", "0012"),
            (b"a\x1b[31mb", "a [31mb"),
        ] {
            assert_eq!(decoded(cell), text);
        }
    }

    #[test]
    fn lines_end_in_one_way() {
        for text in ["a\r\nb\r\n", "a\rb\r", "a\nb", "a\r\nb"] {
            let mut read = String::new();
            Text::new(text.as_bytes(), Writing::Bytes).read_to_string(&mut read).unwrap();
            assert_eq!(read, "a\nb\n", "{text:?}");
        }
    }

    #[test]
    fn utf_16_is_known_without_a_mark() {
        let units = |text: &str, big: bool| -> Vec<u8> {
            text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
        };
        let text = "reference;state\nrch_1;Erfüllt\n";
        for big in [false, true] {
            for mark in ["", "\u{feff}"] {
                let bytes = units(&format!("{mark}{text}"), big);
                let writing = of_sample(&bytes).unwrap();
                assert_eq!(writing, Writing::Utf16(if big { UTF_16BE } else { UTF_16LE }));
                let mut read = String::new();
                Text::new(&bytes[..], writing).read_to_string(&mut read).unwrap();
                assert_eq!(read, text);
            }
        }
        assert_eq!(of_sample(b"\xef\xbb\xbfreference,state\n"), Ok(Writing::Bytes));
        assert!(of_sample(b"PK\x03\x04...").is_err() && of_sample(b"\n<html>").is_err());
    }
}
