//! Refill: writes a lost slice again from the events that the log still has.

use std::sync::Arc;

use event::{SeqRange, StoredEvent};
use retention::RuleSet;

use crate::{
    classify, disk,
    engine::{self, Engine},
    error::{Error, Result},
    layout,
    manifest::{IdFile, LostSlice, Slice},
    schema,
    sealed_partition::{SealedPartition, SliceFile},
    slice_file::{self, SliceId, Sums},
};

/// Writes the slice `lost` again from the `events` that the log has for its range, publishes it and
/// returns it. The rows must have the same count and sums as those of the lost slice.
///
/// # Errors
/// [`Error::Invalid`] when the gap was never a slice, [`Error::Damaged`] when the log has other rows
/// than the slice had: a retry fails too. [`Error::Database`] or [`Error::File`] when a file fails:
/// try again later. The manifest is unchanged.
pub fn refill(
    engine: &Engine,
    sealed: &SealedPartition,
    lost: &LostSlice,
    rules: &RuleSet,
    events: &[StoredEvent],
) -> Result<Slice> {
    let slice = lost
        .slice
        .as_ref()
        .ok_or_else(|| Error::Invalid("the gap was never a slice".to_owned()))?;
    let connection = engine.connect()?;
    let columns = schema::event_columns("VARCHAR", "");
    connection.execute_batch(&format!("CREATE TEMP TABLE refill {columns}"))?;
    let mut appender = connection.appender_to_catalog_and_db("refill", "temp", "main")?;
    appender.append_record_batch(segment::encode(events))?;
    appender.flush()?;
    drop(appender);
    remove_other_rows(&connection, sealed, slice)?;
    let id = SliceId {
        partition: sealed.partition,
        range: SeqRange {
            lo: slice.lo,
            hi: slice.hi,
        },
        class: slice.class,
        level: slice.level,
    };
    let whole = "temp.main.refill".to_owned();
    let by_class = classify::by_class(&connection, &whole, rules)?.remove(&slice.class);
    let mut source = None;
    for candidate in [Some(whole), by_class].into_iter().flatten() {
        if slice_file::sums(&connection, &candidate)? == Some(slice.sums()) {
            source = Some(candidate);
            break;
        }
    }
    let path = sealed.dir.join(&slice.file);
    let source =
        source.ok_or_else(|| Error::damaged(&path, "the log has other rows than it had"))?;
    publish_refill(engine, &connection, sealed, lost, &id, &source)
}

fn publish_refill(
    engine: &Engine,
    connection: &duckdb::Connection,
    sealed: &SealedPartition,
    lost: &LostSlice,
    id: &SliceId,
    source: &str,
) -> Result<Slice> {
    let old = lost.slice.as_ref().expect("checked by the caller");
    // A new name: a reader may still hold the old file, which is unlinked when it is released.
    let file = old.file.replace(".duckdb", "-r.duckdb");
    let path = sealed.dir.join(&file);
    let staged = layout::staged(&path);
    let sums: Sums = old.sums();
    slice_file::write(connection, &staged, id, source)?;
    slice_file::verify(engine, &staged, &sums)?;
    disk::rename(&staged, &path)?;
    disk::sync_dir(&sealed.dir)?;
    let refilled = slice_file::entry(id, file, &sums);
    sealed.update_manifest(|manifest| {
        manifest.refill(lost, refilled.clone());
        true
    })?;
    Ok(refilled)
}

/// Removes from the table `refill` the rows that were never stored (duplicates) and those that a live
/// slice has.
fn remove_other_rows(
    connection: &duckdb::Connection,
    sealed: &SealedPartition,
    lost: &Slice,
) -> Result<()> {
    let (manifest, files) = sealed.snapshot();
    let ids: Vec<&IdFile> = manifest
        .ids
        .iter()
        .filter(|ids| ids.lo <= lost.hi && ids.hi >= lost.lo)
        .collect();
    let overlaps = |file: &&Arc<SliceFile>| file.slice.range().intersect(&lost.range()).is_some();
    let mut sources = Vec::new();
    for ids in &ids {
        let alias = slice_file::alias("known");
        engine::attach_read_only(connection, &sealed.dir.join(&ids.file), &alias)?;
        sources.push((alias, "ids", true));
    }
    for file in files.iter().filter(overlaps) {
        let alias = slice_file::alias("known");
        engine::attach_read_only(connection, &file.path, &alias)?;
        sources.push((alias, "events", false));
    }
    let positions = |in_ids: bool| {
        let selects = sources.iter().filter(|(_, _, is_ids)| *is_ids == in_ids);
        let selects: Vec<_> = selects
            .map(|(alias, table, _)| format!("SELECT seq, idx FROM {alias}.{table}"))
            .collect();
        selects.join(" UNION ALL ")
    };
    let (stored, in_other_slices) = (positions(true), positions(false));
    let mut sql =
        "CREATE OR REPLACE TEMP TABLE refill AS SELECT * FROM refill WHERE true".to_owned();
    if !stored.is_empty() {
        // Of the other ranges it is not known which events were duplicates: the sums decide.
        let known = ids.iter();
        let known: Vec<_> = known
            .map(|ids| format!("seq BETWEEN {} AND {}", ids.lo, ids.hi))
            .collect();
        let known = known.join(" OR ");
        sql += &format!(" AND ((seq, idx) IN ({stored}) OR NOT ({known}))");
    }
    if !in_other_slices.is_empty() {
        sql += &format!(" AND (seq, idx) NOT IN ({in_other_slices})");
    }
    connection.execute_batch(&sql)?;
    for (alias, _, _) in &sources {
        engine::detach(connection, alias)?;
    }
    Ok(())
}
