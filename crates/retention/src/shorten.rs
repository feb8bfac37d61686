//! Shortenings: the changes of a rule set under which some events are kept less long. Reports too many
//! rather than too few.

use crate::{
    most_permissive::MostPermissive,
    rules::{Cold, Hot, Policy, RuleSet, Warm},
};

/// A shortening: events now kept by the rule of `from` would be kept less long by the rule of `to`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shortening {
    /// `hot`, `warm` or `cold`.
    pub tier: &'static str,
    /// The policy that decides before the change, `namespace/name`.
    pub from: String,
    /// The policy that decides after it.
    pub to: String,
}

/// The shortenings from `before` to `after`, sorted, each once. Compares their `policies`, not the lists
/// that either keeps of an earlier change.
#[must_use]
pub fn shortenings(before: &RuleSet, after: &RuleSet) -> Vec<Shortening> {
    let (old, new) = (enforced(before), enforced(after));
    let mut found =
        shortenings_of_tier("hot", &old, &new, |policy| policy.hot.as_ref(), Hot::keeps);
    found.extend(shortenings_of_tier(
        "warm",
        &old,
        &new,
        |policy| policy.warm.as_ref(),
        Warm::keeps,
    ));
    found.extend(shortenings_of_tier(
        "cold",
        &old,
        &new,
        |policy| policy.cold.as_ref(),
        Cold::keeps,
    ));
    found.sort();
    found.dedup();
    found
}

/// The policies that decide about events: those without dry run.
fn enforced(rules: &RuleSet) -> Vec<&Policy> {
    rules.policies.iter().filter(|own| !own.dry_run).collect()
}

fn shortenings_of_tier<'a, T: 'a>(
    tier: &'static str,
    old: &[&'a Policy],
    new: &[&'a Policy],
    rule: impl Fn(&'a Policy) -> Option<&'a T>,
    keeps: impl Fn(&T, &T) -> bool,
) -> Vec<Shortening> {
    let with_tier = |policies: &[&'a Policy]| -> Vec<(&'a Policy, &'a T)> {
        let pairs = policies.iter().filter_map(|own| Some((*own, rule(own)?)));
        pairs.collect()
    };
    let (old, new) = (with_tier(old), with_tier(new));
    let mut found = Vec::new();
    for (old_rank, (from, old_rule)) in old.iter().enumerate() {
        for (new_rank, (to, new_rule)) in new.iter().enumerate() {
            // An earlier policy decides about all of these events, after the change or already before it.
            let shadowed = is_shadowed(from, &new[..new_rank]) || is_shadowed(to, &old[..old_rank]);
            if !shadowed && from.selector.may_overlap(&to.selector) && !keeps(new_rule, old_rule) {
                found.push(Shortening {
                    tier,
                    from: from.name.clone(),
                    to: to.name.clone(),
                });
            }
        }
    }
    found
}

/// Returns true if one of `earlier` decides about every event that `policy` selects.
fn is_shadowed<T>(policy: &Policy, earlier: &[(&Policy, &T)]) -> bool {
    earlier
        .iter()
        .any(|(own, _)| own.selector == policy.selector || own.selector.selects_all())
}

impl Hot {
    /// Returns true if every event kept by `before` is kept by `self`.
    fn keeps(&self, before: &Self) -> bool {
        self.most_permissive(before) == *self
    }
}

impl Warm {
    /// Returns true if every event kept by `before` is kept by `self`.
    fn keeps(&self, before: &Self) -> bool {
        self.most_permissive(before) == *self
    }
}

impl Cold {
    /// Returns true if every event kept by `before` is kept by `self`.
    fn keeps(&self, before: &Self) -> bool {
        self.most_permissive(before) == *self
    }
}

#[cfg(test)]
mod tests;
