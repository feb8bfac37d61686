use event::Timestamp;
use retention::RuleSet;

use crate::{
    seal::read,
    world::{START, World, event, events, frames_of, sealed_ranges},
};

#[test]
fn of_duplicates_in_a_batch_the_first_position_stays() {
    let world = World::new();
    let mut partition = world.partition();
    let batch = frames_of(1, 2, vec![event(1, 1, 0), event(2, 1, 1), event(1, 2, 0)]);

    let appended = partition.append(batch).unwrap();

    assert_eq!(appended.stored, 2);
    assert_eq!((appended.dropped[0].seq, appended.dropped[0].idx), (2, 0));
    assert_eq!(partition.dropped_after(0).unwrap(), appended.dropped);
    partition.seal(&RuleSet::default()).unwrap();
    assert_eq!(partition.dropped_after(0).unwrap(), appended.dropped);
    assert!(partition.dropped_after(2).unwrap().is_empty());
}

#[test]
fn a_duplicate_of_a_sealed_event_is_dropped() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 3, &RuleSet::default());
    // Event 55 lies in frame 5, 305 in frame 30; 999 is new.
    let again = vec![event(55, 31, 0), event(999, 31, 1), event(305, 31, 2)];

    let appended = partition.append(frames_of(31, 31, again)).unwrap();

    assert_eq!(appended.stored, 1);
    let dropped: Vec<_> = appended.dropped.iter().map(|d| (d.seq, d.idx)).collect();
    assert_eq!(dropped, [(31, 0), (31, 2)]);
}

#[test]
fn sealed_ids_are_known_after_a_restart() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 1, &RuleSet::default());
    drop(partition);

    let world = world.restarted();
    let mut partition = world.partition();
    let again = vec![event(55, 11, 0), event(999, 11, 1)];
    let appended = partition.append(frames_of(11, 11, again)).unwrap();

    assert_eq!((appended.stored, appended.dropped.len()), (1, 1));
}

#[test]
fn without_memory_for_filters_duplicates_are_still_found() {
    let world = World::new();
    let options = warm_tier::Options {
        dedupe_memory: 0,
        data: world.options().data.join("small"),
        ..world.options()
    };
    let tier = warm_tier::WarmTier::open(options).unwrap();
    let mut partition = tier.partition(crate::world::PARTITION, 1).unwrap();
    sealed_ranges(&mut partition, 2, &RuleSet::default());

    let appended = partition
        .append(frames_of(21, 21, vec![event(55, 21, 0), event(999, 21, 1)]))
        .unwrap();

    assert_eq!((appended.stored, appended.dropped.len()), (1, 1));
}

#[test]
fn the_same_id_in_another_conversation_is_another_event() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 1, &RuleSet::default());
    let mut other = event(55, 11, 0);
    other.event.conversation_id = event::ConversationId::new("other").unwrap();
    other.crc32c = event_proto::EncodedEvent::encode(&other.event).crc32c;

    let appended = partition.append(frames_of(11, 11, vec![other])).unwrap();

    assert_eq!((appended.stored, appended.dropped.len()), (1, 0));
}

#[test]
fn ids_and_their_files_are_removed_after_a_day() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 2, &RuleSet::default());
    let day = std::time::Duration::from_secs(24 * 3600);
    // Frame 10 is received at 10 s, frame 20 at 20 s.
    let now = Timestamp::from_micros(START + 15_000_000).plus(day);

    partition.forget_ids(now).unwrap();

    let ids: Vec<_> = partition
        .sealed()
        .manifest()
        .ids
        .iter()
        .map(|ids| ids.lo)
        .collect();
    assert_eq!(ids, [11]);
    assert!(!world.partition_dir().join("ids-1-10.duckdb").exists());
    let again = vec![event(55, 21, 0), event(155, 21, 1)];
    assert_eq!(
        partition
            .append(frames_of(21, 21, again))
            .unwrap()
            .dropped
            .len(),
        1
    );
    assert_eq!(read(&world.tier.scanner().unwrap(), 1, 20), events(1, 20));
}
