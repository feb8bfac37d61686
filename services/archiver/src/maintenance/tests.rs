mod world;

use std::time::Duration;

use cold_tier::{ColdScan, Table};
use retention::{Action, HashKey, RuleSet, Sampling, Selector};

use world::{
    RECEIVED, World, add_summary, errors_live_longer, expiring_after, expiry, stored, stored_as,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_rules_changed_removes_nothing_and_says_so() {
    let world = World::start(&[stored()]).await;
    let rules = expiring_after(Some(1));

    let published = expiring_after(None);
    world.log.publish_policy(&published).await.unwrap();
    let (result, _) = world.run(&rules, 1).await;
    let error = format!("{:#}", result.unwrap_err());
    assert!(
        error.contains("rules changed during the run; the next run applies them"),
        "{error}"
    );
    assert_eq!(world.rows().await, 1);

    world.log.publish_policy(&rules).await.unwrap();
    let (result, summary) = world.run(&rules, 1).await;
    result.unwrap();
    assert_eq!((summary.expired, world.rows().await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_once_by_the_same_rules_until_an_age_of_its_rows_is_past() {
    let world = World::start(&[stored()]).await;
    let rules = errors_live_longer();
    world.log.publish_policy(&rules).await.unwrap();
    let before = world.files().await;

    // Due by the shortest age, but the one event is an error.
    let (result, summary) = world.run(&rules, 20).await;
    result.unwrap();
    assert_eq!((summary.expired, summary.files_written), (0, 0));
    let after = world.files().await;
    assert_eq!(after[0].path, before[0].path);
    assert_eq!(after[0].extent, before[0].extent);
    let judged = after[0].provenance.as_ref().unwrap().judged.clone();
    let due = RECEIVED.plus(Duration::from_secs(1000));
    assert_eq!(judged.unwrap().expiry_due, Some(due));

    world.delete_objects().await;
    let damaged = async |rules, seconds| world.run(rules, seconds).await.1.damaged.len();
    assert_eq!(damaged(&rules, 30).await, 0, "read again");
    assert_eq!(damaged(&rules, 1000).await, 0, "read too early");
    assert_eq!(damaged(&rules, 1001).await, 1, "not read when it is due");
    let other = expiring_after(Some(10_000));
    assert_eq!(damaged(&other, 30).await, 1, "not read by other rules");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_past_their_age_leave_a_file_whose_other_rows_live_longer() {
    let world = World::start(&[stored(), stored_as(1, "output.chunk")]).await;
    let rules = errors_live_longer();
    world.log.publish_policy(&rules).await.unwrap();

    let (result, summary) = world.run(&rules, 20).await;
    result.unwrap();
    assert_eq!((summary.expired, summary.files_written), (1, 1));
    let file = world.files().await.remove(0);
    let found = world.cold.read_file(&file).await.unwrap();
    assert_eq!(segment::decode(&found[0]).unwrap(), [stored()]);
    assert_eq!(file.rows_removed(), Some(1));
    assert_eq!(file.provenance.unwrap().sampled, None);

    world.delete_objects().await;
    let (_, summary) = world.run(&rules, 30).await;
    assert_eq!(summary.damaged.len(), 0, "read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn sampling_reads_only_the_summaries_that_may_have_its_conversations() {
    let world = World::start(&[stored()]).await;
    for (seq, conversation) in [(1, "c"), (2, "a"), (3, "z")] {
        add_summary(&world.cold, conversation, seq).await;
    }
    let summaries = world.cold.table_snapshot(Table::ConversationSummary).await;
    for file in summaries.unwrap().files() {
        let extent = file.extent.conversation.clone().unwrap();
        if extent.0 != "c" {
            let folder = world.dir.path().join("cold/conversation_summary");
            std::fs::remove_file(folder.join(&file.path)).unwrap();
        }
    }
    let rules = sampling(Action::Keep);
    world.log.publish_policy(&rules).await.unwrap();

    let (result, summary) = world.run(&rules, 1).await;

    result.unwrap();
    assert_eq!(summary.damaged.len(), 0, "{summary:?}");
    let file = world.files().await.remove(0);
    assert_eq!(file.provenance.unwrap().sampled, Some(rules.hash()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_all_sampled_out_leave_a_file_without_rows_that_says_so_and_is_not_read() {
    let world = World::start(&[stored(), stored_as(1, "output.chunk")]).await;
    add_summary(&world.cold, "c", 1).await;
    let rules = sampling(Action::Drop);
    world.log.publish_policy(&rules).await.unwrap();

    let (result, summary) = world.run(&rules, 1).await;

    result.unwrap();
    assert_eq!((summary.sampled_out, world.rows().await), (2, 0));
    let file = world.files().await.remove(0);
    assert_eq!(file.rows_removed(), Some(2));
    assert_eq!(file.provenance.unwrap().sampled, Some(rules.hash()));
    world.delete_objects().await;
    let snapshot = world.cold.table_snapshot(Table::Events).await.unwrap();
    let scan = ColdScan::default();
    assert_eq!(world.cold.read(&snapshot, &scan).await.unwrap(), []);
}

fn sampling(default_action: Action) -> RuleSet {
    let mut policy = expiry("test/all", Selector::default(), None);
    policy.cold.as_mut().unwrap().sampling = Some(Sampling {
        salt: "test/all".to_owned(),
        hash_key: HashKey::Event,
        rules: Vec::new(),
        default_action,
    });
    RuleSet::new(vec![policy])
}
