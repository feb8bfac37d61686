use warm_tier::{
    Slice,
    remote::{Gap, UnsealedCoverage},
};

use super::*;

fn coverage(first: Seq, gaps: Vec<Gap>) -> PartitionCoverage {
    PartitionCoverage {
        partition: PartitionId::first(0),
        first,
        sealed: 99,
        committed: 99,
        unsealed: UnsealedCoverage::default(),
        removals: 0,
        dropped: Vec::new(),
        slices: Vec::new(),
        gaps,
        duplicates: 0,
        expired_events: 0,
        dead_letters: 0,
    }
}

fn gap(lo: Seq, hi: Seq, has_class: bool) -> Gap {
    let class = "w1000-cforever".parse().unwrap();
    Gap {
        lo,
        hi,
        class: has_class.then_some(class),
    }
}

fn open(warm: &PartitionCoverage, cold: Seq, log_first: Seq) -> (Vec<(Seq, Seq)>, usize) {
    let found = find(warm, cold, log_first, &Refused::default());
    let open = found.open.iter();
    let open = open.map(|(range, _)| (range.lo, range.hi)).collect();
    (open, found.refillable)
}

#[test]
fn a_gap_is_open_while_neither_cold_has_it_nor_the_log_can_refill_it() {
    let purged = coverage(1, vec![gap(5, 9, false)]);
    assert_eq!(open(&purged, 4, 1), (vec![(5, 9)], 0));
    assert_eq!(open(&purged, 7, 1), (vec![(8, 9)], 0));
    assert_eq!(open(&purged, 9, 1), (vec![], 0), "cold has it");

    let lost = coverage(1, vec![gap(5, 9, true)]);
    assert_eq!(open(&lost, 4, 5), (vec![], 1));
    assert_eq!(open(&lost, 4, 6), (vec![(5, 9)], 0));
    assert_eq!(open(&lost, 9, 6), (vec![], 0), "cold has it");
    let range = SeqRange { lo: 5, hi: 9 };
    let other = Some("w2000-cforever".parse().unwrap());
    for (class, open, refillable) in [
        (lost.gaps[0].class, vec![(range, SLICE_LOST)], 0),
        (other, vec![], 1),
    ] {
        let refused = Refused {
            rules_hash: String::new(),
            slices: [(range, class)].into(),
        };
        assert_eq!(find(&lost, 4, 5, &refused), Found { open, refillable });
    }
}

#[test]
fn what_an_emptied_warm_volume_no_longer_found_in_the_log_is_one_gap_with_what_adjoins_it() {
    let warm = coverage(10, vec![gap(10, 12, false)]);
    assert_eq!(open(&warm, 4, 13), (vec![(5, 12)], 0));
    assert_eq!(
        open(&warm, 0, 13),
        (vec![(10, 12)], 0),
        "cold begins with warm"
    );
}

#[test]
fn a_refused_refill_is_tried_again_only_by_other_rules_or_with_another_slice() {
    let lost = |class: &str| LostSlice {
        lo: 5,
        hi: 9,
        slice: Some(Slice {
            lo: 5,
            hi: 9,
            class: class.parse().unwrap(),
            level: 0,
            file: String::new(),
            rows: 1,
            bytes: 1,
            sum_crc: 0,
            received_min: 0,
            received_max: 0,
        }),
    };
    let (gaps, partition) = (Gaps::default(), PartitionId::first(0));
    let (one, both) = (
        [lost("w1-cforever")],
        [lost("w1-cforever"), lost("w2-cforever")],
    );
    assert!(!gaps.are_refused(partition, "a", &one));
    gaps.set_refused(partition, "a", &one);
    assert!(gaps.are_refused(partition, "a", &one));
    assert!(!gaps.are_refused(partition, "a", &both));
    assert!(!gaps.are_refused(partition, "b", &one));
    assert!(!gaps.are_refused(PartitionId::first(1), "a", &one));
    gaps.set_refused(partition, "b", &both);
    assert!(!gaps.are_refused(partition, "a", &one));
}
