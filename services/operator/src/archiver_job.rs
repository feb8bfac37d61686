//! What the archiver's CronJob is made of. The chart writes it into the operator's Deployment, so it
//! can be changed only by those who may run pods anyway.

use std::{collections::BTreeMap, str::FromStr};

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, ResourceRequirements, Toleration,
};
use serde::Deserialize;

/// The parts of the CronJob that are the installation's to choose. Everything else is fixed by the
/// operator, above all what the pod may do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ArchiverJob {
    pub(crate) name: String,
    /// The Deployment that owns the CronJob: the operator's.
    pub(crate) owner: String,
    pub(crate) service_account: String,
    /// Of the CronJob, its Jobs and their pods.
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) pod_labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) pod_annotations: BTreeMap<String, String>,
    pub(crate) image: String,
    pub(crate) image_pull_policy: String,
    #[serde(default)]
    pub(crate) image_pull_secrets: Vec<LocalObjectReference>,
    #[serde(default)]
    pub(crate) priority_class_name: String,
    /// Beside those that every run has.
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) resources: ResourceRequirements,
    #[serde(default)]
    pub(crate) node_selector: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) tolerations: Vec<Toleration>,
    #[serde(default)]
    pub(crate) affinity: Affinity,
    pub(crate) starting_deadline_seconds: i64,
    pub(crate) active_deadline_seconds: i64,
    pub(crate) backoff_limit: i32,
    pub(crate) successful_jobs_history_limit: i32,
    pub(crate) failed_jobs_history_limit: i32,
    pub(crate) ttl_seconds_after_finished: i32,
}

impl FromStr for ArchiverJob {
    type Err = serde_json::Error;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(json)
    }
}

#[cfg(test)]
mod tests {
    use super::ArchiverJob;

    #[test]
    fn what_the_chart_renders_is_read_whole() {
        let rendered = include_str!("../../../charts/isotherm/ci/dev.rendered");
        let mut lines = rendered.lines();
        lines.find(|line| line.ends_with("name: ISOTHERM_ARCHIVER_JOB"));
        let value = lines
            .next()
            .unwrap()
            .trim()
            .strip_prefix("value: ")
            .unwrap();
        let json: String = serde_json::from_str(value).unwrap();
        let job: ArchiverJob = json.parse().unwrap();
        assert_eq!(
            (job.name.as_str(), job.owner.as_str()),
            ("isotherm-archiver", "isotherm-operator")
        );
        assert_eq!(job.service_account, "isotherm-bucket");
        assert!(job.args.contains(&"--vacuum-after=72h".to_owned()));
        assert!(job.env.iter().any(|own| own.name == "ISOTHERM_COLD_URL"));
        assert!(job.resources.limits.unwrap().contains_key("memory"));
    }
}
