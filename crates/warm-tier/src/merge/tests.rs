use event::{PartitionId, Seq};

use super::*;
use crate::manifest::LostSlice;

const DAY: &str = "w86400000-cforever";
const MAX_BYTES: u64 = 1000;
const MINUTE: i64 = 60_000_000;

fn slice(lo: Seq, hi: Seq, class: &str, level: u8) -> Slice {
    let class: Class = class.parse().unwrap();
    let at = |seq: Seq| i64::try_from(seq).unwrap() * MINUTE / 10;
    Slice {
        lo,
        hi,
        class,
        level,
        file: layout::slice_name(level, SeqRange { lo, hi }, class),
        rows: 1,
        bytes: 1,
        sum_crc: 1,
        received_min: at(lo),
        received_max: at(hi),
    }
}

/// `count` slices of ten sequences each.
fn manifest(count: u64, class: &str) -> Manifest {
    let mut manifest = Manifest::new(PartitionId::first(0), 1);
    manifest.slices = (0..count)
        .map(|n| slice(n * 10 + 1, n * 10 + 10, class, 0))
        .collect();
    manifest.sealed = count * 10;
    manifest
}

fn planned(manifest: &Manifest) -> Option<(Seq, Seq)> {
    let inputs = plan(manifest, MAX_BYTES, 0, |_, _| false)?;
    assert_eq!(inputs.len(), FAN_IN);
    Some((inputs[0].lo, inputs[FAN_IN - 1].hi))
}

#[test]
fn the_oldest_eight_of_a_level_are_merged() {
    assert_eq!(planned(&manifest(7, DAY)), None);
    assert_eq!(planned(&manifest(20, DAY)), Some((1, 80)));
}

#[test]
fn levels_and_classes_are_kept_apart() {
    let mut mixed = manifest(8, DAY);
    mixed.slices[3].level = 1;
    assert_eq!(planned(&mixed), None);
    let mut mixed = manifest(8, DAY);
    mixed.slices[3].class = "w60000-cnone".parse().unwrap();
    assert_eq!(planned(&mixed), None);
}

#[test]
fn a_range_without_rows_of_the_class_does_not_matter() {
    let mut sparse = manifest(9, DAY);
    sparse.slices.remove(4);
    assert_eq!(planned(&sparse), Some((1, 90)));
}

#[test]
fn no_merge_spans_a_dropped_or_lost_range() {
    let mut dropped = manifest(9, DAY);
    let middle = dropped.slices[4].clone();
    dropped.expire(&middle);
    assert_eq!(planned(&dropped), None);

    let mut lost = manifest(9, DAY);
    lost.lose(&middle);
    assert_eq!(planned(&lost), None);

    let mut skipped = manifest(9, DAY);
    skipped.slices.remove(4);
    skipped.gaps.push(LostSlice {
        lo: 41,
        hi: 50,
        slice: None,
    });
    assert_eq!(planned(&skipped), None);

    let mut behind = manifest(10, DAY);
    let first = behind.slices[0].clone();
    behind.expire(&first);
    assert_eq!(planned(&behind), Some((11, 90)));
}

#[test]
fn a_merged_slice_is_limited_in_time_span_and_in_size() {
    // Eight slices span eight minutes.
    assert_eq!(planned(&manifest(8, "w3600000-cforever")), None);
    assert_eq!(planned(&manifest(8, "w3900000-cforever")), Some((1, 80)));
    let mut large = manifest(8, DAY);
    large.slices[0].bytes = MAX_BYTES;
    assert_eq!(planned(&large), None);
}

#[test]
fn a_run_that_waits_holds_back_no_other() {
    let waits = |_, range: SeqRange| range.lo <= 80;
    let inputs = plan(&manifest(16, DAY), MAX_BYTES, 0, waits).unwrap();
    assert_eq!((inputs[0].lo, inputs[7].hi), (81, 160));
    assert!(plan(&manifest(15, DAY), MAX_BYTES, 0, waits).is_none());
}

#[test]
fn no_run_goes_across_what_the_cold_tier_has() {
    let planned = |cold| {
        let inputs = plan(&manifest(16, DAY), MAX_BYTES, cold, |_, _| false)?;
        Some((inputs[0].lo, inputs[FAN_IN - 1].hi))
    };
    assert_eq!(planned(160), Some((1, 80)));
    assert_eq!(planned(80), Some((1, 80)));
    assert_eq!(planned(40), Some((41, 120)));
    assert_eq!(planned(85), Some((1, 80)));
    let inputs = plan(&manifest(15, DAY), MAX_BYTES, 75, |_, _| false);
    assert!(inputs.is_none(), "{inputs:?}");
}

#[test]
fn a_slice_that_is_no_longer_live_cannot_be_lost() {
    let mut manifest = manifest(2, DAY);
    let first = manifest.slices[0].clone();
    assert!(manifest.lose(&first));
    let before = manifest.clone();
    assert!(!manifest.lose(&first));
    assert_eq!(
        (manifest.gaps.len(), manifest.removals),
        (1, before.removals)
    );
    let refilled = Slice {
        file: "other".to_owned(),
        ..first
    };
    let gap = manifest.gaps[0].clone();
    manifest.refill(&gap, Some(refilled));
    assert!(manifest.gaps.is_empty() && manifest.removals > before.removals);
}
