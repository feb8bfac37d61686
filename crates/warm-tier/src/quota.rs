//! Which slices go because a policy's `warm.maxBytes` is used up. Pure.

use std::collections::BTreeMap;

/// The bytes that the slices of one policy may have together, on one compactor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quota {
    pub(crate) policy: String,
    pub(crate) max_bytes: u64,
}

/// A slice whose every row one capped policy keeps.
#[derive(Clone, Debug)]
pub(crate) struct QuotaSlice<T> {
    pub(crate) slice: T,
    pub(crate) quota: Quota,
    /// On disk.
    pub(crate) bytes: u64,
    /// When the log took its newest row.
    pub(crate) newest: i64,
    /// Whether the cold tier has it.
    pub(crate) is_archived: bool,
}

/// The oldest archived slices of each policy that is over its quota, as many as bring it below.
pub(crate) fn over_quota<T>(slices_of: Vec<QuotaSlice<T>>) -> Vec<T> {
    let mut of: BTreeMap<Quota, Vec<QuotaSlice<T>>> = BTreeMap::new();
    for slice in slices_of {
        of.entry(slice.quota.clone()).or_default().push(slice);
    }
    let mut gone = Vec::new();
    for (quota, mut slices) in of {
        slices.sort_by_key(|slice| slice.newest);
        let mut total: u64 = slices.iter().map(|slice| slice.bytes).sum();
        for slice in slices.into_iter().filter(|slice| slice.is_archived) {
            if total <= quota.max_bytes {
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

    fn slices_of(slice: u32, policy: &str, bytes: u64, is_archived: bool) -> QuotaSlice<u32> {
        QuotaSlice {
            slice,
            quota: Quota {
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
            slices_of(3, "a", 50, true),
            slices_of(1, "a", 50, false),
            slices_of(2, "a", 40, true),
            slices_of(4, "a", 10, true),
            slices_of(9, "b", 100, true),
        ];
        assert_eq!(over_quota(slices), [2, 3]);
    }

    #[test]
    fn what_is_not_archived_stays_however_large() {
        assert_eq!(
            over_quota(vec![slices_of(1, "a", 500, false)]),
            Vec::<u32>::new()
        );
    }
}
