//! What the log entries of the cold tier say of a slice: which files may have its rows, whether they were made of
//! all of them, and from which of them rules have removed some. Pure.

use cold_tier::{ColdFile, DayOf, Origin};
use event::{PartitionId, RangeSet};
use warm_tier::{Slice, Thinned};

/// The files that should have the rows of `slice`: those of its class or, if these do not have all of its
/// range, those of every class.
pub(super) fn files_of<'a>(
    files: &[&'a ColdFile],
    partition: PartitionId,
    slice: &Slice,
) -> Vec<&'a ColdFile> {
    let range = RangeSet::from(slice.range());
    let all = in_range(files, partition, &range);
    match range.subtract(&covered(&all, partition, slice)).is_empty() {
        true => all.into_iter().filter(|file| is_of(file, slice)).collect(),
        false => all,
    }
}

/// Whether the files of the class of `slice` were made of the rows of the slices of this class: as many, with the
/// same checksums. All are counted that share a range with the slice, directly or through others. It says nothing
/// where warm does not have all of the files' ranges: rows that warm has not could stand for some that cold has not.
pub(super) fn origins_agree(
    files: &[&ColdFile],
    partition: PartitionId,
    slice: &Slice,
    slices: &[Slice],
) -> bool {
    let own_files = files.iter().copied().filter(|file| is_of(file, slice));
    let own_files: Vec<_> = own_files.collect();
    let own_slices = slices.iter().filter(|own| own.class == slice.class);
    let own_slices: Vec<_> = own_slices.collect();
    let mut shared = RangeSet::from(slice.range());
    loop {
        let found = in_range(&own_files, partition, &shared);
        let with = own_slices
            .iter()
            .filter(|own| !shared.intersect(own.range()).is_empty());
        let with: Vec<_> = with.collect();
        let mut grown = shared.clone();
        found
            .iter()
            .for_each(|file| grown.extend(ranges_of(file, partition)));
        grown.extend(with.iter().map(|own| own.range()));
        if grown == shared {
            let in_warm: RangeSet = with.iter().map(|own| own.range()).collect();
            let warm = with.iter().map(|own| origin_of(own));
            let warm = warm.fold(Origin::default(), Origin::plus);
            return Origin::total(found.into_iter().map(ColdFile::origin)) == Some(warm)
                && shared.subtract(&in_warm).is_empty();
        }
        shared = grown;
    }
}

/// Returns those of `files` from which rules have removed rows, with the sequences for which that says something
/// of `slice`: a file of another class says nothing where its own class has files.
pub(super) fn thinned(files: &[&ColdFile], partition: PartitionId, slice: &Slice) -> Vec<Thinned> {
    let own_ranges = covered(files, partition, slice);
    let thinned = files.iter().filter(|file| file.rows_removed() != Some(0));
    let thinned = thinned.filter_map(|file| {
        let ranges = ranges_of(file, partition);
        let day = file.dt.as_ref();
        Some(Thinned {
            tenant: file.tenant.clone()?,
            received_on: day
                .filter(|day| day.of == DayOf::ReceivedAt)
                .map(|day| day.date.clone()),
            ranges: match is_of(file, slice) {
                true => ranges,
                false => ranges.subtract(&own_ranges),
            },
            removed: file.rows_removed(),
        })
    });
    thinned.collect()
}

/// Whether `file` may have rows of `slice`. Of a file of another engine only its statistics can say that it has
/// none.
pub(super) fn may_have(file: &ColdFile, partition: PartitionId, slice: &Slice) -> bool {
    if file.provenance.is_some() {
        return file.rows > 0
            && !ranges_of(file, partition)
                .intersect(slice.range())
                .is_empty();
    }
    let of_partition = i64::from(partition.partition);
    let (seqs, partitions) = (file.extent.seq, file.extent.partition);
    seqs.is_none_or(|(least, greatest)| least <= slice.hi && greatest >= slice.lo)
        && partitions.is_none_or(|(least, most)| (least..=most).contains(&of_partition))
}

/// The sequences of which `files` of the class of `slice` have all rows.
fn covered(files: &[&ColdFile], partition: PartitionId, slice: &Slice) -> RangeSet {
    let mut covered = RangeSet::new();
    for file in files.iter().filter(|file| is_of(file, slice)) {
        covered.extend(ranges_of(file, partition));
    }
    covered
}

fn origin_of(slice: &Slice) -> Origin {
    Origin {
        rows: slice.rows,
        sum_crc: slice.sum_crc,
    }
}

fn is_of(file: &ColdFile, slice: &Slice) -> bool {
    let provenance = file.provenance.as_ref();
    provenance.is_some_and(|own| own.class == Some(slice.class))
}

/// Those of `files` that were made of rows of `partition` in `ranges`.
fn in_range<'a>(
    files: &[&'a ColdFile],
    partition: PartitionId,
    ranges: &RangeSet,
) -> Vec<&'a ColdFile> {
    let is_in = |file: &&ColdFile| {
        let own = ranges_of(file, partition);
        own.ranges()
            .iter()
            .any(|range| !ranges.intersect(*range).is_empty())
    };
    files.iter().copied().filter(is_in).collect()
}

fn ranges_of(file: &ColdFile, partition: PartitionId) -> RangeSet {
    let ranges = file.provenance.iter().flat_map(|own| &own.ranges);
    let own = ranges.filter(|(of, _)| *of == partition);
    own.map(|(_, range)| *range).collect()
}
