//! Recovery of lost event ids: id files are written again from the slices and from rows that another
//! tier has.

use arrow::array::RecordBatch;
use duckdb::Connection;
use event::{RangeSet, Seq, SeqRange, StoredEvent};

use super::Partition;
use crate::{
    disk,
    engine::{self, Engine},
    error::{Error, Result},
    ids_file, layout,
    manifest::IdFile,
    slice_file,
};

/// The columns of the rows from which ids are recovered, in this order.
pub const ID_RECOVERY_COLUMNS: [&str; 6] = [
    "tenant",
    "conversation_id",
    "event_id",
    "received_at",
    "seq",
    "idx",
];
/// An id file that is recovered ends behind so many ids: no reason but to bound memory, where its
/// filter is built from all of them at once.
const MAX_RECOVERED_IDS: u64 = 500_000;

/// Rows from which ids are recovered. DuckDB has them, and spills them to the disk.
#[derive(Debug)]
pub struct RecoveredRows {
    connection: Connection,
}

impl RecoveredRows {
    fn new(engine: &Engine) -> Result<Self> {
        let connection = engine.connect()?;
        let columns = "(tenant VARCHAR, conversation_id VARCHAR, event_id VARCHAR, \
                       received_at TIMESTAMP, seq BIGINT, idx INTEGER)";
        connection.execute_batch(&format!(
            "CREATE TEMP TABLE stored {columns}; CREATE TEMP TABLE logged {columns}"
        ))?;
        Ok(Self { connection })
    }

    /// Adds rows that were stored, with [`ID_RECOVERY_COLUMNS`].
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database) when they have other columns or do not fit on the
    /// disk: begin again.
    pub fn add_stored(&self, rows: RecordBatch) -> Result<()> {
        self.add("stored", rows)
    }

    /// Adds events of the log, stored or not. Those that no slice has were dropped as duplicates.
    ///
    /// # Errors
    /// The same as [`RecoveredRows::add_stored`].
    pub fn add_logged(&self, events: &[StoredEvent]) -> Result<()> {
        let rows = segment::encode(events);
        let schema = rows.schema();
        let columns = ID_RECOVERY_COLUMNS.map(|name| schema.index_of(name));
        let columns = columns.into_iter().collect::<Result<Vec<_>, _>>();
        let columns = columns.and_then(|columns| rows.project(&columns));
        self.add(
            "logged",
            columns.map_err(|error| Error::Rows(error.to_string()))?,
        )
    }

    fn add(&self, table: &str, rows: RecordBatch) -> Result<()> {
        let mut appender = (self.connection).appender_to_catalog_and_db(table, "temp", "main")?;
        appender.append_record_batch(rows)?;
        Ok(appender.flush()?)
    }

    /// Reads how many rows each frame of `range` has, ascending by sequence.
    fn frames(&self, range: SeqRange) -> Result<Vec<(Seq, u64)>> {
        let SeqRange { lo, hi } = range;
        let mut statement = self.connection.prepare(&format!(
            "SELECT seq, count(*) FROM temp.stored WHERE seq BETWEEN {lo} AND {hi} \
             GROUP BY seq ORDER BY seq"
        ))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<duckdb::Result<_>>()?)
    }
}

impl Partition {
    /// The ranges whose event ids must be known and are in no id file: those before the first sequence
    /// of a new folder, and those of lost id files. Recover them before the next append, which would
    /// otherwise store their events again.
    #[must_use]
    pub fn missing_ids(&self) -> RangeSet {
        self.sealed.manifest().missing_ids()
    }

    /// Whether the slices here have all stored rows of `range`.
    #[must_use]
    pub fn has_all(&self, range: SeqRange) -> bool {
        self.sealed.manifest().has_all(range)
    }

    /// Begins the recovery of lost ids.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database): try again later.
    pub fn begin_id_recovery(&self) -> Result<RecoveredRows> {
        RecoveredRows::new(&self.engine)
    }

    /// Writes the id files of `range` again, from `rows` and the rows of the slices, and returns the
    /// number of rows.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database) or [`Error::File`](crate::Error::File) when a file
    /// fails: restart the process and begin again.
    pub fn recover_ids(&mut self, range: SeqRange, rows: &RecoveredRows) -> Result<u64> {
        self.add_slices(range, rows)?;
        let frames = rows.frames(range)?;
        let parts = parts(range, &frames).into_iter();
        let files = parts
            .map(|part| self.write_ids(part, rows))
            .collect::<Result<Vec<_>>>()?;
        disk::sync_dir(&self.sealed.dir)?;
        self.sealed.update_manifest(|manifest| {
            manifest.ids.extend(files.iter().cloned());
            manifest.ids.sort_by_key(|ids| ids.lo);
            true
        })?;
        self.dedupe.add_files(&files)?;
        Ok(frames.iter().map(|(_, rows)| rows).sum())
    }

    fn add_slices(&self, range: SeqRange, rows: &RecoveredRows) -> Result<()> {
        let columns = ID_RECOVERY_COLUMNS.join(", ");
        let (_, files) = self.sealed.snapshot();
        for file in files {
            let Some(SeqRange { lo, hi }) = file.slice.range().intersect(&range) else {
                continue;
            };
            let alias = slice_file::alias("rows");
            engine::attach_read_only(&rows.connection, &file.path, &alias)?;
            rows.connection.execute_batch(&format!(
                "INSERT INTO temp.stored SELECT {columns} FROM {alias}.events \
                 WHERE seq BETWEEN {lo} AND {hi}"
            ))?;
            engine::detach(&rows.connection, &alias)?;
        }
        Ok(())
    }

    fn write_ids(&self, range: SeqRange, rows: &RecoveredRows) -> Result<IdFile> {
        let SeqRange { lo, hi } = range;
        let stored = format!(
            "(SELECT DISTINCT tenant, conversation_id, event_id, seq, idx FROM temp.stored \
             WHERE seq BETWEEN {lo} AND {hi})"
        );
        let dropped = format!(
            "SELECT tenant, conversation_id, event_id, seq, idx FROM temp.logged \
             WHERE seq BETWEEN {lo} AND {hi} AND (seq, idx) NOT IN (SELECT seq, idx FROM {stored})"
        );
        let received_max = rows.connection.query_row(
            &format!(
                "SELECT coalesce(epoch_us(max(received_at)), 0) FROM temp.stored \
                 WHERE seq BETWEEN {lo} AND {hi}"
            ),
            [],
            |row| row.get(0),
        )?;
        let file = layout::ids_name(range);
        let path = self.sealed.dir.join(&file);
        let staged = layout::staged(&path);
        ids_file::write(&rows.connection, &staged, &stored, &dropped)?;
        disk::rename(&staged, &path)?;
        Ok(IdFile {
            lo,
            hi,
            file,
            received_max,
        })
    }
}

/// Cuts `range` behind frames so that each part has about [`MAX_RECOVERED_IDS`] rows. `frames` has the
/// number of rows of each frame that has any, ascending.
fn parts(range: SeqRange, frames: &[(Seq, u64)]) -> Vec<SeqRange> {
    let (mut parts, mut lo, mut rows) = (Vec::new(), range.lo, 0);
    for (seq, of_frame) in frames {
        rows += of_frame;
        if rows >= MAX_RECOVERED_IDS && *seq < range.hi {
            parts.push(SeqRange { lo, hi: *seq });
            (lo, rows) = (seq + 1, 0);
        }
    }
    parts.push(SeqRange { lo, hi: range.hi });
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovered_ids_are_cut_into_parts_that_cover_their_range() {
        let range = SeqRange { lo: 3, hi: 90 };
        assert_eq!(parts(range, &[]), [range]);
        let frames = [
            (5, MAX_RECOVERED_IDS - 1),
            (7, 1),
            (8, MAX_RECOVERED_IDS),
            (90, MAX_RECOVERED_IDS),
        ];
        let cuts = [(3, 7), (8, 8), (9, 90)].map(|(lo, hi)| SeqRange { lo, hi });
        assert_eq!(parts(range, &frames), cuts);
    }
}
