//! Which small files become one.

use std::collections::BTreeMap;

use cold_tier::{ColdFile, Day, Table};
use event::{PartitionId, RangeSet, Seq, SeqRange};
use retention::Class;

/// Fewer files of one kind are not worth a merge.
pub(super) const MIN_FILES_TO_MERGE: usize = 8;
/// Bytes in memory per byte of an object that an older version wrote, which did not record it: text that
/// repeats itself is compressed as well as that.
const ASSUMED_COMPRESSION: u64 = 8;
/// Upper bounds of the sizes of files that are merged with each other. Merging files of similar
/// size rewrites every byte only a few times; the last level is the largest file that is written.
const MERGE_LEVEL_BYTES: [u64; 3] = [1 << 20, 16 << 20, 128 << 20];

/// The attributes that files must share to be rewritten into one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileKind {
    pub(crate) table: Table,
    pub(crate) partition: PartitionId,
    pub(crate) tenant: Option<String>,
    pub(crate) dt: Option<Day>,
    pub(crate) class: Option<Class>,
    pub(crate) sampled: Option<String>,
}

/// Returns the kind of `file`; `None` for a file that another engine wrote.
pub(crate) fn kind(file: &ColdFile) -> Option<FileKind> {
    let provenance = file.provenance.as_ref()?;
    Some(FileKind {
        table: file.table,
        partition: provenance.ranges.first()?.0,
        tenant: file.tenant.clone(),
        dt: file.dt.clone(),
        class: provenance.class,
        sampled: provenance.sampled.clone(),
    })
}

/// Returns the lists of small files to merge, each into one file of at most 128 MB whose rows take at
/// most `max_memory` bytes.
pub(crate) fn merges<'a>(
    files: impl IntoIterator<Item = &'a ColdFile>,
    max_memory: u64,
) -> Vec<Vec<ColdFile>> {
    let mut groups: BTreeMap<(FileKind, usize), Vec<ColdFile>> = BTreeMap::new();
    for file in files {
        let level = MERGE_LEVEL_BYTES
            .iter()
            .position(|limit| file.bytes < *limit);
        if let (Some(kind), Some(level)) = (kind(file), level) {
            groups.entry((kind, level)).or_default().push(file.clone());
        }
    }
    let mut merges = Vec::new();
    for mut files in groups.into_values() {
        files.sort_by_key(first_seq);
        let mut merge = Vec::new();
        let (mut bytes, mut memory) = (0, 0);
        for file in files {
            let of_file = memory_bytes(&file);
            if bytes + file.bytes > MERGE_LEVEL_BYTES[2] || memory + of_file > max_memory {
                push_if_enough_files(&mut merges, std::mem::take(&mut merge));
                (bytes, memory) = (0, 0);
            }
            bytes += file.bytes;
            memory += of_file;
            merge.push(file);
        }
        push_if_enough_files(&mut merges, merge);
    }
    merges
}

/// The bytes of the rows of `file` in memory.
fn memory_bytes(file: &ColdFile) -> u64 {
    let known = file.provenance.as_ref().and_then(|own| own.memory_bytes);
    known.unwrap_or_else(|| file.bytes.saturating_mul(ASSUMED_COMPRESSION))
}

fn push_if_enough_files(merges: &mut Vec<Vec<ColdFile>>, merge: Vec<ColdFile>) {
    if merge.len() >= MIN_FILES_TO_MERGE {
        merges.push(merge);
    }
}

fn first_seq(file: &ColdFile) -> Seq {
    let ranges = file.provenance.iter().flat_map(|p| &p.ranges);
    ranges.map(|(_, range)| range.lo).min().unwrap_or(0)
}

/// Returns the ranges of several files by partition, adjacent ones merged.
pub(crate) fn merged_ranges(files: &[ColdFile]) -> Vec<(PartitionId, SeqRange)> {
    let mut sets: BTreeMap<PartitionId, RangeSet> = BTreeMap::new();
    for file in files {
        for (partition, range) in file.provenance.iter().flat_map(|p| &p.ranges) {
            sets.entry(*partition).or_default().insert(*range);
        }
    }
    let ranges = sets.iter().flat_map(|(partition, set)| {
        let ranges = set.ranges().iter();
        ranges.map(move |range| (*partition, *range))
    });
    ranges.collect()
}
