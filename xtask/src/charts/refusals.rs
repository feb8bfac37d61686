//! Checks that bad values are refused, each with a message that says what to do.

use std::process::Command;

use anyhow::ensure;

use super::tools;
use crate::run;

/// The values that are set, and a part of the error message.
const REFUSALS: &[(&[&str], &str)] = &[
    (&[], "set profile: dev, which brings all three"),
    (
        &["profile=dev", "externalS3.bucket=events"],
        "remove externalS3, or set profile: production",
    ),
    (
        &[
            "externalNats.url=nats://n:4222",
            "externalRedis.url=redis://r",
            "externalS3.bucket=events",
        ],
        "externalNats.monitorUrls",
    ),
    (&["profile=test"], "'production', 'dev'"),
    (
        &["profile=dev", "ingest.replica=2"],
        "'replica' not allowed",
    ),
    (&["profile=dev", "partitions=0"], "/partitions"),
    (
        &["profile=dev", "compactor.sealAfter=soon"],
        "/compactor/sealAfter",
    ),
    (
        &["profile=dev", "ingest.keda.enabled=true"],
        "set ingest.keda.prometheusUrl",
    ),
    (
        &[
            "profile=dev",
            "query.keda.enabled=true",
            "query.autoscaling.enabled=true",
        ],
        "enable one of them",
    ),
    (
        &["profile=dev", "operator.minGrace=0s"],
        "operator.allowZeroGrace to true",
    ),
    (
        &["profile=dev", "operator.minGrace=1w"],
        "/operator/minGrace",
    ),
    // The sums that must fit beneath the memory limits.
    (
        &["profile=dev", "ingest.requestMemory=385MiB"],
        "ingest.resources.limits.memory is 512Mi and must be at least 513Mi",
    ),
    (
        &["profile=dev", "partitions=17"],
        "hotWriter.resources.limits.memory is 512Mi and must be at least 536Mi",
    ),
    (
        &["profile=dev", "compactor.memoryLimit=2GiB"],
        "compactor.resources.limits.memory is 3584Mi",
    ),
    (
        &["profile=dev", "executor.processes=4"],
        "executor.resources.limits.memory is 6656Mi and must be at least 8448Mi",
    ),
    (
        &["profile=dev", "query.memoryBytes=3221225472"],
        "query.resources.limits.memory is 2304Mi and must be at least 3072Mi",
    ),
    // It is the executor's now.
    (
        &["profile=dev", "query.sql.memoryBytes=536870912"],
        "'memoryBytes' not allowed",
    ),
    (
        &["profile=dev", "dev.nats.storage=1Gi"],
        "dev.nats.storage is too small",
    ),
];

pub(super) fn check() -> anyhow::Result<()> {
    for (values, sentence) in REFUSALS {
        let mut command = Command::new(tools::helm4());
        command
            .args(["template", "isotherm", "charts/isotherm"])
            .current_dir(run::root());
        for value in *values {
            command.args(["--set", value]);
        }
        let output = command.output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{values:?} is accepted");
        ensure!(
            stderr.contains(sentence),
            "{values:?} is refused without {sentence:?}: {stderr}"
        );
    }
    Ok(())
}
