use cold_tier::{ColdFile, Extent, Provenance, Table};
use event::{PartitionId, SeqRange, Timestamp};
use retention::{Cold, Policy, RuleSet};
use warm_tier::Slice;

use super::{Doubt, MissingRows, files_of, is_comparable, totals_agree};

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
fn totals_prove_the_rows_of_all_files_and_slices_that_share_a_range() {
    let slices = [slice(1, 10, 7), slice(11, 20, 5)];
    let agree = |files: &[ColdFile]| {
        let files: Vec<_> = files.iter().collect();
        totals_agree(&files, P, &slices[0], &slices)
    };
    let two_tenants = [file(1, 10, 4, None), file(1, 10, 3, None)];
    assert!(agree(&two_tenants));
    // A tenant's files of both ranges were merged: then both ranges are compared.
    let merged = [
        file(1, 20, 6, None),
        file(1, 10, 3, None),
        file(11, 20, 3, None),
    ];
    assert!(agree(&merged));
    assert!(!agree(&merged[..2]));
    assert!(!agree(&two_tenants[..1]));
    assert!(!agree(&[]));
}

#[test]
fn totals_prove_nothing_where_rows_of_a_neighbour_could_stand_for_missing_ones() {
    let slices = [slice(1, 10, 7), slice(11, 20, 5)];
    let agree = |files: &[ColdFile], slices: &[Slice]| {
        let files: Vec<_> = files.iter().collect();
        totals_agree(&files, P, &slices[0], slices)
    };
    // The parts of a commit do not end with the slices: 3 rows of the second slice are in the first part.
    let parts = [file(1, 15, 10, None), file(16, 20, 2, None)];
    assert!(agree(&parts, &slices));
    let missing = [file(1, 15, 7, None), file(16, 20, 2, None)];
    assert!(!agree(&missing, &slices));
    // The second slice has left warm, or its rows are of another class in cold.
    assert!(!agree(&missing, &slices[..1]));
    assert!(!agree(&parts, &slices[..1]));
}

#[test]
fn the_files_of_all_classes_are_asked_where_those_of_the_slice_do_not_have_its_range() {
    let of = |lo, hi, class: &str| {
        let mut file = file(lo, hi, 1, None);
        let provenance = file.provenance.as_mut().unwrap();
        provenance.class = Some(class.parse().unwrap());
        file
    };
    let (own, other) = (of(1, 10, "w1-cforever"), of(1, 10, "w2-cforever"));
    let behind = of(11, 20, "w2-cforever");
    let asked = |files: &[&ColdFile], slice: &Slice| files_of(files, P, slice).len();
    assert_eq!(asked(&[&own, &other, &behind], &slice(1, 10, 1)), 1);
    assert_eq!(asked(&[&own, &other, &behind], &slice(1, 20, 1)), 3);
    assert_eq!(asked(&[&other, &behind], &slice(1, 10, 1)), 1);
}

#[test]
fn fewer_rows_are_right_where_rules_may_have_removed_some() {
    let (kept, slice) = (file(1, 10, 1, Some("sha256:x")), slice(1, 10, 7));
    let unsampled = file(1, 10, 1, None);
    let compares =
        |file: &ColdFile, rules: &RuleSet| is_comparable(&[file], &[file], &slice, rules);
    assert!(!compares(&kept, &RuleSet::default()));
    assert!(compares(&unsampled, &RuleSet::default()));
    let expiring = rules(Cold {
        max_age_ms: Some(1),
        disabled: false,
        sampling: None,
    });
    assert!(!compares(&unsampled, &expiring));
}

#[test]
fn rows_that_were_missing_are_read_again_when_the_table_has_changed() {
    let (own, other) = (slice(1, 10, 7), slice(11, 20, 7));
    let doubt = Doubt::RowsMissing { cold: 3, warm: 7 };
    let gone = Doubt::Unavailable {
        reason: String::new(),
    };
    let mut missing = MissingRows::default();
    missing.note(P, &own, Some(4), &doubt);
    missing.note(P, &other, Some(4), &gone);
    assert_eq!(missing.known(P, &own, Some(4)), Some(&doubt));
    assert_eq!(missing.known(P, &own, Some(5)), None);
    assert_eq!(missing.known(P, &other, Some(4)), None);
    assert_eq!(missing.known(PartitionId::first(4), &own, Some(4)), None);
}
