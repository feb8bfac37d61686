//! Which store a cold tier belongs to.

use cold_tier::{ColdOptions, ColdTier, CommitOutcome, Error};
use event::SeqRange;

use crate::world::{World, archive};

fn of(store: &str) -> ColdOptions {
    ColdOptions {
        store: Some(store.to_owned()),
        ..ColdOptions::default()
    }
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::OtherStore { .. }), "{error}");
    let sentence = "belongs to store one, this is store other: two stores need two places";
    assert!(error.to_string().contains(sentence), "{error}");
}

#[tokio::test]
async fn a_cold_tier_belongs_to_the_first_store_that_writes_to_it() {
    let world = World::disk();
    let older = world.writer().await;
    let range = |seq| SeqRange { lo: seq, hi: seq };
    archive(&older, range(1)).await.unwrap();
    let reader = ColdTier::open(&world.address, &of("other")).unwrap();
    assert_eq!(
        reader.snapshot().await.unwrap().committed().len(),
        1,
        "no one's yet"
    );

    let one = ColdTier::open_for_writing(&world.address, &of("one")).await;
    let one = one.unwrap();
    assert_refused(reader.snapshot().await);
    assert_refused(ColdTier::open_for_writing(&world.address, &of("other")).await);
    // Behind a checkpoint, which has the store too.
    for seq in 2..30 {
        let outcome = archive(&one, range(seq)).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)));
    }
    let late = ColdTier::open(&world.address, &of("other")).unwrap();
    assert_refused(late.snapshot().await);
    let own = ColdTier::open(&world.address, &of("one")).unwrap();
    assert_eq!(
        own.snapshot().await.unwrap().events.rows(),
        one.snapshot().await.unwrap().events.rows()
    );
}

#[tokio::test]
async fn a_new_cold_tier_has_the_store_from_its_first_entry() {
    let world = World::disk();
    let one = ColdTier::open_for_writing(&world.address, &of("one")).await;
    assert_eq!(
        one.unwrap().snapshot().await.unwrap().events.version(),
        Some(0)
    );
    assert_refused(ColdTier::open_for_writing(&world.address, &of("other")).await);
}
