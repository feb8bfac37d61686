//! Writes one slice file: sorted rows, rollups, the conversation index, one row about itself.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use duckdb::Connection;
use event::{PartitionId, Position, SeqRange};
use retention::Class;

use crate::{
    disk,
    engine::{self, Engine, text},
    error::{Error, Result},
    layout,
    manifest::Slice,
    schema,
};

const VERSION: u32 = 1;

/// What a slice is to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SliceId {
    pub partition: PartitionId,
    pub range: SeqRange,
    pub class: Class,
    pub level: u8,
}

/// Counts and sums over rows, equal before and after a copy or something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub rows: u64,
    pub bytes: u64,
    pub sum_crc: u64,
    pub received_min: i64,
    pub received_max: i64,
}

/// A name for an attached database that no other has.
pub(crate) fn alias(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{what}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An event: where it lies, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogAnchor {
    pub position: Position,
    pub crc32c: u32,
}

/// The last event of the attached file `alias`, which is of `partition`, by position.
pub(crate) fn newest(
    connection: &Connection,
    alias: &str,
    partition: PartitionId,
) -> Result<Option<LogAnchor>> {
    let sql =
        format!("SELECT seq, idx, crc32c FROM {alias}.events ORDER BY seq DESC, idx DESC LIMIT 1");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(LogAnchor {
        position: Position::new(partition, row.get(0)?, row.get(1)?),
        crc32c: row.get(2)?,
    }))
}

/// The sums over what `source` selects; `None` when it selects nothing.
pub(crate) fn sums(connection: &Connection, source: &str) -> Result<Option<Sums>> {
    let sql = format!(
        "SELECT count(*), coalesce(sum(content_len), 0)::BIGINT, \
         coalesce(sum(crc32c), 0)::BIGINT, coalesce(epoch_us(min(received_at)), 0), \
         coalesce(epoch_us(max(received_at)), 0) FROM {source}"
    );
    let sums = connection.query_row(&sql, [], |row| {
        Ok(Sums {
            rows: row.get(0)?,
            bytes: row.get(1)?,
            sum_crc: row.get(2)?,
            received_min: row.get(3)?,
            received_max: row.get(4)?,
        })
    })?;
    Ok(Some(sums).filter(|sums| sums.rows > 0))
}

/// Writes what `source` selects (columns of `events`) to `path`, which must not be there yet, and
/// syncs it. `connection` must see the source; it must not be inside a transaction.
pub(crate) fn write(
    connection: &Connection,
    path: &Path,
    id: &SliceId,
    source: &str,
) -> Result<()> {
    let alias = alias("stage");
    disk::remove(path)?;
    engine::attach(connection, path, &alias)?;
    let written = connection
        .execute_batch(&format!("USE {alias}; BEGIN; {} COMMIT;", fill(id, source)))
        .and_then(|()| connection.execute_batch(&format!("{INDEX}; CHECKPOINT {alias}")));
    if written.is_err() {
        // What failed has said so; this only makes room for another try.
        let _ = connection.execute_batch("ROLLBACK");
    }
    connection.execute_batch("USE memory")?;
    engine::detach(connection, &alias)?;
    written?;
    disk::sync(path)
}

fn fill(id: &SliceId, source: &str) -> String {
    let SliceId {
        partition,
        range,
        class,
        level,
    } = id;
    let stats = schema::hourly_stats("events", *partition, *range);
    let summary = schema::conversation_summary("events", *partition, *range);
    let (columns, tables) = (schema::COLUMNS, schema::slice());
    let (g, p, e) = (partition.generation, partition.partition, partition.epoch);
    let (lo, hi, class) = (range.lo, range.hi, text(&class.to_string()));
    format!(
        "CREATE TYPE event_type AS ENUM (SELECT DISTINCT type::VARCHAR AS t FROM {source} ORDER BY t); \
         {tables} \
         INSERT INTO events SELECT {columns} FROM {source} \
           ORDER BY tenant, conversation_id, seq, idx; \
         INSERT INTO hourly_stats SELECT * FROM ({stats}) ORDER BY tenant, hour, type; \
         INSERT INTO conversation_summary SELECT * FROM ({summary}) \
           ORDER BY tenant, conversation_id; \
         INSERT INTO segment SELECT {VERSION}, {g}, {p}, {e}, {lo}, {hi}, {class}, {level}, \
           count(*), sum(content_len)::BIGINT, sum(crc32c)::BIGINT, min(received_at), \
           max(received_at) FROM events;"
    )
}

/// Where each conversation lies. Only after the rows are committed: row ids are others before.
const INDEX: &str = "INSERT INTO conversation_rows SELECT tenant, conversation_id, min(rowid), \
     max(rowid), count(*) FROM events GROUP BY tenant, conversation_id \
     ORDER BY tenant, conversation_id";

/// Whether the file at `path` holds what it must, read again from the disk.
pub(crate) fn verify(engine: &Engine, path: &Path, expected: &Sums) -> Result<()> {
    if !path.is_file() {
        return Err(Error::damaged(path, "it is missing"));
    }
    let connection = engine.connect()?;
    let alias = alias("verify");
    let damaged = |error: Error| Error::damaged(path, error);
    engine::attach_read_only(&connection, path, &alias).map_err(damaged)?;
    let found = sums(&connection, &format!("{alias}.events")).map_err(damaged);
    engine::detach(&connection, &alias)?;
    if found? == Some(*expected) {
        return Ok(());
    }
    Err(Error::damaged(
        path,
        "its rows are not those it was written with",
    ))
}

/// The manifest's entry for a slice.
pub(crate) fn entry(id: &SliceId, file: String, sums: &Sums) -> Slice {
    Slice {
        lo: id.range.lo,
        hi: id.range.hi,
        class: id.class,
        level: id.level,
        file,
        rows: sums.rows,
        bytes: sums.bytes,
        sum_crc: sums.sum_crc,
        received_min: sums.received_min,
        received_max: sums.received_max,
    }
}

impl Slice {
    pub(crate) fn sums(&self) -> Sums {
        Sums {
            rows: self.rows,
            bytes: self.bytes,
            sum_crc: self.sum_crc,
            received_min: self.received_min,
            received_max: self.received_max,
        }
    }
}

impl SliceId {
    pub(crate) fn file(&self) -> String {
        layout::slice_name(self.level, self.range, self.class)
    }
}
