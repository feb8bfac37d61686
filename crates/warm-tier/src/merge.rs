//! Joins small neighbouring slices of one class into one of the next level.

use std::time::Duration;

use event::{RangeSet, Seq, SeqRange};
use retention::Class;

use crate::{
    disk,
    engine::{self, Engine},
    error::Result,
    layout,
    manifest::{Manifest, Slice},
    schema,
    sealed_partition::SealedPartition,
    slice_file::{self, SliceId, Sums},
};

/// Number of slices of a level that are merged into one of the next.
const FAN_IN: usize = 8;
/// Slices of this level are not merged any more.
const MAX_LEVEL: u8 = 3;
/// A merged slice spans at most its class's warm age divided by this, because it is dropped as a
/// whole.
const WARM_AGE_DIVISOR: u32 = 8;

/// Selects the slices to merge next: the oldest run of [`FAN_IN`] neighbours of one class and level that has
/// at most `max_bytes` of content, because it is rewritten as a whole, and that `is_waiting` does not hold
/// back. No run goes across `cold`, through which the cold tier has everything: a lost slice is refilled from
/// the log, which may be purged up to there. Pure.
pub(crate) fn plan(
    manifest: &Manifest,
    max_bytes: u64,
    cold: Seq,
    is_waiting: impl Fn(Class, SeqRange) -> bool,
) -> Option<Vec<Slice>> {
    let mut classes: Vec<_> = manifest.slices.iter().map(|slice| slice.class).collect();
    classes.sort_unstable();
    classes.dedup();
    classes.into_iter().find_map(|class| {
        let own: Vec<&Slice> = manifest
            .slices
            .iter()
            .filter(|s| s.class == class)
            .collect();
        let run = own.windows(FAN_IN).find(|run| {
            let bytes: u64 = run.iter().map(|slice| slice.bytes).sum();
            bytes <= max_bytes
                && may_merge(manifest, run)
                && range_of(run).is_some_and(|range| {
                    (range.hi <= cold || range.lo > cold) && !is_waiting(class, range)
                })
        })?;
        Some(run.iter().map(|slice| (*slice).clone()).collect())
    })
}

/// From the first sequence of `run` to its last.
pub(crate) fn range_of<S: std::borrow::Borrow<Slice>>(run: &[S]) -> Option<SeqRange> {
    let (first, last) = (run.first()?.borrow(), run.last()?.borrow());
    SeqRange::new(first.lo, last.hi)
}

fn may_merge(manifest: &Manifest, run: &[&Slice]) -> bool {
    let first = run[0];
    let Some(range) = range_of(run) else {
        return false;
    };
    let lost = manifest.gaps.iter();
    let mut absent: RangeSet = lost
        .filter_map(|gap| SeqRange::new(gap.lo, gap.hi))
        .collect();
    for expired in manifest.expired_of(first.class).ranges() {
        absent.insert(*expired);
    }
    let received_max = run.iter().map(|slice| slice.received_max()).max();
    let received_min = run.iter().map(|slice| slice.received_min()).min();
    let span = received_max
        .zip(received_min)
        .map_or(Duration::ZERO, |(to, from)| to.since(from));
    first.level < MAX_LEVEL
        && run.iter().all(|slice| slice.level == first.level)
        && span <= first.class.warm_max_age() / WARM_AGE_DIVISOR
        // A slice has all rows of its class in its range, so none of them may be dropped or lost.
        && absent.intersect(range).is_empty()
}

/// Merges `inputs` and publishes the result; `None` when one of them was removed meanwhile. The
/// inputs' files are unlinked when their last reader has released them.
pub(crate) fn run(
    engine: &Engine,
    sealed: &SealedPartition,
    inputs: &[Slice],
) -> Result<Option<Slice>> {
    let (_, live) = sealed.snapshot();
    let files: Vec<_> = inputs
        .iter()
        .filter_map(|input| live.iter().find(|file| file.slice == *input))
        .collect();
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
        return Ok(None);
    };
    if files.len() != inputs.len() {
        return Ok(None);
    }
    let id = SliceId {
        partition: sealed.partition,
        range: SeqRange {
            lo: first.lo,
            hi: last.hi,
        },
        class: first.class,
        level: first.level + 1,
    };
    let merged = slice_file::entry(&id, id.file(), &Sums::total(inputs.iter().map(Slice::sums)));
    let path = sealed.dir.join(&merged.file);
    let staged = layout::staged(&path);
    let connection = engine.connect()?;
    let aliases: Vec<_> = files.iter().map(|_| slice_file::alias("merge")).collect();
    let mut attached = Vec::new();
    for (file, alias) in files.iter().zip(&aliases) {
        match engine::attach_read_only(&connection, &file.path, alias) {
            Ok(()) => attached.push(alias),
            Err(error) => {
                detach_all(&connection, &attached)?;
                return Err(error);
            }
        }
    }
    let columns = schema::COLUMNS.replace(" type,", " type::VARCHAR AS type,");
    let selects: Vec<_> = aliases
        .iter()
        .map(|alias| format!("SELECT {columns} FROM {alias}.events"))
        .collect();
    let source = format!("({})", selects.join(" UNION ALL "));
    let written = slice_file::write(&connection, &staged, &id, |alias| {
        slice_file::insert_selected(&connection, alias, &source)
    });
    detach_all(&connection, &attached)?;
    written?;
    slice_file::verify(engine, &staged, &merged.sums())?;
    disk::rename(&staged, &path)?;
    disk::sync_dir(&sealed.dir)?;
    let published = sealed.update_manifest(|manifest| manifest.replace(inputs, merged.clone()))?;
    if !published {
        disk::remove(&path)?;
    }
    Ok(published.then_some(merged))
}

fn detach_all(connection: &duckdb::Connection, aliases: &[&String]) -> Result<()> {
    let mut aliases = aliases.iter();
    aliases.try_for_each(|alias| engine::detach(connection, alias))
}

#[cfg(test)]
mod tests;
