//! A slice file: sorted rows, rollups, the conversation index, and one row with its metadata.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use duckdb::Connection;
use event::{PartitionId, Position, SeqRange};
use retention::Class;

use crate::{
    classify::RowRef,
    disk,
    engine::{self, Engine, text},
    error::{Error, Result},
    layout,
    log_end::LogAnchor,
    manifest::Slice,
    schema,
};

/// Version of the slice file's format, stored in its table `segment`.
const SLICE_FORMAT_VERSION: u32 = 1;

/// The identity of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SliceId {
    pub partition: PartitionId,
    pub range: SeqRange,
    pub class: Class,
    pub level: u8,
}

/// Counts and sums over rows: the checksum by which a copy is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub rows: u64,
    /// Bytes of content.
    pub bytes: u64,
    pub sum_crc: u64,
    /// In microseconds.
    pub received_min: i64,
    /// In microseconds.
    pub received_max: i64,
}

impl Sums {
    /// The sums over all rows of `parts`.
    pub(crate) fn total(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Vec<Self> = parts.into_iter().collect();
        let sum = |field: fn(&Self) -> u64| parts.iter().map(field).sum();
        Self {
            rows: sum(|own| own.rows),
            bytes: sum(|own| own.bytes),
            sum_crc: sum(|own| own.sum_crc),
            received_min: parts.iter().map(|s| s.received_min).min().unwrap_or(0),
            received_max: parts.iter().map(|s| s.received_max).max().unwrap_or(0),
        }
    }

    /// The sums over `rows` of `batches`, of which there must be one at least.
    pub(crate) fn of(batches: &[RecordBatch], rows: &[RowRef]) -> Result<Self> {
        let columns = batches.iter().map(SumColumns::of);
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut sums = Self {
            rows: rows.len() as u64,
            bytes: 0,
            sum_crc: 0,
            received_min: i64::MAX,
            received_max: i64::MIN,
        };
        for row in rows {
            let (batch, row) = row.indices();
            let SumColumns(len, crc, received) = columns[batch];
            sums.bytes += len[row].cast_unsigned();
            sums.sum_crc += crc[row].cast_unsigned();
            sums.received_min = sums.received_min.min(received[row]);
            sums.received_max = sums.received_max.max(received[row]);
        }
        Ok(sums)
    }
}

/// The column `content_len` of each of `batches`, in bytes.
pub(crate) fn content_lengths(batches: &[RecordBatch]) -> Result<Vec<&[i64]>> {
    let columns = batches.iter().map(SumColumns::of);
    columns.map(|columns| Ok(columns?.0)).collect()
}

/// The values of `content_len`, `crc32c` and `received_at`.
#[derive(Clone, Copy)]
struct SumColumns<'a>(&'a [i64], &'a [i64], &'a [i64]);

impl<'a> SumColumns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            column.ok_or_else(|| Error::Rows(format!("no column {name}")))
        };
        let long = |name| Ok::<_, Error>(column(name)?.as_primitive::<Int64Type>().values());
        let received = column("received_at")?.as_primitive::<TimestampMicrosecondType>();
        Ok(Self(
            long("content_len")?,
            long("crc32c")?,
            received.values(),
        ))
    }
}

/// Creates a unique name for an attached database.
pub(crate) fn alias(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Attaches `path` for reading, calls `read` with its alias and detaches it, also after an error.
pub(crate) fn with_attached<T>(
    connection: &Connection,
    path: &Path,
    read: impl FnOnce(&str) -> Result<T>,
) -> Result<T> {
    let alias = alias("read");
    engine::attach_read_only(connection, path, &alias)?;
    let result = read(&alias);
    engine::detach(connection, &alias)?;
    result
}

/// Reads the last event by position of the attached file `alias`, which is of `partition`.
pub(crate) fn last_event(
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

/// Computes the sums over the rows that `source` selects; `None` when there are none.
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

/// Writes a new file at `path` and syncs it. `insert` inserts the rows, ordered by tenant, conversation and
/// position, into the table `events` of the attached database whose alias it is given. `connection` must
/// not be in a transaction.
pub(crate) fn write(
    connection: &Connection,
    path: &Path,
    id: &SliceId,
    insert: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    let alias = alias("stage");
    disk::remove(path)?;
    engine::attach(connection, path, &alias)?;
    let written = fill(connection, &alias, id, insert);
    if written.is_err() {
        // The error is returned below; this only ends the transaction, if there is one.
        let _ = connection.execute_batch("ROLLBACK");
    }
    connection.execute_batch("USE memory")?;
    engine::detach(connection, &alias)?;
    written?;
    disk::sync(path)
}

/// Inserts the rows that `source` selects, which has the columns of `events`.
pub(crate) fn insert_selected(connection: &Connection, alias: &str, source: &str) -> Result<()> {
    let columns = schema::COLUMNS;
    Ok(connection.execute_batch(&format!(
        "INSERT INTO {alias}.events SELECT {columns} FROM {source} \
         ORDER BY tenant, conversation_id, seq, idx"
    ))?)
}

fn fill(
    connection: &Connection,
    alias: &str,
    id: &SliceId,
    insert: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    let tables = schema::slice();
    connection.execute_batch(&format!("USE {alias}; BEGIN; {tables}"))?;
    insert(alias)?;
    let summaries = summaries(id);
    Ok(connection.execute_batch(&format!("{summaries} COMMIT; {INDEX}; CHECKPOINT {alias}"))?)
}

/// The statements that compute the rollups and the metadata of the rows.
fn summaries(id: &SliceId) -> String {
    let SliceId {
        partition,
        range,
        class,
        level,
    } = id;
    let stats = schema::hourly_stats("events", *partition, *range);
    let summary = schema::conversation_summary("events", *partition, *range);
    let (g, p, e) = (partition.generation, partition.partition, partition.epoch);
    let (lo, hi, class) = (range.lo, range.hi, text(&class.to_string()));
    format!(
        "INSERT INTO hourly_stats SELECT * FROM ({stats}) ORDER BY tenant, hour, type; \
         INSERT INTO conversation_summary SELECT * FROM ({summary}) \
           ORDER BY tenant, conversation_id; \
         INSERT INTO segment SELECT {SLICE_FORMAT_VERSION}, {g}, {p}, {e}, {lo}, {hi}, {class}, {level}, \
           count(*), sum(content_len)::BIGINT, sum(crc32c)::BIGINT, min(received_at), \
           max(received_at) FROM events;"
    )
}

/// Fills the conversation index. Must run after the commit of the rows, which changes their row ids.
const INDEX: &str = "INSERT INTO conversation_rows SELECT tenant, conversation_id, min(rowid), \
     max(rowid), count(*) FROM events GROUP BY tenant, conversation_id \
     ORDER BY tenant, conversation_id";

/// Reads the file at `path` and compares its sums with `expected`; [`Error::Damaged`] when they differ or
/// what the file has cannot be read. Another error says nothing about the file.
pub(crate) fn verify(engine: &Engine, path: &Path, expected: &Sums) -> Result<()> {
    disk::check_exists(path)?;
    let connection = engine.connect()?;
    let alias = alias("verify");
    let of_file = |error: Error| error.of_file(path);
    engine::attach_read_only(&connection, path, &alias).map_err(of_file)?;
    let found = sums(&connection, &format!("{alias}.events")).map_err(of_file);
    engine::detach(&connection, &alias)?;
    if found? == Some(*expected) {
        return Ok(());
    }
    Err(Error::damaged(
        path,
        "its rows are not those it was written with",
    ))
}

/// Makes the manifest's entry for a slice.
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
