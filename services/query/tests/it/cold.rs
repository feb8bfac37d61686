//! What has left the warm tier. The test archives by itself, as the archiver does.

use std::collections::BTreeMap;

use cold_tier::{Change, ColdOptions, ColdTier, Day, DayOf, PendingFile};
use event::{PartitionId, SeqRange, TenantId, Timestamp};
use retention::{Cold, Hot, Policy, RuleSet, Selector, Warm};
use tempfile::TempDir;
use testkit::eventually;
use warm_tier::remote::{Client, Scan, Table};

use crate::{
    sql::assert_rollups,
    world::{World, id, numbers},
};

const WEEK_MS: u64 = 7 * 24 * 3_600_000;

/// Events of `types` stay in warm and cold so long.
pub(crate) fn policy(name: &str, types: &[&str], warm_ms: u64, cold_ms: Option<u64>) -> Policy {
    Policy {
        name: format!("test/{name}"),
        priority: 10,
        dry_run: false,
        selector: Selector {
            event_types: types.iter().map(ToString::to_string).collect(),
            ..Selector::default()
        },
        hot: Some(Hot {
            max_age_ms: 1,
            max_events_per_stream: None,
        }),
        warm: Some(Warm {
            max_age_ms: warm_ms,
            max_bytes: None,
        }),
        cold: Some(Cold {
            max_age_ms: cold_ms,
            disabled: false,
            sampling: None,
        }),
    }
}

/// Copies everything that is sealed to the cold tier, rollups first.
pub(crate) async fn archive(world: &World, url: &str) {
    let tier = ColdTier::open_for_writing(url, &ColdOptions::default())
        .await
        .unwrap();
    let warm = Client::new(&world.flight_url(), None).unwrap();
    let now = Timestamp::now();
    for partition in warm.coverage().await.unwrap().partitions {
        let committed = tier
            .snapshot()
            .await
            .unwrap()
            .events
            .committed(partition.partition);
        let Some(range) = SeqRange::new(committed + 1, partition.sealed) else {
            continue;
        };
        let (id, ranges) = (partition.partition, vec![(partition.partition, range)]);
        for (table, cold) in [
            (Table::HourlyStats, cold_tier::Table::HourlyStats),
            (
                Table::ConversationSummary,
                cold_tier::Table::ConversationSummary,
            ),
        ] {
            let batches = warm
                .collect(&Scan::new(table, id, vec![range]))
                .await
                .unwrap();
            let rows = arrow::compute::concat_batches(&cold.schema(), &batches).unwrap();
            let draft = PendingFile {
                table: cold,
                tenant: None,
                dt: None,
                rows,
                class: None,
                ranges: ranges.clone(),
                sampled: None,
                received_max: now,
            };
            commit(&tier, cold, vec![draft], (id, range), now).await;
        }
        let mut drafts = Vec::new();
        let mut classes: Vec<_> = partition.slices.iter().map(|slice| slice.class).collect();
        classes.sort();
        classes.dedup();
        for class in classes {
            let mut scan = Scan::new(Table::Events, id, vec![range]);
            scan.class = Some(class);
            let mut days: BTreeMap<Day, Vec<event::StoredEvent>> = BTreeMap::new();
            for batch in warm.collect(&scan).await.unwrap() {
                for row in segment::decode(&batch).unwrap() {
                    days.entry(DayOf::ReceivedAt.day(&row))
                        .or_default()
                        .push(row);
                }
            }
            drafts.extend(days.into_iter().map(|(dt, rows)| PendingFile {
                table: cold_tier::Table::Events,
                tenant: Some(TenantId::default_tenant()),
                dt: Some(dt),
                received_max: rows.iter().map(|row| row.received_at).max().unwrap(),
                rows: segment::encode(&rows),
                class: Some(class),
                ranges: ranges.clone(),
                sampled: None,
            }));
        }
        commit(&tier, cold_tier::Table::Events, drafts, (id, range), now).await;
    }
}

async fn commit(
    tier: &ColdTier,
    table: cold_tier::Table,
    drafts: Vec<PendingFile>,
    range: (PartitionId, SeqRange),
    now: Timestamp,
) {
    let mut adds = Vec::new();
    for draft in drafts {
        adds.push(tier.stage(draft).await.unwrap());
    }
    let change = Change {
        adds,
        range: Some(range),
        ..Change::default()
    };
    tier.commit(table, &change, now).await.unwrap();
}

#[tokio::test]
async fn an_answer_is_the_same_while_classes_leave_warm_for_cold() {
    let dir = TempDir::new().unwrap();
    let cold = dir.path().display().to_string();
    let world = World::start_with(&["--cold-url", &cold]).await;
    let rules = RuleSet::new(vec![
        policy("errors-stay", &["error"], WEEK_MS, None),
        policy("the-rest-goes", &[], 1500, None),
    ]);
    world.log.publish_policy(&rules).await.unwrap();
    let _writer = world.hot_writer();
    let more = [
        "--seal-after",
        "200ms",
        "--log-grace",
        "0s",
        "--cold-url",
        &cold,
    ];
    let compactor = world.compactor(&more);
    world.publish(0..90, 3).await;
    world.until("warm", "sealed").await;
    archive(&world, &cold).await;
    world.assert_all(90).await;
    assert_rollups(&world).await;

    let warm = Client::new(&world.flight_url(), None).unwrap();
    eventually("what is old has left warm", async || {
        let coverage = warm.coverage().await.unwrap();
        let classes = coverage.partitions.iter().flat_map(|own| &own.slices);
        let mut classes: Vec<_> = classes.map(|slice| slice.class).collect();
        classes.sort();
        classes.dedup();
        classes.len() == 1
    })
    .await;
    eventually("memory has let go", async || {
        let answer = world
            .get(&format!("/v1/conversations/{}/events", id(0)))
            .await;
        answer.headers()["isotherm-tiers"] == "warm,cold"
    })
    .await;
    world.assert_all(90).await;
    assert_rollups(&world).await;
    let (_, sql) = world
        .sql("SELECT count(*), count(DISTINCT position), count(DISTINCT event_id) FROM events")
        .await;
    assert_eq!(sql["rows"][0], serde_json::json!([90, 90, 90]), "{sql}");
    assert_eq!(sql["tiers"], serde_json::json!(["warm", "cold"]));
    let (_, errors) = world
        .sql(
            "SELECT content FROM events WHERE type = 'error' AND timestamp < '2025-11-20 20:00:00'",
        )
        .await;
    assert_eq!(errors["rows"].as_array().unwrap().len(), 10, "{errors}");
    let (_, newest) = world
        .json(&format!("/v1/conversations/{}/events?limit=4", id(1)))
        .await;
    assert_eq!(numbers(&newest), [88, 85, 82, 79]);

    // New events beside the old, sealed and not.
    world.publish(90..120, 3).await;
    world.assert_all(120).await;
    assert_rollups(&world).await;
    world.until("warm", "sealed").await;
    world.assert_all(120).await;
    assert_rollups(&world).await;

    // Cold has everything of the first part: without warm nothing of it is missing.
    archive(&world, &cold).await;
    compactor.kill().await;
    world.assert_all(120).await;
    assert_rollups(&world).await;
}

#[tokio::test]
async fn events_past_their_age_are_hidden_at_once() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let _compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..90, 3).await;
    world.until("warm", "sealed").await;
    world.assert_all(90).await;
    let rules = RuleSet::new(vec![policy("errors-end", &["error"], 1, Some(1))]);
    world.log.publish_policy(&rules).await.unwrap();
    eventually("errors are hidden", async || {
        let (_, answer) = world
            .json(&format!("/v1/conversations/{}/events", id(0)))
            .await;
        numbers(&answer).len() == 23
    })
    .await;
    let (_, answer) = world
        .json(&format!("/v1/conversations/{}/events?type=error", id(0)))
        .await;
    assert_eq!(
        (numbers(&answer), &answer["complete"]),
        (vec![], &true.into())
    );
    let (_, sql) = world
        .sql("SELECT count(*) FROM events WHERE type = 'error'")
        .await;
    assert_eq!(sql["rows"][0][0], 0);
    let (_, sql) = world.sql("SELECT count(*) FROM events").await;
    assert_eq!(sql["rows"][0][0], 68);
    let acks = world.log.policy_acks().await.unwrap();
    assert!(
        acks.contains(&("query".to_owned(), rules.hash())),
        "{acks:?}"
    );
}
