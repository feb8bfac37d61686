use std::collections::{BTreeMap, BTreeSet};

use hot_tier::{Appended, Bounds, DuplicateEvent, Limits, Marked, Order};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

use crate::world::{
    Offset, PARTITION, World, at, conversation, offsets, on_each_server, pack, tenant,
};

const NAMES: [&str; 2] = ["a", "b"];

/// What is written, trimmed and marked as duplicates, and what is then read.
#[derive(Clone, Debug)]
struct Case {
    /// Per batch and frame, the conversation of each event.
    batches: Vec<Vec<Vec<usize>>>,
    /// `older_than` in seconds, `max_events`, `sealed`.
    trim: Option<(u64, Option<u64>, u64)>,
    /// An event of a conversation.
    duplicates: Vec<(prop::sample::Index, usize)>,
    /// `after`, `before`, ascending, `limit`.
    reads: Vec<(Option<Offset>, Option<Offset>, bool, usize)>,
}

fn any_case() -> impl Strategy<Value = Case> {
    let frame = prop::collection::vec(0..NAMES.len(), 0..4);
    let batches = prop::collection::vec(prop::collection::vec(frame, 1..4), 0..60);
    let trim = (0..120_u64, prop::option::of(0..40_u64), 0..120_u64);
    let offset = || prop::option::of((0..120_u64, 0..4_u16));
    let reads = (offset(), offset(), any::<bool>(), 0..120_usize);
    (
        batches,
        prop::option::of(trim),
        prop::collection::vec((any::<prop::sample::Index>(), 0..NAMES.len()), 0..6),
        prop::collection::vec(reads, 1..12),
    )
        .prop_map(|(batches, trim, duplicates, reads)| Case {
            batches,
            trim,
            duplicates,
            reads,
        })
}

#[test]
fn every_read_returns_what_a_list_of_all_rows_would() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::start("valkey-server"));
    let mut runner = TestRunner::new(Config::with_cases(120));
    let checked = runner.run(&any_case(), |case| runtime.block_on(check(&world, case)));
    checked.unwrap();
}

async fn check(world: &World, case: Case) -> Result<(), TestCaseError> {
    world.server.flush().await;
    let mut model = write(world, &case).await;
    mark_some(world, &case, &mut model).await;
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
    for (after, before, ascending, limit) in case.reads {
        for (n, name) in NAMES.iter().enumerate() {
            let order = match ascending {
                true => Order::Ascending,
                false => Order::Descending,
            };
            let bounds = Bounds {
                after,
                before,
                ..Bounds::default()
            };
            let read = world.read_within(name, bounds, order, limit).await.unwrap();
            let mut expected: Vec<_> = model[n]
                .iter()
                .copied()
                .filter(|offset| offset.0 >= read.floor)
                .filter(|offset| after.is_none_or(|after| *offset > after))
                .filter(|offset| before.is_none_or(|before| *offset < before))
                .collect();
            if !ascending {
                expected.reverse();
            }
            expected.truncate(limit);
            prop_assert_eq!(
                offsets(&read),
                expected,
                "{} {:?} {:?}",
                name,
                bounds,
                order
            );
            prop_assert!(case.trim.is_some() || read.floor == 1);
        }
    }
    Ok(())
}

/// Writes the batches; returns the offsets of each conversation's events.
async fn write(world: &World, case: &Case) -> Vec<BTreeSet<Offset>> {
    world.writer.start(PARTITION, 1).await.unwrap();
    let mut model = vec![BTreeSet::new(); NAMES.len()];
    let mut last = 0;
    for batch in &case.batches {
        let mut packs: BTreeMap<usize, Vec<Offset>> = BTreeMap::new();
        let mut seq = last;
        for frame in batch {
            seq += 1;
            for (idx, name) in (0..).zip(frame) {
                packs.entry(*name).or_default().push((seq, idx));
                model[*name].insert((seq, idx));
            }
        }
        let packs: Vec<_> = packs
            .iter()
            .map(|(n, offsets)| pack(NAMES[*n], offsets))
            .collect();
        let appended = world.writer.append(PARTITION, last, seq, &packs).await;
        assert_eq!(appended.unwrap(), Appended::Ok);
        last = seq;
    }
    model
}

async fn mark_some(world: &World, case: &Case, model: &mut [BTreeSet<Offset>]) {
    let mut duplicates = Vec::new();
    for (index, n) in &case.duplicates {
        let Some(offset) = model[*n]
            .iter()
            .nth(index.index(model[*n].len().max(1)))
            .copied()
        else {
            continue;
        };
        model[*n].remove(&offset);
        duplicates.push(DuplicateEvent {
            tenant: tenant(),
            conversation: conversation(NAMES[*n]),
            seq: offset.0,
            idx: offset.1,
        });
    }
    let marked = world
        .writer
        .mark_duplicates(PARTITION, 0, 1, &duplicates)
        .await;
    assert_eq!(marked.unwrap(), Marked::Ok);
}

#[tokio::test]
async fn a_read_ends_by_its_bytes_and_says_where_to_read_on() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        for seq in 1..=7 {
            world.append_large("a", seq).await;
        }
        for order in [Order::Ascending, Order::Descending] {
            let mut bounds = Bounds {
                max_bytes: Some(600_000),
                ..Bounds::default()
            };
            let mut found = Vec::new();
            loop {
                let read = world.read_within("a", bounds, order, 100).await.unwrap();
                assert!(read.rows.len() <= 3 && !read.met_duplicates);
                found.extend(offsets(&read));
                match (read.reached, order) {
                    (None, _) => break,
                    (after, Order::Ascending) => bounds.after = after,
                    (before, Order::Descending) => bounds.before = before,
                }
            }
            if order == Order::Descending {
                found.reverse();
            }
            assert_eq!(found, (1..=7).map(|seq| (seq, 0)).collect::<Vec<_>>());
        }
    })
    .await;
}
