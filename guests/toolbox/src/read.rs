//! `read-file`: a range of lines, with a buffer's worth of memory.

use crate::bindings::exports::casemate::toolbox::files::FileText;
use crate::failure::{Attempt, explain, refuse};
use crate::text::{cut, is_binary};
use memchr::memchr;
use std::fs::File;
use std::io::{BufRead, BufReader, Error};
use std::path::Path;

/// How much text is returned.
const MAX_TEXT: usize = 256 << 10;

/// How far to read on after the range, only to count lines.
const MAX_COUNTED: usize = 8 << 20;

/// The lines asked for, counted from 1, both ends included.
#[derive(Debug)]
pub(crate) struct Lines {
    first: u64,
    last: u64,
}

impl Lines {
    pub(crate) fn new(first: Option<u32>, last: Option<u32>) -> Result<Self, String> {
        match (first, last) {
            (Some(0), _) | (_, Some(0)) => Err("lines are counted from 1, not from 0".to_owned()),
            (Some(first), Some(last)) if last < first => {
                Err(format!("`end-line` {last} is before `start-line` {first}"))
            }
            _ => Ok(Self { first: first.map_or(1, u64::from), last: last.map_or(u64::MAX, u64::from) }),
        }
    }
}

/// Reads those lines of the file at `path`.
pub(crate) fn read(path: &Path, lines: &Lines) -> Result<FileText, String> {
    let file = open(path)?;
    let size = file.metadata().map_err(|error| explain(Attempt::Read, path, &error))?.len();
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut scan = Scan::new(lines);
    scan.run(&mut reader).map_err(|error| explain(Attempt::Read, path, &error))?;
    if scan.binary {
        let reason = format!("it is a binary file of {size} bytes, not text");
        return Err(refuse(Attempt::Read, path, &reason));
    }
    scan.finish().map_err(|reason| refuse(Attempt::Read, path, &reason))
}

/// Opens a file, and nothing else that has a path.
pub(crate) fn open(path: &Path) -> Result<File, String> {
    let metadata = path.metadata().map_err(|error| explain(Attempt::Open, path, &error))?;
    if metadata.is_dir() {
        let reason = "it is a folder; list it with `list-dir`";
        return Err(refuse(Attempt::Open, path, reason));
    }
    if !metadata.is_file() {
        return Err(refuse(Attempt::Open, path, "it is not a file"));
    }
    File::open(path).map_err(|error| explain(Attempt::Open, path, &error))
}

/// One pass over a file.
struct Scan<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
    /// Where in `text` the line that is being read begins.
    line_start: usize,
    /// The number of the line that is being read, and how much of it is read.
    line: u64,
    line_bytes: u64,
    /// How many lines are in `text`.
    taken: u64,
    counted: usize,
    truncated: bool,
    binary: bool,
    ended: bool,
}

impl<'a> Scan<'a> {
    fn new(lines: &'a Lines) -> Self {
        Self {
            lines,
            text: Vec::new(),
            line_start: 0,
            line: 1,
            line_bytes: 0,
            taken: 0,
            counted: 0,
            truncated: false,
            binary: false,
            ended: false,
        }
    }

    fn run(&mut self, reader: &mut impl BufRead) -> Result<(), Error> {
        self.binary = is_binary(reader.fill_buf()?);
        while !self.binary && self.counted < MAX_COUNTED {
            let buffer = reader.fill_buf()?;
            if buffer.is_empty() {
                self.ended = true;
                break;
            }
            let consumed = buffer.len();
            self.add_all(buffer);
            reader.consume(consumed);
        }
        self.binary |= self.text.contains(&0);
        Ok(())
    }

    /// `memchr`, because this is where most of the time goes in a large file.
    fn add_all(&mut self, mut buffer: &[u8]) {
        while !buffer.is_empty() {
            let end = memchr(b'\n', buffer).map_or(buffer.len(), |newline| newline + 1);
            let (piece, rest) = buffer.split_at(end);
            self.add(piece);
            buffer = rest;
        }
    }

    /// Takes a line, or the part of one that was in the buffer.
    fn add(&mut self, piece: &[u8]) {
        if self.truncated || self.line > self.lines.last {
            self.counted = self.counted.saturating_add(piece.len());
        } else if self.line >= self.lines.first {
            self.take(piece);
        }
        self.line_bytes += piece.len() as u64;
        if piece.ends_with(b"\n") {
            self.line += 1;
            self.line_bytes = 0;
        }
    }

    fn take(&mut self, piece: &[u8]) {
        if self.line_bytes == 0 {
            self.line_start = self.text.len();
            self.taken += 1;
        }
        self.text.extend_from_slice(piece);
        if self.text.len() > MAX_TEXT {
            self.truncate();
        }
    }

    /// Drops the line that does not fit, or its end when there is no other line.
    fn truncate(&mut self) {
        self.truncated = true;
        if self.line_start > 0 {
            self.text.truncate(self.line_start);
            self.taken -= 1;
        } else {
            let kept = cut(&self.text, MAX_TEXT).len();
            self.text.truncate(kept);
        }
    }

    fn finish(self) -> Result<FileText, String> {
        let total = match self.line_bytes {
            0 => self.line - 1,
            _ => self.line,
        };
        if self.ended && self.lines.first > total.max(1) {
            return Err(format!("it has only {total} lines, none from line {} on", self.lines.first));
        }
        let (text, lossy) = match String::from_utf8(self.text) {
            Ok(text) => (text, false),
            Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
        };
        Ok(FileText {
            text,
            first_line: self.lines.first,
            last_line: self.lines.first + self.taken - u64::from(self.taken > 0),
            total_lines: self.ended.then_some(total),
            truncated: self.truncated,
            lossy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads lines of a file with that content.
    fn read_lines(content: impl AsRef<[u8]>, first: Option<u32>, last: Option<u32>) -> Result<FileText, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        read(&path, &Lines::new(first, last)?).map_err(|error| error.replace(&path.display().to_string(), "file"))
    }

    #[track_caller]
    fn check(content: &str, range: (Option<u32>, Option<u32>), text: &str, last: u64, total: u64) {
        let read = read_lines(content, range.0, range.1).unwrap();
        assert_eq!(read.text, text);
        assert_eq!(read.first_line, range.0.map_or(1, u64::from));
        assert_eq!((read.last_line, read.total_lines), (last, Some(total)));
        assert!(!read.truncated && !read.lossy);
    }

    #[test]
    fn a_range_has_both_its_ends() {
        let content = "a\nb\r\nc\nd";
        check(content, (None, None), content, 4, 4);
        check(content, (Some(2), Some(3)), "b\r\nc\n", 3, 4);
        check(content, (Some(4), None), "d", 4, 4);
        check(content, (None, Some(1)), "a\n", 1, 4);
        check(content, (Some(3), Some(99)), "c\nd", 4, 4);
        check("a\n", (None, None), "a\n", 1, 1);
        check("\n\n", (Some(2), Some(2)), "\n", 2, 2);
    }

    #[test]
    fn an_empty_file_has_no_lines() {
        let read = read_lines("", None, None).unwrap();
        assert_eq!((read.text.as_str(), read.total_lines), ("", Some(0)));
    }

    #[test]
    fn a_range_that_cannot_be_is_an_error() {
        let check = |first, last, message| {
            assert_eq!(read_lines("a\nb\n", first, last).unwrap_err(), message);
        };
        check(Some(0), None, "lines are counted from 1, not from 0");
        check(Some(3), Some(2), "`end-line` 2 is before `start-line` 3");
        check(Some(3), None, "cannot read `file`: it has only 2 lines, none from line 3 on");
    }

    #[test]
    fn long_text_ends_with_a_whole_line() {
        let line = "x".repeat(1023) + "\n";
        let read = read_lines(line.repeat(300), None, None).unwrap();
        assert_eq!(read.text, line.repeat(256));
        assert_eq!((read.last_line, read.total_lines), (256, Some(300)));
        assert!(read.truncated);

        let rest = read_lines(line.repeat(300), Some(257), None).unwrap();
        assert_eq!((rest.last_line, rest.truncated), (300, false));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let read = read_lines("é".repeat(MAX_TEXT) + "\nnext\n", None, None).unwrap();
        assert_eq!(read.text.len(), MAX_TEXT);
        assert_eq!((read.last_line, read.total_lines), (1, Some(2)));
        assert!(read.truncated && !read.lossy);
    }

    #[test]
    fn reading_stops_early_in_a_large_file() {
        let content = "a line of text\n".repeat((MAX_COUNTED + MAX_TEXT) / 8);
        let read = read_lines(content, Some(2), Some(2)).unwrap();
        assert_eq!((read.text.as_str(), read.total_lines), ("a line of text\n", None));
        assert!(!read.truncated);
    }

    #[test]
    fn a_binary_file_is_named_as_one() {
        assert_eq!(
            read_lines(b"\x7fELF\0\0", None, None).unwrap_err(),
            "cannot read `file`: it is a binary file of 6 bytes, not text"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let read = read_lines(b"caf\xe9\n", None, None).unwrap();
        assert_eq!((read.text.as_str(), read.lossy), ("caf\u{fffd}\n", true));
    }

    #[test]
    fn a_folder_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            open(folder.path()).unwrap_err(),
            format!("cannot open `{}`: it is a folder; list it with `list-dir`", folder.path().display())
        );
    }
}
