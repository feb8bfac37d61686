//! The archiver as a CronJob.

use testkit::eventually_within;

use crate::{
    events::{ids, lines},
    world::{LONG, RELEASE, World},
};

impl World {
    /// Makes the CronJob of the chart's template, as the operator does.
    pub(crate) fn schedule(&self, schedule: &str, suspend: bool) {
        let template = self.kubectl(&format!(
            "get configmap {RELEASE}-archiver --output jsonpath={{.data.cronjob\\.yaml}}"
        ));
        let spec = format!("\nspec:\n  schedule: \"{schedule}\"\n  suspend: {suspend}\n");
        self.apply(&template.replacen("\nspec:\n", &spec, 1));
    }

    /// Starts one run of the archiver beside its schedule.
    pub(crate) fn start_archiver(&self, job: &str) {
        self.kubectl(&format!(
            "create job {job} --from cronjob/{RELEASE}-archiver"
        ));
    }

    pub(crate) async fn until_archived(&self, job: &str) {
        eventually_within(LONG, &format!("job {job} is done"), async || {
            let status = "{.status.succeeded}/{.status.failed}";
            let status = self.kubectl(&format!("get job {job} --output jsonpath={status}"));
            status.starts_with('1')
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archiver_runs_on_its_schedule_and_overlapping_runs_archive_every_range_once() {
    let world = World::install("archiver").await;
    world
        .set_policy("keep", include_str!("policies/quick.yaml"))
        .await;
    world.client.post(&lines("case", 0..500)).await;
    world.schedule("* * * * *", true);
    world.client.until_sealed().await;

    for run in ["first", "second", "third"] {
        world.start_archiver(run);
    }
    for run in ["first", "second", "third"] {
        world.until_archived(run).await;
    }
    world.client.post(&lines("case", 500..600)).await;
    world.schedule("* * * * *", false);

    let answer = world.client.until_from("case", &["cold"]).await;
    assert_eq!(answer.ids, ids(0..600));
    let jobs = world.kubectl("get jobs --output name");
    let scheduled = |job: &str| job.contains(&format!("{RELEASE}-archiver-"));
    assert!(jobs.lines().any(scheduled), "a Job of the schedule: {jobs}");
}
