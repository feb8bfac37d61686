//! Which slices are due beside one that cannot be read.

use std::fs;

use event::Timestamp;
use retention::{Policy, RuleSet, Warm};
use warm_tier::{Error, Expiry, Slice, UnreadSlice};

use crate::{
    failure::damage,
    world::{START, World, sealed_ranges},
};

/// Everything is a millisecond in warm, and one byte of it at most.
fn short() -> RuleSet {
    RuleSet::new(vec![Policy {
        warm: Some(Warm {
            max_age_ms: 1,
            max_bytes: Some(1),
        }),
        ..Policy::built_in()
    }])
}

#[test]
fn a_slice_that_cannot_be_read_holds_back_no_other() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 4, &RuleSet::default());
    let (engine, sealed) = (world.tier.engine(), partition.sealed());
    let slices = sealed.manifest().slices;
    damage(&world.partition_dir().join(&slices[1].file));
    let (gone, away) = (&slices[2].file, world.partition_dir().join("away"));
    fs::rename(world.partition_dir().join(gone), &away).unwrap();
    let now = Timestamp::from_micros(START).plus(std::time::Duration::from_secs(3600));
    let mut expiry = Expiry::default();

    let by_age = expiry.past_age(&engine, &sealed, &short(), 40, now);
    let by_quota = expiry.over_quota(&engine, std::slice::from_ref(&sealed), &short(), |_| 40);

    let los =
        |slices: &mut dyn Iterator<Item = &Slice>| slices.map(|own| own.lo).collect::<Vec<_>>();
    assert_eq!(los(&mut by_age.due.iter()), [1, 31]);
    assert_eq!(los(&mut by_quota.due.iter().map(|(_, own)| own)), [1, 31]);
    for unread in [&by_age.unread, &by_quota.unread] {
        assert_eq!(los(&mut unread.iter().map(|own| &own.slice)), [11, 21]);
        let is_damaged = |own: &UnreadSlice| matches!(own.error, Error::Damaged { .. });
        assert!(unread.iter().all(is_damaged), "{unread:?}");
    }
    assert!(engine.is_usable());

    fs::rename(&away, world.partition_dir().join(gone)).unwrap();
    let again = expiry.past_age(&engine, &sealed, &short(), 40, now);
    assert_eq!(los(&mut again.due.iter()), [1, 21, 31]);
}
