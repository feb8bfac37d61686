use super::*;

fn gap(lo: Seq, hi: Seq, class: &str) -> LostSlice {
    let slice = Slice {
        lo,
        hi,
        class: class.parse().unwrap(),
        level: 0,
        file: format!("{lo}-{hi}-{class}"),
        rows: 1,
        bytes: 1,
        sum_crc: 1,
        received_min: 0,
        received_max: 0,
    };
    LostSlice {
        lo,
        hi,
        slice: Some(slice),
    }
}

fn ranges(groups: Vec<Vec<LostSlice>>) -> Vec<Vec<(Seq, Seq)>> {
    let of_group = |group: Vec<LostSlice>| group.iter().map(|gap| (gap.lo, gap.hi)).collect();
    groups.into_iter().map(of_group).collect()
}

#[test]
fn lost_slices_whose_ids_are_lost_too_wait_until_the_ids_are_known() {
    let gaps = vec![
        gap(1, 20, "w1-cforever"),
        gap(11, 40, "w2-cforever"),
        gap(41, 50, "w1-cforever"),
    ];
    let found = |lo, hi| {
        let missing = SeqRange { lo, hi }.into();
        ranges(groups(gaps.clone(), &missing, 0, 1))
    };
    let first = vec![(1, 20), (11, 40)];
    assert_eq!(found(1, 5), [vec![(41, 50)]]);
    assert_eq!(found(30, 45), Vec::<Vec<(Seq, Seq)>>::new());
    assert_eq!(found(51, 60), [first.clone(), vec![(41, 50)]]);
    assert_eq!(found(50, 60), [first]);
}

#[test]
fn lost_slices_that_overlap_are_refilled_together_if_cold_has_not_all_and_the_log_has() {
    let purged = LostSlice {
        lo: 81,
        hi: 90,
        slice: None,
    };
    let gaps = vec![
        gap(41, 50, "w2-cforever"),
        gap(1, 80, "w1-cforever"),
        purged,
        gap(11, 20, "w2-cforever"),
        gap(91, 99, "w1-cforever"),
    ];
    let found = |cold, log_first| -> Vec<Vec<(Seq, Seq)>> {
        ranges(groups(gaps.clone(), &RangeSet::new(), cold, log_first))
    };
    let first = vec![(1, 80), (11, 20), (41, 50)];
    assert_eq!(found(0, 1), [first.clone(), vec![(91, 99)]]);
    assert_eq!(found(60, 1), [first, vec![(91, 99)]]);
    assert_eq!(found(80, 1), [vec![(91, 99)]]);
    assert_eq!(found(0, 12), [vec![(41, 50)], vec![(91, 99)]]);
    assert!(found(99, 1).is_empty());
}
