use super::*;

fn word(text: &str) -> Option<Duplicates> {
    Some(serde_json::from_str(text).unwrap())
}

#[test]
fn memory_alone_vouches_for_itself_and_not_for_the_log() {
    let dedup = DedupState { hot: 7, word: None };
    assert_eq!(dedup.of_hot(3), SeqRange::new(1, 7));
    assert_eq!(dedup.of_log(), None);
    assert!(dedup.covers(3, 7) && !dedup.covers(3, 8));
}

#[test]
fn a_word_goes_on_where_memory_ends() {
    let dedup = DedupState {
        hot: 7,
        word: word(r#"{"after":5,"through":9,"places":{"8":[1]}}"#),
    };
    assert_eq!(dedup.of_hot(3), SeqRange::new(1, 9));
    assert_eq!(dedup.of_log(), SeqRange::new(6, 9));
    assert!(dedup.covers(3, 9) && !dedup.covers(3, 10));
    let partition = PartitionId::first(0);
    assert!(dedup.is_duplicate(&Position::new(partition, 8, 1)));
    assert!(!dedup.is_duplicate(&Position::new(partition, 8, 0)));
}

#[test]
fn a_word_with_a_gap_before_it_does_not_count() {
    let dedup = DedupState {
        hot: 4,
        word: word(r#"{"after":5,"through":9,"places":{}}"#),
    };
    assert_eq!(dedup.of_hot(3), SeqRange::new(1, 4));
    assert!(!dedup.covers(3, 9));
    assert!(dedup.covers(5, 9), "unless what it leaves out is sealed");
}
