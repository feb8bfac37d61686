//! The archiver as a CronJob.

use serde_json::Value;
use testkit::eventually_within;

use crate::{
    events::{ids, lines},
    world::{RELEASE, WAIT_TIMEOUT, World},
};

impl World {
    /// Waits until the operator has written the archiver's CronJob with this schedule.
    pub(crate) async fn until_scheduled(&self, schedule: &str, suspended: bool) {
        let name = format!("cronjobs/{RELEASE}-archiver");
        let what = format!("the archiver runs at {schedule}, suspended: {suspended}");
        eventually_within(WAIT_TIMEOUT, &what, async || {
            let job = self.api.get("apis/batch/v1", &name).await;
            let spec = job.map(|job| job["spec"].clone()).unwrap_or_default();
            spec["schedule"] == schedule && spec["suspend"] == suspended
        })
        .await;
    }

    /// Starts one run of the archiver beside its schedule.
    pub(crate) fn start_archiver(&self, job: &str) {
        self.kubectl(&format!(
            "create job {job} --from cronjob/{RELEASE}-archiver"
        ));
    }

    /// Waits for the end of a run and returns its summary.
    pub(crate) async fn until_archived(&self, job: &str) -> Value {
        eventually_within(WAIT_TIMEOUT, &format!("job {job} is done"), async || {
            let job = self.api.get("apis/batch/v1", &format!("jobs/{job}")).await;
            job.is_some_and(|job| job["status"]["succeeded"] == 1)
        })
        .await;
        let logs = self.kubectl(&format!("logs job/{job}"));
        let summary = logs.lines().find_map(|line| {
            let summary: Value = serde_json::from_str(line).ok()?;
            summary["archived"].is_u64().then_some(summary)
        });
        summary.unwrap_or_else(|| panic!("no summary of {job}: {logs}"))
    }

    /// Returns the names of the Jobs that the schedule has created.
    pub(crate) async fn scheduled_jobs(&self) -> Vec<String> {
        let jobs = self.api.list("apis/batch/v1", "jobs").await;
        let names = jobs
            .iter()
            .filter_map(|job| job["metadata"]["name"].as_str());
        let scheduled = names.filter(|name| name.starts_with(&format!("{RELEASE}-archiver-")));
        scheduled.map(ToOwned::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_runs_archive_every_event_once_and_the_policy_sets_the_schedule() {
    let world = World::install("archiver").await;
    let tiers = "tiers: {hot: {maxAge: 5s}, warm: {maxAge: 10s}, cold: {maxAge: Forever}}";
    let suspended = format!("archive: {{schedule: '* * * * *', suspend: true}}, {tiers}");
    world.enforce("quick", &suspended).await;
    world.until_scheduled("* * * * *", true).await;
    world.client.post(&lines("case", 0..500)).await;
    world.client.until_sealed().await;

    let runs = ["first", "second", "third"];
    runs.iter().for_each(|run| world.start_archiver(run));
    let mut archived = 0;
    for run in runs {
        archived += world.until_archived(run).await["archived"]
            .as_u64()
            .unwrap();
    }
    assert_eq!(archived, 500, "the sum of all summaries");
    assert_eq!(world.scheduled_jobs().await, [""; 0], "it is suspended");

    world.client.post(&lines("case", 500..600)).await;
    let running = format!("archive: {{schedule: '* * * * *'}}, {tiers}");
    world.enforce("quick", &running).await;
    world.until_scheduled("* * * * *", false).await;
    let answer = world.client.until_answered_from("case", &["cold"]).await;
    assert_eq!(answer.ids, ids(0..600));
    assert!(!world.scheduled_jobs().await.is_empty());
}
