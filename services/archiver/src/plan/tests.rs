use std::time::Duration;

use cold_tier::{ColdFile, Day, DayOf, Extent, Provenance, Table};
use event::{PartitionId, RangeSet, SeqRange, Timestamp};
use retention::{Action, Class, Cold, HashKey, Policy, RuleSet, Sampling, Warm};
use warm_tier::remote::{Gap, PartitionCoverage, SliceCoverage, UnsealedCoverage};

use super::{
    ArchiveStep, Committed, DueRewrites, WarmView, due_rewrites, expected_rows, halves,
    merge::MIN_FILES_TO_MERGE, merged_ranges, merges, next_step, parts, step::MAX_COMMIT_BYTES,
};

const P: PartitionId = PartitionId::first(3);

fn class(text: &str) -> Class {
    text.parse().unwrap()
}

fn slice(lo: u64, hi: u64, bytes: u64) -> SliceCoverage {
    SliceCoverage {
        lo,
        hi,
        class: class("w1000-cforever"),
        level: 0,
        rows: hi - lo + 1,
        bytes,
        received_min: None,
        received_max: None,
    }
}

fn warm(first: u64, sealed: u64, slices: Vec<SliceCoverage>) -> PartitionCoverage {
    PartitionCoverage {
        partition: P,
        first,
        sealed,
        committed: sealed,
        unsealed: UnsealedCoverage::default(),
        removals: 0,
        slices,
        gaps: Vec::new(),
        dropped: Vec::new(),
        duplicates: 0,
        expired_events: 0,
        dead_letters: 0,
    }
}

fn events(events: u64) -> Committed {
    Committed {
        hourly_stats: events,
        conversation_summary: events,
        events,
    }
}

fn archive(lo: u64, hi: u64) -> ArchiveStep {
    archive_with(lo, hi, &[])
}

fn archive_with(lo: u64, hi: u64, lost: &[(u64, u64)]) -> ArchiveStep {
    ArchiveStep::Archive {
        range: SeqRange { lo, hi },
        lost: ranges(lost),
    }
}

fn ranges(ranges: &[(u64, u64)]) -> RangeSet {
    let ranges = ranges.iter();
    ranges
        .map(|(lo, hi)| SeqRange { lo: *lo, hi: *hi })
        .collect()
}

/// The next step when no gap is accepted.
fn next(committed: Committed, warm: &PartitionCoverage) -> ArchiveStep {
    next_step(committed, warm, &RangeSet::new())
}

#[test]
fn ranges_follow_what_is_committed() {
    let full = MAX_COMMIT_BYTES;
    for (committed, warm, expected) in [
        (0, warm(1, 0, vec![]), ArchiveStep::UpToDate),
        (0, warm(1, 9, vec![slice(1, 9, 10)]), archive(1, 9)),
        (9, warm(1, 9, vec![slice(1, 9, 10)]), ArchiveStep::UpToDate),
        (
            0,
            warm(5, 9, vec![slice(5, 9, 10)]),
            archive_with(5, 9, &[(1, 4)]),
        ),
        // As many small slices as fit into one commit.
        (
            0,
            warm(
                1,
                9,
                vec![slice(1, 3, 1), slice(4, 6, full - 1), slice(7, 9, 1)],
            ),
            archive(1, 6),
        ),
        // A slice that does not fit is committed alone.
        (
            3,
            warm(1, 9, vec![slice(4, 6, full * 2), slice(7, 9, 1)]),
            archive(4, 6),
        ),
        // A merged slice of which the first half is committed.
        (5, warm(1, 9, vec![slice(1, 9, 1)]), archive(6, 9)),
        // Sealed without a slice.
        (5, warm(1, 9, vec![]), archive(6, 9)),
    ] {
        assert_eq!(next(events(committed), &warm), expected, "{warm:?}");
    }
}

#[test]
fn a_range_that_was_begun_is_completed_unchanged() {
    let coverage = warm(1, 20, vec![slice(1, 10, 1), slice(11, 20, 1)]);
    let begun = Committed {
        hourly_stats: 10,
        conversation_summary: 0,
        events: 0,
    };
    assert_eq!(next(begun, &coverage), archive(1, 10));
    let ahead = Committed {
        hourly_stats: 30,
        conversation_summary: 30,
        events: 10,
    };
    assert!(matches!(next(ahead, &coverage), ArchiveStep::Blocked(_)));
}

#[test]
fn nothing_is_archived_across_a_gap() {
    let mut coverage = warm(1, 20, vec![slice(1, 10, 1), slice(16, 20, 1)]);
    coverage.gaps.push(Gap {
        lo: 11,
        hi: 15,
        class: None,
    });
    assert_eq!(next(events(0), &coverage), archive(1, 10));
    assert!(matches!(
        next(events(10), &coverage),
        ArchiveStep::Blocked(_)
    ));
    let behind = warm(12, 20, vec![slice(12, 20, 1)]);
    let ArchiveStep::Blocked(reason) = next(events(5), &behind) else {
        panic!("6-11 are in no tier");
    };
    assert!(reason.contains("6-11"), "{reason}");
}

#[test]
fn an_accepted_gap_is_archived_with_what_is_left_of_its_range_and_others_still_block() {
    let mut coverage = warm(1, 20, vec![slice(1, 10, 1), slice(16, 20, 1)]);
    coverage.gaps.push(Gap {
        lo: 11,
        hi: 15,
        class: None,
    });
    let step =
        |committed, warm, accepted: &[_]| next_step(events(committed), warm, &ranges(accepted));
    let past = archive_with(1, 20, &[(11, 15)]);
    assert_eq!(step(0, &coverage, &[(11, 15)]), past);
    // What warm has is archived, whatever was accepted.
    assert_eq!(step(0, &coverage, &[(1, 20)]), past);
    assert_eq!(
        step(0, &coverage, &[(11, 12)]),
        archive_with(1, 12, &[(11, 12)])
    );
    let blocked = step(12, &coverage, &[(11, 12)]);
    let ArchiveStep::Blocked(reason) = blocked else {
        panic!("{blocked:?}");
    };
    let command = "`isotherm gap accept g1p03e1:13-15 --yes`";
    assert!(reason.contains(command), "{reason}");

    let behind = warm(12, 20, vec![slice(12, 20, 1)]);
    assert_eq!(
        step(5, &behind, &[(6, 11)]),
        archive_with(6, 11, &[(6, 11)])
    );
    assert_eq!(step(11, &behind, &[(6, 11)]), archive(12, 20));
    let begun = Committed {
        hourly_stats: 14,
        ..events(5)
    };
    let completed = next_step(begun, &behind, &ranges(&[(6, 11)]));
    assert_eq!(completed, archive_with(6, 14, &[(6, 11)]));
}

#[test]
fn whole_slices_have_a_known_number_of_rows() {
    let coverage = warm(1, 20, vec![slice(1, 10, 1), slice(11, 20, 1)]);
    let class = class("w1000-cforever");
    let expected = |lo, hi| expected_rows(&coverage, class, SeqRange { lo, hi });
    assert_eq!(expected(1, 20), Some(20));
    assert_eq!(expected(1, 10), Some(10));
    assert_eq!(expected(5, 20), None);
}

fn day(date: &str, of: DayOf) -> Option<Day> {
    let date = date.to_owned();
    Some(Day { date, of })
}

#[test]
fn a_range_is_halved_down_to_one_sequence() {
    let range = |lo, hi| SeqRange { lo, hi };
    assert_eq!(halves(range(1, 9)), Some([range(1, 5), range(6, 9)]));
    assert_eq!(halves(range(4, 5)), Some([range(4, 4), range(5, 5)]));
    assert_eq!(halves(range(4, 4)), None);
}

#[test]
fn a_range_is_divided_by_the_memory_that_its_rows_take() {
    // 10 rows of 400 bytes each, and content.
    let coverage = warm(1, 10, vec![slice(1, 10, 6000)]);
    let of = |limit| {
        let class = class("w1000-cforever");
        parts(&coverage, class, SeqRange { lo: 1, hi: 10 }, limit)
    };
    let range = |lo, hi| SeqRange { lo, hi };
    assert_eq!(of(10_000), [range(1, 10)]);
    assert_eq!(of(9_999), [range(1, 5), range(6, 10)]);
    assert_eq!(
        of(2_600),
        [range(1, 3), range(4, 6), range(7, 9), range(10, 10)]
    );
    assert_eq!(of(1).len(), 10);
}

#[test]
fn a_merged_file_fits_into_memory() {
    let sized = |n, memory_bytes| {
        let mut file = file(n, 10, "w1-cforever");
        let provenance = file.provenance.as_mut().unwrap();
        provenance.memory_bytes = memory_bytes;
        file
    };
    let lengths =
        |files: &[ColdFile]| -> Vec<usize> { merges(files, 800).iter().map(Vec::len).collect() };
    let known: Vec<_> = (0..20).map(|n| sized(n, Some(100))).collect();
    assert_eq!(lengths(&known), [8, 8]);
    let too_large: Vec<_> = (0..20).map(|n| sized(n, Some(101))).collect();
    assert_eq!(lengths(&too_large), [0; 0]);
    let of_an_older_version: Vec<_> = (0..20).map(|n| sized(n, None)).collect();
    assert_eq!(lengths(&of_an_older_version), [10, 10]);
}

fn file(n: u64, bytes: u64, class: &str) -> ColdFile {
    ColdFile {
        table: Table::Events,
        path: n.to_string(),
        tenant: Some("acme".to_owned()),
        dt: day("2026-11-20", DayOf::ReceivedAt),
        rows: 1,
        bytes,
        provenance: Some(Provenance {
            class: Some(class.parse().unwrap()),
            ranges: vec![(P, SeqRange { lo: n, hi: n })],
            sha256: String::new(),
            sampled: None,
            received_max: Timestamp::from_micros(0),
            ..Provenance::default()
        }),
        extent: Extent::default(),
    }
}

fn rules(warm_ms: u64, cold_ms: Option<u64>) -> RuleSet {
    RuleSet::new(vec![Policy {
        name: "ns/p".to_owned(),
        priority: 1,
        dry_run: false,
        selector: Default::default(),
        hot: None,
        warm: Some(Warm {
            max_age_ms: warm_ms,
            max_bytes: None,
        }),
        cold: Some(Cold {
            max_age_ms: cold_ms,
            disabled: false,
            sampling: Some(Sampling {
                salt: "ns/p".to_owned(),
                hash_key: HashKey::Event,
                rules: Vec::new(),
                default_action: Action::Keep,
            }),
        }),
    }])
}

#[test]
fn files_are_due_when_the_shortest_age_of_any_rule_is_past() {
    let at = |ms: u64| Timestamp::from_micros(0).plus(Duration::from_millis(ms));
    let due = |class: &str, rules: &RuleSet, ms| {
        let DueRewrites { expiry, sampling } =
            due_rewrites(&file(1, 1, class), rules, &rules.hash(), at(ms));
        (expiry, sampling)
    };
    let keep_a_minute = rules(1000, Some(60_000));
    assert_eq!(due("w1000-c60000", &keep_a_minute, 1000), (false, false));
    assert_eq!(due("w1000-c60000", &keep_a_minute, 1001), (false, true));
    assert_eq!(due("w1000-c60000", &keep_a_minute, 60_001), (true, true));
    // A class that no rule produces any more.
    assert_eq!(due("w5-c7", &keep_a_minute, 60_000), (false, true));
    assert_eq!(due("w5-c7", &keep_a_minute, 60_001), (true, true));
    // Of a class that a rule still produces, and yet rows of it may be those of a later rule.
    let both = [rules(1000, None), rules(2000, Some(60_000))];
    let both = RuleSet::new(both.map(|rules| rules.policies[0].clone()).to_vec());
    assert_eq!(due("w1000-cforever", &both, 60_001), (true, true));
    // Kept for ever by every rule.
    let forever = rules(1000, None);
    assert_eq!(due("w1000-cforever", &forever, 1 << 40), (false, true));
}

#[test]
fn a_file_without_rows_ends_when_they_would_have_expired_by_their_class() {
    let rules = rules(1000, Some(10));
    let at = |ms: u64| Timestamp::from_micros(0).plus(Duration::from_millis(ms));
    let due = |class: &str, ms| {
        let mut file = file(1, 1, class);
        file.rows = 0;
        let DueRewrites { expiry, sampling } = due_rewrites(&file, &rules, &rules.hash(), at(ms));
        (expiry, sampling)
    };
    assert_eq!(due("w1000-c60000", 60_000), (false, false));
    assert_eq!(due("w1000-c60000", 60_001), (true, false));
    assert_eq!(due("w1000-cforever", 1 << 40), (false, false));
}

#[test]
fn nothing_is_removed_from_a_file_while_warm_may_have_its_rows() {
    let view = |partitions: Vec<PartitionCoverage>, is_whole| WarmView {
        partitions,
        is_whole,
    };
    let own = file(5, 1, "w1000-cforever");
    let has = |lo, hi| view(vec![warm(1, 9, vec![slice(lo, hi, 1)])], true).may_have(&own);
    assert!(has(1, 5) && has(5, 9));
    assert!(!has(1, 4) && !has(6, 9));
    let other_class = file(5, 1, "w1-cforever");
    assert!(!view(vec![warm(1, 9, vec![slice(1, 9, 1)])], true).may_have(&other_class));
    // Another compactor may have the partition.
    assert!(!view(Vec::new(), true).may_have(&own));
    assert!(view(Vec::new(), false).may_have(&own));
    assert!(!view(vec![warm(1, 9, Vec::new())], false).may_have(&own));
}

#[test]
fn small_files_are_merged_when_there_are_many_of_one_kind() {
    let many: Vec<_> = (0..8).map(|n| file(n, 10, "w1-cforever")).collect();
    assert_eq!(many.len(), MIN_FILES_TO_MERGE);
    assert_eq!(merges(&many, u64::MAX), std::slice::from_ref(&many));
    assert_eq!(merges(&many[..7], u64::MAX), Vec::<Vec<ColdFile>>::new());
    let mut other_day = many.clone();
    other_day[3].dt = day("2026-11-21", DayOf::ReceivedAt);
    assert!(merges(&other_day, u64::MAX).is_empty());
    let mut day_of_event_time = many.clone();
    day_of_event_time[3].dt = day("2026-11-20", DayOf::EventTime);
    assert!(merges(&day_of_event_time, u64::MAX).is_empty());
    let mut larger = many.clone();
    larger[3].bytes = 2 << 20;
    assert!(merges(&larger, u64::MAX).is_empty());
    let large: Vec<_> = (0..20).map(|n| file(n, 15 << 20, "w1-cforever")).collect();
    let merged = merges(&large, u64::MAX);
    assert_eq!(merged.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8]);
    assert_eq!(merged_ranges(&merged[0]), [(P, SeqRange { lo: 0, hi: 7 })]);
}

#[test]
fn a_cold_tier_that_is_not_the_compactors_is_not_filled() {
    let mut other = warm(1, 9, vec![slice(6, 9, 10)]);
    other.dropped.push(SeqRange { lo: 1, hi: 5 });
    assert!(matches!(next(events(0), &other), ArchiveStep::Blocked(_)));
    assert_eq!(next(events(5), &other), archive(6, 9));
}
