//! Policies of one priority that may match the same events and say otherwise. Nothing is refused:
//! one of them wins, always the same, and both say so.

use k8s_api::{Conflict, Enforcement, RetentionPolicy, Tiers};

/// The conflicts of each of `ranked`, the winner first.
pub(crate) fn conflicts(ranked: &[&RetentionPolicy]) -> Vec<Vec<Conflict>> {
    let of_one = |(index, policy): (usize, &&RetentionPolicy)| {
        let others = ranked
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let found = others.filter_map(|(other, rival)| {
            let field = clash(policy, rival)?;
            Some(Conflict {
                name: rival.name().to_owned(),
                namespace: rival.namespace().to_owned(),
                winner: other < index,
                field: field.to_owned(),
            })
        });
        found.collect()
    };
    ranked.iter().enumerate().map(of_one).collect()
}

fn clash(one: &RetentionPolicy, other: &RetentionPolicy) -> Option<&'static str> {
    let enforced = |policy: &RetentionPolicy| policy.spec.enforcement == Enforcement::Enforce;
    let apart = one.spec.priority != other.spec.priority
        || !enforced(one)
        || !enforced(other)
        || !k8s_api::selector_of(one).may_overlap(&k8s_api::selector_of(other));
    if apart {
        None
    } else {
        differs(&one.spec.tiers, &other.spec.tiers)
    }
}

/// The first tier that both set, and not alike.
fn differs(one: &Tiers, other: &Tiers) -> Option<&'static str> {
    fn otherwise<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.zip(other).is_some_and(|(one, other)| one != other)
    }
    [
        (
            "spec.tiers.hot",
            otherwise(one.hot.as_ref(), other.hot.as_ref()),
        ),
        (
            "spec.tiers.warm",
            otherwise(one.warm.as_ref(), other.warm.as_ref()),
        ),
        (
            "spec.tiers.cold",
            otherwise(one.cold.as_ref(), other.cold.as_ref()),
        ),
    ]
    .into_iter()
    .find_map(|(field, differs)| differs.then_some(field))
}

#[cfg(test)]
mod tests;
