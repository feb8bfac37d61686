//! Starts with a log that was restored or is another one, with and without an empty warm volume.

use std::time::Duration;

use cold_tier::{Change, ColdTier, CommitOutcome, DayOf, PendingFile, Table};
use event::{PartitionId, SeqRange, StoredEvent, TenantId, Timestamp};
use testkit::eventually;

use crate::world::{World, assert_once};

const PARTITION: PartitionId = PartitionId::first(0);

struct Cold {
    url: String,
    tier: ColdTier,
}

impl Cold {
    async fn start(world: &World) -> Self {
        let (url, tier) = world.cold().await;
        Self { url, tier }
    }

    /// Archives `rows`, which are all that the partition's log has up to `hi`.
    async fn archive(&self, rows: &[StoredEvent], hi: u64) {
        let range = (PARTITION, SeqRange { lo: 1, hi });
        let mut change = Change {
            range: Some(range),
            ..Change::default()
        };
        if let Some(first) = rows.first() {
            let draft = PendingFile {
                table: Table::Events,
                tenant: Some(TenantId::default_tenant()),
                dt: Some(DayOf::ReceivedAt.day(first)),
                rows: segment::encode(rows),
                class: Some("w604800000-cforever".parse().unwrap()),
                ranges: vec![range],
                sampled: None,
                received_max: first.received_at,
            };
            change.adds.push(self.tier.stage(draft).await.unwrap());
        }
        let now = Timestamp::from_micros(1);
        let committed = self.tier.commit(Table::Events, &change, now).await;
        assert!(matches!(committed.unwrap(), CommitOutcome::Committed(_)));
    }
}

/// The error message of a compactor that refuses to start.
async fn refusal(world: &World, args: &[&str]) -> String {
    let mut compactor = world.compactor(args);
    let status = compactor.wait(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(1));
    compactor.stderr()
}

/// The error message of a compactor that refuses to start with a cold tier and has created nothing.
async fn refusal_with_cold(cold: &Cold, world: &World) -> String {
    let refusal = refusal(world, &["--cold-url", &cold.url]).await;
    assert!(!world.data().join("g1/p00/e1/manifest.json").exists());
    refusal
}

#[tokio::test(flavor = "multi_thread")]
async fn no_folder_is_created_when_the_log_ends_before_the_cold_tier() {
    let world = World::start().await;
    world.publish(0..100, 10).await;
    let last = world.last().await[&PARTITION];
    let cold = Cold::start(&world).await;
    cold.archive(&[], last + 3).await;

    let refusal = refusal_with_cold(&cold, &world).await;

    let ends = format!(
        "partition g1p00e1 ends at {last}, but the cold tier has it up to {}",
        last + 3
    );
    assert!(refusal.contains(&ends), "{refusal}");
    let command = format!(
        "`nats stream purge EV_g1_p00_e1 --seq {} --force`",
        last + 4
    );
    assert!(refusal.contains(&command), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_folder_is_created_only_with_the_log_of_the_cold_tier() {
    let world = World::start().await;
    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..300, 10).await;
    world.until_sealed().await;
    let stored = world.stored().await;
    let archived = stored
        .iter()
        .filter(|row| row.position.partition == PARTITION);
    let archived: Vec<_> = archived.cloned().collect();
    let cold = Cold::start(&world).await;
    let last = world.last().await[&PARTITION];
    cold.archive(&archived, last).await;
    assert!(compactor.stop().await.success());
    std::fs::remove_dir_all(world.data()).unwrap();

    let compactor = world.compactor(&["--seal-after", "200ms", "--cold-url", &cold.url]);
    eventually("it is ready", async || world.is_ready().await).await;
    world.until_sealed().await;
    assert_once(&world.stored().await, 300);
    assert!(compactor.stop().await.success());

    let other = World::start().await;
    other.publish(300..700, 10).await;
    assert!(other.last().await[&PARTITION] >= last);
    let refusal = refusal_with_cold(&cold, &other).await;
    let newest = archived.iter().map(|row| row.position).max().unwrap();
    let place = format!("another event at {newest} than the cold tier");
    assert!(refusal.contains(&place), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_opened_only_with_its_own_log() {
    let world = World::start().await;
    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..300, 10).await;
    world.until_sealed().await;
    assert!(compactor.stop().await.success());
    let last = world.last().await[&PARTITION];

    // One that is shorter, then one that is as long.
    for (first, message) in [
        (0, format!("g1p00e1 ends at {}", last - 1)),
        (300, "another event at".into()),
    ] {
        let other = World::start().await;
        let count = if first == 0 { 290 } else { 400 };
        other.publish(first..first + count, 10).await;
        std::fs::rename(world.data(), other.data()).unwrap();
        if first == 0 {
            let refusal = refusal(&other, &[]).await;
            let sentence = "two stores need two places; use another --data";
            assert!(refusal.contains(sentence), "{refusal}");
            // As an older version left it.
            std::fs::remove_file(other.data().join("STORE")).unwrap();
        }

        let refusal = refusal(&other, &[]).await;

        assert!(refusal.contains(&message), "{message}: {refusal}");
        // A partition that is the same in both logs may have claimed it.
        let _ = std::fs::remove_file(other.data().join("STORE"));
        assert!(refusal.contains("than the warm tier") || refusal.contains("but the warm tier"));
        std::fs::rename(other.data(), world.data()).unwrap();
    }
}
