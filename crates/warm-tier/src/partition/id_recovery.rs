//! Recovery of lost event ids: id files are written again from the slices and from rows that another
//! tier has.

use std::sync::Arc;

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
    sealed_partition::SliceFile,
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
        engine::append(&self.connection, "stored", rows)
    }

    /// Adds events of the log, stored or not. Where the slices have all rows, the others were dropped as
    /// duplicates; elsewhere the first event with an id was stored.
    ///
    /// # Errors
    /// The same as [`RecoveredRows::add_stored`].
    pub fn add_logged(&self, events: &[StoredEvent]) -> Result<()> {
        let rows = segment::encode(events);
        let schema = rows.schema();
        let columns = ID_RECOVERY_COLUMNS.map(|name| schema.index_of(name));
        let columns = columns.into_iter().collect::<Result<Vec<_>, _>>();
        let columns = columns.and_then(|columns| rows.project(&columns));
        let columns = columns.map_err(|error| Error::Rows(error.to_string()))?;
        engine::append(&self.connection, "logged", columns)
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

    /// The parts of `range` of which the slices here have all stored rows.
    #[must_use]
    pub fn in_slices(&self, range: SeqRange) -> RangeSet {
        self.sealed.manifest().in_slices(range)
    }

    /// Begins the recovery of lost ids.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database): try again later.
    pub fn begin_id_recovery(&self) -> Result<RecoveredRows> {
        RecoveredRows::new(&self.engine)
    }

    /// Writes the id files of `range` again, from `rows` and the rows of the slices, and returns the
    /// number of rows. `None` when a part of `in_slices`, which the rows were read for, has left the slices
    /// meanwhile: read them again.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database) or [`Error::File`](crate::Error::File) when a file
    /// fails: restart the process and begin again.
    pub fn recover_ids(
        &mut self,
        range: SeqRange,
        in_slices: &RangeSet,
        rows: &RecoveredRows,
    ) -> Result<Option<u64>> {
        let (manifest, slices) = self.sealed.snapshot();
        if !in_slices.subtract(&manifest.in_slices(range)).is_empty() {
            return Ok(None);
        }
        add_slices(range, &slices, rows)?;
        let elsewhere = RangeSet::from(range).subtract(in_slices);
        self.add_first_of_log(&elsewhere, &manifest.ids, rows)?;
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
        Ok(Some(frames.iter().map(|(_, rows)| rows).sum()))
    }

    /// Adds to the stored rows those of `ranges` that only the log has: of the events with one id the first
    /// was stored, if it is not known from another row or from the id files of earlier ranges.
    fn add_first_of_log(
        &self,
        ranges: &RangeSet,
        known: &[IdFile],
        rows: &RecoveredRows,
    ) -> Result<()> {
        let Some(from) = ranges.ranges().first().map(|range| range.lo) else {
            return Ok(());
        };
        let ranges = ranges.ranges().iter();
        let ranges = ranges.map(|SeqRange { lo, hi }| format!("seq BETWEEN {lo} AND {hi}"));
        let ranges = ranges.collect::<Vec<_>>().join(" OR ");
        rows.connection.execute_batch(&format!(
            "CREATE OR REPLACE TEMP TABLE firsts AS SELECT * EXCLUDE (n) FROM (SELECT *, row_number() OVER \
             (PARTITION BY tenant, conversation_id, event_id ORDER BY seq, idx) AS n FROM temp.logged) \
             WHERE n = 1 AND ({ranges})"
        ))?;
        forget_known(rows, "temp.stored", "event_id")?;
        for ids in known.iter().filter(|ids| ids.lo < from) {
            let path = self.sealed.dir.join(&ids.file);
            slice_file::with_attached(&rows.connection, &path, |alias| {
                forget_known(rows, &format!("{alias}.ids"), "event_id::VARCHAR")
            })?;
        }
        let add = "INSERT INTO temp.stored SELECT * FROM temp.firsts";
        Ok(rows.connection.execute_batch(add)?)
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

/// Adds the rows of `range` that `slices` have.
fn add_slices(range: SeqRange, slices: &[Arc<SliceFile>], rows: &RecoveredRows) -> Result<()> {
    let columns = ID_RECOVERY_COLUMNS.join(", ");
    for file in slices {
        let Some(SeqRange { lo, hi }) = file.slice.range().intersect(&range) else {
            continue;
        };
        slice_file::with_attached(&rows.connection, &file.path, |alias| {
            Ok(rows.connection.execute_batch(&format!(
                "INSERT INTO temp.stored SELECT {columns} FROM {alias}.events \
                 WHERE seq BETWEEN {lo} AND {hi}"
            ))?)
        })?;
    }
    Ok(())
}

/// Removes from the table `firsts` the events whose ids `source` has; `event_id` selects them as text.
fn forget_known(rows: &RecoveredRows, source: &str, event_id: &str) -> Result<()> {
    Ok(rows.connection.execute_batch(&format!(
        "DELETE FROM temp.firsts WHERE (tenant, conversation_id, event_id) IN \
         (SELECT tenant, conversation_id, {event_id} FROM {source})"
    ))?)
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
