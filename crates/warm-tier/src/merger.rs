//! The merges of a data folder. A group of slices whose merge fails waits, longer after every failure, and
//! holds back no other.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use event::{PartitionId, Seq, SeqRange};
use retention::Class;

use crate::{
    engine::Engine,
    error::{Error, Result},
    manifest::{Manifest, Slice},
    merge,
    recovery::PROBE_MEMORY,
    sealed_partition::SealedPartition,
    slice_check,
};

/// The content of a merge is at most this part of the memory of its DuckDB instance, which sorts it: rows of
/// 256 KiB still fit.
const MEMORY_PER_MERGED_BYTE: u64 = 4;
/// The wait of a group after its first failure; it doubles with each further one.
const FIRST_RETRY_PAUSE: Duration = Duration::from_secs(60);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// Merges small slices into larger ones. Its methods block.
#[derive(Debug)]
pub struct Merger {
    engine: Engine,
    /// Bytes of content.
    max_bytes: u64,
    spill: PathBuf,
    failed: HashMap<PartitionId, Vec<FailedMerge>>,
}

/// A group of slices that could not be merged.
#[derive(Clone, Copy, Debug)]
struct FailedMerge {
    class: Class,
    range: SeqRange,
    failures: u32,
    retry_at: Instant,
}

impl Merger {
    pub(crate) fn new(engine: Engine, memory: u64, spill: PathBuf) -> Self {
        Self {
            engine,
            max_bytes: memory / MEMORY_PER_MERGED_BYTE,
            spill,
            failed: HashMap::new(),
        }
    }

    /// Merges the oldest run of small slices of `sealed`, if there is one that does not wait, and returns
    /// the merged slice. The cold tier has everything through `cold`; 0 without one.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::File`] when a slice cannot be read or written, [`Error::Damaged`]
    /// when the result differs from its inputs. The manifest is unchanged, and the run waits: call it
    /// again for the others.
    pub fn merge_once(
        &mut self,
        sealed: &SealedPartition,
        cold: Seq,
        now: Instant,
    ) -> Result<Option<Slice>> {
        let manifest = sealed.manifest();
        let failed = self.failed.entry(sealed.partition).or_default();
        failed.retain(|failed| is_of(failed, &manifest));
        let is_waiting = |class, range: SeqRange| {
            failed.iter().any(|failed| {
                let overlaps = failed.range.intersect(&range).is_some();
                failed.class == class && overlaps && failed.retry_at > now
            })
        };
        let Some(inputs) = merge::plan(&manifest, self.max_bytes, cold, is_waiting) else {
            return Ok(None);
        };
        let merged = merge::run(&self.engine, sealed, &inputs);
        if let Err(error) = &merged {
            self.note_failure(sealed, &inputs, error, now);
            if !error.is_of_the_machine() {
                self.quarantine_damaged(sealed, &inputs)?;
            }
        }
        merged
    }

    /// Lets the run `inputs` wait, and says so once.
    fn note_failure(
        &mut self,
        sealed: &SealedPartition,
        inputs: &[Slice],
        error: &Error,
        now: Instant,
    ) {
        let Some((range, first)) = merge::range_of(inputs).zip(inputs.first()) else {
            return;
        };
        let failed = self.failed.entry(sealed.partition).or_default();
        let same = |own: &FailedMerge| (own.class, own.range) == (first.class, range);
        let failures = 1 + failed
            .iter()
            .find(|own| same(own))
            .map_or(0, |own| own.failures);
        failed.retain(|own| !same(own));
        let pause = retry_pause(failures);
        failed.push(FailedMerge {
            class: first.class,
            range,
            failures,
            retry_at: now + pause,
        });
        tracing::warn!(
            partition = %sealed.partition,
            %range,
            class = %first.class,
            failures,
            retry_in_s = pause.as_secs(),
            error = %error,
            "merge failed, its slices stay as they are until the next attempt"
        );
    }

    /// Takes those of `inputs` out that are damaged: they would fail every merge.
    fn quarantine_damaged(&self, sealed: &SealedPartition, inputs: &[Slice]) -> Result<()> {
        for slice in inputs {
            let probe = Engine::start(PROBE_MEMORY, 1, &self.spill.join("probe"))?;
            let path = sealed.dir.join(&slice.file);
            match slice_check::check(&probe, sealed.partition, &path, slice) {
                Err(error @ Error::Damaged { .. }) => sealed.quarantine(slice, &error)?,
                checked => checked?,
            }
        }
        Ok(())
    }
}

/// Whether `manifest` still has the first slice of the group.
fn is_of(failed: &FailedMerge, manifest: &Manifest) -> bool {
    let mut slices = manifest.slices.iter();
    slices.any(|slice| slice.class == failed.class && slice.lo == failed.range.lo)
}

/// The wait after `failures` failures in a row.
fn retry_pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1);
    FIRST_RETRY_PAUSE
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(MAX_RETRY_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_waits_twice_as_long_after_every_failure() {
        let minutes: Vec<_> = (1..=4).map(|n| retry_pause(n).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8]);
        assert_eq!(retry_pause(100), MAX_RETRY_PAUSE);
    }
}
