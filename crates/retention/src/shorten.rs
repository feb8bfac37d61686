//! Which events a change of the rules would keep less long. Errs on the side of naming too many.

use crate::{
    most_permissive::MostPermissive,
    rules::{Cold, Hot, Policy, RuleSet, Warm},
};

/// Some events are kept by `from`'s rule now, and would be kept less long by `to`'s.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shortening {
    pub tier: &'static str,
    /// The policies that decide before and after.
    pub from: String,
    pub to: String,
}

/// What `after` keeps less long than `before`, their own `before` lists set aside.
#[must_use]
pub fn shortenings(before: &RuleSet, after: &RuleSet) -> Vec<Shortening> {
    let (old, new) = (enforced(before), enforced(after));
    let mut found = of_tier("hot", &old, &new, |policy| policy.hot.as_ref(), Hot::keeps);
    found.extend(of_tier(
        "warm",
        &old,
        &new,
        |policy| policy.warm.as_ref(),
        Warm::keeps,
    ));
    found.extend(of_tier(
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

fn enforced(rules: &RuleSet) -> Vec<&Policy> {
    rules.policies.iter().filter(|own| !own.dry_run).collect()
}

fn of_tier<'a, T: 'a>(
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
    for (was, (from, long)) in old.iter().enumerate() {
        for (will, (to, short)) in new.iter().enumerate() {
            // Whoever took these events before the other one does so still, and did so already.
            let covered = takes(&new[..will], from) || takes(&old[..was], to);
            if !covered && from.selector.may_overlap(&to.selector) && !keeps(short, long) {
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

/// Whether all that `policy` selects falls to one of `earlier`.
fn takes<T>(earlier: &[(&Policy, &T)], policy: &Policy) -> bool {
    earlier
        .iter()
        .any(|(own, _)| own.selector == policy.selector || own.selector.selects_all())
}

impl Hot {
    fn keeps(&self, before: &Self) -> bool {
        self.most_permissive(before) == *self
    }
}

impl Warm {
    fn keeps(&self, before: &Self) -> bool {
        self.most_permissive(before) == *self
    }
}

impl Cold {
    fn keeps(&self, before: &Self) -> bool {
        self.most_permissive(before) == *self
    }
}

#[cfg(test)]
mod tests;
