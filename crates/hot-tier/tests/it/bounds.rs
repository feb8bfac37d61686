use std::collections::{BTreeMap, BTreeSet};

use hot_tier::{Appended, Bounds, Dropped, Limits, Marked, Order};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

use crate::world::{PARTITION, Place, World, at, conversation, pack, places, tenant};

const NAMES: [&str; 2] = ["a", "b"];

/// Frames in drains, what is trimmed and dropped, and what is asked.
#[derive(Clone, Debug)]
struct Case {
    /// Per drain, per frame, the conversation of each event.
    drains: Vec<Vec<Vec<usize>>>,
    trim: Option<(u64, Option<u64>, u64)>,
    dropped: Vec<(prop::sample::Index, usize)>,
    asked: Vec<(Option<Place>, Option<Place>, bool, usize)>,
}

fn any_case() -> impl Strategy<Value = Case> {
    let frame = prop::collection::vec(0..NAMES.len(), 0..4);
    let drains = prop::collection::vec(prop::collection::vec(frame, 1..4), 0..60);
    let trim = (0..120_u64, prop::option::of(0..40_u64), 0..120_u64);
    let place = || prop::option::of((0..120_u64, 0..4_u16));
    let asked = (place(), place(), any::<bool>(), 0..120_usize);
    (
        drains,
        prop::option::of(trim),
        prop::collection::vec((any::<prop::sample::Index>(), 0..NAMES.len()), 0..6),
        prop::collection::vec(asked, 1..12),
    )
        .prop_map(|(drains, trim, dropped, asked)| Case {
            drains,
            trim,
            dropped,
            asked,
        })
}

#[test]
fn every_read_is_what_a_list_of_all_rows_would_give() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::start("valkey-server"));
    let mut runner = TestRunner::new(Config::with_cases(120));
    let checked = runner.run(&any_case(), |case| runtime.block_on(check(&world, case)));
    checked.unwrap();
}

async fn check(world: &World, case: Case) -> Result<(), TestCaseError> {
    world.server.flush().await;
    let mut model = write(world, &case).await;
    drop_some(world, &case, &mut model).await;
    if let Some((older, max_events, sealed)) = case.trim {
        for name in NAMES {
            let limits = Limits {
                older_than: at(older),
                max_events,
                sealed,
            };
            world.trim(name, limits).await;
        }
    }
    for (after, before, ascending, limit) in case.asked {
        for (n, name) in NAMES.iter().enumerate() {
            let order = match ascending {
                true => Order::Ascending,
                false => Order::Descending,
            };
            let bounds = Bounds { after, before };
            let read = world.read_within(name, bounds, order, limit).await.unwrap();
            let mut expected: Vec<_> = model[n]
                .iter()
                .copied()
                .filter(|place| place.0 >= read.floor)
                .filter(|place| after.is_none_or(|after| *place > after))
                .filter(|place| before.is_none_or(|before| *place < before))
                .collect();
            if !ascending {
                expected.reverse();
            }
            expected.truncate(limit);
            prop_assert_eq!(places(&read), expected, "{} {:?} {:?}", name, bounds, order);
            prop_assert!(case.trim.is_some() || read.floor == 1);
        }
    }
    Ok(())
}

/// Writes the drains; returns the places of each conversation.
async fn write(world: &World, case: &Case) -> Vec<BTreeSet<Place>> {
    world.writer.start(PARTITION, 1).await.unwrap();
    let mut model = vec![BTreeSet::new(); NAMES.len()];
    let mut last = 0;
    for drain in &case.drains {
        let mut packs: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
        let mut seq = last;
        for frame in drain {
            seq += 1;
            for (idx, name) in (0..).zip(frame) {
                packs.entry(*name).or_default().push((seq, idx));
                model[*name].insert((seq, idx));
            }
        }
        let packs: Vec<_> = packs
            .iter()
            .map(|(n, places)| pack(NAMES[*n], places))
            .collect();
        let appended = world.writer.append(PARTITION, last, seq, &packs).await;
        assert_eq!(appended.unwrap(), Appended::Ok);
        last = seq;
    }
    model
}

async fn drop_some(world: &World, case: &Case, model: &mut [BTreeSet<Place>]) {
    let mut dropped = Vec::new();
    for (index, n) in &case.dropped {
        let Some(place) = model[*n]
            .iter()
            .nth(index.index(model[*n].len().max(1)))
            .copied()
        else {
            continue;
        };
        model[*n].remove(&place);
        dropped.push(Dropped {
            tenant: tenant(),
            conversation: conversation(NAMES[*n]),
            seq: place.0,
            idx: place.1,
        });
    }
    let marked = world
        .writer
        .mark_duplicates(PARTITION, 0, 1, &dropped)
        .await;
    assert_eq!(marked.unwrap(), Marked::Ok);
}
