//! Policies of the same priority that may match the same events and set different rules. Neither is
//! refused: the order is deterministic, so one always wins, and the status of both reports it.

use k8s_api::{Conflict, Enforcement, RetentionPolicy, Tiers};

use super::read::Policies;

/// Every valid policy with its conflicts; one that is suspended has none.
pub(crate) fn of_valid(policies: &Policies) -> Vec<(&RetentionPolicy, Vec<Conflict>)> {
    let ranked = k8s_api::ranked(&policies.valid);
    let conflicts = conflicts(&ranked);
    let suspended = policies.valid.iter().filter(|policy| policy.spec.suspend);
    let suspended = suspended.map(|policy| (policy, Vec::new()));
    ranked.into_iter().zip(conflicts).chain(suspended).collect()
}

/// Returns the conflicts of each of `ranked`, which is in order of precedence.
pub(crate) fn conflicts(ranked: &[&RetentionPolicy]) -> Vec<Vec<Conflict>> {
    let of_one = |(index, policy): (usize, &&RetentionPolicy)| {
        let others = ranked
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let conflicts = others.filter_map(|(other, rival)| {
            let field = conflicting_field(policy, rival)?;
            Some(Conflict {
                name: rival.name().to_owned(),
                namespace: rival.namespace().to_owned(),
                winner: other < index,
                field: field.to_owned(),
            })
        });
        conflicts.collect()
    };
    ranked.iter().enumerate().map(of_one).collect()
}

/// The first field in which the two conflict.
fn conflicting_field(one: &RetentionPolicy, other: &RetentionPolicy) -> Option<&'static str> {
    let enforced = |policy: &RetentionPolicy| policy.spec.enforcement == Enforcement::Enforce;
    let cannot_conflict = one.spec.priority != other.spec.priority
        || !enforced(one)
        || !enforced(other)
        || !k8s_api::selector_of(one).may_overlap(&k8s_api::selector_of(other));
    if cannot_conflict {
        None
    } else {
        differing_tier(&one.spec.tiers, &other.spec.tiers)
    }
}

/// The first tier that both set to different values.
fn differing_tier(one: &Tiers, other: &Tiers) -> Option<&'static str> {
    fn both_set_and_differ<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.zip(other).is_some_and(|(one, other)| one != other)
    }
    [
        (
            "spec.tiers.hot",
            both_set_and_differ(one.hot.as_ref(), other.hot.as_ref()),
        ),
        (
            "spec.tiers.warm",
            both_set_and_differ(one.warm.as_ref(), other.warm.as_ref()),
        ),
        (
            "spec.tiers.cold",
            both_set_and_differ(one.cold.as_ref(), other.cold.as_ref()),
        ),
    ]
    .into_iter()
    .find_map(|(field, differs)| differs.then_some(field))
}

#[cfg(test)]
mod tests;
