//! Detection of a file's format by its first bytes, not by its name.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use anyhow::{Context as _, anyhow, bail};
use flate2::read::MultiGzDecoder;

const SQLITE: &[u8] = b"SQLite format 3\0";
const GZIP: &[u8] = &[0x1f, 0x8b];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileKind {
    /// An empty file too, which SQLite opens as an empty database.
    Sqlite,
    Gzip,
    /// Packed otherwise; the command that unpacks it.
    Packed(&'static str),
    Utf16,
    Json,
    /// One JSON array.
    Array,
    /// A JSON object over several lines.
    Document,
    Other,
}

/// First bytes of packed files, and the commands that unpack them.
const PACKED: [(&[u8], &str); 4] = [
    (b"\x28\xb5\x2f\xfd", "zstd -dc"),
    (b"\xfd7zXZ\0", "xz -dc"),
    (b"BZh", "bzip2 -dc"),
    (b"PK\x03\x04", "unzip -p"),
];
/// First bytes of UTF-16: byte order marks, and brackets without one.
const UTF_16: [&[u8]; 6] = [b"\xff\xfe", b"\xfe\xff", b"{\0", b"[\0", b"\0{", b"\0["];

impl FileKind {
    fn of(head: &[u8]) -> Self {
        if head.is_empty() || head.starts_with(SQLITE) {
            return Self::Sqlite;
        }
        if head.starts_with(GZIP) {
            return Self::Gzip;
        }
        if let Some((_, command)) = PACKED.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Self::Packed(command);
        }
        if UTF_16.iter().any(|start| head.starts_with(start)) {
            return Self::Utf16;
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        match text.trim_ascii_start() {
            [b'[', ..] => Self::Array,
            [b'{', rest @ ..] => {
                let blank = rest
                    .iter()
                    .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
                match rest.get(blank.count()) {
                    Some(b'\n') => Self::Document,
                    _ => Self::Json,
                }
            }
            _ => Self::Other,
        }
    }

    /// Returns why `import jsonl` refuses it; `None` when it may be lines of JSON.
    fn not_lines(self, name: &str, is_stdin: bool) -> Option<String> {
        let import = "isotherm import jsonl -";
        match self {
            Self::Sqlite if is_stdin => Some(
                "stdin is a SQLite database: save it to a file and call `isotherm import sqlite FILE`"
                    .to_owned(),
            ),
            Self::Sqlite => Some(format!(
                "{name} is a SQLite database: call `isotherm import sqlite {name}`"
            )),
            Self::Packed(unpack) => Some(format!(
                "{name} is packed: call `{unpack} {name} | {import}`"
            )),
            Self::Utf16 => Some(format!(
                "{name} is UTF-16, as PowerShell's `>` writes it, and must be UTF-8: call `iconv -f \
                 UTF-16 -t UTF-8 {name} | {import}`"
            )),
            Self::Array => Some(format!(
                "{name} is one JSON array, not one object a line: call `jq -c '.[]' {name} | {import}`"
            )),
            Self::Document => Some(format!(
                "{name} is JSON over several lines, not one object a line: call `jq -c . {name} | \
                 {import}`"
            )),
            Self::Gzip | Self::Json | Self::Other => None,
        }
    }

    /// Returns why `import sqlite` refuses it; `None` when it is a database.
    fn not_a_database(self, name: &str) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Gzip | Self::Packed(_) => Some(format!(
                "{name} is packed: unpack it first when it is a database, or call `isotherm import \
                 jsonl {name}` when it holds one JSON object a line"
            )),
            Self::Json | Self::Array | Self::Document => Some(format!(
                "{name} is no SQLite database, it holds JSON: call `isotherm import jsonl {name}`"
            )),
            Self::Utf16 | Self::Other => Some(format!(
                "{name} is no SQLite database: is it the right file?"
            )),
        }
    }
}

/// Refuses a file that is no SQLite database.
pub(super) fn check_database(file: &Path) -> anyhow::Result<()> {
    let name = file.display().to_string();
    let opened = File::open(file).with_context(|| format!("read {name}"))?;
    let mut head = Vec::new();
    let head_len = SQLITE.len() as u64;
    opened
        .take(head_len)
        .read_to_end(&mut head)
        .with_context(|| format!("read {name}"))?;
    match FileKind::of(&head).not_a_database(&name) {
        None => Ok(()),
        Some(sentence) => Err(anyhow!(sentence)),
    }
}

/// Opens a file, or stdin for `-`, decompressing it when it is gzip. Refuses what is no lines of JSON.
pub(super) fn open_lines(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let is_stdin = file.as_os_str() == "-";
    let name = match is_stdin {
        true => "stdin".to_owned(),
        false => file.display().to_string(),
    };
    let mut reader: Box<dyn BufRead> = if is_stdin {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened = File::open(file).with_context(|| format!("read {name}"))?;
        Box::new(BufReader::new(opened))
    };
    let mut kind = kind_of(&mut reader);
    if kind == Some(FileKind::Gzip) {
        reader = Box::new(BufReader::new(MultiGzDecoder::new(reader)));
        kind = kind_of(&mut reader);
    }
    match kind.and_then(|kind| kind.not_lines(&name, is_stdin)) {
        None => Ok(reader),
        Some(sentence) => bail!(sentence),
    }
}

/// `None` when nothing can be read: a read error occurs again when lines are read.
fn kind_of(reader: &mut dyn BufRead) -> Option<FileKind> {
    let head = reader.fill_buf().ok().filter(|head| !head.is_empty())?;
    Some(FileKind::of(head))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_file_that_is_a_database_is_sent_to_the_other_command() {
        let database = file(b"SQLite format 3\0and more");
        let refused = open_lines(database.path()).err().unwrap().to_string();
        let command = format!("isotherm import sqlite {}", database.path().display());
        assert!(refused.contains("is a SQLite database"), "{refused}");
        assert!(refused.contains(&command), "{refused}");
        check_database(database.path()).unwrap();
        check_database(file(b"").path()).unwrap();
    }

    #[test]
    fn a_file_of_lines_is_sent_to_the_other_command() {
        for (bytes, word) in [
            (&b" \n{\"content\":\"x\"}\n"[..], "import jsonl "),
            (b"\x1f\x8b\x08\0", "import jsonl "),
            (b"SQLite format 2\0", "is it the right file?"),
        ] {
            let file = file(bytes);
            let refused = check_database(file.path()).unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
            open_lines(file.path()).unwrap();
        }
    }
}
