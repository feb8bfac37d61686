//! Selects the slices to drop when a policy's `warm.maxBytes` is exceeded. Pure.

use std::collections::BTreeMap;

/// The byte limit (`warm.maxBytes`) that all slices of one policy share on one compactor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quota {
    pub(crate) policy: String,
    pub(crate) max_bytes: u64,
}

/// A slice all of whose rows fall under one policy with a quota.
#[derive(Clone, Debug)]
pub(crate) struct QuotaSlice<T> {
    pub(crate) slice: T,
    pub(crate) quota: Quota,
    /// Size on disk.
    pub(crate) bytes: u64,
    /// `received_at` of its newest row, in microseconds.
    pub(crate) received_max: i64,
    /// `true` when the cold tier has all of its rows.
    pub(crate) is_archived: bool,
}

/// Selects the oldest archived slices of each policy that is over its quota, until the rest fits.
pub(crate) fn over_quota<T>(slices: Vec<QuotaSlice<T>>) -> Vec<T> {
    let mut by_quota: BTreeMap<Quota, Vec<QuotaSlice<T>>> = BTreeMap::new();
    for slice in slices {
        by_quota.entry(slice.quota.clone()).or_default().push(slice);
    }
    let mut selected = Vec::new();
    for (quota, mut slices) in by_quota {
        slices.sort_by_key(|slice| slice.received_max);
        let mut total: u64 = slices.iter().map(|slice| slice.bytes).sum();
        for slice in slices.into_iter().filter(|slice| slice.is_archived) {
            if total <= quota.max_bytes {
                break;
            }
            total -= slice.bytes;
            selected.push(slice.slice);
        }
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota_slice(slice: u32, policy: &str, bytes: u64, is_archived: bool) -> QuotaSlice<u32> {
        QuotaSlice {
            slice,
            quota: Quota {
                policy: policy.to_owned(),
                max_bytes: 100,
            },
            bytes,
            received_max: i64::from(slice),
            is_archived,
        }
    }

    #[test]
    fn the_oldest_archived_slices_are_dropped_until_the_rest_fits() {
        let slices = vec![
            quota_slice(3, "a", 50, true),
            quota_slice(1, "a", 50, false),
            quota_slice(2, "a", 40, true),
            quota_slice(4, "a", 10, true),
            quota_slice(9, "b", 100, true),
        ];
        assert_eq!(over_quota(slices), [2, 3]);
    }

    #[test]
    fn a_slice_that_is_not_archived_is_kept_however_large() {
        assert_eq!(
            over_quota(vec![quota_slice(1, "a", 500, false)]),
            Vec::<u32>::new()
        );
    }
}
