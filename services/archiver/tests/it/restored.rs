//! A warm volume that was lost: its rows come again from the log, and cold has fewer, because of the rules.

use std::fs;

use retention::{Action, Cold, RuleSet, Sampling};

use crate::world::{World, policy, sampling};

const EVENTS: u64 = 280;

fn drop_all() -> Sampling {
    Sampling {
        rules: Vec::new(),
        default_action: Action::Drop,
        ..sampling()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_rules_have_removed_from_cold_leave_a_warm_tier_that_has_them_again() {
    let keep = Cold {
        max_age_ms: None,
        disabled: false,
        sampling: None,
    };
    let rules = [
        (None, Some(sampling())),
        (None, Some(drop_all())),
        (Some(100), None),
    ];
    for (max_age_ms, sampling) in rules {
        let mut world = World::start(Some(policy(3_600_000, keep.clone()))).await;
        world.publish(0..EVENTS).await;
        world.until_sealed().await;
        world.archive().await;
        let thinning = Cold {
            max_age_ms,
            sampling,
            ..keep.clone()
        };
        let rules = RuleSet::new(vec![policy(50, thinning)]);
        world.log.publish_policy(&rules).await.unwrap();
        world.until_left_warm().await;
        world.archive().await;
        let kept = world.in_cold("cold").await;
        assert!(kept.len() < 280, "{} are left", kept.len());

        world.stop_compactor().await;
        fs::remove_dir_all(world.dir.path().join("warm")).unwrap();
        world.start_compactor();
        world.until_sealed().await;

        world.until_left_warm().await;
        assert_eq!(world.in_cold("cold").await, kept);
    }
}
