use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn range(lo: Seq, hi: Seq) -> SeqRange {
    SeqRange::new(lo, hi).unwrap()
}

fn any_range() -> impl Strategy<Value = Option<SeqRange>> {
    prop::option::of((1..50_u64, 0..40_u64).prop_map(|(lo, len)| range(lo, lo + len)))
}

fn any_set() -> impl Strategy<Value = RangeSet> {
    let one = (1..60_u64, 0..8_u64).prop_map(|(lo, len)| range(lo, lo + len));
    prop::collection::vec(one, 0..4).prop_map(|ranges| ranges.into_iter().collect())
}

fn any_available() -> impl Strategy<Value = AvailableRanges> {
    let warm = (any_range(), any_set()).prop_map(|(readable, incomplete)| WarmRanges {
        readable,
        incomplete,
    });
    let cold = prop::option::of(0..60_u64);
    (any_range(), any_range(), prop::option::of(warm), cold).prop_map(|(hot, log, warm, cold)| {
        AvailableRanges {
            hot,
            log,
            warm,
            cold,
        }
    })
}

/// The rule for one sequence, written differently from the code under test.
fn has_any(available: &AvailableRanges, seq: Seq) -> bool {
    let within = |range: Option<SeqRange>| range.is_some_and(|range| range.contains(seq));
    let cold = available.cold.is_some_and(|hi| seq <= hi);
    let warm = available
        .warm
        .as_ref()
        .is_some_and(|warm| within(warm.readable) && (!warm.incomplete.contains(seq) || cold));
    within(available.hot) || within(available.log) || warm || cold
}

proptest! {
    #[test]
    fn pieces_are_disjoint_and_cover_everything_that_any_source_has(
        wanted in any_range(),
        available in any_available(),
        hot_first in any::<bool>(),
    ) {
        let Some(wanted) = wanted else { return Ok(()) };
        let prefer = if hot_first { Prefer::Hot } else { Prefer::Columns };
        let plan = plan(wanted, &available, prefer);
        let mut times: BTreeMap<Seq, usize> = BTreeMap::new();
        for piece in &plan.pieces {
            for range in piece.ranges.ranges() {
                (range.lo..=range.hi).for_each(|seq| *times.entry(seq).or_default() += 1);
            }
        }
        for seq in 0..=100 {
            let expected = wanted.contains(seq) && has_any(&available, seq);
            prop_assert_eq!(times.get(&seq).copied(), expected.then_some(1), "{}", seq);
            let gap = wanted.contains(seq) && !expected;
            prop_assert_eq!(plan.gaps.contains(seq), gap, "{}", seq);
        }
    }

    #[test]
    fn every_piece_lies_where_its_source_has_rows(wanted in any_range(), available in any_available()) {
        let Some(wanted) = wanted else { return Ok(()) };
        for prefer in [Prefer::Hot, Prefer::Columns] {
            for piece in plan(wanted, &available, prefer).pieces {
                let offer = available.ranges_of(piece.source);
                prop_assert!(piece.ranges.subtract(&offer).is_empty());
            }
        }
    }
}

fn available() -> AvailableRanges {
    AvailableRanges {
        hot: Some(range(80, 100)),
        log: Some(range(60, 110)),
        warm: Some(WarmRanges {
            readable: Some(range(21, 90)),
            incomplete: [range(21, 40), range(51, 55)].into_iter().collect(),
        }),
        cold: Some(50),
    }
}

fn pieces(
    wanted: SeqRange,
    available: &AvailableRanges,
    prefer: Prefer,
) -> Vec<(Source, Vec<SeqRange>)> {
    let plan = plan(wanted, available, prefer);
    let pieces = plan.pieces.iter();
    pieces
        .map(|piece| (piece.source, piece.ranges.ranges().to_vec()))
        .collect()
}

#[test]
fn a_conversation_is_read_from_the_hot_tier_first() {
    assert_eq!(
        pieces(range(1, 110), &available(), Prefer::Hot),
        [
            (Source::Hot, vec![range(80, 100)]),
            (Source::Warm, vec![range(41, 50), range(56, 79)]),
            (Source::WarmAndCold, vec![range(21, 40)]),
            (Source::Cold, vec![range(1, 20)]),
            (Source::Log, vec![range(101, 110)]),
        ]
    );
    let gaps = plan(range(1, 110), &available(), Prefer::Hot).gaps;
    assert_eq!(gaps.ranges(), [range(51, 55)]);
}

#[test]
fn a_partition_is_read_from_columns_first() {
    assert_eq!(
        pieces(range(56, 110), &available(), Prefer::Columns),
        [
            (Source::Warm, vec![range(56, 90)]),
            (Source::Hot, vec![range(91, 100)]),
            (Source::Log, vec![range(101, 110)]),
        ]
    );
}

#[test]
fn without_redis_the_log_answers_what_is_not_sealed() {
    let available = AvailableRanges {
        hot: None,
        ..available()
    };
    assert_eq!(
        pieces(range(85, 110), &available, Prefer::Hot),
        [
            (Source::Warm, vec![range(85, 90)]),
            (Source::Log, vec![range(91, 110)])
        ]
    );
}

#[test]
fn without_the_compactor_ranges_that_only_it_has_are_gaps() {
    let available = AvailableRanges {
        warm: None,
        ..available()
    };
    let plan = plan(range(1, 110), &available, Prefer::Hot);
    assert_eq!(plan.gaps.ranges(), [range(51, 59)]);
    assert_eq!(plan.ranges_of(Source::Cold).ranges(), [range(1, 50)]);
}
