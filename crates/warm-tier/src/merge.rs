//! Joins small neighbouring slices of one class into one of the next level.

use std::time::Duration;

use event::{RangeSet, SeqRange};

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
/// Most bytes of content of a merged slice, which is rewritten as a whole. The value has no reason
/// but to bound the work of one merge.
const MAX_MERGED_BYTES: u64 = 1024 * 1024 * 1024;
/// Slices of this level are not merged any more.
const MAX_LEVEL: u8 = 3;
/// A merged slice spans at most its class's warm age divided by this, because it is dropped as a
/// whole.
const WARM_AGE_DIVISOR: u32 = 8;

/// Selects the slices to merge next: the oldest run of [`FAN_IN`] neighbours of one class and level.
/// Pure.
pub(crate) fn plan(manifest: &Manifest) -> Option<Vec<Slice>> {
    let mut classes: Vec<_> = manifest.slices.iter().map(|slice| slice.class).collect();
    classes.sort_unstable();
    classes.dedup();
    classes.into_iter().find_map(|class| {
        let own: Vec<&Slice> = manifest
            .slices
            .iter()
            .filter(|s| s.class == class)
            .collect();
        let run = own.windows(FAN_IN).find(|run| may_merge(manifest, run))?;
        Some(run.iter().map(|slice| (*slice).clone()).collect())
    })
}

fn may_merge(manifest: &Manifest, run: &[&Slice]) -> bool {
    let (first, last) = (run[0], run[run.len() - 1]);
    let Some(range) = SeqRange::new(first.lo, last.hi) else {
        return false;
    };
    let lost = manifest.gaps.iter();
    let mut absent: RangeSet = lost
        .filter_map(|gap| SeqRange::new(gap.lo, gap.hi))
        .collect();
    for expired in manifest.expired_of(first.class).ranges() {
        absent.insert(*expired);
    }
    let bytes: u64 = run.iter().map(|slice| slice.bytes).sum();
    let received_max = run.iter().map(|slice| slice.received_max()).max();
    let received_min = run.iter().map(|slice| slice.received_min()).min();
    let span = received_max
        .zip(received_min)
        .map_or(Duration::ZERO, |(to, from)| to.since(from));
    first.level < MAX_LEVEL
        && run.iter().all(|slice| slice.level == first.level)
        && bytes <= MAX_MERGED_BYTES
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
    let merged = slice_file::entry(&id, id.file(), &total_sums(inputs));
    let path = sealed.dir.join(&merged.file);
    let staged = layout::staged(&path);
    let connection = engine.connect()?;
    let aliases: Vec<_> = files.iter().map(|_| slice_file::alias("merge")).collect();
    for (file, alias) in files.iter().zip(&aliases) {
        engine::attach_read_only(&connection, &file.path, alias)?;
    }
    let columns = schema::COLUMNS.replace(" type,", " type::VARCHAR AS type,");
    let selects: Vec<_> = aliases
        .iter()
        .map(|alias| format!("SELECT {columns} FROM {alias}.events"))
        .collect();
    let source = format!("({})", selects.join(" UNION ALL "));
    let written = slice_file::write(&connection, &staged, &id, &source);
    for alias in &aliases {
        engine::detach(&connection, alias)?;
    }
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

fn total_sums(inputs: &[Slice]) -> Sums {
    let sum = |field: fn(&Slice) -> u64| inputs.iter().map(field).sum();
    Sums {
        rows: sum(|slice| slice.rows),
        bytes: sum(|slice| slice.bytes),
        sum_crc: sum(|slice| slice.sum_crc),
        received_min: inputs.iter().map(|s| s.received_min).min().unwrap_or(0),
        received_max: inputs.iter().map(|s| s.received_max).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
