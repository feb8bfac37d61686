use std::collections::BTreeMap;

use rusqlite::Connection;
use tempfile::TempDir;

/// A legacy database with three conversations, one character a row.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    path: String,
    _dir: TempDir,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Damage {
    ZeroedPage,
    CutOff,
}

impl Database {
    pub(crate) fn new(rows: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("legacy.db");
        let connection = Connection::open(&path).unwrap();
        let schema = format!(
            "CREATE TABLE streams (id TEXT PRIMARY KEY, conversation_id TEXT NOT NULL,
             chunk TEXT NOT NULL, parsed_data TEXT, timestamp TEXT NOT NULL);
             CREATE INDEX newest ON streams(conversation_id, timestamp DESC);
             -- {rows}"
        );
        connection.execute_batch(&schema).unwrap();
        let database = Self {
            connection,
            path: path.to_str().unwrap().to_owned(),
            _dir: dir,
        };
        if rows > 0 {
            database.insert(&format!("first of {rows}"), "a", "x", "2026-01-01 00:00:00");
            database.grow(rows - 1);
        }
        database
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn insert(&self, id: &str, conversation: &str, chunk: &str, timestamp: &str) {
        let sql = "INSERT INTO streams VALUES (?1, ?2, ?3, NULL, ?4)";
        self.connection
            .execute(sql, [id, conversation, chunk, timestamp])
            .unwrap();
    }

    /// Appends rows: plain ones, every fifth with data, now and then bytes that are no text.
    pub(crate) fn grow(&self, rows: usize) {
        let sql = "WITH RECURSIVE n(i) AS (SELECT (SELECT max(rowid) FROM streams) + 1
                     UNION ALL SELECT i + 1 FROM n LIMIT ?1)
                   INSERT INTO streams SELECT 'id-' || i, substr('abc', 1 + i % 3, 1),
                     CASE WHEN i % 101 = 0 THEN CAST(x'ff00' AS TEXT) ELSE char(97 + i % 26, 233) END,
                     CASE WHEN i % 5 = 0 THEN '{\"type\":\"tool.call\",\"step\":' || i || '.50}' END,
                     strftime('%Y-%m-%d %H:%M:%f', 1767225600 + i / 100.0, 'unixepoch') FROM n";
        self.connection.execute(sql, [rows]).unwrap();
    }

    /// Takes the newest rows away.
    pub(crate) fn shorten(&self, rows: usize) {
        let sql = "DELETE FROM streams WHERE rowid > (SELECT max(rowid) - ?1 FROM streams)";
        self.connection.execute(sql, [rows]).unwrap();
    }

    /// Breaks the file beneath SQLite.
    pub(crate) fn damage(&self, damage: Damage) {
        const PAGE: usize = 4096;
        let mut bytes = std::fs::read(&self.path).unwrap();
        let pages = bytes.len() / PAGE;
        match damage {
            Damage::ZeroedPage => bytes[pages / 2 * PAGE..][..PAGE].fill(0),
            Damage::CutOff => bytes.truncate(pages * 2 / 3 * PAGE),
        }
        std::fs::write(&self.path, bytes).unwrap();
    }

    /// Copies it as its writer would have closed it in WAL mode: without the two files beside it.
    pub(crate) fn copy_as_wal(&self, to: &std::path::Path) {
        let sql = "PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection.execute_batch(sql).unwrap();
        std::fs::copy(&self.path, to).unwrap();
    }

    /// The text of each conversation as SQLite itself joins it.
    pub(crate) fn joined(&self) -> BTreeMap<String, Vec<u8>> {
        let sql = "SELECT conversation_id, CAST(group_concat(chunk, '' ORDER BY rowid) AS BLOB)
                   FROM streams GROUP BY conversation_id";
        let mut statement = self.connection.prepare(sql).unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}
