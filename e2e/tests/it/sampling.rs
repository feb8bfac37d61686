use std::collections::BTreeSet;

use retention::Cold;
use testkit::eventually;

use crate::{
    agents,
    world::{Setup, World, keep_all, sampled},
};

const HOUR: u64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn two_installations_keep_exactly_the_same_events() {
    let posted = agents::run_over_days(5, 1500, 4);
    let many = Setup {
        partitions: 5,
        ..Setup::default()
    };
    let (one, other) = tokio::join!(World::start(), World::start_with(many));
    let (one, other) = tokio::join!(kept(&one, &posted, 500), kept(&other, &posted, 77));
    assert_eq!(one, other);

    let is_output = |line: &&String| agents::member(line, "type") == "output.chunk";
    let (kept_output, all_output) = (
        one.iter().filter(is_output).count(),
        posted.iter().filter(is_output).count(),
    );
    assert_eq!(
        one.len() - kept_output,
        posted.len() - all_output,
        "everything but routine output is kept"
    );
    // The mean of 1/log2(h+2) over ten days is between 12 and 16 %.
    let share = kept_output * 100 / all_output;
    assert!((10..=20).contains(&share), "{share} % of {all_output}");
}

/// The events of `posted` that remain after a policy has sampled them, as they were
/// posted.
async fn kept(world: &World, posted: &[String], batch: usize) -> BTreeSet<String> {
    world.set_policy(HOUR, HOUR, sampled()).await;
    world.post(posted, batch).await;
    world.until_sealed().await;
    world.archive().await;
    world.set_policy(1000, 1000, sampled()).await;
    world.until_only_cold(posted).await;
    world.archive().await;
    let mut kept = BTreeSet::new();
    // The query service refreshes its snapshot of the cold tier every 2 s.
    eventually("the sampled files are read", async || {
        kept.clear();
        let mut unsampled = 0;
        for name in 0..4 {
            let lines = world.read(&format!("run-5-{name}")).await.lines;
            let is_unsampled = |line: &&String| !line.contains("sample_rate");
            let is_output = |line: &&String| line.contains(r#""type":"output.chunk""#);
            unsampled += lines.iter().filter(is_output).filter(is_unsampled).count();
            kept.extend(lines.iter().map(|line| agents::as_posted(line)));
        }
        // The first event of a conversation is always kept.
        unsampled <= 4
    })
    .await;
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn sampling_keeps_the_declared_share_and_all_critical_events() {
    let world = World::start().await;
    let posted = agents::run(3, 2000, 3);
    let percent = |percent| Cold {
        sampling: Some(fixed(percent)),
        ..keep_all().unwrap()
    };
    world.set_policy(HOUR, HOUR, Some(percent(25))).await;
    world.post(&posted, 500).await;
    world.until_sealed().await;
    world.archive().await;
    world.set_policy(1000, 1000, Some(percent(25))).await;
    world.until_only_cold(&posted).await;
    world.archive().await;

    // The query service refreshes its snapshot of the cold tier every 2 s.
    eventually("the sampled files are read", async || {
        let mut lines = Vec::new();
        for name in 0..3 {
            lines.extend(world.read(&format!("run-3-{name}")).await.lines);
        }
        let mut output = lines.iter().filter(|line| line.contains("output.chunk"));
        output.all(|line| line.contains("sample_rate"))
    })
    .await;

    let is_output = |line: &&String| agents::member(line, "type") == "output.chunk";
    let (mut output, mut other) = (0, 0);
    for name in 0..3 {
        for line in world.read(&format!("run-3-{name}")).await.lines {
            let counter = if is_output(&&line) {
                &mut output
            } else {
                &mut other
            };
            *counter += 1;
        }
    }
    let posted_output = posted.iter().filter(is_output).count();
    assert_eq!(
        other,
        posted.len() - posted_output,
        "everything but routine output is kept"
    );
    let share = output * 100 / posted_output;
    assert!(
        (20..=30).contains(&share),
        "{share} % of {posted_output} are kept"
    );
    let estimate = world
        .sql("SELECT round(sum(1/sample_rate))::BIGINT AS n FROM events")
        .await;
    let estimate = estimate["rows"][0]["n"]
        .as_i64()
        .or(estimate["rows"][0][0].as_i64())
        .unwrap();
    let total = i64::try_from(posted.len()).unwrap();
    assert!(
        (estimate - total).abs() < total / 5,
        "{estimate} estimates {total}"
    );
}

fn fixed(percent: u32) -> retention::Sampling {
    let mut sampling = sampled().unwrap().sampling.unwrap();
    for rule in &mut sampling.rules {
        if let Some(sample) = &mut rule.sample {
            sample.strategy = retention::Strategy::Fixed { percent };
        }
    }
    sampling
}
