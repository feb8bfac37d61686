//! Reader of the lines of a file that may still be growing: each line with its end, and the hash of
//! everything up to it.

use std::io::{self, BufRead};

/// Reads lines of at most a number of bytes; longer ones are passed over.
pub(super) struct LineReader<R> {
    reader: R,
    max_bytes: usize,
    number: u64,
    line: Vec<u8>,
    is_too_long: bool,
    is_ended: bool,
    /// The end of the last line that had one: `\n` or `\r\n`.
    end: Vec<u8>,
    /// The hash of everything before this line, up to its end, and with its end.
    before: blake3::Hasher,
    unended: blake3::Hasher,
    through: blake3::Hasher,
}

impl<R: BufRead> LineReader<R> {
    pub(super) fn new(reader: R, max_bytes: usize) -> Self {
        Self {
            reader,
            max_bytes,
            number: 0,
            line: Vec::new(),
            is_too_long: false,
            is_ended: true,
            end: b"\n".to_vec(),
            before: blake3::Hasher::new(),
            unended: blake3::Hasher::new(),
            through: blake3::Hasher::new(),
        }
    }

    /// Reads the next line; false at the end of the file.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        let first = self.read_piece()?;
        if first == 0 {
            return Ok(false);
        }
        self.number += 1;
        self.before = self.through.clone();
        self.is_too_long = first > self.max_bytes;
        self.is_ended = self.line.ends_with(b"\n");
        while self.is_too_long && !self.is_ended {
            self.through.update(&self.line);
            if self.read_piece()? == 0 {
                break;
            }
            self.is_ended = self.line.ends_with(b"\n");
        }
        let end = match &self.line[..] {
            [.., b'\r', b'\n'] => 2,
            [.., b'\n'] => 1,
            _ => 0,
        };
        let (content, end) = self.line.split_at(self.line.len() - end);
        self.through.update(content);
        self.unended = self.through.clone();
        self.through.update(end);
        if self.is_ended {
            self.end = end.to_vec();
        } else {
            self.line.extend_from_slice(&self.end);
        }
        Ok(true)
    }

    /// Reads up to the end of the line, or one byte more than the limit; returns the number of bytes.
    fn read_piece(&mut self) -> io::Result<usize> {
        self.line.clear();
        let limit = self.max_bytes as u64 + 1;
        io::Read::take(&mut self.reader, limit).read_until(b'\n', &mut self.line)
    }

    /// The number of the line, counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The line with an end, which is that of the lines before it when it has none yet: a last line has
    /// the same bytes after the file has grown. `None` when it is over the limit.
    pub(super) fn line(&self) -> Option<&[u8]> {
        (!self.is_too_long).then_some(&self.line)
    }

    /// False for a last line without an end: its writer may still be at it.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The hash of everything before this line.
    pub(super) fn hash_before(&self) -> String {
        self.before.finalize().to_hex().to_string()
    }

    /// The hash of everything through this line.
    pub(super) fn hash(&self) -> String {
        self.through.finalize().to_hex().to_string()
    }

    /// Whether `hash` is that of everything through this line, or was before the line got its end.
    pub(super) fn has_hash(&self, hash: &str) -> bool {
        self.hash() == hash || self.unended.finalize().to_hex().as_str() == hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str, max: usize) -> LineReader<&[u8]> {
        let mut lines = LineReader::new(text.as_bytes(), max);
        while lines.advance().unwrap() {}
        lines
    }

    #[test]
    fn a_last_line_is_the_same_before_and_after_it_gets_its_end() {
        for (open, ended) in [("a\nb", "a\nb\n"), ("a\r\nb", "a\r\nb\r\n"), ("b", "b\n")] {
            let (open, ended) = (last(open, 9), last(ended, 9));
            assert!(!open.is_ended() && ended.is_ended());
            assert_eq!(open.line(), ended.line());
            assert!(ended.has_hash(&open.hash()));
            assert!(!open.has_hash(&ended.hash()));
            assert_eq!(open.hash_before(), ended.hash_before());
        }
    }

    #[test]
    fn a_line_over_the_limit_is_passed_over_and_hashed() {
        let text = "ab\n0123456789abcdef\ncd\n";
        let mut lines = LineReader::new(text.as_bytes(), 4);
        let mut found = Vec::new();
        while lines.advance().unwrap() {
            found.push((lines.number(), lines.line().map(<[u8]>::to_vec)));
        }
        let line = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(found, [(1, line("ab\n")), (2, None), (3, line("cd\n"))]);
        let whole = blake3::hash(text.as_bytes()).to_hex();
        assert_eq!(lines.hash(), whole.as_str());
        assert_eq!(lines.hash(), last(text, 99).hash());
    }
}
