//! Maintenance of sealed slices: expiry, quotas, purge limit, refill. Runs beside the writer.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc, time::Duration};

use event::{PartitionId, Seq, Timestamp};
use retention::RuleSet;

use crate::{
    classify,
    engine::Engine,
    error::{Error, Result},
    manifest::Slice,
    quota::{self, Quota, QuotaSlice},
    sealed_partition::{SealedPartition, SliceFile},
    slice_file,
};

/// Finds slices that are past their age or over a quota. Caches the retention of each slice until
/// the rules change.
#[derive(Debug, Default)]
pub struct Expiry {
    /// Hash of the rules that the cache was computed by.
    rules_hash: String,
    retention_by_file: HashMap<PathBuf, SliceRetention>,
}

/// The retention of a slice by the current rules.
#[derive(Clone, Debug)]
struct SliceRetention {
    /// The longest age of its rows.
    max_age: Duration,
    /// `None` unless all of its rows fall under one policy with a quota.
    quota: Option<Quota>,
}

/// The slices that are due, and those of which it is not known because they could not be read.
#[derive(Debug)]
pub struct DueSlices<T> {
    pub due: Vec<T>,
    pub unread: Vec<UnreadSlice>,
}

/// A slice that could not be read: ask again. [`Error::Damaged`] says that it never can be:
/// [`Scanner::check`](crate::Scanner::check) it.
#[derive(Debug)]
pub struct UnreadSlice {
    pub partition: PartitionId,
    pub slice: Slice,
    pub error: Error,
}

impl Expiry {
    /// Returns the slices that are past their age by the current `rules` and that the cold tier, which
    /// has everything up to `cold`, should have.
    pub fn past_age(
        &mut self,
        engine: &Engine,
        sealed: &SealedPartition,
        rules: &RuleSet,
        cold: Seq,
        now: Timestamp,
    ) -> DueSlices<Slice> {
        self.reset_if_changed(rules);
        let (mut due, mut unread) = (Vec::new(), Vec::new());
        let min_age = min_warm_age(rules);
        for file in sealed.snapshot().1 {
            let slice = &file.slice;
            let is_past = |age: Duration| slice.received_max().plus(age) <= now;
            if slice.hi > cold || !is_past(min_age) {
                continue;
            }
            match self.retention(engine, &file, rules) {
                Ok(retention) if is_past(retention.max_age) => due.push(slice.clone()),
                Ok(_) => {}
                Err(error) => unread.push(UnreadSlice::new(sealed, &file, error)),
            }
        }
        self.retention_by_file.retain(|path, _| path.exists());
        DueSlices { due, unread }
    }

    /// Returns the oldest slices of policies that have more than their `warm.maxBytes` here, as far as
    /// the cold tier, which has each partition up to `cold`, should have them. A slice that cannot be read
    /// counts for no policy.
    pub fn over_quota(
        &mut self,
        engine: &Engine,
        sealed_partitions: &[Arc<SealedPartition>],
        rules: &RuleSet,
        cold: impl Fn(PartitionId) -> Seq,
    ) -> DueSlices<(Arc<SealedPartition>, Slice)> {
        self.reset_if_changed(rules);
        let (mut with_quota, mut unread) = (Vec::new(), Vec::new());
        let mut warm = rules.policies.iter().filter_map(|own| own.warm.as_ref());
        if warm.all(|warm| warm.max_bytes.is_none()) {
            let due = Vec::new();
            return DueSlices { due, unread };
        }
        for sealed in sealed_partitions {
            let cold = cold(sealed.partition);
            for file in sealed.snapshot().1 {
                let quota = match self.retention(engine, &file, rules) {
                    Ok(retention) => retention.quota,
                    Err(error) => {
                        unread.push(UnreadSlice::new(sealed, &file, error));
                        None
                    }
                };
                let Some(quota) = quota else {
                    continue;
                };
                with_quota.push(QuotaSlice {
                    quota,
                    // A file that was removed meanwhile takes no space.
                    bytes: fs::metadata(&file.path).map_or(0, |file| file.len()),
                    received_max: file.slice.received_max,
                    is_archived: file.slice.hi <= cold,
                    slice: (sealed, file),
                });
            }
        }
        let due = quota::over_quota(with_quota).into_iter();
        let due = due.map(|(sealed, file)| (Arc::clone(sealed), file.slice.clone()));
        DueSlices {
            due: due.collect(),
            unread,
        }
    }

    /// Empties the cache when the rules have changed.
    fn reset_if_changed(&mut self, rules: &RuleSet) {
        let hash = rules.hash();
        if self.rules_hash != hash {
            self.retention_by_file.clear();
            self.rules_hash = hash;
        }
    }

    fn retention(
        &mut self,
        engine: &Engine,
        file: &Arc<SliceFile>,
        rules: &RuleSet,
    ) -> Result<SliceRetention> {
        if let Some(cached) = self.retention_by_file.get(&file.path) {
            return Ok(cached.clone());
        }
        let retention = slice_retention(engine, file, rules);
        let retention = retention.map_err(|error| error.of_file(&file.path))?;
        self.retention_by_file
            .insert(file.path.clone(), retention.clone());
        Ok(retention)
    }
}

impl UnreadSlice {
    fn new(sealed: &SealedPartition, file: &SliceFile, error: Error) -> Self {
        Self {
            partition: sealed.partition,
            slice: file.slice.clone(),
            error,
        }
    }
}

/// Drops `slice`, which the cold tier was seen to have; `false` when it was no longer there.
///
/// # Errors
/// [`Error::File`](crate::Error::File) when the manifest cannot be written: call it again.
pub fn drop_slice(sealed: &SealedPartition, slice: &Slice) -> Result<bool> {
    sealed.update_manifest(|manifest| {
        let is_live = manifest.slices.contains(slice);
        manifest.expire(slice);
        is_live
    })
}

/// The shortest warm age of all rules: no row is dropped before it.
fn min_warm_age(rules: &RuleSet) -> Duration {
    let warm = rules.in_force().filter_map(|policy| policy.warm.as_ref());
    warm.map(retention::Warm::max_age)
        .min()
        .unwrap_or(Duration::MAX)
}

/// Computes the retention of a slice from the distinct subjects of its rows.
fn slice_retention(
    engine: &Engine,
    file: &Arc<SliceFile>,
    rules: &RuleSet,
) -> Result<SliceRetention> {
    let connection = engine.connect()?;
    let subjects = slice_file::with_attached(&connection, &file.path, |alias| {
        let events = format!("{alias}.events");
        classify::distinct_subjects(&connection, &events, rules.uses_labels())
    })?;
    let age_and_quota = |subject| {
        classify::with_effective(rules, subject, |effective| {
            let warm = &effective.warm;
            let quota = warm.rules.max_bytes.map(|max_bytes| Quota {
                policy: warm.policy.name.clone(),
                max_bytes,
            });
            (warm.rules.max_age(), quota)
        })
    };
    let (ages, quotas): (Vec<_>, Vec<_>) = subjects.iter().map(age_and_quota).unzip();
    let first = quotas.first().cloned().flatten();
    Ok(SliceRetention {
        max_age: ages.into_iter().max().unwrap_or_default(),
        quota: first.filter(|first| quotas.iter().all(|quota| quota.as_ref() == Some(first))),
    })
}

/// The last sequence through which the log may be purged: sealed here, committed in the cold tier
/// (which has everything up to `cold`), and received before `before`. `None` when there is none.
#[must_use]
pub fn purgeable(sealed: &SealedPartition, cold: Seq, before: Timestamp) -> Option<Seq> {
    let manifest = sealed.manifest();
    let young = manifest
        .slices
        .iter()
        .filter(|slice| slice.received_max() >= before);
    let first_young = young.map(|slice| slice.lo - 1).min();
    let through = manifest
        .sealed
        .min(cold)
        .min(first_young.unwrap_or(Seq::MAX));
    (through >= manifest.first).then_some(through)
}
