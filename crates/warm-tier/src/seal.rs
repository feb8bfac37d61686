//! Seals an open part into slices, one per retention class, in steps after each of which a crash is
//! safe: stage and sync → verify → rename, sync the folder → manifest.
//!
//! Until the manifest names the new files, a restart removes them and reads the range from the log again.

use std::{path::PathBuf, sync::Arc};

use arrow::{compute::interleave_record_batch, record_batch::RecordBatch};
use duckdb::Connection;
use event::SeqRange;
use retention::RuleSet;

use crate::{
    classify::{self, RowRef},
    disk,
    duplicates::{self, Duplicate},
    engine::Engine,
    error::{Error, Result},
    ids_file, layout,
    manifest::{IdFile, Slice},
    open_part::OpenPart,
    sealed_partition::SealedPartition,
    slice_file::{self, SliceId, Sums},
};

/// Rows, and bytes of their content, that are copied at once from the open part into a slice.
const COPY_ROWS: usize = 2048;
const COPY_CONTENT_BYTES: u64 = 4 * 1024 * 1024;

/// A part that is ended and shall be sealed. It may run on any thread, beside appends to the next part,
/// and again after an error.
#[derive(Clone, Debug)]
pub struct SealTask {
    pub(crate) engine: Engine,
    pub(crate) sealed: Arc<SealedPartition>,
    pub(crate) part: Arc<OpenPart>,
}

impl SealTask {
    /// Seals the part into one slice for each retention class by `rules`. Blocks.
    ///
    /// # Errors
    /// One that [is of the machine](Error::is_of_the_machine) changes nothing: run it again later.
    /// [`Error::Damaged`] when the slices differ from the part, [`Error::Database`] or [`Error::File`] when a
    /// file fails: restart the process, which finds the part sealed or reads it from the log again.
    pub fn run(&self, rules: &RuleSet) -> Result<SealOutcome> {
        let mut seal = Seal::new(self);
        seal.stage(rules)?;
        seal.verify()?;
        seal.rename()?;
        seal.publish()
    }
}

/// The result of a seal: the sealed range and its slices.
#[derive(Clone, Debug)]
pub struct SealOutcome {
    pub range: SeqRange,
    pub slices: Vec<Slice>,
    pub(crate) ids: IdFile,
}

/// A seal in progress. Its steps must be called in the order in which they are defined.
#[derive(Debug)]
struct Seal<'a> {
    task: &'a SealTask,
    range: SeqRange,
    slices: Vec<Slice>,
    ids: IdFile,
}

impl<'a> Seal<'a> {
    fn new(task: &'a SealTask) -> Self {
        let range = task.part.range().expect("an empty part is never sealed");
        let received_max = task.part.totals().received_max;
        Self {
            task,
            range,
            slices: Vec::new(),
            ids: IdFile {
                lo: range.lo,
                hi: range.hi,
                file: layout::ids_name(range),
                received_max: received_max.map_or(0, event::Timestamp::as_micros),
            },
        }
    }

    /// Writes and syncs every slice and the id file under temporary names.
    fn stage(&mut self, rules: &RuleSet) -> Result<()> {
        let connection = self.task.engine.connect()?;
        let batches = self.task.part.batches();
        for (class, rows) in classify::rows_by_class(batches, rules)? {
            let id = SliceId {
                partition: self.task.part.partition(),
                range: self.range,
                class,
                level: 0,
            };
            let sums = Sums::of(batches, &rows)?;
            slice_file::write(&connection, &self.staged(&id.file()), &id, |stage| {
                copy_rows(&connection, stage, batches, &rows)
            })?;
            self.slices.push(slice_file::entry(&id, id.file(), &sums));
        }
        let slices = self.slices.iter();
        let slices: Vec<_> = slices.map(|slice| self.staged(&slice.file)).collect();
        write_dropped(&connection, self.task.part.dropped())?;
        let path = self.staged(&self.ids.file);
        ids_file::write_of_slices(&connection, &path, &slices)
    }

    /// Reads the staged slices back and compares their sums with those of the open part.
    fn verify(&self) -> Result<()> {
        for slice in &self.slices {
            let path = self.staged(&slice.file);
            slice_file::verify(&self.task.engine, &path, &slice.sums())?;
        }
        let totals = self.task.part.totals();
        let rows: u64 = self.slices.iter().map(|slice| slice.rows).sum();
        let sum_crc: u64 = self.slices.iter().map(|slice| slice.sum_crc).sum();
        if (rows, sum_crc) == (totals.events, totals.sum_crc) {
            return Ok(());
        }
        let reason = "the slices do not add up to the open part";
        Err(Error::damaged(self.staged(&self.ids.file), reason))
    }

    /// Renames the staged files to their final names and syncs the folder.
    fn rename(&self) -> Result<()> {
        let dir = &self.task.sealed.dir;
        let slices = self.slices.iter().map(|slice| slice.file.as_str());
        for file in slices.chain([self.ids.file.as_str()]) {
            disk::rename(&self.staged(file), &dir.join(file))?;
        }
        disk::sync_dir(dir)
    }

    /// Adds the slices to the manifest: from here on the range is sealed.
    fn publish(self) -> Result<SealOutcome> {
        let Self {
            task,
            range,
            slices,
            ids,
        } = self;
        task.sealed.update_manifest(|manifest| {
            manifest.duplicates += task.part.dropped().len() as u64;
            manifest.dead_letters += task.part.totals().dead_letters;
            manifest.seal(range.hi, slices.clone(), ids.clone());
            true
        })?;
        Ok(SealOutcome { range, slices, ids })
    }

    fn staged(&self, file: &str) -> PathBuf {
        layout::staged(&self.task.sealed.dir.join(file))
    }
}

/// Copies `rows` of `batches` in their order into the table `events` of the attached file `alias`.
fn copy_rows(
    connection: &Connection,
    alias: &str,
    batches: &[RecordBatch],
    rows: &[RowRef],
) -> Result<()> {
    let lengths = slice_file::content_lengths(batches)?;
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let mut appender = connection.appender_to_catalog_and_db("events", alias, "main")?;
    for rows in copied_at_once(&lengths, rows) {
        let rows: Vec<_> = rows.iter().map(RowRef::indices).collect();
        appender.append_record_batch(interleave_record_batch(&batches, &rows)?)?;
    }
    // Drop would ignore an error of the flush.
    Ok(appender.flush()?)
}

/// Divides `rows` by [`COPY_ROWS`] and [`COPY_CONTENT_BYTES`]; `lengths` are those of the content, by batch and
/// row. A part has one row at least.
fn copied_at_once<'a>(lengths: &[&[i64]], rows: &'a [RowRef]) -> Vec<&'a [RowRef]> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (end, row) in rows.iter().enumerate() {
        let (batch, index) = row.indices();
        let length = lengths[batch][index].cast_unsigned();
        let is_full = end - start >= COPY_ROWS || bytes + length > COPY_CONTENT_BYTES;
        if is_full && end > start {
            parts.push(&rows[start..end]);
            (start, bytes) = (end, 0);
        }
        bytes += length;
    }
    parts.push(&rows[start..]);
    parts
}

/// Writes `dropped` into the temporary table `dropped` of this connection.
fn write_dropped(connection: &Connection, dropped: &[Duplicate]) -> Result<()> {
    let columns = duplicates::COLUMNS;
    connection.execute_batch(&format!("CREATE TEMP TABLE dropped ({columns})"))?;
    let mut appender = connection.appender_to_catalog_and_db("dropped", "temp", "main")?;
    for duplicate in dropped {
        appender.append_row(duckdb::params![
            duplicate.tenant.as_str(),
            duplicate.conversation_id.as_str(),
            duplicate.event_id.to_string(),
            duplicate.seq,
            duplicate.idx
        ])?;
    }
    Ok(appender.flush()?)
}

#[cfg(test)]
mod tests;
