//! What happens to sealed slices: merges and expiry. Runs beside the writer.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use event::{Seq, Timestamp};
use retention::RuleSet;

use crate::{
    Result, classify,
    engine::{self, Engine},
    manifest::{LostSlice, Slice},
    merge,
    shelf::{Shelf, SliceFile},
    slice_file,
};

/// Merges the oldest run of small slices, if there is one.
pub fn merge_once(engine: &Engine, shelf: &Shelf) -> Result<Option<Slice>> {
    match merge::plan(&shelf.manifest()) {
        Some(inputs) => merge::run(engine, shelf, &inputs),
        None => Ok(None),
    }
}

/// Drops what is old. Remembers the ages of slices, which say nothing new until the rules change.
#[derive(Debug, Default)]
pub struct Expiry {
    rules: String,
    ages: HashMap<PathBuf, Duration>,
}

impl Expiry {
    /// Drops the slices whose age is over by the current `rules` and that lie in the cold tier,
    /// which has everything up to `cold`. Returns what was dropped.
    pub fn drop_old(
        &mut self,
        engine: &Engine,
        shelf: &Shelf,
        rules: &RuleSet,
        cold: Seq,
        now: Timestamp,
    ) -> Result<Vec<Slice>> {
        let hash = rules.hash();
        if self.rules != hash {
            self.ages.clear();
            self.rules = hash;
        }
        let mut dropped = Vec::new();
        let least = least_warm_age(rules);
        for file in shelf.snapshot().1 {
            let slice = &file.slice;
            let over = |age: Duration| slice.received_max().plus(age) <= now;
            if slice.hi > cold || !over(least) || !over(self.age(engine, &file, rules)?) {
                continue;
            }
            let changed = shelf.change(|manifest| {
                let there = manifest.slices.contains(slice);
                manifest.expire(slice);
                there
            })?;
            if changed {
                dropped.push(slice.clone());
            }
        }
        self.ages.retain(|path, _| path.exists());
        Ok(dropped)
    }

    fn age(&mut self, engine: &Engine, file: &Arc<SliceFile>, rules: &RuleSet) -> Result<Duration> {
        if let Some(age) = self.ages.get(&file.path) {
            return Ok(*age);
        }
        let age = warm_age(engine, file, rules)?;
        self.ages.insert(file.path.clone(), age);
        Ok(age)
    }
}

/// No row goes earlier than this.
fn least_warm_age(rules: &RuleSet) -> Duration {
    let warm = rules.in_force().filter_map(|policy| policy.warm.as_ref());
    warm.map(retention::Warm::max_age)
        .min()
        .unwrap_or(Duration::MAX)
}

/// The age at which the last row of a slice may go.
fn warm_age(engine: &Engine, file: &Arc<SliceFile>, rules: &RuleSet) -> Result<Duration> {
    let connection = engine.connect()?;
    let alias = slice_file::alias("age");
    engine::attach_read_only(&connection, &file.path, &alias)?;
    let kinds = classify::kinds(&connection, &format!("{alias}.events"), rules.uses_labels());
    engine::detach(&connection, &alias)?;
    let age = |kind| classify::with_effective(rules, kind, |rules| rules.warm.rules.max_age());
    Ok(kinds?.iter().map(age).max().unwrap_or_default())
}

/// Up to where the log may forget: what is sealed here and committed in the cold tier (`cold`), and
/// was received before `before`. `None` when nothing is.
#[must_use]
pub fn purgeable(shelf: &Shelf, cold: Seq, before: Timestamp) -> Option<Seq> {
    let manifest = shelf.manifest();
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
pub fn to_refill(shelf: &Shelf, cold: Seq) -> Vec<LostSlice> {
    let holes = shelf.manifest().holes.into_iter();
    holes
        .filter(|hole| hole.slice.is_some() && hole.hi > cold)
        .collect()
}
