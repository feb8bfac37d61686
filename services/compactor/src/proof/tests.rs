use cold_tier::{ColdFile, Extent, Origin, Provenance, Table};
use event::{PartitionId, SeqRange, Timestamp};
use warm_tier::{RowsMissing, Slice};

use super::{
    FoundBy, MissingRows,
    files::{files_of, may_have, origins_agree, thinned},
};

const P: PartitionId = PartitionId::first(3);

/// A file with `rows` rows, whose checksums are 1.
fn file(lo: u64, hi: u64, rows: u64) -> ColdFile {
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
            sampled: None,
            origin: Some(Origin {
                rows,
                sum_crc: rows,
            }),
            received_max: Timestamp::from_micros(0),
            ..Provenance::default()
        }),
        extent: Extent::default(),
    }
}

/// The same, sampled: it was made of `rows`, of which `kept` are left.
fn thinned_file(lo: u64, hi: u64, rows: u64, kept: u64) -> ColdFile {
    let mut file = file(lo, hi, rows);
    file.rows = kept;
    file.provenance.as_mut().unwrap().sampled = Some("sha256:x".to_owned());
    file
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
        sum_crc: rows,
        received_min: 0,
        received_max: 0,
    }
}

#[test]
fn totals_prove_the_rows_of_all_files_and_slices_that_share_a_range() {
    let slices = [slice(1, 10, 7), slice(11, 20, 5)];
    let agree = |files: &[ColdFile]| {
        let files: Vec<_> = files.iter().collect();
        origins_agree(&files, P, &slices[0], &slices)
    };
    let two_tenants = [file(1, 10, 4), file(1, 10, 3)];
    assert!(agree(&two_tenants));
    // A tenant's files of both ranges were merged: then both ranges are compared.
    let merged = [file(1, 20, 6), file(1, 10, 3), file(11, 20, 3)];
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
        origins_agree(&files, P, &slices[0], slices)
    };
    // The parts of a commit do not end with the slices: 3 rows of the second slice are in the first part.
    let parts = [file(1, 15, 10), file(16, 20, 2)];
    assert!(agree(&parts, &slices));
    let missing = [file(1, 15, 7), file(16, 20, 2)];
    assert!(!agree(&missing, &slices));
    // The second slice has left warm, or its rows are of another class in cold.
    assert!(!agree(&missing, &slices[..1]));
    assert!(!agree(&parts, &slices[..1]));
}

#[test]
fn the_files_of_all_classes_are_asked_where_those_of_the_slice_do_not_have_its_range() {
    let of = |lo, hi, class: &str| {
        let mut file = file(lo, hi, 1);
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
fn files_that_rules_have_removed_rows_from_prove_the_rows_that_they_were_made_of() {
    let slices = [slice(1, 10, 7)];
    let agree = |files: &[&ColdFile]| origins_agree(files, P, &slices[0], &slices);
    let sampled = thinned_file(1, 10, 7, 2);
    assert!(agree(&[&sampled]));
    let mut nothing_left = thinned_file(1, 10, 7, 0);
    assert!(agree(&[&nothing_left]));
    // One of an older version does not say what it was made of, and neither does one without rows that are
    // missing: another file has them, or none.
    nothing_left.provenance.as_mut().unwrap().origin = None;
    assert!(!agree(&[&nothing_left]));
    assert!(!agree(&[&thinned_file(1, 10, 6, 2)]));
}

#[test]
fn as_many_rows_as_warm_has_prove_nothing_when_they_are_others() {
    let slices = [slice(1, 10, 7)];
    let mut others = file(1, 10, 7);
    others.provenance.as_mut().unwrap().origin = Some(Origin {
        rows: 7,
        sum_crc: 8,
    });
    assert!(origins_agree(&[&file(1, 10, 7)], P, &slices[0], &slices));
    assert!(!origins_agree(&[&others], P, &slices[0], &slices));
}

#[test]
fn a_thinned_file_speaks_for_its_own_class_and_for_others_only_where_these_have_no_file() {
    let of = |mut file: ColdFile, class: &str| {
        file.provenance.as_mut().unwrap().class = Some(class.parse().unwrap());
        file
    };
    let (own, half) = (thinned_file(1, 10, 7, 2), file(1, 5, 3));
    let other = of(thinned_file(1, 20, 9, 4), "w2-cforever");
    let ranges = |files: &[&ColdFile]| {
        let found = thinned(files, P, &slice(1, 10, 7)).into_iter();
        let found = found.map(|file| (file.ranges.ranges().to_vec(), file.removed));
        found.collect::<Vec<_>>()
    };
    let range = |lo, hi| vec![SeqRange { lo, hi }];
    assert_eq!(ranges(&[&own]), [(range(1, 10), Some(5))]);
    assert_eq!(ranges(&[&half, &other]), [(range(6, 20), Some(5))]);
    assert_eq!(ranges(&[&other]), [(range(1, 20), Some(5))]);
    assert_eq!(ranges(&[&half]), []);
    let mut older = own;
    older.provenance.as_mut().unwrap().origin = None;
    assert_eq!(ranges(&[&older]), [(range(1, 10), None)]);
}

#[test]
fn a_file_of_another_engine_may_have_any_row_that_its_statistics_allow() {
    let mut foreign = file(1, 10, 7);
    foreign.provenance = None;
    let may = |file: &ColdFile| may_have(file, P, &slice(5, 10, 1));
    assert!(may(&foreign));
    foreign.extent = Extent {
        seq: Some((10, 20)),
        partition: Some((1, 3)),
        ..Extent::default()
    };
    assert!(may(&foreign));
    let (mut later, mut elsewhere) = (foreign.clone(), foreign);
    later.extent.seq = Some((11, 20));
    elsewhere.extent.partition = Some((4, 9));
    assert!(!may(&later) && !may(&elsewhere));
    assert!(may(&file(10, 20, 7)) && !may(&file(11, 20, 7)));
}

#[test]
fn rows_that_were_missing_are_looked_for_again_by_another_table_other_rules_or_past_their_age() {
    let slice = slice(1, 10, 7);
    let by = |version, rules: &str| FoundBy {
        version: Some(version),
        rules: rules.to_owned(),
    };
    let at = Timestamp::from_micros;
    let found = RowsMissing {
        rows: 4,
        until: Some(at(50)),
    };
    let mut missing = MissingRows::default();
    missing.note(P, &slice, by(4, "a"), found);
    let known = |partition, by, now| missing.known(partition, &slice, &by, at(now));
    assert_eq!(known(P, by(4, "a"), 50), Some(found));
    assert_eq!(known(P, by(4, "a"), 51), None);
    assert_eq!(known(P, by(5, "a"), 50), None);
    assert_eq!(known(P, by(4, "b"), 50), None);
    assert_eq!(known(PartitionId::first(4), by(4, "a"), 50), None);
}
