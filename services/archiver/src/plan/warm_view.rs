//! What warm has, as its compactors say. Pure.

use cold_tier::ColdFile;
use warm_tier::remote::PartitionCoverage;

/// What the compactors have.
#[derive(Clone, Debug)]
pub(crate) struct WarmView {
    pub(crate) partitions: Vec<PartitionCoverage>,
    /// Whether all compactors have answered; otherwise there may be more partitions.
    pub(crate) is_whole: bool,
}

impl WarmView {
    /// Whether warm may still have rows that `file` was made of. Slices of another class count for nothing: they
    /// may live much longer.
    pub(crate) fn may_have(&self, file: &ColdFile) -> bool {
        let Some(provenance) = &file.provenance else {
            return true;
        };
        provenance.ranges.iter().any(|(partition, range)| {
            let own = self.partitions.iter();
            let mut own = own.filter(|own| own.partition == *partition).peekable();
            if own.peek().is_none() {
                return !self.is_whole;
            }
            own.flat_map(|own| &own.slices).any(|slice| {
                Some(slice.class) == provenance.class && slice.range().intersect(range).is_some()
            })
        })
    }
}
