//! A cluster in Docker, made by kind.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::run;

const CLUSTER_NAME: &str = "isotherm-e2e";

#[derive(Debug)]
pub(crate) struct Kind {
    kubeconfig: PathBuf,
    keep: bool,
}

impl Kind {
    /// Whether kind is installed and Docker answers.
    pub(super) fn is_possible() -> bool {
        let answers = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        answers("kind", &["version"]) && answers("docker", &["info"])
    }

    pub(super) fn start() -> anyhow::Result<Self> {
        let kubeconfig = run::root().join("target/kind.kubeconfig");
        let mut create = kind("create");
        create.args([
            "--config",
            "e2e/kind.yaml",
            "--wait",
            "120s",
            "--kubeconfig",
        ]);
        run::check({
            create.arg(&kubeconfig);
            create
        })?;
        Ok(Self {
            kubeconfig,
            keep: false,
        })
    }

    pub(super) fn load(&self, archives: &[PathBuf]) -> anyhow::Result<()> {
        for archive in archives {
            let mut load = Command::new("kind");
            load.args(["load", "image-archive", "--name", CLUSTER_NAME])
                .arg(archive);
            run::check(load)?;
        }
        Ok(())
    }

    pub(super) fn kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    pub(super) fn leave(mut self) {
        self.keep = true;
        run::say(&format!(
            "the cluster is left running; end it with:\n  kind delete cluster --name {CLUSTER_NAME}"
        ));
    }
}

impl Drop for Kind {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = run::check(kind("delete"))
        {
            run::say(&format!(
                "warning: the cluster could not be deleted: {error:#}"
            ));
        }
    }
}

fn kind(verb: &str) -> Command {
    let mut command = Command::new("kind");
    command
        .args([verb, "cluster", "--name", CLUSTER_NAME])
        .current_dir(run::root());
    command
}
