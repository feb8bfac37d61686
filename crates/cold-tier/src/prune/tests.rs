use event::{ConversationId, PartitionId, SeqRange, TenantId, Timestamp};

use super::ColdScan;
use crate::{
    file::{ColdFile, Extent, Provenance},
    table::Table,
};

fn file() -> ColdFile {
    let at = Timestamp::from_micros;
    ColdFile {
        table: Table::Events,
        path: "x".to_owned(),
        tenant: Some("acme".to_owned()),
        dt: None,
        rows: 10,
        bytes: 100,
        provenance: Some(Provenance {
            class: Some("w1000-cforever".parse().unwrap()),
            ranges: vec![(PartitionId::first(3), SeqRange { lo: 10, hi: 20 })],
            sha256: String::new(),
            sampled: None,
            received_max: at(500),
            ..Provenance::default()
        }),
        extent: Extent {
            conversation: Some(("b".to_owned(), "d".to_owned())),
            timestamp: Some((at(100), at(200))),
            received_at: None,
            seq: Some((10, 20)),
            partition: Some((3, 3)),
        },
    }
}

fn matches(change: impl FnOnce(&mut ColdScan)) -> bool {
    let mut scan = ColdScan::default();
    change(&mut scan);
    scan.may_match(&file())
}

#[test]
fn a_file_is_read_only_when_it_may_have_a_matching_row() {
    let at = Timestamp::from_micros;
    let conversation = |text: &str| ConversationId::new(text).ok();
    let range = |lo, hi| SeqRange { lo, hi };
    let here = PartitionId::first(3);
    assert!(matches(|_| {}));
    assert!(matches(|s| s.conversation = conversation("c")));
    assert!(!matches(|s| s.conversation = conversation("a")));
    assert!(!matches(|s| s.conversation = conversation("e")));
    assert!(!matches(|s| s.tenant = TenantId::new("other").ok()));
    assert!(matches(|s| s.timestamp_from = Some(at(200))));
    assert!(!matches(|s| s.timestamp_from = Some(at(201))));
    assert!(matches(|s| s.timestamp_to = Some(at(101))));
    assert!(!matches(|s| s.timestamp_to = Some(at(100))));
    assert!(!matches(|s| s.received_after = Some(at(500))));
    assert!(matches(|s| s.after = Some((20, 0))));
    assert!(!matches(|s| s.after = Some((21, 0))));
    assert!(!matches(|s| s.before = Some((9, 9))));
    assert!(!matches(|s| s.partition = Some(PartitionId::first(4))));
    assert!(matches(|s| s.ranges = Some(range(20, 30).into())));
    assert!(!matches(|s| s.ranges = Some(range(21, 30).into())));
    let class = "w1000-cforever".parse().unwrap();
    assert!(!matches(|s| {
        s.except.insert((here, class), range(1, 20).into());
    }));
    assert!(matches(|s| {
        s.except.insert((here, class), range(1, 19).into());
    }));
    let other = "w1-cforever".parse().unwrap();
    assert!(matches(|s| {
        s.except.insert((here, other), range(1, 20).into());
    }));
}
