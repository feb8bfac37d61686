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

fn any_known() -> impl Strategy<Value = Known> {
    let warm = (any_range(), any_set()).prop_map(|(sealed, gone)| Warm { sealed, gone });
    let cold = prop::option::of(0..60_u64);
    (any_range(), any_range(), prop::option::of(warm), cold).prop_map(|(hot, log, warm, cold)| {
        Known {
            hot,
            log,
            warm,
            cold,
        }
    })
}

/// The rule by one sequence, said in another way than the code says it.
fn is_coverable(known: &Known, seq: Seq) -> bool {
    let within = |range: Option<SeqRange>| range.is_some_and(|range| range.contains(seq));
    let cold = known.cold.is_some_and(|hi| seq <= hi);
    let warm = known
        .warm
        .as_ref()
        .is_some_and(|warm| within(warm.sealed) && (!warm.gone.contains(seq) || cold));
    within(known.hot) || within(known.log) || warm || cold
}

proptest! {
    #[test]
    fn pieces_are_disjoint_and_cover_whatever_anybody_has(
        wanted in any_range(),
        known in any_known(),
        hot_first in any::<bool>(),
    ) {
        let Some(wanted) = wanted else { return Ok(()) };
        let prefer = if hot_first { Prefer::Hot } else { Prefer::Columns };
        let plan = plan(wanted, &known, prefer);
        let mut times: BTreeMap<Seq, usize> = BTreeMap::new();
        for piece in &plan.pieces {
            for range in piece.ranges.ranges() {
                (range.lo..=range.hi).for_each(|seq| *times.entry(seq).or_default() += 1);
            }
        }
        for seq in 0..=100 {
            let expected = wanted.contains(seq) && is_coverable(&known, seq);
            prop_assert_eq!(times.get(&seq).copied(), expected.then_some(1), "{}", seq);
            let gap = wanted.contains(seq) && !expected;
            prop_assert_eq!(plan.gaps.contains(seq), gap, "{}", seq);
        }
    }

    #[test]
    fn every_piece_lies_where_its_source_has_rows(wanted in any_range(), known in any_known()) {
        let Some(wanted) = wanted else { return Ok(()) };
        for prefer in [Prefer::Hot, Prefer::Columns] {
            for piece in plan(wanted, &known, prefer).pieces {
                let offer = known.offer(piece.source);
                prop_assert!(piece.ranges.subtract(&offer).is_empty());
            }
        }
    }
}

fn known() -> Known {
    Known {
        hot: Some(range(80, 100)),
        log: Some(range(60, 110)),
        warm: Some(Warm {
            sealed: Some(range(21, 90)),
            gone: [range(21, 40), range(51, 55)].into_iter().collect(),
        }),
        cold: Some(50),
    }
}

fn pieces(wanted: SeqRange, known: &Known, prefer: Prefer) -> Vec<(Source, Vec<SeqRange>)> {
    let plan = plan(wanted, known, prefer);
    let pieces = plan.pieces.iter();
    pieces
        .map(|piece| (piece.source, piece.ranges.ranges().to_vec()))
        .collect()
}

#[test]
fn a_conversation_is_read_from_memory_first() {
    assert_eq!(
        pieces(range(1, 110), &known(), Prefer::Hot),
        [
            (Source::Hot, vec![range(80, 100)]),
            (Source::Warm, vec![range(41, 50), range(56, 79)]),
            (Source::WarmAndCold, vec![range(21, 40)]),
            (Source::Cold, vec![range(1, 20)]),
            (Source::Log, vec![range(101, 110)]),
        ]
    );
    let gaps = plan(range(1, 110), &known(), Prefer::Hot).gaps;
    assert_eq!(gaps.ranges(), [range(51, 55)]);
}

#[test]
fn a_partition_is_read_from_columns_first() {
    assert_eq!(
        pieces(range(56, 110), &known(), Prefer::Columns),
        [
            (Source::Warm, vec![range(56, 90)]),
            (Source::Hot, vec![range(91, 100)]),
            (Source::Log, vec![range(101, 110)]),
        ]
    );
}

#[test]
fn without_redis_the_log_answers_what_is_not_sealed() {
    let known = Known {
        hot: None,
        ..known()
    };
    assert_eq!(
        pieces(range(85, 110), &known, Prefer::Hot),
        [
            (Source::Warm, vec![range(85, 90)]),
            (Source::Log, vec![range(91, 110)])
        ]
    );
}

#[test]
fn without_the_compactor_what_only_it_had_is_a_hole() {
    let known = Known {
        warm: None,
        ..known()
    };
    let plan = plan(range(1, 110), &known, Prefer::Hot);
    assert_eq!(plan.gaps.ranges(), [range(51, 59)]);
    assert_eq!(plan.of(Source::Cold).ranges(), [range(1, 50)]);
}
