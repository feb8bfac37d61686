use cold_tier::{ColdFile, Extent, Provenance, Table};
use event::{PartitionId, SeqRange, Timestamp};
use retention::{Cold, Policy, RuleSet};
use warm_tier::Slice;

use super::{Doubt, missing_rows};

const P: PartitionId = PartitionId::first(3);

fn file(lo: u64, hi: u64, rows: u64, sampled: Option<&str>) -> ColdFile {
    ColdFile {
        table: Table::Events,
        path: format!("{lo}-{hi}-{rows}"),
        tenant: Some("acme".to_owned()),
        dt: None,
        rows,
        bytes: 1,
        provenance: Some(Provenance {
            class: Some("w1-cforever".parse().unwrap()),
            ranges: vec![(P, SeqRange { lo, hi })],
            sha256: String::new(),
            sampled: sampled.map(str::to_owned),
            received_max: Timestamp::from_micros(0),
            ..Provenance::default()
        }),
        extent: Extent::default(),
    }
}

fn slice(lo: u64, hi: u64, rows: u64) -> Slice {
    Slice {
        lo,
        hi,
        class: "w1-cforever".parse().unwrap(),
        level: 0,
        file: format!("{lo}-{hi}"),
        rows,
        bytes: 1,
        sum_crc: 0,
        received_min: 0,
        received_max: 0,
    }
}

fn rules(cold: Cold) -> RuleSet {
    RuleSet::new(vec![Policy {
        cold: Some(cold),
        ..Policy::built_in()
    }])
}

#[test]
fn the_rows_of_the_files_that_share_a_range_are_compared_with_the_slices_in_it() {
    let slices = [slice(1, 10, 7), slice(11, 20, 5)];
    let doubt = |files: &[ColdFile]| {
        let files: Vec<_> = files.iter().collect();
        missing_rows(&files, P, &slices[0], &slices, &RuleSet::default())
    };
    let two_tenants = [file(1, 10, 4, None), file(1, 10, 3, None)];
    assert_eq!(doubt(&two_tenants), None);
    // A tenant's files of both ranges were merged: then both ranges are compared.
    let merged = [
        file(1, 20, 6, None),
        file(1, 10, 3, None),
        file(11, 20, 3, None),
    ];
    assert_eq!(doubt(&merged), None);
    let missing = |cold, warm| Some(Doubt::RowsMissing { cold, warm });
    assert_eq!(doubt(&merged[..2]), missing(9, 12));
    assert_eq!(doubt(&two_tenants[..1]), missing(4, 7));
    assert_eq!(doubt(&[]), missing(0, 7));
}

#[test]
fn fewer_rows_are_right_where_rules_may_have_removed_some() {
    let (kept, slices) = (file(1, 10, 1, Some("sha256:x")), [slice(1, 10, 7)]);
    let unsampled = file(1, 10, 1, None);
    let doubts = |file: &ColdFile, rules: &RuleSet| {
        missing_rows(&[file], P, &slices[0], &slices, rules).is_some()
    };
    assert!(!doubts(&kept, &RuleSet::default()));
    assert!(doubts(&unsampled, &RuleSet::default()));
    let expiring = rules(Cold {
        max_age_ms: Some(1),
        disabled: false,
        sampling: None,
    });
    assert!(!doubts(&unsampled, &expiring));
}
