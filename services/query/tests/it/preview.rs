//! The numbers of a preview are those by which events then go.

use event::Timestamp;
use retention::{Cold, Policy, RuleSet, Selector, Warm, preview_sql, selects_sql, tiers_sql};
use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{World, id};

/// Ends errors and tool calls of one conversation that have the label, as soon as they are there.
fn dry() -> Policy {
    Policy {
        name: "test/dry".to_owned(),
        priority: 10,
        dry_run: true,
        selector: Selector {
            tenants: vec!["d?fault".to_owned()],
            conversations: vec![id(0)],
            event_types: vec!["err*".to_owned(), "tool.*".to_owned()],
            match_labels: [("a".to_owned(), "1".to_owned())].into(),
            ..Selector::default()
        },
        hot: None,
        warm: Some(Warm {
            max_age_ms: 1,
            max_bytes: None,
        }),
        cold: Some(Cold {
            max_age_ms: Some(1),
            disabled: false,
            sampling: None,
        }),
    }
}

async fn row(world: &World, sql: String) -> Vec<Value> {
    let (status, answer) = world.sql(sql).await;
    assert_eq!(status, 200, "{answer}");
    answer["rows"][0].as_array().unwrap().clone()
}

async fn count(world: &World) -> i64 {
    let row = row(world, "SELECT count(*) FROM events".to_owned()).await;
    row[0].as_i64().unwrap()
}

#[tokio::test]
async fn a_preview_counts_what_goes_when_the_policy_is_enforced() {
    let world = World::start().await;
    let _compactor = world.compactor(&[]);
    world.publish(0..60, 3).await;
    world.until("warm", "committed").await;
    let rules = RuleSet::new(vec![dry()]);
    let after = rules.clone().enforcing("test/dry");
    let now = || u64::try_from(Timestamp::now().as_micros()).unwrap() + 10_000;

    let preview = row(&world, preview_sql(&rules, &after, now())).await;
    let streams = row(&world, selects_sql(&rules.policies, "default")).await;
    let total = count(&world).await;
    world.log.publish_policy(&rules).await.unwrap();
    assert_eq!(count(&world).await, total, "a dry run filters nothing");
    world.log.publish_policy(&after).await.unwrap();

    let goes = preview[4].as_i64().unwrap();
    assert!(goes > 0 && goes < total, "{preview:?}");
    // The conversation stays in hot by the rule that its other events fall under.
    assert_eq!((&preview[0], &preview[2]), (&json!(0), &json!(goes)));
    assert_eq!(streams, [json!(1), json!(3)]);
    eventually("the events are hidden", async || {
        count(&world).await == total - goes
    })
    .await;
}

#[tokio::test]
async fn every_event_falls_to_one_policy_in_every_tier() {
    let world = World::start().await;
    let _compactor = world.compactor(&[]);
    world.publish(0..60, 3).await;
    world.until("warm", "committed").await;
    let rules = RuleSet::new(vec![dry()]).enforcing("test/dry");
    let now = u64::try_from(Timestamp::now().as_micros()).unwrap() + 10_000;
    let (_, answer) = world.sql(tiers_sql(&rules, now)).await;
    let mut of_warm = [0, 0];
    for row in answer["rows"].as_array().unwrap() {
        assert_eq!(row[0], 1, "the built-in policy decides of hot: {row}");
        assert_eq!(row[1], row[2]);
        let winner = usize::try_from(row[1].as_u64().unwrap()).unwrap();
        of_warm[winner] += row[5].as_i64().unwrap();
        assert_eq!(row[4] == true, winner == 1, "{row}");
    }
    let preview = row(&world, preview_sql(&RuleSet::default(), &rules, now)).await;
    assert_eq!(
        of_warm,
        [
            preview[4].as_i64().unwrap(),
            60 - preview[4].as_i64().unwrap()
        ]
    );
}
