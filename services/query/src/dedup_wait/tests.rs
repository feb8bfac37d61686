use super::*;

fn duplicates(json: &str) -> Option<Duplicates> {
    Some(serde_json::from_str(json).unwrap())
}

#[test]
fn the_hot_tier_alone_covers_its_own_rows_and_not_those_of_the_log() {
    let dedup = DedupState {
        hot_checked: 7,
        from_compactor: None,
    };
    assert_eq!(dedup.checked_through(dedup.hot_checked.max(3)), 7);
    assert_eq!(dedup.log_range(), None);
    assert!(dedup.covers(3, 7) && !dedup.covers(3, 8));
}

#[test]
fn the_compactors_answer_continues_where_the_hot_tier_ends() {
    let dedup = DedupState {
        hot_checked: 7,
        from_compactor: duplicates(r#"{"after":5,"through":9,"places":{"8":[1]}}"#),
    };
    assert_eq!(dedup.checked_through(dedup.hot_checked.max(3)), 9);
    assert_eq!(dedup.log_range(), SeqRange::new(6, 9));
    assert!(dedup.covers(3, 9) && !dedup.covers(3, 10));
    let partition = PartitionId::first(0);
    assert!(dedup.is_duplicate(&Position::new(partition, 8, 1)));
    assert!(!dedup.is_duplicate(&Position::new(partition, 8, 0)));
}

#[test]
fn an_answer_with_a_gap_before_it_does_not_count() {
    let dedup = DedupState {
        hot_checked: 4,
        from_compactor: duplicates(r#"{"after":5,"through":9,"places":{}}"#),
    };
    assert_eq!(dedup.checked_through(dedup.hot_checked.max(3)), 4);
    assert!(!dedup.covers(3, 9));
    assert!(dedup.covers(5, 9), "unless what it leaves out is sealed");
}
