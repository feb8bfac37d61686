use k8s_openapi::api::batch::v1::CronJob;

use super::{cron_job, decide};
use crate::{archiver_job::ArchiverJob, controller::tests::policy};

/// What the chart writes with its default values.
pub(crate) const JOB: &str = r#"{
    "name": "archiver", "owner": "operator", "serviceAccount": "bucket", "labels": {"app": "archiver"},
    "image": "isotherm:1", "imagePullPolicy": "IfNotPresent",
    "args": ["--vacuum-after=72h"], "env": [{"name": "A", "value": "b"}],
    "resources": {"limits": {"memory": "2Gi"}},
    "startingDeadlineSeconds": 600, "activeDeadlineSeconds": 21600, "backoffLimit": 2,
    "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 3, "ttlSecondsAfterFinished": 86400
}"#;

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
fn the_cron_job_runs_what_the_chart_says_with_no_more_rights_than_any_process() {
    let job: ArchiverJob = JOB.parse().unwrap();
    let object = cron_job(&job, "ns", Some("u-1"), &decide(&[]));
    let typed: CronJob = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(
        serde_json::to_value(&typed).unwrap(),
        object,
        "every field is one of a CronJob"
    );
    let spec = typed.spec.unwrap();
    assert_eq!(
        (spec.schedule.as_str(), spec.suspend),
        ("*/5 * * * *", Some(false))
    );
    let owner = &typed.metadata.owner_references.unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str()),
        ("Deployment", "u-1")
    );
    let pod = spec.job_template.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("bucket"));
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
    assert!(pod.volumes.is_none() && pod.host_network.is_none());
    let container = &pod.containers[0];
    assert_eq!(
        container.command,
        Some(vec!["/usr/local/bin/archiver".to_owned()])
    );
    let args = ["--once", "--output=json", "--vacuum-after=72h"].map(str::to_owned);
    assert_eq!(container.args, Some(args.to_vec()));
    let rights = container.security_context.as_ref().unwrap();
    assert_eq!(rights.allow_privilege_escalation, Some(false));
}

#[test]
fn a_configuration_with_more_than_the_known_fields_is_refused() {
    for more in [
        r#""volumes": [{"name": "host", "hostPath": {"path": "/"}}]"#,
        r#""securityContext": {"privileged": true}"#,
        r#""command": ["sh"]"#,
    ] {
        let json = JOB.replacen('{', &format!("{{{more},"), 1);
        let error = json.parse::<ArchiverJob>().unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
}
