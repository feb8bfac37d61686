//! Reader of the legacy database; it is opened read-only.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, types::ValueRef};
use url::Url;

use super::{legacy::RawRow, source};

const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Maximum rows of a page.
const PAGE_ROWS: u32 = 1000;

const COLUMNS: &str = "rowid, id, conversation_id, chunk, parsed_data, timestamp";

/// An open legacy database.
#[derive(Debug)]
pub(super) struct Database(Connection);

impl Database {
    /// Opens the file and checks that it has the table.
    pub(super) fn open(file: &Path) -> anyhow::Result<Self> {
        let name = file.display();
        anyhow::ensure!(
            !file.is_dir(),
            "{name} is a folder; name the database in it"
        );
        anyhow::ensure!(file.is_file(), "there is no file {name}");
        source::check_database(file)?;
        let connection = Connection::open_with_flags(file, FLAGS);
        let mut database = Self(connection.with_context(|| format!("open {name}"))?);
        let mut page = database.page(i64::MAX, i64::MAX);
        if page.as_ref().is_err_and(cannot_open) {
            database = Self::open_unchanging(file)?;
            page = database.page(i64::MAX, i64::MAX);
        }
        if let Some(error) = page.as_ref().err().filter(|error| is_damage(error)) {
            return Err(damaged(file, &error.root_cause().to_string()));
        }
        if page
            .as_ref()
            .is_err_and(|error| code(error) != Some(ErrorCode::Unknown))
        {
            page.with_context(|| format!("read {name}"))?;
            return Ok(database);
        }
        page.with_context(|| {
            format!(
                "{name} has no table streams(id, conversation_id, chunk, parsed_data, timestamp): \
                 is it the right file?"
            )
        })?;
        Ok(database)
    }

    /// Opens a database beside which SQLite can create no file, as on read-only media.
    fn open_unchanging(file: &Path) -> anyhow::Result<Self> {
        let name = file.display();
        let wal = beside(file, "-wal");
        anyhow::ensure!(
            !wal.metadata()
                .is_ok_and(|wal| wal.is_file() && wal.len() > 0),
            "{name} has rows in {}, which SQLite reads only in a folder that can be written: copy both \
             files to one and import from there",
            wal.display()
        );
        let whole = file.canonicalize();
        let whole = whole.with_context(|| format!("open {name}"))?;
        let mut url = Url::from_file_path(whole).map_err(|()| anyhow!("open {name}"))?;
        url.set_query(Some("immutable=1"));
        let flags = FLAGS | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(url.as_str(), flags);
        Ok(Self(connection.with_context(|| format!("open {name}"))?))
    }

    /// Refuses a file with damaged pages. Without this check SQLite would read as many rows as it can and
    /// report no error.
    pub(super) fn check(&self, file: &Path) -> anyhow::Result<()> {
        let sql = "PRAGMA quick_check(1)";
        let report = self.0.query_row(sql, [], |row| row.get::<_, String>(0));
        let what = match report {
            Ok(report) if report == "ok" => return Ok(()),
            Ok(report) => report.split_whitespace().collect::<Vec<_>>().join(" "),
            Err(error) => {
                let error = anyhow::Error::new(error);
                if !is_damage(&error) {
                    return Err(error.context(format!("check {}", file.display())));
                }
                error.to_string()
            }
        };
        Err(damaged(file, &what))
    }

    /// Returns a hash of the schema and of the first row: the same for a copy, and after rows were added.
    pub(super) fn identity(&self) -> anyhow::Result<String> {
        let schema = "SELECT sql FROM sqlite_master WHERE name = 'streams'";
        let schema: String = self.0.query_row(schema, [], |row| row.get(0))?;
        let sql = format!("SELECT {COLUMNS} FROM streams ORDER BY rowid LIMIT 1");
        let mut statement = self.0.prepare(&sql)?;
        let first = statement.query_map([], raw_row)?.next().transpose()?;
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(schema.as_bytes());
        if let Some(first) = first {
            add(first.id.as_bytes());
            add(first.conversation.as_bytes());
            add(first.timestamp.as_bytes());
            add(&first.chunk);
        }
        Ok(format!("sqlite:{}", hasher.finalize().to_hex()))
    }

    /// Returns the highest rowid, `None` when the table is empty.
    pub(super) fn last_rowid(&self) -> anyhow::Result<Option<i64>> {
        let sql = "SELECT max(rowid) FROM streams";
        Ok(self.0.query_row(sql, [], |row| row.get(0))?)
    }

    /// Counts the rows with `after` < rowid <= `end`.
    pub(super) fn count(&self, after: i64, end: i64) -> anyhow::Result<u64> {
        let sql = "SELECT count(*) FROM streams WHERE rowid > ?1 AND rowid <= ?2";
        Ok(self.0.query_row(sql, [after, end], |row| row.get(0))?)
    }

    /// Returns at most [`PAGE_ROWS`] rows with `after` < rowid <= `end`, ascending by rowid: the order in
    /// which they were written.
    pub(super) fn page(&self, after: i64, end: i64) -> anyhow::Result<Vec<RawRow>> {
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM streams WHERE rowid > ?1 AND rowid <= ?2 \
             ORDER BY rowid LIMIT {PAGE_ROWS}"
        ))?;
        let rows = statement.query_map([after, end], raw_row)?;
        rows.collect::<Result<_, _>>().context("read the database")
    }
}

fn code(error: &anyhow::Error) -> Option<ErrorCode> {
    let error = error.downcast_ref::<rusqlite::Error>()?;
    error.sqlite_error_code()
}

fn cannot_open(error: &anyhow::Error) -> bool {
    code(error) == Some(ErrorCode::CannotOpen)
}

fn is_damage(error: &anyhow::Error) -> bool {
    matches!(
        code(error),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure)
    )
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn damaged(file: &Path, what: &str) -> anyhow::Error {
    let name = file.display();
    anyhow!(
        "{name} is damaged, nothing was sent ({what}): import a whole copy, or what \
         `sqlite3 {name} .recover` saves of it"
    )
}

fn raw_row(row: &Row<'_>) -> rusqlite::Result<RawRow> {
    let bytes = |index| Ok::<_, rusqlite::Error>(bytes(row.get_ref(index)?).unwrap_or_default());
    let text =
        |index| Ok::<_, rusqlite::Error>(String::from_utf8_lossy(&bytes(index)?).into_owned());
    let parsed_data = self::bytes(row.get_ref(4)?);
    Ok(RawRow {
        rowid: row.get(0)?,
        id: text(1)?,
        conversation: text(2)?,
        chunk: bytes(3)?,
        parsed_data: parsed_data.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        timestamp: text(5)?,
    })
}

/// Returns a value as bytes: SQLite stores any type in any column, and a text may have any bytes.
fn bytes(value: ValueRef<'_>) -> Option<Vec<u8>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
        ValueRef::Real(number) => Some(format!("{number:?}").into_bytes()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_in_the_wal_alone_are_never_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("legacy.db");
        Connection::open(&file).unwrap();
        Database::open_unchanging(&file).unwrap();
        std::fs::write(beside(&file, "-wal"), "rows").unwrap();
        let said = Database::open_unchanging(&file).unwrap_err().to_string();
        assert!(
            said.contains("legacy.db-wal") && said.contains("copy both"),
            "{said}"
        );
    }
}
