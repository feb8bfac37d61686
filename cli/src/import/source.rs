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
    Json,
    Other,
}

impl FileKind {
    fn of(head: &[u8]) -> Self {
        if head.is_empty() || head.starts_with(SQLITE) {
            Self::Sqlite
        } else if head.starts_with(GZIP) {
            Self::Gzip
        } else if head.trim_ascii_start().starts_with(b"{") {
            Self::Json
        } else {
            Self::Other
        }
    }

    /// Returns why `import sqlite` refuses it; `None` when it is a database.
    fn not_a_database(self, name: &str) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Gzip => Some(format!(
                "{name} is packed: unpack it first when it is a database, or call `isotherm import \
                 jsonl {name}` when it holds one JSON object a line"
            )),
            Self::Json => Some(format!(
                "{name} is no SQLite database, it holds JSON: call `isotherm import jsonl {name}`"
            )),
            Self::Other => Some(format!(
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

/// Opens a file, or stdin for `-`, decompressing it when it is gzip. Refuses a SQLite database.
pub(super) fn open_lines(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let name = file.display();
    let is_stdin = file.as_os_str() == "-";
    let mut reader: Box<dyn BufRead> = if is_stdin {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened = File::open(file).with_context(|| format!("read {name}"))?;
        Box::new(BufReader::new(opened))
    };
    // A read error occurs again when lines are read.
    let head = reader.fill_buf().unwrap_or_default();
    match head.starts_with(SQLITE) {
        false => {}
        true if is_stdin => bail!(
            "stdin is a SQLite database: save it to a file and call `isotherm import sqlite FILE`"
        ),
        true => bail!("{name} is a SQLite database: call `isotherm import sqlite {name}`"),
    }
    if FileKind::of(head) == FileKind::Gzip {
        reader = Box::new(BufReader::new(MultiGzDecoder::new(reader)));
    }
    Ok(reader)
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
