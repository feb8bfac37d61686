//! The slices that a statement reads in place.

use std::path::Path;

use event::{PartitionId, Seq, SeqRange};
use retention::Class;
use serde::{Deserialize, Serialize};

use super::{SliceRows, SqlError};
use crate::{coverage::SliceCoverage, layout, manifest::Manifest, serial};

/// A slice as readers know it from the coverage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRef {
    pub lo: Seq,
    pub hi: Seq,
    #[serde(with = "serial::text")]
    pub class: Class,
    /// Only rows with a sequence in these ranges; without any, all rows.
    #[serde(
        default,
        with = "serial::ranges",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ranges: Vec<SeqRange>,
}

impl SliceRef {
    /// All rows of `slice`.
    #[must_use]
    pub fn whole(slice: &SliceCoverage) -> Self {
        Self {
            lo: slice.lo,
            hi: slice.hi,
            class: slice.class,
            ranges: Vec::new(),
        }
    }
}

/// Returns the files of the slices `wanted` of `partition` in the data folder `data` of a compactor.
///
/// # Errors
/// [`SqlError::Stale`] when one of them is no longer live: plan again. [`SqlError::Engine`] when the manifest
/// cannot be read.
pub fn slices_in_place(
    data: &Path,
    partition: PartitionId,
    wanted: &[SliceRef],
) -> Result<Vec<SliceRows>, SqlError> {
    let dir = layout::partition_dir(data, partition);
    let manifest = Manifest::read(&dir).map_err(|error| SqlError::Engine(error.to_string()))?;
    let live = manifest.map_or_else(Vec::new, |manifest| manifest.slices);
    let file = |wanted: &SliceRef| {
        let slice = live
            .iter()
            .find(|live| (live.lo, live.hi, live.class) == (wanted.lo, wanted.hi, wanted.class));
        Ok(SliceRows {
            path: dir.join(&slice.ok_or(SqlError::Stale)?.file),
            ranges: wanted.ranges.clone(),
        })
    };
    wanted.iter().map(file).collect()
}
