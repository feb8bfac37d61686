//! Which slices go because a policy's `warm.maxBytes` is used up. Pure.

use std::collections::BTreeMap;

/// The bytes that the slices of one policy may have together, on one compactor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cap {
    pub(crate) policy: String,
    pub(crate) max_bytes: u64,
}

/// A slice whose every row one capped policy keeps.
#[derive(Clone, Debug)]
pub(crate) struct Held<T> {
    pub(crate) slice: T,
    pub(crate) cap: Cap,
    /// On disk.
    pub(crate) bytes: u64,
    /// When the log took its newest row.
    pub(crate) newest: i64,
    /// Whether the cold tier has it.
    pub(crate) is_archived: bool,
}

/// The oldest archived slices of each policy that is over its cap, as many as bring it below.
pub(crate) fn over<T>(held: Vec<Held<T>>) -> Vec<T> {
    let mut of: BTreeMap<Cap, Vec<Held<T>>> = BTreeMap::new();
    for slice in held {
        of.entry(slice.cap.clone()).or_default().push(slice);
    }
    let mut gone = Vec::new();
    for (cap, mut slices) in of {
        slices.sort_by_key(|slice| slice.newest);
        let mut total: u64 = slices.iter().map(|slice| slice.bytes).sum();
        for slice in slices.into_iter().filter(|slice| slice.is_archived) {
            if total <= cap.max_bytes {
                break;
            }
            total -= slice.bytes;
            gone.push(slice.slice);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(slice: u32, policy: &str, bytes: u64, is_archived: bool) -> Held<u32> {
        Held {
            slice,
            cap: Cap {
                policy: policy.to_owned(),
                max_bytes: 100,
            },
            bytes,
            newest: i64::from(slice),
            is_archived,
        }
    }

    #[test]
    fn the_oldest_archived_slices_go_until_the_rest_fits() {
        let slices = vec![
            held(3, "a", 50, true),
            held(1, "a", 50, false),
            held(2, "a", 40, true),
            held(4, "a", 10, true),
            held(9, "b", 100, true),
        ];
        assert_eq!(over(slices), [2, 3]);
    }

    #[test]
    fn what_is_not_archived_stays_however_large() {
        assert_eq!(over(vec![held(1, "a", 500, false)]), Vec::<u32>::new());
    }
}
