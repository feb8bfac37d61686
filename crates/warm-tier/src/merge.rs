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

/// How many slices of a level make one of the next.
const FAN_IN: usize = 8;
/// Content of a merged slice, at most: it is rewritten whole.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;
const MAX_LEVEL: u8 = 3;
/// A merged slice spans at most this part of its warm age, because it goes as one.
const AGE_SHARE: u32 = 8;

/// The next slices to merge: the oldest run of [`FAN_IN`] neighbours of one class and level. Pure.
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
    let mut away: RangeSet = lost
        .filter_map(|gap| SeqRange::new(gap.lo, gap.hi))
        .collect();
    for expired in manifest.expired_of(first.class).ranges() {
        away.insert(*expired);
    }
    let bytes: u64 = run.iter().map(|slice| slice.bytes).sum();
    let newest = run.iter().map(|slice| slice.received_max()).max();
    let oldest = run.iter().map(|slice| slice.received_min()).min();
    let span = newest
        .zip(oldest)
        .map_or(Duration::ZERO, |(to, from)| to.since(from));
    first.level < MAX_LEVEL
        && run.iter().all(|slice| slice.level == first.level)
        && bytes <= MAX_BYTES
        && span <= first.class.warm_max_age() / AGE_SHARE
        // A merged slice says "all of this class": nothing of it may lie elsewhere.
        && away.intersect(range).is_empty()
}

/// Merges `inputs` and publishes the result, unless one of them went meanwhile. The inputs' files
/// go when their last reader lets go.
pub(crate) fn run(
    engine: &Engine,
    sealed: &SealedPartition,
    inputs: &[Slice],
) -> Result<Option<Slice>> {
    let (_, held) = sealed.snapshot();
    let held: Vec<_> = inputs
        .iter()
        .filter_map(|input| held.iter().find(|file| file.slice == *input))
        .collect();
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
        return Ok(None);
    };
    if held.len() != inputs.len() {
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
    let merged = slice_file::entry(&id, id.file(), &added(inputs));
    let path = sealed.dir.join(&merged.file);
    let staged = layout::staged(&path);
    let connection = engine.connect()?;
    let aliases: Vec<_> = held.iter().map(|_| slice_file::alias("merge")).collect();
    for (file, alias) in held.iter().zip(&aliases) {
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
    let published = sealed.change(|manifest| manifest.replace(inputs, merged.clone()))?;
    if !published {
        disk::remove(&path)?;
    }
    Ok(published.then_some(merged))
}

fn added(inputs: &[Slice]) -> Sums {
    let sum = |of: fn(&Slice) -> u64| inputs.iter().map(of).sum();
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
