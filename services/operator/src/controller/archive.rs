//! The archiver's CronJob: the pod comes from the chart's template, the schedule from the policies.

use k8s_api::{Archive, ArchiveStatus, Enforcement, RetentionPolicy};
use serde_json::{Value, json};

/// Returns the archive settings of the highest ranked policy that has any, or the defaults. Policies
/// in dry run are skipped.
pub(crate) fn decide(ranked: &[&RetentionPolicy]) -> ArchiveStatus {
    let decisive = ranked
        .iter()
        .filter(|policy| policy.spec.enforcement == Enforcement::Enforce)
        .find_map(|policy| Some((policy, policy.spec.archive.clone()?)));
    let (decided_by, archive) = match decisive {
        Some((policy, archive)) => (Some(policy.full_name()), archive),
        None => (None, Archive::default()),
    };
    ArchiveStatus {
        schedule: archive.schedule,
        suspend: archive.suspend,
        decided_by,
    }
}

/// Builds the CronJob of `template` in `namespace`, owned by the ConfigMap that the template comes from.
pub(crate) fn cron_job(
    template: &str,
    namespace: &str,
    owner: (&str, &str),
    archive: &ArchiveStatus,
) -> Result<Value, String> {
    let mut job: Value = serde_saphyr::from_str(template)
        .map_err(|error| format!("cronjob.yaml is no YAML: {error}"))?;
    let name = job["metadata"]["name"].as_str().unwrap_or_default();
    if job["kind"] != "CronJob" || job["apiVersion"] != "batch/v1" || name.is_empty() {
        return Err("cronjob.yaml is no batch/v1 CronJob with a name".to_owned());
    }
    if !job["spec"].is_object() {
        return Err("cronjob.yaml has no spec".to_owned());
    }
    job["spec"]["schedule"] = json!(archive.schedule);
    job["spec"]["timeZone"] = json!("Etc/UTC");
    job["spec"]["suspend"] = json!(archive.suspend);
    job["metadata"]["namespace"] = json!(namespace);
    job["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner.0, "uid": owner.1,
    }]);
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::{cron_job, decide};
    use crate::controller::tests::policy;

    #[test]
    fn the_highest_ranked_policy_with_archive_settings_decides() {
        let policies = [
            policy(
                "low",
                "priority: 1, archive: {suspend: true}, tiers: {hot: {maxAge: 1h}}",
            ),
            policy("high", "priority: 2, tiers: {hot: {maxAge: 1h}}"),
            policy(
                "dry",
                "priority: 3, enforcement: DryRun, archive: {schedule: '0 * * * *'}, tiers: {hot: {maxAge: 1h}}",
            ),
        ];
        let decided = decide(&k8s_api::ranked(&policies));
        assert!(decided.suspend && decided.schedule == "*/5 * * * *");
        assert_eq!(decided.decided_by.as_deref(), Some("isotherm/low"));
        let decided = decide(&k8s_api::ranked(&policies[1..]));
        assert!(!decided.suspend && decided.decided_by.is_none());
    }

    #[test]
    fn a_template_gets_its_schedule_and_its_owner_or_is_refused() {
        let template = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: archiver}\nspec: {jobTemplate: {}}\n";
        let archive = decide(&[]);
        let job = cron_job(template, "ns", ("map", "u-1"), &archive).unwrap();
        assert_eq!(job["spec"]["schedule"], "*/5 * * * *");
        assert_eq!(job["spec"]["suspend"], false);
        assert_eq!(job["metadata"]["namespace"], "ns");
        assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], "u-1");
        for bad in [
            "{",
            "kind: Pod",
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}",
        ] {
            cron_job(bad, "ns", ("map", "u-1"), &archive).unwrap_err();
        }
    }
}
