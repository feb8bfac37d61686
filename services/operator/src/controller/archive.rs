//! The archiver's CronJob: the pod from the operator's configuration, the schedule from the policies.

use k8s_api::{Archive, ArchiveStatus, Enforcement, RetentionPolicy};
use serde_json::{Value, json};

use crate::archiver_job::ArchiverJob;

/// The user and group of every pod of the image.
const USER_ID: i64 = 65532;

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

/// Builds the CronJob of `job` in `namespace`, owned by the Deployment with `owner_uid`, if it exists.
pub(crate) fn cron_job(
    job: &ArchiverJob,
    namespace: &str,
    owner_uid: Option<&str>,
    archive: &ArchiveStatus,
) -> Value {
    let owner = owner_uid.map(
        |uid| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": job.owner, "uid": uid}),
    );
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": job.name,
            "namespace": namespace,
            "labels": job.labels,
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
        "spec": {
            "schedule": archive.schedule,
            "timeZone": "Etc/UTC",
            "suspend": archive.suspend,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": job.starting_deadline_seconds,
            "successfulJobsHistoryLimit": job.successful_jobs_history_limit,
            "failedJobsHistoryLimit": job.failed_jobs_history_limit,
            "jobTemplate": {"metadata": {"labels": job.labels}, "spec": run_of(job)},
        },
    })
}

/// The spec of the Job of one run.
fn run_of(job: &ArchiverJob) -> Value {
    let mut labels = job.labels.clone();
    labels.extend(job.pod_labels.clone());
    // A pod that was evicted (node drain) does not count as a failed try.
    let ignored = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    json!({
        "backoffLimit": job.backoff_limit,
        "activeDeadlineSeconds": job.active_deadline_seconds,
        "ttlSecondsAfterFinished": job.ttl_seconds_after_finished,
        "podFailurePolicy": {"rules": [ignored]},
        "template": {
            "metadata": {"labels": labels, "annotations": job.pod_annotations},
            "spec": pod_of(job),
        },
    })
}

/// The spec of the pod of one run: no volumes, no token, no right beyond those of any other process.
fn pod_of(job: &ArchiverJob) -> Value {
    json!({
        "serviceAccountName": job.service_account,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "imagePullSecrets": job.image_pull_secrets,
        "priorityClassName": job.priority_class_name,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": job.node_selector,
        "tolerations": job.tolerations,
        "affinity": job.affinity,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        "containers": [container_of(job)],
    })
}

fn container_of(job: &ArchiverJob) -> Value {
    let fixed = ["--once", "--output=json"].map(str::to_owned);
    let args: Vec<&String> = fixed.iter().chain(&job.args).collect();
    json!({
        "name": "archiver",
        "image": job.image,
        "imagePullPolicy": job.image_pull_policy,
        "command": ["/usr/local/bin/archiver"],
        "args": args,
        "env": job.env,
        "ports": [{"name": "admin", "containerPort": 9090}],
        "resources": job.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    })
}

#[cfg(test)]
pub(crate) mod tests;
