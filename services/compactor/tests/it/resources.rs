//! A machine that lacks memory or descriptors: nothing is lost, and the process goes on.

use std::process::Command;

use event::{EventId, PartitionId, SeqRange};
use testkit::eventually;
use warm_tier::remote::{Scan, Table};

use crate::world::{World, assert_once, event, partition_of};

/// Events of 250,000 bytes: about twice what DuckDB has for a seal at the least limit.
const LARGE: u64 = 800;

impl World {
    /// Appends large events, one a frame, each followed by a small one of another partition.
    async fn publish_large(&self) {
        // A conversation of the other partition.
        let is_other = |other: &u64| partition_of(&event(*other)) != partition_of(&event(0));
        let other = (1..7).find(is_other).unwrap();
        for number in 0..LARGE {
            let mut large = event(number * 7);
            large.content = format!("{number:016x}").repeat(15_625);
            let mut small = event(number * 7 + other);
            small.event_id = EventId::from_u128(large.event_id.as_u128() + (1 << 40));
            self.publish_events(&[large]).await;
            self.publish_events(&[small]).await;
        }
    }

    async fn sealed_rows(&self) -> u64 {
        let coverage = self.client().coverage().await;
        let slices = coverage.into_iter().flat_map(|all| all.partitions);
        let slices = slices.flat_map(|partition| partition.slices);
        slices.map(|slice| slice.rows).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_events_beside_small_ones_never_end_the_process_and_are_stored_once() {
    let world = World::start().await;
    let least = ["--memory-limit", "256MiB", "--open-memory", "256MiB"];
    let mut compactor = world.compactor(&least);
    world.publish_large().await;
    world.until_committed(2 * LARGE).await;
    assert_eq!(compactor.ended(), None, "{}", compactor.stderr());
    compactor.stop().await;

    // All of it waits in the log now.
    let mut compactor = world.compactor(&[&least[..], &["--seal-after", "2s"]].concat());
    world.until_sealed().await;

    assert_eq!(compactor.ended(), None, "{}", compactor.stderr());
    assert_eq!(world.sealed_rows().await, 2 * LARGE);
    assert!(world.readiness().await.contains("halted ok\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_descriptors_never_puts_a_healthy_slice_into_quarantine() {
    let world = World::start().await;
    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..100, 10).await;
    world.until_sealed().await;
    // Connected already, so that only the files need a descriptor.
    let client = world.client();
    let coverage = client.coverage().await.unwrap();
    let limit = |soft: &str| {
        let pid = compactor.pid().to_string();
        let nofile = format!("--nofile={soft}:");
        let done = Command::new("prlimit")
            .args(["--pid", &pid, &nofile])
            .status();
        assert!(done.unwrap().success());
    };
    let scans = coverage.partitions.iter().map(|own| {
        let range: SeqRange = own.sealed_range().unwrap();
        Scan::new(Table::Events, own.partition, vec![range])
    });
    let scans: Vec<Scan> = scans.collect();

    limit("3");
    for scan in &scans {
        client.collect(scan).await.unwrap_err();
    }
    limit("1024");

    eventually("all is read again", async || {
        world.stored_or_none().await.is_some()
    })
    .await;
    assert_once(&world.stored().await, 100);
    for partition in client.coverage().await.unwrap().partitions {
        let PartitionId { partition: id, .. } = partition.partition;
        assert!(partition.gaps.is_empty(), "{id}");
    }
}
