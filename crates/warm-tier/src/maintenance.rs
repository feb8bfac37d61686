//! What happens to sealed slices: merges and expiry. Runs beside the writer.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc, time::Duration};

use event::{PartitionId, Seq, Timestamp};
use retention::RuleSet;

use crate::{
    classify,
    engine::{self, Engine},
    error::Result,
    manifest::{LostSlice, Slice},
    merge,
    quota::{self, Quota, QuotaSlice},
    sealed_partition::{SealedPartition, SliceFile},
    slice_file,
};

/// Merges the oldest run of small slices, if there is one.
pub fn merge_once(engine: &Engine, sealed: &SealedPartition) -> Result<Option<Slice>> {
    match merge::plan(&sealed.manifest()) {
        Some(inputs) => merge::run(engine, sealed, &inputs),
        None => Ok(None),
    }
}

/// Drops what is old, or too much. Remembers what the rules say of slices, which is nothing new
/// until the rules change.
#[derive(Debug, Default)]
pub struct Expiry {
    rules: String,
    kept: HashMap<PathBuf, Kept>,
}

/// How long and by which bound a slice is kept.
#[derive(Clone, Debug)]
struct Kept {
    age: Duration,
    /// `None` when not all of its rows are kept by one policy that has one.
    quota: Option<Quota>,
}

impl Expiry {
    /// Drops the slices whose age is over by the current `rules` and that lie in the cold tier,
    /// which has everything up to `cold`. Returns what was dropped.
    pub fn drop_old(
        &mut self,
        engine: &Engine,
        sealed: &SealedPartition,
        rules: &RuleSet,
        cold: Seq,
        now: Timestamp,
    ) -> Result<Vec<Slice>> {
        self.follow(rules);
        let mut dropped = Vec::new();
        let least = least_warm_age(rules);
        for file in sealed.snapshot().1 {
            let slice = &file.slice;
            let over = |age: Duration| slice.received_max().plus(age) <= now;
            if slice.hi > cold || !over(least) || !over(self.kept(engine, &file, rules)?.age) {
                continue;
            }
            if drop_slice(sealed, slice)? {
                dropped.push(slice.clone());
            }
        }
        self.kept.retain(|path, _| path.exists());
        Ok(dropped)
    }

    /// Drops the oldest slices of policies that have more than their `warm.maxBytes` here, as far
    /// as they lie in the cold tier, which has each partition up to `cold`.
    pub fn drop_over_quota(
        &mut self,
        engine: &Engine,
        sealed_partitions: &[Arc<SealedPartition>],
        rules: &RuleSet,
        cold: impl Fn(PartitionId) -> Seq,
    ) -> Result<Vec<Slice>> {
        self.follow(rules);
        let mut warm = rules.policies.iter().filter_map(|own| own.warm.as_ref());
        if warm.all(|warm| warm.max_bytes.is_none()) {
            return Ok(Vec::new());
        }
        let mut held = Vec::new();
        for sealed in sealed_partitions {
            let cold = cold(sealed.partition);
            for file in sealed.snapshot().1 {
                let Some(quota) = self.kept(engine, &file, rules)?.quota else {
                    continue;
                };
                held.push(QuotaSlice {
                    quota,
                    // One that is gone by now holds nothing.
                    bytes: fs::metadata(&file.path).map_or(0, |file| file.len()),
                    newest: file.slice.received_max,
                    is_archived: file.slice.hi <= cold,
                    slice: (sealed, file),
                });
            }
        }
        let mut dropped = Vec::new();
        for (sealed, file) in quota::over_quota(held) {
            if drop_slice(sealed, &file.slice)? {
                dropped.push(file.slice.clone());
            }
        }
        Ok(dropped)
    }

    fn follow(&mut self, rules: &RuleSet) {
        let hash = rules.hash();
        if self.rules != hash {
            self.kept.clear();
            self.rules = hash;
        }
    }

    fn kept(&mut self, engine: &Engine, file: &Arc<SliceFile>, rules: &RuleSet) -> Result<Kept> {
        if let Some(kept) = self.kept.get(&file.path) {
            return Ok(kept.clone());
        }
        let kept = kept(engine, file, rules)?;
        self.kept.insert(file.path.clone(), kept.clone());
        Ok(kept)
    }
}

/// `false` when it was gone already.
fn drop_slice(sealed: &SealedPartition, slice: &Slice) -> Result<bool> {
    sealed.change(|manifest| {
        let there = manifest.slices.contains(slice);
        manifest.expire(slice);
        there
    })
}

/// No row goes earlier than this.
fn least_warm_age(rules: &RuleSet) -> Duration {
    let warm = rules.in_force().filter_map(|policy| policy.warm.as_ref());
    warm.map(retention::Warm::max_age)
        .min()
        .unwrap_or(Duration::MAX)
}

/// The age at which the last row of a slice may go, and the bound that all of them share.
fn kept(engine: &Engine, file: &Arc<SliceFile>, rules: &RuleSet) -> Result<Kept> {
    let connection = engine.connect()?;
    let alias = slice_file::alias("age");
    engine::attach_read_only(&connection, &file.path, &alias)?;
    let kinds = classify::kinds(&connection, &format!("{alias}.events"), rules.uses_labels());
    engine::detach(&connection, &alias)?;
    let of = |kind| {
        classify::with_effective(rules, kind, |effective| {
            let warm = &effective.warm;
            let quota = warm.rules.max_bytes.map(|max_bytes| Quota {
                policy: warm.policy.name.clone(),
                max_bytes,
            });
            (warm.rules.max_age(), quota)
        })
    };
    let (ages, quotas): (Vec<_>, Vec<_>) = kinds?.iter().map(of).unzip();
    let first = quotas.first().cloned().flatten();
    Ok(Kept {
        age: ages.into_iter().max().unwrap_or_default(),
        quota: first.filter(|first| quotas.iter().all(|quota| quota.as_ref() == Some(first))),
    })
}

/// Up to where the log may forget: what is sealed here and committed in the cold tier (`cold`), and
/// was received before `before`. `None` when nothing is.
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

/// The slices that were lost here and that the cold tier, which has everything up to `cold`, does
/// not serve either.
#[must_use]
pub fn to_refill(sealed: &SealedPartition, cold: Seq) -> Vec<LostSlice> {
    let gaps = sealed.manifest().gaps.into_iter();
    gaps.filter(|gap| gap.slice.is_some() && gap.hi > cold)
        .collect()
}
